/** Faults, copies, advice and unmapping, case by case, as a live 6.18 was seen to do them. */
import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { folioTestPartiallyMapped } from '../../src/mm/deferred_split.ts';
import type { MmId, Pfn } from '../../src/mm/ids.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { memcgCreate } from '../../src/mm/memcontrol.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { getMmCounter, MM_ANONPAGES } from '../../src/mm/mm_struct.ts';
import { folioOrder, folioTest, pageFolio } from '../../src/mm/mm_types.ts';
import { doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { pmdLeaf, pmdOffset } from '../../src/mm/pgtable.ts';
import { folioMapcount } from '../../src/mm/rmap.ts';
import { MTHP, mthpStat, thpStore } from '../../src/mm/thp.ts';
import { V, type VmstatName } from '../../src/mm/vmstat.ts';
import { area, frameAt, type MemoryWorld, memoryWorld, orderAt, touch } from './memory_world.ts';

const BASE = 2 ** 40;
const PAGE = 4096;
const HUGE = 512;
const at = (page: number): number => BASE + page * PAGE;

/** Four huge pages of memory, huge pages on. */
function world(thp: Record<string, string> = { top: 'always' }, kernel = '6.18'): MemoryWorld {
  const w = memoryWorld(thp, 32768, undefined, kernel);
  area(w, BASE, at(4 * HUGE));
  return w;
}
const store = (w: MemoryWorld, page: number, mm: MmId = w.mm): void =>
  expect(touch(w.m, mm, at(page), true)).toBe(true);
const load = (w: MemoryWorld, page: number): void => expect(touch(w.m, w.mm, at(page), false)).toBe(true);
const count = (w: MemoryWorld, name: VmstatName): number => w.m.vmstat[V[name]] as number;
const isHuge = (w: MemoryWorld, page: number, mm: MmId = w.mm): boolean => {
  const pmd = pmdOffset(w.m, mm, at(page));
  return pmd >= 0 && pmdLeaf(w.m, pmd);
};
const rss = (w: MemoryWorld): number => getMmCounter(w.m, w.mm, MM_ANONPAGES);
const check = (w: MemoryWorld): void => {
  checkMms(w.m);
  checkMachine(w.m, false);
};

describe('huge pages', () => {
  test('a first store gets one, with a table kept ready', () => {
    const w = world();
    store(w, 700);
    expect([isHuge(w, 512), orderAt(w.m, w.mm, at(1023)), rss(w)]).toEqual([true, 9, 512]);
    expect([count(w, 'thp_fault_alloc'), count(w, 'nr_anon_transparent_hugepages')]).toEqual([1, 1]);
    // PUD, PMD and the table kept ready.
    expect(w.m.mms.pgtablesBytes[w.mm]).toBe(3 * PAGE);
    const f = pageFolio(w.m.map, frameAt(w.m, w.mm, at(512)) as Pfn);
    expect([folioTest(w.m.map, f, PG.PG_dirty | PG.PG_active), folioTest(w.m.map, f, PG.PG_lru)]).toEqual([
      false,
      true,
    ]);
    check(w);
  });

  test('a first load gets the huge zero folio, a store then one of its own', () => {
    const w = world();
    load(w, 3);
    expect([frameAt(w.m, w.mm, at(4)), isHuge(w, 3), rss(w), count(w, 'thp_zero_page_alloc')]).toEqual([
      -1,
      true,
      0,
      1,
    ]);
    load(w, 600);
    expect(count(w, 'thp_zero_page_alloc')).toBe(1);
    store(w, 9);
    expect([isHuge(w, 3), rss(w), count(w, 'thp_fault_alloc'), count(w, 'thp_split_pmd')]).toEqual([true, 512, 1, 0]);
    check(w);
  });

  test('the zero page of a part that is unmapped becomes 512 zero pages', () => {
    const w = world();
    load(w, 0);
    expect(doMunmap(w.m, w.mm, at(5), PAGE)).toBe(0);
    expect([frameAt(w.m, w.mm, at(4)), frameAt(w.m, w.mm, at(5)), isHuge(w, 0), rss(w)]).toEqual([-1, 0, false, 0]);
    store(w, 6);
    expect([orderAt(w.m, w.mm, at(6)), rss(w)]).toEqual([0, 1]);
    check(w);
  });

  test('one page unmapped: the PMD is split, the folio stays', () => {
    const w = world();
    store(w, 0);
    expect(doMunmap(w.m, w.mm, at(100), PAGE)).toBe(0);
    const f = pageFolio(w.m.map, frameAt(w.m, w.mm, at(0)) as Pfn);
    expect([isHuge(w, 0), orderAt(w.m, w.mm, at(0)), rss(w)]).toEqual([false, 9, 511]);
    expect([count(w, 'thp_split_pmd'), count(w, 'thp_deferred_split_page'), count(w, 'thp_split_page')]).toEqual([
      1, 1, 0,
    ]);
    expect([folioTestPartiallyMapped(w.m, f), mthpStat(w.m, 9, MTHP.nr_anon_partially_mapped)]).toEqual([true, 1]);
    expect(folioTest(w.m.map, f, PG.PG_dirty)).toBe(true);
    check(w);
  });

  test.each([
    ['6.18', 9],
    ['6.12', 0],
  ])('all of it dropped by advice: on %s the next store gets order %i', (kernel, order) => {
    const w = world({ top: 'always' }, kernel);
    store(w, 0);
    expect(madvise(w.m, w.mm, at(0), PAGE, 'dontneed')).toBe(0);
    expect(isHuge(w, 0)).toBe(false);
    expect(madvise(w.m, w.mm, at(0), HUGE * PAGE, 'dontneed')).toBe(0);
    expect(rss(w)).toBe(0);
    store(w, 0);
    expect(orderAt(w.m, w.mm, at(0))).toBe(order);
    check(w);
  });

  test('half dropped: the holes are refilled with single pages', () => {
    const w = world();
    store(w, 0);
    expect(madvise(w.m, w.mm, at(256), 256 * PAGE, 'dontneed')).toBe(0);
    store(w, 300);
    expect([orderAt(w.m, w.mm, at(300)), orderAt(w.m, w.mm, at(0)), rss(w)]).toEqual([0, 9, 257]);
    check(w);
  });

  test('MADV_FREE of all of it, and of a part', () => {
    const w = world();
    store(w, 0);
    store(w, 512);
    const f = pageFolio(w.m.map, frameAt(w.m, w.mm, at(0)) as Pfn);
    expect(madvise(w.m, w.mm, at(0), HUGE * PAGE, 'free')).toBe(0);
    expect([isHuge(w, 0), count(w, 'pglazyfree'), folioTest(w.m.map, f, PG.PG_swapbacked)]).toEqual([true, 512, false]);
    expect(madvise(w.m, w.mm, at(512), 8 * PAGE, 'free')).toBe(0);
    expect([isHuge(w, 512), orderAt(w.m, w.mm, at(512)), count(w, 'thp_split_page')]).toEqual([false, 0, 1]);
    check(w);
  });
});

describe('copy on write', () => {
  test('a huge page after a fork: split, and single pages, for both', () => {
    const w = world();
    store(w, 0);
    const folio = pageFolio(w.m.map, frameAt(w.m, w.mm, at(0)) as Pfn);
    const child = dupMm(w.m, w.mm);
    expect([isHuge(w, 0, child), folioMapcount(w.m, folio)]).toEqual([true, 2]);
    store(w, 1, child);
    expect([isHuge(w, 0, child), isHuge(w, 0), orderAt(w.m, child, at(1))]).toEqual([false, true, 0]);
    store(w, 1);
    // The child does not map that page any more; the folio is shared all the same.
    expect([isHuge(w, 0), orderAt(w.m, w.mm, at(1)), count(w, 'thp_deferred_split_page')]).toEqual([false, 0, 1]);
    expect(frameAt(w.m, child, at(2))).toBe(frameAt(w.m, w.mm, at(2)));
    mmput(w.m, child);
    const reused = count(w, 'pgreuse');
    store(w, 2);
    expect([orderAt(w.m, w.mm, at(2)), count(w, 'pgreuse') - reused]).toEqual([9, 1]);
    check(w);
  });

  test('a huge page whose other user has gone is reused whole', () => {
    const w = world();
    store(w, 0);
    mmput(w.m, dupMm(w.m, w.mm));
    store(w, 5);
    expect([isHuge(w, 0), count(w, 'thp_split_pmd'), orderAt(w.m, w.mm, at(5))]).toEqual([true, 0, 9]);
    check(w);
  });

  // With references of one owner alone, as many as mappings: reuse; one page left of it is copied, so that the folio can go.
  test.each([
    ['6.18', 4, 0],
    ['6.12', 0, 4],
  ])('folios of 64 KiB on %s: order %i with all of it left, %i with one page left', (kernel, whole, single) => {
    const w = world({ top: 'never', '64k': 'always' }, kernel);
    store(w, 0);
    store(w, 16);
    expect(doMunmap(w.m, w.mm, at(17), 15 * PAGE)).toBe(0);
    mmput(w.m, dupMm(w.m, w.mm));
    store(w, 3);
    store(w, 16);
    expect([orderAt(w.m, w.mm, at(3)), orderAt(w.m, w.mm, at(16))]).toEqual([whole, single]);
    check(w);
  });

  test('a single page', () => {
    const w = world({ top: 'never' });
    store(w, 0);
    const was = frameAt(w.m, w.mm, at(0));
    const child = dupMm(w.m, w.mm);
    store(w, 0, child);
    expect(frameAt(w.m, child, at(0))).not.toBe(was);
    // The page is the parent's own again.
    store(w, 0);
    expect([frameAt(w.m, w.mm, at(0)), count(w, 'pgreuse')]).toEqual([was, 1]);
    mmput(w.m, child);
    check(w);
  });
});

describe('memory that is short', () => {
  test('a group at its limit gets smaller folios, and the counters say so', () => {
    const w = memoryWorld({ top: 'always', '64k': 'always' }, 32768);
    w.m.currentMemcg = memcgCreate(w.m, 300);
    area(w, BASE, at(4 * HUGE));
    store(w, 0);
    expect(orderAt(w.m, w.mm, at(0))).toBe(4);
    expect([count(w, 'thp_fault_fallback'), count(w, 'thp_fault_fallback_charge')]).toEqual([1, 1]);
    const stats = [MTHP.anon_fault_fallback, MTHP.anon_fault_fallback_charge, MTHP.anon_fault_alloc];
    expect(stats.map((s) => mthpStat(w.m, 9, s))).toEqual([1, 1, 0]);
    expect(stats.map((s) => mthpStat(w.m, 4, s))).toEqual([0, 0, 1]);
    check(w);
  });

  test('no memory at all: the fault fails, and nothing leaks', () => {
    const w = memoryWorld({ top: 'never' }, 512);
    area(w, BASE, at(4 * HUGE));
    let stored = 0;
    while (stored < 2048 && touch(w.m, w.mm, at(stored), true)) stored++;
    expect(stored).toBeGreaterThan(100);
    expect(stored).toBeLessThan(512);
    expect(rss(w)).toBe(stored);
    check(w);
    expect(doMunmap(w.m, w.mm, at(0), stored * PAGE)).toBe(0);
    expect([rss(w), w.m.vmstat[V.nr_anon_pages]]).toEqual([0, 0]);
  });
});

test('faults are counted once, by what they took', () => {
  const w = world({ top: 'never', '64k': 'always' });
  for (let p = 0; p < 64; p++) store(w, p);
  load(w, 100);
  store(w, 100);
  expect([w.m.mms.minFlt[w.mm], w.m.mms.majFlt[w.mm], count(w, 'pgfault'), count(w, 'pgmajfault')]).toEqual([
    6, 0, 6, 0,
  ]);
});

test('a size that the release does not know is refused', () => {
  const { m } = memoryWorld({}, 16384, undefined, '6.6');
  expect(() => thpStore(m, '64k', 'always')).toThrow(/no such size/);
  thpStore(m, '2m', 'always');
});

test('a folio that is mapped in part is one folio', () => {
  const w = world({ top: 'never', '64k': 'always' });
  store(w, 0);
  expect(madvise(w.m, w.mm, at(4), 4 * PAGE, 'dontneed')).toBe(0);
  const f = pageFolio(w.m.map, frameAt(w.m, w.mm, at(15)) as never);
  expect([folioOrder(w.m.map, f), folioMapcount(w.m, f), mthpStat(w.m, 4, MTHP.split_deferred)]).toEqual([4, 12, 1]);
  check(w);
});
