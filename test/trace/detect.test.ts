import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { detect, formatOf, openTrace } from '../../src/trace/detect.ts';
import { root } from '../../tools/sources.ts';
import { usual, writeZipf } from '../../tools/zipf.ts';
import { drain } from './rows.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-detect-'));
afterAll(() => rmSync(folder, { recursive: true }));
const format = (name: string, data: Uint8Array | string) => formatOf(memoryBytes(name, data));

describe('by content', () => {
  test('scripts and logs, whatever they are called', () => {
    expect(format('x', '#quire-ops 1\n')).toBe('ops');
    expect(format('x', '7 close(3) = 0\n')).toBe('strace');
    expect(format('x.ops', '7 close(3) = 0\n')).toBe('strace');
    expect(format('x', 'strace: Process 7 attached\n[pid 7] 12:00:00 read(3, "", 5) = 0 <0.1>\n')).toBe('strace');
    for (const name of ['calls', 'sqlite-ttt', 'git-commit']) {
      expect(format('x', readFileSync(`${root}golden/traces/${name}.strace`))).toBe('strace');
      expect(format('x', readFileSync(`${root}golden/traces/${name}.ops`))).toBe('ops');
    }
  });

  test('what is called a script is one, and gets the script reader’s message', () => {
    expect(format('x.ops', 'hello\n')).toBe('ops');
    expect(format('x.ops', '')).toBe('ops');
  });

  test('oracleGeneral by name', () => {
    expect(format('cluster.oracleGeneral', new Uint8Array(48))).toBe('oracleGeneral');
    expect(format('w.oracleGeneral.bin', new Uint8Array(48))).toBe('oracleGeneral');
  });

  test.each([
    ['x', '', 'x: empty file, expected an ops script'],
    ['x', 'hello\n', 'x: no recording that Quire knows, expected an ops script'],
    ['x', new Uint8Array(48), 'x: no recording that Quire knows (oracleGeneral is known by its name), expected'],
    [
      'x.oracleGeneral.zst',
      new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0, 0]),
      'packed by zstd, expected a recording: unpack',
    ],
    ['x', new Uint8Array([0x1f, 0x8b, 8]), 'packed by gzip'],
    ['x.c', 'int main(void) {\n  return f(1, 2) == 3;\n}\n', 'no recording that Quire knows'],
  ])('%s %#', (name, data, expected) => {
    expect(() => format(name, data)).toThrow(expected);
  });
});

test('files are opened by the reader of their format', () => {
  const path = join(folder, 'z.oracleGeneral');
  writeZipf(path, { ...usual, objects: 10, requests: 100 });
  expect(drain(openTrace(path))).toBe(102);
  expect(drain(openTrace(`${root}golden/traces/calls.ops`))).toBe(
    drain(openTrace(`${root}golden/traces/calls.strace`)),
  );
  expect(() => openTrace(join(folder, 'none'))).toThrow('no such file');
  writeFileSync(join(folder, 'bad.ops'), 'sync\n');
  expect(detect(join(folder, 'bad.ops'))).toBe('ops');
  expect(() => openTrace(join(folder, 'bad.ops'))).toThrow('bad.ops:1: the first line is "sync"');
});
