import { expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { filemapGetFolio, filemapRemoveFolio } from '../../src/mm/filemap.ts';
import type { FolioId, Pfn } from '../../src/mm/ids.ts';
import {
  LRU_ACTIVE_FILE,
  LRU_INACTIVE_ANON,
  LRU_INACTIVE_FILE,
  LRU_UNEVICTABLE,
  lruAddSplitFolio,
} from '../../src/mm/mm_inline.ts';
import {
  clearCompound,
  FOLIO_WORDS,
  folioClear,
  folioFlags,
  folioInit,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioSetCount,
  folioSetMemcg,
  listNext,
  prepCompound,
  W_PREV,
} from '../../src/mm/mm_types.ts';
import { checkZones } from '../../src/mm/page_alloc_check.ts';
import { PG } from '../../src/mm/page_flags.ts';
import {
  deactivateFileFolio,
  folioDeactivate,
  folioMarkAccessed,
  folioPut,
  folioRotateReclaimable,
  lruAddDrain,
} from '../../src/mm/swap.ts';
import { checkLru } from '../../src/mm/swap_check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { access, add, dirty, has, type World, world } from './vmscan_world.ts';

/** The folios of a list of the root, newest first. */
function list(w: World, lru: number): number[] {
  const { m } = w;
  const out: number[] = [];
  for (let f = m.lruvecs.head[lru] as number; f !== 0; f = listNext(m.map, f as FolioId)) out.push(f);
  return out;
}

test('folios wait in a batch of 31, and go to the newest end in order', () => {
  const w = world({ batch: 31 });
  const folios: number[] = [];
  for (let i = 0; i < 30; i++) folios.push(add(w, i));
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([]);
  expect(folioRefCount(w.m.map, folios[0] as FolioId)).toBe(2);
  folios.push(add(w, 30));
  expect(list(w, LRU_INACTIVE_FILE)).toEqual(folios.toReversed());
  expect(folioRefCount(w.m.map, folios[0] as FolioId)).toBe(1);
  checkLru(w.m);
});

test('a large folio carries the batch out, itself last', () => {
  const w = world({ batch: 31 });
  const small = add(w, 0);
  const large = add(w, 4, 2);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([large, small]);
  expect(w.m.lruvecs.pages[LRU_INACTIVE_FILE]).toBe(5);
  expect(w.m.lruvecs.folios[LRU_INACTIVE_FILE]).toBe(2);
  expect(w.m.vmstat[V.nr_inactive_file]).toBe(5);
  checkLru(w.m);
});

test('the second access makes a folio active, the third changes nothing more than a flag', () => {
  const w = world();
  const f = add(w, 0);
  const state = (): string =>
    (has(w, f, PG.PG_active) ? 'active ' : 'inactive ') + (has(w, f, PG.PG_referenced) ? 'referenced' : 'not');
  const seen = [state()];
  for (let i = 0; i < 4; i++) {
    folioMarkAccessed(w.m, f);
    seen.push(state());
  }
  expect(seen).toEqual(['inactive not', 'inactive referenced', 'active not', 'active referenced', 'active referenced']);
  expect(w.m.vmstat[V.pgactivate]).toBe(1);
  expect(w.m.lruvecs.nonresidentAge[0]).toBe(1);
});

test('a folio in the add batch is made active where it is; one on a list waits in the activate batch', () => {
  const w = world({ batch: 31 });
  const f = add(w, 0);
  folioMarkAccessed(w.m, f);
  folioMarkAccessed(w.m, f);
  expect(has(w, f, PG.PG_active)).toBe(true);
  lruAddDrain(w.m);
  expect(list(w, LRU_ACTIVE_FILE)).toEqual([f]);
  expect(w.m.vmstat[V.pgactivate]).toBe(0);
  const g = add(w, 1);
  lruAddDrain(w.m);
  folioMarkAccessed(w.m, g);
  folioMarkAccessed(w.m, g);
  expect(has(w, g, PG.PG_active)).toBe(false);
  lruAddDrain(w.m);
  expect(list(w, LRU_ACTIVE_FILE)).toEqual([g, f]);
  expect(w.m.vmstat[V.pgactivate]).toBe(1);
  checkLru(w.m);
});

test('a folio that is dropped after use is never marked', () => {
  const w = world();
  const f = add(w, 0);
  folioSet(w.m.map, f, PG.PG_dropbehind);
  folioMarkAccessed(w.m, f);
  expect(has(w, f, PG.PG_referenced)).toBe(false);
});

test('what could not be invalidated goes to the tail, but not what is dirty', () => {
  const w = world();
  const [a, b, c] = [add(w, 0), add(w, 1), add(w, 2)];
  deactivateFileFolio(w.m, c);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([b, a, c]);
  expect(w.m.vmstat[V.pgrotated]).toBe(1);
  dirty(w, a);
  deactivateFileFolio(w.m, a);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([b, a, c]);
  expect(has(w, a, PG.PG_reclaim)).toBe(false);
  for (let n = 0; n < 2; n++) folioMarkAccessed(w.m, b);
  expect(list(w, LRU_ACTIVE_FILE)).toEqual([b]);
  deactivateFileFolio(w.m, b);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([a, c, b]);
  expect(w.m.vmstat[V.pgdeactivate]).toBe(1);
  checkLru(w.m);
});

test('cold advice makes an active folio inactive and leaves an inactive one', () => {
  const w = world();
  const [a, b] = [add(w, 0), add(w, 1)];
  for (let n = 0; n < 2; n++) folioMarkAccessed(w.m, a);
  folioDeactivate(w.m, a);
  folioDeactivate(w.m, b);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([a, b]);
  checkLru(w.m);
});

test('after write-back a folio is next, unless it is in use', () => {
  const w = world();
  const [a, b] = [add(w, 0), add(w, 1)];
  for (let n = 0; n < 2; n++) folioMarkAccessed(w.m, b);
  folioRotateReclaimable(w.m, b);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([a, b]);
  folioSet(w.m.map, a, PG.PG_locked);
  folioRotateReclaimable(w.m, a);
  folioClear(w.m.map, a, PG.PG_locked);
  expect(list(w, LRU_INACTIVE_FILE)).toEqual([a, b]);
  checkLru(w.m);
});

test('memory that cannot be evicted has a list of its own, tmpfs the anonymous ones', () => {
  const w = world({ batch: 31 });
  const a = add(w, 0);
  folioSet(w.m.map, a, PG.PG_mlocked);
  const b = add(w, 1);
  folioSet(w.m.map, b, PG.PG_swapbacked);
  lruAddDrain(w.m);
  expect(list(w, LRU_UNEVICTABLE)).toEqual([a]);
  expect(list(w, LRU_INACTIVE_ANON)).toEqual([b]);
  expect(w.m.vmstat[V.unevictable_pgs_culled]).toBe(1);
  checkLru(w.m);
});

test('pieces of a split folio are evicted 0, 3, 2, 1, then newer folios', () => {
  const w = world();
  const { m } = w;
  const parent = add(w, 0, 2);
  const newer = add(w, 8);
  // What a split leaves: four folios of one page in the place of the one of four.
  clearCompound(m.map, parent, 2);
  const flags = folioFlags(m.map, parent) & ~PG.PG_lru;
  for (let i = 1; i < 4; i++) {
    const piece = folioInit(m.map, (folioPfn(m.map, parent) + i) as Pfn, 0);
    m.map[piece * FOLIO_WORDS] = flags;
    folioSetCount(m.map, piece, 1);
    folioSetMemcg(m.map, piece, 0);
    lruAddSplitFolio(m, parent, piece);
  }
  expect(
    list(w, LRU_INACTIVE_FILE)
      .toReversed()
      .map((f) => folioPfn(m.map, f as FolioId) - folioPfn(m.map, parent)),
  ).toEqual([0, 3, 2, 1, folioPfn(m.map, newer) - folioPfn(m.map, parent)]);
  expect(m.lruvecs.pages[LRU_INACTIVE_FILE]).toBe(5);
  expect(m.lruvecs.folios[LRU_INACTIVE_FILE]).toBe(5);
  folioSetCount(m.map, parent, 1);
  checkLru(m);
  // Together again, so that nothing else sees the half of it.
  prepCompound(m.map, parent, 2);
});

test('the last reference frees: off the list, out of the group, back to the allocator', () => {
  const w = world({ limit: 100 });
  const { m } = w;
  const f = add(w, 0, 3);
  expect(m.memcgs.usage[1]).toBe(8);
  folioSet(m.map, f, PG.PG_locked);
  folioRefAdd(m.map, f, 1);
  filemapRemoveFolio(m, f, -1, 0);
  folioClear(m.map, f, PG.PG_locked);
  expect(m.lruvecs.folios[5 + LRU_INACTIVE_FILE]).toBe(1);
  folioPut(m, f);
  expect(m.lruvecs.folios[5 + LRU_INACTIVE_FILE]).toBe(0);
  expect(m.memcgs.usage[1]).toBe(0);
  expect(() => folioPut(m, f)).toThrow(/more references dropped than held/);
  folioSetCount(m.map, f, 0);
  checkLru(m);
  checkZones(m);
});

test('a folio that is truncated while it waits in a batch is freed when the batch is carried out', () => {
  const w = world({ batch: 31, limit: 100 });
  const { m } = w;
  const f = add(w, 0);
  folioSet(m.map, f, PG.PG_locked);
  filemapRemoveFolio(m, f, -1, 0);
  folioClear(m.map, f, PG.PG_locked);
  expect(folioRefCount(m.map, f)).toBe(1);
  lruAddDrain(m);
  expect(folioRefCount(m.map, f)).toBe(0);
  expect(m.memcgs.pages[1]).toBe(0);
  checkLru(m);
});

test('a broken list is found', () => {
  const w = world();
  const [a, b] = [add(w, 0), add(w, 1)];
  const { map } = w.m;
  checkLru(w.m);
  folioClear(map, a, PG.PG_lru);
  expect(() => checkLru(w.m)).toThrow(/L1/);
  folioSet(map, a, PG.PG_lru | PG.PG_active);
  expect(() => checkLru(w.m)).toThrow(/L5/);
  folioClear(map, a, PG.PG_active);
  map[b * FOLIO_WORDS + W_PREV] = a << 1;
  expect(() => checkLru(w.m)).toThrow(/L2/);
  map[b * FOLIO_WORDS + W_PREV] = 0;
  w.m.lruvecs.pages[LRU_INACTIVE_FILE] = 3;
  expect(() => checkLru(w.m)).toThrow(/L3/);
});

test('random operations keep all invariants', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = new Prng(seed);
    const w = world({ batch: random.pick([0, 3, 31]), limit: random.pick([0, 300]) });
    const { m } = w;
    for (let i = 0; i < 4000; i++) {
      const page = random.below(64) * 16;
      const f = filemapGetFolio(m, w.file, page);
      const op = random.below(8);
      if (f === 0) add(w, page, random.below(5));
      else if (op < 3) access(w, page);
      else if (op === 3) deactivateFileFolio(m, f);
      else if (op === 4) folioRotateReclaimable(m, f);
      else if (op === 5) folioDeactivate(m, f);
      else if (op === 6) lruAddDrain(m);
      else {
        folioSet(m.map, f, PG.PG_locked);
        folioRefAdd(m.map, f, 1);
        filemapRemoveFolio(m, f, -1, 0);
        folioClear(m.map, f, PG.PG_locked);
        folioPut(m, f);
      }
      if (i % 400 === 399) checkLru(m);
    }
    checkZones(m);
  }
});
