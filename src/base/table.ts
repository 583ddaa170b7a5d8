/**
 * Tables of typed arrays. A table is declared once, as a literal that gives each column its kind and its meaning; types,
 * allocation, growth and dumps all read that literal. A row is a number. Columns live apart (one ArrayBuffer each) so that
 * a column nobody writes costs no memory: the host's allocator hands out zero pages that are never touched.
 */

interface Kinds {
  u8: Uint8Array;
  i8: Int8Array;
  u16: Uint16Array;
  i32: Int32Array;
  u32: Uint32Array;
  f64: Float64Array;
}
type Kind = keyof Kinds;

/** One column: its element kind, what it means, and how many elements a row has. */
export interface Column<K extends Kind = Kind> {
  readonly kind: K;
  readonly doc: string;
  readonly width: number;
}

const column =
  <K extends Kind>(kind: K) =>
  (doc: string, width = 1): Column<K> => ({ kind, doc, width });

export const u8 = column('u8');
export const i8 = column('i8');
export const u16 = column('u16');
export const i32 = column('i32');
export const u32 = column('u32');
export const f64 = column('f64');

export type Layout = Readonly<Record<string, Column>>;
/** The columns of a layout. They are replaced when the table grows: read them from the table after anything that can add a row. */
export type Columns<L extends Layout> = { -readonly [C in keyof L]: Kinds[L[C]['kind']] };
export type Table<L extends Layout> = Columns<L> & { rows: number };

const constructors: { [K in Kind]: new (n: number) => Kinds[K] } = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  f64: Float64Array,
};

/** A table with room for `rows` rows, all zero. */
export function allocate<L extends Layout>(layout: L, rows: number): Table<L> {
  // Built in one go: an object that grows property by property by computed names ends up as a slow hash table.
  const columns = Object.entries(layout).map(([name, c]) => [name, new constructors[c.kind](rows * c.width)]);
  return Object.fromEntries([['rows', rows], ...columns]) as Table<L>;
}

/** The table with more fields beside its columns; made in one go, as above. */
export function extend<T extends object, E extends object>(table: T, extra: E): T & E {
  return Object.fromEntries([...Object.entries(table), ...Object.entries(extra)]) as T & E;
}

/** Makes room for `rows` rows, keeping what is there. */
export function grow<L extends Layout>(layout: L, table: Table<L>, rows: number): void {
  if (rows <= table.rows) return;
  const columns = table as unknown as Record<string, Kinds[Kind]>;
  for (const [name, c] of Object.entries(layout)) {
    const next = new constructors[c.kind](rows * c.width);
    next.set(columns[name] as Kinds[Kind]);
    columns[name] = next;
  }
  (table as { rows: number }).rows = rows;
}

/** Host bytes that a table's columns take when every page of them is touched. */
export function tableBytes(table: object): number {
  let bytes = 0;
  for (const value of Object.values(table)) if (ArrayBuffer.isView(value)) bytes += value.byteLength;
  return bytes;
}
