/**
 * The memo in front of all TLBs of a pass. Nearly every access is to a page that was touched a moment ago, and hits in the first level of
 * every configuration; what it changes there is a time of use. The memo is a small table of such pages, found by a few bits of the
 * page's number. An access that it knows is one compare and one time noted, however many configurations there are. It is no
 * part of what is modelled: counts are the same for every size of it.
 *
 * A memo entry stands for a page (of the smallest page size of the pass), leads to the entry that each configuration's first level has
 * for it, and knows when the page was used last, how often since it was noted, and whether stores are known to be allowed.
 * Whoever takes an entry out of a first level takes the memo entries that lead to it away first.
 *
 * Invariants (checkPass):
 *   M1  a memo entry in use leads, in every configuration, to an entry of the first level that translates its page;
 *   M2  it is on the chain of that entry, once, and chains hold no other memo entries.
 */
import { assert } from '../base/errors.ts';
import { ORDER, SET_SHIFT } from './order.ts';
import type { Loop } from './scatter_second.ts';
import {
  EMPTY,
  HASH,
  INFO_CLASS,
  keyOfTag,
  LIST,
  MEMO,
  MEMO_BITS,
  MEMO_SHIFT,
  type Tlb,
  tlbDrop,
  viewOfTag,
} from './tlb.ts';
import { checkTlb } from './tlb_check.ts';
import type { Translator } from './walk.ts';

/** Kinds of access, as in trace/access.ts: 0 load, 1 store, 2 modify, 3 fetch. */
export const FETCH = 3;
// Imported names cost a look each time.
const MULTIPLIER: number = HASH;
const SHIFT: number = MEMO_SHIFT;

/** Pages of code that are remembered. */
export const CODE_SIZE = 64;
/** Misses in a row that make a run worth it. */
export const SCATTERED = 16;
/** So many are remembered; a hit makes up for some, a fault for all. */
export const STREAK_MAX = 64;
export const STREAK_HIT = 4;
/** Numbers of a memo entry: page, time of use, hits since it was noted, the last of the kinds that are allowed. */
const MEMO_WIDTH = 4;
const TIME = 1;
const HITS = 2;
const KIND = 3;
/** Page of an entry that is not in use: no address is near it. */
export const NO_PAGE: number = -(2 ** 60);

/** Configurations that are translated in one pass over the accesses. */
export interface Pass {
  readonly translators: readonly Translator[];
  /** The smallest page size of all. */
  readonly pageBytes: number;

  /** Memo, four numbers an entry: page, time, hits, the last of the kinds of access that are known to be allowed. */
  readonly memo: Float64Array;
  /** By entry and configuration: the entry of its first level; the next memo entry of that one. */
  readonly slot: Int32Array;
  readonly chain: Int32Array;
  /** Pages from which instructions were fetched: they are mapped in all configurations. */
  readonly code: Float64Array;

  /** Address of the page that is translated, the time, the end of the access, the time of the last one that the memo did not know. Numbers here, because arguments would be put on the heap. */
  readonly at: Float64Array;
  /** By configuration: the entry for that page; −1: none, or it is gone. */
  readonly found: Int32Array;
  /**
   * Rows of the last call of `translate` that the memo did not know, in order: every page of the smallest size that it saw for the first
   * time is among them. A row, or for a run of rows ~first and its end.
   */
  fresh: Int32Array;
  freshCount: number;
  /** One of them went across the end of a page of the smallest size. */
  crossed: boolean;
  /** Some first level had the page: it is worth a memo entry. */
  noted: boolean;
  /** Misses of both levels in a row, about, of the first configuration. Rows whose leaves were looked at, and what was seen. */
  streak: number;
  lookedFrom: number;
  lookedTo: number;
  seen: number;
  /** Of scatter.ts: the stamp of its next row; the row from which on rows fill the first level, −1: they do not; its loops by class, made when they are wanted. */
  stamp: number;
  filledFrom: number;
  loops: readonly (Loop | null)[] | null;
  /** What was refused: configuration, address of the page, what it wanted. */
  faultConfig: number;
  faultAddress: number;
  faultStore: boolean;
  faultFetch: boolean;
  /** An access was refused and is to be tried again. */
  refused: boolean;
}

