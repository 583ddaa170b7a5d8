/**
 * Address spaces. A row holds what mm_struct holds: the top page table, counters, and the VMAs as rows sorted by address.
 *
 * @kernel include/linux/mm_types.h struct mm_struct (6.18)
 */
import { allocate, extend, f64, grow, i32, type Table } from '../base/table.ts';
import type { MmId } from './ids.ts';
import type { Machine } from './machine.ts';
import { pgdAlloc } from './pgtable.ts';

/** Kinds of resident pages; `rss` has one element each. @kernel include/linux/mm_types_task.h MM_FILEPAGES (6.18) */
export const MM_FILEPAGES = 0;
export const MM_ANONPAGES = 1;
export const MM_SWAPENTS = 2;
export const MM_SHMEMPAGES = 3;
export const NR_MM_COUNTERS = 4;

export const mmLayout = {
  pgd: i32('PtId of the top table; 0: the row is free'),
  users: i32('mm_users'),
  rss: f64('pages by MM_*', 4),
  pgtablesBytes: f64('bytes of page tables below the top one'),
  totalVm: f64('pages mapped'),
  lockedVm: f64('pages in VM_LOCKED areas'),
  dataVm: f64('pages of private, writable areas'),
  minFlt: f64('faults without I/O'),
  majFlt: f64('faults that waited for I/O'),
  flags: i32('MMF_* bits'),
  defFlags: i32('VM_* bits that new areas get'),
  memcg: i32('the group that its faults charge'),
  mmapBase: f64('top of the area that mmap fills, downwards'),
  nrVmas: i32('areas'),
  lastVma: i32('VmaId found last; 0: none'),
} as const;

export interface Mms extends Table<typeof mmLayout> {
  /** Rows in use, row 0 included. */
  nr: number;
  readonly free: number[];
  /** By row: the areas by ascending address. */
  readonly sorted: Int32Array[];
}

/** @kernel include/linux/mm_types.h MMF_VM_HUGEPAGE (6.18) */
export const MMF_VM_HUGEPAGE = 1 << 17;
export const MMF_HUGE_ZERO_FOLIO = 1 << 18;
export const MMF_DISABLE_THP_EXCEPT_ADVISED = 1 << 23;
export const MMF_DISABLE_THP_COMPLETELY = 1 << 24;
/** A page of it was pinned: fork copies what may be pinned. */
export const MMF_HAS_PINNED = 1 << 27;

const ROWS = 4;
const VMAS = 16;

export const mmsInit = (): Mms => extend(allocate(mmLayout, ROWS), { nr: 1, free: [], sorted: [new Int32Array(0)] });

/**
 * Stack and gap below the top of user space: where mmap starts. The gap is the stack's limit (8 MiB) and what randomisation
 * may take, held to 128 MiB at least. @kernel mm/util.c mmap_base (6.18)
 */
const MMAP_GAP = 2 ** 27;

/** An empty address space; 0: no memory. mmput (mmap.ts) drops it. @kernel kernel/fork.c mm_init (6.18) */
export function mmAlloc(m: Machine): MmId {
  const t = m.mms;
  const row = t.free.pop() ?? t.nr++;
  if (row >= t.rows) grow(mmLayout, t, t.rows * 2);
  for (const column of [t.pgtablesBytes, t.totalVm, t.lockedVm, t.dataVm, t.minFlt, t.majFlt]) column[row] = 0;
  t.rss.fill(0, row * NR_MM_COUNTERS, (row + 1) * NR_MM_COUNTERS);
  t.flags[row] = t.defFlags[row] = t.nrVmas[row] = t.lastVma[row] = 0;
  t.memcg[row] = m.currentMemcg;
  t.mmapBase[row] = m.geometry.userEnd - MMAP_GAP;
  t.sorted[row] ??= new Int32Array(VMAS);
  const pgd = pgdAlloc(m, row as MmId);
  if (pgd === 0) {
    t.free.push(row);
    return 0 as MmId;
  }
  t.pgd[row] = pgd;
  t.users[row] = 1;
  return row as MmId;
}

/** Adds pages to a counter of resident pages. @kernel include/linux/mm.h add_mm_counter (6.18) */
export function addMmCounter(m: Machine, mm: MmId, member: number, nr: number): void {
  m.mms.rss[mm * NR_MM_COUNTERS + member] += nr;
}
export const getMmCounter = (m: Machine, mm: MmId, member: number): number => m.mms.rss[mm * NR_MM_COUNTERS + member];
/** Resident pages. @kernel include/linux/mm.h get_mm_rss (6.18) */
export const getMmRss = (m: Machine, mm: MmId): number =>
  getMmCounter(m, mm, MM_FILEPAGES) + getMmCounter(m, mm, MM_ANONPAGES) + getMmCounter(m, mm, MM_SHMEMPAGES);
