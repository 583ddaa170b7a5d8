import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { type Accesses, type AccessSource, ADDRESS_END, accesses, type SpaceEvent } from '../../src/trace/access.ts';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { formatOf } from '../../src/trace/detect.ts';
import { qaccFrom } from '../../src/trace/qacc_read.ts';
import { qaccBytes } from '../../src/trace/qacc_write.ts';
import { Regions } from '../../src/trace/regions.ts';
import { accessRows, type Row } from './accesses.ts';

const kinds = ['load', 'store', 'modify', 'fetch'];

/** A trace of rows at hand, in batches of `each`. */
function sourceOf(rows: readonly Row[], each = 1000): AccessSource {
  let at = 0;
  const batch: Accesses = accesses(each);
  return {
    name: 't',
    total: -1,
    told: rows.some((r) => !Array.isArray(r)),
    regions: null,
    skipped: {},
    next() {
      if (at === rows.length) return null;
      batch.count = 0;
      batch.event = null;
      for (; at < rows.length && batch.count < each; at++) {
        const row = rows[at] as Row;
        if (!Array.isArray(row)) {
          batch.event = row as SpaceEvent;
          at++;
          break;
        }
        batch.kind[batch.count] = kinds.indexOf(row[0]);
        batch.address[batch.count] = row[1];
        batch.size[batch.count++] = row[2];
      }
      return batch;
    },
    close() {},
  };
}

const events: readonly SpaceEvent[] = [
  { op: 'process', pid: 7 },
  { op: 'map', address: 0x7f0000000000, length: 4096 * 17, prot: 3, file: '' },
  { op: 'map', address: 0x400000, length: 4096, prot: 5, file: 'ls "x"\n' },
  { op: 'unmap', address: 0x7f0000000000, length: 4096 },
  { op: 'advise', address: 0, length: 4096, advice: 7 },
  { op: 'move', address: 0, length: 4096, to: 8192, newLength: 16384 },
  { op: 'exit', faults: 3, majorFaults: 0, rss: 8192, peak: -1 },
];

function randomRows(r: Prng, n: number, withEvents: boolean): Row[] {
  const bases = Array.from({ length: 6 }, () => r.below(2 ** 31) * 2 ** 21);
  const rows: Row[] = [];
  let pc = 0x400000;
  for (let i = 0; i < n; i++) {
    if (withEvents && r.below(50) === 0) rows.push(events[r.below(events.length)] as SpaceEvent);
    const pick = r.below(10);
    if (pick < 5) {
      const size = 1 + r.below(15);
      rows.push(['fetch', pc, size]);
      pc = r.below(8) === 0 ? 0x400000 + r.below(100000) : pc + size;
    } else if (pick < 9)
      rows.push([kinds[r.below(3)] as string, (bases[r.below(6)] as number) + r.below(2 ** 20), 1 << r.below(7)]);
    else rows.push(['load', r.below(2 ** 21) * 2 ** 31 + r.below(2 ** 31), 1 + r.below(65535)]);
  }
  return rows;
}

describe('there and back', () => {
  test('random traces, with and without events, whatever the batches', () => {
    for (const [seed, n, withEvents] of [
      [1, 3000, true],
      [2, 200_000, false],
      [3, 70_000, true],
    ] as const) {
      const rows = randomRows(new Prng(seed), n, withEvents);
      const bytes = qaccBytes(sourceOf(rows, 777));
      for (const each of [1000, 8192]) {
        const source = qaccFrom('t', bytes, each);
        expect(source.told).toBe(withEvents);
        expect(source.total).toBe(rows.filter((row) => Array.isArray(row)).length);
        expect(accessRows(source), `seed ${seed}`).toEqual(rows);
      }
      expect(formatOf(memoryBytes('x', bytes))).toBe('qacc');
    }
  });

  test('the edges: nothing, the last address, many sizes, events alone', () => {
    const edges: Row[][] = [
      [],
      [
        ['store', ADDRESS_END - 1, 1],
        ['load', 0, 65535],
        ['load', ADDRESS_END - 1, 1],
        ['fetch', 0, 1],
      ],
      Array.from({ length: 3000 }, (_, i): Row => ['load', i, 1 + (i % 700)]),
      [...events, ...events],
      Array.from({ length: 5000 }, () => events[1] as SpaceEvent),
    ];
    for (const rows of edges) expect(accessRows(qaccFrom('t', qaccBytes(sourceOf(rows))))).toEqual(rows);
  });

  test('an array walked in order takes little more than a byte an access', () => {
    const rows = Array.from({ length: 100_000 }, (_, i): Row => ['load', 0x7f0000000000 + i * 8, 8]);
    expect(qaccBytes(sourceOf(rows)).length).toBeLessThan(5000);
  });
});

describe('regions', () => {
  test('agree with a Map of pages', () => {
    for (let seed = 1; seed < 30; seed++) {
      const r = new Prng(seed);
      const rows = randomRows(r, 400, false).map((row): Row => {
        const [kind, address, size] = row as [string, number, number];
        return [kind, address % 2 ** 22, size];
      });
      const pages = new Map<number, number>();
      const blocks = new Map<number, number>();
      for (const row of rows) {
        const [kind, address, size] = row as [string, number, number];
        const bit = { load: 1, store: 2, modify: 3, fetch: 4 }[kind as 'load'];
        for (let p = Math.floor(address / 4096); p <= Math.floor((address + size - 1) / 4096); p++) {
          pages.set(p, 1);
          blocks.set(p >> 4, (blocks.get(p >> 4) ?? 0) | bit);
        }
      }
      const regions = new Regions();
      const source = sourceOf(rows, 97);
      for (let b = source.next(); b !== null; b = source.next()) regions.add(b);
      const list = regions.list();
      // Block by block: from its first to its last page, with all that touched it.
      const expected = new Map<number, string>();
      for (const [block, touched] of blocks) {
        const own = [...pages.keys()].filter((p) => p >> 4 === block);
        for (let p = Math.min(...own); p <= Math.max(...own); p++) expected.set(p, String(touched));
      }
      const got = new Map<number, string>();
      for (const { start, end, touched } of list)
        for (let p = start / 4096; p < end / 4096; p++) got.set(p, String(touched));
      expect(
        [...got].sort((a, b) => a[0] - b[0]),
        `seed ${seed}`,
      ).toEqual([...expected].sort((a, b) => a[0] - b[0]));
      expect(list.every((x, i) => i === 0 || x.start >= (list[i - 1]?.end ?? 0))).toBe(true);
      expect(qaccFrom('t', qaccBytes(sourceOf(rows))).regions).toEqual(list);
    }
  });
});

describe('refusing', () => {
  const bytes = qaccBytes(sourceOf(randomRows(new Prng(9), 20_000, true)));
  const said = (data: Uint8Array): string => {
    try {
      accessRows(qaccFrom('t', data));
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    return 'no error';
  };

  test('cut at any place', () => {
    expect(said(bytes)).toBe('no error');
    for (let cut = 0; cut < bytes.length; cut += 1 + (cut >> 5))
      expect(said(bytes.subarray(0, cut))).toMatch(/cut off\?$/);
    expect(said(Buffer.concat([bytes, Buffer.from('x')]))).toMatch(/is the file cut off\?$/);
  });

  test('any byte turned over', () => {
    const r = new Prng(5);
    for (let i = 0; i < 400; i++) {
      const copy = bytes.slice();
      const at = i < 64 ? i : r.below(copy.length);
      copy[at] = (copy[at] as number) ^ (1 << r.below(8));
      expect(said(copy), `byte ${at}`).not.toBe('no error');
    }
  });
});
