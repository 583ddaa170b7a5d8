import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { FolioId, MemcgId, Pfn, SwapEntry } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { EXACT_RULES, memcgCreate, memcgsInit } from '../../src/mm/memcontrol.ts';
import { LRU_ACTIVE_ANON, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, NR_LRU_LISTS } from '../../src/mm/mm_inline.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { folioMemcg, folioOrder, folioPfn, folioTest, pageFolio } from '../../src/mm/mm_types.ts';
import { dupMm, mmput } from '../../src/mm/mmap.ts';
import { PG, PG_swapcache } from '../../src/mm/page_flags.ts';
import { endSwapWrite } from '../../src/mm/page_io.ts';
import { _PAGE_RW, PTE_SWAP, PTE_SWP_EXCLUSIVE, pteFlags, pteOffset, ptePayload } from '../../src/mm/pgtable.ts';
import { batchesInit, lruAddDrain } from '../../src/mm/swap.ts';
import { type SwapKind, swapCount } from '../../src/mm/swap_table.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { MTHP, mthpStat } from '../../src/mm/thp.ts';
import { scanControl } from '../../src/mm/vmscan.ts';
import { shrinkActiveList, shrinkInactiveList } from '../../src/mm/vmscan_lists.ts';
import { getScanCount, prepareScanControl } from '../../src/mm/vmscan_node.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, type MemoryWorld, memoryWorld, orderAt, touch } from './memory_world.ts';

const BASE = 2 ** 40;
const at = (page: number): number => BASE + page * 4096;

/** An area of 4096 pages, swap, and batches that wait for nothing. */
function world(thp: Record<string, string> = {}, kind: SwapKind = 'ssd', slots = 4096): MemoryWorld {
  const w = memoryWorld(thp);
  Object.assign(w.m, { batches: batchesInit(0), memcgs: memcgsInit(EXACT_RULES) });
  w.m.contents = true;
  if (slots > 0) swapon(w.m, { kind, size: slots * 4096, prio: -1 });
  area(w, BASE, at(4096));
  return w;
}
const folioAt = (w: MemoryWorld, page: number): FolioId => pageFolio(w.m.map, frameAt(w.m, w.mm, at(page)) as Pfn);
/** Looks at `pages` of the inactive anonymous list; returns what was freed. */
const scan = (m: Machine, pages: number, lru = LRU_INACTIVE_ANON): number =>
  shrinkInactiveList(m, scanControl(0 as MemcgId, pages, GFP_KERNEL, 0, false), 0 as MemcgId, pages, lru);
const slotOf = (w: MemoryWorld, page: number): number => {
  const e = pteOffset(w.m, w.mm, at(page));
  return e >= 0 && (pteFlags(w.m, e) & PTE_SWAP) !== 0 ? ptePayload(w.m, e) : 0;
};
const pages = (m: Machine, lru: number): number => m.lruvecs.pages[lru] as number;

