/**
 * Pages that belong to no folio: what a page says of its owner. A slab, a page table, a receive buffer is one block of 2^order
 * pages; the block has a type, a row number in its owner's table, and a reference count that many owners never touch.
 *
 *   type    a byte that takes the map count's place: such memory is never mapped by the rmap       PGTY_slab …
 *   value   24 bits beside the type, for the owner
 *   owner   the row of the owner's own record (struct slab, a pool, …)
 *   count   references; 0 while frozen, and for life where the owner has no use for them
 *
 * Any page of a block may be asked: tails answer with their head. This file is the only one beside mm_types.ts that knows in
 * which word of a page these lie.
 *
 * @kernel include/linux/page-flags.h page_has_type (6.18)
 */
import { assert } from '../base/errors.ts';
import type { FolioId, NO_PFN, Pfn } from './ids.ts';
import {
  compoundTails,
  folioOrder,
  folioPfn,
  folioTest,
  initFolio,
  type MemoryMap,
  PAGE_WORDS,
  pageFolio,
  tailsUnwritten,
  W_FLAGS_1,
  W_INDEX,
  W_MAPCOUNT,
  W_NEXT,
  W_PREV,
  W_PRIVATE,
  W_REFCOUNT,
} from './mm_types.ts';
import { PG, PG_has_hwpoisoned, PGTY } from './page_flags.ts';

/** Words below this, as signed numbers, hold a type; −1 is "no type", and never mapped. @kernel include/linux/page-flags.h page_mapcount_is_type (6.18) */
const TYPED_BELOW = 0xff << 24;
const VALUE_MASK = 0xffffff;

const typeNames: Readonly<Record<number, string>> = Object.freeze(
  Object.fromEntries(Object.entries(PGTY).map(([name, type]) => [type, name.slice('PGTY_'.length)])),
);
/** `slab`, `large_kmalloc` …; '' for no type. */
export const pageTypeName = (type: number): string => typeNames[type] ?? '';

const wordOf = (map: MemoryMap, pfn: Pfn): number => folioPfn(map, pageFolio(map, pfn)) * PAGE_WORDS;

/** Bytes of the memory map that one page takes. */
export const PAGE_STRUCT_BYTES: number = PAGE_WORDS * 4;

/** Makes one page plain: no type, no flag, no owner, no reference. */
export function initPage(map: MemoryMap, pfn: Pfn): void {
  initFolio(map, pfn as number as FolioId);
}

/** PGTY_* of the block that the page lies in; 0: none. */
export function pageType(map: MemoryMap, pfn: Pfn): number {
  const word = map[wordOf(map, pfn) + W_MAPCOUNT];
  return word < TYPED_BELOW ? word >>> 24 : 0;
}

/** Gives a block that has no type one. `pfn` is its first page. @kernel include/linux/page-flags.h PAGE_TYPE_OPS (6.18) */
export function setPageType(map: MemoryMap, pfn: Pfn, type: number): void {
  const w = pfn * PAGE_WORDS + W_MAPCOUNT;
  assert(map[w] === -1, 'setPageType: the page has no type and is not mapped');
  map[w] = type << 24;
}

/** Takes the type away, and the value with it. */
export function clearPageType(map: MemoryMap, pfn: Pfn, type: number): void {
  const w = pfn * PAGE_WORDS + W_MAPCOUNT;
  assert(map[w] >>> 24 === type, 'clearPageType: the page has this type');
  map[w] = -1;
}

/** What the owner keeps beside the type. @kernel mm/zsmalloc.c get_first_obj_offset (6.18) */
export const pageTypeValue = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_MAPCOUNT] & VALUE_MASK;
export function setPageTypeValue(map: MemoryMap, pfn: Pfn, value: number): void {
  const w = pfn * PAGE_WORDS + W_MAPCOUNT;
  map[w] = (map[w] & ~VALUE_MASK) | (value & VALUE_MASK);
}

/** Row of the owner's record. */
export const pageOwner = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_PRIVATE];
export function setPageOwner(map: MemoryMap, pfn: Pfn, row: number): void {
  map[pfn * PAGE_WORDS + W_PRIVATE] = row;
}

