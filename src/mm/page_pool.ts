/**
 * Network receive pools. A device's queue has a pool of pages that it fills with packets; a page that comes back goes to the pool
 * again, not to the page allocator, and stays mapped for the device meanwhile.
 *
 *   page allocator ─64 at a time─► cache (128, the queue's own CPU) ─► packet ─┬─ freed by that CPU ─► cache
 *                                        ▲                                     └─ by another ─► ring (1024) ─64─► cache
 *                                        └ full, or somebody refers to the page: back to the page allocator
 *
 * A page may hold several packets: pp_ref_count counts its pieces that are out. It is 1 while the page is whole; while pieces are
 * cut from it the pool holds a large share of the count, and gives back what it did not use when the page is full. The page's own
 * reference count stays 1: more means that somebody else keeps it, and it cannot be used again.
 *
 * Invariants (checkPagePools):
 *   N1  a page in the cache or the ring is in one place, marked as the pool's, with one reference and pp_ref_count 1;
 *   N2  pages marked as a pool's are those that it has taken and not given back (hold − release);
 *   N3  the page that pieces are cut from has as many out as the pool has counted, and its own share.
 *
 * @kernel net/core/page_pool.c page_pool_alloc_netmems (6.18)
 */
import { Bug, QuireError } from '../base/errors.ts';
import { allocate, grow, i32, type Table, u8, u32 } from '../base/table.ts';
import { __GFP_COMP, __GFP_NOWARN } from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MAX_NR_ZONES, untouched } from './mmzone.ts';
import { allocPages, freePages } from './page_alloc.ts';
import {
  pageCount,
  pageHead,
  pageNetpool,
  pageOrder,
  pageType,
  ppRefCount,
  setPageCount,
  setPageNetpool,
  setPpRefCount,
} from './page_type.ts';

/** @kernel include/net/page_pool/types.h PP_ALLOC_CACHE_SIZE (6.18) */
const PP_ALLOC_CACHE_SIZE = 128;
/** @kernel include/net/page_pool/types.h PP_ALLOC_CACHE_REFILL (6.18) */
const PP_ALLOC_CACHE_REFILL = 64;
const RING_DEFAULT = 1024;
const RING_MAX = 16384;
/** The pool's share of a page that pieces are cut from. The kernel's is half of what a long holds. @kernel net/core/page_pool.c BIAS_MAX (6.18) */
const BIAS_MAX = 2 ** 29;

const poolLayout = {
  state: u8('0 the row is free, 1 in use, 2 destroyed while pages were out'),
  order: u8('of its pages'),
  cached: i32('pages in the cache'),
  cache: i32('', PP_ALLOC_CACHE_SIZE),
  ringSize: i32('room of the ring'),
  ringHead: i32('oldest entry'),
  ringCount: i32(''),
  frag: i32('page that pieces are cut from; 0: none'),
  fragOffset: u32('bytes of it that are given'),
  fragUsers: i32('pieces cut from it'),
  hold: u32('pages ever taken from the page allocator'),
  release: u32('pages ever given back to it'),
  /** What /proc would say. @kernel include/net/page_pool/types.h struct page_pool_alloc_stats (6.18) */
  fast: u32('allocations from the cache'),
  slow: u32('from the page allocator'),
  refill: u32('from the ring'),
  recycledCache: u32('pages that came back to the cache'),
  recycledRing: u32('to the ring'),
  ringFull: u32('given up because the ring was full'),
  releasedRefcnt: u32('given up because somebody else refers to the page'),
} as const;

export interface PagePools extends Table<typeof poolLayout> {
  nr: number;
  /** By pool. */
  readonly rings: Int32Array[];
}

export function pagePoolsInit(): PagePools {
  const table = allocate(poolLayout, 4) as PagePools;
  return Object.assign(table, { nr: 1, rings: [new Int32Array(0)] });
}

