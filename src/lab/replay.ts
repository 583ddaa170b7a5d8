/**
 * Replays a recording on a modelled machine: one operation after the other, in virtual time, and says what the page cache
 * did and what it holds at the end. The engine says "wait" where the kernel would sleep; the device here lets time pass.
 */
import { QuireError } from '../base/errors.ts';
import { largeFolioOrders } from '../fs/filesystems.ts';
import { mount } from '../fs/mount.ts';
import type { AddressSpaceOperations } from '../mm/address_space.ts';
import { FMODE_RANDOM } from '../mm/address_space.ts';
import { type Fadvice, genericFadvise, ksysReadahead } from '../mm/fadvise.ts';
import { type Kiocb, kiocb, READ_DONE, READ_EIO, READ_NOMEM, READ_WAIT } from '../mm/filemap.ts';
import { filemapReadRandom, type ReadRun, readRun } from '../mm/filemap_random.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO, PGOFF_MAX } from '../mm/ids.ts';
import { khugepagedRun } from '../mm/khugepaged.ts';
import { type Machine, PAGES_DELETED } from '../mm/machine.ts';
import { memcgChargeKernel, memcgCreate } from '../mm/memcontrol.ts';
import { inodeInit, machine, openFile } from '../mm/mm_init.ts';
import { filemapRangeNeedsWriteback, filemapWriteAndWaitRange, ksysSync } from '../mm/page_writeback.ts';
import { release } from '../mm/release.ts';
import { thpStore } from '../mm/thp.ts';
import { kiocbInvalidatePages, mappingTryInvalidate } from '../mm/truncate.ts';
import {
  type Events,
  FADVICE,
  MADVICE,
  OP,
  OPEN_APPEND,
  OPEN_DIRECT,
  OPEN_TRUNC,
  OPEN_WRITE,
  OPS,
  type TraceFile,
  type TraceSource,
} from '../trace/event.ts';
import { Device } from './device.ts';
import { ReplayMm } from './replay_mm.ts';
import { setupSwap } from './replay_swap.ts';
import { type Resolved, resolve, type Settings } from './settings.ts';

const HANDLES = 4096;
/** What the processor does between two waits: system call, lookup, copy at 10 GB/s. */
const OP_NS = 1000;
const COPY_NS_PER_BYTE = 0.1;

/** Who looks at a replay now and then: `take` is called when `due` operations are done, and says when it is due again. */
export interface Sampler {
  readonly due: number;
  take(r: Replay): void;
}

/** What the program itself keeps in a group that it joins, in pages: three of stack, heap and data, one of kernel objects (the ops runner, measured). */
const TASK_PAGES = 4;

/** A replay under way: the machine, its files, and how far it is. */
export class Replay {
  readonly m: Machine;
  readonly device: Device;
  readonly settings: Resolved;
  readonly fs: AddressSpaceOperations;
  readonly files: readonly TraceFile[];
  /** The recording's files as the machine knows them, by file number. */
  readonly mappings = new Map<number, MappingId>();
  /** Operations done, and those that the model does not know, by name. */
  ops = 0;
  readonly skipped: Record<string, number> = {};
  /** Bytes that the program read and wrote. */
  readBytes = 0;
  writtenBytes = 0;
  /** Operations that failed for want of memory. */
  outOfMemory = 0;
  sampler: Sampler | null = null;

  private readonly source: TraceSource;
  /** By handle: the open file, its mapping, and OPEN_* bits. */
  private readonly handleFile = new Int32Array(HANDLES);
  private readonly handleFlags = new Int32Array(HANDLES);
  private readonly freeFiles: FileId[] = [];
  /** Closed, and perhaps still mapped. */
  private readonly closedFiles: FileId[] = [];
  private program: ReplayMm | null = null;
  private randomRun: ReadRun | null = null;
  private readonly iocb: Kiocb = kiocb(0 as FileId, 0, 0);

  constructor(source: TraceSource, set: Settings) {
    this.source = source;
    this.settings = resolve(source.settings, set);
    const s = this.settings;
    const preset = release(s.kernel);
    this.m = machine({
      release: preset,
      pageSize: s.pageSize,
      memory: s.memory,
      thp: true,
      swappiness: s.swappiness,
      lru: s.lru,
      memmap: s.memmap,
      dirtyRatio: 20,
      dirtyBackgroundRatio: 10,
    });
    this.device = new Device(this.m);
    setupSwap(this.m, s.swap);
    this.m.io = this.device;
    this.m.khugepaged.enabled = s.khugepaged;
    for (const [name, value] of Object.entries(s.thp)) thpStore(this.m, name, value);
    this.fs = mount(s.fs, s.huge);
    this.files = source.files;
    // Kernels have the ext4 driver serve ext2 (CONFIG_EXT4_USE_FOR_EXT2).
    const orders = largeFolioOrders(s.fs === 'ext2' ? 'ext4' : s.fs, preset.name, {
      blockSize: s.blockSize,
      pageSize: s.pageSize,
      thp: true,
    });
    for (const file of source.files) this.mappings.set(file.id, this.inode(file.size, orders));
    if (s.memcg > 0) {
      const group = memcgCreate(this.m, Math.floor(s.memcg / s.pageSize));
      this.m.currentMemcg = group;
      memcgChargeKernel(this.m, group, TASK_PAGES);
    }
  }

