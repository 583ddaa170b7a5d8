/** The parts of a report that show folios and requests by their size: bars, and files as strips. */
import { formatBytes } from '../base/units.ts';
import { escapeHtml, htmlTable } from '../view/html.ts';
import { type BarPart, stackedBar, stripPicture } from '../view/pictures.ts';
import { formatCount, keysOf } from './compare_columns.ts';
import type { Counts, FileRow } from './compare_figures.ts';
import { asTable, type Drawing, type ReplayedRow } from './report_parts.ts';

const sum = (counts: Counts, weight: (key: number) => number = () => 1): number =>
  Object.entries(counts).reduce((n, [key, count]) => n + count * weight(Number(key)), 0);

/** Colours of folios by order and of requests by pages: two ramps, each spread over what occurs (report_style.ts). */
const orderColour = (order: number): string => `o${order}`;
const sizeColour = (pages: number): string => `r${Math.log2(pages)}`;

/** Colours and what they stand for. */
const legend = (entries: readonly (readonly [colour: string, label: string])[]): string =>
  `<ul class="legend">${entries.map(([colour, label]) => `<li><i style="background:var(--${colour})"></i>${label}</li>`).join('')}</ul>\n`;

/** One bar a row, all on one scale, with its value beside it. */
function bars(
  d: Drawing,
  of: (r: ReplayedRow) => Counts,
  part: (key: number, count: number) => BarPart,
  value: (r: ReplayedRow) => string,
): string {
  const parts = d.rows.map((r) => Object.entries(of(r)).map(([key, count]) => part(Number(key), count)));
  const scale = Math.max(...parts.map((p) => p.reduce((n, { amount }) => n + amount, 0)));
  const items = d.rows.map((r, i) => {
    const drawn = parts[i] as BarPart[];
    const words = `${d.names[i]}: ${drawn.map(({ title }) => title).join(', ') || 'none'}`;
    return `<li><span>${d.labels[i]}</span>${stackedBar(drawn, scale, words)}<span>${value(r)}</span></li>\n`;
  });
  return `<ul class="bars">\n${items.join('')}</ul>\n`;
}

/** Counts by a key, rows by columns. */
function countTable(
  d: Drawing,
  caption: string,
  keys: readonly number[],
  head: (key: number) => string,
  of: (r: ReplayedRow) => Counts,
) {
  return htmlTable(
    caption,
    ['Settings', ...keys.map(head)],
    d.rows.map((r, i) => [d.labels[i] as string, ...keys.map((key) => formatCount(of(r)[key] ?? 0))]),
  );
}

const folios = (n: number): string => `${formatCount(n)} ${n === 1 ? 'folio' : 'folios'}`;
const pages = (n: number): string => `${formatCount(n)} ${n === 1 ? 'page' : 'pages'}`;

export function ordersSection(d: Drawing): string {
  const added = (r: ReplayedRow) => r.figures.added_by_order;
  const orders = keysOf(d.rows.map(added));
  if (orders.length === 0) return '<p>No folio was added to the page cache.</p>\n';
  const head = (order: number) => `order ${order}`;
  return [
    '<p>What was added to the page cache during the replay. The number in a part is its <a href="#term-order">order</a>; all bars of a picture are on one scale.</p>\n',
    legend(orders.map((order) => [orderColour(order), `order ${order}`])),
    '<h3>Folios</h3>\n',
    bars(
      d,
      added,
      (order, n) => ({
        amount: n,
        colour: orderColour(order),
        label: String(order),
        title: `order ${order}: ${folios(n)}`,
      }),
      (r) => folios(r.figures.added_folios),
    ),
    '<h3>Pages in them</h3>\n',
    bars(
      d,
      added,
      (order, n) => ({
        amount: n * 2 ** order,
        colour: orderColour(order),
        label: String(order),
        title: `order ${order}: ${pages(n * 2 ** order)}`,
      }),
      (r) => pages(r.figures.added_pages),
    ),
    asTable(
      'Folios by order',
      countTable(d, 'Folios added', orders, head, added) +
        countTable(d, 'Folios cached at the end', orders, head, (r) => r.figures.cached_by_order),
    ),
  ].join('');
}