/** References of a page, or of the block it lies in. @kernel include/linux/page_ref.h page_count (6.18) */
export const pageCount = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_REFCOUNT];
export function setPageCount(map: MemoryMap, pfn: Pfn, n: number): void {
  map[pfn * PAGE_WORDS + W_REFCOUNT] = n;
}

/** First page of the block, and the log2 of its pages. */
export const pageHead = (map: MemoryMap, pfn: Pfn): Pfn => folioPfn(map, pageFolio(map, pfn));
export const pageOrder = (map: MemoryMap, pfn: Pfn): number => folioOrder(map, pageFolio(map, pfn));

/** Flags of one page, whatever its block's are. */
export function setPageFlag(map: MemoryMap, pfn: Pfn, flag: number): void {
  writeTail(map, pfn);
  map[pfn * PAGE_WORDS] |= flag;
}
export function clearPageFlag(map: MemoryMap, pfn: Pfn, flag: number): void {
  writeTail(map, pfn);
  map[pfn * PAGE_WORDS] &= ~flag;
}
export const pageFlag = (map: MemoryMap, pfn: Pfn, flag: number): boolean => {
  const f = pageFolio(map, pfn);
  if (folioPfn(map, f) !== pfn && tailsUnwritten(map, f)) return false;
  return (map[pfn * PAGE_WORDS] & flag) !== 0;
};

/** Before anything is kept for a page alone, its tail is real. */
function writeTail(map: MemoryMap, pfn: Pfn): void {
  const f = pageFolio(map, pfn);
  if (folioTest(map, f, PG.PG_head)) compoundTails(map, f);
}

/** A large folio with a bad page: a mark in the flags word of its second page. @kernel include/linux/page-flags.h folio_test_has_hwpoisoned (6.18) */
export const folioHasHwpoisoned = (map: MemoryMap, pfn: Pfn): boolean => {
  const w = wordOf(map, pfn);
  return (map[w] & PG.PG_head) !== 0 && (map[w + W_FLAGS_1] & PG_has_hwpoisoned) !== 0;
};
export function setFolioHasHwpoisoned(map: MemoryMap, pfn: Pfn, has: boolean): void {
  const w = wordOf(map, pfn) + W_FLAGS_1;
  map[w] = has ? map[w] | PG_has_hwpoisoned : map[w] & ~PG_has_hwpoisoned;
}

/** First word of a net pool's page: no list link has this bit. @kernel include/linux/poison.h PP_SIGNATURE (6.18) */
const PP_SIGNATURE = 0x40000040;

/** The network receive pool that a page belongs to; 0: none. It has no type, but a signature. @kernel include/net/netmem.h struct netmem_desc (6.18) */
export function pageNetpool(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  return map[w + W_NEXT] === PP_SIGNATURE ? map[w + W_PREV] : 0;
}
/** Marks a block's first page as a pool's, or (0) as nobody's. */
export function setPageNetpool(map: MemoryMap, pfn: Pfn, pool: number): void {
  const w = pfn * PAGE_WORDS;
  map[w + W_NEXT] = pool === 0 ? 0 : PP_SIGNATURE;
  map[w + W_PREV] = pool;
  map[w + W_INDEX] = 0;
}
/** Pieces of a pool's page that are out. @kernel include/net/page_pool/helpers.h page_pool_fragment_page (6.18) */
export const ppRefCount = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_PRIVATE];
export function setPpRefCount(map: MemoryMap, pfn: Pfn, n: number): void {
  map[pfn * PAGE_WORDS + W_PRIVATE] = n;
}

/** Row of a device page's range, above 0: it takes the list link's place. @kernel include/linux/mm_types.h page_pgmap (6.18) */
export const pagePgmap = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_NEXT] >>> 1;
export function setPagePgmap(map: MemoryMap, pfn: Pfn, row: number): void {
  map[pfn * PAGE_WORDS + W_NEXT] = row << 1;
}

/** A list through pages of an owner: next page, 0 ends it. */
export const pageNext = (map: MemoryMap, pfn: Pfn): Pfn => (map[pfn * PAGE_WORDS + W_NEXT] >>> 1) as Pfn;
export function setPageNext(map: MemoryMap, pfn: Pfn, next: Pfn | typeof NO_PFN): void {
  map[pfn * PAGE_WORDS + W_NEXT] = next << 1;
}
