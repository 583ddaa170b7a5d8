/**
 * A place in a file that moves without making anything: after `seek`, `bytes[offset]` is the byte at that place, and `length`
 * bytes from there on lie together. `bytes` is the memory of the whole cache: what lies outside of those bytes is none of the
 * reader's. Nothing is held: they are good until the next call of the cache that may wait or write, and until the next await.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioIndex, folioNextIndex } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import type { Core } from './core.ts';

const { PG_uptodate } = PG;

export class Cursor {
  /** The memory of the cache; the place of the last seek that found its byte, and the bytes from there on. */
  readonly bytes: Uint8Array;
  offset = 0;
  length = 0;
  private readonly core: Core;
  private readonly m: Machine;
  private readonly mapping: MappingId;
  private folio: FolioId = 0 as FolioId;
  private readonly isClosed: () => boolean;

  constructor(core: Core, mapping: MappingId, _file: FileId, isClosed: () => boolean) {
    this.core = core;
    this.m = core.m;
    this.mapping = mapping;
    this.bytes = core.bytes.all;
    this.isClosed = isClosed;
  }

  /** Goes to byte `at`. False: it is not cached (read it first), or not in the file. */
  seek(at: number): boolean {
    const { m, mapping } = this;
    const size = m.spaces.size[mapping] as number;
    if (!(at >= 0 && at < size) || this.isClosed()) return false;
    const folio = filemapGetFolio(m, mapping, Math.floor(at * m.pagesPerByte));
    if (folio === 0 || (folioFlags(m.map, folio) & PG_uptodate) === 0) return false;
    if (folio !== this.folio) {
      folioMarkAccessed(m, folio);
      this.folio = folio;
    }
    const page = m.config.pageSize;
    const inside = Math.floor(at) - folioIndex(m.map, folio) * page;
    this.offset = this.core.bytes.offsetOf(folio) + inside;
    this.length = Math.min(folioNextIndex(m.map, folio) * page, size) - at;
    return true;
  }
}
