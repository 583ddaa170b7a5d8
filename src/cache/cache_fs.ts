/**
 * The file system of the cache: iomap's rules over a source of bytes. Every block below the end of the file counts as lying
 * on the device; what the source lacks is zeros, and whoever answers reads fills them in. Two things are its own:
 *
 * - Bytes come into folios at one place, writeEnd, at the moment when the engine says that they are there. So no write-back
 *   and no reclaim ever meets a folio whose state is ahead of its bytes.
 * - Past the end of the file, a folio holds zeros wherever its blocks are uptodate. A file can grow without looking at them.
 */

import { MAPPED } from '../fs/extents.ts';
import { IomapFs } from '../fs/iomap.ts';
import { AS_STABLE_WRITES } from '../mm/address_space.ts';
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioIndex, folioNextIndex, folioNrPages, folioTest } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { filemapDirtyFolio } from '../mm/page_writeback.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import type { CacheBytes } from './cache_bytes.ts';

const { PG_uptodate } = PG;

export class CacheFs extends IomapFs {
  readonly name = 'cache';
  private readonly bytes: CacheBytes;
  /** Folios that are read in pieces of which one has not come, while others are still on their way. */
  private readonly broken = new Set<FolioId>();

  constructor(bytes: CacheBytes) {
    super();
    this.bytes = bytes;
  }

  override inodeInit(m: Machine, mapping: MappingId): void {
    const { extents } = this.inode(mapping);
    extents.set(0, Number.POSITIVE_INFINITY, MAPPED);
    // What is on its way to the source holds still.
    m.spaces.flags[mapping] = AS_STABLE_WRITES;
  }

  protected override allocateBlocks(): void {}

  protected writeBegin(_m: Machine, _mapping: MappingId, pos: number, length: number): number {
    return pos + length;
  }

  /** What lies between the old end and a write is zeros already: in the cache, and in the source once that has grown. */
  protected zeroRange(): boolean {
    return true;
  }

  /** Blocks past the end of the file are never read: they become zeros before somebody calls them uptodate. */
  override readFolio(m: Machine, mapping: MappingId, folio: FolioId): void {
    const row = this.stateOf(m, folio);
    if (row !== 0) {
      const block = this.blockSize(m, mapping);
      const first = folioIndex(m.map, folio) * m.config.pageSize;
      const nr = this.states.rows.nr[row] as number;
      const eof = Math.ceil(((m.spaces.size[mapping] as number) - first) / block);
      for (let b = Math.max(eof, 0); b < nr; b++)
        if (!this.states.isUptodate(row, b, 1)) this.bytes.zero(folio, b * block, (b + 1) * block);
    }
    super.readFolio(m, mapping, folio);
  }

