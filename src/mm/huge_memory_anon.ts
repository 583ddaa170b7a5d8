/**
 * Anonymous memory in huge pages: one PMD entry maps a folio of PMD order.
 *
 *   first access a load     the huge zero folio, one for all, read-only; a store replaces it
 *   first access a store    a new folio, all of it zeroed
 *   store after a fork      reused when nobody else refers to it, else the PMD is split and one page copied
 *   part of it goes         the PMD is split: 512 PTEs of the same folio
 *
 * A PMD leaf has a page for a PTE table kept ready, so that splitting it never fails.
 *
 * @kernel mm/huge_memory.c do_huge_pmd_anonymous_page (6.18)
 */
import { anonVmaPrepare } from './anon_vma.ts';
import { deferredSplitFolio } from './deferred_split.ts';
import { __GFP_MOVABLE, __GFP_ZERO } from './gfp.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import { khugepagedEnterVma } from './khugepaged.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge } from './memcontrol.ts';
import { folioAddLruVma, mmCounter, setPtes, vmaAllocFolio, vmaHasRecency } from './memory_pte.ts';
import { addMmCounter, MM_ANONPAGES, MMF_HUGE_ZERO_FOLIO } from './mm_struct.ts';
import {
  FOLIO_WORDS,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioTest,
  folioTestAnon,
  pageFolio,
} from './mm_types.ts';
import { flushPmdTlbRange, flushTlbRelaxed } from './mmu_gather.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_large_rmappable, PG_swapcache } from './page_flags.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_SPECIAL,
  _PAGE_USER,
  PTE_MIGRATION,
  PTE_SWP_EXCLUSIVE,
  pgtableTransHugeDeposit,
  pgtableTransHugeWithdraw,
  pmdPopulate,
  pteAllocOne,
  pteClear,
  pteFlags,
  pteFree,
  ptePayload,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import {
  folioAddAnonRmapPtes,
  folioAddNewAnonRmap,
  folioMoveAnonRmap,
  folioRemoveRmapPmd,
  folioTryDupAnonRmapPmd,
  folioTryShareAnonRmap,
  pageAnonExclusive,
  setPagesAnonExclusive,
} from './rmap.ts';
import { folioMarkAccessed, folioPut } from './swap.ts';
import { folioFreeSwap, freeSwapCache } from './swapfile.ts';
import { countMthpStat, GFP_TRANSHUGE, MTHP, thpVmaSuitableOrder, vmaThpGfpMask } from './thp.ts';
import { VM_FAULT_FALLBACK, VM_FAULT_OOM, VM_FAULT_RETRY, type VmFault } from './vm_fault.ts';
import { VM_WRITE, vmaIsAnonymous } from './vma.ts';
import { V } from './vmstat.ts';

/** A folio for the huge page around a fault, charged; 0: there is none. @kernel mm/huge_memory.c vma_alloc_anon_folio_pmd (6.18) */
function vmaAllocAnonFolioPmd(m: Machine, vma: VmaId): FolioId {
  const gfp = vmaThpGfpMask(m, vma);
  const order = m.thp.pmdOrder;
  const f = vmaAllocFolio(m, gfp, order);
  const charged = f !== NO_FOLIO && memCgroupCharge(m, f, gfp);
  if (!charged) {
    m.vmstat[V.thp_fault_fallback]++;
    countMthpStat(m, order, MTHP.anon_fault_fallback);
    if (f === NO_FOLIO) return f;
    m.vmstat[V.thp_fault_fallback_charge]++;
    countMthpStat(m, order, MTHP.anon_fault_fallback_charge);
    folioPut(m, f);
    return NO_FOLIO;
  }
  folioSet(m.map, f, PG.PG_uptodate);
  return f;
}

/** Flags of the PMD entry of an area's own folio. */
function ownEntry(m: Machine, vma: VmaId): number {
  const write = (m.vmas.flags[vma] & VM_WRITE) === 0 ? 0 : _PAGE_RW;
  return _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_PSE | write;
}

/** @kernel mm/huge_memory.c map_anon_folio_pmd (6.18) */
function mapAnonFolioPmd(m: Machine, vmf: VmFault, pmd: number, f: FolioId): void {
  const { vma, mm, address } = vmf;
  const order = m.thp.pmdOrder;
  folioAddNewAnonRmap(m, f, vma, address - (address % 2 ** m.pt.pmdShift), true);
  folioAddLruVma(m, f, vma);
  setPte(m, pmd, folioPfn(m.map, f), ownEntry(m, vma));
  addMmCounter(m, mm, MM_ANONPAGES, 1 << order);
  m.vmstat[V.thp_fault_alloc]++;
  countMthpStat(m, order, MTHP.anon_fault_alloc);
  deferredSplitFolio(m, f, false);
}

