/**
 * What a memory map costs. Four layouts as data, and the arithmetic that turns pages and folios into bytes; all bytes here
 * are the modelled kernel's, none are the host's.
 *
 *   page64    64 B a page; a compound page keeps what it needs in its first pages
 *   overlay   64 B a page; struct folio lies over the first four of them: the same bytes
 *   page32    32 B a page, and a descriptor of its own for each folio
 *   memdesc8   8 B a page, and a descriptor of its own for each folio
 *
 * A separate descriptor is a slab object, so it costs more than its size: what is left over at the end of a slab is shared
 * by the slab's objects, and the slab needs a descriptor too. Free memory and kernel pages that are no folio need none.
 */
import { assert } from '../base/errors.ts';

export type LayoutName = 'page64' | 'overlay' | 'page32' | 'memdesc8';

/** Sizes in bytes. A descriptor of 0 bytes lies in the map itself. */
export interface MemmapLayout {
  readonly name: LayoutName;
  /** Paid for every page of memory, used or not. */
  readonly bytesPerPage: number;
  /** Descriptor of a folio of one page. */
  readonly folioBytesSmall: number;
  /** Descriptor of a folio of two pages or more. */
  readonly folioBytesLarge: number;
  /** Descriptor of a slab. */
  readonly slabBytes: number;
  /** Descriptor of a page table. */
  readonly tableBytes: number;
  /** Descriptor of a page of compressed memory. */
  readonly zsmallocBytes: number;
  /** Descriptor of a piece of a network receive pool. */
  readonly netpoolBytes: number;
  /** Descriptor of a page with bad memory. */
  readonly hwpoisonBytes: number;
  /** A released kernel has it; otherwise it is a published plan. */
  readonly shipped: boolean;
  readonly source: string;
}

const plan = {
  folioBytesSmall: 80,
  folioBytesLarge: 128,
  slabBytes: 64,
  tableBytes: 64,
  zsmallocBytes: 64,
  netpoolBytes: 48,
  hwpoisonBytes: 32,
  shipped: false,
} as const;
const planSource =
  'one-page folio: its planned fields add up to 80 B; estimates, from the fields that today’s overlays hold: larger folio ' +
  '128 B, slab, page table and zsmalloc page 64 B, network pool 48 B, bad page 32 B';
const overlaid = {
  folioBytesSmall: 0,
  folioBytesLarge: 0,
  slabBytes: 0,
  tableBytes: 0,
  zsmallocBytes: 0,
  netpoolBytes: 0,
  hwpoisonBytes: 0,
  shipped: true,
} as const;

/** Smallest change first. */
export const memmapLayouts: readonly MemmapLayout[] = [
  {
    name: 'page64',
    bytesPerPage: 64,
    ...overlaid,
    source: 'struct page, include/linux/mm_types.h (5.15), 64-bit with memory groups',
  },
  {
    name: 'overlay',
    bytesPerPage: 64,
    ...overlaid,
    source: 'struct page and struct folio, include/linux/mm_types.h (6.18), 64-bit with memory groups',
  },
  {
    name: 'page32',
    bytesPerPage: 32,
    ...plan,
    source: `kernelnewbies.org MatthewWilcox/Memdescs/Path, the 32-byte step; ${planSource}`,
  },
  {
    name: 'memdesc8',
    bytesPerPage: 8,
    ...plan,
    source: `kernelnewbies.org MatthewWilcox/Memdescs, the goal of one word a page; ${planSource}`,
  },
];

export function memmapLayout(name: LayoutName): MemmapLayout {
  const layout = memmapLayouts.find((l) => l.name === name);
  assert(layout !== undefined, 'every layout name has a layout');
  return layout;
}

/** The map of a machine with `memory` bytes: paid for whole pages. */
export const mapBytes = (layout: MemmapLayout, memory: number, pageSize: number): number =>
  layout.bytesPerPage * Math.floor(memory / pageSize);

/** Alignment of descriptors: a typed pointer keeps its type in its low four bits. */
export const DESCRIPTOR_ALIGN = 16;

/** How a slab cache lays out its objects. */
export interface SlabShape {
  /** An object with its alignment, and its free pointer where that lies apart. */
  readonly objectBytes: number;
  readonly order: number;
  readonly objects: number;
  /** Bytes of a slab over its objects: what one object really costs. */
  readonly bytesPerObject: number;
}

export interface SlabOptions {
  readonly pageSize?: number;
  /** CPUs present: more CPUs ask for more objects a slab. Up to 127 it changes nothing for objects of at most 128 bytes. */
  readonly cpus?: number;
  readonly align?: number;
  /** Type-stable by RCU without a place named for the free pointer: the pointer then lies behind the object. */
  readonly freePointerApart?: boolean;
}

/** A slab takes no larger order than this while one that small will do. */
const SLUB_MAX_ORDER = 3;

/**
 * Order and number of objects of a slab cache: the smallest order that holds enough objects and wastes at most a sixteenth,
 * else an eighth, a quarter, a half; an object too large for that gets the order that holds one.
 * @kernel mm/slub.c calculate_sizes (6.18)
 * @kernel mm/slub.c calculate_order (6.18)
 */
export function slabShape(size: number, options: SlabOptions = {}): SlabShape {
  const { pageSize = 4096, cpus = 8, align = 8, freePointerApart = false } = options;
  assert(size > 0 && cpus > 0, 'an object has bytes and a machine has CPUs');
  let objectBytes = Math.ceil(size / 8) * 8;
  if (freePointerApart) objectBytes += 8;
  objectBytes = Math.ceil(objectBytes / align) * align;

  const most = Math.max(Math.floor((pageSize << SLUB_MAX_ORDER) / objectBytes), 1);
  const wanted = Math.min(4 * (bitLength(cpus) + 1), most);
  const first = orderOf(wanted * objectBytes, pageSize);
  for (let fraction = 16; fraction > 1; fraction /= 2)
    for (let order = first; order <= SLUB_MAX_ORDER; order++) {
      const bytes = pageSize * 2 ** order;
      if (bytes % objectBytes <= Math.floor(bytes / fraction)) return shape(objectBytes, order, bytes);
    }
  const order = orderOf(objectBytes, pageSize);
  return shape(objectBytes, order, pageSize * 2 ** order);
}

/**
 * What one folio's descriptor costs: its slab object, and its share of the descriptor of the slab that holds it. The slabs
 * that hold slab descriptors need descriptors as well, which adds one part in the number of objects that such a slab has.
 */
export function folioDescriptorBytes(layout: MemmapLayout, large: boolean, options: SlabOptions = {}): number {
  const size = large ? layout.folioBytesLarge : layout.folioBytesSmall;
  if (size === 0) return 0;
  const aligned = { ...options, align: DESCRIPTOR_ALIGN };
  const object = slabShape(size, aligned);
  const slab = slabShape(layout.slabBytes, aligned);
  return object.bytesPerObject + slab.bytesPerObject / (1 - 1 / slab.objects) / object.objects;
}

function shape(objectBytes: number, order: number, bytes: number): SlabShape {
  const objects = Math.floor(bytes / objectBytes);
  return { objectBytes, order, objects, bytesPerObject: bytes / objects };
}

/** Number of the highest bit set, counted from 1. */
const bitLength = (n: number): number => 32 - Math.clz32(n);

/** Smallest order whose pages hold `bytes`. */
function orderOf(bytes: number, pageSize: number): number {
  let order = 0;
  while (pageSize * 2 ** order < bytes) order++;
  return order;
}
