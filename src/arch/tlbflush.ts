/**
 * What it costs to invalidate translations: how many instructions, or one flush of everything, by the rules of x86 and arm64. The engine
 * (mm/mmu_gather.ts) says which stretch it unmapped or restricted; the counts say what Linux would have done for it on the CPU that the
 * program runs on. What the TLB then forgets is `forget`: a flush of everything forgets more than was asked.
 *
 *   x86     an address space that the CPU does not run now costs nothing: its translations go when it runs again
 *   arm64   every invalidation is broadcast, whoever runs
 */
import type { Cpu } from './cpus.ts';
import type { PageTableGeometry } from './pgtable.ts';
import { END } from './tlb.ts';

/** @kernel arch/x86/mm/tlb.c tlb_single_page_flush_ceiling (6.18) */
export const tlb_single_page_flush_ceiling = 33;
/** Pages that one range instruction of arm64 can name. @kernel arch/arm64/include/asm/tlbflush.h MAX_TLBI_RANGE_PAGES (6.18) */
export const MAX_TLBI_RANGE_PAGES: number = 32 << 16;

export interface TlbFlushes {
  readonly arch: Cpu['arch'];
  readonly pageShift: number;
  /** Entries of a PTE table: without range instructions arm64 flushes everything from so many entries on. */
  readonly ptrsPerPte: number;
  /** arm64: FEAT_TLBIRANGE. */
  readonly ranges: boolean;
  /** Stretches that were flushed. */
  flushes: number;
  /** Instructions that name one entry: invlpg, tlbi vae1is. On x86 nr_tlb_local_flush_one. */
  single: number;
  /** Instructions that name a range. */
  range: number;
  /** Flushes of a whole address space. On x86 nr_tlb_local_flush_all. */
  full: number;
  /** x86: flushes that another CPU (kswapd's) asked for; they count in none of the above. nr_tlb_remote_flush_received. */
  received: number;

  /** The address space that the CPU runs in (MmId). */
  loaded: number;
  /** The engine works on another CPU than the program's. */
  remote: boolean;
  /** What the TLB does; null: there is none, flushes are counted alone. [0, END): all of the address space. */
  forget: ((mm: number, start: number, end: number, tables: boolean) => void) | null;

  // The stretch that is being unmapped (struct mmu_gather): whose; 0: none.
  gather: number;
  /** The address space ends. */
  fullmm: boolean;
  start: number;
  end: number;
  /** Shift of the smallest entries that went. */
  stride: number;
  freedTables: boolean;
  /** Room taken by pages that wait to be freed. */
  slots: number;
  /** A dirty page of a file went. */
  force: boolean;

  // What reclaim unmapped and did not flush yet (struct tlbflush_unmap_batch).
  pending: boolean;
  pendingDirty: boolean;
}

/** Counts at 0, for a CPU of this architecture; `ranges`: it has FEAT_TLBIRANGE. */
export function tlbFlushes(cpu: Pick<Cpu, 'arch'>, g: PageTableGeometry, ranges = true): TlbFlushes {
  return {
    arch: cpu.arch,
    pageShift: g.pageShift,
    ptrsPerPte: 1 << g.levels[0].bits,
    ranges: cpu.arch === 'arm64' && ranges,
    flushes: 0,
    single: 0,
    range: 0,
    full: 0,
    received: 0,
    loaded: 0,
    remote: false,
    forget: null,
    gather: 0,
    fullmm: false,
    start: END,
    end: 0,
    stride: 63,
    freedTables: false,
    slots: 0,
    force: false,
    pending: false,
    pendingDirty: false,
  };
}

/**
 * Flushes [start, end) of an address space; `tables`: upper entries too.
 * @kernel arch/x86/mm/tlb.c flush_tlb_mm_range (6.18)
 */
export function flushTlbMmRange(
  f: TlbFlushes,
  mm: number,
  start: number,
  end: number,
  strideShift: number,
  tables: boolean,
): void {
  let all = true;
  if (f.arch === 'arm64' || mm === f.loaded) {
    if (f.arch === 'x86_64' && f.remote) f.received++;
    all = end === END || wouldFlushAll(f, start, end, strideShift);
    if (f.arch === 'arm64' || !f.remote) {
      if (end === END) flushTlbMm(f);
      else all = flushTlbRange(f, start, end, strideShift);
    }
  }
  if (f.forget === null) return;
  if (all) f.forget(mm, 0, END, true);
  else f.forget(mm, start, end, tables);
}

/** Is so much flushed all at once? */
function wouldFlushAll(f: TlbFlushes, start: number, end: number, strideShift: number): boolean {
  const stride = 2 ** strideShift;
  if (f.arch === 'x86_64') return Math.floor((end - start) / stride) > tlb_single_page_flush_ceiling;
  const bytes = (Math.ceil(end / stride) - Math.floor(start / stride)) * stride;
  return (!f.ranges && bytes >= f.ptrsPerPte * stride) || bytes / 2 ** f.pageShift > MAX_TLBI_RANGE_PAGES;
}

/**
 * Counts the flush of [start, end) in steps of 2^strideShift bytes (a PMD's where only PMD leaves went). Returns true when everything of
 * the address space is flushed instead.
 * @kernel arch/x86/mm/tlb.c get_flush_tlb_info (6.18)
 * @kernel arch/arm64/include/asm/tlbflush.h __flush_tlb_range_nosync (6.18)
 */
export function flushTlbRange(f: TlbFlushes, start: number, end: number, strideShift: number): boolean {
  f.flushes++;
  const stride = 2 ** strideShift;
  if (wouldFlushAll(f, start, end, strideShift)) {
    f.full++;
    return true;
  }
  if (f.arch === 'x86_64') {
    f.single += Math.ceil((end - start) / stride);
    return false;
  }
  const bytes = (Math.ceil(end / stride) - Math.floor(start / stride)) * stride;
  const pages = bytes / 2 ** f.pageShift;
  if (!f.ranges) f.single += bytes / stride;
  else rangeInstructions(f, pages, stride / 2 ** f.pageShift);
  return false;
}

/** A whole address space: exit, or mmu_gather that says so. @kernel arch/x86/include/asm/tlbflush.h flush_tlb_mm (6.18) */
export function flushTlbMm(f: TlbFlushes): void {
  f.flushes++;
  f.full++;
}

/**
 * A range instruction names (num + 1) << (5·scale + 1) pages, num to 31, scale 3 down to 0; one page that is left over is named by itself.
 * @kernel arch/arm64/include/asm/tlbflush.h __flush_tlb_range_op, __TLBI_RANGE_NUM (6.18)
 */
function rangeInstructions(f: TlbFlushes, all: number, stride: number): void {
  let pages = all;
  for (let scale = 3; pages > 0; ) {
    if (pages === 1) {
      f.single++;
      pages -= stride;
      continue;
    }
    const unit = 2 ** (5 * scale + 1);
    const num = Math.min(Math.floor(pages / unit), 32) - 1;
    if (num >= 0) {
      f.range++;
      pages -= (num + 1) * unit;
    }
    scale--;
  }
}