/** A pass of these configurations, which stay as they are: the memo is empty. */
export function pass(translators: readonly Translator[]): Pass {
  const n = translators.length;
  assert(n > 0, 'pass: no configuration');
  const entries = 1 << MEMO_BITS;
  return {
    translators,
    pageBytes: Math.min(...translators.map((x) => 2 ** x.tlb.geometry.pageShift)),
    memo: new Float64Array(entries * MEMO_WIDTH).map((_, i) => (i % MEMO_WIDTH === 0 ? NO_PAGE : 0)),
    slot: new Int32Array(entries * n),
    chain: new Int32Array(entries * n),
    code: new Float64Array(CODE_SIZE).fill(NO_PAGE),
    at: new Float64Array(4),
    found: new Int32Array(n).fill(-1),
    fresh: new Int32Array(0),
    freshCount: 0,
    crossed: false,
    noted: false,
    streak: 0,
    lookedFrom: 0,
    lookedTo: 0,
    seen: 0,
    stamp: 1,
    filledFrom: -1,
    loops: null,
    faultConfig: 0,
    faultAddress: 0,
    faultStore: false,
    faultFetch: false,
    refused: false,
  };
}

/** Rows that the memo knows, from `from` on: the first that it does not. */
export function recall(
  p: Pass,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const row = recallData(p, address, size, kind, from, to);
  return row < to && kind[row] === FETCH ? recallAll(p, address, size, kind, row, to) : row;
}

/**
 * Ends at a fetch. No call, and nothing that a program without fetches never does: after a call the host's compiler looks at all tables
 * anew, and what was never done keeps it from taking what is the same in every turn out of the loop.
 */
function recallData(
  p: Pass,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const { memo, pageBytes, at } = p;
  const perByte = 1 / pageBytes;
  let now = at[1];
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const a = address[i];
    const h = (Math.imul((a * perByte) | 0, MULTIPLIER) >>> SHIFT) << 2;
    const inside = a - memo[h];
    // One test of the kind, not one by kind: which it is, nobody can predict.
    if (!(inside >= 0 && inside + size[i] <= pageBytes && kind[i] <= memo[h | KIND])) break;
    now++;
    memo[h | TIME] = now;
    memo[h | HITS]++;
  }
  at[1] = now;
  return i;
}

/** Fetches as well: of pages of code. */
function recallAll(
  p: Pass,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const { memo, pageBytes, at, code } = p;
  const perByte = 1 / pageBytes;
  let now = at[1];
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const a = address[i];
    const k = kind[i];
    const key = (a * perByte) | 0;
    const h = (Math.imul(key, MULTIPLIER) >>> SHIFT) << 2;
    const inside = a - memo[h];
    if (inside >= 0 && inside + size[i] <= pageBytes && k <= memo[h | KIND]) {
      now++;
      memo[h | TIME] = now;
      memo[h | HITS]++;
      continue;
    }
    if (k !== FETCH) break;
    const fetched = a - code[key & (CODE_SIZE - 1)];
    if (!(fetched >= 0 && fetched + size[i] <= pageBytes)) break;
  }
  at[1] = now;
  return i;
}

/** Takes a memo entry away: what it knew goes where it belongs. */
function memoRemove(p: Pass, h: number): void {
  const { translators, slot, chain } = p;
  const n = translators.length;
  const time = p.memo[(h << 2) | TIME];
  const hits = p.memo[(h << 2) | HITS];
  for (let c = 0, i = h * n; c < n; c++, i++) {
    const x = translators[c];
    const { links, times, info, orders } = x.tlb;
    const s = slot[i];
    if (time > times[s]) {
      times[s] = time;
      orders[(links[(s << 2) | LIST] << SET_SHIFT) | ORDER] = 0;
    }
    x.counts.l1Hits[info[s] & INFO_CLASS] += hits;
    const m = (s << 2) | MEMO;
    if (links[m] === h) links[m] = chain[i];
    else {
      let at = links[m];
      while (chain[at * n + c] !== h) at = chain[at * n + c];
      chain[at * n + c] = chain[i];
    }
  }
  p.memo[h << 2] = NO_PAGE;
  p.memo[(h << 2) | HITS] = 0;
}

/** Notes the page p.at, with the entries p.found, in memo entry `h`; kinds up to `kind` are allowed. */
export function memoFill(p: Pass, h: number, kind: number): void {
  const { translators, slot, chain, found } = p;
  const n = translators.length;
  if (p.memo[h << 2] !== NO_PAGE) memoRemove(p, h);
  for (let c = 0, i = h * n; c < n; c++, i++) {
    const { links } = translators[c].tlb;
    const m = (found[c] << 2) | MEMO;
    slot[i] = found[c];
    chain[i] = links[m];
    links[m] = h;
  }
  p.memo[h << 2] = p.at[0];
  p.memo[(h << 2) | TIME] = p.at[1];
  p.memo[(h << 2) | KIND] = kind;
}

/** When an entry of the first level was used last. */
function timeOf(p: Pass, c: number, t: Tlb, s: number): number {
  let time = t.times[s];
  const n = p.translators.length;
  for (let h = t.links[(s << 2) | MEMO]; h >= 0; h = p.chain[h * n + c])
    if (p.memo[(h << 2) | TIME] > time) time = p.memo[(h << 2) | TIME];
  return time;
}

