/**
 * A comparison as one HTML page: what was run, what the numbers say, the table, and pictures. The page asks nothing of any
 * other host and is whole without its script. Under every picture there is a table with the same numbers.
 */
import { escapeHtml, htmlTable, scriptJson } from '../view/html.ts';
import type { Comparison } from './compare.ts';
import { formatCount, formatDelta, formatFigure, shownGroups } from './compare_columns.ts';
import { conclusions, rowWords } from './compare_says.ts';
import { commonSettings, filesText, programText, skippedText, uncheckedText } from './compare_text.ts';
import { filesSection, ordersSection, requestsSection } from './report_folios.ts';
import { type Drawing, drawingOf, type ReplayedRow, scrolling, unbroken } from './report_parts.ts';
import { REPORT_SCRIPT } from './report_script.ts';
import { reportCss } from './report_style.ts';
import { ioSection, memorySection, timelineData } from './report_time.ts';
import { linked, terms } from './report_words.ts';

export function reportHtml(c: Comparison): string {
  const d = drawingOf(c);
  const title = `${escapeHtml(c.recording)}: ${c.rows.length} ${c.rows.length === 1 ? 'setting' : 'settings compared'}`;
  const all: readonly (readonly [id: string, heading: string, html: string])[] = [
    ['says', 'What the numbers say', says(c)],
    ['table', 'The numbers', tables(c, d)],
    ['folios', 'Folios by order', ordersSection(d)],
    ['files', 'Files at the end', filesSection(d)],
    ['memory', 'Memory over time', memorySection(d)],
    ['io', 'I/O over time', ioSection(d)],
    ['requests', 'Requests by size', requestsSection(d)],
    ['terms', 'Words', words()],
  ];
  const sections = all.filter(([, , html]) => html !== '');
  const links = sections.map(([id, heading]) => `<li><a href="#${id}">${heading}</a></li>`).join('');
  const main = sections.map(
    ([id, heading, html]) =>
      `<section id="${id}" aria-labelledby="${id}-h">\n<h2 id="${id}-h">${heading}</h2>\n${html}</section>\n`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${title}</title>
<style>${reportCss(d.orders, d.sizes)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
${about(c)}</header>
<nav aria-label="Sections"><ul>${links}</ul></nav>
<main>
${main.join('')}</main>
<footer>
<p>All figures are <a href="#term-counted">counted</a> by the model; none is a time. Every row is a replay of its own, on a
machine of its own with a cold cache. Made by quire compare (quire.compare/1).</p>
</footer>
<script type="application/json" id="timeline">${scriptJson(timelineData(d))}</script>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`;
}

function about(c: Comparison): string {
  const skipped = skippedText(c);
  let out = `<p>${formatCount(c.operations)} <a href="#term-operation">operations</a> on ${filesText(c)}; ${unbroken(programText(c))}.</p>\n`;
  out += `<p>${c.vary.length === 0 ? '' : 'The same for all: '}${unbroken(escapeHtml(commonSettings(c)))}.</p>\n`;
  if (skipped !== '') out += `<p class="soft">${escapeHtml(skipped)}</p>\n`;
  const unchecked = uncheckedText(c);
  if (unchecked !== '') out += `<p class="soft">${escapeHtml(unchecked)}.</p>\n`;
  return out;
}

function says(c: Comparison): string {
  const refused = c.rows.filter((r) => r.refused !== null).map((r) => `Not possible: ${rowWords(r.set)}: ${r.refused}`);
  const all = [...conclusions(c), ...refused].map((text) => `<li>${unbroken(escapeHtml(text))}</li>\n`);
  return all.length === 0 ? '' : `<ul class="says">\n${all.join('')}</ul>\n`;
}

function tables(c: Comparison, d: Drawing): string {
  const first = (d.rows[0] as ReplayedRow).figures;
  const groups = shownGroups(c).map(({ title, columns }) => {
    const rows = d.rows.map((r, i) => [
      d.labels[i] as string,
      ...columns.map((column) => {
        const value = r.figures[column.name];
        const text = formatFigure(column, value).replace(/x$/, ' ×');
        const delta = column.delta ? formatDelta(value, first[column.name]) : '';
        return delta === '' ? text : `${text} <small>${delta.replace(/^-/, '−').replace(/^x/, '× ')}</small>`;
      }),
    ]);
    const headings = ['Settings', ...columns.map(({ name, heading }) => linked(name, heading))];
    return scrolling(title, htmlTable(title, headings, rows));
  });
  const note = d.rows.length > 1 ? '<p class="soft">Small: the difference from the first row.</p>\n' : '';
  return note + groups.join('');
}

const words = (): string =>
  `<dl>\n${terms.map(({ id, word, meaning }) => `<dt id="term-${id}">${word}</dt><dd>${meaning}</dd>\n`).join('')}</dl>\n`;
