import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import type { FolioId, SwapEntry } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { folioClear, folioRefCount, folioSet, folioTest } from '../../src/mm/mm_types.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { PG, PG_swapcache } from '../../src/mm/page_flags.ts';
import { folioPut } from '../../src/mm/swap.ts';
import { swapCacheDelFolio, swapCacheGetFolio, swapCacheRemove } from '../../src/mm/swap_state.ts';
import { CLUSTER_FLAG_FREE, folioSwap, SWAP_HAS_CACHE, swapCount } from '../../src/mm/swap_table.ts';
import { checkSwap } from '../../src/mm/swap_table_check.ts';
import {
  folioAllocSwap,
  folioFreeSwap,
  freeSwapAndCache,
  putSwapFolio,
  swapDuplicate,
  swapFree,
  swapon,
  vmSwapFull,
} from '../../src/mm/swapfile.ts';
import { V } from '../../src/mm/vmstat.ts';
import { anonFolio, release, swapOut, swapWorld } from './swap_world.ts';

describe('slots of a solid-state device', () => {
  test('single pages begin behind the header; each larger order has clusters of its own', () => {
    const m = swapWorld({ slots: 8 * 512 });
    expect([swapOut(m), swapOut(m), swapOut(m)]).toEqual([1, 2, 3]);
    expect([swapOut(m, 4), swapOut(m, 4)]).toEqual([512, 528]);
    expect([swapOut(m, 9), swapOut(m, 9)]).toEqual([1024, 1536]);
    expect([swapOut(m, 2), swapOut(m), swapOut(m, 4)]).toEqual([2048, 4, 544]);
    checkSwap(m, false);
  });
  test('a cluster that is emptied is free for any order', () => {
    const m = swapWorld({ slots: 3 * 512 });
    const a = swapOut(m, 4);
    const b = swapOut(m, 9);
    expect([a, b, swapOut(m, 9)]).toEqual([512, 1024, 0]);
    release(m, a, 16);
    expect(m.swap.clusters.flag[1]).toBe(CLUSTER_FLAG_FREE);
    expect(swapOut(m, 9)).toBe(512);
    checkSwap(m, false);
  });
  test('slots given back in the middle: the cluster is searched from its start when its turn comes', () => {
    const m = swapWorld({ slots: 4 * 512 });
    const entries = Array.from({ length: 32 }, () => swapOut(m, 4));
    expect(entries).toEqual(Array.from({ length: 32 }, (_, i) => 512 + 16 * i));
    expect(swapOut(m, 4)).toBe(1024);
    release(m, 512 + 48, 16);
    // This CPU's cluster first, and then the one with the hole.
    for (let i = 1; i < 32; i++) expect(swapOut(m, 4)).toBe(1024 + 16 * i);
    expect(swapOut(m, 4)).toBe(512 + 48);
    checkSwap(m, false);
  });
  test('order 0 takes from other orders only when nothing else is left', () => {
    const m = swapWorld({ slots: 2 * 512 });
    const large = swapOut(m, 4);
    expect(large).toBe(512);
    for (let i = 1; i < 512; i++) expect(swapOut(m)).toBe(i);
    expect(swapOut(m)).toBe(528);
    // The cluster's next slot is beyond the reach of order 4 now.
    expect(swapOut(m)).toBe(529);
    checkSwap(m, false);
    for (let i = 530; i < 1024; i++) expect(swapOut(m)).toBe(i);
    expect(swapOut(m)).toBe(0);
    expect(m.lruvecs.node.swapPages).toBe(0);
    checkSwap(m, false);
    release(m, large, 16);
    expect(swapOut(m)).toBe(512);
  });
  test('half full is full: slots that only the cache has are taken', () => {
    const m = swapWorld({ slots: 512 });
    const folios: FolioId[] = [];
    for (let i = 0; i < 511; i++) {
      const f = anonFolio(m);
      expect(folioAllocSwap(m, f)).toBe(true);
      folios.push(f);
    }
    expect([vmSwapFull(m), m.lruvecs.node.swapPages]).toEqual([true, 0]);
    checkSwap(m, false);
    for (const f of folios) folioClear(m.map, f, PG.PG_locked);
    const g = anonFolio(m);
    // The device had become full, so the search of all its full clusters has begun meanwhile.
    expect(folioAllocSwap(m, g)).toBe(true);
    expect(folioTest(m.map, folios[0] as FolioId, PG_swapcache)).toBe(false);
    expect(folioTest(m.map, folios[0] as FolioId, PG.PG_dirty)).toBe(true);
    checkSwap(m, false);
  });
});

