/**
 * Collapse: one block of 512 entries becomes a huge page. What lies there is looked at first, and again when nothing can change any
 * more; then the pages are copied.
 *
 *   look (how many entries are empty, swapped out, shared; used lately?)  ─►  allocate, charge  ─►  read what is swapped out
 *   ─►  take every page off its list, if nobody else uses it  ─►  copy  ─►  PMD leaf, the old table kept ready
 *
 * The daemon holds to limits (max_ptes_…) and wants a page that was used; madvise(COLLAPSE) does not.
 *
 * @kernel mm/khugepaged.c collapse_huge_page (6.18)
 */

import { deferredSplitFolio } from './deferred_split.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import { collapseScanFile, fileCollapsible } from './khugepaged_file.ts';
import { khugepagedOrders, mthpCollapse } from './khugepaged_mthp.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge } from './memcontrol.ts';
import { folioAddLruVma, folioPteBatch } from './memory_pte.ts';
import { doSwapPage } from './memory_swap.ts';
import { addMmCounter, MM_ANONPAGES } from './mm_struct.ts';
import {
  folioClear,
  folioFlags,
  folioNrPages,
  folioPfn,
  folioRefCount,
  folioSet,
  folioTest,
  folioTestAnon,
  pageFolio,
} from './mm_types.ts';
import { EAGAIN, EINVAL, ENOMEM } from './mmap.ts';
import { flushTlbRange } from './mmu_gather.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_SPECIAL,
  _PAGE_USER,
  PTE_MIGRATION,
  PTE_SWAP,
  pgtableTransHugeDeposit,
  pmdOffset,
  pmdTakeTable,
  pteClear,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPte,
} from './pgtable.ts';
import { folioAddNewAnonRmap, folioMapcount, folioMaybeMappedShared, folioRemoveRmapPtes } from './rmap.ts';
import {
  SCAN_ALLOC_HUGE_PAGE_FAIL,
  SCAN_CGROUP_CHARGE_FAIL,
  SCAN_DEL_PAGE_LRU,
  SCAN_EXCEED_NONE_PTE,
  SCAN_EXCEED_SHARED_PTE,
  SCAN_EXCEED_SWAP_PTE,
  SCAN_FAIL,
  SCAN_LACK_REFERENCED_PAGE,
  SCAN_PAGE_ANON,
  SCAN_PAGE_COMPOUND,
  SCAN_PAGE_COUNT,
  SCAN_PAGE_LOCK,
  SCAN_PAGE_LRU,
  SCAN_PAGE_NULL,
  SCAN_PMD_MAPPED,
  SCAN_PMD_NONE,
  SCAN_PMD_NULL,
  SCAN_PTE_NON_PRESENT,
  SCAN_SUCCEED,
} from './scan_result.ts';
import { folioAddLru, folioIsolateLru, folioPut, folioPutRefs, lruAddDrain } from './swap.ts';
import { freeSwapCache } from './swapfile.ts';
import { GFP_TRANSHUGE, GFP_TRANSHUGE_LIGHT, TVA_FORCED_COLLAPSE, thpVmaAllowableOrder } from './thp.ts';
import { VM_FAULT_ERROR, VM_FAULT_RETRY } from './vm_fault.ts';
import { linearPageIndex, VM_WRITE, vmaIsAnonymous } from './vma.ts';
import { V } from './vmstat.ts';
import { pageZeroFilled, setPageWritten } from './written.ts';

/** @kernel include/uapi/asm-generic/errno-base.h EBUSY (6.18) */
const EBUSY = 16;

/** What the collapse of a block went through. */
export interface Collapse {
  /** It got as far as asking for memory. */
  tried: boolean;
  /** Folios taken off their lists, each once. */
  isolated: Int32Array;
  nr: number;
  /** A bit for each entry of the block that maps a page which may be collapsed. */
  readonly present: Int32Array;
}
export const collapseInit = (pmdOrder: number): Collapse => ({
  tried: false,
  isolated: new Int32Array(1 << pmdOrder),
  nr: 0,
  present: new Int32Array(((1 << pmdOrder) + 31) >>> 5),
});

