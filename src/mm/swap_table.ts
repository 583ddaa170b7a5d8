/**
 * Swap space as tables: slots of one page each, in clusters of as many as a PMD maps, on devices.
 *
 *   device  │ cluster 0                  │ cluster 1          │ …
 *   slots   │ header, 1, 2, 3 …          │ 512 …              │
 *   map     │  how many page tables point at the slot, and whether the swap cache has it
 *   table   │  what the swap cache holds for it: a folio, or the shadow of one that was there
 *
 * Slots of all devices are rows of one table; a device begins on a cluster's border, so a row number is a swap entry and its
 * low bits are the slot's place in its cluster. Row 0 is the first device's header, so 0 says "none".
 *
 * The swap cache is the column `table`: a folio stands in every slot that it has. A folio in it holds one reference a page and
 * its first slot in `private`.
 *
 * Differs: counts above 62 need no continuation pages; slots of tmpfs count as one reference. A shadow is stored as in the
 * page cache, its age (mod 2^32 pages) in a column beside it.
 * @kernel mm/swap_table.h swap_table_get (6.18)
 */
import { allocate, grow, i8, i32, type Table, u8, u16, u32 } from '../base/table.ts';
import type { FolioId, SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { FOLIO_WORDS, W_PRIVATE } from './mm_types.ts';
import type { ZsPool } from './zsmalloc.ts';
import { type Zswap, zswapInit } from './zswap.ts';

/** In `map`: the swap cache has the slot. @kernel include/linux/swap.h SWAP_HAS_CACHE (6.18) */
export const SWAP_HAS_CACHE = 0x4000;
/** In `map`: not to be used. @kernel include/linux/swap.h SWAP_MAP_BAD (6.18) */
export const SWAP_MAP_BAD = 0x3fff;
/** Most references of a slot. @kernel include/linux/swap.h SWAP_MAP_MAX (6.18) */
export const SWAP_MAP_MAX = 0x3ffe;

export const slotLayout = {
  map: u16('references by page tables, and SWAP_HAS_CACHE'),
  table: i32('swap cache: a folio; below 0: −1 − shadow; 0: nothing'),
  age: u32('age of the shadow'),
  zero: u8('the page is all zeros: nothing is stored'),
  memcg: i32('group that pays for the page swapped out; 0: none'),
  zswap: i32('entry of zswap; 0: none'),
  zram: i32('object of a device that compresses; 0: none'),
} as const;

/** Lists that a cluster can be on. @kernel include/linux/swap.h enum swap_cluster_flags (6.18) */
export const CLUSTER_FLAG_NONE = 0;
export const CLUSTER_FLAG_FREE = 1;
export const CLUSTER_FLAG_NONFULL = 2;
export const CLUSTER_FLAG_FRAG = 3;
export const CLUSTER_FLAG_FULL = 4;

export const clusterLayout = {
  count: u16('slots in use'),
  order: u8('order of the entries that it is for'),
  flag: u8('CLUSTER_FLAG_*: the list that it is on'),
  device: i8('row of its device'),
  next: i32('next cluster of the list, + 1; 0: none'),
  prev: i32('previous'),
  table: i32('frame of its swap table; 0: none'),
} as const;

export type SwapKind = 'disk' | 'ssd' | 'file' | 'zram';

/** One swap device. @kernel include/linux/swap.h struct swap_info_struct (6.18) */
export interface SwapDevice {
  readonly row: number;
  readonly kind: SwapKind;
  /** Higher is used first. */
  readonly prio: number;
  /** Its first slot, the header. */
  readonly base: number;
  /** Slots, the header among them, and usable ones. */
  readonly max: number;
  readonly pages: number;
  /** SWP_BLKDEV: a device, not a file, so that large entries are possible. */
  readonly blkdev: boolean;
  /** SWP_SOLIDSTATE: each CPU has clusters of its own. */
  readonly solidstate: boolean;
  /** SWP_SYNCHRONOUS_IO: a page is there when the call returns. */
  readonly synchronousIo: boolean;
  /** SWP_STABLE_WRITES: a page must not change while it is written. */
  readonly stableWrites: boolean;
  inuse: number;
  /** Not on the list of devices with room. */
  offlist: boolean;
  /** It has become full: clusters are searched for slots that the cache alone holds. */
  reclaimWork: boolean;
  /** Next slot by order, of a rotational device. */
  readonly next: Int32Array;
  /** First and last cluster of each list, + 1: free, full, then per order nonfull and frag. */
  readonly head: Int32Array;
  readonly tail: Int32Array;
}

export const LIST_FREE = 0;
export const LIST_FULL = 1;
export const listNonfull = (order: number): number => 2 + 2 * order;
export const listFrag = (order: number): number => 3 + 2 * order;

export interface Swap {
  readonly slots: Table<typeof slotLayout>;
  readonly clusters: Table<typeof clusterLayout>;
  nrSlots: number;
  /** log2 of a cluster's slots. @kernel mm/swap.h SWAPFILE_CLUSTER (6.18) */
  readonly clusterOrder: number;
  readonly devices: SwapDevice[];
  /** Devices with room, in the order in which they are tried. */
  readonly avail: SwapDevice[];
  /** By order: the slot where this CPU goes on; 0: nowhere. */
  readonly percpu: Int32Array;
  /** All usable slots; the free ones are lruvecs.node.swapPages. */
  totalPages: number;
  /** Rotational devices. */
  nrRotate: number;
  /** vm.page-cluster: log2 of the largest read-ahead window. */
  pageCluster: number;
  /** Read-ahead by addresses, where no device is rotational. */
  vmaReadahead: boolean;
  /** Read-ahead by slots: hits since the last miss, its slot and window. */
  raHits: number;
  raPrev: number;
  raPages: number;
  readonly zswap: Zswap;
  /** What devices that compress hold. */
  zram: ZsPool | null;
}

/** No swap at all. */
export const swapInit = (pmdOrder: number): Swap => ({
  slots: allocate(slotLayout, 1),
  clusters: allocate(clusterLayout, 1),
  nrSlots: 0,
  clusterOrder: pmdOrder,
  devices: [],
  avail: [],
  percpu: new Int32Array(pmdOrder + 1),
  totalPages: 0,
  nrRotate: 0,
  pageCluster: 3,
  vmaReadahead: true,
  raHits: 4,
  raPrev: 0,
  raPages: 0,
  zswap: zswapInit(),
  zram: null,
});

/** Makes room for slots up to `slots`. */
export function swapGrow(s: Swap, slots: number): void {
  grow(slotLayout, s.slots, slots);
  grow(clusterLayout, s.clusters, slots >>> s.clusterOrder);
  s.nrSlots = slots;
}

export const swapCluster = (s: Swap, entry: number): number => entry >>> s.clusterOrder;
/** The device of a slot. @kernel mm/swap.h __swap_entry_to_info (6.18) */
export const swapDevice = (s: Swap, entry: number): SwapDevice =>
  s.devices[s.clusters.device[entry >>> s.clusterOrder]] as SwapDevice;

/** First slot of a folio in the swap cache. @kernel include/linux/mm_types.h struct folio (6.18) */
export const folioSwap = (m: Machine, f: FolioId): SwapEntry => m.map[f * FOLIO_WORDS + W_PRIVATE] as SwapEntry;

/** References by page tables. @kernel mm/swapfile.c __swap_count (6.18) */
export const swapCount = (m: Machine, entry: SwapEntry): number => m.swap.slots.map[entry] & ~SWAP_HAS_CACHE;
