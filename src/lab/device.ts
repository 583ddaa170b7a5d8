/**
 * The device of a replay, in virtual time. A read that somebody waits for is answered at once and moves the clock; reads
 * ahead of use and writes go into a queue and are answered when the clock has passed their end, or somebody waits for them.
 *
 * The times are those of a small cloud disk; they decide only what is still in flight when the next operation comes.
 */

import { opsOf } from '../mm/filemap.ts';
import type { FolioId, MappingId, SwapEntry } from '../mm/ids.ts';
import type { Io, Machine } from '../mm/machine.ts';
import { folioTest } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { endSwapRead, endSwapWrite } from '../mm/page_io.ts';

const { PG_locked, PG_writeback } = PG;

const NO_MAPPING = 0 as MappingId;
const READ_LATENCY_NS = 85e3;
const WRITE_LATENCY_NS = 120e3;
const READ_NS_PER_BYTE = 0.25;
/** From the end of a request until who waits for it runs again. */
const WAKE_NS = 30e3;
const WRITE_NS_PER_BYTE = 0.5;
/** The device's own cache to the medium. */
const FLUSH_NS = 100e3;

/** What it takes to send a folio to swap, unmapping it included, and the requests that a device has room for. @kernel block/blk-mq.c BLKDEV_DEFAULT_RQ (6.18) */
const SUBMIT_NS = 3e3;
const SUBMIT_PAGE_NS = 400;
const QUEUE_DEPTH = 128;

/** Pages written that wake a reclaimer. @kernel mm/vmscan.c __acct_reclaim_writeback (6.18) */
const THROTTLE_PAGES = 32;

interface Request {
  readonly write: boolean;
  /** The folio, where it is swapped out or in; 0: bytes of a file. */
  readonly swap: FolioId | 0;
  readonly mapping: MappingId;
  readonly offset: number;
  readonly length: number;
  readonly ends: number;
}

export class Device implements Io {
  private readonly m: Machine;
  private readonly queue: Request[] = [];
  private head = 0;
  private writesBusy = 0;
  private readsBusy = 0;
  reads = 0;
  readBytes = 0;
  writes = 0;
  writtenBytes = 0;
  /** Requests by log2 of their pages. */
  readonly readSizes = new Float64Array(32);
  readonly writeSizes = new Float64Array(32);

  readonly pageReads: { readonly ns: number; count: (n: number) => void };

  constructor(m: Machine) {
    this.m = m;
    const page = m.config.pageSize;
    this.pageReads = {
      ns: READ_LATENCY_NS + page * READ_NS_PER_BYTE,
      count: (n) => {
        this.reads += n;
        this.readBytes += n * page;
        this.readSizes[0] = (this.readSizes[0] as number) + n;
      },
    };
  }

  private count(sizes: Float64Array, length: number): void {
    const pages = Math.ceil(length * this.m.pagesPerByte);
    const bucket = pages <= 1 ? 0 : 32 - Math.clz32(pages - 1);
    sizes[bucket] = (sizes[bucket] as number) + 1;
  }

  read(mapping: MappingId, offset: number, length: number, ahead: boolean): void {
    this.reads++;
    this.readBytes += length;
    this.count(this.readSizes, length);
    const takes = READ_LATENCY_NS + length * READ_NS_PER_BYTE;
    if (ahead) {
      // Latencies pass at the same time, bytes come one request after the other.
      this.readsBusy = Math.max(this.m.now, this.readsBusy) + length * READ_NS_PER_BYTE;
      this.push({ write: false, swap: 0, mapping, offset, length, ends: this.readsBusy + READ_LATENCY_NS });
      return;
    }
    this.m.now += takes;
    opsOf(this.m, mapping).endRead(this.m, mapping, offset, length, true);
  }

  write(mapping: MappingId, offset: number, length: number): void {
    this.writes++;
    this.writtenBytes += length;
    this.count(this.writeSizes, length);
    this.writesBusy = Math.max(this.m.now, this.writesBusy) + length * WRITE_NS_PER_BYTE;
    this.push({ write: true, swap: 0, mapping, offset, length, ends: this.writesBusy + WRITE_LATENCY_NS });
  }

  swapRead(folio: FolioId, _entry: SwapEntry, nr: number, ahead: boolean): void {
    const length = nr * this.m.config.pageSize;
    this.reads++;
    this.readBytes += length;
    this.count(this.readSizes, length);
    const takes = READ_LATENCY_NS + length * READ_NS_PER_BYTE;
    if (ahead)
      this.push({ write: false, swap: folio, mapping: NO_MAPPING, offset: 0, length, ends: this.m.now + takes });
    else {
      this.m.now += takes;
      endSwapRead(this.m, folio, true);
    }
  }

