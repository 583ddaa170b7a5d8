import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import type { SpaceEvent } from '../../src/trace/access.ts';
import { parseEvent } from '../../src/trace/access_event.ts';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { formatOf } from '../../src/trace/detect.ts';
import { MADVICE } from '../../src/trace/event.ts';
import { faultsFrom } from '../../src/trace/faults.ts';
import { root } from '../../tools/sources.ts';
import { accessRows, type Row } from './accesses.ts';

const ls = readFileSync(`${root}golden/traces/ls.faults`, 'latin1');
const isEvent = (row: Row): row is SpaceEvent => !Array.isArray(row);
const advice = (name: (typeof MADVICE)[number]): number => MADVICE.indexOf(name);

/** A recording of lines: `PID event: …`; the process is the thread unless `PID/TGID` says otherwise. */
const recording = (...lines: readonly string[]): string =>
  `#quire-faults 1\n# tracer: nop\n${lines
    .map((line) => {
      const [, pid, tgid, text] = /^(\d+)(?:\/(\d+))? (.*)$/.exec(line) as unknown as [string, string, string, string];
      return `            a-b c-${pid}     (${(tgid ?? pid).padStart(7)}) [000] d.... 97.1: ${text}\n`;
    })
    .join('')}`;
const rows = (...lines: readonly string[]): Row[] => accessRows(faultsFrom('t', recording(...lines)));
const fault = (pid: string, address: string, code: string): string =>
  `${pid} page_fault_user: address=0x${address} ip=0x55d1 error_code=0x${code}`;
const call = (pid: string, nr: number, args: string, result: number): string[] => [
  `${pid} sys_enter: NR ${nr} (${args}, 0, 0, 0, 0, 0)`,
  `${pid} sys_exit: NR ${nr} = ${result}`,
];

describe('a real recording', () => {
  const all = accessRows(faultsFrom('ls', ls));
  const events = all.filter(isEvent);

  test('is told, from the areas to the end', () => {
    expect(formatOf(memoryBytes('x', ls))).toBe('faults');
    const exec = all.findIndex((row) => isEvent(row) && row.op === 'exec');
    const begin = all.findIndex((row) => isEvent(row) && row.op === 'begin');
    const maps = all.slice(exec, begin).filter((row) => isEvent(row) && row.op === 'map');
    expect(maps.length).toBeGreaterThan(10);
    expect(events.filter((e) => e.op === 'exit')).toEqual([
      { op: 'exit', faults: 99, majorFaults: 1, rss: 2265088, peak: 2265088 },
    ]);
    // After the program began: as many faults as the kernel counted, but for those of exec itself.
    const faults = all.slice(begin).filter((row) => !isEvent(row)).length;
    expect(Math.abs(faults - 100)).toBeLessThanOrEqual(3);
    for (const e of events) expect(parseEvent(JSON.stringify(e))).toEqual(e);
  });

  test('whatever the batches', () => {
    for (const n of [1, 5]) expect(accessRows(faultsFrom('ls', ls, n))).toEqual(all);
  });
});

