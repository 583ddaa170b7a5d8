/**
 * The multi-generational LRU: instead of an active and an inactive list, two to four generations of each kind of memory, by
 * when they were last seen in use through page tables. Eviction empties the oldest; aging makes a new one.
 *
 *   generation   min_seq                                  max_seq
 *                oldest ◄── evict    …        …          youngest ◄── seen young by a walk of page tables
 *                  │ used often by read(2): one generation on, if its tier refaults more than the first
 *
 * Use by file descriptor is counted in the folio, 0 to 4 and "working set"; the count's log is its tier. Which tiers are
 * protected, and whether files or anonymous memory go first, is decided by how much of what was evicted came back: a loop of
 * control with the rates of the oldest generation and their running means.
 *
 * A folio knows its generation (+ 1; 0: it is on no list). A walk that finds it young changes that alone; the list it lies on
 * is left as it is until eviction meets it there.
 *
 * Written after the kernel's text, and never compared with a live kernel: none with CONFIG_LRU_GEN was at hand.
 *
 * Invariants (checkLruGen):
 *  G1 a folio of a generation's list says PG_lru, is not active, and has a generation of its kind;
 *  G2 lists are linked both ways, ends included;
 *  G3 a generation's pages and folios are those of all lists that say so; the two youngest are active, the rest inactive, in the
 *     group's counters as in vmstat's;
 *  G4 two to four generations of each kind are in use.
 *
 * Differs: one node, one zone list; the filter of page tables worth walking has no false positives.
 * @kernel include/linux/mmzone.h struct lru_gen_folio (6.18)
 */
import { QuireError } from '../base/errors.ts';
import { allocate, extend, f64, grow, i32, type Table } from '../base/table.ts';
import type { FolioId } from './ids.ts';
import type { Machine } from './machine.ts';
import { NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioNrPages, W_NEXT, W_PREV, W_ZONE } from './mm_types.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { atLeast, type Release } from './release.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_dirty, PG_reclaim, PG_referenced, PG_swapbacked, PG_unevictable } = PG;
const { PG_workingset, PG_writeback } = PG;

export const LRU_GEN_ANON = 0;
export const LRU_GEN_FILE = 1;
export const ANON_AND_FILE = 2;
/** @kernel include/linux/mmzone.h MAX_NR_GENS (6.18) */
export const MAX_NR_GENS = 4;
export const MIN_NR_GENS = 2;
export const MAX_NR_TIERS = 4;
/** Lists of a group: generation · 2 + kind. */
export const NR_GEN_LISTS: number = MAX_NR_GENS * ANON_AND_FILE;
/** refs + working set of a folio that a walk has promoted and no list shows yet. */
export const LAZILY_PROMOTED = 5;

/** What the rules of a release are, as data. */
export interface LruGenLaws {
  /** Pages of one round of eviction, and folios looked at. */
  readonly minBatch: number;
  readonly maxBatch: number;
  /** How much more a tier must refault than the first to be protected: gains of the first and of the tier. */
  readonly gainFirst: number;
  readonly gainTier: number;
  /** One page in so many must be young for a page table to be walked again. */
  readonly youngShare: number;
  /** Folios that wait for write-back are marked to be reclaimed when it ends. */
  readonly marksReclaim: boolean;
  readonly source: string;
}
const laws618: LruGenLaws = {
  minBatch: 64,
  maxBatch: 4096,
  gainFirst: 2,
  gainTier: 3,
  youngShare: 8,
  marksReclaim: true,
  source: 'mm/vmscan.c evict_folios, sort_folio, get_tier_idx (6.18.35)',
};
/** By release, newest first. Releases from 6.1 to 6.12 run by the rules of 6.18. */
export const lruGenHistory: readonly { readonly since: string; readonly laws: LruGenLaws }[] = [
  { since: '7.0', laws: { ...laws618, marksReclaim: false, source: 'mm/vmscan.c sort_folio (7.3.4)' } },
  { since: '6.1', laws: laws618 },
];

