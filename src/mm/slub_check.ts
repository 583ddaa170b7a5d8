/** All slabs of a machine, checked: S1 to S5 of slub.ts. The cost is that of every object and every page. */
import { assert } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MAX_NR_ZONES, untouched } from './mmzone.ts';
import { PGTY } from './page_flags.ts';
import { pageCount, pageHead, pageOrder, pageOwner, pageType } from './page_type.ts';
import { type KmemCacheId, LINK_END, LINK_USED, SLAB_RECLAIM_ACCOUNT, type SlabId } from './slab.ts';
import { V } from './vmstat.ts';

/** Throws at the first invariant that does not hold. */
export function checkSlabs(m: Machine): void {
  const t = m.slab;
  const { cache, slab } = t;
  const waiting = new Set<number>();
  for (let s = t.rcuHead; s !== 0; s = slab.next[s]) waiting.add(s);
  const slabs = new Map<number, number>();
  const objects = new Map<number, number>();
  let reclaimable = 0;
  let unreclaimable = t.largePages;
  let pages = 0;
  for (let s = 1; s < t.nrSlabs; s++) {
    if (slab.pfn[s] === 0) continue;
    const c = slab.cache[s];
    checkPages(m, s as SlabId);
    pages += 2 ** slab.order[s];
    if ((cache.flags[c] & SLAB_RECLAIM_ACCOUNT) !== 0) reclaimable += 2 ** slab.order[s];
    else unreclaimable += 2 ** slab.order[s];
    if (waiting.has(s)) {
      assert(slab.inuse[s] === 0 && slab.onNode[s] === 0, 'S3 a slab that waits for a grace period is empty');
      continue;
    }
    slabs.set(c, (slabs.get(c) ?? 0) + 1);
    objects.set(c, (objects.get(c) ?? 0) + slab.objects[s]);
    checkObjects(m, s as SlabId);
  }
  assert(typedPages(m) === pages, 'S1 every page of type slab is a slab’s');
  for (const c of t.list) {
    assert((slabs.get(c) ?? 0) === cache.nrSlabs[c], 'S5 slabs of a cache');
    assert((objects.get(c) ?? 0) === cache.nrObjects[c], 'S5 objects of a cache');
    checkLists(m, c);
  }
  assert(m.vmstat[V.nr_slab_reclaimable] === reclaimable, 'S5 nr_slab_reclaimable');
  assert(m.vmstat[V.nr_slab_unreclaimable] === unreclaimable, 'S5 nr_slab_unreclaimable');
}

function checkPages(m: Machine, s: SlabId): void {
  const { slab } = m.slab;
  const first = slab.pfn[s] as Pfn;
  for (let pfn = first; pfn < first + 2 ** slab.order[s]; pfn = (pfn + 1) as Pfn) {
    assert(pageType(m.map, pfn) === PGTY.PGTY_slab && pageHead(m.map, pfn) === first, 'S1 its pages are of type slab');
    assert(pageOwner(m.map, pfn) === s && pageOrder(m.map, pfn) === slab.order[s], 'S1 its pages lead to its row');
    assert(pageCount(m.map, pfn) === 0, 'S1 its pages hold no reference');
  }
}

/** Pages of type slab, frame by frame. */
function typedPages(m: Machine): number {
  const t = m.zones.zone;
  let pages = 0;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++)
    for (let pfn = t.start[zone] as Pfn; pfn < t.end[zone]; pfn = (pfn + 1) as Pfn)
      if (!untouched(m.zones, zone, pfn) && pageType(m.map, pfn) === PGTY.PGTY_slab) pages++;
  return pages;
}

function checkObjects(m: Machine, s: SlabId): void {
  const { cache, slab, links } = m.slab;
  const c = slab.cache[s];
  const words = links[c] as Uint16Array;
  const base = slab.slot[s] * cache.objects[c];
  const seen = new Uint8Array(slab.objects[s]);
  const walk = (first: number): number => {
    let n = 0;
    for (let obj = first; obj >= 0; n++) {
      assert(obj < seen.length && seen[obj] === 0, 'S2 a free object is on one list, once');
      seen[obj] = 1;
      const next = words[base + obj] as number;
      obj = next === LINK_END ? -1 : next;
    }
    return n;
  };
  const own = walk(slab.freelist[s]);
  const onCpu = cache.cpuSlab[c] === s;
  if (onCpu) walk(cache.cpuFree[c]);
  let out = 0;
  for (let obj = 0; obj < seen.length; obj++) {
    assert((words[base + obj] === LINK_USED) === (seen[obj] === 0), 'S2 an object is free or out');
    if (seen[obj] === 0) out++;
  }
  assert(slab.inuse[s] === slab.objects[s] - own, 'S2 inuse counts what is not on the slab’s list');
  assert(onCpu || out === slab.inuse[s], 'S2 inuse of a slab that is nobody’s');
  assert((slab.frozen[s] === 1) === onCpu, 'S3 only the CPU slab is frozen');
  const listed = slab.onNode[s] === 1 || slab.slabs[s] > 0;
  assert(!(onCpu && listed) && (onCpu || listed === own > 0), 'S3 slabs with free objects are listed, no others');
}

function checkLists(m: Machine, c: KmemCacheId): void {
  const { cache, slab } = m.slab;
  let prev = 0;
  let n = 0;
  for (let s = cache.partialHead[c]; s !== 0; s = slab.next[s], n++) {
    assert(slab.prev[s] === prev && slab.onNode[s] === 1 && slab.cache[s] === c, 'S4 linked both ways');
    prev = s;
  }
  assert(cache.partialTail[c] === prev && cache.nrPartial[c] === n, 'S4 partial slabs of the node');
  for (let s = cache.cpuPartialHead[c]; s !== 0; s = slab.next[s]) {
    const next = slab.next[s];
    assert(slab.slabs[s] === (next === 0 ? 1 : slab.slabs[next] + 1), 'S4 partial slabs of the CPU, counted');
    assert(slab.onNode[s] === 0, 'S4 on one list');
  }
}
