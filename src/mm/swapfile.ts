/**
 * Swap devices and the life of a slot:
 *
 *   folioAllocSwap ─► SWAP_HAS_CACHE ─► swapDuplicate, once a page table entry ─► swap cache gone: the references alone
 *       ─► swapFree, once an entry ─► 0: the slot is free, and so are the shadow, the compressed copy and the zero mark
 *
 * Devices are tried by priority, equal ones in turn; a request for a large folio asks the first one only, and if there is no
 * run of slots for it the folio must be split.
 * @kernel mm/swapfile.c folio_alloc_swap (6.18)
 */
import { assert, QuireError } from '../base/errors.ts';
import type { FolioId, SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupUnchargeSwap } from './memcontrol_swap.ts';
import { folioClear, folioNrPages, folioOrder, folioRefAdd, folioSet, folioTest } from './mm_types.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { zramFree } from './page_io.ts';
import { folioMapped } from './rmap.ts';
import { folioPut } from './swap.ts';
import { swapCacheAddFolio, swapCacheDelFolio, swapCacheGetFolio } from './swap_state.ts';
import {
  CLUSTER_FLAG_FREE,
  CLUSTER_FLAG_NONFULL,
  folioSwap,
  SWAP_HAS_CACHE,
  SWAP_MAP_BAD,
  SWAP_MAP_MAX,
  type SwapDevice,
  type SwapKind,
  swapCluster,
  swapDevice,
  swapGrow,
} from './swap_table.ts';
import {
  clusterAllocSwapEntry,
  freeCluster,
  fromHint,
  moveCluster,
  partialFreeCluster,
  swapReclaimFullClusters,
  swapTableAlloc,
} from './swapfile_cluster.ts';
import { zsCreatePool } from './zsmalloc.ts';
import { zswapInvalidate } from './zswap.ts';

const { PG_dirty, PG_locked, PG_writeback } = PG;

/** When a slot's folio leaves the swap cache: always; if nobody maps it; if swap is getting full. @kernel mm/swapfile.c TTRS_ANYWAY (6.18) */
export const TTRS_ANYWAY = 1;
export const TTRS_UNMAPPED = 2;
export const TTRS_FULL = 4;

/** Most slots of a machine: their tables are arrays. 1 TiB of 4 KiB pages. */
export const SWAP_SLOTS_MAX: number = 2 ** 28;
const MAX_SWAPFILES = 23;

export interface SwapConfig {
  readonly kind: SwapKind;
  /** Bytes, the header's page among them. */
  readonly size: number;
  /** −1: below all devices that are there. */
  readonly prio: number;
}

/** A device begins to be used for swap. @kernel mm/swapfile.c sys_swapon (6.18) */
export function swapon(m: Machine, config: SwapConfig): SwapDevice {
  const s = m.swap;
  const max = Math.floor(config.size / m.config.pageSize);
  const size = 1 << s.clusterOrder;
  const base = s.nrSlots;
  const clusters = Math.ceil(max / size);
  if (max < 10) throw new QuireError('EINVAL', `swap of ${config.size} bytes: expected at least 10 pages`);
  if (base + clusters * size > SWAP_SLOTS_MAX)
    throw new QuireError('EINVAL', `swap of ${config.size} bytes: expected at most ${SWAP_SLOTS_MAX} pages in all`);
  if (s.devices.length === MAX_SWAPFILES)
    throw new QuireError('EINVAL', `swap: expected at most ${MAX_SWAPFILES} devices`);
  swapGrow(s, base + clusters * size);
  const least = s.devices.reduce((n, d) => Math.min(n, d.prio), -1);
  const lists = 2 * (s.clusterOrder + 1) + 2;
  const solidstate = config.kind !== 'disk';
  const d: SwapDevice = {
    row: s.devices.length,
    kind: config.kind,
    prio: config.prio >= 0 ? config.prio : least - 1,
    base,
    max,
    pages: max - 1,
    blkdev: config.kind !== 'file',
    solidstate,
    synchronousIo: config.kind === 'zram',
    stableWrites: config.kind === 'zram',
    inuse: 0,
    offlist: false,
    reclaimWork: false,
    next: new Int32Array(s.clusterOrder + 1),
    head: new Int32Array(lists),
    tail: new Int32Array(lists),
  };
  s.devices.push(d);
  if (!solidstate) s.nrRotate++;
  setupClusters(m, d, clusters);
  if (d.synchronousIo) s.zram ??= zsCreatePool(m.config.pageSize);
  s.totalPages += d.pages;
  m.lruvecs.node.swapPages += d.pages;
  availAdd(m, d);
  return d;
}

