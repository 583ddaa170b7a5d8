/**
 * Pages that belong to no folio: what a page says of its owner. A slab, a page table, a receive buffer is one block of 2^order
 * pages; the block has a type, a row number in its owner's table, and a reference count that many owners never touch.
 *
 *   type    a byte that takes the map count's place: such memory is never mapped by the rmap       PGTY_slab …
 *   value   24 bits beside the type, for the owner
 *   owner   the row of the owner's own record (struct slab, a pool, …)
 *   count   references; 0 while frozen, and for life where the owner has no use for them
 *
 * Any page of a block may be asked: tails answer with their head. Where descriptors overlay pages, all this is in the record of the
 * block's first page. Where they lie apart, a block is misc memory until it has a type, and has a descriptor of 64 bytes then, with
 * the fields where today's overlay has them; all its pages point to it. The plan has no count for misc memory in
 * memdesc8; here it is in bits of its word that are free, so that a workload does the same.
 *
 * @kernel include/linux/page-flags.h page_has_type (6.18)
 */
import { assert } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import {
  MEMDESC_DEVICE,
  MEMDESC_HUGETLB,
  MEMDESC_MISC,
  MEMDESC_NETPOOL,
  MEMDESC_SLAB,
  MEMDESC_TABLE,
  MEMDESC_ZSMALLOC,
  MISC_GUARD,
  MISC_LARGE_KMALLOC,
  MISC_OFFLINE,
  MISC_RESERVED,
  MISC_UNACCEPTED,
  MISC_UNKNOWN,
  memdescBad,
  memdescMisc,
  memdescMiscAgain,
  memdescMiscCount,
  memdescMiscOrder,
  memdescMiscRow,
  memdescMiscSetCount,
  memdescMiscSetRow,
  memdescMiscSubtype,
  memdescOwner,
  memdescOwnerGone,
  memdescOwnerNew,
  memdescSetBad,
  memdescType,
  ownerOrder,
  ownerPfn,
} from './memdesc.ts';
import { KIND_FOLIO_LARGE, KIND_NETPOOL, KIND_PTDESC, KIND_SLAB, KIND_ZPDESC } from './memdesc_slab.ts';
import {
  compoundTails,
  FOLIO_WORDS,
  folioFini,
  folioInit,
  folioOrder,
  folioPfn,
  folioTest,
  type MemoryMap,
  pageFlagsAt,
  pageFolio,
  tailsUnwritten,
} from './mm_types.ts';
import { PAGE_FLAGS_CHECK_AT_FREE, PG, PG_has_hwpoisoned, PGTY } from './page_flags.ts';
import { pageBuddy, pageGuard } from './page_free.ts';

/** Words of a block's record of 64 bytes, and of its descriptor where that lies apart. */
const W_NEXT = 2;
const W_PREV = 4;
const W_MAPPING = 6;
const W_INDEX = 8;
const W_PRIVATE = 10;
const W_POOL_COUNT = 11;
const W_TYPE = 12;
const W_COUNT = 13;
const W_MEMCG = 14;
const RECORD = 16;

/** Words below this, as signed numbers, hold a type; −1 is "no type", and never mapped. @kernel include/linux/page-flags.h page_mapcount_is_type (6.18) */
const TYPED_BELOW = 0xff << 24;
const VALUE_MASK = 0xffffff;

const typeNames: Readonly<Record<number, string>> = Object.freeze(
  Object.fromEntries(Object.entries(PGTY).map(([name, type]) => [type, name.slice('PGTY_'.length)])),
);
/** `slab`, `large_kmalloc` …; '' for no type. */
export const pageTypeName = (type: number): string => typeNames[type] ?? '';

/** What a type is where descriptors lie apart: a kind of descriptor, or a subtype of misc memory. */
const owners: readonly { readonly type: number; readonly memdesc: number; readonly kind: number }[] = [
  { type: PGTY.PGTY_slab, memdesc: MEMDESC_SLAB, kind: KIND_SLAB },
  { type: PGTY.PGTY_table, memdesc: MEMDESC_TABLE, kind: KIND_PTDESC },
  { type: PGTY.PGTY_zsmalloc, memdesc: MEMDESC_ZSMALLOC, kind: KIND_ZPDESC },
  { type: PGTY.PGTY_hugetlb, memdesc: MEMDESC_HUGETLB, kind: KIND_FOLIO_LARGE },
];
const miscs: readonly { readonly type: number; readonly subtype: number }[] = [
  { type: PGTY.PGTY_guard, subtype: MISC_GUARD },
  { type: PGTY.PGTY_offline, subtype: MISC_OFFLINE },
  { type: PGTY.PGTY_large_kmalloc, subtype: MISC_LARGE_KMALLOC },
  { type: PGTY.PGTY_unaccepted, subtype: MISC_UNACCEPTED },
];

