/**
 * Which blocks of a folio are uptodate and which are dirty. iomap keeps two bits a block in one small record; the older way
 * hangs a list of buffer_heads, 104 bytes a block, off the folio. The bits here serve both; the bytes differ.
 *
 * A row is the folio's private word. Bitmaps are powers of two of words in one pool, with a free list for each size.
 */
import { allocate, grow, i32, type Table } from '../base/table.ts';

const rowLayout = {
  nr: i32('blocks of the folio'),
  at: i32('first word of its bitmaps in the pool'),
  readPending: i32('bytes of reads in flight'),
  writePending: i32('bytes of write-back in flight'),
  edge: i32(
    'the read in flight is for a write to part of the folio, and the rest stays as it is; 1: the writer is there and has the lock, 2: the end of the read unlocks',
  ),
} as const;

export class BlockStates {
  readonly rows: Table<typeof rowLayout> = allocate(rowLayout, 64);
  private bits = new Int32Array(256);
  private bitsTop = 0;
  /** Freed bitmaps by log2 of words, freed rows: stacks. */
  private readonly freeBits: number[][] = [];
  private readonly freeRows: number[] = [];
  private top = 1;
  /** Rows in use, and blocks in them. */
  used = 0;
  blocks = 0;
  /** Result of nextDirty: length of the run. */
  run = 0;

  /** A row for `nr` blocks, nothing set. */
  alloc(nr: number): number {
    let row = this.freeRows.pop();
    if (row === undefined) {
      row = this.top++;
      if (row >= this.rows.rows) grow(rowLayout, this.rows, this.rows.rows * 2);
    }
    const words = Math.max(1, nr >>> 5);
    const size = 31 - Math.clz32(words);
    let at = this.freeBits[size]?.pop();
    if (at === undefined) {
      at = this.bitsTop;
      this.bitsTop += words * 2;
      if (this.bitsTop > this.bits.length) {
        const next = new Int32Array(Math.max(this.bits.length * 2, this.bitsTop));
        next.set(this.bits);
        this.bits = next;
      }
    } else this.bits.fill(0, at, at + words * 2);
    const { rows } = this;
    rows.nr[row] = nr;
    rows.at[row] = at;
    rows.readPending[row] = 0;
    rows.writePending[row] = 0;
    rows.edge[row] = 0;
    this.used++;
    this.blocks += nr;
    return row;
  }

  free(row: number): void {
    const nr = this.rows.nr[row] as number;
    const size = 31 - Math.clz32(Math.max(1, nr >>> 5));
    let list = this.freeBits[size];
    if (list === undefined) {
      list = [];
      this.freeBits[size] = list;
    }
    list.push(this.rows.at[row] as number);
    this.freeRows.push(row);
    this.used--;
    this.blocks -= nr;
  }

  private words(row: number): number {
    return Math.max(1, (this.rows.nr[row] as number) >>> 5);
  }

  private fill(base: number, first: number, n: number, set: boolean): void {
    const { bits } = this;
    for (let i = first; i < first + n; ) {
      const word = base + (i >>> 5);
      const low = i & 31;
      const high = Math.min(32, low + (first + n - i));
      const mask = (high === 32 ? -1 : (1 << high) - 1) & (-1 << low);
      bits[word] = set ? (bits[word] as number) | mask : (bits[word] as number) & ~mask;
      i += high - low;
    }
  }

  private all(base: number, first: number, n: number): boolean {
    for (let i = first; i < first + n; ) {
      const low = i & 31;
      const high = Math.min(32, low + (first + n - i));
      const mask = (high === 32 ? -1 : (1 << high) - 1) & (-1 << low);
      if (((this.bits[base + (i >>> 5)] as number) & mask) !== mask) return false;
      i += high - low;
    }
    return true;
  }

  setUptodate(row: number, first: number, n: number): void {
    this.fill(this.rows.at[row] as number, first, n, true);
  }
  isUptodate(row: number, first: number, n: number): boolean {
    return this.all(this.rows.at[row] as number, first, n);
  }
  allUptodate(row: number): boolean {
    return this.isUptodate(row, 0, this.rows.nr[row] as number);
  }
  setDirty(row: number, first: number, n: number): void {
    this.fill((this.rows.at[row] as number) + this.words(row), first, n, true);
  }
  /** Every uptodate block is dirty: what kernels without dirty bits take a dirty folio for. */
  dirtyUptodate(row: number): void {
    const at = this.rows.at[row] as number;
    const words = this.words(row);
    this.bits.copyWithin(at + words, at, at + words);
  }
  clearDirty(row: number, first: number, n: number): void {
    this.fill((this.rows.at[row] as number) + this.words(row), first, n, false);
  }

  /** First dirty block at or after `from`, −1 when there is none; `run` is how many dirty blocks begin there. */
  nextDirty(row: number, from: number): number {
    const nr = this.rows.nr[row] as number;
    const base = (this.rows.at[row] as number) + this.words(row);
    const bit = (i: number): number => ((this.bits[base + (i >>> 5)] as number) >>> (i & 31)) & 1;
    let i = from;
    while (i < nr && bit(i) === 0) {
      if ((i & 31) === 0 && this.bits[base + (i >>> 5)] === 0) i += 32;
      else i++;
    }
    if (i >= nr) return -1;
    let j = i + 1;
    while (j < nr && bit(j) === 1) j++;
    this.run = j - i;
    return i;
  }
}
