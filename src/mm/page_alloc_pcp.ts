/**
 * Per-CPU lists: what a CPU has freed lately, handed out again first. Only the small orders and the PMD order have them.
 *
 *   free ─► head [ p9 p4 p7 … p2 ] tail ─► batches go back to the buddy allocator when the lists hold too much
 *   take ◄─ head                    tail ◄─ batches come from it when a list is empty, lowest frame first
 *
 * How much they hold floats: high falls while memory is short and rises while pages come and go in large numbers; batches
 * double while a CPU only takes. One CPU here, whose cache is large enough to keep high-order pages.
 *
 * @kernel mm/page_alloc.c nr_pcp_high (6.18)
 */
import type { Machine } from './machine.ts';
import {
  MAX_NR_ZONES,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  NR_LOWORDER_PCP_LISTS,
  NR_PCP_LISTS,
  PAGE_ALLOC_COSTLY_ORDER,
  PB_TYPE,
  PCPF_PREV_FREE_HIGH_ORDER,
  pageblockType,
  pageZone,
  ZONE_BELOW_HIGH,
  ZONE_RECLAIM_ACTIVE,
  type Zones,
} from './mmzone.ts';
import { freeOnePage, splitLargeBuddy } from './page_alloc_buddy.ts';
import { RMQUEUE_NORMAL, rmqueueAny } from './page_alloc_fallback.ts';
import { highWmarkPages, PCP_BATCH_SCALE_MAX, zoneWatermarkOk } from './page_alloc_watermark.ts';
import { freeNext, freePrev, freeSetNext, freeSetPrev, pcpSetLinks } from './page_free.ts';

/** @kernel mm/page_alloc.c pcp_allowed_order (6.18) */
export const pcpAllowedOrder = (zones: Zones, order: number): boolean =>
  order <= PAGE_ALLOC_COSTLY_ORDER || order === zones.pmdOrder;

/** @kernel mm/page_alloc.c order_to_pindex (6.18) */
const orderToPindex = (order: number, type: number): number =>
  order > PAGE_ALLOC_COSTLY_ORDER
    ? NR_LOWORDER_PCP_LISTS + (type === MIGRATE_MOVABLE ? 1 : 0)
    : MIGRATE_PCPTYPES * order + type;
/** @kernel mm/page_alloc.c pindex_to_order (6.18) */
const pindexToOrder = (zones: Zones, pindex: number): number =>
  pindex >= NR_LOWORDER_PCP_LISTS ? zones.pmdOrder : (pindex / MIGRATE_PCPTYPES) | 0;

/** Blocks to fetch when a list is empty. @kernel mm/page_alloc.c nr_pcp_alloc (6.18) */
function nrPcpAlloc(zones: Zones, zone: number, order: number): number {
  const t = zones.zone;
  const base = t.pcpBatch[zone];
  const min = t.pcpHighMin[zone];
  const max = t.pcpHighMax[zone];
  let high = Math.min(Math.max(t.pcpHigh[zone], min), max);
  t.pcpHigh[zone] = high;
  if (high < base) return 1;
  let batch = order > 0 ? base : base << t.pcpAllocFactor[zone];
  if (min !== max && (t.flags[zone] & ZONE_BELOW_HIGH) === 0) {
    high = Math.min(high + batch, max);
    t.pcpHigh[zone] = high;
  }
  if (order === 0) {
    const most = Math.max(high - t.pcpCount[zone] - base, base);
    if (batch <= most && t.pcpAllocFactor[zone] < PCP_BATCH_SCALE_MAX) t.pcpAllocFactor[zone]++;
    batch = Math.min(batch, most);
  }
  return batch > 1 ? Math.max(batch >> order, 2) : batch;
}

/** Fetches `nr` blocks to the tail of a per-CPU list; returns how many there were. @kernel mm/page_alloc.c rmqueue_bulk (6.18) */
function rmqueueBulk(m: Machine, zone: number, order: number, nr: number, row: number, type: number, flags: number) {
  const { map, zones } = m;
  const { head, tail } = zones.pcp;
  zones.rmqueueMode = RMQUEUE_NORMAL;
  let i = 0;
  for (; i < nr; i++) {
    const pfn = rmqueueAny(m, zone, order, type, flags);
    if (pfn === 0) break;
    const last = tail[row];
    pcpSetLinks(map, pfn, 0, last);
    if (last === 0) head[row] = pfn;
    else freeSetNext(map, last, pfn);
    tail[row] = pfn;
  }
  zones.zone.pcpCount[zone] += i << order;
}

