/**
 * The bill of a census: what the memory map and its descriptors cost under every layout, and from which folio size on a
 * layout wins.
 *
 *   total = bytesPerPage × frames + descriptors + slab rounding
 *
 * `descriptors` is their number times their size. They are slab objects, so whole slabs are paid: what that adds (alignment, a
 * free pointer behind the object, the end of each slab, the last slab of each cache) is the rounding. Every slab needs a
 * descriptor, those that hold slab descriptors too.
 *
 * A folio of n pages saves (64 - bytesPerPage) × n and costs one descriptor: below the break-even size a layout costs more
 * than today's for that folio, and what pays for it is larger folios and memory that needs no descriptor.
 */
import { QuireError } from '../base/errors.ts';
import { CENSUS_ORDERS, type Census, OWNER_ROW, type Owner, ownerPages, ownerPieces } from '../mm/census.ts';
import {
  DESCRIPTOR_ALIGN,
  type LayoutName,
  type MemmapLayout,
  mapBytes,
  memmapLayout,
  memmapLayouts,
  type SlabShape,
  slabShape,
} from '../mm/memmap.ts';
import { type HvoBill, hvoBill } from './bill_hvo.ts';

export interface BillOptions {
  /** Descriptor caches are type-stable by RCU and name no place for the free pointer. */
  readonly rcuFreePointer: boolean;
}

export const descriptorKinds = [
  'small folio',
  'large folio',
  'slab',
  'page table',
  'zsmalloc',
  'net pool',
  'hwpoison',
] as const;
export type DescriptorKind = (typeof descriptorKinds)[number];

/** One descriptor cache. */
export interface DescriptorRow {
  readonly kind: DescriptorKind;
  readonly count: number;
  /** Of the descriptor, and with alignment and free pointer. */
  readonly bytes: number;
  readonly objectBytes: number;
  readonly slabs: number;
  /** All slabs of the cache. */
  readonly slabBytes: number;
}

export interface LayoutBill {
  readonly layout: LayoutName;
  readonly shipped: boolean;
  readonly mapBytes: number;
  readonly descriptorBytes: number;
  readonly roundingBytes: number;
  readonly totalBytes: number;
  /** The total over the bytes of memory. */
  readonly share: number;
  /** The total less that of page64: above 0 it costs. */
  readonly differenceBytes: number;
  readonly descriptors: readonly DescriptorRow[];
}

/** What one more folio of this order saves against page64, descriptor, slab rounding and slab descriptor paid; below 0 it costs. */
export interface OrderRow {
  readonly order: number;
  readonly bytes: number;
  /** Folios of this order in the census. */
  readonly folios: number;
  readonly savedBytes: { readonly [L in PlanName]: number };
}

export type PlanName = 'page32' | 'memdesc8';
export const planNames: readonly PlanName[] = ['page32', 'memdesc8'];

export interface BreakEven {
  readonly layout: PlanName;
  /** The smallest order whose folios save, and its bytes. */
  readonly order: number;
  readonly bytes: number;
  /** What all folios of the census cost more (above 0) or less than on page64; null: it has none. */
  readonly foliosDifferenceBytes: number | null;
  /** Mean bytes a folio above which these folios save, with this census's share of one-page folios; null: it has no folios. */
  readonly meanBytes: number | null;
  /** The same for the whole machine, whose other memory saves as well; 0: any. */
  readonly machineMeanBytes: number | null;
}

export interface MapBill {
  readonly rows: readonly LayoutBill[];
  readonly orders: readonly OrderRow[];
  readonly breakEven: readonly BreakEven[];
  /** With the vmemmap optimisation; null: the census has no huge page pools. */
  readonly hvo: HvoBill | null;
  /** Folios of the census, and their mean bytes; null: it has none. */
  readonly folios: number;
  readonly meanFolioBytes: number | null;
}

const folioOwners: readonly Owner[] = ['file', 'shmem', 'anon', 'hugetlb'];

