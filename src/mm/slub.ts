/**
 * SLUB: which slab an object comes from and goes back to. The CPU allocates from one slab at a time and keeps that slab's free
 * objects to itself; what it frees there is handed out next. Frees into other slabs go into the slab. A full slab that gets an
 * object back becomes one of the CPU's partial slabs, so that no list of the node is touched; when those are too many, all of
 * them move to the node. Empty slabs go back to the page allocator, except for a few (min_partial).
 *
 * Slab pages are frozen: allocated without a reference, and typed. An object is named by its address, frame × page size plus
 * its place; freeing one finds its slab through the memory map.
 *
 * Invariants (checkSlabs, slub_check.ts):
 *   S1  a slab's pages are of type slab, lead to its row, and hold no reference; and every such page is a slab's;
 *   S2  free objects of a slab, on its list or the CPU's, and objects that are out, are all there are; each is in one place;
 *   S3  only the CPU slab is frozen; it is on no list, and a full slab is on none either;
 *   S4  the node's list is linked both ways and counted; the CPU's counts its slabs from each to its end;
 *   S5  a cache's slabs and objects are the sums over its slabs; nr_slab_* are the pages of all slabs and of large kmalloc.
 *
 * Differs: free objects of a new slab are handed out in ascending order (CONFIG_SLAB_FREELIST_RANDOM off); sheaves, which 6.18 has for
 * a few caches, are not modelled; objects are not charged to memory groups.
 *
 * @kernel mm/slub.c ___slab_alloc (6.18)
 */
