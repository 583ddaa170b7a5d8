import { describe, expect, test } from 'vitest';
import { __GFP_COMP, __GFP_DMA, __GFP_DMA32, GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { MemoryMap } from '../../src/mm/memory_map.ts';
import {
  FOLIO_WORDS,
  folioOrder,
  folioPfn,
  folioRefCount,
  folioSet,
  folioSetCount,
  folioSetIndex,
  folioSetMemcg,
  pageFolio,
  pageTail,
} from '../../src/mm/mm_types.ts';
import {
  areaRow,
  MIGRATE_HIGHATOMIC,
  MIGRATE_MOVABLE,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  pageblockType,
  ZONE_DMA,
  ZONE_DMA32,
} from '../../src/mm/mmzone.ts';
import {
  allocFrozenPages,
  allocPages,
  folioAlloc,
  freeFrozenFolio,
  freeFrozenPages,
  freePages,
  zonesInit,
} from '../../src/mm/page_alloc.ts';
import { freeOnePage, memblockFreeAll, rmqueueSmallest, splitLargeBuddy } from '../../src/mm/page_alloc_buddy.ts';
import { checkZones, pagesOut } from '../../src/mm/page_alloc_check.ts';
import {
  RMQUEUE_NORMAL,
  reserveHighatomicPageblock,
  rmqueueAny,
  unreserveHighatomicPageblock,
} from '../../src/mm/page_alloc_fallback.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { buddyInfo, extfragForOrder, fragmentationIndex, unusableFreeIndex } from '../../src/mm/page_alloc_report.ts';
import { ALLOC_KSWAPD, ALLOC_NOFRAGMENT } from '../../src/mm/page_alloc_watermark.ts';
import { PG, PG_large_rmappable } from '../../src/mm/page_flags.ts';
import { freeNext } from '../../src/mm/page_free.ts';
import { clearPageFlag, pageCount, setPageCount, setPageFlag } from '../../src/mm/page_type.ts';
import { V, vmstatTable } from '../../src/mm/vmstat.ts';
import { tinyWorld, world } from './page_alloc_world.ts';

/** Frames of one free list, first to last, without what is behind the cursor. */
function listed(m: Machine, zone: number, order: number, type: number): number[] {
  const out: number[] = [];
  for (let p = m.zones.area.head[areaRow(m.zones, zone, order, type)]; p !== 0; p = freeNext(m.map, p)) out.push(p);
  return out;
}
/** All free blocks of a zone: `type: frame+order frame+order …`. */
function picture(m: Machine, zone = ZONE_DMA): string[] {
  const lines: string[] = [];
  for (let type = 0; type < 4; type++) {
    const blocks: string[] = [];
    for (let o = 0; o <= m.zones.maxOrder; o++) for (const pfn of listed(m, zone, o, type)) blocks.push(`${pfn}+${o}`);
    if (blocks.length > 0) lines.push(`${'umrh'[type]}: ${blocks.join(' ')}`);
  }
  return lines;
}
const take = (m: Machine, order: number, type: number, flags = 0): number => {
  m.zones.rmqueueMode = RMQUEUE_NORMAL;
  return rmqueueAny(m, ZONE_DMA, order, type, flags);
};

describe('a machine at boot', () => {
  test('every frame but the first is free, in the largest aligned blocks', () => {
    const m = world(2 ** 21);
    expect(buddyInfo(m)).toEqual([
      { zone: 'DMA', blocks: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3] },
      { zone: 'DMA32', blocks: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1020] },
      { zone: 'Normal', blocks: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1024] },
    ]);
    expect(m.vmstat[V.nr_free_pages]).toBe(2 ** 21 - 1);
    expect(m.vmstat[V.nr_free_pages_blocks]).toBe(2 ** 21 - 512);
    checkZones(m);
  });
  test('a size that is no multiple of a block ends in smaller ones', () => {
    const m = world(4096 + 1024 + 512 + 3);
    expect(buddyInfo(m)[1]).toEqual({ zone: 'DMA32', blocks: [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1] });
    checkZones(m);
  });
  test('the first page is the lowest of the highest zone; frame 0 is never given', () => {
    expect(allocFrozenPages(world(2 ** 21), GFP_HIGHUSER_MOVABLE, 0)).toBe(2 ** 20);
    expect(allocFrozenPages(world(2 ** 20), GFP_HIGHUSER_MOVABLE, 0)).toBe(4096);
    const m = world(2 ** 21);
    expect(allocFrozenPages(m, GFP_KERNEL | __GFP_DMA32, 0)).toBe(4096);
    expect(allocFrozenPages(m, GFP_HIGHUSER_MOVABLE | __GFP_DMA, 0)).toBe(1);
    // Unmovable memory claims the largest movable block.
    expect(allocFrozenPages(m, GFP_KERNEL | __GFP_DMA, 0)).toBe(1024);
  });
  test('memory comes in ascending order, and untouched memory has no state', () => {
    const m = world(2 ** 16);
    let last = 0;
    for (let i = 0; i < 20; i++) {
      const pfn = folioPfn(m.map, folioAlloc(m, GFP_HIGHUSER_MOVABLE, 9));
      expect(pfn).toBe(i === 0 ? 4096 : last + 512);
      last = pfn;
    }
    const { frames, pageWords } = m.map;
    expect(m.map.subarray((last + 2048) * pageWords, frames * pageWords).every((word) => word === 0)).toBe(true);
    checkZones(m);
  });
  test('the lists of a terabyte take no time and a byte a page block', () => {
    // With a memory map of the first blocks only: 16 GiB would be the whole one.
    const zones = zonesInit(2 ** 28, 4096);
    const small = world(256);
    const m = Object.assign(small, {
      zones,
      map: new MemoryMap(small.map.layout, 2 ** 20 + 2, 9, 4096),
      vmstat: vmstatTable(),
    });
    memblockFreeAll(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(2 ** 28 - 1);
    expect(zones.blocks.length).toBe(2 ** 19);
    expect(buddyInfo(m)[2]?.blocks[10]).toBe((2 ** 28 - 2 ** 20) / 1024);
  });
});

