/**
 * The page way of Linux 5.15, second part: what code does with a page. Each function asks and answers in the order of 5.15, with
 * every look for the head that the functions below it make; what it changes is what the folio function changes. Batches of a CPU
 * are filled, not carried out, as a call does it; and the last reference frees by way of the folio.
 */
import { XA_MARK_DIRTY, XA_MARK_TOWRITE, XA_MARK_WRITEBACK, xaClearMark, xaSetMark } from '../base/xarray_mark.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { filemapAddFolio, filemapGetFolio, filemapRemoveFolio } from './filemap.ts';
import { type FolioId, type MappingId, type MemcgId, NO_FOLIO, type Pfn } from './ids.ts';
import {
  folioAttachPrivate,
  folioClear,
  folioDetachPrivate,
  folioIndex,
  folioMapping,
  folioMemcg,
  folioNrPages,
  folioPfn,
  folioPrivate,
  folioRefAdd,
  folioSet,
  folioSetMemcg,
  folioTest,
} from './mm_types.ts';
import { PG } from './page_flags.ts';
import {
  ClearPageReclaim,
  ClearPageReferenced,
  compoundHead,
  FN,
  leavingRecord,
  PageActive,
  PageAnon,
  type PageCompat,
  PageCompound,
  PageDirty,
  PageHuge,
  PageLocked,
  PageLRU,
  PagePrivate,
  PageReclaim,
  PageReferenced,
  PageSlab,
  PageSwapBacked,
  PageSwapCache,
  PageUnevictable,
  PageUptodate,
  PageWriteback,
  recordOf,
  SetPageLocked,
  SetPageReferenced,
  TestClearPageLRU,
  TestClearPageWriteback,
  TestSetPageDirty,
  TestSetPageWriteback,
} from './page_flags_page.ts';
import { folioMapped } from './rmap.ts';
import {
  folioActivate,
  folioAddLru,
  folioIsolateLru,
  folioPut,
  folioRotateReclaimable,
  lruCacheActivateFolio,
} from './swap.ts';
import { V } from './vmstat.ts';
import { workingsetAgeNonresident } from './workingset.ts';

/** @kernel include/linux/mm.h get_page (5.15) */
export function getPage(c: PageCompat, pfn: Pfn): void {
  folioRefAdd(c.m.map, recordOf(c, compoundHead(c, FN.get_page, pfn)), 1);
}
/** @kernel include/linux/mm.h put_page (5.15) */
export function putPage(c: PageCompat, pfn: Pfn): void {
  folioPut(c.m, recordOf(c, compoundHead(c, FN.put_page, pfn)));
}

/** @kernel include/linux/pagemap.h trylock_page (5.15) */
export function trylockPage(c: PageCompat, pfn: Pfn): boolean {
  return lock(c, FN.trylock_page, pfn);
}
function lock(c: PageCompat, caller: number, pfn: Pfn): boolean {
  const f = recordOf(c, compoundHead(c, caller, pfn));
  if (folioTest(c.m.map, f, PG.PG_locked)) return false;
  folioSet(c.m.map, f, PG.PG_locked);
  return true;
}
/** False: it must wait (Machine.wait), and has looked once more to do so. @kernel include/linux/pagemap.h lock_page (5.15) */
export function lockPage(c: PageCompat, pfn: Pfn): boolean {
  if (trylockPage(c, pfn)) return true;
  c.m.wait = recordOf(c, compoundHead(c, FN.lock_page, pfn));
  return false;
}
/** @kernel mm/filemap.c unlock_page (5.15) */
export function unlockPage(c: PageCompat, pfn: Pfn): void {
  folioClear(c.m.map, recordOf(c, compoundHead(c, FN.unlock_page, pfn)), PG.PG_locked);
}

