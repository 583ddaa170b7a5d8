/**
 * The walk caches under rows that miss both levels, where PMD entries have an array of their own. Which PUD entries were used is noted
 * by row and put in order when somebody asks for the order: nearly every row uses one of the same few.
 */
import type { Pass } from './memo.ts';
import { ONES, ORDER, printTops, SET_SHIFT, usePlace, wayAt } from './order.ts';
import {
  CHAIN,
  HASH,
  INFO_EMPTY,
  PRINT_SHIFT,
  TAG_UNIT,
  type Tlb,
  toFront,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_SETS,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import { type Translator, walkReferences } from './walk.ts';

// Imported names cost a look each time.
const MULTIPLIER: number = HASH;
const PRINT_AT: number = PRINT_SHIFT;
const [TAG, CHAIN_WORD, EMPTY]: number[] = [TAG_UNIT, CHAIN, INFO_EMPTY];
const [BYTES, ORDER_AT, SET_AT]: number[] = [ONES, ORDER, SET_SHIFT];

/** The walks of rows [from, to) to leaves of class `k`. */
export function walks(p: Pass, x: Translator, k: number, address: Float64Array, from: number, to: number): void {
  const full = x.tlb.viewWords[x.tlb.walkOf[1] << 3] === 1;
  for (let i = from; ; i++) {
    i = full ? walksOfFull(x, k, address, i, to) : walksOfSets(x, k, address, i, to);
    if (i >= to) return;
    walkOne(p, x, k, address[i]);
  }
}

/** One walk, whatever it finds. */
export function walkOne(p: Pass, x: Translator, k: number, a: number): void {
  settleUses(x.tlb);
  p.at[0] = Math.floor(a / p.pageBytes) * p.pageBytes;
  x.leafLevel = 0;
  x.counts.walkReferences[k] += walkReferences(x, p.at);
}

/** Uses of PUD entries that were noted: their order. */
export function settleUses(t: Tlb): void {
  const { uses, links } = t;
  const v = t.walkOf[2];
  const from = t.viewWords[(v << 3) | VIEW_BASE];
  const to = from + t.viewWords[(v << 3) | VIEW_WAYS];
  for (;;) {
    let first = -1;
    for (let s = from; s < to; s = (s + 1) | 0) if (uses[s] >= 0 && (first < 0 || uses[s] < uses[first])) first = s;
    if (first < 0) return;
    uses[first] = -1;
    toFront(links, first);
  }
}

/** PMD entries in sets of at most eight ways. Ends at a row that finds no PUD entry either, or whose prints do not tell. */
function walksOfSets(x: Translator, k: number, address: Float64Array, from: number, to: number): number {
  const t = x.tlb;
  const { words, tags, viewWords, viewTag, walkOf, at } = t;
  const info = at.info | 0;
  const heads = at.heads | 0;
  const uses = at.uses | 0;
  const { pmdsPerByte } = x;
  const q = walkOf[1] << 3;
  const q4 = walkOf[2] << 3;
  const tag = viewTag[walkOf[1]];
  const upperTag = viewTag[walkOf[2]];
  // What is in use stays so: where all is, it need not be looked at.
  const room = t.live[walkOf[1]] < Math.imul(viewWords[q | VIEW_WAYS], viewWords[q | VIEW_SETS]);
  const base = viewWords[q | VIEW_BASE];
  const ways = viewWords[q | VIEW_WAYS];
  const mask = viewWords[q | VIEW_MASK];
  const sets = ((at.orders | 0) + (viewWords[q | VIEW_LISTS] << SET_AT)) | 0;
  const hash = (heads + viewWords[q4 | VIEW_HASH]) | 0;
  const shift = viewWords[q4 | VIEW_SHIFT];
  const upperShift = x.shifts[2] | 0;
  const last = (ways - 1) << 2;
  const all = ((16 << last) - 1) | 0;
  const tops0 = printTops(ways, 0) | 0;
  const tops1 = printTops(ways, 4) | 0;
  let references = 0;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const pmd = (address[i] * pmdsPerByte) >>> 0;
    const set = pmd & mask;
    const r = (sets + (set << SET_AT)) | 0;
    const first = (base + Math.imul(set, ways)) | 0;
    const print = Math.imul(pmd, MULTIPLIER) >>> PRINT_AT;
    const four = Math.imul(print, BYTES);
    const p0 = words[r];
    const p1 = words[r | 1];
    const wa = p0 ^ four;
    const wb = p1 ^ four;
    const zeros = (((wa - BYTES) & ~wa & tops0) >>> 7) | (((wb - BYTES) & ~wb & tops1) >>> 6);
    if (zeros !== 0) {
      const bit = 31 - Math.clz32(zeros & -zeros);
      const place = ((bit & 7) << 2) | (bit >> 3);
      if (tags[(first + wayAt(words, r, place)) | 0] === pmd * TAG + tag) {
        usePlace(words, r, place);
        references = (references + 1) | 0;
        continue;
      }
      // One that has the print by chance; of several, another may be it.
      if ((zeros & (zeros - 1)) !== 0) break;
    }
    const upper = pmd >>> upperShift;
    const u = words[(hash + (Math.imul(upper, MULTIPLIER) >>> shift)) | 0];
    const low = words[r | ORDER_AT];
    const way = (low >>> last) & 15;
    const s = (first + way) | 0;
    if (u < 0 || tags[u] !== upper * TAG + upperTag || (room && words[(info + s) | 0] === EMPTY)) break;
    words[(uses + u) | 0] = i;
    references = (references + 2) | 0;
    words[r] = (p0 << 8) | print;
    words[r | 1] = (p1 << 8) | (p0 >>> 24);
    words[r | ORDER_AT] = ((low << 4) | way) & all;
    tags[s] = pmd * TAG + tag;
  }
  x.counts.walkReferences[k] += references;
  return i;
}

