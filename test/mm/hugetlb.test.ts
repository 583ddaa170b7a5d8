import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { machineCensus, OWNER_ROW } from '../../src/mm/census.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import {
  allocHugetlbFolio,
  checkHugetlb,
  dissolveFreeHugetlbFolio,
  type Hstate,
  hugetlbAcctMemory,
  hugetlbReport,
  putHugeFolio,
  setMaxHugePages,
  sizeToHstate,
} from '../../src/mm/hugetlb.ts';
import {
  checkHugetlbMaps,
  type HugetlbMap,
  hugetlbFault,
  hugetlbMap,
  hugetlbTruncate,
  hugetlbUnmap,
} from '../../src/mm/hugetlb_map.ts';
import { vmemmapOptimizablePages } from '../../src/mm/hugetlb_vmemmap.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { allocPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { getPage } from '../../src/mm/page_ref.ts';
import { VM_FAULT_SIGBUS } from '../../src/mm/vm_fault.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const GIB = 2 ** 30;
const two = (m: ReturnType<typeof world>): Hstate => sizeToHstate(m, 2 ** 21);

describe('a pool', () => {
  test('grows, shrinks, keeps what is reserved, and turns what is used into surplus', () => {
    const m = world(65536);
    const h = two(m);
    expect(setMaxHugePages(m, h, 10)).toBe(10);
    checkHugetlb(m);
    expect(machineCensus(m).pieces[OWNER_ROW.hugetlb + 9]).toBe(10);
    expect(hugetlbAcctMemory(m, h, 4)).toBe(true);
    const a = allocHugetlbFolio(m, h, true);
    const b = allocHugetlbFolio(m, h, false);
    expect([h.nr, h.free, h.reserved]).toEqual([10, 8, 3]);
    // Three are promised and two in use: those stay.
    expect(setMaxHugePages(m, h, 0)).toBe(0);
    expect([h.nr, h.free, h.reserved, h.surplus]).toEqual([5, 3, 3, 5]);
    checkHugetlb(m);
    putHugeFolio(m, b);
    expect([h.nr, h.free, h.surplus]).toEqual([4, 3, 4]);
    // One that was promised is promised again when it is freed, and a surplus page then goes for good.
    putHugeFolio(m, a);
    expect([h.nr, h.free, h.reserved, h.surplus]).toEqual([3, 3, 4, 3]);
    hugetlbAcctMemory(m, h, -4);
    expect([h.nr, h.free, h.reserved, h.surplus]).toEqual([0, 0, 0, 0]);
    checkHugetlb(m);
    drainAllPages(m);
    checkZones(m);
  });

  test('overcommit: surplus pages as far as allowed, all or nothing', () => {
    const m = world(65536);
    const h = two(m);
    expect(hugetlbAcctMemory(m, h, 3)).toBe(false);
    h.overcommit = 5;
    expect(hugetlbAcctMemory(m, h, 6)).toBe(false);
    expect([h.nr, h.surplus]).toEqual([0, 0]);
    expect(hugetlbAcctMemory(m, h, 5)).toBe(true);
    expect([h.nr, h.free, h.reserved, h.surplus]).toEqual([5, 5, 5, 5]);
    expect(allocHugetlbFolio(m, h, false)).toBe(0);
    // A larger pool takes surplus pages over before it asks for new ones.
    setMaxHugePages(m, h, 7);
    expect([h.nr, h.surplus]).toEqual([7, 0]);
    checkHugetlb(m);
    expect(hugetlbReport(m)[0]).toMatchObject({
      kB: 2048,
      nr_hugepages: 7,
      resv_hugepages: 5,
      nr_overcommit_hugepages: 5,
    });
  });

  test('overcommit knows no gigantic pages', () => {
    const m = world(65536);
    const h = sizeToHstate(m, GIB);
    h.overcommit = 3;
    expect(hugetlbAcctMemory(m, h, 1)).toBe(false);
  });

  test('a free page can be broken up; one in use, or the last that is promised, cannot', () => {
    const m = world(65536);
    const h = two(m);
    setMaxHugePages(m, h, 2);
    const a = allocHugetlbFolio(m, h, false);
    expect(dissolveFreeHugetlbFolio(m, a)).toBe(false);
    const b = h.head;
    hugetlbAcctMemory(m, h, 1);
    expect(dissolveFreeHugetlbFolio(m, b)).toBe(false);
    hugetlbAcctMemory(m, h, -1);
    expect(dissolveFreeHugetlbFolio(m, (b + 100) as Pfn)).toBe(true);
    expect([h.nr, h.free]).toEqual([1, 0]);
    checkHugetlb(m);
    expect(() => dissolveFreeHugetlbFolio(m, b)).toThrow(/not a huge page/);
  });

  test('a frozen page of the pool takes no reference', () => {
    const m = world(65536);
    setMaxHugePages(m, two(m), 1);
    expect(() => getPage(m, two(m).head)).toThrow(/frozen page hugetlb/);
    expect(() => putHugeFolio(m, two(m).head)).toThrow(/nobody refers to it/);
  });

  test('bad sizes and counts', () => {
    const m = world(65536);
    expect(() => sizeToHstate(m, 2 ** 20)).toThrow(/expected 2097152, 1073741824/);
    for (const n of [-1, 0.5, Number.NaN]) expect(() => setMaxHugePages(m, two(m), n)).toThrow(QuireError);
    // As many as there are.
    expect(setMaxHugePages(m, two(m), 1e6)).toBeGreaterThan(100);
    checkHugetlb(m);
  });
});

