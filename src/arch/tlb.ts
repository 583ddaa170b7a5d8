/**
 * A translation lookaside buffer of two levels with its page-walk caches, exact for the geometry that is stated: which entry is
 * found, which one makes room. All entries lie in one table of typed arrays; an array of the TLB is a range of them.
 *
 * Entries are found by looking at each way of a set, or by hashing where an array is one set of many (*full*). What makes room is
 * the least recently used entry of the set (true LRU):
 *
 *   second level and walk caches   the last in the set's order of use goes. The order is a list; in sets of at most sixteen ways it is
 *                                  in words, with a byte of each key's hash (*ordered*, order.ts)
 *   first level                    the entry used longest ago goes, by time of use. Most of these times stand elsewhere: pages used
 *                                  of late are known to a memo in front (memo.ts), which alone notes when they are used. An
 *                                  entry has a chain of the memo entries that lead to it, and its time is the latest of all.
 *                                  A full array keeps its entries sorted by time, and sorts again when all those have been used since.
 *                                  An ordered set of at most eight ways may know the order of the times of its own as a word too (scatter_first.ts).
 *
 * A *class* is a size of translation that page tables can have (a leaf, a group with the contiguous hint, a group that hardware
 * coalesces). A *view* is one way to look for an entry: an array together with one size. Entries of several sizes share an array as
 * in hardware: an entry's tag names its view, and each view that has entries is looked up.
 *
 * Invariants (tlb_check.ts; those of the memo are in memo.ts):
 *   L1  no two entries of an array have one tag; a tag's view belongs to that array;
 *   L2  an entry stands in the set of its key, and is found there;
 *   L3  every entry of a full array that is in use is on the chain of its hash, once, and none else is;
 *   L4  every entry of a set of the second level is on the set's list, or in its word, once; entries not in use stand behind those in
 *       use; a word of the first level that is not 0 has its ways by falling time; every entry of an ordered set has its print;
 *   L5  a view's `live` is the number of entries with its tag;
 *   L6  the info of an entry that is not in use is INFO_EMPTY, and of no other.
 */
import { lastWay, ORDER, placeOfWay, SET_SHIFT, usePlace } from './order.ts';
import type { PageTableGeometry } from './pgtable.ts';

/** A size of translation. */
export interface TranslationClass {
  readonly bytes: number;
  /** Level of the leaf. */
  readonly level: number;
  /** Neighbouring leaves that one entry holds; 1: a leaf by itself. */
  readonly group: number;
  /** The group is made by hardware from neighbouring frames, not by the contiguous hint. */
  readonly coalesced: boolean;
}

/** Of an entry: its class, and whether every page of it is known to be writable and dirty. */
export const INFO_CLASS = 0x0f;
export const INFO_WRITABLE = 0x40;
/** An upper entry of page tables. */
export const INFO_UPPER = 0x10;
/** Above this a stamp: when a row of scatter.ts brought or used an entry of the second level; 0: before. */
export const STAMP_SHIFT = 8;
export const INFO_MASK = 0xff;
/** Of an entry that is not in use: as if later than any. */
export const INFO_EMPTY: number = 0x7fffff80;
/** Views of a tag, and address spaces. */
export const VIEW_MAX = 16;
const ASID_MAX = 8;
/** A tag is its key times this, and `viewTag`. */
export const TAG_UNIT = 128;
/** Tag and time of an entry that is not in use. */
export const EMPTY = -1;
export const HASH: number = 0x9e3779b1 | 0;
/** log2 of the entries of the memo (memo.ts), and the shift of a hash to it. */
export const MEMO_BITS = 10;
export const MEMO_SHIFT: number = 32 - MEMO_BITS;
/** Shift of a hash to a print. */
export const PRINT_SHIFT = 24;
/** Beyond every address. */
export const END: number = 2 ** 52;
/** An interval of so many entries is looked up one by one; a larger one is found by looking through the array. */
const ONE_BY_ONE = 64;

/** Rows that scatter.ts looks at together, a power of two; at first four for each miss that is remembered, for they may be in vain. */
export const AHEAD = 512;
/** Stamps are below. */
export const STAMPS_MAX: number = 2 ** 23 - 1;
/** Words for tables of PMD entries that were found, two each (look.ts). */
export const SPAN_WORDS = 128;

/** Where parts of `words` begin. The last are of rows at hand (scatter.ts). */
export interface WordPlaces {
  readonly links: number;
  readonly orders: number;
  readonly info: number;
  readonly heads: number;
  readonly chained: number;
  readonly uses: number;
  readonly sorted: number;
  /** What lookOn found: tables of PMD entries by a hash, number of what they span and their own. */
  readonly spans: number;
  /** Of each row, by its last bits: the word of its leaf, −1: it has none; its entry of the second level. */
  readonly leaves: number;
  readonly entries: number;
  /** Rows that the first level gets, latest first; and how many of a set. */
  readonly kept: number;
  readonly counts: number;
}
/** Values of `full` and of the first of `viewWords`: sets with lists, one set that is hashed, sets with words of order. */
export const ORDERED = 2;