/** The entry of ways [from, to) of the first level that was used longest ago, without memo entries. */
export function victimOfSet(p: Pass, c: number, from: number, to: number): number {
  const t = p.translators[c].tlb;
  const { times, links } = t;
  const n = p.translators.length;
  let victim = from;
  let oldest = Infinity;
  for (let s = from; s < to; s = (s + 1) | 0) {
    let time = times[s];
    if (time >= oldest) continue;
    for (let h = links[(s << 2) | MEMO]; h >= 0; h = p.chain[h * n + c])
      if (p.memo[(h << 2) | TIME] > time) time = p.memo[(h << 2) | TIME];
    if (time < oldest) {
      oldest = time;
      victim = s;
    }
  }
  while (links[(victim << 2) | MEMO] >= 0) memoRemove(p, links[(victim << 2) | MEMO]);
  return victim;
}

/** The same for a full array: the next of the sorted ones that was not used since it was sorted. */
export function victimOfFull(p: Pass, c: number, a: number): number {
  const t = p.translators[c].tlb;
  const { sorted, sortedTimes, sortedAt, links } = t;
  for (;;) {
    for (let i = sortedAt[a]; i < t.lists[a]; i++) {
      const s = sorted[i];
      if (timeOf(p, c, t, s) !== sortedTimes[i]) continue;
      sortedAt[a] = i + 1;
      while (links[(s << 2) | MEMO] >= 0) memoRemove(p, links[(s << 2) | MEMO]);
      return s;
    }
    sortByTime(p, c, a);
  }
}

/** By insertion: entries that made room in order are in order still. */
export function sortByTime(p: Pass, c: number, a: number): void {
  const t = p.translators[c].tlb;
  const { sorted, sortedTimes, times, links } = t;
  const n = p.translators.length;
  const from = t.base[a];
  for (let i = from; i < t.lists[a]; i++) {
    const s = sorted[i];
    // timeOf, once more: what a call returns would be put on the heap.
    let time = times[s];
    for (let h = links[(s << 2) | MEMO]; h >= 0; h = p.chain[h * n + c])
      if (p.memo[(h << 2) | TIME] > time) time = p.memo[(h << 2) | TIME];
    let at = i;
    while (at > from && sortedTimes[at - 1] > time) {
      sorted[at] = sorted[at - 1];
      sortedTimes[at] = sortedTimes[at - 1];
      at--;
    }
    sorted[at] = s;
    sortedTimes[at] = time;
  }
  t.sortedAt[a] = from;
}

/** Takes an entry out of configuration `c`, of either level. */
export function entryDrop(p: Pass, c: number, a: number, s: number): void {
  const t = p.translators[c].tlb;
  if (a < t.l1Arrays) {
    while (t.links[(s << 2) | MEMO] >= 0) memoRemove(p, t.links[(s << 2) | MEMO]);
    if (p.found[c] === s) p.found[c] = -1;
  }
  tlbDrop(t, a, s);
}

/** Empties the memo, so that the counts are complete. */
export function settle(p: Pass): void {
  for (let h = 0; h < 1 << MEMO_BITS; h++) if (p.memo[h << 2] !== NO_PAGE) memoRemove(p, h);
}

/** Where the memo keeps a page. */
export const memoOf = (page: number, pageBytes: number): number => Math.imul(page / pageBytes, HASH) >>> MEMO_SHIFT;

/** Walks the invariants of a pass and of its TLBs. */
export function checkPass(p: Pass): void {
  const n = p.translators.length;
  for (let c = 0; c < n; c++) {
    const t = p.translators[c].tlb;
    checkTlb(t);
    const on = new Map<number, number>();
    for (let a = 0; a < t.l1Arrays; a++)
      for (let s = t.base[a]; s < t.lists[a]; s++) {
        assert(
          (t.tags[s] === EMPTY) === (t.times[s] === EMPTY),
          'M1: an empty entry with a time, or one in use without',
        );
        for (let h = t.links[s * 4 + MEMO]; h >= 0; h = p.chain[h * n + c]) {
          assert(!on.has(h), 'M2: a memo entry on two chains');
          on.set(h, s);
        }
      }
    for (let h = 0; h < 1 << MEMO_BITS; h++) {
      if (p.memo[h << 2] === NO_PAGE) continue;
      const s = p.slot[h * n + c];
      assert(on.get(h) === s, 'M2: a memo entry that is not on its chain');
      on.delete(h);
      const tag = t.tags[s];
      assert(
        tag >= 0 && Math.floor(p.memo[h << 2] * t.viewPerByte[viewOfTag(tag)]) === keyOfTag(tag),
        'M1: a memo entry that leads to another page',
      );
    }
    assert(on.size === 0, 'M2: a memo entry that is not in use on a chain');
  }
}
