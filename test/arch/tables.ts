/** Page tables for tests and benchmarks: an array of entries as mm/pgtable.ts keeps it, without an engine. */
import type { PageTableGeometry } from '../../src/arch/pgtable.ts';
import { LEAF, PRESENT } from '../../src/arch/walk.ts';

/** Number of the entry for `addr` in its table at level `n`. */
export function entryIndex(g: PageTableGeometry, n: number, addr: number): number {
  const { shift, bits } = g.levels[n];
  const mask = (1 << bits) - 1;
  if (shift >= 32) return (Math.floor(addr / 4294967296) >>> (shift - 32)) & mask;
  const low = (addr >>> 0) >>> shift;
  if (shift + bits <= 32) return low & mask;
  return ((Math.floor(addr / 4294967296) << (32 - shift)) | low) & mask;
}

export class Tables {
  readonly g: PageTableGeometry;
  readonly entryShift: number;
  entries: Int32Array;
  readonly top = 1;
  private used = 2;
  constructor(g: PageTableGeometry) {
    this.g = g;
    this.entryShift = g.levels[0].bits;
    this.entries = new Int32Array(8 << (this.entryShift + 1));
  }

  /** Number of the entry for an address at a level, with tables made on the way. */
  entry(addr: number, level: number): number {
    let table = this.top;
    for (let n = this.g.levels.length - 1; n > level; n--) {
      const e = (table << this.entryShift) + entryIndex(this.g, n, addr);
      if (this.entries[e * 2 + 1] === 0) {
        if (this.used << (this.entryShift + 1) >= this.entries.length) {
          const more = new Int32Array(this.entries.length * 2);
          more.set(this.entries);
          this.entries = more;
        }
        this.entries[e * 2] = this.used++;
        this.entries[e * 2 + 1] = PRESENT;
      }
      table = this.entries[e * 2];
    }
    return (table << this.entryShift) + entryIndex(this.g, level, addr);
  }

  /** Writes a leaf; flags 0 clear it. */
  set(addr: number, level: number, frame: number, flags: number): void {
    const e = this.entry(addr, level);
    this.entries[e * 2] = frame;
    this.entries[e * 2 + 1] = flags === 0 ? 0 : level > 0 ? flags | LEAF : flags;
  }

  flags(addr: number, level: number): number {
    return this.entries[this.entry(addr, level) * 2 + 1];
  }
}
