/**
 * The lists, checked.
 *
 * Invariants (checkLru):
 *  L1 a folio is on a list exactly when PG_lru is set;
 *  L2 next(prev(f)) = f and prev(next(f)) = f, ends included;
 *  L3 the pages and folios of a list equal its two counters, and the groups' sums equal vmstat's nr_* counters;
 *  L4 a list holds no tail, no free and no frozen page;
 *  L5 a folio is on the list that its flags and its group say;
 *  L6 a group's usage is the pages of the folios charged to it, its kernel pages and its stock.
 */
import { assert } from '../base/errors.ts';
import { type FolioId, NO_FOLIO } from './ids.ts';
import { checkLruGen } from './lru_gen_check.ts';
import type { Machine } from './machine.ts';
import { folioLruList, NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioAt, folioNrPages, folioPfn, W_NEXT, W_PREV } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { bugFolio } from './swap.ts';
import { V } from './vmstat.ts';

const { PG_lru } = PG;

/** Asserts the invariants above; walks the whole memory map. */
export function checkLru(m: Machine): void {
  if (m.lruGen !== null) {
    checkLruGen(m);
    return;
  }
  const { map, lruvecs: t, memcgs } = m;
  const onList = new Set<FolioId>();
  const sums = new Float64Array(NR_LRU_LISTS);
  for (let g = 0; g < memcgs.nr; g++)
    for (let lru = 0; lru < NR_LRU_LISTS; lru++) {
      const k = g * NR_LRU_LISTS + lru;
      let pages = 0;
      let folios = 0;
      let prev = NO_FOLIO;
      for (let f = t.head[k] as FolioId; f !== 0; f = (map[f * FOLIO_WORDS + W_NEXT] >>> 1) as FolioId) {
        const w = f * FOLIO_WORDS;
        const flags = map[w];
        if (folioAt(map, folioPfn(map, f)) !== f) bugFolio(m, f, 'L4 a tail is on a list');
        if (map[w + map.refcount] <= 0) bugFolio(m, f, 'L4 a free folio is on a list');
        if ((flags & PG_lru) === 0) bugFolio(m, f, 'L1 a folio on a list has PG_lru');
        if (map[w + W_PREV] >>> 1 !== prev) bugFolio(m, f, 'L2 prev(next(f)) = f');
        if (folioLruList(flags) !== lru || map[w + map.memcg] !== g) bugFolio(m, f, 'L5 the folio is on its list');
        if (onList.has(f)) bugFolio(m, f, 'L2 a folio is on a list once');
        onList.add(f);
        pages += folioNrPages(map, f);
        folios++;
        prev = f;
      }
      assert(t.tail[k] === prev, 'L2 the list ends at its tail');
      assert(t.pages[k] === pages && t.folios[k] === folios, 'L3 a list has as many pages and folios as counted');
      sums[lru] += pages;
    }
  for (let lru = 0; lru < NR_LRU_LISTS; lru++)
    assert(m.vmstat[V.nr_inactive_anon + lru] === sums[lru], 'L3 the groups add up to vmstat');
  const charged = new Float64Array(memcgs.nr);
  for (let pfn = 1; pfn < map.frames; pfn++) {
    const f = folioAt(map, pfn);
    if (f === NO_FOLIO) continue;
    const w = f * FOLIO_WORDS;
    const g = map[w + map.memcg];
    if ((map[w] & PG_lru) !== 0 && !onList.has(f)) bugFolio(m, f, 'L1 a folio with PG_lru is on a list');
    if (g > 0 && g < memcgs.nr) charged[g] += folioNrPages(map, f);
  }
  for (let g = 1; g < memcgs.nr; g++) {
    assert(memcgs.pages[g] === charged[g], 'L6 the folios charged to a group are as many as counted');
    assert(
      memcgs.usage[g] === charged[g] + memcgs.kernel[g] + memcgs.stock[g],
      'L6 usage is folios, kernel pages and stock',
    );
  }
}
