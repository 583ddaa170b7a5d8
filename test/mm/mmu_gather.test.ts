import { describe, expect, test } from 'vitest';
import { arm64_4k, type PageTableGeometry, x86_64 } from '../../src/arch/pgtable.ts';
import { END } from '../../src/arch/tlb.ts';
import { tlbFlushes } from '../../src/arch/tlbflush.ts';
import type { FileId, MmId, VmaId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { handleMmFault } from '../../src/mm/memory.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { doMmap, doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from '../../src/mm/mremap.ts';
import { accessPage } from '../../src/mm/pgtable.ts';
import { release } from '../../src/mm/release.ts';
import { thpStore } from '../../src/mm/thp.ts';
import { VM_READ, VM_WRITE, vmaLookup } from '../../src/mm/vma.ts';

const PAGE = 4096;
const HUGE = 2 ** 21;
const at = 0x7f0000000000;
const RW = VM_READ | VM_WRITE;

interface World {
  readonly m: Machine;
  readonly mm: MmId;
  /** What was flushed since it was last asked. */
  said(): string[];
}

function world(g: PageTableGeometry, thp: 'never' | 'always' = 'never'): World {
  const m = machine({
    release: release('6.18'),
    pageSize: PAGE,
    memory: 512 * 2 ** 20,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
    pageTables: g,
  });
  thpStore(m, 'all', 'never');
  thpStore(m, '2m', thp);
  const mm = mmAlloc(m);
  mapAll(m, mm);
  const tlb = tlbFlushes({ arch: g.name.startsWith('arm') ? 'arm64' : 'x86_64' }, g);
  const log: string[] = [];
  tlb.loaded = mm;
  tlb.forget = (who, start, end, tables) =>
    log.push(
      end === END ? `all of ${who}` : `${(start - at) / PAGE}+${(end - start) / PAGE}${tables ? ' tables' : ''}`,
    );
  m.tlb = tlb;
  return { m, mm, said: () => log.splice(0) };
}
function mapAll(m: Machine, mm: MmId): void {
  const flags = RW | (RW << 4);
  doMmap(m, mm, { addr: at, length: 16 * HUGE, flags, file: 0 as FileId, pgoff: 0 });
}
function store(m: Machine, mm: MmId, page: number, n = 1): void {
  for (let i = 0; i < n; i++) {
    const addr = at + (page + i) * PAGE;
    if (!accessPage(m, mm, addr, true)) handleMmFault(m, mm, vmaLookup(m, mm, addr) as VmaId, addr, true);
    expect(accessPage(m, mm, addr, true)).toBe(true);
  }
}

describe('x86', () => {
  test('faults that only add say nothing; advice flushes from the first page that went to the last', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 10, 5);
    expect(said()).toEqual([]);
    madvise(m, mm, at, 512 * PAGE - PAGE, 'dontneed');
    expect(said()).toEqual(['10+5']);
    expect([m.tlb?.single, m.tlb?.full]).toEqual([5, 0]);
    // The table goes, then nothing is left to flush.
    madvise(m, mm, at, 512 * PAGE, 'dontneed');
    expect(said()).toEqual(['0+1 tables']);
    madvise(m, mm, at, 512 * PAGE, 'dontneed');
    expect(said()).toEqual([]);
  });

  test('more than 33 pages are flushed as a whole, 33 huge pages are not', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 0, 34);
    madvise(m, mm, at, HUGE - PAGE, 'dontneed');
    expect(said()).toEqual([`all of ${mm}`]);
    expect([m.tlb?.single, m.tlb?.full]).toEqual([0, 1]);
    const w = world(x86_64, 'always');
    store(w.m, w.mm, 0);
    store(w.m, w.mm, 512);
    madvise(w.m, w.mm, at, 2 * HUGE, 'dontneed');
    expect(w.said()).toEqual(['0+1024']);
    expect([w.m.tlb?.single, w.m.tlb?.full]).toEqual([2, 0]);
  });

  test('munmap of two areas is one flush, with the tables', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 510);
    store(m, mm, 514);
    doMprotect(m, mm, at, HUGE, VM_READ);
    said();
    doMunmap(m, mm, at, 16 * HUGE);
    expect(said()).toEqual([`all of ${mm}`]);
    // Pages and tables near each other are named one by one.
    mapAll(m, mm);
    store(m, mm, 0, 2);
    doMunmap(m, mm, at, 2 * PAGE);
    expect(said()).toEqual(['0+2']);
  });

  test('mprotect: only what loses or gains the right to write', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 3, 2);
    doMprotect(m, mm, at, HUGE, VM_READ);
    expect(said()).toEqual(['3+2']);
    doMprotect(m, mm, at, HUGE, 0);
    expect(said()).toEqual(['3+2']);
    // Entries without access have no translation.
    doMprotect(m, mm, at, HUGE, VM_READ);
    expect(said()).toEqual([]);
  });

  test('fork flushes all; then a copy flushes its page, and a page that is only reused nothing', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 7);
    const child = dupMm(m, mm);
    expect(said()).toEqual([`all of ${mm}`]);
    store(m, mm, 7);
    expect(said()).toEqual(['7+1']);
    // The child does not run: its translations go, and it costs nothing.
    const { single, full } = m.tlb ?? { single: -1, full: -1 };
    store(m, child, 7);
    expect(said()).toEqual([]);
    doMunmap(m, child, at, HUGE);
    expect(said()).toEqual([`all of ${child}`]);
    mmput(m, child);
    expect([m.tlb?.single, m.tlb?.full]).toEqual([single, full]);
  });

  test('a PMD that is split flushes all, as a range of 512 pages', () => {
    const { m, mm, said } = world(x86_64, 'always');
    store(m, mm, 0);
    madvise(m, mm, at + PAGE, PAGE, 'dontneed');
    expect(said()).toEqual([`all of ${mm}`, '1+1']);
  });

  test('mremap flushes where pages were', () => {
    const { m, mm, said } = world(x86_64);
    store(m, mm, 1, 2);
    mremap(m, mm, at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at - 64 * PAGE);
    expect(said()[0]).toBe('0+4 tables');
  });
});

describe('arm64', () => {
  test('a page that becomes writable by a fault is flushed; other address spaces are too', () => {
    const { m, mm, said } = world(arm64_4k);
    store(m, mm, 7);
    const child = dupMm(m, mm);
    said();
    store(m, mm, 7);
    expect(said()).toEqual(['7+1']);
    store(m, child, 7);
    expect(said()).toEqual(['7+1']);
    doMunmap(m, child, at, HUGE);
    expect(said()).toHaveLength(1);
    mmput(m, child);
  });

  test('a PMD that is split is one instruction, and so is the block of its entries that is cut then', () => {
    const { m, mm, said } = world(arm64_4k, 'always');
    store(m, mm, 0);
    const before = (m.tlb?.single ?? 0) + (m.tlb?.range ?? 0);
    madvise(m, mm, at + PAGE, PAGE, 'dontneed');
    expect(said()).toEqual(['0+512 tables', '0+16 tables', '1+1']);
    expect((m.tlb?.single ?? 0) + (m.tlb?.range ?? 0) - before).toBe(3);
    expect(m.tlb?.full).toBe(0);
  });
});
