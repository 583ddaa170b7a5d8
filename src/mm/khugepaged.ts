/**
 * khugepaged: the daemon that makes huge pages out of small ones. Address spaces that may gain are on a list; a cursor goes round,
 * 4096 pages a pass, then sleeps for 10 seconds:
 *
 *   pass 1   block 0 … block 7   10 s   pass 2   block 8 …      one block: 512 entries of one PTE table
 *
 * It has no clock of its own: the face tells it how far time has come (khugepagedRun), and a pass takes no time.
 *
 * @kernel mm/khugepaged.c khugepaged_do_scan (6.18)
 */
import type { MmId, VmaId } from './ids.ts';
import { collapseScanPmd } from './khugepaged_collapse.ts';
import { khugepagedOrders } from './khugepaged_mthp.ts';
import type { Machine } from './machine.ts';
import { MMF_VM_HUGEPAGE } from './mm_struct.ts';
import { SCAN_ALLOC_HUGE_PAGE_FAIL, SCAN_FAIL, SCAN_SUCCEED } from './scan_result.ts';
import { lruAddDrain } from './swap.ts';
import { vmaIsAnonymous, vmaPosition } from './vma.ts';

const NS_PER_MS = 1e6;
/** The daemon is the least urgent of tasks: woken, it gets to work about so much later. Nominal. */
const WAKE_NS = 10 * NS_PER_MS;

/** The daemon. @kernel mm/khugepaged.c struct khugepaged_scan (6.18) */
export interface Khugepaged {
  /** It runs at all. */
  enabled: boolean;
  /** Address spaces on the list, in order, and the one that the cursor is in (0: before the first). */
  readonly slots: number[];
  slot: number;
  address: number;
  /** Virtual ns of the next pass, or of the rest of one; −1: nothing to do. */
  next: number;
  /** A pass that waits for memory: how far it is. */
  inPass: boolean;
  progress: number;
  passThroughHead: number;
  mayWait: boolean;
}
export const khugepagedInit = (): Khugepaged => ({
  enabled: true,
  slots: [],
  slot: 0,
  address: 0,
  next: -1,
  inPass: false,
  progress: 0,
  passThroughHead: 0,
  mayWait: true,
});

/** Is some control such that huge pages (7.3: large folios) may come? @kernel mm/khugepaged.c hugepage_pmd_enabled (6.18) */
function hugepagePmdEnabled(m: Machine): boolean {
  const { thp } = m;
  const bit = m.release.khugepagedOrders === 'all-orders' ? thp.anonOrders : 1 << thp.pmdOrder;
  if (((thp.always | thp.madvise) & bit) !== 0) return true;
  return (thp.inherit & bit) !== 0 && thp.enabled !== 'never';
}

/** Puts an address space on the list. @kernel mm/khugepaged.c __khugepaged_enter (6.18) */
function enter(m: Machine, mm: MmId): void {
  const k = m.khugepaged;
  m.mms.flags[mm] |= MMF_VM_HUGEPAGE;
  k.slots.push(mm);
  if (k.next < 0) k.next = m.now + WAKE_NS;
}

/** An area may hold huge pages, with these VM_* bits. @kernel mm/khugepaged.c khugepaged_enter_vma (6.18) */
export function khugepagedEnterVma(m: Machine, vma: VmaId, flags: number): void {
  const mm = m.vmas.mm[vma] as MmId;
  if ((m.mms.flags[mm] & MMF_VM_HUGEPAGE) !== 0 || !hugepagePmdEnabled(m)) return;
  if (khugepagedOrders(m, vma, flags) !== 0) enter(m, mm);
}

/** @kernel include/linux/khugepaged.h khugepaged_fork (6.18) */
export function khugepagedFork(m: Machine, child: MmId, mm: MmId): void {
  if ((m.mms.flags[mm] & MMF_VM_HUGEPAGE) !== 0) enter(m, child);
}

