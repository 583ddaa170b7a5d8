/**
 * What an allocation does when no zone is above its low watermark: wake kswapd, go down to the min mark, compact, reclaim,
 * and try again, each as far as the request allows. What cannot be had ends in failure; nothing is killed here.
 *
 *   no direct reclaim     one more pass below the mark                                          GFP_ATOMIC, GFP_NOWAIT
 *   NORETRY               compaction and reclaim once                                           large folios of the cache
 *   order up to 3         until nothing can be reclaimed: then out of memory                    everything else
 *   order above 3         as NORETRY, unless RETRY_MAYFAIL
 *
 * kswapd works beside the caller in the kernel; here it runs when the request has its answer.
 *
 * @kernel mm/page_alloc.c __alloc_pages_slowpath (6.18)
 */
import {
  COMPACT_DEFERRED,
  COMPACT_PRIO_ASYNC,
  COMPACT_PRIO_SYNC_FULL,
  COMPACT_PRIO_SYNC_LIGHT,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
  compactionDeferReset,
  compactionSuitableFor,
  tryToCompactPages,
} from './compaction.ts';
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_HIGH,
  __GFP_IO,
  __GFP_KSWAPD_RECLAIM,
  __GFP_MEMALLOC,
  __GFP_NOFAIL,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  __GFP_THISNODE,
} from './gfp.ts';
import type { Machine } from './machine.ts';
import { MIGRATE_MOVABLE, PAGE_ALLOC_COSTLY_ORDER, pageZone, ZONE_NORMAL } from './mmzone.ts';
import { outOfMemory } from './oom_kill.ts';
import { unreserveHighatomicPageblock } from './page_alloc_fallback.ts';
import { drainAllPages } from './page_alloc_pcp.ts';
import {
  ALLOC_HIGHATOMIC,
  ALLOC_KSWAPD,
  ALLOC_MIN_RESERVE,
  ALLOC_NO_WATERMARKS,
  ALLOC_NON_BLOCK,
  ALLOC_WMARK_HIGH,
  ALLOC_WMARK_MIN,
  minWmarkPages,
  zoneWatermarkOkFor,
} from './page_alloc_watermark.ts';
import { getPageFromFreelist, gfpMigratetype, gfpZone, preferredZone } from './page_alloc_zonelist.ts';
import { kswapd, tryToFreePages, wakeupKswapd } from './vmscan.ts';
import { V } from './vmstat.ts';

const MAX_RECLAIM_RETRIES = 16;
const MAX_COMPACT_RETRIES = 16;

/** What a request may use below the low watermark. @kernel mm/page_alloc.c gfp_to_alloc_flags (6.18) */
function gfpToAllocFlags(gfp: number, order: number): number {
  let flags = ALLOC_WMARK_MIN;
  if ((gfp & __GFP_HIGH) !== 0) flags |= ALLOC_MIN_RESERVE;
  if ((gfp & __GFP_KSWAPD_RECLAIM) !== 0) flags |= ALLOC_KSWAPD;
  if ((gfp & (__GFP_DIRECT_RECLAIM | __GFP_NOMEMALLOC)) === 0) {
    flags |= ALLOC_NON_BLOCK;
    if (order > 0 && (flags & ALLOC_MIN_RESERVE) !== 0) flags |= ALLOC_HIGHATOMIC;
  }
  return flags;
}

/** All reserves are open to those who free memory. @kernel mm/page_alloc.c gfp_pfmemalloc_allowed (6.18) */
const pfmemallocAllowed = (m: Machine, gfp: number): boolean =>
  (gfp & __GFP_NOMEMALLOC) === 0 && ((gfp & __GFP_MEMALLOC) !== 0 || m.zones.memalloc);

/** One request on its way through the slow path. */
interface Slow {
  readonly gfp: number;
  readonly order: number;
  readonly highest: number;
  readonly type: number;
  flags: number;
  /** Pages that the last reclaim freed. */
  progress: number;
  /** Rounds without progress. */
  loops: number;
  compactResult: number;
  compactPriority: number;
  compactRetries: number;
}

