/**
 * What a child gets of its parent's memory at fork: the same pages, shared, which neither may write any more. Only areas that
 * have anonymous pages are copied; files are mapped again by faults. A page that a device may be writing to is copied at once.
 */

import { contpteClearFlags } from './contpte.ts';
import { copyHugePmd } from './huge_memory_anon.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn, type SwapEntry, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  folioAddLruVma,
  folioPrealloc,
  folioPteBatch,
  isCowMapping,
  mmCounter,
  setPtes,
  vmNormalFolio,
} from './memory_pte.ts';
import { addMmCounter, MM_ANONPAGES, MM_SWAPENTS } from './mm_struct.ts';
import { folioFlags, folioPfn, folioRefAdd, folioSet, folioTestAnon, pageFolio } from './mm_types.ts';
import { PG } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_RW,
  _PAGE_USER,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_SWP_EXCLUSIVE,
  PTE_TABLE,
  pmdAlloc,
  pmdOffset,
  pteAllocMap,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import { folioAddNewAnonRmap, folioDupFileRmapPtes, folioTryDupAnonRmapPtes } from './rmap.ts';
import { swapDuplicate } from './swapfile.ts';
import { VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, VM_WRITE } from './vma.ts';
import { setPageWritten } from './written.ts';

/** Copies what is mapped in area `from` into its child `to`. False: out of memory. @kernel mm/memory.c copy_page_range (6.18) */
export function copyPageRange(m: Machine, to: VmaId, from: VmaId): boolean {
  const { vmas, pt } = m;
  // @kernel mm/memory.c vma_needs_copy (6.18)
  if ((vmas.flags[from] & (VM_PFNMAP | VM_MIXEDMAP)) === 0 && vmas.anonVma[from] === 0) return true;
  const parent = vmas.mm[from] as MmId;
  const child = vmas.mm[to] as MmId;
  const end = vmas.end[from];
  const size = 2 ** pt.pmdShift;
  const span = size * (pt.masks[1] + 1);
  for (let addr = vmas.start[from]; addr < end; ) {
    const pmd = pmdOffset(m, parent, addr);
    if (pmd < 0) {
      addr += span - (addr % span);
      continue;
    }
    const next = Math.min(addr - (addr % size) + size, end);
    const dst = pmdAlloc(m, child, addr);
    if (dst < 0) return false;
    const flags = pteFlags(m, pmd);
    let copied = flags === 0;
    if (!copied && (flags & PTE_TABLE) === 0) {
      const result = copyHugePmd(m, to, from, dst, pmd, addr);
      if (result < 0) return false;
      copied = result === 0;
    }
    if (!copied && !copyPteRange(m, to, from, pmd, addr, next)) return false;
    addr = next;
  }
  return true;
}

/** @kernel mm/memory.c copy_pte_range (6.18) */
function copyPteRange(m: Machine, to: VmaId, from: VmaId, pmd: number, start: number, end: number): boolean {
  let d = pteAllocMap(m, m.vmas.mm[to] as MmId, start);
  if (d < 0) return false;
  let e = pteOfPmd(m, pmd, start);
  const last = e + (end - start) * m.pagesPerByte;
  let addr = start;
  while (e < last) {
    const flags = pteFlags(m, e);
    let nr = 1;
    if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) {
      nr = copyPresentPtes(m, to, from, d, e, last - e, addr);
      if (nr === 0) return false;
    } else if (flags !== 0) copyNonpresentPte(m, to, d, e);
    d += nr;
    e += nr;
    addr += nr * m.config.pageSize;
  }
  return true;
}

