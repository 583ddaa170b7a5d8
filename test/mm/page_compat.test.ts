/** The page way beside the folio way: the looks for the head, the same effect, and what a build with separate folios refuses. */
import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { pageApi } from '../../src/lab/survey_words.ts';
import { layoutNames } from '../../src/mm/layouts.ts';
import { folioFlags, folioMemcg, folioPfn, folioRefCount } from '../../src/mm/mm_types.ts';
import * as page from '../../src/mm/page_compat.ts';
import {
  compoundHead,
  compoundHeadCalls,
  FN,
  LeavingFieldError,
  PageUptodate,
  pageCompat,
  pageFunctionNames,
  pageFunctions,
} from '../../src/mm/page_flags_page.ts';
import {
  benchInit,
  cachedFolio,
  newFolio,
  type Operation,
  operations,
  runFolioWay,
  runPageWay,
} from '../../src/mm/page_operations.ts';

const sum = (calls: Float64Array): number => calls.reduce((n, x) => n + x, 0);
const operation = (name: string): Operation => operations.find((o) => o.name === name) as Operation;

describe('looks for the head', () => {
  test.each(layoutNames)('%s: as 5.15 makes them, of a page and of a large one', (layout) => {
    const counted = (name: string): number[] =>
      [0, 4].map((order) => sum(runPageWay(benchInit(layout), operation(name), order)));
    expect(counted('SetPageUptodate')).toEqual([0, 0]);
    expect(counted('get_page')).toEqual([1, 1]);
    expect(counted('page_mapped')).toEqual([0, 1]);
    expect(counted('page_to_index')).toEqual([0, 1]);
    expect(counted('page_mapping')).toEqual([4, 4]);
    expect(counted('mark_page_accessed, first')).toEqual([3, 3]);
    expect(counted('mem_cgroup_move_account, clean')).toEqual([7, 8]);
    expect(counted('mem_cgroup_move_account, dirty')).toEqual([11, 12]);
  });

  test('a move looks up to seven times between taking the page lock and giving it back', () => {
    const calls = runPageWay(benchInit('page64'), operation('mem_cgroup_move_account, dirty'), 4);
    const made = pageFunctionNames.filter((_, i) => (calls[i] as number) > 0);
    const nested = ['PageSlab', 'PageSwapCache'];
    const between = made.filter((name) => !['trylock_page', 'unlock_page', ...nested].includes(name));
    expect(between.sort()).toEqual([
      ...['PageAnon', 'PageDirty', 'PageSwapBacked', 'PageWriteback'],
      ...['lock_page_memcg', 'page_mapped', 'page_mapping'],
    ]);
  });

  test.each(operations)('$name: the folio way looks once', (o) => {
    expect(runFolioWay(benchInit('overlay'), o, 0)).toBe(1);
    expect(runFolioWay(benchInit('overlay'), o, 4)).toBe(1);
  });

  test.each(layoutNames)('%s: a tail is found to be one, and counted', (layout) => {
    const b = benchInit(layout);
    const f = cachedFolio(b, 4);
    const head = folioPfn(b.c.m.map, f);
    const tail = (head + 9) as typeof head;
    expect(compoundHead(b.c, FN.get_page, tail)).toBe(head);
    expect(PageUptodate(b.c, tail)).toBe(true);
    expect(page.pageToIndex(b.c, tail)).toBe(page.pageToIndex(b.c, head) + 9);
    expect(page.pageOffset(b.c, head)).toBe(page.pageIndex(b.c, head) * 4096);
    expect(page.findGetPage(b.c, b.file, b.next + 9)).toBe(tail);
    expect(page.castToPage(b.c, page.castToFolio(b.c, head))).toBe(head);
    expect(compoundHeadCalls(b.c)).toBe(6);
  });
});

