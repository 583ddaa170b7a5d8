/**
 * From a folio to the entries that map it. The areas that may map it are known (an anon_vma's, or a file's), and each has at most
 * one address for it; what lies there in the page tables is looked at, entry by entry.
 *
 *   folio ─► anon_vma or file ─► area ─► address ─► PMD leaf, or the PTEs of the folio's pages
 *
 * A walk keeps its place in Machine.rmap, so that a visit allocates nothing; one walk is under way at a time, and what it calls
 * may split a PMD but not walk.
 *
 * @kernel mm/rmap.c rmap_walk (6.18)
 * @kernel mm/page_vma_mapped.c page_vma_mapped_walk (6.18)
 */
import { splitHugePmd } from './huge_memory_anon.ts';
import type { FolioId, MemcgId, MmId, Pfn, SwapEntry, VmaId } from './ids.ts';
import { lruGenLookAround } from './lru_gen_age.ts';
import type { Machine } from './machine.ts';
import { vmaHasRecency } from './memory_pte.ts';
import { mlockDrainLocal, mlockVmaFolio } from './mlock.ts';
import { addMmCounter, MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS } from './mm_struct.ts';
import {
  FOLIO_WORDS,
  folioIndex,
  folioNrPages,
  folioPfn,
  folioRefCount,
  folioSet,
  folioTest,
  folioTestAnon,
  W_MAPPING,
} from './mm_types.ts';
import { flushPmdTlbRange, flushTlbYoung, ptepClearFlush } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import { pageFlag } from './page_type.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  PTE_HWPOISON,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_SWP_EXCLUSIVE,
  pgtableTransHugeWithdraw,
  pmdOffset,
  pteClear,
  pteFlags,
  pteFree,
  pteOfPmd,
  ptePayload,
  setPte,
  setPteFlags,
} from './pgtable.ts';
import {
  folioMapcount,
  folioRemoveRmapPmd,
  folioRemoveRmapPtes,
  folioTryShareAnonRmap,
  pageAnonExclusive,
} from './rmap.ts';
import { folioPut } from './swap.ts';
import { folioSwap } from './swap_table.ts';
import { swapDuplicate } from './swapfile.ts';
import { VM_LOCKED } from './vma.ts';

/** Split PMD leaves on the way. @kernel include/linux/rmap.h enum ttu_flags (6.18) */
export const TTU_SPLIT_HUGE_PMD = 0x4;
export const TTU_IGNORE_MLOCK = 0x8;
/** Where a page with bad memory was mapped an entry stays that says so. */
export const TTU_HWPOISON = 0x20;
/** The TLB may be told later: tryToUnmapFlush. */
export const TTU_BATCH_FLUSH = 0x40;

/** The walk under way, and what folioReferenced found. */
export interface RmapWalk {
  /** Frames [first, end) are looked for, in entries that are present, or (migration) that wait for them. */
  first: number;
  end: number;
  wanted: number;
  mm: MmId;
  /** Address of the entry that was found, and where the folio ends in the area. */
  addr: number;
  stop: number;
  /** Where the PMD entry's span, or the folio, ends. */
  limit: number;
  /** Bytes under a PMD entry. */
  readonly span: number;
  /** The entry found: of a PTE, or (huge) of a PMD; −1 at first. */
  entry: number;
  huge: boolean;
  /** VM_* bits of the areas that referenced the folio, VM_LOCKED among them. */
  vmFlags: number;
  referenced: number;
  mapcount: number;
  memcg: number;
  flags: number;
}
export const rmapWalkState = (pmdShift: number): RmapWalk => ({
  first: 0,
  end: 0,
  wanted: _PAGE_PRESENT,
  mm: 0 as MmId,
  addr: 0,
  stop: 0,
  limit: 0,
  span: 2 ** pmdShift,
  entry: -1,
  huge: false,
  vmFlags: 0,
  referenced: 0,
  mapcount: 0,
  memcg: 0,
  flags: 0,
});

/** What is done for one area; false ends the walk. */
export type RmapOne = (m: Machine, f: FolioId, vma: VmaId) => boolean;