describe('devices', () => {
  test('a swap file and a rotational device', () => {
    const file = swapWorld({ slots: 2048, kind: 'file' });
    expect([swapOut(file, 4), swapOut(file), swapOut(file)]).toEqual([0, 1, 2]);
    const disk = swapWorld({ slots: 2048, kind: 'disk' });
    expect([swapOut(disk), swapOut(disk, 4), swapOut(disk, 4), swapOut(disk)]).toEqual([1, 512, 528, 2]);
    expect(disk.swap.nrRotate).toBe(1);
  });
  test('by priority, equals in turn; the first one alone is asked for a large entry', () => {
    const m = swapWorld({ slots: 512, prio: 5 }, { slots: 1024, prio: 7 }, { slots: 512, prio: 7 });
    expect(m.swap.devices.map((d) => d.base)).toEqual([0, 512, 1536]);
    expect(swapOut(m)).toBe(513);
    // The clusters at hand are used up before the next device's turn.
    for (let i = 514; i < 1024; i++) expect(swapOut(m)).toBe(i);
    expect(swapOut(m)).toBe(1537);
    expect(swapOut(m, 4)).toBe(1024);
    checkSwap(m, false);
  });
  test('without a priority each new device comes after the others', () => {
    const m = swapWorld({ slots: 64 }, { slots: 64 });
    expect(m.swap.devices.map((d) => d.prio)).toEqual([-2, -3]);
    for (let i = 1; i < 64; i++) expect(swapOut(m)).toBe(i);
    expect(swapOut(m)).toBe(513);
    checkSwap(m, false);
  });
  test('what is not a device', () => {
    const m = swapWorld();
    expect(() => swapon(m, { kind: 'ssd', size: 4096, prio: -1 })).toThrow(/at least 10 pages/);
    expect(() => swapon(m, { kind: 'ssd', size: 2 ** 50, prio: -1 })).toThrow(/at most/);
    expect(swapOut(m)).toBe(0);
  });
});

describe('the life of a slot', () => {
  test('references and the cache', () => {
    const m = swapWorld({ slots: 1024 });
    const f = anonFolio(m, 2);
    expect(folioAllocSwap(m, f)).toBe(true);
    const entry = folioSwap(m, f);
    expect([folioRefCount(m.map, f), m.vmstat[V.nr_swapcached], m.vmstat[V.nr_file_pages]]).toEqual([5, 4, 4]);
    expect(folioFreeSwap(m, f)).toBe(true);
    expect(folioAllocSwap(m, f)).toBe(true);
    for (let i = 0; i < 4; i++) swapDuplicate(m, (entry + i) as SwapEntry);
    swapDuplicate(m, entry);
    expect(folioFreeSwap(m, f)).toBe(false);
    expect([swapCount(m, entry), m.swap.slots.map[entry + 1]]).toEqual([2, SWAP_HAS_CACHE | 1]);
    // Reclaim takes it out; a shadow stays.
    swapCacheRemove(m, f, 10, 77);
    putSwapFolio(m, entry, 4);
    expect([m.swap.slots.table[entry + 3], m.swap.slots.age[entry + 3]]).toEqual([-11, 77]);
    checkSwap(m, false);
    swapFree(m, entry, 4);
    expect([swapCount(m, entry), m.swap.slots.table[entry], m.swap.slots.table[entry + 1]]).toEqual([1, -11, 0]);
    swapFree(m, entry, 1);
    checkSwap(m, false);
    expect(m.lruvecs.node.swapPages).toBe(1023);
  });
  test('the last reference of a cached folio frees it, too', () => {
    const m = swapWorld({ slots: 1024 });
    const f = anonFolio(m, 1);
    folioAllocSwap(m, f);
    const entry = folioSwap(m, f);
    for (let i = 0; i < 2; i++) swapDuplicate(m, (entry + i) as SwapEntry);
    folioClear(m.map, f, PG.PG_locked);
    freeSwapAndCache(m, entry, 1);
    // One of its slots is still referred to.
    expect(swapCacheGetFolio(m, entry)).toBe(f);
    const held = folioRefCount(m.map, f);
    freeSwapAndCache(m, (entry + 1) as SwapEntry, 1);
    expect([swapCacheGetFolio(m, entry), folioRefCount(m.map, f)]).toEqual([0, held - 2]);
    checkSwap(m, false);
  });
});

/** What a slot is, in the plainest way. */
interface Slot {
  count: number;
  folio: FolioId;
}

