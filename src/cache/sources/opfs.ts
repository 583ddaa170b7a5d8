/**
 * A file of the browser's private file system (OPFS), or one that the user chose through a handle. A dedicated worker gets
 * exclusive synchronous access: reads, writes and flushes in place. Elsewhere reads go through a snapshot of the file, and
 * writes into a copy that replaces the file, whole, when it is committed: at `sync`, and before a read of what was written.
 */
import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';
import { blobError, readBlob } from './blob.ts';
import { checkSignal, sourceError } from './checks.ts';
import { cut, gather, lengthOf, scatter } from './pieces.ts';

/** What is used of `FileSystemFileHandle`. */
export interface OpfsHandle {
  readonly name: string;
  getFile(): Promise<Blob>;
  createWritable?(options?: { keepExistingData?: boolean }): Promise<OpfsWritable>;
  createSyncAccessHandle?(options?: { mode?: 'read-only' | 'readwrite' }): Promise<OpfsSyncHandle>;
}
export interface OpfsWritable {
  write(what: { type: 'write'; position: number; data: Uint8Array<ArrayBuffer> }): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
  abort?(): Promise<void>;
}
export interface OpfsSyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  getSize(): number;
  close(): void;
}

export interface OpfsOptions {
  /** The file may be written. Default false. */
  readonly write?: boolean;
}

export function opfsSource(handle: OpfsHandle, options: OpfsOptions = {}): Source {
  return new OpfsSource(handle, options.write === true);
}

/** Only one way of access exists once the file is open; the source then has the methods of that one. */
class OpfsSource implements Source {
  readonly name: string;
  readonly hints = { latencyMs: 0.3, bytesPerSecond: 6e8, parallel: 4, maxRequest: 1 << 20 };
  private readonly handle: OpfsHandle;
  private readonly writable: boolean;
  private access: Access | null = null;
  readSync?: (into: Uint8Array, at: number) => number;
  readvSync?: (pieces: readonly Uint8Array[], at: number) => number;
  write?: (from: Uint8Array, at: number, signal?: AbortSignal) => Promise<void>;
  writeSync?: (from: Uint8Array, at: number) => void;
  writev?: (pieces: readonly Uint8Array[], at: number, signal?: AbortSignal) => Promise<void>;
  writevSync?: (pieces: readonly Uint8Array[], at: number) => void;
  truncate?: (size: number, signal?: AbortSignal) => Promise<void>;
  truncateSync?: (size: number) => void;
  sync?: (signal?: AbortSignal) => Promise<void>;
  syncSync?: () => void;
  closeSync?: () => void;

  constructor(handle: OpfsHandle, writable: boolean) {
    this.name = handle.name;
    this.handle = handle;
    this.writable = writable;
  }

  async open(signal?: AbortSignal): Promise<{ size: number }> {
    const { name, handle, writable } = this;
    checkSignal(name, signal);
    const sync = await syncHandle(handle, writable);
    const access = sync === null ? new SnapshotAccess(handle) : new SyncAccess(name, sync);
    this.access = access;
    const size = await this.told(0, () => access.size());
    if (access instanceof SyncAccess) {
      this.closeSync = () => {
        this.access = null;
        access.close();
      };
      this.readSync = (into, at) => this.now(at, () => access.read([into], at));
      this.readvSync = (pieces, at) => this.now(at, () => access.read(pieces, at));
      if (writable) {
        this.writeSync = (from, at) => this.now(at, () => access.write([from], at));
        this.writevSync = (pieces, at) => this.now(at, () => access.write(pieces, at));
        this.truncateSync = (to) => this.now(to, () => access.truncate(to));
        this.syncSync = () => this.now(0, () => access.sync());
      }
    }
    if (writable) {
      this.write = (from, at, s) => this.told(at, () => access.write([from], at), s);
      this.writev = (pieces, at, s) => this.told(at, () => access.write(pieces, at), s);
      this.truncate = (to, s) => this.told(to, () => access.truncate(to), s);
      this.sync = (s) => this.told(0, () => access.sync(), s);
    }
    return { size };
  }

  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number> {
    return this.readv([into], at, signal);
  }

