import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import type { Area } from '../../src/lab/access_areas.ts';
import { compareAccesses } from '../../src/lab/access_compare.ts';
import { AccessReplay } from '../../src/lab/access_replay.ts';
import { accessReport } from '../../src/lab/access_report.ts';
import { accessCsv, accessJson, accessText } from '../../src/lab/access_text.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { type Accesses, type AccessSource, accesses, KINDS, type SpaceEvent } from '../../src/trace/access.ts';
import { MADVICE } from '../../src/trace/event.ts';
import type { Row } from '../trace/accesses.ts';

const MIB = 2 ** 20;
const SMALL: Settings = { memory: 256 * MIB };
const OFF = { all: 'never' };
const at = 0x7f0000000000;

/** A trace of rows at hand. */
function sourceOf(rows: readonly Row[], each = 500): AccessSource {
  let next = 0;
  const batch: Accesses = accesses(each);
  return {
    name: 'rows',
    total: -1,
    told: rows.some((r) => !Array.isArray(r)),
    regions: null,
    skipped: {},
    next() {
      if (next === rows.length) return null;
      batch.count = 0;
      batch.event = null;
      for (; next < rows.length && batch.count < each; next++) {
        const row = rows[next] as Row;
        if (!Array.isArray(row)) {
          batch.event = row as SpaceEvent;
          next++;
          break;
        }
        batch.kind[batch.count] = KINDS.indexOf(row[0] as (typeof KINDS)[number]);
        batch.address[batch.count] = row[1];
        batch.size[batch.count++] = row[2];
      }
      return batch;
    },
    close() {},
  };
}

const anonymous = (start: number, length: number): Area => ({
  start,
  end: start + length,
  prot: 3,
  file: '',
  offset: 0,
});
function replay(
  rows: readonly Row[],
  set: Settings,
  areas: readonly Area[] = [],
  cpus: readonly string[] = [],
): AccessReplay {
  const r = new AccessReplay(sourceOf(rows), { ...SMALL, ...set }, areas, cpus);
  r.run();
  checkMachine(r.m, true);
  return r;
}
const stores = (pages: readonly number[]): Row[] => pages.map((p): Row => ['store', at + p * 4096 + 8, 8]);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

describe('a program in areas that are given', () => {
  const areas = [anonymous(at, 4 * MIB)];

  test('with huge pages off every first touch is a fault; with them, a folio is', () => {
    const off = replay(stores(range(512)), { thp: OFF }, areas).main;
    expect([off.minor, off.major, off.peak, off.touched.count]).toEqual([512, 0, 2 * MIB, 512]);
    const large = replay(stores([...range(40), 511]), { thp: { ...OFF, '64kB': 'always' } }, areas);
    expect([large.main.minor, large.main.peak]).toEqual([4, 4 * 65536]);
    expect(large.anonByOrder[4]).toBe(4);
    const huge = replay(stores([3, 700]), { thp: { ...OFF, '2048kB': 'always' } }, areas).main;
    expect([huge.minor, huge.peak, huge.touched.count]).toEqual([2, 4 * MIB, 2]);
  });

  test('a load of untouched memory maps zeros; the store that follows faults again', () => {
    const { main } = replay(
      [
        ['load', at, 1],
        ['store', at, 1],
        ['modify', at + 4096, 4],
      ],
      { thp: OFF },
      areas,
    );
    expect([main.minor, main.peak]).toEqual([3, 8192]);
  });

  test('an access over a border is in both pages', () => {
    for (const cpus of [[], ['zen4']]) {
      const { main } = replay([['store', at + 4090, 8]], { thp: OFF }, areas, cpus);
      expect([main.minor, main.touched.count]).toEqual([2, 2]);
    }
  });

  test('outside of every area, or not allowed: left out, and said', () => {
    const code: Area = { start: 0x400000, end: 0x402000, prot: 5, file: 'x', offset: 0 };
    const rows: Row[] = [
      ['store', at - 8, 8],
      ['store', 0x400000, 1],
      ['fetch', 0x401000, 4],
      ['store', at, 8],
    ];
    for (const cpus of [[], ['zen4']]) {
      const r = replay(rows, { thp: OFF }, [code, ...areas], cpus);
      expect(r.skipped).toEqual({ 'access outside of every area': 1, 'store that is not allowed': 1 });
      expect([r.main.minor, r.main.major]).toEqual([1, 1]);
    }
  });

  test('page sizes: the base page is what a fault maps', () => {
    const rows = stores(range(64));
    for (const [pageSize, faults] of [
      [4096, 64],
      [16384, 16],
      [65536, 4],
    ] as const) {
      const { main } = replay(rows, { thp: OFF, pageSize }, areas);
      expect([pageSize, main.minor, main.peak]).toEqual([pageSize, faults, faults * pageSize]);
    }
  });
});

