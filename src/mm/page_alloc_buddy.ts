/**
 * The buddy allocator: blocks of 2^order frames, aligned to their size, on one list for each order and migrate type.
 *
 *   take order 0 from a block of order 3:   [        8        ]  →  [0][0][ 1 ][   2   ]
 *                                            the lowest frame is taken, upper halves go to the head of their lists
 *   free it again:                          the buddy of frame p at order o is p xor 2^o; equal neighbours join
 *
 * @kernel mm/page_alloc.c __free_one_page (6.18)
 */
import { NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioOrder, folioPfn, folioTest, pageFolio } from './mm_types.ts';
import {
  areaRow,
  MAX_NR_ZONES,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  pageblockType,
  setPageblockType,
  type Zones,
} from './mmzone.ts';
import { zoneWatermarkOk } from './page_alloc_watermark.ts';
import { PG } from './page_flags.ts';
import {
  buddyOrder,
  buddyType,
  clearBuddy,
  freeNext,
  freePrev,
  freeSetNext,
  freeSetPrev,
  pageBuddy,
  pageGuard,
  setBuddy,
  setGuard,
} from './page_free.ts';
import { V } from './vmstat.ts';

/** Pages enter (positive) or leave the free lists of a type. @kernel mm/page_alloc.c account_freepages (6.18) */
export function accountFreepages(m: Machine, zone: number, nr: number, type: number): void {
  if (type === MIGRATE_ISOLATE) return;
  const t = m.zones.zone;
  t.free[zone] += nr;
  m.vmstat[V.nr_free_pages] += nr;
  if (type === MIGRATE_HIGHATOMIC) t.freeHighatomic[zone] += nr;
}

/** Puts a block on a list, at its head or tail. @kernel mm/page_alloc.c __add_to_free_list (6.18) */
function addToFreeList(m: Machine, zone: number, pfn: number, order: number, type: number, tail: boolean): void {
  const { map, zones } = m;
  const { head, tail: tails, count } = zones.area;
  const row = areaRow(zones, zone, order, type);
  if (tail && order === zones.maxOrder && type === MIGRATE_MOVABLE) reachAll(m, zone);
  setBuddy(map, pfn, order, type);
  count[row]++;
  if (tail) {
    const last = tails[row];
    freeSetNext(map, pfn, 0);
    freeSetPrev(map, pfn, last);
    if (last === 0) head[row] = pfn;
    else freeSetNext(map, last, pfn);
    tails[row] = pfn;
  } else {
    const first = head[row];
    freeSetNext(map, pfn, first);
    freeSetPrev(map, pfn, 0);
    if (first === 0) tails[row] = pfn;
    else freeSetPrev(map, first, pfn);
    head[row] = pfn;
  }
  if (order >= zones.pageblockOrder && type !== MIGRATE_ISOLATE) m.vmstat[V.nr_free_pages_blocks] += 1 << order;
}

/** Takes a block off its list; it is a plain, unowned page then. @kernel mm/page_alloc.c __del_page_from_free_list (6.18) */
export function delFromFreeList(m: Machine, zone: number, pfn: number, order: number): void {
  const { map, zones } = m;
  const { head, tail, count } = zones.area;
  const type = buddyType(map, pfn);
  const row = areaRow(zones, zone, order, type);
  const next = freeNext(map, pfn);
  const prev = freePrev(map, pfn);
  if (prev === 0) head[row] = next;
  else freeSetNext(map, prev, next);
  if (next === 0) tail[row] = prev;
  else freeSetPrev(map, next, prev);
  clearBuddy(map, pfn);
  count[row]--;
  if (order < zones.pageblockOrder) return;
  if (type !== MIGRATE_ISOLATE) m.vmstat[V.nr_free_pages_blocks] -= 1 << order;
  if (order === zones.maxOrder && type === MIGRATE_MOVABLE && head[row] === 0) reachNext(m, zone);
}

