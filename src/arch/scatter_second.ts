/**
 * The second level under rows that miss the first. The loop looks at everything that a row needs before it changes anything, and ends at the first row that
 * is not as expected: not plain, perhaps there, or without room. What a loop hardly ever does is not in it (the accessed bit of a leaf that
 * has none is set by whoever takes that row): the host's compiler takes what is the same in every turn out of a loop, but not where it holds
 * something that was never done when it is compiled.
 */
import { FETCH, type Pass } from './memo.ts';
import { ONES, ORDER, printTops, SET_SHIFT, wayAt } from './order.ts';
import {
  AHEAD,
  HASH,
  INFO_WRITABLE,
  PRINT_SHIFT,
  STAMP_SHIFT,
  TAG_UNIT,
  VIEW_BASE,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_WAYS,
} from './tlb.ts';
import { ACCESSED, CONT, DIRTY, PRESENT, RW, type Translator } from './walk.ts';

// Imported names cost a look each time.
const MASK: number = AHEAD - 1;
const MULTIPLIER: number = HASH;
const PRINT_AT: number = PRINT_SHIFT;
const [TAG, STAMP]: number[] = [TAG_UNIT, STAMP_SHIFT];
const [BYTES, ORDER_AT, SET_AT]: number[] = [ONES, ORDER, SET_SHIFT];
const [P, A, C, F]: number[] = [PRESENT, ACCESSED, CONT, FETCH];
const [RW_BIT, DIRTY_BIT, WRITABLE_BIT]: number[] = [RW, DIRTY, INFO_WRITABLE].map(Math.log2);

/** What the loops are told. */
export interface Run {
  /** Class of the leaves. */
  k: number;
  /** Infos from here on may be of pages that the first level has. */
  oldest: number;
  /** Stamp of row 0, as part of an info. */
  stamps: number;
  /** A row that is known to be plain and not in the second level, with room there; −1: none. */
  sure: number;
  /** Rows that the second level had. */
  hits: number;
}

/** Rows [from, to), as long as they are as expected. */
export type Loop = (
  p: Pass,
  x: Translator,
  run: Run,
  entries: Int32Array,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
) => number;

/** The leaf and the second level of rows [from, to), in sets of at most eight ways. */
export const missNarrow: Loop = (p, x, run, entries, address, size, kind, from, to) => {
  const t = x.tlb;
  const { words, tags, viewWords, at } = t;
  const leaves = at.leaves | 0;
  const slots = at.entries | 0;
  const info = at.info | 0;
  // Said to be whole numbers, once: what was read from a record might not be.
  const k = run.k | 0;
  const oldest = run.oldest | 0;
  const stamps = run.stamps | 0;
  const sure = run.sure | 0;
  const pageBytes = p.pageBytes | 0;
  const inPage = (pageBytes - 1) | 0;
  const cont = k === x.classOfGroup[0] ? C : 0;
  const v = t.l2Of[k];
  const q = v << 3;
  const per = t.viewPerByte[v];
  const tag = t.viewTag[v];
  const base = viewWords[q | VIEW_BASE];
  const ways = viewWords[q | VIEW_WAYS];
  const mask = viewWords[q | VIEW_MASK];
  const sets = (at.orders + (viewWords[q | VIEW_LISTS] << SET_AT)) | 0;
  const last = (ways - 1) << 2;
  const all = ((16 << last) - 1) | 0;
  const tops0 = printTops(ways, 0) | 0;
  const tops1 = printTops(ways, 4) | 0;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    // The leaf. 1 for a store, which is 1, and for a modify, which is 2: a branch would be one that nobody can predict.
    const e = words[(leaves + (i & MASK)) | 0];
    const how = kind[i];
    const stores = ((how + 1) | 0) >> 1;
    const a = address[i];
    if (e < 0 || how === F || (((a & inPage) + size[i]) | 0) > pageBytes) break;
    const flags = entries[e];
    const wants = P | A | (stores << RW_BIT) | (stores << DIRTY_BIT);
    if ((flags & (wants | C)) !== (wants | cont)) break;

    // The second level.
    const scaled = a * per;
    const key = scaled | 0;
    const set = key & mask;
    const r = (sets + (set << SET_AT)) | 0;
    const first = (base + Math.imul(set, ways)) | 0;
    const wanted = Math.floor(scaled) * TAG + tag;
    const print = Math.imul(key, MULTIPLIER) >>> PRINT_AT;
    const four = Math.imul(print, BYTES);
    const p0 = words[r];
    const p1 = words[r | 1];
    const wa = p0 ^ four;
    const wb = p1 ^ four;
    const zeros = (((wa - BYTES) & ~wa & tops0) >>> 7) | (((wb - BYTES) & ~wb & tops1) >>> 6);
    const low = words[r | ORDER_AT];
    const way = (low >>> last) & 15;
    if (zeros !== 0 && i !== sure) {
      // One that has the print by chance is looked at here.
      const bit = 31 - Math.clz32(zeros);
      const place = ((bit & 7) << 2) | (bit >> 3);
      if ((zeros & (zeros - 1)) !== 0 || tags[(first + wayAt(words, r, place)) | 0] === wanted) break;
    }
    const s = (first + way) | 0;
    if (words[(info + s) | 0] >= oldest) break;

    // Into the second level.
    words[r] = (p0 << 8) | print;
    words[r | 1] = (p1 << 8) | (p0 >>> 24);
    words[r | ORDER_AT] = ((low << 4) | way) & all;
    const writable = ((flags >>> RW_BIT) & (flags >>> DIRTY_BIT) & 1) << WRITABLE_BIT;
    words[(info + s) | 0] = (stamps + (i << STAMP)) | writable | k;
    tags[s] = wanted;
    words[(slots + (i & MASK)) | 0] = s;
  }
  return i;
};

