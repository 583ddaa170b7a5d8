/** Walks what the physical allocator holds and throws at the first broken invariant; they are listed in page_alloc.ts. */
import { Bug } from '../base/errors.ts';
import { NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioFlags, folioPfn, folioRefCount, type MemoryMap, pageFolio } from './mm_types.ts';
import {
  areaRow,
  MAX_NR_ZONES,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_TYPES,
  NR_LOWORDER_PCP_LISTS,
  NR_PCP_LISTS,
  pageblockType,
} from './mmzone.ts';
import { buddyOrder, buddyType, freeNext, freePrev, pageBuddy } from './page_free.ts';
import { atLeast } from './release.ts';
import { V } from './vmstat.ts';

function claim(holds: boolean, name: string, m: Machine, pfn: number): void {
  if (!holds) throw new Bug(`${name}: frame ${pfn} of ${m.zones.frames}`);
}

/** Checks B1 to B6. The cost is that of all pages on free lists: for tests. */
export function checkZones(m: Machine): void {
  const { zones } = m;
  const t = zones.zone;
  let free = 0;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) {
    const listed = checkFreeLists(m, zone);
    claim(listed === t.free[zone], 'B5 free pages of the zone', m, t.start[zone]);
    const cached = checkPcpLists(m, zone);
    claim(cached === t.pcpCount[zone], 'B5 per-CPU pages of the zone', m, t.start[zone]);
    claim(t.managed[zone] >= listed + cached, 'B1 no more free than there is', m, t.start[zone]);
    free += listed;
  }
  claim(free === m.vmstat[V.nr_free_pages], 'B5 nr_free_pages', m, 0);
}

/** Pages that are handed out, by zone: what is neither free nor on a per-CPU list (B1). */
export const pagesOut = (m: Machine, zone: number): number => {
  const t = m.zones.zone;
  return t.managed[zone] - t.free[zone] - t.pcpCount[zone];
};

function checkFreeLists(m: Machine, zone: number): number {
  const { zones } = m;
  let pages = 0;
  let atomic = 0;
  for (let order = 0; order <= zones.maxOrder; order++) {
    for (let type = 0; type < MIGRATE_TYPES; type++) {
      const nr = checkFreeList(m, zone, order, type) * 2 ** order;
      if (type !== MIGRATE_ISOLATE) pages += nr;
      if (type === MIGRATE_HIGHATOMIC) atomic += nr;
    }
  }
  claim(atomic === zones.zone.freeHighatomic[zone], 'B5 highatomic pages', m, 0);
  return pages;
}

function checkFreeList(m: Machine, zone: number, order: number, type: number): number {
  const { map, zones } = m;
  const { head, tail, count } = zones.area;
  const row = areaRow(zones, zone, order, type);
  let blocks = 0;
  let prev = 0;
  for (let pfn = head[row]; pfn !== 0; pfn = freeNext(map, pfn)) {
    claim(freePrev(map, pfn) === prev, 'B5 linked both ways', m, pfn);
    checkFreeBlock(m, zone, pfn, order, type);
    prev = pfn;
    blocks++;
  }
  claim(tail[row] === prev, 'B5 tail of the list', m, prev);
  if (order === zones.maxOrder && type === MIGRATE_MOVABLE)
    blocks += Math.max(zones.zone.cursorEnd[zone] - zones.zone.cursor[zone], 0) / 2 ** order;
  claim(count[row] === blocks, 'B5 blocks of the list', m, prev);
  return blocks;
}

/** No flag, no reference, and no folio's. */
function plain(map: MemoryMap, pfn: number): boolean {
  const f = pageFolio(map, pfn as Pfn);
  return f === NO_FOLIO || (folioFlags(map, f) === 0 && folioRefCount(map, f) === 0 && folioPfn(map, f) === pfn);
}

function checkFreeBlock(m: Machine, zone: number, pfn: number, order: number, type: number): void {
  const { map, zones } = m;
  const t = zones.zone;
  const nr = 2 ** order;
  claim(pfn % nr === 0, 'B2 aligned', m, pfn);
  claim(pfn >= t.start[zone] && pfn + nr <= t.end[zone], 'B2 in its zone', m, pfn);
  claim(pageBuddy(map, pfn) && buddyOrder(map, pfn) === order, 'B3 buddy of its order', m, pfn);
  claim(buddyType(map, pfn) === type, 'B3 type', m, pfn);
  for (let p = pfn; p < pfn + nr; p++) {
    claim(plain(map, p), 'B3 no flag, and no reference', m, p);
    claim(p === pfn || !pageBuddy(map, p), 'B3 one head', m, p);
  }
  const block = pageblockType(zones, pfn);
  if (atLeast(m.release, '6.12')) claim(block === type, 'B6 type of its page block', m, pfn);
  if (order === zones.maxOrder) return;
  const buddy = pfn ^ nr;
  if (buddy >= t.end[zone] || !pageBuddy(map, buddy) || buddyOrder(map, buddy) !== order) return;
  const other = pageblockType(zones, buddy);
  const apart = order >= zones.pageblockOrder && block !== other;
  claim(apart && Math.max(block, other) >= MIGRATE_PCPTYPES, 'B4 no two free buddies', m, pfn);
}

function checkPcpLists(m: Machine, zone: number): number {
  const { map, zones } = m;
  const { head, tail } = zones.pcp;
  let pages = 0;
  for (let i = 0; i < NR_PCP_LISTS; i++) {
    const row = zone * NR_PCP_LISTS + i;
    const order = i < NR_LOWORDER_PCP_LISTS ? Math.floor(i / MIGRATE_PCPTYPES) : zones.pmdOrder;
    let blocks = 0;
    let prev = 0;
    for (let pfn = head[row]; pfn !== 0; pfn = freeNext(map, pfn)) {
      claim(freePrev(map, pfn) === prev, 'B5 per-CPU list linked both ways', m, pfn);
      claim(!pageBuddy(map, pfn) && plain(map, pfn), 'B3 per-CPU page: no flag, not listed', m, pfn);
      prev = pfn;
      blocks++;
    }
    claim(tail[row] === prev, 'B5 tail of the per-CPU list', m, prev);
    pages += blocks * 2 ** order;
  }
  return pages;
}
