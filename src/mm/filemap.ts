/**
 * The page cache: folios of a file by page index, and read(2) through it.
 *
 * A folio enters locked and not uptodate, charged to a group, with one reference for each of its pages; the file system
 * fills it, and the end of the read unlocks it. Reads collect up to 31 consecutive folios at a time, ask readahead when the
 * first page is missing or a marked folio is hit, and copy what is uptodate. Nothing waits here: where the kernel would
 * sleep, the call returns false and Machine.wait names the folio.
 */
import { assert } from '../base/errors.ts';
import { xaConflict, xaErase, xaLoad, xaReplace, xaStore } from '../base/xarray.ts';
import { XA_MARK_DIRTY, XA_MARK_TOWRITE, XA_MARK_WRITEBACK, xaClearMark, xaSetMark } from '../base/xarray_mark.ts';
import { toValue, valueEntry } from '../base/xarray_node.ts';
import { AS_STABLE_WRITES, AS_SWAPBACKED, AS_UNNAMED } from './address_space.ts';
import { __GFP_FS, __GFP_NORETRY, __GFP_NOWARN, __GFP_WRITE, GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO } from './ids.ts';
import { type Machine, PAGES_DELETED } from './machine.ts';
import { memCgroupCharge, memCgroupUncharge, memcgChargeNodes } from './memcontrol.ts';
import {
  FOLIO_WORDS,
  folioClear,
  folioFlags,
  folioIndex,
  folioMapping,
  folioNrPages,
  folioOrder,
  folioRefAdd,
  folioSet,
  folioSetIndex,
  folioSetMapping,
  folioTest,
  W_INDEX,
} from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_readahead } from './page_flags.ts';
import { pageCacheAsyncRa, pageCacheSyncRa } from './readahead.ts';
import { folioAddLru, folioMarkAccessed, folioPut, folioRotateReclaimable } from './swap.ts';
import { V } from './vmstat.ts';
import { workingsetRefault } from './workingset.ts';

const { PG_dirty, PG_locked, PG_private, PG_reclaim, PG_uptodate, PG_writeback } = PG;

/** Folios that one pass of a read looks at. @kernel include/linux/pagevec.h PAGEVEC_SIZE (6.18) */
export const PAGEVEC_SIZE = 31;
/** Request flags of folios made for the page cache. @kernel mm/filemap.c mapping_gfp_mask (6.18) */
export const MAPPING_GFP: number = GFP_HIGHUSER_MOVABLE;
/** @kernel include/linux/pagemap.h readahead_gfp_mask (6.18) */
export const READAHEAD_GFP: number = MAPPING_GFP | __GFP_NORETRY | __GFP_NOWARN;

export const EEXIST = -17;
export const ENOMEM = -12;

/** The folio that covers a page of the file, or 0. No reference is taken. @kernel mm/filemap.c filemap_get_entry (6.18) */
export function filemapGetFolio(m: Machine, mapping: MappingId, index: number): FolioId {
  const e = xaLoad(m.pages, m.spaces.head[mapping] as number, index);
  return (e > 0 ? e : NO_FOLIO) as FolioId;
}

/**
 * Puts a new folio (one reference, the caller's) into the cache at `index`, locked. 0; EEXIST when any of its pages is
 * cached; ENOMEM when its group may not grow. The caller's reference stays.
 * @kernel mm/filemap.c filemap_add_folio (6.18)
 */
export function filemapAddFolio(m: Machine, mapping: MappingId, folio: FolioId, index: number, gfp: number): number {
  if (!memCgroupCharge(m, folio, gfp)) return ENOMEM;
  return filemapInsertFolio(m, mapping, folio, index, gfp);
}

