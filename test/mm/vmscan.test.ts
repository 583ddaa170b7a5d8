import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkXarray } from '../../src/base/xarray_check.ts';
import { MAPPING_GFP } from '../../src/mm/filemap.ts';
import { GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { FolioId, MemcgId } from '../../src/mm/ids.ts';
import { LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, NR_LRU_LISTS } from '../../src/mm/mm_inline.ts';
import { folioAttachPrivate, folioClear, folioRefAdd, folioRefCount, folioSet } from '../../src/mm/mm_types.ts';
import { ZONE_DMA, ZONE_DMA32 } from '../../src/mm/mmzone.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { highWmarkPages, zoneWatermarkOk } from '../../src/mm/page_alloc_watermark.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { kswapd, tryToFreeMemCgroupPages, tryToFreePages, wakeupKswapd } from '../../src/mm/vmscan.ts';
import { calculatePressureBalance, inactiveIsLow } from '../../src/mm/vmscan_node.ts';
import { doShrinkSlab } from '../../src/mm/vmscan_slab.ts';
import { V } from '../../src/mm/vmstat.ts';
import { access, add, cached, dirty, has, type World, world } from './vmscan_world.ts';

const inactive = (w: World, g = 1): number => w.m.lruvecs.pages[g * NR_LRU_LISTS + LRU_INACTIVE_FILE] as number;
const active = (w: World, g = 1): number => w.m.lruvecs.pages[g * NR_LRU_LISTS + LRU_ACTIVE_FILE] as number;
const reclaim = (w: World, goal = 32): number => tryToFreeMemCgroupPages(w.m, 1 as MemcgId, goal, GFP_KERNEL);

describe('how much', () => {
  test('pressure is shared by swappiness and cost', () => {
    const rows = [
      [60, 0, 0, 60, 140],
      [60, 100, 300, 143, 239],
      [60, 300, 100, 102, 335],
      [100, 0, 1000, 299, 149],
      [100, 1000, 0, 149, 299],
      [200, 10, 10, 393, 0],
      [1, 0, 0, 1, 199],
    ] as const;
    for (const [swappiness, anon, file, ap, fp] of rows)
      expect(calculatePressureBalance(swappiness, anon, file)).toEqual([ap, fp]);
  });

  test('the active list may be larger the more memory there is', () => {
    const ratio = (gib: number): number => {
      // The smallest number of inactive pages that is not low, out of so much memory, tells the ratio.
      const total = gib * 2 ** 18;
      let low = 0;
      let high = total;
      while (low + 1 < high) {
        const mid = (low + high) >>> 1;
        if (inactiveIsLow(mid, total - mid, 4096)) low = mid;
        else high = mid;
      }
      return Math.ceil((total - high) / high);
    };
    expect([1, 2, 4, 10, 16, 24, 100].map(ratio)).toEqual([3, 4, 6, 10, 12, 15, 31]);
    expect(inactiveIsLow(400_000, 5_891_456, 4096)).toBe(false);
    expect(inactiveIsLow(390_000, 5_901_456, 4096)).toBe(true);
    expect(inactiveIsLow(100, 101, 4096)).toBe(true);
    expect(inactiveIsLow(100, 100, 4096)).toBe(false);
  });

  test('one reclaim of a group scans 1, 1, 3, 7, 15, 31 of 4096 pages: 58 are freed for a goal of 32', () => {
    const w = world({ limit: 5000 });
    for (let i = 0; i < 4096; i++) add(w, i);
    expect(reclaim(w)).toBe(58);
    expect(inactive(w)).toBe(4096 - 58);
    expect(cached(w, 57)).toBe(false);
    expect(cached(w, 58)).toBe(true);
    expect(w.m.lruvecs.node.lowestPriority).toBe(7);
    checkLru(w.m);
  });

  test('with folios of 16 pages each scan takes a whole one: 32 are freed', () => {
    const w = world({ limit: 5000 });
    for (let i = 0; i < 4096; i += 16) add(w, i, 4);
    expect(reclaim(w)).toBe(32);
    expect(w.m.lruvecs.node.lowestPriority).toBe(11);
    expect(w.m.lruvecs.folios[NR_LRU_LISTS + LRU_INACTIVE_FILE]).toBe(254);
    checkLru(w.m);
  });

  test('shrinkers put off what is less than a portion, and then do it', () => {
    // A queue that nothing is taken from: (freeable, priority 12 … 0) with the objects looked at.
    const scans = (freeable: number): number[] => {
      let deferred = 0;
      const out: number[] = [];
      for (let priority = 12; priority >= 0; priority--) {
        const plan = doShrinkSlab(freeable, deferred, priority, 2);
        deferred = plan.deferred;
        if (plan.scan > 0) out.push(plan.scan);
      }
      return out;
    };
    expect(scans(64)).toEqual([95, 128]);
    expect(scans(1000)).toEqual([128, 256, 512, 1024, 1920]);
    expect(scans(5000)).toEqual([128, 256, 512, 1280, 2560, 5120, 9984]);
    // Seeks 0: half at once.
    expect(doShrinkSlab(255, 0, 12, 0)).toEqual({ scan: 0, deferred: 127 });
    expect(doShrinkSlab(256, 0, 12, 0)).toEqual({ scan: 128, deferred: 0 });
    expect(doShrinkSlab(0, 7, 12, 0)).toEqual({ scan: 0, deferred: 7 });
  });
});

/** What a trace comes to under a limit of 1000 pages. */
function figures(trace: (touch: (page: number) => void) => void): Record<string, number> {
  const w = world({ limit: 1000 });
  const { m } = w;
  let hits = 0;
  let misses = 0;
  trace((page) => {
    if (access(w, page)) hits++;
    else misses++;
  });
  checkLru(m);
  checkXarray(m.pages, m.spaces.head, m.nrSpaces);
  const v = m.vmstat;
  return {
    hits,
    misses,
    refaults: v[V.workingset_refault_file] as number,
    activate: v[V.workingset_activate_file] as number,
    restore: v[V.workingset_restore_file] as number,
    pgactivate: v[V.pgactivate] as number,
    pgdeactivate: v[V.pgdeactivate] as number,
    reclaimed: v[V.pgsteal_file] as number,
    calls: m.memcgs.failcnt[1] as number,
    inactive: inactive(w),
    active: active(w),
    age: m.lruvecs.nonresidentAge[1] as number,
    lowest: m.lruvecs.node.lowestPriority,
  };
}

describe('whole traces against the reference simulation', () => {
  const row = (f: readonly number[]): Record<string, number> => {
    const names = ['hits', 'misses', 'refaults', 'activate', 'restore', 'pgactivate', 'pgdeactivate', 'reclaimed'];
    return Object.fromEntries(
      [...names, 'calls', 'inactive', 'active', 'age', 'lowest'].map((n, i) => [n, f[i] ?? -1]),
    );
  };
  const range = (touch: (page: number) => void, from: number, to: number): void => {
    for (let i = from; i <= to; i++) touch(i);
  };

  test('V1: a loop just too large', () => {
    const got = figures((touch) => {
      for (let n = 0; n < 5; n++) range(touch, 0, 1199);
    });
    expect(got).toEqual(row([0, 6000, 4800, 0, 0, 0, 0, 5040, 90, 960, 0, 5040, 5]));
  });

  test('V2: a loop that fits', () => {
    const got = figures((touch) => {
      for (let n = 0; n < 5; n++) range(touch, 0, 899);
    });
    expect(got).toEqual(row([3600, 900, 0, 0, 0, 900, 0, 0, 0, 0, 900, 900, 13]));
  });

  test('V3: a hot set and a scan', () => {
    const got = figures((touch) => {
      for (let i = 0; i < 20000; i++) {
        touch(i % 200);
        touch(100000 + i);
      }
    });
    expect(got).toEqual(row([19800, 20200, 0, 0, 0, 200, 0, 19228, 418, 772, 200, 19428, 5]));
  });

  test('V4: skewed random reads', () => {
    const got = figures((touch) => {
      let x = 1;
      for (let i = 0; i < 100000; i++) {
        x = (Math.imul(1103515245, x) + 12345) & 0x7fffffff;
        const u = (x >>> 8) % 10000;
        touch(u < 8000 ? u % 500 : 500 + ((7919 * u) % 3500));
      }
    });
    expect(got).toEqual(row([83648, 16352, 13852, 2646, 1146, 17804, 19913, 15378, 306, 437, 537, 35828, 4]));
  });

  test('V5: a working set that gives way to a larger one', () => {
    const got = figures((touch) => {
      for (let n = 0; n < 6; n++) range(touch, 0, 699);
      for (let n = 0; n < 20; n++) range(touch, 2000, 3099);
    });
    expect(got).toEqual(row([3500, 22700, 20900, 0, 0, 700, 243, 21738, 346, 505, 457, 22438, 4]));
  });
});

describe('folio by folio', () => {
  const three = (): { w: World; folios: FolioId[] } => {
    const w = world({ limit: 100 });
    return { w, folios: [add(w, 0), add(w, 1), add(w, 2)] };
  };

  test('a locked folio stays, and goes to the newest end', () => {
    const { w, folios } = three();
    folioSet(w.m.map, folios[0] as FolioId, PG.PG_locked);
    expect(reclaim(w)).toBe(2);
    expect(cached(w, 0)).toBe(true);
    expect(has(w, folios[0] as FolioId, PG.PG_lru)).toBe(true);
    folioClear(w.m.map, folios[0] as FolioId, PG.PG_locked);
    expect(reclaim(w)).toBe(1);
    checkLru(w.m);
  });

  test('a folio that somebody refers to stays', () => {
    const { w, folios } = three();
    folioRefAdd(w.m.map, folios[1] as FolioId, 1);
    expect(reclaim(w)).toBe(2);
    expect(cached(w, 1)).toBe(true);
    expect(folioRefCount(w.m.map, folios[1] as FolioId)).toBe(2);
    expect(has(w, folios[1] as FolioId, PG.PG_active)).toBe(false);
    checkLru(w.m);
  });

  test('a dirty folio is marked and made active; the flusher, woken, writes all of them', () => {
    const { w, folios } = three();
    for (const f of folios) dirty(w, f);
    // One page is scanned first. What the flusher has written is clean, and goes.
    expect(reclaim(w)).toBe(2);
    expect(w.written).toEqual(folios);
    expect(has(w, folios[0] as FolioId, PG.PG_active)).toBe(true);
    expect(has(w, folios[0] as FolioId, PG.PG_reclaim)).toBe(true);
    expect(w.m.vmstat[V.nr_vmscan_immediate_reclaim]).toBe(1);
    checkLru(w.m);
  });

  test('one dirty folio among clean ones does not wake the flusher', () => {
    const w = world({ limit: 100 });
    for (let i = 0; i < 32; i++) add(w, i);
    dirty(w, 0 as FolioId);
    const f = add(w, 40);
    dirty(w, f);
    expect(reclaim(w)).toBe(32);
    expect(w.written).toEqual([]);
  });

  test('a folio under write-back is passed by and marked', () => {
    const { w, folios } = three();
    folioSet(w.m.map, folios[2] as FolioId, PG.PG_writeback);
    expect(reclaim(w)).toBe(2);
    expect(has(w, folios[2] as FolioId, PG.PG_reclaim)).toBe(true);
    expect(active(w)).toBe(1);
  });

  test('private data that is not given up makes a folio active; given up, it goes', () => {
    const { w, folios } = three();
    for (const f of folios) folioAttachPrivate(w.m.map, f, 1);
    expect(reclaim(w)).toBe(0);
    expect(w.m.vmstat[V.pgactivate]).toBeGreaterThan(0);
    checkLru(w.m);
    w.releases = true;
    while (active(w) + inactive(w) > 0) expect(reclaim(w)).toBeGreaterThan(0);
    checkLru(w.m);
  });

  test('nothing but active folios: they are deactivated by force', () => {
    const w = world({ limit: 100 });
    for (let n = 0; n < 2; n++) for (let i = 0; i < 100; i++) access(w, i);
    expect(active(w)).toBe(100);
    expect(access(w, 100)).toBe(false);
    expect(cached(w, 100)).toBe(true);
    expect(inactive(w) + active(w)).toBeLessThanOrEqual(100);
    expect(w.m.vmstat[V.pgdeactivate]).toBeGreaterThan(0);
    checkLru(w.m);
  });

  test('tmpfs folios are not scanned while there is no swap', () => {
    const w = world({ limit: 100 });
    for (let i = 0; i < 50; i++) add(w, i);
    const swapbacked = w.m.lruvecs.pages[NR_LRU_LISTS + 0];
    expect(swapbacked).toBe(0);
    expect(reclaim(w)).toBeGreaterThan(0);
    expect(w.m.vmstat[V.pgscan_anon]).toBe(0);
  });
});

test('a group full of dirty pages goes on when reclaim can wait for write-back, and runs out of memory when it cannot', () => {
  const fill = (waits: boolean): World => {
    const w = world({ limit: 100, slow: true });
    if (!waits) delete w.m.io.waitWriteback;
    for (let i = 0; i < 300; i++) {
      const f = add(w, i);
      if (f !== 0) dirty(w, f);
    }
    checkLru(w.m);
    return w;
  };
  const patient = fill(true).m;
  expect([patient.memcgs.oom[1], patient.memcgs.pgpgin[1]]).toEqual([0, 300]);
  const hasty = fill(false).m;
  expect(hasty.memcgs.oom[1]).toBeGreaterThan(0);
  expect(hasty.memcgs.pgpgin[1]).toBeLessThan(300);
});

describe('the whole machine', () => {
  test('a writer that is faster than its device waits in reclaim instead of running out of memory', () => {
    const w = world({ memory: 2 ** 24, slow: true });
    for (let i = 0; i < 2 ** 13; i++) {
      const f = add(w, i);
      expect(f).not.toBe(0);
      dirty(w, f);
    }
    expect(w.m.vmstat[V.oom_kill]).toBe(0);
    checkLru(w.m);
  });

  test('kswapd brings a zone from below its low mark to its high one', () => {
    const w = world({ memory: 2 ** 26 });
    const { zones } = w.m;
    // No reclaim while the reserves are open: take until some zone asks for kswapd.
    zones.memalloc = true;
    for (let i = 0; !w.m.lruvecs.node.kswapdWoken; i++) {
      add(w, i);
      if (i % 64 === 0) wakeupKswapd(w.m, ZONE_DMA32, 0);
    }
    zones.memalloc = false;
    expect(w.m.vmstat[V.pageoutrun]).toBe(0);
    kswapd(w.m);
    expect(w.m.vmstat[V.pageoutrun]).toBe(1);
    const zone = [ZONE_DMA, ZONE_DMA32].find((z) =>
      zoneWatermarkOk(zones, z, 0, highWmarkPages(zones, z), ZONE_DMA32, 0),
    );
    expect(zone).toBeDefined();
    expect(w.m.vmstat[V.pgsteal_kswapd]).toBe(w.m.vmstat[V.pgsteal_file]);
    expect(w.m.lruvecs.node.kswapdFailures).toBe(0);
    checkLru(w.m);
    checkZones(w.m);
  });

  test('a balanced node does not wake kswapd', () => {
    const w = world();
    wakeupKswapd(w.m, ZONE_DMA32, 0);
    expect(w.m.lruvecs.node.kswapdWoken).toBe(false);
  });

  test('a file four times as large as memory is read through it; all invariants hold', () => {
    const w = world({ memory: 2 ** 26, batch: 31 });
    for (let i = 0; i < 4 * 2 ** 14; i++) expect(add(w, i)).not.toBe(0);
    checkLru(w.m);
    checkZones(w.m);
    checkXarray(w.m.pages, w.m.spaces.head, w.m.nrSpaces);
    expect(w.m.vmstat[V.oom_kill]).toBe(0);
    expect(w.m.vmstat[V.pgsteal_kswapd]).toBeGreaterThan(0);
  });

  test('direct reclaim frees at least 32 pages when there are so many', () => {
    const w = world();
    for (let i = 0; i < 4096; i++) add(w, i);
    expect(tryToFreePages(w.m, MAPPING_GFP, 0)).toBeGreaterThanOrEqual(32);
    expect(w.m.vmstat[V.pgsteal_direct]).toBeGreaterThanOrEqual(32);
    expect(w.m.vmstat[V.allocstall_movable]).toBe(1);
    checkLru(w.m);
  });

  test('nothing to reclaim is a result, and kswapd gives up after sixteen runs', () => {
    const w = world({ memory: 2 ** 26 });
    // Pages that nobody can free: they are on no list.
    let folio = add(w, 0);
    for (let i = 1; folio !== 0; i++) {
      folio = add(w, i);
      if (folio !== 0) folioRefAdd(w.m.map, folio, 1);
    }
    expect(w.m.vmstat[V.oom_kill]).toBeGreaterThan(0);
    expect(w.m.lruvecs.node.kswapdFailures).toBe(16);
    checkLru(w.m);
  });
});

/** The same rules written plainly for pages of one group: arrays, oldest first. */
class PlainLru {
  readonly inactive: number[] = [];
  readonly active: number[] = [];
  private readonly referenced = new Set<number>();
  private readonly workingset = new Set<number>();
  private readonly shadows = new Map<number, [age: number, workingset: boolean]>();
  private age = 0;
  private activations = 0;
  private snapshot = 0;
  private readonly limit: number;
  constructor(limit: number) {
    this.limit = limit;
  }
  has(page: number): boolean {
    return this.inactive.includes(page) || this.active.includes(page);
  }
  access(page: number): void {
    if (!this.has(page)) {
      if (this.inactive.length + this.active.length >= this.limit) this.reclaim();
      const shadow = this.shadows.get(page);
      this.shadows.delete(page);
      if (shadow !== undefined && this.age - shadow[0] <= this.active.length) {
        this.active.push(page);
        this.age++;
        this.activations++;
        if (shadow[1]) this.workingset.add(page);
      } else this.inactive.push(page);
    }
    if (!this.referenced.delete(page)) this.referenced.add(page);
    else if (this.active.includes(page)) this.referenced.add(page);
    else {
      this.inactive.splice(this.inactive.indexOf(page), 1);
      this.active.push(page);
      this.age++;
    }
  }
  private reclaim(): void {
    let freed = 0;
    let skipped = false;
    for (const force of [false, false, true]) {
      for (let priority = 12; priority >= 0 && freed < 32; priority--) {
        const low = this.inactive.length < this.active.length;
        const deactivate = force || low || this.activations !== this.snapshot;
        const left = [this.inactive.length >> priority, this.active.length >> priority];
        let round = 0;
        while (left[0] + left[1] > 0 && round < 32) {
          const n = Math.min(left[0], 32);
          left[0] -= n;
          for (const page of this.inactive.splice(0, n)) {
            this.shadows.set(page, [this.age++, this.workingset.delete(page)]);
            this.referenced.delete(page);
            round++;
          }
          const k = Math.min(left[1], 32);
          left[1] -= k;
          if (!deactivate) skipped ||= k > 0;
          else
            for (const page of this.active.splice(0, k)) {
              this.workingset.add(page);
              this.inactive.push(page);
            }
        }
        freed += round;
      }
      this.snapshot = this.activations;
      if (freed > 0 || (force && !skipped)) return;
    }
  }
}

test('random reads of a small world agree with the plain lists, page for page', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = new Prng(seed);
    const limit = random.between(40, 300);
    const w = world({ limit });
    const plain = new PlainLru(limit);
    const span = random.between(limit, limit * 4);
    let at = 0;
    for (let i = 0; i < 6000; i++) {
      const kind = random.below(10);
      if (kind < 4) at = random.below(span);
      else if (kind < 7) at = Math.floor(span * random.float() ** 4);
      else at = (at + 1) % span;
      access(w, at);
      plain.access(at);
      if (i % 500 === 499) {
        const mine: number[] = [];
        for (let p = 0; p < span; p++) if (cached(w, p)) mine.push(p);
        const theirs = [...plain.inactive, ...plain.active].sort((a, b) => a - b);
        expect(mine, `seed ${seed} step ${i}`).toEqual(theirs);
        expect([inactive(w), active(w)], `seed ${seed} step ${i}`).toEqual([
          plain.inactive.length,
          plain.active.length,
        ]);
        checkLru(w.m);
      }
    }
  }
});
