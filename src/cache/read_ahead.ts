/**
 * The rules of policy.ts on the engine, for files of costly sources: fetches what a read will miss before the engine looks,
 * and lets go of what was fetched in vain before reclaim has to choose.
 */
import { FMODE_RANDOM } from '../mm/address_space.ts';
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FileId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioFlags, folioIndex, folioNextIndex } from '../mm/mm_types.ts';
import { highWmarkPages } from '../mm/page_alloc_watermark.ts';
import { PG } from '../mm/page_flags.ts';
import { pageCacheRaOrder } from '../mm/readahead.ts';
import { lruAddDrain } from '../mm/swap.ts';
import { mappingTryInvalidate } from '../mm/truncate.ts';
import { V } from '../mm/vmstat.ts';
import { COMING, MISSING, type Pages, ReadPolicy, UNUSED, USED } from './policy.ts';

/** Memory counts as full when less than this part of it is free. */
const FULL_PART = 8;

const { PG_locked, PG_referenced, PG_active, PG_uptodate } = PG;

/** Pages [from, to) that were fetched though only [first, end) was asked for. */
interface Fetched {
  readonly of: ReadAhead;
  readonly from: number;
  readonly to: number;
  readonly first: number;
  readonly end: number;
}

/** What a cache has fetched unasked, oldest first. */
export type FetchedList = Fetched[];

export class ReadAhead implements Pages {
  private readonly m: Machine;
  private readonly mapping: MappingId;
  private readonly policy: ReadPolicy;
  private readonly list: FetchedList;
  private readonly group: number;
  /** Pages that the file may have cached. */
  private readonly frames: number;
  /** Pages that the engine keeps free. */
  private readonly reserve: number;

  /** `worth`: bytes that pass while a request is on its way. `group`: whose limit holds for the file. */
  constructor(m: Machine, mapping: MappingId, group: number, worth: number, list: FetchedList) {
    this.m = m;
    this.mapping = mapping;
    this.group = group;
    this.list = list;
    let reserve = 0;
    for (let z = 0; z < m.zones.zone.rows; z++) reserve += highWmarkPages(m.zones, z);
    this.reserve = reserve;
    this.frames = Math.min(m.config.memory / m.config.pageSize, this.limit);
    this.policy = new ReadPolicy(worth / m.config.pageSize, this.frames);
  }

  state(page: number): number {
    const folio = filemapGetFolio(this.m, this.mapping, page);
    if (folio === 0) return MISSING;
    const flags = folioFlags(this.m.map, folio);
    if ((flags & (PG_referenced | PG_active)) !== 0) return USED;
    return (flags & PG_locked) !== 0 && (flags & PG_uptodate) === 0 ? COMING : UNUSED;
  }

  /** A read of bytes [at, at + length) is about to look. */
  before(file: FileId, at: number, length: number): void {
    const { m, mapping } = this;
    const page = m.config.pageSize;
    const last = Math.ceil((m.spaces.size[mapping] as number) / page);
    const end = Math.min(Math.ceil((at + length) / page), last);
    const first = this.firstMissing(Math.floor(at / page), end);
    if (first >= end) return;
    if (((m.files.fmode[file] as number) & FMODE_RANDOM) !== 0) {
      this.fetch(file, first, end);
      return;
    }
    const sequential = (m.files.raPages[file] as number) > (m.spaces.raPages[mapping] as number);
    const full = this.room < this.frames / FULL_PART;
    const { from, to, run } = this.policy.miss(first, end, last, this, full, sequential);
    this.makeRoom(to - from);
    if (run) this.fetch(file, from, to);
    else {
      this.fetch(file, from, first);
      this.fetch(file, first, end);
      this.fetch(file, end, to);
    }
    if (to - from > end - first) this.list.push({ of: this, from, to, first, end });
  }

  /** The file goes. */
  close(): void {
    const { list } = this;
    let kept = 0;
    for (const entry of list) if (entry.of !== this) list[kept++] = entry;
    list.length = kept;
  }

  private firstMissing(first: number, end: number): number {
    const { m, mapping } = this;
    let page = first;
    while (page < end) {
      const folio = filemapGetFolio(m, mapping, page);
      if (folio === 0) break;
      page = folioNextIndex(m.map, folio);
    }
    return page;
  }

  /** Pages that the group may have; the first group is everybody, without a limit. */
  private get limit(): number {
    return this.group === 0 ? Number.POSITIVE_INFINITY : (this.m.memcgs.max[this.group] as number);
  }

  private get room(): number {
    const { m, group } = this;
    const free = (m.vmstat[V.nr_free_pages] as number) - this.reserve;
    return Math.min(free, this.limit - (m.memcgs.usage[group] as number));
  }

  /** Lets go of what was fetched unasked and not used, oldest first, until there is room for `pages`. */
  private makeRoom(pages: number): void {
    if (this.room >= pages) return;
    lruAddDrain(this.m);
    const { list } = this;
    for (let i = 0; i < list.length && this.room < pages; ) {
      const entry = list[i] as Fetched;
      if (entry.of.policy.keeps(entry.from, entry.to, this.frames)) i++;
      else {
        list.splice(i, 1);
        entry.of.letGo(entry);
      }
    }
  }

  private letGo({ from, to, first, end }: Fetched): void {
    const { m, mapping } = this;
    let used = false;
    for (let page = from; page < to; page++) {
      const folio = filemapGetFolio(m, mapping, page);
      if (folio === 0) continue;
      const state = this.state(page);
      const start = folioIndex(m.map, folio);
      page = folioNextIndex(m.map, folio) - 1;
      if (state === UNUSED) mappingTryInvalidate(m, mapping, start, page);
      else if (state === USED && (page < first || start >= end)) used = true;
    }
    this.policy.left(used);
  }

  /** Asks for what is missing of pages [from, to), in folios as large as fit. */
  private fetch(file: FileId, from: number, to: number): void {
    if (from >= to) return;
    const { files } = this.m;
    files.start[file] = from;
    files.size[file] = to - from;
    files.asyncSize[file] = 0;
    files.order[file] = 0;
    pageCacheRaOrder(this.m, file, from);
  }
}