/** A page from the per-CPU lists, filled when empty; 0: the zone has none. @kernel mm/page_alloc.c rmqueue_pcplist (6.18) */
export function rmqueuePcplist(m: Machine, zone: number, order: number, type: number, flags: number): number {
  const { map, zones } = m;
  const { pcpFreeCount, pcpCount } = zones.zone;
  const { head, tail } = zones.pcp;
  const row = zone * NR_PCP_LISTS + orderToPindex(order, type);
  pcpFreeCount[zone] >>= 1;
  let pfn = head[row];
  if (pfn === 0) {
    rmqueueBulk(m, zone, order, nrPcpAlloc(zones, zone, order), row, type, flags);
    pfn = head[row];
    if (pfn === 0) return 0;
  }
  const next = freeNext(map, pfn);
  head[row] = next;
  if (next === 0) tail[row] = 0;
  else freeSetPrev(map, next, 0);
  pcpCount[zone] -= 1 << order;
  return pfn;
}

/** Pages that the lists may hold now. @kernel mm/page_alloc.c nr_pcp_high (6.18) */
function nrPcpHigh(zones: Zones, zone: number, batch: number, freeHigh: boolean): number {
  const t = zones.zone;
  const min = t.pcpHighMin[zone];
  const max = t.pcpHighMax[zone];
  const high = Math.min(Math.max(t.pcpHigh[zone], min), max);
  t.pcpHigh[zone] = high;
  if (high === 0) return 0;
  if (freeHigh) {
    t.pcpHigh[zone] = Math.max(high - (batch << PCP_BATCH_SCALE_MAX), min);
    return 0;
  }
  const flags = t.flags[zone];
  if ((flags & ZONE_RECLAIM_ACTIVE) !== 0) {
    t.pcpHigh[zone] = Math.max(high - Math.max(t.pcpFreeCount[zone], batch), min);
    return Math.min(batch << 2, t.pcpHigh[zone]);
  }
  if (min === max) return high;
  if ((flags & ZONE_BELOW_HIGH) !== 0) {
    t.pcpHigh[zone] = Math.max(high - Math.max(t.pcpFreeCount[zone], batch), min);
    return Math.max(t.pcpCount[zone], min);
  }
  if (t.pcpCount[zone] >= high) {
    const need = t.pcpFreeCount[zone] + batch;
    if (high < need) t.pcpHigh[zone] = Math.min(Math.max(need, min), max);
  }
  return high;
}

/** Pages to give back. @kernel mm/page_alloc.c nr_pcp_free (6.18) */
function nrPcpFree(zones: Zones, zone: number, batch: number, high: number, freeHigh: boolean): number {
  const t = zones.zone;
  if (freeHigh) return Math.min(t.pcpCount[zone], batch << PCP_BATCH_SCALE_MAX);
  if (high < batch) return 1;
  return Math.min(Math.max(t.pcpFreeCount[zone], batch), high - batch);
}

/** Gives `nr` pages back to the buddy allocator, coldest first, beginning with one list. @kernel mm/page_alloc.c free_pcppages_bulk (6.18) */
function freePcppagesBulk(m: Machine, zone: number, nr: number, first: number): void {
  const { map, zones } = m;
  const { pcpCount } = zones.zone;
  const { head, tail } = zones.pcp;
  let left = Math.min(nr, pcpCount[zone]);
  let pindex = first;
  while (left > 0) {
    const row = zone * NR_PCP_LISTS + pindex;
    const order = pindexToOrder(zones, pindex);
    while (left > 0 && tail[row] !== 0) {
      const pfn = tail[row];
      const prev = freePrev(map, pfn);
      tail[row] = prev;
      if (prev === 0) head[row] = 0;
      else freeSetNext(map, prev, 0);
      pcpCount[zone] -= 1 << order;
      left -= 1 << order;
      freeOnePage(m, zone, pfn, order, zones.blocks[pfn >>> zones.pageblockOrder] & PB_TYPE, false);
    }
    pindex = pindex === NR_PCP_LISTS - 1 ? 0 : pindex + 1;
  }
}

/** Frees frames pfns[from, to) that nobody refers to, one after the other. @kernel mm/page_alloc.c free_frozen_page_commit (6.18) */
export function freePagesCommit(m: Machine, pfns: Int32Array, from: number, to: number): void {
  let i = from;
  while (i < to) {
    const zone = pageZone(m.zones, pfns[i]);
    const next = freePagesQuick(m, zone, pfns, i, to);
    if (next === i) freeFrozenPageCommit(m, zone, pfns[i++], 0);
    else i = next;
  }
}

/**
 * The commonest frees: movable pages of one zone, memory is not short, and there is room on the list. Returns the first of
 * pfns[from, to) that is not one; it and those behind it have not been freed.
 */
