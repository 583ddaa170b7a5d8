/**
 * The census of the machine that this runs on, from /proc/kpageflags: a word of 64 bits for each frame. Only root may read it.
 *
 *   kpageflags   [BUDDY][BUDDY][HEAD LRU][TAIL][TAIL][TAIL][SLAB][–][LRU]…
 *   census        free, order 1   file, order 2             slab   │  file, order 0
 *                                                             kernel: no flag says more
 *
 * A head and the tails behind it are one piece. A run of free pages stands for the aligned blocks that the buddy allocator
 * would make of it: free neighbours always join. What the words do not tell: large kmalloc, vmalloc, stacks, zsmalloc, pages of
 * drivers and pages on per-CPU free lists are all `kernel`. Sections without one flag are memory that the kernel has not yet
 * given to the allocator, less what boot took of it: that shows in MemTotal alone.
 *
 * The words are read in chunks into one buffer while the machine goes on: a folio that is freed while its tails are read
 * gives a run that is no power of two, and counts in smaller pieces.
 *
 * @kernel fs/proc/page.c stable_page_flags (6.18)
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { QuireError } from '../base/errors.ts';
import { CENSUS_ORDERS, type Census, noPieces, OWNER_ROW } from '../mm/census.ts';
import { KPF } from '../mm/page_flags.ts';
import { type Meminfo, readMeminfo } from './meminfo.ts';

/** Bits beside those that the engine shows. @kernel include/uapi/linux/kernel-page-flags.h KPF_SLAB (6.18) */
const KPF_SLAB = 1 << 7;
const KPF_BUDDY = 1 << 10;
const KPF_HUGE = 1 << 17;
const KPF_HWPOISON = 1 << 19;
const KPF_NOPAGE = 1 << 20;
const KPF_OFFLINE = 1 << 23;
const KPF_PGTABLE = 1 << 26;
const HEAD = 1 << KPF.KPF_HEAD;
const TAIL = 1 << KPF.KPF_TAIL;
const LRU = 1 << KPF.KPF_LRU;
const MMAP = 1 << KPF.KPF_MMAP;
const ANON = 1 << KPF.KPF_ANON;
const SWAPBACKED = 1 << KPF.KPF_SWAPBACKED;
const ZERO = 1 << KPF.KPF_ZERO;
/** Any of these on a page with no type: it is a folio. */
const FOLIO = LRU | ANON | SWAPBACKED | (1 << KPF.KPF_UPTODATE);
/** In the high half. @kernel include/linux/kernel-page-flags.h KPF_RESERVED (6.18) */
const HIGH_RESERVED = 1;

/** Frames read at a time: 1 MiB of words. */
const CHUNK = 2 ** 17;
/** Bytes of a section, the unit in which memory gets its map. @kernel arch/x86/include/asm/sparsemem.h SECTION_SIZE_BITS (6.18) @kernel arch/arm64/include/asm/sparsemem.h SECTION_SIZE_BITS (6.18) */
const sectionBytes = (pageSize: number): number => 2 ** (pageSize === 65536 ? 29 : 27);
/** Largest block of the buddy allocator, by page size. */
const maxPageOrder = (pageSize: number): number => (pageSize === 65536 ? 13 : pageSize === 16384 ? 11 : 10);
const AT_PAGESZ = 6;

export interface LiveCensus {
  readonly census: Census;
  /** Read before and after. */
  readonly meminfo: readonly [Meminfo, Meminfo];
  /** Pages on an LRU list. */
  readonly lruPages: number;
  /** Mapped pages, by kpagecount where a folio has more than one. */
  readonly mappedAnonPages: number;
  readonly mappedFilePages: number;
}

/** `proc`: where proc is mounted. */
export function liveCensus(proc = '/proc'): LiveCensus {
  const flags = openWords(proc, 'kpageflags');
  try {
    const pageSize = pageSizeOf(proc);
    const counts = openWords(proc, 'kpagecount');
    try {
      const walk = new Walk(pageSize, counts);
      const bytes = Buffer.alloc(CHUNK * 8);
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, CHUNK * 2);
      const before = readMeminfo(proc);
      for (const [from, to] of sections(proc, pageSize))
        for (let pfn = from; pfn < to; pfn += CHUNK) {
          const n = readWords(flags, bytes, pfn, Math.min(CHUNK, to - pfn));
          walk.take(words, pfn, n);
          if (n < CHUNK) break;
        }
      return walk.end(before, readMeminfo(proc));
    } finally {
      closeSync(counts);
    }
  } finally {
    closeSync(flags);
  }
}

