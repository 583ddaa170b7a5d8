/**
 * Work on one list: folios are taken off the tail of an inactive list and freed, or kept for a reason; folios at the tail
 * of an active list become inactive.
 *
 *   oldest folio ─► locked? keep ─► write-back? dirty? marked for reclaim, active until it is written
 *                ─► private data that stays? active ─► used by someone? keep ─► shadow into the cache, page freed
 *
 * What survives goes back to the head of the list that its flags say, in the order in which it was taken. File memory is
 * never written here: the flusher is woken when there is nothing else than dirty folios.
 *
 * Here folios are not mapped; where they may be, because there are address spaces, vmscan_anon.ts looks at each of them.
 *
 * Differs: all zones are reclaimed alike.
 */
import { assert } from '../base/errors.ts';
import { filemapReleaseFolio, filemapRemoveFolio } from './filemap.ts';
import { __GFP_FS } from './gfp.ts';
import { type FolioId, type MemcgId, NO_FOLIO } from './ids.ts';
import { orderLook, orderTaken } from './lru_order.ts';
import type { Machine } from './machine.ts';
import { memCgroupUncharge } from './memcontrol.ts';
import { LRU_INACTIVE_FILE, lruvecAddFolio, NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioNrPages, folioOrder, W_MAPPING, W_NEXT, W_PREV } from './mm_types.ts';
import { freeFrozenFolio } from './page_alloc.ts';
import { PG } from './page_flags.ts';
import { wakeupFlusherThreads } from './page_writeback.ts';
import { folioAddLru, folioFree, folioPut, lruAddDrain } from './swap.ts';
import { deactivateMapped, reclaimPush, shrinkFolioList as shrinkAnyList } from './vmscan_anon.ts';
import { shrinkPlainFolios } from './vmscan_file.ts';
import { V } from './vmstat.ts';
import { lruNoteCost, workingsetAgeNonresident, workingsetEviction } from './workingset.ts';

/** Kinds of memory that this reclaim may deactivate. @kernel mm/vmscan.c DEACTIVATE_FILE (6.18) */
export const DEACTIVATE_ANON = 1;
export const DEACTIVATE_FILE = 2;

/** One reclaim. @kernel mm/vmscan.c struct scan_control (6.18) */
export interface ScanControl {
  /** Pages wanted. */
  nrToReclaim: number;
  /** The group at its limit; 0: the whole machine. */
  readonly target: MemcgId;
  readonly kswapd: boolean;
  readonly gfp: number;
  order: number;
  /** A list of n pages is scanned by n >> priority of them. */
  priority: number;
  maySwap: boolean;
  mayDeactivate: number;
  forceDeactivate: boolean;
  skippedDeactivate: boolean;
  memcgFullWalk: boolean;
  cacheTrimMode: boolean;
  noCacheTrimMode: boolean;
  cacheTrimModeFailed: boolean;
  fileIsTiny: boolean;
  compactionReady: boolean;
  anonCost: number;
  fileCost: number;
  nrScanned: number;
  nrReclaimed: number;
  /** Pages met by this round of shrinkNode. */
  dirty: number;
  unqueuedDirty: number;
  congested: number;
  writeback: number;
  immediate: number;
  taken: number;
  fileTaken: number;
  /** Pages sent to swap, and pages of the folio that was freed last. */
  pageout: number;
  freed: number;
}

const { PG_active, PG_dirty, PG_locked, PG_lru, PG_mlocked, PG_private, PG_reclaim, PG_referenced } = PG;
const { PG_swapbacked, PG_unevictable, PG_workingset, PG_writeback } = PG;

/**
 * Takes folios of `want` pages or just more off the tail of a list; each gets a reference. They are in
 * `lruvecs.isolated`, oldest first. Returns their number. @kernel mm/vmscan.c isolate_lru_folios (6.18)
 */
function isolateLruFolios(m: Machine, memcg: MemcgId, lru: number, want: number): number {
  const { map, lruvecs: t } = m;
  const out = t.isolated;
  const k = memcg * NR_LRU_LISTS + lru;
  let n = 0;
  let pages = 0;
  let f = t.tail[k];
  orderLook(m, t.order[k], want);
  while (pages < want && f !== 0) {
    const w = f * FOLIO_WORDS;
    const prev = map[w + W_PREV] >>> 1;
    pages += folioNrPages(map, f as FolioId);
    map[w] &= ~PG_lru;
    map[w + map.refcount] += 1;
    map[w + W_NEXT] = 0;
    map[w + W_PREV] = 0;
    out[n++] = f;
    f = prev;
  }
  if (n === 0) return 0;
  orderTaken(t.order[k], out[n - 1], n);
  t.tail[k] = f;
  if (f !== 0) map[f * FOLIO_WORDS + W_NEXT] = 0;
  else t.head[k] = 0;
  t.pages[k] -= pages;
  t.folios[k] -= n;
  m.vmstat[V.nr_inactive_anon + lru] -= pages;
  return n;
}

