/** What the sections of a report share: the rows they are drawn from, boxes that scroll, legends. */
import { escapeHtml } from '../view/html.ts';
import type { CompareRow, Comparison } from './compare.ts';
import { keysOf } from './compare_columns.ts';
import type { Figures } from './compare_figures.ts';
import { rowWords } from './compare_says.ts';

/** A row that was replayed. */
export interface ReplayedRow extends CompareRow {
  readonly figures: Figures;
  readonly timeline: NonNullable<CompareRow['timeline']>;
  readonly files: NonNullable<CompareRow['files']>;
}

export interface Drawing {
  readonly rows: readonly ReplayedRow[];
  /** Their names: as text, and as HTML that breaks between settings only. */
  readonly names: readonly string[];
  readonly labels: readonly string[];
  /** Colours of the ramps: up to the largest order, and the largest log2 of a request's pages. */
  readonly orders: number;
  readonly sizes: number;
  /** Values of the setting that varies fastest: panels stand in as many columns, where there is room. */
  readonly fastest: number;
}

/** With fewer colours than this, two orders side by side would look worlds apart. */
const STEPS_MIN = 5;

export function drawingOf(c: Comparison): Drawing {
  const rows = c.rows.filter((r): r is ReplayedRow => r.figures !== null && r.timeline !== null && r.files !== null);
  const figures = rows.map((r) => r.figures);
  const orders = keysOf(figures.flatMap((f) => [f.added_by_order, f.cached_by_order]));
  const sizes = keysOf(figures.flatMap((f) => [f.reads_by_pages, f.writes_by_pages])).map(Math.log2);
  return {
    rows,
    names: rows.map((r) => rowWords(r.set)),
    labels: rows.map((r) => escapeHtml(rowWords(r.set)).replace(/(?<!,) /g, '\u00a0')),
    orders: Math.max(STEPS_MIN, 1 + Math.max(0, ...orders)),
    sizes: Math.max(STEPS_MIN, 1 + Math.max(0, ...sizes)),
    fastest: c.vary.at(-1)?.values.length ?? 1,
  };
}

/** A number stays on a line with its unit. */
export const unbroken = (html: string): string => html.replace(/(?<=\d) (?=[%×]|[KMGTP]i?B\b|B\b)/g, '\u00a0');

/** A table that may be wider than a phone scrolls inside its box. */
export const scrolling = (label: string, table: string): string =>
  `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}">${table}</div>\n`;

/** The numbers of a picture, for who cannot see it or wants them exact. */
export const asTable = (label: string, table: string): string =>
  `<details><summary>${escapeHtml(label)} as a table</summary>\n${scrolling(`${label}, table`, table)}</details>\n`;
