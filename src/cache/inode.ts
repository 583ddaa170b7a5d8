/**
 * What all opens of one source share: the file in the machine, the requests to the source, and how far the source agrees with
 * the file. The source's bytes from `validTo` on are not the file's: they read as zeros, and are cut off before anything is
 * written past them.
 */
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import { NO_FOLIO, PGOFF_MAX } from '../mm/ids.ts';
import { filemapFdatawaitRange, filemapFdatawriteRange } from '../mm/page_writeback.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import { aborted, orAborted } from './abort.ts';
import type { Core } from './core.ts';
import { CacheError } from './errors.ts';
import { ReadAhead } from './read_ahead.ts';
import { Requests } from './requests.ts';
import type { Source } from './source.ts';

/** Largest window of readahead of a source that says nothing of what it costs; of any. */
const READAHEAD_BYTES = 2 ** 20;
const READAHEAD_MAX = 8 * 2 ** 20;
/** From here on a request is dear: latency × bandwidth, in bytes. */
const COSTLY_BYTES = 2 ** 17;

export class Inode {
  readonly core: Core;
  readonly source: Source;
  readonly name: string;
  readonly group: number;
  readonly mapping: MappingId;
  readonly requests: Requests;
  /** Requests were made that nobody has carried out yet. */
  asked = false;
  /** Misses are answered at once; so is write-back. */
  readonly readsNow: boolean;
  readonly writesNow: boolean;
  readonly writable: boolean;
  /** The rules for a source whose requests cost much; null: the kernel's readahead alone. */
  readonly ahead: ReadAhead | null;
  /** What may lie between two requests that go out as one. */
  readonly gapBytes: number;
  /** Bytes of the source that are the file's. */
  validTo: number;
  /** The source holds more than that. */
  private overlong = false;
  private resizing: Promise<CacheError | null> | null = null;
  /** Writes under way that make the source longer. */
  private extending = 0;
  /** Changes of the source that have ended, and how many of them the last sync of it came after. */
  changes = 0;
  private synced = -1;
  handles = 0;
  /** Writes that failed for good so far, and why the last one did. */
  failures = 0;
  lastFailure: CacheError | null = null;
  locked = false;
  private readonly queue: (() => void)[] = [];

  constructor(core: Core, source: Source, size: number, group: number, now: boolean) {
    this.core = core;
    this.source = source;
    this.name = source.name;
    this.group = group;
    this.readsNow = source.readSync !== undefined;
    this.writesNow = now && source.writeSync !== undefined;
    this.writable = source.write !== undefined || source.writeSync !== undefined;
    const { latencyMs = 0, bytesPerSecond = 0 } = source.hints ?? {};
    const worth = Math.floor((latencyMs / 1000) * bytesPerSecond);
    // Two requests with as much between them as this are no dearer than one and half the price of one.
    this.gapBytes = worth >> 1;
    const most = Math.min(READAHEAD_MAX, core.budget.bytes / 16);
    const window = Math.min(Math.max(READAHEAD_BYTES, 2 * worth), most);
    this.mapping = core.newMapping(size, Math.max(1, Math.floor(window / core.m.config.pageSize)));
    core.inodes[this.mapping] = this;
    const costly = worth >= COSTLY_BYTES && !this.readsNow;
    this.ahead = costly ? new ReadAhead(core.m, this.mapping, group, worth, core.fetched) : null;
    this.validTo = size;
    this.requests = new Requests(core, this);
  }

  get size(): number {
    return this.core.m.spaces.size[this.mapping] as number;
  }

  closed(): CacheError {
    return new CacheError('CLOSED', `${this.name}: closed`, { source: this.name });
  }

  // One writer at a time.

  /** Takes the lock if it is free. */
  tryLock(): boolean {
    if (this.locked) return false;
    this.locked = true;
    return true;
  }

