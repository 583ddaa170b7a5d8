/**
 * A file of the cache as a program sees it. A read goes through the engine; what is there is copied in the same call, and only
 * what is not becomes a promise. The loops here are those of a system call: call the engine, wait for the folio that it names,
 * call it again.
 */

import { type Fadvice, genericFadvise } from '../mm/fadvise.ts';
import { type Kiocb, kiocb, READ_DONE, READ_WAIT } from '../mm/filemap.ts';
import { type FileId, NO_FOLIO, PGOFF_MAX } from '../mm/ids.ts';
import { throwIfAborted } from './abort.ts';
import type { Core, Failure } from './core.ts';
import { Cursor } from './cursor.ts';
import { CacheError } from './errors.ts';
import type { Inode } from './inode.ts';
import { Resident } from './resident.ts';
import { readable, type StreamRange, writable } from './streams.ts';
import type { View } from './view.ts';
import { viewOf } from './view.ts';

export interface Waiting {
  /** Gives up waiting; what is under way goes on for others. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a read goes. */
type Target = Uint8Array | readonly Uint8Array[];

/** Bytes that a write or a hole takes to the engine at a time. */
const STEP_BYTES = 2 ** 20;
/** Pages that a hole zeroes at a time: a step that runs out of memory is made again from its start. */
const ZERO_PAGES = 16;
/** Times that a call makes room in vain before it gives up. */
const ROUNDS = 16;
/** Outcomes of a loop that has not ended: wait for Machine.wait's folio, or for room. */
const DONE = 0;
const FOLIO = 1;
const ROOM = 2;

export type Advice = Fadvice;

export class CachedFile {
  /** The source's name. */
  readonly name: string;
  private readonly core: Core;
  private readonly inode: Inode;
  private readonly file: FileId;
  private readonly resident: Resident;
  private readonly iocb: Kiocb;
  private readonly state = { closed: false };
  private readonly onClose: (file: CachedFile) => void;
  /** Failed writes that this writer has been told of. */
  private told: number;
  private waitFolio = NO_FOLIO;

  constructor(core: Core, inode: Inode, onClose: (file: CachedFile) => void) {
    this.core = core;
    this.inode = inode;
    this.name = inode.name;
    this.file = inode.openFile();
    this.resident = new Resident(core, inode.mapping, this.file);
    this.iocb = kiocb(this.file, 0, 0);
    this.onClose = onClose;
    this.told = inode.failures;
    inode.handles++;
  }

  get size(): number {
    return this.inode.size;
  }

  // Reading.

  /**
   * Copies bytes from `at` on into `into`; the number of bytes, fewer than asked only at the end of the file. A number at once
   * when they are cached or the source can be read at once, else a promise.
   */
  read(into: Uint8Array, at: number, o?: Waiting): number | Promise<number> {
    const n = this.resident.read(into, at);
    if (n >= 0) return n;
    return this.readSlow(into, at, into.length, o?.signal, true);
  }

  /** The same, at once or not at all: SOURCE when something must be waited for. */
  readSync(into: Uint8Array, at: number): number {
    const n = this.resident.read(into, at);
    if (n >= 0) return n;
    return this.readSlow(into, at, into.length, undefined, false) as number;
  }

  /** Fills several buffers one after the other. */
  readv(pieces: readonly Uint8Array[], at: number, o?: Waiting): number | Promise<number> {
    if (pieces.length === 0) return 0;
    let length = 0;
    for (const piece of pieces) length += piece.length;
    return this.readSlow(pieces, at, length, o?.signal, true);
  }

  private readSlow(
    target: Target,
    at: number,
    length: number,
    signal: AbortSignal | undefined,
    mayWait: boolean,
  ): number | Promise<number> {
    this.check(at, length);
    throwIfAborted(signal);
    if (length === 0) return 0;
    const { iocb } = this;
    iocb.pos = at;
    iocb.count = length;
    iocb.done = 0;
    const call = { retried: false };
    const state = this.readOn(iocb, target, call);
    if (state === DONE) return iocb.done;
    if (mayWait) return this.readLater({ ...iocb }, target, call, state, signal);
    return this.readNow(iocb, target, call, state);
  }

