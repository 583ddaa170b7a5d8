/**
 * Operations in both ways, each ready to run on a page of a small machine: how often does it look for a head? The page way starts
 * from a page and looks as 5.15 does; the folio way starts from the same page, looks once (page_folio), and has the folio.
 */
import type { AddressSpaceOperations } from './address_space.ts';
import {
  filemapAddFolio,
  filemapRemoveFolio,
  folioEndWriteback,
  folioStartWriteback,
  folioUnlock,
  MAPPING_GFP,
} from './filemap.ts';
import type { FolioId, MappingId, MemcgId, Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { EXACT_RULES, memcgCreate, memcgsInit } from './memcontrol.ts';
import type { LayoutName } from './memmap.ts';
import { inodeInit, machine } from './mm_init.ts';
import {
  folioAttachPrivate,
  folioClear,
  folioDetachPrivate,
  folioIndex,
  folioMapping,
  folioPfn,
  folioPrivate,
  folioRefAdd,
  folioSet,
  folioSetCount,
  folioSetMemcg,
  folioTest,
  folioTestAnon,
} from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import * as page from './page_compat.ts';
import { PG } from './page_flags.ts';
import * as flags from './page_flags_page.ts';
import { type PageCompat, pageFolioCounted } from './page_flags_page.ts';
import { filemapDirtyFolio } from './page_writeback.ts';
import { release } from './release.ts';
import { folioMapped } from './rmap.ts';
import { folioActivate, folioAddLru, folioIsolateLru, folioMarkAccessed, folioPut, lruAddDrain } from './swap.ts';

/** A machine with a file and two groups, to try operations on. */
export interface Bench {
  readonly c: PageCompat;
  readonly file: MappingId;
  readonly from: MemcgId;
  readonly to: MemcgId;
  /** Where the next page of the file goes. */
  next: number;
}
export function benchInit(memmap: LayoutName, separateFolio: boolean = false): Bench {
  const m = machine({
    ...{ release: release('6.18'), pageSize: 4096, memory: 2 ** 26, thp: true, swappiness: 60, memmap },
    ...{ dirtyRatio: 20, dirtyBackgroundRatio: 10 },
  });
  Object.assign(m, { memcgs: memcgsInit(EXACT_RULES) });
  const ops = {
    name: 'none',
    inodeInit: () => {},
    dirtyFolio: filemapDirtyFolio,
    releaseFolio: () => true,
  } as unknown as AddressSpaceOperations;
  const file = inodeInit(m, { ops, size: 2 ** 40, minOrder: 0, maxOrder: 9, blkbits: 12, raPages: 0, ioPages: 0 });
  const from = memcgCreate(m, 2 ** 20);
  const to = memcgCreate(m, 2 ** 20);
  m.currentMemcg = from;
  return { c: flags.pageCompat(m, separateFolio), file, from, to, next: 0 };
}
/** Places are far enough apart for any folio. */
function nextPlace(b: Bench): number {
  b.next += 512;
  return b.next;
}
/** A folio, on no list and in no file, with one reference. */
export const newFolio = (b: Bench, order: number): FolioId => folioAlloc(b.c.m, MAPPING_GFP, order);
/** A folio of the file as a read leaves it: uptodate, unlocked, on the LRU, with the references of the cache alone. */
export function cachedFolio(b: Bench, order: number): FolioId {
  const { m } = b.c;
  const f = newFolio(b, order);
  filemapAddFolio(m, b.file, f, nextPlace(b), MAPPING_GFP);
  folioSet(m.map, f, PG.PG_uptodate);
  folioUnlock(m, f);
  folioPut(m, f);
  lruAddDrain(m);
  return f;
}

export interface Operation {
  readonly name: string;
  /** What the folio way calls it. */
  readonly folioName: string;
  /** Runs on a folio that is in no file. */
  readonly outside?: true;
  /** Makes a folio of the file ready, before the first run; and before each run, where there are many. */
  readonly ready?: (b: Bench, f: FolioId) => void;
  /** Can be run again and again after `ready`. */
  readonly repeats: boolean;
  readonly page: (b: Bench, head: Pfn) => unknown;
  readonly folio: (b: Bench, f: FolioId) => unknown;
}

const map = (b: Bench): Machine['map'] => b.c.m.map;
const clean = (b: Bench, f: FolioId): void => folioClear(map(b), f, PG.PG_dirty | PG.PG_writeback | PG.PG_locked);
const dirty = (b: Bench, f: FolioId): void => {
  clean(b, f);
  folioSet(map(b), f, PG.PG_dirty);
};
const inFrom =
  (state: (b: Bench, f: FolioId) => void) =>
  (b: Bench, f: FolioId): void => {
    state(b, f);
    folioSetMemcg(map(b), f, b.from);
  };
const flag = (name: string, folioName: string, word: number, run: (c: PageCompat, p: Pfn) => unknown): Operation => ({
  ...{ name, folioName, repeats: true },
  page: (b, p) => run(b.c, p),
  folio: (b, f) => folioTest(map(b), f, word),
});

/** In the order of a page's life. */
export const operations: readonly Operation[] = [
  {
    ...{ name: 'add_to_page_cache_lru', folioName: 'filemap_add_folio', outside: true, repeats: false },
    page: (b, p) => page.addToPageCacheLru(b.c, p, b.file, nextPlace(b), MAPPING_GFP),
    folio: (b, f) => filemapAddFolio(b.c.m, b.file, f, nextPlace(b), MAPPING_GFP),
  },
  {
    ...{ name: 'lru_cache_add', folioName: 'folio_add_lru', outside: true, repeats: false },
    page: (b, p) => page.lruCacheAdd(b.c, p),
    folio: (b, f) => folioAddLru(b.c.m, f),
  },
  {
    ...{ name: 'SetPageUptodate', folioName: 'folio_mark_uptodate', repeats: true },
    page: (b, p) => flags.SetPageUptodate(b.c, p),
    folio: (b, f) => folioSet(map(b), f, PG.PG_uptodate),
  },
  {
    ...{ name: 'get_page', folioName: 'folio_get', repeats: true, ready: (b, f) => folioSetCount(map(b), f, 16) },
    page: (b, p) => page.getPage(b.c, p),
    folio: (b, f) => folioRefAdd(map(b), f, 1),
  },
  {
    ...{ name: 'put_page', folioName: 'folio_put', repeats: true, ready: (b, f) => folioSetCount(map(b), f, 17) },
    page: (b, p) => page.putPage(b.c, p),
    folio: (b, f) => folioPut(b.c.m, f),
  },
  {
    ...{ name: 'trylock_page', folioName: 'folio_trylock', repeats: true, ready: clean },
    page: (b, p) => page.trylockPage(b.c, p),
    folio: (b, f) => !folioTest(map(b), f, PG.PG_locked) && folioSet(map(b), f, PG.PG_locked),
  },
  {
    ...{ name: 'unlock_page', folioName: 'folio_unlock', repeats: true },
    page: (b, p) => page.unlockPage(b.c, p),
    folio: (b, f) => folioUnlock(b.c.m, f),
  },
  flag('PageReadahead', 'folio_test_readahead', PG.PG_reclaim, flags.PageReadahead),
  flag('PageUptodate', 'folio_test_uptodate', PG.PG_uptodate, flags.PageUptodate),
  flag('PageDirty', 'folio_test_dirty', PG.PG_dirty, flags.PageDirty),
  flag('PageSwapCache', 'folio_test_swapcache', PG.PG_owner_priv_1, flags.PageSwapCache),
  {
    ...{ name: 'PageAnon', folioName: 'folio_test_anon', repeats: true },
    page: (b, p) => flags.PageAnon(b.c, p),
    folio: (b, f) => folioTestAnon(map(b), f),
  },
  {
    ...{ name: 'page_mapping', folioName: 'folio_mapping', repeats: true },
    page: (b, p) => page.pageMapping(b.c, p),
    folio: (b, f) => folioMapping(map(b), f),
  },
  {
    ...{ name: 'page_index', folioName: 'folio->index', repeats: true },
    page: (b, p) => page.pageIndex(b.c, p),
    folio: (b, f) => folioIndex(map(b), f),
  },
  {
    ...{ name: 'page_to_index', folioName: 'folio->index', repeats: true },
    page: (b, p) => page.pageToIndex(b.c, p),
    folio: (b, f) => folioIndex(map(b), f),
  },
  {
    ...{ name: 'page_private', folioName: 'folio->private', repeats: true },
    page: (b, p) => page.pagePrivate(b.c, p),
    folio: (b, f) => folioPrivate(map(b), f),
  },
  {
    ...{ name: 'attach_page_private', folioName: 'folio_attach_private', repeats: false },
    page: (b, p) => page.attachPagePrivate(b.c, p, 1),
    folio: (b, f) => folioAttachPrivate(map(b), f, 1),
  },
  {
    ...{ name: 'detach_page_private', folioName: 'folio_detach_private', repeats: false },
    ready: (b, f) => folioAttachPrivate(map(b), f, 1),
    page: (b, p) => page.detachPagePrivate(b.c, p),
    folio: (b, f) => folioDetachPrivate(map(b), f),
  },
  {
    ...{ name: 'page_mapped', folioName: 'folio_mapped', repeats: true },
    page: (b, p) => page.pageMapped(b.c, p),
    folio: (b, f) => folioMapped(b.c.m, f),
  },
  {
    ...{ name: 'mark_page_accessed, first', folioName: 'folio_mark_accessed', repeats: true },
    ready: (b, f) => folioClear(map(b), f, PG.PG_referenced),
    page: (b, p) => page.markPageAccessed(b.c, p),
    folio: (b, f) => folioMarkAccessed(b.c.m, f),
  },
  {
    ...{ name: 'mark_page_accessed, second', folioName: 'folio_mark_accessed', repeats: false },
    ready: (b, f) => folioSet(map(b), f, PG.PG_referenced),
    page: (b, p) => page.markPageAccessed(b.c, p),
    folio: (b, f) => folioMarkAccessed(b.c.m, f),
  },
  {
    ...{ name: 'activate_page', folioName: 'folio_activate', repeats: false },
    page: (b, p) => page.activatePage(b.c, p),
    folio: (b, f) => folioActivate(b.c.m, f),
  },
  {
    ...{ name: 'isolate_lru_page', folioName: 'folio_isolate_lru', repeats: false },
    page: (b, p) => page.isolateLruPage(b.c, p),
    folio: (b, f) => folioIsolateLru(b.c.m, f),
  },
  {
    ...{ name: 'putback_lru_page', folioName: 'folio_putback_lru', repeats: false },
    ready: (b, f) => folioIsolateLru(b.c.m, f),
    page: (b, p) => page.putbackLruPage(b.c, p),
    folio: (b, f) => {
      folioAddLru(b.c.m, f);
      folioPut(b.c.m, f);
    },
  },
  {
    ...{ name: 'set_page_dirty', folioName: 'folio_mark_dirty', repeats: true, ready: clean },
    page: (b, p) => page.setPageDirty(b.c, p),
    folio: (b, f) => filemapDirtyFolio(b.c.m, b.file, f),
  },
  {
    ...{ name: 'set_page_writeback', folioName: 'folio_start_writeback', repeats: true, ready: clean },
    page: (b, p) => page.setPageWriteback(b.c, p),
    folio: (b, f) => folioStartWriteback(b.c.m, f, false),
  },
  {
    ...{ name: 'end_page_writeback', folioName: 'folio_end_writeback', repeats: true },
    ready: (b, f) => folioSet(map(b), f, PG.PG_writeback),
    page: (b, p) => page.endPageWriteback(b.c, p),
    folio: (b, f) => folioEndWriteback(b.c.m, f),
  },
  {
    ...{ name: 'mem_cgroup_move_account, clean', folioName: 'mem_cgroup_move_account', repeats: true },
    ready: inFrom(clean),
    page: (b, p) => page.memCgroupMoveAccount(b.c, p, b.from, b.to),
    folio: (b, f) => page.memCgroupMoveFolio(b.c, f, b.from, b.to),
  },
  {
    ...{ name: 'mem_cgroup_move_account, dirty', folioName: 'mem_cgroup_move_account', repeats: true },
    ready: inFrom(dirty),
    page: (b, p) => page.memCgroupMoveAccount(b.c, p, b.from, b.to),
    folio: (b, f) => page.memCgroupMoveFolio(b.c, f, b.from, b.to),
  },
  {
    ...{ name: 'delete_from_page_cache', folioName: 'filemap_remove_folio', repeats: false },
    ready: (b, f) => {
      folioRefAdd(map(b), f, 1);
      folioSet(map(b), f, PG.PG_locked);
    },
    page: (b, p) => page.deleteFromPageCache(b.c, p),
    folio: (b, f) => filemapRemoveFolio(b.c.m, f, -1, 0),
  },
  {
    ...{ name: 'find_get_page', folioName: 'filemap_get_folio', repeats: false },
    page: (b) => page.findGetPage(b.c, b.file, b.next),
    folio: (b, f) => folioRefAdd(map(b), f, 1),
  },
  {
    ...{ name: '(struct folio *)page', folioName: 'page_folio', repeats: false },
    page: (b, p) => page.castToFolio(b.c, p),
    folio: (_b, f) => f,
  },
];

/** Runs an operation once, in the page way, on a fresh folio. Calls of compound_head, by function. */
export function runPageWay(b: Bench, o: Operation, order: number): Float64Array {
  const f = o.outside === true ? newFolio(b, order) : cachedFolio(b, order);
  o.ready?.(b, f);
  const pfn = folioPfn(map(b), f);
  b.c.calls.fill(0);
  o.page(b, pfn);
  return b.c.calls.slice();
}
/** The same in the folio way: calls of page_folio and of compound_head. */
export function runFolioWay(b: Bench, o: Operation, order: number): number {
  const f = o.outside === true ? newFolio(b, order) : cachedFolio(b, order);
  o.ready?.(b, f);
  const pfn = folioPfn(map(b), f);
  b.c.calls.fill(0);
  b.c.folioCalls = 0;
  o.folio(b, pageFolioCounted(b.c, pfn));
  return b.c.folioCalls + flags.compoundHeadCalls(b.c);
}