/** First word of the record or descriptor of a block that is no folio's; −1: misc memory apart, or a folio. */
function wordOf(map: MemoryMap, pfn: Pfn): number {
  return map.overlaid ? pageFolio(map, pfn) * FOLIO_WORDS : memdescOwner(map, pfn);
}

/** Pages that were taken and are no folio's: nobody's, without a reference. `block`: any of them can be asked for all. @kernel mm/page_alloc.c prep_new_page (6.18) */
export function pagesInit(map: MemoryMap, pfn: Pfn, order: number, block: boolean): void {
  if (map.overlaid) {
    folioInit(map, pfn, block ? order : 0);
    return;
  }
  // A bad page's descriptor would be lost with its word.
  for (let p = pfn as number; p < pfn + (1 << order); p++) if (memdescBad(map, p)) memdescSetBad(map, p, false);
  if (block || order === 0) memdescMisc(map, pfn, order, MISC_UNKNOWN, 0);
  else for (let p = pfn as number; p < pfn + (1 << order); p++) memdescMisc(map, p, 0, MISC_UNKNOWN, 0);
}

/** Their end: no reference, no type, no flag that must not be there. @kernel mm/page_alloc.c __free_pages_prepare (6.18) */
export function pagesFini(map: MemoryMap, pfn: Pfn, order: number): void {
  if (!map.overlaid) {
    assert(memdescType(map, pfn) === MEMDESC_MISC, 'freeFrozenPages: in no file, not mapped, not free');
    assert(pageCount(map, pfn) === 0, 'freeFrozenPages: nobody refers to the page');
    return;
  }
  const w = pfn * RECORD;
  assert(map[w + W_COUNT] === 0, 'freeFrozenPages: nobody refers to the page');
  assert((map[w] & PAGE_FLAGS_CHECK_AT_FREE) === 0, 'freeFrozenPages: no flag that is checked at free is set');
  assert(map[w + W_MAPPING] >> 2 === 0 && map[w + W_TYPE] === -1, 'freeFrozenPages: in no file, not mapped, not free');
  folioFini(map, pageFolio(map, pfn), (map[w] & PG.PG_head) === 0 ? 0 : order);
}

/** PGTY_* of the block that the page lies in; 0: none. */
export function pageType(map: MemoryMap, pfn: Pfn): number {
  if (!map.overlaid) {
    if (pageBuddy(map, pfn)) return PGTY.PGTY_buddy;
    if (pageGuard(map, pfn)) return PGTY.PGTY_guard;
    const memdesc = memdescType(map, pfn);
    if (memdesc !== MEMDESC_MISC) return owners.find((o) => o.memdesc === memdesc)?.type ?? 0;
    const subtype = memdescMiscSubtype(map, pfn);
    return miscs.find((o) => o.subtype === subtype)?.type ?? 0;
  }
  const word = map[wordOf(map, pfn) + W_TYPE];
  return word < TYPED_BELOW ? word >>> 24 : 0;
}

/** Gives a block that has no type one. `pfn` is its first page. @kernel include/linux/page-flags.h PAGE_TYPE_OPS (6.18) */
export function setPageType(map: MemoryMap, pfn: Pfn, type: number): void {
  assert(pageType(map, pfn) === 0, 'setPageType: the page has no type and is not mapped');
  if (map.overlaid) {
    map[pfn * RECORD + W_TYPE] = type << 24;
    return;
  }
  const order = memdescMiscOrder(map, pfn);
  const count = pageCount(map, pfn);
  const owner = owners.find((o) => o.type === type);
  if (owner === undefined) {
    const misc = miscs.find((o) => o.type === type);
    memdescMiscAgain(map, pfn, order, misc?.subtype ?? MISC_UNKNOWN, memdescMiscRow(map, pfn));
  } else {
    const w = memdescOwnerNew(map, pfn, order, owner.kind, owner.memdesc);
    map[w + W_TYPE] = type << 24;
    map[w + W_COUNT] = count;
  }
}

/** Takes the type away, and the value with it. */
export function clearPageType(map: MemoryMap, pfn: Pfn, type: number): void {
  assert(pageType(map, pfn) === type, 'clearPageType: the page has this type');
  if (map.overlaid) map[pfn * RECORD + W_TYPE] = -1;
  else if (memdescOwner(map, pfn) >= 0) {
    const count = pageCount(map, pfn);
    memdescOwnerGone(map, pfn);
    setPageCount(map, pfn, count);
  } else memdescMiscAgain(map, pfn, memdescMiscOrder(map, pfn), MISC_UNKNOWN, 0);
}

export function setPageTypeValue(map: MemoryMap, pfn: Pfn, value: number): void {
  const w = wordOf(map, pfn);
  assert(w >= 0, 'setPageTypeValue: the block has a descriptor');
  map[w + W_TYPE] = (map[w + W_TYPE] & ~VALUE_MASK) | (value & VALUE_MASK);
}

