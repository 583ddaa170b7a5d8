/** The columns of a comparison of accesses: names, headings, meanings. Text, CSV and report read them here. */
import { formatBytes } from '../base/units.ts';
import type { AccessComparison, AccessRow } from './access_compare.ts';
import type { AccessFigureName } from './access_figures.ts';
import { formatCount } from './compare_columns.ts';

export interface AccessColumn {
  readonly name: AccessFigureName;
  readonly heading: string;
  readonly unit: 'bytes' | 'count' | 'rate';
  /** Written with its difference from the first row. */
  readonly delta?: true;
  readonly doc: string;
}

export interface AccessGroup {
  readonly title: string;
  readonly columns: readonly AccessColumn[];
  /** Left out when none of these is above 0 in any row; absent: always shown. */
  readonly when?: readonly AccessFigureName[];
}

export const accessGroups: readonly AccessGroup[] = [
  {
    title: 'Faults and memory',
    columns: [
      { name: 'minor_faults', heading: 'minor faults', unit: 'count', delta: true, doc: 'faults without I/O' },
      { name: 'major_faults', heading: 'major', unit: 'count', doc: 'faults that waited for I/O' },
      { name: 'rss_peak_bytes', heading: 'peak RSS', unit: 'bytes', delta: true, doc: 'largest resident size' },
      { name: 'rss_end_bytes', heading: 'at the end', unit: 'bytes', doc: 'resident size at the end' },
      {
        name: 'touched_bytes',
        heading: 'touched',
        unit: 'bytes',
        doc: 'pages of 4 KiB that were touched and not given back, at the peak; without those of files in recordings of faults',
      },
      {
        name: 'waste_bytes',
        heading: 'waste',
        unit: 'bytes',
        doc: 'resident and not touched at the peak: what large folios hold beyond what is used',
      },
      { name: 'pgtable_bytes', heading: 'page tables', unit: 'bytes', doc: 'largest size of the page tables' },
    ],
  },
  {
    title: 'TLB, per thousand loads and stores',
    when: ['data_accesses'],
    columns: [
      { name: 'l1_misses_per_k', heading: 'L1 misses', unit: 'rate', delta: true, doc: 'misses of the first level' },
      {
        name: 'l2_misses_per_k',
        heading: 'L2 misses',
        unit: 'rate',
        delta: true,
        doc: 'misses of both levels: page walks',
      },
      {
        name: 'walk_refs_per_k',
        heading: 'walk reads',
        unit: 'rate',
        delta: true,
        doc: 'entries of page tables that walks read',
      },
      { name: 'tlb_reach_bytes', heading: 'reach', unit: 'bytes', doc: 'what the entries in use map at the end' },
    ],
  },
  {
    title: 'TLB flushes',
    when: ['nr_tlb_local_flush_all', 'nr_tlb_local_flush_one', 'nr_tlb_remote_flush_received', 'tlb_flush_ranges'],
    columns: [
      { name: 'nr_tlb_local_flush_all', heading: 'all', unit: 'count', doc: 'flushes of a whole address space' },
      { name: 'nr_tlb_local_flush_one', heading: 'one', unit: 'count', doc: 'instructions that name one entry' },
      { name: 'tlb_flush_ranges', heading: 'ranges', unit: 'count', doc: 'arm64: instructions that name a range' },
      {
        name: 'nr_tlb_remote_flush_received',
        heading: 'for kswapd',
        unit: 'count',
        doc: 'x86: flushes that kswapd asked for from another CPU',
      },
    ],
  },
  {
    title: 'Reclaim and I/O',
    when: ['swapped_out_pages', 'refaulted_pages', 'reads', 'out_of_memory'],
    columns: [
      { name: 'swapped_out_pages', heading: 'swapped out', unit: 'count', delta: true, doc: 'pages written to swap' },
      { name: 'swapped_in_pages', heading: 'in', unit: 'count', delta: true, doc: 'pages read from swap' },
      { name: 'refaulted_pages', heading: 'refaults', unit: 'count', doc: 'pages back that reclaim had taken' },
      { name: 'reads', heading: 'reads', unit: 'count', doc: 'read requests for files' },
      { name: 'read_bytes', heading: 'bytes', unit: 'bytes', doc: 'bytes of them' },
      { name: 'out_of_memory', heading: 'failed', unit: 'count', doc: 'accesses that found no memory' },
    ],
  },
];

export const accessColumns: readonly AccessColumn[] = accessGroups.flatMap((g) => g.columns);

export const shownAccessGroups = (c: AccessComparison): readonly AccessGroup[] =>
  accessGroups.filter(
    ({ when }) => when === undefined || c.rows.some((r) => when.some((name) => (r.figures?.[name] ?? 0) > 0)),
  );

export function formatAccessFigure(column: AccessColumn, value: number | null): string {
  if (value === null) return '-';
  if (column.unit === 'bytes') return formatBytes(Math.round(value));
  if (column.unit === 'count') return formatCount(value);
  return value === 0 ? '0' : value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toPrecision(2);
}

export const replayed = (c: AccessComparison): readonly AccessRow[] => c.rows.filter((r) => r.figures !== null);
