/**
 * Where each object of a recording lies in the file that stands for all of them: runs of pages, given out in the order of
 * first appearance. An open-addressing table over typed arrays, linear probing, at most half full. An object that is
 * asked for with more pages than it has gets a new run, as a file system would move it.
 */
import { BYTES_MAX, PAGE } from './ops_shape.ts';

const PAGES_MAX = BYTES_MAX / PAGE;
const START_BITS = 16;
const PLACE_WORDS = 4;
const LOW = 0;
const HIGH = 1;
const FIRST = 2;
/** 0 is an empty place. */
const PAGES = 3;
const RECORD_WORDS = 6;

/** Pages that an object of this size takes. */
export const pagesOf = (bytes: number): number => (bytes <= PAGE ? 1 : Math.ceil(bytes / PAGE));

export class Extents {
  /** First page of the object of each request that was looked up last; -1 where there was no room left for it. */
  found: Int32Array<ArrayBufferLike> = new Int32Array(0);
  private bits = START_BITS;
  private places = new Int32Array(PLACE_WORDS << START_BITS);
  private starts = new Int32Array(0);
  private used = 0;
  private nextPage = 0;

  /**
   * Looks up `count` requests, from record `at` of `words` on. In two rounds: the first only touches the places, so that
   * the memory fetches those of many requests side by side; the second finds them at hand.
   */
  lookUp(words: Int32Array, at: number, count: number): void {
    while ((this.used + count) * 2 > 2 ** this.bits) this.grow();
    if (this.found.length < count) {
      this.found = new Int32Array(count);
      this.starts = new Int32Array(count);
    }
    const { found, starts, places } = this;
    const shift = 32 - this.bits;
    const mask = places.length - 1;
    for (let i = 0, w = at * RECORD_WORDS; i < count; i++, w += RECORD_WORDS) {
      const start = (hash(words[w + 1]!, words[w + 2]!) >>> shift) * PLACE_WORDS;
      starts[i] = start;
      found[i] = places[start]!;
    }
    for (let i = 0, w = at * RECORD_WORDS; i < count; i++, w += RECORD_WORDS) {
      const low = words[w + 1]!;
      const high = words[w + 2]!;
      let p = starts[i]!;
      let pages = places[p + PAGES]!;
      while (pages !== 0 && (places[p + LOW] !== low || places[p + HIGH] !== high)) {
        p = (p + PLACE_WORDS) & mask;
        pages = places[p + PAGES]!;
      }
      const size = words[w + 3]!;
      found[i] = size >>> 0 <= pages * PAGE && pages !== 0 ? places[p + FIRST]! : this.place(p, low, high, size >>> 0);
    }
  }

  /** Gives the object at place `p` a run of its own. */
  private place(p: number, low: number, high: number, size: number): number {
    const { places } = this;
    const first = this.nextPage;
    const pages = pagesOf(size);
    if (first + pages > PAGES_MAX) return -1;
    if (places[p + PAGES] === 0) this.used++;
    this.nextPage = first + pages;
    places[p + LOW] = low;
    places[p + HIGH] = high;
    places[p + FIRST] = first;
    places[p + PAGES] = pages;
    return first;
  }

  private grow(): void {
    const old = this.places;
    this.bits++;
    const places = new Int32Array(PLACE_WORDS * 2 ** this.bits);
    const mask = places.length - 1;
    const shift = 32 - this.bits;
    for (let o = 0; o < old.length; o += PLACE_WORDS) {
      if (old[o + PAGES] === 0) continue;
      let p = (hash(old[o + LOW]!, old[o + HIGH]!) >>> shift) * PLACE_WORDS;
      while (places[p + PAGES] !== 0) p = (p + PLACE_WORDS) & mask;
      for (let k = 0; k < PLACE_WORDS; k++) places[p + k] = old[o + k]!;
    }
    this.places = places;
  }
}

/** Spreads a u64 over 32 bits, best over the high ones, which are the ones used: ids may differ in any of their bits. */
function hash(low: number, high: number): number {
  const h = low ^ Math.imul(high, 0x9e3779b1);
  return Math.imul(h ^ (h >>> 16), 0x7feb352d);
}