/** The header's slot and what is missing to a whole cluster at the end are never used. @kernel mm/swapfile.c setup_clusters (6.18) */
function setupClusters(m: Machine, d: SwapDevice, clusters: number): void {
  const s = m.swap;
  const size = 1 << s.clusterOrder;
  const t = s.clusters;
  const first = swapCluster(s, d.base);
  s.slots.map[d.base] = SWAP_MAP_BAD;
  s.slots.map.fill(SWAP_MAP_BAD, d.base + d.max, d.base + clusters * size);
  for (let ci = first; ci < first + clusters; ci++) {
    t.device[ci] = d.row;
    t.count[ci] = (ci === first ? 1 : 0) + Math.max((ci + 1) * size - (d.base + d.max), 0);
    if (t.count[ci] > 0 && !swapTableAlloc(m, ci)) throw new QuireError('ENOMEM', 'swap: no memory for its tables');
    moveCluster(m, d, ci, t.count[ci] > 0 ? CLUSTER_FLAG_NONFULL : CLUSTER_FLAG_FREE);
  }
}

/** Behind the devices of its priority. @kernel mm/swapfile.c add_to_avail_list (6.18) */
function availAdd(m: Machine, d: SwapDevice): void {
  const { avail } = m.swap;
  let i = 0;
  while (i < avail.length && (avail[i] as SwapDevice).prio >= d.prio) i++;
  avail.splice(i, 0, d);
}

/** More than half of all slots are in use. @kernel include/linux/swap.h vm_swap_full (6.18) */
export const vmSwapFull = (m: Machine): boolean => m.lruvecs.node.swapPages * 2 < m.swap.totalPages;

/** Is it time to give swap space back? (Groups of version 1 have no swap limit of their own.) @kernel mm/memcontrol.c mem_cgroup_swap_full (6.18) */
export const memCgroupSwapFull = (m: Machine): boolean => vmSwapFull(m);

/** @kernel mm/swapfile.c swap_alloc_fast (6.18) */
function swapAllocFast(m: Machine, order: number): number {
  const hint = m.swap.percpu[order];
  return hint === 0 ? 0 : fromHint(m, swapDevice(m.swap, hint), hint, order);
}

/** @kernel mm/swapfile.c swap_alloc_slow (6.18) */
function swapAllocSlow(m: Machine, order: number): number {
  const { avail } = m.swap;
  for (const d of avail.slice()) {
    // It goes behind its equals.
    const i = avail.indexOf(d);
    if (i < 0) continue;
    avail.splice(i, 1);
    availAdd(m, d);
    const found = clusterAllocSwapEntry(m, d, order);
    if (found !== 0 || order > 0) return found;
  }
  return 0;
}

/** Slots for a locked folio, and its place in the swap cache; false: there is no run of slots for it. @kernel mm/swapfile.c folio_alloc_swap (6.18) */
export function folioAllocSwap(m: Machine, f: FolioId): boolean {
  const s = m.swap;
  const order = folioOrder(m.map, f);
  assert(folioTest(m.map, f, PG_locked), 'folioAllocSwap: the folio is locked');
  if (order > s.clusterOrder) return false;
  for (const d of s.devices)
    if (d.reclaimWork) {
      d.reclaimWork = false;
      swapReclaimFullClusters(m, d, true);
    }
  let entry = swapAllocFast(m, order);
  if (entry === 0) entry = swapAllocSlow(m, order);
  if (entry === 0) return false;
  swapCacheAddFolio(m, f, entry as SwapEntry);
  return true;
}