/** Visits the areas that may map a folio, each with Machine.rmap set to before the first of its entries. @kernel mm/rmap.c rmap_walk (6.18) */
export function rmapWalk(m: Machine, f: FolioId, one: RmapOne): void {
  const { map } = m;
  const index = folioIndex(map, f);
  const nr = folioNrPages(map, f);
  const word = map[f * FOLIO_WORDS + W_MAPPING];
  if ((word & 1) !== 0) {
    const { anonVmas } = m;
    const { chains } = anonVmas;
    for (let row = anonVmas.first[word >> 2]; row !== 0; row = chains.next[row])
      if (!visit(m, f, chains.vma[row] as VmaId, index, nr, one)) return;
    return;
  }
  if (word === 0) return;
  for (let vma = m.spaces.iMmap[word >> 2]; vma !== 0; vma = m.vmas.sharedNext[vma])
    if (!visit(m, f, vma as VmaId, index, nr, one)) return;
}

/** One area, if it covers some page of the folio. @kernel mm/internal.h vma_address (6.18) */
function visit(m: Machine, f: FolioId, vma: VmaId, index: number, nr: number, one: RmapOne): boolean {
  const { vmas, rmap } = m;
  const size = m.config.pageSize;
  const start = vmas.start[vma];
  const end = vmas.end[vma];
  // Of an anonymous folio the word holds the low bits of its index.
  const first = start + ((index - vmas.pgoff[vma]) | 0) * size;
  const stop = first + nr * size;
  if (first >= end || stop <= start) return true;
  rmap.first = folioPfn(m.map, f);
  rmap.end = rmap.first + nr;
  rmap.mm = vmas.mm[vma] as MmId;
  rmap.addr = first < start ? start : first;
  rmap.stop = stop > end ? end : stop;
  rmap.entry = -1;
  return one(m, f, vma);
}

/**
 * The next entry of the area that maps a page of the folio: false when there is none left. Machine.rmap says which.
 * @kernel mm/page_vma_mapped.c page_vma_mapped_walk (6.18)
 */
export function pageVmaMappedWalk(m: Machine): boolean {
  const { rmap: r, pt } = m;
  const { pageSize } = m.config;
  const { stop, first, end, wanted, span } = r;
  let { addr, entry, limit } = r;
  if (entry >= 0) {
    addr = r.huge ? limit : addr + pageSize;
    entry = addr < limit ? entry + 1 : -1;
  }
  while (addr < stop) {
    if (entry < 0) {
      limit = (Math.floor(addr * pt.pmdsPerByte) + 1) * span;
      if (limit > stop) limit = stop;
      r.limit = limit;
      const pmd = pmdOffset(m, r.mm, addr);
      if (pmd >= 0) {
        const leaf = wanted === _PAGE_PRESENT ? _PAGE_PSE : PTE_MIGRATION;
        if ((pt.entries[pmd * 2 + 1] & leaf) !== 0 && pt.entries[pmd * 2] === first) {
          r.addr = addr;
          r.entry = pmd;
          r.huge = true;
          return true;
        }
        entry = pteOfPmd(m, pmd, addr);
      }
    }
    if (entry >= 0) {
      const { entries } = pt;
      for (; addr < limit; addr += pageSize, entry++) {
        const pfn = entries[entry * 2];
        if (pfn < first || pfn >= end || (entries[entry * 2 + 1] & wanted) === 0) continue;
        r.addr = addr;
        r.entry = entry;
        r.huge = false;
        return true;
      }
    }
    addr = limit;
    entry = -1;
  }
  return false;
}

/** After a PMD was split: the same address again, now by its PTEs. @kernel include/linux/rmap.h page_vma_mapped_walk_restart (6.18) */
export function pageVmaMappedWalkRestart(m: Machine): void {
  m.rmap.entry = -1;
}

/**
 * In how many areas a folio was used since it was last asked; the bits that say so are cleared. In Machine.rmap: what kind of
 * areas. Of a reclaim for one group (`target`, not 0) only its own areas count. @kernel mm/rmap.c folio_referenced (6.18)
 */
