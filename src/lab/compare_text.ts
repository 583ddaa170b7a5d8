/** A comparison as plain aligned columns, which survive being pasted into a mail; and as CSV, a line a row. */
import { formatBytes } from '../base/units.ts';
import type { CompareRow, Comparison } from './compare.ts';
import {
  figureColumns,
  flagOf,
  formatCount,
  formatDelta,
  formatFigure,
  keysOf,
  rowLabel,
  settingText,
  shownGroups,
} from './compare_columns.ts';
import type { Counts } from './compare_figures.ts';
import { type Resolved, type Settings, uncheckedOf } from './settings.ts';

/** Cells of one column: all left, or all right; a difference stands in its own, narrower column. */
export interface Cells {
  readonly heading: string;
  readonly left?: boolean;
  readonly cells: readonly string[];
  readonly deltas?: readonly string[];
}

export function columnsText(columns: readonly Cells[], rows: number): string {
  const lines = Array.from({ length: rows + 1 }, () => '');
  for (const { heading, left = false, cells, deltas = [] } of columns) {
    const width = Math.max(heading.length, ...cells.map((c) => c.length));
    const pad = (text: string) => (left ? text.padEnd(width) : text.padStart(width));
    const noted = deltas.map((d) => (d === '' ? '' : `(${d})`));
    const deltaWidth = Math.max(0, ...noted.map((d) => d.length));
    lines.forEach((line, i) => {
      const delta = deltaWidth === 0 ? '' : ` ${(noted[i - 1] ?? '').padStart(deltaWidth)}`;
      lines[i] = `${line}  ${pad(i === 0 ? heading : (cells[i - 1] as string))}${delta}`;
    });
  }
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}

/** Settings that all rows share, as one line. */
export function commonSettings(c: Comparison): string {
  const varied = new Set<string>(c.vary.map((v) => v.name));
  const config = (c.rows.find((r) => r.figures !== null) as CompareRow).config;
  const parts: [keyof Resolved, string][] = [
    ['kernel', `kernel ${config.kernel}`],
    ['fs', config.fs],
    ['blockSize', `${formatBytes(config.blockSize)} blocks`],
    ['pageSize', `${formatBytes(config.pageSize)} pages`],
    ['readahead', `readahead ${formatBytes(config.readahead)}`],
    ['memory', `memory ${formatBytes(config.memory)}`],
    ['memcg', config.memcg === 0 ? 'no memory limit' : `memory limit ${formatBytes(config.memcg)}`],
  ];
  return parts.flatMap(([name, text]) => (varied.has(name) ? [] : [text])).join(', ');
}

/** What the program moved; operations that fail in one row and not in another make a range of it. */
export function programText(c: Comparison): string {
  const range = (name: 'program_read_bytes' | 'program_written_bytes'): string => {
    const all = c.rows.flatMap((r) => (r.figures === null ? [] : [r.figures[name]]));
    const [least, most] = [formatBytes(Math.min(...all)), formatBytes(Math.max(...all))];
    return least === most ? most : `${least} to ${most}`;
  };
  return `the program read ${range('program_read_bytes')} and wrote ${range('program_written_bytes')}`;
}

/** What of the rows was never compared with a live kernel. */
export const uncheckedText = (c: Comparison): string =>
  [...new Set(c.rows.flatMap((r) => (r.figures === null ? [] : uncheckedOf(r.config))))].join('; ');

/** What the model passed over, the same in every row. */
export function skippedText(c: Comparison): string {
  const skipped = Object.entries(c.rows.find((r) => r.figures !== null)?.figures?.skipped ?? {});
  if (skipped.length === 0) return '';
  return `not modelled, skipped: ${skipped.map(([name, n]) => `${name} ${formatCount(n)}`).join(', ')}`;
}

export const COUNTED =
  'All figures are counted by the model; none is a time. In brackets: difference from the first row.';