const tryList = (m: Machine, s: Slow): number => getPageFromFreelist(m, s.order, s.flags, s.highest, s.type);

/** A block after all that the request allows, not prepared; 0: out of memory. @kernel mm/page_alloc.c __alloc_pages_slowpath (6.18) */
export function allocPagesSlowpath(m: Machine, gfp: number, order: number): number {
  const s: Slow = {
    gfp,
    order,
    highest: gfpZone(gfp),
    type: gfpMigratetype(gfp),
    flags: gfpToAllocFlags(gfp, order),
    progress: 0,
    loops: 0,
    compactResult: COMPACT_SKIPPED,
    compactPriority: COMPACT_PRIO_SYNC_LIGHT,
    compactRetries: 0,
  };
  if ((s.flags & ALLOC_KSWAPD) !== 0) wakeupKswapd(m, preferredZone(m.zones, s.highest), order);
  let pfn = slowpath(m, s);
  if (pfn === 0 && (gfp & __GFP_NOFAIL) !== 0) {
    s.flags = ALLOC_MIN_RESERVE;
    pfn = tryList(m, s);
  }
  kswapd(m);
  return pfn;
}

function slowpath(m: Machine, s: Slow): number {
  const { gfp, order } = s;
  const direct = (gfp & __GFP_DIRECT_RECLAIM) !== 0;
  const compact = direct && (gfp & __GFP_IO) !== 0;
  const costly = order > PAGE_ALLOC_COSTLY_ORDER;
  let pfn = tryList(m, s);
  if (pfn !== 0) return pfn;
  const reserves = pfmemallocAllowed(m, gfp);
  if (compact && !reserves && (costly || (order > 0 && s.type !== MIGRATE_MOVABLE))) {
    pfn = directCompact(m, s, COMPACT_PRIO_ASYNC);
    if (pfn !== 0) return pfn;
    if (costly && (gfp & __GFP_NORETRY) !== 0) {
      if (s.compactResult === COMPACT_SKIPPED || s.compactResult === COMPACT_DEFERRED) return 0;
      if ((gfp & __GFP_THISNODE) !== 0) return 0;
      s.compactPriority = COMPACT_PRIO_ASYNC;
    }
  }
  if (reserves) s.flags = ALLOC_NO_WATERMARKS | (s.flags & ALLOC_KSWAPD);
  for (;;) {
    pfn = tryList(m, s);
    if (pfn !== 0 || !direct || m.zones.memalloc) return pfn;
    pfn = directReclaim(m, s);
    if (pfn !== 0) return pfn;
    if (compact) pfn = directCompact(m, s, s.compactPriority);
    if (pfn !== 0 || (gfp & __GFP_NORETRY) !== 0) return pfn;
    if (costly && (!compact || (gfp & __GFP_RETRY_MAYFAIL) === 0)) return 0;
    if (shouldReclaimRetry(m, s)) continue;
    if (s.progress > 0 && compact && shouldCompactRetry(m, s)) continue;
    return mayOom(m, s);
  }
}

/** @kernel mm/page_alloc.c __alloc_pages_direct_compact (6.18) */
function directCompact(m: Machine, s: Slow, priority: number): number {
  const { zones, vmstat } = m;
  if (s.order === 0) return 0;
  s.compactResult = tryToCompactPages(m, s.gfp, s.order, s.flags, s.highest, s.type, priority);
  if (s.compactResult === COMPACT_SKIPPED) return 0;
  vmstat[V.compact_stall]++;
  let pfn = zones.capturePfn;
  zones.capturePfn = 0;
  if (pfn === 0) pfn = tryList(m, s);
  if (pfn === 0) {
    vmstat[V.compact_fail]++;
    return 0;
  }
  const zone = pageZone(zones, pfn);
  zones.zone.blockskipFlush[zone] = 0;
  compactionDeferReset(zones, zone, s.order, true);
  vmstat[V.compact_success]++;
  return pfn;
}

