/**
 * The memory map: one buffer of 4-byte words with a record for every page, and the folios' descriptors. Where a field lies
 * depends on the layout (memory_map.ts); what all four layouts agree on is a constant here.
 *
 *   page64, overlay    a record is 64 bytes, and a folio's descriptor lies over its first pages
 *   page32, memdesc8   a record is 32 or 8 bytes and points to a descriptor of its own, from a slab (memdesc.ts)
 *
 * A FolioId is its descriptor's place in units of 16 bytes; a descriptor begins
 *
 *   flags | lru next, prev | mapping | index | private | counts and group, as the layout has them
 *
 * A field of 8 bytes that holds a pointer in the kernel holds a row number in its low word here.
 *
 * A folio of a whole page block (2 MiB with 4 KiB pages) leaves its tails unwritten until somebody needs one of them
 * (compoundTails): a record costs 64 bytes, and memory that is huge pages throughout would cost the host 16 GiB a TiB. Such a
 * tail has no references, as all tails; that its block begins with a head of this kind says what it is.
 *
 * @kernel include/linux/mm_types.h struct folio (6.18)
 */
import type { AnonVmaId, FolioId, MappingId, MemcgId, Order, Pfn, Pgoff } from './ids.ts';
import {
  memdescAnon,
  memdescCountsGone,
  memdescFolio,
  memdescFolioGone,
  memdescFolioNew,
  memdescPageFlags,
  memdescPageMapcount,
  memdescTails,
} from './memdesc.ts';
import type { MemoryMap } from './memory_map.ts';
import { PG } from './page_flags.ts';

export type { MemoryMap } from './memory_map.ts';

const { PG_head, PG_private } = PG;

/** Words of one unit of a FolioId. */
export const FOLIO_WORDS = 4;

/** Word offsets in a folio's descriptor, the same in all layouts. */
export const W_FLAGS = 0;
/** Node and zone: the high half of the flags word. Zone in bits 19 and up (bits 51–53 of the whole word). */
export const W_ZONE = 1;
/** lru.next, a FolioId << 1. Where descriptors overlay pages: in a tail (FolioId of the head << 1) | 1. */
export const W_NEXT = 2;
export const W_PREV = 4;
export const W_MAPPING = 6;
export const W_INDEX = 8;
/** File-system private row, or the first swap slot. */
export const W_PRIVATE = 10;
/** mlock_count of an unevictable folio. In the kernel it takes the place of lru.prev: unevictable folios have no list there. */
export const W_MLOCK_COUNT = 5;
/** mapping of tail pages: a poison. */
const TAIL_MAPPING = 0x400;

export const folioFlags = (map: MemoryMap, f: FolioId): number => map[f * FOLIO_WORDS] as number;
export const folioTest = (map: MemoryMap, f: FolioId, flag: number): boolean =>
  ((map[f * FOLIO_WORDS] as number) & flag) !== 0;
export function folioSet(map: MemoryMap, f: FolioId, flag: number): void {
  map[f * FOLIO_WORDS] = (map[f * FOLIO_WORDS] as number) | flag;
}
export function folioClear(map: MemoryMap, f: FolioId, flag: number): void {
  map[f * FOLIO_WORDS] = (map[f * FOLIO_WORDS] as number) & ~flag;
}

/** log2 of the folio's pages. @kernel include/linux/mm.h folio_order (6.18) */
export function folioOrder(map: MemoryMap, f: FolioId): Order {
  const w = f * FOLIO_WORDS;
  return (
    ((map[w] as number) & PG_head) === 0 ? 0 : ((map[w + map.orderAt] as number) >>> map.orderShift) & 0xff
  ) as Order;
}
export const folioNrPages = (map: MemoryMap, f: FolioId): number => 1 << folioOrder(map, f);

/** Offset of the folio's first page in its file. */
export const folioIndex = (map: MemoryMap, f: FolioId): Pgoff => map[f * FOLIO_WORDS + W_INDEX] as Pgoff;
export function folioSetIndex(map: MemoryMap, f: FolioId, index: number): void {
  map[f * FOLIO_WORDS + W_INDEX] = index;
}
/** Page just past the folio. */
export const folioNextIndex = (map: MemoryMap, f: FolioId): number => folioIndex(map, f) + folioNrPages(map, f);

/** Low bits of the mapping word of anonymous memory; the rest is an AnonVmaId. @kernel include/linux/page-flags.h FOLIO_MAPPING_ANON (6.18) */
export const FOLIO_MAPPING_ANON = 1;

