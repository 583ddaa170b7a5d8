/** What each line of an ops script holds: one table that the reader, the writer and the messages share. */
import { OPS, type OpName } from './event.ts';

/** Handles, and mappings, are numbers below this: the live tool keeps them in tables of this size. */
export const HANDLES_MAX = 4096;
/** Files in one script. Only a guard against a wild number; the live tool takes 4096. */
export const FILES_MAX = 1 << 20;
/** Bytes of one read or write. */
export const IO_MAX = 16 * 1024 * 1024;
/** Largest size and offset: 8 TiB, so that a page index fits an int32. */
export const BYTES_MAX = 2 ** 43;
/** A line with its end: the live tool reads lines of this size. */
export const LINE_MAX = 4096;
/** A page of the live machine; addresses of mappings are multiples of it. */
export const PAGE = 4096;
/** Mappings start at a multiple of this, plus `AT`. */
export const MAP_ALIGN = 2 * 1024 * 1024;
/** The largest `AT`: what the live tool reserves beyond a mapping's length. There it may touch the mapping above. */
export const AT_MAX = 2 * MAP_ALIGN;

/** Kinds of field. `AT` may be left out. */
export const F = {
  END: 0,
  HANDLE: 1,
  MAPPING: 2,
  FILE: 3,
  FLAGS: 4,
  OFFSET: 5,
  LENGTH: 6,
  /** A length of which one page at least is wanted. */
  SOME: 7,
  /** A length of one read or write. */
  IO: 8,
  FADVICE: 9,
  MADVICE: 10,
  PROT: 11,
  SHARING: 12,
  AT: 13,
  ACCESS: 14,
  HANDLE_OR_NONE: 15,
  /** An offset that is a multiple of a page. */
  PAGE_OFFSET: 16,
} as const;
export type FieldKind = (typeof F)[keyof typeof F];

const shapes: Readonly<Record<OpName, readonly FieldKind[]>> = {
  open: [F.HANDLE, F.FILE, F.FLAGS],
  close: [F.HANDLE],
  read: [F.HANDLE, F.IO],
  write: [F.HANDLE, F.IO],
  pread: [F.HANDLE, F.OFFSET, F.IO],
  pwrite: [F.HANDLE, F.OFFSET, F.IO],
  lseek: [F.HANDLE, F.OFFSET],
  fsync: [F.HANDLE],
  sync: [],
  fadvise: [F.HANDLE, F.OFFSET, F.LENGTH, F.FADVICE],
  readahead: [F.HANDLE, F.OFFSET, F.LENGTH],
  ftruncate: [F.HANDLE, F.LENGTH],
  punch: [F.HANDLE, F.OFFSET, F.SOME],
  fallocate: [F.HANDLE, F.OFFSET, F.SOME],
  mmap: [F.MAPPING, F.HANDLE_OR_NONE, F.PAGE_OFFSET, F.SOME, F.PROT, F.SHARING, F.AT],
  touch: [F.MAPPING, F.OFFSET, F.LENGTH, F.ACCESS],
  madvise: [F.MAPPING, F.PAGE_OFFSET, F.LENGTH, F.MADVICE],
  munmap: [F.MAPPING, F.PAGE_OFFSET, F.SOME],
  mprotect: [F.MAPPING, F.PAGE_OFFSET, F.LENGTH, F.PROT],
  mlock: [F.MAPPING, F.OFFSET, F.LENGTH],
  fork: [],
};

/** Fields of one operation take this many places in SHAPES. */
export const SHAPE_STRIDE = 8;
/** The fields of operation `op` are SHAPES[op * SHAPE_STRIDE …], ended by F.END. */
export const SHAPES = new Uint8Array(OPS.length * SHAPE_STRIDE);
OPS.forEach((name, op) => {
  SHAPES.set(shapes[name], op * SHAPE_STRIDE);
});

const fieldNames: Readonly<Record<FieldKind, string>> = {
  [F.END]: '',
  [F.HANDLE]: 'H',
  [F.MAPPING]: 'M',
  [F.FILE]: 'FILE',
  [F.FLAGS]: 'FLAGS',
  [F.OFFSET]: 'OFF',
  [F.LENGTH]: 'LEN',
  [F.SOME]: 'LEN',
  [F.IO]: 'LEN',
  [F.FADVICE]: 'ADVICE',
  [F.MADVICE]: 'ADVICE',
  [F.PROT]: 'PROT',
  [F.SHARING]: 'SHARING',
  [F.AT]: 'AT',
  [F.ACCESS]: 'r|w',
  [F.HANDLE_OR_NONE]: 'H',
  [F.PAGE_OFFSET]: 'OFF',
};

/** How a line of this operation is written: `pread,H,OFF,LEN`. */
export function usage(op: number): string {
  const name = OPS[op]!;
  const fields = shapes[name].map((kind) => (kind === F.AT ? '[,AT]' : `,${fieldNames[kind]}`));
  return `${name}${fields.join('')}`;
}
