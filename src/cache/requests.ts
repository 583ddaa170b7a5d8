/**
 * Requests to one source. The engine asks folio by folio and window by window; what lies together goes out as one request,
 * and so does what is parted by less than it takes to ask twice (latency × bandwidth). Each is tried a few times, with pauses
 * that double. Bytes go straight between the source and the folios, which are locked or under write-back meanwhile. A read that
 * nobody waits for any more is not sent, or given up: its folios go, and who comes for them asks anew.
 */
import { Calls } from './calls.ts';
import { type Claim, Claims, claims } from './claims.ts';
import type { Core, Failure } from './core.ts';
import { CacheError } from './errors.ts';
import type { Inode } from './inode.ts';
import { retried, wrapped } from './retry.ts';
import { cutAt } from './sources/pieces.ts';
import { nextTurn } from './turn.ts';

/** One request of the engine, [from, to) of the file. */
interface Asked {
  readonly from: number;
  readonly to: number;
  /** Nobody waits for it yet. */
  readonly ahead: boolean;
  /** It reaches to the end of the file: what the folio holds past it becomes zeros. */
  readonly last: boolean;
  /** The same for all that one call of the engine asked for. */
  readonly round: number;
}

/** Some of them, in order, that go out together. */
type Joined = readonly Asked[];

/** A read on its way. */
interface Sent {
  readonly joined: Joined;
  readonly calls: Calls;
}

/** Buffers of one request: IOV_MAX is 1024. */
const PIECES_MAX = 1024;
const SINK_BYTES = 65536;
const NOBODY: readonly number[] = [];
const PARALLEL = 6;

export class Requests {
  private readonly core: Core;
  private readonly inode: Inode;
  private reads: Asked[] = [];
  private writes: Asked[] = [];
  /** Requests under way, by kind. */
  reading = 0;
  writing = 0;
  private scheduled = false;
  /** Where bytes go that are read over. */
  private sink: Uint8Array | null = null;
  /** Reads under way, and all other calls of the source. */
  private readonly sent = new Set<Sent>();
  private readonly calls = new Calls();
  private round = 0;
  readonly claims = new Claims();

  constructor(core: Core, inode: Inode) {
    this.core = core;
    this.inode = inode;
  }

  get busy(): boolean {
    return this.reading + this.writing + this.reads.length + this.writes.length > 0;
  }

  read(from: number, to: number, ahead: boolean): void {
    this.reads.push({ from, to, ahead, last: to >= this.inode.size, round: this.round });
  }
  write(from: number, to: number): void {
    this.writes.push({ from, to, ahead: false, last: false, round: this.round });
  }

  /** Nothing is waited for any longer. */
  cancel(): void {
    this.calls.giveUp();
    for (const { calls } of this.sent) calls.giveUp();
  }

  /** Carries out what has been asked: at once where the source can, else in a moment, when more may have been asked: for a costly source, when everybody has had a turn. */
  start(): void {
    const { inode } = this;
    this.round++;
    if (inode.readsNow) this.runReadsNow();
    if (inode.writesNow) this.runWritesNow();
    if (this.scheduled || this.reads.length + this.writes.length === 0) return;
    this.scheduled = true;
    const soon = inode.ahead === null ? queueMicrotask : nextTurn;
    soon(() => {
      this.scheduled = false;
      this.dispatch();
    });
  }

  /** The same for a caller that cannot wait, as far as the source has synchronous methods. */
  runNow(): void {
    const { source } = this.inode;
    if (source.readSync !== undefined) this.runReadsNow();
    if (source.writeSync !== undefined) this.runWritesNow();
  }

  // Which requests go out together.

  /** The first that somebody waits for, and what goes out with it. */
  private take(list: Asked[], gap: number): Joined {
    if (list.length === 1) return list.splice(0, 1);
    inOrder(list);
    let first = list.findIndex((r) => !r.ahead);
    if (first < 0) first = 0;
    let last = first;
    const most = this.inode.source.hints?.maxRequest ?? Number.POSITIVE_INFINITY;
    const at = (i: number): Asked => list[i] as Asked;
    while (first > 0 && at(first).from - at(first - 1).to <= gap && at(last).to - at(first - 1).from <= most) first--;
    while (last + 1 < list.length && at(last + 1).from - at(last).to <= gap && at(last + 1).to - at(first).from <= most)
      last++;
    return list.splice(first, last - first + 1);
  }

