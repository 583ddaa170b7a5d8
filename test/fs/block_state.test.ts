import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { BlockStates } from '../../src/fs/block_state.ts';

interface Plain {
  readonly row: number;
  readonly uptodate: boolean[];
  readonly dirty: boolean[];
}

describe('per-block state', () => {
  it('agrees with plain arrays over 30,000 random changes to rows that come and go', () => {
    const r = new Prng(5);
    const s = new BlockStates();
    const rows: Plain[] = [];
    for (let step = 0; step < 30_000; step++) {
      if (rows.length === 0 || r.below(20) === 0) {
        const nr = 2 ** r.below(12);
        rows.push({ row: s.alloc(nr), uptodate: new Array(nr).fill(false), dirty: new Array(nr).fill(false) });
      }
      const at = r.below(rows.length);
      const x = rows[at];
      const nr = x.uptodate.length;
      const first = r.below(nr);
      const n = r.between(1, nr - first);
      const what = r.below(6);
      if (what === 0) {
        s.setUptodate(x.row, first, n);
        x.uptodate.fill(true, first, first + n);
      } else if (what === 1) {
        s.setDirty(x.row, first, n);
        x.dirty.fill(true, first, first + n);
      } else if (what === 2) {
        s.clearDirty(x.row, first, n);
        x.dirty.fill(false, first, first + n);
      } else if (what === 3 && rows.length > 8) {
        s.free(x.row);
        rows.splice(at, 1);
        continue;
      } else if (what === 4) {
        s.dirtyUptodate(x.row);
        x.uptodate.forEach((u, i) => {
          x.dirty[i] = u;
        });
      }
      expect(s.isUptodate(x.row, first, n), `step ${step}`).toBe(x.uptodate.slice(first, first + n).every(Boolean));
      expect(s.allUptodate(x.row)).toBe(x.uptodate.every(Boolean));
      const next = x.dirty.indexOf(true, first);
      expect(s.nextDirty(x.row, first)).toBe(next);
      if (next >= 0) {
        const end = x.dirty.indexOf(false, next);
        expect(s.run).toBe((end < 0 ? nr : end) - next);
      }
    }
    expect(s.used).toBe(rows.length);
    expect(s.blocks).toBe(rows.reduce((sum, x) => sum + x.uptodate.length, 0));
  });
});
