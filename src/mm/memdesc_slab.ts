/**
 * Slabs of descriptors, behind the page records of a map whose descriptors lie apart. Each kind has its cache; a slab is 2^order
 * pages, cut into objects by SLUB's rule, and has a descriptor itself, from the cache of slab descriptors.
 *
 *   map [ page records | page page page page … ]      a free object: in one word, the next free one of its slab
 *                        └ slab of 51 folios ┘        slabs with free objects: a list for each cache
 *
 * Descriptors of folios are type-stable: one that was given back still reads as a folio without flags and references, so that whoever
 * looked it up without a reference can see that it is gone. Their free pointer takes the place of `private`.
 *
 * A slab without objects gives its pages back at once; pages that were given back are taken first. All of it is memory beside
 * the machine's frames, as the memory map itself is, so that what a layout costs does not change what a workload does.
 *
 * Descriptors of folios of one page come and go by the thousand: the CPU keeps a sheaf of them, the last one given back on top,
 * and goes to the slabs for half a sheaf at a time. To a slab those are in use.
 *
 * Invariants (checkDescriptors):
 *   K1 a slab's objects in use and its free ones are all there are; a slab is on its cache's list exactly when it has a free one;
 *   K2 used bytes are those of the slabs; no page belongs to two of them;
 *   K3 what the sheaf holds are objects of its cache in use by nobody else: not free in their slab, and in the sheaf once.
 */
import { assert, QuireError } from '../base/errors.ts';
import { DESCRIPTOR_ALIGN, type SlabShape, slabShape } from './memmap.ts';

/** @kernel include/linux/mm_types.h struct folio (6.18) */
const W_PRIVATE = 10;
/** Words that one array can have. */
const WORDS_MAX = 2 ** 32;

/** Caches, by what they hold; counts of a folio's pages come in powers of two. */
export const KIND_FOLIO = 0;
export const KIND_FOLIO_LARGE = 1;
export const KIND_SLAB = 2;
export const KIND_PTDESC = 3;
export const KIND_ZPDESC = 4;
export const KIND_NETPOOL = 5;
export const KIND_HWPOISON = 6;
export const KIND_COUNTS = 7;
/** Counts of a folio of 2^order pages, 8 bytes a page, are of kind KIND_COUNTS + order. */
const COUNTS_ORDERS = 14;
const NR_KINDS = KIND_COUNTS + COUNTS_ORDERS;
/** Objects that the CPU's sheaf holds at most. @kernel mm/slub.c struct slab_sheaf (6.18) */
const SHEAF = 64;
/** Words of a unit of 16 bytes. */
const UNIT = 4;

interface Cache {
  readonly shape: SlabShape;
  readonly words: number;
  /** Word of a free object that names the next one. */
  readonly freeptr: number;
  /** First slab with a free object; −1: none. */
  partial: number;
  /** Objects in use, and slabs. */
  inUse: number;
  slabs: number;
}

export interface Descriptors {
  /** Words of a page. */
  readonly page: number;
  /** First word behind the page records, at a page's start, and the end. */
  readonly start: number;
  readonly end: number;
  /** The start and log2 of a page in units of 16 bytes. */
  readonly startUnit: number;
  readonly unitShift: number;
  /** First page never used. */
  top: number;
  readonly caches: readonly Cache[];
  /** Runs of pages given back, by order. */
  readonly free: number[][];
  /** The sheaf, in units of 16 bytes, and how many it holds. */
  readonly sheaf: Int32Array;
  held: number;
  /** By page of the region: the slab that it belongs to. */
  slabOf: Int32Array;
  // By slab.
  nr: number;
  unused: number[];
  kind: Int32Array;
  base: Float64Array;
  used: Int32Array;
  first: Float64Array;
  next: Int32Array;
  prev: Int32Array;
  own: Float64Array;
}

/** Of the kinds before the counts. */
const BYTES: readonly number[] = [80, 128, 64, 64, 64, 48, 32];
/** Bytes of a descriptor. */
export const bytesOf = (kind: number): number => BYTES[kind] ?? Math.max(8 << (kind - KIND_COUNTS), 16);

/** Words that the descriptors of a machine can need: every page a folio of its own, as far as one array goes. */
export function descriptorWords(frames: number, pageWords: number, pageSize: number): number {
  const page = pageSize / 4;
  const objects = slabShape(bytesOf(KIND_FOLIO), { align: DESCRIPTOR_ALIGN, pageSize });
  const most = Math.ceil((frames * 1.05 * objects.bytesPerObject) / pageSize + 256) * page;
  return Math.floor(Math.min(most, WORDS_MAX - frames * pageWords - 1) / page) * page;
}