/** Folios by order. */
function foliosByOrder(census: Census): number[] {
  const folios: number[] = [];
  for (let order = 0; order < CENSUS_ORDERS; order++)
    folios.push(folioOwners.reduce((sum, owner) => sum + (census.pieces[OWNER_ROW[owner] + order] as number), 0));
  return folios;
}

export function billOf(census: Census, options: BillOptions): MapBill {
  const folios = foliosByOrder(census);
  const rows: LayoutBill[] = [];
  for (const layout of memmapLayouts) rows.push(layoutBill(layout, census, folios, options, rows[0]));
  const count = folios.reduce((sum, n) => sum + n, 0);
  const pages = folios.reduce((sum, n, order) => sum + n * 2 ** order, 0);
  const most = Math.max(9, ...folios.map((n, order) => (n > 0 ? order : 0)));
  const orders: OrderRow[] = [];
  for (let order = 0; order <= most; order++)
    orders.push({
      order,
      bytes: census.pageSize * 2 ** order,
      folios: folios[order] as number,
      savedBytes: {
        page32: folioSaves(memmapLayout('page32'), order, census.pageSize, options),
        memdesc8: folioSaves(memmapLayout('memdesc8'), order, census.pageSize, options),
      },
    });
  return {
    rows,
    orders,
    breakEven: planNames.map((name) => breakEven(memmapLayout(name), census, folios, options)),
    hvo: hvoBill(
      census,
      rows.map((row) => row.totalBytes),
      (layout, order) => (layout.folioBytesLarge === 0 ? 0 : folioCosts(layout, order, census.pageSize, options)),
    ),
    folios: count,
    meanFolioBytes: count === 0 ? null : (pages / count) * census.pageSize,
  };
}

function shapeOf(bytes: number, pageSize: number, options: BillOptions): SlabShape {
  return slabShape(bytes, { pageSize, align: DESCRIPTOR_ALIGN, freePointerApart: options.rcuFreePointer });
}

/** How many of each kind the layout needs, without the descriptors of its descriptors' slabs. */
function wanted(census: Census, folios: readonly number[]): readonly number[] {
  const small = folios[0] as number;
  return [
    small,
    folios.reduce((sum, n) => sum + n, 0) - small,
    ownerPieces(census, 'slab'),
    ownerPieces(census, 'table'),
    ownerPages(census, 'zsmalloc'),
    ownerPieces(census, 'netpool'),
    ownerPages(census, 'hwpoison'),
  ];
}

const sizesOf = (layout: MemmapLayout): readonly number[] => [
  layout.folioBytesSmall,
  layout.folioBytesLarge,
  layout.slabBytes,
  layout.tableBytes,
  layout.zsmallocBytes,
  layout.netpoolBytes,
  layout.hwpoisonBytes,
];

function layoutBill(
  layout: MemmapLayout,
  census: Census,
  folios: readonly number[],
  options: BillOptions,
  base: LayoutBill | undefined,
): LayoutBill {
  const { pageSize, frames } = census;
  const map = mapBytes(layout, frames * pageSize, pageSize);
  const descriptors = layout.slabBytes === 0 ? [] : descriptorRows(layout, census, folios, options);
  const descriptorBytes = descriptors.reduce((sum, row) => sum + row.count * row.bytes, 0);
  const paid = descriptors.reduce((sum, row) => sum + row.slabBytes, 0);
  const totalBytes = map + paid;
  return {
    layout: layout.name,
    shipped: layout.shipped,
    mapBytes: map,
    descriptorBytes,
    roundingBytes: paid - descriptorBytes,
    totalBytes,
    share: totalBytes / (frames * pageSize),
    differenceBytes: totalBytes - (base?.totalBytes ?? totalBytes),
    descriptors,
  };
}

