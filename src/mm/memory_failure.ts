/**
 * Memory that goes bad. The processor reports a frame; what the kernel can do depends on who has the page, and is always about that
 * one page, never about a whole folio:
 *
 *   free                    taken out of its block, lost to the allocator                                recovered
 *   large folio             the folio is marked, and split until the page is on its own; if that fails the page stays in it     failed
 *   clean page of a file    dropped: the next use reads it again                                          recovered
 *   dirty page of a file    dropped with what was written, and the file has an I/O error                  recovered
 *   anonymous memory        its entries say "bad": who touches it gets SIGBUS                             recovered
 *   in the swap cache       clean: dropped, swap has it; dirty: lost                                      recovered, delayed
 *   huge page of a pool     listed with the folio; free: broken up, the other 511 pages are free again    recovered
 *   slab, page table, …     nothing can be done                                                           ignored
 *
 * A bad page keeps its mark and one reference for good (none, if it was freed as part of a block): nobody is given it again.
 *
 * Not checked against a live kernel: the one at hand was built without memory failure. Not modelled: signals at once (early kill).
 *
 * @kernel mm/memory-failure.c memory_failure (6.18)
 */
import { QuireError } from '../base/errors.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { folioUnlock } from './filemap.ts';
import { folioSplit } from './huge_memory.ts';
import { dissolveFreeHugetlbFolio } from './hugetlb.ts';
import { type FolioId, type MmId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupUncharge } from './memcontrol.ts';
import { type DevPagemap, getDevPagemap } from './memremap.ts';
import {
  folioClear,
  folioFlags,
  folioMapping,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioReset,
  folioSet,
  folioSetCount,
  folioTest,
  folioTestAnon,
  pageFolio,
} from './mm_types.ts';
import { drainAllPages } from './page_alloc_pcp.ts';
import { PG, PG_swapcache, PGTY } from './page_flags.ts';
import { takePageOffBuddy } from './page_poison.ts';
import {
  clearPageFlag,
  pageCount,
  pageFlag,
  pageHead,
  pageType,
  setFolioHasHwpoisoned,
  setPageCount,
  setPageFlag,
} from './page_type.ts';
import { folioCancelDirty } from './page_writeback.ts';
import { _PAGE_DIRTY, _PAGE_PRESENT } from './pgtable.ts';
import { folioMapped } from './rmap.ts';
import { pageVmaMappedWalk, rmapWalk, TTU_HWPOISON, TTU_IGNORE_MLOCK, tryToUnmap } from './rmap_walk.ts';
import { folioIsolateLru, folioPut, lruAddDrain } from './swap.ts';
import { swapCacheDelFolio } from './swap_state.ts';
import { truncateInodeFolio } from './truncate.ts';

/** What was found. @kernel include/ras/ras_event.h MF_PAGE_TYPE (6.18) */
export type MfPage =
  | 'free buddy page'
  | 'unhandlable page'
  | 'already poisoned page'
  | 'unsplit thp'
  | 'huge page'
  | 'free huge page'
  | 'dirty swapcache page'
  | 'clean swapcache page'
  | 'dirty mlocked LRU page'
  | 'clean mlocked LRU page'
  | 'dirty unevictable LRU page'
  | 'clean unevictable LRU page'
  | 'dirty LRU page'
  | 'clean LRU page'
  | 'already truncated LRU page'
  | 'dax page';
/** @kernel include/linux/mm.h enum mf_result (6.18) */
export type MfResult = 'ignored' | 'failed' | 'delayed' | 'recovered';

export interface MemoryFailure {
  readonly page: MfPage;
  readonly result: MfResult;
  /** Address spaces that get SIGBUS when they touch the page next. */
  readonly affected: readonly MmId[];
}

