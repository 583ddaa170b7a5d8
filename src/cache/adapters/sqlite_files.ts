/**
 * What SQLite's two hosts have in common: files of a folder, opened through the cache, with SQLite's locks and result
 * codes. A host's adapter translates pointers and nothing else. Everything answers with a result code, at once where the
 * sources are synchronous and otherwise perhaps by a promise; an error of the cache becomes SQLite's code for the call
 * that met it, and its text is kept for xGetLastError.
 *
 * Locks are those of one process: a connection of another process that writes the same file is neither seen nor stopped.
 * A write-ahead log needs `PRAGMA locking_mode = EXCLUSIVE` before `PRAGMA journal_mode = WAL`: its index is then in
 * SQLite's own memory, and no shared memory is asked for.
 */
import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';

export type Now<T> = T | Promise<T>;

/**
 * Where the files of databases live: a source for each name. A new file's name is durable when its source was synced
 * first. A folder that answers without a promise serves both builds of a
 * host; one that answers with promises serves the asynchronous build alone.
 */
export interface Folder {
  /** A new source for the file; undefined where it is not there, unless `create`: then it is made, empty. */
  open(name: string, create: boolean): Now<Source | undefined>;
  has(name: string): Now<boolean>;
  /** False where it was not there. With `durable` it is gone for good when it answers, whatever happens then. */
  remove(name: string, durable: boolean): Now<boolean>;
}

/** The part of a CachedFile that SQLite uses. */
export interface DatabaseFile {
  readonly size: number;
  read(into: Uint8Array, at: number): Now<number>;
  readSync(into: Uint8Array, at: number): number;
  write(from: Uint8Array, at: number): Now<number>;
  writeSync(from: Uint8Array, at: number): number;
  truncate(size: number): Promise<void>;
  truncateSync(size: number): void;
  sync(): Promise<void>;
  syncSync(): void;
  close(): Promise<void>;
  closeSync(): void;
}

/** The part of a PageCache that SQLite uses. */
export interface DatabaseCache {
  open(source: Source): Promise<DatabaseFile>;
  openSync(source: Source): DatabaseFile;
}

/** Result codes and flags of SQLite's C interface. */
export const SQLITE = {
  OK: 0,
  BUSY: 5,
  NOTFOUND: 12,
  FULL: 13,
  CANTOPEN: 14,
  IOERR: 10,
  IOERR_READ: 266,
  IOERR_SHORT_READ: 522,
  IOERR_WRITE: 778,
  IOERR_FSYNC: 1034,
  IOERR_TRUNCATE: 1546,
  IOERR_DELETE: 2570,
  IOERR_ACCESS: 3338,
  IOERR_CLOSE: 4106,
  IOERR_DELETE_NOENT: 5898,
  OPEN_READONLY: 1,
  OPEN_READWRITE: 2,
  OPEN_CREATE: 4,
  OPEN_DELETEONCLOSE: 8,
  OPEN_EXCLUSIVE: 16,
  OPEN_MAIN_DB: 256,
  LOCK_NONE: 0,
  LOCK_SHARED: 1,
  LOCK_RESERVED: 2,
  LOCK_PENDING: 3,
  LOCK_EXCLUSIVE: 4,
  IOCAP_POWERSAFE_OVERWRITE: 0x1000,
  IOCAP_SUBPAGE_READ: 0x8000,
} as const;

/** A write of fewer bytes changes no others on the way: the cache writes whole blocks of what it holds. */
export const SECTOR_SIZE = 4096;
/** Reads may be of any bytes: SQLite then takes long values straight from the cache, and keeps no second copy of them. */
export const DEVICE_CHARACTERISTICS = SQLITE.IOCAP_POWERSAFE_OVERWRITE | SQLITE.IOCAP_SUBPAGE_READ;

interface Opened {
  readonly name: string;
  readonly file: DatabaseFile;
  readonly writable: boolean;
  opens: number;
  /** Handles with at least a shared lock, and the one that holds more. */
  shared: number;
  reserved: number;
  pending: number;
  exclusive: number;
}

interface Handle {
  readonly opened: Opened;
  readonly deleteOnClose: boolean;
  readonly isDatabase: boolean;
  lock: number;
}

/** How a build calls the cache. */
interface Calls {
  open(cache: DatabaseCache, source: Source): Now<DatabaseFile>;
  read(file: DatabaseFile, into: Uint8Array, at: number): Now<number>;
  write(file: DatabaseFile, from: Uint8Array, at: number): Now<number>;
  truncate(file: DatabaseFile, size: number): Now<void>;
  sync(file: DatabaseFile): Now<void>;
  close(file: DatabaseFile): Now<void>;
  writable(source: Source): boolean;
}

const atOnce: Calls = {
  open: (cache, source) => cache.openSync(source),
  read: (file, into, at) => file.readSync(into, at),
  write: (file, from, at) => file.writeSync(from, at),
  truncate: (file, size) => file.truncateSync(size),
  sync: (file) => file.syncSync(),
  close: (file) => file.closeSync(),
  writable: (source) => source.writeSync !== undefined,
};
const awaited: Calls = {
  open: (cache, source) => cache.open(source),
  read: (file, into, at) => file.read(into, at),
  write: (file, from, at) => file.write(from, at),
  truncate: (file, size) => file.truncate(size),
  sync: (file) => file.sync(),
  close: (file) => file.close(),
  writable: (source) => source.write !== undefined,
};

