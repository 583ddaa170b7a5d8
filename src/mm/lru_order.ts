/**
 * In which order folios went on a list. The lists themselves are linked through the memory map, and whoever walks one from
 * its tail waits for the host's memory at every step: where the next folio lies is known only when this one has come. Here
 * the folios of a list stand side by side, oldest first, so that reclaim can look at the next thirty all at once before it
 * walks. It is a hint and never more: folios that left the list are still in it, and nothing is decided by it.
 *
 *   list   tail [ f7 ][ f9 ][ f4 ] … head          order  … f7 f8 f9 f4 …   (f8 has become active since)
 *                                                           ▲ at
 */
import type { Machine } from './machine.ts';
import { FOLIO_WORDS } from './mm_types.ts';

/** The order of one list. */
export interface LruOrder {
  /** A ring: its length is a power of two. */
  folios: Int32Array;
  /** Folios ever put on the list, how many of these are before its tail, and how many have been looked at. */
  end: number;
  at: number;
  looked: number;
  /** What was seen by looking: kept, so that looking is not found to be useless and left out. */
  seen: number;
}

const FIRST_LENGTH = 64;
const WORDS: number = FOLIO_WORDS;

export const lruOrder = (): LruOrder => ({ folios: new Int32Array(FIRST_LENGTH), end: 0, at: 0, looked: 0, seen: 0 });

/** A folio goes to the head of the list, which has `count` of them. */
export function orderAdd(order: LruOrder, f: number, count: number): void {
  if (order.end - order.at === order.folios.length) makeRoom(order, count);
  const { folios, end } = order;
  folios[end & (folios.length - 1)] = f;
  order.end = end + 1;
}

/** A ring full of folios that have left forgets them; one that the list has outgrown gets longer. */
function makeRoom(order: LruOrder, count: number): void {
  const { folios, at, end } = order;
  if (folios.length > 2 * count + FIRST_LENGTH) {
    order.at = at + folios.length / 2;
    return;
  }
  const longer = new Int32Array(folios.length * 2);
  for (let i = at; i < end; i++) longer[i & (longer.length - 1)] = folios[i & (folios.length - 1)] as number;
  order.folios = longer;
}

/** Looks at the `n` folios that come next, and at half as many more, since some have left the list. */
export function orderLook(m: Machine, order: LruOrder, n: number): void {
  const { map } = m;
  const { folios } = order;
  const stop = Math.min(order.at + n + (n >> 1), order.end);
  const mask = folios.length - 1;
  // A descriptor apart may begin in one line of the host's cache and end in the next.
  const end = map.overlaid ? 0 : map.pfn;
  let seen = 0;
  for (let i = Math.max(order.at, order.looked); i < stop; i++) {
    const w = folios[i & mask] * WORDS;
    seen ^= map[w] ^ map[w + end];
  }
  order.seen ^= seen;
  order.looked = stop;
}

/** The list's tail is behind `last` now, the last of `n` folios taken; so many of them may have been others'. */
export function orderTaken(order: LruOrder, last: number, n: number): void {
  const { folios, at, end } = order;
  const mask = folios.length - 1;
  const stop = Math.min(at + 4 * n + FIRST_LENGTH, end);
  for (let i = at; i < stop; i++)
    if (folios[i & mask] === last) {
      order.at = i + 1;
      return;
    }
  order.at = Math.min(at + n, end);
}
