/**
 * Memory groups: who pays for a folio, and how much a group may have. Groups are children of the root, which has no limit.
 *
 *   usage = folios charged + kernel memory + stock ≤ max
 *
 * A charge takes pages from the CPU's stock when it holds enough; else it raises the usage by a batch of 64 pages and puts
 * the rest into the stock. At the limit it asks for just what it needs, then reclaims from the group, and tries again.
 * What the group's tasks make the kernel allocate (page-cache nodes, for one) is charged by the byte, through a stock of
 * its own.
 */
import { allocate, extend, f64, grow, i32, type Table, u8 } from '../base/table.ts';
import {
  __GFP_DIRECT_RECLAIM,
  __GFP_HIGH,
  __GFP_NOFAIL,
  __GFP_NORETRY,
  __GFP_RETRY_MAYFAIL,
  GFP_KERNEL,
} from './gfp.ts';
import type { FolioId, MemcgId } from './ids.ts';
import { lruGenInitLruvec } from './lru_gen.ts';
import type { Machine } from './machine.ts';
import { lruvecsGrow, NR_LRU_LISTS } from './mm_inline.ts';
import { FOLIO_WORDS, folioNrPages, folioSetMemcg } from './mm_types.ts';
import { memCgroupOom } from './oom_kill.ts';
import { tryToFreeMemCgroupPages } from './vmscan.ts';
import { V } from './vmstat.ts';

/** @kernel mm/memcontrol.c struct mem_cgroup (6.18) */
export const memcgLayout = {
  usage: f64('pages charged'),
  max: f64('pages that the group may have'),
  watermark: f64('largest usage so far'),
  failcnt: f64('charges that met the limit'),
  oom: f64('charges that found nothing to reclaim'),
  stock: i32('pages charged in advance for the CPU'),
  pages: f64('pages of the folios charged'),
  kernel: f64('pages of kernel memory charged'),
  objStock: i32('bytes of kernel memory charged in advance'),
  nodes: i32('page-cache nodes charged'),
  swappiness: u8('0 to 200: how much anonymous memory is preferred to files'),
  pgpgin: f64('folios charged'),
  pgpgout: f64('folios uncharged'),
  pgscan: f64('pages scanned on inactive lists'),
  pgsteal: f64('pages reclaimed'),
  pgrefill: f64('pages scanned on active lists'),
  pgactivate: f64('pages activated'),
  pgdeactivate: f64('pages deactivated'),
  refaultAnon: f64('workingset_refault_anon'),
  refaultFile: f64('workingset_refault_file'),
  activateAnon: f64('workingset_activate_anon'),
  activateFile: f64('workingset_activate_file'),
  restoreAnon: f64('workingset_restore_anon'),
  restoreFile: f64('workingset_restore_file'),
  swap: f64('pages swapped out'),
  swapcached: f64('pages in the swap cache'),
  pswpin: f64('pages read from swap devices'),
  pswpout: f64('pages written to swap devices'),
} as const;

/** How closely groups are kept. */
export interface MemcgRules {
  /** Pages of one charge, and most pages of a stock; 0 charges exactly what is asked for. */
  readonly chargeBatch: number;
  /** Virtual time between two flushes of the statistics; 0: they are always exact. */
  readonly flushPeriodNs: number;
  /** Do groups pay for kernel memory? */
  readonly kernelMemory: boolean;
}

export interface Memcgs extends Table<typeof memcgLayout> {
  readonly rules: MemcgRules;
  /** Groups, the root among them. */
  nr: number;
  /** When the next flush is due. */
  flushDueNs: number;
}

/** @kernel include/linux/memcontrol.h MEMCG_CHARGE_BATCH (6.18) */
export const MEMCG_CHARGE_BATCH = 64;
/** @kernel mm/memcontrol.c FLUSH_TIME (6.18) */
export const FLUSH_TIME_NS = 2e9;
/** As the kernel does it. */
export const KERNEL_RULES: MemcgRules = {
  chargeBatch: MEMCG_CHARGE_BATCH,
  flushPeriodNs: FLUSH_TIME_NS,
  kernelMemory: true,
};
/** To the page: for budgets that are exact, and for checking rules one by one. */
export const EXACT_RULES: MemcgRules = { chargeBatch: 0, flushPeriodNs: 0, kernelMemory: false };
/** @kernel include/linux/mm.h MAX_RECLAIM_RETRIES (6.18) */
const MAX_RECLAIM_RETRIES = 16;
/** @kernel include/linux/mmzone.h PAGE_ALLOC_COSTLY_ORDER (6.18) */
const PAGE_ALLOC_COSTLY_ORDER = 3;
const ROWS = 4;