/** The same for a folio that is charged already. */
export function filemapInsertFolio(m: Machine, mapping: MappingId, folio: FolioId, index: number, gfp: number): number {
  const { map, spaces, pages } = m;
  const order = folioOrder(map, folio);
  const conflict = xaConflict(pages, spaces.head[mapping] as number, index, order);
  if (conflict > 0) {
    memCgroupUncharge(m, folio);
    return EEXIST;
  }
  const age = pages.age;
  folioSet(map, folio, PG_locked);
  const nr = 1 << order;
  folioRefAdd(map, folio, nr);
  folioSetMapping(map, folio, mapping);
  folioSetIndex(map, folio, index);
  const nodes = pages.used;
  pages.tag = m.currentMemcg;
  xaStore(pages, spaces.head, mapping, index, order, folio);
  if (pages.used !== nodes) memcgChargeNodes(m);
  spaces.nrpages[mapping] = (spaces.nrpages[mapping] as number) + nr;
  m.vmstat[V.nr_file_pages] = (m.vmstat[V.nr_file_pages] as number) + nr;
  if (((spaces.flags[mapping] as number) & AS_UNNAMED) === 0) m.cached[order] = (m.cached[order] as number) + 1;
  if (m.tracer !== null) m.tracer.addToPageCache?.(mapping, index, order, folio);
  if (conflict !== 0 && (gfp & __GFP_WRITE) === 0) workingsetRefault(m, folio, toValue(conflict), age);
  folioAddLru(m, folio);
  return 0;
}

/**
 * Takes a locked folio out of the cache; `value` (a shadow, −1 for none) and its `age` stay in its place. The cache's
 * references go. @kernel mm/filemap.c __filemap_remove_folio (6.18)
 */
export function filemapRemoveFolio(m: Machine, folio: FolioId, value: number, age: number): void {
  const { map, spaces } = m;
  const mapping = folioMapping(map, folio);
  assert(mapping !== 0, 'filemapRemoveFolio: the folio is in a file');
  const index = folioIndex(map, folio);
  const order = folioOrder(map, folio);
  const nr = 1 << order;
  if (((spaces.flags[mapping] as number) & AS_UNNAMED) === 0)
    m.cached[PAGES_DELETED] = (m.cached[PAGES_DELETED] as number) + nr;
  if (m.tracer !== null) m.tracer.deleteFromPageCache?.(mapping, index, order, folio);
  const nodes = m.pages.used;
  xaErase(m.pages, spaces.head, mapping, index, order, value < 0 ? 0 : valueEntry(value), age);
  if (m.pages.used !== nodes) memcgChargeNodes(m);
  folioSetMapping(map, folio, 0);
  spaces.nrpages[mapping] = (spaces.nrpages[mapping] as number) - nr;
  m.vmstat[V.nr_file_pages] = (m.vmstat[V.nr_file_pages] as number) - nr;
  if (((spaces.flags[mapping] as number) & AS_SWAPBACKED) !== 0)
    m.vmstat[V.nr_shmem] = (m.vmstat[V.nr_shmem] as number) - nr;
  folioRefAdd(map, folio, -nr);
}

/** Puts `to` (same order, locked) in the place of `from` in the cache; flags are the caller's. @kernel mm/filemap.c replace_page_cache_folio (6.18) */
export function pageCacheReplaceFolio(m: Machine, from: FolioId, to: FolioId): void {
  const { map } = m;
  const mapping = folioMapping(map, from);
  const index = folioIndex(map, from);
  const nr = folioNrPages(map, from);
  xaReplace(m.pages, m.spaces.head[mapping] as number, index, to);
  folioSetMapping(map, to, mapping);
  folioSetIndex(map, to, index);
  folioRefAdd(map, to, nr);
  folioSetMapping(map, from, 0);
  folioRefAdd(map, from, -nr);
}

/** Gives up a folio's private data, if it can. @kernel mm/filemap.c filemap_release_folio (6.18) */
export function filemapReleaseFolio(m: Machine, folio: FolioId): boolean {
  const flags = folioFlags(m.map, folio);
  if ((flags & PG_writeback) !== 0) return false;
  if ((flags & PG_private) === 0) return true;
  const ops = m.aops[m.spaces.ops[folioMapping(m.map, folio)] as number];
  return ops === undefined || ops.releaseFolio(m, folio);
}

