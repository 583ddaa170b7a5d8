/**
 * A mapping of huge pages, or a file of them: which of its pages are promised, which are there. A promise is made for all of it
 * when it is mapped, so that a fault cannot fail; pages that nobody promised are taken as they are left, and a fault that finds none
 * ends with SIGBUS.
 *
 *   page of the mapping:   no promise ─► there         promised ─► there          (first fault)
 *                              ▲           │               ▲
 *                              └───────────┴── the end ────┘   promises that nobody used go back to the pool
 *
 * Not modelled: page-table entries of huge mappings and their map counts; a private mapping’s copies after a fork.
 *
 * @kernel mm/hugetlb.c hugetlb_reserve_pages (6.18)
 */
import { Bug, QuireError } from '../base/errors.ts';
import {
  allocHugetlbFolio,
  type Hstate,
  hugetlbAcctMemory,
  hugetlbCommitReservation,
  putHugeFolio,
} from './hugetlb.ts';
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { PG } from './page_flags.ts';
import { pageCount, pageFlag } from './page_type.ts';
import { VM_FAULT_HWPOISON, VM_FAULT_SIGBUS } from './vm_fault.ts';

/** One mapping; indices count huge pages. */
export interface HugetlbMap {
  readonly h: Hstate;
  /** First frame of each page; 0: not there. */
  readonly pages: Int32Array;
  /** 1: promised and not used yet. */
  readonly promised: Uint8Array;
}

/** A mapping of `nr` huge pages; null: they cannot be promised. `reserve` false (MAP_NORESERVE): nothing is. @kernel mm/hugetlb.c hugetlb_reserve_pages (6.18) */
export function hugetlbMap(m: Machine, h: Hstate, nr: number, reserve = true): HugetlbMap | null {
  if (!Number.isInteger(nr) || nr < 1)
    throw new QuireError('EINVAL', `a mapping of ${nr} huge pages: expected at least one`);
  if (reserve && !hugetlbAcctMemory(m, h, nr)) return null;
  return { h, pages: new Int32Array(nr), promised: new Uint8Array(nr).fill(reserve ? 1 : 0) };
}

/** The page is wanted: 0, or VM_FAULT_SIGBUS: there is none left; VM_FAULT_HWPOISON: it is bad. @kernel mm/hugetlb.c hugetlb_fault (6.18) */
export function hugetlbFault(m: Machine, map: HugetlbMap, index: number): number {
  if (!(index >= 0 && index < map.pages.length)) return VM_FAULT_SIGBUS;
  const there = map.pages[index] as Pfn;
  if (there !== NO_PFN) return pageFlag(m.map, there, PG.PG_hwpoison) ? VM_FAULT_HWPOISON : 0;
  const pfn = allocHugetlbFolio(m, map.h, map.promised[index] === 1);
  if (pfn === NO_PFN) return VM_FAULT_SIGBUS;
  hugetlbCommitReservation(m, pfn);
  map.pages[index] = pfn;
  map.promised[index] = 0;
  return 0;
}

/** Pages [from, to) go, and promises for them that were not used. @kernel fs/hugetlbfs/inode.c remove_inode_hugepages (6.18) */
export function hugetlbTruncate(m: Machine, map: HugetlbMap, from: number, to: number): void {
  let unused = 0;
  for (let i = from; i < Math.min(to, map.pages.length); i++) {
    unused += map.promised[i];
    map.promised[i] = 0;
    if (map.pages[i] === 0) continue;
    putHugeFolio(m, map.pages[i] as Pfn);
    map.pages[i] = 0;
  }
  // @kernel mm/hugetlb.c hugetlb_unreserve_pages (6.18)
  if (unused > 0) hugetlbAcctMemory(m, map.h, -unused);
}

/** All of it goes. */
export const hugetlbUnmap = (m: Machine, map: HugetlbMap): void => hugetlbTruncate(m, map, 0, map.pages.length);

/** A pool's promises are those of its mappings, and each page that is there holds a reference. */
export function checkHugetlbMaps(m: Machine, maps: readonly HugetlbMap[]): void {
  for (const h of m.hugetlb.hstates) {
    let promised = 0;
    for (const map of maps) {
      if (map.h !== h) continue;
      map.promised.forEach((p, i) => {
        promised += p;
        if (p === 1 && map.pages[i] !== 0) throw new Bug('a promise that is used is none');
      });
      for (const pfn of map.pages)
        if (pfn !== 0 && pageCount(m.map, pfn as Pfn) < 1) throw new Bug(`frame ${pfn}: mapped and free`);
    }
    if (promised !== h.reserved) throw new Bug(`${h.reserved} pages reserved, ${promised} promised`);
  }
}
