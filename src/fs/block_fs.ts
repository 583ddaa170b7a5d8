/**
 * What file systems on a block device have in common: reads of contiguous runs, write-back of dirty blocks, per-block state
 * of folios with several blocks. iomap.ts and buffer_head.ts add the two ways of writing; a file system adds its rules.
 */
import type { AddressSpaceOperations } from '../mm/address_space.ts';
import {
  filemapGetFolio,
  filemapRead,
  folioEndRead,
  folioEndWriteback,
  folioStartWriteback,
  folioUnlock,
  type Kiocb,
} from '../mm/filemap.ts';
import { filemapFault } from '../mm/filemap_fault.ts';
import { filemapMapPages } from '../mm/filemap_map_pages.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import {
  folioAttachPrivate,
  folioDetachPrivate,
  folioIndex,
  folioNextIndex,
  folioNrPages,
  folioPrivate,
  folioSet,
  folioTest,
} from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import {
  addToBio,
  filemapDirtyFolio,
  folioCancelDirty,
  vfsFsync,
  type WritebackControl,
} from '../mm/page_writeback.ts';
import type { VmFault, VmOperations } from '../mm/vm_fault.ts';
import { BlockStates } from './block_state.ts';
import { Extents, MAPPED } from './extents.ts';

const { PG_dirty, PG_locked, PG_private, PG_uptodate, PG_writeback } = PG;

/** A file on the device. */
export interface Inode {
  readonly extents: Extents;
  /** Pages from the start that lie on the device and end inside the file, when the extents and the size were these. */
  plain: number;
  plainVersion: number;
  plainSize: number;
  /** Cut since it was last closed; its reservation given back; fallocate was used on it. */
  truncated: boolean;
  released: boolean;
  preallocated: boolean;
  /** i_size as the device knows it. */
  diskSize: number;
  /** A change of size that waits for write-back: its target (−1: none), its direction, and where the flush begins. */
  resizing: number;
  shrinks: boolean;
  flushFrom: number;
  /** A zeroing that waits: its range, how far it is, and whether dirty folios must be written before holes are passed. */
  zeroing: { readonly from: number; readonly to: number; pos: number; flush: boolean } | null;
}

export abstract class BlockFs implements AddressSpaceOperations {
  abstract readonly name: string;
  readonly states = new BlockStates();
  protected readonly inodes: Inode[] = [];
  readonly buffersDirectWrites: boolean = false;
  readonly buffersReadsOfDirty: boolean = false;
  /** Calls that asked where blocks are: one for each extent and request (iomap), one for each block (buffer_head). */
  mappingCalls = 0;

  /** Bytes that the per-block state of a folio of `blocks` blocks takes in the kernel. */
  abstract stateBytes(blocks: number): number;
  /** Does a read of a folio with several blocks attach per-block state? */
  protected abstract readonly stateOnRead: boolean;

  inode(mapping: MappingId): Inode {
    let inode = this.inodes[mapping];
    if (inode === undefined) {
      inode = {
        extents: new Extents(),
        plain: 0,
        plainVersion: -1,
        plainSize: 0,
        truncated: false,
        released: false,
        preallocated: false,
        diskSize: 0,
        resizing: -1,
        shrinks: false,
        flushFrom: 0,
        zeroing: null,
      };
      this.inodes[mapping] = inode;
    }
    return inode;
  }

  inodeInit(m: Machine, mapping: MappingId): void {
    const blocks = Math.ceil((m.spaces.size[mapping] as number) / this.blockSize(m, mapping));
    const inode = this.inode(mapping);
    inode.extents.set(0, blocks, MAPPED);
    inode.diskSize = m.spaces.size[mapping] as number;
  }

  blockSize(m: Machine, mapping: MappingId): number {
    return 1 << (m.spaces.blkbits[mapping] as number);
  }

  protected blocksOf(m: Machine, mapping: MappingId, folio: FolioId): number {
    return (folioNrPages(m.map, folio) * m.config.pageSize) / this.blockSize(m, mapping);
  }

