/**
 * Counts anew what maps each folio, entry by entry over all page tables, and compares: R of rmap.ts, N of anon_vma.ts, D of
 * deferred_split.ts.
 */
import { assert } from '../base/errors.ts';
import { deferredNext, folioTestDeferred, folioTestPartiallyMapped } from './deferred_split.ts';
import { type AnonVmaId, type FolioId, type MmId, NO_FOLIO, type Pfn, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  FOLIO_WORDS,
  folioAnonVma,
  folioAt,
  folioFlags,
  folioIndex,
  folioMemcg,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefCount,
  folioTest,
  folioTestAnon,
  pageFolio,
  pageMapcountAt,
  tailsUnwritten,
} from './mm_types.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import {
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_SPECIAL,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
} from './pgtable.ts';
import {
  ENTIRELY_MAPPED,
  folioEntireMapcount,
  folioMapcount,
  folioMaybeDmaPinned,
  folioMaybeMappedShared,
  pageAnonExclusive,
} from './rmap.ts';
import { bugFolio } from './swap.ts';
import { MTHP, mthpStat } from './thp.ts';
import { linearPageIndex } from './vma.ts';
import { V } from './vmstat.ts';

/** What the page tables say. */
interface Count {
  /** PTEs of each page; PMDs of each folio. */
  readonly ptes: Map<number, number>;
  readonly pmds: Map<number, number>;
  /** Mappings of a folio by each address space. */
  readonly byMm: Map<number, Map<number, number>>;
}

const more = (map: Map<number, number>, key: number, n: number): void => {
  map.set(key, (map.get(key) ?? 0) + n);
};

function countMapping(m: Machine, c: Count, mm: MmId, vma: VmaId, addr: number, page: Pfn, huge: boolean): void {
  const f = pageFolio(m.map, page);
  more(huge ? c.pmds : c.ptes, huge ? f : page, 1);
  const owners = c.byMm.get(f) ?? new Map<number, number>();
  c.byMm.set(f, owners);
  more(owners, mm, 1);
  if (!folioTestAnon(m.map, f)) return;
  if (!linked(m, vma, folioAnonVma(m.map, f))) bugFolio(m, f, 'R4 the area is reached from the anon_vma');
  const index = (folioIndex(m.map, f) + page - folioPfn(m.map, f) - linearPageIndex(m, vma, addr)) | 0;
  if (index !== 0) bugFolio(m, f, 'R4 the index says where the folio is mapped');
}

function linked(m: Machine, vma: VmaId, anonVma: AnonVmaId): boolean {
  const { chains } = m.anonVmas;
  for (let row = m.vmas.anonVmaChain[vma]; row !== 0; row = chains.nextOfVma[row])
    if (chains.anonVma[row] === anonVma) return true;
  return false;
}

