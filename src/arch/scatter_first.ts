/**
 * The first level under rows that miss. While they are looked up nothing is put in: what it would have is the last of them, of each
 * set as many as it has ways, so it is filled when somebody asks.
 */
import { type Pass, sortByTime, victimOfFull, victimOfSet } from './memo.ts';
import { ONES, ORDER, SET_SHIFT, setPrint } from './order.ts';
import {
  AHEAD,
  CHAIN,
  chain,
  HASH,
  INFO_EMPTY,
  INFO_MASK,
  MEMO,
  PRINT_SHIFT,
  TAG_UNIT,
  type Tlb,
  tlbFind,
  unchain,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_MAX,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';

// Imported names cost a look each time.
const MULTIPLIER: number = HASH;
const PRINT_AT: number = PRINT_SHIFT;
const [TAG, CHAIN_WORD, MEMO_WORD, EMPTY, ALL]: number[] = [TAG_UNIT, CHAIN, MEMO, INFO_EMPTY, INFO_MASK];
const BYTES: number = ONES;
const MASK: number = AHEAD - 1;
/** Rows so near to the last have their entry in the column still. */
const NEAR: number = AHEAD;
const [ORDER_AT, SET_AT]: number[] = [ORDER, SET_SHIFT];
const TOPS: number = 0x80808080 | 0;

/** The first of rows [from, to) that the first level has in view `v`, or `to`. */
export function absentTo(t: Tlb, v: number, address: Float64Array, from: number, to: number): number {
  const full = t.viewWords[v << 3] === 1;
  for (let i = from; ; i++) {
    i = full ? absentInFull(t, v, address, i, to) : absentInSets(t, v, address, i, to);
    if (i >= to) return to;
    const key = Math.floor(address[i] * t.viewPerByte[v]);
    if (tlbFind(t, t.viewArray[v], key, key * TAG_UNIT + t.viewTag[v]) >= 0) return i;
  }
}

/** Rows whose print no way of their set has. */
function absentInSets(t: Tlb, v: number, address: Float64Array, from: number, to: number): number {
  const { words, viewWords } = t;
  const per = t.viewPerByte[v];
  const sets = t.at.orders + (viewWords[(v << 3) | VIEW_LISTS] << SET_AT);
  const mask = viewWords[(v << 3) | VIEW_MASK];
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const key = (address[i] * per) | 0;
    const r = (sets + ((key & mask) << SET_AT)) | 0;
    const four = Math.imul(Math.imul(key, MULTIPLIER) >>> PRINT_AT, BYTES);
    const a = words[r] ^ four;
    const b = words[r | 1] ^ four;
    if (((((a - BYTES) & ~a) | ((b - BYTES) & ~b)) & TOPS) !== 0) break;
  }
  return i;
}

/** Rows whose chain is empty, or holds one other. */
function absentInFull(t: Tlb, v: number, address: Float64Array, from: number, to: number): number {
  const { words, tags, viewWords } = t;
  const { links } = t.at;
  const per = t.viewPerByte[v];
  const tag = t.viewTag[v];
  const hash = t.at.heads + viewWords[(v << 3) | VIEW_HASH];
  const shift = viewWords[(v << 3) | VIEW_SHIFT];
  let i = from;
  for (; i < to; i = (i + 1) | 0) {
    const scaled = address[i] * per;
    const s = words[(hash + (Math.imul(scaled | 0, MULTIPLIER) >>> shift)) | 0];
    if (s >= 0 && (tags[s] === Math.floor(scaled) * TAG + tag || words[(links + (s << 2) + CHAIN_WORD) | 0] >= 0))
      break;
  }
  return i;
}

/**
 * The rows before `to`, not before `from`, that fill view `v` when all of them miss it: of each set the last ones, latest first, in the list of those
 * kept. Returns how many.
 */
function lastRows(t: Tlb, v: number, address: Float64Array, from: number, to: number): number {
  const { words, viewWords } = t;
  const { kept, counts } = t.at;
  const per = t.viewPerByte[v];
  const ways = viewWords[(v << 3) | VIEW_WAYS];
  const mask = viewWords[v << 3] === 1 ? 0 : viewWords[(v << 3) | VIEW_MASK];
  for (let set = 0; set <= mask; set = (set + 1) | 0) words[(counts + set) | 0] = 0;
  let open = (mask + 1) | 0;
  let n = 0;
  let i = to;
  while (i > from && open > 0) {
    i = (i - 1) | 0;
    const set = (counts + ((address[i] * per) & mask)) | 0;
    const c = (words[set] + 1) | 0;
    if (c > ways) continue;
    if (c === ways) open = (open - 1) | 0;
    words[set] = c;
    words[(kept + n) | 0] = i;
    n = (n + 1) | 0;
  }
  return n;
}

