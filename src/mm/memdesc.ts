/**
 * Descriptors that lie apart from the pages (page32, memdesc8). All pages of an owner hold the same word: the descriptor's address,
 * whose low four bits are a type.
 *
 *   page record   [ … | memdesc: type 2 (file) or 3 (anonymous) + descriptor / 16 | … ]
 *   descriptor    [ flags | lru | mapping | index | private | counts | order | pfn | group ]
 *
 * What is kept for one page of a large folio alone, its mappings and PG_anon_exclusive, lies in the page's record where that has
 * room (page32). With 8 bytes it has not, and the plan does not say where such counts go: here the folio gets an array of them when
 * one of its pages is first mapped alone (two words a page: flags, mappings less one), and its address lies behind the planned fields.
 *
 * Plan: kernelnewbies.org MatthewWilcox/Memdescs.
 */
import { assert } from '../base/errors.ts';
import type { FolioId, Pfn } from './ids.ts';
import {
  allocFromPcs,
  bytesOf,
  freeToPcs,
  KIND_COUNTS,
  KIND_FOLIO_LARGE,
  KIND_HWPOISON,
  memdescGive,
  memdescTake,
} from './memdesc_slab.ts';
import type { MemoryMap } from './memory_map.ts';
import { PG } from './page_flags.ts';

/** Types in the low four bits of a typed pointer, as the later revision of the plan has them. */
export const MEMDESC_MISC = 0;
export const MEMDESC_FILE = 2;
export const MEMDESC_ANON = 3;
export const MEMDESC_SLAB = 5;
export const MEMDESC_TABLE = 7;
export const MEMDESC_NETPOOL = 8;
export const MEMDESC_HWPOISON = 9;
/** Ours: the plan names the descriptor of compressed memory, and no type for it yet; huge pages of a pool are to be folios. */
export const MEMDESC_HUGETLB = 11;
export const MEMDESC_ZSMALLOC = 12;
export const MEMDESC_DEVICE = 14;
/** In the 32-byte step 0, 4, 8 and 12 are taken: they are what the links of a free page read as. There misc is 1, and these are one more. */
const tag = (map: MemoryMap, type: number): number => (map.pageWords > 2 && (type & 3) === 0 ? type + 1 : type);
/** Types whose word points to the descriptor of an owner. */
const OWNED =
  (1 << MEMDESC_HUGETLB) |
  (1 << MEMDESC_DEVICE) |
  (1 << MEMDESC_SLAB) |
  (1 << MEMDESC_TABLE) |
  (1 << MEMDESC_NETPOOL) |
  (1 << MEMDESC_ZSMALLOC);

/** Subtypes of misc memory. */
export const MISC_RESERVED = 0;
export const MISC_UNKNOWN = 2;
export const MISC_GUARD = 4;
export const MISC_OFFLINE = 5;
export const MISC_LARGE_KMALLOC = 6;
/** Ours: the plan has none for memory that is not accepted yet. */
export const MISC_UNACCEPTED = 9;

const UNIT = 4;
/** Word of a large folio: its array of counts by page, in units of 16 bytes; 0: none. */
const W_COUNTS = 23;
const W_PFN = 16;

/** Makes all of 2^order pages point to a descriptor. */
export function memdescPoint(map: MemoryMap, pfn: number, order: number, id: number, type: number): void {
  const step = map.pageWords;
  const low = (id << 4) | type;
  const high = id >>> 28;
  const end = (pfn + (1 << order)) * step + map.memdesc;
  for (let w = pfn * step + map.memdesc; w < end; w += step) {
    map[w] = low;
    map[w + 1] = high;
  }
}

/**
 * Makes a block misc memory, which has no descriptor: subtype, order, and (ours, in bits the plan leaves free) a row of its owner and,
 * where the record has no room of its own for it, a count of references, 0 at first. No page is bad.
 */
