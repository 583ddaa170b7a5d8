/**
 * The free scanner of compaction: takes free blocks from the upper part of a zone, and makes folios of them for what the
 * migrate scanner has found (compaction_scan.ts has the picture).
 *
 * While it finds nothing it looks at every 2nd, 4th … 32nd page only; after a jump over a folio it then goes on beside the
 * boundaries of blocks and misses them. That is the kernel's way, and kept.
 *
 * @kernel mm/compaction.c isolate_freepages (6.18)
 */
import {
  blockPages,
  blockStart,
  COMPACT_CLUSTER_MAX,
  type CompactControl,
  compoundOrder,
  freelistScanLimit,
  freeOrder,
  isolationSuitable,
  pageCompound,
  rotateFreelist,
} from './compaction_scan.ts';
import { type FolioId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MIGRATE_ASYNC } from './migrate.ts';
import { FOLIO_WORDS, folioFini, folioOrder } from './mm_types.ts';
import { areaRow, MIGRATE_MOVABLE, pageblockType, setPageblockSkip } from './mmzone.ts';
import { folioNew, freeFrozenPages } from './page_alloc.ts';
import { isolateFreePage } from './page_alloc_buddy.ts';
import { nrFree } from './page_alloc_report.ts';
import { buddyOrder, freeNext, freePrev, freeSetNext, pageBuddy } from './page_free.ts';
import { pagesInit } from './page_type.ts';
import { V } from './vmstat.ts';

function freelistAdd(m: Machine, cc: CompactControl, pfn: number, order: number, toTail: boolean): void {
  const { freeHead, freeTail } = cc;
  const first = freeHead[order];
  freeSetNext(m.map, pfn, toTail ? 0 : first);
  if (first === 0) {
    freeHead[order] = pfn;
    freeTail[order] = pfn;
  } else if (toTail) {
    freeSetNext(m.map, freeTail[order], pfn);
    freeTail[order] = pfn;
  } else freeHead[order] = pfn;
}

/** May folios be moved into this page block? @kernel mm/compaction.c suitable_migration_target (6.18) */
function suitableMigrationTarget(m: Machine, cc: CompactControl, pfn: number): boolean {
  if (freeOrder(m, cc.zone, pfn) >= (cc.order > 0 ? cc.order : m.zones.pageblockOrder)) return false;
  return cc.ignoreBlockSuitable || pageblockType(m.zones, pfn) === MIGRATE_MOVABLE;
}

/** Takes free blocks of [from, end) until there is room for what is to move; returns where it stopped. @kernel mm/compaction.c isolate_freepages_block (6.18) */
function isolateFreepagesBlock(m: Machine, cc: CompactControl, from: number, end: number, stride: number): number {
  let scanned = 0;
  let total = 0;
  let pfn = from;
  for (; pfn < end; pfn += stride) {
    scanned++;
    if (pageCompound(m, pfn)) {
      const nr = 1 << compoundOrder(m, pfn);
      if (pfn + nr <= end) {
        pfn += nr - 1;
        scanned += nr - 1;
      }
      continue;
    }
    if (!pageBuddy(m.map, pfn)) continue;
    const order = buddyOrder(m.map, pfn);
    const isolated = isolateFreePage(m, cc.zone, pfn, order);
    if (isolated === 0) break;
    scanned += isolated - 1;
    total += isolated;
    cc.nrFreepages += isolated;
    freelistAdd(m, cc, pfn, order, true);
    if (cc.nrMigratepages <= cc.nrFreepages) {
      pfn += isolated;
      break;
    }
    pfn += isolated - 1;
  }
  cc.freeScanned += scanned;
  m.vmstat[V.compact_isolated] += total;
  return Math.min(pfn, end);
}

/** More free pages from the page block where one was found. @kernel mm/compaction.c fast_isolate_around (6.18) */
function fastIsolateAround(m: Machine, cc: CompactControl, pfn: number): void {
  if (cc.nrFreepages >= cc.nrMigratepages) return;
  if (cc.direct && cc.mode === MIGRATE_ASYNC) return;
  const t = m.zones.zone;
  const start = Math.max(blockStart(m, pfn), t.start[cc.zone]);
  const end = Math.min(blockStart(m, pfn) + blockPages(m), t.end[cc.zone]);
  if (isolateFreepagesBlock(m, cc, start, end, 1) === end) setPageblockSkip(m.zones, start);
}

/** The next order to search: downwards, round to the largest, until where it began; −1 then. @kernel mm/compaction.c next_search_order (6.18) */
function nextSearchOrder(cc: CompactControl, order: number): number {
  const next = order > 0 ? order - 1 : cc.order - 1;
  if (next !== cc.searchOrder) return next;
  cc.searchOrder = cc.searchOrder > 0 ? cc.searchOrder - 1 : cc.order - 1;
  return -1;
}

