/**
 * Migration: a folio's contents and identity move to another descriptor of the same size, so that its frames become free.
 *
 *   isolated from its list (+1 reference) ─► new folio ─► slot in the cache, flags, private data, group ─► new folio on the LRU
 *
 * It moves only if nobody but the cache, its private data and the isolation refers to it, and if it is neither locked nor
 * under write-back. Where the kernel would wait for that, the folio counts as failed. A folio for which there is no target of
 * its size is split, and its pieces move.
 *
 * @kernel mm/migrate.c migrate_pages (6.18)
 */

import { pageCacheReplaceFolio } from './filemap.ts';
import { folioSplit } from './huge_memory.ts';
import type { MappingId } from './ids.ts';
import { type FolioId, NO_FOLIO } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  folioClear,
  folioFlags,
  folioMapping,
  folioMemcg,
  folioNrPages,
  folioOrder,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioSetMemcg,
  folioTest,
  listNext,
  listSetNext,
  PAGE_WORDS,
  W_MAPPING,
  W_PRIVATE,
} from './mm_types.ts';
import { PG, PG_readahead } from './page_flags.ts';
import { folioAddLru, folioPut } from './swap.ts';
import { V } from './vmstat.ts';

/** @kernel include/linux/migrate_mode.h enum migrate_mode (6.18) */
export const MIGRATE_ASYNC = 0;
export const MIGRATE_SYNC_LIGHT = 1;
export const MIGRATE_SYNC = 2;

export const ENOMEM = -12;

/** Folios taken off the LRU, linked through the memory map; each with one reference of the list's. */
export interface IsolatedFolios {
  head: number;
  tail: number;
}

export function isolatedAdd(m: Machine, list: IsolatedFolios, f: number): void {
  listSetNext(m.map, f, list.head);
  if (list.head === 0) list.tail = f;
  list.head = f;
}
function isolatedAddTail(m: Machine, list: IsolatedFolios, f: number): void {
  listSetNext(m.map, f, 0);
  if (list.head === 0) list.head = f;
  else listSetNext(m.map, list.tail, f);
  list.tail = f;
}
function isolatedPop(m: Machine, list: IsolatedFolios): FolioId {
  const f = list.head;
  list.head = listNext(m.map, f);
  listSetNext(m.map, f, 0);
  return f as FolioId;
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

/** May the folio move now? The isolation holds one reference. @kernel mm/migrate.c folio_expected_ref_count (6.18) */
function mayMove(m: Machine, src: FolioId): boolean {
  const { map } = m;
  const flags = folioFlags(map, src);
  if ((flags & (PG.PG_locked | PG.PG_writeback)) !== 0) return false;
  if (folioMapping(map, src) === 0 || (map[src * PAGE_WORDS + W_MAPPING] & 3) !== 0) return false;
  const expected = folioNrPages(map, src) + ((flags & PG.PG_private) !== 0 ? 1 : 0) + 1;
  return folioRefCount(map, src) === expected;
}

/**
 * Moves a cached folio that nobody else uses to `dst`, a new folio of its order with one reference, and frees it.
 * @kernel mm/migrate.c filemap_migrate_folio (6.18)
 */
function moveToNewFolio(m: Machine, src: FolioId, dst: FolioId): void {
  const { map } = m;
  const flags = folioFlags(map, src);
  pageCacheReplaceFolio(m, src, dst);
  if ((flags & PG.PG_private) !== 0) {
    map[dst * PAGE_WORDS + W_PRIVATE] = map[src * PAGE_WORDS + W_PRIVATE];
    map[src * PAGE_WORDS + W_PRIVATE] = 0;
    folioClear(map, src, PG.PG_private);
    folioRefAdd(map, src, -1);
    folioSet(map, dst, PG.PG_private);
    folioRefAdd(map, dst, 1);
  }
  folioSet(map, dst, flags & MIGRATE_FLAGS);
  folioClear(map, src, MIGRATE_FLAGS);
  folioSetMemcg(map, dst, folioMemcg(map, src));
  folioSetMemcg(map, src, 0);
  folioAddLru(m, dst);
  folioPut(m, dst);
  folioPut(m, src);
}

/**
 * Splits an isolated folio to its file's smallest order and lists the pieces; false when it must stay whole.
 * @kernel mm/migrate.c try_split_folio (6.18)
 */
function trySplitFolio(m: Machine, src: FolioId, list: IsolatedFolios): boolean {
  const { map, spaces } = m;
  if (!mayMove(m, src)) return false;
  const mapping: MappingId = folioMapping(map, src);
  const order = folioOrder(map, src);
  const small = spaces.minOrder[mapping];
  if (small >= order) return false;
  folioSet(map, src, PG.PG_locked);
  const done = folioSplit(m, src, small, 0, true);
  folioClear(map, src, PG.PG_locked);
  if (!done) return false;
  for (let f = src as number; f < src + (1 << order); f += 1 << small) {
    if (f !== src) {
      // Pieces past the end of the file are free by now.
      if (folioRefCount(map, f as FolioId) === 0) continue;
      folioRefAdd(map, f as FolioId, 1);
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
  const failed: IsolatedFolios = { head: 0, tail: 0 };
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
    const dst = target.getNewFolio(m, data, folioOrder(map, src));
    if (dst === NO_FOLIO) {
      if (nr > 1 && trySplitFolio(m, src, from)) continue;
      result = ENOMEM;
    } else if (mayMove(m, src)) {
      moveToNewFolio(m, src, dst);
      vmstat[V.pgmigrate_success] += nr;
      continue;
    } else target.putNewFolio(m, data, dst);
    nrFailed++;
    vmstat[V.pgmigrate_fail] += nr;
    isolatedAddTail(m, failed, src);
    if (result !== 0) break;
  }
  while (from.head !== 0) isolatedAddTail(m, failed, isolatedPop(m, from));
  list.head = failed.head;
  list.tail = failed.tail;
  return result !== 0 ? result : nrFailed;
}

/** Is the folio on an LRU list, and used by its file alone, so that isolating it is worth the while? The scanner's tests. @kernel mm/compaction.c isolate_migratepages_block (6.18) */
export function mayIsolate(m: Machine, f: FolioId, mayEnterFs: boolean, async: boolean): boolean {
  const { map } = m;
  const mapping = folioMapping(map, f);
  if (mapping === 0 && folioRefCount(map, f) > 0) return false;
  if (!mayEnterFs && mapping !== 0) return false;
  if (async && folioTest(map, f, PG.PG_writeback)) return false;
  const dirty = async && folioTest(map, f, PG.PG_dirty);
  return !((dirty || folioTest(map, f, PG.PG_unevictable)) && folioTest(map, f, PG.PG_locked));
}
