/**
 * Page walks over real page tables: two words an entry (frame or table below; flags), as mm/pgtable.ts keeps them. A walk sets the
 * accessed bit of the leaf, a store the dirty bit, as the CPU does; and only then: an entry that stays in the TLB does not set an
 * accessed bit that was cleared behind its back.
 *
 * A walk starts below the lowest upper entry that the walk caches know, reads one entry a level (a reference each), and leaves
 * what it read in them; of walk caches only the one that it starts from is touched.
 */
import type { Cpu } from './cpus.ts';
import { SET_SHIFT, turnWay } from './order.ts';
import type { PageTableGeometry } from './pgtable.ts';
import {
  CHAIN,
  chain,
  HASH,
  INFO_CLASS,
  INFO_UPPER,
  INFO_WRITABLE,
  ORDERED,
  PREV,
  PRINT_SHIFT,
  TAG_UNIT,
  type Tlb,
  toFront,
  unchain,
  use,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_LISTS,
  VIEW_MASK,
  VIEW_MAX,
  VIEW_SETS,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import { tlb } from './tlb_build.ts';

/** Flags of an entry, as mm/pgtable.ts has them. */
export const PRESENT = 0x1;
export const RW = 0x2;
export const ACCESSED = 0x20;
export const DIRTY = 0x40;
/** A leaf above the lowest level. */
export const LEAF = 0x80;
/** One of a group with the contiguous hint. */
export const CONT = 0x1000;

/** Page tables to walk. */
export interface WalkedTables {
  /** Two words an entry: frame or table below, and flags. */
  readonly entries: Int32Array;
  /** log2 of the entries that a table has room for. */
  readonly entryShift: number;
}

/** Counts by class of translation: sizes in `tlb.classes`. */
export interface TlbCounts {
  readonly l1Hits: Float64Array;
  readonly l2Hits: Float64Array;
  readonly misses: Float64Array;
  /** Entries of page tables read by the walks of those misses. */
  readonly walkReferences: Float64Array;
  /** Stores that had to set a dirty bit through an entry that was there already. */
  readonly dirtyWalks: Float64Array;
}

/** One configuration: a TLB, its counts, and the shape of the tables that it walks. */
export interface Translator {
  readonly tlb: Tlb;
  readonly counts: TlbCounts;
  /** Translations that were refused: the engine was asked. */
  faults: number;
  /** Entry and level that the last walk found. */
  leaf: number;
  leafLevel: number;

  // By level, from the lowest: shift from the number of a PMD entry to the index, its mask; classes of leaves and of groups of leaves.
  readonly top: number;
  readonly shifts: Int32Array;
  readonly masks: Int32Array;
  readonly classOf: Int32Array;
  readonly classOfGroup: Int32Array;
  readonly coalescedClass: number;
  readonly groupOf: Int32Array;
  /** 1 / bytes under a PMD entry; 1 / page size. */
  readonly pmdsPerByte: number;
  readonly pagesPerByte: number;

  /** Which address space has which ASID; the next one to be given. */
  readonly asids: Int32Array;
  nextAsid: number;
}

/** @kernel arch/x86/include/asm/tlbflush.h TLB_NR_DYN_ASIDS (6.18) */
export const TLB_NR_DYN_ASIDS = 6;

/** A configuration with an empty TLB. @throws QuireError EINVAL when the CPU has no such pages */
export function translator(cpu: Cpu, g: PageTableGeometry): Translator {
  const t = tlb(cpu, g);
  const counts = (): Float64Array => new Float64Array(t.classes.length);
  const find = (level: number, grouped: boolean): number =>
    t.classes.findIndex((c) => c.level === level && !c.coalesced && c.group > 1 === grouped);
  const pmdShift = g.levels[1].shift;
  return {
    tlb: t,
    counts: {
      l1Hits: counts(),
      l2Hits: counts(),
      misses: counts(),
      walkReferences: counts(),
      dirtyWalks: counts(),
    },
    faults: 0,
    leaf: 0,
    leafLevel: 0,
    top: g.levels.length - 1,
    shifts: Int32Array.from(g.levels, (l) => l.shift - pmdShift),
    masks: Int32Array.from(g.levels, (l) => (1 << l.bits) - 1),
    classOf: Int32Array.from(g.levels, (_, level) => find(level, false)),
    classOfGroup: Int32Array.from(g.levels, (_, level) => find(level, true)),
    coalescedClass: t.classes.findIndex((c) => c.coalesced),
    groupOf: Int32Array.from(t.classes, (c) => c.group),
    pmdsPerByte: 2 ** -pmdShift,
    pagesPerByte: 2 ** -g.pageShift,
    asids: new Int32Array(TLB_NR_DYN_ASIDS),
    nextAsid: 0,
  };
}

/** Finds the leaf of the address at[0], from the top: x.leaf, x.leafLevel; returns its flags; 0: there is none. */
export function walk(x: Translator, pt: WalkedTables, top: number, at: Float64Array): number {
  const { entries, entryShift } = pt;
  const { shifts, masks } = x;
  const page = at[0];
  const pmd = (page * x.pmdsPerByte) >>> 0;
  let table = top;
  // Whole numbers of 32 bits throughout: sums that might not be would be counted in doubles.
  for (let n = x.top; n > 0; n--) {
    const e = (table << entryShift) | ((pmd >>> shifts[n]) & masks[n]);
    const flags = entries[(e << 1) | 1];
    if ((flags & PRESENT) === 0) return 0;
    if ((flags & LEAF) !== 0) {
      x.leaf = e;
      x.leafLevel = n;
      return flags;
    }
    table = entries[e << 1];
  }
  const e = (table << entryShift) | (((page * x.pagesPerByte) >>> 0) & masks[0]);
  const flags = entries[(e << 1) | 1];
  if ((flags & PRESENT) === 0) return 0;
  x.leaf = e;
  x.leafLevel = 0;
  return flags;
}

/** The class of the leaf that was found, and whether all of the translation is writable and dirty. */
function infoOfLeaf(x: Translator, pt: WalkedTables, flags: number): number {
  const { entries } = pt;
  const { leaf, leafLevel } = x;
  let c = x.classOf[leafLevel];
  if ((flags & CONT) !== 0 && x.classOfGroup[leafLevel] >= 0) c = x.classOfGroup[leafLevel];
  else if (leafLevel === 0 && x.coalescedClass >= 0 && coalesced(entries, leaf, x.tlb.coalesces)) c = x.coalescedClass;
  const group = x.groupOf[c];
  const writable =
    group === 1 ? (flags & (RW | DIRTY)) === (RW | DIRTY) : groupWritable(entries, leaf - (leaf & (group - 1)), group);
  return writable ? c | INFO_WRITABLE : c;
}

/** An aligned group of present pages whose frames are an aligned group too, with equal permissions. */
export function coalesced(entries: Int32Array, leaf: number, n: number): boolean {
  const first = leaf - (leaf & (n - 1));
  const frame = entries[first << 1];
  if ((frame & (n - 1)) !== 0) return false;
  const same = entries[(first << 1) | 1] & ~(ACCESSED | DIRTY);
  if ((same & PRESENT) === 0) return false;
  for (let i = 1; i < n; i++) {
    const e = (first + i) << 1;
    if (entries[e] !== frame + i || (entries[e | 1] & ~(ACCESSED | DIRTY)) !== same) return false;
  }
  return true;
}

/** Whether all of `group` entries from `first` on are writable and dirty. */
export function groupWritable(entries: Int32Array, first: number, group: number): boolean {
  for (let e = first; e < first + group; e++) if ((entries[(e << 1) | 1] & (RW | DIRTY)) !== (RW | DIRTY)) return false;
  return true;
}

/**
 * A miss of both levels at at[0]: walks, counts, fills the walk caches. Returns the info of the entry to make, or −1: there is no
 * translation, or not for a store. That leaves and counts nothing.
 */
export function miss(x: Translator, pt: WalkedTables, top: number, at: Float64Array, stores: boolean): number {
  let flags = walk(x, pt, top, at);
  if (flags === 0 || (stores && (flags & RW) === 0)) return -1;
  const wanted = stores ? flags | ACCESSED | DIRTY : flags | ACCESSED;
  if (wanted !== flags) {
    flags = wanted;
    pt.entries[(x.leaf << 1) | 1] = flags;
  }
  const info = infoOfLeaf(x, pt, flags);
  const c = info & INFO_CLASS;
  const { counts } = x;
  counts.misses[c]++;
  counts.walkReferences[c] += walkReferences(x, at);
  return info;
}

/** Entries that the walk to the leaf that was found reads, with what it leaves in the walk caches. */
export function walkReferences(x: Translator, at: Float64Array): number {
  const t = x.tlb;
  const { walkOf, viewPerByte, viewTag, viewWords, heads, links, tags } = t;
  const page = at[0];
  let from = x.leafLevel + 1;
  for (; from <= x.top; from++) {
    const v = walkOf[from];
    if (v < 0 || t.live[v] === 0) continue;
    const q = v << 3;
    const key = Math.floor(page * viewPerByte[v]);
    const tag = key * TAG_UNIT + viewTag[v];
    let s: number;
    if (viewWords[q] === 1) {
      s = heads[(viewWords[q + VIEW_HASH] + (Math.imul(key, HASH) >>> viewWords[q + VIEW_SHIFT])) | 0];
      while (s >= 0 && tags[s] !== tag) s = links[(s << 2) | CHAIN];
    } else {
      const ways = viewWords[q + VIEW_WAYS];
      const mask = viewWords[q + VIEW_MASK];
      const sets = viewWords[q + VIEW_SETS];
      const set = mask >= 0 ? key & mask : (key - Math.floor(key / sets) * sets) | 0;
      s = (viewWords[q + VIEW_BASE] + Math.imul(set, ways)) | 0;
      const to = (s + ways) | 0;
      while (s < to && tags[s] !== tag) s = (s + 1) | 0;
      if (s === to) s = -1;
    }
    if (s < 0) continue;
    use(t, v, s);
    break;
  }
  for (let n = from - 1; n > x.leafLevel; n--) if (walkOf[n] >= 0) t.info[insertListed(t, walkOf[n], at)] = INFO_UPPER;
  return from - x.leafLevel;
}

/** Makes room in an array of the second level or a walk cache for at[0] in view `v`, which is not there. Returns the entry: the most recent. */
export function insertListed(t: Tlb, v: number, at: Float64Array): number {
  const { viewWords, links, tags, live } = t;
  const q = v << 3;
  const key = Math.floor(at[0] * t.viewPerByte[v]);
  const mask = viewWords[q + VIEW_MASK];
  const sets = viewWords[q + VIEW_SETS];
  const set = mask >= 0 ? key & mask : (key - Math.floor(key / sets) * sets) | 0;
  const head = (viewWords[q + VIEW_LISTS] + set) | 0;
  const ordered = viewWords[q] === ORDERED;
  let s: number;
  if (ordered) {
    const ways = viewWords[q + VIEW_WAYS];
    const way = turnWay(t.orders, head << SET_SHIFT, ways, Math.imul(key, HASH) >>> PRINT_SHIFT);
    s = (viewWords[q + VIEW_BASE] + Math.imul(set, ways) + way) | 0;
  } else s = links[(head << 2) | PREV];
  const was = tags[s];
  if (was >= 0) live[was & (VIEW_MAX - 1)]--;
  if (viewWords[q] === 1) {
    if (was >= 0) unchain(t, s);
    chain(t, s, (viewWords[q + VIEW_HASH] + (Math.imul(key, HASH) >>> viewWords[q + VIEW_SHIFT])) | 0);
  }
  if (!ordered) toFront(links, s);
  tags[s] = key * TAG_UNIT + t.viewTag[v];
  live[v]++;
  return s;
}

/** A store through an entry that is not known to be writable and dirty: whether it may, with the dirty bit set where it was not. */
export function storeThrough(x: Translator, pt: WalkedTables, top: number, at: Float64Array, slot: number): boolean {
  const { info, classes } = x.tlb;
  const flags = walk(x, pt, top, at);
  if ((flags & RW) === 0) return false;
  const c = info[slot] & INFO_CLASS;
  if ((flags & DIRTY) === 0) {
    pt.entries[(x.leaf << 1) | 1] = flags | ACCESSED | DIRTY;
    x.counts.dirtyWalks[c]++;
  }
  const { group, level } = classes[c];
  if (level !== x.leafLevel || group === 1 || groupWritable(pt.entries, x.leaf - (x.leaf & (group - 1)), group))
    info[slot] |= INFO_WRITABLE;
  return true;
}

/** An instruction fetch: it must be mapped, and its page is accessed; the data TLB has no part in it. */
export function fetchFrom(x: Translator, pt: WalkedTables, top: number, at: Float64Array): boolean {
  const flags = walk(x, pt, top, at);
  if (flags === 0) return false;
  if ((flags & ACCESSED) === 0) pt.entries[(x.leaf << 1) | 1] = flags | ACCESSED;
  return true;
}