/** Looks in the free lists for blocks in the upper part of the gap between the scanners. @kernel mm/compaction.c fast_isolate_freepages (6.18) */
function fastIsolateFreepages(m: Machine, cc: CompactControl): void {
  if (cc.order <= 0) return;
  const { zones, map } = m;
  const t = zones.zone;
  const { zone } = cc;
  let limit = Math.max(1, freelistScanLimit(cc) >> 1);
  const scanStart = cc.freePfn >= t.initFreePfn[zone];
  if (scanStart) limit = blockPages(m) >> 1;
  const gap = cc.freePfn - cc.migratePfn;
  const low = blockStart(m, cc.freePfn - (gap >> 2));
  const min = blockStart(m, cc.freePfn - (gap >> 1));
  let scanned = 0;
  let highest = 0;
  let page = 0;
  cc.searchOrder = Math.min(cc.order - 1, cc.searchOrder);
  for (let o = cc.searchOrder; page === 0 && o >= 0; o = nextSearchOrder(cc, o)) {
    if (nrFree(zones, zone, o) === 0) continue;
    const row = areaRow(zones, zone, o, MIGRATE_MOVABLE);
    let looked = 0;
    let high = 0;
    let at = zones.area.tail[row];
    for (; at !== 0; at = freePrev(map, at)) {
      looked++;
      scanned++;
      if (at >= highest) highest = Math.max(blockStart(m, at), t.start[zone]);
      if (at >= low) {
        cc.fastSearchFail = 0;
        cc.searchOrder = o;
        page = at;
        break;
      }
      if (at >= min && at > high) {
        high = at;
        limit >>= 1;
      }
      if (looked >= limit) break;
    }
    if (page === 0 && high !== 0) page = at = high;
    if (at !== 0) rotateFreelist(m, row, at, false);
    if (page !== 0) {
      const isolated = isolateFreePage(m, zone, page, o);
      if (isolated > 0) {
        scanned += isolated - 1;
        cc.nrFreepages += isolated;
        freelistAdd(m, cc, page, o, true);
        m.vmstat[V.compact_isolated] += isolated;
      } else {
        o = cc.searchOrder + 1;
        page = 0;
      }
    }
    if (cc.nrFreepages >= cc.nrMigratepages) break;
    if (looked >= limit) limit = Math.max(1, limit >> 1);
  }
  if (page === 0) {
    cc.fastSearchFail++;
    if (scanStart) {
      if (highest >= min) {
        page = highest;
        cc.freePfn = highest;
      } else if (cc.direct && min >= t.start[zone]) {
        page = suitableMigrationTarget(m, cc, min) ? min : 0;
        cc.freePfn = min;
      }
    }
  }
  if (highest !== 0 && highest >= t.freePfn[zone]) t.freePfn[zone] = highest - blockPages(m);
  cc.freeScanned += scanned;
  if (page !== 0) fastIsolateAround(m, cc, page);
}

/** Takes free pages for what is to move, from the zone's end downwards. @kernel mm/compaction.c isolate_freepages (6.18) */
function isolateFreepages(m: Machine, cc: CompactControl): void {
  fastIsolateFreepages(m, cc);
  if (cc.nrFreepages > 0) return;
  const { zones } = m;
  const t = zones.zone;
  const size = blockPages(m);
  const low = blockStart(m, cc.migratePfn) + size;
  let from = cc.freePfn;
  let start = blockStart(m, from);
  let end = Math.min(start + size, t.end[cc.zone]);
  let stride = cc.mode === MIGRATE_ASYNC ? COMPACT_CLUSTER_MAX : 1;
  while (start >= low) {
    if (suitableMigrationTarget(m, cc, start) && isolationSuitable(m, cc, start)) {
      const before = cc.nrFreepages;
      from = isolateFreepagesBlock(m, cc, from, end, stride);
      if (from === end) {
        setPageblockSkip(zones, start);
        if (start - size < t.freePfn[cc.zone]) t.freePfn[cc.zone] = start - size;
      }
      if (cc.nrFreepages >= cc.nrMigratepages) {
        if (from >= end) from = start - size;
        break;
      }
      if (from < end) break;
      stride = cc.nrFreepages > before ? 1 : Math.min(COMPACT_CLUSTER_MAX, stride << 1);
    }
    end = start;
    start -= size;
    from = start;
  }
  cc.freePfn = from;
}

/** A new folio out of the isolated free blocks, the smallest that fits; NO_FOLIO: none left. @kernel mm/compaction.c compaction_alloc (6.18) */
export function compactionAlloc(m: Machine, cc: CompactControl, order: number): FolioId {
  const { map, zones } = m;
  const { freeHead, freeTail } = cc;
  let from = order;
  for (let tried = false; ; tried = true) {
    for (from = order; from <= zones.maxOrder && freeHead[from] === 0; from++);
    if (from <= zones.maxOrder) break;
    if (tried) return NO_FOLIO;
    isolateFreepages(m, cc);
  }
  const pfn = freeHead[from];
  freeHead[from] = freeNext(map, pfn);
  if (freeHead[from] === 0) freeTail[from] = 0;
  for (let o = from - 1; o >= order; o--) freelistAdd(m, cc, pfn + (1 << o), o, false);
  cc.nrFreepages -= 1 << order;
  cc.nrMigratepages -= 1 << order;
  return folioNew(map, pfn as Pfn, order);
}

/** A target that was not needed goes back to the isolated blocks. @kernel mm/compaction.c compaction_free (6.18) */
export function compactionFree(m: Machine, cc: CompactControl, dst: FolioId): void {
  const order = folioOrder(m.map, dst);
  const nr = 1 << order;
  m.map[dst * FOLIO_WORDS + m.map.refcount] = 0;
  freelistAdd(m, cc, folioFini(m.map, dst, order), order, false);
  cc.nrFreepages += nr;
  cc.nrMigratepages += nr;
}

/** Frees the blocks that were isolated and not used; returns the highest one's frame, 0 without any. @kernel mm/compaction.c release_free_list (6.18) */
export function releaseFreeList(m: Machine, cc: CompactControl): number {
  let high = 0;
  for (let order = 0; order <= m.zones.maxOrder; order++) {
    while (cc.freeHead[order] !== 0) {
      const pfn = cc.freeHead[order];
      cc.freeHead[order] = freeNext(m.map, pfn);
      pagesInit(m.map, pfn as Pfn, order, false);
      freeFrozenPages(m, pfn as Pfn, order);
      high = Math.max(high, pfn);
    }
    cc.freeTail[order] = 0;
  }
  cc.nrFreepages = 0;
  return high;
}
