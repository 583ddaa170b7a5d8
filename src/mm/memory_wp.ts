/**
 * Stores into pages that are mapped read-only. A page of a private mapping that is known to be exclusive becomes writable. So
 * does one that turns out to be: nobody else refers to its small folio, or all references to its large folio are mappings of
 * this address space. Everything else is copied, as one page, whatever its folio's size.
 */
import { anonVmaPrepare } from './anon_vma.ts';
import { type FolioId, NO_FOLIO, NO_PFN, type Pfn, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { vmOpsOf, wpPageShared } from './memory_file.ts';
import { folioAddLruVma, folioPrealloc, mmCounter, vmNormalFolio } from './memory_pte.ts';
import { addMmCounter, MM_ANONPAGES } from './mm_struct.ts';
import { folioFlags, folioPfn, folioRefAdd, folioRefCount, folioSet, folioTest, folioTestAnon } from './mm_types.ts';
import { flushTlbPage, flushTlbRelaxed } from './mmu_gather.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  pteFlags,
  pteOffset,
  ptePayload,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import {
  folioAddNewAnonRmap,
  folioMapcount,
  folioMaybeMappedShared,
  folioMoveAnonRmap,
  folioRemoveRmapPtes,
  pageAnonExclusive,
  setPagesAnonExclusive,
} from './rmap.ts';
import { folioPut, lruAddDrain } from './swap.ts';
import { folioFreeSwap, freeSwapCache } from './swapfile.ts';
import { VM_FAULT_OOM, VM_FAULT_SIGBUS, type VmFault } from './vm_fault.ts';
import { VM_MAYSHARE, VM_SHARED, VM_WRITE } from './vma.ts';
import { V } from './vmstat.ts';
import { copyPageWritten } from './written.ts';

const { PG_head, PG_locked, PG_lru } = PG;

/** Are all references to a large folio mappings of one address space? @kernel mm/memory.c __wp_can_reuse_large_anon_folio (6.18) */
function wpCanReuseLarge(m: Machine, f: FolioId): boolean {
  // A folio with one page mapped is rather given back.
  if (folioMapcount(m, f) <= 1 || folioMaybeMappedShared(m, f)) return false;
  if (folioTest(m.map, f, PG_swapcache)) {
    if (folioTest(m.map, f, PG_locked)) return false;
    folioFreeSwap(m, f);
  }
  return folioMapcount(m, f) === folioRefCount(m.map, f);
}

/** May the page be written in place? @kernel mm/memory.c wp_can_reuse_anon_folio (6.18) */
function wpCanReuse(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { map } = m;
  if ((folioFlags(map, f) & PG_head) !== 0 && m.release.cowReuse === 'one-owner') return wpCanReuseLarge(m, f);
  if (folioRefCount(map, f) > 3) return false;
  if (!folioTest(map, f, PG_lru)) lruAddDrain(m);
  const cached = folioTest(map, f, PG_swapcache);
  if (folioRefCount(map, f) > (cached ? 2 : 1) || folioTest(map, f, PG_locked)) return false;
  if (cached) folioFreeSwap(m, f);
  if (folioRefCount(map, f) !== 1) return false;
  folioMoveAnonRmap(m, f, vma);
  return true;
}

/** A store at vmf.address, which is mapped read-only by a PTE. @kernel mm/memory.c do_wp_page (6.18) */
export function doWpPage(m: Machine, vmf: VmFault): number {
  const { vma } = vmf;
  const e = pteOffset(m, vmf.mm, vmf.address);
  const page = ptePayload(m, e) as Pfn;
  const f = vmNormalFolio(m, page, pteFlags(m, e));
  const area = m.vmas.flags[vma];
  if ((area & (VM_SHARED | VM_MAYSHARE)) !== 0) {
    const ops = vmOpsOf(m, vma);
    if (ops === null || f === NO_FOLIO) return VM_FAULT_SIGBUS;
    vmf.folio = f;
    vmf.page = page - folioPfn(m.map, f);
    return wpPageShared(m, vmf, ops, e);
  }
  if (f !== NO_FOLIO && folioTestAnon(m.map, f) && (pageAnonExclusive(m, f, page) || wpCanReuse(m, f, vma))) {
    setPagesAnonExclusive(m, f, page, 1);
    if (vmf.unshare) return 0;
    const write = (area & VM_WRITE) === 0 ? 0 : _PAGE_RW;
    setPteFlags(m, e, pteFlags(m, e) | _PAGE_ACCESSED | _PAGE_DIRTY | write);
    flushTlbRelaxed(m, vmf.mm, vmf.address);
    m.vmstat[V.pgreuse]++;
    return 0;
  }
  return wpPageCopy(m, vmf, e, f, page);
}

/** Puts a new page in the place of the one that entry `e` maps, `old` (0: the zero page). @kernel mm/memory.c wp_page_copy (6.18) */
function wpPageCopy(m: Machine, vmf: VmFault, e: number, old: FolioId, page: Pfn): number {
  const { vma, mm, address } = vmf;
  const { map } = m;
  if (old !== NO_FOLIO) folioRefAdd(map, old, 1);
  anonVmaPrepare(m, vma);
  const copy = folioPrealloc(m, old === NO_FOLIO);
  if (copy === NO_FOLIO) {
    if (old !== NO_FOLIO) folioPut(m, old);
    return VM_FAULT_OOM;
  }
  folioSet(map, copy, PG.PG_uptodate);
  // Reclaim, on the way, may have taken the page: the store faults again.
  if (ptePayload(m, e) !== page || (pteFlags(m, e) & _PAGE_PRESENT) === 0) {
    folioPut(m, copy);
    if (old !== NO_FOLIO) folioPut(m, old);
    return 0;
  }
  if (old === NO_FOLIO) addMmCounter(m, mm, MM_ANONPAGES, 1);
  else if (!folioTestAnon(map, old)) {
    addMmCounter(m, mm, mmCounter(m, old), -1);
    addMmCounter(m, mm, MM_ANONPAGES, 1);
  }
  folioAddNewAnonRmap(m, copy, vma, address, true);
  if (old !== NO_FOLIO) copyPageWritten(m, folioPfn(map, copy), folioTestAnon(map, old) ? page : NO_PFN);
  folioAddLruVma(m, copy, vma);
  const write = (m.vmas.flags[vma] & VM_WRITE) === 0 ? 0 : _PAGE_RW;
  const store = vmf.unshare ? 0 : _PAGE_DIRTY | write;
  setPte(m, e, folioPfn(map, copy), _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | store);
  flushTlbPage(m, mm, address);
  if (old === NO_FOLIO) return 0;
  folioRemoveRmapPtes(m, old, page, 1, vma);
  // The entry's reference, and the one taken above.
  folioPut(m, old);
  freeSwapCache(m, old);
  folioPut(m, old);
  return 0;
}