export interface Poison {
  /** Bad pages: HardwareCorrupted of /proc/meminfo. */
  pages: number;
  /** By result. @kernel include/linux/mmzone.h struct memory_failure_stats (6.18) */
  readonly stats: Record<MfResult, number>;
  /** Bad pages of huge pages, as pairs: first frame of the huge page, bad frame. */
  readonly raw: [Pfn, Pfn][];
}
export const poisonInit = (): Poison => ({
  pages: 0,
  stats: { ignored: 0, failed: 0, delayed: 0, recovered: 0 },
  raw: [],
});

/**
 * The memory of a frame is bad. Null: the page is locked or under write-back (Machine.wait names its folio): report it again then.
 * @kernel mm/memory-failure.c memory_failure (6.18)
 */
export function memoryFailure(m: Machine, pfn: Pfn): MemoryFailure | null {
  const device = getDevPagemap(m, pfn);
  if (device !== null) return deviceFailure(m, pfn, device);
  if (!(pfn > 0 && pfn < m.zones.frames))
    throw new QuireError('EINVAL', `frame ${pfn}: memory outside kernel control, expected 1 to ${m.zones.frames - 1}`);
  lruAddDrain(m);
  if (pageType(m.map, pfn) === PGTY.PGTY_hugetlb) return hugetlbFailure(m, pfn);
  if (pageFlag(m.map, pfn, PG.PG_hwpoison)) return { page: 'already poisoned page', result: 'failed', affected: [] };
  if (pageCount(m.map, pfn) === 0) {
    drainAllPages(m);
    if (takePageOffBuddy(m, pfn)) {
      setPageFlag(m.map, pfn, PG.PG_hwpoison);
      setPageCount(m.map, pfn, 1);
      return done(m, 'free buddy page', 'recovered');
    }
  }
  let folio = pageFolio(m.map, pfn);
  if (!folioTest(m.map, folio, PG.PG_lru) || pageType(m.map, pfn) !== 0) {
    setPageFlag(m.map, pfn, PG.PG_hwpoison);
    if (folioOrder(m.map, folio) > 0) setFolioHasHwpoisoned(m.map, pfn, true);
    return done(m, 'unhandlable page', 'ignored');
  }
  if (folioTest(m.map, folio, PG.PG_locked | PG.PG_writeback)) {
    m.wait = folio;
    return null;
  }
  setPageFlag(m.map, pfn, PG.PG_hwpoison);
  folioRefAdd(m.map, folio, 1);
  folioSet(m.map, folio, PG.PG_locked);
  if (folioOrder(m.map, folio) > 0) {
    setFolioHasHwpoisoned(m.map, pfn, true);
    const split = tryToSplit(m, folio, pfn);
    if (split === null) {
      const affected = mapsOf(m, folio, pfn);
      folioUnlock(m, folio);
      folioPut(m, folio);
      return done(m, 'unsplit thp', 'failed', affected);
    }
    folio = split;
    if (folio === NO_FOLIO) return done(m, 'already truncated LRU page', 'recovered');
  }
  return lruFailure(m, folio, pfn);
}

/** Splits a locked folio with one reference to single pages; the bad one is locked with the reference then. NO_FOLIO: nobody wanted it; null: it cannot be split. @kernel mm/memory-failure.c try_to_split_thp_page (6.18) */
function tryToSplit(m: Machine, folio: FolioId, pfn: Pfn): FolioId | null {
  if (!folioSplit(m, folio, 0, pfn - folioPfn(m.map, folio), true)) return null;
  const bad = pageFolio(m.map, pfn);
  if (bad === folio) return bad;
  // The split leaves lock and reference with the first piece.
  const wanted = folioRefCount(m.map, bad) > 0;
  if (wanted) {
    folioRefAdd(m.map, bad, 1);
    folioSet(m.map, bad, PG.PG_locked);
  }
  folioUnlock(m, folio);
  folioPut(m, folio);
  return wanted ? bad : NO_FOLIO;
}

