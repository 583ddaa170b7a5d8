/**
 * One pass over the zones that a request may use: from the highest down, the first that stays above its watermark gives the
 * page. A pass may ask that types are not mixed in a page block; when every zone fails so, it is made again without.
 *
 * Not modelled: the share of dirty pages that a node may hold (one node here; balance_dirty_pages keeps the same limit).
 *
 * @kernel mm/page_alloc.c get_page_from_freelist (6.18)
 */
import { __GFP_DMA, __GFP_DMA32 } from './gfp.ts';
import type { Machine } from './machine.ts';
import {
  MAX_NR_ZONES,
  MIGRATE_HIGHATOMIC,
  NR_PCP_LISTS,
  ZONE_BELOW_HIGH,
  ZONE_BOOSTED_WATERMARK,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_NORMAL,
  type Zones,
} from './mmzone.ts';
import { condAcceptMemory } from './page_accept.ts';
import { rmqueueSmallest } from './page_alloc_buddy.ts';
import { RMQUEUE_NORMAL, reserveHighatomicPageblock, rmqueueAny } from './page_alloc_fallback.ts';
import { pcpAllowedOrder, rmqueuePcplist } from './page_alloc_pcp.ts';
import {
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_NO_WATERMARKS,
  ALLOC_NOFRAGMENT,
  ALLOC_NON_BLOCK,
  ALLOC_OOM,
  ALLOC_WMARK_MASK,
  wmarkPages,
  zoneWatermarkFast,
} from './page_alloc_watermark.ts';
import { freeNext, freeSetPrev } from './page_free.ts';
import { kswapd, wakeupKswapd } from './vmscan.ts';
import { V } from './vmstat.ts';

/** The highest zone that a request may use. @kernel include/linux/gfp.h gfp_zone (6.18) */
export const gfpZone = (gfp: number): number =>
  (gfp & __GFP_DMA) !== 0 ? ZONE_DMA : (gfp & __GFP_DMA32) !== 0 ? ZONE_DMA32 : ZONE_NORMAL;

/** @kernel include/linux/gfp.h gfp_migratetype (6.18) */
export const gfpMigratetype = (gfp: number): number => (gfp >>> 3) & 3;

/** The first zone of the request's list: the highest with memory. */
export function preferredZone(zones: Zones, highest: number): number {
  const { managed } = zones.zone;
  let zone = highest;
  while (zone > 0 && managed[zone] === 0) zone--;
  return zone;
}

/** Whether the first pass avoids mixing types: where there is a lower zone to turn to. @kernel mm/page_alloc.c alloc_flags_nofragment (6.18) */
export const allocFlagsNofragment = (zones: Zones, highest: number): number =>
  highest === ZONE_NORMAL && zones.zone.managed[ZONE_NORMAL] !== 0 ? ALLOC_NOFRAGMENT : 0;

/** A block of the zone, from the per-CPU lists or the buddy allocator; 0: none. @kernel mm/page_alloc.c rmqueue (6.18) */
function rmqueue(m: Machine, zone: number, order: number, type: number, flags: number): number {
  const { zones } = m;
  let pfn = pcpAllowedOrder(zones, order) ? rmqueuePcplist(m, zone, order, type, flags) : 0;
  if (pfn === 0) {
    if ((flags & ALLOC_HIGHATOMIC) !== 0) pfn = rmqueueSmallest(m, zone, order, MIGRATE_HIGHATOMIC);
    if (pfn === 0) {
      zones.rmqueueMode = RMQUEUE_NORMAL;
      pfn = rmqueueAny(m, zone, order, type, flags);
      if (pfn === 0 && (flags & (ALLOC_OOM | ALLOC_NON_BLOCK)) !== 0)
        pfn = rmqueueSmallest(m, zone, order, MIGRATE_HIGHATOMIC);
    }
  }
  if ((zones.zone.flags[zone] & ZONE_BOOSTED_WATERMARK) !== 0 && (flags & ALLOC_KSWAPD) !== 0) {
    zones.zone.flags[zone] &= ~ZONE_BOOSTED_WATERMARK;
    wakeupKswapd(m, zone, 0);
    kswapd(m);
  }
  return pfn;
}

