/**
 * Compaction: makes large free blocks out of small ones, by moving what is in between. Run for an allocation that could not
 * get its block, for kswapd when enough is free but in pieces, or over a whole zone on demand.
 *
 * A zone is compacted when it has free pages enough to move things to, and when it is fragmentation that keeps the block
 * away. A zone where that failed is left alone for the next 2, 4 … 64 requests of the order.
 *
 * @kernel mm/compaction.c compact_zone (6.18)
 */
import { compactionAlloc, compactionFree, releaseFreeList } from './compaction_free.ts';
import {
  type CompactControl,
  type CompactRequest,
  compactControl,
  compactScannersMet,
  isolateMigratepages,
} from './compaction_scan.ts';
import { GFP_KERNEL } from './gfp.ts';
import { NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  ENOMEM,
  MIGRATE_ASYNC,
  MIGRATE_SYNC,
  MIGRATE_SYNC_LIGHT,
  type MigrationTarget,
  migratePages,
  putbackMovablePages,
} from './migrate.ts';
import { folioOrder, folioTest, pageFolio } from './mm_types.ts';
import {
  areaRow,
  MAX_NR_ZONES,
  MIGRATE_MOVABLE,
  MIGRATE_UNMOVABLE,
  PAGE_ALLOC_COSTLY_ORDER,
  PB_SKIP,
  pageblockSkip,
  pageblockType,
  type Zones,
} from './mmzone.ts';
import { claimableFallback } from './page_alloc_fallback.ts';
import { drainZonePages } from './page_alloc_pcp.ts';
import { fragmentationIndex } from './page_alloc_report.ts';
import {
  ALLOC_WMARK_MASK,
  ALLOC_WMARK_MIN,
  lowWmarkPages,
  minWmarkPages,
  wmarkPages,
  zoneWatermarkOk,
  zoneWatermarkOkFor,
} from './page_alloc_watermark.ts';
import { PG } from './page_flags.ts';
import { pageBuddy } from './page_free.ts';
import { lruAddDrain } from './swap.ts';
import { V } from './vmstat.ts';

/** How a run ended; larger is better. @kernel include/linux/compaction.h enum compact_result (6.18) */
export const COMPACT_SKIPPED = 1;
export const COMPACT_DEFERRED = 2;
export const COMPACT_CONTINUE = 4;
export const COMPACT_COMPLETE = 5;
export const COMPACT_PARTIAL_SKIPPED = 6;
export const COMPACT_CONTENDED = 7;
export const COMPACT_SUCCESS = 8;

/** How hard an allocation tries; smaller is harder. @kernel include/linux/compaction.h enum compact_priority (6.18) */
export const COMPACT_PRIO_SYNC_FULL = 0;
export const COMPACT_PRIO_SYNC_LIGHT = 1;
export const COMPACT_PRIO_ASYNC = 2;

const COMPACT_MAX_DEFER_SHIFT = 6;
/** vm.extfrag_threshold. */
const EXTFRAG_THRESHOLD = 500;

/** Compaction of the order failed: the next ones are put off. @kernel mm/compaction.c defer_compaction (6.18) */
function deferCompaction(zones: Zones, zone: number, order: number): void {
  const t = zones.zone;
  t.considered[zone] = 0;
  if (t.deferShift[zone] < COMPACT_MAX_DEFER_SHIFT) t.deferShift[zone]++;
  if (order < t.orderFailed[zone]) t.orderFailed[zone] = order;
}

/** Is compaction of the order put off? Counts the request. @kernel mm/compaction.c compaction_deferred (6.18) */
export function compactionDeferred(zones: Zones, zone: number, order: number): boolean {
  const t = zones.zone;
  if (order < t.orderFailed[zone]) return false;
  const limit = 1 << t.deferShift[zone];
  t.considered[zone] = Math.min(t.considered[zone] + 1, limit);
  return t.considered[zone] < limit;
}

