/**
 * Taking pages out of a file's cache: truncation and hole punching, which throw contents away whatever they are, and
 * invalidation, which drops only what can be read again.
 *
 * A large folio that a truncation cuts is zeroed inside the cut, then split so that the part outside stays in the largest
 * pieces possible. A folio that cannot be split stays whole when it is dirty, and goes when it is clean.
 */
import { xaEraseValue, xaFind, xaNext } from '../base/xarray.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { filemapGetFolio, filemapReleaseFolio, filemapRemoveFolio, folioUnlock, opsOf } from './filemap.ts';
import { folioSplit } from './huge_memory.ts';
import { type FolioId, type MappingId, PGOFF_MAX } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  folioIndex,
  folioNextIndex,
  folioNrPages,
  folioOrder,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioTest,
} from './mm_types.ts';
import { PG } from './page_flags.ts';
import { filemapFdatawriteRange, filemapWriteAndWaitRange, folioCancelDirty } from './page_writeback.ts';
import { folioMapcount } from './rmap.ts';
import { TTU_IGNORE_MLOCK, TTU_SPLIT_HUGE_PMD, tryToUnmap } from './rmap_walk.ts';
import { deactivateFileFolio, folioPut, lruAddDrain } from './swap.ts';
import { unmapMappingFolio, unmapMappingPages } from './unmap_mapping.ts';

/** Takes a locked folio out for good; the lock and the caller's reference are used up. @kernel mm/truncate.c truncate_inode_folio (6.18) */
export function truncateInodeFolio(m: Machine, mapping: MappingId, folio: FolioId): void {
  if (folioMapcount(m, folio) > 0) unmapMappingFolio(m, folio);
  if (folioTest(m.map, folio, PG.PG_private))
    opsOf(m, mapping).invalidateFolio(m, folio, 0, folioNrPages(m.map, folio) * m.config.pageSize);
  folioCancelDirty(m, folio);
  filemapRemoveFolio(m, folio, -1, 0);
  folioUnlock(m, folio);
  folioPut(m, folio);
}

/** Locks a folio and takes a reference, or says that it must wait. */
function lock(m: Machine, folio: FolioId): boolean {
  if (folioTest(m.map, folio, PG.PG_locked) || folioTest(m.map, folio, PG.PG_writeback)) {
    m.wait = folio;
    return false;
  }
  folioSet(m.map, folio, PG.PG_locked);
  folioRefAdd(m.map, folio, 1);
  return true;
}

/** What became of a folio that the cut goes through. */
const CUT = 0;
const KEPT = 1;
const WAIT = 2;

/**
 * A folio partly inside bytes [start, end): zeroes the part, and splits the folio where it can.
 * @kernel mm/truncate.c truncate_inode_partial_folio (6.18)
 */
function truncateInodePartialFolio(m: Machine, mapping: MappingId, folio: FolioId, start: number, end: number): number {
  const { map } = m;
  if (!lock(m, folio)) return WAIT;
  const page = m.config.pageSize;
  const pos = folioIndex(map, folio) * page;
  const size = folioNrPages(map, folio) * page;
  const from = Math.max(start - pos, 0);
  const to = Math.min(end - pos, size);
  if (from === 0 && to === size) {
    truncateInodeFolio(m, mapping, folio);
    return CUT;
  }
  if (folioTest(map, folio, PG.PG_private)) opsOf(m, mapping).invalidateFolio(m, folio, from, to - from);
  const order = folioOrder(map, folio);
  const min = m.spaces.minOrder[mapping] as number;
  if (order === 0) {
    release(m, folio);
    return CUT;
  }
  const first = folioIndex(map, folio);
  const uniform = m.release.truncateSplit === 'uniform';
  if (!splitOrUnmap(m, mapping, folio, min, Math.floor(from / page), uniform)) {
    if (folioTest(map, folio, PG.PG_dirty)) {
      release(m, folio);
      return KEPT;
    }
    truncateInodeFolio(m, mapping, folio);
    return CUT;
  }
  release(m, folio);
  // The other edge, when it lies inside too: as well as it goes.
  if (to < size && !uniform) {
    const at = first + Math.floor(to / page);
    const other = filemapGetFolio(m, mapping, at);
    if (other !== 0 && folioOrder(map, other) > min && lock(m, other)) {
      splitOrUnmap(m, mapping, other, min, at - folioIndex(map, other), false);
      release(m, other);
    }
  }
  return CUT;
}

