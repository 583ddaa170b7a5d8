/**
 * Readahead: which pages to read before they are asked for, and in folios of what order.
 *
 *   read miss ─► RANDOM file? ──yes─► the pages asked for                             [smallest order]
 *                │no
 *                ├─ page 0, a request above the window, or next to the last read ─► a new stream
 *                ├─ more history cached before it than asked for ──────────────────► joins a stream
 *                └─ else random: the pages asked for; the window stays
 *   read hit on the marked folio ─► the window moves on and grows, and so does the order
 *
 * A window is [start, start + size); its last asyncSize pages are read ahead of use, and the folio in which they begin
 * carries the mark. Since 6.16 the order is state of the stream: two more than the last window really used, and a window's
 * end is trimmed to a boundary of that order. Before, the order came from the folio that was hit (6.12 and older), and
 * before 5.18 all folios had one page.
 *
 * Sizes are in pages. Follows "Readahead: the documentation I wanted to read" (Brown, LWN 2022).
 */
import { xaLoad } from '../base/xarray.ts';
import { nextMiss, prevMiss } from '../base/xarray_cursor.ts';
import { FMODE_RANDOM } from './address_space.ts';
import { ctz, EEXIST, ENOMEM, filemapAddFolio, opsOf, READAHEAD_GFP } from './filemap.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioClear, folioNrPages, folioOrder, folioSet, folioTest } from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_readahead } from './page_flags.ts';
import { folioPut } from './swap.ts';

const { PG_writeback } = PG;

/** Pages that force_page_cache_ra asks for at a time: 2 MiB. @kernel mm/readahead.c force_page_cache_ra (6.18) */
const FORCE_CHUNK_BYTES = 2 * 1024 * 1024;

/** Largest power of two dividing the number, at most 2^30. */
const alignOf = (n: number): number => (n === 0 ? 30 : ctz(n));
const log2 = (n: number): number => 31 - Math.clz32(n);
/** Smallest power of two that is not below n. */
const roundUpPow2 = (n: number): number => (n <= 1 ? 1 : 2 ** (32 - Math.clz32(n - 1)));

/** First window of a stream. @kernel mm/readahead.c get_init_ra_size (6.18) */
export function getInitRaSize(req: number, max: number): number {
  const n = roundUpPow2(req);
  if (n <= Math.floor(max / 32)) return n * 4;
  if (n <= Math.floor(max / 4)) return n * 2;
  return max;
}

/** The window after one of `cur` pages. @kernel mm/readahead.c get_next_ra_size (6.18) */
export function getNextRaSize(cur: number, max: number): number {
  if (cur < Math.floor(max / 16)) return cur * 4;
  if (cur <= Math.floor(max / 2)) return cur * 2;
  return max;
}

/** One decision for miss and hit (before 6.10)? */
const onDemand = (m: Machine): boolean => m.release.readahead === 'page' || m.release.readahead === 'ondemand';

/** Is the order kept in the file's state (6.16 and newer)? */
const storedOrder = (m: Machine): boolean =>
  m.release.readahead === 'stored-order' || m.release.readahead === 'stored-order-eof';

/** A request larger than the window may open it up to the device's largest I/O. @kernel mm/readahead.c ractl_max_pages (6.18) */
function maxPages(m: Machine, file: FileId, req: number): number {
  const ra = m.files.raPages[file] as number;
  const io = m.spaces.ioPages[m.files.mapping[file] as number] as number;
  return req > ra && io > ra ? Math.min(req, io) : ra;
}

/**
 * A read of `req` pages at `index` found the first one missing. @kernel mm/readahead.c page_cache_sync_ra (6.18)
 */
