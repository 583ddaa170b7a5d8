/**
 * Swap, checked.
 *
 * Invariants (checkSwap):
 *  S1 every cluster is on the one list that its flag and order say, linked both ways;
 *  S2 a cluster's count is its slots that are not free; it is free exactly when that is 0, and then has no table page; on the
 *     list of full ones all its slots are in use, on others some are free;
 *  S3 a device's count is its slots in use, bad ones left out; node.swapPages is what is free on all devices; a device is on the
 *     list of those with room unless it is full;
 *  S4 the cache's mark is on a slot exactly when its table word is a folio; that folio says PG_swapcache and its first slot, a
 *     multiple of its size; all of its slots name it; shadows are in used slots without the mark;
 *  S5 nothing is kept for a free slot: no zero mark, compressed copy, group or shadow;
 *  S6 an entry of zswap and its slot name each other; it is on its group's list, linked both ways; the sums are right; the pool
 *     holds an object for each;
 *  S7 a slot's count is the number of page table entries that hold it, and MM_SWAPENTS theirs by address space;
 *  S8 nr_swapcached and the groups' are the pages of folios in the cache, and a group's `swap` its slots.
 */
import { assert } from '../base/errors.ts';
import type { FolioId } from './ids.ts';
import type { Machine } from './machine.ts';
import { MM_SWAPENTS, NR_MM_COUNTERS } from './mm_struct.ts';
import { folioMemcg, folioNrPages, folioTest } from './mm_types.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { PTE_SWAP } from './pgtable.ts';
import {
  CLUSTER_FLAG_FRAG,
  CLUSTER_FLAG_FREE,
  CLUSTER_FLAG_FULL,
  CLUSTER_FLAG_NONFULL,
  folioSwap,
  LIST_FREE,
  LIST_FULL,
  listFrag,
  listNonfull,
  SWAP_HAS_CACHE,
  SWAP_MAP_BAD,
} from './swap_table.ts';
import { V } from './vmstat.ts';
import { checkZsPool } from './zsmalloc_check.ts';

/** Asserts the invariants; walks all slots. `mapped`: slots are referred to by page tables only (S7). */
export function checkSwap(m: Machine, mapped = true): void {
  if (m.swap.nrSlots === 0) return;
  checkClusters(m);
  checkSlots(m);
  checkZswap(m);
  if (mapped) checkReferences(m);
}

/** S1 to S3. */
function checkClusters(m: Machine): void {
  const s = m.swap;
  const t = s.clusters;
  const size = 1 << s.clusterOrder;
  const seen = new Uint8Array(t.rows);
  let free = 0;
  for (const d of s.devices) {
    const walk = (list: number, flag: number, order: number): void => {
      let prev = 0;
      for (let c = d.head[list]; c !== 0; c = t.next[c - 1]) {
        const ci = c - 1;
        assert(t.prev[ci] === prev && seen[ci] === 0, 'S1 a cluster is on one list, linked both ways');
        assert(t.flag[ci] === flag && t.device[ci] === d.row, 'S1 a cluster is on the list that its flag says');
        assert(order < 0 || t.order[ci] === order, 'S1 a cluster is on the list of its order');
        seen[ci] = 1;
        prev = c;
      }
      assert(d.tail[list] === prev, 'S1 a list ends at its tail');
    };
    walk(LIST_FREE, CLUSTER_FLAG_FREE, 0);
    walk(LIST_FULL, CLUSTER_FLAG_FULL, -1);
    for (let order = 0; order <= s.clusterOrder; order++) {
      walk(listNonfull(order), CLUSTER_FLAG_NONFULL, order);
      walk(listFrag(order), CLUSTER_FLAG_FRAG, order);
    }
    let inuse = 0;
    const first = d.base >>> s.clusterOrder;
    const clusters = Math.ceil(d.max / size);
    for (let ci = first; ci < first + clusters; ci++) {
      assert(seen[ci] === 1, 'S1 every cluster is on a list');
      let count = 0;
      for (let i = ci * size; i < (ci + 1) * size; i++) {
        const map = s.slots.map[i];
        if (map !== 0) count++;
        if (map !== 0 && map !== SWAP_MAP_BAD) inuse++;
      }
      const flag = t.flag[ci];
      assert(t.count[ci] === count, "S2 a cluster's count is its slots in use");
      assert((flag === CLUSTER_FLAG_FREE) === (count === 0), 'S2 an empty cluster is free');
      assert((t.table[ci] === 0) === (count === 0), 'S2 a free cluster has no table');
      assert((flag === CLUSTER_FLAG_FULL) === (count === size), 'S2 a full cluster is full');
    }
    assert(d.inuse === inuse, "S3 a device's count is its slots in use");
    assert(d.offlist === (inuse === d.pages) && s.avail.includes(d) === !d.offlist, 'S3 a full device is not tried');
    free += d.pages - inuse;
  }
  assert(m.lruvecs.node.swapPages === free, 'S3 free slots are as many as counted');
}

