/**
 * Kernels as data. A rule that has changed is a switch; its history says from which release which law holds, and where that
 * was read. A preset is the row of laws in force at one release: the same engine runs all of them.
 *
 * A law that a stable series took over later (6.1.192, 6.6.63) counts for the series as it was read: the source names the
 * point release. What has no effect on a replay is no switch.
 */
import { QuireError } from '../base/errors.ts';

/** Laws of one release. Every field is one named law, a number, or a yes or no. */
export interface Laws {
  /**
   * How a readahead window is chosen and filled.
   * `page`: order 0; one decision for miss and hit; a window whose mark would be on its first page swallows the next one.
   * `ondemand`: as `page`, with the order of the folio that was hit plus 2, and order 2 on a miss.
   * `hit-order`: miss and hit decided apart, nothing swallowed, smallest orders respected; order of the folio hit plus 2.
   * `stored-order`: the order is kept with the file, starts at 0 on a miss and grows by 2 a hit; a window ends at a boundary of its order.
   * `stored-order-eof`: as before; a window that reaches the end of the file carries no mark.
   */
  readonly readahead: 'page' | 'ondemand' | 'hit-order' | 'stored-order' | 'stored-order-eof';
  /** The mark's page and the page that a hit expects are rounded to the folio: up, or down. */
  readonly readaheadMark: 'up' | 'down';
  /** On a hit the window may become smaller than the last one, when the limit fell meanwhile. */
  readonly readaheadMayShrink: boolean;
  /** Search for the next gap when there is none: the last page looked at, or the page after it. */
  readonly nextMissFull: 'last' | 'beyond';
  /** The same for the search downwards. */
  readonly prevMissFull: 'last' | 'beyond';
  /** May a file have folios of two pages? */
  readonly largeFolioOrder1: boolean;
  /** Default window of a rotating disk that names no optimal size: 128 KiB, or twice its largest request. */
  readonly rotationalReadahead: 'fixed' | 'max-sectors';

  /** A read at or past the end of the file: returns 0, or first makes and fills the page there. */
  readonly readPastEof: 'creates-page' | 'returns';
  /** The end of a read is rounded up to the smallest folio before it is looked up and read ahead. */
  readonly getPagesRoundsToMinOrder: boolean;
  /** When the position after the last byte read is kept: after every folio, or at the end of the call. */
  readonly prevPos: 'folio' | 'call';
  /**
   * The first folio of a batch is marked accessed unless it was the last one read: compared by the page of the position
   * (`page`: an aligned sequential read never marks it), or by the folio of the byte before (`folio`).
   */
  readonly markAccessedFirst: 'page' | 'folio';
  /** Folios of a batch: reads, LRU additions and moves, truncation. */
  readonly folioBatch: 15 | 31;
  /** FADV_NOREUSE: accesses through mappings of the open file do not count in reclaim. read(2) is not concerned. */
  readonly noreuse: boolean;
  /** RWF_DONTCACHE. */
  readonly dropbehind: boolean;

  /** A fault in MADV_HUGEPAGE memory of a file: as any other, a window of 2 MiB folios, or of the mapping's largest. */
  readonly hugepageReadahead: 'none' | 'pmd' | 'mapping-max';
  /** A fault in executable memory: read-around, or forward only from the fault, even if the memory is MADV_RANDOM. */
  readonly execReadahead: 'around' | 'forward';
  /** A fault on a cached folio lowers mmap_miss: always; unless it is locked; and not in MADV_SEQUENTIAL or executable memory. */
  readonly mmapMissHit: 'always' | 'unlocked' | 'unlocked-plain';
  /** Fault-around lowers mmap_miss: for every page; for pages outside the working set; once for the fault it satisfies. */
  readonly mmapMissAround: 'every-page' | 'not-workingset' | 'satisfied-fault';
  /** What fault-around maps of a large folio. */
  readonly faultAround: 'window' | 'whole-folio';
  /** What a fault maps of a large folio: a page, the folio if it is tmpfs, the folio. */
  readonly finishFault: 'page' | 'shmem' | 'whole-folio';

