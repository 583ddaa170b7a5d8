/**
 * Looks at what random reads will look at before they are replayed: the slot of the tree, then the folio in it. Neither is
 * in a cache of the host as a rule, and a read cannot go on before it has them; questions that are asked together are
 * answered in the time of one. Nothing is changed, and nothing here branches on what it has just asked for: the host would
 * guess, often wrong, and wait.
 */
import { slotOf } from '../base/xarray_node.ts';
import { FMODE_RANDOM } from '../mm/address_space.ts';
import type { Machine } from '../mm/machine.ts';
import { PAGE_WORDS } from '../mm/mm_types.ts';
import { type Events, OP } from '../trace/event.ts';

/** Reads that are looked at together. */
export const AHEAD = 32;
const { pread } = OP;

export class LookAhead {
  private readonly m: Machine;
  private readonly slots = new Int32Array(AHEAD);
  /** What was seen: kept, so that looking is not found to be useless and left out. */
  private seen = 0;

  constructor(m: Machine) {
    this.m = m;
  }

  /** Looks at what the random reads among operations [from, to) will look at. */
  reads(e: Events, from: number, to: number, handleFile: Int32Array): void {
    const { m, slots: at } = this;
    const { op, id, offset } = e;
    const { fmode, mapping } = m.files;
    const { head } = m.spaces;
    const page = 1 / m.config.pageSize;
    let n = 0;
    for (let i = from; i < to; i++) {
      const file = handleFile[id[i] as number] as number;
      if (op[i] !== pread || ((fmode[file] as number) & FMODE_RANDOM) === 0) continue;
      const slot = slotOf(m.pages, head[mapping[file] as number] as number, ((offset[i] as number) * page) | 0);
      if (slot >= 0) at[n++] = slot;
    }
    const { slots, age } = m.pages.nodes;
    const { map } = m;
    let seen = 0;
    for (let i = 0; i < n; i++) {
      const slot = at[i] as number;
      const word = slots[slot] as number;
      const none = word >> 31;
      seen ^= (map[(word & ~none) * PAGE_WORDS] as number) ^ (age[slot & none] as number);
    }
    this.seen ^= seen;
  }
}
