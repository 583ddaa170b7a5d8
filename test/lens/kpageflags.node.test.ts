/** The census of a live machine: from a made-up /proc, and from this one where root may read it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { liveCensus } from '../../src/lens/kpageflags.ts';
import { besideMeminfo, parseMeminfo } from '../../src/lens/meminfo.ts';
import { CENSUS_ORDERS, type Census, listedPages, OWNER_ROW, OWNERS, ownerPages } from '../../src/mm/census.ts';
import { mapBytes, memmapLayout } from '../../src/mm/memmap.ts';

/** Bits of a word, low half. */
const K = {
  UPTODATE: 1 << 3,
  LRU: 1 << 5,
  SLAB: 1 << 7,
  BUDDY: 1 << 10,
  MMAP: 1 << 11,
  ANON: 1 << 12,
  SWAPBACKED: 1 << 14,
  HEAD: 1 << 15,
  TAIL: 1 << 16,
  HUGE: 1 << 17,
  HWPOISON: 1 << 19,
  OFFLINE: 1 << 23,
  ZERO: 1 << 24,
  PGTABLE: 1 << 26,
};
const SECTION = 32768;
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

interface Frames {
  readonly flags: Uint32Array;
  readonly counts: Uint32Array;
}
const frames = (sections: number): Frames => ({
  flags: new Uint32Array(sections * SECTION * 2),
  counts: new Uint32Array(sections * SECTION * 2),
});
/** Gives `n` frames from `at` on a word; `high`: its upper half. */
function put({ flags }: Frames, at: number, n: number, low: number, high = 0): void {
  for (let i = at; i < at + n; i++) {
    flags[2 * i] = low;
    flags[2 * i + 1] = high;
  }
}
/** A compound page. */
function compound(f: Frames, at: number, order: number, low: number): void {
  put(f, at, 1, low | K.HEAD);
  put(f, at + 1, 2 ** order - 1, low | K.TAIL);
}

/** A folder that looks like /proc. */
function proc(f: Frames, iomem: string, meminfo = 'MemTotal: 99999999 kB\n'): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-proc-'));
  folders.push(folder);
  writeFileSync(join(folder, 'kpageflags'), f.flags);
  writeFileSync(join(folder, 'kpagecount'), f.counts);
  writeFileSync(join(folder, 'iomem'), iomem);
  writeFileSync(join(folder, 'meminfo'), meminfo);
  mkdirSync(join(folder, 'self'));
  const auxv = Buffer.alloc(48);
  auxv.writeBigUInt64LE(3n, 0);
  auxv.writeBigUInt64LE(6n, 16);
  auxv.writeBigUInt64LE(4096n, 24);
  writeFileSync(join(folder, 'self', 'auxv'), auxv);
  return folder;
}
const ram = (...sections: readonly (readonly [number, number])[]): string =>
  sections
    .map(
      ([from, to]) =>
        `${(from * SECTION * 4096).toString(16).padStart(8, '0')}-${(to * SECTION * 4096 - 1).toString(16)} : System RAM\n  00000000-000fffff : Kernel code\n`,
    )
    .join('');

function pieces(census: Census): Record<string, number> {
  const out: Record<string, number> = {};
  for (const owner of OWNERS)
    for (let order = 0; order < CENSUS_ORDERS; order++) {
      const n = census.pieces[OWNER_ROW[owner] + order];
      if (n > 0) out[`${owner} ${order}`] = n;
    }
  return out;
}

