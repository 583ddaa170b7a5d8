/**
 * One event table for all recordings. Every reader turns its format into batches of this table; replay reads nothing else.
 * A batch is columns, and is reused: it is valid until the next call of `next()`.
 */
import { allocate, extend, f64, i32, type Table, u8 } from '../base/table.ts';

/** Operations, in the words of an ops script. */
export const OPS = [
  'open', // id = handle, file, arg = OPEN_* bits
  'close', // id = handle
  'read', // id = handle, length
  'write', // id = handle, length
  'pread', // id = handle, offset, length
  'pwrite', // id = handle, offset, length
  'lseek', // id = handle, offset
  'fsync', // id = handle
  'sync',
  'fadvise', // id = handle, offset, length, arg = index in FADVICE
  'readahead', // id = handle, offset, length
  'ftruncate', // id = handle, length = new size
  'punch', // id = handle, offset, length
  'fallocate', // id = handle, offset, length
  'mmap', // id = mapping, file = handle or -1 (anonymous), offset, length, arg = PROT_* | SHARED, at
  'touch', // id = mapping, offset, length, arg = 1 for a store
  'madvise', // id = mapping, offset, length, arg = index in MADVICE
  'munmap', // id = mapping, offset, length
  'mprotect', // id = mapping, offset, length, arg = PROT_* bits
  'mlock', // id = mapping, offset, length
  'fork',
] as const;
export type OpName = (typeof OPS)[number];
/** Number of an operation: `OP.read`. */
export const OP = Object.fromEntries(OPS.map((name, i) => [name, i])) as { readonly [K in OpName]: number };

export const FADVICE = ['normal', 'sequential', 'random', 'noreuse', 'willneed', 'dontneed'] as const;
export const MADVICE = [
  'normal',
  'random',
  'sequential',
  'willneed',
  'dontneed',
  'free',
  'remove',
  'hugepage',
  'nohugepage',
  'cold',
  'pageout',
  'populate_read',
  'populate_write',
  'collapse',
] as const;

export const OPEN_READ = 1;
export const OPEN_WRITE = 2;
export const OPEN_CREATE = 4;
export const OPEN_TRUNC = 8;
export const OPEN_APPEND = 16;
export const OPEN_DIRECT = 32;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const SHARED = 8;

export const eventLayout = {
  op: u8('index in OPS'),
  id: i32('handle or mapping number'),
  file: i32('file number (open), handle or -1 (mmap)'),
  arg: i32('flags, advice or protection: see OPS'),
  offset: f64('bytes'),
  length: f64('bytes'),
  at: f64('mmap: bytes past a 2 MiB boundary'),
  line: i32('line (text) or record (binary) of the recording, from 1'),
} as const;
/** A batch: columns and the number of rows in use. */
export type Events = Table<typeof eventLayout> & {
  count: number;
  /** So many rows from the first on are known to be of one operation and one id; 0: nobody looked. */
  alike: number;
};
export const events = (rows: number): Events => extend(allocate(eventLayout, rows), { count: 0, alike: 0 });

/** A file that a recording names. `size` in bytes when the recording starts; the file is cold then. */
export interface TraceFile {
  readonly id: number;
  readonly name: string;
  readonly size: number;
}

/** What a recording says of the machine it wants: the `#` lines of an ops script. Sizes in bytes. */
export interface TraceSettings {
  fs: string;
  blockSize: number;
  readaheadKb: number;
  /** Memory limit of the group in bytes; 0: none. */
  memcg: number;
  /** Per-size anonymous huge page control: `{ '64kB': 'always', top: 'madvise' }`. */
  thp: Record<string, string>;
  /** Mount option of tmpfs, `huge=always`. */
  mountOption: string;
  khugepaged: boolean;
}
export const defaultSettings = (): TraceSettings => ({
  fs: 'xfs',
  blockSize: 4096,
  readaheadKb: 128,
  memcg: 0,
  thp: {},
  mountOption: '',
  khugepaged: false,
});

/** A recording being read. */
export interface TraceSource {
  /** The recording's file name, without folders. */
  readonly name: string;
  readonly settings: TraceSettings;
  readonly files: readonly TraceFile[];
  /** What the reader could not use, by name, with how often: `{ 'io_uring_setup': 3 }`. Complete when `next()` has returned null. */
  readonly skipped: Readonly<Record<string, number>>;
  /** The next batch, or null at the end. Throws InputError (file, line, what was expected). */
  next(): Events | null;
  /** Frees what the reader holds (file handles). */
  close(): void;
}
