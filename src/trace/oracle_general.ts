/**
 * libCacheSim's oracleGeneral: requests to objects, as packed little-endian records of 24 bytes (u32 time, u64 object,
 * u32 size, i64 next access; -1 or the largest i64: never). What an object cache is asked becomes reads of one file:
 *
 *      object 7, 9000 bytes, seen first        object 3, 100 bytes, seen next
 *     [ page 0 | page 1 | page 2 ]            [ page 3 ]              … in the order of first appearance
 *
 * One request is one pread of the object's pages. Neighbours in the file mean nothing here, so the file is opened with
 * the advice `random`: no read-ahead. Where each object is one page and object numbers are small, they are the page
 * numbers as they are; nothing needs to be remembered then, which is the fast way.
 *
 * A pass over the file before the first event finds which of the two it is, how large the file must be, and whether the
 * records are such records at all.
 */
import { endianness } from 'node:os';
import { InputError, QuireError } from '../base/errors.ts';
import { type Bytes, fileBytes, memoryBytes } from './bytes.ts';
import {
  defaultSettings,
  type Events,
  events,
  FADVICE,
  OP,
  OPEN_READ,
  type TraceFile,
  type TraceSettings,
  type TraceSource,
} from './event.ts';
import { BYTES_MAX, IO_MAX, PAGE } from './ops_shape.ts';
import { Extents, pagesOf } from './oracle_extents.ts';

export const RECORD_BYTES = 24;
const WORDS = RECORD_BYTES / 4;
const ID_LOW = 1;
const ID_HIGH = 2;
const SIZE = 3;
const NEXT_LOW = 4;
const NEXT_HIGH = 5;
/** No recording has 2^48 requests: a larger next access means that these bytes are something else. */
const NEXT_HIGH_MAX = 0xffff;
const NEVER_HIGH = 0x7fffffff;
const NEVER = 0xffffffff;

const CHUNK_RECORDS = 1 << 12;
const BATCH = 4096;
const IO_PAGES = IO_MAX / PAGE;
const PAGES_MAX = BYTES_MAX / PAGE;
/** Object numbers are taken as page numbers up to this many pages a request: sparser than that costs tree nodes. */
const SPARSE = 16;

interface Survey {
  readonly records: number;
  /** Objects are pages, by their own number. */
  readonly direct: boolean;
  /** Of the file: enough for every object. */
  readonly pages: number;
}

class OracleReader implements TraceSource {
  readonly name: string;
  readonly settings: TraceSettings = defaultSettings();
  readonly files: readonly TraceFile[];
  readonly skipped: Record<string, number> = {};
  private readonly source: Bytes;
  private readonly batch: Events;
  private readonly chunk: Uint8Array;
  private readonly words: Uint32Array;
  private readonly signed: Int32Array;
  private readonly direct: boolean;
  private readonly extents: Extents;
  /** Record that words[0] holds, records in the chunk, and the next one in it. */
  private first = 0;
  private held = 0;
  private at = 0;
  private readAt = 0;
  private opened = false;
  /** What is left of a request larger than one I/O. */
  private restPage = 0;
  private restPages = 0;
  private done = false;

  constructor(source: Bytes, rows: number) {
    this.source = source;
    this.name = source.name;
    this.batch = events(rows);
    this.chunk = new Uint8Array(CHUNK_RECORDS * RECORD_BYTES);
    this.words = new Uint32Array(this.chunk.buffer);
    this.signed = new Int32Array(this.chunk.buffer);
    const survey = this.survey();
    this.direct = survey.direct;
    this.files = [{ id: 1, name: 'objects', size: survey.pages * PAGE }];
    this.extents = new Extents();
    this.readAt = 0;
    this.held = 0;
  }

  next(): Events | null {
    if (this.done) return null;
    let row = 0;
    const { batch } = this;
    if (!this.opened) {
      this.opened = true;
      row = this.open();
    }
    while (row < batch.rows) {
      if (this.restPages > 0) row = this.readRest(row);
      else if (this.at < this.held || this.load()) row = this.direct ? this.readDirect(row) : this.readMapped(row);
      else break;
    }
    batch.count = row;
    batch.alike = batch.op[0] === OP.pread ? row : 0;
    if (row === 0) this.done = true;
    return row > 0 ? batch : null;
  }

  close(): void {
    this.done = true;
    this.source.close();
  }

  private open(): number {
    const { batch } = this;
    batch.op.fill(OP.pread);
    batch.op[0] = OP.open;
    batch.file[0] = 1;
    batch.arg[0] = OPEN_READ;
    batch.op[1] = OP.fadvise;
    batch.arg[1] = FADVICE.indexOf('random');
    batch.line[0] = 1;
    batch.line[1] = 1;
    return 2;
  }

  /** The batch is reused, and only its first two rows were ever not reads of handle 0. */
  private resetHead(): void {
    const { batch } = this;
    batch.op[0] = OP.pread;
    batch.op[1] = OP.pread;
    batch.file[0] = 0;
    batch.arg[0] = 0;
    batch.arg[1] = 0;
  }

