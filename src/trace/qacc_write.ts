/** Writes access traces in Quire's own form (qacc.ts), block by block; the file stands under its name when it is whole. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { crc32, deflateRawSync } from 'node:zlib';
import type { AccessSource, Region, SpaceEvent } from './access.ts';
import {
  BLOCK_ACCESSES,
  BLOCK_EVENTS,
  BLOCK_HEADER_BYTES,
  Expected,
  FLAG_TOLD,
  HEADER_BYTES,
  MAGIC,
  QACC_VERSION,
  REGION_PAGE,
  TAGS_MAX,
} from './qacc.ts';
import { Regions } from './regions.ts';

const PAIRS = 4 * 65536;
/** Packed only where it saves at least this part: unpacking costs time. */
const WORTH = 7 / 8;

/** Bytes that are being put together. */
class Sink {
  bytes = new Uint8Array(1 << 20);
  end = 0;

  room(n: number): void {
    if (this.end + n <= this.bytes.length) return;
    const next = new Uint8Array(Math.max(this.bytes.length * 2, this.end + n));
    next.set(this.bytes);
    this.bytes = next;
  }

  /** A whole number below 2^53, seven bits at a time, the lowest first. */
  leb(value: number): void {
    this.room(8);
    let v = value;
    while (v >= 0x80) {
      this.bytes[this.end++] = (v % 128) | 0x80;
      v = Math.floor(v / 128);
    }
    this.bytes[this.end++] = v;
  }

  put(data: Uint8Array): void {
    this.room(data.length);
    this.bytes.set(data, this.end);
    this.end += data.length;
  }
}

const zigzag = (d: number): number => (d >= 0 ? d * 2 : -d * 2 - 1);

class QaccWriter {
  private readonly write: (data: Uint8Array) => void;
  private readonly expected = new Expected();
  private readonly regions = new Regions();
  private readonly tagOf = new Int16Array(PAIRS).fill(-1);
  private readonly pairs = new Int32Array(TAGS_MAX);
  private readonly tags = new Uint8Array(BLOCK_ACCESSES);
  private readonly addresses = new Sink();
  private readonly block = new Sink();
  private held = 0;
  private tagCount = 0;
  private pending: { at: number; event: SpaceEvent }[] = [];
  private blocks = 0;
  private total = 0;
  private events = 0;
  private bytes = HEADER_BYTES;

  constructor(write: (data: Uint8Array) => void) {
    this.write = write;
  }

  /** All of a trace. */
  all(source: AccessSource, onBatch: (accesses: number) => void): Uint8Array {
    for (let batch = source.next(); batch !== null; batch = source.next()) {
      this.regions.add(batch);
      const { address, size, kind } = batch;
      for (let i = 0; i < batch.count; i++) this.add(kind[i] as number, address[i] as number, size[i] as number);
      if (batch.event !== null) {
        this.pending.push({ at: this.held, event: batch.event });
        if (this.pending.length === BLOCK_EVENTS) this.flush();
      }
      onBatch(batch.count);
    }
    this.flush();
    return this.finish(source.told);
  }

  private add(kind: number, address: number, size: number): void {
    const pair = kind * 65536 + size;
    let tag = this.tagOf[pair] as number;
    if (tag < 0) {
      if (this.tagCount === TAGS_MAX) this.flush();
      tag = this.tagCount++;
      this.tagOf[pair] = tag;
      this.pairs[tag] = pair;
    }
    const { expected, addresses } = this;
    this.tags[this.held++] = tag;
    const d = address - expected.of(kind);
    expected.saw(kind, address, size);
    if (d >= -64 && d < 64) {
      addresses.room(8);
      addresses.bytes[addresses.end++] = (d << 1) ^ (d >> 31);
    } else addresses.leb(zigzag(d));
    if (this.held === BLOCK_ACCESSES) this.flush();
  }

