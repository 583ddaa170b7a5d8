import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import type { AccessSource } from '../../src/trace/access.ts';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { champsimFrom } from '../../src/trace/champsim.ts';
import { formatOf } from '../../src/trace/detect.ts';
import { drmemtraceFrom } from '../../src/trace/drmemtrace.ts';
import { drviewFrom } from '../../src/trace/drview.ts';
import { lackeyFrom } from '../../src/trace/lackey.ts';
import { root } from '../../tools/sources.ts';
import { accessRows, champsimRecords, drRecords } from './accesses.ts';

const said = (open: () => AccessSource): string => {
  try {
    accessRows(open());
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  return 'no error';
};
const detected = (name: string, data: Uint8Array | string) => formatOf(memoryBytes(name, data));

describe('lackey', () => {
  const log = readFileSync(`${root}golden/traces/array.lackey`, 'utf8');

  test('every line of a real log, as a plain reading has it', () => {
    const plain = log.split('\n').flatMap((line) => {
      const m = /^(?:(I) {2}| ([LSM]) )([0-9a-f]+),(\d+)$/.exec(line);
      if (m === null) return [];
      const kind = { I: 'fetch', L: 'load', S: 'store', M: 'modify' }[(m[1] ?? m[2]) as 'I'];
      return [[kind, Number.parseInt(m[3] as string, 16), Number(m[4])]];
    });
    expect(plain.length).toBe(1602);
    for (const rows of [1, 7, 8192]) expect(accessRows(lackeyFrom('t', log, rows))).toEqual(plain);
    expect(detected('t', log)).toBe('lackey');
    expect(detected('t.gz', gzipSync(log))).toBe('lackey');
  });

  test('chatter is passed over, other words are counted, the kernel is not the program', () => {
    const source = lackeyFrom('t', '==1== hello\n--1-- x\nsum 5\n\nI  ffffffffff600000,3\n L 1fff000748,65535\n');
    expect(accessRows(source)).toEqual([['load', 0x1fff000748, 65535]]);
    expect(source.skipped).toEqual({ 'line that is no reference': 2, 'kernel address': 1 });
  });

  test('long addresses', () => {
    const text = ' L fffffffffffff,1\n L 0000000000000001,2\n S 7fff12345678,4\nI  00000000,1\n';
    expect(accessRows(lackeyFrom('t', text))).toEqual([
      ['load', 2 ** 52 - 1, 1],
      ['load', 1, 2],
      ['store', 0x7fff12345678, 4],
      ['fetch', 0, 1],
    ]);
  });

  test('what is wrong is said with its line', () => {
    const good = ' L 1fff000748,8\n';
    const wrong = (line: string) => said(() => lackeyFrom('t', good + line + good));
    expect(wrong(' S 10000000000000,1\n')).toBe(
      't:2: address 0x10000000000000, expected one below 2^52 or of the kernel',
    );
    expect(wrong(' S f000000000000000,1\n')).toMatch(/^t:2: address 0xf000000000000000, expected/);
    for (const line of [' S 1fff000748,0\n', ' S 1fff000748,65536\n', ' S 1fff000748,\n', ' S 1fff000748\n'])
      expect(wrong(line)).toBe(`t:2: "${line.trimEnd()}", expected a reference like " L 1fff000748,8"`);
    for (const line of [' S 1ff,8\n', ' S 00000000000000001,8\n', 'I  0401g000,3\n', ' L 04016f30,8x\n'])
      expect(wrong(line)).toMatch(/^t:2: ".*", expected a reference/);
    expect(said(() => lackeyFrom('t', good.slice(0, -1)))).toBe('t:1: the last line has no end: is the file cut off?');
    expect(said(() => lackeyFrom('t', `${good} L 1f`))).toBe('t:2: the last line has no end: is the file cut off?');
    expect(said(() => lackeyFrom('t', 'hello\n'))).toMatch(
      /^t: no memory access in it, expected the output of valgrind/,
    );
    expect(said(() => lackeyFrom('t', 'x'.repeat(300_000)))).toMatch(/^t:1: a line of more than/);
    expect(said(() => lackeyFrom('t', ' L 1ff,8\n'))).toMatch(/^t:1: " L 1ff,8", expected/);
  });

  test('lines on the edge of the window', () => {
    // 16 bytes a line: the window's 256 KiB end inside a line for some of these starts.
    for (let skew = 0; skew < 17; skew++) {
      const text = `${'x'.repeat(skew)}\n${' S 1fff000748,8\n'.repeat(17_000)}`;
      const source = lackeyFrom('t', text);
      let n = 0;
      for (let b = source.next(); b !== null; b = source.next()) {
        n += b.count;
        expect(b.address.subarray(0, b.count).every((a) => a === 0x1fff000748)).toBe(true);
      }
      expect(n).toBe(17_000);
    }
  });
});

describe('DynamoRIO', () => {
  const records: [number, number, bigint][] = [
    [25, 0, 6n],
    [28, 12, 6n],
    [47, 4, 0xf0e48348n],
    [10, 4, 0x401000n],
    [0, 8, 0x7fdf64e2adc8n],
    [17, 3, 0x050302n],
    [48, 2, 0x401030n],
    [1, 16, 0x1000n],
    [3, 64, 0x2000n],
    [29, 4, 0x401030n],
    [19, 0, 0n],
    [0, 8, 0xffffffff81000000n],
    [0, 0, 0x3000n],
    [26, 0, 0n],
  ];
  const expected = [
    ['fetch', 0x401000, 4],
    ['load', 0x7fdf64e2adc8, 8],
    ['fetch', 0x401004, 2],
    ['fetch', 0x401006, 3],
    ['fetch', 0x401009, 5],
    ['fetch', 0x401030, 2],
    ['store', 0x1000, 16],
  ];

  test('records', () => {
    const bytes = drRecords(records);
    for (const rows of [1, 9, 8192]) expect(accessRows(drmemtraceFrom('t', bytes, rows))).toEqual(expected);
    const source = drmemtraceFrom('t', bytes);
    accessRows(source);
    expect(source.skipped).toEqual({
      prefetch: 1,
      'instruction without a fetch': 1,
      'cache flush': 1,
      'kernel address': 1,
      'access of 0 bytes': 1,
    });
    expect(detected('t', bytes)).toBe('dynamorio');
  });

  test('records that are none', () => {
    const bytes = drRecords(records);
    expect(said(() => drmemtraceFrom('t', bytes.subarray(0, 50)))).toBe(
      't: record 5: the last record has 2 bytes, expected 12: is the file cut off?',
    );
    expect(said(() => drmemtraceFrom('t', drRecords([...records, [50, 0, 0n]])))).toBe(
      't: record 15: type 50, expected a DynamoRIO record: is it another format?',
    );
    expect(said(() => drmemtraceFrom('t', drRecords([[0, 8, 1n << 52n]])))).toMatch(/^t: record 1: address 0x10000000/);
    expect(said(() => drmemtraceFrom('t', drRecords([[17, 9, 0n]])))).toMatch(/^t: record 1: a bundle of 9/);
    expect(said(() => drmemtraceFrom('t', drRecords([[25, 0, 6n]])))).toMatch(/^t: no memory access in it/);
  });

  test('the text of its view tool, old and new', () => {
    const text = `Output format:
<--record#-> <--instr#->: <Wrkld.Tid> <record details>
------------------------------------------------------------
           1           0:     2765542 <marker: version 5>
       47444       37769:     2765543 ifetch       6 byte(s) @ 0x0000000000404a78 0f 84 5b 01 00 00    jz     $0x0000000000404bd9 (untaken)
       47446       37770:     2765543 read         8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e
          10           2: W0.T292 write        8 byte(s) @ 0x2345 by PC 0x6789
          11           2: W0.T292 pref         1 byte(s) @ 0x2345 by PC 0x6789
View tool results:
`;
    const source = drviewFrom('t', text);
    expect(accessRows(source)).toEqual([
      ['fetch', 0x404a78, 6],
      ['load', 0x7fdf64e2adc8, 8],
      ['store', 0x2345, 8],
    ]);
    expect(source.skipped).toEqual({ 'line that is no access': 5 });
    expect(detected('t', text)).toBe('dynamorio-view');
    expect(said(() => drviewFrom('t', text.slice(0, -1)))).toMatch(/^t:9: the last line has no end/);
    expect(said(() => drviewFrom('t', '  1  1: 7 read 8 bytes\n'))).toMatch(/^t:1: .*expected "read 8 byte/);
    expect(said(() => drviewFrom('t', '  1  1: 7 read 8 byte(s) @ 0x10000000000000\n'))).toMatch(/^t:1: address/);
    expect(said(() => drviewFrom('t', '\n'))).toMatch(/^t: no memory access in it/);
  });
});

describe('ChampSim', () => {
  test('an instruction is its fetch, its loads, its stores', () => {
    const bytes = champsimRecords([
      [0x401000n, [0x7f0000001000n], [0x2000n, 0n, 0x3000n]],
      [0xffffffff81000000n, [], []],
      [0x401004n, [], []],
    ]);
    const expected = [
      ['fetch', 0x401000, 1],
      ['load', 0x2000, 1],
      ['load', 0x3000, 1],
      ['store', 0x7f0000001000, 1],
      ['fetch', 0x401004, 1],
    ];
    for (const rows of [1, 8, 8192]) expect(accessRows(champsimFrom('t', bytes, rows))).toEqual(expected);
    expect(detected('mcf.champsimtrace', bytes)).toBe('champsim');
    expect(said(() => champsimFrom('t', bytes.subarray(0, 100)))).toBe(
      't: record 2: the last record has 36 bytes, expected 64: is the file cut off?',
    );
    expect(said(() => champsimFrom('t', champsimRecords([[1n << 60n, [], []]])))).toMatch(
      /^t: record 1: address 0x1000/,
    );
    const other = champsimRecords([[1n, [], []]]);
    other[9] = 2;
    expect(said(() => champsimFrom('t', other))).toMatch(/^t: record 1: a branch flag above 1/);
  });
});

describe('detecting', () => {
  test('what is packed is said with the way to read it', () => {
    const of = (name: string, ...head: number[]) => {
      try {
        return detected(name, Uint8Array.from([...head, ...new Array(100).fill(0)]));
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(of('a.champsimtrace.xz', 0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)).toMatch(
      /packed by xz.*xz -dc a.champsimtrace.xz \|/,
    );
    expect(of('a.zip', 0x50, 0x4b, 3, 4)).toMatch(/packed by zip.*unzip -p a.zip \|/);
    expect(of('a.gz', 0x1f, 0x8b, 8)).toMatch(/a.gz: damaged, expected a gzip file/);
    expect(of('a')).toMatch(/no recording that Quire knows/);
  });
});
