/**
 * Walks all address spaces and throws at the first broken invariant: A of the areas (vma.ts), T of the page tables (pgtable.ts, contpte.ts),
 * and of the counters:
 *
 *   M1  rss counts what the entries map: pages of files, of shared memory, anonymous pages, and swap entries;
 *   M2  nr_page_table_pages is the number of tables with a page of their own, and deposits;
 *   M3  the number of uses of a file is at least the number of areas that map it.
 */

import { Bug } from '../base/errors.ts';
import { AS_SWAPBACKED } from './address_space.ts';
import type { FolioId, MmId, Pfn, PtId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { getMmCounter, MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS, NR_MM_COUNTERS } from './mm_struct.ts';
import { folioMapping, folioTestAnon, pageFolio } from './mm_types.ts';
import { PGTY } from './page_flags.ts';
import { pageType } from './page_type.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_SPECIAL,
  PTE_CONT,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_TABLE,
  pteFlags,
  ptePayload,
} from './pgtable.ts';
import { VM_LOCKED, vmaPages } from './vma.ts';
import { V } from './vmstat.ts';

/** What the walk of one address space has found. */
interface Found {
  readonly mm: MmId;
  /** Tables with deposits, the top one left out. */
  tables: number;
  readonly rss: Float64Array;
}

function claim(holds: boolean, rule: string, what: string): void {
  if (!holds) throw new Bug(`${rule}: ${what}`);
}

/** A, T and M. */
export function checkMms(m: Machine): void {
  const { mms, pt } = m;
  const reached = new Uint8Array(pt.nr);
  const users = new Map<number, number>();
  let pages = 0;
  for (let mm = 1 as MmId; mm < mms.nr; mm = (mm + 1) as MmId) {
    if (mms.pgd[mm] === 0) continue;
    checkVmas(m, mm, users);
    const found: Found = { mm, tables: 0, rss: new Float64Array(NR_MM_COUNTERS) };
    const top = mms.pgd[mm] as PtId;
    claim(pt.parent[top] === -1 && pt.level[top] === pt.top, 'T2', `the top table of address space ${mm}`);
    checkTable(m, found, top, 0, reached);
    claim(
      found.tables * m.config.pageSize === mms.pgtablesBytes[mm],
      'T3',
      `address space ${mm} has ${found.tables} tables and says ${mms.pgtablesBytes[mm]} bytes`,
    );
    for (let k = 0; k < NR_MM_COUNTERS; k++)
      claim(
        found.rss[k] === getMmCounter(m, mm, k),
        'M1',
        `rss ${k} of address space ${mm} is ${getMmCounter(m, mm, k)}, mapped are ${found.rss[k]}`,
      );
    pages += found.tables + (pt.pfn[top] === 0 ? 0 : 1);
  }
  for (let t = 1; t < pt.nr; t++)
    claim((pt.mm[t] !== 0) === (reached[t] === 1), 'T2', `table ${t} is not reached once`);
  claim(pages === m.vmstat[V.nr_page_table_pages], 'M2', `${pages} tables, ${m.vmstat[V.nr_page_table_pages]} counted`);
  for (const [file, n] of users) claim(m.files.count[file] >= n, 'M3', `file ${file} is mapped by ${n} areas`);
}

function checkVmas(m: Machine, mm: MmId, users: Map<number, number>): void {
  const { mms, vmas, spaces } = m;
  let end = 0;
  let total = 0;
  let locked = 0;
  for (let i = 0; i < mms.nrVmas[mm]; i++) {
    const vma = mms.sorted[mm][i] as VmaId;
    const what = `area ${vma} of address space ${mm}`;
    claim(vmas.mm[vma] === mm && vmas.start[vma] >= end && vmas.end[vma] > vmas.start[vma], 'A1', what);
    claim(vmas.start[vma] % m.config.pageSize === 0 && vmas.end[vma] % m.config.pageSize === 0, 'A1', what);
    end = vmas.end[vma];
    claim(end <= m.geometry.userEnd, 'A1', what);
    total += vmaPages(m, vma);
    if ((vmas.flags[vma] & VM_LOCKED) !== 0) locked += vmaPages(m, vma);
    const mapping = vmas.mapping[vma];
    claim((mapping === 0) === (vmas.file[vma] === 0), 'A3', what);
    if (mapping === 0) continue;
    users.set(vmas.file[vma], (users.get(vmas.file[vma]) ?? 0) + 1);
    let on = spaces.iMmap[mapping];
    while (on !== 0 && on !== vma) on = vmas.sharedNext[on];
    claim(on === vma, 'A3', what);
  }
  claim(total === mms.totalVm[mm], 'A2', `totalVm ${mms.totalVm[mm]} of address space ${mm}, areas have ${total}`);
  claim(locked === mms.lockedVm[mm], 'A2', `lockedVm ${mms.lockedVm[mm]} of address space ${mm}, areas have ${locked}`);
}

