import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openMincore, openResidency, type Residency } from '../../src/lab/residency.ts';

const asked = await openResidency();

describe.skipIf(typeof asked === 'string')('residency', () => {
  const now = asked as Residency;
  const page = now.pageSize;
  let top: string;
  beforeAll(() => {
    top = mkdtempSync(join(tmpdir(), 'quire-residency-'));
    chmodSync(top, 0o755);
  });
  afterAll(() => rmSync(top, { recursive: true, force: true }));

  /** A file of holes, with some pages written: those are cached, since nobody has read the holes. */
  function file(name: string, size: number, written: readonly (readonly [from: number, pages: number])[]): string {
    const path = join(top, name);
    const fd = openSync(path, 'w');
    for (const [from, pages] of written) writeSync(fd, Buffer.alloc(pages * page, 1), 0, pages * page, from * page);
    closeSync(fd);
    truncateSync(path, size);
    return path;
  }

  function ranges(residency: Residency, path: string) {
    const found: [number, number][] = [];
    const answer = residency.ask(path, lstatSync(path), (from, to) => found.push([from, to]));
    return { answer, found };
  }

  const cases = [
    ['nothing', 50 * page, [], []],
    ['all', 8 * page, [[0, 8]], [[0, 8 * page]]],
    ['all, to the last byte', 3 * page - 100, [[0, 3]], [[0, 3 * page - 100]]],
    [
      'parts',
      40 * page - 7,
      [
        [3, 3],
        [20, 1],
        [39, 1],
      ],
      [
        [3 * page, 6 * page],
        [20 * page, 21 * page],
        [39 * page, 40 * page - 7],
      ],
    ],
    ['a page far out', 2 ** 30 + 5 * page, [[2 ** 28 / page + 2, 1]], [[2 ** 28 + 2 * page, 2 ** 28 + 3 * page]]],
    ['an empty file', 0, [], []],
  ] as const;

  test.each(cases)('%s', (name, size, written, found) => {
    const path = file(name, size, written);
    expect(ranges(now, path)).toEqual({ answer: 'answered', found });
  });

  test.each(cases)('%s, with mincore alone', async (name, size, written, found) => {
    const path = file(`${name} again`, size, written);
    expect(ranges(await openMincore(), path)).toEqual({ answer: 'answered', found });
  });

  test('asking does not change the time of access', async () => {
    const path = file('untouched', 10 * page, [[2, 1]]);
    const before = statSync(path, { bigint: true }).atimeNs;
    ranges(now, path);
    ranges(await openMincore(), path);
    expect(statSync(path, { bigint: true }).atimeNs).toBe(before);
  });

  test('a file that has gone', () => {
    const path = file('gone', page, [[0, 1]]);
    const stats = lstatSync(path);
    rmSync(path);
    expect(now.ask(path, stats, () => expect.unreachable())).toBe('failed');
  });

  test.skipIf(process.geteuid?.() !== 0)('somebody else’s file is denied, not guessed at', async () => {
    const path = file('theirs', 20 * page, [[4, 1]]);
    chmodSync(path, 0o644);
    const closed = file('closed', 20 * page, [[4, 1]]);
    chmodSync(closed, 0o600);
    process.seteuid?.(65534);
    try {
      const denied = { answer: 'denied', found: [] };
      for (const residency of [(await openResidency()) as Residency, await openMincore()]) {
        expect(ranges(residency, path)).toEqual(denied);
        expect(ranges(residency, closed)).toEqual(denied);
      }
    } finally {
      process.seteuid?.(0);
    }
  });
});

test.skipIf(process.platform !== 'linux' || process.arch !== 'x64')('works here, or says what is missing', () => {
  if (typeof asked === 'string')
    expect(asked).toBe('needs the optional package koffi, which is not installed or does not run here');
  else expect([4096, 16384, 65536]).toContain(asked.pageSize);
});
