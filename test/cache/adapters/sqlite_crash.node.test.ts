/**
 * The machine stops in the middle of a load: what was committed is there when the database is opened again, what was not
 * is gone whole, and the database is sound. Runs: CRASH_RUNS, else a few; seed: FUZZ_SEED.
 */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { PageCache } from '../../../src/cache/page_cache.ts';
import { seedOf } from '../../help/fuzz.ts';
import { CrashDisk } from './crash_disk.ts';
import { type Database, type HostName, host } from './sqlite_hosts.ts';
import { SMALL } from './through.ts';

const RUNS = Number(process.env.CRASH_RUNS ?? 1);
const ACCOUNTS = 400;
const TOTAL = ACCOUNTS * 1000;

async function begin(db: Database, journal: string): Promise<void> {
  if (journal === 'WAL') await db.exec('PRAGMA locking_mode = EXCLUSIVE');
  await db.exec(`PRAGMA journal_mode = ${journal}`);
  // So few pages that a transaction spills into the file, and every commit waits for the disk.
  await db.exec('PRAGMA cache_size = 12');
  await db.exec('PRAGMA synchronous = FULL');
}

/** Moves money between accounts and notes each transaction; answers how many were committed when the machine stopped. */
async function work(db: Database, r: Prng, transactions: number): Promise<number> {
  for (let n = 1; n <= transactions; n++) {
    try {
      await db.exec('BEGIN IMMEDIATE');
      for (let i = r.between(1, 30); i > 0; i--) {
        const amount = r.below(100);
        const [from, to] = [r.below(ACCOUNTS), r.below(ACCOUNTS)];
        await db.exec(
          `UPDATE account SET money = money - ${amount}, note = randomblob(${r.below(600)}) WHERE id = ${from}`,
        );
        await db.exec(`UPDATE account SET money = money + ${amount} WHERE id = ${to}`);
      }
      await db.exec(`INSERT INTO done VALUES(${n}, randomblob(${r.below(3000)}))`);
      await db.exec('COMMIT');
    } catch {
      return n - 1;
    }
  }
  return transactions;
}

const one = async (db: Database, sql: string): Promise<unknown> => (await db.exec(sql))[0]?.[0];

describe.each([
  ['sqlite-wasm', 'DELETE'],
  ['sqlite-wasm', 'TRUNCATE'],
  ['sqlite-wasm', 'WAL'],
  ['wa-sqlite-async', 'DELETE'],
  ['wa-sqlite-async', 'WAL'],
] as [HostName, string][])('%s, journal %s', (name, journal) => {
  test('a crash loses nothing that was committed', { timeout: 60_000 + RUNS * 5000 }, async () => {
    const h = await host(name);
    const runs = name === 'wa-sqlite-async' ? Math.ceil(RUNS / 3) : RUNS;
    let midway = 0;
    for (let run = 0; run < runs; run++) {
      const seed = seedOf(100) + run;
      const r = new Prng(seed);
      const disk = new CrashDisk();
      const cache = new PageCache({ memory: SMALL });
      const db = await h.open(cache, disk, 'a.db');
      await begin(db, journal);
      await db.exec(
        'CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER, note BLOB); CREATE TABLE done(n INTEGER PRIMARY KEY, b BLOB)',
      );
      await db.exec(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${ACCOUNTS - 1})
        INSERT INTO account SELECT i, 1000, zeroblob(1500) FROM n`);
      disk.left = r.between(1, 900);
      const committed = await work(db, r, 60);
      const stopped = disk.left <= 0;
      disk.left = 0;
      try {
        await db.close();
      } catch {
        // Nothing of it can reach the disk any more.
      }
      await cache.close().catch(() => undefined);

      const again = new PageCache({ memory: SMALL });
      const after = await h.open(again, disk.afterCrash(r), 'a.db');
      await begin(after, journal);
      const where = `seed ${seed}, stopped ${stopped}, ${committed} committed`;
      expect(await after.exec('PRAGMA integrity_check'), where).toEqual([['ok']]);
      expect(await one(after, 'SELECT sum(money) FROM account'), where).toBe(TOTAL);
      const there = Number(await one(after, 'SELECT coalesce(max(n), 0) FROM done'));
      expect(await one(after, 'SELECT count(*) FROM done'), where).toBe(there);
      // The transaction that was being committed may have come through.
      expect([committed, committed + 1], where).toContain(there);
      if (stopped && committed > 0) midway += 1;
      expect(await work(after, r, 3)).toBe(there === 0 ? 3 : 0);
      await after.close();
      await again.close();
    }
    expect(midway).toBeGreaterThan(0);
  });
});
