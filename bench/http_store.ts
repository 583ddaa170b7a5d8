/** An object whose bytes say where they lie, and that counts what is asked of it. */
import { Prng } from '../src/base/prng.ts';
import type { Source, SourceHints } from '../src/cache/source.ts';
import type { Store } from './http_peers.ts';

/** A prime, so that no block of the patterns looks like another. */
const PERIOD = 65_521;
const template = ((): Uint8Array => {
  const random = new Prng(9);
  return Uint8Array.from({ length: PERIOD }, () => random.below(256));
})();

export const byteAt = (at: number): number => template[at % PERIOD] as number;

/** Bytes [at, at + into.length) of the object. */
export function fill(into: Uint8Array, at: number): void {
  for (let done = 0; done < into.length; ) {
    const from = (at + done) % PERIOD;
    const n = Math.min(into.length - done, PERIOD - from);
    into.set(template.subarray(from, from + n), done);
    done += n;
  }
}

export class Counted implements Store {
  readonly size: number;
  requests = 0;
  bytes = 0;
  /** False: nothing is filled in, for models that look at no bytes. */
  private readonly real: boolean;

  constructor(size: number, real: boolean) {
    this.size = size;
    this.real = real;
  }

  private count(at: number, length: number): void {
    if (!(at >= 0 && length > 0 && at + length <= this.size)) throw new Error(`asked for ${length} bytes at ${at}`);
    this.requests++;
    this.bytes += length;
  }

  get(at: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    this.count(at, length);
    const out = new Uint8Array(this.real ? length : 0);
    fill(out, at);
    return Promise.resolve(out);
  }

  /** The same object as a source of the cache. A turn of the event loop passes before an answer, as over a network. */
  source(hints: SourceHints): Source {
    const readv = async (pieces: readonly Uint8Array[], at: number): Promise<number> => {
      const length = pieces.reduce((n, p) => n + p.length, 0);
      this.count(at, length);
      await new Promise((resolve) => setImmediate(resolve));
      let from = at;
      for (const piece of pieces) {
        fill(piece, from);
        from += piece.length;
      }
      return length;
    };
    return {
      name: 'counted',
      hints,
      open: () => Promise.resolve({ size: this.size }),
      read: (into, at) => readv([into], at),
      readv,
    };
  }
}

/** Were these bytes [at, at + length) of the object? Looks at both ends and the middle. */
export function check(bytes: Uint8Array, at: number, length: number): void {
  if (bytes.length !== length) throw new Error(`${bytes.length} bytes at ${at} where ${length} were asked for`);
  for (const i of [0, length >> 1, length - 1])
    if (bytes[i] !== byteAt(at + i)) throw new Error(`wrong byte at ${at + i}`);
}
