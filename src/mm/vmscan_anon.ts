/**
 * Reclaim of memory that processes map: what the lists of vmscan_lists.ts hand over when address spaces exist.
 *
 *   young in some page table? ─► once: keep, and remember; twice, or in two areas: active
 *      │ no
 *   anonymous ─► swap slots (a large folio without a run of them is split) ─► unmapped ─► written ─► out of the swap cache
 *   file      ─► unmapped ─► as an unmapped file folio
 *   MADV_FREE ─► unmapped unless it was written to again ─► freed, nothing is written
 *
 * Folios to look at are on a stack: the pieces of a split folio go onto it, and the last one is next. Without address spaces
 * nothing here runs, but for tmpfs.
 *
 * Differs: tmpfs is not swapped; it stays on its list.
 * @kernel mm/vmscan.c shrink_folio_list (6.18)
 */

import { folioTestDeferred, folioTestPartiallyMapped } from './deferred_split.ts';
import { filemapReleaseFolio, filemapRemoveFolio } from './filemap.ts';
import { __GFP_FS, __GFP_IO, GFP_KERNEL } from './gfp.ts';
import { folioSplit } from './huge_memory.ts';
import { type FolioId, type MemcgId, NO_FOLIO, type Pfn } from './ids.ts';
import { lruGenForget, lruGenSetRefs } from './lru_gen.ts';
import type { Machine } from './machine.ts';
import { memCgroupUncharge } from './memcontrol.ts';
import { memcg1Swapout } from './memcontrol_swap.ts';
import {
  FOLIO_WORDS,
  folioClear,
  folioMapping,
  folioMemcg,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioSetCount,
  folioTest,
  folioTestAnon,
  pageFolio,
} from './mm_types.ts';
import { tryToUnmapFlush, tryToUnmapFlushDirty } from './mmu_gather.ts';
import { freeFrozenFolio } from './page_alloc.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { swapWriteout, WRITEOUT_ACTIVATE } from './page_io.ts';
import { folioMapcount, folioMapped, folioMaybeDmaPinned, freeMappedPrepare } from './rmap.ts';
import { folioReferenced, referencedFlags, TTU_BATCH_FLUSH, TTU_SPLIT_HUGE_PMD, tryToUnmap } from './rmap_walk.ts';
import { folioAddLru, folioPut } from './swap.ts';
import { swapCacheRemove } from './swap_state.ts';
import { folioSwap } from './swap_table.ts';
import { folioAllocSwap, folioFreeSwap, memCgroupSwapFull, putSwapFolio } from './swapfile.ts';
import { MTHP, modMthpStat } from './thp.ts';
import { VM_EXEC, VM_LOCKED } from './vma.ts';
import { scanControl } from './vmscan.ts';
import type { ScanControl } from './vmscan_lists.ts';
import { V } from './vmstat.ts';
import { workingsetEviction } from './workingset.ts';

const { PG_active, PG_dirty, PG_head, PG_locked, PG_mlocked, PG_private, PG_reclaim, PG_referenced } = PG;
const { PG_swapbacked, PG_workingset, PG_writeback } = PG;

/** Folios of a reclaim: those to look at, the next one on top, and those that stay, in order. */
export interface ReclaimList {
  stack: Int32Array;
  nr: number;
  kept: Int32Array;
  nrKept: number;
}
export const reclaimList = (): ReclaimList => ({
  stack: new Int32Array(64),
  nr: 0,
  kept: new Int32Array(64),
  nrKept: 0,
});

const larger = (a: Int32Array): Int32Array => {
  const b = new Int32Array(a.length * 2);
  b.set(a);
  return b;
};
export function reclaimPush(list: ReclaimList, f: number): void {
  if (list.nr === list.stack.length) list.stack = larger(list.stack);
  list.stack[list.nr++] = f;
}
function keep(list: ReclaimList, f: number): void {
  if (list.nrKept === list.kept.length) list.kept = larger(list.kept);
  list.kept[list.nrKept++] = f;
}

const inSwapCache = (m: Machine, f: FolioId): boolean => {
  const both = PG_swapcache | PG_swapbacked;
  return (m.map[f * FOLIO_WORDS] & both) === both;
};

const FOLIOREF_RECLAIM = 0;
const FOLIOREF_RECLAIM_CLEAN = 1;
const FOLIOREF_KEEP = 2;
const FOLIOREF_ACTIVATE = 3;

