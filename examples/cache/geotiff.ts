// A window of a GeoTIFF, read by geotiff through the cache in place of its own blocks of 64 KiB.
import { GeoTIFF, writeArrayBuffer } from 'geotiff';
import { PageCache } from 'quire-mm/cache';
import { geotiffSource } from 'quire-mm/cache/adapters/geotiff';
import { memorySource } from 'quire-mm/cache/sources';

const heights = Uint8Array.from({ length: 400 * 300 }, (_, i) => (i % 400) % 200);
const tiff = writeArrayBuffer(heights, { width: 400, height: 300 });

await using cache = new PageCache({ memory: '4MiB' });
const file = await cache.open(memorySource(new Uint8Array(tiff)));

const image = await (await GeoTIFF.fromSource(geotiffSource(file))).getImage();
console.log(image.getWidth(), 'x', image.getHeight());
const [band] = await image.readRasters({ window: [10, 20, 14, 22] });
console.log(band);

// > 400 x 300
// > Uint8Array(8) [
// >   10, 11, 12, 13,
// >   10, 11, 12, 13
// > ]