/** Ends the lock of a folio. @kernel mm/filemap.c folio_unlock (6.18) */
export function folioUnlock(m: Machine, folio: FolioId): void {
  folioClear(m.map, folio, PG_locked);
}

// FGP flags of filemapGetOrCreate. @kernel include/linux/pagemap.h FGP_ACCESSED (6.18)
export const FGP_NOFS = 0x10;
export const FGP_STABLE = 0x80;

/** Order hint for a write of so many bytes. @kernel include/linux/pagemap.h fgf_set_order (6.18) */
export function fgfSetOrder(m: Machine, bytes: number): number {
  const shift = 31 - Math.clz32(bytes >= 0x40000000 ? 0x40000000 : bytes);
  return shift <= m.pageShift ? 0 : shift - m.pageShift;
}

/**
 * The folio at `index` for a write, locked: the cached one whatever its order, else a new one as large as the hint, the
 * alignment of the index and what is cached beside it allow. 0 when there is no memory; −1 when the folio is locked or
 * under stable write-back (Machine.wait). @kernel mm/filemap.c __filemap_get_folio (6.18)
 */
export function filemapGetOrCreate(m: Machine, mapping: MappingId, at: number, fgp: number, hint: number): FolioId {
  const { map, spaces } = m;
  for (;;) {
    const e = xaLoad(m.pages, spaces.head[mapping] as number, at);
    if (e > 0) {
      const folio = e as FolioId;
      const flags = folioFlags(map, folio);
      const wait =
        (flags & PG_locked) !== 0 || ((fgp & FGP_STABLE) !== 0 && (flags & PG_writeback) !== 0 && stable(m, mapping));
      if (wait) {
        m.wait = folio;
        return -1 as FolioId;
      }
      folioSet(map, folio, PG_locked);
      return folio;
    }
    const min = spaces.minOrder[mapping] as number;
    const index = at - (at % (1 << min));
    let order = hint > min ? hint : min;
    if (order > (spaces.maxOrder[mapping] as number)) order = spaces.maxOrder[mapping] as number;
    if ((index & ((1 << order) - 1)) !== 0) order = ctz(index);
    if (!m.release.largeFolioOrder1 && order === 1 && min === 0) order = 0;
    let gfp = MAPPING_GFP | __GFP_WRITE;
    if ((fgp & FGP_NOFS) !== 0) gfp &= ~__GFP_FS;
    let err = 0;
    for (; order >= min; order--) {
      if (!m.release.largeFolioOrder1 && order === 1 && min === 0) continue;
      const g = order > min ? gfp | __GFP_NORETRY | __GFP_NOWARN : gfp;
      const folio = folioAlloc(m, g, order);
      if (folio === 0) {
        err = ENOMEM;
        continue;
      }
      err = filemapAddFolio(m, mapping, folio, index, g);
      folioPut(m, folio);
      if (err === 0) return folio;
    }
    if (err !== EEXIST) return NO_FOLIO;
  }
}

const stable = (m: Machine, mapping: MappingId): boolean =>
  ((m.spaces.flags[mapping] as number) & AS_STABLE_WRITES) !== 0;

/** Trailing zero bits of a positive number. */
export const ctz = (n: number): number => 31 - Math.clz32(n & -n);

/** A read(2) in progress. Positions in bytes. */
export interface Kiocb {
  file: FileId;
  pos: number;
  /** Bytes still to read. */
  count: number;
  /** Bytes read so far. */
  done: number;
  /** The folio that this read asked the file system for; not uptodate when its lock is gone: the read failed. */
  asked: FolioId;
}
export const kiocb = (file: FileId, pos: number, count: number): Kiocb => ({
  file,
  pos,
  count,
  done: 0,
  asked: NO_FOLIO,
});

/** Folios found by one pass. One is in use at a time, by one machine's read. */
export interface ReadBatch {
  readonly folios: Int32Array;
  nr: number;
}
export const readBatch = (): ReadBatch => ({ folios: new Int32Array(PAGEVEC_SIZE), nr: 0 });

