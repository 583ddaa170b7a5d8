/**
 * What happens to folios on the LRU lists (mm_inline.ts). Operations are first collected in batches of 31 folios, as a CPU does;
 * a batch is carried out when it is full or takes a large folio. A folio in a batch holds one more reference. And the end of a
 * folio: its last reference.
 */
import { assert, Bug } from '../base/errors.ts';
import type { FolioId, MemcgId } from './ids.ts';
import { lruGenClearRefs, lruGenForget, lruGenIncRefs } from './lru_gen.ts';
import { orderAdd } from './lru_order.ts';
import type { Machine } from './machine.ts';
import { memCgroupUncharge } from './memcontrol.ts';
import { freeZoneDeviceFolio } from './memremap.ts';
import { mlockDrainLocal } from './mlock.ts';
import {
  folioLruList,
  LRU_INACTIVE_FILE,
  lruvecAddFolio,
  lruvecAddFolioTail,
  lruvecDelFolio,
  NR_LRU_LISTS,
  nrPages,
  updateLruSize,
} from './mm_inline.ts';
import {
  FOLIO_MAPPING_ANON,
  FOLIO_WORDS,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioTestAnon,
  W_MAPPING,
  W_NEXT,
  W_PREV,
} from './mm_types.ts';
import { freeFrozenFolio } from './page_alloc.ts';
import { decodeFlags, PG, PG_swapcache } from './page_flags.ts';
import { folioMapped, freeMappedPrepare } from './rmap.ts';
import { V } from './vmstat.ts';
import { workingsetAgeNonresident } from './workingset.ts';
/** Operations that wait in a batch. */
export const BATCH_ADD = 0;
export const BATCH_MOVE_TAIL = 1;
export const BATCH_DEACTIVATE_FILE = 2;
export const BATCH_DEACTIVATE = 3;
export const BATCH_LAZYFREE = 4;
export const BATCH_ACTIVATE = 5;
const NR_BATCHES = 6;
/** Folios of one batch. @kernel include/linux/pagevec.h PAGEVEC_SIZE (6.18) */
export const BATCH_SIZE = 31;

/** The batches of the one CPU. */
export interface FolioBatches {
  /** Folios that a batch collects; 0 carries every operation out at once. */
  size: number;
  readonly count: Int32Array;
  readonly folios: Int32Array;
}
export const batchesInit = (size: number = BATCH_SIZE): FolioBatches => ({
  size,
  count: new Int32Array(NR_BATCHES),
  folios: new Int32Array(NR_BATCHES * (size + 1)),
});

const { PG_active, PG_dirty, PG_dropbehind, PG_head, PG_locked, PG_lru, PG_referenced } = PG;
const { PG_swapbacked, PG_unevictable, PG_workingset, PG_writeback, PG_mlocked } = PG;
/** A folio with one of these is not added in the plain way. */
const NOT_PLAIN_ADD = PG_head | PG_mlocked | PG_unevictable;

/** May the folio be evicted at all. @kernel mm/internal.h folio_evictable (6.18) */
const evictable = (flags: number): boolean => (flags & PG_mlocked) === 0;

/** @kernel mm/swap.c lru_add (6.18) */
function lruAdd(m: Machine, f: FolioId): void {
  const { map, vmstat } = m;
  const w = f * FOLIO_WORDS;
  let flags = map[w];
  if (evictable(flags)) {
    if ((flags & PG_unevictable) !== 0) {
      flags &= ~PG_unevictable;
      vmstat[V.unevictable_pgs_rescued] += nrPages(map, w, flags);
    }
  } else {
    if ((flags & PG_unevictable) === 0) vmstat[V.unevictable_pgs_culled] += nrPages(map, w, flags);
    flags = (flags & ~PG_active) | PG_unevictable;
  }
  map[w] = flags | PG_lru;
  lruvecAddFolio(m, f);
}

/** @kernel mm/swap.c lru_activate (6.18) */
function lruActivate(m: Machine, f: FolioId, flags: number): void {
  if ((flags & (PG_active | PG_unevictable)) !== 0) return;
  const w = f * FOLIO_WORDS;
  lruvecDelFolio(m, f);
  m.map[w] = flags | PG_active;
  lruvecAddFolio(m, f);
  const nr = nrPages(m.map, w, flags);
  m.vmstat[V.pgactivate] += nr;
  const g = m.map[w + m.map.memcg];
  m.memcgs.pgactivate[g] += nr;
}

/** @kernel mm/swap.c lru_move_tail (6.18) */
function lruMoveTail(m: Machine, f: FolioId, flags: number): void {
  if ((flags & PG_unevictable) !== 0) return;
  lruvecDelFolio(m, f);
  m.map[f * FOLIO_WORDS] = flags & ~PG_active;
  lruvecAddFolioTail(m, f);
  m.vmstat[V.pgrotated] += nrPages(m.map, f * FOLIO_WORDS, flags);
}