  /** All of them, as requests without gaps. */
  private takeAll(list: Asked[]): Joined[] {
    if (list.length === 1) return [list];
    inOrder(list);
    const most = this.inode.source.hints?.maxRequest ?? Number.POSITIVE_INFINITY;
    const all: Asked[][] = [];
    let joined: Asked[] = [];
    let from = 0;
    let end = -1;
    for (const r of list) {
      if (r.from === end && r.to - from <= most) joined.push(r);
      else {
        from = r.from;
        joined = [r];
        all.push(joined);
      }
      end = r.to;
    }
    this.core.counts.joined += list.length - all.length;
    return all;
  }

  private dispatch(): void {
    const { inode, core } = this;
    const parallel = inode.source.hints?.parallel ?? PARALLEL;
    while (this.reads.length > 0 && this.reading < parallel) {
      // Bytes that are being written are not read over.
      const gap = this.writing + this.writes.length === 0 && inode.source.readv !== undefined ? inode.gapBytes : 0;
      const joined = this.take(this.reads, gap);
      core.counts.joined += joined.length - 1;
      this.reading++;
      void this.runRead({ joined, calls: new Calls() });
    }
    while (this.writes.length > 0 && this.writing < parallel) {
      const joined = this.take(this.writes, 0);
      core.counts.joined += joined.length - 1;
      this.writing++;
      void this.runWrite(joined);
    }
  }

  // Reading.

  /**
   * The buffers of [from, to) of a request: the folios' own bytes, and the sink for what lies between. What the source does
   * not hold becomes zeros here. Returns the end of what must be read.
   */
  private buffersOf(joined: Joined, pieces: Uint8Array[]): number {
    const { core, inode } = this;
    let end = (joined[0] as Asked).from;
    for (const r of joined) {
      const stop = Math.min(r.to, inode.validTo);
      if (r.from < stop) {
        for (let gap = r.from - end; gap > 0; gap -= SINK_BYTES) {
          this.sink ??= new Uint8Array(SINK_BYTES);
          pieces.push(this.sink.subarray(0, Math.min(gap, SINK_BYTES)));
        }
        core.buffers(inode.mapping, r.from, stop, pieces);
        end = stop;
      }
      core.zero(inode.mapping, Math.max(stop, r.from), r.to);
      if (r.last) core.zeroRest(inode.mapping, r.to);
    }
    return end;
  }

  private async runRead(sent: Sent): Promise<void> {
    const { joined, calls } = sent;
    const pieces: Uint8Array[] = [];
    const from = (joined[0] as Asked).from;
    const to = this.buffersOf(joined, pieces);
    this.sent.add(sent);
    if (this.calls.over) calls.giveUp();
    const error = to > from ? await this.trying(() => this.fetch(pieces, from, to - from, calls), calls) : null;
    this.sent.delete(sent);
    this.reading--;
    if (calls.over) this.letGo(joined);
    else this.endReads(joined, error);
    this.core.kick();
    this.dispatch();
  }

