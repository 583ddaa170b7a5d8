/** Reads access traces in Quire's own form (qacc.ts). */
import { endianness } from 'node:os';
import { crc32, inflateRawSync } from 'node:zlib';
import { InputError, QuireError } from '../base/errors.ts';
import {
  ACCESS_ROWS,
  type Accesses,
  type AccessSource,
  ADDRESS_END,
  accesses,
  FETCH,
  type Region,
  type SpaceEvent,
} from './access.ts';
import { parseEvent } from './access_event.ts';
import { type Bytes, fileBytes, memoryBytes } from './bytes.ts';
import {
  BLOCK_ACCESSES,
  BLOCK_BYTES_MAX,
  BLOCK_EVENTS,
  BLOCK_HEADER_BYTES,
  contextOf,
  Expected,
  FLAG_TOLD,
  HEADER_BYTES,
  MAGIC,
  QACC_VERSION,
  REGION_PAGE,
  TAGS_MAX,
} from './qacc.ts';

/** Scale of a ninth byte: no number has one. */
const LEB_END: number = 2 ** 56;

/** Numbers of seven bits a byte, out of bytes that may end too early. */
class Leb {
  at = 0;
  bytes: Uint8Array = new Uint8Array(0);

  /** -1 where the bytes end, or hold a number that is too large. */
  next(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.bytes.length) return -1;
      const b = this.bytes[this.at++] as number;
      value += (b & 127) * scale;
      if (b < 128) return value < 2 ** 53 ? value : -1;
      scale *= 128;
    }
    return -1;
  }
}

class QaccReader implements AccessSource {
  readonly name: string;
  readonly total: number;
  readonly told: boolean;
  readonly regions: readonly Region[];
  readonly skipped: Record<string, number> = {};
  private readonly source: Bytes;
  private readonly batch: Accesses;
  private readonly expected = new Expected();
  private readonly leb = new Leb();
  private readonly blocks: number;
  private readonly end: number;
  /** The block that is being read: its number, bytes, accesses, and how far it is. */
  private block = 0;
  private place = HEADER_BYTES;
  private left = 0;
  private tagAt = 0;
  private addressAt = 0;
  private eventsFrom = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private done = 0;
  private counted = 0;
  private readonly tagKind = new Uint8Array(TAGS_MAX);
  private readonly tagSize = new Uint16Array(TAGS_MAX);
  private events: { at: number; event: SpaceEvent }[] = [];
  private eventAt = 0;

  constructor(source: Bytes, rows: number) {
    if (endianness() !== 'LE') throw new QuireError('EOPNOTSUPP', '.qacc: read on little-endian machines only');
    this.source = source;
    this.name = source.name;
    this.batch = accesses(rows);
    const header = Buffer.from(this.take(0, HEADER_BYTES, 'header'));
    if (!MAGIC.every((b, i) => header[i] === b)) throw this.error('expected a .qacc trace, it begins otherwise');
    const version = header.readUInt32LE(8);
    if (crc32(header.subarray(0, 60)) !== header.readUInt32LE(60)) throw this.error('damaged: the header is not whole');
    if (version !== QACC_VERSION) throw this.error(`version ${version}, expected ${QACC_VERSION}`);
    this.blocks = header.readUInt32LE(12);
    this.total = header.readDoubleLE(16);
    const size = header.readDoubleLE(32);
    if (source.size !== size) throw this.error(`${source.size} bytes, its header says ${size}: is the file cut off?`);
    this.end = header.readDoubleLE(40);
    this.told = (header.readUInt32LE(56) & FLAG_TOLD) !== 0;
    this.regions = this.readRegions(size - this.end, header.readUInt32LE(48), header.readUInt32LE(52));
  }

  next(): Accesses | null {
    const { batch } = this;
    for (;;) {
      if (this.left > 0 || this.eventAt < this.events.length) break;
      if (this.block === this.blocks) {
        if (this.counted !== this.total || this.place !== this.end)
          throw this.error(`damaged: ${this.counted} accesses, its header says ${this.total}`);
        return null;
      }
      this.load();
    }
    const event = this.events[this.eventAt];
    const upTo = event === undefined ? this.left : event.at - this.done;
    const n = Math.min(upTo, batch.rows);
    this.unpack(n);
    batch.count = n;
    batch.event = null;
    if (event !== undefined && n === upTo) {
      batch.event = event.event;
      this.eventAt++;
    }
    return batch;
  }

  close(): void {
    this.source.close();
  }

  /** `n` accesses into the batch. */
  private unpack(n: number): void {
    const { bytes, expected, tagKind, tagSize } = this;
    const { places } = expected;
    const { address, size, kind } = this.batch;
    let { nextFetch, context } = expected;
    let at = this.addressAt;
    let tagAt = this.tagAt;
    let bad = false;
    for (let i = 0; i < n; i++) {
      const tag = bytes[tagAt++] as number;
      const k = tagKind[tag] as number;
      const s = tagSize[tag] as number;
      let d = bytes[at++] as number;
      if (d < 0x80) d = (d >>> 1) ^ -(d & 1);
      else {
        d &= 127;
        let scale = 128;
        for (let b = 0x80; b >= 0x80 && scale < LEB_END; scale *= 128) {
          b = bytes[at++] as number;
          d += (b & 127) * scale;
        }
        d = d % 2 === 0 ? d / 2 : -(d + 1) / 2;
      }
      // As Expected does it, in variables.
      let a = d;
      if (k === FETCH) {
        a += nextFetch;
        nextFetch = a + s;
        context = contextOf(a);
      } else {
        a += places[context] as number;
        places[context] = a;
        if ((context & 3) !== 3) context++;
      }
      if (!(a >= 0 && a < ADDRESS_END) || s === 0) bad = true;
      address[i] = a;
      size[i] = s;
      kind[i] = k;
    }
    if (bad) throw this.damaged();
    expected.nextFetch = nextFetch;
    expected.context = context;
    if (at > bytes.length) throw this.damaged();
    this.addressAt = at;
    this.tagAt = tagAt;
    this.done += n;
    this.left -= n;
    if (this.left === 0 && n > 0 && at !== this.eventsFrom) throw this.damaged();
  }

