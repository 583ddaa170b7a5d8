/** Collapse on demand and by the daemon, beside what a live 6.18 kernel did. */

import { describe, expect, test } from 'vitest';
import { shmemZeroSetup, Tmpfs } from '../../src/fs/tmpfs.ts';
import { checkMachine } from '../../src/mm/check.ts';
import type { FolioId } from '../../src/mm/ids.ts';
import { khugepagedRun } from '../../src/mm/khugepaged.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { getMmRss } from '../../src/mm/mm_struct.ts';
import { folioRefAdd } from '../../src/mm/mm_types.ts';
import { doMmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { release } from '../../src/mm/release.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { MTHP, mthpStat, thpStore } from '../../src/mm/thp.ts';
import { VM_MAYSHARE, VM_SHARED, vmaLookup } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, memoryWorld, orderAt, RW, touch } from './memory_world.ts';

const A = 2 ** 40;
const HUGE = 2 ** 21;
const EINVAL = -22;
const EAGAIN = -11;
const S = 1e9;

function world(thp: Record<string, string> = {}, blocks = 2) {
  const { m, mm } = memoryWorld(thp);
  area({ m, mm }, A, A + blocks * HUGE);
  const check = (): void => {
    lruAddDrain(m);
    checkMachine(m, true);
    checkMms(m);
  };
  return { m, mm, check };
}

describe('madvise(COLLAPSE)', () => {
  test('an area that was never touched, and an empty block', () => {
    const { m, mm } = world();
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(EINVAL);
    touch(m, mm, A + HUGE, true);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(EINVAL);
  });

  test('one page is enough, and once is enough', () => {
    const { m, mm, check } = world();
    touch(m, mm, A + 5 * 4096, true);
    touch(m, mm, A + 9 * 4096, false);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(0);
    expect(orderAt(m, mm, A + 300 * 4096)).toBe(9);
    expect(getMmRss(m, mm)).toBe(512);
    expect(m.vmstat[V.thp_collapse_alloc]).toBe(1);
    expect(mthpStat(m, 9, MTHP.nr_anon)).toBe(1);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(0);
    expect(m.vmstat[V.thp_collapse_alloc]).toBe(1);
    check();
    mmput(m, mm);
    check();
    expect(m.vmstat[V.nr_anon_pages]).toBe(0);
  });

  test('large folios are copied as small ones are, and what is shared, too', () => {
    const { m, mm, check } = world({ '64k': 'always' });
    for (let i = 0; i < 512; i += 40) touch(m, mm, A + i * 4096, true);
    const child = dupMm(m, mm);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(0);
    expect(orderAt(m, mm, A)).toBe(9);
    expect(orderAt(m, child, A)).toBe(4);
    check();
    mmput(m, child);
    check();
    expect(mthpStat(m, 4, MTHP.nr_anon)).toBe(0);
  });

  test('a page in use by someone else stays', () => {
    const { m, mm, check } = world();
    touch(m, mm, A, true);
    lruAddDrain(m);
    const f = m.lruvecs.head[0] as FolioId;
    folioRefAdd(m.map, f, 1);
    expect(madvise(m, mm, A, HUGE, 'collapse')).toBe(EAGAIN);
    folioRefAdd(m.map, f, -1);
    expect(orderAt(m, mm, A)).toBe(0);
    check();
  });

  test('shared memory', () => {
    const { m, mm, check } = world();
    const ops = new Tmpfs('never', true);
    const file = shmemZeroSetup(m, ops, HUGE);
    const flags = RW | VM_SHARED | VM_MAYSHARE;
    const B = A + 16 * HUGE;
    expect(doMmap(m, mm, { addr: B, length: HUGE, flags, file, pgoff: 0 })).toBe(B);
    expect(vmaLookup(m, mm, B)).not.toBe(0);
    for (let i = 0; i < 512; i += 7) touch(m, mm, B + i * 4096, i % 2 === 0);
    const child = dupMm(m, mm);
    touch(m, child, B, true);
    expect(madvise(m, mm, B, HUGE, 'collapse')).toBe(0);
    expect(orderAt(m, mm, B + 4096)).toBe(9);
    check();
    expect(m.vmstat[V.nr_shmem_pmdmapped]).toBe(1);
    touch(m, child, B + 4096, true);
    expect(orderAt(m, child, B)).toBe(9);
    check();
    mmput(m, child);
    expect(madvise(m, mm, B, HUGE, 'collapse')).toBe(0);
    check();
  });
});

