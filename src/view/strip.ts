/**
 * A file as a strip: its pages from left to right, what is cached drawn in the colour of its folio's order.
 *
 *   pages    0   1   2   3   4   5   6   7   8   9  10  11
 *   folios  [      order 2      ][ 1  ]          [ 0 ]
 *
 * A file of more pages than the strip has columns is drawn in columns of several pages: each has the order that most of its
 * cached pages are in, and a height that says how much of it is cached.
 */

export const STRIP_COLUMNS = 512;
/** Heights of a column. */
export const STRIP_LEVELS = 8;
/** Room for the orders: as many as a folio of a page cache can have, and more. */
const ORDERS = 16;

/** A run of equal columns: first column, columns, order, height from 1 to STRIP_LEVELS. */
export type StripRun = readonly [column: number, columns: number, order: number, level: number];

export interface Strip {
  /** Pages of the file. */
  readonly pages: number;
  readonly columns: number;
  /** In ascending order. One run a folio where a column is a page. */
  readonly runs: readonly StripRun[];
}

/** The strip of a file of `pages` pages; folios, in ascending order, as page index and order. */
export function stripOf(
  folios: readonly (readonly [index: number, order: number, ...rest: number[]])[],
  pages: number,
): Strip {
  if (pages <= STRIP_COLUMNS) {
    const runs = folios
      .filter(([index]) => index < pages)
      .map(([index, order]): StripRun => [index, Math.min(2 ** order, pages - index), order, STRIP_LEVELS]);
    return { pages, columns: pages, runs };
  }
  const perColumn = pages / STRIP_COLUMNS;
  const cached = new Float64Array(STRIP_COLUMNS * ORDERS);
  for (const [index, order] of folios) {
    const end = Math.min(index + 2 ** order, pages);
    for (let at = index; at < end; ) {
      const column = Math.min(Math.floor(at / perColumn), STRIP_COLUMNS - 1);
      const next = column === STRIP_COLUMNS - 1 ? end : Math.min(end, (column + 1) * perColumn);
      cached[column * ORDERS + order] += next - at;
      // Rounding may leave `at` a hair before the column's end: the next column takes it.
      at = next > at ? next : end;
    }
  }
  const runs: [number, number, number, number][] = [];
  for (let column = 0; column < STRIP_COLUMNS; column++) {
    const at = cached.subarray(column * ORDERS, (column + 1) * ORDERS);
    const sum = at.reduce((a, b) => a + b, 0);
    if (sum === 0) continue;
    const order = at.indexOf(Math.max(...at));
    const level = Math.max(1, Math.min(STRIP_LEVELS, Math.round((sum / perColumn) * STRIP_LEVELS)));
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === column && last[2] === order && last[3] === level) last[1]++;
    else runs.push([column, 1, order, level]);
  }
  return { pages, columns: STRIP_COLUMNS, runs };
}
