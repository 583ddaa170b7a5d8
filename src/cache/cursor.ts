/**
 * A place in a file that moves without making anything: after `seek`, `bytes[offset]` is the byte at that place, and `length`
 * bytes from there on lie together. `bytes` is the memory of the whole cache: what lies outside of those bytes is none of the
 * reader's. Nothing is held: they are good until the next call of the cache that may wait or write, and until the next await.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FolioId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioIndex, folioOrder } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { folioMarkAccessed } from '../mm/swap.ts';
import type { CacheBytes } from './cache_bytes.ts';
import type { Core } from './core.ts';

const { PG_active, PG_referenced, PG_uptodate } = PG;
/** Nothing about such a folio changes when it is looked at once more. */
const SEEN = PG_active | PG_referenced;

export class Cursor {
  /** The memory of the cache; the place of the last seek that found its byte, and the bytes from there on. */
  readonly bytes: Uint8Array;
  offset = 0;
  length = 0;
  private readonly cache: CacheBytes;
  private readonly m: Machine;
  private readonly mapping: MappingId;
  private folio: FolioId = 0 as FolioId;
  private readonly open: { readonly closed: boolean };
  private readonly shift: number;
  private readonly pagesPerByte: number;

  constructor(core: Core, mapping: MappingId, open: { readonly closed: boolean }) {
    this.m = core.m;
    this.mapping = mapping;
    this.cache = core.bytes;
    this.bytes = core.bytes.all;
    this.open = open;
    this.shift = core.m.pageShift;
    this.pagesPerByte = core.m.pagesPerByte;
  }

  /** Goes to byte `at`. False: it is not cached (read it first), or not in the file. */
  seek(at: number): boolean {
    const { m, mapping, shift } = this;
    const { map } = m;
    const left = m.spaces.size[mapping]! - at;
    if (!(at >= 0 && left > 0) || this.open.closed || Math.floor(at) !== at) return false;
    const index = (at * this.pagesPerByte) | 0;
    const folio = filemapGetFolio(m, mapping, index);
    if (folio === 0) return false;
    const flags = folioFlags(map, folio);
    if ((flags & PG_uptodate) === 0) return false;
    if ((flags & SEEN) !== SEEN && folio !== this.folio) folioMarkAccessed(m, folio);
    this.folio = folio;
    const inside = at - index * m.config.pageSize + ((index - folioIndex(map, folio)) << shift);
    this.offset = this.cache.offsetOf(folio) + inside;
    const rest = (1 << (shift + folioOrder(map, folio))) - inside;
    this.length = rest < left ? rest : left;
    return true;
  }
}
