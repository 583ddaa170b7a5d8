import { expect, test } from 'vitest';
import { mmput } from '../../src/mm/mmap.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { doShrinkSlab, shrinkSlab } from '../../src/mm/vmscan_slab.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, memoryWorld, touch } from './memory_world.ts';

const MIB = 2 ** 20;

test('the huge zero folio goes at a reclaim of the root group that is in earnest, when no address space has it', () => {
  const w = memoryWorld({ enabled: 'always' });
  const { m, mm } = w;
  area(w, 2 * MIB, 4 * MIB);
  touch(m, mm, 2 * MIB, false);
  expect(m.thp.hugeZeroRefs).toBe(2);
  shrinkSlab(m, 0 as never, 0);
  expect(m.thp.hugeZeroRefs).toBe(2);
  mmput(m, mm);
  expect(m.thp.hugeZeroRefs).toBe(1);
  // 512 pages by 2^12, twice: nothing at the first priority, and a group of its own does not ask at all.
  shrinkSlab(m, 0 as never, 12);
  expect([m.thp.hugeZeroRefs, m.vmstat[V.slabs_scanned]]).toEqual([1, 0]);
  drainAllPages(m);
  const free = m.vmstat[V.nr_free_pages] as number;
  // At 3, 512 / 8 × 2 = 128: one portion.
  expect(doShrinkSlab(512, 0, 3, 2).scan).toBe(128);
  shrinkSlab(m, 0 as never, 3);
  drainAllPages(m);
  expect([m.thp.hugeZeroRefs, m.thp.hugeZeroFolio, m.vmstat[V.slabs_scanned]]).toEqual([0, 0, 128]);
  expect(m.vmstat[V.nr_free_pages]).toBe(free + 512);
});

test('what is put off adds up until it is a portion', () => {
  const w = memoryWorld({ enabled: 'always' });
  const { m, mm } = w;
  area(w, 2 * MIB, 4 * MIB);
  touch(m, mm, 2 * MIB, false);
  mmput(m, mm);
  let rounds = 0;
  for (; m.thp.hugeZeroRefs > 0 && rounds < 100; rounds++) shrinkSlab(m, 0 as never, 4);
  // 64 more each time; of what was put off a sixteenth counts again.
  expect(rounds).toBeGreaterThan(1);
  expect(rounds).toBeLessThan(100);
});
