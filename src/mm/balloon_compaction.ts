/**
 * A balloon: a driver in a guest takes pages and tells the host that it may use them. They are lent single pages of type offline,
 * with the driver's one reference; memory that the guest manages gets less by as much.
 *
 *   inflate: page allocator ─► balloon (a list through the pages) ─► host        deflate: the way back, last in, first out
 *
 * @kernel mm/balloon_compaction.c balloon_page_enqueue (6.18)
 */
import { Bug } from '../base/errors.ts';
import { __GFP_NOMEMALLOC, __GFP_NORETRY, __GFP_NOWARN, GFP_HIGHUSER_MOVABLE } from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { pageZone } from './mmzone.ts';
import { allocPages, freePages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { clearPageType, pageCount, pageNext, pageType, setPageNext, setPageType } from './page_type.ts';
import { V } from './vmstat.ts';

/** @kernel include/linux/balloon_compaction.h struct balloon_dev_info (6.18) */
export interface Balloon {
  head: Pfn;
  pages: number;
}
export const balloonInit = (): Balloon => ({ head: NO_PFN, pages: 0 });

/** Takes up to `want` pages; how many there were. It does not make the guest reclaim hard. @kernel drivers/virtio/virtio_balloon.c fill_balloon (6.18) */
export function balloonInflate(m: Machine, want: number): number {
  const { balloon, map } = m;
  let got = 0;
  for (; got < want; got++) {
    const pfn = allocPages(m, GFP_HIGHUSER_MOVABLE | __GFP_NOMEMALLOC | __GFP_NORETRY | __GFP_NOWARN, 0);
    if (pfn === NO_PFN) break;
    setPageType(map, pfn, PGTY.PGTY_offline);
    setPageNext(map, pfn, balloon.head);
    balloon.head = pfn;
    balloon.pages++;
    m.zones.zone.managed[pageZone(m.zones, pfn)]--;
  }
  m.vmstat[V.balloon_inflate] += got;
  m.vmstat[V.nr_balloon_pages] += got;
  return got;
}

/** Gives up to `want` pages back to the guest; how many there were. @kernel drivers/virtio/virtio_balloon.c leak_balloon (6.18) */
export function balloonDeflate(m: Machine, want: number): number {
  const { balloon, map } = m;
  let got = 0;
  for (; got < want && balloon.head !== NO_PFN; got++) {
    const pfn = balloon.head;
    balloon.head = pageNext(map, pfn);
    balloon.pages--;
    setPageNext(map, pfn, NO_PFN);
    clearPageType(map, pfn, PGTY.PGTY_offline);
    m.zones.zone.managed[pageZone(m.zones, pfn)]++;
    freePages(m, pfn, 0);
  }
  m.vmstat[V.balloon_deflate] += got;
  m.vmstat[V.nr_balloon_pages] -= got;
  return got;
}

/** The balloon’s pages are of type offline with one reference each, and as many as counted. */
export function checkBalloon(m: Machine): void {
  let n = 0;
  for (let pfn = m.balloon.head; pfn !== NO_PFN; pfn = pageNext(m.map, pfn), n++)
    if (pageType(m.map, pfn) !== PGTY.PGTY_offline || pageCount(m.map, pfn) !== 1)
      throw new Bug(`frame ${pfn} of the balloon: not offline with one reference`);
  if (n !== m.balloon.pages || n !== m.vmstat[V.nr_balloon_pages]) throw new Bug('nr_balloon_pages');
}