/** The rules with huge pages off, page by page. */
class Plain {
  private readonly pages = new Map<number, 'zero' | 'own'>();
  private areas: [number, number][] = [];
  faults = 0;
  peak = 0;

  map(start: number, end: number): void {
    this.unmap(start, end);
    this.areas.push([start, end]);
  }
  unmap(start: number, end: number): void {
    this.dontneed(start, end);
    this.areas = this.areas.flatMap(([a, b]): [number, number][] =>
      a >= end || b <= start
        ? [[a, b]]
        : (
            [
              [a, Math.min(b, start)],
              [Math.max(a, end), b],
            ] as [number, number][]
          ).filter(([x, y]) => x < y),
    );
  }
  dontneed(start: number, end: number): void {
    for (const p of this.pages.keys()) if (p >= start && p < end) this.pages.delete(p);
  }
  has(page: number): boolean {
    return this.areas.some(([a, b]) => page >= a && page < b);
  }
  touch(page: number, store: boolean): void {
    const state = this.pages.get(page);
    if (state === 'own' || (state === 'zero' && !store)) return;
    this.faults++;
    this.pages.set(page, store ? 'own' : 'zero');
    this.peak = Math.max(this.peak, this.rss());
  }
  rss(): number {
    let own = 0;
    for (const state of this.pages.values()) if (state === 'own') own++;
    return own * 4096;
  }
}

describe('a recording of faults', () => {
  test('random events with huge pages off: faults and memory as a plain model has them', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const r = new Prng(seed);
      const plain = new Plain();
      const rows: Row[] = [{ op: 'process', pid: 1 }, { op: 'exec' }, { op: 'begin' }];
      const place = (): number => at + r.below(1500) * 4096;
      for (let step = 0; step < 1500; step++) {
        const what = r.below(30);
        const address = place();
        const length = (1 + r.below(200)) * 4096;
        if (what === 0 || step < 3) {
          rows.push({ op: 'map', address, length, prot: 3, file: '' });
          plain.map(address, address + length);
        } else if (what === 1) {
          rows.push({ op: 'unmap', address, length });
          plain.unmap(address, address + length);
        } else if (what === 2) {
          rows.push({ op: 'advise', address, length, advice: MADVICE.indexOf('dontneed') });
          plain.dontneed(address, address + length);
        } else if (plain.has(address)) {
          const store = r.below(3) > 0;
          rows.push([store ? 'store' : 'load', address + r.below(4096), 1]);
          plain.touch(address, store);
        }
      }
      const { main, skipped } = replay(rows, { thp: OFF });
      expect(skipped, `seed ${seed}`).toEqual({});
      expect([main.minor, main.peak, main.rss()], `seed ${seed}`).toEqual([plain.faults, plain.peak, plain.rss()]);
      // With huge pages: never fewer bytes than are touched, never more faults.
      const large = replay(rows, { thp: { all: 'always' } }).main;
      expect(large.minor).toBeLessThanOrEqual(plain.faults);
      expect(large.peak).toBeGreaterThanOrEqual(plain.peak);
    }
  });

  test('files are counted as recorded; private copies of their pages are memory of the program', () => {
    const { main } = replay(
      [
        { op: 'process', pid: 1 },
        { op: 'exec' },
        { op: 'map', address: at, length: 0x10000, prot: 3, file: 'lib' },
        { op: 'map', address: at + 0x10000, length: 0x1000, prot: 11, file: '' },
        ['store', at + 0x2000, 1],
        { op: 'begin' },
        { op: 'counts', file: 40960, shmem: -1 },
        ['load', at, 1],
        ['store', at, 1],
        ['store', at + 0x10000, 1],
        { op: 'counts', file: 36864, shmem: 4096 },
      ],
      { thp: OFF },
    );
    expect([main.minor, main.rss(), main.peak]).toEqual([3, 36864 + 4096 + 2 * 4096, 40960 + 2 * 4096]);
  });

  test('the stack grows; a fork copies; a process ends', () => {
    const r = replay(
      [
        { op: 'process', pid: 1 },
        { op: 'exec' },
        { op: 'map', address: at, length: 0x2000, prot: 19, file: '' },
        { op: 'begin' },
        ['store', at, 1],
        ['store', at - 0x3000, 1],
        { op: 'fork', pid: 2 },
        { op: 'process', pid: 2 },
        ['store', at, 1],
        { op: 'exit', faults: 1, majorFaults: 0, rss: 8192, peak: 8192 },
        { op: 'process', pid: 1 },
        ['load', at - 0x3000, 1],
      ],
      { thp: OFF },
    );
    const [parent, child] = r.spaces;
    expect([parent?.minor, parent?.rss()]).toEqual([2, 8192]);
    expect([child?.minor, child?.rssAtEnd, child?.live?.faults]).toEqual([1, 8192, 1]);
  });

  test('what means nothing to it is refused', () => {
    const rows: Row[] = [{ op: 'process', pid: 1 }, { op: 'exec' }];
    for (const set of [{ cpu: 'zen4' }, { fs: 'ext4' }, { readahead: 0 }, { blockSize: 4096 }])
      expect(() => new AccessReplay(sourceOf(rows), set, [], [])).toThrow(QuireError);
  });
});