  /** Goes on with a read until it has ended or must wait. */
  private readOn(iocb: Kiocb, target: Target, call: { retried: boolean }): number {
    const { core, inode } = this;
    const { m } = core;
    for (;;) {
      if (this.state.closed) throw inode.closed();
      core.enter(inode);
      if (target instanceof Uint8Array) core.bytes.readInto(target, iocb.done);
      else core.bytes.readIntoPieces(target, iocb.done);
      iocb.asked = NO_FOLIO;
      m.wait = NO_FOLIO;
      const later = inode.ahead === null ? 0 : Math.max(0, iocb.count - inode.ahead.step);
      iocb.count -= later;
      inode.ahead?.before(this.file, iocb.pos, iocb.count);
      const state = core.fs.read(m, iocb);
      iocb.count += later;
      const folio = m.wait;
      const failure = core.kickFor(folio);
      if (state === READ_DONE && later > 0 && iocb.pos < inode.size) continue;
      if (state === READ_DONE) return DONE;
      if (state !== READ_WAIT) return ROOM;
      this.failed(failure, call);
      if (!core.isFree(folio)) {
        this.waitFolio = folio;
        return FOLIO;
      }
    }
  }

  /** A request that covered more than what is waited for is tried once more, for just that. */
  private failed(failure: Failure | null, call: { retried: boolean }): void {
    if (failure === null) return;
    if (failure.alone || call.retried) throw failure.error;
    call.retried = true;
  }

  private async readLater(
    iocb: Kiocb,
    target: Target,
    call: { retried: boolean },
    first: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    let state = first;
    let rounds = 0;
    for (let before = iocb.done; state !== DONE; state = this.readOn(iocb, target, call)) {
      if (iocb.done > before) rounds = 0;
      before = iocb.done;
      if (state === FOLIO) this.failed(await this.core.waitFor(this.waitFolio, signal), call);
      else if (!(await this.room(rounds, signal))) rounds++;
    }
    return iocb.done;
  }

  private readNow(iocb: Kiocb, target: Target, call: { retried: boolean }, first: number): number {
    let state = first;
    for (let rounds = 0; state !== DONE; state = this.readOn(iocb, target, call)) this.goOnNow(state, rounds++, call);
    return iocb.done;
  }

  /** What can be done without waiting so that a call can go on. */
  private goOnNow(state: number, rounds: number, call: { retried: boolean }): void {
    const { core, inode } = this;
    if (state === FOLIO) {
      this.failed(core.kickNow(this.waitFolio, inode), call);
      if (!core.isFree(this.waitFolio)) throw inode.cannotWait('this');
    } else {
      if (rounds >= ROUNDS || !core.makeRoomNow()) throw core.noRoom(this.name);
    }
  }

  /** Waits for room. True: until a read of somebody had ended, which may have taken the room again, and does not count as in vain. */
  private async room(rounds: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { core } = this;
    if (rounds >= ROUNDS || !core.makeRoom()) throw core.noRoom(this.name);
    const reading = core.reading;
    if (core.busy) await core.waitForAny(signal);
    return reading;
  }

  // Without a copy.

  /**
   * Bytes [at, at + length) where they lie in the cache, held there until the view is disposed of. Not to be written to. One
   * piece, or several where folios end: see View.
   */
  view(at: number, length: number, o?: Waiting): View | Promise<View> {
    this.check(at, length);
    if (at + length > this.size)
      throw new CacheError(
        'PAST_END',
        `${this.name}: view of ${length} bytes at ${at}, and the file has ${this.size}`,
        {
          source: this.name,
          at,
        },
      );
    const view = this.resident.view(at, length);
    if (view !== null) return view;
    return viewOf(this.core, this.inode.mapping, at, length, (from, count) => this.touch(from, count, o?.signal));
  }

  /** A cursor of its own over the file. */
  cursor(): Cursor {
    this.checkOpen();
    return new Cursor(this.core, this.inode.mapping, this.state);
  }

  /** Makes bytes resident, as a read does; a promise where it must wait. */
  private touch(at: number, length: number, signal: AbortSignal | undefined): number | Promise<number> {
    return this.readSlow([], at, length, signal, true);
  }

  // Writing.

  /** Writes all of `from` at `at`; a promise when it must wait for memory, for a read, or for other writers. */
  write(from: Uint8Array, at: number, o?: Waiting): number | Promise<number> {
    this.checkWrite(at, from.length);
    throwIfAborted(o?.signal);
    if (from.length === 0) return 0;
    const { inode } = this;
    if (!inode.tryLock()) return inode.lock(o?.signal).then(() => this.writeLocked(from, from.length, at, o?.signal));
    return this.writeLocked(from, from.length, at, o?.signal);
  }

  writeSync(from: Uint8Array, at: number): number {
    this.checkWrite(at, from.length);
    if (from.length === 0) return 0;
    return this.alone('writeSync', () => this.bringNow(from, at, from.length));
  }

  /** Runs a synchronous change with the lock. */
  private alone<T>(what: string, work: () => T): T {
    const { inode } = this;
    if (!inode.tryLock()) throw inode.cannotWait(what);
    try {
      return work();
    } finally {
      inode.unlock();
    }
  }

