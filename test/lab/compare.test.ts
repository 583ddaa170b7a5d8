import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CompareRow, type Comparison, compare, product, ROWS_MAX, type Vary } from '../../src/lab/compare.ts';
import { formatDelta, formatRatio, settingText } from '../../src/lab/compare_columns.ts';
import { compareJson } from '../../src/lab/compare_json.ts';
import { change, conclusions } from '../../src/lab/compare_says.ts';
import { compareCsv, compareText } from '../../src/lab/compare_text.ts';
import { Replay } from '../../src/lab/replay.ts';
import { resultOf } from '../../src/lab/result.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { mapBytes, memmapLayout } from '../../src/mm/memmap.ts';
import { openOps } from '../../src/trace/ops.ts';
import { root } from '../../tools/sources.ts';

const mixed = `${root}golden/linux-6.18/scripts/limit-mixed-xfs-1.ops`;
const writes = `${root}golden/linux-6.18/scripts/write-ext4-1.ops`;

const kernels = (...names: string[]): Vary => ({ name: 'kernel', values: names.map((kernel) => ({ kernel })) });
const limits = (...bytes: number[]): Vary => ({ name: 'memcg', values: bytes.map((memcg) => ({ memcg })) });
const MIB = 2 ** 20;

describe('combinations', () => {
  test('the first setting varies slowest', () => {
    expect(product([kernels('5.15', '6.18'), limits(0, MIB)])).toEqual([
      { kernel: '5.15', memcg: 0 },
      { kernel: '5.15', memcg: MIB },
      { kernel: '6.18', memcg: 0 },
      { kernel: '6.18', memcg: MIB },
    ]);
  });
  test('of nothing are one: the recording as it is', () => {
    expect(product([])).toEqual([{}]);
  });
  test.each<[string, Vary[], RegExp]>([
    ['a setting twice', [kernels('6.1'), kernels('6.6')], /kernel is varied twice/],
    ['a value twice', [limits(MIB, 0, MIB)], /memcg: the value 1048576 is given twice/],
    [
      'too many',
      [limits(...Array.from({ length: ROWS_MAX + 1 }, (_, i) => i))],
      /201 combinations: expected at most 200/,
    ],
  ])('%s is refused', (_, vary, line) => {
    expect(() => product(vary)).toThrow(line);
  });
});

const run = (): Comparison => compare(() => openOps(mixed), {}, [kernels('5.15', '6.18'), limits(0, 4 * MIB)]);
let c: Comparison;
beforeAll(() => {
  c = run();
});

describe('a comparison', () => {
  test('is the same twice', () => {
    expect(compareJson(run())).toBe(compareJson(c));
  });

  test.each([mixed, writes])('says what the replays say: %s', (path) => {
    const compared = compare(() => openOps(path), {}, [kernels('5.15', '6.18'), limits(0, 4 * MIB)]);
    for (const { set, figures } of compared.rows) {
      const replay = new Replay(openOps(path), set);
      replay.run();
      const result = resultOf(replay, '');
      const cached = Object.values(result.folios).flat();
      expect(figures).toMatchObject({
        read_bytes: result.io.read_bytes,
        reads: result.io.reads,
        reads_by_pages: result.io.reads_by_pages,
        written_bytes: result.io.written_bytes,
        writes: result.io.writes,
        writes_by_pages: result.io.writes_by_pages,
        program_read_bytes: result.program.read_bytes,
        program_written_bytes: result.program.written_bytes,
        out_of_memory: result.program.out_of_memory,
        added_folios: result.summary.added_folios,
        added_pages: result.summary.added_pages,
        added_by_order: result.summary.added_by_order,
        deleted_pages: result.summary.deleted_pages,
        refaulted_pages: result.vmstat.workingset_refault_file ?? 0,
        activated_pages: result.vmstat.pgactivate ?? 0,
        cached_folios: cached.length,
        cached_pages: cached.reduce((n, [, order]) => n + 2 ** order, 0),
        lru_folios: result.lru_folios,
        lru_pages: result.lru_pages,
        memmap_bytes: mapBytes(memmapLayout('overlay'), result.config.memory, result.config.pageSize),
      });
      expect(figures?.read_amplification).toBe(result.io.read_bytes / result.program.read_bytes);
    }
    expect(compared.operations).toBeGreaterThan(100);
  });

  test('its settings have an effect', () => {
    const of = (r: CompareRow | undefined) => r?.figures as NonNullable<CompareRow['figures']>;
    const [old, oldLimited, now] = c.rows;
    expect(of(old).added_folios).toBe(of(old).added_pages);
    expect(of(now).added_folios).toBeLessThan(of(now).added_pages);
    expect(of(old).refaulted_pages).toBe(0);
    expect(of(oldLimited).refaulted_pages).toBeGreaterThan(0);
  });

  test('files are the same in every row, and their folios those of the cache', () => {
    for (const { files, figures } of c.rows) {
      expect(files?.map((f) => f.name)).toEqual(c.rows[0]?.files?.map((f) => f.name));
      // The recording has three files, so all of the cache is here.
      expect(files?.reduce((n, f) => n + f.cached_pages, 0)).toBe(figures?.cached_pages);
      expect(files?.reduce((n, f) => n + f.cached_folios, 0)).toBe(figures?.cached_folios);
    }
  });
});

