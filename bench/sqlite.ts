/**
 * SQLite on the cache beside SQLite straight on the file, in the same host (@sqlite.org/sqlite-wasm) and the same process, part
 * by part in turns. It ships no VFS for local files in Node: the peer is one over node:fs, each of its calls a system call,
 * answered by the kernel's page cache, which holds the whole database. The loads are those of
 * test/cache/adapters/sqlite_loads.ts; the database grows to four times the cache's budget. Everything else is the same on
 * both sides: SQLite's settings, what is synced, what the VFS says of the device.
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
/** The engine's many small functions are compiled well only after some of them. */
const ROUNDS = 9;
const SIDES = ['file', 'cache'] as const;

const parts = (db: Database, scale: number): Part[] => [
  ...kvLoad(db, BLOBS * scale, BLOB_BYTES, READS * scale, 1).map((p) => ({ ...p, name: `kv ${p.name}` })),
  ...tableLoad(db, ROWS * scale, 2).map((p) => ({ ...p, name: `table ${p.name}` })),
];

const median = (of: readonly number[]): number => [...of].sort((a, b) => a - b)[of.length >> 1] as number;

/** Medians of several rounds in milliseconds: of each part and of all, passed and of the processor. `cacheKiB`: SQLite's own cache, else as built. */
export async function sqlite(cacheKiB?: string): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'quire-sqlite-'));
  try {
    const sqlite3 = await init();
    const cache = new PageCache({ memory: BUDGET, pageSize: 16384, dirtyRatio: 80 });
    installPlain(sqlite3, folder, 'file');
    installCacheVfs(sqlite3, { cache, folder: fileFolder(folder), name: 'cache' });
    const times = new Map<string, number[]>();
    const note = (name: string, ms: number): void => void times.set(name, [...(times.get(name) ?? []), ms]);
    let databaseMiB = 0;
    // The first round, at a tenth of the size, is for the compiler to have seen all of it.
    for (let round = 0; round <= ROUNDS; round++) {
      const dbs = SIDES.map((side) => wasmDatabase(sqlite3, `${side}${round}.db`, side));
      if (cacheKiB !== undefined) for (const db of dbs) await db.exec(`PRAGMA cache_size = -${cacheKiB}`);
      const work = dbs.map((db) => parts(db, round === 0 ? 0.1 : 1));
      for (let p = 0; p < (work[0] as Part[]).length; p++)
        for (let turn = 0; turn < SIDES.length; turn++) {
          const side = (turn + p + round) % SIDES.length;
          const { name, run } = (work[side] as Part[])[p] as Part;
          const cpu = process.cpuUsage();
          const began = performance.now();
          await run();
          const passed = performance.now() - began;
          const { user, system } = process.cpuUsage(cpu);
          if (round === 0) continue;
          note(`${SIDES[side]} ${name}`, passed);
          note(`${SIDES[side]} cpu ${name}`, (user + system) / 1000);
        }
      for (const [i, db] of dbs.entries()) {
        const whole = (await db.exec('PRAGMA integrity_check'))[0]?.[0];
        if (whole !== 'ok') throw new Error(`integrity_check: ${whole}`);
        await db.close();
        const path = join(folder, `${SIDES[i]}${round}.db`);
        databaseMiB = statSync(path).size / MIB;
        rmSync(path);
      }
    }
    await cache.close();
    const medians = Object.fromEntries([...times].map(([name, all]) => [name, median(all)]));
    const sum = (start: string): number =>
      Object.entries(medians).reduce(
        (ms, [name, one]) => ms + (name.startsWith(`${start} kv`) || name.startsWith(`${start} table`) ? one : 0),
        0,
      );
    return {
      'x file': sum('file') / sum('cache'),
      'x file, cpu': sum('file cpu') / sum('cache cpu'),
      fileMs: sum('file'),
      cacheMs: sum('cache'),
      databaseMiB,
      ...Object.fromEntries(Object.entries(medians).filter(([name]) => !name.includes(' cpu '))),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
