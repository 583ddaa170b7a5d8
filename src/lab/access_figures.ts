/** What a replay of accesses comes to: the figures of one CPU's row, by names that stay (docs/compare.md). */
import { tlbReach } from '../arch/tlb.ts';
import type { Translator } from '../arch/walk.ts';
import { V } from '../mm/vmstat.ts';
import type { AccessReplay } from './access_replay.ts';
import type { Counts } from './compare_figures.ts';

/** All counted by the engine, of the process with the most memory. Null: not counted, or nothing to divide by. */
export interface AccessFigures {
  accesses: number;
  minor_faults: number;
  major_faults: number;
  rss_peak_bytes: number;
  rss_end_bytes: number;
  touched_bytes: number;
  waste_bytes: number;
  pgtable_bytes: number;
  swapped_out_pages: number;
  swapped_in_pages: number;
  refaulted_pages: number;
  reads: number;
  read_bytes: number;
  data_accesses: number | null;
  l1_misses_per_k: number | null;
  l2_misses_per_k: number | null;
  walk_refs_per_k: number | null;
  tlb_reach_bytes: number | null;
  nr_tlb_local_flush_all: number;
  nr_tlb_local_flush_one: number;
  nr_tlb_remote_flush_received: number;
  tlb_flush_ranges: number;
  out_of_memory: number;
  /** Anonymous folios that faults made. */
  anon_by_order: Counts;
  /** What could not be replayed, by name. */
  skipped: Counts;
}
export type AccessFigureName = {
  [K in keyof AccessFigures]: AccessFigures[K] extends Counts ? never : K;
}[keyof AccessFigures];

const sum = (counts: Float64Array): number => counts.reduce((a, b) => a + b, 0);

/** Of a CPU among those of the replay, or of none. */
export function accessFigures(r: AccessReplay, x: Translator | null): AccessFigures {
  const { m, device, main } = r;
  const v = m.vmstat;
  const anon: Record<string, number> = {};
  r.anonByOrder.forEach((n, order) => {
    if (n > 0) anon[order] = n;
  });
  return {
    accesses: r.accesses,
    minor_faults: main.minor,
    major_faults: main.major,
    rss_peak_bytes: main.peak,
    rss_end_bytes: main.rssAtEnd >= 0 ? main.rssAtEnd : main.rss(),
    touched_bytes: main.touchedAtPeak * 4096,
    waste_bytes: Math.max(0, main.heldAtPeak - main.touchedAtPeak * 4096),
    pgtable_bytes: main.pgtablesPeak,
    swapped_out_pages: v[V.pswpout] as number,
    swapped_in_pages: v[V.pswpin] as number,
    refaulted_pages: (v[V.workingset_refault_anon] as number) + (v[V.workingset_refault_file] as number),
    reads: device.reads,
    read_bytes: device.readBytes,
    ...translated(x),
    nr_tlb_local_flush_all: m.tlb?.full ?? 0,
    nr_tlb_local_flush_one: m.tlb?.single ?? 0,
    nr_tlb_remote_flush_received: m.tlb?.received ?? 0,
    tlb_flush_ranges: m.tlb?.range ?? 0,
    out_of_memory: r.outOfMemory,
    anon_by_order: anon,
    skipped: r.skipped,
  };
}

type Translated = Pick<
  AccessFigures,
  'data_accesses' | 'l1_misses_per_k' | 'l2_misses_per_k' | 'walk_refs_per_k' | 'tlb_reach_bytes'
>;

function translated(x: Translator | null): Translated {
  if (x === null)
    return {
      data_accesses: null,
      l1_misses_per_k: null,
      l2_misses_per_k: null,
      walk_refs_per_k: null,
      tlb_reach_bytes: null,
    };
  const { l1Hits, l2Hits, misses, walkReferences } = x.counts;
  const walked = sum(misses);
  const missed = sum(l2Hits) + walked;
  const all = sum(l1Hits) + missed;
  const perK = (n: number): number | null => (all === 0 ? null : (1000 * n) / all);
  return {
    data_accesses: all,
    l1_misses_per_k: perK(missed),
    l2_misses_per_k: perK(walked),
    walk_refs_per_k: perK(sum(walkReferences)),
    tlb_reach_bytes: tlbReach(x.tlb),
  };
}