/**
 * Splits a folio at a page; what cannot be split is unmapped, so that a fault behind the end of the file is noticed.
 * @kernel mm/truncate.c try_folio_split_or_unmap (6.18)
 */
function splitOrUnmap(
  m: Machine,
  mapping: MappingId,
  folio: FolioId,
  order: number,
  at: number,
  uniform: boolean,
): boolean {
  if (folioSplit(m, folio, order, at, uniform)) return true;
  const shmem = ((m.spaces.flags[mapping] as number) & AS_SWAPBACKED) !== 0;
  if (m.release.splitFailureUnmaps && !shmem && folioMapcount(m, folio) > 0)
    tryToUnmap(m, folio, TTU_SPLIT_HUGE_PMD | TTU_IGNORE_MLOCK);
  return false;
}

function release(m: Machine, folio: FolioId): void {
  folioUnlock(m, folio);
  folioPut(m, folio);
}

/**
 * Throws away bytes [start, end) of the cache. False when it must be called again after Machine.wait.
 * @kernel mm/truncate.c truncate_inode_pages_range (6.18)
 */
export function truncateInodePagesRange(m: Machine, mapping: MappingId, start: number, end: number): boolean {
  const { map, pages, spaces } = m;
  const page = m.config.pageSize;
  let first = Math.ceil(start / page);
  let stop = Math.min(Math.floor(end / page), PGOFF_MAX);
  // A file that ends takes the private copies of its pages along; a hole leaves them. @kernel mm/truncate.c truncate_pagecache_range (6.18)
  if (spaces.iMmap[mapping] !== 0) unmapMappingPages(m, mapping, first, stop, end === Number.POSITIVE_INFINITY);
  if (spaces.head[mapping] === 0) return true;
  // First what lies wholly inside and is free to go. With it goes what waits for the LRU. @kernel mm/swap.c __folio_batch_release (6.18)
  let found = false;
  for (let i = first; i < stop; ) {
    const e = xaFind(pages, spaces.head[mapping] as number, i, stop - 1);
    if (e === 0) break;
    const folio = e as FolioId;
    i = folioNextIndex(map, folio);
    if (folioIndex(map, folio) < first || i > stop) continue;
    found = true;
    if (lock(m, folio)) truncateInodeFolio(m, mapping, folio);
  }
  if (found) lruAddDrain(m);
  // Then the folios that the edges go through.
  const head = filemapGetFolio(m, mapping, Math.floor(start / page));
  const same = head !== 0 && Math.floor((end - 1) / page) < folioNextIndex(map, head);
  if (head !== 0 && (folioIndex(map, head) * page < start || (same && folioNextIndex(map, head) * page > end))) {
    const next = folioNextIndex(map, head);
    const outcome = truncateInodePartialFolio(m, mapping, head, start, end);
    if (outcome === WAIT) return false;
    if (outcome === KEPT) {
      first = next;
      if (same) stop = Math.min(stop, first);
    }
  }
  if (!same && end < PGOFF_MAX * page) {
    const tail = filemapGetFolio(m, mapping, Math.floor(end / page));
    if (tail !== 0 && folioIndex(map, tail) * page < end) {
      const index = folioIndex(map, tail);
      const outcome = truncateInodePartialFolio(m, mapping, tail, start, end);
      if (outcome === WAIT) return false;
      if (outcome === KEPT) stop = Math.min(stop, index);
    }
  }
  // Last what is left inside, waiting for it, and the shadows.
  for (let i = first; i < stop; ) {
    const e = xaNext(pages, spaces.head[mapping] as number, i, stop - 1);
    if (e === 0) break;
    if (e < 0) {
      i = pages.after;
      xaEraseValue(pages, spaces.head, mapping, pages.index);
      continue;
    }
    const folio = e as FolioId;
    if (!lock(m, folio)) return false;
    i = folioNextIndex(map, folio);
    truncateInodeFolio(m, mapping, folio);
  }
  return true;
}

