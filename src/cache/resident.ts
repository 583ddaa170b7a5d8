/**
 * What is cached, without a promise and without the engine's longer ways: the folio is found, its state looked at, the access
 * noted as a read notes it, and the bytes are copied or shown.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioIndex, folioNextIndex, folioOrder } from '../mm/mm_types.ts';
import { PG, PG_readahead as READAHEAD } from '../mm/page_flags.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import type { Core } from './core.ts';
import { View } from './view.ts';

const PG_readahead: number = READAHEAD;
const { PG_uptodate } = PG;

export class Resident {
  private readonly core: Core;
  private readonly m: Machine;
  private readonly mapping: MappingId;
  private readonly file: FileId;
  private readonly buffer: ArrayBuffer;
  private readonly byFolio: boolean;

  constructor(core: Core, mapping: MappingId, file: FileId) {
    this.core = core;
    this.m = core.m;
    this.mapping = mapping;
    this.file = file;
    this.buffer = core.bytes.all.buffer;
    this.byFolio = core.m.release.markAccessedFirst === 'folio';
  }

  /** The folio that holds all of [at, end), uptodate and with nothing else to do; 0: go the long way. */
  private folioOf(at: number, end: number): FolioId {
    const { m, mapping } = this;
    if (!(at >= 0 && end <= (m.spaces.size[mapping] as number)) || at === end) return 0 as FolioId;
    const index = Math.floor(at * m.pagesPerByte);
    const folio = filemapGetFolio(m, mapping, index);
    if (folio === 0 || (folioFlags(m.map, folio) & (PG_uptodate | PG_readahead)) !== PG_uptodate) return 0 as FolioId;
    return end > folioNextIndex(m.map, folio) * m.config.pageSize ? (0 as FolioId) : folio;
  }

  /** Notes a read of [at, end) in the folio. @kernel mm/filemap.c filemap_read (6.18) */
  private accessed(folio: FolioId, at: number, end: number): void {
    const { m, file } = this;
    const { prevPos } = m.files;
    const last = prevPos[file] as number;
    const index = Math.floor(at * m.pagesPerByte);
    const order = this.byFolio ? folioOrder(m.map, folio) : 0;
    const lastPage = Math.floor((this.byFolio ? last - 1 : last) * m.pagesPerByte);
    if (lastPage >> order !== index >> order) folioMarkAccessed(m, folio);
    prevPos[file] = end;
  }

  /** Bytes copied into `into`; −1: go the long way. */
  read(into: Uint8Array, at: number): number {
    const n = into.length;
    const folio = this.folioOf(at, at + n);
    if (folio === 0 || Math.floor(at) !== at) return -1;
    this.accessed(folio, at, at + n);
    const place = this.core.bytes.offsetOf(folio) + at - folioIndex(this.m.map, folio) * this.m.config.pageSize;
    into.set(new Uint8Array(this.buffer, place, n));
    return n;
  }

  /** A view of bytes that lie in one folio; null: go the long way. */
  view(at: number, length: number): View | null {
    const folio = this.folioOf(at, at + length);
    if (folio === 0) return null;
    this.accessed(folio, at, at + length);
    const place = this.core.bytes.offsetOf(folio) + at - folioIndex(this.m.map, folio) * this.m.config.pageSize;
    return new View(this.core, folio, place, length, null);
  }
}
