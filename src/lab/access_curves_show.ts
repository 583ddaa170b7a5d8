/** Curves as text and as pictures. */
import { formatBytes } from '../base/units.ts';
import { htmlTable } from '../view/html.ts';
import { plot } from '../view/pictures.ts';
import { type AccessCurves, type Curve, missesWith } from './access_curves.ts';
import { formatCount } from './compare_columns.ts';
import { type Cells, columnsText } from './compare_text.ts';
import { asTable } from './report_parts.ts';

/** Powers of two from `from` until all curves are flat. */
function doublings(curves: readonly Curve[], from: number, unit: (c: Curve) => number): number[] {
  const end = Math.max(...curves.map((c) => c.pages * unit(c)));
  const out: number[] = [];
  for (let n = from; n < end * 2 && out.length < 40; n *= 2) out.push(n);
  return out;
}

const rate = (n: number): string =>
  n === 0 ? '0' : n >= 100 ? n.toFixed(0) : n >= 1 ? n.toFixed(2) : n.toPrecision(2);

const WAYS = [1, 2, 4, 5, 6, 8, 12, 16];

interface Shown {
  readonly title: string;
  readonly first: string;
  readonly rows: readonly string[];
  readonly columns: readonly { readonly heading: string; readonly cells: readonly string[] }[];
}

function shown(c: AccessCurves): Shown[] {
  const entries = doublings(c.tlb, 16, () => 1);
  const bytes = doublings(c.memory, 2 ** 20, (m) => m.page_bytes);
  const perK = (n: number): string => (c.data_accesses === 0 ? '-' : rate((1000 * n) / c.data_accesses));
  return [
    {
      title: 'TLB misses per thousand loads and stores, against entries (fully associative, LRU)',
      first: 'entries',
      rows: entries.map(formatCount),
      columns: c.tlb.map((curve) => ({
        heading: `pages of ${formatBytes(curve.page_bytes)}`,
        cells: entries.map((n) => perK(missesWith(curve, n))),
      })),
    },
    {
      title: `TLB misses per thousand loads and stores, by sets and ways (pages of ${formatBytes(c.tlb[0]?.page_bytes ?? 0)}, LRU)`,
      first: 'ways',
      rows: WAYS.map(formatCount),
      columns: c.tlb_sets.map(({ sets, misses }) => ({
        heading: `${sets} sets`,
        cells: WAYS.map((ways) => perK(misses[ways - 1] ?? Number.NaN)),
      })),
    },
    {
      title: 'Faults, and among them refaults, against memory (LRU, folios of one size)',
      first: 'memory',
      rows: bytes.map(formatBytes),
      columns: c.memory.flatMap((curve) => {
        const faults = bytes.map((n) => (n < curve.page_bytes ? Number.NaN : missesWith(curve, n / curve.page_bytes)));
        const cells = (of: (n: number) => number): string[] =>
          faults.map((n) => (Number.isNaN(n) ? '-' : formatCount(of(n))));
        return [
          { heading: `folios of ${formatBytes(curve.page_bytes)}`, cells: cells((n) => n) },
          { heading: 'refaults', cells: cells((n) => n - curve.pages) },
        ];
      }),
    },
  ];
}

export const curvesText = (c: AccessCurves): string =>
  shown(c)
    .map(({ title, first, rows, columns }) => {
      const all: Cells[] = [{ heading: first, cells: rows }, ...columns];
      return `\n${title}\n${columnsText(all, rows.length)}`;
    })
    .join('');

const LINES = ['read', 'write dashed', 'limit dotted'];

export function curvesSection(c: AccessCurves): string {
  const panel = (
    curves: readonly Curve[],
    unit: (m: Curve) => number,
    words: string,
    axis: (n: number) => string,
  ): string => {
    const end = Math.max(...curves.map((m) => m.pages * unit(m)));
    const start = Math.min(...curves.map(unit));
    const steps = Math.max(1, Math.ceil(Math.log2(end / start) * 4));
    const xs = Array.from({ length: steps + 1 }, (_, i) => i);
    const size = (i: number): number => start * 2 ** (i / 4);
    const top = Math.max(...curves.map((m) => m.misses[0] ?? 0));
    const series = curves.map((m, k) => ({
      kind: 'line' as const,
      name: LINES[k] as string,
      values: xs.map((i) => missesWith(m, size(i) / unit(m))),
    }));
    const keys = curves.map(
      (m, k) =>
        `<li><svg viewBox="0 0 20 8" aria-hidden="true"><path class="key ${LINES[k]}" d="M0 4h20"/></svg>${formatBytes(m.page_bytes)}</li>`,
    );
    return `<figure><figcaption>${words}<small>top: ${formatCount(top)}</small></figcaption>
<div class="frame">${plot(xs, series, top, words)}</div><div class="axis"><span>${axis(start)}</span><span>${axis(end)}</span></div></figure>\n<ul class="legend">${keys.join('')}</ul>\n`;
  };
  const tables = shown(c).map(({ title, first, rows, columns }) =>
    htmlTable(
      title,
      [first, ...columns.map(({ heading }) => heading)],
      rows.map((row, i) => [row, ...columns.map(({ cells }) => cells[i] as string)]),
    ),
  );
  return `<p>Misses of true LRU for all sizes at once; sizes double from left to right.</p>
<div class="panels"><div>${panel(
    c.tlb,
    () => 1,
    'TLB misses against entries, by page',
    (n) => `${formatCount(Math.round(n))} entries`,
  )}</div>
<div>${panel(
    c.memory,
    (m) => m.page_bytes,
    'Faults against memory, by folio',
    (n) => formatBytes(Math.round(n)),
  )}</div></div>
${asTable('Curves', tables.join(''))}`;
}
