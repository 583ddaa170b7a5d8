import { describe, expect, test } from 'vitest';
import { GFP_KERNEL, GFP_NOWAIT } from '../../src/mm/gfp.ts';
import type { MemcgId } from '../../src/mm/ids.ts';
import {
  KERNEL_RULES,
  lruvecPageState,
  memcgChargeKernel,
  memcgCreate,
  memcgStatReport,
  memcgUnchargeKernel,
  objCgroupCharge,
  objCgroupUncharge,
} from '../../src/mm/memcontrol.ts';
import { LRU_INACTIVE_FILE } from '../../src/mm/mm_inline.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { access, add, cached, world } from './vmscan_world.ts';

const group = 1 as MemcgId;
const noKernel = { ...KERNEL_RULES, kernelMemory: false };

describe('a charge', () => {
  test('takes 64 pages at a time and lives on the stock', () => {
    const w = world({ limit: 1000, rules: noKernel });
    const t = w.m.memcgs;
    add(w, 0);
    expect([t.usage[1], t.stock[1], t.pages[1]]).toEqual([64, 63, 1]);
    for (let i = 1; i < 64; i++) add(w, i);
    expect([t.usage[1], t.stock[1]]).toEqual([64, 0]);
    add(w, 64, 5);
    expect([t.usage[1], t.stock[1], t.pages[1]]).toEqual([128, 32, 96]);
    // More than the stock has: a batch more, and a stock above 64 is given back.
    add(w, 128, 4);
    add(w, 192, 5);
    expect([t.usage[1], t.stock[1], t.pages[1]]).toEqual([192, 48, 144]);
    add(w, 256, 6);
    expect([t.usage[1], t.stock[1], t.pages[1]]).toEqual([256, 48, 208]);
    checkLru(w.m);
  });

  test('at the limit takes just what it needs, then reclaims, then goes on', () => {
    const w = world({ limit: 100, rules: noKernel });
    const t = w.m.memcgs;
    for (let i = 0; i < 100; i++) add(w, i);
    // 64, then one at a time: each of those 36 charges had tried a batch first.
    expect([t.usage[1], t.stock[1], t.failcnt[1]]).toEqual([100, 0, 36]);
    expect(w.m.vmstat[V.pgsteal_file]).toBe(0);
    add(w, 100);
    expect(w.m.vmstat[V.pgsteal_file]).toBeGreaterThanOrEqual(32);
    expect(t.failcnt[1]).toBe(38);
    expect(t.watermark[1]).toBe(100);
    expect(cached(w, 100)).toBe(true);
    checkLru(w.m);
  });

  test('that may not wait fails at the limit', () => {
    const w = world({ limit: 64, rules: noKernel });
    for (let i = 0; i < 64; i++) add(w, i);
    expect(add(w, 64, 0, GFP_NOWAIT)).toBe(0);
    expect(w.m.vmstat[V.pgsteal_file]).toBe(0);
    expect(w.m.memcgs.oom[1]).toBe(0);
  });

  test('that nothing can be reclaimed for is out of memory: a result', () => {
    const w = world({ limit: 8 });
    expect(memcgChargeKernel(w.m, group, 8)).toBe(true);
    expect(add(w, 0)).toBe(0);
    expect(w.m.memcgs.oom[1]).toBe(1);
    expect(w.m.vmstat[V.oom_kill]).toBe(1);
    expect(w.m.memcgs.usage[1]).toBe(8);
    memcgUnchargeKernel(w.m, group, 8);
    expect(add(w, 0)).not.toBe(0);
    checkLru(w.m);
  });

  test('of a large folio goes on until there is room for all of it', () => {
    const w = world({ limit: 600 });
    for (let i = 0; i < 600; i++) add(w, i);
    expect(add(w, 1024, 9)).not.toBe(0);
    expect(w.m.memcgs.usage[1]).toBeLessThanOrEqual(600);
    checkLru(w.m);
  });

  test('of the root is free', () => {
    const w = world();
    add(w, 0);
    expect(w.m.memcgs.usage[0]).toBe(0);
    expect(memcgChargeKernel(w.m, 0 as MemcgId, 5)).toBe(true);
  });
});

test('groups are apart: one at its limit takes nothing from another', () => {
  const w = world({ limit: 100 });
  const other = memcgCreate(w.m, 50);
  for (let i = 0; i < 100; i++) add(w, i);
  w.m.currentMemcg = other;
  for (let i = 1000; i < 1200; i++) add(w, i);
  expect(w.m.memcgs.usage[1]).toBe(100);
  expect(w.m.memcgs.usage[other]).toBeLessThanOrEqual(50);
  for (let i = 0; i < 100; i++) expect(cached(w, i)).toBe(true);
  // More groups than there were rows for.
  for (let g = 0; g < 10; g++) {
    w.m.currentMemcg = memcgCreate(w.m, 10);
    for (let i = 0; i < 20; i++) add(w, 2000 + g * 100 + i);
  }
  checkLru(w.m);
});

