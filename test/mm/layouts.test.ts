import { describe, expect, test } from 'vitest';
import {
  arm,
  at,
  bitFields,
  bitRange,
  checkLayoutStruct,
  fieldsOf,
  holesOf,
  type LayoutItem,
  type LayoutStruct,
} from '../../src/mm/layout_struct.ts';
import { layoutNames, layoutReleases, layoutStructs, releasedLayout } from '../../src/mm/layouts.ts';
import { type LayoutName, memmapLayout } from '../../src/mm/memmap.ts';
import { MemoryMap } from '../../src/mm/memory_map.ts';
import * as mmTypes from '../../src/mm/mm_types.ts';

const all = layoutNames.flatMap((layout) =>
  layoutReleases[layout].flatMap(({ release, structs }) => structs.map((struct) => ({ layout, release, struct }))),
);
const struct = (layout: (typeof layoutNames)[number], name: string, release?: string): LayoutStruct =>
  layoutStructs(releasedLayout(layout, release), name)[0] as LayoutStruct;

describe('every structure of every layout', () => {
  test.each(all.map((x) => [`${x.layout} ${x.release} ${x.struct.name}`, x.struct] as const))(
    '%s does not contradict itself',
    (_, s) => {
      checkLayoutStruct(s);
      expect(s.source.length).toBeGreaterThan(20);
      expect(fieldsOf(s).length).toBeGreaterThan(0);
    },
  );

  test('the map’s price a page is the size of struct page', () => {
    for (const layout of layoutNames)
      for (const { structs } of layoutReleases[layout])
        expect(structs.find((s) => s.name === 'page')?.bytes).toBe(memmapLayout(layout).bytesPerPage);
  });

  test.each(['page32', 'memdesc8'] as const)(
    '%s: descriptors are as large as the bill says, in units of 16',
    (layout) => {
      const bill = memmapLayout(layout);
      expect(struct(layout, 'folio').bytes).toBe(bill.folioBytesSmall);
      expect(struct(layout, 'folio_large').bytes).toBe(bill.folioBytesLarge);
      expect(struct(layout, 'slab').bytes).toBe(bill.slabBytes);
      for (const s of layoutReleases[layout][0]?.structs ?? []) if (s.name !== 'page') expect(s.bytes % 16).toBe(0);
    },
  );

  test('only plans are not shipped', () => {
    for (const { layout, release, struct: s } of all) {
      const shipped = layout === 'page64' || layout === 'overlay';
      expect(s.certainty === 'shipped').toBe(shipped);
      expect(release === 'plan').toBe(!shipped);
    }
  });
});

describe('overlays lie where the page’s own words lie', () => {
  const page = new Map(fieldsOf(struct('overlay', 'page')).map((f) => [f.name, f]));
  // The kernel asserts the same, descriptor by descriptor: FOLIO_MATCH, SLAB_MATCH, TABLE_MATCH, ZPDESC_MATCH, NETMEM_DESC_ASSERT_OFFSET.
  test.each([
    ['folio', { flags: 'flags', lru: 'lru', mapping: 'mapping', index: '__folio_index', private: 'private' }],
    ['folio', { _mapcount: '_mapcount', _refcount: '_refcount', memcg_data: 'memcg_data', pgmap: 'compound_head' }],
    ['slab', { flags: 'flags', slab_cache: 'compound_head', __page_refcount: '_refcount', obj_exts: 'memcg_data' }],
    ['ptdesc', { pt_flags: 'flags', pt_list: 'lru', __page_mapping: 'mapping', pt_index: '__folio_index' }],
    ['ptdesc', { pt_rcu_head: 'rcu_head', __page_type: 'page_type', pt_memcg_data: 'memcg_data' }],
    ['zpdesc', { flags: 'flags', lru: 'lru', movable_ops: 'mapping', next: '__folio_index', zspage: 'private' }],
    ['zpdesc', { first_obj_offset: 'page_type', _refcount: '_refcount' }],
    ['netmem_desc', { pp_magic: 'pp_magic', pp: 'pp', dma_addr: 'dma_addr', pp_ref_count: 'pp_ref_count' }],
  ] as const)('%s %j', (name, same) => {
    const fields = new Map(fieldsOf(struct('overlay', name)).map((f) => [f.name, f]));
    for (const [own, pages] of Object.entries(same as Record<string, string>))
      expect([own, fields.get(own)?.offset]).toEqual([own, page.get(pages)?.offset]);
  });

  test('a tail’s link and the folio’s heads are the same word of each page', () => {
    const folio = new Map(fieldsOf(struct('overlay', 'folio')).map((f) => [f.name, f.offset]));
    for (const [i, head] of ['_head_1', '_head_2', '_head_3'].entries()) expect(folio.get(head)).toBe(64 * (i + 1) + 8);
    expect(page.get('compound_head')?.offset).toBe(8);
    expect(folio.get('_mapcount_1')).toBe(64 + (page.get('_mapcount')?.offset ?? 0));
    expect(folio.get('_refcount_1')).toBe(64 + (page.get('_refcount')?.offset ?? 0));
  });
});

