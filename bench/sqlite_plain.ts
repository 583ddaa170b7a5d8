/**
 * The peer of bench/sqlite.ts: a VFS over node:fs as one writes it first, each call of SQLite a system call. Neither host
 * ships one for Node. It keeps nothing, takes no locks, claims of the device what the cache's VFS claims, and makes durable
 * what SQLite's own VFS for unix does: the first sync of a new journal syncs its folder too.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm';

const OK = 0;
const IOERR_SHORT_READ = 522;
const CANTOPEN = 14;
const IOERR_DELETE_NOENT = 5898;
const NOTFOUND = 12;
const SECTOR_SIZE = 4096;
const POWERSAFE_OVERWRITE = 0x1000;
const SUBPAGE_READ = 0x8000;
const [CREATE, DELETE_ON_CLOSE] = [4, 8];
/** SQLITE_OPEN_MAIN_JOURNAL, SUPER_JOURNAL and WAL. */
const JOURNAL = 0x800 | 0x4000 | 0x80000;

interface Open {
  readonly fd: number;
  readonly path: string;
  readonly deleteOnClose: boolean;
  /** Its name is not durable yet. */
  unnamed: boolean;
}

/** The calls, by the host's handle of the file. */
export class PlainFiles {
  private readonly root: string;
  private readonly files = new Map<number, Open>();
  private temporary = 0;
  constructor(root: string) {
    this.root = root;
  }
  private fd(id: number): number {
    return (this.files.get(id) as Open).fd;
  }
  open(name: string | null, id: number, flags: number): number {
    const path = join(this.root, name ?? `temporary-${this.temporary++}`);
    try {
      const mode = fs.constants.O_RDWR | ((flags & CREATE) === 0 ? 0 : fs.constants.O_CREAT);
      this.files.set(id, {
        fd: fs.openSync(path, mode),
        path,
        deleteOnClose: (flags & DELETE_ON_CLOSE) !== 0,
        unnamed: (flags & CREATE) !== 0 && (flags & JOURNAL) !== 0,
      });
      return OK;
    } catch {
      return CANTOPEN;
    }
  }
  close(id: number): number {
    const { fd, path, deleteOnClose } = this.files.get(id) as Open;
    fs.closeSync(fd);
    if (deleteOnClose) fs.unlinkSync(path);
    this.files.delete(id);
    return OK;
  }
  read(id: number, into: Uint8Array, at: number): number {
    const n = fs.readSync(this.fd(id), into, 0, into.length, at);
    if (n === into.length) return OK;
    into.fill(0, n);
    return IOERR_SHORT_READ;
  }
  write(id: number, from: Uint8Array, at: number): number {
    fs.writeSync(this.fd(id), from, 0, from.length, at);
    return OK;
  }
  truncate(id: number, size: number): number {
    fs.ftruncateSync(this.fd(id), size);
    return OK;
  }
  sync(id: number): number {
    const file = this.files.get(id) as Open;
    fs.fsyncSync(file.fd);
    if (file.unnamed) syncFolder(file.path);
    file.unnamed = false;
    return OK;
  }
  size(id: number): number {
    return fs.fstatSync(this.fd(id)).size;
  }
  has(name: string): boolean {
    return fs.existsSync(join(this.root, name));
  }
  remove(name: string, durable: boolean): number {
    const path = join(this.root, name);
    try {
      fs.unlinkSync(path);
    } catch {
      return IOERR_DELETE_NOENT;
    }
    if (durable) syncFolder(path);
    return OK;
  }
}

function syncFolder(path: string): void {
  const folder = fs.openSync(dirname(path), 'r');
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}

/** Installs it in @sqlite.org/sqlite-wasm, under `name`. */
export function installPlain(sqlite3: Sqlite3Static, root: string, name: string): void {
  const { capi, wasm } = sqlite3;
  const files = new PlainFiles(root);
  const io = new capi.sqlite3_io_methods();
  const vfs = new capi.sqlite3_vfs();
  const sample = new capi.sqlite3_file();
  Object.assign(io, { $iVersion: 1 });
  Object.assign(vfs, { $iVersion: 1, $szOsFile: sample.structInfo.sizeof, $mxPathname: 512 });
  sample.dispose();
  const bytes = (at: number, length: number): Uint8Array => wasm.heap8u().subarray(at, at + length);
  const text = (at: number): string => wasm.cstrToJs(at) ?? '';
  const ioMethods = {
    xClose: (file: number) => files.close(file),
    xRead: (file: number, into: number, n: number, at: bigint) => files.read(file, bytes(into, n), Number(at)),
    xWrite: (file: number, from: number, n: number, at: bigint) => files.write(file, bytes(from, n), Number(at)),
    xTruncate: (file: number, size: bigint) => files.truncate(file, Number(size)),
    xSync: (file: number, _flags: number) => files.sync(file),
    xFileSize(file: number, out: number): number {
      wasm.poke64(out, BigInt(files.size(file)));
      return OK;
    },
    xLock: (_file: number, _level: number) => OK,
    xUnlock: (_file: number, _level: number) => OK,
    xCheckReservedLock(_file: number, out: number): number {
      wasm.poke32(out, 0);
      return OK;
    },
    xFileControl: (_file: number, _op: number, _arg: number) => NOTFOUND,
    xSectorSize: (_file: number) => SECTOR_SIZE,
    xDeviceCharacteristics: (_file: number) => POWERSAFE_OVERWRITE | SUBPAGE_READ,
  };
  const vfsMethods = {
    xOpen(_vfs: number, path: number, file: number, flags: number, out: number): number {
      const result = files.open(path === 0 ? null : text(path), file, flags);
      if (out !== 0) wasm.poke32(out, flags);
      const struct = new capi.sqlite3_file(file);
      struct.$pMethods = result === OK ? io.pointer : 0;
      struct.dispose();
      return result;
    },
    xDelete: (_vfs: number, path: number, durable: number) => files.remove(text(path), durable !== 0),
    xAccess(_vfs: number, path: number, _flags: number, out: number): number {
      wasm.poke32(out, files.has(text(path)) ? 1 : 0);
      return OK;
    },
    xFullPathname(_vfs: number, path: number, room: number, out: number): number {
      wasm.cstrncpy(out, path, room);
      return OK;
    },
    xGetLastError: (_vfs: number, _room: number, _out: number) => OK,
    xCurrentTime(_vfs: number, out: number): number {
      wasm.poke(out, 2440587.5 + Date.now() / 86400e3, 'double');
      return OK;
    },
    xRandomness(_vfs: number, length: number, out: number): number {
      bytes(out, length).set(crypto.getRandomValues(new Uint8Array(length)));
      return length;
    },
    xSleep: (_vfs: number, _us: number) => 0,
  };
  sqlite3.vfs.installVfs({
    io: { struct: io, methods: ioMethods as never },
    vfs: { struct: vfs, methods: vfsMethods as never, name },
  });
}