  /** The folio's per-block state, attached if it is missing; 0 for a folio of one block. */
  protected attachState(m: Machine, mapping: MappingId, folio: FolioId): number {
    const { map } = m;
    if (folioTest(map, folio, PG_private)) return folioPrivate(map, folio);
    const nr = this.blocksOf(m, mapping, folio);
    if (nr <= 1) return 0;
    const row = this.states.alloc(nr);
    if (folioTest(map, folio, PG_uptodate)) this.states.setUptodate(row, 0, nr);
    if (folioTest(map, folio, PG_dirty)) this.states.setDirty(row, 0, nr);
    folioAttachPrivate(map, folio, row);
    return row;
  }

  protected stateOf(m: Machine, folio: FolioId): number {
    return folioTest(m.map, folio, PG_private) ? folioPrivate(m.map, folio) : 0;
  }

  protected detachState(m: Machine, folio: FolioId): void {
    const row = folioDetachPrivate(m.map, folio);
    if (row !== 0) this.states.free(row);
  }

  // Reading.

  read(m: Machine, iocb: Kiocb): number {
    return filemapRead(m, iocb);
  }

  readFolio(m: Machine, mapping: MappingId, folio: FolioId): void {
    const row = this.stateOf(m, folio);
    if (row === 0) this.readahead(m, mapping, folioIndex(m.map, folio), folioNrPages(m.map, folio));
    else this.readMissing(m, mapping, folio, row);
  }

  /** Reads the blocks of a folio that are not uptodate: the others may be newer than the device. */
  private readMissing(m: Machine, mapping: MappingId, folio: FolioId, row: number): void {
    const block = this.blockSize(m, mapping);
    const base = (folioIndex(m.map, folio) * m.config.pageSize) / block;
    const eof = Math.ceil((m.spaces.size[mapping] as number) / block);
    const nr = this.states.rows.nr[row] as number;
    const { extents } = this.inode(mapping);
    const wanted = (b: number): boolean =>
      b < nr && base + b < eof && !this.states.isUptodate(row, b, 1) && extents.at(base + b)?.state === MAPPED;
    const runs: number[] = [];
    let pending = 0;
    for (let b = 0; b < nr; b++) {
      if (!wanted(b)) continue;
      const first = b;
      while (wanted(b + 1)) b++;
      runs.push(first, b + 1 - first);
      pending += (b + 1 - first) * block;
    }
    if (pending === 0) {
      this.states.setUptodate(row, 0, nr);
      folioEndRead(m, folio, true);
      return;
    }
    this.mappingCalls += runs.length / 2;
    this.states.rows.readPending[row] = pending;
    for (let r = 0; r < runs.length; r += 2)
      m.io.read(mapping, (base + (runs[r] as number)) * block, (runs[r + 1] as number) * block, m.ahead);
  }

