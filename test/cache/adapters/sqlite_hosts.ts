/** The two SQLite hosts behind one small interface, so that a load is written once. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as WaSqlite from '@journeyapps/wa-sqlite';
import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm';
import type { DatabaseCache, Folder } from '../../../src/cache/adapters/sqlite_files.ts';
import { installCacheVfs } from '../../../src/cache/adapters/sqlite_wasm.ts';
import { cacheVfs } from '../../../src/cache/adapters/wa_sqlite.ts';
import { type Database, type Value, wasmDatabase } from './sqlite_database.ts';

export type { Database } from './sqlite_database.ts';

export interface Host {
  readonly name: string;
  /** Opens a database with the VFS over this cache and folder. */
  open(cache: DatabaseCache, folder: Folder, file: string): Promise<Database>;
  /** What the VFS met last. */
  lastError(): string;
}

export type HostName = 'sqlite-wasm' | 'wa-sqlite' | 'wa-sqlite-async';
export const hostNames: readonly HostName[] = ['sqlite-wasm', 'wa-sqlite', 'wa-sqlite-async'];

export const host = (name: HostName): Promise<Host> => (name === 'sqlite-wasm' ? sqliteWasm() : waSqlite(name));

async function sqliteWasm(): Promise<Host> {
  const { default: init } = (await import('@sqlite.org/sqlite-wasm')) as { default: () => Promise<Sqlite3Static> };
  const sqlite3 = await init();
  // A VFS stays in the module: one for each pair of cache and folder.
  const installed = new Map<DatabaseCache, Map<Folder, ReturnType<typeof installCacheVfs>>>();
  let last = { lastError: '' };
  return {
    name: 'sqlite-wasm',
    lastError: () => last.lastError,
    async open(cache, folder, file) {
      const of = installed.get(cache) ?? new Map();
      installed.set(cache, of);
      const vfs =
        of.get(folder) ?? installCacheVfs(sqlite3, { cache, folder, name: `quire-${installed.size}-${of.size}` });
      of.set(folder, vfs);
      last = vfs;
      return wasmDatabase(sqlite3, file, vfs.name);
    },
  };
}

const require = createRequire(import.meta.url);

async function waSqlite(build: 'wa-sqlite' | 'wa-sqlite-async'): Promise<Host> {
  const path = require.resolve(`@journeyapps/wa-sqlite/dist/${build}.mjs`);
  const { default: factory } = (await import(path)) as { default: (options: object) => Promise<never> };
  const module = await factory({ wasmBinary: readFileSync(path.replace(/mjs$/, 'wasm')) });
  const sqlite3 = WaSqlite.Factory(module);
  let last = { lastError: '' };
  let count = 0;
  return {
    name: build,
    lastError: () => last.lastError,
    async open(cache, folder, file) {
      const name = `quire-${count++}`;
      const vfs = cacheVfs(module, { cache, folder, build: build === 'wa-sqlite' ? 'sync' : 'async', name });
      last = vfs;
      sqlite3.vfs_register(vfs, false);
      const db = await sqlite3.open_v2(file, undefined, name);
      return {
        async exec(sql) {
          const rows: Value[][] = [];
          await sqlite3.exec(db, sql, (row) => rows.push(row as Value[]));
          return rows;
        },
        close: () => sqlite3.close(db),
        async prepare(sql) {
          const { value: statement } = await sqlite3
            .statements(db, sql, { unscoped: true })
            [Symbol.asyncIterator]()
            .next();
          return {
            close: () => sqlite3.finalize(statement),
            async all(...values) {
              if (values.length > 0) sqlite3.bind_collection(statement, values);
              const rows: Value[][] = [];
              while ((await sqlite3.step(statement)) === WaSqlite.SQLITE_ROW)
                rows.push(sqlite3.row(statement) as Value[]);
              await sqlite3.reset(statement);
              return rows;
            },
          };
        },
      };
    },
  };
}