  private inode(size: number, orders: { min: number; max: number }): MappingId {
    const s = this.settings;
    const tmpfs = s.fs === 'tmpfs';
    return inodeInit(this.m, {
      ops: this.fs,
      size,
      minOrder: orders.min,
      maxOrder: tmpfs && s.huge === 'never' ? 0 : orders.max,
      blkbits: Math.log2(tmpfs ? s.pageSize : s.blockSize),
      raPages: tmpfs ? 0 : Math.floor(s.readahead / s.pageSize),
      ioPages: tmpfs ? 0 : Math.floor(s.ioSize / s.pageSize),
    });
  }

  /** Folios added to the page cache so far, by order. */
  get addedByOrder(): Float64Array {
    return this.m.cached.subarray(0, PAGES_DELETED);
  }
  get addedFolios(): number {
    return this.addedByOrder.reduce((sum, n) => sum + n, 0);
  }
  get addedPages(): number {
    return this.addedByOrder.reduce((sum, n, order) => sum + n * 2 ** order, 0);
  }
  get deletedPages(): number {
    return this.m.cached[PAGES_DELETED] as number;
  }

  /** Replays all that is left. */
  run(): void {
    for (let batch = this.source.next(); batch !== null; batch = this.source.next()) this.play(batch);
    for (const [name, n] of Object.entries(this.source.skipped)) this.skipped[name] = (this.skipped[name] ?? 0) + n;
  }

  /** Replays one batch of operations. */
  play(e: Events): void {
    let from = 0;
    const { sampler } = this;
    while (sampler !== null && sampler.due <= this.ops + e.count - from) {
      const to = from + sampler.due - this.ops;
      this.rows(e, from, to);
      sampler.take(this);
      from = to;
    }
    this.rows(e, from, e.count);
  }

  private rows(e: Events, from: number, to: number): void {
    const { m, device } = this;
    const { op, id, offset, length } = e;
    const daemon = m.khugepaged;
    for (let i = from; i < to; i++) {
      // Many reads at a time, unless somebody has something to do in between.
      if (op[i] === OP.pread && device.idle && !(daemon.enabled && daemon.next >= 0)) {
        i = this.random(e, i, to);
        if (i === to) break;
      }
      const o = op[i] as number;
      m.now += OP_NS;
      if (o === OP.pread) this.read(id[i] as number, offset[i] as number, length[i] as number, false);
      else if (o === OP.read) this.read(id[i] as number, -1, length[i] as number, true);
      else this.other(e, i);
      device.poll();
      if (daemon.enabled && daemon.next >= 0 && daemon.next <= m.now) khugepagedRun(m, m.now);
    }
    this.ops += to - from;
  }

  /** Reads of one handle that lie at random, from row `from` on, as many as are plain; returns the next row. */
  private random(e: Events, from: number, to: number): number {
    const { op, id } = e;
    const h = id[from] as number;
    const file = this.handleFile[h] as FileId;
    if (file === 0 || (this.handleFlags[h]! & OPEN_DIRECT) !== 0 || (this.m.files.fmode[file]! & FMODE_RANDOM) === 0)
      return from;
    // Who keeps bytes is told of each copy.
    if (this.m.bytes !== null || this.program?.bufferProtected === true) return from;
    let end = Math.max(from + 1, Math.min(e.alike, to));
    while (end < to && op[end] === OP.pread && id[end] === h) end++;
    let run = this.randomRun;
    if (run === null || run.offset !== e.offset)
      run = this.randomRun = readRun(e.offset, e.length, OP_NS, COPY_NS_PER_BYTE);
    run.file = file;
    run.from = from;
    run.to = end;
    const next = filemapReadRandom(this.m, run);
    this.readBytes += run.bytes;
    this.outOfMemory += run.outOfMemory;
    return next;
  }

  private skip(what: string): void {
    this.skipped[what] = (this.skipped[what] ?? 0) + 1;
  }

  /** The open file behind a handle, or 0, which is counted. */
  private handle(h: number, op: number): FileId {
    const file = this.handleFile[h] as FileId;
    if (file === 0) this.skip(`${OPS[op]} on a handle that is not open`);
    return file;
  }

