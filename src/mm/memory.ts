/**
 * Page faults. What the page tables hold for the address decides:
 *
 *   PMD  none          huge page, if the area may have one (huge_memory_anon.ts) ── no ─┐
 *        huge page     mark accessed; a store into a read-only one: reuse, or split ────┤
 *        table ─────────────────────────────────────────────────────────────────────────▼
 *   PTE  none          anonymous memory: a load maps the zero page, a store the largest folio that fits (allocAnonFolio)
 *                      a file: memory_file.ts; a store into a private mapping copies the page
 *        swapped out   memory_swap.ts
 *        present       a store into a read-only page: memory_wp.ts
 *
 * A large folio of anonymous memory fits when its aligned block lies in the area and none of the block's entries is in use,
 * the zero page included: one page touched early keeps the rest of its block small.
 */
import { anonVmaPrepare } from './anon_vma.ts';
import { folioUnlock } from './filemap.ts';
import { doHugePmdAnonymousPage, hugePmdSetAccessed, wpHugePmd } from './huge_memory_anon.ts';
import { type FolioId, type MmId, NO_FOLIO, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge } from './memcontrol.ts';
import { doReadFault, doSharedFault, vmOpsOf } from './memory_file.ts';
import {
  anonBesideFull,
  folioAddLruVma,
  folioPrealloc,
  pteRangeNone,
  setPtes,
  vmaAllocFolio,
  vmaHasRecency,
} from './memory_pte.ts';
import { doSwapPage } from './memory_swap.ts';
import { doWpPage } from './memory_wp.ts';
import { addMmCounter, MM_ANONPAGES } from './mm_struct.ts';
import { folioOrder, folioPfn, folioRefAdd, folioSet, pageFolio } from './mm_types.ts';
import { flushTlbRelaxed } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_SPECIAL,
  _PAGE_USER,
  PTE_HWPOISON,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_TABLE,
  pmdAlloc,
  pteAllocMap,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import { folioAddNewAnonRmap } from './rmap.ts';
import { folioPut } from './swap.ts';
import {
  countMthpStat,
  highestOrder,
  MTHP,
  TVA_PAGEFAULT,
  thpVmaAllowableOrders,
  thpVmaSuitableOrders,
  vmaThpGfpMask,
} from './thp.ts';
import {
  VM_FAULT_ERROR,
  VM_FAULT_FALLBACK,
  VM_FAULT_HWPOISON,
  VM_FAULT_MAJOR,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
  type VmFault,
  type VmOperations,
} from './vm_fault.ts';
import { linearPageIndex, VM_ACCESS_FLAGS, VM_SHARED, VM_WRITE, vmaIsAnonymous } from './vma.ts';
import { V } from './vmstat.ts';
import { setPageWritten } from './written.ts';

export { copyPageRange } from './memory_fork.ts';
export { doWpPage } from './memory_wp.ts';
export { zapPageRange } from './memory_zap.ts';

/**
 * A load or store that the page tables did not allow. VM_FAULT_* bits; with VM_FAULT_RETRY the whole fault is to be repeated
 * after the folio Machine.wait (0: at once).
 * @kernel mm/memory.c handle_mm_fault (6.18)
 */
export function handleMmFault(m: Machine, mm: MmId, vma: VmaId, addr: number, write: boolean): number {
  // What the area does not allow is refused before. @kernel arch/x86/mm/fault.c access_error (6.18)
  if ((m.vmas.flags[vma] & (write ? VM_WRITE : VM_ACCESS_FLAGS)) === 0) return VM_FAULT_SIGSEGV;
  const { vmf } = m;
  const address = addr - (addr % m.config.pageSize);
  vmf.mm = mm;
  vmf.vma = vma;
  vmf.address = address;
  vmf.pgoff = linearPageIndex(m, vma, address);
  vmf.write = write;
  if (!vmf.tried) vmf.asked = NO_FOLIO;
  m.wait = NO_FOLIO;
  if (m.lruGen !== null) m.lruGen.inFault = vmaHasRecency(m, vma);
  const ret = handleFault(m, vmf);
  if (m.lruGen !== null) m.lruGen.inFault = false;
  if ((ret & VM_FAULT_RETRY) !== 0) return ret;
  mmAccountFault(m, mm, ret, vmf.tried);
  vmf.tried = false;
  return ret;
}