describe('what each look at an anonymous folio does', () => {
  test('stored into once: kept, then swapped out', () => {
    const w = world();
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    const f = folioAt(w, 0);
    expect(scan(m, 1)).toBe(0);
    expect([folioTest(m.map, f, PG.PG_referenced), folioTest(m.map, f, PG.PG_active)]).toEqual([true, false]);
    expect(scan(m, 1)).toBe(1);
    expect(slotOf(w, 0)).toBe(1);
    expect([m.vmstat[V.pswpout], m.vmstat[V.pgscan_anon], m.vmstat[V.pgsteal_anon]]).toEqual([1, 2, 1]);
    checkMachine(m, true);
  });
  test('used between two looks: active', () => {
    const w = world();
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    scan(m, 1);
    touch(m, mm, at(0), false);
    expect(scan(m, 1)).toBe(0);
    expect(folioTest(m.map, folioAt(w, 0), PG.PG_active)).toBe(true);
    expect(pages(m, LRU_ACTIVE_ANON)).toBe(1);
  });
  test('used in two address spaces: active at once', () => {
    const w = world();
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    const child = dupMm(m, mm);
    touch(m, child, at(0), false);
    scan(m, 1);
    expect(folioTest(m.map, folioAt(w, 0), PG.PG_active)).toBe(true);
    mmput(m, child);
  });
  test('the write takes time: the folio is under write-back, comes next when it ends, and then goes', () => {
    const w = world();
    const { m, mm } = w;
    const written: FolioId[] = [];
    m.io.swapWrite = (f) => void written.push(f);
    for (let p = 0; p < 3; p++) touch(m, mm, at(p), true);
    scan(m, 3);
    expect(scan(m, 1)).toBe(0);
    const [f] = written as [FolioId];
    expect(folioTest(m.map, f, PG.PG_writeback)).toBe(true);
    expect(m.vmstat[V.nr_swapcached]).toBe(1);
    endSwapWrite(m, f, true);
    expect(m.lruvecs.tail[LRU_INACTIVE_ANON]).toBe(f);
    expect(m.vmstat[V.pgrotated]).toBe(1);
    expect(scan(m, 1)).toBe(1);
    expect([slotOf(w, 0) > 0, m.vmstat[V.nr_swapcached]]).toEqual([true, 0]);
    checkMachine(m, true);
  });
  test('read back before it went: no I/O, and the slot goes with the next store', () => {
    const w = world();
    const { m, mm } = w;
    m.io.swapWrite = () => {};
    touch(m, mm, at(0), true);
    scan(m, 1);
    scan(m, 1);
    const f = m.swap.slots.table[slotOf(w, 0)];
    touch(m, mm, at(0), false);
    expect([folioAt(w, 0), m.vmstat[V.pgmajfault], m.vmstat[V.pswpin]]).toEqual([f, 0, 0]);
    endSwapWrite(m, f as FolioId, true);
    expect(folioTest(m.map, f as FolioId, PG_swapcache)).toBe(true);
    checkMachine(m, true);
  });
  test('without swap nothing anonymous is looked at', () => {
    const w = world({}, 'ssd', 0);
    const { m, mm } = w;
    for (let p = 0; p < 100; p++) touch(m, mm, at(p), true);
    const sc = scanControl(0 as MemcgId, 32, GFP_KERNEL, 0, false);
    prepareScanControl(m, sc);
    getScanCount(m, sc, 0 as MemcgId);
    expect(Array.from(m.lruvecs.scan.subarray(0, 4))).toEqual([0, 0, 0, 0]);
  });
  test('given up by MADV_FREE: freed unless stored into again', () => {
    const w = world();
    const { m, mm } = w;
    for (let p = 0; p < 2; p++) touch(m, mm, at(p), true);
    madvise(m, mm, BASE, 8192, 'free');
    lruAddDrain(m);
    expect(pages(m, LRU_INACTIVE_FILE)).toBe(2);
    touch(m, mm, at(1), true);
    const kept = folioAt(w, 1);
    expect(scan(m, 2, LRU_INACTIVE_FILE)).toBe(1);
    expect([folioAt(w, 0), slotOf(w, 0), m.vmstat[V.pglazyfreed], m.vmstat[V.pswpout]]).toEqual([0, 0, 1, 0]);
    scan(m, 1, LRU_INACTIVE_FILE);
    expect(folioTest(m.map, kept, PG.PG_swapbacked)).toBe(true);
    expect(pages(m, LRU_ACTIVE_ANON)).toBe(1);
    checkMachine(m, true);
  });
});

describe('large folios', () => {
  test('a huge page goes out whole, into an empty cluster', () => {
    const w = world({ '2M': 'always' });
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    expect(orderAt(m, mm, at(0))).toBe(9);
    scan(m, 1);
    expect(scan(m, 1)).toBe(512);
    expect([slotOf(w, 0), slotOf(w, 511)]).toEqual([512, 1023]);
    expect([m.vmstat[V.thp_swpout], m.vmstat[V.pswpout], m.vmstat[V.thp_split_page]]).toEqual([1, 512, 0]);
    checkMachine(m, true);
  });
  test('no run of slots: split, and single pages go out, the first and then from the last down', () => {
    const w = world({ '64k': 'always' }, 'file');
    const { m, mm } = w;
    for (let p = 0; p < 16; p++) touch(m, mm, at(p), true);
    scan(m, 1);
    expect(scan(m, 1)).toBe(16);
    expect([slotOf(w, 0), slotOf(w, 15), slotOf(w, 14), slotOf(w, 1)]).toEqual([1, 2, 3, 16]);
    expect([mthpStat(m, 4, MTHP.swpout_fallback), mthpStat(m, 4, MTHP.split), m.vmstat[V.pswpout]]).toEqual([1, 1, 16]);
    checkMachine(m, true);
  });
  test('a folio of zeros is not written; one page with contents, and all of it is', () => {
    const w = world({ '64k': 'always' });
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    scan(m, 1);
    expect(scan(m, 1)).toBe(16);
    expect([m.vmstat[V.pswpout], m.vmstat[V.swpout_zero]]).toEqual([16, 0]);
    m.contents = false;
    touch(m, mm, at(32), true);
    scan(m, 1);
    expect(scan(m, 1)).toBe(16);
    expect([m.vmstat[V.pswpout], m.vmstat[V.swpout_zero]]).toEqual([16, 16]);
    touch(m, mm, at(40), false);
    expect([(m.vmstat[V.swpin_zero] as number) > 0, m.vmstat[V.pswpin]]).toEqual([true, 0]);
  });
  test('no slots at all: it stays, split and active', () => {
    const w = world({ '64k': 'always' }, 'ssd', 10);
    const { m, mm } = w;
    for (let p = 0; p < 16; p++) touch(m, mm, at(p), true);
    scan(m, 1);
    expect(scan(m, 1)).toBe(9);
    expect(m.lruvecs.node.swapPages).toBe(0);
    expect(pages(m, LRU_ACTIVE_ANON)).toBe(7);
    expect(folioOrder(m.map, folioAt(w, 1))).toBe(0);
    checkMachine(m, true);
  });
});

