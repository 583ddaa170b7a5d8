// Rows of a Parquet file, read by hyparquet through the cache: the second query asks the source for nothing.
import { parquetReadObjects } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { PageCache } from 'quire-mm/cache';
import { asyncBuffer } from 'quire-mm/cache/adapters/hyparquet';
import { memorySource } from 'quire-mm/cache/sources';

const parquet = parquetWriteBuffer({
  columnData: [
    { name: 'id', data: Int32Array.from({ length: 100_000 }, (_, i) => i) },
    { name: 'city', data: Array.from({ length: 100_000 }, (_, i) => ['Oslo', 'Lima', 'Pune'][i % 3]) },
  ],
});

// Elsewhere: httpSource('https://example.org/rows.parquet', { first: { from: 'end', bytes: 65536 } }).
await using cache = new PageCache({ memory: '4MiB' });
const file = asyncBuffer(await cache.open(memorySource(new Uint8Array(parquet))));

console.log(await parquetReadObjects({ file, rowStart: 70_000, rowEnd: 70_002 }));
const { reads } = cache.stats().requests;
console.log(await parquetReadObjects({ file, columns: ['city'], rowStart: 70_001, rowEnd: 70_002 }));
console.log('further requests:', cache.stats().requests.reads - reads);

// > [ { id: 70000, city: 'Lima' }, { id: 70001, city: 'Pune' } ]
// > [ { city: 'Pune' } ]
// > further requests: 0