export function folioReferenced(m: Machine, f: FolioId, target: MemcgId | 0): number {
  const { rmap } = m;
  rmap.vmFlags = rmap.referenced = 0;
  rmap.mapcount = folioMapcount(m, f);
  rmap.memcg = target;
  if (rmap.mapcount === 0) return 0;
  rmap.wanted = _PAGE_PRESENT;
  rmapWalk(m, f, folioReferencedOne);
  return rmap.referenced;
}

/** VM_* bits of the areas that the last folioReferenced found the folio used in; VM_LOCKED among them when it is locked. */
export const referencedFlags = (m: Machine): number => m.rmap.vmFlags;

/** @kernel mm/rmap.c folio_referenced_one (6.18) */
function folioReferencedOne(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { rmap } = m;
  if (!vmaHasRecency(m, vma)) return true;
  if (rmap.memcg !== 0 && m.mms.memcg[rmap.mm] !== rmap.memcg) return true;
  const locked = (m.vmas.flags[vma] & VM_LOCKED) !== 0;
  const nr = rmap.end - rmap.first;
  let ptes = 0;
  let young = false;
  while (pageVmaMappedWalk(m)) {
    rmap.mapcount--;
    if (locked) {
      ptes++;
      if (!rmap.huge && ptes !== nr) continue;
      // What crosses the end of a page table is not locked here. @kernel mm/rmap.c PVMW_PGTABLE_CROSSED (6.18)
      mlockVmaFolio(m, f, vma);
      rmap.vmFlags |= VM_LOCKED;
      return false;
    }
    if (m.lruGen !== null && !rmap.huge) {
      if (lruGenLookAround(m, vma, rmap.addr, rmap.entry, f)) young = true;
      continue;
    }
    const flags = pteFlags(m, rmap.entry);
    if ((flags & _PAGE_ACCESSED) === 0) continue;
    setPteFlags(m, rmap.entry, flags & ~_PAGE_ACCESSED);
    flushTlbYoung(m, rmap.mm, rmap.addr, rmap.huge);
    young = true;
  }
  if (young) {
    rmap.referenced++;
    rmap.vmFlags |= m.vmas.flags[vma] & ~VM_LOCKED;
  }
  return rmap.mapcount > 0;
}

/** Unmaps a locked folio wherever it is mapped; anonymous memory leaves swap entries. Whether it worked folioMapped tells. @kernel mm/rmap.c try_to_unmap (6.18) */
export function tryToUnmap(m: Machine, f: FolioId, flags: number): void {
  m.rmap.flags = flags;
  m.rmap.wanted = _PAGE_PRESENT;
  rmapWalk(m, f, tryToUnmapOne);
}

/** @kernel mm/rmap.c try_to_unmap_one (6.18) */
function tryToUnmapOne(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { rmap, map } = m;
  const nr = rmap.end - rmap.first;
  const locked = (m.vmas.flags[vma] & VM_LOCKED) !== 0;
  const anon = folioTestAnon(map, f);
  if (anon && nr > 1 && !folioTest(map, f, PG.PG_swapbacked)) gatherDirty(m, f);
  let ptes = 0;
  while (pageVmaMappedWalk(m)) {
    if (locked && (rmap.flags & TTU_IGNORE_MLOCK) === 0) {
      ptes++;
      if (!rmap.huge && ptes !== nr) continue;
      mlockVmaFolio(m, f, vma);
      return false;
    }
    if (rmap.huge) {
      if (anon && !folioTest(map, f, PG.PG_swapbacked)) return unmapHugePmd(m, f, vma);
      splitHugePmd(m, vma, rmap.entry, rmap.addr);
      pageVmaMappedWalkRestart(m);
      continue;
    }
    if (!unmapPte(m, f, vma, anon)) return false;
  }
  return !(locked && ptes > 0) && folioMapcount(m, f) > 0;
}