/** No descriptors yet; they go between these words. */
export function descriptorsInit(from: number, end: number, pageSize: number): Descriptors {
  const page = pageSize / 4;
  const start = Math.ceil(from / page) * page;
  const slabs = 64;
  return {
    page,
    start,
    end,
    startUnit: start / UNIT,
    unitShift: Math.log2(page / UNIT),
    top: start,
    caches: Array.from({ length: NR_KINDS }, (_, kind) => {
      const shape = slabShape(bytesOf(kind), { align: DESCRIPTOR_ALIGN, pageSize });
      const freeptr = kind <= KIND_FOLIO_LARGE ? W_PRIVATE : 0;
      return { shape, words: shape.objectBytes / 4, freeptr, partial: -1, inUse: 0, slabs: 0 };
    }),
    free: Array.from({ length: COUNTS_ORDERS }, () => []),
    sheaf: new Int32Array(SHEAF),
    held: 0,
    slabOf: new Int32Array(64),
    nr: 0,
    unused: [],
    kind: new Int32Array(slabs),
    base: new Float64Array(slabs),
    used: new Int32Array(slabs),
    first: new Float64Array(slabs),
    next: new Int32Array(slabs),
    prev: new Int32Array(slabs),
    own: new Float64Array(slabs),
  };
}

function takePages(d: Descriptors, order: number): number {
  const back = d.free[order].pop();
  if (back !== undefined) return back;
  const words = d.page << order;
  const at = d.start + Math.ceil((d.top - d.start) / words) * words;
  if (at + words > d.end)
    throw new QuireError(
      'ENOMEM',
      `descriptors need more than ${(d.end - d.start) * 4} bytes: expected a smaller machine, or larger folios`,
    );
  for (let p = d.top; p < at; p += d.page) d.free[0].push(p);
  d.top = at + words;
  const pages = (d.top - d.start) / d.page;
  if (pages > d.slabOf.length) {
    const longer = new Int32Array(Math.max(pages, d.slabOf.length * 2));
    longer.set(d.slabOf);
    d.slabOf = longer;
  }
  return at;
}

function newRow(d: Descriptors): number {
  const row = d.unused.pop();
  if (row !== undefined) return row;
  if (d.nr === d.kind.length) {
    const n = d.nr * 2;
    const i32 = (from: Int32Array): Int32Array => {
      const to = new Int32Array(n);
      to.set(from);
      return to;
    };
    const f64 = (from: Float64Array): Float64Array => {
      const to = new Float64Array(n);
      to.set(from);
      return to;
    };
    d.kind = i32(d.kind);
    d.used = i32(d.used);
    d.next = i32(d.next);
    d.prev = i32(d.prev);
    d.base = f64(d.base);
    d.first = f64(d.first);
    d.own = f64(d.own);
  }
  return d.nr++;
}

function newSlab(map: Int32Array, d: Descriptors, kind: number): number {
  const cache = d.caches[kind];
  const { order, objects } = cache.shape;
  // The descriptor of a slab of slab descriptors is its own first object, as it would have to be in any kernel that boots.
  const own = kind === KIND_SLAB ? 0 : memdescTake(map, d, KIND_SLAB);
  const base = takePages(d, order);
  const row = newRow(d);
  for (let p = 0; p < 1 << order; p++) d.slabOf[(base - d.start) / d.page + p] = row;
  map.fill(0, base, base + (d.page << order));
  for (let i = 0; i < objects; i++)
    map[base + i * cache.words + cache.freeptr] = i + 1 < objects ? (base + (i + 1) * cache.words) / UNIT : 0;
  d.kind[row] = kind;
  d.base[row] = base;
  d.used[row] = 0;
  d.first[row] = base;
  d.own[row] = own;
  cache.slabs++;
  if (kind === KIND_SLAB) {
    d.first[row] = map[base + cache.freeptr] * UNIT;
    d.used[row] = 1;
  }
  link(d, cache, row);
  return row;
}

function link(d: Descriptors, cache: Cache, row: number): void {
  d.next[row] = cache.partial;
  d.prev[row] = -1;
  if (cache.partial >= 0) d.prev[cache.partial] = row;
  cache.partial = row;
}

function unlink(d: Descriptors, cache: Cache, row: number): void {
  const next = d.next[row];
  const prev = d.prev[row];
  if (prev < 0) cache.partial = next;
  else d.next[prev] = next;
  if (next >= 0) d.prev[next] = prev;
}

/** An object of a kind: its first word in the map. What it holds is not cleared. */
export function memdescTake(map: Int32Array, d: Descriptors, kind: number): number {
  const cache = d.caches[kind];
  const row = cache.partial >= 0 ? cache.partial : newSlab(map, d, kind);
  const w = d.first[row];
  const next = map[w + cache.freeptr] * UNIT;
  d.first[row] = next;
  d.used[row]++;
  cache.inUse++;
  if (next === 0) unlink(d, cache, row);
  return w;
}

/** Slab of an object. */
const slabOfUnit = (d: Descriptors, unit: number): number => d.slabOf[(unit - d.startUnit) >>> d.unitShift];

