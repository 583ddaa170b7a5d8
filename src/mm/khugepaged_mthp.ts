/**
 * Collapse to sizes below a huge page (7.3): of a block of 512 entries the daemon knows which map a page that may be collapsed; it
 * goes through the block from the left and makes of each part the largest size that is allowed and full enough:
 *
 *   512 whole?  no ─► first 256?  no ─► first 128 …  yes ─► one folio; then the part behind it, as large as its place allows
 *
 * How full: max_ptes_none of a huge page; of a smaller size, one entry at the default of 511, all of them at 0 or any other value.
 * A smaller size may hold nothing that is shared or swapped out.
 *
 * @kernel mm/khugepaged.c mthp_collapse (7.3)
 */

import { type MmId, NO_FOLIO, type VmaId } from './ids.ts';
import { allocChargeFolio, collapseHugePage, copyPages, isolate, pmdState } from './khugepaged_collapse.ts';
import type { Machine } from './machine.ts';
import { folioAddLruVma, setPtes } from './memory_pte.ts';
import { folioPfn, folioRefAdd, folioSet } from './mm_types.ts';
import { flushPmdTlbRange } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  PTE_SWAP,
  pmdOffset,
  pteFlags,
  pteOfPmd,
} from './pgtable.ts';
import { folioAddNewAnonRmap } from './rmap.ts';
import {
  SCAN_ALLOC_HUGE_PAGE_FAIL,
  SCAN_DEL_PAGE_LRU,
  SCAN_EXCEED_NONE_PTE,
  SCAN_EXCEED_SHARED_PTE,
  SCAN_EXCEED_SWAP_PTE,
  SCAN_FAIL,
  SCAN_LACK_REFERENCED_PAGE,
  SCAN_PAGE_COUNT,
  SCAN_PAGE_LOCK,
  SCAN_PMD_MAPPED,
  SCAN_PTE_NON_PRESENT,
  SCAN_SUCCEED,
} from './scan_result.ts';
import { folioPut } from './swap.ts';
import { countMthpStat, MTHP, TVA_KHUGEPAGED, thpVmaAllowableOrders } from './thp.ts';
import { VM_WRITE } from './vma.ts';
import { setPageWritten } from './written.ts';

/** Orders that the daemon may make in an area with these VM_* bits. */
export function khugepagedOrders(m: Machine, vma: VmaId, flags: number): number {
  const orders = m.release.khugepagedOrders === 'all-orders' ? m.thp.anonOrders : 1 << m.thp.pmdOrder;
  return thpVmaAllowableOrders(m, vma, flags, TVA_KHUGEPAGED, orders);
}

/** Empty entries that a collapse to an order may fill. @kernel mm/khugepaged.c collapse_max_ptes_none (7.3) */
function maxPtesNone(m: Machine, order: number): number {
  const limit = m.thp.khugepaged.maxPtesNone;
  if (order === m.thp.pmdOrder) return limit;
  return limit === (1 << m.thp.pmdOrder) - 1 ? (1 << order) - 1 : 0;
}

/** After which of these is a smaller size tried? */
const TRY_SMALLER =
  (1 << SCAN_ALLOC_HUGE_PAGE_FAIL) |
  (1 << SCAN_EXCEED_NONE_PTE) |
  (1 << SCAN_EXCEED_SWAP_PTE) |
  (1 << SCAN_EXCEED_SHARED_PTE) |
  (1 << SCAN_PAGE_LOCK) |
  (1 << SCAN_PAGE_COUNT) |
  (1 << SCAN_DEL_PAGE_LRU) |
  (1 << SCAN_PTE_NON_PRESENT) |
  (1 << SCAN_LACK_REFERENCED_PAGE);

/** Pages in m.collapse.present from `from` on. */
function weigh(m: Machine, from: number, nr: number): number {
  const { present } = m.collapse;
  let n = 0;
  for (let i = from; i < from + nr; i++) if ((present[i >>> 5] & (1 << (i & 31))) !== 0) n++;
  return n;
}