/** Drops one clean, idle folio; the lock is taken here. @kernel mm/truncate.c mapping_evict_folio (6.18) */
function mappingEvictFolio(m: Machine, folio: FolioId): boolean {
  const { map } = m;
  if (folioTest(map, folio, PG.PG_dirty | PG.PG_writeback)) return false;
  const hasPrivate = folioTest(map, folio, PG.PG_private) ? 1 : 0;
  if (folioRefCount(map, folio) > folioNrPages(map, folio) + hasPrivate + 1) return false;
  if (!filemapReleaseFolio(m, folio)) return false;
  filemapRemoveFolio(m, folio, -1, 0);
  return true;
}

/**
 * Drops the clean, idle folios that lie wholly in pages [first, last]; returns the number that would not go.
 * @kernel mm/truncate.c mapping_try_invalidate (6.18)
 */
export function mappingTryInvalidate(m: Machine, mapping: MappingId, first: number, last: number): number {
  const { map, pages, spaces } = m;
  let failed = 0;
  for (let i = first; i <= last; ) {
    const e = xaNext(pages, spaces.head[mapping] as number, i, last);
    if (e === 0) break;
    if (e < 0) {
      i = pages.after;
      xaEraseValue(pages, spaces.head, mapping, pages.index);
      continue;
    }
    const folio = e as FolioId;
    const start = folioIndex(map, folio);
    i = folioNextIndex(map, folio);
    if (start < first || i - 1 > last || folioTest(map, folio, PG.PG_locked)) continue;
    folioSet(map, folio, PG.PG_locked);
    folioRefAdd(map, folio, 1);
    const gone = mappingEvictFolio(m, folio);
    folioUnlock(m, folio);
    if (!gone) {
      deactivateFileFolio(m, folio);
      failed++;
    }
    folioPut(m, folio);
  }
  return failed;
}

/**
 * Drops every folio that touches pages [first, last], dirty ones written first. False when it must be called again.
 * @kernel mm/truncate.c invalidate_inode_pages2_range (6.18)
 */
export function invalidateInodePages2Range(m: Machine, mapping: MappingId, first: number, last: number): boolean {
  const { map, pages, spaces } = m;
  lruAddDrain(m);
  for (let i = first; i <= last; ) {
    const e = xaNext(pages, spaces.head[mapping] as number, i, last);
    if (e === 0) break;
    if (e < 0) {
      i = pages.after;
      xaEraseValue(pages, spaces.head, mapping, pages.index);
      continue;
    }
    const folio = e as FolioId;
    i = folioNextIndex(map, folio);
    if (!lock(m, folio)) return false;
    if (folioMapcount(m, folio) > 0) {
      // The rest of the range in one go, and the folio where it sticks out.
      unmapMappingPages(m, mapping, Math.max(folioIndex(map, folio), first), last + 1, false);
      unmapMappingFolio(m, folio);
    }
    if (!folioTest(map, folio, PG.PG_dirty) && filemapReleaseFolio(m, folio)) filemapRemoveFolio(m, folio, -1, 0);
    release(m, folio);
  }
  return true;
}

/** fadvise(POSIX_FADV_DONTNEED) on bytes [offset, end). @kernel mm/fadvise.c generic_fadvise (6.18) */
export function fadviseDontneed(m: Machine, mapping: MappingId, offset: number, end: number): void {
  const page = m.config.pageSize;
  if (((m.spaces.flags[mapping] as number) & AS_SWAPBACKED) !== 0) return;
  const lastByte = end - 1;
  filemapFdatawriteRange(
    m,
    mapping,
    Math.floor(offset / page),
    Math.min(Math.floor(lastByte / page), PGOFF_MAX),
    false,
  );
  const first = Math.ceil(offset / page);
  let last = Math.min(Math.floor(lastByte / page), PGOFF_MAX);
  if ((lastByte + 1) % page !== 0 && lastByte !== (m.spaces.size[mapping] as number) - 1) last--;
  if (last < first) return;
  lruAddDrain(m);
  if (mappingTryInvalidate(m, mapping, first, last) > 0) {
    lruAddDrain(m);
    mappingTryInvalidate(m, mapping, first, last);
  }
}

/** Writes what is dirty and drops what is cached of pages [first, last], before direct I/O. @kernel mm/filemap.c kiocb_invalidate_pages (6.18) */
export function kiocbInvalidatePages(m: Machine, mapping: MappingId, first: number, last: number): boolean {
  return filemapWriteAndWaitRange(m, mapping, first, last) && invalidateInodePages2Range(m, mapping, first, last);
}
