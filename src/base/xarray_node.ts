/**
 * Nodes of the XArray (xarray.ts has the idea): the table that holds them, what a slot's word says, and the books kept of
 * them: free nodes, nodes by tag, nodes with nothing but values.
 */
import { allocate, grow, i32, type Table, u8 } from './table.ts';

const nodeLayout = {
  slots: i32('64 slots of two words: what is stored, and the upper word of a value', 128),
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
  /** The last leaf (node of shift 0) that was looked up: of the tree with root entry `leafHead` (1: none), for index >>> 6. */
  leaf: number;
  leafHead: number;
  leafAt: number;
  /** Grows when a node is made or freed: until then, positions in `nodes.slots` keep their meaning. */
  shape: number;
  /** Nodes ever freed: until one more is, a node stays what it is. */
  freed: number;
}

// What a slot's word says, by sign and top bits: nodes < −0x60000000 <= siblings < −0x40000000 <= values < 0 < entries.
// The bounds stand in each function: one that is imported as a constant would be looked up at each use.
export const isNode = (e: number): boolean => e < -0x60000000;
export const nodeEntry = (n: number): number => (-0x80000000 + n) | 0;
export const toNode = (e: number): number => e & 0x1fffffff;
/** Of a word that is no node. */
export const isSibling = (e: number): boolean => e < -0x40000000;
export const siblingEntry = (slot: number): number => -0x60000000 + slot;
export const toSibling = (e: number): number => e & 63;
export const isValue = (e: number): boolean => e < 0 && e >= -0x40000000;
export const valueEntry = (v: number): number => v - 0x40000000;
export const toValue = (e: number): number => e + 0x40000000;

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
  leaf: 0,
  leafHead: 1,
  leafAt: 0,
  shape: 0,
  freed: 0,
});

/** Makes room for that many nodes in advance. */
export function xaReserve(xa: Xarray, rows: number): void {
  grow(nodeLayout, xa.nodes, rows);
}

export function newNode(xa: Xarray, tree: number, parent: number, offset: number, shift: number): number {
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
  xa.shape++;
  return n;
}

/** Nodes leave empty: slots and marks are zero by then. */
export function freeNode(xa: Xarray, n: number): void {
  xa.nodes.parent[n] = xa.free;
  xa.free = n;
  xa.used--;
  xa.shape++;
  xa.freed++;
  xa.leafHead = 1;
  const tag = xa.nodes.tag[n] as number;
  xa.tags.used[tag] = (xa.tags.used[tag] as number) - 1;
}

export const onlyValues = (xa: Xarray, n: number): boolean =>
  (xa.nodes.count[n] as number) > 0 && xa.nodes.values[n] === xa.nodes.count[n];

/** Adds to a node's counts, keeping the number of nodes that hold only values. */
export function addCounts(xa: Xarray, n: number, count: number, values: number): void {
  const t = xa.nodes;
  const oldCount = t.count[n] as number;
  const oldValues = t.values[n] as number;
  t.count[n] = oldCount + count;
  t.values[n] = oldValues + values;
  const was = oldCount > 0 && oldValues === oldCount;
  const is = oldCount + count > 0 && oldValues + values === oldCount + count;
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
  t.slots.fill(0, n * 128, n * 128 + 128);
  addCounts(xa, n, -(t.count[n] as number), -(t.values[n] as number));
  deleteNode(xa, heads, t.tree[n] as number, n);
  return true;
}

/** Frees the node if it is empty, and then its parent if that is. */
export function deleteNode(xa: Xarray, heads: Int32Array, h: number, node: number): void {
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
    t.slots[(parent * 64 + offset) << 1] = 0;
    addCounts(xa, parent, -1, 0);
    n = parent;
  }
}

/**
 * Where a walk to `index` ends, as a position in the column `slots`: an entry, a sibling, a value or nothing. −1: the index
 * is beyond the tree. A file is read from front to back more often than not, so the last leaf is remembered.
 */
export function slotOf(xa: Xarray, head: number, index: number): number {
  const at = index >>> 6;
  if (head === xa.leafHead && at === xa.leafAt) return (xa.leaf << 6) | (index & 63);
  if (head === 0) return -1;
  const { slots, shift } = xa.nodes;
  let n = toNode(head);
  let s = shift[n] as number;
  if (s < 24 && index >>> (s + 6) !== 0) return -1;
  for (; s > 0; s -= 6) {
    const i = (n << 6) | ((index >>> s) & 63);
    const e = slots[i << 1] as number;
    if (!isNode(e)) return i;
    n = toNode(e);
  }
  xa.leaf = n;
  xa.leafHead = head;
  xa.leafAt = at;
  return (n << 6) | (index & 63);
}

/** The same for an index that an entry covers: the entry's first slot. */
export function entrySlotOf(xa: Xarray, head: number, index: number): number {
  const at = slotOf(xa, head, index);
  const e = xa.nodes.slots[at << 1] as number;
  return isSibling(e) ? (at & ~63) | toSibling(e) : at;
}
