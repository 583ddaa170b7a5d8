/** The columns of a comparison: names, headings, meanings and the way each is written. Text, CSV and report read them here. */
import { formatBytes } from '../base/units.ts';
import type { Comparison } from './compare.ts';
import type { FigureName } from './compare_figures.ts';
import type { Settings } from './settings.ts';

type Unit = 'bytes' | 'count' | 'ratio';

export interface FigureColumn {
  readonly name: FigureName;
  readonly heading: string;
  readonly unit: Unit;
  /** Written with its difference from the first row. */
  readonly delta?: true;
  readonly doc: string;
}

export interface FigureGroup {
  readonly title: string;
  readonly columns: readonly FigureColumn[];
  /** Left out when none of these figures is above 0 in any row; absent: always shown. */
  readonly when?: readonly FigureName[];
}

/** In the order in which a reader asks: what did it cost the device, what does the cache hold, what does that cost. */
export const figureGroups: readonly FigureGroup[] = [
  {
    title: 'Read from the device',
    when: ['program_read_bytes', 'reads'],
    columns: [
      { name: 'read_bytes', heading: 'bytes', unit: 'bytes', delta: true, doc: 'bytes read from the device' },
      { name: 'read_pages', heading: 'pages', unit: 'count', doc: 'the same in base pages' },
      {
        name: 'read_amplification',
        heading: 'amplification',
        unit: 'ratio',
        doc: 'bytes read from the device over bytes that the program got; below 1 the cache answered',
      },
      { name: 'reads', heading: 'requests', unit: 'count', delta: true, doc: 'read requests to the device' },
      { name: 'read_mean_bytes', heading: 'mean size', unit: 'bytes', doc: 'bytes over requests' },
    ],
  },
  {
    title: 'Written to the device',
    when: ['program_written_bytes', 'writes'],
    columns: [
      { name: 'written_bytes', heading: 'bytes', unit: 'bytes', delta: true, doc: 'bytes written to the device' },
      { name: 'written_pages', heading: 'pages', unit: 'count', doc: 'the same in base pages' },
      {
        name: 'write_amplification',
        heading: 'amplification',
        unit: 'ratio',
        doc: 'bytes written to the device over bytes that the program wrote; below 1 some were overwritten or not yet written back',
      },
      { name: 'writes', heading: 'requests', unit: 'count', delta: true, doc: 'write requests to the device' },
      { name: 'write_mean_bytes', heading: 'mean size', unit: 'bytes', doc: 'bytes over requests' },
    ],
  },
  {
    title: 'Page cache, over the replay',
    columns: [
      {
        name: 'added_folios',
        heading: 'folios added',
        unit: 'count',
        delta: true,
        doc: 'folios added to the page cache',
      },
      { name: 'added_pages', heading: 'pages', unit: 'count', delta: true, doc: 'the base pages in them' },
      {
        name: 'deleted_pages',
        heading: 'pages deleted',
        unit: 'count',
        doc: 'pages reclaimed, truncated or invalidated',
      },
      {
        name: 'refaulted_pages',
        heading: 'refaults',
        unit: 'count',
        delta: true,
        doc: 'pages read again after reclaim had taken them (workingset_refault_file)',
      },
      {
        name: 'activated_pages',
        heading: 'activated',
        unit: 'count',
        doc: 'pages moved to the active list (pgactivate)',
      },
      {
        name: 'out_of_memory',
        heading: 'failed',
        unit: 'count',
        doc: 'operations that failed for want of memory, in whole or in part',
      },
    ],
  },
  {
    title: 'Page cache, at the end',
    columns: [
      { name: 'cached_pages', heading: 'pages cached', unit: 'count', doc: 'pages in the page cache at the end' },
      { name: 'cached_folios', heading: 'folios cached', unit: 'count', doc: 'folios in the page cache at the end' },
      {
        name: 'lru_folios',
        heading: 'LRU folios',
        unit: 'count',
        delta: true,
        doc: 'length of the file lists that reclaim walks, in folios; folios still in a batch are not on them',
      },
      { name: 'lru_pages', heading: 'LRU pages', unit: 'count', doc: 'the same in base pages' },
      {
        name: 'memmap_bytes',
        heading: 'memory map',
        unit: 'bytes',
        doc: 'bytes of the memory map of the whole machine',
      },
    ],
  },
];

