/**
 * A fault on a page that was swapped out.
 *
 *   in the swap cache? ─ yes ─► map it: the whole folio, when all its entries are still here and in a row
 *          │ no
 *          ├─ the device answers at once, and this entry alone refers to the slot ─► past the swap cache, as large as it went out
 *          └─ else ─► into the swap cache, in single pages, others read ahead
 *
 * The entry remembers whether the page was exclusive: then it is writable at once. The slots lose their references, and the
 * folio leaves the swap cache when swap is getting full, when it is locked in memory, or when it is about to be written and
 * nobody else has it.
 * @kernel mm/memory.c do_swap_page (6.18)
 */
import { GFP_HIGHUSER_MOVABLE, GFP_KERNEL } from './gfp.ts';
import { type FolioId, NO_FOLIO, type Pfn, type SwapEntry, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupSwapinChargeFolio, memCgroupUnchargeSwap } from './memcontrol_swap.ts';
import { doWpPage } from './memory.ts';
import { addMmCounter, MM_ANONPAGES, MM_SWAPENTS } from './mm_struct.ts';
import {
  FOLIO_WORDS,
  folioClear,
  folioNrPages,
  folioPfn,
  folioRefAdd,
  folioRefCount,
  folioSet,
  folioTest,
  folioTestAnon,
  W_PRIVATE,
} from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_swapcache } from './page_flags.ts';
import { swapReadFolio } from './page_io.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  PTE_SWAP,
  PTE_SWP_EXCLUSIVE,
  pteFlags,
  pteOffset,
  ptePayload,
  setPte,
} from './pgtable.ts';
import { folioAddAnonRmapPtes, folioAddNewAnonRmap } from './rmap.ts';
import { folioAddLru, folioPut, lruAddDrain } from './swap.ts';
import { swapCacheGetFolio, swapinReadahead, swapUpdateReadahead } from './swap_state.ts';
import { folioSwap, type SwapDevice, swapCount, swapDevice } from './swap_table.ts';
import { folioFreeSwap, memCgroupSwapFull, putSwapFolio, swapcachePrepare, swapFree } from './swapfile.ts';
import { MTHP, modMthpStat, TVA_PAGEFAULT, thpVmaAllowableOrders, thpVmaSuitableOrders, vmaThpGfpMask } from './thp.ts';
import {
  VM_FAULT_ERROR,
  VM_FAULT_MAJOR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  type VmFault,
} from './vm_fault.ts';
import { VM_LOCKED, VM_WRITE } from './vma.ts';
import { V } from './vmstat.ts';
import { workingsetRefault } from './workingset.ts';
import { setPagesWritten } from './written.ts';

const { PG_head, PG_locked, PG_lru, PG_mlocked, PG_swapbacked, PG_uptodate, PG_writeback } = PG;

/** Entries from `e` on that hold consecutive slots, with equal flags, from `entry` on; at most `nr`. @kernel mm/internal.h swap_pte_batch (6.18) */
export function swapPteBatch(m: Machine, e: number, nr: number): number {
  const flags = pteFlags(m, e);
  const entry = ptePayload(m, e);
  let n = 1;
  while (n < nr && pteFlags(m, e + n) === flags && ptePayload(m, e + n) === entry + n) n++;
  return n;
}

/** Could the 2^order pages around a fault be read as one folio? @kernel mm/memory.c can_swapin_thp (6.18) */
function canSwapinThp(m: Machine, e: number, order: number): boolean {
  const nr = 1 << order;
  const first = e - (e & (nr - 1));
  if (pteFlags(m, first) !== pteFlags(m, e) || ptePayload(m, first) !== ptePayload(m, e) - (e - first)) return false;
  if (swapPteBatch(m, first, nr) !== nr) return false;
  const { zero, table } = m.swap.slots;
  const entry = ptePayload(m, first);
  for (let i = entry; i < entry + nr; i++) if (zero[i] !== zero[entry] || table[i] > 0) return false;
  return true;
}