/** The root group alone. */
export function memcgsInit(rules: MemcgRules = KERNEL_RULES): Memcgs {
  const table = extend(allocate(memcgLayout, ROWS), { rules, nr: 1, flushDueNs: rules.flushPeriodNs / 2 });
  table.max.fill(Number.POSITIVE_INFINITY);
  return table;
}

/** A new group that may have `limitPages`. */
export function memcgCreate(m: Machine, limitPages: number): MemcgId {
  const t = m.memcgs;
  const id = t.nr++;
  if (id >= t.rows) grow(memcgLayout, t, t.rows * 2);
  if (id >= m.lruvecs.rows) lruvecsGrow(m.lruvecs, t.rows);
  if (m.lruGen !== null) lruGenInitLruvec(m.lruGen, id, m.now);
  t.max[id] = limitPages;
  t.swappiness[id] = m.config.swappiness;
  return id as MemcgId;
}

/** Charges a folio to the running task's group. False: the group is at its limit. @kernel mm/memcontrol.c __mem_cgroup_charge (6.18) */
export function memCgroupCharge(m: Machine, f: FolioId, gfp: number): boolean {
  const g = m.currentMemcg;
  if (g === 0) {
    folioSetMemcg(m.map, f, 0);
    return true;
  }
  const nr = folioNrPages(m.map, f);
  const { stock } = m.memcgs;
  if (stock[g] >= nr) stock[g] -= nr;
  else if (!tryCharge(m, g as MemcgId, nr, gfp)) return false;
  folioSetMemcg(m.map, f, g);
  const t = m.memcgs;
  t.pages[g] += nr;
  t.pgpgin[g] += 1;
  return true;
}

/** A folio leaves its group; the pages do not go to the stock. @kernel mm/memcontrol.c uncharge_folio (6.18) */
export function memCgroupUncharge(m: Machine, f: FolioId): void {
  const w = f * FOLIO_WORDS + m.map.memcg;
  const g = m.map[w];
  if (g === 0) return;
  m.map[w] = 0;
  const nr = folioNrPages(m.map, f);
  uncharge(m, g, nr, 1);
}

/** Takes `folios` folios with `nr` pages together off a group's account. @kernel mm/memcontrol.c uncharge_batch (6.18) */
export function uncharge(m: Machine, g: number, nr: number, folios: number): void {
  const t = m.memcgs;
  t.usage[g] -= nr;
  t.pages[g] -= nr;
  t.pgpgout[g] += folios;
}

/** Raises the usage unless that passes the limit. @kernel mm/page_counter.c page_counter_try_charge (6.18) */
function pageCounterTryCharge(t: Memcgs, g: number, nr: number): boolean {
  const usage = t.usage[g] + nr;
  if (usage > t.max[g]) {
    t.failcnt[g] += 1;
    return false;
  }
  t.usage[g] = usage;
  if (usage > t.watermark[g]) t.watermark[g] = usage;
  return true;
}

/** @kernel mm/memcontrol.c consume_stock (6.18) */
function consumeStock(t: Memcgs, g: number, nr: number): boolean {
  const stock = t.stock[g];
  if (nr > t.rules.chargeBatch || stock < nr) return false;
  t.stock[g] = stock - nr;
  return true;
}

/**
 * Gives charged pages to the stock; a stock of more than a batch is given back whole.
 * Differs: the kernel's CPU has seven stocks for all groups; here every group has one.
 * @kernel mm/memcontrol.c refill_stock (6.18)
 */
function refillStock(m: Machine, g: number, nr: number): void {
  const t = m.memcgs;
  if (nr > t.rules.chargeBatch) {
    t.usage[g] -= nr;
    return;
  }
  t.stock[g] += nr;
  if (t.stock[g] > t.rules.chargeBatch) drainStock(m, g);
}

/** @kernel mm/memcontrol.c drain_all_stock (6.18) */
function drainStock(m: Machine, g: number): void {
  const t = m.memcgs;
  t.usage[g] -= t.stock[g];
  t.stock[g] = 0;
  const size = m.config.pageSize;
  const pages = Math.floor(t.objStock[g] / size);
  if (pages > 0) {
    t.kernel[g] -= pages;
    t.usage[g] -= pages;
    t.objStock[g] = t.objStock[g] % size;
  }
}

/**
 * Charges `nr` pages to a group: stock, a batch, just as many; then reclaim, and again.
 * @kernel mm/memcontrol.c try_charge_memcg (6.18)
 */
