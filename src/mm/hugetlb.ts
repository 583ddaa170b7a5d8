/**
 * Pools of huge pages: memory set aside in pages of 2 MiB or 1 GiB (x86-64), for those who ask for it by name.
 *
 *   page allocator ─► free list of the pool ─► in use ─► free list …            frozen in the pool, one reference in use
 *
 *   persistent  pages that were asked for (nr_hugepages); they stay in the pool when nobody uses them
 *   surplus     pages taken beyond that while there is need, as far as overcommit allows; they go when they are free
 *   reserved    free pages that are promised: a mapping reserves all it may need when it is made, so that no fault fails
 *
 * Pages of 1 GiB are larger than the page allocator's largest block: a range of frames is emptied for each.
 *
 * Invariants (checkHugetlb):
 *   G1  a pool's pages are of type hugetlb and its order; free ones are on its list and frozen, those in use hold a reference;
 *   G2  nr is their number; surplus ≤ nr, and reserved ≤ free; nr_hugetlb is the pages in use;
 *   G3  every page of type hugetlb is a pool's;
 *   G4  pages of the memory map given back are those of the optimised folios (hugetlb_vmemmap.ts).
 *
 * Differs: memory groups' limits, subpools of a mount and NUMA are not modelled.
 * @kernel mm/hugetlb.c alloc_hugetlb_folio (6.18)
 */
