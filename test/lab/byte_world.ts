/**
 * A plain model of what a replay must keep: every byte of every file, on the device, in the cache, and as the program wrote
 * it last. It stands on the replay's device, copies bytes as requests are made, and knows nothing of folios but which pages
 * are cached. What the program may read must be what it wrote: in the cache if the page is there, else on the device.
 */
import { strict as assert } from 'node:assert';
import { Replay } from '../../src/lab/replay.ts';
import { cachedFolios } from '../../src/lab/result.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { filemapGetFolio } from '../../src/mm/filemap.ts';
import type { FolioId, MappingId } from '../../src/mm/ids.ts';
import type { Io } from '../../src/mm/machine.ts';
import { folioIndex, folioTest } from '../../src/mm/mm_types.ts';
import { PG } from '../../src/mm/page_flags.ts';
import {
  defaultSettings,
  events,
  FADVICE,
  OP,
  OPEN_APPEND,
  OPEN_DIRECT,
  OPEN_READ,
  OPEN_TRUNC,
  OPEN_WRITE,
  type TraceSource,
} from '../../src/trace/event.ts';
import type { Op } from '../help/fuzz.ts';

export const PAGE = 4096;
export const FILES = 2;
/** Room for a file's bytes. */
export const FILE_MAX = 1 << 20;

interface Contents {
  size: number;
  readonly truth: Uint8Array;
  readonly disk: Uint8Array;
  readonly cache: Uint8Array;
  readonly cached: Uint8Array;
}

/** Handles 1 … FILES read and write a file each, the next FILES append, the next FILES are O_DIRECT. */
export class ByteWorld implements Io {
  readonly r: Replay;
  private readonly files: Contents[] = [];
  private readonly block: number;
  private readonly row = events(1);
  private version = 0;
  private unknown = false;
  /** The write in progress: its bytes may go to the device before the call has ended. */
  private writing: { file: number; from: number; to: number; value: number } | null = null;

  constructor(settings: Settings, fs: string, sizes: readonly number[]) {
    const source: TraceSource = {
      name: 'random',
      settings: { ...defaultSettings(), fs },
      files: sizes.map((size, i) => ({ id: i + 1, name: `f${i + 1}`, size })),
      skipped: {},
      next: () => null,
      close: () => {},
    };
    this.r = new Replay(source, settings);
    this.block = fs === 'tmpfs' ? PAGE : this.r.settings.blockSize;
    for (const size of sizes) {
      const c: Contents = {
        size,
        truth: new Uint8Array(FILE_MAX),
        disk: new Uint8Array(FILE_MAX),
        cache: new Uint8Array(FILE_MAX).fill(0xee),
        cached: new Uint8Array(FILE_MAX / PAGE),
      };
      c.truth.fill(0xa5, 0, size);
      c.disk.fill(0xa5, 0, fs === 'tmpfs' ? 0 : size);
      this.files.push(c);
    }
    // What tmpfs holds was cached before anybody could listen.
    if (fs === 'tmpfs')
      this.files.forEach((c, i) => {
        for (const [index, order] of cachedFolios(this.r.m, (i + 1) as MappingId)) this.pageIn(c, index, order);
        c.cache.set(c.truth.subarray(0, c.size));
      });
    this.r.m.io = this;
    this.r.m.tracer = {
      addToPageCache: (mapping, index, order) => this.pageIn(this.of(mapping), index, order),
      deleteFromPageCache: (mapping, index, order) => this.pageOut(this.of(mapping), index, order),
    };
    for (let f = 1; f <= FILES; f++) {
      this.call(OP.open, f, { file: f, arg: OPEN_READ | OPEN_WRITE });
      this.call(OP.open, FILES + f, { file: f, arg: OPEN_READ | OPEN_WRITE | OPEN_APPEND });
      this.call(OP.open, 2 * FILES + f, { file: f, arg: OPEN_READ | OPEN_WRITE | OPEN_DIRECT });
    }
  }

  private of(mapping: MappingId): Contents {
    return this.files[mapping - 1] as Contents;
  }
  private pageIn(c: Contents, index: number, order: number): void {
    c.cached.fill(1, index, index + 2 ** order);
    c.cache.fill(0, index * PAGE, (index + 2 ** order) * PAGE);
  }
  private pageOut(c: Contents, index: number, order: number): void {
    c.cached.fill(0, index, index + 2 ** order);
    c.cache.fill(0xee, index * PAGE, (index + 2 ** order) * PAGE);
  }

  // The device: bytes are copied when a request is made.

