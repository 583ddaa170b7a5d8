/**
 * A census: who owns the frames of a machine, in how large pieces. What a memory map costs on any layout is a function of a
 * census alone, wherever it comes from: a modelled machine, a live one, a file.
 *
 *   owner × order → pieces          a piece: a folio, a slab, a free block, … of 2^order pages
 *
 * The map of a modelled machine is walked piece by piece. Memory that boot listed and nobody has reached is in free blocks of
 * the largest order and is not visited.
 */
import { assert } from '../base/errors.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import { NO_FOLIO, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioFlags, folioMapping, folioTestAnon, pageFolio } from './mm_types.ts';
import { MAX_NR_ZONES } from './mmzone.ts';
import { pcpBlocks } from './page_alloc_pcp.ts';
import { PG, PGTY } from './page_flags.ts';
import { buddyOrder, pageBuddy, pageGuard } from './page_free.ts';
import { pageCount, pageFlag, pageNetpool, pageOrder, pageType } from './page_type.ts';

/** Each owner, and what it means. The order is that of the rows. */
export const ownerDocs = {
  free: 'free blocks of the buddy allocator',
  pcp: 'free, on per-CPU lists',
  uninitialised: 'not yet given to the allocator: its map is not written',
  file: 'folios of files',
  shmem: 'folios of shared memory and tmpfs',
  anon: 'folios of anonymous memory',
  hugetlb: 'folios of huge page pools',
  slab: 'slabs',
  table: 'page tables',
  zsmalloc: 'pages of compressed memory',
  netpool: 'pages of network receive pools',
  hwpoison: 'pages with bad memory',
  kernel: 'other kernel memory: stacks, drivers; where nobody can tell also vmalloc and large kmalloc',
  reserved: 'kernel image, memory map, firmware',
  offline: 'lent to a balloon or not online',
  large_kmalloc: 'kmalloc of more than two pages',
  vmalloc: 'memory mapped page by page for the kernel',
  guard: 'guard pages beside debugged allocations',
  unaccepted: 'a guest’s memory that it has not accepted yet',
  device: 'memory of a device (ZONE_DEVICE)',
} as const;
export type Owner = keyof typeof ownerDocs;
export const OWNERS = Object.keys(ownerDocs) as readonly Owner[];

/** Orders a piece may have: 0 to 22, which is 16 GiB of 4 KiB pages. @kernel include/linux/mm.h MAX_FOLIO_ORDER (6.18) */
export const CENSUS_ORDERS = 23;

/** First cell of an owner's row; the cell of order o is o further. */
export const OWNER_ROW = Object.freeze(
  Object.fromEntries(OWNERS.map((owner, row) => [owner, row * CENSUS_ORDERS])) as { readonly [K in Owner]: number },
);

export interface Census {
  readonly pageSize: number;
  /** Pages that have an entry in the map. What no owner lists needs no descriptor. */
  readonly frames: number;
  /** Pieces by owner and order: cell OWNER_ROW[owner] + order. */
  readonly pieces: Float64Array;
}

export const noPieces = (): Float64Array => new Float64Array(OWNERS.length * CENSUS_ORDERS);

/** Pieces of an owner, of all orders. */
export function ownerPieces(census: Census, owner: Owner): number {
  let sum = 0;
  for (let order = 0; order < CENSUS_ORDERS; order++) sum += census.pieces[OWNER_ROW[owner] + order];
  return sum;
}

/** Pages of an owner. */
export function ownerPages(census: Census, owner: Owner): number {
  let sum = 0;
  for (let order = 0; order < CENSUS_ORDERS; order++) sum += census.pieces[OWNER_ROW[owner] + order] * 2 ** order;
  return sum;
}

/** Pages that the owners list. */
export const listedPages = (census: Census): number =>
  OWNERS.reduce((sum, owner) => sum + ownerPages(census, owner), 0);

/** The owners that a type alone tells. */
const typeRows: Readonly<Record<number, number>> = {
  [PGTY.PGTY_offline]: OWNER_ROW.offline,
  [PGTY.PGTY_table]: OWNER_ROW.table,
  [PGTY.PGTY_hugetlb]: OWNER_ROW.hugetlb,
  [PGTY.PGTY_slab]: OWNER_ROW.slab,
  [PGTY.PGTY_zsmalloc]: OWNER_ROW.zsmalloc,
  [PGTY.PGTY_unaccepted]: OWNER_ROW.unaccepted,
  [PGTY.PGTY_large_kmalloc]: OWNER_ROW.large_kmalloc,
};