export const lruGenLayout = {
  maxSeq: f64('youngest generation'),
  minSeq: f64('oldest generation by kind', ANON_AND_FILE),
  head: i32('newest folio of each list; 0: empty', NR_GEN_LISTS),
  tail: i32('oldest folio of each list; 0: empty', NR_GEN_LISTS),
  pages: f64('base pages by generation and kind', NR_GEN_LISTS),
  folios: f64('folios by generation and kind', NR_GEN_LISTS),
  timestamps: f64('when each generation began, virtual ns', MAX_NR_GENS),
  refaulted: f64('pages that came back, by kind and tier', ANON_AND_FILE * MAX_NR_TIERS),
  evicted: f64('pages evicted', ANON_AND_FILE * MAX_NR_TIERS),
  protected: f64('pages of the oldest generation that were spared', ANON_AND_FILE * MAX_NR_TIERS),
  avgRefaulted: f64('running mean of refaulted', ANON_AND_FILE * MAX_NR_TIERS),
  avgTotal: f64('running mean of evicted and protected', ANON_AND_FILE * MAX_NR_TIERS),
  walkSeq: f64('youngest generation for which page tables were walked, + 1'),
} as const;

export interface LruGen extends Table<typeof lruGenLayout> {
  readonly laws: LruGenLaws;
  /** Rows in use. */
  nr: number;
  /** The running task is in a fault of an area whose use means something. */
  inFault: boolean;
  /** A walk's batch is open: what is found young near a folio is promoted at once. */
  walking: boolean;
  /** By group and parity of the generation: entries of PMDs worth walking; undefined: all are. */
  readonly filters: (Set<number> | undefined)[];
}

/** The lists of the root group; a group's are made with it. Throws for a kernel that has no such thing. */
export function lruGenInit(release: Release): LruGen {
  const laws = lruGenHistory.find((h) => atLeast(release, h.since))?.laws;
  if (laws === undefined)
    throw new QuireError('EINVAL', `lru mglru: kernel ${release.name} has none, 6.1 and newer have`);
  const t = extend(allocate(lruGenLayout, 4), {
    laws,
    nr: 0,
    inFault: false,
    walking: false,
    filters: [] as (Set<number> | undefined)[],
  });
  lruGenInitLruvec(t, 0, 0);
  return t;
}

/** @kernel mm/vmscan.c lru_gen_init_lruvec (6.18) */
export function lruGenInitLruvec(t: LruGen, row: number, now: number): void {
  if (row >= t.rows) grow(lruGenLayout, t, Math.max(t.rows * 2, row + 1));
  t.nr = Math.max(t.nr, row + 1);
  t.maxSeq[row] = MIN_NR_GENS + 1;
  t.timestamps.fill(now, row * MAX_NR_GENS, (row + 1) * MAX_NR_GENS);
}

// In the folio's upper flags word: generation + 1, the count of uses, and the list that it lies on.
const GEN_SHIFT = 16;
const GEN_MASK: number = 7 << GEN_SHIFT;
const REFS_SHIFT = 14;
const REFS_MASK: number = 3 << REFS_SHIFT;
const LIST_SHIFT = 11;
const LIST_MASK: number = 7 << LIST_SHIFT;

/** 0 anonymous, 1 file. */
export const genType = (flags: number): number => ((flags & PG_swapbacked) === 0 ? LRU_GEN_FILE : LRU_GEN_ANON);
/** Generation's place, −1: on no list. @kernel include/linux/mm_inline.h folio_lru_gen (6.18) */
export const folioLruGen = (m: Machine, f: FolioId): number =>
  ((m.map[f * FOLIO_WORDS + W_ZONE] & GEN_MASK) >> GEN_SHIFT) - 1;
