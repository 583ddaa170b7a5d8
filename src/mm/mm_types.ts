/**
 * The memory map on layout `overlay` (6.18): one record of 64 bytes a page, in one buffer; struct folio lies over the first
 * four. Offsets here are in 4-byte words, the unit of the buffer; bytes are four times that. A field of 8 bytes that holds a
 * pointer in the kernel holds a row number in its low word here. Nothing outside this file knows an offset's value, and only
 * the functions of this file, the buddy allocator's and the LRU lists' read the buffer: other layouts take their place here.
 *
 *   page 0  flags | lru next, prev | mapping | index | private | _mapcount _refcount | memcg
 *   page 1  order in the low byte of flags, large-folio marks | compound_head | map counts … | _nr_pages
 *   page 2  compound_head | deferred list          page 3  compound_head | hugetlb
 *
 * A folio of a whole page block (2 MiB with 4 KiB pages) leaves its tails unwritten until somebody needs one of them
 * (compoundTails): a record costs 64 bytes, and memory that is huge pages throughout would cost the host 16 GiB a TiB. Such a
 * tail has no references, as all tails; that its block begins with a head of this kind says what it is.
 *
 * @kernel include/linux/mm_types.h struct folio (6.18)
 */
import type { AnonVmaId, FolioId, MappingId, MemcgId, Order, Pfn, Pgoff } from './ids.ts';
import { PG } from './page_flags.ts';

const { PG_head, PG_private } = PG;

/** Words of one struct page. */
export const PAGE_WORDS = 16;

/** Word offsets of the fields of page 0, whoever owns the page. */
export const W_FLAGS = 0;
/** Node and zone: the high half of the flags word. Zone in bits 19 and up (bits 51–53 of the whole word). */
export const W_ZONE = 1;
/** lru.next / buddy_list.next / pcp_list.next, a row << 1; in a tail: (head page's frame << 1) | 1. */
export const W_NEXT = 2;
export const W_PREV = 4;
export const W_MAPPING = 6;
export const W_INDEX = 8;
/** Folio: file-system private row. Free block: its order. */
export const W_PRIVATE = 10;
/** _mapcount, −1 based, or the page type in the top byte. */
export const W_MAPCOUNT = 12;
export const W_REFCOUNT = 13;
export const W_MEMCG = 14;
/** Page 1: the low byte is the folio's order. */
export const W_FLAGS_1 = 16;
export const W_LARGE_MAPCOUNT = 20;
export const W_NR_PAGES_MAPPED = 21;
export const W_ENTIRE_MAPCOUNT = 22;
export const W_PINCOUNT = 23;
/** Two owners: mappings of each less one, and its MmId (0: free); the top bit of the first id says "mapped shared". @kernel include/linux/mm_types.h struct folio (6.18) */
export const W_MM_ID_MAPCOUNT = 24;
export const W_MM_ID = 26;
export const W_NR_PAGES = 30;
/** Page 2: links of the deferred split queue; 0: not queued, −1: an end. */
export const W_DEFERRED_NEXT = 36;
export const W_DEFERRED_PREV = 38;
/** mlock_count of an unevictable folio. In the kernel it takes the place of lru.prev: unevictable folios have no list there. */
export const W_MLOCK_COUNT = 5;
/** mapping of tail pages: a poison. */
export const TAIL_MAPPING = 0x400;

export type MemoryMap = Int32Array;

export const folioFlags = (map: MemoryMap, f: FolioId): number => map[f * PAGE_WORDS] as number;
export const folioTest = (map: MemoryMap, f: FolioId, flag: number): boolean =>
  ((map[f * PAGE_WORDS] as number) & flag) !== 0;
export function folioSet(map: MemoryMap, f: FolioId, flag: number): void {
  map[f * PAGE_WORDS] = (map[f * PAGE_WORDS] as number) | flag;
}
export function folioClear(map: MemoryMap, f: FolioId, flag: number): void {
  map[f * PAGE_WORDS] = (map[f * PAGE_WORDS] as number) & ~flag;
}

