/**
 * Which pages of anonymous memory hold something other than zeros. There are no bytes here; what is known is whether somebody has
 * stored into a page since it was new. A bit a frame, of which memory that nobody stores into costs the host nothing.
 *
 * A split maps the zero page where a page holds nothing, and the shrinker counts such pages in huge pages.
 */
import { NO_PFN, type Pfn } from './ids.ts';
import type { Machine } from './machine.ts';

export const writtenInit = (frames: number): Int32Array => new Int32Array((frames + 31) >>> 5);

/** A store into a page, or its contents come from elsewhere. */
export function setPageWritten(m: Machine, page: number): void {
  m.written[page >>> 5] |= 1 << (page & 31);
}

/** Does the page hold nothing but zeros? @kernel mm/util.c pages_identical (6.18) */
export const pageZeroFilled = (m: Machine, page: Pfn): boolean =>
  !m.contentsUnknown && (m.written[page >>> 5] & (1 << (page & 31))) === 0;

/** Pages of a new folio, all zeros. `page` is a multiple of `nr`, a power of two. */
export function clearPagesWritten(m: Machine, page: number, nr: number): void {
  const { written } = m;
  if (nr < 32) {
    const mask = ((1 << nr) - 1) << (page & 31);
    if ((written[page >>> 5] & mask) !== 0) written[page >>> 5] &= ~mask;
    return;
  }
  for (let w = page >>> 5, end = (page + nr) >>> 5; w < end; w++) if (written[w] !== 0) written[w] = 0;
}

/** The pages hold what is not known: they come from a file or from swap. */
export function setPagesWritten(m: Machine, page: number, nr: number): void {
  for (let p = page; p < page + nr; p++) setPageWritten(m, p);
}

/** A page's contents are copied; of a file's page (from 0) nothing is known. */
export function copyPageWritten(m: Machine, to: number, from: Pfn): void {
  if (from !== NO_PFN && pageZeroFilled(m, from)) clearPagesWritten(m, to, 1);
  else setPageWritten(m, to);
}