describe('what a request gets', () => {
  test('a folio: compound, one reference, nothing else', () => {
    const m = world(2 ** 14);
    const f = folioAlloc(m, GFP_HIGHUSER_MOVABLE, 4);
    expect(folioOrder(m.map, f)).toBe(4);
    expect(folioRefCount(m.map, f)).toBe(1);
    expect(m.map[f * FOLIO_WORDS]).toBe(PG.PG_head);
    expect((m.map[f * FOLIO_WORDS + m.map.flags1] as number) & PG_large_rmappable).not.toBe(0);
    expect(pageFolio(m.map, (folioPfn(m.map, f) + 15) as Pfn)).toBe(f);
    expect(pageTail(m.map, (folioPfn(m.map, f) + 16) as Pfn)).toBe(false);
    expect(m.vmstat[V.pgalloc_dma32]).toBe(16);
  });
  test('a page that was used comes back clean', () => {
    const m = world(2 ** 14);
    const f = folioAlloc(m, GFP_HIGHUSER_MOVABLE, 0);
    folioSet(m.map, f, PG.PG_dirty | PG.PG_uptodate | PG.PG_referenced);
    folioSetIndex(m.map, f, 77);
    folioSetMemcg(m.map, f, 3);
    folioSetCount(m.map, f, 0);
    freeFrozenFolio(m, f, 0);
    const again = folioAlloc(m, GFP_HIGHUSER_MOVABLE, 0);
    expect(again).toBe(f);
    const { map } = m;
    const w = f * FOLIO_WORDS;
    const words = Array.from(map.subarray(w, w + (map.overlaid ? 16 : 20)));
    const clean = words.map((_, i) =>
      i === map.mapcount ? -1 : i === map.refcount ? 1 : i === map.pfn ? folioPfn(map, f) : 0,
    );
    expect(words).toEqual(clean);
  });
  test('the wrapper counts, the core does not', () => {
    const m = world(2 ** 14);
    const frozen = allocFrozenPages(m, GFP_KERNEL | __GFP_COMP, 2);
    expect(pageCount(m.map, frozen)).toBe(0);
    freeFrozenPages(m, frozen, 2);
    const pages = allocPages(m, GFP_KERNEL, 2);
    expect(pageCount(m.map, pages)).toBe(1);
    // Nobody asked for a compound page.
    expect(pageTail(m.map, (pages + 1) as Pfn)).toBe(false);
    freePages(m, pages, 2);
    expect(pagesOut(m, ZONE_DMA32)).toBe(0);
    checkZones(m);
  });
  test('what is freed while in use is refused', () => {
    const m = world(2 ** 14);
    const pfn = allocPages(m, GFP_KERNEL, 0);
    expect(() => freeFrozenPages(m, pfn, 0)).toThrow('nobody refers');
    setPageCount(m.map, pfn, 0);
    // With descriptors apart, a page that is no folio's has no such flags.
    if (m.map.overlaid) {
      setPageFlag(m.map, pfn, PG.PG_locked);
      expect(() => freeFrozenPages(m, pfn, 0)).toThrow('no flag');
      clearPageFlag(m.map, pfn, PG.PG_locked);
    }
    freeFrozenPages(m, pfn, 0);
    drainAllPages(m);
    // It is the head of a free block or inside one: either way not a page that somebody has.
    if (m.map.overlaid && m.map[pfn * m.map.pageWords + m.map.mapcount] !== -1)
      expect(() => freeFrozenPages(m, pfn, 0)).toThrow('not free');
  });
  test('an order that no block has', () => {
    expect(allocFrozenPages(world(2 ** 14), GFP_KERNEL, 11)).toBe(0);
  });
});

