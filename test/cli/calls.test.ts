/** `quire calls` as a user meets it. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'calls', ...args], {
    encoding: 'utf8',
  });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));
  return { status, stdout, errors };
}

test('operations and a recording, as text', () => {
  const { status, stdout } = quire(`${root}examples/git.ops`);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^ {2}page_mapping +folio_mapping +4 +4 +1 +1$/m);
  expect(stdout).toContain(
    'a large, dirty page: 12 = 7 of its own questions, 2 for the page lock, 3 that page_mapping\n',
  );
  expect(stdout).toMatch(/^ {2}event +pages +folios +calls a page +page way +folio way$/m);
  for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(130);
});

test('separate folios: field, caller and replacement', () => {
  const { status, stdout } = quire('--separate-folio', '--json');
  expect(status).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ schema: 'quire.calls/1', memmap: 'memdesc8', times: null, workload: null });
  expect(report.separateFolio.find((o: { operation: string }) => o.operation === 'isolate_lru_page')).toMatchObject({
    ...{ field: 'lru', caller: 'isolate_lru_page', replacement: 'folio->lru' },
  });
  expect(quire('--separate-folio', '--memmap', 'page32').stdout).toMatch(
    /^ {2}page_index +index +page_index +folio->index$/m,
  );
});

test('--time measures both ways on two layouts', () => {
  const { times } = JSON.parse(quire('--time', '--json').stdout);
  for (const { page64, overlay } of times)
    for (const ns of [page64.page, page64.folio, overlay.page, overlay.folio]) expect(ns).toBeGreaterThan(0);
});

test('bad input is one line and exit 2', () => {
  const overlay = quire('--separate-folio', '--memmap', 'overlay');
  expect(overlay).toEqual({
    ...{ status: 2, stdout: '' },
    errors: ['quire: separate folios: not on overlay, where folios overlay pages: expected page32 or memdesc8'],
  });
  for (const args of [
    ['/nowhere.ops'],
    [`${root}package.json`],
    ['--memmap', 'page16'],
    [`${root}examples/sort-memory.qacc`],
  ]) {
    const { status, errors } = quire(...args);
    expect({ args, status, lines: errors.length }).toEqual({ args, status: 2, lines: 1 });
  }
});
