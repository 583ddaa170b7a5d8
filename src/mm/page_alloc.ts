/**
 * The physical allocator: 2^order frames for whoever asks, with what the request may do for them said by its flags.
 *
 *   folioAlloc ─► allocFrozenPages ─► zones above their low watermark (page_alloc_zonelist) ─► per-CPU lists (_pcp)
 *                       │                                                                        │ refill, drain
 *                       └─► slow path: kswapd, compaction, reclaim (_slowpath)                 buddy lists (_buddy)
 *                                                                                                │ none of that type
 *                                                                                              other types (_fallback)
 *
 * Pages come out frozen: nobody refers to them. Wrappers give them their first reference.
 *
 * Invariants, held by checkZones (page_alloc_check.ts):
 *   B1  free + per-CPU pages + pages handed out = managed, in each zone.
 *   B2  A free block is aligned to its size and lies inside one zone.
 *   B3  Its first page says buddy, order and type; nobody refers to it, and none of its pages has a flag.
 *   B4  No two buddies of the same order are free, unless their page blocks' types do not merge.
 *   B5  Lists are linked both ways, and their counts are right; so are the zone's sums and the machine's.
 *   B6  A block is on the list of its page block's type (6.12 and newer).
 *
 * @kernel mm/page_alloc.c __alloc_frozen_pages_noprof (6.18)
 */
import { assert } from '../base/errors.ts';
import { __GFP_COMP, __GFP_KSWAPD_RECLAIM } from './gfp.ts';
import { type FolioId, NO_FOLIO, NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { FOLIO_WORDS, folioFini, folioInit, folioPfn, type MemoryMap, W_MAPPING } from './mm_types.ts';
import { MAX_NR_ZONES, pageZone, ZONE_NORMAL, type Zones, zonesTable } from './mmzone.ts';
import { freeFrozenPageCommit } from './page_alloc_pcp.ts';
import { allocPagesSlowpath } from './page_alloc_slowpath.ts';
import {
  ALLOC_KSWAPD,
  ALLOC_WMARK_LOW,
  calculateMinFreeKbytes,
  recommendedMinFreeKbytes,
  setupPerCpuPagesets,
  setupPerZoneLowmemReserve,
  setupPerZoneWmarks,
} from './page_alloc_watermark.ts';
import {
  allocFlagsNofragment,
  getPageFromFreelist,
  gfpMigratetype,
  gfpZone,
  rmqueueQuick,
} from './page_alloc_zonelist.ts';
import { PAGE_FLAGS_CHECK_AT_FREE, PG, PG_large_rmappable } from './page_flags.ts';
import { freePagesBut, hwpoisonedPages } from './page_poison.ts';
import { dropLastCount, folioHasHwpoisoned, pageFlag, pagesFini, pagesInit, setPageCount } from './page_type.ts';
import { V } from './vmstat.ts';

export type { Zones } from './mmzone.ts';

/**
 * Zones of a machine of that many pages, with watermarks and per-CPU limits; free lists are filled by memblockFreeAll once
 * the machine has its memory map. `thp`: the transparent huge page daemon runs, and asks for more free memory.
 * @kernel mm/page_alloc.c init_per_zone_wmark_min (6.18)
 */
export function zonesInit(memoryPages: number, pageSize: number, thp = true): Zones {
  const zones = zonesTable(memoryPages, pageSize);
  setMarks(zones, thp);
  setupPerCpuPagesets(zones, 1);
  const t = zones.zone;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    t.migratePfnAsync[z] = t.migratePfnSync[z] = t.initMigratePfn[z] = t.start[z];
    t.freePfn[z] = t.initFreePfn[z] = Math.max((t.end[z] - 1) & -(1 << zones.pageblockOrder), 0);
    t.orderFailed[z] = zones.maxOrder + 1;
  }
  return zones;
}

/** Watermarks as boot sets them, twice when the daemon has its say. */
export function setMarks(zones: Zones, thp: boolean): void {
  zones.zone.high.fill(0);
  setupPerZoneLowmemReserve(zones);
  const kbytes = calculateMinFreeKbytes(zones);
  setupPerZoneWmarks(zones, kbytes);
  if (thp) setupPerZoneWmarks(zones, Math.max(kbytes, recommendedMinFreeKbytes(zones)));
}