describe('a made-up machine', () => {
  test('heads and tails are pieces of their owners', () => {
    const f = frames(1);
    put(f, 0, SECTION, 0, 1);
    compound(f, 512, 9, K.ANON | K.LRU | K.MMAP | K.SWAPBACKED | K.UPTODATE);
    compound(f, 1024, 2, K.LRU | K.UPTODATE);
    compound(f, 1028, 2, K.UPTODATE);
    put(f, 1032, 3, K.LRU | K.UPTODATE | K.MMAP);
    put(f, 1035, 2, K.LRU | K.SWAPBACKED | K.UPTODATE);
    compound(f, 1040, 3, K.SLAB);
    put(f, 1048, 2, K.SLAB);
    put(f, 1050, 5, K.PGTABLE);
    put(f, 1055, 1, K.HWPOISON);
    put(f, 1056, 2, K.OFFLINE);
    compound(f, 2048, 9, K.HUGE);
    put(f, 1058, 1, K.ZERO);
    put(f, 1059, 4, 0);
    put(f, 1063, 1, K.MMAP);
    const live = liveCensus(proc(f, ram([0, 1])));
    expect(pieces(live.census)).toEqual({
      'anon 9': 1,
      'file 0': 3,
      'file 2': 2,
      'shmem 0': 2,
      'slab 3': 1,
      'slab 0': 2,
      'table 0': 5,
      'hwpoison 0': 1,
      'offline 0': 2,
      'hugetlb 9': 1,
      'kernel 0': 6,
      'reserved 0': SECTION - 1061,
    });
    expect(live.lruPages).toBe(512 + 4 + 3 + 2);
    expect(listedPages(live.census)).toBe(SECTION);
  });

  test('a free run is the blocks that a buddy allocator would make of it', () => {
    const f = frames(1);
    put(f, 0, SECTION, 0, 1);
    put(f, 3, 10, K.BUDDY);
    put(f, 4096, 3072, K.BUDDY);
    expect(pieces(liveCensus(proc(f, ram([0, 1]))).census)).toMatchObject({
      // 3 | 4–7 | 8–11 | 12
      'free 0': 2,
      'free 2': 2,
      'free 10': 3,
    });
  });

  test('pieces cross the borders of what is read at a time', () => {
    // Chunks are of four sections.
    const f = frames(13);
    put(f, 0, 13 * SECTION, 0, 1);
    compound(f, 0, 18, K.HUGE);
    put(f, 12 * SECTION - 1024, 2048, K.BUDDY);
    const { census } = liveCensus(proc(f, ram([0, 13])));
    expect(pieces(census)).toEqual({ 'free 10': 2, 'hugetlb 18': 1, 'reserved 0': 5 * SECTION - 2048 });
  });

  test('tails without their head, as a race leaves them, count in smaller pieces', () => {
    const f = frames(1);
    put(f, 0, SECTION, 0, 1);
    put(f, 65, 7, K.TAIL | K.LRU);
    const { census } = liveCensus(proc(f, ram([0, 1])));
    expect(listedPages(census)).toBe(SECTION);
  });

  test('mapped pages of large folios are counted page by page', () => {
    const f = frames(2);
    put(f, 0, 2 * SECTION, 0, 1);
    const file = K.LRU | K.UPTODATE | K.MMAP;
    compound(f, 64, 4, file);
    compound(f, SECTION, 4, file | K.ANON | K.SWAPBACKED);
    put(f, 8, 3, file);
    put(f, 16, 2, file | K.ANON | K.SWAPBACKED);
    for (const at of [64, 65, 79, SECTION + 3]) f.counts[2 * at] = 2;
    // Not asked: the flag of a small folio tells.
    f.counts[2 * 8] = 7;
    const live = liveCensus(proc(f, ram([0, 2])));
    expect([live.mappedFilePages, live.mappedAnonPages]).toEqual([6, 3]);
  });

  test('the map covers the sections that have memory', () => {
    const f = frames(4);
    put(f, 0, 4 * SECTION, K.BUDDY);
    const half = (2.5 * SECTION * 4096).toString(16);
    const iomem = `00001000-0009fbff : System RAM\n00100000-${(SECTION * 2048).toString(16)} : System RAM\n${half}-${half}0 : Reserved\n  ${half}-${(3 * SECTION * 4096 - 1).toString(16)} : System RAM (kmem)\n`;
    expect(liveCensus(proc(f, iomem)).census.frames).toBe(2 * SECTION);
  });

  test('memory without a flag is not yet initialised, but for what boot took', () => {
    const f = frames(3);
    put(f, 0, SECTION, K.BUDDY);
    put(f, 0, 100, 0, 1);
    const total = (3 * SECTION - 100 - 500) * 4;
    expect(pieces(liveCensus(proc(f, ram([0, 3]), `MemTotal: ${total} kB\n`)).census)).toMatchObject({
      'uninitialised 0': 2 * SECTION - 500,
      'reserved 0': 600,
    });
  });

  test('a file cut short: what was read counts', () => {
    const f = frames(2);
    put(f, 0, 2 * SECTION, K.BUDDY);
    const short = { flags: f.flags.subarray(0, 2 * SECTION + 2000), counts: f.counts };
    expect(liveCensus(proc(short, ram([0, 2]))).census.frames).toBe(SECTION + 1000);
  });

  test.each([
    [
      'no addresses',
      '00000000-00000000 : System RAM\n',
      /iomem: no addresses of System RAM in it: expected to run as root/,
    ],
    ['no memory', '000a0000-000bffff : PCI Bus\n', /no addresses of System RAM/],
  ])('%s in iomem', (_, iomem, line) => {
    expect(() => liveCensus(proc(frames(1), iomem))).toThrow(line);
  });

  test('a system without kpageflags', () => {
    const folder = proc(frames(1), ram([0, 1]));
    rmSync(join(folder, 'kpageflags'));
    expect(() => liveCensus(folder)).toThrow(/kpageflags: not there: expected a Linux with CONFIG_PROC_PAGE_MONITOR/);
  });
});