/** Is it a net pool's, with a descriptor apart? That has 48 bytes: neither a type nor a group, and the count in the upper half of pp_ref_count (ours). */
const isPoolApart = (map: MemoryMap, pfn: Pfn): boolean => !map.overlaid && memdescType(map, pfn) === MEMDESC_NETPOOL;

/** Row of the owner's record. */
export function pageOwner(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  return w >= 0 ? map[w + W_PRIVATE] : memdescMiscRow(map, pfn);
}
export function setPageOwner(map: MemoryMap, pfn: Pfn, row: number): void {
  const w = wordOf(map, pfn);
  if (w >= 0) map[w + W_PRIVATE] = row;
  else memdescMiscAgain(map, pageHead(map, pfn), memdescMiscOrder(map, pfn), memdescMiscSubtype(map, pfn), row);
}

/** The group that the block is charged to; 0 for misc memory and net pools, which say nothing of it. */
export function pageMemcg(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  return w < 0 || isPoolApart(map, pfn) ? 0 : map[w + W_MEMCG];
}
export function setPageMemcg(map: MemoryMap, pfn: Pfn, memcg: number): void {
  const w = wordOf(map, pfn);
  assert(w >= 0 || memcg === 0, 'setPageMemcg: the block has a descriptor');
  if (w >= 0) map[w + W_MEMCG] = memcg;
}

/** References of a page, or of the block it lies in. @kernel include/linux/page_ref.h page_count (6.18) */
export function pageCount(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  if (w >= 0) return map[w + (isPoolApart(map, pfn) ? W_POOL_COUNT : W_COUNT)];
  const f = pageFolio(map, pfn);
  if (f !== 0) return map[f * FOLIO_WORDS + map.refcount];
  return memdescMiscCount(map, pageHead(map, pfn));
}
export function setPageCount(map: MemoryMap, pfn: Pfn, n: number): void {
  const w = wordOf(map, pfn);
  const f = w >= 0 ? 0 : pageFolio(map, pfn);
  if (w >= 0) map[w + (isPoolApart(map, pfn) ? W_POOL_COUNT : W_COUNT)] = n;
  else if (f !== 0) map[f * FOLIO_WORDS + map.refcount] = n;
  else memdescMiscSetCount(map, pageHead(map, pfn), n);
}
/** Drops the one reference of a block. */
export function dropLastCount(map: MemoryMap, pfn: Pfn): void {
  assert(pageCount(map, pfn) === 1, 'freePages: nobody else refers to the page');
  setPageCount(map, pfn, 0);
}

/** First page of the block, and the log2 of its pages. */
export function pageHead(map: MemoryMap, pfn: Pfn): Pfn {
  const f = pageFolio(map, pfn);
  if (f !== 0) return folioPfn(map, f);
  const w = memdescOwner(map, pfn);
  return w >= 0 ? ownerPfn(map, w) : ((pfn & -(1 << memdescMiscOrder(map, pfn))) as Pfn);
}
export function pageOrder(map: MemoryMap, pfn: Pfn): number {
  const f = pageFolio(map, pfn);
  if (f !== 0) return folioOrder(map, f);
  const w = memdescOwner(map, pfn);
  return w >= 0 ? ownerOrder(map, w) : memdescMiscOrder(map, pfn);
}

/** Flags of one page, whatever its block's are. Apart, pages that are no folio's are bad by themselves, and reserved as misc memory. */
export function setPageFlag(map: MemoryMap, pfn: Pfn, flag: number): void {
  const w = flagWord(map, pfn, flag, true);
  if (w >= 0) map[w] |= flag;
  else if (flag === PG.PG_hwpoison) memdescSetBad(map, pfn, true);
  else if (flag === PG.PG_reserved) memdescMiscAgain(map, pfn, 0, MISC_RESERVED, 0);
}
export function clearPageFlag(map: MemoryMap, pfn: Pfn, flag: number): void {
  const w = flagWord(map, pfn, flag, true);
  if (w >= 0) map[w] &= ~flag;
  else if (flag === PG.PG_hwpoison) memdescSetBad(map, pfn, false);
  else if (flag === PG.PG_reserved) memdescMiscAgain(map, pfn, 0, MISC_UNKNOWN, 0);
}
export function pageFlag(map: MemoryMap, pfn: Pfn, flag: number): boolean {
  const f = pageFolio(map, pfn);
  if (f !== 0 && folioTest(map, f, PG.PG_head) && folioPfn(map, f) !== pfn && tailsUnwritten(map, f)) return false;
  const w = flagWord(map, pfn, flag, false);
  if (w >= 0) return (map[w] & flag) !== 0;
  if (flag === PG.PG_hwpoison) return memdescBad(map, pfn);
  return flag === PG.PG_reserved && memdescType(map, pfn) === MEMDESC_MISC && memdescMiscSubtype(map, pfn) === 0;
}

