import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import {
  billOf,
  type DescriptorKind,
  descriptorKinds,
  type LayoutBill,
  type MapBill,
  scaleCensus,
} from '../../src/lab/bill.ts';
import { censusJson, parseCensus } from '../../src/lab/bill_census.ts';
import { billReport, billText } from '../../src/lab/bill_text.ts';
import { Replay } from '../../src/lab/replay.ts';
import { resultOf } from '../../src/lab/result.ts';
import { type Census, listedPages, machineCensus, noPieces, OWNER_ROW, type Owner } from '../../src/mm/census.ts';
import { opsFrom } from '../../src/trace/ops.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';

const GIB = 2 ** 30;
const TIB = 2 ** 40;

/** Pieces as [owner, order, count]. */
function census(frames: number, rows: readonly (readonly [Owner, number, number])[], pageSize = 4096): Census {
  const pieces = noPieces();
  for (const [owner, order, count] of rows) pieces[OWNER_ROW[owner] + order] = count;
  return { pageSize, frames, pieces };
}
const plain = { rcuFreePointer: false };
const row = (bill: MapBill, layout: string): LayoutBill => bill.rows.find((r) => r.layout === layout) as LayoutBill;
const kind = (bill: LayoutBill, name: DescriptorKind) => bill.descriptors[descriptorKinds.indexOf(name)];

describe('bytes', () => {
  test('by hand: 52 one-page folios need two slabs of 51, and those a slab of their descriptors, which has its own', () => {
    const bill = billOf(census(1024, [['file', 0, 52]]), plain);
    expect(row(bill, 'page64')).toMatchObject({ mapBytes: 65536, totalBytes: 65536, differenceBytes: 0 });
    expect(row(bill, 'overlay')).toMatchObject({ mapBytes: 65536, descriptorBytes: 0, roundingBytes: 0 });
    const memdesc8 = row(bill, 'memdesc8');
    expect(kind(memdesc8, 'small folio')).toMatchObject({ count: 52, bytes: 80, slabs: 2, slabBytes: 8192 });
    expect(kind(memdesc8, 'slab')).toMatchObject({ count: 3, bytes: 64, slabs: 1, slabBytes: 4096 });
    expect(memdesc8.mapBytes).toBe(8192);
    expect(memdesc8.descriptorBytes).toBe(52 * 80 + 3 * 64);
    expect(memdesc8.roundingBytes).toBe(3 * 4096 - 52 * 80 - 3 * 64);
    expect(memdesc8.totalBytes).toBe(8192 + 3 * 4096);
    expect(memdesc8.differenceBytes).toBe(8192 + 3 * 4096 - 65536);
  });

  test('each owner that needs a descriptor gets one, the others none', () => {
    const bill = billOf(
      census(2 ** 20, [
        ['file', 0, 1000],
        ['shmem', 0, 100],
        ['anon', 0, 10],
        ['anon', 9, 5],
        ['file', 2, 7],
        ['hugetlb', 18, 1],
        ['slab', 3, 640],
        ['table', 0, 300],
        ['zsmalloc', 0, 20],
        ['netpool', 1, 86],
        ['hwpoison', 0, 1],
        ['free', 10, 100],
        ['kernel', 0, 9999],
        ['reserved', 0, 9999],
        ['offline', 0, 99],
        ['pcp', 0, 99],
        ['uninitialised', 0, 999],
      ]),
      plain,
    );
    const counts = row(bill, 'page32').descriptors.map((d) => [d.kind, d.count, d.slabs]);
    // 22 slabs of small folios, 1 of large ones, 5 of tables, 1 of zsmalloc pages, 2 of net pools, 1 of bad pages: 32.
    // With 640 slabs that are there and 11 of slab descriptors: 683 descriptors, 64 a slab.
    expect(counts).toEqual([
      ['small folio', 1110, 22],
      ['large folio', 13, 1],
      ['slab', 683, 11],
      ['page table', 300, 5],
      ['zsmalloc', 20, 1],
      ['net pool', 86, 2],
      ['hwpoison', 1, 1],
    ]);
    expect(row(bill, 'page32').descriptors).toEqual(row(bill, 'memdesc8').descriptors);
  });

  test('slabs of slab descriptors have descriptors: the smallest number that holds them all', () => {
    for (let slabs = 0; slabs < 20_000; slabs += 61) {
      const { count, slabs: own } = kind(
        row(billOf(census(2 ** 20, [['slab', 0, slabs]]), plain), 'memdesc8'),
        'slab',
      ) ?? {
        count: -1,
        slabs: -1,
      };
      expect(count).toBe(slabs + own);
      expect(own * 64).toBeGreaterThanOrEqual(count);
      if (own > 0) expect((own - 1) * 64).toBeLessThan(slabs + own - 1);
    }
  });

  test('the free pointer of type-stable caches: 80 becomes 96, 128 becomes 144', () => {
    const given = census(2 ** 20, [
      ['file', 0, 42_000],
      ['anon', 4, 28],
    ]);
    const bill = row(billOf(given, { rcuFreePointer: true }), 'memdesc8');
    expect(kind(bill, 'small folio')).toMatchObject({ bytes: 80, objectBytes: 96, slabs: 1000 });
    expect(kind(bill, 'large folio')).toMatchObject({ bytes: 128, objectBytes: 144, slabs: 1 });
    expect(kind(bill, 'slab')).toMatchObject({ bytes: 64, objectBytes: 80 });
    expect(bill.totalBytes).toBeGreaterThan(row(billOf(given, plain), 'memdesc8').totalBytes);
  });

  test('a published census: 384, 253.5 and 109.5 MiB', () => {
    const bill = billOf(
      census(6_291_456, [
        ['file', 0, 578_014],
        ['file', 1, 85_189],
        ['slab', 0, 110_689],
        ['table', 0, 1_160],
      ]),
      plain,
    );
    const mib = (layout: string) => row(bill, layout).totalBytes / 2 ** 20;
    expect(mib('overlay')).toBe(384);
    // The figures leave out the descriptors of the descriptors' slabs: 0.9 MiB.
    expect(mib('page32')).toBeCloseTo(253.5 + 0.9, 0);
    expect(mib('memdesc8')).toBeCloseTo(109.5 + 0.9, 0);
  });

  test('of a replay: the map on overlay is what the machine reports', () => {
    const r = new Replay(opsFrom('t', '#quire-ops 1\n#fs,xfs\n#file,1,a,4194304\nopen,1,1,r\npread,1,0,4194304\n'), {
      memory: GIB,
    });
    r.run();
    const counted = machineCensus(r.m);
    expect(row(billOf(counted, plain), 'overlay').totalBytes).toBe(resultOf(r, 't').memmap_bytes);
    expect(listedPages(counted)).toBe(GIB / 4096);
  });
});

