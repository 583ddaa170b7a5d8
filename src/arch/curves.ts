/**
 * Miss curves: how many accesses miss, for all sizes of an LRU memory at once, in one pass.
 *
 * An access hits a memory of n pages with true LRU exactly when fewer than n other pages were touched since the last access to its page
 * (its stack distance). So one histogram of distances holds the misses of every size. What a "page" is, the caller says by
 * its numbers: pages for TLBs of one page size, folios or pages for memory.
 *
 *   StackCurve   one set (fully associative, or memory): every access takes a place in a row of time; the place of the last
 *                access to each page is marked, and the distance is the number of marks behind it. Marks are bits, and sums
 *                of 16 words, of 16 such sums and so on say how many lie behind. When the row is full the marks move together.
 *                Time: some dozen steps an access; it grows with the logarithm of the number of pages, and near
 *                distances cost less. Memory: 50 to 100 bytes a page.
 *   SetCurve     a fixed number of sets, up to a number of ways: the pages of each set in order of use.
 *
 * Invariants (checkStackCurve):
 *   C1  each page has one mark, at its place, and there are no others;
 *   C2  sums of every level are the marks below them.
 */
import { assert, QuireError } from '../base/errors.ts';

const HASH = 0x9e3779b1 | 0;
/** log2 of what a sum sums up. */
const FAN = 4;
const WORD_BITS = 5;

export interface StackCurve {
  /** Accesses so far, and those that were the first to their page. */
  accesses: number;
  cold: number;
  /** By distance: accesses. */
  hits: Float64Array;

  // Pages: a hash table with one probe after the other, at most half full.
  keys: Float64Array;
  places: Int32Array;
  pages: number;

  // Time: marks, sums by level, and the hash row of the page at each place.
  marks: Int32Array;
  sums: Int32Array[];
  rows: Int32Array;
  now: number;
  last: number;
}

const PLACES_MIN = 1 << 12;

/** An empty curve. */
export function stackCurve(): StackCurve {
  const c: StackCurve = {
    accesses: 0,
    cold: 0,
    hits: new Float64Array(PLACES_MIN),
    keys: new Float64Array(PLACES_MIN).fill(-1),
    places: new Int32Array(PLACES_MIN),
    pages: 0,
    marks: new Int32Array(0),
    sums: [],
    rows: new Int32Array(0),
    now: 0,
    last: -1,
  };
  makeTime(c, PLACES_MIN);
  return c;
}

function makeTime(c: StackCurve, places: number): void {
  c.marks = new Int32Array(places >> WORD_BITS);
  c.sums = [];
  for (let n = places >> (WORD_BITS + FAN); n >= 1; n >>= FAN) c.sums.push(new Int32Array(n));
  c.rows = new Int32Array(places);
}

