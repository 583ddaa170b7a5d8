/**
 * Ops scripts in: text, one operation a line, fields between commas, `#` lines first (docs/formats.md). A script may be
 * larger than memory, so it is read in pieces, and its lines are read as bytes: no line, no field becomes a string. A line
 * that does not fit is read a second time by `explainLine`, slowly, to say why.
 */
import { assert, InputError } from '../base/errors.ts';
import { type Bytes, fileBytes, memoryBytes, quoted } from './bytes.ts';
import {
  type Events,
  events,
  FADVICE,
  MADVICE,
  OP,
  OPEN_APPEND,
  OPEN_CREATE,
  OPEN_DIRECT,
  OPEN_READ,
  OPEN_TRUNC,
  OPEN_WRITE,
  OPS,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  SHARED,
  type TraceFile,
  type TraceSettings,
  type TraceSource,
} from './event.ts';
import { explainLine } from './ops_explain.ts';
import { parseHeader } from './ops_header.ts';
import { AT_MAX, BYTES_MAX, F, HANDLES_MAX, IO_MAX, LINE_MAX, PAGE, SHAPE_STRIDE, SHAPES } from './ops_shape.ts';

const COMMA = 44;
const NEWLINE = 10;
const RETURN = 13;
const HASH = 35;
const MINUS = 45;

const CHUNK = 1 << 20;
const BATCH = 4096;

// Operation words: a small table by a hash of the letters, then a comparison of the bytes.
const SLOTS = 128;
const WORD_STRIDE = 16;
const hashStep = (h: number, c: number): number => (Math.imul(h, 11) + c) & (SLOTS - 1);
const slots = new Int8Array(SLOTS).fill(-1);
const words = new Uint8Array(OPS.length * WORD_STRIDE);
OPS.forEach((name, op) => {
  let h = 0;
  for (let i = 0; i < name.length; i++) {
    h = hashStep(h, name.charCodeAt(i));
    words[op * WORD_STRIDE + i] = name.charCodeAt(i);
  }
  assert(slots[h] === -1, 'operation words hash apart');
  slots[h] = op;
});

/** A handle that is open has this bit beside its OPEN_* bits. */
const IS_OPEN = 128;

class OpsReader implements TraceSource {
  readonly name: string;
  readonly settings: TraceSettings;
  readonly files: readonly TraceFile[];
  readonly skipped: Record<string, number> = {};
  private readonly source: Bytes;
  private readonly batch: Events;
  /** Bytes read and not yet parsed: [pos, limit) holds whole lines, [limit, end) the beginning of one. */
  private bytes: Uint8Array;
  private pos = 0;
  private limit = 0;
  private end = 0;
  private readAt = 0;
  private line = 0;
  /** By file number. */
  private readonly declared: Uint8Array;
  /** By handle: OPEN_* | IS_OPEN, or 0. */
  private readonly handles = new Uint8Array(HANDLES_MAX);
  /** By mapping: bytes mapped, or 0. */
  private readonly mapped = new Float64Array(HANDLES_MAX);
  private done = false;

  constructor(source: Bytes, chunk: number, rows: number) {
    this.source = source;
    this.name = source.name;
    this.bytes = new Uint8Array(Math.max(chunk, LINE_MAX));
    this.batch = events(rows);
    const header = parseHeader(source.path, () => this.takeHeaderLine());
    this.settings = header.settings;
    this.files = header.files;
    this.declared = new Uint8Array(this.files.reduce((most, f) => Math.max(most, f.id + 1), 1));
    for (const f of this.files) this.declared[f.id] = 1;
  }

  next(): Events | null {
    if (this.done) return null;
    const { batch } = this;
    let row = 0;
    while (row < batch.rows) {
      if (this.pos >= this.limit && !this.fill()) {
        this.done = true;
        break;
      }
      this.line++;
      if (this.parseLine(row)) row++;
    }
    batch.count = row;
    return row > 0 ? batch : null;
  }