  /** Folio sizes of write(2) through iomap: one page, or by the bytes left. */
  readonly iomapWrite: 'page' | 'length';
  /** The same through generic_perform_write. */
  readonly genericWrite: 'page' | 'length';
  /** What iomap knows of dirt: the folio, all of whose uptodate blocks are then written, or its blocks. */
  readonly iomapDirty: 'folio' | 'block';
  /** Invalidating a part of a large iomap folio frees its block state, so that a dirty folio can be split. */
  readonly iomapInvalidateFreesState: boolean;
  /** tmpfs with huge=: 2 MiB or a page; by length of the write; the largest that fits and is free (faults: 2 MiB); the same for faults too. */
  readonly tmpfsHuge: 'pmd' | 'size-hint' | 'pmd-first' | 'all-orders';
  /** huge=within_size: the file must hold the folio already, or hold it with what is being written. */
  readonly tmpfsWithinSize: 'size' | 'write-end';
  /** A large folio that truncation cuts: into folios of the smallest order, or halved towards the cut. */
  readonly truncateSplit: 'uniform' | 'non-uniform';
  /** A large folio that truncation cannot split is at least unmapped (not on tmpfs). */
  readonly splitFailureUnmaps: boolean;
  /** What a written large folio takes from a write-back budget: one, or its pages. */
  readonly writebackBudget: 'folios' | 'pages';

  /** Sizes of anonymous memory: a page or a huge page, or all between. */
  readonly anonFolios: 'pmd' | 'all-orders';
  /** A store after a fork reuses a page of a large folio: with one reference to the folio, or with references of one owner alone. */
  readonly cowReuse: 'one-reference' | 'one-owner';
  /** MADV_DONTNEED frees page tables that it empties (x86-64). */
  readonly dontneedFreesTables: boolean;
  /** Blocks of entries that map one large folio carry the contiguous hint (arm64). */
  readonly contpte: boolean;

  /** What the daemon makes: huge pages, or the largest size that is allowed and full enough. */
  readonly khugepagedOrders: 'pmd' | 'all-orders';

  /** kswapd writes dirty file folios through ->writepage when a node is full of them; else they are only activated. */
  readonly reclaimWritesFiles: boolean;
  /** Reclaim of a version 1 group that meets only unqueued dirty folios waits for write-back. */
  readonly memcgDirtyThrottle: boolean;
  /** Pages that a charge to a memory group takes at a time, and most pages of the CPU's stock. */
  readonly memcgChargeBatch: 32 | 64;
  /** When the statistics by which reclaim and refaults judge a group are brought up to date: at each reclaim too, or every two seconds alone. */
  readonly memcgStatsFlush: 'reclaim' | 'periodic';
  /** What tips the balance of file and anonymous memory: pages written out; I/O and folios kept; the same, decaying a round. */
  readonly lruCost: 'pageout' | 'io-and-rotation' | 'counters';
  /** An allocation that takes from another migrate type: one routine, or whole blocks first and single ones after. */
  readonly buddyFallback: 'steal' | 'claim';
  /** Compaction moves large folios. */
  readonly compactsLargeFolios: boolean;
}

/** How well a law is known: read in the kernel's source, from a publication, or neither. */
export type Sure = 'read' | 'literature' | 'unverified';

export interface Change<T> {
  /** First release with this law; 5.15 stands for itself and all before. */
  readonly since: string;
  readonly law: T;
  /** File, function and the releases where the law was read, or the publication. */
  readonly source: string;
  /** Of the law. The release where it began is read only when the source names it. */
  readonly sure: Sure;
}
export type History = { readonly [K in keyof Laws]: readonly Change<Laws[K]>[] };

