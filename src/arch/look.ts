/**
 * Finds the leaf entries of rows that come, and reads them: the host's memory answers questions that are asked together in the time of
 * a few. The way from the top is walked once for each table of PMD entries; where that lies is remembered for the rows of one call of `translate`.
 */
import type { Pass } from './memo.ts';
import { AHEAD, HASH, SPAN_WORDS, type Tlb } from './tlb.ts';
import { CONT, coalesced, LEAF, PRESENT, type Translator, type WalkedTables } from './walk.ts';

// Imported names cost a look each time.
const MULTIPLIER: number = HASH;
const P: number = PRESENT;
const MASK: number = AHEAD - 1;
const TABLE: number = PRESENT | LEAF;
/** Shift of a hash to a table that is remembered. */
const SPANS_AT: number = 33 - Math.log2(SPAN_WORDS);

/** Finds the leaves of rows [from, to), at most AHEAD of them, and reads them. The column of leaves gets the word of the flags; −1: there is no table for it. */
export function look(
  p: Pass,
  x: Translator,
  pt: WalkedTables,
  top: number,
  address: Float64Array,
  from: number,
  to: number,
): void {
  const { entries, entryShift } = pt;
  const { shifts, masks, pmdsPerByte, tlb } = x;
  const { words, at } = tlb;
  if (p.lookedTo === 0) words.fill(-1, at.spans, at.spans + SPAN_WORDS);
  for (let i = lookOn(x, pt, address, from, to); i < to; i = lookOn(x, pt, address, i, to)) {
    // The table of PMD entries that row `i` needs; an entry that is not there, or a leaf, stands for itself.
    const pmd = (address[i] * pmdsPerByte) >>> 0;
    let table = top;
    for (let n = x.top; n > 1 && table >= 0; n--) {
      const e = ((table << entryShift) | ((pmd >>> shifts[n]) & masks[n])) << 1;
      table = (entries[e | 1] & TABLE) === P ? entries[e] : -1;
    }
    if (table < 0) words[at.leaves + (i++ & MASK)] = -1;
    else {
      const span = pmd >>> shifts[2];
      const h = at.spans + ((Math.imul(span, MULTIPLIER) >>> SPANS_AT) << 1);
      words[h] = span;
      words[h + 1] = table;
    }
  }
  p.seen ^= touch(tlb, entries, from, to);
  p.lookedFrom = from;
  p.lookedTo = to;
}

/** Leaves of rows [from, to), as long as their tables of PMD entries are known. */
function lookOn(x: Translator, pt: WalkedTables, address: Float64Array, from: number, to: number): number {
  const { entries } = pt;
  const entryShift = pt.entryShift | 0;
  const { pmdsPerByte, pagesPerByte, shifts, masks } = x;
  const { words, at } = x.tlb;
  const spans = at.spans | 0;
  const leaves = at.leaves | 0;
  const mask0 = masks[0];
  const mask1 = masks[1];
  const above = shifts[2];
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const a = address[i];
    const pmd = (a * pmdsPerByte) >>> 0;
    const span = pmd >>> above;
    const h = (spans + ((Math.imul(span, MULTIPLIER) >>> SPANS_AT) << 1)) | 0;
    if (words[h] !== span) break;
    const e = ((words[h + 1] << entryShift) | (pmd & mask1)) << 1;
    const leaf = ((entries[e] << entryShift) | (((a * pagesPerByte) >>> 0) & mask0)) << 1;
    words[(leaves + (i & MASK)) | 0] = (entries[e | 1] & TABLE) === P ? leaf | 1 : -1;
  }
  return i;
}

/** Reads leaves, some of older rows perhaps, and does nothing else: the shorter the loop, the more of them the host asks for at once. */
function touch(t: Tlb, entries: Int32Array, from: number, to: number): number {
  const { words } = t;
  const leaves = t.at.leaves | 0;
  let seen = 0;
  for (let i = from; i < to; i = (i + 4) | 0) {
    const a = words[(leaves + (i & MASK)) | 0];
    const b = words[(leaves + ((i + 1) & MASK)) | 0];
    const c = words[(leaves + ((i + 2) & MASK)) | 0];
    const d = words[(leaves + ((i + 3) & MASK)) | 0];
    seen ^= entries[a & ~(a >> 31)];
    seen ^= entries[b & ~(b >> 31)];
    seen ^= entries[c & ~(c >> 31)];
    seen ^= entries[d & ~(d >> 31)];
  }
  return seen;
}

/** The class of a leaf of the lowest level; `e`: the word of its flags. */
export function classOf(x: Translator, entries: Int32Array, e: number): number {
  const group = x.classOfGroup[0];
  if (group >= 0 && (entries[e] & CONT) !== 0) return group;
  if (x.coalescedClass < 0) return x.classOf[0];
  return coalesced(entries, e >> 1, x.tlb.coalesces) ? x.coalescedClass : x.classOf[0];
}
