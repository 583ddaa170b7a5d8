/**
 * Random loads, stores, forks, advice, locks, splits, collapses, migrations and swapping of a few address spaces. After every step all map
 * counts are counted anew from the page tables (R1 to R6), with both ways of counting, and a page that was stored into holds
 * something as long as nobody drops it. At the end all memory is free.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../src/mm/gfp.ts';
import { canSplitFolio, folioSplit } from '../../src/mm/huge_memory.ts';
import { shrinkHugeZeroFolioScan } from '../../src/mm/huge_memory_anon.ts';
import { type FileId, type FolioId, type MmId, NO_FOLIO, type Pfn } from '../../src/mm/ids.ts';
import { khugepagedRun } from '../../src/mm/khugepaged.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import {
  type IsolatedFolios,
  isolatedAdd,
  type MigrationTarget,
  migratePages,
  putbackMovablePages,
} from '../../src/mm/migrate.ts';
import { doMlock } from '../../src/mm/mlock_vma.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import {
  folioClear,
  folioFlags,
  folioOrder,
  folioRefAdd,
  folioSet,
  folioTestAnon,
  pageFolio,
} from '../../src/mm/mm_types.ts';
import { doMmap, doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { folioAlloc } from '../../src/mm/page_alloc.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { folioIsolateLru, folioPut, lruAddDrain } from '../../src/mm/swap.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { reclaimPages } from '../../src/mm/vmscan_anon.ts';
import { V } from '../../src/mm/vmstat.ts';
import { pageZeroFilled } from '../../src/mm/written.ts';
import { frameAt, memoryWorld, RW, touch } from './memory_world.ts';

const BASE = 2 ** 40;
const HUGE = 512;
const ROOM = 3 * HUGE;
const STEPS = 150;

interface Space {
  readonly mm: MmId;
  readonly mapped: Uint8Array;
  readonly stored: Uint8Array;
}

const target: MigrationTarget<null> = {
  getNewFolio: (m, _data, order) => folioAlloc(m, GFP_HIGHUSER_MOVABLE, order),
  putNewFolio: (m, _data, f) => folioPut(m, f),
};

class World {
  readonly m: Machine;
  readonly r: Prng;
  readonly spaces: Space[] = [];
  readonly free: number;
  splits = 0;
  moves = 0;

  constructor(seed: number, thp: Record<string, string>, noPageMapcount: boolean, swap: boolean) {
    this.r = new Prng(seed);
    const w = memoryWorld(thp, HUGE * 24);
    this.m = w.m;
    (this.m.config as { noPageMapcount?: boolean }).noPageMapcount = noPageMapcount;
    this.m.contents = true;
    if (swap) swapon(this.m, { kind: 'ssd', size: 4096 * 4096, prio: -1 });
    mmput(this.m, w.mm);
    this.settle();
    this.free = this.m.vmstat[V.nr_free_pages];
    const mm = mmAlloc(this.m);
    const at = doMmap(this.m, mm, { addr: BASE, length: ROOM * 4096, flags: RW, file: 0 as FileId, pgoff: 0 });
    expect(at).toBe(BASE);
    this.spaces.push({ mm, mapped: new Uint8Array(ROOM).fill(1), stored: new Uint8Array(ROOM) });
  }

  settle(): void {
    lruAddDrain(this.m);
    drainAllPages(this.m);
  }

  /** A range of pages: often whole huge pages, often few pages. */
  range(): [number, number] {
    const { r } = this;
    const from = r.below(3) === 0 ? r.below(3) * HUGE : r.below(ROOM);
    const nr = r.below(3) === 0 ? HUGE : r.between(1, 24);
    return [from, Math.min(nr, ROOM - from)];
  }

  /** The folio at some page of a space, or 0. */
  folio(s: Space): FolioId {
    const frame = frameAt(this.m, s.mm, BASE + this.r.below(ROOM) * 4096);
    const f = frame <= 0 ? 0 : pageFolio(this.m.map, frame as Pfn);
    return (f !== 0 && folioTestAnon(this.m.map, f as FolioId) ? f : 0) as FolioId;
  }

  step(): void {
    const { m, r } = this;
    const s = r.pick(this.spaces);
    const [from, nr] = this.range();
    const addr = BASE + from * 4096;
    m.now += 3e9;
    switch (r.below(16)) {
      case 0:
      case 1:
      case 2:
        for (let p = from; p < from + nr; p += r.between(1, 9)) this.touch(s, p, true);
        break;
      case 3:
        for (let p = from; p < from + nr; p += r.between(1, 9)) this.touch(s, p, false);
        break;
      case 4:
        // Refused where memory is locked; holes do not matter.
        for (let p = from; p < from + nr; p++) doMlock(m, s.mm, BASE + p * 4096, 4096, false);
        madvise(m, s.mm, addr, nr * 4096, 'dontneed');
        s.stored.fill(0, from, from + nr);
        break;
      case 5:
        if (this.spaces.length < 4) {
          const child = dupMm(m, s.mm);
          if (child !== 0) this.spaces.push({ mm: child, mapped: s.mapped.slice(), stored: s.stored.slice() });
        }
        break;
      case 6:
        if (this.spaces.length > 1) {
          this.spaces.splice(this.spaces.indexOf(s), 1);
          mmput(m, s.mm);
        }
        break;
      case 7:
        if (nr < 8 && doMunmap(m, s.mm, addr, nr * 4096) === 0) {
          s.mapped.fill(0, from, from + nr);
          s.stored.fill(0, from, from + nr);
        }
        break;
      case 8:
        if (doMunmap(m, s.mm, addr, nr * 4096) === 0) {
          doMmap(m, s.mm, { addr, length: nr * 4096, flags: RW, file: 0 as FileId, pgoff: 0 });
          s.mapped.fill(1, from, from + nr);
          s.stored.fill(0, from, from + nr);
        }
        break;
      case 9:
        for (let i = 0; i < 4; i++) this.split(s);
        break;
      case 10:
        for (let i = 0; i < 4; i++) this.migrate(s);
        break;
      case 11:
        doMlock(m, s.mm, addr, nr * 4096, r.below(2) === 0);
        break;
      case 12:
        this.pageout(s);
        break;
      case 13:
        khugepagedRun(m, m.now);
        break;
      case 14:
        for (const b of [0, 1, 2]) madvise(m, s.mm, BASE + b * HUGE * 4096, HUGE * 4096, 'collapse');
        break;
      default:
        madvise(m, s.mm, addr, nr * 4096, r.pick(['hugepage', 'nohugepage', 'cold', 'pageout', 'collapse'] as const));
    }
  }

  touch(s: Space, page: number, write: boolean): void {
    const ok = touch(this.m, s.mm, BASE + page * 4096, write);
    expect(ok).toBe(s.mapped[page] === 1);
    if (ok && write) s.stored[page] = 1;
  }

  split(s: Space): void {
    const { m, r } = this;
    const f = this.folio(s);
    const order = f === 0 ? 0 : folioOrder(m.map, f);
    if (order === 0) return;
    lruAddDrain(m);
    folioRefAdd(m.map, f, 1);
    folioSet(m.map, f, PG.PG_locked);
    const can = canSplitFolio(m, f, 1);
    const to = r.pick([0, 0, 2, 3]);
    if (folioSplit(m, f, to, r.below(1 << order), r.below(2) === 0)) {
      expect(can).toBe(true);
      this.splits++;
    }
    folioClear(m.map, f, PG.PG_locked);
    folioPut(m, f);
  }

  migrate(s: Space): void {
    const { m } = this;
    const f = this.folio(s);
    lruAddDrain(m);
    if (f === 0 || (folioFlags(m.map, f) & PG.PG_lru) === 0) return;
    folioIsolateLru(m, f);
    const list: IsolatedFolios = { head: NO_FOLIO, tail: NO_FOLIO };
    isolatedAdd(m, list, f);
    if (migratePages(m, list, target, null) === 0) this.moves++;
    putbackMovablePages(m, list);
  }

  pageout(s: Space): void {
    const { m } = this;
    const f = this.folio(s);
    lruAddDrain(m);
    if (f !== 0 && (folioFlags(m.map, f) & (PG.PG_lru | PG.PG_unevictable)) === PG.PG_lru && folioIsolateLru(m, f))
      reclaimPages(m, [f]);
  }

  check(): void {
    const { m } = this;
    checkMachine(m, true);
    checkMms(m);
    for (const s of this.spaces)
      for (let p = 0; p < ROOM; p++) {
        if (s.stored[p] === 0) continue;
        const frame = frameAt(m, s.mm, BASE + p * 4096);
        if (frame < 0 || (frame > 0 && pageZeroFilled(m, frame as Pfn))) expect.fail(`page ${p} has lost its contents`);
      }
  }

  end(): void {
    const { m } = this;
    for (const s of this.spaces) mmput(m, s.mm);
    shrinkHugeZeroFolioScan(m);
    this.settle();
    checkMachine(m, true);
    expect(m.vmstat[V.nr_free_pages]).toBe(this.free);
    expect(m.vmstat[V.nr_anon_pages]).toBe(0);
  }
}

const settings: readonly [string, Record<string, string>, boolean, boolean][] = [
  ['huge pages, swap', { top: 'always' }, false, true],
  ['several sizes, swap', { '64k': 'always', '16k': 'always', '256k': 'madvise', top: 'madvise' }, false, true],
  ['huge pages without counts by page', { top: 'always', '32k': 'always' }, true, false],
  ['several sizes without counts by page, swap', { '64k': 'always', '16k': 'always' }, true, true],
];

describe.each(settings)('%s', (_name, thp, noPageMapcount, swap) => {
  test.each([1, 2])('seed %i', (seed) => {
    const w = new World(seed, thp, noPageMapcount, swap);
    for (let i = 0; i < STEPS; i++) {
      w.step();
      w.check();
    }
    expect(w.moves + w.splits).toBeGreaterThan(0);
    w.end();
  });
});