/** The file of a page; 0: none. Asks for slabs and the swap cache first, each of which looks again. @kernel mm/util.c page_mapping (5.15) */
export function pageMapping(c: PageCompat, pfn: Pfn): MappingId {
  const head = compoundHead(c, FN.page_mapping, pfn);
  if (PageSlab(c, head)) return 0 as MappingId;
  if (PageSwapCache(c, head)) return 0 as MappingId;
  return folioMapping(c.m.map, leavingRecord(c, 'mapping', FN.page_mapping, head));
}
/** The offset that a head has in its file. @kernel include/linux/mm.h page_index (5.15) */
export function pageIndex(c: PageCompat, head: Pfn): number {
  if (PageSwapCache(c, head)) return folioPrivate(c.m.map, leavingRecord(c, 'private', FN.page_index, head));
  return folioIndex(c.m.map, leavingRecord(c, 'index', FN.page_index, head));
}
/** The offset of any page in its file, in pages. Looks for tails only. @kernel include/linux/pagemap.h page_to_index (5.15) */
export function pageToIndex(c: PageCompat, pfn: Pfn): number {
  const { map } = c.m;
  if (!PageCompound(c, pfn)) return folioIndex(map, leavingRecord(c, 'index', FN.page_to_index, pfn));
  const head = compoundHead(c, FN.page_to_index, pfn);
  return folioIndex(map, leavingRecord(c, 'index', FN.page_to_index, head)) + (pfn - head);
}
/** The same in bytes, of a head. No look. @kernel include/linux/pagemap.h page_offset (5.15) */
export const pageOffset = (c: PageCompat, head: Pfn): number =>
  folioIndex(c.m.map, leavingRecord(c, 'index', FN.page_offset, head)) * c.m.config.pageSize;
/** Private data of a head. No look. @kernel include/linux/mm.h page_private (5.15) */
export const pagePrivate = (c: PageCompat, head: Pfn): number =>
  folioPrivate(c.m.map, leavingRecord(c, 'private', FN.page_private, head));
/** @kernel include/linux/pagemap.h attach_page_private (5.15) */
export function attachPagePrivate(c: PageCompat, head: Pfn, row: number): void {
  compoundHead(c, FN.get_page, head);
  folioAttachPrivate(c.m.map, leavingRecord(c, 'private', FN.attach_page_private, head), row);
}
/** @kernel include/linux/pagemap.h detach_page_private (5.15) */
export function detachPagePrivate(c: PageCompat, head: Pfn): number {
  if (!PagePrivate(c, head)) return 0;
  const f = leavingRecord(c, 'private', FN.detach_page_private, head);
  compoundHead(c, FN.put_page, head);
  return folioDetachPrivate(c.m.map, f);
}

/** Is any page of it mapped? Looks where it is compound. @kernel mm/util.c page_mapped (5.15) */
export function pageMapped(c: PageCompat, pfn: Pfn): boolean {
  const head = PageCompound(c, pfn) ? compoundHead(c, FN.page_mapped, pfn) : pfn;
  return folioMapped(c.m, recordOf(c, head));
}

/** Keeps the page's group as it is. There is nothing to wait for here. @kernel mm/memcontrol.c lock_page_memcg (5.15) */
export function lockPageMemcg(c: PageCompat, pfn: Pfn): MemcgId {
  return folioMemcg(c.m.map, recordOf(c, compoundHead(c, FN.lock_page_memcg, pfn)));
}
/** @kernel mm/memcontrol.c unlock_page_memcg (5.15) */
export function unlockPageMemcg(c: PageCompat, pfn: Pfn): void {
  compoundHead(c, FN.unlock_page_memcg, pfn);
}
/** Counts the pages of it, not to a group's statistics alone. @kernel mm/memcontrol.c __mod_lruvec_page_state (5.15) */
function modLruvecPageState(c: PageCompat, pfn: Pfn, stat: number, sign: 1 | -1): void {
  const head = compoundHead(c, FN.mod_lruvec_page_state, pfn);
  c.m.vmstat[stat] += sign * folioNrPages(c.m.map, recordOf(c, head));
}

