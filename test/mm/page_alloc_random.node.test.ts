import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import {
  __GFP_COMP,
  __GFP_DMA32,
  __GFP_RECLAIMABLE,
  GFP_ATOMIC,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_NOWAIT,
} from '../../src/mm/gfp.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_PCPTYPES, pageblockType, ZONE_DMA } from '../../src/mm/mmzone.ts';
import { allocFrozenPages, freeFrozenPages } from '../../src/mm/page_alloc.ts';
import { freeOnePage } from '../../src/mm/page_alloc_buddy.ts';
import { checkZones, pagesOut } from '../../src/mm/page_alloc_check.ts';
import { RMQUEUE_NORMAL, rmqueueAny, unreserveHighatomicPageblock } from '../../src/mm/page_alloc_fallback.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { buddyInfo } from '../../src/mm/page_alloc_report.ts';
import { ALLOC_NOFRAGMENT } from '../../src/mm/page_alloc_watermark.ts';
import { tinyWorld, world } from './page_alloc_world.ts';

/** The plain model: which frames are given out, and as what. */
class Plain {
  readonly owner = new Map<number, number>();
  readonly blocks: { pfn: number; order: number }[] = [];

  take(pfn: number, order: number, frames: number): void {
    if (pfn % 2 ** order !== 0) throw new Error(`${pfn} is not aligned to order ${order}`);
    for (let p = pfn; p < pfn + 2 ** order; p++) {
      if (p < 1 || p >= frames || this.owner.has(p))
        throw new Error(`frame ${p} of ${pfn}+${order} is given out twice`);
      this.owner.set(p, pfn);
    }
    this.blocks.push({ pfn, order });
  }
  give(i: number): { pfn: number; order: number } {
    const block = this.blocks[i] as { pfn: number; order: number };
    const last = this.blocks.pop() as { pfn: number; order: number };
    if (i < this.blocks.length) this.blocks[i] = last;
    for (let p = block.pfn; p < block.pfn + 2 ** block.order; p++) this.owner.delete(p);
    return block;
  }
}

const REQUESTS = [
  GFP_HIGHUSER_MOVABLE,
  GFP_HIGHUSER_MOVABLE,
  GFP_KERNEL,
  GFP_KERNEL | __GFP_RECLAIMABLE,
  GFP_NOWAIT,
  GFP_ATOMIC,
  GFP_KERNEL | __GFP_DMA32,
];

/** `steps` random requests and frees; memory fills up and empties in waves. */
function run(m: Machine, seed: number, steps: number, checks: number): Plain {
  const random = new Prng(seed);
  const plain = new Plain();
  const { maxOrder, frames } = m.zones;
  let filling = true;
  for (let step = 0; step < steps; step++) {
    if (step % 4096 === 0) filling = random.below(3) > 0;
    if (plain.blocks.length === 0 || random.below(100) < (filling ? 62 : 40)) {
      // Small orders mostly; sometimes any.
      const order = random.below(10) < 8 ? random.below(4) : random.below(maxOrder + 1);
      let gfp = random.pick(REQUESTS);
      if (random.below(2) === 0) gfp |= __GFP_COMP;
      const pfn = allocFrozenPages(m, gfp, order);
      if (pfn !== 0) plain.take(pfn, order, frames);
    } else {
      const { pfn, order } = plain.give(random.below(plain.blocks.length));
      freeFrozenPages(m, pfn as Pfn, order);
    }
    if (step % checks === 0) verify(m, plain);
  }
  return plain;
}

function verify(m: Machine, plain: Plain): void {
  checkZones(m);
  let out = 0;
  for (let z = 0; z < MAX_NR_ZONES; z++) out += pagesOut(m, z);
  if (out !== plain.owner.size) throw new Error(`${out} pages are out, the model says ${plain.owner.size}`);
}

function giveAllBack(m: Machine, plain: Plain): void {
  while (plain.blocks.length > 0) {
    const { pfn, order } = plain.give(plain.blocks.length - 1);
    freeFrozenPages(m, pfn as Pfn, order);
  }
  drainAllPages(m);
  for (let z = 0; z < MAX_NR_ZONES; z++) while (unreserveHighatomicPageblock(m, z, MIGRATE_MOVABLE, true));
}