describe('beside meminfo', () => {
  test('the distance from the two readings', () => {
    const f = frames(1);
    put(f, 0, SECTION, 0, 1);
    put(f, 0, 1000, K.BUDDY);
    const live = liveCensus(proc(f, ram([0, 1])));
    const at = (before: number, after: number) => {
      const info = (kB: number) => parseMeminfo(`MemFree:  ${kB} kB\nHugePages_Total:   7\n`);
      return besideMeminfo({ ...live, meminfo: [info(before), info(after)] })[0];
    };
    expect(at(3900, 4100)).toMatchObject({ meminfo: 'MemFree', censusBytes: 4_096_000, difference: 0 });
    expect(at(5000, 4100)?.difference).toBeCloseTo(-100 / 4100, 9);
    expect(at(3000, 3500)?.difference).toBeCloseTo(500 / 3500, 9);
    expect(parseMeminfo('Active(file):  12 kB\nHugePages_Total:   7\n').get('Active(file)')).toBe(12288);
    expect(parseMeminfo('HugePages_Total:   7\n').get('HugePages_Total')).toBe(7);
  });
});

function readable(): boolean {
  try {
    liveCensus();
    return true;
  } catch {
    return false;
  }
}

describe.runIf(readable())('this machine', () => {
  test('is what /proc/meminfo says, within 1 %', () => {
    // Other programs come and go while it is read: one of five readings must hold.
    let wrong: string[] = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      // Counters wait on each CPU before they are told; reading this file brings them in.
      readFileSync('/proc/sys/vm/stat_refresh');
      const live = liveCensus();
      expect(listedPages(live.census)).toBe(live.census.frames);
      expect(ownerPages(live.census, 'file')).toBeGreaterThan(0);
      wrong = besideMeminfo(live)
        .filter((row) => {
          // Two thousandths of memory of room: a kernel's own counters drift from its pages in hours of migrations and huge pools.
          const off = Math.abs(row.difference) * Math.max(row.beforeBytes, row.afterBytes);
          return Math.abs(row.difference) > 0.01 && off > live.census.frames * 4096 * 0.002;
        })
        .map((row) => `${row.meminfo}: ${row.censusBytes} counted, ${row.beforeBytes} and ${row.afterBytes} said`);
      if (wrong.length === 0) break;
    }
    expect(wrong).toEqual([]);
  });

  test('has a memory map of the bytes that the kernel counts for it', () => {
    const vmstat = readFileSync('/proc/vmstat', 'utf8');
    const pages = [...vmstat.matchAll(/^nr_memmap(?:_boot)?_pages (\d+)$/gm)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
    const { frames: n, pageSize } = liveCensus().census;
    // Older kernels do not count it.
    if (pages > 0) expect(mapBytes(memmapLayout('overlay'), n * pageSize, pageSize)).toBe(pages * pageSize);
  });
});