import { assert, QuireError } from '../base/errors.ts';
import { grow } from '../base/table.ts';
import {
  __GFP_COMP,
  __GFP_DIRECT_RECLAIM,
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_KSWAPD_RECLAIM,
  __GFP_NOFAIL,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_NOWARN,
  __GFP_RECLAIMABLE,
} from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { allocFrozenPages, freeFrozenPages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { clearPageType, pageOwner, pageType, pageTypeName, setPageOwner, setPageType } from './page_type.ts';
import {
  type KmemCacheId,
  LINK_END,
  LINK_USED,
  SLAB_CACHE_DMA,
  SLAB_CACHE_DMA32,
  SLAB_RECLAIM_ACCOUNT,
  SLAB_TYPESAFE_BY_RCU,
  type SlabId,
  slabLayout,
} from './slab.ts';
import { V } from './vmstat.ts';

/** An object, or 0: out of memory. @kernel mm/slub.c kmem_cache_alloc_noprof (6.18) */
export function kmemCacheAlloc(m: Machine, c: KmemCacheId, gfp: number): number {
  const { cache, slab, links } = m.slab;
  if (cache.cpuFree[c] < 0 && !slabAllocSlow(m, c, gfp)) return 0;
  const obj = cache.cpuFree[c];
  const s = cache.cpuSlab[c];
  const words = links[c] as Uint16Array;
  const at = slab.slot[s] * cache.objects[c] + obj;
  const next = words[at] as number;
  cache.cpuFree[c] = next === LINK_END ? -1 : next;
  words[at] = LINK_USED;
  return slab.pfn[s] * m.config.pageSize + obj * cache.size[c];
}

/** Gives an object back to the cache that it came from. @kernel mm/slub.c kmem_cache_free (6.18) */
export function kmemCacheFree(m: Machine, c: KmemCacheId, addr: number): void {
  const s = virtToSlab(m, addr);
  if (m.slab.slab.cache[s] !== c)
    throw new QuireError(
      'EINVAL',
      `object ${addr}: of cache ${m.slab.names[m.slab.slab.cache[s]]}, not of ${m.slab.names[c]}`,
    );
  slabFree(m, s, addr);
}

/** The slab that an address lies in. @kernel mm/slab.h virt_to_slab (6.18) */
export function virtToSlab(m: Machine, addr: number): SlabId {
  const pfn = Math.floor(addr / m.config.pageSize) as Pfn;
  const type = pfn > 0 && pfn < m.zones.frames ? pageType(m.map, pfn) : 0;
  if (type !== PGTY.PGTY_slab)
    throw new QuireError('EINVAL', `object ${addr}: frame ${pfn} is no slab but ${pageTypeName(type) || 'untyped'}`);
  return pageOwner(m.map, pfn) as SlabId;
}

/** @kernel mm/slub.c do_slab_free (6.18) */
export function slabFree(m: Machine, s: SlabId, addr: number): void {
  const { cache, slab, links } = m.slab;
  const c = slab.cache[s] as KmemCacheId;
  const within = addr - slab.pfn[s] * m.config.pageSize;
  const obj = Math.floor(within / cache.size[c]);
  const words = links[c] as Uint16Array;
  const at = slab.slot[s] * cache.objects[c] + obj;
  if (within % cache.size[c] !== 0 || obj >= slab.objects[s] || words[at] !== LINK_USED)
    throw new QuireError('EINVAL', `object ${addr} of ${m.slab.names[c]}: not one that is out (freed twice?)`);
  if (cache.cpuSlab[c] === s) {
    words[at] = cache.cpuFree[c] < 0 ? LINK_END : cache.cpuFree[c];
    cache.cpuFree[c] = obj;
    return;
  }
  freeIntoSlab(m, c, s, obj, at);
}

/** A free into a slab that is not the CPU's. @kernel mm/slub.c __slab_free (6.18) */
function freeIntoSlab(m: Machine, c: KmemCacheId, s: SlabId, obj: number, at: number): void {
  const { cache, slab, links } = m.slab;
  const prior = slab.freelist[s];
  (links[c] as Uint16Array)[at] = prior < 0 ? LINK_END : prior;
  slab.freelist[s] = obj;
  slab.inuse[s]--;
  if (prior < 0) {
    putCpuPartial(m, c, s, true);
    return;
  }
  if (slab.inuse[s] > 0 || slab.onNode[s] === 0) return;
  if (cache.nrPartial[c] < cache.minPartial[c]) return;
  removePartial(m, c, s);
  discardSlab(m, c, s);
}

/**
 * Fills the CPU's list: from its slab, its partial slabs, the node's, or a new slab. False: out of memory.
 * @kernel mm/slub.c ___slab_alloc (6.18)
 */
function slabAllocSlow(m: Machine, c: KmemCacheId, gfp: number): boolean {
  const { cache, slab } = m.slab;
  const was = cache.cpuSlab[c] as SlabId;
  if (was !== 0) {
    if (loadFreelist(m, c, was)) return true;
    // Full: it is nobody's until an object comes back.
    cache.cpuSlab[c] = 0;
  }
  let s = cache.cpuPartialHead[c] as SlabId;
  if (s !== 0) {
    cache.cpuPartialHead[c] = slab.next[s];
    slab.next[s] = slab.slabs[s] = 0;
  } else s = getPartialNode(m, c);
  if (s === 0) {
    s = allocateSlab(m, c, gfp);
    if (s === 0) return false;
  }
  cache.cpuSlab[c] = s;
  return loadFreelist(m, c, s);
}

/** Moves a slab's free objects to the CPU; false: it has none. @kernel mm/slub.c get_freelist (6.18) */
function loadFreelist(m: Machine, c: KmemCacheId, s: SlabId): boolean {
  const { cache, slab } = m.slab;
  const first = slab.freelist[s];
  slab.inuse[s] = slab.objects[s];
  slab.frozen[s] = first < 0 ? 0 : 1;
  slab.freelist[s] = -1;
  cache.cpuFree[c] = first;
  return first >= 0;
}

/** The node's first partial slab; some more go to the CPU's partial list meanwhile. 0: there is none. @kernel mm/slub.c get_partial_node (6.18) */
function getPartialNode(m: Machine, c: KmemCacheId): SlabId {
  const { cache } = m.slab;
  const first = cache.partialHead[c] as SlabId;
  if (first === 0) return first;
  removePartial(m, c, first);
  const most = cache.cpuPartialSlabs[c];
  if (most === 0) return first;
  for (let taken = 0; cache.partialHead[c] !== 0; ) {
    const s = cache.partialHead[c] as SlabId;
    removePartial(m, c, s);
    putCpuPartial(m, c, s, false);
    if (++taken > most >> 1) break;
  }
  return first;
}

/** Lists a slab with free objects for the CPU; `drain`: too many, and all listed so far go to the node. @kernel mm/slub.c put_cpu_partial (6.18) */
function putCpuPartial(m: Machine, c: KmemCacheId, s: SlabId, drain: boolean): void {
  const { cache, slab } = m.slab;
  let old = cache.cpuPartialHead[c] as SlabId;
  let toNode = 0 as SlabId;
  if (drain && old !== 0 && slab.slabs[old] >= cache.cpuPartialSlabs[c]) {
    toNode = old;
    old = 0 as SlabId;
  }
  slab.slabs[s] = old === 0 ? 1 : slab.slabs[old] + 1;
  slab.next[s] = old;
  cache.cpuPartialHead[c] = s;
  if (toNode !== 0) putPartials(m, c, toNode);
}

/** Moves a list of the CPU's partial slabs to the node; empty ones go when it has enough. @kernel mm/slub.c __put_partials (6.18) */
function putPartials(m: Machine, c: KmemCacheId, first: SlabId): void {
  const { cache, slab } = m.slab;
  let discard = 0;
  for (let s = first; s !== 0; ) {
    const next = slab.next[s] as SlabId;
    slab.slabs[s] = 0;
    if (slab.inuse[s] === 0 && cache.nrPartial[c] >= cache.minPartial[c]) {
      slab.next[s] = discard;
      discard = s;
    } else addPartial(m, c, s, true);
    s = next;
  }
  for (let s = discard as SlabId; s !== 0; ) {
    const next = slab.next[s] as SlabId;
    discardSlab(m, c, s);
    s = next;
  }
}

/** Takes the slab from the CPU, its free objects with it. @kernel mm/slub.c deactivate_slab (6.18) */
function deactivateSlab(m: Machine, c: KmemCacheId): void {
  const { cache, slab, links } = m.slab;
  const s = cache.cpuSlab[c] as SlabId;
  const first = cache.cpuFree[c];
  cache.cpuSlab[c] = 0;
  cache.cpuFree[c] = -1;
  slab.frozen[s] = 0;
  const words = links[c] as Uint16Array;
  const base = slab.slot[s] * cache.objects[c];
  const tail = slab.freelist[s] >= 0;
  if (first >= 0) {
    let last = first;
    let n = 1;
    for (; words[base + last] !== LINK_END; n++) last = words[base + last] as number;
    words[base + last] = slab.freelist[s] < 0 ? LINK_END : slab.freelist[s];
    slab.freelist[s] = first;
    slab.inuse[s] -= n;
  }
  if (slab.inuse[s] === 0 && cache.nrPartial[c] >= cache.minPartial[c]) discardSlab(m, c, s);
  else if (slab.freelist[s] >= 0) addPartial(m, c, s, tail);
}

/** Everything the CPU holds goes to the node. @kernel mm/slub.c __flush_cpu_slab (6.18) */
export function flushCpuSlab(m: Machine, c: KmemCacheId): void {
  const { cache } = m.slab;
  if (cache.cpuSlab[c] !== 0) deactivateSlab(m, c);
  const first = cache.cpuPartialHead[c] as SlabId;
  cache.cpuPartialHead[c] = 0;
  putPartials(m, c, first);
}

/** Slabs with this many free objects or fewer come first after a shrink. @kernel mm/slub.c SHRINK_PROMOTE_MAX (6.18) */
const SHRINK_PROMOTE_MAX = 32;

/** Frees all empty slabs and lists the fullest first; true: none is left. @kernel mm/slub.c __kmem_cache_do_shrink (6.18) */
export function kmemCacheShrink(m: Machine, c: KmemCacheId): boolean {
  const { cache, slab } = m.slab;
  flushCpuSlab(m, c);
  const promote: SlabId[][] = Array.from({ length: SHRINK_PROMOTE_MAX }, () => []);
  const discard: SlabId[] = [];
  for (let s = cache.partialHead[c] as SlabId; s !== 0; s = slab.next[s] as SlabId) {
    const free = slab.objects[s] - slab.inuse[s];
    if (slab.inuse[s] === 0) discard.push(s);
    else if (free <= SHRINK_PROMOTE_MAX) promote[free - 1]?.push(s);
  }
  for (const s of discard) {
    removePartial(m, c, s);
    discardSlab(m, c, s);
  }
  // A list that is spliced to the head brings its slabs in the reverse of the order in which they were found.
  for (const group of promote.reverse())
    for (const s of group) {
      removePartial(m, c, s);
      addPartial(m, c, s, false);
    }
  return cache.nrSlabs[c] === 0;
}

/** @kernel mm/slub.c add_partial (6.18) */
function addPartial(m: Machine, c: KmemCacheId, s: SlabId, tail: boolean): void {
  const { cache, slab } = m.slab;
  const { partialHead, partialTail } = cache;
  const before = tail ? partialTail[c] : 0;
  const after = tail ? 0 : partialHead[c];
  slab.prev[s] = before;
  slab.next[s] = after;
  if (before === 0) partialHead[c] = s;
  else slab.next[before] = s;
  if (after === 0) partialTail[c] = s;
  else slab.prev[after] = s;
  slab.onNode[s] = 1;
  cache.nrPartial[c]++;
}

/** @kernel mm/slub.c remove_partial (6.18) */
function removePartial(m: Machine, c: KmemCacheId, s: SlabId): void {
  const { cache, slab } = m.slab;
  const { next, prev } = slab;
  if (prev[s] === 0) cache.partialHead[c] = next[s];
  else next[prev[s]] = next[s];
  if (next[s] === 0) cache.partialTail[c] = prev[s];
  else prev[next[s]] = prev[s];
  next[s] = prev[s] = 0;
  slab.onNode[s] = 0;
  cache.nrPartial[c]--;
}

/** What a cache adds to a request. @kernel mm/slub.c calculate_sizes (6.18) */
const allocFlags = (flags: number): number =>
  __GFP_COMP |
  ((flags & SLAB_CACHE_DMA) !== 0 ? __GFP_DMA : 0) |
  ((flags & SLAB_CACHE_DMA32) !== 0 ? __GFP_DMA32 : 0) |
  ((flags & SLAB_RECLAIM_ACCOUNT) !== 0 ? __GFP_RECLAIMABLE : 0);

/**
 * A new slab: of the cache's order if that is to be had without effort, else of the smallest that holds an object.
 * @kernel mm/slub.c allocate_slab (6.18)
 */
function allocateSlab(m: Machine, c: KmemCacheId, given: number): SlabId {
  const { cache } = m.slab;
  const gfp = given | allocFlags(cache.flags[c]);
  let order = cache.order[c];
  let objects = cache.objects[c];
  let easy = (gfp | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_NOFAIL;
  if ((easy & __GFP_DIRECT_RECLAIM) !== 0 && order > cache.minOrder[c])
    easy = (easy | __GFP_NOMEMALLOC) & ~(__GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM);
  let pfn = allocFrozenPages(m, easy, order);
  if (pfn === NO_PFN) {
    order = cache.minOrder[c];
    objects = cache.minObjects[c];
    pfn = allocFrozenPages(m, gfp, order);
    if (pfn === NO_PFN) return 0 as SlabId;
  }
  const s = slabRow(m);
  const { slab, links } = m.slab;
  setPageType(m.map, pfn, PGTY.PGTY_slab);
  setPageOwner(m.map, pfn, s);
  slab.pfn[s] = pfn;
  slab.cache[s] = c;
  slab.order[s] = order;
  slab.objects[s] = objects;
  slab.inuse[s] = slab.frozen[s] = slab.onNode[s] = slab.slabs[s] = 0;
  slab.next[s] = slab.prev[s] = 0;
  slab.freelist[s] = 0;
  slab.slot[s] = takeSlot(m, c);
  const words = links[c] as Uint16Array;
  const base = slab.slot[s] * cache.objects[c];
  for (let i = 0; i < objects; i++) words[base + i] = i + 1 < objects ? i + 1 : LINK_END;
  cache.nrSlabs[c]++;
  cache.nrObjects[c] += objects;
  m.vmstat[slabStat(cache.flags[c])] += 2 ** order;
  return s;
}

/** @kernel mm/slab.h cache_vmstat_idx (6.18) */
const slabStat = (flags: number): number =>
  (flags & SLAB_RECLAIM_ACCOUNT) !== 0 ? V.nr_slab_reclaimable : V.nr_slab_unreclaimable;

function slabRow(m: Machine): SlabId {
  const t = m.slab;
  const s = t.freeSlab;
  if (s !== 0) {
    t.freeSlab = t.slab.next[s];
    return s as SlabId;
  }
  const row = t.nrSlabs++;
  if (row >= t.slab.rows) grow(slabLayout, t.slab, t.slab.rows * 2);
  return row as SlabId;
}

/** Room for the words of one more slab. */
function takeSlot(m: Machine, c: KmemCacheId): number {
  const { cache, links, freeSlots } = m.slab;
  const free = (freeSlots[c] as number[]).pop();
  if (free !== undefined) return free;
  const slot = cache.slots[c]++;
  const need = (slot + 1) * cache.objects[c];
  if (need > (links[c] as Uint16Array).length) {
    const next = new Uint16Array(need * 2);
    next.set(links[c] as Uint16Array);
    links[c] = next;
  }
  return slot;
}

/** A slab without objects goes; one of a type-stable cache when a grace period has passed. @kernel mm/slub.c discard_slab (6.18) */
function discardSlab(m: Machine, c: KmemCacheId, s: SlabId): void {
  const { cache, slab } = m.slab;
  assert(slab.inuse[s] === 0 && slab.onNode[s] === 0, 'discardSlab: empty and on no list');
  cache.nrSlabs[c]--;
  cache.nrObjects[c] -= slab.objects[s];
  if ((cache.flags[c] & SLAB_TYPESAFE_BY_RCU) === 0) {
    freeSlab(m, s);
    return;
  }
  slab.next[s] = m.slab.rcuHead;
  m.slab.rcuHead = s;
}

/** @kernel mm/slub.c __free_slab (6.18) */
function freeSlab(m: Machine, s: SlabId): void {
  const { cache, slab, freeSlots } = m.slab;
  const c = slab.cache[s];
  const pfn = slab.pfn[s] as Pfn;
  setPageOwner(m.map, pfn, 0);
  clearPageType(m.map, pfn, PGTY.PGTY_slab);
  m.vmstat[slabStat(cache.flags[c])] -= 2 ** slab.order[s];
  (freeSlots[c] as number[]).push(slab.slot[s]);
  slab.pfn[s] = slab.cache[s] = 0;
  slab.next[s] = m.slab.freeSlab;
  m.slab.freeSlab = s;
  freeFrozenPages(m, pfn, slab.order[s]);
}

/** A grace period has passed: nobody looks at objects freed before it any more. @kernel kernel/rcu/tree.c rcu_barrier (6.18) */
export function rcuBarrier(m: Machine): void {
  for (let s = m.slab.rcuHead as SlabId; s !== 0; ) {
    const next = m.slab.slab.next[s] as SlabId;
    freeSlab(m, s);
    s = next;
  }
  m.slab.rcuHead = 0;
}
