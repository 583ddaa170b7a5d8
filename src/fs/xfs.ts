/**
 * XFS. Writes reserve delayed allocations; past the end of the file they reserve more than is written, by how the file has
 * grown, and the reservation is what a mapping spans: its end cuts folios. Write-back turns a whole reservation into
 * unwritten blocks, and what was written into written ones. Blocks may be larger than pages: the smallest folio is a block.
 */
import { type FolioId, type MappingId, PGOFF_MAX } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { filemapFdatawriteRange, filemapWriteAndWaitRange, type WritebackControl } from '../mm/page_writeback.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import { DELALLOC, type Extent, Extents, MAPPED, UNWRITTEN } from './extents.ts';
import { IomapFs } from './iomap.ts';

/** Unit of preallocation in bytes. @kernel fs/xfs/xfs_mount.h m_allocsize_log (6.18) */
const ALLOCSIZE = 65536;
/** Most that one mapping of a write looks at, in pages. @kernel fs/xfs/xfs_iomap.c XFS_WRITE_MAP (6.12) */
const WRITE_MAP_PAGES = 1024;

/** A gap of so many times an allocation is not left free. @kernel fs/xfs/libxfs/xfs_bmap.c XFS_ALLOC_GAP_UNITS (6.12) */
const GAP_UNITS = 4;
/** Blocks of the longest extent. @kernel fs/xfs/libxfs/xfs_format.h XFS_MAX_BMBT_EXTLEN (6.12) */
const MAX_EXTENT = 2 ** 21 - 1;

export class Xfs extends IomapFs {
  readonly name = 'xfs';
  /** What is in use on the device, by block. */
  private readonly used = new Extents();
  /** Of this, what was freed by a transaction that is not in the log yet: it is not given to anybody before. [first, end) */
  private busy: [number, number][] = [];
  /** Files that were changed since the log was last forced. */
  private readonly pinned = new Set<Extents>();

  override inodeInit(m: Machine, mapping: MappingId): void {
    super.inodeInit(m, mapping);
    const blocks = Math.ceil((m.spaces.size[mapping] as number) / this.blockSize(m, mapping));
    const { extents } = this.inode(mapping);
    extents.remove(0, blocks);
    this.place(extents, 0, blocks, false);
    extents.convert(0, blocks, UNWRITTEN, MAPPED);
    this.pinned.delete(extents);
  }

  /** Makes [start, end) a hole; its blocks are free once the log says so. @kernel fs/xfs/xfs_extent_busy.c xfs_extent_busy_insert (6.18) */
  private unmap(extents: Extents, start: number, end: number): void {
    for (let i = extents.find(start); i < extents.list.length; i++) {
      const e = extents.list[i] as Extent;
      if (e.start >= end) break;
      if (e.phys < 0) continue;
      const from = Math.max(e.start, start);
      this.busy.push([e.phys + from - e.start, e.phys + Math.min(e.end, end) - e.start]);
    }
    extents.remove(start, end);
    this.pinned.add(extents);
  }

  /** All that has been done is in the log. @kernel fs/xfs/xfs_extent_busy.c xfs_extent_busy_clear (6.18) */
  private logForce(): void {
    for (const [start, end] of this.busy) this.used.remove(start, end);
    this.busy = [];
    this.pinned.clear();
  }

  /** @kernel fs/xfs/xfs_iomap.c xfs_buffered_write_iomap_begin (6.12) */
  protected writeBegin(m: Machine, mapping: MappingId, pos: number, length: number): number {
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    const off = Math.floor(pos / block);
    const found = extents.at(off);
    this.pinned.add(extents);
    if (found !== undefined) return found.end * block;
    const count = Math.min(length, WRITE_MAP_PAGES * m.config.pageSize);
    let end = Math.ceil((pos + count) / block);
    const next = extents.nextStart(off);
    if (next === Number.POSITIVE_INFINITY) end += this.preallocation(m, mapping, pos, count, off, end);
    else end = Math.min(end, next);
    extents.set(off, end, DELALLOC);
    return end * block;
  }