  swapWrite(folio: FolioId, _entry: SwapEntry, nr: number): void {
    const length = nr * this.m.config.pageSize;
    this.writes++;
    this.writtenBytes += length;
    this.count(this.writeSizes, length);
    this.writesBusy = Math.max(this.m.now, this.writesBusy) + length * WRITE_NS_PER_BYTE;
    const ends = this.writesBusy + WRITE_LATENCY_NS;
    this.push({ write: true, swap: folio, mapping: NO_MAPPING, offset: 0, length, ends });
    // Reclaim works on meanwhile: what has ended by now can be freed, and a full queue makes it wait.
    this.m.now += SUBMIT_NS + nr * SUBMIT_PAGE_NS;
    while (this.queue.length - this.head > QUEUE_DEPTH) this.pass();
    this.poll();
  }

  /** The queue is short and in order of ending. */
  private push(request: Request): void {
    const { queue } = this;
    let i = queue.push(request) - 1;
    for (; i > this.head && (queue[i - 1] as Request).ends > request.ends; i--) queue[i] = queue[i - 1] as Request;
    queue[i] = request;
  }

  /** Counts a request that goes past the cache (O_DIRECT). */
  direct(write: boolean, length: number): void {
    if (write) {
      this.writes++;
      this.writtenBytes += length;
      this.count(this.writeSizes, length);
      this.m.now += WRITE_LATENCY_NS + length * WRITE_NS_PER_BYTE;
    } else {
      this.reads++;
      this.readBytes += length;
      this.count(this.readSizes, length);
      this.m.now += READ_LATENCY_NS + length * READ_NS_PER_BYTE;
    }
  }

  /**
   * The end of an fsync, even of one that finds nothing to write: the device does what it was sent before, then empties its own cache.
   * @kernel block/blk-flush.c blkdev_issue_flush (6.18)
   */
  flush(): void {
    this.drain();
    this.m.now += FLUSH_NS;
  }

  /** Nothing is in flight. */
  get idle(): boolean {
    return this.head === this.queue.length;
  }

  /** Answers the requests that have ended by now. */
  poll(): void {
    while (this.head < this.queue.length && (this.queue[this.head] as Request).ends <= this.m.now) this.answer();
    if (this.head === this.queue.length && this.head > 0) {
      this.queue.length = 0;
      this.head = 0;
    }
  }

  /** Lets time pass until the folio is neither locked nor under write-back. False when nothing in flight can free it. */
  waitFor(folio: FolioId): boolean {
    while (folioTest(this.m.map, folio, PG_writeback | PG_locked)) {
      if (this.head === this.queue.length) return false;
      this.pass();
      if (!folioTest(this.m.map, folio, PG_writeback | PG_locked)) {
        this.m.now += WAKE_NS;
        this.poll();
      }
    }
    return true;
  }

  /** Reclaim sleeps for one folio, or (0) until 32 pages have been written. @kernel mm/vmscan.c reclaim_throttle (6.18) */
  waitWriteback(folio: FolioId): boolean {
    if (folio !== 0) return this.waitFor(folio);
    let bytes = 0;
    while (bytes < THROTTLE_PAGES * this.m.config.pageSize && this.head < this.queue.length) {
      const request = this.queue[this.head] as Request;
      this.m.now = Math.max(this.m.now, request.ends);
      this.answer();
      if (request.write) bytes += request.length;
    }
    return bytes > 0;
  }

  /** Lets all requests end. */
  drain(): void {
    while (this.head < this.queue.length) this.pass();
  }

  /** Lets time pass until the next request ends. */
  private pass(): void {
    this.m.now = Math.max(this.m.now, (this.queue[this.head] as Request).ends);
    this.answer();
  }

  private answer(): void {
    const r = this.queue[this.head++] as Request;
    if (r.swap !== 0) {
      if (r.write) endSwapWrite(this.m, r.swap, true);
      else endSwapRead(this.m, r.swap, true);
      return;
    }
    const ops = opsOf(this.m, r.mapping);
    if (r.write) ops.endWrite(this.m, r.mapping, r.offset, r.length, true);
    else ops.endRead(this.m, r.mapping, r.offset, r.length, true);
  }
}
