/**
 * Buffered writes by block: a buffer_head for each block of a folio, and a question for each block where it lies. Only the
 * blocks at the edges of a write are read before it. The folio sizes come from the length left of the write alone.
 * @kernel mm/filemap.c generic_perform_write (6.18)
 */

import {
  FGP_NOFS,
  FGP_STABLE,
  fgfSetOrder,
  filemapGetOrCreate,
  filemapReleaseFolio,
  folioUnlock,
} from '../mm/filemap.ts';
import { __GFP_NOFAIL, GFP_NOFS } from '../mm/gfp.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { objCgroupCharge, objCgroupUncharge } from '../mm/memcontrol.ts';
import { lockForMkwrite } from '../mm/memory_file.ts';
import {
  folioAttachPrivate,
  folioIndex,
  folioMemcg,
  folioNextIndex,
  folioNrPages,
  folioPrivate,
  folioTest,
} from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { balanceDirtyPages, folioCancelDirty, folioMarkDirty } from '../mm/page_writeback.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import { VM_FAULT_LOCKED, type VmFault } from '../mm/vm_fault.ts';
import { BlockFs } from './block_fs.ts';
import { DELALLOC, MAPPED, UNWRITTEN } from './extents.ts';

/** sizeof(struct buffer_head). @kernel include/linux/buffer_head.h struct buffer_head (6.18) */
const BUFFER_HEAD_BYTES = 104;
const BUFFER_HEAD_GFP = GFP_NOFS | __GFP_NOFAIL;
/** What a group pays for one: the object and the pointer to the group. @kernel mm/slub.c obj_full_size (6.18) */
const BUFFER_HEAD_CHARGE = BUFFER_HEAD_BYTES + 8;

export abstract class BufferHeadFs extends BlockFs {
  protected readonly stateOnRead = false;
  /** When a write past the end of the file zeroes the rest of the block that the end was in. */
  protected abstract readonly zeroesTail: 'before' | 'after';
  /** A block that is zeroed in part and is a hole: left alone, its folio made and left alone, or written. */
  protected readonly holeEdges: 'skipped' | 'looked-up' | 'written' = 'skipped';
  /** Does a file that shrinks zero the rest of its last block on the device? */
  protected readonly shrinkZeroes: boolean = true;
  /** Bytes that a block's state costs the group of the folio. */
  protected readonly chargedBytes: number = BUFFER_HEAD_CHARGE;
  /** Does a write mark its folios for allocation without file-system recursion? */
  protected readonly fgp: number = FGP_STABLE | FGP_NOFS;

  stateBytes(blocks: number): number {
    return blocks * BUFFER_HEAD_BYTES;
  }

  /** Folios of one block have a buffer_head too. @kernel fs/buffer.c create_empty_buffers (6.18) */
  protected override attachState(m: Machine, mapping: MappingId, folio: FolioId): number {
    const { map } = m;
    if (folioTest(map, folio, PG.PG_private)) return folioPrivate(map, folio);
    const nr = this.blocksOf(m, mapping, folio);
    const group = folioMemcg(map, folio);
    const bytes = this.chargedBytes;
    for (let i = 0; bytes > 0 && i < nr; i++) objCgroupCharge(m, group, bytes, BUFFER_HEAD_GFP);
    const row = this.states.alloc(nr);
    if (folioTest(map, folio, PG.PG_uptodate)) this.states.setUptodate(row, 0, nr);
    if (folioTest(map, folio, PG.PG_dirty)) this.states.setDirty(row, 0, nr);
    folioAttachPrivate(map, folio, row);
    return row;
  }

  /** @kernel fs/buffer.c free_buffer_head (6.18) */
  protected override detachState(m: Machine, folio: FolioId): void {
    const row = this.stateOf(m, folio);
    const nr = row === 0 ? 0 : (this.states.rows.nr[row] as number);
    super.detachState(m, folio);
    const group = folioMemcg(m.map, folio);
    const bytes = this.chargedBytes;
    for (let i = 0; bytes > 0 && i < nr; i++) objCgroupUncharge(m, group, bytes);
  }

