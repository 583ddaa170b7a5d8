/** What a replay came to, in the truth format of the live kernel's recorder, with what only the model knows beside it. */
import { xaFind } from '../base/xarray.ts';
import { type FolioId, type MappingId, PGOFF_MAX } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { memcgStatReport } from '../mm/memcontrol.ts';
import { memoryMapBytes } from '../mm/memory_map.ts';
import { LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, NR_LRU_LISTS } from '../mm/mm_inline.ts';
import { getMmCounter, MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS } from '../mm/mm_struct.ts';
import { folioFlags, folioIndex, folioNextIndex, folioOrder } from '../mm/mm_types.ts';
import { KPF, stablePageFlags } from '../mm/page_flags.ts';
import { tablesByLevel } from '../mm/pgtable.ts';
import { mthpReport } from '../mm/thp.ts';
import { vmstatReport } from '../mm/vmstat.ts';
import type { Replay } from './replay.ts';
import { type SwapSummary, swapSummary } from './replay_swap.ts';
import { type MapResult, mapResult } from './result_maps.ts';
import { type Resolved, uncheckedOf } from './settings.ts';

/** First page index, order, kpageflags word. */
export type FolioEntry = [number, number, number];

export interface Summary {
  added_folios: number;
  added_pages: number;
  added_by_order: Record<string, number>;
  deleted_pages: number;
  minor_faults: number;
  major_faults: number;
}

/** Requests to the device. Sizes in bytes; `by_pages` counts requests by their size rounded up to a power of two of pages. */
export interface IoSummary {
  reads: number;
  read_bytes: number;
  reads_by_pages: Record<string, number>;
  writes: number;
  written_bytes: number;
  writes_by_pages: Record<string, number>;
}

/** Bytes by kind, and page tables: bytes without the top one, and tables by level. */
export interface ProgramMemory {
  mapped: number;
  rss_anon: number;
  rss_file: number;
  rss_shmem: number;
  swap: number;
  page_tables: number;
  tables: Record<string, number>;
}

export interface ReplayResult {
  schema: 'quire.replay/1';
  kernel: string;
  script: string;
  config: Resolved;
  files: Record<string, [string, number]>;
  summary: Summary;
  folios: Record<string, FolioEntry[]>;
  maps: MapResult[];
  /** Counters of each anonymous folio size, as under transparent_hugepage. */
  mthp: Record<string, Record<string, number>>;
  /** The program's memory at the end; null: it has mapped none. */
  memory: ProgramMemory | null;
  swap: SwapSummary | null;
  memcg: Record<string, number>;
  vmstat: Record<string, number>;
  io: IoSummary;
  /** Bytes that the program asked for and got, or wrote. */
  program: { operations: number; read_bytes: number; written_bytes: number; out_of_memory: number };
  /** Folios on the file lists at the end, and the machine's memory map in bytes. */
  lru_folios: number;
  lru_pages: number;
  memmap_bytes: number;
  skipped: Record<string, number>;
  /** What of it was never compared with a live kernel. */
  unchecked: string[];
}

/** The folios that a file has in the cache. */
export function cachedFolios(m: Machine, mapping: MappingId): FolioEntry[] {
  const out: FolioEntry[] = [];
  const head = m.spaces.head[mapping] as number;
  for (let i = 0; ; ) {
    const f = xaFind(m.pages, head, i, PGOFF_MAX) as FolioId;
    if (f === 0) return out;
    out.push([folioIndex(m.map, f), folioOrder(m.map, f), stablePageFlags(folioFlags(m.map, f))]);
    i = folioNextIndex(m.map, f);
  }
}

/** tmpfs is seen through a mapping: what was never written does not show, and
 * a folio that reaches past the end of the file shows its part inside. */
function clipToFile(m: Machine, mapping: MappingId, folios: FolioEntry[]): FolioEntry[] {
  const pages = Math.ceil((m.spaces.size[mapping] as number) / m.config.pageSize);
  return folios
    .filter(([index, , flags]) => index < pages && (flags & (1 << KPF.KPF_UPTODATE)) !== 0)
    .map(([index, order, flags]) => {
      const n = Math.min(2 ** order, pages - index);
      const log = Math.log2(n);
      return [index, Number.isInteger(log) ? log : -n, flags];
    });
}

