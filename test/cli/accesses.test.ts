import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-accesses-'));
afterAll(() => rmSync(folder, { recursive: true }));
const lackey = `${root}golden/traces/array.lackey`;
const sort = `${root}examples/sort-memory.qacc`;

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, ...args], {
    encoding: 'utf8',
  });
  return {
    status,
    stdout,
    errors: stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build')),
  };
}

describe('quire replay and compare of accesses', () => {
  test('text, JSON and CSV of a lackey log; the same numbers with areas from a file', () => {
    const text = quire('replay', lackey);
    expect(text).toMatchObject({ status: 0, errors: [] });
    expect(text.stdout).toMatch(/^array.lackey: 1,602 accesses\nkernel 6.18, .*TLB of zen4, areas guessed/);
    const json = JSON.parse(quire('replay', lackey, '--json', '--curve').stdout);
    expect(json).toMatchObject({ schema: 'quire.accesses/1', accesses: 1602, areas: 'guessed' });
    expect(json.curves.tlb[0]).toMatchObject({ page_bytes: 4096 });
    const maps = join(folder, 'maps');
    writeFileSync(maps, '00400000-04001000 rwxp 00000000 00:00 0 \n04001000-2000000000 rwxp 00000000 00:00 0 \n');
    const other = JSON.parse(quire('replay', lackey, '--maps', maps, '--json').stdout);
    expect(other.areas).toBe('maps');
    expect(other.rows[0].figures.l1_misses_per_k).toBe(json.rows[0].figures.l1_misses_per_k);
  });

  test('a comparison, with a report', () => {
    const html = join(folder, 'r.html');
    const { status, stdout, errors } = quire(
      'compare',
      sort,
      ...['--vary', 'thp=off,64k=always:2m=always', '--vary', 'page-size=4k,64k', '--memory', '1G', '--html', html],
    );
    expect({ status, errors }).toEqual({ status: 0, errors: [`report: ${html}`] });
    expect(stdout).toMatch(/thp +page-size +minor faults/);
    expect(stdout).toMatch(/^ {2}64k=always:2m=always {2}4 KiB +144 \(-98 %\)/m);
    expect(stdout).toMatch(/^recorded: 8,528 faults, peak RSS 34.7 MiB/m);
    expect(readFileSync(html, 'utf8')).toMatch(/<h2 id="folios-h">/);
    const csv = quire('compare', sort, '--vary', 'thp=off,all=always', '--csv').stdout.split('\n');
    expect(csv[0]).toMatch(/^trace,thp,refused,accesses,data_accesses,minor_faults,/);
    expect(csv[2]).toMatch(/^sort-memory.qacc,all=always,,8763,,/);
  });

  test('what cannot be: one line, exit 2', () => {
    const bad = join(folder, 'bad.qacc');
    writeFileSync(bad, readFileSync(sort).subarray(0, 3000));
    const cases: [string[], RegExp][] = [
      [['replay', bad], /^quire: .*bad.qacc: 3000 bytes, its header says 5053: is the file cut off\?$/],
      [['replay', sort, '--cpu', 'zen4'], /^quire: cpu has no effect: a recording of faults/],
      [['replay', sort, '--curve'], /^quire: --curve: a recording of faults/],
      [['replay', lackey, '--cpu', 'z80'], /^quire: cpu 'z80' is not known: expected one of zen3, /],
      [['replay', lackey, '--maps', join(folder, 'none')], /^quire: .*none/],
      [['compare', lackey, '--vary', 'thp=63k=always'], /^quire: thp /],
      [['replay', `${root}examples/gcc.ops`, '--curve'], /^quire: --maps and --curve are for traces of accesses/],
    ];
    for (const [args, line] of cases) {
      const { status, stdout, errors } = quire(...args);
      expect({ args, status, stdout, errors }).toEqual({
        args,
        status: 2,
        stdout: '',
        errors: [expect.stringMatching(line)],
      });
    }
  });
});
