/**
 * Traces of memory accesses: one table for all of them, as `event.ts` is for recordings of system calls. A batch is columns
 * and is reused: it is valid until the next call of `next()`. Traces that also know what happened to the address space
 * (a recording of faults, docs/recording.md) end a batch where something did, and say it in `event`.
 */
import { InputError } from '../base/errors.ts';
import { allocate, extend, f64, type Table, u8, u16 } from '../base/table.ts';

export const LOAD = 0;
export const STORE = 1;
export const MODIFY = 2;
export const FETCH = 3;
export const KINDS = ['load', 'store', 'modify', 'fetch'] as const;

export const accessLayout = {
  address: f64('byte address, below ADDRESS_END'),
  size: u16('bytes, at least 1'),
  kind: u8('LOAD, STORE, MODIFY (load, then store) or FETCH'),
} as const;
/** A batch: columns, the rows in use, and what follows them. */
export type Accesses = Table<typeof accessLayout> & { count: number; event: SpaceEvent | null };
export const accesses = (rows: number): Accesses => extend(allocate(accessLayout, rows), { count: 0, event: null });

/** Rows of a batch: small enough to stay in the processor's caches. */
export const ACCESS_ROWS = 8192;

/** Addresses stay exact to here; user space of five levels is held to it. */
export const ADDRESS_END: number = 2 ** 52;

/**
 * What happened to the address space of the process that is running. Addresses and lengths in bytes.
 *
 *   process  the accesses that follow are made by this process; the first mention makes it, with nothing mapped
 *   map      anonymous memory or a file (`file`); what lay there is gone
 *   move     mremap: `length` bytes at `address` are `newLength` bytes at `to` now
 *   fork     `pid` is a copy of the process that is running
 *   exec     everything is unmapped
 *   begin    the program that was started runs from here on: its faults are counted
 *   exit     the process is gone; `peak` and `rss` are what the live kernel said of it, -1 where unknown
 *   counts   what the live kernel counts of this process's file and shared memory now (rss_stat)
 */
export type SpaceEvent =
  | { readonly op: 'process'; readonly pid: number }
  | {
      readonly op: 'map';
      readonly address: number;
      readonly length: number;
      /** PROT_* bits and SHARED of event.ts, and GROWSDOWN. */
      readonly prot: number;
      /** Name of the file, '' for anonymous memory. */
      readonly file: string;
    }
  | { readonly op: 'unmap'; readonly address: number; readonly length: number }
  | { readonly op: 'protect'; readonly address: number; readonly length: number; readonly prot: number }
  | {
      readonly op: 'advise';
      readonly address: number;
      readonly length: number;
      /** Index in MADVICE. */ readonly advice: number;
    }
  | {
      readonly op: 'move';
      readonly address: number;
      readonly length: number;
      readonly to: number;
      readonly newLength: number;
    }
  | { readonly op: 'fork'; readonly pid: number }
  | { readonly op: 'exec' }
  | { readonly op: 'begin' }
  | {
      readonly op: 'exit';
      readonly faults: number;
      readonly majorFaults: number;
      readonly rss: number;
      readonly peak: number;
    }
  | { readonly op: 'counts'; readonly file: number; readonly shmem: number };

/** The stack: it grows towards lower addresses. Beside PROT_* and SHARED in `prot`. */
export const GROWSDOWN = 16;

/** A stretch of pages that a trace touches, and what touched it: bit 0 loads, bit 1 stores, bit 2 fetches. */
export interface Region {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly touched: number;
}

/** A trace being read. */
export interface AccessSource {
  /** The trace's file name, without folders. */
  readonly name: string;
  /** Accesses in all, where the file says so; -1: reading tells. */
  readonly total: number;
  /** The address space is told (SpaceEvent), not to be guessed from what is touched. */
  readonly told: boolean;
  /** What is touched, where the file says so. */
  readonly regions: readonly Region[] | null;
  /** What the reader could not use, by name, with how often. Complete when `next()` has returned null. */
  readonly skipped: Readonly<Record<string, number>>;
  /** The next batch, or null at the end. Throws InputError. */
  next(): Accesses | null;
  /** Frees what the reader holds. */
  close(): void;
}

/** An address that no program can have: what the message says of it. Kernel addresses are canonical, and not the program's. */
export const beyond = (hex: string): string => `address 0x${hex}, expected one below 2^52 or of the kernel`;

/** Adds one to what a reader could not use. */
export function count(skipped: Record<string, number>, what: string): void {
  skipped[what] = (skipped[what] ?? 0) + 1;
}

/** Of a trace with nothing in it. */
export const nothingIn = (path: string, expected: string): InputError =>
  new InputError(path, 0, `no memory access in it, expected ${expected}`);
