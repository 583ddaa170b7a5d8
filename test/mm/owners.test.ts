/** Memory that is no folio, all kinds at once: what each page says of itself, what the census counts, who may refer to it. */

import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { balloonInflate } from '../../src/mm/balloon_compaction.ts';
import { GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import { allocHugetlbFolio, setMaxHugePages, sizeToHstate } from '../../src/mm/hugetlb.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { memremapPages, zoneDevicePageInit } from '../../src/mm/memremap.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { folioPfn } from '../../src/mm/mm_types.ts';
import { allocFrozenPages, allocPages, folioAlloc, freeFrozenPages } from '../../src/mm/page_alloc.ts';
import { PGTY } from '../../src/mm/page_flags.ts';
import { pagePoolAllocPages, pagePoolCreate } from '../../src/mm/page_pool.ts';
import { getPage, noReference, putPage, tryGetPage } from '../../src/mm/page_ref.ts';
import { pageCount, pageType, pageTypeName } from '../../src/mm/page_type.ts';
import { kmalloc } from '../../src/mm/slab_common.ts';
import { vmalloc, vmallocToPage } from '../../src/mm/vmalloc.ts';
import { zsCreatePool, zsMalloc } from '../../src/mm/zsmalloc.ts';
import { world } from './page_alloc_world.ts';

const PAGE = 4096;

/** One page of every kind: its name, frame, type and references as 6.18 has them; whether a user may refer to it. */
function kinds(m: Machine): readonly (readonly [string, Pfn, number, number, boolean])[] {
  const mm = mmAlloc(m);
  const table = m.pt.pfn[m.mms.pgd[mm] as number] as Pfn;
  const pool = zsCreatePool(PAGE);
  const handle = zsMalloc(m, pool, 3000, GFP_HIGHUSER_MOVABLE);
  const cls = pool.classes[pool.handles.cls[handle] as number];
  const zs = cls?.pages[(pool.handles.zspage[handle] as number) * cls.pagesPerZspage] as Pfn;
  const slab = Math.floor(kmalloc(m, 500, GFP_KERNEL) / PAGE) as Pfn;
  const large = (kmalloc(m, 50_000, GFP_KERNEL) / PAGE) as Pfn;
  const virtual = vmallocToPage(m, vmalloc(m, 5 * PAGE));
  const net = pagePoolAllocPages(m, pagePoolCreate(m), GFP_ATOMIC);
  const h = sizeToHstate(m, 2 ** 21);
  setMaxHugePages(m, h, 2);
  const used = allocHugetlbFolio(m, h, false);
  const inPool = h.head;
  balloonInflate(m, 3);
  const lent = m.balloon.head;
  const frozen = allocFrozenPages(m, GFP_KERNEL, 0);
  const device = memremapPages(m, { type: 'private', pages: 8 });
  const idle = m.pgmaps[device]?.data as Pfn;
  const out = zoneDevicePageInit(m, (idle + 1) as Pfn);
  return [
    ['page table', table, PGTY.PGTY_table, 1, false],
    ['zsmalloc', zs, PGTY.PGTY_zsmalloc, 1, false],
    ['slab', slab, PGTY.PGTY_slab, 0, false],
    ['large kmalloc', large, PGTY.PGTY_large_kmalloc, 0, false],
    ['last page of large kmalloc', (large + 15) as Pfn, PGTY.PGTY_large_kmalloc, 0, false],
    ['vmalloc', virtual, 0, 1, true],
    ['net pool', net, 0, 1, true],
    ['huge page in use', used, PGTY.PGTY_hugetlb, 1, true],
    ['huge page in its pool', inPool, PGTY.PGTY_hugetlb, 0, false],
    ['balloon', lent, PGTY.PGTY_offline, 1, false],
    ['frozen', frozen, 0, 0, false],
    ['device memory out', out, 0, 1, true],
    ['device memory idle', idle, 0, 0, false],
    ['plain pages', allocPages(m, GFP_KERNEL, 0), 0, 1, true],
    ['folio', folioPfn(m.map, folioAlloc(m, GFP_HIGHUSER_MOVABLE, 2)), 0, 1, true],
  ];
}

describe('types and references', () => {
  test('of every kind of page are those of 6.18, and an error says what to use in place of a reference', () => {
    const m = machine({ ...world(32768).config, deviceMemory: 64 * PAGE });
    for (const [name, pfn, type, count, may] of kinds(m)) {
      expect([name, pageType(m.map, pfn), pageCount(m.map, pfn)]).toEqual([name, type, count]);
      if (may) {
        getPage(m, pfn);
        expect(pageCount(m.map, pfn)).toBe(count + 1);
        putPage(m, pfn);
        expect(tryGetPage(m, pfn)).toBe(true);
        putPage(m, pfn);
      } else {
        expect(tryGetPage(m, pfn)).toBe(false);
        for (const use of [getPage, putPage]) expect(() => use(m, pfn)).toThrow(QuireError);
        expect(noReference(m, pfn)).toMatch(new RegExp(`^frame ${pfn}: .*: .*\\w`));
        if (type !== 0 && count === 0) expect(noReference(m, pfn)).toContain(pageTypeName(type));
      }
      expect([name, pageCount(m.map, pfn)]).toEqual([name, count]);
    }
  });

  test('what goes wrong without the error: a frozen page is freed under a reference', () => {
    const m = world(4096);
    const pfn = allocFrozenPages(m, GFP_KERNEL, 0);
    expect(noReference(m, pfn)).toMatch(
      /frozen page without a type: nobody refers to it, so a reference would outlive it/,
    );
    freeFrozenPages(m, pfn, 0);
    // Its owner asked nobody: the page is somebody else’s now.
    expect(allocPages(m, GFP_KERNEL, 0)).toBe(pfn);
  });
});