export const figureColumns: readonly FigureColumn[] = figureGroups.flatMap((g) => g.columns);

/** A group's title says once what its columns would repeat; here a column stands alone. */
export const shownGroups = (c: Comparison): readonly FigureGroup[] =>
  figureGroups.filter(
    ({ when }) => when === undefined || c.rows.some((r) => when.some((name) => (r.figures?.[name] ?? 0) > 0)),
  );

export const formatCount = (n: number): string => n.toLocaleString('en-US');

/** `4096` → `4 KiB`, and `1.43 MiB`; a size between one page and the next keeps its digits. */
export function formatFigure(column: FigureColumn, value: number | null): string {
  if (value === null) return '-';
  if (column.unit === 'bytes') return formatBytes(Math.round(value));
  if (column.unit === 'count') return formatCount(value);
  return formatRatio(value);
}

/** `18.9x`: two or three digits. */
export function formatRatio(n: number): string {
  const text =
    n >= 99.95 ? n.toFixed(0) : n >= 9.995 ? n.toFixed(1) : n >= 0.1 || n === 0 ? n.toFixed(2) : n.toPrecision(2);
  return `${n === 0 ? '0' : text}x`;
}

/** How far a figure is from the first row's: `-96 %`, `+4 %`, `x12.3`; empty where nothing differs or there is no measure. */
export function formatDelta(value: number | null, first: number | null): string {
  if (value === null || first === null || value === first || first === 0) return '';
  const ratio = value / first;
  if (ratio >= 10) return `x${ratio >= 99.5 ? formatCount(Math.round(ratio)) : ratio.toFixed(1)}`;
  const percent = (ratio - 1) * 100;
  if (Math.abs(percent) < 0.05) return '~0 %';
  // What is left of something is not nothing.
  const digits = percent < -99.4 && value > 0 ? 2 : Math.abs(percent) < 10 ? 1 : 0;
  return `${percent > 0 ? '+' : ''}${percent.toFixed(digits)} %`;
}

const flags: Readonly<Partial<Record<keyof Settings, string>>> = { pageSize: 'page-size', blockSize: 'block-size' };
/** A setting by the name of its flag. */
export const flagOf = (name: keyof Settings): string => flags[name] ?? name;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** The value of a varied setting as a row's label. Exact, since labels must differ: 1536 KiB, not 1.50 MiB. */
export function settingText(name: keyof Settings, value: unknown): string {
  if (name === 'thp') return thpText(value as Readonly<Record<string, string>>);
  if (name === 'swap') return swapText(value as NonNullable<Settings['swap']>);
  if (typeof value !== 'number') return String(value);
  if (name === 'swappiness') return String(value);
  if (name === 'memcg' && value === 0) return 'none';
  let n = value;
  let unit = 0;
  for (; n >= 1024 && n % 1024 === 0 && unit < UNITS.length - 1; unit++) n /= 1024;
  return `${n} ${UNITS[unit]}`;
}

/** As `--vary` takes it: `off`, `64k=always:2m=always`. */
const thpText = (controls: Readonly<Record<string, string>>): string =>
  Object.entries(controls)
    .map(([key, mode]) => (key === 'all' && mode === 'never' ? 'off' : `${sizeName(key)}=${mode}`))
    .join(':');
const sizeName = (key: string): string => {
  const kib = /^(\d+)kB$/.exec(key)?.[1];
  if (kib === undefined) return key;
  return Number(kib) % 1024 === 0 ? `${Number(kib) / 1024}m` : `${kib}k`;
};

const swapText = ({ size, kind, zswap }: NonNullable<Settings['swap']>): string =>
  size === 0 ? 'none' : `${formatBytes(size)} ${kind}${zswap ? ' with zswap' : ''}`;

/** A row's label: `kernel 6.18, memcg 64 MiB`. */
export const rowLabel = (set: Settings): string => {
  const named = (Object.keys(set) as (keyof Settings)[]).map(
    (name) => `${flagOf(name)} ${settingText(name, set[name])}`,
  );
  return named.length === 0 ? 'as recorded' : named.join(', ');
};

/** Orders (or other numbers) that occur in any of the counts, ascending. */
export const keysOf = (counts: readonly (Readonly<Record<string, number>> | undefined)[]): number[] =>
  [...new Set(counts.flatMap((c) => Object.keys(c ?? {})))].map(Number).toSorted((a, b) => a - b);
