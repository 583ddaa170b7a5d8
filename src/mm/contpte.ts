/**
 * The contiguous hint of arm64 on entries of user space. A block of neighbouring entries that maps one aligned run of frames of one
 * folio, all with the same rights, is folded: each of its entries carries PTE_CONT, and the TLB needs one entry for all.
 *
 *   set many at once       each whole aligned block among them is folded
 *   set one                the last of its block: the block is folded if the others fit
 *   change a part          the block is unfolded first; accessed and dirty are the block's: found in one entry, they count for all
 *
 * What is written here are two words an entry, as in pgtable.ts; on x86 a block has one entry, and nothing happens.
 *
 * Invariant (mm_check.ts):
 *   T6  entries with PTE_CONT lie in PTE tables, as whole aligned blocks: present, frames in a row from an aligned one, of one folio,
 *       with flags that differ in accessed and dirty alone.
 *
 * @kernel arch/arm64/mm/contpte.c contpte_set_ptes (6.18)
 */
import type { MmId, Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioNrPages, folioPfn, pageFolio } from './mm_types.ts';
import { flushTlbRange } from './mmu_gather.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_SPECIAL,
  PTE_CONT,
  PTE_TABLE,
} from './pgtable.ts';

/** Flags of one entry of a folded block, without the hint; accessed and dirty as in any of them. @kernel arch/arm64/mm/contpte.c contpte_ptep_get (6.18) */
export function contptePtepGet(m: Machine, e: number): number {
  const { entries, contPtes } = m.pt;
  const both = _PAGE_ACCESSED | _PAGE_DIRTY;
  let flags = entries[e * 2 + 1] & ~PTE_CONT;
  const first = e & -contPtes;
  for (let i = first; i < first + contPtes && (flags & both) !== both; i++) flags |= entries[i * 2 + 1] & both;
  return flags;
}

/** Writes all entries of the block around `e` with the same flags, accessed and dirty gathered. @kernel arch/arm64/mm/contpte.c contpte_convert (6.18) */
function contpteConvert(m: Machine, e: number, hint: number): void {
  const { entries, contPtes } = m.pt;
  const first = e & -contPtes;
  let flags = (entries[first * 2 + 1] & ~PTE_CONT) | hint;
  for (let i = first; i < first + contPtes; i++) flags |= entries[i * 2 + 1] & (_PAGE_ACCESSED | _PAGE_DIRTY);
  for (let i = first; i < first + contPtes; i++) entries[i * 2 + 1] = flags;
  if (m.tlb === null) return;
  const addr = entryAddress(m, first);
  flushTlbRange(m, m.pt.mm[first >>> m.pt.entryShift] as MmId, addr, addr + contPtes * m.config.pageSize);
}

/** The address that an entry of a PTE table maps. */
function entryAddress(m: Machine, entry: number): number {
  const { pt } = m;
  let addr = 0;
  for (let e = entry, level = 0; e >= 0; level++) {
    addr += (e & ((1 << pt.entryShift) - 1)) * 2 ** (pt.shifts[level] + pt.pmdShift);
    e = pt.parent[e >>> pt.entryShift];
  }
  return addr;
}

/** Unfolds the block around `e`, if it is folded. @kernel arch/arm64/include/asm/pgtable.h contpte_try_unfold (6.18) */
export function contpteTryUnfold(m: Machine, e: number): void {
  if ((m.pt.entries[e * 2 + 1] & PTE_CONT) !== 0) contpteConvert(m, e, 0);
}

/** Unfolds the blocks that [e, e + nr) covers in part. @kernel arch/arm64/mm/contpte.c contpte_try_unfold_partial (6.18) */
export function contpteTryUnfoldPartial(m: Machine, e: number, nr: number): void {
  const mask = m.pt.contPtes - 1;
  if ((e & mask) !== 0 || nr <= mask) contpteTryUnfold(m, e);
  if (((e + nr) & mask) !== 0) contpteTryUnfold(m, e + nr - 1);
}

/** Folds the block that `e` is the last entry of, if it can be. @kernel arch/arm64/mm/contpte.c __contpte_try_fold (6.18) */
export function contpteTryFold(m: Machine, e: number): void {
  const { entries, contPtes } = m.pt;
  const mask = contPtes - 1;
  if (mask === 0 || (e & mask) !== mask) return;
  const pfn = entries[e * 2];
  const flags = entries[e * 2 + 1];
  const kind = _PAGE_PRESENT | _PAGE_SPECIAL | _PAGE_PSE | PTE_TABLE | PTE_CONT;
  if ((pfn & mask) !== mask || (flags & kind) !== _PAGE_PRESENT) return;
  const f = pageFolio(m.map, pfn as Pfn);
  const first = folioPfn(m.map, f);
  if (first > pfn - mask || first + folioNrPages(m.map, f) <= pfn) return;
  const same = ~(_PAGE_ACCESSED | _PAGE_DIRTY);
  for (let i = 1; i <= mask; i++) {
    const w = (e - i) * 2;
    if (entries[w] !== pfn - i || ((entries[w + 1] ^ flags) & same) !== 0) return;
  }
  contpteConvert(m, e, PTE_CONT);
}

/** Entries of whole aligned blocks among `nr` new ones get the hint. @kernel arch/arm64/mm/contpte.c contpte_set_ptes (6.18) */
export function contpteSetPtes(m: Machine, e: number, pfn: number, nr: number): void {
  const { entries, contPtes } = m.pt;
  const mask = contPtes - 1;
  if (nr === 1) {
    contpteTryFold(m, e);
    return;
  }
  if (((pfn - e) & mask) !== 0) return;
  const last = (e + nr) & -contPtes;
  for (let i = (e + mask) & -contPtes; i < last; i++) entries[i * 2 + 1] |= PTE_CONT;
}

/**
 * New flags for one entry of a folded block. Accessed and dirty change for all of it; anything else unfolds it.
 * @kernel arch/arm64/mm/contpte.c contpte_ptep_set_access_flags, contpte_ptep_test_and_clear_young (6.18)
 */
export function contpteSetFlags(m: Machine, e: number, flags: number): void {
  const { entries, contPtes } = m.pt;
  const used = _PAGE_ACCESSED | _PAGE_DIRTY;
  if (((entries[e * 2 + 1] ^ flags) & ~(used | PTE_CONT)) !== 0) {
    contpteConvert(m, e, 0);
    entries[e * 2 + 1] = flags;
    return;
  }
  const first = e & -contPtes;
  for (let i = first; i < first + contPtes; i++) entries[i * 2 + 1] = flags | PTE_CONT;
}

/** Takes the right to write from `nr` entries. @kernel arch/arm64/mm/contpte.c contpte_wrprotect_ptes (6.18) */
export function contpteClearFlags(m: Machine, e: number, nr: number, flags: number): void {
  const { entries } = m.pt;
  contpteTryUnfoldPartial(m, e, nr);
  for (let i = e; i < e + nr; i++) entries[i * 2 + 1] &= ~flags;
}
