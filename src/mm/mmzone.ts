/**
 * Zones: the ranges of frames that the physical allocator manages, their free lists, page blocks and per-CPU lists.
 *
 *   zone ── free area of order 0 … MAX ── one list for each migrate type ── blocks, linked through the memory map
 *      ├── page blocks: one byte each (migrate type, skip mark of compaction)
 *      └── per-CPU lists: 3 types × orders 0–3, and two for the PMD order
 *
 * A free block's first page carries page type `buddy`, its order in `private`, and (in `index`, unused in the kernel) the
 * migrate type of the list it is on. All other words of free memory mean nothing.
 *
 * Memory that was never used has no state at all: the blocks of the largest order that boot would put at the tail of the
 * movable list, in ascending order, are there by a cursor. The first of them is real, so that an empty list has a head of 0;
 * the next becomes real when the list runs empty. Frees go to the head, so the order is the one the kernel would have.
 *
 * One node, one CPU. Frames are contiguous from 0; frame 0 is reserved.
 *
 * @kernel include/linux/mmzone.h struct zone (6.18)
 */
import { allocate, i32, type Table, u8 } from '../base/table.ts';
import type { Pfn } from './ids.ts';

export const MIGRATE_UNMOVABLE = 0;
export const MIGRATE_MOVABLE = 1;
export const MIGRATE_RECLAIMABLE = 2;
/** Types that have per-CPU lists and merge with each other. */
export const MIGRATE_PCPTYPES = 3;
export const MIGRATE_HIGHATOMIC = 3;
export const MIGRATE_ISOLATE = 4;
export const MIGRATE_TYPES = 5;

export const ZONE_DMA = 0;
export const ZONE_DMA32 = 1;
export const ZONE_NORMAL = 2;
export const MAX_NR_ZONES = 3;
export const ZONE_NAMES = ['DMA', 'DMA32', 'Normal'] as const;

/** Orders above are "costly": the allocator may give up on them. @kernel include/linux/mmzone.h PAGE_ALLOC_COSTLY_ORDER (6.18) */
export const PAGE_ALLOC_COSTLY_ORDER = 3;
/** Lists of the small orders; the two of the PMD order (others, movable) follow. */
export const NR_LOWORDER_PCP_LISTS: number = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1);
export const NR_PCP_LISTS: number = NR_LOWORDER_PCP_LISTS + 2;

/** Bits of a page block's byte: its type below, the mark of compaction that nothing was found in it. */
export const PB_TYPE = 7;
export const PB_SKIP = 8;

/** Bits of `flags` of a zone. */
export const ZONE_BOOSTED_WATERMARK = 1;
export const ZONE_RECLAIM_ACTIVE = 2;
export const ZONE_BELOW_HIGH = 4;
/** Bits of `pcpFlags`. */
export const PCPF_PREV_FREE_HIGH_ORDER = 1;

export const zoneLayout = {
  start: i32('first frame; of an empty zone: the end of memory'),
  end: i32('frame after the last'),
  managed: i32('pages given to the allocator'),
  free: i32('pages on free lists, isolated blocks left out'),
  freeHighatomic: i32('of these, on lists of the highatomic type'),
  nrReservedHighatomic: i32('pages of blocks reserved for high-order atomic requests'),
  cursor: i32('first frame of the blocks that boot listed and nobody has reached'),
  cursorEnd: i32('frame after the last of them'),
  unaccepted: i32('pages not yet accepted: neither free nor handed out'),
  unacceptedHead: i32('first of their blocks of the largest order; 0: none'),
  unacceptedTail: i32('last'),
  flags: u8('ZONE_* bits'),
  min: i32('watermarks in pages, without the boost'),
  low: i32(''),
  high: i32(''),
  promo: i32(''),
  boost: i32('added to each watermark after a page block was mixed'),
  lowmemReserve: i32('by class zone of the request: pages kept for requests that can use no higher zone', MAX_NR_ZONES),
  pcpCount: i32('pages on the per-CPU lists'),
  pcpBatch: i32('pages moved at a time'),
  pcpHigh: i32('pages kept at most, between the next two'),
  pcpHighMin: i32(''),
  pcpHighMax: i32(''),
  pcpAllocFactor: u8('doublings of the batch while nothing is freed'),
  pcpFreeCount: i32('pages freed lately without an allocation'),
  pcpFlags: u8('PCPF_* bits'),
  migratePfnAsync: i32('compaction: where the migrate scanner starts, asynchronous'),
  migratePfnSync: i32('the same, synchronous'),
  freePfn: i32('where the free scanner starts'),
  initMigratePfn: i32('first frame where this round found anything to move'),
  initFreePfn: i32('last frame where it found anything free'),
  considered: i32('requests put off since compaction failed'),
  deferShift: u8('log2 of how many to put off'),
  orderFailed: u8('smallest order that failed'),
  blockskipFlush: u8('the skip marks are to be cleared'),
} as const;

const listLayout = {
  head: i32('first block; 0: none'),
  tail: i32('last block'),
} as const;
const areaLayout = { ...listLayout, count: i32('blocks') } as const;