/** @kernel mm/memory.c mm_account_fault (6.18) */
function mmAccountFault(m: Machine, mm: MmId, ret: number, tried: boolean): void {
  m.vmstat[V.pgfault]++;
  if ((ret & VM_FAULT_ERROR) !== 0) return;
  if ((ret & VM_FAULT_MAJOR) !== 0 || tried) m.mms.majFlt[mm]++;
  else m.mms.minFlt[mm]++;
}

/** @kernel mm/memory.c __handle_mm_fault (6.18) */
function handleFault(m: Machine, vmf: VmFault): number {
  const pmd = pmdAlloc(m, vmf.mm, vmf.address);
  if (pmd < 0) return VM_FAULT_OOM;
  const flags = pteFlags(m, pmd);
  if (flags === 0) {
    if (vmaIsAnonymous(m, vmf.vma)) {
      const order = 1 << m.thp.pmdOrder;
      if (thpVmaAllowableOrders(m, vmf.vma, m.vmas.flags[vmf.vma], TVA_PAGEFAULT, order) !== 0) {
        const ret = doHugePmdAnonymousPage(m, vmf, pmd);
        if ((ret & VM_FAULT_FALLBACK) === 0) return ret;
      }
    }
  } else if ((flags & PTE_TABLE) === 0) {
    if ((flags & PTE_MIGRATION) !== 0) return migrationEntryWait(m, pmd);
    if ((flags & _PAGE_PSE) !== 0) {
      if ((!vmf.write && !vmf.unshare) || (flags & _PAGE_RW) !== 0) return hugePmdSetAccessed(m, vmf, pmd);
      const ret = wpHugePmd(m, vmf, pmd);
      if ((ret & VM_FAULT_FALLBACK) === 0) return ret;
    }
  }
  return handlePteFault(m, vmf, pmd);
}

/** The page is on its way elsewhere. @kernel mm/migrate.c migration_entry_wait (6.18) */
function migrationEntryWait(m: Machine, e: number): number {
  m.wait = pageFolio(m.map, ptePayload(m, e) as never);
  return VM_FAULT_RETRY;
}

/** @kernel mm/memory.c handle_pte_fault (6.18) */
function handlePteFault(m: Machine, vmf: VmFault, pmd: number): number {
  const e = pteOfPmd(m, pmd, vmf.address);
  const flags = e < 0 ? 0 : pteFlags(m, e);
  if (flags === 0) return vmaIsAnonymous(m, vmf.vma) ? doAnonymousPage(m, vmf, pmd) : doFault(m, vmf);
  if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) === 0) {
    if ((flags & PTE_SWAP) !== 0) return doSwapPage(m, vmf);
    if ((flags & PTE_HWPOISON) !== 0) return VM_FAULT_HWPOISON;
    // A marker: nothing may be here.
    return (flags & PTE_MIGRATION) !== 0 ? migrationEntryWait(m, e) : VM_FAULT_SIGSEGV;
  }
  if ((vmf.write || vmf.unshare) && (flags & _PAGE_RW) === 0) return doWpPage(m, vmf);
  const next = (flags & ~_PAGE_PROTNONE) | _PAGE_PRESENT | _PAGE_ACCESSED;
  setPteFlags(m, e, vmf.write ? next | _PAGE_DIRTY : next);
  if (vmf.write) flushTlbRelaxed(m, vmf.mm, vmf.address);
  return 0;
}

/** Flags of the entry that a store into private memory gets. */
function anonEntry(m: Machine, vma: VmaId): number {
  const entry = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;
  return (m.vmas.flags[vma] & VM_WRITE) === 0 ? entry : entry | _PAGE_RW | _PAGE_DIRTY;
}

/**
 * A folio for a store at entry `e`, which is none: the largest of the orders allowed whose block is free and for which there is
 * memory, else one page. 0: out of memory. @kernel mm/memory.c alloc_anon_folio (6.18)
 */
