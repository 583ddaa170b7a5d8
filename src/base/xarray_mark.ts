/**
 * Marks of an XArray: three bits an entry. A node's own slot carries a mark in its parent when anything below it does, so
 * that a search passes over what has none.
 */
import { entrySlotOf, toNode, type Xarray } from './xarray_node.ts';

export const XA_MARK_DIRTY = 0;
export const XA_MARK_WRITEBACK = 1;
export const XA_MARK_TOWRITE = 2;

export function nodeMarked(xa: Xarray, n: number, mark: number): boolean {
  const w = n * 6 + mark * 2;
  return ((xa.nodes.marks[w] as number) | (xa.nodes.marks[w + 1] as number)) !== 0;
}

export const xaMarked = (xa: Xarray, head: number, mark: number): boolean =>
  head !== 0 && nodeMarked(xa, toNode(head), mark);

/** Is the entry that covers `index` marked? */
export const xaGetMark = (xa: Xarray, head: number, index: number, mark: number): boolean =>
  slotMarked(xa, entrySlotOf(xa, head, index), mark);

function slotMarked(xa: Xarray, at: number, mark: number): boolean {
  const w = (at >> 6) * 6 + mark * 2 + ((at >> 5) & 1);
  return (((xa.nodes.marks[w] as number) >>> (at & 31)) & 1) !== 0;
}

/** Marks the entry at `index`, and the nodes above it. @kernel lib/xarray.c xas_set_mark (6.18) */
export function xaSetMark(xa: Xarray, head: number, index: number, mark: number): void {
  const { marks, parent, offset } = xa.nodes;
  const at = entrySlotOf(xa, head, index);
  let n = at >> 6;
  let slot = at & 63;
  while (n >= 0) {
    const w = n * 6 + mark * 2 + (slot >>> 5);
    const bit = 1 << (slot & 31);
    if (((marks[w] as number) & bit) !== 0) return;
    marks[w] = (marks[w] as number) | bit;
    slot = offset[n] as number;
    n = parent[n] as number;
  }
}

/** @kernel lib/xarray.c xas_clear_mark (6.18) */
export function xaClearMark(xa: Xarray, head: number, index: number, mark: number): void {
  clearSlotMark(xa, entrySlotOf(xa, head, index), mark);
}

/** Takes a mark from a slot, and from the nodes above that have no other slot with it. */
export function clearSlotMark(xa: Xarray, at: number, mark: number): void {
  const { marks, parent, offset } = xa.nodes;
  let n = at >> 6;
  let slot = at & 63;
  while (n >= 0) {
    const w = n * 6 + mark * 2 + (slot >>> 5);
    const bit = 1 << (slot & 31);
    if (((marks[w] as number) & bit) === 0) return;
    marks[w] = (marks[w] as number) & ~bit;
    if (nodeMarked(xa, n, mark)) return;
    slot = offset[n] as number;
    n = parent[n] as number;
  }
}

/** The first entry with the mark whose slot covers or follows `index`, up to `last`, or 0. `xa.index`: where. */
export function xaFindMarked(xa: Xarray, head: number, index: number, last: number, mark: number): number {
  if (head === 0) return 0;
  const { slots, shift, marks, parent, offset } = xa.nodes;
  let n = toNode(head);
  let s = shift[n] as number;
  let i = index;
  if (s < 24 && i >>> (s + 6) !== 0) return 0;
  let slot = (i >>> s) & 63;
  // The walk may start on a sibling of a marked entry.
  const at = entrySlotOf(xa, head, index);
  if ((slots[at << 1] as number) > 0 && slotMarked(xa, at, mark)) {
    xa.index = index;
    return slots[at << 1] as number;
  }
  while (i <= last) {
    const w = n * 6 + mark * 2;
    const next = nextBit(marks[w] as number, marks[w + 1] as number, slot);
    if (next < 64) {
      if (next !== slot) {
        i = (Math.floor(i / 2 ** (s + 6)) * 64 + next) * 2 ** s;
        slot = next;
      }
      const e = slots[(n * 64 + slot) << 1] as number;
      if (e > 0) {
        if (i > last) return 0;
        xa.index = i;
        return e;
      }
      n = toNode(e);
      s -= 6;
      slot = (i >>> s) & 63;
      continue;
    }
    i = (Math.floor(i / 2 ** (s + 6)) + 1) * 2 ** (s + 6);
    do {
      slot = (offset[n] as number) + 1;
      n = parent[n] as number;
      if (n < 0) return 0;
      s += 6;
    } while (slot === 64);
  }
  return 0;
}

/** First set bit of a 64-bit word (two halves) at or after `from`; 64: none. */
function nextBit(lo: number, hi: number, from: number): number {
  if (from < 32) {
    const l = lo & (-1 << from);
    if (l !== 0) return 31 - Math.clz32(l & -l);
    return hi !== 0 ? 63 - Math.clz32(hi & -hi) : 64;
  }
  const h = hi & (-1 << (from - 32));
  return h !== 0 ? 63 - Math.clz32(h & -h) : 64;
}