describe('break-even', () => {
  const orders = billOf(census(1024, []), plain).orders;

  test('one-page folios cost more on both plans, and the text says so', () => {
    expect(orders[0]?.savedBytes.page32).toBeCloseTo(32 - 4096 / 51 - 4096 / 63 / 51, 9);
    expect(orders[0]?.savedBytes.memdesc8).toBeCloseTo(56 - 4096 / 51 - 4096 / 63 / 51, 9);
    const small = census(1000, [['file', 0, 1000]]);
    const text = billText(billReport(small, source, plain), small);
    expect(text).toMatch(
      /memdesc8: a one-page folio costs 25\.6 B more than today; it wins from folios of 16\.0 KiB \(order 2\)/,
    );
    expect(text).toMatch(
      /page32: a one-page folio costs 49\.6 B more than today; it wins from folios of 32\.0 KiB \(order 3\)/,
    );
    for (const layout of ['page32', 'memdesc8'])
      expect(row(billOf(small, plain), layout).differenceBytes).toBeGreaterThan(0);
  });

  test.each([
    [false, 3, 2],
    [true, 3, 2],
  ])('free pointer %s: from order %i on page32, %i on memdesc8', (rcuFreePointer, on32, on8) => {
    const { breakEven, orders: rows } = billOf(census(1024, []), { rcuFreePointer });
    expect(breakEven.map((b) => b.order)).toEqual([on32, on8]);
    for (const { layout, order } of breakEven) {
      expect(rows[order]?.savedBytes[layout]).toBeGreaterThan(0);
      expect(rows[order - 1]?.savedBytes[layout]).toBeLessThanOrEqual(0);
    }
  });

  test('a machine of nothing but folios saves when their mean is above the break-even, and only then', () => {
    for (let large = 0; large <= 4000; large += 50) {
      const pages = 8000 + large * 4;
      const bill = billOf(
        census(pages, [
          ['anon', 0, 8000],
          ['file', 2, large],
        ]),
        plain,
      );
      for (const even of bill.breakEven) {
        const saves = (bill.meanFolioBytes ?? 0) > (even.meanBytes ?? 0);
        expect(saves).toBe((even.foliosDifferenceBytes ?? 0) < 0);
        expect(even.machineMeanBytes).toBeCloseTo(even.meanBytes ?? 0, 6);
        // Whole slabs are paid: a few slabs of room.
        if (Math.abs(even.foliosDifferenceBytes ?? 0) > 5 * 4096)
          expect(row(bill, even.layout).differenceBytes < 0).toBe(saves);
      }
    }
  });

  test('free memory pays for small folios; a machine of page tables cannot', () => {
    const mostlyFree = billOf(
      census(100_000, [
        ['file', 0, 10_000],
        ['free', 0, 90_000],
      ]),
      plain,
    );
    expect(mostlyFree.breakEven[1]?.machineMeanBytes).toBeLessThan(4096);
    expect(row(mostlyFree, 'memdesc8').differenceBytes).toBeLessThan(0);
    const tables = billOf(
      census(100_000, [
        ['file', 0, 100],
        ['table', 0, 99_900],
      ]),
      plain,
    );
    expect(tables.breakEven[1]?.machineMeanBytes).toBe(Number.POSITIVE_INFINITY);
    expect(billOf(census(10, []), plain).breakEven[0]?.meanBytes).toBeNull();
  });
});

