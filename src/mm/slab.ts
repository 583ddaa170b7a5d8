/**
 * Slabs and their caches as tables. A cache hands out objects of one size; a slab is 2^order pages cut into them.
 *
 *   cache ─┬─ CPU slab, and the CPU's own list of its free objects     objects come from here first
 *          ├─ CPU partial slabs, newest first                          then from here
 *          └─ node partial slabs, a list with two ends                 then from here, then from a new slab
 *   full slabs are on no list: a free of one of their objects brings them back
 *
 * struct slab is a record of its own here; the pages know it by their type and its row. A free object holds the number of the
 * next free one, as in the kernel: `links` is those words, one an object of every slab.
 *
 * @kernel mm/slab.h struct slab (6.18)
 */
import type { Brand } from '../base/brand.ts';
import { allocate, i32, type Table, u8, u16, u32 } from '../base/table.ts';
import { slabShape } from './memmap.ts';

/** Row of the cache table; 0: none. */
export type KmemCacheId = Brand<number, 'KmemCacheId'>;
/** Row of the slab table; 0: none. */
export type SlabId = Brand<number, 'SlabId'>;

/** Objects start on cache lines, as far as they are not much smaller. @kernel include/linux/slab.h SLAB_HWCACHE_ALIGN (6.18) */
export const SLAB_HWCACHE_ALIGN = 0x1;
export const SLAB_CACHE_DMA = 0x2;
export const SLAB_CACHE_DMA32 = 0x4;
/** Its slabs can be given back by shrinkers. */
export const SLAB_RECLAIM_ACCOUNT = 0x8;
/** Freed objects keep their type until a grace period has passed: only then slabs go. */
export const SLAB_TYPESAFE_BY_RCU = 0x10;
export const SLAB_ACCOUNT = 0x20;
export const SLAB_NO_MERGE = 0x40;
/** A size class of kmalloc. */
export const SLAB_KMALLOC = 0x80;

export const slabCacheLayout = {
  objectSize: u32('bytes that a user asked for'),
  size: u32('bytes from one object to the next'),
  inuse: u32('bytes of an object without what is added behind it'),
  offset: u32('where a free object holds the next one'),
  align: u32(''),
  flags: u32('SLAB_* bits'),
  ctor: u8('objects are constructed once a slab: their contents stay when they are free'),
  refcount: i32('names that share the cache; 0: the row is free'),
  order: u8('of a slab'),
  objects: u16('of a slab of that order'),
  minOrder: u8('when memory is short: the order that one object needs'),
  minObjects: u16('of such a slab'),
  minPartial: u16('empty slabs are kept while the node has fewer partial ones'),
  cpuPartial: u16('objects that the CPU may keep on partial slabs'),
  cpuPartialSlabs: u16('the same in slabs'),
  cpuSlab: i32('SlabId'),
  cpuFree: i32('its first free object; −1: none'),
  cpuPartialHead: i32('SlabId'),
  partialHead: i32('SlabId, of the node'),
  partialTail: i32('SlabId'),
  nrPartial: i32('slabs on that list'),
  nrSlabs: i32('slabs in all'),
  nrObjects: i32('objects in all, free ones with them'),
  slots: i32('places of `links` that were ever used'),
} as const;

export const slabLayout = {
  pfn: i32('first frame; 0: the row is free'),
  cache: u16('KmemCacheId'),
  order: u8(''),
  objects: u16(''),
  inuse: u16('objects that are out, or on the CPU’s list'),
  frozen: u8('it is the CPU slab'),
  freelist: i32('first free object that is not on the CPU’s list; −1: none'),
  next: i32('next slab of its list; of a free row: the next free one'),
  prev: i32('previous, of the node’s list'),
  slabs: u16('on the CPU’s partial list: slabs from here to its end'),
  onNode: u8('it is on the node’s list'),
  slot: i32('its place in `links`'),
} as const;

/** Values of `links` that are no next object. Objects are fewer than 32,768. */
export const LINK_END = 0xfffe;
export const LINK_USED = 0xffff;

