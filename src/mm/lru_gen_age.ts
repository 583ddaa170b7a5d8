/**
 * Aging of the multi-generational LRU: page tables are walked for accessed bits, what is young goes to the youngest generation,
 * and a new one begins; and the other way round, what eviction finds young has its neighbours looked at.
 *
 * Page tables with few young entries are not walked again until eviction finds one there.
 * @kernel mm/vmscan.c try_to_inc_max_seq (6.18)
 */
import type { FolioId, MmId, VmaId } from './ids.ts';
import {
  ANON_AND_FILE,
  folioIncGen,
  folioLruGen,
  folioLruRefs,
  folioUpdateGen,
  genType,
  LAZILY_PROMOTED,
  type LruGen,
  lruGenMove,
  lruGenSetRefs,
  lruGenUpdateSize,
  lruTierFromRefs,
  MAX_NR_GENS,
  MAX_NR_TIERS,
  MIN_NR_GENS,
  NR_GEN_LISTS,
} from './lru_gen.ts';
import type { Machine } from './machine.ts';
import { vmaHasRecency } from './memory_pte.ts';
import { NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioMemcg, folioNrPages, folioTest, folioTestAnon, pageFolio } from './mm_types.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_SPECIAL,
  PTE_TABLE,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { folioActivate } from './swap.ts';
import { VM_ACCESS_FLAGS, VM_DONTEXPAND, VM_IO, VM_LOCKED, VM_MIXEDMAP, VM_PFNMAP, vmaIsAnonymous } from './vma.ts';
import { V } from './vmstat.ts';

const { PG_dirty, PG_swapbacked, PG_workingset } = PG;
const VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;

/** Folios of the oldest generation become the next one's, and it is gone; a part of the work only when there are very many. @kernel mm/vmscan.c inc_min_seq (6.18) */
function incMinSeq(m: Machine, g: number, type: number, swappiness: number): boolean {
  const t = m.lruGen as LruGen;
  const old = t.minSeq[g * 2 + type] & 3;
  const evictable = type === 1 ? swappiness <= 200 : swappiness > 0;
  const k = g * NR_GEN_LISTS + old * 2 + type;
  for (let left = t.laws.maxBatch; evictable && t.tail[k] !== 0; ) {
    const f = t.tail[k] as FolioId;
    const refs = folioLruRefs(m, f);
    const workingset = folioTest(m.map, f, PG_workingset);
    lruGenMove(m, f, g, folioIncGen(m, f, false), type, true);
    if (refs + (workingset ? 1 : 0) !== LAZILY_PROMOTED)
      t.protected[(g * 2 + type) * MAX_NR_TIERS + lruTierFromRefs(refs, workingset)] += folioNrPages(m.map, f);
    if (--left === 0) return false;
  }
  resetCtrlPos(t, g, type);
  t.minSeq[g * 2 + type] += 1;
  return true;
}

/** The rates of the oldest generation go into their running means. @kernel mm/vmscan.c reset_ctrl_pos (6.18) */
export function resetCtrlPos(t: LruGen, g: number, type: number): void {
  for (let tier = 0; tier < MAX_NR_TIERS; tier++) {
    const i = (g * 2 + type) * MAX_NR_TIERS + tier;
    t.avgRefaulted[i] = Math.floor((t.avgRefaulted[i] + t.refaulted[i]) / 2);
    t.avgTotal[i] = Math.floor((t.avgTotal[i] + t.protected[i] + t.evicted[i]) / 2);
    t.refaulted[i] = t.evicted[i] = t.protected[i] = 0;
  }
}

/** Moves a generation's pages between the counters of active and inactive memory. */
function recount(m: Machine, g: number, type: number, gen: number, sign: number): void {
  const t = m.lruGen as LruGen;
  const { lruvecs, vmstat } = m;
  const pages = sign * t.pages[g * NR_GEN_LISTS + gen * 2 + type];
  const folios = sign * t.folios[g * NR_GEN_LISTS + gen * 2 + type];
  const lru = g * NR_LRU_LISTS + type * 2;
  lruvecs.pages[lru] -= pages;
  lruvecs.pages[lru + 1] += pages;
  lruvecs.folios[lru] -= folios;
  lruvecs.folios[lru + 1] += folios;
  vmstat[V.nr_inactive_anon + type * 2] -= pages;
  vmstat[V.nr_inactive_anon + type * 2 + 1] += pages;
}