/**
 * Collects the folios that cover [index, last]: up to a gap, 31 of them, one not uptodate, or one marked for readahead.
 * @kernel mm/filemap.c filemap_get_read_batch (6.18)
 */
function filemapGetReadBatch(m: Machine, mapping: MappingId, index: number, last: number): number {
  const { map, readBatch: batch } = m;
  const head = m.spaces.head[mapping] as number;
  let nr = 0;
  let i = index;
  while (i <= last) {
    const e = xaLoad(m.pages, head, i);
    if (e <= 0) break;
    batch.folios[nr++] = e;
    const flags = map[e * FOLIO_WORDS] as number;
    if (nr === m.release.folioBatch || (flags & PG_uptodate) === 0 || (flags & PG_readahead) !== 0) break;
    i = (map[e * FOLIO_WORDS + W_INDEX] as number) + (1 << folioOrder(map, e as FolioId));
  }
  batch.nr = nr;
  return nr;
}

/** Outcome of one pass. */
const PAGES_OK = 0;
const PAGES_WAIT = 1;
const PAGES_NOMEM = 2;
const PAGES_EIO = 3;

/** Fills the batch for a read at its position, reading in what is missing. @kernel mm/filemap.c filemap_get_pages (6.18) */
function filemapGetPages(m: Machine, iocb: Kiocb): number {
  const { map, files, spaces } = m;
  const file = iocb.file;
  const mapping = files.mapping[file] as MappingId;
  const min = spaces.minOrder[mapping] as number;
  const index = Math.floor(iocb.pos * m.pagesPerByte);
  let last = Math.ceil((iocb.pos + iocb.count) * m.pagesPerByte);
  if (min > 0 && m.release.getPagesRoundsToMinOrder) last = Math.ceil(last / (1 << min)) * (1 << min);
  for (;;) {
    let nr = filemapGetReadBatch(m, mapping, index, last - 1);
    if (nr === 0) {
      pageCacheSyncRa(m, file, index, last - index);
      nr = filemapGetReadBatch(m, mapping, index, last - 1);
    }
    if (nr === 0) {
      const err = filemapCreateFolio(m, mapping, index, min);
      if (err === EEXIST) continue;
      if (err !== 0) return PAGES_NOMEM;
      nr = filemapGetReadBatch(m, mapping, index, last - 1);
      if (nr === 0) continue;
    }
    const folio = m.readBatch.folios[nr - 1] as FolioId;
    if (folioTest(map, folio, PG_readahead)) {
      const at = folioIndex(map, folio);
      // The batch refers to its folios: reclaim on behalf of the next window must leave them alone.
      for (let i = 0; i < nr; i++) folioRefAdd(map, m.readBatch.folios[i] as FolioId, 1);
      pageCacheAsyncRa(m, file, folio, at, last - at);
      for (let i = 0; i < nr; i++) folioRefAdd(map, m.readBatch.folios[i] as FolioId, -1);
    }
    if (folioTest(map, folio, PG_uptodate)) return PAGES_OK;
    const state = filemapUpdatePage(m, iocb, mapping, folio);
    if (state === PAGES_OK) return PAGES_OK;
    if (state === PAGES_EIO) return nr > 1 && --m.readBatch.nr > 0 ? PAGES_OK : PAGES_EIO;
    if (--m.readBatch.nr > 0) return PAGES_OK;
    return PAGES_WAIT;
  }
}

/** @kernel mm/filemap.c filemap_create_folio (6.18) */
export function filemapCreateFolio(m: Machine, mapping: MappingId, at: number, min: number): number {
  const folio = folioAlloc(m, MAPPING_GFP, min);
  if (folio === 0) return ENOMEM;
  const index = at - (at % (1 << min));
  const err = filemapAddFolio(m, mapping, folio, index, MAPPING_GFP);
  folioPut(m, folio);
  if (err !== 0) return err;
  opsOf(m, mapping).readFolio(m, mapping, folio);
  return 0;
}