/** What the page tables say of a folio's use since it was last asked. @kernel mm/vmscan.c folio_check_references (6.18) */
export function folioCheckReferences(m: Machine, f: FolioId, target: MemcgId): number {
  const { map } = m;
  const young = folioMapped(m, f) ? folioReferenced(m, f, target) : 0;
  if (young > 0 && (referencedFlags(m) & VM_LOCKED) !== 0) return FOLIOREF_ACTIVATE;
  if (young < 0) return FOLIOREF_KEEP;
  if (m.lruGen !== null) {
    if (young === 0) return FOLIOREF_RECLAIM;
    return lruGenSetRefs(m, f) ? FOLIOREF_ACTIVATE : FOLIOREF_KEEP;
  }
  const before = folioTest(map, f, PG_referenced);
  folioClear(map, f, PG_referenced);
  const file = !folioTest(map, f, PG_swapbacked);
  if (young > 0) {
    folioSet(map, f, PG_referenced);
    if (before || young > 1) return FOLIOREF_ACTIVATE;
    return file && (referencedFlags(m) & VM_EXEC) !== 0 ? FOLIOREF_ACTIVATE : FOLIOREF_KEEP;
  }
  return before && file ? FOLIOREF_RECLAIM_CLEAN : FOLIOREF_RECLAIM;
}

/** Splits an isolated, locked folio to single pages; those after the first go onto the stack. @kernel mm/huge_memory.c split_folio_to_list (6.18) */
function splitFolioToList(m: Machine, f: FolioId, list: ReclaimList): boolean {
  const { map } = m;
  const nr = folioNrPages(map, f);
  if (!folioSplit(m, f, 0, 0, true)) return false;
  const pfn = folioPfn(map, f);
  for (let p = pfn + 1; p < pfn + nr; p++) {
    // Pages that nobody mapped are free by now.
    const piece = pageFolio(map, p as Pfn);
    if (piece === NO_FOLIO || folioRefCount(map, piece) <= 0) continue;
    folioRefAdd(map, piece, 1);
    reclaimPush(list, piece);
  }
  return true;
}

const KEEP = 0;
const ACTIVATE = 1;
const FREED = 2;
/** It is unlocked already. */
const KEEP_UNLOCKED = 3;
/** It is back on the stack. */
const RETRY = 4;

/**
 * Frees what can be freed of the folios on the stack; the rest is in `list.kept`, in the order in which it was met. Returns the
 * pages freed. @kernel mm/vmscan.c shrink_folio_list (6.18)
 */
export function shrinkFolioList(m: Machine, sc: ScanControl, list: ReclaimList, ignoreReferences: boolean): number {
  const { map } = m;
  let reclaimed = 0;
  let activated = 0;
  list.nrKept = 0;
  if (m.tlb !== null) m.tlb.remote = sc.kswapd;
  while (list.nr > 0) {
    const f = list.stack[--list.nr] as FolioId;
    if (folioTest(map, f, PG_locked)) {
      keep(list, f);
      continue;
    }
    folioSet(map, f, PG_locked);
    const before = folioNrPages(map, f);
    sc.nrScanned += before;
    let outcome = folioTest(map, f, PG_mlocked) ? ACTIVATE : shrinkFolio(m, sc, f, list, ignoreReferences);
    if (outcome === RETRY) continue;
    // Split on the way: the other pieces are counted when their turn comes.
    const nr = outcome === FREED ? sc.freed : folioNrPages(map, f);
    sc.nrScanned -= before - nr;
    if (outcome === FREED) {
      reclaimed += nr;
      continue;
    }
    if (outcome === ACTIVATE) {
      if (inSwapCache(m, f) && (memCgroupSwapFull(m) || folioTest(map, f, PG_mlocked))) folioFreeSwap(m, f);
      if (!folioTest(map, f, PG_mlocked)) {
        folioSet(map, f, PG_active);
        activated += nr;
        m.memcgs.pgactivate[folioMemcg(map, f)] += nr;
      }
      outcome = KEEP;
    }
    if (outcome === KEEP) folioClear(map, f, PG_locked);
    keep(list, f);
  }
  tryToUnmapFlush(m);
  if (m.tlb !== null) m.tlb.remote = false;
  m.vmstat[V.pgactivate] += activated;
  return reclaimed;
}