/** 2^order pages as they lay on the free lists; 0: out of memory. */
function takePages(m: Machine, gfp: number, order: number): Pfn {
  const { zones } = m;
  if (order > zones.maxOrder) return NO_PFN;
  const highest = gfpZone(gfp);
  let pfn = order === 0 && highest === ZONE_NORMAL ? rmqueueQuick(m, gfpMigratetype(gfp)) : 0;
  if (pfn === 0) {
    let flags = ALLOC_WMARK_LOW | allocFlagsNofragment(zones, highest);
    if ((gfp & __GFP_KSWAPD_RECLAIM) !== 0) flags |= ALLOC_KSWAPD;
    pfn = getPageFromFreelist(m, order, flags, highest, gfpMigratetype(gfp));
  }
  if (pfn === 0) {
    pfn = allocPagesSlowpath(m, gfp, order);
  }
  return pfn as Pfn;
}

/** 2^order pages without a reference, made one block if the request says so; 0: out of memory. @kernel mm/page_alloc.c __alloc_frozen_pages_noprof (6.18) */
export function allocFrozenPages(m: Machine, gfp: number, order: number): Pfn {
  const pfn = takePages(m, gfp, order);
  if (pfn !== 0) pagesInit(m.map, pfn, order, (gfp & __GFP_COMP) !== 0);
  return pfn;
}

/** The same with one reference, where such pages have a count. @kernel mm/page_alloc.c __alloc_pages_noprof (6.18) */
export function allocPages(m: Machine, gfp: number, order: number): Pfn {
  const pfn = allocFrozenPages(m, gfp, order);
  if (pfn !== 0) setPageCount(m.map, pfn, 1);
  return pfn;
}

/** A folio of 2^order pages with one reference; 0: out of memory. @kernel mm/page_alloc.c __folio_alloc_noprof (6.18) */
export function folioAlloc(m: Machine, gfp: number, order: number): FolioId {
  const pfn = takePages(m, gfp | __GFP_COMP, order);
  return pfn === 0 ? NO_FOLIO : folioNew(m.map, pfn, order);
}

/** Makes a folio with one reference of pages that were taken. */
export function folioNew(map: MemoryMap, pfn: Pfn, order: number): FolioId {
  const f = folioInit(map, pfn, order);
  const w = f * FOLIO_WORDS;
  map[w + map.refcount] = 1;
  if (order > 0) map[w + map.flags1] |= PG_large_rmappable;
  return f;
}

/** Gives back a folio and its pages. Nobody refers to it. @kernel mm/page_alloc.c __free_frozen_pages (6.18) */
export function freeFrozenFolio(m: Machine, f: FolioId, order: number): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  assert(map[w + map.refcount] === 0, 'freeFrozenPages: nobody refers to the page');
  assert((map[w] & PAGE_FLAGS_CHECK_AT_FREE) === 0, 'freeFrozenPages: no flag that is checked at free is set');
  assert(
    map[w + W_MAPPING] >> 2 === 0 && map[w + map.mapcount] === -1,
    'freeFrozenPages: in no file, not mapped, not free',
  );
  const poisoned = (map[w] & PG.PG_hwpoison) !== 0 || (order > 0 && folioHasHwpoisoned(map, folioPfn(map, f)));
  const bad = poisoned ? hwpoisonedPages(m, folioPfn(map, f), order) : null;
  const pfn = folioFini(map, f, order);
  if (bad !== null) {
    freePagesBut(m, pfn, order, bad);
    return;
  }
  m.vmstat[V.pgfree] += 1 << order;
  freeFrozenPageCommit(m, pageZone(m.zones, pfn), pfn, order);
}

/** Gives back 2^order pages that are no folio's and that nobody refers to. @kernel mm/page_alloc.c __free_frozen_pages (6.18) */
export function freeFrozenPages(m: Machine, pfn: Pfn, order: number): void {
  const bad =
    folioHasHwpoisoned(m.map, pfn) || pageFlag(m.map, pfn, PG.PG_hwpoison) ? hwpoisonedPages(m, pfn, order) : null;
  pagesFini(m.map, pfn, order);
  if (bad !== null) {
    freePagesBut(m, pfn, order, bad);
    return;
  }
  m.vmstat[V.pgfree] += 1 << order;
  freeFrozenPageCommit(m, pageZone(m.zones, pfn), pfn, order);
}

/** Drops the one reference of a block that allocPages gave, and frees it. @kernel mm/page_alloc.c __free_pages (6.18) */
export function freePages(m: Machine, pfn: Pfn, order: number): void {
  dropLastCount(m.map, pfn);
  freeFrozenPages(m, pfn, order);
}
