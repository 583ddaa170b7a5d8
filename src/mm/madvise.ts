/**
 * madvise(2): advice about a range of memory, given to each area in it in turn. Advice that lasts becomes flags of the area,
 * which is cut or joined to its neighbours for it; the rest is carried out at once.
 */

import { GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import { type MmId, NO_FOLIO, type Pfn, type SwapEntry, type VmaId } from './ids.ts';
import { khugepagedEnterVma } from './khugepaged.ts';
import { madviseCollapse } from './khugepaged_collapse.ts';
import type { Machine } from './machine.ts';
import { madviseRemove, madviseWillneed } from './madvise_file.ts';
import { madviseLruRange } from './madvise_lru.ts';
import { handleMmFault } from './memory.ts';
import { zapPageRange } from './memory_zap.ts';
import { folioSet, folioTest, folioTestAnon, pageFolio } from './mm_types.ts';
import { EAGAIN, EFAULT, EINVAL, ENOMEM } from './mmap.ts';
import { PG } from './page_flags.ts';
import { swapReadFolio } from './page_io.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_SPECIAL,
  PTE_SWAP,
  PTE_TABLE,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { folioMarkAccessed, folioPut, lruAddDrain } from './swap.ts';
import { readSwapCacheAsync, type SwapRead } from './swap_state.ts';
import { VM_FAULT_ERROR, VM_FAULT_OOM, VM_FAULT_RETRY } from './vm_fault.ts';
import {
  VM_HUGEPAGE,
  VM_LOCKED,
  VM_NOHUGEPAGE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_READ,
  VM_SEQ_READ,
  VM_WRITE,
  vmaIsAnonymous,
  vmaLookup,
} from './vma.ts';
import { vmaModifyFlags, vmaNext } from './vma_merge.ts';

export type Madvice =
  | 'normal'
  | 'random'
  | 'sequential'
  | 'willneed'
  | 'dontneed'
  | 'free'
  | 'remove'
  | 'hugepage'
  | 'nohugepage'
  | 'cold'
  | 'pageout'
  | 'populate_read'
  | 'populate_write'
  | 'collapse';

/**
 * Advice about [start, start + length). 0: done. Above 0: the same call again after the folio Machine.wait (0: at once). Below 0:
 * an error; the areas before the one that gave it have been dealt with, and where nothing is mapped the others are, too.
 * @kernel mm/madvise.c do_madvise (6.18)
 */
export function madvise(m: Machine, mm: MmId, start: number, length: number, advice: Madvice): number {
  const size = m.config.pageSize;
  const end = start + Math.ceil(length / size) * size;
  if (start % size !== 0 || end < start || end > m.geometry.userEnd) return -EINVAL;
  if (end === start) return 0;
  if (advice === 'populate_read' || advice === 'populate_write')
    return madvisePopulate(m, mm, start, end, advice === 'populate_write');
  let unmapped = 0;
  // @kernel mm/madvise.c madvise_walk_vmas (6.18)
  for (let at = start; at < end; ) {
    const vma = vmaNext(m, mm, at);
    if (vma === 0) return -ENOMEM;
    if (m.vmas.start[vma] > at) {
      unmapped = -ENOMEM;
      at = m.vmas.start[vma];
      if (at >= end) break;
    }
    const to = Math.min(m.vmas.end[vma], end);
    const result = madviseVma(m, vma, at, to, advice);
    if (result !== 0) return result;
    at = to;
  }
  return unmapped;
}

/** @kernel mm/madvise.c madvise_vma_behavior (6.18) */
function madviseVma(m: Machine, vma: VmaId, start: number, end: number, advice: Madvice): number {
  const flags = m.vmas.flags[vma];
  switch (advice) {
    case 'normal':
      return updateVma(m, vma, start, end, flags & ~(VM_RAND_READ | VM_SEQ_READ));
    case 'sequential':
      return updateVma(m, vma, start, end, (flags & ~VM_RAND_READ) | VM_SEQ_READ);
    case 'random':
      return updateVma(m, vma, start, end, (flags & ~VM_SEQ_READ) | VM_RAND_READ);
    case 'hugepage': {
      // @kernel mm/khugepaged.c hugepage_madvise (6.18)
      if (!m.config.thp) return -EINVAL;
      const next = (flags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE;
      khugepagedEnterVma(m, vma, next);
      return updateVma(m, vma, start, end, next);
    }
    case 'nohugepage':
      return m.config.thp ? updateVma(m, vma, start, end, (flags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE) : -EINVAL;
    case 'willneed':
      if (vmaIsAnonymous(m, vma)) swapinRange(m, vma, start, end);
      else madviseWillneed(m, vma, start, end);
      return 0;
    case 'remove':
      return madviseRemove(m, vma, start, end);
    case 'dontneed':
      if ((flags & (VM_PFNMAP | VM_LOCKED)) !== 0) return -EINVAL;
      zapPageRange(m, vma, start, end, true, true);
      return 0;
    case 'free':
      if ((flags & (VM_PFNMAP | VM_LOCKED)) !== 0 || !vmaIsAnonymous(m, vma)) return -EINVAL;
      madviseLruRange(m, vma, start, end, 'free');
      return 0;
    case 'cold':
    case 'pageout':
      if ((flags & (VM_PFNMAP | VM_LOCKED)) !== 0) return -EINVAL;
      madviseLruRange(m, vma, start, end, advice);
      return 0;
    case 'collapse':
      return madviseCollapse(m, vma, start, end);
    default:
      return -EINVAL;
  }
}

/** @kernel mm/madvise.c madvise_update_vma (6.18) */
function updateVma(m: Machine, vma: VmaId, start: number, end: number, flags: number): number {
  if (flags === m.vmas.flags[vma]) return 0;
  const now = vmaModifyFlags(m, vma, start, end, flags);
  if (now === 0) return -EAGAIN;
  m.vmas.flags[now] = flags;
  return 0;
}

/** Reads what is swapped out into the swap cache. @kernel mm/madvise.c swapin_walk_pmd_entry (6.18) */
function swapinRange(m: Machine, vma: VmaId, start: number, end: number): void {
  const mm = m.vmas.mm[vma] as MmId;
  const out: SwapRead = { allocated: false };
  const size = 2 ** m.pt.pmdShift;
  for (let addr = start; addr < end; ) {
    const next = Math.min(addr - (addr % size) + size, end);
    const pmd = pmdOffset(m, mm, addr);
    const first = pmd < 0 ? -1 : pteOfPmd(m, pmd, addr);
    const last = first + (next - addr) * m.pagesPerByte;
    if (first >= 0)
      for (let e = first; e < last; e++) {
        if ((pteFlags(m, e) & PTE_SWAP) === 0) continue;
        const f = readSwapCacheAsync(m, ptePayload(m, e) as SwapEntry, GFP_HIGHUSER_MOVABLE, out);
        if (f === NO_FOLIO) continue;
        if (out.allocated) swapReadFolio(m, f, true);
        folioPut(m, f);
      }
    addr = next;
  }
  lruAddDrain(m);
}

/** Is the page there as wanted? It counts as used then. Pages that the entry covers from `addr` on, or 0. @kernel mm/gup.c follow_page_mask (6.18) */
function followPage(m: Machine, mm: MmId, addr: number, write: boolean): number {
  const pmd = pmdOffset(m, mm, addr);
  if (pmd < 0) return 0;
  const table = (pteFlags(m, pmd) & PTE_TABLE) !== 0;
  const e = table ? pteOfPmd(m, pmd, addr) : pmd;
  const flags = pteFlags(m, e);
  const needs = write ? _PAGE_PRESENT | _PAGE_RW : _PAGE_PRESENT;
  if ((flags & needs) !== needs) return 0;
  if (!table) {
    setPteFlags(m, e, flags | _PAGE_ACCESSED | (write ? _PAGE_DIRTY : 0));
    return (2 ** m.pt.pmdShift - (addr % 2 ** m.pt.pmdShift)) * m.pagesPerByte;
  }
  if ((flags & _PAGE_SPECIAL) === 0) {
    const f = pageFolio(m.map, ptePayload(m, e) as Pfn);
    if (write && (flags & _PAGE_DIRTY) === 0 && !folioTest(m.map, f, PG.PG_dirty)) {
      if (folioTestAnon(m.map, f)) folioSet(m.map, f, PG.PG_dirty);
      else folioMarkDirty(m, f);
    }
    folioMarkAccessed(m, f);
  }
  return 1;
}

/** @kernel mm/madvise.c madvise_populate (6.18) */
function madvisePopulate(m: Machine, mm: MmId, start: number, end: number, write: boolean): number {
  const result = faultinPageRange(m, mm, start, end, write);
  if (result <= 0) lruAddDrain(m);
  return result;
}

/** Faults in what is missing; after a wait it goes on where it was. @kernel mm/gup.c faultin_page_range (6.18) */
function faultinPageRange(m: Machine, mm: MmId, start: number, end: number, write: boolean): number {
  const size = m.config.pageSize;
  const from = Math.max(start, m.vmf.populated);
  m.vmf.populated = 0;
  for (let addr = from; addr < end; ) {
    const vma = vmaLookup(m, mm, addr);
    if (vma === 0) return -ENOMEM;
    // @kernel mm/gup.c check_vma_flags (6.18)
    if ((m.vmas.flags[vma] & (write ? VM_WRITE : VM_READ)) === 0) return -EINVAL;
    const nr = followPage(m, mm, addr, write);
    if (nr > 0) {
      m.vmf.tried = false;
      addr += nr * size;
      continue;
    }
    const ret = handleMmFault(m, mm, vma, addr, write);
    if ((ret & VM_FAULT_RETRY) !== 0) {
      m.vmf.tried = true;
      if (m.wait === NO_FOLIO) continue;
      m.vmf.populated = addr;
      return 1;
    }
    if ((ret & VM_FAULT_ERROR) !== 0) return (ret & VM_FAULT_OOM) !== 0 ? -ENOMEM : -EFAULT;
  }
  return 0;
}
