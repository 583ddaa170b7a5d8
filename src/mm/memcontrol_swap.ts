/**
 * Memory groups and swap, as version 1 keeps them: a page that has been swapped out is remembered as its group's until it is
 * read back or its slot is freed. It does not count towards the limit of memory.
 * @kernel mm/memcontrol-v1.c memcg1_swapout (6.18)
 */
import { folioUnqueueDeferredSplit } from './deferred_split.ts';
import type { FolioId, SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge, memCgroupUncharge } from './memcontrol.ts';
import { folioMemcg, folioNrPages, folioOrder } from './mm_types.ts';

/** A frozen folio leaves memory for swap: its group's usage goes down, its slots are booked. @kernel mm/memcontrol-v1.c memcg1_swapout (6.18) */
export function memcg1Swapout(m: Machine, f: FolioId, entry: SwapEntry): void {
  const g = folioMemcg(m.map, f);
  if (g === 0) return;
  // Its queue is the group's.
  if (folioOrder(m.map, f) > 1) folioUnqueueDeferredSplit(m, f);
  const nr = folioNrPages(m.map, f);
  m.swap.slots.memcg.fill(g, entry, entry + nr);
  m.memcgs.swap[g] += nr;
  memCgroupUncharge(m, f);
}

/** Slots are free, or read back. @kernel mm/memcontrol.c __mem_cgroup_uncharge_swap (6.18) */
export function memCgroupUnchargeSwap(m: Machine, entry: SwapEntry, nr: number): void {
  const { memcg } = m.swap.slots;
  for (let i = entry as number; i < entry + nr; i++) {
    if (memcg[i] === 0) continue;
    m.memcgs.swap[memcg[i]] -= 1;
    memcg[i] = 0;
  }
}

/** Charges a folio for what a slot holds: to the group whose page it was, or to the running task's. @kernel mm/memcontrol.c mem_cgroup_swapin_charge_folio (6.18) */
export function memCgroupSwapinChargeFolio(m: Machine, f: FolioId, gfp: number, entry: SwapEntry): boolean {
  const running = m.currentMemcg;
  const g = m.swap.slots.memcg[entry];
  if (g !== 0) m.currentMemcg = g;
  const charged = memCgroupCharge(m, f, gfp);
  m.currentMemcg = running;
  return charged;
}

/** Pages of the group in the swap cache. @kernel include/linux/memcontrol.h lruvec_stat_mod_folio (6.18) */
export function modSwapcached(m: Machine, f: FolioId, nr: number): void {
  m.memcgs.swapcached[folioMemcg(m.map, f)] += nr;
}
