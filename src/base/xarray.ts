/**
 * The XArray: a radix tree of 64-slot nodes from a file's page index to a row number, where one entry may cover a
 * power-of-two range of indices, and each entry carries three marks.
 *
 * A node of shift s covers 64 << s indices, a slot 1 << s. An entry of order o lies in the node of shift 6·⌊o/6⌋ and takes
 * 2^(o mod 6) slots there: the first holds the entry, the rest hold *siblings*, the number of that first slot.
 *
 *   64:5 96:4 in a file:   shift 6   [ . | • | . … ]
 *                                          └─ shift 0, base 64: [ F64 s0 s0 … | F96 s32 s32 … | . … ]
 *
 * What a slot holds is told by its sign and top bits:
 *   0 nothing · > 0 an entry (row number) · node pointer · sibling · value (30 bits, with 32 more in the slot's second word).
 * Values stand where an entry was evicted; lookups of entries treat them as empty.
 *
 * Cursors step the way the kernel's do, and so their index and slot part ways when they start inside a multi-index entry
 * (see nextMiss): readahead decides by that.
 *
 * @kernel lib/xarray.c xas_store (6.18)
 */
import { clearSlotMark, nodeMarked, xaGetMark, xaSetMark } from './xarray_mark.ts';
import {
  addCounts,
  deleteNode,
  entrySlotOf,
  freeNode,
  isNode,
  isSibling,
  isValue,
  newNode,
  nodeEntry,
  siblingEntry,
  slotOf,
  toNode,
  toSibling,
  type Xarray,
} from './xarray_node.ts';

/** What is stored at `index`: an entry, a value, or 0. `xa.age` holds a value's upper word. */
export function xaLoad(xa: Xarray, head: number, index: number): number {
  let at = slotOf(xa, head, index);
  if (at < 0) return 0;
  const { slots } = xa.nodes;
  let e = slots[at << 1] as number;
  if (e >= 0) return e;
  if (isSibling(e)) {
    at = (at & ~63) | toSibling(e);
    e = slots[at << 1] as number;
    if (e > 0) return e;
  }
  xa.age = (slots[(at << 1) | 1] as number) >>> 0;
  return e;
}

/** Makes the tree tall enough for `last`, with a root of at least `shift`. */
function expand(xa: Xarray, heads: Int32Array, h: number, last: number, shift: number): void {
  const head = heads[h] as number;
  if (head === 0) {
    let s = shift;
    while (s < 30 && last >>> s > 63) s += 6;
    heads[h] = nodeEntry(newNode(xa, h, -1, 0, s));
    return;
  }
  let n = toNode(head);
  for (;;) {
    const s = xa.nodes.shift[n] as number;
    if (s >= shift && (s >= 30 || last >>> s <= 63)) return;
    const up = newNode(xa, h, -1, 0, s + 6);
    const t = xa.nodes;
    t.slots[(up * 64) << 1] = nodeEntry(n);
    t.count[up] = 1;
    t.parent[n] = up;
    t.offset[n] = 0;
    for (let mark = 0; mark < 3; mark++) if (nodeMarked(xa, n, mark)) t.marks[up * 6 + mark * 2] = 1;
    heads[h] = nodeEntry(up);
    n = up;
  }
}

/** Node of the given shift that covers `index`, made where missing. Values met on the way down are split. */
function descend(xa: Xarray, heads: Int32Array, h: number, index: number, shift: number): number {
  let n = toNode(heads[h] as number);
  while ((xa.nodes.shift[n] as number) > shift) {
    const s = xa.nodes.shift[n] as number;
    const slot = (index >>> s) & 63;
    let e = xa.nodes.slots[(n * 64 + slot) << 1] as number;
    if (e < 0 && !isNode(e)) {
      spreadValue(xa, n, slot);
      e = xa.nodes.slots[(n * 64 + slot) << 1] as number;
    }
    if (isNode(e)) n = toNode(e);
    else {
      const child = newNode(xa, h, n, slot, s - 6);
      const t = xa.nodes;
      if (e === 0) addCounts(xa, n, 1, 0);
      else {
        const age = t.slots[((n * 64 + slot) << 1) | 1] as number;
        for (let i = child * 64; i < child * 64 + 64; i++) {
          t.slots[i << 1] = e;
          t.slots[(i << 1) | 1] = age;
        }
        addCounts(xa, child, 64, 64);
        addCounts(xa, n, 0, -1);
      }
      t.slots[(n * 64 + slot) << 1] = nodeEntry(child);
      n = child;
    }
  }
  return n;
}

