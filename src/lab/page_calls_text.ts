/** The two ways as plain text. */
import { table } from './fit_text.ts';
import { LARGE_ORDER, type Leaving, type OperationCalls, type OperationTime, type WorkloadRow } from './page_calls.ts';

export interface CallsReport {
  readonly schema: 'quire.calls/1';
  /** The layout that operations ran on. */
  readonly memmap: string;
  readonly operations: readonly OperationCalls[];
  /** What a build with separate folios refuses; null: not asked. */
  readonly separateFolio: readonly Leaving[] | null;
  /** Nanoseconds; null: not asked. */
  readonly times: readonly OperationTime[] | null;
  /** Null: no recording. */
  readonly workload: { readonly recording: string; readonly rows: readonly WorkloadRow[] } | null;
}

const number = (n: number): string => n.toLocaleString('en-US');

export function callsText(r: CallsReport): string {
  const lines = [
    `calls of compound_head in the page way (5.15), of page_folio in the folio way; on ${r.memmap}`,
    '',
    ...table(
      ['operation', 'folio way', 'page', 'large', 'folio', 'large'],
      r.operations.map((o) => [
        ...[o.operation, o.folioName],
        ...[o.page, o.pageLarge, o.folio, o.folioLarge].map(String),
      ]),
      1,
    ),
    '',
    `counted by running each: page and folio of one page, large of ${1 << LARGE_ORDER}.`,
    ...moveText(r.operations),
  ];
  if (r.separateFolio !== null) lines.push('', ...separateText(r.separateFolio));
  if (r.times !== null) lines.push('', ...timesText(r.times));
  if (r.workload !== null) lines.push('', ...workloadText(r.workload.recording, r.workload.rows));
  return `${lines.join('\n')}\n`;
}

/** The published figure, from the counts: what a move asks of a page between taking its lock and giving it back. */
function moveText(rows: readonly OperationCalls[]): string[] {
  const of = (name: string): number => rows.find((o) => o.operation === name)?.pageLarge ?? 0;
  const all = of('mem_cgroup_move_account, dirty');
  const locks = of('trylock_page') + of('unlock_page');
  const nested = of('page_mapping') - 1;
  return [
    `mem_cgroup_move_account of a large, dirty page: ${all} = ${all - locks - nested} of its own questions, ` +
      `${locks} for the page lock, ${nested} that page_mapping`,
    '  makes in turn ("up to seven" is what has been published).',
  ];
}

const separateText = (rows: readonly Leaving[]): string[] => [
  'with separate folios: what each operation of the page way uses first that has left struct page',
  '',
  ...table(
    ['operation', 'field', 'caller', 'use'],
    rows.map((o) => [o.operation, o.field ?? '-', o.caller ?? '-', o.replacement ?? '-']),
    3,
  ),
];

const timesText = (rows: readonly OperationTime[]): string[] => [
  'ns an operation, with what makes it ready again (the same in both ways); one page',
  '',
  ...table(
    ['operation', 'page64 page', 'folio', 'overlay page', 'folio'],
    rows.map((o) => [
      o.operation,
      ...[o.page64.page, o.page64.folio, o.overlay.page, o.overlay.folio].map((ns) => ns.toFixed(1)),
    ]),
    0,
  ),
  '',
  'measured here, in this engine: the median of 25 loops. No kernel’s times.',
];

function workloadText(recording: string, rows: readonly WorkloadRow[]): string[] {
  const total = (key: 'pages' | 'folios' | 'pageCalls' | 'folioCalls'): string =>
    number(rows.reduce((n, row) => n + row[key], 0));
  return [
    `${recording}: what its pages would cost by page, and its folios by folio`,
    '',
    ...table(
      ['event', 'pages', 'folios', 'calls a page', 'page way', 'folio way'],
      [
        ...rows.map((w) => [
          ...[w.event, number(w.pages), number(w.folios), String(w.callsOfPage)],
          ...[number(w.pageCalls), number(w.folioCalls)],
        ]),
        ['all', total('pages'), total('folios'), '', total('pageCalls'), total('folioCalls')],
      ],
      0,
    ),
    '',
    'events counted by a replay. page way: each page alone, in the cheapest case of each function. folio way: one page_folio',
    '  for each folio met, an upper bound: who has the folio from the cache needs none.',
  ];
}