/** Uses by file descriptor, the first included. @kernel include/linux/mm_inline.h folio_lru_refs (6.18) */
export function folioLruRefs(m: Machine, f: FolioId): number {
  const w = f * FOLIO_WORDS;
  return (m.map[w] & PG_referenced) === 0 ? 0 : ((m.map[w + W_ZONE] & REFS_MASK) >> REFS_SHIFT) + 1;
}
/** @kernel include/linux/mm_inline.h lru_tier_from_refs (6.18) */
export const lruTierFromRefs = (refs: number, workingset: boolean): number =>
  workingset ? MAX_NR_TIERS - 1 : refs <= 1 ? 0 : refs === 2 ? 1 : 2;
/** Is a generation one of the two youngest? @kernel include/linux/mm_inline.h lru_gen_is_active (6.18) */
export const lruGenIsActive = (t: LruGen, g: number, gen: number): boolean =>
  gen === (t.maxSeq[g] & 3) || gen === ((t.maxSeq[g] - 1) & 3);

export function setRefs(m: Machine, f: FolioId, count: number): void {
  const w = f * FOLIO_WORDS + W_ZONE;
  m.map[w] = (m.map[w] & ~REFS_MASK) | (count << REFS_SHIFT);
}
export function setGen(m: Machine, f: FolioId, gen: number): void {
  const w = f * FOLIO_WORDS + W_ZONE;
  m.map[w] = (m.map[w] & ~GEN_MASK) | ((gen + 1) << GEN_SHIFT);
}

/** Pages and folios of a kind go from one generation (−1: none) to another. @kernel include/linux/mm_inline.h lru_gen_update_size (6.18) */
export function lruGenUpdateSize(m: Machine, g: number, type: number, nr: number, from: number, to: number): void {
  const t = m.lruGen as LruGen;
  const { lruvecs, vmstat } = m;
  const count = (gen: number, sign: number): void => {
    t.pages[g * NR_GEN_LISTS + gen * 2 + type] += sign * nr;
    t.folios[g * NR_GEN_LISTS + gen * 2 + type] += sign;
    const lru = type * 2 + (lruGenIsActive(t, g, gen) ? 1 : 0);
    lruvecs.pages[g * NR_LRU_LISTS + lru] += sign * nr;
    lruvecs.folios[g * NR_LRU_LISTS + lru] += sign;
    vmstat[V.nr_inactive_anon + lru] += sign * nr;
  };
  if (from >= 0) count(from, -1);
  if (to >= 0) count(to, 1);
}

function link(m: Machine, f: FolioId, g: number, list: number, atTail: boolean): void {
  const { map } = m;
  const { head, tail } = m.lruGen as LruGen;
  const w = f * FOLIO_WORDS;
  const k = g * NR_GEN_LISTS + list;
  map[w + W_ZONE] = (map[w + W_ZONE] & ~LIST_MASK) | (list << LIST_SHIFT);
  if (atTail) {
    const last = tail[k];
    map[w + W_NEXT] = 0;
    map[w + W_PREV] = last << 1;
    if (last !== 0) map[last * FOLIO_WORDS + W_NEXT] = f << 1;
    else head[k] = f;
    tail[k] = f;
    return;
  }
  const first = head[k];
  map[w + W_NEXT] = first << 1;
  map[w + W_PREV] = 0;
  if (first !== 0) map[first * FOLIO_WORDS + W_PREV] = f << 1;
  else tail[k] = f;
  head[k] = f;
}

function unlink(m: Machine, f: FolioId, g: number): void {
  const { map } = m;
  const { head, tail } = m.lruGen as LruGen;
  const w = f * FOLIO_WORDS;
  const k = g * NR_GEN_LISTS + ((map[w + W_ZONE] & LIST_MASK) >> LIST_SHIFT);
  const next = map[w + W_NEXT] >>> 1;
  const prev = map[w + W_PREV] >>> 1;
  if (next !== 0) map[next * FOLIO_WORDS + W_PREV] = prev << 1;
  else tail[k] = prev;
  if (prev !== 0) map[prev * FOLIO_WORDS + W_NEXT] = next << 1;
  else head[k] = next;
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = 0;
}

