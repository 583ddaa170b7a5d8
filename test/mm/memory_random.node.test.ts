/**
 * Random loads, stores, advice, unmapping and forks of several address spaces, against a plain model: for every page of each
 * address space the store whose value it must show (0: none). What a frame holds is known from the stores alone: a frame that
 * appears holds zeros, or what the page held before. Then
 *
 *   C1  a page shows the value that the model has for it, whoever else may have stored into its folio;
 *   C2  a page that was never stored into, or was dropped since, has no frame, the zero page, or a frame of zeros; after MADV_FREE it may be so at any time;
 *   C3  a store changes what one address space sees, at one page;
 *   C4  each access that is allowed ends well, and each that is not is refused;
 *
 * and the invariants of the machine are checked after every step. At the end all memory is free.
 */
import { describe, expect, test } from 'vitest';
import { arm64_4k, arm64_16k, type PageTableGeometry, x86_64 } from '../../src/arch/pgtable.ts';
import { Prng } from '../../src/base/prng.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { shrinkHugeZeroFolioScan } from '../../src/mm/huge_memory_anon.ts';
import type { FileId, MmId } from '../../src/mm/ids.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { doMmap, doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { checkThp, MTHP, mthpStat } from '../../src/mm/thp.ts';
import { VM_READ, VM_WRITE } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, memoryWorld, RW, touch } from './memory_world.ts';

const BASE = 2 ** 40;
const STEPS = 160;
const SPACES = 4;

/** One address space: rights of each page (−1: not mapped), the store it must show, and whether that may be lost (MADV_FREE). */
interface Space {
  readonly mm: MmId;
  readonly rights: Int32Array;
  readonly value: Int32Array;
  readonly lazy: Uint8Array;
}

class World {
  readonly w: ReturnType<typeof memoryWorld>;
  readonly r: Prng;
  readonly size: number;
  readonly huge: number;
  readonly room: number;
  readonly free: number;
  spaces: Space[] = [];
  /** What a frame holds: the store by number. */
  readonly holds = new Map<number, number>();
  stores = 0;
  faults = 0;

  constructor(seed: number, thp: Record<string, string>, g: PageTableGeometry) {
    this.r = new Prng(seed);
    this.huge = 2 ** g.levels[0].bits;
    this.w = memoryWorld(thp, this.huge * 64, g);
    this.size = this.w.m.config.pageSize;
    this.room = 3 * this.huge;
    const { m, mm } = this.w;
    // The top table of the first address space is taken already.
    drainAllPages(m);
    this.free = m.vmstat[V.nr_free_pages] as number;
    area(this.w, BASE, this.addr(this.room));
    this.spaces.push({
      mm,
      rights: new Int32Array(this.room).fill(VM_READ | VM_WRITE),
      value: new Int32Array(this.room),
      lazy: new Uint8Array(this.room),
    });
  }

  addr = (page: number): number => BASE + page * this.size;

  /** Frames of pages [from, to). */
  frames(s: Space, from: number, to: number): Int32Array {
    const out = new Int32Array(to - from);
    for (let p = from; p < to; p++) out[p - from] = frameAt(this.w.m, s.mm, this.addr(p));
    return out;
  }

  /** Frames that appeared since hold what the page held before: a copy, or zeros. */
  settle(s: Space, from: number, was: Int32Array): void {
    const now = this.frames(s, from, from + was.length);
    for (let i = 0; i < was.length; i++) {
      const frame = now[i] as number;
      if (frame <= 0 || frame === was[i]) continue;
      this.holds.set(frame, (was[i] as number) > 0 ? (this.holds.get(was[i] as number) as number) : 0);
    }
  }