/** PMD entries in one set that is hashed: the same. */
function walksOfFull(x: Translator, k: number, address: Float64Array, from: number, to: number): number {
  const t = x.tlb;
  const { words, tags, viewWords, viewTag, walkOf, at } = t;
  const info = at.info | 0;
  const heads = at.heads | 0;
  const uses = at.uses | 0;
  const chained = at.chained | 0;
  const links = at.links | 0;
  const { pmdsPerByte } = x;
  const q = walkOf[1] << 3;
  const q4 = walkOf[2] << 3;
  const tag = viewTag[walkOf[1]];
  const upperTag = viewTag[walkOf[2]];
  const head = viewWords[q | VIEW_LISTS];
  const list = (links + (head << 2)) | 0;
  const hash = viewWords[q | VIEW_HASH];
  const shift = viewWords[q | VIEW_SHIFT];
  const upperHash = (heads + viewWords[q4 | VIEW_HASH]) | 0;
  const upperAt = viewWords[q4 | VIEW_SHIFT];
  const upperShift = x.shifts[2] | 0;
  let references = 0;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const pmd = (address[i] * pmdsPerByte) >>> 0;
    const wanted = pmd * TAG + tag;
    const h = (hash + (Math.imul(pmd, MULTIPLIER) >>> shift)) | 0;
    const there = words[(heads + h) | 0];
    if (there >= 0) {
      if (tags[there] === wanted) {
        toFront(t.links, there);
        references = (references + 1) | 0;
        continue;
      }
      if (words[(links + (there << 2) + CHAIN_WORD) | 0] >= 0) break;
    }
    const upper = pmd >>> upperShift;
    const u = words[(upperHash + (Math.imul(upper, MULTIPLIER) >>> upperAt)) | 0];
    // The last of the list makes room, and is its first then.
    const s = words[(list + 1) | 0];
    const was = (heads + words[(chained + s) | 0]) | 0;
    if (u < 0 || tags[u] !== upper * TAG + upperTag || words[(info + s) | 0] === EMPTY || words[was] !== s) break;
    words[(uses + u) | 0] = i;
    references = (references + 2) | 0;
    const e = (links + (s << 2)) | 0;
    words[was] = words[(e + CHAIN_WORD) | 0];
    words[(e + CHAIN_WORD) | 0] = words[(heads + h) | 0];
    words[(heads + h) | 0] = s;
    words[(chained + s) | 0] = h;
    const first = words[list];
    const before = words[(e + 1) | 0];
    words[(list + 1) | 0] = before;
    words[(links + (before << 2)) | 0] = head;
    words[e] = first;
    words[(e + 1) | 0] = head;
    words[(links + (first << 2) + 1) | 0] = s;
    words[list] = s;
    tags[s] = wanted;
  }
  x.counts.walkReferences[k] += references;
  return i;
}
