/** A replay's result as plain aligned text. */
import { formatBytes } from '../base/units.ts';
import type { ProgramMemory, ReplayResult } from './result.ts';

const columns = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join('');
};

const byOrder = (orders: Record<string, number>): string =>
  Object.entries(orders)
    .map(([order, n]) => `${order}:${n}`)
    .join(' ') || '-';

/** What the program has mapped, and the faults that it took. */
function memoryRows(r: ReplayResult, memory: ProgramMemory): (readonly [string, string])[] {
  const orders: Record<string, number> = {};
  let swapped = 0;
  for (const { folios, swapped: out } of r.maps) {
    for (const [, order] of folios) orders[order < 0 ? 'part' : order] = (orders[order < 0 ? 'part' : order] ?? 0) + 1;
    swapped += out.length;
  }
  const tables = Object.entries(memory.tables).map(([level, n]) => `${level}:${n}`);
  const rss = memory.rss_anon + memory.rss_file + memory.rss_shmem;
  const swap = swapped > 0 ? `, ${swapped} pages swapped out` : '';
  return [
    ['faults', `${r.summary.minor_faults} minor, ${r.summary.major_faults} major`],
    [
      'resident',
      `${formatBytes(rss)} of ${formatBytes(memory.mapped)}: anonymous ${formatBytes(memory.rss_anon)}, ` +
        `files ${formatBytes(memory.rss_file)}, shared ${formatBytes(memory.rss_shmem)}${swap}`,
    ],
    ['mapped folios', `by order ${byOrder(orders)}`],
    ['page tables', `${formatBytes(memory.page_tables)}: ${tables.join(' ')}`],
  ];
}

/** What the cache holds and what it took to get there. */
export function resultText(r: ReplayResult): string {
  const { summary, io, program } = r;
  const held: Record<string, number> = {};
  let folios = 0;
  let pages = 0;
  for (const file of Object.values(r.folios))
    for (const [, order] of file) {
      held[order] = (held[order] ?? 0) + 1;
      folios++;
      pages += order < 0 ? -order : 2 ** order;
    }
  const c = r.config;
  const limit = c.memcg > 0 ? `, limit ${formatBytes(c.memcg)}` : '';
  let out = `${r.script}: kernel ${r.kernel}, ${c.fs}, ${formatBytes(c.blockSize)} blocks, ${formatBytes(c.pageSize)} pages, `;
  out += `readahead ${formatBytes(c.readahead)}, memory ${formatBytes(c.memory)}${limit}\n`;
  out += columns([
    ['operations', String(program.operations)],
    ['program read, wrote', `${formatBytes(program.read_bytes)}, ${formatBytes(program.written_bytes)}`],
    ['device read', `${formatBytes(io.read_bytes)} in ${io.reads} requests`],
    ['device wrote', `${formatBytes(io.written_bytes)} in ${io.writes} requests`],
    [
      'folios added',
      `${summary.added_folios} (${summary.added_pages} pages), by order ${byOrder(summary.added_by_order)}`,
    ],
    ['pages deleted', String(summary.deleted_pages)],
    ['cached now', `${folios} folios (${pages} pages), by order ${byOrder(held)}`],
    ['refaults', String(r.vmstat.workingset_refault_file ?? 0)],
    ['file LRU', `${r.lru_folios} folios, ${r.lru_pages} pages`],
    ['memory map', formatBytes(r.memmap_bytes)],
  ]);
  if (r.memory !== null) out += columns(memoryRows(r, r.memory));
  if (program.out_of_memory > 0) out += `  out of memory: ${program.out_of_memory} operations failed\n`;
  const skipped = Object.entries(r.skipped);
  for (const line of r.unchecked) out += `${line}\n`;
  if (skipped.length > 0) out += `not modelled, skipped: ${skipped.map(([name, n]) => `${name} ${n}`).join(', ')}\n`;
  return out;
}