/** A new youngest generation. @kernel mm/vmscan.c inc_max_seq (6.18) */
function incMaxSeq(m: Machine, g: number, swappiness: number): void {
  const t = m.lruGen as LruGen;
  const max = t.maxSeq[g];
  for (let type = 0; type < ANON_AND_FILE; type++)
    if (max - t.minSeq[g * 2 + type] + 1 === MAX_NR_GENS) while (!incMinSeq(m, g, type, swappiness));
  for (let type = 0; type < ANON_AND_FILE; type++) {
    recount(m, g, type, (max - 1) & 3, -1);
    recount(m, g, type, (max + 1) & 3, 1);
  }
  t.timestamps[g * MAX_NR_GENS + ((max + 1) & 3)] = m.now;
  t.maxSeq[g] = max + 1;
}

/** Walks the page tables of a group's tasks and makes a new generation; false: that was done already. @kernel mm/vmscan.c try_to_inc_max_seq (6.18) */
export function tryToIncMaxSeq(m: Machine, g: number, swappiness: number, force: boolean): boolean {
  const t = m.lruGen as LruGen;
  const seq = t.maxSeq[g];
  if (seq < t.walkSeq[g]) return false;
  t.walkSeq[g] = seq + 1;
  t.walking = true;
  const next = new Set<number>();
  const filter = force ? undefined : t.filters[g * 2 + (seq & 1)];
  t.filters[g * 2 + ((seq + 1) & 1)] = next;
  for (let mm = 1 as MmId; mm < m.mms.nr; mm = (mm + 1) as MmId)
    if (m.mms.pgd[mm] !== 0 && m.mms.memcg[mm] === g) walkMm(m, mm, g, swappiness, filter, next);
  incMaxSeq(m, g, swappiness);
  return true;
}

/** @kernel mm/vmscan.c should_skip_vma (6.18) */
function shouldSkipVma(m: Machine, vma: VmaId, swappiness: number): boolean {
  const flags = m.vmas.flags[vma];
  if ((flags & VM_ACCESS_FLAGS) === 0 || (flags & (VM_LOCKED | VM_SPECIAL)) !== 0) return true;
  if (!vmaHasRecency(m, vma)) return true;
  return vmaIsAnonymous(m, vma) ? swappiness === 0 : swappiness > 200;
}

/** @kernel mm/vmscan.c walk_mm (6.18) */
function walkMm(
  m: Machine,
  mm: MmId,
  g: number,
  swappiness: number,
  filter: Set<number> | undefined,
  next: Set<number>,
): void {
  const { vmas, mms, pt } = m;
  const span = 1 / pt.pmdsPerByte;
  for (let i = 0; i < mms.nrVmas[mm]; i++) {
    const vma = mms.sorted[mm][i] as VmaId;
    if (shouldSkipVma(m, vma, swappiness)) continue;
    for (let addr = vmas.start[vma]; addr < vmas.end[vma]; ) {
      const stop = Math.min((Math.floor(addr * pt.pmdsPerByte) + 1) * span, vmas.end[vma]);
      const pmd = pmdOffset(m, mm, addr);
      const flags = pmd < 0 ? 0 : pteFlags(m, pmd);
      if ((flags & _PAGE_PSE) !== 0) {
        if ((flags & (_PAGE_SPECIAL | _PAGE_ACCESSED)) === _PAGE_ACCESSED) foundYoung(m, pmd, g, true);
      } else if ((flags & PTE_TABLE) !== 0 && (filter === undefined || filter.has(pmd))) {
        const pages = (stop - addr) * m.pagesPerByte;
        if (walkPteRange(m, pteOfPmd(m, pmd, addr), pages, g) * m.lruGen!.laws.youngShare >= pages) next.add(pmd);
      }
      addr = stop;
    }
  }
}

/** The group's, and on a list. @kernel mm/vmscan.c get_pfn_folio (6.18) */
const counts = (m: Machine, f: FolioId, g: number): boolean => folioMemcg(m.map, f) === g && folioLruGen(m, f) >= 0;

