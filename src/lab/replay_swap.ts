/** Swap space of a replay, and what became of it. */
import type { Machine } from '../mm/machine.ts';
import { swapon } from '../mm/swapfile.ts';
import { zswapEnable } from '../mm/zswap.ts';
import type { SwapSetting } from './settings.ts';

/** Gives the machine the swap that the settings ask for. */
export function setupSwap(m: Machine, swap: SwapSetting | null): void {
  if (swap === null) return;
  swapon(m, { kind: swap.kind, size: swap.size, prio: -1 });
  m.swap.zswap.ratio = swap.ratio;
  if (swap.zswap) zswapEnable(m, true);
  if (swap.data) m.contents = true;
}

/** Swap at the end of a replay. Pages, and of pools their pages of memory. */
export interface SwapSummary {
  total: number;
  free: number;
  /** In the swap cache: in memory, and with a slot. */
  cached: number;
  zswap_stored: number;
  zswap_pool: number;
  zswap_limit_hit: number;
  zswap_reject_alloc: number;
  zram_pool: number;
}

export function swapSummary(m: Machine): SwapSummary | null {
  const { swap } = m;
  if (swap.totalPages === 0) return null;
  const z = swap.zswap;
  let cached = 0;
  for (let g = 0; g < m.memcgs.nr; g++) cached += m.memcgs.swapcached[g] as number;
  return {
    total: swap.totalPages,
    free: m.lruvecs.node.swapPages,
    cached,
    zswap_stored: z.storedPages,
    zswap_pool: z.pool?.pagesAllocated ?? 0,
    zswap_limit_hit: z.poolLimitHit,
    zswap_reject_alloc: z.rejectAllocFail,
    zram_pool: swap.zram?.pagesAllocated ?? 0,
  };
}