/** A folio to read into past the swap cache, charged; as large as the entries allow. @kernel mm/memory.c alloc_swap_folio (6.18) */
function allocSwapFolio(m: Machine, vma: VmaId, addr: number, e: number, entry: SwapEntry): FolioId {
  if (!m.swap.zswap.everEnabled) {
    let orders = thpVmaAllowableOrders(m, vma, m.vmas.flags[vma], TVA_PAGEFAULT, (1 << m.zones.pmdOrder) - 2);
    orders = thpVmaSuitableOrders(m, vma, addr, orders);
    // The run must lie in the device as it lies in memory; entry numbers of a table are aligned as addresses are.
    let order = 31 - Math.clz32(orders);
    for (; orders !== 0; order = 31 - Math.clz32(orders)) {
      const mask = (1 << order) - 1;
      if ((e & mask) === (entry & mask)) break;
      orders &= ~(1 << order);
    }
    for (; orders !== 0; order = 31 - Math.clz32(orders)) {
      if (canSwapinThp(m, e, order)) break;
      orders &= ~(1 << order);
    }
    for (; orders !== 0; order = 31 - Math.clz32(orders)) {
      const gfp = vmaThpGfpMask(m, vma);
      const f = folioAlloc(m, gfp, order);
      if (f !== NO_FOLIO) {
        if (memCgroupSwapinChargeFolio(m, f, gfp, entry)) return f;
        modMthpStat(m, order, MTHP.swpin_fallback_charge, 1);
        folioPut(m, f);
      }
      modMthpStat(m, order, MTHP.swpin_fallback, 1);
      orders &= ~(1 << order);
    }
  }
  const f = folioAlloc(m, GFP_HIGHUSER_MOVABLE, 0);
  if (f === NO_FOLIO || memCgroupSwapinChargeFolio(m, f, GFP_KERNEL, entry)) return f;
  folioPut(m, f);
  return NO_FOLIO;
}

/** Reads a page, or a run of pages, that nobody else refers to, into a folio of its own; locked until it is read. */
function readPastCache(m: Machine, vma: VmaId, addr: number, e: number, entry: SwapEntry): FolioId {
  const f = allocSwapFolio(m, vma, addr, e, entry);
  if (f === NO_FOLIO) return f;
  folioSet(m.map, f, PG_locked | PG_swapbacked);
  const nr = folioNrPages(m.map, f);
  const first = (entry - (entry & (nr - 1))) as SwapEntry;
  swapcachePrepare(m, first, nr);
  memCgroupUnchargeSwap(m, first, nr);
  const { slots } = m.swap;
  if (slots.table[first] < 0) workingsetRefault(m, f, -1 - slots.table[first], slots.age[first]);
  folioAddLru(m, f);
  const w = f * FOLIO_WORDS + W_PRIVATE;
  m.map[w] = first;
  swapReadFolio(m, f, false);
  m.map[w] = 0;
  return f;
}

/** Shall the folio leave the swap cache now that it is mapped again? @kernel mm/memory.c should_try_to_free_swap (6.18) */
function shouldTryToFreeSwap(m: Machine, f: FolioId, vma: VmaId, write: boolean): boolean {
  const { map } = m;
  if (!folioTest(map, f, PG_swapcache)) return false;
  if (memCgroupSwapFull(m) || (m.vmas.flags[vma] & VM_LOCKED) !== 0 || folioTest(map, f, PG_mlocked)) return true;
  return write && folioRefCount(map, f) === 1 + folioNrPages(map, f);
}

