/** Changes of a file: bytes, holes, its size. One at a time has the file's lock. */
import { NO_FOLIO, PGOFF_MAX } from '../mm/ids.ts';
import { throwIfAborted } from './abort.ts';
import type { Claim } from './claims.ts';
import { CacheError } from './errors.ts';
import { type Call, DONE, FOLIO, type Handle, ROOM } from './handle.ts';
import type { Resident } from './resident.ts';

/** Bytes that a write or a hole takes to the engine at a time. */
const STEP_BYTES = 2 ** 20;
/** Pages that a hole zeroes at a time: a step that runs out of memory is made again from its start. */
const ZERO_PAGES = 16;

/** A write on its way: bytes, or zeros where `from` is null. */
interface Bringing extends Call {
  readonly from: Uint8Array | null;
  readonly at: number;
  readonly length: number;
  done: number;
}

export class Writing {
  private readonly handle: Handle;
  private readonly resident: Resident;
  /** Failed writes that this writer has been told of. */
  private told: number;

  constructor(handle: Handle, resident: Resident) {
    this.handle = handle;
    this.resident = resident;
    this.told = handle.inode.failures;
  }

  /** Bytes written where that changes nothing but them; −1: it is not so simple. */
  quick(from: Uint8Array, at: number): number {
    const { inode } = this.handle;
    return inode.locked || this.told !== inode.failures ? -1 : this.resident.write(from, at);
  }

  /** Brings `length` bytes of `from` (null: zeros) to the file. A promise when it must wait: for memory, a read, other writers. */
  write(
    from: Uint8Array | null,
    at: number,
    length: number,
    signal: AbortSignal | undefined,
  ): number | Promise<number> {
    throwIfAborted(signal);
    if (length === 0) return 0;
    const { inode } = this.handle;
    const what: Bringing = { from, at, length, done: 0, retried: false };
    if (!inode.tryLock()) return inode.lock(signal).then(() => this.locked(what, signal));
    return this.locked(what, signal);
  }

  private locked(what: Bringing, signal: AbortSignal | undefined): number | Promise<number> {
    const { inode } = this.handle;
    let state = DONE;
    try {
      state = this.round(what);
    } finally {
      if (state === DONE) inode.unlock();
    }
    if (state === DONE) return what.length;
    return this.later(what, state, signal).finally(() => inode.unlock());
  }

  writeSync(from: Uint8Array, at: number): number {
    const { length } = from;
    if (length === 0) return 0;
    this.lockNow('writeSync');
    try {
      const what: Bringing = { from, at, length, done: 0, retried: false };
      let state = this.round(what);
      for (let rounds = 0, before = 0; state !== DONE; state = this.round(what)) {
        if (what.done > before) rounds = 0;
        before = what.done;
        this.handle.goOnNow(state, rounds++, what);
      }
      return length;
    } finally {
      this.handle.inode.unlock();
    }
  }

  private lockNow(what: string): void {
    const { inode } = this.handle;
    if (!inode.tryLock()) throw inode.cannotWait(what);
  }

  /** Takes bytes to the engine until all are there or something must be waited for. */
  private round(what: Bringing): number {
    const { core, inode, file } = this.handle;
    const { m } = core;
    const { from, at, length } = what;
    while (what.done < length) {
      this.handle.checkOpen();
      this.tell();
      core.enter(inode);
      m.wait = NO_FOLIO;
      if (core.overDirtyLimit) {
        core.flushDirty();
        if (core.overDirtyLimit && core.busy) return ROOM;
      }
      const pos = at + what.done;
      const step = from !== null ? STEP_BYTES : ZERO_PAGES * m.config.pageSize;
      const want = Math.min(length - what.done, step);
      core.bytes.writeFrom(from, what.done);
      let done = want;
      if (from !== null) done = core.fs.write(m, file, pos, want);
      else if (!core.fs.punchHole(m, inode.mapping, pos, want)) done = 0;
      const folio = m.wait;
      const failure = core.kickFor(folio);
      what.done += done;
      if (done === want) continue;
      if (folio === NO_FOLIO) return ROOM;
      this.handle.failed(failure, what);
      if (core.isFree(folio)) continue;
      this.handle.waitFolio = folio;
      return FOLIO;
    }
    return DONE;
  }

