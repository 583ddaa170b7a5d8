/**
 * SQLite on the cache, for @sqlite.org/sqlite-wasm: `installCacheVfs(sqlite3, { … })`, then
 * `new sqlite3.oo1.DB({ filename: 'a.db', vfs: 'quire' })`. The host calls its VFS synchronously: the folder must answer
 * at once and its sources have synchronous methods.
 */
import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm';
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

export interface SqliteWasmOptions {
  readonly cache: DatabaseCache;
  readonly folder: Folder;
  /** Name of the VFS. Default quire. */
  readonly name?: string;
  readonly asDefault?: boolean;
}

/** The VFS that was installed. It stays registered as long as the host's module lives. */
export interface InstalledVfs {
  readonly name: string;
  /** What the last failed call met, in words. */
  readonly lastError: string;
}

const JULIAN_EPOCH_MS = 210866760000000;

/** A result that came at once. A folder with promises has no place under this host. */
function now(result: Now<number>): number {
  if (typeof result === 'number') return result;
  result.catch(() => undefined);
  return SQLITE.IOERR;
}

export function installCacheVfs(sqlite3: Sqlite3Static, options: SqliteWasmOptions): InstalledVfs {
  const { capi, wasm } = sqlite3;
  const name = options.name ?? 'quire';
  const files = new SqliteFiles(options.cache, options.folder, false);
  const io = new capi.sqlite3_io_methods();
  const vfs = new capi.sqlite3_vfs();
  Object.assign(io, { $iVersion: 1 });
  vfs.$iVersion = 2;
  const sample = new capi.sqlite3_file();
  vfs.$szOsFile = sample.structInfo.sizeof;
  sample.dispose();
  vfs.$mxPathname = 512;

  const heap = new HostHeap(() => wasm.heap8u());

  const ioMethods = {
    xClose: (file: number) => now(files.close(file)),
    xRead: (file: number, into: number, length: number, at: bigint) =>
      now(files.read(file, heap.bytes(into, length), Number(at))),
    xWrite: (file: number, from: number, length: number, at: bigint) =>
      now(files.write(file, heap.bytes(from, length), Number(at))),
    xTruncate: (file: number, size: bigint) => now(files.truncate(file, Number(size))),
    xSync: (file: number, _flags: number) => now(files.sync(file)),
    xFileSize(file: number, out: number): number {
      heap.setInt64(out, files.size(file));
      return SQLITE.OK;
    },
    xLock: (file: number, level: number) => files.lock(file, level),
    xUnlock: (file: number, level: number) => files.unlock(file, level),
    xCheckReservedLock(file: number, out: number): number {
      heap.setInt32(out, files.isReserved(file) ? 1 : 0);
      return SQLITE.OK;
    },
    xFileControl: (_file: number, _op: number, _arg: number) => SQLITE.NOTFOUND,
    xSectorSize: (_file: number) => SECTOR_SIZE,
    xDeviceCharacteristics: (_file: number) => DEVICE_CHARACTERISTICS,
  };

  const vfsMethods = {
    xOpen(_vfs: number, path: number, file: number, flags: number, outFlags: number): number {
      const result = now(
        files.open(path === 0 ? null : heap.text(path), file, flags, (got) => {
          if (outFlags !== 0) heap.setInt32(outFlags, got);
        }),
      );
      const struct = new capi.sqlite3_file(file);
      struct.$pMethods = result === SQLITE.OK ? io.pointer : 0;
      struct.dispose();
      return result;
    },
    xDelete: (_vfs: number, path: number, syncDir: number) => now(files.remove(heap.text(path), syncDir !== 0)),
    xAccess: (_vfs: number, path: number, _flags: number, out: number) =>
      now(files.access(heap.text(path), (there) => heap.setInt32(out, there ? 1 : 0))),
    xFullPathname: (_vfs: number, path: number, room: number, out: number) =>
      heap.setText(out, room, heap.text(path)) ? SQLITE.OK : SQLITE.CANTOPEN,
    xGetLastError(_vfs: number, room: number, out: number): number {
      heap.setText(out, room, files.lastError);
      return SQLITE.OK;
    },
    xCurrentTime(_vfs: number, out: number): number {
      wasm.poke(out, 2440587.5 + Date.now() / 86400e3, 'double');
      return SQLITE.OK;
    },
    xCurrentTimeInt64(_vfs: number, out: number): number {
      heap.setInt64(out, JULIAN_EPOCH_MS + Date.now());
      return SQLITE.OK;
    },
    xRandomness(_vfs: number, length: number, out: number): number {
      heap.bytes(out, length).set(crypto.getRandomValues(new Uint8Array(length)));
      return length;
    },
    // One thread: whoever holds a lock does not let go of it while this one waits.
    xSleep: (_vfs: number, _microseconds: number) => 0,
  };

  // The host's types say number where its builds pass 64-bit integers, and a result code where any number may stand.
  sqlite3.vfs.installVfs({
    io: { struct: io, methods: ioMethods as never },
    vfs: { struct: vfs, methods: vfsMethods as never, name, asDefault: options.asDefault ?? false },
  });
  return {
    name,
    get lastError() {
      return files.lastError;
    },
  };
}
