import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { FolioId, MemcgId, Pfn } from '../../src/mm/ids.ts';
import {
  folioLruGen,
  folioLruRefs,
  LRU_GEN_ANON,
  LRU_GEN_FILE,
  type LruGen,
  lruGenInit,
  lruTierFromRefs,
  MAX_NR_TIERS,
} from '../../src/mm/lru_gen.ts';
import { tryToIncMaxSeq } from '../../src/mm/lru_gen_age.ts';
import { checkLruGen } from '../../src/mm/lru_gen_check.ts';
import { getTierIdx, getTypeToScan, lruGenShrinkLruvec, positiveCtrlErr } from '../../src/mm/lru_gen_evict.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { EXACT_RULES, memcgsInit } from '../../src/mm/memcontrol.ts';
import { folioTest, pageFolio } from '../../src/mm/mm_types.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { release } from '../../src/mm/release.ts';
import { batchesInit, folioDeactivate, folioMarkAccessed } from '../../src/mm/swap.ts';
import { swapon } from '../../src/mm/swapfile.ts';
import { scanControl } from '../../src/mm/vmscan.ts';
import { V } from '../../src/mm/vmstat.ts';
import { area, frameAt, type MemoryWorld, memoryWorld, touch } from './memory_world.ts';
import { access, add, cached, world as fileWorld } from './vmscan_world.ts';

const BASE = 2 ** 40;
const at = (page: number): number => BASE + page * 4096;

function world(thp: Record<string, string> = {}): MemoryWorld {
  const w = memoryWorld(thp);
  Object.assign(w.m, {
    batches: batchesInit(0),
    memcgs: memcgsInit(EXACT_RULES),
    lruGen: lruGenInit(w.m.release),
  });
  w.m.contents = true;
  swapon(w.m, { kind: 'ssd', size: 2 ** 25, prio: -1 });
  area(w, BASE, at(4096));
  return w;
}
const gens = (m: Machine): LruGen => m.lruGen as LruGen;
const folioAt = (w: MemoryWorld, page: number): FolioId => pageFolio(w.m.map, frameAt(w.m, w.mm, at(page)) as Pfn);
/** One pass over the root group at a priority. */
function shrink(m: Machine, priority: number): number {
  const sc = scanControl(0 as MemcgId, 32, GFP_KERNEL, 0, false);
  sc.priority = priority;
  lruGenShrinkLruvec(m, sc, 0 as MemcgId);
  return sc.nrReclaimed;
}

describe('tiers', () => {
  test('by uses: the logarithm; the working set is the last', () => {
    expect([0, 1, 2, 3, 4].map((refs) => lruTierFromRefs(refs, false))).toEqual([0, 0, 1, 2, 2]);
    expect(lruTierFromRefs(0, true)).toBe(3);
  });
  test('a tier is protected when it refaults more than the first, by 2 to 3', () => {
    expect(positiveCtrlErr(64, [0, 0], 2, [63, 63], 3)).toBe(true);
    expect(positiveCtrlErr(64, [0, 1000], 2, [64, 100], 3)).toBe(false);
    // 100·(936 + 64)·2 ≤ (100 + 1)·1000·3
    expect(positiveCtrlErr(64, [100, 936], 2, [100, 1000], 3)).toBe(true);
    expect(positiveCtrlErr(64, [65, 936], 2, [100, 1000], 3)).toBe(false);
    const t = lruGenInit(release('6.18'));
    expect(getTierIdx(t, 0, LRU_GEN_FILE)).toBe(3);
    t.evicted[LRU_GEN_FILE * MAX_NR_TIERS] = 1000;
    t.evicted[LRU_GEN_FILE * MAX_NR_TIERS + 2] = 100;
    t.refaulted[LRU_GEN_FILE * MAX_NR_TIERS + 2] = 90;
    expect(getTierIdx(t, 0, LRU_GEN_FILE)).toBe(1);
  });
  test('files or anonymous memory: by swappiness, then by refaults', () => {
    const t = lruGenInit(release('6.18'));
    expect([0, 1, 60, 200].map((s) => getTypeToScan(t, 0, s))).toEqual([1, 1, 1, LRU_GEN_ANON]);
    t.evicted[LRU_GEN_FILE * MAX_NR_TIERS] = 1000;
    t.refaulted[LRU_GEN_FILE * MAX_NR_TIERS] = 500;
    expect(getTypeToScan(t, 0, 60)).toBe(LRU_GEN_ANON);
    t.evicted[0] = 1000;
    t.refaulted[0] = 900;
    expect(getTypeToScan(t, 0, 60)).toBe(LRU_GEN_FILE);
  });
});

