/**
 * Memory of devices: persistent memory, an accelerator's, a window into another device. Its frames lie beyond the machine's own; a
 * driver hands a range of them over and gets a memory map for it. The page allocator never sees them: a page whose last reference
 * goes is its driver's again.
 *
 *   type             references of a page nobody uses   freed
 *   private          0                                  its driver is told                     memory that the CPU cannot reach
 *   coherent         0                                  its driver is told                     memory that it can
 *   fs_dax           0                                  the file system that waits is woken    files without a page cache
 *   generic          1                                  1 again                                a character device
 *   pci_p2pdma       0                                  its driver is told
 *
 * With larger pages (vmemmap_shift) most of the memory map is tails that are all alike: two pages of it are kept for each, where the
 * map lies in main memory. It may also lie on the device itself (altmap).
 *
 * Not modelled: what faults of such memory do. Not checked against a live kernel: none at hand has such a device.
 *
 * @kernel mm/memremap.c memremap_pages (6.18)
 */
import { Bug, QuireError } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { PG } from './page_flags.ts';
import {
  pageCount,
  pageHead,
  pageOrder,
  pagePgmap,
  pagesInit,
  setPageCount,
  setPageFlag,
  setPagePgmap,
} from './page_type.ts';

/** @kernel include/linux/memremap.h enum memory_type (6.18) */
export const DEVICE_MEMORY = ['private', 'coherent', 'fs_dax', 'generic', 'pci_p2pdma'] as const;
export type DeviceMemory = (typeof DEVICE_MEMORY)[number];

/** A range that a driver has handed over. @kernel include/linux/memremap.h struct dev_pagemap (6.18) */
export interface DevPagemap {
  readonly type: DeviceMemory;
  readonly start: Pfn;
  readonly end: Pfn;
  /** First frame that may be used: the memory map may lie before it. */
  readonly data: Pfn;
  /** Order of its pages. */
  readonly order: number;
  /** Pages of main memory that its memory map takes. */
  readonly memmapPages: number;
  /** Pages that came back to the driver. */
  freed: number;
  live: boolean;
}

export interface PagemapArgs {
  readonly type: DeviceMemory;
  readonly pages: number;
  readonly order?: number;
  /** The memory map lies in the range itself. */
  readonly altmap?: boolean;
}

/** Pages of the memory map that are kept for each larger page. @kernel include/linux/mm.h VMEMMAP_RESERVE_NR (6.18) */
const VMEMMAP_RESERVE_NR = 2;

/** Frames of device memory that a machine has, in all. */
export const deviceFrames = (m: Machine): number => Math.floor((m.config.deviceMemory ?? 0) / m.config.pageSize);

/** Pages that the memory map of a range takes. @kernel mm/sparse-vmemmap.c vmemmap_populate_compound_pages (6.18) */
export function pagemapMemmapPages(
  pages: number,
  order: number,
  altmap: boolean,
  pageSize: number,
  bytes: number,
): number {
  const each = Math.floor((2 ** order * bytes) / pageSize);
  const optimised = !altmap && (bytes & (bytes - 1)) === 0 && each > VMEMMAP_RESERVE_NR;
  return optimised ? (pages / 2 ** order) * VMEMMAP_RESERVE_NR : Math.ceil((pages * bytes) / pageSize);
}

