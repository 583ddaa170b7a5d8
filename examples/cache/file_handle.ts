// A file on the cache with the methods of Node's FileHandle: written, synced, and read again as a stream.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { PageCache } from 'quire-mm/cache';
import { fileHandle } from 'quire-mm/cache/adapters/file_handle';
import { fileSource } from 'quire-mm/cache/node';

const folder = await mkdtemp(join(tmpdir(), 'quire-'));
const path = join(folder, 'notes.txt');
const cache = new PageCache({ memory: '4MiB' });
const handle = fileHandle(await cache.open(fileSource(path, { create: true })));

await handle.write('one line\n');
await handle.write('another line\n');
await handle.sync();
console.log((await readFile(path, 'utf8')).split('\n').length - 1, 'lines in the file');
console.log((await text(Readable.fromWeb(handle.readableWebStream() as never))).trim());

await cache.close();
await rm(folder, { recursive: true });

// > 2 lines in the file
// > one line
// > another line