/** The value in a slot, of several slots perhaps, goes from this one; what takes its place is the caller's. */
export function xaClearValue(xa: Xarray, at: number): void {
  spreadValue(xa, at >> 6, at & 63);
  addCounts(xa, at >> 6, 0, -1);
}

/** Turns the multi-slot value that covers `slot` into single ones. */
function spreadValue(xa: Xarray, n: number, slot: number): void {
  const { slots } = xa.nodes;
  let first = slot;
  const e = slots[(n * 64 + slot) << 1] as number;
  if (isSibling(e)) first = toSibling(e);
  const value = slots[(n * 64 + first) << 1] as number;
  const sibling = siblingEntry(first);
  for (let i = first + 1; i < 64 && slots[(n * 64 + i) << 1] === sibling; i++) {
    slots[(n * 64 + i) << 1] = value;
    slots[((n * 64 + i) << 1) | 1] = slots[((n * 64 + first) << 1) | 1] as number;
  }
}

/**
 * The first thing stored at or after `index`, up to `last`: an entry, a value, or 0. `xa.index` is where it was found,
 * `xa.after` the first index past the slot it was found in.
 */
export function xaNext(xa: Xarray, head: number, index: number, last: number): number {
  if (head === 0) return 0;
  const { slots, shift, parent, offset } = xa.nodes;
  let n = toNode(head);
  let s = shift[n] as number;
  let i = index;
  if (s < 24 && i >>> (s + 6) !== 0) return 0;
  let slot = (i >>> s) & 63;
  while (i <= last) {
    const e = slots[(n * 64 + slot) << 1] as number;
    if (isNode(e)) {
      n = toNode(e);
      s -= 6;
      slot = (i >>> s) & 63;
      continue;
    }
    if (e !== 0) {
      xa.index = i;
      xa.after = ((i >>> s) + 1) * (1 << s);
      if (e > 0) return e;
      const at = n * 64 + (isSibling(e) ? toSibling(e) : slot);
      xa.age = (xa.nodes.slots[(at << 1) | 1] as number) >>> 0;
      return slots[at << 1] as number;
    }
    // Nothing here: the next slot, or the parent's next slot when this node is through.
    i = ((i >>> s) + 1) * (1 << s);
    while (++slot === 64) {
      slot = offset[n] as number;
      n = parent[n] as number;
      if (n < 0) return 0;
      s += 6;
    }
  }
  return 0;
}

/** The first entry (no value) at or after `index`, up to `last`, or 0. */
export function xaFind(xa: Xarray, head: number, index: number, last: number): number {
  let e = xaNext(xa, head, index, last);
  while (e < 0) e = xaNext(xa, head, xa.after, last);
  return e;
}

/**
 * What stands in the way of an entry of 2^order indices at `index`: an entry (> 0), 0 for nothing, or the last value there
 * (`xa.age` its upper word). @kernel include/linux/xarray.h xas_for_each_conflict (6.18)
 */
export function xaConflict(xa: Xarray, head: number, index: number, order: number): number {
  if (order === 0) return xaLoad(xa, head, index);
  const last = index + (1 << order) - 1;
  let value = 0;
  let age = 0;
  let e = xaNext(xa, head, index, last);
  while (e < 0) {
    value = e;
    age = xa.age;
    e = xaNext(xa, head, xa.after, last);
  }
  xa.age = age;
  return e > 0 ? e : value;
}

/** Frees everything below a slot (values, and the nodes that hold them). */
function clearBelow(xa: Xarray, n: number, slot: number): void {
  const t = xa.nodes;
  const e = t.slots[(n * 64 + slot) << 1] as number;
  if (!isNode(e)) return;
  const child = toNode(e);
  for (let i = 0; i < 64; i++) {
    clearBelow(xa, child, i);
    t.slots[(child * 64 + i) << 1] = 0;
  }
  addCounts(xa, child, -(t.count[child] as number), -(t.values[child] as number));
  freeNode(xa, child);
  t.slots[(n * 64 + slot) << 1] = 0;
  addCounts(xa, n, -1, 0);
}