/**
 * The first access to memory that may be a huge page; its PMD entry is none. VM_FAULT_FALLBACK: try smaller ones.
 * @kernel mm/huge_memory.c do_huge_pmd_anonymous_page (6.18)
 */
export function doHugePmdAnonymousPage(m: Machine, vmf: VmFault, pmd: number): number {
  const { vma, mm } = vmf;
  if (!thpVmaSuitableOrder(m, vma, vmf.address, m.thp.pmdOrder)) return VM_FAULT_FALLBACK;
  anonVmaPrepare(m, vma);
  khugepagedEnterVma(m, vma, m.vmas.flags[vma]);
  if (!vmf.write && m.thp.useZeroPage) {
    const table = pteAllocOne(m, mm);
    if (table === 0) return VM_FAULT_OOM;
    const zero = mmGetHugeZeroFolio(m, mm);
    if (zero === NO_FOLIO) {
      pteFree(m, mm, table);
      m.vmstat[V.thp_fault_fallback]++;
      return VM_FAULT_FALLBACK;
    }
    pgtableTransHugeDeposit(m, pmd, table);
    setPte(m, pmd, folioPfn(m.map, zero), _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_PSE | _PAGE_SPECIAL);
    return 0;
  }
  const f = vmaAllocAnonFolioPmd(m, vma);
  if (f === NO_FOLIO) return VM_FAULT_FALLBACK;
  const table = pteAllocOne(m, mm);
  if (table === 0) {
    folioPut(m, f);
    return VM_FAULT_OOM;
  }
  pgtableTransHugeDeposit(m, pmd, table);
  mapAnonFolioPmd(m, vmf, pmd, f);
  return 0;
}

/** An access that the PMD entry allows. @kernel mm/huge_memory.c huge_pmd_set_accessed (6.18) */
export function hugePmdSetAccessed(m: Machine, vmf: VmFault, pmd: number): number {
  setPteFlags(m, pmd, pteFlags(m, pmd) | _PAGE_ACCESSED | (vmf.write ? _PAGE_DIRTY : 0));
  return 0;
}

/** A store into a huge page that is mapped read-only. VM_FAULT_FALLBACK: it is mapped by PTEs now, or not at all. @kernel mm/memory.c wp_huge_pmd (6.18) */
export function wpHugePmd(m: Machine, vmf: VmFault, pmd: number): number {
  if (vmaIsAnonymous(m, vmf.vma)) return doHugePmdWpPage(m, vmf, pmd);
  splitHugePmd(m, vmf.vma, pmd, vmf.address);
  return VM_FAULT_FALLBACK;
}

/** @kernel mm/huge_memory.c do_huge_pmd_wp_page (6.18) */
function doHugePmdWpPage(m: Machine, vmf: VmFault, pmd: number): number {
  const { vma } = vmf;
  if ((pteFlags(m, pmd) & _PAGE_SPECIAL) !== 0) {
    // @kernel mm/huge_memory.c do_huge_zero_wp_pmd (6.18)
    const f = vmaAllocAnonFolioPmd(m, vma);
    if (f !== NO_FOLIO) {
      flushPmdTlbRange(m, vmf.mm, vmf.address);
      mapAnonFolioPmd(m, vmf, pmd, f);
      return 0;
    }
  } else {
    const page = ptePayload(m, pmd) as Pfn;
    const f = pageFolio(m.map, page);
    const exclusive = pageAnonExclusive(m, f, page);
    if (!exclusive && folioTest(m.map, f, PG.PG_locked)) {
      m.wait = f;
      return VM_FAULT_RETRY;
    }
    if (exclusive || canReuseHuge(m, f, vma)) {
      if (!vmf.unshare) {
        setPteFlags(m, pmd, pteFlags(m, pmd) | ownEntry(m, vma));
        flushTlbRelaxed(m, vmf.mm, vmf.address);
      }
      return 0;
    }
  }
  splitHugePmd(m, vma, pmd, vmf.address);
  return VM_FAULT_FALLBACK;
}