describe('a timeline', () => {
  test('has the same moments in every row, evenly spaced, and ends with the replay', () => {
    const [first, ...rest] = c.rows.map((r) => r.timeline?.operations as number[]);
    for (const other of rest) expect(other).toEqual(first);
    const moments = first as number[];
    expect(moments[0]).toBe(0);
    expect(moments.at(-1)).toBe(c.operations);
    expect(moments.length).toBeGreaterThan(140);
    expect(moments.length).toBeLessThanOrEqual(300);
    const steps = new Set(moments.slice(1, -1).map((n, i) => n - (moments[i] as number)));
    expect(steps.size).toBe(1);
  });

  test('ends with the figures of the row, and what is summed never falls', () => {
    for (const { timeline, figures } of c.rows) {
      expect(timeline?.read_bytes.at(-1)).toBe(figures?.read_bytes);
      expect(timeline?.reads.at(-1)).toBe(figures?.reads);
      expect(timeline?.cached_pages.at(-1)).toBe(figures?.cached_pages);
      expect(timeline?.program_read_bytes.at(-1)).toBe(figures?.program_read_bytes);
      for (const name of ['read_bytes', 'reads', 'program_read_bytes'] as const) {
        const values = timeline?.[name] as number[];
        expect(values).toEqual(values.toSorted((a, b) => a - b));
      }
    }
  });

  test('stays under the limit of the group', () => {
    const limited = c.rows[1]?.timeline?.group_pages as number[];
    expect(Math.max(...limited)).toBeLessThanOrEqual((4 * MIB) / 4096);
    expect(c.rows[0]?.timeline?.group_pages.every((n) => n === 0)).toBe(true);
  });
});

