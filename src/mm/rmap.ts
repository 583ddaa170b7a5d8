/**
 * How many page-table entries map a folio, and whose.
 *
 *   small folio   _mapcount of its page, less one
 *   large folio   _large_mapcount   all mappings: one for each PTE, one for each PMD
 *                 _mapcount         of each page: the PTEs that map it
 *                 _entire_mapcount  PMDs that map it
 *                 _nr_pages_mapped  pages that some PTE maps, plus ENTIRELY_MAPPED while a PMD does
 *                 _mm_id            two of the address spaces that map it, each with its share of _large_mapcount, and
 *                                   "mapped shared"
 *
 * With CONFIG_NO_PAGE_MAPCOUNT the counts by page and _nr_pages_mapped do not exist: memory counts as mapped, whole, while one page
 * of the folio is, and "partially mapped" is what fewer mappings than pages say.
 *
 * Each mapping also holds a reference; those are the caller's. Anonymous memory has a bit by page, PG_anon_exclusive: nobody else
 * maps the page, so that a store need not copy it. The frame of a page tells its folio.
 *
 * Invariants (checkRmap):
 *   R1  the counts of a folio are those of the entries of all page tables that map it;
 *   R2  a slot's count is at most its address space's mappings of the folio; without "mapped shared", one address space has all;
 *   R3  an exclusive page is mapped at most once, PMD mappings counted;
 *   R4  a mapped anonymous folio names an anon_vma from which each area that maps it is reached;
 *   R5  nr_anon_pages, nr_mapped, nr_anon_transparent_hugepages, nr_mlock and nr_anon are the sums over all folios;
 *   R6  an anonymous folio has one reference for each mapping, one for each page in the swap cache, and one for each batch it waits
 *       in; more only while it is pinned.
 *
 * @kernel include/linux/mm_types.h struct folio (6.18)
 */