function countMappings(m: Machine): Count {
  const c: Count = { ptes: new Map(), pmds: new Map(), byMm: new Map() };
  const { mms, vmas, pt } = m;
  const span = 2 ** pt.pmdShift;
  for (let mm = 1 as MmId; mm < mms.nr; mm = (mm + 1) as MmId) {
    if (mms.pgd[mm] === 0) continue;
    for (let i = 0; i < mms.nrVmas[mm]; i++) {
      const vma = mms.sorted[mm][i] as VmaId;
      for (let addr = vmas.start[vma]; addr < vmas.end[vma]; ) {
        const next = Math.min((Math.floor(addr / span) + 1) * span, vmas.end[vma]);
        const pmd = pmdOffset(m, mm, addr);
        const flags = pmd < 0 ? 0 : pteFlags(m, pmd);
        if ((flags & (_PAGE_PSE | _PAGE_SPECIAL)) === _PAGE_PSE)
          countMapping(m, c, mm, vma, addr, ptePayload(m, pmd) as Pfn, true);
        for (let e = pmd < 0 ? -1 : pteOfPmd(m, pmd, addr); e >= 0 && addr < next; e++, addr += m.config.pageSize)
          if ((pteFlags(m, e) & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0 && (pteFlags(m, e) & _PAGE_SPECIAL) === 0)
            countMapping(m, c, mm, vma, addr, ptePayload(m, e) as Pfn, false);
        addr = next;
      }
    }
  }
  return c;
}

/** R1 to R6; `waiting`: references of the batches, by folio. */
export function checkRmap(m: Machine, waiting: ReadonlyMap<number, number>): void {
  const { map, vmstat } = m;
  const c = countMappings(m);
  let anonPages = 0;
  let filePages = 0;
  let huge = 0;
  let locked = 0;
  const nrAnon = new Float64Array(32);
  for (let pfn = 1; pfn < map.frames; ) {
    const f = folioAt(map, pfn);
    if (f === NO_FOLIO) {
      pfn++;
      continue;
    }
    const nr = folioNrPages(map, f);
    const anon = folioTestAnon(map, f);
    const mapped = checkFolio(m, c, f);
    if (anon) {
      anonPages += mapped;
      if (nr > 1) nrAnon[folioOrder(map, f)]++;
      if (nr > 1 && folioEntireMapcount(m, f) > 0) huge++;
      checkReferences(m, f, waiting.get(f) ?? 0);
    } else filePages += mapped;
    if (folioTest(map, f, PG.PG_mlocked)) locked += nr;
    pfn += nr;
  }
  assert(vmstat[V.nr_anon_pages] === anonPages, 'R5 nr_anon_pages is the sum over the folios');
  assert(vmstat[V.nr_mapped] === filePages, 'R5 nr_mapped is the sum over the folios');
  assert(vmstat[V.nr_anon_transparent_hugepages] === huge, 'R5 nr_anon_transparent_hugepages is the sum');
  assert(vmstat[V.nr_mlock] === locked, 'R5 nr_mlock is the sum over the folios');
  for (let order = 1; order <= m.thp.pmdOrder; order++)
    assert(mthpStat(m, order, MTHP.nr_anon) === nrAnon[order], 'R5 nr_anon is the number of folios');
}

/** R1 to R3 of one folio; how many of its pages count as mapped. */
function checkFolio(m: Machine, c: Count, f: FolioId): number {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const nr = folioNrPages(map, f);
  const precise = m.config.noPageMapcount !== true;
  const pmds = c.pmds.get(f) ?? 0;
  const unwritten = nr > 1 && tailsUnwritten(map, f);
  let ptes = 0;
  let pages = 0;
  const pfn = folioPfn(map, f);
  for (let p = pfn as number; p < pfn + nr; p++) {
    const n = c.ptes.get(p) ?? 0;
    ptes += n;
    if (n > 0) pages++;
    if (unwritten && p > pfn) {
      if (n > 0) bugFolio(m, f, 'R1 a tail that is mapped is written');
      continue;
    }
    if ((nr === 1 || precise) && map[pageMapcountAt(map, f, p)] + 1 !== n) bugFolio(m, f, 'R1 mappings of a page');
    const all = n + pmds;
    if (folioTestAnon(map, f) && pageAnonExclusive(m, f, p as Pfn) && all > 1)
      bugFolio(m, f, 'R3 exclusive is one mapping');
  }
  if (folioMapcount(m, f) !== ptes + pmds) bugFolio(m, f, 'R1 all mappings');
  if (nr === 1) return pages;
  if (folioEntireMapcount(m, f) !== pmds) bugFolio(m, f, 'R1 PMD mappings');
  if (precise && map[w + map.nrPagesMapped] !== pages + (pmds > 0 ? ENTIRELY_MAPPED : 0))
    bugFolio(m, f, 'R1 pages mapped');
  checkOwners(m, c, f, ptes + pmds);
  if (!precise) return ptes + pmds > 0 ? nr : 0;
  return pmds > 0 ? nr : pages;
}

/** R2. */
function checkOwners(m: Machine, c: Count, f: FolioId, all: number): void {
  const { map } = m;
  const w = f * FOLIO_WORDS;
  const owners = c.byMm.get(f);
  for (let slot = 0; slot < 2; slot++) {
    const id = map[w + map.mmId + slot] & 0x7fffffff;
    const n = map[w + map.mmIdMapcount + slot] + 1;
    if (id === 0 ? n !== 0 : n < 1 || n > (owners?.get(id) ?? 0)) bugFolio(m, f, 'R2 a slot has its owner’s mappings');
  }
  if (map[w + map.largeMapcount] < 0 && map[w + map.mmId] !== 0) bugFolio(m, f, 'R2 an unmapped folio has no owner');
  if (all > 1 && !folioMaybeMappedShared(m, f) && owners?.size !== 1) bugFolio(m, f, 'R2 not shared: one owner');
}

/** R6. */
function checkReferences(m: Machine, f: FolioId, waiting: number): void {
  const flags = folioFlags(m.map, f);
  const cached = (flags & PG_swapcache) !== 0 && (flags & PG.PG_swapbacked) !== 0 ? folioNrPages(m.map, f) : 0;
  const expected = folioMapcount(m, f) + cached + waiting;
  const count = folioRefCount(m.map, f);
  if (count !== expected && !(count > expected && folioMaybeDmaPinned(m, f))) bugFolio(m, f, 'R6 references');
}

/** D1 to D3. */
export function checkDeferred(m: Machine): void {
  const { map, lruvecs: t } = m;
  const queued = new Set<number>();
  for (let g = 0; g < t.rows; g++) {
    let n = 0;
    let last = NO_FOLIO;
    if (t.deferredLength[g] === 0) continue;
    for (let f = t.deferredHead[g] as FolioId; f !== NO_FOLIO && n <= t.deferredLength[g]; f = deferredNext(m, f)) {
      if (folioMemcg(map, f) !== g || folioOrder(map, f) < 2) bugFolio(m, f, 'D1 a queue is of its group');
      queued.add(f);
      last = f;
      n++;
    }
    assert(n === t.deferredLength[g] && last === t.deferredTail[g], 'D1 a queue is as long as counted');
  }
  const partial = new Float64Array(32);
  for (let pfn = 1; pfn < map.frames; ) {
    const f = folioAt(map, pfn);
    const order = f === NO_FOLIO ? 0 : folioOrder(map, f);
    if (order > 1 && folioTestAnon(map, f)) {
      if (folioTestDeferred(m, f) !== queued.has(f)) bugFolio(m, f, 'D2 a queued folio is on a queue');
      if (folioTestPartiallyMapped(m, f)) partial[order]++;
    }
    pfn += 1 << order;
  }
  for (let order = 1; order <= m.thp.pmdOrder; order++)
    assert(mthpStat(m, order, MTHP.nr_anon_partially_mapped) === partial[order], 'D3 nr_anon_partially_mapped');
}

/** N1 to N4. */
export function checkAnonVmas(m: Machine): void {
  const t = m.anonVmas;
  const c = t.chains;
  const { vmas } = m;
  const active = new Int32Array(t.nr);
  const children = new Int32Array(t.nr);
  const links = new Int32Array(t.nrChains);
  for (let vma = 1; vma < vmas.nr; vma++) {
    if (vmas.mm[vma] === 0) continue;
    const own = vmas.anonVma[vma];
    let found = own === 0;
    for (let row = vmas.anonVmaChain[vma]; row !== 0; row = c.nextOfVma[row]) {
      assert(c.vma[row] === vma && ++links[row] === 1, 'N1 a link is on its area’s list once');
      if (c.anonVma[row] === own) found = true;
      assert(own !== 0 && t.root[c.anonVma[row]] === t.root[own], 'N2 all anon_vmas of an area have one root');
    }
    assert(found, 'N1 an area is linked to its own anon_vma');
    if (own !== 0) active[own]++;
  }
  for (let a = 1; a < t.nr; a++) {
    if (t.root[a] === 0) continue;
    // One that has no area left is no longer counted as a child.
    if (t.first[a] !== 0) children[t.parent[a]]++;
    assert(t.first[a] !== 0 || (t.root[a] === a && t.members[a] > 1), 'N4 an anon_vma in use has an area');
    for (let row = t.first[a]; row !== 0; row = c.next[row])
      assert(c.anonVma[row] === a && ++links[row] === 2, 'N1 a link is on its anon_vma’s list once');
  }
  for (let a = 1; a < t.nr; a++)
    if (t.root[a] !== 0)
      assert(t.numActiveVmas[a] === active[a] && t.numChildren[a] === children[a], 'N3 areas and children are counted');
}
