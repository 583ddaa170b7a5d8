/** Layout `overlay` in older kernels: 6.1, where a folio takes the place of two pages, and 6.12, where it takes four. */
import { arm, at, bitFields, type LayoutItem, type LayoutStruct } from './layout_struct.ts';
import { flagParts, flagParts1 } from './layouts_flags.ts';
import {
  asPage,
  folioPages23,
  mappedOrTyped,
  pagePoolWords,
  ptdescBody,
  slabBody,
  slabList,
  slabPartial,
} from './layouts_overlay.ts';

const LIST = 'struct list_head';
const WORD = 'unsigned long';
const source = (file: string, struct: string, release: string): string =>
  `${file} struct ${struct} (${release}), 64-bit, memory groups, SLUB, 4 KiB pages on x86-64`;
const tailWord = { parts: [{ name: 'tail', from: 0, count: 1 }] };
const flags = (numbering: '5.15' | '6.12', name = 'flags'): LayoutItem =>
  at(0, 8, WORD, name, { parts: flagParts(numbering) });

const evictable = arm('evictable', 'on an LRU list that reclaim looks at', at(8, 16, LIST, 'lru'));
const unevictable = arm(
  'unevictable',
  'mlocked',
  at(8, 8, 'void *', '__filler'),
  at(16, 4, 'unsigned int', 'mlock_count'),
);
const freeLists: readonly LayoutItem[] = [
  arm('buddy', 'free, in the buddy allocator', at(8, 16, LIST, 'buddy_list')),
  arm('pcp', 'free, on the list of a CPU', at(8, 16, LIST, 'pcp_list')),
];
const device = arm(
  'device',
  'device memory',
  at(8, 8, 'struct dev_pagemap *', 'pgmap'),
  at(16, 8, 'void *', 'zone_device_data'),
);
const rcu = arm('rcu', 'about to be freed by RCU', at(8, 16, 'struct rcu_head', 'rcu_head'));
const pageEnd: readonly LayoutItem[] = [
  ...mappedOrTyped,
  at(52, 4, 'atomic_t', '_refcount'),
  at(56, 8, WORD, 'memcg_data'),
];
const folioEnd: readonly LayoutItem[] = [
  at(48, 4, 'atomic_t', '_mapcount'),
  at(52, 4, 'atomic_t', '_refcount'),
  at(56, 8, WORD, 'memcg_data'),
];

export const overlay612: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 64,
    doc: 'one page of memory, whoever owns it',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'page', '6.12'),
    body: [
      flags('6.12'),
      arm(
        'cache',
        'page cache, anonymous memory, free memory',
        evictable,
        unevictable,
        ...freeLists,
        at(24, 8, 'struct address_space *', 'mapping'),
        arm('index', 'in a file, or at an address', at(32, 8, 'pgoff_t', 'index')),
        arm('dax', 'file on memory: how many mappings share it', at(32, 8, WORD, 'share')),
        at(40, 8, WORD, 'private'),
      ),
      arm('page_pool', 'owned by a page pool of the network stack', ...pagePoolWords),
      arm(
        'tail',
        'tail of a compound page: bit 0 is set, the rest is the address of the head',
        at(8, 8, WORD, 'compound_head', tailWord),
      ),
      device,
      rcu,
      ...pageEnd,
    ],
  },
  {
    name: 'folio',
    bytes: 256,
    doc: 'one folio: a page, or pages that are handled as one; a small folio has the first 64 bytes alone',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'folio', '6.12'),
    body: [
      flags('6.12'),
      evictable,
      unevictable,
      at(24, 8, 'struct address_space *', 'mapping'),
      at(32, 8, 'pgoff_t', 'index'),
      arm('data', 'of the file system', at(40, 8, 'void *', 'private')),
      arm('swapcache', 'in the swap cache', at(40, 8, 'swp_entry_t', 'swap')),
      ...folioEnd,
      arm(
        'page1',
        'order 1 and more',
        at(64, 8, WORD, '_flags_1', { parts: flagParts1('6.12') }),
        at(72, 8, WORD, '_head_1', tailWord),
        at(80, 4, 'atomic_t', '_large_mapcount'),
        at(84, 4, 'atomic_t', '_entire_mapcount'),
        at(88, 4, 'atomic_t', '_nr_pages_mapped'),
        at(92, 4, 'atomic_t', '_pincount'),
        at(96, 4, 'unsigned int', '_folio_nr_pages'),
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
    source: source('mm/slab.h', 'slab', '6.12'),
    body: slabBody(flags('6.12', '__page_flags'), slabList, slabPartial),
  },
  {
    name: 'ptdesc',
    bytes: 64,
    doc: 'a page table',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'ptdesc', '6.12'),
    body: ptdescBody(flags('6.12', '__page_flags')),
  },
];

