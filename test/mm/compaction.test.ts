import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import type { AddressSpaceOperations } from '../../src/mm/address_space.ts';
import {
  COMPACT_COMPLETE,
  COMPACT_DEFERRED,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_PRIO_ASYNC,
  COMPACT_PRIO_SYNC_FULL,
  COMPACT_PRIO_SYNC_LIGHT,
  COMPACT_SUCCESS,
  compactionDeferReset,
  compactionDeferred,
  compactionSuitable,
  compactMemory,
  tryToCompactPages,
  wakeupKcompactd,
} from '../../src/mm/compaction.ts';
import { filemapAddFolio, filemapGetFolio, filemapRemoveFolio } from '../../src/mm/filemap.ts';
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_MOVABLE,
  __GFP_NORETRY,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
} from '../../src/mm/gfp.ts';
import type { FolioId, MappingId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { inodeInit } from '../../src/mm/mm_init.ts';
import {
  folioAttachPrivate,
  folioClear,
  folioFlags,
  folioIndex,
  folioMapping,
  folioOrder,
  folioPrivate,
  folioRefAdd,
  folioRefCount,
  folioSet,
} from '../../src/mm/mm_types.ts';
import { MIGRATE_MOVABLE, PB_SKIP, ZONE_DMA, ZONE_DMA32 } from '../../src/mm/mmzone.ts';
import { allocFrozenPages, folioAlloc, freeFrozenPages } from '../../src/mm/page_alloc.ts';
import { freeOnePage, rmqueueSmallest } from '../../src/mm/page_alloc_buddy.ts';
import { checkZones, pagesOut } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { nrFree } from '../../src/mm/page_alloc_report.ts';
import { minWmarkPages } from '../../src/mm/page_alloc_watermark.ts';
import { decodeFlags, PG } from '../../src/mm/page_flags.ts';
import { folioPut, folioPutRefs, lruAddDrain } from '../../src/mm/swap.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { world } from './page_alloc_world.ts';

/** A file system of which nothing is asked. */
const noFs = { name: 'none', inodeInit: () => {}, releaseFolio: () => true } as unknown as AddressSpaceOperations;
const newFile = (m: Machine): MappingId =>
  inodeInit(m, { ops: noFs, size: 2 ** 40, minOrder: 0, maxOrder: 9, blkbits: 12, raPages: 32, ioPages: 32 });

/** A folio of the file, uptodate, unlocked, held by the cache alone; 0: no memory. */
function cacheFolio(m: Machine, file: MappingId, index: number, order: number): FolioId {
  const folio = folioAlloc(m, GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM, order);
  if (folio === 0) return folio;
  expect(filemapAddFolio(m, file, folio, index, GFP_HIGHUSER_MOVABLE)).toBe(0);
  folioClear(m.map, folio, PG.PG_locked);
  folioSet(m.map, folio, PG.PG_uptodate);
  folioPut(m, folio);
  return folio;
}
/** Takes a folio out of the cache, and so frees it. */
function dropFolio(m: Machine, folio: FolioId): void {
  folioRefAdd(m.map, folio, 1);
  filemapRemoveFolio(m, folio, -1, 0);
  folioPut(m, folio);
}

/** Requests that wake nobody and reclaim nothing. */
const QUIET = __GFP_MOVABLE;

/** Memory full of one file's folios of that order, of which all but every `keep`th are then dropped. */
function fragmented(m: Machine, keep: number, order = 0): MappingId {
  const file = newFile(m);
  const { free, high } = m.zones.zone;
  const size = 2 ** order;
  let nr = 0;
  while (free[ZONE_DMA32] > high[ZONE_DMA32] + 64 + size) cacheFolio(m, file, nr++ * size, order);
  lruAddDrain(m);
  for (let i = 0; i < nr; i++) if (i % keep !== 0) dropFolio(m, filemapGetFolio(m, file, i * size));
  drainAllPages(m);
  return file;
}
/** Takes all blocks of the PMD order, and has one made. */
function compactForPmd(m: Machine): number {
  while (allocFrozenPages(m, QUIET, 9) !== 0);
  const result = tryToCompactPages(m, GFP_KERNEL, 9, 0, ZONE_DMA32, MIGRATE_MOVABLE, COMPACT_PRIO_SYNC_LIGHT);
  if (m.zones.capturePfn !== 0) freeFrozenPages(m, m.zones.capturePfn as Pfn, 9);
  m.zones.capturePfn = 0;
  return result;
}
const largest = (m: Machine): number => nrFree(m.zones, ZONE_DMA32, 9) + 2 * nrFree(m.zones, ZONE_DMA32, 10);

/** What the cache holds: `index:order` of each folio, and that each is where it says it is. */
function cached(m: Machine, file: MappingId, pages: number): string[] {
  const out: string[] = [];
  for (let i = 0; i < pages; ) {
    const f = filemapGetFolio(m, file, i);
    if (f === 0) {
      i++;
      continue;
    }
    expect(folioMapping(m.map, f)).toBe(file);
    expect(folioIndex(m.map, f)).toBe(i);
    out.push(`${i}:${folioOrder(m.map, f)}`);
    i += 2 ** folioOrder(m.map, f);
  }
  return out;
}

/** The pages that such a list covers. */
const pagesOf = (folios: string[]): number[] =>
  folios.flatMap((f) => {
    const [index, order] = f.split(':').map(Number) as [number, number];
    return Array.from({ length: 2 ** order }, (_, i) => index + i);
  });

describe('compaction', () => {
  test('compact_memory gathers what is used at the top of each zone, and loses nothing', () => {
    const m = world(2 ** 15);
    const file = fragmented(m, 4);
    expect(largest(m)).toBeLessThan(6);
    const before = cached(m, file, 2 ** 15);
    const out = pagesOut(m, ZONE_DMA32);
    compactMemory(m);
    lruAddDrain(m);
    drainAllPages(m);
    checkZones(m);
    checkLru(m);
    expect(cached(m, file, 2 ** 15)).toEqual(before);
    expect(pagesOut(m, ZONE_DMA32)).toBe(out);
    expect(m.vmstat[V.pgmigrate_success]).toBeGreaterThan(1000);
    // A quarter is used: nearly three quarters of the page blocks can be whole.
    expect(largest(m)).toBeGreaterThan((2 ** 15 / 512) * 0.6);
  });

  test('large folios move whole', () => {
    const m = world(2 ** 15);
    const file = fragmented(m, 4, 4);
    const before = cached(m, file, 2 ** 15);
    expect(compactForPmd(m)).toBe(COMPACT_SUCCESS);
    expect(m.vmstat[V.pgmigrate_success]).toBeGreaterThan(0);
    expect(m.vmstat[V.pgmigrate_success] % 16).toBe(0);
    expect(m.vmstat[V.thp_split_page]).toBe(0);
    expect(cached(m, file, 2 ** 15)).toEqual(before);
    lruAddDrain(m);
    checkLru(m);
    checkZones(m);
  });

  test('up to 6.6 they stay where they are', () => {
    const m = world(2 ** 15, '6.6');
    fragmented(m, 4, 4);
    compactMemory(m);
    expect(m.vmstat[V.pgmigrate_success] + m.vmstat[V.pgmigrate_fail]).toBe(0);
    const small = world(2 ** 15, '6.6');
    fragmented(small, 4);
    compactMemory(small);
    expect(small.vmstat[V.pgmigrate_success]).toBeGreaterThan(1000);
  });

  test('a folio without room of its size is split, and moves in pieces', () => {
    const m = world(2 ** 15);
    const { zones } = m;
    const file = newFile(m);
    for (let i = 0; i < 256; i++) cacheFolio(m, file, i * 16, 4);
    lruAddDrain(m);
    const pages: Pfn[] = [];
    for (let pfn = 1; pfn !== 0; ) {
      pfn = rmqueueSmallest(m, ZONE_DMA32, 0, MIGRATE_MOVABLE);
      if (pfn !== 0) pages.push(pfn as Pfn);
    }
    for (const pfn of pages) if (pfn % 2 === 0) freeOnePage(m, ZONE_DMA32, pfn, 0, MIGRATE_MOVABLE, false);
    for (let i = 0; i < 256; i += 2) dropFolio(m, filemapGetFolio(m, file, i * 16));
    drainAllPages(m);
    const before = pagesOf(cached(m, file, 4096));
    compactMemory(m);
    expect(pagesOf(cached(m, file, 4096))).toEqual(before);
    expect(cached(m, file, 4096).length).toBeGreaterThan(128);
    expect(zones.zone.free[ZONE_DMA32] + zones.zone.pcpCount[ZONE_DMA32]).toBe(pages.length / 2 + 128 * 16);
    lruAddDrain(m);
    checkLru(m);
    checkZones(m);
  });

  test('a block is made for an allocation', () => {
    const m = world(2 ** 15);
    fragmented(m, 2);
    while (allocFrozenPages(m, QUIET, 9) !== 0);
    expect(largest(m)).toBe(0);
    expect(folioAlloc(m, GFP_HIGHUSER_MOVABLE | __GFP_NORETRY, 9)).not.toBe(0);
    expect(m.vmstat[V.compact_stall]).toBe(1);
    expect(m.vmstat[V.compact_success]).toBe(1);
    expect(m.zones.captureOrder).toBe(-1);
    lruAddDrain(m);
    checkLru(m);
    checkZones(m);
  });

  test('kcompactd works when enough is free, but in pieces', () => {
    const m = world(2 ** 15);
    fragmented(m, 2);
    while (allocFrozenPages(m, QUIET, 9) !== 0);
    wakeupKcompactd(m, 9, ZONE_DMA32);
    expect(m.vmstat[V.compact_daemon_wake]).toBe(1);
    expect(m.vmstat[V.compact_daemon_migrate_scanned]).toBeGreaterThan(0);
    expect(largest(m)).toBeGreaterThan(0);
    wakeupKcompactd(m, 9, ZONE_DMA32);
    expect(m.vmstat[V.compact_daemon_wake]).toBe(1);
  });

  test('random churn with compaction between: nothing is lost, nothing moves that is held', () => {
    const m = world(2 ** 14);
    const file = newFile(m);
    const random = new Prng(11);
    const held = new Map<number, FolioId>();
    for (let step = 0; step < 6000; step++) {
      const at = random.below(700) * 16;
      const old = filemapGetFolio(m, file, at);
      if (old !== 0 && held.delete(at)) folioPutRefs(m, old, 1);
      else if (old !== 0 && random.below(4) === 0) {
        folioRefAdd(m.map, old, 1);
        held.set(at, old);
      } else {
        lruAddDrain(m);
        let dropped = false;
        for (let i = at; i < at + 16; i++) {
          const f = filemapGetFolio(m, file, i);
          if (f === 0 || held.has(i)) continue;
          dropFolio(m, f);
          dropped = true;
        }
        if (!dropped) cacheFolio(m, file, at, random.below(5));
      }
      if (step % 500 === 499) {
        const before = pagesOf(cached(m, file, 700 * 16));
        if (random.below(2) === 0) compactMemory(m);
        else tryToCompactPages(m, GFP_KERNEL, 9, 0, ZONE_DMA32, MIGRATE_MOVABLE, COMPACT_PRIO_SYNC_FULL);
        if (m.zones.capturePfn !== 0) freeFrozenPages(m, m.zones.capturePfn as Pfn, 9);
        m.zones.capturePfn = 0;
        expect(pagesOf(cached(m, file, 700 * 16))).toEqual(before);
        for (const [index, folio] of held) expect(filemapGetFolio(m, file, index)).toBe(folio);
        lruAddDrain(m);
        checkZones(m);
        checkLru(m);
      }
    }
    expect(m.vmstat[V.pgmigrate_success]).toBeGreaterThan(100);
    expect(m.vmstat[V.pgmigrate_fail]).toBeGreaterThan(0);
  });
});

describe('when to compact', () => {
  test('a failed zone is left alone for 1, 3, 7 … 63 requests of the order and above', () => {
    const m = world(2 ** 15);
    const { zones } = m;
    const t = zones.zone;
    expect(compactionDeferred(zones, ZONE_DMA32, 9)).toBe(false);
    t.orderFailed[ZONE_DMA32] = 4;
    t.deferShift[ZONE_DMA32] = 2;
    const answers = Array.from({ length: 5 }, () => compactionDeferred(zones, ZONE_DMA32, 9));
    expect(answers).toEqual([true, true, true, false, false]);
    expect(compactionDeferred(zones, ZONE_DMA32, 3)).toBe(false);
    compactionDeferReset(zones, ZONE_DMA32, 5, false);
    expect([t.orderFailed[ZONE_DMA32], t.deferShift[ZONE_DMA32]]).toEqual([6, 2]);
    compactionDeferReset(zones, ZONE_DMA32, 9, true);
    expect([t.orderFailed[ZONE_DMA32], t.deferShift[ZONE_DMA32]]).toEqual([10, 0]);
  });
  test('a zone where nothing can move fails, and is put off', () => {
    const m = world(2 ** 15);
    const { zones } = m;
    const pages: Pfn[] = [];
    for (let pfn = 1; pfn !== 0; ) {
      pfn = rmqueueSmallest(m, ZONE_DMA32, 0, MIGRATE_MOVABLE);
      pages.push(pfn as Pfn);
    }
    while (rmqueueSmallest(m, ZONE_DMA, 0, MIGRATE_MOVABLE) !== 0);
    for (const pfn of pages) if (pfn % 4 === 1) freeOnePage(m, ZONE_DMA32, pfn, 0, MIGRATE_MOVABLE, false);
    const compact = (priority: number) => tryToCompactPages(m, GFP_KERNEL, 3, 0, ZONE_DMA32, MIGRATE_MOVABLE, priority);
    expect([COMPACT_COMPLETE, COMPACT_PARTIAL_SKIPPED]).toContain(compact(COMPACT_PRIO_SYNC_LIGHT));
    expect(zones.zone.deferShift[ZONE_DMA32]).toBe(1);
    expect(zones.zone.orderFailed[ZONE_DMA32]).toBe(3);
    expect(compact(COMPACT_PRIO_ASYNC)).toBe(COMPACT_DEFERRED);
    checkZones(m);
  });
  test('not without room to move things to; not where memory is merely short', () => {
    const m = world(2 ** 15);
    const { zones } = m;
    const min = minWmarkPages(zones, ZONE_DMA32);
    expect(compactionSuitable(m, ZONE_DMA32, 9, min, ZONE_DMA32)).toBe(true);
    zones.zone.free[ZONE_DMA32] = min + 1024;
    expect(compactionSuitable(m, ZONE_DMA32, 9, min, ZONE_DMA32)).toBe(false);
    expect(compactionSuitable(m, ZONE_DMA32, 3, min, ZONE_DMA32)).toBe(true);
  });
  test('a zone that has the block needs nothing', () => {
    const m = world(2 ** 15);
    expect(tryToCompactPages(m, GFP_KERNEL, 9, 0, ZONE_DMA32, MIGRATE_MOVABLE, COMPACT_PRIO_ASYNC)).toBe(
      COMPACT_SUCCESS,
    );
    expect(m.vmstat[V.compact_migrate_scanned]).toBe(0);
    expect(m.zones.blocks.every((b) => (b & PB_SKIP) === 0)).toBe(true);
  });
});

describe('migration', () => {
  test('flags, index, private data and references go along', () => {
    const m = world(2 ** 15);
    const file = fragmented(m, 4, 3);
    const set = PG.PG_dirty | PG.PG_referenced | PG.PG_workingset;
    const folios = cached(m, file, 2 ** 15).map((f) => Number.parseInt(f, 10));
    for (const index of folios) {
      const f = filemapGetFolio(m, file, index);
      folioSet(m.map, f, set);
      folioAttachPrivate(m.map, f, index + 1);
    }
    const before = folios.map((index) => filemapGetFolio(m, file, index));
    expect(compactForPmd(m)).toBe(COMPACT_SUCCESS);
    lruAddDrain(m);
    let moved = 0;
    for (const [i, index] of folios.entries()) {
      const f = filemapGetFolio(m, file, index);
      if (f !== before[i]) moved++;
      const flags = set | PG.PG_uptodate | PG.PG_private | PG.PG_lru | PG.PG_head;
      expect(decodeFlags(folioFlags(m.map, f))).toBe(decodeFlags(flags));
      expect([folioPrivate(m.map, f), folioRefCount(m.map, f), folioIndex(m.map, f)]).toEqual([index + 1, 9, index]);
    }
    expect(moved * 8).toBe(m.vmstat[V.pgmigrate_success]);
    expect(moved).toBeGreaterThan(0);
    checkZones(m);
    checkLru(m);
  });
  const everyFolio = (m: Machine, file: MappingId): FolioId[] =>
    cached(m, file, 2 ** 15).map((f) => filemapGetFolio(m, file, Number.parseInt(f, 10)));
  test.each(['PG_locked', 'PG_writeback', 'one more reference'] as const)('%s keeps a folio in its place', (why) => {
    const m = world(2 ** 15);
    const file = fragmented(m, 4);
    const before = everyFolio(m, file);
    for (const f of before) {
      if (why === 'one more reference') folioRefAdd(m.map, f, 1);
      else folioSet(m.map, f, PG[why]);
    }
    compactMemory(m);
    expect(everyFolio(m, file)).toEqual(before);
    expect(m.vmstat[V.pgmigrate_success]).toBe(0);
    lruAddDrain(m);
    expect(before.every((f) => (folioFlags(m.map, f) & PG.PG_lru) !== 0)).toBe(true);
    checkLru(m);
    checkZones(m);
  });
});