/** Makes a folio that is not uptodate readable, or says that the read must wait for it. @kernel mm/filemap.c filemap_update_page (6.18) */
function filemapUpdatePage(m: Machine, iocb: Kiocb, mapping: MappingId, folio: FolioId): number {
  const { map } = m;
  if (folioTest(map, folio, PG_locked)) {
    m.wait = folio;
    iocb.asked = folio;
    return PAGES_WAIT;
  }
  const start = folioIndex(map, folio) * m.config.pageSize;
  const size = folioNrPages(map, folio) * m.config.pageSize;
  const from = Math.max(iocb.pos - start, 0);
  const length = Math.min(iocb.pos + iocb.count - start, size) - from;
  const ops = opsOf(m, mapping);
  if (ops.isPartiallyUptodate(m, folio, from, length)) return PAGES_OK;
  if (iocb.asked === folio) return PAGES_EIO;
  folioSet(map, folio, PG_locked);
  iocb.asked = folio;
  ops.readFolio(m, mapping, folio);
  if (folioTest(map, folio, PG_uptodate)) return PAGES_OK;
  if (!folioTest(map, folio, PG_locked)) return PAGES_EIO;
  m.wait = folio;
  return PAGES_WAIT;
}

export const opsOf = (m: Machine, mapping: MappingId): Machine['aops'][number] => {
  const ops = m.aops[m.spaces.ops[mapping] as number];
  assert(ops !== undefined, 'every file has operations');
  return ops;
};

/**
 * The commonest read, without the batch: inside one page that is cached, uptodate and not marked. The same outcome as the
 * long way.
 */
function readOnePage(m: Machine, iocb: Kiocb, mapping: MappingId): boolean {
  const { map, files } = m;
  const file = iocb.file;
  const { pos, count } = iocb;
  const end = pos + count;
  if (count === 0 || end > (m.spaces.size[mapping] as number)) return false;
  const index = (pos * m.pagesPerByte) | 0;
  if ((((end - 1) * m.pagesPerByte) | 0) !== index) return false;
  const e = xaLoad(m.pages, m.spaces.head[mapping] as number, index);
  if (e <= 0) return false;
  const flags = map[e * FOLIO_WORDS] as number;
  if ((flags & (PG_uptodate | PG_readahead)) !== PG_uptodate) return false;
  if (!sameAsLast(m, folioOrder(map, e as FolioId), index, files.prevPos[file] as number))
    folioMarkAccessed(m, e as FolioId);
  if (m.bytes !== null)
    m.bytes.copyToReader(e as FolioId, pos - folioIndex(map, e as FolioId) * m.config.pageSize, count);
  iocb.pos = end;
  iocb.count = 0;
  iocb.done += count;
  iocb.asked = NO_FOLIO;
  files.prevPos[file] = end;
  return true;
}

/**
 * Did the last read end in this folio, of 2^order pages (or in this page, by the older law)? Then a read at page `index`
 * counts as one access with it.
 */
function sameAsLast(m: Machine, order: number, index: number, lastPos: number): boolean {
  if (m.release.markAccessedFirst === 'folio')
    return Math.floor((lastPos - 1) * m.pagesPerByte) >> order === index >> order;
  return Math.floor(lastPos * m.pagesPerByte) === index;
}

/** What a call of filemapRead came to. */
export const READ_DONE = 0;
export const READ_WAIT = 1;
export const READ_NOMEM = 2;
export const READ_EIO = 3;

/**
 * Goes on with a read(2): READ_DONE when it has ended (`done` bytes, short at the end of the file), READ_WAIT when it must
 * be called again after the folio Machine.wait is unlocked, else an error after `done` bytes.
 * @kernel mm/filemap.c filemap_read (6.18)
 */