/** S4, S5, S8. */
function checkSlots(m: Machine): void {
  const { slots, nrSlots } = m.swap;
  const { map } = m;
  const cached = new Float64Array(m.memcgs.nr);
  const swapped = new Float64Array(m.memcgs.nr);
  let total = 0;
  for (let i = 0; i < nrSlots; i++) {
    const count = slots.map[i];
    const word = slots.table[i];
    const bypass = (count & SWAP_HAS_CACHE) !== 0 && word <= 0;
    assert(!bypass && word > 0 === ((count & SWAP_HAS_CACHE) !== 0), 'S4 the mark is where a folio is');
    if (count === 0 || count === SWAP_MAP_BAD) {
      assert(
        word === 0 && slots.zero[i] === 0 && slots.zswap[i] === 0 && slots.zram[i] === 0 && slots.memcg[i] === 0,
        'S5 nothing is kept for a free slot',
      );
      continue;
    }
    if (slots.memcg[i] !== 0) swapped[slots.memcg[i]]++;
    if (word <= 0) continue;
    const f = word as FolioId;
    const nr = folioNrPages(map, f);
    const first = folioSwap(m, f);
    assert(folioTest(map, f, PG_swapcache) && folioTest(map, f, PG.PG_swapbacked), 'S4 the folio says PG_swapcache');
    assert(first % nr === 0 && i >= first && i < first + nr, 'S4 the slot is one of the folio');
    total++;
    cached[folioMemcg(map, f)]++;
  }
  assert(m.vmstat[V.nr_swapcached] === total, 'S8 nr_swapcached');
  for (let g = 0; g < m.memcgs.nr; g++) {
    assert(m.memcgs.swapcached[g] === cached[g], "S8 a group's pages in the swap cache");
    if (g > 0) assert(m.memcgs.swap[g] === swapped[g], "S8 a group's pages swapped out");
  }
}

/** S6. */
function checkZswap(m: Machine): void {
  const z = m.swap.zswap;
  const t = z.entries;
  let listed = 0;
  for (let g = 0; g < z.oldest.length; g++) {
    let prev = 0;
    let n = 0;
    for (let e = z.oldest[g] ?? 0; e !== 0; e = t.next[e]) {
      assert(t.prev[e] === prev && t.memcg[e] === g, 'S6 an entry is on its list, linked both ways');
      assert(m.swap.slots.zswap[t.slot[e]] === e, 'S6 an entry and its slot name each other');
      prev = e;
      n++;
    }
    assert((z.youngest[g] ?? 0) === prev && (z.count[g] ?? 0) === n, 'S6 a list has as many entries as counted');
    listed += n;
  }
  let used = 0;
  for (let i = 0; i < m.swap.nrSlots; i++) if (m.swap.slots.zswap[i] !== 0) used++;
  assert(listed === used && listed === z.storedPages, 'S6 entries are as many as counted');
  assert((z.pool?.handlesInuse ?? 0) === listed, 'S6 the pool holds an object for each entry');
  if (z.pool !== null) checkZsPool(m, z.pool);
  if (m.swap.zram !== null) checkZsPool(m, m.swap.zram);
}

/** S7. */
function checkReferences(m: Machine): void {
  const { pt, mms, swap } = m;
  const refs = new Int32Array(swap.nrSlots);
  const ents = new Float64Array(mms.rows);
  for (let t = 1; t < pt.nr; t++) {
    if (pt.mm[t] === 0 || pt.level[t] !== 0) continue;
    for (let e = t << pt.entryShift; e < (t + 1) << pt.entryShift; e++) {
      if ((pt.entries[e * 2 + 1] & PTE_SWAP) === 0) continue;
      refs[pt.entries[e * 2]]++;
      ents[pt.mm[t]]++;
    }
  }
  for (let i = 0; i < swap.nrSlots; i++) {
    const count = swap.slots.map[i] & ~SWAP_HAS_CACHE;
    if (count !== SWAP_MAP_BAD) assert(count === refs[i], 'S7 a slot is referred to as often as counted');
  }
  for (let mm = 1; mm < mms.nr; mm++)
    if (mms.pgd[mm] !== 0)
      assert(mms.rss[mm * NR_MM_COUNTERS + MM_SWAPENTS] === ents[mm], 'S7 MM_SWAPENTS is the entries swapped out');
}