function freePagesQuick(m: Machine, zone: number, pfns: Int32Array, from: number, to: number): number {
  const { map, zones } = m;
  const t = zones.zone;
  const room = t.pcpHigh[zone] - 1 - t.pcpCount[zone];
  if ((t.flags[zone] & (ZONE_BELOW_HIGH | ZONE_RECLAIM_ACTIVE)) !== 0 || room <= 0) return from;
  const { blocks, pageblockOrder } = zones;
  const { head, tail } = zones.pcp;
  const row = zone * NR_PCP_LISTS + MIGRATE_MOVABLE;
  const stop = Math.min(to, from + room);
  const [start, end] = [t.start[zone], t.end[zone]];
  let first = head[row];
  let i = from;
  for (; i < stop; i++) {
    const pfn = pfns[i];
    if (pfn < start || pfn >= end || (blocks[pfn >>> pageblockOrder] & PB_TYPE) !== MIGRATE_MOVABLE) break;
    pcpSetLinks(map, pfn, first, 0);
    if (first === 0) tail[row] = pfn;
    else freeSetPrev(map, first, pfn);
    first = pfn;
  }
  const n = i - from;
  if (n === 0) return from;
  head[row] = first;
  t.pcpCount[zone] += n;
  t.pcpAllocFactor[zone] >>= Math.min(n, 31);
  t.pcpFlags[zone] = 0;
  const most = t.pcpBatch[zone] << PCP_BATCH_SCALE_MAX;
  const freed = t.pcpFreeCount[zone];
  if (freed < most) t.pcpFreeCount[zone] = Math.min(freed + n, most);
  return i;
}

/** Frees 2^order frames that nobody refers to, through the per-CPU lists where they have one. @kernel mm/page_alloc.c free_frozen_page_commit (6.18) */
export function freeFrozenPageCommit(m: Machine, zone: number, pfn: number, order: number): void {
  const { map, zones } = m;
  let type = pageblockType(zones, pfn);
  if (type === MIGRATE_ISOLATE || !pcpAllowedOrder(zones, order)) {
    splitLargeBuddy(m, zone, pfn, order);
    return;
  }
  if (type >= MIGRATE_PCPTYPES) type = MIGRATE_MOVABLE;
  const t = zones.zone;
  const { head, tail } = zones.pcp;
  const pindex = orderToPindex(order, type);
  const row = zone * NR_PCP_LISTS + pindex;
  t.pcpAllocFactor[zone] >>= 1;
  const first = head[row];
  pcpSetLinks(map, pfn, first, 0);
  if (first === 0) tail[row] = pfn;
  else freeSetPrev(map, first, pfn);
  head[row] = pfn;
  t.pcpCount[zone] += 1 << order;

  const batch = t.pcpBatch[zone];
  let freeHigh = false;
  if (order > 0 && order <= PAGE_ALLOC_COSTLY_ORDER) {
    freeHigh =
      t.pcpFreeCount[zone] >= batch + (t.pcpHighMin[zone] >> 1) &&
      (t.pcpFlags[zone] & PCPF_PREV_FREE_HIGH_ORDER) !== 0 &&
      t.pcpCount[zone] >= batch;
    t.pcpFlags[zone] |= PCPF_PREV_FREE_HIGH_ORDER;
  } else if (t.pcpFlags[zone] !== 0) t.pcpFlags[zone] = 0;
  if (t.pcpFreeCount[zone] < batch << PCP_BATCH_SCALE_MAX) t.pcpFreeCount[zone] += 1 << order;
  // The common case of the limit below: memory is not short, and there is room.
  const calm = (t.flags[zone] & (ZONE_BELOW_HIGH | ZONE_RECLAIM_ACTIVE)) === 0 && !freeHigh;
  if (calm && t.pcpCount[zone] < t.pcpHigh[zone]) return;
  const high = nrPcpHigh(zones, zone, batch, freeHigh);
  if (t.pcpCount[zone] < high) return;
  freePcppagesBulk(m, zone, nrPcpFree(zones, zone, batch, high, freeHigh), pindex);
  if (
    (t.flags[zone] & ZONE_BELOW_HIGH) !== 0 &&
    zoneWatermarkOk(zones, zone, 0, highWmarkPages(zones, zone), MAX_NR_ZONES - 1, 0)
  )
    t.flags[zone] &= ~ZONE_BELOW_HIGH;
}

/** Gives all pages of a zone's per-CPU lists back. @kernel mm/page_alloc.c drain_pages_zone (6.18) */
export function drainZonePages(m: Machine, zone: number): void {
  const count = m.zones.zone.pcpCount[zone];
  if (count > 0) freePcppagesBulk(m, zone, count, 0);
}

/** @kernel mm/page_alloc.c drain_all_pages (6.18) */
export function drainAllPages(m: Machine): void {
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) drainZonePages(m, zone);
}

/** The blocks on per-CPU lists: order by first frame. */
export function pcpBlocks(m: Machine): Map<number, number> {
  const blocks = new Map<number, number>();
  const { head } = m.zones.pcp;
  for (let row = 0; row < MAX_NR_ZONES * NR_PCP_LISTS; row++)
    for (let pfn = head[row]; pfn !== 0; pfn = freeNext(m.map, pfn))
      blocks.set(pfn, pindexToOrder(m.zones, row % NR_PCP_LISTS));
  return blocks;
}
