import { describe, expect, test } from 'vitest';
import { type PageTableGeometry, pageTableGeometries, tableSpan } from '../../src/arch/pgtable.ts';
import { Prng } from '../../src/base/prng.ts';
import { entryIndex } from './tables.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const GIB = KIB * MIB;

describe.each(pageTableGeometries)('$name', (g) => {
  test('levels meet: an entry spans the table below it, and the top one covers user space', () => {
    expect(g.levels[0].shift).toBe(g.pageShift);
    for (let n = 1; n < g.levels.length; n++) expect(2 ** g.levels[n].shift).toBe(tableSpan(g, n - 1));
    expect(g.levels.at(-1)?.name).toBe('PGD');
    expect(tableSpan(g, g.levels.length - 1)).toBeGreaterThanOrEqual(g.userEnd);
  });

  test('tables below the top one fill a page', () => {
    for (const { bits } of g.levels.slice(0, -1)) expect(2 ** bits * g.entryBytes).toBe(2 ** g.pageShift);
  });

  test('indices spell the address, by exact arithmetic', () => {
    const random = new Prng(1);
    for (let i = 0; i < 2000; i++) {
      const addr = Math.floor(random.float() * 2 ** random.between(13, 52)) % g.userEnd;
      for (let n = 0; n < g.levels.length; n++) {
        const { shift, bits } = g.levels[n];
        const exact = Number((BigInt(addr) >> BigInt(shift)) & ((1n << BigInt(bits)) - 1n));
        expect(entryIndex(g, n, addr)).toBe(exact);
      }
    }
  });
});

/** Sizes that one translation can have, in bytes, smallest first: leaves, and groups of leaves where a hint joins them. */
function translationSizes(g: PageTableGeometry): number[] {
  const sizes: number[] = [];
  for (const [n, { leaf, shift }] of g.levels.entries()) {
    if (!leaf) continue;
    sizes.push(2 ** shift);
    const group = n === 0 ? g.contPtes : n === 1 ? g.contPmds : 1;
    if (group > 1) sizes.push(2 ** shift * group);
  }
  return sizes.sort((a, b) => a - b);
}

test('sizes of translations', () => {
  const sizes = Object.fromEntries(pageTableGeometries.map((g) => [g.name, translationSizes(g)]));
  expect(sizes).toEqual({
    x86_64: [4 * KIB, 2 * MIB, GIB],
    'x86_64-la57': [4 * KIB, 2 * MIB, GIB],
    'arm64-4k': [4 * KIB, 64 * KIB, 2 * MIB, 32 * MIB, GIB],
    'arm64-16k': [16 * KIB, 2 * MIB, 32 * MIB, GIB],
    'arm64-64k': [64 * KIB, 2 * MIB, 512 * MIB, 16 * GIB],
  });
});
