/**
 * The vmemmap optimisation in a bill: what the memory map of huge page pools costs when all but one page of each huge page's map are
 * given back (mm/hugetlb_vmemmap.ts). Today's layouts have it as a switch; a plan's map is of words that are all alike within a
 * huge page, so the same could be done, where it is more than one page. Counted for every pool page of the census.
 */
import { CENSUS_ORDERS, type Census, OWNER_ROW } from '../mm/census.ts';
import { vmemmapOptimizablePages } from '../mm/hugetlb_vmemmap.ts';
import { type LayoutName, type MemmapLayout, memmapLayouts } from '../mm/memmap.ts';

/** A layout's total when pools are optimised. */
export interface HvoRow {
  readonly layout: LayoutName;
  readonly savedBytes: number;
  readonly totalBytes: number;
  /** To page64 with pools optimised: above 0 it costs. */
  readonly differenceBytes: number;
}

/** What the map of one pool page costs, its descriptor with it: as it is, and optimised. */
export interface HvoSize {
  readonly order: number;
  readonly bytes: number;
  /** In the census. */
  readonly pages: number;
  readonly plainBytes: { readonly [L in LayoutName]: number };
  readonly optimisedBytes: { readonly [L in LayoutName]: number };
}

export interface HvoBill {
  readonly rows: readonly HvoRow[];
  readonly sizes: readonly HvoSize[];
}

/** Orders of the census's pool pages. */
function pools(census: Census): number[] {
  const orders: number[] = [];
  for (let order = 0; order < CENSUS_ORDERS; order++)
    if ((census.pieces[OWNER_ROW.hugetlb + order] as number) > 0) orders.push(order);
  return orders;
}

const savedBytes = (layout: MemmapLayout, order: number, pageSize: number): number =>
  vmemmapOptimizablePages(order, pageSize, layout.bytesPerPage) * pageSize;

/** Null: the census has no pool. `totals`: by layout, not optimised; `descriptor`: bytes of a folio's. */
export function hvoBill(
  census: Census,
  totals: readonly number[],
  descriptor: (layout: MemmapLayout, order: number) => number,
): HvoBill | null {
  const orders = pools(census);
  if (orders.length === 0) return null;
  const { pageSize, pieces } = census;
  const saved = memmapLayouts.map((layout) =>
    orders.reduce((sum, o) => sum + (pieces[OWNER_ROW.hugetlb + o] as number) * savedBytes(layout, o, pageSize), 0),
  );
  const base = (totals[0] as number) - (saved[0] as number);
  const byLayout = (of: (layout: MemmapLayout) => number): { [L in LayoutName]: number } =>
    Object.fromEntries(memmapLayouts.map((layout) => [layout.name, of(layout)])) as { [L in LayoutName]: number };
  return {
    rows: memmapLayouts.map((layout, i) => {
      const totalBytes = (totals[i] as number) - (saved[i] as number);
      return { layout: layout.name, savedBytes: saved[i] as number, totalBytes, differenceBytes: totalBytes - base };
    }),
    sizes: orders.map((order) => {
      const plain = (layout: MemmapLayout): number => layout.bytesPerPage * 2 ** order + descriptor(layout, order);
      return {
        order,
        bytes: pageSize * 2 ** order,
        pages: pieces[OWNER_ROW.hugetlb + order] as number,
        plainBytes: byLayout(plain),
        optimisedBytes: byLayout((layout) => plain(layout) - savedBytes(layout, order, pageSize)),
      };
    }),
  };
}
