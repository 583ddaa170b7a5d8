/** A comparison of accesses as plain aligned columns, as CSV, and as JSON. */
import { formatBytes } from '../base/units.ts';
import { accessColumns, formatAccessFigure, replayed, shownAccessGroups } from './access_columns.ts';
import type { AccessComparison, AccessRow } from './access_compare.ts';
import type { AccessCurves } from './access_curves.ts';
import { flagOf, formatCount, formatDelta, keysOf, rowLabel, settingText } from './compare_columns.ts';
import { type Cells, COUNTED, columnsText, csvField } from './compare_text.ts';
import type { Settings } from './settings.ts';

const AREAS: Readonly<Record<AccessComparison['areas'], string>> = {
  told: 'areas as recorded',
  maps: 'areas as in the maps file',
  guessed: 'areas guessed from what is touched',
};

/** What all rows share, as one line. */
export function accessAbout(c: AccessComparison): string {
  const varied = new Set<string>(c.vary.map((v) => v.name));
  const row = c.rows.find((r) => r.figures !== null) as AccessRow;
  const { config, cpu } = row;
  const parts: [string, string][] = [
    ['kernel', `kernel ${config?.kernel}`],
    ['pageSize', `${formatBytes(config?.pageSize ?? 0)} pages`],
    ['memory', `memory ${formatBytes(config?.memory ?? 0)}`],
    ['memcg', config?.memcg ? `memory limit ${formatBytes(config.memcg)}` : 'no memory limit'],
    ...(cpu === null ? [] : [['cpu', `TLB of ${cpu}`] as [string, string]]),
  ];
  return [...parts.flatMap(([name, text]) => (varied.has(name) ? [] : [text])), AREAS[c.areas]].join(', ');
}

export const liveText = (c: AccessComparison): string =>
  c.live === null
    ? ''
    : `recorded: ${formatCount(c.live.faults)} faults, peak RSS ${formatBytes(c.live.rss_peak_bytes)}, at its end ${formatBytes(c.live.rss_end_bytes)}`;

export const skippedAccesses = (c: AccessComparison): string => {
  const skipped = Object.entries(replayed(c)[0]?.figures?.skipped ?? {});
  return skipped.length === 0 ? '' : `skipped: ${skipped.map(([what, n]) => `${what} ${formatCount(n)}`).join(', ')}`;
};

export function accessText(c: AccessComparison): string {
  const rows = c.rows.length;
  const first = replayed(c)[0]?.figures;
  const labels: Cells[] = c.vary.map(({ name }) => ({
    heading: flagOf(name),
    left: true,
    cells: c.rows.map((r) => settingText(name, r.set[name])),
  }));
  if (labels.length === 0) labels.push({ heading: 'settings', left: true, cells: ['as recorded'] });
  let out = `${c.trace}: ${formatCount(c.accesses)} accesses\n${accessAbout(c)}\n`;
  if (c.live !== null) out += `${liveText(c)}\n`;
  for (const group of shownAccessGroups(c)) {
    const columns = group.columns.map(
      (column): Cells => ({
        heading: column.heading,
        cells: c.rows.map((r) => (r.figures === null ? '-' : formatAccessFigure(column, r.figures[column.name]))),
        ...(column.delta && replayed(c).length > 1
          ? { deltas: c.rows.map((r) => formatDelta(r.figures?.[column.name] ?? null, first?.[column.name] ?? null)) }
          : {}),
      }),
    );
    out += `\n${group.title}\n${columnsText([...labels, ...columns], rows)}`;
  }
  const orders = keysOf(c.rows.map((r) => r.figures?.anon_by_order)).map(
    (order): Cells => ({
      heading: String(order),
      cells: c.rows.map((r) => (r.figures === null ? '-' : formatCount(r.figures.anon_by_order[order] ?? 0))),
    }),
  );
  if (orders.length > 0)
    out += `\nAnonymous folios made by faults, by order\n${columnsText([...labels, ...orders], rows)}`;
  const refused = c.rows.filter((r) => r.refused !== null);
  if (refused.length > 0) out += '\n';
  for (const r of refused) out += `not possible: ${rowLabel(r.set)}: ${r.refused}\n`;
  const skipped = skippedAccesses(c);
  return `${out}\n${COUNTED}\n${skipped === '' ? '' : `${skipped}\n`}`;
}

const CSV_ORDERS = 12;

export function accessCsv(c: AccessComparison): string {
  const orders = Array.from({ length: CSV_ORDERS }, (_, order) => order);
  const columns: [string, (r: AccessRow) => unknown][] = [
    ['trace', () => c.trace],
    ...c.vary.map(({ name }): [string, (r: AccessRow) => unknown] => [
      flagOf(name).replaceAll('-', '_'),
      (r) => (typeof r.set[name] === 'object' ? settingText(name, r.set[name]) : r.set[name]),
    ]),
    ['refused', (r) => r.refused],
    ['accesses', () => c.accesses],
    ['data_accesses', (r) => r.figures?.data_accesses],
    ...accessColumns.map(({ name }): [string, (r: AccessRow) => unknown] => [name, (r) => r.figures?.[name]]),
    ...orders.map((order): [string, (r: AccessRow) => unknown] => [
      `anon_order_${order}`,
      (r) => r.figures && (r.figures.anon_by_order[order] ?? 0),
    ]),
  ];
  const line = (values: readonly unknown[]): string => `${values.map(csvField).join(',')}\n`;
  return line(columns.map(([name]) => name)) + c.rows.map((r) => line(columns.map(([, of]) => of(r)))).join('');
}

/** `quire.accesses/1`. */
export function accessJson(c: AccessComparison, curves: AccessCurves | null = null): string {
  const { vary, rows, ...about } = c;
  return `${JSON.stringify({
    ...about,
    names: Object.fromEntries(accessColumns.map(({ name, doc }) => [name, doc])),
    basis: 'counted',
    vary: Object.fromEntries(vary.map(({ name, values }) => [name, values.map((v: Settings) => v[name])])),
    rows,
    ...(curves === null ? {} : { curves }),
  })}\n`;
}
