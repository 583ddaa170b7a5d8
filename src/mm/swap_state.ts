/**
 * The swap cache: what a slot's page is while it is in memory. A folio enters it when it gets its slots, on its way out, or
 * when it is read, and leaves when its contents are safe on the device and nobody maps it (a shadow stays), or when its slots
 * are given up (it is dirty then).
 *
 * Read-ahead guesses what is wanted with a page, either by addresses (solid state: neighbours of the fault that are swapped
 * out) or by slots (rotational: a block around the slot). The window grows with the hits since the last miss:
 *
 *   hits        0           1–2   3–6   7 …
 *   window      1 (or 2)    4     8     16 …   up to 2^page-cluster, and never below half the last one
 *
 * @kernel mm/swap_state.c swap_cache_add_folio (6.18)
 */
import { GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import { type FolioId, NO_FOLIO, type SwapEntry, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupSwapinChargeFolio, memCgroupUnchargeSwap, modSwapcached } from './memcontrol_swap.ts';
import { FOLIO_WORDS, folioClear, folioNrPages, folioRefAdd, folioSet, folioTest, W_PRIVATE } from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_readahead, PG_swapcache } from './page_flags.ts';
import { swapReadFolio } from './page_io.ts';
import { PTE_SWAP, pteFlags, pteOffset, ptePayload } from './pgtable.ts';
import { folioAddLru, folioPut, lruAddDrain } from './swap.ts';
import { folioSwap, swapCount, swapDevice } from './swap_table.ts';
import { putSwapFolio, swapcachePrepare } from './swapfile.ts';
import { vmaMm } from './vma.ts';
import { V } from './vmstat.ts';
import { workingsetRefault } from './workingset.ts';

const { PG_head, PG_locked, PG_swapbacked } = PG;

/** log2 of the largest window of read-ahead by addresses. @kernel mm/swap_state.c SWAP_RA_ORDER_CEILING (6.18) */
const SWAP_RA_ORDER_CEILING = 5;
/** @kernel mm/swap_state.c SWAP_RA_HITS_MAX (6.18) */
const SWAP_RA_HITS_MAX = 63;
/** Hits that an area without history is taken to have. @kernel mm/swap_state.c GET_SWAP_RA_VAL (6.18) */
const SWAP_RA_HITS_FIRST = 4;

/** The folio that the swap cache has for a slot, or 0. No reference is taken. @kernel mm/swap_state.c swap_cache_get_folio (6.18) */
export function swapCacheGetFolio(m: Machine, entry: SwapEntry): FolioId {
  const e = m.swap.slots.table[entry];
  return (e > 0 ? e : NO_FOLIO) as FolioId;
}

/**
 * A locked folio enters the swap cache at slots that have the cache's mark. Returns the shadow of what was there, −1: none;
 * its age is in `slots.age`. @kernel mm/swap_state.c swap_cache_add_folio (6.18)
 */
export function swapCacheAddFolio(m: Machine, f: FolioId, entry: SwapEntry): number {
  const { map } = m;
  const { table } = m.swap.slots;
  const nr = folioNrPages(map, f);
  const old = table[entry + nr - 1];
  table.fill(f, entry, entry + nr);
  folioRefAdd(map, f, nr);
  folioSet(map, f, PG_swapcache);
  map[f * FOLIO_WORDS + W_PRIVATE] = entry;
  m.vmstat[V.nr_file_pages] += nr;
  m.vmstat[V.nr_swapcached] += nr;
  modSwapcached(m, f, nr);
  return old < 0 ? -1 - old : -1;
}

/** Takes a folio out; a shadow (−1: none) with its age stays in its slots. References are the caller's. @kernel mm/swap_state.c __swap_cache_del_folio (6.18) */
export function swapCacheRemove(m: Machine, f: FolioId, shadow: number, age: number): void {
  const { map } = m;
  const { table, age: ages } = m.swap.slots;
  const entry = folioSwap(m, f);
  const nr = folioNrPages(map, f);
  table.fill(shadow < 0 ? 0 : -1 - shadow, entry, entry + nr);
  if (shadow >= 0) ages.fill(age, entry, entry + nr);
  map[f * FOLIO_WORDS + W_PRIVATE] = 0;
  folioClear(map, f, PG_swapcache);
  m.vmstat[V.nr_file_pages] -= nr;
  m.vmstat[V.nr_swapcached] -= nr;
  modSwapcached(m, f, -nr);
}

