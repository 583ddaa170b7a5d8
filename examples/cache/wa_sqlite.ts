// A database in a folder, by wa-sqlite's synchronous build on the cache.
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as SQLite from '@journeyapps/wa-sqlite';
import SQLiteFactory from '@journeyapps/wa-sqlite/dist/wa-sqlite.mjs';
import { PageCache } from 'quire-mm/cache';
import { cacheVfs } from 'quire-mm/cache/adapters/wa_sqlite';
import { fileFolder } from 'quire-mm/cache/node';

// Node has no fetch of files: the host is given its WebAssembly. In a browser leave this out.
const wasm = createRequire(import.meta.url).resolve('@journeyapps/wa-sqlite/dist/wa-sqlite.wasm');
const module = await SQLiteFactory({ wasmBinary: readFileSync(wasm) });
const sqlite3 = SQLite.Factory(module);

const root = mkdtempSync(join(tmpdir(), 'quire-'));
const cache = new PageCache({ memory: '8MiB' });
sqlite3.vfs_register(cacheVfs(module, { cache, folder: fileFolder(root), build: 'sync' }), true);

const db = await sqlite3.open_v2('shop.db');
await sqlite3.exec(db, 'CREATE TABLE sale(item TEXT, price REAL)');
await sqlite3.exec(db, "INSERT INTO sale VALUES('pen', 2.5), ('book', 12), ('pen', 3)");
await sqlite3.exec(db, 'SELECT item, count(*), sum(price) FROM sale GROUP BY item ORDER BY item', (row) =>
  console.log(row),
);
await sqlite3.close(db);
console.log(statSync(join(root, 'shop.db')).size, 'bytes in the file');

await cache.close();
rmSync(root, { recursive: true });

// > [ 'book', 1, 12 ]
// > [ 'pen', 2, 5.5 ]
// > 8192 bytes in the file
