/**
 * What a survey looks for: the fields that are leaving struct page, the functions that take a page where a folio has taken
 * over, and what replaces them. Names are facts of Linux 5.15 to 6.18; a function that a tree does not have counts 0 there.
 */

/** Counted for every file. The order is that of the columns. */
export const figures = [
  'structPage',
  'mapping',
  'index',
  'lru',
  'private',
  'casts',
  'compoundHead',
  'oldApi',
  'otherFields',
  'unsure',
  'pageFolio',
  'folioPage',
  'structFolio',
  'folioFields',
  'folioApi',
] as const;
export type Figure = (typeof figures)[number];
export type Figures = Record<Figure, number>;

/** What must go before struct page can shrink: the sum that trends are drawn of. */
export const leftFigures = [
  'mapping',
  'index',
  'lru',
  'private',
  'casts',
  'compoundHead',
  'oldApi',
] as const satisfies readonly Figure[];

export const figureWords: Readonly<Record<Figure, string>> = {
  structPage: 'struct page',
  mapping: 'page->mapping',
  index: 'page->index',
  lru: 'page->lru',
  private: 'page->private',
  casts: 'casts',
  compoundHead: 'compound_head',
  oldApi: 'page API',
  otherFields: 'other fields',
  unsure: 'unsure',
  pageFolio: 'page_folio',
  folioPage: 'folio_page',
  structFolio: 'struct folio',
  folioFields: 'folio->',
  folioApi: 'folio API',
};

export const noFigures = (): Figures => Object.fromEntries(figures.map((f) => [f, 0])) as Figures;
export const left = (f: Figures): number => leftFigures.reduce((n, name) => n + f[name], 0);

/** The leaving fields of struct page, by the names that they have had. */
export const leavingFields: ReadonlyMap<string, 'mapping' | 'index' | 'lru' | 'private'> = new Map([
  ['mapping', 'mapping'],
  ['index', 'index'],
  ['__folio_index', 'index'],
  ['lru', 'lru'],
  ['private', 'private'],
] as const);

/** Macros and functions that give a page or a folio and are declared where a survey does not see their type. */
export const givesPage: ReadonlySet<string> = new Set([
  'alloc_page',
  'alloc_pages',
  'alloc_pages_node',
  'bio_page',
  'bvec_page',
  'compound_head',
  'folio_file_page',
  'folio_page',
  'kmap_to_page',
  'lru_to_page',
  'nth_page',
  'pfn_to_page',
  'phys_to_page',
  'pmd_page',
  'pte_page',
  'pud_page',
  'sg_page',
  'virt_to_head_page',
  'virt_to_page',
  'vmalloc_to_page',
]);
export const givesFolio: ReadonlySet<string> = new Set(['page_folio', 'virt_to_folio', 'lru_to_folio', 'pfn_folio']);

/** Flags by the word that the page functions have for them, and the word that the folio functions have. */
const flagWords: Readonly<Record<string, string>> = {
  Active: 'active',
  Checked: 'checked',
  Dirty: 'dirty',
  Error: 'error',
  Idle: 'idle',
  LRU: 'lru',
  Locked: 'locked',
  MappedToDisk: 'mappedtodisk',
  Mlocked: 'mlocked',
  OwnerPriv1: 'owner_priv_1',
  Private: 'private',
  Private2: 'private_2',
  Readahead: 'readahead',
  Reclaim: 'reclaim',
  Referenced: 'referenced',
  SwapBacked: 'swapbacked',
  SwapCache: 'swapcache',
  Unevictable: 'unevictable',
  Uptodate: 'uptodate',
  Waiters: 'waiters',
  Workingset: 'workingset',
  Writeback: 'writeback',
  Young: 'young',
};
const flagVerbs: Readonly<Record<string, string>> = {
  Page: 'folio_test_',
  SetPage: 'folio_set_',
  ClearPage: 'folio_clear_',
  TestSetPage: 'folio_test_set_',
  TestClearPage: 'folio_test_clear_',
  __SetPage: '__folio_set_',
  __ClearPage: '__folio_clear_',
};
const flagFunctions = Object.entries(flagVerbs).flatMap(([verb, by]) =>
  Object.entries(flagWords).map(([word, flag]): [string, string] => [verb + word, by + flag]),
);

