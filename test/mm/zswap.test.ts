import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { FolioId, SwapEntry } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { folioClear, folioPfn, folioSet, folioTest } from '../../src/mm/mm_types.ts';
import { PG, PG_swapcache } from '../../src/mm/page_flags.ts';
import { swapReadFolio, swapWriteout } from '../../src/mm/page_io.ts';
import { folioPut } from '../../src/mm/swap.ts';
import { readSwapCacheAsync, swapCacheDelFolio } from '../../src/mm/swap_state.ts';
import { folioSwap, type SwapKind } from '../../src/mm/swap_table.ts';
import { checkSwap } from '../../src/mm/swap_table_check.ts';
import { folioAllocSwap, swapDuplicate, swapFree } from '../../src/mm/swapfile.ts';
import { V } from '../../src/mm/vmstat.ts';
import { setPagesWritten } from '../../src/mm/written.ts';
import { zswapEnable, zswapMaxPages, zswapShrinkWorker, zswapTotalPages } from '../../src/mm/zswap.ts';
import { anonFolio, swapWorld } from './swap_world.ts';

function world(kind: SwapKind = 'ssd'): Machine {
  const m = swapWorld({ slots: 16384, kind });
  if (kind !== 'zram') zswapEnable(m, true);
  return m;
}

/** A folio with contents goes out; its first slot. */
function out(m: Machine, order = 0): SwapEntry {
  const f = anonFolio(m, order);
  setPagesWritten(m, folioPfn(m.map, f), 1 << order);
  expect(folioAllocSwap(m, f)).toBe(true);
  const entry = folioSwap(m, f);
  for (let i = 0; i < 1 << order; i++) swapDuplicate(m, (entry + i) as SwapEntry);
  swapWriteout(m, f);
  folioSet(m.map, f, PG.PG_locked);
  swapCacheDelFolio(m, f);
  folioClear(m.map, f, PG.PG_locked | PG_swapcache);
  folioPut(m, f);
  return entry;
}

function back(m: Machine, entry: SwapEntry): FolioId {
  const f = readSwapCacheAsync(m, entry, GFP_KERNEL, { allocated: false });
  swapReadFolio(m, f, false);
  return f;
}