import { deferredSplitFolio, folioTestPartiallyMapped, folioUnqueueDeferredSplit } from './deferred_split.ts';
import type { FolioId, MmId, Pfn, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { mlockVmaFolio, munlockVmaFolio } from './mlock.ts';
import { MMF_HAS_PINNED } from './mm_struct.ts';
import {
  compoundTails,
  FOLIO_MAPPING_ANON,
  FOLIO_WORDS,
  folioOrder,
  folioPfn,
  folioSetAnonPages,
  largeOrder,
  pageFlagsAt,
  pageMapcountAt,
  pincountAt,
  tailsUnwritten,
  W_INDEX,
  W_MAPPING,
} from './mm_types.ts';
import { PG, PG_anon_exclusive } from './page_flags.ts';
import { MTHP, modMthpStat } from './thp.ts';
import { VM_LOCKED } from './vma.ts';
import { V } from './vmstat.ts';
import { clearPagesWritten } from './written.ts';

const { PG_head, PG_mlocked, PG_swapbacked } = PG;

/** In _nr_pages_mapped: a PMD maps the folio. @kernel mm/internal.h ENTIRELY_MAPPED (6.18) */
export const ENTIRELY_MAPPED = 0x800000;
/** In the first owner's word: somebody else may map the folio. @kernel include/linux/mm_types.h FOLIO_MM_IDS_SHARED_BIT (6.18) */
const SHARED_BIT = 1 << 31;
const MM_ID_MASK = 0x7fffffff;
/** A pin is this many references of a small folio. @kernel include/linux/mm.h GUP_PIN_COUNTING_BIAS (6.18) */
export const GUP_PIN_COUNTING_BIAS = 1024;

/** Mappings of a folio: PTEs and PMDs together. @kernel include/linux/mm.h folio_mapcount (6.18) */
export function folioMapcount(m: Machine, f: FolioId): number {
  const w = f * FOLIO_WORDS;
  return m.map[w + ((m.map[w] & PG_head) === 0 ? m.map.mapcount : m.map.largeMapcount)] + 1;
}
/** @kernel include/linux/mm.h folio_mapped (6.18) */
export const folioMapped = (m: Machine, f: FolioId): boolean => folioMapcount(m, f) > 0;
/** PMD mappings. Only of large folios. @kernel include/linux/mm.h folio_entire_mapcount (6.18) */
export const folioEntireMapcount = (m: Machine, f: FolioId): number =>
  m.map[f * FOLIO_WORDS + m.map.entireMapcount] + 1;

/** Mappings of one page, PMD mappings counted: what /proc/kpagecount shows. @kernel fs/proc/internal.h folio_precise_page_mapcount (6.18) */
export function folioPrecisePageMapcount(m: Machine, f: FolioId, page: Pfn): number {
  const { map } = m;
  if ((map[f * FOLIO_WORDS] & PG_head) === 0) return map[f * FOLIO_WORDS + map.mapcount] + 1;
  const own = tailsUnwritten(map, f) ? 0 : map[pageMapcountAt(map, f, page)] + 1;
  return own + folioEntireMapcount(m, f);
}
/** Without counts by page: an average, rounded to the nearest, at least 1 while mapped. @kernel fs/proc/internal.h folio_average_page_mapcount (6.18) */
export function folioAveragePageMapcount(m: Machine, f: FolioId): number {
  const order = folioOrder(m.map, f);
  const all = folioMapcount(m, f);
  if (order === 0) return all;
  const entire = folioEntireMapcount(m, f);
  if (all <= entire) return entire;
  return Math.max(entire + ((all - entire + (1 << (order - 1))) >> order), 1);
}

/** May another address space map the folio? True can be wrong, false cannot. @kernel include/linux/mm.h folio_maybe_mapped_shared (6.18) */
export function folioMaybeMappedShared(m: Machine, f: FolioId): boolean {
  const w = f * FOLIO_WORDS;
  if ((m.map[w] & PG_head) === 0) return m.map[w + m.map.mapcount] > 0;
  return m.map[w + m.map.largeMapcount] > 0 && m.map[w + m.map.mmId] < 0;
}

/** May somebody have pinned the folio? @kernel include/linux/mm.h folio_maybe_dma_pinned (6.18) */
export function folioMaybeDmaPinned(m: Machine, f: FolioId): boolean {
  const w = f * FOLIO_WORDS;
  return (m.map[w] & PG_head) === 0
    ? m.map[w + m.map.refcount] >= GUP_PIN_COUNTING_BIAS
    : m.map[pincountAt(m.map, w)] > 0;
}
/** Must a fork copy the folio's pages, because a device may write to them? @kernel include/linux/mm.h folio_needs_cow_for_dma (6.18) */
const folioNeedsCowForDma = (m: Machine, f: FolioId, vma: VmaId): boolean =>
  (m.mms.flags[m.vmas.mm[vma]] & MMF_HAS_PINNED) !== 0 && folioMaybeDmaPinned(m, f);

/** Does nobody but one address space have the page's contents? @kernel include/linux/page-flags.h PageAnonExclusive (6.18) */
export function pageAnonExclusive(m: Machine, f: FolioId, page: Pfn): boolean {
  const { map } = m;
  if ((map[f * FOLIO_WORDS] & PG_head) !== 0 && page !== folioPfn(map, f) && tailsUnwritten(map, f)) return false;
  return (map[pageFlagsAt(map, f, page)] & PG_anon_exclusive) !== 0;
}
/** Sets it for `nr` pages from `page` on. @kernel include/linux/page-flags.h SetPageAnonExclusive (6.18) */
export function setPagesAnonExclusive(m: Machine, f: FolioId, page: number, nr: number): void {
  const { map } = m;
  if ((map[f * FOLIO_WORDS] & PG_head) !== 0 && (nr > 1 || page !== folioPfn(map, f))) compoundTails(map, f);
  for (let p = page; p < page + nr; p++) map[pageFlagsAt(map, f, p)] |= PG_anon_exclusive;
}
/** @kernel include/linux/page-flags.h ClearPageAnonExclusive (6.18) */
function clearPagesAnonExclusive(m: Machine, f: FolioId, page: number, nr: number): void {
  const { map } = m;
  if ((map[f * FOLIO_WORDS] & PG_head) !== 0 && tailsUnwritten(map, f)) map[f * FOLIO_WORDS] &= ~PG_anon_exclusive;
  else for (let p = page; p < page + nr; p++) map[pageFlagsAt(map, f, p)] &= ~PG_anon_exclusive;
}

/** `n` more mappings of a large folio by an address space. All mappings now. @kernel include/linux/rmap.h folio_add_return_large_mapcount (6.18) */
function addLargeMapcount(m: Machine, f: FolioId, n: number, mm: MmId): number {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const count = map[w + map.largeMapcount] + n;
  map[w + map.largeMapcount] = count;
  const first = map[w + map.mmId];
  const a = first & MM_ID_MASK;
  const b = map[w + map.mmId + 1];
  if (a === mm) map[w + map.mmIdMapcount] += n;
  else if (b === mm) map[w + map.mmIdMapcount + 1] += n;
  else if (a === 0) {
    map[w + map.mmIdMapcount] = n - 1;
    map[w + map.mmId] = first | mm | (count !== n - 1 ? SHARED_BIT : 0);
  } else if (b === 0) {
    map[w + map.mmIdMapcount + 1] = n - 1;
    map[w + map.mmId + 1] = mm;
    map[w + map.mmId] = first | SHARED_BIT;
  }
  return count + 1;
}

/** `n` fewer. All mappings left. @kernel include/linux/rmap.h folio_sub_return_large_mapcount (6.18) */
function subLargeMapcount(m: Machine, f: FolioId, n: number, mm: MmId): number {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const count = map[w + map.largeMapcount] - n;
  map[w + map.largeMapcount] = count;
  const slot = (map[w + map.mmId] & MM_ID_MASK) === mm ? 0 : map[w + map.mmId + 1] === mm ? 1 : -1;
  if (slot >= 0) {
    const left = map[w + map.mmIdMapcount + slot] - n;
    map[w + map.mmIdMapcount + slot] = left < 0 ? -1 : left;
    if (left >= 0) return count + 1;
    map[w + map.mmId + slot] &= ~MM_ID_MASK;
  }
  if (map[w + map.mmIdMapcount] === count || map[w + map.mmIdMapcount + 1] === count) map[w + map.mmId] &= ~SHARED_BIT;
  return count + 1;
}

/** Counts pages that have become (or ceased to be) mapped, and PMD mappings. @kernel mm/rmap.c __folio_mod_stat (6.18) */
function folioModStat(m: Machine, w: number, nr: number, huge: number): void {
  const { vmstat, map } = m;
  if ((map[w + W_MAPPING] & FOLIO_MAPPING_ANON) !== 0) {
    vmstat[V.nr_anon_pages] += nr;
    vmstat[V.nr_anon_transparent_hugepages] += huge;
  } else {
    vmstat[V.nr_mapped] += nr;
    if (huge !== 0) vmstat[(map[w] & PG_swapbacked) !== 0 ? V.nr_shmem_pmdmapped : V.nr_file_pmdmapped] += huge;
  }
}

/** `n` PTEs more, from `page` on. @kernel mm/rmap.c __folio_add_rmap (6.18) */
function addPtes(m: Machine, f: FolioId, page: number, n: number, vma: VmaId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  let nr = 0;
  if ((map[w] & PG_head) === 0) nr = ++map[w + map.mapcount] === 0 ? 1 : 0;
  else if (m.config.noPageMapcount) {
    compoundTails(map, f);
    if (addLargeMapcount(m, f, n, m.vmas.mm[vma] as MmId) === n) nr = 1 << largeOrder(map, w);
  } else {
    compoundTails(map, f);
    let first = 0;
    for (let p = page; p < page + n; p++) if (++map[pageMapcountAt(map, f, p)] === 0) first++;
    if (first > 0) {
      map[w + map.nrPagesMapped] += first;
      if (map[w + map.nrPagesMapped] < ENTIRELY_MAPPED) nr = first;
    }
    addLargeMapcount(m, f, n, m.vmas.mm[vma] as MmId);
  }
  if (nr !== 0) folioModStat(m, w, nr, 0);
}

/** A PMD more. @kernel mm/rmap.c __folio_add_rmap (6.18) */
function addPmd(m: Machine, f: FolioId, vma: VmaId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const pages = 1 << largeOrder(map, w);
  const first = ++map[w + map.entireMapcount] === 0;
  let nr = 0;
  const all = addLargeMapcount(m, f, 1, m.vmas.mm[vma] as MmId);
  if (m.config.noPageMapcount) nr = all === 1 ? pages : 0;
  else if (first) {
    nr = pages - map[w + map.nrPagesMapped];
    map[w + map.nrPagesMapped] += ENTIRELY_MAPPED;
  }
  if (first || nr !== 0) folioModStat(m, w, nr, first ? 1 : 0);
}

/**
 * The first mapping of a new anonymous folio, of all its pages: by a PMD if it is that large. `exclusive`: nobody else may have
 * its contents. @kernel mm/rmap.c folio_add_new_anon_rmap (6.18)
 */
export function folioAddNewAnonRmap(m: Machine, f: FolioId, vma: VmaId, addr: number, exclusive: boolean): void {
  const { map, vmas } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w] | PG_swapbacked;
  const own = vmas.anonVma[vma];
  map[w + W_MAPPING] = ((exclusive ? own : m.anonVmas.root[own]) << 2) | FOLIO_MAPPING_ANON;
  map[w + W_INDEX] = (addr - vmas.start[vma]) * m.pagesPerByte + vmas.pgoff[vma];
  map[w] = exclusive ? flags | PG_anon_exclusive : flags;
  folioSetAnonPages(map, f);
  clearPagesWritten(m, folioPfn(map, f), 1 << folioOrder(map, f));
  if ((flags & PG_head) === 0) {
    map[w + map.mapcount] = 0;
    m.vmstat[V.nr_anon_pages]++;
    return;
  }
  const order = largeOrder(map, w);
  const nr = 1 << order;
  const huge = order >= m.thp.pmdOrder;
  if (huge) map[w + map.entireMapcount] = 0;
  else {
    const precise = !m.config.noPageMapcount;
    compoundTails(map, f);
    const start = folioPfn(map, f);
    for (let p = start; p < start + nr; p++) {
      if (precise) map[pageMapcountAt(map, f, p)] = 0;
      if (exclusive) map[pageFlagsAt(map, f, p)] |= PG_anon_exclusive;
    }
  }
  addLargeMapcount(m, f, huge ? 1 : nr, vmas.mm[vma] as MmId);
  if (!m.config.noPageMapcount) map[w + map.nrPagesMapped] = huge ? ENTIRELY_MAPPED : nr;
  folioModStat(m, w, nr, huge ? 1 : 0);
  modMthpStat(m, order, MTHP.nr_anon, 1);
}

