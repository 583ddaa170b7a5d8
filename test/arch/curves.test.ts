import { describe, expect, test } from 'vitest';
import {
  checkStackCurve,
  missCurve,
  setCurve,
  setCurveAdd,
  setMissesOf,
  stackCurve,
  stackCurveAdd,
} from '../../src/arch/curves.ts';
import { Prng } from '../../src/base/prng.ts';
import { seedOf } from '../help/fuzz.ts';

/** Misses of an LRU memory, by a list. */
function misses(pages: ArrayLike<number>, size: number): number {
  const list: number[] = [];
  let n = 0;
  for (let i = 0; i < pages.length; i++) {
    const at = list.indexOf(pages[i]);
    if (at >= 0) list.splice(at, 1);
    else n++;
    list.unshift(pages[i]);
    if (list.length > size) list.pop();
  }
  return n;
}

const seed = seedOf(3);

describe(`curves equal brute force (seed ${seed})`, () => {
  const r = new Prng(seed);
  const traces: [string, (i: number) => number][] = [
    ['random', () => r.below(300)],
    ['a loop', (i) => i % 257],
    ['near and far', () => Math.floor(1000 * r.float() ** 6) * 2 ** r.below(2) + (r.below(100) === 0 ? 2 ** 39 : 0)],
    ['each once', (i) => i * 7],
    ['one page', () => 5],
  ];
  test.each(traces)('%s', (_, at) => {
    const n = 12_000;
    const pages = Float64Array.from({ length: n }, (_, i) => at(i));
    const c = stackCurve();
    for (let from = 0; from < n; from += 977) {
      stackCurveAdd(c, pages, from, Math.min(from + 977, n));
      checkStackCurve(c);
    }
    const distinct = new Set(pages).size;
    expect([c.accesses, c.cold, c.pages]).toEqual([n, distinct, distinct]);
    const curve = missCurve(c);
    expect(curve.length).toBe(distinct + 1);
    for (const size of [1, 2, 3, 7, 64, 256, 257, 300]) {
      const exact = misses(pages, size);
      expect(curve[Math.min(size, distinct)], `${size} pages`).toBe(exact);
    }
    expect(curve[distinct]).toBe(distinct);
    for (const sets of [1, 3, 16]) {
      const s = setCurve(sets, 8);
      setCurveAdd(s, pages, 0, n);
      for (const ways of [1, 2, 5, 8]) {
        let exact = 0;
        for (let set = 0; set < sets; set++)
          exact += misses(
            pages.filter((p) => p % sets === set),
            ways,
          );
        expect(setMissesOf(s, ways), `${sets} × ${ways}`).toBe(exact);
      }
    }
  });

  test('addresses are taken with a scale, and the curve may go on where it was', () => {
    const a = stackCurve();
    const b = stackCurve();
    const pages = Float64Array.from({ length: 50_000 }, () => r.below(20_000));
    const bytes = pages.map((p) => p * 4096 + r.below(4096));
    stackCurveAdd(a, pages, 0, pages.length);
    stackCurveAdd(b, bytes, 0, 20_000, 1 / 4096);
    stackCurveAdd(b, bytes, 20_000, pages.length, 1 / 4096);
    checkStackCurve(b);
    expect([...missCurve(b)]).toEqual([...missCurve(a)]);
  });
});

test('what is no curve', () => {
  for (const [sets, ways] of [
    [0, 4],
    [4, 0],
    [1.5, 2],
    [2 ** 20, 2 ** 20],
  ] as const)
    expect(() => setCurve(sets, ways)).toThrow(/expected whole numbers above 0/);
});