function tryCharge(m: Machine, g: MemcgId, nr: number, gfp: number): boolean {
  const t = m.memcgs;
  let batch = nr > t.rules.chargeBatch ? nr : t.rules.chargeBatch;
  let retries = MAX_RECLAIM_RETRIES;
  let drained = false;
  for (;;) {
    if (consumeStock(t, g, nr)) return true;
    if (pageCounterTryCharge(t, g, batch)) {
      if (batch > nr) refillStock(m, g, batch - nr);
      return true;
    }
    if (batch > nr) {
      batch = nr;
      continue;
    }
    // Reclaim itself may pass the limit: it is about to give memory back.
    if (m.zones.memalloc) return forceCharge(t, g, nr);
    if ((gfp & __GFP_DIRECT_RECLAIM) === 0) break;
    const reclaimed = tryToFreeMemCgroupPages(m, g, nr, gfp);
    if (t.max[g] - t.usage[g] >= nr) continue;
    if (!drained) {
      drainStock(m, g);
      drained = true;
      continue;
    }
    if ((gfp & __GFP_NORETRY) !== 0) break;
    if (reclaimed > 0 && nr <= 1 << PAGE_ALLOC_COSTLY_ORDER) continue;
    if (retries-- > 0) continue;
    if ((gfp & __GFP_RETRY_MAYFAIL) === 0) memCgroupOom(m, g);
    break;
  }
  return (gfp & (__GFP_NOFAIL | __GFP_HIGH)) !== 0 && forceCharge(t, g, nr);
}

/** @kernel mm/page_counter.c page_counter_charge (6.18) */
function forceCharge(t: Memcgs, g: number, nr: number): boolean {
  t.usage[g] += nr;
  if (t.usage[g] > t.watermark[g]) t.watermark[g] = t.usage[g];
  return true;
}

/** Charges pages of kernel memory to a group. @kernel mm/memcontrol.c obj_cgroup_charge_pages (6.18) */
export function memcgChargeKernel(m: Machine, g: MemcgId, nr: number, gfp: number = GFP_KERNEL): boolean {
  if (g === 0) return true;
  if (!tryCharge(m, g, nr, gfp)) return false;
  m.memcgs.kernel[g] += nr;
  return true;
}

/** Gives pages of kernel memory back, by way of the stock. @kernel mm/memcontrol.c obj_cgroup_uncharge_pages (6.18) */
export function memcgUnchargeKernel(m: Machine, g: MemcgId, nr: number): void {
  if (g === 0) return;
  m.memcgs.kernel[g] -= nr;
  refillStock(m, g, nr);
}

/** Charges an object of kernel memory, by the byte. @kernel mm/memcontrol.c obj_cgroup_charge_account (6.18) */
export function objCgroupCharge(m: Machine, g: MemcgId, bytes: number, gfp: number = GFP_KERNEL): boolean {
  if (g === 0 || !m.memcgs.rules.kernelMemory) return true;
  const { objStock } = m.memcgs;
  if (objStock[g] >= bytes) {
    objStock[g] -= bytes;
    return true;
  }
  const size = m.config.pageSize;
  const pages = Math.ceil(bytes / size);
  if (!memcgChargeKernel(m, g, pages, gfp)) return false;
  m.memcgs.objStock[g] += pages * size - bytes;
  return true;
}

/** Gives an object back; whole pages that come together leave the group. @kernel mm/memcontrol.c refill_obj_stock (6.18) */
export function objCgroupUncharge(m: Machine, g: MemcgId, bytes: number): void {
  if (g === 0 || !m.memcgs.rules.kernelMemory) return;
  const { objStock } = m.memcgs;
  const size = m.config.pageSize;
  const sum = objStock[g] + bytes;
  const pages = sum > size ? Math.floor(sum / size) : 0;
  objStock[g] = sum - pages * size;
  if (pages > 0) memcgUnchargeKernel(m, g, pages);
}

/** Bytes charged for a page-cache node: its object, and the pointer to the group. @kernel mm/slub.c obj_full_size (6.18) */
const NODE_CHARGE_BYTES = 592;

/** Charges groups for the page-cache nodes that they have made since the last call, and gives back the freed ones. @kernel lib/xarray.c xas_alloc (6.18) */
export function memcgChargeNodes(m: Machine): void {
  const { used } = m.pages.tags;
  for (let g = 1 as MemcgId; g < m.memcgs.nr; g = (g + 1) as MemcgId) {
    // A charge may reclaim, and so come here again: each node is booked before it is paid for.
    while (m.memcgs.nodes[g] < used[g]) {
      m.memcgs.nodes[g]++;
      objCgroupCharge(m, g, NODE_CHARGE_BYTES);
    }
    while (m.memcgs.nodes[g] > used[g]) {
      m.memcgs.nodes[g]--;
      objCgroupUncharge(m, g, NODE_CHARGE_BYTES);
    }
  }
}