  /** Blocks to reserve past a write that ends the file. @kernel fs/xfs/xfs_iomap.c xfs_iomap_prealloc_size (6.12) */
  private preallocation(m: Machine, mapping: MappingId, pos: number, count: number, off: number, end: number): number {
    const block = this.blockSize(m, mapping);
    const unit = Math.max(1, ALLOCSIZE / block);
    const size = m.spaces.size[mapping] as number;
    if (pos + count <= size || size < unit * block) return 0;
    const { list } = this.inode(mapping).extents;
    const prev = list[list.length - 1];
    let pre = unit;
    if (prev !== undefined && prev.end >= off) {
      // Older extents count while they lie together on the device.
      let length = prev.end - prev.start;
      for (let i = list.length - 2; i >= 0 && length <= MAX_EXTENT / 2; i--) {
        const e = list[i] as Extent;
        const next = list[i + 1] as Extent;
        if (e.end !== next.start || e.phys < 0 || next.phys !== e.phys + e.end - e.start) break;
        length += e.end - e.start;
      }
      pre = Math.max(unit, 2 ** Math.floor(Math.log2(length * 2)));
    }
    const aligned = Math.floor((pos + count - 1) / ALLOCSIZE) * (ALLOCSIZE / block) + pre;
    return Math.max(0, aligned - end);
  }

  /**
   * What is on the device is zeroed through the cache; holes and unwritten blocks are zeros already, but what is dirty over
   * them is not: it is written first, once, so that its blocks count as written.
   * @kernel fs/iomap/buffered-io.c iomap_zero_range (6.18)
   */
  protected zeroRange(m: Machine, mapping: MappingId, from: number, to: number): boolean {
    const block = this.blockSize(m, mapping);
    const inode = this.inode(mapping);
    const { extents } = inode;
    const eof = Math.ceil((m.spaces.size[mapping] as number) / block);
    let z = inode.zeroing;
    if (z === null || z.from !== from || z.to !== to) {
      z = { from, to, pos: from, flush: false };
      inode.zeroing = z;
      const edge = Math.min(to, Math.ceil(from / block) * block);
      if (edge > from && this.needsWriteback(m, mapping, from, edge)) {
        if (!this.zeroIter(m, mapping, from, edge)) return false;
        z.pos = edge;
      }
      z.flush = z.pos < to && this.needsWriteback(m, mapping, z.pos, to);
    }
    const page = m.config.pageSize;
    while (z.pos < to) {
      const b = Math.floor(z.pos / block);
      const e = extents.at(b);
      if (e !== undefined && e.state === DELALLOC && b >= eof) {
        this.place(extents, e.start, e.end, true);
        continue;
      }
      const end = Math.min(to, (e === undefined ? extents.nextStart(b) : e.end) * block);
      if (e === undefined || e.state === UNWRITTEN) {
        if (z.flush) {
          if (!filemapWriteAndWaitRange(m, mapping, Math.floor(z.pos / page), Math.floor((to - 1) / page)))
            return false;
          z.flush = false;
        } else z.pos = end;
        continue;
      }
      const stop = e.state === DELALLOC ? Math.min(end, eof * block) : end;
      if (!this.zeroIter(m, mapping, z.pos, stop)) return false;
      z.pos = stop;
    }
    inode.zeroing = null;
    return true;
  }

  /** A delayed allocation gets its place as a whole; only what is written counts as written. @kernel fs/xfs/libxfs/xfs_bmap.c xfs_bmapi_convert_delalloc (6.12) */
  protected override allocateBlocks(_m: Machine, mapping: MappingId, first: number, end: number): void {
    const { extents } = this.inode(mapping);
    if (extents.covers(first, end, MAPPED)) return;
    this.allocate(extents, first, end);
    extents.convert(first, end, UNWRITTEN, MAPPED);
  }

  /** Gives what has no place in [first, end) one: holes, and delayed allocations as a whole. */
  private allocate(extents: Extents, first: number, end: number): void {
    for (const { start, end: stop, extent } of extents.parts(first, end)) {
      if (extent === undefined) this.place(extents, start, stop, false);
      else if (extent.state === DELALLOC) this.place(extents, extent.start, extent.end, true);
    }
  }