  async readv(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> {
    const { access } = this;
    if (access === null) throw new CacheError('CLOSED', `${this.name}: not open`, { source: this.name });
    return this.told(at, () => access.read(pieces, at), signal);
  }

  async close(): Promise<void> {
    const { access } = this;
    this.access = null;
    if (access !== null) await this.told(0, () => access.close());
  }

  private now<T>(at: number, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw blobError(this.name, error, at);
    }
  }

  private async told<T>(at: number, act: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    checkSignal(this.name, signal, at);
    try {
      return await act();
    } catch (error) {
      throw blobError(this.name, error, at);
    }
  }
}

interface Access {
  size(): number | Promise<number>;
  read(pieces: readonly Uint8Array[], at: number): number | Promise<number>;
  write(pieces: readonly Uint8Array[], at: number): void | Promise<void>;
  truncate(size: number): void | Promise<void>;
  sync(): void | Promise<void>;
  close(): void | Promise<void>;
}

/** Null where there is no such access: outside a dedicated worker, and for files outside OPFS. */
async function syncHandle(handle: OpfsHandle, writable: boolean): Promise<OpfsSyncHandle | null> {
  if (handle.createSyncAccessHandle === undefined) return null;
  try {
    return await handle.createSyncAccessHandle({ mode: writable ? 'readwrite' : 'read-only' });
  } catch (error) {
    const kind = error instanceof Error ? error.name : '';
    if (kind === 'InvalidStateError') return null;
    if (kind === 'NoModificationAllowedError')
      throw new CacheError('SOURCE', `${handle.name}: the file is open elsewhere`, {
        source: handle.name,
        cause: error,
        retryable: true,
      });
    throw sourceError(handle.name, error);
  }
}

/** A call costs about as much as 200 KB: several buffers go through one that lies together. */
const GATHER_BYTES = 1 << 18;

class SyncAccess implements Access {
  private readonly name: string;
  private readonly handle: OpfsSyncHandle;
  private scratch: Uint8Array = new Uint8Array(0);

  constructor(name: string, handle: OpfsSyncHandle) {
    this.name = name;
    this.handle = handle;
  }

  size(): number {
    return this.handle.getSize();
  }

  read(pieces: readonly Uint8Array[], at: number): number {
    const [only] = pieces;
    if (pieces.length === 1 && only !== undefined) return this.handle.read(only, { at });
    const wanted = lengthOf(pieces);
    let got = 0;
    while (got < wanted) {
      const part = this.gathered(wanted - got);
      const n = this.handle.read(part, { at: at + got });
      scatter(part.subarray(0, n), cut(pieces, got, got + n));
      got += n;
      if (n < part.length) break;
    }
    return got;
  }

  write(pieces: readonly Uint8Array[], at: number): void {
    const [only] = pieces;
    if (pieces.length === 1 && only !== undefined) {
      this.put(only, at);
      return;
    }
    const wanted = lengthOf(pieces);
    for (let from = 0; from < wanted; ) {
      const part = this.gathered(wanted - from);
      gather(cut(pieces, from, from + part.length), part);
      this.put(part, at + from);
      from += part.length;
    }
  }

  private put(from: Uint8Array, at: number): void {
    const put = this.handle.write(from, { at });
    if (put !== from.length)
      throw new CacheError('SOURCE', `${this.name}: ${put} of ${from.length} bytes written`, { source: this.name, at });
  }

  private gathered(length: number): Uint8Array {
    if (this.scratch.length < Math.min(length, GATHER_BYTES))
      this.scratch = new Uint8Array(Math.min(GATHER_BYTES, Math.max(length, 2 * this.scratch.length)));
    return this.scratch.subarray(0, Math.min(length, this.scratch.length));
  }

