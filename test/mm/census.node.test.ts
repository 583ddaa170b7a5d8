/** The census of a machine against its memory map, asked frame by frame. */
import { describe, expect, test } from 'vitest';
import type { Prng } from '../../src/base/prng.ts';
import { Replay } from '../../src/lab/replay.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { AS_SWAPBACKED } from '../../src/mm/address_space.ts';
import { CENSUS_ORDERS, type Census, listedPages, machineCensus, OWNER_ROW, ownerPages } from '../../src/mm/census.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { folioMapping, folioTest, folioTestAnon, pageFolio } from '../../src/mm/mm_types.ts';
import { MAX_NR_ZONES, NR_LOWORDER_PCP_LISTS, NR_PCP_LISTS } from '../../src/mm/mmzone.ts';
import { nrFree } from '../../src/mm/page_alloc_report.ts';
import { PG, PGTY } from '../../src/mm/page_flags.ts';
import { freeNext } from '../../src/mm/page_free.ts';
import { pageCount, pageOrder, pageType } from '../../src/mm/page_type.ts';
import { V } from '../../src/mm/vmstat.ts';
import { opsFrom } from '../../src/trace/ops.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';

const MIB = 2 ** 20;

function replayed(lines: readonly string[], set: Settings): Replay {
  const r = new Replay(opsFrom('t', `#quire-ops 1\n${lines.join('\n')}\n`), set);
  r.run();
  return r;
}

/** Free frames, by the lists that hold them: 1 in a block of the buddy allocator, 2 on a per-CPU list. */
function freeFrames(m: Machine): Uint8Array {
  const { zones } = m;
  const free = new Uint8Array(zones.frames);
  zones.area.head.forEach((head, row) => {
    const order = Math.floor(row / 5) % (zones.maxOrder + 1);
    for (let pfn = head; pfn !== 0; pfn = freeNext(m.map, pfn)) free.fill(1, pfn, pfn + 2 ** order);
  });
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) {
    free.fill(1, zones.zone.cursor[zone], zones.zone.cursorEnd[zone]);
    for (let list = 0; list < NR_PCP_LISTS; list++) {
      const order = list >= NR_LOWORDER_PCP_LISTS ? zones.pmdOrder : Math.floor(list / 3);
      for (let pfn = zones.pcp.head[zone * NR_PCP_LISTS + list]; pfn !== 0; pfn = freeNext(m.map, pfn))
        free.fill(2, pfn, pfn + 2 ** order);
    }
  }
  return free;
}

/** Pages by owner and order, every frame asked for itself. Free blocks are by their lists. */
function pagesByFrame(m: Machine): Float64Array {
  const { map, zones } = m;
  const pages = new Float64Array(Object.keys(OWNER_ROW).length * CENSUS_ORDERS);
  const free = freeFrames(m);
  for (let zone = 0; zone < MAX_NR_ZONES; zone++)
    for (let order = 0; order <= zones.maxOrder; order++)
      pages[OWNER_ROW.free + order] += nrFree(zones, zone, order) * 2 ** order;
  for (let pfn = 0; pfn < zones.frames; pfn++) {
    if (free[pfn] === 1) continue;
    const f = pageFolio(map, pfn as Pfn);
    const type = free[pfn] === 2 || pfn === 0 ? 0 : pageType(map, pfn as Pfn);
    let row = OWNER_ROW.kernel;
    if (pfn === 0) row = OWNER_ROW.reserved;
    else if (free[pfn] === 2) row = OWNER_ROW.pcp;
    else if (type === PGTY.PGTY_table) row = OWNER_ROW.table;
    else if (type === PGTY.PGTY_zsmalloc) row = OWNER_ROW.zsmalloc;
    else if (f === 0) row = OWNER_ROW.kernel;
    else if (folioTestAnon(map, f)) row = OWNER_ROW.anon;
    else if (folioMapping(map, f) !== 0)
      row = (m.spaces.flags[folioMapping(map, f)] & AS_SWAPBACKED) !== 0 ? OWNER_ROW.shmem : OWNER_ROW.file;
    else if (folioTest(map, f, PG.PG_swapbacked)) row = OWNER_ROW.anon;
    const none = row === OWNER_ROW.pcp || row === OWNER_ROW.reserved;
    if (!none && pageCount(map, pfn as Pfn) === 0) throw new Error(`frame ${pfn}: no references, and on no list`);
    pages[row + (none ? 0 : pageOrder(map, pfn as Pfn))]++;
  }
  return pages;
}

