/** In a browser's worker: the loads of bench/sqlite.ts on the host's own VFS for OPFS, or on the cache over the same files. */
import init, { type Sqlite3Static } from '@sqlite.org/sqlite-wasm';
import { installCacheVfs, type OpfsDirectory, opfsFolder } from '../src/cache/adapters/sqlite_wasm.ts';
import { PageCache } from '../src/cache/page_cache.ts';
import { type Database, wasmDatabase } from '../test/cache/adapters/sqlite_database.ts';
import { kvLoad, type Part, tableLoad } from '../test/cache/adapters/sqlite_loads.ts';

/** Of a worker's scope, what is used here: the project's tests have no DOM types. */
interface Scope {
  readonly navigator: { readonly storage: { getDirectory(): Promise<OpfsDirectory> } };
  onmessage: ((event: { data: string }) => void) | null;
  postMessage(message: unknown): void;
}
const scope = globalThis as unknown as Scope;

const MIB = 1024 * 1024;
const BUDGET = 1.25 * MIB;

const parts = (db: Database, scale: number): Part[] => [
  ...kvLoad(db, 360 * scale, 10_000, 200 * scale, 1).map((p) => ({ ...p, name: `kv ${p.name}` })),
  ...tableLoad(db, 6000 * scale, 2).map((p) => ({ ...p, name: `table ${p.name}` })),
];

async function database(how: string): Promise<[Sqlite3Static, PageCache | null]> {
  const sqlite3 = await init();
  if (how === 'opfs-sahpool') {
    await sqlite3.installOpfsSAHPoolVfs({ name: how, initialCapacity: 8, clearOnInit: true });
    return [sqlite3, null];
  }
  const cache = new PageCache({ memory: BUDGET });
  const folder = await opfsFolder(await scope.navigator.storage.getDirectory(), ['a.db', 'small.db']);
  installCacheVfs(sqlite3, { cache, folder, name: how });
  return [sqlite3, cache];
}

async function run(how: string): Promise<Record<string, number>> {
  const [sqlite3, cache] = await database(how);
  const path = (name: string): string => (cache === null ? `/${name}` : name);
  const small = wasmDatabase(sqlite3, path('small.db'), how);
  for (const part of parts(small, 0.1)) await part.run();
  await small.close();
  const db = wasmDatabase(sqlite3, path('a.db'), how);
  const figures: Record<string, number> = { ms: 0 };
  for (const part of parts(db, 1)) {
    const began = performance.now();
    await part.run();
    const took = performance.now() - began;
    figures[part.name] = took;
    figures.ms = (figures.ms as number) + took;
  }
  const whole = (await db.exec('PRAGMA integrity_check'))[0]?.[0];
  if (whole !== 'ok') throw new Error(`integrity_check: ${whole}`);
  const pages = Number((await db.exec('PRAGMA page_count'))[0]?.[0]);
  figures.databaseMiB = (pages * 4096) / MIB;
  await db.close();
  await cache?.close();
  return figures;
}

scope.onmessage = ({ data }) => {
  run(data).then(
    (figures) => scope.postMessage({ figures }),
    (error: unknown) => scope.postMessage({ error: String(error) }),
  );
};
