/**
 * Eviction from the multi-generational LRU: folios of the oldest generation are sorted from its tail. Those found younger go
 * where they belong, those of protected tiers one generation on, those that wait for write-back too; the others are reclaimed.
 *
 * Differs: groups are shrunk in turn, not by generations of groups in random bins.
 * @kernel mm/vmscan.c evict_folios (6.18)
 */
import { __GFP_IO } from './gfp.ts';
import { type FolioId, type MemcgId, NO_FOLIO } from './ids.ts';
import {
  folioIncGen,
  folioLruGen,
  folioLruRefs,
  genType,
  LAZILY_PROMOTED,
  LRU_GEN_ANON,
  LRU_GEN_FILE,
  type LruGen,
  lruGenDelFolio,
  lruGenFolioSeq,
  lruGenMove,
  lruTierFromRefs,
  MAX_NR_TIERS,
  MIN_NR_GENS,
  NR_GEN_LISTS,
  setRefs,
} from './lru_gen.ts';
import { nrGens, resetCtrlPos, tryToIncMaxSeq } from './lru_gen_age.ts';
import type { Machine } from './machine.ts';
import { lruvecAddFolio } from './mm_inline.ts';
import { FOLIO_WORDS, folioClear, folioNrPages, folioSet, folioTest, folioTestAnon } from './mm_types.ts';
import { MAX_NR_ZONES } from './mmzone.ts';
import { highWmarkPages, zoneWatermarkOk } from './page_alloc_watermark.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { wakeupFlusherThreads } from './page_writeback.ts';
import { folioMapped } from './rmap.ts';
import { folioAddLru, folioFree, folioPut, lruAddDrain } from './swap.ts';
import { type ReclaimList, reclaimPush, shrinkFolioList } from './vmscan_anon.ts';
import type { ScanControl } from './vmscan_lists.ts';
import { DEF_PRIORITY } from './vmscan_node.ts';
import { shrinkSlab } from './vmscan_slab.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_dirty, PG_lru, PG_mlocked, PG_reclaim, PG_referenced, PG_unevictable } = PG;
const { PG_workingset, PG_writeback } = PG;
const MAX_SWAPPINESS = 200;

/** How much anonymous memory is preferred; 0: there is no swap worth speaking of. @kernel mm/vmscan.c get_swappiness (6.18) */
function getSwappiness(m: Machine, sc: ScanControl, g: number): number {
  if (!sc.maySwap || m.lruvecs.node.swapPages < (m.lruGen as LruGen).laws.minBatch) return 0;
  return g === 0 ? m.config.swappiness : m.memcgs.swappiness[g];
}

/** @kernel mm/vmscan.c evictable_min_seq (6.18) */
const evictableMinSeq = (t: LruGen, g: number, swappiness: number): number =>
  Math.min(t.minSeq[g * 2 + (swappiness === 0 ? 1 : 0)], t.minSeq[g * 2 + (swappiness <= MAX_SWAPPINESS ? 1 : 0)]);

/** Refaults of tiers [first, last] of a kind, and what they are to be measured by. @kernel mm/vmscan.c read_ctrl_pos (6.18) */
function readCtrlPos(t: LruGen, g: number, type: number, first: number, last: number): [number, number] {
  let refaulted = 0;
  let total = 0;
  for (let tier = first; tier <= last; tier++) {
    const i = (g * 2 + type) * MAX_NR_TIERS + tier;
    refaulted += t.avgRefaulted[i] + t.refaulted[i];
    total += t.avgTotal[i] + t.protected[i] + t.evicted[i];
  }
  return [refaulted, total];
}

/** Does `pv` refault too little to matter, or no more than `sp`, both by their gains? @kernel mm/vmscan.c positive_ctrl_err (6.18) */
export function positiveCtrlErr(
  batch: number,
  sp: readonly [number, number],
  spGain: number,
  pv: readonly [number, number],
  pvGain: number,
): boolean {
  return pv[0] < batch || pv[0] * (sp[1] + batch) * spGain <= (sp[0] + 1) * pv[1] * pvGain;
}

