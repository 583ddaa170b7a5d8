/** What the free lists look like: blocks by order, and how badly free memory is broken up. @kernel mm/vmstat.c fill_contig_page_info (6.18) */
import type { Machine } from './machine.ts';
import { areaRow, MAX_NR_ZONES, MIGRATE_TYPES, ZONE_NAMES, type Zones } from './mmzone.ts';

/** Free blocks of an order, of all types. @kernel include/linux/mmzone.h struct free_area (6.18) */
export function nrFree(zones: Zones, zone: number, order: number): number {
  const { count } = zones.area;
  const row = areaRow(zones, zone, order, 0);
  let sum = 0;
  for (let type = 0; type < MIGRATE_TYPES; type++) sum += count[row + type];
  return sum;
}

/** Blocks per order of one zone, as in /proc/buddyinfo. */
export interface ZoneBuddyInfo {
  readonly zone: string;
  readonly blocks: readonly number[];
}
/** Blocks per order of each zone that has memory. @kernel mm/vmstat.c frag_show_print (6.18) */
export function buddyInfo(m: Machine): ZoneBuddyInfo[] {
  const { zones } = m;
  const out: ZoneBuddyInfo[] = [];
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    if (zones.zone.managed[z] === 0) continue;
    const blocks: number[] = [];
    for (let o = 0; o <= zones.maxOrder; o++) blocks.push(nrFree(zones, z, o));
    out.push({ zone: ZONE_NAMES[z], blocks });
  }
  return out;
}

/** Pages in free blocks of all orders, or of those of at least `order`. */
function freeIn(zones: Zones, zone: number, order: number): number {
  let sum = 0;
  for (let o = order; o <= zones.maxOrder; o++) sum += nrFree(zones, zone, o) * 2 ** o;
  return sum;
}

/** Percent of free memory in blocks too small for the order. @kernel mm/vmstat.c extfrag_for_order (6.18) */
export function extfragForOrder(zones: Zones, zone: number, order: number): number {
  const free = freeIn(zones, zone, 0);
  return free === 0 ? 0 : Math.floor(((free - freeIn(zones, zone, order)) * 100) / free);
}

/**
 * Why a request of that order would fail: towards 0 for lack of memory, towards 1000 by fragmentation; −1000: it would not.
 * @kernel mm/vmstat.c __fragmentation_index (6.18)
 */
export function fragmentationIndex(zones: Zones, zone: number, order: number): number {
  let blocks = 0;
  for (let o = 0; o <= zones.maxOrder; o++) {
    const nr = nrFree(zones, zone, o);
    if (o >= order && nr > 0) return -1000;
    blocks += nr;
  }
  if (blocks === 0) return 0;
  const wanted = Math.floor((freeIn(zones, zone, 0) * 1000) / 2 ** order);
  return 1000 - Math.floor((1000 + wanted) / blocks);
}

/** Thousandths of free memory that requests of that order cannot use. @kernel mm/vmstat.c unusable_free_index (6.18) */
export function unusableFreeIndex(zones: Zones, zone: number, order: number): number {
  const free = freeIn(zones, zone, 0);
  return free === 0 ? 1000 : Math.floor(((free - freeIn(zones, zone, order)) * 1000) / free);
}