/** Entries that were young, of `n`. @kernel mm/vmscan.c walk_pte_range (6.18) */
function walkPteRange(m: Machine, first: number, n: number, g: number): number {
  let young = 0;
  let last = 0;
  for (let e = first; e < first + n; e++) {
    const flags = pteFlags(m, e);
    if ((flags & (_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_SPECIAL)) !== (_PAGE_PRESENT | _PAGE_ACCESSED)) continue;
    const f = pageFolio(m.map, ptePayload(m, e) as never);
    if (!counts(m, f, g)) continue;
    young++;
    // The entries of one folio in a row count once.
    if (f === last) setPteFlags(m, e, flags & ~_PAGE_ACCESSED);
    else foundYoung(m, e, g, true);
    last = f;
  }
  return young;
}

/** The entry's folio was used: the bit goes, and the folio is promoted, now or by way of the lists. @kernel mm/vmscan.c walk_update_folio (6.18) */
function foundYoung(m: Machine, e: number, g: number, walk: boolean): void {
  const { map } = m;
  const t = m.lruGen as LruGen;
  const flags = pteFlags(m, e);
  const f = pageFolio(map, ptePayload(m, e) as never);
  if (!counts(m, f, g)) return;
  setPteFlags(m, e, flags & ~_PAGE_ACCESSED);
  const anonOnly = folioTestAnon(map, f) && folioTest(map, f, PG_swapbacked) && !folioTest(map, f, PG_swapcache);
  if ((flags & _PAGE_DIRTY) !== 0 && !folioTest(map, f, PG_dirty) && !anonOnly) folioMarkDirty(m, f);
  const gen = t.maxSeq[g] & 3;
  if (walk) {
    const old = folioUpdateGen(m, f, gen);
    if (old >= 0 && old !== gen) lruGenUpdateSize(m, g, genType(map[f * FOLIO_WORDS]), folioNrPages(map, f), old, gen);
  } else if (lruGenSetRefs(m, f)) {
    const old = folioLruGen(m, f);
    if (old >= 0 && old !== gen) folioActivate(m, f);
  }
}

/**
 * Eviction asks about the page of an entry: was it used? If so, up to 64 entries around it are looked at, too.
 * @kernel mm/vmscan.c lru_gen_look_around (6.18)
 */
export function lruGenLookAround(m: Machine, vma: VmaId, addr: number, entry: number, f: FolioId): boolean {
  const flags = pteFlags(m, entry);
  if ((flags & _PAGE_ACCESSED) === 0) return false;
  setPteFlags(m, entry, flags & ~_PAGE_ACCESSED);
  const { vmas, pt } = m;
  const t = m.lruGen as LruGen;
  if ((vmas.flags[vma] & VM_SPECIAL) !== 0) return true;
  const size = m.config.pageSize;
  const g = m.map[f * FOLIO_WORDS + m.map.memcg];
  const base = Math.floor(addr * pt.pmdsPerByte) / pt.pmdsPerByte;
  let start = Math.max(base, vmas.start[vma]);
  let end = Math.min(base + 1 / pt.pmdsPerByte, vmas.end[vma]);
  if (end - start === size) return true;
  const most = t.laws.minBatch * size;
  if (end - start > most) {
    if (addr - start < most / 2) end = start + most;
    else if (end - addr < most / 2) start = end - most;
    else {
      start = addr - most / 2;
      end = addr + most / 2;
    }
  }
  let young = 1;
  const n = (end - start) / size;
  const first = entry - (addr - start) / size;
  for (let e = first; e < first + n; e++) {
    const other = pteFlags(m, e);
    if ((other & (_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_SPECIAL)) !== (_PAGE_PRESENT | _PAGE_ACCESSED)) continue;
    if (!counts(m, pageFolio(m.map, ptePayload(m, e) as never), g)) continue;
    foundYoung(m, e, g, t.walking);
    young++;
  }
  if (young * t.laws.youngShare >= n)
    t.filters[g * 2 + (t.maxSeq[g] & 1)]?.add(pmdOffset(m, vmas.mm[vma] as MmId, addr));
  return true;
}

/** @kernel mm/vmscan.c get_nr_gens (6.18) */
export const nrGens = (t: LruGen, g: number, type: number): number => t.maxSeq[g] - t.minSeq[g * 2 + type] + 1;
export { MIN_NR_GENS };