/** Functions that take or give a page of a file's or of anonymous memory, and what stands in their place. */
const functions = `
SetPageUptodate folio_mark_uptodate
__SetPageUptodate __folio_mark_uptodate
PageAnon folio_test_anon
PageHuge folio_test_hugetlb
PageKsm folio_test_ksm
PageSlab folio_test_slab
PageTransHuge folio_test_large
PageTransCompound folio_test_large
PageHead folio_test_large
__set_page_dirty_no_writeback noop_dirty_folio
__set_page_dirty_nobuffers filemap_dirty_folio
__set_page_dirty_buffers block_dirty_folio
__page_cache_alloc filemap_alloc_folio
account_page_cleaned folio_account_cleaned
activate_page folio_activate
add_page_to_lru_list lruvec_add_folio
add_to_page_cache filemap_add_folio
add_to_page_cache_locked filemap_add_folio
add_to_page_cache_lru filemap_add_folio
attach_page_private folio_attach_private
block_invalidatepage block_invalidate_folio
block_read_full_page block_read_full_folio
block_write_full_page block_write_full_folio
buffer_migrate_page buffer_migrate_folio
cancel_dirty_page folio_cancel_dirty
clear_page_dirty_for_io folio_clear_dirty_for_io
create_page_buffers folio_create_buffers
compound_nr folio_nr_pages
compound_order folio_order
copy_highpage folio_copy
del_page_from_lru_list lruvec_del_folio
delete_from_page_cache filemap_remove_folio
detach_page_private folio_detach_private
do_invalidatepage folio_invalidate
end_page_writeback folio_end_writeback
find_get_page filemap_get_folio
find_get_pages filemap_get_folios
find_get_pages_contig filemap_get_folios_contig
find_get_pages_range filemap_get_folios
find_get_pages_range_tag filemap_get_folios_tag
find_lock_page filemap_lock_folio
find_or_create_page __filemap_get_folio
find_subpage folio_file_page
generic_error_remove_page generic_error_remove_folio
get_page folio_get
get_page_unless_zero folio_try_get
grab_cache_page __filemap_get_folio
grab_cache_page_nowait __filemap_get_folio
grab_cache_page_write_begin __filemap_get_folio
inc_lruvec_page_state lruvec_stat_add_folio
dec_lruvec_page_state lruvec_stat_sub_folio
mod_lruvec_page_state lruvec_stat_mod_folio
invalidate_inode_page mapping_evict_folio
iomap_readpage iomap_read_folio
isolate_lru_page folio_isolate_lru
kmap kmap_local_folio, kmap_local_page
kmap_atomic kmap_local_folio, kmap_local_page
lock_page folio_lock
lock_page_killable folio_lock_killable
lock_page_memcg folio_memcg_lock
unlock_page_memcg folio_memcg_unlock
lock_page_or_retry folio_lock_or_retry
lru_cache_add folio_add_lru
mark_page_accessed folio_mark_accessed
memcpy_from_page memcpy_from_folio
memcpy_to_page memcpy_to_folio
memzero_page folio_zero_range
migrate_page migrate_folio
migrate_page_copy folio_migrate_copy
migrate_page_move_mapping folio_migrate_mapping
migrate_page_states folio_migrate_flags
mpage_readpage mpage_read_folio
page_add_file_rmap folio_add_file_rmap_pte
page_add_anon_rmap folio_add_anon_rmap_pte
page_add_new_anon_rmap folio_add_new_anon_rmap
page_remove_rmap folio_remove_rmap_pte
page_anon_vma folio_anon_vma
page_buffers folio_buffers
page_cache_alloc filemap_alloc_folio
page_cache_get_speculative folio_try_get
page_count folio_ref_count
page_endio folio_end_read
page_evictable folio_evictable
page_file_mapping folio->mapping
page_file_offset folio_pos
page_has_buffers folio_buffers
page_has_private folio_test_private
page_index folio->index
page_is_file_lru folio_is_file_lru
page_lru folio_lru_list
page_mapcount folio_mapcount
page_mapped folio_mapped
page_mapping folio_mapping
page_maybe_dma_pinned folio_maybe_dma_pinned
page_memcg folio_memcg
page_mkclean folio_mkclean
page_mkwrite_check_truncate folio_mkwrite_check_truncate
page_offset folio_pos
page_pgdat folio_pgdat
page_private folio->private
page_ref_count folio_ref_count
page_ref_freeze folio_ref_freeze
page_ref_unfreeze folio_ref_unfreeze
page_referenced folio_referenced
page_size folio_size
page_to_index folio->index
page_zero_new_buffers folio_zero_new_buffers
pagecache_get_page __filemap_get_folio
pagevec_add folio_batch_add
pagevec_init folio_batch_init
pagevec_lookup filemap_get_folios
pagevec_lookup_range filemap_get_folios
pagevec_lookup_range_tag filemap_get_folios_tag
pagevec_lookup_tag filemap_get_folios_tag
pagevec_release folio_batch_release
pagevec_count folio_batch_count
pagevec_space folio_batch_space
put_page folio_put
put_page_testzero folio_put_testzero
putback_lru_page folio_putback_lru
read_cache_page read_cache_folio
read_mapping_page read_mapping_folio
redirty_page_for_writepage folio_redirty_for_writepage
release_pages folios_put
replace_page_cache_page replace_page_cache_folio
rotate_reclaimable_page folio_rotate_reclaimable
set_page_dirty folio_mark_dirty
set_page_dirty_lock folio_mark_dirty_lock
set_page_private folio->private
set_page_writeback folio_start_writeback
shmem_getpage shmem_get_folio
shmem_read_mapping_page shmem_read_folio
shmem_read_mapping_page_gfp shmem_read_folio_gfp
split_huge_page split_folio
test_clear_page_writeback __folio_end_writeback
test_set_page_writeback folio_start_writeback
thp_nr_pages folio_nr_pages
thp_order folio_order
thp_size folio_size
total_mapcount folio_mapcount
try_get_page folio_try_get
try_to_release_page filemap_release_folio
truncate_inode_page truncate_inode_folio
trylock_page folio_trylock
unlock_page folio_unlock
wait_for_stable_page folio_wait_stable
wait_on_page_bit folio_wait_bit
wait_on_page_bit_killable folio_wait_bit_killable
wait_on_page_fscache folio_wait_private_2
wait_on_page_locked folio_wait_locked
wait_on_page_locked_killable folio_wait_locked_killable
wait_on_page_writeback folio_wait_writeback
wait_on_page_writeback_killable folio_wait_writeback_killable
write_one_page folio_write_one
zero_user folio_zero_range
zero_user_segment folio_zero_segment
zero_user_segments folio_zero_segments
`
  .trim()
  .split('\n')
  .map((line): [string, string] => {
    const space = line.indexOf(' ');
    return [line.slice(0, space), line.slice(space + 1)];
  });

/** Page-style functions, and what replaces each. */
export const pageApi: ReadonlyMap<string, string> = new Map([...flagFunctions, ...functions]);

/** By these a file system or a block device says how large its folios may be. */
export const largeFolioCalls: ReadonlySet<string> = new Set([
  'mapping_set_folio_min_order',
  'mapping_set_folio_order_range',
  'mapping_set_folio_orders',
  'mapping_set_large_folios',
]);
