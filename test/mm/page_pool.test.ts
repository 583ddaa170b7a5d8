import { describe, expect, test } from 'vitest';
import { machineCensus, OWNER_ROW } from '../../src/mm/census.ts';
import { GFP_ATOMIC } from '../../src/mm/gfp.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import {
  checkPagePools,
  pagePoolAllocFrag,
  pagePoolAllocPages,
  pagePoolCreate,
  pagePoolDestroy,
  pagePoolInflight,
  pagePoolPutPage,
  pagePoolReleaseRetry,
} from '../../src/mm/page_pool.ts';
import { getPage, putPage } from '../../src/mm/page_ref.ts';
import { ppRefCount } from '../../src/mm/page_type.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const PAGE = 4096;
const addr = (pfn: Pfn) => pfn * PAGE;

describe('a page pool', () => {
  test('takes 64 pages at a time and has them back from cache and ring', () => {
    const m = world(4096);
    const t = m.pagePools;
    const pool = pagePoolCreate(m, 0, 8);
    const a = pagePoolAllocPages(m, pool, GFP_ATOMIC);
    expect([t.hold[pool], t.cached[pool], t.slow[pool]]).toEqual([64, 63, 1]);
    pagePoolPutPage(m, addr(a), true);
    expect(t.cached[pool]).toBe(64);
    expect(pagePoolAllocPages(m, pool, GFP_ATOMIC)).toBe(a);
    const out = Array.from({ length: 63 }, () => pagePoolAllocPages(m, pool, GFP_ATOMIC));
    expect(t.cached[pool]).toBe(0);
    // Another CPU frees: to the ring, and when that is full to the page allocator.
    for (const p of out) pagePoolPutPage(m, addr(p), false);
    expect([t.recycledRing[pool], t.ringFull[pool], t.release[pool]]).toEqual([8, 55, 55]);
    checkPagePools(m);
    expect(pagePoolAllocPages(m, pool, GFP_ATOMIC)).toBe(out[7]);
    expect([t.refill[pool], t.cached[pool], t.ringCount[pool]]).toEqual([1, 7, 0]);
    expect(machineCensus(m).pieces[OWNER_ROW.netpool]).toBe(9);
    checkPagePools(m);
  });

  test('pieces: the page is whole again when all are back, and is used again', () => {
    const m = world(4096);
    const pool = pagePoolCreate(m);
    const a = pagePoolAllocFrag(m, pool, 1500, GFP_ATOMIC);
    const b = pagePoolAllocFrag(m, pool, 1500, GFP_ATOMIC);
    expect(b - a).toBe(1500);
    // A third does not fit: the pool gives up its share of the first page.
    const c = pagePoolAllocFrag(m, pool, 1500, GFP_ATOMIC);
    expect(Math.floor(c / PAGE)).not.toBe(Math.floor(a / PAGE));
    const page = Math.floor(a / PAGE) as Pfn;
    expect(ppRefCount(m.map, page)).toBe(2);
    checkPagePools(m);
    pagePoolPutPage(m, b, true);
    pagePoolPutPage(m, a, true);
    expect(ppRefCount(m.map, page)).toBe(1);
    expect(pagePoolAllocPages(m, pool, GFP_ATOMIC)).toBe(page);
    // All pieces back before the page is full: it goes on at once.
    pagePoolPutPage(m, c, true);
    const d = pagePoolAllocFrag(m, pool, 4000, GFP_ATOMIC);
    expect(d).toBe(c);
    checkPagePools(m);
  });

  test('a page that somebody else refers to leaves the pool', () => {
    const m = world(4096);
    const pool = pagePoolCreate(m);
    const a = pagePoolAllocPages(m, pool, GFP_ATOMIC);
    getPage(m, a);
    pagePoolPutPage(m, addr(a), true);
    expect(m.pagePools.releasedRefcnt[pool]).toBe(1);
    expect(pagePoolInflight(m, pool)).toBe(63);
    expect(() => pagePoolPutPage(m, addr(a), true)).toThrow(/of no page pool/);
    putPage(m, a);
    checkPagePools(m);
  });

  test('a pool that is destroyed ends when its last page has come home', () => {
    const m = world(4096);
    const free = m.vmstat[V.nr_free_pages];
    const pool = pagePoolCreate(m, 2);
    const a = pagePoolAllocPages(m, pool, GFP_ATOMIC);
    const b = pagePoolAllocFrag(m, pool, 9000, GFP_ATOMIC);
    expect(machineCensus(m).pieces[OWNER_ROW.netpool + 2]).toBe(2);
    expect(pagePoolDestroy(m, pool)).toBe(2);
    expect(() => pagePoolAllocPages(m, pool, GFP_ATOMIC)).toThrow(/not in use/);
    pagePoolPutPage(m, addr(a), true);
    expect(pagePoolReleaseRetry(m, pool)).toBe(1);
    pagePoolPutPage(m, b + 5000, false);
    expect(pagePoolReleaseRetry(m, pool)).toBe(0);
    checkPagePools(m);
    drainAllPages(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free);
  });

  test('bad requests', () => {
    const m = world(4096);
    expect(() => pagePoolCreate(m, 11)).toThrow(/expected 0 to 10/);
    expect(() => pagePoolCreate(m, 0, 0)).toThrow(/at least one/);
    const pool = pagePoolCreate(m);
    expect(() => pagePoolAllocFrag(m, pool, 4097, GFP_ATOMIC)).toThrow(/1 to 4096/);
    const a = pagePoolAllocPages(m, pool, GFP_ATOMIC);
    pagePoolPutPage(m, addr(a), true);
    expect(() => pagePoolPutPage(m, -5, true)).toThrow(/of no page pool/);
  });

  test('random packets against a plain count of pieces; all memory comes back', () => {
    fuzz(
      seedOf(1),
      stepsOf(6000),
      (r) => {
        const pool = r.below(2);
        switch (r.below(7)) {
          case 0:
          case 1:
            return ['page', pool];
          case 2:
          case 3:
            return ['frag', pool, 1 + r.below(r.below(3) === 0 ? 4096 : 600)];
          case 4:
            return ['ref', r.below(1e6)];
          default:
            return ['put', r.below(1e6), r.below(3) > 0 ? 1 : 0];
        }
      },
      (ops) => run(ops),
    );
  });
});

