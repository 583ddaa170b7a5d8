/**
 * Records what real readers ask of a remote file, always the same: writes bench/patterns/*.csv again.
 *
 *     npx tsx tools/patterns.ts [hyparquet] [geotiff] [pmtiles]
 *     npx tsx tools/patterns.ts print       all nine patterns of the benchmark, as `name size` and `offset length`
 *
 * A line is `wave,offset,length`: reads of one wave are asked for together, the next wave when they have been answered. The files
 * themselves are made in memory (200 MB of Parquet by hyparquet-writer, a pyramid of 16,384 × 16,384 pixels, an archive of 350,000 tiles)
 * and are not kept.
 */
import { writeFileSync } from 'node:fs';
import { patterns } from '../bench/http_patterns.ts';
import { recordGeotiff } from './patterns/geotiff.ts';
import { recordParquet } from './patterns/parquet.ts';
import { recordPmtiles } from './patterns/pmtiles.ts';
import type { Waves } from './patterns/waves.ts';

const makers: Readonly<Record<string, readonly [title: string, record: () => Promise<Waves>]>> = {
  hyparquet: ['hyparquet 1.31.5: a dashboard over a Parquet file of 3.5 M rows', recordParquet],
  geotiff: ['geotiff 3.0.5: a map over a pyramid of 16,384 × 16,384 pixels', recordGeotiff],
  pmtiles: ['pmtiles 4.5.0: two visits to a map of a region, zooms 0 to 14', recordPmtiles],
};

const wanted = process.argv.slice(2);
if (wanted[0] === 'print') {
  for (const { name, size, waves } of patterns()) {
    const reads = waves.flat().map((r) => `${r.at} ${r.length}`);
    console.log([`${name} ${size}`, ...reads].join('\n'));
  }
}
const unknown = wanted.find((name) => name !== 'print' && makers[name] === undefined);
if (unknown !== undefined) {
  console.error(`patterns: no reader '${unknown}': expected some of ${Object.keys(makers).join(', ')}`);
  process.exit(2);
}
for (const [name, [title, record]] of Object.entries(makers)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const waves = await record();
  const bytes = waves.log.reduce((sum, r) => sum + r.length, 0);
  console.log(`${name}: ${waves.log.length} reads, ${bytes} bytes, of a file of ${waves.size}`);
  writeFileSync(new URL(`../bench/patterns/${name}.csv`, import.meta.url), waves.csv(title));
}
