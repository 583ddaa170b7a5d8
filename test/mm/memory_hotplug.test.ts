/** Memory that is not there for everybody: offline blocks, balloons, reserved, unaccepted and guard pages. */
import { describe, expect, test } from 'vitest';
import { balloonDeflate, balloonInflate, checkBalloon } from '../../src/mm/balloon_compaction.ts';
import { machineCensus, OWNER_ROW, ownerPages } from '../../src/mm/census.ts';
import { __GFP_COMP, __GFP_MEMALLOC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { freeReservedArea, reserveBootmemRegion } from '../../src/mm/memblock.ts';
import { memoryBlockOffline, offlinePages, onlinePages } from '../../src/mm/memory_hotplug.ts';
import { MAX_NR_ZONES } from '../../src/mm/mmzone.ts';
import { acceptMemory, condAcceptMemory, unacceptMemory } from '../../src/mm/page_accept.ts';
import { allocPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { PGTY } from '../../src/mm/page_flags.ts';
import { getPage, tryGetPage } from '../../src/mm/page_ref.ts';
import { pageType } from '../../src/mm/page_type.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const BLOCK = 32768;
const managed = (m: Machine): number => {
  let sum = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) sum += m.zones.zone.managed[z] as number;
  return sum;
};

describe('memory blocks', () => {
  test('a free block goes offline and comes back', () => {
    const m = world(4 * BLOCK);
    const free = m.vmstat[V.nr_free_pages] as number;
    const high = m.zones.zone.high[1];
    expect(offlinePages(m, 2)).toBe(true);
    checkZones(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free - BLOCK);
    expect(managed(m)).toBe(4 * BLOCK - 1 - BLOCK);
    expect(m.zones.zone.high[1]).not.toBe(high);
    expect(memoryBlockOffline(m, 2)).toBe(true);
    expect(machineCensus(m).pieces[OWNER_ROW.offline]).toBe(BLOCK);
    expect(() => getPage(m, (2 * BLOCK + 7) as Pfn)).toThrow(/page type offline takes no reference/);
    expect(() => offlinePages(m, 2)).toThrow(/offline already/);
    onlinePages(m, 2);
    expect(() => onlinePages(m, 2)).toThrow(/online already/);
    expect(m.vmstat[V.nr_free_pages]).toBe(free);
    expect(m.zones.zone.high[1]).toBe(high);
    checkZones(m);
    expect(() => offlinePages(m, 4)).toThrow(/expected 0 to 3/);
  });

  test('a page of the kernel keeps its block', () => {
    const k = world(2 * BLOCK);
    let inside = allocPages(k, GFP_KERNEL, 0);
    while (inside < BLOCK) inside = allocPages(k, GFP_KERNEL, 0);
    const unused = () => {
      drainAllPages(k);
      return k.vmstat[V.nr_free_pages] as number;
    };
    const free = unused();
    expect(offlinePages(k, 1)).toBe(false);
    checkZones(k);
    expect(unused()).toBe(free);
    freePages(k, inside, 0);
    expect(unused()).toBe(free + 1);
  });
});

describe('a balloon', () => {
  test('lends single pages, typed and counted, and gives them back', () => {
    const m = world(BLOCK);
    const free = m.vmstat[V.nr_free_pages];
    expect(balloonInflate(m, 1000)).toBe(1000);
    checkBalloon(m);
    expect(machineCensus(m).pieces[OWNER_ROW.offline]).toBe(1000);
    expect(managed(m)).toBe(BLOCK - 1 - 1000);
    expect(m.vmstat[V.nr_balloon_pages]).toBe(1000);
    // It stops where the guest would have to struggle.
    const most = balloonInflate(m, 1e9);
    expect(most).toBeLessThan(BLOCK - 1000);
    expect(allocPages(m, GFP_KERNEL | __GFP_MEMALLOC, 0)).not.toBe(0);
    checkBalloon(m);
    expect(balloonDeflate(m, 1e9)).toBe(1000 + most);
    checkBalloon(m);
    drainAllPages(m);
    checkZones(m);
    expect(m.vmstat[V.nr_free_pages]).toBe((free as number) - 1);
    expect(m.vmstat[V.balloon_deflate]).toBe(m.vmstat[V.balloon_inflate]);
  });
});

test('reserved memory is marked, not managed, and can be freed later', () => {
  const m = world(BLOCK);
  const free = m.vmstat[V.nr_free_pages] as number;
  reserveBootmemRegion(m, 5000 as Pfn, 7001 as Pfn);
  expect(ownerPages(machineCensus(m), 'reserved')).toBe(2001 + 1);
  expect(managed(m)).toBe(BLOCK - 1 - 2001);
  expect(m.vmstat[V.nr_free_pages]).toBe(free - 2001);
  checkZones(m);
  freeReservedArea(m, 5000 as Pfn, 6000 as Pfn);
  expect(() => freeReservedArea(m, 4999 as Pfn, 5001 as Pfn)).toThrow(/4999: not reserved/);
  drainAllPages(m);
  checkZones(m);
  expect(m.vmstat[V.nr_free_pages]).toBe(free - 1001);
  expect(() => reserveBootmemRegion(m, 6500 as Pfn, 6600 as Pfn)).toThrow(/in use/);
  expect(() => reserveBootmemRegion(m, 1 as Pfn, 10 as Pfn)).toThrow(/expected some/);
});

describe('unaccepted memory', () => {
  test('is accepted block by block as the zone falls below its highest mark', () => {
    const m = world(4 * BLOCK);
    const zone = 1;
    unacceptMemory(m, BLOCK as Pfn, (4 * BLOCK) as Pfn);
    checkZones(m);
    expect(m.vmstat[V.nr_unaccepted]).toBe(3 * BLOCK);
    const census = machineCensus(m);
    expect(census.pieces[OWNER_ROW.unaccepted + 10]).toBe((3 * BLOCK) / 1024);
    expect(() => getPage(m, (2 * BLOCK) as Pfn)).toThrow(/unaccepted takes no reference: accept it first/);
    expect(tryGetPage(m, (2 * BLOCK) as Pfn)).toBe(false);
    for (let got = 0; got < 3 * BLOCK; got++) {
      const p = allocPages(m, GFP_HIGHUSER_MOVABLE, 0);
      if (p === 0 || pageType(m.map, p) !== 0) throw new Error(`page ${got}: frame ${p}`);
    }
    // No more than needed: free memory stays about at the mark.
    const t = m.zones.zone;
    expect(m.vmstat[V.nr_unaccepted]).toBeGreaterThan(0);
    expect((t.free[zone] as number) + (t.pcpCount[zone] as number)).toBeLessThan((t.promo[zone] as number) + 4096);
    checkZones(m);
    expect(condAcceptMemory(m, zone)).toBe(false);
    acceptMemory(m, 0 as Pfn, (4 * BLOCK) as Pfn);
    expect(m.vmstat[V.nr_unaccepted]).toBe(0);
    checkZones(m);
  });

  test('one block out of the middle can be asked for', () => {
    const m = world(4 * BLOCK);
    unacceptMemory(m, BLOCK as Pfn, (2 * BLOCK) as Pfn);
    acceptMemory(m, (BLOCK + 5000) as Pfn, (BLOCK + 5001) as Pfn);
    expect(m.vmstat[V.nr_unaccepted]).toBe(BLOCK - 1024);
    expect(pageType(m.map, (BLOCK + 4096) as Pfn)).toBe(PGTY.PGTY_buddy);
    expect(() => unacceptMemory(m, 0 as Pfn, 1024 as Pfn)).toThrow(/not the first/);
    checkZones(m);
    acceptMemory(m, BLOCK as Pfn, (2 * BLOCK) as Pfn);
    expect(m.vmstat[V.nr_unaccepted]).toBe(0);
    checkZones(m);
  });
});

describe('guard pages', () => {
  test('what is left over of a small block stays a guard, until its buddy is free', () => {
    const m = world(4096);
    const free = m.vmstat[V.nr_free_pages] as number;
    m.zones.guardMinorder = 2;
    const p = allocPages(m, GFP_KERNEL | __GFP_COMP, 4);
    const guards = (n: Machine) => ownerPages(machineCensus(n), 'guard');
    expect(guards(m)).toBe(0);
    freePages(m, p, 4);
    const q = allocPages(m, GFP_KERNEL, 0);
    expect(guards(m)).toBeGreaterThan(0);
    checkZones(m);
    expect(() =>
      getPage(m, [...Array(4096).keys()].find((f) => f > 0 && pageType(m.map, f as Pfn) === PGTY.PGTY_guard) as Pfn),
    ).toThrow(/page type guard takes no reference/);
    freePages(m, q, 0);
    drainAllPages(m);
    expect(guards(m)).toBe(0);
    checkZones(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free);
  });

  test('random allocations with guards: nothing is lost', () => {
    fuzz(
      seedOf(2),
      stepsOf(4000),
      (r) => (r.below(2) === 0 ? ['a', r.below(5)] : ['f', r.below(1e6)]),
      (ops) => {
        const m = world(8192);
        const free = m.vmstat[V.nr_free_pages] as number;
        m.zones.guardMinorder = 3;
        const live: [Pfn, number][] = [];
        for (const [kind, a] of ops) {
          if (kind === 'a') {
            const p = allocPages(m, GFP_KERNEL, a as number);
            if (p !== 0) live.push([p, a as number]);
          } else if (live.length > 0) {
            const [p, order] = live.splice((a as number) % live.length, 1)[0] as [Pfn, number];
            freePages(m, p, order);
          }
        }
        checkZones(m);
        for (const [p, order] of live) freePages(m, p, order);
        drainAllPages(m);
        checkZones(m);
        expect(ownerPages(machineCensus(m), 'guard')).toBe(0);
        expect(m.vmstat[V.nr_free_pages]).toBe(free);
      },
    );
  });
});
