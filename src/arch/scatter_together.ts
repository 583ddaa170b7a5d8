/**
 * The same as scatter_second.ts with scatter_walks.ts where PMD entries lie among the pages of the second level: both go in row by row.
 */
import { FETCH } from './memo.ts';
import { ONES, ORDER, ORDER_WORD, printTops, SET_SHIFT, usePlace, wayAt } from './order.ts';
import type { Loop } from './scatter_second.ts';
import {
  AHEAD,
  HASH,
  INFO_UPPER,
  INFO_WRITABLE,
  PRINT_SHIFT,
  STAMP_SHIFT,
  TAG_UNIT,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import { ACCESSED, CONT, DIRTY, PRESENT, RW } from './walk.ts';

// Imported names cost a look each time.
const MASK: number = AHEAD - 1;
const MULTIPLIER: number = HASH;
const PRINT_AT: number = PRINT_SHIFT;
const [TAG, STAMP, UPPER]: number[] = [TAG_UNIT, STAMP_SHIFT, INFO_UPPER];
const [BYTES, ORDER_AT, SET_AT]: number[] = [ONES, ORDER, SET_SHIFT];
const [P, A, C, F]: number[] = [PRESENT, ACCESSED, CONT, FETCH];
const [RW_BIT, DIRTY_BIT, WRITABLE_BIT, UPPER_BIT]: number[] = [RW, DIRTY, INFO_WRITABLE, INFO_UPPER].map(Math.log2);

/** The leaf, the second level and the walk of rows [from, to). */
export const missTogether: Loop = (p, x, run, entries, address, size, kind, from, to) => {
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
  const wide = ways > ORDER_WORD;
  const last = ((ways - 1) & 7) << 2;
  const all = ((16 << last) - 1) | 0;
  const tops0 = printTops(ways, 0) | 0;
  const tops1 = printTops(ways, 4) | 0;
  const tops2 = printTops(ways, 8) | 0;
  const tops3 = printTops(ways, 12) | 0;
  const { pmdsPerByte } = x;
  const upperShift = x.shifts[2] | 0;
  const v3 = t.walkOf[1];
  const v4 = t.walkOf[2];
  const tag3 = t.viewTag[v3];
  const tag4 = t.viewTag[v4];
  const hash4 = (at.heads + viewWords[(v4 << 3) | VIEW_HASH]) | 0;
  const shift4 = viewWords[(v4 << 3) | VIEW_SHIFT];
  const uses = at.uses | 0;
  let references = 0;
  // Entries that became those of pages, less those that were.
  let pages = 0;
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
    let zeros =
      (((wa - BYTES) & ~wa & tops0) >>> 7) |
      (((wb - BYTES) & ~wb & tops1) >>> 6) |
      (((wc - BYTES) & ~wc & tops2) >>> 5) |
      (((wd - BYTES) & ~wd & tops3) >>> 4);
    const low = words[r | ORDER_AT];
    const high = words[r | ORDER_AT | 1];
    const way = ((wide ? high : low) >>> last) & 15;
    if (zeros !== 0 && i !== sure) {
      // One that has the print by chance is looked at here.
      const bit = 31 - Math.clz32(zeros);
      const place = ((bit & 7) << 2) | (bit >> 3);
      if ((zeros & (zeros - 1)) !== 0 || tags[(first + wayAt(words, r, place)) | 0] === wanted) break;
    }
    const s = (first + way) | 0;
    if (words[(info + s) | 0] >= oldest) break;

    // The walk: its PMD entry in another set, or it is for somebody else.
    const pmd = (a * pmdsPerByte) >>> 0;
    const set3 = pmd & mask;
    if (set3 === set) break;
    const r3 = (sets + (set3 << SET_AT)) | 0;
    const first3 = (base + Math.imul(set3, ways)) | 0;
    const wanted3 = pmd * TAG + tag3;
    const print3 = Math.imul(pmd, MULTIPLIER) >>> PRINT_AT;
    const four3 = Math.imul(print3, BYTES);
    const h0 = words[r3];
    const h1 = words[r3 | 1];
    const h2 = words[r3 | 2];
    const h3 = words[r3 | 3];
    const xa = h0 ^ four3;
    const xb = h1 ^ four3;
    const xc = h2 ^ four3;
    const xd = h3 ^ four3;
    zeros =
      (((xa - BYTES) & ~xa & tops0) >>> 7) |
      (((xb - BYTES) & ~xb & tops1) >>> 6) |
      (((xc - BYTES) & ~xc & tops2) >>> 5) |
      (((xd - BYTES) & ~xd & tops3) >>> 4);
    let place3 = -1;
    if (zeros !== 0) {
      const bit = 31 - Math.clz32(zeros & -zeros);
      place3 = ((bit & 7) << 2) | (bit >> 3);
      if (tags[(first3 + wayAt(words, r3, place3)) | 0] !== wanted3) {
        // One that has the print by chance; of several, another may be it.
        if ((zeros & (zeros - 1)) !== 0) break;
        place3 = -1;
      }
    }
    if (place3 >= 0) {
      usePlace(words, r3, place3);
      references = (references + 1) | 0;
    } else {
      const pud = pmd >>> upperShift;
      const s4 = words[(hash4 + (Math.imul(pud, MULTIPLIER) >>> shift4)) | 0];
      const low3 = words[r3 | ORDER_AT];
      const high3 = words[r3 | ORDER_AT | 1];
      const way3 = ((wide ? high3 : low3) >>> last) & 15;
      const s3 = (first3 + way3) | 0;
      const was = words[(info + s3) | 0];
      if (s4 < 0 || tags[s4] !== pud * TAG + tag4 || was >= oldest) break;
      words[(uses + s4) | 0] = i;
      references = (references + 2) | 0;
      words[r3] = (h0 << 8) | print3;
      words[r3 | 1] = (h1 << 8) | (h0 >>> 24);
      words[r3 | 2] = (h2 << 8) | (h1 >>> 24);
      words[r3 | 3] = (h3 << 8) | (h2 >>> 24);
      words[r3 | ORDER_AT] = wide ? (low3 << 4) | way3 : ((low3 << 4) | way3) & all;
      words[r3 | ORDER_AT | 1] = wide ? ((high3 << 4) | (low3 >>> 28)) & all : high3;
      pages = (pages - 1 + ((was & UPPER) >>> UPPER_BIT)) | 0;
      words[(info + s3) | 0] = UPPER;
      tags[s3] = wanted3;
    }

    // Into the second level.
    words[r] = (p0 << 8) | print;
    words[r | 1] = (p1 << 8) | (p0 >>> 24);
    words[r | 2] = (p2 << 8) | (p1 >>> 24);
    words[r | 3] = (p3 << 8) | (p2 >>> 24);
    words[r | ORDER_AT] = wide ? (low << 4) | way : ((low << 4) | way) & all;
    words[r | ORDER_AT | 1] = wide ? ((high << 4) | (low >>> 28)) & all : high;
    pages = (pages + ((words[(info + s) | 0] & UPPER) >>> UPPER_BIT)) | 0;
    const writable = ((flags >>> RW_BIT) & (flags >>> DIRTY_BIT) & 1) << WRITABLE_BIT;
    words[(info + s) | 0] = (stamps + (i << STAMP)) | writable | k;
    tags[s] = wanted;
    words[(slots + (i & MASK)) | 0] = s;
  }
  x.counts.walkReferences[k] += references;
  t.live[v] += pages;
  t.live[v3] -= pages;
  return i;
};
