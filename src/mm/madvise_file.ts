/** madvise(2) on memory that maps files, as far as it is about the file. Addresses lie in one area, at page boundaries. */
import { AS_SWAPBACKED } from './address_space.ts';
import { genericFadvise } from './fadvise.ts';
import { opsOf } from './filemap.ts';
import { type FileId, type MappingId, NO_FOLIO, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { linearPageIndex, VM_LOCKED, VM_MAYWRITE, VM_SHARED } from './vma.ts';

const ENOMEM = 12;
const EACCES = 13;
const EINVAL = 22;

const offsetOf = (m: Machine, vma: VmaId, addr: number): number => linearPageIndex(m, vma, addr) * m.config.pageSize;

/** MADV_WILLNEED: reads the pages in; tmpfs has nothing to read. @kernel mm/madvise.c madvise_willneed (6.18) */
export function madviseWillneed(m: Machine, vma: VmaId, start: number, end: number): void {
  if ((m.spaces.flags[m.vmas.mapping[vma]] & AS_SWAPBACKED) !== 0) return;
  genericFadvise(m, m.vmas.file[vma] as FileId, offsetOf(m, vma, start), end - start, 'willneed');
}

/**
 * MADV_REMOVE: punches a hole in the file of a shared mapping. 0; 1: again after Machine.wait; an error below zero. @kernel mm/madvise.c madvise_remove (6.18)
 */
export function madviseRemove(m: Machine, vma: VmaId, start: number, end: number): number {
  const { vmas } = m;
  const flags = vmas.flags[vma];
  const mapping = vmas.mapping[vma] as MappingId;
  if ((flags & VM_LOCKED) !== 0 || mapping === 0) return -EINVAL;
  if ((flags & (VM_SHARED | VM_MAYWRITE)) !== (VM_SHARED | VM_MAYWRITE)) return -EACCES;
  m.wait = NO_FOLIO;
  if (opsOf(m, mapping).punchHole(m, mapping, offsetOf(m, vma, start), end - start)) return 0;
  return m.wait === NO_FOLIO ? -ENOMEM : 1;
}
