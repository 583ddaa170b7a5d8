/** hyparquet over a table of journeys: 24 months, one row group a month, page indexes for the times. */
import { parquetMetadataAsync, parquetQuery, parquetReadObjects } from 'hyparquet';
import { ByteWriter, type ColumnSource, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer';
import { Prng } from '../../src/base/prng.ts';
import { Waves } from './waves.ts';

const GROUPS = 24;
const ROWS = 146_000;
const START = Date.UTC(2024, 0, 1);
/** Milliseconds from one journey to the next, in the mean. */
const STEP = 18_000;

const words =
  'airport station market harbour museum bridge garden castle tower square north south east west old new'.split(' ');

function month(random: Prng, group: number): ColumnSource[] {
  const rows = Array.from({ length: ROWS }, (_, i) => i);
  const began = rows.map((i) => new Date(START + (group * ROWS + i) * STEP + random.below(STEP)));
  const km = rows.map(() => Math.round(100 * -Math.log(1 - random.float()) * 4) / 100);
  const fare = km.map((d) => Math.round(100 * (3 + d * 1.9 + random.float() * 4)) / 100);
  const tip = fare.map((f) => (random.float() < 0.4 ? 0 : Math.round(f * random.float() * 30) / 100));
  const place = (): number => 1 + Math.floor(260 * random.float() ** 2);
  return [
    {
      name: 'id',
      data: rows.map(() => random.u32().toString(16).padStart(8, '0') + random.u32().toString(16)),
      type: 'STRING',
    },
    { name: 'began', data: began, type: 'TIMESTAMP', columnIndex: true },
    {
      name: 'ended',
      data: began.map((d, i) => new Date(d.getTime() + 120_000 + (km[i] as number) * 150_000)),
      type: 'TIMESTAMP',
    },
    { name: 'vendor', data: rows.map(() => random.pick(['ab', 'cd', 'ef'])), type: 'STRING' },
    { name: 'passengers', data: rows.map(() => 1 + Math.floor(5 * random.float() ** 4)), type: 'INT32' },
    { name: 'km', data: km, type: 'DOUBLE' },
    { name: 'from_zone', data: rows.map(place), type: 'INT32' },
    { name: 'to_zone', data: rows.map(place), type: 'INT32' },
    { name: 'from_lon', data: rows.map(() => 13.2 + random.float() * 0.4), type: 'DOUBLE' },
    { name: 'from_lat', data: rows.map(() => 52.4 + random.float() * 0.2), type: 'DOUBLE' },
    { name: 'payment', data: rows.map(() => random.pick(['card', 'card', 'card', 'cash', 'app'])), type: 'STRING' },
    { name: 'fare', data: fare, type: 'DOUBLE' },
    { name: 'tip', data: tip, type: 'DOUBLE' },
    { name: 'total', data: fare.map((f, i) => f + (tip[i] as number)), type: 'DOUBLE' },
    {
      name: 'note',
      data: rows.map(() => (random.float() < 0.5 ? '' : Array.from({ length: 5 }, () => random.pick(words)).join(' '))),
      type: 'STRING',
    },
  ];
}

async function table(): Promise<ArrayBuffer> {
  const random = new Prng(5);
  const writer = new ByteWriter();
  const first = month(random, 0);
  const parquet = new ParquetWriter({ writer, schema: schemaFromColumnData({ columnData: first }) });
  for (let g = 0; g < GROUPS; g++) {
    const columnData = g === 0 ? first : month(random, g);
    await parquet.write({ columnData, rowGroupSize: ROWS, pageSize: 128 * 1024 });
  }
  await parquet.finish();
  return writer.getBuffer();
}

/** A morning at a dashboard: totals of two columns, a page of the table, three days by filter, and the totals again with one more column. */
export async function recordParquet(): Promise<Waves> {
  const bytes = await table();
  const waves = new Waves(bytes.byteLength, (at, length) => bytes.slice(at, at + length));
  const file = {
    byteLength: bytes.byteLength,
    slice: (start: number, end = bytes.byteLength) => waves.read(start, end - start),
  };
  const metadata = await parquetMetadataAsync(file);
  const day = (n: number): Date => new Date(START + n * 86_400_000);
  // Totals by zone, over all months.
  await parquetReadObjects({ file, metadata, columns: ['from_zone', 'total'] });
  // The table viewer: first page, the next two, then a jump to the middle.
  for (const rowStart of [0, 500, 1000, 1_750_000])
    await parquetReadObjects({ file, metadata, rowStart, rowEnd: rowStart + 500, useOffsetIndex: true });
  // Three days of one month, by their times.
  const filter = { began: { $gte: day(40), $lt: day(43) } };
  await parquetQuery({ file, metadata, columns: ['began', 'km', 'fare', 'payment'], filter });
  // The totals again, with tips, by somebody else: metadata and all.
  const again = await parquetMetadataAsync(file);
  await parquetReadObjects({ file, metadata: again, columns: ['from_zone', 'total', 'tip'] });
  // One month whole, for export.
  await parquetReadObjects({ file, metadata, rowStart: 7 * ROWS, rowEnd: 8 * ROWS });
  return waves;
}
