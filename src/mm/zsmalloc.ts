/**
 * zsmalloc: where compressed pages live. Objects of one size class lie close together, across page borders, in chains of one
 * to eight single pages (a zspage), so that little is lost even when objects take most of a page:
 *
 *   class 2720: 2 pages, 3 objects  [ object 0 | obj‖ect 1 | object 2 ]   ‖ page border
 *
 * Classes are 16 bytes apart (of 4 KiB pages), and neighbours that would get chains of the same shape are one class. Each
 * class lists its zspages by how full they are, in twelve groups; new objects go to the fullest that has room, empty zspages
 * are freed at once, and compaction empties the emptiest into the fullest.
 *
 * An object has a handle, a row that stays when compaction moves the object.
 *
 * Invariants (checkZsPool):
 *  Z1 a zspage is on the list of its fullness group, linked both ways; a group's count is right; none is empty;
 *  Z2 its objects in use and its free ones are all there are, and the used ones' handles point back;
 *  Z3 a class's objects allocated and in use are the sums over its zspages; the pool's pages, over all classes;
 *  Z4 a zspage's pages are of type zsmalloc.
 *
 * Differs: the pages are not moved by memory compaction. Handles and zspage records are counted in bytes, not allocated.
 * @kernel mm/zsmalloc.c zs_create_pool (6.18)
 */

import { allocate, grow, i32, type Table, u16 } from '../base/table.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { allocPages, freePages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { clearPageType, setPageType } from './page_type.ts';
import { V } from './vmstat.ts';

/** @kernel mm/zsmalloc.c ZS_MIN_ALLOC_SIZE (6.18) */
const ZS_MIN_ALLOC_SIZE = 32;
/** Bytes of an object that its handle takes. @kernel mm/zsmalloc.c ZS_HANDLE_SIZE (6.18) */
const ZS_HANDLE_SIZE = 8;
/** Pages of the longest chain. @kernel mm/Kconfig ZSMALLOC_CHAIN_SIZE (6.18) */
export const ZSMALLOC_CHAIN_SIZE = 8;
/** Fullness groups: 0 none in use, 1 up to 10 % … 10 up to 99 %, 11 full. @kernel mm/zsmalloc.c enum fullness_group (6.18) */
export const NR_FULLNESS_GROUPS = 12;
const ZS_INUSE_RATIO_0 = 0;
const ZS_INUSE_RATIO_10 = 1;
const ZS_INUSE_RATIO_99 = 10;
const ZS_INUSE_RATIO_100 = 11;

/** The shape of a class. */
export interface SizeClassShape {
  /** Bytes of an object, its handle included. */
  readonly size: number;
  readonly pagesPerZspage: number;
  readonly objsPerZspage: number;
}

const zspageLayout = {
  inuse: u16('objects in use; a free row: 0'),
  freeobj: i32('first free object; −1: none'),
  group: i32('fullness group'),
  next: i32('next zspage of the group; 0: none. Of a free row: the next free one'),
  prev: i32('previous'),
} as const;

interface SizeClass extends SizeClassShape {
  readonly zspages: Table<typeof zspageLayout>;
  /** By zspage: its pages. */
  pages: Int32Array;
  /** By zspage and object: the handle, or for a free object −2 − the next free one (−1: there is none). */
  objects: Int32Array;
  readonly head: Int32Array;
  readonly count: Int32Array;
  objsAllocated: number;
  objsInuse: number;
  rows: number;
  freeRow: number;
}

const handleLayout = {
  cls: u16('size class'),
  obj: u16('object in its zspage'),
  zspage: i32('zspage in its class; of a free row: the next free handle'),
} as const;

export interface ZsPool {
  readonly classes: readonly SizeClass[];
  /** Class by index of the nominal size. */
  readonly classOf: Uint16Array;
  readonly delta: number;
  readonly pageSize: number;
  readonly handles: Table<typeof handleLayout>;
  nrHandles: number;
  freeHandle: number;
  handlesInuse: number;
  /** Pages of all zspages. */
  pagesAllocated: number;
  pagesCompacted: number;
}

/** Pages of a chain that wastes least for objects of a size; the shortest of equals. @kernel mm/zsmalloc.c calculate_zspage_chain_size (6.18) */
export function calculateZspageChainSize(
  size: number,
  pageSize: number,
  longest: number = ZSMALLOC_CHAIN_SIZE,
): number {
  if ((size & (size - 1)) === 0) return 1;
  let best = 1;
  let waste = Number.POSITIVE_INFINITY;
  for (let i = 1; i <= longest; i++) {
    const w = (i * pageSize) % size;
    if (w < waste) {
      waste = w;
      best = i;
    }
  }
  return best;
}