/** The last tier that is not protected. @kernel mm/vmscan.c get_tier_idx (6.18) */
export function getTierIdx(t: LruGen, g: number, type: number): number {
  const { minBatch, gainFirst, gainTier } = t.laws;
  const sp = readCtrlPos(t, g, type, 0, 0);
  let tier = 1;
  while (tier < MAX_NR_TIERS && positiveCtrlErr(minBatch, sp, gainFirst, readCtrlPos(t, g, type, tier, tier), gainTier))
    tier++;
  return tier - 1;
}

/** @kernel mm/vmscan.c get_type_to_scan (6.18) */
export function getTypeToScan(t: LruGen, g: number, swappiness: number): number {
  if (swappiness <= 1) return LRU_GEN_FILE;
  if (swappiness >= MAX_SWAPPINESS) return LRU_GEN_ANON;
  const sp = readCtrlPos(t, g, LRU_GEN_ANON, 0, MAX_NR_TIERS - 1);
  const pv = readCtrlPos(t, g, LRU_GEN_FILE, 0, MAX_NR_TIERS - 1);
  return positiveCtrlErr(t.laws.minBatch, sp, swappiness, pv, MAX_SWAPPINESS - swappiness)
    ? LRU_GEN_FILE
    : LRU_GEN_ANON;
}

/** Puts a folio of the oldest list where it belongs; false: it is to be evicted. @kernel mm/vmscan.c sort_folio (6.18) */
function sortFolio(m: Machine, sc: ScanControl, g: number, f: FolioId, lastTier: number): boolean {
  const t = m.lruGen as LruGen;
  const { map } = m;
  const flags = map[f * FOLIO_WORDS];
  const type = genType(flags);
  const nr = folioNrPages(map, f);
  if ((flags & PG_mlocked) !== 0) {
    lruGenDelFolio(m, f, true);
    folioSet(map, f, PG_unevictable);
    lruvecAddFolio(m, f);
    m.vmstat[V.unevictable_pgs_culled] += nr;
    return true;
  }
  const gen = folioLruGen(m, f);
  if (gen !== (t.minSeq[g * 2 + type] & 3)) {
    lruGenMove(m, f, g, gen, type, false);
    return true;
  }
  const refs = folioLruRefs(m, f);
  const workingset = (flags & PG_workingset) !== 0;
  const tier = lruTierFromRefs(refs, workingset);
  const lazily = refs + (workingset ? 1 : 0) === LAZILY_PROMOTED;
  if (tier > lastTier || lazily) {
    lruGenMove(m, f, g, folioIncGen(m, f, false), type, false);
    if (!lazily) t.protected[(g * 2 + type) * MAX_NR_TIERS + tier] += nr;
    return true;
  }
  const dirty = (flags & PG_dirty) !== 0;
  const writeback = (flags & PG_writeback) !== 0;
  if (type === LRU_GEN_FILE && dirty) {
    sc.fileTaken += nr;
    if (!writeback) sc.unqueuedDirty += nr;
  }
  if (!writeback && !(type === LRU_GEN_FILE && dirty)) return false;
  lruGenMove(m, f, g, folioIncGen(m, f, true), type, false);
  return true;
}

/** @kernel mm/vmscan.c isolate_folio (6.18) */
function isolateFolio(m: Machine, sc: ScanControl, f: FolioId): boolean {
  const { map } = m;
  const flags = map[f * FOLIO_WORDS];
  const swapcache = (flags & PG_swapcache) !== 0;
  if ((sc.gfp & __GFP_IO) === 0 && ((flags & PG_dirty) !== 0 || (folioTestAnon(map, f) && !swapcache))) return false;
  map[f * FOLIO_WORDS + map.refcount] += 1;
  folioClear(map, f, PG_lru | PG_reclaim);
  if ((flags & PG_referenced) === 0) setRefs(m, f, 0);
  lruGenDelFolio(m, f, true);
  return true;
}

