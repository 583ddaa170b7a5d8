/** Map counts of single folios, by hand: who owns a folio, and when it counts as shared. */
import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { folioTestDeferred, folioTestPartiallyMapped } from '../../src/mm/deferred_split.ts';
import type { FolioId, MmId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { FOLIO_WORDS, folioPfn, pageFolio } from '../../src/mm/mm_types.ts';
import { dupMm, mmput } from '../../src/mm/mmap.ts';
import {
  folioAveragePageMapcount,
  folioEntireMapcount,
  folioMapcount,
  folioMaybeMappedShared,
  folioPrecisePageMapcount,
  pageAnonExclusive,
} from '../../src/mm/rmap.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { MTHP, mthpStat } from '../../src/mm/thp.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, memoryWorld, touch } from './memory_world.ts';

const A = 2 ** 40;

function folio(m: Machine, mm: MmId, addr: number): FolioId {
  return pageFolio(m.map, frameAt(m, mm, addr) as Pfn);
}

/** A:4 B:4 T=8 shared 1. */
function owners(m: Machine, f: FolioId, names: ReadonlyMap<number, string>): string {
  const w = f * FOLIO_WORDS;
  const slots: string[] = [];
  for (let i = 0; i < 2; i++) {
    const id = m.map[w + m.map.mmId + i] & 0x7fffffff;
    if (id !== 0) slots.push(`${names.get(id)}:${m.map[w + m.map.mmIdMapcount + i] + 1}`);
  }
  return `${slots.join(' ')} T=${folioMapcount(m, f)} shared ${folioMaybeMappedShared(m, f) ? 1 : 0}`;
}

describe('who owns a folio of four pages', () => {
  function world() {
    const { m, mm } = memoryWorld({ '16k': 'always' });
    area({ m, mm }, A, A + 4 * 4096);
    touch(m, mm, A, true);
    const f = folio(m, mm, A);
    const names = new Map<number, string>([[mm, 'A']]);
    const fork = (from: MmId, name: string): MmId => {
      const child = dupMm(m, from);
      names.set(child, name);
      return child;
    };
    return { m, mm, f, fork, say: () => owners(m, f, names) };
  }

  test('two address spaces', () => {
    const { m, mm, fork, say } = world();
    expect(say()).toBe('A:4 T=4 shared 0');
    const b = fork(mm, 'B');
    expect(say()).toBe('A:4 B:4 T=8 shared 1');
    madvise(m, b, A, 4096, 'dontneed');
    expect(say()).toBe('A:4 B:3 T=7 shared 1');
    mmput(m, b);
    expect(say()).toBe('A:4 T=4 shared 0');
  });

  test('a third one finds no slot', () => {
    const { m, mm, fork, say } = world();
    const b = fork(mm, 'B');
    const c = fork(mm, 'C');
    expect(say()).toBe('A:4 B:4 T=12 shared 1');
    mmput(m, b);
    expect(say()).toBe('A:4 T=8 shared 1');
    mmput(m, c);
    expect(say()).toBe('A:4 T=4 shared 0');
    lruAddDrain(m);
    checkMachine(m, true);
  });
});

describe('a huge page', () => {
  function world(noPageMapcount = false) {
    const { m, mm } = memoryWorld({ top: 'always' });
    (m.config as { noPageMapcount?: boolean }).noPageMapcount = noPageMapcount;
    area({ m, mm }, A, A + 2 ** 21);
    touch(m, mm, A, true);
    return { m, mm, f: folio(m, mm, A) };
  }

  test('is mapped once by its PMD, then by 512 PTEs', () => {
    const { m, mm, f } = world();
    expect([
      folioMapcount(m, f),
      folioEntireMapcount(m, f),
      folioPrecisePageMapcount(m, f, (folioPfn(m.map, f) + 7) as Pfn),
    ]).toEqual([1, 1, 1]);
    expect(pageAnonExclusive(m, f, folioPfn(m.map, f))).toBe(true);
    expect([m.vmstat[V.nr_anon_pages], m.vmstat[V.nr_anon_transparent_hugepages]]).toEqual([512, 1]);
    madvise(m, mm, A + 4096, 4096, 'dontneed');
    expect([folioMapcount(m, f), folioEntireMapcount(m, f)]).toEqual([511, 0]);
    expect(folioPrecisePageMapcount(m, f, (folioPfn(m.map, f) + 1) as Pfn)).toBe(0);
    expect(pageAnonExclusive(m, f, (folioPfn(m.map, f) + 7) as Pfn)).toBe(true);
    expect([m.vmstat[V.nr_anon_pages], m.vmstat[V.nr_anon_transparent_hugepages]]).toEqual([511, 0]);
    expect([folioTestPartiallyMapped(m, f), folioTestDeferred(m, f)]).toEqual([true, true]);
    expect([m.vmstat[V.thp_split_pmd], m.vmstat[V.thp_deferred_split_page]]).toEqual([1, 1]);
    expect(mthpStat(m, 9, MTHP.nr_anon_partially_mapped)).toBe(1);
    mmput(m, mm);
    expect(mthpStat(m, 9, MTHP.nr_anon_partially_mapped)).toBe(0);
    checkMachine(m, true);
  });

  test('without counts by page, all of it counts as mapped while one page is', () => {
    const { m, mm, f } = world(true);
    madvise(m, mm, A, 500 * 4096, 'dontneed');
    expect(m.vmstat[V.nr_anon_pages]).toBe(512);
    expect([folioMapcount(m, f), folioAveragePageMapcount(m, f)]).toEqual([12, 1]);
    expect(folioTestPartiallyMapped(m, f)).toBe(true);
    madvise(m, mm, A, 2 ** 21, 'dontneed');
    expect(m.vmstat[V.nr_anon_pages]).toBe(0);
    checkMachine(m, true);
  });
});
