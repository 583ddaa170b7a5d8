/**
 * The vmemmap optimisation of huge pages (HVO). The memory map of a 2 MiB page is 8 pages, of a 1 GiB page 4096; only the first of
 * them says anything that the others do not, for all tails are alike. So all are mapped to the first, read-only, and the others are
 * given back:
 *
 *   2 MiB   [0][1][2][3][4][5][6][7]  ─►  0 0 0 0 0 0 0 0        7 of 8 pages back, 28 KiB
 *   1 GiB   4096 pages                ─►  one                    4095 back, 15.996 MiB
 *
 * Before the page can be broken up, they must be had again. 6.18 copies the first page to a new frame, so that the eight old ones are
 * free in a row: boot's pages fall by 8, others rise by 1; restored, by 7 more.
 *
 * Differs: the frames of the memory map are no frames of this machine, so what is given back is counted, not allocated.
 * @kernel mm/hugetlb_vmemmap.c __hugetlb_vmemmap_optimize_folio (6.18)
 */
import type { Hstate } from './hugetlb.ts';
import type { Machine } from './machine.ts';

/** Pages of the memory map that a huge page does without: all but one. @kernel mm/hugetlb_vmemmap.h hugetlb_vmemmap_optimizable_size (6.18) */
export function vmemmapOptimizablePages(order: number, pageSize: number, bytesPerPage: number): number {
  if ((bytesPerPage & (bytesPerPage - 1)) !== 0) return 0;
  return Math.max(Math.floor((2 ** order * bytesPerPage) / pageSize) - 1, 0);
}

/** The same for a machine's own memory map. */
export const hugetlbVmemmapSavedPages = (m: Machine, order: number): number =>
  vmemmapOptimizablePages(order, m.config.pageSize, m.map.pageWords * 4);

/** Gives a new huge page's map back, where that is on and saves anything. @kernel mm/hugetlb_vmemmap.c hugetlb_vmemmap_optimize_folio (6.18) */
export function hugetlbVmemmapOptimizeFolio(m: Machine, h: Hstate): boolean {
  const saved = hugetlbVmemmapSavedPages(m, h.order);
  if (!m.hugetlb.optimizeVmemmap || saved === 0) return false;
  m.hugetlb.memmapBootPages -= saved + 1;
  m.hugetlb.memmapPages += 1;
  return true;
}

/** Takes it again. @kernel mm/hugetlb_vmemmap.c hugetlb_vmemmap_restore_folio (6.18) */
export function hugetlbVmemmapRestoreFolio(m: Machine, h: Hstate): void {
  m.hugetlb.memmapPages += hugetlbVmemmapSavedPages(m, h.order);
}
