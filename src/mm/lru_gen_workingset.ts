/**
 * Shadows of the multi-generational LRU: a folio that is evicted leaves the generation that was the oldest and how often it was
 * used. When it comes back while that generation is at most three behind the youngest, its tier is charged with a refault, and
 * it has its uses back.
 * @kernel mm/workingset.c lru_gen_eviction (6.18)
 */
import type { FolioId } from './ids.ts';
import {
  folioLruRefs,
  genType,
  LRU_GEN_FILE,
  type LruGen,
  lruTierFromRefs,
  MAX_NR_GENS,
  MAX_NR_TIERS,
  setRefs,
} from './lru_gen.ts';
import type { Machine } from './machine.ts';
import { FOLIO_WORDS, folioNrPages, folioSet } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { V } from './vmstat.ts';

const { PG_workingset } = PG;
/** Generations are told apart mod 2^30 in a shadow. */
const SEQS = 2 ** 30;

/** The shadow of a folio; its token goes to `lruvecs.evictionAge[0]`. @kernel mm/workingset.c lru_gen_eviction (6.18) */
export function lruGenEviction(m: Machine, f: FolioId): number {
  const t = m.lruGen as LruGen;
  const flags = m.map[f * FOLIO_WORDS];
  const g = m.map[f * FOLIO_WORDS + m.map.memcg];
  const type = genType(flags);
  const refs = folioLruRefs(m, f);
  const workingset = (flags & PG_workingset) !== 0;
  m.lruvecs.evictionAge[0] = (t.minSeq[g * 2 + type] % SEQS) * 4 + Math.max(refs - 1, 0);
  t.evicted[(g * 2 + type) * MAX_NR_TIERS + lruTierFromRefs(refs, workingset)] += folioNrPages(m.map, f);
  return (g << 1) | (workingset ? 1 : 0);
}

/** A folio takes the place of a shadow. @kernel mm/workingset.c lru_gen_refault (6.18) */
export function lruGenRefault(m: Machine, f: FolioId, value: number, token: number): void {
  const t = m.lruGen as LruGen;
  const { map, memcgs, vmstat } = m;
  const g = map[f * FOLIO_WORDS + map.memcg];
  if (value >> 1 !== g) return;
  const type = genType(map[f * FOLIO_WORDS]);
  const file = type === LRU_GEN_FILE;
  const nr = folioNrPages(map, f);
  const refault = file ? memcgs.refaultFile : memcgs.refaultAnon;
  refault[g] += nr;
  const refaulted = file ? V.workingset_refault_file : V.workingset_refault_anon;
  vmstat[refaulted] += nr;
  if (Math.abs((t.maxSeq[g] % SEQS) - Math.floor(token / 4)) >= MAX_NR_GENS) return;
  const workingset = (value & 1) !== 0;
  const refs = (token & 3) + 1;
  t.refaulted[(g * 2 + type) * MAX_NR_TIERS + lruTierFromRefs(refs, workingset)] += nr;
  if (t.inFault) {
    const activate = file ? memcgs.activateFile : memcgs.activateAnon;
    activate[g] += nr;
    const activated = file ? V.workingset_activate_file : V.workingset_activate_anon;
    vmstat[activated] += nr;
  }
  if (!workingset) {
    setRefs(m, f, refs - 1);
    return;
  }
  folioSet(map, f, PG_workingset);
  const restore = file ? memcgs.restoreFile : memcgs.restoreAnon;
  restore[g] += nr;
  const restored = file ? V.workingset_restore_file : V.workingset_restore_anon;
  vmstat[restored] += nr;
}