/** log2 of the folio's pages. @kernel include/linux/mm.h folio_order (6.18) */
export function folioOrder(map: MemoryMap, f: FolioId): Order {
  const w = f * PAGE_WORDS;
  return (((map[w] as number) & PG_head) === 0 ? 0 : (map[w + W_FLAGS_1] as number) & 0xff) as Order;
}
export const folioNrPages = (map: MemoryMap, f: FolioId): number => 1 << folioOrder(map, f);

/** Offset of the folio's first page in its file. */
export const folioIndex = (map: MemoryMap, f: FolioId): Pgoff => map[f * PAGE_WORDS + W_INDEX] as Pgoff;
export function folioSetIndex(map: MemoryMap, f: FolioId, index: number): void {
  map[f * PAGE_WORDS + W_INDEX] = index;
}
/** Page just past the folio. */
export const folioNextIndex = (map: MemoryMap, f: FolioId): number => folioIndex(map, f) + folioNrPages(map, f);

/** Low bits of the mapping word of anonymous memory; the rest is an AnonVmaId. @kernel include/linux/page-flags.h FOLIO_MAPPING_ANON (6.18) */
export const FOLIO_MAPPING_ANON = 1;

/** The address_space that holds the folio; 0 when none does. The low two bits of the word tell anonymous memory from files. */
export function folioMapping(map: MemoryMap, f: FolioId): MappingId {
  const word = map[f * PAGE_WORDS + W_MAPPING] as number;
  return ((word & 3) === 0 ? word >> 2 : 0) as MappingId;
}
/** Is it anonymous memory? Once it was mapped, and until it is freed. @kernel include/linux/page-flags.h folio_test_anon (6.18) */
export const folioTestAnon = (map: MemoryMap, f: FolioId): boolean => (map[f * PAGE_WORDS + W_MAPPING] & 1) !== 0;
/** The anon_vma of an anonymous folio. Trust it only while the folio is mapped. @kernel mm/util.c folio_anon_vma (6.18) */
export const folioAnonVma = (map: MemoryMap, f: FolioId): AnonVmaId =>
  (map[f * PAGE_WORDS + W_MAPPING] >> 2) as AnonVmaId;
export function folioSetAnonVma(map: MemoryMap, f: FolioId, anonVma: AnonVmaId): void {
  map[f * PAGE_WORDS + W_MAPPING] = (anonVma << 2) | FOLIO_MAPPING_ANON;
}
export function folioSetMapping(map: MemoryMap, f: FolioId, mapping: number): void {
  map[f * PAGE_WORDS + W_MAPPING] = mapping << 2;
}

export const folioPrivate = (map: MemoryMap, f: FolioId): number => map[f * PAGE_WORDS + W_PRIVATE] as number;
/** Attaches file-system private data (a row number above 0) and the reference that goes with it. @kernel include/linux/pagemap.h folio_attach_private (6.18) */
export function folioAttachPrivate(map: MemoryMap, f: FolioId, row: number): void {
  const w = f * PAGE_WORDS;
  map[w + W_PRIVATE] = row;
  map[w] = (map[w] as number) | PG_private;
  map[w + W_REFCOUNT] = (map[w + W_REFCOUNT] as number) + 1;
}
/** Detaches private data and drops its reference; returns the row. @kernel include/linux/pagemap.h folio_detach_private (6.18) */
export function folioDetachPrivate(map: MemoryMap, f: FolioId): number {
  const w = f * PAGE_WORDS;
  if (((map[w] as number) & PG_private) === 0) return 0;
  const row = map[w + W_PRIVATE] as number;
  map[w + W_PRIVATE] = 0;
  map[w] = (map[w] as number) & ~PG_private;
  map[w + W_REFCOUNT] = (map[w + W_REFCOUNT] as number) - 1;
  return row;
}