/** A pool of pages of an order; `poolSize`: entries of its ring. Row 0 is never a pool. @kernel net/core/page_pool.c page_pool_create (6.18) */
export function pagePoolCreate(m: Machine, order = 0, poolSize = RING_DEFAULT): number {
  if (!Number.isInteger(order) || order < 0 || order > m.zones.maxOrder)
    throw new QuireError('EINVAL', `page pool: order ${order}: expected 0 to ${m.zones.maxOrder}`);
  if (!Number.isInteger(poolSize) || poolSize < 1)
    throw new QuireError('EINVAL', `page pool: ring of ${poolSize}: expected at least one entry`);
  const t = m.pagePools;
  const pool = t.nr++;
  if (pool >= t.rows) grow(poolLayout, t, t.rows * 2);
  t.state[pool] = 1;
  t.order[pool] = order;
  t.ringSize[pool] = Math.min(poolSize, RING_MAX);
  t.rings[pool] = new Int32Array(t.ringSize[pool]);
  return pool;
}

/** A whole page of the pool, or 0. @kernel net/core/page_pool.c page_pool_alloc_pages (6.18) */
export function pagePoolAllocPages(m: Machine, pool: number, gfp: number): Pfn {
  const t = m.pagePools;
  if (t.state[pool] !== 1) throw new QuireError('EINVAL', `page pool ${pool}: not in use`);
  if (t.cached[pool] > 0) {
    t.fast[pool]++;
    return cachePop(m, pool);
  }
  refillFromRing(m, pool);
  if (t.cached[pool] > 0) {
    t.refill[pool]++;
    return cachePop(m, pool);
  }
  return allocSlow(m, pool, gfp);
}

const cachePop = (m: Machine, pool: number): Pfn => {
  const t = m.pagePools;
  return t.cache[pool * PP_ALLOC_CACHE_SIZE + --t.cached[pool]] as Pfn;
};
function cachePush(m: Machine, pool: number, pfn: Pfn): void {
  const t = m.pagePools;
  t.cache[pool * PP_ALLOC_CACHE_SIZE + t.cached[pool]++] = pfn;
}

/** @kernel net/core/page_pool.c page_pool_refill_alloc_cache (6.18) */
function refillFromRing(m: Machine, pool: number): void {
  for (let n = 0; n < PP_ALLOC_CACHE_REFILL; n++) {
    const pfn = ringConsume(m, pool);
    if (pfn === NO_PFN) return;
    cachePush(m, pool, pfn);
  }
}

function ringConsume(m: Machine, pool: number): Pfn {
  const t = m.pagePools;
  if (t.ringCount[pool] === 0) return NO_PFN;
  const pfn = (t.rings[pool] as Int32Array)[t.ringHead[pool]] as Pfn;
  t.ringHead[pool] = (t.ringHead[pool] + 1) % t.ringSize[pool];
  t.ringCount[pool]--;
  return pfn;
}

function ringProduce(m: Machine, pool: number, pfn: Pfn): boolean {
  const t = m.pagePools;
  if (t.ringCount[pool] === t.ringSize[pool]) return false;
  (t.rings[pool] as Int32Array)[(t.ringHead[pool] + t.ringCount[pool]) % t.ringSize[pool]] = pfn;
  t.ringCount[pool]++;
  return true;
}

/** Single pages come 64 at a time. @kernel net/core/page_pool.c __page_pool_alloc_netmems_slow (6.18) */
function allocSlow(m: Machine, pool: number, gfp: number): Pfn {
  const t = m.pagePools;
  const order = t.order[pool];
  const want = order > 0 ? 1 : PP_ALLOC_CACHE_REFILL;
  for (let n = 0; n < want; n++) {
    const pfn = allocPages(m, gfp | __GFP_NOWARN | (order > 0 ? __GFP_COMP : 0), order);
    if (pfn === NO_PFN) break;
    setPageNetpool(m.map, pfn, pool);
    setPpRefCount(m.map, pfn, 1);
    t.hold[pool]++;
    cachePush(m, pool, pfn);
  }
  if (t.cached[pool] === 0) return NO_PFN;
  t.slow[pool]++;
  return cachePop(m, pool);
}

