import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { machineCensus, OWNER_ROW, ownerPages } from '../../src/mm/census.ts';
import { __GFP_ACCOUNT, __GFP_MEMALLOC, __GFP_RECLAIMABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { allocPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { getPage } from '../../src/mm/page_ref.ts';
import {
  cacheShape,
  calculateAlignment,
  type KmemCacheId,
  SLAB_HWCACHE_ALIGN,
  SLAB_NO_MERGE,
  SLAB_RECLAIM_ACCOUNT,
  SLAB_TYPESAFE_BY_RCU,
} from '../../src/mm/slab.ts';
import {
  kfree,
  kmalloc,
  kmallocSizes,
  kmallocSlab,
  kmemCacheCreate,
  kmemCacheDestroy,
  slabinfo,
  slabinfoText,
} from '../../src/mm/slab_common.ts';
import { flushCpuSlab, kmemCacheAlloc, kmemCacheFree, kmemCacheShrink, rcuBarrier } from '../../src/mm/slub.ts';
import { checkSlabs } from '../../src/mm/slub_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const PAGE = 4096;
const two = { pageSize: PAGE, cpus: 2 };

describe('shapes', () => {
  test('of caches that a live kernel has: bytes, order, objects, min_partial, cpu_partial', () => {
    const of = (size: number, o: object) => {
      const s = cacheShape(size, { ...two, ...o });
      return [s.size, s.order, s.objects, s.minPartial, s.cpuPartial];
    };
    expect(of(576, { ctor: true })).toEqual([584, 1, 14, 5, 52]);
    expect(of(616, { ctor: true })).toEqual([624, 1, 13, 5, 52]);
    expect(of(184, { flags: SLAB_TYPESAFE_BY_RCU, freeptrOffset: 8, align: 64 })).toEqual([192, 0, 21, 5, 120]);
    expect(of(8192, { align: 8192 })).toEqual([8192, 3, 4, 6, 6]);
    expect(of(256, { align: 256 })).toEqual([256, 0, 16, 5, 52]);
  });

  test('the free pointer: in the middle, or behind what must stay; 80 bytes become 88, 96 when aligned to 16', () => {
    expect(cacheShape(80, two)).toMatchObject({ size: 80, offset: 40, inuse: 80 });
    const stable = { ...two, flags: SLAB_TYPESAFE_BY_RCU };
    expect(cacheShape(80, stable)).toMatchObject({ size: 88, offset: 80 });
    expect(cacheShape(80, { ...stable, align: 16 })).toMatchObject({ size: 96, offset: 80 });
    expect(cacheShape(80, { ...stable, align: 16, freeptrOffset: 16 })).toMatchObject({ size: 80, offset: 16 });
    expect(cacheShape(20, { ...two, ctor: true })).toMatchObject({ size: 32, offset: 24 });
  });

  test('alignment to cache lines is halved for small objects', () => {
    expect([8, 16, 17, 33, 64, 100].map((n) => calculateAlignment(SLAB_HWCACHE_ALIGN, 0, n))).toEqual([
      8, 16, 32, 64, 64, 64,
    ]);
    expect(calculateAlignment(0, 0, 100)).toBe(8);
    expect(calculateAlignment(SLAB_HWCACHE_ALIGN, 128, 100)).toBe(128);
  });

  test('when memory is in small pieces a slab is as small as an object allows', () => {
    const m = world(1024);
    const c = kmemCacheCreate(m, 'big', 2000, { flags: SLAB_NO_MERGE });
    expect(m.slab.cache.order[c]).toBe(3);
    // Every second page is taken: blocks of one page are all there is.
    const pages: Pfn[] = [];
    for (let p = allocPages(m, __GFP_MEMALLOC, 0); p !== 0; p = allocPages(m, __GFP_MEMALLOC, 0)) pages.push(p);
    for (const p of pages) if (p % 2 === 0) freePages(m, p, 0);
    drainAllPages(m);
    const small = kmemCacheAlloc(m, c, GFP_KERNEL);
    expect(m.slab.slab.objects[m.slab.cache.cpuSlab[c] as number]).toBe(2);
    checkSlabs(m);
    kmemCacheFree(m, c, small);
    checkSlabs(m);
  });
});

describe('a cache', () => {
  const cacheOf = (m: Machine, size: number, flags = 0) =>
    kmemCacheCreate(m, 't', size, { flags: flags | SLAB_NO_MERGE });

  test('hands out a slab from its start; what the CPU frees comes next', () => {
    const m = world(4096);
    const c = cacheOf(m, 512);
    const a = [0, 1, 2, 3].map(() => kmemCacheAlloc(m, c, GFP_KERNEL));
    expect(a.map((x) => x - (a[0] as number))).toEqual([0, 512, 1024, 1536]);
    kmemCacheFree(m, c, a[1] as number);
    kmemCacheFree(m, c, a[3] as number);
    expect(kmemCacheAlloc(m, c, GFP_KERNEL)).toBe(a[3]);
    expect(kmemCacheAlloc(m, c, GFP_KERNEL)).toBe(a[1]);
    checkSlabs(m);
    expect(m.vmstat[V.nr_slab_unreclaimable]).toBe(2 ** (m.slab.cache.order[c] as number));
  });

  test('keeps min_partial empty slabs on the node, and frees the others', () => {
    const m = world(8192);
    const c = cacheOf(m, 1024, SLAB_RECLAIM_ACCOUNT);
    const per = m.slab.cache.objects[c] as number;
    const all: number[] = [];
    for (let i = 0; i < per * 40; i++) all.push(kmemCacheAlloc(m, c, GFP_KERNEL));
    expect(m.slab.cache.nrSlabs[c]).toBe(40);
    for (const x of all) kmemCacheFree(m, c, x);
    flushCpuSlab(m, c);
    checkSlabs(m);
    expect(m.slab.cache.nrSlabs[c]).toBe(5);
    expect(m.slab.cache.nrPartial[c]).toBe(5);
    expect(m.vmstat[V.nr_slab_reclaimable]).toBe(5 * 2 ** (m.slab.cache.order[c] as number));
    expect(kmemCacheShrink(m, c)).toBe(true);
    expect(m.vmstat[V.nr_slab_reclaimable]).toBe(0);
  });

  test('a shrink lists the fullest slabs first', () => {
    const m = world(8192);
    const c = cacheOf(m, 1024);
    const per = m.slab.cache.objects[c] as number;
    const all: number[] = [];
    for (let i = 0; i < per * 6; i++) all.push(kmemCacheAlloc(m, c, GFP_KERNEL));
    for (let s = 0; s < 6; s++) for (let i = 0; i <= s; i++) kmemCacheFree(m, c, all[s * per + i] as number);
    kmemCacheShrink(m, c);
    checkSlabs(m);
    const order: number[] = [];
    for (let s = m.slab.cache.partialHead[c] as number; s !== 0; s = m.slab.slab.next[s] as number)
      order.push((m.slab.slab.objects[s] as number) - (m.slab.slab.inuse[s] as number));
    expect(order).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('type-stable: slabs go when a grace period has passed', () => {
    const m = world(4096);
    const c = cacheOf(m, 1024, SLAB_TYPESAFE_BY_RCU);
    const all = Array.from({ length: 200 }, () => kmemCacheAlloc(m, c, GFP_KERNEL));
    for (const x of all) kmemCacheFree(m, c, x);
    kmemCacheShrink(m, c);
    checkSlabs(m);
    expect(m.slab.cache.nrSlabs[c]).toBe(0);
    expect(m.vmstat[V.nr_slab_unreclaimable]).toBeGreaterThan(0);
    rcuBarrier(m);
    checkSlabs(m);
    expect(m.vmstat[V.nr_slab_unreclaimable]).toBe(0);
  });

  test('is merged with one like it, unless it must not be', () => {
    const m = world(4096);
    const a = kmemCacheCreate(m, 'a', 200);
    expect(kmemCacheCreate(m, 'b', 198)).toBe(a);
    expect(m.slab.cache.refcount[a]).toBe(2);
    const others: KmemCacheId[] = [
      kmemCacheCreate(m, 'c', 190, { flags: SLAB_NO_MERGE }),
      kmemCacheCreate(m, 'd', 200, { flags: SLAB_RECLAIM_ACCOUNT }),
      kmemCacheCreate(m, 'e', 200, { ctor: true }),
      kmemCacheCreate(m, 'f', 200, { flags: SLAB_TYPESAFE_BY_RCU }),
      kmemCacheCreate(m, 'g', 200, { align: 64 }),
      kmemCacheCreate(m, 'h', 200, { usersize: 8 }),
    ];
    expect(new Set([a, ...others]).size).toBe(7);
    expect(kmemCacheDestroy(m, a)).toBe(true);
    const x = kmemCacheAlloc(m, a, GFP_KERNEL);
    expect(kmemCacheDestroy(m, a)).toBe(false);
    kmemCacheFree(m, a, x);
    expect(kmemCacheDestroy(m, a)).toBe(true);
    expect(slabinfo(m).some((r) => r.name === 'a')).toBe(false);
  });

  test('refuses what is not its own', () => {
    const m = world(4096);
    const c = cacheOf(m, 256);
    const d = cacheOf(m, 256);
    const x = kmemCacheAlloc(m, c, GFP_KERNEL);
    expect(() => kmemCacheFree(m, d, x)).toThrow(/of cache t/);
    expect(() => kmemCacheFree(m, c, x + 8)).toThrow(/not one that is out/);
    expect(() => kmemCacheFree(m, c, 0)).toThrow(/no slab/);
    kmemCacheFree(m, c, x);
    expect(() => kmemCacheFree(m, c, x)).toThrow(/freed twice/);
    for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 40]) expect(() => kmemCacheCreate(m, 'x', bad)).toThrow(QuireError);
    expect(() => kmemCacheCreate(m, 'x', 64, { align: 3 })).toThrow(/power of two/);
    expect(() => kmemCacheCreate(m, 'x', 64, { flags: SLAB_TYPESAFE_BY_RCU, freeptrOffset: 60 })).toThrow(/word/);
    checkSlabs(m);
  });

  test('a page of a slab takes no reference', () => {
    const m = world(4096);
    const x = kmalloc(m, 100, GFP_KERNEL);
    const big = kmalloc(m, 100_000, GFP_KERNEL);
    expect(() => getPage(m, Math.floor(x / PAGE) as Pfn)).toThrow(/page type slab takes no reference: keep the object/);
    expect(() => getPage(m, (big / PAGE + 3) as Pfn)).toThrow(/page type large_kmalloc takes no reference/);
  });
});

describe('kmalloc', () => {
  test('classes', () => {
    expect(kmallocSizes(PAGE)).toEqual([8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192]);
    const m = world(4096);
    const name = (bytes: number, gfp = GFP_KERNEL) => m.slab.names[kmallocSlab(m, bytes, gfp)];
    expect([1, 8, 9, 65, 96, 97, 129, 193, 4097, 8192].map((n) => name(n))).toEqual(
      ['8', '8', '16', '96', '96', '128', '192', '256', '8k', '8k'].map((n) => `kmalloc-${n}`),
    );
    expect(name(100, GFP_KERNEL | __GFP_ACCOUNT)).toBe('kmalloc-cg-128');
    expect(name(100, GFP_KERNEL | __GFP_RECLAIMABLE)).toBe('kmalloc-rcl-128');
    expect(name(100, GFP_KERNEL | 1)).toBe('dma-kmalloc-128');
    expect(kmallocSlab(m, 8193, GFP_KERNEL)).toBe(0);
    expect(m.slab.cache.align[kmallocSlab(m, 96, GFP_KERNEL)]).toBe(32);
    expect(m.slab.cache.align[kmallocSlab(m, 192, GFP_KERNEL)]).toBe(64);
  });

  test('above two pages: whole pages, frozen, of their own type; the census tells them', () => {
    const m = world(4096);
    const x = kmalloc(m, 8193, GFP_KERNEL);
    const y = kmalloc(m, 2 ** 20 + 1, GFP_KERNEL);
    expect(m.vmstat[V.nr_slab_unreclaimable]).toBe(4 + 512);
    const census = machineCensus(m);
    expect(census.pieces[OWNER_ROW.large_kmalloc + 2]).toBe(1);
    expect(census.pieces[OWNER_ROW.large_kmalloc + 9]).toBe(1);
    checkSlabs(m);
    expect(() => kfree(m, y + PAGE)).toThrow(/not what kmalloc returned/);
    kfree(m, x);
    kfree(m, y);
    expect(() => kfree(m, y)).toThrow(QuireError);
    expect(kmalloc(m, 2 ** 23, GFP_KERNEL)).toBe(0);
    expect(() => kmalloc(m, 0, GFP_KERNEL)).toThrow(QuireError);
    checkSlabs(m);
    drainAllPages(m);
    checkZones(m);
    expect(ownerPages(machineCensus(m), 'large_kmalloc')).toBe(0);
  });

  test('slabinfo', () => {
    const m = world(4096);
    for (let i = 0; i < 100; i++) kmalloc(m, 100, GFP_KERNEL);
    const row = slabinfo(m).find((r) => r.name === 'kmalloc-128');
    expect(row).toEqual({
      name: 'kmalloc-128',
      activeObjs: 128,
      numObjs: 128,
      objsize: 128,
      objperslab: 32,
      pagesperslab: 1,
      numSlabs: 4,
    }); // prettier-ignore
    const line = slabinfoText(m)
      .split('\n')
      .find((l) => l.startsWith('kmalloc-128 '));
    expect(line).toBe(
      'kmalloc-128          128    128    128   32    1 : tunables    0    0    0 : slabdata      4      4      0',
    );
  });
});

/** The lists of one cache in plain words: which slab an object comes from. Slabs are named by their first object's address. */
interface PlainSlab {
  base: number;
  free: number[];
  total: number;
}
class PlainCache {
  cpu: PlainSlab | null = null;
  cpuFree: number[] = [];
  cpuPartial: PlainSlab[] = [];
  node: PlainSlab[] = [];
  readonly slabs = new Map<number, PlainSlab>();
  readonly cpuSlabs: number;
  readonly minPartial: number;
  constructor(cpuSlabs: number, minPartial: number) {
    this.cpuSlabs = cpuSlabs;
    this.minPartial = minPartial;
  }

  /** The object that comes next, or null: of a new slab. */
  alloc(): number | null {
    if (this.cpuFree.length > 0) return this.cpuFree.shift() as number;
    if (this.cpu !== null && this.cpu.free.length > 0) return this.load(this.cpu);
    this.cpu = null;
    if (this.cpuPartial.length > 0) return this.load(this.cpuPartial.shift() as PlainSlab);
    const first = this.node.shift();
    if (first === undefined) return null;
    for (let n = 1; this.node.length > 0; n++) {
      this.cpuPartial.unshift(this.node.shift() as PlainSlab);
      if (n > Math.floor(this.cpuSlabs / 2)) break;
    }
    return this.load(first);
  }

  fresh(objects: number[]): number {
    const slab: PlainSlab = { base: objects[0] as number, free: objects, total: objects.length };
    this.slabs.set(slab.base, slab);
    return this.load(slab);
  }

  private load(slab: PlainSlab): number {
    this.cpu = slab;
    this.cpuFree = slab.free;
    slab.free = [];
    return this.cpuFree.shift() as number;
  }

  free(slab: PlainSlab, x: number): void {
    if (slab === this.cpu) {
      this.cpuFree.unshift(x);
      return;
    }
    const full = slab.free.length === 0;
    slab.free.unshift(x);
    if (full) {
      // The CPU's partial slabs are a stack; when it is full all of it moves to the node.
      if (this.cpuPartial.length >= this.cpuSlabs) {
        const moved = this.cpuPartial;
        this.cpuPartial = [];
        this.toNode(moved);
      }
      this.cpuPartial.unshift(slab);
    } else if (slab.free.length === slab.total && this.node.includes(slab) && this.node.length >= this.minPartial) {
      this.node.splice(this.node.indexOf(slab), 1);
      this.slabs.delete(slab.base);
    }
  }

  private toNode(moved: PlainSlab[]): void {
    for (const s of moved)
      if (s.free.length === s.total && this.node.length >= this.minPartial) this.slabs.delete(s.base);
      else this.node.push(s);
  }
}

describe('random work', () => {
  test.each([
    [8192, 1],
    [700, 2],
    [96, 3],
    [3000, 4],
  ])('objects of %i bytes come from the slabs that the plain lists say, seed %i', (size, seed) => {
    fuzz(
      seedOf(seed),
      stepsOf(4000),
      (r) =>
        r.below(100) < (r.below(8) === 0 ? 90 : 48)
          ? ['alloc', 1 + r.below(40)]
          : ['free', r.below(1e6), 1 + r.below(30)],
      (ops) => {
        const m = world(32768);
        const c = kmemCacheCreate(m, 'x', size, { flags: SLAB_NO_MERGE });
        const { cache, slab } = m.slab;
        const plain = new PlainCache(cache.cpuPartialSlabs[c] as number, cache.minPartial[c] as number);
        const live: number[] = [];
        const home = new Map<number, PlainSlab>();
        const step = cache.size[c] as number;
        for (const [kind, a, b] of ops) {
          if (kind === 'alloc' && live.length < 2500)
            for (let i = 0; i < (a as number); i++) {
              const x = kmemCacheAlloc(m, c, GFP_KERNEL);
              let want = plain.alloc();
              if (want === null) {
                const s = cache.cpuSlab[c] as number;
                const base = (slab.pfn[s] as number) * PAGE;
                if (plain.slabs.has(base)) throw new Error(`slab at ${base} was there already`);
                want = plain.fresh(Array.from({ length: slab.objects[s] as number }, (_, k) => base + k * step));
                for (const free of [want, ...plain.cpuFree]) home.set(free, plain.cpu as PlainSlab);
              }
              if (x !== want) throw new Error(`object ${x}, the plain lists say ${want}`);
              live.push(x);
            }
          else if (kind === 'free')
            for (let i = 0; i < (b as number) && live.length > 0; i++) {
              const at = (a as number) % live.length;
              const x = live[at] as number;
              live[at] = live[live.length - 1] as number;
              live.pop();
              plain.free(home.get(x) as PlainSlab, x);
              kmemCacheFree(m, c, x);
            }
          if (cache.nrSlabs[c] !== plain.slabs.size)
            throw new Error(`${cache.nrSlabs[c]} slabs, plain ${plain.slabs.size}`);
        }
        checkSlabs(m);
        for (const x of live) kmemCacheFree(m, c, x);
        kmemCacheShrink(m, c);
        checkSlabs(m);
        expect(m.vmstat[V.nr_slab_unreclaimable]).toBe(0);
      },
    );
  });

  test('kmalloc and kfree of every size: no two objects overlap, all memory comes back', () => {
    fuzz(
      seedOf(5),
      stepsOf(6000),
      (r) =>
        r.below(2) === 0
          ? [
              'a',
              Math.ceil(2 ** (r.below(170) / 10)),
              r.pick([GFP_KERNEL, GFP_KERNEL | __GFP_ACCOUNT, GFP_KERNEL | __GFP_RECLAIMABLE]),
            ]
          : ['f', r.below(1e6)],
      (ops) => {
        const m = world(65536);
        const free = m.vmstat[V.nr_free_pages] as number;
        const owner = new Map<number, number>();
        const live: [number, number][] = [];
        ops.forEach(([kind, a, b], i) => {
          if (kind === 'a') {
            const x = kmalloc(m, a as number, b as number);
            if (x === 0) return;
            for (let at = x; at < x + (a as number); at += 8) {
              if (owner.has(at)) throw new Error(`${at} given twice`);
              owner.set(at, i);
            }
            live.push([x, a as number]);
          } else if (live.length > 0) {
            const [x, n] = live.splice((a as number) % live.length, 1)[0] as [number, number];
            for (let at = x; at < x + n; at += 8) owner.delete(at);
            kfree(m, x);
          }
        });
        checkSlabs(m);
        checkZones(m);
        const census = machineCensus(m);
        expect(ownerPages(census, 'slab') + ownerPages(census, 'large_kmalloc')).toBe(
          (m.vmstat[V.nr_slab_unreclaimable] as number) + (m.vmstat[V.nr_slab_reclaimable] as number),
        );
        for (const [x] of live) kfree(m, x);
        for (const c of m.slab.list) kmemCacheShrink(m, c);
        drainAllPages(m);
        checkSlabs(m);
        expect(m.vmstat[V.nr_free_pages]).toBe(free);
      },
    );
  });
});