  private readDirect(row: number): number {
    if (row === 0) this.resetHead();
    const { words, at, first } = this;
    const { offset, length, line } = this.batch;
    const count = Math.min(this.batch.rows - row, this.held - at);
    for (let i = 0, w = at * WORDS; i < count; i++, w += WORDS) {
      offset[row + i] = words[w + ID_LOW]! * PAGE;
      length[row + i] = PAGE;
      line[row + i] = first + at + i + 1;
    }
    this.at += count;
    return row + count;
  }

  private readMapped(row: number): number {
    if (row === 0) this.resetHead();
    const { words, first, extents } = this;
    const { offset, length, line } = this.batch;
    const from = this.at;
    const count = Math.min(this.batch.rows - row, this.held - from);
    extents.lookUp(this.signed, from, count);
    const { found } = extents;
    for (let i = 0, w = from * WORDS; i < count; i++, w += WORDS) {
      const page = found[i]!;
      const pages = pagesOf(words[w + SIZE]!);
      if (page < 0) throw this.error(first + from + i, 'objects of more than 8 TiB together, expected less');
      if (pages > IO_PAGES) {
        this.restPage = page;
        this.restPages = pages;
        this.at += i + 1;
        return row + i;
      }
      offset[row + i] = page * PAGE;
      length[row + i] = pages * PAGE;
      line[row + i] = first + from + i + 1;
    }
    this.at += count;
    return row + count;
  }

  /** One more part of a request that is larger than one I/O. */
  private readRest(row: number): number {
    if (row === 0) this.resetHead();
    const { offset, length, line } = this.batch;
    const pages = Math.min(this.restPages, IO_PAGES);
    offset[row] = this.restPage * PAGE;
    length[row] = pages * PAGE;
    line[row] = this.first + this.at;
    this.restPage += pages;
    this.restPages -= pages;
    return row + 1;
  }

  private load(): boolean {
    this.first += this.held;
    this.at = 0;
    this.held = 0;
    let bytes = 0;
    while (bytes < this.chunk.length) {
      const got = this.source.read(bytes === 0 ? this.chunk : this.chunk.subarray(bytes), this.readAt);
      if (got === 0) break;
      bytes += got;
      this.readAt += got;
    }
    if (bytes % RECORD_BYTES !== 0) throw this.cutOff(this.readAt);
    this.held = bytes / RECORD_BYTES;
    return this.held > 0;
  }

  private survey(): Survey {
    const { size } = this.source;
    if (size === 0) throw this.error(-1, `empty file, expected records of ${RECORD_BYTES} bytes`);
    if (size % RECORD_BYTES !== 0) throw this.cutOff(size);
    let idMax = 0;
    let idHigh = 0;
    let sizeMax = 0;
    let pages = 0;
    while (this.load()) {
      const { words } = this;
      const end = this.held * WORDS;
      for (let w = 0; w < end; w += WORDS) {
        const id = words[w + ID_LOW]!;
        if (id > idMax) idMax = id;
        idHigh |= words[w + ID_HIGH]!;
        const bytes = words[w + SIZE]!;
        if (bytes > sizeMax) sizeMax = bytes;
        if (words[w + NEXT_HIGH]! > NEXT_HIGH_MAX && !isNever(words[w + NEXT_LOW]!, words[w + NEXT_HIGH]!)) {
          throw this.error(
            this.first + w / WORDS,
            'next access out of range, expected oracleGeneral: is it another format?',
          );
        }
      }
      // Exact only where it is needed: objects of more than a page.
      if (sizeMax > PAGE) for (let w = 0; w < end; w += WORDS) pages += pagesOf(words[w + SIZE]!);
      else pages += this.held;
    }
    this.first = 0;
    const records = size / RECORD_BYTES;
    const direct = sizeMax <= PAGE && idHigh === 0 && idMax < 2 ** 31 && idMax < records * SPARSE + 65536;
    return { records, direct, pages: direct ? idMax + 1 : Math.min(pages, PAGES_MAX) };
  }

  private cutOff(size: number): InputError {
    const record = Math.floor(size / RECORD_BYTES);
    const rest = size % RECORD_BYTES;
    return this.error(record, `the last record has ${rest} bytes, expected ${RECORD_BYTES}: is the file cut off?`);
  }

  /** `record` counts from 0; -1 means the file. */
  private error(record: number, what: string): InputError {
    this.done = true;
    return new InputError(this.source.path, 0, record < 0 ? what : `record ${record + 1}: ${what}`);
  }
}

const isNever = (low: number, high: number): boolean => low === NEVER && (high === NEVER || high === NEVER_HIGH);

function reader(source: Bytes, rows: number): TraceSource {
  try {
    if (endianness() !== 'LE') throw new QuireError('EOPNOTSUPP', 'oracleGeneral: read on little-endian machines only');
    return new OracleReader(source, rows);
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Reads the oracleGeneral recording at `path`. */
export const openOracleGeneral = (path: string): TraceSource => reader(fileBytes(path), BATCH);

/** Reads an oracleGeneral recording that is in memory. */
export const oracleGeneralFrom = (name: string, data: Uint8Array, rows = BATCH): TraceSource =>
  reader(memoryBytes(name, data), rows);
