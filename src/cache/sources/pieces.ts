/** Several buffers laid end to end, as one request fills them. */

export function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return length;
}

/** The bytes `from` (included) to `to` (excluded) of the pieces. */
export function cut(pieces: readonly Uint8Array[], from: number, to: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (const piece of pieces) {
    const a = Math.max(from, start);
    const b = Math.min(to, start + piece.length);
    if (a < b) parts.push(piece.subarray(a - start, b - start));
    start += piece.length;
  }
  return parts;
}

/** Fills the pieces in order, with bytes that come in chunks of any size. */
export class Filler {
  private readonly pieces: readonly Uint8Array[];
  private piece = 0;
  private offset = 0;
  /** Bytes put so far. */
  filled = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.pieces = pieces;
  }

  /** @returns whether there was room for all of the chunk */
  put(chunk: Uint8Array): boolean {
    let from = 0;
    while (from < chunk.length) {
      const into = this.pieces[this.piece];
      if (into === undefined) return false;
      const n = Math.min(into.length - this.offset, chunk.length - from);
      into.set(n === chunk.length ? chunk : chunk.subarray(from, from + n), this.offset);
      from += n;
      this.filled += n;
      this.offset += n;
      if (this.offset === into.length) {
        this.piece++;
        this.offset = 0;
      }
    }
    return true;
  }
}

/** Copies `bytes` into the pieces, as far as both go; returns the count. */
export function scatter(bytes: Uint8Array, pieces: readonly Uint8Array[]): number {
  const filler = new Filler(pieces);
  filler.put(bytes);
  return filler.filled;
}

/** Copies the pieces, one after the other, into `into`, which is long enough. */
export function gather(pieces: readonly Uint8Array[], into: Uint8Array): void {
  let at = 0;
  for (const piece of pieces) {
    into.set(piece, at);
    at += piece.length;
  }
}

/** Buffers in groups of so many, and so many bytes, at most; a buffer longer than that is cut. */
export function cutAt(
  pieces: readonly Uint8Array[],
  count: number,
  bytes: number = Number.POSITIVE_INFINITY,
): (readonly Uint8Array[])[] {
  if (pieces.length <= count && lengthOf(pieces) <= bytes) return [pieces];
  const parts: Uint8Array[][] = [];
  let part: Uint8Array[] = [];
  let room = bytes;
  for (const piece of pieces)
    for (let at = 0; at < piece.length; ) {
      if (part.length === count || room === 0) {
        parts.push(part);
        part = [];
        room = bytes;
      }
      const n = Math.min(piece.length - at, room);
      part.push(n === piece.length ? piece : piece.subarray(at, at + n));
      room -= n;
      at += n;
    }
  if (part.length > 0) parts.push(part);
  return parts;
}