  private async fetch(pieces: readonly Uint8Array[], from: number, length: number, calls: Calls): Promise<void> {
    const { source } = this.inode;
    const { counts } = this.core;
    counts.readBytes += length;
    const most = source.hints?.maxRequest ?? Number.POSITIVE_INFINITY;
    // Costly sources are no files of the host: their readv takes any number of buffers.
    const atOnce = this.inode.ahead === null ? PIECES_MAX : Number.POSITIVE_INFINITY;
    const parts = cutAt(pieces, source.readv === undefined ? 1 : atOnce, most);
    counts.reads += parts.length;
    let at = from;
    // All of them settle before the buffers are let go.
    const ends = await Promise.allSettled(
      parts.map(async (part) => {
        const begin = at;
        const want = part.reduce((sum, piece) => sum + piece.length, 0);
        at += want;
        const got =
          part.length > 1 && source.readv !== undefined
            ? await calls.run((signal) => source.readv!(part, begin, signal))
            : await calls.run((signal) => source.read(part[0] as Uint8Array, begin, signal));
        this.check(got, begin, want);
      }),
    );
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  private check(got: number, from: number, length: number): void {
    if (got === length) return;
    const { name } = this.inode;
    if (!(Number.isSafeInteger(got) && got >= 0 && got < length))
      throw new CacheError('WRONG_SIZE', `${name}: ${got} bytes at ${from} where ${length} were asked for`, {
        source: name,
        at: from,
      });
    throw new CacheError('SHORT_READ', `${name}: ${got} of ${length} bytes at ${from}, inside the size it announced`, {
      source: name,
      at: from,
      retryable: true,
    });
  }

  private runReadsNow(): void {
    const { inode, core } = this;
    const { source } = inode;
    if (this.reads.length === 0) return;
    const asked = this.reads;
    this.reads = [];
    for (const joined of this.takeAll(asked)) {
      const pieces: Uint8Array[] = [];
      const from = (joined[0] as Asked).from;
      const to = this.buffersOf(joined, pieces);
      let error: CacheError | null = null;
      try {
        if (to > from) {
          core.counts.readBytes += to - from;
          if (pieces.length > 1 && source.readvSync !== undefined) {
            core.counts.reads++;
            this.check(source.readvSync(pieces, from), from, to - from);
          } else {
            let at = from;
            for (const piece of pieces) {
              core.counts.reads++;
              this.check(source.readSync!(piece, at), at, piece.length);
              at += piece.length;
            }
          }
        }
      } catch (cause) {
        error = this.wrap(cause);
        core.counts.failures++;
      }
      this.endReads(joined, error);
    }
  }

  private endReads(joined: Joined, error: CacheError | null): void {
    const { core, inode } = this;
    for (const r of joined) {
      const folios = error !== null || core.listened ? core.foliosIn(inode.mapping, r.from, r.to) : NOBODY;
      core.fs.endRead(core.m, inode.mapping, r.from, r.to - r.from, error === null);
      const failure: Failure | null =
        error === null ? null : { error, alone: joined.length === 1 && folios.length === 1 };
      core.ended(folios, failure);
    }
  }

  // Reads that nobody waits for any more.

  /**
   * Somebody has given up waiting. Reads that were for him, and that nobody else waits for, are not sent, or their calls are given
   * up; what went along with them goes with them. What was asked for ahead alone stays.
   */
  leave(gone: Claim): void {
    const { counts } = this.core;
    const unsent = this.unsent(gone);
    counts.cancelled += unsent.size;
    if (unsent.size > 0) {
      const dropped = this.reads.filter((r) => unsent.has(unitOf(r)));
      this.reads = this.reads.filter((r) => !unsent.has(unitOf(r)));
      this.letGo(dropped);
    }
    for (const { joined, calls } of this.sent)
      if (!calls.over && joined.some((r) => claims(gone, r.from, r.to)) && !joined.some((r) => this.isWanted(r))) {
        counts.cancelled++;
        calls.giveUp();
      }
  }

  /** What need not be sent, by unitOf. */
  private unsent(gone: Claim): Set<Asked | number> {
    const units = new Set<Asked | number>();
    for (const r of this.reads) if (claims(gone, r.from, r.to)) units.add(unitOf(r));
    for (const r of this.reads) if (units.has(unitOf(r)) && this.isWanted(r)) units.delete(unitOf(r));
    return units;
  }

  private isWanted({ from, to }: Asked): boolean {
    return this.claims.on(from, to);
  }

  /** Ends reads without bytes and without an error: who comes to wait for one of the folios looks again, and asks anew. */
  private letGo(joined: Joined): void {
    const { core, inode } = this;
    for (const r of joined) {
      const folios = core.foliosIn(inode.mapping, r.from, r.to);
      core.fs.endRead(core.m, inode.mapping, r.from, r.to - r.from, false);
      core.ended(folios, null);
      core.forget(inode.mapping, r.from, r.to);
      inode.ahead?.forget(r.from, r.to);
    }
  }

  // Writing.

  private async runWrite(joined: Joined): Promise<void> {
    const pieces: Uint8Array[] = [];
    const { from, to } = this.source(joined, pieces);
    const { inode } = this;
    let error: CacheError | null = null;
    if (to > from) {
      const before = await inode.beforeWrite(to);
      error = typeof before === 'boolean' ? await this.trying(() => this.store(pieces, from, to - from)) : before;
      if (before === true) inode.extended();
    }
    this.writing--;
    this.endWrites(joined, error, to);
    this.core.kick();
    this.dispatch();
  }

  /** The bytes of a write, which hold still. The end of the file cuts it. */
  private source(joined: Joined, pieces: Uint8Array[]): { from: number; to: number } {
    const { core, inode } = this;
    const { from } = joined[0] as Asked;
    const to = Math.min((joined[joined.length - 1] as Asked).to, inode.size);
    if (to > from) core.buffers(inode.mapping, from, to, pieces);
    return { from, to };
  }

  private async store(pieces: readonly Uint8Array[], from: number, length: number): Promise<void> {
    const { source } = this.inode;
    const { counts } = this.core;
    counts.writtenBytes += length;
    let at = from;
    for (const part of cutAt(pieces, source.writev === undefined ? 1 : PIECES_MAX)) {
      counts.writes++;
      const piece = part[0] as Uint8Array;
      const begin = at;
      if (part.length > 1 && source.writev !== undefined)
        await this.calls.run((signal) => source.writev!(part, begin, signal));
      else if (source.write !== undefined) await this.calls.run((signal) => source.write!(piece, begin, signal));
      else source.writeSync!(piece, begin);
      for (const one of part) at += one.length;
    }
  }

  private runWritesNow(): void {
    const { inode, core } = this;
    const { source } = inode;
    if (this.writes.length === 0) return;
    const asked = this.writes;
    this.writes = [];
    for (const joined of this.takeAll(asked)) {
      const pieces: Uint8Array[] = [];
      const { from, to } = this.source(joined, pieces);
      let error: CacheError | null = null;
      try {
        if (to > from) {
          inode.cutFirstNow(to);
          core.counts.writtenBytes += to - from;
          let at = from;
          for (const part of cutAt(pieces, source.writevSync === undefined ? 1 : PIECES_MAX)) {
            core.counts.writes++;
            if (part.length > 1 && source.writevSync !== undefined) source.writevSync(part, at);
            else source.writeSync!(part[0] as Uint8Array, at);
            for (const piece of part) at += piece.length;
          }
        }
      } catch (cause) {
        error = this.wrap(cause);
        core.counts.failures++;
      }
      this.endWrites(joined, error, to);
    }
  }

  private endWrites(joined: Joined, error: CacheError | null, to: number): void {
    const { core, inode } = this;
    inode.changes++;
    if (error === null) inode.validTo = Math.max(inode.validTo, to);
    else {
      inode.writeFailed(error);
      if (to > inode.validTo) inode.uncertain();
    }
    for (const r of joined) {
      const folios = error !== null || core.listened ? core.foliosIn(inode.mapping, r.from, r.to) : NOBODY;
      core.fs.endWrite(core.m, inode.mapping, r.from, r.to - r.from, error === null);
      if (error !== null) core.fs.redirty(core.m, inode.mapping, r.from, r.to - r.from);
      // Who waits to change one of these goes on: the inode has noted the failure, and tells each writer once.
      core.ended(folios, null);
    }
  }

  // Trying again.

  /** Does it, and again after a pause when it failed for a reason that may pass. What went wrong in the end, or null. */
  async trying(work: () => Promise<void>, calls = this.calls): Promise<CacheError | null> {
    const { retry, counts } = this.core;
    const { name } = this.inode;
    try {
      // The signal ends the pauses; each call of the source has its own.
      await calls.run((signal) =>
        retried(name, retry, counts, signal, () => {
          if (calls.over) throw new CacheError('CLOSED', `${name}: closed`, { source: name });
          return work();
        }),
      );
      return null;
    } catch (error) {
      return wrapped(name, error);
    }
  }

  wrap(cause: unknown): CacheError {
    return wrapped(this.inode.name, cause);
  }
}

/** Sorts requests by where they begin; most often they are in order. */
function inOrder(list: Asked[]): void {
  for (let i = 1; i < list.length; i++)
    if ((list[i] as Asked).from < (list[i - 1] as Asked).from) {
      list.sort(byFrom);
      return;
    }
}

/** What is sent or not as one: all that one call of the engine asked for; of what it asked for ahead, each by itself. */
const unitOf = (r: Asked): Asked | number => (r.ahead ? r : r.round);

const byFrom = (a: Asked, b: Asked): number => a.from - b.from;