  write(m: Machine, file: FileId, start: number, length: number): number {
    const { map, spaces } = m;
    const mapping = m.files.mapping[file] as MappingId;
    const page = m.config.pageSize;
    const chunk = page << (spaces.maxOrder[mapping] as number);
    const old = spaces.size[mapping] as number;
    if (start > old && this.zeroesTail === 'before' && !this.zeroToBlockEnd(m, mapping, old)) return 0;
    const end = start + length;
    let pos = start;
    while (pos < end) {
      const bytes = Math.min(chunk - (pos % chunk), end - pos);
      balanceDirtyPages(m);
      const hint = m.release.genericWrite === 'length' ? fgfSetOrder(m, bytes) : 0;
      const folio = filemapGetOrCreate(m, mapping, Math.floor(pos / page), this.fgp, hint);
      if (folio <= 0) break;
      const to = Math.min(pos + bytes, folioNextIndex(map, folio) * page);
      if (!this.blockWriteBegin(m, mapping, folio, pos, to)) break;
      const from = folioIndex(map, folio) * page;
      this.writeEnd(m, mapping, folio, pos - from, to - from);
      this.reserve(m, mapping, pos, to);
      if (to > (spaces.size[mapping] as number)) spaces.size[mapping] = to;
      folioUnlock(m, folio);
      pos = to;
    }
    if (start > old && pos > start && this.zeroesTail === 'after') this.zeroToBlockEnd(m, mapping, old);
    return pos - start;
  }

  /** What is written and has no blocks gets them at write-back. @kernel fs/ext4/inode.c ext4_da_map_blocks (6.18) */
  private reserve(m: Machine, mapping: MappingId, from: number, to: number): void {
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    for (const { start, end, extent } of extents.parts(Math.floor(from / block), Math.ceil(to / block)))
      if (extent === undefined || extent.state === UNWRITTEN) extents.set(start, end, DELALLOC);
  }

  /** @kernel fs/buffer.c block_page_mkwrite (6.18) */
  protected pageMkwrite(m: Machine, vmf: VmFault): number {
    const mapping = m.vmas.mapping[vmf.vma] as MappingId;
    const { folio } = vmf;
    const state = lockForMkwrite(m, vmf);
    if (state !== VM_FAULT_LOCKED) return state;
    const page = m.config.pageSize;
    const from = folioIndex(m.map, folio) * page;
    const to = Math.min(folioNextIndex(m.map, folio) * page, m.spaces.size[mapping] as number);
    this.attachState(m, mapping, folio);
    this.mappingCalls += Math.ceil((to - from) / this.blockSize(m, mapping));
    this.reserve(m, mapping, from, to);
    folioMarkDirty(m, folio);
    return VM_FAULT_LOCKED;
  }

  /** @kernel fs/buffer.c __block_write_begin_int (6.18) */
  private blockWriteBegin(m: Machine, mapping: MappingId, folio: FolioId, pos: number, end: number): boolean {
    const { map } = m;
    const block = this.blockSize(m, mapping);
    const row = this.attachState(m, mapping, folio);
    const base = (folioIndex(map, folio) * m.config.pageSize) / block;
    const { extents } = this.inode(mapping);
    const eof = Math.ceil((m.spaces.size[mapping] as number) / block);
    const first = Math.floor(pos / block);
    const last = Math.ceil(end / block) - 1;
    this.mappingCalls += last - first + 1;
    if (folioTest(map, folio, PG.PG_uptodate)) return true;
    for (const b of first === last ? [first] : [first, last]) {
      const whole = pos <= b * block && end >= (b + 1) * block;
      if (whole || b >= eof || this.states.isUptodate(row, b - base, 1)) continue;
      if (extents.at(b)?.state === MAPPED) {
        if (!this.readForWrite(m, mapping, folio, b * block, block)) return false;
      } else this.states.setUptodate(row, b - base, 1);
    }
    return true;
  }

  /** @kernel fs/buffer.c block_invalidate_folio (6.18) */
  override invalidateFolio(m: Machine, folio: FolioId, from: number, length: number): void {
    const row = this.stateOf(m, folio);
    if (row === 0) return;
    const size = folioNrPages(m.map, folio) * m.config.pageSize;
    const block = size / (this.states.rows.nr[row] as number);
    const first = Math.ceil(from / block);
    const end = Math.floor((from + length) / block);
    if (end > first) this.states.clearDirty(row, first, end - first);
    if (from === 0 && length >= size) {
      folioCancelDirty(m, folio);
      filemapReleaseFolio(m, folio);
    }
  }

  /** Buffers go when none is dirty, and the folio is clean then. @kernel fs/buffer.c try_to_free_buffers (6.18) */
  override releaseFolio(m: Machine, folio: FolioId): boolean {
    const row = this.stateOf(m, folio);
    if (row !== 0 && this.states.nextDirty(row, 0) >= 0) return false;
    folioCancelDirty(m, folio);
    this.detachState(m, folio);
    return true;
  }

