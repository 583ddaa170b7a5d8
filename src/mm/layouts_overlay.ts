/**
 * Layout `overlay`: struct page, and over the same bytes a structure for each kind of owner (6.18). struct folio lies over
 * the first four pages of a large folio: what concerns the whole folio stands in the words that tails do not need.
 */
import { arm, at, bitFields, type LayoutItem, type LayoutStruct } from './layout_struct.ts';
import { flagParts, flagParts1 } from './layouts_flags.ts';

const LIST = 'struct list_head';
const WORD = 'unsigned long';
const source = (file: string, struct: string, release = '6.18'): string =>
  `${file} struct ${struct} (${release}), 64-bit, memory groups, 4 KiB pages on x86-64`;
const tailWord = { parts: [{ name: 'tail', from: 0, count: 1 }] };
const rcu = (offset: number, name = 'rcu_head'): LayoutItem =>
  arm('rcu', 'about to be freed by RCU', at(offset, 16, 'struct rcu_head', name));

/** The words that all descriptors over a page end with. */
export const pageTypeWords: readonly LayoutItem[] = [
  at(48, 4, 'unsigned int', '__page_type'),
  at(52, 4, 'atomic_t', '__page_refcount'),
];

/** Of a page pool: the same words in struct page, netmem_desc and net_iov. */
export const pagePoolWords: readonly LayoutItem[] = [
  at(8, 8, WORD, 'pp_magic'),
  at(16, 8, 'struct page_pool *', 'pp'),
  at(24, 8, WORD, '_pp_mapping_pad'),
  at(32, 8, WORD, 'dma_addr'),
  at(40, 8, 'atomic_long_t', 'pp_ref_count'),
];

export const mappedOrTyped: readonly LayoutItem[] = [
  arm('typed', 'never mapped: a page type in the top byte', at(48, 4, 'unsigned int', 'page_type')),
  arm('mapped', 'may be mapped to user space: mappings of this page less one', at(48, 4, 'atomic_t', '_mapcount')),
];

/** The bytes of one page of a folio as its struct page: the cast between the two. */
export const asPage = (page: 0 | 1 | 2 | 3): LayoutItem =>
  arm(
    page === 0 ? 'as_page' : `as_page${page}`,
    'the same bytes as struct page',
    at(64 * page, 64, 'struct page', page === 0 ? 'page' : `__page_${page}`),
  );

/** Pages 2 and 3 of a large folio, the same since 6.6. */
export const folioPages23: readonly LayoutItem[] = [
  arm(
    'page2',
    'order 2 and more',
    at(128, 8, WORD, '_flags_2'),
    at(136, 8, WORD, '_head_2', tailWord),
    at(144, 16, LIST, '_deferred_list'),
  ),
  asPage(2),
  arm(
    'page3',
    'hugetlb',
    at(192, 8, WORD, '_flags_3'),
    at(200, 8, WORD, '_head_3', tailWord),
    at(208, 8, 'void *', '_hugetlb_subpool'),
    at(216, 8, 'void *', '_hugetlb_cgroup'),
    at(224, 8, 'void *', '_hugetlb_cgroup_rsvd'),
    at(232, 8, 'void *', '_hugetlb_hwpoison'),
  ),
  asPage(3),
];

const freelist: readonly LayoutItem[] = [
  arm(
    'words',
    'one word at a time',
    at(32, 8, 'void *', 'freelist'),
    arm('counters', 'all three counters at once', at(40, 8, WORD, 'counters')),
    arm('counter', 'one by one', ...bitFields(40, 4, { inuse: 16, objects: 15, frozen: 1 })),
  ),
  arm('both', 'both words in one compare-and-exchange', at(32, 16, 'freelist_aba_t', 'freelist_counter')),
];

/** A slab of SLUB since 6.12; lists in the order of the release. */
export const slabBody = (flags: LayoutItem, ...lists: readonly LayoutItem[]): readonly LayoutItem[] => [
  flags,
  at(8, 8, 'struct kmem_cache *', 'slab_cache'),
  arm('live', 'holds objects', ...lists, ...freelist),
  rcu(16),
  ...pageTypeWords,
  at(56, 8, WORD, 'obj_exts'),
];
export const slabList: LayoutItem = arm('list', 'on a list of its node', at(16, 16, LIST, 'slab_list'));
export const slabPartial: LayoutItem = arm(
  'partial',
  'on the partial list of a CPU',
  at(16, 8, 'struct slab *', 'next'),
  at(24, 4, 'int', 'slabs'),
);