/** One more page table entry points at the slot. @kernel mm/swapfile.c swap_duplicate (6.18) */
export function swapDuplicate(m: Machine, entry: SwapEntry): void {
  const { map } = m.swap.slots;
  assert((map[entry] & ~SWAP_HAS_CACHE) < SWAP_MAP_MAX && map[entry] !== 0, 'swapDuplicate: the slot is in use');
  map[entry] += 1;
}

/** Slots get the cache's mark; false: one has it, or is free. @kernel mm/swapfile.c swapcache_prepare (6.18) */
export function swapcachePrepare(m: Machine, entry: SwapEntry, nr: number): boolean {
  const { map } = m.swap.slots;
  for (let i = entry as number; i < entry + nr; i++)
    if (map[i] === 0 || map[i] === SWAP_MAP_BAD || (map[i] & SWAP_HAS_CACHE) !== 0) return false;
  for (let i = entry as number; i < entry + nr; i++) map[i] |= SWAP_HAS_CACHE;
  return true;
}

/** Slots lose the cache's mark; those that nobody else refers to are free. @kernel mm/swapfile.c put_swap_folio (6.18) */
export function putSwapFolio(m: Machine, entry: SwapEntry, nr: number): void {
  const { map } = m.swap.slots;
  let free = true;
  for (let i = entry as number; i < entry + nr; i++) if (map[i] !== SWAP_HAS_CACHE) free = false;
  if (free) {
    swapEntriesFree(m, entry, nr);
    return;
  }
  for (let i = entry as number; i < entry + nr; i++) {
    assert((map[i] & SWAP_HAS_CACHE) !== 0, 'putSwapFolio: the cache has the slot');
    if (map[i] === SWAP_HAS_CACHE) swapEntriesFree(m, i, 1);
    else map[i] &= ~SWAP_HAS_CACHE;
  }
}

/** Page table entries no longer point at slots of one cluster; does the cache alone have one of them now? @kernel mm/swapfile.c swap_entries_put_map (6.18) */
function swapEntriesPutMap(m: Machine, entry: number, nr: number): boolean {
  const { map } = m.swap.slots;
  let last = nr > 1;
  for (let i = entry; last && i < entry + nr; i++) last = map[i] === map[entry];
  if (last && map[entry] === 1) {
    swapEntriesFree(m, entry, nr);
    return false;
  }
  let cached = false;
  for (let i = entry; i < entry + nr; i++) {
    assert((map[i] & ~SWAP_HAS_CACHE) > 0 && map[i] !== SWAP_MAP_BAD, 'swapFree: the slot is referred to');
    if (map[i] === 1) swapEntriesFree(m, i, 1);
    else {
      map[i] -= 1;
      if (map[i] === SWAP_HAS_CACHE) cached = true;
    }
  }
  return cached;
}

function swapEntriesPutMapNr(m: Machine, entry: number, nr: number): boolean {
  const size = 1 << m.swap.clusterOrder;
  let cached = false;
  for (let at = entry, left = nr; left > 0; ) {
    const n = Math.min(left, size - (at & (size - 1)));
    if (swapEntriesPutMap(m, at, n)) cached = true;
    at += n;
    left -= n;
  }
  return cached;
}

/** One reference less to each of `nr` slots. @kernel mm/swapfile.c swap_free_nr (6.18) */
export function swapFree(m: Machine, entry: SwapEntry, nr: number): void {
  swapEntriesPutMapNr(m, entry, nr);
}

/** The same, and folios that only the cache still has leave it. @kernel mm/swapfile.c free_swap_and_cache_nr (6.18) */
export function freeSwapAndCache(m: Machine, entry: SwapEntry, nr: number): void {
  if (!swapEntriesPutMapNr(m, entry, nr)) return;
  const { map } = m.swap.slots;
  for (let at = entry as number; at < entry + nr; ) {
    let step = 1;
    if (map[at] === SWAP_HAS_CACHE) step = Math.abs(tryToReclaimSwap(m, at, TTRS_UNMAPPED | TTRS_FULL)) || 1;
    at = (Math.floor(at / step) + 1) * step;
  }
}

