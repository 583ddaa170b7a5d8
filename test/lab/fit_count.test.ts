import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CacheCount, maxFolioOrder, pageSizes } from '../../src/lab/fit_count.ts';

type Range = readonly [from: number, to: number];

/** The slow and obvious count: a set of pages, and the largest aligned folio at each page in turn. */
function model(files: readonly (readonly Range[])[], pageSize: number) {
  const total = { pageSize, pages: 0, small: 0, large: 0 };
  for (const ranges of files) {
    const pages = new Set<number>();
    for (const [from, to] of ranges)
      for (let page = Math.floor(from / pageSize); page * pageSize < to; page++) if (to > from) pages.add(page);
    total.pages += pages.size;
    const has = (from: number, n: number) => {
      for (let i = 0; i < n; i++) if (!pages.has(from + i)) return false;
      return true;
    };
    for (const page of [...pages].sort((a, b) => a - b)) {
      if (!pages.has(page)) continue;
      let order = maxFolioOrder(pageSize);
      while (page % 2 ** order !== 0 || !has(page, 2 ** order)) order--;
      for (let i = 0; i < 2 ** order; i++) pages.delete(page + i);
      if (order === 0) total.small++;
      else total.large++;
    }
  }
  return total;
}

const counts = (count: CacheCount) =>
  count.sizes.map(({ pageSize, pages, small, large }) => ({ pageSize, pages, small, large }));

/** Ascending ranges that do not overlap, some of them adjacent. */
const ranges = fc.array(fc.tuple(fc.nat(40_000), fc.nat(3_000_000)), { maxLength: 6 }).map((gaps) => {
  let at = 0;
  return gaps.map(([gap, length]): Range => {
    const from = at + (gap % 5 === 0 ? 0 : gap);
    at = from + length;
    return [from, at];
  });
});

describe('CacheCount', () => {
  test('the largest folio of a file is 2 MiB, 32 MiB and 128 MiB', () => {
    expect(pageSizes.map((p) => (p * 2 ** maxFolioOrder(p)) / 2 ** 20)).toEqual([2, 32, 128]);
  });

  test('eleven pages are a folio of eight, one of two and one of one', () => {
    const count = new CacheCount();
    count.addFile(11 * 4096 - 5);
    expect(counts(count)[0]).toEqual({ pageSize: 4096, pages: 11, small: 1, large: 2 });
    expect(counts(count)[2]).toEqual({ pageSize: 65536, pages: 1, small: 1, large: 0 });
  });

  test.each([0, 1, 4095, 4096, 4097, 16384, 65535, 65536, 65537, 2 ** 21, 2 ** 21 + 1, 5 * 2 ** 21 - 4096])(
    'a file of %i bytes',
    (bytes) => {
      const count = new CacheCount();
      count.addFile(bytes);
      expect(counts(count)).toEqual(pageSizes.map((p) => model([[[0, bytes]]], p)));
      expect([count.files, count.bytes]).toEqual([1, bytes]);
    },
  );

  test('ranges that share a page, and runs that meet, count once', () => {
    const count = new CacheCount();
    count.addRange(100, 200);
    count.addRange(300, 5000);
    count.addRange(16384, 20000);
    count.endFile();
    expect(counts(count)).toEqual([
      { pageSize: 4096, pages: 3, small: 1, large: 1 },
      { pageSize: 16384, pages: 2, small: 0, large: 1 },
      { pageSize: 65536, pages: 1, small: 1, large: 0 },
    ]);
  });

  test('any files, any ranges: as the model', () => {
    fc.assert(
      fc.property(fc.array(ranges, { maxLength: 3 }), (files) => {
        const count = new CacheCount();
        for (const file of files) {
          for (const [from, to] of file) count.addRange(from, to);
          count.endFile();
        }
        expect(counts(count)).toEqual(pageSizes.map((p) => model(files, p)));
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  test('rounding: never below the file, never a page above; a larger page never takes less', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 45 }), (bytes) => {
        const count = new CacheCount();
        count.addFile(bytes);
        let before = bytes;
        for (const { pageSize, pages, small, large } of count.sizes) {
          const cached = pages * pageSize;
          expect(cached).toBeGreaterThanOrEqual(before);
          expect(cached - bytes).toBeLessThan(pageSize);
          expect(small + large).toBeLessThanOrEqual(pages);
          expect(small).toBe(pages % 2);
          before = cached;
        }
      }),
      { seed: 1 },
    );
  });

  test('a range far inside a file past 8 TiB', () => {
    const count = new CacheCount();
    const at = 2 ** 44 + 4096;
    count.addRange(at, at + 3 * 4096);
    count.endFile();
    expect(counts(count)[0]).toEqual({ pageSize: 4096, pages: 3, small: 1, large: 1 });
  });
});
