/**
 * tmpfs: the page cache is where the data lives. No readahead and no write-back; folios are dirty from birth and on the
 * anonymous lists. Reads of holes give zeros and allocate nothing. Which sizes a write may use is the mount's `huge=`:
 *
 *   never, advise   one page
 *   always          2 MiB first, smaller only when that fails (6.17); by the length of the write (6.14–6.16); 2 MiB or one page before
 *   within_size     the largest size whose aligned range lies inside the file as the write leaves it
 *
 * @kernel mm/shmem.c shmem_get_folio_gfp (6.18)
 */
import type { AddressSpaceOperations } from '../mm/address_space.ts';
import { AS_SWAPBACKED, AS_UNNAMED } from '../mm/address_space.ts';
import {
  ctz,
  EEXIST,
  fgfSetOrder,
  filemapAddFolio,
  filemapGetFolio,
  folioUnlock,
  type Kiocb,
  MAPPING_GFP,
  READ_DONE,
} from '../mm/filemap.ts';
import { filemapMapPages } from '../mm/filemap_map_pages.ts';
import { __GFP_NORETRY, __GFP_NOWARN, __GFP_WRITE } from '../mm/gfp.ts';
import { type FileId, type FolioId, type MappingId, NO_FOLIO, PGOFF_MAX } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { inodeInit, openFile } from '../mm/mm_init.ts';
import { folioIndex, folioNextIndex, folioNrPages, folioRefAdd, folioSet, folioTest } from '../mm/mm_types.ts';
import { folioAlloc } from '../mm/page_alloc.ts';
import { PG } from '../mm/page_flags.ts';
import { filemapDirtyFolio } from '../mm/page_writeback.ts';
import { folioMarkAccessed, folioPut } from '../mm/swap.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import {
  VM_FAULT_LOCKED,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  type VmFault,
  type VmOperations,
} from '../mm/vm_fault.ts';
import { VM_HUGEPAGE, VM_NOHUGEPAGE } from '../mm/vma.ts';
import { V } from '../mm/vmstat.ts';

export type ShmemHuge = 'never' | 'always' | 'within_size' | 'advise';

/** A file for shared anonymous memory of so many bytes, with nothing in it. @kernel mm/shmem.c shmem_zero_setup (6.18) */
export function shmemZeroSetup(m: Machine, ops: Tmpfs, size: number): FileId {
  const blkbits = Math.log2(m.config.pageSize);
  const maxOrder = m.maxPagecacheOrder;
  const mapping = inodeInit(m, { ops, size: 0, minOrder: 0, maxOrder, blkbits, raPages: 0, ioPages: 0 });
  m.spaces.size[mapping] = Math.ceil(size * m.pagesPerByte) * m.config.pageSize;
  m.spaces.flags[mapping] = (m.spaces.flags[mapping] as number) | AS_UNNAMED;
  return openFile(m, mapping, 0);
}

export class Tmpfs implements AddressSpaceOperations {
  readonly name = 'tmpfs';
  readonly buffersDirectWrites = false;
  readonly buffersReadsOfDirty = false;
  private readonly huge: ShmemHuge;

  /** `anonymous`: the kernel's own mount, for shared anonymous memory. */
  constructor(huge: ShmemHuge, anonymous = false) {
    this.huge = huge;
    this.vmOps = {
      anonymous,
      fault: (m, vmf) => this.fault(m, vmf),
      mapPages: filemapMapPages,
      pageMkwrite: null,
    };
  }

  inodeInit(m: Machine, mapping: MappingId): void {
    m.spaces.flags[mapping] = (m.spaces.flags[mapping] as number) | AS_SWAPBACKED;
    const size = m.spaces.size[mapping] as number;
    m.spaces.size[mapping] = 0;
    // Its contents are in the cache: written before the replay starts, a MiB at a time.
    for (let pos = 0; pos < size; pos += 1 << 20) this.writeAt(m, mapping, pos, Math.min(1 << 20, size - pos));
  }

  /** @kernel mm/shmem.c shmem_file_read_iter (6.18) */
  read(m: Machine, iocb: Kiocb): number {
    const { files, spaces, map } = m;
    const mapping = files.mapping[iocb.file] as MappingId;
    const page = m.config.pageSize;
    const end = Math.min(iocb.pos + iocb.count, spaces.size[mapping] as number);
    while (iocb.pos < end) {
      const folio = filemapGetFolio(m, mapping, Math.floor(iocb.pos / page));
      let to = (Math.floor(iocb.pos / page) + 1) * page;
      if (folio !== 0) {
        if (iocb.pos % (folioNrPages(map, folio) * page) === 0) folioMarkAccessed(m, folio);
        to = folioNextIndex(map, folio) * page;
      }
      to = Math.min(to, end);
      iocb.done += to - iocb.pos;
      iocb.count -= to - iocb.pos;
      iocb.pos = to;
    }
    return READ_DONE;
  }

