/**
 * Dirty folios and their way to the device.
 *
 * A folio is dirty as a whole for accounting and for the tree's mark, however little of it was written; the file system
 * knows the blocks. Write-back walks a file's marked folios in order: an integrity walk (fsync) first copies DIRTY to
 * TOWRITE, so that it ends however fast others dirty, and waits for what is under write-back; an ordinary walk skips that.
 * Consecutive blocks of consecutive folios go out as one request. Walks go by batches of folios, and who lets go of the first
 * batch carries out what waits for the LRU. @kernel mm/swap.c __folio_batch_release (6.18)
 */
import {
  XA_MARK_DIRTY,
  XA_MARK_TOWRITE,
  XA_MARK_WRITEBACK,
  xaClearMark,
  xaFindMarked,
  xaMarked,
  xaSetMark,
} from '../base/xarray_mark.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { opsOf } from './filemap.ts';
import { type FolioId, type MappingId, PGOFF_MAX } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioClear, folioIndex, folioMapping, folioNextIndex, folioNrPages, folioSet, folioTest } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { lruAddDrain } from './swap.ts';
import { folioMkclean } from './unmap_mapping.ts';
import { V } from './vmstat.ts';

/** One walk over a file's dirty folios, and the request it is putting together. Offsets and lengths in bytes. */
export interface WritebackControl {
  mapping: MappingId;
  /** WB_SYNC_ALL: data integrity. */
  sync: boolean;
  /** The request being put together; length 0: none. */
  bioOffset: number;
  bioLength: number;
}

/** Folios of the kernel's limit on one iomap request. @kernel fs/iomap/ioend.c IOEND_BATCH_SIZE (6.18) */
const BIO_BYTES_MAX = 4096 * 4096;

/** Adds a dirty run of a folio under write-back to the request, submitting what does not join it. @kernel fs/iomap/ioend.c iomap_add_to_ioend (6.18) */
export function addToBio(m: Machine, wbc: WritebackControl, offset: number, length: number): void {
  if (wbc.bioLength > 0 && (wbc.bioOffset + wbc.bioLength !== offset || wbc.bioLength + length > BIO_BYTES_MAX))
    submitBio(m, wbc);
  if (wbc.bioLength === 0) wbc.bioOffset = offset;
  wbc.bioLength += length;
}

function submitBio(m: Machine, wbc: WritebackControl): void {
  const { bioOffset, bioLength } = wbc;
  wbc.bioLength = 0;
  if (bioLength > 0) m.io.write(wbc.mapping, bioOffset, bioLength);
}

/** Marks a folio dirty; false when it was. @kernel mm/page-writeback.c filemap_dirty_folio (6.18) */
export function filemapDirtyFolio(m: Machine, mapping: MappingId, folio: FolioId): boolean {
  const { map, spaces } = m;
  if (folioTest(map, folio, PG.PG_dirty)) return false;
  folioSet(map, folio, PG.PG_dirty);
  if (((spaces.flags[mapping] as number) & AS_SWAPBACKED) !== 0) return true;
  const nr = folioNrPages(map, folio);
  m.vmstat[V.nr_dirty] = (m.vmstat[V.nr_dirty] as number) + nr;
  m.vmstat[V.nr_dirtied] = (m.vmstat[V.nr_dirtied] as number) + nr;
  xaSetMark(m.pages, spaces.head[mapping] as number, folioIndex(map, folio), XA_MARK_DIRTY);
  if (spaces.dirtiedWhen[mapping] === 0) spaces.dirtiedWhen[mapping] = Math.max(m.now, 1);
  return true;
}

/**
 * All of a folio is dirty, by way of its file system; false when it was dirty before.
 * @kernel mm/page-writeback.c folio_mark_dirty (6.18)
 */
export function folioMarkDirty(m: Machine, folio: FolioId): boolean {
  const { map } = m;
  const mapping = folioMapping(map, folio);
  if (mapping !== 0) {
    // The readahead mark shares its bit with PG_reclaim.
    folioClear(map, folio, PG.PG_reclaim);
    return opsOf(m, mapping).dirtyFolio(m, mapping, folio);
  }
  const clean = !folioTest(map, folio, PG.PG_dirty);
  folioSet(map, folio, PG.PG_dirty);
  return clean;
}

