import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { openQacc } from '../../src/trace/qacc_read.ts';
import { root } from '../../tools/sources.ts';
import { accessRows, drRecords } from '../trace/accesses.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-import-'));
afterAll(() => rmSync(folder, { recursive: true }));
const log = `${root}golden/traces/array.lackey`;
const out = join(folder, 'a.qacc');

function quire(args: readonly string[], input: string | Uint8Array = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'import', ...args], {
    encoding: 'utf8',
    input,
  });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));
  return { status, stdout, errors };
}

describe('quire import of accesses', () => {
  test('lackey: a file, the same packed by gzip, the same from a pipe', () => {
    const said = [expect.stringMatching(/^1,602 accesses in \d+ B, 0\.\d\d bytes each$/)];
    expect(quire(['lackey', log, '-o', out])).toEqual({ status: 0, stdout: '', errors: said });
    const bytes = readFileSync(out);
    expect(accessRows(openQacc(out))).toHaveLength(1602);
    const packed = join(folder, 'a.lackey.gz');
    // Longer than what lies between the two threads.
    const long = readFileSync(log, 'utf8').repeat(100);
    writeFileSync(packed, gzipSync(long));
    expect(quire(['lackey', packed, '-o', out, '--json'])).toMatchObject({ status: 0, errors: [] });
    expect(accessRows(openQacc(out))).toHaveLength(160_200);
    expect(quire(['lackey', '-', '-o', out], readFileSync(log)).errors).toEqual(said);
    expect(readFileSync(out).equals(bytes)).toBe(true);
  });

  test('dynamorio: records and text', () => {
    const records = drRecords([
      [25, 0, 6n],
      [10, 4, 0x401000n],
      [0, 8, 0x2000n],
      [0, 8, 0xffffffff81000000n],
    ]);
    expect(quire(['dynamorio', '-', '-o', out, '--json'], records)).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('"accesses":2,'),
    });
    const text = '  1  1: 7 ifetch 4 byte(s) @ 0x401000 90\n  2  1: 7 read 8 byte(s) @ 0x2000 by PC 0x401000\n';
    expect(quire(['dynamorio', '-', '-o', out], text)).toMatchObject({ status: 0 });
    expect(accessRows(openQacc(out))).toEqual([
      ['fetch', 0x401000, 4],
      ['load', 0x2000, 8],
    ]);
  });

  test('bad input: one line, exit 2, nothing written', () => {
    const bad = join(folder, 'bad.qacc');
    const gz = join(folder, 'cut.gz');
    writeFileSync(gz, gzipSync(readFileSync(log)).subarray(0, 300));
    const cases: [string[], string | Uint8Array, RegExp][] = [
      [['lackey', '-'], ' L 1fff000748,8', /^quire: standard input:1: the last line has no end/],
      [['lackey', '-'], Buffer.alloc(5000, 7), /^quire: standard input:1: the last line has no end/],
      [['lackey', gz], '', /^quire: .*cut.gz: damaged or cut off/],
      [['dynamorio', '-'], Buffer.alloc(100, 77), /^quire: standard input: record 1: type 19789/],
      [['champsim', log], '', /^quire: .*array.lackey: record 1: /],
      [['champsim', join(folder, 'none')], '', /^quire: .*none: no such file/],
    ];
    for (const [args, input, line] of cases) {
      const { status, stdout, errors } = quire([...args, '-o', bad], input);
      expect({ status, stdout, errors }).toEqual({ status: 2, stdout: '', errors: [expect.stringMatching(line)] });
    }
    expect(quire(['lackey', log]).status).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(['a.lackey.gz', 'a.qacc', 'cut.gz']);
  });
});
