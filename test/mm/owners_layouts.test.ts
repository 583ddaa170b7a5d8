/** Owners of pages that are no folios, on every layout of the memory map: the same frames, counts and census, after every step. */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { balloonDeflate, balloonInflate } from '../../src/mm/balloon_compaction.ts';
import { machineCensus, ownerPieces } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { __GFP_COMP, GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from '../../src/mm/gfp.ts';
import { allocHugetlbFolio, checkHugetlb, setMaxHugePages, sizeToHstate } from '../../src/mm/hugetlb.ts';
import type { FolioId, Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { checkDescriptors, KIND_HWPOISON, KIND_NETPOOL } from '../../src/mm/memdesc_slab.ts';
import type { LayoutName } from '../../src/mm/memmap.ts';
import { memoryFailure } from '../../src/mm/memory_failure.ts';
import { checkPgmaps, memremapPages, zoneDevicePageInit } from '../../src/mm/memremap.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { folioPfn, pageFolio } from '../../src/mm/mm_types.ts';
import { allocFrozenPages, allocPages, folioAlloc, freeFrozenPages, freePages } from '../../src/mm/page_alloc.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { pagePoolAllocPages, pagePoolCreate, pagePoolPutPage } from '../../src/mm/page_pool.ts';
import { getPage, putPage, tryGetPage } from '../../src/mm/page_ref.ts';
import { pageCount, pageFlag, pageHead, pageOrder, pageType } from '../../src/mm/page_type.ts';
import { kfree, kmalloc } from '../../src/mm/slab_common.ts';
import { checkSlabs } from '../../src/mm/slub_check.ts';
import { folioPut } from '../../src/mm/swap.ts';
import { vfree, vmalloc } from '../../src/mm/vmalloc.ts';
import { zsCreatePool, zsFree, zsMalloc } from '../../src/mm/zsmalloc.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const PAGE = 4096;
const FRAMES = 8192;

/** What a world holds, by kind: the answer of the allocation. */
class Owners {
  readonly m: Machine;
  readonly held: { kind: string; at: number; order: number }[] = [];
  readonly net: number;
  readonly zs: ReturnType<typeof zsCreatePool>;
  readonly device: Pfn;
  devices = 0;
  /** Bad pages and pages of net pools that checks have met at once. */
  most: [number, number] = [0, 0];

  constructor(memmap: LayoutName) {
    this.m = machine({ ...world(FRAMES).config, memmap, deviceMemory: 64 * PAGE });
    this.net = pagePoolCreate(this.m);
    this.zs = zsCreatePool(PAGE);
    this.device = this.m.pgmaps[memremapPages(this.m, { type: 'private', pages: 64 })]?.data as Pfn;
    setMaxHugePages(this.m, sizeToHstate(this.m, 2 ** 21), 1);
  }

  /** What the step answers must be the same on all layouts. */
  step(r: Prng): unknown {
    const { m, held } = this;
    const what = r.below(14);
    const size = r.pick([8, 100, 500, 3000, 9000, 50_000]);
    const order = r.below(4);
    const nth = r.below(1e6);
    const put = (kind: string, at: number): unknown => {
      if (at !== 0) held.push({ kind, at, order });
      return [kind, at];
    };
    if (what === 0) return put('kmalloc', kmalloc(m, size, GFP_KERNEL));
    if (what === 1) return put('frozen', allocFrozenPages(m, GFP_KERNEL | __GFP_COMP, order));
    if (what === 2) return put('pages', allocPages(m, GFP_KERNEL | __GFP_COMP, order));
    if (what === 3) return put('vmalloc', vmalloc(m, size));
    if (what === 4) return put('net', pagePoolAllocPages(m, this.net, GFP_ATOMIC) * PAGE);
    if (what === 5) return put('zs', zsMalloc(m, this.zs, Math.min(size, 3000), GFP_HIGHUSER_MOVABLE));
    if (what === 6) {
      const f = folioAlloc(m, GFP_HIGHUSER_MOVABLE, order);
      if (f !== 0) held.push({ kind: 'folio', at: f, order });
      return f === 0 ? 0 : folioPfn(m.map, f);
    }
    if (what === 7) return nth % 2 === 0 ? balloonInflate(m, 1 + order) : balloonDeflate(m, 1 + order);
    if (what === 8) return nth % 50 === 0 ? memoryFailure(m, (1 + (nth % (FRAMES - 1))) as Pfn) : null;
    if (what === 9) {
      const pfn = (1 + (nth % (FRAMES - 1))) as Pfn;
      const may = tryGetPage(m, pfn);
      if (may) putPage(m, pfn);
      return may;
    }
    if (what === 10 && nth % 20 === 0 && this.devices < 60) {
      const pfn = zoneDevicePageInit(m, (this.device + this.devices++) as Pfn);
      getPage(m, pfn);
      putPage(m, pfn);
      return nth % 2 === 0 ? putPage(m, pfn) : null;
    }
    return held.length === 0 ? null : this.give(nth % held.length);
  }

  give(nth: number): unknown {
    const { m, held } = this;
    const [{ kind, at, order }] = held.splice(nth, 1) as [{ kind: string; at: number; order: number }];
    if (kind === 'kmalloc') kfree(m, at);
    else if (kind === 'frozen') freeFrozenPages(m, at as Pfn, order);
    else if (kind === 'pages') freePages(m, at as Pfn, order);
    else if (kind === 'vmalloc') vfree(m, at);
    else if (kind === 'net') pagePoolPutPage(m, at, true);
    else if (kind === 'zs') zsFree(m, this.zs, at);
    else folioPut(m, at as FolioId);
    return kind;
  }

  check(): void {
    const { m } = this;
    checkMachine(m, true);
    checkZones(m);
    checkSlabs(m);
    checkHugetlb(m);
    checkPgmaps(m);
    if (m.map.overlaid) return;
    const { map } = m;
    checkDescriptors(map, map.descriptors);
    // Net pools and, in 8 bytes, bad pages that are no folio's have descriptors of their own.
    const { caches } = map.descriptors;
    let bad = 0;
    for (let pfn = 1 as Pfn; pfn < FRAMES + 64; pfn++)
      if (pageFlag(map, pfn, PG.PG_hwpoison) && pageFolio(map, pfn) === 0) bad++;
    expect(caches[KIND_HWPOISON]?.inUse).toBe(map.layout === 'memdesc8' ? bad : 0);
    expect(caches[KIND_NETPOOL]?.inUse).toBe(ownerPieces(machineCensus(m), 'netpool'));
    this.most = [Math.max(this.most[0], bad), Math.max(this.most[1], caches[KIND_NETPOOL]?.inUse ?? 0)];
  }

  /** All that pages and counters say. */
  state(): unknown {
    const { map } = this.m;
    const pages: number[] = [];
    const owned = this.held.flatMap(({ kind, at }) =>
      kind === 'kmalloc' || kind === 'net'
        ? [Math.floor(at / PAGE)]
        : kind === 'pages' || kind === 'frozen'
          ? [at]
          : [],
    );
    for (const pfn of owned as Pfn[])
      pages.push(pfn, pageType(map, pfn), pageCount(map, pfn), pageHead(map, pfn), pageOrder(map, pfn));
    for (let pfn = 1 as Pfn; pfn < FRAMES; pfn++) if (pageFlag(map, pfn, PG.PG_hwpoison)) pages.push(pfn);
    return { census: [...machineCensus(this.m).pieces], vmstat: [...this.m.vmstat], pages };
  }
}

describe('owners of pages on all layouts', () => {
  test.each(['page64', 'page32', 'memdesc8'] as const)('%s: random steps as on overlay', (layout) => {
    const seed = seedOf(20261121);
    const [r, again] = [new Prng(seed), new Prng(seed)];
    const [a, b] = [new Owners('overlay'), new Owners(layout)];
    const steps = stepsOf(1500);
    for (let i = 0; i < steps; i++) {
      expect([seed, i, b.step(again)]).toEqual([seed, i, a.step(r)]);
      if (i % 100 !== 99) continue;
      b.check();
      expect([seed, i, b.state()]).toEqual([seed, i, a.state()]);
    }
    const size = 2 ** 21;
    expect(allocHugetlbFolio(b.m, sizeToHstate(b.m, size), false)).toBe(
      allocHugetlbFolio(a.m, sizeToHstate(a.m, size), false),
    );
    for (const w of [a, b]) {
      while (w.held.length > 0) w.give(w.held.length - 1);
      w.check();
    }
    expect(b.state()).toEqual(a.state());
    if (layout !== 'page64') expect(Math.min(...b.most)).toBeGreaterThan(0);
  });
});