/** The shapes of all nominal classes; classes that are one share the object of the largest. @kernel mm/zsmalloc.c zs_create_pool (6.18) */
export function sizeClassShapes(pageSize: number, longest: number = ZSMALLOC_CHAIN_SIZE): SizeClassShape[] {
  const delta = pageSize >> 8;
  const n = Math.ceil((pageSize - ZS_MIN_ALLOC_SIZE) / delta) + 1;
  const out: SizeClassShape[] = new Array(n);
  let prev: SizeClassShape | null = null;
  for (let i = n - 1; i >= 0; i--) {
    const size = Math.min(ZS_MIN_ALLOC_SIZE + i * delta, pageSize);
    const pagesPerZspage = calculateZspageChainSize(size, pageSize, longest);
    const objsPerZspage = Math.floor((pagesPerZspage * pageSize) / size);
    if (prev === null || prev.pagesPerZspage !== pagesPerZspage || prev.objsPerZspage !== objsPerZspage)
      prev = { size, pagesPerZspage, objsPerZspage };
    out[i] = prev;
  }
  return out;
}

/** An empty pool. @kernel mm/zsmalloc.c zs_create_pool (6.18) */
export function zsCreatePool(pageSize: number): ZsPool {
  const shapes = sizeClassShapes(pageSize);
  const kinds = [...new Set(shapes)];
  return {
    classes: kinds.map((shape) => ({
      ...shape,
      zspages: allocate(zspageLayout, 8),
      pages: new Int32Array(8 * shape.pagesPerZspage),
      objects: new Int32Array(8 * shape.objsPerZspage),
      head: new Int32Array(NR_FULLNESS_GROUPS),
      count: new Int32Array(NR_FULLNESS_GROUPS),
      objsAllocated: 0,
      objsInuse: 0,
      rows: 1,
      freeRow: 0,
    })),
    classOf: Uint16Array.from(shapes, (shape) => kinds.indexOf(shape)),
    delta: pageSize >> 8,
    pageSize,
    handles: allocate(handleLayout, 64),
    nrHandles: 1,
    freeHandle: 0,
    handlesInuse: 0,
    pagesAllocated: 0,
    pagesCompacted: 0,
  };
}

/** The class that takes an object of `bytes`. @kernel mm/zsmalloc.c get_size_class_index (6.18) */
export function sizeClassIndex(pool: ZsPool, bytes: number): number {
  const size = bytes + ZS_HANDLE_SIZE;
  const i = size > ZS_MIN_ALLOC_SIZE ? Math.ceil((size - ZS_MIN_ALLOC_SIZE) / pool.delta) : 0;
  return pool.classOf[Math.min(i, pool.classOf.length - 1)];
}

/** Requests from this size on get a page each. @kernel mm/zsmalloc.c zs_huge_class_size (6.18) */
export function zsHugeClassSize(pool: ZsPool): number {
  const shared = pool.classes.findLast((c) => c.pagesPerZspage !== 1 && c.objsPerZspage !== 1);
  return shared === undefined ? pool.pageSize : shared.size - (ZS_HANDLE_SIZE - 1);
}

/** @kernel mm/zsmalloc.c get_fullness_group (6.18) */
export function fullnessGroup(inuse: number, objs: number): number {
  if (inuse === 0) return ZS_INUSE_RATIO_0;
  if (inuse === objs) return ZS_INUSE_RATIO_100;
  return Math.floor(Math.floor((100 * inuse) / objs) / 10) + 1;
}

/** @kernel mm/zsmalloc.c insert_zspage (6.18) */
function insertZspage(c: SizeClass, z: number, group: number): void {
  const { next, prev } = c.zspages;
  const first = c.head[group];
  c.zspages.group[z] = group;
  next[z] = first;
  prev[z] = 0;
  if (first !== 0) prev[first] = z;
  c.head[group] = z;
  c.count[group]++;
}

/** @kernel mm/zsmalloc.c remove_zspage (6.18) */
function removeZspage(c: SizeClass, z: number): void {
  const { next, prev, group } = c.zspages;
  const g = group[z];
  if (next[z] !== 0) prev[next[z]] = prev[z];
  if (prev[z] !== 0) next[prev[z]] = next[z];
  else c.head[g] = next[z];
  c.count[g]--;
}