/** A field by which each of the engine's words goes; `plus` 4 is the high half of a field of 8 bytes. */
type Named = readonly [struct: string, field: string, plus?: 4 | 8 | 12];
const common = (folio: string): Readonly<Record<string, Named>> => ({
  W_FLAGS: [folio, 'flags'],
  // The part of the flags word that says zone and node is in its high half.
  W_ZONE: [folio, 'flags', 4],
  W_NEXT: [folio, 'lru'],
  W_PREV: [folio, 'lru', 8],
  W_MAPPING: [folio, 'mapping'],
  W_INDEX: [folio, 'index'],
  W_PRIVATE: [folio, 'private'],
  // The kernel keeps mlock_count in the low half of lru.prev; the engine, whose unevictable folios are on a list, in the high half.
  W_MLOCK_COUNT: [folio, 'lru', 12],
  mapcount: [folio, '_mapcount'],
  refcount: [folio, '_refcount'],
});
const plan: Readonly<Record<string, Named>> = {
  ...common('folio_large'),
  memcg: ['folio_large', 'memcg_data'],
  pfn: ['folio_large', 'pfn'],
  pincount: ['folio_large', '_pincount'],
  orderAt: ['folio_large', 'order'],
  flags1: ['folio_large', 'order'],
  largeMapcount: ['folio_large', '_large_mapcount'],
  nrPagesMapped: ['folio_large', '_nr_pages_mapped'],
  entireMapcount: ['folio_large', '_entire_mapcount'],
  mmIdMapcount: ['folio_large', '_mm_id_mapcount'],
  mmId: ['folio_large', '_mm_id'],
  deferredNext: ['folio_large', '_deferred_list'],
  deferredPrev: ['folio_large', '_deferred_list', 8],
  memdesc: ['page', 'memdesc'],
};
const engineWords: Readonly<Record<LayoutName, Readonly<Record<string, Named>>>> = {
  // In 5.15 what a compound page keeps is in the records of its first tails; what the engine adds is in none of its fields.
  page64: { ...common('page'), memcg: ['page', 'memcg_data'] },
  overlay: {
    ...common('folio'),
    memcg: ['folio', 'memcg_data'],
    flags1: ['folio', '_flags_1'],
    orderAt: ['folio', '_flags_1'],
    largeMapcount: ['folio', '_large_mapcount'],
    nrPagesMapped: ['folio', '_nr_pages_mapped'],
    entireMapcount: ['folio', '_entire_mapcount'],
    pincount: ['folio', '_pincount'],
    mmIdMapcount: ['folio', '_mm_id_mapcount'],
    mmId: ['folio', '_mm_id'],
    nrPages: ['folio', '_nr_pages'],
    deferredNext: ['folio', '_deferred_list'],
    deferredPrev: ['folio', '_deferred_list', 8],
  },
  page32: plan,
  memdesc8: plan,
};
/** Fields of a compound page of 5.15 that the engine uses: which tail's record, and where in it. */
const tails515: Readonly<Record<string, readonly [tail: number, field: string, plus?: 8]>> = {
  orderAt: [1, 'compound_dtor'],
  entireMapcount: [1, 'compound_mapcount'],
  nrPages: [1, 'compound_nr'],
  pincount: [2, 'hpage_pinned_refcount'],
  deferredNext: [2, 'deferred_list'],
  deferredPrev: [2, 'deferred_list', 8],
};

describe('the engine’s words are the layout’s bytes', () => {
  const offset = (layout: LayoutName, of: string, field: string): number =>
    fieldsOf(struct(layout, of)).find((f) => f.name === field)?.offset ?? Number.NaN;
  const wordOf = (map: MemoryMap, name: string): number =>
    ((mmTypes as Readonly<Record<string, unknown>>)[name] ??
      (map as unknown as Record<string, number>)[name]) as number;

  describe.each(Object.keys(engineWords) as LayoutName[])('%s', (layout) => {
    const map = new MemoryMap(layout, 256, 9, 4096);
    test.each(Object.entries(engineWords[layout]))('%s', (name, [of, field, plus = 0]) => {
      expect(wordOf(map, name) * 4).toBe(offset(layout, of, field) + plus);
    });
    test('a page has as many words as struct page', () => {
      expect(map.pageWords * 4).toBe(struct(layout, 'page').bytes);
    });
  });

  test.each(Object.entries(tails515))('page64, %s', (name, [tail, field, plus = 0]) => {
    const map = new MemoryMap('page64', 256, 9, 4096);
    expect(wordOf(map, name) * 4).toBe(64 * tail + offset('page64', 'page', field) + plus);
  });

  test('zone bits are where W_ZONE is read', () => {
    const zone = fieldsOf(struct('overlay', 'folio'))[0]?.parts?.find((p) => p.name === 'zone');
    expect(zone).toEqual({ name: 'zone', from: 32 + 19, count: 3 });
  });
});