  private flush(): void {
    if (this.held === 0 && this.pending.length === 0) return;
    const { block, pending } = this;
    block.end = 0;
    block.leb(this.addresses.end);
    block.leb(this.tagCount);
    block.room(3 * TAGS_MAX);
    for (let i = 0; i < this.tagCount; i++) {
      const pair = this.pairs[i] as number;
      block.bytes[block.end++] = pair >> 16;
      block.bytes[block.end++] = pair & 255;
      block.bytes[block.end++] = (pair >> 8) & 255;
      this.tagOf[pair] = -1;
    }
    block.put(this.tags.subarray(0, this.held));
    block.put(this.addresses.bytes.subarray(0, this.addresses.end));
    block.leb(pending.length);
    let last = 0;
    for (const { at, event } of pending) {
      const json = Buffer.from(JSON.stringify(event));
      block.leb(at - last);
      block.leb(json.length);
      block.put(json);
      last = at;
    }
    const raw = block.bytes.subarray(0, block.end);
    const packed = deflateRawSync(raw);
    const stored = packed.length < raw.length * WORTH ? packed : raw;
    const header = Buffer.alloc(BLOCK_HEADER_BYTES);
    header.writeUInt32LE(stored.length, 0);
    header.writeUInt32LE(raw.length, 4);
    header.writeUInt32LE(this.held, 8);
    header.writeUInt32LE(crc32(stored), 12);
    this.write(header);
    this.write(stored);
    this.bytes += header.length + stored.length;
    this.blocks++;
    this.total += this.held;
    this.events += pending.length;
    this.held = 0;
    this.tagCount = 0;
    this.pending = [];
    this.addresses.end = 0;
    this.expected.reset();
  }

  /** Writes the regions; the header, which belongs at the file's start. */
  private finish(told: boolean): Uint8Array {
    const { block } = this;
    block.end = 0;
    let last = 0;
    const regions: readonly Region[] = this.regions.list();
    for (const { start, end, touched } of regions) {
      block.leb((start - last) / REGION_PAGE);
      block.leb((end - start) / REGION_PAGE);
      block.leb(touched);
      last = end;
    }
    const bytes = block.bytes.subarray(0, block.end);
    this.write(bytes);
    const header = Buffer.alloc(HEADER_BYTES);
    header.set(MAGIC, 0);
    header.writeUInt32LE(QACC_VERSION, 8);
    header.writeUInt32LE(this.blocks, 12);
    header.writeDoubleLE(this.total, 16);
    header.writeDoubleLE(this.events, 24);
    header.writeDoubleLE(this.bytes + bytes.length, 32);
    header.writeDoubleLE(this.bytes, 40);
    header.writeUInt32LE(regions.length, 48);
    header.writeUInt32LE(crc32(bytes), 52);
    header.writeUInt32LE(told ? FLAG_TOLD : 0, 56);
    header.writeUInt32LE(crc32(header.subarray(0, 60)), 60);
    return header;
  }
}

/** What was written. */
export interface Written {
  readonly accesses: number;
  readonly bytes: number;
}

/** Writes a whole trace to `path`, or nothing. */
export function writeQacc(source: AccessSource, path: string, onBatch: (all: number) => void = () => {}): Written {
  const part = `${path}.part-${process.pid}`;
  const fd = openSync(part, 'wx');
  try {
    let accesses = 0;
    let bytes = HEADER_BYTES;
    try {
      writeSync(fd, new Uint8Array(HEADER_BYTES));
      const put = (data: Uint8Array): void => {
        for (let done = 0; done < data.length; ) done += writeSync(fd, data, done);
        bytes += data.length;
      };
      const header = new QaccWriter(put).all(source, (n) => {
        accesses += n;
        onBatch(accesses);
      });
      writeSync(fd, header, 0, header.length, 0);
    } finally {
      closeSync(fd);
    }
    renameSync(part, path);
    return { accesses, bytes };
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

/** A whole trace in memory. */
export function qaccBytes(source: AccessSource): Uint8Array {
  const pieces: Uint8Array[] = [];
  const header = new QaccWriter((data) => pieces.push(data.slice())).all(source, () => {});
  return Buffer.concat([header, ...pieces]);
}