  close(): void {
    this.done = true;
    this.source.close();
  }

  /** Reads on until at least one whole line is at hand. False at the end of the file. */
  private fill(): boolean {
    if (this.pos > 0) {
      this.bytes.copyWithin(0, this.pos, this.end);
      this.end -= this.pos;
      this.limit = 0;
      this.pos = 0;
    }
    for (;;) {
      if (this.end >= LINE_MAX)
        throw this.error(this.line + 1, `a line longer than ${LINE_MAX} bytes, expected an operation`);
      const got = this.source.read(this.bytes.subarray(this.end), this.readAt);
      if (got === 0) break;
      const last = this.bytes.subarray(this.end, this.end + got).lastIndexOf(NEWLINE);
      this.readAt += got;
      this.end += got;
      if (last >= 0) {
        this.limit = this.end - got + last + 1;
        return true;
      }
    }
    if (this.end === 0) return false;
    const rest = quoted(this.textOf(0, this.end));
    throw this.error(this.line + 1, `the file ends within the line ${rest}, expected a line end: is it cut off?`);
  }

  /** The next line if it belongs to the head of the script (a `#` line or an empty one), else null. */
  private takeHeaderLine(): string | null {
    if (this.pos >= this.limit && !this.fill()) return null;
    const first = this.bytes[this.pos]!;
    if (this.line > 0 && first !== HASH && first !== NEWLINE && first !== RETURN) return null;
    const end = this.bytes.indexOf(NEWLINE, this.pos);
    let text = this.textOf(this.pos, end);
    if (text.endsWith('\r')) text = text.slice(0, -1);
    this.pos = end + 1;
    this.line++;
    return text;
  }

  /** Reads the line at `pos` into a row. False when it holds no operation, or one that was skipped. */
  private parseLine(row: number): boolean {
    const b = this.bytes;
    const start = this.pos;
    let p = start;
    let c = b[p]!;
    let h = 0;
    while (c >= 97 && c <= 122) {
      h = hashStep(h, c);
      c = b[++p]!;
    }
    if (p === start) return this.noOperation(start);
    const op = slots[h]!;
    if (op < 0 || p - start >= WORD_STRIDE) throw this.bad(start);
    const w = op * WORD_STRIDE - start;
    for (let i = start; i < p; i++) if (words[w + i] !== b[i]) throw this.bad(start);
    if (words[w + p] !== 0) throw this.bad(start);

    let id = 0;
    let file = 0;
    let arg = 0;
    let offset = 0;
    let length = 0;
    let at = 0;
    this.pos = p;
    for (let k = op * SHAPE_STRIDE, kind = SHAPES[k]!; kind !== F.END; kind = SHAPES[++k]!) {
      if (b[this.pos] !== COMMA) {
        if (kind === F.AT) break;
        throw this.bad(start);
      }
      this.pos++;
      switch (kind) {
        case F.HANDLE:
        case F.MAPPING:
          id = this.number();
          if (id >= HANDLES_MAX || id < 0) throw this.bad(start);
          break;
        case F.OFFSET:
          offset = this.number();
          if (offset < 0) throw this.bad(start);
          break;
        case F.IO:
          length = this.number();
          if (length < 0 || length > IO_MAX) throw this.bad(start);
          break;
        case F.LENGTH:
          length = this.number();
          if (length < 0) throw this.bad(start);
          break;
        case F.SOME:
          length = this.number();
          if (length <= 0) throw this.bad(start);
          break;
        case F.PAGE_OFFSET:
          offset = this.number();
          if (offset < 0 || offset % PAGE !== 0) throw this.bad(start);
          break;
        case F.FILE:
          file = this.number();
          if (this.declared[file] !== 1) throw this.bad(start);
          break;
        case F.HANDLE_OR_NONE:
          file = b[this.pos] === MINUS ? this.none() : this.number();
          if (file >= HANDLES_MAX || (file < 0 && file !== NO_HANDLE)) throw this.bad(start);
          break;
        case F.AT:
          at = this.number();
          if (at < 0 || at > AT_MAX || at % PAGE !== 0) throw this.bad(start);
          break;
        case F.ACCESS:
          c = b[this.pos]!;
          if (c !== LETTER_R && c !== LETTER_W) throw this.bad(start);
          arg = c === LETTER_W ? 1 : 0;
          this.pos++;
          break;
        default:
          p = this.pos;
          this.pos = fieldEnd(b, p);
          c = word(kind, this.textOf(p, this.pos));
          if (c < 0) throw this.bad(start);
          arg |= c;
      }
    }
    p = this.pos;
    if (b[p] === RETURN) p++;
    if (b[p] !== NEWLINE || offset + length > BYTES_MAX) throw this.bad(start);
    this.pos = p + 1;
    if (file === NO_HANDLE) file = -1;
    if (!this.track(op, id, file, arg, offset, length, start)) return false;

    const { batch } = this;
    batch.op[row] = op;
    batch.id[row] = id;
    batch.file[row] = file;
    batch.arg[row] = arg;
    batch.offset[row] = offset;
    batch.length[row] = length;
    batch.at[row] = at;
    batch.line[row] = this.line;
    return true;
  }

