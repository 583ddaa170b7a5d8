/**
 * Taking pages out of page tables: munmap, MADV_DONTNEED, the end of a process, files that lose pages. Entries that map one
 * folio in a row go at once. A huge page that is covered whole goes with the table kept for it; of one that is covered in part
 * the PMD is split first, and the folio stays what it is.
 */
import { splitHugePmd, zapHugePmd } from './huge_memory_anon.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn, type PtId, type SwapEntry, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { BATCH_IGNORE, clearPtes, folioPteBatch, mmCounter, vmaHasRecency, vmNormalFolio } from './memory_pte.ts';
import { swapPteBatch } from './memory_swap.ts';
import { addMmCounter, MM_ANONPAGES, MM_SWAPENTS } from './mm_struct.ts';
import { folioFlags, folioTestAnon, pageFolio } from './mm_types.ts';
import {
  tlbFinishMmu,
  tlbFlushEntries,
  tlbFlushMmu,
  tlbFreedTable,
  tlbGatherMmu,
  tlbRemoveFolioPages,
} from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_SPECIAL,
  PTE_MARKER,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_TABLE,
  pmdOffset,
  pteClear,
  pteFlags,
  pteOfPmd,
  ptePayload,
  tableFree,
} from './pgtable.ts';
import { folioRemoveRmapPtes } from './rmap.ts';
import { folioMarkAccessed, folioPutRefs } from './swap.ts';
import { freeSwapAndCache, freeSwapCache } from './swapfile.ts';

/**
 * Empties [start, end) of an area. Without `evenCows` only pages of files go, and private copies stay. With `reclaimPt` tables
 * that become empty are freed (x86-64; the range must cover all that a table maps).
 * @kernel mm/memory.c unmap_page_range (6.18)
 */
export function zapPageRange(
  m: Machine,
  vma: VmaId,
  start: number,
  end: number,
  evenCows = true,
  reclaimPt = false,
): void {
  const { pt } = m;
  const mm = m.vmas.mm[vma] as MmId;
  const gathered = tlbGatherMmu(m, mm);
  const size = 2 ** pt.pmdShift;
  // What lies under one PMD table.
  const span = size * (pt.masks[1] + 1);
  for (let addr = start; addr < end; ) {
    const pmd = pmdOffset(m, mm, addr);
    if (pmd < 0) {
      addr += span - (addr % span);
      continue;
    }
    const next = Math.min(addr - (addr % size) + size, end);
    const flags = pteFlags(m, pmd);
    if (flags !== 0) {
      const whole = next - addr === size;
      if ((flags & PTE_TABLE) === 0 && whole) {
        zapHugePmd(m, vma, pmd);
        if (m.tlb !== null) {
          tlbFlushEntries(m.tlb, addr, next, pt.pmdShift);
          tlbRemoveFolioPages(m, m.tlb, 1);
        }
      } else {
        if ((flags & PTE_TABLE) === 0) splitHugePmd(m, vma, pmd, addr);
        zapPteRange(m, vma, pmd, addr, next, evenCows, reclaimPt && whole);
      }
    }
    addr = next;
  }
  tlbFinishMmu(m, gathered);
}