  private load(): void {
    const header = Buffer.from(this.take(this.place, BLOCK_HEADER_BYTES, 'block'));
    const stored = header.readUInt32LE(0);
    const raw = header.readUInt32LE(4);
    const count = header.readUInt32LE(8);
    this.block++;
    if (raw > BLOCK_BYTES_MAX || stored > raw || count > BLOCK_ACCESSES) throw this.damaged();
    const packed = this.take(this.place + BLOCK_HEADER_BYTES, stored, 'block');
    if (crc32(packed) !== header.readUInt32LE(12)) throw this.damaged();
    this.place += BLOCK_HEADER_BYTES + stored;
    this.bytes = stored === raw ? packed : this.inflated(packed, raw);
    this.expected.reset();
    this.left = count;
    this.done = 0;
    this.counted += count;
    this.readHead(count);
  }

  /** The tags and the events of a block. */
  private readHead(count: number): void {
    const { leb, bytes } = this;
    leb.bytes = bytes;
    leb.at = 0;
    const addressBytes = leb.next();
    const tags = leb.next();
    if (addressBytes < 0 || tags < 0 || tags > TAGS_MAX) throw this.damaged();
    // What is no tag has size 0.
    this.tagSize.fill(0);
    for (let i = 0; i < tags; i++) {
      this.tagKind[i] = bytes[leb.at++] as number;
      this.tagSize[i] = (bytes[leb.at++] as number) | ((bytes[leb.at++] as number) << 8);
      if ((this.tagKind[i] as number) > FETCH || this.tagSize[i] === 0) throw this.damaged();
    }
    this.tagAt = leb.at;
    this.addressAt = leb.at + count;
    this.eventsFrom = this.addressAt + addressBytes;
    leb.at = this.eventsFrom;
    const events = leb.next();
    if (events < 0 || events > BLOCK_EVENTS) throw this.damaged();
    this.events = [];
    this.eventAt = 0;
    let place = 0;
    for (let i = 0; i < events; i++) {
      place += leb.next();
      const length = leb.next();
      if (length < 0 || leb.at + length > bytes.length || place > count) throw this.damaged();
      const event = parseEvent(Buffer.from(bytes.subarray(leb.at, leb.at + length)).toString());
      if (event === null) throw this.damaged();
      this.events.push({ at: place, event });
      leb.at += length;
    }
    if (leb.at !== bytes.length) throw this.damaged();
  }

  private inflated(packed: Uint8Array, raw: number): Uint8Array {
    let out: Uint8Array;
    try {
      out = inflateRawSync(packed, { maxOutputLength: raw });
    } catch {
      throw this.damaged();
    }
    if (out.length !== raw) throw this.damaged();
    return out;
  }

  private readRegions(length: number, count: number, checksum: number): Region[] {
    if (!(this.end >= HEADER_BYTES && length >= 0)) throw this.error('damaged: the header is not whole');
    const { leb } = this;
    leb.bytes = this.take(this.end, length, 'regions');
    if (crc32(leb.bytes) !== checksum) throw this.error('damaged: the regions are not whole');
    const out: Region[] = [];
    let at = 0;
    for (let i = 0; i < count; i++) {
      const start = at + leb.next() * REGION_PAGE;
      at = start + leb.next() * REGION_PAGE;
      const touched = leb.next();
      if (!(start >= 0 && at > start && at <= ADDRESS_END && touched >= 0)) throw this.error('damaged: the regions');
      out.push({ start, end: at, touched });
    }
    return out;
  }

  private take(from: number, length: number, what: string): Uint8Array {
    const out = new Uint8Array(length);
    let got = 0;
    while (got < length) {
      const n = this.source.read(got === 0 ? out : out.subarray(got), from + got);
      if (n === 0) throw this.error(`ends within its ${what}: is the file cut off?`);
      got += n;
    }
    return out;
  }

  private damaged(): InputError {
    return this.error(`block ${this.block}: damaged`);
  }

  private error(what: string): InputError {
    return new InputError(this.source.path, 0, what);
  }
}

function reader(source: Bytes, rows: number): AccessSource {
  try {
    return new QaccReader(source, rows);
  } catch (error) {
    source.close();
    throw error;
  }
}

/** Reads the .qacc trace at `path`. */
export const openQacc = (path: string): AccessSource => reader(fileBytes(path), ACCESS_ROWS);

/** Reads a .qacc trace that is in memory. */
export const qaccFrom = (name: string, data: Uint8Array, rows: number = ACCESS_ROWS): AccessSource =>
  reader(memoryBytes(name, data), rows);
