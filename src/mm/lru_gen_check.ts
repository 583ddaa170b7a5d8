/** The generations of every group, checked: G1 to G4 of lru_gen.ts. */
import { assert } from '../base/errors.ts';
import { type FolioId, NO_FOLIO } from './ids.ts';
import {
  folioLruGen,
  genType,
  type LruGen,
  lruGenIsActive,
  MAX_NR_GENS,
  MIN_NR_GENS,
  NR_GEN_LISTS,
} from './lru_gen.ts';
import type { Machine } from './machine.ts';
import { LRU_ACTIVE_FILE, LRU_UNEVICTABLE, NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioAt, folioNrPages, W_NEXT, W_PREV } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { bugFolio } from './swap.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_lru, PG_unevictable } = PG;

/** Asserts the invariants; walks all lists. */
export function checkLruGen(m: Machine): void {
  const t = m.lruGen as LruGen;
  const { map, lruvecs, memcgs } = m;
  const sums = new Float64Array(NR_LRU_LISTS);
  let listed = 0;
  for (let g = 0; g < memcgs.nr; g++) {
    const pages = new Float64Array(NR_GEN_LISTS);
    const folios = new Float64Array(NR_GEN_LISTS);
    for (let list = 0; list < NR_GEN_LISTS; list++) {
      const k = g * NR_GEN_LISTS + list;
      let prev = NO_FOLIO;
      for (let f = t.head[k] as FolioId; f !== 0; f = (map[f * FOLIO_WORDS + W_NEXT] >>> 1) as FolioId) {
        const w = f * FOLIO_WORDS;
        const gen = folioLruGen(m, f);
        if ((map[w] & PG_lru) === 0 || (map[w] & (PG_active | PG_unevictable)) !== 0) bugFolio(m, f, 'G1 flags');
        if (gen < 0 || genType(map[w]) !== (list & 1) || map[w + map.memcg] !== g)
          bugFolio(m, f, 'G1 generation and kind');
        if (map[w + W_PREV] >>> 1 !== prev) bugFolio(m, f, 'G2 prev(next(f)) = f');
        pages[gen * 2 + (list & 1)] += folioNrPages(map, f);
        folios[gen * 2 + (list & 1)]++;
        prev = f;
        listed++;
      }
      assert(t.tail[k] === prev, 'G2 a list ends at its tail');
    }
    const sizes = new Float64Array(NR_LRU_LISTS);
    for (let type = 0; type < 2; type++) {
      const gens = t.maxSeq[g] - t.minSeq[g * 2 + type] + 1;
      assert(gens >= MIN_NR_GENS && gens <= MAX_NR_GENS, 'G4 two to four generations are in use');
      for (let gen = 0; gen < MAX_NR_GENS; gen++) {
        const i = gen * 2 + type;
        const k = g * NR_GEN_LISTS + i;
        assert(t.pages[k] === pages[i] && t.folios[k] === folios[i], 'G3 pages and folios of a generation');
        sizes[type * 2 + (lruGenIsActive(t, g, gen) ? 1 : 0)] += pages[i];
      }
    }
    for (let lru = 0; lru <= LRU_ACTIVE_FILE; lru++) {
      const k = g * NR_LRU_LISTS + lru;
      assert(lruvecs.pages[k] === sizes[lru] && lruvecs.head[k] === 0, 'G3 active and inactive pages of a group');
      sums[lru] += sizes[lru];
    }
    for (let f = lruvecs.head[g * NR_LRU_LISTS + LRU_UNEVICTABLE]; f !== 0; f = map[f * FOLIO_WORDS + W_NEXT] >>> 1)
      listed++;
  }
  for (let lru = 0; lru <= LRU_ACTIVE_FILE; lru++)
    assert(m.vmstat[V.nr_inactive_anon + lru] === sums[lru], 'G3 the groups add up to vmstat');
  let flagged = 0;
  for (let pfn = 1; pfn < map.frames; pfn++) {
    const f = folioAt(map, pfn);
    if (f !== NO_FOLIO && (map[f * FOLIO_WORDS] & PG_lru) !== 0) flagged++;
  }
  assert(flagged === listed, 'G1 a folio with PG_lru is on a list');
}
