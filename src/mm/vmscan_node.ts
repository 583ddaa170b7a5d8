/**
 * How much of each list a reclaim looks at.
 *
 * Inactive lists are always scanned. An active list is, when it has outgrown the inactive one, or when folios were
 * activated by refault since the last reclaim: then a new working set is being made and the old one must move. Lists are
 * scanned by their share of the priority, in rounds of 32 pages a list.
 */
import { compactionSuitable } from './compaction.ts';
import { type MemcgId, NO_FOLIO } from './ids.ts';
import { lruGenShrinkLruvec, lruGenShrinkNode } from './lru_gen_evict.ts';
import type { Machine } from './machine.ts';
import { lruvecActivated, lruvecPageState, memCgroupFlushStats } from './memcontrol.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, NR_LRU_LISTS } from './mm_inline.ts';
import { MAX_NR_ZONES, PAGE_ALLOC_COSTLY_ORDER } from './mmzone.ts';
import { highWmarkPages, minWmarkPages, zoneWatermarkOk } from './page_alloc_watermark.ts';
import {
  DEACTIVATE_ANON,
  DEACTIVATE_FILE,
  type ScanControl,
  shrinkActiveList,
  shrinkInactiveList,
} from './vmscan_lists.ts';
import { shrinkSlab } from './vmscan_slab.ts';
import { V } from './vmstat.ts';
import { SWAP_CLUSTER_MAX } from './workingset.ts';

/** @kernel include/linux/mmzone.h DEF_PRIORITY (6.18) */
export const DEF_PRIORITY = 12;

/**
 * Has the active list outgrown the inactive one? Equal halves below 1 GiB; √(10·GiB) times as much above.
 * @kernel mm/vmscan.c inactive_is_low (6.18)
 */
export function inactiveIsLow(inactive: number, active: number, pageSize: number): boolean {
  const gb = Math.floor(((inactive + active) * pageSize) / 2 ** 30);
  const ratio = gb > 0 ? Math.floor(Math.sqrt(10 * gb)) : 1;
  return inactive * ratio < active;
}

/** The same for a list of a group. */
export const listIsLow = (m: Machine, g: number, inactive: number): boolean =>
  inactiveIsLow(lruvecPageState(m, g, inactive), lruvecPageState(m, g, inactive + 1), m.config.pageSize);

/** Decides, for one round, what may be deactivated and whether files are enough. @kernel mm/vmscan.c prepare_scan_control (6.18) */
export function prepareScanControl(m: Machine, sc: ScanControl): void {
  const { lruvecs: t, vmstat, zones } = m;
  const g = sc.target;
  if (m.release.memcgStatsFlush === 'reclaim') memCgroupFlushStats(m);
  sc.anonCost = t.anonCost[g];
  sc.fileCost = t.fileCost[g];
  if (sc.forceDeactivate) sc.mayDeactivate = DEACTIVATE_ANON | DEACTIVATE_FILE;
  else {
    sc.mayDeactivate = 0;
    if (lruvecActivated(m, g, false) !== t.refaultsAnon[g] || listIsLow(m, g, LRU_INACTIVE_ANON))
      sc.mayDeactivate |= DEACTIVATE_ANON;
    if (lruvecActivated(m, g, true) !== t.refaultsFile[g] || listIsLow(m, g, LRU_INACTIVE_FILE))
      sc.mayDeactivate |= DEACTIVATE_FILE;
  }
  sc.cacheTrimMode =
    lruvecPageState(m, g, LRU_INACTIVE_FILE) >= 1 << sc.priority &&
    (sc.mayDeactivate & DEACTIVATE_FILE) === 0 &&
    !sc.noCacheTrimMode;
  if (g !== 0) return;
  let free = 0;
  let high = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    free += zones.zone.free[z];
    if (zones.zone.managed[z] > 0) high += highWmarkPages(zones, z);
  }
  const file = vmstat[V.nr_inactive_file] + vmstat[V.nr_active_file];
  sc.fileIsTiny =
    file + free <= high && (sc.mayDeactivate & DEACTIVATE_ANON) === 0 && vmstat[V.nr_inactive_anon] >= 1 << sc.priority;
}

/**
 * How pressure is shared: [anonymous, file], relative to each other, from the swappiness and what reclaiming each kind
 * has cost of late. @kernel mm/vmscan.c calculate_pressure_balance (6.18)
 */