/** The fault at vmf.address, where the entry is PTE_SWAP. @kernel mm/memory.c do_swap_page (6.18) */
export function doSwapPage(m: Machine, vmf: VmFault): number {
  const { map } = m;
  const { mm, vma, address: addr } = vmf;
  const size = m.config.pageSize;
  const e = pteOffset(m, mm, addr);
  const was = pteFlags(m, e);
  let entry = ptePayload(m, e) as SwapEntry;
  const d: SwapDevice = swapDevice(m.swap, entry);
  let ret = 0;
  let f = swapCacheGetFolio(m, entry);
  let cached = f !== NO_FOLIO;
  if (cached) {
    folioRefAdd(map, f, 1);
    swapUpdateReadahead(m, f, vma, addr);
  } else {
    if (d.synchronousIo && swapCount(m, entry) === 1) f = readPastCache(m, vma, addr, e, entry);
    else {
      f = swapinReadahead(m, entry, vma, addr);
      cached = true;
    }
    if (f === NO_FOLIO) return VM_FAULT_OOM;
    ret = VM_FAULT_MAJOR;
    m.vmstat[V.pgmajfault] += 1;
  }
  if (folioTest(map, f, PG_locked)) {
    m.wait = f;
    folioPut(m, f);
    return ret | VM_FAULT_RETRY;
  }
  folioSet(map, f, PG_locked);
  if (cached && vmf.write && !folioTest(map, f, PG_lru)) lruAddDrain(m);
  if (!folioTest(map, f, PG_uptodate)) {
    folioClear(map, f, PG_locked);
    folioPut(m, f);
    return VM_FAULT_SIGBUS;
  }

  let nr = 1;
  let page = 0;
  let first = e;
  if (folioTest(map, f, PG_head)) {
    const all = folioNrPages(map, f);
    if (!cached) {
      nr = all;
      first = e - (e & (nr - 1));
      entry = ptePayload(m, first) as SwapEntry;
    } else {
      page = entry - folioSwap(m, f);
      if (wholeFolioFits(m, vmf, e, page, all)) {
        nr = all;
        first = e - page;
        entry = folioSwap(m, f);
        page = 0;
      }
    }
  }
  const start = addr - (e - first) * size;

  let exclusive = !cached || (was & PTE_SWP_EXCLUSIVE) !== 0;
  if (cached && d.stableWrites && folioTest(map, f, PG_writeback)) exclusive = false;
  const zeros = m.swap.slots.zero[entry] !== 0;
  swapFree(m, entry, nr);
  if (shouldTryToFreeSwap(m, f, vma, vmf.write)) folioFreeSwap(m, f);
  addMmCounter(m, mm, MM_ANONPAGES, nr);
  addMmCounter(m, mm, MM_SWAPENTS, -nr);
  let flags = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;
  if (exclusive || folioRefCount(map, f) === 1) {
    exclusive = true;
    if ((m.vmas.flags[vma] & VM_WRITE) !== 0) {
      flags |= _PAGE_RW;
      if (vmf.write) {
        flags |= _PAGE_DIRTY;
        vmf.write = false;
      }
    }
  } else exclusive = false;
  folioRefAdd(map, f, nr - 1);
  const pfn = folioPfn(map, f);
  if (!folioTestAnon(map, f)) {
    folioAddNewAnonRmap(m, f, vma, start, exclusive);
    if (!zeros) setPagesWritten(m, pfn, folioNrPages(map, f));
  } else folioAddAnonRmapPtes(m, f, (pfn + page) as Pfn, nr, vma, start, exclusive);
  for (let i = 0; i < nr; i++) setPte(m, first + i, pfn + page + i, flags);
  folioClear(map, f, PG_locked);
  if (!cached) putSwapFolio(m, entry, nr);
  if (vmf.write) {
    ret |= doWpPage(m, vmf);
    if ((ret & VM_FAULT_ERROR) !== 0) ret &= VM_FAULT_ERROR;
  }
  return ret;
}

/** Are all pages of a folio in the swap cache swapped out from one run of entries around `e`, in this area and table? */
function wholeFolioFits(m: Machine, vmf: VmFault, e: number, page: number, nr: number): boolean {
  const size = m.config.pageSize;
  const { vmas } = m;
  const start = vmf.address - page * size;
  if (start < vmas.start[vmf.vma] || start + nr * size > vmas.end[vmf.vma]) return false;
  if ((e & m.pt.pteMask) < page || (e & m.pt.pteMask) - page + nr > m.pt.pteMask + 1) return false;
  const first = e - page;
  if (pteFlags(m, first) !== pteFlags(m, e) || (pteFlags(m, first) & PTE_SWAP) === 0) return false;
  return ptePayload(m, first) === ptePayload(m, e) - page && swapPteBatch(m, first, nr) === nr;
}