  private writeLocked(
    from: Uint8Array | null,
    length: number,
    at: number,
    signal: AbortSignal | undefined,
  ): number | Promise<number> {
    const { inode } = this;
    const progress = { done: 0, retried: false };
    let state = DONE;
    try {
      state = this.bring(from, at, length, progress);
    } finally {
      if (state === DONE) inode.unlock();
    }
    if (state === DONE) return length;
    return this.bringLater(from, at, length, progress, state, signal).finally(() => inode.unlock());
  }

  /** Takes bytes to the engine (zeros: from null) until all are there or something must be waited for. */
  private bring(
    from: Uint8Array | null,
    at: number,
    length: number,
    progress: { done: number; retried: boolean },
  ): number {
    const { core, inode, file } = this;
    const { m } = core;
    while (progress.done < length) {
      if (this.state.closed) throw inode.closed();
      this.tell();
      core.enter(inode);
      m.wait = NO_FOLIO;
      if (core.overDirtyLimit) {
        core.flushDirty();
        if (core.overDirtyLimit && core.busy) return ROOM;
      }
      const pos = at + progress.done;
      const step = from !== null ? STEP_BYTES : ZERO_PAGES * m.config.pageSize;
      const want = Math.min(length - progress.done, step);
      core.bytes.writeFrom(from, progress.done);
      let done = want;
      if (from !== null) done = core.fs.write(m, file, pos, want);
      else if (!core.fs.punchHole(m, inode.mapping, pos, want)) done = 0;
      const folio = m.wait;
      const failure = core.kickFor(folio);
      progress.done += done;
      if (done === want) continue;
      if (folio === NO_FOLIO) return ROOM;
      this.failed(failure, progress);
      if (core.isFree(folio)) continue;
      this.waitFolio = folio;
      return FOLIO;
    }
    return DONE;
  }

  private async bringLater(
    from: Uint8Array | null,
    at: number,
    length: number,
    progress: { done: number; retried: boolean },
    first: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    let state = first;
    let rounds = 0;
    for (let before = progress.done; state !== DONE; state = this.bring(from, at, length, progress)) {
      if (progress.done > before) rounds = 0;
      before = progress.done;
      if (state === FOLIO) this.failed(await this.core.waitFor(this.waitFolio, signal), progress);
      else if (!(await this.room(rounds, signal))) rounds++;
    }
    return length;
  }

  private bringNow(from: Uint8Array | null, at: number, length: number): number {
    const progress = { done: 0, retried: false };
    let rounds = 0;
    for (let before = 0; ; ) {
      const state = this.bring(from, at, length, progress);
      if (state === DONE) return length;
      if (progress.done > before) rounds = 0;
      before = progress.done;
      this.goOnNow(state, rounds++, progress);
    }
  }

  /** Cuts the file at `size`, or lets it grow to it with zeros. */
  async truncate(size: number, o?: Waiting): Promise<void> {
    this.checkWrite(size, 0);
    this.checkCut(size);
    throwIfAborted(o?.signal);
    const { core, inode } = this;
    const { m } = core;
    await inode.lock(o?.signal);
    try {
      for (;;) {
        core.enter(inode);
        m.wait = NO_FOLIO;
        if (core.fs.setSize(m, inode.mapping, size)) break;
        const folio = m.wait;
        core.kick();
        if (!core.isFree(folio)) await core.waitFor(folio, o?.signal);
        if (this.state.closed) throw inode.closed();
      }
      inode.shrunk(size);
      const error = await inode.cut();
      if (error !== null) throw error;
    } finally {
      inode.unlock();
    }
  }

  truncateSync(size: number): void {
    this.checkWrite(size, 0);
    this.checkCut(size);
    const { core, inode } = this;
    if (inode.source.truncateSync === undefined) throw inode.cannotWait('truncateSync');
    this.alone('truncateSync', () => {
      for (;;) {
        core.enter(inode);
        if (core.fs.setSize(core.m, inode.mapping, size)) break;
        const folio = core.m.wait;
        core.kickNow(folio, inode);
        if (!core.isFree(folio)) throw inode.cannotWait('truncateSync');
      }
      inode.shrunk(size);
      inode.cutNow();
    });
  }

  /** Makes bytes [at, at + length) zeros; the size stays. */
  punch(at: number, length: number, o?: Waiting): number | Promise<number> {
    this.checkWrite(at, length);
    throwIfAborted(o?.signal);
    const n = Math.min(length, this.size - at);
    if (n <= 0) return 0;
    const { inode } = this;
    if (!inode.tryLock()) return inode.lock(o?.signal).then(() => this.writeLocked(null, n, at, o?.signal));
    return this.writeLocked(null, n, at, o?.signal);
  }