export function compareText(c: Comparison): string {
  const rows = c.rows.length;
  const replayed = c.rows.filter((r) => r.figures !== null);
  const labels: Cells[] = c.vary.map(({ name }) => ({
    heading: flagOf(name),
    left: true,
    cells: c.rows.map((r) => settingText(name, r.set[name])),
  }));
  if (labels.length === 0) labels.push({ heading: 'settings', left: true, cells: ['as recorded'] });
  const program = replayed[0]?.figures;
  let out = `${c.recording}: ${formatCount(c.operations)} operations on ${filesText(c)}; ${programText(c)}`;
  out += `\n${commonSettings(c)}\n`;

  for (const group of shownGroups(c)) {
    const columns = group.columns.map(
      (column): Cells => ({
        heading: column.heading,
        cells: c.rows.map((r) => (r.figures === null ? '-' : formatFigure(column, r.figures[column.name]))),
        ...(column.delta && replayed.length > 1
          ? { deltas: c.rows.map((r) => formatDelta(r.figures?.[column.name] ?? null, program?.[column.name] ?? null)) }
          : {}),
      }),
    );
    out += `\n${group.title}\n${columnsText([...labels, ...columns], rows)}`;
  }
  out += orders(c, labels, 'Folios added, by order', (r) => r.figures?.added_by_order);
  out += orders(c, labels, 'Folios cached at the end, by order', (r) => r.figures?.cached_by_order);

  const refused = c.rows.filter((r) => r.refused !== null);
  if (refused.length > 0) out += '\n';
  for (const r of refused) out += `not possible: ${rowLabel(r.set)}: ${r.refused}\n`;
  const skipped = skippedText(c);
  const unchecked = uncheckedText(c);
  out += `\n${COUNTED}\n${skipped === '' ? '' : `${skipped}\n`}${unchecked === '' ? '' : `${unchecked}\n`}`;
  return out;
}

export const filesText = (c: Comparison): string =>
  `${formatCount(c.files)} ${c.files === 1 ? 'file' : 'files'} of ${formatBytes(c.fileBytes)}`;

function orders(
  c: Comparison,
  labels: readonly Cells[],
  title: string,
  of: (r: CompareRow) => Counts | undefined,
): string {
  const counts = c.rows.map(of);
  const columns = keysOf(counts).map(
    (order): Cells => ({
      heading: String(order),
      cells: counts.map((by) => (by === undefined ? '-' : formatCount(by[order] ?? 0))),
    }),
  );
  return columns.length === 0 ? '' : `\n${title}\n${columnsText([...labels, ...columns], c.rows.length)}`;
}

/** Orders and sizes that a CSV has columns for, whatever occurs. */
const CSV_ORDERS = 12;
const CSV_SIZES = 13;

/** Names as in the JSON; a varied setting's name is its flag with underscores. Bytes are exact. */
export function compareCsv(c: Comparison): string {
  const range = (n: number) => Array.from({ length: n }, (_, i) => i);
  const by = (prefix: string, keys: readonly number[], of: (r: CompareRow) => Counts | undefined) =>
    keys.map((key): [string, (r: CompareRow) => unknown] => [
      `${prefix}${key}`,
      (r) => r.figures && (of(r)?.[key] ?? 0),
    ]);
  const sizes = range(CSV_SIZES).map((log) => 2 ** log);
  const setting = ({ name }: { name: keyof Settings }): [string, (r: CompareRow) => unknown] => [
    flagOf(name).replaceAll('-', '_'),
    (r) => r.set[name],
  ];
  const columns: [string, (r: CompareRow) => unknown][] = [
    ['recording', () => c.recording],
    ...c.vary.map(setting),
    ['refused', (r) => r.refused],
    ['operations', () => c.operations],
    ['program_read_bytes', (r) => r.figures?.program_read_bytes],
    ['program_written_bytes', (r) => r.figures?.program_written_bytes],
    ...figureColumns.map(({ name }): [string, (r: CompareRow) => unknown] => [name, (r) => r.figures?.[name]]),
    ...by('added_order_', range(CSV_ORDERS), (r) => r.figures?.added_by_order),
    ...by('cached_order_', range(CSV_ORDERS), (r) => r.figures?.cached_by_order),
    ...by('reads_pages_', sizes, (r) => r.figures?.reads_by_pages),
    ...by('writes_pages_', sizes, (r) => r.figures?.writes_by_pages),
  ];
  const line = (values: readonly unknown[]) => `${values.map(csvField).join(',')}\n`;
  return line(columns.map(([name]) => name)) + c.rows.map((r) => line(columns.map(([, get]) => get(r)))).join('');
}

/** A text that a spreadsheet would take for a formula keeps its letters behind an apostrophe. */
export function csvField(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(String(value)) ? `'${String(value)}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