  private async later(what: Bringing, first: number, signal: AbortSignal | undefined): Promise<number> {
    const { claims } = this.handle.inode.requests;
    const claim: Claim = { pos: what.at, count: what.length };
    let state = first;
    let rounds = 0;
    claims.add(claim);
    try {
      for (let before = what.done; state !== DONE; state = this.round(what)) {
        if (what.done > before) rounds = 0;
        before = what.done;
        if (state === FOLIO) this.handle.failed(await this.handle.folio(signal), what);
        else if (!(await this.handle.room(rounds, signal))) rounds++;
      }
      return what.length;
    } finally {
      claims.delete(claim);
    }
  }

  /** Cuts the file at `size`, or lets it grow to it with zeros. */
  async truncate(size: number, signal: AbortSignal | undefined): Promise<void> {
    this.checkCut(size);
    throwIfAborted(signal);
    const { core, inode } = this.handle;
    const { m } = core;
    await inode.lock(signal);
    try {
      for (;;) {
        core.enter(inode);
        m.wait = NO_FOLIO;
        if (core.fs.setSize(m, inode.mapping, size)) break;
        const folio = m.wait;
        core.kick();
        if (!core.isFree(folio)) await core.waitFor(folio, signal);
        this.handle.checkOpen();
      }
      inode.shrunk(size);
      const error = await inode.cut();
      if (error !== null) throw error;
    } finally {
      inode.unlock();
    }
  }

  truncateSync(size: number): void {
    this.checkCut(size);
    const { core, inode } = this.handle;
    if (inode.source.truncateSync === undefined) throw inode.cannotWait('truncateSync');
    this.lockNow('truncateSync');
    try {
      for (;;) {
        core.enter(inode);
        if (core.fs.setSize(core.m, inode.mapping, size)) break;
        const folio = core.m.wait;
        core.kickNow(folio, inode);
        if (!core.isFree(folio)) throw inode.cannotWait('truncateSync');
      }
      inode.shrunk(size);
      inode.cutNow();
    } finally {
      inode.unlock();
    }
  }

  /** Resolves when everything written before is in the source, and durable there if the source knows how. */
  async sync(signal: AbortSignal | undefined): Promise<void> {
    const { inode } = this.handle;
    await inode.flush(signal);
    await inode.settle(signal);
    this.told = inode.failures;
  }

  syncSync(): void {
    const { inode } = this.handle;
    inode.flushNow();
    inode.settleNow();
    this.told = inode.failures;
  }

  /** A writer is told once of each write-back that failed. */
  private tell(): void {
    const { inode } = this.handle;
    if (this.told === inode.failures) return;
    this.told = inode.failures;
    throw inode.failure();
  }

  // Bad input.

  check(at: number, length: number): void {
    const { inode, core } = this.handle;
    this.handle.check(at, length);
    if (!inode.writable)
      throw new CacheError('READ_ONLY', `${inode.name}: the source cannot write`, { source: inode.name, at });
    const end = at + length;
    if (end > PGOFF_MAX * core.m.config.pageSize)
      throw new CacheError('INVALID_OFFSET', `${inode.name}: ${end} bytes: no file is that long`, {
        source: inode.name,
        at,
      });
  }

  private checkCut(size: number): void {
    this.check(size, 0);
    const { inode } = this.handle;
    const { source } = inode;
    if (source.truncate === undefined && source.truncateSync === undefined && size < inode.size)
      throw new CacheError('READ_ONLY', `${inode.name}: the source cannot be cut`, { source: inode.name, at: size });
  }
}
