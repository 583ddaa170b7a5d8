/** A survey as plain text: one table a question, trees as columns where they are compared. */
import type { FilesystemOperations, SurveyReport } from './survey.ts';

const ROWS_MAX = 40;
const API_MAX = 25;

export const surveyNumber = (n: number): string => n.toLocaleString('en-US');

export function surveyText(report: SurveyReport): string {
  const { trees, rows } = report;
  const versions = surveyColumns(report);
  const last = versions.at(-1) as string;
  const lines: string[] = trees.map(({ tree, version, files }) => {
    const unread = files.unreadable > 0 ? `, ${surveyNumber(files.unreadable)} could not be read` : '';
    return `${printable(tree)}: Linux ${version}, ${surveyNumber(files.seen)} files of C, ${surveyNumber(files.scanned)} speak of pages${unread}`;
  });
  lines.push('', 'The tree as a whole', ...table(['', ...versions], totals(report)));

  const shown = rows.slice(0, ROWS_MAX);
  if (trees.length > 1) {
    lines.push('', `Left, by ${report.by}`);
    lines.push(
      ...table(
        [report.by, ...versions],
        shown.map((r) => [printable(r.name), ...r.trees.map((f) => surveyNumber(f.left))]),
      ),
    );
  }
  lines.push('', `Linux ${last}, by ${report.by}`);
  lines.push(
    ...table(
      [report.by, 'left', ...report.figures.map((f) => f.heading)],
      shown.map((r) => {
        const f = r.trees[r.trees.length - 1];
        return [printable(r.name), surveyNumber(f!.left), ...report.figures.map(({ name }) => surveyNumber(f![name]))];
      }),
    ),
  );
  if (rows.length > shown.length) lines.push(`  and ${surveyNumber(rows.length - shown.length)} more (--json has all)`);

  const api = report.pageApi.slice(0, API_MAX);
  lines.push('', 'Calls of page-style functions');
  lines.push(
    ...table(
      ['function', ...versions, 'instead'],
      api.map((a) => [a.name, ...a.calls.map(surveyNumber), a.replacement]),
      1,
    ),
  );
  if (report.pageApi.length > api.length)
    lines.push(`  and ${surveyNumber(report.pageApi.length - api.length)} more (--json has all)`);

  lines.push('', 'address_space_operations: methods handed a page, a folio, neither; large folios');
  lines.push(
    ...table(
      ['file system', ...versions, `large folios in ${last}`, `by page in ${last}`],
      report.filesystems.map((fs) => {
        const now = fs.trees[fs.trees.length - 1];
        return [fs.name, ...fs.trees.map(operationsCell), largeCell(now!), methodsOf(now!, 'page')];
      }),
      2,
    ),
  );
  lines.push('', 'Methods of address_space_operations: what they are handed, and the tables that set them');
  lines.push(
    ...table(
      ['method', ...versions],
      report.methods.map((m) => [m.name, ...m.types.map((type, i) => methodCell(type, m.tables[i]!))]),
    ),
  );

  lines.push('', 'Page flags (own bit, or the flag whose bit it shares)');
  lines.push(
    ...table(
      ['flag', ...versions],
      report.pageFlags.map((f) => [f.name, ...f.trees.map((t) => t ?? '–')]),
    ),
  );
  lines.push(
    '',
    'Page types',
    ...table(
      ['type', ...versions],
      report.pageTypes.map((t) => [t.name, ...t.trees.map((has) => (has ? 'yes' : '–'))]),
    ),
  );
  lines.push('', ...legend);
  return `${lines.join('\n')}\n`;
}

const legend = [
  'left: what must go before struct page can shrink: the leaving fields, casts, compound_head and the page API.',
  'unsure: leaving fields behind a member whose name has several types; not in left. docs/survey.md says what is not seen.',
];

/** Headings of the trees: their versions, told apart where two are the same. */
export function surveyColumns({ trees }: SurveyReport): string[] {
  return trees.map(({ version }, i) => {
    const same = trees.filter((t) => t.version === version).length;
    return same > 1 ? `${version} (${i + 1})` : version;
  });
}

export const totals = ({ trees, figures }: SurveyReport): string[][] => [
  ['left', ...trees.map((t) => surveyNumber(t.total.left))],
  ...figures.map(({ name, heading, left }) => [
    left ? `  ${heading}` : heading,
    ...trees.map((t) => surveyNumber(t.total[name])),
  ]),
];

const of = (o: FilesystemOperations, type: string) => o.methods.filter((m) => m.type === type);
export const methodsOf = (o: FilesystemOperations, type: string): string =>
  of(o, type)
    .map((m) => m.name)
    .join(' ');

/** `2 / 9 / 4`: methods by page, by folio, by neither. */
export const operationsCell = (o: FilesystemOperations): string =>
  o.tables.length === 0 ? '–' : ['page', 'folio', 'neither'].map((type) => of(o, type).length).join('/');

export const largeCell = (o: FilesystemOperations): string =>
  Object.keys(o.largeFolios).length === 0 ? '–' : Object.keys(o.largeFolios).toSorted().join(' ');

export const methodCell = (type: string | null, tables: number): string => (type === null ? '–' : `${type} ${tables}`);

/** Aligned columns: the first to the left, numbers to the right, the last `texts` to the left. */
function table(headings: readonly string[], rows: readonly (readonly string[])[], texts = 0): string[] {
  const widths = headings.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i]!.length)));
  return [headings, ...rows].map((cells) =>
    `  ${cells
      .map((c, i) => (i === 0 || i >= cells.length - texts ? c.padEnd(widths[i]!) : c.padStart(widths[i]!)))
      .join('  ')}`.trimEnd(),
  );
}

/** A name of a file must not move the terminal's cursor. */
const printable = (text: string): string => text.replace(/\p{Cc}/gu, '?');
