/**
 * ext4: buffer heads; large folios for regular files from 6.16; blocks of 1 to 4 KiB here, larger ones from 6.19.
 *
 * Its journal carries some data along: bytes zeroed at the edge of a block (a hole punched, a file cut or extended) must be
 * on the device before the transaction that did it commits. Any commit, for whatever file, writes the folios between the
 * first and the last such byte of each file, but only blocks that have a place: delayed ones stay dirty.
 */
import { XA_MARK_TOWRITE, xaClearMark } from '../base/xarray_mark.ts';
import { folioUnlock } from '../mm/filemap.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioIndex } from '../mm/mm_types.ts';
import { filemapDirtyFolio, filemapWriteAndWaitRange, type WritebackControl } from '../mm/page_writeback.ts';
import type { VmFault } from '../mm/vm_fault.ts';
import { BufferHeadFs } from './buffer_head.ts';
import { DELALLOC } from './extents.ts';

export class Ext4 extends BufferHeadFs {
  readonly name: string = 'ext4';
  protected override readonly holeEdges = 'looked-up';
  protected readonly zeroesTail = 'after';
  /** First and last byte zeroed since the last commit, by file; files with something to commit. */
  private readonly ordered = new Map<MappingId, [number, number]>();
  private readonly uncommitted = new Set<MappingId>();
  private committing = false;

  /** @kernel fs/ext4/ext4_jbd2.h ext4_jbd2_inode_add_write (6.18) */
  protected override zeroed(_m: Machine, mapping: MappingId, from: number, to: number): void {
    const range = this.ordered.get(mapping);
    this.ordered.set(mapping, range === undefined ? [from, to] : [Math.min(range[0], from), Math.max(range[1], to)]);
  }

  override write(m: Machine, file: FileId, pos: number, length: number): number {
    this.uncommitted.add(m.files.mapping[file] as MappingId);
    return super.write(m, file, pos, length);
  }
  protected override pageMkwrite(m: Machine, vmf: VmFault): number {
    this.uncommitted.add(m.vmas.mapping[vmf.vma] as MappingId);
    return super.pageMkwrite(m, vmf);
  }
  override setSize(m: Machine, mapping: MappingId, size: number): boolean {
    this.uncommitted.add(mapping);
    return super.setSize(m, mapping, size);
  }
  override punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    this.uncommitted.add(mapping);
    return super.punchHole(m, mapping, offset, length);
  }
  override fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    this.uncommitted.add(mapping);
    return super.fallocate(m, mapping, offset, length);
  }

  /** @kernel fs/ext4/fsync.c ext4_sync_file (6.18) */
  override fsync(m: Machine, mapping: MappingId): boolean {
    return super.fsync(m, mapping) && (!this.uncommitted.has(mapping) || this.commit(m));
  }
  override syncFs(m: Machine): boolean {
    return this.commit(m);
  }

  /** @kernel fs/jbd2/commit.c journal_submit_data_buffers (6.18) */
  private commit(m: Machine): boolean {
    const page = m.config.pageSize;
    this.committing = true;
    for (const [mapping, [from, to]] of this.ordered) {
      const written = filemapWriteAndWaitRange(m, mapping, Math.floor(from / page), Math.floor((to - 1) / page));
      this.committing = written;
      if (!written) return false;
      this.ordered.delete(mapping);
    }
    this.committing = false;
    this.uncommitted.clear();
    return true;
  }

  /** A commit cannot wait for places on the device. @kernel fs/ext4/inode.c ext4_page_nomap_can_writeout (6.18) */
  override writeFolio(m: Machine, wbc: WritebackControl, mapping: MappingId, folio: FolioId): void {
    const row = this.committing ? this.stateOf(m, folio) : 0;
    if (row === 0) {
      super.writeFolio(m, wbc, mapping, folio);
      return;
    }
    const { states } = this;
    const { extents } = this.inode(mapping);
    const base = (folioIndex(m.map, folio) * m.config.pageSize) / this.blockSize(m, mapping);
    const delayed: number[] = [];
    for (let b = states.nextDirty(row, 0); b >= 0; b = states.nextDirty(row, b + 1))
      if (extents.at(base + b)?.state === DELALLOC) delayed.push(b);
    for (const b of delayed) states.clearDirty(row, b, 1);
    if (delayed.length === 0 || states.nextDirty(row, 0) >= 0) super.writeFolio(m, wbc, mapping, folio);
    else {
      xaClearMark(m.pages, m.spaces.head[mapping] as number, folioIndex(m.map, folio), XA_MARK_TOWRITE);
      folioUnlock(m, folio);
    }
    for (const b of delayed) states.setDirty(row, b, 1);
    if (delayed.length > 0) filemapDirtyFolio(m, mapping, folio);
  }
}
