/** Which orders memory may have, by control, advice and address; how hard a fault tries. */
import { describe, expect, test } from 'vitest';
import { arm64_16k, arm64_64k } from '../../src/arch/pgtable.ts';
import { __GFP_DIRECT_RECLAIM, __GFP_KSWAPD_RECLAIM, __GFP_NORETRY } from '../../src/mm/gfp.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { MMF_DISABLE_THP_COMPLETELY, MMF_DISABLE_THP_EXCEPT_ADVISED } from '../../src/mm/mm_struct.ts';
import {
  checkThp,
  MTHP,
  mthpStat,
  THP_DEFRAG,
  TVA_FORCED_COLLAPSE,
  TVA_KHUGEPAGED,
  TVA_PAGEFAULT,
  TVA_SMAPS,
  thpStore,
  thpVmaAllowableOrders,
  thpVmaSuitableOrders,
  vmaThpGfpMask,
} from '../../src/mm/thp.ts';
import { VM_HUGEPAGE, VM_NOHUGEPAGE } from '../../src/mm/vma.ts';
import { area, frameAt, memoryWorld, orderAt, RW, touch } from './memory_world.ts';

const START = 0x7f0000003000;
const END = 0x7f0000403000;
const ALL = 0x3ff;
const orders = (mask: number): number[] => {
  const out: number[] = [];
  for (let o = 0; o < 31; o++) if ((mask & (1 << o)) !== 0) out.push(o);
  return out;
};
const SIZES: Readonly<Record<number, string>> = {
  2: '16k', 3: '32k', 4: '64k', 5: '128k', 6: '256k', 7: '512k', 8: '1024k', 9: '2048k',
}; // biome-ignore format: a list
const enable = (...list: number[]): Record<string, string> => {
  const out: Record<string, string> = { '2m': 'never' };
  for (const o of list) out[SIZES[o]!] = 'always';
  return out;
};
const TWO_TO_EIGHT = enable(2, 3, 4, 5, 6, 7, 8);

describe('order of a store into anonymous memory', () => {
  // Fault, orders enabled, pages stored into before, order and first address of the folio.
  test.each([
    [0x7f0000005000, TWO_TO_EIGHT, [], 2, 0x7f0000004000],
    [0x7f0000003000, TWO_TO_EIGHT, [], 0, 0x7f0000003000],
    [0x7f0000205000, TWO_TO_EIGHT, [], 8, 0x7f0000200000],
    [0x7f0000205000, enable(2, 4, 6), [], 6, 0x7f0000200000],
    [0x7f0000205000, TWO_TO_EIGHT, [0x7f0000210000], 4, 0x7f0000200000],
    [0x7f0000205000, TWO_TO_EIGHT, [0x7f0000207000], 0, 0x7f0000205000],
    [0x7f0000402000, TWO_TO_EIGHT, [], 0, 0x7f0000402000],
    [0x7f00003ff000, TWO_TO_EIGHT, [], 8, 0x7f0000300000],
    [0x7f0000205000, enable(2, 3, 4, 5, 6, 7, 8, 9), [], 9, 0x7f0000200000],
  ] as const)('%# at %i', (at, thp, before, order, base) => {
    const w = memoryWorld();
    area(w, START, END);
    // The pages before are single ones.
    thpStore(w.m, '2m', 'never');
    for (const page of before) touch(w.m, w.mm, page, true);
    for (const [name, value] of Object.entries(thp)) thpStore(w.m, name, value);
    expect(touch(w.m, w.mm, at, true)).toBe(true);
    expect(orderAt(w.m, w.mm, at)).toBe(order);
    const first = frameAt(w.m, w.mm, base);
    expect(frameAt(w.m, w.mm, at)).toBe(first + (at - base) / 4096);
    checkThp(w.m);
  });

  test('the zero page keeps its block small', () => {
    const w = memoryWorld(enable(4));
    area(w, START, END);
    touch(w.m, w.mm, 0x7f0000100000, false);
    expect(frameAt(w.m, w.mm, 0x7f0000100000)).toBe(-1);
    touch(w.m, w.mm, 0x7f0000101000, true);
    expect(orderAt(w.m, w.mm, 0x7f0000101000)).toBe(0);
    touch(w.m, w.mm, 0x7f0000110000, true);
    expect(orderAt(w.m, w.mm, 0x7f0000110000)).toBe(4);
  });
});

