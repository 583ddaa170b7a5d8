/** `quire compare` as a user meets it: a process, its two streams, its exit code, and the files that it leaves. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

const reads = `${root}golden/linux-6.18/scripts/read-xfs-1.ops`;

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'quire-compare-cli-'));
  writeFileSync(join(dir, 'bad.ops'), '#quire-ops 1\n#file,1,a,4096\nopen,0,1,r\npread,0,0,4096\npread,0,-1,4096\n');
});
afterAll(() => rmSync(dir, { recursive: true }));

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'compare', ...args], {
    encoding: 'utf8',
    cwd: dir,
  });
  return {
    status,
    stdout,
    errors: stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build')),
  };
}

test('prints a table, and writes the report beside it', () => {
  const { status, stdout, errors } = quire(
    reads,
    '--vary',
    'kernel=5.15,6.18',
    '--vary',
    'readahead=16k,64k',
    '--html',
    'r.html',
  );
  expect({ status, errors }).toEqual({ status: 0, errors: ['report: r.html'] });
  expect(stdout.match(/^ {2}(5\.15|6\.18) +(16|64) KiB /gm)?.length).toBeGreaterThanOrEqual(4 * 4);
  expect(readFileSync(join(dir, 'r.html'), 'utf8')).toMatch(/^<!doctype html>[\s\S]*<\/html>\n$/);
  expect(readdirSync(dir).toSorted()).toEqual(['bad.ops', 'r.html']);
});

test('--json is one object, and --vary says what varies', () => {
  const { status, stdout, errors } = quire(reads, '--json', '--vary', 'block-size=4k,16k', '--kernel', '6.12');
  expect({ status, errors }).toEqual({ status: 0, errors: [] });
  const { schema, vary, rows } = JSON.parse(stdout);
  expect({ schema, vary }).toEqual({ schema: 'quire.compare/1', vary: { blockSize: [4096, 16384] } });
  expect(rows.map((r: { config: { kernel: string } }) => r.config.kernel)).toEqual(['6.12', '6.12']);
});

test('--csv is a line a row', () => {
  const { status, stdout } = quire(reads, '--csv', '--vary', 'block-size=4k,16k');
  expect(status).toBe(0);
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(',')[1]),
  ).toEqual(['block_size', '4096', '16384']);
});

describe('bad input is one line, exit 2, and leaves nothing', () => {
  test.each([
    ['no such file', ['none.ops'], /none\.ops: no such file/],
    ['a bad line', ['bad.ops', '--html', 'x.html'], /bad\.ops:5: /],
    ['a folder', ['.', '--html', 'x.html'], /directory|folder|EISDIR/],
    [
      'a setting that is none',
      [reads, '--vary', 'colour=red'],
      /--vary 'colour' is not a setting: expected one of kernel, /,
    ],
    ['a bad value', [reads, '--vary', 'memcg=1M,x'], /--vary memcg: 'x' is not a size/],
    [
      'no value',
      [reads, '--vary', 'kernel'],
      /--vary: expected SETTING=VALUE,VALUE…, as in kernel=5\.15,6\.18, not 'kernel'/,
    ],
    ['an empty value', [reads, '--vary', 'kernel=6.1,'], /has an empty value/],
    ['no effect', [reads, '--vary', 'cpu=zen4'], /cpu has no effect yet: /],
    ['a huge page of no order', [reads, '--vary', 'thp=63k=always'], /thp /],
    ['curves of operations', [reads, '--curve'], /--maps and --curve are for traces of accesses/],
    ['set and varied', [reads, '--kernel', '6.1', '--vary', 'kernel=5.15,6.18'], /kernel: both set and varied/],
    ['two forms', [reads, '--json', '--csv'], /--json and --csv: expected one of them/],
    ['no place for the report', [reads, '--html', 'no/such/x.html'], /ENOENT/],
  ])('%s', (_, args, line) => {
    const before = readdirSync(dir);
    const { status, stdout, errors } = quire(...args);
    expect(stdout).toBe('');
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^quire: /);
    expect(errors[0]).toMatch(line);
    expect(status).toBe(2);
    expect(readdirSync(dir)).toEqual(before);
  });
});
