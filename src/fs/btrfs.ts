/**
 * btrfs: data is checksummed, so that nobody may write to a folio while it goes to the device. Folios of one page unless it
 * is built with its experimental options.
 */
import { AS_STABLE_WRITES } from '../mm/address_space.ts';
import type { FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioClear } from '../mm/mm_types.ts';
import { PG_readahead } from '../mm/page_flags.ts';
import { BufferHeadFs } from './buffer_head.ts';

const RA_BYTES = 4 * 2 ** 20;
/** Largest I/O of a backing device that nobody set. */
const IO_BYTES = 128 * 1024;

export class Btrfs extends BufferHeadFs {
  readonly name = 'btrfs';
  /** Checksums need bytes that hold still. @kernel fs/btrfs/direct-io.c btrfs_direct_write (6.18) */
  override readonly buffersDirectWrites = true;
  /** What is written is in order only a moment after its write-back has ended. @kernel fs/btrfs/direct-io.c lock_extent_direct (6.18) */
  override readonly buffersReadsOfDirty = true;
  protected readonly zeroesTail = 'before';
  protected override readonly holeEdges = 'written';
  protected override readonly shrinkZeroes = false;
  /** It keeps a mark and no memory of its own for a folio of one block. @kernel fs/btrfs/extent_io.c set_folio_extent_mapped (6.18) */
  protected override readonly chargedBytes = 0;

  override inodeInit(m: Machine, mapping: MappingId): void {
    super.inodeInit(m, mapping);
    // Its own backing device: windows of 4 MiB whatever the disk says. @kernel fs/btrfs/disk-io.c open_ctree (6.18)
    const { spaces } = m;
    spaces.raPages[mapping] = RA_BYTES / m.config.pageSize;
    spaces.ioPages[mapping] = IO_BYTES / m.config.pageSize;
    m.spaces.flags[mapping] = (m.spaces.flags[mapping] as number) | AS_STABLE_WRITES;
  }

  /**
   * Holes at the front of the range are passed over, once more behind a block that is punched in part: what is cached of them stays.
   * @kernel fs/btrfs/file.c btrfs_punch_hole (6.18)
   */
  override punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    const end = offset + length;
    const data = (from: number): number =>
      extents.at(Math.floor(from / block)) !== undefined ? from : extents.nextStart(Math.floor(from / block)) * block;
    let from = data(offset);
    const edge = Math.ceil(offset / block) * block;
    if (from === offset && edge > offset && edge < end && data(edge) > edge) {
      if (!super.punchHole(m, mapping, offset, edge - offset)) return false;
      from = data(edge);
    }
    return from >= end || super.punchHole(m, mapping, from, end - from);
  }

  /** Dirtying a folio takes its readahead mark away. @kernel mm/page-writeback.c folio_mark_dirty (6.18) */
  protected override writeEnd(m: Machine, mapping: MappingId, folio: FolioId, from: number, to: number): void {
    folioClear(m.map, folio, PG_readahead);
    super.writeEnd(m, mapping, folio, from, to);
  }
}
