/**
 * Where each field lies, by layout. One class, so that every access to the map is of one shape; a machine has one map, made once.
 *
 *                 page record   folio's descriptor        order      counts by page
 *   page64        64 bytes      over its first 3 pages    2nd page   in each page's record
 *   overlay       64 bytes      over its first 4 pages    2nd page   in each page's record
 *   page32        32 bytes      80 or 128 bytes, a slab   inside     in each page's record
 *   memdesc8       8 bytes      80 or 128 bytes, a slab   inside     in an array of the folio's own
 *
 * All offsets are in 4-byte words; those of a folio count from its descriptor, those of a page from its record.
 *
 * What 5.15 does not count (mappings of a large folio, its owners) lies in words of its first tail that 5.15 leaves unused. Where a
 * plan does not say how a free block is linked within its record, the links are here as frame numbers:
 *
 *   page32    buddy_list, the links shifted by four so that the low nibble reads as buddy | type, migrate type and order in the padding behind _refcount
 *   memdesc8  type 4 bits, next 28 | migrate type 3, "larger than a page" 1, prev 28; such a block's order is in its second page
 */

import { type Descriptors, descriptorBytes, descriptorsInit, descriptorWords } from './memdesc_slab.ts';
import type { LayoutName } from './memmap.ts';
import { PGTY } from './page_flags.ts';

/** Where the fields of a layout lie: the members of MemoryMap that are said there. */
type Offsets = Omit<
  MemoryMap,
  keyof Int32Array | 'layout' | 'frames' | 'pageblockOrder' | 'overlaid' | 'descriptors' | typeof Symbol.species
>;

/** Of the two plans: a descriptor of its own. */
const apart = {
  ...{
    refcount: 12,
    mapcount: 13,
    pincount: 14,
    orderAt: 15,
    orderShift: 0,
    flags1: 15,
    pfn: 16,
    memcg: 18,
    nrPages: -1,
  },
  ...{
    largeMapcount: 20,
    nrPagesMapped: 21,
    entireMapcount: 22,
    mmIdMapcount: 24,
    mmId: 26,
    deferredNext: 28,
    deferredPrev: 30,
  },
} as const;
/** A record of 64 bytes that free lists and folios share. */
const record64 = {
  ...{ pageWords: 16, mapcount: 12, refcount: 13, memcg: 14, pfn: -1, flags1: 16, memdesc: -1 },
  ...{
    pageNext: 2,
    pagePrev: 4,
    pageShift: 1,
    pageLow: 0,
    pcpTag: 0,
    typeAt: 12,
    typeMask: -1,
    buddyTag: PGTY.PGTY_buddy << 24,
    guardTag: PGTY.PGTY_guard << 24,
  },
} as const;

const offsets: Readonly<Record<LayoutName, Offsets>> = {
  page64: {
    ...record64,
    ...{ orderAt: 20, orderShift: 8, entireMapcount: 21, nrPages: 22, largeMapcount: 23, mmIdMapcount: 24, mmId: 26 },
    ...{ nrPagesMapped: 30, pincount: 36, deferredNext: 38, deferredPrev: 40 },
  },
  overlay: {
    ...record64,
    ...{ orderAt: 16, orderShift: 0, largeMapcount: 20, nrPagesMapped: 21, entireMapcount: 22, pincount: 23 },
    ...{ mmIdMapcount: 24, mmId: 26, nrPages: 30, deferredNext: 36, deferredPrev: 38 },
  },
  page32: {
    ...apart,
    ...{
      pageWords: 8,
      pageNext: 2,
      pagePrev: 4,
      pageShift: 4,
      pageLow: 0,
      pcpTag: 0,
      typeAt: 7,
      typeMask: 0xff000000 | 0,
      memdesc: 2,
    },
    buddyTag: PGTY.PGTY_buddy << 24,
    guardTag: PGTY.PGTY_guard << 24,
  },
  memdesc8: {
    ...apart,
    ...{
      pageWords: 2,
      pageNext: 0,
      pagePrev: 1,
      pageShift: 4,
      pageLow: 15,
      pcpTag: 15,
      typeAt: 0,
      typeMask: 15,
      buddyTag: 1,
      guardTag: 13,
      memdesc: 0,
    },
  },
};

/**
 * A record of 64 bytes shall lie in one line of the host's cache. Where an array begins cannot be asked; glibc puts large blocks
 * 16 bytes behind the start of a page.
 */
