/**
 * vmalloc: memory that is contiguous in the kernel's addresses only. An area has its pages one by one from the page allocator, so
 * that it never fails for fragmentation; a large one may ask for pages of PMD size instead, and take single ones where there are
 * none. Either way each page is a block of its own with one reference, of no type; the area knows its pages, not they the area.
 *
 *   area [ p | p | p | p ] guard     addresses: the lowest hole that is large enough
 *
 * Invariants (checkVmalloc):
 *   W1  areas do not overlap, and a page without memory lies behind each;
 *   W2  each page of an area has one reference and no type, and is in one area;
 *   W3  nr_vmalloc_pages is the number of their pages.
 *
 * Differs: freed addresses can be used again at once (the kernel gathers them first, to flush the TLB less often); the kernel's own
 * page tables are not modelled.
 *
 * @kernel mm/vmalloc.c __vmalloc_node_range_noprof (6.18)
 */
import { Bug, QuireError } from '../base/errors.ts';
import { GFP_KERNEL } from './gfp.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { MAX_NR_ZONES } from './mmzone.ts';
import { allocPages, freePages } from './page_alloc.ts';
import { pageCount, pagesInit, pageType, setPageCount } from './page_type.ts';
import type { KmemCacheId } from './slab.ts';
import { kfree, kmalloc, kmemCacheCreate } from './slab_common.ts';
import { kmemCacheAlloc, kmemCacheFree } from './slub.ts';

/** First address for areas, with four levels of tables. @kernel arch/x86/include/asm/pgtable_64_types.h VMALLOC_START (6.18) */
const VMALLOC_START = 2 ** 46;
const VMALLOC_END: number = VMALLOC_START + 2 ** 45;
/** @kernel include/linux/vmalloc.h struct vm_struct (6.18) */
const VM_STRUCT_BYTES = 72;
/** @kernel include/linux/vmalloc.h struct vmap_area (6.18) */
const VMAP_AREA_BYTES = 72;

/** One area. `addr` and `size` in bytes, the guard page left out. */
export interface VmArea {
  readonly addr: number;
  readonly size: number;
  /** Order of the pages that were asked for: 0, or that of a PMD. */
  readonly order: number;
  readonly pages: Int32Array;
  /** Addresses of its records: struct vm_struct, struct vmap_area, the array of page pointers. */
  readonly records: readonly [number, number, number];
}

export interface Vmalloc {
  /** By address. */
  readonly areas: VmArea[];
  nrPages: number;
  cache: KmemCacheId | 0;
}

export const vmallocInit = (): Vmalloc => ({ areas: [], nrPages: 0, cache: 0 });

/** Memory of `bytes`, in single pages: its address, or 0. @kernel mm/vmalloc.c vmalloc_noprof (6.18) */
export const vmalloc = (m: Machine, bytes: number): number => vmallocNode(m, bytes, false);

/** The same in pages of PMD size where there are any. @kernel mm/vmalloc.c vmalloc_huge_node_noprof (6.18) */
export const vmallocHuge = (m: Machine, bytes: number): number => vmallocNode(m, bytes, true);

function vmallocNode(m: Machine, bytes: number, huge: boolean): number {
  const { pageSize } = m.config;
  if (!(bytes > 0) || !Number.isFinite(bytes))
    throw new QuireError('EINVAL', `vmalloc of ${bytes} bytes: expected at least one`);
  let managed = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) managed += m.zones.zone.managed[z];
  if (bytes / pageSize > managed) return 0;
  const { pmdOrder } = m.zones;
  const pmd = pageSize * 2 ** pmdOrder;
  const size = Math.ceil(bytes / pageSize) * pageSize;
  if (huge && bytes >= pmd && pmdOrder <= m.zones.maxOrder) {
    const addr = areaAlloc(m, Math.ceil(bytes / pmd) * pmd, pmdOrder);
    if (addr !== 0) return addr;
  }
  return areaAlloc(m, size, 0);
}

/** @kernel mm/vmalloc.c __vmalloc_area_node (6.18) */
function areaAlloc(m: Machine, size: number, order: number): number {
  const v = m.vmalloc;
  const { pageSize } = m.config;
  const addr = findHole(v.areas, size + pageSize, pageSize * 2 ** order);
  if (addr === 0) return 0;
  if (v.cache === 0) v.cache = kmemCacheCreate(m, 'vmap_area', VMAP_AREA_BYTES);
  const nr = size / pageSize;
  // The array of pointers is an area itself when it needs more than a page. This one is listed first, so that it gets another address.
  const area = { addr, size, order, pages: new Int32Array(nr), records: [0, 0, 0] as [number, number, number] };
  insert(v.areas, area);
  const { records } = area;
  records[0] = kmalloc(m, VM_STRUCT_BYTES, GFP_KERNEL);
  records[1] = kmemCacheAlloc(m, v.cache, GFP_KERNEL);
  records[2] = nr * 8 > pageSize ? vmalloc(m, nr * 8) : kmalloc(m, nr * 8, GFP_KERNEL);
  const got = records.every((r) => r !== 0) ? vmAreaAllocPages(m, order, area.pages) : 0;
  v.nrPages += got;
  if (got === nr) return addr;
  release(m, area, got);
  return 0;
}

