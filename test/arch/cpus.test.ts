import { expect, test } from 'vitest';
import { cpuNamed, cpus } from '../../src/arch/cpus.ts';
import { arm64_4k, arm64_16k, arm64_64k, x86_64, x86_64_la57 } from '../../src/arch/pgtable.ts';
import { tlb } from '../../src/arch/tlb_build.ts';
import * as walk from '../../src/arch/walk.ts';
import * as pgtable from '../../src/mm/pgtable.ts';

test('every CPU has a TLB for its page tables, a source, and says what is assumed', () => {
  for (const cpu of cpus) {
    const tables = cpu.arch === 'x86_64' ? [x86_64, x86_64_la57] : [arm64_4k, arm64_16k, arm64_64k];
    for (const g of tables) expect(tlb(cpu, g).classes.length, `${cpu.name} ${g.name}`).toBeGreaterThan(2);
    expect(cpu.source).not.toBe('');
    expect(cpu.assumed.length).toBeGreaterThan(0);
  }
  expect(new Set(cpus.map((c) => c.name)).size).toBe(cpus.length);
});

test('a name that is not known, and pages that a CPU does not have', () => {
  expect(() => cpuNamed('zen9')).toThrow(/^cpu 'zen9' is not known: expected one of zen3, zen4/);
  expect(() => tlb(cpuNamed('zen4'), arm64_16k)).toThrow("cpu 'zen4' has no pages of 16 KiB, as arm64-16k needs");
});

test('walks read the flags that page tables have', () => {
  expect([walk.PRESENT, walk.RW, walk.ACCESSED, walk.DIRTY, walk.LEAF, walk.CONT]).toEqual([
    pgtable._PAGE_PRESENT,
    pgtable._PAGE_RW,
    pgtable._PAGE_ACCESSED,
    pgtable._PAGE_DIRTY,
    pgtable._PAGE_PSE,
    pgtable.PTE_CONT,
  ]);
});
