/**
 * Migration: a folio's contents and identity move to another descriptor of the same size, so that its frames become free.
 *
 *   isolated from its list (+1 reference) ─► new folio ─► slot in the cache, flags, private data, group ─► new folio on the LRU
 *
 * It moves only if nobody but the caches, page tables, its private data and the isolation refers to it, and if it is neither
 * locked nor under write-back. Where the kernel would wait for that, the folio counts as failed. What maps it waits meanwhile
 * (migration entries) and maps the new one then. A folio for which there is no target of its size is split, and its pieces move;
 * so is one that is mapped in part.
 *
 * @kernel mm/migrate.c migrate_pages (6.18)
 */

import { folioTestDeferred, folioTestPartiallyMapped, folioUnqueueDeferredSplit } from './deferred_split.ts';
import { pageCacheReplaceFolio } from './filemap.ts';
import { folioSplit } from './huge_memory.ts';
import { type FolioId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  FOLIO_WORDS,
  folioClear,
  folioFlags,
  folioMapping,
  folioMemcg,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioSetMemcg,
  folioTest,
  folioTestAnon,
  listNext,
  listSetNext,
  pageFolio,
  W_INDEX,
  W_MAPPING,
  W_PRIVATE,
} from './mm_types.ts';
import { PG, PG_readahead, PG_swapcache } from './page_flags.ts';
import { folioMapcount, folioMapped } from './rmap.ts';
import { removeMigrationPtes, tryToMigrate } from './rmap_migrate.ts';
import { folioAddLru, folioPut, lruAddDrain } from './swap.ts';
import { swapCacheReplaceFolio } from './swap_state.ts';
import { folioSwap } from './swap_table.ts';
import { MTHP, modMthpStat } from './thp.ts';
import { V } from './vmstat.ts';
import { copyPageWritten } from './written.ts';

/** @kernel include/linux/migrate_mode.h enum migrate_mode (6.18) */
export const MIGRATE_ASYNC = 0;
export const MIGRATE_SYNC_LIGHT = 1;
export const MIGRATE_SYNC = 2;

export const ENOMEM = -12;

/** Folios taken off the LRU, linked through the memory map; each with one reference of the list's. */
export interface IsolatedFolios {
  head: FolioId;
  tail: FolioId;
}

export function isolatedAdd(m: Machine, list: IsolatedFolios, f: FolioId): void {
  listSetNext(m.map, f, list.head);
  if (list.head === 0) list.tail = f;
  list.head = f;
}
function isolatedAddTail(m: Machine, list: IsolatedFolios, f: FolioId): void {
  listSetNext(m.map, f, 0);
  if (list.head === 0) list.head = f;
  else listSetNext(m.map, list.tail, f);
  list.tail = f;
}
function isolatedPop(m: Machine, list: IsolatedFolios): FolioId {
  const f = list.head;
  list.head = listNext(m.map, f);
  listSetNext(m.map, f, NO_FOLIO);
  return f;
}

/** Puts isolated folios back on the LRU, as if new there. @kernel mm/migrate.c putback_movable_pages (6.18) */
export function putbackMovablePages(m: Machine, list: IsolatedFolios): void {
  while (list.head !== 0) folioPutbackLru(m, isolatedPop(m, list));
}

/** @kernel mm/vmscan.c folio_putback_lru (6.18) */
function folioPutbackLru(m: Machine, f: FolioId): void {
  folioAddLru(m, f);
  folioPut(m, f);
}

/** Flags that go with the contents. @kernel mm/migrate.c folio_migrate_flags (6.18) */
const MIGRATE_FLAGS =
  PG.PG_referenced |
  PG.PG_uptodate |
  PG.PG_active |
  PG.PG_unevictable |
  PG.PG_workingset |
  PG.PG_owner_priv_1 |
  PG.PG_owner_2 |
  PG.PG_dirty |
  PG.PG_young |
  PG.PG_idle |
  PG.PG_swapbacked |
  PG_readahead;

/** Is an anonymous folio in the swap cache? */
const inSwapCache = (flags: number): boolean =>
  (flags & (PG_swapcache | PG.PG_swapbacked)) === (PG_swapcache | PG.PG_swapbacked);

