import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BillRow, bill, type Counted } from '../../src/lab/fit_bill.ts';
import { CacheCount } from '../../src/lab/fit_count.ts';

const GIB = 2 ** 30;

const row = (rows: readonly BillRow[], pageSize: number, layout: string, folios: string) =>
  rows.find((r) => r.pageSize === pageSize && r.layout === layout && r.folios === folios) as BillRow;

function counted(sizes: readonly number[]): CacheCount {
  const count = new CacheCount();
  for (const bytes of sizes) count.addFile(bytes);
  return count;
}

/** The bytes by which the map of row differs from today's, for one page of each kind: what whole pages leave uncertain. */
const ONE_PAGE = 64 + 64 + 1;

describe('bill', () => {
  test('the published kernel tree (claim C03): 1.08 and 1.47 times, paid back at 347 GiB', () => {
    const sizes = [
      [4096, 11_297_712],
      [16384, 12_223_488],
      [65536, 16_623_296],
    ].map(([pageSize = 0, kib = 0]) => ({ pageSize, pages: (kib * 1024) / pageSize, small: 0, large: 0 }));
    const published: Counted = { files: 1, bytes: 11_297_648 * 1024, sizes };
    const { pageSizes, rows } = bill(published, 64 * GIB);
    expect(pageSizes.map((r) => r.ratio?.toFixed(2))).toEqual(['1.00', '1.08', '1.47']);
    // 5.08 GiB of rounding against 1.465 % of memory.
    expect((row(rows, 65536, 'overlay', 'any').breakEvenBytes ?? 0) / GIB).toBeCloseTo(346.7, 1);
    expect((row(rows, 16384, 'overlay', 'any').breakEvenBytes ?? 0) / GIB).toBeCloseTo(75.3, 1);
  });

  test('by hand: 1000 files of 1000 bytes and one of 1 MiB on 1 GiB of memory', () => {
    const { files, bytes, pageSizes, rows } = bill(counted([...Array<number>(1000).fill(1000), 2 ** 20]), GIB);
    expect({ files, bytes }).toEqual({ files: 1001, bytes: 1_000_000 + 2 ** 20 });
    expect(pageSizes.map((r) => r.cacheBytes)).toEqual([
      1000 * 4096 + 2 ** 20,
      1000 * 16384 + 2 ** 20,
      1000 * 65536 + 2 ** 20,
    ]);
    expect(pageSizes[0]?.filesPerGib).toBe(Math.floor((1001 * GIB) / (1000 * 4096 + 2 ** 20)));
    const today = row(rows, 4096, 'page64', 'any');
    expect(today).toMatchObject({ mapBytes: GIB / 64, descriptorBytes: 0, differenceBytes: 0, breakEvenBytes: null });
    const page32 = row(rows, 4096, 'page32', 'largest');
    expect(page32.folioCount).toBe(1001);
    // 80.31 B and 1.27 B of slab descriptor for each of 1000 folios, 128 B and 2.03 B for one.
    expect(page32.descriptorBytes).toBe(Math.round(1000 * (4096 / 51 + 4096 / 63 / 51) + 128 + 4096 / 63 / 32));
    expect(page32.differenceBytes).toBe(page32.descriptorBytes - GIB / 128);
    expect(row(rows, 4096, 'page32', 'one-page').folioCount).toBe(1000 + 256);
  });

  test('nothing cached: only the map is paid, and smaller is better from the first byte', () => {
    const { pageSizes, rows } = bill(new CacheCount(), 4 * GIB);
    expect(pageSizes.map((r) => [r.cacheBytes, r.ratio, r.filesPerGib])).toEqual(Array(3).fill([0, null, null]));
    for (const r of rows) {
      expect(r.totalBytes).toBe(r.mapBytes);
      expect(r.breakEvenBytes ?? 0).toBe(0);
    }
  });

  test('three page sizes, four layouts, folios where they matter', () => {
    const { rows } = bill(counted([5]), GIB);
    expect(rows).toHaveLength(3 * (1 + 1 + 2 + 2));
    for (const r of rows) {
      expect(r.totalBytes).toBe(r.mapBytes + r.descriptorBytes + r.cacheBytes);
      expect(r.folioCount === null).toBe(r.layout === 'page64' || r.layout === 'overlay');
    }
  });

  const sizes = fc.array(fc.nat({ max: 2 ** 42 }), { maxLength: 20 });

  test('at break-even both sides are equal within one page; below it costs, above it saves', () => {
    fc.assert(
      fc.property(sizes, (files) => {
        const count = counted(files);
        for (const { pageSize, layout, folios, breakEvenBytes } of bill(count, GIB).rows) {
          if (breakEvenBytes === null) continue;
          const difference = (memory: number) =>
            row(bill(count, memory).rows, pageSize, layout, folios).differenceBytes;
          expect(Math.abs(difference(breakEvenBytes))).toBeLessThan(ONE_PAGE);
          expect(difference(breakEvenBytes + GIB)).toBeLessThan(0);
          if (breakEvenBytes > GIB) expect(difference(breakEvenBytes - GIB)).toBeGreaterThan(0);
        }
      }),
      { seed: 1, numRuns: 50 },
    );
  });

  test('more memory never makes a change dearer; the fewest folios never cost more than one a page', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 2 ** 20 }), fc.integer({ min: 1, max: 2 ** 20 }), (files, a, b) => {
        const count = counted(files);
        const less = bill(count, a * 2 ** 20).rows;
        const more = bill(count, (a + b) * 2 ** 20).rows;
        for (const [i, r] of less.entries()) expect(more[i]?.differenceBytes).toBeLessThanOrEqual(r.differenceBytes);
        for (const r of less)
          if (r.folios === 'largest')
            expect(r.descriptorBytes).toBeLessThanOrEqual(row(less, r.pageSize, r.layout, 'one-page').descriptorBytes);
      }),
      { seed: 1, numRuns: 50 },
    );
  });
});