/**
 * A clean folio that could not be invalidated is next. Not what a program has mapped; nor, on the live kernel, what is dirty or being
 * written, which its sources would have leave the active list, to go when it has been written.
 * @kernel mm/swap.c lru_deactivate_file (6.18)
 */
function lruDeactivateFile(m: Machine, f: FolioId, flags: number): void {
  if ((flags & (PG_unevictable | PG_writeback | PG_dirty)) !== 0 || folioMapped(m, f)) return;
  const w = f * FOLIO_WORDS;
  const nr = nrPages(m.map, w, flags);
  lruvecDelFolio(m, f);
  m.map[w] = flags & ~(PG_active | PG_referenced);
  lruvecAddFolioTail(m, f);
  m.vmstat[V.pgrotated] += nr;
  if ((flags & PG_active) !== 0) countDeactivated(m, f, nr);
}

/** @kernel mm/swap.c lru_deactivate (6.18) */
function lruDeactivate(m: Machine, f: FolioId, flags: number): void {
  if ((flags & PG_unevictable) !== 0 || ((flags & PG_active) === 0 && m.lruGen === null)) return;
  const w = f * FOLIO_WORDS;
  lruvecDelFolio(m, f);
  m.map[w] = flags & ~(PG_active | PG_referenced);
  lruvecAddFolio(m, f);
  countDeactivated(m, f, nrPages(m.map, w, flags));
}

/** May an anonymous folio go without being swapped out? @kernel mm/swap.c folio_mark_lazyfree (6.18) */
const lazyfreeable = (m: Machine, f: FolioId, flags: number): boolean =>
  folioTestAnon(m.map, f) && (flags & PG_swapbacked) !== 0 && (flags & (PG_swapcache | PG_unevictable)) === 0;

/** Its contents are not needed: it becomes the newest of the inactive file folios. @kernel mm/swap.c lru_lazyfree (6.18) */
function lruLazyfree(m: Machine, f: FolioId, flags: number): void {
  if (!lazyfreeable(m, f, flags)) return;
  const w = f * FOLIO_WORDS;
  lruvecDelFolio(m, f);
  m.map[w] = flags & ~(PG_active | PG_referenced | PG_swapbacked);
  lruvecAddFolio(m, f);
  m.vmstat[V.pglazyfree] += nrPages(m.map, w, flags);
}

function countDeactivated(m: Machine, f: FolioId, nr: number): void {
  m.vmstat[V.pgdeactivate] += nr;
  const g = m.map[f * FOLIO_WORDS + m.map.memcg];
  m.memcgs.pgdeactivate[g] += nr;
}

/** Looks at the folios beside those of a batch in their lists, all at once: the host has not had them in its caches for long. */
function lookAtNeighbours(m: Machine, at: number, n: number): void {
  const { map } = m;
  const { folios } = m.batches;
  let seen = 0;
  for (let i = at; i < at + n; i++) {
    const w = folios[i] * FOLIO_WORDS;
    seen ^= map[(map[w + W_NEXT] >>> 1) * FOLIO_WORDS + W_PREV] ^ map[(map[w + W_PREV] >>> 1) * FOLIO_WORDS + W_NEXT];
  }
  m.lruvecs.seen ^= seen;
}

/**
 * Carries the batch of additions out. Folios of one page that are evictable, as nearly all are, are added here, in runs that go
 * to one list; the sizes of the list are settled at the end of a run. Leaves the batch's references to the caller.
 */
function lruAddBatch(m: Machine, at: number, n: number): void {
  const { map } = m;
  const { folios } = m.batches;
  const { head, tail, order } = m.lruvecs;
  let list = 0;
  let k = -1;
  let run = 0;
  for (let i = at; i < at + n; i++) {
    const f = folios[i];
    const w = f * FOLIO_WORDS;
    const flags = map[w];
    if ((flags & NOT_PLAIN_ADD) !== 0 || m.lruGen !== null) {
      if (run > 0) updateLruSize(m, k, list, run, run);
      run = 0;
      lruAdd(m, f as FolioId);
      continue;
    }
    const lru = folioLruList(flags);
    const to = map[w + map.memcg] * NR_LRU_LISTS + lru;
    if (to !== k) {
      if (run > 0) updateLruSize(m, k, list, run, run);
      run = 0;
      k = to;
      list = lru;
    }
    const first = head[k];
    map[w] = flags | PG_lru;
    map[w + W_NEXT] = first << 1;
    map[w + W_PREV] = 0;
    if (first !== 0) map[first * FOLIO_WORDS + W_PREV] = f << 1;
    else tail[k] = f;
    head[k] = f;
    if (lru >= LRU_INACTIVE_FILE) orderAdd(order[k], f, m.lruvecs.folios[k] + run);
    run++;
  }
  if (run > 0) updateLruSize(m, k, list, run, run);
}

