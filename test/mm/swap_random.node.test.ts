/**
 * Random loads, stores, forks and advice of address spaces in groups that are too small for them, with swap behind, against a
 * plain model: for every page of each address space the store that it must show (0: none). Requests to the device end in any
 * order, later. After each step
 *
 *   W1  pages of one frame, and pages of one slot, show the same store;
 *   W2  a page without a frame and a slot, or on the zero page, shows nothing;
 *   W3  a frame that is said to hold zeros, and a slot that does, show nothing;
 *
 * and the invariants of swap and of the address spaces hold (checkSwap, checkMms), now and then all of the machine's. At the end
 * all memory and all slots are free.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import { shrinkHugeZeroFolioScan } from '../../src/mm/huge_memory_anon.ts';
import type { FolioId, MemcgId, MmId, Pfn } from '../../src/mm/ids.ts';
import { lruGenInit } from '../../src/mm/lru_gen.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { memcgCreate } from '../../src/mm/memcontrol.ts';
import { handleMmFault } from '../../src/mm/memory.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { folioTest } from '../../src/mm/mm_types.ts';
import { doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { endSwapRead, endSwapWrite } from '../../src/mm/page_io.ts';
import { accessPage, PTE_SWAP, pteFlags, pteOffset, ptePayload } from '../../src/mm/pgtable.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import type { SwapKind } from '../../src/mm/swap_table.ts';
import { checkSwap } from '../../src/mm/swap_table_check.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { VM_FAULT_ERROR, VM_FAULT_RETRY } from '../../src/mm/vm_fault.ts';
import { vmaLookup } from '../../src/mm/vma.ts';
import { tryToFreeMemCgroupPages } from '../../src/mm/vmscan.ts';
import { V } from '../../src/mm/vmstat.ts';
import { pageZeroFilled } from '../../src/mm/written.ts';
import { zswapEnable } from '../../src/mm/zswap.ts';
import { area, frameAt, memoryWorld } from './memory_world.ts';

const BASE = 2 ** 40;
const ROOM = 1536;
const SPACES = 3;

interface Space {
  readonly mm: MmId;
  readonly value: Int32Array;
}
interface Setup {
  readonly kind: SwapKind;
  readonly zswap: boolean;
  readonly thp: Record<string, string>;
  readonly slots: number;
  readonly limit: number;
  readonly lru?: 'mglru';
}

class World {
  readonly m: Machine;
  readonly r: Prng;
  readonly c: Setup;
  spaces: Space[] = [];
  stores = 0;
  /** Requests in flight. */
  flying: { folio: FolioId; write: boolean }[] = [];
  readonly free: number;

  constructor(seed: number, c: Setup) {
    this.r = new Prng(seed);
    this.c = c;
    const { m, mm } = memoryWorld(c.thp, 16384);
    this.m = m;
    m.contents = true;
    if (c.lru === 'mglru') Object.assign(m, { lruGen: lruGenInit(m.release) });
    mmput(m, mm);
    drainAllPages(m);
    this.free = m.vmstat[V.nr_free_pages] as number;
    swapon(m, { kind: c.kind, size: c.slots * 4096, prio: -1 });
    if (c.zswap) {
      zswapEnable(m, true);
      m.swap.zswap.maxPoolPercent = 1;
      m.swap.zswap.shrinkerEnabled = true;
    }
    const { r } = this;
    m.io.compress = () => r.between(60, 4200);
    m.io.swapWrite = (folio) => void this.flying.push({ folio, write: true });
    m.io.swapRead = (folio) => void this.flying.push({ folio, write: false });
    m.io.waitWriteback = (folio) => {
      if (folio !== 0) return this.waitFor(folio);
      while (this.flying.length > 0) this.land();
      return true;
    };
    m.currentMemcg = memcgCreate(m, c.limit);
    this.begin(mmAlloc(m));
  }

  begin(mm: MmId): void {
    area({ m: this.m, mm }, BASE, BASE + ROOM * 4096);
    this.spaces.push({ mm, value: new Int32Array(ROOM) });
  }

  addr = (page: number): number => BASE + page * 4096;

  /** Some request ends. */
  land(at: number = this.r.below(this.flying.length)): void {
    const [done] = this.flying.splice(at, 1);
    if (done === undefined) return;
    if (done.write) endSwapWrite(this.m, done.folio, true);
    else endSwapRead(this.m, done.folio, true);
  }

  waitFor(folio: number): boolean {
    while (folioTest(this.m.map, folio as FolioId, PG.PG_locked | PG.PG_writeback)) {
      const at = this.flying.findIndex((f) => f.folio === folio);
      if (at < 0) return false;
      this.land(at);
    }
    return true;
  }

  /** One load or store; false: out of memory. */
  touch(s: Space, page: number, write: boolean): boolean {
    const { m } = this;
    const addr = this.addr(page);
    m.vmf.tried = false;
    for (let tries = 0; tries < 50; tries++) {
      if (accessPage(m, s.mm, addr, write)) {
        if (write) s.value[page] = ++this.stores;
        return true;
      }
      const ret = handleMmFault(m, s.mm, vmaLookup(m, s.mm, addr), addr, write);
      if ((ret & VM_FAULT_RETRY) !== 0) {
        expect(m.wait === 0 || this.waitFor(m.wait)).toBe(true);
        m.vmf.tried = true;
        continue;
      }
      m.vmf.tried = false;
      if ((ret & VM_FAULT_ERROR) !== 0) return false;
    }
    throw new Error('a touch comes to no end');
  }

  compare(): void {
    const { m } = this;
    const frames = new Map<number, number>();
    const slots = new Map<number, number>();
    const claim = (holds: boolean, rule: string, s: Space, p: number): void => {
      if (!holds) throw new Error(`${rule}: space ${s.mm} page ${p}, which is to show ${s.value[p]}`);
    };
    for (const s of this.spaces)
      for (let p = 0; p < ROOM; p++) {
        const shows = s.value[p] as number;
        const frame = frameAt(m, s.mm, this.addr(p));
        if (frame > 0) {
          claim((frames.get(frame) ?? shows) === shows, 'W1 frame', s, p);
          frames.set(frame, shows);
          claim(shows === 0 || !pageZeroFilled(m, frame as Pfn), 'W3 frame', s, p);
          continue;
        }
        const e = pteOffset(m, s.mm, this.addr(p));
        if (e < 0 || (pteFlags(m, e) & PTE_SWAP) === 0) {
          claim(shows === 0, 'W2', s, p);
          continue;
        }
        const slot = ptePayload(m, e);
        claim((slots.get(slot) ?? shows) === shows, 'W1 slot', s, p);
        slots.set(slot, shows);
        claim(shows === 0 || m.swap.slots.zero[slot] === 0, 'W3 slot', s, p);
      }
  }

  step(): string {
    const { r, m, spaces } = this;
    const s = r.pick(spaces);
    const from = r.below(ROOM);
    const n = Math.min(r.pick([1, 5, 30, 120, 512]), ROOM - from);
    const what = r.below(100);
    for (let i = r.below(8); i > 0 && this.flying.length > 0; i--) this.land();
    if (what < 60) {
      const write = r.below(3) !== 0;
      for (let p = from; p < from + n; p++) {
        this.touch(s, p, write && r.below(5) !== 0);
        if (r.below(4) === 0 && this.flying.length > 0) this.land();
      }
      return `${write ? 'stores' : 'loads'} ${s.mm} ${from}+${n}`;
    }
    if (what < 75) {
      madvise(m, s.mm, this.addr(from), n * 4096, 'pageout');
      return `pageout ${s.mm} ${from}+${n}`;
    }
    if (what < 80) {
      madvise(m, s.mm, this.addr(from), n * 4096, 'cold');
      return `cold ${s.mm} ${from}+${n}`;
    }
    if (what < 86) {
      madvise(m, s.mm, this.addr(from), n * 4096, 'dontneed');
      s.value.fill(0, from, from + n);
      return `dontneed ${s.mm} ${from}+${n}`;
    }
    if (what < 90) {
      madvise(m, s.mm, this.addr(from), n * 4096, r.pick(['hugepage', 'nohugepage']));
      return 'hugepage or not';
    }
    if (what < 95 && spaces.length < SPACES) {
      const child = dupMm(m, s.mm);
      if (child !== 0) spaces.push({ mm: child, value: s.value.slice() });
      return `fork ${s.mm} ${child}`;
    }
    if (spaces.length > 1) {
      this.spaces = spaces.filter((x) => x !== s);
      mmput(m, s.mm);
      return `exit ${s.mm}`;
    }
    return 'nothing';
  }

  end(): void {
    const { m } = this;
    while (this.flying.length > 0) this.land();
    this.compare();
    checkMachine(m, true);
    for (const s of this.spaces) {
      expect(doMunmap(m, s.mm, BASE, ROOM * 4096)).toBe(0);
      mmput(m, s.mm);
    }
    // What was locked or being written when its last user went is left in the swap cache, for reclaim to find.
    for (let i = 0; i < 20 && (m.vmstat[V.nr_swapcached] as number) > 0; i++) {
      lruAddDrain(m);
      // The statistics that say which lists are too long are flushed every two seconds.
      m.now += 3e9;
      tryToFreeMemCgroupPages(m, m.currentMemcg as MemcgId, ROOM, GFP_KERNEL);
      while (this.flying.length > 0) this.land();
    }
    lruAddDrain(m);
    shrinkHugeZeroFolioScan(m);
    drainAllPages(m);
    checkSwap(m);
    expect(m.lruvecs.node.swapPages).toBe(m.swap.totalPages);
    expect([m.swap.zswap.storedPages, m.vmstat[V.nr_zspages], m.vmstat[V.nr_swapcached]]).toEqual([0, 0, 0]);
    const tables = m.swap.clusters.table.filter((t) => t !== 0).length;
    expect((m.vmstat[V.nr_free_pages] as number) + tables).toBe(this.free);
  }
}

