/**
 * Buffered writes by extent: one mapping call for as many blocks as lie together. A write goes mapping by mapping, and
 * inside each folio by folio; the end of a mapping cuts a folio short. A write that covers its folio whole needs no state
 * and reads nothing; one that covers part of a block reads first, and then all of its span that is not uptodate.
 * @kernel fs/iomap/buffered-io.c iomap_file_buffered_write (6.18)
 */
import { XA_MARK_DIRTY, XA_MARK_WRITEBACK, xaFindMarked } from '../base/xarray_mark.ts';
import { FGP_STABLE, fgfSetOrder, filemapGetOrCreate, folioUnlock } from '../mm/filemap.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { lockForMkwrite } from '../mm/memory_file.ts';
import { folioIndex, folioNextIndex, folioNrPages, folioOrder, folioTest } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { balanceDirtyPages, folioMarkDirty } from '../mm/page_writeback.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import { VM_FAULT_LOCKED, type VmFault } from '../mm/vm_fault.ts';
import { BlockFs } from './block_fs.ts';
import { MAPPED } from './extents.ts';

/** @kernel fs/iomap/buffered-io.c struct iomap_folio_state (6.18) */
const IFS_BYTES = 16;

export abstract class IomapFs extends BlockFs {
  protected readonly stateOnRead = true;

  stateBytes(blocks: number): number {
    return blocks <= 1 ? 0 : IFS_BYTES + Math.ceil((blocks * 2) / 64) * 8;
  }

  /**
   * The mapping of a write of `length` bytes at `pos`: the byte past the last one that may be written before asking again.
   * Reserves what is not allocated. @kernel include/linux/iomap.h iomap_begin (6.18)
   */
  protected abstract writeBegin(m: Machine, mapping: MappingId, pos: number, length: number): number;
  /** Before a write that starts beyond the end of the file, or a truncation upward: zeroes [from, to). */
  protected abstract zeroRange(m: Machine, mapping: MappingId, from: number, to: number): boolean;

  write(m: Machine, file: FileId, start: number, length: number): number {
    const mapping = m.files.mapping[file] as MappingId;
    const size = m.spaces.size[mapping] as number;
    if (start > size && !this.zeroRange(m, mapping, size, start)) return 0;
    let pos = start;
    const end = start + length;
    while (pos < end) {
      const mapped = this.writeBegin(m, mapping, pos, end - pos);
      this.mappingCalls++;
      const done = this.writeIter(m, mapping, pos, Math.min(end, mapped), end);
      pos += done;
      if (pos < Math.min(end, mapped)) break;
    }
    return pos - start;
  }

  /** Also past the end of the file: write-back leaves that out. @kernel fs/iomap/buffered-io.c iomap_dirty_folio (6.18) */
  override dirtyFolio(m: Machine, mapping: MappingId, folio: FolioId): boolean {
    if (m.release.iomapDirty === 'block') this.attachState(m, mapping, folio);
    return super.dirtyFolio(m, mapping, folio);
  }

  /** @kernel fs/iomap/buffered-io.c iomap_page_mkwrite (6.18) */
  protected pageMkwrite(m: Machine, vmf: VmFault): number {
    const mapping = m.vmas.mapping[vmf.vma] as MappingId;
    const { folio } = vmf;
    const state = lockForMkwrite(m, vmf);
    if (state !== VM_FAULT_LOCKED) return state;
    const page = m.config.pageSize;
    const end = Math.min(folioNextIndex(m.map, folio) * page, m.spaces.size[mapping] as number);
    for (let pos = folioIndex(m.map, folio) * page; pos < end; ) {
      pos = Math.min(this.writeBegin(m, mapping, pos, end - pos), end);
      this.mappingCalls++;
      folioMarkDirty(m, folio);
    }
    return VM_FAULT_LOCKED;
  }

  /** Copies into [start, mapped), one folio after the other. @kernel fs/iomap/buffered-io.c iomap_write_iter (6.18) */
  private writeIter(m: Machine, mapping: MappingId, start: number, mapped: number, end: number): number {
    const { map, spaces } = m;
    const page = m.config.pageSize;
    const chunk = page << (spaces.maxOrder[mapping] as number);
    let pos = start;
    while (pos < mapped) {
      const bytes = Math.min(chunk - (pos % chunk), mapped - pos);
      balanceDirtyPages(m);
      const hint = m.release.iomapWrite === 'length' ? fgfSetOrder(m, bytes) : 0;
      const folio = filemapGetOrCreate(m, mapping, Math.floor(pos / page), FGP_STABLE, hint);
      if (folio <= 0) break;
      const to = Math.min(pos + bytes, folioNextIndex(map, folio) * page);
      if (!this.folioWriteBegin(m, mapping, folio, pos, to)) break;
      const from = folioIndex(map, folio) * page;
      this.writeEnd(m, mapping, folio, pos - from, to - from);
      if (to > (spaces.size[mapping] as number)) spaces.size[mapping] = to;
      folioUnlock(m, folio);
      pos = to;
      if (pos >= end) break;
    }
    return pos - start;
  }