  /**
   * Allocates [start, end) as unwritten: of the free extents that are long enough, in the one whose place for it is nearest
   * to where it belongs. One that starts behind that is used from its start; so is one that ends too early for it.
   * @kernel fs/xfs/libxfs/xfs_alloc.c xfs_alloc_ag_vextent_lastblock (6.18)
   */
  private place(extents: Extents, start: number, end: number, delayed: boolean): void {
    if (start >= end) return;
    const length = end - start;
    const want = this.target(extents, start, end, delayed);
    const { list } = this.used;
    let at = 0;
    let best = Number.POSITIVE_INFINITY;
    let bestRoom = 0;
    for (let i = 0; i <= list.length; i++) {
      const free = i === 0 ? 0 : (list[i - 1] as Extent).end;
      const stop = i === list.length ? Number.POSITIVE_INFINITY : (list[i] as Extent).start;
      const room = stop - free;
      // Free extents are looked up by length, then place: one of just this length must not lie before what is wanted.
      if (room < length || (room === length && free < want)) continue;
      const from = free >= want || stop < want + length ? free : want;
      const far = Math.abs(from - want);
      // The longest of those that are as near; then the last.
      if (far > best || (far === best && room < bestRoom)) continue;
      best = far;
      bestRoom = room;
      at = from;
    }
    this.used.set(at, at + length, MAPPED);
    extents.set(start, end, UNWRITTEN, at);
    this.pinned.add(extents);
  }

  /**
   * Where [start, end) would lie if the file lay on the device as it is: behind the extent before it or in front of the one
   * after it, with the gap between them left free unless it is wide. What is delayed, before or after it, has no place; and
   * what was delayed itself looks only behind. @kernel fs/xfs/libxfs/xfs_bmap.c xfs_bmap_adjacent (6.18)
   */
  private target(extents: Extents, start: number, end: number, delayed: boolean): number {
    const { list } = extents;
    const i = extents.find(start);
    const length = end - start;
    const wide = GAP_UNITS * length;
    const prev = list[i - 1];
    const next = delayed ? undefined : list.slice(i).find((e) => e.start >= end);
    const atEnd = !delayed && next === undefined;
    let behind = -1;
    let behindGap = Number.POSITIVE_INFINITY;
    if (prev !== undefined && prev.phys >= 0) {
      const gap = start - prev.end;
      behind = prev.phys + prev.end - prev.start;
      if (atEnd) return behind + gap;
      behindGap = gap <= wide ? gap : 2 * gap;
      if (gap <= wide) behind += gap;
    }
    let before = -1;
    let beforeGap = Number.POSITIVE_INFINITY;
    if (next !== undefined && next.phys >= 0) {
      const gap = next.start - start;
      before = next.phys;
      beforeGap = gap;
      if (gap <= wide && before >= gap) before -= gap;
      else if (before >= length) {
        before -= length;
        beforeGap += gap - length;
      } else beforeGap += gap;
    }
    if (behind >= 0 && before >= 0) return behindGap <= beforeGap ? behind : before;
    return Math.max(behind, before, 0);
  }

  /** @kernel fs/xfs/xfs_iops.c xfs_setattr_size (6.18) */
  setSize(m: Machine, mapping: MappingId, size: number): boolean {
    const { spaces } = m;
    const old = spaces.size[mapping] as number;
    const inode = this.inode(mapping);
    const { extents } = inode;
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    if (inode.resizing !== size) {
      const edge = size > old ? old : size;
      inode.flushFrom =
        size > inode.diskSize &&
        (old !== inode.diskSize || (edge % block !== 0 && extents.at(Math.floor(edge / block)) !== undefined))
          ? inode.diskSize
          : size;
      if (size > old) {
        if (!this.zeroRange(m, mapping, old, size)) return false;
      } else if (!this.truncatePage(m, mapping, size)) return false;
      spaces.size[mapping] = size;
      // Upwards too: a folio that reaches past the old end may be cut now.
      if (!truncateInodePagesRange(m, mapping, size, Number.POSITIVE_INFINITY)) return false;
      inode.resizing = size;
      inode.shrinks = size <= old;
      if (inode.shrinks) inode.truncated = true;
    }
    // What was written past the size on the device must be there before a larger size is.
    const first = Math.floor(inode.flushFrom / page);
    if (inode.flushFrom < size && !filemapWriteAndWaitRange(m, mapping, first, Math.floor((size - 1) / page)))
      return false;
    inode.resizing = -1;
    inode.diskSize = size;
    if (inode.shrinks) this.unmap(extents, Math.ceil(size / block), Number.POSITIVE_INFINITY);
    return true;
  }