/** Sorts the oldest generation of a kind, and puts what is to be evicted on `found`; returns the pages looked at. @kernel mm/vmscan.c scan_folios (6.18) */
function scanFolios(m: Machine, sc: ScanControl, g: number, want: number, type: number, found: number[]): number {
  const t = m.lruGen as LruGen;
  if (nrGens(t, g, type) === MIN_NR_GENS) return 0;
  const lastTier = getTierIdx(t, g, type);
  const { minBatch, maxBatch } = t.laws;
  const k = g * NR_GEN_LISTS + (t.minSeq[g * 2 + type] & 3) * 2 + type;
  let remaining = Math.min(want, maxBatch);
  let scanned = 0;
  let sorted = 0;
  let isolated = 0;
  const skipped: FolioId[] = [];
  let skippedPages = 0;
  for (let f = t.tail[k] as FolioId; f !== NO_FOLIO; f = t.tail[k] as FolioId) {
    const nr = folioNrPages(m.map, f);
    scanned += nr;
    if (sortFolio(m, sc, g, f, lastTier)) sorted += nr;
    else if (isolateFolio(m, sc, f)) {
      found.push(f);
      isolated += nr;
    } else {
      lruGenMove(m, f, g, t.minSeq[g * 2 + type] & 3, type, false);
      skipped.push(f);
      skippedPages += nr;
      // All the way round: the rest of the list cannot be taken either.
      if (t.tail[k] === skipped[0]) break;
    }
    if (--remaining === 0 || Math.max(isolated, skippedPages) >= minBatch) break;
  }
  if (sc.target === 0) {
    m.vmstat[sc.kswapd ? V.pgscan_kswapd : V.pgscan_direct] += isolated;
    m.vmstat[V.pgrefill] += sorted;
  }
  m.memcgs.pgscan[g] += isolated;
  m.memcgs.pgrefill[g] += sorted;
  m.vmstat[type === LRU_GEN_FILE ? V.pgscan_file : V.pgscan_anon] += isolated;
  if (type === LRU_GEN_FILE) sc.fileTaken += isolated;
  return isolated > 0 || remaining === 0 ? scanned : 0;
}

/** Oldest generations that are empty are over. @kernel mm/vmscan.c try_to_inc_min_seq (6.18) */
function tryToIncMinSeq(m: Machine, g: number, swappiness: number): boolean {
  const t = m.lruGen as LruGen;
  const min = [t.minSeq[g * 2], t.minSeq[g * 2 + 1]];
  const first = swappiness === 0 ? 1 : 0;
  const last = swappiness <= MAX_SWAPPINESS ? 1 : 0;
  let any = false;
  for (let type = first; type <= last; type++)
    while (min[type] + MIN_NR_GENS <= t.maxSeq[g] && t.tail[g * NR_GEN_LISTS + (min[type] & 3) * 2 + type] === 0) {
      min[type]++;
      any = true;
    }
  if (!any) return false;
  if (swappiness > 0 && swappiness <= MAX_SWAPPINESS) {
    const seq = t.maxSeq[g] - MIN_NR_GENS;
    if (min[0] > seq && min[1] < seq) min[0] = seq;
    else if (min[1] > seq && min[0] < seq) min[1] = seq;
  }
  let success = false;
  for (let type = first; type <= last; type++) {
    if (min[type] <= t.minSeq[g * 2 + type]) continue;
    resetCtrlPos(t, g, type);
    t.minSeq[g * 2 + type] = min[type];
    success = true;
  }
  return success;
}