/** @kernel mm/zsmalloc.c fix_fullness_group (6.18) */
function fixFullnessGroup(c: SizeClass, z: number): number {
  const group = fullnessGroup(c.zspages.inuse[z], c.objsPerZspage);
  if (group !== c.zspages.group[z]) {
    removeZspage(c, z);
    insertZspage(c, z, group);
  }
  return group;
}

function zspageRow(c: SizeClass): number {
  let z = c.freeRow;
  if (z !== 0) {
    c.freeRow = c.zspages.next[z];
    return z;
  }
  z = c.rows++;
  if (z >= c.zspages.rows) {
    const rows = c.zspages.rows * 2;
    grow(zspageLayout, c.zspages, rows);
    const pages = new Int32Array(rows * c.pagesPerZspage);
    pages.set(c.pages);
    c.pages = pages;
    const objects = new Int32Array(rows * c.objsPerZspage);
    objects.set(c.objects);
    c.objects = objects;
  }
  return z;
}

/** A zspage with nothing in it; 0: out of memory. @kernel mm/zsmalloc.c alloc_zspage (6.18) */
function allocZspage(m: Machine, c: SizeClass, gfp: number): number {
  const z = zspageRow(c);
  const n = c.pagesPerZspage;
  for (let i = 0; i < n; i++) {
    const pfn = allocPages(m, gfp, 0);
    if (pfn === NO_PFN) {
      for (let j = 0; j < i; j++) freeZpdesc(m, c.pages[z * n + j]);
      c.zspages.next[z] = c.freeRow;
      c.freeRow = z;
      return 0;
    }
    setPageType(m.map, pfn, PGTY.PGTY_zsmalloc);
    m.vmstat[V.nr_zspages] += 1;
    c.pages[z * n + i] = pfn;
  }
  c.zspages.inuse[z] = 0;
  c.zspages.freeobj[z] = 0;
  const at = z * c.objsPerZspage;
  for (let i = 0; i < c.objsPerZspage; i++) c.objects[at + i] = i + 1 < c.objsPerZspage ? -2 - (i + 1) : -1;
  return z;
}

function freeZpdesc(m: Machine, pfn: number): void {
  clearPageType(m.map, pfn as Pfn, PGTY.PGTY_zsmalloc);
  m.vmstat[V.nr_zspages] -= 1;
  freePages(m, pfn as Pfn, 0);
}

/** An empty zspage goes. @kernel mm/zsmalloc.c free_zspage (6.18) */
function freeZspage(m: Machine, pool: ZsPool, c: SizeClass, z: number): void {
  removeZspage(c, z);
  const n = c.pagesPerZspage;
  for (let i = 0; i < n; i++) freeZpdesc(m, c.pages[z * n + i]);
  c.objsAllocated -= c.objsPerZspage;
  pool.pagesAllocated -= n;
  c.zspages.next[z] = c.freeRow;
  c.freeRow = z;
}

/** @kernel mm/zsmalloc.c obj_malloc (6.18) */
function objMalloc(pool: ZsPool, c: SizeClass, z: number, handle: number): void {
  const obj = c.zspages.freeobj[z];
  const at = z * c.objsPerZspage + obj;
  const link = c.objects[at];
  c.zspages.freeobj[z] = link === -1 ? -1 : -2 - link;
  c.objects[at] = handle;
  c.zspages.inuse[z]++;
  pool.handles.zspage[handle] = z;
  pool.handles.obj[handle] = obj;
}

/** @kernel mm/zsmalloc.c obj_free (6.18) */
function objFree(c: SizeClass, z: number, obj: number): void {
  const free = c.zspages.freeobj[z];
  c.objects[z * c.objsPerZspage + obj] = free === -1 ? -1 : -2 - free;
  c.zspages.freeobj[z] = obj;
  c.zspages.inuse[z]--;
}

/** The fullest zspage with room, or 0. @kernel mm/zsmalloc.c find_get_zspage (6.18) */
function findGetZspage(c: SizeClass): number {
  for (let g = ZS_INUSE_RATIO_99; g >= ZS_INUSE_RATIO_0; g--) if (c.head[g] !== 0) return c.head[g];
  return 0;
}

