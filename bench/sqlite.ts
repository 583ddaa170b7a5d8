/**
 * SQLite on the cache beside SQLite straight on the file, in the same host: `sqlite.ts HOST cache|file`, one run, its
 * figures as JSON. Neither host ships a VFS for local files in Node: the peer is the same VFS with each read, write and
 * sync as one system call (node:fs), which the kernel's page cache answers. The loads are those of
 * test/cache/adapters/sqlite_loads.ts; the database grows to four times the cache's budget.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileFolder } from '../src/cache/node/folder.ts';
import { PageCache } from '../src/cache/page_cache.ts';
import { type Database, type HostName, host } from '../test/cache/adapters/sqlite_hosts.ts';
import { kvLoad, type Part, tableLoad } from '../test/cache/adapters/sqlite_loads.ts';
import { installPlain } from './sqlite_plain.ts';

const MIB = 1024 * 1024;
const BUDGET = 12 * MIB;
const BLOBS = 3100;
const BLOB_BYTES = 10_000;
const READS = 20_000;
const ROWS = 100_000;

const [hostName = 'sqlite-wasm', how = 'cache'] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'quire-sqlite-'));
try {
  const h = await host(hostName as HostName);
  const cache = new PageCache({ memory: BUDGET });
  const files = fileFolder(folder);
  const open = async (file: string): Promise<Database> => {
    if (how === 'cache') return h.open(cache, files, file);
    if (h.openWith === undefined) throw new Error(`${hostName}: no peer`);
    return h.openWith((sqlite3, name) => installPlain(sqlite3, folder, name), file);
  };
  const parts = (db: Database, scale: number): Part[] => [
    ...kvLoad(db, BLOBS * scale, BLOB_BYTES, READS * scale, 1).map((p) => ({ ...p, name: `kv ${p.name}` })),
    ...tableLoad(db, ROWS * scale, 2).map((p) => ({ ...p, name: `table ${p.name}` })),
  ];
  // The same at a tenth of the size, that the compiler has seen all of it.
  const small = await open('small.db');
  for (const part of parts(small, 0.1)) await part.run();
  await small.close();

  const db = await open('a.db');
  const figures: Record<string, number> = { totalMs: 0 };
  for (const { name, run } of parts(db, 1)) {
    const began = performance.now();
    await run();
    const took = performance.now() - began;
    figures[name] = took;
    figures.totalMs = (figures.totalMs as number) + took;
  }
  const whole = (await db.exec('PRAGMA integrity_check'))[0]?.[0];
  if (whole !== 'ok') throw new Error(`integrity_check: ${whole}`);
  await db.close();
  figures.databaseMiB = statSync(join(folder, 'a.db')).size / MIB;
  await cache.close();
  console.log(JSON.stringify(figures));
} finally {
  rmSync(folder, { recursive: true });
}