  compare(thorough: boolean): void {
    const { m } = this.w;
    checkMms(m);
    checkThp(m);
    if (thorough) checkMachine(m, false);
    for (const s of this.spaces)
      for (let p = 0; p < this.room; p++) {
        const frame = frameAt(m, s.mm, this.addr(p));
        const shows = frame > 0 ? this.holds.get(frame) : 0;
        if (shows === 0 && s.lazy[p] === 1) s.value[p] = 0;
        if (shows !== s.value[p])
          throw new Error(`C1: space ${s.mm} page ${p}: ${shows} in frame ${frame}, not ${s.value[p]}`);
      }
  }

  /** Mostly around a few places, so that steps meet. */
  range(): [number, number] {
    const { r, huge, room } = this;
    const from =
      r.below(4) === 0 ? r.below(room) : r.pick([0, 0, 16, huge - 8, huge, huge + 40, 2 * huge, 2 * huge + 3]);
    return [from, Math.min(r.pick([1, 3, 16, 16, 40, 40, huge / 2, huge, 2 * huge]), room - from)];
  }

  access(s: Space, page: number, write: boolean): void {
    const { m } = this.w;
    const rights = s.rights[page] as number;
    const allowed = rights > 0 && (!write || (rights & VM_WRITE) !== 0);
    const faults = m.vmstat[V.pgfault] as number;
    expect(touch(m, s.mm, this.addr(page), write)).toBe(allowed);
    this.faults += (m.vmstat[V.pgfault] as number) - faults;
    if (!write || !allowed) return;
    s.value[page] = ++this.stores;
    s.lazy[page] = 0;
  }

  step(): string {
    const { r, spaces, w } = this;
    const { m } = w;
    const s = r.pick(spaces);
    const [from, n] = this.range();
    const all = (f: (p: number) => void): void => {
      for (let p = from; p < from + n; p++) f(p);
    };
    const mapped = (): boolean => s.rights.subarray(from, from + n).every((x) => x >= 0);
    const start = this.addr(from);
    const length = n * this.size;
    const before = spaces.map((x) => this.frames(x, 0, this.room));
    const settleAll = (): void => {
      spaces.forEach((x, i) => {
        this.settle(x, 0, before[i] as Int32Array);
      });
    };
    const what = r.below(100);
    if (what < 6) {
      const flags = r.below(5) === 0 ? RW & ~VM_WRITE : RW;
      expect(doMmap(m, s.mm, { addr: start, length, flags, file: 0 as FileId, pgoff: 0 })).toBe(start);
      all((p) => {
        s.rights[p] = flags & (VM_READ | VM_WRITE);
        s.value[p] = s.lazy[p] = 0;
      });
      return `mmap ${s.mm} ${from}+${n}`;
    }
    if (what < 56) {
      const write = r.below(4) !== 0;
      const few = Math.min(n, r.pick([1, 20, 60]));
      for (let p = from; p < from + few; p++) {
        // A fault changes what lies under one PMD.
        const block = p - (p % this.huge);
        const was = this.frames(s, block, block + this.huge);
        this.access(s, p, write);
        this.settle(s, block, was);
        if (write && s.value[p] === this.stores) this.holds.set(frameAt(m, s.mm, this.addr(p)), this.stores);
      }
      return `${write ? 'store' : 'load'} ${s.mm} ${from}+${few}`;
    }
    if (what < 59) {
      expect(doMunmap(m, s.mm, start, length)).toBe(0);
      all((p) => {
        s.rights[p] = -1;
        s.value[p] = s.lazy[p] = 0;
      });
      return `munmap ${s.mm} ${from}+${n}`;
    }
    if (what < 63) {
      const rights = r.pick([VM_READ | VM_WRITE, VM_READ | VM_WRITE, VM_READ, 0]);
      const whole = mapped();
      const result = doMprotect(m, s.mm, start, length, rights);
      expect(result === 0).toBe(whole);
      for (let p = from; p < from + n && (s.rights[p] as number) >= 0; p++) s.rights[p] = rights;
      return `mprotect ${s.mm} ${from}+${n} ${rights}`;
    }
    if (what < 70 && spaces.length < SPACES) {
      const child = dupMm(m, s.mm);
      expect(child).not.toBe(0);
      spaces.push({ mm: child, rights: s.rights.slice(), value: s.value.slice(), lazy: s.lazy.slice() });
      return `fork ${s.mm} ${child}`;
    }
    if (what < 75 && spaces.length > 1) {
      this.spaces = spaces.filter((x) => x !== s);
      mmput(m, s.mm);
      return `exit ${s.mm}`;
    }
    if (what < 82) {
      const result = madvise(m, s.mm, start, length, 'dontneed');
      expect(result === 0).toBe(mapped());
      all((p) => {
        s.value[p] = s.lazy[p] = 0;
      });
      return `dontneed ${s.mm} ${from}+${n}`;
    }
    const advice = r.pick([
      'hugepage',
      'hugepage',
      'nohugepage',
      'free',
      'cold',
      'pageout',
      'sequential',
      'normal',
    ] as const);
    if (what < 95) {
      madvise(m, s.mm, start, length, advice);
      settleAll();
      if (advice === 'free') s.lazy.fill(1, from, from + n);
      return `${advice} ${s.mm} ${from}+${n}`;
    }
    madvise(m, s.mm, start, length, r.below(2) === 0 ? 'populate_read' : 'populate_write');
    settleAll();
    return `populate ${s.mm} ${from}+${n}`;
  }

