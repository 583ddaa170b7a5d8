/**
 * Areas of address spaces (VMAs): [start, end) with one protection, one file or none.
 *
 * Invariants (mm_check.ts):
 *   A1  areas of an address space are sorted, do not overlap, are not empty, and lie in user space at page boundaries;
 *   A2  totalVm and lockedVm are the sums over the areas;
 *   A3  an area of a file is on its file's list (iMmap).
 *
 * @kernel include/linux/mm_types.h struct vm_area_struct (6.18)
 */
import { allocate, extend, f64, grow, i32, type Table } from '../base/table.ts';
import type { MappingId, MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';

export const vmaLayout = {
  mm: i32('MmId; 0: the row is free'),
  start: f64('first byte address'),
  end: f64('address after the last byte'),
  pgoff: f64('offset in the file in pages; of anonymous memory the address where it was made, in pages'),
  flags: i32('VM_* bits'),
  file: i32('FileId; 0: anonymous'),
  mapping: i32('MappingId of the file; 0: anonymous'),
  anonVma: i32('AnonVmaId; 0: none yet'),
  anonVmaChain: i32('first link to an anon_vma; 0: none'),
  sharedNext: i32('next area of the same file'),
  sharedPrev: i32('previous area of the same file'),
  raAddr: f64('swap read-ahead: address of the last fault; 0: there was none'),
  raState: i32('its window in pages << 8, and the hits since'),
} as const;

export interface Vmas extends Table<typeof vmaLayout> {
  /** Rows in use, row 0 included. */
  nr: number;
  readonly free: number[];
}

/** @kernel include/linux/mm.h VM_READ (6.18) */
export const VM_READ = 0x1;
export const VM_WRITE = 0x2;
export const VM_EXEC = 0x4;
export const VM_SHARED = 0x8;
export const VM_MAYREAD = 0x10;
export const VM_MAYWRITE = 0x20;
export const VM_MAYEXEC = 0x40;
export const VM_MAYSHARE = 0x80;
export const VM_PFNMAP = 0x400;
export const VM_LOCKED = 0x2000;
export const VM_IO = 0x4000;
export const VM_SEQ_READ = 0x8000;
export const VM_RAND_READ = 0x10000;
export const VM_DONTCOPY = 0x20000;
export const VM_DONTEXPAND = 0x40000;
export const VM_LOCKONFAULT = 0x80000;
export const VM_ACCOUNT = 0x100000;
export const VM_NORESERVE = 0x200000;
export const VM_WIPEONFORK = 0x2000000;
export const VM_MIXEDMAP = 0x10000000;
export const VM_HUGEPAGE = 0x20000000;
export const VM_NOHUGEPAGE = 0x40000000;
export const VM_ACCESS_FLAGS: number = VM_READ | VM_WRITE | VM_EXEC;

export const vmasInit = (): Vmas => extend(allocate(vmaLayout, 16), { nr: 1, free: [] as number[] });

/** Anonymous memory: no file operations. Shared anonymous memory is a file of tmpfs. @kernel include/linux/mm.h vma_is_anonymous (6.18) */
export const vmaIsAnonymous = (m: Machine, vma: VmaId): boolean => m.vmas.file[vma] === 0;
export const vmaPages = (m: Machine, vma: VmaId): number => (m.vmas.end[vma] - m.vmas.start[vma]) * m.pagesPerByte;
/** Offset in the file of an address. @kernel include/linux/pagemap.h linear_page_index (6.18) */
export const linearPageIndex = (m: Machine, vma: VmaId, addr: number): number =>
  Math.floor((addr - m.vmas.start[vma]) * m.pagesPerByte) + m.vmas.pgoff[vma];
/** Address of a file's page in an area; the caller knows that it lies inside. */
export const vmaAddress = (m: Machine, vma: VmaId, index: number): number =>
  m.vmas.start[vma] + (index - m.vmas.pgoff[vma]) * m.config.pageSize;

/** Position in the sorted list of the first area that ends after `addr`. */
export function vmaPosition(m: Machine, mm: MmId, addr: number): number {
  const sorted = m.mms.sorted[mm];
  const { end } = m.vmas;
  let low = 0;
  let high = m.mms.nrVmas[mm];
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (end[sorted[mid]] > addr) high = mid;
    else low = mid + 1;
  }
  return low;
}

