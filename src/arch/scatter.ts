/**
 * Accesses that miss both levels one after the other, for one configuration of a common shape: the same outcome as `enter` and `miss`,
 * laid out for the host. `translate` comes here after a run of misses.
 *
 *   look     the leaf entries of the next rows are found, then touched in a loop of its own: the host's memory answers questions that
 *            are asked together in the time of a few
 *   miss     each row in turn: both levels are searched, the walk caches, then the entries that made room are replaced
 *
 * The shape: four levels of tables, pages of the smallest size alone, both levels and the cache of PMD entries in ordered sets, each
 * of these arrays for itself. Whatever is not plain (a hit, an access across pages, a fetch, a leaf of another kind, a refusal, a way
 * that the memo knows) ends the run before it changed anything, and the caller goes on with `enter`.
 */
import type { Pass } from './memo.ts';
import {
  CHAIN,
  firstWay,
  HASH,
  INFO_WRITABLE,
  MEMO,
  MEMO_SHIFT,
  ORDERED,
  PRINT_SHIFT,
  TAG_UNIT,
  type Tlb,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import {
  ACCESSED,
  CONT,
  DIRTY,
  LEAF,
  PRESENT,
  RW,
  type Translator,
  type WalkedTables,
  walkReferences,
} from './walk.ts';

/** Misses in a row that make a run worth it. */
export const SCATTERED = 16;
/** So many are remembered; a hit makes up for some, a fault for all. */
export const STREAK_MAX = 64;
export const STREAK_HIT = 4;
/** Rows that are looked at together; at first four for each miss that is remembered, for they may be in vain. */
export const AHEAD = 256;

// Imported names cost a look each time.
const TAG: number = TAG_UNIT;
const MEMO_AT: number = MEMO_SHIFT;
const MULTIPLIER: number = HASH;
const MEMO_WORD: number = MEMO;
const CHAIN_WORD: number = CHAIN;
const WRITABLE: number = INFO_WRITABLE;
const [P, W, A, D, C] = [PRESENT, RW, ACCESSED, DIRTY, CONT];
const PRINT_AT: number = PRINT_SHIFT;
/** A byte that is 0 makes its top bit in (w − ONES) & ~w. */
const ONES = 0x01010101;
const TOPS: number = 0x80808080 | 0;
const TABLE = PRESENT | LEAF;

/** Whether a configuration has the shape. */
export function scatters(x: Translator): boolean {
  const { viewArray, viewWords, l1Of, l2Of, walkOf } = x.tlb;
  const c = x.classOf[0];
  const ordered = [l1Of[c], l2Of[c], walkOf[1]];
  return (
    x.top === 3 &&
    x.coalescedClass < 0 &&
    ordered.every((v) => v >= 0 && viewWords[v << 3] === ORDERED && viewWords[(v << 3) | VIEW_MASK] >= 0) &&
    walkOf[2] >= 0 &&
    viewWords[walkOf[2] << 3] === 1 &&
    [...walkOf.subarray(1)].every((v) => v < 0 || viewArray[v] !== viewArray[l2Of[c]]) &&
    [...walkOf.subarray(2)].every((v) => v < 0 || viewArray[v] !== viewArray[walkOf[1]])
  );
}

/** Finds the leaves of rows [from, to) and touches them; −1: there is no table for it. */
function look(p: Pass, x: Translator, pt: WalkedTables, top: number, address: Float64Array, from: number, to: number) {
  const { entries, entryShift } = pt;
  const { leaves } = p;
  const { pmdsPerByte, pagesPerByte, shifts, masks } = x;
  const [s2, s3] = [shifts[2], shifts[3]];
  const [m0, m1, m2, m3] = [masks[0], masks[1], masks[2], masks[3]];
  const root = top << entryShift;
  for (let i = from, j = 0; i < to; i = (i + 1) | 0, j = (j + 1) | 0) {
    const a = address[i];
    const pmd = (a * pmdsPerByte) >>> 0;
    leaves[j] = -1;
    let e = (root | ((pmd >>> s3) & m3)) << 1;
    if ((entries[e | 1] & TABLE) !== P) continue;
    e = ((entries[e] << entryShift) | ((pmd >>> s2) & m2)) << 1;
    if ((entries[e | 1] & TABLE) !== P) continue;
    e = ((entries[e] << entryShift) | (pmd & m1)) << 1;
    if ((entries[e | 1] & TABLE) !== P) continue;
    leaves[j] = (((entries[e] << entryShift) | (((a * pagesPerByte) >>> 0) & m0)) << 1) | 1;
  }
  let seen = 0;
  for (let j = (to - from - 1) | 0; j >= 0; j = (j - 1) | 0) {
    const e = leaves[j];
    seen ^= entries[e & ~(e >> 31)];
  }
  p.seen ^= seen;
}

/** The order of a set of the first level by its own times. */
function orderByTime(t: Tlb, first: number, ways: number): number {
  const { times } = t;
  let word = 0;
  for (let n = 0; n < ways; n++) {
    // How many are later, or as late and before it.
    let place = 0;
    for (let w = 0; w < ways; w++)
      if (times[first + w] > times[first + n] || (times[first + w] === times[first + n] && w < n)) place++;
    word |= n << (place << 2);
  }
  return word;
}

/** Rows from `from` on, as long as they are plain; returns the first that is not, or `to`. p.at[1] is the time. */
export function scatter(
  p: Pass,
  pt: WalkedTables,
  top: number,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const x = p.translators[0];
  const t = x.tlb;
  const { page, time, hits, kinds, pageBytes, at, leaves } = p;
  const { tags, info, links, heads, times, order, prints, printWords, live, viewWords, viewTag } = t;
  const { entries } = pt;
  const { pmdsPerByte } = x;
  const perByte = 1 / pageBytes;
  const c = x.classOf[0];
  const v1 = t.l1Of[c];
  const v2 = t.l2Of[c];
  const v3 = t.walkOf[1];
  const v4 = t.walkOf[2];
  for (let v = 0; v < t.l2Views; v++)
    if (live[v] !== 0 && v !== v1 && v !== v2) {
      p.streak = 0;
      return from;
    }
  const [q1, q2, q3, q4] = [v1 << 3, v2 << 3, v3 << 3, v4 << 3];
  const [tag1, tag2, tag3, tag4] = [viewTag[v1], viewTag[v2], viewTag[v3], viewTag[v4]];
  const [mask1, mask2, mask3] = [viewWords[q1 | VIEW_MASK], viewWords[q2 | VIEW_MASK], viewWords[q3 | VIEW_MASK]];
  const [ways1, ways2, ways3] = [viewWords[q1 | VIEW_WAYS], viewWords[q2 | VIEW_WAYS], viewWords[q3 | VIEW_WAYS]];
  const [base1, base2, base3] = [viewWords[q1 | VIEW_BASE], viewWords[q2 | VIEW_BASE], viewWords[q3 | VIEW_BASE]];
  const [lists1, lists2, lists3] = [viewWords[q1 | VIEW_LISTS], viewWords[q2 | VIEW_LISTS], viewWords[q3 | VIEW_LISTS]];
  const [last1, last2, last3] = [(ways1 << 2) - 4, (ways2 << 2) - 4, (ways3 << 2) - 4];
  const [all1, all2, all3] = [(16 << last1) - 1, (16 << last2) - 1, (16 << last3) - 1];
  const hash4 = viewWords[q4 | VIEW_HASH];
  const shift4 = viewWords[q4 | VIEW_SHIFT];
  const upperShift = x.shifts[2];
  let now = at[1];
  let near = 0;
  let ahead = p.streak << 2;
  let misses = 0;
  let references = 0;
  let lookedFrom = p.lookedFrom;
  let lookedTo = p.lookedTo;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    if (i >= lookedTo) {
      // Where the memo has one of four, this is no place to be.
      if (near << 2 > lookedTo - lookedFrom) {
        p.streak = -misses;
        break;
      }
      near = 0;
      lookedFrom = i;
      lookedTo = i + ahead < to ? (i + ahead) | 0 : to;
      ahead = AHEAD;
      look(p, x, pt, top, address, lookedFrom, lookedTo);
    }
    const a = address[i];
    const k = kind[i];
    const n = size[i];
    const scaled = a * perByte;
    const key = scaled | 0;
    const hashed = Math.imul(key, MULTIPLIER);
    const m = hashed >>> MEMO_AT;
    const number = Math.floor(scaled);
    const start = number * pageBytes;
    const within = a - start + n <= pageBytes;
    // Equal or not: which of two pages lies below the other, nobody can predict.
    if (page[m] === start && within && ((kinds[m] >>> k) & 1) !== 0) {
      now++;
      time[m] = now;
      hits[m]++;
      near = (near + 1) | 0;
      continue;
    }
    if (!within || k === 3) break;

    // Both levels. A print that none of a set has is enough of an answer.
    const tagged = number * TAG;
    const wanted1 = tagged + tag1;
    const wanted2 = tagged + tag2;
    const set1 = key & mask1;
    const set2 = key & mask2;
    const head1 = (lists1 + set1) | 0;
    const head2 = (lists2 + set2) | 0;
    const first1 = (base1 + Math.imul(set1, ways1)) | 0;
    const first2 = (base2 + Math.imul(set2, ways2)) | 0;
    const print = hashed >>> PRINT_AT;
    const four = Math.imul(print, ONES);
    const w0 = printWords[head1 << 1] ^ four;
    const w1 = printWords[(head1 << 1) | 1] ^ four;
    const w2 = printWords[head2 << 1] ^ four;
    const w3 = printWords[(head2 << 1) | 1] ^ four;
    const zeros = ((w0 - ONES) & ~w0) | ((w1 - ONES) & ~w1) | ((w2 - ONES) & ~w2) | ((w3 - ONES) & ~w3);
    if ((zeros & TOPS) !== 0) {
      let s = first1;
      let end = (s + ways1) | 0;
      while (s < end && tags[s] !== wanted1) s = (s + 1) | 0;
      if (s < end) break;
      s = first2;
      end = (s + ways2) | 0;
      while (s < end && tags[s] !== wanted2) s = (s + 1) | 0;
      if (s < end) break;
    }

    // The leaf, and whether the first level makes room without the memo.
    const e = leaves[(i - lookedFrom) | 0];
    if (e < 0) break;
    const stores = k === 0 ? 0 : W;
    const flags = entries[e];
    if ((flags & (P | C | stores)) !== (P | stores)) break;
    let word = order[head1];
    if (word === 0) word = orderByTime(t, first1, ways1);
    let way = (word >>> last1) & 15;
    const slot1 = (first1 + way) | 0;
    if (links[(slot1 << 2) | MEMO_WORD] >= 0) break;
    order[head1] = ((word << 4) | way) & all1;
    const marked = flags | (k === 0 ? A : A | D);
    if (marked !== flags) entries[e] = marked;

    // Walk caches.
    misses = (misses + 1) | 0;
    const pmd = (a * pmdsPerByte) >>> 0;
    const wanted3 = pmd * TAG + tag3;
    const set3 = pmd & mask3;
    const first3 = (base3 + Math.imul(set3, ways3)) | 0;
    const head3 = (lists3 + set3) | 0;
    const hashed3 = Math.imul(pmd, MULTIPLIER);
    const four3 = Math.imul(hashed3 >>> PRINT_AT, ONES);
    const w4 = printWords[head3 << 1] ^ four3;
    const w5 = printWords[(head3 << 1) | 1] ^ four3;
    const end = (first3 + ways3) | 0;
    let s = end;
    if (((((w4 - ONES) & ~w4) | ((w5 - ONES) & ~w5)) & TOPS) !== 0) {
      s = first3;
      while (s < end && tags[s] !== wanted3) s = (s + 1) | 0;
    }
    if (s < end) {
      references = (references + 1) | 0;
      order[head3] = firstWay(order[head3], (s - first3) | 0);
    } else {
      const pud = pmd >>> upperShift;
      const wanted4 = pud * TAG + tag4;
      s = heads[(hash4 + (Math.imul(pud, MULTIPLIER) >>> shift4)) | 0];
      while (s >= 0 && tags[s] !== wanted4) s = links[(s << 2) | CHAIN_WORD];
      if (s >= 0) {
        references = (references + 2) | 0;
        // To the front of its list, wherever it was: whether it is there already, nobody can predict.
        const link = s << 2;
        const next = links[link];
        const previous = links[link | 1];
        links[previous << 2] = next;
        links[(next << 2) | 1] = previous;
        const head4 = links[link | 3];
        const first = links[head4 << 2];
        links[head4 << 2] = s;
        links[link | 1] = head4;
        links[link] = first;
        links[(first << 2) | 1] = s;
        word = order[head3];
        way = (word >>> last3) & 15;
        order[head3] = ((word << 4) | way) & all3;
        s = (first3 + way) | 0;
        prints[(head3 << 3) | way] = hashed3 >>> PRINT_AT;
        if (tags[s] < 0) live[v3]++;
        tags[s] = wanted3;
        info[s] = 0;
      } else {
        at[0] = start;
        x.leafLevel = 0;
        references += walkReferences(x, at);
      }
    }

    // Into both levels.
    const is = (marked & (W | D)) === (W | D) ? c | WRITABLE : c;
    word = order[head2];
    way = (word >>> last2) & 15;
    order[head2] = ((word << 4) | way) & all2;
    s = (first2 + way) | 0;
    prints[(head2 << 3) | way] = print;
    if (tags[s] < 0) live[v2]++;
    tags[s] = wanted2;
    info[s] = is;
    prints[(head1 << 3) | (slot1 - first1)] = print;
    if (tags[slot1] < 0) live[v1]++;
    tags[slot1] = wanted1;
    info[slot1] = is;
    now++;
    times[slot1] = now;
  }
  at[1] = now;
  p.lookedFrom = lookedFrom;
  p.lookedTo = lookedTo;
  p.streak = Math.min(STREAK_MAX, p.streak + misses);
  x.counts.misses[c] += misses;
  x.counts.walkReferences[c] += references;
  return i;
}
