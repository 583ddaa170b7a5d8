/** Bad memory. Nothing here was compared with a live kernel: the one at hand was built without memory failure. */
import { describe, expect, test } from 'vitest';
import { machineCensus, OWNER_ROW, ownerPages } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import { allocHugetlbFolio, checkHugetlb, putHugeFolio, setMaxHugePages, sizeToHstate } from '../../src/mm/hugetlb.ts';
import { type HugetlbMap, hugetlbFault, hugetlbMap, hugetlbUnmap } from '../../src/mm/hugetlb_map.ts';
import type { MmId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { handleMmFault, zapPageRange } from '../../src/mm/memory.ts';
import { memoryFailure, rawHwpList } from '../../src/mm/memory_failure.ts';
import { folioOrder, folioRefAdd, pageFolio } from '../../src/mm/mm_types.ts';
import { dupMm, mmput } from '../../src/mm/mmap.ts';
import { allocPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { folioHasHwpoisoned, pageCount, pageFlag } from '../../src/mm/page_type.ts';
import { kmalloc } from '../../src/mm/slab_common.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { VM_FAULT_HWPOISON } from '../../src/mm/vm_fault.ts';
import { vmaLookup } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { area, frameAt, memoryWorld, orderAt, touch } from './memory_world.ts';
import { world } from './page_alloc_world.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const bad = (m: Machine, pfn: number): boolean => pageFlag(m.map, pfn as Pfn, PG.PG_hwpoison);

describe('memory that nobody uses', () => {
  test('a free page is taken out of its block and lost', () => {
    const m = world(8192);
    const free = m.vmstat[V.nr_free_pages] as number;
    expect(memoryFailure(m, 5000 as Pfn)).toEqual({ page: 'free buddy page', result: 'recovered', affected: [] });
    expect(m.vmstat[V.nr_free_pages]).toBe(free - 1);
    expect([bad(m, 5000), pageCount(m.map, 5000 as Pfn)]).toEqual([true, 1]);
    checkZones(m);
    expect(memoryFailure(m, 5000 as Pfn)).toMatchObject({ page: 'already poisoned page', result: 'failed' });
    expect(m.poison.pages).toBe(1);
    expect(ownerPages(machineCensus(m), 'hwpoison')).toBe(1);
    const seen = new Set<number>();
    for (let p = allocPages(m, GFP_KERNEL, 0); p !== 0; p = allocPages(m, GFP_KERNEL, 0)) seen.add(p);
    expect(seen.has(5000)).toBe(false);
    for (const p of seen) freePages(m, p as Pfn, 0);
    drainAllPages(m);
    checkZones(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free - 1);
    expect(() => memoryFailure(m, 8192 as Pfn)).toThrow(/outside kernel control/);
    expect(() => memoryFailure(m, 0 as Pfn)).toThrow(/outside kernel control/);
  });

  test('slabs and page tables: nothing can be done, and a block that is freed later leaves its bad page out', () => {
    const m = world(8192);
    const x = kmalloc(m, 100, GFP_KERNEL);
    const slab = Math.floor(x / PAGE) as Pfn;
    expect(memoryFailure(m, slab)).toMatchObject({ page: 'unhandlable page', result: 'ignored' });
    const p = allocPages(m, GFP_KERNEL | 0x40000, 4);
    memoryFailure(m, (p + 5) as Pfn);
    expect(m.poison.stats.ignored).toBe(2);
    drainAllPages(m);
    const free = m.vmstat[V.nr_free_pages] as number;
    freePages(m, p, 4);
    drainAllPages(m);
    checkZones(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free + 15);
    expect(bad(m, p + 5)).toBe(true);
  });
});

describe('anonymous memory', () => {
  test('a page: its program gets SIGBUS when it touches it, others do not notice; zeroed again it has a new page', () => {
    const w = memoryWorld();
    const { m, mm } = w;
    area(w, MIB, 2 * MIB);
    for (let a = MIB; a < MIB + 8 * PAGE; a += PAGE) touch(m, mm, a, true);
    const frame = frameAt(m, mm, MIB + PAGE) as Pfn;
    expect(memoryFailure(m, frame)).toEqual({ page: 'dirty LRU page', result: 'recovered', affected: [mm] });
    checkMachine(m, true);
    expect(handleMmFault(m, mm, vmaLookup(m, mm, MIB + PAGE), MIB + PAGE, false)).toBe(VM_FAULT_HWPOISON);
    expect(touch(m, mm, MIB, true)).toBe(true);
    zapPageRange(m, vmaLookup(m, mm, MIB), MIB + PAGE, MIB + 2 * PAGE);
    expect(touch(m, mm, MIB + PAGE, true)).toBe(true);
    expect(frameAt(m, mm, MIB + PAGE)).not.toBe(frame);
    checkMachine(m, true);
  });

  test('shared after a fork: both get it; a huge page is split first and keeps 511 pages', () => {
    const w = memoryWorld({ enabled: 'always' });
    const { m, mm } = w;
    area(w, 2 * MIB, 4 * MIB);
    touch(m, mm, 2 * MIB, true);
    expect(orderAt(m, mm, 2 * MIB)).toBe(9);
    const child = dupMm(m, mm) as MmId;
    lruAddDrain(m);
    const frame = (frameAt(m, mm, 2 * MIB) + 77) as Pfn;
    const failure = memoryFailure(m, frame);
    expect(failure?.page).toBe('dirty LRU page');
    expect([...(failure?.affected ?? [])].sort()).toEqual([mm, child].sort());
    expect(orderAt(m, mm, 2 * MIB)).toBe(0);
    for (let i = 0; i < 512; i++) expect(touch(m, child, 2 * MIB + i * PAGE, false)).toBe(i !== 77);
    checkMachine(m, true);
    expect(ownerPages(machineCensus(m), 'hwpoison')).toBe(1);
    mmput(m, mm);
    mmput(m, child);
    checkMachine(m, true);
  });

  test('a folio that cannot be split keeps its bad page, marked as a whole; freed, it loses that page alone', () => {
    const w = memoryWorld({ enabled: 'always' });
    const { m, mm } = w;
    area(w, 2 * MIB, 4 * MIB);
    touch(m, mm, 2 * MIB, true);
    lruAddDrain(m);
    const first = frameAt(m, mm, 2 * MIB) as Pfn;
    const folio = pageFolio(m.map, first);
    folioRefAdd(m.map, folio, 1);
    expect(memoryFailure(m, (first + 9) as Pfn)).toEqual({ page: 'unsplit thp', result: 'failed', affected: [mm] });
    expect([folioHasHwpoisoned(m.map, first), bad(m, first + 9), bad(m, first + 8)]).toEqual([true, true, false]);
    expect(folioOrder(m.map, folio)).toBe(9);
    folioRefAdd(m.map, folio, -1);
    drainAllPages(m);
    const free = m.vmstat[V.nr_free_pages] as number;
    mmput(m, mm);
    drainAllPages(m);
    checkZones(m);
    expect(bad(m, first + 9)).toBe(true);
    expect((m.vmstat[V.nr_free_pages] as number) - free).toBeGreaterThanOrEqual(511);
    expect(ownerPages(machineCensus(m), 'hwpoison')).toBe(1);
  });

  test('random touches, forks, exits and failures against a plain set of bad pages', () => {
    fuzz(
      seedOf(1),
      stepsOf(1500),
      (r) => {
        switch (r.below(12)) {
          case 0:
            return ['fail', r.below(1e6)];
          case 1:
            return ['fork'];
          case 2:
            return ['exit', r.below(1e6)];
          case 3:
            return ['zap', r.below(1e6), r.below(1024), 1 + r.below(40)];
          default:
            return ['touch', r.below(1e6), r.below(1024), r.below(2)];
        }
      },
      (ops) => randomFailures(ops),
    );
  });
});

function randomFailures(ops: readonly (readonly (string | number)[])[]): void {
  const w = memoryWorld({ '64kB': 'always', enabled: 'always' }, 32768);
  const { m } = w;
  area(w, 2 * MIB, 6 * MIB);
  const at = (page: number): number => 2 * MIB + page * PAGE;
  /** Address spaces, and the pages of each that are bad. */
  const spaces = new Map<MmId, Set<number>>([[w.mm, new Set()]]);
  let failures = 0;
  for (const [kind, a, b, c] of ops) {
    const mms = [...spaces.keys()];
    const mm = mms[(a as number) % mms.length] as MmId;
    const gone = spaces.get(mm) as Set<number>;
    if (kind === 'touch') {
      const ok = touch(m, mm, at(b as number), c === 1);
      if (ok === gone.has(b as number))
        throw new Error(`page ${b} of ${mm}: touched ${ok}, bad ${gone.has(b as number)}`);
    } else if (kind === 'zap') {
      const end = Math.min((b as number) + (c as number), 1024);
      zapPageRange(m, vmaLookup(m, mm, at(0)), at(b as number), at(end));
      for (let p = b as number; p < end; p++) gone.delete(p);
    } else if (kind === 'fork' && spaces.size < 4) {
      const child = dupMm(m, mms[0] as MmId);
      if (child > 0) spaces.set(child as MmId, new Set(spaces.get(mms[0] as MmId)));
    } else if (kind === 'exit' && spaces.size > 1) {
      mmput(m, mm);
      spaces.delete(mm);
    } else if (kind === 'fail' && failures < 60) {
      const pfn = (1 + ((a as number) % 32000)) as Pfn;
      const mapped = [...spaces].flatMap(([s, set]) =>
        [...Array(1024).keys()].filter((p) => frameAt(m, s, at(p)) === pfn).map((p) => [set, p] as const),
      );
      const result = memoryFailure(m, pfn);
      if (result === null) throw new Error('nothing is locked here');
      if (result.page !== 'already poisoned page') failures++;
      if (result.page === 'unsplit thp') throw new Error('every folio can be split here');
      for (const [set, p] of mapped) set.add(p);
    }
  }
  checkMachine(m, true);
  if (m.poison.pages !== failures) throw new Error(`${m.poison.pages} bad pages, ${failures} reported`);
  for (const mm of spaces.keys()) mmput(m, mm);
  checkMachine(m, true);
}

describe('huge pages', () => {
  test('in use: listed by page, a fault is told; freed it is not handed out; broken up, only the bad pages are lost', () => {
    const m = world(32768);
    const h = sizeToHstate(m, 2 * MIB);
    setMaxHugePages(m, h, 3);
    const map = hugetlbMap(m, h, 2) as HugetlbMap;
    hugetlbFault(m, map, 0);
    const first = map.pages[0] as Pfn;
    expect(memoryFailure(m, (first + 100) as Pfn)).toMatchObject({ page: 'huge page', result: 'recovered' });
    expect(memoryFailure(m, (first + 100) as Pfn)).toMatchObject({ page: 'already poisoned page' });
    memoryFailure(m, (first + 200) as Pfn);
    expect(rawHwpList(m, first)).toEqual([first + 100, first + 200]);
    expect(hugetlbFault(m, map, 0)).toBe(VM_FAULT_HWPOISON);
    hugetlbUnmap(m, map);
    checkHugetlb(m);
    const got = [0, 1].map(() => allocHugetlbFolio(m, h, false));
    expect(got.includes(first)).toBe(false);
    for (const p of got) putHugeFolio(m, p);
    const free = m.vmstat[V.nr_free_pages] as number;
    setMaxHugePages(m, h, 0);
    drainAllPages(m);
    checkHugetlb(m);
    checkZones(m);
    expect((m.vmstat[V.nr_free_pages] as number) - free).toBeGreaterThanOrEqual(3 * 512 - 2 - 512);
    expect([bad(m, first), bad(m, first + 100), bad(m, first + 200)]).toEqual([false, true, true]);
    expect(ownerPages(machineCensus(m), 'hwpoison')).toBe(2);
    expect(machineCensus(m).pieces[OWNER_ROW.hugetlb + 9]).toBe(0);
  });

  test('free: broken up at once', () => {
    const m = world(32768);
    const h = sizeToHstate(m, 2 * MIB);
    setMaxHugePages(m, h, 2);
    const first = h.head;
    expect(memoryFailure(m, (first + 3) as Pfn)).toMatchObject({ page: 'free huge page', result: 'recovered' });
    expect([h.nr, h.free]).toEqual([1, 1]);
    drainAllPages(m);
    checkHugetlb(m);
    checkZones(m);
    expect(ownerPages(machineCensus(m), 'hwpoison')).toBe(1);
  });
});
