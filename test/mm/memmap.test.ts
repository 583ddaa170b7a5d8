import { describe, expect, test } from 'vitest';
import { layoutStructs, releasedLayout } from '../../src/mm/layouts.ts';
import { folioDescriptorBytes, mapBytes, memmapLayout, memmapLayouts, slabShape } from '../../src/mm/memmap.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

describe('the map', () => {
  test('takes 1.5625 % of memory at 4 KiB pages and 0.0977 % at 64 KiB (claim C01)', () => {
    const page64 = memmapLayout('page64');
    expect(mapBytes(page64, 256 * GIB, 4096) / (256 * GIB)).toBe(0.015625);
    expect(mapBytes(page64, 256 * GIB, 65536) / (256 * GIB)).toBeCloseTo(0.000977, 6);
  });

  test('is paid for whole pages', () => {
    expect(mapBytes(memmapLayout('page32'), 3 * 65536 - 1, 65536)).toBe(64);
  });

  test('page64 and overlay cost the same', () => {
    const bytes = ({ name, shipped, source, ...sizes }: (typeof memmapLayouts)[number]) => sizes;
    expect(bytes(memmapLayout('overlay'))).toEqual(bytes(memmapLayout('page64')));
  });

  test('every layout says where it comes from', () => {
    for (const layout of memmapLayouts) expect(layout.source.length).toBeGreaterThan(20);
    expect(memmapLayouts.filter((l) => !l.shipped).map((l) => l.name)).toEqual(['page32', 'memdesc8']);
  });
});

// Read from /proc/slabinfo of Linux 6.18 with two CPUs: object size as printed (aligned), objects a slab, pages a slab.
const slabinfo: readonly (readonly [string, number, number, number])[] = [
  ['msg_msg-8', 8, 512, 1],
  ['pending_reservation', 32, 128, 1],
  ['btrfs_free_space', 104, 39, 1],
  ['jbd2_transaction_s', 192, 21, 1],
  ['xfs_bmbt_cur', 344, 23, 2],
  ['bio-448', 512, 16, 2],
  ['radix_tree_node', 584, 14, 2],
  ['xfs_inode', 1024, 16, 4],
  ['mm_struct', 1600, 20, 8],
  ['biovec-max', 4096, 8, 8],
  ['task_struct', 5888, 5, 8],
  ['kvm_vcpu', 51_488, 1, 16],
];

describe('slabs', () => {
  test.each(slabinfo)('%s: %i B, %i a slab of %i pages', (_, size, objects, pages) => {
    const shape = slabShape(size, { cpus: 2 });
    expect([shape.objects, 2 ** shape.order]).toEqual([objects, pages]);
  });

  test.each([
    [48, 48.19, 85],
    [64, 64, 64],
    [80, 80.31, 51],
    [96, 97.52, 42],
    [112, 113.78, 36],
    [128, 128, 32],
  ])('an object of %i B costs %f B', (size, cost, objects) => {
    const shape = slabShape(size, { align: 16 });
    expect(shape.bytesPerObject).toBeCloseTo(cost, 2);
    expect(shape.objects).toBe(objects);
  });

  test('a constructor or type stability puts the free pointer behind the object', () => {
    expect(slabShape(576, { freePointerApart: true }).objectBytes).toBe(584);
    expect(slabShape(80, { align: 16, freePointerApart: true }).objectBytes).toBe(96);
  });

  test('up to 127 CPUs change nothing for a descriptor', () => {
    for (const size of [64, 80, 128])
      for (let cpus = 1; cpus < 128; cpus++)
        expect(slabShape(size, { align: 16, cpus })).toEqual(slabShape(size, { align: 16 }));
  });

  test('an object larger than any slab of order 3 gets the order that holds one', () => {
    expect(slabShape(40_000)).toMatchObject({ order: 4, objects: 1 });
  });
});

describe('descriptors', () => {
  test('lie in the map itself where a page has 64 bytes', () => {
    for (const large of [false, true]) expect(folioDescriptorBytes(memmapLayout('overlay'), large)).toBe(0);
  });

  test('cost their object and their share of the slab’s own descriptor', () => {
    const memdesc8 = memmapLayout('memdesc8');
    // With the 8 bytes of map that the slab's page takes: 81.7 and 130.3.
    expect(folioDescriptorBytes(memdesc8, false) + 8 / 51).toBeCloseTo(81.7, 1);
    // The slabs that hold slab descriptors make 64 bytes 64 × 64 / 63.
    expect(folioDescriptorBytes(memdesc8, true) + 8 / 32).toBeCloseTo(128 + (64 * 64) / 63 / 32 + 0.25, 6);
  });

  test('larger slabs of larger pages waste less', () => {
    const at = (pageSize: number) => folioDescriptorBytes(memmapLayout('page32'), false, { pageSize });
    expect(at(65536)).toBeLessThan(at(16384));
    expect(at(16384)).toBeLessThan(at(4096));
    expect(at(65536)).toBeGreaterThan(80);
  });

  test.each([
    [0, -48.3, -24.3],
    [1, -64, -16],
    [2, 0, 96],
    [3, 128, 320],
    [4, 384, 768],
    [9, 16_256, 28_544],
  ])('a folio of order %i saves %f B on page32 and %f B on memdesc8', (order, on32, on8) => {
    const cost = (size: number) => slabShape(size, { align: 16 }).bytesPerObject;
    const saved = (bytesPerPage: number) => (64 - bytesPerPage) * 2 ** order - cost(order === 0 ? 80 : 128);
    expect(saved(32)).toBeCloseTo(on32, 1);
    expect(saved(8)).toBeCloseTo(on8, 1);
  });

  test('price the census of a live machine: 61.5 MiB', () => {
    const cost = (size: number) => slabShape(size, { align: 16 }).bytesPerObject;
    // Linux 6.18, 24 GiB of frames: folios of one page, larger ones, slabs, page tables.
    const bytes = 578_014 * cost(80) + 85_189 * cost(128) + (110_689 + 1_160) * cost(64);
    expect(bytes / MIB).toBeCloseTo(61.5, 1);
    expect(mapBytes(memmapLayout('page64'), 6_291_456 * 4096, 4096) / MIB).toBe(384);
  });
});

test('sizes are those of the structures', () => {
  for (const name of ['page32', 'memdesc8'] as const) {
    const layout = memmapLayout(name);
    const structs = layoutStructs(releasedLayout(name));
    const bytes = (struct: string) => structs.find((s) => s.name === struct)?.bytes;
    expect([
      layout.bytesPerPage,
      layout.folioBytesSmall,
      layout.folioBytesLarge,
      layout.slabBytes,
      layout.tableBytes,
      layout.zsmallocBytes,
      layout.netpoolBytes,
    ]).toEqual(['page', 'folio', 'folio_large', 'slab', 'ptdesc', 'zpdesc', 'netmem_desc'].map(bytes));
  }
});
