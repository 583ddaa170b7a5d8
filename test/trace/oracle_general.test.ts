import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { FADVICE, OP, OPEN_READ } from '../../src/trace/event.ts';
import { openOracleGeneral, oracleGeneralFrom, RECORD_BYTES } from '../../src/trace/oracle_general.ts';
import { root } from '../../tools/sources.ts';
import { usual, zipfRanks, zipfRecords } from '../../tools/zipf.ts';
import { drain, rowsOf } from './rows.ts';

type Request = readonly [id: bigint, size: number, next?: bigint];

function recording(requests: readonly Request[]): Uint8Array {
  const bytes = Buffer.alloc(requests.length * RECORD_BYTES);
  for (const [i, [id, size, next = -1n]] of requests.entries()) {
    const at = i * RECORD_BYTES;
    bytes.writeUInt32LE(i, at);
    bytes.writeBigUInt64LE(id, at + 4);
    bytes.writeUInt32LE(size, at + 12);
    bytes.writeBigInt64LE(next, at + 16);
  }
  return bytes;
}
const open = (requests: readonly Request[], rows?: number) => oracleGeneralFrom('t', recording(requests), rows);
/** [first page, pages] of each read. */
const reads = (requests: readonly Request[], rows?: number) =>
  rowsOf(open(requests, rows))
    .slice(2)
    .map((r) => [r.offset / 4096, r.length / 4096]);

describe('reading', () => {
  test('begins with one handle on one file, advised against read-ahead', () => {
    const source = open([[5n, 100]]);
    expect(source.files).toEqual([{ id: 1, name: 'objects', size: 6 * 4096 }]);
    const rows = rowsOf(source);
    expect(rows[0]).toMatchObject({ op: OP.open, id: 0, file: 1, arg: OPEN_READ });
    expect(rows[1]).toMatchObject({ op: OP.fadvise, id: 0, offset: 0, length: 0, arg: FADVICE.indexOf('random') });
    expect(rows[2]).toEqual({ op: OP.pread, id: 0, file: 0, arg: 0, offset: 5 * 4096, length: 4096, at: 0, line: 1 });
  });

  test('small numbers of objects of one page are page numbers', () => {
    expect(
      reads([
        [9n, 4096],
        [0n, 0],
        [9n, 1],
      ]),
    ).toEqual([
      [9, 1],
      [0, 1],
      [9, 1],
    ]);
  });

  test('other objects lie in the order of their first appearance', () => {
    const far = 0xffff_ffff_ffff_ffffn;
    expect(
      reads([
        [far, 4097],
        [3n, 1],
        [far, 10],
        [1n << 32n, 8192],
        [3n, 1],
        [far, 8192],
      ]),
    ).toEqual([
      [0, 2],
      [2, 1],
      [0, 1],
      [3, 2],
      [2, 1],
      [0, 2],
    ]);
  });

  test('an object that has grown lies elsewhere', () => {
    expect(
      reads([
        [1n, 5000],
        [2n, 1],
        [1n, 9000],
        [1n, 5000],
      ]),
    ).toEqual([
      [0, 2],
      [2, 1],
      [3, 3],
      [3, 2],
    ]);
  });

  test('a request over 16 MiB takes several reads', () => {
    const two = (1 << 25) + 1;
    for (const rows of [2, 3, 4096]) {
      expect(
        reads(
          [
            [7n, 1],
            [8n, two],
            [7n, 1],
          ],
          rows,
        ),
      ).toEqual([
        [0, 1],
        [1, 4096],
        [4097, 4096],
        [8193, 1],
        [0, 1],
      ]);
    }
    const source = open([
      [7n, 1],
      [8n, two],
      [7n, 1],
    ]);
    expect(rowsOf(source).map((r) => r.line)).toEqual([1, 1, 1, 2, 2, 2, 3]);
    expect(source.files[0]?.size).toBe((1 + 8193 + 1) * 4096);
  });

  test('agrees with a Map, whatever the numbers and the batches', () => {
    const random = new Prng(31);
    const requests: Request[] = [];
    for (let i = 0; i < 40_000; i++) {
      const object = random.below(20_000);
      const id = (BigInt(Math.imul(object, 0x9e3779b1) >>> 0) << 32n) | BigInt(object % 7);
      requests.push([id, 1 + random.below(3) * 4096]);
    }
    const places = new Map<bigint, [number, number]>();
    let end = 0;
    const expected = requests.map(([id, size]) => {
      const pages = Math.ceil(size / 4096);
      let place = places.get(id);
      if (place === undefined || place[1] < pages) {
        place = [end, pages];
        end += pages;
        places.set(id, place);
      }
      return [place[0], pages];
    });
    for (const rows of [1000, 4096]) expect(reads(requests, rows)).toEqual(expected);
    expect(open(requests).files[0]?.size).toBeGreaterThanOrEqual(end * 4096);
  });

  test('every offset lies in the file', () => {
    const z = { ...usual, objects: 1000, requests: 5000 };
    for (const scatter of [false, true]) {
      const bytes = Buffer.concat([...zipfRecords({ ...z, scatter }, 700)]);
      const source = oracleGeneralFrom('z', bytes);
      const size = source.files[0]?.size ?? 0;
      const rows = rowsOf(source).slice(2);
      expect(rows).toHaveLength(z.requests);
      expect(rows.every((r) => r.offset + r.length <= size)).toBe(true);
      // The same requests, whatever their objects are called.
      const seen = new Map<number, number>();
      const ranks = zipfRanks(z);
      for (const [i, r] of rows.entries()) {
        if (!seen.has(ranks[i])) seen.set(ranks[i], r.offset);
        expect(seen.get(ranks[i])).toBe(r.offset);
      }
    }
  });
});

