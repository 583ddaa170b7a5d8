import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import type { Pfn, SwapEntry } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { folioTest, pageFolio } from '../../src/mm/mm_types.ts';
import { PG, PG_readahead } from '../../src/mm/page_flags.ts';
import { PTE_SWAP, pteFlags, pteOffset, ptePayload } from '../../src/mm/pgtable.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { swapCacheGetFolio, swapinNrPages } from '../../src/mm/swap_state.ts';
import type { SwapKind } from '../../src/mm/swap_table.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, type MemoryWorld, memoryWorld, touch } from './memory_world.ts';

const BASE = 2 ** 40;
const at = (page: number): number => BASE + page * 4096;

/** An area of `pages` pages, all stored into and swapped out. */
function swapped(pages: number, kind: SwapKind = 'ssd', thp: Record<string, string> = {}): MemoryWorld {
  const w = memoryWorld(thp);
  const { m, mm } = w;
  m.contents = true;
  swapon(m, { kind, size: 2 ** 25, prio: -1 });
  area(w, BASE, at(pages));
  for (let p = 0; p < pages; p++) touch(m, mm, at(p), true);
  lruAddDrain(m);
  madvise(m, mm, BASE, pages * 4096, 'pageout');
  lruAddDrain(m);
  madvise(m, mm, BASE, pages * 4096, 'pageout');
  for (let p = 0; p < pages; p++) expect(slot(w, p)).toBeGreaterThan(0);
  return w;
}
/** The slot of a page, 0 when it is in memory. */
function slot(w: MemoryWorld, page: number): SwapEntry {
  const e = pteOffset(w.m, w.mm, at(page));
  return (e >= 0 && (pteFlags(w.m, e) & PTE_SWAP) !== 0 ? ptePayload(w.m, e) : 0) as SwapEntry;
}
/** Pages in the swap cache that are swapped out still: read ahead. */
const ahead = (w: MemoryWorld, pages: number): number[] =>
  Array.from({ length: pages }, (_, p) => p).filter(
    (p) => slot(w, p) !== 0 && swapCacheGetFolio(w.m, slot(w, p)) !== 0,
  );
const counters = (m: Machine) => [m.vmstat[V.pgmajfault], m.vmstat[V.swap_ra], m.vmstat[V.swap_ra_hit]];

describe('the window', () => {
  test.each([
    // prev, offset, hits, most, last window: pages
    [50, 100, 0, 8, 0, 1],
    [99, 100, 0, 8, 0, 2],
    [101, 100, 0, 8, 0, 2],
    [50, 100, 1, 8, 0, 4],
    [50, 100, 2, 8, 0, 4],
    [50, 100, 3, 8, 0, 8],
    [50, 100, 40, 8, 0, 8],
    [50, 100, 4, 32, 0, 8],
    [50, 100, 0, 8, 8, 4],
    [50, 100, 7, 32, 0, 16],
  ])('prev %i, at %i, hits %i, at most %i, last %i: %i', (prev, offset, hits, most, window, pages) => {
    expect(swapinNrPages(prev, offset, hits, most, window)).toBe(pages);
  });
});

describe('by addresses', () => {
  test('a sequence from page 100: one miss in eight', () => {
    const w = swapped(300);
    const { m, mm } = w;
    touch(m, mm, at(100), false);
    expect(ahead(w, 300)).toEqual([97, 98, 99, 101, 102, 103, 104]);
    expect(counters(m)).toEqual([1, 7, 0]);
    for (let p = 101; p <= 104; p++) touch(m, mm, at(p), false);
    expect(counters(m)).toEqual([1, 7, 4]);
    touch(m, mm, at(105), false);
    expect(ahead(w, 300)).toEqual([97, 98, 99, 106, 107, 108, 109, 110, 111, 112]);
    for (let p = 106; p <= 112; p++) touch(m, mm, at(p), false);
    expect(counters(m)).toEqual([2, 14, 11]);
    for (let p = 113; p <= 144; p++) touch(m, mm, at(p), false);
    expect(counters(m)).toEqual([6, 42, 39]);
    checkMachine(m, true);
  });
  test('backwards, and the ends of the area', () => {
    const w = swapped(64);
    const { m, mm } = w;
    touch(m, mm, at(63), false);
    expect(ahead(w, 64)).toEqual([60, 61, 62]);
    for (let p = 62; p >= 60; p--) touch(m, mm, at(p), false);
    touch(m, mm, at(59), false);
    expect(ahead(w, 64)).toEqual([52, 53, 54, 55, 56, 57, 58]);
    touch(m, mm, at(0), false);
    expect(ahead(w, 64).filter((p) => p < 10)).toEqual([1, 2]);
    checkMachine(m, true);
  });
  test('far jumps end it; the mark is on what was read ahead', () => {
    const w = swapped(512);
    const { m, mm } = w;
    touch(m, mm, at(10), false);
    const f = swapCacheGetFolio(m, slot(w, 11));
    expect([
      folioTest(m.map, f, PG_readahead),
      folioTest(m.map, pageFolio(m.map, frameAt(m, mm, at(10)) as Pfn), PG.PG_reclaim),
    ]).toEqual([true, false]);
    touch(m, mm, at(200), false);
    touch(m, mm, at(300), false);
    touch(m, mm, at(400), false);
    // 8, then half each time, then one page alone.
    expect(m.vmstat[V.swap_ra]).toBe(7 + 3 + 1);
    expect(ahead(w, 512)).not.toContain(401);
  });
  test('page-cluster 0: none', () => {
    const w = swapped(64);
    w.m.swap.pageCluster = 0;
    for (let p = 0; p < 64; p++) touch(w.m, w.mm, at(p), false);
    expect(counters(w.m)).toEqual([64, 0, 0]);
  });
});

describe('by slots, where a device is rotational', () => {
  test('an aligned block around the slot, without the header', () => {
    const w = swapped(64, 'disk');
    const { m, mm } = w;
    // Page p is in slot p + 1.
    expect([slot(w, 0), slot(w, 63)]).toEqual([1, 64]);
    touch(m, mm, at(19), false);
    expect(ahead(w, 64)).toEqual([15, 16, 17, 18, 20, 21, 22]);
    touch(m, mm, at(2), false);
    expect(ahead(w, 64).filter((p) => p < 12)).toEqual([0, 1]);
    checkMachine(m, true);
  });
});

describe('devices that answer at once', () => {
  test('past the swap cache, as large as it went out', () => {
    const w = swapped(64, 'zram', { '64k': 'always' });
    const { m, mm } = w;
    touch(m, mm, at(20), false);
    expect([m.vmstat[V.pswpin], m.vmstat[V.swap_ra], m.vmstat[V.nr_swapcached]]).toEqual([16, 0, 0]);
    for (let p = 16; p < 32; p++) expect(slot(w, p)).toBe(0);
    expect(slot(w, 15)).not.toBe(0);
    checkMachine(m, true);
  });
});
