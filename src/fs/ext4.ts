/**
 * ext4: buffer heads; large folios for regular files from 6.16; blocks of 1 to 4 KiB here, larger ones from 6.19.
 *
 * Its journal carries some data along: bytes zeroed at the edge of a block (a hole punched, a file cut or extended) must be
 * on the device before the transaction that did it commits. Any commit, for whatever file, writes the folios between the
 * first and the last such byte of each file.
 */
import type { FileId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { filemapWriteAndWaitRange } from '../mm/page_writeback.ts';
import type { VmFault } from '../mm/vm_fault.ts';
import { BufferHeadFs } from './buffer_head.ts';

export class Ext4 extends BufferHeadFs {
  readonly name: string = 'ext4';
  protected override readonly holeEdges = 'looked-up';
  protected readonly zeroesTail = 'after';
  /** First and last byte zeroed since the last commit, by file; files with something to commit. */
  private readonly ordered = new Map<MappingId, [number, number]>();
  private readonly uncommitted = new Set<MappingId>();

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
    for (const [mapping, [from, to]] of this.ordered) {
      if (!filemapWriteAndWaitRange(m, mapping, Math.floor(from / page), Math.floor((to - 1) / page))) return false;
      this.ordered.delete(mapping);
    }
    this.uncommitted.clear();
    return true;
  }
}
