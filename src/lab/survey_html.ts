/** A survey as one HTML page that asks nothing of any other host: the trend as bars, and every table in full. */
import { escapeHtml, htmlTable } from '../view/html.ts';
import { type BarPart, stackedBar } from '../view/pictures.ts';
import { reportCss } from './report_style.ts';
import type { SurveyReport } from './survey.ts';
import {
  largeCell,
  methodCell,
  methodsOf,
  operationsCell,
  surveyColumns,
  surveyNumber,
  totals,
} from './survey_text.ts';
import { type Figures, figureWords, leftFigures } from './survey_words.ts';

const BARS_MAX = 25;
const ROWS_MAX = 400;

export function surveyHtml(report: SurveyReport): string {
  const versions = surveyColumns(report);
  const title = `struct page in Linux ${escapeHtml(versions.join(', '))}`;
  const sections: readonly (readonly [id: string, heading: string, html: string])[] = [
    ['trend', 'What is left', trend(report, versions)],
    ['places', `By ${report.by}`, places(report, versions)],
    ['api', 'Page-style functions', api(report, versions)],
    ['operations', 'address_space_operations', operations(report, versions)],
    ['flags', 'Page flags and types', flags(report, versions)],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${reportCss(leftFigures.length, 1)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
${report.trees.map((t) => `<p>${escapeHtml(t.tree)}: Linux ${escapeHtml(t.version)}, ${surveyNumber(t.files.seen)} files of C.</p>\n`).join('')}</header>
<nav aria-label="Sections"><ul>${sections.map(([id, heading]) => `<li><a href="#${id}">${heading}</a></li>`).join('')}</ul></nav>
<main>
${sections.map(([id, heading, html]) => `<section id="${id}" aria-labelledby="${id}-h">\n<h2 id="${id}-h">${heading}</h2>\n${html}</section>\n`).join('')}</main>
<footer><p>Counted by a scanner, not by a compiler: both sides of every condition are read, and a variable is a page where its
declaration in the function says so. Made by quire survey (quire.survey/1).</p></footer>
</body>
</html>
`;
}

const scrolling = (name: string, html: string): string =>
  `<div class="scroll" role="region" aria-label="${escapeHtml(name)}" tabindex="0">${html}</div>\n`;

const legend = (): string =>
  `<ul class="legend">${leftFigures.map((f, i) => `<li><i style="background:var(--o${i})"></i>${escapeHtml(figureWords[f])}</li>`).join('')}</ul>\n`;

/** One bar a label, all on one scale. */
function bars(all: readonly (readonly [label: string, of: Figures & { left: number }])[]): string {
  const scale = Math.max(1, ...all.map(([, f]) => f.left));
  const items = all.map(([label, f]) => {
    const parts: BarPart[] = leftFigures.map((name, i) => ({
      amount: f[name],
      colour: `o${i}`,
      label: surveyNumber(f[name]),
      title: `${figureWords[name]}: ${surveyNumber(f[name])}`,
    }));
    const words = `${label}: ${parts.map((p) => p.title).join(', ')}`;
    return `<li><span>${escapeHtml(label)}</span>${stackedBar(parts, scale, words)}<span>${surveyNumber(f.left)}</span></li>\n`;
  });
  return `<ul class="bars">\n${items.join('')}</ul>\n`;
}

function trend(report: SurveyReport, versions: readonly string[]): string {
  const rows = totals(report).map((row) => row.map((cell) => escapeHtml(cell.trim())));
  return [
    '<p>Uses that must go before struct page can shrink: its leaving fields, casts between page and folio, compound_head, and calls of functions that take a page where a folio has taken over.</p>\n',
    legend(),
    bars(report.trees.map((t, i) => [versions[i]!, t.total])),
    scrolling('All figures', htmlTable('All figures', ['', ...versions.map(escapeHtml)], rows)),
  ].join('');
}

function places(report: SurveyReport, versions: readonly string[]): string {
  const most = report.rows.filter((r) => r.trees.some((f) => f.left > 0)).slice(0, BARS_MAX);
  const shown = report.rows.slice(0, ROWS_MAX);
  const last = versions.length - 1;
  const rows = shown.map((r) => [
    escapeHtml(r.name),
    ...r.trees.map((f) => surveyNumber(f.left)),
    ...report.figures.map(({ name }) => surveyNumber(r.trees[last]![name])),
  ]);
  const headings = [
    report.by,
    ...versions.map((v) => `left in ${escapeHtml(v)}`),
    ...report.figures.map((f) => escapeHtml(f.heading)),
  ];
  const more = report.rows.length - shown.length;
  return [
    legend(),
    bars(most.flatMap((r) => r.trees.map((f, i): readonly [string, typeof f] => [`${r.name}, ${versions[i]}`, f]))),
    scrolling('Figures', htmlTable(`Linux ${escapeHtml(versions[last]!)}`, headings, rows)),
    more > 0 ? `<p class="soft">${surveyNumber(more)} more rows with --json.</p>\n` : '',
  ].join('');
}

function api(report: SurveyReport, versions: readonly string[]): string {
  const rows = report.pageApi.map((a) => [escapeHtml(a.name), ...a.calls.map(surveyNumber), escapeHtml(a.replacement)]);
  const headings = ['function', ...versions.map(escapeHtml), 'instead'];
  return scrolling('Calls', htmlTable('Calls of page-style functions', headings, rows));
}

function operations(report: SurveyReport, versions: readonly string[]): string {
  const last = versions.length - 1;
  const rows = report.filesystems.map((fs) => {
    const now = fs.trees[last];
    const methods = ['page', 'folio', 'neither', 'unknown'].map((type) => escapeHtml(methodsOf(now!, type)));
    return [escapeHtml(fs.name), ...fs.trees.map(operationsCell), largeCell(now!), ...methods];
  });
  const headings = [
    'file system',
    ...versions.map(escapeHtml),
    'large folios',
    'by page',
    'by folio',
    'neither',
    'unknown',
  ];
  const methods = report.methods.map((m) => [
    escapeHtml(m.name),
    ...m.types.map((type, i) => methodCell(type, m.tables[i]!)),
  ]);
  return [
    '<p>Methods that are handed a page / a folio / neither, by file system; names are those of the last tree.</p>\n',
    scrolling('By file system', htmlTable('By file system', headings, rows)),
    '<p>What each method is handed, and the number of tables that set it.</p>\n',
    scrolling('Methods', htmlTable('Methods', ['method', ...versions.map(escapeHtml)], methods)),
  ].join('');
}

function flags(report: SurveyReport, versions: readonly string[]): string {
  const heads = versions.map(escapeHtml);
  const flagRows = report.pageFlags.map((f) => [escapeHtml(f.name), ...f.trees.map((t) => escapeHtml(t ?? '–'))]);
  const typeRows = report.pageTypes.map((t) => [escapeHtml(t.name), ...t.trees.map((has) => (has ? 'yes' : '–'))]);
  return (
    scrolling(
      'Page flags',
      htmlTable('Page flags: own bit, or the flag whose bit it shares', ['flag', ...heads], flagRows),
    ) + scrolling('Page types', htmlTable('Page types', ['type', ...heads], typeRows))
  );
}
