/**
 * mremap(2): an area grows, shrinks, or moves with all that is in its page tables. Pages stay where they are; a move takes over
 * whole tables where both addresses allow it:
 *
 *   both ends at a PUD's border: the PMD table     at a PMD's: the PTE table, or the huge entry     else entry by entry
 */
import { anonVmaClone, unlinkAnonVmas } from './anon_vma.ts';
import { splitHugePmd } from './huge_memory_anon.ts';
import type { MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { doMunmap, EFAULT, EINVAL, ENOMEM, getUnmappedArea, vmStatAccount } from './mmap.ts';
import { flushTlbRange } from './mmu_gather.ts';
import {
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  entryAlloc,
  entryOffset,
  moveTable,
  PTE_TABLE,
  pgtableTransHugeDeposit,
  pgtableTransHugeWithdraw,
  pteAllocMap,
  pteClear,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPte,
} from './pgtable.ts';
import {
  VM_DONTEXPAND,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_PFNMAP,
  vmAreaAlloc,
  vmaIsAnonymous,
  vmaLink,
  vmaLookup,
} from './vma.ts';
import { MAX_MAP_COUNT, vmaMergeNewRange, vmaNext, vmaPrev } from './vma_merge.ts';

export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;
export const MREMAP_DONTUNMAP = 4;

/** Bytes to the next border of `size` of either address, held to `left`. @kernel mm/mremap.c get_extent (6.18) */
const getExtent = (size: number, from: number, to: number, left: number): number =>
  Math.min(left, size - (from % size), size - (to % size));

/** May the move begin at the border below, where nothing lies? @kernel mm/mremap.c can_realign_addr (6.18) */
function canRealign(m: Machine, mm: MmId, old: VmaId, next: VmaId, from: number, to: number, length: number): boolean {
  const size = 2 ** m.pt.pmdShift;
  const align = from % size;
  if (align === 0 || length < size - align || align !== to % size) return false;
  return alone(m, mm, old, from, from - align) && alone(m, mm, next, to, to - align);
}
function alone(m: Machine, mm: MmId, vma: VmaId, addr: number, low: number): boolean {
  if (m.vmas.start[vma] !== addr) return false;
  const prev = vmaPrev(m, mm, addr);
  return prev === 0 || m.vmas.end[prev] <= low;
}

/** Moves what [from, from + length) maps to `to`; false: no memory, and a part has moved. @kernel mm/mremap.c move_page_tables (6.18) */
export function movePageTables(m: Machine, old: VmaId, next: VmaId, from: number, to: number, length: number): boolean {
  const mm = m.vmas.mm[old] as MmId;
  const { pt } = m;
  const end = from + length;
  const pmdSize = 2 ** pt.pmdShift;
  // With three levels there is no PUD: its table is the top one.
  const pudSize = pt.top > 2 ? 2 ** (pt.pmdShift + pt.shifts[2]) : 0;
  const back = canRealign(m, mm, old, next, from, to, length) ? from % pmdSize : 0;
  const shift = to - from;
  let extent = 0;
  for (let at = from - back; at < end; at += extent) {
    if (pudSize > 0) {
      extent = getExtent(pudSize, at, at + shift, end - at);
      const pud = entryOffset(m, mm, at, 2);
      if (pud < 0 || pteFlags(m, pud) === 0) continue;
      const newPud = entryAlloc(m, mm, at + shift, 2);
      if (newPud < 0) return false;
      if (extent === pudSize && pteFlags(m, newPud) === 0) {
        moveTable(m, pud, newPud);
        flushTlbRange(m, mm, at, at + pudSize);
        continue;
      }
    }
    extent = getExtent(pmdSize, at, at + shift, end - at);
    const pmd = entryOffset(m, mm, at, 1);
    if (pmd < 0 || pteFlags(m, pmd) === 0) continue;
    const newPmd = entryAlloc(m, mm, at + shift, 1);
    if (newPmd < 0) return false;
    if (extent === pmdSize && pteFlags(m, newPmd) === 0) {
      if ((pteFlags(m, pmd) & PTE_TABLE) !== 0) moveTable(m, pmd, newPmd);
      else moveHugePmd(m, pmd, newPmd);
      flushTlbRange(m, mm, at, at + pmdSize);
      continue;
    }
    if ((pteFlags(m, pmd) & PTE_TABLE) === 0) splitHugePmd(m, old, pmd, at);
    if (pteFlags(m, pmd) === 0) continue;
    const e = pteAllocMap(m, mm, at + shift);
    if (e < 0) return false;
    if (movePtes(m, pteOfPmd(m, pmd, at), e, extent * m.pagesPerByte)) flushTlbRange(m, mm, at, at + extent);
  }
  return true;
}

/** Whether the TLB must hear of it. @kernel mm/mremap.c move_ptes (6.18) */
function movePtes(m: Machine, from: number, to: number, nr: number): boolean {
  let flush = false;
  for (let i = 0; i < nr; i++) {
    const flags = pteFlags(m, from + i);
    if (flags === 0) continue;
    setPte(m, to + i, ptePayload(m, from + i), flags);
    pteClear(m, from + i);
    if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) flush = true;
  }
  return flush;
}

