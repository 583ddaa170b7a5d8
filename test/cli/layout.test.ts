import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'layout', ...args], {
    encoding: 'utf8',
  });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));
  return { status, stdout, errors };
}
const golden = (name: string) => `${root}golden/btf/${name}.btf`;

describe('quire layout', () => {
  test('prints a structure with its overlays, holes and cache lines', () => {
    const { status, stdout } = quire('overlay', '--struct', 'folio');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^struct folio \(overlay, 6\.18\): /);
    expect(stdout).toContain('      16     4    unsigned int mlock_count;\n');
    expect(stdout).toContain('      96     8      mm_id_mapcount_t _mm_id_mapcount[2];\n');
    expect(stdout).toContain('     124     4  (hole)\n                -- cache line 2, byte 128 --\n');
    expect(stdout).toContain('  256 bytes in 4 cache lines; 39 fields in 18 overlays; 3 holes of 52 bytes\n');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(130);
  });

  test('bit-fields and plans', () => {
    expect(quire('page64').stdout).toContain('   40:16     4      unsigned int objects:15;\n');
    const { stdout } = quire('memdesc8', '--struct', 'page');
    expect(stdout).toContain('bits 0–3 type, 4–10 subtype, 11 mappable, 12–17 order, 51–53 zone, 54–63 node');
    expect(stdout).toContain('a published plan, in no kernel: ');
  });

  test('the same as data', () => {
    const data = JSON.parse(quire('page32', '--struct', 'page', '--json').stdout);
    expect(data).toMatchObject({ schema: 'quire.layout/1', layout: 'page32', release: 'plan' });
    expect(data.structs[0]).toMatchObject({ name: 'page', bytes: 32, holes: [{ offset: 28, bytes: 4 }] });
    expect(data.structs[0].fields[4]).toMatchObject({ name: 'private', arm: 'owned/other', offset: 16, bytes: 8 });
  });
});

describe('--check', () => {
  test('all equal: exit 0', () => {
    const { status, stdout } = quire('overlay', '--check', golden('6.18'));
    expect({ status, last: stdout.trimEnd().split('\n').at(-1) }).toEqual({
      ...{ status: 0, last: 'every offset and size is equal' },
    });
  });
  test('something differs: exit 1, in JSON too', () => {
    const { status, stdout } = quire('overlay', '--release', '6.1', '--json', '--check', golden('6.12'));
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ schema: 'quire.layout-check/1', release: '6.1', equal: false });
  });
});

describe('bad input is one line and exit 2', () => {
  const cut = join(tmpdir(), `quire-cut-${process.pid}.btf`);
  beforeAll(() => writeFileSync(cut, readFileSync(golden('6.18')).subarray(0, 3000)));
  afterAll(() => rmSync(cut, { force: true }));
  test.each([
    ['an unknown layout', ['page16'], /'page16' is invalid .* page64, overlay, page32, memdesc8/],
    ['an unknown release', ['page64', '--release', '6.18'], /page64 is not known for release '6.18': expected 5.15/],
    ['an unknown structure', ['overlay', '--struct', 'pages'], /no struct 'pages'/],
    ['a plan to check', ['memdesc8', '--check'], /memdesc8 is a plan/],
    ['a BTF cut short', ['overlay', '--check', cut], /BTF cut short: 3000 bytes of \d+$/],
    ['no BTF', ['overlay', '--check', `${root}package.json`], /package\.json: no BTF: /],
    ['an empty file', ['overlay', '--check', '/dev/null'], /no BTF: 0 bytes/],
    ['no file', ['overlay', '--check', '/nowhere/x'], /ENOENT.*\/nowhere\/x/],
    ['a folder', ['overlay', '--check', root], /EISDIR/],
  ])('%s', (_, args, line) => {
    const { status, stdout, errors } = quire(...args);
    expect({ status, stdout, lines: errors.length }).toEqual({ status: 2, stdout: '', lines: 1 });
    expect(errors[0]).toMatch(line);
  });
});