/** Pages of the first `n` isolated folios. */
function isolatedPages(m: Machine, n: number): number {
  let pages = 0;
  for (let i = 0; i < n; i++) pages += folioNrPages(m.map, m.lruvecs.isolated[i] as FolioId);
  return pages;
}

/** Puts isolated folios back and drops their references; active ones age the list. @kernel mm/vmscan.c move_folios_to_lru (6.18) */
function moveFoliosToLru(m: Machine, memcg: MemcgId, isolated: Int32Array, n: number): void {
  const { map } = m;
  for (let i = 0; i < n; i++) {
    const f = isolated[i] as FolioId;
    const w = f * FOLIO_WORDS;
    const flags = map[w];
    if ((flags & PG_mlocked) !== 0) {
      folioAddLru(m, f);
      folioPut(m, f);
      continue;
    }
    const refs = map[w + map.refcount] - 1;
    map[w + map.refcount] = refs;
    if (refs === 0) {
      folioFree(m, f);
      continue;
    }
    map[w] = flags | PG_lru;
    lruvecAddFolio(m, f);
    if ((flags & PG_active) !== 0) workingsetAgeNonresident(m, memcg, folioNrPages(map, f));
  }
}

const count = (m: Machine, item: number, n: number): void => {
  m.vmstat[item] += n;
};

/** Scans `want` pages of an inactive list; returns the pages freed. @kernel mm/vmscan.c shrink_inactive_list (6.18) */
export function shrinkInactiveList(m: Machine, sc: ScanControl, memcg: MemcgId, want: number, lru: number): number {
  const file = lru >= LRU_INACTIVE_FILE;
  lruAddDrain(m);
  const n = isolateLruFolios(m, memcg, lru, want);
  if (n === 0) return 0;
  const taken = isolatedPages(m, n);
  const t = m.memcgs;
  if (sc.target === 0) count(m, sc.kswapd ? V.pgscan_kswapd : V.pgscan_direct, taken);
  count(m, file ? V.pgscan_file : V.pgscan_anon, taken);
  t.pgscan[memcg] += taken;
  const unqueued = sc.unqueuedDirty;
  const pageout = sc.pageout;
  let reclaimed = 0;
  if (m.mms.nr > 1) reclaimed = shrinkMapped(m, sc, memcg, n);
  else {
    const left = shrinkFolioList(m, sc, n);
    reclaimed = taken - isolatedPages(m, left);
    moveFoliosToLru(m, memcg, m.lruvecs.isolated, left);
  }
  if (sc.target === 0) count(m, sc.kswapd ? V.pgsteal_kswapd : V.pgsteal_direct, reclaimed);
  count(m, file ? V.pgsteal_file : V.pgsteal_anon, reclaimed);
  t.pgsteal[memcg] += reclaimed;
  lruNoteCost(m, memcg, file, sc.pageout - pageout, taken - reclaimed);
  if (sc.unqueuedDirty - unqueued === taken) {
    wakeupFlusherThreads(m);
    if (sc.target !== 0 && m.release.memcgDirtyThrottle) m.io.waitWriteback?.(NO_FOLIO);
  }
  sc.taken += taken;
  if (file) sc.fileTaken += taken;
  return reclaimed;
}

/** The same work where address spaces exist, so that folios may be mapped: in vmscan_anon.ts. */
function shrinkMapped(m: Machine, sc: ScanControl, memcg: MemcgId, n: number): number {
  const { isolated, reclaim: list } = m.lruvecs;
  for (let i = n - 1; i >= 0; i--) reclaimPush(list, isolated[i]);
  const reclaimed = shrinkAnyList(m, sc, list, false);
  moveFoliosToLru(m, memcg, list.kept, list.nrKept);
  return reclaimed;
}

/**
 * Frees what can be freed of the first `n` isolated folios. The rest is left at the start of `lruvecs.isolated`, in order;
 * returns its number. @kernel mm/vmscan.c shrink_folio_list (6.18)
 */
function shrinkFolioList(m: Machine, sc: ScanControl, n: number): number {
  const { map } = m;
  const { isolated } = m.lruvecs;
  let left = 0;
  let activated = 0;
  for (let i = 0; i < n; i++) {
    const plain = shrinkPlainFolios(m, sc.target, i, n);
    sc.nrScanned += plain - i;
    i = plain;
    if (i === n) break;
    const f = isolated[i] as FolioId;
    const w = f * FOLIO_WORDS;
    const flags = map[w];
    assert((flags & (PG_active | PG_unevictable)) === 0, 'an inactive folio is not active');
    if ((flags & PG_locked) !== 0) {
      isolated[left++] = f;
      continue;
    }
    const nr = folioNrPages(map, f);
    sc.nrScanned += nr;
    if ((flags & PG_mlocked) === 0 && reclaimFolio(m, sc, f, nr)) continue;
    // Not freed: REF_KEEP and FREE_KEEP leave it inactive, everything else has set the active flag.
    if ((map[w] & PG_active) !== 0) {
      activated += nr;
      const g = map[w + map.memcg];
      m.memcgs.pgactivate[g] += nr;
    }
    isolated[left++] = f;
  }
  count(m, V.pgactivate, activated);
  return left;
}

