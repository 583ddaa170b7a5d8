/**
 * Pages on their way to swap and back.
 *
 *   write-out   slots that nobody refers to ─► given up, nothing is written
 *               all zeros                   ─► marked so
 *               zswap takes it              ─► compressed in memory
 *               else                        ─► one request of the whole folio
 *   read-in     the same places, in the same order
 *
 * Which pages are all zeros, written.ts knows; how small others become, the face (Io.compress). A device that keeps pages in
 * memory (zram) is here too: what it stores takes memory of this machine.
 * @kernel mm/page_io.c swap_writeout (6.18)
 */
import { __GFP_KSWAPD_RECLAIM, __GFP_MOVABLE, __GFP_NOWARN } from './gfp.ts';
import type { FolioId, Pfn, SwapEntry } from './ids.ts';
import type { Machine } from './machine.ts';
import { folioClear, folioMemcg, folioNrPages, folioOrder, folioPfn, folioSet, folioTest } from './mm_types.ts';
import { PG } from './page_flags.ts';
import { folioRotateReclaimable } from './swap.ts';
import { folioSwap, swapDevice } from './swap_table.ts';
import { folioFreeSwap } from './swapfile.ts';
import { MTHP, modMthpStat } from './thp.ts';
import { V } from './vmstat.ts';
import { pageZeroFilled } from './written.ts';
import { type ZsPool, zsFree, zsHugeClassSize, zsMalloc } from './zsmalloc.ts';
import { compressedLength, zswapFolioSwapin, zswapLoad, zswapStore } from './zswap.ts';

const { PG_dirty, PG_locked, PG_reclaim, PG_uptodate, PG_writeback } = PG;

/** @kernel drivers/block/zram/zram_drv.c zram_write_page (6.18) */
const ZRAM_GFP = __GFP_KSWAPD_RECLAIM | __GFP_NOWARN | __GFP_MOVABLE;

/** The folio is where it goes, and unlocked; under write-back if that takes time. */
export const WRITEOUT_DONE = 0;
/** It stays, locked: make it active. @kernel include/linux/fs.h AOP_WRITEPAGE_ACTIVATE (6.18) */
export const WRITEOUT_ACTIVATE = 1;

/** Writes a locked folio of the swap cache, made clean for that. @kernel mm/page_io.c swap_writeout (6.18) */
export function swapWriteout(m: Machine, f: FolioId): number {
  const { map } = m;
  if (folioFreeSwap(m, f)) {
    folioClear(map, f, PG_locked);
    return WRITEOUT_DONE;
  }
  const entry = folioSwap(m, f);
  const nr = folioNrPages(map, f);
  const { zero } = m.swap.slots;
  const zeros = isFolioZeroFilled(m, f, nr);
  zero.fill(zeros ? 1 : 0, entry, entry + nr);
  if (zeros) {
    m.vmstat[V.swpout_zero] += nr;
    folioClear(map, f, PG_locked);
    return WRITEOUT_DONE;
  }
  if (zswapStore(m, f)) {
    modMthpStat(m, folioOrder(map, f), MTHP.zswpout, 1);
    folioClear(map, f, PG_locked);
    return WRITEOUT_DONE;
  }
  if (!m.swap.zswap.writeback) {
    folioSet(map, f, PG_dirty);
    return WRITEOUT_ACTIVATE;
  }
  swapWritepage(m, f);
  return WRITEOUT_DONE;
}

/** @kernel mm/page_io.c is_folio_zero_filled (6.18) */
function isFolioZeroFilled(m: Machine, f: FolioId, nr: number): boolean {
  const pfn = folioPfn(m.map, f);
  for (let p = pfn as number; p < pfn + nr; p++) if (!pageZeroFilled(m, p as Pfn)) return false;
  return true;
}

/** @kernel mm/page_io.c count_swpout_vm_event (6.18) */
function countSwpout(m: Machine, f: FolioId): void {
  const order = folioOrder(m.map, f);
  const nr = 1 << order;
  if (order >= m.zones.pmdOrder) m.vmstat[V.thp_swpout] += 1;
  modMthpStat(m, order, MTHP.swpout, 1);
  m.vmstat[V.pswpout] += nr;
  m.memcgs.pswpout[folioMemcg(m.map, f)] += nr;
}

