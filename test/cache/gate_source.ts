/** A source over a byte array that writes down what it is asked, and answers when the test says so. */
import type { Source, SourceHints } from '../../src/cache/source.ts';

export interface AskedOf {
  readonly what: 'read' | 'write';
  readonly at: number;
  readonly length: number;
  readonly signal: AbortSignal | undefined;
}

export class GateSource implements Source {
  readonly name = 'gate';
  readonly hints?: SourceHints;
  bytes: Uint8Array;
  readonly asked: AskedOf[] = [];
  /** Calls under way now, and most at once. */
  busy = 0;
  most = 0;
  /** Throws to make a call fail. */
  fault: ((what: string, at: number) => void) | null = null;
  syncs = 0;
  private shut = false;
  private waiting: (() => void)[] = [];

  constructor(size: number, hints?: SourceHints) {
    this.bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) this.bytes[i] = (Math.imul(i, 0x9e3779b1) >>> 13) & 0xff;
    if (hints !== undefined) this.hints = hints;
  }

  /** From now on calls wait for `release`. */
  hold(): void {
    this.shut = true;
  }
  release(): void {
    this.shut = false;
    for (const go of this.waiting.splice(0)) go();
  }

  async open(): Promise<{ size: number }> {
    return { size: this.bytes.length };
  }
  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number> {
    return this.readv([into], at, signal);
  }
  async readv(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> {
    await this.pass('read', pieces, at, signal);
    let pos = at;
    for (const piece of pieces) {
      const part = this.bytes.subarray(pos, pos + piece.length);
      piece.set(part);
      pos += part.length;
    }
    return pos - at;
  }
  async write(from: Uint8Array, at: number, signal?: AbortSignal): Promise<void> {
    await this.pass('write', [from], at, signal);
    if (at + from.length > this.bytes.length) this.resize(at + from.length);
    this.bytes.set(from, at);
  }
  async truncate(size: number): Promise<void> {
    this.resize(size);
  }
  async sync(): Promise<void> {
    await this.pass('sync' as 'write', [], 0, undefined);
    this.syncs++;
  }

  private resize(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, size));
    this.bytes = next;
  }

  private async pass(
    what: 'read' | 'write',
    pieces: readonly Uint8Array[],
    at: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length > 0) this.asked.push({ what, at, length, signal });
    this.busy++;
    this.most = Math.max(this.most, this.busy);
    try {
      await Promise.resolve();
      if (this.shut) await new Promise<void>((resolve) => this.waiting.push(resolve));
      this.fault?.(what, at);
    } finally {
      this.busy--;
    }
  }
}

/** Lets everything happen that needs no answer. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}