describe('the vmemmap optimisation', () => {
  test('7 of 8 pages for 2 MiB, 4095 of 4096 for 1 GiB; less where a page’s entry is smaller', () => {
    expect(vmemmapOptimizablePages(9, 4096, 64)).toBe(7);
    expect(vmemmapOptimizablePages(18, 4096, 64)).toBe(4095);
    expect(vmemmapOptimizablePages(9, 4096, 32)).toBe(3);
    expect(vmemmapOptimizablePages(9, 4096, 8)).toBe(0);
    expect(vmemmapOptimizablePages(18, 4096, 8)).toBe(511);
    expect(vmemmapOptimizablePages(13, 65536, 64)).toBe(7);
    expect(vmemmapOptimizablePages(9, 4096, 56)).toBe(0);
  });

  /**
   * nr_memmap_boot_pages and nr_memmap_pages of /proc/vmstat, less what they were at first, on Linux 6.18.44, x86-64, 24 GiB, with
   * vm.hugetlb_optimize_vmemmap=1: after writing the pair’s first to hugepages-2048kB/nr_hugepages, or (1 GiB) to the other.
   */
  const live: readonly (readonly [number, number, number, number])[] = [
    [2 ** 21, 10, -80, 10],
    [2 ** 21, 3, -80, 59],
    [2 ** 21, 0, -80, 80],
    [2 ** 30, 2, -8272, 82],
    [2 ** 30, 0, -8272, 8272],
  ];
  test('counts as a live kernel does', () => {
    const m = machine({ ...world(256).config, memory: 3 * GIB, memmap: 'overlay' });
    m.hugetlb.optimizeVmemmap = true;
    for (const [bytes, count, boot, other] of live) {
      setMaxHugePages(m, sizeToHstate(m, bytes), count);
      expect([bytes, count, m.hugetlb.memmapBootPages, m.hugetlb.memmapPages]).toEqual([bytes, count, boot, other]);
      checkHugetlb(m);
    }
  });

  test('a pool that was filled before it was on keeps its map', () => {
    const m = world(65536);
    setMaxHugePages(m, two(m), 3);
    m.hugetlb.optimizeVmemmap = true;
    setMaxHugePages(m, two(m), 5);
    // Two pools' worth: all but one page of the records of each; a layout whose records need no more has nothing to give.
    const records = (512 * m.map.pageWords * 4) / 4096;
    expect(m.hugetlb.memmapBootPages + m.hugetlb.memmapPages).toBeCloseTo(-2 * (records - 1));
    checkHugetlb(m);
    setMaxHugePages(m, two(m), 0);
    expect(m.hugetlb.memmapBootPages + m.hugetlb.memmapPages).toBe(0);
  });
});

