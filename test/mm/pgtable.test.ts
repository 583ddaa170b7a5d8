/** Page tables of every geometry: entries come and go, tables are freed by the rules, and everything is counted. */
import { describe, expect, test } from 'vitest';
import { type PageTableGeometry, pageTableGeometries } from '../../src/arch/pgtable.ts';
import { Prng } from '../../src/base/prng.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import {
  _PAGE_PRESENT,
  freePgdRange,
  PTE_MARKER,
  pgdFree,
  pgtableTransHugeDeposit,
  pgtableTransHugeWithdraw,
  pmdAlloc,
  pmdOffset,
  pmdPopulate,
  pteAllocMap,
  pteAllocOne,
  pteClear,
  pteFlags,
  pteFree,
  pteOffset,
  ptePayload,
  setPte,
  tablesByLevel,
} from '../../src/mm/pgtable.ts';
import { release } from '../../src/mm/release.ts';
import { V } from '../../src/mm/vmstat.ts';

const world = (g: PageTableGeometry): Machine =>
  machine({
    release: release('6.18'),
    pageSize: 2 ** g.pageShift,
    memory: 2 ** g.pageShift * 8192,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
    pageTables: g,
  });

describe.each(pageTableGeometries)('$name', (g) => {
  test('random entries against a map', () => {
    const seed = 7;
    console.log(`seed ${seed}`);
    const r = new Prng(seed);
    const m = world(g);
    const mm = mmAlloc(m);
    const page = 2 ** g.pageShift;
    const model = new Map<number, number>();
    // Addresses near one another and far apart, at both ends of user space.
    const near = Array.from({ length: 12 }, () => Math.floor((r.float() * g.userEnd) / page) * page);
    near.push(0, g.userEnd - page);
    const any = (): number => {
      const at = r.pick(near) + r.pick([0, 1, 2, 511, 512, 513]) * page;
      return at < g.userEnd ? at : g.userEnd - page;
    };
    for (let i = 0; i < 2000; i++) {
      const addr = any();
      if (r.below(3) === 0) {
        const e = pteOffset(m, mm, addr);
        if (e >= 0) pteClear(m, e);
        model.delete(addr);
      } else {
        const e = pteAllocMap(m, mm, addr);
        expect(e).toBeGreaterThan(0);
        setPte(m, e, i + 1, PTE_MARKER);
        model.set(addr, i + 1);
      }
    }
    for (const addr of near.flatMap((at) => [at, at + page])) {
      const e = addr < g.userEnd ? pteOffset(m, mm, addr) : -1;
      expect(e < 0 || pteFlags(m, e) === 0 ? undefined : ptePayload(m, e)).toBe(model.get(addr));
    }
    // Tables by level: as many as there are different tables above the addresses that were ever used.
    const tables = tablesByLevel(m, mm);
    expect(tables[tables.length - 1]).toBe(1);
    const pages = tables.reduce((a, b) => a + b, 0) - 1;
    expect(m.mms.pgtablesBytes[mm]).toBe(pages * page);
    for (const addr of model.keys()) pteClear(m, pteOffset(m, mm, addr));
    freePgdRange(m, mm, 0, g.userEnd, 0, Number.POSITIVE_INFINITY);
    expect(m.mms.pgtablesBytes[mm]).toBe(0);
    expect(tablesByLevel(m, mm).reduce((a, b) => a + b, 0)).toBe(1);
    checkMms(m);
    pgdFree(m, mm);
    m.mms.pgd[mm] = 0;
    expect(m.vmstat[V.nr_page_table_pages]).toBe(0);
    checkMms(m);
  });

  test('a table goes when floor and ceiling leave it alone', () => {
    const m = world(g);
    const mm = mmAlloc(m);
    const span = 2 ** g.levels[1].shift;
    const page = 2 ** g.pageShift;
    for (const at of [0, span, 2 * span]) pteAllocMap(m, mm, at);
    const before = m.vmstat[V.nr_page_table_pages];
    // Something lies in the last page of the first table and in the first page of the third.
    freePgdRange(m, mm, span, 2 * span, span, 2 * span);
    expect(m.vmstat[V.nr_page_table_pages]).toBe(before - 1);
    freePgdRange(m, mm, 0, span - page, 0, span - page);
    expect(m.vmstat[V.nr_page_table_pages]).toBe(before - 1);
    freePgdRange(m, mm, 0, span, 0, 2 * span);
    expect(m.vmstat[V.nr_page_table_pages]).toBe(before - 2);
    checkMms(m);
  });

  test('a table that is kept ready is a page without entries', () => {
    const m = world(g);
    const mm = mmAlloc(m);
    const span = 2 ** g.levels[1].shift;
    const pmd = pmdAlloc(m, mm, 5 * span);
    const pages = m.vmstat[V.nr_page_table_pages];
    const a = pteAllocOne(m, mm);
    const b = pteAllocOne(m, mm);
    pgtableTransHugeDeposit(m, pmd, a);
    pgtableTransHugeDeposit(m, pmd, b);
    expect(m.vmstat[V.nr_page_table_pages]).toBe(pages + 2);
    expect(tablesByLevel(m, mm)[0]).toBe(2);
    checkMms(m);
    expect(pgtableTransHugeWithdraw(m, pmd)).toBe(b);
    pmdPopulate(m, pmd, b);
    const e = pteOffset(m, mm, 5 * span);
    expect(e).toBeGreaterThan(0);
    for (let i = 0; i < span / 2 ** g.pageShift; i++) expect(pteFlags(m, e + i)).toBe(0);
    checkMms(m);
    pteFree(m, mm, pgtableTransHugeWithdraw(m, pmd));
    expect(pmdOffset(m, mm, 5 * span)).toBe(pmd);
    expect(pteFlags(m, pmd) & _PAGE_PRESENT).toBe(_PAGE_PRESENT);
    checkMms(m);
  });
});