/** Collapses parts of a block; `swapped`: its entries that are swapped out. What came of it. @kernel mm/khugepaged.c mthp_collapse (7.3) */
export function mthpCollapse(m: Machine, vma: VmaId, addr: number, orders: number, swapped: number): number {
  const top = m.thp.pmdOrder;
  let collapsed = false;
  let noMemory = false;
  let result = SCAN_FAIL;
  for (let offset = 0, order = top; offset < 1 << top; ) {
    const nr = 1 << order;
    let smaller = true;
    if ((orders & nr) !== 0) {
      const full = weigh(m, offset, nr) + (order === top ? swapped : 0);
      if (full >= nr - maxPtesNone(m, order) && full > 0) {
        const at = addr + offset * m.config.pageSize;
        result = order === top ? collapseHugePage(m, vma, at, swapped, true) : collapseRange(m, vma, at, order);
        if (result === SCAN_SUCCEED) collapsed = true;
        if (result === SCAN_ALLOC_HUGE_PAGE_FAIL) noMemory = true;
        if (result === SCAN_SUCCEED || result === SCAN_PMD_MAPPED) smaller = false;
        else if (((1 << result) & TRY_SMALLER) === 0) break;
      }
    }
    if (smaller && order > 2 && (orders & (nr - 1)) !== 0) {
      order--;
      continue;
    }
    offset += nr;
    order = offset === 0 ? top : Math.min(top, 31 - Math.clz32(offset & -offset));
  }
  if (collapsed) return SCAN_SUCCEED;
  return noMemory ? SCAN_ALLOC_HUGE_PAGE_FAIL : result;
}

/** One folio of an order below a huge page. @kernel mm/khugepaged.c collapse_huge_page (7.3) */
function collapseRange(m: Machine, vma: VmaId, addr: number, order: number): number {
  const mm = m.vmas.mm[vma] as MmId;
  const nr = 1 << order;
  const why = { result: SCAN_FAIL };
  const folio = allocChargeFolio(m, order, true, why);
  countMthpStat(m, order, why.result === SCAN_ALLOC_HUGE_PAGE_FAIL ? MTHP.collapse_alloc_failed : MTHP.collapse_alloc);
  if (folio === NO_FOLIO) return why.result;
  const pmd = pmdOffset(m, mm, addr);
  let result = pmdState(m, pmd);
  const first = result === SCAN_SUCCEED ? pteOfPmd(m, pmd, addr) : -1;
  for (let e = first; result === SCAN_SUCCEED && e < first + nr; e++)
    if ((pteFlags(m, e) & PTE_SWAP) !== 0) result = SCAN_EXCEED_SWAP_PTE;
  if (result === SCAN_SUCCEED) flushPmdTlbRange(m, mm, addr);
  if (result === SCAN_SUCCEED) result = isolate(m, first, nr, true, maxPtesNone(m, order), 0);
  if (result !== SCAN_SUCCEED) {
    if (result === SCAN_EXCEED_SWAP_PTE) countMthpStat(m, order, MTHP.collapse_exceed_swap_pte);
    if (result === SCAN_EXCEED_NONE_PTE) countMthpStat(m, order, MTHP.collapse_exceed_none_pte);
    if (result === SCAN_EXCEED_SHARED_PTE) countMthpStat(m, order, MTHP.collapse_exceed_shared_pte);
    folioPut(m, folio);
    return result;
  }
  const written = copyPages(m, vma, mm, first, nr);
  folioSet(m.map, folio, PG.PG_uptodate);
  folioRefAdd(m.map, folio, nr - 1);
  folioAddNewAnonRmap(m, folio, vma, addr, true);
  for (let i = 0; i < nr; i++)
    if ((written[i >>> 5] & (1 << (i & 31))) !== 0) setPageWritten(m, folioPfn(m.map, folio) + i);
  folioAddLruVma(m, folio, vma);
  const write = (m.vmas.flags[vma] & VM_WRITE) === 0 ? 0 : _PAGE_RW;
  setPtes(m, first, folioPfn(m.map, folio), nr, _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY | write);
  return SCAN_SUCCEED;
}
