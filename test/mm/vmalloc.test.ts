import { describe, expect, test } from 'vitest';
import { machineCensus, OWNER_ROW, ownerPages } from '../../src/mm/census.ts';
import { __GFP_MEMALLOC } from '../../src/mm/gfp.ts';
import { allocPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { getPage, putPage } from '../../src/mm/page_ref.ts';
import { kmemCacheShrink } from '../../src/mm/slub.ts';
import { checkSlabs } from '../../src/mm/slub_check.ts';
import { checkVmalloc, findVmArea, vfree, vmalloc, vmallocHuge, vmallocToPage } from '../../src/mm/vmalloc.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const PAGE = 4096;

describe('vmalloc', () => {
  test('pages one by one, a guard behind them, the lowest hole that fits', () => {
    const m = world(8192);
    const a = vmalloc(m, 3 * PAGE - 5);
    const b = vmalloc(m, 10 * PAGE);
    expect(b - a).toBe(4 * PAGE);
    expect(m.vmalloc.nrPages).toBe(13);
    expect(findVmArea(m, a + 2 * PAGE)?.addr).toBe(a);
    expect(findVmArea(m, a + 3 * PAGE)).toBe(undefined);
    vfree(m, a);
    expect(vmalloc(m, 4 * PAGE)).toBe(b + 11 * PAGE);
    expect(vmalloc(m, 2 * PAGE)).toBe(a);
    checkVmalloc(m);
    checkSlabs(m);
    // Each page is one that its user may hold beyond the area.
    const page = vmallocToPage(m, b);
    getPage(m, page);
    putPage(m, page);
    const census = machineCensus(m);
    expect(census.pieces[OWNER_ROW.vmalloc]).toBe(16);
    expect(() => vfree(m, b + PAGE)).toThrow(/no area begins there/);
    expect(() => vmalloc(m, 0)).toThrow(/at least one/);
    expect(vmalloc(m, 2 ** 40)).toBe(0);
  });

  test('an array of pointers above a page is an area of its own', () => {
    const m = world(8192);
    const a = vmalloc(m, 513 * PAGE);
    expect(m.vmalloc.areas.length).toBe(2);
    expect(m.vmalloc.nrPages).toBe(513 + 2);
    checkVmalloc(m);
    vfree(m, a);
    expect(m.vmalloc.areas.length).toBe(0);
    checkVmalloc(m);
  });

  test('huge pages where there are any, split into single ones; else single pages from the start', () => {
    const m = world(16384);
    const a = vmallocHuge(m, 3 * 2 ** 20);
    const area = findVmArea(m, a);
    expect([area?.order, area?.size, (area?.addr ?? 1) % 2 ** 21]).toEqual([9, 4 * 2 ** 20, 0]);
    expect((area?.pages[1] ?? 0) - (area?.pages[0] ?? 0)).toBe(1);
    checkVmalloc(m);
    const pages: number[] = [];
    for (let p = allocPages(m, __GFP_MEMALLOC, 0); p !== 0; p = allocPages(m, __GFP_MEMALLOC, 0)) pages.push(p);
    for (const p of pages) if (p % 2 === 0) freePages(m, p as never, 0);
    const b = vmallocHuge(m, 3 * 2 ** 20);
    expect(findVmArea(m, b)?.order).toBe(0);
    checkVmalloc(m);
  });

  test('random areas against a plain map; all memory comes back', () => {
    fuzz(
      seedOf(1),
      stepsOf(1500),
      (r) => (r.below(5) < 3 ? ['a', 1 + r.below(r.below(20) === 0 ? 5e6 : 60_000), r.below(2)] : ['f', r.below(1e6)]),
      (ops) => {
        const m = world(16384);
        const free = m.vmstat[V.nr_free_pages] as number;
        const live: [number, number][] = [];
        for (const [kind, a, b] of ops) {
          if (kind === 'f' && live.length > 0)
            vfree(m, (live.splice((a as number) % live.length, 1)[0] as [number, number])[0]);
          else if (kind === 'a' && live.length < 200) {
            const addr = (b === 1 ? vmallocHuge : vmalloc)(m, a as number);
            if (addr === 0) continue;
            const end = addr + Math.ceil((a as number) / PAGE) * PAGE;
            if (live.some(([x, y]) => addr < y + PAGE && x < end + PAGE)) throw new Error(`${addr} overlaps`);
            live.push([addr, end]);
          }
        }
        checkVmalloc(m);
        checkSlabs(m);
        checkZones(m);
        expect(ownerPages(machineCensus(m), 'vmalloc')).toBe(m.vmalloc.nrPages);
        for (const [addr] of live) vfree(m, addr);
        for (const c of m.slab.list) kmemCacheShrink(m, c);
        drainAllPages(m);
        checkZones(m);
        expect(m.vmstat[V.nr_free_pages]).toBe(free);
      },
    );
  });
});