/**
 * Stores an entry (a row number > 0) of 2^order indices at `index`, which is a multiple of that. Values under it go; there
 * must be no entry (ask xaConflict). No mark is set. @kernel lib/xarray.c xas_store (6.18)
 */
export function xaStore(xa: Xarray, heads: Int32Array, h: number, index: number, order: number, entry: number): void {
  const shift = order < 6 ? 0 : order < 12 ? 6 : 12;
  let n = xa.leaf;
  if (shift !== 0 || heads[h] !== xa.leafHead || index >>> 6 !== xa.leafAt) {
    expand(xa, heads, h, index + (1 << order) - 1, shift);
    n = descend(xa, heads, h, index, shift);
  }
  const slot = (index >>> shift) & 63;
  const { slots } = xa.nodes;
  const at = n * 64 + slot;
  const width = 1 << (order - shift);
  if (width === 1) {
    const old = slots[at << 1] as number;
    if (old === 0) addCounts(xa, n, 1, 0);
    else if (isNode(old)) {
      clearBelow(xa, n, slot);
      addCounts(xa, n, 1, 0);
    } else {
      spreadValue(xa, n, slot);
      addCounts(xa, n, 0, -1);
    }
    slots[at << 1] = entry;
    return;
  }
  let filled = 0;
  let values = 0;
  const sibling = siblingEntry(slot);
  for (let i = slot; i < slot + width; i++) {
    clearBelow(xa, n, i);
    if (slots[(n * 64 + i) << 1] === 0) filled++;
    else {
      spreadValue(xa, n, i);
      values++;
    }
  }
  slots[at << 1] = entry;
  for (let i = slot + 1; i < slot + width; i++) slots[(n * 64 + i) << 1] = sibling;
  addCounts(xa, n, filled, -values);
}

/**
 * Takes out the entry of 2^order indices at `index`, with its marks. `value` takes its place (a value entry with `age` as
 * its upper word), or 0 for nothing.
 */
export function xaErase(
  xa: Xarray,
  heads: Int32Array,
  h: number,
  index: number,
  order: number,
  value: number,
  age: number,
): void {
  const at = entrySlotOf(xa, heads[h] as number, index);
  const n = at >> 6;
  const { slots, count } = xa.nodes;
  const width = 1 << (order < 6 ? order : order < 12 ? order - 6 : order - 12);
  for (let mark = 0; mark < 3; mark++) clearSlotMark(xa, at, mark);
  slots[at << 1] = value;
  if (value !== 0) {
    slots[(at << 1) | 1] = age;
    addCounts(xa, n, 0, width);
    return;
  }
  for (let i = at + 1; i < at + width; i++) slots[i << 1] = 0;
  addCounts(xa, n, -width, 0);
  if (count[n] === 0) deleteNode(xa, heads, h, n);
}

/** Takes out the value at `index`, if there is one: one slot's worth. */
export function xaEraseValue(xa: Xarray, heads: Int32Array, h: number, index: number): void {
  const head = heads[h] as number;
  if (!isValue(xaLoad(xa, head, index))) return;
  const at = slotOf(xa, head, index);
  const n = at >> 6;
  spreadValue(xa, n, at & 63);
  xa.nodes.slots[at << 1] = 0;
  addCounts(xa, n, -1, -1);
  if (xa.nodes.count[n] === 0) deleteNode(xa, heads, h, n);
}

/** Puts another row number in the place of the entry at `index`. */
export function xaReplace(xa: Xarray, head: number, index: number, entry: number): void {
  xa.nodes.slots[entrySlotOf(xa, head, index) << 1] = entry;
}

/**
 * Splits the entry of 2^order indices at `index` into the pieces given (first indices, orders and row numbers, ascending,
 * covering the range). Marks go to every piece. @kernel lib/xarray.c xas_split (6.18)
 */
export function xaSplit(
  xa: Xarray,
  heads: Int32Array,
  h: number,
  index: number,
  order: number,
  pieces: readonly { readonly index: number; readonly order: number; readonly entry: number }[],
): void {
  const marked = [0, 1, 2].filter((mark) => xaGetMark(xa, heads[h] as number, index, mark));
  xaErase(xa, heads, h, index, order, 0, 0);
  for (const piece of pieces) {
    xaStore(xa, heads, h, piece.index, piece.order, piece.entry);
    for (const mark of marked) xaSetMark(xa, heads[h] as number, piece.index, mark);
  }
}
