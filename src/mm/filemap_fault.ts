/**
 * Faults on mapped files: the page is cached, or it is read in and others with it.
 *
 *   page cached ──► marked for readahead? the next window ──► wait for its lock ──► handed over locked
 *   not cached ──► MADV_HUGEPAGE   two folios of 2 MiB, at the fault
 *                  MADV_RANDOM     this page alone
 *                  MADV_SEQUENTIAL as a read of a whole window
 *                  many misses     this page alone (mmap_miss over 100)
 *                  executable      a window forward from the fault, inside the area
 *                  else            read-around: half of the window before the fault
 *
 * Whoever starts I/O lets go of the address space and has the whole fault repeated (VM_FAULT_RETRY), which fault-around then
 * mostly ends; nothing waits here.
 */
import { xaLoad } from '../base/xarray.ts';
import { EEXIST, ENOMEM, filemapAddFolio, filemapGetFolio, folioUnlock, MAPPING_GFP, opsOf } from './filemap.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioIndex, folioRefAdd, folioSet, folioTest } from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_readahead } from './page_flags.ts';
import { pageCacheAsyncRa, pageCacheRaOrder, pageCacheSyncRa } from './readahead.ts';
import { folioPut } from './swap.ts';
import {
  VM_FAULT_LOCKED,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  type VmFault,
} from './vm_fault.ts';
import { VM_EXEC, VM_HUGEPAGE, VM_RAND_READ, VM_SEQ_READ } from './vma.ts';
import { V } from './vmstat.ts';

const { PG_locked, PG_uptodate } = PG;

/** More misses than hits by so many: reading around a fault is of no use. @kernel mm/filemap.c MMAP_LOTSAMISS (6.18) */
const MMAP_LOTSAMISS = 100;

/** Pages that a file of this size has, a partial one included. */
export const filePages = (m: Machine, mapping: MappingId): number => Math.ceil(m.spaces.size[mapping] * m.pagesPerByte);

/** Order of folios that are read for executable memory. @kernel include/linux/pgtable.h exec_folio_order (6.18) */
const execFolioOrder = (m: Machine): number => {
  if (!m.geometry.name.startsWith('arm64')) return 0;
  // 64 KiB: @kernel arch/arm64/include/asm/pgtable.h exec_folio_order (6.18)
  return Math.max(0, 16 - m.pageShift);
};

/**
 * A page that is not cached: reads it in with what may be wanted next. True when it let go of the address space to start
 * I/O, so that the fault must be repeated. @kernel mm/filemap.c do_sync_mmap_readahead (6.18)
 */
function doSyncMmapReadahead(m: Machine, vmf: VmFault): boolean {
  const { vmas, files, spaces, release } = m;
  const flags = vmas.flags[vmf.vma];
  const file = vmas.file[vmf.vma] as FileId;
  const mapping = vmas.mapping[vmf.vma];
  const pmd = m.geometry.levels[0].bits;
  if ((flags & VM_HUGEPAGE) !== 0 && release.hugepageReadahead !== 'none') {
    const order = release.hugepageReadahead === 'pmd' ? pmd : Math.min(spaces.maxOrder[mapping], pmd);
    if (pmd <= m.maxPagecacheOrder && (release.hugepageReadahead === 'pmd' || order > 0)) {
      const nr = 1 << order;
      files.size[file] = (flags & VM_RAND_READ) === 0 ? 2 * nr : nr;
      files.asyncSize[file] = nr;
      files.order[file] = order;
      pageCacheRaOrder(m, file, vmf.pgoff - (vmf.pgoff % nr));
      return !vmf.tried;
    }
  }
  const random = release.execReadahead === 'forward' ? flags & (VM_RAND_READ | VM_EXEC) : flags & VM_RAND_READ;
  if (random === VM_RAND_READ) return false;
  const window = files.raPages[file];
  if (window === 0) return false;
  if ((flags & VM_SEQ_READ) !== 0) {
    pageCacheSyncRa(m, file, vmf.pgoff, window);
    return !vmf.tried;
  }
  if (files.mmapMiss[file] < MMAP_LOTSAMISS * 10) files.mmapMiss[file]++;
  if (files.mmapMiss[file] > MMAP_LOTSAMISS) return false;
  if ((flags & VM_EXEC) !== 0 && release.execReadahead === 'forward') {
    const first = vmas.pgoff[vmf.vma];
    const end = first + (vmas.end[vmf.vma] - vmas.start[vmf.vma]) * m.pagesPerByte;
    const order = execFolioOrder(m);
    const unit = 1 << order;
    const start = Math.max(vmf.pgoff - (vmf.pgoff % unit), first);
    files.order[file] = order;
    files.start[file] = start;
    files.size[file] = Math.min(Math.ceil((start + window) / unit) * unit, end) - start;
    files.asyncSize[file] = 0;
  } else {
    files.start[file] = Math.max(0, vmf.pgoff - (window >> 1));
    files.size[file] = window;
    files.asyncSize[file] = window >> 2;
    files.order[file] = 0;
  }
  pageCacheRaOrder(m, file, files.start[file]);
  return !vmf.tried;
}