/** Copies one entry that is present, and those that map pages of the same folio after it; how many, 0: no memory. @kernel mm/memory.c copy_present_ptes (6.18) */
function copyPresentPtes(m: Machine, to: VmaId, from: VmaId, d: number, e: number, max: number, addr: number): number {
  const page = ptePayload(m, e) as Pfn;
  const f = vmNormalFolio(m, page, pteFlags(m, e));
  if (f === NO_FOLIO) {
    copyEntries(m, from, d, e, 1);
    return 1;
  }
  const area = m.vmas.flags[from];
  const large = max > 1 && (folioFlags(m.map, f) & PG.PG_head) !== 0;
  const ignore = _PAGE_ACCESSED | _PAGE_RW | ((area & VM_SHARED) === 0 ? 0 : _PAGE_DIRTY);
  const child = m.vmas.mm[to] as MmId;
  let nr = large ? folioPteBatch(m, f, e, max, ignore) : 1;
  if (!folioTestAnon(m.map, f)) {
    folioRefAdd(m.map, f, nr);
    folioDupFileRmapPtes(m, f, page, nr, to);
  } else if (!dupAnon(m, f, page, nr, to, from)) {
    nr = 1;
    if (!large || !dupAnon(m, f, page, 1, to, from)) return copyPresentPage(m, to, d, addr) ? 1 : 0;
  }
  addMmCounter(m, child, mmCounter(m, f), nr);
  copyEntries(m, from, d, e, nr);
  return nr;
}

function dupAnon(m: Machine, f: FolioId, page: Pfn, nr: number, to: VmaId, from: VmaId): boolean {
  folioRefAdd(m.map, f, nr);
  if (folioTryDupAnonRmapPtes(m, f, page, nr, to, from)) return true;
  folioRefAdd(m.map, f, -nr);
  return false;
}

/** Gives the child the entries, and takes the right to write from both. @kernel mm/memory.c __copy_present_ptes (6.18) */
function copyEntries(m: Machine, from: VmaId, d: number, e: number, nr: number): void {
  const area = m.vmas.flags[from];
  let flags = pteFlags(m, e);
  if (isCowMapping(area)) {
    contpteClearFlags(m, e, nr, _PAGE_RW);
    flags &= ~_PAGE_RW;
  } else for (let i = 1; i < nr; i++) flags |= pteFlags(m, e + i) & _PAGE_RW;
  if ((area & VM_SHARED) !== 0) flags &= ~_PAGE_DIRTY;
  flags &= ~_PAGE_ACCESSED;
  setPtes(m, d, ptePayload(m, e), nr, flags);
}

/** A page that may be pinned: the child gets a copy. @kernel mm/memory.c copy_present_page (6.18) */
function copyPresentPage(m: Machine, to: VmaId, d: number, addr: number): boolean {
  const copy = folioPrealloc(m, false);
  if (copy === NO_FOLIO) return false;
  folioSet(m.map, copy, PG.PG_uptodate);
  folioAddNewAnonRmap(m, copy, to, addr, true);
  setPageWritten(m, folioPfn(m.map, copy));
  folioAddLruVma(m, copy, to);
  addMmCounter(m, m.vmas.mm[to] as MmId, MM_ANONPAGES, 1);
  const write = (m.vmas.flags[to] & VM_WRITE) === 0 ? 0 : _PAGE_RW;
  setPte(m, d, folioPfn(m.map, copy), _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_DIRTY | write);
  return true;
}

/** An entry that is not present: swapped out, on its way elsewhere, or a marker. @kernel mm/memory.c copy_nonpresent_pte (6.18) */
function copyNonpresentPte(m: Machine, to: VmaId, d: number, e: number): void {
  const flags = pteFlags(m, e);
  const child = m.vmas.mm[to] as MmId;
  let next = flags;
  if ((flags & PTE_SWAP) !== 0) {
    swapDuplicate(m, ptePayload(m, e) as SwapEntry);
    next &= ~PTE_SWP_EXCLUSIVE;
    addMmCounter(m, child, MM_SWAPENTS, 1);
  } else if ((flags & PTE_MIGRATION) !== 0) {
    addMmCounter(m, child, mmCounter(m, pageFolio(m.map, ptePayload(m, e) as Pfn)), 1);
    if (isCowMapping(m.vmas.flags[to])) next &= ~(_PAGE_RW | PTE_SWP_EXCLUSIVE);
  }
  if (next !== flags) setPteFlags(m, e, next);
  setPte(m, d, ptePayload(m, e), next);
}
