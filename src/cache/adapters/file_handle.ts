/**
 * A cached file with the methods of Node's `fs.promises` FileHandle, for code that takes one: read and write with their
 * forms of arguments, a position of its own where none is given, readv, writev, truncate, stat, sync, readFile and streams.
 */
import { bytesAt, type ReadableFile } from './bytes.ts';

/** The part of a CachedFile that a handle writes with. */
export interface WritableFile extends ReadableFile {
  write(from: Uint8Array, at: number): number | Promise<number>;
  truncate(size: number): Promise<void>;
  sync(): Promise<void>;
  readable(options?: object): ReadableStream<Uint8Array>;
}

interface Piece {
  readonly offset?: number | null;
  readonly length?: number | null;
  /** Null or left out: where the last read or write without a position ended. */
  readonly position?: number | bigint | null;
}

export interface ReadResult<T> {
  readonly bytesRead: number;
  readonly buffer: T;
}
export interface WriteResult<T> {
  readonly bytesWritten: number;
  readonly buffer: T;
}

const PIECE = 16384;

/** The bytes of a view that a piece names. Throws RangeError where it does not lie in the view, as Node does. */
function part(view: ArrayBufferView, offset: number, length: number): Uint8Array {
  if (!Number.isInteger(offset) || offset < 0 || offset > view.byteLength) {
    throw new RangeError(`offset ${offset} is not in a buffer of ${view.byteLength} bytes`);
  }
  if (!Number.isInteger(length) || length < 0 || length > view.byteLength - offset) {
    throw new RangeError(`length ${length} at offset ${offset} is not in a buffer of ${view.byteLength} bytes`);
  }
  return new Uint8Array(view.buffer, view.byteOffset + offset, length);
}

export class FileHandle {
  private readonly file: WritableFile;
  private position = 0;

  constructor(file: WritableFile) {
    this.file = file;
  }

  /** Where a read or write happens; the handle's own position moves by what it did where none was given. */
  private async at(position: number | bigint | null | undefined, act: (at: number) => number | Promise<number>) {
    if (position !== null && position !== undefined && position >= 0) return act(Number(position));
    const n = await act(this.position);
    this.position += n;
    return n;
  }

  /** `read(buffer, offset?, length?, position?)`, `read(buffer, { … })` or `read({ buffer, … })`. */
  async read<T extends ArrayBufferView>(
    buffer: T | (Piece & { readonly buffer?: T }),
    offset?: number | null | Piece,
    length?: number | null,
    position?: number | bigint | null,
  ): Promise<ReadResult<T>> {
    const view = ArrayBuffer.isView(buffer)
      ? buffer
      : (buffer.buffer ?? (new Uint8Array(PIECE) as ArrayBufferView as T));
    const piece: Piece = !ArrayBuffer.isView(buffer)
      ? buffer
      : typeof offset === 'object' && offset !== null
        ? offset
        : { offset: offset ?? null, length: length ?? null, position: position ?? null };
    const from = piece.offset ?? 0;
    const into = part(view, from, piece.length ?? view.byteLength - from);
    const bytesRead = await this.at(piece.position, (at) => this.file.read(into, at));
    return { bytesRead, buffer: view };
  }

  async readv<T extends ArrayBufferView>(buffers: readonly T[], position?: number | null) {
    const bytesRead = await this.at(position, async (at) => {
      let done = 0;
      for (const view of buffers) {
        const n = await this.file.read(part(view, 0, view.byteLength), at + done);
        done += n;
        if (n < view.byteLength) break;
      }
      return done;
    });
    return { bytesRead, buffers };
  }

  /** `write(buffer, offset?, length?, position?)`, `write(buffer, { … })` or `write(text, position?)`. */
  async write<T extends ArrayBufferView | string>(
    buffer: T,
    offset?: number | null | Piece,
    length?: number | null | string,
    position?: number | null,
  ): Promise<WriteResult<T>> {
    const text = typeof buffer === 'string';
    const view: ArrayBufferView = typeof buffer === 'string' ? new TextEncoder().encode(buffer) : buffer;
    const piece: Piece = text
      ? { position: typeof offset === 'number' ? offset : null }
      : typeof offset === 'object' && offset !== null
        ? offset
        : { offset: offset ?? null, length: typeof length === 'number' ? length : null, position: position ?? null };
    const start = piece.offset ?? 0;
    const from = part(view, start, piece.length ?? view.byteLength - start);
    const bytesWritten = await this.at(piece.position, (at) => this.file.write(from, at));
    return { bytesWritten, buffer };
  }

  async writev<T extends ArrayBufferView>(buffers: readonly T[], position?: number | null) {
    const bytesWritten = await this.at(position, async (at) => {
      let done = 0;
      for (const view of buffers) done += await this.file.write(part(view, 0, view.byteLength), at + done);
      return done;
    });
    return { bytesWritten, buffers };
  }

  /** From the handle's position to the end. */
  async readFile(): Promise<Uint8Array<ArrayBuffer>>;
  async readFile(encoding: 'utf8' | 'utf-8' | { readonly encoding: 'utf8' | 'utf-8' }): Promise<string>;
  async readFile(encoding?: string | { readonly encoding: string }): Promise<Uint8Array<ArrayBuffer> | string> {
    const bytes = await bytesAt(this.file, this.position, this.file.size - this.position);
    this.position += bytes.length;
    return encoding === undefined ? bytes : new TextDecoder().decode(bytes);
  }

  /** `Readable.fromWeb` of it is what Node calls createReadStream. */
  readableWebStream(): ReadableStream<Uint8Array> {
    return this.file.readable();
  }

  async stat(): Promise<{ readonly size: number; isFile(): boolean; isDirectory(): boolean }> {
    return { size: this.file.size, isFile: () => true, isDirectory: () => false };
  }

  async truncate(length = 0): Promise<void> {
    await this.file.truncate(length);
  }

  async sync(): Promise<void> {
    await this.file.sync();
  }

  async datasync(): Promise<void> {
    await this.file.sync();
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The cached file as a FileHandle. */
export const fileHandle = (file: WritableFile): FileHandle => new FileHandle(file);
