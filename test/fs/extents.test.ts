import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { DELALLOC, Extents, MAPPED, UNWRITTEN } from '../../src/fs/extents.ts';

const BLOCKS = 64;

describe('extents', () => {
  it('join neighbours of one state that lie together', () => {
    const e = new Extents();
    e.set(0, 4, MAPPED, 100);
    e.set(8, 12, MAPPED, 108);
    e.set(4, 8, MAPPED, 104);
    expect(e.list).toEqual([{ start: 0, end: 12, state: MAPPED, phys: 100 }]);
    e.set(12, 14, MAPPED, 300);
    expect(e.list.length).toBe(2);
    expect(e.covers(0, 12, MAPPED)).toBe(true);
    expect(e.covers(0, 14, MAPPED)).toBe(false);
  });

  it('agree with a plain array of blocks over 4,000 random changes', () => {
    const r = new Prng(11);
    const e = new Extents();
    const state = new Array<number>(BLOCKS).fill(0);
    const phys = new Array<number>(BLOCKS).fill(-1);
    for (let step = 0; step < 4000; step++) {
      const start = r.below(BLOCKS);
      const end = r.between(start, BLOCKS);
      const what = r.below(4);
      if (what === 0) e.remove(start, end);
      else if (what === 1) e.set(start, end, DELALLOC);
      else if (what === 2) e.set(start, end, UNWRITTEN, 1000 + start);
      else e.convert(start, end, UNWRITTEN, MAPPED);
      for (let b = start; b < end; b++) {
        if (what === 3) {
          if (state[b] === UNWRITTEN) state[b] = MAPPED;
          continue;
        }
        state[b] = [0, DELALLOC, UNWRITTEN][what];
        phys[b] = what === 2 ? 1000 + b : -1;
      }
      const places = Array.from({ length: BLOCKS }, (_, b) => {
        const at = e.at(b);
        return at === undefined ? [0, -1] : [at.state, at.phys < 0 ? -1 : at.phys + b - at.start];
      });
      expect(places, `step ${step}`).toEqual(state.map((x, b) => [x, x === 0 ? -1 : phys[b]]));
      e.list.forEach((x, i) => {
        const before = e.list[i - 1];
        expect(x.start).toBeLessThan(x.end);
        if (before !== undefined) expect(before.end).toBeLessThanOrEqual(x.start);
      });
    }
  });
});