/** A single page on an LRU list, locked, with one reference of ours. @kernel mm/memory-failure.c identify_page_state (6.18) */
function lruFailure(m: Machine, f: FolioId, pfn: Pfn): MemoryFailure {
  const { map } = m;
  const flags = folioFlags(map, f);
  const mapping = folioMapping(map, f);
  const swapcache =
    folioTestAnon(map, f) && (flags & (PG_swapcache | PG.PG_swapbacked)) === (PG_swapcache | PG.PG_swapbacked);
  const affected = userMappings(m, f, pfn, swapcache);
  const dirty = folioTest(map, f, PG.PG_dirty);
  if (folioMapped(m, f)) return finish(m, f, 'unhandlable page', 'failed', affected);
  if (!folioTestAnon(map, f) && mapping === 0) return finish(m, f, 'already truncated LRU page', 'ignored', affected);
  if (swapcache) {
    if (dirty) {
      // What is left in the cache is not readable: who needs it gets an error.
      folioClear(map, f, PG.PG_dirty | PG.PG_uptodate);
      deleteFromLru(m, f);
      folioUnlock(m, f);
      return done(m, 'dirty swapcache page', 'delayed', affected);
    }
    swapCacheDelFolio(m, f);
    return retire(m, f, pfn, 'clean swapcache page', affected);
  }
  const kind =
    (flags & PG.PG_mlocked) !== 0 ? 'mlocked LRU' : (flags & PG.PG_unevictable) !== 0 ? 'unevictable LRU' : 'LRU';
  const page: MfPage = `${dirty ? 'dirty' : 'clean'} ${kind} page`;
  if (folioTestAnon(map, f)) return retire(m, f, pfn, page, affected);
  if (dirty) m.writeErrors++;
  if ((m.spaces.flags[mapping] & AS_SWAPBACKED) !== 0) {
    // It stays in the file, so that its loss shows. @kernel mm/shmem.c shmem_error_remove_folio (6.18)
    deleteFromLru(m, f);
    folioUnlock(m, f);
    return done(m, page, 'recovered', affected);
  }
  // @kernel mm/truncate.c generic_error_remove_folio (6.18)
  if (dirty) folioCancelDirty(m, f);
  folioRefAdd(m.map, f, 1);
  truncateInodeFolio(m, mapping, f);
  return retire(m, f, pfn, page, affected);
}

/**
 * Takes the page from those who map it. A clean page of a file they may read again; of other memory a mark stays that it was bad,
 * and nobody may use it: those are returned. @kernel mm/memory-failure.c hwpoison_user_mappings (6.18)
 */
function userMappings(m: Machine, f: FolioId, pfn: Pfn, swapcache: boolean): readonly MmId[] {
  if (!folioMapped(m, f)) return [];
  const mapping = folioMapping(m.map, f);
  const file = mapping !== 0 && (m.spaces.flags[mapping] & AS_SWAPBACKED) === 0;
  const reloads = swapcache || (file && !folioTest(m.map, f, PG.PG_dirty) && !mappedDirty(m, f, pfn));
  const affected = reloads ? [] : mapsOf(m, f, pfn);
  tryToUnmap(m, f, reloads ? TTU_IGNORE_MLOCK : TTU_IGNORE_MLOCK | TTU_HWPOISON);
  return affected;
}

/** Address spaces that map a page. @kernel mm/memory-failure.c collect_procs (6.18) */
function mapsOf(m: Machine, f: FolioId, pfn: Pfn): MmId[] {
  const found = new Set<MmId>();
  visitEntries(m, f, pfn, () => {
    found.add(m.rmap.mm);
  });
  return [...found];
}

/** Does an entry say that the page was written to? @kernel mm/rmap.c folio_mkclean (6.18) */
function mappedDirty(m: Machine, f: FolioId, pfn: Pfn): boolean {
  let dirty = false;
  visitEntries(m, f, pfn, (flags) => {
    if ((flags & _PAGE_DIRTY) !== 0) dirty = true;
  });
  return dirty;
}