/** Words of `viewWords`: how the array is searched, first entry, ways, sets less one or −1, sets, first hash head, shift of the hash, first list head. */
export const VIEW_BASE = 1;
export const VIEW_WAYS = 2;
export const VIEW_MASK = 3;
export const VIEW_SETS = 4;
export const VIEW_HASH = 5;
export const VIEW_SHIFT = 6;
export const VIEW_LISTS = 7;

/** Words of `links`: next and previous on the list of the set, next on the hash chain, head of the list. First level: first memo entry in PREV. */
export const NEXT = 0;
export const PREV = 1;
export const CHAIN = 2;
export const LIST = 3;
export const MEMO = PREV;

export interface Tlb {
  readonly cpu: string;
  readonly geometry: PageTableGeometry;
  readonly classes: readonly TranslationClass[];

  // Entries, and behind those of an array the heads of its lists.
  /** Key and view; −1: empty. */
  readonly tags: Float64Array;
  /** Everything in 32-bit words that a loop over many accesses reads: one array, because the host looks at each array anew in every turn. */
  readonly words: Int32Array;
  /** Where in `words` the following begin, and columns of scatter.ts. */
  readonly at: WordPlaces;
  /** Four words an entry. */
  readonly links: Int32Array;
  /** Eight words a list head: order of use of the ways of an ordered set, and prints of their keys (order.ts). First level: the order of `times`, 0 where it is not known; prints by way. */
  readonly orders: Int32Array;
  /** Class, INFO_WRITABLE; from STAMP_SHIFT on a stamp. */
  readonly info: Int32Array;
  /** Head of each hash chain, of all full arrays; and the number of the head by whose chain an entry is found. */
  readonly heads: Int32Array;
  readonly chained: Int32Array;
  /** Uses that the order does not know yet: the row, or −1 (scatter_walks.ts). */
  readonly uses: Int32Array;
  /** First level: when it was used last, the memo apart; −1: empty. */
  readonly times: Float64Array;

  // Arrays.
  /** 1: one set that is hashed; ORDERED. */
  readonly full: Uint8Array;
  readonly base: Int32Array;
  readonly ways: Int32Array;
  readonly sets: Int32Array;
  /** First list head; entries end there. */
  readonly lists: Int32Array;
  readonly hash: Int32Array;
  readonly hashShift: Int32Array;
  /** Full arrays of the first level: entries from the one used longest ago, at the array's first entry; and the next to be looked at. */
  readonly sorted: Int32Array;
  readonly sortedTimes: Float64Array;
  readonly sortedAt: Int32Array;

  // Views: those of the first level, of the second, then of walk caches.
  readonly viewArray: Int32Array;
  /** 1 / bytes of an entry. */
  readonly viewPerByte: Float64Array;
  /** What a tag of this view adds to its key, in the address space in use. */
  readonly viewTag: Float64Array;
  /** The geometry of a view's array, for the loops: eight words a view. */
  readonly viewWords: Int32Array;
  readonly live: Int32Array;
  readonly l1Views: number;
  readonly l2Views: number;
  readonly views: number;
  /** By class: the view that an entry of it goes to. −1 on the second level: not kept there. */
  readonly l1Of: Int32Array;
  readonly l2Of: Int32Array;
  /** By level of the table that is read: the view that keeps its entries; −1: none. */
  readonly walkOf: Int32Array;

  /** Arrays of the first level. */
  readonly l1Arrays: number;
  /** x86: an invalidation of one page drops the upper entries of the whole address space. */
  readonly dropsWalks: boolean;
  /** Pages that hardware coalesces; 1: none. */
  readonly coalesces: number;
  asid: number;
}

/** The tag of an entry: which page of which address space, in which view. */
export const tagOf = (key: number, asid: number, view: number): number => key * TAG_UNIT + (asid * VIEW_MAX + view);
/** What a tag was made of. */
export const keyOfTag = (tag: number): number => Math.floor(tag / TAG_UNIT);
export const viewOfTag = (tag: number): number => tag & (VIEW_MAX - 1);
const asidOfTag = (tag: number): number => (tag / VIEW_MAX) & (ASID_MAX - 1);

function setOf(t: Tlb, a: number, key: number): number {
  const sets = t.sets[a];
  return (sets & (sets - 1)) === 0 ? key & (sets - 1) : (key - Math.floor(key / sets) * sets) | 0;
}

/** The entry with this tag in array `a`, or −1. `key` is the tag's. */
export function tlbFind(t: Tlb, a: number, key: number, tag: number): number {
  const { tags } = t;
  if (t.full[a] === 1) {
    const { links } = t;
    let s = t.heads[(t.hash[a] + (Math.imul(key, HASH) >>> t.hashShift[a])) | 0];
    while (s >= 0 && tags[s] !== tag) s = links[(s << 2) | CHAIN];
    return s;
  }
  const from = (t.base[a] + Math.imul(setOf(t, a, key), t.ways[a])) | 0;
  const to = (from + t.ways[a]) | 0;
  for (let s = from; s < to; s = (s + 1) | 0) if (tags[s] === tag) return s;
  return -1;
}

