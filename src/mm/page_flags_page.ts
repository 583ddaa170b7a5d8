/**
 * The page way of Linux 5.15, first part: flags by page. A function that is given a page cannot know whether it is a tail, so it
 * looks for the head first; each such look is a call of compound_head, hidden in a macro. Here each is really made, and counted
 * for the function that makes it. Functions that 5.15 has only for heads (SetPageUptodate) or that look at the page itself
 * (PagePrivate, PageReadahead) make none. Checks of debug kernels are not here.
 *
 * Where folios lie apart from pages, the head's flags and counts are reached through page_folio. With `separateFolio`, a field that
 * has left struct page is an error (LeavingFieldError).
 */
import { QuireError } from '../base/errors.ts';
import type { FolioId, Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioClear, folioPfn, folioSet, folioTest, folioTestAnon, pageFolio } from './mm_types.ts';
import { PG, PG_readahead, PG_swapcache, PGTY } from './page_flags.ts';
import { pageHead, pageType } from './page_type.ts';

/** Functions of the page way, and what stands in their place. */
export const pageFunctions = {
  PageActive: 'folio_test_active',
  PageAnon: 'folio_test_anon',
  PageDirty: 'folio_test_dirty',
  PageHuge: 'folio_test_hugetlb',
  PageLRU: 'folio_test_lru',
  PageLocked: 'folio_test_locked',
  PagePrivate: 'folio_test_private',
  PageReadahead: 'folio_test_readahead',
  PageReclaim: 'folio_test_reclaim',
  PageReferenced: 'folio_test_referenced',
  PageSlab: 'folio_test_slab',
  PageSwapBacked: 'folio_test_swapbacked',
  PageSwapCache: 'folio_test_swapcache',
  PageUnevictable: 'folio_test_unevictable',
  PageUptodate: 'folio_test_uptodate',
  PageWriteback: 'folio_test_writeback',
  SetPageActive: 'folio_set_active',
  SetPageDirty: 'folio_set_dirty',
  SetPageReferenced: 'folio_set_referenced',
  SetPageUptodate: 'folio_mark_uptodate',
  ClearPageReclaim: 'folio_clear_reclaim',
  ClearPageReferenced: 'folio_clear_referenced',
  ClearPageUptodate: 'folio_clear_uptodate',
  TestSetPageDirty: 'folio_test_set_dirty',
  TestSetPageWriteback: 'folio_test_set_writeback',
  TestClearPageLRU: 'folio_test_clear_lru',
  TestClearPageWriteback: 'folio_test_clear_writeback',
  __SetPageLocked: '__folio_set_locked',
  activate_page: 'folio_activate',
  add_to_page_cache_lru: 'filemap_add_folio',
  attach_page_private: 'folio_attach_private',
  delete_from_page_cache: 'filemap_remove_folio',
  detach_page_private: 'folio_detach_private',
  end_page_writeback: 'folio_end_writeback',
  find_get_page: 'filemap_get_folio',
  folio_page_cast: 'folio_page',
  get_page: 'folio_get',
  isolate_lru_page: 'folio_isolate_lru',
  lock_page: 'folio_lock',
  lock_page_memcg: 'folio_memcg_lock',
  lru_cache_add: 'folio_add_lru',
  mark_page_accessed: 'folio_mark_accessed',
  mem_cgroup_move_account: 'mem_cgroup_move_account',
  mod_lruvec_page_state: 'lruvec_stat_mod_folio',
  page_folio_cast: 'page_folio',
  page_index: 'folio->index',
  page_mapped: 'folio_mapped',
  page_mapping: 'folio_mapping',
  page_offset: 'folio_pos',
  page_private: 'folio->private',
  page_to_index: 'folio->index',
  put_page: 'folio_put',
  putback_lru_page: 'folio_putback_lru',
  rotate_reclaimable_page: 'folio_rotate_reclaimable',
  set_page_dirty: 'folio_mark_dirty',
  __set_page_dirty_nobuffers: 'filemap_dirty_folio',
  set_page_writeback: 'folio_start_writeback',
  test_clear_page_writeback: '__folio_end_writeback',
  trylock_page: 'folio_trylock',
  unlock_page: 'folio_unlock',
  unlock_page_memcg: 'folio_memcg_unlock',
} as const;
export type PageFunction = keyof typeof pageFunctions;
export const pageFunctionNames = Object.keys(pageFunctions) as PageFunction[];
/** Row of each function in PageCompat.calls. */
export const FN = Object.freeze(Object.fromEntries(pageFunctionNames.map((name, i) => [name, i]))) as Readonly<
  Record<PageFunction, number>
>;