/** A large folio that was given up is unmapped as a whole: one page that was written to keeps all. @kernel mm/rmap.c folio_unmap_pte_batch (6.18) */
function gatherDirty(m: Machine, f: FolioId): void {
  const { rmap } = m;
  const { addr } = rmap;
  while (pageVmaMappedWalk(m)) if ((pteFlags(m, rmap.entry) & _PAGE_DIRTY) !== 0) folioSet(m.map, f, PG.PG_dirty);
  rmap.addr = addr;
  rmap.entry = -1;
}

/** Unmaps the page of the entry that the walk found; false: it stays, and the walk ends. */
function unmapPte(m: Machine, f: FolioId, vma: VmaId, anon: boolean): boolean {
  const { rmap, map } = m;
  const { entry, mm } = rmap;
  const flags = pteFlags(m, entry);
  const page = ptePayload(m, entry) as Pfn;
  if ((flags & _PAGE_DIRTY) !== 0) {
    if (anon) folioSet(map, f, PG.PG_dirty);
    else folioMarkDirty(m, f);
  }
  if ((rmap.flags & TTU_HWPOISON) !== 0 && pageFlag(map, page, PG.PG_hwpoison)) {
    setPte(m, entry, page, PTE_HWPOISON);
    const file = folioTest(map, f, PG.PG_swapbacked) ? MM_SHMEMPAGES : MM_FILEPAGES;
    addMmCounter(m, mm, anon ? MM_ANONPAGES : file, -1);
  } else if (!anon) {
    pteClear(m, entry);
    addMmCounter(m, mm, folioTest(map, f, PG.PG_swapbacked) ? MM_SHMEMPAGES : MM_FILEPAGES, -1);
  } else if (!folioTest(map, f, PG.PG_swapbacked)) {
    // MADV_FREE: written to again, or in use elsewhere?
    if (folioTest(map, f, PG.PG_dirty)) {
      folioSet(map, f, PG.PG_swapbacked);
      return false;
    }
    if (folioRefCount(map, f) !== 1 + folioMapcount(m, f)) return false;
    pteClear(m, entry);
    addMmCounter(m, mm, MM_ANONPAGES, -1);
  } else {
    const exclusive = pageAnonExclusive(m, f, page);
    if (exclusive && !folioTryShareAnonRmap(m, f, page)) return false;
    const slot = (folioSwap(m, f) + page - folioPfn(map, f)) as SwapEntry;
    swapDuplicate(m, slot);
    setPte(m, entry, slot, exclusive ? PTE_SWAP | PTE_SWP_EXCLUSIVE : PTE_SWAP);
    addMmCounter(m, mm, MM_ANONPAGES, -1);
    addMmCounter(m, mm, MM_SWAPENTS, 1);
  }
  ptepClearFlush(m, mm, rmap.addr, flags, (rmap.flags & TTU_BATCH_FLUSH) !== 0);
  folioRemoveRmapPtes(m, f, page, 1, vma);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) mlockDrainLocal(m);
  folioPut(m, f);
  return true;
}

/** Drops a whole huge page that was given up by MADV_FREE, unless it was written to again or is in use. @kernel mm/huge_memory.c __discard_anon_folio_pmd_locked (6.18) */
function unmapHugePmd(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { rmap, map } = m;
  const { entry, mm } = rmap;
  if ((pteFlags(m, entry) & _PAGE_DIRTY) !== 0) folioSet(map, f, PG.PG_dirty);
  if (folioTest(map, f, PG.PG_dirty)) {
    folioSet(map, f, PG.PG_swapbacked);
    return false;
  }
  if (folioRefCount(map, f) !== folioMapcount(m, f) + 1) return false;
  pteClear(m, entry);
  flushPmdTlbRange(m, mm, rmap.addr);
  pteFree(m, mm, pgtableTransHugeWithdraw(m, entry));
  folioRemoveRmapPmd(m, f, vma);
  addMmCounter(m, mm, MM_ANONPAGES, -folioNrPages(map, f));
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) mlockDrainLocal(m);
  folioPut(m, f);
  return folioMapcount(m, f) > 0;
}
