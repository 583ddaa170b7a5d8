/**
 * Walks everything that a machine holds and throws at the first broken invariant. For tests: the cost is that of all memory.
 *
<<<<<<< HEAD
 * Invariants of the page cache (checkFilemap), beside those of the tree (X), the LRU lists (L), the free lists (B), and of owners of other
 * pages (S slub.ts, W vmalloc.ts, N page_pool.ts, G hugetlb.ts):
=======
 * Invariants of the page cache (checkFilemap), beside those of the tree (X), the LRU lists (L), the free lists (B) and the descriptors apart (K):
>>>>>>> 3dd5511 (mm/memdesc: folios, page tables and compressed pages with descriptors of their own)
 *  F1 an entry of a file's tree is a folio that names that file, at an index that is a multiple of its size;
 *  F2 its order is at least the file's smallest and at most its largest (a collapse of tmpfs: that of a huge page);
 *  F3 it holds one reference for each of its pages and mappings, one for private data, and one for each batch it waits in; more only
 *     while the caller says that somebody uses it;
 *  F4 the DIRTY mark is set exactly when the folio is dirty (not of tmpfs), the WRITEBACK mark when it is under write-back;
 *  F5 tails point to their head, and the second page knows the order;
 *  F6 nrpages is the number of pages cached, and all of them together, with those of the swap cache, are nr_file_pages;
 *     dirty pages are nr_dirty;
 *  F7 a folio under write-back is uptodate; nothing is locked while nothing is in flight.
 */
import { Bug } from '../base/errors.ts';
import { xaFind } from '../base/xarray.ts';
import { checkXarray } from '../base/xarray_check.ts';
import { XA_MARK_DIRTY, XA_MARK_WRITEBACK, xaGetMark } from '../base/xarray_mark.ts';

import { AS_SWAPBACKED } from './address_space.ts';
import { checkBalloon } from './balloon_compaction.ts';
import { checkHugetlb } from './hugetlb.ts';
import { type FolioId, type Pfn, PGOFF_MAX } from './ids.ts';
import type { Machine } from './machine.ts';
import { checkDescriptors } from './memdesc_slab.ts';
import { checkPgmaps } from './memremap.ts';
import { checkMms } from './mm_check.ts';
import {
  folioFlags,
  folioIndex,
  folioMapping,
  folioNextIndex,
  folioOrder,
  folioPfn,
  folioRefCount,
  folioTest,
  pageFolio,
} from './mm_types.ts';
import { checkZones } from './page_alloc_check.ts';
import { decodeFlags, PG } from './page_flags.ts';
import { checkPagePools } from './page_pool.ts';
import { folioMapcount } from './rmap.ts';
import { checkAnonVmas, checkDeferred, checkRmap } from './rmap_check.ts';
import { checkSlabs } from './slub_check.ts';
import { checkLru } from './swap_check.ts';
import { checkSwap } from './swap_table_check.ts';
import { checkThp } from './thp.ts';
import { checkVmalloc } from './vmalloc.ts';
import { V } from './vmstat.ts';

/** All invariants. `idle`: nothing is in flight, so that nothing may be locked or under write-back. */
export function checkMachine(m: Machine, idle: boolean): void {
  checkXarray(m.pages, m.spaces.head, m.nrSpaces);
  checkFilemap(m, idle);
  checkLru(m);
  checkSwap(m);
  checkAnonVmas(m);
  checkRmap(m, batched(m));
  checkDeferred(m);
  checkMms(m);
  checkThp(m);
  checkZones(m);
  checkOwners(m);
  if (!m.map.overlaid) checkDescriptors(m.map, m.map.descriptors);
}

/** Owners of pages that are no folios, those that there are. */
function checkOwners(m: Machine): void {
  if (m.slab.nrCaches > 1) checkSlabs(m);
  if (m.hugetlb.hstates.some((h) => h.nr > 0)) checkHugetlb(m);
  if (m.pagePools.nr > 1) checkPagePools(m);
  checkVmalloc(m);
  checkBalloon(m);
  checkPgmaps(m);
}

