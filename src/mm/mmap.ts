/**
 * mmap(2), munmap(2), fork and the end of an address space: where areas lie, and what goes with them.
 *
 * Without an address, memory is placed top-down, in the highest gap that fits; anonymous memory of whole huge pages is placed
 * at a huge-page boundary.
 */

import { anonVmaFork, unlinkAnonVmas } from './anon_vma.ts';
import { mmPutHugeZeroFolio } from './huge_memory_anon.ts';
import type { FileId, MappingId, MmId, VmaId } from './ids.ts';
import { khugepagedEnterVma, khugepagedExit, khugepagedFork } from './khugepaged.ts';
import type { Machine } from './machine.ts';
import { copyPageRange, zapPageRange } from './memory.ts';
import { mmAlloc } from './mm_struct.ts';
import { flushTlbMm, tlbFinishMmu, tlbGatherMmu, tlbGatherMmuFullmm } from './mmu_gather.ts';
import { freePgdRange, pgdFree } from './pgtable.ts';
import {
  VM_ACCOUNT,
  VM_DONTCOPY,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_NORESERVE,
  VM_SHARED,
  VM_WIPEONFORK,
  VM_WRITE,
  vmAreaAlloc,
  vmAreaFree,
  vmaLink,
  vmaPages,
  vmaPosition,
  vmaUnlink,
} from './vma.ts';
import { MAX_MAP_COUNT, splitVma, vmaMergeNewRange, vmaNext, vmaPrev } from './vma_merge.ts';

/** Errors of these calls, returned below zero. @kernel include/uapi/asm-generic/errno-base.h ENOMEM (6.18) */
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EINVAL = 22;

/** Lowest address that mmap gives. @kernel mm/util.c mmap_min_addr (6.18) */
const MMAP_MIN_ADDR = 65536;