/** Makes the next block behind the cursor real. It is counted already. */
function reachNext(m: Machine, zone: number): boolean {
  const { maxOrder, zone: t, area } = m.zones;
  const pfn = t.cursor[zone];
  if (pfn >= t.cursorEnd[zone]) return false;
  t.cursor[zone] = pfn + (1 << maxOrder);
  addToFreeList(m, zone, pfn, maxOrder, MIGRATE_MOVABLE, false);
  area.count[areaRow(m.zones, zone, maxOrder, MIGRATE_MOVABLE)]--;
  m.vmstat[V.nr_free_pages_blocks] -= 1 << maxOrder;
  return true;
}

/** Makes all of them real, in order, at the tail: something is to go behind them. */
function reachAll(m: Machine, zone: number): void {
  const { maxOrder, zone: t, area } = m.zones;
  const row = areaRow(m.zones, zone, maxOrder, MIGRATE_MOVABLE);
  const from = t.cursor[zone];
  const end = t.cursorEnd[zone];
  if (from >= end) return;
  t.cursor[zone] = end;
  for (let pfn = from; pfn < end; pfn += 1 << maxOrder) {
    addToFreeList(m, zone, pfn, maxOrder, MIGRATE_MOVABLE, true);
    area.count[row]--;
    m.vmstat[V.nr_free_pages_blocks] -= 1 << maxOrder;
  }
}

/** Makes the blocks with frames below `to` real: they are to be looked at one by one. */
export function reachTo(m: Machine, zone: number, to: number): void {
  const t = m.zones.zone;
  const end = t.cursorEnd[zone];
  if (to <= t.cursor[zone]) return;
  const size = 1 << m.zones.maxOrder;
  t.cursorEnd[zone] = Math.min(Math.ceil(to / size) * size, end);
  reachAll(m, zone);
  t.cursorEnd[zone] = end;
}

/**
 * Hands the zones' memory to the free lists: ascending, in the largest aligned blocks, to the tails of the movable lists.
 * @kernel mm/memblock.c __free_memory_core (6.18)
 */
export function memblockFreeAll(m: Machine): void {
  const { zones } = m;
  const t = zones.zone;
  const { maxOrder } = zones;
  const size = 1 << maxOrder;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) {
    const end = t.end[zone];
    let pfn = t.start[zone];
    const whole = Math.min(Math.ceil(pfn / size) * size, end);
    pfn = freeRange(m, zone, pfn, whole);
    const wholeEnd = Math.max(Math.floor(end / size) * size, pfn);
    if (wholeEnd > pfn) {
      t.cursor[zone] = pfn;
      t.cursorEnd[zone] = wholeEnd;
      zones.area.count[areaRow(zones, zone, maxOrder, MIGRATE_MOVABLE)] += (wholeEnd - pfn) / size;
      m.vmstat[V.nr_free_pages_blocks] += wholeEnd - pfn;
      accountFreepages(m, zone, wholeEnd - pfn, MIGRATE_MOVABLE);
      reachNext(m, zone);
    }
    freeRange(m, zone, wholeEnd, end);
  }
}

/** Frees the frames [from, to), each block as large as it can be; returns `to`. */
function freeRange(m: Machine, zone: number, from: number, to: number): number {
  let pfn = from;
  while (pfn < to) {
    let order = 0;
    while (order < m.zones.maxOrder && (pfn & ((2 << order) - 1)) === 0 && pfn + (2 << order) <= to) order++;
    freeOnePage(m, zone, pfn, order, MIGRATE_MOVABLE, true);
    pfn += 1 << order;
  }
  return pfn;
}

/** Does the direct compactor that waits take this block? @kernel mm/page_alloc.c compaction_capture (6.18) */
function compactionCapture(zones: Zones, pfn: number, order: number, type: number): boolean {
  if (zones.capturePfn !== 0 || type === MIGRATE_ISOLATE) return false;
  if (order < zones.pageblockOrder && type === MIGRATE_MOVABLE && zones.captureType !== MIGRATE_MOVABLE) return false;
  zones.capturePfn = pfn;
  return true;
}

/**
 * Frees a block: joins it with its buddies as far as they are free, then lists it. It goes to the tail when asked, or when
 * the buddy of what it would become next is free, since it may grow soon; else to the head.
 * @kernel mm/page_alloc.c __free_one_page (6.18)
 */
