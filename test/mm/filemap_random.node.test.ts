import { describe, expect, it } from 'vitest';
import type { Prng } from '../../src/base/prng.ts';
import { Replay } from '../../src/lab/replay.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { memcgStatReport } from '../../src/mm/memcontrol.ts';
import type { LayoutName } from '../../src/mm/memmap.ts';
import {
  defaultSettings,
  events,
  FADVICE,
  OP,
  OPEN_READ,
  OPEN_WRITE,
  type TraceSource,
} from '../../src/trace/event.ts';
import { fuzz, type Op, seedOf, stepsOf } from '../help/fuzz.ts';

const PAGES = 3000;
const SMALL = 32 * 2 ** 20;
/** Enough for memory above 4 GiB, where misses can be plain. */
const LARGE = 4.25 * 2 ** 30;
/** Three handles of one file: two read it at random, one in order. */
const HANDLES = [1, 2, 3];

/** A replay that takes batches from outside. `long`: every read goes the long way. */
function replay(kernel: string, fs: string, memory: number, memcg: number, memmap: LayoutName, long: boolean): Replay {
  const source: TraceSource = {
    name: 'test',
    settings: { ...defaultSettings(), fs },
    files: [{ id: 1, name: 'f', size: PAGES * 4096 + 1234 }],
    skipped: {},
    next: () => null,
    close() {},
  };
  const r = new Replay(source, { kernel, memory, memcg, memmap });
  if (long) Object.defineProperty(r.device, 'idle', { value: false });
  return r;
}

function play(r: Replay, rows: readonly Op[]): void {
  const e = events(rows.length);
  rows.forEach(([name, id, offset, length, arg], i) => {
    e.op[i] = OP[name as keyof typeof OP];
    e.id[i] = id as number;
    e.file[i] = 1;
    e.offset[i] = offset as number;
    e.length[i] = length as number;
    e.arg[i] = arg as number;
  });
  e.count = rows.length;
  r.play(e);
}

const opens: Op[] = [
  ...HANDLES.map((h): Op => ['open', h, 0, 0, OPEN_READ | OPEN_WRITE]),
  ['fadvise', 1, 0, 0, FADVICE.indexOf('random')],
  ['fadvise', 2, 0, 0, FADVICE.indexOf('random')],
];

/** Mostly single pages at random, in runs; now and then whatever else may happen to the file between them. */
function anyOp(r: Prng): Op {
  const page = r.below(4) > 0 ? r.below(200) : r.below(PAGES + 3);
  const kind = r.below(100);
  if (kind < 80) return ['pread', 1 + r.below(2), page * 4096, 4096, 0];
  if (kind < 85) return ['pread', 1, page * 4096 + r.below(4096), r.below(9000), 0];
  if (kind < 90) return ['pread', 3, page * 4096, r.below(60_000), 0];
  if (kind < 95) return ['pwrite', 2, page * 4096 + r.below(4096), 1 + r.below(20_000), 0];
  if (kind < 97) return ['fsync', 1, 0, 0, 0];
  if (kind < 98) return ['ftruncate', 1, 0, r.below(PAGES) * 4096 + r.below(4096), 0];
  return ['fadvise', 3, page * 4096, r.below(100) * 4096, FADVICE.indexOf('dontneed')];
}

describe('random reads, many at a time', () => {
  for (const [kernel, fs, memory, memcg, memmap] of [
    ['6.18', 'xfs', SMALL, 0, 'overlay'],
    ['6.18', 'xfs', SMALL, 2 ** 20, 'overlay'],
    ['6.18', 'ext4', SMALL, 4 * 2 ** 20, 'page32'],
    ['6.18', 'tmpfs', SMALL, 2 ** 22, 'overlay'],
    ['5.15', 'xfs', SMALL, 2 ** 21, 'page64'],
    ['6.6', 'btrfs', SMALL, 2 ** 21, 'overlay'],
    ['6.18', 'xfs', LARGE, 2 ** 21, 'memdesc8'],
    ['6.18', 'ext4', LARGE, 3 * 2 ** 20, 'overlay'],
    ['6.1', 'btrfs', LARGE, 0, 'page32'],
  ] as const)
    it(`${kernel} ${fs} on ${memmap} with ${memory} bytes, limit ${memcg}: as one after the other`, () => {
      const steps = stepsOf(4000);
      const turn = memory === LARGE ? 1000 : 250;
      let plain = 0;
      fuzz(seedOf(77), steps, anyOp, (ops) => {
        const quick = replay(kernel, fs, memory, memcg, memmap, false);
        const long = replay(kernel, fs, memory, memcg, memmap, true);
        const { count } = quick.device.pageReads;
        quick.device.pageReads.count = (n): void => {
          plain += n;
          count(n);
        };
        for (let i = 0; i === 0 || i < ops.length; i += turn) {
          const rows = [...(i === 0 ? opens : []), ...ops.slice(i, i + turn)];
          play(quick, rows);
          play(long, rows);
          expect([quick.m.now, quick.readBytes, quick.outOfMemory]).toEqual([
            long.m.now,
            long.readBytes,
            long.outOfMemory,
          ]);
          const calls = (r: Replay): number => (r.fs as { mappingCalls?: number }).mappingCalls ?? 0;
          expect(calls(quick)).toBe(calls(long));
          expect([quick.device.reads, quick.device.readBytes, quick.device.readSizes]).toEqual([
            long.device.reads,
            long.device.readBytes,
            long.device.readSizes,
          ]);
          expect(quick.m.vmstat).toEqual(long.m.vmstat);
          expect(quick.m.cached).toEqual(long.m.cached);
          expect(quick.m.zones.zone).toEqual(long.m.zones.zone);
          expect(memcgStatReport(quick.m, quick.m.currentMemcg as never)).toEqual(
            memcgStatReport(long.m, long.m.currentMemcg as never),
          );
          if (Buffer.compare(new Uint8Array(quick.m.map.buffer), new Uint8Array(long.m.map.buffer)) !== 0)
            throw new Error('the memory maps differ');
          if (memory === SMALL) checkMachine(quick.m, false);
        }
        checkMachine(quick.m, false);
      });
      if (memory === LARGE) expect(plain).toBeGreaterThan(40);
      else expect(plain).toBe(0);
    });
});