/** What the table holds at an entry: nothing of its own? */
const noneOrZero = (flags: number): boolean => flags === 0 || (flags & _PAGE_SPECIAL) !== 0;
const present = (flags: number): boolean => (flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0;

/** References that the caches and page tables account for. @kernel include/linux/mm.h folio_expected_ref_count (6.18) */
export function expectedRefCount(m: Machine, f: FolioId): number {
  const flags = folioFlags(m.map, f);
  const anon = folioTestAnon(m.map, f);
  const cached = !anon || (flags & (PG_swapcache | PG.PG_swapbacked)) === (PG_swapcache | PG.PG_swapbacked);
  return folioMapcount(m, f) + (cached ? folioNrPages(m.map, f) : 0) + (!anon && (flags & PG.PG_private) !== 0 ? 1 : 0);
}

/** Looks at a block and collapses it. @kernel mm/khugepaged.c hpage_collapse_scan_pmd (6.18) */
export function collapseScanPmd(m: Machine, vma: VmaId, addr: number, daemon: boolean): number {
  const c = m.collapse;
  const limits = m.thp.khugepaged;
  c.tried = false;
  const mm = m.vmas.mm[vma] as MmId;
  const pmd = pmdOffset(m, mm, addr);
  const state = pmdState(m, pmd);
  if (state !== SCAN_SUCCEED) return state;
  const first = pteOfPmd(m, pmd, addr);
  const nr = 1 << m.thp.pmdOrder;
  const orders = daemon ? khugepagedOrders(m, vma, m.vmas.flags[vma]) : nr;
  // With smaller sizes, empty entries are for mthpCollapse to judge.
  const several = orders !== nr;
  if (several) c.present.fill(0);
  let none = 0;
  let swapped = 0;
  let shared = 0;
  let referenced = 0;
  for (let e = first; e < first + nr; e++) {
    const flags = pteFlags(m, e);
    if ((flags & (PTE_SWAP | PTE_MIGRATION)) !== 0) {
      swapped++;
      if (!daemon || swapped <= limits.maxPtesSwap) continue;
      m.vmstat[V.thp_scan_exceed_swap_pte]++;
      return SCAN_EXCEED_SWAP_PTE;
    }
    if (noneOrZero(flags)) {
      none++;
      if (!daemon || several || none <= limits.maxPtesNone) continue;
      m.vmstat[V.thp_scan_exceed_none_pte]++;
      return SCAN_EXCEED_NONE_PTE;
    }
    if (!present(flags)) return SCAN_PAGE_NULL;
    const f = pageFolio(m.map, ptePayload(m, e) as Pfn);
    if (!folioTestAnon(m.map, f)) return SCAN_PAGE_ANON;
    if (folioMaybeMappedShared(m, f) && ++shared > limits.maxPtesShared && daemon) {
      m.vmstat[V.thp_scan_exceed_share_pte]++;
      return SCAN_EXCEED_SHARED_PTE;
    }
    const state = folioFlags(m.map, f);
    if ((state & PG.PG_lru) === 0) return SCAN_PAGE_LRU;
    if ((state & PG.PG_locked) !== 0) return SCAN_PAGE_LOCK;
    if (expectedRefCount(m, f) !== folioRefCount(m.map, f)) return SCAN_PAGE_COUNT;
    if ((flags & _PAGE_ACCESSED) !== 0 || (state & PG.PG_referenced) !== 0) referenced++;
    if (several) c.present[(e - first) >>> 5] |= 1 << ((e - first) & 31);
  }
  if (daemon && (referenced === 0 || (swapped > 0 && referenced < nr / 2))) return SCAN_LACK_REFERENCED_PAGE;
  c.tried = true;
  return several ? mthpCollapse(m, vma, addr, orders, swapped) : collapseHugePage(m, vma, addr, swapped, daemon);
}

/** What the PMD entry holds. @kernel mm/khugepaged.c check_pmd_state (6.18) */
export function pmdState(m: Machine, pmd: number): number {
  if (pmd < 0) return SCAN_PMD_NULL;
  const flags = pteFlags(m, pmd);
  if (flags === 0) return SCAN_PMD_NONE;
  return (flags & (_PAGE_PSE | PTE_MIGRATION)) !== 0 ? SCAN_PMD_MAPPED : SCAN_SUCCEED;
}

/** A folio to collapse into, charged; NO_FOLIO with the reason in `why`. @kernel mm/khugepaged.c alloc_charge_folio (6.18) */
export function allocChargeFolio(m: Machine, order: number, daemon: boolean, why: { result: number }): FolioId {
  const gfp = daemon && !m.thp.khugepaged.defrag ? GFP_TRANSHUGE_LIGHT : GFP_TRANSHUGE;
  const f = folioAlloc(m, gfp, order);
  const huge = order === m.thp.pmdOrder ? 1 : 0;
  if (f === NO_FOLIO) {
    m.vmstat[V.thp_collapse_alloc_failed] += huge;
    why.result = SCAN_ALLOC_HUGE_PAGE_FAIL;
    return f;
  }
  m.vmstat[V.thp_collapse_alloc] += huge;
  if (memCgroupCharge(m, f, gfp)) return f;
  folioPut(m, f);
  why.result = SCAN_CGROUP_CHARGE_FAIL;
  return NO_FOLIO;
}

/** @kernel mm/khugepaged.c collapse_huge_page (6.18) */
export function collapseHugePage(m: Machine, vma: VmaId, addr: number, swapped: number, daemon: boolean): number {
  const mm = m.vmas.mm[vma] as MmId;
  const why = { result: SCAN_FAIL };
  const folio = allocChargeFolio(m, m.thp.pmdOrder, daemon, why);
  if (folio === NO_FOLIO) return why.result;
  // Making room may have changed what is here.
  const pmd = pmdOffset(m, mm, addr);
  let result = pmdState(m, pmd);
  if (result === SCAN_SUCCEED && swapped > 0) result = swapIn(m, vma, addr, pmd);
  const first = result === SCAN_SUCCEED ? pteOfPmd(m, pmd, addr) : -1;
  const limits = m.thp.khugepaged;
  const total = 1 << m.thp.pmdOrder;
  if (result === SCAN_SUCCEED) flushTlbRange(m, mm, addr, addr + 2 ** m.pt.pmdShift);
  if (result === SCAN_SUCCEED) result = isolate(m, first, total, daemon, limits.maxPtesNone, limits.maxPtesShared);
  if (result !== SCAN_SUCCEED) {
    folioPut(m, folio);
    return result;
  }
  const written = copyPages(m, vma, mm, first, total);
  const table = pmdTakeTable(m, pmd);
  folioSet(m.map, folio, PG.PG_uptodate);
  folioAddNewAnonRmap(m, folio, vma, addr, true);
  for (let i = 0; i < total; i++)
    if ((written[i >>> 5] & (1 << (i & 31))) !== 0) setPageWritten(m, folioPfn(m.map, folio) + i);
  folioAddLruVma(m, folio, vma);
  pgtableTransHugeDeposit(m, pmd, table);
  const write = (m.vmas.flags[vma] & VM_WRITE) === 0 ? 0 : _PAGE_RW;
  setPte(m, pmd, folioPfn(m.map, folio), _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_PSE | write);
  deferredSplitFolio(m, folio, false);
  return SCAN_SUCCEED;
}

/** Faults in what is swapped out. @kernel mm/khugepaged.c __collapse_huge_page_swapin (6.18) */
function swapIn(m: Machine, vma: VmaId, addr: number, pmd: number): number {
  const { vmf } = m;
  const first = pteOfPmd(m, pmd, addr);
  let nr = 0;
  for (let i = 0; i < 1 << m.thp.pmdOrder; i++) {
    if ((pteFlags(m, first + i) & PTE_SWAP) === 0) continue;
    vmf.mm = m.vmas.mm[vma] as MmId;
    vmf.vma = vma;
    vmf.address = addr + i * m.config.pageSize;
    vmf.pgoff = linearPageIndex(m, vma, vmf.address);
    vmf.write = vmf.tried = false;
    const ret = doSwapPage(m, vmf);
    if ((ret & VM_FAULT_RETRY) !== 0) return SCAN_PAGE_LOCK;
    if ((ret & VM_FAULT_ERROR) !== 0) return SCAN_FAIL;
    nr++;
  }
  if (nr > 0) lruAddDrain(m);
  return SCAN_SUCCEED;
}

/** Takes the folios of a table off their lists and locks them; if one cannot be, all go back. @kernel mm/khugepaged.c __collapse_huge_page_isolate (6.18) */
export function isolate(
  m: Machine,
  first: number,
  nr: number,
  daemon: boolean,
  maxNone: number,
  maxShared: number,
): number {
  const { collapse: c, map } = m;
  c.nr = 0;
  let none = 0;
  let shared = 0;
  let referenced = 0;
  let result = SCAN_SUCCEED;
  for (let e = first; e < first + nr && result === SCAN_SUCCEED; e++) {
    const flags = pteFlags(m, e);
    if (noneOrZero(flags)) {
      none++;
      if (!daemon || none <= maxNone) continue;
      m.vmstat[V.thp_scan_exceed_none_pte] += nr === 1 << m.thp.pmdOrder ? 1 : 0;
      result = SCAN_EXCEED_NONE_PTE;
      break;
    }
    if (!present(flags)) {
      result = SCAN_PTE_NON_PRESENT;
      break;
    }
    const f = pageFolio(map, ptePayload(m, e) as Pfn);
    if (folioMaybeMappedShared(m, f) && ++shared > maxShared && daemon) {
      m.vmstat[V.thp_scan_exceed_share_pte] += nr === 1 << m.thp.pmdOrder ? 1 : 0;
      result = SCAN_EXCEED_SHARED_PTE;
      break;
    }
    // A large folio is taken once. Only this collapse locks anything meanwhile.
    if (!(folioTest(map, f, PG.PG_head) && taken(m, f))) {
      if (folioTest(map, f, PG.PG_locked)) result = SCAN_PAGE_LOCK;
      else if (expectedRefCount(m, f) !== folioRefCount(map, f)) result = SCAN_PAGE_COUNT;
      else if (!folioIsolateLru(m, f)) result = SCAN_DEL_PAGE_LRU;
      else {
        folioSet(map, f, PG.PG_locked);
        c.isolated[c.nr++] = f;
      }
    }
    if ((flags & _PAGE_ACCESSED) !== 0 || folioTest(map, f, PG.PG_referenced)) referenced++;
  }
  if (result === SCAN_SUCCEED && daemon && referenced === 0) result = SCAN_LACK_REFERENCED_PAGE;
  if (result !== SCAN_SUCCEED) for (let i = 0; i < c.nr; i++) release(m, c.isolated[i] as FolioId);
  return result;
}

function taken(m: Machine, f: FolioId): boolean {
  const { isolated, nr } = m.collapse;
  for (let i = nr - 1; i >= 0; i--) if (isolated[i] === f) return true;
  return false;
}

/** Unlocks a folio and puts it back on its list. @kernel mm/khugepaged.c release_pte_folio (6.18) */
function release(m: Machine, f: FolioId): void {
  folioClear(m.map, f, PG.PG_locked);
  folioAddLru(m, f);
  folioPut(m, f);
}

/** Empties the table; a bit for each page that held something. @kernel mm/khugepaged.c __collapse_huge_page_copy_succeeded (6.18) */
export function copyPages(m: Machine, vma: VmaId, mm: MmId, first: number, total: number): Int32Array {
  const { collapse: c, map } = m;
  const written = new Int32Array((total + 31) >>> 5);
  // Small folios go back one by one, large ones at the end.
  let large = 0;
  for (let i = 0; i < c.nr; i++)
    if (folioTest(map, c.isolated[i] as FolioId, PG.PG_head)) c.isolated[large++] = c.isolated[i];
  c.nr = large;
  for (let i = 0; i < total; ) {
    const e = first + i;
    const flags = pteFlags(m, e);
    if (noneOrZero(flags)) {
      addMmCounter(m, mm, MM_ANONPAGES, 1);
      if (flags !== 0) pteClear(m, e);
      i++;
      continue;
    }
    const page = ptePayload(m, e) as Pfn;
    const f = pageFolio(map, page);
    const small = !folioTest(map, f, PG.PG_head);
    const nr = !small ? folioPteBatch(m, f, e, total - i, _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_RW) : 1;
    for (let k = 0; k < nr; k++)
      if (!pageZeroFilled(m, (page + k) as Pfn)) written[(i + k) >>> 5] |= 1 << ((i + k) & 31);
    if (small) release(m, f);
    for (let k = 0; k < nr; k++) pteClear(m, e + k);
    folioRemoveRmapPtes(m, f, page, nr, vma);
    freeSwapCache(m, f);
    folioPutRefs(m, f, nr);
    i += nr;
  }
  for (let i = 0; i < c.nr; i++) {
    const f = c.isolated[i] as FolioId;
    folioClear(map, f, PG.PG_locked);
    freeSwapCache(m, f);
    folioAddLru(m, f);
    folioPut(m, f);
  }
  return written;
}

/** @kernel mm/khugepaged.c madvise_collapse_errno (6.18) */
function collapseErrno(result: number): number {
  switch (result) {
    case SCAN_ALLOC_HUGE_PAGE_FAIL:
      return -ENOMEM;
    case SCAN_CGROUP_CHARGE_FAIL:
    case SCAN_EXCEED_NONE_PTE:
      return -EBUSY;
    case SCAN_PAGE_COUNT:
    case SCAN_PAGE_LOCK:
    case SCAN_PAGE_LRU:
    case SCAN_DEL_PAGE_LRU:
      return -EAGAIN;
    default:
      return -EINVAL;
  }
}

/** After which of these may the next block be tried? */
const GO_ON =
  (1 << SCAN_PMD_NULL) |
  (1 << SCAN_PTE_NON_PRESENT) |
  (1 << SCAN_LACK_REFERENCED_PAGE) |
  (1 << SCAN_PAGE_NULL) |
  (1 << SCAN_PAGE_COUNT) |
  (1 << SCAN_PAGE_LOCK) |
  (1 << SCAN_PAGE_COMPOUND) |
  (1 << SCAN_PAGE_LRU) |
  (1 << SCAN_DEL_PAGE_LRU);

/** madvise(COLLAPSE) of [start, end) in an area: 0, or an error below zero. @kernel mm/khugepaged.c madvise_collapse (6.18) */
export function madviseCollapse(m: Machine, vma: VmaId, start: number, end: number): number {
  const anon = vmaIsAnonymous(m, vma);
  const allowed = anon
    ? thpVmaAllowableOrder(m, vma, m.vmas.flags[vma], TVA_FORCED_COLLAPSE, m.thp.pmdOrder)
    : fileCollapsible(m, vma);
  if (!allowed) return -EINVAL;
  lruAddDrain(m);
  const span = 2 ** m.pt.pmdShift;
  const last = Math.floor(end / span) * span;
  const first = Math.ceil(start / span) * span;
  let done = 0;
  let failure = SCAN_FAIL;
  for (let addr = first; addr < last; addr += span) {
    const result = anon ? collapseScanPmd(m, vma, addr, false) : collapseScanFile(m, vma, addr);
    if (result === SCAN_SUCCEED || result === SCAN_PMD_MAPPED) done++;
    else {
      failure = result;
      if (((1 << result) & GO_ON) === 0) break;
    }
  }
  return done * span === Math.max(last - first, 0) ? 0 : collapseErrno(failure);
}