/** Word of a flag of a page; −1: it has none. Before anything is kept for a page of a folio alone (`write`), there is room for it. */
function flagWord(map: MemoryMap, pfn: Pfn, flag: number, write: boolean): number {
  const f = pageFolio(map, pfn);
  if (f === 0) {
    if (map.pageWords > 2) return pfn * map.pageWords;
    return flag === PG.PG_hwpoison ? -1 : memdescOwner(map, pfn);
  }
  if (write && folioTest(map, f, PG.PG_head)) compoundTails(map, f);
  return pageFlagsAt(map, f, pfn);
}

/** Has a block a bad page? Of a large folio a mark in the flags word of its second page says so; apart, other blocks have no such mark, and every page is asked. @kernel include/linux/page-flags.h folio_test_has_hwpoisoned (6.18) */
export function folioHasHwpoisoned(map: MemoryMap, pfn: Pfn): boolean {
  const f = pageFolio(map, pfn);
  if (f === 0) {
    let p = pfn as number;
    const end = pfn + (1 << pageOrder(map, pfn));
    while (p < end && !memdescBad(map, p)) p++;
    return p < end;
  }
  return folioTest(map, f, PG.PG_head) && (map[f * FOLIO_WORDS + map.flags1] & PG_has_hwpoisoned) !== 0;
}
export function setFolioHasHwpoisoned(map: MemoryMap, pfn: Pfn, has: boolean): void {
  const f = pageFolio(map, pfn);
  if (f === 0) return;
  const w = f * FOLIO_WORDS + map.flags1;
  map[w] = has ? map[w] | PG_has_hwpoisoned : map[w] & ~PG_has_hwpoisoned;
}

/** First word of a net pool's page: no list link has this bit. @kernel include/linux/poison.h PP_SIGNATURE (6.18) */
const PP_SIGNATURE = 0x40000040;

/** The network receive pool that a page belongs to; 0: none. It has no type, but a signature. @kernel include/net/netmem.h struct netmem_desc (6.18) */
export function pageNetpool(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  return w >= 0 && map[w + W_NEXT] === PP_SIGNATURE ? map[w + W_PREV] : 0;
}
/** Marks a block's first page as a pool's, or (0) as nobody's. */
export function setPageNetpool(map: MemoryMap, pfn: Pfn, pool: number): void {
  if (!map.overlaid) {
    const count = pageCount(map, pfn);
    if (pool === 0) memdescOwnerGone(map, pfn);
    else memdescOwnerNew(map, pfn, memdescMiscOrder(map, pfn), KIND_NETPOOL, MEMDESC_NETPOOL);
    setPageCount(map, pfn, count);
    if (pool === 0) return;
  }
  const w = wordOf(map, pfn);
  map[w + W_NEXT] = pool === 0 ? 0 : PP_SIGNATURE;
  map[w + W_PREV] = pool;
  map[w + W_INDEX] = 0;
}
/** Pieces of a pool's page that are out. @kernel include/net/page_pool/helpers.h page_pool_fragment_page (6.18) */
export const ppRefCount = (map: MemoryMap, pfn: Pfn): number => map[wordOf(map, pfn) + W_PRIVATE];
export function setPpRefCount(map: MemoryMap, pfn: Pfn, n: number): void {
  map[wordOf(map, pfn) + W_PRIVATE] = n;
}

/** Row of a device page's range, above 0: it takes the list link's place. @kernel include/linux/mm_types.h page_pgmap (6.18) */
export function pagePgmap(map: MemoryMap, pfn: Pfn): number {
  const w = wordOf(map, pfn);
  return w < 0 ? 0 : map[w + W_NEXT] >>> 1;
}
export function setPagePgmap(map: MemoryMap, pfn: Pfn, row: number): void {
  if (wordOf(map, pfn) < 0)
    map[memdescOwnerNew(map, pfn, memdescMiscOrder(map, pfn), KIND_PTDESC, MEMDESC_DEVICE) + W_TYPE] = -1;
  map[wordOf(map, pfn) + W_NEXT] = row << 1;
}

/** A list through pages of an owner: next page, 0 ends it. Misc memory has no other word for it than its owner's row. */
export function pageNext(map: MemoryMap, pfn: Pfn): Pfn {
  const w = wordOf(map, pfn);
  return (w < 0 ? memdescMiscRow(map, pfn) : map[w + W_NEXT] >>> 1) as Pfn;
}
export function setPageNext(map: MemoryMap, pfn: Pfn, next: Pfn | 0): void {
  const w = wordOf(map, pfn);
  if (w < 0) memdescMiscSetRow(map, pfn, next);
  else map[w + W_NEXT] = next << 1;
}