/** The row from which on rows before `to`, not before `from`, fill view `v` when all of them miss it; −1: they do not. */
export function filledFrom(t: Tlb, v: number, address: Float64Array, from: number, to: number): number {
  const { words, viewWords } = t;
  const counts = t.at.counts | 0;
  const per = t.viewPerByte[v];
  const ways = viewWords[(v << 3) | VIEW_WAYS];
  const mask = viewWords[v << 3] === 1 ? 0 : viewWords[(v << 3) | VIEW_MASK];
  // One set: as many rows as it has ways.
  if (mask === 0) return to - from < ways ? -1 : to - ways;
  for (let set = 0; set <= mask; set = (set + 1) | 0) words[(counts + set) | 0] = ways;
  let open = (mask + 1) | 0;
  let i = to;
  for (i = (i - 1) | 0; i >= from; i = (i - 1) | 0) {
    const set = (counts + ((address[i] * per) & mask)) | 0;
    const left = (words[set] - 1) | 0;
    words[set] = left;
    open = (open - (left === 0 ? 1 : 0)) | 0;
    if (open === 0) return i;
  }
  return -1;
}

/** Puts rows [from, to) into view `v`, all of which miss it and are in view `second` of the second level; p.at[1] is the time before the first. */
export function keep(
  p: Pass,
  t: Tlb,
  v: number,
  second: number,
  address: Float64Array,
  from: number,
  to: number,
): void {
  const { words, at } = t;
  const full = t.viewWords[v << 3] === 1;
  for (let n = lastRows(t, v, address, from, to); ; n--) {
    n = full ? keepInFull(p, t, v, second, address, from, to, n) : keepInSets(p, t, v, second, address, from, to, n);
    if (n === 0) break;
    const row = words[at.kept + n - 1];
    const is = t.info[inSet(t, second, address, row)] & INFO_MASK;
    keepOne(p, t, v, address[row], is, p.at[1] + (row - from) + 1);
  }
  p.at[1] += to - from;
}

/** The kept rows from the nth on, as long as the order of their set is known and tells what makes room; returns how many are left. */
function keepInSets(
  p: Pass,
  t: Tlb,
  v: number,
  second: number,
  address: Float64Array,
  from: number,
  to: number,
  n: number,
): number {
  const { words, tags, times, viewWords, at } = t;
  const { kept, links, info } = at;
  const slots = at.entries;
  const per = t.viewPerByte[v];
  const tag = t.viewTag[v];
  const base = viewWords[(v << 3) | VIEW_BASE];
  const ways = viewWords[(v << 3) | VIEW_WAYS];
  const mask = viewWords[(v << 3) | VIEW_MASK];
  const sets = at.orders + (viewWords[(v << 3) | VIEW_LISTS] << SET_AT);
  const last = (ways << 2) - 4;
  const all = (16 << last) - 1;
  const before = p.at[1] + 1 - from;
  let j = n;
  for (; j > 0; j = (j - 1) | 0) {
    const i = words[(kept + j - 1) | 0];
    const scaled = address[i] * per;
    const key = scaled | 0;
    const set = key & mask;
    const r = (sets + (set << SET_AT)) | 0;
    const low = words[r | ORDER_AT];
    const way = (low >>> last) & 15;
    const s = (base + Math.imul(set, ways) + way) | 0;
    if (low === 0 || words[(links + (s << 2) + MEMO_WORD) | 0] >= 0 || words[(info + s) | 0] === EMPTY) break;
    words[r | ORDER_AT] = ((low << 4) | way) & all;
    setPrint(words, r, way, Math.imul(key, MULTIPLIER) >>> PRINT_AT);
    tags[s] = Math.floor(scaled) * TAG + tag;
    times[s] = before + i;
    words[(info + s) | 0] =
      words[(info + (to - i > NEAR ? inSet(t, second, address, i) : words[(slots + (i & MASK)) | 0])) | 0] & ALL;
  }
  return j;
}

