/**
 * Runs of page table entries, and the small steps that faults, unmapping and fork share.
 */
import { FMODE_NOREUSE } from './address_space.ts';
import { contpteSetPtes, contpteTryUnfoldPartial } from './contpte.ts';
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_NORETRY,
  __GFP_THISNODE,
  __GFP_ZERO,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from './gfp.ts';
import { type FolioId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge } from './memcontrol.ts';
import { mlockNewFolio } from './mlock.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES } from './mm_struct.ts';
import { folioOrder, folioPfn, folioTest, folioTestAnon, pageFolio } from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG } from './page_flags.ts';
import { _PAGE_PRESENT, _PAGE_SPECIAL, pteFlags } from './pgtable.ts';
import { folioAddLru, folioPut } from './swap.ts';
import {
  VM_DONTEXPAND,
  VM_IO,
  VM_LOCKED,
  VM_MAYWRITE,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_SEQ_READ,
  VM_SHARED,
} from './vma.ts';

const VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;

/** Makes `nr` entries, none so far, map the frames from `pfn` on. @kernel include/linux/pgtable.h set_ptes (6.18) */
export function setPtes(m: Machine, e: number, pfn: number, nr: number, flags: number): void {
  const { pt } = m;
  const { entries } = pt;
  pt.count[e >>> pt.entryShift] += nr;
  for (let i = 0, w = e * 2; i < nr; i++, w += 2) {
    entries[w] = pfn + i;
    entries[w + 1] = flags;
  }
  if (pt.contPtes > 1 && (flags & (_PAGE_PRESENT | _PAGE_SPECIAL)) === _PAGE_PRESENT) contpteSetPtes(m, e, pfn, nr);
}

/** Makes `nr` entries, none of which is none, none. @kernel include/linux/pgtable.h clear_full_ptes (6.18) */
export function clearPtes(m: Machine, e: number, nr: number): void {
  const { pt } = m;
  if (pt.contPtes > 1) contpteTryUnfoldPartial(m, e, nr);
  pt.count[e >>> pt.entryShift] -= nr;
  pt.entries.fill(0, e * 2, (e + nr) * 2);
}

/** @kernel mm/memory.c pte_range_none (6.18) */
export function pteRangeNone(m: Machine, e: number, nr: number): boolean {
  const { pt } = m;
  if (pt.count[e >>> pt.entryShift] === 0) return true;
  const { entries } = pt;
  for (let w = e * 2 + 1, end = w + nr * 2; w < end; w += 2) if (entries[w] !== 0) return false;
  return true;
}

function pteRangeFull(m: Machine, e: number, nr: number): boolean {
  const { entries } = m.pt;
  for (let w = e * 2 + 1, end = w + nr * 2; w < end; w += 2) if (entries[w] === 0) return false;
  return true;
}

/**
 * Is the block of 2^order pages before or after that of entry `e` (at `addr`), in the same area and table, in use throughout?
 * With anon_beside_full = 1 the kernel that the recordings come from (6.18.44-fc) gives a block below the size of a huge page one
 * folio only then, and else counts anon_fault_declined; the zero page is use, too. Found by experiment: mainline has no such
 * control, and recordings are made with 0.
 */
export function anonBesideFull(m: Machine, vma: VmaId, addr: number, e: number, order: number): boolean {
  const nr = 1 << order;
  const first = e & -nr;
  const slot = first & m.pt.pteMask;
  const bytes = nr * m.config.pageSize;
  const start = addr - (e - first) * m.config.pageSize;
  if (slot >= nr && start - bytes >= m.vmas.start[vma] && pteRangeFull(m, first - nr, nr)) return true;
  return slot + 2 * nr <= m.pt.pteMask + 1 && start + 2 * bytes <= m.vmas.end[vma] && pteRangeFull(m, first + nr, nr);
}

/**
 * Entries from `e` on, at most `max`, that map pages of one large folio in a row, with the same flags but for those in
 * `ignore`. @kernel mm/internal.h folio_pte_batch_flags (6.18)
 */