describe('what cannot be', () => {
  const refused =
    (base: Settings, vary: readonly Vary[] = []) =>
    () =>
      compare(() => openOps(mixed), base, vary);

  test.each<[string, Settings, RegExp]>([
    ['swappiness', { swappiness: 0 }, /^swappiness 0 has no effect yet: /],
    ['a CPU', { cpu: 'x' }, /^cpu has no effect yet: /],
    ['an unknown kernel', { kernel: '4.4' }, /^kernel 4.4: no such preset/],
  ])('%s is refused before anything is replayed', (_, set, line) => {
    expect(refused(set)).toThrow(line);
    const name = Object.keys(set)[0] as keyof Settings;
    let opened = 0;
    const open = () => {
      opened++;
      return openOps(mixed);
    };
    expect(() => compare(open, {}, [limits(0, MIB), { name, values: [set] }])).toThrow(line);
    expect(opened).toBe(1);
  });

  test('what says no more than the model does is taken', () => {
    expect(refused({ swappiness: 60, lru: 'classic', memmap: 'overlay' })).not.toThrow();
  });

  const blocks: Vary = { name: 'blockSize', values: [{ blockSize: 4096 }, { blockSize: 16384 }] };
  test('a combination that no machine could have is a row that says so', () => {
    const some = compare(() => openOps(mixed), {}, [kernels('5.15', '6.18'), blocks]);
    expect(some.rows.map((r) => r.refused !== null)).toEqual([false, true, false, false]);
    const text = compareText(some);
    expect(text).toContain('not possible: kernel 5.15, block-size 16 KiB: xfs: a block of 16384 bytes');
    expect(compareCsv(some).split('\n')[2]).toMatch(/^limit-mixed-xfs-1.ops,5.15,16384,xfs: a block of /);
  });

  test('no possible combination is an error', () => {
    expect(refused({}, [kernels('5.15'), { name: 'blockSize', values: [{ blockSize: 16384 }] }])).toThrow(
      /needs kernel 6.12/,
    );
  });

  describe('a recording', () => {
    let dir: string;
    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'quire-compare-'));
    });
    afterAll(() => rmSync(dir, { recursive: true }));
    const recording = (text: string) => {
      const path = join(dir, 'run.ops');
      writeFileSync(path, text);
      return path;
    };
    const header = '#quire-ops 1\n#file,1,a.bin,1048576\nopen,0,1,r\n';

    test('with a bad line is an error that names it', () => {
      const path = recording(`${header}pread,0,0,4096\nread,0,x\n`);
      expect(() => compare(() => openOps(path), {}, [limits(0, MIB)])).toThrow(/run\.ops:5: /);
    });
    test('that changes between two rows is an error', () => {
      const path = recording(`${header}pread,0,0,4096\n`);
      let opened = 0;
      const open = () => {
        if (++opened === 2) recording(`${header}pread,0,0,4096\npread,0,4096,4096\n`);
        return openOps(path);
      };
      expect(() => compare(open, {}, [limits(0, MIB)])).toThrow(/has changed while it was read/);
    });
    test('of no operation is compared, and all its figures are 0', () => {
      const path = recording('#quire-ops 1\n#file,1,a.bin,0\n');
      const none = compare(() => openOps(path), {}, [limits(0, MIB)]);
      expect(none.rows.map((r) => r.figures?.added_folios)).toEqual([0, 0]);
      expect(none.rows[0]?.figures?.read_amplification).toBeNull();
      expect(none.rows[0]?.timeline?.operations).toEqual([0]);
      expect(compareText(none)).toContain('0 operations');
      expect(conclusions(none)).toEqual([
        'Limit 1 MiB against no limit: the same bytes, requests, folios and refaults.',
      ]);
    });
  });
});

describe('as text', () => {
  test('columns are straight and fit a mail', () => {
    const blocks = compareText(c)
      .split('\n\n')
      .filter((block) => /\n {2}kernel/.test(block));
    expect(blocks.length).toBeGreaterThanOrEqual(5);
    for (const block of blocks) {
      const [, head, ...rows] = block.trimEnd().split('\n');
      expect(rows).toHaveLength(4);
      // The end of each heading is the end of each of its figures.
      for (const m of (head as string).matchAll(/\S(?= {2}|$)/g))
        for (const row of rows)
          if (m.index > 16) expect(row.slice(m.index, m.index + 2), `${head}\n${row}`).toMatch(/^\S( |$)/);
      for (const row of [head as string, ...rows]) {
        expect(row.length).toBeLessThanOrEqual(100);
        expect(row).toBe(row.trimEnd());
      }
    }
  });

  test('names the recording, what all rows share, and that figures are counted', () => {
    const text = compareText(c);
    expect(text).toMatch(/^limit-mixed-xfs-1\.ops: [\d,]+ operations on 3 files of 49 MiB; the program read /);
    expect(text).toContain('\nxfs, 4 KiB blocks, 4 KiB pages, readahead 128 KiB, memory 24 GiB\n');
    expect(text).toContain('All figures are counted');
    expect(text).not.toContain('Written to the device');
  });

  test('the first row has no difference', () => {
    for (const line of compareText(c).split('\n')) if (/^ {2}5\.15 {4}none/.test(line)) expect(line).not.toContain('(');
  });

  test.each([
    [12, 12, ''],
    [4, 100, '-96 %'],
    [112, 100, '+12 %'],
    [103.4, 100, '+3.4 %'],
    [1e6 + 1, 1e6, '~0 %'],
    [1, 10_000, '-99.99 %'],
    [0, 10_000, '-100 %'],
    [344, 10, 'x34.4'],
    [5, 0, ''],
    [null, 5, ''],
  ])('the difference of %s from %s is %s', (value, first, text) => {
    expect(formatDelta(value, first)).toBe(text);
  });

  test('ratios and settings', () => {
    expect([0, 0.00342, 0.4213, 1, 9.996, 18.9, 99.96, 1234].map(formatRatio)).toEqual([
      '0x',
      '0.0034x',
      '0.42x',
      '1.00x',
      '10.0x',
      '18.9x',
      '100x',
      '1234x',
    ]);
    expect([0, 65536, 1_000_000, 1.5 * MIB].map((n) => settingText('memcg', n))).toEqual([
      'none',
      '64 KiB',
      '1000000 B',
      '1536 KiB',
    ]);
  });
});