const mixed = { '64k': 'always', '16k': 'always', '2M': 'madvise' };
const setups: [string, Setup][] = [
  ['solid state', { kind: 'ssd', zswap: false, thp: mixed, slots: 8192, limit: 1200 }],
  ['solid state, small', { kind: 'ssd', zswap: false, thp: mixed, slots: 1500, limit: 900 }],
  ['disk', { kind: 'disk', zswap: false, thp: {}, slots: 4096, limit: 700 }],
  ['swap file', { kind: 'file', zswap: false, thp: mixed, slots: 4096, limit: 1000 }],
  ['zram', { kind: 'zram', zswap: false, thp: mixed, slots: 4096, limit: 1000 }],
  ['by generations', { kind: 'ssd', zswap: false, thp: mixed, slots: 8192, limit: 1200, lru: 'mglru' }],
  ['by generations, zram', { kind: 'zram', zswap: false, thp: mixed, slots: 4096, limit: 1000, lru: 'mglru' }],
  ['zswap', { kind: 'ssd', zswap: true, thp: mixed, slots: 4096, limit: 1000 }],
];

describe.each(setups)('memory swapped out: %s', (_, setup) => {
  test.each([1, 2])('seed %i', (seed) => {
    const w = new World(seed, setup);
    let last = '';
    try {
      for (let i = 0; i < 120; i++) {
        last = w.step();
        w.compare();
        checkSwap(w.m);
        checkMms(w.m);
        if (i % 10 === 9) checkMachine(w.m, false);
      }
      w.end();
    } catch (error) {
      throw new Error(`seed ${seed}, after ${last}: ${(error as Error).message}`, { cause: error });
    }
    expect((w.m.vmstat[V.pswpout] as number) + (w.m.vmstat[V.zswpout] as number)).toBeGreaterThan(500);
  });
});