/** What leaves struct page, and what replaces its use. */
export const leaving = {
  mapping: 'folio->mapping',
  index: 'folio->index',
  lru: 'folio->lru',
  private: 'folio->private',
  'cast to folio': 'page_folio(page)',
  'cast to page': 'folio_page(folio, n)',
} as const;
export type LeavingField = keyof typeof leaving;

/** A page function has used what struct page does not have any more. */
export class LeavingFieldError extends QuireError {
  readonly field: LeavingField;
  readonly caller: PageFunction;
  readonly replacement: string;
  constructor(field: LeavingField, caller: PageFunction) {
    const what = field.startsWith('cast') ? `a ${field}` : `page->${field}`;
    const by = pageFunctions[caller];
    super(
      'EOPNOTSUPP',
      `${caller}: ${what} is not there where folios are separate: use ${leaving[field]}` +
        (leaving[field].startsWith(by) || by === caller ? '' : ` (in place of ${caller}: ${by})`),
    );
    this.field = field;
    this.caller = caller;
    this.replacement = leaving[field];
  }
}

/** A machine seen by page. */
export interface PageCompat {
  readonly m: Machine;
  /** Fields that leave struct page have left. */
  readonly separateFolio: boolean;
  /** Calls of compound_head by the function that makes them (FN). */
  readonly calls: Float64Array;
  /** Calls of page_folio. */
  folioCalls: number;
}
export function pageCompat(m: Machine, separateFolio: boolean = false): PageCompat {
  if (separateFolio && m.map.overlaid)
    throw new QuireError(
      'EINVAL',
      `separate folios: not on ${m.map.layout}, where folios overlay pages: expected page32 or memdesc8`,
    );
  if (m.lruGen !== null)
    throw new QuireError('EINVAL', 'page functions: 5.15 has no generations: expected the classic LRU');
  return { m, separateFolio, calls: new Float64Array(pageFunctionNames.length), folioCalls: 0 };
}
/** Calls of compound_head so far. */
export const compoundHeadCalls = (c: PageCompat): number => c.calls.reduce((sum, n) => sum + n, 0);

/** The first page of a compound page; of any other page, itself. Counted for `caller`. @kernel include/linux/page-flags.h compound_head (5.15) */
export function compoundHead(c: PageCompat, caller: number, pfn: Pfn): Pfn {
  c.calls[caller] = (c.calls[caller] as number) + 1;
  const { map } = c.m;
  return map.overlaid ? folioPfn(map, pageFolio(map, pfn)) : pageHead(map, pfn);
}
/** The one call of the folio way, counted. @kernel include/linux/page-flags.h page_folio (5.16) */
export function pageFolioCounted(c: PageCompat, pfn: Pfn): FolioId {
  c.folioCalls++;
  return pageFolio(c.m.map, pfn);
}
/** The record that a head's flags and counts lie in. Where folios overlay pages that is the head's own, and no look is needed. */
export function recordOf(c: PageCompat, head: Pfn): FolioId {
  const { map } = c.m;
  return map.overlaid ? ((head << 2) as FolioId) : pageFolio(map, head);
}
/** The same for a field that leaves struct page. */
export function leavingRecord(c: PageCompat, field: LeavingField, caller: number, page: Pfn): FolioId {
  if (c.separateFolio) throw new LeavingFieldError(field, pageFunctionNames[caller] as PageFunction);
  return recordOf(c, page);
}

function test(c: PageCompat, caller: number, pfn: Pfn, flag: number): boolean {
  return folioTest(c.m.map, recordOf(c, compoundHead(c, caller, pfn)), flag);
}
function set(c: PageCompat, caller: number, pfn: Pfn, flag: number): void {
  folioSet(c.m.map, recordOf(c, compoundHead(c, caller, pfn)), flag);
}
function clear(c: PageCompat, caller: number, pfn: Pfn, flag: number): void {
  folioClear(c.m.map, recordOf(c, compoundHead(c, caller, pfn)), flag);
}
function testSet(c: PageCompat, caller: number, pfn: Pfn, flag: number): boolean {
  const f = recordOf(c, compoundHead(c, caller, pfn));
  const was = folioTest(c.m.map, f, flag);
  folioSet(c.m.map, f, flag);
  return was;
}
function testClear(c: PageCompat, caller: number, pfn: Pfn, flag: number): boolean {
  const f = recordOf(c, compoundHead(c, caller, pfn));
  const was = folioTest(c.m.map, f, flag);
  folioClear(c.m.map, f, flag);
  return was;
}