export interface Zones {
  readonly zone: Table<typeof zoneLayout>;
  /** Free lists: row (zone · orders + order) · MIGRATE_TYPES + type. `count` includes blocks behind the cursor. */
  readonly area: Table<typeof areaLayout>;
  /** Per-CPU lists: row zone · NR_PCP_LISTS + list. */
  readonly pcp: Table<typeof listLayout>;
  /** One byte a page block. */
  readonly blocks: Uint8Array;
  readonly pageSize: number;
  /** Frames of the machine. */
  readonly frames: number;
  /** Largest order. @kernel include/linux/mmzone.h MAX_PAGE_ORDER (6.18) */
  readonly maxOrder: number;
  /** @kernel include/linux/pageblock-flags.h pageblock_order (6.18) */
  readonly pageblockOrder: number;
  /** Order of the pages that a PMD maps. */
  readonly pmdOrder: number;
  /** min_free_kbytes. */
  minFreeKbytes: number;
  /** Pages that no file or process can have. @kernel mm/page_alloc.c calculate_totalreserve_pages (6.18) */
  totalreservePages: number;
  /** The running task is inside reclaim or compaction: it may use all reserves and must not reclaim. @kernel include/linux/sched.h PF_MEMALLOC (6.18) */
  memalloc: boolean;
  /** A direct compactor waits for a block of this order (−1: none) for this type, and the block that it got. */
  captureOrder: number;
  captureType: number;
  capturePfn: number;
  /** How the last block was found, remembered while a per-CPU list is filled: 0 own list, 1 claim, 2 steal. */
  rmqueueMode: number;
  /** debug_guardpage_minorder: pieces of smaller orders that are left over stay guards; 0: none do. */
  guardMinorder: number;
  /** Scratch of prepMoveFreepagesBlock. */
  blockFree: number;
  blockMovable: number;
}

interface Geometry {
  readonly maxOrder: number;
  readonly pmdOrder: number;
}
/** Largest buddy order and PMD order by page size. 4 KiB is x86-64 and arm64; the others arm64. @kernel arch/arm64/Kconfig ARCH_FORCE_MAX_ORDER (6.18) */
export function geometry(pageSize: number): Geometry {
  if (pageSize === 65536) return { maxOrder: 13, pmdOrder: 13 };
  if (pageSize === 16384) return { maxOrder: 11, pmdOrder: 11 };
  return { maxOrder: 10, pmdOrder: 9 };
}

/**
 * Zones of a machine of `frames` contiguous frames, without blocks and marks: see zonesInit.
 * With 4 KiB pages DMA ends at 16 MiB and DMA32 at 4 GiB, as on x86-64; with larger ones DMA ends at 4 GiB and DMA32 is
 * empty, as on arm64. @kernel arch/x86/mm/init.c zone_sizes_init (6.18) @kernel arch/arm64/mm/init.c zone_sizes_init (6.18)
 */
export function zonesTable(frames: number, pageSize: number): Zones {
  const { maxOrder, pmdOrder } = geometry(pageSize);
  const pageblockOrder = Math.min(pmdOrder, maxOrder);
  const zone = allocate(zoneLayout, MAX_NR_ZONES);
  const under4G = 2 ** 32 / pageSize;
  const ends = [pageSize === 4096 ? 2 ** 24 / pageSize : under4G, under4G, frames];
  let from = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    const end = Math.min(ends[z], frames);
    const start = z === 0 ? 1 : from;
    zone.start[z] = Math.min(start, end);
    zone.end[z] = end;
    zone.managed[z] = end - zone.start[z];
    from = end;
  }
  return {
    zone,
    area: allocate(areaLayout, MAX_NR_ZONES * (maxOrder + 1) * MIGRATE_TYPES),
    pcp: allocate(listLayout, MAX_NR_ZONES * NR_PCP_LISTS),
    blocks: new Uint8Array(Math.ceil(frames / 2 ** pageblockOrder)).fill(MIGRATE_MOVABLE),
    pageSize,
    frames,
    maxOrder,
    pageblockOrder,
    pmdOrder,
    minFreeKbytes: 0,
    totalreservePages: 0,
    memalloc: false,
    captureOrder: -1,
    captureType: 0,
    capturePfn: 0,
    rmqueueMode: 0,
    guardMinorder: 0,
    blockFree: 0,
    blockMovable: 0,
  };
}

/** The zone of a frame. */
export function pageZone(zones: Zones, pfn: number): number {
  const { start } = zones.zone;
  return pfn >= start[ZONE_NORMAL] ? ZONE_NORMAL : pfn >= start[ZONE_DMA32] ? ZONE_DMA32 : ZONE_DMA;
}

/** Row of a free list. */
export const areaRow = (zones: Zones, zone: number, order: number, type: number): number =>
  (zone * (zones.maxOrder + 1) + order) * MIGRATE_TYPES + type;

/** Migrate type of the page block that holds a frame. @kernel mm/page_alloc.c get_pfnblock_migratetype (6.18) */
export const pageblockType = (zones: Zones, pfn: number): number =>
  zones.blocks[pfn >>> zones.pageblockOrder] & PB_TYPE;
/** @kernel mm/page_alloc.c set_pageblock_migratetype (6.18) */
export function setPageblockType(zones: Zones, pfn: number, type: number): void {
  const b = pfn >>> zones.pageblockOrder;
  zones.blocks[b] = (zones.blocks[b] & ~PB_TYPE) | type;
}

export const pageblockSkip = (zones: Zones, pfn: number): boolean =>
  (zones.blocks[pfn >>> zones.pageblockOrder] & PB_SKIP) !== 0;
export function setPageblockSkip(zones: Zones, pfn: number): void {
  zones.blocks[pfn >>> zones.pageblockOrder] |= PB_SKIP;
}

/** Is the frame in memory that boot listed and nobody has reached? Such memory is in free blocks of the largest order. */
export const untouched = (zones: Zones, zone: number, pfn: Pfn | number): boolean =>
  pfn >= zones.zone.cursor[zone] && pfn < zones.zone.cursorEnd[zone];
