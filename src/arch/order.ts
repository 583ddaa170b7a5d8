/**
 * The order of use of a set of at most sixteen ways, in words. A digit of four bits a way, the most recent lowest, in two words; and beside it
 * a *print* of each way, a byte of the hash of its key, in the same order, in four words. A key whose print is not there is not in the set, and
 * what comes first pushes the others on: where a word is written depends on the set alone, so the host need not wait to know.
 *
 *   order   … 3 0 2 1      way 1 was used last, then way 2, …
 *   prints  … c a f 5      its print is 5, …
 *
 * A set's record has eight words: prints, order, two that are free. `at` is the first of them in `orders`.
 */

/** Ways that two words can order, and one. */
export const ORDER_MAX = 16;
export const ORDER_WORD = 8;
/** log2 of the words of a record; the first that orders. */
export const SET_SHIFT = 3;
export const ORDER = 4;
// Exported names cost a look each time.
const [WORDS, PER_WORD]: number[] = [ORDER, ORDER_WORD];
/** A byte that is 0 makes its top bit in (w − ONES) & ~w. */
export const ONES = 0x01010101;
const TOPS: number = 0x80808080 | 0;

/** Top bits of those of four prints from place `n` on that sets of so many ways have. */
export const printTops = (ways: number, n: number): number =>
  ways - n >= 4 ? TOPS : ways - n <= 0 ? 0 : TOPS & ((1 << ((ways - n) * 8)) - 1);

/** The way at place `n`. */
export const wayAt = (orders: Int32Array, at: number, n: number): number =>
  (orders[at | WORDS | (n >>> 3)] >>> ((n & 7) << 2)) & 15;

/** The place of a way. */
export function placeOfWay(orders: Int32Array, at: number, way: number): number {
  for (let n = 0; n < 2; n++) {
    // Digits that are `way` are 0 here; the lowest of these leaves its top bit.
    const digits = orders[at | WORDS | n] ^ Math.imul(way, 0x11111111);
    const zeros = (digits - 0x11111111) & ~digits & 0x88888888;
    if (zeros !== 0) return (n << 3) | ((31 - Math.clz32(zeros & -zeros)) >>> 2);
  }
  return -1;
}

/** Makes the way at place `n` the first. Without a branch below the ninth: which place it is, nobody can predict. */
export function usePlace(orders: Int32Array, at: number, n: number): void {
  const low = orders[at | WORDS];
  const bits = (n & 7) << 2;
  const shift = (n & 3) << 3;
  // Digits and prints up to this place, in their own word; of four bytes 256 << 24 is 0, so they are all.
  const digits = (16 << bits) - 1;
  const bytes = (256 << shift) - 1;
  const p0 = orders[at];
  const p1 = orders[at | 1];
  if (n < PER_WORD) {
    orders[at | WORDS] = (low & ~digits) | (((low << 4) | ((low >>> bits) & 15)) & digits);
    const second = -(n >>> 2);
    const print = (((p0 & ~second) | (p1 & second)) >>> shift) & 255;
    const in0 = bytes | second;
    const in1 = bytes & second;
    orders[at] = (p0 & ~in0) | (((p0 << 8) | print) & in0);
    orders[at | 1] = (p1 & ~in1) | (((p1 << 8) | (p0 >>> 24)) & in1);
    return;
  }
  const high = orders[at | WORDS | 1];
  orders[at | WORDS | 1] = (high & ~digits) | (((high << 4) | (low >>> 28)) & digits);
  orders[at | WORDS] = (low << 4) | ((high >>> bits) & 15);
  const p2 = orders[at | 2];
  const p3 = orders[at | 3];
  const fourth = -((n >>> 2) & 1);
  const print = (((p2 & ~fourth) | (p3 & fourth)) >>> shift) & 255;
  const in2 = bytes | fourth;
  const in3 = bytes & fourth;
  orders[at] = (p0 << 8) | print;
  orders[at | 1] = (p1 << 8) | (p0 >>> 24);
  orders[at | 2] = (p2 & ~in2) | (((p2 << 8) | (p1 >>> 24)) & in2);
  orders[at | 3] = (p3 & ~in3) | (((p3 << 8) | (p2 >>> 24)) & in3);
}

/** The last way becomes the first, with another print. Returns it. */
export function turnWay(orders: Int32Array, at: number, ways: number, print: number): number {
  const low = orders[at | WORDS];
  const last = ((ways - 1) & 7) << 2;
  let way: number;
  if (ways <= PER_WORD) {
    way = (low >>> last) & 15;
    orders[at | WORDS] = ((low << 4) | way) & ((16 << last) - 1);
  } else {
    const high = orders[at | WORDS | 1];
    way = (high >>> last) & 15;
    orders[at | WORDS | 1] = ((high << 4) | (low >>> 28)) & ((16 << last) - 1);
    orders[at | WORDS] = (low << 4) | way;
  }
  // Prints behind the last way are nobody's.
  const p0 = orders[at];
  const p1 = orders[at | 1];
  orders[at] = (p0 << 8) | print;
  orders[at | 1] = (p1 << 8) | (p0 >>> 24);
  if (ways > PER_WORD) {
    const p2 = orders[at | 2];
    orders[at | 3] = (orders[at | 3] << 8) | (p2 >>> 24);
    orders[at | 2] = (p2 << 8) | (p1 >>> 24);
  }
  return way;
}

/** Makes a way the last. */
export function lastWay(orders: Int32Array, at: number, ways: number, way: number): void {
  usePlace(orders, at, placeOfWay(orders, at, way));
  for (let n = 1; n < ways; n++) usePlace(orders, at, ways - 1);
}

/** Notes the print of a way where prints stand by way (first level). */
export function setPrint(orders: Int32Array, at: number, way: number, print: number): void {
  const word = at | (way >>> 2);
  const bits = (way & 3) << 3;
  orders[word] = (orders[word] & ~(255 << bits)) | (print << bits);
}