export const overlay61: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 64,
    doc: 'one page of memory, whoever owns it',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'page', '6.1'),
    body: [
      flags('5.15'),
      arm(
        'cache',
        'page cache, anonymous memory, free memory',
        evictable,
        unevictable,
        ...freeLists,
        at(24, 8, 'struct address_space *', 'mapping'),
        at(32, 8, 'pgoff_t', 'index'),
        at(40, 8, WORD, 'private'),
      ),
      arm(
        'page_pool',
        'owned by a page pool of the network stack',
        ...pagePoolWords.slice(0, -1),
        arm('wide', '32-bit kernels with 64-bit DMA addresses', at(40, 8, WORD, 'dma_addr_upper')),
        arm('fragments', 'everywhere else', at(40, 8, 'atomic_long_t', 'pp_frag_count')),
      ),
      arm(
        'tail',
        'any tail of a compound page: bit 0 is set, the rest is the address of the head',
        at(8, 8, WORD, 'compound_head', tailWord),
        arm(
          'first',
          'the first tail',
          at(16, 1, 'unsigned char', 'compound_dtor'),
          at(17, 1, 'unsigned char', 'compound_order'),
          at(20, 4, 'atomic_t', 'compound_mapcount'),
          at(24, 4, 'atomic_t', 'compound_pincount'),
          at(28, 4, 'unsigned int', 'compound_nr'),
          at(32, 8, WORD, '_private_1'),
        ),
      ),
      arm(
        'tail2',
        'the second tail, so only from order 2 on',
        at(8, 8, WORD, '_compound_pad_1'),
        at(16, 8, WORD, '_compound_pad_2'),
        at(24, 16, LIST, 'deferred_list'),
      ),
      arm(
        'table',
        'a page table',
        at(8, 8, WORD, '_pt_pad_1'),
        at(16, 8, 'pgtable_t', 'pmd_huge_pte'),
        at(24, 8, WORD, '_pt_pad_2'),
        arm('x86', 'top level on x86', at(32, 8, 'struct mm_struct *', 'pt_mm')),
        arm('fragments', 'tables smaller than a page', at(32, 4, 'atomic_t', 'pt_frag_refcount')),
        arm('shared', 'hugetlb: processes that share the table', at(32, 4, 'atomic_t', 'pt_share_count')),
        at(40, 4, 'spinlock_t', 'ptl'),
      ),
      device,
      rcu,
      ...pageEnd,
    ],
  },
  {
    name: 'folio',
    bytes: 112,
    doc: 'one folio: a page, or pages that are handled as one; a small folio has the first 64 bytes alone',
    certainty: 'shipped',
    source: source('include/linux/mm_types.h', 'folio', '6.1'),
    body: [
      flags('5.15'),
      evictable,
      unevictable,
      at(24, 8, 'struct address_space *', 'mapping'),
      at(32, 8, 'pgoff_t', 'index'),
      at(40, 8, 'void *', 'private'),
      ...folioEnd,
      arm(
        'page1',
        'order 1 and more',
        at(64, 8, WORD, '_flags_1'),
        at(72, 8, WORD, '__head', tailWord),
        at(80, 1, 'unsigned char', '_folio_dtor'),
        at(81, 1, 'unsigned char', '_folio_order'),
        at(84, 4, 'atomic_t', '_total_mapcount'),
        at(88, 4, 'atomic_t', '_pincount'),
        at(92, 4, 'unsigned int', '_folio_nr_pages'),
        at(96, 8, WORD, '_private_1'),
      ),
      asPage(0),
    ],
  },
  {
    name: 'slab',
    bytes: 64,
    doc: 'pages that hold small kernel objects',
    certainty: 'shipped',
    source: source('mm/slab.h', 'slab', '6.1'),
    body: [
      flags('5.15', '__page_flags'),
      arm('list', 'on a list of its node', at(8, 16, LIST, 'slab_list')),
      rcu,
      arm('partial', 'on the partial list of a CPU', at(8, 8, 'struct slab *', 'next'), at(16, 4, 'int', 'slabs')),
      at(24, 8, 'struct kmem_cache *', 'slab_cache'),
      at(32, 8, 'void *', 'freelist'),
      arm('counters', 'all three counters at once', at(40, 8, WORD, 'counters')),
      arm('counter', 'one by one', ...bitFields(40, 4, { inuse: 16, objects: 15, frozen: 1 })),
      at(48, 4, 'unsigned int', '__unused'),
      at(52, 4, 'atomic_t', '__page_refcount'),
      at(56, 8, WORD, 'memcg_data'),
    ],
  },
];
