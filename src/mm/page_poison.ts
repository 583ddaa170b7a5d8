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

import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { pageblockType, pageZone } from './mmzone.ts';
import { accountFreepages, delFromFreeList, freeOnePage, reachTo } from './page_alloc_buddy.ts';
import { freeFrozenPageCommit } from './page_alloc_pcp.ts';
import { PG } from './page_flags.ts';
import { buddyOrder, pageBuddy } from './page_free.ts';
import { folioHasHwpoisoned, pageFlag, pageOrder, pagesInit, setFolioHasHwpoisoned, setPageFlag } from './page_type.ts';
import { V } from './vmstat.ts';

/** Frees a block of 2^order pages that were taken apart, and that nobody refers to, its bad pages left out. */
export function freePagesBut(m: Machine, pfn: Pfn, order: number, bad: readonly Pfn[]): void {
  const { map } = m;
  for (const p of bad) {
    pagesInit(map, p, 0, true);
    setPageFlag(map, p, PG.PG_hwpoison);
  }
  m.vmstat[V.pgfree] += 2 ** order - bad.length;
  freeAround(m, pfn, order, bad);
}

function pagesWithFlag(m: Machine, pfn: Pfn, order: number): Pfn[] {
  const bad: Pfn[] = [];
  for (let p = pfn; p < pfn + 2 ** order; p = (p + 1) as Pfn) if (pageFlag(m.map, p, PG.PG_hwpoison)) bad.push(p);
  return bad;
}

const NONE: readonly Pfn[] = [];
/** The bad pages of a folio that is about to be taken apart. */
export const hwpoisonedPages = (m: Machine, pfn: Pfn, order: number): readonly Pfn[] =>
  order === 0 || folioHasHwpoisoned(m.map, pfn) ? pagesWithFlag(m, pfn, order) : NONE;

/** Marks pages bad, and the large folios that they are in now. @kernel mm/huge_memory.c page_range_has_hwpoisoned (6.18) */
export function markHwpoisonedPages(m: Machine, bad: readonly Pfn[]): void {
  for (const p of bad) {
    setPageFlag(m.map, p, PG.PG_hwpoison);
    if (pageOrder(m.map, p) > 0) setFolioHasHwpoisoned(m.map, p, true);
  }
}

/** Takes one page out of the free block that it lies in; what is left of the block stays free. False: it is not free. @kernel mm/page_alloc.c take_page_off_buddy (6.18) */
export function takePageOffBuddy(m: Machine, pfn: Pfn): boolean {
  const { zones } = m;
  const zone = pageZone(zones, pfn);
  reachTo(m, zone, pfn + 1);
  for (let order = 0; order <= zones.maxOrder; order++) {
    const head = pfn & -(1 << order);
    if (!pageBuddy(m.map, head) || buddyOrder(m.map, head) < order) continue;
    const size = buddyOrder(m.map, head);
    const type = pageblockType(zones, head);
    delFromFreeList(m, zone, head, size);
    accountFreepages(m, zone, -(2 ** size), type);
    // @kernel mm/page_alloc.c break_down_buddy_pages (6.18)
    for (let o = size - 1, at = head; o >= 0; o--) {
      const upper = at + (1 << o);
      freeOnePage(m, zone, pfn < upper ? upper : at, o, type, false);
      if (pfn >= upper) at = upper;
    }
    pagesInit(m.map, pfn, 0, true);
    return true;
  }
  return false;
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
