/**
 * A machine: one record of tables. No module-level state: two machines can run side by side. The engine is given calls and
 * answers; it reads no clock, draws no random number and waits for nothing. Where the kernel would sleep, a call returns −1
 * and `wait` names the folio; the face calls again when the I/O has ended.
 */
import type { PageTableGeometry } from '../arch/pgtable.ts';
import type { TlbFlushes } from '../arch/tlbflush.ts';
import type { Xarray } from '../base/xarray_node.ts';
import type { AddressSpaceOperations, AddressSpaces, Files } from './address_space.ts';
import type { AnonVmas } from './anon_vma.ts';
import type { Balloon } from './balloon_compaction.ts';
import type { ReadBatch } from './filemap.ts';
import type { Hugetlb } from './hugetlb.ts';
import type { FolioId, MappingId, SwapEntry } from './ids.ts';
import type { Khugepaged } from './khugepaged.ts';
import type { Collapse } from './khugepaged_collapse.ts';
import type { LruGen } from './lru_gen.ts';
import type { MemcgRules, Memcgs } from './memcontrol.ts';
import type { LayoutName } from './memmap.ts';
import type { Poison } from './memory_failure.ts';
import type { DevPagemap } from './memremap.ts';
import type { MlockBatch } from './mlock.ts';
import type { Lruvecs } from './mm_inline.ts';
import type { Mms } from './mm_struct.ts';
import type { MemoryMap } from './mm_types.ts';
import type { Zones } from './mmzone.ts';
import type { PagePools } from './page_pool.ts';
import type { PageTables } from './pgtable.ts';
import type { Release } from './release.ts';
import type { RmapWalk } from './rmap_walk.ts';
import type { Slabs } from './slab.ts';
import type { FolioBatches } from './swap.ts';
import type { Swap } from './swap_table.ts';
import type { Thp } from './thp.ts';
import type { VmFault } from './vm_fault.ts';
import type { Vmas } from './vma.ts';
import type { Vmalloc } from './vmalloc.ts';

/** Sizes in bytes. */
export interface MachineConfig {
  readonly release: Release;
  /** 4096, 16384 or 65536. */
  readonly pageSize: number;
  readonly memory: number;
  /** CONFIG_TRANSPARENT_HUGEPAGE: without it no file has large folios. */
  readonly thp: boolean;
  /** vm.swappiness. */
  readonly swappiness: number;
  /** vm.dirty_ratio and vm.dirty_background_ratio in percent. */
  readonly dirtyRatio: number;
  readonly dirtyBackgroundRatio: number;
  /** Reclaim by generations (CONFIG_LRU_GEN) in place of active and inactive lists. */
  readonly lru?: 'classic' | 'mglru';
  /** How closely memory groups are kept; absent: as the kernel does it. */
  readonly memcgRules?: MemcgRules;
  /** Layout of the memory map; absent: `overlay`. */
  readonly memmap?: LayoutName;
  /** CONFIG_NO_PAGE_MAPCOUNT: no map counts by page. */
  readonly noPageMapcount?: boolean;
  /** Memory of devices, in bytes, beyond `memory`. */
  readonly deviceMemory?: number;
  /** Shape of the page tables; absent: x86-64 with 4 KiB pages, arm64 with larger ones. */
  readonly pageTables?: PageTableGeometry;
}

/** Where Machine.cached counts deleted pages: after the orders. */
export const PAGES_DELETED = 16;

/** How the engine reaches devices. A face answers with the end-of-I/O calls of filemap.ts, at once or later. */
export interface Io {
  /**
   * Read [offset, offset + length) bytes of the file into its cached, locked folios; answer with `endRead`. `ahead`: nobody
   * waits for it.
   */
  read(mapping: MappingId, offset: number, length: number, ahead: boolean): void;
  /**
   * Where a read of one page that somebody waits for is answered at once, and nothing else comes of it: its virtual ns, and the call
   * that counts `n` of them which nobody asked `read` for.
   */
  readonly pageReads?: { readonly ns: number; count(n: number): void };
  /** Write bytes of folios that are under write-back; answer with `endWrite`. */
  write(mapping: MappingId, offset: number, length: number): void;
  /**
   * Reclaim sleeps until write-back of this folio has ended, or (0) of 32 pages or all there is. False, or no such
   * method: time cannot pass while the engine works, and reclaim does without.
   */
  waitWriteback?(folio: FolioId): boolean;
  /** Read `nr` slots into a locked folio; answer with endSwapRead (page_io.ts). Absent: it is there at once. */
  swapRead?(folio: FolioId, entry: SwapEntry, nr: number, ahead: boolean): void;
  /** Write a folio that is under write-back to its `nr` slots; answer with endSwapWrite. Absent: it is written at once. */
  swapWrite?(folio: FolioId, entry: SwapEntry, nr: number): void;
  /** Bytes that one page of a folio takes when it is compressed. Absent: by the ratio that is set. */
  compress?(folio: FolioId, page: number): number;
}