function allocAnonFolio(m: Machine, vmf: VmFault, e: number): FolioId {
  const { vma, address } = vmf;
  const below = (1 << m.thp.pmdOrder) - 1;
  let orders = thpVmaAllowableOrders(m, vma, m.vmas.flags[vma], TVA_PAGEFAULT, below);
  if (orders !== 0) orders = thpVmaSuitableOrders(m, vma, address, orders);
  while (orders !== 0) {
    const order = highestOrder(orders);
    // Tables are aligned as addresses are: the block's first entry has the low bits clear.
    if (pteRangeNone(m, e & -(1 << order), 1 << order)) {
      if (!m.thp.besideFull || anonBesideFull(m, vma, address, e, order)) break;
      countMthpStat(m, order, MTHP.anon_fault_declined);
    }
    orders &= ~(1 << order);
  }
  if (orders !== 0) {
    const gfp = vmaThpGfpMask(m, vma);
    do {
      const order = highestOrder(orders);
      const f = vmaAllocFolio(m, gfp, order);
      if (f !== NO_FOLIO) {
        if (memCgroupCharge(m, f, gfp)) return f;
        countMthpStat(m, order, MTHP.anon_fault_fallback_charge);
        folioPut(m, f);
      }
      countMthpStat(m, order, MTHP.anon_fault_fallback);
      orders &= ~(1 << order);
    } while (orders !== 0);
  }
  return folioPrealloc(m, true);
}

/** @kernel mm/memory.c do_anonymous_page (6.18) */
function doAnonymousPage(m: Machine, vmf: VmFault, pmd: number): number {
  const { vma, mm } = vmf;
  if ((m.vmas.flags[vma] & VM_SHARED) !== 0) return VM_FAULT_SIGBUS;
  if (pteFlags(m, pmd) === 0 && pteAllocMap(m, mm, vmf.address) < 0) return VM_FAULT_OOM;
  const e = pteOfPmd(m, pmd, vmf.address);
  if (!vmf.write) {
    setPte(m, e, 0, _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_SPECIAL);
    return 0;
  }
  anonVmaPrepare(m, vma);
  const f = allocAnonFolio(m, vmf, e);
  if (f === NO_FOLIO) return VM_FAULT_OOM;
  const order = folioOrder(m.map, f);
  const nr = 1 << order;
  const first = e & -nr;
  folioSet(m.map, f, PG.PG_uptodate);
  folioRefAdd(m.map, f, nr - 1);
  addMmCounter(m, mm, MM_ANONPAGES, nr);
  countMthpStat(m, order, MTHP.anon_fault_alloc);
  folioAddNewAnonRmap(m, f, vma, vmf.address - (e - first) * m.config.pageSize, true);
  folioAddLruVma(m, f, vma);
  setPtes(m, first, folioPfn(m.map, f), nr, anonEntry(m, vma));
  return 0;
}

/** @kernel mm/memory.c do_fault (6.18) */
function doFault(m: Machine, vmf: VmFault): number {
  const ops = vmOpsOf(m, vmf.vma);
  if (ops === null) return VM_FAULT_SIGBUS;
  if (!vmf.write) return doReadFault(m, vmf, ops);
  return (m.vmas.flags[vmf.vma] & VM_SHARED) === 0 ? doCowFault(m, vmf, ops) : doSharedFault(m, vmf, ops);
}

const NOT_MAPPED = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY;

/** The first access to a page of a private mapping is a store: a copy of the file's page. @kernel mm/memory.c do_cow_fault (6.18) */
function doCowFault(m: Machine, vmf: VmFault, ops: VmOperations): number {
  anonVmaPrepare(m, vmf.vma);
  const copy = folioPrealloc(m, false);
  if (copy === NO_FOLIO) return VM_FAULT_OOM;
  let ret = ops.fault(m, vmf);
  if ((ret & NOT_MAPPED) === 0) {
    folioSet(m.map, copy, PG.PG_uptodate);
    ret |= finishCow(m, vmf, copy);
    folioUnlock(m, vmf.folio);
    folioPut(m, vmf.folio);
  }
  if ((ret & NOT_MAPPED) !== 0) folioPut(m, copy);
  return ret;
}

/** Maps such a copy. @kernel mm/memory.c finish_fault (6.18) */
function finishCow(m: Machine, vmf: VmFault, copy: FolioId): number {
  const { vma, mm, address } = vmf;
  const pmd = pmdAlloc(m, mm, address);
  if (pmd < 0 || (pteFlags(m, pmd) === 0 && pteAllocMap(m, mm, address) < 0)) return VM_FAULT_OOM;
  const e = pteOfPmd(m, pmd, address);
  if (e < 0 || pteFlags(m, e) !== 0) return VM_FAULT_NOPAGE;
  folioAddNewAnonRmap(m, copy, vma, address, true);
  setPageWritten(m, folioPfn(m.map, copy));
  folioAddLruVma(m, copy, vma);
  setPte(m, e, folioPfn(m.map, copy), anonEntry(m, vma));
  addMmCounter(m, mm, MM_ANONPAGES, 1);
  return 0;
}