/**
 * `nr` PTEs more that map an anonymous folio from `page` on: it has an anon_vma. `addr` is that of the first.
 * @kernel mm/rmap.c folio_add_anon_rmap_ptes (6.18)
 */
export function folioAddAnonRmapPtes(
  m: Machine,
  f: FolioId,
  page: Pfn,
  nr: number,
  vma: VmaId,
  _addr: number,
  exclusive: boolean,
): void {
  addPtes(m, f, page, nr, vma);
  if (exclusive) setPagesAnonExclusive(m, f, page, nr);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0 && nr === 1 << folioOrder(m.map, f)) mlockVmaFolio(m, f, vma);
}

/** @kernel mm/rmap.c folio_add_anon_rmap_pmd (6.18) */
export function folioAddAnonRmapPmd(m: Machine, f: FolioId, vma: VmaId, _addr: number, exclusive: boolean): void {
  addPmd(m, f, vma);
  if (exclusive) m.map[f * FOLIO_WORDS] |= PG_anon_exclusive;
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) mlockVmaFolio(m, f, vma);
}

/** @kernel mm/rmap.c folio_add_file_rmap_ptes (6.18) */
export function folioAddFileRmapPtes(m: Machine, f: FolioId, page: Pfn, nr: number, vma: VmaId): void {
  addPtes(m, f, page, nr, vma);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0 && nr === 1 << folioOrder(m.map, f)) mlockVmaFolio(m, f, vma);
}
/** @kernel mm/rmap.c folio_add_file_rmap_pmd (6.18) */
export function folioAddFileRmapPmd(m: Machine, f: FolioId, vma: VmaId): void {
  addPmd(m, f, vma);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) mlockVmaFolio(m, f, vma);
}