/** F1 to F7. */
export function checkFilemap(m: Machine, idle: boolean): void {
  const { map, spaces, pages } = m;
  const waiting = batched(m);
  let cached = 0;
  let dirty = 0;
  for (let s = 1; s < m.nrSpaces; s++) {
    let nr = 0;
    const swapbacked = ((spaces.flags[s] as number) & AS_SWAPBACKED) !== 0;
    const head = spaces.head[s] as number;
    for (let i = 0; ; ) {
      const f = xaFind(pages, head, i, PGOFF_MAX) as FolioId;
      if (f === 0) break;
      const claim = (holds: boolean, rule: string): void => {
        if (!holds) fail(m, f, rule);
      };
      const order = folioOrder(map, f);
      const index = folioIndex(map, f);
      claim(folioMapping(map, f) === s && index % (1 << order) === 0 && index >= i, 'F1');
      const collapsed = swapbacked && order === m.thp.pmdOrder;
      claim(order >= (spaces.minOrder[s] as number) && (collapsed || order <= (spaces.maxOrder[s] as number)), 'F2');
      const flags = folioFlags(map, f);
      const expected =
        (1 << order) + ((flags & PG.PG_private) !== 0 ? 1 : 0) + (waiting.get(f) ?? 0) + folioMapcount(m, f);
      claim(folioRefCount(map, f) === expected, 'F3');
      const isDirty = (flags & PG.PG_dirty) !== 0;
      if (!swapbacked) {
        claim(isDirty === xaGetMark(pages, head, index, XA_MARK_DIRTY), 'F4');
        const writeback = (flags & PG.PG_writeback) !== 0;
        claim(writeback === xaGetMark(pages, head, index, XA_MARK_WRITEBACK), 'F4');
        if (isDirty) dirty += 1 << order;
      }
      const pfn = folioPfn(map, f);
      for (let p = 0; p < 1 << order; p++) claim(pageFolio(map, (pfn + p) as Pfn) === f, 'F5');
      if (idle) claim(!folioTest(map, f, PG.PG_locked | PG.PG_writeback), 'F7');
      nr += 1 << order;
      i = folioNextIndex(map, f);
    }
    if (nr !== spaces.nrpages[s]) throw new Bug(`F6 nrpages of file ${s}: ${spaces.nrpages[s]}, and ${nr} are cached`);
    cached += nr;
  }
  cached += m.vmstat[V.nr_swapcached];
  if (cached !== m.vmstat[V.nr_file_pages])
    throw new Bug(`F6 nr_file_pages: ${m.vmstat[V.nr_file_pages]}, and ${cached} are`);
  if (dirty !== m.vmstat[V.nr_dirty]) throw new Bug(`F6 nr_dirty: ${m.vmstat[V.nr_dirty]}, and ${dirty} are`);
}

/** References held by the per-CPU batches, by folio. */
function batched(m: Machine): Map<number, number> {
  const { batches } = m;
  const held = new Map<number, number>();
  const row = batches.folios.length / batches.count.length;
  batches.count.forEach((n, batch) => {
    for (let i = 0; i < n; i++) {
      const f = batches.folios[batch * row + i] as number;
      held.set(f, (held.get(f) ?? 0) + 1);
    }
  });
  for (let i = 0; i < m.mlock.count; i++) held.set(m.mlock.folios[i], (held.get(m.mlock.folios[i]) ?? 0) + 1);
  return held;
}

/** Throws with the folio in one line. */
function fail(m: Machine, f: FolioId, rule: string): never {
  const { map } = m;
  const flags = decodeFlags(folioFlags(map, f));
  throw new Bug(
    `${rule}: folio ${f} order ${folioOrder(map, f)} at ${folioIndex(map, f)} of file ${folioMapping(map, f)}, ` +
      `count ${folioRefCount(map, f)}, ${flags}`,
  );
}