describe('kernel memory', () => {
  test('is charged by the byte, a page at a time', () => {
    const w = world({ limit: 100, rules: { ...KERNEL_RULES, chargeBatch: 0 } });
    const t = w.m.memcgs;
    for (let i = 0; i < 6; i++) objCgroupCharge(w.m, group, 592);
    expect([t.kernel[1], t.objStock[1]]).toEqual([1, 4096 - 6 * 592]);
    // What is left is too little: a page more, and the rest is kept.
    objCgroupCharge(w.m, group, 592);
    expect([t.kernel[1], t.objStock[1]]).toEqual([2, 4096 - 6 * 592 + 4096 - 592]);
    for (let i = 0; i < 7; i++) objCgroupUncharge(w.m, group, 592);
    expect(t.kernel[1]).toBeLessThanOrEqual(1);
    expect(((t.kernel[1] as number) * 4096) % 4096).toBe(0);
    expect(t.objStock[1]).toBe((t.kernel[1] as number) * 4096);
    checkLru(w.m);
  });

  test('given back goes to the stock first', () => {
    const w = world({ limit: 1000, rules: KERNEL_RULES });
    const t = w.m.memcgs;
    memcgChargeKernel(w.m, group, 10);
    expect([t.usage[1], t.stock[1], t.kernel[1]]).toEqual([64, 54, 10]);
    memcgUnchargeKernel(w.m, group, 10);
    expect([t.usage[1], t.stock[1], t.kernel[1]]).toEqual([64, 64, 0]);
    memcgChargeKernel(w.m, group, 1, GFP_KERNEL);
    memcgChargeKernel(w.m, group, 64, GFP_KERNEL);
    expect([t.usage[1], t.stock[1]]).toEqual([128, 63]);
    memcgUnchargeKernel(w.m, group, 2);
    expect([t.usage[1], t.stock[1]]).toEqual([63, 0]);
    checkLru(w.m);
  });

  test('is what the page cache needs for its nodes, and what shadows keep', () => {
    const w = world({ limit: 500, rules: KERNEL_RULES });
    const { m } = w;
    for (let i = 0; i < 640; i++) add(w, i);
    expect(m.memcgs.nodes[1]).toBe(m.pages.used);
    expect(m.memcgs.kernel[1]).toBe(Math.ceil((m.pages.used * 592) / 4096));
    checkLru(m);
  });

  test('shadow nodes beyond what the statistics allow are dropped, oldest first', () => {
    const w = world({ limit: 4096, rules: KERNEL_RULES });
    const { m } = w;
    for (let i = 0; i < 64 * 330; i += 32) add(w, i, 5);
    // Nothing is allowed while the statistics are not flushed: 256 nodes lose half.
    expect(m.vmstat[V.workingset_nodereclaim]).toBe(128);
    const refaults = (): number => m.memcgs.refaultFile[1] as number;
    add(w, 0, 5);
    expect(refaults()).toBe(0);
    add(w, 64 * 200, 5);
    expect(refaults()).toBe(32);
    checkLru(m);
  });
});

test('reclaim sees sizes as of the last flush, one every two seconds', () => {
  const w = world({ limit: 1000, rules: noKernel });
  const { m } = w;
  for (let i = 0; i < 10; i++) add(w, i);
  expect(lruvecPageState(m, 1, LRU_INACTIVE_FILE)).toBe(0);
  m.now = 0.999e9;
  expect(lruvecPageState(m, 1, LRU_INACTIVE_FILE)).toBe(0);
  m.now = 1e9;
  expect(lruvecPageState(m, 1, LRU_INACTIVE_FILE)).toBe(10);
  expect(lruvecPageState(m, 0, LRU_INACTIVE_FILE)).toBe(10);
  add(w, 10);
  m.now = 2.9e9;
  expect(lruvecPageState(m, 1, LRU_INACTIVE_FILE)).toBe(10);
  m.now = 99e9;
  expect(lruvecPageState(m, 1, LRU_INACTIVE_FILE)).toBe(11);
  expect(m.memcgs.flushDueNs).toBe(101e9);
});

test('up to 6.6 each reclaim flushes: a stale active list is seen; later it is not before the clock has run', () => {
  const deactivated = (kernel: string): number => {
    const w = world({ kernel, limit: 1000, rules: noKernel });
    for (let n = 0; n < 2; n++) for (let i = 0; i < 800; i++) access(w, i);
    for (let i = 1000; i < 3000; i++) access(w, i);
    checkLru(w.m);
    return w.m.vmstat[V.pgdeactivate] as number;
  };
  expect(deactivated('6.6')).toBeGreaterThan(300);
  expect(deactivated('6.12')).toBe(0);
  expect(deactivated('6.18')).toBe(0);
});

test('memory.stat, in the kernel’s words', () => {
  const w = world({ limit: 40 });
  for (let i = 0; i < 40; i++) add(w, i);
  for (let n = 0; n < 2; n++) access(w, 39);
  for (let i = 40; i < 60; i++) add(w, i);
  const s = memcgStatReport(w.m, group);
  expect(s.cache).toBe((s.inactive_file as number) + (s.active_file as number));
  expect(s.active_file).toBe(4096);
  expect(s.max_usage).toBe(40 * 4096);
  expect(s.pgpgin).toBe(60);
  expect((s.pgpgin as number) - (s.pgpgout as number)).toBe((s.cache as number) / 4096);
  expect(s.failcnt).toBeGreaterThan(0);
});