export function folioPteBatch(m: Machine, f: FolioId, e: number, max: number, ignore: number): number {
  const { entries } = m.pt;
  const pfn = entries[e * 2];
  const flags = pteFlags(m, e) & ~ignore;
  const most = Math.min(max, folioPfn(m.map, f) + (1 << folioOrder(m.map, f)) - pfn);
  let nr = 1;
  if (m.pt.contPtes > 1) {
    for (; nr < most; nr++) if (entries[(e + nr) * 2] !== pfn + nr || (pteFlags(m, e + nr) & ~ignore) !== flags) break;
    return nr;
  }
  for (let w = e * 2 + 2; nr < most; nr++, w += 2)
    if (entries[w] !== pfn + nr || (entries[w + 1] & ~ignore) !== flags) break;
  return nr;
}
/** What a batch does not look at unless it must: _PAGE_RW, _PAGE_ACCESSED, _PAGE_DIRTY. A plain number, as modules here load in any order. */
export const BATCH_IGNORE = 0x62;

/** The folio that an entry which is present maps, or 0: the zero page. @kernel mm/memory.c vm_normal_folio (6.18) */
export const vmNormalFolio = (m: Machine, payload: number, flags: number): FolioId =>
  (flags & _PAGE_SPECIAL) !== 0 ? NO_FOLIO : pageFolio(m.map, payload as Pfn);

/** Does an access through the area count as use? @kernel include/linux/mm_inline.h vma_has_recency (6.18) */
export const vmaHasRecency = (m: Machine, vma: VmaId): boolean =>
  (m.vmas.flags[vma] & (VM_SEQ_READ | VM_RAND_READ)) === 0 &&
  (m.vmas.file[vma] === 0 || (m.files.fmode[m.vmas.file[vma]] & FMODE_NOREUSE) === 0);

/** Private memory that may be written: a store into a shared page makes a copy. @kernel include/linux/mm.h is_cow_mapping (6.18) */
export const isCowMapping = (flags: number): boolean => (flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;

/** The counter of resident pages that a folio goes into. @kernel include/linux/mm.h mm_counter (6.18) */
export function mmCounter(m: Machine, f: FolioId): number {
  if (folioTestAnon(m.map, f)) return MM_ANONPAGES;
  return folioTest(m.map, f, PG.PG_swapbacked) ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/** A new folio of an area goes to the LRU, or to the locked ones. @kernel mm/swap.c folio_add_lru_vma (6.18) */
export function folioAddLruVma(m: Machine, f: FolioId, vma: VmaId): void {
  if ((m.vmas.flags[vma] & (VM_LOCKED | VM_SPECIAL)) === VM_LOCKED) mlockNewFolio(m, f);
  else folioAddLru(m, f);
}

/**
 * A folio for an area: a huge page is first asked for without reclaim.
 * @kernel mm/mempolicy.c alloc_pages_mpol (6.18)
 */
export function vmaAllocFolio(m: Machine, gfp: number, order: number): FolioId {
  if (order === m.thp.pmdOrder) {
    const f = folioAlloc(m, gfp | __GFP_THISNODE | __GFP_NORETRY, order);
    if (f !== NO_FOLIO || (gfp & __GFP_DIRECT_RECLAIM) === 0) return f;
  }
  return folioAlloc(m, gfp, order);
}

/** One page for a fault, charged; 0: out of memory. @kernel mm/memory.c folio_prealloc (6.18) */
export function folioPrealloc(m: Machine, zero: boolean): FolioId {
  const f = folioAlloc(m, zero ? GFP_HIGHUSER_MOVABLE | __GFP_ZERO : GFP_HIGHUSER_MOVABLE, 0);
  if (f === NO_FOLIO || memCgroupCharge(m, f, GFP_KERNEL)) return f;
  folioPut(m, f);
  return NO_FOLIO;
}
