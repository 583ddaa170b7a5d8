/**
 * Accesses that miss both levels one after the other: the same outcome as `enter` and `miss`, laid out for the host. `translate`
 * comes here after a run of misses.
 *
 *   look        the leaf entries of the next rows are found and read                                       look.ts
 *   a loop      each row in turn: its leaf, and the second level                                           scatter_second.ts
 *   walks       the walk caches                                                                            scatter_walks.ts
 *   oddRow      what ends the loop: hits of the second level, what prints or caches do not tell, leaves without accessed or dirty bit
 *   keep        when all is done, the last rows go into the first level                                    scatter_first.ts
 *
 * A row that misses the second level misses the first too, if what the first has is in the second; and it is, as long as nothing leaves the
 * second that may be in the first. Entries of the second have a stamp, the row that brought them or used them last. The first has nothing
 * older than the rows that fill it (`oldest`), so an entry with an older stamp may leave, and is a hit of the second level alone. Until the rows
 * have filled the first level they are looked up there as well.
 *
 * `look` serves all configurations, the rest one alone, for leaves of the lowest level of one class (pages, groups with the
 * contiguous hint, or groups that hardware coalesces), while neither level has any other. Whatever else comes (a hit of the first level, an access
 * across pages, a fetch, a leaf of another class, a refusal) ends the rows, and the caller goes on with `enter`.
 */
import { classOf, look } from './look.ts';
import { FETCH, type Pass, recall, STREAK_HIT, STREAK_MAX } from './memo.ts';
import { ORDER_WORD, SET_SHIFT, wayAt } from './order.ts';
import { absentTo, filledFrom, inSet, keep } from './scatter_first.ts';
import { type Loop, missNarrow, missWide, type Run } from './scatter_second.ts';
import { missTogether } from './scatter_together.ts';
import { settleUses, walkOne, walks } from './scatter_walks.ts';
import {
  AHEAD,
  INFO_CLASS,
  INFO_EMPTY,
  INFO_MASK,
  INFO_WRITABLE,
  ORDERED,
  STAMP_SHIFT,
  STAMPS_MAX,
  type Tlb,
  use,
  VIEW_BASE,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_WAYS,
} from './tlb.ts';
import {
  ACCESSED,
  DIRTY,
  groupWritable,
  insertListed,
  PRESENT,
  RW,
  storeThrough,
  type Translator,
  type WalkedTables,
} from './walk.ts';

const MASK: number = AHEAD - 1;
/** Rows of a run, so that their stamps are one after the other. */
const RUN_MAX = 2 ** 20;

/** By class of leaves: the loop that serves them; null: none does. */
function loopsOf(t: Tlb): readonly (Loop | null)[] {
  const { viewWords, viewArray, l1Of, l2Of, walkOf, classes, viewPerByte } = t;
  const kind = (v: number): number => (viewWords[(v << 3) | VIEW_MASK] < 0 ? -1 : viewWords[v << 3]);
  const word = (v: number): boolean => kind(v) === ORDERED && viewWords[(v << 3) | VIEW_WAYS] <= ORDER_WORD;
  return classes.map(({ level }, k) => {
    const [v1, v2, v3, v4] = [l1Of[k], l2Of[k], walkOf[1], walkOf[2]];
    if (level !== 0 || v2 < 0 || v3 < 0 || v4 < 0) return null;
    // What hits the second level goes where the rest goes; pages of one entry of the first level are of one of the second.
    for (let c = 0; c < classes.length; c++) if (l2Of[c] === v2 && l1Of[c] !== v1) return null;
    if (viewPerByte[v1] < viewPerByte[v2]) return null;
    if (kind(v1) !== 1 && !word(v1)) return null;
    if (kind(v2) !== ORDERED || kind(v4) !== 1 || viewArray[v3] === viewArray[v4]) return null;
    if (viewArray[v3] === viewArray[v2]) return missTogether;
    if (kind(v3) !== 1 && !word(v3)) return null;
    return word(v2) ? missNarrow : missWide;
  });
}

