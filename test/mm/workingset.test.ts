import { describe, expect, test } from 'vitest';
import { filemapRemoveFolio } from '../../src/mm/filemap.ts';
import type { FolioId, MemcgId } from '../../src/mm/ids.ts';
import { LRU_ACTIVE_FILE, NR_LRU_LISTS } from '../../src/mm/mm_inline.ts';
import { folioClear, folioRefAdd, folioSet } from '../../src/mm/mm_types.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { folioPut } from '../../src/mm/swap.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import {
  countShadowNodes,
  lruNoteCost,
  workingsetAgeNonresident,
  workingsetEviction,
  workingsetTestRecent,
} from '../../src/mm/workingset.ts';
import { access, add, has, type World, world } from './vmscan_world.ts';

const group = 1 as MemcgId;

/** Evicts a folio as reclaim of the group does. */
function evict(w: World, f: FolioId): void {
  const { m } = w;
  folioSet(m.map, f, PG.PG_locked);
  folioRefAdd(m.map, f, 1);
  const value = workingsetEviction(m, f, group);
  filemapRemoveFolio(m, f, value, m.lruvecs.evictionAge[0] as number);
  folioClear(m.map, f, PG.PG_locked);
  folioPut(m, f);
}

test('an eviction leaves the age before it, the group and whether the folio was active', () => {
  const w = world({ limit: 1000 });
  const { m } = w;
  const f = add(w, 0, 4);
  workingsetAgeNonresident(m, group, 10_000);
  expect(workingsetEviction(m, f, group)).toBe(2);
  expect(m.lruvecs.evictionAge[0]).toBe(10_000);
  expect(m.lruvecs.nonresidentAge[1]).toBe(10_016);
  expect(m.lruvecs.nonresidentAge[0]).toBe(10_016);
  folioSet(m.map, f, PG.PG_workingset);
  expect(workingsetEviction(m, f, group)).toBe(3);
});

test('ages are compared mod 2^32', () => {
  const w = world({ limit: 1000 });
  const { m } = w;
  const f = add(w, 0);
  workingsetAgeNonresident(m, group, 2 ** 32 + 5);
  workingsetEviction(m, f, group);
  expect(m.lruvecs.evictionAge[0]).toBe(5);
  // Evicted just before the wrap, back just after it: eight pages later.
  expect(workingsetTestRecent(m, 2, 2 ** 32 - 2, true)).toBe(false);
  m.lruvecs.pages[NR_LRU_LISTS + LRU_ACTIVE_FILE] = 8;
  expect(workingsetTestRecent(m, 2, 2 ** 32 - 2, true)).toBe(true);
  m.lruvecs.pages[NR_LRU_LISTS + LRU_ACTIVE_FILE] = 7;
  expect(workingsetTestRecent(m, 2, 2 ** 32 - 2, true)).toBe(false);
});

describe('a refault', () => {
  test('is recent when its distance is at most the active list', () => {
    const w = world({ limit: 20_000 });
    const { m } = w;
    workingsetAgeNonresident(m, group, 10_000);
    expect(workingsetTestRecent(m, 2, 10_000, true)).toBe(true);
    workingsetAgeNonresident(m, group, 4_000);
    const t = m.lruvecs.pages;
    t[NR_LRU_LISTS + LRU_ACTIVE_FILE] = 3_500;
    expect(workingsetTestRecent(m, 2, 10_000, true)).toBe(false);
    // With swap, anonymous memory competes, too: 3,500 + 400 + 200.
    t[NR_LRU_LISTS] = 400;
    t[NR_LRU_LISTS + 1] = 200;
    expect(workingsetTestRecent(m, 2, 10_000, true)).toBe(false);
    m.lruvecs.node.swapPages = 1;
    expect(workingsetTestRecent(m, 2, 10_000, true)).toBe(true);
  });

  test('comes back active when recent, and is counted; a restore costs', () => {
    const w = world({ limit: 1000 });
    const { m } = w;
    for (let n = 0; n < 2; n++) for (let i = 0; i < 100; i++) access(w, i);
    const f = add(w, 200);
    evict(w, f);
    const age = m.lruvecs.nonresidentAge[1] as number;
    const back = add(w, 200);
    expect(has(w, back, PG.PG_active)).toBe(true);
    expect(has(w, back, PG.PG_workingset)).toBe(false);
    expect(m.lruvecs.nonresidentAge[1]).toBe(age + 1);
    expect(m.memcgs.refaultFile[1]).toBe(1);
    expect(m.memcgs.activateFile[1]).toBe(1);
    expect(m.memcgs.restoreFile[1]).toBe(0);
    folioSet(m.map, back, PG.PG_workingset);
    evict(w, back);
    const again = add(w, 200);
    expect(has(w, again, PG.PG_workingset)).toBe(true);
    expect(m.memcgs.restoreFile[1]).toBe(1);
    expect(m.lruvecs.fileCost[1]).toBeGreaterThan(0);
    expect(m.vmstat[V.workingset_restore_file]).toBe(1);
    checkLru(m);
  });

  test('is cold when it is too late, or when its group is unknown', () => {
    const w = world({ limit: 1000 });
    evict(w, add(w, 0));
    workingsetAgeNonresident(w.m, group, 1);
    const f = add(w, 0);
    expect(has(w, f, PG.PG_active)).toBe(false);
    expect(w.m.memcgs.refaultFile[1]).toBe(1);
    expect(workingsetTestRecent(w.m, 7 << 1, 0, true)).toBe(false);
  });

  test('of a write is none', () => {
    const w = world({ limit: 1000 });
    evict(w, add(w, 0));
    add(w, 0, 0, 0x100cca | 0x1000);
    expect(w.m.memcgs.refaultFile[1]).toBe(0);
  });
});

test('costs are halved together when they pass a quarter of the lists', () => {
  const w = world({ limit: 4000 });
  const { m } = w;
  for (let i = 0; i < 400; i++) add(w, i);
  lruNoteCost(m, group, true, 0, 60);
  expect([m.lruvecs.fileCost[1], m.lruvecs.anonCost[1]]).toEqual([60, 0]);
  lruNoteCost(m, group, false, 1, 8);
  expect([m.lruvecs.fileCost[1], m.lruvecs.anonCost[1]]).toEqual([60, 40]);
  lruNoteCost(m, group, false, 0, 1);
  expect([m.lruvecs.fileCost[1], m.lruvecs.anonCost[1]]).toEqual([30, 20]);
});

test('a group may keep a node of shadows for each eight of its pages', () => {
  expect(countShadowNodes(0, 0)).toBe(0);
  expect(countShadowNodes(128, 1024)).toBe(0);
  expect(countShadowNodes(129, 1024)).toBe(1);
  expect(countShadowNodes(300, 0)).toBe(300);
});