/** @kernel mm/swap.c activate_page (5.15) */
export function activatePage(c: PageCompat, pfn: Pfn): void {
  const head = compoundHead(c, FN.activate_page, pfn);
  if (!PageLRU(c, head) || PageActive(c, head) || PageUnevictable(c, head)) return;
  compoundHead(c, FN.get_page, head);
  folioActivate(c.m, recordOf(c, head));
}
/** The page was read or written by a system call: the second time makes it active. @kernel mm/swap.c mark_page_accessed (5.15) */
export function markPageAccessed(c: PageCompat, pfn: Pfn): void {
  const { m } = c;
  const head = compoundHead(c, FN.mark_page_accessed, pfn);
  if (!PageReferenced(c, head)) {
    SetPageReferenced(c, head);
    return;
  }
  if (PageUnevictable(c, head) || PageActive(c, head)) return;
  const f = recordOf(c, head);
  if (PageLRU(c, head)) activatePage(c, head);
  else {
    compoundHead(c, FN.SetPageActive, head);
    lruCacheActivateFolio(m, f);
  }
  ClearPageReferenced(c, head);
  workingsetAgeNonresident(m, folioMemcg(m.map, f), folioNrPages(m.map, f));
}
/** A new page goes to the LRU, by way of the batch. @kernel mm/swap.c lru_cache_add (5.15) */
export function lruCacheAdd(c: PageCompat, head: Pfn): void {
  compoundHead(c, FN.get_page, head);
  folioAddLru(c.m, recordOf(c, head));
}
/** Takes a page off its list, with a reference; false when it is on none. @kernel mm/vmscan.c isolate_lru_page (5.15) */
export function isolateLruPage(c: PageCompat, head: Pfn): boolean {
  const f = leavingRecord(c, 'lru', FN.isolate_lru_page, head);
  if (!TestClearPageLRU(c, head)) return false;
  compoundHead(c, FN.get_page, head);
  // Which list it is on: the kind, then active or not.
  if (!PageUnevictable(c, head)) {
    PageSwapBacked(c, head);
    PageActive(c, head);
  }
  folioSet(c.m.map, f, PG.PG_lru);
  return folioIsolateLru(c.m, f);
}
/** @kernel mm/vmscan.c putback_lru_page (5.15) */
export function putbackLruPage(c: PageCompat, head: Pfn): void {
  lruCacheAdd(c, head);
  putPage(c, head);
}

/** A new page of a file: locked, with a reference, on its way to the LRU. 0 or an error. @kernel mm/filemap.c add_to_page_cache_lru (5.15) */
export function addToPageCacheLru(c: PageCompat, head: Pfn, mapping: MappingId, index: number, gfp: number): number {
  leavingRecord(c, 'mapping', FN.add_to_page_cache_lru, head);
  SetPageLocked(c, head);
  PageHuge(c, head);
  compoundHead(c, FN.get_page, head);
  compoundHead(c, FN.mod_lruvec_page_state, head);
  PageActive(c, head);
  compoundHead(c, FN.get_page, head);
  const err = filemapAddFolio(c.m, mapping, recordOf(c, head), index, gfp);
  if (err !== 0) folioClear(c.m.map, recordOf(c, head), PG.PG_locked);
  return err;
}
/** Takes a locked, clean page out of its file. @kernel mm/filemap.c delete_from_page_cache (5.15) */
export function deleteFromPageCache(c: PageCompat, head: Pfn): void {
  pageMapping(c, head);
  PageLocked(c, head);
  PageUptodate(c, head);
  PageHuge(c, head);
  compoundHead(c, FN.mod_lruvec_page_state, head);
  PageSwapBacked(c, head);
  PageDirty(c, head);
  PageHuge(c, head);
  const f = leavingRecord(c, 'mapping', FN.delete_from_page_cache, head);
  if (!PageCompound(c, head)) compoundHead(c, FN.put_page, head);
  filemapRemoveFolio(c.m, f, -1, 0);
}
/** The page at an offset of a file; 0: none is cached. The entry is a head, cast to a page. @kernel mm/filemap.c find_get_page (5.15) */
export function findGetPage(c: PageCompat, mapping: MappingId, index: number): Pfn {
  const { m } = c;
  const f = filemapGetFolio(m, mapping, index);
  if (f === NO_FOLIO) return 0 as Pfn;
  const head = folioPfn(m.map, f);
  leavingRecord(c, 'cast to page', FN.find_get_page, head);
  folioRefAdd(m.map, f, 1);
  return (head + (index & (folioNrPages(m.map, f) - 1))) as Pfn;
}
/** `(struct folio *)page`, of a head: right only where folios overlay pages. */
export const castToFolio = (c: PageCompat, head: Pfn): FolioId =>
  leavingRecord(c, 'cast to folio', FN.page_folio_cast, head);
