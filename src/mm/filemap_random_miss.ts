/**
 * The plainest misses of random reads: a page from the CPU's list, charged within what the group has left, put where the look
 * for it ended, read at once. What each of them adds to the machine's counters is kept here and said once, before anybody who could
 * ask is called: the next miss that is not plain (reclaim, a list to fill), or the end of the run.
 *
 *   missOpen ─► missPlain, missPlain, …  ─► missClose          the outcome is that of filemap_add_folio and the read, one by one
 */
import { xaClearValue } from '../base/xarray.ts';
import { addCounts, isSibling, siblingEntry, toValue } from '../base/xarray_node.ts';
import { opsOf, READAHEAD_GFP } from './filemap.ts';
import type { FolioId, MappingId, MemcgId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memdescFolioNew } from './memdesc.ts';
import { FOLIO_WORDS, W_INDEX, W_MAPPING, W_NEXT, W_PREV, W_PRIVATE } from './mm_types.ts';
import { NR_PCP_LISTS, ZONE_NORMAL } from './mmzone.ts';
import { gfpMigratetype, gfpZone, zoneHasPlenty } from './page_alloc_zonelist.ts';
import { PG } from './page_flags.ts';
import { freeNext, freeSetPrev } from './page_free.ts';
import { batchAddNew } from './swap.ts';
import { V } from './vmstat.ts';
import { workingsetRefault } from './workingset.ts';

const { PG_uptodate } = PG;
const WORDS: number = FOLIO_WORDS;
const ROW: number = ZONE_NORMAL * NR_PCP_LISTS + gfpMigratetype(READAHEAD_GFP);

/** A run of plain misses. */
export interface PlainMisses {
  open: boolean;
  mapping: MappingId;
  memcg: MemcgId;
  /** Pages of the file, from its start, that are read in the plain way. */
  pages: number;
  /** What a read of one page takes, virtual ns. */
  ns: number;
  /** Pages that the group has in stock, and may still charge one by one. */
  stock: number;
  room: number;
  /** Not said yet: misses, and pages of them that were charged one by one. */
  misses: number;
  charged: number;
}
export const plainMisses = (): PlainMisses => ({
  open: false,
  mapping: 0 as MappingId,
  memcg: 0 as MemcgId,
  pages: 0,
  ns: 0,
  stock: 0,
  room: 0,
  misses: 0,
  charged: 0,
});

/** Begins a run; false: no miss is plain now. */
export function missOpen(m: Machine, q: PlainMisses, mapping: MappingId): boolean {
  const { io, memcgs: t } = m;
  const ops = opsOf(m, mapping);
  if (io.pageReads === undefined || ops.plainPages === undefined) return false;
  if (m.tracer !== null || m.lruGen !== null || m.ahead || m.zones.memalloc || m.batches.size === 0) return false;
  if (gfpZone(READAHEAD_GFP) !== ZONE_NORMAL || !zoneHasPlenty(m.zones, ZONE_NORMAL)) return false;
  const g = m.currentMemcg as MemcgId;
  q.mapping = mapping;
  q.memcg = g;
  q.pages = ops.plainPages(m, mapping);
  q.ns = io.pageReads.ns;
  q.stock = g === 0 ? Number.MAX_SAFE_INTEGER : t.stock[g];
  // A batch is tried first: only where that fails are pages charged one by one.
  const room = g === 0 ? 0 : t.max[g] - t.usage[g];
  q.room = room < t.rules.chargeBatch ? room : 0;
  q.open = true;
  return true;
}

/** Says what the run has done, and ends it. */
export function missClose(m: Machine, q: PlainMisses): void {
  if (!q.open) return;
  q.open = false;
  const { misses: n, charged, memcg: g, mapping } = q;
  if (n === 0) return;
  q.misses = 0;
  q.charged = 0;
  const { memcgs: t, vmstat } = m;
  const { pcpFreeCount, pcpCount } = m.zones.zone;
  pcpFreeCount[ZONE_NORMAL] >>= Math.min(n, 31);
  pcpCount[ZONE_NORMAL] -= n;
  vmstat[V.pgalloc_normal] += n;
  vmstat[V.nr_file_pages] += n;
  m.spaces.nrpages[mapping] += n;
  m.cached[0] += n;
  if (g !== 0) {
    t.stock[g] -= n - charged;
    t.usage[g] += charged;
    if (t.usage[g] > t.watermark[g]) t.watermark[g] = t.usage[g];
    t.failcnt[g] += charged;
    t.pages[g] += n;
    t.pgpgin[g] += n;
  }
  m.io.pageReads?.count(n);
  opsOf(m, mapping).plainReads?.(n);
}

/**
 * A miss of page `index`, whose slot is at `at` of a leaf. Returns its folio; 0: it is not plain, and nothing has changed.
 * @kernel mm/filemap.c __filemap_add_folio (6.18)
 */
export function missPlain(m: Machine, q: PlainMisses, index: number, at: number): number {
  const { map, pages, zones } = m;
  const { slots, count, values } = pages.nodes;
  const { head, tail } = zones.pcp;
  const old = slots[at << 1];
  const pfn = head[ROW];
  if (pfn === 0 || index >= q.pages || isSibling(old)) return 0;
  if (q.stock > 0) q.stock -= 1;
  else if (q.room > 0) {
    q.room -= 1;
    q.charged += 1;
  } else return 0;
  q.misses += 1;

  const next = freeNext(map, pfn);
  head[ROW] = next;
  if (next === 0) tail[ROW] = 0;
  else freeSetPrev(map, next, 0);
  let f = pfn << 2;
  if (!map.overlaid) {
    f = memdescFolioNew(map, pfn, 0);
    map[f * WORDS + map.flags1] = 0;
  }
  const w = f * WORDS;
  map[w] = PG_uptodate;
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = 0;
  map[w + W_MAPPING] = q.mapping << 2;
  map[w + W_INDEX] = index;
  map[w + W_PRIVATE] = 0;
  map[w + map.mapcount] = -1;
  // The cache's and the batch's: ours has come and gone.
  map[w + map.refcount] = 2;
  map[w + map.memcg] = q.memcg;

  const n = at >> 6;
  if (old !== 0) {
    if (values[n] === count[n] || slots[(at + 1) << 1] === siblingEntry(at & 63)) xaClearValue(pages, at);
    else values[n] -= 1;
    slots[at << 1] = f;
    workingsetRefault(m, f as FolioId, toValue(old), slots[(at << 1) | 1] >>> 0);
  } else {
    if (values[n] === count[n]) addCounts(pages, n, 1, 0);
    else count[n] += 1;
    slots[at << 1] = f;
  }
  batchAddNew(m, f as FolioId);
  return f;
}