describe('other sizes', () => {
  test('the same mixture on 64 TiB costs 2731 times as much', () => {
    const given = census(6_291_456, [
      ['file', 0, 600_000],
      ['file', 4, 30_000],
      ['free', 10, 4000],
    ]);
    const scaled = scaleCensus(given, 64 * TIB);
    expect(scaled.frames).toBe(2 ** 34);
    expect(listedPages(scaled)).toBeLessThanOrEqual(scaled.frames);
    const [small, large] = [given, scaled].map((c) => billOf(c, plain)) as [MapBill, MapBill];
    expect(row(large, 'overlay').totalBytes).toBe(TIB);
    for (const { layout, totalBytes } of large.rows)
      expect(totalBytes / row(small, layout).totalBytes).toBeCloseTo((64 * TIB) / (24 * GIB), 0);
  });

  test('less than a page is no machine', () => {
    expect(() => scaleCensus(census(10, []), 4095)).toThrow(/at least one page/);
  });

  test('pages of 64 KiB: a map of a sixteenth', () => {
    const bill = billOf(census(16384, [['file', 0, 1000]], 65536), plain);
    expect(row(bill, 'overlay').share).toBe(64 / 65536);
  });
});

const source = { kind: 'census', name: 'x.json', scaledFrom: null, compared: null, seconds: null } as const;