const then = <T, U>(value: Now<T>, next: (value: T) => Now<U>): Now<U> =>
  value instanceof Promise ? value.then(next) : next(value);

const NO_HANDLE = 0;

export class SqliteFiles {
  private readonly cache: DatabaseCache;
  private readonly folder: Folder;
  private readonly calls: Calls;
  private readonly byName = new Map<string, Now<Opened | undefined>>();
  private readonly handles = new Map<number, Handle>();
  /**
   * Names that are not there. SQLite asks for a journal and a log before every statement outside a transaction, and while a
   * database is open here nobody else makes them; after it was closed the folder is asked again.
   */
  private readonly absent = new Set<string>();
  /** What the last failed call met. */
  lastError = '';

  constructor(cache: DatabaseCache, folder: Folder, asynchronous: boolean) {
    this.cache = cache;
    this.folder = folder;
    this.calls = asynchronous ? awaited : atOnce;
  }

  /** Runs `act`; what it throws is told as `code`. */
  private guard(code: number, act: () => Now<number>): Now<number> {
    try {
      const result = act();
      return result instanceof Promise ? result.catch((error: unknown) => this.failed(error, code)) : result;
    } catch (error) {
      return this.failed(error, code);
    }
  }

  private failed(error: unknown, code: number): number {
    this.lastError = error instanceof Error ? error.message : String(error);
    const cause: unknown = error instanceof CacheError ? error.cause : error;
    const full = cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC';
    return full ? SQLITE.FULL : code;
  }

  /** Opens `name` (null: a file of its own that goes away when closed) as handle `id`; `out` is told the flags it got. */
  open(name: string | null, id: number, flags: number, out: (flags: number) => void): Now<number> {
    return this.guard(SQLITE.CANTOPEN, () => {
      const path = name ?? `sqlite-temporary-${crypto.randomUUID()}`;
      return then(this.openedOf(path, flags), (opened) => {
        if (opened === undefined) {
          this.lastError = `${path}: no such file`;
          return SQLITE.CANTOPEN;
        }
        opened.opens += 1;
        const deleteOnClose = (flags & SQLITE.OPEN_DELETEONCLOSE) !== 0;
        const isDatabase = (flags & SQLITE.OPEN_MAIN_DB) !== 0;
        this.handles.set(id, { opened, deleteOnClose, isDatabase, lock: SQLITE.LOCK_NONE });
        const readOnly = !opened.writable || (flags & SQLITE.OPEN_READWRITE) === 0;
        const { OPEN_READONLY, OPEN_READWRITE, OPEN_CREATE } = SQLITE;
        out(readOnly ? (flags & ~(OPEN_READWRITE | OPEN_CREATE)) | OPEN_READONLY : flags);
        return SQLITE.OK;
      });
    });
  }

  private openedOf(name: string, flags: number): Now<Opened | undefined> {
    const already = this.byName.get(name);
    if (already !== undefined) return (flags & SQLITE.OPEN_EXCLUSIVE) === 0 ? already : undefined;
    this.absent.delete(name);
    const opened = this.openFile(name, flags);
    this.byName.set(name, opened);
    if (opened instanceof Promise) {
      const settle = (value: Opened | undefined): void => {
        if (this.byName.get(name) !== opened) return;
        if (value === undefined) this.byName.delete(name);
        else this.byName.set(name, value);
      };
      opened.then(settle, () => settle(undefined));
    } else if (opened === undefined) this.byName.delete(name);
    return opened;
  }

  private openFile(name: string, flags: number): Now<Opened | undefined> {
    const create = (flags & SQLITE.OPEN_CREATE) !== 0;
    const found = this.folder.open(name, false);
    return then(found, (existing) => {
      if (existing !== undefined && (flags & SQLITE.OPEN_EXCLUSIVE) !== 0) return undefined;
      return then(existing ?? (create ? this.folder.open(name, true) : undefined), (source) => {
        if (source === undefined) return undefined;
        return then(this.calls.open(this.cache, source), (file) => ({
          name,
          file,
          writable: this.calls.writable(source),
          opens: 0,
          shared: 0,
          reserved: NO_HANDLE,
          pending: NO_HANDLE,
          exclusive: NO_HANDLE,
        }));
      });
    });
  }

  close(id: number): Now<number> {
    const handle = this.handles.get(id);
    if (handle === undefined) return SQLITE.OK;
    const { opened } = handle;
    this.unlock(id, SQLITE.LOCK_NONE);
    this.handles.delete(id);
    opened.opens -= 1;
    if (opened.opens > 0) return SQLITE.OK;
    const { name, file } = opened;
    if (handle.isDatabase) this.absent.clear();
    if (this.byName.get(name) === opened) this.byName.delete(name);
    // Of a file that goes away nothing need be written back.
    const removed = (): Now<unknown> => then(this.calls.truncate(file, 0), () => this.folder.remove(name, false));
    return this.guard(SQLITE.IOERR_CLOSE, () =>
      then(handle.deleteOnClose ? removed() : undefined, () => then(this.calls.close(file), () => SQLITE.OK)),
    );
  }