describe('a fault on what was swapped out', () => {
  function out(kind: SwapKind = 'ssd'): MemoryWorld {
    const w = world({}, kind);
    w.m.swap.pageCluster = 0;
    touch(w.m, w.mm, at(0), true);
    scan(w.m, 1);
    scan(w.m, 1);
    expect(slotOf(w, 0)).toBe(1);
    return w;
  }
  const entry = (w: MemoryWorld, mm = w.mm): number => pteFlags(w.m, pteOffset(w.m, mm, at(0)));
  test('exclusive: writable after a load, and the cache keeps the slot', () => {
    const w = out();
    expect(entry(w) & PTE_SWP_EXCLUSIVE).not.toBe(0);
    touch(w.m, w.mm, at(0), false);
    expect(entry(w) & _PAGE_RW).not.toBe(0);
    expect([w.m.swap.slots.map[1], folioTest(w.m.map, folioAt(w, 0), PG_swapcache)]).toEqual([0x4000, true]);
    expect([w.m.vmstat[V.pgmajfault], w.m.vmstat[V.pswpin]]).toEqual([1, 1]);
    checkMachine(w.m, true);
  });
  test('a store gives the slot up', () => {
    const w = out();
    touch(w.m, w.mm, at(0), true);
    expect([w.m.swap.slots.map[1], folioTest(w.m.map, folioAt(w, 0), PG_swapcache)]).toEqual([0, false]);
    checkMachine(w.m, true);
  });
  test('shared by a fork: one folio, read-only, copied by a store', () => {
    const w = out();
    const { m, mm } = w;
    const child = dupMm(m, mm);
    expect([swapCount(m, 1 as SwapEntry), entry(w) & PTE_SWP_EXCLUSIVE]).toEqual([2, 0]);
    touch(m, child, at(0), false);
    touch(m, mm, at(0), false);
    expect(frameAt(m, child, at(0))).toBe(folioPfn(m.map, folioAt(w, 0)));
    expect((entry(w) | entry(w, child)) & _PAGE_RW).toBe(0);
    touch(m, child, at(0), true);
    expect(frameAt(m, child, at(0))).not.toBe(folioPfn(m.map, folioAt(w, 0)));
    checkMachine(m, true);
    mmput(m, child);
    checkMachine(m, true);
  });
  test('zram: a slot that two refer to goes through the swap cache', () => {
    const w = out('zram');
    const { m, mm } = w;
    const child = dupMm(m, mm);
    touch(m, mm, at(0), false);
    expect(m.vmstat[V.nr_swapcached]).toBe(1);
    mmput(m, child);
    checkMachine(m, true);
  });
  test('a refault counts, and is known as recent', () => {
    const w = out();
    expect(w.m.swap.slots.table[1]).toBeLessThan(0);
    touch(w.m, w.mm, at(0), false);
    expect(w.m.vmstat[V.workingset_refault_anon]).toBe(1);
  });
});

describe('groups', () => {
  test('memory swapped out is the group’s until it comes back, and comes back to it', () => {
    const w = memoryWorld();
    const { m } = w;
    Object.assign(m, { batches: batchesInit(0), memcgs: memcgsInit(EXACT_RULES) });
    swapon(m, { kind: 'ssd', size: 2 ** 24, prio: -1 });
    m.swap.pageCluster = 0;
    const g = memcgCreate(m, 64);
    m.currentMemcg = g;
    const mm = mmAlloc(m);
    area({ m, mm }, BASE, at(4096));
    for (let p = 0; p < 200; p++) expect(touch(m, mm, at(p), true)).toBe(true);
    expect(m.memcgs.usage[g]).toBeLessThanOrEqual(64);
    const gone = m.memcgs.swap[g] as number;
    expect(gone + (m.memcgs.pages[g] as number)).toBe(200);
    m.currentMemcg = 0;
    touch(m, mm, at(0), false);
    expect(folioMemcg(m.map, pageFolio(m.map, frameAt(m, mm, at(0)) as Pfn))).toBe(g);
    checkMachine(m, true);
  });
});

test('an active list: everything anonymous becomes inactive, used or not', () => {
  const w = world();
  const { m, mm } = w;
  for (let p = 0; p < 8; p++) touch(m, mm, at(p), true);
  scan(m, 8);
  for (let p = 0; p < 8; p++) touch(m, mm, at(p), true);
  scan(m, 8);
  expect(pages(m, LRU_ACTIVE_ANON)).toBe(8);
  touch(m, mm, at(3), true);
  shrinkActiveList(m, scanControl(0 as MemcgId, 32, GFP_KERNEL, 0, false), 0 as MemcgId, 32, LRU_ACTIVE_ANON);
  expect([pages(m, LRU_ACTIVE_ANON), pages(m, LRU_INACTIVE_ANON), m.vmstat[V.pgdeactivate]]).toEqual([0, 8, 8]);
  expect(m.lruvecs.head[LRU_INACTIVE_ANON] !== m.lruvecs.tail[LRU_INACTIVE_ANON] && NR_LRU_LISTS).toBe(5);
  checkMachine(m, true);
});