  end(): void {
    const { m } = this.w;
    for (const s of this.spaces) mmput(m, s.mm);
    lruAddDrain(m);
    if (m.thp.hugeZeroRefs > 0) expect(shrinkHugeZeroFolioScan(m)).toBe(this.huge);
    drainAllPages(m);
    checkMachine(m, true);
    checkThp(m);
    // All but the top table that was there when counting began.
    expect((m.vmstat[V.nr_free_pages] as number) - this.free).toBe(this.huge === 2048 ? 0 : 1);
    for (let order = 1; order <= m.thp.pmdOrder; order++)
      expect([mthpStat(m, order, MTHP.nr_anon), mthpStat(m, order, MTHP.nr_anon_partially_mapped)]).toEqual([0, 0]);
    expect(m.vmstat[V.nr_anon_pages]).toBe(0);
    expect(m.vmstat[V.nr_anon_transparent_hugepages]).toBe(0);
  }
}

const SETTINGS: readonly Record<string, string>[] = [
  { top: 'never' },
  {},
  { top: 'always' },
  { '64k': 'always', '2m': 'madvise' },
  { '16k': 'always', '128k': 'always', '1m': 'madvise', top: 'always', use_zero_page: '0' },
];

function run(seed: number, thp: Record<string, string>, g: PageTableGeometry): void {
  const w = new World(seed, thp, g);
  const log: string[] = [];
  try {
    for (let i = 0; i < STEPS; i++) {
      log.push(w.step());
      w.compare(i % 10 === 0);
    }
    w.end();
  } catch (e) {
    throw new Error(`seed ${seed}, ${JSON.stringify(thp)}, after: ${log.slice(-8).join(', ')}`, { cause: e });
  }
  expect(w.faults).toBeGreaterThan(20);
}

describe('address spaces against a plain model', () => {
  test.each(SETTINGS.flatMap((thp) => [1].map((seed) => [seed, thp] as const)))('x86-64, seed %i, %o', (seed, thp) =>
    run(seed, thp, x86_64),
  );
  test.each([1, 2])('arm64 with 16 KiB pages, seed %i', (seed) =>
    run(seed, { '64k': 'always', '2m': 'always' }, arm64_16k),
  );
  test.each([1, 2])('arm64 with 4 KiB pages, contiguous hints, seed %i', (seed) =>
    run(seed, { '64k': 'always', '128k': 'always', top: 'always', '2m': 'madvise' }, arm64_4k),
  );
});