export function calculatePressureBalance(swappiness: number, anonCost: number, fileCost: number): [number, number] {
  const sum = anonCost + fileCost;
  const ac = sum + anonCost;
  const fc = sum + fileCost;
  const total = ac + fc;
  const ap = Math.floor((swappiness * (total + 1)) / (ac + 1));
  const fp = Math.floor(((200 - swappiness) * (total + 1)) / (fc + 1));
  return [ap, fp];
}

/** Where `lruvecs.scan` keeps the shares as they were at first. */
const TARGETS = 5;

const SCAN_EQUAL = 0;
const SCAN_FRACT = 1;
const SCAN_ANON = 2;
const SCAN_FILE = 3;

function scanBalance(m: Machine, sc: ScanControl, swappiness: number): number {
  if (!sc.maySwap || m.lruvecs.node.swapPages === 0) return SCAN_FILE;
  if (sc.target !== 0 && swappiness === 0) return SCAN_FILE;
  if (sc.priority === 0 && swappiness !== 0) return SCAN_EQUAL;
  if (sc.fileIsTiny) return SCAN_ANON;
  if (sc.cacheTrimMode) return SCAN_FILE;
  return SCAN_FRACT;
}

/** Pages to scan of each of the four evictable lists, into `lruvecs.scan`. @kernel mm/vmscan.c get_scan_count (6.18) */
export function getScanCount(m: Machine, sc: ScanControl, memcg: MemcgId): void {
  const swappiness = memcg === 0 ? m.config.swappiness : m.memcgs.swappiness[memcg];
  const balance = scanBalance(m, sc, swappiness);
  let ap = 0;
  let fp = 0;
  if (balance === SCAN_FRACT) [ap, fp] = calculatePressureBalance(swappiness, sc.anonCost, sc.fileCost);
  for (let lru = LRU_INACTIVE_ANON; lru <= LRU_ACTIVE_FILE; lru++) {
    const file = lru >= LRU_INACTIVE_FILE;
    let scan = Math.floor(m.lruvecs.pages[memcg * NR_LRU_LISTS + lru] / (1 << sc.priority));
    if (balance === SCAN_FRACT) scan = Math.floor((scan * (file ? fp : ap)) / (ap + fp));
    else if (balance === (file ? SCAN_ANON : SCAN_FILE)) scan = 0;
    m.lruvecs.scan[lru] = scan;
  }
}

/** Scans the lists of one group, in rounds of 32 pages a list. @kernel mm/vmscan.c shrink_lruvec (6.18) */
export function shrinkLruvec(m: Machine, sc: ScanControl, memcg: MemcgId): void {
  if (m.lruGen !== null) {
    lruGenShrinkLruvec(m, sc, memcg);
    return;
  }
  getScanCount(m, sc, memcg);
  // The lists' shares as they were at first stay behind those that are being worked off.
  const nr = m.lruvecs.scan;
  for (let lru = LRU_INACTIVE_ANON; lru <= LRU_ACTIVE_FILE; lru++) nr[TARGETS + lru] = nr[lru];
  const proportional = sc.target === 0 && !sc.kswapd && sc.priority === DEF_PRIORITY;
  let reclaimed = 0;
  while (nr[LRU_INACTIVE_ANON] > 0 || nr[LRU_ACTIVE_FILE] > 0 || nr[LRU_INACTIVE_FILE] > 0) {
    for (let lru = LRU_INACTIVE_ANON; lru <= LRU_ACTIVE_FILE; lru++) {
      if (nr[lru] === 0) continue;
      const want = Math.min(nr[lru], SWAP_CLUSTER_MAX);
      nr[lru] -= want;
      reclaimed += shrinkList(m, sc, memcg, want, lru);
    }
    if (reclaimed < sc.nrToReclaim || proportional) continue;
    const file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE];
    const anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON];
    if (file === 0 || anon === 0) break;
    // The kind with less left is dropped, the other one goes on to the share that the first has reached.
    const small = file > anon ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE;
    const wanted = nr[TARGETS + small] + nr[TARGETS + small + 1] + 1;
    const left = Math.floor(((file > anon ? anon : file) * 100) / wanted);
    nr[small] = 0;
    nr[small + 1] = 0;
    const other = LRU_INACTIVE_FILE - small;
    for (let lru = other; lru <= other + 1; lru++) {
      const target = nr[TARGETS + lru];
      const done = target - nr[lru];
      nr[lru] = Math.max(Math.floor((target * (100 - left)) / 100) - done, 0);
    }
  }
  sc.nrReclaimed += reclaimed;
  if (m.swap.totalPages > 0 && listIsLow(m, memcg, LRU_INACTIVE_ANON))
    shrinkActiveList(m, sc, memcg, SWAP_CLUSTER_MAX, LRU_ACTIVE_ANON);
}

