/**
 * Fault-around: a read fault maps the cached pages around it too, as long as that costs no I/O and no waiting.
 *
 *   window   16 pages, aligned in virtual memory, inside the area and inside one page table
 *   skipped  what is locked, not uptodate, marked for readahead, or past the end of the file
 *   whole    (6.18) a large folio that touches the window and lies inside the area, the page table and the file is mapped
 *            whole; one of 2 MiB by one PMD entry
 *
 * Before 6.18 the window was all of it.
 */
import { xaFind } from '../base/xarray.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { filePages } from './filemap_fault.ts';
import type { FolioId, MappingId } from './ids.ts';
import type { Machine } from './machine.ts';
import { doSetPmd, setPteRange } from './memory_file.ts';
import { addMmCounter, MM_FILEPAGES, MM_SHMEMPAGES } from './mm_struct.ts';
import { folioFlags, folioIndex, folioOrder, folioRefAdd } from './mm_types.ts';
import { PG, PG_readahead } from './page_flags.ts';
import { pmdAlloc, pteAllocMap, pteFlags, pteOfPmd } from './pgtable.ts';
import { VM_FAULT_NOPAGE, VM_FAULT_OOM, type VmFault } from './vm_fault.ts';
import { VM_EXEC, VM_SEQ_READ, vmaPages } from './vma.ts';

const { PG_locked, PG_uptodate, PG_workingset } = PG;

/** @kernel mm/memory.c fault_around_pages (6.18) */
const FAULT_AROUND_BYTES = 65536;

/** Are there pages around a page? Not with pages of 64 KiB. @kernel mm/memory.c should_fault_around (6.18) */
export const shouldFaultAround = (m: Machine): boolean => FAULT_AROUND_BYTES >> m.pageShift > 1;

/**
 * Maps what is cached in the window around the fault. VM_FAULT_NOPAGE when that is all there is to do.
 * @kernel mm/memory.c do_fault_around (6.18)
 */
export function doFaultAround(
  m: Machine,
  vmf: VmFault,
  mapPages: (m: Machine, vmf: VmFault, start: number, end: number) => number,
): number {
  const nr = FAULT_AROUND_BYTES >> m.pageShift;
  const { vmas, pt } = m;
  const pteOff = Math.floor(vmf.address * m.pagesPerByte) & pt.pteMask;
  const vmaOff = vmf.pgoff - vmas.pgoff[vmf.vma];
  const from = Math.max(pteOff - (pteOff % nr), pteOff - Math.min(pteOff, vmaOff));
  const to = Math.min(from + nr, pt.pteMask + 1, pteOff + vmaPages(m, vmf.vma) - vmaOff) - 1;
  return mapPages(m, vmf, vmf.pgoff + from - pteOff, vmf.pgoff + to - pteOff);
}

/** The first folio of pages [index, last] that can be mapped now, or 0; Machine.pages.index is where. @kernel mm/filemap.c next_uptodate_folio (6.18) */
function nextUptodateFolio(m: Machine, head: number, index: number, last: number): FolioId {
  const { map, pages } = m;
  for (let i = index; i <= last; ) {
    const e = xaFind(pages, head, i, last) as FolioId;
    if (e === 0) break;
    const flags = folioFlags(map, e);
    if ((flags & (PG_locked | PG_uptodate | PG_readahead)) === PG_uptodate) return e;
    i = folioIndex(map, e) + (1 << folioOrder(map, e));
  }
  return 0 as FolioId;
}

/**
 * Maps what can be mapped of pages [start, end], which lie in one page table.
 * @kernel mm/filemap.c filemap_map_pages (6.18)
 */
export function filemapMapPages(m: Machine, vmf: VmFault, start: number, end: number): number {
  const { map, vmas, files, spaces, release } = m;
  const { vma, mm } = vmf;
  const mapping = vmas.mapping[vma] as MappingId;
  const file = vmas.file[vma];
  const fileEnd = filePages(m, mapping) - 1;
  const last = Math.min(end, fileEnd);
  const head = spaces.head[mapping];
  const shmem = (spaces.flags[mapping] & AS_SWAPBACKED) !== 0;
  const whole = release.faultAround === 'whole-folio';
  let folio = nextUptodateFolio(m, head, start, last);
  if (folio === 0) return 0;
  const pmd = pmdAlloc(m, mm, vmf.address);
  if (pmd < 0) return VM_FAULT_OOM;
  // Since 6.18 nothing past the end of the file is mapped by a PMD, and so no table is put in its place here either.
  if (!whole || shmem || fileEnd >= folioIndex(map, folio) + (1 << folioOrder(map, folio))) {
    if (pteFlags(m, pmd) === 0 && doSetPmd(m, vmf, folio, pmd)) {
      folioRefAdd(map, folio, 1);
      return VM_FAULT_NOPAGE;
    }
    if (pteFlags(m, pmd) === 0 && pteAllocMap(m, mm, vmf.address) < 0) return VM_FAULT_OOM;
  }
  const base = vmas.start[vma] - vmas.pgoff[vma] * m.config.pageSize;
  const e0 = pteOfPmd(m, pmd, base + start * m.config.pageSize);
  if (e0 < 0) return 0;
  const vmaFirst = vmas.pgoff[vma];
  const vmaEnd = vmaFirst + vmaPages(m, vma);
  let ret = 0;
  let rss = 0;
  let hits = 0;
  while (folio !== 0) {
    const index = folioIndex(map, folio);
    const next = index + (1 << folioOrder(map, folio));
    let from = m.pages.index;
    let to = Math.min(next, last + 1);
    if (next - index > 1 && whole && (shmem || fileEnd >= next) && index >= vmaFirst && next <= vmaEnd) {
      // Inside one page table?
      const slot = (e0 & m.pt.pteMask) + (index - start);
      if (slot >= 0 && slot + (next - index) <= m.pt.pteMask + 1) {
        from = index;
        to = next;
      }
    }
    if ((folioFlags(map, folio) & PG_workingset) === 0 || release.mmapMissAround === 'every-page') hits += to - from;
    // Runs of entries that are none.
    for (let i = from; i < to; ) {
      if (pteFlags(m, e0 + i - start) !== 0) {
        i++;
        continue;
      }
      let stop = i + 1;
      while (stop < to && pteFlags(m, e0 + stop - start) === 0) stop++;
      setPteRange(m, vmf, folio, i - index, stop - i, e0 + i - start, base + i * m.config.pageSize);
      folioRefAdd(map, folio, stop - i);
      rss += stop - i;
      if (vmf.pgoff >= i && vmf.pgoff < stop) ret = VM_FAULT_NOPAGE;
      i = stop;
    }
    folio = nextUptodateFolio(m, head, next, last);
  }
  addMmCounter(m, mm, shmem ? MM_SHMEMPAGES : MM_FILEPAGES, rss);
  if (release.mmapMissAround === 'satisfied-fault') {
    const counts = ret !== 0 && !vmf.tried && (vmas.flags[vma] & (VM_SEQ_READ | VM_EXEC)) === 0;
    hits = counts ? 1 : 0;
  }
  files.mmapMiss[file] = Math.max(0, files.mmapMiss[file] - hits);
  return ret;
}
