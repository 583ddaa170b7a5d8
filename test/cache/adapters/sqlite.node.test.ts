/** Real databases on the cache, in every host: loads beside the same loads without a cache, locks, read-only sources, errors. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fixedFolder, memoryFolder } from '../../../src/cache/adapters/folders.ts';
import { type Folder, SQLITE, SqliteFiles } from '../../../src/cache/adapters/sqlite_files.ts';
import { CacheError } from '../../../src/cache/errors.ts';
import { fileFolder } from '../../../src/cache/node/folder.ts';
import { PageCache } from '../../../src/cache/page_cache.ts';
import { direct } from './direct.ts';
import { type Database, type Host, type HostName, host, hostNames } from './sqlite_hosts.ts';
import { kvLoad, runAll, tableLoad } from './sqlite_loads.ts';
import { remote, SMALL } from './through.ts';

const journalsOf = (name: HostName): string[] =>
  name === 'sqlite-wasm' ? ['DELETE', 'TRUNCATE', 'PERSIST', 'WAL'] : ['DELETE', 'WAL'];
/** What a connection begins with; a write-ahead log is for one connection alone here. */
async function begin(db: Database, journal: string): Promise<void> {
  if (journal === 'WAL') await db.exec('PRAGMA locking_mode = EXCLUSIVE');
  await db.exec('PRAGMA cache_size = -128');
  expect(await db.exec(`PRAGMA journal_mode = ${journal}`)).toEqual([[journal.toLowerCase()]]);
}

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-sqlite-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const hosts = new Map<HostName, Promise<Host>>();
const hostOf = (name: HostName): Promise<Host> => {
  const started = hosts.get(name) ?? host(name);
  hosts.set(name, started);
  return started;
};

describe.each(hostNames)('%s', (name) => {
  test.each(journalsOf(name))(
    'both loads, journal %s: the same as without the cache, and whole when opened again',
    async (journal) => {
      const h = await hostOf(name);
      const loads = async (cache: PageCache | typeof direct, folder: Folder) => {
        const db = await h.open(cache, folder, 'a.db');
        await begin(db, journal);
        const values = [await runAll(kvLoad(db, 800, 3000, 100, 1)), await runAll(tableLoad(db, 1000, 2))];
        expect(await db.exec('PRAGMA integrity_check')).toEqual([['ok']]);
        await db.close();
        return values;
      };
      const cache = new PageCache({ memory: SMALL });
      const folder = fileFolder(root);
      expect(await loads(cache, folder)).toEqual(await loads(direct, memoryFolder()));
      const keeps = journal === 'TRUNCATE' || journal === 'PERSIST';
      expect(readdirSync(root)).toEqual(keeps ? ['a.db', 'a.db-journal'] : ['a.db']);
      // What the cache brought to the file, without the cache.
      const db = await h.open(direct, folder, 'a.db');
      await begin(db, journal);
      expect(await db.exec('PRAGMA integrity_check')).toEqual([['ok']]);
      expect(await db.exec('SELECT count(*) FROM kv')).toEqual([[800]]);
      await db.close();
      await cache.close();
    },
  );

  test('what a transaction took back is gone', async () => {
    const h = await hostOf(name);
    const cache = new PageCache({ memory: SMALL });
    const db = await h.open(cache, fileFolder(root), 'a.db');
    await db.exec('PRAGMA cache_size = 10; CREATE TABLE t(a, b)');
    const fill =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t SELECT i, zeroblob(300) FROM n';
    await db.exec(fill);
    await db.exec(`BEGIN; ${fill}; UPDATE t SET a = 0; ROLLBACK`);
    expect(await db.exec('SELECT count(*), sum(a) FROM t')).toEqual([[3000, 4501500]]);
    expect(await db.exec('PRAGMA integrity_check')).toEqual([['ok']]);
    await db.close();
    await cache.close();
  });

  test('a file that is no database, and one outside the folder', async () => {
    const h = await hostOf(name);
    const cache = new PageCache({ memory: SMALL });
    writeFileSync(
      join(root, 'text'),
      'this is not a database, though it is long enough for a header of one '.repeat(20),
    );
    const open = async (file: string) => {
      const db = await h.open(cache, fileFolder(root), file);
      try {
        return await db.exec('SELECT * FROM sqlite_schema');
      } finally {
        await db.close();
      }
    };
    await expect(open('text')).rejects.toThrow('file is not a database');
    await expect(open('../outside.db')).rejects.toThrow('unable to open database file');
    expect(h.lastError()).toContain('../outside.db: not a file in');
    await cache.close();
  });

  test('a disk that is full is told as such, and the database stays whole', async () => {
    const h = await hostOf(name);
    const cache = new PageCache({ memory: SMALL });
    const files = memoryFolder();
    let room = Number.POSITIVE_INFINITY;
    const full = (source: string): void => {
      const cause = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      throw new CacheError('SOURCE', `${source}: ${cause.message}`, { source, cause });
    };
    const folder: Folder = {
      ...files,
      open(file, create) {
        const source = files.open(file, create) as ReturnType<typeof remote> | undefined;
        if (source === undefined) return undefined;
        return {
          ...source,
          writeSync(from, at) {
            if (at + from.length > room) full(file);
            source.writeSync?.(from, at);
          },
          async write(from, at) {
            if (at + from.length > room) full(file);
            await source.write?.(from, at);
          },
        };
      },
    };
    const db = await h.open(cache, folder, 'a.db');
    await db.exec('CREATE TABLE t(a, b); INSERT INTO t VALUES(1, zeroblob(50000))');
    room = 100_000;
    await expect((async () => db.exec('INSERT INTO t VALUES(2, zeroblob(900000))'))()).rejects.toThrow(
      /full|disk I\/O/,
    );
    room = Number.POSITIVE_INFINITY;
    expect(await db.exec('SELECT a, length(b) FROM t')).toEqual([[1, 50000]]);
    expect(await db.exec('PRAGMA integrity_check')).toEqual([['ok']]);
    await db.exec('INSERT INTO t VALUES(2, zeroblob(900000))');
    await db.close();
    await cache.close();
  });
});