/** @kernel mm/page_alloc.c __alloc_pages_direct_reclaim (6.18) */
function directReclaim(m: Machine, s: Slow): number {
  s.progress = tryToFreePages(m, s.gfp, s.order);
  if (s.progress === 0) return 0;
  const pfn = tryList(m, s);
  if (pfn !== 0) return pfn;
  unreserveHighatomicPageblock(m, s.highest, s.type, false);
  drainAllPages(m);
  return tryList(m, s);
}

/**
 * Could the request be met if all that is reclaimable were free? The file pages of the whole machine count for each zone.
 * @kernel mm/page_alloc.c should_reclaim_retry (6.18)
 */
function shouldReclaimRetry(m: Machine, s: Slow): boolean {
  const { zones } = m;
  if (s.progress > 0 && s.order <= PAGE_ALLOC_COSTLY_ORDER) s.loops = 0;
  else s.loops++;
  if (s.loops <= MAX_RECLAIM_RETRIES) {
    for (let zone = s.highest; zone >= 0; zone--) {
      if (zones.zone.managed[zone] === 0) continue;
      const available = zoneReclaimablePages(m) + zones.zone.free[zone];
      const mark = minWmarkPages(zones, zone);
      if (zoneWatermarkOkFor(zones, zone, s.order, mark, s.highest, s.flags, available)) return true;
    }
  }
  return unreserveHighatomicPageblock(m, s.highest, s.type, true);
}

/** @kernel mm/vmscan.c zone_reclaimable_pages (6.18) */
const zoneReclaimablePages = (m: Machine): number => m.vmstat[V.nr_inactive_file] + m.vmstat[V.nr_active_file];

/** @kernel mm/page_alloc.c should_compact_retry (6.18) */
function shouldCompactRetry(m: Machine, s: Slow): boolean {
  if (s.order === 0) return false;
  const costly = s.order > PAGE_ALLOC_COSTLY_ORDER;
  if (s.compactResult === COMPACT_SKIPPED) return compactionZonelistSuitable(m, s);
  if (s.compactResult === COMPACT_SUCCESS) {
    if (++s.compactRetries <= (costly ? MAX_COMPACT_RETRIES / 4 : MAX_COMPACT_RETRIES)) return true;
  }
  if (s.compactPriority <= (costly ? COMPACT_PRIO_SYNC_LIGHT : COMPACT_PRIO_SYNC_FULL)) return false;
  s.compactPriority--;
  s.compactRetries = 0;
  return true;
}

/** Could compaction start in some zone after reclaim? @kernel mm/compaction.c compaction_zonelist_suitable (6.18) */
function compactionZonelistSuitable(m: Machine, s: Slow): boolean {
  const { zones } = m;
  for (let zone = s.highest; zone >= 0; zone--) {
    if (zones.zone.managed[zone] === 0) continue;
    const available = Math.floor(zoneReclaimablePages(m) / s.order) + zones.zone.free[zone];
    if (compactionSuitableFor(m, zone, s.order, minWmarkPages(zones, zone), s.highest, available)) return true;
  }
  return false;
}

/** The last resort: a page above the high watermark that somebody freed meanwhile, else out of memory. @kernel mm/page_alloc.c __alloc_pages_may_oom (6.18) */
function mayOom(m: Machine, s: Slow): number {
  const pfn = getPageFromFreelist(m, s.order, ALLOC_WMARK_HIGH, s.highest, s.type);
  if (pfn !== 0 || s.order > PAGE_ALLOC_COSTLY_ORDER) return pfn;
  if ((s.gfp & (__GFP_RETRY_MAYFAIL | __GFP_THISNODE)) !== 0 || s.highest < ZONE_NORMAL) return 0;
  outOfMemory(m);
  return 0;
}