describe('the daemon', () => {
  test('eight blocks a pass, a pass every ten seconds', () => {
    const { m, mm, check } = world({}, 16);
    madvise(m, mm, A, 16 * HUGE, 'hugepage');
    thpStore(m, 'top', 'never');
    for (let b = 0; b < 16; b++) touch(m, mm, A + b * HUGE, true);
    thpStore(m, 'top', 'madvise');
    // The advice is given before there is memory: it is the next one that puts the address space on the list.
    madvise(m, mm, A, 16 * HUGE, 'nohugepage');
    madvise(m, mm, A, 16 * HUGE, 'hugepage');
    const huge = (): number => [...Array(16).keys()].filter((b) => orderAt(m, mm, A + b * HUGE) === 9).length;
    khugepagedRun(m, 1 * S);
    expect(huge()).toBe(8);
    khugepagedRun(m, 9.9 * S);
    expect(huge()).toBe(8);
    khugepagedRun(m, 11 * S);
    expect(huge()).toBe(16);
    expect(m.thp.khugepaged.pagesCollapsed).toBe(16);
    check();
    khugepagedRun(m, 60 * S);
    expect(m.thp.khugepaged.fullScans).toBeGreaterThan(1);
    mmput(m, mm);
    expect(khugepagedRun(m, 100 * S)).toBe(-1);
    check();
  });

  test('holds to its limits', () => {
    const { m, mm } = world({ top: 'always', 'khugepaged/max_ptes_none': '100' }, 3);
    thpStore(m, '2m', 'never');
    for (let i = 0; i < 512; i++) if (i % 8 !== 0) touch(m, mm, A + i * 4096, true);
    for (let i = 0; i < 512; i++) if (i % 4 !== 0) touch(m, mm, A + HUGE + i * 4096, true);
    thpStore(m, '2m', 'always');
    touch(m, mm, A + 2 * HUGE, false);
    khugepagedRun(m, 1 * S);
    expect([orderAt(m, mm, A + 4096), orderAt(m, mm, A + HUGE + 4096)]).toEqual([9, 0]);
    expect(m.vmstat[V.thp_scan_exceed_none_pte]).toBeGreaterThan(0);
  });
});

describe('the daemon of 7.3', () => {
  /** Pages touched one by one, then sizes allowed; orders of the folios afterwards, by page. */
  function run(thp: Record<string, string>, pages: readonly number[]): string {
    const { m, mm, check } = world({ top: 'never' });
    (m as { release: typeof m.release }).release = release('7.3');
    for (const p of pages) touch(m, mm, A + p * 4096, true);
    for (const [name, value] of Object.entries(thp)) thpStore(m, name, value);
    madvise(m, mm, A, HUGE, 'hugepage');
    khugepagedRun(m, 1 * S);
    check();
    const out: string[] = [];
    for (let p = 0; p < 512; ) {
      const order = orderAt(m, mm, A + p * 4096);
      if (order >= 0) out.push(`${p}:${order}`);
      p += order > 0 ? 1 << order : 1;
    }
    mmput(m, mm);
    check();
    return out.join(' ');
  }

  test('makes the largest size that is allowed where one page is', () => {
    expect(run({ '64k': 'always' }, [0, 100, 101])).toBe('0:4 96:4');
    expect(run({ '64k': 'always', '256k': 'always' }, [0, 100])).toBe('0:6 64:6');
    expect(run({ '64k': 'always', '2m': 'always' }, [77])).toBe('0:9');
    expect(run({ '2m': 'never' }, [77])).toBe('77:0');
  });

  test('only full ones when max_ptes_none is 0', () => {
    const full = [...Array(20).keys()].map((i) => 32 + i);
    expect(run({ '64k': 'always', '16k': 'always', 'khugepaged/max_ptes_none': '0' }, [0, ...full])).toBe(
      '0:0 32:4 48:2',
    );
  });
});
