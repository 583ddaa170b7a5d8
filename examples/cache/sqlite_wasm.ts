// A database in a folder, by @sqlite.org/sqlite-wasm on the cache, with a write-ahead log.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import init from '@sqlite.org/sqlite-wasm';
import { PageCache } from 'quire-mm/cache';
import { installCacheVfs } from 'quire-mm/cache/adapters/sqlite_wasm';
import { fileFolder } from 'quire-mm/cache/node';

const root = mkdtempSync(join(tmpdir(), 'quire-'));
const cache = new PageCache({ memory: '8MiB' });
const sqlite3 = await init();
const vfs = installCacheVfs(sqlite3, { cache, folder: fileFolder(root) });

const db = new sqlite3.oo1.DB({ filename: 'shop.db', vfs: vfs.name });
// The log's index lives in SQLite's memory, so the connection must have the database for itself.
db.exec('PRAGMA locking_mode = EXCLUSIVE');
console.log(db.selectValue('PRAGMA journal_mode = WAL'));
db.exec('CREATE TABLE sale(item TEXT, price REAL)');
db.exec("INSERT INTO sale VALUES('pen', 2.5), ('book', 12), ('pen', 3)");
console.log(db.selectObject('SELECT count(*) AS sales, sum(price) AS money FROM sale'));
db.close();

await cache.close();
rmSync(root, { recursive: true });

// > wal
// > { sales: 3, money: 17.5 }