export const folioRefCount = (map: MemoryMap, f: FolioId): number => map[f * PAGE_WORDS + W_REFCOUNT] as number;
/** Takes `n` references. The folio must have one already. @kernel include/linux/mm.h folio_get (6.18) */
export function folioRefAdd(map: MemoryMap, f: FolioId, n: number): void {
  map[f * PAGE_WORDS + W_REFCOUNT] = (map[f * PAGE_WORDS + W_REFCOUNT] as number) + n;
}
/** Sets the count of a frozen folio, or freezes one (0). @kernel include/linux/page_ref.h page_ref_unfreeze (6.18) */
export function folioSetCount(map: MemoryMap, f: FolioId, n: number): void {
  map[f * PAGE_WORDS + W_REFCOUNT] = n;
}

/** The group that the folio is charged to, and whose lruvec it belongs to. */
export const folioMemcg = (map: MemoryMap, f: FolioId): MemcgId => map[f * PAGE_WORDS + W_MEMCG] as MemcgId;
export function folioSetMemcg(map: MemoryMap, f: FolioId, memcg: number): void {
  map[f * PAGE_WORDS + W_MEMCG] = memcg;
}

/**
 * Links of the list that holds the page: an LRU list, or a free list of the buddy allocator. `next` is older (towards the
 * tail), `prev` newer; 0 ends a list. Stored shifted by one, so that bit 0 of the word is clear in all pages but tails.
 */
export const listNext = (map: MemoryMap, f: number): number => (map[f * PAGE_WORDS + W_NEXT] as number) >>> 1;
export const listPrev = (map: MemoryMap, f: number): number => (map[f * PAGE_WORDS + W_PREV] as number) >>> 1;
export function listSetNext(map: MemoryMap, f: number, next: number): void {
  map[f * PAGE_WORDS + W_NEXT] = next << 1;
}
export function listSetPrev(map: MemoryMap, f: number, prev: number): void {
  map[f * PAGE_WORDS + W_PREV] = prev << 1;
}

/** Word of frame 0, which is never handed out: log2 of the pages of a page block; 0: all tails are written. */
export const W_PAGEBLOCK_ORDER = 5;
/** In the second page's flags word, ours: the tails are not written. */
const TAILS_UNWRITTEN = 1 << 30;

/** Is the page a tail of a compound page: bit 0 of its link. @kernel include/linux/page-flags.h PageTail (6.18) */
export const pageTail = (map: MemoryMap, pfn: Pfn): boolean => {
  const w = pfn * PAGE_WORDS;
  return ((map[w + W_NEXT] as number) & 1) !== 0 || (map[w + W_REFCOUNT] === 0 && blockFolio(map, pfn) !== pfn);
};

/** The folio that a page belongs to. @kernel include/linux/page-flags.h compound_head (6.18) */
export function pageFolio(map: MemoryMap, pfn: Pfn): FolioId {
  const w = pfn * PAGE_WORDS;
  const link = map[w + W_NEXT] as number;
  if ((link & 1) !== 0) return (link >>> 1) as FolioId;
  return (map[w + W_REFCOUNT] !== 0 ? pfn : blockFolio(map, pfn)) as FolioId;
}

/** First page of a folio. @kernel include/linux/mm.h folio_pfn (6.18) */
export const folioPfn = (_map: MemoryMap, f: FolioId): Pfn => f as number as Pfn;

/** The head of a page's block if the page is one of its unwritten tails; else the page. */
function blockFolio(map: MemoryMap, pfn: number): number {
  const first = pfn & -(1 << (map[W_PAGEBLOCK_ORDER] as number));
  const w = first * PAGE_WORDS;
  return ((map[w] as number) & PG_head) !== 0 && ((map[w + W_FLAGS_1] as number) & TAILS_UNWRITTEN) !== 0 ? first : pfn;
}

/**
 * Makes one compound page of 2^order pages: marks the head, links the tails.
 * @kernel mm/page_alloc.c prep_compound_page (6.18)
 */