  write(m: Machine, file: FileId, pos: number, length: number): number {
    return this.writeAt(m, m.files.mapping[file] as MappingId, pos, length);
  }

  private writeAt(m: Machine, mapping: MappingId, start: number, length: number): number {
    const { map, spaces } = m;
    const page = m.config.pageSize;
    const chunk = page << (spaces.maxOrder[mapping] as number);
    const end = start + length;
    let pos = start;
    while (pos < end) {
      const bytes = Math.min(chunk - (pos % chunk), end - pos);
      const folio = this.getFolio(m, mapping, Math.floor(pos / page), end, bytes);
      if (folio === 0) break;
      const to = Math.min(pos + bytes, folioNextIndex(map, folio) * page);
      folioSet(map, folio, PG.PG_uptodate);
      filemapDirtyFolio(m, mapping, folio);
      if (to > (spaces.size[mapping] as number)) spaces.size[mapping] = to;
      pos = to;
    }
    return pos - start;
  }

  /** The folio at a page, made if it is missing. `end`: byte past the write, 0 for fallocate. */
  private getFolio(m: Machine, mapping: MappingId, at: number, end: number, bytes: number): FolioId {
    const found = filemapGetFolio(m, mapping, at);
    return found !== 0 ? found : this.addFolio(m, mapping, at, this.orders(m, mapping, at, end, bytes));
  }

  /** A new folio of the first of these orders that works out. @kernel mm/shmem.c shmem_alloc_and_add_folio (6.18) */
  private addFolio(m: Machine, mapping: MappingId, at: number, orders: readonly number[]): FolioId {
    const { map } = m;
    for (const order of orders) {
      const index = at - (at % (1 << order));
      const gfp = MAPPING_GFP | __GFP_WRITE | (order > 0 ? __GFP_NORETRY | __GFP_NOWARN : 0);
      const folio = folioAlloc(m, gfp, order);
      if (folio === 0) continue;
      folioSet(map, folio, PG.PG_swapbacked);
      const err = filemapAddFolio(m, mapping, folio, index, gfp);
      folioPut(m, folio);
      if (err === EEXIST && order > 0) continue;
      if (err !== 0) return NO_FOLIO;
      m.vmstat[V.nr_shmem] = (m.vmstat[V.nr_shmem] as number) + (1 << order);
      folioUnlock(m, folio);
      return folio;
    }
    return NO_FOLIO;
  }

  /** Orders to try, largest first. @kernel mm/shmem.c shmem_allowable_huge_orders (6.18) */
  private orders(m: Machine, mapping: MappingId, at: number, end: number, bytes: number): number[] {
    const max = m.spaces.maxOrder[mapping] as number;
    const page = m.config.pageSize;
    const sizePages = Math.ceil(Math.max(m.spaces.size[mapping] as number, end) / page);
    const fits = (order: number): boolean => (Math.floor(at / (1 << order)) + 1) * (1 << order) <= sizePages;
    const law = m.release.tmpfsHuge;
    const all: number[] = [];
    if (max === 0 || this.huge === 'never' || this.huge === 'advise') return [0];
    if (law === 'pmd') return this.huge === 'always' || fits(max) ? [max, 0] : [0];
    if (law === 'size-hint' || this.huge === 'within_size') {
      let top = law === 'size-hint' ? Math.min(max, fgfSetOrder(m, bytes)) : max;
      if (law === 'size-hint' && at % (1 << top) !== 0) top = ctz(at);
      for (let order = top; order > 0; order--) if (this.huge === 'always' || fits(order)) all.push(order);
    } else for (let order = max; order > 0; order--) all.push(order);
    all.push(0);
    return all;
  }

  // Mapped: a page that is missing comes into being, for loads too.

  readonly vmOps: VmOperations;

  /** @kernel mm/shmem.c shmem_fault (6.18) */
  private fault(m: Machine, vmf: VmFault): number {
    const { map } = m;
    const mapping = m.vmas.mapping[vmf.vma] as MappingId;
    const index = vmf.pgoff;
    m.wait = NO_FOLIO;
    if (index * m.config.pageSize >= (m.spaces.size[mapping] as number)) return VM_FAULT_SIGBUS;
    let folio = filemapGetFolio(m, mapping, index);
    if (folio === 0) folio = this.addFolio(m, mapping, index, this.faultOrders(m, vmf, mapping));
    if (folio === 0) return VM_FAULT_OOM;
    if (folioTest(map, folio, PG.PG_locked)) {
      m.wait = folio;
      return VM_FAULT_RETRY;
    }
    folioSet(map, folio, PG.PG_locked | PG.PG_uptodate);
    folioRefAdd(map, folio, 1);
    vmf.folio = folio;
    vmf.page = index - folioIndex(map, folio);
    return VM_FAULT_LOCKED;
  }

