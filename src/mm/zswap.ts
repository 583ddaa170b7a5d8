/**
 * zswap: pages on their way to swap are kept in memory, compressed, as long as there is room.
 *
 *   folio of n pages ─► pool below max_pool_percent of memory? ─► each page compressed ─► n entries, or none of them
 *                            │ no: full, until it has shrunk to accept_threshold_percent of that
 *                            ▼
 *                       the swap device; in the background the oldest entries are written there too
 *
 * An entry belongs to a slot; it goes when its page is read back or the slot is freed. Entries of a group are listed by age,
 * with a second chance. A large folio is stored page by page and cannot be read as a whole: where zswap was ever on, swap is
 * read in single pages.
 *
 * Invariants: S5 and S6 of swap_table_check.ts.
 * Differs: records of entries are counted in bytes, not allocated; groups pay nothing (version 1).
 * @kernel mm/zswap.c zswap_store (6.18)
 */
import { allocate, grow, i32, type Table, u8 } from '../base/table.ts';
import { __GFP_KSWAPD_RECLAIM, __GFP_MOVABLE, __GFP_NORETRY, __GFP_NOWARN, GFP_KERNEL } from './gfp.ts';
import type { FolioId, MemcgId, SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioClear, folioMemcg, folioNrPages, folioSet, folioTest } from './mm_types.ts';
import { MAX_NR_ZONES } from './mmzone.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { swapWritepage } from './page_io.ts';
import { folioPut } from './swap.ts';
import { readSwapCacheAsync, type SwapRead, swapCacheDelFolio } from './swap_state.ts';
import { folioSwap } from './swap_table.ts';
import { doShrinkSlab } from './vmscan_slab.ts';
import { V } from './vmstat.ts';
import { type ZsPool, zsCompact, zsCreatePool, zsFree, zsMalloc, zsShrinkerCount } from './zsmalloc.ts';

const { PG_dirty, PG_locked, PG_reclaim, PG_uptodate } = PG;

/** @kernel mm/zswap.c zswap_compress (6.18) */
const ZSWAP_GFP = __GFP_KSWAPD_RECLAIM | __GFP_NOWARN | __GFP_NORETRY | __GFP_MOVABLE;
/** @kernel include/linux/mm.h MAX_RECLAIM_RETRIES (6.18) */
const MAX_RECLAIM_RETRIES = 16;

const entryLayout = {
  slot: i32('SwapEntry; 0: the row is free'),
  handle: i32('object in the pool'),
  length: i32('bytes stored; a page: not compressed'),
  memcg: i32('group whose list it is on'),
  referenced: u8('spared once when entries are written out'),
  next: i32('next younger entry of the group, or next free row'),
  prev: i32('next older'),
} as const;

export interface Zswap {
  enabled: boolean;
  /** Once on, swap is read in single pages until the machine starts anew. */
  everEnabled: boolean;
  /** Percent of memory that the pool may take. */
  maxPoolPercent: number;
  /** A full pool takes pages again below this percentage of that. */
  acceptThresholdPercent: number;
  /** Reclaim writes entries out even if the pool has room. */
  shrinkerEnabled: boolean;
  /** May pages go on to the device? */
  writeback: boolean;
  /** Bytes of a page by bytes stored, where the face does not know what pages hold. */
  ratio: number;
  /** Made when zswap is first turned on. */
  pool: ZsPool | null;
  full: boolean;
  /** The worker that writes entries out is to run, and the group that it begins with. */
  work: boolean;
  nextShrink: number;
  readonly entries: Table<typeof entryLayout>;
  nr: number;
  freeRow: number;
  storedPages: number;
  storedIncompressible: number;
  /** Work on the pool's fragments that was put off. */
  compactDeferred: number;
  /** By group: oldest and youngest entry, entries, pages read from the device since the last count, put-off work. */
  readonly oldest: number[];
  readonly youngest: number[];
  readonly count: number[];
  readonly diskSwapins: number[];
  readonly deferred: number[];
  rejectAllocFail: number;
  rejectCompressPoor: number;
  poolLimitHit: number;
}