/** Frees one isolated folio of `nr` pages, or marks it active when it shall be out of the way. True: it is gone. */
function reclaimFolio(m: Machine, sc: ScanControl, f: FolioId, nr: number): boolean {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const file = (flags & PG_swapbacked) === 0;
  const dirty = (flags & PG_dirty) !== 0;
  const writeback = (flags & PG_writeback) !== 0;
  if (file && (dirty || writeback)) {
    sc.dirty += nr;
    if (!writeback) sc.unqueuedDirty += nr;
    else if ((flags & PG_reclaim) !== 0) sc.congested += nr;
  }
  if (writeback) {
    // Groups of version 1 have no other brake on their writers: reclaim that meets the folio a second time waits for it.
    const again = sc.target !== 0 && (flags & PG_reclaim) !== 0 && (sc.gfp & __GFP_FS) !== 0;
    if (again && m.io.waitWriteback?.(f) === true) return reclaimFolio(m, sc, f, nr);
    if (sc.kswapd && (flags & PG_reclaim) !== 0 && m.lruvecs.node.writeback) sc.immediate += nr;
    else sc.writeback += nr;
    map[w] = flags | PG_reclaim | PG_active;
    return false;
  }
  map[w] &= ~PG_referenced;
  if (dirty) {
    if (file && !(sc.kswapd && (flags & PG_reclaim) !== 0 && m.lruvecs.node.dirty)) {
      count(m, V.nr_vmscan_immediate_reclaim, nr);
      map[w] |= PG_reclaim | PG_active;
    } else if (file && (flags & PG_referenced) === 0 && (sc.gfp & __GFP_FS) !== 0) {
      map[w] |= PG_active;
    }
    return false;
  }
  map[w] |= PG_locked;
  if ((flags & PG_private) !== 0 && !filemapReleaseFolio(m, f)) {
    map[w] = (map[w] & ~PG_locked) | PG_active;
    return false;
  }
  if (!removeMapping(m, sc.target, f, nr)) {
    map[w] &= ~PG_locked;
    return false;
  }
  map[w] &= ~(PG_locked | PG_workingset);
  const order = folioOrder(map, f);
  memCgroupUncharge(m, f);
  freeFrozenFolio(m, f, order);
  return true;
}

/**
 * Takes the folio out of its file, leaving a shadow, when no one but the cache and the isolation holds it; it is frozen
 * then. @kernel mm/vmscan.c __remove_mapping (6.18)
 */
function removeMapping(m: Machine, target: MemcgId, f: FolioId, nr: number): boolean {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  if (map[w + W_MAPPING] === 0 || map[w + map.refcount] !== nr + 1) return false;
  if ((map[w] & PG_dirty) !== 0) return false;
  if ((map[w] & PG_swapbacked) !== 0) return false;
  const value = workingsetEviction(m, f, target);
  filemapRemoveFolio(m, f, value, m.lruvecs.evictionAge[0] as number);
  map[w + map.refcount] = 0;
  return true;
}

/**
 * Deactivates `want` pages at the tail of an active list; they keep PG_referenced, and PG_workingset remembers that they
 * were active. @kernel mm/vmscan.c shrink_active_list (6.18)
 */
export function shrinkActiveList(m: Machine, sc: ScanControl, memcg: MemcgId, want: number, lru: number): void {
  lruAddDrain(m);
  const n = isolateLruFolios(m, memcg, lru, want);
  const { map, memcgs: t } = m;
  const { isolated } = m.lruvecs;
  let pages = 0;
  if (m.mms.nr > 1) {
    shrinkActiveMapped(m, sc, memcg, n, lru >= LRU_INACTIVE_FILE);
    return;
  }
  for (let i = 0; i < n; i++) {
    const f = isolated[i] as FolioId;
    const w = f * FOLIO_WORDS;
    map[w] = (map[w] & ~PG_active) | PG_workingset;
    pages += folioNrPages(map, f);
  }
  if (sc.target === 0) count(m, V.pgrefill, pages);
  t.pgrefill[memcg] += pages;
  count(m, V.pgdeactivate, pages);
  t.pgdeactivate[memcg] += pages;
  moveFoliosToLru(m, memcg, isolated, n);
}

/** The same work where folios may be mapped: what is executed stays active. */
function shrinkActiveMapped(m: Machine, sc: ScanControl, memcg: MemcgId, n: number, file: boolean): void {
  const { memcgs: t } = m;
  const pages = isolatedPages(m, n);
  if (sc.target === 0) count(m, V.pgrefill, pages);
  t.pgrefill[memcg] += pages;
  const rotated = deactivateMapped(m, sc.target, n);
  const { reclaim: list } = m.lruvecs;
  count(m, V.pgdeactivate, pages - rotated);
  t.pgdeactivate[memcg] += pages - rotated;
  moveFoliosToLru(m, memcg, list.kept, list.nrKept);
  moveFoliosToLru(m, memcg, list.stack, list.nr);
  list.nr = 0;
  lruNoteCost(m, memcg, file, 0, rotated);
}