/** The address_space that holds the folio; 0 when none does. The low two bits of the word tell anonymous memory from files. */
export function folioMapping(map: MemoryMap, f: FolioId): MappingId {
  const word = map[f * FOLIO_WORDS + W_MAPPING] as number;
  return ((word & 3) === 0 ? word >> 2 : 0) as MappingId;
}
/** Is it anonymous memory? Once it was mapped, and until it is freed. @kernel include/linux/page-flags.h folio_test_anon (6.18) */
export const folioTestAnon = (map: MemoryMap, f: FolioId): boolean => (map[f * FOLIO_WORDS + W_MAPPING] & 1) !== 0;
/** The anon_vma of an anonymous folio. Trust it only while the folio is mapped. @kernel mm/util.c folio_anon_vma (6.18) */
export const folioAnonVma = (map: MemoryMap, f: FolioId): AnonVmaId =>
  (map[f * FOLIO_WORDS + W_MAPPING] >> 2) as AnonVmaId;
export function folioSetMapping(map: MemoryMap, f: FolioId, mapping: number): void {
  map[f * FOLIO_WORDS + W_MAPPING] = mapping << 2;
}

export const folioPrivate = (map: MemoryMap, f: FolioId): number => map[f * FOLIO_WORDS + W_PRIVATE] as number;
/** Attaches file-system private data (a row number above 0) and the reference that goes with it. @kernel include/linux/pagemap.h folio_attach_private (6.18) */
export function folioAttachPrivate(map: MemoryMap, f: FolioId, row: number): void {
  const w = f * FOLIO_WORDS;
  map[w + W_PRIVATE] = row;
  map[w] = (map[w] as number) | PG_private;
  map[w + map.refcount] = (map[w + map.refcount] as number) + 1;
}
/** Detaches private data and drops its reference; returns the row. @kernel include/linux/pagemap.h folio_detach_private (6.18) */
export function folioDetachPrivate(map: MemoryMap, f: FolioId): number {
  const w = f * FOLIO_WORDS;
  if (((map[w] as number) & PG_private) === 0) return 0;
  const row = map[w + W_PRIVATE] as number;
  map[w + W_PRIVATE] = 0;
  map[w] = (map[w] as number) & ~PG_private;
  map[w + map.refcount] = (map[w + map.refcount] as number) - 1;
  return row;
}

export const folioRefCount = (map: MemoryMap, f: FolioId): number => map[f * FOLIO_WORDS + map.refcount] as number;
/** Takes `n` references. The folio must have one already. @kernel include/linux/mm.h folio_get (6.18) */
export function folioRefAdd(map: MemoryMap, f: FolioId, n: number): void {
  map[f * FOLIO_WORDS + map.refcount] = (map[f * FOLIO_WORDS + map.refcount] as number) + n;
}
/** Sets the count of a frozen folio, or freezes one (0). @kernel include/linux/page_ref.h page_ref_unfreeze (6.18) */
export function folioSetCount(map: MemoryMap, f: FolioId, n: number): void {
  map[f * FOLIO_WORDS + map.refcount] = n;
}

/** The group that the folio is charged to, and whose lruvec it belongs to. */
export const folioMemcg = (map: MemoryMap, f: FolioId): MemcgId => map[f * FOLIO_WORDS + map.memcg] as MemcgId;
export function folioSetMemcg(map: MemoryMap, f: FolioId, memcg: number): void {
  map[f * FOLIO_WORDS + map.memcg] = memcg;
}

/** Links of the LRU list that holds the folio. `next` is older (towards the tail), `prev` newer; 0 ends a list. Stored shifted by one, so that bit 0 of the word is clear in all pages but tails. */
export const listNext = (map: MemoryMap, f: FolioId): FolioId =>
  ((map[f * FOLIO_WORDS + W_NEXT] as number) >>> 1) as FolioId;
export function listSetNext(map: MemoryMap, f: FolioId, next: number): void {
  map[f * FOLIO_WORDS + W_NEXT] = next << 1;
}

/** Order of a large folio, by the first word of its descriptor. */
export const largeOrder = (map: MemoryMap, w: number): number =>
  ((map[w + map.orderAt] as number) >>> map.orderShift) & 0xff;

