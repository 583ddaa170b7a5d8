/**
 * Accesses that miss both levels one after the other: the same outcome as `enter` and `miss`, laid out for the host. `translate`
 * comes here after a run of misses.
 *
 *   look     the leaf entries of the next rows are found, then touched in a loop of its own: the host's memory answers questions
 *            that are asked together in the time of a few
 *   miss     each row in turn: both levels are searched, the walk caches, then the entries that made room are replaced
 *
 * `look` serves all configurations. `miss` is for one alone, for leaves of the lowest level of one class (pages, groups with the
 * contiguous hint, or groups that hardware coalesces), while neither level has any other; its first level one set or ordered, its second
 * level ordered, PMD entries kept in either kind of array or in the second level. Whatever is not plain (a hit, an access across pages,
 * a fetch, a leaf of another class, a refusal, a way that the memo knows) ends the run before it changed anything, and the
 * caller goes on with `enter`.
 */
import { AHEAD, type Pass, sortByTime } from './memo.ts';
import {
  CHAIN,
  HASH,
  INFO_WRITABLE,
  MEMO,
  MEMO_SHIFT,
  ORDER_WORD,
  ORDERED,
  PRINT_SHIFT,
  TAG_UNIT,
  type Tlb,
  toFront,
  turnWay,
  unchain,
  useWay,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_MAX,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import {
  ACCESSED,
  CONT,
  coalesced,
  DIRTY,
  groupWritable,
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
const REST = 0x7f7f7f7f;
const TABLE = PRESENT | LEAF;
/** Shift of a hash to one of p.spans. */
const SPANS_AT = 26;
const VIEWS: number = VIEW_MAX - 1;

/** Whether `miss` serves the leaves of class `k`. */
function serves(x: Translator, k: number): boolean {
  const { viewWords, live, l1Of, l2Of, l2Views, walkOf, classes } = x.tlb;
  const [v1, v2, v3, v4] = [l1Of[k], l2Of[k], walkOf[1], walkOf[2]];
  if (classes[k].level !== 0 || v2 < 0 || v3 < 0 || v4 < 0) return false;
  for (let v = 0; v < l2Views; v++) if (live[v] !== 0 && v !== v1 && v !== v2) return false;
  const kind = (v: number): number => (viewWords[(v << 3) | VIEW_MASK] < 0 ? -1 : viewWords[v << 3]);
  return (
    (kind(v1) === 1 || (kind(v1) === ORDERED && viewWords[(v1 << 3) | VIEW_WAYS] <= ORDER_WORD)) &&
    kind(v2) === ORDERED &&
    (kind(v3) === 1 || kind(v3) === ORDERED) &&
    kind(v4) === 1 &&
    x.tlb.viewArray[v3] !== x.tlb.viewArray[v4]
  );
}

/** Finds the leaves of rows [from, to) and touches them; −1: there is no table for it. */
function look(p: Pass, x: Translator, pt: WalkedTables, top: number, address: Float64Array, from: number, to: number) {
  const { entries, entryShift } = pt;
  const { leaves, spans } = p;
  const { shifts, masks, pmdsPerByte } = x;
  spans.fill(-1);
  for (let i = lookOn(p, x, pt, address, from, from, to); i < to; i = lookOn(p, x, pt, address, from, i, to)) {
    // The table of PMD entries that row `i` needs; an entry that is not there, or a leaf, stands for itself.
    const pmd = (address[i] * pmdsPerByte) >>> 0;
    let table = top;
    for (let n = x.top; n > 1 && table >= 0; n--) {
      const e = ((table << entryShift) | ((pmd >>> shifts[n]) & masks[n])) << 1;
      table = (entries[e | 1] & TABLE) === P ? entries[e] : -1;
    }
    if (table < 0) leaves[i++ - from] = -1;
    else {
      const span = pmd >>> shifts[2];
      const h = (Math.imul(span, MULTIPLIER) >>> SPANS_AT) << 1;
      spans[h] = span;
      spans[h | 1] = table;
    }
  }
  let seen = 0;
  for (let j = (to - from - 1) | 0; j >= 0; j = (j - 1) | 0) {
    const e = leaves[j];
    seen ^= entries[e & ~(e >> 31)];
  }
  p.seen ^= seen;
  p.lookedFrom = from;
  p.lookedTo = to;
}

/** Leaves of rows [i, to) of those from `from` on, as long as their tables of PMD entries are known. */
function lookOn(
  p: Pass,
  x: Translator,
  pt: WalkedTables,
  address: Float64Array,
  from: number,
  first: number,
  to: number,
): number {
  const { entries, entryShift } = pt;
  const { leaves, spans } = p;
  const { pmdsPerByte, pagesPerByte, shifts, masks } = x;
  const [mask0, mask1, above] = [masks[0], masks[1], shifts[2]];
  let i = first;
  for (; i < to; i = (i + 1) | 0) {
    const a = address[i];
    const pmd = (a * pmdsPerByte) >>> 0;
    const span = pmd >>> above;
    const h = (Math.imul(span, MULTIPLIER) >>> SPANS_AT) << 1;
    if (spans[h] !== span) break;
    const e = ((spans[h | 1] << entryShift) | (pmd & mask1)) << 1;
    const leaf = ((entries[e] << entryShift) | (((a * pagesPerByte) >>> 0) & mask0)) << 1;
    leaves[(i - from) | 0] = (entries[e | 1] & TABLE) === P ? leaf | 1 : -1;
  }
  return i;
}

/** The class of a leaf of the lowest level; `e`: the word of its flags. */
function classOf(x: Translator, entries: Int32Array, e: number): number {
  const group = x.classOfGroup[0];
  if (group >= 0 && (entries[e] & CONT) !== 0) return group;
  if (x.coalescedClass < 0) return x.classOf[0];
  // In a group that can share an entry, the frame stands where the page does, and the neighbour's frame is its neighbour.
  const n = x.tlb.coalesces;
  const frame = entries[e ^ 1];
  if (((frame ^ (e >> 1)) & (n - 1)) !== 0 || entries[e ^ 3] !== (frame ^ 1)) return x.classOf[0];
  return coalesced(entries, e >> 1, n) ? x.coalescedClass : x.classOf[0];
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
  tables: readonly WalkedTables[],
  tops: ArrayLike<number>,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const x = p.translators[0];
  const pt = tables[0];
  if (from >= to) return from;
  if (from >= p.lookedTo) look(p, x, pt, tops[0], address, from, Math.min(to, from + Math.min(AHEAD, p.streak << 2)));
  const e = p.leaves[from - p.lookedFrom];
  if (p.translators.length > 1 || e < 0 || (pt.entries[e] & P) === 0) return from;
  const k = classOf(x, pt.entries, e);
  return serves(x, k) ? miss(p, x, pt, tops[0], address, size, kind, from, to, k) : from;
}

/** Rows from `from` on of leaves of class `k`, as long as they miss both levels. */
function miss(
  p: Pass,
  x: Translator,
  pt: WalkedTables,
  top: number,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
  k: number,
): number {
  const t = x.tlb;
  const { page, time, hits, kinds, pageBytes, at, leaves } = p;
  const { tags, info, links, heads, times, order, prints, printWords, live, viewWords, viewTag, viewPerByte } = t;
  const { sorted, sortedTimes, sortedAt } = t;
  const { entries } = pt;
  const { pmdsPerByte } = x;
  const perByte = 1 / pageBytes;
  const v1 = t.l1Of[k];
  const v2 = t.l2Of[k];
  const v3 = t.walkOf[1];
  const v4 = t.walkOf[2];
  const array1 = t.viewArray[v1];
  const end1 = t.lists[array1];
  const [q1, q2, q3, q4] = [v1 << 3, v2 << 3, v3 << 3, v4 << 3];
  const [tag1, tag2, tag3, tag4] = [viewTag[v1], viewTag[v2], viewTag[v3], viewTag[v4]];
  const [per1, per2] = [viewPerByte[v1], viewPerByte[v2]];
  const [mask1, mask2, mask3] = [viewWords[q1 | VIEW_MASK], viewWords[q2 | VIEW_MASK], viewWords[q3 | VIEW_MASK]];
  const [ways1, ways2, ways3] = [viewWords[q1 | VIEW_WAYS], viewWords[q2 | VIEW_WAYS], viewWords[q3 | VIEW_WAYS]];
  const [base1, base2, base3] = [viewWords[q1 | VIEW_BASE], viewWords[q2 | VIEW_BASE], viewWords[q3 | VIEW_BASE]];
  const [lists1, lists2, lists3] = [viewWords[q1 | VIEW_LISTS], viewWords[q2 | VIEW_LISTS], viewWords[q3 | VIEW_LISTS]];
  const [hash1, hash3, hash4] = [viewWords[q1 | VIEW_HASH], viewWords[q3 | VIEW_HASH], viewWords[q4 | VIEW_HASH]];
  const [shift1, shift3, shift4] = [viewWords[q1 | VIEW_SHIFT], viewWords[q3 | VIEW_SHIFT], viewWords[q4 | VIEW_SHIFT]];
  const same1 = per1 === perByte;
  const same2 = per2 === perByte;
  const full1 = viewWords[q1] === 1;
  const full3 = viewWords[q3] === 1;
  const wide2 = ways2 > ORDER_WORD;
  const wide3 = ways3 > ORDER_WORD;
  const last1 = (ways1 << 2) - 4;
  const all1 = (16 << last1) - 1;
  const upperShift = x.shifts[2];
  const { group } = t.classes[k];
  const mixed = x.coalescedClass >= 0;
  const cont = k === x.classOfGroup[0] ? C : 0;
  let now = at[1];
  let near = 0;
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
      look(p, x, pt, top, address, i, i + AHEAD < to ? (i + AHEAD) | 0 : to);
      lookedFrom = p.lookedFrom;
      lookedTo = p.lookedTo;
    }
    const a = address[i];
    const kindOf = kind[i];
    const scaled = a * perByte;
    const hashed = Math.imul(scaled | 0, MULTIPLIER);
    const m = hashed >>> MEMO_AT;
    const number = Math.floor(scaled);
    const start = number * pageBytes;
    const within = a - start + size[i] <= pageBytes;
    // Equal or not: which of two pages lies below the other, nobody can predict.
    if (page[m] === start && within && ((kinds[m] >>> kindOf) & 1) !== 0) {
      now++;
      time[m] = now;
      hits[m]++;
      near = (near + 1) | 0;
      continue;
    }
    if (!within || kindOf === 3) break;

    // The leaf.
    const e = leaves[(i - lookedFrom) | 0];
    if (e < 0) break;
    const stores = kindOf === 0 ? 0 : W;
    const flags = entries[e];
    if ((flags & (P | C | stores)) !== (P | cont | stores)) break;
    if (mixed && classOf(x, entries, e) !== k) break;

    // Both levels. A print that none of a set has is enough of an answer. Whether the first level makes room without the memo.
    const key2 = same2 ? number : Math.floor(a * per2);
    const wanted2 = key2 * TAG + tag2;
    const hashed2 = Math.imul(key2, MULTIPLIER);
    const print2 = hashed2 >>> PRINT_AT;
    const set2 = key2 & mask2;
    const head2 = (lists2 + set2) | 0;
    const first2 = (base2 + Math.imul(set2, ways2)) | 0;
    const four2 = Math.imul(print2, ONES);
    const w0 = printWords[head2 << 2] ^ four2;
    const w1 = printWords[(head2 << 2) | 1] ^ four2;
    let zeros = ((w0 - ONES) & ~w0) | ((w1 - ONES) & ~w1);
    if (wide2) {
      const w2 = printWords[(head2 << 2) | 2] ^ four2;
      const w3 = printWords[(head2 << 2) | 3] ^ four2;
      zeros |= ((w2 - ONES) & ~w2) | ((w3 - ONES) & ~w3);
    }
    if ((zeros & TOPS) !== 0) {
      let s = first2;
      const end = (s + ways2) | 0;
      while (s < end && tags[s] !== wanted2) s = (s + 1) | 0;
      if (s < end) break;
    }
    const key1 = same1 ? number : Math.floor(a * per1);
    const wanted1 = key1 * TAG + tag1;
    const hashedKey1 = Math.imul(key1, MULTIPLIER);
    let slot1: number;
    let head1: number;
    if (full1) {
      head1 = (hash1 + (hashedKey1 >>> shift1)) | 0;
      let s = heads[head1];
      while (s >= 0 && tags[s] !== wanted1) s = links[(s << 2) | CHAIN_WORD];
      if (s >= 0) break;
      if (sortedAt[array1] === end1) sortByTime(p, 0, array1);
      const next = sortedAt[array1];
      slot1 = sorted[next];
      if (times[slot1] !== sortedTimes[next] || links[(slot1 << 2) | MEMO_WORD] >= 0) break;
      sortedAt[array1] = next + 1;
      if (tags[slot1] >= 0) {
        const was = (hash1 + (Math.imul(Math.floor(tags[slot1] / TAG), MULTIPLIER) >>> shift1)) | 0;
        if (heads[was] === slot1) heads[was] = links[(slot1 << 2) | CHAIN_WORD];
        else unchain(t, slot1, hash1, shift1);
      }
      links[(slot1 << 2) | CHAIN_WORD] = heads[head1];
      heads[head1] = slot1;
    } else {
      const set1 = key1 & mask1;
      head1 = (lists1 + set1) | 0;
      const first1 = (base1 + Math.imul(set1, ways1)) | 0;
      const print1 = hashedKey1 >>> PRINT_AT;
      const four1 = Math.imul(print1, ONES);
      const w2 = printWords[head1 << 2] ^ four1;
      const w3 = printWords[(head1 << 2) | 1] ^ four1;
      if (((((w2 - ONES) & ~w2) | ((w3 - ONES) & ~w3)) & TOPS) !== 0) {
        let s = first1;
        const end = (s + ways1) | 0;
        while (s < end && tags[s] !== wanted1) s = (s + 1) | 0;
        if (s < end) break;
      }
      let word = order[head1 << 1];
      if (word === 0) word = orderByTime(t, first1, ways1);
      const way = (word >>> last1) & 15;
      slot1 = (first1 + way) | 0;
      if (links[(slot1 << 2) | MEMO_WORD] >= 0) break;
      order[head1 << 1] = ((word << 4) | way) & all1;
      prints[(head1 << 4) | way] = print1;
    }
    const marked = flags | (kindOf === 0 ? A : A | D);
    if (marked !== flags) entries[e] = marked;

    // Walk caches.
    misses = (misses + 1) | 0;
    const pmd = (a * pmdsPerByte) >>> 0;
    const wanted3 = pmd * TAG + tag3;
    const hashed3 = Math.imul(pmd, MULTIPLIER);
    const set3 = pmd & mask3;
    const first3 = (base3 + Math.imul(set3, ways3)) | 0;
    const head3 = full3 ? (hash3 + (hashed3 >>> shift3)) | 0 : (lists3 + set3) | 0;
    let s = -1;
    if (full3) {
      s = heads[head3];
      while (s >= 0 && tags[s] !== wanted3) s = links[(s << 2) | CHAIN_WORD];
    } else {
      const four3 = Math.imul(hashed3 >>> PRINT_AT, ONES);
      const w4 = printWords[head3 << 2] ^ four3;
      const w5 = printWords[(head3 << 2) | 1] ^ four3;
      // One bit a way that has the print: where it is found, nobody can predict, so no step from way to way.
      zeros = (~(((w4 & REST) + REST) | w4 | REST) >>> 7) | (~(((w5 & REST) + REST) | w5 | REST) >>> 6);
      if (wide3) {
        const w6 = printWords[(head3 << 2) | 2] ^ four3;
        const w7 = printWords[(head3 << 2) | 3] ^ four3;
        zeros |= (~(((w6 & REST) + REST) | w6 | REST) >>> 5) | (~(((w7 & REST) + REST) | w7 | REST) >>> 4);
      }
      for (; zeros !== 0; zeros &= zeros - 1) {
        const bit = 31 - Math.clz32(zeros & -zeros);
        const entry = (first3 + ((bit & 7) << 2) + (bit >> 3)) | 0;
        if (tags[entry] === wanted3) {
          s = entry;
          break;
        }
      }
    }
    if (s >= 0) {
      references = (references + 1) | 0;
      if (full3) toFront(links, s);
      else useWay(order, head3, (s - first3) | 0);
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
        if (full3) {
          const list = lists3 << 2;
          s = links[list | 1];
          toFront(links, s);
          if (tags[s] >= 0) unchain(t, s, hash3, shift3);
          links[(s << 2) | CHAIN_WORD] = heads[head3];
          heads[head3] = s;
        } else {
          const way = turnWay(order, head3, ways3);
          s = (first3 + way) | 0;
          prints[(head3 << 4) | way] = hashed3 >>> PRINT_AT;
        }
        const was = tags[s];
        if (was < 0) live[v3]++;
        else if ((was & VIEWS) !== v3) {
          live[was & VIEWS]--;
          live[v3]++;
        }
        tags[s] = wanted3;
        info[s] = 0;
      } else {
        at[0] = start;
        x.leafLevel = 0;
        references += walkReferences(x, at);
      }
    }

    // Into both levels.
    let is = k;
    if (group === 1) {
      if ((marked & (W | D)) === (W | D)) is = k | WRITABLE;
    } else if (groupWritable(entries, (e >> 1) & ~(group - 1), group)) is = k | WRITABLE;
    const way = turnWay(order, head2, ways2);
    s = (first2 + way) | 0;
    prints[(head2 << 4) | way] = print2;
    const was = tags[s];
    if (was < 0) live[v2]++;
    else if ((was & VIEWS) !== v2) {
      live[was & VIEWS]--;
      live[v2]++;
    }
    tags[s] = wanted2;
    info[s] = is;
    if (tags[slot1] < 0) live[v1]++;
    else if ((tags[slot1] & VIEWS) !== v1) {
      live[tags[slot1] & VIEWS]--;
      live[v1]++;
    }
    tags[slot1] = wanted1;
    info[slot1] = is;
    now++;
    times[slot1] = now;
  }
  at[1] = now;
  p.streak = Math.min(STREAK_MAX, p.streak + misses);
  x.counts.misses[k] += misses;
  x.counts.walkReferences[k] += references;
  return i;
}