/** It worked, or (with `allocated`) a block was even allocated. @kernel mm/compaction.c compaction_defer_reset (6.18) */
export function compactionDeferReset(zones: Zones, zone: number, order: number, allocated: boolean): void {
  const t = zones.zone;
  if (allocated) {
    t.considered[zone] = 0;
    t.deferShift[zone] = 0;
  }
  if (order >= t.orderFailed[zone]) t.orderFailed[zone] = order + 1;
}

/** Was it put off as long as can be, and may start again? @kernel mm/compaction.c compaction_restarting (6.18) */
function compactionRestarting(zones: Zones, zone: number, order: number): boolean {
  const t = zones.zone;
  if (order < t.orderFailed[zone]) return false;
  return t.deferShift[zone] === COMPACT_MAX_DEFER_SHIFT && t.considered[zone] >= 1 << COMPACT_MAX_DEFER_SHIFT;
}

/** Free pages that a run for the order should find. @kernel include/linux/compaction.h compact_gap (6.18) */
const compactGap = (order: number): number => 2 * 2 ** order;

/** Are there pages enough to move things to, if `free` were free? @kernel mm/compaction.c __compaction_suitable (6.18) */
export function compactionSuitableFor(
  m: Machine,
  zone: number,
  order: number,
  mark: number,
  highest: number,
  free: number,
): boolean {
  const { zones } = m;
  let need = mark + compactGap(order);
  if (order > PAGE_ALLOC_COSTLY_ORDER) need += lowWmarkPages(zones, zone) - minWmarkPages(zones, zone);
  return zoneWatermarkOkFor(zones, zone, 0, need, highest, 0, free);
}

/** Can compaction help the zone? Large orders: only where memory is not simply short. @kernel mm/compaction.c compaction_suitable (6.18) */
export function compactionSuitable(m: Machine, zone: number, order: number, mark: number, highest: number): boolean {
  if (!compactionSuitableFor(m, zone, order, mark, highest, m.zones.zone.free[zone])) return false;
  if (order <= PAGE_ALLOC_COSTLY_ORDER) return true;
  const index = fragmentationIndex(m.zones, zone, order);
  return index < 0 || index > EXTFRAG_THRESHOLD;
}

/** Should the zone be compacted for an allocation: SUCCESS (it has the block), SKIPPED or CONTINUE. @kernel mm/compaction.c compaction_suit_allocation_order (6.18) */
function compactionSuitAllocationOrder(
  m: Machine,
  zone: number,
  order: number,
  highest: number,
  flags: number,
  async: boolean,
): number {
  const { zones } = m;
  const mark = wmarkPages(zones, zone, flags & ALLOC_WMARK_MASK);
  if (zoneWatermarkOk(zones, zone, order, mark, highest, flags)) return COMPACT_SUCCESS;
  if (
    order > PAGE_ALLOC_COSTLY_ORDER &&
    async &&
    !zoneWatermarkOk(zones, zone, 0, mark + compactGap(order), highest, 0)
  )
    return COMPACT_SKIPPED;
  return compactionSuitable(m, zone, order, mark, highest) ? COMPACT_CONTINUE : COMPACT_SKIPPED;
}

const lastBlock = (zones: Zones, zone: number): number => (zones.zone.end[zone] - 1) & -(1 << zones.pageblockOrder);

/** @kernel mm/compaction.c reset_cached_positions (6.18) */
function resetCachedPositions(zones: Zones, zone: number): void {
  const t = zones.zone;
  t.migratePfnAsync[zone] = t.start[zone];
  t.migratePfnSync[zone] = t.start[zone];
  t.freePfn[zone] = lastBlock(zones, zone);
}

/** Is the run over, and how? CONTINUE: it is not. @kernel mm/compaction.c __compact_finished (6.18) */
function compactFinished(m: Machine, cc: CompactControl): number {
  const { zones } = m;
  if (compactScannersMet(m, cc)) {
    resetCachedPositions(zones, cc.zone);
    if (cc.direct) zones.zone.blockskipFlush[cc.zone] = 1;
    return cc.wholeZone ? COMPACT_COMPLETE : COMPACT_PARTIAL_SKIPPED;
  }
  if (cc.order < 0 || (cc.migratePfn & ((1 << zones.pageblockOrder) - 1)) !== 0) return COMPACT_CONTINUE;
  for (let o = cc.order; o <= zones.maxOrder; o++) {
    if (zones.area.head[areaRow(zones, cc.zone, o, cc.type)] !== 0) return COMPACT_SUCCESS;
    if (claimableFallback(zones, cc.zone, o, cc.type)) return COMPACT_SUCCESS;
  }
  return COMPACT_CONTINUE;
}

