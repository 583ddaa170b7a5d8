/**
 * Layout `page64`: struct page before folios (5.15). One structure for every owner of a page; a compound page keeps what it
 * needs in the words of its first two tails.
 */
import { arm, at, bitFields, type LayoutStruct } from './layout_struct.ts';
import { flagParts } from './layouts_flags.ts';

const LIST = 'struct list_head';
const WORD = 'unsigned long';

export const page64Structs: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 64,
    doc: 'one page of memory, whoever owns it',
    certainty: 'shipped',
    source: 'include/linux/mm_types.h struct page (5.15), 64-bit, memory groups, 4 KiB pages on x86-64',
    body: [
      at(0, 8, WORD, 'flags', { parts: flagParts('5.15') }),
      arm(
        'cache',
        'page cache and anonymous memory; a free block uses lru and private (its order)',
        at(8, 16, LIST, 'lru'),
        at(24, 8, 'struct address_space *', 'mapping'),
        at(32, 8, 'pgoff_t', 'index'),
        at(40, 8, WORD, 'private'),
      ),
      arm(
        'page_pool',
        'owned by a page pool of the network stack',
        at(8, 8, WORD, 'pp_magic'),
        at(16, 8, 'struct page_pool *', 'pp'),
        at(24, 8, WORD, '_pp_mapping_pad'),
        at(32, 8, WORD, 'dma_addr'),
        arm('wide', '32-bit kernels with 64-bit DMA addresses', at(40, 8, WORD, 'dma_addr_upper')),
        arm('fragments', 'everywhere else', at(40, 8, 'atomic_long_t', 'pp_frag_count')),
      ),
      arm(
        'slab',
        'owned by a slab allocator',
        arm('list', 'on a list of its node', at(8, 16, LIST, 'slab_list')),
        arm(
          'partial',
          'on the partial list of a CPU',
          at(8, 8, 'struct page *', 'next'),
          at(16, 4, 'int', 'pages'),
          at(20, 4, 'int', 'pobjects'),
        ),
        at(24, 8, 'struct kmem_cache *', 'slab_cache'),
        at(32, 8, 'void *', 'freelist'),
        arm('first', 'SLAB: first object', at(40, 8, 'void *', 's_mem')),
        arm('counters', 'SLUB: all three counters at once', at(40, 8, WORD, 'counters')),
        arm('counter', 'SLUB: one by one', ...bitFields(40, 4, { inuse: 16, objects: 15, frozen: 1 })),
      ),
      arm(
        'tail',
        'any tail of a compound page: bit 0 is set, the rest is the address of the head',
        at(8, 8, WORD, 'compound_head', { parts: [{ name: 'tail', from: 0, count: 1 }] }),
        arm(
          'first',
          'the first tail',
          at(16, 1, 'unsigned char', 'compound_dtor'),
          at(17, 1, 'unsigned char', 'compound_order'),
          at(20, 4, 'atomic_t', 'compound_mapcount'),
          at(24, 4, 'unsigned int', 'compound_nr'),
        ),
      ),
      arm(
        'tail2',
        'the second tail, so only from order 2 on',
        at(8, 8, WORD, '_compound_pad_1'),
        at(16, 4, 'atomic_t', 'hpage_pinned_refcount'),
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
        at(40, 4, 'spinlock_t', 'ptl'),
      ),
      arm(
        'device',
        'device memory',
        at(8, 8, 'struct dev_pagemap *', 'pgmap'),
        at(16, 8, 'void *', 'zone_device_data'),
      ),
      arm('rcu', 'about to be freed by RCU', at(8, 16, 'struct rcu_head', 'rcu_head')),
      arm('mapped', 'may be mapped to user space: mappings less one', at(48, 4, 'atomic_t', '_mapcount')),
      arm('typed', 'never mapped: a page type', at(48, 4, 'unsigned int', 'page_type')),
      arm('slab_active', 'SLAB: objects in use', at(48, 4, 'unsigned int', 'active')),
      arm('slob', 'SLOB: free units', at(48, 4, 'int', 'units')),
      at(52, 4, 'atomic_t', '_refcount'),
      at(56, 8, WORD, 'memcg_data'),
    ],
  },
];