  read(mapping: MappingId, offset: number, length: number, ahead: boolean): void {
    const c = this.of(mapping);
    c.cache.set(c.disk.subarray(offset, offset + length), offset);
    // Past the end of the file a page holds zeros, whatever is left there on the device.
    c.cache.fill(0, Math.max(offset, c.size), Math.max(c.size, offset + length));
    this.r.device.read(mapping, offset, length, ahead);
  }
  write(mapping: MappingId, offset: number, length: number): void {
    const c = this.of(mapping);
    const w = this.writing;
    if (w !== null && w.file === mapping)
      c.cache.fill(w.value, Math.max(w.from, offset), Math.min(w.to, offset + length));
    const inside = Math.min(offset + length, this.r.m.spaces.size[mapping] as number);
    c.disk.fill(0, offset, offset + length);
    if (inside > offset) c.disk.set(c.cache.subarray(offset, inside), offset);
    this.r.device.write(mapping, offset, length);
  }
  waitWriteback(folio: FolioId): boolean {
    return this.r.device.waitWriteback(folio);
  }

  private call(
    op: number,
    id: number,
    more: { file?: number; arg?: number; offset?: number; length?: number } = {},
  ): void {
    const { row } = this;
    row.count = 1;
    row.op[0] = op;
    row.id[0] = id;
    row.file[0] = more.file ?? 0;
    row.arg[0] = more.arg ?? 0;
    row.offset[0] = more.offset ?? 0;
    row.length[0] = more.length ?? 0;
    this.r.play(row);
  }

  /** One operation of a random test, on the replay and on the bytes. */
  apply([name, file, a, b]: Op): void {
    if (this.unknown) return;
    const f = Number(file);
    const x = Number(a);
    const y = Number(b);
    const c = this.files[f - 1] as Contents;
    switch (name) {
      case 'read': {
        const before = this.r.readBytes;
        const lacking = this.r.outOfMemory;
        this.call(OP.pread, f, { offset: x, length: y });
        const done = this.r.readBytes - before;
        const want = Math.max(0, Math.min(x + y, c.size) - x);
        assert.ok(done === want || this.r.outOfMemory > lacking, `read ${done} of ${want} bytes`);
        this.compare(f, x, x + done);
        return;
      }
      case 'directread': {
        this.call(OP.pread, 2 * FILES + f, { offset: x, length: y });
        const end = Math.min(x + y, c.size);
        if (this.r.settings.fs === 'tmpfs') this.compare(f, x, end);
        else if (end > x) this.same(c.disk, c.truth, x, end, `direct read of file ${f}`);
        return;
      }
      case 'write':
        this.write_(f, f, x, y);
        return;
      case 'append':
        if (c.size + y <= FILE_MAX) this.write_(f, FILES + f, c.size, y);
        return;
      case 'directwrite':
        this.write_(f, 2 * FILES + f, x, y);
        return;
      case 'truncate':
        if (this.failed(() => this.zeroing(f, Math.min(x, c.size), FILE_MAX, OP.ftruncate, { length: x }))) return;
        this.resize(c, x);
        return;
      case 'reopen':
        this.call(OP.close, f);
        this.call(OP.open, f, { file: f, arg: OPEN_READ | OPEN_WRITE | (x === 0 ? OPEN_TRUNC : 0) });
        if (x === 0) this.resize(c, 0);
        return;
      case 'punch': {
        if (this.failed(() => this.zeroing(f, x, x + y, OP.punch, { offset: x, length: y }))) return;
        const end = Math.min(x + y, FILE_MAX);
        c.truth.fill(0, x, end);
        this.zeroCached(c, x, end);
        const first = Math.ceil(x / this.block) * this.block;
        const last = Math.floor(end / this.block) * this.block;
        if (last > first) c.disk.fill(0, first, last);
        return;
      }
      case 'fallocate':
        if (!this.failed(() => this.call(OP.fallocate, f, { offset: x, length: y }))) c.size = Math.max(c.size, x + y);
        return;
      case 'fsync':
        this.call(OP.fsync, f);
        if (this.r.settings.fs !== 'tmpfs') this.same(c.disk, c.truth, 0, c.size, `file ${f} after fsync`);
        return;
      case 'sync':
        this.call(OP.sync, 0);
        if (this.r.settings.fs !== 'tmpfs')
          this.files.forEach((one, i) => {
            this.same(one.disk, one.truth, 0, one.size, `file ${i + 1} after sync`);
          });
        return;
      case 'readahead':
        this.call(OP.readahead, f, { offset: x, length: y });
        return;
      default:
        this.call(OP.fadvise, f, {
          offset: x,
          length: y,
          arg: FADVICE.indexOf(name as (typeof FADVICE)[number]),
        });
    }
  }