const bySize = (sizes: Float64Array): Record<string, number> => {
  const out: Record<string, number> = {};
  sizes.forEach((n, log) => {
    if (n > 0) out[2 ** log] = n;
  });
  return out;
};

const lru = (column: ArrayLike<number>, rows: number): number => {
  let n = 0;
  for (let r = 0; r < rows; r++)
    n +=
      (column[r * NR_LRU_LISTS + LRU_INACTIVE_FILE] as number) + (column[r * NR_LRU_LISTS + LRU_ACTIVE_FILE] as number);
  return n;
};

/** Every mapping the program made, by number. */
function mapsOf(r: Replay): MapResult[] {
  const { memory, m } = r;
  if (memory === null) return [];
  return [...memory.maps].sort(([a], [b]) => a - b).map(([id, map]) => mapResult(m, memory.mm, id, map));
}

function memoryOf(r: Replay): ProgramMemory | null {
  if (r.memory === null) return null;
  const { m } = r;
  const { mm } = r.memory;
  const bytes = (member: number): number => getMmCounter(m, mm, member) * m.config.pageSize;
  const tables = tablesByLevel(m, mm);
  return {
    mapped: (m.mms.totalVm[mm] as number) * m.config.pageSize,
    rss_anon: bytes(MM_ANONPAGES),
    rss_file: bytes(MM_FILEPAGES),
    rss_shmem: bytes(MM_SHMEMPAGES),
    swap: bytes(MM_SWAPENTS),
    page_tables: m.mms.pgtablesBytes[mm] as number,
    tables: Object.fromEntries(m.geometry.levels.map((level, n) => [level.name, tables[n] as number])),
  };
}

/** What a replay shows. It ends the program: one result a replay. */
export function resultOf(r: Replay, script: string): ReplayResult {
  const { m, device, settings } = r;
  const orders: Record<string, number> = {};
  r.addedByOrder.forEach((n, order) => {
    if (n > 0) orders[order] = n;
  });
  const folios: Record<string, FolioEntry[]> = {};
  for (const [id, mapping] of r.mappings) {
    const all = cachedFolios(m, mapping);
    folios[id] = settings.fs === 'tmpfs' ? clipToFile(m, mapping, all) : all;
  }
  const result: ReplayResult = {
    schema: 'quire.replay/1',
    kernel: settings.kernel,
    script,
    config: settings,
    files: Object.fromEntries(r.files.map((f) => [f.id, [f.name, f.size]])),
    summary: {
      added_folios: settings.fs === 'tmpfs' ? 0 : r.addedFolios,
      added_pages: settings.fs === 'tmpfs' ? 0 : r.addedPages,
      added_by_order: settings.fs === 'tmpfs' ? {} : orders,
      deleted_pages: r.deletedPages,
      minor_faults: r.memory === null ? 0 : (m.mms.minFlt[r.memory.mm] as number) + Math.round(r.memory.ownFaults),
      major_faults: r.memory === null ? 0 : (m.mms.majFlt[r.memory.mm] as number),
    },
    folios,
    maps: mapsOf(r),
    mthp: {},
    memory: memoryOf(r),
    swap: swapSummary(m),
    memcg: settings.memcg > 0 ? memcgStatReport(m, m.currentMemcg as never) : {},
    vmstat: vmstatReport(m.vmstat),
    io: {
      reads: device.reads,
      read_bytes: device.readBytes,
      reads_by_pages: bySize(device.readSizes),
      writes: device.writes,
      written_bytes: device.writtenBytes,
      writes_by_pages: bySize(device.writeSizes),
    },
    program: {
      operations: r.ops,
      read_bytes: r.readBytes,
      written_bytes: r.writtenBytes,
      out_of_memory: r.outOfMemory + (r.memory?.outOfMemory ?? 0),
    },
    lru_folios: lru(m.lruvecs.folios, m.memcgs.nr),
    lru_pages: lru(m.lruvecs.pages, m.memcgs.nr),
    memmap_bytes: memoryMapBytes(m.map),
    skipped: r.skipped,
    unchecked: uncheckedOf(settings),
  };
  // Recorders read the counters by size when the program has ended: its exit leaves parts of folios mapped for a moment.
  r.memory?.exit();
  result.mthp = mthpReport(m);
  return result;
}