/** The census of a machine, from its memory map. Frame 0 is reserved. */
export function machineCensus(m: Machine): Census {
  const { zones } = m;
  const t = zones.zone;
  const pieces = noPieces();
  pieces[OWNER_ROW.reserved] = 1;
  const caches = pcpBlocks(m);
  let cached = 0;
  for (let zone = 0; zone < MAX_NR_ZONES; zone++) {
    const end = t.end[zone];
    for (let pfn = t.start[zone]; pfn < end; ) {
      if (pfn === t.cursor[zone] && pfn < t.cursorEnd[zone]) {
        const blocks = (t.cursorEnd[zone] - pfn) >> zones.maxOrder;
        pieces[OWNER_ROW.free + zones.maxOrder] += blocks;
        pfn = t.cursorEnd[zone];
        continue;
      }
      const cachedOrder = caches.get(pfn);
      if (cachedOrder !== undefined) {
        pieces[OWNER_ROW.pcp] += 1 << cachedOrder;
        pfn += 1 << cachedOrder;
        continue;
      }
      const row = ownerRow(m, pfn as Pfn);
      const order = pieceOrder(m, pfn as Pfn, row);
      pieces[row + order]++;
      pfn += 2 ** order;
    }
    cached += t.pcpCount[zone];
  }
  // A page of vmalloc does not know it: its area does.
  pieces[OWNER_ROW.kernel] -= m.vmalloc.nrPages;
  pieces[OWNER_ROW.vmalloc] += m.vmalloc.nrPages;
  assert(pieces[OWNER_ROW.pcp] === cached, 'per-CPU pages are as many as counted');
  let frames = zones.frames;
  for (const p of m.pgmaps) {
    if (!p.live) continue;
    frames += p.end - p.start;
    pieces[OWNER_ROW.device + p.order] += (p.end - p.data) / 2 ** p.order;
    pieces[OWNER_ROW.reserved] += p.data - p.start;
  }
  return { pageSize: m.config.pageSize, frames, pieces };
}

/** The row of the owner of the piece that starts at a frame. */
function ownerRow(m: Machine, pfn: Pfn): number {
  const { map } = m;
  if (pageBuddy(map, pfn)) return OWNER_ROW.free;
  if (pageGuard(map, pfn)) return OWNER_ROW.guard;
  const typed = typeRows[pageType(map, pfn)];
  if (typed !== undefined) return typed;
  if (pageFlag(map, pfn, PG.PG_reserved)) return OWNER_ROW.reserved;
  if (pageNetpool(map, pfn) !== 0) return OWNER_ROW.netpool;
  const f = pageFolio(map, pfn);
  const bad = pageFlag(map, pfn, PG.PG_hwpoison) && pageOrder(map, pfn) === 0;
  if (f === NO_FOLIO || pageCount(map, pfn) === 0) return bad ? OWNER_ROW.hwpoison : OWNER_ROW.kernel;
  if (folioTestAnon(map, f)) return OWNER_ROW.anon;
  const mapping = folioMapping(map, f);
  if (mapping !== 0) return (m.spaces.flags[mapping] & AS_SWAPBACKED) !== 0 ? OWNER_ROW.shmem : OWNER_ROW.file;
  if (bad) return OWNER_ROW.hwpoison;
  // In the swap cache, and mapped by nobody yet.
  return (folioFlags(map, f) & PG.PG_swapbacked) !== 0 ? OWNER_ROW.anon : OWNER_ROW.kernel;
}

/** log2 of its pages. */
function pieceOrder(m: Machine, pfn: Pfn, row: number): number {
  if (row === OWNER_ROW.free || row === OWNER_ROW.guard) return buddyOrder(m.map, pfn);
  if (row === OWNER_ROW.hwpoison) return 0;
  return row === OWNER_ROW.unaccepted ? m.zones.maxOrder : pageOrder(m.map, pfn);
}