export function pageCacheSyncRa(m: Machine, file: FileId, index: number, req: number): void {
  const { files } = m;
  const mapping = files.mapping[file] as MappingId;
  if (m.tracer !== null) m.tracer.syncRa?.(mapping, index, req);
  let asked = req;
  let forced = ((files.fmode[file] as number) & FMODE_RANDOM) !== 0;
  if (files.raPages[file] === 0) {
    asked = 1;
    forced = true;
  }
  if (forced) {
    forcePageCacheRa(m, file, index, asked);
    return;
  }
  if (onDemand(m)) {
    ondemandReadahead(m, file, index, asked, NO_FOLIO);
    return;
  }
  const max = maxPages(m, file, asked);
  const prevPos = files.prevPos[file] as number;
  // prevPos is −1 at open: as an unsigned page number that is far away.
  const sincePrev = prevPos < 0 ? -1 : index - Math.floor(prevPos / m.config.pageSize);
  if (index === 0 || asked > max || sincePrev === 0 || sincePrev === 1) {
    const size = getInitRaSize(asked, max);
    files.start[file] = index;
    files.size[file] = size;
    files.asyncSize[file] = size > asked ? size - asked : size >> 1;
  } else {
    const miss = prevMiss(m.pages, m.spaces.head[mapping] as number, index - 1, max);
    let contig = index - miss - 1;
    if (contig <= asked) {
      doPageCacheRa(m, file, index, asked, 0);
      return;
    }
    if (miss === -1) contig *= 2;
    files.start[file] = index;
    files.size[file] = Math.min(contig + asked, max);
    files.asyncSize[file] = 1;
  }
  files.order[file] = 0;
  pageCacheRaOrder(m, file, index);
}

/**
 * A read came to the marked folio: `index` is its first page (or the faulting page), `req` the pages wanted from there.
 * @kernel mm/readahead.c page_cache_async_ra (6.18)
 */
export function pageCacheAsyncRa(m: Machine, file: FileId, folio: FolioId, index: number, req: number): void {
  const { files, map } = m;
  if (files.raPages[file] === 0 || folioTest(map, folio, PG_writeback)) return;
  const mapping = files.mapping[file] as MappingId;
  if (m.tracer !== null) m.tracer.asyncRa?.(mapping, index, req);
  folioClear(map, folio, PG_readahead);
  m.ahead = true;
  if (onDemand(m)) ondemandReadahead(m, file, index, req, folio);
  else asyncWindow(m, file, folio, index, req);
  m.ahead = false;
}

/** The window after a hit on the marked folio, 6.10 and newer. */
function asyncWindow(m: Machine, file: FileId, folio: FolioId, index: number, req: number): void {
  const { files, map } = m;
  const mapping = files.mapping[file] as MappingId;
  const max = maxPages(m, file, req);
  const start = files.start[file] as number;
  const size = files.size[file] as number;
  const marked = start + size - (files.asyncSize[file] as number);
  const expected = marked - (marked % folioNrPages(map, folio));
  if (index === expected) {
    files.start[file] = start + size;
    const next = getNextRaSize(size, max);
    files.size[file] = m.release.readaheadMayShrink ? next : Math.max(size, next);
  } else {
    const gap = nextMiss(m.pages, m.spaces.head[mapping] as number, index + 1, max);
    if (gap === 0 || gap - index > max) return;
    files.start[file] = gap;
    files.size[file] = getNextRaSize(gap - index + req, max);
  }
  if (storedOrder(m)) {
    // Two more than the last window really used; the window ends on a boundary of that order.
    const order = (files.order[file] as number) + 2;
    files.order[file] = order;
    const align = 2 ** Math.min(order, alignOf(max));
    const end = (files.start[file] as number) + (files.size[file] as number);
    const aligned = end - (end % align);
    if (aligned > (files.start[file] as number)) files.size[file] = (files.size[file] as number) - (end - aligned);
  } else files.order[file] = folioOrder(map, folio);
  files.asyncSize[file] = files.size[file] as number;
  pageCacheRaOrder(m, file, files.start[file] as number);
}

/**
 * Fills the window of file_ra_state with folios of the window's order, smaller at its ends; what is cached already ends
 * that, and the rest of the window is filled with folios of the smallest order.
 * @kernel mm/readahead.c page_cache_ra_order (6.18)
 */