export function filemapRead(m: Machine, iocb: Kiocb): number {
  const { map, files, spaces } = m;
  const file = iocb.file;
  const mapping = files.mapping[file] as MappingId;
  const page = m.config.pageSize;
  if (readOnePage(m, iocb, mapping)) return READ_DONE;
  let lastPos = iocb.done > 0 ? iocb.pos : (files.prevPos[file] as number);
  let result = READ_DONE;
  const { prevPos, readPastEof } = m.release;
  while (iocb.count > 0 && (iocb.pos < (spaces.size[mapping] as number) || readPastEof === 'creates-page')) {
    const state = filemapGetPages(m, iocb);
    if (state !== PAGES_OK) {
      result = state;
      break;
    }
    const end = Math.min(spaces.size[mapping] as number, iocb.pos + iocb.count);
    if (iocb.pos >= end) break;
    const batch = m.readBatch;
    for (let i = 0; i < batch.nr && iocb.pos < end; i++) {
      const folio = batch.folios[i] as FolioId;
      const order = folioOrder(map, folio);
      if (i > 0 || !sameAsLast(m, order, (iocb.pos * m.pagesPerByte) | 0, lastPos)) folioMarkAccessed(m, folio);
      const stop = Math.min(end, (folioIndex(map, folio) + (1 << order)) * page);
      if (m.bytes !== null) m.bytes.copyToReader(folio, iocb.pos - folioIndex(map, folio) * page, stop - iocb.pos);
      iocb.count -= stop - iocb.pos;
      iocb.done += stop - iocb.pos;
      iocb.pos = stop;
      lastPos = stop;
      if (prevPos === 'folio') files.prevPos[file] = stop;
    }
    iocb.asked = NO_FOLIO;
  }
  if (result !== READ_WAIT) files.prevPos[file] = lastPos;
  return result;
}

/** The read of a folio has ended: it is uptodate unless that failed, and unlocked. @kernel mm/filemap.c folio_end_read (6.18) */
export function folioEndRead(m: Machine, folio: FolioId, ok: boolean): void {
  if (ok) folioSet(m.map, folio, PG_uptodate);
  folioClear(m.map, folio, PG_locked);
}

/** Write-back of a folio has ended. @kernel mm/filemap.c folio_end_writeback (6.18) */
export function folioEndWriteback(m: Machine, folio: FolioId): void {
  const { map } = m;
  const reclaim = folioTest(map, folio, PG_reclaim);
  if (reclaim) {
    folioClear(map, folio, PG_reclaim);
    folioRotateReclaimable(m, folio);
  }
  const mapping = folioMapping(map, folio);
  if (mapping !== 0) clearMark(m, mapping, folio, XA_MARK_WRITEBACK);
  folioClear(map, folio, PG_writeback);
  const nr = folioNrPages(map, folio);
  m.vmstat[V.nr_writeback] = (m.vmstat[V.nr_writeback] as number) - nr;
  m.vmstat[V.nr_written] = (m.vmstat[V.nr_written] as number) + nr;
}

function clearMark(m: Machine, mapping: MappingId, folio: FolioId, mark: number): void {
  xaClearMark(m.pages, m.spaces.head[mapping] as number, folioIndex(m.map, folio), mark);
}

/** @kernel mm/page-writeback.c __folio_start_writeback (6.18) */
export function folioStartWriteback(m: Machine, folio: FolioId, keepTowrite: boolean): void {
  const { map } = m;
  const mapping = folioMapping(map, folio);
  folioSet(map, folio, PG_writeback);
  const head = m.spaces.head[mapping] as number;
  const index = folioIndex(map, folio);
  xaSetMark(m.pages, head, index, XA_MARK_WRITEBACK);
  if (!folioTest(map, folio, PG_dirty)) xaClearMark(m.pages, head, index, XA_MARK_DIRTY);
  if (!keepTowrite) xaClearMark(m.pages, head, index, XA_MARK_TOWRITE);
  m.vmstat[V.nr_writeback] = (m.vmstat[V.nr_writeback] as number) + folioNrPages(map, folio);
}
