/**
 * From a file to those who map it: taking pages out of all mappings when the file loses them, and making them clean and
 * read-only when they are written back. The areas of a file are a list (iMmap).
 */
import { contpteTryFold } from './contpte.ts';
import type { FolioId, MappingId, MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { zapPageRange } from './memory.ts';
import { folioIndex, folioMapping, folioNrPages, folioPfn } from './mm_types.ts';
import { flushPmdTlbRange, ptepClearFlush } from './mmu_gather.ts';
import {
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
  setPteFlags,
} from './pgtable.ts';
import { VM_SHARED, vmaAddress } from './vma.ts';

/**
 * Unmaps pages [first, end) of a file wherever they are mapped; with `evenCows` the private copies that were made of them too.
 * @kernel mm/memory.c unmap_mapping_pages (6.18)
 */
export function unmapMappingPages(m: Machine, mapping: MappingId, first: number, end: number, evenCows: boolean): void {
  const { vmas } = m;
  for (let vma = m.spaces.iMmap[mapping] as VmaId; vma !== 0; vma = vmas.sharedNext[vma] as VmaId) {
    const last = vmas.pgoff[vma] + (vmas.end[vma] - vmas.start[vma]) * m.pagesPerByte;
    const from = Math.max(first, vmas.pgoff[vma]);
    const to = Math.min(end, last);
    if (from < to) zapPageRange(m, vma, vmaAddress(m, vma, from), vmaAddress(m, vma, to), evenCows);
  }
}

/** Unmaps one locked folio of a file; private copies stay. @kernel mm/memory.c unmap_mapping_folio (6.18) */
export function unmapMappingFolio(m: Machine, folio: FolioId): void {
  const first = folioIndex(m.map, folio);
  unmapMappingPages(m, folioMapping(m.map, folio), first, first + folioNrPages(m.map, folio), false);
}

/**
 * Makes the shared mappings of a folio clean and read-only; the number of entries that were not.
 * @kernel mm/rmap.c folio_mkclean (6.18)
 */
export function folioMkclean(m: Machine, folio: FolioId): number {
  const { vmas, pt } = m;
  const mapping = folioMapping(m.map, folio);
  if (mapping === 0) return 0;
  const first = folioIndex(m.map, folio);
  const end = first + folioNrPages(m.map, folio);
  const page = m.config.pageSize;
  const span = 2 ** pt.pmdShift;
  let cleaned = 0;
  for (let vma = m.spaces.iMmap[mapping] as VmaId; vma !== 0; vma = vmas.sharedNext[vma] as VmaId) {
    if ((vmas.flags[vma] & VM_SHARED) === 0) continue;
    const last = vmas.pgoff[vma] + (vmas.end[vma] - vmas.start[vma]) * m.pagesPerByte;
    const stop = vmaAddress(m, vma, Math.min(end, last));
    let addr = vmaAddress(m, vma, Math.max(first, vmas.pgoff[vma]));
    const frame = folioPfn(m.map, folio) + Math.max(first, vmas.pgoff[vma]) - first;
    const from = addr;
    while (addr < stop) {
      const next = Math.min(stop, (Math.floor(addr / span) + 1) * span);
      const pmd = pmdOffset(m, vmas.mm[vma] as never, addr);
      if (pmd >= 0 && pmdLeaf(m, pmd)) {
        if (ptePayload(m, pmd) === folio) cleaned += clean(m, vmas.mm[vma] as MmId, pmd, addr, true);
      } else if (pmd >= 0) {
        const e = pteOfPmd(m, pmd, addr);
        for (let i = 0; e >= 0 && addr + i * page < next; i++) {
          const present = (pteFlags(m, e + i) & _PAGE_PRESENT) !== 0;
          if (present && ptePayload(m, e + i) === frame + (addr - from) * m.pagesPerByte + i)
            cleaned += clean(m, vmas.mm[vma] as MmId, e + i, addr + i * page, false);
        }
      }
      addr = next;
    }
  }
  return cleaned;
}

/** Write-protects an entry and makes it clean; 1 if it was neither. */
function clean(m: Machine, mm: MmId, e: number, addr: number, huge: boolean): number {
  const flags = pteFlags(m, e);
  if ((flags & (_PAGE_RW | _PAGE_DIRTY)) === 0) return 0;
  setPteFlags(m, e, flags & ~(_PAGE_RW | _PAGE_DIRTY));
  if (m.pt.contPtes > 1) contpteTryFold(m, e);
  if (huge) flushPmdTlbRange(m, mm, addr);
  else ptepClearFlush(m, mm, addr, flags, false);
  return 1;
}