describe('refusing', () => {
  const said = (bytes: Uint8Array) => {
    try {
      drain(oracleGeneralFrom('t', bytes));
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as InputError).message;
    }
    return 'no error';
  };
  test('an empty file, a cut one, another format', () => {
    const two = recording([
      [1n, 1, 5n],
      [2n, 1, (1n << 63n) - 1n],
    ]);
    expect(said(two)).toBe('no error');
    expect(said(new Uint8Array(0))).toBe('t: empty file, expected records of 24 bytes');
    expect(said(two.subarray(0, 47))).toBe(
      't: record 2: the last record has 23 bytes, expected 24: is the file cut off?',
    );
    expect(said(two.subarray(0, 5))).toBe(
      't: record 1: the last record has 5 bytes, expected 24: is the file cut off?',
    );
    expect(
      said(
        recording([
          [1n, 1],
          [2n, 1, -2n],
        ]),
      ),
    ).toMatch(/^t: record 2: next access out of range/);
    expect(said(recording([[1n, 1, 1n << 60n]]))).toMatch(/^t: record 1: next access out of range/);
    expect(() => openOracleGeneral(`${root}no.oracleGeneral`)).toThrow('no such file');
  });
});

describe('zipf recordings', () => {
  test('are the same for the same seed, and as skewed as they say', () => {
    const z = { ...usual, objects: 1000, requests: 200_000 };
    const ranks = zipfRanks(z);
    expect(ranks).toEqual(zipfRanks(z));
    expect(ranks).not.toEqual(zipfRanks({ ...z, seed: 43 }));
    let harmonic = 0;
    for (let i = 1; i <= z.objects; i++) harmonic += 1 / i;
    for (const rank of [0, 1, 9, 99]) {
      const count = ranks.reduce((n, r) => n + (r === rank ? 1 : 0), 0);
      const expected = z.requests / harmonic / (rank + 1);
      expect(Math.abs(count - expected)).toBeLessThan(5 * Math.sqrt(expected));
    }
  });

  test('know the next access of each request', () => {
    const bytes = Buffer.concat([...zipfRecords({ ...usual, objects: 20, requests: 300 }, 64)]);
    for (let i = 0; i < 300; i++) {
      const id = bytes.readBigUInt64LE(i * 24 + 4);
      let next = -1;
      for (let j = i + 1; j < 300 && next < 0; j++) if (bytes.readBigUInt64LE(j * 24 + 4) === id) next = j;
      expect(Number(bytes.readBigInt64LE(i * 24 + 16))).toBe(next);
    }
  });
});