  /** The same for folios that lie past the end altogether: older kernels read there. */
  override readahead(m: Machine, mapping: MappingId, index: number, nrPages: number): void {
    const page = m.config.pageSize;
    const eof = Math.ceil((m.spaces.size[mapping] as number) / page);
    for (let i = Math.max(eof, index); i < index + nrPages; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) break;
      i = folioNextIndex(m.map, folio);
      if (folioIndex(m.map, folio) >= eof) this.bytes.zero(folio, 0, folioNrPages(m.map, folio) * page);
    }
    super.readahead(m, mapping, index, nrPages);
  }

  /** A folio that is read in pieces is not uptodate when the last one comes, but when all have come. */
  override endRead(m: Machine, mapping: MappingId, offset: number, length: number, ok: boolean): void {
    if (ok && this.broken.size === 0) super.endRead(m, mapping, offset, length, true);
    else this.endPieces(m, mapping, offset, offset + length, ok);
  }

  private endPieces(m: Machine, mapping: MappingId, offset: number, end: number, ok: boolean): void {
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    for (let i = Math.floor(offset / page); i * page < end; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) {
        i++;
        continue;
      }
      const start = folioIndex(m.map, folio) * page;
      i = folioNextIndex(m.map, folio);
      const from = Math.max(offset, start);
      const to = Math.min(end, i * page);
      const row = this.stateOf(m, folio);
      const broken = this.broken.delete(folio);
      if (row !== 0 && (broken || !ok)) {
        if (ok) this.states.setUptodate(row, (from - start) / block, Math.ceil((to - from) / block));
        if ((this.states.rows.readPending[row] as number) > to - from) this.broken.add(folio);
      }
      super.endRead(m, mapping, from, to - from, ok && !broken);
    }
  }

  protected override writeEnd(m: Machine, mapping: MappingId, folio: FolioId, from: number, to: number): void {
    if (!folioTest(m.map, folio, PG_uptodate)) this.zeroAround(m, mapping, folio, from, to);
    this.bytes.copyFromWriter(folio, from, to - from);
    super.writeEnd(m, mapping, folio, from, to);
  }

  /** Bytes into a folio that is uptodate and dirty. */
  rewrite(m: Machine, mapping: MappingId, folio: FolioId, inside: number, from: Uint8Array): void {
    const row = this.stateOf(m, folio);
    if (row !== 0) {
      const block = this.blockSize(m, mapping);
      const first = Math.floor(inside / block);
      this.states.setDirty(row, first, Math.ceil((inside + from.length) / block) - first);
    }
    this.bytes.put(folio, inside, from);
  }

  /** Blocks that this write makes uptodate hold zeros where it does not reach: nothing of them is in the source. */
  private zeroAround(m: Machine, mapping: MappingId, folio: FolioId, from: number, to: number): void {
    const block = this.blockSize(m, mapping);
    const row = this.stateOf(m, folio);
    if (row === 0) {
      this.bytes.zero(folio, 0, from);
      this.bytes.zero(folio, to, folioNrPages(m.map, folio) * m.config.pageSize);
      return;
    }
    const first = Math.floor(from / block);
    const last = Math.ceil(to / block) - 1;
    if (!this.states.isUptodate(row, first, 1)) this.bytes.zero(folio, first * block, from);
    if (!this.states.isUptodate(row, last, 1)) this.bytes.zero(folio, to, (last + 1) * block);
  }

  /** The write of [offset, offset + length) failed, and has ended: its blocks are dirty again. */
  redirty(m: Machine, mapping: MappingId, offset: number, length: number): void {
    const { map } = m;
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    for (let i = Math.floor(offset / page); i * page < offset + length; ) {
      const folio = filemapGetFolio(m, mapping, i);
      if (folio === 0) {
        i++;
        continue;
      }
      const start = folioIndex(map, folio) * page;
      i = folioNextIndex(map, folio);
      const row = this.stateOf(m, folio);
      if (row !== 0) {
        const from = Math.floor((Math.max(offset, start) - start) / block);
        const to = Math.ceil((Math.min(offset + length, i * page) - start) / block);
        this.states.setDirty(row, from, to - from);
      }
      filemapDirtyFolio(m, mapping, folio);
    }
  }

  /** State of the folio's blocks as runs, where it has some. */
  blocks(m: Machine, folio: FolioId): { uptodate?: [number, number][]; dirty?: [number, number][] } {
    const row = this.stateOf(m, folio);
    if (row === 0) return {};
    const nr = this.states.rows.nr[row] as number;
    const uptodate: [number, number][] = [];
    for (let b = 0; b < nr; b++) {
      const first = b;
      while (b < nr && this.states.isUptodate(row, b, 1)) b++;
      if (b > first) uptodate.push([first, b - first]);
    }
    const dirty: [number, number][] = [];
    for (let b = this.states.nextDirty(row, 0); b >= 0; b = this.states.nextDirty(row, b + this.states.run))
      dirty.push([b, this.states.run]);
    return { uptodate, dirty };
  }

  setSize(m: Machine, mapping: MappingId, size: number): boolean {
    const { spaces } = m;
    if (size < (spaces.size[mapping] as number)) {
      // First the cut, so that nothing that is under way reaches past the end, and then the end.
      if (!truncateInodePagesRange(m, mapping, size, Number.POSITIVE_INFINITY)) return false;
      const page = m.config.pageSize;
      const folio = filemapGetFolio(m, mapping, Math.floor(size / page));
      if (folio !== 0) {
        const start = folioIndex(m.map, folio) * page;
        this.bytes.zero(folio, size - start, folioNrPages(m.map, folio) * page);
      }
    }
    spaces.size[mapping] = size;
    return true;
  }

  /** Zeroes through the cache. */
  punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    return this.zeroIter(m, mapping, offset, offset + length);
  }

  fallocate(): boolean {
    return true;
  }
}