/** The same for one set that is hashed: as long as the next of the sorted ones makes room. */
function keepInFull(
  p: Pass,
  t: Tlb,
  v: number,
  second: number,
  address: Float64Array,
  from: number,
  to: number,
  n: number,
): number {
  const { words, tags, times, sortedTimes, sortedAt, viewWords, at } = t;
  const { kept, links, info, heads, chained, sorted } = at;
  const slots = at.entries;
  const per = t.viewPerByte[v];
  const tag = t.viewTag[v];
  const hash = viewWords[(v << 3) | VIEW_HASH];
  const shift = viewWords[(v << 3) | VIEW_SHIFT];
  const a = t.viewArray[v];
  const end = t.lists[a];
  const before = p.at[1] + 1 - from;
  if (sortedAt[a] === end) sortByTime(p, 0, a);
  let next = sortedAt[a];
  let j = n;
  for (; j > 0 && next < end; j = (j - 1) | 0) {
    const s = words[(sorted + next) | 0];
    const was = (heads + words[(chained + s) | 0]) | 0;
    const e = (links + (s << 2)) | 0;
    if (times[s] !== sortedTimes[next] || words[(e + MEMO_WORD) | 0] >= 0 || words[(info + s) | 0] === EMPTY) break;
    if (words[was] !== s) break;
    next = (next + 1) | 0;
    words[was] = words[(e + CHAIN_WORD) | 0];
    const i = words[(kept + j - 1) | 0];
    const scaled = address[i] * per;
    const h = (hash + (Math.imul(scaled | 0, MULTIPLIER) >>> shift)) | 0;
    words[(e + CHAIN_WORD) | 0] = words[(heads + h) | 0];
    words[(heads + h) | 0] = s;
    words[(chained + s) | 0] = h;
    tags[s] = Math.floor(scaled) * TAG + tag;
    times[s] = before + i;
    words[(info + s) | 0] =
      words[(info + (to - i > NEAR ? inSet(t, second, address, i) : words[(slots + (i & MASK)) | 0])) | 0] & ALL;
  }
  sortedAt[a] = next;
  return j;
}

/** The entry of a row in an ordered view, or −1. */
export function inSet(t: Tlb, v: number, address: Float64Array, row: number): number {
  const { viewWords, tags } = t;
  const key = Math.floor(address[row] * t.viewPerByte[v]);
  const tag = key * TAG_UNIT + t.viewTag[v];
  const ways = viewWords[(v << 3) | VIEW_WAYS];
  const first = (viewWords[(v << 3) | VIEW_BASE] + Math.imul(key & viewWords[(v << 3) | VIEW_MASK], ways)) | 0;
  for (let s = first; s < first + ways; s++) if (tags[s] === tag) return s;
  return -1;
}

/** One row, whatever makes room. */
function keepOne(p: Pass, t: Tlb, v: number, a: number, is: number, time: number): void {
  const { viewWords, tags, orders } = t;
  const q = v << 3;
  const key = Math.floor(a * t.viewPerByte[v]);
  const hashed = Math.imul(key, HASH);
  let s: number;
  if (viewWords[q] === 1) {
    s = victimOfFull(p, 0, t.viewArray[v]);
    if (tags[s] >= 0) unchain(t, s);
    chain(t, s, (viewWords[q | VIEW_HASH] + (hashed >>> viewWords[q | VIEW_SHIFT])) | 0);
  } else {
    const set = key & viewWords[q | VIEW_MASK];
    const ways = viewWords[q | VIEW_WAYS];
    const first = (viewWords[q | VIEW_BASE] + Math.imul(set, ways)) | 0;
    const head = (viewWords[q | VIEW_LISTS] + set) | 0;
    s = victimOfSet(p, 0, first, (first + ways) | 0);
    setPrint(orders, head << SET_SHIFT, s - first, hashed >>> PRINT_SHIFT);
    t.times[s] = time;
    orders[(head << SET_SHIFT) | ORDER] = orderByTime(t, first, ways);
  }
  if (tags[s] >= 0) t.live[tags[s] & (VIEW_MAX - 1)]--;
  t.live[v]++;
  tags[s] = key * TAG_UNIT + t.viewTag[v];
  t.times[s] = time;
  t.info[s] = is;
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
