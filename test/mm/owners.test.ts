/** Memory that is no folio, all kinds at once: what each page says of itself, what the census counts, who may refer to it. */
import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { Replay } from '../../src/lab/replay.ts';
import { balloonInflate } from '../../src/mm/balloon_compaction.ts';
import { listedPages, machineCensus, OWNERS, type Owner, ownerPages } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import { allocHugetlbFolio, setMaxHugePages, sizeToHstate } from '../../src/mm/hugetlb.ts';
import type { FolioId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { memoryFailure } from '../../src/mm/memory_failure.ts';
import { memremapPages, zoneDevicePageInit } from '../../src/mm/memremap.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { unacceptMemory } from '../../src/mm/page_accept.ts';
import { allocFrozenPages, allocPages, folioAlloc, freeFrozenPages } from '../../src/mm/page_alloc.ts';
import { PGTY } from '../../src/mm/page_flags.ts';
import { pagePoolAllocPages, pagePoolCreate } from '../../src/mm/page_pool.ts';
import { getPage, noReference, putPage, tryGetPage } from '../../src/mm/page_ref.ts';
import { pageCount, pageType, pageTypeName } from '../../src/mm/page_type.ts';
import { kmalloc } from '../../src/mm/slab_common.ts';
import { vmalloc, vmallocToPage } from '../../src/mm/vmalloc.ts';
import { V } from '../../src/mm/vmstat.ts';
import { zsCreatePool, zsMalloc } from '../../src/mm/zsmalloc.ts';
import { opsFrom } from '../../src/trace/ops.ts';
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
    ['folio', folioAlloc(m, GFP_HIGHUSER_MOVABLE, 2) as number as Pfn, 0, 1, true],
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
        expect(tryGetPage(m, pfn)).not.toBe(0);
        putPage(m, pfn);
      } else {
        expect(tryGetPage(m, pfn)).toBe(0);
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

describe('the census of a machine with all of them', () => {
  test('every owner is counted by its own counter, and all together are the machine', () => {
    const script = [
      '#quire-ops 1',
      '#fs,xfs',
      '#file,1,a,4194304',
      'open,1,1,rw',
      'pread,1,0,4194304',
      'mmap,1,-,0,4194304,rw,private',
      'touch,1,0,1048576,w',
    ]; // prettier-ignore
    const r = new Replay(opsFrom('t', `${script.join('\n')}\n`), { memory: 2 ** 28 });
    const { m } = r;
    unacceptMemory(m, 49152 as Pfn, 57344 as Pfn);
    r.run();
    for (let i = 0; i < 2000; i++) kmalloc(m, 1 + ((i * 37) % 12000), GFP_KERNEL);
    for (let i = 0; i < 20; i++) vmalloc(m, (1 + i) * PAGE);
    const pool = pagePoolCreate(m, 1);
    for (let i = 0; i < 30; i++) pagePoolAllocPages(m, pool, GFP_ATOMIC);
    const h = sizeToHstate(m, 2 ** 21);
    setMaxHugePages(m, h, 8);
    allocHugetlbFolio(m, h, false);
    balloonInflate(m, 100);
    memoryFailure(m, 60000 as Pfn);
    const census = machineCensus(m);
    const counters: readonly (readonly [Owner, number])[] = [
      ['slab', (m.vmstat[V.nr_slab_unreclaimable] as number) - m.slab.largePages],
      ['large_kmalloc', m.slab.largePages],
      ['vmalloc', m.vmalloc.nrPages],
      ['netpool', ((m.pagePools.hold[pool] as number) - (m.pagePools.release[pool] as number)) * 2],
      ['hugetlb', 8 * 512],
      ['offline', 100],
      ['unaccepted', m.vmstat[V.nr_unaccepted] as number],
      ['hwpoison', 1],
      ['table', m.vmstat[V.nr_page_table_pages] as number],
      ['free', m.vmstat[V.nr_free_pages] as number],
      ['file', m.vmstat[V.nr_file_pages] as number],
      ['anon', m.vmstat[V.nr_anon_pages] as number],
      ['kernel', 0],
    ];
    for (const [owner, pages] of counters) expect([owner, ownerPages(census, owner)]).toEqual([owner, pages]);
    expect(listedPages(census)).toBe(m.zones.frames);
    expect(OWNERS.reduce((sum, owner) => sum + ownerPages(census, owner), 0)).toBe(census.frames);
    checkMachine(m, false);
    // A folio of its own is the kernel’s, if it is in no file and not anonymous.
    folioAlloc(m, GFP_KERNEL, 3);
    expect(ownerPages(machineCensus(m), 'kernel')).toBe(8);
    expect(m.thp.hugeZeroFolio).toBe(0 as FolioId);
  });
});
