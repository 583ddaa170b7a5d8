/**
 * SQLite on the cache, for @journeyapps/wa-sqlite: `sqlite3.vfs_register(cacheVfs(module, { … }), true)`.
 *
 * The object has the methods that the host's own base class has, taking pointers into the module's memory. The
 * synchronous build calls sources that have synchronous methods; the asynchronous builds (Asyncify and JSPI) take any.
 */
import type {} from '@journeyapps/wa-sqlite';
import { HostHeap } from './host_heap.ts';
import {
  type DatabaseCache,
  DEVICE_CHARACTERISTICS,
  type Folder,
  type Now,
  SECTOR_SIZE,
  SQLITE,
  SqliteFiles,
} from './sqlite_files.ts';

export {
  fixedFolder,
  type MemoryFolder,
  memoryFolder,
  type OpfsDirectory,
  type OpfsFolder,
  opfsFolder,
} from './folders.ts';
export type { DatabaseCache, DatabaseFile, Folder } from './sqlite_files.ts';

/** What the factory of a wa-sqlite build resolves to. */
export interface WaSqliteModule {
  readonly HEAPU8: Uint8Array;
}

export interface WaSqliteOptions {
  readonly cache: DatabaseCache;
  readonly folder: Folder;
  /** The build: 'sync' is wa-sqlite.mjs, 'async' wa-sqlite-async.mjs or wa-sqlite-jspi.mjs. */
  readonly build: 'sync' | 'async';
  /** Name of the VFS. Default quire. */
  readonly name?: string;
}

/** A VFS for `vfs_register`; `lastError` says in words what the last failed call met. */
export interface CacheVfs extends SQLiteVFS {
  readonly lastError: string;
}

/** Methods that may have to wait. The asynchronous builds unwind the stack for each call of these, so they are few. */
const WAITING = ['xOpen', 'xDelete', 'xAccess', 'xClose', 'xRead', 'xWrite', 'xTruncate', 'xSync'];

/** SQLite's offsets come as two signed halves. */
const offset = (low: number, high: number): number => high * 2 ** 32 + (low >>> 0);

const JULIAN_EPOCH_MS = 210866760000000;

export function cacheVfs(module: WaSqliteModule, options: WaSqliteOptions): CacheVfs {
  const waits = options.build === 'async';
  const files = new SqliteFiles(options.cache, options.folder, waits);
  const heap = new HostHeap(() => module.HEAPU8);

  // Of a method that may wait the asynchronous builds take a promise and nothing else.
  const answer = (result: Now<number>): Now<number> => (waits ? Promise.resolve(result) : result);

  // While a call waits, the module's memory may grow and move: what waits works on a buffer of its own.
  async function readAside(file: number, pointer: number, length: number, at: number): Promise<number> {
    const own = new Uint8Array(length);
    const result = await files.read(file, own, at);
    heap.bytes(pointer, length).set(own);
    return result;
  }

  return {
    name: options.name ?? 'quire',
    mxPathname: 512,
    get lastError() {
      return files.lastError;
    },
    close: () => files.closeAll(),
    isReady: () => true,
    hasAsyncMethod: (method) => waits && WAITING.includes(method),

    xOpen(_vfs, name, file, flags, outFlags): Now<number> {
      const path = name === 0 ? null : heap.text(name);
      const result = files.open(path, file, flags, (got) => {
        if (outFlags !== 0) heap.setInt32(outFlags, got);
      });
      return answer(result);
    },
    xDelete: (_vfs, name, syncDir) => answer(files.remove(heap.text(name), syncDir !== 0)),
    xAccess: (_vfs, name, _flags, out) =>
      answer(files.access(heap.text(name), (there) => heap.setInt32(out, there ? 1 : 0))),
    xFullPathname: (_vfs, name, room, out) => (heap.setText(out, room, heap.text(name)) ? SQLITE.OK : SQLITE.CANTOPEN),
    xGetLastError(_vfs, room, out) {
      heap.setText(out, room, files.lastError);
      return SQLITE.OK;
    },
    xClose: (file) => answer(files.close(file)),
    xRead(file, pointer, length, low, high) {
      const at = offset(low, high);
      if (waits) return readAside(file, pointer, length, at);
      return files.read(file, heap.bytes(pointer, length), at);
    },
    xWrite(file, pointer, length, low, high) {
      const from = heap.bytes(pointer, length);
      return answer(files.write(file, waits ? from.slice() : from, offset(low, high)));
    },
    xTruncate: (file, low, high) => answer(files.truncate(file, offset(low, high))),
    xSync: (file) => answer(files.sync(file)),
    xFileSize(file, out) {
      heap.setInt64(out, files.size(file));
      return SQLITE.OK;
    },
    xLock: (file, level) => files.lock(file, level),
    xUnlock: (file, level) => files.unlock(file, level),
    xCheckReservedLock(file, out) {
      heap.setInt32(out, files.isReserved(file) ? 1 : 0);
      return SQLITE.OK;
    },
    xFileControl: () => SQLITE.NOTFOUND,
    xSectorSize: () => SECTOR_SIZE,
    xDeviceCharacteristics: () => DEVICE_CHARACTERISTICS,
    ...{
      // Not in the host's type, but called by its builds.
      xCurrentTimeInt64(_vfs: number, out: number): number {
        heap.setInt64(out, JULIAN_EPOCH_MS + Date.now());
        return SQLITE.OK;
      },
      xRandomness(_vfs: number, length: number, out: number): number {
        heap.bytes(out, length).set(crypto.getRandomValues(new Uint8Array(length)));
        return length;
      },
    },
  };
}