/** May the folio move now? The isolation holds one reference. @kernel include/linux/mm.h folio_expected_ref_count (6.18) */
function mayMove(m: Machine, src: FolioId): boolean {
  const { map } = m;
  const flags = folioFlags(map, src);
  if ((flags & (PG.PG_locked | PG.PG_writeback)) !== 0) return false;
  const anon = folioTestAnon(map, src);
  if (!anon && folioMapping(map, src) === 0) return false;
  const cached = !anon || inSwapCache(flags) ? folioNrPages(map, src) : 0;
  const expected = cached + folioMapcount(m, src) + (!anon && (flags & PG.PG_private) !== 0 ? 1 : 0) + 1;
  return folioRefCount(map, src) === expected;
}

/** An anonymous folio's place: its address, and its slots of swap. @kernel mm/migrate.c __folio_migrate_mapping (6.18) */
function migrateAnonMapping(m: Machine, src: FolioId, dst: FolioId): void {
  const { map } = m;
  const order = folioOrder(map, src);
  if (order > 0) {
    folioUnqueueDeferredSplit(m, src);
    modMthpStat(m, order, MTHP.nr_anon, 1);
  }
  map[dst * FOLIO_WORDS + W_INDEX] = map[src * FOLIO_WORDS + W_INDEX];
  map[dst * FOLIO_WORDS + W_MAPPING] = map[src * FOLIO_WORDS + W_MAPPING];
  const from = folioPfn(map, src);
  const to = folioPfn(map, dst);
  for (let i = 0; i < 1 << order; i++) copyPageWritten(m, to + i, (from + i) as Pfn);
  if (!inSwapCache(folioFlags(map, src))) return;
  swapCacheReplaceFolio(m, dst, folioSwap(m, src));
  folioRefAdd(map, dst, 1 << order);
  folioRefAdd(map, src, -(1 << order));
  map[src * FOLIO_WORDS + W_PRIVATE] = 0;
}

/**
 * Moves a folio that nobody else uses to `dst`, a new folio of its order with one reference, and frees it. False: it may be
 * pinned, and stays. @kernel mm/migrate.c migrate_folio_move (6.18)
 */
function moveToNewFolio(m: Machine, src: FolioId, dst: FolioId): boolean {
  const { map } = m;
  const anon = folioTestAnon(map, src);
  const mapped = folioMapped(m, src);
  const locked = folioTest(map, src, PG.PG_mlocked);
  if (mapped) {
    tryToMigrate(m, src, 0);
    if (folioMapped(m, src)) {
      removeMigrationPtes(m, src, src, 0);
      return false;
    }
  }
  const flags = folioFlags(map, src);
  if (anon) migrateAnonMapping(m, src, dst);
  else {
    pageCacheReplaceFolio(m, src, dst);
    if (m.bytes !== null) m.bytes.copyFolio(dst, src);
  }
  if (!anon && (flags & PG.PG_private) !== 0) {
    map[dst * FOLIO_WORDS + W_PRIVATE] = map[src * FOLIO_WORDS + W_PRIVATE];
    map[src * FOLIO_WORDS + W_PRIVATE] = 0;
    folioClear(map, src, PG.PG_private);
    folioRefAdd(map, src, -1);
    folioSet(map, dst, PG.PG_private);
    folioRefAdd(map, dst, 1);
  }
  folioSet(map, dst, flags & (anon ? MIGRATE_FLAGS & ~(PG.PG_owner_priv_1 | PG.PG_owner_2) : MIGRATE_FLAGS));
  folioClear(map, src, MIGRATE_FLAGS);
  folioSetMemcg(map, dst, folioMemcg(map, src));
  folioSetMemcg(map, src, 0);
  folioAddLru(m, dst);
  if (locked) lruAddDrain(m);
  if (mapped) removeMigrationPtes(m, src, dst, 0);
  folioPut(m, dst);
  folioPut(m, src);
  return true;
}

/**
 * Splits an isolated folio to its file's smallest order and lists the pieces; false when it must stay whole.
 * @kernel mm/migrate.c try_split_folio (6.18)
 */