/** Hands a range of device memory over: the first frames that no driver has. Its row. @kernel mm/memremap.c memremap_pages (6.18) */
export function memremapPages(m: Machine, args: PagemapArgs): number {
  const { type, pages, order = 0, altmap = false } = args;
  const { map, zones, pgmaps } = m;
  const size = 2 ** order;
  if (!Number.isInteger(pages) || pages < 1 || !(order >= 0 && order <= 18) || pages % size !== 0)
    throw new QuireError('EINVAL', `device memory of ${pages} pages: expected a multiple of ${size}`);
  let start = Math.ceil(zones.frames / size) * size;
  for (const p of pgmaps) if (p.live) start = Math.max(start, Math.ceil(p.end / size) * size);
  const end = start + pages;
  if (end > zones.frames + deviceFrames(m))
    throw new QuireError('ENOSPC', `device memory of ${pages} pages: the machine has ${deviceFrames(m)}, not all free`);
  const memmap = pagemapMemmapPages(pages, order, altmap, m.config.pageSize, map.pageWords * 4);
  const data = altmap ? start + Math.ceil(memmap / size) * size : start;
  if (data >= end) throw new QuireError('EINVAL', `device memory of ${pages} pages: its memory map leaves no room`);
  const row = pgmaps.length;
  for (let pfn = data as Pfn; pfn < end; pfn = (pfn + size) as Pfn) {
    pagesInit(map, pfn, order, true);
    setPagePgmap(map, pfn, row + 1);
    setPageFlag(map, pfn, PG.PG_reserved);
    setPageCount(map, pfn, type === 'generic' ? 1 : 0);
  }
  pgmaps.push({
    type,
    start: start as Pfn,
    end: end as Pfn,
    data: data as Pfn,
    order,
    memmapPages: altmap ? 0 : memmap,
    freed: 0,
    live: true,
  });
  return row;
}

/** The range that a frame of device memory lies in; null: none. @kernel mm/memremap.c get_dev_pagemap (6.18) */
export function getDevPagemap(m: Machine, pfn: Pfn): DevPagemap | null {
  if (pfn < m.zones.frames) return null;
  const row = m.pgmaps.findIndex((p) => p.live && pfn >= p.data && pfn < p.end);
  if (row < 0) return null;
  if (pagePgmap(m.map, pfn) !== row + 1) throw new Bug(`frame ${pfn}: a page of device memory knows its range`);
  return m.pgmaps[row] as DevPagemap;
}

function pagemapOf(m: Machine, pfn: Pfn): DevPagemap {
  const p = getDevPagemap(m, pfn);
  if (p === null) throw new QuireError('EINVAL', `frame ${pfn}: no device memory`);
  return p;
}

/** A driver gives a page that nobody uses out: it has one reference then. @kernel mm/memremap.c zone_device_page_init (6.18) */
export function zoneDevicePageInit(m: Machine, page: Pfn): Pfn {
  const p = pagemapOf(m, page);
  const pfn = pageHead(m.map, page);
  if (pageCount(m.map, pfn) !== (p.type === 'generic' ? 1 : 0))
    throw new QuireError('EBUSY', `frame ${pfn}: in use already`);
  setPageCount(m.map, pfn, 1);
  return pfn;
}

/** The last reference has gone. @kernel mm/memremap.c free_zone_device_folio (6.18) */
export function freeZoneDeviceFolio(m: Machine, pfn: Pfn): void {
  const p = pagemapOf(m, pfn);
  if (p.type === 'generic') setPageCount(m.map, pfn, 1);
  else p.freed++;
}

/** The driver goes. Pages in use keep it: their number, and nothing has changed. @kernel mm/memremap.c memunmap_pages (6.18) */
export function memunmapPages(m: Machine, row: number): number {
  const p = m.pgmaps[row];
  if (p === undefined || !p.live) throw new QuireError('EINVAL', `device memory ${row}: not there`);
  const idle = p.type === 'generic' ? 1 : 0;
  let used = 0;
  for (let pfn = p.data; pfn < p.end; pfn = (pfn + 2 ** p.order) as Pfn) if (pageCount(m.map, pfn) !== idle) used++;
  if (used > 0) return used;
  for (let pfn = p.data; pfn < p.end; pfn = (pfn + 1) as Pfn) pagesInit(m.map, pfn, 0, true);
  p.live = false;
  return 0;
}

/** Each page of a range knows it, has its order, and ranges lie apart beyond main memory. */
export function checkPgmaps(m: Machine): void {
  let end = m.zones.frames;
  for (const p of m.pgmaps.filter((x) => x.live).sort((a, b) => a.start - b.start)) {
    if (p.start < end) throw new Bug('ranges of device memory lie apart');
    end = p.end;
    for (let pfn = p.data; pfn < p.end; pfn = (pfn + 2 ** p.order) as Pfn)
      if (getDevPagemap(m, pfn) !== p || pageOrder(m.map, pfn) !== p.order || pageCount(m.map, pfn) < 0)
        throw new Bug(`frame ${pfn}: of device memory ${p.start}`);
  }
}
