import { spawnSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { type FitReport, fitDirs } from '../../src/lab/fit.ts';
import { fitText, size } from '../../src/lab/fit_text.ts';
import type { Residency } from '../../src/lab/residency.ts';
import { root } from '../../tools/sources.ts';

const GIB = 2 ** 30;

/** A tree of files of known sizes, as source trees have them: many small ones, a few large. */
const sizes: bigint[] = [0n, 1n, 4095n, 4096n, 4097n, 16384n, 65536n, 65537n, 3_000_001n];
const prng = new Prng(7);
for (let i = 0; i < 200; i++) sizes.push(BigInt(Math.floor(2 ** (prng.float() * 21))));

let top: string;
beforeAll(() => {
  top = mkdtempSync(join(tmpdir(), 'quire-fit-'));
  for (const [i, bytes] of sizes.entries()) {
    const dir = join(top, `d${i % 7}`, `e${i % 3}`);
    mkdirSync(dir, { recursive: true });
    const path = join(dir, `f${i}`);
    writeFileSync(path, '');
    truncateSync(path, Number(bytes));
  }
  linkSync(join(top, 'd1/e1/f1'), join(top, 'again'));
  symlinkSync('d1', join(top, 'link'));
});
afterAll(() => rmSync(top, { recursive: true, force: true }));

const sum = (each: (bytes: bigint) => bigint) => Number(sizes.reduce((total, bytes) => total + each(bytes), 0n));
const rounded = (page: bigint) => sum((bytes) => ((bytes + page - 1n) / page) * page);

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));
  return { status, stdout, errors };
}

/** Every name in a report, at any depth. */
const keysOf = (value: unknown): string[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([key, below]) => [...(Array.isArray(value) ? [] : [key]), ...keysOf(below)]);