  /** Resolves when everything written before is in the source, and durable there if the source knows how. */
  async sync(o?: Waiting): Promise<void> {
    this.checkOpen();
    throwIfAborted(o?.signal);
    const { inode } = this;
    if (!inode.writable) return;
    await inode.flush(o?.signal);
    await inode.settle(o?.signal);
    this.told = inode.failures;
  }

  syncSync(): void {
    this.checkOpen();
    const { inode } = this;
    if (!inode.writable) return;
    inode.flushNow();
    inode.settleNow();
    this.told = inode.failures;
  }

  // Advice.

  /** What the program is going to do, as posix_fadvise. Bytes [at, at + length); no length: to the end of the file. */
  advise(advice: Advice, at = 0, length = 0): void {
    this.check(at, length);
    const { core, inode } = this;
    core.enter(inode);
    genericFadvise(core.m, this.file, at, length, advice);
    core.kick();
  }

  /** Reads bytes into the cache; resolves when they are there. */
  async prefetch(at: number, length: number, o?: Waiting): Promise<void> {
    this.check(at, length);
    const { core, inode } = this;
    const end = Math.min(at + length, this.size);
    for (let pos = at; pos < end; ) {
      const step = Math.min(end - pos, inode.ahead?.step ?? STEP_BYTES);
      core.enter(inode);
      inode.ahead?.exactly(this.file, pos, step);
      await this.touch(pos, step, o?.signal);
      pos += step;
    }
    core.kick();
  }

  // Streams.

  /** The bytes from `start` to `end` (the file's end) as a stream. */
  readable(o?: StreamRange): ReadableStream<Uint8Array> {
    this.checkOpen();
    return readable(this, o);
  }

  /** A stream whose bytes are written one after the other from `start` on; closing it is sync. */
  writable(o?: StreamRange): WritableStream<Uint8Array> {
    this.checkWrite(o?.start ?? 0, 0);
    return writable(this, o);
  }

  // The end.

  /** Brings what is dirty to the source and closes. When that fails the file stays open: nothing is dropped silently. */
  async close(): Promise<void> {
    if (this.state.closed) return;
    const { inode } = this;
    if (inode.handles === 1) {
      if (inode.writable) {
        await inode.flush(undefined);
        await inode.settle(undefined);
      }
      if (this.state.closed) return;
    }
    this.end();
    if (inode.handles > 0) return;
    await inode.drop();
    await inode.source.close?.();
  }

  closeSync(): void {
    if (this.state.closed) return;
    const { inode } = this;
    if (inode.handles === 1 && inode.writable) {
      inode.flushNow();
      inode.settleNow();
    }
    this.end();
    if (inode.handles > 0) return;
    inode.dropNow();
    inode.source.closeSync?.();
  }

  /** Closes whatever is left unwritten; true when it was the last open. The cache's own close. */
  abandon(): boolean {
    if (this.state.closed) return false;
    this.end();
    return this.inode.handles === 0;
  }

  private end(): void {
    this.state.closed = true;
    this.resident.close();
    this.inode.handles--;
    this.core.dropFile(this.file);
    this.onClose(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Bad input.

  private checkOpen(): void {
    if (this.state.closed) throw this.inode.closed();
  }

  private check(at: number, length: number): void {
    this.checkOpen();
    for (const n of [at, length])
      if (!Number.isSafeInteger(n) || n < 0)
        throw new CacheError('INVALID_OFFSET', `${this.name}: ${n}: expected a whole number of bytes`, {
          source: this.name,
          at: n,
        });
  }

  private checkWrite(at: number, length: number): void {
    this.check(at, length);
    const { inode, core } = this;
    if (!inode.writable)
      throw new CacheError('READ_ONLY', `${this.name}: the source cannot write`, { source: this.name, at });
    if (at + length > PGOFF_MAX * core.m.config.pageSize)
      throw new CacheError('INVALID_OFFSET', `${this.name}: ${at + length} bytes: no file is that long`, {
        source: this.name,
        at,
      });
  }

  private checkCut(size: number): void {
    const { source } = this.inode;
    if (source.truncate === undefined && source.truncateSync === undefined && size < this.size)
      throw new CacheError('READ_ONLY', `${this.name}: the source cannot be cut`, { source: this.name, at: size });
  }

  /** A writer is told once of each write-back that failed. */
  private tell(): void {
    const { inode } = this;
    if (this.told === inode.failures) return;
    this.told = inode.failures;
    throw inode.failure();
  }
}
