import { describe, expect, it } from 'vitest';
import { cutAround } from '../../src/mm/huge_memory.ts';

const picture = (index: number, order: number, page: number, newOrder: number, anon = false): string =>
  cutAround(order, newOrder, page - index, anon)
    .map(([at, o]) => `${index + at}:${o}`)
    .join(' ');

describe('a folio halved towards one page', () => {
  // Index, order, page, smallest order; what Linux 6.18 leaves.
  const cases: readonly [number, number, number, number, string][] = [
    [0, 9, 100, 0, '0:6 64:5 96:2 100:0 101:0 102:1 104:3 112:4 128:7 256:8'],
    [0, 9, 255, 0, '0:7 128:6 192:5 224:4 240:3 248:2 252:1 254:0 255:0 256:8'],
    [128, 7, 200, 0, '128:6 192:3 200:0 201:0 202:1 204:2 208:4 224:5'],
    [0, 9, 100, 2, '0:6 64:5 96:2 100:2 104:3 112:4 128:7 256:8'],
    [0, 1, 1, 0, '0:0 1:0'],
  ];
  for (const [index, order, page, newOrder, want] of cases)
    it(`${index}:${order} at page ${page} down to order ${newOrder}`, () => {
      expect(picture(index, order, page, newOrder)).toBe(want);
    });

  it('has no order 1 in anonymous memory', () => {
    expect(picture(0, 9, 300, 0, true)).toBe('0:8 256:5 288:3 296:2 300:0 301:0 302:0 303:0 304:4 320:6 384:7');
    expect(picture(0, 9, 300, 3, true)).toBe('0:8 256:5 288:3 296:3 304:4 320:6 384:7');
    expect(picture(0, 4, 5, 0)).toBe('0:2 4:0 5:0 6:1 8:3');
    expect(picture(0, 4, 5, 0, true)).toBe('0:2 4:0 5:0 6:0 7:0 8:3');
  });

  it('covers the folio, each piece aligned to its size', () => {
    for (let order = 1; order <= 9; order++)
      for (let page = 0; page < 2 ** order; page += order)
        for (let min = 0; min < order; min++) {
          let next = 0;
          for (const [at, o] of cutAround(order, min, page, false)) {
            expect(at).toBe(next);
            expect(at % 2 ** o).toBe(0);
            expect(o).toBeGreaterThanOrEqual(min);
            next = at + 2 ** o;
          }
          expect(next).toBe(2 ** order);
        }
  });
});