  /** One request for each run of blocks that lie on the device; holes and what is past the end become zeros at once. */
  readahead(m: Machine, mapping: MappingId, index: number, nrPages: number): void {
    const { map } = m;
    const page = m.config.pageSize;
    if (index + nrPages <= this.mappedPages(m, mapping)) {
      this.mappingCalls++;
      if (this.stateOnRead && nrPages << m.pageShift > this.blockSize(m, mapping))
        this.attachStates(m, mapping, index, index + nrPages);
      m.io.read(mapping, index * page, nrPages * page, m.ahead);
      return;
    }
    const block = this.blockSize(m, mapping);
    const start = index * page;
    const stop = (index + nrPages) * page;
    const perByte = 1 / block;
    const eof = Math.ceil((m.spaces.size[mapping] as number) * perByte) * block;
    const end = Math.min(stop, eof);
    const { extents } = this.inode(mapping);
    if (start < end && extents.covers(start * perByte, end * perByte, MAPPED)) {
      this.mappingCalls++;
      if ((this.stateOnRead && nrPages * page > block) || stop > eof)
        this.attachStates(m, mapping, index, index + nrPages);
      m.io.read(mapping, start, end - start, m.ahead);
      if (end === stop) return;
      for (let i = Math.ceil(end / page); i < index + nrPages; ) {
        // A folio of a large block size may begin past the end of the file only when the file shrank meanwhile.
        const folio = filemapGetFolio(m, mapping, i);
        if (folio === 0) break;
        i = folioNextIndex(map, folio);
        if (folioIndex(map, folio) * page >= end) folioEndRead(m, folio, true);
      }
      return;
    }
    // In pieces: count first what each folio waits for, since a request may be answered at once.
    const runs: number[] = [];
    for (const part of extents.parts(start / block, end / block)) {
      this.mappingCalls++;
      if (part.extent?.state === MAPPED) runs.push(part.start * block, part.end * block);
    }
    for (let i = index; i < index + nrPages; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) break;
      const from = folioIndex(map, folio) * page;
      i = folioNextIndex(map, folio);
      let waits = 0;
      for (let r = 0; r < runs.length; r += 2)
        waits += Math.max(0, Math.min(runs[r + 1] as number, i * page) - Math.max(runs[r] as number, from));
      const row = waits === 0 ? 0 : this.attachState(m, mapping, folio);
      if (row !== 0) this.states.rows.readPending[row] = waits;
      if (waits === 0) folioEndRead(m, folio, true);
    }
    for (let r = 0; r < runs.length; r += 2) {
      const from = runs[r] as number;
      m.io.read(mapping, from, (runs[r + 1] as number) - from, m.ahead);
    }
  }

  plainPages(m: Machine, mapping: MappingId): number {
    return this.stateOnRead && m.config.pageSize > this.blockSize(m, mapping) ? 0 : this.mappedPages(m, mapping);
  }
  plainReads(n: number): void {
    this.mappingCalls += n;
  }

  /** Pages from the start of the file that are all on the device. */
  private mappedPages(m: Machine, mapping: MappingId): number {
    const inode = this.inode(mapping);
    const size = m.spaces.size[mapping] as number;
    if (inode.plainVersion !== inode.extents.version || inode.plainSize !== size) {
      const first = inode.extents.at(0);
      const mapped = first?.state === MAPPED ? first.end * this.blockSize(m, mapping) : 0;
      inode.plain = Math.floor(Math.min(mapped, size) * m.pagesPerByte);
      inode.plainVersion = inode.extents.version;
      inode.plainSize = size;
    }
    return inode.plain;
  }

  private attachStates(m: Machine, mapping: MappingId, index: number, end: number): void {
    for (let i = index; i < end; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) return;
      i = folioNextIndex(m.map, folio);
      const row = this.attachState(m, mapping, folio);
      if (row === 0) continue;
      const bytes = i * m.config.pageSize - folioIndex(m.map, folio) * m.config.pageSize;
      const left = (m.spaces.size[mapping] as number) - folioIndex(m.map, folio) * m.config.pageSize;
      const block = this.blockSize(m, mapping);
      this.states.rows.readPending[row] = Math.max(0, Math.min(bytes, Math.ceil(left / block) * block));
    }
  }

  endRead(m: Machine, mapping: MappingId, offset: number, length: number, ok: boolean): void {
    const { map } = m;
    const page = m.config.pageSize;
    const end = offset + length;
    if (length === page) {
      const folio = filemapGetFolio(m, mapping, (offset * m.pagesPerByte) | 0);
      if (folio !== 0 && !folioTest(map, folio, PG_private)) {
        folioEndRead(m, folio, ok);
        return;
      }
    }
    for (let i = Math.floor(offset * m.pagesPerByte); i * page < end; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) {
        i++;
        continue;
      }
      const from = folioIndex(map, folio) * page;
      i = folioNextIndex(map, folio);
      const row = this.stateOf(m, folio);
      if (row === 0) {
        folioEndRead(m, folio, ok);
        continue;
      }
      const a = Math.max(offset, from);
      const b = Math.min(end, i * page);
      const block = this.blockSize(m, mapping);
      if (ok) this.states.setUptodate(row, (a - from) / block, Math.ceil((b - a) / block));
      const pending = (this.states.rows.readPending[row] as number) - (b - a);
      this.states.rows.readPending[row] = Math.max(pending, 0);
      if (pending > 0) continue;
      if (this.states.rows.edge[row] !== 0) {
        if (this.states.rows.edge[row] === 2) folioUnlock(m, folio);
        this.states.rows.edge[row] = 0;
        if (this.states.allUptodate(row)) folioSet(map, folio, PG_uptodate);
        continue;
      }
      // What was not read is a hole or past the end: zeros.
      if (ok) this.states.setUptodate(row, 0, this.states.rows.nr[row] as number);
      folioEndRead(m, folio, ok);
    }
  }

  isPartiallyUptodate(m: Machine, folio: FolioId, from: number, length: number): boolean {
    const row = this.stateOf(m, folio);
    if (row === 0) return false;
    const block = (folioNrPages(m.map, folio) * m.config.pageSize) / (this.states.rows.nr[row] as number);
    const first = Math.floor(from / block);
    return this.states.isUptodate(row, first, Math.ceil((from + length) / block) - first);
  }

  // Writing: the state of what was copied into a folio.

  /**
   * Reads blocks of a locked folio before a write to part of them. False when the read has not ended yet: the lock is the
   * read's from then on, and its end unlocks. False and Machine.wait zero: it has failed, and the folio is unlocked.
   */
  protected readForWrite(m: Machine, mapping: MappingId, folio: FolioId, offset: number, length: number): boolean {
    const { map } = m;
    const row = this.stateOf(m, folio);
    if (row === 0) {
      m.io.read(mapping, offset, length, false);
      if (folioTest(map, folio, PG_locked)) {
        m.wait = folio;
        return false;
      }
      if (folioTest(map, folio, PG_uptodate)) {
        // The end of a read unlocks, and this one was for the writer.
        folioSet(map, folio, PG_locked);
        return true;
      }
    } else {
      this.states.rows.readPending[row] = length;
      this.states.rows.edge[row] = 1;
      m.io.read(mapping, offset, length, false);
      const block = this.blockSize(m, mapping);
      const base = (folioIndex(map, folio) * m.config.pageSize) / block;
      if (this.states.isUptodate(row, offset / block - base, length / block)) return true;
      if (this.states.rows.edge[row] !== 0) {
        this.states.rows.edge[row] = 2;
        m.wait = folio;
        return false;
      }
      folioUnlock(m, folio);
    }
    m.wait = NO_FOLIO;
    return false;
  }

  /** Bytes [from, to) of the folio hold data now. */
  protected writeEnd(m: Machine, mapping: MappingId, folio: FolioId, from: number, to: number): void {
    const block = this.blockSize(m, mapping);
    const row = this.stateOf(m, folio);
    if (row === 0) folioSet(m.map, folio, PG_uptodate);
    else {
      const first = Math.floor(from / block);
      const n = Math.ceil(to / block) - first;
      this.states.setUptodate(row, first, n);
      this.states.setDirty(row, first, n);
      if (!folioTest(m.map, folio, PG_uptodate) && this.states.allUptodate(row)) folioSet(m.map, folio, PG_uptodate);
    }
    filemapDirtyFolio(m, mapping, folio);
  }

  // Stores through mappings.

  readonly vmOps: VmOperations = {
    anonymous: false,
    fault: filemapFault,
    mapPages: filemapMapPages,
    pageMkwrite: (m, vmf) => this.pageMkwrite(m, vmf),
  };

  /** vmf.folio is about to be stored to: its blocks get a place, and all of it is dirty. VM_FAULT_LOCKED, or why not. */
  protected abstract pageMkwrite(m: Machine, vmf: VmFault): number;

  dirtyFolio(m: Machine, mapping: MappingId, folio: FolioId): boolean {
    const row = this.stateOf(m, folio);
    if (row !== 0) this.states.setDirty(row, 0, this.states.rows.nr[row] as number);
    return filemapDirtyFolio(m, mapping, folio);
  }

  /** Gives blocks that are being written their place on the device. */
  protected allocateBlocks(_m: Machine, mapping: MappingId, first: number, end: number): void {
    this.inode(mapping).extents.set(first, end, MAPPED);
  }

  writeFolio(m: Machine, wbc: WritebackControl, mapping: MappingId, folio: FolioId): void {
    const { map } = m;
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    const from = folioIndex(map, folio) * page;
    const size = folioNrPages(map, folio) * page;
    const eof = Math.ceil((m.spaces.size[mapping] as number) / block) * block;
    const limit = Math.min(size, eof - from);
    const had = this.stateOf(m, folio);
    const row = had !== 0 ? had : this.attachState(m, mapping, folio);
    // Without state the folio was written as a whole.
    if (had === 0 && row !== 0) this.states.setDirty(row, 0, this.states.rows.nr[row] as number);
    folioStartWriteback(m, folio, false);
    if (limit <= 0) {
      if (row !== 0) this.states.clearDirty(row, 0, this.states.rows.nr[row] as number);
      folioEndWriteback(m, folio);
      folioUnlock(m, folio);
      return;
    }
    if (row === 0) {
      this.allocateBlocks(m, mapping, from / block, (from + limit) / block);
      folioUnlock(m, folio);
      addToBio(m, wbc, from, limit);
      return;
    }
    const blocks = limit / block;
    let pending = 0;
    const runs: number[] = [];
    for (
      let b = this.states.nextDirty(row, 0);
      b >= 0 && b < blocks;
      b = this.states.nextDirty(row, b + this.states.run)
    ) {
      const n = Math.min(this.states.run, blocks - b);
      runs.push(b, n);
      pending += n * block;
    }
    this.states.clearDirty(row, 0, this.states.rows.nr[row] as number);
    this.states.rows.writePending[row] = pending;
    folioUnlock(m, folio);
    if (pending === 0) folioEndWriteback(m, folio);
    for (let r = 0; r < runs.length; r += 2) {
      const b = from / block + (runs[r] as number);
      this.allocateBlocks(m, mapping, b, b + (runs[r + 1] as number));
      addToBio(m, wbc, b * block, (runs[r + 1] as number) * block);
    }
  }

  endWrite(m: Machine, mapping: MappingId, offset: number, length: number, ok: boolean): void {
    const { map } = m;
    const page = m.config.pageSize;
    const end = offset + length;
    const inode = this.inode(mapping);
    inode.diskSize = Math.max(inode.diskSize, Math.min(end, m.spaces.size[mapping] as number));
    for (let i = Math.floor(offset / page); i * page < end; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) {
        i++;
        continue;
      }
      const from = folioIndex(map, folio) * page;
      i = folioNextIndex(map, folio);
      if (!folioTest(map, folio, PG_writeback)) continue;
      const row = this.stateOf(m, folio);
      if (row !== 0) {
        const part = Math.min(end, i * page) - Math.max(offset, from);
        const pending = (this.states.rows.writePending[row] as number) - part;
        this.states.rows.writePending[row] = pending;
        if (pending > 0) continue;
      }
      if (!ok) m.writeErrors++;
      folioEndWriteback(m, folio);
    }
  }

  // Letting go.

  releaseFolio(m: Machine, folio: FolioId): boolean {
    if (folioTest(m.map, folio, PG_dirty)) return false;
    this.detachState(m, folio);
    return true;
  }

  invalidateFolio(m: Machine, folio: FolioId, from: number, length: number): void {
    if (from !== 0 || length < folioNrPages(m.map, folio) * m.config.pageSize) return;
    folioCancelDirty(m, folio);
    this.detachState(m, folio);
  }

  directWriteBegin(_m: Machine, _mapping: MappingId, _offset: number): boolean {
    return true;
  }

  directWrite(m: Machine, mapping: MappingId, offset: number, length: number): void {
    const block = this.blockSize(m, mapping);
    this.inode(mapping).extents.set(Math.floor(offset / block), Math.ceil((offset + length) / block), MAPPED);
    m.spaces.size[mapping] = Math.max(m.spaces.size[mapping] as number, offset + length);
  }

  fsync(m: Machine, mapping: MappingId): boolean {
    return vfsFsync(m, mapping);
  }

  syncFs(_m: Machine): boolean {
    return true;
  }

  release(_m: Machine, _mapping: MappingId): void {}

  abstract write(m: Machine, file: FileId, pos: number, length: number): number;
  abstract setSize(m: Machine, mapping: MappingId, size: number): boolean;
  abstract punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean;
  abstract fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean;
}
