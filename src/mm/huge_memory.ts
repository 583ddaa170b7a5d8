/**
 * Splitting a large folio: into equal pieces, or (6.15 and newer) by halving, again and again, the piece that holds one page,
 * so that all the other halves stay large:
 *
 *   order 9, cut at page 100:  0:6 64:5 96:2 100:0 101:0 102:1 104:3 112:4 128:7 256:8
 *
 * The memory map is relabelled in place: pieces are heads where tails were. Nobody but the cache and the caller may hold the
 * folio, and its private data must be given up first: a folio with dirty blocks cannot be split.
 */
import { assert } from '../base/errors.ts';
import { xaSplit } from '../base/xarray.ts';
import { filemapReleaseFolio, filemapRemoveFolio } from './filemap.ts';
import type { FolioId } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  clearCompoundPage,
  folioClear,
  folioFlags,
  folioIndex,
  folioMapping,
  folioMemcg,
  folioOrder,
  folioRefCount,
  folioSet,
  folioSetCount,
  folioSetIndex,
  folioSetMapping,
  folioSetMemcg,
  folioTest,
  initFolio,
  PAGE_WORDS,
  prepCompoundPage,
} from './mm_types.ts';
import { PG, PG_large_rmappable } from './page_flags.ts';
import { folioCancelDirty } from './page_writeback.ts';
import { folioPut, lruAddSplitFolio } from './swap.ts';
import { V } from './vmstat.ts';

/** Flags that every piece takes over. @kernel mm/huge_memory.c __split_folio_to_order (6.18) */
const SPLIT_FLAGS =
  PG.PG_referenced |
  PG.PG_swapbacked |
  PG.PG_mlocked |
  PG.PG_uptodate |
  PG.PG_active |
  PG.PG_workingset |
  PG.PG_locked |
  PG.PG_unevictable |
  PG.PG_dirty |
  PG.PG_young |
  PG.PG_idle;

interface Piece {
  index: number;
  order: number;
  entry: number;
}

/**
 * Splits a locked folio with one caller's reference beside the cache's so that the page at `offset` (pages from its start)
 * lies in a folio of `newOrder`. False when it cannot be split; then nothing has changed. On success every piece is
 * unlocked but the first, which keeps the lock and the caller's reference; later pieces beyond the end of the file are gone.
 * @kernel mm/huge_memory.c __folio_split (6.18)
 */
export function folioSplit(m: Machine, folio: FolioId, newOrder: number, offset: number, uniform: boolean): boolean {
  const { map, spaces } = m;
  const order = folioOrder(map, folio);
  const mapping = folioMapping(map, folio);
  assert(folioTest(map, folio, PG.PG_locked), 'folioSplit: the folio is locked');
  if (mapping === 0 || newOrder >= order || newOrder < (spaces.minOrder[mapping] as number)) return false;
  if (folioTest(map, folio, PG.PG_writeback)) return false;
  if (!filemapReleaseFolio(m, folio)) return fail(m);
  // One reference a page, and the caller's.
  if (folioRefCount(map, folio) !== (1 << order) + 1) return fail(m);

  const index = folioIndex(map, folio);
  const shape = uniform ? cutEvenly(order, newOrder) : cutAround(order, newOrder, offset);
  const pieces: Piece[] = shape.map(([at, o]) => ({ index: index + at, order: o, entry: folio + at }));
  const flags = folioFlags(map, folio);
  const memcg = folioMemcg(map, folio);
  const onLru = (flags & PG.PG_lru) !== 0;

  clearCompoundPage(map, folio as number as never, order);
  for (const piece of pieces) {
    const f = piece.entry as FolioId;
    if (f !== folio) initFolio(map, f);
    if (piece.order > 0) {
      prepCompoundPage(map, f as number as never, piece.order);
      map[f * PAGE_WORDS + PAGE_WORDS] = (map[f * PAGE_WORDS + PAGE_WORDS] as number) | PG_large_rmappable;
    }
    if (f !== folio) folioSet(map, f, flags & SPLIT_FLAGS);
    folioSetMapping(map, f, mapping);
    folioSetIndex(map, f, piece.index);
    folioSetMemcg(map, f, memcg);
    // The cache's references, and one more until the caller's is settled below.
    folioSetCount(map, f, (1 << piece.order) + 1);
  }
  xaSplit(m.pages, spaces.head, mapping, index, order, pieces);
  if (onLru) for (const piece of pieces) if (piece.entry !== folio) lruAddSplitFolio(m, folio, piece.entry as FolioId);
  m.vmstat[V.thp_split_page] = (m.vmstat[V.thp_split_page] as number) + (order >= 9 ? 1 : 0);

  const end = Math.ceil((spaces.size[mapping] as number) / m.config.pageSize);
  const swapbacked = (flags & PG.PG_swapbacked) !== 0;
  for (const piece of pieces) {
    const f = piece.entry as FolioId;
    if (f === folio) continue;
    if (piece.index >= end && !swapbacked) {
      folioCancelDirty(m, f);
      filemapRemoveFolio(m, f, -1, 0);
    }
    folioClear(map, f, PG.PG_locked);
    folioPut(m, f);
  }
  return true;
}

function fail(m: Machine): boolean {
  m.vmstat[V.thp_split_page_failed] = (m.vmstat[V.thp_split_page_failed] as number) + 1;
  return false;
}

/** [offset, order] of the pieces, ascending. */
function cutEvenly(order: number, newOrder: number): [number, number][] {
  const pieces: [number, number][] = [];
  for (let at = 0; at < 1 << order; at += 1 << newOrder) pieces.push([at, newOrder]);
  return pieces;
}

/** [offset, order] of the pieces that halving around `offset` leaves, ascending. */
export function cutAround(order: number, newOrder: number, offset: number): [number, number][] {
  const before: [number, number][] = [];
  const after: [number, number][] = [];
  let start = 0;
  for (let o = order - 1; o >= newOrder; o--) {
    const half = 1 << o;
    if (offset >= start + half) {
      before.push([start, o]);
      start += half;
    } else after.push([start + half, o]);
  }
  return [...before, [start, newOrder], ...after.reverse()];
}