export const zswapInit = (): Zswap => ({
  enabled: false,
  everEnabled: false,
  maxPoolPercent: 20,
  acceptThresholdPercent: 90,
  shrinkerEnabled: false,
  writeback: true,
  ratio: 3,
  pool: null,
  full: false,
  work: false,
  nextShrink: 0,
  entries: allocate(entryLayout, 16),
  nr: 1,
  freeRow: 0,
  storedPages: 0,
  storedIncompressible: 0,
  compactDeferred: 0,
  oldest: [],
  youngest: [],
  count: [],
  diskSwapins: [],
  deferred: [],
  rejectAllocFail: 0,
  rejectCompressPoor: 0,
  poolLimitHit: 0,
});

/** Turns it on or off; entries stay. @kernel mm/zswap.c zswap_enabled_param_set (6.18) */
export function zswapEnable(m: Machine, enabled: boolean): void {
  const z = m.swap.zswap;
  z.enabled = enabled;
  if (!enabled) return;
  z.everEnabled = true;
  z.pool ??= zsCreatePool(m.config.pageSize);
}

/** Bytes that a page of a folio becomes; a whole page: it does not get smaller. */
export function compressedLength(m: Machine, f: FolioId, page: number): number {
  const size = m.config.pageSize;
  const bytes = m.io.compress !== undefined ? m.io.compress(f, page) : Math.ceil(size / m.swap.zswap.ratio);
  return bytes <= 0 || bytes >= size ? size : Math.ceil(bytes);
}

/** Pages of the pool. @kernel mm/zswap.c zswap_total_pages (6.18) */
export const zswapTotalPages = (m: Machine): number => m.swap.zswap.pool?.pagesAllocated ?? 0;

/** @kernel mm/zswap.c zswap_max_pages (6.18) */
export function zswapMaxPages(m: Machine): number {
  let pages = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) pages += m.zones.zone.managed[z];
  return Math.floor((pages * m.swap.zswap.maxPoolPercent) / 100);
}
/** @kernel mm/zswap.c zswap_accept_thr_pages (6.18) */
const zswapAcceptThrPages = (m: Machine): number =>
  Math.floor((zswapMaxPages(m) * m.swap.zswap.acceptThresholdPercent) / 100);

/** Is the pool full, or not yet small enough again? @kernel mm/zswap.c zswap_check_limits (6.18) */
function zswapCheckLimits(m: Machine): boolean {
  const z = m.swap.zswap;
  const pages = zswapTotalPages(m);
  if (pages >= zswapMaxPages(m)) {
    z.poolLimitHit++;
    z.full = true;
  } else if (z.full && pages <= zswapAcceptThrPages(m)) z.full = false;
  return z.full;
}

function lruAdd(z: Zswap, e: number): void {
  const t = z.entries;
  const g = t.memcg[e];
  const last = z.youngest[g] ?? 0;
  t.prev[e] = last;
  t.next[e] = 0;
  if (last !== 0) t.next[last] = e;
  else z.oldest[g] = e;
  z.youngest[g] = e;
  z.count[g] = (z.count[g] ?? 0) + 1;
}

function lruDel(z: Zswap, e: number): void {
  const t = z.entries;
  const g = t.memcg[e];
  const next = t.next[e];
  const prev = t.prev[e];
  if (next !== 0) t.prev[next] = prev;
  else z.youngest[g] = prev;
  if (prev !== 0) t.next[prev] = next;
  else z.oldest[g] = next;
  z.count[g] = (z.count[g] as number) - 1;
}

/** @kernel mm/zswap.c zswap_entry_free (6.18) */
function entryFree(m: Machine, e: number): void {
  const z = m.swap.zswap;
  const t = z.entries;
  lruDel(z, e);
  zsFree(m, z.pool as ZsPool, t.handle[e]);
  z.storedPages--;
  if (t.length[e] === m.config.pageSize) z.storedIncompressible--;
  t.slot[e] = 0;
  t.next[e] = z.freeRow;
  z.freeRow = e;
}

