/**
 * Page tables as real tables. All of them lie in one array, each with room for the entries of one page, so that the host pays for
 * a table what the modelled machine pays. An entry is two words:
 *
 *   word 0  frame, table below (PtId), swap entry or marker        word 1  flags; 0: the entry is none
 *
 * Entries are named by their number: table << entryShift | index; words 2·number and 2·number + 1. Levels count from the leaves
 * (0 PTE, 1 PMD, …), as in arch/pgtable.ts. A table is a page from the buddy allocator. A PMD that maps memory itself has a PTE
 * table kept ready ("deposit"), a page without room here until it is used.
 *
 * Invariants (mm_check.ts):
 *   T1  a table's count is the number of its entries that are not none;
 *   T2  an entry that is a table leads to a table one level below whose `parent` is that entry; each table is reached once;
 *   T3  tables of an address space, deposits with them, make up its pgtablesBytes, and with the top tables nr_page_table_pages;
 *   T4  leaves lie at PTE and PMD level, inside a VMA; frames of PMD leaves are aligned to the PMD's size;
 *   T5  a PMD table has a deposit for each PMD leaf of anonymous memory.
 *
 * @kernel include/linux/pgtable.h pte_offset_map (6.18)
 */
import { arm64_16k, arm64_64k, type PageTableGeometry, x86_64 } from '../arch/pgtable.ts';
import { allocate, extend, grow, i32, type Table, u8 } from '../base/table.ts';
import { contptePtepGet, contpteSetFlags, contpteTryFold, contpteTryUnfold } from './contpte.ts';
import { __GFP_ACCOUNT, __GFP_ZERO, GFP_KERNEL } from './gfp.ts';
import type { MemcgId, MmId, Pfn, PtId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memcgChargeKernel, memcgUnchargeKernel } from './memcontrol.ts';
import { tlbFreedTable } from './mmu_gather.ts';
import { allocPages, freePages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { clearPageType, pageMemcg, pageNext, setPageMemcg, setPageNext, setPageType } from './page_type.ts';
import { V } from './vmstat.ts';
import { setPageWritten } from './written.ts';

/** Flags of an entry that is present: bits of x86-64. @kernel arch/x86/include/asm/pgtable_types.h _PAGE_PRESENT (6.18) */
export const _PAGE_PRESENT = 0x1;
export const _PAGE_RW = 0x2;
export const _PAGE_USER = 0x4;
export const _PAGE_ACCESSED = 0x20;
export const _PAGE_DIRTY = 0x40;
/** A leaf above the PTE level. */
export const _PAGE_PSE = 0x80;
/** Present, but no access: NUMA hints and PROT_NONE. */
export const _PAGE_PROTNONE = 0x100;
/** The page has no struct page to count in: the zero page, the huge zero folio. */
export const _PAGE_SPECIAL = 0x200;
/** arm64: one of a block of contiguous entries. @kernel arch/arm64/include/asm/pgtable-hwdef.h PTE_CONT (6.18) */
export const PTE_CONT = 0x1000;

/** What an entry is that maps no memory. The payload is a PtId, a swap entry, a frame under migration, a marker. */
export const PTE_TABLE = 0x10000;
export const PTE_SWAP = 0x20000;
/** With PTE_SWAP: the page was exclusive. */
export const PTE_SWP_EXCLUSIVE = 0x40000;
/** A frame under migration; _PAGE_RW, _PAGE_ACCESSED, _PAGE_DIRTY and PTE_SWP_EXCLUSIVE beside it are what it was. */
export const PTE_MIGRATION = 0x80000;
export const PTE_MARKER = 0x100000;
/** A page with bad memory was here: who touches it is told. The payload is its frame. @kernel include/linux/swapops.h make_hwpoison_entry (6.18) */
export const PTE_HWPOISON = 0x200000;

/** Pages of tables. */
export const ptLayout = {
  pfn: i32('frame of the table; 0: the row is free, or a top table smaller than a page'),
  mm: i32('MmId'),
  level: u8('0 PTE, 1 PMD, …'),
  count: i32('entries that are not none'),
  parent: i32('number of the entry that leads here; −1: top'),
  deposit: i32('PMD tables: first page of the PTE tables kept ready, as a list; 0: none'),
  deposits: i32('how many'),
} as const;

export interface PageTables extends Table<typeof ptLayout> {
  /** Two words an entry, 2^entryShift entries a table. */
  entries: Int32Array;
  readonly entryShift: number;
  /** Entries of a PTE table less one. */
  readonly pteMask: number;
  readonly pageShift: number;
  /** Entries of a block that can be folded; 1: none can. */
  readonly contPtes: number;
  readonly pmdShift: number;
  /** 1 / bytes under a PMD entry. */
  readonly pmdsPerByte: number;
  /** By level: shift from a PMD's number to the index, and its mask. */
  readonly shifts: Int32Array;
  readonly masks: Int32Array;
  readonly top: number;
  /** Rows in use, row 0 included. */
  nr: number;
  readonly free: number[];
}

const ROWS = 64;
/** The _mapcount word of a page table. */
/** @kernel include/asm-generic/pgalloc.h GFP_PGTABLE_USER (6.18) */
const GFP_PGTABLE_USER = GFP_KERNEL | __GFP_ZERO | __GFP_ACCOUNT;

/** The tables that Linux has for a page size when nothing else is said. */
export const geometryOf = (pageSize: number): PageTableGeometry =>
  pageSize === 65536 ? arm64_64k : pageSize === 16384 ? arm64_16k : x86_64;

export function pageTablesInit(g: PageTableGeometry, contpte: boolean): PageTables {
  const entryShift = g.levels[0].bits;
  const pmdShift = g.levels[1].shift;
  return extend(allocate(ptLayout, ROWS), {
    entries: new Int32Array((ROWS * 2) << entryShift),
    entryShift,
    pteMask: (1 << entryShift) - 1,
    pageShift: g.pageShift,
    contPtes: contpte ? g.contPtes : 1,
    pmdShift,
    pmdsPerByte: 2 ** -pmdShift,
    shifts: Int32Array.from(g.levels, (l) => l.shift - pmdShift),
    masks: Int32Array.from(g.levels, (l) => (1 << l.bits) - 1),
    top: g.levels.length - 1,
    nr: 1,
    free: [] as number[],
  });
}

export const ptePayload = (m: Machine, e: number): number => m.pt.entries[e * 2];
/** Flags; of an entry in a folded block (contpte.ts) without the hint, with what the block knows of use. @kernel arch/arm64/include/asm/pgtable.h ptep_get (6.18) */
export const pteFlags = (m: Machine, e: number): number => {
  const flags = m.pt.entries[e * 2 + 1];
  return (flags & PTE_CONT) === 0 ? flags : contptePtepGet(m, e);
};

/** Is the PMD entry present and maps memory itself? @kernel include/linux/huge_mm.h pmd_trans_huge (6.18) */
export const pmdLeaf = (m: Machine, pmd: number): boolean => (m.pt.entries[pmd * 2 + 1] & _PAGE_PSE) !== 0;

/** Writes an entry; flags 0 make it none. @kernel include/linux/pgtable.h set_pte_at (6.18) */
export function setPte(m: Machine, e: number, payload: number, flags: number): void {
  const { pt } = m;
  const { entries } = pt;
  const was = entries[e * 2 + 1];
  if ((was & PTE_CONT) !== 0) contpteTryUnfold(m, e);
  if (was === 0 ? flags !== 0 : flags === 0) pt.count[e >>> pt.entryShift] += was === 0 ? 1 : -1;
  entries[e * 2] = payload;
  entries[e * 2 + 1] = flags;
  if (pt.contPtes > 1) contpteTryFold(m, e);
}

/** Replaces the flags of an entry that is not none, by others that are not 0. */
export function setPteFlags(m: Machine, e: number, flags: number): void {
  const { entries } = m.pt;
  if ((entries[e * 2 + 1] & PTE_CONT) === 0) entries[e * 2 + 1] = flags;
  else contpteSetFlags(m, e, flags);
}

/** Makes an entry none. @kernel include/linux/pgtable.h pte_clear (6.18) */
export function pteClear(m: Machine, e: number): void {
  setPte(m, e, 0, 0);
}

/**
 * Number of the PMD entry of an address, or −1 when there is no PMD table. What it holds (none, table, leaf, migration) the caller
 * sees. @kernel mm/rmap.c mm_find_pmd (6.18)
 */
export function pmdOffset(m: Machine, mm: MmId, addr: number): number {
  const { pt } = m;
  const { entries, entryShift, shifts, masks } = pt;
  const pmd = (addr * pt.pmdsPerByte) >>> 0;
  let table = m.mms.pgd[mm];
  for (let n = pt.top; n > 1; n--) {
    const e = (table << entryShift) + ((pmd >>> shifts[n]) & masks[n]);
    if (entries[e * 2 + 1] === 0) return -1;
    table = entries[e * 2];
  }
  return (table << entryShift) + (pmd & masks[1]);
}

/** Number of the PTE entry of an address, or −1: no PTE table (the PMD is none, a leaf, or not present). @kernel mm/pgtable-generic.c __pte_offset_map (6.18) */
export function pteOffset(m: Machine, mm: MmId, addr: number): number {
  const pmd = pmdOffset(m, mm, addr);
  return pmd < 0 ? -1 : pteOfPmd(m, pmd, addr);
}

/** The same when the PMD's entry is known. */
export function pteOfPmd(m: Machine, pmd: number, addr: number): number {
  const { pt } = m;
  if ((pt.entries[pmd * 2 + 1] & PTE_TABLE) === 0) return -1;
  return (pt.entries[pmd * 2] << pt.entryShift) + ((addr >>> pt.pageShift) & pt.pteMask);
}

/**
 * A load or store as the processor makes it: true when the entry allows it, with accessed and dirty set in it; false: a fault.
 */
export function accessPage(m: Machine, mm: MmId, addr: number, write: boolean): boolean {
  const { pt } = m;
  const { entries } = pt;
  let e = pmdOffset(m, mm, addr);
  if (e < 0) return false;
  let flags = entries[e * 2 + 1];
  if ((flags & PTE_TABLE) !== 0) {
    e = (entries[e * 2] << pt.entryShift) + ((addr >>> pt.pageShift) & pt.pteMask);
    flags = entries[e * 2 + 1];
  }
  const needs = write ? _PAGE_PRESENT | _PAGE_RW : _PAGE_PRESENT;
  if ((flags & needs) !== needs) return false;
  entries[e * 2 + 1] = flags | (write ? _PAGE_ACCESSED | _PAGE_DIRTY : _PAGE_ACCESSED);
  if (write && m.contents)
    setPageWritten(m, entries[e * 2] + ((flags & _PAGE_PSE) === 0 ? 0 : (addr >>> pt.pageShift) & pt.pteMask));
  return true;
}

/** The same for each page of [start, end), in order: the address of the first one that faults, or `end`. */
export function accessPages(m: Machine, mm: MmId, start: number, end: number, write: boolean): number {
  const { pt } = m;
  const { entries } = pt;
  const page = m.config.pageSize;
  const span = 2 ** pt.pmdShift;
  const needs = write ? _PAGE_PRESENT | _PAGE_RW : _PAGE_PRESENT;
  const sets = write ? _PAGE_ACCESSED | _PAGE_DIRTY : _PAGE_ACCESSED;
  for (let addr = start; addr < end; ) {
    const e = pmdOffset(m, mm, addr);
    if (e < 0) return addr;
    const flags = entries[e * 2 + 1];
    const next = Math.min(addr - (addr % span) + span, end);
    if ((flags & PTE_TABLE) === 0) {
      if ((flags & needs) !== needs) return addr;
      entries[e * 2 + 1] = flags | sets;
      addr = next;
      continue;
    }
    let w = ((entries[e * 2] << pt.entryShift) + ((addr >>> pt.pageShift) & pt.pteMask)) * 2 + 1;
    for (; addr < next; addr += page, w += 2) {
      const f = entries[w];
      if ((f & needs) !== needs) return addr;
      entries[w] = f | sets;
    }
  }
  return end;
}

/** Number of the PMD entry, with tables made on the way; −1: no memory. @kernel mm/memory.c __pmd_alloc (6.18) */
export const pmdAlloc = (m: Machine, mm: MmId, addr: number): number => entryAlloc(m, mm, addr, 1);

/** Number of the entry at any level above the PTEs, or −1. */
export function entryOffset(m: Machine, mm: MmId, addr: number, level: number): number {
  const { pt } = m;
  const pmd = (addr * pt.pmdsPerByte) >>> 0;
  let table = m.mms.pgd[mm];
  for (let n = pt.top; ; n--) {
    const e = (table << pt.entryShift) + ((pmd >>> pt.shifts[n]) & pt.masks[n]);
    if (n === level) return e;
    if ((pt.entries[e * 2 + 1] & PTE_TABLE) === 0) return -1;
    table = pt.entries[e * 2];
  }
}

/** The same, with tables made on the way; −1: no memory. */
export function entryAlloc(m: Machine, mm: MmId, addr: number, level: number): number {
  const { pt } = m;
  const pmd = (addr * pt.pmdsPerByte) >>> 0;
  let table = m.mms.pgd[mm];
  for (let n = pt.top; ; n--) {
    const e = (table << pt.entryShift) + ((pmd >>> pt.shifts[n]) & pt.masks[n]);
    if (n === level) return e;
    if (pt.entries[e * 2 + 1] === 0) {
      table = tableAlloc(m, mm, n - 1, e);
      if (table === 0) return -1;
      setPte(m, e, table, _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | PTE_TABLE);
    } else table = pt.entries[e * 2];
  }
}

/** Hangs a table under another entry, which is none. @kernel mm/mremap.c move_normal_pmd (6.18) */
export function moveTable(m: Machine, from: number, to: number): void {
  const table = ptePayload(m, from);
  setPte(m, to, table, pteFlags(m, from));
  pteClear(m, from);
  m.pt.parent[table] = to;
}

/**
 * Number of the PTE entry, with tables made on the way; −1: no memory, or the PMD is a leaf or not present.
 * @kernel mm/memory.c __pte_alloc (6.18)
 */
export function pteAllocMap(m: Machine, mm: MmId, addr: number): number {
  const pmd = pmdAlloc(m, mm, addr);
  if (pmd < 0) return -1;
  const { pt } = m;
  if (pt.entries[pmd * 2 + 1] === 0) {
    const table = tableAlloc(m, mm, 0, pmd);
    if (table === 0) return -1;
    setPte(m, pmd, table, _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | PTE_TABLE);
  }
  return pteOfPmd(m, pmd, addr);
}

/** A page for a table, charged and counted, without entries; 0: no memory. @kernel include/asm-generic/pgalloc.h __pte_alloc_one_noprof (6.18) */
export function pteAllocOne(m: Machine, mm: MmId): Pfn {
  const pfn = allocPages(m, GFP_PGTABLE_USER, 0);
  if (pfn === 0) return pfn;
  const g = m.currentMemcg as MemcgId;
  if (g !== 0 && !memcgChargeKernel(m, g, 1, GFP_PGTABLE_USER)) {
    freePages(m, pfn, 0);
    return 0 as Pfn;
  }
  setPageType(m.map, pfn, PGTY.PGTY_table);
  setPageMemcg(m.map, pfn, g);
  m.vmstat[V.nr_page_table_pages]++;
  m.mms.pgtablesBytes[mm] += m.config.pageSize;
  return pfn;
}

/** Gives such a page back. @kernel include/asm-generic/pgalloc.h pte_free (6.18) */
export function pteFree(m: Machine, mm: MmId, pfn: Pfn): void {
  const g = pageMemcg(m.map, pfn);
  setPageMemcg(m.map, pfn, 0);
  clearPageType(m.map, pfn, PGTY.PGTY_table);
  m.vmstat[V.nr_page_table_pages]--;
  m.mms.pgtablesBytes[mm] -= m.config.pageSize;
  freePages(m, pfn, 0);
  if (g !== 0) memcgUnchargeKernel(m, g as MemcgId, 1);
}

/** Gives a page room for its entries, all none. */
function tableInstall(m: Machine, mm: MmId, pfn: Pfn, level: number, parent: number): PtId {
  const { pt } = m;
  const row = pt.free.pop() ?? pt.nr++;
  if (row >= pt.rows) {
    grow(ptLayout, pt, pt.rows * 2);
    const entries = new Int32Array((pt.rows * 2) << pt.entryShift);
    entries.set(pt.entries);
    pt.entries = entries;
  }
  pt.pfn[row] = pfn;
  pt.mm[row] = mm;
  pt.level[row] = level;
  pt.count[row] = 0;
  pt.parent[row] = parent;
  pt.deposit[row] = pt.deposits[row] = 0;
  return row as PtId;
}

function tableAlloc(m: Machine, mm: MmId, level: number, parent: number): PtId {
  const pfn = pteAllocOne(m, mm);
  return pfn === 0 ? (0 as PtId) : tableInstall(m, mm, pfn, level, parent);
}

/** Takes a table's room away and leaves its page. Entries that are left are forgotten. */
function tableRemove(m: Machine, table: PtId): Pfn {
  const { pt } = m;
  const pfn = pt.pfn[table] as Pfn;
  if (pt.count[table] > 0) pt.entries.fill(0, (table << pt.entryShift) * 2, ((table + 1) << pt.entryShift) * 2);
  pt.pfn[table] = pt.count[table] = pt.mm[table] = 0;
  pt.free.push(table);
  return pfn;
}

/** Frees a table; the entry that leads to it becomes none. */
export function tableFree(m: Machine, table: PtId): void {
  const { pt } = m;
  const mm = pt.mm[table] as MmId;
  if (pt.parent[table] >= 0) pteClear(m, pt.parent[table]);
  pteFree(m, mm, tableRemove(m, table));
}

/** The top table; not part of the address space's pgtablesBytes. 0: no memory. @kernel arch/x86/mm/pgtable.c pgd_alloc (6.18) */
export function pgdAlloc(m: Machine, mm: MmId): PtId {
  const { pt } = m;
  // A top table of less than a page (arm64) is an object of its own, not a page.
  const whole = pt.masks[pt.top] === pt.pteMask;
  const pfn = whole ? pteAllocOne(m, mm) : (0 as Pfn);
  if (whole && pfn === 0) return 0 as PtId;
  if (whole) m.mms.pgtablesBytes[mm] -= m.config.pageSize;
  return tableInstall(m, mm, pfn, pt.top, -1);
}

/** @kernel arch/x86/mm/pgtable.c pgd_free (6.18) */
export function pgdFree(m: Machine, mm: MmId): void {
  const pfn = tableRemove(m, m.mms.pgd[mm] as PtId);
  if (pfn === 0) return;
  m.mms.pgtablesBytes[mm] += m.config.pageSize;
  pteFree(m, mm, pfn);
}

/** Keeps a page ready for when the PMD leaf is split. @kernel mm/pgtable-generic.c pgtable_trans_huge_deposit (6.18) */
export function pgtableTransHugeDeposit(m: Machine, pmd: number, pfn: Pfn): void {
  const { pt } = m;
  const table = pmd >>> pt.entryShift;
  setPageNext(m.map, pfn, pt.deposit[table] as Pfn);
  pt.deposit[table] = pfn;
  pt.deposits[table]++;
}

/** Takes such a page. @kernel mm/pgtable-generic.c pgtable_trans_huge_withdraw (6.18) */
export function pgtableTransHugeWithdraw(m: Machine, pmd: number): Pfn {
  const { pt } = m;
  const table = pmd >>> pt.entryShift;
  const pfn = pt.deposit[table] as Pfn;
  pt.deposit[table] = pageNext(m.map, pfn);
  pt.deposits[table]--;
  setPageNext(m.map, pfn, 0);
  return pfn;
}

/** Makes a page (a withdrawn one) the PTE table of a PMD entry; entries are none until they are set. @kernel mm/memory.c pmd_install (6.18) */
export function pmdPopulate(m: Machine, pmd: number, pfn: Pfn): PtId {
  const { pt } = m;
  const table = tableInstall(m, pt.mm[pmd >>> pt.entryShift] as MmId, pfn, 0, pmd);
  setPte(m, pmd, table, _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | PTE_TABLE);
  return table;
}

/** Takes the PTE table from a PMD entry, which becomes none, and returns its page, still charged: to deposit or free. */
export function pmdTakeTable(m: Machine, pmd: number): Pfn {
  const table = ptePayload(m, pmd) as PtId;
  pteClear(m, pmd);
  return tableRemove(m, table);
}

/**
 * Frees the tables that no area needs: what lies wholly in [floor, ceiling) and covers some of [start, end). Everything in
 * [start, end) must be unmapped. @kernel mm/memory.c free_pgd_range (6.18)
 */
export function freePgdRange(m: Machine, mm: MmId, start: number, end: number, floor: number, ceiling: number): void {
  if (start < end) freeLevel(m, m.mms.pgd[mm], m.pt.top, 0, start, end, floor, ceiling);
}

/** Frees the tables under the entries of `table` that [start, end) touches; `base` is the first address under the table. */
function freeLevel(
  m: Machine,
  table: number,
  level: number,
  base: number,
  start: number,
  end: number,
  floor: number,
  ceiling: number,
): void {
  const { pt } = m;
  const span = 2 ** (pt.shifts[level] + pt.pmdShift);
  const last = Math.min(Math.floor((end - 1 - base) / span), pt.masks[level]);
  for (let i = Math.max(Math.floor((start - base) / span), 0); i <= last; i++) {
    const e = (table << pt.entryShift) + i;
    if ((pt.entries[e * 2 + 1] & PTE_TABLE) === 0) continue;
    const child = pt.entries[e * 2] as PtId;
    const from = base + i * span;
    if (level > 1) freeLevel(m, child, level - 1, from, start, end, floor, ceiling);
    if (from < floor || from + span > ceiling) continue;
    tlbFreedTable(m, Math.max(from, start - (start % 2 ** pt.pmdShift)));
    tableFree(m, child);
  }
}

/** Tables of an address space by level, the top one last; deposits count as PTE tables. */
export function tablesByLevel(m: Machine, mm: MmId): number[] {
  const { pt } = m;
  const counts = new Array<number>(pt.top + 1).fill(0);
  for (let t = 1; t < pt.nr; t++) {
    if (pt.mm[t] !== mm) continue;
    counts[pt.level[t]]++;
    counts[0] += pt.deposits[t];
  }
  return counts;
}
