/** placeholder during set-up */
import type { Machine } from './machine.ts';
import type { Zones } from './mmzone.ts';
import { lowWmarkPages, minWmarkPages, zoneWatermarkOkFor } from './page_alloc_watermark.ts';
export const COMPACT_SKIPPED = 1;
export const COMPACT_DEFERRED = 2;
export const COMPACT_CONTINUE = 4;
export const COMPACT_SUCCESS = 8;
export const COMPACT_PRIO_SYNC_FULL = 0;
export const COMPACT_PRIO_SYNC_LIGHT = 1;
export const COMPACT_PRIO_ASYNC = 2;
export function compactionDeferReset(zones: Zones, zone: number, order: number, success: boolean): void {
  const t = zones.zone;
  if (success) {
    t.considered[zone] = 0;
    t.deferShift[zone] = 0;
  }
  if (order >= t.orderFailed[zone]) t.orderFailed[zone] = order + 1;
}
export function compactionSuitableFor(
  m: Machine,
  zone: number,
  order: number,
  mark: number,
  highest: number,
  free: number,
): boolean {
  let need = mark + (2 << order);
  if (order > 3) need += lowWmarkPages(m.zones, zone) - minWmarkPages(m.zones, zone);
  return zoneWatermarkOkFor(m.zones, zone, 0, need, highest, 0, free);
}
export const compactionSuitable = (m: Machine, zone: number, order: number, mark: number, highest: number): boolean =>
  compactionSuitableFor(m, zone, order, mark, highest, m.zones.zone.free[zone]);
export function tryToCompactPages(
  _m: Machine,
  _order: number,
  _flags: number,
  _highest: number,
  _type: number,
  _priority: number,
): number {
  return COMPACT_SKIPPED;
}
export function wakeupKcompactd(_m: Machine, _order: number, _highest: number): void {}
