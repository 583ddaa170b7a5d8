/**
 * Reclaim: who starts it and how far it goes.
 *
 *   a group at its limit ─┐                 priority 12: 1/4096 of a list … 1: half … 0: all of it
 *   an allocation         ├─► priorities ─► vmscan_node.ts: how much of each list ─► vmscan_lists.ts: folio by folio
 *   kswapd                ─┘                    until the goal is met (32 pages; kswapd: the high watermarks)
 *
 * The goal is checked after each round of 32 pages a list, so a reclaim can free more than it was asked for.
 *
 * Nothing runs beside the caller here. Where the kernel's kswapd starts on another CPU as soon as it is woken, this one runs
 * when the allocation that woke it has been served: the allocator calls kswapd() at the end of its slow path.
 */
import { compactionSuitable, wakeupKcompactd } from './compaction.ts';
import { GFP_KERNEL } from './gfp.ts';
import { type MemcgId, NO_FOLIO } from './ids.ts';
import type { Machine } from './machine.ts';
import { lruvecActivated } from './memcontrol.ts';
import { LRU_ACTIVE_ANON, LRU_INACTIVE_ANON } from './mm_inline.ts';
import { MAX_NR_ZONES, PAGE_ALLOC_COSTLY_ORDER } from './mmzone.ts';
import { highWmarkPages, minWmarkPages, zoneWatermarkOk } from './page_alloc_watermark.ts';
import { type ScanControl, shrinkActiveList } from './vmscan_lists.ts';
import { DEF_PRIORITY, listIsLow, shrinkNode } from './vmscan_node.ts';
import { V } from './vmstat.ts';
import { SWAP_CLUSTER_MAX } from './workingset.ts';
import { zswapShrinkWorker } from './zswap.ts';

/** Runs of kswapd without result after which it is no longer woken. @kernel mm/internal.h MAX_RECLAIM_RETRIES (6.18) */
const MAX_RECLAIM_RETRIES = 16;

export function scanControl(
  target: MemcgId,
  nrToReclaim: number,
  gfp: number,
  order: number,
  kswapd: boolean,
): ScanControl {
  return {
    nrToReclaim,
    target,
    kswapd,
    gfp,
    order,
    priority: DEF_PRIORITY,
    maySwap: true,
    mayDeactivate: 0,
    forceDeactivate: false,
    skippedDeactivate: false,
    memcgFullWalk: false,
    cacheTrimMode: false,
    noCacheTrimMode: false,
    cacheTrimModeFailed: false,
    fileIsTiny: false,
    compactionReady: false,
    anonCost: 0,
    fileCost: 0,
    nrScanned: 0,
    nrReclaimed: 0,
    dirty: 0,
    unqueuedDirty: 0,
    congested: 0,
    writeback: 0,
    immediate: 0,
    taken: 0,
    fileTaken: 0,
    pageout: 0,
    freed: 0,
  };
}

/** Remembers how many refaults were activated, for the next reclaim to compare. @kernel mm/vmscan.c snapshot_refaults (6.18) */
export function snapshotRefaults(m: Machine, target: MemcgId): void {
  m.lruvecs.refaultsAnon[target] = lruvecActivated(m, target, false);
  m.lruvecs.refaultsFile[target] = lruvecActivated(m, target, true);
}

/** May the zone be left alone because compaction can start at once? @kernel mm/vmscan.c compaction_ready (6.18) */
function compactionReady(m: Machine, sc: ScanControl): boolean {
  const { zones } = m;
  for (let z = MAX_NR_ZONES - 1; z >= 0; z--) {
    if (zones.zone.managed[z] === 0) continue;
    const min = minWmarkPages(zones, z);
    if (zoneWatermarkOk(zones, z, sc.order, min, MAX_NR_ZONES - 1, 0)) return true;
    if (!compactionSuitable(m, z, sc.order, min, MAX_NR_ZONES - 1)) return false;
    const mark = highWmarkPages(zones, z) + 2 * 2 ** sc.order;
    if (!zoneWatermarkOk(zones, z, 0, mark, MAX_NR_ZONES - 1, 0)) return false;
  }
  return true;
}

