/** Machines for tests of the physical allocator. */
import type { Machine, MachineConfig } from '../../src/mm/machine.ts';
import { MemoryMap } from '../../src/mm/memory_map.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { MIGRATE_MOVABLE, type Zones } from '../../src/mm/mmzone.ts';
import { zonesInit } from '../../src/mm/page_alloc.ts';
import { memblockFreeAll } from '../../src/mm/page_alloc_buddy.ts';
import { release } from '../../src/mm/release.ts';
import { vmstatTable } from '../../src/mm/vmstat.ts';

/** A machine of that many pages. */
export function world(pages: number, kernel = '6.18', pageSize = 4096): Machine {
  const config: MachineConfig = {
    release: release(kernel),
    pageSize,
    memory: pages * pageSize,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
  };
  return machine(config);
}

/** A machine of a few frames, with small blocks, so that page blocks are claimed and mixed within them. */
export function tinyWorld(frames: number, maxOrder: number, pageblockOrder: number, kernel = '6.18'): Machine {
  const zones: Zones = {
    ...zonesInit(frames, 4096),
    maxOrder,
    pageblockOrder,
    pmdOrder: pageblockOrder,
    blocks: new Uint8Array(Math.ceil(frames / 2 ** pageblockOrder)).fill(MIGRATE_MOVABLE),
  };
  const whole = world(256, kernel);
  const m = Object.assign(whole, {
    zones,
    map: new MemoryMap(whole.map.layout, frames, pageblockOrder, 4096),
    vmstat: vmstatTable(),
  });
  memblockFreeAll(m);
  return m;
}
