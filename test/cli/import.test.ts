import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-import-'));
afterAll(() => rmSync(folder, { recursive: true }));

const log = `${root}golden/traces/git-commit.strace`;
const expected = readFileSync(`${root}golden/traces/git-commit.ops`, 'utf8');

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'import', ...args], {
    encoding: 'utf8',
  });
  return {
    status,
    stdout,
    errors: stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build')),
  };
}

describe('quire import strace', () => {
  test('writes the script to a file, and says what it holds', () => {
    const out = join(folder, 'a.ops');
    const { status, stdout, errors } = quire('strace', log, '-o', out);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    expect(readFileSync(out, 'utf8')).toBe(expected);
    expect(errors).toEqual(['290 operations on 27 files of 3 MiB', expect.stringMatching(/^skipped: .*\/dev ×11/)]);
    expect(readdirSync(folder)).toEqual(['a.ops']);
    // A second time over it.
    expect(quire('strace', log, '-o', out).status).toBe(0);
    expect(readFileSync(out, 'utf8')).toBe(expected);
  });

  test('or to standard output', () => {
    expect(quire('strace', log)).toMatchObject({ status: 0, stdout: expected });
  });

  test('--json', () => {
    const out = join(folder, 'b.ops');
    const { status, stdout, errors } = quire('strace', log, '-o', out, '--json');
    expect({ status, errors }).toEqual({ status: 0, errors: [] });
    expect(JSON.parse(stdout)).toMatchObject({ script: out, files: 27, operations: 290 });
  });

  test.each([
    ['a missing file', ['strace', 'no-such.strace', '-o', 'x.ops'], /^quire: no-such.strace: no such file/],
    ['a folder', ['strace', root, '-o', 'x.ops'], /a folder, expected a recording$/],
    ['what is no log', ['strace', `${root}golden/traces/calls.ops`, '-o', 'x.ops'], /not one line of strace/],
    ['a place that is not there', ['strace', log, '-o', 'no/such/x.ops'], /^quire: ENOENT/],
    ['--json without -o', ['strace', log, '--json'], /--json: expected -o SCRIPT/],
    ['an unknown format', ['ltrace', log], /unknown command 'ltrace'/],
  ])('%s: one line, exit 2, nothing written', (_, args, line) => {
    const { status, stdout, errors } = quire(...args.map((arg) => (arg.endsWith('x.ops') ? join(folder, arg) : arg)));
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(line);
    expect(existsSync(join(folder, 'x.ops'))).toBe(false);
  });

  test('a binary file', () => {
    const path = join(folder, 'bin');
    writeFileSync(path, Buffer.from(Array.from({ length: 5000 }, (__, i) => (i * 7919) & 255)));
    const { status, errors } = quire('strace', path, '-o', join(folder, 'y.ops'));
    expect({ status, errors: errors.length }).toEqual({ status: 2, errors: 1 });
    expect(existsSync(join(folder, 'y.ops'))).toBe(false);
  });
});