// Of all of these: @kernel include/linux/page-flags.h PF_HEAD (5.15), PF_NO_TAIL (5.15)
export const PageActive = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageActive, p, PG.PG_active);
export const PageDirty = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageDirty, p, PG.PG_dirty);
export const PageLRU = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageLRU, p, PG.PG_lru);
export const PageLocked = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageLocked, p, PG.PG_locked);
export const PageReclaim = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageReclaim, p, PG.PG_reclaim);
export const PageReferenced = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageReferenced, p, PG.PG_referenced);
export const PageSwapBacked = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageSwapBacked, p, PG.PG_swapbacked);
export const PageUnevictable = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageUnevictable, p, PG.PG_unevictable);
export const PageUptodate = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageUptodate, p, PG.PG_uptodate);
export const PageWriteback = (c: PageCompat, p: Pfn): boolean => test(c, FN.PageWriteback, p, PG.PG_writeback);
export const SetPageActive = (c: PageCompat, p: Pfn): void => set(c, FN.SetPageActive, p, PG.PG_active);
export const SetPageDirty = (c: PageCompat, p: Pfn): void => set(c, FN.SetPageDirty, p, PG.PG_dirty);
export const SetPageReferenced = (c: PageCompat, p: Pfn): void => set(c, FN.SetPageReferenced, p, PG.PG_referenced);
export const SetPageLocked = (c: PageCompat, p: Pfn): void => set(c, FN.__SetPageLocked, p, PG.PG_locked);
export const ClearPageReclaim = (c: PageCompat, p: Pfn): void => clear(c, FN.ClearPageReclaim, p, PG.PG_reclaim);
export const ClearPageReferenced = (c: PageCompat, p: Pfn): void =>
  clear(c, FN.ClearPageReferenced, p, PG.PG_referenced);
export const ClearPageUptodate = (c: PageCompat, p: Pfn): void => clear(c, FN.ClearPageUptodate, p, PG.PG_uptodate);
export const TestSetPageDirty = (c: PageCompat, p: Pfn): boolean => testSet(c, FN.TestSetPageDirty, p, PG.PG_dirty);
export const TestSetPageWriteback = (c: PageCompat, p: Pfn): boolean =>
  testSet(c, FN.TestSetPageWriteback, p, PG.PG_writeback);
export const TestClearPageLRU = (c: PageCompat, p: Pfn): boolean => testClear(c, FN.TestClearPageLRU, p, PG.PG_lru);
export const TestClearPageWriteback = (c: PageCompat, p: Pfn): boolean =>
  testClear(c, FN.TestClearPageWriteback, p, PG.PG_writeback);

/** Of heads only: no look. @kernel include/linux/page-flags.h SetPageUptodate (5.15) */
export const SetPageUptodate = (c: PageCompat, head: Pfn): void => folioSet(c.m.map, recordOf(c, head), PG.PG_uptodate);
/** Of the page itself: no look. @kernel include/linux/page-flags.h PagePrivate (5.15) */
export const PagePrivate = (c: PageCompat, p: Pfn): boolean => folioTest(c.m.map, recordOf(c, p), PG.PG_private);
/** Of pages that are not compound: no look. @kernel include/linux/page-flags.h PageReadahead (5.15) */
export const PageReadahead = (c: PageCompat, p: Pfn): boolean => folioTest(c.m.map, recordOf(c, p), PG_readahead);

/** Looks at the pointer itself, whatever the type says. @kernel include/linux/page-flags.h PageAnon (5.15) */
export function PageAnon(c: PageCompat, pfn: Pfn): boolean {
  const head = compoundHead(c, FN.PageAnon, pfn);
  return folioTestAnon(c.m.map, leavingRecord(c, 'mapping', FN.PageAnon, head));
}
/** A flag in 5.15, a type of page since. @kernel include/linux/page-flags.h PageSlab (5.15) */
export const PageSlab = (c: PageCompat, pfn: Pfn): boolean =>
  pageType(c.m.map, compoundHead(c, FN.PageSlab, pfn)) === PGTY.PGTY_slab;
/** Two looks: its own, and that of PageSwapBacked. @kernel include/linux/page-flags.h PageSwapCache (5.15) */
export function PageSwapCache(c: PageCompat, pfn: Pfn): boolean {
  const head = compoundHead(c, FN.PageSwapCache, pfn);
  return PageSwapBacked(c, head) && folioTest(c.m.map, recordOf(c, head), PG_swapcache);
}
/** Does the page itself belong to a compound page? No look. @kernel include/linux/page-flags.h PageCompound (5.15) */
export function PageCompound(c: PageCompat, pfn: Pfn): boolean {
  const { map } = c.m;
  return folioTest(map, pageFolio(map, pfn), PG.PG_head);
}
/** Looks only where the page is compound. @kernel mm/hugetlb.c PageHuge (5.15) */
export const PageHuge = (c: PageCompat, pfn: Pfn): boolean =>
  PageCompound(c, pfn) && pageType(c.m.map, compoundHead(c, FN.PageHuge, pfn)) === PGTY.PGTY_hugetlb;
