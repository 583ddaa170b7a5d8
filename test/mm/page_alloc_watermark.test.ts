import { describe, expect, test } from 'vitest';
import { MAX_NR_ZONES, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, type Zones, zonesTable } from '../../src/mm/mmzone.ts';
import { setMarks, zonesInit } from '../../src/mm/page_alloc.ts';
import {
  ALLOC_MIN_RESERVE,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  boostWatermark,
  calculateMinFreeKbytes,
  highWmarkPages,
  setupPerCpuPagesets,
  zoneWatermarkFast,
  zoneWatermarkOkFor,
} from '../../src/mm/page_alloc_watermark.ts';

/** The zones of the machine that the figures were read on: Linux 6.18, x86-64, 25 GiB. */
function recorded(): Zones {
  const zones = zonesTable(6_553_600, 4096);
  zones.zone.managed.set([3840, 772_917, 1_638_400]);
  setMarks(zones, true);
  setupPerCpuPagesets(zones, 2);
  return zones;
}
const marks = (zones: Zones, zone: number): number[] => {
  const { min, low, high, promo } = zones.zone;
  return [min[zone], low[zone], high[zone], promo[zone]];
};

describe('watermarks as Linux 6.18 printed them in /proc/zoneinfo', () => {
  test('min_free_kbytes is what khugepaged asks for', () => {
    expect(recorded().minFreeKbytes).toBe(67_584);
  });
  test('min, low, high and promo of three zones', () => {
    const zones = recorded();
    expect(marks(zones, ZONE_DMA)).toEqual([26, 32, 38, 44]);
    expect(marks(zones, ZONE_DMA32)).toEqual([5407, 6758, 8109, 9460]);
    expect(marks(zones, ZONE_NORMAL)).toEqual([11_461, 14_326, 17_191, 20_056]);
  });
  test('protection of the lower zones', () => {
    const { lowmemReserve } = recorded().zone;
    expect(Array.from(lowmemReserve.slice(0, MAX_NR_ZONES))).toEqual([0, 3019, 9419]);
    expect(Array.from(lowmemReserve.slice(MAX_NR_ZONES, 2 * MAX_NR_ZONES))).toEqual([0, 0, 6400]);
  });
  test('per-CPU lists of two CPUs', () => {
    const { pcpBatch, pcpHighMin, pcpHighMax } = recorded().zone;
    expect(Array.from(pcpBatch)).toEqual([1, 63, 63]);
    expect(Array.from(pcpHighMin)).toEqual([16, 3379, 7163]);
    expect(Array.from(pcpHighMax)).toEqual([240, 48_307, 102_400]);
  });
});

describe('the formulas elsewhere', () => {
  test.each([
    // Without the daemon: the square root of 16 times the memory in KiB, at least 128 and at most 262144.
    [256, 128],
    [4096, 511],
    [262_144, 4095],
    [2 ** 28, 131_071],
    [2 ** 31 - 1, 262_144],
  ])('min_free_kbytes of %i pages', (pages, kbytes) => {
    const zones = zonesTable(pages, 4096);
    expect(calculateMinFreeKbytes(zones)).toBe(kbytes);
  });
  test('what khugepaged asks for is at most a twentieth of memory', () => {
    const zones = zonesInit(16_384, 4096);
    expect(zones.minFreeKbytes).toBeLessThanOrEqual((16_384 / 20) * 4);
    expect(zonesInit(16_384, 4096, false).minFreeKbytes).toBe(1023);
  });
  test('larger pages: one DMA zone below 4 GiB, as on arm64', () => {
    const zones = zonesInit(2 ** 33 / 65_536, 65_536);
    expect(Array.from(zones.zone.managed)).toEqual([65_535, 0, 65_536]);
    expect([zones.maxOrder, zones.pageblockOrder]).toEqual([13, 13]);
    const small = zonesInit(2 ** 33 / 16_384, 16_384);
    expect([small.maxOrder, small.pageblockOrder, small.zone.end[0]]).toEqual([11, 11, 262_144]);
  });
  test('totalreserve is what the zones keep back', () => {
    const zones = recorded();
    expect(zones.totalreservePages).toBe(Math.min(3840, 9419 + 38) + 6400 + 8109 + 17_191);
  });
});

describe('the watermark test', () => {
  const zones = recorded();
  const ok = (order: number, mark: number, flags: number, free: number) =>
    zoneWatermarkOkFor(zones, ZONE_NORMAL, order, mark, ZONE_NORMAL, flags, free);
  test('a page more than the mark must be free', () => {
    expect(ok(0, 100, 0, 100)).toBe(false);
    expect(ok(0, 100, 0, 101)).toBe(true);
  });
  test('rights lower the mark: half, three eighths, a quarter', () => {
    expect([ok(0, 100, ALLOC_MIN_RESERVE, 50), ok(0, 100, ALLOC_MIN_RESERVE, 51)]).toEqual([false, true]);
    const both = ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK;
    expect([ok(0, 100, both, 38), ok(0, 100, both, 39)]).toEqual([false, true]);
    expect([ok(0, 100, ALLOC_OOM, 50), ok(0, 100, ALLOC_OOM, 51)]).toEqual([false, true]);
  });
  test('a large request must leave the mark and find a block', () => {
    expect(ok(4, 100, 0, 1000)).toBe(false);
    zones.area.head[(ZONE_NORMAL * 11 + 7) * 5 + 1] = 4096;
    expect(ok(4, 100, 0, 1000)).toBe(true);
    expect(ok(4, 100, 0, 115)).toBe(false);
    expect(ok(4, 100, 0, 116)).toBe(true);
    expect(ok(8, 100, 0, 1000)).toBe(false);
  });
  test('a lower zone also keeps what higher requests may not have', () => {
    zones.zone.free[ZONE_DMA32] = 7000;
    expect(zoneWatermarkFast(zones, ZONE_DMA32, 0, 5000, ZONE_DMA32, 0)).toBe(true);
    expect(zoneWatermarkFast(zones, ZONE_DMA32, 0, 5000, ZONE_NORMAL, 0)).toBe(false);
  });
  test('a boost adds a page block at a time, up to one and a half times high', () => {
    expect(boostWatermark(zones, ZONE_NORMAL)).toBe(true);
    expect(highWmarkPages(zones, ZONE_NORMAL)).toBe(17_191 + 512);
    for (let i = 0; i < 100; i++) boostWatermark(zones, ZONE_NORMAL);
    expect(zones.zone.boost[ZONE_NORMAL]).toBe(Math.floor(17_191 * 1.5));
    expect(boostWatermark(zonesInit(1024, 4096), ZONE_DMA)).toBe(false);
  });
});