  lock(signal: AbortSignal | undefined): Promise<void> {
    if (this.tryLock()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.queue.splice(this.queue.indexOf(enter), 1);
        reject(aborted(signal as AbortSignal));
      };
      this.queue.push(enter);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  unlock(): void {
    const next = this.queue.shift();
    if (next === undefined) this.locked = false;
    else next();
  }

  // The source.

  writeFailed(error: CacheError): void {
    this.failures++;
    this.lastFailure = error;
  }

  /** Something that makes the source longer failed, perhaps half way: nobody knows where it ends. */
  uncertain(): void {
    if (this.source.truncate !== undefined || this.source.truncateSync !== undefined) this.overlong = true;
  }

  /** The writer's error, or sync's. */
  failure(): CacheError {
    const cause = this.lastFailure;
    const message = `${this.name}: bytes written earlier are not in the source yet: ${cause?.message ?? ''}`;
    return new CacheError('WRITE_BACK', message, { source: this.name, cause });
  }

  /** The file ends at `size` now: what the source has past it must go. */
  shrunk(size: number): void {
    if (size >= this.validTo) return;
    this.validTo = size;
    this.overlong = true;
  }

  /**
   * A write that ends at `to` is about to start: after a change of the source's size that is under way or due. True: it makes
   * the source longer, and `extended` must be called when it has ended. Or what went wrong.
   */
  async beforeWrite(to: number): Promise<CacheError | boolean> {
    for (;;) {
      if (to <= this.validTo) return false;
      if (this.resizing !== null) await this.resizing;
      else if (this.overlong) {
        const error = await this.cut();
        if (error !== null) return error;
      } else {
        this.extending++;
        return true;
      }
    }
  }

  extended(): void {
    this.extending--;
  }

  /** Makes the source end where the file was cut. */
  async cut(): Promise<CacheError | null> {
    while (this.overlong) {
      let size = this.validTo;
      const error = await this.resize(async () => {
        size = this.validTo;
        if (this.source.truncate !== undefined) await this.source.truncate(size);
        else this.source.truncateSync!(size);
      });
      this.changes++;
      if (error !== null) return error;
      // It may have been cut again meanwhile, further down.
      if (this.validTo >= size) this.overlong = false;
    }
    return null;
  }

  /** One change of the source's size at a time, and none beside a write that makes it longer: it might cut that off. */
  private async resize(work: () => Promise<void>): Promise<CacheError | null> {
    while (this.resizing !== null || this.extending > 0) {
      if (this.resizing !== null) await this.resizing;
      else await this.core.waitForAny(undefined);
    }
    const done = this.requests.trying(work);
    this.resizing = done;
    const error = await done;
    this.resizing = null;
    return error;
  }

  cutFirstNow(to: number): void {
    if (this.overlong && to > this.validTo) this.cutNow();
  }

  cutNow(): void {
    if (!this.overlong) return;
    if (this.source.truncateSync === undefined) throw this.cannotWait('a cut');
    this.changes++;
    this.source.truncateSync(this.validTo);
    this.overlong = false;
  }

  // Write-back.

  /** Writes everything that is dirty and waits for it. */
  async flush(signal: AbortSignal | undefined): Promise<void> {
    const { core, mapping } = this;
    const { m } = core;
    const before = this.failures;
    for (const step of [
      () => filemapFdatawriteRange(m, mapping, 0, PGOFF_MAX, true),
      () => filemapFdatawaitRange(m, mapping, 0, PGOFF_MAX),
    ])
      for (;;) {
        core.enter(this);
        m.wait = NO_FOLIO;
        const done = step();
        const folio = m.wait;
        core.kick();
        if (this.failures !== before) throw this.failure();
        if (done) break;
        if (!core.isFree(folio)) await core.waitFor(folio, signal);
        if (this.failures !== before) throw this.failure();
      }
  }

  flushNow(): void {
    const { core, mapping } = this;
    const { m } = core;
    const before = this.failures;
    for (;;) {
      core.enter(this);
      const done =
        filemapFdatawriteRange(m, mapping, 0, PGOFF_MAX, true) && filemapFdatawaitRange(m, mapping, 0, PGOFF_MAX);
      this.requests.runNow();
      core.kick();
      if (this.failures !== before) throw this.failure();
      if (done) return;
      if (this.requests.busy) throw this.cannotWait('syncSync');
    }
  }

  /** The source ends where the file does, and holds it durably: it is not asked again when nothing of it has changed since. */
  async settle(signal: AbortSignal | undefined): Promise<void> {
    const { source, size } = this;
    const cut = await this.cut();
    if (cut !== null) throw this.failed(cut);
    while (this.validTo < size) {
      const grown = await this.resize(() => this.grow(size));
      this.changes++;
      if (grown !== null) {
        this.uncertain();
        throw this.failed(grown);
      }
      this.validTo = Math.max(this.validTo, Math.min(size, this.size));
    }
    const { changes } = this;
    if (this.synced === changes) return;
    const error = await orAborted(
      this.requests.trying(async () => {
        if (source.sync !== undefined) await source.sync();
        else source.syncSync?.();
      }),
      signal,
    );
    if (error !== null) throw this.failed(error);
    this.synced = changes;
  }

  settleNow(): void {
    const { source, size } = this;
    try {
      this.cutNow();
      if (this.validTo < size) {
        this.changes++;
        if (source.truncateSync !== undefined) source.truncateSync(size);
        else source.writeSync?.(new Uint8Array(1), size - 1);
        this.validTo = size;
      }
      const { changes } = this;
      if (this.synced === changes) return;
      source.syncSync?.();
      this.synced = changes;
    } catch (cause) {
      this.uncertain();
      throw this.failed(this.requests.wrap(cause));
    }
  }

  /** A file that has grown without anything written at its end. */
  private async grow(size: number): Promise<void> {
    const { source } = this;
    if (source.truncate !== undefined) await source.truncate(size);
    else if (source.truncateSync !== undefined) source.truncateSync(size);
    else await source.write!(new Uint8Array(1), size - 1);
  }

  private failed(error: CacheError): CacheError {
    this.writeFailed(error);
    return this.failure();
  }

  cannotWait(what: string): CacheError {
    const { name } = this;
    return new CacheError('SOURCE', `${name}: ${what} would have to wait for the source`, { source: name });
  }

  /** Drops what is cached; nothing of it is dirty or wanted. */
  async drop(): Promise<void> {
    const { core, mapping } = this;
    const { m } = core;
    this.requests.cancel();
    while (this.requests.busy) {
      core.kick();
      if (this.requests.busy) await core.waitForAny(undefined);
    }
    for (;;) {
      m.wait = NO_FOLIO;
      if (truncateInodePagesRange(m, mapping, 0, Number.POSITIVE_INFINITY)) break;
      const folio: FolioId = m.wait;
      core.kick();
      if (!core.isFree(folio)) await core.waitFor(folio, undefined);
    }
    this.ahead?.close();
    core.dropMapping(mapping);
  }

  dropNow(): void {
    const { core, mapping } = this;
    if (!truncateInodePagesRange(core.m, mapping, 0, Number.POSITIVE_INFINITY)) throw this.cannotWait('closeSync');
    this.ahead?.close();
    core.dropMapping(mapping);
  }

  /** A new open of it, in the machine. */
  openFile(): FileId {
    return this.core.newFile(this.mapping);
  }
}