export function requestsSection(d: Drawing): string {
  const part = (d: Drawing, of: (r: ReplayedRow) => Counts, title: string): string => {
    const sizes = keysOf(d.rows.map(of));
    if (sizes.length === 0) return '';
    const page = (d.rows[0] as ReplayedRow).config.pageSize;
    const onePage = d.rows.every((r) => r.config.pageSize === page);
    const words = (n: number) => (onePage ? formatBytes(n * page) : pages(n));
    return [
      `<h3>${title}</h3>\n`,
      legend(sizes.map((n) => [sizeColour(n), `≤ ${words(n)}`])),
      bars(
        d,
        of,
        (n, count) => ({
          amount: count,
          colour: sizeColour(n),
          label: onePage
            ? formatBytes(n * page)
                .replace(/iB$/, '')
                .replace(' ', '')
            : String(n),
          title: `up to ${words(n)}: ${formatCount(count)}`,
        }),
        (r) => `${formatCount(sum(of(r)))} requests`,
      ),
      asTable(
        title,
        countTable(d, title, sizes, (n) => `≤ ${words(n)}`, of),
      ),
    ].join('');
  };
  const parts =
    part(d, (r) => r.figures.reads_by_pages, 'Read requests') +
    part(d, (r) => r.figures.writes_by_pages, 'Write requests');
  if (parts === '') return '';
  return `<p><a href="#term-request">Requests</a> to the device by their size, rounded up to a power of two of pages.</p>\n${parts}`;
}

export function filesSection(d: Drawing): string {
  const shown = (d.rows[0] as ReplayedRow).files.map((_, f) => f);
  if (shown.length === 0) return '';
  const of = (r: ReplayedRow, f: number) => r.files[f] as FileRow;
  const orders = keysOf(d.rows.flatMap((r) => r.files.map((file) => file.cached_by_order)));
  if (orders.length === 0) return '<p>Nothing is cached at the end.</p>\n';
  const parts = shown.map((f) => {
    const { name } = of(d.rows[0] as ReplayedRow, f);
    const items = d.rows.map((r, i) => {
      const file = of(r, f);
      const past = file.past_end_pages === 0 ? '' : `, ${pages(file.past_end_pages)} past its end`;
      const share = (file.cached_pages - file.past_end_pages) / file.pages;
      const words = `${d.names[i]}: ${pages(file.cached_pages)} of ${formatCount(file.pages)} cached in ${folios(file.cached_folios)}${past}`;
      const beside = file.cached_pages === 0 ? 'nothing cached' : `${percent(share)} in ${folios(file.cached_folios)}`;
      return `<li><span>${d.labels[i]}</span>${stripPicture(file.strip, orderColour, words)}<span>${beside}</span></li>\n`;
    });
    const { pages: filePages } = of(d.rows[0] as ReplayedRow, f);
    const size = formatBytes(filePages * (d.rows[0] as ReplayedRow).config.pageSize);
    return `<h3><bdi>${escapeHtml(name)}</bdi> <span class="soft">${size}</span></h3>\n<ul class="bars">\n${items.join('')}</ul>\n`;
  });
  const rows = shown.flatMap((f) =>
    d.rows.map((r, i) => {
      const file = of(r, f);
      return [
        `<bdi>${escapeHtml(file.name)}</bdi>`,
        d.labels[i] as string,
        formatCount(file.pages),
        formatCount(file.cached_pages),
        formatCount(file.past_end_pages),
        formatCount(file.cached_folios),
        ...orders.map((order) => formatCount(file.cached_by_order[order] ?? 0)),
      ];
    }),
  );
  const headings = [
    'File',
    'Settings',
    'pages',
    'cached',
    'past its end',
    'folios',
    ...orders.map((order) => `order ${order}`),
  ];
  return [
    `<p>${shown.length === 1 ? 'The file' : `The ${shown.length} files`} of which most is cached, from first page to last. Colour: the <a href="#term-order">order</a> of the folios there; height: how much of that stretch is cached; bare ground: nothing.</p>\n`,
    legend(orders.map((order) => [orderColour(order), `order ${order}`])),
    ...parts,
    asTable('Files at the end', htmlTable('Files at the end', headings, rows, 2)),
  ].join('');
}

const percent = (share: number): string =>
  `${share > 0 && share < 0.01 ? (100 * share).toFixed(2) : (100 * share).toFixed(0)} %`;