/** A page table; the words behind the flags are the same since 6.6. */
export const ptdescBody = (flags: LayoutItem): readonly LayoutItem[] => [
  flags,
  rcu(8, 'pt_rcu_head'),
  arm('list', 'on a list', at(8, 16, LIST, 'pt_list')),
  arm(
    'huge',
    'keeps a table for the split of a huge mapping',
    at(8, 8, WORD, '_pt_pad_1'),
    at(16, 8, 'pgtable_t', 'pmd_huge_pte'),
  ),
  at(24, 8, WORD, '__page_mapping'),
  arm('index', 'guest tables on s390', at(32, 8, 'pgoff_t', 'pt_index')),
  arm('mm', 'top level on x86', at(32, 8, 'struct mm_struct *', 'pt_mm')),
  arm('fragments', 'tables smaller than a page', at(32, 4, 'atomic_t', 'pt_frag_refcount')),
  arm('shared', 'hugetlb: processes that share the table', at(32, 4, 'atomic_t', 'pt_share_count')),
  arm('pad', 'the whole word', at(40, 8, WORD, '_pt_pad_2')),
  arm('lock', 'the lock, when it fits a word; else a pointer to it', at(40, 4, 'spinlock_t', 'ptl')),
  ...pageTypeWords,
  at(56, 8, WORD, 'pt_memcg_data'),
];

const flags = (name = 'flags'): LayoutItem => at(0, 8, 'memdesc_flags_t', name, { parts: flagParts('6.18') });

