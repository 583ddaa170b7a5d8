/**
 * The deferred split queue: large folios of anonymous memory that are worth splitting when memory is short, because some of their
 * pages are mapped no longer, or because they may hold little but zeros. One queue a memory group; it is linked through the third
 * page's descriptor.
 *
 * Invariants (checkDeferred):
 *   D1  a queue's links lead from its head to its tail through as many folios as counted, all of its group, of order 2 and more;
 *   D2  a folio that says it is queued is on its group's queue;
 *   D3  folios mapped in part are as many as nr_anon_partially_mapped says, by order.
 *
 * @kernel mm/huge_memory.c deferred_split_folio (6.18)
 */
import { folioSplit } from './huge_memory.ts';
import { type FolioId, NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import {
  FOLIO_WORDS,
  folioClear,
  folioFlags,
  folioNrPages,
  folioOrder,
  folioPfn,
  folioRefAdd,
  folioSet,
  folioTest,
} from './mm_types.ts';
import { PG, PG_partially_mapped, PG_swapcache } from './page_flags.ts';
import { folioPut } from './swap.ts';
import { MTHP, modMthpStat } from './thp.ts';
import { V } from './vmstat.ts';
import { pageZeroFilled } from './written.ts';

/** End of a queue. */
const END = -1;

/** Some of its pages are mapped, some are not. Only of large folios. */
export const folioTestPartiallyMapped = (m: Machine, f: FolioId): boolean =>
  (m.map[f * FOLIO_WORDS + m.map.flags1] & PG_partially_mapped) !== 0;

/** Is it on a queue? Only of folios of order 2 and more. */
export const folioTestDeferred = (m: Machine, f: FolioId): boolean => m.map[f * FOLIO_WORDS + m.map.deferredNext] !== 0;

/** First of a group's queue, or NO_FOLIO, and the one after a folio. */
export const deferredFirst = (m: Machine, memcg: number): FolioId =>
  m.lruvecs.deferredLength[memcg] === 0 ? NO_FOLIO : (m.lruvecs.deferredHead[memcg] as FolioId);
export function deferredNext(m: Machine, f: FolioId): FolioId {
  const next = m.map[f * FOLIO_WORDS + m.map.deferredNext];
  return (next === END ? NO_FOLIO : next) as FolioId;
}

function queueAddTail(m: Machine, f: FolioId): void {
  const { map, lruvecs: t } = m;
  const w = f * FOLIO_WORDS;
  const g = map[w + map.memcg];
  const last = t.deferredLength[g] === 0 ? END : t.deferredTail[g];
  map[w + map.deferredNext] = END;
  map[w + map.deferredPrev] = last;
  if (last === END) t.deferredHead[g] = f;
  else map[last * FOLIO_WORDS + map.deferredNext] = f;
  t.deferredTail[g] = f;
  t.deferredLength[g]++;
}

function queueDel(m: Machine, f: FolioId): void {
  const { map, lruvecs: t } = m;
  const w = f * FOLIO_WORDS;
  const g = map[w + map.memcg];
  const next = map[w + map.deferredNext];
  const prev = map[w + map.deferredPrev];
  if (next === END) t.deferredTail[g] = prev;
  else map[next * FOLIO_WORDS + map.deferredPrev] = prev;
  if (prev === END) t.deferredHead[g] = next;
  else map[prev * FOLIO_WORDS + map.deferredNext] = next;
  map[w + map.deferredNext] = 0;
  t.deferredLength[g]--;
}

/**
 * Queues a folio, because part of it is no longer mapped (`partially`) or because it is new and huge.
 * @kernel mm/huge_memory.c deferred_split_folio (6.18)
 */
export function deferredSplitFolio(m: Machine, f: FolioId, partially: boolean): void {
  const { map } = m;
  const order = folioOrder(map, f);
  if (order <= 1) return;
  if (!partially && !m.thp.shrinkUnderused) return;
  const flags = folioFlags(map, f);
  if ((flags & PG_swapcache) !== 0 && (flags & PG.PG_swapbacked) !== 0) return;
  if (partially && !folioTestPartiallyMapped(m, f)) {
    map[f * FOLIO_WORDS + map.flags1] |= PG_partially_mapped;
    if (order >= m.thp.pmdOrder) m.vmstat[V.thp_deferred_split_page]++;
    modMthpStat(m, order, MTHP.split_deferred, 1);
    modMthpStat(m, order, MTHP.nr_anon_partially_mapped, 1);
  }
  if (!folioTestDeferred(m, f)) queueAddTail(m, f);
}

/** Takes a folio off its queue: it is freed, or split. @kernel mm/huge_memory.c __folio_unqueue_deferred_split (6.18) */
export function folioUnqueueDeferredSplit(m: Machine, f: FolioId): void {
  const order = folioOrder(m.map, f);
  if (order <= 1 || !folioTestDeferred(m, f)) return;
  if (folioTestPartiallyMapped(m, f)) {
    m.map[f * FOLIO_WORDS + m.map.flags1] &= ~PG_partially_mapped;
    modMthpStat(m, order, MTHP.nr_anon_partially_mapped, -1);
  }
  queueDel(m, f);
}

/** Does the folio hold mostly zeros? Never by the default of max_ptes_none. @kernel mm/huge_memory.c thp_underused (6.18) */
function thpUnderused(m: Machine, f: FolioId): boolean {
  const limit = m.thp.khugepaged.maxPtesNone;
  const huge = 1 << m.thp.pmdOrder;
  if (limit === huge - 1) return false;
  let zeros = 0;
  let filled = 0;
  const pfn = folioPfn(m.map, f);
  for (let p = pfn as number, end = pfn + folioNrPages(m.map, f); p < end; p++)
    if (pageZeroFilled(m, p as Pfn)) {
      if (++zeros > limit) return true;
    } else if (++filled >= huge - limit) return false;
  return false;
}

/**
 * Looks at up to `n` folios of a group's queue, from its head, last one first, and splits them. What cannot be split now goes to the
 * tail if it is mapped in part, and is forgotten otherwise. Folios split; −1: none, and the queue is empty.
 * @kernel mm/huge_memory.c deferred_split_scan (6.18)
 */
export function deferredSplitScan(m: Machine, memcg: number, n: number): number {
  const { map } = m;
  const taken: FolioId[] = [];
  for (let f = deferredFirst(m, memcg); f !== NO_FOLIO && taken.length < n; f = deferredNext(m, f)) {
    folioRefAdd(map, f, 1);
    taken.push(f);
  }
  const kept: FolioId[] = [];
  let split = 0;
  for (let i = taken.length - 1; i >= 0; i--) {
    const f = taken[i];
    const partially = folioTestPartiallyMapped(m, f);
    const underused = !partially && !folioTest(map, f, PG.PG_mlocked) && thpUnderused(m, f);
    let done = false;
    if ((partially || underused) && !folioTest(map, f, PG.PG_locked)) {
      folioSet(map, f, PG.PG_locked);
      done = folioSplit(m, f, 0, 0, true);
      folioClear(map, f, PG.PG_locked);
    }
    if (done) {
      split++;
      if (underused) m.vmstat[V.thp_underused_split_page]++;
    } else if (partially) kept.push(f);
    else queueDel(m, f);
    if (done || !partially) folioPut(m, f);
  }
  for (const f of kept) {
    queueDel(m, f);
    queueAddTail(m, f);
    folioPut(m, f);
  }
  return split === 0 && m.lruvecs.deferredLength[memcg] === 0 ? -1 : split;
}
