/**
 * Where memory comes from when a migrate type has none left: blocks of another type. A whole page block is claimed if most of
 * it is free or holds pages of our kind; else single pieces are taken from the smallest block there is, which mixes types in
 * one page block, and so keeps that block from ever being free as a whole. Reserves for high-order atomic requests are kept
 * the same way.
 *
 * @kernel mm/page_alloc.c __rmqueue_claim (6.18)
 */
import type { Machine } from './machine.ts';
import {
  areaRow,
  MIGRATE_HIGHATOMIC,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  pageblockType,
  setPageblockType,
  ZONE_BOOSTED_WATERMARK,
  type Zones,
} from './mmzone.ts';
import {
  accountFreepages,
  changePageblockRange,
  delAndExpand,
  delFromFreeList,
  expand,
  moveFreepages,
  moveFreepagesBlock,
  moveToFreeList,
  prepMoveFreepagesBlock,
  rmqueueSmallest,
} from './page_alloc_buddy.ts';
import { ALLOC_KSWAPD, ALLOC_NOFRAGMENT, boostWatermark } from './page_alloc_watermark.ts';

/** Types to borrow from, best first. @kernel mm/page_alloc.c fallbacks (6.18) */
const fallbacks = [
  [MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE],
  [MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE],
  [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE],
] as const;

/** Are pages of this size worth a whole page block? @kernel mm/page_alloc.c should_try_claim_block (6.18) */
const shouldTryClaimBlock = (zones: Zones, order: number, type: number): boolean =>
  order >= zones.pageblockOrder >>> 1 || type === MIGRATE_RECLAIMABLE || type === MIGRATE_UNMOVABLE;

/** The first other type with a block of that order; −1: none. @kernel mm/page_alloc.c find_suitable_fallback (6.18) */
function findSuitableFallback(zones: Zones, zone: number, order: number, type: number): number {
  const list = fallbacks[type];
  const row = areaRow(zones, zone, order, 0);
  if (zones.area.head[row + list[0]] !== 0) return list[0];
  return zones.area.head[row + list[1]] !== 0 ? list[1] : -1;
}

/** Is there a block of that order whose page block the type could claim? */
export const claimableFallback = (zones: Zones, zone: number, order: number, type: number): boolean =>
  shouldTryClaimBlock(zones, order, type) && findSuitableFallback(zones, zone, order, type) >= 0;

/** Does the type own the block in all but name? Half of it must be free or hold pages of its kind. */
function mostlyOurs(zones: Zones, type: number, was: number): boolean {
  const size = 1 << zones.pageblockOrder;
  const { blockFree, blockMovable } = zones;
  const alike = type === MIGRATE_MOVABLE ? blockMovable : was === MIGRATE_MOVABLE ? size - blockFree - blockMovable : 0;
  return blockFree + alike >= size / 2;
}

function boost(m: Machine, zone: number, flags: number): void {
  if (boostWatermark(m.zones, zone) && (flags & ALLOC_KSWAPD) !== 0) m.zones.zone.flags[zone] |= ZONE_BOOSTED_WATERMARK;
}

/** Turns the page block of a foreign free block into one of our own and takes from it; 0: it is too foreign. @kernel mm/page_alloc.c try_to_claim_block (6.18) */
function tryToClaimBlock(
  m: Machine,
  zone: number,
  pfn: number,
  from: number,
  order: number,
  type: number,
  was: number,
  flags: number,
): number {
  const { zones } = m;
  if (from >= zones.pageblockOrder) {
    delFromFreeList(m, zone, pfn, from);
    accountFreepages(m, zone, -(1 << from), was);
    changePageblockRange(zones, pfn, from, type);
    expand(m, zone, pfn, order, from, type);
    accountFreepages(m, zone, (1 << from) - (1 << order), type);
    return pfn;
  }
  boost(m, zone, flags);
  const start = pfn & -(1 << zones.pageblockOrder);
  if (!prepMoveFreepagesBlock(m, zone, start)) return 0;
  if (!mostlyOurs(zones, type, was)) return 0;
  moveFreepages(m, zone, start, type);
  setPageblockType(zones, start, type);
  return rmqueueSmallest(m, zone, order, type);
}

/** Looks for a page block to convert, from the largest blocks down; 0: none. @kernel mm/page_alloc.c __rmqueue_claim (6.18) */
function rmqueueClaim(m: Machine, zone: number, order: number, type: number, flags: number): number {
  const { zones } = m;
  const whole = order < zones.pageblockOrder && (flags & ALLOC_NOFRAGMENT) !== 0;
  const min = whole ? zones.pageblockOrder : order;
  for (let o = zones.maxOrder; o >= min; o--) {
    if (!shouldTryClaimBlock(zones, o, type)) break;
    const other = findSuitableFallback(zones, zone, o, type);
    if (other < 0) continue;
    const block = zones.area.head[areaRow(zones, zone, o, other)];
    const pfn = tryToClaimBlock(m, zone, block, o, order, type, other, flags);
    if (pfn !== 0) return pfn;
  }
  return 0;
}

/** Takes from the smallest foreign block and leaves the rest to its type; 0: none. @kernel mm/page_alloc.c __rmqueue_steal (6.18) */
function rmqueueSteal(m: Machine, zone: number, order: number, type: number): number {
  const { zones } = m;
  for (let o = order; o <= zones.maxOrder; o++) {
    const other = findSuitableFallback(zones, zone, o, type);
    if (other < 0) continue;
    return delAndExpand(m, zone, zones.area.head[areaRow(zones, zone, o, other)], order, o, other);
  }
  return 0;
}

/**
 * The form up to 6.6: moves a foreign block (and its page block, if mostly free or alike) to our lists; false when there is
 * none. A movable request that could not claim takes from the smallest. @kernel mm/page_alloc.c __rmqueue_fallback (6.1)
 */