/** To the list of a generation. */
export function lruGenMove(m: Machine, f: FolioId, g: number, gen: number, type: number, atTail: boolean): void {
  unlink(m, f, g);
  link(m, f, g, gen * 2 + type, atTail);
}

/** The generation that a folio belongs to when it comes to the lists. @kernel include/linux/mm_inline.h lru_gen_folio_seq (6.18) */
export function lruGenFolioSeq(m: Machine, f: FolioId, reclaiming: boolean): number {
  const t = m.lruGen as LruGen;
  const flags = m.map[f * FOLIO_WORDS];
  const g = m.map[f * FOLIO_WORDS + m.map.memcg];
  const type = genType(flags);
  const workingset = (flags & PG_workingset) === 0 ? 0 : 1;
  let gen = MAX_NR_GENS - workingset;
  if ((flags & PG_active) !== 0) gen = MIN_NR_GENS - workingset;
  else if (reclaiming) gen = MAX_NR_GENS;
  else if (
    (type === LRU_GEN_ANON && (flags & PG_swapcache) === 0) ||
    ((flags & PG_reclaim) !== 0 && (flags & (PG_dirty | PG_writeback)) !== 0)
  )
    gen = MIN_NR_GENS;
  return Math.max(t.maxSeq[g] - gen + 1, t.minSeq[g * 2 + type]);
}

/** Puts a folio on a generation's list; false: it is not evictable. @kernel include/linux/mm_inline.h lru_gen_add_folio (6.18) */
export function lruGenAddFolio(m: Machine, f: FolioId, reclaiming: boolean): boolean {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  if ((map[w] & PG_unevictable) !== 0) return false;
  const g = map[w + map.memcg];
  const type = genType(map[w]);
  const gen = lruGenFolioSeq(m, f, reclaiming) & 3;
  map[w] &= ~PG_active;
  setGen(m, f, gen);
  lruGenUpdateSize(m, g, type, folioNrPages(map, f), -1, gen);
  link(m, f, g, gen * 2 + type, reclaiming);
  return true;
}

/** Takes a folio off; false: it is on no generation's list. Of the young it stays known that they are active. @kernel include/linux/mm_inline.h lru_gen_del_folio (6.18) */
export function lruGenDelFolio(m: Machine, f: FolioId, reclaiming: boolean): boolean {
  const gen = folioLruGen(m, f);
  if (gen < 0) return false;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const g = map[w + map.memcg];
  unlink(m, f, g);
  setGen(m, f, -1);
  lruGenUpdateSize(m, g, genType(map[w]), folioNrPages(map, f), gen, -1);
  if (!reclaiming && lruGenIsActive(m.lruGen as LruGen, g, gen)) map[w] |= PG_active;
  return true;
}

/** A piece of a split folio goes next to the first one, into its generation. @kernel mm/huge_memory.c lru_add_split_folio (6.18) */
export function lruGenAddSplitFolio(m: Machine, from: FolioId, piece: FolioId): void {
  const { map } = m;
  const t = m.lruGen as LruGen;
  const w = from * FOLIO_WORDS;
  const v = piece * FOLIO_WORDS;
  const g = map[w + map.memcg];
  const prev = map[w + W_PREV] >>> 1;
  const bits = GEN_MASK | REFS_MASK | LIST_MASK;
  map[v + W_ZONE] = (map[v + W_ZONE] & ~bits) | (map[w + W_ZONE] & bits);
  map[v + W_NEXT] = from << 1;
  map[v + W_PREV] = prev << 1;
  map[w + W_PREV] = piece << 1;
  const list = (map[w + W_ZONE] & LIST_MASK) >> LIST_SHIFT;
  if (prev !== 0) map[prev * FOLIO_WORDS + W_NEXT] = piece << 1;
  else t.head[g * NR_GEN_LISTS + list] = piece;
  // The pages are counted already: the pieces are as large as the folio was.
  const gen = folioLruGen(m, from);
  const type = genType(map[w]);
  t.folios[g * NR_GEN_LISTS + gen * 2 + type] += 1;
  m.lruvecs.folios[g * NR_LRU_LISTS + type * 2 + (lruGenIsActive(t, g, gen) ? 1 : 0)] += 1;
}

