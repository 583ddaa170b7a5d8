/** A bill as JSON and as plain text: aligned columns, sizes in binary units. */
import { CENSUS_ORDERS, type Census, listedPages, OWNER_ROW, OWNERS, ownerPages, ownerPieces } from '../mm/census.ts';
import { type MemmapLayout, memmapLayouts } from '../mm/memmap.ts';
import { type BillOptions, billOf, type LayoutBill, type MapBill, type OrderRow, planNames } from './bill.ts';
import { type CensusJson, censusJson } from './bill_census.ts';
import type { HvoBill } from './bill_hvo.ts';
import { size, table } from './fit_text.ts';

/** A count of the kernel's beside the census's, and how far apart they are (0.01: 1 %). */
export interface Compared {
  readonly meminfo: string;
  readonly census: string;
  readonly censusBytes: number;
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly difference: number;
}

/** Where a census comes from. */
export interface BillSource {
  readonly kind: 'replay' | 'census' | 'live';
  /** File, or null. */
  readonly name: string | null;
  /** Memory of the machine that was counted, where the bill is for another size. */
  readonly scaledFrom: number | null;
  /** The live machine's own counts; null for others. */
  readonly compared: readonly Compared[] | null;
  /** To read a live machine; null for others. */
  readonly seconds: number | null;
}

export interface BillReport {
  readonly schema: 'quire.bill/1';
  readonly source: BillSource;
  readonly memory: number;
  readonly rcuFreePointer: boolean;
  readonly census: CensusJson;
  readonly bill: MapBill;
  readonly layouts: readonly MemmapLayout[];
  readonly basis: typeof basis;
}

const basis = {
  counted: 'frames, folios, slabs, tables',
  literature:
    'bytes of page64 and overlay: of released kernels; page32 and memdesc8: published plans that no kernel has',
  estimated: 'descriptors other than that of a one-page folio',
} as const;

export function billReport(census: Census, source: BillSource, options: BillOptions): BillReport {
  return {
    schema: 'quire.bill/1',
    source,
    memory: census.frames * census.pageSize,
    rcuFreePointer: options.rcuFreePointer,
    census: censusJson(census),
    bill: billOf(census, options),
    layouts: memmapLayouts,
    basis,
  };
}

export function billText(report: BillReport, census: Census): string {
  const lines = [
    ...censusLines(report, census),
    '',
    'The memory map',
    '',
    ...table(
      ['layout', 'map', 'descriptors', 'slab rounding', 'total', 'of memory', 'difference'],
      report.bill.rows.filter((row) => row.layout !== 'overlay').map(layoutCells),
      0,
    ),
    '',
    'Break-even: what one folio saves against page64 (+) or costs (-), in bytes',
    '',
    ...table(['folio', 'order', 'in the census', ...planNames], orderCells(report.bill), 0),
    '',
    ...says(report.bill),
  ];
  if (report.bill.hvo !== null) lines.push('', ...hvoLines(report.bill.hvo));
  if (report.source.compared !== null) lines.push('', ...comparedLines(report.source.compared));
  lines.push('', ...legend(report));
  return `${lines.join('\n')}\n`;
}

const titles = { replay: 'modelled machine after', census: 'census', live: 'this machine' } as const;

function censusLines({ source, memory }: BillReport, census: Census): string[] {
  const name = source.name === null ? '' : ` ${printable(source.name)}`;
  const scaled = source.scaledFrom === null ? '' : `, scaled from ${size(source.scaledFrom)}`;
  const read = source.seconds === null ? '' : `, read in ${source.seconds.toFixed(2)} s`;
  const rows: string[][] = [];
  const orders = ['pieces by order'];
  for (const owner of OWNERS) {
    const pieces = ownerPieces(census, owner);
    if (pieces === 0) continue;
    const pages = ownerPages(census, owner);
    rows.push([owner, number(pieces), size(pages * census.pageSize), percent(pages / census.frames)]);
    orders.push(byOrder(census, OWNER_ROW[owner]));
  }
  const left = census.frames - listedPages(census);
  if (left > 0) rows.push(['not listed', '–', size(left * census.pageSize), percent(left / census.frames)]);
  const lines = table(['owner', 'pieces', 'bytes', 'of memory'], rows, 0);
  return [
    `${titles[source.kind]}${name}: ${size(memory)} in pages of ${size(census.pageSize)}${scaled}${read}`,
    '',
    ...lines.map((line, i) => `${line}  ${orders[i] ?? ''}`.trimEnd()),
  ];
}

function byOrder(census: Census, row: number): string {
  const cells: string[] = [];
  for (let order = 0; order < CENSUS_ORDERS; order++) {
    const n = census.pieces[row + order] as number;
    if (n > 0) cells.push(`${order}:${n}`);
  }
  return cells.join(' ');
}

const layoutCells = (row: LayoutBill): string[] => [
  row.layout === 'page64' ? 'page64, overlay' : `${row.layout} (plan)`,
  size(row.mapBytes),
  size(row.descriptorBytes),
  size(row.roundingBytes),
  size(row.totalBytes),
  percent(row.share),
  row.layout === 'page64' ? '–' : `${row.differenceBytes > 0 ? '+' : ''}${size(row.differenceBytes)}`,
];

