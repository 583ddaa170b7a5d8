/** What a row of a comparison says: the figures of one replay, by names that stay (docs/compare.md). */

import { type Strip, stripOf } from '../view/strip.ts';
import type { Replay } from './replay.ts';
import { cachedFolios, type FolioEntry, resultOf } from './result.ts';

/** Counts by a number, such as an order. */
export type Counts = Readonly<Record<string, number>>;

/** All counted by the engine. Ratios and means are null where there is nothing to divide by. */
export interface Figures {
  program_read_bytes: number;
  program_written_bytes: number;
  read_bytes: number;
  read_pages: number;
  read_amplification: number | null;
  reads: number;
  read_mean_bytes: number | null;
  written_bytes: number;
  written_pages: number;
  write_amplification: number | null;
  writes: number;
  write_mean_bytes: number | null;
  added_folios: number;
  added_pages: number;
  deleted_pages: number;
  refaulted_pages: number;
  activated_pages: number;
  cached_folios: number;
  cached_pages: number;
  lru_folios: number;
  lru_pages: number;
  memmap_bytes: number;
  out_of_memory: number;
  /** Folios by order: added during the replay, and cached at its end. */
  added_by_order: Counts;
  cached_by_order: Counts;
  /** Requests by their size, rounded up to a power of two of pages. */
  reads_by_pages: Counts;
  writes_by_pages: Counts;
  /** Operations that the model does not know, by name. */
  skipped: Counts;
}
/** The figures that are one number. */
export type FigureName = {
  [K in keyof Figures]: Figures[K] extends Counts ? never : K;
}[keyof Figures];

/** One file at the end of a replay. */
export interface FileRow {
  readonly name: string;
  readonly pages: number;
  readonly cached_pages: number;
  /** Of the cached pages, those past the end of the file: kernels before 5.17 make them for reads there. */
  readonly past_end_pages: number;
  readonly cached_folios: number;
  readonly cached_by_order: Counts;
  readonly strip: Strip;
}

const FILES_SHOWN = 4;
/** Part of the cache that a file must have to be shown. */
const SHARE_SHOWN = 0.02;

const over = (a: number, b: number): number | null => (b === 0 ? null : a / b);

export function figuresOf(r: Replay, picked: readonly number[]): { figures: Figures; files: FileRow[] } {
  const result = resultOf(r, '');
  const { io, program, summary, vmstat } = result;
  const { pageSize } = r.settings;
  const cached: Record<string, number> = {};
  let cachedFolios = 0;
  let cachedPages = 0;
  for (const id of r.mappings.keys())
    for (const [, order] of foliosOf(r, id)) {
      cached[order] = (cached[order] ?? 0) + 1;
      cachedFolios++;
      cachedPages += 2 ** order;
    }
  const added = Object.fromEntries([...r.addedByOrder].flatMap((n, order) => (n > 0 ? [[order, n]] : [])));
  const figures: Figures = {
    program_read_bytes: program.read_bytes,
    program_written_bytes: program.written_bytes,
    read_bytes: io.read_bytes,
    read_pages: Math.ceil(io.read_bytes / pageSize),
    read_amplification: over(io.read_bytes, program.read_bytes),
    reads: io.reads,
    read_mean_bytes: over(io.read_bytes, io.reads),
    written_bytes: io.written_bytes,
    written_pages: Math.ceil(io.written_bytes / pageSize),
    write_amplification: over(io.written_bytes, program.written_bytes),
    writes: io.writes,
    write_mean_bytes: over(io.written_bytes, io.writes),
    added_folios: r.addedFolios,
    added_pages: r.addedPages,
    deleted_pages: summary.deleted_pages,
    refaulted_pages: vmstat.workingset_refault_file ?? 0,
    activated_pages: vmstat.pgactivate ?? 0,
    cached_folios: cachedFolios,
    cached_pages: cachedPages,
    lru_folios: result.lru_folios,
    lru_pages: result.lru_pages,
    memmap_bytes: result.memmap_bytes,
    out_of_memory: program.out_of_memory,
    added_by_order: added,
    cached_by_order: cached,
    reads_by_pages: io.reads_by_pages,
    writes_by_pages: io.writes_by_pages,
    skipped: result.skipped,
  };
  return { figures, files: picked.map((id) => fileRow(r, id)) };
}

/** The files to draw: those of which most is cached at the end of this replay. Where nothing is, the largest. */
export function pickFiles(r: Replay): number[] {
  const cached = new Map(r.files.map(({ id }) => [id, foliosOf(r, id).reduce((n, [, order]) => n + 2 ** order, 0)]));
  const least = SHARE_SHOWN * [...cached.values()].reduce((a, b) => a + b, 0);
  return r.files
    .filter(({ id }) => sizeOf(r, id) > 0 && (cached.get(id) ?? 0) >= least)
    .toSorted(
      (a, b) => (cached.get(b.id) ?? 0) - (cached.get(a.id) ?? 0) || sizeOf(r, b.id) - sizeOf(r, a.id) || a.id - b.id,
    )
    .slice(0, FILES_SHOWN)
    .map(({ id }) => id);
}

function fileRow(r: Replay, id: number): FileRow {
  const folios = foliosOf(r, id);
  const pages = Math.max(1, Math.ceil(sizeOf(r, id) / r.settings.pageSize));
  const byOrder: Record<string, number> = {};
  for (const [, order] of folios) byOrder[order] = (byOrder[order] ?? 0) + 1;
  return {
    name: r.files.find((f) => f.id === id)?.name ?? String(id),
    pages,
    cached_pages: folios.reduce((n, [, order]) => n + 2 ** order, 0),
    past_end_pages: folios.reduce(
      (n, [index, order]) => n + Math.max(0, index + 2 ** order - Math.max(index, pages)),
      0,
    ),
    cached_folios: folios.length,
    cached_by_order: byOrder,
    strip: stripOf(folios, pages),
  };
}

function foliosOf(r: Replay, id: number): FolioEntry[] {
  const mapping = r.mappings.get(id);
  return mapping === undefined ? [] : cachedFolios(r.m, mapping);
}

/** Bytes of a file now: it may have grown since the recording's beginning. */
const sizeOf = (r: Replay, id: number): number => {
  const mapping = r.mappings.get(id);
  return mapping === undefined ? 0 : (r.m.spaces.size[mapping] as number);
};
