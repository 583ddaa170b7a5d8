/** A fit report as plain text: aligned columns, sizes in binary units. */

import type { FitReport, Unasked } from './fit.ts';
import type { Bill, BillRow, PageSizeRow } from './fit_bill.ts';
import { maxFolioOrder, pageSizes } from './fit_count.ts';
import type { Named } from './fit_walk.ts';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function fitText(report: FitReport): string {
  const { walked, memory, all, resident } = report;
  const lines = [
    `${report.dirs.map(printable).join(' ')}: ${number(walked.files)} files, ${size(all.bytes)}, in ` +
      `${number(walked.directories)} directories`,
    ...skipped(report),
    `machine: ${size(memory.bytes)} of memory (${
      memory.from === 'given' ? 'as given' : "this machine's; --memory SIZE asks for another"
    })`,
    '',
    'All files, each cached whole',
    ...billLines(all, memory.bytes),
    '',
    'Cached now',
  ];
  if (resident.bill === null) lines.push(`  could not be read: ${resident.note}`);
  else {
    lines.push(...unaskedLines(resident.denied, 'neither owned nor writable by this user, so the kernel does not say'));
    lines.push(...unaskedLines(resident.failed, 'could not be opened'));
    if (resident.bill.files === 0)
      lines.push(resident.denied.files + resident.failed.files > 0 ? '  nothing of the others' : '  nothing');
    else {
      lines.push(`  ${number(resident.bill.files)} files, ${size(resident.bill.bytes)} of their bytes`);
      lines.push(...billLines(resident.bill, memory.bytes));
    }
  }
  lines.push('', ...legend);
  return `${lines.join('\n')}\n`;
}

function skipped({ walked }: FitReport): string[] {
  const lines: string[] = [];
  const beside: string[] = [];
  if (walked.symbolicLinks > 0) beside.push(`${count(walked.symbolicLinks, 'symbolic link')}`);
  if (walked.specials > 0) beside.push(`${count(walked.specials, 'device')} and the like`);
  if (walked.hardLinks.names > 0)
    beside.push(
      `${count(walked.hardLinks.names, 'further name')} of hard-linked files (${size(walked.hardLinks.bytes)})`,
    );
  if (beside.length > 0) lines.push(`  not counted: ${beside.join(', ')}`);
  if (walked.sparse.files > 0)
    lines.push(
      `  counted in full: ${count(walked.sparse.files, 'file')} with fewer blocks than bytes (holes, compression), ` +
        `${size(walked.sparse.bytes)} of it not on disk`,
    );
  lines.push(...named(walked.unreadable, 'could not be read: ', 'directory', 'directories'));
  lines.push(...named(walked.unknown, 'could not be looked up: ', 'entry', 'entries'));
  lines.push(...named(walked.mounts, 'not entered: ', 'other file system', 'other file systems'));
  return lines;
}

function named({ count: n, names }: Named, what: string, one: string, many: string): string[] {
  if (n === 0) return [];
  const more = n > names.length ? ', …' : '';
  return [`  ${what}${number(n)} ${n === 1 ? one : many} (${names.map(printable).join(', ')}${more})`];
}

const unaskedLines = (unasked: Unasked, why: string): string[] =>
  unasked.files === 0 ? [] : [`  left out: ${count(unasked.files, 'file')}, ${size(unasked.bytes)}: ${why}`];

function billLines(bill: Bill, memory: number): string[] {
  const lines = [
    '',
    ...table(['page', 'page cache', 'rounding', 'against 4k', 'files a GiB'], bill.pageSizes.map(sizeCells), 0),
  ];
  const largest = Math.max(...bill.pageSizes.map((row) => row.cacheBytes));
  if (largest > memory)
    lines.push(`  not all of it fits in ${size(memory)} at once: the totals below are those of a machine that held it`);
  const rows = bill.rows.filter((row) => row.layout !== 'overlay').map((row) => billCells(row, memory));
  const heads = [
    'page',
    'layout',
    'folios',
    'memory map',
    'of memory',
    'descriptors',
    'page cache',
    'total',
    'difference',
  ];
  lines.push('', ...table([...heads, 'breaks even at'], rows, 2));
  return lines;
}

const sizeCells = (row: PageSizeRow): string[] => [
  size4k(row.pageSize),
  size(row.cacheBytes),
  size(row.roundingBytes),
  row.ratio === null ? '–' : `${row.ratio.toFixed(3)}×`,
  row.filesPerGib === null ? '–' : number(row.filesPerGib),
];

const billCells = (row: BillRow, memory: number): string[] => [
  size4k(row.pageSize),
  row.layout === 'page64' ? 'page64, overlay' : row.layout,
  row.folios,
  size(row.mapBytes),
  `${((100 * row.mapBytes) / memory).toFixed(4)} %`,
  size(row.descriptorBytes),
  size(row.cacheBytes),
  size(row.totalBytes),
  row.breakEvenBytes === null ? '–' : `${row.differenceBytes > 0 ? '+' : ''}${size(row.differenceBytes)}`,
  row.breakEvenBytes === null ? '–' : size(row.breakEvenBytes),
];

const legend = [
  'difference: total against 4k pages on page64; + costs, - saves. Breaks even at: a machine with more memory than this',
  '  saves; where that is less than the page cache, every machine that can hold these files does.',
  'folios: one-page, a folio for each page; largest, the fewest aligned powers of two, up to ' +
    `${pageSizes.map((p) => size(p * 2 ** maxFolioOrder(p)).replace('.0', '')).join(', ')}.`,
  '  What a kernel does lies between; for 64-byte pages it makes no difference.',
  'counted: files, pages, folios. From the literature: 64 B a page (Linux 5.15 to 6.18); page32 and memdesc8 are plans that no',
  '  kernel has: 32 and 8 B a page, and for each folio 80 B, or 128 B (estimate) above one page, as slab objects.',
  'not in the sums: anonymous memory, slabs and page tables, and their descriptors. --json: exact bytes.',
];

/** Columns two spaces apart; numbers to the right, the `words` columns after the first to the left. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], words: number): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] as string).length)));
  return [head, ...rows].map((row) => {
    const cells = row.map((cell, i) =>
      i <= words ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number),
    );
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

/** `5.1 MiB`, `5.12 GiB`: one decimal from KiB on, two from GiB on. */
export function size(bytes: number): string {
  let value = Math.abs(bytes);
  let unit = 0;
  // What would print as 1024.0 is 1.0 of the next unit.
  while (unit < units.length - 1 && value >= (unit === 0 ? 1024 : unit < 3 ? 1023.95 : 1023.995)) {
    value /= 1024;
    unit++;
  }
  return `${bytes < 0 ? '-' : ''}${unit === 0 ? value : value.toFixed(unit < 3 ? 1 : 2)} ${units[unit]}`;
}

const size4k = (pageSize: number): string => `${pageSize / 1024}k`;
const number = (n: number): string => n.toLocaleString('en-US');
const count = (n: number, what: string): string => `${number(n)} ${what}${n === 1 ? '' : 's'}`;

/** A name must not move the terminal's cursor. */
const printable = (name: string): string =>
  name.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