/** `&folio->page`: the same the other way. */
export function castToPage(c: PageCompat, f: FolioId): Pfn {
  const head = folioPfn(c.m.map, f);
  leavingRecord(c, 'cast to page', FN.folio_page_cast, head);
  return head;
}

/** Is the file's dirty and written memory accounted? @kernel include/linux/backing-dev.h mapping_can_writeback (5.15) */
const mappingCanWriteback = (c: PageCompat, mapping: MappingId): boolean =>
  mapping !== 0 && ((c.m.spaces.flags[mapping] as number) & AS_SWAPBACKED) === 0;

/** All of a page is dirty; false when it was. @kernel mm/page-writeback.c set_page_dirty (5.15) */
export function setPageDirty(c: PageCompat, pfn: Pfn): boolean {
  const mapping = pageMapping(c, pfn);
  const head = compoundHead(c, FN.set_page_dirty, pfn);
  if (mapping === 0) return !PageDirty(c, head) && !TestSetPageDirty(c, head);
  if (PageReclaim(c, head)) ClearPageReclaim(c, head);
  return setPageDirtyNobuffers(c, head);
}
/** The same by a file system without buffers. @kernel mm/page-writeback.c __set_page_dirty_nobuffers (5.15) */
export function setPageDirtyNobuffers(c: PageCompat, pfn: Pfn): boolean {
  const { m } = c;
  leavingRecord(c, 'mapping', FN.__set_page_dirty_nobuffers, pfn);
  lockPageMemcg(c, pfn);
  if (TestSetPageDirty(c, pfn)) {
    unlockPageMemcg(c, pfn);
    return false;
  }
  const mapping = pageMapping(c, pfn);
  if (mappingCanWriteback(c, mapping)) {
    if (!PagePrivate(c, pfn)) PageUptodate(c, pfn);
    modLruvecPageState(c, pfn, V.nr_dirty, 1);
    m.vmstat[V.nr_dirtied] += folioNrPages(m.map, recordOf(c, pfn));
    xaSetMark(m.pages, m.spaces.head[mapping], pageIndex(c, pfn), XA_MARK_DIRTY);
    if (m.spaces.dirtiedWhen[mapping] === 0) m.spaces.dirtiedWhen[mapping] = Math.max(m.now, 1);
  }
  unlockPageMemcg(c, pfn);
  return true;
}
/** Write-back of a page begins; false when it was under way. @kernel mm/page-writeback.c __test_set_page_writeback (5.15) */
export function setPageWriteback(c: PageCompat, head: Pfn): boolean {
  const { m } = c;
  const mapping = pageMapping(c, head);
  lockPageMemcg(c, head);
  const space = m.spaces.head[mapping];
  const index = pageIndex(c, head);
  const was = TestSetPageWriteback(c, head);
  if (!was) xaSetMark(m.pages, space, index, XA_MARK_WRITEBACK);
  if (!PageDirty(c, head)) xaClearMark(m.pages, space, index, XA_MARK_DIRTY);
  xaClearMark(m.pages, space, index, XA_MARK_TOWRITE);
  if (!was) modLruvecPageState(c, head, V.nr_writeback, 1);
  unlockPageMemcg(c, head);
  return !was;
}
/** @kernel mm/page-writeback.c test_clear_page_writeback (5.15) */
function testClearPageWriteback(c: PageCompat, head: Pfn): void {
  const { m } = c;
  const mapping = pageMapping(c, head);
  lockPageMemcg(c, head);
  if (TestClearPageWriteback(c, head)) {
    if (mapping !== 0) xaClearMark(m.pages, m.spaces.head[mapping], pageIndex(c, head), XA_MARK_WRITEBACK);
    modLruvecPageState(c, head, V.nr_writeback, -1);
    m.vmstat[V.nr_written] += folioNrPages(m.map, recordOf(c, head));
  }
  unlockPageMemcg(c, head);
}
/** Write-back of a page has ended. @kernel mm/filemap.c end_page_writeback (5.15) */
export function endPageWriteback(c: PageCompat, head: Pfn): void {
  if (PageReclaim(c, head)) {
    ClearPageReclaim(c, head);
    rotateReclaimablePage(c, head);
  }
  getPage(c, head);
  try {
    testClearPageWriteback(c, head);
  } finally {
    putPage(c, head);
  }
}
/** @kernel mm/swap.c rotate_reclaimable_page (5.15) */
export function rotateReclaimablePage(c: PageCompat, head: Pfn): void {
  if (PageLocked(c, head) || PageDirty(c, head) || PageUnevictable(c, head) || !PageLRU(c, head)) return;
  compoundHead(c, FN.get_page, head);
  folioRotateReclaimable(c.m, recordOf(c, head));
}

