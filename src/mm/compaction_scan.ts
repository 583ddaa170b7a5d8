/**
 * The two scanners of compaction: one walks a zone upwards and takes used, movable folios off their lists; the other walks it
 * downwards and takes free blocks. Folios of the first go into blocks of the second, so that used memory gathers at the top
 * and free memory joins at the bottom.
 *
 *   zone start                                                                                      zone end
 *   [ u . u u . . | . u . . u . | . . u u . . |                       | . . u . | u u u u . u | u u u u u u ]
 *     migrate scanner ─────────────►                                      ◄───────────── free scanner
 *
 * Both remember where they were, and mark page blocks in which they found nothing. Before they walk they look for a likely
 * page block in the free lists: a partly free one near the start to empty, free blocks near the end to fill.
 * Pages scanned are counted the kernel's way, which steps through a large folio page by page when it meets it at a tail.
 *
 * @kernel mm/compaction.c isolate_migratepages (6.18)
 */
import { __GFP_FS } from './gfp.ts';
import { type FolioId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  type IsolatedFolios,
  isolatedAdd,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  mayIsolate,
  putbackMovablePages,
} from './migrate.ts';
import { folioNrPages, folioOrder, folioPfn, folioTest, pageFolio } from './mm_types.ts';
import {
  areaRow,
  MIGRATE_MOVABLE,
  PAGE_ALLOC_COSTLY_ORDER,
  pageblockSkip,
  pageblockType,
  setPageblockSkip,
  untouched,
} from './mmzone.ts';
import { PG } from './page_flags.ts';
import { buddyOrder, freeNext, freePrev, freeSetNext, freeSetPrev, pageBuddy } from './page_free.ts';
import { folioIsolateLru } from './swap.ts';
import { V } from './vmstat.ts';

/** Pages isolated at a time. @kernel include/linux/swap.h COMPACT_CLUSTER_MAX (6.18) */
export const COMPACT_CLUSTER_MAX = 32;

/** One run of compaction in a zone. @kernel mm/internal.h struct compact_control (6.18) */
export interface CompactControl {
  readonly zone: number;
  /** Order wanted; −1: as much as there is. */
  readonly order: number;
  readonly mode: number;
  readonly gfp: number;
  readonly type: number;
  readonly flags: number;
  readonly highest: number;
  /** For an allocation that waits, not a daemon. */
  readonly direct: boolean;
  readonly ignoreSkipHint: boolean;
  readonly ignoreBlockSuitable: boolean;
  wholeZone: boolean;
  /** Take all of the page block, not only a batch. */
  finishPageblock: boolean;
  migratePfn: number;
  freePfn: number;
  /** Where the search in the free lists first jumped from; 0: not yet, −1: used up. */
  fastStartPfn: number;
  fastSearchFail: number;
  searchOrder: number;
  nrMigratepages: number;
  nrFreepages: number;
  migrateScanned: number;
  freeScanned: number;
  readonly migratepages: IsolatedFolios;
  /** Free blocks taken, by order: first and last, linked through the memory map. */
  readonly freeHead: Int32Array;
  readonly freeTail: Int32Array;
}

/** What a run is asked to do. */
export type CompactRequest = Pick<
  CompactControl,
  | 'zone'
  | 'order'
  | 'mode'
  | 'gfp'
  | 'type'
  | 'flags'
  | 'highest'
  | 'direct'
  | 'ignoreSkipHint'
  | 'ignoreBlockSuitable'
  | 'wholeZone'
>;
export const compactControl = (m: Machine, request: CompactRequest): CompactControl => ({
  ...request,
  finishPageblock: false,
  migratePfn: 0,
  freePfn: 0,
  fastStartPfn: 0,
  fastSearchFail: 0,
  searchOrder: request.order,
  nrMigratepages: 0,
  nrFreepages: 0,
  migrateScanned: 0,
  freeScanned: 0,
  migratepages: { head: NO_FOLIO, tail: NO_FOLIO },
  freeHead: new Int32Array(m.zones.maxOrder + 1),
  freeTail: new Int32Array(m.zones.maxOrder + 1),
});

export const blockStart = (m: Machine, pfn: number): number => pfn & -(1 << m.zones.pageblockOrder);
export const blockPages = (m: Machine): number => 1 << m.zones.pageblockOrder;

/** A free block's order if one starts at the frame, memory behind the cursor included; −1: none does. */
export function freeOrder(m: Machine, zone: number, pfn: number): number {
  if (pageBuddy(m.map, pfn)) return buddyOrder(m.map, pfn);
  const { zones } = m;
  return untouched(zones, zone, pfn) && (pfn & ((1 << zones.maxOrder) - 1)) === 0 ? zones.maxOrder : -1;
}

/** Order of the compound page that a head starts; of a tail 0, since only heads know. @kernel include/linux/mm.h compound_order (6.18) */
export function compoundOrder(m: Machine, pfn: number): number {
  const f = pageFolio(m.map, pfn as Pfn);
  return f !== NO_FOLIO && folioPfn(m.map, f) === pfn ? folioOrder(m.map, f) : 0;
}
export function pageCompound(m: Machine, pfn: number): boolean {
  const f = pageFolio(m.map, pfn as Pfn);
  return f !== NO_FOLIO && folioTest(m.map, f, PG.PG_head);
}

