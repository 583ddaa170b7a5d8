/**
 * Pictures as inline SVG, from plain numbers. Each stretches to the width it is given; none holds text that would be
 * stretched with it. Colours are custom properties of the page (ramp.ts), so one picture serves light and dark.
 */
import { escapeHtml } from './html.ts';
import { STRIP_LEVELS, type Strip } from './strip.ts';

/** A part of a bar: its amount, its colour (the name of a property; its ink is NAMEi), what is written on it where there is room, and what it is in words. */
export interface BarPart {
  readonly amount: number;
  readonly colour: string;
  readonly label: string;
  readonly title: string;
}

const percent = (part: number, whole: number): string => `${Number(((100 * part) / whole).toFixed(3))}%`;

/** A bar of parts, as long as its sum is of `scale`. */
export function stackedBar(parts: readonly BarPart[], scale: number, words: string): string {
  let at = 0;
  let inside = '';
  for (const { amount, colour, label, title } of parts) {
    if (amount <= 0 || scale <= 0) continue;
    inside += `<g><title>${escapeHtml(title)}</title><rect x="${percent(at, scale)}" width="${percent(amount, scale)}" height="100%" fill="var(--${colour})"/>`;
    if (amount / scale >= 0.02 + 0.022 * label.length)
      inside += `<text x="${percent(at + amount / 2, scale)}" y="50%" fill="var(--${colour}i)">${escapeHtml(label)}</text>`;
    inside += '</g>';
    at += amount;
  }
  return `<svg class="bar" role="img" aria-label="${escapeHtml(words)}">${inside}</svg>`;
}

/** Folios as boxes with gaps between them, while there is room for gaps. */
const BOXES_MAX = 128;

/** A file's folios: `colourOf` names the property that holds the colour of an order. */
export function stripPicture(strip: Strip, colourOf: (order: number) => string, words: string): string {
  const paths = new Map<string, string>();
  for (const [column, columns, order, level] of strip.runs) {
    const colour = colourOf(order);
    const path = `M${column} ${STRIP_LEVELS - level}h${columns}V${STRIP_LEVELS}h-${columns}z`;
    paths.set(colour, (paths.get(colour) ?? '') + path);
  }
  const boxes = strip.columns <= BOXES_MAX ? ' boxes' : '';
  const inside = [...paths].map(([colour, d]) => `<path fill="var(--${colour})" d="${d}"/>`).join('');
  const size = `viewBox="0 0 ${strip.columns} ${STRIP_LEVELS}" preserveAspectRatio="none"`;
  return `<svg class="strip${boxes}" ${size} role="img" aria-label="${escapeHtml(words)}">${inside}</svg>`;
}

/** A series of a plot. An area reaches down to `floor` (0 where absent). */
export interface Series {
  readonly kind: 'line' | 'area';
  /** Class of the path: colour and dashes are the page's. */
  readonly name: string;
  readonly values: readonly number[];
  readonly floor?: readonly number[];
}

/** Size of a plot in its own units; it is stretched to its place. */
const PLOT_WIDTH = 300;
const PLOT_HEIGHT = 100;

/** Series over `xs`, which ascend; `scale` is the top of the plot. */
export function plot(xs: readonly number[], series: readonly Series[], scale: number, words: string): string {
  const last = xs.at(-1) ?? 0;
  const x = (i: number) => (last === 0 ? 0 : Math.round((10 * PLOT_WIDTH * xs[i]) / last) / 10);
  const y = (v: number) => Math.round(10 * PLOT_HEIGHT * (scale === 0 ? 1 : 1 - v / scale)) / 10;
  const inside = series
    .map(({ kind, name, values, floor }) => {
      const top = points(values.map((v, i) => [x(i), y(v)]));
      const bottom = kind === 'line' ? [] : points(values.map((_, i) => [x(i), y(floor?.[i] ?? 0)])).toReversed();
      const d = [...top, ...bottom].map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${px} ${py}`).join('');
      return `<path class="${name}" d="${d}${kind === 'area' ? 'z' : ''}"/>`;
    })
    .join('');
  const size = `viewBox="0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}" preserveAspectRatio="none"`;
  return `<svg class="plot" ${size} role="img" aria-label="${escapeHtml(words)}">${inside}</svg>`;
}

/** Leaves out what lies inside a level stretch. */
function points(all: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  return all.filter(([, y], i) => i === 0 || i === all.length - 1 || all[i - 1][1] !== y || all[i + 1][1] !== y);
}
