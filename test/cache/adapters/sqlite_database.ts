/** What a load asks of a database, and how @sqlite.org/sqlite-wasm answers it. Runs in a browser as well. */
import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm';

export type Value = number | string | bigint | Uint8Array | null;
type Now<T> = T | Promise<T>;

export interface Statement {
  /** Runs it once and answers its rows. */
  all(...values: Value[]): Now<Value[][]>;
  close(): Now<unknown>;
}
export interface Database {
  exec(sql: string): Now<Value[][]>;
  prepare(sql: string): Now<Statement>;
  close(): Now<unknown>;
}
/** A database by the host's own VFS of that name. */
export function wasmDatabase(sqlite3: Sqlite3Static, file: string, vfs: string): Database {
  const db = new sqlite3.oo1.DB({ filename: file, vfs, flags: 'c' });
  return {
    exec: (sql) => db.exec(sql, { rowMode: 'array', returnValue: 'resultRows' }) as Value[][],
    close: () => db.close(),
    prepare(sql) {
      const statement = db.prepare(sql);
      return {
        close: () => statement.finalize(),
        all(...values) {
          if (values.length > 0) statement.bind(values);
          const rows: Value[][] = [];
          while (statement.step()) rows.push(statement.get([]) as Value[]);
          statement.reset(true);
          return rows;
        },
      };
    },
  };
}