export function memdescMisc(map: MemoryMap, pfn: number, order: number, subtype: number, row: number): void {
  const step = map.pageWords;
  const word = tag(map, MEMDESC_MISC) | (subtype << 4) | (order << 12);
  if (order === 0 && step === 2) {
    map[pfn * 2] = word;
    map[pfn * 2 + 1] = row;
    return;
  }
  const end = (pfn + (1 << order)) * step;
  for (let w = pfn * step; w < end; w += step) {
    for (let i = 0; i < step; i++) map[w + i] = 0;
    map[w + map.memdesc] = word;
    map[w + map.memdesc + 1] = row;
    if (step > 2) map[w + 4] = -1;
  }
}
/** Where the typed pointer of a page lies: in its record, or, of a bad page, in the descriptor that its record points to instead. */
function pointerAt(map: MemoryMap, pfn: number): number {
  const w = pfn * map.pageWords + map.memdesc;
  return map.pageWords === 2 && (map[w] & 15) === MEMDESC_HWPOISON ? idAt(map, w) * UNIT : w;
}
/** The descriptor that a typed pointer says, in units of 16 bytes. */
const idAt = (map: MemoryMap, w: number): number => (map[w] >>> 4) | (map[w + 1] << 28);

/** Is that misc memory? Links of a free page are no such word. */
const isMisc = (map: MemoryMap, w: number): boolean => (map[w] & 15) === (map.pageWords > 2 ? 1 : MEMDESC_MISC);
const miscWord = (map: MemoryMap, pfn: number): number => {
  const w = pointerAt(map, pfn);
  return isMisc(map, w) ? map[w] : MISC_UNKNOWN << 4;
};
export const memdescMiscSubtype = (map: MemoryMap, pfn: number): number => (miscWord(map, pfn) >> 4) & 0x7f;
/** log2 of the pages of its block. A word that is left of a block which is gone says 0: its first page says something else since. */
export function memdescMiscOrder(map: MemoryMap, pfn: number): number {
  const order = (miscWord(map, pfn) >> 12) & 0x3f;
  if (order === 0) return 0;
  const head = pfn & -(1 << order);
  return head === pfn || ((miscWord(map, head) >> 12) & 0x3f) === order ? order : 0;
}
export const memdescMiscRow = (map: MemoryMap, pfn: number): number => map[pointerAt(map, pfn) + 1];
export function memdescMiscSetRow(map: MemoryMap, pfn: number, row: number): void {
  map[pointerAt(map, pfn) + 1] = row;
}

const MISC_COUNT_SHIFT = 18;
/** _refcount in a record of 32 bytes. */
const W_COUNT_32 = 6;
/** References of a block of misc memory, by its first page; 0 of a page that is not such memory. */
export const memdescMiscCount = (map: MemoryMap, pfn: number): number =>
  map.pageWords > 2 ? map[pfn * map.pageWords + W_COUNT_32] : miscWord(map, pfn) >>> MISC_COUNT_SHIFT;
export function memdescMiscSetCount(map: MemoryMap, pfn: number, n: number): void {
  if (map.pageWords > 2) {
    map[pfn * map.pageWords + W_COUNT_32] = n;
    return;
  }
  assert(n >= 0 && n >>> (32 - MISC_COUNT_SHIFT) === 0, 'memdescMiscSetCount: a count has 14 bits');
  const w = pointerAt(map, pfn);
  if (isMisc(map, w)) map[w] = (map[w] & ((1 << MISC_COUNT_SHIFT) - 1)) | (n << MISC_COUNT_SHIFT);
}