test('a database behind an asynchronous source that cannot be written: wa-sqlite, the asynchronous build', async () => {
  const h = await hostOf('wa-sqlite-async');
  const files = memoryFolder();
  const maker = await h.open(direct, files, 'a.db');
  await begin(maker, 'DELETE');
  const wanted = await runAll(tableLoad(maker, 3000, 3));
  await maker.close();
  const bytes = files.bytes('a.db') as Uint8Array;
  const cache = new PageCache({ memory: SMALL });
  const source = remote(bytes.slice(), 'far away', { latencyMs: 20, bytesPerSecond: 100e6 });
  const db = await h.open(cache, fixedFolder({ 'a.db': () => source }), 'a.db');
  await db.exec('PRAGMA temp_store = MEMORY');
  expect(await db.exec('SELECT count(*) FROM t2')).toEqual([[wanted.vacuum]]);
  expect(await db.exec('PRAGMA integrity_check')).toEqual([['ok']]);
  await expect((async () => db.exec('DELETE FROM t2'))()).rejects.toThrow('attempt to write a readonly database');
  // Far fewer requests than pages.
  expect(source.requests).toBeLessThan(bytes.length / 4096 / 4);
  source.failure = new CacheError('CHANGED', 'far away: changed since it was opened');
  await db.close();
  await cache.close();
});

describe('locks', () => {
  const { OK, BUSY, LOCK_NONE, LOCK_SHARED, LOCK_RESERVED, LOCK_EXCLUSIVE, OPEN_READWRITE, OPEN_CREATE } = SQLITE;
  function three(): SqliteFiles {
    const files = new SqliteFiles(direct, memoryFolder(), false);
    for (const id of [1, 2, 3]) expect(files.open('a.db', id, OPEN_READWRITE | OPEN_CREATE, () => undefined)).toBe(OK);
    return files;
  }

  test('one writer beside readers; the last step waits for them and lets no new one in', () => {
    const files = three();
    expect([files.lock(1, LOCK_SHARED), files.lock(2, LOCK_SHARED)]).toEqual([OK, OK]);
    expect(files.lock(1, LOCK_RESERVED)).toBe(OK);
    expect(files.isReserved(2)).toBe(true);
    expect(files.lock(2, LOCK_RESERVED)).toBe(BUSY);
    expect(files.lock(1, LOCK_EXCLUSIVE)).toBe(BUSY);
    expect(files.lock(3, LOCK_SHARED)).toBe(BUSY);
    files.unlock(2, LOCK_NONE);
    expect(files.lock(1, LOCK_EXCLUSIVE)).toBe(OK);
    expect(files.lock(3, LOCK_SHARED)).toBe(BUSY);
    files.unlock(1, LOCK_SHARED);
    expect(files.isReserved(3)).toBe(false);
    expect(files.lock(3, LOCK_SHARED)).toBe(OK);
  });

  test('a handle that is closed lets go of what it held', () => {
    const files = three();
    files.lock(1, LOCK_SHARED);
    files.lock(1, LOCK_EXCLUSIVE);
    expect(files.lock(2, LOCK_SHARED)).toBe(BUSY);
    expect(files.close(1)).toBe(OK);
    expect(files.lock(2, LOCK_SHARED)).toBe(OK);
    expect(files.lock(2, LOCK_EXCLUSIVE)).toBe(OK);
  });

  test('two connections of one host: the second is told that the database is locked', async () => {
    const h = await hostOf('sqlite-wasm');
    const cache = new PageCache({ memory: SMALL });
    const folder = fileFolder(root);
    const [a, b] = [await h.open(cache, folder, 'a.db'), await h.open(cache, folder, 'a.db')];
    await a.exec('CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)');
    expect(() => b.exec('BEGIN IMMEDIATE')).toThrow('database is locked');
    expect(await b.exec('SELECT count(*) FROM t')).toEqual([[0]]);
    await a.exec('COMMIT');
    expect(await b.exec('SELECT count(*) FROM t')).toEqual([[1]]);
    await b.exec('INSERT INTO t VALUES(2)');
    expect(await a.exec('SELECT sum(a) FROM t')).toEqual([[3]]);
    await a.close();
    await b.close();
    await cache.close();
  });
});