export function freeOnePage(
  m: Machine,
  zone: number,
  first: number,
  from: number,
  type: number,
  toTail: boolean,
): void {
  const { map, zones } = m;
  const { maxOrder, pageblockOrder, captureOrder } = zones;
  const end = zones.zone.end[zone];
  let pfn = first;
  let order = from;
  accountFreepages(m, zone, 1 << order, type);
  while (order < maxOrder) {
    if (order === captureOrder && compactionCapture(zones, pfn, order, type)) {
      accountFreepages(m, zone, -(1 << order), type);
      return;
    }
    const buddy = pfn ^ (1 << order);
    const guard = pageGuard(map, buddy);
    if (buddy >= end || !(guard || pageBuddy(map, buddy)) || buddyOrder(map, buddy) !== order) break;
    if (order >= pageblockOrder) {
      const other = pageblockType(zones, buddy);
      if (other !== type) {
        if (type >= MIGRATE_PCPTYPES || other >= MIGRATE_PCPTYPES) break;
        changePageblockRange(zones, buddy, order, type);
      }
    }
    if (guard) clearPageGuard(m, zone, buddy, order, type);
    else delFromFreeList(m, zone, buddy, order);
    pfn &= buddy;
    order++;
  }
  let tail = toTail;
  if (!tail && order < maxOrder - 1) {
    const up = (pfn & ~(1 << order)) ^ (1 << (order + 1));
    tail = up < end && pageBuddy(map, up) && buddyOrder(map, up) === order + 1;
  }
  addToFreeList(m, zone, pfn, order, type, tail);
}

/** Frees 2^order frames, page block by page block where they are more than one. @kernel mm/page_alloc.c split_large_buddy (6.18) */
export function splitLargeBuddy(m: Machine, zone: number, pfn: number, order: number): void {
  const { zones } = m;
  const piece = Math.min(order, zones.pageblockOrder);
  const end = pfn + (1 << order);
  for (let p = pfn; p < end; p += 1 << piece) freeOnePage(m, zone, p, piece, pageblockType(zones, p), false);
}

/** Puts what is left of a block back: upper halves, largest first. @kernel mm/page_alloc.c expand (6.18) */
export function expand(m: Machine, zone: number, pfn: number, low: number, high: number, type: number): void {
  const { guardMinorder } = m.zones;
  for (let o = high - 1; o >= low; o--) {
    if (o < guardMinorder) setPageGuard(m, zone, pfn + (1 << o), o, type);
    else addToFreeList(m, zone, pfn + (1 << o), o, type, false);
  }
}

/** Makes a free block a guard: nobody gets it while its buddy is out. @kernel mm/debug_page_alloc.c __set_page_guard (6.18) */
function setPageGuard(m: Machine, zone: number, pfn: number, order: number, type: number): void {
  setGuard(m.map, pfn, order);
  accountFreepages(m, zone, -(1 << order), type);
}

/** A guard joins its buddy that was freed. (The kernel does not count its pages as free again.) @kernel mm/debug_page_alloc.c __clear_page_guard (6.18) */
function clearPageGuard(m: Machine, zone: number, pfn: number, order: number, type: number): void {
  clearBuddy(m.map, pfn);
  accountFreepages(m, zone, 1 << order, type);
}

/** Takes a listed block and leaves all but its first 2^order frames. @kernel mm/page_alloc.c page_del_and_expand (6.18) */
export function delAndExpand(m: Machine, zone: number, pfn: number, order: number, from: number, type: number): number {
  delFromFreeList(m, zone, pfn, from);
  if (from > order) expand(m, zone, pfn, order, from, type);
  accountFreepages(m, zone, -(1 << order), type);
  return pfn;
}

/** A block of that order from the type's own lists: the smallest that fits, the one freed last; 0: none. @kernel mm/page_alloc.c __rmqueue_smallest (6.18) */
export function rmqueueSmallest(m: Machine, zone: number, order: number, type: number): number {
  const { zones } = m;
  const { head } = zones.area;
  for (let o = order; o <= zones.maxOrder; o++) {
    const pfn = head[areaRow(zones, zone, o, type)];
    if (pfn !== 0) return delAndExpand(m, zone, pfn, order, o, type);
  }
  return 0;
}