/** Carries a batch out, in order. @kernel mm/swap.c folio_batch_move_lru (6.18) */
function batchFlush(m: Machine, batch: number): void {
  const { count, folios, size } = m.batches;
  const at = batch * (size + 1);
  const n = count[batch];
  const { map } = m;
  count[batch] = 0;
  if (batch === BATCH_ADD) lruAddBatch(m, at, n);
  else if (batch === BATCH_ACTIVATE) lookAtNeighbours(m, at, n);
  for (let i = 0; i < n; i++) {
    const f = folios[at + i] as FolioId;
    const w = f * FOLIO_WORDS;
    if (batch !== BATCH_ADD) {
      const flags = map[w];
      if ((flags & PG_lru) !== 0) {
        if (batch === BATCH_ACTIVATE) lruActivate(m, f, flags);
        else if (batch === BATCH_MOVE_TAIL) lruMoveTail(m, f, flags);
        else if (batch === BATCH_DEACTIVATE_FILE) lruDeactivateFile(m, f, flags);
        else if (batch === BATCH_LAZYFREE) lruLazyfree(m, f, flags);
        else lruDeactivate(m, f, flags);
      }
    }
    const refs = map[w + map.refcount] - 1;
    map[w + map.refcount] = refs;
    if (refs === 0) folioFree(m, f);
  }
}

/** @kernel mm/swap.c __folio_batch_add_and_move (6.18) */
function batchAdd(m: Machine, batch: number, f: FolioId): void {
  const { count, folios, size } = m.batches;
  const w = f * FOLIO_WORDS;
  m.map[w + m.map.refcount] += 1;
  const n = count[batch];
  folios[batch * (size + 1) + n] = f;
  count[batch] = n + 1;
  if (n + 1 >= size || (m.map[w] & PG_head) !== 0) batchFlush(m, batch);
}

/** A new folio goes to the LRU, by way of the batch. @kernel mm/swap.c folio_add_lru (6.18) */
export function folioAddLru(m: Machine, f: FolioId): void {
  assert((m.map[f * FOLIO_WORDS] & PG_lru) === 0, 'folioAddLru: the folio is on no list yet');
  if (m.lruGen?.inFault && !m.zones.memalloc) m.map[f * FOLIO_WORDS] |= PG_active;
  batchAdd(m, BATCH_ADD, f);
}

/** A new folio of one page goes to the batch, which takes a reference of the caller's. */
export function batchAddNew(m: Machine, f: FolioId): void {
  const { count, folios, size } = m.batches;
  const n = count[BATCH_ADD];
  folios[BATCH_ADD * (size + 1) + n] = f;
  count[BATCH_ADD] = n + 1;
  if (n + 1 >= size) batchFlush(m, BATCH_ADD);
}

/** Carries all batches out. @kernel mm/swap.c lru_add_drain (6.18) */
export function lruAddDrain(m: Machine): void {
  const { count } = m.batches;
  for (let b = 0; b < NR_BATCHES; b++) if (count[b] > 0) batchFlush(m, b);
  if (m.mlock.count > 0) mlockDrainLocal(m);
}

/**
 * The folio was read or written by a system call: the second time makes it active.
 *   inactive, unreferenced → inactive, referenced → active, unreferenced → active, referenced
 * @kernel mm/swap.c folio_mark_accessed (6.18)
 */
export function folioMarkAccessed(m: Machine, f: FolioId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  if ((flags & PG_dropbehind) !== 0) return;
  if (m.lruGen !== null) {
    lruGenIncRefs(m, f);
    return;
  }
  if ((flags & PG_referenced) === 0) {
    map[w] = flags | PG_referenced;
    return;
  }
  if ((flags & (PG_active | PG_unevictable)) !== 0) return;
  if ((flags & PG_lru) !== 0) batchAdd(m, BATCH_ACTIVATE, f);
  else lruCacheActivateFolio(m, f);
  map[w] &= ~PG_referenced;
  workingsetAgeNonresident(m, map[w + map.memcg] as MemcgId, nrPages(map, w, flags));
}

/** A folio that still waits to be added is added as active. @kernel mm/swap.c __lru_cache_activate_folio (6.18) */
export function lruCacheActivateFolio(m: Machine, f: FolioId): void {
  const { count, folios, size } = m.batches;
  const at = BATCH_ADD * (size + 1);
  for (let i = count[BATCH_ADD] - 1; i >= 0; i--) {
    if (folios[at + i] !== f) continue;
    m.map[f * FOLIO_WORDS] |= PG_active;
    return;
  }
}