const target: MigrationTarget<CompactControl> = { getNewFolio: compactionAlloc, putNewFolio: compactionFree };

/** Compacts a zone until it has the block, or the scanners meet. @kernel mm/compaction.c compact_zone (6.18) */
function compactZone(m: Machine, cc: CompactControl): number {
  if (cc.order >= 0) {
    const { zone, order, highest, flags } = cc;
    const fit = compactionSuitAllocationOrder(m, zone, order, highest, flags, cc.mode === MIGRATE_ASYNC);
    if (fit !== COMPACT_CONTINUE) return fit;
    if (compactionRestarting(m.zones, zone, order)) resetIsolationSuitableZone(m, zone);
  }
  startScanners(m, cc);
  lruAddDrain(m);
  const result = scan(m, cc);
  if (cc.nrFreepages > 0) {
    const { freePfn } = m.zones.zone;
    const high = releaseFreeList(m, cc) & -(1 << m.zones.pageblockOrder);
    if (high > freePfn[cc.zone]) freePfn[cc.zone] = high;
  }
  m.vmstat[V.compact_migrate_scanned] += cc.migrateScanned;
  m.vmstat[V.compact_free_scanned] += cc.freeScanned;
  return result;
}

/** Both scanners go on where the last run stopped, or begin anew. */
function startScanners(m: Machine, cc: CompactControl): void {
  const t = m.zones.zone;
  const { zone } = cc;
  const start = t.start[zone];
  const end = t.end[zone];
  if (cc.wholeZone) {
    cc.migratePfn = start;
    cc.freePfn = lastBlock(m.zones, zone);
    return;
  }
  cc.migratePfn = cc.mode === MIGRATE_ASYNC ? t.migratePfnAsync[zone] : t.migratePfnSync[zone];
  cc.freePfn = t.freePfn[zone];
  if (cc.freePfn < start || cc.freePfn >= end) {
    cc.freePfn = lastBlock(m.zones, zone);
    t.freePfn[zone] = cc.freePfn;
  }
  if (cc.migratePfn < start || cc.migratePfn >= end) {
    cc.migratePfn = start;
    t.migratePfnAsync[zone] = start;
    t.migratePfnSync[zone] = start;
  }
  if (cc.migratePfn <= t.initMigratePfn[zone]) cc.wholeZone = true;
}

function scan(m: Machine, cc: CompactControl): number {
  const { zones } = m;
  const t = zones.zone;
  const { zone } = cc;
  const blockMask = -(1 << zones.pageblockOrder);
  let lastMigrated = 0;
  let cached = cc.mode !== MIGRATE_ASYNC && t.migratePfnAsync[zone] === t.migratePfnSync[zone];
  let rescan = false;
  for (;;) {
    if (!rescan) {
      const state = compactFinished(m, cc);
      if (state !== COMPACT_CONTINUE) return state;
      cc.finishPageblock = (lastMigrated & blockMask) === (cc.migratePfn & blockMask);
    }
    rescan = false;
    if (isolateMigratepages(m, cc)) {
      cached = false;
      lastMigrated = Math.max(t.start[zone], (cc.migratePfn - 1) & blockMask);
      const failed = migratePages(m, cc.migratepages, target, cc);
      cc.nrMigratepages = 0;
      if (failed !== 0) {
        putbackMovablePages(m, cc.migratepages);
        if (failed === ENOMEM && !compactScannersMet(m, cc)) return COMPACT_CONTENDED;
        // The block cannot become free as a whole: finish it now rather than come back.
        const inside = (cc.migratePfn & ~blockMask) !== 0;
        if (inside && !cc.ignoreSkipHint && !cc.finishPageblock && cc.mode < MIGRATE_SYNC) {
          cc.finishPageblock = true;
          if (cc.order === zones.pmdOrder) lastMigrated = 0;
          rescan = true;
          continue;
        }
      }
      if (cc.direct && zones.capturePfn !== 0) return COMPACT_SUCCESS;
    } else if (cached) t.migratePfnSync[zone] = t.migratePfnAsync[zone];
    if (cc.order > 0 && lastMigrated !== 0 && lastMigrated < (cc.migratePfn & -(1 << cc.order))) {
      // What was moved out of this block shall be seen as free.
      lruAddDrain(m);
      drainZonePages(m, zone);
      lastMigrated = 0;
    }
  }
}

