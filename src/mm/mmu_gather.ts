/**
 * What the engine tells the TLB: which stretches it unmaps, restricts or changes. With Machine.tlb null a report costs one test.
 *
 *   at once       flush_tlb_page, flush_tlb_range: a copy takes a page's place, a table moves, a PMD is split or collapsed
 *   gathered      munmap, madvise, mprotect: one flush for all that went between tlbGatherMmu and tlbFinishMmu, in steps of the
 *                 smallest entry that went; sooner when too many pages wait to be freed, or dirty pages of files went
 *   by reclaim    put off to the end of the batch where another CPU must be told (try_to_unmap_flush)
 *
 * How many instructions that takes, or whether everything goes, arch/tlbflush.ts decides.
 *
 * @kernel mm/mmu_gather.c tlb_gather_mmu (6.18)
 */
import { END } from '../arch/tlb.ts';
import { flushTlbMmRange, type TlbFlushes } from '../arch/tlbflush.ts';
import type { MmId } from './ids.ts';
import type { Machine } from './machine.ts';
import { _PAGE_ACCESSED, _PAGE_DIRTY, _PAGE_PRESENT, _PAGE_RW } from './pgtable.ts';

/** One page's entry was replaced. @kernel arch/x86/include/asm/tlbflush.h flush_tlb_page (6.18) */
export function flushTlbPage(m: Machine, mm: MmId, addr: number): void {
  if (m.tlb !== null) flushTlbMmRange(m.tlb, mm, addr, addr + m.config.pageSize, m.pageShift, false);
}

/** Entries of any level changed: in steps of a page. @kernel arch/x86/include/asm/tlbflush.h flush_tlb_range (6.18) */
export function flushTlbRange(m: Machine, mm: MmId, start: number, end: number): void {
  if (m.tlb !== null) flushTlbMmRange(m.tlb, mm, start, end, m.pageShift, true);
}

/**
 * The PMD leaf around an address changed. x86 steps by pages here too, and so flushes everything.
 * @kernel arch/arm64/include/asm/pgtable.h flush_pmd_tlb_range (6.18)
 */
export function flushPmdTlbRange(m: Machine, mm: MmId, addr: number): void {
  const { tlb, pt } = m;
  if (tlb === null) return;
  const size = 2 ** pt.pmdShift;
  const start = addr - (addr % size);
  flushTlbMmRange(tlb, mm, start, start + size, tlb.arch === 'arm64' ? pt.pmdShift : m.pageShift, true);
}

/** All of an address space. @kernel arch/x86/include/asm/tlbflush.h flush_tlb_mm (6.18) */
export function flushTlbMm(m: Machine, mm: MmId): void {
  if (m.tlb !== null) flushTlbMmRange(m.tlb, mm, 0, END, m.pageShift, true);
}

/**
 * An entry became writable, or was marked used, by a fault. x86 processors look again by themselves.
 * @kernel arch/arm64/mm/fault.c __ptep_set_access_flags (6.18)
 */
export function flushTlbRelaxed(m: Machine, mm: MmId, addr: number): void {
  if (m.tlb !== null && m.tlb.arch === 'arm64') flushTlbPage(m, mm, addr);
}

/** The accessed bit of an entry was cleared by reclaim. x86 leaves the translation. @kernel arch/arm64/include/asm/pgtable.h __ptep_clear_flush_young (6.18) */
export function flushTlbYoung(m: Machine, mm: MmId, addr: number, huge: boolean): void {
  if (m.tlb === null || m.tlb.arch !== 'arm64') return;
  if (huge) flushPmdTlbRange(m, mm, addr);
  else flushTlbPage(m, mm, addr);
}

/** Must the TLB hear of such a change of a present entry? @kernel arch/x86/include/asm/tlbflush.h pte_needs_flush (6.18) */
export function pteNeedsFlush(tlb: TlbFlushes, was: number, now: number): boolean {
  if (tlb.arch === 'arm64') return true;
  if ((was & _PAGE_PRESENT) === 0) return false;
  return ((was ^ now) & _PAGE_RW) !== 0 || (was & ~now & (_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY)) !== 0;
}

function reset(tlb: TlbFlushes): void {
  tlb.start = END;
  tlb.end = 0;
  tlb.stride = 63;
  tlb.slots = 0;
  tlb.freedTables = tlb.force = false;
}

/** Begins to gather; true: the caller is the first, and ends it. @kernel mm/mmu_gather.c tlb_gather_mmu (6.18) */
export function tlbGatherMmu(m: Machine, mm: MmId): boolean {
  const { tlb } = m;
  if (tlb === null || tlb.gather !== 0) return false;
  tlb.gather = mm;
  reset(tlb);
  return true;
}