/**
 * Moves a page that is off the LRU from one group to another; false when it is locked or not of the first group. The statistics
 * of each kind that follow the page are asked for one by one; a group here has its pages alone. The limit is the caller's.
 * @kernel mm/memcontrol.c mem_cgroup_move_account (5.15)
 */
export function memCgroupMoveAccount(c: PageCompat, head: Pfn, from: MemcgId, to: MemcgId): boolean {
  const { m } = c;
  if (!trylockPage(c, head)) return false;
  try {
    const f = recordOf(c, head);
    if (folioMemcg(m.map, f) !== from) return false;
    const nr = folioNrPages(m.map, f);
    lockPageMemcg(c, head);
    if (PageAnon(c, head)) pageMapped(c, head);
    else {
      PageSwapBacked(c, head);
      pageMapped(c, head);
      if (PageDirty(c, head)) pageMapping(c, head);
    }
    PageWriteback(c, head);
    moveCharge(c, from, to, nr);
    folioSetMemcg(m.map, f, to);
    return true;
  } finally {
    unlockPage(c, head);
  }
}
function moveCharge(c: PageCompat, from: MemcgId, to: MemcgId, nr: number): void {
  const t = c.m.memcgs;
  if (from !== 0) {
    t.usage[from] -= nr;
    t.pages[from] -= nr;
    t.pgpgout[from] += 1;
  }
  if (to === 0) return;
  t.usage[to] += nr;
  t.pages[to] += nr;
  t.pgpgin[to] += 1;
  if (t.usage[to] > t.watermark[to]) t.watermark[to] = t.usage[to];
}
/** The folio way: one look, for a caller that has a page. @kernel mm/memcontrol.c mem_cgroup_move_account (5.16) */
export function memCgroupMoveFolio(c: PageCompat, f: FolioId, from: MemcgId, to: MemcgId): boolean {
  const { map } = c.m;
  if (folioTest(map, f, PG.PG_locked) || folioMemcg(map, f) !== from) return false;
  moveCharge(c, from, to, folioNrPages(map, f));
  folioSetMemcg(map, f, to);
  return true;
}
