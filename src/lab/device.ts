/**
 * The device of a replay, in virtual time. Reads are answered at once and move the clock (the reader waits for them in any
 * case); writes go into a queue and are answered when the clock has passed their end, or somebody waits for them.
 *
 * The times are those of a small cloud disk and decide only what is still under write-back when the next operation comes.
 */

import { opsOf } from '../mm/filemap.ts';
import type { FolioId, MappingId } from '../mm/ids.ts';
import type { Io, Machine } from '../mm/machine.ts';
import { folioTest } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';

const READ_LATENCY_NS = 80e3;
const WRITE_LATENCY_NS = 120e3;
const NS_PER_BYTE = 0.8;

interface Write {
  readonly mapping: MappingId;
  readonly offset: number;
  readonly length: number;
  readonly ends: number;
}

export class Device implements Io {
  private readonly m: Machine;
  private readonly queue: Write[] = [];
  private head = 0;
  private busyUntil = 0;
  reads = 0;
  readBytes = 0;
  writes = 0;
  writtenBytes = 0;
  /** Requests by log2 of their pages. */
  readonly readSizes = new Float64Array(32);
  readonly writeSizes = new Float64Array(32);

  constructor(m: Machine) {
    this.m = m;
  }

  private count(sizes: Float64Array, length: number): void {
    const bucket = Math.max(0, Math.ceil(Math.log2(length / this.m.config.pageSize)));
    sizes[bucket] = (sizes[bucket] as number) + 1;
  }

  read(mapping: MappingId, offset: number, length: number): void {
    this.reads++;
    this.readBytes += length;
    this.count(this.readSizes, length);
    this.m.now += READ_LATENCY_NS + length * NS_PER_BYTE;
    opsOf(this.m, mapping).endRead(this.m, mapping, offset, length, true);
  }

  write(mapping: MappingId, offset: number, length: number): void {
    this.writes++;
    this.writtenBytes += length;
    this.count(this.writeSizes, length);
    const ends = Math.max(this.m.now, this.busyUntil) + length * NS_PER_BYTE;
    this.busyUntil = ends;
    this.queue.push({ mapping, offset, length, ends: ends + WRITE_LATENCY_NS });
  }

  /** Counts a request that goes past the cache (O_DIRECT). */
  direct(write: boolean, length: number): void {
    if (write) {
      this.writes++;
      this.writtenBytes += length;
      this.count(this.writeSizes, length);
      this.m.now += WRITE_LATENCY_NS + length * NS_PER_BYTE;
    } else {
      this.reads++;
      this.readBytes += length;
      this.count(this.readSizes, length);
      this.m.now += READ_LATENCY_NS + length * NS_PER_BYTE;
    }
  }

  /** Answers the writes that have ended by now. */
  poll(): void {
    while (this.head < this.queue.length && (this.queue[this.head] as Write).ends <= this.m.now) this.answer();
    if (this.head === this.queue.length && this.head > 0) {
      this.queue.length = 0;
      this.head = 0;
    }
  }

  /** Lets time pass until the folio is neither locked nor under write-back. False when nothing in flight can free it. */
  waitFor(folio: FolioId): boolean {
    while (folioTest(this.m.map, folio, PG.PG_writeback | PG.PG_locked)) {
      if (this.head === this.queue.length) return false;
      this.m.now = Math.max(this.m.now, (this.queue[this.head] as Write).ends);
      this.answer();
    }
    return true;
  }

  /** Lets all writes end. */
  drain(): void {
    while (this.head < this.queue.length) {
      this.m.now = Math.max(this.m.now, (this.queue[this.head] as Write).ends);
      this.answer();
    }
  }

  private answer(): void {
    const w = this.queue[this.head++] as Write;
    opsOf(this.m, w.mapping).endWrite(this.m, w.mapping, w.offset, w.length, true);
  }
}
