/** A recording as plain rows, for comparison in tests. */
import { eventLayout, type TraceSource } from '../../src/trace/event.ts';
import { writeOps } from '../../src/trace/ops_write.ts';

export type Row = Record<keyof typeof eventLayout, number>;
const columns = Object.keys(eventLayout) as (keyof typeof eventLayout)[];

export function rowsOf(source: TraceSource): Row[] {
  const rows: Row[] = [];
  for (let batch = source.next(); batch !== null; batch = source.next()) {
    for (let i = 0; i < batch.count; i++) {
      rows.push(Object.fromEntries(columns.map((name) => [name, batch[name][i]])) as Row);
    }
  }
  return rows;
}

/** How many events there are. */
export function drain(source: TraceSource): number {
  let count = 0;
  for (let batch = source.next(); batch !== null; batch = source.next()) count += batch.count;
  return count;
}

export const textOf = (source: TraceSource): string => [...writeOps(source)].join('');

/** The operations of a script, without its head. */
export const operations = (source: TraceSource): string[] =>
  textOf(source)
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
