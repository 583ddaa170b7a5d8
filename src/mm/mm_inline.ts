/**
 * LRU lists: every group of memory has five, and each evictable folio is on one of them.
 *
 *                 head (newest)                    tail (next victim)
 *   inactive   ─►  [ new ][ . ][ . ][ . ][ . ][ . ][ . ]  ─► reclaimed
 *                    ▲                 │ second read
 *                    │ deactivated     ▼
 *   active     ─►  [ . ][ . ][ . ][ . ][ . ]
 *
 * Lists 0 and 1 hold anonymous and tmpfs memory, 2 and 3 files (inactive, active), 4 what cannot be evicted. Sizes count
 * base pages, and folios beside them: a folio is one element whatever its order.
 */
import { assert } from '../base/errors.ts';
import { allocate, extend, f64, grow, i32, type Table } from '../base/table.ts';
import type { FolioId } from './ids.ts';
import { lruGenAddFolio, lruGenAddSplitFolio, lruGenDelFolio } from './lru_gen.ts';
import { type LruOrder, lruOrder, orderAdd } from './lru_order.ts';
import type { Machine } from './machine.ts';
import { FOLIO_WORDS, largeOrder, type MemoryMap, W_NEXT, W_PREV } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { type ReclaimList, reclaimList } from './vmscan_anon.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_head, PG_lru, PG_swapbacked, PG_unevictable } = PG;
const NR_LRU_BASE = V.nr_inactive_anon;

/** @kernel include/linux/mmzone.h enum lru_list (6.18) */
export const LRU_INACTIVE_ANON = 0;
export const LRU_ACTIVE_ANON = 1;
export const LRU_INACTIVE_FILE = 2;
export const LRU_ACTIVE_FILE = 3;
export const LRU_UNEVICTABLE = 4;
export const NR_LRU_LISTS = 5;

/** One row a group. @kernel include/linux/mmzone.h struct lruvec (6.18) */
export const lruvecLayout = {
  head: i32('newest folio of each list; 0: empty', NR_LRU_LISTS),
  tail: i32('oldest folio of each list; 0: empty', NR_LRU_LISTS),
  pages: f64('base pages on each list', NR_LRU_LISTS),
  folios: i32('folios on each list', NR_LRU_LISTS),
  anonCost: f64('recent cost of reclaiming anonymous memory'),
  fileCost: f64('recent cost of reclaiming files'),
  nonresidentAge: f64('evictions and activations so far, in pages'),
  refaultsAnon: f64('workingset_activate_anon at the end of the last reclaim'),
  refaultsFile: f64('workingset_activate_file at the end of the last reclaim'),
  flushedPages: f64('pages on each list when the statistics were last flushed', NR_LRU_LISTS),
  flushedSlab: f64('pages of kernel objects then'),
  flushedActivateAnon: f64('workingset_activate_anon then'),
  flushedActivateFile: f64('workingset_activate_file then'),
  shadowDeferred: f64('shadow nodes that the shrinker put off'),
  deferredHead: i32('deferred split queue: first folio'),
  deferredTail: i32('its last folio'),
  deferredLength: i32('folios on it'),
  splitDeferred: f64('folios of it that the shrinker put off'),
} as const;

/** What the one memory node knows beside its lists. @kernel include/linux/mmzone.h struct pglist_data (6.18) */
export interface NodeState {
  /** Swap slots that are free: 0 until there is swap. */
  swapPages: number;
  /** PGDAT_DIRTY and PGDAT_WRITEBACK: kswapd met nothing but such folios. */
  dirty: boolean;
  writeback: boolean;
  /** LRUVEC_NODE_CONGESTED: it met nothing but folios that it had marked before. */
  congested: boolean;
  /** kswapd: asked for, at which order, up to which zone, and runs without result. */
  kswapdWoken: boolean;
  kswapdOrder: number;
  kswapdZone: number;
  kswapdFailures: number;
  /** The hardest that reclaim ever tried: 12 is a light touch, 0 the whole of each list; 13: there was no reclaim. */
  lowestPriority: number;
  /** Next group that direct reclaim of the whole machine looks at. */
  iterator: number;
}

export interface Lruvecs extends Table<typeof lruvecLayout> {
  readonly node: NodeState;
  /** Folios taken off a list by the reclaim in progress. */
  readonly isolated: Int32Array;
  /** Where in the page cache's tree they are, as far as that has been looked up; and what was seen there. */
  readonly slotOf: Int32Array;
  seen: number;
  /** The folios of a reclaim that looks at mapped memory. */
  readonly reclaim: ReclaimList;
  /** By list: in which order its folios came. Kept for files only. */
  readonly order: LruOrder[];
  /** Scratch of shrinkLruvec: pages to scan, and as they were at first. */
  readonly scan: Float64Array;
  /** Out of workingsetEviction: the age of the eviction, mod 2^32. */
  readonly evictionAge: Float64Array;
}

/** Lists of `rows` groups, all empty. */
export const lruvecsInit = (rows: number): Lruvecs =>
  extend(allocate(lruvecLayout, rows), {
    node: {
      swapPages: 0,
      dirty: false,
      writeback: false,
      congested: false,
      kswapdWoken: false,
      kswapdOrder: 0,
      kswapdZone: 0,
      kswapdFailures: 0,
      lowestPriority: 13,
      iterator: 0,
    },
    isolated: new Int32Array(64),
    slotOf: new Int32Array(64),
    seen: 0,
    reclaim: reclaimList(),
    order: Array.from({ length: rows * NR_LRU_LISTS }, lruOrder),
    scan: new Float64Array(2 * NR_LRU_LISTS),
    evictionAge: new Float64Array(1),
  });