import { assert, Bug, QuireError } from '../base/errors.ts';
import { __GFP_COMP, __GFP_MOVABLE, __GFP_NOWARN, __GFP_RETRY_MAYFAIL, GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import {
  hugetlbVmemmapOptimizeFolio,
  hugetlbVmemmapRestoreFolio,
  hugetlbVmemmapSavedPages,
} from './hugetlb_vmemmap.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { rawHwpClear } from './memory_failure.ts';
import { MAX_NR_ZONES, untouched } from './mmzone.ts';
import { allocFrozenPages, freeFrozenPages } from './page_alloc.ts';
import { PG, PGTY } from './page_flags.ts';
import { allocContigRange, freeContigRange } from './page_isolation.ts';
import { freePagesBut } from './page_poison.ts';
import {
  clearPageType,
  pageCount,
  pageFlag,
  pageHead,
  pageNext,
  pageOrder,
  pageOwner,
  pagesFini,
  pagesInit,
  pageType,
  setPageCount,
  setPageNext,
  setPageOwner,
  setPageType,
} from './page_type.ts';
import { V } from './vmstat.ts';

/** State of a folio, beside the number of its pool (low 8 bits of its owner's word). @kernel include/linux/hugetlb.h enum hugetlb_page_flags (6.18) */
export const HPG_RESTORE_RESERVE = 0x100;
export const HPG_FREED = 0x200;
export const HPG_VMEMMAP_OPTIMIZED = 0x400;
const POOL_MASK = 0xff;

/** One pool. @kernel include/linux/hugetlb.h struct hstate (6.18) */
export interface Hstate {
  readonly index: number;
  readonly order: number;
  nr: number;
  free: number;
  reserved: number;
  surplus: number;
  overcommit: number;
  /** Free pages, the one freed last first. */
  head: Pfn;
}

export interface Hugetlb {
  readonly hstates: readonly Hstate[];
  /** vm.hugetlb_optimize_vmemmap: pages that come into a pool from now on give most of their memory map back. */
  optimizeVmemmap: boolean;
  /** Changes of nr_memmap_boot_pages and nr_memmap_pages since the machine was made. */
  memmapBootPages: number;
  memmapPages: number;
}

/** Pools of PMD and, with 4 KiB pages, PUD size. @kernel arch/x86/mm/hugetlbpage.c arch_hugetlb_valid_size (6.18) */
export function hugetlbInit(pmdOrder: number, pageSize: number): Hugetlb {
  const orders = pageSize === 4096 ? [pmdOrder, 2 * pmdOrder] : [pmdOrder];
  return {
    hstates: orders.map((order, index) => ({
      index,
      order,
      nr: 0,
      free: 0,
      reserved: 0,
      surplus: 0,
      overcommit: 0,
      head: NO_PFN,
    })),
    optimizeVmemmap: false,
    memmapBootPages: 0,
    memmapPages: 0,
  };
}

/** The pool of pages of that many bytes. @kernel mm/hugetlb.c size_to_hstate (6.18) */
export function sizeToHstate(m: Machine, bytes: number): Hstate {
  const h = m.hugetlb.hstates.find((x) => m.config.pageSize * 2 ** x.order === bytes);
  if (h === undefined) {
    const sizes = m.hugetlb.hstates.map((x) => m.config.pageSize * 2 ** x.order).join(', ');
    throw new QuireError('EINVAL', `huge pages of ${bytes} bytes: expected ${sizes}`);
  }
  return h;
}

/** @kernel include/linux/hugetlb.h hstate_is_gigantic (6.18) */
export const hstateIsGigantic = (m: Machine, h: Hstate): boolean => h.order > m.zones.maxOrder;
/** @kernel mm/hugetlb.c persistent_huge_pages (6.18) */
const persistentHugePages = (h: Hstate): number => h.nr - h.surplus;
/** @kernel mm/hugetlb.c available_huge_pages (6.18) */
const availableHugePages = (h: Hstate): number => h.free - h.reserved;

/** The pool of a huge page. @kernel include/linux/hugetlb.h folio_hstate (6.18) */
export function folioHstate(m: Machine, pfn: Pfn): Hstate {
  if (pageType(m.map, pfn) !== PGTY.PGTY_hugetlb) throw new QuireError('EINVAL', `frame ${pfn}: not a huge page`);
  return m.hugetlb.hstates[pageOwner(m.map, pfn) & POOL_MASK] as Hstate;
}

const test = (m: Machine, pfn: Pfn, flag: number): boolean => (pageOwner(m.map, pfn) & flag) !== 0;
function mark(m: Machine, pfn: Pfn, flag: number, on: boolean): void {
  const word = pageOwner(m.map, pfn);
  setPageOwner(m.map, pfn, on ? word | flag : word & ~flag);
}

/** A frozen block of the pool's order, or 0. @kernel mm/hugetlb.c only_alloc_fresh_hugetlb_folio (6.18) */
function allocFresh(m: Machine, h: Hstate, hard: boolean): Pfn {
  const pfn = hstateIsGigantic(m, h) ? allocGigantic(m, h.order) : allocBuddy(m, h, hard);
  if (pfn === NO_PFN) return pfn;
  setPageType(m.map, pfn, PGTY.PGTY_hugetlb);
  setPageOwner(m.map, pfn, h.index);
  setPageNext(m.map, pfn, NO_PFN);
  return pfn;
}

/** @kernel mm/hugetlb.c alloc_buddy_hugetlb_folio (6.18) */
function allocBuddy(m: Machine, h: Hstate, hard: boolean): Pfn {
  // 2 MiB pages can be moved, and are taken from where movable memory is. @kernel include/linux/hugetlb.h htlb_alloc_mask (6.18)
  const gfp = GFP_HIGHUSER_MOVABLE | __GFP_MOVABLE | __GFP_COMP | __GFP_NOWARN | (hard ? __GFP_RETRY_MAYFAIL : 0);
  const pfn = allocFrozenPages(m, gfp, h.order);
  m.vmstat[pfn === NO_PFN ? V.htlb_buddy_alloc_fail : V.htlb_buddy_alloc_success]++;
  return pfn;
}

/** Frames in a row, emptied if need be: the first aligned range from the highest zone down that can be had. @kernel mm/page_alloc.c alloc_contig_pages_noprof (6.18) */
function allocGigantic(m: Machine, order: number): Pfn {
  const { start, end } = m.zones.zone;
  const nr = 2 ** order;
  for (let zone = MAX_NR_ZONES - 1; zone >= 0; zone--)
    for (let pfn = Math.ceil(start[zone] / nr) * nr; pfn + nr <= end[zone]; pfn += nr)
      if (allocContigRange(m, pfn as Pfn, (pfn + nr) as Pfn)) {
        pagesInit(m.map, pfn as Pfn, order, true);
        return pfn as Pfn;
      }
  return NO_PFN;
}

/** A page joins the free list. @kernel mm/hugetlb.c enqueue_hugetlb_folio (6.18) */
function enqueue(m: Machine, h: Hstate, pfn: Pfn): void {
  setPageNext(m.map, pfn, h.head);
  h.head = pfn;
  h.free++;
  mark(m, pfn, HPG_FREED, true);
}

/** The first free page that is sound, with one reference; 0: none. @kernel mm/hugetlb.c dequeue_hugetlb_folio_node_exact (6.18) */
function dequeue(m: Machine, h: Hstate): Pfn {
  let prev = NO_PFN;
  for (let pfn = h.head; pfn !== NO_PFN; prev = pfn, pfn = pageNext(m.map, pfn)) {
    if (pageFlag(m.map, pfn, PG.PG_hwpoison)) continue;
    unlink(m, h, pfn, prev);
    setPageCount(m.map, pfn, 1);
    return pfn;
  }
  return NO_PFN;
}

function unlink(m: Machine, h: Hstate, pfn: Pfn, prev: Pfn): void {
  if (prev === NO_PFN) h.head = pageNext(m.map, pfn);
  else setPageNext(m.map, prev, pageNext(m.map, pfn));
  setPageNext(m.map, pfn, NO_PFN);
  h.free--;
  mark(m, pfn, HPG_FREED, false);
}

/** The pool no longer has the page; it goes back to the page allocator, its memory map restored first. @kernel mm/hugetlb.c __update_and_free_hugetlb_folio (6.18) */
function updateAndFree(m: Machine, h: Hstate, pfn: Pfn): void {
  if (test(m, pfn, HPG_VMEMMAP_OPTIMIZED)) {
    hugetlbVmemmapRestoreFolio(m, h);
    mark(m, pfn, HPG_VMEMMAP_OPTIMIZED, false);
  }
  setPageOwner(m.map, pfn, 0);
  clearPageType(m.map, pfn, PGTY.PGTY_hugetlb);
  const bad = rawHwpClear(m, pfn);
  if (!hstateIsGigantic(m, h) && bad.length === 0) {
    freeFrozenPages(m, pfn, h.order);
    return;
  }
  pagesFini(m.map, pfn, h.order);
  if (bad.length > 0) {
    const step = Math.min(h.order, m.zones.maxOrder);
    for (let p = pfn; p < pfn + 2 ** h.order; p = (p + 2 ** step) as Pfn)
      freePagesBut(
        m,
        p,
        step,
        bad.filter((b) => b >= p && b < p + 2 ** step),
      );
    return;
  }
  m.vmstat[V.pgfree] += 2 ** h.order;
  freeContigRange(m, pfn, (pfn + 2 ** h.order) as Pfn);
}

/** Takes a free page out of the pool; `surplus`: it counted as one. @kernel mm/hugetlb.c remove_hugetlb_folio (6.18) */
function removeFolio(m: Machine, h: Hstate, pfn: Pfn, surplus: boolean): void {
  let prev = NO_PFN;
  for (let p = h.head; p !== pfn; p = pageNext(m.map, p)) prev = p;
  unlink(m, h, pfn, prev);
  if (surplus) h.surplus--;
  h.nr--;
}

/** A new page for the pool, optimised where that is on. */
function allocFreshOptimised(m: Machine, h: Hstate, hard: boolean): Pfn {
  const pfn = allocFresh(m, h, hard);
  if (pfn !== NO_PFN && hugetlbVmemmapOptimizeFolio(m, h)) mark(m, pfn, HPG_VMEMMAP_OPTIMIZED, true);
  return pfn;
}

/**
 * nr_hugepages: as many pages as can be had of `count`. When it falls, free pages go, as far as they are not reserved, and those in use
 * become surplus. Returns the pages that the pool keeps for good. @kernel mm/hugetlb.c set_max_huge_pages (6.18)
 */
export function setMaxHugePages(m: Machine, h: Hstate, count: number): number {
  if (!Number.isInteger(count) || count < 0)
    throw new QuireError('EINVAL', `nr_hugepages ${count}: expected a whole number`);
  while (h.surplus > 0 && count > persistentHugePages(h)) h.surplus--;
  const fresh: Pfn[] = [];
  let hard = true;
  while (count > persistentHugePages(h) + fresh.length) {
    // After one failure it is not tried as hard. @kernel mm/hugetlb.c alloc_pool_huge_folio (6.18)
    const pfn = allocFresh(m, h, hard);
    hard = pfn !== NO_PFN;
    if (!hard) break;
    fresh.push(pfn);
  }
  for (const pfn of fresh.reverse()) {
    if (hugetlbVmemmapOptimizeFolio(m, h)) mark(m, pfn, HPG_VMEMMAP_OPTIMIZED, true);
    h.nr++;
    enqueue(m, h, pfn);
  }
  let persistentFree = h.free;
  if (h.free > persistentHugePages(h)) persistentFree = h.free > h.surplus ? h.free - h.surplus : 0;
  const min = Math.max(count, h.reserved + persistentHugePages(h) - persistentFree);
  while (min < persistentHugePages(h) && h.free > 0) {
    const pfn = h.head;
    removeFolio(m, h, pfn, false);
    updateAndFree(m, h, pfn);
  }
  while (count < persistentHugePages(h) && h.surplus < h.nr) h.surplus++;
  return persistentHugePages(h);
}

/** A page beyond the persistent ones, frozen and on no list; 0: not allowed, or no memory. @kernel mm/hugetlb.c alloc_surplus_hugetlb_folio (6.18) */
function allocSurplus(m: Machine, h: Hstate): Pfn {
  if (hstateIsGigantic(m, h) || h.surplus >= h.overcommit) return NO_PFN;
  const pfn = allocFreshOptimised(m, h, true);
  if (pfn === NO_PFN) return pfn;
  h.nr++;
  h.surplus++;
  return pfn;
}

/**
 * Reserves (or, below 0, gives back) pages; false: there are not so many. All or nothing: what is missing must be had as surplus.
 * @kernel mm/hugetlb.c hugetlb_acct_memory (6.18)
 */
export function hugetlbAcctMemory(m: Machine, h: Hstate, delta: number): boolean {
  if (delta < 0) {
    returnUnusedSurplus(m, h, -delta);
    return true;
  }
  const needed = h.reserved + delta - h.free;
  const got: Pfn[] = [];
  while (got.length < needed) {
    const pfn = allocSurplus(m, h);
    if (pfn === NO_PFN) break;
    got.push(pfn);
  }
  if (needed <= 0 || got.length === needed) {
    h.reserved += delta;
    for (const pfn of got.reverse()) enqueue(m, h, pfn);
    return true;
  }
  for (const pfn of got) freeHugeFolio(m, pfn);
  return false;
}

/** @kernel mm/hugetlb.c return_unused_surplus_pages (6.18) */
function returnUnusedSurplus(m: Machine, h: Hstate, unused: number): void {
  assert(h.reserved >= unused, 'returnUnusedSurplus: no more than was reserved');
  h.reserved -= unused;
  for (let n = Math.min(unused, h.surplus); n > 0 && h.free > 0; n--) {
    const pfn = h.head;
    removeFolio(m, h, pfn, true);
    updateAndFree(m, h, pfn);
  }
}

/**
 * A huge page with one reference; 0: none is left. `reserved`: it was promised. Otherwise it must be one that nobody was promised, or
 * a surplus page. @kernel mm/hugetlb.c alloc_hugetlb_folio (6.18)
 */
export function allocHugetlbFolio(m: Machine, h: Hstate, reserved: boolean): Pfn {
  assert(!reserved || h.reserved > 0, 'allocHugetlbFolio: what is used was reserved');
  let pfn = reserved || availableHugePages(h) > 0 ? dequeue(m, h) : NO_PFN;
  if (pfn === NO_PFN) {
    pfn = allocSurplus(m, h);
    if (pfn === NO_PFN) return pfn;
    setPageCount(m.map, pfn, 1);
  }
  if (reserved) {
    h.reserved--;
    mark(m, pfn, HPG_RESTORE_RESERVE, true);
  }
  m.vmstat[V.nr_hugetlb] += 2 ** h.order;
  return pfn;
}

/** The reservation is used up: if the page is freed it is not promised again. @kernel mm/hugetlb.c hugetlb_add_to_page_cache (6.18) */
export function hugetlbCommitReservation(m: Machine, pfn: Pfn): void {
  mark(m, pfn, HPG_RESTORE_RESERVE, false);
}

/** Drops a reference of a huge page in use. @kernel mm/swap.c folio_put (6.18) */
export function putHugeFolio(m: Machine, page: Pfn): void {
  const h = folioHstate(m, page);
  const pfn = pageHead(m.map, page);
  const count = pageCount(m.map, pfn);
  if (count < 1) throw new QuireError('EINVAL', `frame ${pfn}: a free huge page: nobody refers to it`);
  setPageCount(m.map, pfn, count - 1);
  if (count > 1) return;
  m.vmstat[V.nr_hugetlb] -= 2 ** h.order;
  freeHugeFolio(m, pfn);
}

/** A huge page that nobody refers to: a surplus page goes to the page allocator, others to the pool. @kernel mm/hugetlb.c free_huge_folio (6.18) */
function freeHugeFolio(m: Machine, pfn: Pfn): void {
  const h = folioHstate(m, pfn);
  if (test(m, pfn, HPG_RESTORE_RESERVE)) {
    mark(m, pfn, HPG_RESTORE_RESERVE, false);
    h.reserved++;
  }
  if (h.surplus > 0) {
    h.surplus--;
    h.nr--;
    updateAndFree(m, h, pfn);
  } else enqueue(m, h, pfn);
}

/** Breaks a free huge page up for good, a bad one for instance. False: it is in use or promised. @kernel mm/hugetlb.c dissolve_free_hugetlb_folio (6.18) */
export function dissolveFreeHugetlbFolio(m: Machine, page: Pfn): boolean {
  const h = folioHstate(m, page);
  const pfn = pageHead(m.map, page);
  if (pageCount(m.map, pfn) > 0 || availableHugePages(h) === 0) return false;
  removeFolio(m, h, pfn, h.surplus > 0);
  updateAndFree(m, h, pfn);
  return true;
}

/** What /proc/meminfo and /sys/kernel/mm/hugepages say of a pool. @kernel mm/hugetlb.c hugetlb_report_meminfo (6.18) */
export const hugetlbReport = (m: Machine) =>
  m.hugetlb.hstates.map((h) => ({
    kB: (m.config.pageSize * 2 ** h.order) / 1024,
    nr_hugepages: h.nr,
    free_hugepages: h.free,
    resv_hugepages: h.reserved,
    surplus_hugepages: h.surplus,
    nr_overcommit_hugepages: h.overcommit,
  }));

/** G1 to G4. Walks every frame. */
export function checkHugetlb(m: Machine): void {
  const claim = (holds: boolean, rule: string): void => {
    if (!holds) throw new Bug(rule);
  };
  const { map, zones, hugetlb } = m;
  const found = hugetlb.hstates.map(() => ({ nr: 0, free: 0, used: 0, optimised: 0 }));
  const t = zones.zone;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++)
    for (let pfn = t.start[zone] as Pfn; pfn < t.end[zone]; ) {
      if (untouched(zones, zone, pfn) || pageType(map, pfn) !== PGTY.PGTY_hugetlb) {
        pfn = (pfn + 1) as Pfn;
        continue;
      }
      const h = hugetlb.hstates[pageOwner(map, pfn) & POOL_MASK];
      claim(h !== undefined && pageOrder(map, pfn) === h.order && pageHead(map, pfn) === pfn, 'G3 a pool’s page');
      const f = found[(h as Hstate).index] as (typeof found)[number];
      f.nr++;
      if (test(m, pfn, HPG_FREED)) f.free++;
      else f.used++;
      if (test(m, pfn, HPG_VMEMMAP_OPTIMIZED)) f.optimised++;
      claim(pageCount(map, pfn) > 0 === !test(m, pfn, HPG_FREED), 'G1 frozen in the pool, referred to in use');
      pfn = (pfn + 2 ** (h as Hstate).order) as Pfn;
    }
  let used = 0;
  let saved = 0;
  for (const h of hugetlb.hstates) {
    const f = found[h.index] as (typeof found)[number];
    let listed = 0;
    for (let pfn = h.head; pfn !== NO_PFN; pfn = pageNext(map, pfn), listed++)
      claim(folioHstate(m, pfn) === h && test(m, pfn, HPG_FREED), 'G1 on its pool’s list');
    claim(listed === h.free && f.free === h.free && f.nr === h.nr, 'G2 nr and free');
    claim(h.surplus >= 0 && h.surplus <= h.nr && h.reserved >= 0 && h.reserved <= h.free, 'G2 surplus and reserved');
    used += f.used * 2 ** h.order;
    saved += f.optimised * hugetlbVmemmapSavedPages(m, h.order);
  }
  claim(used === m.vmstat[V.nr_hugetlb], 'G2 nr_hugetlb');
  claim(saved === -(hugetlb.memmapBootPages + hugetlb.memmapPages), 'G4 pages of the memory map');
}
