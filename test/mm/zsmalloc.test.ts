import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { GFP_HIGHUSER_MOVABLE } from '../../src/mm/gfp.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { V } from '../../src/mm/vmstat.ts';
import {
  calculateZspageChainSize,
  fullnessGroup,
  sizeClassIndex,
  sizeClassShapes,
  zsCompact,
  zsCreatePool,
  zsFree,
  zsMalloc,
  zsShrinkerCount,
} from '../../src/mm/zsmalloc.ts';
import { checkZsPool } from '../../src/mm/zsmalloc_check.ts';
import { world } from './page_alloc_world.ts';

/** size:pages/objects of every class of 4 KiB pages and chains of up to 8, by the kernel's rule (reference, physical memory §5.3). */
const TABLE = `32:1/128 48:3/256 64:1/64 80:5/256 96:3/128 112:7/256 128:1/32 144:7/199 160:5/128 176:4/93 192:3/64 208:3/59
224:7/128 240:1/17 256:1/16 272:1/15 288:5/71 304:7/94 320:5/64 336:6/73 352:8/93 368:8/89 384:3/32 400:5/51 416:6/59 432:7/66
448:7/64 464:5/44 480:2/17 496:4/33 512:1/8 528:4/31 544:2/15 560:7/51 576:1/7 592:8/55 608:7/47 624:2/13 640:5/32 656:5/31
672:1/6 688:8/47 704:5/29 720:3/17 736:2/11 752:7/38 768:3/16 784:5/26 816:1/5 832:8/39 848:5/24 864:7/33 880:8/37 896:7/32
912:7/31 928:5/22 944:3/13 960:4/17 976:6/25 992:8/33 1024:1/4 1056:8/31 1072:5/19 1088:4/15 1104:3/11 1120:8/29 1136:5/18
1168:2/7 1184:7/24 1200:5/17 1216:3/10 1232:7/23 1248:4/13 1280:5/16 1296:7/22 1360:1/3 1424:8/23 1440:6/17 1456:5/14 1488:4/11
1504:7/19 1536:3/8 1552:8/21 1568:5/13 1584:7/18 1632:2/5 1680:7/17 1696:5/12 1712:8/19 1744:3/7 1792:7/16 1808:4/9 1856:5/11
1888:6/13 1904:7/15 1920:8/17 2048:1/2 2176:8/15 2192:7/13 2224:6/11 2272:5/9 2336:4/7 2384:7/12 2448:3/5 2512:8/13 2560:5/8
2592:7/11 2720:2/3 2864:7/10 2912:5/7 2976:8/11 3072:3/4 3184:7/9 3264:4/5 3408:5/6 3504:6/7 3584:7/8 3632:8/9 4096:1/1`;

describe('size classes', () => {
  test('the table of 4 KiB pages', () => {
    const kinds = [...new Set(sizeClassShapes(4096))];
    expect(kinds.map((c) => `${c.size}:${c.pagesPerZspage}/${c.objsPerZspage}`)).toEqual(TABLE.split(/\s+/));
  });
  test.each([
    [4, 69, 3264],
    [8, 119, 3632],
    [16, 192, 3840],
  ])('chains of up to %i pages: %i classes, the largest shared one %i', (longest, classes, largest) => {
    const kinds = [...new Set(sizeClassShapes(4096, longest))];
    expect(kinds.length).toBe(classes);
    expect(kinds.at(-2)?.size).toBe(largest);
    expect(sizeClassShapes(4096, longest).length).toBe(255);
  });
  test('what a request gets: eight bytes are the handle', () => {
    const pool = zsCreatePool(4096);
    const size = (bytes: number) => pool.classes[sizeClassIndex(pool, bytes)]?.size;
    expect([1, 24, 25, 3624, 3625, 4096].map(size)).toEqual([32, 32, 48, 3632, 4096, 4096]);
    expect(calculateZspageChainSize(2048, 4096)).toBe(1);
    expect([0, 1, 12, 13, 114, 126, 127].map((n) => fullnessGroup(n, 127))).toEqual([0, 1, 1, 2, 9, 10, 11]);
  });
  test('larger base pages', () => {
    expect(sizeClassShapes(16384).length).toBe(257);
    expect(sizeClassShapes(65536).at(-1)?.size).toBe(65536);
  });
});

describe('a pool', () => {
  test('fills, compacts and empties', () => {
    const m = world(4096);
    const pool = zsCreatePool(4096);
    const handles: number[] = [];
    // Class 2720: three objects in two pages.
    for (let i = 0; i < 30; i++) handles.push(zsMalloc(m, pool, 2700, GFP_HIGHUSER_MOVABLE));
    expect(pool.pagesAllocated).toBe(20);
    expect(m.vmstat[V.nr_zspages]).toBe(20);
    for (let i = 0; i < 30; i += 3) zsFree(m, pool, handles[i] as number);
    expect(pool.pagesAllocated).toBe(20);
    expect(zsShrinkerCount(pool)).toBe(6);
    checkZsPool(m, pool);
    expect(zsCompact(m, pool)).toBe(6);
    expect(pool.pagesAllocated).toBe(14);
    checkZsPool(m, pool);
    for (let i = 0; i < 30; i++) if (i % 3 !== 0) zsFree(m, pool, handles[i] as number);
    checkZsPool(m, pool);
    expect([pool.pagesAllocated, pool.handlesInuse, m.vmstat[V.nr_zspages]]).toEqual([0, 0, 0]);
  });
  test('random objects against a plain list; the memory comes back', () => {
    const seed = 11;
    const rng = new Prng(seed);
    const m = world(8192);
    const free = m.vmstat[V.nr_free_pages] as number;
    const pool = zsCreatePool(4096);
    const live = new Map<number, number>();
    for (let step = 0; step < 20000; step++) {
      const grow = rng.below(3000) > live.size;
      if (grow) {
        const bytes = rng.between(1, 4096);
        const handle = zsMalloc(m, pool, bytes, GFP_HIGHUSER_MOVABLE);
        expect(handle !== 0 && !live.has(handle), `seed ${seed}, step ${step}`).toBe(true);
        live.set(handle, bytes);
      } else {
        const handle = rng.pick([...live.keys()]);
        zsFree(m, pool, handle);
        live.delete(handle);
      }
      if (step % 4000 === 3999) {
        zsCompact(m, pool);
        expect(zsShrinkerCount(pool)).toBe(0);
        checkZsPool(m, pool);
        let objects = 0;
        for (const [handle, bytes] of live) {
          expect(pool.handles.cls[handle]).toBe(sizeClassIndex(pool, bytes));
          objects++;
        }
        expect(pool.handlesInuse).toBe(objects);
      }
    }
    for (const handle of live.keys()) zsFree(m, pool, handle);
    checkZsPool(m, pool);
    drainAllPages(m);
    expect(m.vmstat[V.nr_free_pages]).toBe(free);
  });
  test('no memory: nothing is left behind', () => {
    const m = world(512);
    const pool = zsCreatePool(4096);
    const handles: number[] = [];
    for (let h = zsMalloc(m, pool, 3600, 0x100); h !== 0; h = zsMalloc(m, pool, 3600, 0x100)) handles.push(h);
    checkZsPool(m, pool);
    expect(m.vmstat[V.nr_zspages]).toBe(pool.pagesAllocated);
    for (const h of handles) zsFree(m, pool, h);
    expect(m.vmstat[V.nr_zspages]).toBe(0);
  });
});