/** Nobody else refers to the folio. */
function canReuseHuge(m: Machine, f: FolioId, vma: VmaId): boolean {
  const cached = folioTest(m.map, f, PG_swapcache);
  if (folioRefCount(m.map, f) > 1 + (cached ? 1 << m.thp.pmdOrder : 0)) return false;
  if (cached) folioFreeSwap(m, f);
  if (folioRefCount(m.map, f) !== 1) return false;
  folioMoveAnonRmap(m, f, vma);
  setPagesAnonExclusive(m, f, folioPfn(m.map, f), 1);
  return true;
}

/** The huge zero folio, with a reference that the address space keeps; 0: no memory. @kernel mm/huge_memory.c mm_get_huge_zero_folio (6.18) */
export function mmGetHugeZeroFolio(m: Machine, mm: MmId): FolioId {
  const { thp } = m;
  if ((m.mms.flags[mm] & MMF_HUGE_ZERO_FOLIO) !== 0) return thp.hugeZeroFolio;
  if (thp.hugeZeroFolio === NO_FOLIO) {
    const f = folioAlloc(m, (GFP_TRANSHUGE | __GFP_ZERO) & ~__GFP_MOVABLE, thp.pmdOrder);
    if (f === NO_FOLIO) {
      m.vmstat[V.thp_zero_page_alloc_failed]++;
      return f;
    }
    m.map[f * FOLIO_WORDS + m.map.flags1] &= ~PG_large_rmappable;
    thp.hugeZeroFolio = f;
    thp.hugeZeroRefs = 1;
    m.vmstat[V.thp_zero_page_alloc]++;
  }
  thp.hugeZeroRefs++;
  m.mms.flags[mm] |= MMF_HUGE_ZERO_FOLIO;
  return thp.hugeZeroFolio;
}

/** At the end of an address space. @kernel mm/huge_memory.c mm_put_huge_zero_folio (6.18) */
export function mmPutHugeZeroFolio(m: Machine, mm: MmId): void {
  if ((m.mms.flags[mm] & MMF_HUGE_ZERO_FOLIO) === 0) return;
  m.mms.flags[mm] &= ~MMF_HUGE_ZERO_FOLIO;
  m.thp.hugeZeroRefs--;
}

/** Pages that shrinkHugeZeroFolio would give back. @kernel mm/huge_memory.c shrink_huge_zero_folio_count (6.18) */
export const shrinkHugeZeroFolioCount = (m: Machine): number => (m.thp.hugeZeroRefs === 1 ? 1 << m.thp.pmdOrder : 0);

/** Frees the huge zero folio when no address space has it; the pages given back. @kernel mm/huge_memory.c shrink_huge_zero_folio_scan (6.18) */
export function shrinkHugeZeroFolioScan(m: Machine): number {
  const { thp } = m;
  if (thp.hugeZeroRefs !== 1) return 0;
  const f = thp.hugeZeroFolio;
  thp.hugeZeroFolio = NO_FOLIO;
  thp.hugeZeroRefs = 0;
  folioPut(m, f);
  return 1 << thp.pmdOrder;
}

/**
 * Makes a PMD leaf a table of PTEs of the same folio. A file's pages are unmapped instead: they fault again. With `freeze` the
 * PTEs are migration entries, and the reference is dropped, if no page may be pinned.
 * @kernel mm/huge_memory.c __split_huge_pmd_locked (6.18)
 */
export function splitHugePmd(m: Machine, vma: VmaId, pmd: number, addr: number, freeze = false): void {
  const mm = m.vmas.mm[vma] as MmId;
  const flags = pteFlags(m, pmd);
  const payload = ptePayload(m, pmd);
  const nr = 1 << m.thp.pmdOrder;
  m.vmstat[V.thp_split_pmd]++;
  if ((flags & PTE_MIGRATION) === 0) flushPmdTlbRange(m, mm, addr);
  if (!vmaIsAnonymous(m, vma)) {
    splitFilePmd(m, vma, mm, pmd, nr);
    return;
  }
  const page = payload as Pfn;
  const f = pageFolio(m.map, page);
  let entry: number;
  let shared = false;
  const migrating = (flags & PTE_MIGRATION) !== 0;
  if ((flags & _PAGE_SPECIAL) !== 0) entry = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_SPECIAL;
  else if (migrating) entry = flags;
  else {
    if ((flags & _PAGE_DIRTY) !== 0) folioSet(m.map, f, PG.PG_dirty);
    const exclusive = pageAnonExclusive(m, f, page);
    const frozen = freeze && (!exclusive || folioTryShareAnonRmap(m, f, page));
    entry = flags & ~_PAGE_PSE;
    if (frozen) {
      const was = flags & (_PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY);
      entry = PTE_MIGRATION | was | (exclusive ? PTE_SWP_EXCLUSIVE : 0);
    } else {
      folioRefAdd(m.map, f, nr - 1);
      folioAddAnonRmapPtes(m, f, page, nr, vma, addr - (addr % 2 ** m.pt.pmdShift), exclusive);
    }
    shared = frozen;
  }
  const table = pgtableTransHugeWithdraw(m, pmd);
  pteClear(m, pmd);
  const first = pmdPopulate(m, pmd, table) << m.pt.entryShift;
  if ((flags & _PAGE_SPECIAL) !== 0) for (let i = 0; i < nr; i++) setPte(m, first + i, 0, entry);
  else {
    setPtes(m, first, page, nr, entry);
    if (!migrating) folioRemoveRmapPmd(m, f, vma);
    if (shared) folioPut(m, f);
  }
}

