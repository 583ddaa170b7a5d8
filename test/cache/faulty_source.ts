/** A source over a byte array that is late, fails, answers short or wrong, and says what it was asked. For tests. */
import type { Prng } from '../../src/base/prng.ts';
import { CacheError } from '../../src/cache/errors.ts';
import type { Source, SourceHints } from '../../src/cache/source.ts';

export interface Faults {
  /** Chances, 0 to 1, that a call fails so that it may be tried again; fails for good; answers short; answers nonsense. */
  readonly again: number;
  readonly fatal: number;
  readonly short: number;
  readonly wrong: number;
  /** Most microtasks that a call takes. */
  readonly delay: number;
}

export const NO_FAULTS: Faults = { again: 0, fatal: 0, short: 0, wrong: 0, delay: 0 };

/** Which of the optional methods there are. */
export interface Shape {
  readonly sync: boolean;
  readonly vectors: boolean;
  readonly truncates: boolean;
  /** Goes on with what was given up. */
  readonly deaf?: boolean;
}

export class FaultySource implements Source {
  readonly name: string;
  readonly hints?: SourceHints;
  bytes: Uint8Array;
  size: number;
  faults: Faults = NO_FAULTS;
  /** Looks at the source after each change. */
  onChange: (() => void) | null = null;
  /** Requests under way as [from, to, writes], to see that none overlaps a write. */
  private readonly active = new Set<readonly [number, number, boolean]>();
  private readonly r: Prng;
  private readonly deaf: boolean;
  readonly readSync?: (into: Uint8Array, at: number) => number;
  readonly writeSync?: (from: Uint8Array, at: number) => void;
  readonly truncateSync?: (size: number) => void;
  readonly openSync?: () => { size: number };
  readonly closeSync?: () => void;
  readonly readv?: (pieces: readonly Uint8Array[], at: number, signal?: AbortSignal) => Promise<number>;
  readonly writev?: (pieces: readonly Uint8Array[], at: number, signal?: AbortSignal) => Promise<void>;
  readonly truncate?: (size: number) => Promise<void>;

  constructor(name: string, size: number, room: number, r: Prng, shape: Shape, hints?: SourceHints) {
    this.name = name;
    this.r = r;
    this.deaf = shape.deaf === true;
    this.size = size;
    this.bytes = new Uint8Array(room);
    for (let i = 0; i < size; i++) this.bytes[i] = (Math.imul(i, 0x9e3779b1) >>> 11) & 0xff;
    if (hints !== undefined) this.hints = hints;
    if (shape.vectors) {
      this.readv = (pieces, at, signal) => this.readPieces(pieces, at, signal);
      this.writev = (pieces, at, signal) => this.writePieces(pieces, at, signal);
    }
    if (shape.truncates) this.truncate = (to) => this.cut(to);
    if (!shape.sync) return;
    this.readSync = (into, at) => {
      this.mayFail('readSync', at);
      return this.answer([into], at);
    };
    this.writeSync = (from, at) => {
      this.mayFail('writeSync', at);
      this.put(from, at);
    };
    this.truncateSync = (to) => {
      this.mayFail('truncateSync', to);
      this.resize(to);
    };
    this.openSync = () => ({ size: this.size });
    this.closeSync = () => {};
  }

  async open(): Promise<{ size: number }> {
    return { size: this.size };
  }

  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number> {
    return this.readPieces([into], at, signal);
  }
  write(from: Uint8Array, at: number, signal?: AbortSignal): Promise<void> {
    return this.writePieces([from], at, signal);
  }

  async sync(): Promise<void> {
    await this.late();
    this.mayFail('sync', 0);
  }

  async close(): Promise<void> {
    await this.late();
  }

  private async readPieces(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    return this.during(at, length, false, signal, () => this.answer(pieces, at));
  }

  private async writePieces(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<void> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const before = pieces.map((piece) => piece.slice());
    await this.during(at, length, true, signal, () => {
      let pos = at;
      pieces.forEach((piece, i) => {
        if (!same(piece, before[i] as Uint8Array)) throw new Error('bytes on their way to the source have changed');
        this.put(piece, pos);
        pos += piece.length;
      });
    });
  }

  private async cut(to: number): Promise<void> {
    await this.during(to, Number.MAX_SAFE_INTEGER, true, undefined, () => this.resize(to));
  }

  private async during<T>(
    at: number,
    length: number,
    writes: boolean,
    signal: AbortSignal | undefined,
    work: () => T,
  ): Promise<T> {
    for (const [from, to, other] of this.active)
      if ((writes || other) && from < at + length && at < to)
        throw new Error(`${this.name}: requests overlap: [${from}, ${to}) and [${at}, ${at + length})`);
    const mine = [at, at + length, writes] as const;
    this.active.add(mine);
    try {
      await this.late();
      if (signal?.aborted === true && !this.deaf) throw new CacheError('ABORTED', 'given up');
      this.mayFail(writes ? 'write' : 'read', at);
      return work();
    } finally {
      this.active.delete(mine);
    }
  }

  private async late(): Promise<void> {
    for (let n = this.r.below(this.faults.delay + 1); n > 0; n--) await Promise.resolve();
  }

  private mayFail(what: string, at: number): void {
    const dice = this.r.float();
    const { again, fatal } = this.faults;
    if (dice < fatal) throw new CacheError('SOURCE', `${this.name}: ${what} at ${at} fails for good`);
    if (dice < fatal + again)
      throw new CacheError('SOURCE', `${this.name}: ${what} at ${at} fails`, { retryable: true });
  }

  private answer(pieces: readonly Uint8Array[], at: number): number {
    const { short, wrong } = this.faults;
    let length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const dice = this.r.float();
    if (dice < short) length = this.r.below(length);
    let pos = at;
    let left = Math.max(0, Math.min(length, this.size - at));
    let done = 0;
    for (const piece of pieces) {
      const n = Math.min(piece.length, left);
      piece.set(this.bytes.subarray(pos, pos + n));
      pos += n;
      left -= n;
      done += n;
    }
    if (dice >= short && dice < short + wrong) return this.r.pick([length + 1, -1, Number.NaN, 0.5]);
    return done;
  }

  private put(from: Uint8Array, at: number): void {
    this.bytes.set(from, at);
    this.size = Math.max(this.size, at + from.length);
    this.onChange?.();
  }

  private resize(to: number): void {
    if (to < this.size) this.bytes.fill(0, to, this.size);
    this.size = to;
    this.onChange?.();
  }
}

export function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
