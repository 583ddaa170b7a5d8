/**
 * A comparison of accesses as one HTML page, as report.ts makes of recordings: the numbers, folios by order, memory over
 * the trace, and curves. Under every picture there is a table with the same numbers.
 */
import { formatBytes } from '../base/units.ts';
import { escapeHtml, htmlTable } from '../view/html.ts';
import { plot, stackedBar } from '../view/pictures.ts';
import { accessColumns, formatAccessFigure, replayed, shownAccessGroups } from './access_columns.ts';
import type { AccessComparison, AccessRow } from './access_compare.ts';
import type { AccessCurves } from './access_curves.ts';
import { curvesSection } from './access_curves_show.ts';
import type { AccessFigures } from './access_figures.ts';
import { accessAbout, liveText, skippedAccesses } from './access_text.ts';
import type { AccessTimeline } from './access_timeline.ts';
import { formatCount, formatDelta, keysOf, rowLabel } from './compare_columns.ts';
import { asTable, scrolling, unbroken } from './report_parts.ts';
import { reportCss } from './report_style.ts';

interface Drawn extends AccessRow {
  readonly figures: AccessFigures;
  readonly timeline: AccessTimeline;
}

const STEPS = 11;

export function accessReport(c: AccessComparison, curves: AccessCurves | null = null): string {
  const rows = replayed(c) as readonly Drawn[];
  const title = `${escapeHtml(c.trace)}: ${rows.length} ${rows.length === 1 ? 'setting' : 'settings compared'}`;
  const all: readonly (readonly [id: string, heading: string, html: string])[] = [
    ['table', 'The numbers', tables(c, rows)],
    ['folios', 'Anonymous folios by order', ordersSection(rows)],
    ['memory', 'Memory over the trace', memorySection(rows)],
    ['curves', 'Curves', curves === null ? '' : curvesSection(curves)],
    ['terms', 'Words', words()],
  ];
  const sections = all.filter(([, , html]) => html !== '');
  const links = sections.map(([id, heading]) => `<li><a href="#${id}">${heading}</a></li>`).join('');
  const main = sections.map(
    ([id, heading, html]) =>
      `<section id="${id}" aria-labelledby="${id}-h">\n<h2 id="${id}-h">${heading}</h2>\n${html}</section>\n`,
  );
  const skipped = skippedAccesses(c);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${reportCss(STEPS, STEPS)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${formatCount(c.accesses)} accesses; ${unbroken(escapeHtml(accessAbout(c)))}.</p>
${c.live === null ? '' : `<p>${unbroken(escapeHtml(liveText(c)))}.</p>\n`}${skipped === '' ? '' : `<p class="soft">${escapeHtml(skipped)}</p>\n`}</header>
<nav aria-label="Sections"><ul>${links}</ul></nav>
<main>
${main.join('')}</main>
<footer>
<p>All figures are counted by the model; none is a time. Made by quire (quire.accesses/1).</p>
</footer>
</body>
</html>
`;
}

const label = (r: AccessRow): string => escapeHtml(rowLabel(r.set));

function tables(c: AccessComparison, rows: readonly Drawn[]): string {
  const first = (rows[0] as Drawn).figures;
  const groups = shownAccessGroups(c).map(({ title, columns }) => {
    const cells = rows.map((r) => [
      label(r),
      ...columns.map((column) => {
        const value = r.figures[column.name];
        const delta = column.delta ? formatDelta(value, first[column.name]) : '';
        const text = formatAccessFigure(column, value);
        return delta === '' ? text : `${text} <small>${delta.replace(/^-/, '−').replace(/^x/, '× ')}</small>`;
      }),
    ]);
    const headings = ['Settings', ...columns.map(({ name, heading }) => `<a href="#term-${name}">${heading}</a>`)];
    return scrolling(title, htmlTable(title, headings, cells));
  });
  const refused = c.rows
    .filter((r) => r.refused !== null)
    .map((r) => `<p>Not possible: ${label(r)}: ${escapeHtml(r.refused ?? '')}</p>\n`);
  const note = rows.length > 1 ? '<p class="soft">Small: the difference from the first row.</p>\n' : '';
  return note + groups.join('') + refused.join('');
}

function ordersSection(rows: readonly Drawn[]): string {
  const orders = keysOf(rows.map((r) => r.figures.anon_by_order));
  if (orders.length === 0) return '';
  const pages = (r: Drawn): number =>
    Object.entries(r.figures.anon_by_order).reduce((sum, [order, n]) => sum + n * 2 ** Number(order), 0);
  const scale = Math.max(...rows.map(pages));
  const legend = orders.map((order) => `<li><i style="background:var(--o${order})"></i>order ${order}</li>`).join('');
  const bars = rows.map((r) => {
    const parts = Object.entries(r.figures.anon_by_order).map(([order, n]) => ({
      amount: n * 2 ** Number(order),
      colour: `o${order}`,
      label: order,
      title: `order ${order}: ${formatCount(n)} folios`,
    }));
    return `<li><span>${label(r)}</span>${stackedBar(parts, scale, `${rowLabel(r.set)}: ${parts.map((p) => p.title).join(', ')}`)}<span>${formatCount(pages(r))} pages</span></li>\n`;
  });
  const table = htmlTable(
    'Anonymous folios by order',
    ['Settings', ...orders.map((order) => `order ${order}`)],
    rows.map((r) => [label(r), ...orders.map((order) => formatCount(r.figures.anon_by_order[order] ?? 0))]),
  );
  return `<p>Pages in the folios that faults made; all bars are on one scale.</p>\n<ul class="legend">${legend}</ul>\n<ul class="bars">\n${bars.join('')}</ul>\n${asTable('Anonymous folios by order', table)}`;
}

const QUARTERS = [0.25, 0.5, 0.75, 1];

function memorySection(rows: readonly Drawn[]): string {
  const top = Math.max(...rows.map((r) => Math.max(...r.timeline.rss_bytes)));
  if (!(top > 0)) return '';
  const panels = rows.map((r) => {
    const { accesses, rss_bytes } = r.timeline;
    const picture = plot(
      accesses,
      [{ kind: 'area', name: 'active', values: rss_bytes }],
      top,
      `${rowLabel(r.set)}: resident size over the trace`,
    );
    return `<figure><figcaption>${label(r)}<small>top: ${formatBytes(top)}</small></figcaption>
<div class="frame">${picture}</div><div class="axis"><span>0</span><span>${formatCount(accesses.at(-1) ?? 0)} accesses</span></div></figure>\n`;
  });
  const atPart = (r: Drawn, part: number): number => {
    const { accesses, rss_bytes } = r.timeline;
    return (
      rss_bytes[
        Math.max(
          0,
          accesses.findLastIndex((n) => n <= (accesses.at(-1) ?? 0) * part),
        )
      ] ?? 0
    );
  };
  const table = htmlTable(
    'Resident size',
    ['Settings', ...QUARTERS.map((q) => `at ${q * 100} %`)],
    rows.map((r) => [label(r), ...QUARTERS.map((q) => formatBytes(Math.round(atPart(r, q))))]),
  );
  return `<p>Resident size of all processes, over the accesses of the trace.</p>\n<div class="panels">\n${panels.join('')}</div>\n${asTable('Resident size', table)}`;
}

const words = (): string =>
  `<dl>\n${accessColumns.map(({ name, heading, doc }) => `<dt id="term-${name}">${heading}</dt><dd>${doc}</dd>\n`).join('')}</dl>\n`;