/** A huge entry, with the table kept ready for it. @kernel mm/huge_memory.c move_huge_pmd (6.18) */
function moveHugePmd(m: Machine, from: number, to: number): void {
  const { pt } = m;
  if (from >>> pt.entryShift !== to >>> pt.entryShift && pt.deposits[from >>> pt.entryShift] > 0)
    pgtableTransHugeDeposit(m, to, pgtableTransHugeWithdraw(m, from));
  setPte(m, to, ptePayload(m, from), pteFlags(m, from));
  pteClear(m, from);
}

/** An area like a part of another, elsewhere: merged there or new. 0: no memory. @kernel mm/vma.c copy_vma (6.18) */
function copyVma(m: Machine, vma: VmaId, addr: number, length: number, offset: number): VmaId {
  const { vmas } = m;
  const mm = vmas.mm[vma] as MmId;
  // Untouched anonymous memory is numbered by its new place.
  const fresh = vmaIsAnonymous(m, vma) && vmas.anonVma[vma] === 0;
  const pgoff = fresh ? addr * m.pagesPerByte : offset;
  const merged = vmaMergeNewRange(m, mm, {
    start: addr,
    end: addr + length,
    pgoff,
    flags: vmas.flags[vma],
    file: vmas.file[vma],
    anonVma: vmas.anonVma[vma],
    middle: 0 as VmaId,
    copiedFrom: vma,
  });
  if (merged !== 0) return merged;
  const next = vmAreaAlloc(m);
  const t = m.vmas;
  for (const c of [t.flags, t.file, t.mapping, t.anonVma]) c[next] = c[vma];
  t.mm[next] = mm;
  t.start[next] = addr;
  t.end[next] = addr + length;
  t.pgoff[next] = pgoff;
  anonVmaClone(m, next, vma);
  vmaLink(m, mm, next);
  return next;
}

/** @kernel mm/mremap.c move_vma (6.18) */
function moveVma(
  m: Machine,
  from: VmaId,
  addr: number,
  oldLength: number,
  to: number,
  length: number,
  flags: number,
): number {
  const mm = m.vmas.mm[from] as MmId;
  if (m.mms.nrVmas[mm] >= MAX_MAP_COUNT - 3) return -ENOMEM;
  const pgoff = m.vmas.pgoff[from] + (addr - m.vmas.start[from]) * m.pagesPerByte;
  const next = copyVma(m, from, to, length, pgoff);
  if (next === 0) return -ENOMEM;
  // The area that was merged with its own copy.
  const vma = vmaLookup(m, mm, addr);
  const moved = movePageTables(m, vma, next, addr, to, oldLength);
  if (!moved) movePageTables(m, next, vma, to, addr, oldLength);
  const bits = m.vmas.flags[vma];
  vmStatAccount(m, mm, bits, length * m.pagesPerByte);
  if ((bits & VM_LOCKED) !== 0) m.mms.lockedVm[mm] += length * m.pagesPerByte;
  if (!moved) {
    doMunmap(m, mm, to, length);
    return -ENOMEM;
  }
  if ((flags & MREMAP_DONTUNMAP) !== 0) {
    if ((bits & VM_LOCKED) !== 0) m.mms.lockedVm[mm] -= (m.vmas.end[vma] - m.vmas.start[vma]) * m.pagesPerByte;
    m.vmas.flags[vma] &= ~(VM_LOCKED | VM_LOCKONFAULT);
    if (next !== vma && m.vmas.start[vma] === addr && m.vmas.end[vma] === addr + oldLength) unlinkAnonVmas(m, vma);
    return to;
  }
  doMunmap(m, mm, addr, oldLength);
  return to;
}