describe('fields and holes', () => {
  test('bit-fields follow each other', () => {
    expect(bitFields(40, 4, { inuse: 16, objects: 15, frozen: 1 }).map(bitRange)).toEqual([
      [320, 336],
      [336, 351],
      [351, 352],
    ]);
  });

  test('an arm’s path and condition come with each field', () => {
    const fields = fieldsOf(struct('overlay', 'page'));
    expect(fields.find((f) => f.name === 'pcp_list')).toMatchObject({ arm: 'cache/pcp', offset: 8, bytes: 16 });
    expect(fields[0]).toMatchObject({ name: 'flags', arm: '', when: 'always', certainty: 'shipped' });
  });

  test('holes of a folio', () => {
    expect(holesOf(struct('overlay', 'folio'))).toEqual([
      { offset: 124, bytes: 4 },
      { offset: 160, bytes: 32 },
      { offset: 240, bytes: 16 },
    ]);
    expect(holesOf(struct('page64', 'page'))).toEqual([]);
    expect(holesOf(struct('page32', 'folio'))).toEqual([{ offset: 61, bytes: 3 }]);
  });

  test('the tail fields of 6.1 are the folio’s, a page on', () => {
    const page = fieldsOf(struct('overlay', 'page', '6.1'));
    const folio = new Map(fieldsOf(struct('overlay', 'folio', '6.1')).map((f) => [f.name, f.offset]));
    const tail = (name: string) => 64 + (page.find((f) => f.name === name && f.arm.startsWith('tail'))?.offset ?? -1);
    expect(folio.get('_folio_dtor')).toBe(tail('compound_dtor'));
    expect(folio.get('_folio_order')).toBe(tail('compound_order'));
    expect(folio.get('_total_mapcount')).toBe(tail('compound_mapcount'));
    expect(folio.get('_pincount')).toBe(tail('compound_pincount'));
    expect(folio.get('_folio_nr_pages')).toBe(tail('compound_nr'));
  });
});

describe('a structure that contradicts itself is found', () => {
  const of = (bytes: number, ...body: LayoutItem[]): LayoutStruct => ({
    ...{ name: 's', doc: '', source: '', certainty: 'shipped', bytes },
    body,
  });
  const part = (from: number, count: number) => ({ name: `p${from}`, from, count });
  test.each<[string, LayoutStruct]>([
    ['L1', of(16, at(8, 16, 'x', 'a'))],
    ['L1', of(16, at(8, 0, 'x', 'a'))],
    ['L2', of(16, at(0, 8, 'x', 'a'), at(4, 4, 'x', 'b'))],
    ['L2', of(16, at(0, 8, 'x', 'a'), arm('one', '', at(0, 8, 'x', 'b')))],
    ['L2', of(16, arm('one', '', at(0, 8, 'x', 'a'), arm('in', '', at(0, 8, 'x', 'b'))))],
    ['L2', of(16, ...bitFields(0, 4, { a: 8 }), ...bitFields(0, 4, { b: 16 }))],
    ['L3', of(16, at(4, 8, 'x', 'a'))],
    ['L4', of(16, ...bitFields(0, 4, { a: 16, b: 17 }))],
    ['L4', of(16, at(0, 8, 'x', 'a', { parts: [part(60, 5)] }))],
    ['L4', of(16, at(0, 8, 'x', 'a', { parts: [part(0, 4), part(3, 2)] }))],
    ['L5', of(16, at(0, 8, 'x', 'a'), at(8, 8, 'x', 'a'))],
    ['L5', of(16, arm('one', '', at(0, 8, 'x', 'a')), arm('one', '', at(8, 8, 'x', 'b')))],
    ['L6', of(12, at(0, 8, 'x', 'a'))],
  ])('%s', (rule, s) => {
    expect(() => checkLayoutStruct(s)).toThrow(rule);
  });

  test('two arms may share bytes, also when one’s name begins like the other’s', () => {
    checkLayoutStruct(of(16, arm('tail', '', at(0, 8, 'x', 'a')), arm('tail2', '', at(0, 8, 'x', 'b'))));
  });
});

describe('what is not known is said in one line', () => {
  test('a release', () => {
    expect(() => releasedLayout('overlay', '6.6')).toThrow(/not known for release '6.6': expected 6.1, 6.12, 6.18$/);
    expect(releasedLayout('overlay').release).toBe('6.18');
  });
  test('a structure', () => {
    expect(() => layoutStructs(releasedLayout('page64'), 'folio')).toThrow(/no struct 'folio'.*: expected page$/);
  });
});