/** Who keeps real bytes for the frames: told where the kernel copies them. */
export interface FolioBytes {
  /** Bytes [offset, offset + length) of the folio go to the read in progress. @kernel lib/iov_iter.c copy_folio_to_iter (6.18) */
  copyToReader(folio: FolioId, offset: number, length: number): void;
  /** What the folio holds moves to another one of its size. @kernel mm/util.c folio_copy (6.18) */
  copyFolio(to: FolioId, from: FolioId): void;
}

/** Who listens to what the page cache does, or to some of it; null costs one comparison an event. Names are those of the tracepoints. */
export interface Tracer {
  addToPageCache(mapping: MappingId, index: number, order: number, folio: FolioId): void;
  deleteFromPageCache(mapping: MappingId, index: number, order: number, folio: FolioId): void;
  syncRa(mapping: MappingId, index: number, req: number): void;
  asyncRa(mapping: MappingId, index: number, req: number): void;
  raOrder(mapping: MappingId, index: number, order: number, size: number, asyncSize: number): void;
  raUnbounded(mapping: MappingId, index: number, nr: number, lookahead: number): void;
  filemapFault(mapping: MappingId, index: number): void;
}

export interface Machine {
  // Configuration: set by machine(), never changed after.
  readonly config: MachineConfig;
  readonly release: Release;
  readonly pageShift: number;
  /** 1 / page size: a product with it is exact, and cheaper than a quotient. */
  readonly pagesPerByte: number;
  /** Largest order of the page cache. @kernel include/linux/pagemap.h MAX_PAGECACHE_ORDER (6.18) */
  readonly maxPagecacheOrder: number;
  io: Io;
  tracer: Partial<Tracer> | null;
  /** Null: frames have no contents. */
  bytes: FolioBytes | null;
  /** Who is told of TLB flushes (mmu_gather.ts); null: nobody. */
  tlb: TlbFlushes | null;

  // State.
  readonly map: MemoryMap;
  readonly zones: Zones;
  readonly lruvecs: Lruvecs;
  /** Generations, where reclaim works by them. */
  readonly lruGen: LruGen | null;
  readonly batches: FolioBatches;
  readonly memcgs: Memcgs;
  readonly swap: Swap;
  readonly pages: Xarray;
  readonly geometry: PageTableGeometry;
  readonly mms: Mms;
  readonly vmas: Vmas;
  readonly anonVmas: AnonVmas;
  readonly mlock: MlockBatch;
  readonly rmap: RmapWalk;
  readonly khugepaged: Khugepaged;
  readonly collapse: Collapse;
  /** A bit a frame: its page may hold something other than zeros. */
  readonly written: Int32Array;
  readonly pt: PageTables;
  readonly slab: Slabs;
  readonly vmalloc: Vmalloc;
  readonly pagePools: PagePools;
  readonly balloon: Balloon;
  readonly hugetlb: Hugetlb;
  /** Ranges of device memory, gone ones with them. */
  readonly pgmaps: DevPagemap[];
  readonly poison: Poison;
  readonly spaces: AddressSpaces;
  readonly files: Files;
  /** Rows of `spaces` and `files` in use, row 0 (none) included. */
  nrSpaces: number;
  nrFiles: number;
  readonly aops: AddressSpaceOperations[];
  readonly vmstat: Float64Array;
  /** Folios of files ever added to the page cache, by order; pages ever deleted from it at PAGES_DELETED. */
  readonly cached: Float64Array;
  /** Controls of transparent huge pages. */
  readonly thp: Thp;
  /** Counters of each size: see MTHP_STATS. */
  readonly mthp: Float64Array;
  /** Scratch of the read in progress. */
  readonly readBatch: ReadBatch;
  /** The fault being handled. */
  readonly vmf: VmFault;
  /** Loads and stores are a real program's: what is stored is not zero. False: only zeros are stored. */
  contents: boolean;
  /** Not every store is told (a TLB answers most): no page counts as zero. */
  contentsUnknown: boolean;
  /** Virtual nanoseconds; set by the face before a call. */
  now: number;
  /** The group that the running task charges. */
  currentMemcg: number;
  /** What is read now is read ahead of use. */
  ahead: boolean;
  /** Folios whose write-back failed since the face last looked. */
  writeErrors: number;
  /** The folio that the last call which returned −1 waits for. */
  wait: FolioId;
}