/** @kernel mm/memory.c zap_pte_range (6.18) */
function zapPteRange(
  m: Machine,
  vma: VmaId,
  pmd: number,
  start: number,
  end: number,
  evenCows: boolean,
  reclaimPt: boolean,
): void {
  const { pt } = m;
  const first = pteOfPmd(m, pmd, start);
  if (first < 0) return;
  const last = first + (end - start) * m.pagesPerByte;
  const table = first >>> pt.entryShift;
  const { count, entries } = pt;
  for (let e = first; e < last && count[table] > 0; ) {
    const flags = entries[e * 2 + 1];
    if (flags === 0) e++;
    else if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) {
      const nr = zapPresentPtes(m, vma, e, last - e, evenCows);
      if (m.tlb !== null && entries[e * 2 + 1] === 0) {
        const at = start + (e - first) * m.config.pageSize;
        tlbFlushEntries(m.tlb, at, at + nr * m.config.pageSize, m.pageShift);
        if ((flags & _PAGE_SPECIAL) === 0) tlbRemoveFolioPages(m, m.tlb, nr);
      }
      e += nr;
    } else e += zapNonpresentPtes(m, vma, e, last - e, evenCows);
  }
  if (m.tlb?.force === true) tlbFlushMmu(m);
  // @kernel mm/pt_reclaim.c try_to_free_pte (6.18)
  if (reclaimPt && count[table] === 0 && m.release.dontneedFreesTables && m.geometry.name.startsWith('x86')) {
    tlbFreedTable(m, start);
    tableFree(m, table as PtId);
  }
}

/** Removes or passes over entries that are present, from `e` on; how many. @kernel mm/memory.c zap_present_ptes (6.18) */
function zapPresentPtes(m: Machine, vma: VmaId, e: number, max: number, evenCows: boolean): number {
  const page = ptePayload(m, e) as Pfn;
  const f = vmNormalFolio(m, page, pteFlags(m, e));
  if (f === NO_FOLIO) {
    pteClear(m, e);
    return 1;
  }
  const anon = folioTestAnon(m.map, f);
  if (anon && !evenCows) return 1;
  const large = max > 1 && (folioFlags(m.map, f) & PG.PG_head) !== 0;
  const nr = large ? folioPteBatch(m, f, e, max, BATCH_IGNORE) : 1;
  const mm = m.vmas.mm[vma] as MmId;
  if (anon) addMmCounter(m, mm, MM_ANONPAGES, -nr);
  else zapFilePtes(m, vma, mm, f, e, nr);
  clearPtes(m, e, nr);
  folioRemoveRmapPtes(m, f, page, nr, vma);
  freeSwapCache(m, f);
  folioPutRefs(m, f, nr);
  return nr;
}

/** What entries knew of a file's folio goes to the folio. @kernel mm/memory.c zap_present_folio_ptes (6.18) */
function zapFilePtes(m: Machine, vma: VmaId, mm: MmId, f: FolioId, e: number, nr: number): void {
  let flags = 0;
  for (let i = 0; i < nr; i++) flags |= pteFlags(m, e + i);
  if ((flags & _PAGE_DIRTY) !== 0) {
    folioMarkDirty(m, f);
    if (m.tlb !== null) m.tlb.force = true;
  }
  if ((flags & _PAGE_ACCESSED) !== 0 && vmaHasRecency(m, vma)) folioMarkAccessed(m, f);
  addMmCounter(m, mm, mmCounter(m, f), -nr);
}

/** The same of entries that are not present. @kernel mm/memory.c zap_nonpresent_ptes (6.18) */
function zapNonpresentPtes(m: Machine, vma: VmaId, e: number, max: number, evenCows: boolean): number {
  const flags = pteFlags(m, e);
  const mm = m.vmas.mm[vma] as MmId;
  if ((flags & PTE_SWAP) !== 0) {
    if (!evenCows) return 1;
    const entry = ptePayload(m, e) as SwapEntry;
    const nr = swapPteBatch(m, e, max);
    addMmCounter(m, mm, MM_SWAPENTS, -nr);
    clearPtes(m, e, nr);
    freeSwapAndCache(m, entry, nr);
    return nr;
  }
  if ((flags & PTE_MIGRATION) !== 0) {
    const f = pageFolio(m.map, ptePayload(m, e) as Pfn);
    if (folioTestAnon(m.map, f) && !evenCows) return 1;
    addMmCounter(m, mm, mmCounter(m, f), -1);
  } else if ((flags & PTE_MARKER) !== 0 && !evenCows) return 1;
  pteClear(m, e);
  return 1;
}