describe('taking and giving back', () => {
  test('the smallest block is cut: the lowest part taken, upper halves listed', () => {
    const m = tinyWorld(16, 3, 3);
    expect(picture(m)).toEqual(['m: 1+0 2+1 4+2 8+3']);
    expect(rmqueueSmallest(m, ZONE_DMA, 1, MIGRATE_MOVABLE)).toBe(2);
    expect(rmqueueSmallest(m, ZONE_DMA, 1, MIGRATE_MOVABLE)).toBe(4);
    expect(rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE)).toBe(1);
    expect(rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE)).toBe(6);
    expect(picture(m)).toEqual(['m: 7+0 8+3']);
  });
  test('buddies join as far as they are free', () => {
    const m = tinyWorld(16, 3, 3);
    const a = [0, 1, 2, 3].map(() => rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE));
    expect(a).toEqual([1, 2, 3, 4]);
    freeOnePage(m, ZONE_DMA, 3, 0, MIGRATE_MOVABLE, false);
    expect(picture(m)).toEqual(['m: 3+0 5+0 6+1 8+3']);
    freeOnePage(m, ZONE_DMA, 2, 0, MIGRATE_MOVABLE, false);
    freeOnePage(m, ZONE_DMA, 4, 0, MIGRATE_MOVABLE, false);
    expect(picture(m)).toEqual(['m: 2+1 4+2 8+3']);
  });
  test('a block goes to the head, or to the tail when it may soon join its buddy', () => {
    const m = tinyWorld(32, 4, 4);
    const pages = Array.from({ length: 31 }, () => rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE));
    expect(pages).toEqual(Array.from({ length: 31 }, (_, i) => i + 1));
    const free = (pfn: number) => freeOnePage(m, ZONE_DMA, pfn, 0, MIGRATE_MOVABLE, false);
    free(5);
    free(9);
    expect(listed(m, ZONE_DMA, 0, MIGRATE_MOVABLE)).toEqual([9, 5]);
    free(16);
    free(17);
    // The buddy of [18,20), which 18 would become, is free.
    free(18);
    expect(listed(m, ZONE_DMA, 0, MIGRATE_MOVABLE)).toEqual([9, 5, 18]);
  });
  test('a free larger than a page block goes back block by block', () => {
    const m = world(2 ** 14);
    const pfn = allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 10);
    expect(m.vmstat[V.nr_free_pages]).toBe(2 ** 14 - 1 - 1024);
    splitLargeBuddy(m, ZONE_DMA32, pfn, 10);
    expect(m.vmstat[V.nr_free_pages]).toBe(2 ** 14 - 1);
    expect(listed(m, ZONE_DMA32, 10, MIGRATE_MOVABLE)[0]).toBe(pfn);
    checkZones(m);
  });
});

describe('per-CPU lists', () => {
  test('the page freed last is taken first', () => {
    const m = world(2 ** 16);
    const a = allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 0);
    const b = allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 0);
    expect([a, b]).toEqual([4096, 4097]);
    freeFrozenPages(m, a, 0);
    freeFrozenPages(m, b, 0);
    expect(allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 0)).toBe(b);
    expect(allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 0)).toBe(a);
  });
  test('batches double while pages are only taken', () => {
    const m = world(2 ** 21);
    const sizes: number[] = [];
    let before = 0;
    for (let i = 0; i < 4000; i++) {
      allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 0);
      const count = m.zones.zone.pcpCount[2];
      if (count > before) sizes.push(count + 1 - before);
      before = count;
    }
    expect(sizes.slice(0, 6)).toEqual([63, 126, 252, 504, 1008, 2016]);
  });
  test('each type has its own, and orders above 3 but the PMD order have none', () => {
    const m = world(2 ** 16);
    allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 4);
    expect(m.zones.zone.pcpCount[ZONE_DMA32]).toBe(0);
    const pfn = allocFrozenPages(m, GFP_HIGHUSER_MOVABLE, 9);
    freeFrozenPages(m, pfn, 9);
    expect(m.zones.zone.pcpCount[ZONE_DMA32]).toBeGreaterThanOrEqual(512);
    drainAllPages(m);
    expect(m.zones.zone.pcpCount[ZONE_DMA32]).toBe(0);
    checkZones(m);
  });
});

