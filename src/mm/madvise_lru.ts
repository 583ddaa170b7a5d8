/**
 * Advice that moves folios between lists: COLD (to the inactive ones), PAGEOUT (reclaimed at once), FREE (may go without being
 * written). All three walk present entries; a large folio that the range covers in part is split first, or left alone when
 * another address space may map it.
 */

import { folioSplit } from './huge_memory.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn, type SwapEntry, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { BATCH_IGNORE, clearPtes, folioPteBatch, vmNormalFolio } from './memory_pte.ts';
import { swapPteBatch } from './memory_swap.ts';
import { addMmCounter, MM_SWAPENTS } from './mm_struct.ts';
import { folioClear, folioNrPages, folioRefAdd, folioSet, folioTest, pageFolio } from './mm_types.ts';
import { flushPmdTlbRange, tlbFinishMmu, tlbFlushEntries, tlbGatherMmu } from './mmu_gather.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_SPECIAL,
  PTE_SWAP,
  PTE_TABLE,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { folioMapcount, folioMaybeMappedShared } from './rmap.ts';
import { folioDeactivate, folioIsolateLru, folioMarkLazyfree, folioPut, lruAddDrain } from './swap.ts';
import { folioFreeSwap, freeSwapAndCache } from './swapfile.ts';
import { reclaimPages } from './vmscan_anon.ts';

const { PG_active, PG_dirty, PG_locked, PG_lru, PG_referenced, PG_unevictable, PG_workingset, PG_young } = PG;

type Advice = 'cold' | 'pageout' | 'free';

/** Walks the PMDs of [start, end). */
export function madviseLruRange(m: Machine, vma: VmaId, start: number, end: number, advice: Advice): void {
  const { pt } = m;
  const mm = m.vmas.mm[vma] as MmId;
  lruAddDrain(m);
  const gathered = tlbGatherMmu(m, mm);
  const size = 2 ** pt.pmdShift;
  const span = size * (pt.masks[1] + 1);
  for (let addr = start; addr < end; ) {
    const pmd = pmdOffset(m, mm, addr);
    if (pmd < 0) {
      addr += span - (addr % span);
      continue;
    }
    const next = Math.min(addr - (addr % size) + size, end);
    if (pteFlags(m, pmd) !== 0) {
      const isolated: number[] = [];
      let done = false;
      if ((pteFlags(m, pmd) & PTE_TABLE) === 0) {
        done =
          advice === 'free'
            ? freeHugePmd(m, mm, pmd, addr, next - addr === size)
            : coldHugePmd(m, mm, pmd, addr, next - addr === size, advice, isolated);
      }
      const e = done ? -1 : pteOfPmd(m, pmd, addr);
      if (e >= 0) {
        const nr = (next - addr) * m.pagesPerByte;
        if (advice === 'free') freePteRange(m, mm, e, nr, addr);
        else coldPteRange(m, e, nr, addr, advice, isolated);
      }
      reclaimPages(m, isolated);
    }
    addr = next;
  }
  tlbFinishMmu(m, gathered);
}

/** Clears `bits` of entries that map one folio. @kernel include/linux/pgtable.h clear_young_dirty_ptes (6.18) */
function clearUse(m: Machine, e: number, nr: number, bits: number, addr: number): void {
  let was = 0;
  for (let i = 0; i < nr; i++) {
    was |= pteFlags(m, e + i);
    setPteFlags(m, e + i, pteFlags(m, e + i) & ~bits);
  }
  if (m.tlb !== null && (was & bits) !== 0) tlbFlushEntries(m.tlb, addr, addr + nr * m.config.pageSize, m.pageShift);
}

/** The PMD leaf at `addr` is written anew, and gathered. */
function flushHuge(m: Machine, mm: MmId, addr: number): void {
  flushPmdTlbRange(m, mm, addr);
  if (m.tlb !== null) tlbFlushEntries(m.tlb, addr, addr + 2 ** m.pt.pmdShift, m.pt.pmdShift);
}

/** Splits a folio into single pages. @kernel mm/huge_memory.c split_folio_to_list (6.18) */
function splitFolio(m: Machine, f: FolioId): boolean {
  folioRefAdd(m.map, f, 1);
  folioSet(m.map, f, PG_locked);
  const ok = folioSplit(m, f, 0, 0, true);
  folioClear(m.map, f, PG_locked);
  folioPut(m, f);
  return ok;
}

/** A folio that is mapped whole here, and nowhere else. @kernel mm/madvise.c madvise_cold_or_pageout_pte_range (6.18) */
function coldFolio(m: Machine, f: FolioId, advice: Advice, isolated: number[]): void {
  const { map } = m;
  folioClear(map, f, PG_referenced | PG_young);
  if (folioTest(map, f, PG_active)) folioSet(map, f, PG_workingset);
  if (advice === 'cold') {
    folioDeactivate(m, f);
    return;
  }
  // What cannot be evicted stays on its list.
  if (!folioTest(map, f, PG_unevictable) && folioIsolateLru(m, f)) isolated.push(f);
}