/** An address space ends. @kernel mm/khugepaged.c __khugepaged_exit (6.18) */
export function khugepagedExit(m: Machine, mm: MmId): void {
  const k = m.khugepaged;
  if ((m.mms.flags[mm] & MMF_VM_HUGEPAGE) === 0) return;
  if (k.slot === mm) nextSlot(m);
  k.slots.splice(k.slots.indexOf(mm), 1);
  m.mms.flags[mm] &= ~MMF_VM_HUGEPAGE;
}

/** The cursor goes to the next address space; after the last one a round is complete. */
function nextSlot(m: Machine): void {
  const k = m.khugepaged;
  const at = k.slots.indexOf(k.slot) + 1;
  k.address = 0;
  k.slot = at < k.slots.length ? k.slots[at] : 0;
  if (k.slot === 0) m.thp.khugepaged.fullScans++;
}

/** Lets the daemon do what it does up to a virtual time; the next one at which it will do something, or −1. @kernel mm/khugepaged.c khugepaged (6.18) */
export function khugepagedRun(m: Machine, untilNs: number): number {
  const k = m.khugepaged;
  if (!k.enabled) return -1;
  while (k.next >= 0 && k.next <= untilNs) {
    if (doScan(m)) k.next += Math.max(m.thp.khugepaged.allocSleepMs, 1) * NS_PER_MS;
    else if (k.slots.length > 0 && hugepagePmdEnabled(m))
      k.next += Math.max(m.thp.khugepaged.scanSleepMs, 1) * NS_PER_MS;
    else k.next = -1;
  }
  return k.next;
}

/** A pass, or the rest of one. True: it waits for memory. @kernel mm/khugepaged.c khugepaged_do_scan (6.18) */
function doScan(m: Machine): boolean {
  const k = m.khugepaged;
  const pages = m.thp.khugepaged.pagesToScan;
  if (!k.inPass) {
    k.inPass = true;
    k.progress = k.passThroughHead = 0;
    k.mayWait = true;
    lruAddDrain(m);
  }
  for (;;) {
    if (k.slot === 0) k.passThroughHead++;
    if (k.slots.length === 0 || !hugepagePmdEnabled(m) || k.passThroughHead >= 2) break;
    const result = scanMmSlot(m, pages - k.progress);
    if (k.progress >= pages) break;
    if (result !== SCAN_ALLOC_HUGE_PAGE_FAIL) continue;
    // The first time it waits for memory, the second time the pass ends.
    if (!k.mayWait) break;
    k.mayWait = false;
    return true;
  }
  k.inPass = false;
  return false;
}

/** Goes on in one address space until a collapse was tried, or so many pages were looked at. The result of the last block. @kernel mm/khugepaged.c khugepaged_scan_mm_slot (6.18) */
function scanMmSlot(m: Machine, pages: number): number {
  const k = m.khugepaged;
  if (k.slot === 0) {
    k.slot = k.slots[0];
    k.address = 0;
  }
  const mm = k.slot as MmId;
  const span = 2 ** m.pt.pmdShift;
  let progress = 1;
  let result = SCAN_FAIL;
  let done = true;
  const memcg = m.currentMemcg;
  m.currentMemcg = m.mms.memcg[mm];
  areas: for (let i = vmaPosition(m, mm, k.address); i < m.mms.nrVmas[mm]; i++) {
    const vma = m.mms.sorted[mm][i] as VmaId;
    const first = Math.ceil(m.vmas.start[vma] / span) * span;
    const end = Math.floor(m.vmas.end[vma] / span) * span;
    // Files: only what MADV_COLLAPSE asks for.
    const orders = khugepagedOrders(m, vma, m.vmas.flags[vma]);
    if (orders === 0 || !vmaIsAnonymous(m, vma) || k.address > end) {
      progress++;
      continue;
    }
    if (k.address < first) k.address = first;
    while (k.address < end) {
      result = collapseScanPmd(m, vma, k.address, true);
      if (result === SCAN_SUCCEED) m.thp.khugepaged.pagesCollapsed++;
      k.address += span;
      progress += 1 << m.thp.pmdOrder;
      if (m.collapse.tried || progress >= pages) {
        done = false;
        break areas;
      }
    }
  }
  m.currentMemcg = memcg;
  k.progress += progress;
  if (done) nextSlot(m);
  return result;
}