/** A bad page that is no folio's. In 8 bytes it has a type and a descriptor of its own, which keeps (ours) what the page's word was before. */
export function memdescBad(map: MemoryMap, pfn: number): boolean {
  const w = pfn * map.pageWords;
  return map.pageWords > 2 ? (map[w] & PG.PG_hwpoison) !== 0 : (map[w] & 15) === MEMDESC_HWPOISON;
}
export function memdescSetBad(map: MemoryMap, pfn: number, bad: boolean): void {
  const w = pfn * map.pageWords;
  if (memdescBad(map, pfn) === bad) return;
  if (map.pageWords > 2) {
    map[w] ^= PG.PG_hwpoison;
    return;
  }
  if (!bad) {
    const d = pointerAt(map, pfn);
    map[w] = map[d];
    map[w + 1] = map[d + 1];
    memdescGive(map, map.descriptors, d);
    return;
  }
  const type = memdescType(map, pfn);
  // Whatever was left of its last use: it is nobody's.
  if (((OWNED >> type) & 1) === 0 && type !== MEMDESC_MISC) memdescMisc(map, pfn, 0, MISC_UNKNOWN, 0);
  const d = memdescTake(map, map.descriptors, KIND_HWPOISON);
  map[d] = map[w];
  map[d + 1] = map[w + 1];
  memdescPoint(map, pfn, 0, d / UNIT, MEMDESC_HWPOISON);
}
/** Does `change` to the words of a block, and marks those pages bad again that were. */
function keepBad(map: MemoryMap, pfn: number, order: number, change: () => void): void {
  const bad: number[] = [];
  for (let p = pfn; p < pfn + (1 << order); p++)
    if (memdescBad(map, p)) {
      bad.push(p);
      memdescSetBad(map, p, false);
    }
  change();
  for (const p of bad) memdescSetBad(map, p, true);
}
/** Makes a block that is misc memory of another subtype; its count and its bad pages stay. */
export function memdescMiscAgain(map: MemoryMap, pfn: number, order: number, subtype: number, row: number): void {
  const count = memdescMiscCount(map, pfn);
  keepBad(map, pfn, order, () => memdescMisc(map, pfn, order, subtype, row));
  memdescMiscSetCount(map, pfn, count);
}

/** The descriptor of a page, in units of 16 bytes, whatever its type. */
export const memdescOf = (map: MemoryMap, pfn: number): number => idAt(map, pointerAt(map, pfn));
/** MEMDESC_* of a page that is not free; of a bad one, what it is beside that. */
export function memdescType(map: MemoryMap, pfn: number): number {
  const type = map[pointerAt(map, pfn)] & 15;
  return map.pageWords > 2 && (type & 3) === 1 && type !== MEMDESC_SLAB ? type - 1 : type;
}

/** First word of the descriptor of a block that is no folio's; −1: it has none. */
export const memdescOwner = (map: MemoryMap, pfn: number): number =>
  ((OWNED >> memdescType(map, pfn)) & 1) === 0 ? -1 : memdescOf(map, pfn) * UNIT;

/** Words of such a descriptor: ours are the order and the first frame, in the upper halves of fields that hold row numbers here. */
const W_OWNER_ORDER = 1;
const W_OWNER_PFN = 3;
export const ownerPfn = (map: MemoryMap, w: number): Pfn => map[w + W_OWNER_PFN] as Pfn;
export const ownerOrder = (map: MemoryMap, w: number): number => map[w + W_OWNER_ORDER];

/** Gives a block of misc memory a descriptor of a kind (memdesc_slab.ts), with nothing set but that it has no type. Its first word. */
export function memdescOwnerNew(map: MemoryMap, pfn: number, order: number, kind: number, type: number): number {
  const w = memdescTake(map, map.descriptors, kind);
  map.fill(0, w, w + bytesOf(kind) / 4);
  map[w + W_OWNER_ORDER] = order;
  map[w + W_OWNER_PFN] = pfn;
  keepBad(map, pfn, order, () => memdescPoint(map, pfn, order, w / UNIT, tag(map, type)));
  return w;
}
/** Makes it misc memory again. */
export function memdescOwnerGone(map: MemoryMap, pfn: number): void {
  const w = memdescOwner(map, pfn);
  const first = map[w + W_OWNER_PFN];
  const order = map[w + W_OWNER_ORDER];
  keepBad(map, first, order, () => memdescMisc(map, first, order, MISC_UNKNOWN, 0));
  memdescGive(map, map.descriptors, w);
}

/** The folio of a page; 0: it belongs to none. */
export function memdescFolio(map: MemoryMap, pfn: number): FolioId {
  const w = pfn * map.pageWords + map.memdesc;
  return ((map[w] & 14) === MEMDESC_FILE ? (map[w] >>> 4) | (map[w + 1] << 28) : 0) as FolioId;
}

