/** Event counters and gauges with the spelling of /proc/vmstat. One Float64Array a machine: counts pass 2^31. */

export const VMSTAT_NAMES = [
  'nr_free_pages', 'nr_free_pages_blocks', 'nr_inactive_anon', 'nr_active_anon', 'nr_inactive_file', 'nr_active_file', 'nr_unevictable',
  'nr_file_pages', 'nr_file_hugepages', 'nr_shmem', 'nr_shmem_hugepages', 'nr_dirty', 'nr_writeback', 'nr_dirtied',
  'nr_written', 'nr_vmscan_immediate_reclaim', 'nr_memmap_pages',
  'pgalloc_dma', 'pgalloc_dma32', 'pgalloc_normal', 'pgalloc_movable', 'pgfree', 'pgactivate', 'pgdeactivate',
  'pgfault', 'pgmajfault', 'pgrefill', 'pgrotated', 'pgpgin', 'pgpgout',
  'pgsteal_kswapd', 'pgsteal_direct', 'pgsteal_anon', 'pgsteal_file', 'pgscan_kswapd', 'pgscan_direct', 'pgscan_anon',
  'pgscan_file', 'pgscan_direct_throttle', 'slabs_scanned', 'pageoutrun', 'drop_pagecache',
  'allocstall_dma', 'allocstall_dma32', 'allocstall_normal', 'allocstall_movable',
  'kswapd_low_wmark_hit_quickly', 'kswapd_high_wmark_hit_quickly', 'oom_kill',
  'workingset_nodes', 'workingset_refault_anon', 'workingset_refault_file', 'workingset_activate_anon',
  'workingset_activate_file', 'workingset_restore_anon', 'workingset_restore_file', 'workingset_nodereclaim',
  'unevictable_pgs_culled', 'unevictable_pgs_rescued',
  'compact_migrate_scanned', 'compact_free_scanned', 'compact_isolated', 'compact_stall', 'compact_fail',
  'compact_success', 'compact_daemon_wake', 'compact_daemon_migrate_scanned', 'compact_daemon_free_scanned', 'pgmigrate_success', 'pgmigrate_fail',
  'thp_file_alloc', 'thp_split_page', 'thp_split_page_failed',
  'nr_swapcached', 'nr_zspages', 'nr_vmscan_write', 'pswpin', 'pswpout', 'swap_ra', 'swap_ra_hit', 'swpin_zero', 'swpout_zero',
  'zswpin', 'zswpout', 'zswpwb', 'thp_swpout', 'thp_swpout_fallback',
  'nr_anon_pages', 'nr_mapped', 'nr_anon_transparent_hugepages', 'nr_file_pmdmapped', 'nr_shmem_pmdmapped', 'nr_mlock',
  'nr_page_table_pages', 'pgreuse', 'pglazyfree', 'pglazyfreed', 'unevictable_pgs_scanned', 'unevictable_pgs_mlocked',
  'unevictable_pgs_munlocked', 'unevictable_pgs_cleared', 'unevictable_pgs_stranded',
  'thp_fault_alloc', 'thp_fault_fallback', 'thp_fault_fallback_charge', 'thp_collapse_alloc', 'thp_collapse_alloc_failed',
  'thp_file_fallback', 'thp_file_fallback_charge', 'thp_file_mapped', 'thp_deferred_split_page',
  'thp_underused_split_page', 'thp_split_pmd', 'thp_scan_exceed_none_pte', 'thp_scan_exceed_swap_pte',
  'thp_scan_exceed_share_pte', 'thp_zero_page_alloc', 'thp_zero_page_alloc_failed',
  'thp_migration_success', 'thp_migration_fail', 'thp_migration_split',
  'nr_slab_reclaimable', 'nr_slab_unreclaimable', 'nr_unaccepted', 'nr_hugetlb', 'nr_balloon_pages',
  'balloon_inflate', 'balloon_deflate', 'balloon_migrate', 'htlb_buddy_alloc_success', 'htlb_buddy_alloc_fail', 'drop_slab',
] as const; // biome-ignore format: a list
export type VmstatName = (typeof VMSTAT_NAMES)[number];
/** Position of a counter: `m.vmstat[V.pgalloc_normal]`. */
export const V = Object.freeze(
  Object.fromEntries(VMSTAT_NAMES.map((name, i) => [name, i])) as { readonly [K in VmstatName]: number },
);
export const vmstatTable = (): Float64Array => new Float64Array(VMSTAT_NAMES.length);

/** The counters by name, zeros left out. */
export function vmstatReport(v: Float64Array): Record<string, number> {
  const out: Record<string, number> = {};
  VMSTAT_NAMES.forEach((name, i) => {
    if (v[i] !== 0) out[name] = v[i] as number;
  });
  return out;
}
