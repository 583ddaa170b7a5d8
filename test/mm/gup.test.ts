/** Pins: how they count, what they forbid, and that a pinned page is the program's own. */
import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { pinUserPages, pinUserPagesFast, unpinUserPages } from '../../src/mm/gup.ts';
import { canSplitFolio } from '../../src/mm/huge_memory.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { folioRefCount, folioTest, pageFolio } from '../../src/mm/mm_types.ts';
import { dupMm, mmput } from '../../src/mm/mmap.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { pteFlags, pteOffset } from '../../src/mm/pgtable.ts';
import { folioMaybeDmaPinned, pageAnonExclusive } from '../../src/mm/rmap.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { area, frameAt, memoryWorld, orderAt, touch } from './memory_world.ts';

const A = 2 ** 40;
const HUGE = 2 ** 21;
const EAGAIN = -11;

describe('pins', () => {
  test('of a small folio are 1024 references, of a large one are counted', () => {
    const { m, mm } = memoryWorld({ top: 'always' });
    area({ m, mm }, A, A + HUGE + 4 * 4096);
    const pages: number[] = [];
    expect(pinUserPages(m, mm, A + HUGE - 2 * 4096, 4, true, pages)).toBe(4);
    lruAddDrain(m);
    const large = pageFolio(m.map, pages[0] as Pfn);
    expect([folioRefCount(m.map, large), folioMaybeDmaPinned(m, large)]).toEqual([3, true]);
    expect(folioRefCount(m.map, pageFolio(m.map, pages[2] as Pfn))).toBe(1025);
    checkMachine(m, true);
    unpinUserPages(m, pages, true);
    expect([folioRefCount(m.map, large), folioMaybeDmaPinned(m, large)]).toEqual([1, false]);
    expect(folioTest(m.map, large, PG.PG_dirty)).toBe(true);
    checkMachine(m, true);
  });

  test('keep memory where it is', () => {
    const { m, mm } = memoryWorld({ '64k': 'always' });
    swapon(m, { kind: 'ssd', size: 2 ** 24, prio: -1 });
    area({ m, mm }, A, A + HUGE);
    for (let i = 0; i < 512; i++) touch(m, mm, A + i * 4096, true);
    const pages: number[] = [];
    expect(pinUserPagesFast(m, mm, A, 1, true, pages)).toBe(1);
    const before = frameAt(m, mm, A);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(EAGAIN);
    expect(canSplitFolio(m, pageFolio(m.map, before as Pfn), 0)).toBe(false);
    madvise(m, mm, A, HUGE, 'pageout');
    expect([frameAt(m, mm, A), orderAt(m, mm, A), frameAt(m, mm, A + 65536)]).toEqual([before, 4, 0]);
    unpinUserPages(m, pages, true);
    checkMachine(m, true);
  });

  test('make fork copy', () => {
    const { m, mm } = memoryWorld({ '64k': 'always' });
    area({ m, mm }, A, A + 65536);
    const pages: number[] = [];
    pinUserPages(m, mm, A, 1, true, pages);
    const child = dupMm(m, mm);
    expect(frameAt(m, child, A)).not.toBe(frameAt(m, mm, A));
    expect(pageAnonExclusive(m, pageFolio(m.map, frameAt(m, mm, A) as Pfn), frameAt(m, mm, A) as Pfn)).toBe(true);
    touch(m, mm, A, true);
    expect(frameAt(m, mm, A)).toBe(pages[0]);
    checkMachine(m, true);
    unpinUserPages(m, pages, false);
    mmput(m, child);
  });

  test('for reading are of a page that nobody shares', () => {
    for (const thp of [{}, { top: 'always' }]) {
      const { m, mm } = memoryWorld(thp);
      area({ m, mm }, A, A + HUGE);
      touch(m, mm, A, true);
      const child = dupMm(m, mm);
      const shared = frameAt(m, child, A);
      const pages: number[] = [];
      expect(pinUserPagesFast(m, child, A, 1, false, pages)).toBe(1);
      expect(frameAt(m, child, A)).toBe(pages[0]);
      expect(pages[0]).not.toBe(shared);
      expect(frameAt(m, mm, A)).toBe(shared);
      // Read-only still, and a store needs no copy.
      expect(pteFlags(m, pteOffset(m, child, A)) & 2).toBe(0);
      touch(m, child, A, true);
      expect(frameAt(m, child, A)).toBe(pages[0]);
      lruAddDrain(m);
      checkMachine(m, true);
      unpinUserPages(m, pages, false);
    }
  });
});