  truncate(size: number): void {
    this.handle.truncate(size);
  }

  sync(): void {
    this.handle.flush();
  }

  close(): void {
    this.handle.close();
  }
}

/** A span of bytes, the end excluded. */
type Span = readonly [from: number, to: number];

/**
 * One thing at a time changes what readers may look at: a commit waits for the reads that are under way, and they for it.
 */
class SnapshotAccess implements Access {
  private readonly handle: OpfsHandle;
  private snapshot: Blob | null = null;
  private draft: OpfsWritable | null = null;
  /** What the draft has and the snapshot has not. */
  private ahead: Span[] = [];
  /** While the snapshot is being replaced. */
  private committing: Promise<void> | null = null;
  private readonly reading = new Set<Promise<unknown>>();
  /** Writes and commits, one after the other. */
  private writing: Promise<unknown> = Promise.resolve();

  constructor(handle: OpfsHandle) {
    this.handle = handle;
  }

  async size(): Promise<number> {
    this.snapshot = await this.handle.getFile();
    return this.snapshot.size;
  }

  async read(pieces: readonly Uint8Array[], at: number): Promise<number> {
    const end = at + lengthOf(pieces);
    const isAhead = (size: number): boolean => end > size || this.ahead.some(([from, to]) => from < end && at < to);
    while (this.draft !== null && isAhead(this.snapshot?.size ?? 0)) await this.sync();
    while (this.committing !== null) await this.committing;
    const { snapshot } = this;
    if (snapshot === null) return 0;
    const read = readBlob(this.handle.name, snapshot, pieces, at);
    this.reading.add(read);
    try {
      return await read;
    } finally {
      this.reading.delete(read);
    }
  }

  write(pieces: readonly Uint8Array[], at: number): Promise<void> {
    return this.change([at, at + lengthOf(pieces)], async (draft) => {
      let position = at;
      for (const data of pieces) {
        await draft.write({ type: 'write', position, data: data as Uint8Array<ArrayBuffer> });
        position += data.length;
      }
    });
  }

  truncate(size: number): Promise<void> {
    return this.change([size, Number.POSITIVE_INFINITY], (draft) => draft.truncate(size));
  }

  private change(span: Span, act: (draft: OpfsWritable) => Promise<void>): Promise<void> {
    return this.inTurn(async () => {
      if (this.draft === null) {
        if (this.handle.createWritable === undefined)
          throw new CacheError('READ_ONLY', `${this.handle.name}: this browser writes only in a worker`, {
            source: this.handle.name,
          });
        this.draft = await this.handle.createWritable({ keepExistingData: true });
      }
      this.ahead = joined(this.ahead, span);
      await act(this.draft);
    });
  }

  sync(): Promise<void> {
    return this.inTurn(async () => {
      const { draft } = this;
      if (draft === null) return;
      let end = (): void => {};
      this.committing = new Promise((resolve) => {
        end = resolve;
      });
      try {
        while (this.reading.size > 0) await Promise.allSettled(this.reading);
        await draft.close();
        this.snapshot = await this.handle.getFile();
        this.draft = null;
        this.ahead = [];
      } finally {
        this.committing = null;
        end();
      }
    });
  }

  async close(): Promise<void> {
    await this.sync();
  }

  private inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.writing.catch(() => {}).then(act);
    this.writing = mine;
    return mine;
  }
}

/** The spans with one more, joined where they touch, in order. */
function joined(spans: readonly Span[], more: Span): Span[] {
  let [from, to] = more;
  const apart = spans.filter(([a, b]) => {
    const touches = a <= to && from <= b;
    if (touches) [from, to] = [Math.min(a, from), Math.max(b, to)];
    return !touches;
  });
  return [...apart, [from, to] as const].sort((a, b) => a[0] - b[0]);
}