  /**
   * 2 MiB where the mount or the memory's advice says so and the area holds it whole, or one page (before 7.x: nothing between).
   * @kernel mm/shmem.c shmem_suitable_orders (6.18)
   */
  private faultOrders(m: Machine, vmf: VmFault, mapping: MappingId): number[] {
    const { vma } = vmf;
    const { vmas } = m;
    const flags = vmas.flags[vma] as number;
    const pmd = Math.min(m.geometry.levels[0].bits, m.maxPagecacheOrder);
    if ((flags & VM_NOHUGEPAGE) !== 0 || this.huge === 'never') return [0];
    const page = m.config.pageSize;
    const filePages = Math.ceil((m.spaces.size[mapping] as number) / page);
    const advised = (flags & VM_HUGEPAGE) !== 0;
    const orders: number[] = [];
    for (let order = pmd; order > 0; order--) {
      if (order < pmd && m.release.tmpfsHuge !== 'all-orders') break;
      const nr = 1 << order;
      const first = vmf.pgoff - (vmf.pgoff % nr);
      const inFile = this.huge === 'within_size' && first + nr <= filePages;
      if (this.huge !== 'always' && !inFile && !advised) continue;
      const size = nr * page;
      const start = vmf.address - (vmf.address % size);
      const aligned = ((vmas.start[vma] as number) - (vmas.pgoff[vma] as number) * page) % size === 0;
      if (!aligned || start < (vmas.start[vma] as number) || start + size > (vmas.end[vma] as number)) continue;
      orders.push(order);
    }
    orders.push(0);
    return orders;
  }

  setSize(m: Machine, mapping: MappingId, size: number): boolean {
    const old = m.spaces.size[mapping] as number;
    m.spaces.size[mapping] = size;
    return size > old || this.undoRange(m, mapping, size, Number.POSITIVE_INFINITY);
  }

  punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    return this.undoRange(m, mapping, offset, offset + length);
  }

  /** Throws bytes [start, end) away; what fallocate gave ends there, when its end is inside. @kernel mm/shmem.c shmem_undo_range (6.18) */
  private undoRange(m: Machine, mapping: MappingId, start: number, end: number): boolean {
    const page = m.config.pageSize;
    const { fallocEnd } = m.spaces;
    const first = Math.ceil(start / page);
    if (fallocEnd[mapping]! > first && fallocEnd[mapping]! <= end / page) fallocEnd[mapping] = first;
    return truncateInodePagesRange(m, mapping, start, end);
  }

  fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean {
    const page = m.config.pageSize;
    const end = Math.ceil((offset + length) / page);
    const added: FolioId[] = [];
    const { fallocEnd } = m.spaces;
    const before = fallocEnd[mapping]!;
    fallocEnd[mapping] = Math.max(before, Math.min(end, PGOFF_MAX));
    for (let i = Math.floor(offset / page); i < end; ) {
      const found = filemapGetFolio(m, mapping, i);
      const folio = this.getFolio(m, mapping, i, offset + length, page);
      if (folio === 0) {
        fallocEnd[mapping] = before;
        return this.undo(m, mapping, added);
      }
      if (found === 0) added.push(folio);
      // New ones are not uptodate before they are written or allocated a second time.
      if (found !== 0) folioSet(m.map, folio, PG.PG_uptodate);
      i = folioIndex(m.map, folio) + folioNrPages(m.map, folio);
    }
    if (offset + length > (m.spaces.size[mapping] as number)) m.spaces.size[mapping] = offset + length;
    return true;
  }

  /** A failed fallocate takes back what it added. @kernel mm/shmem.c shmem_undo_range (6.18) */
  private undo(m: Machine, mapping: MappingId, added: readonly FolioId[]): boolean {
    const page = m.config.pageSize;
    for (const folio of added) {
      const from = folioIndex(m.map, folio) * page;
      truncateInodePagesRange(m, mapping, from, from + folioNrPages(m.map, folio) * page);
    }
    m.wait = NO_FOLIO;
    return false;
  }

  // The cache is the store: nothing is read in or written back.
  dirtyFolio(m: Machine, mapping: MappingId, folio: FolioId): boolean {
    return filemapDirtyFolio(m, mapping, folio);
  }
  readFolio(): void {}
  readahead(): void {}
  endRead(): void {}
  endWrite(): void {}
  writeFolio(): void {}
  invalidateFolio(): void {}
  release(): void {}
  directWrite(): void {}
  fsync(): boolean {
    return true;
  }
  syncFs(): boolean {
    return true;
  }
  directWriteBegin(): boolean {
    return true;
  }
  isPartiallyUptodate(): boolean {
    return true;
  }
  releaseFolio(): boolean {
    return true;
  }
}