  /** A call that makes bytes zeros: what is written of them meanwhile is zeros. */
  private zeroing(f: number, from: number, to: number, op: number, args: { offset?: number; length: number }): void {
    this.writing = { file: f, from, to, value: 0 };
    this.call(op, f, args);
    this.writing = null;
  }

  /** A cut or a hole that ran out of memory half way leaves contents that only the kernel knows. */
  private failed(call: () => void): boolean {
    const lacking = this.r.outOfMemory;
    call();
    this.unknown = this.r.outOfMemory > lacking && this.r.settings.fs !== 'tmpfs';
    return this.r.outOfMemory > lacking;
  }

  private write_(f: number, handle: number, from: number, length: number): void {
    const c = this.files[f - 1] as Contents;
    this.version = (this.version % 250) + 1;
    const value = this.version;
    const before = this.r.writtenBytes;
    if (from > c.size) this.zeroCached(c, c.size, from);
    this.writing = { file: f, from, to: from + length, value };
    this.call(OP.pwrite, handle, { offset: from, length });
    this.writing = null;
    const to = from + this.r.writtenBytes - before;
    const through = handle > 2 * FILES && !this.r.fs.buffersDirectWrites && this.r.settings.fs !== 'tmpfs';
    c.truth.fill(value, from, to);
    if (through) c.disk.fill(value, from, to);
    for (let p = Math.floor(from / PAGE); p * PAGE < to; p++)
      if (c.cached[p] === 1) c.cache.fill(value, Math.max(from, p * PAGE), Math.min(to, (p + 1) * PAGE));
    if (to > from) c.size = Math.max(c.size, to);
  }

  private zeroCached(c: Contents, from: number, to: number): void {
    for (let p = Math.floor(from / PAGE); p * PAGE < to; p++)
      if (c.cached[p] === 1) c.cache.fill(0, Math.max(from, p * PAGE), Math.min(to, (p + 1) * PAGE));
  }

  private resize(c: Contents, size: number): void {
    c.truth.fill(0, size);
    this.zeroCached(c, size, FILE_MAX);
    c.disk.fill(0, Math.ceil(size / this.block) * this.block);
    c.size = size;
  }

  private same(got: Uint8Array, want: Uint8Array, from: number, to: number, what: string): void {
    if (Buffer.compare(got.subarray(from, to), want.subarray(from, to)) === 0) return;
    let i = from;
    while (got[i] === want[i]) i++;
    assert.fail(`${what}: byte ${i} is ${got[i]}, expected ${want[i]}`);
  }

  /** What the program may read of [from, to) is what it wrote. */
  private compare(f: number, from: number, to: number): void {
    const c = this.files[f - 1] as Contents;
    for (let p = Math.floor(from / PAGE); p * PAGE < to; p++) {
      const a = Math.max(from, p * PAGE);
      const b = Math.min(to, (p + 1) * PAGE);
      for (let i = a; i < b; ) {
        const next = Math.min(b, (Math.floor(i / this.block) + 1) * this.block);
        const cached = this.holds(f, i, next);
        const where = `file ${f}, page ${p}, ${cached ? 'cached' : 'on the device'}`;
        this.same(cached ? c.cache : c.disk, c.truth, i, next, where);
        i = next;
      }
    }
  }

  /** Does the cache hold these bytes of one block? */
  private holds(f: number, from: number, to: number): boolean {
    const { m, fs } = this.r;
    const folio = filemapGetFolio(m, f as MappingId, Math.floor(from / PAGE));
    if (folio === 0) return false;
    if (folioTest(m.map, folio, PG.PG_uptodate)) return true;
    return fs.isPartiallyUptodate(m, folio, from - folioIndex(m.map, folio) * PAGE, to - from);
  }

  /** The machine's own invariants, and the pages that it says are cached. */
  check(): void {
    const { m } = this.r;
    checkMachine(m, false);
    if (this.unknown) return;
    this.files.forEach((c, i) => {
      const pages = new Uint8Array(FILE_MAX / PAGE);
      for (const [index, order] of cachedFolios(m, (i + 1) as MappingId)) pages.fill(1, index, index + 2 ** order);
      assert.ok(Buffer.compare(pages, c.cached) === 0, `cached pages of file ${i + 1}`);
      assert.equal(m.spaces.size[i + 1], c.size, `size of file ${i + 1}`);
    });
  }

  /** Everything may end: nothing stays locked, every byte is where it belongs. */
  end(): void {
    if (this.unknown) return;
    this.apply(['sync', 0]);
    this.r.device.drain();
    checkMachine(this.r.m, true);
    this.files.forEach((c, i) => {
      this.compare(i + 1, 0, c.size);
    });
  }
}