const LINE = 64;
const MALLOC_HEADER = 16;

/** The memory map of a machine, and where fields lie in it. */
export class MemoryMap extends Int32Array {
  readonly layout: LayoutName;
  readonly frames: number;
  /** log2 of the pages of a page block. */
  readonly pageblockOrder: number;
  /** Descriptors of folios lie over their pages' records. */
  readonly overlaid: boolean;
  /** Descriptors apart from the pages; of no use where they overlay them. */
  readonly descriptors: Descriptors;

  /** Words of the record of a page. */
  readonly pageWords: number;

  // Of a folio.
  readonly mapcount: number;
  readonly refcount: number;
  readonly memcg: number;
  /** Its first frame; only where descriptors lie apart. */
  readonly pfn: number;
  /** Marks of a large folio. */
  readonly flags1: number;
  /** The byte of its order: the word, and the shift in it. */
  readonly orderAt: number;
  readonly orderShift: number;
  /** Its number of pages; −1: no such field. */
  readonly nrPages: number;
  readonly largeMapcount: number;
  readonly nrPagesMapped: number;
  readonly entireMapcount: number;
  readonly pincount: number;
  /** Two owners: mappings of each less one, and its MmId (0: free); the top bit of the first id says "mapped shared". */
  readonly mmIdMapcount: number;
  readonly mmId: number;
  /** Links of the deferred split queue; 0: not queued, −1: an end. */
  readonly deferredNext: number;
  readonly deferredPrev: number;

  // Of a page: free, on a list of the buddy allocator or of a CPU.
  /** Links: frame numbers, shifted, with so many bits below that mean something else. */
  readonly pageNext: number;
  readonly pagePrev: number;
  readonly pageShift: number;
  readonly pageLow: number;
  /** What those bits are of a page on a list of a CPU. */
  readonly pcpTag: number;
  /** The word that tells the first page of a free block, its bits that do, and their value then. */
  readonly typeAt: number;
  readonly typeMask: number;
  readonly buddyTag: number;
  /** The same of a guard page. */
  readonly guardTag: number;
  /** The typed pointer to a descriptor; only where descriptors lie apart. */
  readonly memdesc: number;

  constructor(layout: LayoutName, frames: number, pageblockOrder: number, pageSize: number) {
    const o = offsets[layout];
    const overlaid = o.memdesc < 0;
    const words = frames * o.pageWords + (overlaid ? 0 : descriptorWords(frames, o.pageWords, pageSize));
    if (overlaid) super(new ArrayBuffer(words * 4 + LINE), LINE - MALLOC_HEADER, words);
    else super(words);
    this.layout = layout;
    this.frames = frames;
    this.pageblockOrder = pageblockOrder;
    this.overlaid = overlaid;
    this.descriptors = descriptorsInit(frames * o.pageWords, this.length, pageSize);
    this.pageWords = o.pageWords;
    this.mapcount = o.mapcount;
    this.refcount = o.refcount;
    this.memcg = o.memcg;
    this.pfn = o.pfn;
    this.flags1 = o.flags1;
    this.orderAt = o.orderAt;
    this.orderShift = o.orderShift;
    this.nrPages = o.nrPages;
    this.largeMapcount = o.largeMapcount;
    this.nrPagesMapped = o.nrPagesMapped;
    this.entireMapcount = o.entireMapcount;
    this.pincount = o.pincount;
    this.mmIdMapcount = o.mmIdMapcount;
    this.mmId = o.mmId;
    this.deferredNext = o.deferredNext;
    this.deferredPrev = o.deferredPrev;
    this.pageNext = o.pageNext;
    this.pagePrev = o.pagePrev;
    this.pageShift = o.pageShift;
    this.pageLow = o.pageLow;
    this.pcpTag = o.pcpTag;
    this.typeAt = o.typeAt;
    this.typeMask = o.typeMask;
    this.buddyTag = o.buddyTag;
    this.guardTag = o.guardTag;
    this.memdesc = o.memdesc;
  }

  /** Pieces of a map are plain arrays. */
  static get [Symbol.species](): Int32ArrayConstructor {
    return Int32Array;
  }
}

/** Bytes of a machine's memory map: its page records, and the slabs of the descriptors that lie apart. */
export const memoryMapBytes = (map: MemoryMap): number =>
  map.frames * map.pageWords * 4 + (map.overlaid ? 0 : descriptorBytes(map.descriptors));