/** Counter of pages handed out of the first zone; those of the others follow. */
const PGALLOC = V.pgalloc_dma;

/** A block from the first zone that can give it; 0: none. The block is not prepared. @kernel mm/page_alloc.c get_page_from_freelist (6.18) */
export function getPageFromFreelist(m: Machine, order: number, given: number, highest: number, type: number): number {
  const { zones } = m;
  const t = zones.zone;
  let flags = given;
  for (;;) {
    for (let zone = highest; zone >= 0; zone--) {
      if (t.managed[zone] === 0) continue;
      if (t.unaccepted[zone] > 0) condAcceptMemory(m, zone);
      if (!aboveHigh(zones, zone, order, highest, flags)) {
        const mark = wmarkPages(zones, zone, flags & ALLOC_WMARK_MASK);
        if (!zoneWatermarkFast(zones, zone, order, mark, highest, flags) && (flags & ALLOC_NO_WATERMARKS) === 0)
          continue;
      }
      const pfn = rmqueue(m, zone, order, type, flags);
      if (pfn === 0) continue;
      if ((flags & ALLOC_HIGHATOMIC) !== 0) reserveHighatomicPageblock(m, zone, pfn, order);
      m.vmstat[PGALLOC + zone] += 1 << order;
      return pfn;
    }
    if ((flags & ALLOC_NOFRAGMENT) === 0) return 0;
    flags &= ~ALLOC_NOFRAGMENT;
  }
}

/** Is nothing the matter with a zone: more free than its high watermark, and no flag set. */
export function zoneHasPlenty(zones: Zones, zone: number): boolean {
  const t = zones.zone;
  const spare = t.free[zone] - t.freeHighatomic[zone] - t.lowmemReserve[zone * MAX_NR_ZONES + zone];
  return t.flags[zone] === 0 && spare > t.high[zone] + t.boost[zone];
}

/**
 * The commonest allocation: one page of the highest zone, which has memory enough and one on its per-CPU list. 0: not so, and
 * nothing has changed. @kernel mm/page_alloc.c rmqueue_pcplist (6.18)
 */
export function rmqueueQuick(m: Machine, type: number): number {
  const { map, zones } = m;
  const t = zones.zone;
  if (!zoneHasPlenty(zones, ZONE_NORMAL)) return 0;
  const { head, tail } = zones.pcp;
  const row = ZONE_NORMAL * NR_PCP_LISTS + type;
  const pfn = head[row];
  if (pfn === 0) return 0;
  t.pcpFreeCount[ZONE_NORMAL] >>= 1;
  t.pcpCount[ZONE_NORMAL] -= 1;
  const next = freeNext(map, pfn);
  head[row] = next;
  if (next === 0) tail[row] = 0;
  else freeSetPrev(map, next, 0);
  m.vmstat[PGALLOC + ZONE_NORMAL] += 1;
  return pfn;
}

/** Is the zone above its high watermark? If not, that is remembered (per-CPU lists then shrink), and not asked again until pages are freed. */
function aboveHigh(zones: Zones, zone: number, order: number, highest: number, flags: number): boolean {
  const t = zones.zone;
  if ((t.flags[zone] & ZONE_BELOW_HIGH) !== 0) return false;
  const high = t.high[zone] + t.boost[zone];
  // The common case of the general test, for single pages.
  const spare = t.free[zone] - t.freeHighatomic[zone] - t.lowmemReserve[zone * MAX_NR_ZONES + highest];
  if (order === 0 && spare > high) return true;
  if (zoneWatermarkFast(zones, zone, order, high, highest, flags)) return true;
  t.flags[zone] |= ZONE_BELOW_HIGH;
  return false;
}