export function pageCacheRaOrder(m: Machine, file: FileId, index0: number): void {
  const { files, spaces } = m;
  const mapping = files.mapping[file] as MappingId;
  const size = files.size[file] as number;
  const asyncSize = files.asyncSize[file] as number;
  let order = files.order[file] as number;
  if (m.tracer !== null) m.tracer.raOrder?.(mapping, index0, order, size, asyncSize);
  const min = spaces.minOrder[mapping] as number;
  const max = spaces.maxOrder[mapping] as number;
  if (max === 0) {
    files.order[file] = 0;
    doPageCacheRa(m, file, index0, size, asyncSize);
    return;
  }
  if (!storedOrder(m)) {
    if (size < Math.max(4, 1 << min)) {
      doPageCacheRa(m, file, index0, size, asyncSize);
      return;
    }
    if (order < max) order = Math.min(order + 2, max);
  }
  const fileEnd = Math.floor(((spaces.size[mapping] as number) - 1) / m.config.pageSize);
  const limit = Math.min(fileEnd, index0 + size - 1);
  order = Math.max(Math.min(order, max, log2(size)), min);
  files.order[file] = order;
  // Since 7.x a window that reaches the end of the file carries no mark.
  const unmarked = m.release.readahead === 'stored-order-eof' && fileEnd <= index0 + size - 1;
  const mark = unmarked ? -1 : index0 + size - asyncSize;
  const first = index0 - (index0 % (1 << min));
  let index = first;
  let err = 0;
  while (index <= limit) {
    let k = order;
    if ((index & ((1 << k) - 1)) !== 0) k = noOrder1(m, min, ctz(index));
    while (k > min && index + (1 << k) - 1 > limit) k = noOrder1(m, min, k - 1);
    err = raAllocFolio(m, mapping, index, k, mark >= 0 && roundMark(m, mark, 1 << k) === index);
    if (err !== 0) break;
    index += 1 << k;
  }
  readPages(m, mapping, first, index - first);
  if (err === 0) return;
  // The kernel counts in unsigned numbers: a window that had to start lower than asked gets no second try.
  if (index < index0) return;
  if (!storedOrder(m)) doPageCacheRa(m, file, index, size, asyncSize);
  else if (size > index - index0) doPageCacheRa(m, file, index, size - (index - index0), asyncSize);
}

/** Folios of two pages came late (6.9). @kernel mm/readahead.c page_cache_ra_order (6.1) */
const noOrder1 = (m: Machine, min: number, order: number): number =>
  order === 1 && min === 0 && !m.release.largeFolioOrder1 ? 0 : order;

/** First page of the folio of `nr` pages that a mark at page `mark` falls to. @kernel mm/readahead.c ra_alloc_folio (6.18) */
const roundMark = (m: Machine, mark: number, nr: number): number =>
  (m.release.readaheadMark === 'down' ? Math.floor(mark / nr) : Math.ceil(mark / nr)) * nr;

/** One folio of a window. @kernel mm/readahead.c ra_alloc_folio (6.18) */
function raAllocFolio(m: Machine, mapping: MappingId, index: number, order: number, marked: boolean): number {
  const folio = folioAlloc(m, READAHEAD_GFP, order);
  if (folio === 0) return ENOMEM;
  if (marked) folioSet(m.map, folio, PG_readahead);
  const err = filemapAddFolio(m, mapping, folio, index, READAHEAD_GFP);
  folioPut(m, folio);
  return err;
}

/** Pages inside the file only. @kernel mm/readahead.c do_page_cache_ra (6.18) */
function doPageCacheRa(m: Machine, file: FileId, index: number, nr: number, lookahead: number): void {
  const mapping = m.files.mapping[file] as MappingId;
  const size = m.spaces.size[mapping] as number;
  if (size === 0) return;
  const end = Math.floor((size - 1) * m.pagesPerByte);
  if (index > end) return;
  if (nr <= end - index) pageCacheRaUnbounded(m, mapping, index, nr, lookahead);
  else
    pageCacheRaUnbounded(
      m,
      mapping,
      index,
      end - index + 1,
      m.release.readahead === 'stored-order-eof' ? 0 : lookahead,
    );
}

/**
 * Folios of the smallest order for what is missing of `nr` pages; the one that begins `lookahead` pages before the end is
 * marked. @kernel mm/readahead.c page_cache_ra_unbounded (6.18)
 */
function pageCacheRaUnbounded(m: Machine, mapping: MappingId, index0: number, nr: number, lookahead: number): void {
  if (m.tracer !== null) m.tracer.raUnbounded?.(mapping, index0, nr, lookahead);
  const { pages, spaces } = m;
  const min = spaces.minOrder[mapping] as number;
  const unit = 1 << min;
  const base = index0 & -unit;
  const mark = lookahead <= nr ? ((index0 + nr - lookahead + unit - 1) & -unit) - base : -1;
  const total = nr + (index0 - base);
  let pending = base;
  let i = 0;
  while (i < total) {
    let err = EEXIST;
    if (xaLoad(pages, spaces.head[mapping] as number, base + i) <= 0) {
      err = raAllocFolio(m, mapping, base + i, min, i === mark);
      if (err === ENOMEM) break;
    }
    if (err !== 0) {
      readPages(m, mapping, pending, base + i - pending);
      pending = base + i + unit;
    }
    i += unit;
  }
  readPages(m, mapping, pending, base + i - pending);
}

