/** Reads of what is not, or not all, cached. */
import { type Kiocb, kiocb, READ_DONE, READ_WAIT } from '../mm/filemap.ts';
import { NO_FOLIO } from '../mm/ids.ts';
import { throwIfAborted } from './abort.ts';
import { type Call, DONE, FOLIO, type Handle, ROOM } from './handle.ts';

/** Where a read goes; null: nowhere, it only makes bytes resident, ahead of the reads that want them. */
type Target = Uint8Array | readonly Uint8Array[] | null;

const NOTHING: readonly Uint8Array[] = [];

export class Reading {
  private readonly handle: Handle;
  private readonly iocb: Kiocb;

  constructor(handle: Handle) {
    this.handle = handle;
    this.iocb = kiocb(handle.file, 0, 0);
  }

  /**
   * Reads `length` bytes at `at` into `target`; no pieces: the bytes are made resident for a view. A promise where it must wait
   * and may.
   */
  read(
    target: Target,
    at: number,
    length: number,
    signal: AbortSignal | undefined,
    mayWait: boolean,
  ): number | Promise<number> {
    this.handle.check(at, length);
    throwIfAborted(signal);
    if (length === 0) return 0;
    const { iocb } = this;
    iocb.pos = at;
    iocb.count = length;
    iocb.done = 0;
    const call = { retried: false };
    const state = this.round(iocb, target, call);
    if (state === DONE) return iocb.done;
    if (mayWait) return this.later({ ...iocb }, target, call, state, signal);
    return this.now(iocb, target, call, state);
  }

  /** Goes on with a read until it has ended or must wait. */
  private round(iocb: Kiocb, target: Target, call: Call): number {
    const { core, inode, file } = this.handle;
    const { m } = core;
    const { ahead } = inode;
    for (;;) {
      this.handle.checkOpen();
      core.enter(inode);
      if (target instanceof Uint8Array) core.bytes.readInto(target, iocb.done);
      else core.bytes.readIntoPieces(target ?? NOTHING, iocb.done);
      iocb.asked = NO_FOLIO;
      m.wait = NO_FOLIO;
      const later = ahead === null ? 0 : Math.max(0, iocb.count - ahead.step);
      iocb.count -= later;
      ahead?.before(file, iocb.pos, iocb.count);
      const state = core.fs.read(m, iocb);
      iocb.count += later;
      const folio = m.wait;
      const failure = core.kickFor(folio);
      if (state === READ_DONE && later > 0 && iocb.pos < inode.size) continue;
      if (state === READ_DONE) return DONE;
      if (state !== READ_WAIT) return ROOM;
      this.handle.failed(failure, call);
      if (!core.isFree(folio)) {
        this.handle.waitFolio = folio;
        return FOLIO;
      }
    }
  }

  private async later(
    iocb: Kiocb,
    target: Target,
    call: Call,
    first: number,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { requests } = this.handle.inode;
    let state = first;
    let rounds = 0;
    requests.claims.add(iocb);
    try {
      for (let before = iocb.done; state !== DONE; state = this.round(iocb, target, call)) {
        if (iocb.done > before) rounds = 0;
        before = iocb.done;
        if (state === FOLIO) this.handle.failed(await this.handle.folio(signal), call);
        else if (!(await this.handle.room(rounds, signal))) rounds++;
      }
      return iocb.done;
    } finally {
      requests.claims.delete(iocb);
      if (state !== DONE && signal?.aborted && target !== null) requests.leave(iocb);
    }
  }

  private now(iocb: Kiocb, target: Target, call: Call, first: number): number {
    let state = first;
    for (let rounds = 0; state !== DONE; state = this.round(iocb, target, call))
      this.handle.goOnNow(state, rounds++, call);
    return iocb.done;
  }
}