const change =
  (sure: Sure) =>
  <T>(since: string, law: T, source: string): Change<T> => ({ since, law, source, sure });
const read = change('read');
const literature = change('literature');

/** All changes, oldest first. */
export const history: History = {
  readahead: [
    read('5.15', 'page', 'mm/readahead.c ondemand_readahead (5.15.100)'),
    read('5.18', 'ondemand', 'mm/readahead.c ondemand_readahead, page_cache_ra_order (5.19.0, 6.1.192, 6.6.63)'),
    read('6.10', 'hit-order', 'mm/readahead.c page_cache_async_ra (6.12.117)'),
    read('6.16', 'stored-order', 'mm/readahead.c page_cache_async_ra (6.18.35)'),
    read('7.0', 'stored-order-eof', 'mm/readahead.c page_cache_ra_order (7.3.4; absent in 6.18.35)'),
  ],
  readaheadMark: [
    read('5.15', 'up', 'mm/readahead.c ra_alloc_folio (5.19.0)'),
    read('6.1', 'down', 'mm/readahead.c ra_alloc_folio (6.1.192, 6.6.31, 6.12.117; mainline 6.8)'),
  ],
  readaheadMayShrink: [
    read('5.15', true, 'mm/readahead.c ondemand_readahead (5.15.100, 5.19.0)'),
    read(
      '6.1',
      false,
      'mm/readahead.c ondemand_readahead (6.1.192), page_cache_async_ra (6.12.117); not yet in 6.6.63; mainline 6.13',
    ),
  ],
  nextMissFull: [
    read('5.15', 'last', 'mm/filemap.c page_cache_next_miss (5.15.100, 6.1.192, 6.6.63)'),
    read('6.12', 'beyond', 'mm/filemap.c page_cache_next_miss (6.12.117, 6.18.35)'),
  ],
  prevMissFull: [
    read('5.15', 'last', 'mm/filemap.c page_cache_prev_miss (5.15.100 to 6.18.35)'),
    read('7.0', 'beyond', 'mm/filemap.c page_cache_prev_miss (7.3.4; absent in 6.18.35)'),
  ],
  largeFolioOrder1: [
    read('5.15', false, 'mm/readahead.c page_cache_ra_order (5.19.0, 6.1.192, 6.6.31)'),
    read('6.6', true, 'mm/readahead.c page_cache_ra_order (6.6.63, 6.12.117; mainline 6.9)'),
  ],
  rotationalReadahead: [
    read('5.15', 'fixed', 'block/blk-settings.c blk_apply_bdi_limits (6.12.117)'),
    read('6.17', 'max-sectors', 'block/blk-settings.c blk_apply_bdi_limits (6.18.35)'),
  ],
  readPastEof: [
    read('5.15', 'creates-page', 'mm/filemap.c filemap_read (5.15.100)'),
    read('5.17', 'returns', 'mm/filemap.c filemap_read (5.19.0)'),
  ],
  getPagesRoundsToMinOrder: [
    read('5.15', false, 'mm/filemap.c filemap_get_pages (6.12.117)'),
    read('6.18', true, 'mm/filemap.c filemap_get_pages (6.18.35)'),
  ],
  prevPos: [
    read('5.15', 'folio', 'mm/filemap.c filemap_read (5.15.100, 5.19.0, 6.1.192)'),
    read('6.6', 'call', 'mm/filemap.c filemap_read (6.6.63)'),
  ],
  markAccessedFirst: [
    read('5.15', 'page', 'mm/filemap.c filemap_read (5.15.100)'),
    read('5.19', 'folio', 'mm/filemap.c filemap_read, pos_same_folio (5.19.0)'),
  ],
  folioBatch: [
    read('5.15', 15, 'include/linux/pagevec.h PAGEVEC_SIZE (5.15.100, 6.6.63)'),
    read('6.9', 31, 'include/linux/pagevec.h PAGEVEC_SIZE (6.18.35)'),
  ],
  noreuse: [
    read('5.15', false, 'mm/fadvise.c generic_fadvise (5.15.100, 5.19.0)'),
    read('6.3', true, 'mm/fadvise.c generic_fadvise (6.6.63), include/linux/mm_inline.h vma_has_recency (6.18.35)'),
  ],
  dropbehind: [
    read('5.15', false, 'mm/filemap.c filemap_get_pages (6.12.117)'),
    read('6.14', true, 'mm/filemap.c filemap_end_dropbehind (6.18.35)'),
  ],
  hugepageReadahead: [
    read('5.15', 'none', 'mm/filemap.c do_sync_mmap_readahead (5.15.100)'),
    read('5.18', 'pmd', 'mm/filemap.c do_sync_mmap_readahead (5.19.0 to 6.18.35)'),
    read('7.0', 'mapping-max', 'mm/filemap.c do_sync_mmap_readahead (7.3.4; absent in 6.18.35)'),
  ],
  execReadahead: [
    read('5.15', 'around', 'mm/filemap.c do_sync_mmap_readahead (5.15.100 to 6.12.117)'),
    read('6.16', 'forward', 'mm/filemap.c do_sync_mmap_readahead (6.18.35)'),
  ],
  mmapMissHit: [
    read('5.15', 'always', 'mm/filemap.c do_async_mmap_readahead (5.15.100 to 6.12.117)'),
    read('6.18', 'unlocked', 'mm/filemap.c do_async_mmap_readahead (6.18.35)'),
    read('7.0', 'unlocked-plain', 'mm/filemap.c do_async_mmap_readahead (7.3.4; absent in 6.18.35)'),
  ],
  mmapMissAround: [
    read('5.15', 'every-page', 'mm/filemap.c filemap_map_pages (5.15.100, 6.1.192, 6.6.63)'),
    read('6.12', 'not-workingset', 'mm/filemap.c filemap_map_folio_range (6.12.117, 6.18.35)'),
    read('7.0', 'satisfied-fault', 'mm/filemap.c filemap_map_pages (7.3.4; absent in 6.18.35)'),
  ],
  faultAround: [
    read('5.15', 'window', 'mm/filemap.c filemap_map_pages (5.15.100 to 6.12.117)'),
    read('6.18', 'whole-folio', 'mm/filemap.c filemap_map_folio_range (6.18.35)'),
  ],
  finishFault: [
    read('5.15', 'page', 'mm/memory.c finish_fault (5.15.100, 6.1.192, 6.6.63)'),
    read('6.10', 'shmem', 'mm/memory.c finish_fault (6.12.117)'),
    read('6.18', 'whole-folio', 'mm/memory.c finish_fault (6.18.35)'),
  ],
  iomapWrite: [
    read('5.15', 'page', 'fs/iomap/buffered-io.c iomap_write_iter (5.15.100, 6.1.192)'),
    read('6.6', 'length', 'fs/iomap/buffered-io.c iomap_write_iter, iomap_get_folio (6.6.63)'),
  ],
  genericWrite: [
    read('5.15', 'page', 'mm/filemap.c generic_perform_write (5.15.100, 5.19.0, 6.6.63)'),
    read('6.11', 'length', 'mm/filemap.c generic_perform_write (6.12.117)'),
  ],
  iomapDirty: [
    read('5.15', 'folio', 'fs/iomap/buffered-io.c __iomap_write_end (5.15.100, 6.1.192)'),
    read('6.6', 'block', 'fs/iomap/buffered-io.c __iomap_write_end (6.6.63)'),
  ],
  iomapInvalidateFreesState: [
    read('5.15', true, 'fs/iomap/buffered-io.c iomap_invalidate_folio (5.19.0)'),
    read('6.1', false, 'fs/iomap/buffered-io.c iomap_invalidate_folio (6.1.192, 6.6.63, 6.18.35)'),
  ],
  tmpfsHuge: [
    read('5.15', 'pmd', 'mm/shmem.c shmem_is_huge (5.15.100, 6.6.63), shmem_huge_global_enabled (6.12.117)'),
    literature('6.14', 'size-hint', 'commit acd7ccb284b8'),
    read('6.17', 'pmd-first', 'mm/shmem.c shmem_huge_global_enabled (6.18.35)'),
    read('7.0', 'all-orders', 'mm/shmem.c shmem_huge_global_enabled (7.3.4; absent in 6.18.35)'),
  ],
  tmpfsWithinSize: [
    read('5.15', 'size', 'mm/shmem.c shmem_is_huge (5.15.100, 6.6.63)'),
    read('6.12', 'write-end', 'mm/shmem.c shmem_huge_global_enabled (6.12.117, 6.18.35)'),
  ],
  truncateSplit: [
    read('5.15', 'uniform', 'mm/truncate.c truncate_inode_partial_folio (5.19.0, 6.6.63, 6.12.117)'),
    read('6.15', 'non-uniform', 'mm/truncate.c truncate_inode_partial_folio (6.18.35, 7.3.4)'),
  ],
  splitFailureUnmaps: [
    read('5.15', false, 'mm/truncate.c truncate_inode_partial_folio (5.15.100, 5.19.0, 6.6.63)'),
    read('6.18', true, 'mm/truncate.c try_folio_split_or_unmap (6.18.35)'),
  ],
  writebackBudget: [
    read('5.15', 'folios', 'mm/page-writeback.c write_cache_pages (5.15.100, 6.1.192)'),
    read('6.6', 'pages', 'mm/page-writeback.c write_cache_pages (6.6.63), writeback_iter (6.12.117)'),
  ],
  anonFolios: [
    read('5.15', 'pmd', 'mm/memory.c do_anonymous_page (5.15.100, 5.19.0, 6.6.63)'),
    literature('6.8', 'all-orders', '"Multi-size THP for anonymous memory" (Roberts, 2023-12-07); so in 6.18.35'),
  ],
  cowReuse: [
    read('5.15', 'one-reference', 'mm/memory.c do_wp_page (5.15.100, 5.19.0, 6.6.63)'),
    literature(
      '6.15',
      'one-owner',
      '"mm: MM owner tracking for large folios (!hugetlb)" (Hildenbrand, 2025-03-03); so in 6.18.35',
    ),
  ],
  dontneedFreesTables: [
    read('5.15', false, 'mm/memory.c zap_pte_range (5.15.100, 5.19.0, 6.6.63)'),
    literature(
      '6.14',
      true,
      '"synchronously scan and reclaim empty user PTE pages" (Zheng, 2024-12-04); so in 6.18.35',
    ),
  ],
  contpte: [
    literature('5.15', false, '"Transparent Contiguous PTEs for User Mappings" (Roberts, 2024-02-15)'),
    literature(
      '6.9',
      true,
      '"Transparent Contiguous PTEs for User Mappings" (Roberts, 2024-02-15); so in 6.18.35 arch/arm64/mm/contpte.c',
    ),
  ],
  reclaimWritesFiles: [
    read('5.15', true, 'mm/vmscan.c pageout (5.15.100, 6.1.192, 6.12.117)'),
    read('6.16', false, 'mm/vmscan.c pageout (6.18.35, 7.3.4)'),
  ],
  memcgDirtyThrottle: [
    read('5.15', false, 'mm/vmscan.c shrink_inactive_list (5.15.100)'),
    read('6.1', true, 'mm/vmscan.c shrink_inactive_list (6.1.192 to 6.18.35)'),
  ],
  memcgChargeBatch: [
    read('5.15', 32, 'include/linux/memcontrol.h MEMCG_CHARGE_BATCH (5.15.100, 5.19.0)'),
    read('6.1', 64, 'include/linux/memcontrol.h MEMCG_CHARGE_BATCH (6.6.63, 6.18.35; mainline 6.1)'),
  ],
  memcgStatsFlush: [
    read('5.15', 'reclaim', 'mm/vmscan.c shrink_node, prepare_scan_control (5.15.100, 5.19.0, 6.6.63)'),
    literature(
      '6.12',
      'periodic',
      '"memcg: use ratelimited stats flush in the reclaim" (Butt, 2024-08-13); so in 6.18.35',
    ),
  ],
  lruCost: [
    read('5.15', 'pageout', 'mm/swap.c lru_note_cost (5.15.100, 6.1.192)'),
    read('6.6', 'io-and-rotation', 'mm/swap.c lru_note_cost (6.6.63 to 6.18.35)'),
    read('7.0', 'counters', 'mm/vmscan.c prepare_scan_control (7.3.4; absent in 6.18.35)'),
  ],
  khugepagedOrders: [
    read('5.15', 'pmd', 'mm/khugepaged.c hpage_collapse_scan_pmd (6.18.35)'),
    read('7.3', 'all-orders', 'mm/khugepaged.c mthp_collapse (7.3.4; absent in 6.18.35)'),
  ],
  buddyFallback: [
    read('5.15', 'steal', 'mm/page_alloc.c __rmqueue_fallback (5.15.100, 6.1.192, 6.6.63)'),
    read('6.12', 'claim', 'mm/page_alloc.c __rmqueue_claim, __rmqueue_steal (6.12.117, 6.18.35; mainline 6.15)'),
  ],
  compactsLargeFolios: [
    read('5.15', false, 'mm/compaction.c isolate_migratepages_block (5.15.100, 6.1.192, 6.6.63)'),
    read('6.12', true, 'mm/compaction.c skip_isolation_on_order (6.12.117, 6.18.35)'),
  ],
};

