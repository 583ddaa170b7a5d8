/** A machine with swap, and folios that stand for anonymous memory without page tables: slots are referred to by hand. */
import { GFP_HIGHUSER_MOVABLE } from '../../src/mm/gfp.ts';
import type { FolioId, SwapEntry } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { folioClear, folioSet } from '../../src/mm/mm_types.ts';
import { folioAlloc } from '../../src/mm/page_alloc.ts';
import { PG, PG_swapcache } from '../../src/mm/page_flags.ts';
import { folioPut } from '../../src/mm/swap.ts';
import { swapCacheDelFolio } from '../../src/mm/swap_state.ts';
import { folioSwap, type SwapKind } from '../../src/mm/swap_table.ts';
import { folioAllocSwap, swapDuplicate, swapFree, swapon } from '../../src/mm/swapfile.ts';
import { world } from './page_alloc_world.ts';

/** A machine of 64 MiB with swap devices of so many slots. */
export function swapWorld(...devices: { slots: number; kind?: SwapKind; prio?: number }[]): Machine {
  const m = world(16384);
  for (const d of devices) swapon(m, { kind: d.kind ?? 'ssd', size: d.slots * 4096, prio: d.prio ?? -1 });
  return m;
}

/** A locked anonymous folio of that order with one reference. */
export function anonFolio(m: Machine, order = 0): FolioId {
  const f = folioAlloc(m, GFP_HIGHUSER_MOVABLE, order);
  folioSet(m.map, f, PG.PG_locked | PG.PG_swapbacked | PG.PG_uptodate);
  return f;
}

/** Swaps out a new folio and forgets it: its slots, referred to once each; 0: no room. */
export function swapOut(m: Machine, order = 0): SwapEntry {
  const f = anonFolio(m, order);
  const done = folioAllocSwap(m, f);
  const entry = done ? folioSwap(m, f) : (0 as SwapEntry);
  if (done) {
    for (let i = 0; i < 1 << order; i++) swapDuplicate(m, (entry + i) as SwapEntry);
    swapCacheDelFolio(m, f);
  }
  folioClear(m.map, f, PG.PG_locked | PG_swapcache);
  folioPut(m, f);
  return entry;
}

export const release = (m: Machine, entry: number, nr = 1): void => swapFree(m, entry as SwapEntry, nr);