/** Adds to the sizes of an address space. @kernel mm/mmap.c vm_stat_account (6.18) */
export function vmStatAccount(m: Machine, mm: MmId, flags: number, pages: number): void {
  m.mms.totalVm[mm] += pages;
  if ((flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) m.mms.dataVm[mm] += pages;
}

/** The highest gap that fits below the base; below zero: none. @kernel mm/vma.c unmapped_area_topdown (6.18) */
function unmappedAreaTopdown(m: Machine, mm: MmId, length: number): number {
  const { start, end } = m.vmas;
  const sorted = m.mms.sorted[mm];
  let high = m.mms.mmapBase[mm];
  for (let i = m.mms.nrVmas[mm] - 1; i >= 0; i--) {
    const vma = sorted[i];
    if (start[vma] >= high) continue;
    if (high - end[vma] >= length) break;
    high = start[vma];
  }
  return high - length >= MMAP_MIN_ADDR ? high - length : -ENOMEM;
}

/**
 * An address for `length` bytes; below zero: none. Memory of whole huge pages gets huge-page alignment when it is anonymous, and
 * in a file (`pgoff`; its own rule asks for one whole huge page inside).
 * @kernel mm/mmap.c __get_unmapped_area (6.18)
 * @kernel mm/huge_memory.c __thp_get_unmapped_area (6.18)
 */
export function getUnmappedArea(m: Machine, mm: MmId, length: number, file: FileId | 0, pgoff: number): number {
  const size = 2 ** m.pt.pmdShift;
  const offset = pgoff * m.config.pageSize;
  const wanted =
    file === 0
      ? length % size === 0
      : Math.floor((offset + length) / size) * size - Math.ceil(offset / size) * size >= size;
  if (wanted && m.config.thp) {
    const at = unmappedAreaTopdown(m, mm, length + size);
    if (at >= 0) {
      const off = file === 0 ? 0 : offset % size;
      const sub = (((off - at) % size) + size) % size;
      return at + (sub === 0 ? size : sub);
    }
  }
  return unmappedAreaTopdown(m, mm, length);
}

/** What a new area is like. */
export interface MmapRequest {
  /** At this address, over what is there; −1: anywhere. */
  readonly addr: number;
  readonly length: number;
  /** VM_* bits. */
  readonly flags: number;
  /** 0: anonymous memory. */
  readonly file: FileId;
  /** First page of the file. */
  readonly pgoff: number;
}

/** Maps memory; its address, or an error below zero. Populating is up to the caller. @kernel mm/mmap.c do_mmap (6.18) */
export function doMmap(m: Machine, mm: MmId, want: MmapRequest): number {
  const size = m.config.pageSize;
  const length = Math.ceil(want.length / size) * size;
  if (length === 0) return -EINVAL;
  if (m.mms.nrVmas[mm] > MAX_MAP_COUNT) return -ENOMEM;
  const { file } = want;
  const addr = want.addr >= 0 ? want.addr : getUnmappedArea(m, mm, length, file, want.pgoff);
  if (addr < 0) return addr;
  if (addr % size !== 0) return -EINVAL;
  if (addr + length > m.geometry.userEnd) return -ENOMEM;
  let flags = want.flags | m.mms.defFlags[mm];
  // @kernel mm/vma.c accountable_mapping (6.18)
  if ((flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) === VM_WRITE) flags |= VM_ACCOUNT;
  const end = addr + length;
  if (want.addr >= 0) {
    const error = doMunmap(m, mm, addr, length);
    if (error < 0) return error;
  }
  const pgoff = file === 0 ? addr * m.pagesPerByte : want.pgoff;
  const merge = {
    start: addr,
    end,
    pgoff,
    flags,
    file,
    anonVma: 0,
    middle: 0 as VmaId,
    copiedFrom: 0 as VmaId,
  };
  if (vmaMergeNewRange(m, mm, merge) === 0) {
    const vma = vmAreaAlloc(m);
    const { vmas } = m;
    vmas.start[vma] = addr;
    vmas.end[vma] = end;
    vmas.pgoff[vma] = pgoff;
    vmas.flags[vma] = flags;
    vmas.file[vma] = file;
    vmas.mapping[vma] = (file === 0 ? 0 : m.files.mapping[file]) as MappingId;
    vmaLink(m, mm, vma);
    // @kernel mm/vma.c __mmap_new_vma (6.18)
    khugepagedEnterVma(m, vma, flags);
  }
  vmStatAccount(m, mm, flags, length / size);
  if ((flags & VM_LOCKED) !== 0) m.mms.lockedVm[mm] += length / size;
  return addr;
}

/** Unmaps [addr, addr + length), cutting areas at its ends; 0, or an error below zero. @kernel mm/vma.c do_vmi_align_munmap (6.18) */
export function doMunmap(m: Machine, mm: MmId, addr: number, length: number): number {
  const size = m.config.pageSize;
  const end = addr + Math.ceil(length / size) * size;
  if (addr % size !== 0 || addr < 0 || end > m.geometry.userEnd || end === addr) return -EINVAL;
  let vma = vmaNext(m, mm, addr);
  if (vma === 0 || m.vmas.start[vma] >= end) return 0;
  if (m.vmas.start[vma] < addr) {
    if (m.vmas.end[vma] > end && m.mms.nrVmas[mm] >= MAX_MAP_COUNT) return -ENOMEM;
    if (!splitVma(m, vma, addr, true)) return -ENOMEM;
    vma = vmaNext(m, mm, addr);
  }
  const last = vmaNext(m, mm, end - 1);
  if (last !== 0 && m.vmas.start[last] < end && m.vmas.end[last] > end && !splitVma(m, last, end, false))
    return -ENOMEM;
  const prev = vmaPrev(m, mm, addr);
  const floor = prev === 0 ? 0 : m.vmas.end[prev];
  const next = vmaNext(m, mm, end);
  unmapAreas(m, mm, addr, end, floor, next === 0 ? Number.POSITIVE_INFINITY : m.vmas.start[next]);
  return 0;
}

/**
 * Empties and drops the areas that lie in [start, end), then the tables that only they needed.
 * @kernel mm/vma.c vms_complete_munmap_vmas (6.18)
 */
function unmapAreas(m: Machine, mm: MmId, start: number, end: number, floor: number, ceiling: number): void {
  const gathered = tlbGatherMmu(m, mm);
  const first = vmaPosition(m, mm, start);
  let n = 0;
  for (let i = first; i < m.mms.nrVmas[mm]; i++, n++) {
    const vma = m.mms.sorted[mm][i] as VmaId;
    if (m.vmas.start[vma] >= end) break;
    zapPageRange(m, vma, m.vmas.start[vma], m.vmas.end[vma]);
  }
  if (n === 0) {
    tlbFinishMmu(m, gathered);
    return;
  }
  const from = m.vmas.start[m.mms.sorted[mm][first]];
  const to = m.vmas.end[m.mms.sorted[mm][first + n - 1]];
  for (let i = first + n - 1; i >= first; i--) {
    const vma = m.mms.sorted[mm][i] as VmaId;
    const pages = vmaPages(m, vma);
    vmStatAccount(m, mm, m.vmas.flags[vma], -pages);
    if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) m.mms.lockedVm[mm] -= pages;
    vmaUnlink(m, vma);
    unlinkAnonVmas(m, vma);
    vmAreaFree(m, vma);
  }
  freePgdRange(m, mm, from, to, floor, ceiling);
  tlbFinishMmu(m, gathered);
}