  /** Digits at `pos` as a number up to BYTES_MAX, or -1. */
  private number(): number {
    const b = this.bytes;
    const start = this.pos;
    let p = start;
    let value = 0;
    let digit = b[p]! - 48;
    while (digit >= 0 && digit <= 9) {
      value = value * 10 + digit;
      digit = b[++p]! - 48;
    }
    this.pos = p;
    return p === start || p - start > 15 || value > BYTES_MAX ? -1 : value;
  }

  private none(): number {
    this.pos++;
    return NO_HANDLE;
  }

  /** A line without an operation word: empty, or a comment. */
  private noOperation(start: number): boolean {
    const b = this.bytes;
    const end = b.indexOf(NEWLINE, start);
    const empty = end === start || (end === start + 1 && b[start] === RETURN);
    const comment = b[start] === HASH && (b[start + 1] === 32 || start + 1 === end || b[start + 1] === RETURN);
    if ((!empty && !comment) || end - start >= LINE_MAX) throw this.bad(start);
    this.pos = end + 1;
    return false;
  }

  /** Keeps what is open and mapped. False when the operation has nothing to work on: it is counted and left out. */
  private track(
    op: number,
    id: number,
    file: number,
    arg: number,
    offset: number,
    length: number,
    at: number,
  ): boolean {
    const { handles, mapped } = this;
    if (op <= LAST_HANDLE_OP) {
      const state = handles[id]!;
      if (op === OP.open) {
        handles[id] = arg | IS_OPEN;
        return true;
      }
      if (op === OP.sync) return true;
      if (state === 0) return this.skip(`${OPS[op]} on closed handle`);
      if (op === OP.read || op === OP.pread) {
        return (state & OPEN_READ) !== 0 || this.skip(`${OPS[op]} on handle not open for reading`);
      }
      if (op === OP.close) handles[id] = 0;
      else if (op === OP.fsync || op === OP.lseek || op === OP.fadvise || op === OP.readahead) return true;
      else return (state & OPEN_WRITE) !== 0 || this.skip(`${OPS[op]} on handle not open for writing`);
      return true;
    }
    if (op === OP.fork) return true;
    if (op === OP.mmap) {
      if (file >= 0) {
        const state = handles[file]!;
        const wants = (arg & SHARED) !== 0 && (arg & PROT_WRITE) !== 0 ? OPEN_WRITE | OPEN_READ : OPEN_READ;
        mapped[id] = 0;
        if (state === 0) return this.skip('mmap on closed handle');
        if ((state & wants) !== wants) return this.skip('mmap on handle not open for it');
      }
      mapped[id] = length;
      return true;
    }
    const size = mapped[id]!;
    if (size === 0) return this.skip(`${OPS[op]} on unmapped mapping`);
    const room = op === OP.touch ? size : Math.ceil(size / PAGE) * PAGE;
    if (offset + length > room) {
      this.pos = at;
      const line = this.textOf(at, this.bytes.indexOf(NEWLINE, at));
      throw this.error(this.line, `${quoted(line)} goes past the mapping, expected a range within its ${size} bytes`);
    }
    if (op === OP.munmap && offset === 0 && length >= size) mapped[id] = 0;
    return true;
  }

