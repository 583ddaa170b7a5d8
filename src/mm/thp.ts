/**
 * Transparent huge pages: the controls under /sys/kernel/mm/transparent_hugepage as a record, which folio orders they allow an
 * area at a fault or a collapse, and the counters by size.
 *
 *   enabled (top)          always ─┐ madvise ─┐ never
 *   hugepages-<size>       always, madvise (areas with that advice), inherit (as the top says), never: three bitmaps of orders
 *   area                   at a fault, orders whose aligned block around the address lies in it
 *
 * Invariants (checkThp):
 *   H1  an order is in one of the three bitmaps at most, and anonymous memory may have it;
 *   H2  gauges by size (nr_anon, nr_anon_partially_mapped) are not below zero;
 *   H3  the huge zero folio is there when somebody refers to it, and only then.
 *
 * @kernel mm/huge_memory.c huge_anon_orders_always (6.18)
 */
import { Bug, QuireError } from '../base/errors.ts';
import {
  __GFP_COMP,
  __GFP_DIRECT_RECLAIM,
  __GFP_KSWAPD_RECLAIM,
  __GFP_NOMEMALLOC,
  __GFP_NORETRY,
  __GFP_NOWARN,
  GFP_HIGHUSER_MOVABLE,
} from './gfp.ts';
import { type FolioId, type MmId, NO_FOLIO, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { MMF_DISABLE_THP_COMPLETELY, MMF_DISABLE_THP_EXCEPT_ADVISED } from './mm_struct.ts';
import type { Laws } from './release.ts';
import { VM_DONTEXPAND, VM_HUGEPAGE, VM_IO, VM_MIXEDMAP, VM_NOHUGEPAGE, VM_PFNMAP, vmaIsAnonymous } from './vma.ts';

export const THP_ENABLED = ['always', 'madvise', 'never'] as const;
export const THP_SIZE_MODES = ['always', 'inherit', 'madvise', 'never'] as const;
export const THP_DEFRAG = ['always', 'defer', 'defer+madvise', 'madvise', 'never'] as const;
export type ThpEnabled = (typeof THP_ENABLED)[number];
export type ThpSizeMode = (typeof THP_SIZE_MODES)[number];
export type ThpDefrag = (typeof THP_DEFRAG)[number];

/** The controls of the daemon, and what it has done. Times in milliseconds. */
export interface KhugepagedControls {
  defrag: boolean;
  pagesToScan: number;
  scanSleepMs: number;
  allocSleepMs: number;
  maxPtesNone: number;
  maxPtesSwap: number;
  maxPtesShared: number;
  pagesCollapsed: number;
  fullScans: number;
}

export interface Thp {
  /** log2 of the pages of a huge page. */
  readonly pmdOrder: number;
  /** Orders that anonymous memory may have. @kernel include/linux/huge_mm.h THP_ORDERS_ALL_ANON (6.18) */
  readonly anonOrders: number;
  enabled: ThpEnabled;
  /** Bitmaps of orders. */
  always: number;
  madvise: number;
  inherit: number;
  defrag: ThpDefrag;
  useZeroPage: boolean;
  shrinkUnderused: boolean;
  /** Sizes below a huge page only beside a block of that size in use; not of mainline: see anonBesideFull in memory_pte.ts. */
  besideFull: boolean;
  readonly khugepaged: KhugepagedControls;
  /** The huge zero folio and how many refer to it, itself counted once. */
  hugeZeroFolio: FolioId;
  hugeZeroRefs: number;
  /** Objects that its shrinker put off. */
  hugeZeroDeferred: number;
}

/** Counters of each size, as under hugepages-<size>/stats. @kernel include/linux/huge_mm.h enum mthp_stat_item (6.18) */
export const MTHP_STATS = [
  'anon_fault_alloc',
  'anon_fault_fallback',
  'anon_fault_fallback_charge',
  'zswpout',
  'swpin',
  'swpin_fallback',
  'swpin_fallback_charge',
  'swpout',
  'swpout_fallback',
  'shmem_alloc',
  'shmem_fallback',
  'shmem_fallback_charge',
  'split',
  'split_failed',
  'split_deferred',
  'nr_anon',
  'nr_anon_partially_mapped',
  'anon_fault_declined',
  'collapse_alloc',
  'collapse_alloc_failed',
  'collapse_exceed_none_pte',
  'collapse_exceed_swap_pte',
  'collapse_exceed_shared_pte',
] as const;
export type MthpStat = (typeof MTHP_STATS)[number];
/** Position of a counter: `MTHP.anon_fault_alloc`. */
export const MTHP = Object.freeze(
  Object.fromEntries(MTHP_STATS.map((name, i) => [name, i])) as { readonly [K in MthpStat]: number },
);
const STATS = MTHP_STATS.length;
/** Orders that counters are kept for. */
const ORDERS = 16;

export const mthpTable = (): Float64Array => new Float64Array(ORDERS * STATS);

/** Adds `n` to a counter of one size; order 0 has none. @kernel include/linux/huge_mm.h mod_mthp_stat (6.18) */
export function modMthpStat(m: Machine, order: number, item: number, n: number): void {
  if (order > 0 && order <= m.thp.pmdOrder) m.mthp[order * STATS + item] += n;
}
/** @kernel include/linux/huge_mm.h count_mthp_stat (6.18) */
export function countMthpStat(m: Machine, order: number, item: number): void {
  if (order > 0 && order <= m.thp.pmdOrder) m.mthp[order * STATS + item] += 1;
}
export const mthpStat = (m: Machine, order: number, item: number): number => m.mthp[order * STATS + item];

/** Name of a size, `64kB`. */
export const mthpSizeName = (m: Machine, order: number): string => `${(m.config.pageSize << order) / 1024}kB`;

/** All sizes with their counters that are not 0, as `mthp` of a truth. */
export function mthpReport(m: Machine): Record<string, Record<string, number>> {
  const out: Record<string, Record<string, number>> = {};
  for (let order = 1; order <= m.thp.pmdOrder; order++) {
    const row: Record<string, number> = {};
    MTHP_STATS.forEach((name, i) => {
      const n = m.mthp[order * STATS + i];
      if (n !== 0) row[name] = n;
    });
    out[mthpSizeName(m, order)] = row;
  }
  return out;
}

/**
 * The controls as a machine boots with them: top madvise, huge pages inherit it, no other size.
 * @kernel mm/huge_memory.c hugepage_init (6.18)
 */
export const thpInit = (pmdOrder: number, configured: boolean, laws: Laws): Thp => ({
  pmdOrder,
  anonOrders: !configured ? 0 : laws.anonFolios === 'pmd' ? 1 << pmdOrder : (1 << (pmdOrder + 1)) - 1 - 3,
  enabled: 'madvise',
  always: 0,
  madvise: 0,
  inherit: configured ? 1 << pmdOrder : 0,
  defrag: 'madvise',
  useZeroPage: true,
  shrinkUnderused: true,
  besideFull: false,
  khugepaged: {
    defrag: true,
    // @kernel mm/khugepaged.c khugepaged_init (6.18)
    pagesToScan: 8 << pmdOrder,
    scanSleepMs: 10000,
    allocSleepMs: 60000,
    maxPtesNone: (1 << pmdOrder) - 1,
    maxPtesSwap: (1 << pmdOrder) >> 3,
    maxPtesShared: (1 << pmdOrder) >> 1,
    pagesCollapsed: 0,
    fullScans: 0,
  },
  hugeZeroFolio: NO_FOLIO,
  hugeZeroRefs: 0,
  hugeZeroDeferred: 0,
});

const SIZE = /^(\d+)(k|kb|m|mb|g|gb)$/i;
const UNITS: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Order of a size like 64kB, 64k or 2m; below zero: not a power of two of pages. */
export function thpOrderOf(m: Machine, size: string): number {
  const parts = SIZE.exec(size);
  if (parts === null) return -1;
  const bytes = Number(parts[1]) * UNITS[parts[2][0].toLowerCase()];
  const order = Math.log2(bytes / m.config.pageSize);
  return Number.isInteger(order) ? order : -1;
}

/** Sets the mode of one order. @kernel mm/huge_memory.c anon_enabled_store (6.18) */
function setOrder(thp: Thp, order: number, mode: ThpSizeMode): void {
  const bit = 1 << order;
  thp.always &= ~bit;
  thp.madvise &= ~bit;
  thp.inherit &= ~bit;
  if (mode !== 'never') thp[mode] |= bit;
}

/**
 * Writes one control: `top`, a size (`64k`, `2M`, `64kB`), `all` of the sizes, `defrag`, `use_zero_page`, `shrink_underused`, `anon_beside_full`, or
 * `khugepaged/…`. Throws for what the kernel would not take.
 */
export function thpStore(m: Machine, name: string, value: string): void {
  const { thp } = m;
  const one = <T extends string>(words: readonly T[]): T => {
    const found = words.find((w) => w === value);
    if (found === undefined) throw new QuireError('EINVAL', `thp ${name}=${value}: expected ${words.join(', ')}`);
    return found;
  };
  const number = (max: number): number => {
    if (!/^\d{1,10}$/.test(value) || Number(value) > max)
      throw new QuireError('EINVAL', `thp ${name}=${value}: expected a number from 0 to ${max}`);
    return Number(value);
  };
  const k = thp.khugepaged;
  const nr = 1 << thp.pmdOrder;
  switch (name) {
    case 'top':
    case 'enabled':
      thp.enabled = one(THP_ENABLED);
      return;
    case 'all': {
      const mode = one(THP_SIZE_MODES);
      for (let order = 1; order <= thp.pmdOrder; order++)
        if ((thp.anonOrders & (1 << order)) !== 0) setOrder(thp, order, mode);
      return;
    }
    case 'defrag':
      thp.defrag = one(THP_DEFRAG);
      return;
    case 'use_zero_page':
      thp.useZeroPage = number(1) === 1;
      return;
    case 'shrink_underused':
      thp.shrinkUnderused = number(1) === 1;
      return;
    case 'anon_beside_full':
      thp.besideFull = number(1) === 1;
      return;
    case 'khugepaged/defrag':
      k.defrag = number(1) === 1;
      return;
    case 'khugepaged/pages_to_scan':
      k.pagesToScan = number(2 ** 32 - 1);
      return;
    case 'khugepaged/scan_sleep_millisecs':
      k.scanSleepMs = number(2 ** 32 - 1);
      return;
    case 'khugepaged/alloc_sleep_millisecs':
      k.allocSleepMs = number(2 ** 32 - 1);
      return;
    case 'khugepaged/max_ptes_none':
      k.maxPtesNone = number(nr - 1);
      return;
    case 'khugepaged/max_ptes_swap':
      k.maxPtesSwap = number(nr - 1);
      return;
    case 'khugepaged/max_ptes_shared':
      k.maxPtesShared = number(nr - 1);
      return;
  }
  const order = thpOrderOf(m, name);
  if (order < 0 || order > 30 || ((1 << order) & thp.anonOrders) === 0) {
    const sizes: string[] = [];
    for (let o = 1; o <= thp.pmdOrder; o++) if (((1 << o) & thp.anonOrders) !== 0) sizes.push(mthpSizeName(m, o));
    throw new QuireError(
      'EINVAL',
      `thp ${name}: no such size with pages of ${m.config.pageSize / 1024}kB, expected top, ${sizes.join(', ')}`,
    );
  }
  setOrder(thp, order, one(THP_SIZE_MODES));
}

/** What asks. @kernel include/linux/huge_mm.h enum tva_type (6.18) */
export const TVA_SMAPS = 0;
export const TVA_PAGEFAULT = 1;
export const TVA_KHUGEPAGED = 2;
export const TVA_FORCED_COLLAPSE = 3;

const VM_NO_KHUGEPAGED = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;

/** The largest order of a bitmap that is not empty. @kernel include/linux/huge_mm.h highest_order (6.18) */
export const highestOrder = (orders: number): number => 31 - Math.clz32(orders);

/** Is the aligned block of that order around the address in the area, and alike in the file? @kernel include/linux/huge_mm.h thp_vma_suitable_order (6.18) */
export function thpVmaSuitableOrder(m: Machine, vma: VmaId, addr: number, order: number): boolean {
  const { vmas } = m;
  const size = m.config.pageSize * 2 ** order;
  if (vmas.file[vma] !== 0 && (vmas.start[vma] - vmas.pgoff[vma] * m.config.pageSize) % size !== 0) return false;
  const start = addr - (addr % size);
  return start >= vmas.start[vma] && start + size <= vmas.end[vma];
}

/**
 * The orders of a bitmap from the largest one on that suits the address: smaller ones do then, too.
 * @kernel include/linux/huge_mm.h thp_vma_suitable_orders (6.18)
 */
export function thpVmaSuitableOrders(m: Machine, vma: VmaId, addr: number, orders: number): number {
  let left = orders;
  while (left !== 0) {
    const order = highestOrder(left);
    if (thpVmaSuitableOrder(m, vma, addr, order)) break;
    left &= ~(1 << order);
  }
  return left;
}

/** Orders that the controls allow memory with these VM_* bits. */
function enabledOrders(thp: Thp, flags: number): number {
  let mask = thp.always;
  const advised = (flags & VM_HUGEPAGE) !== 0;
  if (advised) mask |= thp.madvise;
  if (thp.enabled === 'always' || (advised && thp.enabled === 'madvise')) mask |= thp.inherit;
  return mask;
}

/** Has the process, or the area's advice, turned huge pages off? @kernel include/linux/huge_mm.h vma_thp_disabled (6.18) */
function vmaThpDisabled(m: Machine, vma: VmaId, flags: number, forced: boolean): boolean {
  if ((flags & VM_NOHUGEPAGE) !== 0) return true;
  const mm = m.mms.flags[m.vmas.mm[vma] as MmId];
  if ((mm & MMF_DISABLE_THP_COMPLETELY) !== 0) return true;
  return (mm & MMF_DISABLE_THP_EXCEPT_ADVISED) !== 0 && (flags & VM_HUGEPAGE) === 0 && !forced;
}

/**
 * The orders of a bitmap that an area of anonymous memory with these VM_* bits may have. (Files: a mapping's folios are what
 * the file system made; they are not asked here.) @kernel mm/huge_memory.c __thp_vma_allowable_orders (6.18)
 */
export function thpVmaAllowableOrders(m: Machine, vma: VmaId, flags: number, type: number, orders: number): number {
  const { thp } = m;
  let left = orders & thp.anonOrders;
  if (type !== TVA_FORCED_COLLAPSE) left &= enabledOrders(thp, flags);
  if (left === 0 || !vmaIsAnonymous(m, vma)) return 0;
  if (vmaThpDisabled(m, vma, flags, type === TVA_FORCED_COLLAPSE)) return 0;
  if (type !== TVA_PAGEFAULT) {
    if (type !== TVA_SMAPS && (flags & VM_NO_KHUGEPAGED) !== 0) return 0;
    // The last block that could lie in the area must do so.
    while (left !== 0) {
      const order = highestOrder(left);
      if (thpVmaSuitableOrder(m, vma, m.vmas.end[vma] - m.config.pageSize * 2 ** order, order)) break;
      left &= ~(1 << order);
    }
    if (type !== TVA_SMAPS && m.vmas.anonVma[vma] === 0) return 0;
  }
  return left;
}

/** @kernel include/linux/huge_mm.h thp_vma_allowable_order (6.18) */
export const thpVmaAllowableOrder = (m: Machine, vma: VmaId, flags: number, type: number, order: number): boolean =>
  thpVmaAllowableOrders(m, vma, flags, type, 1 << order) !== 0;

/** @kernel include/linux/gfp_types.h GFP_TRANSHUGE_LIGHT (6.18) */
export const GFP_TRANSHUGE_LIGHT: number =
  (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) &
  ~(__GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM);
/** @kernel include/linux/gfp_types.h GFP_TRANSHUGE (6.18) */
export const GFP_TRANSHUGE: number = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM;

/** How hard a fault tries for a large folio. @kernel mm/huge_memory.c vma_thp_gfp_mask (6.18) */
export function vmaThpGfpMask(m: Machine, vma: VmaId): number {
  const advised = (m.vmas.flags[vma] & VM_HUGEPAGE) !== 0;
  switch (m.thp.defrag) {
    case 'always':
      return advised ? GFP_TRANSHUGE : GFP_TRANSHUGE | __GFP_NORETRY;
    case 'defer':
      return GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM;
    case 'defer+madvise':
      return GFP_TRANSHUGE_LIGHT | (advised ? __GFP_DIRECT_RECLAIM : __GFP_KSWAPD_RECLAIM);
    case 'madvise':
      return advised ? GFP_TRANSHUGE : GFP_TRANSHUGE_LIGHT;
    case 'never':
      return GFP_TRANSHUGE_LIGHT;
  }
}

/** H1 to H3. */
export function checkThp(m: Machine): void {
  const { thp } = m;
  const twice = (thp.always & thp.madvise) | (thp.always & thp.inherit) | (thp.madvise & thp.inherit);
  if (twice !== 0 || ((thp.always | thp.madvise | thp.inherit) & ~thp.anonOrders) !== 0)
    throw new Bug('H1 thp bitmaps');
  for (let order = 1; order <= thp.pmdOrder; order++)
    for (const gauge of [MTHP.nr_anon, MTHP.nr_anon_partially_mapped])
      if (mthpStat(m, order, gauge) < 0)
        throw new Bug(`H2 ${MTHP_STATS[gauge]} of ${mthpSizeName(m, order)} below zero`);
  if ((thp.hugeZeroFolio !== NO_FOLIO) !== thp.hugeZeroRefs > 0)
    throw new Bug('H3 the huge zero folio and its references');
}
