/** Two loads after SQLite's own kvtest and speedtest1: blobs by key, and tables with an index that are changed and searched. */
import { Prng } from '../../../src/base/prng.ts';
import type { Database, Value } from './sqlite_database.ts';

/** What a load did, in parts, and a value that tells whether it did the right thing. */
export interface Part {
  readonly name: string;
  readonly run: () => Promise<Value>;
}

const one = async (db: Database, sql: string): Promise<Value> => ((await db.exec(sql))[0]?.[0] ?? null) as Value;

/** `count` blobs of about `size` bytes: written, read in a random order, read in order, and some of them replaced. */
export function kvLoad(db: Database, count: number, size: number, reads: number, seed: number): Part[] {
  const r = new Prng(seed);
  const blob = (i: number): Uint8Array => new Uint8Array(size + ((i * 7919) % size) - (size >> 1)).fill(i);
  const write = async (sql: string, keys: readonly number[]): Promise<void> => {
    await db.exec('BEGIN');
    const statement = await db.prepare(sql);
    for (const i of keys) await statement.all(i, blob(i));
    await statement.close();
    await db.exec('COMMIT');
  };
  const read = async (keys: (i: number) => number): Promise<number> => {
    const statement = await db.prepare('SELECT v FROM kv WHERE k = ?');
    let bytes = 0;
    for (let i = 0; i < reads; i++) {
      const v = (await statement.all(keys(i)))[0]?.[0] as Uint8Array;
      if (v[v.length - 1] !== v[0]) throw new Error('a blob of two kinds');
      bytes += v.length;
    }
    await statement.close();
    return bytes;
  };
  return [
    {
      name: 'write',
      async run() {
        await db.exec('CREATE TABLE kv(k INTEGER PRIMARY KEY, v BLOB)');
        await write(
          'INSERT INTO kv VALUES(?, ?)',
          Array.from({ length: count }, (_, i) => i),
        );
        return one(db, 'SELECT count(*) FROM kv');
      },
    },
    { name: 'random reads', run: () => read(() => r.below(count)) },
    { name: 'reads in order', run: () => read((i) => i % count) },
    {
      name: 'replace',
      async run() {
        for (let i = 0; i < 5; i++) {
          await write(
            'REPLACE INTO kv VALUES(?, ?)',
            Array.from({ length: reads / 20 }, () => r.below(count)),
          );
        }
        return one(db, 'SELECT sum(length(v)) FROM kv');
      },
    },
  ];
}

/** Two tables of `n` rows, one with an index: inserts, searches, updates, deletes, and a vacuum at the end. */
export function tableLoad(db: Database, n: number, seed: number): Part[] {
  const r = new Prng(seed);
  const text = (i: number): string => `row ${i} of many, ${'abcdefghij'.repeat(1 + (i % 9))}`;
  const insert = async (table: string): Promise<Value> => {
    await db.exec('BEGIN');
    const statement = await db.prepare(`INSERT INTO ${table} VALUES(?, ?, ?)`);
    for (let i = 0; i < n; i++) await statement.all(i, (i * 48271) % 65537, text(i));
    await statement.close();
    await db.exec('COMMIT');
    return one(db, `SELECT count(*) FROM ${table}`);
  };
  const search = async (sql: string, times: number, values: () => Value[]): Promise<Value> => {
    const statement = await db.prepare(sql);
    let found = 0;
    for (let i = 0; i < times; i++) found += Number((await statement.all(...values()))[0]?.[0]);
    await statement.close();
    return found;
  };
  const change = async (sql: string, times: number, values: () => Value[]): Promise<Value> => {
    await db.exec('BEGIN');
    await search(sql, times, values);
    await db.exec('COMMIT');
    return one(db, 'SELECT sum(b) + count(*) FROM t2');
  };
  return [
    {
      name: 'insert',
      async run() {
        await db.exec(
          'CREATE TABLE t1(a INTEGER, b INTEGER, c TEXT); CREATE TABLE t2(a INTEGER PRIMARY KEY, b INTEGER, c TEXT)',
        );
        return insert('t1');
      },
    },
    { name: 'insert by key', run: () => insert('t2') },
    {
      name: 'create index',
      async run() {
        await db.exec('CREATE INDEX t2b ON t2(b); CREATE INDEX t1c ON t1(c)');
        return one(db, "SELECT count(*) FROM sqlite_schema WHERE type = 'index'");
      },
    },
    {
      name: 'scan',
      run: () => search('SELECT count(*) FROM t1 WHERE b BETWEEN ? AND 60000', 5, () => [r.below(60000)]),
    },
    {
      name: 'search by index',
      run: () =>
        search('SELECT sum(length(c)) + 0 FROM t2 WHERE b BETWEEN ?1 AND ?1 + 20', n / 20, () => [r.below(65000)]),
    },
    { name: 'search by key', run: () => search('SELECT b FROM t2 WHERE a = ?', n / 4, () => [r.below(n)]) },
    {
      name: 'search by text',
      run: () => search('SELECT b FROM t1 WHERE c = ?', n / 10, () => [text(r.below(n))]),
    },
    { name: 'update', run: () => change('UPDATE t2 SET b = b + 1 WHERE a = ?', n / 10, () => [r.below(n)]) },
    {
      name: 'update a range',
      run: () => change('UPDATE t2 SET c = c || 1 WHERE b BETWEEN ?1 AND ?1 + 10', n / 100, () => [r.below(65000)]),
    },
    { name: 'delete', run: () => change('DELETE FROM t2 WHERE a BETWEEN ?1 AND ?1 + 9', n / 50, () => [r.below(n)]) },
    { name: 'order by', run: () => one(db, 'SELECT sum(a % 3) FROM (SELECT a FROM t1 ORDER BY c, b LIMIT 1000)') },
    {
      name: 'vacuum',
      async run() {
        await db.exec('DROP INDEX t1c');
        await db.exec('VACUUM');
        return one(db, 'SELECT count(*) FROM t2');
      },
    },
  ];
}

/** Runs the parts; their values, for comparison. */
export async function runAll(parts: readonly Part[]): Promise<Record<string, Value>> {
  const values: Record<string, Value> = {};
  for (const part of parts) values[part.name] = await part.run();
  return values;
}
