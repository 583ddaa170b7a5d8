/** A small machine with one file whose pages come and go by hand: no readahead, no device. */

import type { AddressSpaceOperations } from '../../src/mm/address_space.ts';
import {
  EEXIST,
  ENOMEM,
  filemapAddFolio,
  filemapGetFolio,
  folioEndWriteback,
  folioStartWriteback,
  folioUnlock,
  MAPPING_GFP,
} from '../../src/mm/filemap.ts';
import { type FolioId, type MappingId, NO_FOLIO } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { EXACT_RULES, type MemcgRules, memcgCreate, memcgsInit } from '../../src/mm/memcontrol.ts';
import { inodeInit, machine } from '../../src/mm/mm_init.ts';
import { FOLIO_WORDS, folioDetachPrivate, folioSet } from '../../src/mm/mm_types.ts';
import { folioAlloc } from '../../src/mm/page_alloc.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { filemapDirtyFolio } from '../../src/mm/page_writeback.ts';
import { release } from '../../src/mm/release.ts';
import { batchesInit, folioMarkAccessed, folioPut } from '../../src/mm/swap.ts';

export interface World {
  readonly m: Machine;
  readonly file: MappingId;
  /** Whether the file system gives up private data. */
  releases: boolean;
  /** Write-backs asked for, as folios. */
  readonly written: FolioId[];
}

export interface WorldConfig {
  readonly kernel?: string;
  readonly memory?: number;
  readonly batch?: number;
  readonly rules?: MemcgRules;
  /** Write-back ends only when reclaim waits for it. */
  readonly slow?: boolean;
  /** Limit in pages of the group that everything is charged to; 0: the root. */
  readonly limit?: number;
}

/** Exact to the page unless asked otherwise: no batches, no stock, no kernel memory. */
export function world(config: WorldConfig = {}): World {
  const m = machine({
    release: release(config.kernel ?? '6.18'),
    pageSize: 4096,
    memory: config.memory ?? 2 ** 26,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
  });
  Object.assign(m, { batches: batchesInit(config.batch ?? 0), memcgs: memcgsInit(config.rules ?? EXACT_RULES) });
  const written: FolioId[] = [];
  const ops = {
    name: 'none',
    inodeInit: () => {},
    releaseFolio: (_m: Machine, folio: FolioId) => {
      if (w.releases) folioDetachPrivate(m.map, folio);
      return w.releases;
    },
    writeFolio: (_m: Machine, _wbc: unknown, _file: MappingId, folio: FolioId) => {
      written.push(folio);
      if (config.slow === true) folioStartWriteback(m, folio, false);
      folioUnlock(m, folio);
    },
  } as unknown as AddressSpaceOperations;
  const file = inodeInit(m, { ops, size: 2 ** 40, minOrder: 0, maxOrder: 9, blkbits: 12, raPages: 0, ioPages: 0 });
  const w: World = { m, file, releases: false, written };
  m.io.waitWriteback = () => {
    const under = written.filter((f) => has(w, f, PG.PG_writeback));
    for (const f of under) folioEndWriteback(m, f);
    return under.length > 0;
  };
  if ((config.limit ?? 0) > 0) m.currentMemcg = memcgCreate(m, config.limit as number);
  return w;
}

/** Reads a page in, in a folio of that order; the folio, or 0 when there was no memory. */
export function add(w: World, index: number, order = 0, gfp: number = MAPPING_GFP): FolioId {
  const { m } = w;
  const folio = folioAlloc(m, gfp, order);
  if (folio === 0) return NO_FOLIO;
  const err = filemapAddFolio(m, w.file, folio, index, gfp);
  if (err === 0) {
    folioSet(m.map, folio, PG.PG_uptodate);
    folioUnlock(m, folio);
  }
  folioPut(m, folio);
  if (err === EEXIST) throw new Error(`page ${index} is cached`);
  return err === ENOMEM ? NO_FOLIO : folio;
}

/** One read of a page, as read(2) does it. True: it was cached. */
export function access(w: World, index: number): boolean {
  const { m } = w;
  const cached = filemapGetFolio(m, w.file, index);
  const folio = cached !== 0 ? cached : add(w, index);
  if (folio !== 0) folioMarkAccessed(m, folio);
  return cached !== 0;
}

export const cached = (w: World, index: number): boolean => filemapGetFolio(w.m, w.file, index) !== 0;
export const dirty = (w: World, folio: FolioId): boolean => filemapDirtyFolio(w.m, w.file, folio);
export const has = (w: World, folio: FolioId, flag: number): boolean =>
  ((w.m.map[folio * FOLIO_WORDS] as number) & flag) !== 0;
