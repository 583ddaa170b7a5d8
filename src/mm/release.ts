/**
 * Kernels as data. A rule that has changed is a switch; its history says from which release which law holds, and where that
 * was read. A preset is the row of laws in force at one release: the same engine runs all of them.
 *
 * A law that a stable series took over later (6.1.x, 6.6.x) counts for the series as it was read: the source names the point
 * release.
 */
import { QuireError } from '../base/errors.ts';

/** Laws of one release. Every field is one named law or a yes or no. */
export interface Laws {
  /**
   * How a readahead window is chosen and filled.
   * `page`: order 0 only; a window whose mark is its first page swallows the next one.
   * `ondemand`: the order of the folio that was hit, plus 2; the same swallowing; one function for miss and hit.
   * `hit-order`: as before without swallowing; smallest orders respected; a stream of one page more asks for half a window.
   * `stored-order`: the order is kept in the file's state, starts at 0 on a miss and grows by 2 a hit; a window ends at a boundary of its order.
   * `stored-order-eof`: as before; a window that reaches the end of the file carries no mark.
   */
  readonly readahead: 'page' | 'ondemand' | 'hit-order' | 'stored-order' | 'stored-order-eof';
  /** Which folio of a window carries the mark: the first one at or after the marked page, or the one that holds it. */
  readonly readaheadMark: 'up' | 'down';
  /** May a file have folios of two pages? */
  readonly largeFolioOrder1: boolean;
  /** Is the end of a read rounded up to the smallest folio before it is looked up and read ahead? */
  readonly getPagesRoundsToMinOrder: boolean;
  /** Default window of rotating disks: 128 KiB, or twice the largest request. */
  readonly rotationalReadahead: 'fixed' | 'max-sectors';
  /** FADV_NOREUSE keeps reads from marking folios accessed. */
  readonly noreuse: boolean;
  /** Folio sizes of write(2) through iomap: one page, or by the bytes left. */
  readonly iomapWrite: 'page' | 'length';
  /** The same through generic_perform_write. */
  readonly genericWrite: 'page' | 'length';
  /** A large folio that truncation cuts: into folios of the smallest order, or halved towards the cut. */
  readonly truncateSplit: 'uniform' | 'non-uniform';
  /** tmpfs with huge=always or within_size: 2 MiB or 4 KiB; by length of the write; 2 MiB first. */
  readonly tmpfsHuge: 'pmd' | 'size-hint' | 'pmd-first';
  /** RWF_DONTCACHE. */
  readonly dropbehind: boolean;
  /** Does reclaim itself write dirty file folios (kswapd, ->writepage)? */
  readonly reclaimWritesFiles: boolean;
}

interface Change<T> {
  /** First release with this law. */
  readonly since: string;
  readonly law: T;
  /** File, function and the release where it was read, or the publication. */
  readonly source: string;
}
type History = { readonly [K in keyof Laws]: readonly Change<Laws[K]>[] };

export const history: History = {
  readahead: [
    { since: '5.15', law: 'page', source: 'mm/readahead.c ondemand_readahead (5.15.100)' },
    { since: '5.18', law: 'ondemand', source: 'mm/readahead.c page_cache_ra_order (5.19.0, 6.1.192, 6.6.63)' },
    { since: '6.10', law: 'hit-order', source: 'mm/readahead.c page_cache_sync_ra (6.12.117)' },
    { since: '6.16', law: 'stored-order', source: 'mm/readahead.c page_cache_async_ra (6.18.35)' },
    { since: '7.0', law: 'stored-order-eof', source: 'mm/readahead.c page_cache_ra_order (7.x copy)' },
  ],
  readaheadMark: [
    { since: '5.15', law: 'up', source: 'mm/readahead.c ra_alloc_folio (5.19.0)' },
    { since: '6.1', law: 'down', source: 'mm/readahead.c ra_alloc_folio (6.1.192; mainline 6.8)' },
  ],
  largeFolioOrder1: [
    { since: '5.15', law: false, source: 'mm/readahead.c page_cache_ra_order (5.19.0, 6.1.192)' },
    { since: '6.6', law: true, source: 'mm/readahead.c page_cache_ra_order (6.6.63; mainline 6.9)' },
  ],
  getPagesRoundsToMinOrder: [
    { since: '5.15', law: false, source: 'mm/filemap.c filemap_get_pages (6.12.117)' },
    { since: '6.18', law: true, source: 'mm/filemap.c filemap_get_pages (6.18.35)' },
  ],
  rotationalReadahead: [
    { since: '5.15', law: 'fixed', source: 'block/blk-settings.c blk_apply_bdi_limits (6.12.117)' },
    { since: '6.17', law: 'max-sectors', source: 'block/blk-settings.c blk_apply_bdi_limits (6.18.35)' },
  ],
  noreuse: [
    { since: '5.15', law: false, source: 'mm/fadvise.c generic_fadvise (6.1.192)' },
    { since: '6.3', law: true, source: 'mm/fadvise.c generic_fadvise (6.6.63)' },
  ],
  iomapWrite: [
    { since: '5.15', law: 'page', source: 'fs/iomap/buffered-io.c iomap_write_begin (6.1.192)' },
    { since: '6.6', law: 'length', source: 'fs/iomap/buffered-io.c iomap_get_folio (6.6.63)' },
  ],
  genericWrite: [
    { since: '5.15', law: 'page', source: 'mm/filemap.c generic_perform_write (6.6.63)' },
    { since: '6.11', law: 'length', source: 'mm/filemap.c generic_perform_write (6.12.117)' },
  ],
  truncateSplit: [
    { since: '5.15', law: 'uniform', source: 'mm/truncate.c truncate_inode_partial_folio (6.12.117)' },
    { since: '6.15', law: 'non-uniform', source: 'mm/truncate.c truncate_inode_partial_folio (6.18.35)' },
  ],
  tmpfsHuge: [
    { since: '5.15', law: 'pmd', source: 'mm/shmem.c shmem_alloc_and_add_folio (6.12.117)' },
    { since: '6.14', law: 'size-hint', source: 'commit acd7ccb284b8' },
    { since: '6.17', law: 'pmd-first', source: 'mm/shmem.c shmem_huge_global_enabled (6.18.35)' },
  ],
  dropbehind: [
    { since: '5.15', law: false, source: 'mm/filemap.c filemap_read (6.12.117)' },
    { since: '6.14', law: true, source: 'mm/filemap.c filemap_end_dropbehind (6.18.35)' },
  ],
  reclaimWritesFiles: [
    { since: '5.15', law: true, source: 'mm/vmscan.c pageout (6.12.117)' },
    { since: '6.16', law: false, source: 'mm/vmscan.c pageout (6.18.35)' },
  ],
};

export const RELEASE_NAMES = ['5.15', '5.18', '6.1', '6.6', '6.12', '6.18', '7.3'] as const;
export type ReleaseName = (typeof RELEASE_NAMES)[number];
export interface Release extends Laws {
  readonly name: ReleaseName;
}

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
  Object.fromEntries(RELEASE_NAMES.map((name) => [name, preset(name)])) as { readonly [N in ReleaseName]: Release },
);

/** The preset of that name. */
export function release(name: string): Release {
  const found = RELEASE_NAMES.find((known) => known === name);
  if (found === undefined) {
    throw new QuireError('EINVAL', `kernel ${name}: no such preset; there are ${RELEASE_NAMES.join(', ')}`);
  }
  return releases[found];
}