describe('anon_beside_full', () => {
  const PAGE = 4096;
  const BASE = 2 ** 40;
  // Single pages stored into (or, below zero, loaded from) before, the fault, its order, and how often each size was declined.
  const run = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
  test.each([
    [[], 20, 0, 1],
    [run(0, 16), 20, 4, 0],
    [run(32, 48), 20, 4, 0],
    [run(1, 16), 20, 0, 1],
    [run(0, 15), 20, 0, 1],
    [run(0, 16), 40, 0, 1],
    [run(496, 512), 515, 0, 1],
    [run(512, 528), 500, 0, 1],
    [run(480, 496), 500, 4, 0],
    [run(16, 32), 3, 4, 0],
  ])('%# fault at page %i', (before, at, order, declined) => {
    const w = memoryWorld({ anon_beside_full: '1' });
    area(w, BASE, BASE + 1024 * PAGE);
    for (const p of before) touch(w.m, w.mm, BASE + p * PAGE, true);
    thpStore(w.m, '64k', 'always');
    touch(w.m, w.mm, BASE + at * PAGE, true);
    expect(orderAt(w.m, w.mm, BASE + at * PAGE)).toBe(order);
    expect(mthpStat(w.m, 4, MTHP.anon_fault_declined)).toBe(declined);
  });

  test('the zero page is use, another area is not, huge pages do not ask, sizes are asked one by one', () => {
    const w = memoryWorld({ anon_beside_full: '1' });
    area(w, BASE, BASE + 1024 * PAGE);
    for (const p of run(0, 16)) touch(w.m, w.mm, BASE + p * PAGE, false);
    for (const p of run(64, 80)) touch(w.m, w.mm, BASE + p * PAGE, true);
    for (const p of run(144, 148)) touch(w.m, w.mm, BASE + p * PAGE, true);
    for (const size of ['64k', '16k']) thpStore(w.m, size, 'always');
    expect(madvise(w.m, w.mm, BASE + 64 * PAGE, 16 * PAGE, 'random')).toBe(0);
    const order = (page: number): number => {
      touch(w.m, w.mm, BASE + page * PAGE, true);
      return orderAt(w.m, w.mm, BASE + page * PAGE);
    };
    expect([order(20), order(84), order(141), order(151), order(161)]).toEqual([4, 0, 2, 2, 0]);
    expect([mthpStat(w.m, 4, MTHP.anon_fault_declined), mthpStat(w.m, 2, MTHP.anon_fault_declined)]).toEqual([3, 2]);
    area(w, BASE + 2 ** 30, BASE + 2 ** 30 + 2 ** 21);
    thpStore(w.m, '2m', 'always');
    touch(w.m, w.mm, BASE + 2 ** 30, true);
    expect(orderAt(w.m, w.mm, BASE + 2 ** 30)).toBe(9);
  });
});