  private skip(what: string): false {
    this.skipped[what] = (this.skipped[what] ?? 0) + 1;
    return false;
  }

  /** Why the line at `start` is no good. */
  private bad(start: number): InputError {
    const end = this.bytes.indexOf(NEWLINE, start);
    const text = this.textOf(start, Math.min(end, start + LINE_MAX));
    return this.error(
      this.line,
      explainLine(text, (id) => this.declared[id] === 1),
    );
  }

  private error(line: number, what: string): InputError {
    this.done = true;
    return new InputError(this.source.path, line, what);
  }

  private textOf(from: number, to: number): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + from, to - from).toString('utf8');
  }
}

/** What `-` gives while a line is being read: no number is negative but -1, which means a bad one. */
const NO_HANDLE = -2;
/** The operations up to here name a handle in `id` (or nothing). */
const LAST_HANDLE_OP = OP.fallocate;
const LETTER_R = 114;
const LETTER_W = 119;

function fieldEnd(b: Uint8Array, from: number): number {
  let p = from;
  while (b[p] !== COMMA && b[p] !== NEWLINE && b[p] !== RETURN) p++;
  return p;
}

const openBits: Readonly<Record<string, number>> = {
  r: OPEN_READ,
  w: OPEN_WRITE,
  c: OPEN_CREATE,
  t: OPEN_TRUNC,
  a: OPEN_APPEND,
  d: OPEN_DIRECT,
};
const protBits: Readonly<Record<string, number>> = { r: PROT_READ, w: PROT_WRITE, x: PROT_EXEC };

/** Bits of a field that is a word, or -1. */
function word(kind: number, text: string): number {
  switch (kind) {
    case F.FADVICE:
      return (FADVICE as readonly string[]).indexOf(text);
    case F.MADVICE:
      return (MADVICE as readonly string[]).indexOf(text);
    case F.SHARING:
      return text === 'shared' ? SHARED : text === 'private' ? 0 : -1;
    case F.PROT:
      return letters(protBits, text, PROT_READ);
    default: {
      const bits = letters(openBits, text, 0);
      // As open(2) has it: what is not for writing is for reading.
      return bits > 0 && (bits & OPEN_WRITE) === 0 ? bits | OPEN_READ : bits;
    }
  }
}

function letters(bits: Readonly<Record<string, number>>, text: string, always: number): number {
  let out = always;
  for (const letter of text) {
    const bit = Object.hasOwn(bits, letter) ? bits[letter]! : -1;
    if (bit < 0) return -1;
    out |= bit;
  }
  return text === '' ? -1 : out;
}

/** Reads the ops script at `path`. */
export const openOps = (path: string): TraceSource => guarded(fileBytes(path));

/** Reads an ops script that is in memory. `chunk` and `rows` are for tests: bytes read at a time, events in a batch. */
export const opsFrom = (name: string, data: Uint8Array | string, chunk = CHUNK, rows = BATCH): TraceSource =>
  new OpsReader(memoryBytes(name, data), chunk, rows);

function guarded(source: Bytes): TraceSource {
  try {
    return new OpsReader(source, CHUNK, BATCH);
  } catch (error) {
    source.close();
    throw error;
  }
}
