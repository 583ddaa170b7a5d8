/**
 * Layouts `page32` and `memdesc8`, as far as the plans are published: a page is 32 bytes, then 8, and each folio, slab, page
 * table … is described by a structure of its own, from a slab cache, which its pages point to. The pointer's low four bits
 * are the type, so descriptors lie at multiples of 16.
 *
 * What a plan gives in fields stands here as `plan`. Where it gives only that there is such a descriptor, the fields are
 * today's, and it is marked `estimate`: an upper bound.
 */
import { arm, at, type LayoutBits, type LayoutField, type LayoutItem, type LayoutStruct } from './layout_struct.ts';
import { overlay618 } from './layouts_overlay.ts';

const LIST = 'struct list_head';
const WORD = 'unsigned long';
const WIKI = 'kernelnewbies.org MatthewWilcox/Memdescs';
const estimate = { certainty: 'estimate' } as const;

const typedPointer: readonly LayoutBits[] = [
  { name: 'type', from: 0, count: 4 },
  { name: 'descriptor / 16', from: 4, count: 60 },
];

const folioWords: readonly LayoutItem[] = [
  at(0, 8, WORD, 'flags'),
  at(8, 16, LIST, 'lru'),
  at(24, 8, 'struct address_space *', 'mapping'),
  at(32, 8, 'pgoff_t', 'index'),
  at(40, 8, 'void *', 'private'),
  at(48, 4, 'atomic_t', '_refcount'),
  at(52, 4, 'atomic_t', '_mapcount'),
  at(56, 4, 'atomic_t', '_pincount'),
  at(60, 1, 'unsigned char', 'order'),
  at(64, 8, WORD, 'pfn'),
  at(72, 8, WORD, 'memcg_data'),
];

/** Today's overlay of that name as a structure of its own, at a multiple of 16 bytes. */
function ofToday(name: string): LayoutStruct {
  const today = overlay618.find((s) => s.name === name) as LayoutStruct;
  return {
    ...today,
    bytes: Math.ceil(today.bytes / 16) * 16,
    certainty: 'estimate',
    source: `${WIKI} names the descriptor; fields are those of ${today.source}`,
  };
}

/** Descriptors that both plans have. */
const descriptors: readonly LayoutStruct[] = [
  {
    name: 'folio',
    bytes: 80,
    doc: 'a folio of one page',
    certainty: 'plan',
    source: `${WIKI}/Path: fields in this order; offsets follow from their sizes`,
    body: folioWords,
  },
  {
    name: 'folio_large',
    bytes: 128,
    doc: 'a folio of two pages or more: the plan says that it has more fields, not which; here those of today',
    certainty: 'estimate',
    source: `${WIKI}/Path for the first 80 bytes; counters and list of struct folio (6.18) behind them`,
    body: [
      ...folioWords,
      at(80, 4, 'atomic_t', '_large_mapcount', estimate),
      at(84, 4, 'atomic_t', '_nr_pages_mapped', estimate),
      at(88, 4, 'atomic_t', '_entire_mapcount', estimate),
      at(96, 8, 'mm_id_mapcount_t[2]', '_mm_id_mapcount', estimate),
      at(104, 8, 'mm_id_t[2]', '_mm_id', estimate),
      at(112, 16, LIST, '_deferred_list', estimate),
    ],
  },
  ofToday('slab'),
  ofToday('ptdesc'),
  ofToday('zpdesc'),
  ofToday('netmem_desc'),
];

export const page32Structs: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 32,
    doc: 'one page of memory, whoever owns it',
    certainty: 'plan',
    source: `${WIKI}/Path, the 32-byte step (its newer revision)`,
    body: [
      at(0, 8, WORD, 'flags'),
      arm('buddy', 'free, in the buddy allocator', at(8, 16, LIST, 'buddy_list')),
      arm('pcp', 'free, on the list of a CPU', at(8, 16, LIST, 'pcp_list')),
      arm(
        'owned',
        'in use: by what the type says. 1 misc, 2 file folio, 3 anonymous folio; 0, 4, 8, 12 are a list pointer’s: free',
        at(8, 8, WORD, 'memdesc', { parts: typedPointer }),
        arm('other', 'no folio', at(16, 8, WORD, 'private')),
        arm('folio', 'page of a folio: mappings of this page less one', at(16, 4, 'atomic_t', '_mapcount')),
      ),
      at(24, 4, 'atomic_t', '_refcount'),
    ],
  },
  ...descriptors,
];

const word = (parts: readonly LayoutBits[], more: Pick<LayoutField, 'certainty'> = {}): LayoutField =>
  at(0, 8, WORD, 'memdesc', { parts, ...more });

export const memdesc8Structs: readonly LayoutStruct[] = [
  {
    name: 'page',
    bytes: 8,
    doc: 'one page of memory, whoever owns it; all pages of one owner hold the same word',
    certainty: 'plan',
    source: `${WIKI} (its later revision)`,
    body: [
      arm(
        'misc',
        'type 0, no descriptor and no count. Subtypes: 0 reserved, 1 zero page, 2 unknown, 3 vmalloc, 4 guard, 5 offline, ' +
          '6 large kmalloc, 7 exact, 8 brd',
        word([
          { name: 'type', from: 0, count: 4 },
          { name: 'subtype', from: 4, count: 7 },
          { name: 'mappable', from: 11, count: 1 },
          { name: 'order', from: 12, count: 6 },
          { name: 'zone', from: 51, count: 3 },
          { name: 'node', from: 54, count: 10 },
        ]),
      ),
      arm(
        'buddy',
        'type 1, free: links and order within the word, no descriptor; which bits is not published',
        word([{ name: 'type', from: 0, count: 4 }], estimate),
      ),
      arm(
        'owned',
        'a descriptor. Types: 2 file folio, 3 anonymous folio, 4 ksm, 5 slab, 6 movable, 7 page table, 8 net pool, ' +
          '9 hwpoison, 10 per-CPU memory',
        word(typedPointer),
      ),
    ],
  },
  ...descriptors,
];