/** The same for an address space that ends. @kernel mm/mmu_gather.c tlb_gather_mmu_fullmm (6.18) */
export function tlbGatherMmuFullmm(m: Machine, mm: MmId): boolean {
  if (!tlbGatherMmu(m, mm)) return false;
  (m.tlb as TlbFlushes).fullmm = true;
  return true;
}

/** Entries of [start, end), each of 2^shift bytes, went or were restricted. @kernel include/asm-generic/tlb.h tlb_flush_pte_range, tlb_flush_pmd_range (6.18) */
export function tlbFlushEntries(tlb: TlbFlushes, start: number, end: number, shift: number): void {
  if (start < tlb.start) tlb.start = start;
  if (end > tlb.end) tlb.end = end;
  if (shift < tlb.stride) tlb.stride = shift;
}

/** The table below the entry for `addr` went: of what it spans a page is named, which suffices. @kernel include/asm-generic/tlb.h pte_free_tlb (6.18) */
export function tlbFreedTable(m: Machine, addr: number): void {
  const { tlb } = m;
  if (tlb === null || tlb.gather === 0) return;
  tlbFlushEntries(tlb, addr, addr + m.config.pageSize, m.pt.pmdShift);
  tlb.freedTables = true;
}

/**
 * Pages wait to be freed: a run of a folio takes two places, a page one. With no place left all is flushed.
 * @kernel mm/mmu_gather.c tlb_next_batch (6.18)
 */
export function tlbRemoveFolioPages(m: Machine, tlb: TlbFlushes, nr: number): void {
  tlb.slots += nr > 1 ? 2 : 1;
  // MAX_GATHER_BATCH pointers a page, MAX_GATHER_BATCH_COUNT pages, and MMU_GATHER_BUNDLE beside them; the last of each stays free.
  const batch = (m.config.pageSize - 16) / 8;
  if (tlb.slots >= 7 + Math.floor(10000 / batch) * (batch - 1)) tlbFlushMmu(m);
}

/** Flushes what was gathered so far. @kernel mm/mmu_gather.c tlb_flush_mmu (6.18) */
export function tlbFlushMmu(m: Machine): void {
  const { tlb } = m;
  if (tlb === null) return;
  const mm = tlb.gather as MmId;
  if (!tlb.fullmm) {
    if (tlb.end > tlb.start) flushTlbMmRange(tlb, mm, tlb.start, tlb.end, tlb.stride, tlb.freedTables);
  } else if (tlb.arch === 'arm64' && tlb.freedTables) flushTlbMm(m, mm);
  reset(tlb);
}

/** Ends what tlbGatherMmu began, if `own` is what it said. @kernel mm/mmu_gather.c tlb_finish_mmu (6.18) */
export function tlbFinishMmu(m: Machine, own: boolean): void {
  if (!own) return;
  tlbFlushMmu(m);
  const tlb = m.tlb as TlbFlushes;
  tlb.gather = 0;
  tlb.fullmm = false;
}

/**
 * A page's entry, `flags`, was taken by reclaim or for migration. With `batch` (TTU_BATCH_FLUSH) an x86 CPU that must tell another one
 * waits for tryToUnmapFlush; arm64 tells at once and waits for the answer later.
 * @kernel mm/rmap.c set_tlb_ubc_flush_pending, should_defer_flush (6.18)
 */
export function ptepClearFlush(m: Machine, mm: MmId, addr: number, flags: number, batch: boolean): void {
  const { tlb } = m;
  if (tlb === null || (flags & _PAGE_PRESENT) === 0) return;
  if (!batch || tlb.arch === 'arm64' || !tlb.remote || mm !== tlb.loaded) {
    flushTlbPage(m, mm, addr);
    return;
  }
  tlb.pending = true;
  if ((flags & _PAGE_DIRTY) !== 0) tlb.pendingDirty = true;
}

/** Flushes what was put off. @kernel mm/rmap.c try_to_unmap_flush (6.18) */
export function tryToUnmapFlush(m: Machine): void {
  const { tlb } = m;
  if (tlb === null || !tlb.pending) return;
  tlb.pending = tlb.pendingDirty = false;
  flushTlbMm(m, tlb.loaded as MmId);
}

/** The same before a page is written that was writable. @kernel mm/rmap.c try_to_unmap_flush_dirty (6.18) */
export function tryToUnmapFlushDirty(m: Machine): void {
  if (m.tlb?.pendingDirty === true) tryToUnmapFlush(m);
}
