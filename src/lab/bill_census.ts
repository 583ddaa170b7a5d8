/**
 * A census as a file. JSON, as `quire bill --json` writes it (the whole report is taken as well):
 *
 *   { "schema": "quire.census/1", "pageSize": 4096, "memory": 25769803776,
 *     "owners": { "file": { "0": 578014, "1": 62643 }, "slab": { "0": 110689 } } }
 *
 * or CSV with a head line `owner,order,count`. Counts are pieces (folios, slabs, free blocks), not pages. `pageSize` is 4096
 * and `memory` the listed pages where the file does not say; CSV cannot say.
 */
import { readFileSync, statSync } from 'node:fs';
import { InputError } from '../base/errors.ts';
import { CENSUS_ORDERS, type Census, listedPages, noPieces, OWNER_ROW, OWNERS, type Owner } from '../mm/census.ts';

export const CENSUS_SCHEMA = 'quire.census/1';

/** Pieces by owner and order; what is 0 is absent. */
export interface CensusJson {
  readonly schema: typeof CENSUS_SCHEMA;
  readonly pageSize: number;
  readonly memory: number;
  readonly owners: { readonly [K in Owner]?: Readonly<Record<string, number>> };
}

/** A report has a few kilobytes. */
const FILE_BYTES_MAX = 2 ** 20;
const MEMORY_MAX = 2 ** 50;
const PAGE_SIZES = [4096, 16384, 65536];

export function censusJson(census: Census): CensusJson {
  const owners: Record<string, Record<string, number>> = {};
  for (const owner of OWNERS) {
    const orders: Record<string, number> = {};
    for (let order = 0; order < CENSUS_ORDERS; order++) {
      const n = census.pieces[OWNER_ROW[owner] + order] as number;
      if (n > 0) orders[order] = n;
    }
    if (Object.keys(orders).length > 0) owners[owner] = orders;
  }
  return { schema: CENSUS_SCHEMA, pageSize: census.pageSize, memory: census.frames * census.pageSize, owners };
}

export function readCensus(path: string): Census {
  if (statSync(path).size > FILE_BYTES_MAX) throw new InputError(path, 0, 'over 1 MiB: expected a census');
  return parseCensus(readFileSync(path, 'utf8'), path);
}

export function parseCensus(text: string, file: string): Census {
  return /^\s*\{/.test(text) ? parseJson(text, file) : parseCsv(text, file);
}

function parseJson(text: string, file: string): Census {
  const fail = (what: string): never => {
    throw new InputError(file, 0, what);
  };
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    return fail('not JSON, though it begins with {');
  }
  let record = given as Record<string, unknown>;
  if (isRecord(record.census)) record = record.census;
  if (record.schema !== CENSUS_SCHEMA) fail(`schema ${quoted(record.schema)}: expected "${CENSUS_SCHEMA}"`);
  const pageSize = record.pageSize ?? 4096;
  if (typeof pageSize !== 'number' || !PAGE_SIZES.includes(pageSize))
    return fail(`pageSize ${quoted(pageSize)}: expected ${PAGE_SIZES.join(', ')}`);
  const { memory, owners } = record;
  if (memory !== undefined && !(Number.isInteger(memory) && (memory as number) > 0 && (memory as number) <= MEMORY_MAX))
    fail(`memory ${quoted(memory)}: expected bytes, 1 to ${MEMORY_MAX}`);
  if (!isRecord(owners)) return fail(`owners ${quoted(owners)}: expected { "OWNER": { "ORDER": COUNT } }`);
  const pieces = noPieces();
  for (const [owner, orders] of Object.entries(owners)) {
    if (!isRecord(orders)) fail(`owner ${quoted(owner)}: expected { "ORDER": COUNT }`);
    for (const [order, count] of Object.entries(orders as object)) add(pieces, owner, order, count, file, 0);
  }
  return whole(pieces, pageSize, memory as number | undefined, file);
}

function parseCsv(text: string, file: string): Census {
  const pieces = noPieces();
  const lines = text.split(/\r?\n/);
  if (lines[0]?.trim() !== 'owner,order,count')
    throw new InputError(file, 1, `${quoted(lines[0])}: expected owner,order,count, or JSON`);
  lines.forEach((line, i) => {
    if (i === 0 || line.trim() === '') return;
    const cells = line.split(',').map((cell) => cell.trim());
    if (cells.length !== 3) throw new InputError(file, i + 1, `${quoted(line)}: expected owner,order,count`);
    const [owner = '', order = '', count = ''] = cells;
    add(pieces, owner, order, /^-?\d+(\.\d+)?$/.test(count) ? Number(count) : count, file, i + 1);
  });
  return whole(pieces, 4096, undefined, file);
}

function add(pieces: Float64Array, owner: string, order: string, count: unknown, file: string, line: number): void {
  const fail = (what: string): never => {
    throw new InputError(file, line, what);
  };
  if (!Object.hasOwn(OWNER_ROW, owner)) fail(`owner ${quoted(owner)}: expected one of ${OWNERS.join(', ')}`);
  if (!/^\d{1,2}$/.test(order) || Number(order) >= CENSUS_ORDERS)
    fail(`${owner}, order ${quoted(order)}: expected 0 to ${CENSUS_ORDERS - 1}`);
  if (!Number.isInteger(count) || (count as number) < 0 || (count as number) > MEMORY_MAX)
    fail(`${owner}, order ${order}, count ${quoted(count)}: expected a whole number from 0`);
  const cell = OWNER_ROW[owner as Owner] + Number(order);
  pieces[cell] = (pieces[cell] as number) + (count as number);
}

function whole(pieces: Float64Array, pageSize: number, memory: number | undefined, file: string): Census {
  const listed = listedPages({ pageSize, frames: 0, pieces });
  const frames = memory === undefined ? listed : Math.floor(memory / pageSize);
  if (frames < 1) throw new InputError(file, 0, 'no page of memory: expected a census of some');
  if (frames * pageSize > MEMORY_MAX) throw new InputError(file, 0, `${listed} pages: expected at most 1024 TiB`);
  if (listed > frames)
    throw new InputError(file, 0, `${listed} pages listed, but memory has ${frames}: expected no more than there are`);
  return { pageSize, frames, pieces };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value of the input, for a message: not more than a line of it. */
const quoted = (value: unknown): string => (JSON.stringify(value) ?? 'missing').slice(0, 80);