/** Mappings that a fork copies, `nr` PTEs from `page` on: no page becomes newly mapped. @kernel include/linux/rmap.h folio_dup_file_rmap_ptes (6.18) */
export function folioDupFileRmapPtes(m: Machine, f: FolioId, page: Pfn, nr: number, to: VmaId): void {
  const { map } = m;
  if ((map[f * FOLIO_WORDS] & PG_head) === 0) {
    map[f * FOLIO_WORDS + map.mapcount]++;
    return;
  }
  if (!m.config.noPageMapcount) for (let p = page as number; p < page + nr; p++) map[pageMapcountAt(map, f, p)]++;
  addLargeMapcount(m, f, nr, m.vmas.mm[to] as MmId);
}
/** @kernel include/linux/rmap.h folio_dup_file_rmap_pmd (6.18) */
export function folioDupFileRmapPmd(m: Machine, f: FolioId, to: VmaId): void {
  m.map[f * FOLIO_WORDS + m.map.entireMapcount]++;
  addLargeMapcount(m, f, 1, m.vmas.mm[to] as MmId);
}

/**
 * The same of anonymous memory, which is exclusive no longer. False: the folio may be pinned and one of the pages is exclusive, so
 * the child needs a copy; nothing has changed. @kernel include/linux/rmap.h folio_try_dup_anon_rmap_ptes (6.18)
 */