/** A new descriptor for a folio of 2^order pages, which point to it. Its fields are not set, but pfn and counts. */
export function memdescFolioNew(map: MemoryMap, pfn: number, order: number): FolioId {
  const d = map.descriptors;
  const f = order === 0 ? allocFromPcs(map, d) : memdescTake(map, d, KIND_FOLIO_LARGE) / UNIT;
  const w = f * UNIT;
  map[w + W_PFN] = pfn;
  map[w + W_PFN + 1] = 0;
  if (order > 0) map[w + W_COUNTS] = 0;
  if (map.pageWords > 2) memdescMiscFlags(map, pfn, order);
  memdescPoint(map, pfn, order, f, MEMDESC_FILE);
  return f as FolioId;
}

/** Sets what a page keeps for itself: no flag, not mapped. */
function memdescMiscFlags(map: MemoryMap, pfn: number, order: number): void {
  const step = map.pageWords;
  const end = (pfn + (1 << order)) * step;
  for (let w = pfn * step; w < end; w += step) {
    map[w] = 0;
    map[w + 4] = -1;
    map[w + 7] = 0;
  }
}

/** Gives a folio's descriptor back. Its pages point to nothing afterwards. */
export function memdescFolioGone(map: MemoryMap, f: FolioId, order: number): void {
  const w = f * UNIT;
  if (order > 0) {
    memdescCountsGone(map, w, order);
    memdescMisc(map, map[w + W_PFN], order, MISC_UNKNOWN, 0);
    memdescGive(map, map.descriptors, w);
    return;
  }
  memdescMisc(map, map[w + W_PFN], 0, MISC_UNKNOWN, 0);
  freeToPcs(map, map.descriptors, f);
}

/** The same for folios[from, to) of one page each; their frames go to pfns[from, to). */
export function memdescFoliosGone(
  map: MemoryMap,
  folios: Int32Array,
  from: number,
  to: number,
  pfns: Int32Array,
): void {
  const d = map.descriptors;
  for (let i = from; i < to; i++) {
    const f = folios[i];
    const pfn = map[f * UNIT + W_PFN];
    pfns[i] = pfn;
    memdescMisc(map, pfn, 0, MISC_UNKNOWN, 0);
    freeToPcs(map, d, f);
  }
}

/** Gives the counts by page of a large folio back, if it has any. */
export function memdescCountsGone(map: MemoryMap, w: number, order: number): void {
  if (map.pageWords > 2 || order === 0 || map[w + W_COUNTS] === 0) return;
  memdescGive(map, map.descriptors, map[w + W_COUNTS] * UNIT);
  map[w + W_COUNTS] = 0;
}

/** Gives a large folio room for what is kept by page, where the pages' records have none: no flag, not mapped. */
export function memdescTails(map: MemoryMap, w: number, order: number): void {
  if (map.pageWords > 2) return;
  const counts = memdescTake(map, map.descriptors, KIND_COUNTS + order);
  for (let i = 0; i < 2 << order; i += 2) {
    map[counts + i] = 0;
    map[counts + i + 1] = -1;
  }
  map[w + W_COUNTS] = counts / UNIT;
}

/** Word of the flags of a page that is not the first of its large folio; with counts written (compoundTails). */
export const memdescPageFlags = (map: MemoryMap, w: number, page: number): number =>
  map.pageWords > 2 ? page * map.pageWords : map[w + W_COUNTS] * UNIT + (page - map[w + W_PFN]) * 2;
/** Word of its mappings less one. */
export const memdescPageMapcount = (map: MemoryMap, w: number, page: number): number =>
  map.pageWords > 2 ? page * map.pageWords + 4 : map[w + W_COUNTS] * UNIT + (page - map[w + W_PFN]) * 2 + 1;

/** The folio is anonymous from now on: its pages say so. */
export function memdescAnon(map: MemoryMap, f: FolioId, order: number): void {
  const pfn = map[f * UNIT + W_PFN];
  if (memdescType(map, pfn) !== MEMDESC_ANON) memdescPoint(map, pfn as Pfn, order, f, MEMDESC_ANON);
}
