/**
 * What the record of a page says while the page is free: that a block starts there, its order and migrate type, and its links.
 * The order of a larger block has no room in 8 bytes beside two links: it is in the record of the block's second page.
 */
import { MEMDESC_MISC } from './memdesc.ts';
import type { MemoryMap } from './memory_map.ts';

/** Words of a record of 64 bytes: `private` holds the order, and `index`, unused in the kernel, the migrate type. */
const W_ORDER = 10;
const W_TYPE = 8;
/** Word of a record of 32 bytes: page type | migrate type << 8 | order. */
const W_PADDING = 7;
/** Word of a record of 8 bytes that holds the migrate type (3 bits from bit 1), and in bit 0 "larger than a page". */
const W_HIGH = 1;

/** Does a free block start at this frame? Frames behind the cursor are not asked. @kernel include/linux/page-flags.h PageBuddy (6.18) */
export const pageBuddy = (map: MemoryMap, pfn: number): boolean =>
  (map[pfn * map.pageWords + map.typeAt] & map.typeMask) === map.buddyTag;

/** Order of the free block that starts there. @kernel mm/internal.h buddy_order (6.18) */
export function buddyOrder(map: MemoryMap, pfn: number): number {
  const w = pfn * map.pageWords;
  if (map.pageWords === 16) return map[w + W_ORDER];
  if (map.pageWords === 8) return map[w + W_PADDING] & 0xff;
  return (map[w + W_HIGH] & 1) === 0 ? 0 : map[w + 2 + W_HIGH];
}
/** Migrate type of the list it is on. */
export function buddyType(map: MemoryMap, pfn: number): number {
  const w = pfn * map.pageWords;
  if (map.pageWords === 16) return map[w + W_TYPE];
  return map.pageWords === 8 ? (map[w + W_PADDING] >> 8) & 7 : (map[w + W_HIGH] >> 1) & 7;
}

/** The first page of a free block. Its links are set afterwards. @kernel mm/page_alloc.c set_buddy_order (6.18) */
export function setBuddy(map: MemoryMap, pfn: number, order: number, type: number): void {
  const w = pfn * map.pageWords;
  if (map.pageWords === 16) {
    map[w + map.typeAt] = map.buddyTag;
    map[w + W_ORDER] = order;
    map[w + W_TYPE] = type;
  } else if (map.pageWords === 8) map[w + W_PADDING] = map.buddyTag | (type << 8) | order;
  else {
    map[w] = map.buddyTag;
    map[w + W_HIGH] = (type << 1) | (order > 0 ? 1 : 0);
    if (order > 0) {
      map[w + 2] = MEMDESC_MISC;
      map[w + 2 + W_HIGH] = order;
    }
  }
}
/** The block is taken: a plain page, nobody's. @kernel mm/page_alloc.c __del_page_from_free_list (6.18) */
export function clearBuddy(map: MemoryMap, pfn: number): void {
  const w = pfn * map.pageWords;
  if (map.pageWords === 16) {
    map[w + map.typeAt] = -1;
    map[w + W_ORDER] = 0;
  } else map[w + map.typeAt] = 0;
}

/** A guard: left over beside an allocation, on no list, until its buddy is freed. @kernel include/linux/mm.h page_is_guard (6.18) */
export const pageGuard = (map: MemoryMap, pfn: number): boolean =>
  (map[pfn * map.pageWords + map.typeAt] & map.typeMask) === map.guardTag;
/** Its order lies where a free block's does. @kernel mm/debug_page_alloc.c __set_page_guard (6.18) */
export function setGuard(map: MemoryMap, pfn: number, order: number): void {
  setBuddy(map, pfn, order, 0);
  const w = pfn * map.pageWords + map.typeAt;
  map[w] = (map[w] & ~map.typeMask) | map.guardTag;
}

/** Links of a free block, on a list of the buddy allocator or of a CPU; 0 ends a list. */
export const freeNext = (map: MemoryMap, pfn: number): number =>
  map[pfn * map.pageWords + map.pageNext] >>> map.pageShift;
export const freePrev = (map: MemoryMap, pfn: number): number =>
  map[pfn * map.pageWords + map.pagePrev] >>> map.pageShift;
export function freeSetNext(map: MemoryMap, pfn: number, next: number): void {
  const w = pfn * map.pageWords + map.pageNext;
  map[w] = (map[w] & map.pageLow) | (next << map.pageShift);
}
export function freeSetPrev(map: MemoryMap, pfn: number, prev: number): void {
  const w = pfn * map.pageWords + map.pagePrev;
  map[w] = (map[w] & map.pageLow) | (prev << map.pageShift);
}
/** Links of a page that comes on a list of a CPU. */
export function pcpSetLinks(map: MemoryMap, pfn: number, next: number, prev: number): void {
  const w = pfn * map.pageWords;
  map[w + map.pageNext] = (next << map.pageShift) | map.pcpTag;
  map[w + map.pagePrev] = prev << map.pageShift;
}