function checked(r: Replay): Census {
  const { m } = r;
  const census = machineCensus(m);
  const pages = census.pieces.map((n, cell) => n * 2 ** (cell % CENSUS_ORDERS));
  expect([...pages]).toEqual([...pagesByFrame(m)]);
  expect(listedPages(census)).toBe(m.zones.frames);
  expect(ownerPages(census, 'free')).toBe(m.vmstat[V.nr_free_pages]);
  expect(ownerPages(census, 'table')).toBe(m.vmstat[V.nr_page_table_pages]);
  expect(ownerPages(census, 'file') + ownerPages(census, 'shmem') + m.vmstat[V.nr_swapcached]).toBe(
    m.vmstat[V.nr_file_pages],
  );
  return census;
}

const swap = { size: 16 * MIB, kind: 'ssd', zswap: true, ratio: 3, data: true } as const;

/** One line of a recording: mostly within the two files and two mappings. */
function line(r: Prng): string {
  const at = r.below(1000) * 4096;
  const length = (1 + r.below(r.below(5) === 0 ? 300 : 20)) * 4096;
  const map = 1 + r.below(2);
  switch (r.below(10)) {
    case 0:
    case 1:
    case 2:
      return `pread,${1 + r.below(2)},${at},${length}`;
    case 3:
    case 4:
      return `pwrite,${1 + r.below(2)},${at},${length}`;
    case 5:
    case 6:
      return `touch,${map},${at},${length},w`;
    case 7:
      return `touch,${map},${at},${length},r`;
    case 8:
      return `madvise,${map},${at},${length},${r.below(2) === 0 ? 'pageout' : 'dontneed'}`;
    default:
      return `fadvise,${1 + r.below(2)},${at},${length},dontneed`;
  }
}

const start = [
  '#thp,64kB=always',
  '#thp,2048kB=always',
  '#file,1,a,8388608',
  '#file,2,b,8388608',
  'open,1,1,rw',
  'open,2,2,rw',
  'mmap,1,-,0,8388608,rw,private',
  'mmap,2,-,0,8388608,rw,private',
];

describe('the census of a machine', () => {
  test('that did nothing: all but frame 0 is free', () => {
    const census = checked(replayed([], { memory: 64 * MIB }));
    expect(census.frames).toBe(16384);
    expect(ownerPages(census, 'free')).toBe(16383);
    expect(ownerPages(census, 'reserved')).toBe(1);
  });

  test('with files, shared memory, anonymous memory and its tables', () => {
    const file = checked(
      replayed(['#fs,xfs', ...start, 'pread,1,0,8388608', 'touch,1,0,2097152,w'], { memory: 64 * MIB }),
    );
    expect(ownerPages(file, 'file')).toBe(2048);
    expect(file.pieces[OWNER_ROW.anon + 9]).toBe(1);
    expect(ownerPages(file, 'table')).toBeGreaterThanOrEqual(4);
    // The files of a recording are there when it begins: on tmpfs that is in memory.
    const shmem = checked(replayed(['#fs,tmpfs', ...start], { memory: 64 * MIB }));
    expect(ownerPages(shmem, 'shmem')).toBe(4096);
    expect(ownerPages(shmem, 'file')).toBe(0);
  });

  test('a machine of 512 GiB of which little is used', () => {
    const census = machineCensus(replayed([...start, 'pread,1,0,1048576'], { memory: 512 * 2 ** 30 }).m);
    expect(listedPages(census)).toBe(2 ** 27);
  });

  test.each([
    ['xfs', '6.18', 0],
    ['ext4', '6.12', 8 * MIB],
    ['tmpfs', '6.12', 0],
    ['xfs', '6.18', 6 * MIB],
  ])('after random work on %s, kernel %s, group of %i bytes', (fs, kernel, memcg) => {
    let zsmalloc = 0;
    fuzz(
      seedOf(4),
      stepsOf(300),
      (r) => [line(r)],
      (ops) => {
        const lines = [`#fs,${fs}`, ...start, ...ops.map(([text]) => text as string)];
        zsmalloc = ownerPages(checked(replayed(lines, { memory: 24 * MIB, kernel, memcg, swap })), 'zsmalloc');
      },
    );
    expect(zsmalloc).toBeGreaterThan(0);
  });
});
