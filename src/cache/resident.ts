/**
 * What is cached, without a promise and without the engine's longer ways: the folio is found, its state looked at, the access
 * noted as a read notes it, and the bytes are copied or shown. The same for a write that changes nothing but bytes.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioIndex, folioOrder } from '../mm/mm_types.ts';
import { PG, PG_readahead as READAHEAD } from '../mm/page_flags.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import type { CacheBytes } from './cache_bytes.ts';
import type { Core } from './core.ts';
import { View } from './view.ts';

const PG_readahead: number = READAHEAD;
const { PG_active, PG_dirty, PG_locked, PG_referenced, PG_uptodate, PG_writeback } = PG;
/** Nothing about such a folio changes when it is read once more. */
const SEEN = PG_active | PG_referenced;
const READY = PG_uptodate | PG_readahead;
/** Nothing about such a folio changes when it is written to once more. */
const WRITTEN = PG_uptodate | PG_dirty;
const AT_REST = WRITTEN | PG_locked | PG_writeback;
/** Up to here a loop is faster than a copy of the host. */
const SHORT_BYTES = 24;
/** From here on it is worth asking for the first bytes before the copy is set up. */
const LONG_BYTES = 1024;
const LINE = 64;

export class Resident {
  private readonly core: Core;
  private readonly m: Machine;
  private mapping: MappingId;
  private readonly file: FileId;
  private readonly bytes: CacheBytes;
  private readonly byFolio: boolean;
  private readonly shift: number;
  private readonly pagesPerByte: number;
  /** Of no use to anybody: what is loaded only to have it come is put here, or the compiler would leave the load out. */
  touched = 0;

  constructor(core: Core, mapping: MappingId, file: FileId) {
    const { m } = core;
    this.core = core;
    this.m = m;
    this.mapping = mapping;
    this.file = file;
    this.bytes = core.bytes;
    this.byFolio = m.release.markAccessedFirst === 'folio';
    this.shift = m.pageShift;
    this.pagesPerByte = m.pagesPerByte;
  }

  /** From now on nothing is found: row 0 is of no file. */
  close(): void {
    this.mapping = 0 as MappingId;
  }

  /**
   * Where bytes [at, end) of the file lie, if they lie in one folio that is uptodate and has nothing else to do; −1: go the
   * long way. The read is noted. @kernel mm/filemap.c filemap_read (6.18)
   */
  private place(at: number, end: number): number {
    const { m, mapping } = this;
    const { map } = m;
    // Also false for what is no number, or not a whole one.
    if (!(at >= 0 && end > at && end <= m.spaces.size[mapping]! && Math.floor(at) === at)) return -1;
    const index = (at * this.pagesPerByte) | 0;
    const folio = filemapGetFolio(m, mapping, index);
    if (folio === 0) return -1;
    const flags = folioFlags(map, folio);
    if ((flags & READY) !== PG_uptodate) return -1;
    // What a page offset leaves of `at` is small: whole numbers of 32 bits are enough from here.
    const inside = at - index * m.config.pageSize + ((index - folioIndex(map, folio)) << this.shift);
    if (inside + (end - at) > 1 << (this.shift + folioOrder(map, folio))) return -1;
    if ((flags & SEEN) !== SEEN) this.accessed(folio, index);
    m.files.prevPos[this.file] = end;
    return this.bytes.offsetOf(folio) + inside;
  }

  /** Notes an access, unless the last read ended in the same folio. */
  private accessed(folio: FolioId, index: number): void {
    const { m, byFolio } = this;
    const last = m.files.prevPos[this.file] as number;
    const order = byFolio ? folioOrder(m.map, folio) : 0;
    const lastPage = Math.floor((byFolio ? last - 1 : last) * m.pagesPerByte);
    if (lastPage >> order !== index >> order) folioMarkAccessed(m, folio);
  }

  /** Bytes copied into `into`; −1: go the long way. */
  read(into: Uint8Array, at: number): number {
    const n = into.length;
    const place = this.place(at, at + n);
    if (place < 0) return -1;
    const { bytes } = this;
    const { all } = bytes;
    if (n <= SHORT_BYTES) {
      for (let i = 0; i < n; i++) into[i] = all[place + i]!;
      return n;
    }
    // These come from memory while the view is made, and the processor fetches on from there.
    if (n >= LONG_BYTES)
      this.touched = all[place]! | all[place + LINE]! | all[place + 2 * LINE]! | all[place + 3 * LINE]!;
    into.set(bytes.span(place, n));
    return n;
  }

  /**
   * Bytes of `from` written at `at`, where they lie in one folio that is uptodate and dirty already; −1: go the long way. The
   * file may grow inside the folio. The caller has seen to the file's lock.
   */
  write(from: Uint8Array, at: number): number {
    const { m, mapping } = this;
    const { map, spaces } = m;
    const n = from.length;
    const size = spaces.size[mapping]!;
    if (!(at >= 0 && at <= size && n > 0 && Math.floor(at) === at)) return -1;
    const index = (at * this.pagesPerByte) | 0;
    const folio = filemapGetFolio(m, mapping, index);
    if (folio === 0 || (folioFlags(map, folio) & AT_REST) !== WRITTEN) return -1;
    const inside = at - index * m.config.pageSize + ((index - folioIndex(map, folio)) << this.shift);
    if (inside + n > 1 << (this.shift + folioOrder(map, folio))) return -1;
    this.core.fs.rewrite(m, mapping, folio, inside, from);
    if (at + n > size) spaces.size[mapping] = at + n;
    return n;
  }

  /** A view of bytes that lie in one folio; null: go the long way. */
  view(at: number, length: number): View | null {
    const place = this.place(at, at + length);
    if (place < 0) return null;
    const folio = filemapGetFolio(this.m, this.mapping, (at * this.pagesPerByte) | 0);
    return new View(this.core, folio, place, length, null);
  }
}
