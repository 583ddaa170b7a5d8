import { execFileSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { walk } from '../../src/lab/fit_walk.ts';

let top: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'quire-walk-'));
  chmodSync(top, 0o755);
});
afterEach(() => {
  rmSync(top, { recursive: true, force: true });
});

/** Sizes by name below `top`, and what the walk says of the rest. */
function walked(...dirs: readonly string[]) {
  const sizes: Record<string, number> = {};
  const seen = walk(dirs.length > 0 ? dirs : [top], (path, stats) => {
    sizes[path.toString().slice(top.length + 1)] = stats.size;
  });
  return { sizes, seen };
}

/** Root reads everything: what a mode forbids is tested as nobody. */
function asUser<T>(run: () => T): T {
  if (process.geteuid?.() !== 0) return run();
  process.seteuid?.(65534);
  try {
    return run();
  } finally {
    process.seteuid?.(0);
  }
}

describe('walk', () => {
  test('finds every file, at any depth, and empty ones', () => {
    mkdirSync(join(top, 'a/b/c'), { recursive: true });
    writeFileSync(join(top, 'a/b/c/deep'), 'x'.repeat(10));
    writeFileSync(join(top, 'a/two'), 'xx');
    writeFileSync(join(top, 'empty'), '');
    const { sizes, seen } = walked();
    expect(sizes).toEqual({ 'a/b/c/deep': 10, 'a/two': 2, empty: 0 });
    expect(seen).toMatchObject({ files: 3, directories: 4, symbolicLinks: 0, specials: 0 });
    expect(seen.unreadable).toEqual({ count: 0, names: [] });
  });

  test('a thousand names in one directory', () => {
    for (let i = 0; i < 1000; i++) writeFileSync(join(top, `f${i}`), '');
    expect(walked().seen.files).toBe(1000);
  });

  test('symbolic links are counted, not followed, but a DIR may be one', () => {
    mkdirSync(join(top, 'real'));
    writeFileSync(join(top, 'real/file'), 'abc');
    symlinkSync('real', join(top, 'link'));
    symlinkSync('real/file', join(top, 'link2'));
    symlinkSync('nowhere', join(top, 'dangling'));
    const { sizes, seen } = walked();
    expect(sizes).toEqual({ 'real/file': 3 });
    expect(seen.symbolicLinks).toBe(3);
    expect(walked(join(top, 'link')).sizes).toEqual({ 'link/file': 3 });
  });

  test('a file with several names counts at the first', () => {
    writeFileSync(join(top, 'one'), 'x'.repeat(7000));
    linkSync(join(top, 'one'), join(top, 'two'));
    mkdirSync(join(top, 'd'));
    linkSync(join(top, 'one'), join(top, 'd/three'));
    const { sizes, seen } = walked();
    expect(Object.values(sizes)).toEqual([7000]);
    expect(seen.hardLinks).toEqual({ names: 2, bytes: 14_000 });
  });

  test('a name outside the tree changes nothing', () => {
    mkdirSync(join(top, 'in'));
    writeFileSync(join(top, 'in/file'), 'xyz');
    linkSync(join(top, 'in/file'), join(top, 'outside'));
    const { seen } = walked(join(top, 'in'));
    expect(seen).toMatchObject({ files: 1, hardLinks: { names: 0, bytes: 0 } });
  });

  test('DIRs that overlap, repeat or go by another name count once', () => {
    mkdirSync(join(top, 'a/b'), { recursive: true });
    writeFileSync(join(top, 'a/x'), '1');
    writeFileSync(join(top, 'a/b/y'), '22');
    symlinkSync('a', join(top, 'alias'));
    for (const dirs of [
      ['a', 'a/b'],
      ['a/b', 'a'],
      ['a', 'a', 'a/', 'alias'],
    ]) {
      const { seen } = walked(...dirs.map((dir) => join(top, dir)));
      expect([dirs, seen.files, seen.directories]).toEqual([dirs, 2, 2]);
    }
  });

  test('pipes and the like are counted and left alone', () => {
    execFileSync('mkfifo', [join(top, 'pipe')]);
    expect(walked()).toMatchObject({ sizes: {}, seen: { files: 0, specials: 1 } });
  });

  test('holes are counted in full and noted', () => {
    writeFileSync(join(top, 'holes'), '');
    truncateSync(join(top, 'holes'), 2 ** 30);
    const { sizes, seen } = walked();
    expect(sizes).toEqual({ holes: 2 ** 30 });
    expect(seen.sparse).toEqual({ files: 1, bytes: 2 ** 30 });
  });

  test('names are bytes: UTF-8, broken UTF-8, control characters', () => {
    const names = [Buffer.from('größe'), Buffer.from([0xff, 0xfe, 0x61]), Buffer.from('a\n\u001b[2J')];
    for (const name of names) {
      mkdirSync(Buffer.concat([Buffer.from(`${top}/`), name]));
      writeFileSync(Buffer.concat([Buffer.from(`${top}/`), name, Buffer.from('/'), name]), '12345');
    }
    const paths: Buffer[] = [];
    const seen = walk([top], (path, stats) => {
      expect(stats.size).toBe(5);
      paths.push(Buffer.from(path as string));
    });
    expect(seen).toMatchObject({ files: 3, directories: 4, unknown: { count: 0 }, unreadable: { count: 0 } });
    const prefix = Buffer.from(`${top}/`);
    const want = names.map((name) => Buffer.concat([prefix, name, Buffer.from('/'), name]).toString('hex'));
    expect(paths.map((path) => path.toString('hex')).sort()).toEqual(want.sort());
  });

  test('a directory that may not be read is counted and named; the walk goes on', () => {
    for (const dir of ['closed', 'open']) {
      mkdirSync(join(top, dir));
      writeFileSync(join(top, dir, 'file'), 'abc');
    }
    chmodSync(join(top, 'closed'), 0);
    const { sizes, seen } = asUser(() => walked());
    chmodSync(join(top, 'closed'), 0o755);
    expect(sizes).toEqual({ 'open/file': 3 });
    expect(seen.unreadable).toEqual({ count: 1, names: [join(top, 'closed')] });
  });

  test('a directory whose entries may not be looked up: each is counted, a few are named', () => {
    mkdirSync(join(top, 'blind'));
    for (let i = 0; i < 7; i++) writeFileSync(join(top, 'blind', `f${i}`), 'abc');
    chmodSync(join(top, 'blind'), 0o444);
    const { sizes, seen } = asUser(() => walked());
    chmodSync(join(top, 'blind'), 0o755);
    expect(sizes).toEqual({});
    expect(seen.unknown.count).toBe(7);
    expect(seen.unknown.names).toHaveLength(5);
  });

  test.each([
    ['no such directory', 'missing', /missing: no such directory$/],
    ['a file', 'file', /file: not a directory$/],
    ['below a file', 'file/x', /file\/x: no such directory$/],
    ['links in a circle', 'circle', /circle: symbolic links go in a circle$/],
    ['a name too long', 'n'.repeat(300), /n: cannot be read \(ENAMETOOLONG\)$/],
  ])('%s as DIR is an error', (_, dir, message) => {
    writeFileSync(join(top, 'file'), '');
    symlinkSync('circle', join(top, 'circle'));
    expect(() => walked(join(top, dir))).toThrow(message);
  });

  test('a DIR that may not be read is an error', () => {
    const closed = join(top, 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0);
    asUser(() => expect(() => walked(closed)).toThrow(`${closed}: permission denied`));
  });
});
