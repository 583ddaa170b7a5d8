/**
 * Shrinkers: caches that give some back at each step of a reclaim. Modelled are the huge zero folio, large folios that are worth splitting
 * (deferred_split.ts), compressed pages (zswap.ts), and nodes of the page cache that hold nothing but shadows.
 */
import { xaDropShadowNode } from '../base/xarray_node.ts';
import { deferredSplitScan } from './deferred_split.ts';
import { shrinkHugeZeroFolioCount, shrinkHugeZeroFolioScan } from './huge_memory_anon.ts';
import type { MemcgId } from './ids.ts';
import type { Machine } from './machine.ts';
import { lruvecPageState, memcgChargeNodes, slabPageState } from './memcontrol.ts';
import { NR_LRU_LISTS } from './mm_inline.ts';
import { V } from './vmstat.ts';
import { countShadowNodes } from './workingset.ts';
import { zswapShrinkSlab } from './zswap.ts';

/** @kernel mm/shrinker.c SHRINK_BATCH (6.18) */
const SHRINK_BATCH = 128;

/** What one call of a shrinker comes to. */
export interface ShrinkPlan {
  /** Objects to look at, in portions of 128. */
  scan: number;
  /** Objects put off to the next call. */
  deferred: number;
}

/**
 * How many of `freeable` objects to look at. Objects that cost no I/O to make again (seeks 0) lose half; others a share by
 * priority. What is too little for a portion of 128 is put off. @kernel mm/shrinker.c do_shrink_slab (6.18)
 */
export function doShrinkSlab(freeable: number, deferred: number, priority: number, seeks: number): ShrinkPlan {
  if (freeable === 0) return { scan: 0, deferred };
  const delta = seeks === 0 ? Math.floor(freeable / 2) : Math.floor((Math.floor(freeable / 2 ** priority) * 4) / seeks);
  let total = Math.min(Math.floor(deferred / 2 ** priority) + delta, 2 * freeable);
  let scan = 0;
  while (total >= SHRINK_BATCH || (total >= freeable && total > 0)) {
    const portion = Math.min(SHRINK_BATCH, total);
    total -= portion;
    scan += portion;
  }
  return { scan, deferred: Math.min(Math.max(deferred + delta - scan, 0), 2 * freeable) };
}

/** Lets the shrinkers of a group work; those that know no groups work for the root. @kernel mm/shrinker.c shrink_slab (6.18) */
export function shrinkSlab(m: Machine, memcg: MemcgId, priority: number): void {
  if (memcg === 0 && m.thp.hugeZeroRefs === 1) shrinkHugeZero(m, priority);
  if (m.lruvecs.deferredLength[memcg] > 0) shrinkDeferredSplit(m, memcg, priority);
  if (m.swap.zswap.everEnabled) zswapShrinkSlab(m, memcg, priority);
  shrinkShadowNodes(m, memcg, priority);
}

/** The huge zero folio, when no address space has it: all of it at the first portion. @kernel mm/huge_memory.c shrink_huge_zero_folio_scan (6.18) */
function shrinkHugeZero(m: Machine, priority: number): void {
  const { thp } = m;
  // @kernel include/linux/shrinker.h DEFAULT_SEEKS (6.18)
  const plan = doShrinkSlab(shrinkHugeZeroFolioCount(m), thp.hugeZeroDeferred, priority, 2);
  thp.hugeZeroDeferred = plan.deferred;
  if (plan.scan === 0) return;
  m.vmstat[V.slabs_scanned] += plan.scan;
  shrinkHugeZeroFolioScan(m);
}

/** Splits large folios that are queued for it, first come, first served. @kernel mm/huge_memory.c deferred_split_count (6.18) */
function shrinkDeferredSplit(m: Machine, memcg: MemcgId, priority: number): void {
  const { lruvecs: t } = m;
  const freeable = t.deferredLength[memcg];
  // @kernel include/linux/shrinker.h DEFAULT_SEEKS (6.18)
  const plan = doShrinkSlab(freeable, t.splitDeferred[memcg], priority, 2);
  let left = plan.scan;
  for (; left > 0; left -= SHRINK_BATCH) {
    if (deferredSplitScan(m, memcg, Math.min(left, SHRINK_BATCH)) < 0) break;
    m.vmstat[V.slabs_scanned] += Math.min(left, SHRINK_BATCH);
  }
  t.splitDeferred[memcg] = Math.min(plan.deferred + Math.max(left, 0), 2 * freeable);
}

/** Page-cache nodes with nothing but shadows go, longest on the list first, and their shadows with them. @kernel mm/workingset.c scan_shadow_nodes (6.18) */
function shrinkShadowNodes(m: Machine, memcg: MemcgId, priority: number): void {
  const { lruvecs: t, pages } = m;
  if (memcg >= pages.tags.rows || pages.tags.shadow[memcg] === 0) return;
  let has = slabPageState(m, memcg);
  for (let lru = 0; lru < NR_LRU_LISTS; lru++) has += lruvecPageState(m, memcg, lru);
  const plan = doShrinkSlab(countShadowNodes(pages.tags.shadow[memcg], has), t.shadowDeferred[memcg], priority, 0);
  t.shadowDeferred[memcg] = plan.deferred;
  if (plan.scan === 0) return;
  m.vmstat[V.slabs_scanned] += plan.scan;
  for (let i = 0; i < plan.scan && xaDropShadowNode(pages, m.spaces.head, memcg); i++)
    m.vmstat[V.workingset_nodereclaim]++;
  memcgChargeNodes(m);
}
