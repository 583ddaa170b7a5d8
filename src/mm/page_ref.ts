/**
 * References to a page by its frame, as code that was given a page and not a folio takes them. Memory without a folio has no
 * use for such a reference: its owner frees it when it likes, whatever the count says. The kernel warns about slabs and large
 * kmalloc and does nothing, trips over a frozen page when it checks itself, and counts on page tables and zsmalloc pages for
 * nothing; under memory descriptors none of them has a count. Here each is an error that says what to use.
 */
import { QuireError } from '../base/errors.ts';
import { NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { freeZoneDeviceFolio } from './memremap.ts';
import { pageFolio } from './mm_types.ts';
import { freePages } from './page_alloc.ts';
import { PGTY } from './page_flags.ts';
import { pageCount, pageHead, pageNetpool, pageOrder, pageType, pageTypeName, setPageCount } from './page_type.ts';
import { folioPut } from './swap.ts';

/** What to use in place of a reference, by type. */
const instead: Readonly<Record<number, string>> = {
  [PGTY.PGTY_buddy]: 'allocate the page first (folioAlloc)',
  [PGTY.PGTY_offline]: 'it is lent or not online: wait until its owner brings it online',
  [PGTY.PGTY_table]: 'a page table lives as long as its entry: hold the address space (mmget)',
  [PGTY.PGTY_guard]: 'a guard page holds nothing: allocate a page of your own',
  [PGTY.PGTY_slab]: 'keep the object (kmemCacheFree ends it), or allocate a folio',
  [PGTY.PGTY_zsmalloc]: 'map the object by its handle (zsMalloc, zsFree)',
  [PGTY.PGTY_unaccepted]: 'accept it first (acceptMemory)',
  [PGTY.PGTY_large_kmalloc]: 'keep the pointer (kfree ends it), or allocate a folio',
};

/** Why a page cannot be referred to; null: it can. */
export function noReference(m: Machine, pfn: Pfn): string | null {
  const type = pageType(m.map, pfn);
  const other = instead[type];
  if (other !== undefined) return `frame ${pfn}: page type ${pageTypeName(type)} takes no reference: ${other}`;
  if (pageCount(m.map, pfn) > 0) return null;
  if (pfn >= m.zones.frames)
    return `frame ${pfn}: device memory that nobody uses: its driver gives it out (zoneDevicePageInit)`;
  const what = pageNetpool(m.map, pfn) !== 0 ? 'of a net pool' : type === 0 ? 'without a type' : pageTypeName(type);
  return `frame ${pfn}: frozen page ${what}: nobody refers to it, so a reference would outlive it: allocate with allocPages or folioAlloc`;
}

/** A reference to the folio of a page, or, where pages that are no folio's belong to none, to the page. @kernel include/linux/mm.h get_page (6.18) */
export function getPage(m: Machine, pfn: Pfn): void {
  const why = noReference(m, pfn);
  if (why !== null) throw new QuireError('EINVAL', why);
  setPageCount(m.map, pfn, pageCount(m.map, pfn) + 1);
}

/** The same where it can be had; false: it cannot. @kernel include/linux/mm.h try_get_page (6.18) */
export function tryGetPage(m: Machine, pfn: Pfn): boolean {
  if (noReference(m, pfn) !== null) return false;
  getPage(m, pfn);
  return true;
}

/** Drops a reference of getPage; with the last one the memory is freed. @kernel include/linux/mm.h put_page (6.18) */
export function putPage(m: Machine, pfn: Pfn): void {
  const why = noReference(m, pfn);
  if (why !== null) throw new QuireError('EINVAL', why);
  const folio = pageFolio(m.map, pfn);
  const n = pageCount(m.map, pfn);
  if (folio !== NO_FOLIO) folioPut(m, folio);
  else if (n > 1) setPageCount(m.map, pfn, n - 1);
  else if (pfn >= m.zones.frames) {
    setPageCount(m.map, pfn, 0);
    freeZoneDeviceFolio(m, pageHead(m.map, pfn));
  } else freePages(m, pageHead(m.map, pfn), pageOrder(m.map, pfn));
}