export function folioTryDupAnonRmapPtes(
  m: Machine,
  f: FolioId,
  page: Pfn,
  nr: number,
  to: VmaId,
  from: VmaId,
): boolean {
  if (folioNeedsCowForDma(m, f, from))
    for (let p = page as number; p < page + nr; p++) if (pageAnonExclusive(m, f, p as Pfn)) return false;
  clearPagesAnonExclusive(m, f, page, nr);
  folioDupFileRmapPtes(m, f, page, nr, to);
  return true;
}
/** @kernel include/linux/rmap.h folio_try_dup_anon_rmap_pmd (6.18) */
export function folioTryDupAnonRmapPmd(m: Machine, f: FolioId, to: VmaId, from: VmaId): boolean {
  const w = f * FOLIO_WORDS;
  if ((m.map[w] & PG_anon_exclusive) !== 0) {
    if (folioNeedsCowForDma(m, f, from)) return false;
    m.map[w] &= ~PG_anon_exclusive;
  }
  folioDupFileRmapPmd(m, f, to);
  return true;
}
/**
 * Makes an exclusive page shared, before its entry becomes one of swap or migration. False: it may be pinned.
 * @kernel include/linux/rmap.h folio_try_share_anon_rmap_pte (6.18)
 */
export function folioTryShareAnonRmap(m: Machine, f: FolioId, page: Pfn): boolean {
  if (folioMaybeDmaPinned(m, f)) return false;
  clearPagesAnonExclusive(m, f, page, 1);
  return true;
}