describe('random life against a plain model', () => {
  test.each([1, 2, 3, 4])('seed %i', (seed) => {
    const rng = new Prng(seed);
    const m: Machine = swapWorld(
      { slots: rng.between(600, 2600), prio: 3, kind: rng.pick(['ssd', 'disk']) },
      { slots: rng.between(100, 1500), prio: rng.pick([3, 2]) },
    );
    drainAllPages(m);
    const before = m.vmstat[V.nr_free_pages] as number;
    const held = m.swap.clusters.table.filter((t) => t !== 0).length;
    const slots = new Map<number, Slot>();
    const folios: FolioId[] = [];
    const free = () => m.swap.totalPages - slots.size;
    const orders = [0, 0, 0, 0, 1, 2, 3, 4, 9];
    for (let step = 0; step < 6000; step++) {
      const where = `seed ${seed}, step ${step}`;
      const what = rng.below(10);
      if (what < 5) {
        const order = rng.pick(orders);
        const full = vmSwapFull(m);
        const cluster = m.swap.clusters.flag.includes(CLUSTER_FLAG_FREE);
        const f = anonFolio(m, order);
        const done = folioAllocSwap(m, f);
        // Slots that the cache alone had may have gone to make room: those folios are dirty now.
        for (const g of folios.slice())
          if (!folioTest(m.map, g, PG_swapcache)) {
            expect(full, where).toBe(true);
            for (const [i, s] of slots) if (s.folio === g) slots.delete(i);
            folioPut(m, g);
            folios.splice(folios.indexOf(g), 1);
          }
        if (!done) {
          if (order === 0) expect(free(), where).toBe(0);
          if (order === 9 && m.swap.devices[0]?.prio !== m.swap.devices[1]?.prio)
            expect(cluster && m.swap.devices[0]?.head[0] !== 0, where).toBe(false);
          folioClear(m.map, f, PG.PG_locked);
          folioPut(m, f);
          continue;
        }
        const entry = folioSwap(m, f);
        expect(entry % (1 << order), where).toBe(0);
        expect(entry >> 9, where).toBe((entry + (1 << order) - 1) >> 9);
        for (let i = entry as number; i < entry + (1 << order); i++) {
          expect(slots.has(i), where).toBe(false);
          slots.set(i, { count: 0, folio: f });
        }
        for (let n = rng.below(3); n > 0; n--)
          for (let i = entry as number; i < entry + (1 << order); i++) {
            swapDuplicate(m, i as SwapEntry);
            (slots.get(i) as Slot).count++;
          }
        folioClear(m.map, f, PG.PG_locked);
        folios.push(f);
      } else if (what < 7 && folios.length > 0) {
        const f = folios.splice(rng.below(folios.length), 1)[0] as FolioId;
        folioSet(m.map, f, PG.PG_locked);
        swapCacheDelFolio(m, f);
        folioClear(m.map, f, PG.PG_locked);
        folioPut(m, f);
        for (const [i, s] of slots)
          if (s.folio === f) {
            s.folio = 0 as FolioId;
            if (s.count === 0) slots.delete(i);
          }
      } else if (slots.size > 0) {
        const i = rng.pick([...slots.keys()]);
        const s = slots.get(i) as Slot;
        if (s.count === 0) continue;
        swapFree(m, i as SwapEntry, 1);
        s.count--;
        if (s.count === 0 && s.folio === 0) slots.delete(i);
      }
      if (step % 500 === 499) {
        checkSwap(m, false);
        for (const [i, s] of slots) {
          expect(swapCount(m, i as SwapEntry), where).toBe(s.count);
          expect(swapCacheGetFolio(m, i as SwapEntry), where).toBe(s.folio);
        }
        expect(m.lruvecs.node.swapPages, where).toBe(free());
      }
    }
    for (const f of folios) {
      folioSet(m.map, f, PG.PG_locked);
      swapCacheDelFolio(m, f);
      folioClear(m.map, f, PG.PG_locked);
      folioPut(m, f);
      for (const s of slots.values()) if (s.folio === f) s.folio = 0 as FolioId;
    }
    for (const [i, s] of slots) for (let n = s.count; n > 0; n--) release(m, i);
    checkSwap(m, false);
    expect(m.lruvecs.node.swapPages).toBe(m.swap.totalPages);
    drainAllPages(m);
    const tables = m.swap.clusters.table.filter((t) => t !== 0).length;
    expect((m.vmstat[V.nr_free_pages] as number) + tables - held).toBe(before);
  });
});