/** @kernel mm/huge_memory.c __split_huge_pmd_locked (6.18) */
function splitFilePmd(m: Machine, vma: VmaId, mm: MmId, pmd: number, nr: number): void {
  const flags = pteFlags(m, pmd);
  const f = pageFolio(m.map, ptePayload(m, pmd) as Pfn);
  pteClear(m, pmd);
  addMmCounter(m, mm, mmCounter(m, f), -nr);
  if ((flags & PTE_MIGRATION) !== 0) return;
  if ((flags & _PAGE_DIRTY) !== 0 && !folioTest(m.map, f, PG.PG_dirty)) folioMarkDirty(m, f);
  if ((flags & _PAGE_ACCESSED) !== 0) folioSet(m.map, f, PG.PG_referenced);
  folioRemoveRmapPmd(m, f, vma);
  folioPut(m, f);
}

/** Removes a PMD leaf, or a migration entry there, with the table kept for it. @kernel mm/huge_memory.c zap_huge_pmd (6.18) */
export function zapHugePmd(m: Machine, vma: VmaId, pmd: number): void {
  const mm = m.vmas.mm[vma] as MmId;
  const flags = pteFlags(m, pmd);
  const f = pageFolio(m.map, ptePayload(m, pmd) as Pfn);
  const nr = 1 << m.thp.pmdOrder;
  pteClear(m, pmd);
  if ((flags & _PAGE_SPECIAL) !== 0) {
    pteFree(m, mm, pgtableTransHugeWithdraw(m, pmd));
    return;
  }
  const anon = folioTestAnon(m.map, f);
  const present = (flags & PTE_MIGRATION) === 0;
  if (present) folioRemoveRmapPmd(m, f, vma);
  if (anon) pteFree(m, mm, pgtableTransHugeWithdraw(m, pmd));
  addMmCounter(m, mm, mmCounter(m, f), -nr);
  if (!present) return;
  if (!anon && (flags & _PAGE_ACCESSED) !== 0 && vmaHasRecency(m, vma)) folioMarkAccessed(m, f);
  freeSwapCache(m, f);
  folioPut(m, f);
}

/**
 * Gives a child the huge page of its parent. 0: done, or there is no need; above 0: the parent's PMD was split, copy PTEs;
 * below 0: no memory. @kernel mm/huge_memory.c copy_huge_pmd (6.18)
 */
export function copyHugePmd(m: Machine, to: VmaId, from: VmaId, dst: number, src: number, addr: number): number {
  if (!vmaIsAnonymous(m, to)) return 0;
  const child = m.vmas.mm[to] as MmId;
  const table = pteAllocOne(m, child);
  if (table === 0) return -1;
  const flags = pteFlags(m, src);
  const page = ptePayload(m, src) as Pfn;
  const f = pageFolio(m.map, page);
  if ((flags & _PAGE_SPECIAL) !== 0) mmGetHugeZeroFolio(m, child);
  else {
    if ((flags & PTE_MIGRATION) === 0) {
      folioRefAdd(m.map, f, 1);
      if (!folioTryDupAnonRmapPmd(m, f, to, from)) {
        folioPut(m, f);
        pteFree(m, child, table);
        splitHugePmd(m, from, src, addr);
        return 1;
      }
    }
    addMmCounter(m, child, MM_ANONPAGES, 1 << m.thp.pmdOrder);
  }
  const next = flags & ~(_PAGE_RW | ((flags & PTE_MIGRATION) === 0 ? 0 : PTE_SWP_EXCLUSIVE));
  pgtableTransHugeDeposit(m, dst, table);
  setPteFlags(m, src, next);
  setPte(m, dst, page, (flags & PTE_MIGRATION) === 0 ? next & ~_PAGE_ACCESSED : next);
  return 0;
}
