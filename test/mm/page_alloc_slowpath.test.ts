import { describe, expect, test } from 'vitest';
import type { AddressSpaceOperations } from '../../src/mm/address_space.ts';
import { filemapAddFolio } from '../../src/mm/filemap.ts';
import {
  __GFP_MOVABLE,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOWAIT,
} from '../../src/mm/gfp.ts';
import type { MappingId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { inodeInit } from '../../src/mm/mm_init.ts';
import { folioClear, folioSet } from '../../src/mm/mm_types.ts';
import { allocFrozenPages, folioAlloc } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { folioPut, lruAddDrain } from '../../src/mm/swap.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { world } from './page_alloc_world.ts';

const noFs = { name: 'none', inodeInit: () => {}, releaseFolio: () => true } as unknown as AddressSpaceOperations;
const newFile = (m: Machine): MappingId =>
  inodeInit(m, { ops: noFs, size: 2 ** 40, minOrder: 0, maxOrder: 9, blkbits: 12, raPages: 32, ioPages: 32 });

/** Reads a file of that many folios through the cache once; how many could not be had. */
function readThrough(m: Machine, folios: number, order: number, gfp: number): number {
  const file = newFile(m);
  let failed = 0;
  for (let i = 0; i < folios; i++) {
    const folio = folioAlloc(m, gfp, order);
    if (folio === 0) {
      failed++;
      continue;
    }
    if (filemapAddFolio(m, file, folio, i * 2 ** order, gfp) !== 0) throw new Error('in the cache already');
    folioClear(m.map, folio, PG.PG_locked);
    folioSet(m.map, folio, PG.PG_uptodate);
    folioPut(m, folio);
  }
  lruAddDrain(m);
  checkZones(m);
  checkLru(m);
  return failed;
}
/** Takes memory for good until the request fails. */
function takeAll(m: Machine, gfp: number, order = 0): number {
  let pages = 0;
  while (allocFrozenPages(m, gfp, order) !== 0) pages += 2 ** order;
  return pages;
}
const QUIET = __GFP_MOVABLE;

describe('memory full of clean file pages', () => {
  test('a file larger than memory is read to its end: kswapd keeps up', () => {
    const m = world(2 ** 14);
    expect(readThrough(m, 40_000, 0, GFP_HIGHUSER_MOVABLE)).toBe(0);
    expect(m.vmstat[V.pgsteal_kswapd]).toBeGreaterThan(20_000);
    expect(m.vmstat[V.oom_kill]).toBe(0);
    expect(m.vmstat[V.nr_free_pages]).toBeGreaterThan(m.zones.zone.min[1]);
  });
  test('without kswapd the request reclaims for itself', () => {
    const m = world(2 ** 14);
    const gfp = GFP_HIGHUSER_MOVABLE & ~0x800;
    expect(readThrough(m, 20_000, 0, gfp)).toBe(0);
    expect(m.vmstat[V.pgsteal_direct]).toBeGreaterThan(3000);
    expect(m.vmstat[V.pgsteal_kswapd]).toBe(0);
  });
  test('large folios too', () => {
    for (const order of [2, 4, 7]) {
      const m = world(2 ** 14);
      const failed = readThrough(m, 40_000 >> order, order, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY);
      expect(failed).toBeLessThan((40_000 >> order) / 10);
    }
  });
  test('small pages left behind: a large one needs reclaim or compaction, and gets it', () => {
    const m = world(2 ** 14);
    readThrough(m, 16_000, 0, GFP_HIGHUSER_MOVABLE);
    const before = m.vmstat[V.pgfree];
    expect(folioAlloc(m, GFP_HIGHUSER_MOVABLE, 3)).not.toBe(0);
    expect(m.vmstat[V.pgfree]).toBeGreaterThanOrEqual(before);
    checkZones(m);
  });
});

describe('memory that nobody gives back', () => {
  test('who waits is told so, and it counts once', () => {
    const m = world(2 ** 14);
    takeAll(m, GFP_HIGHUSER_MOVABLE);
    expect(m.vmstat[V.oom_kill]).toBe(1);
    expect(allocFrozenPages(m, GFP_KERNEL, 0)).toBe(0);
    expect(m.vmstat[V.oom_kill]).toBe(2);
    checkZones(m);
  });
  test.each([
    ['a costly order', GFP_KERNEL, 4],
    ['NORETRY', GFP_KERNEL | __GFP_NORETRY, 0],
    ['RETRY_MAYFAIL', GFP_KERNEL | __GFP_RETRY_MAYFAIL, 0],
    ['no direct reclaim', GFP_NOWAIT, 0],
  ])('%s fails without that', (_, gfp, order) => {
    const m = world(2 ** 14);
    takeAll(m, gfp, order);
    expect(allocFrozenPages(m, gfp, order)).toBe(0);
    expect(m.vmstat[V.oom_kill]).toBe(0);
  });
  test('marks: who may go how deep', () => {
    const m = world(2 ** 14);
    const { free, min } = m.zones.zone;
    takeAll(m, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY);
    expect(free[1]).toBeLessThanOrEqual(min[1]);
    expect(free[1]).toBeGreaterThan(min[1] * 0.9);
    takeAll(m, GFP_ATOMIC | QUIET);
    expect(free[1]).toBeLessThan(min[1] * 0.4);
    expect(free[1]).toBeGreaterThan(min[1] * 0.3);
    m.zones.memalloc = true;
    takeAll(m, GFP_ATOMIC | QUIET);
    expect(free[1]).toBe(0);
    checkZones(m);
  });
  test('a lower zone keeps its reserve from requests that can use a higher one', () => {
    const m = world(2 ** 16);
    takeAll(m, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY);
    const { free, lowmemReserve } = m.zones.zone;
    expect(lowmemReserve[2]).toBe(Math.floor((2 ** 16 - 4096) / 256));
    expect(free[0]).toBeGreaterThanOrEqual(lowmemReserve[2]);
  });
});