/** Fills an array of pages; how many there were. Larger blocks are split: callers count on single pages. @kernel mm/vmalloc.c vm_area_alloc_pages (6.18) */
function vmAreaAllocPages(m: Machine, order: number, pages: Int32Array): number {
  for (let i = 0; i < pages.length; i += 1 << order) {
    const pfn = allocPages(m, GFP_KERNEL, order);
    if (pfn === NO_PFN) return i;
    for (let k = 0; k < 1 << order; k++) {
      if (k > 0) pagesInit(m.map, (pfn + k) as Pfn, 0, true);
      setPageCount(m.map, (pfn + k) as Pfn, 1);
      pages[i + k] = pfn + k;
    }
  }
  return pages.length;
}

/** Gives an area back. @kernel mm/vmalloc.c vfree (6.18) */
export function vfree(m: Machine, addr: number): void {
  const area = findVmArea(m, addr);
  if (area === undefined || area.addr !== addr)
    throw new QuireError('EINVAL', `vfree of ${addr}: no area begins there`);
  release(m, area, area.pages.length);
}

function release(m: Machine, area: VmArea, nr: number): void {
  const v = m.vmalloc;
  v.areas.splice(v.areas.indexOf(area), 1);
  for (let i = 0; i < nr; i++) freePages(m, area.pages[i] as Pfn, 0);
  v.nrPages -= nr;
  const [vm, va, array] = area.records;
  if (array >= VMALLOC_START) vfree(m, array);
  else if (array !== 0) kfree(m, array);
  if (va !== 0) kmemCacheFree(m, v.cache as KmemCacheId, va);
  if (vm !== 0) kfree(m, vm);
}

/** The area that an address lies in. @kernel mm/vmalloc.c find_vm_area (6.18) */
export function findVmArea(m: Machine, addr: number): VmArea | undefined {
  const { areas } = m.vmalloc;
  const area = areas[firstAfter(areas, addr) - 1];
  return area !== undefined && addr < area.addr + area.size ? area : undefined;
}

/** The frame behind an address; 0: none. @kernel mm/vmalloc.c vmalloc_to_page (6.18) */
export function vmallocToPage(m: Machine, addr: number): Pfn {
  const area = findVmArea(m, addr);
  return (area === undefined ? 0 : area.pages[Math.floor((addr - area.addr) / m.config.pageSize)]) as Pfn;
}

/** Number of areas that begin at or below an address. */
function firstAfter(areas: readonly VmArea[], addr: number): number {
  let low = 0;
  let high = areas.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if ((areas[mid] as VmArea).addr <= addr) low = mid + 1;
    else high = mid;
  }
  return low;
}

function insert(areas: VmArea[], area: VmArea): void {
  areas.splice(firstAfter(areas, area.addr), 0, area);
}

/** The lowest address with that much room, or 0. Each area's guard page is part of its room. @kernel mm/vmalloc.c alloc_vmap_area (6.18) */
function findHole(areas: readonly VmArea[], room: number, align: number): number {
  let from = VMALLOC_START;
  for (const area of areas) {
    const at = Math.ceil(from / align) * align;
    if (at + room <= area.addr) return at;
    from = area.addr + area.size + guardBytes(area);
  }
  const at = Math.ceil(from / align) * align;
  return at + room <= VMALLOC_END ? at : 0;
}

const guardBytes = (area: VmArea): number => area.size / area.pages.length;

/** W1 to W3. */
export function checkVmalloc(m: Machine): void {
  const claim = (holds: boolean, rule: string): void => {
    if (!holds) throw new Bug(rule);
  };
  const seen = new Set<number>();
  let end = VMALLOC_START;
  for (const area of m.vmalloc.areas) {
    claim(area.addr >= end && area.addr % (m.config.pageSize * 2 ** area.order) === 0, 'W1 areas lie apart');
    end = area.addr + area.size + m.config.pageSize;
    for (const pfn of area.pages) {
      claim(!seen.has(pfn), 'W2 a page is in one area');
      seen.add(pfn);
      claim(pageCount(m.map, pfn as Pfn) === 1 && pageType(m.map, pfn as Pfn) === 0, 'W2 one reference, no type');
    }
  }
  claim(seen.size === m.vmalloc.nrPages, 'W3 nr_vmalloc_pages');
}