describe('random requests against a plain model', () => {
  test.each([
    ['6.18', 4096, 2 ** 15, 60_000, 1],
    ['6.18', 4096, 2 ** 13 + 777, 40_000, 2],
    ['6.1', 4096, 2 ** 15, 40_000, 3],
    ['6.18', 16_384, 2 ** 14, 30_000, 4],
    ['6.12', 65_536, 2 ** 15 + 5000, 20_000, 5],
  ])('kernel %s, pages of %i, %i frames, %i steps, seed %i', (kernel, pageSize, frames, steps, seed) => {
    const m = world(frames, kernel, pageSize);
    const fresh = buddyInfo(m);
    const plain = run(m, seed, steps, Math.floor(steps / 40));
    verify(m, plain);
    giveAllBack(m, plain);
    checkZones(m);
    expect(buddyInfo(m)).toEqual(fresh);
  });

  test('without per-CPU lists and watermarks, in small page blocks', () => {
    const m = tinyWorld(2 ** 12, 6, 5);
    const plain = new Plain();
    const random = new Prng(6);
    for (let i = 0; i < 20_000; i++) {
      if (plain.blocks.length === 0 || random.below(5) < 3) {
        m.zones.rmqueueMode = RMQUEUE_NORMAL;
        const order = random.below(6);
        const pfn = rmqueueAny(m, ZONE_DMA, order, random.below(MIGRATE_PCPTYPES), 0);
        if (pfn !== 0) plain.take(pfn, order, 2 ** 12);
      } else {
        const { pfn, order } = plain.give(random.below(plain.blocks.length));
        freeOnePage(m, ZONE_DMA, pfn, order, pageblockType(m.zones, pfn), false);
      }
      if (i % 500 === 0) checkZones(m);
    }
    checkZones(m);
  });
});

describe('every run of four steps in sixteen frames', () => {
  /** All that a step changes in a tiny machine. */
  const columns = ({ map, vmstat, zones: { area, blocks, zone } }: Machine) => [
    ...[
      map.subarray(0, map.frames * map.pageWords),
      area.head,
      area.tail,
      area.count,
      zone.free,
      zone.boost,
      zone.cursor,
    ],
    ...[blocks, vmstat],
  ];
  const save = (m: Machine) => columns(m).map((column) => column.slice());
  const load = (m: Machine, saved: ReturnType<typeof save>): void => {
    for (const [i, column] of columns(m).entries()) column.set(saved[i] as typeof column);
  };

  function explore(m: Machine, held: { pfn: number; order: number }[], steps: number): number {
    checkZones(m);
    const out = held.reduce((sum, b) => sum + 2 ** b.order, 0);
    if (pagesOut(m, ZONE_DMA) !== out) throw new Error('pages are lost');
    if (steps === 0) return 1;
    let runs = 0;
    const before = save(m);
    for (let order = 0; order <= m.zones.maxOrder; order++) {
      for (let type = 0; type < MIGRATE_PCPTYPES; type++) {
        for (const flags of [0, ALLOC_NOFRAGMENT]) {
          m.zones.rmqueueMode = RMQUEUE_NORMAL;
          const pfn = rmqueueAny(m, ZONE_DMA, order, type, flags);
          if (pfn !== 0) {
            const overlap = held.some((b) => pfn < b.pfn + 2 ** b.order && b.pfn < pfn + 2 ** order);
            if (overlap || pfn % 2 ** order !== 0 || pfn < 1) throw new Error(`wrong block ${pfn}+${order}`);
            runs += explore(m, [...held, { pfn, order }], steps - 1);
          }
          load(m, before);
        }
      }
    }
    for (const block of held) {
      freeOnePage(m, ZONE_DMA, block.pfn, block.order, pageblockType(m.zones, block.pfn), false);
      runs += explore(
        m,
        held.filter((b) => b !== block),
        steps - 1,
      );
      load(m, before);
    }
    return runs;
  }

  test.each([
    ['6.18', 16, 3, 2, 4],
    ['6.18', 11, 3, 1, 4],
    ['6.6', 16, 3, 2, 4],
    ['6.18', 7, 2, 1, 4],
  ])('kernel %s, %i frames, orders to %i, page blocks of order %i', (kernel, frames, maxOrder, block, steps) => {
    expect(explore(tinyWorld(frames, maxOrder, block, kernel), [], steps)).toBeGreaterThan(1000);
  });
});
