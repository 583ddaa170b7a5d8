/**
 * Emptying a range of frames, for who needs just these: a page of 1 GiB, memory that goes offline. Its page blocks are isolated,
 * so that nothing is allocated there and what is freed stays there; used folios that can move are migrated away; when all of it
 * is free it is taken. If one page stays, nothing has changed but the place of some folios.
 *
 *   [ F F . A | . . F . ] ─ isolate, migrate F and A ─► [ . . . . | . . . . ] ─ take ─► the caller's
 *
 * @kernel mm/page_alloc.c alloc_contig_range_noprof (6.18)
 */

import { GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import { type FolioId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  type IsolatedFolios,
  isolatedAdd,
  type MigrationTarget,
  migratePages,
  putbackMovablePages,
} from './migrate.ts';
import { folioNrPages, folioTest, pageFolio } from './mm_types.ts';
import { MIGRATE_ISOLATE, pageblockType, pageZone, setPageblockType } from './mmzone.ts';
import { folioAlloc } from './page_alloc.ts';
import { delFromFreeList, moveFreepagesBlock, reachTo, splitLargeBuddy } from './page_alloc_buddy.ts';
import { drainAllPages } from './page_alloc_pcp.ts';
import { PG } from './page_flags.ts';
import { buddyOrder, pageBuddy } from './page_free.ts';
import { pagesInit } from './page_type.ts';
import { folioIsolateLru, folioPut, lruAddDrain } from './swap.ts';

/** Folios moved at a time. @kernel include/linux/swap.h SWAP_CLUSTER_MAX (6.18) */
const BATCH = 32;

const elsewhere: MigrationTarget<null> = {
  getNewFolio: (m, _data, order): FolioId => folioAlloc(m, GFP_HIGHUSER_MOVABLE, order),
  putNewFolio: (m, _data, dst): void => folioPut(m, dst),
};

/**
 * Takes frames [start, end), whole blocks of the largest order in one zone. They have no type and no reference then; beyond that
 * who takes them prepares each that is used. False: some cannot be had. @kernel mm/page_alloc.c alloc_contig_range_noprof (6.18)
 */
export function allocContigRange(m: Machine, start: Pfn, end: Pfn): boolean {
  const { zones } = m;
  const zone = pageZone(zones, start);
  if (start < zones.zone.start[zone] || end > zones.zone.end[zone]) return false;
  lruAddDrain(m);
  drainAllPages(m);
  reachTo(m, zone, end);
  if (!isEmptiable(m, start, end)) return false;
  const types = isolate(m, zone, start, end);
  if (types === null) return false;
  const empty = migrateRange(m, start, end) && allFree(m, start, end);
  if (empty) take(m, zone, start, end);
  const step = 1 << zones.pageblockOrder;
  types.forEach((type, i) => {
    if (empty) setPageblockType(zones, start + i * step, type);
    else moveFreepagesBlock(m, zone, start + i * step, type);
  });
  return empty;
}

/** Gives such frames back. @kernel mm/page_alloc.c free_contig_range (6.18) */
export function freeContigRange(m: Machine, start: Pfn, end: Pfn): void {
  const { zones } = m;
  const zone = pageZone(zones, start);
  for (let pfn = start as number; pfn < end; pfn += 1 << zones.maxOrder) splitLargeBuddy(m, zone, pfn, zones.maxOrder);
}

/** Is all of it free or on an LRU list? The cheap look before anything is done. @kernel mm/page_isolation.c has_unmovable_pages (6.18) */
function isEmptiable(m: Machine, start: Pfn, end: Pfn): boolean {
  for (let pfn = start; pfn < end; ) {
    if (pageBuddy(m.map, pfn)) {
      pfn = (pfn + (1 << buddyOrder(m.map, pfn))) as Pfn;
      continue;
    }
    const f = pageFolio(m.map, pfn);
    if (!folioTest(m.map, f, PG.PG_lru)) return false;
    pfn = (pfn + folioNrPages(m.map, f)) as Pfn;
  }
  return true;
}

/** Isolates the page blocks of a range; their types before, or null. @kernel mm/page_isolation.c start_isolate_page_range (6.18) */
function isolate(m: Machine, zone: number, start: Pfn, end: Pfn): number[] | null {
  const { zones } = m;
  const step = 1 << zones.pageblockOrder;
  const types: number[] = [];
  for (let pfn = start as number; pfn < end; pfn += step) {
    const type = pageblockType(zones, pfn);
    if (type !== MIGRATE_ISOLATE && moveFreepagesBlock(m, zone, pfn, MIGRATE_ISOLATE)) {
      types.push(type);
      continue;
    }
    types.forEach((was, i) => {
      moveFreepagesBlock(m, zone, start + i * step, was);
    });
    return null;
  }
  return types;
}

/** Moves the folios of a range away; false when one stays. @kernel mm/page_alloc.c __alloc_contig_migrate_range (6.18) */
function migrateRange(m: Machine, start: Pfn, end: Pfn): boolean {
  const { map } = m;
  for (let pfn = start; pfn < end; ) {
    const list: IsolatedFolios = { head: NO_FOLIO, tail: NO_FOLIO };
    for (let n = 0; pfn < end && n < BATCH; ) {
      if (pageBuddy(map, pfn)) {
        pfn = (pfn + (1 << buddyOrder(m.map, pfn))) as Pfn;
        continue;
      }
      const f = pageFolio(map, pfn);
      if (f === NO_FOLIO || !folioTest(map, f, PG.PG_lru)) {
        putbackMovablePages(m, list);
        return false;
      }
      pfn = (pfn + folioNrPages(map, f)) as Pfn;
      folioIsolateLru(m, f);
      isolatedAdd(m, list, f);
      n++;
    }
    if (migratePages(m, list, elsewhere, null) !== 0) {
      putbackMovablePages(m, list);
      lruAddDrain(m);
      return false;
    }
  }
  lruAddDrain(m);
  drainAllPages(m);
  return true;
}

/** @kernel mm/page_isolation.c test_pages_isolated (6.18) */
function allFree(m: Machine, start: Pfn, end: Pfn): boolean {
  for (let pfn = start as number; pfn < end; pfn += 1 << buddyOrder(m.map, pfn))
    if (!pageBuddy(m.map, pfn)) return false;
  return true;
}

/** Takes the blocks off the isolated lists. @kernel mm/compaction.c isolate_freepages_range (6.18) */
function take(m: Machine, zone: number, start: Pfn, end: Pfn): void {
  for (let pfn = start as number; pfn < end; ) {
    const order = buddyOrder(m.map, pfn);
    delFromFreeList(m, zone, pfn, order);
    pagesInit(m.map, pfn as Pfn, order, false);
    pfn += 1 << order;
  }
}
