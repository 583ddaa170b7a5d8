// A Zarr v3 array through the cache, each key of its store a file of the cache.
import { PageCache } from 'quire-mm/cache';
import { zarrStore } from 'quire-mm/cache/adapters/zarrita';
import { memorySource } from 'quire-mm/cache/sources';
import * as zarr from 'zarrita';

const files = new Map<zarr.AbsolutePath, Uint8Array>();
const made = await zarr.create(files, { shape: [100, 100], chunkShape: [25, 25], dtype: 'int16' });
const data = Int16Array.from({ length: 10_000 }, (_, i) => i);
await zarr.set(made, null, { data, shape: [100, 100], stride: [100, 1] });

await using cache = new PageCache({ memory: '4MiB' });
const store = zarrStore(async (key) => {
  // Elsewhere: cache.open(httpSource(base + key)), and undefined where the server says 404.
  const bytes = files.get(key);
  return bytes && cache.open(memorySource(bytes, { name: key }));
});
const array = await zarr.open(store, { kind: 'array' });
const part = await zarr.get(array, [zarr.slice(40, 42), zarr.slice(7, 10)]);
console.log(part.shape, part.data);

// > [ 2, 3 ] Int16Array(6) [ 4007, 4008, 4009, 4107, 4108, 4109 ]
