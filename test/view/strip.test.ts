import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { STRIP_COLUMNS, STRIP_LEVELS, stripOf } from '../../src/view/strip.ts';

/** Folios of a file of `pages` pages: naturally aligned, in ascending order, with holes. */
function randomFolios(prng: Prng, pages: number, orders: number): [number, number][] {
  const folios: [number, number][] = [];
  for (let at = 0; at < pages; ) {
    const order = Math.floor(prng.float() * orders);
    const size = 2 ** order;
    if (at % size === 0 && prng.float() < 0.6) {
      folios.push([at, order]);
      at += size;
    } else at++;
  }
  return folios;
}

describe('a file of few pages', () => {
  test('is drawn folio by folio', () => {
    expect(stripOf([[0, 2], [4, 1], [8, 0]], 12)).toEqual({
      pages: 12,
      columns: 12,
      runs: [[0, 4, 2, STRIP_LEVELS], [4, 2, 1, STRIP_LEVELS], [8, 1, 0, STRIP_LEVELS]],
    }); // biome-ignore format: a picture
  });

  test('ends at its end', () => {
    const { runs } = stripOf([[4, 2], [8, 0]], 6); // biome-ignore format: a picture
    expect(runs).toEqual([[4, 2, 2, STRIP_LEVELS]]);
  });
});

describe('a file of more pages than columns', () => {
  test('fully cached in one order is one run', () => {
    const pages = STRIP_COLUMNS * 8;
    const folios = Array.from({ length: pages / 4 }, (_, i): [number, number] => [4 * i, 2]);
    expect(stripOf(folios, pages).runs).toEqual([[0, STRIP_COLUMNS, 2, STRIP_LEVELS]]);
  });

  test('one page of many is a column of the least height', () => {
    expect(stripOf([[500_000, 0]], 1_000_000).runs).toEqual([[256, 1, 0, 1]]);
  });

  test('each column has the order of most of its pages, and the height of its share', () => {
    const seed = 11;
    const prng = new Prng(seed);
    for (let round = 0; round < 40; round++) {
      const pages = STRIP_COLUMNS + 1 + Math.floor(prng.float() * 5000);
      const folios = randomFolios(prng, pages, 6);
      const { runs } = stripOf(folios, pages);
      // The slow way: for every column, the pages whose part lies in it.
      const perColumn = pages / STRIP_COLUMNS;
      const share = Array.from({ length: STRIP_COLUMNS }, () => new Map<number, number>());
      for (const [index, order] of folios)
        for (let page = index; page < Math.min(index + 2 ** order, pages); page++)
          for (let c = Math.floor(page / perColumn); c < STRIP_COLUMNS && c * perColumn < page + 1; c++) {
            const part = Math.min(page + 1, (c + 1) * perColumn) - Math.max(page, c * perColumn);
            share[c].set(order, (share[c].get(order) ?? 0) + part);
          }
      const drawn = new Map(runs.flatMap(([c, n, ...rest]) => Array.from({ length: n }, (_, i) => [c + i, rest])));
      for (const [c, by] of share.entries()) {
        const sum = [...by.values()].reduce((a, b) => a + b, 0);
        const at = drawn.get(c);
        if (at === undefined) {
          expect(sum, `seed ${seed}, round ${round}, column ${c}`).toBeLessThan(1e-6);
          continue;
        }
        const [order, level] = at;
        const most = Math.max(...by.values());
        expect(by.get(order), `seed ${seed}, round ${round}, column ${c}`).toBeGreaterThan(most - 1e-6);
        const exact = (sum / perColumn) * STRIP_LEVELS;
        expect(Math.abs(level - Math.max(1, exact)), `seed ${seed}, round ${round}`).toBeLessThanOrEqual(0.5 + 1e-6);
      }
      const ends = runs.map(([c, n]) => c + n);
      expect(runs.every(([c], i) => i === 0 || c >= (ends[i - 1] as number))).toBe(true);
    }
  });
});