/** First page of a folio. @kernel include/linux/mm.h folio_pfn (6.18) */
export const folioPfn = (map: MemoryMap, f: FolioId): Pfn =>
  (map.overlaid ? f >>> 2 : (map[f * FOLIO_WORDS + map.pfn] as number)) as Pfn;

/** In the marks of a large folio, ours: what is kept for single pages is not written. */
const TAILS_UNWRITTEN = 1 << 30;

/** The folio that a page belongs to; where descriptors overlay pages, every page is at least its own. NO_FOLIO: it belongs to none. @kernel include/linux/page-flags.h page_folio (6.18) */
export function pageFolio(map: MemoryMap, pfn: Pfn): FolioId {
  if (!map.overlaid) return memdescFolio(map, pfn);
  const w = pfn * RECORD;
  const link = map[w + W_NEXT] as number;
  if ((link & 1) !== 0) return (link >>> 1) as FolioId;
  return (map[w + map.refcount] !== 0 ? pfn << 2 : blockFolio(map, pfn)) as FolioId;
}

/** The folio in use that starts at a frame; NO_FOLIO: none does. For walks over all memory. */
export function folioAt(map: MemoryMap, pfn: number): FolioId {
  const f = pageFolio(map, pfn as Pfn);
  if (f === 0 || folioPfn(map, f) !== pfn) return 0 as FolioId;
  const w = f * FOLIO_WORDS;
  return ((map[w + map.refcount] as number) > 0 && (map[w + map.mapcount] as number) >= -1 ? f : 0) as FolioId;
}

/** Is the page a tail of a compound page. @kernel include/linux/page-flags.h PageTail (6.18) */
export function pageTail(map: MemoryMap, pfn: Pfn): boolean {
  const f = pageFolio(map, pfn);
  return f !== 0 && folioPfn(map, f) !== pfn;
}

/** The head of a page's block if the page is one of its unwritten tails; else the page. */
function blockFolio(map: MemoryMap, pfn: number): number {
  const first = pfn & -(1 << map.pageblockOrder);
  const w = first * RECORD;
  const head = ((map[w] as number) & PG_head) !== 0 && ((map[w + map.flags1] as number) & TAILS_UNWRITTEN) !== 0;
  return (head ? first : pfn) << 2;
}

/** A folio of 2^order pages with nothing set: no flags, no file, no group, no reference. */
export function folioInit(map: MemoryMap, pfn: Pfn, order: number): FolioId {
  const f = map.overlaid ? ((pfn << 2) as FolioId) : memdescFolioNew(map, pfn, order);
  folioReset(map, f);
  if (order > 0) prepCompound(map, f, order);
  else if (!map.overlaid) map[f * FOLIO_WORDS + map.flags1] = 0;
  return f;
}

/** Nothing is set in a folio's descriptor: no flags, no file, no group, no reference. */
export function folioReset(map: MemoryMap, f: FolioId): void {
  const w = f * FOLIO_WORDS;
  map[w] = 0;
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = 0;
  map[w + W_MAPPING] = 0;
  map[w + W_INDEX] = 0;
  map[w + W_PRIVATE] = 0;
  map[w + map.mapcount] = -1;
  map[w + map.refcount] = 0;
  map[w + map.memcg] = 0;
}

/** A folio's descriptor is done with: its pages are nobody's. The first of them. */
export function folioFini(map: MemoryMap, f: FolioId, order: number): Pfn {
  const pfn = folioPfn(map, f);
  if (order > 0) clearCompound(map, f, order);
  const w = f * FOLIO_WORDS;
  map[w] = 0;
  map[w + W_MAPPING] = 0;
  map[w + W_INDEX] = 0;
  if (!map.overlaid) memdescFolioGone(map, f, order);
  return pfn;
}

/** Marks a descriptor as that of a large folio, and links its tails. @kernel mm/page_alloc.c prep_compound_page (6.18) */
export function prepCompound(map: MemoryMap, f: FolioId, order: number): void {
  const w = f * FOLIO_WORDS;
  map[w] = (map[w] as number) | PG_head;
  const lazy = !map.overlaid || order === map.pageblockOrder;
  if (map.overlaid) writeTails(map, f, 1, lazy ? HEAD_PAGES : 1 << order);
  map[w + map.flags1] = lazy ? TAILS_UNWRITTEN : 0;
  const beside = map.orderAt === map.flags1 ? (map[w + map.flags1] as number) : 0;
  map[w + map.orderAt] = beside | (order << map.orderShift);
  if (map.nrPages > 0) map[w + map.nrPages] = 1 << order;
  map[w + map.largeMapcount] = -1;
  map[w + map.nrPagesMapped] = 0;
  map[w + map.entireMapcount] = -1;
  map[pincountAt(map, w)] = 0;
  map[w + map.mmIdMapcount] = map[w + map.mmIdMapcount + 1] = -1;
  map[w + map.mmId] = map[w + map.mmId + 1] = 0;
  if (order > 1) map[w + map.deferredNext] = 0;
}

