/**
 * A file of the cache as a program sees it. A read goes through the engine; what is there is copied in the same call, and only
 * what is not becomes a promise: reading.ts and writing.ts have what may wait.
 */

import { type Fadvice, genericFadvise } from '../mm/fadvise.ts';
import { throwIfAborted } from './abort.ts';
import type { Core } from './core.ts';
import { Cursor } from './cursor.ts';
import { Handle, type Waiting } from './handle.ts';
import type { Inode } from './inode.ts';
import { Reading } from './reading.ts';
import { Resident } from './resident.ts';
import { readable, type StreamRange, writable } from './streams.ts';
import type { View } from './view.ts';
import { pastEnd, viewOf } from './view.ts';
import { Writing } from './writing.ts';

/** Bytes that a prefetch asks for at a time. */
const STEP_BYTES = 2 ** 20;
const NOTHING: readonly Uint8Array[] = [];

export type Advice = Fadvice;

export class CachedFile {
  /** The source's name. */
  readonly name: string;
  private readonly core: Core;
  private readonly inode: Inode;
  private readonly handle: Handle;
  private readonly resident: Resident;
  private readonly reading: Reading;
  private readonly writing: Writing;
  private readonly onClose: (file: CachedFile) => void;

  constructor(core: Core, inode: Inode, onClose: (file: CachedFile) => void) {
    this.core = core;
    this.inode = inode;
    this.name = inode.name;
    this.handle = new Handle(core, inode);
    this.resident = new Resident(core, inode.mapping, this.handle.file);
    this.reading = new Reading(this.handle);
    this.writing = new Writing(this.handle, this.resident);
    this.onClose = onClose;
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
    return this.reading.read(into, at, into.length, o?.signal, true);
  }

  /** The same, at once or not at all: SOURCE when something must be waited for. */
  readSync(into: Uint8Array, at: number): number {
    const n = this.resident.read(into, at);
    if (n >= 0) return n;
    return this.reading.read(into, at, into.length, undefined, false) as number;
  }

  /** Fills several buffers one after the other. */
  readv(pieces: readonly Uint8Array[], at: number, o?: Waiting): number | Promise<number> {
    if (pieces.length === 0) return 0;
    let length = 0;
    for (const piece of pieces) length += piece.length;
    return this.reading.read(pieces, at, length, o?.signal, true);
  }

  // Without a copy.

  /**
   * Bytes [at, at + length) where they lie in the cache, held there until the view is disposed of. Not to be written to. One
   * piece, or several where folios end: see View.
   */
  view(at: number, length: number, o?: Waiting): View | Promise<View> {
    this.handle.check(at, length);
    if (at + length > this.size) throw pastEnd(this.inode, at, length);
    const view = this.resident.view(at, length);
    if (view !== null) return view;
    return viewOf(this.inode, at, length, (from, count) => this.touch(from, count, o?.signal));
  }

  /** A cursor of its own over the file. */
  cursor(): Cursor {
    this.handle.checkOpen();
    return new Cursor(this.core, this.inode.mapping, this.handle);
  }

  /** Makes bytes resident for a view, as a read does; a promise where it must wait. */
  private touch(at: number, length: number, signal: AbortSignal | undefined): number | Promise<number> {
    return this.reading.read(NOTHING, at, length, signal, true);
  }

  // Writing.

  /** Writes all of `from` at `at`; a promise when it must wait for memory, for a read, or for other writers. */
  write(from: Uint8Array, at: number, o?: Waiting): number | Promise<number> {
    const { writing } = this;
    const n = o?.signal === undefined ? writing.quick(from, at) : -1;
    if (n >= 0) return n;
    writing.check(at, from.length);
    return writing.write(from, at, from.length, o?.signal);
  }

  writeSync(from: Uint8Array, at: number): number {
    const { writing } = this;
    const n = writing.quick(from, at);
    if (n >= 0) return n;
    writing.check(at, from.length);
    return writing.writeSync(from, at);
  }

  /** Cuts the file at `size`, or lets it grow to it with zeros. */
  truncate(size: number, o?: Waiting): Promise<void> {
    return this.writing.truncate(size, o?.signal);
  }

  truncateSync(size: number): void {
    this.writing.truncateSync(size);
  }

  /** Makes bytes [at, at + length) zeros; the size stays. */
  punch(at: number, length: number, o?: Waiting): number | Promise<number> {
    this.writing.check(at, length);
    return this.writing.write(null, at, Math.max(0, Math.min(length, this.size - at)), o?.signal);
  }

  /** Resolves when everything written before is in the source, and durable there if the source knows how. */
  async sync(o?: Waiting): Promise<void> {
    this.handle.checkOpen();
    throwIfAborted(o?.signal);
    if (this.inode.writable) await this.writing.sync(o?.signal);
  }

  syncSync(): void {
    this.handle.checkOpen();
    if (this.inode.writable) this.writing.syncSync();
  }

  // Advice.

  /** What the program is going to do, as posix_fadvise. Bytes [at, at + length); no length: to the end of the file. */
  advise(advice: Advice, at = 0, length = 0): void {
    this.handle.check(at, length);
    const { core, inode } = this;
    core.enter(inode);
    genericFadvise(core.m, this.handle.file, at, length, advice);
    core.kick();
  }

  /** Reads bytes into the cache; resolves when they are there. Aborted, it asks for no more; what it has asked for still comes. */
  async prefetch(at: number, length: number, o?: Waiting): Promise<void> {
    this.handle.check(at, length);
    const { core, inode } = this;
    const end = Math.min(at + length, this.size);
    for (let pos = at; pos < end; ) {
      const step = Math.min(end - pos, inode.ahead?.step ?? STEP_BYTES);
      core.enter(inode);
      inode.ahead?.exactly(this.handle.file, pos, step);
      await this.reading.read(null, pos, step, o?.signal, true);
      pos += step;
    }
    core.kick();
  }

  // Streams.

  /** The bytes from `start` to `end` (the file's end) as a stream. */
  readable(o?: StreamRange): ReadableStream<Uint8Array> {
    this.handle.checkOpen();
    return readable(this, o);
  }

  /** A stream whose bytes are written one after the other from `start` on; closing it is sync. */
  writable(o?: StreamRange): WritableStream<Uint8Array> {
    this.writing.check(o?.start ?? 0, 0);
    return writable(this, o);
  }

  // The end.

  /** Brings what is dirty to the source and closes. When that fails the file stays open: nothing is dropped silently. */
  async close(): Promise<void> {
    if (this.handle.closed) return;
    const { inode } = this;
    if (inode.handles === 1) {
      if (inode.writable) {
        await inode.flush(undefined);
        await inode.settle(undefined);
      }
      if (this.handle.closed) return;
    }
    this.end();
    if (inode.handles > 0) return;
    await inode.drop();
    await inode.source.close?.();
  }

  closeSync(): void {
    if (this.handle.closed) return;
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
    if (this.handle.closed) return false;
    this.end();
    return this.inode.handles === 0;
  }

  private end(): void {
    this.handle.close();
    this.resident.close();
    this.onClose(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