describe('fitDirs', () => {
  test('adds up a tree as its sizes say (the method of claim C03)', async () => {
    const { all, walked } = await fitDirs([top], { residency: 'not asked' });
    expect(all.files).toBe(sizes.length);
    expect(all.bytes).toBe(sum((bytes) => bytes));
    expect(all.pageSizes.map((r) => r.cacheBytes)).toEqual([rounded(4096n), rounded(16384n), rounded(65536n)]);
    expect(all.pageSizes[2]?.ratio).toBeCloseTo(rounded(65536n) / rounded(4096n), 12);
    const paidBack = (rounded(65536n) - rounded(4096n)) / (64 / 4096 - 64 / 65536);
    expect(all.rows.find((r) => r.pageSize === 65536)?.breakEvenBytes).toBe(Math.ceil(paidBack));
    expect(walked).toMatchObject({ symbolicLinks: 1, hardLinks: { names: 1, bytes: 1 } });
    // f0 of no bytes aside, all are holes.
    expect(walked.sparse).toEqual({ files: sizes.length - 1, bytes: all.bytes });
  });

  test('files of which parts are cached, files that are not this user’s', async () => {
    let asked = 0;
    const residency: Residency = {
      pageSize: 4096,
      ask(_, stats, each) {
        asked++;
        if (stats.size === 3_000_001) {
          each(4096, 8192);
          each(100 * 4096, 102 * 4096);
          return 'answered';
        }
        return stats.size > 65536 ? 'denied' : stats.size === 65536 ? 'failed' : 'answered';
      },
    };
    const { resident } = await fitDirs([top], { residency, memory: GIB });
    expect(asked).toBe(sizes.length);
    expect(resident.bill).toMatchObject({ files: 1, bytes: 3 * 4096 });
    expect(resident.bill?.pageSizes.map((r) => r.pages)).toEqual([3, 2, 2]);
    const denied = sizes.filter((bytes) => bytes > 65536n && bytes !== 3_000_001n);
    expect(resident.denied).toEqual({ files: denied.length, bytes: Number(denied.reduce((a, b) => a + b)) });
    expect(resident.failed).toEqual({ files: 1, bytes: 65536 });
    const text = fitText(await fitDirs([top], { residency, memory: GIB }));
    expect(text).toMatch(/left out: \d+ files, [\d.]+ MiB: neither owned nor writable by this user/);
    expect(text).toContain('left out: 1 file, 64.0 KiB: could not be opened');
  });

  test('nothing to ask with: one plain line', async () => {
    const report = await fitDirs([top], { residency: 'needs the moon', memory: GIB });
    expect(report.resident).toMatchObject({ note: 'needs the moon', pageSize: null, bill: null });
    expect(fitText(report)).toContain('Cached now\n  could not be read: needs the moon\n');
  });

  test('the machine’s memory unless another is given', async () => {
    expect((await fitDirs([top])).memory).toEqual({ bytes: totalmem(), from: 'this machine' });
    expect((await fitDirs([top], { memory: 5 })).memory).toEqual({ bytes: 5, from: 'given' });
  });

  test('says so when the files do not fit', async () => {
    const told = 'not all of it fits in 1.0 MiB at once';
    expect(fitText(await fitDirs([top], { residency: '', memory: 2 ** 20 }))).toContain(told);
    expect(fitText(await fitDirs([top], { residency: '', memory: GIB }))).not.toContain('not all of it fits');
  });

  test('an empty tree', async () => {
    const dir = join(top, 'empty');
    mkdirSync(dir);
    const report = await fitDirs([dir], { memory: GIB });
    rmSync(dir, { recursive: true });
    expect(report.all).toMatchObject({ files: 0, bytes: 0 });
    expect(fitText(report)).toContain(': 0 files, 0 B, in 1 director');
  });
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [2 ** 20 - 1, '1.0 MiB'],
  [-3 * 2 ** 20, '-3.0 MiB'],
  [2 ** 30, '1.00 GiB'],
  [2 ** 40 - 1, '1.00 TiB'],
  [2 ** 60, '1024.00 PiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(size(bytes)).toBe(text);
});

describe('quire fit', () => {
  test('prints aligned columns', () => {
    const { status, stdout, errors } = quire('fit', top, '--memory', '64G');
    expect({ status, errors }).toEqual({ status: 0, errors: [] });
    expect(stdout).toContain(`${sizes.length} files`);
    expect(stdout).toContain('64.00 GiB of memory (as given)');
    const lines = stdout.split('\n');
    const head = lines.findIndex((line) => line.includes('breaks even at'));
    const rows = lines.slice(head + 1, head + 16);
    expect(rows.map((line) => line.trim().split(/ {2,}/)[0])).toEqual(
      ['4k', '16k', '64k'].flatMap((p) => Array(5).fill(p)),
    );
    for (const line of rows) expect(line).toHaveLength((lines[head] as string).length);
  });

  test('--json has exact bytes under the names of docs/fit.md', () => {
    const { status, stdout } = quire('fit', '--json', top);
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as FitReport;
    expect(report.schema).toBe('quire.fit/1');
    expect(report.all.pageSizes.map((r) => r.cacheBytes)).toEqual([rounded(4096n), rounded(16384n), rounded(65536n)]);
    const page = readFileSync(`${root}docs/fit.md`, 'utf8');
    expect(keysOf(report).filter((key) => !page.includes(`\`${key}\``))).toEqual([]);
    expect(Object.keys(report)).toEqual(['schema', 'dirs', 'memory', 'walked', 'all', 'resident', 'layouts', 'basis']);
  });

  test.each([
    ['no DIR', [], /missing required argument 'dir'/],
    ['a DIR that is not there', ['no/such/place'], /^quire: no\/such\/place: no such directory$/],
    ['an empty DIR', [''], /^quire: '': no such directory$/],
    ['a file', [`${root}package.json`], /package\.json: not a directory$/],
    ['a good DIR and a bad one', [`${root}bin`, 'nowhere'], /^quire: nowhere: no such directory$/],
    ['a DIR that moves the cursor', ['\u001b[2J\n'], /^quire: {2}\[2J : no such directory$/],
    ['a negative memory', [root, '--memory', '-4G'], /^quire: memory: '-4G' is not a size/],
    ['no memory', [root, '--memory', '0'], /^quire: memory: '0': expected 1M to 1024T/],
    ['a memory past all sense', [root, '--memory', '9'.repeat(400)], /^quire: memory: /],
    ['a memory of words', [root, '--memory', 'lots'], /^quire: memory: 'lots' is not a size/],
    ['an unknown flag', [root, '--page', '4k'], /unknown option '--page'/],
  ])('%s: one line, exit 2', (_, args, line) => {
    const { status, stdout, errors } = quire('fit', ...args);
    expect(stdout).toBe('');
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^quire: /);
    expect(errors[0]).toMatch(line);
    expect(status).toBe(2);
  });
});