/** @kernel mm/vmscan.c do_try_to_free_pages (6.18) */
function doTryToFreePages(m: Machine, sc: ScanControl): number {
  for (;;) {
    if (sc.target === 0) m.vmstat[V.allocstall_movable] += 1;
    do {
      sc.nrScanned = 0;
      if (sc.target === 0 && sc.order > PAGE_ALLOC_COSTLY_ORDER && m.config.thp && compactionReady(m, sc))
        sc.compactionReady = true;
      else shrinkNode(m, sc);
      // Nearly everything has been tried for nothing: what is being written may be all there is to win.
      if (sc.target === 0 && sc.priority === 1 && sc.nrReclaimed === 0) m.io.waitWriteback?.(NO_FOLIO);
      if (sc.nrReclaimed >= sc.nrToReclaim || sc.compactionReady) break;
    } while (--sc.priority >= 0);
    snapshotRefaults(m, sc.target);
    if (sc.nrReclaimed > 0) return sc.nrReclaimed;
    if (sc.compactionReady) return 1;
    sc.priority = DEF_PRIORITY;
    if (!sc.memcgFullWalk) sc.memcgFullWalk = true;
    else if (sc.skippedDeactivate) {
      sc.forceDeactivate = true;
      sc.skippedDeactivate = false;
    } else return 0;
  }
}

function reclaim(m: Machine, sc: ScanControl): number {
  if (m.zones.memalloc) return 0;
  m.zones.memalloc = true;
  try {
    return doTryToFreePages(m, sc);
  } finally {
    m.zones.memalloc = false;
    if (m.swap.zswap.work) zswapShrinkWorker(m);
  }
}

/** Reclaims `nrPages`, at least 32, from a group that is at its limit; returns the pages freed. @kernel mm/vmscan.c try_to_free_mem_cgroup_pages (6.18) */
export function tryToFreeMemCgroupPages(m: Machine, memcg: MemcgId, nrPages: number, gfp: number): number {
  return reclaim(m, scanControl(memcg, Math.max(nrPages, SWAP_CLUSTER_MAX), gfp, 0, false));
}

/** Direct reclaim: an allocation frees 32 pages for itself; returns the pages freed. @kernel mm/vmscan.c try_to_free_pages (6.18) */
export function tryToFreePages(m: Machine, gfp: number, order: number): number {
  return reclaim(m, scanControl(0 as MemcgId, SWAP_CLUSTER_MAX, gfp, order, false));
}

/**
 * An allocation found a zone below its low watermark: kswapd shall work for that order. It is not woken when the node is
 * balanced, or when sixteen runs have freed nothing. @kernel mm/vmscan.c wakeup_kswapd (6.18)
 */
export function wakeupKswapd(m: Machine, zone: number, order: number): void {
  const { node } = m.lruvecs;
  if (m.zones.zone.managed[zone] === 0) return;
  if (node.kswapdZone < zone) node.kswapdZone = zone;
  if (node.kswapdOrder < order) node.kswapdOrder = order;
  if (node.kswapdFailures >= MAX_RECLAIM_RETRIES) return;
  if (pgdatBalanced(m, order, zone) && boosts(m, zone) === 0) return;
  node.kswapdWoken = true;
}

const boosts = (m: Machine, highest: number): number => {
  let sum = 0;
  for (let z = 0; z <= highest; z++) sum += m.zones.zone.boost[z];
  return sum;
};

/** Has some zone its high watermark free, and a block of the order? @kernel mm/vmscan.c pgdat_balanced (6.18) */
function pgdatBalanced(m: Machine, order: number, highest: number): boolean {
  const { zones } = m;
  let managed = false;
  for (let z = 0; z <= highest; z++) {
    if (zones.zone.managed[z] === 0) continue;
    managed = true;
    if (zoneWatermarkOk(zones, z, order, highWmarkPages(zones, z), highest, 0)) return true;
  }
  return !managed;
}

