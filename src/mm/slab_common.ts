/**
 * Making and ending caches, the size classes of kmalloc, and what /proc/slabinfo says. A new cache whose objects would lie as
 * an older one's do becomes a second name of that one.
 *
 *   kmalloc(n):  8 16 32 64 96 128 192 256 512 1k 2k 4k 8k   the next larger class, by use: plain, reclaimable, accounted, DMA
 *                above two pages: whole pages, a power of two, of type large_kmalloc and without a reference
 *
 * Differs: the records of caches themselves are not allocated.
 * @kernel mm/slab_common.c __kmem_cache_create_args (6.18)
 */
import { QuireError } from '../base/errors.ts';
import { grow } from '../base/table.ts';
import { __GFP_ACCOUNT, __GFP_COMP, __GFP_DMA, __GFP_RECLAIMABLE } from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { allocFrozenPages, freeFrozenPages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { clearPageType, pageHead, pageOrder, pageType, setPageType } from './page_type.ts';
import {
  alignUp,
  type CacheShape,
  cacheShape,
  calculateAlignment,
  type KmemCacheId,
  SLAB_ACCOUNT,
  SLAB_CACHE_DMA,
  SLAB_CACHE_DMA32,
  SLAB_KMALLOC,
  SLAB_NO_MERGE,
  SLAB_RECLAIM_ACCOUNT,
  SLAB_TYPESAFE_BY_RCU,
  slabCacheLayout,
} from './slab.ts';
import { kmemCacheAlloc, kmemCacheShrink, rcuBarrier, slabFree, virtToSlab } from './slub.ts';
import { V } from './vmstat.ts';

/** @kernel mm/slab_common.c SLAB_NEVER_MERGE (6.18) */
const SLAB_NEVER_MERGE = SLAB_TYPESAFE_BY_RCU | SLAB_NO_MERGE;
/** @kernel mm/slab_common.c SLAB_MERGE_SAME (6.18) */
const SLAB_MERGE_SAME = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT;

export interface KmemCacheArgs {
  readonly flags?: number;
  /** Bytes; a power of two. */
  readonly align?: number;
  readonly ctor?: boolean;
  /** Of a type-stable cache: byte of the object that may hold the free pointer. */
  readonly freeptrOffset?: number;
  /** Bytes of each object that user space may copy: such a cache is not merged. */
  readonly usersize?: number;
}

/** A cache for objects of that many bytes, or a second name of one that is like it. @kernel mm/slab_common.c __kmem_cache_create_args (6.18) */
export function kmemCacheCreate(m: Machine, name: string, size: number, args: KmemCacheArgs = {}): KmemCacheId {
  const { flags = 0, align = 0, ctor = false, freeptrOffset, usersize = 0 } = args;
  const most = m.config.pageSize * 2 ** m.zones.maxOrder;
  if (!Number.isInteger(size) || size < 1 || size > most)
    throw new QuireError('EINVAL', `cache ${name}: objects of ${size} bytes: expected 1 to ${most}`);
  if (align !== 0 && (!Number.isInteger(align) || align > m.config.pageSize || (align & (align - 1)) !== 0))
    throw new QuireError('EINVAL', `cache ${name}: alignment ${align}: expected a power of two`);
  if (freeptrOffset !== undefined && (freeptrOffset % 8 !== 0 || freeptrOffset + 8 > alignUp(size, 8)))
    throw new QuireError('EINVAL', `cache ${name}: free pointer at ${freeptrOffset}: expected a word of the object`);
  if (m.slab.nrCaches === 1) createKmallocCaches(m);
  if (usersize === 0 && !ctor) {
    const like = findMergeable(m, size, align, flags);
    if (like !== 0) {
      const { cache } = m.slab;
      cache.refcount[like]++;
      cache.objectSize[like] = Math.max(cache.objectSize[like], size);
      cache.inuse[like] = Math.max(cache.inuse[like], alignUp(size, 8));
      return like;
    }
  }
  const own = usersize > 0 ? flags | SLAB_NO_MERGE : flags;
  return addCache(m, name, size, own, calculateAlignment(flags, align, size), ctor, freeptrOffset);
}

function addCache(
  m: Machine,
  name: string,
  size: number,
  flags: number,
  align: number,
  ctor: boolean,
  freeptrOffset?: number,
): KmemCacheId {
  const t = m.slab;
  const { pageSize } = m.config;
  const { cpus } = t;
  const shape = cacheShape(size, {
    flags,
    align,
    ctor,
    ...(freeptrOffset === undefined ? {} : { freeptrOffset }),
    pageSize,
    cpus,
  });
  if (shape.order > m.zones.maxOrder)
    throw new QuireError(
      'EINVAL',
      `cache ${name}: an object needs order ${shape.order}, the largest is ${m.zones.maxOrder}`,
    );
  const c = t.nrCaches++ as KmemCacheId;
  if (c >= t.cache.rows) grow(slabCacheLayout, t.cache, t.cache.rows * 2);
  setShape(m, c, size, flags, ctor, shape);
  t.names[c] = name;
  t.links[c] = new Uint16Array(shape.objects * 2);
  t.freeSlots[c] = [];
  t.list.unshift(c);
  return c;
}

function setShape(m: Machine, c: KmemCacheId, objectSize: number, flags: number, ctor: boolean, s: CacheShape): void {
  const t = m.slab.cache;
  t.objectSize[c] = objectSize;
  t.flags[c] = flags;
  t.ctor[c] = ctor ? 1 : 0;
  t.refcount[c] = 1;
  t.cpuFree[c] = -1;
  t.size[c] = s.size;
  t.inuse[c] = s.inuse;
  t.offset[c] = s.offset;
  t.align[c] = s.align;
  t.order[c] = s.order;
  t.objects[c] = s.objects;
  t.minOrder[c] = s.minOrder;
  t.minObjects[c] = s.minObjects;
  t.minPartial[c] = s.minPartial;
  t.cpuPartial[c] = s.cpuPartial;
  t.cpuPartialSlabs[c] = s.cpuPartialSlabs;
}

/** A cache whose objects would lie as these do, or 0: the oldest one. @kernel mm/slab_common.c find_mergeable (6.18) */
function findMergeable(m: Machine, size: number, given: number, flags: number): KmemCacheId | 0 {
  if ((flags & SLAB_NEVER_MERGE) !== 0) return 0;
  const { cache, list } = m.slab;
  const align = calculateAlignment(flags, given, alignUp(size, 8));
  const bytes = alignUp(alignUp(size, 8), align);
  for (let i = list.length - 1; i >= 0; i--) {
    const c = list[i] as KmemCacheId;
    if ((cache.flags[c] & SLAB_NEVER_MERGE) !== 0 || cache.ctor[c] !== 0) continue;
    if (bytes > cache.size[c] || cache.size[c] - bytes >= 8 || cache.size[c] % align !== 0) continue;
    if (((flags ^ cache.flags[c]) & SLAB_MERGE_SAME) === 0) return c;
  }
  return 0;
}

/** Ends a name; with the last one the cache, if nobody holds an object. False: somebody does. @kernel mm/slab_common.c kmem_cache_destroy (6.18) */
export function kmemCacheDestroy(m: Machine, c: KmemCacheId): boolean {
  const t = m.slab;
  if (t.cache.refcount[c] > 1) {
    t.cache.refcount[c]--;
    return true;
  }
  kmemCacheShrink(m, c);
  if (t.cache.nrSlabs[c] > 0) return false;
  rcuBarrier(m);
  t.cache.refcount[c] = 0;
  t.list.splice(t.list.indexOf(c), 1);
  t.links[c] = new Uint16Array(0);
  return true;
}

/** What a request says about use, and the caches' names for it. @kernel include/linux/slab.h enum kmalloc_cache_type (6.18) */
const KMALLOC_TYPES = [
  { prefix: 'kmalloc-', flags: SLAB_NO_MERGE },
  { prefix: 'kmalloc-cg-', flags: SLAB_ACCOUNT },
  { prefix: 'kmalloc-rcl-', flags: SLAB_RECLAIM_ACCOUNT },
  { prefix: 'dma-kmalloc-', flags: SLAB_CACHE_DMA },
] as const;

/** @kernel include/linux/slab.h kmalloc_type (6.18) */
function kmallocType(gfp: number): number {
  if ((gfp & (__GFP_DMA | __GFP_RECLAIMABLE | __GFP_ACCOUNT)) === 0) return 0;
  if ((gfp & __GFP_DMA) !== 0) return 3;
  return (gfp & __GFP_RECLAIMABLE) !== 0 ? 2 : 1;
}

/** Sizes of the classes up to two pages, ascending. @kernel mm/slab_common.c kmalloc_info (6.18) */
export function kmallocSizes(pageSize: number): number[] {
  const sizes: number[] = [];
  for (let size = 8; size <= 2 * pageSize; size *= 2) {
    sizes.push(size);
    if (size === 64 || size === 128) sizes.push(size * 1.5);
  }
  return sizes;
}

const className = (size: number): string =>
  size >= 2 ** 20 ? `${size / 2 ** 20}M` : size >= 1024 ? `${size / 1024}k` : String(size);

/** @kernel mm/slab_common.c create_kmalloc_caches (6.18) */
function createKmallocCaches(m: Machine): void {
  const sizes = kmallocSizes(m.config.pageSize);
  for (const { prefix, flags } of KMALLOC_TYPES) {
    const caches: KmemCacheId[] = [];
    for (const size of [96, 192, ...sizes.filter((s) => s !== 96 && s !== 192)]) {
      // The largest power of two that divides the size. @kernel mm/slab_common.c create_boot_cache (6.18)
      const align = calculateAlignment(flags, Math.max(8, size & -size), size);
      caches[sizes.indexOf(size)] = addCache(m, prefix + className(size), size, flags | SLAB_KMALLOC, align, false);
    }
    m.slab.kmalloc.push(caches);
  }
}

/** The cache that serves a request, or 0: too large for one. @kernel mm/slab.h kmalloc_slab (6.18) */
export function kmallocSlab(m: Machine, bytes: number, gfp: number): KmemCacheId | 0 {
  if (m.slab.nrCaches === 1) createKmallocCaches(m);
  for (const c of m.slab.kmalloc[kmallocType(gfp)] as KmemCacheId[]) if (bytes <= m.slab.cache.objectSize[c]) return c;
  return 0;
}

/** Memory of any size: its address, or 0. @kernel include/linux/slab.h kmalloc_noprof (6.18) */
export function kmalloc(m: Machine, bytes: number, gfp: number): number {
  if (!(bytes > 0)) throw new QuireError('EINVAL', `kmalloc of ${bytes} bytes: expected at least one`);
  const c = kmallocSlab(m, bytes, gfp);
  if (c !== 0) return kmemCacheAlloc(m, c, gfp);
  let order = 0;
  while (m.config.pageSize * 2 ** order < bytes) order++;
  return kmallocLarge(m, gfp, order);
}

/** Whole pages. They are one block, frozen; kfree knows the size by the block. @kernel mm/slub.c ___kmalloc_large_node (6.18) */
function kmallocLarge(m: Machine, gfp: number, order: number): number {
  const pfn = allocFrozenPages(m, gfp | __GFP_COMP, order);
  if (pfn === NO_PFN) return 0;
  setPageType(m.map, pfn, PGTY.PGTY_large_kmalloc);
  m.slab.largeBlocks++;
  m.slab.largePages += 2 ** order;
  m.vmstat[V.nr_slab_unreclaimable] += 2 ** order;
  return pfn * m.config.pageSize;
}

/** Gives memory of kmalloc or of any cache back. @kernel mm/slub.c kfree (6.18) */
export function kfree(m: Machine, addr: number): void {
  const pfn = Math.floor(addr / m.config.pageSize) as Pfn;
  if (pfn < 1 || pfn >= m.zones.frames || pageType(m.map, pfn) !== PGTY.PGTY_large_kmalloc) {
    slabFree(m, virtToSlab(m, addr), addr);
    return;
  }
  const head = pageHead(m.map, pfn);
  if (addr !== head * m.config.pageSize) throw new QuireError('EINVAL', `kfree of ${addr}: not what kmalloc returned`);
  const order = pageOrder(m.map, pfn);
  clearPageType(m.map, pfn, PGTY.PGTY_large_kmalloc);
  m.slab.largeBlocks--;
  m.slab.largePages -= 2 ** order;
  m.vmstat[V.nr_slab_unreclaimable] -= 2 ** order;
  freeFrozenPages(m, pfn, order);
}

/** One line of /proc/slabinfo. */
export interface SlabinfoRow {
  readonly name: string;
  /** Free objects on slabs that a CPU holds count as active. */
  readonly activeObjs: number;
  readonly numObjs: number;
  readonly objsize: number;
  readonly objperslab: number;
  readonly pagesperslab: number;
  readonly numSlabs: number;
}

/** Most slabs of a node's list that are looked at. @kernel mm/slub.c MAX_PARTIAL_TO_SCAN (6.18) */
const MAX_PARTIAL_TO_SCAN = 10000;

/** Free objects on the node's list; of a long one an estimate from its two ends. @kernel mm/slub.c count_partial_free_approx (6.18) */
function countPartialFreeApprox(m: Machine, c: KmemCacheId): number {
  const { cache, slab } = m.slab;
  const nr = cache.nrPartial[c];
  const free = (s: number): number => slab.objects[s] - slab.inuse[s];
  let sum = 0;
  const most = nr <= MAX_PARTIAL_TO_SCAN ? nr : MAX_PARTIAL_TO_SCAN / 2;
  for (let s = cache.partialHead[c], i = 0; s !== 0 && i < most; i++, s = slab.next[s]) sum += free(s);
  if (nr <= MAX_PARTIAL_TO_SCAN) return sum;
  for (let s = cache.partialTail[c], i = 0; s !== 0 && i < most; i++, s = slab.prev[s]) sum += free(s);
  return Math.min(Math.floor((sum * nr) / MAX_PARTIAL_TO_SCAN), cache.nrObjects[c]);
}

/** Every cache, the newest first. @kernel mm/slub.c get_slabinfo (6.18) */
export const slabinfo = (m: Machine): SlabinfoRow[] =>
  m.slab.list.map((c) => {
    const { cache, names } = m.slab;
    return {
      name: names[c] as string,
      activeObjs: cache.nrObjects[c] - countPartialFreeApprox(m, c),
      numObjs: cache.nrObjects[c],
      objsize: cache.size[c],
      objperslab: cache.objects[c],
      pagesperslab: 2 ** cache.order[c],
      numSlabs: cache.nrSlabs[c],
    };
  });

/** The text of /proc/slabinfo. @kernel mm/slab_common.c cache_show (6.18) */
export function slabinfoText(m: Machine): string {
  const pad = (n: number, width: number): string => String(n).padStart(width);
  const lines = slabinfo(m).map(
    (r) =>
      `${r.name.padEnd(17)} ${pad(r.activeObjs, 6)} ${pad(r.numObjs, 6)} ${pad(r.objsize, 6)} ${pad(r.objperslab, 4)} ` +
      `${pad(r.pagesperslab, 4)} : tunables    0    0    0 : slabdata ${pad(r.numSlabs, 6)} ${pad(r.numSlabs, 6)}      0`,
  );
  return [
    'slabinfo - version: 2.1',
    '# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> ' +
      '<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>',
    ...lines,
    '',
  ].join('\n');
}