  /**
   * Makes the blocks at the edges of a write whole: false when a read was started that has not ended, and has the lock now.
   * @kernel fs/iomap/buffered-io.c __iomap_write_begin (6.18)
   */
  private folioWriteBegin(m: Machine, mapping: MappingId, folio: FolioId, pos: number, end: number): boolean {
    const { map } = m;
    const page = m.config.pageSize;
    const from = folioIndex(map, folio) * page;
    const to = from + folioNrPages(map, folio) * page;
    if (pos <= from && end >= to) return true;
    const row = this.attachState(m, mapping, folio);
    if (folioTest(map, folio, PG.PG_uptodate)) return true;
    const block = this.blockSize(m, mapping);
    const size = m.spaces.size[mapping] as number;
    const { extents } = this.inode(mapping);
    const first = Math.floor(pos / block);
    const last = Math.ceil(end / block);
    for (let b = first; b < last; ) {
      if (row !== 0 && this.states.isUptodate(row, b - from / block, 1)) {
        b++;
        continue;
      }
      // The run of blocks that are not uptodate, of one kind on the device, and inside the file.
      const eofBlock = Math.ceil(size / block);
      const onDevice = (n: number): boolean => n < eofBlock && extents.at(n)?.state === MAPPED;
      const reads = onDevice(b);
      let n = b + 1;
      while (n < last && (row === 0 || !this.states.isUptodate(row, n - from / block, 1)) && n !== eofBlock) n++;
      const whole = pos <= b * block && end >= n * block;
      if (reads && !whole && !this.readForWrite(m, mapping, folio, b * block, (n - b) * block)) return false;
      b = n;
    }
    return true;
  }

  /** Zeroes [from, to) through the cache; what is a hole stays one. @kernel fs/iomap/buffered-io.c iomap_zero_iter (6.18) */
  protected zeroIter(m: Machine, mapping: MappingId, from: number, to: number): boolean {
    const { map } = m;
    const page = m.config.pageSize;
    let pos = from;
    while (pos < to) {
      const hint = m.release.iomapWrite === 'length' ? fgfSetOrder(m, to - pos) : 0;
      const folio = filemapGetOrCreate(m, mapping, Math.floor(pos / page), FGP_STABLE, hint);
      if (folio <= 0) {
        if (folio === NO_FOLIO) m.wait = NO_FOLIO;
        return false;
      }
      const start = folioIndex(map, folio) * page;
      const end = Math.min(to, folioNextIndex(map, folio) * page);
      if (!this.folioWriteBegin(m, mapping, folio, pos, end)) return false;
      folioMarkAccessed(m, folio);
      this.writeEnd(m, mapping, folio, pos - start, end - start);
      folioUnlock(m, folio);
      pos = end;
    }
    return true;
  }

  /** Zeroes the rest of the block that a new end of the file falls into. @kernel fs/iomap/buffered-io.c iomap_truncate_page (6.18) */
  protected truncatePage(m: Machine, mapping: MappingId, size: number): boolean {
    const block = this.blockSize(m, mapping);
    const rest = size % block;
    return rest === 0 || this.zeroRange(m, mapping, size, size - rest + block);
  }

  /** Before 6.6 a folio knew only whether it was dirty, not which of its blocks. @kernel fs/iomap/buffered-io.c __iomap_write_end (6.1) */
  protected override writeEnd(m: Machine, mapping: MappingId, folio: FolioId, from: number, to: number): void {
    super.writeEnd(m, mapping, folio, from, to);
    const row = this.stateOf(m, folio);
    if (row !== 0 && m.release.iomapDirty === 'folio') this.states.dirtyUptodate(row);
  }

  /** @kernel fs/iomap/buffered-io.c iomap_invalidate_folio (6.18) */
  override invalidateFolio(m: Machine, folio: FolioId, from: number, length: number): void {
    super.invalidateFolio(m, folio, from, length);
    if (m.release.iomapInvalidateFreesState && folioOrder(m.map, folio) > 0) this.detachState(m, folio);
  }

  /** Is anything of [from, to) dirty or under write-back? @kernel mm/filemap.c filemap_range_needs_writeback (6.18) */
  protected needsWriteback(m: Machine, mapping: MappingId, from: number, to: number): boolean {
    const first = Math.floor(from / m.config.pageSize);
    const last = Math.floor((to - 1) / m.config.pageSize);
    const head = m.spaces.head[mapping] as number;
    return (
      xaFindMarked(m.pages, head, first, last, XA_MARK_DIRTY) !== 0 ||
      xaFindMarked(m.pages, head, first, last, XA_MARK_WRITEBACK) !== 0
    );
  }
}