/** Takes an entry off the list of its set. */
export function unlink(links: Int32Array, s: number): void {
  const n = links[s << 2];
  const p = links[(s << 2) | PREV];
  links[p << 2] = n;
  links[(n << 2) | PREV] = p;
}

/** Puts an entry at the front of the list of its set. */
export function pushFront(links: Int32Array, s: number): void {
  const head = links[(s << 2) | LIST];
  const n = links[head << 2];
  links[head << 2] = s;
  links[(s << 2) | PREV] = head;
  links[s << 2] = n;
  links[(n << 2) | PREV] = s;
}

/** Makes an entry of a list the first of it. */
export function toFront(links: Int32Array, s: number): void {
  const e = s << 2;
  const head = links[e | LIST] << 2;
  const first = links[head];
  if (first === s) return;
  const n = links[e];
  const p = links[e | PREV];
  links[p << 2] = n;
  links[(n << 2) | PREV] = p;
  links[e] = first;
  links[e | PREV] = head >> 2;
  links[(first << 2) | PREV] = s;
  links[head] = s;
}

/** Notes a use of an entry of the second level or of a walk cache. */
export function use(t: Tlb, v: number, s: number): void {
  const { links, viewWords } = t;
  const q = v << 3;
  if (viewWords[q] !== ORDERED) {
    toFront(links, s);
    return;
  }
  const head = links[(s << 2) | LIST];
  const ways = viewWords[q + VIEW_WAYS];
  const first = (viewWords[q + VIEW_BASE] + Math.imul((head - viewWords[q + VIEW_LISTS]) | 0, ways)) | 0;
  const at = head << SET_SHIFT;
  usePlace(t.orders, at, placeOfWay(t.orders, at, (s - first) | 0));
}

/** Puts an entry on the hash chain of head `h`. */
export function chain(t: Tlb, s: number, h: number): void {
  t.links[(s << 2) | CHAIN] = t.heads[h];
  t.heads[h] = s;
  t.chained[s] = h;
}

/** Takes an entry off its hash chain. */
export function unchain(t: Tlb, s: number): void {
  const { links, heads } = t;
  const h = t.chained[s];
  let at = heads[h];
  if (at === s) {
    heads[h] = links[(s << 2) | CHAIN];
    return;
  }
  while (links[(at << 2) | CHAIN] !== s) at = links[(at << 2) | CHAIN];
  links[(at << 2) | CHAIN] = links[(s << 2) | CHAIN];
}

/** The address space whose translations are used. */
export function tlbSetAsid(t: Tlb, asid: number): void {
  t.asid = asid;
  for (let v = 0; v < t.views; v++) t.viewTag[v] = asid * VIEW_MAX + v;
}

/** Empties an entry, which makes room before all others. Of the first level: no memo entry may lead to it. */
export function tlbDrop(t: Tlb, a: number, s: number): void {
  const { links } = t;
  if (t.full[a] === 1) unchain(t, s);
  t.live[viewOfTag(t.tags[s])]--;
  t.tags[s] = EMPTY;
  t.info[s] = INFO_EMPTY;
  const head = links[s * 4 + LIST];
  if (a < t.l1Arrays) {
    t.times[s] = EMPTY;
    t.orders[(head << SET_SHIFT) | ORDER] = 0;
    t.sortedAt[a] = t.lists[a];
    return;
  }
  if (t.full[a] === ORDERED) {
    lastWay(t.orders, head << SET_SHIFT, t.ways[a], (s - t.base[a]) % t.ways[a]);
    return;
  }
  unlink(links, s);
  const last = links[head * 4 + PREV];
  links[last * 4] = s;
  links[s * 4 + PREV] = last;
  links[s * 4] = head;
  links[head * 4 + PREV] = s;
}

/** Calls `found` for the entries of a view that overlap [start, end) of an address space. */
export function tlbOverlapping(
  t: Tlb,
  v: number,
  start: number,
  end: number,
  asid: number,
  found: (array: number, entry: number) => void,
): void {
  if (t.live[v] === 0) return;
  const a = t.viewArray[v];
  const first = Math.floor(start * t.viewPerByte[v]);
  const last = Math.ceil(end * t.viewPerByte[v]);
  if (last - first <= ONE_BY_ONE) {
    for (let key = first; key < last; key++) {
      const s = tlbFind(t, a, key, tagOf(key, asid, v));
      if (s >= 0) found(a, s);
    }
    return;
  }
  for (let s = t.base[a]; s < t.lists[a]; s++) {
    const tag = t.tags[s];
    if (tag < 0 || viewOfTag(tag) !== v || asidOfTag(tag) !== asid) continue;
    const key = keyOfTag(tag);
    if (key >= first && key < last) found(a, s);
  }
}

/** Bytes of address space that the entries in use reach, of both levels. */
export function tlbReach(t: Tlb): number {
  let bytes = 0;
  for (let v = 0; v < t.l2Views; v++) bytes += t.live[v] / t.viewPerByte[v];
  return bytes;
}