/** @kernel mm/compaction.c compact_zone_order (6.18) */
function compactZoneOrder(m: Machine, request: CompactRequest): number {
  const { zones } = m;
  zones.captureOrder = request.order;
  zones.captureType = request.type;
  zones.capturePfn = 0;
  const result = compactZone(m, compactControl(m, request));
  zones.captureOrder = -1;
  return zones.capturePfn !== 0 ? COMPACT_SUCCESS : result;
}

/**
 * Direct compaction: for an allocation, zone by zone. A block that was caught on its way to the free lists is left in
 * `zones.capturePfn`, the caller's. @kernel mm/compaction.c try_to_compact_pages (6.18)
 */
export function tryToCompactPages(
  m: Machine,
  gfp: number,
  order: number,
  flags: number,
  highest: number,
  type: number,
  priority: number,
): number {
  const { zones } = m;
  const full = priority === COMPACT_PRIO_SYNC_FULL;
  let result = COMPACT_SKIPPED;
  for (let zone = highest; zone >= 0; zone--) {
    if (zones.zone.managed[zone] === 0) continue;
    if (!full && compactionDeferred(zones, zone, order)) {
      result = Math.max(result, COMPACT_DEFERRED);
      continue;
    }
    const state = compactZoneOrder(m, {
      zone,
      order,
      mode: priority === COMPACT_PRIO_ASYNC ? MIGRATE_ASYNC : MIGRATE_SYNC_LIGHT,
      gfp,
      type,
      flags,
      highest,
      direct: true,
      wholeZone: full,
      ignoreSkipHint: full,
      ignoreBlockSuitable: full,
    });
    result = Math.max(result, state);
    if (state === COMPACT_SUCCESS) {
      compactionDeferReset(zones, zone, order, false);
      break;
    }
    if (priority !== COMPACT_PRIO_ASYNC && (state === COMPACT_COMPLETE || state === COMPACT_PARTIAL_SKIPPED))
      deferCompaction(zones, zone, order);
  }
  return result;
}

/** /proc/sys/vm/compact_memory: all zones, from end to end, whatever the marks say. @kernel mm/compaction.c compact_node (6.18) */
export function compactMemory(m: Machine): void {
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) {
    if (m.zones.zone.managed[zone] === 0) continue;
    const request: CompactRequest = {
      zone,
      order: -1,
      mode: MIGRATE_SYNC,
      gfp: GFP_KERNEL,
      type: MIGRATE_UNMOVABLE,
      flags: 0,
      highest: 0,
      direct: false,
      wholeZone: true,
      ignoreSkipHint: true,
      ignoreBlockSuitable: false,
    };
    compactZone(m, compactControl(m, request));
  }
}

/**
 * kswapd has freed enough, but perhaps in pieces: kcompactd, which runs at once here, compacts the zones that need it.
 * @kernel mm/compaction.c kcompactd_do_work (6.18)
 */