/** The folio that starts at a frame and is on an LRU list; NO_FOLIO: none. */
function lruFolio(m: Machine, pfn: number): FolioId {
  const f = pageFolio(m.map, pfn as Pfn);
  return f !== NO_FOLIO && folioPfn(m.map, f) === pfn && folioTest(m.map, f, PG.PG_lru) ? f : NO_FOLIO;
}

/** The scanners are in one page block, or have passed each other. @kernel mm/compaction.c compact_scanners_met (6.18) */
export const compactScannersMet = (m: Machine, cc: CompactControl): boolean =>
  cc.freePfn >>> m.zones.pageblockOrder <= cc.migratePfn >>> m.zones.pageblockOrder;

export const isolationSuitable = (m: Machine, cc: CompactControl, pfn: number): boolean =>
  cc.ignoreSkipHint || !pageblockSkip(m.zones, pfn);

/** Entries of a free list that one search looks at. @kernel mm/compaction.c freelist_scan_limit (6.18) */
export const freelistScanLimit = (cc: CompactControl): number =>
  (COMPACT_CLUSTER_MAX >>> Math.min(cc.fastSearchFail, 31)) + 1;

/** Turns a free list so that `pfn` comes first (`last`: comes last). @kernel mm/compaction.c move_freelist_head (6.18) */
export function rotateFreelist(m: Machine, row: number, pfn: number, last: boolean): void {
  const { map } = m;
  const { head, tail } = m.zones.area;
  const first = last ? freeNext(map, pfn) : pfn;
  if (first === 0 || first === head[row]) return;
  const newTail = freePrev(map, first);
  freeSetNext(map, tail[row], head[row]);
  freeSetPrev(map, head[row], tail[row]);
  freeSetNext(map, newTail, 0);
  freeSetPrev(map, first, 0);
  head[row] = first;
  tail[row] = newTail;
}

/** A likely page block to empty: one with a large free block, near the zone's start. @kernel mm/compaction.c fast_find_migrateblock (6.18) */
function fastFindMigrateblock(m: Machine, cc: CompactControl): number {
  const { zones, map } = m;
  const { zone, migratePfn } = cc;
  const start = zones.zone.start[zone];
  if (cc.ignoreSkipHint || cc.finishPageblock) return migratePfn;
  if (migratePfn !== start && migratePfn !== blockStart(m, migratePfn)) return migratePfn;
  if (cc.order <= PAGE_ALLOC_COSTLY_ORDER) return migratePfn;
  if (cc.direct && cc.type !== MIGRATE_MOVABLE) return migratePfn;
  const limit = freelistScanLimit(cc);
  const gap = (cc.freePfn - migratePfn) >> 1;
  const high = blockStart(m, migratePfn + (migratePfn !== start ? gap >> 2 : gap));
  let scanned = 0;
  let found = 0;
  for (let o = cc.order - 1; o >= PAGE_ALLOC_COSTLY_ORDER && found === 0 && scanned < limit; o--) {
    const row = areaRow(zones, zone, o, MIGRATE_MOVABLE);
    for (let pfn = zones.area.head[row]; pfn !== 0; pfn = freeNext(map, pfn)) {
      if (scanned++ >= limit) {
        rotateFreelist(m, row, pfn, true);
        break;
      }
      if (pfn >= high || pageblockSkip(zones, pfn)) continue;
      rotateFreelist(m, row, pfn, true);
      if (cc.fastStartPfn >= 0) cc.fastStartPfn = cc.fastStartPfn === 0 ? pfn : Math.min(cc.fastStartPfn, pfn);
      cc.fastSearchFail = 0;
      found = Math.max(blockStart(m, pfn), start);
      break;
    }
  }
  cc.migrateScanned += scanned;
  if (found !== 0) return found;
  cc.fastSearchFail++;
  if (cc.fastStartPfn > 0) {
    cc.migratePfn = cc.fastStartPfn;
    cc.fastStartPfn = -1;
  }
  return cc.migratePfn;
}

/** Is the page block worth scanning for this request? @kernel mm/compaction.c suitable_migration_source (6.18) */
function suitableMigrationSource(m: Machine, cc: CompactControl, pfn: number): boolean {
  const f = pageFolio(m.map, pfn as Pfn);
  if (f !== NO_FOLIO && folioOrder(m.map, f) >= m.zones.pageblockOrder) return false;
  if (cc.mode !== MIGRATE_ASYNC || !cc.direct) return true;
  return pageblockType(m.zones, pfn) === cc.type;
}

/** Remembers how far everything has been scanned. @kernel mm/compaction.c update_cached_migrate (6.18) */
function updateCachedMigrate(m: Machine, cc: CompactControl, from: number): void {
  const { migratePfnAsync, migratePfnSync } = m.zones.zone;
  const pfn = blockStart(m, from) + blockPages(m);
  if (pfn > migratePfnAsync[cc.zone]) migratePfnAsync[cc.zone] = pfn;
  if (cc.mode !== MIGRATE_ASYNC && pfn > migratePfnSync[cc.zone]) migratePfnSync[cc.zone] = pfn;
}