/** One round; returns how much was looked at, 0 when eviction has come to an end. @kernel mm/vmscan.c evict_folios (6.18) */
function evictFolios(m: Machine, sc: ScanControl, g: number, want: number, swappiness: number): number {
  const t = m.lruGen as LruGen;
  const list = m.lruvecs.reclaim;
  const found: number[] = [];
  let type = getTypeToScan(t, g, swappiness);
  let scanned = 0;
  for (let i = swappiness === 0 || swappiness > MAX_SWAPPINESS ? 1 : 0; i < 2; i++) {
    scanned = scanFolios(m, sc, g, want, type, found);
    if (scanned > 0 || i === 1) break;
    type = 1 - type;
  }
  scanned += tryToIncMinSeq(m, g, swappiness) ? 1 : 0;
  if (evictableMinSeq(t, g, swappiness) + MIN_NR_GENS > t.maxSeq[g]) scanned = 0;
  let batch = found;
  for (let retry = 0; batch.length > 0; retry++) {
    for (let i = batch.length - 1; i >= 0; i--) reclaimPush(list, batch[i]);
    const reclaimed = shrinkFolioList(m, sc, list, false);
    sc.nrReclaimed += reclaimed;
    batch = putBack(m, list, g, type, retry === 0);
    if (sc.target === 0) m.vmstat[sc.kswapd ? V.pgsteal_kswapd : V.pgsteal_direct] += reclaimed;
    m.memcgs.pgsteal[g] += reclaimed;
    m.vmstat[type === LRU_GEN_FILE ? V.pgsteal_file : V.pgsteal_anon] += reclaimed;
  }
  return scanned;
}

/** What was not freed goes back; returns what is to be tried once more: it was clean and unused by then. */
function putBack(m: Machine, list: ReclaimList, g: number, type: number, mayRetry: boolean): number[] {
  const { map } = m;
  const t = m.lruGen as LruGen;
  const again: number[] = [];
  for (let i = 0; i < list.nrKept; i++) {
    const f = list.kept[i] as FolioId;
    if (folioTest(map, f, PG_mlocked)) {
      folioAddLru(m, f);
      folioPut(m, f);
      continue;
    }
    if (mayRetry && !folioTest(map, f, PG_active | PG_dirty | PG_writeback) && !folioMapped(m, f)) {
      again.push(f);
      continue;
    }
    if (lruGenFolioSeq(m, f, false) === t.minSeq[g * 2 + type]) {
      setRefs(m, f, 0);
      folioClear(map, f, PG_referenced);
      folioSet(map, f, PG_active);
    }
    const refs = map[f * FOLIO_WORDS + map.refcount] - 1;
    map[f * FOLIO_WORDS + map.refcount] = refs;
    if (refs === 0) folioFree(m, f);
    else {
      folioSet(map, f, PG_lru);
      lruvecAddFolio(m, f);
    }
  }
  return again;
}

/** Pages to look at now; 0 or less: this group is done, after a new generation was made (−1) or could not be. @kernel mm/vmscan.c get_nr_to_scan (6.18) */
function getNrToScan(m: Machine, sc: ScanControl, g: number, swappiness: number): number {
  const t = m.lruGen as LruGen;
  const max = t.maxSeq[g];
  const oldest = evictableMinSeq(t, g, swappiness) + MIN_NR_GENS;
  let size = 0;
  let age = oldest > max;
  if (!age) {
    for (let type = swappiness === 0 ? 1 : 0; type <= (swappiness <= MAX_SWAPPINESS ? 1 : 0); type++)
      for (let seq = t.minSeq[g * 2 + type]; seq <= max; seq++)
        size += t.pages[g * NR_GEN_LISTS + (seq & 3) * 2 + type];
    age = oldest === max;
  }
  if (!age || sc.priority === DEF_PRIORITY) return Math.floor(size / 2 ** sc.priority);
  return tryToIncMaxSeq(m, g, swappiness, false) ? -1 : 0;
}

