/**
 * Freeing memory that holds bad pages. A bad page never goes back to the allocator: it keeps its mark, belongs to nobody and
 * is lost. What lies around it is freed in the largest pieces that are whole.
 *
 *   [ g g b g | g g g g ]   →   free: 2, 1, 4 pages; lost: 1
 *
 * Differs: 6.18 keeps a bad page of order 0 back, but frees a larger block whole, and passes over the bad page when it would
 * be handed out, where such checks are on.
 *
 * @kernel mm/page_alloc.c free_pages_prepare (6.18)
 */
import type { FolioId, Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { clearCompoundPage, folioTest, initFolio } from './mm_types.ts';
import { pageZone } from './mmzone.ts';
import { freeFrozenPageCommit } from './page_alloc_pcp.ts';
import { PG } from './page_flags.ts';
import { pageFlag, setPageFlag } from './page_type.ts';
import { V } from './vmstat.ts';

/** Frees a block of 2^order pages that nobody refers to, its bad pages left out. */
export function freeHwpoisonedPages(m: Machine, pfn: Pfn, order: number): void {
  const { map } = m;
  const bad: Pfn[] = [];
  for (let p = pfn; p < pfn + 2 ** order; p = (p + 1) as Pfn) if (pageFlag(map, p, PG.PG_hwpoison)) bad.push(p);
  if (order > 0 && folioTest(map, pfn as number as FolioId, PG.PG_head)) clearCompoundPage(map, pfn, order);
  initFolio(map, pfn as number as FolioId);
  for (const p of bad) {
    initFolio(map, p as number as FolioId);
    setPageFlag(map, p, PG.PG_hwpoison);
  }
  m.vmstat[V.pgfree] += 2 ** order - bad.length;
  freeAround(m, pfn, order, bad);
}

function freeAround(m: Machine, pfn: Pfn, order: number, bad: readonly Pfn[]): void {
  const inside = bad.filter((p) => p >= pfn && p < pfn + 2 ** order);
  if (inside.length === 0) {
    freeFrozenPageCommit(m, pageZone(m.zones, pfn), pfn, order);
    return;
  }
  if (order === 0) return;
  freeAround(m, pfn, order - 1, inside);
  freeAround(m, (pfn + 2 ** (order - 1)) as Pfn, order - 1, inside);
}
