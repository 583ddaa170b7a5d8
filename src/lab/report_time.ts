/** The parts of a report that show a replay over time: a panel a row, all panels of a picture on one scale. */
import { formatBytes } from '../base/units.ts';
import { htmlTable } from '../view/html.ts';
import { plot, type Series } from '../view/pictures.ts';
import { formatCount } from './compare_columns.ts';
import { asTable, type Drawing, type ReplayedRow } from './report_parts.ts';
import type { Timeline, TimelineColumn } from './timeline.ts';

/** Moments that all panels of a page have together: what keeps a page of many rows small. */
const MOMENTS = 2400;
const MOMENTS_MIN = 24;

/** So many panels side by side are still readable. */
const PANELS_ABREAST = 5;

/** Positions of the moments that are drawn, evenly chosen, the last among them. The moments of all rows are the same. */
function drawn(d: Drawing): number[] {
  const all = (d.rows[0] as ReplayedRow).timeline.operations.length;
  const n = Math.min(all, Math.max(MOMENTS_MIN, Math.floor(MOMENTS / d.rows.length)));
  return n < 2 ? [all - 1] : Array.from({ length: n }, (_, i) => Math.round((i * (all - 1)) / (n - 1)));
}

const at = (moments: readonly number[], values: readonly number[]): number[] => moments.map((i) => values[i] as number);

/** The figures that the script shows for a moment. */
export function timelineData(d: Drawing): unknown {
  const moments = drawn(d);
  const some = (column: TimelineColumn) => d.rows.some((r) => r.timeline[column].some((n) => n > 0));
  const row = (t: Timeline) => ({
    cached: at(moments, t.cached_pages),
    active: at(moments, t.active_pages),
    ...(some('dirty_pages') ? { dirty: at(moments, t.dirty_pages) } : {}),
    readBytes: at(moments, t.read_bytes),
    reads: at(moments, t.reads),
    ...(some('writes') ? { writtenBytes: at(moments, t.written_bytes), writes: at(moments, t.writes) } : {}),
  });
  return {
    operations: at(moments, (d.rows[0] as ReplayedRow).timeline.operations),
    pageSize: d.rows.map((r) => r.config.pageSize),
    rows: d.rows.map((r) => row(r.timeline)),
  };
}

/** The slider that the script brings to life. */
const moment = (label: string): string =>
  `<div class="moment" hidden><label>${label} <input type="range" min="0" value="0" step="1"></label><output></output></div>\n`;

type Key = readonly [classes: string, label: string];
const key = ([classes, label]: Key): string =>
  `<li><svg viewBox="0 0 20 8" aria-hidden="true"><path class="key ${classes}" d="${/active/.test(classes) ? 'M0 0h20v8h-20z' : 'M0 4h20'}"/></svg>${label}</li>`;
const legend = (keys: readonly Key[]): string => `<ul class="legend">${keys.map(key).join('')}</ul>\n`;

/** One panel a row; `top` of all of them, and how it is written. */
function panels(
  d: Drawing,
  what: string,
  top: number,
  format: (n: number) => string,
  series: (r: ReplayedRow, moments: readonly number[]) => Series[],
  words: (r: ReplayedRow) => string,
): string {
  const moments = drawn(d);
  const xs = at(moments, (d.rows[0] as ReplayedRow).timeline.operations);
  const last = formatCount(xs.at(-1) ?? 0);
  const figures = d.rows.map((r, i) => {
    const name = d.names[i] as string;
    const picture = plot(xs, series(r, moments), top, `${name}: ${words(r)}`);
    return `<figure><figcaption>${d.labels[i]}<small>top: ${format(top)}</small></figcaption>
<div class="frame" data-row="${i}" data-what="${what}">${picture}</div><div class="axis"><span>0</span><span>${last} operations</span></div><output></output></figure>\n`;
  });
  const fit = d.fastest > 1 && d.fastest <= PANELS_ABREAST;
  return `<div class="panels${fit ? ` fit" style="--columns:${d.fastest}` : ''}">\n${figures.join('')}</div>\n`;
}

const most = (d: Drawing, of: (r: ReplayedRow) => number): number => d.rows.reduce((n, r) => Math.max(n, of(r)), 0);
const peak = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0);
const end = (values: readonly number[]): number => values.at(-1) ?? 0;

/** The value at a quarter of the operations, and so on. */
const atPart = (t: Timeline, column: TimelineColumn, part: number): number => {
  const want = end(t.operations) * part;
  const i = t.operations.findLastIndex((n) => n <= want);
  return t[column][Math.max(i, 0)] as number;
};
const QUARTERS = [0.25, 0.5, 0.75, 1];

/** A row a setting, a column a quarter. */
function quarterTable(
  d: Drawing,
  caption: string,
  column: TimelineColumn,
  format: (n: number, r: ReplayedRow) => string,
  more: readonly [string, (r: ReplayedRow) => string][] = [],
): string {
  return htmlTable(
    caption,
    ['Settings', ...QUARTERS.map((q) => `at ${q * 100} %`), ...more.map(([heading]) => heading)],
    d.rows.map((r, i) => [
      d.labels[i] as string,
      ...QUARTERS.map((q) => format(atPart(r.timeline, column, q), r)),
      ...more.map(([, of]) => of(r)),
    ]),
  );
}