describe('mappings', () => {
  test('what is promised is there at the fault; what is not may be gone', () => {
    const m = world(65536);
    const h = two(m);
    setMaxHugePages(m, h, 6);
    const a = hugetlbMap(m, h, 4) as HugetlbMap;
    expect(hugetlbMap(m, h, 3)).toBe(null);
    const b = hugetlbMap(m, h, 3, false) as HugetlbMap;
    expect([0, 1, 2].map((i) => hugetlbFault(m, b, i))).toEqual([0, 0, VM_FAULT_SIGBUS]);
    expect([0, 1, 2, 3, 3].map((i) => hugetlbFault(m, a, i))).toEqual([0, 0, 0, 0, 0]);
    expect(hugetlbFault(m, a, 4)).toBe(VM_FAULT_SIGBUS);
    checkHugetlb(m);
    checkHugetlbMaps(m, [a, b]);
    expect(m.vmstat[V.nr_hugetlb]).toBe(6 * 512);
    hugetlbTruncate(m, a, 2, 4);
    expect([h.free, h.reserved]).toEqual([2, 0]);
    hugetlbUnmap(m, a);
    hugetlbUnmap(m, b);
    expect([h.nr, h.free, h.reserved]).toEqual([6, 6, 0]);
  });

  test('random mappings, pool sizes and kernel pages against plain counts', () => {
    fuzz(
      seedOf(1),
      stepsOf(3000),
      (r) => {
        switch (r.below(9)) {
          case 0:
            return ['nr', r.below(30)];
          case 1:
            return ['over', r.below(8)];
          case 2:
            return ['map', 1 + r.below(6), r.below(3)];
          case 3:
            return ['unmap', r.below(1e6)];
          case 4:
            return ['cut', r.below(1e6), r.below(6)];
          case 5:
            return ['page', r.below(4)];
          default:
            return ['fault', r.below(1e6), r.below(7)];
        }
      },
      (ops) => {
        const m = world(40000);
        const free = m.vmstat[V.nr_free_pages] as number;
        const h = two(m);
        m.hugetlb.optimizeVmemmap = true;
        const maps: HugetlbMap[] = [];
        const kernel: [Pfn, number][] = [];
        for (const [kind, a, b] of ops) {
          const map = maps[(a as number) % Math.max(maps.length, 1)];
          if (kind === 'nr') setMaxHugePages(m, h, a as number);
          else if (kind === 'over') h.overcommit = a as number;
          else if (kind === 'map') {
            const promised = h.reserved;
            const x = hugetlbMap(m, h, a as number, b !== 0);
            if (x !== null) maps.push(x);
            else if (h.reserved !== promised) throw new Error('a mapping that failed left promises');
          } else if (kind === 'unmap' && map !== undefined) {
            hugetlbUnmap(m, map);
            maps.splice(maps.indexOf(map), 1);
          } else if (kind === 'cut' && map !== undefined) hugetlbTruncate(m, map, b as number, 6);
          else if (kind === 'fault' && map !== undefined) {
            const index = (b as number) % map.pages.length;
            const sure = map.promised[index] === 1 || map.pages[index] !== 0;
            if (hugetlbFault(m, map, index) !== 0 && sure) throw new Error('a promise was not kept');
          } else if (kind === 'page' && kernel.length < 200) {
            const p = allocPages(m, GFP_KERNEL, a as number);
            if (p !== 0) kernel.push([p, a as number]);
          }
          checkHugetlbMaps(m, maps);
          if (h.surplus < 0 || h.reserved > h.free) throw new Error('counts of the pool');
        }
        checkHugetlb(m);
        checkZones(m);
        for (const map of maps) hugetlbUnmap(m, map);
        for (const [p, order] of kernel) freePages(m, p, order);
        setMaxHugePages(m, h, 0);
        checkHugetlb(m);
        drainAllPages(m);
        checkZones(m);
        expect(h.nr).toBe(0);
        expect(m.hugetlb.memmapBootPages + m.hugetlb.memmapPages).toBe(0);
        expect(m.vmstat[V.nr_free_pages]).toBe(free);
      },
    );
  });
});