  /** @kernel fs/xfs/xfs_bmap_util.c xfs_free_file_space (6.18) */
  punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    const unit = Math.max(page, block);
    const size = m.spaces.size[mapping] as number;
    const start = Math.floor(offset / unit) * unit;
    const end = Math.ceil((offset + length) / unit) * unit;
    if (!filemapWriteAndWaitRange(m, mapping, start / page, Math.min(end / page - 1, PGOFF_MAX))) return false;
    if (!truncateInodePagesRange(m, mapping, start, end)) return false;
    const { extents } = this.inode(mapping);
    this.unmap(extents, Math.ceil(offset / block), Math.floor((offset + length) / block));
    // The edges that share a block with what stays.
    const stop = Math.min(offset + length, size);
    return offset >= stop || this.zeroRange(m, mapping, offset, stop);
  }

  fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    this.inode(mapping).preallocated = true;
    const { spaces } = m;
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    const end = Math.ceil((offset + length) / block);
    for (const { start, end: stop, extent } of extents.parts(Math.floor(offset / block), end))
      if (extent === undefined || extent.state === DELALLOC) this.place(extents, start, stop, extent !== undefined);
    const old = spaces.size[mapping] as number;
    return offset + length <= old || this.setSize(m, mapping, offset + length);
  }

  override directWrite(m: Machine, mapping: MappingId, offset: number, length: number): void {
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    const first = Math.floor(offset / block);
    const end = Math.ceil((offset + length) / block);
    this.allocate(extents, first, end);
    extents.convert(first, end, UNWRITTEN, MAPPED);
    const size = Math.max(m.spaces.size[mapping] as number, offset + length);
    m.spaces.size[mapping] = size;
    this.inode(mapping).diskSize = size;
  }

  override fsync(m: Machine, mapping: MappingId): boolean {
    const inode = this.inode(mapping);
    inode.truncated = false;
    if (!super.fsync(m, mapping)) return false;
    if (this.pinned.has(inode.extents)) this.logForce();
    return true;
  }

  override syncFs(_m: Machine): boolean {
    this.logForce();
    return true;
  }

  override writeFolio(m: Machine, wbc: WritebackControl, mapping: MappingId, folio: FolioId): void {
    this.inode(mapping).truncated = false;
    super.writeFolio(m, wbc, mapping, folio);
  }

  override directWriteBegin(m: Machine, mapping: MappingId, offset: number): boolean {
    const size = m.spaces.size[mapping] as number;
    return offset <= size || this.zeroRange(m, mapping, size, offset);
  }

  /**
   * A close after writing gives back, once, what was reserved past the end; not what fallocate asked for. The first one after
   * a truncation starts write-back. @kernel fs/xfs/xfs_file.c xfs_file_release (6.12)
   */
  override release(m: Machine, mapping: MappingId): void {
    const inode = this.inode(mapping);
    const { extents } = inode;
    const delayed = extents.list.some((e) => e.state === DELALLOC);
    if (inode.truncated) {
      inode.truncated = false;
      inode.released = false;
      if (delayed) filemapFdatawriteRange(m, mapping, 0, PGOFF_MAX, false);
    }
    const size = m.spaces.size[mapping] as number;
    const eof = Math.ceil(size / this.blockSize(m, mapping));
    const beyond = extents.nextStart(eof) !== Number.POSITIVE_INFINITY;
    const empty = size === 0 && m.spaces.nrpages[mapping] === 0;
    // Delayed allocations anywhere count as something to give back.
    const canFree = delayed || (beyond && !inode.preallocated && !empty);
    if (inode.released || !canFree) return;
    inode.released = true;
    this.unmap(extents, eof, Number.POSITIVE_INFINITY);
  }
}