/** A locked folio leaves the swap cache for good, its slots' marks and references with it. @kernel mm/swap_state.c swap_cache_del_folio (6.18) */
export function swapCacheDelFolio(m: Machine, f: FolioId): void {
  const entry = folioSwap(m, f);
  const nr = folioNrPages(m.map, f);
  swapCacheRemove(m, f, -1, 0);
  putSwapFolio(m, entry, nr);
  folioRefAdd(m.map, f, -nr);
}

/** Puts a piece of a split folio, or the folio that another moved to, in its place from a slot on; references are the caller's. @kernel mm/swap_state.c __swap_cache_replace_folio (6.18) */
export function swapCacheReplaceFolio(m: Machine, to: FolioId, entry: SwapEntry): void {
  const { map } = m;
  m.swap.slots.table.fill(to, entry, entry + folioNrPages(map, to));
  map[to * FOLIO_WORDS + W_PRIVATE] = entry;
  folioSet(map, to, PG_swapcache);
}

/** By addresses, or by slots? @kernel mm/swap_state.c swap_use_vma_readahead (6.18) */
const swapUseVmaReadahead = (m: Machine): boolean => m.swap.vmaReadahead && m.swap.nrRotate === 0;

/** A fault found its folio in the swap cache. @kernel mm/swap_state.c swap_update_readahead (6.18) */
export function swapUpdateReadahead(m: Machine, f: FolioId, vma: VmaId, addr: number): void {
  if (folioTest(m.map, f, PG_head)) return;
  const hit = folioTest(m.map, f, PG_readahead);
  folioClear(m.map, f, PG_readahead);
  if (swapUseVmaReadahead(m)) {
    const { vmas } = m;
    const state = raState(m, vma);
    const hits = Math.min((state & 255) + (hit ? 1 : 0), SWAP_RA_HITS_MAX);
    vmas.raState[vma] = (state & ~255) | hits;
    vmas.raAddr[vma] = addr;
  } else if (hit) m.swap.raHits++;
  if (hit) m.vmstat[V.swap_ra_hit] += 1;
}

const raState = (m: Machine, vma: VmaId): number =>
  m.vmas.raState[vma] === 0 && m.vmas.raAddr[vma] === 0 ? SWAP_RA_HITS_FIRST : m.vmas.raState[vma];

/** Pages of the next window. @kernel mm/swap_state.c __swapin_nr_pages (6.18) */
export function swapinNrPages(prev: number, offset: number, hits: number, most: number, window: number): number {
  let pages = hits + 2;
  if (pages === 2) {
    if (offset !== prev + 1 && offset !== prev - 1) pages = 1;
  } else pages = Math.max(4, 2 ** Math.ceil(Math.log2(pages)));
  return Math.max(Math.min(pages, most), window >> 1);
}

/** The swap cache has the folio now, or did already. */
export interface SwapRead {
  /** The last call made the folio, locked; it is to be read. */
  allocated: boolean;
}

/**
 * The folio of a slot, with a reference: from the swap cache, or a new one there, locked, charged and on its way to the LRU.
 * 0: nothing refers to the slot, or no memory. @kernel mm/swap_state.c __read_swap_cache_async (6.18)
 */
export function readSwapCacheAsync(m: Machine, entry: SwapEntry, gfp: number, out: SwapRead): FolioId {
  out.allocated = false;
  let f = swapCacheGetFolio(m, entry);
  if (f !== NO_FOLIO) {
    folioRefAdd(m.map, f, 1);
    return f;
  }
  if (swapCount(m, entry) === 0) return NO_FOLIO;
  f = folioAlloc(m, gfp, 0);
  if (f === NO_FOLIO) return NO_FOLIO;
  if (!swapcachePrepare(m, entry, 1)) {
    folioPut(m, f);
    return NO_FOLIO;
  }
  folioSet(m.map, f, PG_locked | PG_swapbacked);
  if (!memCgroupSwapinChargeFolio(m, f, gfp, entry)) {
    putSwapFolio(m, entry, 1);
    folioClear(m.map, f, PG_locked);
    folioPut(m, f);
    return NO_FOLIO;
  }
  const shadow = swapCacheAddFolio(m, f, entry);
  memCgroupUnchargeSwap(m, entry, 1);
  if (shadow >= 0) workingsetRefault(m, f, shadow, m.swap.slots.age[entry]);
  folioAddLru(m, f);
  out.allocated = true;
  return f;
}