function run(ops: readonly (readonly (string | number)[])[]): void {
  const m: Machine = world(16384);
  const free = m.vmstat[V.nr_free_pages] as number;
  const pools = [pagePoolCreate(m, 0, 32), pagePoolCreate(m, 1)];
  /** Pieces that are out, as [first byte, bytes], and references that somebody else has. */
  const out: [number, number][] = [];
  const refs: Pfn[] = [];
  for (const [kind, a, b] of ops) {
    if ((kind === 'page' || kind === 'frag') && out.length < 900) {
      const pool = pools[a as number] as number;
      const room = PAGE << (m.pagePools.order[pool] as number);
      const bytes = kind === 'page' ? room : (b as number);
      const at =
        kind === 'page' ? addr(pagePoolAllocPages(m, pool, GFP_ATOMIC)) : pagePoolAllocFrag(m, pool, bytes, GFP_ATOMIC);
      if (at === 0) continue;
      const clash = out.find(([x, n]) => at < x + n && x < at + bytes);
      if (clash !== undefined) throw new Error(`${at} is out already`);
      out.push([at, bytes]);
    } else if (kind === 'put' && out.length > 0) {
      const [at] = out.splice((a as number) % out.length, 1)[0] as [number, number];
      pagePoolPutPage(m, at, b === 1);
    } else if (kind === 'ref' && out.length > 0 && refs.length < 20) {
      const [at] = out[(a as number) % out.length] as [number, number];
      const pfn = Math.floor(at / PAGE) as Pfn;
      getPage(m, pfn);
      refs.push(pfn);
    } else if (refs.length >= 20) putPage(m, refs.shift() as Pfn);
  }
  checkPagePools(m);
  checkZones(m);
  for (const [at] of out) pagePoolPutPage(m, at, true);
  for (const pfn of refs) putPage(m, pfn);
  for (const pool of pools) if (pagePoolDestroy(m, pool) !== 0) throw new Error('a page is missing');
  checkPagePools(m);
  drainAllPages(m);
  if (m.vmstat[V.nr_free_pages] !== free) throw new Error('memory is missing');
}