  /**
   * Zeroes bytes [from, to) of one block through the cache, when it is on the device. ext4 looks the folio up, and makes it,
   * before it asks where the block is. @kernel fs/ext4/inode.c __ext4_block_zero_page_range (6.18)
   */
  private zeroInBlock(m: Machine, mapping: MappingId, from: number, to: number): boolean {
    const block = this.blockSize(m, mapping);
    const state = this.inode(mapping).extents.at(Math.floor(from / block))?.state;
    const mapped = state === MAPPED || state === DELALLOC;
    if (from >= to || (!mapped && this.holeEdges === 'skipped')) return true;
    const page = m.config.pageSize;
    const folio = filemapGetOrCreate(m, mapping, Math.floor(from / page), this.fgp, 0);
    if (folio <= 0) {
      if (folio === 0) m.wait = folio;
      return false;
    }
    if (this.holeEdges !== 'skipped') folioMarkAccessed(m, folio);
    const hole = !mapped && this.holeEdges === 'looked-up';
    if (hole) this.attachState(m, mapping, folio);
    if (hole) {
      folioUnlock(m, folio);
      return true;
    }
    if (!this.blockWriteBegin(m, mapping, folio, from, to)) return false;
    this.zeroed(m, mapping, from, to);
    const start = folioIndex(m.map, folio) * page;
    this.writeEnd(m, mapping, folio, from - start, to - start);
    folioUnlock(m, folio);
    return true;
  }

  /** An edge of a hole that is punched: btrfs looks for data there first. @kernel fs/btrfs/file.c find_first_non_hole (6.18) */
  private zeroEdge(m: Machine, mapping: MappingId, from: number, to: number): boolean {
    const hole = this.inode(mapping).extents.at(Math.floor(from / this.blockSize(m, mapping))) === undefined;
    return (hole && this.holeEdges === 'written') || this.zeroInBlock(m, mapping, from, to);
  }

  /** Bytes [from, to) of a block were zeroed through the cache. */
  protected zeroed(_m: Machine, _mapping: MappingId, _from: number, _to: number): void {}

  private zeroToBlockEnd(m: Machine, mapping: MappingId, pos: number): boolean {
    const block = this.blockSize(m, mapping);
    return pos % block === 0 || this.zeroInBlock(m, mapping, pos, Math.ceil(pos / block) * block);
  }

  setSize(m: Machine, mapping: MappingId, size: number): boolean {
    const { spaces } = m;
    const old = spaces.size[mapping] as number;
    if (size > old && !this.zeroToBlockEnd(m, mapping, old)) return false;
    spaces.size[mapping] = size;
    if (!truncateInodePagesRange(m, mapping, size, Number.POSITIVE_INFINITY)) return false;
    if (size > old) return true;
    if (this.shrinkZeroes && !this.zeroToBlockEnd(m, mapping, size)) return false;
    this.inode(mapping).extents.remove(Math.ceil(size / this.blockSize(m, mapping)), Number.POSITIVE_INFINITY);
    return true;
  }

  /** @kernel fs/ext4/inode.c ext4_punch_hole (6.18) */
  punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    const page = m.config.pageSize;
    const block = this.blockSize(m, mapping);
    const end = Math.min(offset + length, Math.ceil((m.spaces.size[mapping] as number) / page) * page);
    if (offset >= end) return true;
    if (!truncateInodePagesRange(m, mapping, offset, end)) return false;
    const first = Math.ceil(offset / block) * block;
    const last = Math.floor(end / block) * block;
    if (!this.zeroEdge(m, mapping, offset, Math.min(first, end))) return false;
    if (last >= first && !this.zeroEdge(m, mapping, last, end)) return false;
    this.inode(mapping).extents.remove(first / block, last / block);
    return true;
  }

  fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    const { spaces } = m;
    const block = this.blockSize(m, mapping);
    const { extents } = this.inode(mapping);
    const end = Math.ceil((offset + length) / block);
    for (const { start, end: stop, extent } of extents.parts(Math.floor(offset / block), end))
      if (extent === undefined) extents.set(start, stop, UNWRITTEN);
    const old = spaces.size[mapping] as number;
    if (offset + length <= old) return true;
    const size = offset + length;
    spaces.size[mapping] = size;
    if (!this.zeroToBlockEnd(m, mapping, old)) return false;
    return this.holeEdges !== 'looked-up' || this.zeroInBlock(m, mapping, Math.floor(size / block) * block, size);
  }
}