export function lruvecsGrow(t: Lruvecs, rows: number): void {
  grow(lruvecLayout, t, rows);
  while (t.order.length < rows * NR_LRU_LISTS) t.order.push(lruOrder());
}

/** The list that flags ask for. @kernel include/linux/mm_inline.h folio_lru_list (6.18) */
export function folioLruList(flags: number): number {
  if ((flags & PG_unevictable) !== 0) return LRU_UNEVICTABLE;
  return ((flags & PG_swapbacked) === 0 ? LRU_INACTIVE_FILE : 0) + ((flags & PG_active) === 0 ? 0 : 1);
}

/** Pages of a folio at word `w` of the map, by its flags. */
export const nrPages = (map: MemoryMap, w: number, flags: number): number =>
  (flags & PG_head) === 0 ? 1 : 1 << largeOrder(map, w);

/** Counts `folios` more folios of together `nr` pages on list `k`. @kernel include/linux/mm_inline.h update_lru_size (6.18) */
export function updateLruSize(m: Machine, k: number, lru: number, nr: number, folios: number): void {
  const t = m.lruvecs;
  t.pages[k] += nr;
  t.folios[k] += folios;
  m.vmstat[NR_LRU_BASE + lru] += nr;
}

/** Puts a folio at the newest end of the list its flags say. @kernel include/linux/mm_inline.h lruvec_add_folio (6.18) */
export function lruvecAddFolio(m: Machine, f: FolioId): void {
  if (m.lruGen !== null && lruGenAddFolio(m, f, false)) return;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const lru = folioLruList(flags);
  const k = map[w + map.memcg] * NR_LRU_LISTS + lru;
  const { head, tail } = m.lruvecs;
  const first = head[k];
  map[w + W_NEXT] = first << 1;
  map[w + W_PREV] = 0;
  if (first !== 0) map[first * FOLIO_WORDS + W_PREV] = f << 1;
  else tail[k] = f;
  head[k] = f;
  if (lru === LRU_INACTIVE_FILE || lru === LRU_ACTIVE_FILE) orderAdd(m.lruvecs.order[k], f, m.lruvecs.folios[k]);
  updateLruSize(m, k, lru, nrPages(map, w, flags), 1);
}

/** Puts a folio at the oldest end: the next victim. @kernel include/linux/mm_inline.h lruvec_add_folio_tail (6.18) */
export function lruvecAddFolioTail(m: Machine, f: FolioId): void {
  if (m.lruGen !== null && lruGenAddFolio(m, f, true)) return;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const lru = folioLruList(flags);
  const k = map[w + map.memcg] * NR_LRU_LISTS + lru;
  const { head, tail } = m.lruvecs;
  const last = tail[k];
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = last << 1;
  if (last !== 0) map[last * FOLIO_WORDS + W_NEXT] = f << 1;
  else head[k] = f;
  tail[k] = f;
  updateLruSize(m, k, lru, nrPages(map, w, flags), 1);
}

/** Takes a folio off its list; PG_lru is the caller's. @kernel include/linux/mm_inline.h lruvec_del_folio (6.18) */
export function lruvecDelFolio(m: Machine, f: FolioId): void {
  if (m.lruGen !== null && lruGenDelFolio(m, f, false)) return;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const lru = folioLruList(flags);
  const k = map[w + map.memcg] * NR_LRU_LISTS + lru;
  const next = map[w + W_NEXT] >>> 1;
  const prev = map[w + W_PREV] >>> 1;
  if (next !== 0) map[next * FOLIO_WORDS + W_PREV] = prev << 1;
  else m.lruvecs.tail[k] = prev;
  if (prev !== 0) map[prev * FOLIO_WORDS + W_NEXT] = next << 1;
  else m.lruvecs.head[k] = next;
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = 0;
  updateLruSize(m, k, lru, -nrPages(map, w, flags), -1);
}

/**
 * A new piece of the split folio `from` goes on `from`'s list, next to it on the newer side: of pieces added in ascending
 * order the last one is evicted right after `from`. Both have their new order already.
 * @kernel mm/huge_memory.c lru_add_split_folio (6.18)
 */
export function lruAddSplitFolio(m: Machine, from: FolioId, piece: FolioId): void {
  const { map } = m;
  const w = from * FOLIO_WORDS;
  const flags = map[w];
  assert((flags & PG_lru) !== 0, 'lruAddSplitFolio: the folio that was split is on a list');
  if (m.lruGen !== null && (flags & PG_unevictable) === 0) {
    map[piece * FOLIO_WORDS] |= PG_lru;
    lruGenAddSplitFolio(m, from, piece);
    return;
  }
  const k = map[w + map.memcg] * NR_LRU_LISTS + folioLruList(flags);
  const v = piece * FOLIO_WORDS;
  const prev = map[w + W_PREV] >>> 1;
  map[v] |= PG_lru;
  map[v + W_NEXT] = from << 1;
  map[v + W_PREV] = prev << 1;
  map[w + W_PREV] = piece << 1;
  if (prev !== 0) map[prev * FOLIO_WORDS + W_NEXT] = piece << 1;
  else m.lruvecs.head[k] = piece;
  m.lruvecs.folios[k] += 1;
}