describe('TLBs', () => {
  const areas = [anonymous(at, 64 * MIB)];
  const r = new Prng(5);
  const rows: Row[] = range(30_000).map(
    (): Row => [
      r.below(3) === 0 ? 'store' : 'load',
      at + (r.below(4) === 0 ? r.below(16384) * 4096 : r.below(40) * 4096) + r.below(4000),
      8,
    ],
  );
  const sum = (counts: Float64Array): number => counts.reduce((a, b) => a + b, 0);

  test('every load and store is a hit or a miss; more memory in fewer entries misses less', () => {
    const misses = ([OFF, { ...OFF, '64kB': 'always' }, { ...OFF, '2048kB': 'always' }] as const).map((thp) => {
      const x = replay(rows, { thp }, areas, ['zen4']).translators[0]!;
      expect(sum(x.counts.l1Hits) + sum(x.counts.l2Hits) + sum(x.counts.misses)).toBe(rows.length);
      expect(sum(x.counts.walkReferences)).toBeGreaterThanOrEqual(sum(x.counts.misses));
      return sum(x.counts.misses);
    });
    expect(misses[0]).toBeGreaterThan(misses[1] as number);
    expect(misses[1]).toBeGreaterThan(misses[2] as number);
  });

  test('a comparison: CPUs in one pass are what each is alone', () => {
    const open = (): AccessSource => sourceOf(rows);
    const cpu = { name: 'cpu', values: [{ cpu: 'zen3' }, { cpu: 'golden-cove' }, { cpu: 'neoverse-v2' }] } as const;
    const thp = { name: 'thp', values: [{ thp: OFF }, { thp: { all: 'always' } }] } as const;
    const all = compareAccesses(open, areas, SMALL, [thp, cpu]);
    expect(all.rows).toHaveLength(6);
    for (const row of all.rows) {
      const alone = compareAccesses(open, areas, { ...SMALL, ...row.set }, []).rows[0];
      expect(alone?.figures).toEqual(row.figures);
      expect(row.figures?.data_accesses).toBe(rows.length);
    }
    const text = accessText(all);
    expect(text).toMatch(/thp +cpu +minor faults/);
    expect(text).toMatch(/off +zen3 /);
    expect(accessCsv(all).split('\n')).toHaveLength(8);
    expect(JSON.parse(accessJson(all))).toMatchObject({ schema: 'quire.accesses/1', accesses: rows.length });
    const page = accessReport(all);
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).not.toMatch(/https?:|NaN|undefined/);
  });
});
