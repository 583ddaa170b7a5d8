/**
 * Memory that boot keeps: the kernel image, firmware's tables. Such frames are reserved: marked, with one reference that nobody
 * drops, and not managed by the allocator, until their owner frees them (an initrd, init sections).
 * @kernel mm/memblock.c memmap_init_reserved_pages (6.18)
 */
import { QuireError } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MIGRATE_MOVABLE, pageZone } from './mmzone.ts';
import { freePages } from './page_alloc.ts';
import { freeOnePage } from './page_alloc_buddy.ts';
import { PG } from './page_flags.ts';
import { allocContigRange } from './page_isolation.ts';
import { clearPageFlag, pageFlag, pagesInit, setPageCount, setPageFlag } from './page_type.ts';

/** Reserves frames [start, end) of a machine that has just been made. @kernel mm/mm_init.c reserve_bootmem_region (6.18) */
export function reserveBootmemRegion(m: Machine, start: Pfn, end: Pfn): void {
  const { zones } = m;
  const block = 1 << zones.maxOrder;
  const from = Math.max(start - (start % block), block) as Pfn;
  const to = (Math.ceil(end / block) * block) as Pfn;
  if (start < from || end <= start || to > zones.frames)
    throw new QuireError('EINVAL', `frames ${start} to ${end}: expected some from ${block} on, in whole blocks of it`);
  if (!allocContigRange(m, from, to)) throw new QuireError('EBUSY', `frames ${start} to ${end}: some are in use`);
  for (let pfn = start; pfn < end; pfn = (pfn + 1) as Pfn) {
    pagesInit(m.map, pfn, 0, true);
    setPageFlag(m.map, pfn, PG.PG_reserved);
    setPageCount(m.map, pfn, 1);
  }
  zones.zone.managed[pageZone(zones, start)] -= end - start;
  freeRange(m, from, start);
  freeRange(m, end, to);
}

/** Frees [from, to) in blocks as large as they can be. */
function freeRange(m: Machine, from: number, to: number): void {
  for (let pfn = from; pfn < to; ) {
    let order = 0;
    while (order < m.zones.maxOrder && pfn % (2 << order) === 0 && pfn + (2 << order) <= to) order++;
    freeOnePage(m, pageZone(m.zones, pfn), pfn, order, MIGRATE_MOVABLE, true);
    pfn += 1 << order;
  }
}

/** Gives reserved frames [start, end) to the allocator. @kernel mm/page_alloc.c free_reserved_area (6.18) */
export function freeReservedArea(m: Machine, start: Pfn, end: Pfn): void {
  for (let pfn = start; pfn < end; pfn = (pfn + 1) as Pfn) {
    if (!pageFlag(m.map, pfn, PG.PG_reserved)) throw new QuireError('EINVAL', `frame ${pfn}: not reserved`);
    clearPageFlag(m.map, pfn, PG.PG_reserved);
    freePages(m, pfn, 0);
    m.zones.zone.managed[pageZone(m.zones, pfn)]++;
  }
}