/** @kernel mm/readahead.c read_pages (6.18) */
function readPages(m: Machine, mapping: MappingId, index: number, nr: number): void {
  if (nr > 0) opsOf(m, mapping).readahead(m, mapping, index, nr);
}

/**
 * Reads pages that somebody said they will want, as folios of the smallest order: at most one window, or one I/O of the
 * device where that is more. @kernel mm/readahead.c force_page_cache_ra (6.18)
 */
export function forcePageCacheRa(m: Machine, file: FileId, index: number, nr: number): void {
  const mapping = m.files.mapping[file] as MappingId;
  const chunk = FORCE_CHUNK_BYTES >> m.pageShift;
  let left = Math.min(nr, Math.max(m.spaces.ioPages[mapping] as number, m.files.raPages[file] as number));
  let at = index;
  while (left > 0) {
    const n = Math.min(chunk, left);
    doPageCacheRa(m, file, at, n, 0);
    at += n;
    left -= n;
  }
}

/**
 * The decision of 6.9 and older, one for a miss (`hit` 0) and for a hit on the marked folio. A miss right behind the last
 * window goes on with it; a window whose mark would be its first page, which is being read right now, swallows the next one.
 * @kernel mm/readahead.c ondemand_readahead (6.6)
 */
function ondemandReadahead(m: Machine, file: FileId, index: number, req: number, hit: FolioId): void {
  const { files } = m;
  const mapping = files.mapping[file] as MappingId;
  const head = m.spaces.head[mapping] as number;
  const max = maxPages(m, file, req);
  const start = files.start[file] as number;
  const size = files.size[file] as number;
  const nr = hit === NO_FOLIO ? 1 : folioNrPages(m.map, hit);
  const expected = roundMark(m, start + size - (files.asyncSize[file] as number), nr);
  const prevPos = files.prevPos[file] as number;
  const sincePrev = prevPos < 0 ? -1 : index - Math.floor(prevPos / m.config.pageSize);
  const setWindow = (from: number, pages: number, ahead: number): void => {
    files.start[file] = from;
    files.size[file] = pages;
    files.asyncSize[file] = ahead;
  };
  const initial = (): void => {
    const pages = getInitRaSize(req, max);
    setWindow(index, pages, pages > req ? pages - req : pages);
  };
  if (index === 0) initial();
  else if (index === expected || index === start + size) {
    const next = getNextRaSize(size, max);
    const pages = m.release.readaheadMayShrink ? next : Math.max(size, next);
    setWindow(start + size, pages, pages);
  } else if (hit !== NO_FOLIO) {
    let gap = nextMiss(m.pages, head, index + 1, max);
    // Without a gap older kernels named the last page looked at.
    if (gap === index + 1 + max && m.release.nextMissFull === 'last') gap--;
    if (gap === 0 || gap - index > max) return;
    const pages = getNextRaSize(gap - index + req, max);
    setWindow(gap, pages, pages);
  } else if (req > max || sincePrev === 0 || sincePrev === 1) initial();
  else {
    let contig = index - 1 - prevMiss(m.pages, head, index - 1, max);
    if (contig <= req) {
      doPageCacheRa(m, file, index, req, 0);
      return;
    }
    if (contig >= index) contig *= 2;
    setWindow(index, Math.min(contig + req, max), 1);
  }
  const pages = files.size[file] as number;
  if (index === files.start[file] && pages === files.asyncSize[file]) {
    const add = getNextRaSize(pages, max);
    if (pages + add <= max) setWindow(index, pages + add, add);
    else setWindow(index, max, max >> 1);
  }
  const from = files.start[file] as number;
  files.order[file] = hit === NO_FOLIO ? 0 : folioOrder(m.map, hit);
  if (m.release.readahead === 'page')
    doPageCacheRa(m, file, from, files.size[file] as number, files.asyncSize[file] as number);
  else pageCacheRaOrder(m, file, from);
}
