/**
 * A recording's bytes in their order, from a file, from a gzip file (unpacked by a thread beside this one), from standard
 * input, or from memory. Reading is synchronous, as all of Quire's is; what a reader has in hand is `Feed`.
 */
import { readSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { InputError } from '../base/errors.ts';
import { type Bytes, fileBytes, memoryBytes } from './bytes.ts';

export interface Stream {
  /** As the user named it, for messages. */
  readonly path: string;
  /** Without folders, and without .gz. */
  readonly name: string;
  /** Copies the next bytes into `into`; 0 at the end. */
  read(into: Uint8Array): number;
  close(): void;
}

class BytesStream implements Stream {
  readonly path: string;
  readonly name: string;
  private readonly source: Bytes;
  private at = 0;

  constructor(source: Bytes) {
    this.source = source;
    this.path = source.path;
    this.name = source.name;
  }

  read(into: Uint8Array): number {
    const got = this.source.read(into, this.at);
    this.at += got;
    return got;
  }

  close(): void {
    this.source.close();
  }
}

/** Standard input: what a tool that is still running writes never has to be a file. */
class InputStream implements Stream {
  readonly path = 'standard input';
  readonly name = 'stdin';

  read(into: Uint8Array): number {
    for (;;) {
      try {
        return readSync(0, into, 0, into.length, null);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EOF') return 0;
        if (code !== 'EAGAIN') throw new InputError(this.path, 0, `cannot be read: ${(error as Error).message}`);
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  }

  close(): void {}
}

/** Bytes between the two threads. A power of two: the counts of what went in and out wrap with it. */
const RING = 1 << 20;
/** Words that both threads see: bytes put in, bytes taken out, and how the file ended. */
const IN = 0;
const OUT = 1;
const STATE = 2;
const BAD = 2;

/** Runs in the thread: unpacks into the ring, and waits for room. Plain JavaScript, run as it stands. */
const UNPACKER = `
const { workerData } = require('node:worker_threads');
const words = new Int32Array(workerData.words);
const ring = new Uint8Array(workerData.ring);
const end = (state) => { Atomics.store(words, ${STATE}, state); Atomics.notify(words, ${IN}); };
(async () => {
  const file = require('node:fs').createReadStream(workerData.path);
  let put = 0;
  for await (const piece of file.on('error', () => end(${BAD})).pipe(require('node:zlib').createGunzip()))
    for (let done = 0; done < piece.length; ) {
      let taken = Atomics.load(words, ${OUT});
      for (; (put - taken | 0) === ${RING}; taken = Atomics.load(words, ${OUT})) Atomics.wait(words, ${OUT}, taken);
      const place = put & ${RING - 1};
      const n = Math.min(piece.length - done, ${RING} - place, ${RING} - (put - taken | 0));
      ring.set(piece.subarray(done, done + n), place);
      done += n;
      put = put + n | 0;
      Atomics.store(words, ${IN}, put);
      Atomics.notify(words, ${IN});
    }
  end(1);
})().catch(() => end(${BAD}));
`;

class GzipStream implements Stream {
  readonly path: string;
  readonly name: string;
  private readonly words = new Int32Array(new SharedArrayBuffer(12));
  private readonly ring = new Uint8Array(new SharedArrayBuffer(RING));
  private readonly worker: Worker;
  private taken = 0;

  constructor(path: string, name: string) {
    this.path = path;
    this.name = name.replace(/\.gz$/, '');
    const workerData = { path, words: this.words.buffer, ring: this.ring.buffer };
    this.worker = new Worker(UNPACKER, { eval: true, workerData });
    this.worker.unref();
  }

  read(into: Uint8Array): number {
    const { words, ring, taken } = this;
    for (;;) {
      // The state first: what was put in before the end is there when the end is seen.
      const state = Atomics.load(words, STATE);
      const put = Atomics.load(words, IN);
      const ready = (put - taken) | 0;
      if (ready > 0) {
        const place = taken & (RING - 1);
        const n = Math.min(ready, RING - place, into.length);
        into.set(ring.subarray(place, place + n));
        this.taken = (taken + n) | 0;
        Atomics.store(words, OUT, this.taken);
        Atomics.notify(words, OUT);
        return n;
      }
      if (state === BAD) throw new InputError(this.path, 0, 'damaged or cut off, expected a whole gzip file');
      if (state !== 0) return 0;
      Atomics.wait(words, IN, put, 100);
    }
  }

  close(): void {
    void this.worker.terminate();
  }
}

/** The bytes of the file at `path`, unpacked; `-` is standard input. InputError when it cannot be read. */
export function openStream(path: string): Stream {
  if (path === '-') return new InputStream();
  const source = fileBytes(path);
  const head = new Uint8Array(2);
  if (source.read(head, 0) < 2 || head[0] !== 0x1f || head[1] !== 0x8b) return new BytesStream(source);
  source.close();
  return new GzipStream(path, source.name);
}

/** Bytes at hand, under a name for messages. */
export const memoryStream = (name: string, data: Uint8Array | string): Stream =>
  new BytesStream(memoryBytes(name, data));

/** A stream whose first bytes have been looked at. */
class PeekedStream implements Stream {
  readonly path: string;
  readonly name: string;
  private readonly stream: Stream;
  private head: Uint8Array;

  constructor(stream: Stream, head: Uint8Array) {
    this.stream = stream;
    this.head = head;
    this.path = stream.path;
    this.name = stream.name;
  }

  read(into: Uint8Array): number {
    if (this.head.length === 0) return this.stream.read(into);
    const part = this.head.subarray(0, into.length);
    into.set(part);
    this.head = this.head.subarray(part.length);
    return part.length;
  }

  close(): void {
    this.stream.close();
  }
}

/** The first bytes of a stream, at most `n`, and the stream with them. */
export function peek(stream: Stream, n: number): { head: Uint8Array; stream: Stream } {
  const head = new Uint8Array(n);
  let held = 0;
  for (let got = 1; got > 0 && held < n; held += got) got = stream.read(head.subarray(held));
  return { head: head.subarray(0, held), stream: new PeekedStream(stream, head.slice(0, held)) };
}

/** Bytes after the window that may be read and mean nothing: loops over a short record need not look for the end at each byte. */
export const FEED_MARGIN = 64;

/** A stream's bytes in a window that moves: `bytes[at]` to `bytes[end - 1]` are in hand. */
export class Feed {
  readonly bytes: Uint8Array;
  at = 0;
  end = 0;
  /** Bytes of the stream before `bytes[0]`. */
  before = 0;
  readonly room: number;
  private readonly stream: Stream;

  constructor(stream: Stream, room: number = 1 << 18) {
    this.stream = stream;
    this.room = room;
    this.bytes = new Uint8Array(room + FEED_MARGIN);
  }

  /** Moves what is in hand to the front and reads more. False: there is no more, or no room for it. */
  more(): boolean {
    const { bytes } = this;
    if (this.at > 0) {
      bytes.copyWithin(0, this.at, this.end);
      this.before += this.at;
      this.end -= this.at;
      this.at = 0;
    }
    const got = this.end === this.room ? 0 : this.stream.read(bytes.subarray(this.end, this.room));
    this.end += got;
    return got > 0;
  }

  /** Has at least `n` bytes in hand, if there are so many. */
  have(n: number): boolean {
    while (this.end - this.at < n) if (!this.more()) return false;
    return true;
  }
}
