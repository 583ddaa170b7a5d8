/**
 * Faults in memory that maps files, above the file's own operations: a load maps what is around it; a store into a shared
 * mapping makes the folio dirty and its entries writable, as a whole; entries of such mappings begin read-only wherever the
 * file system wants to hear of the first store, and write-back makes them read-only again.
 *
 * A store into a private mapping copies the page: memory.ts does that, and asks here for the page.
 */
import { AS_STABLE_WRITES, AS_SWAPBACKED } from './address_space.ts';
import { folioUnlock } from './filemap.ts';
import { filePages } from './filemap_fault.ts';
import { doFaultAround, shouldFaultAround } from './filemap_map_pages.ts';
import { type FolioId, type MappingId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { setPtes } from './memory_pte.ts';
import { addMmCounter, MM_FILEPAGES, MM_SHMEMPAGES, MMF_DISABLE_THP_COMPLETELY } from './mm_struct.ts';
import { folioIndex, folioOrder, folioPfn, folioRefAdd, folioSet, folioTest } from './mm_types.ts';
import { flushTlbRelaxed } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import { balanceDirtyPages, folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_USER,
  pmdAlloc,
  pteAllocMap,
  pteFlags,
  pteOfPmd,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import { folioAddFileRmapPmd, folioAddFileRmapPtes } from './rmap.ts';
import { folioPut } from './swap.ts';
import {
  VM_FAULT_ERROR,
  VM_FAULT_LOCKED,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  type VmFault,
  type VmOperations,
} from './vm_fault.ts';
import { VM_NOHUGEPAGE, VM_SHARED, VM_WRITE, vmaPages } from './vma.ts';
import { V } from './vmstat.ts';

const NOT_MAPPED: number = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY;

/** The operations of the file that an area maps, or null: anonymous memory. */
export function vmOpsOf(m: Machine, vma: VmaId): VmOperations | null {
  const mapping = m.vmas.mapping[vma];
  return mapping === 0 ? null : m.aops[m.spaces.ops[mapping]].vmOps;
}

/** Are entries read-only until somebody stores: the file system wants to know. @kernel mm/mmap.c vma_wants_writenotify (6.18) */
export function vmaWantsWritenotify(m: Machine, vma: VmaId): boolean {
  if ((m.vmas.flags[vma] & (VM_WRITE | VM_SHARED)) !== (VM_WRITE | VM_SHARED)) return false;
  const ops = vmOpsOf(m, vma);
  return ops !== null && ops.pageMkwrite !== null;
}

/** Flags of a new entry for a fault. @kernel mm/memory.c set_pte_range (6.18) */
function newEntry(m: Machine, vmf: VmFault, folio: FolioId): number {
  const flags = m.vmas.flags[vmf.vma];
  let entry = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;
  if (vmf.write) entry |= _PAGE_DIRTY | ((flags & VM_WRITE) !== 0 ? _PAGE_RW : 0);
  else if ((flags & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED) && !vmaWantsWritenotify(m, vmf.vma)) {
    entry |= _PAGE_RW;
    if (folioTest(m.map, folio, PG.PG_dirty)) entry |= _PAGE_DIRTY;
  }
  return entry;
}

/**
 * Maps `nr` pages of a file's folio from its page `page` on, by the entries from `e`, the first at `addr`. References and rss
 * are the caller's. @kernel mm/memory.c set_pte_range (6.18)
 */
export function setPteRange(
  m: Machine,
  vmf: VmFault,
  folio: FolioId,
  page: number,
  nr: number,
  e: number,
  addr: number,
): void {
  let entry = newEntry(m, vmf, folio);
  // Processors that set the accessed bit themselves get entries around the fault without it. @kernel arch/arm64/include/asm/pgtable.h arch_wants_old_prefaulted_pte (6.18)
  const prefault = vmf.address < addr || vmf.address >= addr + nr * m.config.pageSize;
  if (prefault && m.geometry.name.startsWith('arm64')) entry &= ~_PAGE_ACCESSED;
  const pfn = (folioPfn(m.map, folio) + page) as Pfn;
  folioAddFileRmapPtes(m, folio, pfn, nr, vmf.vma);
  setPtes(m, e, pfn, nr, entry);
}

/**
 * Maps a folio of the size of a PMD by one entry, which is none now, if the area allows it. The reference is the caller's.
 * @kernel mm/memory.c do_set_pmd (6.18)
 */
export function doSetPmd(m: Machine, vmf: VmFault, folio: FolioId, pmd: number): boolean {
  const { vmas, mms, pt } = m;
  const { vma, mm } = vmf;
  const order = m.geometry.levels[0].bits;
  if (folioOrder(m.map, folio) !== order) return false;
  if ((vmas.flags[vma] & VM_NOHUGEPAGE) !== 0 || (mms.flags[mm] & MMF_DISABLE_THP_COMPLETELY) !== 0) return false;
  const size = 2 ** pt.pmdShift;
  const start = vmf.address - (vmf.address % size);
  if (start < vmas.start[vma] || start + size > vmas.end[vma]) return false;
  // File and memory must be aligned alike. @kernel include/linux/huge_mm.h thp_vma_suitable_order (6.18)
  if ((vmas.start[vma] - vmas.pgoff[vma] * m.config.pageSize) % size !== 0) return false;
  let entry = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_PSE;
  if (vmf.write) entry |= _PAGE_DIRTY | ((vmas.flags[vma] & VM_WRITE) !== 0 ? _PAGE_RW : 0);
  else if ((vmas.flags[vma] & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED) && !vmaWantsWritenotify(m, vma))
    entry |= _PAGE_RW;
  addMmCounter(m, mm, counterOf(m, vma), 1 << order);
  folioAddFileRmapPmd(m, folio, vma);
  setPte(m, pmd, folioPfn(m.map, folio), entry);
  m.vmstat[V.thp_file_mapped]++;
  return true;
}

/** The counter that pages of a mapped file go into. @kernel include/linux/mm.h mm_counter_file (6.18) */
const counterOf = (m: Machine, vma: VmaId): number =>
  (m.spaces.flags[m.vmas.mapping[vma]] & AS_SWAPBACKED) !== 0 ? MM_SHMEMPAGES : MM_FILEPAGES;

/**
 * Maps the page that a fault was given, with the large folio around it where that fits. The reference to the folio is used
 * up unless the result says otherwise. @kernel mm/memory.c finish_fault (6.18)
 */
export function finishFault(m: Machine, vmf: VmFault): number {
  const { map, vmas, release, pt } = m;
  const { vma, mm, folio } = vmf;
  const mapping = vmas.mapping[vma] as MappingId;
  const shmem = (m.spaces.flags[mapping] & AS_SWAPBACKED) !== 0;
  const nr = 1 << folioOrder(map, folio);
  const index = folioIndex(map, folio);
  // Nothing past the end of a file is mapped.
  const fits = shmem || release.finishFault !== 'whole-folio' || filePages(m, mapping) >= index + nr;
  const pmd = pmdAlloc(m, mm, vmf.address);
  if (pmd < 0) return VM_FAULT_OOM;
  if (pteFlags(m, pmd) === 0) {
    if (fits && doSetPmd(m, vmf, folio, pmd)) return 0;
    if (pteAllocMap(m, mm, vmf.address) < 0) return VM_FAULT_OOM;
  }
  const e = pteOfPmd(m, pmd, vmf.address);
  if (e < 0) return VM_FAULT_NOPAGE;
  const ops = m.aops[m.spaces.ops[mapping]].vmOps;
  const wide =
    nr > 1 && fits && (release.finishFault === 'whole-folio' || (release.finishFault === 'shmem' && ops.anonymous));
  const before = vmf.pgoff - vmas.pgoff[vma];
  const slot = e & pt.pteMask;
  const { page } = vmf;
  if (
    wide &&
    before >= page &&
    before + nr - page <= vmaPages(m, vma) &&
    slot >= page &&
    slot + nr - page <= pt.pteMask + 1 &&
    rangeNone(m, e - page, nr)
  ) {
    folioRefAdd(map, folio, nr - 1);
    setPteRange(m, vmf, folio, 0, nr, e - page, vmf.address - page * m.config.pageSize);
    addMmCounter(m, mm, counterOf(m, vma), nr);
    return 0;
  }
  if (pteFlags(m, e) !== 0) return VM_FAULT_NOPAGE;
  setPteRange(m, vmf, folio, page, 1, e, vmf.address);
  addMmCounter(m, mm, counterOf(m, vma), 1);
  return 0;
}

/** @kernel mm/memory.c pte_range_none (6.18) */
function rangeNone(m: Machine, e: number, nr: number): boolean {
  for (let i = 0; i < nr; i++) if (pteFlags(m, e + i) !== 0) return false;
  return true;
}

/** A load from a page that is not mapped. @kernel mm/memory.c do_read_fault (6.18) */
export function doReadFault(m: Machine, vmf: VmFault, ops: VmOperations): number {
  if (ops.mapPages !== null && shouldFaultAround(m)) {
    const ret = doFaultAround(m, vmf, ops.mapPages);
    if (ret !== 0) return ret;
  }
  let ret = ops.fault(m, vmf);
  if ((ret & NOT_MAPPED) !== 0) return ret;
  ret |= finishFault(m, vmf);
  const { folio } = vmf;
  folioUnlock(m, folio);
  if ((ret & NOT_MAPPED) !== 0) folioPut(m, folio);
  return ret;
}

/** A store into a page of a shared mapping that is not mapped. @kernel mm/memory.c do_shared_fault (6.18) */
export function doSharedFault(m: Machine, vmf: VmFault, ops: VmOperations): number {
  let ret = ops.fault(m, vmf);
  if ((ret & NOT_MAPPED) !== 0) return ret;
  const { folio } = vmf;
  if (ops.pageMkwrite !== null) {
    folioUnlock(m, folio);
    const tmp = doPageMkwrite(m, vmf, ops.pageMkwrite);
    if ((tmp & VM_FAULT_LOCKED) === 0) {
      folioPut(m, folio);
      return tmp;
    }
  }
  ret |= finishFault(m, vmf);
  if ((ret & NOT_MAPPED) !== 0) {
    folioUnlock(m, folio);
    folioPut(m, folio);
    return ret;
  }
  faultDirtySharedPage(m, folio, ops);
  return ret;
}

/** Asks the file system whether vmf.folio may become writable: it is locked then. @kernel mm/memory.c do_page_mkwrite (6.18) */
function doPageMkwrite(m: Machine, vmf: VmFault, pageMkwrite: NonNullable<VmOperations['pageMkwrite']>): number {
  m.wait = NO_FOLIO;
  return pageMkwrite(m, vmf);
}

/** The folio of a store into a shared mapping is dirty; it is unlocked. @kernel mm/memory.c fault_dirty_shared_page (6.18) */
function faultDirtySharedPage(m: Machine, folio: FolioId, ops: VmOperations): void {
  const dirtied = folioMarkDirty(m, folio);
  folioUnlock(m, folio);
  if (dirtied || ops.pageMkwrite !== null) balanceDirtyPages(m);
}

/**
 * A store into a page of a shared mapping that is mapped read-only by entry `e`: that entry becomes writable.
 * @kernel mm/memory.c wp_page_shared (6.18)
 */
export function wpPageShared(m: Machine, vmf: VmFault, ops: VmOperations, e: number): number {
  const { map } = m;
  const { folio } = vmf;
  folioRefAdd(map, folio, 1);
  if (ops.pageMkwrite !== null) {
    const tmp = doPageMkwrite(m, vmf, ops.pageMkwrite);
    if ((tmp & VM_FAULT_LOCKED) === 0) {
      folioPut(m, folio);
      return tmp;
    }
  } else if (folioTest(map, folio, PG.PG_locked)) {
    m.wait = folio;
    folioPut(m, folio);
    return VM_FAULT_RETRY;
  } else folioSet(map, folio, PG.PG_locked);
  setPteFlags(m, e, pteFlags(m, e) | _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED);
  flushTlbRelaxed(m, vmf.mm, vmf.address);
  faultDirtySharedPage(m, folio, ops);
  folioPut(m, folio);
  return 0;
}

/**
 * Locks vmf.folio for a store if it is still part of the file: VM_FAULT_LOCKED; or VM_FAULT_RETRY while it is locked, or under
 * write-back where bytes must hold still; or why it cannot be. @kernel include/linux/pagemap.h folio_mkwrite_check_truncate (6.18)
 */
export function lockForMkwrite(m: Machine, vmf: VmFault): number {
  const { folio } = vmf;
  const mapping = m.vmas.mapping[vmf.vma] as MappingId;
  const stable = (m.spaces.flags[mapping] & AS_STABLE_WRITES) !== 0;
  if (folioTest(m.map, folio, stable ? PG.PG_locked | PG.PG_writeback : PG.PG_locked)) {
    m.wait = folio;
    return VM_FAULT_RETRY;
  }
  if (folioIndex(m.map, folio) >= filePages(m, mapping)) return VM_FAULT_SIGBUS;
  folioSet(m.map, folio, PG.PG_locked);
  return VM_FAULT_LOCKED;
}
