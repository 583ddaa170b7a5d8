/**
 * Memory that comes and goes by the block (128 MiB on x86-64). A block goes offline when it can be emptied: what can move is
 * moved, and one page that stays refuses it. Offline, its pages are of type offline; the memory map stays, and is paid for.
 *
 *   offline: isolate ─► migrate ─► take all free ─► zone has less managed memory, new watermarks
 *   online:  pages go to the tail of the free lists, as fresh memory does
 *
 * @kernel mm/memory_hotplug.c offline_pages (6.18)
 */
import { QuireError } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MIGRATE_MOVABLE, pageZone } from './mmzone.ts';
import { setMarks } from './page_alloc.ts';
import { freeOnePage } from './page_alloc_buddy.ts';
import { PGTY } from './page_flags.ts';
import { allocContigRange } from './page_isolation.ts';
import { clearPageType, pagesInit, pageType, setPageCount, setPageType } from './page_type.ts';

/** Bytes of a block by page size. @kernel arch/x86/include/asm/sparsemem.h SECTION_SIZE_BITS (6.18) */
export const memoryBlockBytes = (pageSize: number): number => (pageSize === 65536 ? 2 ** 29 : 2 ** 27);

/** Blocks of the machine that are whole, the first frame’s among them. */
export const memoryBlockPages = (m: Machine): number => memoryBlockBytes(m.config.pageSize) / m.config.pageSize;

function blockStart(m: Machine, block: number): Pfn {
  const pages = memoryBlockPages(m);
  const nr = Math.floor(m.zones.frames / pages);
  if (!Number.isInteger(block) || block < 0 || block >= nr)
    throw new QuireError('EINVAL', `memory block ${block}: expected 0 to ${nr - 1}`);
  return (block * pages) as Pfn;
}

/** Is the block offline? */
export const memoryBlockOffline = (m: Machine, block: number): boolean =>
  pageType(m.map, blockStart(m, block)) === PGTY.PGTY_offline;

/** Takes a block from the allocator. False: some page of it stays. @kernel mm/memory_hotplug.c offline_pages (6.18) */
export function offlinePages(m: Machine, block: number): boolean {
  const start = blockStart(m, block);
  if (pageType(m.map, start) === PGTY.PGTY_offline)
    throw new QuireError('EINVAL', `memory block ${block}: offline already`);
  const nr = memoryBlockPages(m);
  if (!allocContigRange(m, start, (start + nr) as Pfn)) return false;
  // As pages of a block that was added and not brought online: typed, and "not free". @kernel mm/mm_init.c memmap_init_range (6.18)
  for (let pfn = start; pfn < start + nr; pfn = (pfn + 1) as Pfn) {
    pagesInit(m.map, pfn, 0, true);
    setPageType(m.map, pfn, PGTY.PGTY_offline);
    setPageCount(m.map, pfn, 1);
  }
  manage(m, start, -nr);
  return true;
}

/** Gives it back. @kernel mm/memory_hotplug.c online_pages (6.18) */
export function onlinePages(m: Machine, block: number): void {
  const start = blockStart(m, block);
  if (pageType(m.map, start) !== PGTY.PGTY_offline)
    throw new QuireError('EINVAL', `memory block ${block}: online already`);
  const nr = memoryBlockPages(m);
  for (let pfn = start; pfn < start + nr; pfn = (pfn + 1) as Pfn) {
    clearPageType(m.map, pfn, PGTY.PGTY_offline);
    setPageCount(m.map, pfn, 0);
  }
  const { maxOrder } = m.zones;
  const zone = pageZone(m.zones, start);
  // @kernel mm/page_alloc.c __free_pages_core (6.18)
  for (let pfn = start as number; pfn < start + nr; pfn += 1 << maxOrder)
    freeOnePage(m, zone, pfn, maxOrder, MIGRATE_MOVABLE, true);
  manage(m, start, nr);
}

/** The zone has so many pages more, and new watermarks. @kernel mm/page_alloc.c adjust_managed_page_count (6.18) */
function manage(m: Machine, pfn: Pfn, nr: number): void {
  m.zones.zone.managed[pageZone(m.zones, pfn)] += nr;
  setMarks(m.zones, m.config.thp);
}