describe('allowable orders', () => {
  const controls = { top: 'madvise', '2048kB': 'inherit', '64kB': 'always', '32kB': 'madvise' };
  const allowed = (flags: number, type: number, thp: Record<string, string> = controls, mmFlags = 0): number[] => {
    const w = memoryWorld(thp);
    const vma = area(w, START, END);
    touch(w.m, w.mm, START, true);
    w.m.mms.flags[w.mm] = (w.m.mms.flags[w.mm] as number) | mmFlags;
    return orders(thpVmaAllowableOrders(w.m, vma, RW | flags, type, ALL));
  };

  test.each([TVA_PAGEFAULT, TVA_SMAPS, TVA_KHUGEPAGED])('asked by %i', (type) => {
    expect(allowed(0, type)).toEqual([4]);
    expect(allowed(VM_HUGEPAGE, type)).toEqual([3, 4, 9]);
    expect(allowed(VM_NOHUGEPAGE, type)).toEqual([]);
    expect(allowed(VM_HUGEPAGE, type, { ...controls, top: 'never' })).toEqual([3, 4]);
    expect(allowed(0, type, { ...controls, top: 'always' })).toEqual([4, 9]);
    expect(allowed(VM_HUGEPAGE, type, controls, MMF_DISABLE_THP_COMPLETELY)).toEqual([]);
    expect(allowed(VM_HUGEPAGE, type, controls, MMF_DISABLE_THP_EXCEPT_ADVISED)).toEqual([3, 4, 9]);
    expect(allowed(0, type, controls, MMF_DISABLE_THP_EXCEPT_ADVISED)).toEqual([]);
  });

  test('a collapse by hand asks no control', () => {
    const w = memoryWorld({ top: 'never', '2m': 'never' });
    const vma = area(w, START, END);
    expect(thpVmaAllowableOrders(w.m, vma, RW, TVA_FORCED_COLLAPSE, 1 << 9)).toBe(0);
    touch(w.m, w.mm, START, true);
    expect(thpVmaAllowableOrders(w.m, vma, RW, TVA_FORCED_COLLAPSE, 1 << 9)).toBe(1 << 9);
    expect(thpVmaAllowableOrders(w.m, vma, RW | VM_NOHUGEPAGE, TVA_FORCED_COLLAPSE, 1 << 9)).toBe(0);
  });

  test('outside of faults, the last block of the area must fit', () => {
    const w = memoryWorld({ '16k': 'always', '32k': 'always', '2m': 'always' });
    const vma = area(w, 0x7f0000001000, 0x7f0000007000);
    expect(orders(thpVmaAllowableOrders(w.m, vma, RW, TVA_PAGEFAULT, ALL))).toEqual([2, 3, 9]);
    expect(orders(thpVmaAllowableOrders(w.m, vma, RW, TVA_SMAPS, ALL))).toEqual([]);
    const other = area(w, 0x7f0000011000, 0x7f0000018000);
    expect(orders(thpVmaAllowableOrders(w.m, other, RW, TVA_SMAPS, ALL))).toEqual([2]);
  });

  test('suitable orders keep what lies below the first that fits', () => {
    const w = memoryWorld();
    const vma = area(w, START, END);
    expect(orders(thpVmaSuitableOrders(w.m, vma, 0x7f0000005000, ALL))).toEqual([0, 1, 2]);
    expect(orders(thpVmaSuitableOrders(w.m, vma, 0x7f0000005000, 0x3f4))).toEqual([2]);
    expect(orders(thpVmaSuitableOrders(w.m, vma, 0x7f0000205000, 0x214))).toEqual([2, 4, 9]);
    expect(orders(thpVmaSuitableOrders(w.m, vma, 0x7f0000402000, 0x3fc))).toEqual([]);
  });
});

test('defrag says what a fault may do for a large folio', () => {
  const bits = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM | __GFP_NORETRY;
  const D = __GFP_DIRECT_RECLAIM;
  const K = __GFP_KSWAPD_RECLAIM;
  const want: Record<(typeof THP_DEFRAG)[number], [number, number]> = {
    always: [D, D | __GFP_NORETRY],
    defer: [K, K],
    'defer+madvise': [D, K],
    madvise: [D, 0],
    never: [0, 0],
  };
  for (const defrag of THP_DEFRAG) {
    const w = memoryWorld({ defrag });
    const plain = area(w, START, END);
    const advised = area(w, START + 2 ** 30, END + 2 ** 30, RW | VM_HUGEPAGE);
    expect([vmaThpGfpMask(w.m, advised) & bits, vmaThpGfpMask(w.m, plain) & bits]).toEqual(want[defrag]);
  }
});

describe('controls', () => {
  test('sizes by any spelling', () => {
    const { m } = memoryWorld({ '64kB': 'always', '128K': 'madvise', '1m': 'inherit', '2M': 'never', top: 'always' });
    expect([m.thp.always, m.thp.madvise, m.thp.inherit, m.thp.enabled]).toEqual([1 << 4, 1 << 5, 1 << 8, 'always']);
    thpStore(m, '64k', 'inherit');
    expect([m.thp.always, m.thp.inherit]).toEqual([0, (1 << 8) | (1 << 4)]);
    checkThp(m);
  });
  test.each([
    ['8kB', 'always'],
    ['4kB', 'always'],
    ['4096kB', 'always'],
    ['48kB', 'always'],
    ['64kB', 'sometimes'],
    ['top', 'inherit'],
    ['defrag', 'maybe'],
    ['use_zero_page', '2'],
    ['khugepaged/max_ptes_none', '512'],
    ['', ''],
    ['99999999999999k', 'always'],
  ])('refuses %s=%s', (name, value) => {
    const { m } = memoryWorld();
    expect(() => thpStore(m, name, value)).toThrow(/^thp /);
    checkThp(m);
  });
  test('huge pages of other page sizes', () => {
    expect(memoryWorld({ '32m': 'always' }, 2 ** 14, arm64_16k).m.thp.always).toBe(1 << 11);
    expect(memoryWorld({ '512m': 'always', '2m': 'always' }, 2 ** 14, arm64_64k).m.thp.always).toBe(
      (1 << 13) | (1 << 5),
    );
  });
});