describe.each(layoutNames)('%s: both ways do the same', (layout) => {
  test.each(operations)('$name', (o) => {
    for (const order of [0, 4]) {
      const [page, folio] = [benchInit(layout), benchInit(layout)].map((b, way) => {
        const { m } = b.c;
        const f = o.outside === true ? newFolio(b, order) : cachedFolio(b, order);
        o.ready?.(b, f);
        if (way === 0) o.page(b, folioPfn(m.map, f));
        else o.folio(b, f);
        return {
          ...{ flags: folioFlags(m.map, f), count: folioRefCount(m.map, f), memcg: folioMemcg(m.map, f) },
          ...{ mapping: mappingOf(b, f), vmstat: [...m.vmstat], usage: [...m.memcgs.usage] },
        };
      });
      expect(page).toEqual(folio);
    }
  });
});
const mappingOf = (b: ReturnType<typeof benchInit>, f: Parameters<typeof folioPfn>[1]): number =>
  page.pageMapping(b.c, folioPfn(b.c.m.map, f));

test('a page that is locked: it must wait, and has looked twice', () => {
  const b = benchInit('page64');
  const f = cachedFolio(b, 0);
  const p = folioPfn(b.c.m.map, f);
  expect(page.lockPage(b.c, p)).toBe(true);
  b.c.calls.fill(0);
  expect(page.lockPage(b.c, p)).toBe(false);
  expect(b.c.m.wait).toBe(f);
  expect(compoundHeadCalls(b.c)).toBe(2);
  page.unlockPage(b.c, p);
  expect(page.trylockPage(b.c, p)).toBe(true);
});

describe('separate folios', () => {
  /** What each operation raises on first use, as `field by caller`. */
  const raised = (o: Operation): string => {
    const b = benchInit('memdesc8');
    const f = o.outside === true ? newFolio(b, 0) : cachedFolio(b, 0);
    o.ready?.(b, f);
    const separate = { ...b, c: pageCompat(b.c.m, true) };
    const before = folioFlags(b.c.m.map, f);
    try {
      o.page(separate, folioPfn(b.c.m.map, f));
    } catch (error) {
      expect(error).toBeInstanceOf(LeavingFieldError);
      expect(error).toBeInstanceOf(QuireError);
      expect(folioFlags(b.c.m.map, f)).toBe(before);
      const { field, caller, replacement, message } = error as LeavingFieldError;
      for (const word of [caller, replacement]) expect(message).toContain(word);
      return `${field} by ${caller}`;
    }
    return '';
  };

  test('which functions use what has left', () => {
    expect(Object.fromEntries(operations.map((o) => [o.name, raised(o)]).filter(([, what]) => what !== ''))).toEqual({
      add_to_page_cache_lru: 'mapping by add_to_page_cache_lru',
      PageAnon: 'mapping by PageAnon',
      page_mapping: 'mapping by page_mapping',
      page_index: 'index by page_index',
      page_to_index: 'index by page_to_index',
      page_private: 'private by page_private',
      attach_page_private: 'private by attach_page_private',
      detach_page_private: 'private by detach_page_private',
      isolate_lru_page: 'lru by isolate_lru_page',
      set_page_dirty: 'mapping by page_mapping',
      set_page_writeback: 'mapping by page_mapping',
      end_page_writeback: 'mapping by page_mapping',
      'mem_cgroup_move_account, clean': 'mapping by PageAnon',
      'mem_cgroup_move_account, dirty': 'mapping by PageAnon',
      delete_from_page_cache: 'mapping by page_mapping',
      find_get_page: 'cast to page by find_get_page',
      '(struct folio *)page': 'cast to folio by page_folio_cast',
    });
  });

  test('the line names field, caller and replacement', () => {
    const b = benchInit('page32', true);
    const p = folioPfn(b.c.m.map, cachedFolio(b, 0));
    expect(() => page.pageMapping(b.c, p)).toThrow(
      'page_mapping: page->mapping is not there where folios are separate: use folio->mapping (in place of page_mapping: folio_mapping)',
    );
    expect(() => page.pageOffset(b.c, p)).toThrow('use folio->index');
    expect(() => page.castToPage(b.c, 5 as Parameters<typeof page.castToPage>[1])).toThrow('use folio_page(folio, n)');
    expect(page.trylockPage(b.c, p)).toBe(true);
  });

  test('not where folios overlay pages', () => {
    for (const layout of ['page64', 'overlay'] as const)
      expect(() => benchInit(layout, true)).toThrow(`not on ${layout}, where folios overlay pages`);
  });
});

test('the survey of kernel sources replaces each function by the same', () => {
  for (const [name, by] of Object.entries(pageFunctions))
    if (pageApi.has(name)) expect([name, by]).toEqual([name, pageApi.get(name)]);
});