export interface Slabs {
  readonly cache: Table<typeof slabCacheLayout>;
  readonly slab: Table<typeof slabLayout>;
  /** By cache. */
  readonly names: string[];
  /** By cache: place · objects + object. */
  readonly links: Uint16Array[];
  /** By cache: places that are free again. */
  readonly freeSlots: number[][];
  /** Live caches, the newest first. */
  readonly list: KmemCacheId[];
  nrCaches: number;
  nrSlabs: number;
  freeSlab: number;
  /** Slabs of type-stable caches that wait for a grace period, linked by `next`. */
  rcuHead: number;
  /** CPUs present: more ask for more objects a slab. */
  cpus: number;
  /** Caches of kmalloc by type and size class; empty until the first is wanted. */
  readonly kmalloc: KmemCacheId[][];
  /** Large kmalloc blocks that are out, and their pages. */
  largeBlocks: number;
  largePages: number;
}

/** Present CPUs of a machine that says nothing else. */
const CPUS = 8;

export const slabsInit = (): Slabs => ({
  cache: allocate(slabCacheLayout, 64),
  slab: allocate(slabLayout, 64),
  names: [''],
  links: [new Uint16Array(0)],
  freeSlots: [[]],
  list: [],
  nrCaches: 1,
  nrSlabs: 1,
  freeSlab: 0,
  rcuHead: 0,
  cpus: CPUS,
  kmalloc: [],
  largeBlocks: 0,
  largePages: 0,
});

/** How a cache lays out its objects: bytes, and what follows from them. */
export interface CacheShape {
  readonly size: number;
  readonly inuse: number;
  readonly offset: number;
  readonly align: number;
  readonly order: number;
  readonly objects: number;
  readonly minOrder: number;
  readonly minObjects: number;
  readonly minPartial: number;
  readonly cpuPartial: number;
  readonly cpuPartialSlabs: number;
}

/** Cache line of x86-64 and arm64. */
const CACHE_LINE = 64;

/** @kernel mm/slab_common.c calculate_alignment (6.18) */
export function calculateAlignment(flags: number, align: number, size: number): number {
  let wanted = align;
  if ((flags & SLAB_HWCACHE_ALIGN) !== 0) {
    let line = CACHE_LINE;
    while (size <= line / 2) line /= 2;
    wanted = Math.max(wanted, line);
  }
  return alignUp(Math.max(wanted, 8), 8);
}

export interface ShapeOptions {
  readonly flags?: number;
  /** As calculateAlignment gives it. */
  readonly align?: number;
  readonly ctor?: boolean;
  /** A type-stable cache names a word of the object that may hold the free pointer. */
  readonly freeptrOffset?: number;
  readonly pageSize: number;
  readonly cpus: number;
}

/**
 * Sizes of a cache. The free pointer lies in the middle of a free object, where overruns of its neighbours do not reach; but
 * behind it where a free object's contents must stay: type-stable caches that name no word for it, and those with a constructor.
 * @kernel mm/slub.c calculate_sizes (6.18)
 */
export function cacheShape(objectSize: number, o: ShapeOptions): CacheShape {
  const { flags = 0, align = 8, ctor = false, freeptrOffset, pageSize, cpus } = o;
  const inuse = alignUp(objectSize, 8);
  const stable = (flags & SLAB_TYPESAFE_BY_RCU) !== 0;
  const apart = (stable && freeptrOffset === undefined) || ctor;
  const middle = Math.floor(objectSize / 2);
  const offset = apart ? inuse : stable ? (freeptrOffset as number) : middle - (middle % 8);
  const { objectBytes, order, objects } = slabShape(objectSize, { pageSize, cpus, align, freePointerApart: apart });
  let minOrder = 0;
  while (pageSize * 2 ** minOrder < objectBytes) minOrder++;
  const cpuPartial = cpuPartialObjects(objectBytes, pageSize);
  return {
    size: objectBytes,
    inuse,
    offset,
    align,
    order,
    objects,
    minOrder,
    minObjects: Math.floor((pageSize * 2 ** minOrder) / objectBytes),
    // @kernel mm/slub.c do_kmem_cache_create (6.18)
    minPartial: Math.max(Math.min(Math.floor((31 - Math.clz32(objectBytes)) / 2), 10), 5),
    cpuPartial,
    cpuPartialSlabs: Math.ceil((cpuPartial * 2) / objects),
  };
}

/** @kernel mm/slub.c set_cpu_partial (6.18) */
function cpuPartialObjects(size: number, pageSize: number): number {
  if (size >= pageSize) return 6;
  if (size >= 1024) return 24;
  return size >= 256 ? 52 : 120;
}

export const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
