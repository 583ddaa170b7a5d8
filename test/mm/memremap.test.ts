/** Device memory. Nothing here was compared with a live kernel: none at hand has such a device. */
import { describe, expect, test } from 'vitest';
import { machineCensus, OWNER_ROW } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { memoryFailure } from '../../src/mm/memory_failure.ts';
import {
  checkPgmaps,
  DEVICE_MEMORY,
  type DeviceMemory,
  getDevPagemap,
  memremapPages,
  memunmapPages,
  pagemapMemmapPages,
  zoneDevicePageInit,
} from '../../src/mm/memremap.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { getPage, putPage } from '../../src/mm/page_ref.ts';
import { pageCount, pageFlag } from '../../src/mm/page_type.ts';
import { V } from '../../src/mm/vmstat.ts';
import { fuzz, seedOf, stepsOf } from '../help/fuzz.ts';
import { world } from './page_alloc_world.ts';

const FRAMES = 4096;
const withDevice = (pages: number): Machine =>
  machine({ ...world(FRAMES).config, memory: FRAMES * 4096, deviceMemory: pages * 4096 });

describe('device memory', () => {
  test.each(DEVICE_MEMORY)('%s: what a page nobody uses counts, and what it is when it comes back', (type) => {
    const m = withDevice(64);
    const free = m.vmstat[V.nr_free_pages];
    memremapPages(m, { type, pages: 64 });
    const pfn = FRAMES as Pfn;
    const idle = type === 'generic' ? 1 : 0;
    expect(pageCount(m.map, pfn)).toBe(idle);
    expect(pageFlag(m.map, pfn, PG.PG_reserved)).toBe(true);
    if (idle === 0) expect(() => getPage(m, pfn)).toThrow(/device memory that nobody uses/);
    zoneDevicePageInit(m, pfn);
    getPage(m, pfn);
    putPage(m, pfn);
    if (idle === 0) expect(() => zoneDevicePageInit(m, pfn)).toThrow(/in use already/);
    // A generic page that is out looks like one that is not.
    if (idle === 0) expect(memunmapPages(m, 0)).toBe(1);
    putPage(m, pfn);
    expect(pageCount(m.map, pfn)).toBe(idle);
    expect(m.pgmaps[0]?.freed).toBe(1 - idle);
    expect(m.vmstat[V.nr_free_pages]).toBe(free);
    checkPgmaps(m);
    checkMachine(m, true);
    const census = machineCensus(m);
    expect([census.frames, census.pieces[OWNER_ROW.device]]).toEqual([FRAMES + 64, 64]);
    expect(memunmapPages(m, 0)).toBe(0);
    expect(getDevPagemap(m, pfn)).toBe(null);
    expect(machineCensus(m).frames).toBe(FRAMES);
  });

  test('its memory map: all of it, two pages of it for each 2 MiB or 1 GiB page, or on the device', () => {
    expect(pagemapMemmapPages(512, 0, false, 4096, 64)).toBe(8);
    expect(pagemapMemmapPages(512, 9, false, 4096, 64)).toBe(2);
    expect(pagemapMemmapPages(2 ** 19, 18, false, 4096, 64)).toBe(4);
    expect(pagemapMemmapPages(512, 9, true, 4096, 64)).toBe(8);
    expect(pagemapMemmapPages(512, 9, false, 4096, 8)).toBe(1);
    const m = withDevice(4096);
    const row = memremapPages(m, { type: 'fs_dax', pages: 1024, altmap: true });
    const records = (pages: number): number => (pages * m.map.pageWords * 4) / 4096;
    expect(m.pgmaps[row]).toMatchObject({ start: FRAMES, data: FRAMES + records(1024), memmapPages: 0 });
    const large = memremapPages(m, { type: 'generic', pages: 1024, order: 9 });
    expect(m.pgmaps[large]).toMatchObject({
      start: FRAMES + 1024,
      order: 9,
      memmapPages: 2 * Math.min(2, records(512)),
    });
    expect(machineCensus(m).pieces[OWNER_ROW.device + 9]).toBe(2);
    checkPgmaps(m);
  });

  test('bad memory of a device', () => {
    const m = withDevice(2048);
    const kinds: DeviceMemory[] = ['private', 'fs_dax'];
    for (const type of kinds) memremapPages(m, { type, pages: 512, order: 9 });
    expect(memoryFailure(m, (FRAMES + 5) as Pfn)).toMatchObject({ page: 'dax page', result: 'failed' });
    expect(memoryFailure(m, (FRAMES + 512 + 5) as Pfn)).toMatchObject({ page: 'dax page', result: 'recovered' });
    expect(pageFlag(m.map, (FRAMES + 512) as Pfn, PG.PG_hwpoison)).toBe(true);
    expect(() => memoryFailure(m, (FRAMES + 1024) as Pfn)).toThrow(/outside kernel control/);
  });

  test('bad requests', () => {
    const m = withDevice(1024);
    expect(() => memremapPages(m, { type: 'generic', pages: 100, order: 9 })).toThrow(/multiple of 512/);
    expect(() => memremapPages(m, { type: 'generic', pages: 2048 })).toThrow(/the machine has 1024/);
    expect(() => memremapPages(m, { type: 'generic', pages: 1, altmap: true })).toThrow(/leaves no room/);
    expect(() => memunmapPages(m, 0)).toThrow(/not there/);
    expect(() => zoneDevicePageInit(m, 5 as Pfn)).toThrow(/no device memory/);
  });

  test('random use against plain counts', () => {
    fuzz(
      seedOf(1),
      stepsOf(3000),
      (r) => [r.pick(['init', 'get', 'put', 'put']), r.below(256)],
      (ops) => {
        const m = withDevice(256);
        DEVICE_MEMORY.slice(0, 4).forEach((type) => {
          memremapPages(m, { type, pages: 64 });
        });
        const idle = (i: number): number => (i >= 192 ? 1 : 0);
        const counts = Array.from({ length: 256 }, (_, i) => idle(i));
        for (const [kind, i] of ops as [string, number][]) {
          const pfn = (FRAMES + i) as Pfn;
          const n = counts[i] as number;
          if (kind === 'init' && n === idle(i)) {
            zoneDevicePageInit(m, pfn);
            counts[i] = 1;
          } else if (kind === 'get' && n > 0) {
            getPage(m, pfn);
            counts[i] = n + 1;
          } else if (kind === 'put' && n > 0) {
            putPage(m, pfn);
            counts[i] = n === 1 ? idle(i) : n - 1;
          }
          if (pageCount(m.map, pfn) !== counts[i])
            throw new Error(`page ${i}: ${pageCount(m.map, pfn)}, plain ${counts[i]}`);
        }
        checkPgmaps(m);
      },
    );
  });
});