/** Slots of one cluster are free again, with all that was kept for them. @kernel mm/swapfile.c swap_entries_free (6.18) */
function swapEntriesFree(m: Machine, entry: number, nr: number): void {
  const s = m.swap;
  const { slots } = s;
  const ci = swapCluster(s, entry);
  const d = swapDevice(s, entry);
  s.clusters.count[ci] -= nr;
  memCgroupUnchargeSwap(m, entry as SwapEntry, nr);
  for (let i = entry; i < entry + nr; i++) {
    slots.map[i] = 0;
    slots.zero[i] = 0;
    slots.table[i] = 0;
    if (slots.zswap[i] !== 0) zswapInvalidate(m, i as SwapEntry);
    if (slots.zram[i] !== 0) zramFree(m, i as SwapEntry);
  }
  m.lruvecs.node.swapPages += nr;
  d.inuse -= nr;
  if (d.offlist) {
    d.offlist = false;
    availAdd(m, d);
  }
  if (s.clusters.count[ci] === 0) freeCluster(m, d, ci);
  else partialFreeCluster(m, d, ci);
}

/** @kernel mm/swapfile.c folio_swapcache_freeable (6.18) */
function folioSwapcacheFreeable(m: Machine, f: FolioId): boolean {
  return folioTest(m.map, f, PG_swapcache) && !folioTest(m.map, f, PG_writeback);
}

/** Does a page table entry point at a slot of the folio? @kernel mm/swapfile.c folio_swapped (6.18) */
export function folioSwapped(m: Machine, f: FolioId): boolean {
  const { map } = m.swap.slots;
  const entry = folioSwap(m, f);
  const nr = folioNrPages(m.map, f);
  for (let i = entry as number; i < entry + nr; i++) if ((map[i] & ~SWAP_HAS_CACHE) !== 0) return true;
  return false;
}

/** A locked folio leaves the swap cache, dirty, if no page table entry points at its slots. @kernel mm/swapfile.c folio_free_swap (6.18) */
export function folioFreeSwap(m: Machine, f: FolioId): boolean {
  if (!folioSwapcacheFreeable(m, f) || folioSwapped(m, f)) return false;
  swapCacheDelFolio(m, f);
  folioSet(m.map, f, PG_dirty);
  return true;
}

/**
 * Takes the folio of a slot out of the swap cache if `flags` allow and nothing else refers to the slots. Its pages; negative
 * when it stays; 0 when there is none. @kernel mm/swapfile.c __try_to_reclaim_swap (6.18)
 */
export function tryToReclaimSwap(m: Machine, entry: number, flags: number): number {
  const f = swapCacheGetFolio(m, entry as SwapEntry);
  if (f === 0) return 0;
  const { map } = m;
  const nr = folioNrPages(map, f);
  if (folioTest(map, f, PG_locked)) return -nr;
  const wanted =
    (flags & TTRS_ANYWAY) !== 0 ||
    ((flags & TTRS_UNMAPPED) !== 0 && !folioMapped(m, f)) ||
    ((flags & TTRS_FULL) !== 0 && memCgroupSwapFull(m));
  if (!wanted || !folioSwapcacheFreeable(m, f) || folioSwapped(m, f)) return -nr;
  // The swap cache may have had the last reference.
  folioRefAdd(map, f, 1);
  folioSet(map, f, PG_locked);
  swapCacheDelFolio(m, f);
  folioSet(map, f, PG_dirty);
  folioClear(map, f, PG_locked);
  folioPut(m, f);
  return nr;
}

/** A folio that nobody maps any more leaves the swap cache, unless page table entries point at its slots. @kernel mm/swap_state.c free_swap_cache (6.18) */
export function freeSwapCache(m: Machine, f: FolioId): void {
  const { map } = m;
  if (!folioTest(map, f, PG_swapcache) || folioTest(map, f, PG_locked) || folioMapped(m, f)) return;
  folioSet(map, f, PG_locked);
  folioFreeSwap(m, f);
  folioClear(map, f, PG_locked);
}