describe('where a folio begins', () => {
  test('a fault: the second youngest; a read: the oldest', () => {
    const w = world();
    const { m, mm } = w;
    touch(m, mm, at(0), true);
    expect(folioLruGen(m, folioAt(w, 0))).toBe((gens(m).maxSeq[0] as number) - 1);
    expect([m.vmstat[V.nr_active_anon], m.vmstat[V.nr_inactive_anon]]).toEqual([1, 0]);
    const f = fileWorld();
    Object.assign(f.m, { lruGen: lruGenInit(f.m.release) });
    const folio = add(f, 0);
    expect(folioLruGen(f.m, folio)).toBe(0);
    expect([f.m.vmstat[V.nr_active_file], f.m.vmstat[V.nr_inactive_file]]).toEqual([0, 1]);
    checkLruGen(f.m);
  });
  test('reads are counted, and do not move it', () => {
    const f = fileWorld();
    Object.assign(f.m, { lruGen: lruGenInit(f.m.release) });
    const folio = add(f, 0);
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      folioMarkAccessed(f.m, folio);
      seen.push(folioLruRefs(f.m, folio));
    }
    expect(seen).toEqual([1, 2, 3, 4, 4, 4]);
    expect(folioTest(f.m.map, folio, PG.PG_workingset)).toBe(true);
    expect([folioLruGen(f.m, folio), f.m.vmstat[V.pgactivate]]).toEqual([0, 0]);
    folioDeactivate(f.m, folio);
    expect([folioLruRefs(f.m, folio), folioTest(f.m.map, folio, PG.PG_workingset)]).toEqual([0, false]);
    checkLruGen(f.m);
  });
});

describe('aging', () => {
  test('what is young twice goes to the youngest generation; what is not falls behind', () => {
    const w = world();
    const { m, mm } = w;
    for (let p = 0; p < 64; p++) touch(m, mm, at(p), true);
    const first = gens(m).maxSeq[0] as number;
    expect(tryToIncMaxSeq(m, 0, 60, false)).toBe(true);
    expect(gens(m).maxSeq[0]).toBe(first + 1);
    expect(folioTest(m.map, folioAt(w, 0), PG.PG_referenced)).toBe(true);
    for (let p = 0; p < 32; p++) touch(m, mm, at(p), false);
    tryToIncMaxSeq(m, 0, 60, false);
    // Promoted as the walk ran, to what was the youngest generation then.
    expect(folioLruGen(m, folioAt(w, 0))).toBe((first + 1) & 3);
    expect(folioLruGen(m, folioAt(w, 40))).toBe((first - 1) & 3);
    checkLruGen(m);
    expect([m.vmstat[V.nr_active_anon], m.vmstat[V.nr_inactive_anon]]).toEqual([32, 32]);
  });
  test('page tables with few young entries are not walked again', () => {
    const w = world();
    const { m, mm } = w;
    for (let p = 0; p < 1024; p++) touch(m, mm, at(p), true);
    tryToIncMaxSeq(m, 0, 60, false);
    for (let p = 0; p < 10; p++) touch(m, mm, at(p), false);
    for (let p = 512; p < 700; p++) touch(m, mm, at(p), false);
    tryToIncMaxSeq(m, 0, 60, false);
    for (let p = 20; p < 30; p++) touch(m, mm, at(p), false);
    for (let p = 512; p < 530; p++) touch(m, mm, at(p), false);
    tryToIncMaxSeq(m, 0, 60, false);
    const youngest = ((gens(m).maxSeq[0] as number) - 1) & 3;
    expect(folioLruGen(m, folioAt(w, 520))).toBe(youngest);
    expect(folioLruGen(m, folioAt(w, 25))).not.toBe(youngest);
    checkLruGen(m);
  });
});

