import { describe, expect, test } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { deferredSplitScan } from '../../src/mm/deferred_split.ts';
import type { FolioId, MemcgId } from '../../src/mm/ids.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { getMmRss } from '../../src/mm/mm_struct.ts';
/** The queue of large folios to split, and its shrinker. */
import { folioRefAdd } from '../../src/mm/mm_types.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { MTHP, mthpStat } from '../../src/mm/thp.ts';
import { doShrinkSlab, shrinkSlab } from '../../src/mm/vmscan_slab.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, memoryWorld, orderAt, touch } from './memory_world.ts';

const A = 2 ** 40;
const HUGE = 2 ** 21;
const ROOT = 0 as MemcgId;

describe('how much the shrinker looks at, from priority 12 to 0', () => {
  const scans = (queue: number): number[] => {
    const out: number[] = [];
    let deferred = 0;
    for (let priority = 12; priority >= 0; priority--) {
      const plan = doShrinkSlab(queue, deferred, priority, 2);
      deferred = plan.deferred;
      out.push(plan.scan);
    }
    return out;
  };
  test('short queues are left alone until little else helps', () => {
    expect(scans(64)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 95, 128]);
    expect(scans(1000)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 128, 256, 512, 1024, 1920]);
    expect(scans(5000).slice(6)).toEqual([128, 256, 512, 1280, 2560, 5120, 9984]);
    expect(scans(10).indexOf(13)).toBe(11);
  });
});

describe('splitting what is queued', () => {
  test('a huge page that is mapped in part gives back the rest', () => {
    const { m, mm } = memoryWorld({ top: 'always' });
    m.contents = true;
    area({ m, mm }, A, A + HUGE);
    for (let i = 0; i < 512; i++) touch(m, mm, A + i * 4096, true);
    madvise(m, mm, A + HUGE / 2, HUGE / 2, 'dontneed');
    drainAllPages(m);
    const free = m.vmstat[V.nr_free_pages];
    expect([mthpStat(m, 9, MTHP.split_deferred), mthpStat(m, 9, MTHP.nr_anon_partially_mapped)]).toEqual([1, 1]);
    for (let priority = 12; priority >= 0; priority--) shrinkSlab(m, ROOT, priority);
    expect(orderAt(m, mm, A)).toBe(0);
    expect([
      mthpStat(m, 9, MTHP.split),
      mthpStat(m, 9, MTHP.nr_anon),
      mthpStat(m, 9, MTHP.nr_anon_partially_mapped),
    ]).toEqual([1, 0, 0]);
    expect(m.vmstat[V.thp_split_page]).toBe(1);
    expect(getMmRss(m, mm)).toBe(256);
    drainAllPages(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free + 256);
    checkMachine(m, true);
    checkMms(m);
  });

  test('a huge page that holds little but zeros, when max_ptes_none says so', () => {
    const { m, mm } = memoryWorld({ top: 'always', 'khugepaged/max_ptes_none': '400' });
    m.contents = true;
    area({ m, mm }, A, A + 2 * HUGE);
    for (let i = 0; i < 512; i++) {
      if (i % 8 === 0) touch(m, mm, A + i * 4096, true);
      if (i % 2 === 0) touch(m, mm, A + HUGE + i * 4096, true);
    }
    expect(deferredSplitScan(m, ROOT, 128)).toBe(1);
    expect([orderAt(m, mm, A), frameAt(m, mm, A + 4096), orderAt(m, mm, A + HUGE)]).toEqual([0, -1, 9]);
    expect(m.vmstat[V.thp_underused_split_page]).toBe(1);
    expect(getMmRss(m, mm)).toBe(64 + 512);
    // The other one is forgotten.
    expect(deferredSplitScan(m, ROOT, 128)).toBe(-1);
    checkMachine(m, true);
    checkMms(m);
  });

  test('a pinned one waits at the end of the queue', () => {
    const { m, mm } = memoryWorld({ '64k': 'always' });
    area({ m, mm }, A, A + HUGE);
    for (let i = 0; i < 3; i++) {
      touch(m, mm, A + i * 65536, true);
      madvise(m, mm, A + i * 65536, 4096, 'dontneed');
    }
    const first = m.lruvecs.deferredHead[0] as FolioId;
    folioRefAdd(m.map, first, 1);
    expect(deferredSplitScan(m, ROOT, 2)).toBe(1);
    expect([m.lruvecs.deferredLength[0], m.lruvecs.deferredTail[0]]).toEqual([2, first]);
    expect(mthpStat(m, 4, MTHP.split_failed)).toBe(1);
    folioRefAdd(m.map, first, -1);
    checkMachine(m, true);
  });
});