function openWords(proc: string, name: string): number {
  const path = `${proc}/${name}`;
  try {
    return openSync(path, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM')
      throw new QuireError('EINVAL', `${path}: only root may read it: expected to run as root`, { cause: error });
    if (code === 'ENOENT')
      throw new QuireError('ENOENT', `${path}: not there: expected a Linux with CONFIG_PROC_PAGE_MONITOR`, {
        cause: error,
      });
    throw error;
  }
}

/** Reads up to `n` words from word `at` on; returns how many there were. */
function readWords(fd: number, into: Buffer, at: number, n: number): number {
  let done = 0;
  while (done < n * 8) {
    const got = readSync(fd, into, done, n * 8 - done, at * 8 + done);
    if (got === 0) break;
    done += got;
  }
  return Math.floor(done / 8);
}

/** The auxiliary vector tells it. @kernel fs/binfmt_elf.c create_elf_tables (6.18) */
function pageSizeOf(proc: string): number {
  const auxv = readFileSync(`${proc}/self/auxv`);
  for (let at = 0; at + 16 <= auxv.length; at += 16)
    if (auxv.readBigUInt64LE(at) === BigInt(AT_PAGESZ)) return Number(auxv.readBigUInt64LE(at + 8));
  throw new QuireError('EINVAL', `${proc}/self/auxv: no page size in it`);
}

/** Frames that have an entry in the map: the sections with System RAM in them, ascending and joined. */
function sections(proc: string, pageSize: number): [number, number][] {
  const section = sectionBytes(pageSize);
  const out: [number, number][] = [];
  const iomem = readFileSync(`${proc}/iomem`, 'utf8');
  let highest = 0;
  for (const [, from, to] of iomem.matchAll(/^ *([0-9a-f]+)-([0-9a-f]+) : System RAM/gm)) {
    highest = Number.parseInt(to as string, 16);
    const first = (Math.floor(Number.parseInt(from as string, 16) / section) * section) / pageSize;
    const end = (Math.ceil((highest + 1) / section) * section) / pageSize;
    const last = out.at(-1);
    if (last !== undefined && first <= last[1]) last[1] = Math.max(last[1], end);
    else out.push([first, end]);
  }
  if (highest === 0)
    throw new QuireError('EINVAL', `${proc}/iomem: no addresses of System RAM in it: expected to run as root`);
  return out;
}

/** The piece under way and what was counted before it: words come in chunks, pieces cross their borders. */
class Walk {
  private readonly pieces = noPieces();
  private readonly pageSize: number;
  private readonly section: number;
  private readonly counts: number;
  private readonly countBytes = Buffer.alloc(CHUNK * 8);
  private readonly countWords: Uint32Array;
  private frames = 0;
  private lruPages = 0;
  private mappedAnonPages = 0;
  private mappedFilePages = 0;
  /** The piece under way: its owner's row (−1: none), first frame, frames so far. */
  private row = -1;
  private first = 0;
  private length = 0;

  constructor(pageSize: number, counts: number) {
    this.pageSize = pageSize;
    this.section = sectionBytes(pageSize) / pageSize;
    this.counts = counts;
    this.countWords = new Uint32Array(this.countBytes.buffer, this.countBytes.byteOffset, CHUNK * 2);
  }

  /** `n` words, of the frames from `pfn` on. `pfn` is a multiple of a section. */
  take(words: Uint32Array, pfn: number, n: number): void {
    const { section } = this;
    for (let i = 0; i < n; i += section) {
      const to = Math.min(i + section, n);
      if (blank(words, i, to)) {
        this.close();
        this.pieces[OWNER_ROW.uninitialised] = (this.pieces[OWNER_ROW.uninitialised] as number) + to - i;
      } else this.takeSection(words, pfn, i, to);
    }
    this.frames += n;
    this.countMapped(words, pfn, n);
  }

  private takeSection(words: Uint32Array, pfn: number, from: number, to: number): void {
    let { row, first } = this;
    let length = this.length;
    let lru = 0;
    for (let i = from; i < to; i++) {
      const low = words[2 * i] as number;
      if ((low & LRU) !== 0) lru++;
      const high = words[2 * i + 1] as number;
      // A free page goes on with a free run, a tail with its piece.
      if (
        length > 0 &&
        ((low & KPF_BUDDY) !== 0 ? row === OWNER_ROW.free : (low & TAIL) !== 0 && row !== OWNER_ROW.free)
      ) {
        length++;
        continue;
      }
      if (length > 0) this.add(row, first, length);
      row = ownerRow(low, high);
      first = pfn + i;
      length = 1;
    }
    this.row = row;
    this.first = first;
    this.length = length;
    this.lruPages += lru;
  }

  /** Ends the piece under way. */
  private close(): void {
    if (this.length > 0) this.add(this.row, this.first, this.length);
    this.length = 0;
  }

  /** Counts a run in the aligned powers of two it is made of: one, unless it is free memory or was read in a race. */
  private add(row: number, first: number, length: number): void {
    const { pieces } = this;
    const most = row === OWNER_ROW.free ? maxPageOrder(this.pageSize) : CENSUS_ORDERS - 1;
    let pfn = first;
    const end = first + length;
    while (pfn < end) {
      let order = 0;
      while (order < most && pfn % (2 << order) === 0 && pfn + (2 << order) <= end) order++;
      pieces[row + order] = (pieces[row + order] as number) + 1;
      pfn += 2 ** order;
    }
  }

  /** Mapped pages: small folios by their flag, large ones by the counts of their pages, read run by run. */
  private countMapped(words: Uint32Array, pfn: number, n: number): void {
    let anon = 0;
    let file = 0;
    let from = -1;
    let last = -1;
    for (let i = 0; i < n; i++) {
      const low = words[2 * i] as number;
      if ((low & MMAP) === 0 || (low & (KPF_HUGE | ZERO)) !== 0) continue;
      if ((low & (HEAD | TAIL)) === 0) {
        if ((low & ANON) !== 0) anon++;
        else file++;
        continue;
      }
      if (from >= 0 && i - last > JOIN) {
        this.countRun(words, pfn, from, last + 1);
        from = -1;
      }
      if (from < 0) from = i;
      last = i;
    }
    if (from >= 0) this.countRun(words, pfn, from, last + 1);
    this.mappedAnonPages += anon;
    this.mappedFilePages += file;
  }

  private countRun(words: Uint32Array, pfn: number, from: number, to: number): void {
    const { countWords } = this;
    const n = readWords(this.counts, this.countBytes, pfn + from, to - from);
    for (let i = 0; i < n; i++) {
      const low = words[2 * (from + i)] as number;
      if ((low & MMAP) === 0 || (low & (HEAD | TAIL)) === 0 || (low & (KPF_HUGE | ZERO)) !== 0) continue;
      if (countWords[2 * i] === 0) continue;
      if ((low & ANON) !== 0) this.mappedAnonPages++;
      else this.mappedFilePages++;
    }
  }

  end(before: Meminfo, after: Meminfo): LiveCensus {
    this.close();
    const { pageSize, frames, pieces } = this;
    const { lruPages, mappedAnonPages, mappedFilePages } = this;
    // What boot took of memory whose map is not written shows no flag: it is what MemTotal leaves out.
    const total = after.get('MemTotal') ?? frames * pageSize;
    const hidden = frames - total / pageSize - (pieces[OWNER_ROW.reserved] as number);
    const blankPages = pieces[OWNER_ROW.uninitialised] as number;
    const taken = Math.min(Math.max(Math.floor(hidden), 0), blankPages);
    pieces[OWNER_ROW.uninitialised] = blankPages - taken;
    pieces[OWNER_ROW.reserved] = (pieces[OWNER_ROW.reserved] as number) + taken;
    return {
      census: { pageSize, frames, pieces },
      meminfo: [before, after],
      lruPages,
      mappedAnonPages,
      mappedFilePages,
    };
  }
}

/** Runs of mapped large folios nearer than this are read at once. */
const JOIN = 512;

function blank(words: Uint32Array, from: number, to: number): boolean {
  for (let i = 2 * from; i < 2 * to; i++) if (words[i] !== 0) return false;
  return true;
}

/** The owner's row of the piece that begins with this word. */
function ownerRow(low: number, high: number): number {
  if ((low & KPF_BUDDY) !== 0) return OWNER_ROW.free;
  if ((low & KPF_HWPOISON) !== 0) return OWNER_ROW.hwpoison;
  if ((low & KPF_SLAB) !== 0) return OWNER_ROW.slab;
  if ((low & KPF_PGTABLE) !== 0) return OWNER_ROW.table;
  if ((low & (KPF_OFFLINE | KPF_NOPAGE)) !== 0) return OWNER_ROW.offline;
  if ((low & KPF_HUGE) !== 0) return OWNER_ROW.hugetlb;
  if ((high & HIGH_RESERVED) !== 0) return OWNER_ROW.reserved;
  if ((low & ZERO) !== 0) return OWNER_ROW.kernel;
  if ((low & ANON) !== 0) return OWNER_ROW.anon;
  if ((low & FOLIO) === 0) return OWNER_ROW.kernel;
  return (low & SWAPBACKED) !== 0 ? OWNER_ROW.shmem : OWNER_ROW.file;
}
