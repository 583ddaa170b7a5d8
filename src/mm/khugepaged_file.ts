/**
 * Collapse of shared memory: the cached pages of 2 MiB of a tmpfs file become one folio in the cache, holes filled with zeros; what
 * mapped them is unmapped, and the empty tables go, so that the next access maps all of it by a PMD. madvise(COLLAPSE) does that
 * at once for the area that it was asked about.
 *
 * Other files: the kernel has this for read-only ones as an option (CONFIG_READ_ONLY_THP_FOR_FS), off here.
 *
 * Differs: the daemon leaves files alone; shmem_enabled, which would tell it otherwise, is "never".
 * @kernel mm/khugepaged.c collapse_file (6.18)
 */

import { xaErase, xaFind, xaStore } from '../base/xarray.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { filemapGetFolio } from './filemap.ts';
import { type FolioId, type MappingId, type MmId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import { allocChargeFolio, expectedRefCount, pmdState } from './khugepaged_collapse.ts';
import type { Machine } from './machine.ts';
import { doSetPmd } from './memory_file.ts';
import { mmCounter } from './memory_pte.ts';
import { addMmCounter } from './mm_struct.ts';
import {
  folioClear,
  folioIndex,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioSetIndex,
  folioSetMapping,
  folioTest,
} from './mm_types.ts';
import { flushTlbRange } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import {
  _PAGE_PRESENT,
  PTE_TABLE,
  pmdAlloc,
  pmdOffset,
  pmdTakeTable,
  pteClear,
  pteFlags,
  pteFree,
  pteOfPmd,
  ptePayload,
} from './pgtable.ts';
import { folioMapped, folioRemoveRmapPtes } from './rmap.ts';
import { TTU_IGNORE_MLOCK, tryToUnmap } from './rmap_walk.ts';
import {
  SCAN_FAIL,
  SCAN_PAGE_COMPOUND,
  SCAN_PAGE_COUNT,
  SCAN_PAGE_LOCK,
  SCAN_PAGE_LRU,
  SCAN_PAGE_NULL,
  SCAN_PMD_MAPPED,
  SCAN_PMD_NONE,
  SCAN_PMD_NULL,
  SCAN_PTE_MAPPED_HUGEPAGE,
  SCAN_PTE_NON_PRESENT,
  SCAN_SUCCEED,
  SCAN_TRUNCATED,
  SCAN_VMA_CHECK,
} from './scan_result.ts';
import { folioAddLru, folioIsolateLru, folioPut, folioPutRefs } from './swap.ts';
import { thpVmaSuitableOrder } from './thp.ts';
import { linearPageIndex, VM_NOHUGEPAGE, vmaMapping } from './vma.ts';
import { V } from './vmstat.ts';

/** May the area be collapsed on demand? @kernel mm/huge_memory.c __thp_vma_allowable_orders (6.18) */
export function fileCollapsible(m: Machine, vma: VmaId): boolean {
  const { vmas } = m;
  const shmem = (m.spaces.flags[vmaMapping(m, vma)] & AS_SWAPBACKED) !== 0;
  if (!shmem || !m.config.thp || (vmas.flags[vma] & VM_NOHUGEPAGE) !== 0) return false;
  return thpVmaSuitableOrder(m, vma, vmas.end[vma] - 2 ** m.pt.pmdShift, m.thp.pmdOrder);
}

/** madvise(COLLAPSE) of one block of an area of shared memory. @kernel mm/khugepaged.c hpage_collapse_scan_file (6.18) */
export function collapseScanFile(m: Machine, vma: VmaId, addr: number): number {
  const mapping = vmaMapping(m, vma);
  const start = linearPageIndex(m, vma, addr);
  const { map } = m;
  const head = m.spaces.head[mapping];
  const end = start + (1 << m.thp.pmdOrder);
  let result = SCAN_SUCCEED;
  for (let i = start; i < end && result === SCAN_SUCCEED; ) {
    const f = xaFind(m.pages, head, i, end - 1) as FolioId;
    if (f === NO_FOLIO) break;
    if (folioOrder(map, f) === m.thp.pmdOrder) result = SCAN_PTE_MAPPED_HUGEPAGE;
    else if (!folioTest(map, f, PG.PG_lru)) result = SCAN_PAGE_LRU;
    else if (expectedRefCount(m, f) !== folioRefCount(map, f)) result = SCAN_PAGE_COUNT;
    i = folioIndex(map, f) + folioNrPages(map, f);
  }
  if (result === SCAN_SUCCEED) result = collapseFile(m, mapping, start);
  return result === SCAN_PTE_MAPPED_HUGEPAGE ? collapsePteMappedThp(m, vma, addr) : result;
}

/** Replaces the folios of [start, start + 512) by one. @kernel mm/khugepaged.c collapse_file (6.18) */
function collapseFile(m: Machine, mapping: MappingId, start: number): number {
  const { map, spaces } = m;
  const why = { result: SCAN_FAIL };
  const folio = allocChargeFolio(m, m.thp.pmdOrder, false, why);
  if (folio === NO_FOLIO) return why.result;
  const nr = 1 << m.thp.pmdOrder;
  const taken: FolioId[] = [];
  let result = xaFind(m.pages, spaces.head[mapping], start, start + nr - 1) === 0 ? SCAN_TRUNCATED : SCAN_SUCCEED;
  let found = 0;
  for (let i = start; i < start + nr && result === SCAN_SUCCEED; ) {
    const f = xaFind(m.pages, spaces.head[mapping], i, start + nr - 1) as FolioId;
    if (f === NO_FOLIO) break;
    // What was only reserved is zeroed.
    if (folioTest(map, f, PG.PG_locked)) result = SCAN_PAGE_LOCK;
    else if (!folioIsolateLru(m, f)) result = SCAN_PAGE_LRU;
    else {
      folioSet(map, f, PG.PG_locked | PG.PG_uptodate);
      taken.push(f);
      if (folioMapped(m, f)) tryToUnmap(m, f, TTU_IGNORE_MLOCK);
      if (folioRefCount(map, f) !== 1 + folioNrPages(map, f)) result = SCAN_PAGE_COUNT;
    }
    found += folioNrPages(map, f);
    i = folioIndex(map, f) + folioNrPages(map, f);
  }
  if (result !== SCAN_SUCCEED) {
    for (const f of taken) {
      folioClear(map, f, PG.PG_locked);
      folioAddLru(m, f);
      folioPut(m, f);
    }
    folioPut(m, folio);
    return result;
  }
  for (const f of taken) {
    xaErase(m.pages, spaces.head, mapping, folioIndex(map, f), folioOrder(map, f), 0, 0);
    folioSetMapping(map, f, 0);
    folioClear(map, f, PG.PG_locked | PG.PG_active | PG.PG_unevictable);
  }
  m.pages.tag = m.currentMemcg;
  xaStore(m.pages, spaces.head, mapping, start, m.thp.pmdOrder, folio);
  folioSetMapping(map, folio, mapping);
  folioSetIndex(map, folio, start);
  folioRefAdd(map, folio, nr);
  spaces.nrpages[mapping] += nr - found;
  m.vmstat[V.nr_file_pages] += nr - found;
  m.vmstat[V.nr_shmem] += nr - found;
  folioSet(map, folio, PG.PG_uptodate | PG.PG_swapbacked | PG.PG_dirty);
  folioAddLru(m, folio);
  retractPageTables(m, mapping, start);
  for (const f of taken) folioPutRefs(m, f, 1 + folioNrPages(map, f));
  folioPut(m, folio);
  return SCAN_PTE_MAPPED_HUGEPAGE;
}

/** Frees the tables of areas that map the block and have nothing private. @kernel mm/khugepaged.c retract_page_tables (6.18) */
function retractPageTables(m: Machine, mapping: MappingId, start: number): void {
  const { vmas } = m;
  const span = 2 ** m.pt.pmdShift;
  for (let vma = m.spaces.iMmap[mapping]; vma !== 0; vma = vmas.sharedNext[vma]) {
    const addr = vmas.start[vma] + (start - vmas.pgoff[vma]) * m.config.pageSize;
    if (vmas.anonVma[vma] !== 0 || addr % span !== 0) continue;
    if (addr < vmas.start[vma] || vmas.end[vma] < addr + span) continue;
    const pmd = pmdOffset(m, vmas.mm[vma] as MmId, addr);
    if (pmdState(m, pmd) !== SCAN_SUCCEED) continue;
    pteFree(m, vmas.mm[vma] as MmId, pmdTakeTable(m, pmd));
    flushTlbRange(m, vmas.mm[vma] as MmId, addr, addr + span);
  }
}

/** Maps a block whose folio is huge already by its PMD. @kernel mm/khugepaged.c collapse_pte_mapped_thp (6.18) */
function collapsePteMappedThp(m: Machine, vma: VmaId, addr: number): number {
  const { map, vmf } = m;
  const mm = m.vmas.mm[vma] as MmId;
  let pmd = pmdOffset(m, mm, addr);
  const state = pmdState(m, pmd);
  if (state === SCAN_PMD_MAPPED) return state;
  if (!fileCollapsible(m, vma) || !thpVmaSuitableOrder(m, vma, addr, m.thp.pmdOrder)) return SCAN_VMA_CHECK;
  const folio = filemapGetFolio(m, vmaMapping(m, vma), linearPageIndex(m, vma, addr));
  if (folio === NO_FOLIO || folioTest(map, folio, PG.PG_locked)) return SCAN_PAGE_NULL;
  if (folioOrder(map, folio) !== m.thp.pmdOrder) return SCAN_PAGE_COMPOUND;
  if (state === SCAN_SUCCEED) {
    const result = unmapTable(m, vma, mm, pmd, addr, folio);
    if (result !== SCAN_SUCCEED) return result;
  } else if (state !== SCAN_PMD_NONE && state !== SCAN_PMD_NULL) return state;
  if (pmd < 0) pmd = pmdAlloc(m, mm, addr);
  if (pmd < 0) return SCAN_FAIL;
  vmf.mm = mm;
  vmf.vma = vma;
  vmf.address = addr;
  vmf.write = false;
  if (!doSetPmd(m, vmf, folio, pmd)) return SCAN_FAIL;
  folioRefAdd(map, folio, 1);
  return SCAN_SUCCEED;
}

/** Takes a table that maps nothing but the pages of the folio, each in its place, away. */
function unmapTable(m: Machine, vma: VmaId, mm: MmId, pmd: number, addr: number, folio: FolioId): number {
  const first = pteOfPmd(m, pmd, addr);
  const nr = 1 << m.thp.pmdOrder;
  const pfn = folioPfn(m.map, folio);
  for (let i = 0; i < nr; i++) {
    const flags = pteFlags(m, first + i);
    if (flags === 0) continue;
    if ((flags & _PAGE_PRESENT) === 0) return SCAN_PTE_NON_PRESENT;
    if (ptePayload(m, first + i) !== pfn + i) return SCAN_FAIL;
  }
  let mapped = 0;
  for (let i = 0; i < nr; i++) {
    if (pteFlags(m, first + i) === 0) continue;
    pteClear(m, first + i);
    folioRemoveRmapPtes(m, folio, (pfn + i) as Pfn, 1, vma);
    mapped++;
  }
  folioRefAdd(m.map, folio, -mapped);
  addMmCounter(m, mm, mmCounter(m, folio), -mapped);
  if ((pteFlags(m, pmd) & PTE_TABLE) !== 0) pteFree(m, mm, pmdTakeTable(m, pmd));
  flushTlbRange(m, mm, addr, addr + 2 ** m.pt.pmdShift);
  return SCAN_SUCCEED;
}