/** The same in sets of more than eight. */
export const missWide: Loop = (p, x, run, entries, address, size, kind, from, to) => {
  const t = x.tlb;
  const { words, tags, viewWords, at } = t;
  const leaves = at.leaves | 0;
  const slots = at.entries | 0;
  const info = at.info | 0;
  // Said to be whole numbers, once: what was read from a record might not be.
  const k = run.k | 0;
  const oldest = run.oldest | 0;
  const stamps = run.stamps | 0;
  const sure = run.sure | 0;
  const pageBytes = p.pageBytes | 0;
  const inPage = (pageBytes - 1) | 0;
  const cont = k === x.classOfGroup[0] ? C : 0;
  const v = t.l2Of[k];
  const q = v << 3;
  const per = t.viewPerByte[v];
  const tag = t.viewTag[v];
  const base = viewWords[q | VIEW_BASE];
  const ways = viewWords[q | VIEW_WAYS];
  const mask = viewWords[q | VIEW_MASK];
  const sets = (at.orders + (viewWords[q | VIEW_LISTS] << SET_AT)) | 0;
  const last = (ways - 9) << 2;
  const all = ((16 << last) - 1) | 0;
  const tops0 = printTops(ways, 0) | 0;
  const tops2 = printTops(ways, 8) | 0;
  const tops3 = printTops(ways, 12) | 0;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    // The leaf. 1 for a store, which is 1, and for a modify, which is 2: a branch would be one that nobody can predict.
    const e = words[(leaves + (i & MASK)) | 0];
    const how = kind[i];
    const stores = ((how + 1) | 0) >> 1;
    const a = address[i];
    if (e < 0 || how === F || (((a & inPage) + size[i]) | 0) > pageBytes) break;
    const flags = entries[e];
    const wants = P | A | (stores << RW_BIT) | (stores << DIRTY_BIT);
    if ((flags & (wants | C)) !== (wants | cont)) break;

    // The second level.
    const scaled = a * per;
    const key = scaled | 0;
    const set = key & mask;
    const r = (sets + (set << SET_AT)) | 0;
    const first = (base + Math.imul(set, ways)) | 0;
    const wanted = Math.floor(scaled) * TAG + tag;
    const print = Math.imul(key, MULTIPLIER) >>> PRINT_AT;
    const four = Math.imul(print, BYTES);
    const p0 = words[r];
    const p1 = words[r | 1];
    const wa = p0 ^ four;
    const wb = p1 ^ four;
    const p2 = words[r | 2];
    const p3 = words[r | 3];
    const wc = p2 ^ four;
    const wd = p3 ^ four;
    const zeros =
      (((wa - BYTES) & ~wa & tops0) >>> 7) |
      (((wb - BYTES) & ~wb & tops0) >>> 6) |
      (((wc - BYTES) & ~wc & tops2) >>> 5) |
      (((wd - BYTES) & ~wd & tops3) >>> 4);
    const low = words[r | ORDER_AT];
    const high = words[r | ORDER_AT | 1];
    const way = (high >>> last) & 15;
    if (zeros !== 0 && i !== sure) {
      // One that has the print by chance is looked at here.
      const bit = 31 - Math.clz32(zeros);
      const place = ((bit & 7) << 2) | (bit >> 3);
      if ((zeros & (zeros - 1)) !== 0 || tags[(first + wayAt(words, r, place)) | 0] === wanted) break;
    }
    const s = (first + way) | 0;
    if (words[(info + s) | 0] >= oldest) break;

    // Into the second level.
    words[r] = (p0 << 8) | print;
    words[r | 1] = (p1 << 8) | (p0 >>> 24);
    words[r | 2] = (p2 << 8) | (p1 >>> 24);
    words[r | 3] = (p3 << 8) | (p2 >>> 24);
    words[r | ORDER_AT] = (low << 4) | way;
    words[r | ORDER_AT | 1] = ((high << 4) | (low >>> 28)) & all;
    const writable = ((flags >>> RW_BIT) & (flags >>> DIRTY_BIT) & 1) << WRITABLE_BIT;
    words[(info + s) | 0] = (stamps + (i << STAMP)) | writable | k;
    tags[s] = wanted;
    words[(slots + (i & MASK)) | 0] = s;
  }
  return i;
};