describe('zswap', () => {
  test('a page is stored, and leaves when it is read back', () => {
    const m = world();
    const entry = out(m);
    expect([m.vmstat[V.zswpout], m.vmstat[V.pswpout], m.swap.zswap.storedPages]).toEqual([1, 0, 1]);
    checkSwap(m, false);
    const f = back(m, entry);
    expect([m.vmstat[V.zswpin], m.vmstat[V.pswpin], m.swap.zswap.storedPages]).toEqual([1, 0, 0]);
    // It is the only copy now.
    expect(folioTest(m.map, f, PG.PG_dirty)).toBe(true);
    checkSwap(m, false);
  });
  test('a freed slot takes its entry along', () => {
    const m = world();
    const entry = out(m, 4);
    expect([m.swap.zswap.storedPages, zswapTotalPages(m) > 0]).toEqual([16, true]);
    swapFree(m, entry, 16);
    expect([m.swap.zswap.storedPages, zswapTotalPages(m)]).toEqual([0, 0]);
    checkSwap(m, false);
  });
  test('lengths: what does not get smaller takes a page; a page in three by the ratio that is set', () => {
    const m = world();
    m.io.compress = (_, page) => [5000, 0, 4096, 100][page] as number;
    out(m, 2);
    expect([m.swap.zswap.storedIncompressible, zswapTotalPages(m)]).toEqual([3, 3 + 7]);
    delete (m.io as { compress?: unknown }).compress;
    m.swap.zswap.ratio = 2;
    // 2048 bytes and the handle: class 2176, fifteen objects in eight pages.
    for (let i = 0; i < 150; i++) out(m);
    expect(zswapTotalPages(m)).toBe(10 + 80);
  });
  test('full at a share of memory, and open again only below 90 % of it; the worker writes the oldest out', () => {
    const m = world();
    m.swap.zswap.ratio = 1;
    m.swap.zswap.maxPoolPercent = 1;
    const most = zswapMaxPages(m);
    const entries = Array.from({ length: most }, () => out(m));
    expect([zswapTotalPages(m), m.vmstat[V.pswpout]]).toEqual([most, 0]);
    const beyond = out(m);
    expect([m.vmstat[V.pswpout], m.swap.zswap.poolLimitHit, m.swap.zswap.work]).toEqual([1, 1, true]);
    expect(m.swap.slots.zswap[beyond]).toBe(0);
    // Below the limit, but not below 90 %: still full.
    for (const entry of entries.slice(0, 5)) swapFree(m, entry, 1);
    out(m);
    expect(m.vmstat[V.pswpout]).toBe(2);
    // Each entry is spared once; failures end the worker.
    zswapShrinkWorker(m);
    expect(m.vmstat[V.zswpwb]).toBe(0);
    while ((m.vmstat[V.zswpwb] as number) < 20) zswapShrinkWorker(m);
    expect(zswapTotalPages(m)).toBeLessThanOrEqual(Math.floor(most * 0.9));
    out(m);
    expect(m.swap.zswap.full).toBe(false);
    checkSwap(m, false);
  });
  test('no memory for one page of a folio: none of it is stored', () => {
    const m = world();
    m.swap.zswap.writeback = true;
    m.io.compress = () => 3000;
    const before = out(m);
    expect(before).toBeGreaterThan(0);
    const keep = m.swap.zswap.storedPages;
    m.swap.zswap.writeback = false;
    m.io.compress = (_, page) => (page === 3 ? 4096 : 1000);
    const f = anonFolio(m, 2);
    setPagesWritten(m, folioPfn(m.map, f), 4);
    folioAllocSwap(m, f);
    const entry = folioSwap(m, f);
    swapDuplicate(m, entry);
    expect(swapWriteout(m, f)).toBe(1);
    expect([m.swap.zswap.storedPages, m.swap.zswap.rejectCompressPoor]).toEqual([keep, 1]);
    expect(folioTest(m.map, f, PG.PG_dirty) && folioTest(m.map, f, PG.PG_locked)).toBe(true);
    checkSwap(m, false);
  });
  test('zeros are not stored', () => {
    const m = world();
    const f = anonFolio(m, 1);
    folioAllocSwap(m, f);
    const entry = folioSwap(m, f);
    swapDuplicate(m, entry);
    swapWriteout(m, f);
    expect([m.vmstat[V.swpout_zero], m.swap.zswap.storedPages, m.swap.slots.zero[entry]]).toEqual([2, 0, 1]);
  });
});

describe('zram', () => {
  // Of the live kernel: pages of which half is random take 8 pages for each 15, whatever they are part of.
  test.each([
    [1024, 552],
    [2048, 1096],
    [8256, 4408],
  ])('%i pages of half their size take %i pages of memory', (nr, pages) => {
    const m = world('zram');
    m.swap.zswap.ratio = 2;
    for (let i = 0; i < nr; i++) out(m);
    expect(m.swap.zram?.pagesAllocated).toBe(pages);
    expect(m.vmstat[V.nr_zspages]).toBe(pages);
    checkSwap(m, false);
  });
  test('a page that stays above 3625 bytes takes a whole one', () => {
    const m = world('zram');
    m.io.compress = () => 3625;
    for (let i = 0; i < 10; i++) out(m);
    expect(m.swap.zram?.pagesAllocated).toBe(10);
    m.io.compress = () => 3624;
    for (let i = 0; i < 9; i++) out(m);
    expect(m.swap.zram?.pagesAllocated).toBe(18);
  });
});

test('a machine without swap is not changed by any of this', () => {
  const m = swapWorld();
  checkMachine(m, true);
  expect(folioAllocSwap(m, anonFolio(m))).toBe(false);
});