describe('one type takes from another', () => {
  // Four page blocks of four frames: [1..3] [4..7] [8..11] [12..15].
  test('claim: a whole page block changes its type', () => {
    const m = tinyWorld(16, 3, 2);
    expect(take(m, 0, MIGRATE_UNMOVABLE)).toBe(8);
    expect([8, 12].map((pfn) => pageblockType(m.zones, pfn))).toEqual([MIGRATE_UNMOVABLE, MIGRATE_UNMOVABLE]);
    expect(picture(m)).toEqual(['u: 9+0 10+1 12+2', 'm: 1+0 2+1 4+2']);
    checkZones(m);
  });
  test('claim: a block that is half free is ours, with all its free pages', () => {
    const m = tinyWorld(16, 3, 2);
    expect([rmqueueSmallest(m, ZONE_DMA, 3, 1), rmqueueSmallest(m, ZONE_DMA, 1, 1)]).toEqual([8, 2]);
    expect(rmqueueSmallest(m, ZONE_DMA, 1, 1)).toBe(4);
    expect(take(m, 0, MIGRATE_RECLAIMABLE)).toBe(6);
    expect(picture(m)).toEqual(['m: 1+0', 'r: 7+0']);
    expect(pageblockType(m.zones, 4)).toBe(MIGRATE_RECLAIMABLE);
    checkZones(m);
  });
  test('steal: else single pages, and the rest stays where it was', () => {
    const m = tinyWorld(32, 4, 3);
    // Unmovable [8,16): five of eight pages taken; everything else given away.
    expect(take(m, 4, MIGRATE_MOVABLE)).toBe(16);
    expect(take(m, 3, MIGRATE_UNMOVABLE)).toBe(8);
    while (take(m, 0, MIGRATE_MOVABLE, ALLOC_NOFRAGMENT) !== 0);
    freeOnePage(m, ZONE_DMA, 14, 1, MIGRATE_UNMOVABLE, false);
    expect(picture(m)).toEqual(['u: 14+1']);
    expect(take(m, 0, MIGRATE_MOVABLE, ALLOC_NOFRAGMENT)).toBe(0);
    expect(take(m, 0, MIGRATE_MOVABLE)).toBe(14);
    expect(picture(m)).toEqual(['u: 15+0']);
    checkZones(m);
  });
  test('up to 6.6 the rest of a stolen block goes to the taker', () => {
    const m = tinyWorld(32, 4, 3, '6.6');
    expect(take(m, 4, MIGRATE_MOVABLE)).toBe(16);
    expect(take(m, 3, MIGRATE_UNMOVABLE)).toBe(8);
    while (take(m, 0, MIGRATE_MOVABLE, ALLOC_NOFRAGMENT) !== 0);
    freeOnePage(m, ZONE_DMA, 14, 1, MIGRATE_UNMOVABLE, false);
    expect(take(m, 0, MIGRATE_MOVABLE)).toBe(14);
    expect(picture(m)).toEqual(['m: 15+0']);
    expect(pageblockType(m.zones, 14)).toBe(MIGRATE_UNMOVABLE);
    checkZones(m);
  });
  test('mixing raises the watermark, and kswapd is asked for page blocks', () => {
    const m = world(2 ** 15);
    const { zones } = m;
    while (rmqueueSmallest(m, ZONE_DMA32, 9, MIGRATE_MOVABLE) !== 0);
    const block = 2 ** 14;
    for (let p = block; p < block + 512; p += 2) freeOnePage(m, ZONE_DMA32, p, 0, MIGRATE_MOVABLE, false);
    zones.rmqueueMode = RMQUEUE_NORMAL;
    expect(rmqueueAny(m, ZONE_DMA32, 0, MIGRATE_UNMOVABLE, ALLOC_KSWAPD)).toBe(block);
    expect(zones.zone.boost[ZONE_DMA32]).toBe(512);
    expect(pageblockType(zones, block)).toBe(MIGRATE_UNMOVABLE);
  });
});