/** Orders up to 2 MiB, and larger ones that the census has. */
const orderCells = (bill: MapBill): string[][] =>
  bill.orders
    .filter((row) => row.order <= 9 || row.folios > 0)
    .map((row) => [
      size(row.bytes),
      String(row.order),
      number(row.folios),
      ...planNames.map((name) => signed(row.savedBytes[name])),
    ]);

/** The answer in words. One-page folios are named first: on both plans they cost more than today. */
function says(bill: MapBill): string[] {
  const lines: string[] = [];
  const single = bill.orders[0] as OrderRow;
  for (const even of bill.breakEven) {
    const saved = single.savedBytes[even.layout];
    const costs = saved < 0 ? `a one-page folio costs ${(-saved).toFixed(1)} B more than today; ` : '';
    lines.push(`${even.layout}: ${costs}it wins from folios of ${size(even.bytes)} (order ${even.order}) on.`);
    if (even.meanBytes === null || even.foliosDifferenceBytes === null || bill.meanFolioBytes === null) continue;
    const differs = even.foliosDifferenceBytes;
    lines.push(
      `  Here: mean folio ${size(bill.meanFolioBytes)}, break-even at a mean of ${size(even.meanBytes)}: the folios ` +
        `${differs > 0 ? 'cost' : 'save'} ${size(Math.abs(Math.round(differs)))}; ${machineSays(even.machineMeanBytes as number, bill)}`,
    );
  }
  return lines;
}

function machineSays(mean: number, bill: MapBill): string {
  if (mean === Number.POSITIVE_INFINITY) return 'with its other memory the machine saves at no folio size.';
  if (mean <= (bill.orders[0]?.bytes ?? 0)) return 'with its other memory the machine saves whatever the folios.';
  return `with its other memory the machine saves from a mean of ${size(mean)} on.`;
}

/** Pools of huge pages with most of their map given back, layout by layout, and what one pool page's map costs. */
function hvoLines(hvo: HvoBill): string[] {
  const rows = hvo.rows
    .filter((row) => row.layout !== 'overlay')
    .map((row) => [
      row.layout === 'page64' ? 'page64, overlay' : `${row.layout} (plan)`,
      size(row.savedBytes),
      size(row.totalBytes),
      row.layout === 'page64' ? '–' : `${row.differenceBytes > 0 ? '+' : ''}${size(row.differenceBytes)}`,
    ]);
  const bytes = (n: number): string => `${number(Math.round(n))} B`;
  const cells = hvo.sizes.map((s) => [
    size(s.bytes),
    number(s.pages),
    bytes(s.plainBytes.page64),
    bytes(s.optimisedBytes.page64),
    ...planNames.flatMap((name) => [bytes(s.plainBytes[name]), bytes(s.optimisedBytes[name])]),
  ]);
  return [
    'Huge page pools with the vmemmap optimisation (HVO)',
    '',
    ...table(['layout', 'given back', 'total', 'difference'], rows, 0),
    '',
    ...table(
      ['pool page', 'in the census', 'page64', 'with HVO', ...planNames.flatMap((name) => [name, 'with HVO'])],
      cells,
      0,
    ),
    '',
    ...hvo.sizes.map((s) => {
      const less = s.plainBytes.memdesc8 - s.optimisedBytes.page64;
      return (
        `A pool page of ${size(s.bytes)}: with HVO today’s map costs ${bytes(Math.abs(less))} ` +
        `${less > 0 ? 'less' : 'more'} than memdesc8 without.`
      );
    }),
  ];
}

function comparedLines(compared: readonly Compared[]): string[] {
  const rows = compared.map((row) => [
    row.meminfo,
    row.census,
    size(row.censusBytes),
    size(row.beforeBytes),
    size(row.afterBytes),
    row.difference === 0 ? '–' : `${(100 * row.difference).toFixed(2)} %`,
  ]);
  return [
    'Beside /proc/meminfo, read before and after',
    '',
    ...table(['meminfo', 'census', 'counted', 'before', 'after', 'outside'], rows, 1),
  ];
}

const legend = ({ source, rcuFreePointer }: BillReport): string[] => [
  'page32 and memdesc8 are plans that no kernel has; descriptors other than the 80 B of a one-page folio are estimates.',
  'slab rounding: whole slabs are paid, and objects lie at multiples of 16 B' +
    (rcuFreePointer
      ? ', behind each a free pointer (type-stable by RCU).'
      : '. --rcu-free-pointer: with a free pointer behind each.'),
  'difference: total against page64; + costs, - saves. Free and other kernel memory needs no descriptor.',
  ...(source.kind === 'replay'
    ? [
        'A modelled machine holds what the recording made it hold, and of the kernel’s own what --hugepages and --slabinfo say.',
      ]
    : []),
];

const percent = (share: number): string => `${(100 * share).toFixed(3)} %`;
const signed = (bytes: number): string => `${bytes > 0 ? '+' : ''}${bytes.toFixed(1)}`;
const number = (n: number): string => n.toLocaleString('en-US');
const printable = (name: string): string => name.replace(/\p{Cc}/gu, '?');
