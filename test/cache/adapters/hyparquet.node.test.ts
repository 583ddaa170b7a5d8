/** Parquet files written by hyparquet-writer, read by hyparquet through the cache and without it. */
import { parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, test } from 'vitest';
import { asyncBuffer } from '../../../src/cache/adapters/hyparquet.ts';
import { through } from './through.ts';

const ROWS = 120_000;
const written = parquetWriteBuffer({
  columnData: [
    { name: 'id', data: Int32Array.from({ length: ROWS }, (_, i) => i), type: 'INT32' },
    { name: 'price', data: Float64Array.from({ length: ROWS }, (_, i) => Math.sin(i)), type: 'DOUBLE' },
    { name: 'town', data: Array.from({ length: ROWS }, (_, i) => `town ${(i * 7919) % 1009}`), type: 'STRING' },
    {
      name: 'note',
      data: Array.from({ length: ROWS }, (_, i) => (i % 3 === 0 ? null : `${Math.imul(i, 2654435761)}`.repeat(3))),
      type: 'STRING',
    },
  ],
  rowGroupSize: 10_000,
});
const bytes = new Uint8Array(written);

describe('hyparquet', () => {
  test('every way of reading gives the same rows, in a budget smaller than the file', async () => {
    await using at = await through(bytes);
    expect(bytes.length).toBeGreaterThan(2 * 1280 * 1024);
    const file = asyncBuffer(at.file);
    const metadata = await parquetMetadataAsync(file);
    expect(metadata).toEqual(await parquetMetadataAsync(written));
    for (const options of [
      {},
      { columns: ['town'] },
      { columns: ['id', 'note'], rowStart: 4990, rowEnd: 7513 },
      { filter: { id: { $gte: 12_345, $lt: 12_350 } } },
    ]) {
      const rows = await parquetReadObjects({ file, metadata, ...options });
      expect(rows.length).toBeGreaterThan(4);
      expect(rows).toEqual(await parquetReadObjects({ file: written, ...options }));
    }
  });

  test('what was read once is read again without a request, and without a promise', async () => {
    await using at = await through(bytes, '8MiB');
    const file = asyncBuffer(at.file);
    const first = await parquetReadObjects({ file });
    const { requests } = at.source;
    expect(await parquetReadObjects({ file })).toEqual(first);
    expect(at.source.requests).toBe(requests);
    const slice = file.slice(-8);
    expect(slice).toBeInstanceOf(ArrayBuffer);
    expect(new Uint8Array(slice as ArrayBuffer)).toEqual(bytes.subarray(-8));
    expect(new TextDecoder().decode(await file.slice(bytes.length - 4, bytes.length + 100))).toBe('PAR1');
  });

  test('an abort ends the read with its own reason', async () => {
    await using at = await through(bytes);
    const stop = new AbortController();
    const reading = parquetReadObjects({ file: asyncBuffer(at.file, { signal: stop.signal }) });
    stop.abort(new Error('no longer wanted'));
    await expect(reading).rejects.toThrow('no longer wanted');
    expect((await parquetReadObjects({ file: asyncBuffer(at.file), rowEnd: 3 })).length).toBe(3);
  });
});