/** Room for `bytes` (1 to a page); its handle, or 0 when there is no memory. @kernel mm/zsmalloc.c zs_malloc (6.18) */
export function zsMalloc(m: Machine, pool: ZsPool, bytes: number, gfp: number): number {
  const cls = sizeClassIndex(pool, bytes);
  const c = pool.classes[cls] as SizeClass;
  let z = findGetZspage(c);
  const fresh = z === 0;
  if (fresh) {
    z = allocZspage(m, c, gfp);
    if (z === 0) return 0;
  }
  let handle = pool.freeHandle;
  if (handle !== 0) pool.freeHandle = pool.handles.zspage[handle];
  else {
    handle = pool.nrHandles++;
    if (handle >= pool.handles.rows) grow(handleLayout, pool.handles, pool.handles.rows * 2);
  }
  pool.handles.cls[handle] = cls;
  pool.handlesInuse++;
  objMalloc(pool, c, z, handle);
  c.objsInuse++;
  if (fresh) {
    insertZspage(c, z, fullnessGroup(1, c.objsPerZspage));
    c.objsAllocated += c.objsPerZspage;
    pool.pagesAllocated += c.pagesPerZspage;
  } else fixFullnessGroup(c, z);
  return handle;
}

/** Gives an object back. @kernel mm/zsmalloc.c zs_free (6.18) */
export function zsFree(m: Machine, pool: ZsPool, handle: number): void {
  const { handles } = pool;
  const c = pool.classes[handles.cls[handle]] as SizeClass;
  const z = handles.zspage[handle];
  c.objsInuse--;
  objFree(c, z, handles.obj[handle]);
  if (fixFullnessGroup(c, z) === ZS_INUSE_RATIO_0) freeZspage(m, pool, c, z);
  handles.zspage[handle] = pool.freeHandle;
  pool.freeHandle = handle;
  pool.handlesInuse--;
}

/** Pages that compaction of a class would free. @kernel mm/zsmalloc.c zs_can_compact (6.18) */
function zsCanCompact(c: SizeClass): number {
  return Math.floor((c.objsAllocated - c.objsInuse) / c.objsPerZspage) * c.pagesPerZspage;
}

/** Pages that compaction would free. @kernel mm/zsmalloc.c zs_shrinker_count (6.18) */
export function zsShrinkerCount(pool: ZsPool): number {
  let pages = 0;
  for (const c of pool.classes) pages += zsCanCompact(c);
  return pages;
}

/** Moves objects until the one is full or the other empty. @kernel mm/zsmalloc.c migrate_zspage (6.18) */
function migrateZspage(pool: ZsPool, c: SizeClass, from: number, to: number): void {
  const { inuse } = c.zspages;
  const n = c.objsPerZspage;
  for (let obj = 0; obj < n; obj++) {
    const handle = c.objects[from * n + obj];
    if (handle < 0) continue;
    objMalloc(pool, c, to, handle);
    objFree(c, from, obj);
    if (inuse[to] === n || inuse[from] === 0) return;
  }
}

/** First zspage of the groups from `first` to `last`, taken off its list; 0: they are empty. @kernel mm/zsmalloc.c isolate_src_zspage (6.18) */
function isolateZspage(c: SizeClass, first: number, last: number): number {
  const step = first < last ? 1 : -1;
  for (let g = first; g !== last + step; g += step) {
    const z = c.head[g];
    if (z !== 0) {
      removeZspage(c, z);
      return z;
    }
  }
  return 0;
}

/** @kernel mm/zsmalloc.c __zs_compact (6.18) */
function compactClass(m: Machine, pool: ZsPool, c: SizeClass): number {
  const { inuse } = c.zspages;
  let freed = 0;
  let to = 0;
  while (zsCanCompact(c) > 0) {
    if (to === 0) to = isolateZspage(c, ZS_INUSE_RATIO_99, ZS_INUSE_RATIO_10);
    if (to === 0) break;
    const from = isolateZspage(c, ZS_INUSE_RATIO_10, ZS_INUSE_RATIO_99);
    if (from === 0) break;
    migrateZspage(pool, c, from, to);
    insertZspage(c, from, fullnessGroup(inuse[from], c.objsPerZspage));
    if (inuse[from] === 0) {
      freeZspage(m, pool, c, from);
      freed += c.pagesPerZspage;
    }
    if (inuse[to] === c.objsPerZspage) {
      insertZspage(c, to, ZS_INUSE_RATIO_100);
      to = 0;
    }
  }
  if (to !== 0) insertZspage(c, to, fullnessGroup(inuse[to], c.objsPerZspage));
  return freed;
}

/** Empties the emptiest zspages into the fullest, class by class; returns the pages freed. @kernel mm/zsmalloc.c zs_compact (6.18) */
export function zsCompact(m: Machine, pool: ZsPool): number {
  let freed = 0;
  for (let i = pool.classes.length - 1; i >= 0; i--) freed += compactClass(m, pool, pool.classes[i] as SizeClass);
  pool.pagesCompacted += freed;
  return freed;
}