export function memorySection(d: Drawing): string {
  const page = (r: ReplayedRow) => r.config.pageSize;
  const cachedPeak = most(d, (r) => peak(r.timeline.cached_pages) * page(r));
  if (cachedPeak === 0) return '';
  const dirty = most(d, (r) => peak(r.timeline.dirty_pages)) > 0;
  // A limit far above all that was cached would press the curves to the ground.
  const limited = (r: ReplayedRow) => r.config.memcg > 0 && r.config.memcg <= 1.5 * cachedPeak;
  const top = Math.max(
    cachedPeak,
    most(d, (r) => (limited(r) ? r.config.memcg : 0)),
  );
  const bytes = (n: number, r: ReplayedRow) => formatBytes(n * page(r));
  const keys: Key[] = [
    ['active', 'active'],
    ['inactive', 'inactive'],
    ['cached', 'all that is cached'],
  ];
  if (dirty) keys.push(['dirty dashed', 'dirty']);
  if (d.rows.some(limited)) keys.push(['limit dotted', 'limit']);
  const series = (r: ReplayedRow, moments: readonly number[]): Series[] => {
    const of = (column: TimelineColumn) => at(moments, r.timeline[column]).map((n) => n * page(r));
    const active = of('active_pages');
    const both = of('inactive_pages').map((n, i) => n + (active[i] as number));
    const out: Series[] = [
      { kind: 'area', name: 'active', values: active },
      { kind: 'area', name: 'inactive', values: both, floor: active },
      { kind: 'line', name: 'cached', values: of('cached_pages') },
    ];
    if (dirty) out.push({ kind: 'line', name: 'dirty dashed', values: of('dirty_pages') });
    if (limited(r)) out.push({ kind: 'line', name: 'limit dotted', values: moments.map(() => r.config.memcg) });
    return out;
  };
  const words = (r: ReplayedRow) =>
    `page cache over the replay, at most ${bytes(peak(r.timeline.cached_pages), r)}, at the end ${bytes(end(r.timeline.cached_pages), r)}`;
  return `<div data-moments>
<p>The page cache while the recording is replayed, by the <a href="#term-lru">LRU lists</a> that its folios are on. All panels have one scale.</p>
${legend(keys)}${moment('Moment')}${panels(d, 'memory', top, formatBytes, series, words)}</div>
${asTable(
  'Memory over time',
  quarterTable(d, 'Page cache', 'cached_pages', bytes, [
    ['most', (r) => bytes(peak(r.timeline.cached_pages), r)],
    ['most dirty', (r) => bytes(peak(r.timeline.dirty_pages), r)],
    ['active at the end', (r) => bytes(end(r.timeline.active_pages), r)],
  ]),
)}`;
}

export function ioSection(d: Drawing): string {
  const writes = most(d, (r) => end(r.timeline.writes)) > 0;
  const picture = (
    title: string,
    what: 'bytes' | 'requests',
    read: TimelineColumn,
    written: TimelineColumn,
    format: (n: number) => string,
  ) => {
    const top = Math.max(
      most(d, (r) => end(r.timeline[read])),
      most(d, (r) => end(r.timeline[written])),
    );
    const series = (r: ReplayedRow, moments: readonly number[]): Series[] => [
      { kind: 'line', name: 'read', values: at(moments, r.timeline[read]) },
      ...(writes ? [{ kind: 'line', name: 'write dashed', values: at(moments, r.timeline[written]) } as const] : []),
    ];
    const words = (r: ReplayedRow) =>
      `${what} so far, at the end ${format(end(r.timeline[read]))} read${writes ? ` and ${format(end(r.timeline[written]))} written` : ''}`;
    return `<h3>${title}</h3>\n${panels(d, what, top, format, series, words)}`;
  };
  if (most(d, (r) => end(r.timeline.reads) + end(r.timeline.writes)) === 0) return '';
  const keys: Key[] = [['read', 'read'], ...(writes ? ([['write dashed', 'written']] as const) : [])];
  const bytes = (n: number) => formatBytes(n);
  return `<div data-moments>
<p>What has gone to and come from the device so far. All panels of a picture have one scale.</p>
${legend(keys)}${moment('Moment')}${picture('Bytes', 'bytes', 'read_bytes', 'written_bytes', formatBytes)}${picture('Requests', 'requests', 'reads', 'writes', formatCount)}</div>
${asTable(
  'I/O over time',
  quarterTable(d, 'Bytes read so far', 'read_bytes', bytes) +
    quarterTable(d, 'Read requests so far', 'reads', formatCount) +
    (writes
      ? quarterTable(d, 'Bytes written so far', 'written_bytes', bytes) +
        quarterTable(d, 'Write requests so far', 'writes', formatCount)
      : ''),
)}`;
}
