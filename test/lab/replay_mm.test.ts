/** The program's memory in a replay: what operations do, what is counted, and what the result says of it. */
import { describe, expect, test } from 'vitest';
import { Replay } from '../../src/lab/replay.ts';
import { type ReplayResult, resultOf } from '../../src/lab/result.ts';
import { resultText } from '../../src/lab/result_text.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { opsFrom } from '../../src/trace/ops.ts';

const MIB = 2 ** 20;

function run(lines: readonly string[], set: Settings = {}): ReplayResult {
  const replay = new Replay(opsFrom('t', `#quire-ops 1\n#fs,xfs\n${lines.join('\n')}\n`), {
    memory: 256 * MIB,
    ...set,
  });
  replay.run();
  checkMachine(replay.m, true);
  return resultOf(replay, 't');
}
const shape = (r: ReplayResult, map: number): [number, number][] =>
  (r.maps.find((m) => m.map === map)?.folios ?? []).map(([page, order]) => [page, order]);

describe('maps', () => {
  test('a folio shows what of it is mapped: its order, or minus the pages', () => {
    const r = run([
      '#thp,64kB=always',
      `mmap,1,-,0,${MIB},rw,private`,
      'touch,1,0,4096,w',
      'touch,1,131072,1,w',
      'munmap,1,135168,12288',
      'touch,1,262144,4096,r',
    ]);
    expect(shape(r, 1)).toEqual([
      [0, 4],
      [32, 0],
      [36, -12],
      [64, 0],
    ]);
    expect(r.mthp['64kB']).toEqual({ anon_fault_alloc: 2, split_deferred: 1 });
    expect(r.summary.minor_faults).toBe(3);
    expect(r.memory).toMatchObject({ mapped: MIB - 12288, rss_anon: 29 * 4096, page_tables: 3 * 4096 });
    expect(r.memory?.tables).toEqual({ PTE: 1, PMD: 1, PUD: 1, PGD: 1 });
  });

  test('a huge page is one entry, with a table kept for it; the zero page as well', () => {
    const r = run([
      '#thp,2048kB=always',
      `mmap,1,-,0,${4 * MIB},rw,private`,
      'touch,1,4096,4096,w',
      `touch,1,${2 * MIB},4096,r`,
    ]);
    expect(shape(r, 1)).toEqual([
      [0, 9],
      [512, 9],
    ]);
    expect(r.memory).toMatchObject({ rss_anon: 2 * MIB, tables: { PTE: 2 } });
    expect(resultText(r)).toMatch(/faults +2 minor, 0 major/);
  });

  test('the setting thp counts, not the recording', () => {
    const lines = ['#thp,64kB=always', `mmap,1,-,0,${MIB},rw,private`, `touch,1,0,${MIB},w`];
    expect(run(lines).summary.minor_faults).toBe(16);
    expect(run(lines, { thp: { '64kB': 'never' } }).summary.minor_faults).toBe(256);
    expect(run(lines, { thp: { '64kB': 'never', '256kB': 'always' } }).summary.minor_faults).toBe(4);
    expect(() => run(lines, { thp: { '48kB': 'always' } })).toThrow(/thp 48kB: no such size/);
  });

  test('larger base pages: fewer faults, larger tables', () => {
    const lines = [`mmap,1,-,0,${MIB},rw,private`, `touch,1,0,${MIB},w`];
    const r = run(lines, { pageSize: 65536 });
    expect(r.summary.minor_faults).toBe(16);
    expect(r.memory).toMatchObject({ rss_anon: MIB, page_tables: 2 * 65536, tables: { PTE: 1, PMD: 1, PGD: 1 } });
  });

  test('a mapping may touch the one above it, and then they are one area', () => {
    const r = run([
      '#thp,2048kB=always',
      `mmap,1,-,0,${4 * MIB},rw,private`,
      `mmap,2,-,0,${4 * MIB},rw,private,${4 * MIB}`,
      `touch,2,${3 * MIB},4096,w`,
      'touch,1,0,4096,w',
    ]);
    expect(shape(r, 2)).toEqual([[512, 9]]);
    expect(shape(r, 1)).toEqual([[0, 9]]);
  });
});

