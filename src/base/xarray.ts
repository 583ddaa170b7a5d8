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
 *   0 nothing · > 0 an entry (row number) · node pointer · sibling · value (30 bits, with 32 more in the `age` column).
 * Values stand where an entry was evicted; lookups of entries treat them as empty.
 *
 * Cursors step the way the kernel's do, and so their index and slot part ways when they start inside a multi-index entry
 * (see nextMiss): readahead decides by that.
 *
 * @kernel lib/xarray.c xas_store (6.18)
 */
import { allocate, grow, i32, type Table, u8, u32 } from './table.ts';

const nodeLayout = {
  slots: i32('64 slots', 64),
  age: u32('upper words of the values in the slots', 64),
  marks: i32('three bitmaps of 64 bits', 6),
  parent: i32('node above; −1 for the root'),
  shift: u8('log2 of the indices a slot covers'),
  offset: u8('slot in the parent'),
  count: u8('slots that hold anything, siblings and nodes included'),
  values: u8('slots that hold values or their siblings'),
  tree: i32('which root the node belongs to'),
  tag: i32('who made the node'),
  newer: i32('next of the tag’s nodes that hold nothing but values; −1: none'),
  older: i32('the one before it'),
} as const;

const tagLayout = {
  used: i32('nodes in use that were made under the tag'),
  shadow: i32('of these, nodes that hold nothing but values'),
  oldest: i32('plus 1: the one of these that has been one for the longest time; 0: none'),
  newest: i32('plus 1: the one that became one last'),
} as const;

export interface Xarray {
  readonly nodes: Table<typeof nodeLayout>;
  /** First free node, chained through `parent`; −1: none. */
  free: number;
  /** Nodes in use. */
  used: number;
  /** Nodes ever used: rows below this have been touched. */
  top: number;
  /** Nodes in use that hold nothing but values. */
  shadowNodes: number;
  /** Under which nodes are made from now on: whoever pays for them. */
  tag: number;
  readonly tags: Table<typeof tagLayout>;
  /** After find and load calls: the index that the result was found at (the slot's first index, or the one asked for). */
  index: number;
  /** After xaNext: the first index past the slot that the result was found in. */
  after: number;
  /** After loads: upper word of the value found. */
  age: number;
  /** Scratch: slot of the node last looked up. */
  slot: number;
}

export const XA_MARK_DIRTY = 0;
export const XA_MARK_WRITEBACK = 1;
export const XA_MARK_TOWRITE = 2;

/** Bytes of one node in the kernel: struct xa_node, and its share of a slab. @kernel lib/radix-tree.c radix_tree_node_cachep (6.18) */
export const XA_NODE_BYTES = 576;

// Ranges of slot words, by sign and top bits: nodes < NODE_END <= siblings < SIBLING_END <= values < 0.
const NODE = -0x80000000;
const NODE_END = -0x60000000;
const SIBLING_END = -0x40000000;
const nodeEntry = (n: number): number => (NODE + n) | 0;
const toNode = (e: number): number => e - NODE;
const siblingEntry = (slot: number): number => NODE_END + slot;
const toSibling = (e: number): number => e - NODE_END;
/** Largest payload of a value entry. */
export const XA_VALUE_MAX = 0x3fffffff;
export const isValue = (e: number): boolean => e < 0 && e >= SIBLING_END;
export const valueEntry = (v: number): number => v + SIBLING_END;
export const toValue = (e: number): number => e - SIBLING_END;

export const xarray = (rows = 64): Xarray => ({
  nodes: allocate(nodeLayout, rows),
  free: -1,
  used: 0,
  top: 0,
  shadowNodes: 0,
  tag: 0,
  tags: allocate(tagLayout, 4),
  index: 0,
  after: 0,
  age: 0,
  slot: 0,
});