function visitEntries(m: Machine, f: FolioId, pfn: Pfn, each: (flags: number) => void): void {
  m.rmap.wanted = _PAGE_PRESENT;
  rmapWalk(m, f, () => {
    while (pageVmaMappedWalk(m)) {
      const { entry, huge } = m.rmap;
      if (huge || m.pt.entries[entry * 2] === pfn) each(m.pt.entries[entry * 2 + 1]);
    }
    return true;
  });
}

/** Off its list, and charged to nobody. @kernel mm/memory-failure.c delete_from_lru_cache (6.18) */
function deleteFromLru(m: Machine, f: FolioId): void {
  if (folioIsolateLru(m, f)) folioRefAdd(m.map, f, -1);
  folioClear(m.map, f, PG.PG_active | PG.PG_unevictable);
  memCgroupUncharge(m, f);
}

/** Nobody has the page now but us: it stays so. More references: somebody uses it still. */
function retire(m: Machine, f: FolioId, pfn: Pfn, page: MfPage, affected: readonly MmId[]): MemoryFailure {
  deleteFromLru(m, f);
  if (folioRefCount(m.map, f) > 1) return finish(m, f, page, 'failed', affected);
  folioReset(m.map, f);
  folioSetCount(m.map, f, 1);
  setPageFlag(m.map, pfn, PG.PG_hwpoison);
  return done(m, page, 'recovered', affected);
}

function finish(m: Machine, f: FolioId, page: MfPage, result: MfResult, affected: readonly MmId[]): MemoryFailure {
  if (folioTest(m.map, f, PG.PG_locked)) folioUnlock(m, f);
  folioPut(m, f);
  return done(m, page, result, affected);
}

/** @kernel mm/memory-failure.c action_result (6.18) */
function done(m: Machine, page: MfPage, result: MfResult, affected: readonly MmId[] = []): MemoryFailure {
  m.poison.pages++;
  m.poison.stats[result]++;
  return { page, result, affected };
}

/** A page of a device: the first of its larger page is marked, except where the device itself must act. @kernel mm/memory-failure.c mf_generic_kill_procs (6.18) */
function deviceFailure(m: Machine, pfn: Pfn, p: DevPagemap): MemoryFailure {
  if (p.type === 'private' || p.type === 'coherent') return done(m, 'dax page', 'failed');
  setPageFlag(m.map, pageHead(m.map, pfn), PG.PG_hwpoison);
  return done(m, 'dax page', 'recovered');
}

/** Bad pages that a huge page is known to have. @kernel mm/memory-failure.c raw_hwp_list_head (6.18) */
export const rawHwpList = (m: Machine, head: Pfn): Pfn[] =>
  m.poison.raw.filter(([first]) => first === head).map(([, bad]) => bad);

/**
 * A page of a huge page: it is listed, and the huge page is not given to anybody. A free one is broken up.
 * @kernel mm/memory-failure.c try_memory_failure_hugetlb (6.18)
 */
function hugetlbFailure(m: Machine, pfn: Pfn): MemoryFailure {
  const head = pageHead(m.map, pfn);
  if (rawHwpList(m, head).includes(pfn)) return { page: 'already poisoned page', result: 'failed', affected: [] };
  m.poison.raw.push([head, pfn]);
  setPageFlag(m.map, head, PG.PG_hwpoison);
  if (pageCount(m.map, head) > 0) return done(m, 'huge page', 'recovered');
  if (!dissolveFreeHugetlbFolio(m, head)) return done(m, 'free huge page', 'failed');
  return done(m, 'free huge page', 'recovered');
}

/** The huge page becomes ordinary memory: it is bad no longer, but the pages on its list are. @kernel mm/memory-failure.c folio_clear_hugetlb_hwpoison (6.18) */
export function rawHwpClear(m: Machine, head: Pfn): readonly Pfn[] {
  const bad = rawHwpList(m, head);
  if (bad.length === 0) return bad;
  m.poison.raw.splice(0, m.poison.raw.length, ...m.poison.raw.filter(([first]) => first !== head));
  clearPageFlag(m.map, head, PG.PG_hwpoison);
  return bad;
}