/** Takes the dirty flag for I/O; false when it was not dirty. The mark stays until write-back starts. @kernel mm/page-writeback.c folio_clear_dirty_for_io (6.18) */
function folioClearDirtyForIo(m: Machine, folio: FolioId): boolean {
  // What was stored through mappings since is part of this write; the next store is noticed again.
  if (m.spaces.iMmap[folioMapping(m.map, folio)] !== 0 && folioMkclean(m, folio) > 0) folioMarkDirty(m, folio);
  if (!folioTest(m.map, folio, PG.PG_dirty)) return false;
  folioClear(m.map, folio, PG.PG_dirty);
  m.vmstat[V.nr_dirty] = (m.vmstat[V.nr_dirty] as number) - folioNrPages(m.map, folio);
  return true;
}

/** The folio's contents are no longer wanted on the device. @kernel mm/page-writeback.c __folio_cancel_dirty (6.18) */
export function folioCancelDirty(m: Machine, folio: FolioId): void {
  const mapping = folioMapping(m.map, folio);
  if (!folioTest(m.map, folio, PG.PG_dirty)) return;
  folioClear(m.map, folio, PG.PG_dirty);
  if (((m.spaces.flags[mapping] as number) & AS_SWAPBACKED) !== 0) return;
  m.vmstat[V.nr_dirty] = (m.vmstat[V.nr_dirty] as number) - folioNrPages(m.map, folio);
  xaClearMark(m.pages, m.spaces.head[mapping] as number, folioIndex(m.map, folio), XA_MARK_DIRTY);
}

/**
 * Writes the dirty folios of pages [first, last]. With `sync`, false when it must wait for a folio under write-back or
 * locked by somebody (Machine.wait): call again. @kernel mm/page-writeback.c writeback_iter (6.18)
 */
export function filemapFdatawriteRange(
  m: Machine,
  mapping: MappingId,
  first: number,
  last: number,
  sync: boolean,
): boolean {
  const { map, spaces, pages } = m;
  const head = spaces.head[mapping] as number;
  if (!xaMarked(pages, head, XA_MARK_DIRTY)) return true;
  const ops = opsOf(m, mapping);
  const wbc: WritebackControl = { mapping, sync, bioOffset: 0, bioLength: 0 };
  let mark = XA_MARK_DIRTY;
  if (sync) {
    mark = XA_MARK_TOWRITE;
    for (let i = first; i <= last; ) {
      const e = xaFindMarked(pages, head, i, last, XA_MARK_DIRTY);
      if (e === 0) break;
      const folio = e as FolioId;
      xaSetMark(pages, head, folioIndex(map, folio), XA_MARK_TOWRITE);
      i = folioNextIndex(map, folio);
    }
  }
  let done = true;
  let found = false;
  for (let i = first; i <= last; ) {
    const e = xaFindMarked(pages, spaces.head[mapping] as number, i, last, mark);
    if (e === 0) break;
    found = true;
    const folio = e as FolioId;
    i = folioNextIndex(map, folio);
    const busy = folioTest(map, folio, PG.PG_locked) || folioTest(map, folio, PG.PG_writeback);
    if (busy) {
      if (!sync) continue;
      m.wait = folio;
      done = false;
      break;
    }
    folioSet(map, folio, PG.PG_locked);
    if (folioClearDirtyForIo(m, folio)) ops.writeFolio(m, wbc, mapping, folio);
    else {
      xaClearMark(pages, spaces.head[mapping] as number, folioIndex(map, folio), mark);
      folioClear(map, folio, PG.PG_locked);
    }
  }
  submitBio(m, wbc);
  if (found) lruAddDrain(m);
  if (done && !xaMarked(pages, spaces.head[mapping] as number, XA_MARK_DIRTY)) spaces.dirtiedWhen[mapping] = 0;
  return done;
}

/** False while a folio of pages [first, last] is under write-back (Machine.wait). @kernel mm/filemap.c filemap_fdatawait_range (6.18) */
export function filemapFdatawaitRange(m: Machine, mapping: MappingId, first: number, last: number): boolean {
  const e = xaFindMarked(m.pages, m.spaces.head[mapping] as number, first, last, XA_MARK_WRITEBACK);
  if (e === 0) return true;
  lruAddDrain(m);
  m.wait = e as FolioId;
  return false;
}

/** Is anything of pages [first, last] dirty or under write-back? @kernel include/linux/pagemap.h filemap_range_needs_writeback (6.18) */
export function filemapRangeNeedsWriteback(m: Machine, mapping: MappingId, first: number, last: number): boolean {
  const head = m.spaces.head[mapping] as number;
  return [XA_MARK_DIRTY, XA_MARK_WRITEBACK].some((mark) => xaFindMarked(m.pages, head, first, last, mark) !== 0);
}