function descriptorRows(
  layout: MemmapLayout,
  census: Census,
  folios: readonly number[],
  options: BillOptions,
): DescriptorRow[] {
  const counts = wanted(census, folios);
  const sizes = sizesOf(layout);
  const shapes = sizes.map((bytes) => shapeOf(bytes, census.pageSize, options));
  const slabKind = descriptorKinds.indexOf('slab');
  let others = 0;
  counts.forEach((n, kind) => {
    if (kind !== slabKind) others += Math.ceil(n / (shapes[kind] as SlabShape).objects);
  });
  // Slabs of slab descriptors need descriptors: as many slabs as hold those of all slabs, their own included.
  const slabs = counts[slabKind] as number;
  const perSlab = (shapes[slabKind] as SlabShape).objects;
  let own = 0;
  for (let next = Math.ceil((slabs + others) / perSlab); next !== own; ) {
    own = next;
    next = Math.ceil((slabs + others + own) / perSlab);
  }
  return descriptorKinds.map((kind, k) => {
    const shape = shapes[k] as SlabShape;
    const count = k === slabKind ? slabs + others + own : (counts[k] as number);
    const held = Math.ceil(count / shape.objects);
    return {
      kind,
      count,
      bytes: sizes[k] as number,
      objectBytes: shape.objectBytes,
      slabs: held,
      slabBytes: held * census.pageSize * 2 ** shape.order,
    };
  });
}

/** What one folio's descriptor costs when there are many: its part of a slab, and of the slab's descriptor. */
function folioCosts(layout: MemmapLayout, order: number, pageSize: number, options: BillOptions): number {
  const object = shapeOf(order === 0 ? layout.folioBytesSmall : layout.folioBytesLarge, pageSize, options);
  const slab = shapeOf(layout.slabBytes, pageSize, options);
  return object.bytesPerObject + slab.bytesPerObject / (1 - 1 / slab.objects) / object.objects;
}

/** Bytes a page that the layout's map is smaller than today's. */
const smaller = (layout: MemmapLayout): number => memmapLayout('page64').bytesPerPage - layout.bytesPerPage;

const folioSaves = (layout: MemmapLayout, order: number, pageSize: number, options: BillOptions): number =>
  smaller(layout) * 2 ** order - folioCosts(layout, order, pageSize, options);

function breakEven(layout: MemmapLayout, census: Census, folios: readonly number[], options: BillOptions): BreakEven {
  const { pageSize } = census;
  let order = 0;
  while (folioSaves(layout, order, pageSize, options) <= 0) order++;
  const count = folios.reduce((sum, n) => sum + n, 0);
  const cost = folios.reduce((sum, n, o) => sum + n * folioCosts(layout, o, pageSize, options), 0);
  const pages = folios.reduce((sum, n, o) => sum + n * 2 ** o, 0);
  const none = count === 0;
  // The rest of the machine saves too: map of all frames that hold no folio, less the descriptors they need.
  const rest = layoutBill(
    layout,
    census,
    folios.map(() => 0),
    options,
    undefined,
  );
  const restSaves = smaller(layout) * (census.frames - pages) - (rest.totalBytes - rest.mapBytes);
  return {
    layout: layout.name as PlanName,
    order,
    bytes: pageSize * 2 ** order,
    foliosDifferenceBytes: none ? null : cost - smaller(layout) * pages,
    meanBytes: none ? null : (cost / count / smaller(layout)) * pageSize,
    machineMeanBytes: none ? null : Math.max(machineMean(layout, pages, cost / count, restSaves), 0) * pageSize,
  };
}

/** Pages a folio, as few as they may be: pages / mean × cost = smaller × pages + what the rest saves. */
function machineMean(layout: MemmapLayout, pages: number, cost: number, restSaves: number): number {
  const budget = smaller(layout) * pages + restSaves;
  return budget <= 0 ? Number.POSITIVE_INFINITY : (pages * cost) / budget;
}

/** The same mixture on a machine of another size. Pieces are rounded down; what is left over is listed to nobody. */
export function scaleCensus(census: Census, memory: number): Census {
  const frames = Math.floor(memory / census.pageSize);
  if (frames < 1) throw new QuireError('EINVAL', `memory ${memory}: expected at least one page of ${census.pageSize}`);
  const by = frames / census.frames;
  return { pageSize: census.pageSize, frames, pieces: census.pieces.map((n) => Math.floor(n * by)) };
}
