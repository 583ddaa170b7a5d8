/**
 * Where a file's blocks are: a sorted list of extents in units of file-system blocks. What no extent covers is a hole.
 * Neighbours of one state that lie together on the device are one extent.
 */

/** Reserved in memory, no place on the device yet. */
export const DELALLOC = 1;
/** Allocated, reads as zeros. */
export const UNWRITTEN = 2;
/** Allocated and written. */
export const MAPPED = 3;

export interface Extent {
  /** First block. */
  start: number;
  /** Block past the last one. */
  end: number;
  state: number;
  /** First block on the device; −1 where it does not matter or is not decided. */
  phys: number;
}

/** A part of a range: all of one extent, or all hole. */
export interface Part {
  readonly start: number;
  readonly end: number;
  readonly extent: Extent | undefined;
}

export class Extents {
  readonly list: Extent[] = [];
  /** Grows with every change. */
  version = 0;

  /** Position of the extent that holds the block, or of the first one after it. */
  find(block: number): number {
    const { list } = this;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if ((list[mid] as Extent).end <= block) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  /** The extent that holds the block, or undefined for a hole. */
  at(block: number): Extent | undefined {
    const e = this.list[this.find(block)];
    return e !== undefined && e.start <= block ? e : undefined;
  }

  /** First block of an extent at or after `block`; Infinity when there is none. */
  nextStart(block: number): number {
    const e = this.list[this.find(block)];
    return e === undefined ? Number.POSITIVE_INFINITY : Math.max(e.start, block);
  }

  /** [start, end) cut where extents and holes meet, ascending. */
  parts(start: number, end: number): Part[] {
    const out: Part[] = [];
    for (let b = start; b < end; ) {
      const extent = this.at(b);
      const stop = Math.min(extent === undefined ? this.nextStart(b) : extent.end, end);
      out.push({ start: b, end: stop, extent });
      b = stop;
    }
    return out;
  }

  /** Makes [start, end) a hole. */
  remove(start: number, end: number): void {
    if (start >= end) return;
    this.version++;
    const { list } = this;
    let i = this.find(start);
    while (i < list.length && (list[i] as Extent).start < end) {
      const e = list[i] as Extent;
      if (e.start < start && e.end > end) {
        list.splice(i + 1, 0, { start: end, end: e.end, state: e.state, phys: shifted(e, end) });
        e.end = start;
        return;
      }
      if (e.start < start) {
        e.end = start;
        i++;
      } else if (e.end > end) {
        e.phys = shifted(e, end);
        e.start = end;
        return;
      } else list.splice(i, 1);
    }
  }

  /** Gives [start, end) a state and a place, joining neighbours that fit. */
  set(start: number, end: number, state: number, phys = -1): void {
    if (start >= end) return;
    this.remove(start, end);
    const { list } = this;
    this.version++;
    let i = this.find(start);
    const e: Extent = { start, end, state, phys };
    const before = list[i - 1];
    if (before !== undefined && joins(before, e)) {
      e.start = before.start;
      e.phys = before.phys;
      list.splice(--i, 1);
    }
    const after = list[i];
    if (after !== undefined && joins(e, after)) {
      e.end = after.end;
      list.splice(i, 1);
    }
    list.splice(i, 0, e);
  }

  /** Turns what is allocated in [start, end) from one state into another, where it lies. */
  convert(start: number, end: number, from: number, to: number): void {
    for (let i = this.find(start); i < this.list.length; i++) {
      const e = this.list[i] as Extent;
      if (e.start >= end) return;
      if (e.state !== from) continue;
      const a = Math.max(e.start, start);
      this.set(a, Math.min(e.end, end), to, shifted(e, a));
      i = this.find(a);
    }
  }

  /** Is all of [start, end) in one state? */
  covers(start: number, end: number, state: number): boolean {
    const e = this.at(start);
    return e !== undefined && e.end >= end && e.state === state;
  }
}

/** Place of block `at` of an extent. */
const shifted = (e: Extent, at: number): number => (e.phys < 0 ? -1 : e.phys + at - e.start);

const joins = (a: Extent, b: Extent): boolean =>
  a.end === b.start && a.state === b.state && (a.phys < 0 ? b.phys < 0 : b.phys === a.phys + a.end - a.start);