export function wakeupKcompactd(m: Machine, order: number, highest: number): void {
  const { zones, vmstat } = m;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) resetIsolationSuitableZone(m, zone);
  if (order === 0 || !kcompactdNodeSuitable(m, order, highest)) return;
  vmstat[V.compact_daemon_wake]++;
  for (let zone = 0; zone <= highest; zone++) {
    if (zones.zone.managed[zone] === 0 || compactionDeferred(zones, zone, order)) continue;
    if (compactionSuitAllocationOrder(m, zone, order, zone, ALLOC_WMARK_MIN, false) !== COMPACT_CONTINUE) continue;
    const cc = compactControl(m, {
      zone,
      order,
      mode: MIGRATE_SYNC_LIGHT,
      gfp: GFP_KERNEL,
      type: MIGRATE_UNMOVABLE,
      flags: ALLOC_WMARK_MIN,
      highest,
      direct: false,
      wholeZone: false,
      ignoreSkipHint: false,
      ignoreBlockSuitable: false,
    });
    const state = compactZone(m, cc);
    if (state === COMPACT_SUCCESS) compactionDeferReset(zones, zone, order, false);
    else if (state === COMPACT_PARTIAL_SKIPPED || state === COMPACT_COMPLETE) {
      drainZonePages(m, zone);
      deferCompaction(zones, zone, order);
    }
    vmstat[V.compact_daemon_migrate_scanned] += cc.migrateScanned;
    vmstat[V.compact_daemon_free_scanned] += cc.freeScanned;
  }
}

/** @kernel mm/compaction.c kcompactd_node_suitable (6.18) */
function kcompactdNodeSuitable(m: Machine, order: number, highest: number): boolean {
  for (let zone = 0; zone <= highest; zone++) {
    if (m.zones.zone.managed[zone] === 0) continue;
    if (compactionSuitAllocationOrder(m, zone, order, highest, ALLOC_WMARK_MIN, false) === COMPACT_CONTINUE)
      return true;
  }
  return false;
}

/**
 * Clears the skip marks of page blocks that have something to move, or room to move to, once the scanners have met.
 * @kernel mm/compaction.c __reset_isolation_suitable (6.18)
 */
function resetIsolationSuitableZone(m: Machine, zone: number): void {
  const { zones } = m;
  const t = zones.zone;
  if (t.managed[zone] === 0 || t.blockskipFlush[zone] === 0) return;
  t.blockskipFlush[zone] = 0;
  const size = 1 << zones.pageblockOrder;
  let up = t.start[zone];
  let down = t.end[zone] - 1;
  let migrate = down;
  let free = up;
  let sourceSet = false;
  let freeSet = false;
  for (; up < down; up += size, down -= size) {
    if (resetIsolationPfn(m, zone, up, true, sourceSet) && up < migrate) {
      sourceSet = true;
      migrate = up;
      t.initMigratePfn[zone] = up;
      t.migratePfnAsync[zone] = up;
      t.migratePfnSync[zone] = up;
    }
    if (resetIsolationPfn(m, zone, down, freeSet, true) && down > free) {
      freeSet = true;
      free = down;
      t.initFreePfn[zone] = down;
      t.freePfn[zone] = down;
    }
  }
  if (migrate < free) return;
  t.migratePfnAsync[zone] = up;
  t.migratePfnSync[zone] = up;
  t.freePfn[zone] = down;
}

/** Clears a page block's skip mark if a look at every eighth page finds something to move (`source`) or free (`target`). @kernel mm/compaction.c __reset_isolation_pfn (6.18) */
function resetIsolationPfn(m: Machine, zone: number, pfn: number, source: boolean, targets: boolean): boolean {
  const { map, zones } = m;
  const t = zones.zone;
  const size = 1 << zones.pageblockOrder;
  const first = pageFolio(map, pfn as Pfn);
  if (first !== NO_FOLIO && folioOrder(map, first) >= zones.pageblockOrder) return false;
  if (source && targets && !pageblockSkip(zones, pfn)) return true;
  if (!source && targets && pageblockType(zones, pfn) !== MIGRATE_MOVABLE) return false;
  const start = Math.max(pfn & -size, t.start[zone]);
  const end = Math.min((pfn & -size) + size, t.end[zone]);
  for (let p = start; p < end; p += 1 << PAGE_ALLOC_COSTLY_ORDER) {
    const folio = pageFolio(map, p as Pfn);
    const found = (source && folio !== NO_FOLIO && folioTest(map, folio, PG.PG_lru)) || (targets && pageBuddy(map, p));
    if (!found) continue;
    zones.blocks[pfn >>> zones.pageblockOrder] &= ~PB_SKIP;
    return true;
  }
  return false;
}