/** The folio belongs to one address space alone: its area's own anon_vma. @kernel mm/rmap.c folio_move_anon_rmap (6.18) */
export function folioMoveAnonRmap(m: Machine, f: FolioId, vma: VmaId): void {
  m.map[f * FOLIO_WORDS + W_MAPPING] = (m.vmas.anonVma[vma] << 2) | FOLIO_MAPPING_ANON;
}

/**
 * `nr` PTEs less, from `page` on. A large anonymous folio that is now mapped in part is queued to be split.
 * @kernel mm/rmap.c folio_remove_rmap_ptes (6.18)
 */
export function folioRemoveRmapPtes(m: Machine, f: FolioId, page: Pfn, n: number, vma: VmaId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  let nr = 0;
  if ((map[w] & PG_head) === 0) nr = --map[w + map.mapcount] < 0 ? 1 : 0;
  else {
    const left = subLargeMapcount(m, f, n, m.vmas.mm[vma] as MmId);
    let partially = false;
    if (m.config.noPageMapcount) {
      const pages = 1 << largeOrder(map, w);
      if (left === 0) nr = pages;
      else partially = left < pages && map[w + map.entireMapcount] < 0;
    } else {
      let last = 0;
      for (let p = page as number; p < page + n; p++) if (--map[pageMapcountAt(map, f, p)] < 0) last++;
      if (last > 0) {
        const mapped = map[w + map.nrPagesMapped] - last;
        map[w + map.nrPagesMapped] = mapped;
        if (mapped < ENTIRELY_MAPPED) {
          nr = last;
          partially = mapped > 0;
        }
      }
    }
    if (partially) queuePartial(m, f, w);
  }
  if (nr !== 0) folioModStat(m, w, -nr, 0);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) munlockVmaFolio(m, f, vma);
}

/** A PMD less. @kernel mm/rmap.c folio_remove_rmap_pmd (6.18) */
export function folioRemoveRmapPmd(m: Machine, f: FolioId, vma: VmaId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const pages = 1 << largeOrder(map, w);
  const left = subLargeMapcount(m, f, 1, m.vmas.mm[vma] as MmId);
  const last = --map[w + map.entireMapcount] < 0;
  let nr = 0;
  let partially = false;
  if (m.config.noPageMapcount) {
    if (left === 0) nr = pages;
    else partially = last && left < pages;
  } else if (last) {
    const mapped = map[w + map.nrPagesMapped] - ENTIRELY_MAPPED;
    map[w + map.nrPagesMapped] = mapped;
    nr = pages - mapped;
    partially = nr > 0 && nr < pages;
  }
  if (partially) queuePartial(m, f, w);
  if (last || nr !== 0) folioModStat(m, w, -nr, last ? -1 : 0);
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) munlockVmaFolio(m, f, vma);
}

function queuePartial(m: Machine, f: FolioId, w: number): void {
  if ((m.map[w + W_MAPPING] & FOLIO_MAPPING_ANON) !== 0 && !folioTestPartiallyMapped(m, f))
    deferredSplitFolio(m, f, true);
}

/**
 * What goes with the last reference to a folio that was mapped: counters and the split queue. Call it before the
 * folio is uncharged. @kernel mm/page_alloc.c free_pages_prepare (6.18)
 */
export function freeMappedPrepare(m: Machine, f: FolioId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const order = folioOrder(map, f);
  if ((flags & PG_mlocked) !== 0) {
    m.vmstat[V.nr_mlock] -= 1 << order;
    m.vmstat[V.unevictable_pgs_cleared] += 1 << order;
    map[w] &= ~PG_mlocked;
  }
  if ((map[w + W_MAPPING] & FOLIO_MAPPING_ANON) === 0) return;
  map[w + W_MAPPING] = 0;
  if (order === 0) return;
  folioUnqueueDeferredSplit(m, f);
  modMthpStat(m, order, MTHP.nr_anon, -1);
}
