import { expect, test } from 'vitest';
import { cpuNamed } from '../../src/arch/cpus.ts';
import { arm64_4k, x86_64 } from '../../src/arch/pgtable.ts';
import { flushTlbMm, flushTlbRange, tlbFlushes } from '../../src/arch/tlbflush.ts';

const PAGE = 4096;

test('x86: one by one up to 33 entries, then everything; 33 PMD leaves are 66 MiB', () => {
  const f = tlbFlushes(cpuNamed('zen4'), x86_64);
  expect(flushTlbRange(f, 0, 33 * PAGE, 12)).toBe(false);
  expect([f.single, f.full]).toEqual([33, 0]);
  expect(flushTlbRange(f, 0, 34 * PAGE, 12)).toBe(true);
  expect([f.single, f.full]).toEqual([33, 1]);
  expect(flushTlbRange(f, 0, 66 * 2 ** 20, 21)).toBe(false);
  expect([f.single, f.full]).toEqual([66, 1]);
  flushTlbMm(f);
  expect([f.flushes, f.full]).toEqual([4, 2]);
});

test('arm64: by ranges, a page that is left over by itself', () => {
  const f = tlbFlushes(cpuNamed('neoverse-v2'), arm64_4k);
  flushTlbRange(f, 0, PAGE, 12);
  expect([f.single, f.range]).toEqual([1, 0]);
  // 2 pages at scale 0; 64 at scale 1; 65 is 64 and one.
  flushTlbRange(f, 0, 2 * PAGE, 12);
  expect([f.single, f.range]).toEqual([1, 1]);
  flushTlbRange(f, 0, 65 * PAGE, 12);
  expect([f.single, f.range]).toEqual([2, 2]);
  // 2^21 pages, the most that one flush names: 31 + 1 units of 2^16.
  expect(flushTlbRange(f, 0, 2 ** 21 * PAGE, 12)).toBe(false);
  expect(flushTlbRange(f, 0, (2 ** 21 + 1) * PAGE, 12)).toBe(true);
});

test('arm64 without ranges: everything from 512 entries on', () => {
  const f = tlbFlushes(cpuNamed('neoverse-n1'), arm64_4k, false);
  expect(flushTlbRange(f, 0, 511 * PAGE, 12)).toBe(false);
  expect(flushTlbRange(f, 0, 512 * PAGE, 12)).toBe(true);
  expect([f.single, f.range, f.full]).toEqual([511, 0, 1]);
});