/** The same while no level has entries of other sizes. */
function loopFor(p: Pass, t: Tlb, k: number): Loop | null {
  const { live, l1Of, l2Of, l2Views } = t;
  for (let v = 0; v < l2Views; v++) if (live[v] !== 0 && v !== l1Of[k] && v !== l2Of[k]) return null;
  if (p.loops === null) p.loops = loopsOf(t);
  return p.loops[k];
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
  const top = tops[0];
  const t = x.tlb;
  let near = 0;
  for (let i = from; ; ) {
    const known = recall(p, address, size, kind, i, to);
    near += known - i;
    i = known;
    if (i >= to) return to;
    // Where the memo has one of four, this is no place to be.
    if (near << 2 > i - from && i - from > AHEAD) {
      p.streak = 0;
      return i;
    }
    if (i >= p.lookedTo) look(p, x, pt, top, address, i, Math.min(to, i + Math.min(AHEAD, p.streak << 2)));
    const e = t.words[t.at.leaves + (i & MASK)];
    if (p.translators.length > 1 || e < 0 || (pt.entries[e] & PRESENT) === 0) return i;
    const k = classOf(x, pt.entries, e);
    const loop = loopFor(p, t, k);
    if (loop === null) return i;
    const end = misses(p, x, pt, top, loop, k, address, size, kind, i, Math.min(to, i + RUN_MAX));
    if (end === i) return i;
    i = end;
  }
}

/** Rows from `from` on that miss the first level, with leaves of class `k`. */
function misses(
  p: Pass,
  x: Translator,
  pt: WalkedTables,
  top: number,
  loop: Loop,
  k: number,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const t = x.tlb;
  const v1 = t.l1Of[k];
  const v2 = t.l2Of[k];
  if (p.stamp + to - from > STAMPS_MAX) forgetStamps(p, t);
  const stamps = (p.stamp - from) << STAMP_SHIFT;
  const run: Run = {
    k,
    oldest: p.stamp << STAMP_SHIFT,
    stamps,
    sure: -1,
    hits: 0,
  };
  let i = from;
  for (let going = true; going && i < to; ) {
    if (i >= p.lookedTo) look(p, x, pt, top, address, i, Math.min(to, i + AHEAD));
    let end = Math.min(to, p.lookedTo);
    if (x.coalescedClass >= 0) end = ofClassTo(x, pt, k, i, end);
    if (i === from || (!fills(p, t, v1, run, address, from, i) && p.filledFrom < 0))
      end = absentTo(t, v1, address, i, end);
    going = end > i;
    while (going && i < end) {
      const was = i;
      i = loop(p, x, run, pt.entries, address, size, kind, i, end);
      if (loop !== missTogether) walks(p, x, k, address, was, i);
      if (t.classes[k].group > 1) for (let row = was; row < i; row++) groupInfo(x, pt, k, address, row);
      if (i === end) break;
      const odd = oddRow(p, x, pt, top, run, address, size, kind, i);
      if (odd === DONE) i++;
      else if (odd === STOP) going = fills(p, t, v1, run, address, from, i);
    }
  }
  keep(p, t, v1, v2, address, from, i);
  settleUses(t);
  p.stamp += i - from;
  const n = i - from - run.hits;
  x.counts.misses[k] += n;
  p.streak = Math.min(STREAK_MAX, Math.max(0, p.streak - STREAK_HIT * run.hits) + n);
  return i;
}

/** Whether rows [from, row) fill view `v` of the first level, and later ones do than last time. */
function fills(p: Pass, t: Tlb, v: number, run: Run, address: Float64Array, from: number, row: number): boolean {
  p.filledFrom = filledFrom(t, v, address, from, row);
  const oldest = (run.stamps + (p.filledFrom << STAMP_SHIFT)) | 0;
  if (p.filledFrom < 0 || oldest <= run.oldest) return false;
  run.oldest = oldest;
  return true;
}

const [DONE, AGAIN, STOP] = [0, 1, 2];