describe('as CSV', () => {
  test('has a field for every name, and exact numbers', () => {
    const [head, ...lines] = compareCsv(c)
      .trimEnd()
      .split('\n')
      .map((line) => line.split(','));
    expect(lines).toHaveLength(4);
    lines.forEach((fields, i) => {
      expect(fields).toHaveLength(head?.length as number);
      const named = Object.fromEntries(fields.map((field, k) => [head?.[k], field]));
      const row = c.rows[i] as CompareRow;
      expect(named).toMatchObject({ kernel: row.set.kernel, memcg: String(row.set.memcg), refused: '' });
      expect(Number(named.read_bytes)).toBe(row.figures?.read_bytes);
      expect(Number(named.added_order_0)).toBe(row.figures?.added_by_order[0] ?? 0);
      expect(Number(named.reads_pages_32)).toBe(row.figures?.reads_by_pages[32] ?? 0);
    });
    expect(new Set(head).size).toBe(head?.length);
  });

  test('quotes what needs it', () => {
    const odd = { ...c, recording: '=a,"b"' };
    expect(compareCsv(odd).split('\n')[1]).toMatch(/^"'=a,""b""",5\.15,/);
  });
});

describe('in sentences', () => {
  test.each([
    [89, 89, 'as many requests'],
    [89, 365, '4.1 × fewer requests'],
    [365, 89, '4.1 × as many requests'],
    [112, 100, '12 % more requests'],
    [97, 100, '3.0 % fewer requests'],
    [5000, 5, '1,000 × as many requests'],
    [7, 0, '7 requests instead of none'],
    [0, 7, 'no requests instead of 7'],
    [1_000_001, 1_000_000, 'under 0.1 % more requests'],
  ])('%s after %s: %s', (now, before, text) => {
    expect(change(now, before, 'requests')).toBe(text);
  });

  test('each setting against its first value, then the extremes; numbers are those of the rows', () => {
    const said = conclusions(c);
    expect(said[0]).toMatch(/^Linux 6\.18 against Linux 5\.15 \(no limit\): /);
    expect(said[1]).toMatch(
      /^Limit 4 MiB against no limit \(Linux 5\.15\): .*; has [\d,]+ refaults instead of none\.$/,
    );
    const reads = c.rows.map((r) => r.figures?.reads as number);
    const text = said.find((s) => s.startsWith('Read requests')) as string;
    expect(text).toContain(`fewest ${Math.min(...reads).toLocaleString('en-US')} (`);
    expect(text).toContain(`most ${Math.max(...reads).toLocaleString('en-US')} (`);
  });

  test('failures are said', () => {
    const tight = compare(() => openOps(mixed), {}, [limits(0, 65536)]);
    const failed = tight.rows[1]?.figures?.out_of_memory as number;
    expect(failed).toBeGreaterThan(0);
    expect(conclusions(tight).at(-1)).toBe(
      `Out of memory: ${failed.toLocaleString('en-US')} operations failed with limit 64 KiB.`,
    );
  });
});