/** The first area that ends after `addr`, or 0: it need not hold the address. @kernel mm/mmap.c find_vma (6.18) */
export function findVma(m: Machine, mm: MmId, addr: number): VmaId {
  const { mms, vmas } = m;
  const last = mms.lastVma[mm];
  if (last !== 0 && addr >= vmas.start[last] && addr < vmas.end[last]) return last as VmaId;
  const i = vmaPosition(m, mm, addr);
  if (i === mms.nrVmas[mm]) return 0 as VmaId;
  const vma = mms.sorted[mm][i];
  mms.lastVma[mm] = vma;
  return vma as VmaId;
}

/** The area that holds the address, or 0. @kernel include/linux/mm.h vma_lookup (6.18) */
export function vmaLookup(m: Machine, mm: MmId, addr: number): VmaId {
  const vma = findVma(m, mm, addr);
  return vma !== 0 && m.vmas.start[vma] <= addr ? vma : (0 as VmaId);
}

/** A row for an area that is in no address space yet, all zero. @kernel mm/vma_init.c vm_area_alloc (6.18) */
export function vmAreaAlloc(m: Machine): VmaId {
  const t = m.vmas;
  const row = t.free.pop() ?? t.nr++;
  if (row >= t.rows) grow(vmaLayout, t, t.rows * 2);
  t.mm[row] = t.flags[row] = t.file[row] = t.mapping[row] = 0;
  t.anonVma[row] = t.anonVmaChain[row] = t.sharedNext[row] = t.sharedPrev[row] = 0;
  t.start[row] = t.end[row] = t.pgoff[row] = t.raAddr[row] = t.raState[row] = 0;
  return row as VmaId;
}

/** @kernel mm/vma_init.c vm_area_free (6.18) */
export function vmAreaFree(m: Machine, vma: VmaId): void {
  m.vmas.mm[vma] = 0;
  m.vmas.free.push(vma);
}

/** Puts an area into its address space and on its file's list. @kernel mm/vma.c vma_link (6.18) */
export function vmaLink(m: Machine, mm: MmId, vma: VmaId): void {
  const { mms, vmas } = m;
  vmas.mm[vma] = mm;
  const n = mms.nrVmas[mm]++;
  if (n === mms.sorted[mm].length) {
    const more = new Int32Array(n * 2);
    more.set(mms.sorted[mm]);
    mms.sorted[mm] = more;
  }
  const sorted = mms.sorted[mm];
  let i = n;
  if (n > 0 && vmas.start[sorted[n - 1]] > vmas.start[vma]) {
    i = 0;
    let high = n;
    while (i < high) {
      const mid = (i + high) >>> 1;
      if (vmas.start[sorted[mid]] > vmas.start[vma]) high = mid;
      else i = mid + 1;
    }
  }
  sorted.copyWithin(i + 1, i, n);
  sorted[i] = vma;
  vmaLinkFile(m, vma);
}

/** Takes an area out of its address space and off its file's list. */
export function vmaUnlink(m: Machine, vma: VmaId): void {
  const { mms, vmas } = m;
  const mm = vmas.mm[vma] as MmId;
  vmaUnlinkFile(m, vma);
  const i = vmaPosition(m, mm, vmas.start[vma]);
  mms.sorted[mm].copyWithin(i, i + 1, mms.nrVmas[mm]);
  mms.nrVmas[mm]--;
  if (mms.lastVma[mm] === vma) mms.lastVma[mm] = 0;
}

/** @kernel mm/vma.c vma_link_file (6.18) */
function vmaLinkFile(m: Machine, vma: VmaId): void {
  const { vmas, spaces } = m;
  const mapping = vmas.mapping[vma];
  if (mapping === 0) return;
  m.files.count[vmas.file[vma]]++;
  const first = spaces.iMmap[mapping];
  vmas.sharedNext[vma] = first;
  vmas.sharedPrev[vma] = 0;
  if (first !== 0) vmas.sharedPrev[first] = vma;
  spaces.iMmap[mapping] = vma;
}

function vmaUnlinkFile(m: Machine, vma: VmaId): void {
  const { vmas, spaces } = m;
  const mapping = vmas.mapping[vma];
  if (mapping === 0) return;
  m.files.count[vmas.file[vma]]--;
  const next = vmas.sharedNext[vma];
  const prev = vmas.sharedPrev[vma];
  if (prev === 0) spaces.iMmap[mapping] = next;
  else vmas.sharedNext[prev] = next;
  if (next !== 0) vmas.sharedPrev[next] = prev;
}

export const vmaMapping = (m: Machine, vma: VmaId): MappingId => m.vmas.mapping[vma] as MappingId;
export const vmaMm = (m: Machine, vma: VmaId): MmId => m.vmas.mm[vma] as MmId;