/** Isolates folios of the next page block that has any; true when there are some on the list. @kernel mm/compaction.c isolate_migratepages (6.18) */
export function isolateMigratepages(m: Machine, cc: CompactControl): boolean {
  const { zones } = m;
  const start = zones.zone.start[cc.zone];
  const size = blockPages(m);
  let low = fastFindMigrateblock(m, cc);
  let fast = low !== cc.migratePfn && cc.fastSearchFail === 0;
  for (let end = blockStart(m, low) + size; end <= cc.freePfn; end += size) {
    const fresh = (low & (size - 1)) === 0 || low === start;
    if (!(fresh && !fast && !isolationSuitable(m, cc, low))) {
      if (suitableMigrationSource(m, cc, Math.max(end - size, start))) {
        isolateMigratepagesBlock(m, cc, low, end);
        break;
      }
      updateCachedMigrate(m, cc, end);
    }
    fast = false;
    cc.migratePfn = low = end;
  }
  return cc.nrMigratepages > 0;
}

/** Is the folio too large to be worth moving for that order? @kernel mm/compaction.c skip_isolation_on_order (6.18) */
const skipIsolationOnOrder = (m: Machine, cc: CompactControl, order: number): boolean =>
  (cc.order >= 0 && order >= cc.order) || order >= m.zones.pageblockOrder;

/**
 * Isolates movable folios of [low, end), a page block or its rest, until a batch is full. For an allocation that waits
 * without blocking, an aligned window of the wanted order counts only as a whole.
 * @kernel mm/compaction.c isolate_migratepages_block (6.18)
 */
function isolateMigratepagesBlock(m: Machine, cc: CompactControl, low: number, end: number): void {
  const { map, zones } = m;
  const async = cc.mode !== MIGRATE_SYNC;
  const mayEnterFs = (cc.gfp & __GFP_FS) !== 0;
  const large = m.release.compactsLargeFolios;
  const wholeWindows = cc.direct && cc.mode === MIGRATE_ASYNC;
  const window = 1 << Math.max(cc.order, 0);
  const size = blockPages(m);
  let nextSkip = (low & -window) + window;
  let scanned = 0;
  let isolated = 0;
  let valid = 0;
  let skipUpdated = false;
  let pfn = low;
  for (; pfn < end; pfn++) {
    if (wholeWindows && pfn >= nextSkip) {
      if (isolated > 0) break;
      nextSkip = (pfn & -window) + window;
    }
    scanned++;
    if (valid === 0 && ((pfn & (size - 1)) === 0 || pfn === zones.zone.start[cc.zone])) {
      if (!isolationSuitable(m, cc, pfn)) {
        pfn = end;
        break;
      }
      valid = pfn;
    }
    const free = freeOrder(m, cc.zone, pfn);
    if (free >= 0) {
      pfn += (1 << free) - 1;
      scanned += (1 << free) - 1;
      continue;
    }
    let took = 0;
    const order = compoundOrder(m, pfn);
    if (pageCompound(m, pfn) && (!large || skipIsolationOnOrder(m, cc, order))) {
      pfn += (1 << order) - 1;
      scanned += (1 << order) - 1;
    } else if (lruFolio(m, pfn) !== NO_FOLIO && mayIsolate(m, lruFolio(m, pfn), mayEnterFs, async)) {
      const f = lruFolio(m, pfn);
      if (!skipUpdated && valid !== 0) {
        skipUpdated = true;
        if (testAndSetSkip(m, cc, valid) && !cc.finishPageblock) {
          pfn = end;
          break;
        }
      }
      took = folioNrPages(map, f);
      folioIsolateLru(m, f);
      isolatedAdd(m, cc.migratepages, f);
      cc.nrMigratepages += took;
      isolated += took;
      scanned += took - 1;
      pfn += took - 1;
      if (cc.nrMigratepages >= COMPACT_CLUSTER_MAX && !cc.finishPageblock) {
        pfn++;
        break;
      }
    }
    if (took > 0 || !wholeWindows) continue;
    if (isolated > 0) {
      putbackMovablePages(m, cc.migratepages);
      cc.nrMigratepages = 0;
      isolated = 0;
    }
    if (pfn < nextSkip) {
      pfn = nextSkip - 1;
      nextSkip += window;
    }
  }
  if (pfn > end) pfn = end;
  if (pfn === end && (isolated === 0 || cc.finishPageblock)) {
    if (valid !== 0 && !skipUpdated) setPageblockSkip(zones, valid);
    updateCachedMigrate(m, cc, pfn);
  }
  cc.migrateScanned += scanned;
  m.vmstat[V.compact_isolated] += isolated;
  cc.migratePfn = pfn;
}

/** @kernel mm/compaction.c test_and_set_skip (6.18) */
function testAndSetSkip(m: Machine, cc: CompactControl, pfn: number): boolean {
  if (cc.ignoreSkipHint) return false;
  const skip = pageblockSkip(m.zones, pfn);
  if (!skip) setPageblockSkip(m.zones, pfn);
  return skip;
}