/** Writes and waits; false when it must be called again. @kernel mm/filemap.c filemap_write_and_wait_range (6.18) */
export function filemapWriteAndWaitRange(m: Machine, mapping: MappingId, first: number, last: number): boolean {
  return filemapFdatawriteRange(m, mapping, first, last, true) && filemapFdatawaitRange(m, mapping, first, last);
}

/** fsync(2) of a file's data; false when it must be called again. @kernel mm/filemap.c file_write_and_wait_range (6.18) */
export function vfsFsync(m: Machine, mapping: MappingId): boolean {
  return filemapWriteAndWaitRange(m, mapping, 0, PGOFF_MAX);
}

/** sync(2); false when it must be called again. @kernel fs/sync.c ksys_sync (6.18) */
export function ksysSync(m: Machine): boolean {
  // It waits for what anybody has under write-back, and somebody always has.
  lruAddDrain(m);
  for (let s = 1; s < m.nrSpaces; s++)
    if (m.spaces.head[s] !== 0) filemapFdatawriteRange(m, s as MappingId, 0, PGOFF_MAX, false);
  for (let s = 1; s < m.nrSpaces; s++)
    if (m.spaces.head[s] !== 0 && !filemapWriteAndWaitRange(m, s as MappingId, 0, PGOFF_MAX)) return false;
  return true;
}

/** Starts write-back of everything dirty, oldest file first. @kernel fs/fs-writeback.c wakeup_flusher_threads (6.18) */
export function wakeupFlusherThreads(m: Machine): void {
  flushInodes(m, Number.POSITIVE_INFINITY, () => true);
}

/** Writes files dirtied before `olderThan`, oldest first, while `more` says so. */
function flushInodes(m: Machine, olderThan: number, more: () => boolean): void {
  const { dirtiedWhen } = m.spaces;
  while (more()) {
    let oldest = 0;
    for (let s = 1; s < m.nrSpaces; s++) {
      const when = dirtiedWhen[s] as number;
      if (when > 0 && when <= olderThan && (oldest === 0 || when < (dirtiedWhen[oldest] as number))) oldest = s;
    }
    if (oldest === 0) return;
    const when = dirtiedWhen[oldest] as number;
    filemapFdatawriteRange(m, oldest as MappingId, 0, PGOFF_MAX, false);
    // What could not be written now (locked, or under write-back and dirtied again) counts as dirtied anew.
    if (dirtiedWhen[oldest] === when) dirtiedWhen[oldest] = Math.max(m.now, when + 1);
    if (dirtiedWhen[oldest] !== 0 && (dirtiedWhen[oldest] as number) <= olderThan) return;
  }
}

/** 30 s in ns. @kernel mm/page-writeback.c dirty_expire_interval (6.18) */
export const DIRTY_EXPIRE_NS = 30e9;

/** The periodic flusher: files first dirtied 30 s ago or more. @kernel fs/fs-writeback.c wb_check_old_data_flush (6.18) */
export function wbCheckOldDataFlush(m: Machine): void {
  flushInodes(m, m.now - DIRTY_EXPIRE_NS, () => true);
}

/** Pages that may be dirty before the flusher is woken. @kernel mm/page-writeback.c domain_dirty_limits (6.18) */
export function backgroundThresh(m: Machine): number {
  const v = m.vmstat;
  const dirtyable =
    Math.max(0, (v[V.nr_free_pages] as number) - m.zones.totalreservePages) +
    (v[V.nr_file_pages] as number) -
    (v[V.nr_shmem] as number);
  const thresh = Math.floor((dirtyable * m.config.dirtyRatio) / 100);
  const background = Math.floor((dirtyable * m.config.dirtyBackgroundRatio) / 100);
  return background >= thresh ? Math.floor(thresh / 2) : background;
}

/**
 * A writer is about to dirty pages: above the background threshold the flusher writes. Throttling is a matter of time, not
 * of folios, and is the face's. @kernel mm/page-writeback.c balance_dirty_pages (6.18)
 */
export function balanceDirtyPages(m: Machine): void {
  const background = backgroundThresh(m);
  if ((m.vmstat[V.nr_dirty] as number) > background)
    flushInodes(m, Number.POSITIVE_INFINITY, () => (m.vmstat[V.nr_dirty] as number) > background);
}