function newNode(xa: Xarray, tree: number, parent: number, offset: number, shift: number): number {
  let n = xa.free;
  if (n >= 0) xa.free = xa.nodes.parent[n] as number;
  else {
    n = xa.top++;
    if (n >= xa.nodes.rows) grow(nodeLayout, xa.nodes, xa.nodes.rows * 2);
  }
  const t = xa.nodes;
  t.parent[n] = parent;
  t.offset[n] = offset;
  t.shift[n] = shift;
  t.count[n] = 0;
  t.values[n] = 0;
  t.tree[n] = tree;
  t.tag[n] = xa.tag;
  if (xa.tag >= xa.tags.rows) grow(tagLayout, xa.tags, xa.tag * 2);
  xa.tags.used[xa.tag] = (xa.tags.used[xa.tag] as number) + 1;
  xa.used++;
  return n;
}

/** Nodes leave empty: slots and marks are zero by then. */
function freeNode(xa: Xarray, n: number): void {
  xa.nodes.parent[n] = xa.free;
  xa.free = n;
  xa.used--;
  const tag = xa.nodes.tag[n] as number;
  xa.tags.used[tag] = (xa.tags.used[tag] as number) - 1;
}

const onlyValues = (xa: Xarray, n: number): boolean =>
  (xa.nodes.count[n] as number) > 0 && xa.nodes.values[n] === xa.nodes.count[n];

/** Adds to a node's counts, keeping the number of nodes that hold only values. */
function addCounts(xa: Xarray, n: number, count: number, values: number): void {
  const was = onlyValues(xa, n);
  const t = xa.nodes;
  t.count[n] = (t.count[n] as number) + count;
  t.values[n] = (t.values[n] as number) + values;
  const is = onlyValues(xa, n);
  if (was === is) return;
  if (is) shadowAdd(xa, n);
  else shadowDelete(xa, n);
}

/** The node holds nothing but values from now on. @kernel mm/workingset.c workingset_update_node (6.18) */
function shadowAdd(xa: Xarray, n: number): void {
  const { newer, older, tag } = xa.nodes;
  const t = xa.tags;
  const g = tag[n] as number;
  const last = (t.newest[g] as number) - 1;
  newer[n] = -1;
  older[n] = last;
  if (last >= 0) newer[last] = n;
  else t.oldest[g] = n + 1;
  t.newest[g] = n + 1;
  t.shadow[g] = (t.shadow[g] as number) + 1;
  xa.shadowNodes++;
}

function shadowDelete(xa: Xarray, n: number): void {
  const { newer, older, tag } = xa.nodes;
  const t = xa.tags;
  const g = tag[n] as number;
  const next = newer[n] as number;
  const prev = older[n] as number;
  if (next >= 0) older[next] = prev;
  else t.newest[g] = prev + 1;
  if (prev >= 0) newer[prev] = next;
  else t.oldest[g] = next + 1;
  t.shadow[g] = (t.shadow[g] as number) - 1;
  xa.shadowNodes--;
}

/**
 * Frees the tag's oldest node that holds nothing but values, and the values with it. False: there is none.
 * @kernel mm/workingset.c shadow_lru_isolate (6.18)
 */
export function xaDropShadowNode(xa: Xarray, heads: Int32Array, tag: number): boolean {
  const t = xa.nodes;
  const n = (xa.tags.oldest[tag] as number) - 1;
  if (n < 0) return false;
  t.slots.fill(0, n * 64, n * 64 + 64);
  addCounts(xa, n, -(t.count[n] as number), -(t.values[n] as number));
  deleteNode(xa, heads, t.tree[n] as number, n);
  return true;
}

/** Frees the node if it is empty, and then its parent if that is. */
function deleteNode(xa: Xarray, heads: Int32Array, h: number, node: number): void {
  const t = xa.nodes;
  let n = node;
  while (t.count[n] === 0) {
    const parent = t.parent[n] as number;
    const offset = t.offset[n] as number;
    freeNode(xa, n);
    if (parent < 0) {
      heads[h] = 0;
      return;
    }
    t.slots[parent * 64 + offset] = 0;
    addCounts(xa, parent, -1, 0);
    n = parent;
  }
}

