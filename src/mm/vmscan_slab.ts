/**
 * Shrinkers: caches of kernel objects that give some back at each step of a reclaim. One is modelled: nodes of the page
 * cache that hold nothing but shadows.
 */
import { xaDropShadowNode } from '../base/xarray_node.ts';
import type { MemcgId } from './ids.ts';
import type { Machine } from './machine.ts';
import { lruvecPageState, memcgChargeNodes, slabPageState } from './memcontrol.ts';
import { NR_LRU_LISTS } from './swap.ts';
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

/**
 * Lets the shrinkers of a group work: page-cache nodes with nothing but shadows go, longest on the list first, and their
 * shadows with them. @kernel mm/shrinker.c shrink_slab_memcg (6.18)
 */
export function shrinkSlab(m: Machine, memcg: MemcgId, priority: number): void {
  if (m.swap.zswap.everEnabled) zswapShrinkSlab(m, memcg, priority);
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