/** kswapd, if it was woken: runs until the node is balanced or nothing helps. @kernel mm/vmscan.c kswapd (6.18) */
export function kswapd(m: Machine): void {
  const { node } = m.lruvecs;
  if (!node.kswapdWoken || m.zones.memalloc) return;
  node.kswapdWoken = false;
  const order = node.kswapdOrder;
  const highest = node.kswapdZone;
  node.kswapdOrder = 0;
  node.kswapdZone = 0;
  m.zones.memalloc = true;
  try {
    let left = order;
    do left = balancePgdat(m, left, highest);
    while (!pgdatBalanced(m, left, highest) && node.kswapdFailures < MAX_RECLAIM_RETRIES);
    node.dirty = false;
    node.writeback = false;
    node.congested = false;
    if (order > 0) wakeupKcompactd(m, order, highest);
  } finally {
    m.zones.memalloc = false;
    if (m.swap.zswap.work) zswapShrinkWorker(m);
  }
}

/**
 * Reclaims from all groups until some zone has its high watermark free; returns the order that it worked for last.
 * @kernel mm/vmscan.c balance_pgdat (6.18)
 */
export function balancePgdat(m: Machine, order: number, highest: number = MAX_NR_ZONES - 1): number {
  const { zones, lruvecs } = m;
  const sc = scanControl(0 as MemcgId, 0, GFP_KERNEL, order, true);
  m.vmstat[V.pageoutrun] += 1;
  const boosted = zones.zone.boost.slice(0, highest + 1);
  let boost = boosts(m, highest);
  for (;;) {
    sc.priority = DEF_PRIORITY;
    do {
      const balanced = pgdatBalanced(m, sc.order, highest);
      if (!balanced && boost > 0) {
        boost = 0;
        sc.priority = DEF_PRIORITY;
        continue;
      }
      if (boost === 0 && balanced) return balanceEnd(m, sc, boosted, highest);
      let raise = !(boost > 0 && sc.priority === DEF_PRIORITY - 2);
      sc.maySwap = boost === 0;
      if (m.lruGen === null && m.swap.totalPages > 0 && listIsLow(m, 0, LRU_INACTIVE_ANON))
        for (let g = 0; g < m.memcgs.nr; g++) shrinkActiveList(m, sc, g as MemcgId, SWAP_CLUSTER_MAX, LRU_ACTIVE_ANON);
      sc.nrScanned = 0;
      const before = sc.nrReclaimed;
      if (kswapdShrinkNode(m, sc, highest)) raise = false;
      const reclaimed = sc.nrReclaimed - before;
      boost -= Math.min(boost, reclaimed);
      if (boost > 0 && reclaimed === 0) break;
      if (raise || reclaimed === 0) sc.priority--;
    } while (sc.priority >= 1);
    if (sc.nrReclaimed > 0 || sc.priority >= 1 || sc.noCacheTrimMode || !sc.cacheTrimModeFailed) break;
    sc.noCacheTrimMode = true;
  }
  if (sc.nrReclaimed === 0) lruvecs.node.kswapdFailures++;
  return balanceEnd(m, sc, boosted, highest);
}

/** Boosts that were worked off go; large blocks may be made from what is free now. */
function balanceEnd(m: Machine, sc: ScanControl, boosted: Int32Array, highest: number): number {
  const { boost } = m.zones.zone;
  let any = false;
  for (let z = 0; z <= highest; z++) {
    if (boosted[z] > 0) any = true;
    boost[z] -= Math.min(boost[z], boosted[z]);
  }
  if (any) wakeupKcompactd(m, m.zones.pageblockOrder, highest);
  snapshotRefaults(m, 0 as MemcgId);
  return sc.order;
}

/** One pass over all groups, for as many pages as the zones' high watermarks. @kernel mm/vmscan.c kswapd_shrink_node (6.18) */
function kswapdShrinkNode(m: Machine, sc: ScanControl, highest: number): boolean {
  const { zones } = m;
  sc.nrToReclaim = 0;
  for (let z = 0; z <= highest; z++)
    if (zones.zone.managed[z] > 0) sc.nrToReclaim += Math.max(highWmarkPages(zones, z), SWAP_CLUSTER_MAX);
  const before = sc.nrReclaimed;
  shrinkNode(m, sc);
  // Enough has been freed for compaction to make the block: single pages are the goal from here.
  if (sc.order > 0 && sc.nrReclaimed >= 2 * 2 ** sc.order) sc.order = 0;
  return Math.max(sc.nrScanned, sc.nrReclaimed - before) >= sc.nrToReclaim;
}