/** A piece of a page: its address, or 0. Freed by pagePoolPutPage. @kernel net/core/page_pool.c page_pool_alloc_frag_netmem (6.18) */
export function pagePoolAllocFrag(m: Machine, pool: number, bytes: number, gfp: number): number {
  const t = m.pagePools;
  const room = m.config.pageSize * 2 ** t.order[pool];
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > room)
    throw new QuireError('EINVAL', `page pool: a piece of ${bytes} bytes: expected 1 to ${room}`);
  let pfn = t.frag[pool] as Pfn;
  if (pfn !== NO_PFN && t.fragOffset[pool] + bytes > room) pfn = drainFrag(m, pool, pfn);
  else if (pfn !== NO_PFN) {
    const addr = pfn * m.config.pageSize + t.fragOffset[pool];
    t.fragUsers[pool]++;
    t.fragOffset[pool] += bytes;
    return addr;
  }
  if (pfn === NO_PFN) pfn = pagePoolAllocPages(m, pool, gfp);
  t.frag[pool] = pfn;
  if (pfn === NO_PFN) return 0;
  t.fragUsers[pool] = 1;
  t.fragOffset[pool] = bytes;
  setPpRefCount(m.map, pfn, BIAS_MAX);
  return pfn * m.config.pageSize;
}

/** The page is full: the pool gives up its share. The page, if all pieces are back already; else 0. @kernel net/core/page_pool.c page_pool_drain_frag (6.18) */
function drainFrag(m: Machine, pool: number, pfn: Pfn): Pfn {
  const t = m.pagePools;
  if (unrefPage(m, pfn, BIAS_MAX - t.fragUsers[pool])) return NO_PFN;
  if (pageCount(m.map, pfn) === 1) {
    t.recycledCache[pool]++;
    t.fast[pool]++;
    return pfn;
  }
  t.releasedRefcnt[pool]++;
  returnPage(m, pool, pfn);
  return NO_PFN;
}

/** Takes `nr` from the pieces of a page; true while some are out. With the last the count is 1 again. @kernel include/net/page_pool/helpers.h page_pool_unref_netmem (6.18) */
function unrefPage(m: Machine, pfn: Pfn, nr: number): boolean {
  const left = ppRefCount(m.map, pfn) - nr;
  if (left < 0) throw new QuireError('EINVAL', `frame ${pfn}: more pieces given back than were out`);
  setPpRefCount(m.map, pfn, left === 0 ? 1 : left);
  return left > 0;
}

/**
 * A packet is done with its page or piece, given by an address in it. `direct`: on the CPU that owns the cache.
 * @kernel include/net/page_pool/helpers.h page_pool_put_page (6.18)
 */
export function pagePoolPutPage(m: Machine, addr: number, direct: boolean): void {
  const frame = Math.floor(addr / m.config.pageSize) as Pfn;
  const pool = frame > 0 && frame < m.zones.frames ? pageNetpool(m.map, frame) : 0;
  if (pool === 0) throw new QuireError('EINVAL', `address ${addr}: frame ${frame} is of no page pool`);
  const pfn = pageHead(m.map, frame);
  if (unrefPage(m, pfn, 1)) return;
  const t = m.pagePools;
  if (pageCount(m.map, pfn) !== 1) {
    t.releasedRefcnt[pool]++;
    returnPage(m, pool, pfn);
  } else if (direct && t.state[pool] === 1 && t.cached[pool] < PP_ALLOC_CACHE_SIZE) {
    t.recycledCache[pool]++;
    cachePush(m, pool, pfn);
  } else if (ringProduce(m, pool, pfn)) t.recycledRing[pool]++;
  else {
    t.ringFull[pool]++;
    returnPage(m, pool, pfn);
  }
}

