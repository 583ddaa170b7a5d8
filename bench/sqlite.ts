/**
 * SQLite on the cache beside SQLite straight on the file, in the same host (@sqlite.org/sqlite-wasm). It ships no VFS for
 * local files in Node: the peer is one over node:fs, each of its calls a system call, answered by the kernel's page cache.
 * The loads are those of test/cache/adapters/sqlite_loads.ts; the database grows to four times the cache's budget.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import init from '@sqlite.org/sqlite-wasm';
import { PageCache } from 'quire-mm/cache';
import { installCacheVfs } from 'quire-mm/cache/adapters/sqlite_wasm';
import { fileFolder } from 'quire-mm/cache/node';
import { type Database, wasmDatabase } from '../test/cache/adapters/sqlite_database.ts';
import { kvLoad, type Part, tableLoad } from '../test/cache/adapters/sqlite_loads.ts';
import { installPlain } from './sqlite_plain.ts';

const MIB = 1024 * 1024;
const BUDGET = 12 * MIB;
const BLOBS = 3100;
const BLOB_BYTES = 10_000;
const READS = 20_000;
const ROWS = 100_000;

const parts = (db: Database, scale: number): Part[] => [
  ...kvLoad(db, BLOBS * scale, BLOB_BYTES, READS * scale, 1).map((p) => ({ ...p, name: `kv ${p.name}` })),
  ...tableLoad(db, ROWS * scale, 2).map((p) => ({ ...p, name: `table ${p.name}` })),
];

/** Milliseconds of each part of the loads: on the cache, or on the file. */
export async function sqlite(how: string): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'quire-sqlite-'));
  try {
    const sqlite3 = await init();
    const cache = new PageCache({ memory: BUDGET });
    if (how === 'cache') installCacheVfs(sqlite3, { cache, folder: fileFolder(folder), name: how });
    else installPlain(sqlite3, folder, how);
    // The same at a tenth of the size first, so that the compiler has seen all of it.
    const small = wasmDatabase(sqlite3, 'small.db', how);
    for (const part of parts(small, 0.1)) await part.run();
    await small.close();

    const db = wasmDatabase(sqlite3, 'a.db', how);
    const figures: Record<string, number> = { ms: 0 };
    for (const { name, run } of parts(db, 1)) {
      const began = performance.now();
      await run();
      const took = performance.now() - began;
      figures[name] = took;
      figures.ms = (figures.ms as number) + took;
    }
    const whole = (await db.exec('PRAGMA integrity_check'))[0]?.[0];
    if (whole !== 'ok') throw new Error(`integrity_check: ${whole}`);
    await db.close();
    figures.databaseMiB = statSync(join(folder, 'a.db')).size / MIB;
    await cache.close();
    return figures;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