/** A row that ended the loop: done here, to be given to the loop once more, or not for these loops. */
function oddRow(
  p: Pass,
  x: Translator,
  pt: WalkedTables,
  top: number,
  run: Run,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  row: number,
): number {
  const t = x.tlb;
  const { entries } = pt;
  const { k } = run;
  const v = t.l2Of[k];
  const e = t.words[t.at.leaves + (row & MASK)];
  const how = kind[row];
  const wants = how === 0 ? PRESENT : PRESENT | RW;
  if (e < 0 || how === FETCH || (address[row] % p.pageBytes) + size[row] > p.pageBytes) return STOP;
  if ((entries[e] & wants) !== wants || classOf(x, entries, e) !== k) return STOP;
  const stamp = (run.stamps + (row << STAMP_SHIFT)) | 0;
  p.at[0] = Math.floor(address[row] / p.pageBytes) * p.pageBytes;
  const s = inSet(t, v, address, row);
  if (s >= 0) {
    if (t.info[s] >= run.oldest) return STOP;
    if (how !== 0 && (t.info[s] & INFO_WRITABLE) === 0) storeThrough(x, pt, top, p.at, s);
    t.info[s] = stamp | (t.info[s] & INFO_MASK);
    x.counts.l2Hits[t.info[s] & INFO_CLASS]++;
    t.words[t.at.entries + (row & MASK)] = s;
    run.hits++;
    use(t, v, s);
    return DONE;
  }
  const [last, before] = roomFor(x, v, address[row]);
  const empty = last === INFO_EMPTY || before === INFO_EMPTY;
  if ((last !== INFO_EMPTY && last >= run.oldest) || (before !== INFO_EMPTY && before >= run.oldest)) return STOP;
  entries[e] |= how === 0 ? ACCESSED : ACCESSED | DIRTY;
  if (!empty && run.sure !== row) {
    run.sure = row;
    return AGAIN;
  }
  walkOne(p, x, k, address[row]);
  const made = insertListed(t, v, p.at);
  t.info[made] = stamp | k;
  t.words[t.at.entries + (row & MASK)] = made;
  groupInfo(x, pt, k, address, row);
  return DONE;
}

/** Infos of what makes room for an address in view `v` of the second level, and for its PMD entry where that goes there too. */
function roomFor(x: Translator, v: number, a: number): [number, number] {
  const t = x.tlb;
  const set = setIn(t, v, a);
  const pmdSet = setIn(t, t.walkOf[1], a);
  const last = infoAt(t, v, set, 1);
  if (t.viewArray[t.walkOf[1]] !== t.viewArray[v]) return [last, last];
  return [last, set === pmdSet ? infoAt(t, v, set, 2) : infoAt(t, v, pmdSet, 1)];
}

const setIn = (t: Tlb, v: number, a: number): number => (a * t.viewPerByte[v]) & t.viewWords[(v << 3) | VIEW_MASK];

/** The info of the nth way from the last of a set of an ordered view. */
function infoAt(t: Tlb, v: number, set: number, n: number): number {
  const ways = t.viewWords[(v << 3) | VIEW_WAYS];
  const way = wayAt(t.orders, (t.viewWords[(v << 3) | VIEW_LISTS] + set) << SET_SHIFT, ways - n);
  return t.info[t.viewWords[(v << 3) | VIEW_BASE] + set * ways + way];
}

/** Notes whether all of the translation of a row, which missed, is writable and dirty. */
function groupInfo(x: Translator, pt: WalkedTables, k: number, address: Float64Array, row: number): void {
  const t = x.tlb;
  const { group } = t.classes[k];
  const e = t.words[t.at.leaves + (row & MASK)] >> 1;
  const s = inSet(t, t.l2Of[k], address, row);
  const writable = groupWritable(pt.entries, e & ~(group - 1), group);
  t.info[s] = writable ? t.info[s] | INFO_WRITABLE : t.info[s] & ~INFO_WRITABLE;
}

/** The first of rows [from, to) whose leaf is not of class `k`, or `to`. */
function ofClassTo(x: Translator, pt: WalkedTables, k: number, from: number, to: number): number {
  const { words, at } = x.tlb;
  for (let i = from; ; i++) {
    if (k !== x.coalescedClass) i = apartTo(x, pt.entries, i, to);
    if (i >= to) return to;
    const e = words[at.leaves + (i & MASK)];
    if (e < 0 || (pt.entries[e] & PRESENT) === 0 || classOf(x, pt.entries, e) !== k) return i;
  }
}

/** The first of rows [from, to) whose leaf may be one of a group that hardware coalesces, or `to`. */
function apartTo(x: Translator, entries: Int32Array, from: number, to: number): number {
  const { words, at, coalesces } = x.tlb;
  const leaves = at.leaves | 0;
  const mask = (coalesces - 1) | 0;
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const e = words[(leaves + (i & MASK)) | 0];
    if (e < 0) break;
    // In a group the frame stands where the page does, and the neighbour's frame is its neighbour.
    const frame = entries[e ^ 1];
    if (((frame ^ (e >> 1)) & mask) === 0 && entries[e ^ 3] === (frame ^ 1)) break;
  }
  return i;
}

function forgetStamps(p: Pass, t: Tlb): void {
  p.stamp = 1;
  for (let a = t.l1Arrays; a < t.base.length; a++)
    for (let s = t.base[a]; s < t.lists[a]; s++) if (t.tags[s] >= 0) t.info[s] &= INFO_MASK;
}
