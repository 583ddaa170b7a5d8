/**
 * Finding free slots for a folio: a run of 2^order, aligned to its size, inside one cluster.
 *
 *   this CPU's cluster of the order ─► nonfull clusters of the order ─► a free one ─► the first fragmented one
 *                                                         order 0 alone: clusters of other orders
 *
 * A cluster belongs to the order of the first entry that was put into it, until it is empty. One that was searched goes to the
 * list of fragmented ones, or of full ones; one that gets a slot back goes to the nonfull ones.
 *
 * Invariants (checkSwap, S1 to S3): see swap_table_check.ts.
 * @kernel mm/swapfile.c cluster_alloc_swap_entry (6.18)
 */
import { __GFP_HIGH, __GFP_NOMEMALLOC, __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL } from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { allocPages, freePages } from './page_alloc.ts';
import {
  CLUSTER_FLAG_FRAG,
  CLUSTER_FLAG_FREE,
  CLUSTER_FLAG_FULL,
  CLUSTER_FLAG_NONE,
  CLUSTER_FLAG_NONFULL,
  LIST_FREE,
  LIST_FULL,
  listFrag,
  listNonfull,
  SWAP_HAS_CACHE,
  type SwapDevice,
} from './swap_table.ts';
import { TTRS_ANYWAY, tryToReclaimSwap, vmSwapFull } from './swapfile.ts';

/** The list that a cluster's flag and order say. */
const listOf = (flag: number, order: number): number =>
  flag === CLUSTER_FLAG_FREE
    ? LIST_FREE
    : flag === CLUSTER_FLAG_FULL
      ? LIST_FULL
      : flag === CLUSTER_FLAG_NONFULL
        ? listNonfull(order)
        : listFrag(order);

function unlink(m: Machine, d: SwapDevice, ci: number): void {
  const t = m.swap.clusters;
  const list = listOf(t.flag[ci], t.order[ci]);
  const next = t.next[ci];
  const prev = t.prev[ci];
  if (next !== 0) t.prev[next - 1] = prev;
  else d.tail[list] = prev;
  if (prev !== 0) t.next[prev - 1] = next;
  else d.head[list] = next;
  t.next[ci] = 0;
  t.prev[ci] = 0;
  t.flag[ci] = CLUSTER_FLAG_NONE;
}

/** To the end of a list. @kernel mm/swapfile.c move_cluster (6.18) */
export function moveCluster(m: Machine, d: SwapDevice, ci: number, flag: number): void {
  const t = m.swap.clusters;
  if (t.flag[ci] !== CLUSTER_FLAG_NONE) unlink(m, d, ci);
  t.flag[ci] = flag;
  const list = listOf(flag, t.order[ci]);
  const last = d.tail[list];
  t.prev[ci] = last;
  t.next[ci] = 0;
  if (last !== 0) t.next[last - 1] = ci + 1;
  else d.head[list] = ci + 1;
  d.tail[list] = ci + 1;
}

/** The first cluster of a list, taken off it, with a page for its table; −1: there is none, or no memory. @kernel mm/swapfile.c isolate_lock_cluster (6.18) */
function isolateCluster(m: Machine, d: SwapDevice, list: number): number {
  const ci = d.head[list] - 1;
  if (ci < 0) return -1;
  unlink(m, d, ci);
  const t = m.swap.clusters;
  if (t.table[ci] === 0 && !swapTableAlloc(m, ci)) {
    moveCluster(m, d, ci, CLUSTER_FLAG_FREE);
    return -1;
  }
  return ci;
}

/** The words of a cluster's swap table take just a page. @kernel mm/swapfile.c swap_cluster_alloc_table (6.18) */
export function swapTableAlloc(m: Machine, ci: number): boolean {
  let pfn = allocPages(m, __GFP_HIGH | __GFP_NOMEMALLOC | __GFP_NOWARN | __GFP_ZERO, 0);
  if (pfn === NO_PFN) pfn = allocPages(m, __GFP_HIGH | __GFP_NOMEMALLOC | GFP_KERNEL | __GFP_ZERO, 0);
  m.swap.clusters.table[ci] = pfn;
  return pfn !== NO_PFN;
}

