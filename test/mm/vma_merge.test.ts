/** When areas become one, and when they are cut. */
import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import type { FileId, MmId, VmaId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { handleMmFault } from '../../src/mm/memory.ts';
import { doMlock } from '../../src/mm/mlock_vma.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { doMmap, doMunmap, dupMm, getUnmappedArea, mmput } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from '../../src/mm/mremap.ts';
import { accessPage, pmdLeaf, pmdOffset, tablesByLevel } from '../../src/mm/pgtable.ts';
import { release } from '../../src/mm/release.ts';
import { thpStore } from '../../src/mm/thp.ts';
import { VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_WRITE, vmaLookup } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';

const PAGE = 4096;
const HUGE = 2 ** 21;
const AT = 2 ** 40;
const RW = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE;
const R = VM_READ | VM_MAYREAD | VM_MAYWRITE;

class World {
  readonly m: Machine;
  readonly mm: MmId;
  constructor(thp: Record<string, string> = {}) {
    this.m = machine({
      release: release('6.18'),
      pageSize: PAGE,
      memory: 2 ** 28,
      thp: true,
      swappiness: 60,
      dirtyRatio: 20,
      dirtyBackgroundRatio: 10,
    });
    for (const [name, value] of Object.entries(thp)) thpStore(this.m, name, value);
    this.mm = mmAlloc(this.m);
  }
  map(page: number, pages: number, flags = RW): void {
    const at = doMmap(this.m, this.mm, {
      addr: AT + page * PAGE,
      length: pages * PAGE,
      flags,
      file: 0 as FileId,
      pgoff: 0,
    });
    expect(at).toBe(AT + page * PAGE);
  }
  unmap(page: number, pages: number): void {
    expect(doMunmap(this.m, this.mm, AT + page * PAGE, pages * PAGE)).toBe(0);
  }
  protect(page: number, pages: number, prot: number): void {
    expect(doMprotect(this.m, this.mm, AT + page * PAGE, pages * PAGE, prot)).toBe(0);
  }
  write(page: number): void {
    const { m, mm } = this;
    const addr = AT + page * PAGE;
    while (!accessPage(m, mm, addr, true)) expect(handleMmFault(m, mm, vmaLookup(m, mm, addr), addr, true)).toBe(0);
  }
  /** First page and pages of each area. */
  areas(): [number, number][] {
    const { mms, vmas } = this.m;
    return Array.from(mms.sorted[this.mm].subarray(0, mms.nrVmas[this.mm]), (vma) => [
      (vmas.start[vma] - AT) / PAGE,
      (vmas.end[vma] - vmas.start[vma]) / PAGE,
    ]);
  }
  area(page: number): VmaId {
    return vmaLookup(this.m, this.mm, AT + page * PAGE);
  }
  huge(page: number): boolean {
    const pmd = pmdOffset(this.m, this.mm, AT + page * PAGE);
    return pmd >= 0 && pmdLeaf(this.m, pmd);
  }
  check(): void {
    checkMachine(this.m, true);
  }
}

describe('new areas', () => {
  test('join neighbours with the same rights, on both sides', () => {
    const w = new World();
    w.map(0, 4);
    w.map(8, 4);
    expect(w.areas()).toEqual([
      [0, 4],
      [8, 4],
    ]);
    w.map(4, 4);
    expect(w.areas()).toEqual([[0, 12]]);
    w.map(12, 4, R);
    expect(w.areas()).toEqual([
      [0, 12],
      [12, 4],
    ]);
    w.check();
  });

  test('do not join areas whose anonymous memory has different roots', () => {
    const w = new World();
    w.map(0, 4);
    w.map(8, 4);
    w.write(0);
    w.write(8);
    expect(w.m.vmas.anonVma[w.area(0)]).not.toBe(w.m.vmas.anonVma[w.area(8)]);
    w.map(4, 4);
    expect(w.areas()).toEqual([
      [0, 8],
      [8, 4],
    ]);
    w.check();
  });

  test('an area without anonymous memory takes that of the one it joins', () => {
    const w = new World();
    w.map(0, 4);
    w.map(8, 4);
    w.write(8);
    const own = w.m.vmas.anonVma[w.area(8)];
    w.map(4, 4);
    expect(w.areas()).toEqual([[0, 12]]);
    expect(w.m.vmas.anonVma[w.area(0)]).toBe(own);
    w.check();
  });

  test('do not join what a fork has copied', () => {
    const w = new World();
    w.map(0, 4);
    w.write(0);
    const child = dupMm(w.m, w.mm);
    const at = doMmap(w.m, child, { addr: AT + 4 * PAGE, length: PAGE, flags: RW, file: 0 as FileId, pgoff: 0 });
    expect(at).toBe(AT + 4 * PAGE);
    expect(w.m.mms.nrVmas[child]).toBe(2);
    w.check();
    mmput(w.m, child);
    w.map(4, 1);
    expect(w.areas()).toEqual([[0, 5]]);
    w.check();
  });
});

describe('changes', () => {
  test('cut an area and join it again', () => {
    const w = new World();
    w.map(0, 12);
    w.write(5);
    w.protect(4, 4, VM_READ);
    expect(w.areas()).toEqual([
      [0, 4],
      [4, 4],
      [8, 4],
    ]);
    w.protect(2, 4, VM_READ);
    expect(w.areas()).toEqual([
      [0, 2],
      [2, 6],
      [8, 4],
    ]);
    w.protect(6, 2, VM_READ | VM_WRITE);
    expect(w.areas()).toEqual([
      [0, 2],
      [2, 4],
      [6, 6],
    ]);
    w.protect(2, 4, VM_READ | VM_WRITE);
    expect(w.areas()).toEqual([[0, 12]]);
    w.check();
  });

  test('memory that was never touched counts as accounted only while it is writable, and so joins', () => {
    const w = new World();
    w.map(0, 4, R);
    w.map(4, 4);
    w.protect(4, 4, VM_READ);
    expect(w.areas()).toEqual([[0, 8]]);
    w.map(16, 4, R);
    w.map(20, 4);
    w.write(20);
    w.protect(20, 4, VM_READ);
    expect(w.areas().slice(1)).toEqual([
      [16, 4],
      [20, 4],
    ]);
    w.check();
  });

  test('rights that come back are there at once for pages of one process, and not for shared ones', () => {
    const w = new World();
    w.map(0, 4);
    for (const page of [0, 1]) w.write(page);
    const child = dupMm(w.m, w.mm);
    w.write(0);
    w.protect(0, 4, VM_READ);
    expect(accessPage(w.m, w.mm, AT, true)).toBe(false);
    w.protect(0, 4, VM_READ | VM_WRITE);
    expect(accessPage(w.m, w.mm, AT, true)).toBe(true);
    expect(accessPage(w.m, w.mm, AT + PAGE, true)).toBe(false);
    mmput(w.m, child);
    w.check();
  });

  test('a cut inside a huge page splits its entry and leaves the folio', () => {
    const w = new World({ '2048kB': 'always' });
    w.map(0, 1024);
    w.write(0);
    w.write(512);
    expect([w.huge(0), w.huge(512)]).toEqual([true, true]);
    expect(madvise(w.m, w.mm, AT + 100 * PAGE, 700 * PAGE, 'sequential')).toBe(0);
    expect(w.areas()).toHaveLength(3);
    expect([w.huge(0), w.huge(512)]).toEqual([false, false]);
    expect(w.m.vmstat[V.thp_split_pmd]).toBe(2);
    expect(w.m.vmstat[V.thp_split_page]).toBe(0);
    w.check();
    expect(madvise(w.m, w.mm, AT + 512 * PAGE, 512 * PAGE, 'normal')).toBe(0);
    w.check();
  });

  test('locked memory is counted, through cuts and holes', () => {
    const w = new World();
    w.map(0, 16);
    for (const page of [3, 5]) w.write(page);
    expect(doMlock(w.m, w.mm, AT + 2 * PAGE, 8 * PAGE, true)).toBe(0);
    expect(w.m.mms.lockedVm[w.mm]).toBe(8);
    w.unmap(4, 2);
    expect(w.m.mms.lockedVm[w.mm]).toBe(6);
    expect(doMlock(w.m, w.mm, AT, 4 * PAGE, false)).toBe(0);
    expect(w.m.mms.lockedVm[w.mm]).toBe(4);
    expect(w.m.vmstat[V.nr_mlock]).toBe(0);
    w.check();
  });
});

describe('mremap', () => {
  test('grows in place where it can, moves where it must', () => {
    const w = new World();
    w.map(0, 4);
    w.write(3);
    expect(mremap(w.m, w.mm, AT, 4 * PAGE, 8 * PAGE, 0, 0)).toBe(AT);
    expect(w.areas()).toEqual([[0, 8]]);
    w.map(8, 1, R);
    expect(mremap(w.m, w.mm, AT, 8 * PAGE, 9 * PAGE, 0, 0)).toBeLessThan(0);
    const to = mremap(w.m, w.mm, AT, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE, 0);
    expect(to).toBeGreaterThan(AT);
    expect(accessPage(w.m, w.mm, to + 3 * PAGE, true)).toBe(true);
    expect(accessPage(w.m, w.mm, AT + 3 * PAGE, false)).toBe(false);
    w.check();
  });

  test('moves whole tables and huge entries when both places are aligned', () => {
    const w = new World({ '2048kB': 'always' });
    w.map(0, 1024);
    w.write(0);
    expect(madvise(w.m, w.mm, AT + HUGE, HUGE, 'nohugepage')).toBe(0);
    w.write(512);
    const tables = tablesByLevel(w.m, w.mm);
    const to = AT + 8 * HUGE;
    for (const part of [0, HUGE])
      expect(mremap(w.m, w.mm, AT + part, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + part)).toBe(to + part);
    expect(tablesByLevel(w.m, w.mm)).toEqual(tables);
    expect(w.huge(8 * 512)).toBe(true);
    expect(w.m.vmstat[V.thp_split_pmd]).toBe(0);
    w.check();
    // Half a page further: the entry is split, the folio stays.
    const odd = AT + 12 * HUGE + PAGE;
    expect(mremap(w.m, w.mm, to, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, odd)).toBe(odd);
    expect(w.m.vmstat[V.thp_split_pmd]).toBe(1);
    expect(accessPage(w.m, w.mm, odd + HUGE - PAGE, true)).toBe(true);
    w.check();
  });

  test('can leave the old area behind, empty', () => {
    const w = new World();
    w.map(0, 4);
    w.write(1);
    const to = AT + 100 * PAGE;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    expect(mremap(w.m, w.mm, AT, 4 * PAGE, 4 * PAGE, flags, to)).toBe(to);
    expect(w.areas()).toEqual([
      [0, 4],
      [100, 4],
    ]);
    expect(accessPage(w.m, w.mm, to + PAGE, true)).toBe(true);
    expect(accessPage(w.m, w.mm, AT + PAGE, false)).toBe(false);
    w.write(1);
    w.check();
  });
});

describe('placement', () => {
  test('from the top down, in the highest gap that fits', () => {
    const { m, mm } = new World();
    const top = m.mms.mmapBase[mm];
    const map = (length: number): number => doMmap(m, mm, { addr: -1, length, flags: RW, file: 0 as FileId, pgoff: 0 });
    const a = map(3 * PAGE);
    expect(a).toBe(top - 3 * PAGE);
    const b = map(5 * PAGE);
    expect(b).toBe(a - 5 * PAGE);
    expect(doMunmap(m, mm, a, 3 * PAGE)).toBe(0);
    expect(map(4 * PAGE)).toBe(b - 4 * PAGE);
    expect(map(2 * PAGE)).toBe(top - 2 * PAGE);
  });

  test('whole huge pages of anonymous memory begin at a boundary', () => {
    const { m, mm } = new World();
    expect(getUnmappedArea(m, mm, 4 * HUGE, 0, 0) % HUGE).toBe(0);
    expect(getUnmappedArea(m, mm, 3 * 2 ** 20, 0, 0) % HUGE).not.toBe(0);
  });

  test('nothing fits: an error, not an address', () => {
    const { m, mm } = new World();
    expect(doMmap(m, mm, { addr: -1, length: 2 ** 48, flags: RW, file: 0 as FileId, pgoff: 0 })).toBeLessThan(0);
    expect(doMmap(m, mm, { addr: 100, length: PAGE, flags: RW, file: 0 as FileId, pgoff: 0 })).toBeLessThan(0);
    expect(doMunmap(m, mm, PAGE, 0)).toBeLessThan(0);
  });
});