/** @kernel mm/vmscan.c shrink_list (6.18) */
function shrinkList(m: Machine, sc: ScanControl, memcg: MemcgId, want: number, lru: number): number {
  if (lru === LRU_INACTIVE_ANON || lru === LRU_INACTIVE_FILE) return shrinkInactiveList(m, sc, memcg, want, lru);
  if ((sc.mayDeactivate & (lru === LRU_ACTIVE_FILE ? DEACTIVATE_FILE : DEACTIVATE_ANON)) !== 0)
    shrinkActiveList(m, sc, memcg, want, lru);
  else sc.skippedDeactivate = true;
  return 0;
}

function shrinkGroup(m: Machine, sc: ScanControl, memcg: MemcgId): void {
  shrinkLruvec(m, sc, memcg);
  shrinkSlab(m, memcg, sc.priority);
}

/**
 * All groups below the target. Direct reclaim of the machine goes on where the last one stopped and ends at its goal.
 * @kernel mm/vmscan.c shrink_node_memcgs (6.18)
 */
function shrinkNodeMemcgs(m: Machine, sc: ScanControl): void {
  if (sc.target !== 0) {
    shrinkGroup(m, sc, sc.target);
    return;
  }
  const { node } = m.lruvecs;
  const { nr } = m.memcgs;
  const partial = !sc.kswapd && !sc.memcgFullWalk;
  // A partial walk that reaches the last group ends there; the next one starts over.
  for (let g = partial ? node.iterator : 0; g < nr; g++) {
    shrinkGroup(m, sc, g as MemcgId);
    if (partial) node.iterator = (g + 1) % nr;
    if (partial && sc.nrReclaimed >= sc.nrToReclaim) return;
  }
}

/** One round over the node, repeated while reclaim works for compaction. @kernel mm/vmscan.c shrink_node (6.18) */
export function shrinkNode(m: Machine, sc: ScanControl): void {
  const { node } = m.lruvecs;
  let reclaimable = false;
  if (sc.priority < node.lowestPriority) node.lowestPriority = sc.priority;
  if (m.lruGen !== null && sc.target === 0) {
    sc.unqueuedDirty = sc.fileTaken = 0;
    lruGenShrinkNode(m, sc);
    return;
  }
  for (;;) {
    sc.dirty = sc.unqueuedDirty = sc.congested = sc.writeback = sc.immediate = sc.taken = sc.fileTaken = 0;
    const before = sc.nrReclaimed;
    prepareScanControl(m, sc);
    shrinkNodeMemcgs(m, sc);
    const reclaimed = sc.nrReclaimed - before;
    if (reclaimed > 0) reclaimable = true;
    if (sc.kswapd) {
      if (sc.writeback > 0 && sc.writeback === sc.taken) node.writeback = true;
      if (sc.unqueuedDirty > 0 && sc.unqueuedDirty === sc.fileTaken) node.dirty = true;
      if (sc.immediate > 0) m.io.waitWriteback?.(NO_FOLIO);
      if (sc.dirty > 0 && sc.dirty === sc.congested) node.congested = true;
    }
    if (!sc.kswapd && sc.target === 0 && node.congested) m.io.waitWriteback?.(NO_FOLIO);
    if (!shouldContinueReclaim(m, sc, reclaimed)) break;
  }
  if (reclaimable) node.kswapdFailures = 0;
  else if (sc.cacheTrimMode) sc.cacheTrimModeFailed = true;
}

/** Reclaim for a large block goes on until compaction has room to work. @kernel mm/vmscan.c should_continue_reclaim (6.18) */
function shouldContinueReclaim(m: Machine, sc: ScanControl, reclaimed: number): boolean {
  const forCompaction =
    sc.order > 0 && (sc.order > PAGE_ALLOC_COSTLY_ORDER || sc.priority < DEF_PRIORITY - 2) && m.config.thp;
  if (!forCompaction || reclaimed === 0) return false;
  const { zones } = m;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    if (zones.zone.managed[z] === 0) continue;
    const mark = minWmarkPages(zones, z);
    if (zoneWatermarkOk(zones, z, sc.order, mark, MAX_NR_ZONES - 1, 0)) return false;
    if (compactionSuitable(m, z, sc.order, mark, MAX_NR_ZONES - 1)) return false;
  }
  let inactive = m.vmstat[V.nr_inactive_file];
  if (m.lruvecs.node.swapPages > 0) inactive += m.vmstat[V.nr_inactive_anon];
  return inactive > 2 * 2 ** sc.order;
}