/** What is stored at `index`: an entry, a value, or 0. `xa.age` holds a value's upper word. */
export function xaLoad(xa: Xarray, head: number, index: number): number {
  if (head === 0) return 0;
  const { slots, shift } = xa.nodes;
  let n = toNode(head);
  let s = shift[n] as number;
  if (s < 24 && index >>> (s + 6) !== 0) return 0;
  for (;;) {
    let at = n * 64 + ((index >>> s) & 63);
    let e = slots[at] as number;
    if (e >= 0) return e;
    if (e < NODE_END) {
      n = toNode(e);
      s -= 6;
      continue;
    }
    if (e < SIBLING_END) {
      at = n * 64 + toSibling(e);
      e = slots[at] as number;
      if (e > 0) return e;
    }
    xa.age = xa.nodes.age[at] as number;
    return e;
  }
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
    t.slots[up * 64] = nodeEntry(n);
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
    let e = xa.nodes.slots[n * 64 + slot] as number;
    if (e < 0 && e >= NODE_END) {
      spreadValue(xa, n, slot);
      e = xa.nodes.slots[n * 64 + slot] as number;
    }
    if (e < NODE_END) n = toNode(e);
    else {
      const child = newNode(xa, h, n, slot, s - 6);
      const t = xa.nodes;
      if (e === 0) addCounts(xa, n, 1, 0);
      else {
        t.slots.fill(e, child * 64, child * 64 + 64);
        t.age.fill(t.age[n * 64 + slot] as number, child * 64, child * 64 + 64);
        addCounts(xa, child, 64, 64);
        addCounts(xa, n, 0, -1);
      }
      t.slots[n * 64 + slot] = nodeEntry(child);
      n = child;
    }
  }
  return n;
}

