/**
 * How many pages and folios of each base page size a set of cached byte ranges takes. Ranges are counted as they come and
 * never kept, so the count of a million files is three small records.
 *
 * A page is cached when a byte of it is. Folios are counted in the two ways that bracket every real cache: each page a folio
 * of its own, or the fewest folios that can hold those pages, each naturally aligned with a power of two of pages:
 *
 *   pages     0 1 2 3 4 5 6 7 8 9 10
 *   fewest   [       8       ][2 ][1]
 */

export const pageSizes: readonly number[] = [4096, 16384, 65536];

/**
 * Largest order of a file's folios: a PMD's worth of pages, within what two levels of the page cache's tree can span.
 * @kernel include/linux/pagemap.h MAX_PAGECACHE_ORDER (6.18)
 */
export const maxFolioOrder = (pageSize: number): number => Math.min(11, Math.log2(pageSize / 8));

/** One base page size. */
export interface PageCount {
  readonly pageSize: number;
  pages: number;
  /** Of the fewest folios: those of one page, and those of more. */
  small: number;
  large: number;
}

interface Tally extends PageCount {
  readonly maxFolioPages: number;
  /** The run of pages that the ranges of the open file have made so far, not yet counted as folios. */
  runFrom: number;
  runTo: number;
}

export class CacheCount {
  /** Files of which at least one byte is cached, and empty files where whole files are counted. */
  files = 0;
  /** Bytes of files, without rounding. Exact to 8 PiB. */
  bytes = 0;
  private readonly tallies: readonly Tally[] = pageSizes.map((pageSize) => ({
    pageSize,
    pages: 0,
    small: 0,
    large: 0,
    maxFolioPages: 2 ** maxFolioOrder(pageSize),
    runFrom: 0,
    runTo: 0,
  }));

  get sizes(): readonly PageCount[] {
    return this.tallies;
  }

  /** A file cached whole. */
  addFile(bytes: number): void {
    this.addRange(0, bytes);
    this.endFile();
  }

  /** Bytes [from, to) of the open file. Ranges come in ascending order and do not overlap. */
  addRange(from: number, to: number): void {
    if (to <= from) return;
    this.bytes += to - from;
    for (const tally of this.tallies) {
      const end = Math.ceil(to / tally.pageSize);
      const start = Math.floor(from / tally.pageSize);
      if (start > tally.runTo) {
        countRun(tally);
        tally.runFrom = start;
      }
      tally.runTo = end;
    }
  }

  /** Ends the open file, and counts it. */
  endFile(): void {
    this.files++;
    for (const tally of this.tallies) {
      countRun(tally);
      tally.runFrom = 0;
      tally.runTo = 0;
    }
  }
}

/** Counts the run of a tally as pages, and as the fewest aligned folios. */
function countRun(tally: Tally): void {
  const { runFrom: from, runTo: to, maxFolioPages: most } = tally;
  if (to === from) return;
  tally.pages += to - from;
  const small = (from % 2) + (to % 2);
  const up = Math.ceil(from / most) * most;
  const down = Math.floor(to / most) * most;
  const folios =
    up <= down ? ones(up - from) + (down - up) / most + ones(to - down) : insideOne(from - down, to - down);
  tally.small += small;
  tally.large += folios - small;
}

/** Folios of a run between two multiples of the largest folio: the largest that is aligned at `from` and still fits, again and again. */
function insideOne(from: number, to: number): number {
  let folios = 0;
  for (let at = from; at < to; folios++) {
    let pages = at & -at;
    while (at + pages > to) pages >>= 1;
    at += pages;
  }
  return folios;
}

function ones(n: number): number {
  let count = 0;
  for (let left = n; left > 0; left &= left - 1) count++;
  return count;
}
