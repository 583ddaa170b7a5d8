/**
 * The memory of SQLite's host as its calls see it: buffers, results, names. The hosts' own helpers ask at each byte whether
 * the memory has moved, which costs more than the calls themselves; here each call asks once.
 */

/** A name that was read, for the next time that it is the same one. */
interface Name {
  readonly pointer: number;
  /** With the closing zero. */
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** SQLite keeps a database's names where they are: those of its file, its journal and its log. */
const NAMES_MAX = 16;
const HALF = 2 ** 32;

export class HostHeap {
  private readonly current: () => Uint8Array;
  private u8: Uint8Array = new Uint8Array(0);
  private i32: Int32Array = new Int32Array(0);
  private readonly names: Name[] = [];
  private next = 0;

  /** `current` is the whole memory as it is now; where that grew, the array of before is empty or too short. */
  constructor(current: () => Uint8Array) {
    this.current = current;
  }

  /** The memory, at least up to `end`. */
  private upTo(end: number): Uint8Array {
    if (end > this.u8.length) {
      this.u8 = this.current();
      this.i32 = new Int32Array(this.u8.buffer, this.u8.byteOffset, this.u8.length >>> 2);
    }
    return this.u8;
  }

  /** A view of bytes there, good until the host goes on. */
  bytes(pointer: number, length: number): Uint8Array {
    const { buffer, byteOffset } = this.upTo(pointer + length);
    return new Uint8Array(buffer, byteOffset + pointer, length);
  }

  setInt32(pointer: number, value: number): void {
    this.upTo(pointer + 4);
    this.i32[pointer >>> 2] = value;
  }

  /** A whole number that is not negative. */
  setInt64(pointer: number, value: number): void {
    this.upTo(pointer + 8);
    this.i32[pointer >>> 2] = (value % HALF) | 0;
    this.i32[(pointer >>> 2) + 1] = Math.floor(value / HALF);
  }

  /** The text there, which ends with a zero. */
  text(pointer: number): string {
    const u8 = this.upTo(pointer + 1);
    for (const name of this.names) if (name.pointer === pointer && isThere(u8, name)) return name.text;
    const end = u8.indexOf(0, pointer);
    const bytes = u8.slice(pointer, end + 1);
    const text = new TextDecoder().decode(bytes.subarray(0, -1));
    this.names[this.next++ % NAMES_MAX] = { pointer, bytes, text };
    return text;
  }

  /** Writes as much of a text as there is room for, and a zero. True: all of it. */
  setText(pointer: number, room: number, text: string): boolean {
    if (room <= 0) return false;
    const { read, written } = new TextEncoder().encodeInto(text, this.bytes(pointer, room - 1));
    this.bytes(pointer + written, 1)[0] = 0;
    return read === text.length;
  }
}

function isThere(u8: Uint8Array, { pointer, bytes }: Name): boolean {
  for (let i = 0; i < bytes.length; i++) if (u8[pointer + i] !== bytes[i]) return false;
  return true;
}