/** Bits of a word that are set. */
function ones(word: number): number {
  let v = word - ((word >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Takes rows [from, to) of numbers, each times `scale` and rounded down: byte addresses with 1 / page size, or page numbers with 1. */
export function stackCurveAdd(c: StackCurve, numbers: Float64Array, from: number, to: number, scale = 1): void {
  let { keys, places, rows, marks, hits, last } = c;
  let mask = keys.length - 1;
  let shift = 32 - Math.log2(keys.length);
  for (let i = from; i < to; i++) {
    const page = Math.floor(numbers[i] * scale);
    if (page === last) {
      hits[0]++;
      continue;
    }
    last = page;
    let row = Math.imul(page ^ (page / 4294967296), HASH) >>> shift;
    while (keys[row] !== page && keys[row] !== -1) row = (row + 1) & mask;
    if (keys[row] === -1) {
      c.cold++;
      keys[row] = page;
      places[row] = -1;
      if (++c.pages * 2 > keys.length) {
        growPages(c);
        ({ keys, places, rows, hits } = c);
        mask = keys.length - 1;
        shift = 32 - Math.log2(keys.length);
        row = Math.imul(page ^ (page / 4294967296), HASH) >>> shift;
        while (keys[row] !== page) row = (row + 1) & mask;
      }
    } else {
      const place = places[row];
      hits[marksBehind(c, place)]++;
      marks[place >> WORD_BITS] ^= 1 << (place & 31);
      addToSums(c, place, -1);
    }
    if (c.now === rows.length) {
      moveTogether(c);
      ({ rows, marks } = c);
    }
    const { now } = c;
    places[row] = now;
    rows[now] = row;
    marks[now >> WORD_BITS] |= 1 << (now & 31);
    addToSums(c, now, 1);
    c.now = now + 1;
  }
  c.last = last;
  c.accesses += to - from;
}

function addToSums(c: StackCurve, place: number, by: number): void {
  const { sums } = c;
  let at = place >> (WORD_BITS + FAN);
  for (let n = 0; n < sums.length; n++, at >>= FAN) sums[n][at] += by;
}

/** Marks behind a place: to the end of its word, of its group of words, of its group of groups, … */
function marksBehind(c: StackCurve, place: number): number {
  const { marks, sums, now } = c;
  let at = place >> WORD_BITS;
  // Two shifts: one by 32 would be one by none.
  let n = ones((marks[at] >>> (place & 31)) >>> 1);
  const end = (now - 1) >> WORD_BITS;
  let to = Math.min(at | 15, end);
  while (at < to) n += ones(marks[++at]);
  for (let level = 0; level < sums.length; level++) {
    at = place >> (WORD_BITS + FAN * (level + 1));
    const last = (now - 1) >> (WORD_BITS + FAN * (level + 1));
    if (at === last) break;
    const sum = sums[level];
    to = Math.min(at | 15, last);
    while (at < to) n += sum[++at];
  }
  return n;
}

/** The hash table is half full: twice the size. A page without a place is the one that makes it grow. */
function growPages(c: StackCurve): void {
  const { keys: was, places: wasPlaces, rows } = c;
  const size = was.length * 2;
  const keys = new Float64Array(size).fill(-1);
  const places = new Int32Array(size);
  const shift = 32 - Math.log2(size);
  for (let i = 0; i < was.length; i++) {
    const page = was[i];
    if (page === -1) continue;
    let row = Math.imul(page ^ (page / 4294967296), HASH) >>> shift;
    while (keys[row] !== -1) row = (row + 1) & (size - 1);
    keys[row] = page;
    places[row] = wasPlaces[i];
    if (wasPlaces[i] >= 0) rows[wasPlaces[i]] = row;
  }
  c.keys = keys;
  c.places = places;
  const hits = new Float64Array(size);
  hits.set(c.hits);
  c.hits = hits;
}

/** The row of time is full: marks move together at its start, and the row grows when they fill half of it. */
function moveTogether(c: StackCurve): void {
  const { marks, rows, places, now } = c;
  let n = 0;
  for (let w = 0; w < marks.length; w++) n += ones(marks[w]);
  makeTime(c, n * 2 > rows.length ? rows.length * 2 : rows.length);
  let to = 0;
  for (let place = 0; place < now; place++) {
    if ((marks[place >> WORD_BITS] & (1 << (place & 31))) === 0) continue;
    const row = rows[place];
    c.rows[to] = row;
    places[row] = to;
    c.marks[to >> WORD_BITS] |= 1 << (to & 31);
    addToSums(c, to, 1);
    to++;
  }
  c.now = to;
}

/** Misses of every size from 0 to the number of pages, where only the first access to each misses. */
export function missCurve(c: StackCurve): Float64Array {
  const curve = new Float64Array(c.pages + 1);
  curve[0] = c.accesses;
  for (let n = 1; n <= c.pages; n++) curve[n] = curve[n - 1] - c.hits[n - 1];
  return curve;
}

/** Walks the invariants C1 and C2. */
export function checkStackCurve(c: StackCurve): void {
  let marks = 0;
  for (let place = 0; place < c.rows.length; place++) {
    if ((c.marks[place >> WORD_BITS] & (1 << (place & 31))) === 0) continue;
    marks++;
    assert(place < c.now && c.keys[c.rows[place]] !== -1 && c.places[c.rows[place]] === place, 'C1: a mark of no page');
  }
  assert(marks === c.pages, 'C1: pages and marks differ');
  for (const [level, sum] of c.sums.entries())
    for (let at = 0; at < sum.length; at++) {
      let n = 0;
      for (let w = at << (FAN * (level + 1)); w < (at + 1) << (FAN * (level + 1)); w++) n += ones(c.marks[w]);
      assert(n === sum[at], 'C2: a sum differs');
    }
  let hits = c.cold;
  for (const n of c.hits) hits += n;
  assert(hits === c.accesses, 'C2: distances and accesses differ');
}

/** Misses by ways, for a fixed number of sets. */
export interface SetCurve {
  readonly sets: number;
  readonly ways: number;
  accesses: number;
  /** By distance in the set, to `ways` − 1. */
  readonly hits: Float64Array;
  /** By set: pages in order of use, −1: none. */
  readonly order: Float64Array;
}

/** @throws QuireError EINVAL */
export function setCurve(sets: number, ways: number): SetCurve {
  if (!(Number.isInteger(sets) && sets > 0 && Number.isInteger(ways) && ways > 0 && sets * ways <= 2 ** 28))
    throw new QuireError(
      'EINVAL',
      `a curve of ${sets} sets and ${ways} ways: expected whole numbers above 0, 2^28 entries at most`,
    );
  return { sets, ways, accesses: 0, hits: new Float64Array(ways), order: new Float64Array(sets * ways).fill(-1) };
}

/** Takes rows as stackCurveAdd does. The set of a page is its number modulo the number of sets. */
export function setCurveAdd(c: SetCurve, numbers: Float64Array, from: number, to: number, scale = 1): void {
  const { sets, ways, hits, order } = c;
  const mask = (sets & (sets - 1)) === 0 ? sets - 1 : -1;
  for (let i = from; i < to; i++) {
    const page = Math.floor(numbers[i] * scale);
    const set = mask >= 0 ? page & mask : (page - Math.floor(page / sets) * sets) | 0;
    const first = Math.imul(set, ways);
    let at = first;
    let carried = order[at];
    if (carried === page) {
      hits[0]++;
      continue;
    }
    // Each page moves one back on the way, until the place where this one was.
    const end = (first + ways) | 0;
    order[at] = page;
    for (at = (at + 1) | 0; at < end && carried !== -1; at = (at + 1) | 0) {
      const here = order[at];
      order[at] = carried;
      carried = here;
      if (here === page) {
        hits[(at - first) | 0]++;
        break;
      }
    }
  }
  c.accesses += to - from;
}

/** Accesses that miss with so many ways, 1 to the curve's. */
export function setMissesOf(c: SetCurve, ways: number): number {
  let misses = c.accesses;
  for (let d = Math.min(ways, c.ways) - 1; d >= 0; d--) misses -= c.hits[d];
  return misses;
}
