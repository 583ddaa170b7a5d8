/**
 * The working set: was a folio that comes back evicted too early?
 *
 *   active list  ◄── A pages ──►        inactive list  ◄── I pages ──►      evicted …
 *                                                                          │ shadow: age at eviction
 *
 * Each list pair has an age: it grows with every eviction and every activation, in pages. An evicted file folio leaves its
 * age behind as a shadow in the page cache. When it is read again, the difference is how much longer the inactive list
 * would have had to be. If that is no more than the active list is long, the folio would have stayed had it competed with
 * the active ones: it comes back active. `workingset` tells whether it had been active before, so that its coming back is
 * a loss (a restore) and not a discovery.
 *
 * A shadow is 30 bits in the page cache, (group << 1) | workingset, with the low 32 bits of the age beside it: ages are
 * compared mod 2^32 pages, the kernel's mod 2^36.
 *
 * Follows "Thrash detection-based file cache sizing" (Weiner, LWN 2012).
 */
import type { FolioId, MemcgId } from './ids.ts';
import { lruGenEviction, lruGenRefault } from './lru_gen_workingset.ts';
import type { Machine } from './machine.ts';
import { lruvecPageState } from './memcontrol.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE } from './mm_inline.ts';
import { FOLIO_WORDS, folioNrPages } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_swapbacked, PG_workingset } = PG;

const AGES = 2 ** 32;
/** An age, mod 2^32. (`%` of such numbers is a call into a library.) */
const wrapped = (age: number): number => age - Math.floor(age / AGES) * AGES;
/** @kernel include/linux/swap.h SWAP_CLUSTER_MAX (6.18) */
export const SWAP_CLUSTER_MAX = 32;

/** The list pair grows older by `nr` pages, and the root's with it. @kernel mm/workingset.c workingset_age_nonresident (6.18) */
export function workingsetAgeNonresident(m: Machine, memcg: MemcgId, nr: number): void {
  const { nonresidentAge } = m.lruvecs;
  nonresidentAge[memcg] += nr;
  if (memcg !== 0) nonresidentAge[0] += nr;
}

/**
 * The shadow of a folio that reclaim for `target` evicts; its age goes to `lruvecs.evictionAge[0]`.
 * @kernel mm/workingset.c workingset_eviction (6.18)
 */
export function workingsetEviction(m: Machine, f: FolioId, target: MemcgId): number {
  const t = m.lruvecs;
  if (m.lruGen !== null) return lruGenEviction(m, f);
  t.evictionAge[0] = wrapped(t.nonresidentAge[target]);
  workingsetAgeNonresident(m, target, folioNrPages(m.map, f));
  return (target << 1) | ((m.map[f * FOLIO_WORDS] & PG_workingset) === 0 ? 0 : 1);
}

/**
 * Would the evicted folio still be here, had it been on the active list's account?
 * @kernel mm/workingset.c workingset_test_recent (6.18)
 */
export function workingsetTestRecent(m: Machine, value: number, age: number, file: boolean): boolean {
  const memcg = value >> 1;
  if (memcg >= m.memcgs.nr) return false;
  const t = m.lruvecs;
  let distance = wrapped(t.nonresidentAge[memcg]) - age;
  if (distance < 0) distance += AGES;
  return distance <= workingsetSize(m, memcg, file);
}

function workingsetSize(m: Machine, memcg: number, file: boolean): number {
  let size = lruvecPageState(m, memcg, LRU_ACTIVE_FILE);
  if (!file) size += lruvecPageState(m, memcg, LRU_INACTIVE_FILE);
  if (m.lruvecs.node.swapPages > 0) {
    size += lruvecPageState(m, memcg, LRU_ACTIVE_ANON);
    if (file) size += lruvecPageState(m, memcg, LRU_INACTIVE_ANON);
  }
  return size;
}

/**
 * A folio takes the place of a shadow: counts the refault, and makes the folio active when it should not have been evicted.
 * The folio is charged and not on a list yet. @kernel mm/workingset.c workingset_refault (6.18)
 */
export function workingsetRefault(m: Machine, f: FolioId, value: number, age: number): void {
  if (m.lruGen !== null) {
    lruGenRefault(m, f, value, age);
    return;
  }
  const { map, memcgs, vmstat } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  const file = (flags & PG_swapbacked) === 0;
  const nr = folioNrPages(map, f);
  const g = map[w + map.memcg] as MemcgId;
  const refault = file ? memcgs.refaultFile : memcgs.refaultAnon;
  refault[g] += nr;
  const at = file ? V.workingset_refault_file : V.workingset_refault_anon;
  vmstat[at] += nr;
  if (!workingsetTestRecent(m, value, age, file)) return;
  map[w] = flags | PG_active;
  workingsetAgeNonresident(m, g, nr);
  const activate = file ? memcgs.activateFile : memcgs.activateAnon;
  activate[g] += nr;
  const activated = file ? V.workingset_activate_file : V.workingset_activate_anon;
  vmstat[activated] += nr;
  if ((value & 1) === 0) return;
  map[w] |= PG_workingset;
  lruNoteCost(m, g, file, nr, 0);
  const restore = file ? memcgs.restoreFile : memcgs.restoreAnon;
  restore[g] += nr;
  const restored = file ? V.workingset_restore_file : V.workingset_restore_anon;
  vmstat[restored] += nr;
}

/**
 * What reclaiming one kind of memory has cost: pages of I/O, weighted, and pages scanned in vain. Both costs of a pair are
 * halved when their sum passes a quarter of its pages. @kernel mm/swap.c lru_note_cost_unlock_irq (6.18)
 */
export function lruNoteCost(m: Machine, memcg: MemcgId, file: boolean, nrIo: number, nrRotated: number): void {
  const cost = m.release.lruCost === 'pageout' ? nrIo : nrIo * SWAP_CLUSTER_MAX + nrRotated;
  if (cost === 0) return;
  const { anonCost, fileCost } = m.lruvecs;
  for (let g = memcg as number; ; g = 0) {
    if (file) fileCost[g] += cost;
    else anonCost[g] += cost;
    let size = 0;
    for (let lru = 0; lru <= LRU_ACTIVE_FILE; lru++) size += lruvecPageState(m, g, lru);
    if (fileCost[g] + anonCost[g] > Math.floor(size / 4)) {
      fileCost[g] = Math.floor(fileCost[g] / 2);
      anonCost[g] = Math.floor(anonCost[g] / 2);
    }
    if (g === 0) return;
  }
}

/**
 * Page-cache nodes of a group that hold nothing but shadows, beyond what the group may keep: one for each eight pages
 * that it has. The rest is offered to the shrinker. @kernel mm/workingset.c count_shadow_nodes (6.18)
 */
export function countShadowNodes(nodes: number, pages: number): number {
  const keep = Math.floor(pages / 8);
  return nodes <= keep ? 0 : nodes - keep;
}
