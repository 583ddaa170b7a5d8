/**
 * One open of a file: what its reading and its writing have in common. Both are loops as those of a system call: call the
 * engine, wait for the folio that it names or for room, call it again.
 */
import { type FileId, type FolioId, NO_FOLIO } from '../mm/ids.ts';
import type { Core, Failure } from './core.ts';
import { CacheError } from './errors.ts';
import type { Inode } from './inode.ts';

export interface Waiting {
  /** Gives up waiting. A read from the source that nobody else waits for is given up as well. */
  readonly signal?: AbortSignal | undefined;
}

/** How a round of such a loop ended: wait for Handle.waitFolio, or for room, before the next one. */
export const DONE = 0;
export const FOLIO = 1;
export const ROOM = 2;

/** Times that a call makes room in vain before it gives up. */
const ROUNDS = 16;

/** What a loop remembers from round to round. */
export interface Call {
  /** A request of more than what was waited for has failed, and just that was asked for again. */
  retried: boolean;
}

export class Handle {
  readonly core: Core;
  readonly inode: Inode;
  /** In the machine. */
  readonly file: FileId;
  closed = false;
  waitFolio: FolioId = NO_FOLIO;

  constructor(core: Core, inode: Inode) {
    this.core = core;
    this.inode = inode;
    this.file = inode.openFile();
    inode.handles++;
  }

  close(): void {
    this.closed = true;
    this.inode.handles--;
    this.core.dropFile(this.file);
  }

  checkOpen(): void {
    if (this.closed) throw this.inode.closed();
  }

  check(at: number, length: number): void {
    this.checkOpen();
    if (!(Number.isSafeInteger(at) && at >= 0)) throw this.invalid(at);
    if (!(Number.isSafeInteger(length) && length >= 0)) throw this.invalid(length);
  }

  private invalid(n: number): CacheError {
    const { name } = this.inode;
    return new CacheError('INVALID_OFFSET', `${name}: ${n}: expected a whole number of bytes`, { source: name, at: n });
  }

  /** A request that covered more than what is waited for is tried once more, for just that. */
  failed(failure: Failure | null, call: Call): void {
    if (failure === null) return;
    if (failure.alone || call.retried) throw failure.error;
    call.retried = true;
  }

  /** What can be done without waiting so that a call can go on. */
  goOnNow(state: number, rounds: number, call: Call): void {
    const { core, inode } = this;
    if (state === FOLIO) {
      this.failed(core.kickNow(this.waitFolio, inode), call);
      if (!core.isFree(this.waitFolio)) throw inode.cannotWait('this');
    } else {
      if (rounds >= ROUNDS || !core.makeRoomNow()) throw core.noRoom(inode.name);
    }
  }

  /**
   * Waits for the folio. To be awaited by the loop itself: the folio is held for as long as it takes the one who awaits this to
   * go on, and no longer.
   */
  folio(signal: AbortSignal | undefined): Promise<Failure | null> {
    return this.core.waitFor(this.waitFolio, signal);
  }

  /** Waits for room. True: until a read of somebody had ended, which may have taken the room again, and does not count as in vain. */
  async room(rounds: number, signal: AbortSignal | undefined): Promise<boolean> {
    const { core } = this;
    if (rounds >= ROUNDS || !core.makeRoom()) throw core.noRoom(this.inode.name);
    const { reading } = core;
    if (core.busy) await core.waitForAny(signal);
    return reading;
  }
}