describe('eviction', () => {
  test('the unused go, the used stay', () => {
    const w = world();
    const { m, mm } = w;
    for (let p = 0; p < 512; p++) touch(m, mm, at(p), true);
    for (let round = 0; round < 3; round++) {
      for (let p = 0; p < 128; p++) touch(m, mm, at(p), false);
      tryToIncMaxSeq(m, 0, 60, false);
    }
    let freed = 0;
    for (let i = 0; i < 20; i++) {
      for (let p = 0; p < 128; p++) touch(m, mm, at(p), false);
      freed += shrink(m, 2);
      if (freed > 200) break;
    }
    expect(freed).toBeGreaterThan(200);
    let stayed = 0;
    for (let p = 0; p < 128; p++) if (frameAt(m, mm, at(p)) > 0) stayed++;
    expect(stayed).toBe(128);
    checkMachine(m, true);
  });
  test('young at the last look: its neighbours are looked at with it', () => {
    const w = world();
    const { m, mm } = w;
    for (let p = 0; p < 256; p++) touch(m, mm, at(p), true);
    for (let i = 0; i < 3; i++) tryToIncMaxSeq(m, 0, 60, true);
    for (let p = 0; p < 256; p++) touch(m, mm, at(p), false);
    shrink(m, 4);
    // One round isolates 64 folios; of each the young bit and those around it are gone.
    expect(m.vmstat[V.pgsteal_anon]).toBe(0);
    for (let p = 0; p < 256; p++) expect(frameAt(m, mm, at(p))).toBeGreaterThan(0);
    checkMachine(m, true);
  });
  test('a scan of a file does not push out what is read again and again', () => {
    const run = (mglru: boolean): number => {
      const f = fileWorld({ limit: 1000 });
      if (mglru) Object.assign(f.m, { lruGen: lruGenInit(f.m.release) });
      if (mglru) {
        // The group was made before.
        const t = f.m.lruGen as LruGen;
        t.nr = 2;
        t.maxSeq[1] = 3;
      }
      let hits = 0;
      for (let i = 0; i < 20000; i++) {
        const hot = i % 200;
        if (cached(f, hot)) hits++;
        access(f, hot);
        access(f, 100000 + i);
      }
      return hits;
    };
    expect(run(true)).toBeGreaterThan(19000);
    expect(run(false)).toBe(19800);
  });
  test('random use: invariants hold, and memory is enough', () => {
    const seed = 5;
    const r = new Prng(seed);
    const w = world({ '64k': 'always' });
    const { m, mm } = w;
    for (let step = 0; step < 300; step++) {
      const from = r.below(4000);
      for (let p = from; p < Math.min(from + 40, 4096); p++) touch(m, mm, at(p), r.below(2) === 0);
      if (r.below(3) === 0) shrink(m, r.between(0, 6));
      if (r.below(10) === 0) tryToIncMaxSeq(m, 0, 60, r.below(2) === 0);
      if (step % 20 === 19) checkMachine(m, true);
    }
    expect(m.vmstat[V.pgsteal_anon], `seed ${seed}`).toBeGreaterThan(0);
  });
});

test('rules by release', () => {
  expect(() => lruGenInit(release('5.15'))).toThrow(/^lru mglru: kernel 5.15 has none/);
  expect(lruGenInit(release('6.1')).laws.marksReclaim).toBe(true);
  expect(lruGenInit(release('7.3')).laws.marksReclaim).toBe(false);
});
