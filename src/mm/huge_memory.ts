/**
 * Splitting a large folio: into equal pieces, or (6.15 and newer) by halving, again and again, the piece that holds one page,
 * so that all the other halves stay large:
 *
 *   order 9, cut at page 100:  0:6 64:5 96:2 100:0 101:0 102:1 104:3 112:4 128:7 256:8
 *
 * The memory map is relabelled in place: pieces are heads where tails were. Nobody but the cache, the page tables and the caller
 * may hold the folio. What maps a file's folio is taken away, and faults again; what maps anonymous memory becomes migration
 * entries for the time being. A file's private data must be given up first: a folio with dirty blocks cannot be split.
 *
 * @kernel mm/huge_memory.c __folio_split (6.18)
 */

import { assert } from '../base/errors.ts';
import { xaSplit } from '../base/xarray.ts';
import { folioUnqueueDeferredSplit } from './deferred_split.ts';
import { filemapReleaseFolio, filemapRemoveFolio } from './filemap.ts';
import { type FolioId, type MappingId, NO_FOLIO, type Pfn, type SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { lruAddSplitFolio } from './mm_inline.ts';
import {
  clearCompound,
  FOLIO_WORDS,
  folioClear,
  folioFlags,
  folioIndex,
  folioInit,
  folioMapping,
  folioMemcg,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefCount,
  folioSet,
  folioSetAnonPages,
  folioSetCount,
  folioSetIndex,
  folioSetMemcg,
  folioTest,
  folioTestAnon,
  prepCompound,
  W_MAPPING,
} from './mm_types.ts';
import { tryToUnmapFlush } from './mmu_gather.ts';
import { PG, PG_large_rmappable, PG_swapcache } from './page_flags.ts';
import { hwpoisonedPages, markHwpoisonedPages } from './page_poison.ts';
import { folioCancelDirty } from './page_writeback.ts';
import { folioMapcount, folioMapped } from './rmap.ts';
import { RMP_USE_SHARED_ZEROPAGE, removeMigrationPtes, tryToMigrate } from './rmap_migrate.ts';
import { TTU_BATCH_FLUSH, TTU_IGNORE_MLOCK, TTU_SPLIT_HUGE_PMD, tryToUnmap } from './rmap_walk.ts';
import { folioPut } from './swap.ts';
import { swapCacheReplaceFolio } from './swap_state.ts';
import { folioSwap } from './swap_table.ts';
import { freeSwapCache } from './swapfile.ts';
import { countMthpStat, MTHP, modMthpStat } from './thp.ts';
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

/** Is an anonymous folio in the swap cache? */
const inSwapCache = (m: Machine, f: FolioId): boolean =>
  (folioFlags(m.map, f) & (PG_swapcache | PG.PG_swapbacked)) === (PG_swapcache | PG.PG_swapbacked);

/** References of the swap cache or of the file. */
const extraPins = (m: Machine, f: FolioId): number =>
  folioTestAnon(m.map, f) && !inSwapCache(m, f) ? 0 : folioNrPages(m.map, f);

/** Does nobody refer to the folio but the caches, the page tables, and the caller so often? @kernel mm/huge_memory.c can_split_folio (6.18) */
export const canSplitFolio = (m: Machine, f: FolioId, callerPins: number): boolean =>
  folioMapcount(m, f) === folioRefCount(m.map, f) - extraPins(m, f) - callerPins;

/**
 * Splits a locked folio with one caller's reference so that the page at `offset` (pages from its start) lies in a folio of
 * `newOrder`. False when it cannot be split; then nothing has changed. On success every piece is unlocked but the first, which
 * keeps the lock and the caller's reference; pieces that nobody maps, or beyond the end of the file, are gone.
 * @kernel mm/huge_memory.c __folio_split (6.18)
 */
export function folioSplit(m: Machine, folio: FolioId, newOrder: number, offset: number, uniform: boolean): boolean {
  const { map, spaces } = m;
  const order = folioOrder(map, folio);
  const anon = folioTestAnon(map, folio);
  const mapping = folioMapping(map, folio);
  assert(folioTest(map, folio, PG.PG_locked), 'folioSplit: the folio is locked');
  if (newOrder >= order || (!anon && mapping === 0) || folioTest(map, folio, PG.PG_writeback)) return false;
  const swapcache = anon && inSwapCache(m, folio);
  if (anon ? newOrder === 1 || (swapcache && (!uniform || newOrder > 0)) : newOrder < spaces.minOrder[mapping])
    return false;
  if (folio === m.thp.hugeZeroFolio && folio !== NO_FOLIO) return false;
  // Memory that is mapped no longer has lost its anon_vma.
  if (anon ? !folioMapped(m, folio) : !filemapReleaseFolio(m, folio)) return fail(m, order);
  if (!canSplitFolio(m, folio, 1)) return fail(m, order);
  const extra = extraPins(m, folio);
  unmapFolio(m, folio, order, anon);
  if (folioRefCount(map, folio) !== 1 + extra) {
    if (anon) removeMigrationPtes(m, folio, folio, 0);
    return fail(m, order);
  }
  folioUnqueueDeferredSplit(m, folio);

  const shape = uniform ? cutEvenly(order, newOrder) : cutAround(order, newOrder, offset, anon);
  const index = folioIndex(map, folio);
  const entry = swapcache ? folioSwap(m, folio) : 0;
  const pieces = relabel(m, folio, order, shape, index, anon);
  if (anon) {
    if (swapcache)
      for (const p of pieces) swapCacheReplaceFolio(m, p.entry as FolioId, (entry + p.index - index) as SwapEntry);
  } else xaSplit(m.pages, spaces.head, mapping, index, order, pieces);
  if (folioTest(map, folio, PG.PG_lru))
    for (const piece of pieces) if (piece.entry !== folio) lruAddSplitFolio(m, folio, piece.entry as FolioId);
  // @kernel mm/huge_memory.c remap_page (6.18)
  if (anon) for (const p of pieces) remap(m, p.entry as FolioId);
  if (order === m.thp.pmdOrder) m.vmstat[V.thp_split_page]++;
  countMthpStat(m, order, MTHP.split);
  for (const piece of pieces) if (piece.entry !== folio) letGo(m, piece, mapping, anon);
  return true;
}

const remap = (m: Machine, f: FolioId): void => removeMigrationPtes(m, f, f, RMP_USE_SHARED_ZEROPAGE);

function fail(m: Machine, order: number): boolean {
  if (order === m.thp.pmdOrder) m.vmstat[V.thp_split_page_failed]++;
  countMthpStat(m, order, MTHP.split_failed);
  return false;
}

/** @kernel mm/huge_memory.c unmap_folio (6.18) */
function unmapFolio(m: Machine, folio: FolioId, order: number, anon: boolean): void {
  if (!folioMapped(m, folio)) return;
  const huge = order >= m.thp.pmdOrder ? TTU_BATCH_FLUSH | TTU_SPLIT_HUGE_PMD : TTU_BATCH_FLUSH;
  if (anon) tryToMigrate(m, folio, huge);
  else tryToUnmap(m, folio, huge | TTU_IGNORE_MLOCK);
  tryToUnmapFlush(m);
}

/** Makes heads where tails were. Each piece has the caches' references, and one more. @kernel mm/huge_memory.c __split_unmapped_folio (6.18) */
function relabel(
  m: Machine,
  folio: FolioId,
  order: number,
  shape: readonly [number, number][],
  index: number,
  anon: boolean,
): Piece[] {
  const { map } = m;
  const pfn = folioPfn(map, folio);
  const flags = folioFlags(map, folio);
  const memcg = folioMemcg(map, folio);
  const word = map[folio * FOLIO_WORDS + W_MAPPING];
  const cached = !anon || inSwapCache(m, folio);
  if (anon) modMthpStat(m, order, MTHP.nr_anon, -1);
  const bad = hwpoisonedPages(m, pfn, order);
  clearCompound(map, folio, order);
  const pieces: Piece[] = [];
  for (const [at, o] of shape) {
    const f = at === 0 ? folio : folioInit(map, (pfn + at) as Pfn, o);
    if (at === 0 && o > 0) prepCompound(map, f, o);
    if (o > 0) map[f * FOLIO_WORDS + map.flags1] |= PG_large_rmappable;
    if (at > 0) folioSet(map, f, flags & SPLIT_FLAGS);
    map[f * FOLIO_WORDS + W_MAPPING] = word;
    folioSetIndex(map, f, index + at);
    folioSetMemcg(map, f, memcg);
    folioSetCount(map, f, (cached ? 1 << o : 0) + 1);
    if (anon) {
      folioSetAnonPages(map, f);
      modMthpStat(m, o, MTHP.nr_anon, 1);
    }
    pieces.push({ index: index + at, order: o, entry: f });
  }
  markHwpoisonedPages(m, bad);
  return pieces;
}

/** Unlocks a piece and drops the reference that the split had. */
function letGo(m: Machine, piece: Piece, mapping: MappingId, anon: boolean): void {
  const f = piece.entry as FolioId;
  if (
    !anon &&
    piece.index * m.config.pageSize >= m.spaces.size[mapping] &&
    piece.index >= m.spaces.fallocEnd[mapping]
  ) {
    folioCancelDirty(m, f);
    filemapRemoveFolio(m, f, -1, 0);
  }
  folioClear(m.map, f, PG.PG_locked);
  if (anon) freeSwapCache(m, f);
  folioPut(m, f);
}

/** [offset, order] of the pieces, ascending. */
function cutEvenly(order: number, newOrder: number): [number, number][] {
  const pieces: [number, number][] = [];
  for (let at = 0; at < 1 << order; at += 1 << newOrder) pieces.push([at, newOrder]);
  return pieces;
}

/** [offset, order] of the pieces that halving around `offset` leaves, ascending. Anonymous memory has no order 1: four pages instead. */
export function cutAround(order: number, newOrder: number, offset: number, anon: boolean): [number, number][] {
  const before: [number, number][] = [];
  const after: [number, number][] = [];
  let start = 0;
  let end = 1 << order;
  for (let o = order - 1; o >= newOrder; o--) {
    if (anon && o === 1) continue;
    const size = 1 << o;
    for (; start + size <= offset; start += size) before.push([start, o]);
    for (; end - size > offset; end -= size) after.push([end - size, o]);
  }
  return [...before, [start, newOrder], ...after.reverse()];
}