  private read(h: number, at: number, length: number, positioned: boolean): void {
    const { m, iocb } = this;
    const file = this.handleFile[h] as FileId;
    if (file === 0) {
      this.handle(h, positioned ? OP.read : OP.pread);
      return;
    }
    iocb.file = file;
    iocb.pos = positioned ? (m.files.pos[file] as number) : at;
    iocb.count = length;
    iocb.done = 0;
    iocb.asked = 0 as FolioId;
    const direct = ((this.handleFlags[h] as number) & OPEN_DIRECT) !== 0;
    if (!direct || !this.directRead(iocb)) {
      const ops = m.aops[m.spaces.ops[m.files.mapping[file] as number] as number] as AddressSpaceOperations;
      let state = ops.read(m, iocb);
      while (state === READ_WAIT && this.device.waitFor(m.wait)) state = ops.read(m, iocb);
      if (state === READ_NOMEM) this.outOfMemory++;
      else if (state === READ_EIO) throw new QuireError('EIO', 'a modelled device does not fail');
      else if (state !== READ_DONE) throw new QuireError('EIO', 'a read waits for a folio that nothing frees');
    }
    this.readBytes += iocb.done;
    this.program?.filled(iocb.done);
    m.now += iocb.done * COPY_NS_PER_BYTE;
    if (positioned) m.files.pos[file] = iocb.pos;
  }

  /** False: it goes through the cache after all. @kernel mm/filemap.c generic_file_read_iter (6.18) */
  private directRead(iocb: Kiocb): boolean {
    const { m } = this;
    const mapping = m.files.mapping[iocb.file] as MappingId;
    const end = Math.min(iocb.pos + iocb.count, m.spaces.size[mapping] as number);
    if (iocb.pos >= end) return true;
    const [first, last] = this.pages(iocb.pos, end - iocb.pos);
    const buffered = this.fs.buffersReadsOfDirty && filemapRangeNeedsWriteback(m, mapping, first, last);
    this.wait(() => filemapWriteAndWaitRange(m, mapping, first, last));
    if (buffered) return false;
    this.device.direct(false, end - iocb.pos);
    iocb.done = end - iocb.pos;
    iocb.pos = end;
    return true;
  }

  private pages(offset: number, length: number): [number, number] {
    const page = this.settings.pageSize;
    return [Math.floor(offset / page), Math.min(Math.floor((offset + length - 1) / page), PGOFF_MAX)];
  }

  /** Repeats a call until it has done its work. */
  private wait(call: () => boolean): void {
    this.m.wait = NO_FOLIO;
    while (!call()) {
      if (this.m.wait === NO_FOLIO) {
        this.outOfMemory++;
        return;
      }
      if (!this.device.waitFor(this.m.wait))
        throw new QuireError('EIO', 'an operation waits for a folio that nothing frees');
      this.m.wait = NO_FOLIO;
    }
  }

  private write(h: number, at: number, length: number, positioned: boolean): void {
    const { m, device } = this;
    const file = this.handle(h, positioned ? OP.write : OP.pwrite);
    if (file === 0 || length === 0) return;
    const mapping = m.files.mapping[file] as MappingId;
    const flags = this.handleFlags[h] as number;
    let pos = positioned ? (m.files.pos[file] as number) : at;
    if ((flags & OPEN_APPEND) !== 0) pos = m.spaces.size[mapping] as number;
    const end = pos + length;
    const direct = (flags & OPEN_DIRECT) !== 0;
    if (direct && !this.fs.buffersDirectWrites) {
      const [first, last] = this.pages(pos, length);
      this.wait(() => this.fs.directWriteBegin(m, mapping, pos));
      this.wait(() => kiocbInvalidatePages(m, mapping, first, last));
      device.direct(true, length);
      this.fs.directWrite(m, mapping, pos, length);
      this.wait(() => kiocbInvalidatePages(m, mapping, first, last));
      pos = end;
    }
    while (pos < end) {
      m.wait = 0 as FolioId;
      const done = this.fs.write(m, file, pos, end - pos);
      pos += done;
      if (pos < end && (m.wait === 0 || !device.waitFor(m.wait))) {
        this.outOfMemory++;
        break;
      }
    }
    if (direct && this.fs.buffersDirectWrites) {
      const [first, last] = this.pages(end - length, length);
      this.wait(() => filemapWriteAndWaitRange(m, mapping, first, last));
      mappingTryInvalidate(m, mapping, first, last);
    }
    this.writtenBytes += length - (end - pos);
    m.now += length * COPY_NS_PER_BYTE;
    if (positioned) m.files.pos[file] = pos;
  }

  /** The program's memory: there is none until it maps something. */
  get memory(): ReplayMm | null {
    return this.program;
  }

