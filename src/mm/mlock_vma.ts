/**
 * mlock(2) and munlock(2) over areas: the flag, and what is mapped already. Missing pages are the caller's to fault in.
 * @kernel mm/mlock.c do_mlock (6.18)
 */
import type { FolioId, MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { BATCH_IGNORE, folioPteBatch, vmNormalFolio } from './memory_pte.ts';
import { mlockFolio, munlockFolio } from './mlock.ts';
import { folioIndex, folioNrPages } from './mm_types.ts';
import { EINVAL, ENOMEM } from './mmap.ts';
import {
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  PTE_TABLE,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
} from './pgtable.ts';
import { lruAddDrain } from './swap.ts';
import { VM_LOCKED, VM_LOCKONFAULT } from './vma.ts';
import { VM_SPECIAL, vmaModifyFlags, vmaNext } from './vma_merge.ts';

/** Is the whole folio in [start, end) of the area? @kernel mm/internal.h folio_within_range (6.18) */
function folioWithinRange(m: Machine, f: FolioId, vma: VmaId, start: number, end: number): boolean {
  const size = m.config.pageSize;
  const addr = m.vmas.start[vma] + ((folioIndex(m.map, f) - m.vmas.pgoff[vma]) | 0) * size;
  return addr >= start && addr + folioNrPages(m.map, f) * size <= end;
}

/** Marks or unmarks the folios that are mapped in [start, end). @kernel mm/mlock.c mlock_pte_range (6.18) */
function mlockRange(m: Machine, vma: VmaId, start: number, end: number, lock: boolean): void {
  const mm = m.vmas.mm[vma] as MmId;
  const { pageSize } = m.config;
  const span = 2 ** m.pt.pmdShift;
  for (let addr = start; addr < end; ) {
    const next = Math.min((Math.floor(addr / span) + 1) * span, end);
    const pmd = pmdOffset(m, mm, addr);
    if (pmd < 0 || (pteFlags(m, pmd) & PTE_TABLE) === 0) {
      const f = pmd >= 0 && pmdLeaf(m, pmd) ? vmNormalFolio(m, ptePayload(m, pmd), pteFlags(m, pmd)) : 0;
      if (f !== 0) mark(m, f as FolioId, lock);
      addr = next;
      continue;
    }
    for (let e = pteOfPmd(m, pmd, addr); addr < next; ) {
      const flags = pteFlags(m, e);
      let step = 1;
      if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) {
        const f = vmNormalFolio(m, ptePayload(m, e), flags);
        if (f !== 0) {
          const nr = folioNrPages(m.map, f);
          if (nr > 1) step = folioPteBatch(m, f, e, (next - addr) / pageSize, BATCH_IGNORE);
          // A large folio is locked when all of it is mapped here; unlocked in any case.
          if (!lock || nr === 1 || (step === nr && folioWithinRange(m, f, vma, start, end))) mark(m, f, lock);
        }
      }
      e += step;
      addr += step * pageSize;
    }
  }
}

function mark(m: Machine, f: FolioId, lock: boolean): void {
  if (lock) mlockFolio(m, f);
  else munlockFolio(m, f);
}

/** One area's part. @kernel mm/mlock.c mlock_fixup (6.18) */
function mlockFixup(m: Machine, vma: VmaId, start: number, end: number, flags: number): number {
  const was = m.vmas.flags[vma];
  if (flags === was || (was & VM_SPECIAL) !== 0) return 0;
  const now = vmaModifyFlags(m, vma, start, end, flags);
  if (now === 0) return -ENOMEM;
  const lock = (flags & VM_LOCKED) !== 0;
  const before = (was & VM_LOCKED) !== 0;
  const mm = m.vmas.mm[now];
  if (lock !== before) m.mms.lockedVm[mm] += (lock ? 1 : -1) * (end - start) * m.pagesPerByte;
  m.vmas.flags[now] = flags;
  if (lock === before) return 0;
  lruAddDrain(m);
  mlockRange(m, now, start, end, lock);
  lruAddDrain(m);
  return 0;
}

/** Locks or unlocks [start, start + length); 0, or an error below zero. @kernel mm/mlock.c apply_vma_lock_flags (6.18) */
export function doMlock(m: Machine, mm: MmId, start: number, length: number, lock: boolean): number {
  const size = m.config.pageSize;
  const from = Math.floor(start / size) * size;
  const end = Math.ceil((start + length) / size) * size;
  if (end < from) return -EINVAL;
  lruAddDrain(m);
  for (let at = from; at < end; ) {
    const vma = vmaNext(m, mm, at);
    if (vma === 0 || m.vmas.start[vma] > at) return -ENOMEM;
    const to = Math.min(m.vmas.end[vma], end);
    const flags = (m.vmas.flags[vma] & ~(VM_LOCKED | VM_LOCKONFAULT)) | (lock ? VM_LOCKED : 0);
    const error = mlockFixup(m, vma, at, to, flags);
    if (error < 0) return error;
    at = to;
  }
  return 0;
}
