/**
 * Page flags: where each bit lies in the flags word, release by release, and the values that the engine uses (6.18).
 * Several flags share a bit and are told apart by what the folio is: the aliases are listed with the bit they share.
 * Source: include/linux/page-flags.h of 5.15, 6.1, 6.12, 6.18 and 7.3 (reference: enum pageflags), with
 * MEMORY_FAILURE and PAGE_IDLE_FLAG configured, as distributions do.
 */

/** Flag names from bit 0 upward, in the order of enum pageflags. */
const order515 = [
  'PG_locked',
  'PG_referenced',
  'PG_uptodate',
  'PG_dirty',
  'PG_lru',
  'PG_active',
  'PG_workingset',
  'PG_waiters',
  'PG_error',
  'PG_slab',
  'PG_owner_priv_1',
  'PG_arch_1',
  'PG_reserved',
  'PG_private',
  'PG_private_2',
  'PG_writeback',
  'PG_head',
  'PG_mappedtodisk',
  'PG_reclaim',
  'PG_swapbacked',
  'PG_unevictable',
  'PG_mlocked',
  'PG_uncached',
  'PG_hwpoison',
  'PG_young',
  'PG_idle',
  'PG_arch_2',
] as const; // prettier-ignore
const order612 = [
  'PG_locked',
  'PG_writeback',
  'PG_referenced',
  'PG_uptodate',
  'PG_dirty',
  'PG_lru',
  'PG_head',
  'PG_waiters',
  'PG_active',
  'PG_workingset',
  'PG_owner_priv_1',
  'PG_owner_2',
  'PG_arch_1',
  'PG_reserved',
  'PG_private',
  'PG_private_2',
  'PG_reclaim',
  'PG_swapbacked',
  'PG_unevictable',
  'PG_mlocked',
  'PG_hwpoison',
  'PG_young',
  'PG_idle',
  'PG_arch_2',
] as const;
const order618 = [
  'PG_locked',
  'PG_writeback',
  'PG_referenced',
  'PG_uptodate',
  'PG_dirty',
  'PG_lru',
  'PG_head',
  'PG_waiters',
  'PG_active',
  'PG_workingset',
  'PG_owner_priv_1',
  'PG_owner_2',
  'PG_arch_1',
  'PG_reserved',
  'PG_private',
  'PG_private_2',
  'PG_reclaim',
  'PG_swapbacked',
  'PG_unevictable',
  'PG_dropbehind',
  'PG_mlocked',
  'PG_hwpoison',
  'PG_young',
  'PG_idle',
  'PG_arch_2',
] as const;

export type PageFlagName = (typeof order618)[number];

/** Flag names by bit for each release that moved them. A release uses the newest entry that is not newer than itself. */
export const pageFlagsByRelease: Readonly<Record<string, readonly string[]>> = {
  '5.15': order515,
  '6.12': order612,
  '6.18': order618,
};

/** The engine's values: `PG.PG_dirty` is 1 << 4. */
export const PG = Object.freeze(
  Object.fromEntries(order618.map((name, bit) => [name, 1 << bit])) as { readonly [K in PageFlagName]: number },
);

/** The readahead marker: PG_reclaim on a folio that is not under writeback. */
export const PG_readahead: number = PG.PG_reclaim;
/** The folio is in the swap cache: together with PG_swapbacked. */
export const PG_swapcache: number = PG.PG_owner_priv_1;
/** In the second page's flags word: a page of the folio has bad memory. */
export const PG_has_hwpoisoned: number = PG.PG_active;
/** In the second page's flags word. */
export const PG_large_rmappable: number = PG.PG_workingset;
/** In the second page's flags word: some pages of an anonymous folio are mapped, some are not. */
export const PG_partially_mapped: number = PG.PG_reclaim;
/** In the flags word of each page of anonymous memory; of a folio that a PMD maps, in the head's. */
export const PG_anon_exclusive: number = PG.PG_owner_2;

/** Set flags of a word by name, `PG_dirty|PG_lru`, in the numbering of 6.18. */
export function decodeFlags(word: number): string {
  return order618.filter((_, bit) => (word >>> bit) & 1).join('|');
}

/** None of these may be set when a page is freed. @kernel mm/page_alloc.c free_page_is_bad (6.18) */
export const PAGE_FLAGS_CHECK_AT_FREE: number =
  PG.PG_lru |
  PG.PG_locked |
  PG.PG_private |
  PG.PG_private_2 |
  PG.PG_writeback |
  PG.PG_reserved |
  PG.PG_active |
  PG.PG_unevictable |
  PG.PG_mlocked;

/** Page types: top byte of the word shared with _mapcount. @kernel include/linux/page-flags.h PGTY_buddy (6.18) */
export const PGTY = Object.freeze({
  PGTY_buddy: 0xf0,
  PGTY_offline: 0xf1,
  PGTY_table: 0xf2,
  PGTY_guard: 0xf3,
  PGTY_hugetlb: 0xf4,
  PGTY_slab: 0xf5,
  PGTY_zsmalloc: 0xf6,
  PGTY_unaccepted: 0xf7,
  PGTY_large_kmalloc: 0xf8,
});

/** Bits of /proc/kpageflags. @kernel include/uapi/linux/kernel-page-flags.h KPF_LOCKED (6.18) */
export const KPF = Object.freeze({
  KPF_LOCKED: 0,
  KPF_REFERENCED: 2,
  KPF_UPTODATE: 3,
  KPF_DIRTY: 4,
  KPF_LRU: 5,
  KPF_ACTIVE: 6,
  KPF_WRITEBACK: 8,
  KPF_RECLAIM: 9,
  KPF_MMAP: 11,
  KPF_ANON: 12,
  KPF_SWAPBACKED: 14,
  KPF_HEAD: 15,
  KPF_TAIL: 16,
  KPF_UNEVICTABLE: 18,
  KPF_THP: 22,
  KPF_ZERO: 24,
});

const kpfPairs: readonly (readonly [number, number])[] = [
  [PG.PG_locked, KPF.KPF_LOCKED],
  [PG.PG_referenced, KPF.KPF_REFERENCED],
  [PG.PG_uptodate, KPF.KPF_UPTODATE],
  [PG.PG_dirty, KPF.KPF_DIRTY],
  [PG.PG_lru, KPF.KPF_LRU],
  [PG.PG_active, KPF.KPF_ACTIVE],
  [PG.PG_writeback, KPF.KPF_WRITEBACK],
  [PG.PG_reclaim, KPF.KPF_RECLAIM],
  [PG.PG_swapbacked, KPF.KPF_SWAPBACKED],
  [PG.PG_unevictable, KPF.KPF_UNEVICTABLE],
];

/** The /proc/kpageflags word (low 27 bits) of a folio with these flags. @kernel fs/proc/page.c stable_page_flags (6.18) */
export function stablePageFlags(flags: number): number {
  let word = 0;
  for (const [pg, kpf] of kpfPairs) if (flags & pg) word |= 1 << kpf;
  if (flags & PG.PG_head) word |= (1 << KPF.KPF_HEAD) | (1 << KPF.KPF_THP);
  return word;
}