/** A page that is cached: the mark of the window may have been reached. @kernel mm/filemap.c do_async_mmap_readahead (6.18) */
function doAsyncMmapReadahead(m: Machine, vmf: VmFault, folio: FolioId): boolean {
  const { vmas, files, release } = m;
  const flags = vmas.flags[vmf.vma];
  const file = vmas.file[vmf.vma] as FileId;
  if ((flags & VM_RAND_READ) !== 0 || files.raPages[file] === 0) return false;
  const counts =
    release.mmapMissHit === 'always' ||
    (!folioTest(m.map, folio, PG_locked) &&
      (release.mmapMissHit === 'unlocked' || (flags & (VM_SEQ_READ | VM_EXEC)) === 0));
  if (counts && files.mmapMiss[file] > 0) files.mmapMiss[file]--;
  if (!folioTest(m.map, folio, PG_readahead)) return false;
  // Room for what is read ahead is not made by taking this one.
  folioRefAdd(m.map, folio, 1);
  pageCacheAsyncRa(m, file, folio, vmf.pgoff, files.raPages[file]);
  folioPut(m, folio);
  return true;
}

/** The folio at the fault, made (not locked, of the smallest order) if it is missing; 0: no memory. @kernel mm/filemap.c __filemap_get_folio (6.18) */
function getOrCreateForMmap(m: Machine, mapping: MappingId, at: number): FolioId {
  for (;;) {
    const found = filemapGetFolio(m, mapping, at);
    if (found !== NO_FOLIO) return found;
    const min = m.spaces.minOrder[mapping];
    const folio = folioAlloc(m, MAPPING_GFP, min);
    if (folio === NO_FOLIO) return NO_FOLIO;
    const err = filemapAddFolio(m, mapping, folio, at - (at % (1 << min)), MAPPING_GFP);
    folioPut(m, folio);
    if (err === ENOMEM) return NO_FOLIO;
    if (err !== EEXIST) {
      folioUnlock(m, folio);
      return folio;
    }
  }
}

/**
 * The page of a file for a fault. VM_FAULT_RETRY: again, after the folio Machine.wait (0: at once).
 * @kernel mm/filemap.c filemap_fault (6.18)
 */
export function filemapFault(m: Machine, vmf: VmFault): number {
  const { map, vmas } = m;
  const mapping = vmas.mapping[vmf.vma] as MappingId;
  const index = vmf.pgoff;
  m.wait = NO_FOLIO;
  if (index >= filePages(m, mapping)) return VM_FAULT_SIGBUS;
  if (m.tracer !== null) m.tracer.filemapFault?.(mapping, index);
  let ret = 0;
  let released = false;
  let folio = xaLoad(m.pages, m.spaces.head[mapping], index) as FolioId;
  if (folio > 0) {
    if (!vmf.tried) released = doAsyncMmapReadahead(m, vmf, folio);
  } else {
    m.vmstat[V.pgmajfault]++;
    ret = VM_FAULT_MAJOR;
    // Nobody waits for more than the page of the fault.
    m.ahead = true;
    released = doSyncMmapReadahead(m, vmf);
    m.ahead = false;
    folio = getOrCreateForMmap(m, mapping, index);
    if (folio === NO_FOLIO) return released ? ret | VM_FAULT_RETRY : VM_FAULT_OOM;
  }
  if (folioTest(map, folio, PG_locked)) {
    m.wait = folio;
    return ret | VM_FAULT_RETRY;
  }
  if (!folioTest(map, folio, PG_uptodate)) {
    if (vmf.asked === folio) return VM_FAULT_SIGBUS;
    folioSet(map, folio, PG_locked);
    vmf.asked = folio;
    opsOf(m, mapping).readFolio(m, mapping, folio);
    if (folioTest(map, folio, PG_locked)) m.wait = folio;
    return ret | VM_FAULT_RETRY;
  }
  if (released) return ret | VM_FAULT_RETRY;
  folioSet(map, folio, PG_locked);
  folioRefAdd(map, folio, 1);
  vmf.folio = folio;
  vmf.page = index - folioIndex(map, folio);
  return ret | VM_FAULT_LOCKED;
}