describe('a census in a file', () => {
  const good = census(1024, [
    ['file', 0, 100],
    ['anon', 9, 1],
    ['free', 3, 10],
  ]);

  test('is read back as it was written, alone or within a report', () => {
    expect(parseCensus(JSON.stringify(censusJson(good)), 'f')).toEqual(good);
    expect(parseCensus(JSON.stringify(billReport(good, source, plain)), 'f')).toEqual(good);
  });

  test('as CSV: memory is what is listed', () => {
    const read = parseCensus('owner,order,count\nfile,0,100\nfile,0,1\n\nanon,9,1\r\n', 'f');
    expect(read).toEqual(
      census(613, [
        ['file', 0, 101],
        ['anon', 9, 1],
      ]),
    );
  });

  const json = (over: object): string => JSON.stringify({ ...censusJson(good), ...over });
  test.each([
    ['nothing', '', /^f:1: "": expected owner,order,count, or JSON$/],
    ['half of JSON', '{"schema": "quire.cen', /^f: not JSON/],
    ['another schema', '{"schema":"x"}', /schema "x": expected "quire.census\/1"/],
    ['no owners', json({ owners: undefined }), /owners missing: expected/],
    ['owners that are a list', json({ owners: [] }), /owners \[\]: expected/],
    ['an unknown owner', json({ owners: { pages: { 0: 1 } } }), /owner "pages": expected one of free, pcp,/],
    [
      'an owner from the prototype',
      json({ owners: { constructor: { 0: 1 } } }),
      /owner "constructor": expected one of/,
    ],
    ['a negative count', json({ owners: { file: { 0: -1 } } }), /file, order 0, count -1: expected a whole number/],
    ['half a folio', json({ owners: { file: { 0: 0.5 } } }), /count 0\.5: expected a whole number/],
    ['a count as text', json({ owners: { file: { 0: '1' } } }), /count "1": expected a whole number/],
    ['an order too large', json({ owners: { file: { 23: 1 } } }), /file, order "23": expected 0 to 22/],
    ['a negative order', json({ owners: { file: { '-1': 1 } } }), /order "-1": expected 0 to 22/],
    ['more pages than memory', json({ memory: 691 * 4096 }), /692 pages listed, but memory has 691: expected no more/],
    ['no memory', json({ memory: 0 }), /memory 0: expected bytes/],
    ['memory past all sense', json({ memory: 2 ** 51 }), /memory 2251799813685248: expected bytes/],
    ['an odd page size', json({ pageSize: 5000 }), /pageSize 5000: expected 4096, 16384, 65536/],
    ['an empty machine', 'owner,order,count\n', /no page of memory/],
    ['a negative count in CSV', 'owner,order,count\nfile,0,-5\n', /^f:2: file, order 0, count -5: expected a whole/],
    ['a word in CSV', 'owner,order,count\nfile,0,many\n', /^f:2: file, order 0, count "many": expected/],
    ['two cells in CSV', 'owner,order,count\n\nfile,0\n', /^f:3: "file,0": expected owner,order,count/],
    ['more than any machine', 'owner,order,count\nfile,22,999999\n', /pages: expected at most 1024 TiB/],
  ])('%s is one line', (_, text, line) => {
    const message = (() => {
      try {
        parseCensus(text, 'f');
        return 'taken';
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(message).toMatch(line);
    expect(message).not.toContain('\n');
  });
});

test('any text is a census or one line', () => {
  const seed = seedOf(8);
  const r = new Prng(seed);
  const given = census(1024, [['file', 0, 100]]);
  const texts = [JSON.stringify(censusJson(given)), 'owner,order,count\nfile,0,100\nanon,9,1\n'];
  const bits = ['{', '}', '-', '9'.repeat(20), '1e9', 'null', '[]', '"', ',', '\n', '0', '.5', 'free', '\u0000'];
  for (let i = 0; i < stepsOf(3000); i++) {
    let text = texts[r.below(2)] as string;
    for (let n = 1 + r.below(4); n > 0; n--) {
      const at = r.below(text.length + 1);
      text = text.slice(0, at) + (bits[r.below(bits.length)] as string) + text.slice(at + r.below(6));
    }
    try {
      const read = parseCensus(text, 'f');
      expect(listedPages(read), `seed ${seed}: ${text}`).toBeLessThanOrEqual(read.frames);
      for (const { totalBytes } of billOf(read, plain).rows) expect(totalBytes).toBeGreaterThan(0);
    } catch (error) {
      if (!(error instanceof InputError)) throw new Error(`seed ${seed}: ${text}`, { cause: error });
      expect(error.message).not.toContain('\n');
    }
  }
});

test('text: owners by order, all layouts, and what is listed to nobody', () => {
  const given = census(1024, [['file', 2, 10]]);
  const text = billText(billReport(given, { ...source, scaledFrom: GIB }, { rcuFreePointer: true }), given);
  expect(text).toMatch(/^census x\.json: 4\.0 MiB in pages of 4\.0 KiB, scaled from 1\.00 GiB\n/);
  expect(text).toMatch(/file +10 +160\.0 KiB +3\.906 % {2}2:10\n/);
  expect(text).toMatch(/not listed +– +3\.8 MiB/);
  expect(text).toMatch(/page64, overlay +64\.0 KiB +0 B +0 B/);
  expect(text).toMatch(/memdesc8 \(plan\) +8\.0 KiB +1\.4 KiB/);
  expect(text).toContain('behind each a free pointer');
});
