/**
 * Locked memory: folios that are mapped whole by a locked area are marked, and leave the evictable lists. The marking waits in a
 * batch, as the LRU's operations do, with a reference of the batch's.
 *
 * @kernel mm/mlock.c mlock_folio (6.18)
 */
import type { FolioId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { lruvecAddFolio, lruvecDelFolio } from './mm_inline.ts';
import { FOLIO_WORDS, folioClear, folioFlags, folioNrPages, folioRefAdd, folioSet, W_MLOCK_COUNT } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { BATCH_SIZE, folioPut } from './swap.ts';
import { VM_DONTEXPAND, VM_IO, VM_LOCKED, VM_MIXEDMAP, VM_PFNMAP } from './vma.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_head, PG_lru, PG_mlocked, PG_unevictable } = PG;
/** @kernel include/linux/mm.h VM_SPECIAL (6.18) */
const VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;

/** What waits: lock a folio, lock one that is on no list yet, unlock one. */
const LRU_FOLIO = 1;
const NEW_FOLIO = 2;
const UNLOCK = 0;

/** @kernel mm/mlock.c struct mlock_fbatch (6.18) */
export interface MlockBatch {
  count: number;
  readonly folios: Int32Array;
  readonly kinds: Uint8Array;
}
export const mlockBatch = (): MlockBatch => ({
  count: 0,
  folios: new Int32Array(BATCH_SIZE + 1),
  kinds: new Uint8Array(BATCH_SIZE + 1),
});

function batchAdd(m: Machine, f: FolioId, kind: number): void {
  const b = m.mlock;
  folioRefAdd(m.map, f, 1);
  b.folios[b.count] = f;
  b.kinds[b.count] = kind;
  b.count++;
  if (b.count >= m.batches.size || (folioFlags(m.map, f) & PG_head) !== 0) mlockDrainLocal(m);
}

function mlockSet(m: Machine, f: FolioId, nr: number): void {
  folioSet(m.map, f, PG_mlocked);
  m.vmstat[V.nr_mlock] += nr;
  m.vmstat[V.unevictable_pgs_mlocked] += nr;
}

/** Locks a folio that a locked area maps whole. @kernel mm/mlock.c mlock_folio (6.18) */
export function mlockFolio(m: Machine, f: FolioId): void {
  if ((folioFlags(m.map, f) & PG_mlocked) === 0) mlockSet(m, f, folioNrPages(m.map, f));
  batchAdd(m, f, LRU_FOLIO);
}

/** A new folio of a locked area: instead of folioAddLru. @kernel mm/mlock.c mlock_new_folio (6.18) */
export function mlockNewFolio(m: Machine, f: FolioId): void {
  mlockSet(m, f, folioNrPages(m.map, f));
  batchAdd(m, f, NEW_FOLIO);
}

/** @kernel mm/mlock.c munlock_folio (6.18) */
export function munlockFolio(m: Machine, f: FolioId): void {
  batchAdd(m, f, UNLOCK);
}

/** A mapping of the whole folio was added. @kernel mm/internal.h mlock_vma_folio (6.18) */
export function mlockVmaFolio(m: Machine, f: FolioId, vma: VmaId): void {
  if ((m.vmas.flags[vma] & (VM_LOCKED | VM_SPECIAL)) === VM_LOCKED) mlockFolio(m, f);
}
/** A mapping was removed. @kernel mm/internal.h munlock_vma_folio (6.18) */
export function munlockVmaFolio(m: Machine, f: FolioId, vma: VmaId): void {
  if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) munlockFolio(m, f);
}

/** Carries the batch out. @kernel mm/mlock.c mlock_drain_local (6.18) */
export function mlockDrainLocal(m: Machine): void {
  const b = m.mlock;
  const n = b.count;
  b.count = 0;
  for (let i = 0; i < n; i++) {
    const f = b.folios[i] as FolioId;
    const kind = b.kinds[i];
    if (kind === LRU_FOLIO) mlockNow(m, f);
    else if (kind === NEW_FOLIO) mlockNewNow(m, f);
    else munlockNow(m, f);
    folioPut(m, f);
  }
}

/** Off its list and on another one, with the flags as they will be. */
function move(m: Machine, f: FolioId, clear: number, set: number): void {
  lruvecDelFolio(m, f);
  folioClear(m.map, f, clear);
  folioSet(m.map, f, set);
  lruvecAddFolio(m, f);
}

/** @kernel mm/mlock.c __mlock_folio (6.18) */
function mlockNow(m: Machine, f: FolioId): void {
  const { map, vmstat } = m;
  const flags = folioFlags(map, f);
  if ((flags & PG_lru) === 0) return;
  if ((flags & PG_mlocked) === 0) {
    if ((flags & PG_unevictable) === 0) return;
    move(m, f, PG_unevictable, 0);
    vmstat[V.unevictable_pgs_rescued] += folioNrPages(map, f);
  } else if ((flags & PG_unevictable) !== 0) map[f * FOLIO_WORDS + W_MLOCK_COUNT]++;
  else {
    move(m, f, PG_active, PG_unevictable);
    map[f * FOLIO_WORDS + W_MLOCK_COUNT] = 1;
    vmstat[V.unevictable_pgs_culled] += folioNrPages(map, f);
  }
}

/** @kernel mm/mlock.c __mlock_new_folio (6.18) */
function mlockNewNow(m: Machine, f: FolioId): void {
  const { map } = m;
  if ((folioFlags(map, f) & PG_mlocked) !== 0) {
    folioSet(map, f, PG_unevictable);
    map[f * FOLIO_WORDS + W_MLOCK_COUNT] = 1;
    m.vmstat[V.unevictable_pgs_culled] += folioNrPages(map, f);
  }
  folioSet(map, f, PG_lru);
  lruvecAddFolio(m, f);
}

/** @kernel mm/mlock.c __munlock_folio (6.18) */
function munlockNow(m: Machine, f: FolioId): void {
  const { map, vmstat } = m;
  const w = f * FOLIO_WORDS + W_MLOCK_COUNT;
  const flags = folioFlags(map, f);
  const onList = (flags & PG_lru) !== 0;
  const nr = folioNrPages(map, f);
  if (onList && (flags & PG_unevictable) !== 0) {
    if (map[w] > 0) map[w]--;
    if (map[w] > 0) return;
  }
  if ((flags & PG_mlocked) !== 0) {
    folioClear(map, f, PG_mlocked);
    vmstat[V.nr_mlock] -= nr;
    if (onList || (flags & PG_unevictable) === 0) vmstat[V.unevictable_pgs_munlocked] += nr;
    else vmstat[V.unevictable_pgs_stranded] += nr;
  }
  if (onList && (flags & PG_unevictable) !== 0) {
    move(m, f, PG_unevictable, 0);
    vmstat[V.unevictable_pgs_rescued] += nr;
  }
}