/** One locked folio. */
function shrinkFolio(m: Machine, sc: ScanControl, f: FolioId, list: ReclaimList, ignoreReferences: boolean): number {
  const { map, vmstat } = m;
  const anon = folioTestAnon(map, f);
  let nr = folioNrPages(map, f);
  const fileLru = !folioTest(map, f, PG_swapbacked);
  const writeback = folioTest(map, f, PG_writeback);
  if (fileLru && !anon && (writeback || folioTest(map, f, PG_dirty))) {
    sc.dirty += nr;
    if (!writeback) sc.unqueuedDirty += nr;
  }
  if (writeback) {
    const again = folioTest(map, f, PG_reclaim);
    if (again && fileLru) sc.congested += nr;
    if (sc.kswapd && again && m.lruvecs.node.writeback) {
      sc.immediate += nr;
      return ACTIVATE;
    }
    if (sc.target !== 0 && again && mayEnterFs(m, f, sc.gfp)) {
      // A group of version 1 waits for what it meets again.
      folioClear(map, f, PG_locked);
      if (m.io.waitWriteback?.(f) === true) {
        reclaimPush(list, f);
        return RETRY;
      }
      folioSet(map, f, PG_locked);
    }
    folioSet(map, f, PG_reclaim);
    sc.writeback += nr;
    return ACTIVATE;
  }
  const references = ignoreReferences ? FOLIOREF_RECLAIM : folioCheckReferences(m, f, sc.target);
  if (references === FOLIOREF_ACTIVATE) return ACTIVATE;
  if (references === FOLIOREF_KEEP) return KEEP;

  if (anon && !fileLru && !folioTest(map, f, PG_swapcache)) {
    const outcome = addToSwap(m, sc, f, list);
    if (outcome !== FREED) return outcome;
    nr = folioNrPages(map, f);
    folioSet(map, f, PG_dirty);
  }
  if (folioMapped(m, f)) {
    tryToUnmap(m, f, folioOrder(map, f) >= m.zones.pmdOrder ? TTU_BATCH_FLUSH | TTU_SPLIT_HUGE_PMD : TTU_BATCH_FLUSH);
    if (folioMapped(m, f)) return ACTIVATE;
  }
  if (folioMaybeDmaPinned(m, f)) return ACTIVATE;
  if (folioTest(map, f, PG_dirty)) {
    const outcome = pageout(m, sc, f, nr, references);
    if (outcome !== FREED) return outcome;
  }
  if (!anon && folioTest(map, f, PG_private) && !filemapReleaseFolio(m, f)) return ACTIVATE;
  if (anon && !folioTest(map, f, PG_swapbacked)) {
    if (folioRefCount(map, f) !== 1) return KEEP;
    folioSetCount(map, f, 0);
    vmstat[V.pglazyfreed] += nr;
  } else if (!removeMapping(m, sc.target, f, nr)) return KEEP;
  freeFolio(m, sc, f, nr);
  return FREED;
}

/** @kernel mm/vmscan.c may_enter_fs (6.18) */
const mayEnterFs = (m: Machine, f: FolioId, gfp: number): boolean =>
  (gfp & __GFP_FS) !== 0 || ((gfp & __GFP_IO) !== 0 && inSwapCache(m, f));

/** Gives an anonymous folio slots, whole or, when there is no run for it, split; FREED: it has them. */
function addToSwap(m: Machine, sc: ScanControl, f: FolioId, list: ReclaimList): number {
  const { map } = m;
  if ((sc.gfp & __GFP_IO) === 0 || folioMaybeDmaPinned(m, f)) return KEEP;
  const order = folioOrder(map, f);
  if (order > 0) {
    if (folioRefCount(map, f) !== folioMapcount(m, f) + 1) return ACTIVATE;
    if (order > 1 && folioTestDeferred(m, f) && folioTestPartiallyMapped(m, f) && !splitFolioToList(m, f, list))
      return ACTIVATE;
  }
  if (folioAllocSwap(m, f)) return FREED;
  if (!folioTest(map, f, PG_head)) return ACTIVATE;
  if (!splitFolioToList(m, f, list)) return ACTIVATE;
  if (order >= m.zones.pmdOrder) m.vmstat[V.thp_swpout_fallback] += 1;
  modMthpStat(m, order, MTHP.swpout_fallback, 1);
  return folioAllocSwap(m, f) ? FREED : ACTIVATE;
}

/** A dirty folio that nobody maps: files wait for the flusher, the rest is written. FREED: it is clean, go on. @kernel mm/vmscan.c pageout (6.18) */
function pageout(m: Machine, sc: ScanControl, f: FolioId, nr: number, references: number): number {
  const { map, vmstat } = m;
  const fileLru = !folioTest(map, f, PG_swapbacked);
  if (fileLru && !(sc.kswapd && folioTest(map, f, PG_reclaim) && m.lruvecs.node.dirty)) {
    vmstat[V.nr_vmscan_immediate_reclaim] += nr;
    folioSet(map, f, PG_reclaim);
    return ACTIVATE;
  }
  if (references === FOLIOREF_RECLAIM_CLEAN || !mayEnterFs(m, f, sc.gfp)) return KEEP;
  // The swap cache or the file, the isolation, and private data.
  if (folioRefCount(map, f) - (folioTest(map, f, PG_private) && !folioTestAnon(map, f) ? 1 : 0) !== 1 + nr) return KEEP;
  // What was only read ahead from zswap, and so is dirty, has no area yet.
  if (!folioTestAnon(map, f)) return fileLru || inSwapCache(m, f) ? ACTIVATE : KEEP;
  tryToUnmapFlushDirty(m);
  folioClear(map, f, PG_dirty);
  folioSet(map, f, PG_reclaim);
  if (swapWriteout(m, f) === WRITEOUT_ACTIVATE) {
    folioClear(map, f, PG_reclaim);
    return ACTIVATE;
  }
  if (!folioTest(map, f, PG_writeback)) folioClear(map, f, PG_reclaim);
  vmstat[V.nr_vmscan_write] += 1;
  sc.pageout += nr;
  if (folioTest(map, f, PG_writeback | PG_dirty)) return KEEP_UNLOCKED;
  // It went at once.
  folioSet(map, f, PG_locked);
  return FREED;
}