describe('reserves', () => {
  test('a high-order atomic request keeps its page block for others, and gives it back', () => {
    const m = world(2 ** 17);
    const { zones } = m;
    const { nrReservedHighatomic, freeHighatomic } = zones.zone;
    const pfn = rmqueueSmallest(m, ZONE_DMA32, 3, MIGRATE_MOVABLE);
    reserveHighatomicPageblock(m, ZONE_DMA32, pfn, 3);
    expect(nrReservedHighatomic[ZONE_DMA32]).toBe(512);
    expect(freeHighatomic[ZONE_DMA32]).toBe(504);
    expect(pageblockType(zones, pfn)).toBe(MIGRATE_HIGHATOMIC);
    checkZones(m);
    expect(unreserveHighatomicPageblock(m, ZONE_DMA32, MIGRATE_MOVABLE, false)).toBe(false);
    expect(unreserveHighatomicPageblock(m, ZONE_DMA32, MIGRATE_MOVABLE, true)).toBe(true);
    expect([nrReservedHighatomic[ZONE_DMA32], freeHighatomic[ZONE_DMA32]]).toEqual([0, 0]);
    checkZones(m);
  });
  test('at most a hundredth of the zone, rounded up; none in a small one', () => {
    const m = world(2 ** 17);
    for (let i = 0; i < 10; i++)
      reserveHighatomicPageblock(m, ZONE_DMA32, rmqueueSmallest(m, ZONE_DMA32, 9, MIGRATE_MOVABLE), 9);
    expect(m.zones.zone.nrReservedHighatomic[ZONE_DMA32]).toBe(Math.ceil(126_976 / 100 / 512) * 512);
    const small = world(2 ** 15);
    reserveHighatomicPageblock(small, ZONE_DMA32, rmqueueSmallest(small, ZONE_DMA32, 3, MIGRATE_MOVABLE), 3);
    expect(small.zones.zone.nrReservedHighatomic[ZONE_DMA32]).toBe(0);
  });
  test('an atomic request goes below the mark where others stop', () => {
    const m = world(2 ** 15);
    let ordinary = 0;
    while (allocFrozenPages(m, __GFP_COMP | 0x8, 0) !== 0) ordinary++;
    let atomic = 0;
    while (allocFrozenPages(m, GFP_ATOMIC | __GFP_COMP, 0) !== 0) atomic++;
    expect(ordinary).toBeGreaterThan(25_000);
    expect(atomic).toBeGreaterThan(0);
    expect(m.vmstat[V.nr_free_pages]).toBeGreaterThan(0);
    checkZones(m);
  });
});

describe('how broken up free memory is', () => {
  test('whole blocks', () => {
    const { zones } = world(2 ** 14);
    expect(extfragForOrder(zones, ZONE_DMA32, 9)).toBe(0);
    expect(fragmentationIndex(zones, ZONE_DMA32, 9)).toBe(-1000);
    expect(unusableFreeIndex(zones, ZONE_DMA32, 9)).toBe(0);
  });
  test('every second page', () => {
    const m = tinyWorld(32, 4, 3);
    while (rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE) !== 0);
    for (let pfn = 2; pfn < 32; pfn += 2) freeOnePage(m, ZONE_DMA, pfn, 0, MIGRATE_MOVABLE, false);
    expect(extfragForOrder(m.zones, ZONE_DMA, 1)).toBe(100);
    expect(unusableFreeIndex(m.zones, ZONE_DMA, 1)).toBe(1000);
    // 15 pages in 15 blocks, a pair wanted: 1000 − (1000 + 1000·15/2) / 15.
    expect(fragmentationIndex(m.zones, ZONE_DMA, 1)).toBe(1000 - Math.floor((1000 + 7500) / 15));
    expect(fragmentationIndex(m.zones, ZONE_DMA, 0)).toBe(-1000);
  });
  test('nothing free', () => {
    const m = tinyWorld(16, 3, 2);
    while (rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE) !== 0);
    expect([fragmentationIndex(m.zones, ZONE_DMA, 1), extfragForOrder(m.zones, ZONE_DMA, 1)]).toEqual([0, 0]);
    expect(unusableFreeIndex(m.zones, ZONE_DMA, 1)).toBe(1000);
  });
});
