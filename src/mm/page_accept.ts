/**
 * Memory that a confidential guest has not accepted yet. Its host gives it such memory at start; touching it before accepting
 * is fatal, and accepting takes time, so it is done block by block as the zone's free memory falls below the highest mark.
 *
 *   zone: [ free | in use | free ][ unaccepted block ][ unaccepted block ] …      a block: the largest order, page type unaccepted
 *
 * Such pages are managed but neither free nor handed out. (The kernel counts them among the free ones and takes them off again
 * at each watermark test; nr_free_pages leaves them out here.)
 *
 * @kernel mm/page_alloc.c cond_accept_memory (6.18)
 */
import { QuireError } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MIGRATE_MOVABLE, pageZone } from './mmzone.ts';
import { freeOnePage } from './page_alloc_buddy.ts';
import { PGTY } from './page_flags.ts';
import { allocContigRange } from './page_isolation.ts';
import { clearPageType, pageNext, pageType, setPageNext, setPageType } from './page_type.ts';
import { V } from './vmstat.ts';

/**
 * Makes free memory [start, end), whole blocks of the largest order, memory that the host has not handed over: for a machine
 * that has just been made. @kernel mm/page_alloc.c __free_unaccepted (6.18)
 */
export function unacceptMemory(m: Machine, start: Pfn, end: Pfn): void {
  const { zones, map } = m;
  const block = 1 << zones.maxOrder;
  if (start % block !== 0 || end % block !== 0 || end > zones.frames || start < block)
    throw new QuireError(
      'EINVAL',
      `frames ${start} to ${end}: expected whole blocks of ${block} frames, not the first`,
    );
  if (!allocContigRange(m, start, end)) throw new QuireError('EBUSY', `frames ${start} to ${end}: some are in use`);
  const t = zones.zone;
  for (let pfn = start; pfn < end; pfn = (pfn + block) as Pfn) {
    const zone = pageZone(zones, pfn);
    setPageType(map, pfn, PGTY.PGTY_unaccepted);
    setPageNext(map, pfn, 0 as Pfn);
    if (t.unacceptedTail[zone] === 0) t.unacceptedHead[zone] = pfn;
    else setPageNext(map, t.unacceptedTail[zone] as Pfn, pfn);
    t.unacceptedTail[zone] = pfn;
    t.unaccepted[zone] += block;
    m.vmstat[V.nr_unaccepted] += block;
  }
}

/** Takes a block off its list, accepts it and frees it. @kernel mm/page_alloc.c __accept_page (6.18) */
function acceptPage(m: Machine, zone: number, pfn: Pfn, prev: Pfn): void {
  const { zones, map } = m;
  const t = zones.zone;
  const block = 1 << zones.maxOrder;
  const next = pageNext(map, pfn);
  if (prev === 0) t.unacceptedHead[zone] = next;
  else setPageNext(map, prev, next);
  if (next === 0) t.unacceptedTail[zone] = prev;
  setPageNext(map, pfn, 0 as Pfn);
  t.unaccepted[zone] -= block;
  m.vmstat[V.nr_unaccepted] -= block;
  clearPageType(map, pfn, PGTY.PGTY_unaccepted);
  freeOnePage(m, zone, pfn, zones.maxOrder, MIGRATE_MOVABLE, true);
}

/** Accepts as many blocks as bring the zone back to its highest mark; true when there was one. @kernel mm/page_alloc.c cond_accept_memory (6.18) */
export function condAcceptMemory(m: Machine, zone: number): boolean {
  const t = m.zones.zone;
  let want = t.promo[zone] - (t.free[zone] - t.freeHighatomic[zone]);
  let accepted = false;
  while (want > 0 && t.unacceptedHead[zone] !== 0) {
    acceptPage(m, zone, t.unacceptedHead[zone] as Pfn, 0 as Pfn);
    want -= 1 << m.zones.maxOrder;
    accepted = true;
  }
  return accepted;
}

/** Accepts the blocks that [start, end) touches, whatever the marks. @kernel mm/page_alloc.c accept_page (6.18) */
export function acceptMemory(m: Machine, start: Pfn, end: Pfn): void {
  const { zones, map } = m;
  const block = 1 << zones.maxOrder;
  for (let pfn = (start - (start % block)) as Pfn; pfn < end; pfn = (pfn + block) as Pfn) {
    if (pageType(map, pfn) !== PGTY.PGTY_unaccepted) continue;
    const zone = pageZone(zones, pfn);
    let prev = 0 as Pfn;
    for (let p = zones.zone.unacceptedHead[zone] as Pfn; p !== pfn; p = pageNext(map, p)) prev = p;
    acceptPage(m, zone, pfn, prev);
  }
}