describe('what becomes of events', () => {
  test('faults: loads, stores, fetches; the kernel’s own memory is no matter', () => {
    expect(
      rows(
        fault('7', '1000', '4'),
        fault('7', '7fff00000008', '6'),
        fault('7', '2000', '15'),
        '7 page_fault_kernel: address=0x3000 ip=copy error_code=0x2',
        '7 page_fault_kernel: address=0xffff888000001000 ip=copy error_code=0x2',
        fault('9/7', '4000', '4'),
        fault('8', '5000', '4'),
      ),
    ).toEqual([
      { op: 'process', pid: 7 },
      ['load', 0x1000, 1],
      ['store', 0x7fff00000008, 1],
      ['fetch', 0x2000, 1],
      ['store', 0x3000, 1],
      ['load', 0x4000, 1],
      { op: 'process', pid: 8 },
      ['load', 0x5000, 1],
    ]);
  });

  test('system calls take effect when they return, and only if they went well', () => {
    const at = 0x7f0000000000;
    const mmap = (prot: number, flags: string): string => `0, 5000, ${prot}, ${flags}`;
    expect(
      rows(
        fault('7', '1000', '4'),
        ...call('7', 9, mmap(3, '22'), at),
        ...call('7', 9, mmap(3, '22'), -12),
        ...call('7', 9, mmap(1, '2'), at),
        ...call('7', 9, mmap(3, '20022'), at),
        ...call('7', 9, mmap(3, '8021'), at),
        ...call('7', 12, '0', 0x1000),
        ...call('7', 12, '3800', 0x3800),
        ...call('7', 12, '2000', 0x2000),
        ...call('7', 11, '7f0000000000, 10', 0),
        ...call('7', 10, '7f0000000000, 1000, 1', 0),
        ...call('7', 28, '7f0000000000, 1000, 4', 0),
        ...call('7', 28, '7f0000000000, 1000, 63', 0),
        ...call('7', 25, '7f0000000000, 1000, 3000', at + 0x10000),
        '7 rss_stat: mm_id=1 curr=1 type=MM_FILEPAGES size=8192B',
        '7 rss_stat: mm_id=1 curr=0 type=MM_FILEPAGES size=4096B',
        '7 rss_stat: mm_id=1 curr=1 type=MM_SHMEMPAGES size=4096B',
      ).slice(2),
    ).toEqual([
      { op: 'map', address: at, length: 0x5000, prot: 3, file: '' },
      { op: 'map', address: at, length: 0x5000, prot: 1, file: 'file' },
      { op: 'map', address: at, length: 0x5000, prot: 3, file: '' },
      { op: 'advise', address: at, length: 0x5000, advice: advice('nohugepage') },
      { op: 'map', address: at, length: 0x5000, prot: 11, file: '' },
      { op: 'advise', address: at, length: 0x5000, advice: advice('populate_write') },
      { op: 'map', address: 0x1000, length: 0x3000, prot: 3, file: '' },
      { op: 'unmap', address: 0x2000, length: 0x2000 },
      { op: 'unmap', address: at, length: 0x1000 },
      { op: 'protect', address: at, length: 0x1000, prot: 1 },
      { op: 'advise', address: at, length: 0x1000, advice: advice('dontneed') },
      { op: 'move', address: at, length: 0x1000, to: at + 0x10000, newLength: 0x3000 },
      { op: 'counts', file: 8192, shmem: -1 },
      { op: 'counts', file: -1, shmem: 4096 },
    ]);
  });

  test('children: of fork a copy, of vfork in their parent’s memory until they execute', () => {
    const forked = (child: number): string => `7 sched_process_fork: comm=a pid=7 child_comm=a child_pid=${child}`;
    expect(
      rows(
        fault('7', '1000', '4'),
        '7 sys_enter: NR 56 (1200011, 0, 0, 0, 0, 0)',
        forked(8),
        fault('8', '2000', '6'),
        '7 sys_exit: NR 56 = 8',
        '7 sys_enter: NR 58 (0, 0, 0, 0, 0, 0)',
        forked(9),
        fault('9', '3000', '6'),
        '9 sched_prepare_exec: interp=/a filename=/a pid=9 comm=a',
        fault('9', '4000', '6'),
        '5 tracing_mark_write: quire map 1000 3000 rw-p 0 [stack]',
        '5 tracing_mark_write: quire map 400000 401000 r-xp 17 /usr/bin/x y',
        '5 tracing_mark_write: quire present 1000',
        '5 tracing_mark_write: quire started 9',
        fault('9', '5000', '6'),
        '5 tracing_mark_write: quire ended 9 3 1 8192 12288',
      ),
    ).toEqual([
      { op: 'process', pid: 7 },
      ['load', 0x1000, 1],
      { op: 'fork', pid: 8 },
      { op: 'process', pid: 8 },
      ['store', 0x2000, 1],
      { op: 'process', pid: 7 },
      ['store', 0x3000, 1],
      { op: 'process', pid: 9 },
      { op: 'exec' },
      { op: 'map', address: 0x1000, length: 0x2000, prot: 19, file: '' },
      { op: 'map', address: 0x400000, length: 0x1000, prot: 5, file: '/usr/bin/x y' },
      ['store', 0x1000, 1],
      ['store', 0x4000, 1],
      { op: 'begin' },
      ['store', 0x5000, 1],
      { op: 'exit', faults: 3, majorFaults: 1, rss: 8192, peak: 12288 },
    ]);
  });
});

describe('refusing', () => {
  const said = (text: string): string => {
    try {
      accessRows(faultsFrom('t', text));
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    return 'no error';
  };

  test('what is no recording, is cut off, or has lost events', () => {
    expect(said('')).toMatch(/^t: expected "#quire-faults 1"/);
    expect(said('# tracer: nop\n')).toMatch(/^t:1: expected "#quire-faults 1"/);
    expect(said('#quire-faults 1\n')).toMatch(/^t: no memory access in it/);
    expect(said(recording(fault('7', '1000', '4')).slice(0, -5))).toMatch(/^t:3: the last line has no end/);
    expect(said(`${recording(fault('7', '1000', '4'))}CPU:1 [LOST 17 EVENTS]\n`)).toBe(
      't:4: events were lost: record with a larger buffer',
    );
    expect(said(recording('7 page_fault_user: address=1000'))).toMatch(/^t:3: expected address=0x/);
    expect(said(recording('7 sys_enter: hello'))).toMatch(/^t:3: expected NR/);
    expect(
      said(recording('7 tracing_mark_write: quire map 2000 1000 rw-p 0 -', '7 tracing_mark_write: quire started 7')),
    ).toMatch(/^t:4: expected areas/);
  });

  test('damaged lines: an InputError, or events that are sound', () => {
    const seed = Number(process.env.QUIRE_FUZZ_SEED ?? 1);
    const r = new Prng(seed);
    const lines = ls.split('\n');
    const words = ['-1', '0', 'ffffffffffffffff', '7fffffffffff', '99999999999999999999', '=', 'NaN', '(', ''];
    for (let run = 0; run < Number(process.env.QUIRE_FUZZ_RUNS ?? 300); run++) {
      const damaged = [...lines];
      for (let n = 1 + r.below(4); n > 0; n--) {
        const at = 1 + r.below(damaged.length - 2);
        const line = damaged[at] as string;
        const what = r.below(4);
        if (what === 0) damaged.splice(at, 1 + r.below(20));
        else if (what === 1) damaged[at] = line.slice(0, r.below(line.length + 1));
        else if (what === 2)
          damaged[at] = line.replace(/[0-9a-f]{2,}/g, (word) =>
            r.below(3) === 0 ? (words[r.below(words.length)] as string) : word,
          );
        else damaged.splice(at, 0, damaged[1 + r.below(damaged.length - 2)] as string);
      }
      try {
        for (const row of accessRows(faultsFrom('t', damaged.join('\n'))))
          if (isEvent(row)) expect(parseEvent(JSON.stringify(row)), JSON.stringify(row)).not.toBeNull();
          else expect(row[1] >= 0 && row[1] < 2 ** 47).toBe(true);
      } catch (error) {
        if (!(error instanceof InputError)) throw new Error(`seed ${seed} run ${run}`, { cause: error });
      }
    }
  });
});
