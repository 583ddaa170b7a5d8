/**
 * Getting at a program's pages for the kernel or a device (GUP). A page that a device may write to or read from later is pinned:
 *
 *   small folio   1024 references a pin: from 1024 references on it may be pinned
 *   large folio   one reference and one more in _pincount a pin: exact
 *
 * What may be pinned stays where it is: it is not swapped out, moved, split or collapsed, and a fork copies it for the child. A pin
 * for reading must not be of a page that somebody else shares, or the device would not see later stores: the page is unshared first.
 *
 * @kernel mm/gup.c __get_user_pages (6.18)
 */
import type { FolioId, MmId, Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { handleMmFault } from './memory.ts';
import { MMF_HAS_PINNED } from './mm_struct.ts';
import { FOLIO_WORDS, folioRefAdd, folioSet, folioTest, folioTestAnon, pageFolio, pincountAt } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_SPECIAL,
  PTE_TABLE,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { GUP_PIN_COUNTING_BIAS, pageAnonExclusive } from './rmap.ts';
import { folioMarkAccessed, folioPutRefs } from './swap.ts';
import { VM_FAULT_ERROR, VM_FAULT_RETRY } from './vm_fault.ts';
import { VM_READ, VM_WRITE, vmaLookup } from './vma.ts';

/** @kernel include/linux/mm_types.h FOLL_WRITE (6.18) */
export const FOLL_WRITE = 1;
export const FOLL_GET = 2;
/** The access counts as use. */
export const FOLL_TOUCH = 1 << 16;
export const FOLL_PIN = 1 << 19;

/** Takes `refs` references or pins. @kernel mm/gup.c try_grab_folio (6.18) */
function tryGrabFolio(m: Machine, f: FolioId, refs: number, flags: number): void {
  if ((flags & FOLL_PIN) === 0) folioRefAdd(m.map, f, refs);
  else if (folioTest(m.map, f, PG.PG_head)) {
    folioRefAdd(m.map, f, refs);
    m.map[pincountAt(m.map, f * FOLIO_WORDS)] += refs;
  } else folioRefAdd(m.map, f, refs * GUP_PIN_COUNTING_BIAS);
}

/** Drops pins of a folio. @kernel mm/gup.c gup_put_folio (6.18) */
export function unpinFolio(m: Machine, f: FolioId, refs: number): void {
  if (folioTest(m.map, f, PG.PG_head)) {
    m.map[pincountAt(m.map, f * FOLIO_WORDS)] -= refs;
    folioPutRefs(m, f, refs);
  } else folioPutRefs(m, f, refs * GUP_PIN_COUNTING_BIAS);
}

/** May a pin for reading not see what others do with the page? @kernel mm/internal.h gup_must_unshare (6.18) */
const gupMustUnshare = (m: Machine, flags: number, f: FolioId, page: Pfn): boolean =>
  (flags & (FOLL_WRITE | FOLL_PIN)) === FOLL_PIN && folioTestAnon(m.map, f) && !pageAnonExclusive(m, f, page);

/** The page must be faulted in; or (UNSHARE) be made this address space's own. */
const FAULT = 0;
const UNSHARE = -1;

/**
 * Pages that are mapped as wanted from `addr` on, at most those of one entry; FOLL_GET and FOLL_PIN take a reference to the first `max`
 * of them. FAULT or UNSHARE: they are not. @kernel mm/gup.c follow_page_mask (6.18)
 */
function followPageMask(m: Machine, mm: MmId, addr: number, flags: number, max: number): number {
  const pmd = pmdOffset(m, mm, addr);
  if (pmd < 0) return FAULT;
  const table = (pteFlags(m, pmd) & PTE_TABLE) !== 0;
  const e = table ? pteOfPmd(m, pmd, addr) : pmd;
  const entry = pteFlags(m, e);
  const write = (flags & FOLL_WRITE) !== 0;
  const needs = write ? _PAGE_PRESENT | _PAGE_RW : _PAGE_PRESENT;
  if ((entry & needs) !== needs) return FAULT;
  const span = 2 ** m.pt.pmdShift;
  const nr = table ? 1 : (span - (addr % span)) * m.pagesPerByte;
  if ((entry & _PAGE_SPECIAL) !== 0) return nr;
  const page = ptePayload(m, e) as Pfn;
  const f = pageFolio(m.map, page);
  if ((entry & _PAGE_RW) === 0 && gupMustUnshare(m, flags, f, page)) return UNSHARE;
  const take = Math.min(nr, max);
  if ((flags & (FOLL_GET | FOLL_PIN)) !== 0) tryGrabFolio(m, f, take, flags);
  if ((flags & FOLL_TOUCH) === 0) folioSet(m.map, f, PG.PG_referenced);
  else if (!table) setPteFlags(m, e, entry | _PAGE_ACCESSED | (write ? _PAGE_DIRTY : 0));
  else {
    if (write && (entry & _PAGE_DIRTY) === 0 && !folioTest(m.map, f, PG.PG_dirty)) {
      if (folioTestAnon(m.map, f)) folioSet(m.map, f, PG.PG_dirty);
      else folioMarkDirty(m, f);
    }
    folioMarkAccessed(m, f);
  }
  return nr;
}

/** Is the page there as wanted? It counts as used then. @kernel mm/gup.c faultin_page (6.18) */
export const gupTouch = (m: Machine, mm: MmId, addr: number, write: boolean): boolean =>
  followPageMask(m, mm, addr, write ? FOLL_TOUCH | FOLL_WRITE : FOLL_TOUCH, 1) > 0;

/**
 * Goes through `nr` pages from `start` on, faulting in what is missing. With `out`, the frames of the pages got are put there, and each
 * holds a reference or pin. Pages got: fewer when an access is not allowed, memory ran out, or (Machine.wait not 0) it must be called
 * again for the rest. @kernel mm/gup.c __get_user_pages (6.18)
 */
export function getUserPages(
  m: Machine,
  mm: MmId,
  start: number,
  nr: number,
  flags: number,
  out: number[] | null,
): number {
  const size = m.config.pageSize;
  const write = (flags & FOLL_WRITE) !== 0;
  let got = 0;
  m.wait = 0 as FolioId;
  while (got < nr) {
    const addr = start + got * size;
    const vma = vmaLookup(m, mm, addr);
    if (vma === 0 || (m.vmas.flags[vma] & (write ? VM_WRITE : VM_READ)) === 0) return got;
    const n = Math.min(followPageMask(m, mm, addr, flags, nr - got), nr - got);
    if (n > 0) {
      if (out !== null) for (let i = 0; i < n; i++) out.push(frameOf(m, mm, addr + i * size));
      got += n;
      continue;
    }
    m.vmf.unshare = n === UNSHARE;
    const ret = handleMmFault(m, mm, vma, addr, write);
    m.vmf.unshare = false;
    if ((ret & VM_FAULT_ERROR) !== 0) return got;
    if ((ret & VM_FAULT_RETRY) !== 0) {
      m.vmf.tried = true;
      if (m.wait !== 0) return got;
    }
  }
  return got;
}

/** Frame of a page that is mapped; the zero page is 0. */
function frameOf(m: Machine, mm: MmId, addr: number): number {
  const pmd = pmdOffset(m, mm, addr);
  if ((pteFlags(m, pmd) & PTE_TABLE) !== 0) {
    const e = pteOfPmd(m, pmd, addr);
    return (pteFlags(m, e) & _PAGE_SPECIAL) !== 0 ? 0 : ptePayload(m, e);
  }
  if ((pteFlags(m, pmd) & _PAGE_SPECIAL) !== 0) return 0;
  return ptePayload(m, pmd) + ((addr >>> m.pt.pageShift) & m.pt.pteMask);
}

/** Pins pages the quick way where they are mapped as wanted, else as use of them. @kernel mm/gup.c pin_user_pages_fast (6.18) */
export function pinUserPagesFast(
  m: Machine,
  mm: MmId,
  start: number,
  nr: number,
  write: boolean,
  out: number[],
): number {
  m.mms.flags[mm] |= MMF_HAS_PINNED;
  const flags = FOLL_PIN | (write ? FOLL_WRITE : 0);
  const size = m.config.pageSize;
  let got = 0;
  while (got < nr) {
    const n = Math.min(followPageMask(m, mm, start + got * size, flags, nr - got), nr - got);
    if (n <= 0) break;
    for (let i = 0; i < n; i++) out.push(frameOf(m, mm, start + (got + i) * size));
    got += n;
  }
  return got === nr ? got : got + getUserPages(m, mm, start + got * size, nr - got, flags | FOLL_TOUCH, out);
}

/** Pins pages. @kernel mm/gup.c pin_user_pages (6.18) */
export function pinUserPages(m: Machine, mm: MmId, start: number, nr: number, write: boolean, out: number[]): number {
  m.mms.flags[mm] |= MMF_HAS_PINNED;
  return getUserPages(m, mm, start, nr, FOLL_PIN | FOLL_TOUCH | (write ? FOLL_WRITE : 0), out);
}

/** Drops pins; `dirty`: a device has written. @kernel mm/gup.c unpin_user_pages_dirty_lock (6.18) */
export function unpinUserPages(m: Machine, pages: readonly number[], dirty: boolean): void {
  for (const page of pages) {
    if (page === 0) continue;
    const f = pageFolio(m.map, page as Pfn);
    if (dirty && !folioTest(m.map, f, PG.PG_dirty)) {
      if (folioTestAnon(m.map, f)) folioSet(m.map, f, PG.PG_dirty);
      else folioMarkDirty(m, f);
    }
    unpinFolio(m, f, 1);
  }
}