/** Nothing is known of a folio that was freed. */
export function lruGenForget(m: Machine, f: FolioId): void {
  m.map[f * FOLIO_WORDS + W_ZONE] &= ~(GEN_MASK | REFS_MASK | LIST_MASK);
}

/** A use by file descriptor. @kernel mm/swap.c lru_gen_inc_refs (6.18) */
export function lruGenIncRefs(m: Machine, f: FolioId): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const flags = map[w];
  if ((flags & PG_unevictable) !== 0) return;
  if ((flags & PG_referenced) === 0) {
    setRefs(m, f, 0);
    map[w] = flags | PG_referenced;
    return;
  }
  const count = (map[w + W_ZONE] & REFS_MASK) >> REFS_SHIFT;
  if (count === 3) map[w] = flags | PG_workingset;
  else setRefs(m, f, count + 1);
}

/** Forgets uses; true: nothing is left to do, as it is of the oldest generation. @kernel mm/swap.c lru_gen_clear_refs (6.18) */
export function lruGenClearRefs(m: Machine, f: FolioId): boolean {
  const gen = folioLruGen(m, f);
  if (gen < 0) return true;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  setRefs(m, f, 0);
  map[w] &= ~(PG_referenced | PG_workingset);
  return gen === ((m.lruGen as LruGen).minSeq[map[w + map.memcg] * 2 + genType(map[w])] & 3);
}

/** Eviction found the folio in use by page tables: the first time is remembered, the second promotes. @kernel mm/vmscan.c lru_gen_set_refs (6.18) */
export function lruGenSetRefs(m: Machine, f: FolioId): boolean {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  setRefs(m, f, 0);
  if ((map[w] & (PG_referenced | PG_workingset)) === 0) {
    map[w] |= PG_referenced;
    return false;
  }
  map[w] = (map[w] & ~PG_referenced) | PG_workingset;
  return true;
}

/** A walk found the folio young. Its old generation, −1: it stays in it. @kernel mm/vmscan.c folio_update_gen (6.18) */
export function folioUpdateGen(m: Machine, f: FolioId, gen: number): number {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  if ((map[w] & (PG_referenced | PG_workingset)) === 0) {
    setRefs(m, f, 0);
    map[w] |= PG_referenced;
    return -1;
  }
  const old = folioLruGen(m, f);
  if (old < 0) return -1;
  setRefs(m, f, 0);
  setGen(m, f, gen);
  map[w] = (map[w] & ~PG_referenced) | PG_workingset;
  return old;
}

/** A folio of the oldest generation goes to the next; returns its generation. @kernel mm/vmscan.c folio_inc_gen (6.18) */
export function folioIncGen(m: Machine, f: FolioId, reclaiming: boolean): number {
  const t = m.lruGen as LruGen;
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const g = map[w + map.memcg];
  const type = genType(map[w]);
  const old = t.minSeq[g * 2 + type] & 3;
  const gen = folioLruGen(m, f);
  if (gen >= 0 && gen !== old) return gen;
  const next = (old + 1) & 3;
  setRefs(m, f, 0);
  setGen(m, f, next);
  map[w] &= ~PG_referenced;
  if (reclaiming && t.laws.marksReclaim) map[w] |= PG_reclaim;
  lruGenUpdateSize(m, g, type, folioNrPages(map, f), old, next);
  return next;
}