/** An empty cluster is free for any order. @kernel mm/swapfile.c free_cluster (6.18) */
export function freeCluster(m: Machine, d: SwapDevice, ci: number): void {
  const t = m.swap.clusters;
  freePages(m, t.table[ci] as Pfn, 0);
  t.table[ci] = 0;
  moveCluster(m, d, ci, CLUSTER_FLAG_FREE);
  t.order[ci] = 0;
}

/** A slot was freed. @kernel mm/swapfile.c partial_free_cluster (6.18) */
export function partialFreeCluster(m: Machine, d: SwapDevice, ci: number): void {
  if (m.swap.clusters.flag[ci] !== CLUSTER_FLAG_NONFULL) moveCluster(m, d, ci, CLUSTER_FLAG_NONFULL);
}

/** After a search. @kernel mm/swapfile.c relocate_cluster (6.18) */
function relocateCluster(m: Machine, d: SwapDevice, ci: number): void {
  const t = m.swap.clusters;
  const flag = t.flag[ci];
  if (t.count[ci] === 0) {
    if (flag !== CLUSTER_FLAG_FREE) freeCluster(m, d, ci);
  } else if (t.count[ci] !== 1 << m.swap.clusterOrder) {
    if (flag !== CLUSTER_FLAG_FRAG) moveCluster(m, d, ci, CLUSTER_FLAG_FRAG);
  } else if (flag !== CLUSTER_FLAG_FULL) moveCluster(m, d, ci, CLUSTER_FLAG_FULL);
}

/** May entries of that order be put into it? @kernel mm/swapfile.c cluster_is_usable (6.18) */
function clusterIsUsable(m: Machine, ci: number, order: number): boolean {
  const t = m.swap.clusters;
  if (t.flag[ci] > CLUSTER_FLAG_FRAG || t.table[ci] === 0) return false;
  return order === 0 || t.count[ci] === 0 || order === t.order[ci];
}

const RANGE_USED = 0;
const RANGE_FREE = 1;
/** Free but for slots that the swap cache alone holds. */
const RANGE_CACHED = 2;

/** @kernel mm/swapfile.c cluster_scan_range (6.18) */
function clusterScanRange(m: Machine, ci: number, start: number, nr: number): number {
  if (m.swap.clusters.count[ci] === 0) return RANGE_FREE;
  const { map } = m.swap.slots;
  let result = RANGE_FREE;
  for (let i = start; i < start + nr; i++) {
    const count = map[i];
    if (count === 0) continue;
    if (count !== SWAP_HAS_CACHE || !vmSwapFull(m)) return RANGE_USED;
    result = RANGE_CACHED;
  }
  return result;
}

/** Drops folios from the swap cache that stand in the way; is the run free now? @kernel mm/swapfile.c cluster_reclaim_range (6.18) */
function clusterReclaimRange(m: Machine, start: number, nr: number): boolean {
  const { map } = m.swap.slots;
  for (let at = start; at < start + nr; ) {
    if (map[at] === 0) at++;
    else if (map[at] === SWAP_HAS_CACHE) {
      const n = tryToReclaimSwap(m, at, TTRS_ANYWAY);
      if (n <= 0) break;
      at += n;
    } else break;
  }
  for (let i = start; i < start + nr; i++) if (map[i] !== 0) return false;
  return true;
}

/** @kernel mm/swapfile.c cluster_alloc_range (6.18) */
function clusterAllocRange(m: Machine, d: SwapDevice, ci: number, start: number, order: number): void {
  const s = m.swap;
  const nr = 1 << order;
  if (s.clusters.count[ci] === 0) s.clusters.order[ci] = order;
  s.slots.map.fill(SWAP_HAS_CACHE, start, start + nr);
  s.clusters.count[ci] += nr;
  d.inuse += nr;
  m.lruvecs.node.swapPages -= nr;
  if (d.inuse === d.pages) {
    d.offlist = true;
    s.avail.splice(s.avail.indexOf(d), 1);
    if (vmSwapFull(m)) d.reclaimWork = true;
  }
}