/** True when there is nothing left to do for the range. */
function coldHugePmd(
  m: Machine,
  mm: MmId,
  pmd: number,
  addr: number,
  whole: boolean,
  advice: Advice,
  isolated: number[],
): boolean {
  const flags = pteFlags(m, pmd);
  if (!pmdLeaf(m, pmd) || (flags & _PAGE_SPECIAL) !== 0) return true;
  const f = pageFolio(m.map, ptePayload(m, pmd) as Pfn);
  if (folioMaybeMappedShared(m, f)) return true;
  if (!whole) return !splitFolio(m, f);
  if (advice === 'cold' && (flags & _PAGE_ACCESSED) !== 0) {
    setPteFlags(m, pmd, flags & ~_PAGE_ACCESSED);
    flushHuge(m, mm, addr);
  }
  coldFolio(m, f, advice, isolated);
  return true;
}

/**
 * Entries from `e` on that belong to one folio, at most `max`; below zero, that many to pass over; 0: look again, the folio was
 * split.
 */
function foliosEntries(m: Machine, f: FolioId, e: number, max: number): number {
  const pages = folioNrPages(m.map, f);
  if (pages === 1) return 1;
  const nr = folioPteBatch(m, f, e, max, BATCH_IGNORE);
  if (nr === pages) return nr;
  if (folioMaybeMappedShared(m, f) || folioTest(m.map, f, PG_locked)) return -nr;
  return splitFolio(m, f) ? 0 : -nr;
}

function coldPteRange(
  m: Machine,
  first: number,
  count: number,
  addr: number,
  advice: Advice,
  isolated: number[],
): void {
  let nr = 1;
  for (let e = first; e < first + count; e += nr) {
    nr = 1;
    const flags = pteFlags(m, e);
    if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) === 0) continue;
    const f = vmNormalFolio(m, ptePayload(m, e), flags);
    if (f === NO_FOLIO) continue;
    const run = foliosEntries(m, f, e, first + count - e);
    nr = Math.abs(run);
    if (run <= 0 || !folioTest(m.map, f, PG_lru) || folioMapcount(m, f) !== folioNrPages(m.map, f)) continue;
    if (advice === 'cold') clearUse(m, e, nr, _PAGE_ACCESSED, addr + (e - first) * m.config.pageSize);
    coldFolio(m, f, advice, isolated);
  }
}

/** True when the huge page is dealt with. @kernel mm/huge_memory.c madvise_free_huge_pmd (6.18) */
function freeHugePmd(m: Machine, mm: MmId, pmd: number, addr: number, whole: boolean): boolean {
  const flags = pteFlags(m, pmd);
  if (!pmdLeaf(m, pmd) || (flags & _PAGE_SPECIAL) !== 0) return false;
  const f = pageFolio(m.map, ptePayload(m, pmd) as Pfn);
  if (folioMaybeMappedShared(m, f) || folioTest(m.map, f, PG_locked)) return false;
  if (!whole) {
    splitFolio(m, f);
    return false;
  }
  folioClear(m.map, f, PG_dirty);
  setPteFlags(m, pmd, flags & ~(_PAGE_ACCESSED | _PAGE_DIRTY));
  if ((flags & (_PAGE_ACCESSED | _PAGE_DIRTY)) !== 0) flushHuge(m, mm, addr);
  folioMarkLazyfree(m, f);
  return true;
}

/** @kernel mm/madvise.c madvise_free_pte_range (6.18) */
function freePteRange(m: Machine, mm: MmId, first: number, count: number, addr: number): void {
  let nr = 1;
  for (let e = first; e < first + count; e += nr) {
    nr = 1;
    const flags = pteFlags(m, e);
    if (flags === 0) continue;
    const left = first + count - e;
    if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) === 0) {
      if ((flags & PTE_SWAP) === 0) continue;
      const entry = ptePayload(m, e) as SwapEntry;
      nr = swapPteBatch(m, e, left);
      addMmCounter(m, mm, MM_SWAPENTS, -nr);
      clearPtes(m, e, nr);
      freeSwapAndCache(m, entry, nr);
      continue;
    }
    const f = vmNormalFolio(m, ptePayload(m, e), flags);
    if (f === NO_FOLIO) continue;
    const run = foliosEntries(m, f, e, left);
    nr = Math.abs(run);
    if (run > 0) freeFolio(m, f, e, nr, addr + (e - first) * m.config.pageSize);
  }
}

function freeFolio(m: Machine, f: FolioId, e: number, nr: number, addr: number): void {
  const { map } = m;
  if (folioTest(map, f, PG_swapcache | PG_dirty)) {
    if (folioTest(map, f, PG_locked) || folioMapcount(m, f) !== folioNrPages(map, f)) return;
    if (folioTest(map, f, PG_swapcache) && !folioFreeSwap(m, f)) return;
    folioClear(map, f, PG_dirty);
  }
  clearUse(m, e, nr, _PAGE_ACCESSED | _PAGE_DIRTY, addr);
  folioMarkLazyfree(m, f);
}
