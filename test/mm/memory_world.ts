/** A small machine with address spaces for tests of faults: touches as the processor makes them, and what is mapped where. */
import { type PageTableGeometry, x86_64 } from '../../src/arch/pgtable.ts';
import type { FileId, MmId, VmaId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { handleMmFault } from '../../src/mm/memory.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { folioOrder, pageFolio } from '../../src/mm/mm_types.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import {
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_SPECIAL,
  accessPage,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
} from '../../src/mm/pgtable.ts';
import { release } from '../../src/mm/release.ts';
import { thpStore } from '../../src/mm/thp.ts';
import { VM_FAULT_ERROR, VM_FAULT_RETRY } from '../../src/mm/vm_fault.ts';
import { VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_WRITE, vmaLookup } from '../../src/mm/vma.ts';

export const RW: number = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE;

export interface MemoryWorld {
  readonly m: Machine;
  readonly mm: MmId;
}

/** `pages`: memory; `thp`: controls by name. */
export function memoryWorld(
  thp: Readonly<Record<string, string>> = {},
  pages = 16384,
  geometry: PageTableGeometry = x86_64,
  kernel = '6.18',
): MemoryWorld {
  const pageSize = 2 ** geometry.pageShift;
  const m = machine({
    release: release(kernel),
    pageSize,
    memory: pages * pageSize,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
    pageTables: geometry,
  });
  // A store makes a page differ from the zero page.
  m.contents = true;
  for (const [name, value] of Object.entries(thp)) thpStore(m, name, value);
  return { m, mm: mmAlloc(m) };
}

/** An anonymous private area at [start, end). */
export function area(w: MemoryWorld, start: number, end: number, flags: number = RW): VmaId {
  const { m, mm } = w;
  const at = doMmap(m, mm, { addr: start, length: end - start, flags, file: 0 as FileId, pgoff: 0 });
  if (at !== start) throw new Error(`mmap ${at}`);
  return vmaLookup(m, mm, start);
}

/** A load or store; false: the access is refused, or there is no memory. Returns after as many faults as it takes. */
export function touch(m: Machine, mm: MmId, addr: number, write: boolean): boolean {
  for (let tries = 0; tries < 10; tries++) {
    if (accessPage(m, mm, addr, write)) return true;
    const vma = vmaLookup(m, mm, addr);
    if (vma === 0) return false;
    const ret = handleMmFault(m, mm, vma, addr, write);
    if ((ret & (VM_FAULT_ERROR | VM_FAULT_RETRY)) !== 0) return false;
  }
  throw new Error('a touch comes to no end');
}

/** Frame at an address: 0: nothing is mapped, −1: the zero page. */
export function frameAt(m: Machine, mm: MmId, addr: number): number {
  const pmd = pmdOffset(m, mm, addr);
  if (pmd < 0 || pteFlags(m, pmd) === 0) return 0;
  const huge = pmdLeaf(m, pmd);
  const e = huge ? pmd : pteOfPmd(m, pmd, addr);
  const flags = e < 0 ? 0 : pteFlags(m, e);
  if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) === 0) return 0;
  if ((flags & _PAGE_SPECIAL) !== 0) return -1;
  return ptePayload(m, e) + (huge ? Math.floor(addr / m.config.pageSize) & m.pt.pteMask : 0);
}

/** Order of the folio mapped at an address; −1: none, or the zero page. */
export function orderAt(m: Machine, mm: MmId, addr: number): number {
  const frame = frameAt(m, mm, addr);
  return frame <= 0 ? -1 : folioOrder(m.map, pageFolio(m.map, frame as never));
}
