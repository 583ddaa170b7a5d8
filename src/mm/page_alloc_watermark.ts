/**
 * Watermarks: how many free pages a zone keeps back, and for whom.
 *
 *   free pages  ├── high: kswapd stops ── low: kswapd starts, the fast path ends ── min: reserves begin ── 0
 *
 * The sum of the min marks is the square root of memory, raised by the transparent huge page daemon to a few page blocks a
 * zone. A request that could have used a higher zone must also leave `lowmemReserve` alone in a lower one.
 *
 * @kernel mm/page_alloc.c __setup_per_zone_wmarks (6.18)
 */
import {
  areaRow,
  MAX_NR_ZONES,
  MIGRATE_HIGHATOMIC,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  type Zones,
} from './mmzone.ts';

/** Internal flags of a request. The low two bits choose the watermark. @kernel mm/internal.h ALLOC_WMARK_MIN (6.18) */
export const ALLOC_WMARK_MIN = 0;
export const ALLOC_WMARK_LOW = 1;
export const ALLOC_WMARK_HIGH = 2;
export const ALLOC_WMARK_MASK = 3;
export const ALLOC_NO_WATERMARKS = 0x4;
export const ALLOC_OOM = 0x8;
export const ALLOC_NON_BLOCK = 0x10;
export const ALLOC_MIN_RESERVE = 0x20;
export const ALLOC_NOFRAGMENT = 0x100;
export const ALLOC_HIGHATOMIC = 0x200;
export const ALLOC_KSWAPD = 0x800;
/** Requests that may go below the min mark. */
export const ALLOC_RESERVES: number = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM;

/** vm.watermark_scale_factor and vm.watermark_boost_factor, in 1/10000. */
const WATERMARK_SCALE_FACTOR = 10;
const WATERMARK_BOOST_FACTOR = 15000;
/** Divisors of the memory above a zone that it keeps back. @kernel mm/page_alloc.c sysctl_lowmem_reserve_ratio (6.18) */
const LOWMEM_RESERVE_RATIO = [256, 256, 32];
/** Doublings of a per-CPU batch at most. @kernel mm/Kconfig PCP_BATCH_SCALE_MAX (6.18) */
export const PCP_BATCH_SCALE_MAX = 5;
/** Part of a zone that per-CPU lists may hold. @kernel mm/page_alloc.c MIN_PERCPU_PAGELIST_HIGH_FRACTION (6.18) */
const PCP_HIGH_FRACTION = 8;

/** Pages that ordinary requests can hope for. @kernel mm/page_alloc.c nr_free_buffer_pages (6.18) */
export function nrFreeBufferPages(zones: Zones): number {
  const { managed, high } = zones.zone;
  let sum = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) sum += Math.max(managed[z] - high[z], 0);
  return sum;
}

/** @kernel mm/page_alloc.c calculate_min_free_kbytes (6.18) */
export function calculateMinFreeKbytes(zones: Zones): number {
  const kb = nrFreeBufferPages(zones) * (zones.pageSize / 1024);
  return Math.min(Math.max(Math.floor(Math.sqrt(kb * 16)), 128), 262144);
}

/**
 * What the transparent huge page daemon wants: two page blocks a zone free, and one for each pair of types.
 * @kernel mm/khugepaged.c set_recommended_min_free_kbytes (6.18)
 */
export function recommendedMinFreeKbytes(zones: Zones): number {
  let populated = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) if (zones.zone.managed[z] > 0) populated++;
  const block = 2 ** zones.pageblockOrder;
  const pages = block * populated * 2 + block * populated * MIGRATE_PCPTYPES * MIGRATE_PCPTYPES;
  return Math.min(pages, Math.floor(nrFreeBufferPages(zones) / 20)) * (zones.pageSize / 1024);
}

/** Sets all marks from min_free_kbytes. @kernel mm/page_alloc.c setup_per_zone_wmarks (6.18) */
export function setupPerZoneWmarks(zones: Zones, minFreeKbytes: number): void {
  const { managed, min, low, high, promo, boost, lowmemReserve } = zones.zone;
  zones.minFreeKbytes = minFreeKbytes;
  const pagesMin = Math.floor(minFreeKbytes / (zones.pageSize / 1024));
  let lowmem = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) lowmem += managed[z];
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    const share = lowmem === 0 ? 0 : Math.floor((pagesMin * managed[z]) / lowmem);
    const gap = Math.max(Math.floor(share / 4), Math.floor((managed[z] * WATERMARK_SCALE_FACTOR) / 10000));
    min[z] = share;
    low[z] = share + gap;
    high[z] = low[z] + gap;
    promo[z] = high[z] + gap;
    boost[z] = 0;
  }
  zones.totalreservePages = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    let most = 0;
    for (let j = z; j < MAX_NR_ZONES; j++) most = Math.max(most, lowmemReserve[z * MAX_NR_ZONES + j]);
    zones.totalreservePages += Math.min(managed[z], most + high[z]);
  }
}

/** @kernel mm/page_alloc.c setup_per_zone_lowmem_reserve (6.18) */
export function setupPerZoneLowmemReserve(zones: Zones): void {
  const { managed, lowmemReserve } = zones.zone;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    let above = 0;
    for (let j = z + 1; j < MAX_NR_ZONES; j++) {
      above += managed[j];
      lowmemReserve[z * MAX_NR_ZONES + j] = managed[z] === 0 ? 0 : Math.floor(above / LOWMEM_RESERVE_RATIO[z]);
    }
  }
}