describe('operations', () => {
  test('a child that exits leaves its parent to itself; the recorder faults on its own pages after it', () => {
    const lines = [`mmap,1,-,0,${MIB},rw,private`, 'touch,1,0,8192,w'];
    expect(run([...lines, 'fork', 'touch,1,0,8192,w']).summary.minor_faults).toBe(4 + 9);
    expect(run([...lines, 'fork', 'fork']).summary.minor_faults).toBe(2 + 16);
  });

  test('private memory of a file is copied when it is written', () => {
    const r = run([
      '#file,1,a,65536',
      'open,1,1,rw',
      'mmap,1,1,0,65536,rw,private',
      'touch,1,0,65536,r',
      'touch,1,4096,4096,w',
      'close,1',
      'touch,1,8192,4096,w',
    ]);
    expect(r.memory).toMatchObject({ rss_anon: 2 * 4096, rss_file: 14 * 4096 });
    expect(r.folios['1']?.length).toBeGreaterThan(0);
  });

  test('a file stays open while it is mapped, and its number is used again afterwards', () => {
    const r = run([
      '#file,1,a,65536',
      '#file,2,b,65536',
      'open,1,1,r',
      'mmap,1,1,0,65536,r,shared',
      'close,1',
      'open,1,2,r',
      'touch,1,0,65536,r',
      'munmap,1,0,65536',
      'open,2,1,r',
      'read,2,65536',
    ]);
    expect(r.skipped).toEqual({});
    expect(r.memory?.rss_file).toBe(0);
  });

  test('locked memory is there at once', () => {
    const r = run([`mmap,1,-,0,${MIB},rw,private`, 'mlock,1,0,65536']);
    expect(r.memory?.rss_anon).toBe(65536);
    expect(r.vmstat.nr_mlock).toBe(16);
  });

  test('khugepaged runs where the recording says so', () => {
    const lines = [
      '#file,1,a,1048576',
      `mmap,1,-,0,${2 * MIB},rw,private`,
      `madvise,1,0,${2 * MIB},nohugepage`,
      'touch,1,0,8192,w',
      `madvise,1,0,${2 * MIB},hugepage`,
      // The daemon starts a while after it was woken.
      'open,2,1,r',
      'fadvise,2,0,0,random',
      ...Array.from({ length: 200 }, (_, i) => `pread,2,${((i * 7) % 250) * 4096},4096`),
    ];
    expect(shape(run(lines), 1)).toEqual([
      [0, 0],
      [1, 0],
    ]);
    expect(shape(run(['#khugepaged,1', ...lines]), 1)).toEqual([[0, 9]]);
  });

  test('what the kernel refuses, and what it answers with a signal, is counted', () => {
    const r = run([
      `mmap,1,-,0,${MIB},rw,private`,
      'munmap,1,0,65536',
      'touch,1,0,4096,r',
      'mprotect,1,0,131072,r',
      'touch,1,131072,4096,w',
      'mprotect,1,65536,131072,r',
      'touch,1,131072,4096,w',
      'madvise,1,0,65536,hugepage',
    ]);
    expect(r.skipped).toEqual({
      'access that ends in a signal': 2,
      'mprotect that the kernel refuses': 1,
      'madvise hugepage that the kernel refuses': 1,
    });
  });

  test('memory that ends is out of memory, not a crash', () => {
    const lines = [`mmap,1,-,0,${64 * MIB},rw,private`, `touch,1,0,${64 * MIB},w`];
    const r = run(lines, { memory: 16 * MIB });
    expect(r.program.out_of_memory).toBe(1);
  });
});
