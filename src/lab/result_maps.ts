/** What the program has mapped at the end, as the live kernel's recorder sees it through /proc/PID/pagemap. */
import { type FolioId, type MmId, NO_FOLIO, type Pfn } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioPfn, folioTestAnon, pageFolio } from '../mm/mm_types.ts';
import { KPF, PG, stablePageFlags } from '../mm/page_flags.ts';
import {
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_SPECIAL,
  PTE_MIGRATION,
  PTE_SWAP,
  PTE_TABLE,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
} from '../mm/pgtable.ts';
import type { ScriptMap } from './replay_mm.ts';
import type { FolioEntry } from './result.ts';

/** One mapping: runs of consecutive pages of one folio, and pages that are swapped out. */
export interface MapResult {
  map: number;
  folios: FolioEntry[];
  swapped: number[];
}

const { KPF_HEAD, KPF_MMAP, KPF_ANON, KPF_TAIL, KPF_THP, KPF_ZERO } = KPF;

/** Puts consecutive pages of one folio together: a run of n pages has order log2(n), or −n. */
class Runs {
  readonly folios: FolioEntry[] = [];
  private start = 0;
  private pages = 0;
  /** Frame of the next page if the run goes on; −1: it cannot. */
  private next = -1;
  private nextPage = 0;
  private folio = 0;
  private flags = 0;

  add(page: number, pfn: number, folio: number, flags: number): void {
    if (this.pages > 0 && pfn === this.next && page === this.nextPage && folio === this.folio) this.pages++;
    else {
      this.end();
      this.start = page;
      this.pages = 1;
      this.flags = flags;
      this.folio = folio;
    }
    this.nextPage = page + 1;
    this.next = (flags & ((1 << KPF_HEAD) | (1 << KPF_TAIL))) !== 0 ? pfn + 1 : -1;
  }

  end(): void {
    const n = this.pages;
    if (n > 0) this.folios.push([this.start, (n & (n - 1)) === 0 ? 31 - Math.clz32(n) : -n, this.flags]);
    this.pages = 0;
  }
}

/** The /proc/kpageflags word of a mapped page. @kernel fs/proc/page.c stable_page_flags (6.18) */
function pageWord(m: Machine, pfn: number, folio: FolioId, special: boolean): number {
  if (folio === NO_FOLIO) return 1 << KPF_ZERO;
  const flags = folioFlags(m.map, folio);
  const head = pfn === folioPfn(m.map, folio);
  if (special)
    return (1 << KPF_ZERO) | ((flags & PG.PG_head) !== 0 ? (1 << KPF_THP) | (1 << (head ? KPF_HEAD : KPF_TAIL)) : 0);
  let word = stablePageFlags(flags) | (1 << KPF_MMAP);
  if (folioTestAnon(m.map, folio)) word |= 1 << KPF_ANON;
  return head ? word : (word & ~(1 << KPF_HEAD)) | (1 << KPF_TAIL);
}

/** The mapping's range as the page tables have it, area or none. */
export function mapResult(m: Machine, mm: MmId, id: number, map: ScriptMap): MapResult {
  const size = m.config.pageSize;
  const pages = Math.floor(map.length / size);
  const { pt } = m;
  const runs = new Runs();
  const swapped: number[] = [];
  for (let page = 0; page < pages; ) {
    const addr = map.addr + page * size;
    const inTable = (addr / size) & pt.pteMask;
    const left = Math.min(pt.pteMask + 1 - inTable, pages - page);
    const pmd = pmdOffset(m, mm, addr);
    if (pmd < 0 || pteFlags(m, pmd) === 0) {
      page += left;
      continue;
    }
    const huge = (pteFlags(m, pmd) & PTE_TABLE) === 0;
    const e = huge ? pmd : pteOfPmd(m, pmd, addr);
    for (let i = 0; i < left; i++) {
      const flags = pteFlags(m, huge ? pmd : e + i);
      if ((flags & (_PAGE_PRESENT | _PAGE_PROTNONE)) !== 0) {
        const pfn = ptePayload(m, huge ? pmd : e + i) + (huge ? inTable + i : 0);
        const folio = pfn === 0 ? NO_FOLIO : pageFolio(m.map, pfn as Pfn);
        runs.add(page + i, pfn, folio, pageWord(m, pfn, folio, (flags & _PAGE_SPECIAL) !== 0));
      } else if ((flags & (PTE_SWAP | PTE_MIGRATION)) !== 0) swapped.push(page + i);
    }
    page += left;
  }
  runs.end();
  return { map: id, folios: runs.folios, swapped };
}