/** Sends a folio to its device. @kernel mm/page_io.c __swap_writepage (6.18) */
export function swapWritepage(m: Machine, f: FolioId): void {
  const { map } = m;
  const entry = folioSwap(m, f);
  const nr = folioNrPages(map, f);
  const d = swapDevice(m.swap, entry);
  countSwpout(m, f);
  // @kernel mm/page-writeback.c __folio_start_writeback (6.18)
  folioSet(map, f, PG_writeback);
  m.vmstat[V.nr_writeback] += nr;
  folioClear(map, f, PG_locked);
  if (d.synchronousIo) endSwapWrite(m, f, zramWrite(m, f, entry, nr));
  else if (m.io.swapWrite !== undefined) m.io.swapWrite(f, entry, nr);
  else endSwapWrite(m, f, true);
}

/** A write that was submitted has ended. A folio that could not be written stays dirty. @kernel mm/page_io.c __end_swap_bio_write (6.18) */
export function endSwapWrite(m: Machine, f: FolioId, ok: boolean): void {
  const { map } = m;
  if (!ok) {
    folioSet(map, f, PG_dirty);
    folioClear(map, f, PG_reclaim);
  }
  if (folioTest(map, f, PG_reclaim)) {
    folioClear(map, f, PG_reclaim);
    folioRotateReclaimable(m, f);
  }
  folioClear(map, f, PG_writeback);
  const nr = folioNrPages(map, f);
  m.vmstat[V.nr_writeback] -= nr;
  m.vmstat[V.nr_written] += nr;
}

/** Fills a locked folio from its slots and unlocks it, now or when the device answers. @kernel mm/page_io.c swap_read_folio (6.18) */
export function swapReadFolio(m: Machine, f: FolioId, ahead: boolean): void {
  const { map } = m;
  const entry = folioSwap(m, f);
  const nr = folioNrPages(map, f);
  if (m.swap.slots.zero[entry] !== 0) {
    m.vmstat[V.swpin_zero] += nr;
    endSwapRead(m, f, true);
    return;
  }
  if (zswapLoad(m, f, entry)) {
    endSwapRead(m, f, true);
    return;
  }
  zswapFolioSwapin(m, f);
  modMthpStat(m, folioOrder(map, f), MTHP.swpin, 1);
  m.vmstat[V.pswpin] += nr;
  m.memcgs.pswpin[folioMemcg(map, f)] += nr;
  if (swapDevice(m.swap, entry).synchronousIo || m.io.swapRead === undefined) endSwapRead(m, f, true);
  else m.io.swapRead(f, entry, nr, ahead);
}

/** A read that was submitted has ended. @kernel mm/page_io.c __end_swap_bio_read (6.18) */
export function endSwapRead(m: Machine, f: FolioId, ok: boolean): void {
  if (ok) folioSet(m.map, f, PG_uptodate);
  folioClear(m.map, f, PG_locked);
}

/** A device that compresses stores a folio, page by page; false: there is no memory for it. @kernel drivers/block/zram/zram_drv.c zram_write_page (6.18) */
function zramWrite(m: Machine, f: FolioId, entry: SwapEntry, nr: number): boolean {
  const { zram } = m.swap.slots;
  const pool = m.swap.zram as ZsPool;
  const huge = zsHugeClassSize(pool);
  for (let i = 0; i < nr; i++) {
    if (zram[entry + i] !== 0) zramFree(m, (entry + i) as SwapEntry);
    let bytes = compressedLength(m, f, i);
    if (bytes >= huge) bytes = m.config.pageSize;
    const handle = zsMalloc(m, pool, bytes, ZRAM_GFP);
    if (handle === 0) return false;
    zram[entry + i] = handle;
  }
  return true;
}

/** A slot's compressed copy goes. @kernel drivers/block/zram/zram_drv.c zram_slot_free_notify (6.18) */
export function zramFree(m: Machine, entry: SwapEntry): void {
  const { zram } = m.swap.slots;
  zsFree(m, m.swap.zram as ZsPool, zram[entry]);
  zram[entry] = 0;
}