/** The page leaves the pool. @kernel net/core/page_pool.c page_pool_return_netmem (6.18) */
function returnPage(m: Machine, pool: number, pfn: Pfn): void {
  const t = m.pagePools;
  t.release[pool]++;
  setPpRefCount(m.map, pfn, 0);
  setPageNetpool(m.map, pfn, 0);
  const count = pageCount(m.map, pfn);
  if (count === 1) freePages(m, pfn, t.order[pool]);
  else setPageCount(m.map, pfn, count - 1);
}

/** Pages taken from the allocator and not given back. @kernel net/core/page_pool.c page_pool_inflight (6.18) */
export const pagePoolInflight = (m: Machine, pool: number): number =>
  m.pagePools.hold[pool] - m.pagePools.release[pool];

/** Ends a pool; pages that are out keep it until pagePoolReleaseRetry finds them back. Their number. @kernel net/core/page_pool.c page_pool_destroy (6.18) */
export function pagePoolDestroy(m: Machine, pool: number): number {
  const t = m.pagePools;
  if (t.state[pool] !== 1) throw new QuireError('EINVAL', `page pool ${pool}: not in use`);
  t.state[pool] = 2;
  const frag = t.frag[pool] as Pfn;
  t.frag[pool] = 0;
  if (frag !== NO_PFN && !unrefPage(m, frag, BIAS_MAX - t.fragUsers[pool])) returnPage(m, pool, frag);
  return pagePoolReleaseRetry(m, pool);
}

/** Gives back what has come home since; pages still out. @kernel net/core/page_pool.c page_pool_release (6.18) */
export function pagePoolReleaseRetry(m: Machine, pool: number): number {
  const t = m.pagePools;
  while (t.cached[pool] > 0) returnPage(m, pool, cachePop(m, pool));
  for (let pfn = ringConsume(m, pool); pfn !== NO_PFN; pfn = ringConsume(m, pool)) returnPage(m, pool, pfn);
  const inflight = pagePoolInflight(m, pool);
  if (inflight === 0) t.state[pool] = 0;
  return inflight;
}

/** N1 to N3. Walks every frame. */
export function checkPagePools(m: Machine): void {
  const t = m.pagePools;
  const claim = (holds: boolean, rule: string): void => {
    if (!holds) throw new Bug(rule);
  };
  const marked = new Int32Array(t.nr);
  const { zone } = m.zones;
  for (let z = 0; z < MAX_NR_ZONES; z++)
    for (let pfn = zone.start[z] as Pfn; pfn < zone.end[z]; pfn = (pfn + 1) as Pfn) {
      if (untouched(m.zones, z, pfn) || pageType(m.map, pfn) !== 0 || pageHead(m.map, pfn) !== pfn) continue;
      const pool = pageNetpool(m.map, pfn);
      if (pool === 0) continue;
      marked[pool]++;
      claim(pageOrder(m.map, pfn) === t.order[pool], 'N2 a page of the pool’s order');
    }
  const seen = new Set<number>();
  for (let pool = 1; pool < t.nr; pool++) {
    claim(marked[pool] === pagePoolInflight(m, pool), 'N2 hold less release');
    const home: Pfn[] = [];
    for (let i = 0; i < t.cached[pool]; i++) home.push(t.cache[pool * PP_ALLOC_CACHE_SIZE + i] as Pfn);
    for (let i = 0; i < t.ringCount[pool]; i++)
      home.push((t.rings[pool] as Int32Array)[(t.ringHead[pool] + i) % t.ringSize[pool]] as Pfn);
    for (const pfn of home) {
      claim(!seen.has(pfn) && pageNetpool(m.map, pfn) === pool, 'N1 in one place, of this pool');
      seen.add(pfn);
      claim(pageCount(m.map, pfn) === 1 && ppRefCount(m.map, pfn) === 1, 'N1 whole, with one reference');
    }
    const frag = t.frag[pool] as Pfn;
    if (frag !== NO_PFN) {
      claim(!seen.has(frag), 'N3 not in the cache');
      const out = ppRefCount(m.map, frag) - (BIAS_MAX - t.fragUsers[pool]);
      claim(out >= 0 && out <= t.fragUsers[pool], 'N3 pieces out');
    }
  }
}