/** @kernel mm/vmscan.c should_abort_scan (6.18) */
function shouldAbortScan(m: Machine, sc: ScanControl): boolean {
  if (sc.target !== 0) return false;
  if (sc.nrReclaimed >= Math.max(sc.nrToReclaim, sc.order === 0 ? 0 : 2 * 2 ** sc.order)) return true;
  if (!sc.kswapd || sc.order > 0) return false;
  const { zones } = m;
  for (let z = 0; z < MAX_NR_ZONES; z++) {
    const mark = highWmarkPages(zones, z) + (m.lruGen as LruGen).laws.minBatch;
    if (zones.zone.managed[z] > 0 && !zoneWatermarkOk(zones, z, 0, mark, MAX_NR_ZONES - 1, 0)) return false;
  }
  return true;
}

/** @kernel mm/vmscan.c try_to_shrink_lruvec (6.18) */
function tryToShrinkLruvec(m: Machine, sc: ScanControl, g: number): void {
  const swappiness = getSwappiness(m, sc, g);
  let scanned = 0;
  for (;;) {
    const want = getNrToScan(m, sc, g, swappiness);
    if (want <= 0) break;
    const delta = evictFolios(m, sc, g, want, swappiness);
    if (delta === 0) break;
    scanned += delta;
    if (scanned >= want || shouldAbortScan(m, sc)) break;
  }
  if (sc.unqueuedDirty > 0 && sc.unqueuedDirty === sc.fileTaken) wakeupFlusherThreads(m);
}

/** A group at its limit. @kernel mm/vmscan.c lru_gen_shrink_lruvec (6.18) */
export function lruGenShrinkLruvec(m: Machine, sc: ScanControl, memcg: MemcgId): void {
  const t = m.lruGen as LruGen;
  const before = sc.nrReclaimed;
  lruAddDrain(m);
  t.walking = sc.kswapd;
  tryToShrinkLruvec(m, sc, memcg);
  t.walking = false;
  // All that is left may be on its way to the device: the kernel tries again and again until it has come there.
  if (sc.nrReclaimed === before && sc.priority <= 1) m.io.waitWriteback?.(NO_FOLIO);
}

/** With the priority that the size of what is inactive makes likely to do. @kernel mm/vmscan.c set_initial_priority (6.18) */
function setInitialPriority(m: Machine, sc: ScanControl): void {
  if (sc.priority !== DEF_PRIORITY || sc.nrToReclaim < (m.lruGen as LruGen).laws.minBatch) return;
  let pages = m.vmstat[V.nr_inactive_file];
  if (m.lruvecs.node.swapPages > 0) pages += m.vmstat[V.nr_inactive_anon];
  const fls = (n: number): number => (n < 1 ? 0 : Math.floor(Math.log2(n)) + 1);
  const priority = fls(pages) - 1 - fls(sc.nrToReclaim - 1);
  sc.priority = Math.min(Math.max(priority, DEF_PRIORITY / 2), DEF_PRIORITY);
}

/** The whole machine. @kernel mm/vmscan.c lru_gen_shrink_node (6.18) */
export function lruGenShrinkNode(m: Machine, sc: ScanControl): void {
  const { node } = m.lruvecs;
  const t = m.lruGen as LruGen;
  const before = sc.nrReclaimed;
  lruAddDrain(m);
  t.walking = sc.kswapd;
  setInitialPriority(m, sc);
  if (sc.kswapd) sc.nrReclaimed = 0;
  const { nr } = m.memcgs;
  for (let i = 0; i < nr; i++) {
    const g = node.iterator % nr;
    tryToShrinkLruvec(m, sc, g);
    shrinkSlab(m, g as MemcgId, sc.priority);
    node.iterator = (g + 1) % nr;
    if (shouldAbortScan(m, sc)) break;
  }
  t.walking = false;
  if (sc.kswapd) sc.nrReclaimed += before;
  if (sc.nrReclaimed > before) node.kswapdFailures = 0;
}