/** Pages whose records hold fields of the folio: their tails are always written. */
const HEAD_PAGES = 4;
/** Words of the record of a page where descriptors overlay them. */
const RECORD = 16;
/** In the first tail, unused in 5.15: pins of a folio of two pages, which has no second tail. */
const W_PINCOUNT_OF_TWO = 31;

/** Word of the pins of a large folio. @kernel include/linux/mm.h folio_maybe_dma_pinned (6.18) */
export const pincountAt = (map: MemoryMap, w: number): number =>
  w + (map.pincount < 2 * RECORD || largeOrder(map, w) > 1 ? map.pincount : W_PINCOUNT_OF_TWO);

function writeTails(map: MemoryMap, f: FolioId, from: number, to: number): void {
  const head = f * FOLIO_WORDS;
  const link = (f << 1) | 1;
  const end = head + to * RECORD;
  for (let w = head + from * RECORD; w < end; w += RECORD) {
    map[w + W_NEXT] = link;
    map[w + W_MAPPING] = TAIL_MAPPING;
    map[w + W_PRIVATE] = 0;
    map[w + map.mapcount] = -1;
  }
}

/** Is nothing kept for a single page of the folio yet? Only of large folios. */
export const tailsUnwritten = (map: MemoryMap, f: FolioId): boolean =>
  ((map[f * FOLIO_WORDS + map.flags1] as number) & TAILS_UNWRITTEN) !== 0;

/** Makes room in a large folio for what is kept for one of its pages alone (a map count, a flag); call it before. */
export function compoundTails(map: MemoryMap, f: FolioId): void {
  const w = f * FOLIO_WORDS;
  const flags = map[w + map.flags1] as number;
  if ((flags & TAILS_UNWRITTEN) === 0) return;
  map[w + map.flags1] = flags & ~TAILS_UNWRITTEN;
  const order = largeOrder(map, w);
  if (map.overlaid) writeTails(map, f, HEAD_PAGES, 1 << order);
  else memdescTails(map, w, order);
}

/** Word of the flags of a folio's page: PG_anon_exclusive. Those of the first page are the folio's. */
export function pageFlagsAt(map: MemoryMap, f: FolioId, page: number): number {
  if (map.overlaid) return page * RECORD;
  const w = f * FOLIO_WORDS;
  return page === map[w + map.pfn] ? w : memdescPageFlags(map, w, page);
}
/** Word of the mappings less one of a folio's page. Those of the first page are in the folio's _mapcount. */
export function pageMapcountAt(map: MemoryMap, f: FolioId, page: number): number {
  if (map.overlaid) return page * RECORD + map.mapcount;
  const w = f * FOLIO_WORDS;
  return page === map[w + map.pfn] ? w + map.mapcount : memdescPageMapcount(map, w, page);
}

/** Says in the pages' words that a folio is anonymous, where they can say it. */
export function folioSetAnonPages(map: MemoryMap, f: FolioId): void {
  if (!map.overlaid) memdescAnon(map, f, folioOrder(map, f));
}

/** Takes a large folio apart: its tails become plain pages, and it a folio of one page. */
export function clearCompound(map: MemoryMap, f: FolioId, order: number): void {
  const w = f * FOLIO_WORDS;
  map[w] = (map[w] as number) & ~PG_head;
  const unwritten = tailsUnwritten(map, f);
  map[w + map.flags1] = 0;
  map[w + map.orderAt] = 0;
  map[w + map.largeMapcount] = 0;
  map[w + map.entireMapcount] = 0;
  if (!map.overlaid) {
    memdescCountsGone(map, w, order);
    return;
  }
  map[w + map.nrPages] = 0;
  const end = w + (unwritten ? HEAD_PAGES * RECORD : RECORD << order);
  for (let t = w + RECORD; t < end; t += RECORD) {
    map[t] = 0;
    map[t + W_NEXT] = 0;
    map[t + W_MAPPING] = 0;
  }
}