/** Turns the multi-slot value that covers `slot` into single ones. */
function spreadValue(xa: Xarray, n: number, slot: number): void {
  const { slots, age } = xa.nodes;
  let first = slot;
  const e = slots[n * 64 + slot] as number;
  if (e < SIBLING_END) first = toSibling(e);
  const value = slots[n * 64 + first] as number;
  const sibling = siblingEntry(first);
  for (let i = first + 1; i < 64 && slots[n * 64 + i] === sibling; i++) {
    slots[n * 64 + i] = value;
    age[n * 64 + i] = age[n * 64 + first] as number;
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
    const e = slots[n * 64 + slot] as number;
    if (e !== 0 && e < NODE_END) {
      n = toNode(e);
      s -= 6;
      slot = (i >>> s) & 63;
      continue;
    }
    if (e !== 0) {
      xa.index = i;
      xa.after = (Math.floor(i / 2 ** s) + 1) * 2 ** s;
      if (e > 0) return e;
      const at = n * 64 + (e < SIBLING_END ? toSibling(e) : slot);
      xa.age = xa.nodes.age[at] as number;
      return slots[at] as number;
    }
    // Nothing here: the next slot, or the parent's next slot when this node is through.
    i = (Math.floor(i / 2 ** s) + 1) * 2 ** s;
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
  const last = index + 2 ** order - 1;
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
  const e = t.slots[n * 64 + slot] as number;
  if (e === 0 || e >= NODE_END) return;
  const child = toNode(e);
  for (let i = 0; i < 64; i++) {
    clearBelow(xa, child, i);
    t.slots[child * 64 + i] = 0;
  }
  addCounts(xa, child, -(t.count[child] as number), -(t.values[child] as number));
  freeNode(xa, child);
  t.slots[n * 64 + slot] = 0;
  addCounts(xa, n, -1, 0);
}

/**
 * Stores an entry (a row number > 0) of 2^order indices at `index`, which is a multiple of that. Values under it go; there
 * must be no entry (ask xaConflict). No mark is set. @kernel lib/xarray.c xas_store (6.18)
 */
export function xaStore(xa: Xarray, heads: Int32Array, h: number, index: number, order: number, entry: number): void {
  const shift = order < 6 ? 0 : order < 12 ? 6 : 12;
  expand(xa, heads, h, index + 2 ** order - 1, shift);
  const n = descend(xa, heads, h, index, shift);
  const slot = (index >>> shift) & 63;
  const { slots } = xa.nodes;
  const at = n * 64 + slot;
  const width = 1 << (order - shift);
  if (width === 1) {
    const old = slots[at] as number;
    if (old === 0) addCounts(xa, n, 1, 0);
    else if (old < NODE_END) {
      clearBelow(xa, n, slot);
      addCounts(xa, n, 1, 0);
    } else {
      spreadValue(xa, n, slot);
      addCounts(xa, n, 0, -1);
    }
    slots[at] = entry;
    return;
  }
  let filled = 0;
  let values = 0;
  const sibling = siblingEntry(slot);
  for (let i = slot; i < slot + width; i++) {
    clearBelow(xa, n, i);
    if (slots[n * 64 + i] === 0) filled++;
    else {
      spreadValue(xa, n, i);
      values++;
    }
  }
  slots[at] = entry;
  for (let i = slot + 1; i < slot + width; i++) slots[n * 64 + i] = sibling;
  addCounts(xa, n, filled, -values);
}

/** Node that holds the entry at `index`; its slot goes to `xa.slot`. The entry must be there. */
function nodeOf(xa: Xarray, head: number, index: number): number {
  const { slots, shift } = xa.nodes;
  let n = toNode(head);
  for (;;) {
    const slot = (index >>> (shift[n] as number)) & 63;
    const e = slots[n * 64 + slot] as number;
    if (e >= NODE_END || e === 0) {
      xa.slot = e < 0 && e < SIBLING_END ? toSibling(e) : slot;
      return n;
    }
    n = toNode(e);
  }
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
  const n = nodeOf(xa, heads[h] as number, index);
  const slot = xa.slot;
  const t = xa.nodes;
  const width = 1 << (order < 6 ? order : order < 12 ? order - 6 : order - 12);
  for (let mark = 0; mark < 3; mark++) clearNodeMark(xa, n, slot, mark);
  const at = n * 64 + slot;
  if (value !== 0) {
    t.slots[at] = value;
    t.age[at] = age;
    addCounts(xa, n, 0, width);
    return;
  }
  t.slots[at] = 0;
  for (let i = at + 1; i < at + width; i++) t.slots[i] = 0;
  addCounts(xa, n, -width, 0);
  if (t.count[n] === 0) deleteNode(xa, heads, h, n);
}

/** Takes out the value at `index`, if there is one: one slot's worth. */
export function xaEraseValue(xa: Xarray, heads: Int32Array, h: number, index: number): void {
  const head = heads[h] as number;
  if (!isValue(xaLoad(xa, head, index))) return;
  const n = nodeOf(xa, head, index);
  const t = xa.nodes;
  const slot = (index >>> (t.shift[n] as number)) & 63;
  spreadValue(xa, n, slot);
  t.slots[n * 64 + slot] = 0;
  addCounts(xa, n, -1, -1);
  if (t.count[n] === 0) deleteNode(xa, heads, h, n);
}

/** Puts another row number in the place of the entry at `index`. */
export function xaReplace(xa: Xarray, head: number, index: number, entry: number): void {
  const n = nodeOf(xa, head, index);
  xa.nodes.slots[n * 64 + xa.slot] = entry;
}

function nodeMarked(xa: Xarray, n: number, mark: number): boolean {
  const w = n * 6 + mark * 2;
  return ((xa.nodes.marks[w] as number) | (xa.nodes.marks[w + 1] as number)) !== 0;
}

export function xaGetMark(xa: Xarray, head: number, index: number, mark: number): boolean {
  const n = nodeOf(xa, head, index);
  const w = n * 6 + mark * 2 + (xa.slot >>> 5);
  return (((xa.nodes.marks[w] as number) >>> (xa.slot & 31)) & 1) !== 0;
}

/** Marks the entry at `index`, and the nodes above it. @kernel lib/xarray.c xas_set_mark (6.18) */
export function xaSetMark(xa: Xarray, head: number, index: number, mark: number): void {
  const { marks, parent, offset } = xa.nodes;
  let n = nodeOf(xa, head, index);
  let slot = xa.slot;
  while (n >= 0) {
    const w = n * 6 + mark * 2 + (slot >>> 5);
    const bit = 1 << (slot & 31);
    if (((marks[w] as number) & bit) !== 0) return;
    marks[w] = (marks[w] as number) | bit;
    slot = offset[n] as number;
    n = parent[n] as number;
  }
}

function clearNodeMark(xa: Xarray, node: number, at: number, mark: number): void {
  const { marks, parent, offset } = xa.nodes;
  let n = node;
  let slot = at;
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

/** @kernel lib/xarray.c xas_clear_mark (6.18) */
export function xaClearMark(xa: Xarray, head: number, index: number, mark: number): void {
  const n = nodeOf(xa, head, index);
  clearNodeMark(xa, n, xa.slot, mark);
}

export const xaMarked = (xa: Xarray, head: number, mark: number): boolean =>
  head !== 0 && nodeMarked(xa, toNode(head), mark);

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
  if (isEntry(xaLoad(xa, head, index)) && xaGetMark(xa, head, index, mark)) {
    xa.index = index;
    return xaLoad(xa, head, index);
  }
  while (i <= last) {
    const w = n * 6 + mark * 2;
    let next = nextBit(marks[w] as number, marks[w + 1] as number, slot);
    if (next < 64) {
      if (next !== slot) {
        i = (Math.floor(i / 2 ** (s + 6)) * 64 + next) * 2 ** s;
        slot = next;
      }
      const e = slots[n * 64 + slot] as number;
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
    next = 64;
    do {
      slot = (offset[n] as number) + 1;
      n = parent[n] as number;
      if (n < 0) return 0;
      s += 6;
    } while (slot === 64);
  }
  return 0;
}

const isEntry = (e: number): boolean => e > 0;

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

/**
 * The first gap at or after `index`, looking at `steps` indices: what a cursor that steps one index at a time reports.
 *
 * The cursor carries an index and a slot. Loading an index inside a multi-index entry moves the slot to the entry's first
 * one and leaves the index; stepping adds one to both, so that within the node the slot lags, and a gap is reported at the
 * cursor's index: too far by the lag. Returns index + steps when there is no gap, 0 after a wrap.
 * @kernel mm/filemap.c page_cache_next_miss (6.18)
 */
export function nextMiss(xa: Xarray, head: number, index: number, steps: number): number {
  if (head === 0 || steps === 0) return index;
  const { slots, shift, parent, offset } = xa.nodes;
  let n = nodeAt(xa, head, index);
  if (n < 0) return index;
  let slot = xa.slot;
  let i = index;
  let e = slots[n * 64 + slot] as number;
  for (let left = steps; ; ) {
    if (e === 0 || (e < 0 && e >= SIBLING_END)) return i;
    if (--left === 0) return index + steps;
    i++;
    if (shift[n] === 0 && slot !== 63) e = slots[n * 64 + ++slot] as number;
    else {
      if (slot !== ((i >>> (shift[n] as number)) & 63)) slot++;
      while (slot === 64) {
        slot = (offset[n] as number) + 1;
        n = parent[n] as number;
        if (n < 0) return i;
      }
      e = slots[n * 64 + slot] as number;
      while (e < NODE_END) {
        n = toNode(e);
        slot = (i >>> (shift[n] as number)) & 63;
        e = slots[n * 64 + slot] as number;
      }
    }
  }
}

/**
 * The first gap at or before `index`, looking at `steps` indices, as the cursor of nextMiss sees it going down; the last
 * index looked at when there is none; −1 below index 0. @kernel mm/filemap.c page_cache_prev_miss (6.18)
 */
export function prevMiss(xa: Xarray, head: number, index: number, steps: number): number {
  if (head === 0 || steps === 0) return index;
  const { slots, shift, parent, offset } = xa.nodes;
  let n = nodeAt(xa, head, index);
  if (n < 0) return index;
  let slot = xa.slot;
  let i = index;
  let e = slots[n * 64 + slot] as number;
  for (let left = steps; ; ) {
    if (e === 0 || (e < 0 && e >= SIBLING_END)) return i;
    if (--left === 0) return i;
    i--;
    if (i < 0) return -1;
    if (shift[n] === 0 && slot !== 0) e = slots[n * 64 + --slot] as number;
    else {
      if (slot !== ((i >>> (shift[n] as number)) & 63)) slot--;
      while (slot < 0) {
        slot = (offset[n] as number) - 1;
        n = parent[n] as number;
        if (n < 0) return i;
      }
      e = slots[n * 64 + slot] as number;
      while (e < NODE_END) {
        n = toNode(e);
        slot = (i >>> (shift[n] as number)) & 63;
        e = slots[n * 64 + slot] as number;
      }
    }
  }
}

/** Node and slot that a load of `index` ends at: −1 when the index is beyond the tree. The slot is an entry's first one. */
function nodeAt(xa: Xarray, head: number, index: number): number {
  if (index < 0) return -1;
  const s = xa.nodes.shift[toNode(head)] as number;
  if (s < 24 && index >>> (s + 6) !== 0) return -1;
  return nodeOf(xa, head, index);
}

/** Memory of the tree's nodes: nodes in use now. */
export const xaNodes = (xa: Xarray): number => xa.used;

/**
 * Invariants (checkXarray):
 *  X1 every child points back to its parent and slot, and its shift is six less;
 *  X2 count is the number of slots in use, values the number of slots with values or their siblings; no node is empty;
 *  X3 a sibling follows its entry without a gap, and an entry's slots are aligned to their number;
 *  X4 a node's mark is set exactly where an entry below it has it; values and siblings have none;
 *  X5 nodes in use plus free nodes are all the nodes ever used; shadowNodes counts the nodes that hold only values;
 *  X6 the tags' lists hold just these nodes, and each node is counted under its tag.
 */
export function checkXarray(xa: Xarray, heads: ArrayLike<number>, rows: number): void {
  const t = xa.nodes;
  let used = 0;
  let shadow = 0;
  const byTag = new Array<number>(xa.tags.rows).fill(0);
  const fail = (rule: string, n: number): never => {
    throw new Error(`xarray ${rule} broken at node ${n}`);
  };
  const walk = (n: number): void => {
    used++;
    if (onlyValues(xa, n)) shadow++;
    byTag[t.tag[n] as number] = (byTag[t.tag[n] as number] as number) + 1;
    let count = 0;
    let values = 0;
    const seen = [0, 0, 0, 0, 0, 0];
    let first = -1;
    for (let slot = 0; slot < 64; slot++) {
      const e = t.slots[n * 64 + slot] as number;
      if (e === 0) {
        first = -1;
        continue;
      }
      count++;
      if (e < NODE_END) {
        const child = toNode(e);
        if (t.parent[child] !== n || t.offset[child] !== slot || t.shift[child] !== (t.shift[n] as number) - 6)
          fail('X1', child);
        walk(child);
        for (let mark = 0; mark < 3; mark++)
          if (nodeMarked(xa, child, mark))
            seen[mark * 2 + (slot >>> 5)] = (seen[mark * 2 + (slot >>> 5)] as number) | (1 << (slot & 31));
        first = -1;
      } else if (e < 0 && e < SIBLING_END) {
        if (toSibling(e) !== first) fail('X3', n);
        if (isValue(t.slots[n * 64 + first] as number)) values++;
      } else {
        first = slot;
        if (e < 0) values++;
        else
          for (let mark = 0; mark < 3; mark++) {
            const w = mark * 2 + (slot >>> 5);
            seen[w] = (seen[w] as number) | ((t.marks[n * 6 + w] as number) & (1 << (slot & 31)));
          }
      }
    }
    if (count === 0 || t.count[n] !== count || t.values[n] !== values) fail('X2', n);
    for (let w = 0; w < 6; w++) if (t.marks[n * 6 + w] !== seen[w]) fail('X4', n);
  };
  for (let h = 0; h < rows; h++) if (heads[h] !== 0) walk(toNode(heads[h] as number));
  let free = 0;
  for (let n = xa.free; n >= 0; n = t.parent[n] as number) free++;
  if (used !== xa.used || used + free !== xa.top || shadow !== xa.shadowNodes) fail('X5', used);
  let listed = 0;
  for (let g = 0; g < xa.tags.rows; g++) {
    let nodes = 0;
    let last = -1;
    for (let n = (xa.tags.oldest[g] as number) - 1; n >= 0; n = t.newer[n] as number) {
      if (t.tag[n] !== g || t.older[n] !== last || !onlyValues(xa, n)) fail('X6', n);
      last = n;
      nodes++;
    }
    if (xa.tags.newest[g] !== last + 1 || xa.tags.shadow[g] !== nodes || xa.tags.used[g] !== byTag[g]) fail('X6', g);
    listed += nodes;
  }
  if (listed !== shadow) fail('X6', listed);
}