  private fileOf(id: number): DatabaseFile {
    const handle = this.handles.get(id);
    if (handle === undefined) throw new Error(`no open file ${id}`);
    return handle.opened.file;
  }

  /** Fills `into` and what lies past the end with zeroes. */
  read(id: number, into: Uint8Array, at: number): Now<number> {
    try {
      const n = this.calls.read(this.fileOf(id), into, at);
      if (typeof n === 'number') return filled(into, n);
      return n.then(
        (got) => filled(into, got),
        (error: unknown) => this.failed(error, SQLITE.IOERR_READ),
      );
    } catch (error) {
      return this.failed(error, SQLITE.IOERR_READ);
    }
  }

  write(id: number, from: Uint8Array, at: number): Now<number> {
    try {
      const n = this.calls.write(this.fileOf(id), from, at);
      if (typeof n === 'number') return SQLITE.OK;
      return n.then(
        () => SQLITE.OK,
        (error: unknown) => this.failed(error, SQLITE.IOERR_WRITE),
      );
    } catch (error) {
      return this.failed(error, SQLITE.IOERR_WRITE);
    }
  }

  truncate(id: number, size: number): Now<number> {
    return this.guard(SQLITE.IOERR_TRUNCATE, () => then(this.calls.truncate(this.fileOf(id), size), () => SQLITE.OK));
  }

  /** What was written is durable when it answers. */
  sync(id: number): Now<number> {
    return this.guard(SQLITE.IOERR_FSYNC, () => then(this.calls.sync(this.fileOf(id)), () => SQLITE.OK));
  }

  size(id: number): number {
    return this.fileOf(id).size;
  }

  access(name: string, out: (there: boolean) => void): Now<number> {
    if (this.absent.has(name)) {
      out(false);
      return SQLITE.OK;
    }
    return this.guard(SQLITE.IOERR_ACCESS, () =>
      then(this.byName.has(name) || this.folder.has(name), (there) => {
        if (!there) this.absent.add(name);
        out(there);
        return SQLITE.OK;
      }),
    );
  }

  /** Takes the name away. Handles that have the file open keep it. */
  remove(name: string, durable: boolean): Now<number> {
    this.byName.delete(name);
    return this.guard(SQLITE.IOERR_DELETE, () =>
      then(this.folder.remove(name, durable), (was) => (was ? SQLITE.OK : SQLITE.IOERR_DELETE_NOENT)),
    );
  }

  /** Raises the lock of a handle to `level`, or answers BUSY; a refused EXCLUSIVE stays PENDING and lets no new reader in. */
  lock(id: number, level: number): number {
    const handle = this.handles.get(id);
    if (handle === undefined) return SQLITE.IOERR;
    if (handle.lock >= level) return SQLITE.OK;
    const { opened } = handle;
    const taken = (by: number): boolean => by !== NO_HANDLE && by !== id;
    if (handle.lock === SQLITE.LOCK_NONE) {
      if (taken(opened.pending) || taken(opened.exclusive)) return SQLITE.BUSY;
      opened.shared += 1;
      handle.lock = SQLITE.LOCK_SHARED;
    }
    if (level === SQLITE.LOCK_RESERVED) {
      if (taken(opened.reserved)) return SQLITE.BUSY;
      opened.reserved = id;
    } else if (level >= SQLITE.LOCK_PENDING) {
      if (taken(opened.reserved) || taken(opened.pending)) return SQLITE.BUSY;
      opened.reserved = id;
      opened.pending = id;
      handle.lock = SQLITE.LOCK_PENDING;
      if (opened.shared > 1) return SQLITE.BUSY;
      opened.exclusive = id;
    }
    handle.lock = level;
    return SQLITE.OK;
  }

  /** Lowers the lock of a handle to SHARED or NONE. */
  unlock(id: number, level: number): number {
    const handle = this.handles.get(id);
    if (handle === undefined || handle.lock <= level) return SQLITE.OK;
    const { opened } = handle;
    if (opened.reserved === id) opened.reserved = NO_HANDLE;
    if (opened.pending === id) opened.pending = NO_HANDLE;
    if (opened.exclusive === id) opened.exclusive = NO_HANDLE;
    if (level === SQLITE.LOCK_NONE) opened.shared -= 1;
    handle.lock = level;
    return SQLITE.OK;
  }

  /** Whether some handle of the file means to write. */
  isReserved(id: number): boolean {
    const opened = this.handles.get(id)?.opened;
    return opened !== undefined && opened.reserved !== NO_HANDLE;
  }

  /** Closes what is still open. */
  async closeAll(): Promise<void> {
    for (const id of [...this.handles.keys()]) await this.close(id);
  }
}

function filled(into: Uint8Array, n: number): number {
  if (n === into.length) return SQLITE.OK;
  into.fill(0, n);
  return SQLITE.IOERR_SHORT_READ;
}