/** Gives an object back, whichever its cache. */
export function memdescGive(map: Int32Array, d: Descriptors, w: number): void {
  const row = slabOfUnit(d, w / UNIT);
  const cache = d.caches[d.kind[row]];
  if (d.first[row] === 0) link(d, cache, row);
  map[w + cache.freeptr] = d.first[row] / UNIT;
  d.first[row] = w;
  cache.inUse--;
  const left = --d.used[row];
  // One free slab is kept, so that a cache at its edge does not come and go.
  if (left === (d.kind[row] === KIND_SLAB ? 1 : 0) && cache.slabs > 1) freeSlab(map, d, row);
}

function freeSlab(map: Int32Array, d: Descriptors, row: number): void {
  const kind = d.kind[row];
  const cache = d.caches[kind];
  unlink(d, cache, row);
  cache.slabs--;
  d.free[cache.shape.order].push(d.base[row]);
  d.unused.push(row);
  d.kind[row] = -1;
  if (kind !== KIND_SLAB) memdescGive(map, d, d.own[row]);
}

/** A descriptor for a folio of one page, in units of 16 bytes. What it holds is not cleared. @kernel mm/slub.c alloc_from_pcs (6.18) */
export function allocFromPcs(map: Int32Array, d: Descriptors): number {
  if (d.held === 0) refillSheaf(map, d);
  d.held -= 1;
  return d.sheaf[d.held];
}
/** Gives one back. That of a large folio which was split until one page was left goes to its own slab. @kernel mm/slub.c free_to_pcs (6.18) */
export function freeToPcs(map: Int32Array, d: Descriptors, unit: number): void {
  if (d.kind[slabOfUnit(d, unit)] !== KIND_FOLIO) {
    memdescGive(map, d, unit * UNIT);
    return;
  }
  if (d.held === SHEAF) flushSheaf(map, d);
  d.sheaf[d.held] = unit;
  d.held += 1;
}

/** Half a sheaf, the first one taken on top. @kernel mm/slub.c refill_sheaf (6.18) */
function refillSheaf(map: Int32Array, d: Descriptors): void {
  for (let i = SHEAF / 2 - 1; i >= 0; i--) d.sheaf[i] = memdescTake(map, d, KIND_FOLIO) / UNIT;
  d.held = SHEAF / 2;
}
/** What has lain in it longest goes back to the slabs. @kernel mm/slub.c sheaf_flush_main (6.18) */
function flushSheaf(map: Int32Array, d: Descriptors): void {
  for (let i = 0; i < SHEAF / 2; i++) memdescGive(map, d, d.sheaf[i] * UNIT);
  d.sheaf.copyWithin(0, SHEAF / 2);
  d.held = SHEAF / 2;
}

/** Bytes of the slabs there are. */
export function descriptorBytes(d: Descriptors): number {
  let sum = 0;
  for (const cache of d.caches) sum += cache.slabs * d.page * 4 * 2 ** cache.shape.order;
  return sum;
}

/** Asserts K1 to K3. */
export function checkDescriptors(map: Int32Array, d: Descriptors): void {
  const seen = new Set<number>();
  const inSheaf = new Set(d.sheaf.subarray(0, d.held));
  assert(inSheaf.size === d.held, 'K3 an object is in the sheaf once');
  for (const unit of inSheaf) {
    assert(d.kind[slabOfUnit(d, unit)] === KIND_FOLIO, 'K3 the sheaf holds descriptors of folios of one page');
  }
  const slabs = d.caches.map(() => 0);
  const inUse = d.caches.map(() => 0);
  for (let row = 0; row < d.nr; row++) {
    const kind = d.kind[row];
    if (kind < 0) continue;
    const cache = d.caches[kind];
    slabs[kind]++;
    let free = 0;
    for (let w = d.first[row]; w !== 0; w = map[w + cache.freeptr] * UNIT) {
      assert(!inSheaf.has(w / UNIT), 'K3 what is in the sheaf is not free in its slab');
      free++;
    }
    assert(free + d.used[row] === cache.shape.objects, 'K1 objects in use and free objects are all there are');
    inUse[kind] += d.used[row] - (kind === KIND_SLAB ? 1 : 0);
    for (let p = 0; p < 1 << cache.shape.order; p++) {
      const page = d.base[row] + p * d.page;
      assert(!seen.has(page) && d.slabOf[(page - d.start) / d.page] === row, 'K2 a page belongs to one slab');
      seen.add(page);
    }
  }
  d.caches.forEach((cache, kind) => {
    assert(cache.slabs === slabs[kind] && cache.inUse === inUse[kind], 'K2 slabs and objects are counted');
    let listed = 0;
    for (let row = cache.partial; row >= 0; row = d.next[row]) {
      assert(d.kind[row] === kind && d.first[row] !== 0, 'K1 a listed slab has a free object');
      listed++;
    }
    for (let row = 0; row < d.nr; row++) if (d.kind[row] === kind && d.first[row] !== 0) listed--;
    assert(listed === 0, 'K1 a slab with a free object is listed');
  });
}
