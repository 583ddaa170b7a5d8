/**
 * Migration entries: what maps a folio is replaced by entries that say "wait", so that nothing maps it and nothing can come to;
 * then the folio is moved or split, and the entries become mappings again.
 *
 *   PTE  frame 100, writable, dirty  ─►  migration 100, writable, dirty  ─►  PTE frame 300, writable, dirty
 *
 * A PMD leaf becomes a migration entry of its own when the folio moves, and is split into 512 of them when the folio is split.
 *
 * @kernel mm/rmap.c try_to_migrate (6.18)
 */
import { splitHugePmd } from './huge_memory_anon.ts';
import type { FolioId, Pfn, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { mlockDrainLocal } from './mlock.ts';
import { addMmCounter, MM_ANONPAGES } from './mm_struct.ts';
import { folioPfn, folioRefAdd, folioSet, folioTest, folioTestAnon } from './mm_types.ts';
import { flushPmdTlbRange, ptepClearFlush } from './mmu_gather.ts';
import { PG } from './page_flags.ts';
import { folioMarkDirty } from './page_writeback.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_RW,
  _PAGE_SPECIAL,
  _PAGE_USER,
  PTE_MIGRATION,
  PTE_SWP_EXCLUSIVE,
  pteFlags,
  ptePayload,
  setPte,
} from './pgtable.ts';
import {
  folioAddAnonRmapPmd,
  folioAddAnonRmapPtes,
  folioAddFileRmapPmd,
  folioAddFileRmapPtes,
  folioMapped,
  folioRemoveRmapPmd,
  folioRemoveRmapPtes,
  folioTryShareAnonRmap,
  pageAnonExclusive,
} from './rmap.ts';
import {
  pageVmaMappedWalk,
  pageVmaMappedWalkRestart,
  rmapWalk,
  TTU_BATCH_FLUSH,
  TTU_SPLIT_HUGE_PMD,
} from './rmap_walk.ts';
import { folioPut } from './swap.ts';
import { VM_LOCKED } from './vma.ts';
import { pageZeroFilled } from './written.ts';

/** @kernel include/linux/rmap.h RMP_USE_SHARED_ZEROPAGE (6.18) */
export const RMP_USE_SHARED_ZEROPAGE = 2;

/**
 * Replaces what maps a locked folio by migration entries. Whether all were, folioMapped tells: what is pinned stays mapped.
 * @kernel mm/rmap.c try_to_migrate (6.18)
 */
export function tryToMigrate(m: Machine, f: FolioId, flags: number): void {
  m.rmap.flags = flags;
  m.rmap.wanted = _PAGE_PRESENT;
  rmapWalk(m, f, tryToMigrateOne);
}

/** @kernel mm/rmap.c try_to_migrate_one (6.18) */
function tryToMigrateOne(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { rmap, map } = m;
  const anon = folioTestAnon(map, f);
  while (pageVmaMappedWalk(m)) {
    const { entry } = rmap;
    const flags = pteFlags(m, entry);
    const page = ptePayload(m, entry) as Pfn;
    if (rmap.huge && (rmap.flags & TTU_SPLIT_HUGE_PMD) !== 0) {
      splitHugePmd(m, vma, entry, rmap.addr, true);
      pageVmaMappedWalkRestart(m);
      continue;
    }
    const exclusive = anon && pageAnonExclusive(m, f, page);
    if (exclusive && !folioTryShareAnonRmap(m, f, page)) return false;
    if ((flags & _PAGE_DIRTY) !== 0) {
      if (anon) folioSet(map, f, PG.PG_dirty);
      else folioMarkDirty(m, f);
    }
    const kept = flags & (_PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY);
    setPte(m, entry, page, PTE_MIGRATION | kept | (exclusive ? PTE_SWP_EXCLUSIVE : 0));
    if (rmap.huge) {
      flushPmdTlbRange(m, rmap.mm, rmap.addr);
      folioRemoveRmapPmd(m, f, vma);
    } else {
      ptepClearFlush(m, rmap.mm, rmap.addr, flags, (rmap.flags & TTU_BATCH_FLUSH) !== 0);
      folioRemoveRmapPtes(m, f, page, 1, vma);
    }
    if ((m.vmas.flags[vma] & VM_LOCKED) !== 0) mlockDrainLocal(m);
    folioPut(m, f);
  }
  return folioMapped(m, f);
}

/**
 * Makes migration entries for the pages of `src` mappings of the folio `dst`, whose pages are where src's were, `offset` frames on.
 * With RMP_USE_SHARED_ZEROPAGE small pages of nothing but zeros become the zero page. @kernel mm/migrate.c remove_migration_ptes (6.18)
 */
export function removeMigrationPtes(m: Machine, src: FolioId, dst: FolioId, flags: number): void {
  m.rmap.flags = flags;
  m.rmap.wanted = PTE_MIGRATION;
  m.rmap.memcg = folioPfn(m.map, src) - folioPfn(m.map, dst);
  rmapWalk(m, dst, removeMigrationPte);
}

/** @kernel mm/migrate.c remove_migration_pte (6.18) */
function removeMigrationPte(m: Machine, f: FolioId, vma: VmaId): boolean {
  const { rmap, map } = m;
  const offset = rmap.memcg;
  rmap.first += offset;
  rmap.end += offset;
  const anon = folioTestAnon(map, f);
  const locked = (m.vmas.flags[vma] & VM_LOCKED) !== 0;
  while (pageVmaMappedWalk(m)) {
    const { entry } = rmap;
    const was = pteFlags(m, entry);
    const page = (ptePayload(m, entry) - offset) as Pfn;
    if ((rmap.flags & RMP_USE_SHARED_ZEROPAGE) !== 0 && !locked && mapZeroPage(m, f, entry)) continue;
    folioRefAdd(map, f, 1);
    let flags = _PAGE_PRESENT | _PAGE_USER | (was & (_PAGE_RW | _PAGE_ACCESSED));
    if (folioTest(map, f, PG.PG_dirty)) flags |= was & _PAGE_DIRTY;
    const exclusive = anon && (was & (PTE_SWP_EXCLUSIVE | _PAGE_RW)) !== 0;
    if (rmap.huge) {
      if (anon) folioAddAnonRmapPmd(m, f, vma, rmap.addr, exclusive);
      else folioAddFileRmapPmd(m, f, vma);
      setPte(m, entry, page, flags | _PAGE_PSE);
    } else {
      if (anon) folioAddAnonRmapPtes(m, f, page, 1, vma, rmap.addr, exclusive);
      else folioAddFileRmapPtes(m, f, page, 1, vma);
      setPte(m, entry, page, flags);
    }
    if (locked) mlockDrainLocal(m);
  }
  return true;
}

/** Maps the zero page in the place of a small page that holds nothing but zeros. @kernel mm/migrate.c try_to_map_unused_to_zeropage (6.18) */
function mapZeroPage(m: Machine, f: FolioId, entry: number): boolean {
  if (folioTest(m.map, f, PG.PG_head | PG.PG_mlocked | PG.PG_hwpoison) || !pageZeroFilled(m, folioPfn(m.map, f)))
    return false;
  setPte(m, entry, 0, _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_SPECIAL);
  addMmCounter(m, m.rmap.mm, MM_ANONPAGES, -1);
  return true;
}