/** Grows an area where it is; false: something is in the way. @kernel mm/mremap.c expand_vma_in_place (6.18) */
function expandInPlace(m: Machine, vma: VmaId, delta: number): boolean {
  const { vmas } = m;
  const mm = vmas.mm[vma] as MmId;
  const end = vmas.end[vma];
  const next = vmaNext(m, mm, end);
  if (end + delta > m.geometry.userEnd || (next !== 0 && vmas.start[next] < end + delta)) return false;
  const flags = vmas.flags[vma];
  const merged = vmaMergeNewRange(m, mm, {
    start: end,
    end: end + delta,
    pgoff: vmas.pgoff[vma] + (end - vmas.start[vma]) * m.pagesPerByte,
    flags,
    file: vmas.file[vma],
    anonVma: vmas.anonVma[vma],
    middle: 0 as VmaId,
    copiedFrom: 0 as VmaId,
  });
  if (merged === 0) return false;
  vmStatAccount(m, mm, flags, delta * m.pagesPerByte);
  if ((flags & VM_LOCKED) !== 0) m.mms.lockedVm[mm] += delta * m.pagesPerByte;
  return true;
}

/** Moves or resizes [addr, addr + oldLength); the address, or an error below zero. @kernel mm/mremap.c do_mremap (6.18) */
export function mremap(
  m: Machine,
  mm: MmId,
  addr: number,
  oldLength: number,
  newLength: number,
  flags: number,
  newAddr: number,
): number {
  const size = m.config.pageSize;
  let old = Math.ceil(oldLength / size) * size;
  const length = Math.ceil(newLength / size) * size;
  const placed = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) !== 0;
  if (addr % size !== 0 || length === 0 || old === 0 || (placed && (flags & MREMAP_MAYMOVE) === 0)) return -EINVAL;
  if ((flags & MREMAP_DONTUNMAP) !== 0 && old !== length) return -EINVAL;
  if ((flags & MREMAP_FIXED) !== 0) {
    if (newAddr % size !== 0 || newAddr + length > m.geometry.userEnd) return -EINVAL;
    if (addr + old > newAddr && newAddr + length > addr) return -EINVAL;
  }
  let vma = vmaLookup(m, mm, addr);
  if (vma === 0) return -EFAULT;
  if (addr + Math.min(old, length) > m.vmas.end[vma] || (length > old && addr + old > m.vmas.end[vma])) return -EFAULT;
  if (length > old && (m.vmas.flags[vma] & (VM_DONTEXPAND | VM_PFNMAP)) !== 0) return -EFAULT;
  if (!placed && length <= old) {
    if (length < old) {
      const error = doMunmap(m, mm, addr + length, old - length);
      if (error < 0) return error;
    }
    return addr;
  }
  if (!placed && addr + old === m.vmas.end[vma] && expandInPlace(m, vma, length - old)) return addr;
  if ((flags & MREMAP_MAYMOVE) === 0) return -ENOMEM;
  let to = newAddr;
  if ((flags & MREMAP_FIXED) !== 0) {
    const error = doMunmap(m, mm, newAddr, length);
    if (error < 0) return error;
    vma = vmaLookup(m, mm, addr);
    if (vma === 0) return -EFAULT;
  }
  if (length < old) {
    const error = doMunmap(m, mm, addr + length, old - length);
    if (error < 0) return error;
    vma = vmaLookup(m, mm, addr);
    old = length;
  }
  if ((flags & MREMAP_FIXED) === 0) {
    const { file, pgoff, start } = m.vmas;
    to = getUnmappedArea(m, mm, length, file[vma] as never, pgoff[vma] + (addr - start[vma]) * m.pagesPerByte);
    if (to < 0) return to;
  }
  return moveVma(m, vma, addr, old, to, length, flags);
}