/** Out of the swap cache or the file, with a shadow, when nobody else refers to it; it is frozen then. @kernel mm/vmscan.c __remove_mapping (6.18) */
function removeMapping(m: Machine, target: MemcgId, f: FolioId, nr: number): boolean {
  const { map } = m;
  const swap = inSwapCache(m, f);
  if (!swap && folioMapping(map, f) === 0) return false;
  if (folioRefCount(map, f) !== 1 + nr || folioTest(map, f, PG_dirty)) return false;
  if (!swap && folioTest(map, f, PG_swapbacked)) return false;
  const shadow = workingsetEviction(m, f, target);
  const age = m.lruvecs.evictionAge[0];
  if (swap) {
    const entry = folioSwap(m, f);
    swapCacheRemove(m, f, shadow, age);
    memcg1Swapout(m, f, entry);
    putSwapFolio(m, entry, nr);
  } else filemapRemoveFolio(m, f, shadow, age);
  folioSetCount(map, f, 0);
  return true;
}

/** A frozen folio goes back to the allocator. */
function freeFolio(m: Machine, sc: ScanControl, f: FolioId, nr: number): void {
  const { map } = m;
  sc.freed = nr;
  folioClear(map, f, PG_locked | PG_workingset | PG_referenced);
  const order = folioOrder(map, f);
  freeMappedPrepare(m, f);
  if (m.lruGen !== null) lruGenForget(m, f);
  memCgroupUncharge(m, f);
  freeFrozenFolio(m, f, order);
}

/** The folios of `list.kept` after a reclaim of chosen ones: back to the LRU, as if new there. @kernel mm/vmscan.c folio_putback_lru (6.18) */
function putback(m: Machine, list: ReclaimList): void {
  for (let i = 0; i < list.nrKept; i++) {
    const f = list.kept[i] as FolioId;
    folioAddLru(m, f);
    folioPut(m, f);
  }
}

/**
 * Reclaims folios that the caller took off the LRU (folioIsolateLru), in that order, whether they were used or not; the rest goes
 * back. Returns the pages freed. @kernel mm/vmscan.c reclaim_pages (6.18)
 */
export function reclaimPages(m: Machine, folios: readonly number[]): number {
  if (folios.length === 0) return 0;
  const list = m.lruvecs.reclaim;
  for (let i = folios.length - 1; i >= 0; i--) {
    folioClear(m.map, folios[i] as FolioId, PG_active);
    reclaimPush(list, folios[i] as number);
  }
  const memalloc = m.zones.memalloc;
  m.zones.memalloc = true;
  const reclaimed = shrinkFolioList(m, scanControl(0 as MemcgId, 0, GFP_KERNEL, 0, false), list, true);
  m.zones.memalloc = memalloc;
  putback(m, list);
  return reclaimed;
}

/**
 * Of `n` isolated folios of an active list, file memory that somebody executes stays active: it is in `list.kept`, and the rest,
 * inactive now, on the stack, both in order. Returns the pages that stay. @kernel mm/vmscan.c shrink_active_list (6.18)
 */
export function deactivateMapped(m: Machine, target: MemcgId, n: number): number {
  const { map } = m;
  const { isolated, reclaim: list } = m.lruvecs;
  list.nrKept = 0;
  list.nr = 0;
  let rotated = 0;
  for (let i = 0; i < n; i++) {
    const f = isolated[i] as FolioId;
    const young = !folioTest(map, f, PG_mlocked) && folioMapped(m, f) ? folioReferenced(m, f, target) : 0;
    if (young !== 0 && (referencedFlags(m) & VM_EXEC) !== 0 && !folioTest(map, f, PG_swapbacked)) {
      rotated += folioNrPages(map, f);
      keep(list, f);
      continue;
    }
    map[f * FOLIO_WORDS] = (map[f * FOLIO_WORDS] & ~PG_active) | PG_workingset;
    reclaimPush(list, f);
  }
  return rotated;
}
