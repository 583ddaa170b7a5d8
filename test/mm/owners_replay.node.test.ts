/** Memory that is no folio beside what a replay leaves: all owners in one census, ranges that are emptied, bad pages of files. */
import { describe, expect, test } from 'vitest';
import { Replay } from '../../src/lab/replay.ts';
import { balloonInflate } from '../../src/mm/balloon_compaction.ts';
import { listedPages, machineCensus, OWNERS, type Owner, ownerPages } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { filemapGetFolio } from '../../src/mm/filemap.ts';
import { GFP_ATOMIC, GFP_KERNEL } from '../../src/mm/gfp.ts';
import { allocHugetlbFolio, checkHugetlb, putHugeFolio, setMaxHugePages, sizeToHstate } from '../../src/mm/hugetlb.ts';
import type { FolioId, MappingId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { memoryFailure } from '../../src/mm/memory_failure.ts';
import { offlinePages, onlinePages } from '../../src/mm/memory_hotplug.ts';
import { folioOrder, folioPfn } from '../../src/mm/mm_types.ts';
import { unacceptMemory } from '../../src/mm/page_accept.ts';
import { folioAlloc } from '../../src/mm/page_alloc.ts';
import { pagePoolAllocPages, pagePoolCreate } from '../../src/mm/page_pool.ts';
import { getPage } from '../../src/mm/page_ref.ts';
import { folioHasHwpoisoned } from '../../src/mm/page_type.ts';
import { kmalloc } from '../../src/mm/slab_common.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { vmalloc } from '../../src/mm/vmalloc.ts';
import { V } from '../../src/mm/vmstat.ts';
import { opsFrom } from '../../src/trace/ops.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

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

describe('ranges that are emptied', () => {
  test('pages of 1 GiB: a range of frames is emptied, files and all', () => {
    const script = ['#quire-ops 1', '#fs,xfs', '#file,1,a,16777216', 'open,1,1,r', 'pread,1,0,16777216'];
    const r = new Replay(opsFrom('t', `${script.join('\n')}\n`), { memory: 3 * GIB });
    r.run();
    const { m } = r;
    const h = sizeToHstate(m, GIB);
    // Folios of the file move; where the kernel’s own pages lie the range stays.
    const got = setMaxHugePages(m, h, 2);
    expect(got).toBeGreaterThanOrEqual(1);
    checkHugetlb(m);
    checkMachine(m, false);
    expect(ownerPages(machineCensus(m), 'hugetlb')).toBe(got * 2 ** 18);
    expect(m.vmstat[V.htlb_buddy_alloc_success]).toBe(0);
    const a = allocHugetlbFolio(m, h, false);
    expect(a % 2 ** 18).toBe(0);
    getPage(m, (a + 12345) as Pfn);
    putHugeFolio(m, a);
    putHugeFolio(m, (a + 7) as Pfn);
    setMaxHugePages(m, h, 0);
    checkHugetlb(m);
    checkMachine(m, false);
  });

  test('files and anonymous memory move out of its way', () => {
    const script = [
      '#quire-ops 1',
      '#fs,xfs',
      '#thp,64kB=always',
      '#file,1,a,100000000',
      'open,1,1,rw',
      ...[0, 1, 2, 3, 4, 5].map((i) => `pread,1,${i * 16777216},16777216`),
      'mmap,1,-,0,67108864,rw,private',
      'touch,1,0,67108864,w',
      'pwrite,1,0,4096',
    ]; // prettier-ignore
    const r = new Replay(opsFrom('t', `${script.join('\n')}\n`), { memory: 2 ** 29 });
    r.run();
    const { m } = r;
    const out: number[] = [];
    for (let block = 1; block < 4; block++) if (offlinePages(m, block)) out.push(block);
    // Where page tables or xarray nodes lie, the block stays; one of three is emptied at least, with what was used in it.
    expect(out.length).toBeGreaterThan(0);
    expect(m.vmstat[V.pgmigrate_success]).toBeGreaterThan(0);
    checkMachine(m, false);
    for (const block of out) onlinePages(m, block);
    checkMachine(m, false);
  });
});

describe('bad pages of files', () => {
  const script = [
    '#quire-ops 1',
    '#fs,xfs',
    '#file,1,a,8388608',
    'open,1,1,rw',
    'pread,1,0,8388608',
    'pwrite,1,0,65536',
  ];
  const replayed = (): Machine => {
    const r = new Replay(opsFrom('t', `${script.join('\n')}\n`), { memory: 64 * MIB });
    r.run();
    lruAddDrain(r.m);
    return r.m;
  };
  const file = 1 as MappingId;

  test('a clean page is dropped, of a large folio it alone; a dirty one is lost, and that is an error of the file', () => {
    const m = replayed();
    const folio = filemapGetFolio(m, file, 1000) as FolioId;
    const order = folioOrder(m.map, folio);
    expect(order).toBeGreaterThan(0);
    expect(memoryFailure(m, (folioPfn(m.map, folio) + 1) as Pfn)).toEqual({
      page: 'clean LRU page',
      result: 'recovered',
      affected: [],
    });
    checkMachine(m, false);
    expect(m.spaces.nrpages[file]).toBe(2048 - 1);
    const dirty = folioPfn(m.map, filemapGetFolio(m, file, 3));
    // iomap keeps state of a folio’s blocks, so a dirty one is not split.
    const result = memoryFailure(m, dirty);
    if (result?.page === 'unsplit thp') expect(folioHasHwpoisoned(m.map, dirty)).toBe(true);
    else {
      expect(result).toMatchObject({ page: 'dirty LRU page', result: 'recovered' });
      expect(m.writeErrors).toBe(1);
    }
    checkMachine(m, false);
  });

  test('every frame of a machine, in random order: invariants hold', () => {
    fuzz(
      seedOf(3),
      stepsOf(400),
      (r) => ['fail', 1 + r.below(16383)],
      (ops) => {
        const m = replayed();
        for (const [, pfn] of ops) memoryFailure(m, pfn as Pfn);
        checkMachine(m, false);
        const { stats, pages } = m.poison;
        expect(stats.ignored + stats.failed + stats.delayed + stats.recovered).toBe(pages);
      },
    );
  });
});