function rmqueueFallback(m: Machine, zone: number, order: number, type: number, flags: number): boolean {
  const { zones } = m;
  const { head } = zones.area;
  const whole = order < zones.pageblockOrder && (flags & ALLOC_NOFRAGMENT) !== 0;
  const min = whole ? zones.pageblockOrder : order;
  for (let o = zones.maxOrder; o >= min; o--) {
    const other = findSuitableFallback(zones, zone, o, type);
    if (other < 0) continue;
    const claim = shouldTryClaimBlock(zones, o, type);
    if (claim || type !== MIGRATE_MOVABLE || o === order) {
      stealSuitableFallback(m, zone, head[areaRow(zones, zone, o, other)], o, type, claim, flags);
      return true;
    }
    for (let small = order; small <= zones.maxOrder; small++) {
      const from = findSuitableFallback(zones, zone, small, type);
      if (from < 0) continue;
      stealSuitableFallback(m, zone, head[areaRow(zones, zone, small, from)], small, type, claim, flags);
      return true;
    }
  }
  return false;
}

/** @kernel mm/page_alloc.c steal_suitable_fallback (6.1) */
function stealSuitableFallback(
  m: Machine,
  zone: number,
  pfn: number,
  order: number,
  type: number,
  claim: boolean,
  flags: number,
): void {
  const { zones } = m;
  const was = pageblockType(zones, pfn);
  if (was !== MIGRATE_HIGHATOMIC) {
    if (order >= zones.pageblockOrder) changePageblockRange(zones, pfn, order, type);
    else {
      boost(m, zone, flags);
      const start = pfn & -(1 << zones.pageblockOrder);
      if (claim && prepMoveFreepagesBlock(m, zone, start)) {
        moveFreepages(m, zone, start, type);
        if (mostlyOurs(zones, type, was)) setPageblockType(zones, start, type);
        return;
      }
    }
  }
  moveToFreeList(m, zone, pfn, order, type);
}

export const RMQUEUE_NORMAL = 0;
const RMQUEUE_CLAIM = 1;
const RMQUEUE_STEAL = 2;

/**
 * A block of that order for the type, from wherever it can be had; 0: none. `zones.rmqueueMode` says where to begin: set it
 * to RMQUEUE_NORMAL before the first of several. @kernel mm/page_alloc.c __rmqueue (6.18)
 */
export function rmqueueAny(m: Machine, zone: number, order: number, type: number, flags: number): number {
  const { zones } = m;
  if (m.release.buddyFallback === 'steal') {
    for (;;) {
      const pfn = rmqueueSmallest(m, zone, order, type);
      if (pfn !== 0 || !rmqueueFallback(m, zone, order, type, flags)) return pfn;
    }
  }
  if (zones.rmqueueMode === RMQUEUE_NORMAL) {
    const pfn = rmqueueSmallest(m, zone, order, type);
    if (pfn !== 0) return pfn;
  }
  if (zones.rmqueueMode <= RMQUEUE_CLAIM) {
    const pfn = rmqueueClaim(m, zone, order, type, flags);
    if (pfn !== 0) {
      zones.rmqueueMode = RMQUEUE_NORMAL;
      return pfn;
    }
  }
  if ((flags & ALLOC_NOFRAGMENT) !== 0) return 0;
  const pfn = rmqueueSteal(m, zone, order, type);
  if (pfn !== 0) zones.rmqueueMode = RMQUEUE_STEAL;
  return pfn;
}

/** Keeps the page block of a high-order atomic request for the next ones, up to a hundredth of the zone. @kernel mm/page_alloc.c reserve_highatomic_pageblock (6.18) */
export function reserveHighatomicPageblock(m: Machine, zone: number, pfn: number, order: number): void {
  const { zones } = m;
  const t = zones.zone;
  const block = 1 << zones.pageblockOrder;
  const percent = Math.floor(t.managed[zone] / 100);
  if (percent < block) return;
  if (t.nrReservedHighatomic[zone] >= Math.ceil(percent / block) * block) return;
  if (pageblockType(zones, pfn) >= MIGRATE_PCPTYPES) return;
  if (order < zones.pageblockOrder) {
    if (!moveFreepagesBlock(m, zone, pfn, MIGRATE_HIGHATOMIC)) return;
    t.nrReservedHighatomic[zone] += block;
  } else {
    changePageblockRange(zones, pfn, order, MIGRATE_HIGHATOMIC);
    t.nrReservedHighatomic[zone] += 1 << order;
  }
}

/** Gives one reserved block back to the type that is short of memory; all but the last unless forced. @kernel mm/page_alloc.c unreserve_highatomic_pageblock (6.18) */
export function unreserveHighatomicPageblock(m: Machine, highest: number, type: number, force: boolean): boolean {
  const { zones } = m;
  const { nrReservedHighatomic: reserved } = zones.zone;
  const block = 1 << zones.pageblockOrder;
  for (let zone = highest; zone >= 0; zone--) {
    if (reserved[zone] === 0 || (!force && reserved[zone] <= block)) continue;
    for (let o = 0; o <= zones.maxOrder; o++) {
      const pfn = zones.area.head[areaRow(zones, zone, o, MIGRATE_HIGHATOMIC)];
      if (pfn === 0) continue;
      reserved[zone] -= Math.min(Math.max(block, 1 << o), reserved[zone]);
      if (o < zones.pageblockOrder) {
        if (moveFreepagesBlock(m, zone, pfn, type)) return true;
        continue;
      }
      moveToFreeList(m, zone, pfn, o, type);
      changePageblockRange(zones, pfn, o, type);
      return true;
    }
  }
  return false;
}