function checkTable(m: Machine, found: Found, table: PtId, base: number, reached: Uint8Array): void {
  const { pt } = m;
  const level = pt.level[table];
  const what = `table ${table} of level ${level} at ${base}`;
  claim(reached[table] === 0 && pt.mm[table] === found.mm, 'T2', what);
  reached[table] = 1;
  const frame = pt.pfn[table];
  if (frame !== 0) claim(pageType(m.map, frame as Pfn) === PGTY.PGTY_table, 'T3', what);
  if (level < pt.top) found.tables++;
  found.tables += pt.deposits[table];
  const span = 2 ** (pt.shifts[level] + pt.pmdShift);
  let count = 0;
  let leaves = 0;
  for (let i = 0; i <= pt.masks[level]; i++) {
    const e = (table << pt.entryShift) + i;
    const flags = pteFlags(m, e);
    if (flags === 0) continue;
    count++;
    const addr = base + i * span;
    if ((flags & PTE_TABLE) !== 0) {
      const child = ptePayload(m, e) as PtId;
      claim(pt.level[child] === level - 1 && pt.parent[child] === e, 'T2', `${what}, entry ${i}`);
      checkTable(m, found, child, addr, reached);
    } else if (checkLeaf(m, found, e, level, addr)) leaves++;
  }
  claim(count === pt.count[table], 'T1', `${what} has ${count} entries and says ${pt.count[table]}`);
  if (level === 1)
    claim(leaves <= pt.deposits[table], 'T5', `${what}: ${leaves} anonymous leaves, ${pt.deposits[table]} deposits`);
}

/** One entry that is not a table; true for a huge one of anonymous memory. */
function checkLeaf(m: Machine, found: Found, e: number, level: number, addr: number): boolean {
  const { vmas, mms, map } = m;
  const flags = pteFlags(m, e);
  const what = `entry ${e} of level ${level} at ${addr}`;
  claim(level <= 1, 'T4', what);
  const sorted = mms.sorted[found.mm];
  let vma = 0;
  for (let i = 0; i < mms.nrVmas[found.mm] && vma === 0; i++)
    if (vmas.start[sorted[i]] <= addr && addr < vmas.end[sorted[i]]) vma = sorted[i];
  const nr = level === 0 ? 1 : m.pt.pteMask + 1;
  claim(vma !== 0 && addr + nr * m.config.pageSize <= vmas.end[vma], 'T4', `${what} is in no area`);
  if ((m.pt.entries[e * 2 + 1] & PTE_CONT) !== 0) checkCont(m, e, level, what);
  if ((flags & PTE_SWAP) !== 0) {
    found.rss[MM_SWAPENTS] += nr;
    return false;
  }
  if ((flags & PTE_MIGRATION) !== 0) {
    found.rss[kindOf(m, pageFolio(map, ptePayload(m, e) as Pfn))] += nr;
    return false;
  }
  if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) === 0) return false;
  if (level === 1) claim((flags & _PAGE_PSE) !== 0, 'T4', what);
  const pfn = ptePayload(m, e);
  if ((flags & _PAGE_SPECIAL) !== 0) return level === 1;
  claim(pfn > 0 && pfn % nr === 0, 'T4', what);
  const folio = pageFolio(map, pfn as Pfn);
  found.rss[kindOf(m, folio)] += nr;
  return level === 1 && folioTestAnon(map, folio);
}

/** T6: the block around an entry with the contiguous hint. */
function checkCont(m: Machine, e: number, level: number, what: string): void {
  const { entries, contPtes } = m.pt;
  const first = e & -contPtes;
  const pfn = entries[first * 2];
  claim(level === 0 && contPtes > 1 && pfn % contPtes === 0, 'T6', what);
  const folio = pageFolio(m.map, pfn as Pfn);
  const flags = entries[e * 2 + 1];
  claim((flags & (_PAGE_PRESENT | _PAGE_SPECIAL)) === _PAGE_PRESENT, 'T6', what);
  for (let i = 0; i < contPtes; i++) {
    const same = ((entries[(first + i) * 2 + 1] ^ flags) & ~(_PAGE_ACCESSED | _PAGE_DIRTY)) === 0;
    claim(same && entries[(first + i) * 2] === pfn + i, 'T6', `${what}, page ${i} of the block`);
    claim(pageFolio(m.map, (pfn + i) as Pfn) === folio, 'T6', `${what}: two folios`);
  }
}

function kindOf(m: Machine, folio: FolioId): number {
  if (folioTestAnon(m.map, folio)) return MM_ANONPAGES;
  return (m.spaces.flags[folioMapping(m.map, folio)] & AS_SWAPBACKED) !== 0 ? MM_SHMEMPAGES : MM_FILEPAGES;
}