export const overlay618: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 64,
    doc: 'one page of memory, whoever owns it',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'page'),
    body: [
      flags(),
      arm(
        'cache',
        'page cache, anonymous memory, free memory',
        arm('lru', 'on an LRU list', at(8, 16, LIST, 'lru')),
        arm('buddy', 'free, in the buddy allocator', at(8, 16, LIST, 'buddy_list')),
        arm('pcp', 'free, on the list of a CPU', at(8, 16, LIST, 'pcp_list')),
        arm('pcp_atomic', 'freed where no lock may be taken', at(8, 8, 'struct llist_node', 'pcp_llist')),
        at(24, 8, 'struct address_space *', 'mapping'),
        arm('index', 'in a file, or at an address', at(32, 8, 'pgoff_t', '__folio_index')),
        arm('dax', 'file on memory: how many mappings share it', at(32, 8, WORD, 'share')),
        at(40, 8, WORD, 'private'),
      ),
      arm('page_pool', 'owned by a page pool of the network stack', ...pagePoolWords),
      arm(
        'tail',
        'tail of a compound page: bit 0 is set, the rest is the address of the head',
        at(8, 8, WORD, 'compound_head', tailWord),
      ),
      arm(
        'device',
        'device memory; the first word is the folio’s pgmap, or a tail’s link',
        at(8, 8, 'void *', '_unused_pgmap_compound_head'),
        at(16, 8, 'void *', 'zone_device_data'),
      ),
      rcu(8),
      ...mappedOrTyped,
      at(52, 4, 'atomic_t', '_refcount'),
      at(56, 8, WORD, 'memcg_data'),
    ],
  },
  {
    name: 'folio',
    bytes: 256,
    doc: 'one folio: a page, or pages that are handled as one; a small folio has the first 64 bytes alone',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'folio'),
    body: [
      flags(),
      arm('evictable', 'on an LRU list that reclaim looks at', at(8, 16, LIST, 'lru')),
      arm('unevictable', 'mlocked', at(8, 8, 'void *', '__filler'), at(16, 4, 'unsigned int', 'mlock_count')),
      arm('device', 'device memory', at(8, 8, 'struct dev_pagemap *', 'pgmap')),
      at(24, 8, 'struct address_space *', 'mapping', {
        parts: [
          { name: 'anon', from: 0, count: 1 },
          { name: 'ksm', from: 1, count: 1 },
        ],
      }),
      arm('index', 'in a file, or at an address', at(32, 8, 'pgoff_t', 'index')),
      arm('dax', 'file on memory: how many mappings share it', at(32, 8, WORD, 'share')),
      arm('data', 'of the file system', at(40, 8, 'void *', 'private')),
      arm('swapcache', 'in the swap cache', at(40, 8, 'swp_entry_t', 'swap')),
      at(48, 4, 'atomic_t', '_mapcount'),
      at(52, 4, 'atomic_t', '_refcount'),
      at(56, 8, WORD, 'memcg_data'),
      arm(
        'page1',
        'order 1 and more',
        at(64, 8, WORD, '_flags_1', { parts: flagParts1('6.18') }),
        at(72, 8, WORD, '_head_1', tailWord),
        arm(
          'counts',
          'by name',
          at(80, 4, 'atomic_t', '_large_mapcount'),
          at(84, 4, 'atomic_t', '_nr_pages_mapped'),
          at(88, 4, 'atomic_t', '_entire_mapcount'),
          at(92, 4, 'atomic_t', '_pincount'),
          at(96, 8, 'mm_id_mapcount_t[2]', '_mm_id_mapcount'),
          arm('each', 'two processes', at(104, 8, 'mm_id_t[2]', '_mm_id')),
          arm('pair', 'both at once', at(104, 8, WORD, '_mm_ids')),
        ),
        arm('words', 'as words', at(80, 32, 'unsigned long[4]', '_usable_1')),
        at(112, 4, 'atomic_t', '_mapcount_1'),
        at(116, 4, 'atomic_t', '_refcount_1'),
        at(120, 4, 'unsigned int', '_nr_pages'),
      ),
      asPage(0),
      asPage(1),
      ...folioPages23,
    ],
  },
  {
    name: 'slab',
    bytes: 64,
    doc: 'pages that hold small kernel objects',
    certainty: 'shipped',
    source: source('mm/slab.h', 'slab'),
    body: slabBody(
      flags(),
      slabList,
      arm(
        'flushed',
        'taken from a CPU, to be put back later',
        at(16, 8, 'struct llist_node', 'llnode'),
        at(24, 8, 'void *', 'flush_freelist'),
      ),
      slabPartial,
    ),
  },
  {
    name: 'ptdesc',
    bytes: 64,
    doc: 'a page table',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'ptdesc'),
    body: ptdescBody(flags('pt_flags')),
  },
  {
    name: 'zpdesc',
    bytes: 56,
    doc: 'a page of compressed memory (zsmalloc)',
    certainty: 'shipped',
    source: source('mm/zpdesc.h', 'zpdesc'),
    body: [
      at(0, 8, WORD, 'flags', { parts: flagParts('6.18') }),
      at(8, 16, LIST, 'lru'),
      at(24, 8, WORD, 'movable_ops'),
      arm('chained', 'part of a chain of pages', at(32, 8, 'struct zpdesc *', 'next')),
      arm('huge', 'holds one object of a whole page', at(32, 8, WORD, 'handle')),
      at(40, 8, 'struct zspage *', 'zspage'),
      at(48, 4, 'unsigned int', 'first_obj_offset', {
        parts: [
          { name: 'offset', from: 0, count: 24 },
          { name: 'page type', from: 24, count: 8 },
        ],
      }),
      at(52, 4, 'atomic_t', '_refcount'),
    ],
  },
  {
    name: 'netmem_desc',
    bytes: 48,
    doc: 'a page of a page pool of the network stack',
    certainty: 'shipped',
    source: source('include/net/netmem.h', 'netmem_desc'),
    body: [at(0, 8, WORD, '_flags'), ...pagePoolWords],
  },
  {
    name: 'net_iov',
    bytes: 64,
    doc: 'memory of a page pool that is no page: a device’s',
    certainty: 'shipped',
    source: source('include/net/netmem.h', 'net_iov'),
    body: [
      arm('desc', 'as one', at(0, 48, 'struct netmem_desc', 'desc')),
      arm('words', 'by name', at(0, 8, WORD, '_flags'), ...pagePoolWords),
      at(48, 8, 'struct net_iov_area *', 'owner'),
      at(56, 8, 'enum net_iov_type', 'type'),
    ],
  },
];