export const RELEASE_NAMES = ['5.15', '5.18', '6.1', '6.6', '6.12', '6.18', '7.3'] as const;
export type ReleaseName = (typeof RELEASE_NAMES)[number];
export interface Release extends Laws {
  readonly name: ReleaseName;
}

/** The point release whose text stands behind a preset. 5.18 was read as 5.19. */
export const readIn: Readonly<Record<ReleaseName, string>> = {
  '5.15': '5.15.100',
  '5.18': '5.19.0',
  '6.1': '6.1.192',
  '6.6': '6.6.63',
  '6.12': '6.12.117',
  '6.18': '6.18.35',
  '7.3': '7.3.4',
};

/** Orders two releases by age, point releases included: negative when `a` is older. */
export function compareReleases(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const d = (left[i] ?? 0) - (right[i] ?? 0);
    if (d !== 0) return d;
  }
  return 0;
}

/** Is the release `since` or newer? */
export const atLeast = (r: { readonly name: string }, since: string): boolean => compareReleases(r.name, since) >= 0;

/** Of changes listed oldest first, the one in force at a release. */
export function inForce<T extends { readonly since: string }>(changes: readonly T[], name: string): T | undefined {
  return changes.findLast((c) => compareReleases(c.since, name) <= 0);
}

function preset(name: ReleaseName): Release {
  const laws = Object.entries(history).map(([key, changes]) => [key, inForce<Change<unknown>>(changes, name)?.law]);
  return Object.freeze({ name, ...Object.fromEntries(laws) }) as Release;
}

export const releases = Object.freeze(
  Object.fromEntries(RELEASE_NAMES.map((name) => [name, preset(name)])),
) as Readonly<Record<ReleaseName, Release>>;

/** The preset of that name. */
export function release(name: string): Release {
  const found = RELEASE_NAMES.find((known) => known === name);
  if (found === undefined) {
    throw new QuireError('EINVAL', `kernel ${name}: no such preset; there are ${RELEASE_NAMES.join(', ')}`);
  }
  return releases[found];
}