  private unusedFile(): FileId | 0 {
    const { closedFiles, freeFiles } = this;
    for (let i = closedFiles.length - 1; i >= 0; i--) {
      if ((this.m.files.count[closedFiles[i] as number] as number) > 0) continue;
      freeFiles.push(closedFiles[i] as FileId);
      closedFiles.splice(i, 1);
    }
    return freeFiles.pop() ?? 0;
  }

  private open(h: number, file: number, flags: number): void {
    const mapping = this.mappings.get(file);
    if (mapping === undefined) {
      this.skip('open of a file that is not declared');
      return;
    }
    if ((this.handleFile[h] as number) !== 0) this.close(h);
    this.handleFile[h] = openFile(this.m, mapping, this.unusedFile());
    // tmpfs takes O_DIRECT and means nothing by it.
    this.handleFlags[h] = this.settings.fs === 'tmpfs' ? flags & ~OPEN_DIRECT : flags;
    if ((flags & OPEN_TRUNC) !== 0) this.wait(() => this.fs.setSize(this.m, mapping, 0));
  }

  private close(h: number): void {
    const file = this.handle(h, OP.close);
    if (file === 0) return;
    const mapping = this.m.files.mapping[file] as MappingId;
    this.handleFile[h] = 0;
    const left = (this.m.files.count[file] as number) - 1;
    this.m.files.count[file] = left;
    (left > 0 ? this.closedFiles : this.freeFiles).push(file);
    if (((this.handleFlags[h] as number) & OPEN_WRITE) !== 0) this.fs.release(this.m, mapping);
  }

  private other(e: Events, i: number): void {
    const { m, fs } = this;
    const op = e.op[i] as number;
    const h = e.id[i] as number;
    const offset = e.offset[i] as number;
    const length = e.length[i] as number;
    switch (op) {
      case OP.open:
        this.open(h, e.file[i] as number, e.arg[i] as number);
        return;
      case OP.close:
        this.close(h);
        return;
      case OP.write:
        this.write(h, -1, length, true);
        return;
      case OP.pwrite:
        this.write(h, offset, length, false);
        return;
      case OP.mmap:
      case OP.touch:
      case OP.madvise:
      case OP.munmap:
      case OP.mprotect:
      case OP.mlock:
      case OP.fork:
        this.memoryOp(e, i);
        return;
      case OP.sync:
        this.wait(() => ksysSync(m));
        this.wait(() => fs.syncFs(m));
        if (this.settings.fs !== 'tmpfs') this.device.flush();
        return;
      case OP.lseek:
      case OP.fsync:
      case OP.fadvise:
      case OP.readahead:
      case OP.ftruncate:
      case OP.punch:
      case OP.fallocate:
        break;
      default:
        this.skip(OPS[op] as string);
        return;
    }
    const file = this.handle(h, op);
    if (file === 0) return;
    const mapping = m.files.mapping[file] as MappingId;
    switch (op) {
      case OP.lseek:
        m.files.pos[file] = offset;
        return;
      case OP.fsync:
        this.wait(() => fs.fsync(m, mapping));
        if (this.settings.fs !== 'tmpfs') this.device.flush();
        return;
      case OP.fadvise:
        genericFadvise(m, file, offset, length, FADVICE[e.arg[i] as number] as Fadvice);
        return;
      case OP.readahead:
        ksysReadahead(m, file, offset, length);
        return;
      case OP.ftruncate:
        this.wait(() => fs.setSize(m, mapping, length));
        return;
      case OP.punch:
        this.wait(() => fs.punchHole(m, mapping, offset, length));
        return;
      case OP.fallocate:
        this.wait(() => fs.fallocate(m, mapping, offset, length));
        return;
    }
  }

  /** Operations on the program's memory. */
  private memoryOp(e: Events, i: number): void {
    this.program ??= new ReplayMm(this.m, this.device, this.skipped);
    const { program } = this;
    const op = e.op[i] as number;
    const id = e.id[i] as number;
    const arg = e.arg[i] as number;
    const offset = e.offset[i] as number;
    const length = e.length[i] as number;
    switch (op) {
      case OP.mmap: {
        const h = e.file[i] as number;
        const file = h < 0 ? (0 as FileId) : this.handle(h, op);
        if (h >= 0 && file === 0) return;
        const writable = h < 0 || ((this.handleFlags[h] as number) & OPEN_WRITE) !== 0;
        program.mmap(id, file, offset, length, arg, e.at[i] as number, writable);
        return;
      }
      case OP.touch:
        program.touch(id, offset, length, arg === 1);
        return;
      case OP.madvise:
        program.madvise(id, offset, length, MADVICE[arg] as string);
        return;
      case OP.munmap:
        program.munmap(id, offset, length);
        return;
      case OP.mprotect:
        program.mprotect(id, offset, length, arg);
        return;
      case OP.mlock:
        program.mlock(id, offset, length);
        return;
      case OP.fork:
        program.fork();
        return;
    }
  }
}
