/**
 * Files as the engine knows them: the address_space of each inode, the struct file of each open, and the record of
 * operations through which a file system is reached. A file system plugs in here and nowhere else.
 */
import { f64, i32, type Table, u8 } from '../base/table.ts';
import type { Kiocb } from './filemap.ts';
import type { FileId, FolioId, MappingId } from './ids.ts';
import type { Machine } from './machine.ts';
import type { WritebackControl } from './page_writeback.ts';
import type { VmOperations } from './vm_fault.ts';

/** @kernel include/linux/fs.h struct address_space (6.18) */
export const addressSpaceLayout = {
  head: i32('root entry of i_pages, as in base/xarray.ts'),
  nrpages: i32('base pages cached'),
  minOrder: u8('smallest folio order'),
  maxOrder: u8('largest folio order'),
  flags: i32('AS_* bits'),
  size: f64('i_size in bytes'),
  ops: i32('index in Machine.aops'),
  blkbits: u8('log2 of the block size'),
  raPages: i32('bdi: readahead window in pages'),
  ioPages: i32('bdi: largest I/O of the device in pages'),
  writebackIndex: i32('where the next cyclic write-back starts'),
  dirtiedWhen: f64('virtual ns of the first dirtying since clean; 0: clean'),
  fallocEnd: i32(
    'tmpfs: page past what fallocate gave the file; a split keeps pieces before it though the file ends earlier',
  ),
  iMmap: i32('i_mmap: first VMA that maps the file, as a list through sharedNext; 0: none'),
} as const;
export type AddressSpaces = Table<typeof addressSpaceLayout>;

/** Writers wait for write-back: checksummed data. @kernel include/linux/pagemap.h AS_STABLE_WRITES (6.18) */
export const AS_STABLE_WRITES = 1 << 7;
/** Memory that lives in the cache alone (tmpfs): no write-back, anonymous LRU lists. */
export const AS_SWAPBACKED = 1 << 8;
/** No file by name: shared anonymous memory. What it caches is not counted among the files'. */
export const AS_UNNAMED = 1 << 9;

/** @kernel include/linux/fs.h struct file_ra_state (6.18) */
export const fileLayout = {
  mapping: i32('MappingId of the file'),
  start: i32('first page of the readahead window'),
  size: i32('pages of the window'),
  asyncSize: i32('pages at its end that are read ahead of use'),
  raPages: i32('largest window; 0 turns readahead off'),
  order: u8('order of the last window'),
  mmapMiss: i32('recent faults that missed'),
  prevPos: f64('byte after the last one read; -1 at open'),
  pos: f64('file position in bytes'),
  fmode: i32('FMODE_* bits'),
  count: i32('f_count: the handle, and each VMA that maps it'),
} as const;
export type Files = Table<typeof fileLayout>;

export const FMODE_RANDOM = 1;
export const FMODE_NOREUSE = 2;

/**
 * What a file system does. Calls may submit I/O (Machine.io). Where the kernel would sleep, a call returns false or stops
 * short, Machine.wait names the folio it waits for, and the caller makes the same call again when that has changed.
 * @kernel include/linux/fs.h struct address_space_operations (6.18)
 */
export interface AddressSpaceOperations {
  /** Name of the file system: 'xfs'. */
  readonly name: string;
  /** A file of `size` bytes comes into being, all of it allocated on the device (0: a new, empty file). */
  inodeInit(m: Machine, mapping: MappingId): void;
  /** read(2): see filemapRead, which most file systems put here. */
  read(m: Machine, iocb: Kiocb): number;
  /** Starts the read of one locked folio. */
  readFolio(m: Machine, mapping: MappingId, folio: FolioId): void;
  /** Starts the read of the locked, consecutive folios [index, index + nrPages). */
  readahead(m: Machine, mapping: MappingId, index: number, nrPages: number): void;
  /** How many pages from the file's start are read alone by one request, with nothing else to do for them; absent: none. */
  plainPages?(m: Machine, mapping: MappingId): number;
  /** Counts `n` such reads that `readahead` was not called for. */
  plainReads?(n: number): void;
  /** A read that was submitted has ended. */
  endRead(m: Machine, mapping: MappingId, offset: number, length: number, ok: boolean): void;
  /** May a read of `length` bytes at `from` in the folio go on although the folio is not uptodate? */
  isPartiallyUptodate(m: Machine, folio: FolioId, from: number, length: number): boolean;
  /** write(2) through the cache; bytes written, fewer than asked when it must wait (Machine.wait) or memory ran out. */
  write(m: Machine, file: FileId, pos: number, length: number): number;
  /** All of a folio is dirty now, because somebody stored through a mapping; false when it was dirty before. */
  dirtyFolio(m: Machine, mapping: MappingId, folio: FolioId): boolean;
  /** Puts the dirty blocks of a locked folio, made clean for I/O, under write-back by addToBio; unlocks it. */
  writeFolio(m: Machine, wbc: WritebackControl, mapping: MappingId, folio: FolioId): void;
  /** A write that was submitted has ended. */
  endWrite(m: Machine, mapping: MappingId, offset: number, length: number, ok: boolean): void;
  /** Bytes [from, from + length) of the folio are no longer part of the file. */
  invalidateFolio(m: Machine, folio: FolioId, from: number, length: number): void;
  /** Gives up private data; false when it cannot. */
  releaseFolio(m: Machine, folio: FolioId): boolean;
  /** ftruncate(2). What may wait (this and the next four) returns false when it must be called again, or, with
   * Machine.wait zero, when there is no memory. */
  setSize(m: Machine, mapping: MappingId, size: number): boolean;
  /** fsync(2). */
  fsync(m: Machine, mapping: MappingId): boolean;
  /** What sync(2) does for the file system beside writing every file. */
  syncFs(m: Machine): boolean;
  /** fallocate(2) with PUNCH_HOLE and KEEP_SIZE. */
  punchHole(m: Machine, mapping: MappingId, offset: number, length: number): boolean;
  /** fallocate(2), mode 0. */
  fallocate(m: Machine, mapping: MappingId, offset: number, length: number): boolean;
  /** O_DIRECT writes go through the cache all the same, and out of it at once. */
  readonly buffersDirectWrites: boolean;
  /** O_DIRECT reads go through the cache when they have to write some of their range first. */
  readonly buffersReadsOfDirty: boolean;
  /** Before an O_DIRECT write at `offset`; false when it must be called again. */
  directWriteBegin(m: Machine, mapping: MappingId, offset: number): boolean;
  /** Bytes were written past the cache (O_DIRECT). */
  directWrite(m: Machine, mapping: MappingId, offset: number, length: number): void;
  /** How its mapped memory answers faults. */
  readonly vmOps: VmOperations;
  /** A file that was open for writing is closed. */
  release(m: Machine, mapping: MappingId): void;
}