/** A slot's entry goes, if it has one. @kernel mm/zswap.c zswap_invalidate (6.18) */
export function zswapInvalidate(m: Machine, entry: SwapEntry): void {
  const { zswap } = m.swap.slots;
  const e = zswap[entry];
  if (e === 0) return;
  zswap[entry] = 0;
  entryFree(m, e);
}

/** @kernel mm/zswap.c zswap_store_page (6.18) */
function storePage(m: Machine, f: FolioId, page: number, slot: number): boolean {
  const z = m.swap.zswap;
  const length = compressedLength(m, f, page);
  if (length === m.config.pageSize && !z.writeback) {
    z.rejectCompressPoor++;
    return false;
  }
  const handle = zsMalloc(m, z.pool as ZsPool, length, ZSWAP_GFP);
  if (handle === 0) {
    z.rejectAllocFail++;
    return false;
  }
  zswapInvalidate(m, slot as SwapEntry);
  let e = z.freeRow;
  if (e !== 0) z.freeRow = z.entries.next[e];
  else {
    e = z.nr++;
    if (e >= z.entries.rows) grow(entryLayout, z.entries, z.entries.rows * 2);
  }
  const t = z.entries;
  t.slot[e] = slot;
  t.handle[e] = handle;
  t.length[e] = length;
  t.memcg[e] = folioMemcg(m.map, f);
  t.referenced[e] = 1;
  m.swap.slots.zswap[slot] = e;
  z.storedPages++;
  if (length === m.config.pageSize) z.storedIncompressible++;
  lruAdd(z, e);
  return true;
}

/** Takes all pages of a folio, or none; older entries of its slots go in any case. @kernel mm/zswap.c zswap_store (6.18) */
export function zswapStore(m: Machine, f: FolioId): boolean {
  const z = m.swap.zswap;
  if (!z.everEnabled) return false;
  const entry = folioSwap(m, f);
  const nr = folioNrPages(m.map, f);
  let stored = 0;
  if (z.enabled) {
    if (!zswapCheckLimits(m)) while (stored < nr && storePage(m, f, stored, entry + stored)) stored++;
    if (stored < nr && z.full) z.work = true;
  }
  if (stored === nr) {
    m.vmstat[V.zswpout] += nr;
    return true;
  }
  for (let i = 0; i < nr; i++) zswapInvalidate(m, (entry + i) as SwapEntry);
  return false;
}

/**
 * Fills a folio of one page from its entry. In the swap cache the folio is the only copy from now on; a page read past it keeps
 * the entry. @kernel mm/zswap.c zswap_load (6.18)
 */
export function zswapLoad(m: Machine, f: FolioId, entry: SwapEntry): boolean {
  if (m.swap.slots.zswap[entry] === 0) return false;
  m.vmstat[V.zswpin] += 1;
  if (folioTest(m.map, f, PG_swapcache)) {
    folioSet(m.map, f, PG_dirty);
    zswapInvalidate(m, entry);
  }
  return true;
}

/** A page had to be read from the device: the group's entries should have stayed. @kernel mm/zswap.c zswap_folio_swapin (6.18) */
export function zswapFolioSwapin(m: Machine, f: FolioId): void {
  const z = m.swap.zswap;
  const g = folioMemcg(m.map, f);
  if (z.everEnabled) z.diskSwapins[g] = (z.diskSwapins[g] ?? 0) + 1;
}

const WB_DONE = 0;
const WB_FAILED = 1;
const WB_CACHED = 2;

/** Writes an entry's page to the device, by way of the swap cache. @kernel mm/zswap.c zswap_writeback_entry (6.18) */
function writebackEntry(m: Machine, e: number): number {
  const slot = m.swap.zswap.entries.slot[e] as SwapEntry;
  const read: SwapRead = { allocated: false };
  const f = readSwapCacheAsync(m, slot, GFP_KERNEL, read);
  if (f === 0) return WB_FAILED;
  if (!read.allocated) {
    folioPut(m, f);
    return WB_CACHED;
  }
  if (m.swap.slots.zswap[slot] !== e) {
    swapCacheDelFolio(m, f);
    folioClear(m.map, f, PG_locked);
    folioPut(m, f);
    return WB_FAILED;
  }
  zswapInvalidate(m, slot);
  m.vmstat[V.zswpwb] += 1;
  folioSet(m.map, f, PG_uptodate | PG_reclaim);
  swapWritepage(m, f);
  folioPut(m, f);
  return WB_DONE;
}

