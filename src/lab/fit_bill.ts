/**
 * The bill of a machine that caches some files: memory map, page cache and folio descriptors, by base page size and by
 * layout of the map.
 *
 *   total = bytesPerPage × memory / pageSize  +  pages × pageSize  +  descriptors
 *           grows with the machine               grow with what is cached
 *
 * A larger page or a smaller layout saves in proportion to the machine's memory and costs in proportion to the files. They
 * are equal at one size of memory, the break-even: every larger machine saves. The measure is today's 4 KiB page with 64
 * bytes of map.
 */
import { folioDescriptorBytes, type LayoutName, type MemmapLayout, mapBytes, memmapLayouts } from '../mm/memmap.ts';
import type { PageCount } from './fit_count.ts';

const GIB = 2 ** 30;

/** One base page size: what the files take in the page cache. */
export interface PageSizeRow {
  readonly pageSize: number;
  readonly pages: number;
  readonly cacheBytes: number;
  /** cacheBytes less the files' own bytes. */
  readonly roundingBytes: number;
  /** cacheBytes over that of 4 KiB pages; null when nothing is cached. */
  readonly ratio: number | null;
  /** How many files of this mean size one GiB of page cache holds; null when nothing is cached. */
  readonly filesPerGib: number | null;
}

/** `any`: the layout costs the same whatever the folios. */
export type Folios = 'any' | 'one-page' | 'largest';

export interface BillRow {
  readonly pageSize: number;
  readonly layout: LayoutName;
  readonly folios: Folios;
  readonly folioCount: number | null;
  readonly mapBytes: number;
  readonly descriptorBytes: number;
  readonly cacheBytes: number;
  readonly totalBytes: number;
  /** The total less that of 4 KiB pages on page64: above 0 it costs. */
  readonly differenceBytes: number;
  /** Memory of the machine at which the difference is 0; null where there is none for any machine. */
  readonly breakEvenBytes: number | null;
}

export interface Bill {
  readonly files: number;
  readonly bytes: number;
  readonly pageSizes: readonly PageSizeRow[];
  readonly rows: readonly BillRow[];
}

/** Cached files: a CacheCount. Sizes as pageSizes lists them, 4 KiB first. */
export interface Counted {
  readonly files: number;
  readonly bytes: number;
  readonly sizes: readonly PageCount[];
}

export function bill(count: Counted, memory: number): Bill {
  const base = count.sizes[0] as PageCount;
  const baseCache = base.pages * base.pageSize;
  const baseLayout = memmapLayouts[0] as MemmapLayout;
  const baseTotal = mapBytes(baseLayout, memory, base.pageSize) + baseCache;

  const rows: BillRow[] = [];
  for (const size of count.sizes)
    for (const layout of memmapLayouts)
      for (const folios of layout.folioBytesSmall === 0 ? (['any'] as const) : (['one-page', 'largest'] as const)) {
        const map = mapBytes(layout, memory, size.pageSize);
        const descriptors = Math.round(descriptorBytes(size, layout, folios));
        const cacheBytes = size.pages * size.pageSize;
        const saved = baseLayout.bytesPerPage / base.pageSize - layout.bytesPerPage / size.pageSize;
        rows.push({
          pageSize: size.pageSize,
          layout: layout.name,
          folios,
          folioCount: folios === 'any' ? null : folios === 'one-page' ? size.pages : size.small + size.large,
          mapBytes: map,
          descriptorBytes: descriptors,
          cacheBytes,
          totalBytes: map + descriptors + cacheBytes,
          differenceBytes: map + descriptors + cacheBytes - baseTotal,
          breakEvenBytes: saved === 0 ? null : Math.ceil((cacheBytes - baseCache + descriptors) / saved),
        });
      }
  return {
    files: count.files,
    bytes: count.bytes,
    pageSizes: count.sizes.map((size) => pageSizeRow(size, count, baseCache)),
    rows,
  };
}

function pageSizeRow(size: PageCount, count: Counted, baseCache: number): PageSizeRow {
  const cacheBytes = size.pages * size.pageSize;
  return {
    pageSize: size.pageSize,
    pages: size.pages,
    cacheBytes,
    roundingBytes: cacheBytes - count.bytes,
    ratio: baseCache === 0 ? null : cacheBytes / baseCache,
    filesPerGib: cacheBytes === 0 ? null : Math.floor((count.files / cacheBytes) * GIB),
  };
}

function descriptorBytes(size: PageCount, layout: MemmapLayout, folios: Folios): number {
  if (folios === 'any') return 0;
  const options = { pageSize: size.pageSize };
  const small = folioDescriptorBytes(layout, false, options);
  if (folios === 'one-page') return size.pages * small;
  return size.small * small + size.large * folioDescriptorBytes(layout, true, options);
}
