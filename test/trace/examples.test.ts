/** The recordings that are shipped, and the truths beside them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openOps } from '../../src/trace/ops.ts';
import { root } from '../../tools/sources.ts';
import { drain } from './rows.ts';

const scripts = readdirSync(`${root}examples`).filter((name) => name.endsWith('.ops'));
const readme = readFileSync(`${root}examples/README.md`, 'utf8');
const KPF_BUDDY = 1 << 10;

interface Truth {
  readonly script: string;
  readonly files: Record<string, [string, number]>;
  readonly folios: Record<string, [index: number, order: number, flags: number][]>;
  readonly summary: Record<string, number>;
}

test('there are five or more', () => {
  expect(scripts.length).toBeGreaterThanOrEqual(5);
});

describe.each(scripts)('%s', (name) => {
  const path = `${root}examples/${name}`;
  const truth = JSON.parse(
    readFileSync(`${root}golden/linux-6.18/examples/${name.replace(/\.ops$/, '.json')}`, 'utf8'),
  ) as Truth;

  test('is small, runs on the live tool, and is described with its figures', () => {
    expect(statSync(path).size).toBeLessThan(2 * 1024 * 1024);
    const source = openOps(path);
    const operations = drain(source);
    source.close();
    const bytes = source.files.reduce((sum, f) => sum + f.size, 0);
    expect(bytes).toBeLessThan(2 ** 30);
    expect(source.files.every((f) => f.id < 4096)).toBe(true);
    const n = (value: number) => value.toLocaleString('en-US');
    const row = readme.split('\n').find((line) => line.startsWith(`| \`${name}\``)) ?? '';
    expect(row).toContain(`| ${n(operations)} | ${n(source.files.length)}, ${Math.round(bytes / 2 ** 20)} MiB |`);
  });

  test('its truth is of the same files, and nothing in it had gone before it was read', () => {
    const source = openOps(path);
    source.close();
    expect(truth.script).toBe(name);
    expect(truth.files).toEqual(Object.fromEntries(source.files.map((f) => [f.id, [f.name, f.size]])));
    expect(truth.summary.deleted_by_kdamond).toBe(0);
    const gone = Object.values(truth.folios)
      .flat()
      .filter(([, , flags]) => flags === 0 || (flags & KPF_BUDDY) !== 0);
    expect(gone).toEqual([]);
  });
});
