/** `quire bill` as a user meets it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { OWNERS } from '../../src/mm/census.ts';
import { root } from '../../tools/sources.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-bill-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

function quire(args: readonly string[], as: { uid?: number; gid?: number } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'bill', ...args], {
    encoding: 'utf8',
    ...as,
  });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));
  return { status, stdout, errors };
}

const ops = file('run.ops', '#quire-ops 1\n#fs,xfs\n#file,1,a,1048576\nopen,1,1,r\npread,1,0,1048576\n');
const census = file('census.csv', 'owner,order,count\nfile,0,1000\nfree,10,2\nslab,1,10\n');

test('a replay, its census as a file, and that file on another machine', () => {
  const replayed = quire([ops, '--memory', '64M', '--json']);
  expect(replayed).toMatchObject({ status: 0, errors: [] });
  const report = JSON.parse(replayed.stdout);
  expect(report).toMatchObject({
    schema: 'quire.bill/1',
    memory: 2 ** 26,
    source: { kind: 'replay', name: 'run.ops' },
  });
  const again = quire(['--census', file('report.json', replayed.stdout), '--json']);
  expect(JSON.parse(again.stdout).bill).toEqual(report.bill);
  const scaled = JSON.parse(quire(['--census', join(folder, 'report.json'), '--memory', '64T', '--json']).stdout);
  expect(scaled.memory).toBe(2 ** 46);
  expect(scaled.source.scaledFrom).toBe(2 ** 26);
  expect(scaled.bill.rows[0].totalBytes).toBe(2 ** 40);
});

test('text says that one-page folios cost more', () => {
  const { status, stdout } = quire(['--census', census]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/memdesc8: a one-page folio costs 25\.6 B more than today/);
  expect(quire(['--census', census, '--rcu-free-pointer']).stdout).toMatch(
    /memdesc8: a one-page folio costs 43\.5 B more/,
  );
});

test('pools of huge pages and slabs on a modelled machine', () => {
  const slabs = file(
    'slabinfo',
    'slabinfo - version: 2.1\ndentry 2100 2100 192 21 1 : tunables 0 0 0 : slabdata 100 100 0\n',
  );
  const args = [ops, '--memory', '512M', '--hugepages', '2M=16', '--hvo', '--slabinfo', slabs];
  const report = JSON.parse(quire([...args, '--json']).stdout);
  expect(report.census.owners.hugetlb).toEqual({ 9: 16 });
  expect(report.census.owners.slab).toEqual({ 0: 100 });
  expect(report.bill.hvo.rows[0].savedBytes).toBe(16 * 7 * 4096);
  expect(quire(args).stdout).toMatch(/Huge page pools with the vmemmap optimisation/);
});

describe('bad input is one line and exit 2', () => {
  const accesses = file('accesses.lackey', ' L 04222c08,4\n S 04222c10,8\nI  04016930,3\n');
  test.each([
    ['no machine', [], /expected one of a recording, --census FILE and --live/],
    ['two machines', [ops, '--census', census], /expected one of a recording/],
    ['pools without a replay', ['--census', census, '--hugepages', '2M=1'], /expected a recording/],
    ['pools that are no pools', [ops, '--hugepages', '2M'], /expected SIZE=COUNT/],
    ['pools of no such size', [ops, '--hugepages', '3M=1'], /expected 2097152, 1073741824/],
    ['a slabinfo that is none', [ops, '--slabinfo', census], /expected slabinfo - version/],
    ['a slabinfo that is not there', [ops, '--slabinfo', '/nowhere'], /nowhere/],
    ['a setting without a replay', ['--census', census, '--fs', 'xfs'], /fs is a setting of a replay/],
    ['a file that is not there', ['--census', join(folder, 'none')], /no such file/],
    [
      'an impossible census',
      ['--census', file('bad.csv', 'owner,order,count\nfile,0,-1\n')],
      /bad\.csv:2: file, order 0, count -1/,
    ],
    ['less than a page', ['--census', census, '--memory', '1k'], /expected 1M to 1024T/],
    ['a trace of accesses', [accesses], /a trace of memory accesses: expected a recording of operations/],
  ])('%s', (_, args, line) => {
    const { status, stdout, errors } = quire(args);
    expect(stdout).toBe('');
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(line);
    expect(status).toBe(2);
  });
});

/** Kernels without the file say so; others let root alone read it. */
test.runIf(process.platform === 'linux')('--live without root', () => {
  const { status, stdout, errors } = quire(['--live'], process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {});
  expect(stdout).toBe('');
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatch(/kpageflags: (only root may read it|not there): expected/);
  expect(status).toBe(2);
});

test('--json has the names of docs/bill.md', () => {
  const page = readFileSync(`${root}docs/bill.md`, 'utf8');
  const keys = new Set<string>();
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(collect);
    else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) {
        keys.add(key);
        if (key !== 'layouts' && key !== 'owners') collect(inner);
      }
  };
  collect(JSON.parse(quire(['--census', census, '--json']).stdout));
  for (const row of besideMeminfoKeys) keys.add(row);
  expect([...keys].filter((key) => !page.includes(`\`${key}\``))).toEqual([]);
  for (const owner of OWNERS) expect(page).toContain(`\`${owner}\``);
});
const besideMeminfoKeys = ['meminfo', 'census', 'censusBytes', 'beforeBytes', 'afterBytes', 'difference'];