/** Gives every page block of a range of 2^order frames the type. @kernel mm/page_alloc.c change_pageblock_range (6.18) */
export function changePageblockRange(zones: Zones, pfn: number, order: number, type: number): void {
  const step = 1 << zones.pageblockOrder;
  for (let p = pfn; p < pfn + (1 << order); p += step) setPageblockType(zones, p, type);
}

/** Moves a listed block to another type's list, at the tail. @kernel mm/page_alloc.c move_to_free_list (6.18) */
export function moveToFreeList(m: Machine, zone: number, pfn: number, order: number, type: number): void {
  const was = buddyType(m.map, pfn);
  delFromFreeList(m, zone, pfn, order);
  accountFreepages(m, zone, -(1 << order), was);
  addToFreeList(m, zone, pfn, order, type, true);
  accountFreepages(m, zone, 1 << order, type);
}

/**
 * Counts the pages of a page block that are free, and those that could be moved, into `blockFree` and `blockMovable`.
 * False when the block reaches beyond the zone. @kernel mm/page_alloc.c prep_move_freepages_block (6.18)
 */
export function prepMoveFreepagesBlock(m: Machine, zone: number, start: number): boolean {
  const { map, zones } = m;
  const end = start + (1 << zones.pageblockOrder);
  if (start < zones.zone.start[zone] || end > zones.zone.end[zone]) return false;
  let free = 0;
  let movable = 0;
  for (let pfn = start; pfn < end; ) {
    let nr = 1;
    if (pageBuddy(map, pfn)) {
      nr = 1 << buddyOrder(map, pfn);
      free += nr;
    } else {
      const f = pageFolio(map, pfn as Pfn);
      if (f !== NO_FOLIO && folioPfn(map, f) === pfn) {
        nr = Math.min(1 << folioOrder(map, f), end - pfn);
        if (folioTest(map, f, PG.PG_lru)) movable += nr;
      }
    }
    pfn += nr;
  }
  zones.blockFree = free;
  zones.blockMovable = movable;
  return true;
}

/** Moves the free blocks of a page block to the type's lists. @kernel mm/page_alloc.c __move_freepages_block (6.18) */
export function moveFreepages(m: Machine, zone: number, start: number, type: number): void {
  const end = start + (1 << m.zones.pageblockOrder);
  for (let pfn = start; pfn < end; ) {
    if (!pageBuddy(m.map, pfn)) {
      pfn++;
      continue;
    }
    const order = buddyOrder(m.map, pfn);
    moveToFreeList(m, zone, pfn, order, type);
    pfn += 1 << order;
  }
}

/** Moves a page block with its free blocks to a type; false when it reaches beyond the zone. @kernel mm/page_alloc.c move_freepages_block (6.18) */
export function moveFreepagesBlock(m: Machine, zone: number, pfn: number, type: number): boolean {
  const start = pfn & -(1 << m.zones.pageblockOrder);
  if (!prepMoveFreepagesBlock(m, zone, start)) return false;
  moveFreepages(m, zone, start, type);
  setPageblockType(m.zones, start, type);
  return true;
}

/**
 * Takes a listed block for compaction: it must leave the zone above its min mark. A block of half a page block or more turns
 * its page blocks movable. Returns its pages, or 0. @kernel mm/page_alloc.c __isolate_free_page (6.18)
 */
export function isolateFreePage(m: Machine, zone: number, pfn: number, order: number): number {
  const { zones } = m;
  const type = buddyType(m.map, pfn);
  if (type !== MIGRATE_ISOLATE) {
    if (!zoneWatermarkOk(zones, zone, 0, zones.zone.min[zone] + (1 << order), 0, 0)) return 0;
    accountFreepages(m, zone, -(1 << order), type);
  }
  delFromFreeList(m, zone, pfn, order);
  if (order >= zones.pageblockOrder - 1) {
    const step = 1 << zones.pageblockOrder;
    for (let p = pfn; p < pfn + (1 << order); p += step)
      if (pageblockType(zones, p) < MIGRATE_PCPTYPES) moveFreepagesBlock(m, zone, p, MIGRATE_MOVABLE);
  }
  return 1 << order;
}
