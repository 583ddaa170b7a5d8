/**
 * Searches for gaps in an XArray, as the kernel's cursor makes them. The cursor carries an index and a slot. Loading an
 * index inside a multi-index entry moves the slot to the entry's first one and leaves the index; a step moves both by one.
 * So within a node the slot lags behind, and a gap is reported at the cursor's index: too far by the lag. Readahead decides
 * by what is reported.
 */
import { entrySlotOf, isNode, isSibling, slotOf, toNode, type Xarray } from './xarray_node.ts';

/** Nothing, or a value: what the page cache calls a gap. */
const isGap = (e: number): boolean => e <= 0 && !isSibling(e);

/**
 * The first gap at or after `index`, looking at `steps` indices. Returns index + steps when there is none, 0 after a wrap.
 * @kernel mm/filemap.c page_cache_next_miss (6.18)
 */
export function nextMiss(xa: Xarray, head: number, index: number, steps: number): number {
  if (head === 0 || steps === 0) return index;
  const { slots, shift, parent, offset } = xa.nodes;
  if (index < 0 || slotOf(xa, head, index) < 0) return index;
  const at = entrySlotOf(xa, head, index);
  let n = at >> 6;
  let slot = at & 63;
  let i = index;
  let e = slots[at << 1] as number;
  for (let left = steps; ; ) {
    if (isGap(e)) return i;
    if (--left === 0) return index + steps;
    i++;
    if (shift[n] === 0 && slot !== 63) e = slots[(n * 64 + ++slot) << 1] as number;
    else {
      if (slot !== ((i >>> (shift[n] as number)) & 63)) slot++;
      while (slot === 64) {
        slot = (offset[n] as number) + 1;
        n = parent[n] as number;
        if (n < 0) return i;
      }
      e = slots[(n * 64 + slot) << 1] as number;
      while (isNode(e)) {
        n = toNode(e);
        slot = (i >>> (shift[n] as number)) & 63;
        e = slots[(n * 64 + slot) << 1] as number;
      }
    }
  }
}

/**
 * The first gap at or before `index`, looking at `steps` indices going down; the last index looked at when there is none;
 * −1 below index 0. @kernel mm/filemap.c page_cache_prev_miss (6.18)
 */
export function prevMiss(xa: Xarray, head: number, index: number, steps: number): number {
  if (head === 0 || steps === 0) return index;
  const { slots, shift, parent, offset } = xa.nodes;
  if (index < 0 || slotOf(xa, head, index) < 0) return index;
  const at = entrySlotOf(xa, head, index);
  let n = at >> 6;
  let slot = at & 63;
  let i = index;
  let e = slots[at << 1] as number;
  for (let left = steps; ; ) {
    if (isGap(e)) return i;
    if (--left === 0) return i;
    i--;
    if (i < 0) return -1;
    if (shift[n] === 0 && slot !== 0) e = slots[(n * 64 + --slot) << 1] as number;
    else {
      if (slot !== ((i >>> (shift[n] as number)) & 63)) slot--;
      while (slot < 0) {
        slot = (offset[n] as number) - 1;
        n = parent[n] as number;
        if (n < 0) return i;
      }
      e = slots[(n * 64 + slot) << 1] as number;
      while (isNode(e)) {
        n = toNode(e);
        slot = (i >>> (shift[n] as number)) & 63;
        e = slots[(n * 64 + slot) << 1] as number;
      }
    }
  }
}