/** Batch and bounds of the per-CPU lists. @kernel mm/page_alloc.c zone_set_pageset_high_and_batch (6.18) */
export function setupPerCpuPagesets(zones: Zones, cpus: number): void {
  const { managed, low, pcpBatch, pcpHigh, pcpHighMin, pcpHighMax } = zones.zone;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    const quarter = Math.floor(Math.min(managed[z] >>> 10, 2 ** 20 / zones.pageSize) / 4);
    const b = Math.max(quarter, 1);
    const batch = Math.max(2 ** Math.floor(Math.log2(b + (b >>> 1))) - 1, 1);
    pcpBatch[z] = batch;
    pcpHighMin[z] = Math.max(Math.floor(low[z] / cpus), batch * 4);
    pcpHighMax[z] = Math.max(Math.floor(Math.floor(managed[z] / PCP_HIGH_FRACTION) / cpus), batch * 4);
    pcpHigh[z] = pcpHighMin[z];
  }
}

/** A watermark of the zone, boost included. @kernel include/linux/mmzone.h wmark_pages (6.18) */
export function wmarkPages(zones: Zones, zone: number, which: number): number {
  const t = zones.zone;
  const mark = which === ALLOC_WMARK_MIN ? t.min[zone] : which === ALLOC_WMARK_LOW ? t.low[zone] : t.high[zone];
  return mark + t.boost[zone];
}
export const minWmarkPages = (zones: Zones, zone: number): number => wmarkPages(zones, zone, ALLOC_WMARK_MIN);
export const lowWmarkPages = (zones: Zones, zone: number): number => wmarkPages(zones, zone, ALLOC_WMARK_LOW);
export const highWmarkPages = (zones: Zones, zone: number): number => wmarkPages(zones, zone, ALLOC_WMARK_HIGH);

/**
 * Would the zone stay above the mark after a request of that order, and has it such a block, if `freePages` were free?
 * @kernel mm/page_alloc.c __zone_watermark_ok (6.18)
 */
export function zoneWatermarkOkFor(
  zones: Zones,
  zone: number,
  order: number,
  mark: number,
  highest: number,
  flags: number,
  freePages: number,
): boolean {
  const t = zones.zone;
  let free = freePages - (2 ** order - 1);
  let min = mark;
  if ((flags & ALLOC_RESERVES) !== 0) {
    if ((flags & ALLOC_MIN_RESERVE) !== 0) {
      min -= min >> 1;
      if ((flags & ALLOC_NON_BLOCK) !== 0) min -= min >> 2;
    }
    if ((flags & ALLOC_OOM) !== 0) min -= min >> 1;
  } else free -= t.freeHighatomic[zone];
  if (free <= min + t.lowmemReserve[zone * MAX_NR_ZONES + highest]) return false;
  if (order === 0) return true;
  const { head } = zones.area;
  const atomic = (flags & (ALLOC_HIGHATOMIC | ALLOC_OOM)) !== 0;
  for (let o = order; o <= zones.maxOrder; o++) {
    const row = areaRow(zones, zone, o, 0);
    if (
      head[row + MIGRATE_MOVABLE] !== 0 ||
      head[row + MIGRATE_UNMOVABLE] !== 0 ||
      head[row + MIGRATE_RECLAIMABLE] !== 0 ||
      (atomic && head[row + MIGRATE_HIGHATOMIC] !== 0)
    )
      return true;
  }
  return false;
}

/** @kernel mm/page_alloc.c zone_watermark_ok (6.18) */
export const zoneWatermarkOk = (
  zones: Zones,
  zone: number,
  order: number,
  mark: number,
  highest: number,
  flags: number,
): boolean => zoneWatermarkOkFor(zones, zone, order, mark, highest, flags, zones.zone.free[zone]);

/** The test of the allocation path: single pages without the general one, and past a boost for urgent ones. @kernel mm/page_alloc.c zone_watermark_fast (6.18) */
export function zoneWatermarkFast(
  zones: Zones,
  zone: number,
  order: number,
  mark: number,
  highest: number,
  flags: number,
): boolean {
  const t = zones.zone;
  if (order === 0) {
    const unusable = (flags & ALLOC_RESERVES) === 0 ? t.freeHighatomic[zone] : 0;
    if (t.free[zone] - unusable > mark + t.lowmemReserve[zone * MAX_NR_ZONES + highest]) return true;
  }
  if (zoneWatermarkOk(zones, zone, order, mark, highest, flags)) return true;
  if (order !== 0 || (flags & ALLOC_MIN_RESERVE) === 0 || t.boost[zone] === 0) return false;
  if ((flags & ALLOC_WMARK_MASK) !== ALLOC_WMARK_MIN) return false;
  return zoneWatermarkOk(zones, zone, order, t.min[zone], highest, flags);
}

/** After pages of another type's block were taken: keep more free, so that kswapd frees whole blocks. @kernel mm/page_alloc.c boost_watermark (6.18) */
export function boostWatermark(zones: Zones, zone: number): boolean {
  const { managed, high, boost } = zones.zone;
  const block = 2 ** zones.pageblockOrder;
  if (block * 4 > managed[zone]) return false;
  const most = Math.floor((high[zone] * WATERMARK_BOOST_FACTOR) / 10000);
  if (most === 0) return false;
  boost[zone] = Math.min(boost[zone] + block, Math.max(block, most));
  return true;
}