/**
 * Reclaim and refaults do not see the sizes of a group's lists as they are, but as they were at the last flush, one every
 * two seconds. A new group's are 0 until then, so that nothing is deactivated and no refault is recent. When the machine's
 * life begins between two flushes is chance; half-way is the mean. @kernel mm/memcontrol.c flush_memcg_stats_dwork (6.18)
 */
export function memCgroupFlushStats(m: Machine): void {
  const { memcgs: t, lruvecs: l } = m;
  const period = t.rules.flushPeriodNs;
  if (period === 0) return;
  t.flushDueNs = (Math.floor(m.now / period - 0.5) + 1.5) * period;
  l.flushedPages.set(l.pages);
  for (let g = 0; g < t.nr; g++) l.flushedSlab[g] = Math.floor((t.nodes[g] * NODE_CHARGE_BYTES) / m.config.pageSize);
  l.flushedActivateAnon.set(t.activateAnon.subarray(0, l.rows));
  l.flushedActivateFile.set(t.activateFile.subarray(0, l.rows));
  // The root's count what is below it, too.
  for (let lru = 0; lru < NR_LRU_LISTS; lru++) l.flushedPages[lru] = m.vmstat[V.nr_inactive_anon + lru];
  l.flushedActivateAnon[0] = m.vmstat[V.workingset_activate_anon];
  l.flushedActivateFile[0] = m.vmstat[V.workingset_activate_file];
}

/** Pages on a list of a group and of the groups below it, as the statistics have them. @kernel include/linux/memcontrol.h lruvec_page_state (6.18) */
export function lruvecPageState(m: Machine, g: number, lru: number): number {
  const t = m.memcgs;
  if (t.rules.flushPeriodNs > 0) {
    if (m.now >= t.flushDueNs) memCgroupFlushStats(m);
    return m.lruvecs.flushedPages[g * NR_LRU_LISTS + lru];
  }
  return g === 0 ? m.vmstat[V.nr_inactive_anon + lru] : m.lruvecs.pages[g * NR_LRU_LISTS + lru];
}

/** Pages of kernel objects of a group, as the statistics have them. */
export function slabPageState(m: Machine, g: number): number {
  const t = m.memcgs;
  if (t.rules.flushPeriodNs > 0) {
    if (m.now >= t.flushDueNs) memCgroupFlushStats(m);
    return m.lruvecs.flushedSlab[g];
  }
  return Math.floor((t.nodes[g] * NODE_CHARGE_BYTES) / m.config.pageSize);
}

/** Refaults that were activated, of files or of anonymous memory, as the statistics have them. */
export function lruvecActivated(m: Machine, g: number, file: boolean): number {
  const t = m.memcgs;
  if (t.rules.flushPeriodNs > 0) {
    if (m.now >= t.flushDueNs) memCgroupFlushStats(m);
    return file ? m.lruvecs.flushedActivateFile[g] : m.lruvecs.flushedActivateAnon[g];
  }
  if (g === 0) return m.vmstat[file ? V.workingset_activate_file : V.workingset_activate_anon];
  return file ? t.activateFile[g] : t.activateAnon[g];
}

/**
 * The group's memory.stat (version 1), bytes and counts, with max_usage and failcnt beside them.
 * `workingset_activate_file` and `workingset_restore_file` are ours: version 1 does not print them.
 * @kernel mm/memcontrol-v1.c memcg1_stat_format (6.18)
 */
export function memcgStatReport(m: Machine, g: MemcgId): Record<string, number> {
  const t = m.memcgs;
  const size = m.config.pageSize;
  const list = (lru: number): number => m.lruvecs.pages[g * NR_LRU_LISTS + lru] * size;
  return {
    cache: t.pages[g] * size,
    rss: 0,
    swap: t.swap[g] * size,
    swapcached: t.swapcached[g] * size,
    workingset_refault_anon: t.refaultAnon[g],
    workingset_refault_file: t.refaultFile[g],
    workingset_activate_file: t.activateFile[g],
    workingset_restore_file: t.restoreFile[g],
    pgpgin: t.pgpgin[g],
    pgpgout: t.pgpgout[g],
    pgfault: m.vmstat[V.pgfault],
    pgmajfault: m.vmstat[V.pgmajfault],
    inactive_anon: list(0),
    active_anon: list(1),
    inactive_file: list(2),
    active_file: list(3),
    unevictable: list(4),
    max_usage: t.watermark[g] * size,
    failcnt: t.failcnt[g],
  };
}