/** Looks at up to `want` of a group's oldest entries; returns how many were written; stops at a page in use if told so. @kernel mm/zswap.c shrink_memcg_cb (6.18) */
function zswapShrinkWalk(m: Machine, memcg: number, want: number, stopInUse: boolean): number {
  const z = m.swap.zswap;
  const t = z.entries;
  let written = 0;
  for (let i = 0; i < want && (z.count[memcg] ?? 0) > 0; i++) {
    const e = z.oldest[memcg] as number;
    lruDel(z, e);
    lruAdd(z, e);
    if (t.referenced[e] !== 0) {
      t.referenced[e] = 0;
      continue;
    }
    const result = writebackEntry(m, e);
    if (result === WB_DONE) written++;
    else if (result === WB_CACHED && stopInUse) return -1;
  }
  return written;
}

/** Writes entries out, group by group, until a full pool accepts again. @kernel mm/zswap.c shrink_worker (6.18) */
export function zswapShrinkWorker(m: Machine): void {
  const z = m.swap.zswap;
  z.work = false;
  const threshold = zswapAcceptThrPages(m);
  let failures = 0;
  let attempts = 0;
  do {
    const g = z.nextShrink;
    z.nextShrink = g + 1;
    if (g >= m.memcgs.nr) {
      z.nextShrink = 0;
      if (attempts === 0 && ++failures === MAX_RECLAIM_RETRIES) return;
      attempts = 0;
      continue;
    }
    if (!z.writeback || (z.count[g] ?? 0) === 0) continue;
    attempts++;
    if (zswapShrinkWalk(m, g, 1, false) === 0 && ++failures === MAX_RECLAIM_RETRIES) return;
  } while (zswapTotalPages(m) > threshold);
}

/** Entries of a group that the shrinker may write out. @kernel mm/zswap.c zswap_shrinker_count (6.18) */
function zswapShrinkerCount(m: Machine, memcg: MemcgId): number {
  const z = m.swap.zswap;
  if (!z.shrinkerEnabled || !z.writeback || z.storedPages === 0) return 0;
  const freeable = z.count[memcg] ?? 0;
  const swapins = z.diskSwapins[memcg] ?? 0;
  z.diskSwapins[memcg] = Math.max(swapins - freeable, 0);
  const left = freeable - Math.min(swapins, freeable);
  return Math.floor((left * zswapTotalPages(m)) / z.storedPages);
}

/** @kernel mm/shrinker.c SHRINK_BATCH (6.18) */
const SHRINK_BATCH = 128;
/** What it costs to make an object again: entries need I/O. @kernel include/linux/shrinker.h DEFAULT_SEEKS (6.18) */
const DEFAULT_SEEKS = 2;

/** A reclaim lets a group's entries be written out, and (for the whole machine) the pool be compacted. @kernel mm/zswap.c zswap_shrinker_scan (6.18) */
export function zswapShrinkSlab(m: Machine, memcg: MemcgId, priority: number): void {
  const z = m.swap.zswap;
  const plan = doShrinkSlab(zswapShrinkerCount(m, memcg), z.deferred[memcg] ?? 0, priority, DEFAULT_SEEKS);
  z.deferred[memcg] = plan.deferred;
  for (let left = plan.scan; left > 0; left -= SHRINK_BATCH) {
    m.vmstat[V.slabs_scanned] += Math.min(left, SHRINK_BATCH);
    if (zswapShrinkWalk(m, memcg, Math.min(left, SHRINK_BATCH), true) <= 0) break;
  }
  if (memcg !== 0) return;
  const pool = z.pool as ZsPool;
  const compact = doShrinkSlab(zsShrinkerCount(pool), z.compactDeferred, priority, DEFAULT_SEEKS);
  z.compactDeferred = compact.deferred;
  if (compact.scan === 0) return;
  m.vmstat[V.slabs_scanned] += SHRINK_BATCH;
  zsCompact(m, pool);
}