function trySplitFolio(m: Machine, src: FolioId, list: IsolatedFolios): boolean {
  const { map, spaces } = m;
  if (!mayMove(m, src)) return false;
  const order = folioOrder(map, src);
  const small = folioTestAnon(map, src) ? 0 : spaces.minOrder[folioMapping(map, src)];
  if (small >= order) return false;
  folioSet(map, src, PG.PG_locked);
  const done = folioSplit(m, src, small, 0, true);
  folioClear(map, src, PG.PG_locked);
  if (!done) return false;
  const start = folioPfn(map, src);
  for (let p = start as number; p < start + (1 << order); p += 1 << small) {
    const f = pageFolio(map, p as Pfn);
    if (f !== src) {
      // Pieces that nobody maps, or past the end of the file, are free by now.
      if (f === NO_FOLIO || folioRefCount(map, f) === 0) continue;
      folioRefAdd(map, f, 1);
    }
    isolatedAddTail(m, list, f);
  }
  return true;
}

/** Where folios go: a new folio with one reference or NO_FOLIO, and a folio given back unused. */
export interface MigrationTarget<D> {
  getNewFolio(m: Machine, data: D, order: number): FolioId;
  putNewFolio(m: Machine, data: D, dst: FolioId): void;
}

/**
 * Moves the folios of a list; those that cannot move stay on it. Returns how many failed, or ENOMEM when there was no
 * target left. @kernel mm/migrate.c migrate_pages_batch (6.18)
 */
export function migratePages<D>(m: Machine, list: IsolatedFolios, target: MigrationTarget<D>, data: D): number {
  const { map, vmstat } = m;
  const from: IsolatedFolios = { head: list.head, tail: list.tail };
  const failed: IsolatedFolios = { head: NO_FOLIO, tail: NO_FOLIO };
  let nrFailed = 0;
  let result = 0;
  while (from.head !== 0) {
    const src = isolatedPop(m, from);
    const nr = folioNrPages(map, src);
    if (folioRefCount(map, src) === 1) {
      // Freed while it was isolated: this was the last reference.
      folioPut(m, src);
      vmstat[V.pgmigrate_success] += nr;
      continue;
    }
    const huge = nr === 1 << m.thp.pmdOrder ? 1 : 0;
    if (nr > 2 && folioTestDeferred(m, src) && folioTestPartiallyMapped(m, src) && trySplitFolio(m, src, from)) {
      nrFailed++;
      vmstat[V.thp_migration_fail] += huge;
      vmstat[V.thp_migration_split] += huge;
      continue;
    }
    const dst = target.getNewFolio(m, data, folioOrder(map, src));
    if (dst === NO_FOLIO) {
      if (nr > 1 && trySplitFolio(m, src, from)) {
        vmstat[V.thp_migration_split] += huge;
        continue;
      }
      result = ENOMEM;
    } else if (mayMove(m, src) && moveToNewFolio(m, src, dst)) {
      vmstat[V.pgmigrate_success] += nr;
      vmstat[V.thp_migration_success] += huge;
      continue;
    } else target.putNewFolio(m, data, dst);
    nrFailed++;
    vmstat[V.pgmigrate_fail] += nr;
    vmstat[V.thp_migration_fail] += huge;
    isolatedAddTail(m, failed, src);
    if (result !== 0) break;
  }
  while (from.head !== 0) isolatedAddTail(m, failed, isolatedPop(m, from));
  list.head = failed.head;
  list.tail = failed.tail;
  return result !== 0 ? result : nrFailed;
}

/** Is the folio used by caches and page tables alone, so that isolating it is worth the while? The scanner's tests. @kernel mm/compaction.c isolate_migratepages_block (6.18) */
export function mayIsolate(m: Machine, f: FolioId, mayEnterFs: boolean, async: boolean): boolean {
  const { map } = m;
  const mapping = folioMapping(map, f) !== 0 || (folioTestAnon(map, f) && inSwapCache(folioFlags(map, f)));
  if (!mapping && folioRefCount(map, f) > folioMapcount(m, f)) return false;
  if (!mayEnterFs && mapping) return false;
  if (async && folioTest(map, f, PG.PG_writeback)) return false;
  const dirty = async && folioTest(map, f, PG.PG_dirty);
  return !((dirty || folioTest(map, f, PG.PG_unevictable)) && folioTest(map, f, PG.PG_locked));
}
