/**
 * The bytes behind the machine's frames: places in one buffer of the budget. Frame p is [p × page, (p + 1) × page), so that a
 * folio's bytes lie together.
 */
import type { FolioId } from '../mm/ids.ts';
import type { FolioBytes, Machine } from '../mm/machine.ts';
import { folioNrPages, folioPfn } from '../mm/mm_types.ts';
import { CacheError } from './errors.ts';

/** Makes the memory of the pages: so many bytes, all zero. */
export type BufferMaker = (bytes: number) => Uint8Array<ArrayBuffer>;

export class CacheBytes implements FolioBytes {
  readonly all: Uint8Array<ArrayBuffer>;
  private readonly buffer: ArrayBuffer;
  private readonly start: number;
  private readonly pageSize: number;
  private m: Machine | null = null;
  /** Where the read in progress goes: `into` from `at` on, then the pieces after it; null: nobody wants the bytes. */
  private into: Uint8Array | null = null;
  private at = 0;
  private pieces: readonly Uint8Array[] | null = null;
  private next = 0;
  /** What the write in progress brings, and how far it is; null: zeros. */
  private from: Uint8Array | null = null;
  private fromAt = 0;

  /** Throws what `buffer` throws, as a RangeError when the host has none of that size; a CacheError when it is of another. */
  constructor(frames: number, pageSize: number, buffer: BufferMaker) {
    const bytes = frames * pageSize;
    this.all = buffer(bytes);
    if (this.all.length !== bytes)
      throw new CacheError('NO_BUDGET', `buffer gave ${this.all.length} bytes: expected ${bytes}`);
    this.buffer = this.all.buffer;
    this.start = this.all.byteOffset;
    this.pageSize = pageSize;
  }

  attach(m: Machine): void {
    this.m = m;
    m.bytes = this;
  }

  private place(folio: FolioId): number {
    return folioPfn((this.m as Machine).map, folio) * this.pageSize;
  }

  /** Bytes [at, at + length) of `all`. */
  span(at: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.buffer, this.start + at, length);
  }

  /** Bytes of the folio from `offset` on. */
  of(folio: FolioId, offset: number, length: number): Uint8Array<ArrayBuffer> {
    return this.span(this.place(folio) + offset, length);
  }

  /** Where the folio begins in `all`. */
  offsetOf(folio: FolioId): number {
    return this.place(folio);
  }

  /** The next copies to a reader go there. */
  readInto(into: Uint8Array, at: number): void {
    this.into = into;
    this.at = at;
    this.pieces = null;
  }

  /** The same for several pieces, `done` bytes of which are filled; none: the bytes are not wanted. */
  readIntoPieces(pieces: readonly Uint8Array[], done: number): void {
    if (pieces.length === 0) {
      this.into = null;
      return;
    }
    let skip = done;
    let i = 0;
    while (i < pieces.length - 1 && skip >= (pieces[i] as Uint8Array).length)
      skip -= (pieces[i++] as Uint8Array).length;
    this.into = pieces[i] as Uint8Array;
    this.at = skip;
    this.pieces = pieces;
    this.next = i + 1;
  }

  copyToReader(folio: FolioId, offset: number, length: number): void {
    let from = this.place(folio) + offset;
    for (let left = length; left > 0; ) {
      const { into } = this;
      if (into === null) return;
      const n = Math.min(left, into.length - this.at);
      if (n > 0) into.set(this.span(from, n), this.at);
      this.at += n;
      from += n;
      left -= n;
      if (left > 0) {
        if (this.pieces === null) return;
        this.into = this.pieces[this.next++] as Uint8Array;
        this.at = 0;
      }
    }
  }

  /** The next copies from a writer come from there; null: zeros. */
  writeFrom(from: Uint8Array | null, at: number): void {
    this.from = from;
    this.fromAt = at;
  }

  copyFromWriter(folio: FolioId, offset: number, length: number): void {
    const at = this.place(folio) + offset;
    const { from, fromAt } = this;
    if (from === null) {
      this.all.fill(0, at, at + length);
      return;
    }
    const whole = fromAt === 0 && length === from.length;
    this.all.set(whole ? from : new Uint8Array(from.buffer, from.byteOffset + fromAt, length), at);
    this.fromAt = fromAt + length;
  }

  /** Copies bytes into the folio. */
  put(folio: FolioId, offset: number, from: Uint8Array): void {
    this.all.set(from, this.place(folio) + offset);
  }

  /** Zeroes bytes [from, to) of the folio. */
  zero(folio: FolioId, from: number, to: number): void {
    if (to <= from) return;
    const at = this.place(folio);
    this.all.fill(0, at + from, at + to);
  }

  copyFolio(to: FolioId, from: FolioId): void {
    const at = this.place(from);
    const length = folioNrPages((this.m as Machine).map, to) * this.pageSize;
    this.all.copyWithin(this.place(to), at, at + length);
  }
}