export function prepCompoundPage(map: MemoryMap, pfn: Pfn, order: number): void {
  const head = pfn * PAGE_WORDS;
  map[head] = (map[head] as number) | PG_head;
  const lazy = order === map[W_PAGEBLOCK_ORDER];
  writeTails(map, pfn, 1, lazy ? HEAD_PAGES : 1 << order);
  map[head + W_FLAGS_1] = lazy ? order | TAILS_UNWRITTEN : order;
  map[head + W_NR_PAGES] = 1 << order;
  map[head + W_LARGE_MAPCOUNT] = -1;
  map[head + W_NR_PAGES_MAPPED] = 0;
  map[head + W_ENTIRE_MAPCOUNT] = -1;
  map[head + W_PINCOUNT] = 0;
  map[head + W_MM_ID_MAPCOUNT] = map[head + W_MM_ID_MAPCOUNT + 1] = -1;
  map[head + W_MM_ID] = map[head + W_MM_ID + 1] = 0;
  if (order > 1) map[head + W_DEFERRED_NEXT] = 0;
}

/** Pages whose descriptors hold fields of the folio: their tails are always written. */
const HEAD_PAGES = 4;

function writeTails(map: MemoryMap, pfn: number, from: number, to: number): void {
  const head = pfn * PAGE_WORDS;
  const link = (pfn << 1) | 1;
  const end = head + to * PAGE_WORDS;
  for (let w = head + from * PAGE_WORDS; w < end; w += PAGE_WORDS) {
    map[w + W_NEXT] = link;
    map[w + W_MAPPING] = TAIL_MAPPING;
    map[w + W_PRIVATE] = 0;
    map[w + W_MAPCOUNT] = -1;
  }
}

/** Are the tails beyond the first few not written, so that nothing is kept for one of them? Only of large folios. */
export const tailsUnwritten = (map: MemoryMap, f: FolioId): boolean =>
  ((map[f * PAGE_WORDS + W_FLAGS_1] as number) & TAILS_UNWRITTEN) !== 0;

/** Writes the tails of a large folio: before anything is kept for one of its pages alone (a map count, a flag). */
export function compoundTails(map: MemoryMap, f: FolioId): void {
  const w = f * PAGE_WORDS + W_FLAGS_1;
  const flags = map[w] as number;
  if ((flags & TAILS_UNWRITTEN) === 0) return;
  map[w] = flags & ~TAILS_UNWRITTEN;
  writeTails(map, f, HEAD_PAGES, 1 << (flags & 0xff));
}

/** Takes a compound page apart before it is freed or split: tails become plain pages. */
export function clearCompoundPage(map: MemoryMap, pfn: Pfn, order: number): void {
  const head = pfn * PAGE_WORDS;
  map[head] = (map[head] as number) & ~PG_head;
  const unwritten = ((map[head + W_FLAGS_1] as number) & TAILS_UNWRITTEN) !== 0;
  map[head + W_FLAGS_1] = 0;
  map[head + W_NR_PAGES] = 0;
  map[head + W_LARGE_MAPCOUNT] = 0;
  map[head + W_ENTIRE_MAPCOUNT] = 0;
  const end = head + (unwritten ? HEAD_PAGES * PAGE_WORDS : PAGE_WORDS << order);
  for (let w = head + PAGE_WORDS; w < end; w += PAGE_WORDS) {
    map[w] = 0;
    map[w + W_NEXT] = 0;
    map[w + W_MAPPING] = 0;
  }
}

/** Makes a page a folio of order 0 with nothing set: no flags, no file, no group, no reference. The zone stays. */
export function initFolio(map: MemoryMap, f: FolioId): void {
  const w = f * PAGE_WORDS;
  map[w] = 0;
  map[w + W_NEXT] = 0;
  map[w + W_PREV] = 0;
  map[w + W_MAPPING] = 0;
  map[w + W_INDEX] = 0;
  map[w + W_PRIVATE] = 0;
  map[w + W_MAPCOUNT] = -1;
  map[w + W_REFCOUNT] = 0;
  map[w + W_MEMCG] = 0;
}
