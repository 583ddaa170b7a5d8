// Tiles of a PMTiles archive through the cache. When the archive is replaced, pmtiles goes on with the new one.
import { EtagMismatch, PMTiles, ResolvedValueCache } from 'pmtiles';
import { PageCache } from 'quire-mm/cache';
import { pmtilesSource } from 'quire-mm/cache/adapters/pmtiles';
import { memorySource } from 'quire-mm/cache/sources';
import { archive } from '../../test/cache/adapters/pmtiles_archive.ts';

const text = (s: string) => new TextEncoder().encode(s);
const bytes = archive(
  [0, 1].flatMap((z) =>
    Array.from({ length: 4 ** z }, (_, i) => ({ z, x: i % 2, y: i >> 1, data: text(`${z}/${i}`) })),
  ),
  { name: 'five tiles' },
);

await using cache = new PageCache({ memory: '4MiB' });
// Elsewhere: () => cache.open(httpSource('https://example.org/map.pmtiles')). It is called again after a change.
const open = () => cache.open(memorySource(bytes));
const tiles = new PMTiles(pmtilesSource(open, { key: 'five tiles', EtagMismatch }), new ResolvedValueCache());

console.log(await tiles.getMetadata());
const tile = await tiles.getZxy(1, 1, 0);
console.log(new TextDecoder().decode(tile?.data));

// > { name: 'five tiles' }
// > 1/1