/** A run of 2^order slots in a cluster that is on no list or in use by this CPU, from a slot on; 0: none. @kernel mm/swapfile.c alloc_swap_scan_cluster (6.18) */
function allocSwapScanCluster(m: Machine, d: SwapDevice, ci: number, from: number, order: number): number {
  const s = m.swap;
  const { count } = s.clusters;
  const size = 1 << s.clusterOrder;
  const nr = 1 << order;
  const start = ci * size;
  const last = Math.min(start + size, d.base + d.max) - nr;
  let found = 0;
  let next = 0;
  if (count[ci] + nr <= size)
    for (let at = from; at <= last; at += nr) {
      const range = clusterScanRange(m, ci, at, nr);
      if (range === RANGE_USED) continue;
      if (range === RANGE_CACHED) {
        const free = clusterReclaimRange(m, at, nr);
        if (!clusterIsUsable(m, ci, order)) break;
        if (count[ci] === 0) at = start;
        if (!free) continue;
      }
      clusterAllocRange(m, d, ci, at, order);
      found = at;
      if (count[ci] < size && at + nr <= last) next = at + nr;
      break;
    }
  relocateCluster(m, d, ci);
  if (d.solidstate) s.percpu[order] = next;
  else d.next[order] = next;
  return found;
}

/** @kernel mm/swapfile.c alloc_swap_scan_list (6.18) */
function allocSwapScanList(m: Machine, d: SwapDevice, list: number, order: number, all: boolean): number {
  do {
    const ci = isolateCluster(m, d, list);
    if (ci < 0) break;
    const found = allocSwapScanCluster(m, d, ci, ci << m.swap.clusterOrder, order);
    if (found !== 0) return found;
  } while (all);
  return 0;
}

/** Frees slots of full clusters that the swap cache alone holds. @kernel mm/swapfile.c swap_reclaim_full_clusters (6.18) */
export function swapReclaimFullClusters(m: Machine, d: SwapDevice, force: boolean): void {
  const s = m.swap;
  const size = 1 << s.clusterOrder;
  let scan = force ? Math.floor(d.inuse / size) : 1;
  for (let ci = isolateCluster(m, d, LIST_FULL); ci >= 0; ci = isolateCluster(m, d, LIST_FULL)) {
    const end = Math.min((ci + 1) * size, d.base + d.max);
    scan--;
    for (let at = ci * size; at < end; ) {
      const n = s.slots.map[at] === SWAP_HAS_CACHE ? tryToReclaimSwap(m, at, TTRS_ANYWAY) : 0;
      at += n === 0 ? 1 : Math.abs(n);
    }
    if (s.clusters.flag[ci] === CLUSTER_FLAG_NONE) relocateCluster(m, d, ci);
    if (scan <= 0) break;
  }
}

/** A run of 2^order slots on a device; 0: none. @kernel mm/swapfile.c cluster_alloc_swap_entry (6.18) */
export function clusterAllocSwapEntry(m: Machine, d: SwapDevice, order: number): number {
  if (order > 0 && !d.blkdev) return 0;
  if (!d.solidstate) {
    const found = fromHint(m, d, d.next[order], order);
    if (found !== 0) return found;
  }
  const { clusterOrder } = m.swap;
  let found = 0;
  if (order < clusterOrder) found = allocSwapScanList(m, d, listNonfull(order), order, true);
  if (found === 0) found = allocSwapScanList(m, d, LIST_FREE, order, false);
  if (found !== 0) return found;
  if (vmSwapFull(m)) swapReclaimFullClusters(m, d, false);
  if (order < clusterOrder) found = allocSwapScanList(m, d, listFrag(order), order, false);
  if (found !== 0 || order > 0) return found;
  for (let o = 1; o <= clusterOrder; o++) {
    found = allocSwapScanList(m, d, listFrag(o), 0, true);
    if (found === 0) found = allocSwapScanList(m, d, listNonfull(o), 0, true);
    if (found !== 0) return found;
  }
  return 0;
}

/** From where the last search of the order ended. */
export function fromHint(m: Machine, d: SwapDevice, hint: number, order: number): number {
  if (hint === 0) return 0;
  const ci = hint >>> m.swap.clusterOrder;
  if (!clusterIsUsable(m, ci, order)) return 0;
  const from = m.swap.clusters.count[ci] === 0 ? ci << m.swap.clusterOrder : hint;
  return allocSwapScanCluster(m, d, ci, from, order);
}