/** Reads a slot's page unless the cache has it. */
function readOne(m: Machine, entry: SwapEntry, out: SwapRead, ahead: boolean): FolioId {
  const f = readSwapCacheAsync(m, entry, GFP_HIGHUSER_MOVABLE, out);
  if (f === NO_FOLIO || !out.allocated) return f;
  if (ahead) {
    folioSet(m.map, f, PG_readahead);
    m.vmstat[V.swap_ra] += 1;
  }
  swapReadFolio(m, f, ahead);
  return f;
}

/** Reads a slot's page, and others with it; the folio with a reference, or 0. @kernel mm/swap_state.c swapin_readahead (6.18) */
export function swapinReadahead(m: Machine, entry: SwapEntry, vma: VmaId, addr: number): FolioId {
  const out: SwapRead = { allocated: false };
  if (swapUseVmaReadahead(m)) swapVmaReadahead(m, vma, addr, out);
  else swapClusterReadahead(m, entry, out);
  return readOne(m, entry, out, false);
}

/** @kernel mm/swap_state.c swap_cluster_readahead (6.18) */
function swapClusterReadahead(m: Machine, entry: SwapEntry, out: SwapRead): void {
  const s = m.swap;
  const most = 1 << s.pageCluster;
  if (most === 1) return;
  const hits = s.raHits;
  s.raHits = 0;
  const pages = swapinNrPages(s.raPrev, entry, hits, most, s.raPages);
  if (hits === 0) s.raPrev = entry;
  s.raPages = pages;
  if (pages === 1) return;
  const d = swapDevice(s, entry);
  // An aligned block around the slot, without the header and what lies behind the end.
  const first = Math.max(entry - (entry & (pages - 1)), d.base + 1);
  const last = Math.min(entry | (pages - 1), d.base + d.max - 1);
  for (let at = first; at <= last; at++) {
    const f = readOne(m, at as SwapEntry, out, at !== entry);
    if (f !== NO_FOLIO) folioPut(m, f);
  }
  lruAddDrain(m);
}

/** @kernel mm/swap_state.c swap_vma_readahead (6.18) */
function swapVmaReadahead(m: Machine, vma: VmaId, addr: number, out: SwapRead): void {
  const { vmas, pt } = m;
  const size = m.config.pageSize;
  const most = 1 << Math.min(m.swap.pageCluster, SWAP_RA_ORDER_CEILING);
  if (most === 1) return;
  const prev = vmas.raAddr[vma];
  const state = raState(m, vma);
  const pages = swapinNrPages(Math.floor(prev / size), Math.floor(addr / size), state & 255, most, state >> 8);
  vmas.raAddr[vma] = addr;
  vmas.raState[vma] = pages << 8;
  if (pages === 1) return;
  let left = addr - ((pages - 1) >> 1) * size;
  if (addr === prev + size) left = addr;
  else if (prev === addr + size) left = addr - (pages - 1) * size;
  const pmd = Math.floor(addr * pt.pmdsPerByte) / pt.pmdsPerByte;
  const start = Math.max(left, vmas.start[vma], pmd, 0);
  const end = Math.min(left + pages * size, vmas.end[vma], pmd + 1 / pt.pmdsPerByte);
  const mm = vmaMm(m, vma);
  for (let at = start; at < end; at += size) {
    const e = pteOffset(m, mm, at);
    if (e < 0) break;
    if ((pteFlags(m, e) & PTE_SWAP) === 0) continue;
    const f = readOne(m, ptePayload(m, e) as SwapEntry, out, at !== addr);
    if (f !== NO_FOLIO) folioPut(m, f);
  }
  lruAddDrain(m);
}