/** Hastens a folio that could not be invalidated. @kernel mm/swap.c deactivate_file_folio (6.18) */
export function deactivateFileFolio(m: Machine, f: FolioId): void {
  if ((m.map[f * FOLIO_WORDS] & PG_unevictable) === 0) batchAdd(m, BATCH_DEACTIVATE_FILE, f);
}

/** madvise(COLD): an active folio becomes inactive. @kernel mm/swap.c folio_deactivate (6.18) */
export function folioDeactivate(m: Machine, f: FolioId): void {
  if ((m.map[f * FOLIO_WORDS] & PG_unevictable) !== 0) return;
  if (m.lruGen !== null && lruGenClearRefs(m, f)) return;
  batchAdd(m, BATCH_DEACTIVATE, f);
}

/** The folio was found in use by page tables. @kernel mm/swap.c folio_activate (6.18) */
export function folioActivate(m: Machine, f: FolioId): void {
  const flags = m.map[f * FOLIO_WORDS];
  if ((flags & (PG_active | PG_unevictable)) === 0 && (flags & PG_lru) !== 0) batchAdd(m, BATCH_ACTIVATE, f);
}

/** madvise(FREE) of a folio with no dirty entry. @kernel mm/swap.c folio_mark_lazyfree (6.18) */
export function folioMarkLazyfree(m: Machine, f: FolioId): void {
  const flags = m.map[f * FOLIO_WORDS];
  if ((flags & PG_lru) !== 0 && lazyfreeable(m, f, flags)) batchAdd(m, BATCH_LAZYFREE, f);
}

/** Write-back of a folio that reclaim waits for has ended: it is next. @kernel mm/swap.c folio_rotate_reclaimable (6.18) */
export function folioRotateReclaimable(m: Machine, f: FolioId): void {
  const flags = m.map[f * FOLIO_WORDS];
  if ((flags & PG_lru) !== 0 && (flags & (PG_locked | PG_dirty | PG_unevictable)) === 0)
    batchAdd(m, BATCH_MOVE_TAIL, f);
}

/** Drops one reference. @kernel include/linux/mm.h folio_put (6.18) */
export function folioPut(m: Machine, f: FolioId): void {
  folioPutRefs(m, f, 1);
}

/** Drops `n` references; the last one frees the folio. @kernel include/linux/mm.h folio_put_refs (6.18) */
export function folioPutRefs(m: Machine, f: FolioId, n: number): void {
  const w = f * FOLIO_WORDS + m.map.refcount;
  const refs = m.map[w] - n;
  if (refs < 0) bugFolio(m, f, 'more references dropped than held');
  m.map[w] = refs;
  if (refs === 0) folioFree(m, f);
}

/** The last reference has gone: off the LRU, uncharged, back to the allocator. @kernel mm/swap.c __folio_put (6.18) */
export function folioFree(m: Machine, f: FolioId): void {
  if (folioPfn(m.map, f) >= m.zones.frames) {
    freeZoneDeviceFolio(m, folioPfn(m.map, f));
    return;
  }
  const w = f * FOLIO_WORDS;
  if ((m.map[w + W_MAPPING] & FOLIO_MAPPING_ANON) !== 0 || (m.map[w] & PG_mlocked) !== 0) freeMappedPrepare(m, f);
  const flags = m.map[w];
  if ((flags & PG_lru) !== 0) lruvecDelFolio(m, f);
  m.map[w] = flags & ~(PG_lru | PG_active | PG_unevictable | PG_workingset);
  if (m.lruGen !== null) lruGenForget(m, f);
  const order = folioOrder(m.map, f);
  memCgroupUncharge(m, f);
  freeFrozenFolio(m, f, order);
}

/** Takes a folio off its list for a caller that will put it back; it gets a reference. False when it is on none. @kernel mm/vmscan.c folio_isolate_lru (6.18) */
export function folioIsolateLru(m: Machine, f: FolioId): boolean {
  const w = f * FOLIO_WORDS;
  if ((m.map[w] & PG_lru) === 0) return false;
  lruvecDelFolio(m, f);
  m.map[w] &= ~PG_lru;
  folioRefAdd(m.map, f, 1);
  return true;
}

/** Throws with a line that describes the folio. @kernel include/linux/mmdebug.h VM_BUG_ON_FOLIO (6.18) */
export function bugFolio(m: Machine, f: FolioId, claim: string): never {
  const w = f * FOLIO_WORDS;
  const flags = m.map[w];
  throw new Bug(
    `${claim}: folio ${f} order ${folioOrder(m.map, f)} count ${m.map[w + m.map.refcount]} ` +
      `group ${m.map[w + m.map.memcg]} flags ${decodeFlags(flags)}`,
  );
}