/** Frees all that an address space holds. @kernel mm/mmap.c exit_mmap (6.18) */
export function exitMmap(m: Machine, mm: MmId): void {
  khugepagedExit(m, mm);
  const gathered = tlbGatherMmuFullmm(m, mm);
  unmapAreas(m, mm, 0, Number.POSITIVE_INFINITY, 0, Number.POSITIVE_INFINITY);
  tlbFinishMmu(m, gathered);
  pgdFree(m, mm);
}

/** Drops a user; the last one tears the address space down. @kernel kernel/fork.c mmput (6.18) */
export function mmput(m: Machine, mm: MmId): void {
  const t = m.mms;
  if (--t.users[mm] > 0) return;
  exitMmap(m, mm);
  mmPutHugeZeroFolio(m, mm);
  t.pgd[mm] = 0;
  t.free.push(mm);
}

/**
 * A child's address space: the areas, and by copyPageRange what is in them. 0: no memory; then nothing is left behind.
 * @kernel mm/mmap.c dup_mmap (6.18)
 */
export function dupMm(m: Machine, mm: MmId): MmId {
  const child = mmAlloc(m);
  if (child === 0) return child;
  const { mms } = m;
  mms.totalVm[child] = mms.totalVm[mm];
  mms.dataVm[child] = mms.dataVm[mm];
  mms.defFlags[child] = mms.defFlags[mm] & ~(VM_LOCKED | VM_LOCKONFAULT);
  mms.mmapBase[child] = mms.mmapBase[mm];
  mms.memcg[child] = mms.memcg[mm];
  for (let i = 0; i < mms.nrVmas[mm]; i++) {
    const from = mms.sorted[mm][i] as VmaId;
    const flags = m.vmas.flags[from];
    if ((flags & VM_DONTCOPY) !== 0) {
      vmStatAccount(m, child, flags, -vmaPages(m, from));
      continue;
    }
    const vma = vmAreaAlloc(m);
    const { vmas } = m;
    for (const c of [vmas.start, vmas.end, vmas.pgoff, vmas.file, vmas.mapping]) c[vma] = c[from];
    vmas.flags[vma] = flags & ~(VM_LOCKED | VM_LOCKONFAULT);
    vmas.mm[vma] = child;
    vmaLink(m, child, vma);
    if ((flags & VM_WIPEONFORK) !== 0) continue;
    anonVmaFork(m, vma, from);
    if (!copyPageRange(m, vma, from)) {
      flushTlbMm(m, mm);
      mmput(m, child);
      return 0 as MmId;
    }
  }
  flushTlbMm(m, mm);
  khugepagedFork(m, child, mm);
  return child;
}
