/**
 * mprotect(2). Taking rights away changes entries at once. Giving the right to write changes an entry only when the page is the
 * process's own (anonymous and exclusive) or, shared, already dirty; other pages wait for the fault.
 */
import { AS_SWAPBACKED } from './address_space.ts';
import { contpteTryFold } from './contpte.ts';
import { splitHugePmd } from './huge_memory_anon.ts';
import type { MmId, Pfn, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioTestAnon, pageFolio } from './mm_types.ts';
import { EACCES, EINVAL, ENOMEM, vmStatAccount } from './mmap.ts';
import { pteNeedsFlush, tlbFinishMmu, tlbFlushEntries, tlbGatherMmu } from './mmu_gather.ts';
import {
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_RW,
  _PAGE_SPECIAL,
  PTE_MIGRATION,
  PTE_SWP_EXCLUSIVE,
  PTE_TABLE,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { pageAnonExclusive } from './rmap.ts';
import {
  VM_ACCESS_FLAGS,
  VM_ACCOUNT,
  VM_EXEC,
  VM_NORESERVE,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  vmaIsAnonymous,
} from './vma.ts';
import { vmaModifyFlags, vmaNext } from './vma_merge.ts';

/** May the entry be made writable without a fault? @kernel mm/mprotect.c can_change_pte_writable (6.18) */
function canChangeWritable(m: Machine, vma: VmaId, flags: number, pfn: number): boolean {
  const area = m.vmas.flags[vma];
  if ((area & VM_WRITE) === 0 || (flags & _PAGE_PROTNONE) !== 0) return false;
  if ((area & VM_SHARED) !== 0) return (flags & _PAGE_DIRTY) !== 0;
  if ((flags & _PAGE_SPECIAL) !== 0) return false;
  const f = pageFolio(m.map, pfn as Pfn);
  return folioTestAnon(m.map, f) && pageAnonExclusive(m, f, pfn as Pfn);
}

/** @kernel mm/mmap.c vma_wants_writenotify (6.18) */
const wantsWritenotify = (m: Machine, vma: VmaId): boolean =>
  (m.vmas.flags[vma] & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED) &&
  (m.spaces.flags[m.vmas.mapping[vma]] & AS_SWAPBACKED) === 0;

/** The flags of an entry under the area's new protection. */
function modify(m: Machine, vma: VmaId, e: number, write: number, upgrade: boolean): void {
  const flags = pteFlags(m, e);
  const access = m.vmas.flags[vma] & VM_ACCESS_FLAGS;
  let next = flags & ~(_PAGE_RW | _PAGE_PROTNONE | _PAGE_PRESENT);
  next |= access === 0 ? _PAGE_PROTNONE : _PAGE_PRESENT | write;
  if (upgrade && canChangeWritable(m, vma, next, ptePayload(m, e))) next |= _PAGE_RW;
  if (next !== flags) setPteFlags(m, e, next);
  if (m.pt.contPtes > 1) contpteTryFold(m, e);
}

/** Entries that were not present: a writable migration entry becomes a readable one. @kernel mm/mprotect.c change_pte_range (6.18) */
function modifyAbsent(m: Machine, e: number): void {
  const flags = pteFlags(m, e);
  if ((flags & PTE_MIGRATION) === 0 || (flags & _PAGE_RW) === 0) return;
  setPteFlags(m, e, (flags & ~_PAGE_RW) | PTE_SWP_EXCLUSIVE);
}

/** Brings the entries of [start, end) in line with the area's flags. @kernel mm/mprotect.c change_protection (6.18) */
export function changeProtection(m: Machine, vma: VmaId, start: number, end: number): void {
  const mm = m.vmas.mm[vma] as MmId;
  const { pageSize } = m.config;
  const size = 2 ** m.pt.pmdShift;
  // Shared memory that nobody wants to hear writes of is writable at once.
  const area = m.vmas.flags[vma];
  const shared = (area & VM_SHARED) !== 0;
  const write = (area & VM_WRITE) === 0 || (shared && wantsWritenotify(m, vma)) || !shared ? 0 : _PAGE_RW;
  // @kernel mm/internal.h vma_wants_manual_pte_write_upgrade (6.18)
  const upgrade = (area & VM_WRITE) !== 0 && write === 0;
  for (let addr = start; addr < end; ) {
    const next = Math.min((Math.floor(addr / size) + 1) * size, end);
    const pmd = pmdOffset(m, mm, addr);
    if (pmd >= 0 && pteFlags(m, pmd) !== 0) {
      if ((pteFlags(m, pmd) & PTE_TABLE) === 0) {
        if (next - addr === size) {
          if (pmdLeaf(m, pmd)) {
            const was = pteFlags(m, pmd);
            modify(m, vma, pmd, write, upgrade);
            if (m.tlb !== null && pteNeedsFlush(m.tlb, was, pteFlags(m, pmd)))
              tlbFlushEntries(m.tlb, addr, next, m.pt.pmdShift);
          } else modifyAbsent(m, pmd);
        } else splitHugePmd(m, vma, pmd, addr);
      }
      let e = pteOfPmd(m, pmd, addr);
      if (e >= 0)
        for (; addr < next; addr += pageSize, e++) {
          const was = pteFlags(m, e);
          if ((was & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) {
            modify(m, vma, e, write, upgrade);
            if (m.tlb !== null && pteNeedsFlush(m.tlb, was, pteFlags(m, e)))
              tlbFlushEntries(m.tlb, addr, addr + pageSize, m.pageShift);
          } else if (was !== 0) modifyAbsent(m, e);
        }
    }
    addr = next;
  }
}

/** One area's part. 0, or an error below zero. @kernel mm/mprotect.c mprotect_fixup (6.18) */
export function mprotectFixup(m: Machine, vma: VmaId, start: number, end: number, newFlags: number): number {
  const { vmas } = m;
  const mm = vmas.mm[vma] as MmId;
  const was = vmas.flags[vma];
  let flags = newFlags;
  if (flags === was) return 0;
  if ((flags & VM_WRITE) !== 0) {
    if ((was & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE)) === 0) flags |= VM_ACCOUNT;
  } else if ((was & VM_ACCOUNT) !== 0 && vmaIsAnonymous(m, vma) && vmas.anonVma[vma] === 0) flags &= ~VM_ACCOUNT;
  const now = vmaModifyFlags(m, vma, start, end, flags);
  if (now === 0) return -ENOMEM;
  m.vmas.flags[now] = flags;
  const gathered = tlbGatherMmu(m, mm);
  changeProtection(m, now, start, end);
  tlbFinishMmu(m, gathered);
  const pages = (end - start) * m.pagesPerByte;
  vmStatAccount(m, mm, was, -pages);
  vmStatAccount(m, mm, flags, pages);
  return 0;
}

/** mprotect(2): `prot` of VM_READ, VM_WRITE and VM_EXEC. 0, or an error below zero. @kernel mm/mprotect.c do_mprotect_pkey (6.18) */
export function doMprotect(m: Machine, mm: MmId, start: number, length: number, prot: number): number {
  const gathered = tlbGatherMmu(m, mm);
  const error = protectAreas(m, mm, start, length, prot);
  tlbFinishMmu(m, gathered);
  return error;
}

function protectAreas(m: Machine, mm: MmId, start: number, length: number, prot: number): number {
  const size = m.config.pageSize;
  if (start % size !== 0) return -EINVAL;
  const end = start + Math.ceil(length / size) * size;
  for (let at = start; at < end; ) {
    const vma = vmaNext(m, mm, at);
    if (vma === 0 || m.vmas.start[vma] > at) return -ENOMEM;
    const flags = (m.vmas.flags[vma] & ~VM_ACCESS_FLAGS) | (prot & (VM_READ | VM_WRITE | VM_EXEC));
    // VM_MAY* are the rights shifted by four.
    if ((flags & ~(flags >> 4) & VM_ACCESS_FLAGS) !== 0) return -EACCES;
    const to = Math.min(m.vmas.end[vma], end);
    const error = mprotectFixup(m, vma, at, to, flags);
    if (error < 0) return error;
    at = to;
  }
  return 0;
}
