/**
 * The rules of policy.ts on the engine, for files of costly sources: fetches what a read will miss before the engine looks,
 * and lets go of what was fetched in vain before reclaim has to choose.
 */
import { FMODE_RANDOM } from '../mm/address_space.ts';
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FileId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { folioClear, folioFlags, folioIndex, folioNextIndex, folioRefAdd, folioTest } from '../mm/mm_types.ts';
import { highWmarkPages } from '../mm/page_alloc_watermark.ts';
import { PG, PG_readahead } from '../mm/page_flags.ts';
import { pageCacheRaOrder } from '../mm/readahead.ts';
import { lruAddDrain } from '../mm/swap.ts';
import { mappingTryInvalidate } from '../mm/truncate.ts';
import { V } from '../mm/vmstat.ts';
import { COMING, MISSING, type Pages, type Plan, ReadPolicy, UNUSED, USED } from './policy.ts';

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
    const { m, mapping, policy } = this;
    const page = m.config.pageSize;
    const last = Math.ceil((m.spaces.size[mapping] as number) / page);
    const asked = Math.floor(at / page);
    const end = Math.min(Math.ceil((at + length) / page), last);
    const first = this.firstMissing(file, asked, end, last);
    if (first >= end) return;
    if (((m.files.fmode[file] as number) & FMODE_RANDOM) !== 0) {
      this.fetch(file, first, end, 0);
      return;
    }
    const sequential = (m.files.raPages[file] as number) > (m.spaces.raPages[mapping] as number);
    const full = this.room < this.frames / FULL_PART;
    this.carryOut(file, policy.miss(asked, first, end, last, this, full, sequential), first, end);
  }

  /** Fetches what is missing of bytes [at, at + length), at most `step` of them, and nothing else. */
  exactly(file: FileId, at: number, length: number): void {
    const page = this.m.config.pageSize;
    const from = Math.floor(at / page);
    const to = Math.ceil((at + length) / page);
    this.makeRoom(to - from);
    this.fetch(file, from, to, 0);
  }
  /** Bytes of a read that are looked at together: the rest when they have been copied. */
  get step(): number {
    return this.policy.largest * this.m.config.pageSize;
  }

  /** What was asked for, [first, end), and what goes with it. */
  private carryOut(file: FileId, { from, to, run, lead }: Plan, first: number, end: number): void {
    this.makeRoom(to - from);
    if (run) this.fetch(file, from, to, lead);
    else {
      this.fetch(file, from, first, 0);
      this.fetch(file, first, end, 0);
      this.fetch(file, end, to, 0);
    }
    if (to - from > end - first) this.list.push({ of: this, from, to, first, end });
  }

  /** Bytes [from, to) have not come after all: that nobody used what was to come with them says nothing. */
  forget(from: number, to: number): void {
    const page = this.m.config.pageSize;
    this.strike((entry) => entry.from * page < to && from < entry.to * page);
  }

  /** The file goes. */
  close(): void {
    this.strike(() => true);
  }

  private strike(out: (entry: Fetched) => boolean): void {
    const { list } = this;
    let kept = 0;
    for (const entry of list) if (entry.of !== this || !out(entry)) list[kept++] = entry;
    list.length = kept;
  }

  /** The first page of [first, end) that is not cached. A window whose lead begins before it brings the next one. */
  private firstMissing(file: FileId, first: number, end: number, last: number): number {
    const { m, mapping } = this;
    let page = first;
    while (page < end) {
      const folio = filemapGetFolio(m, mapping, page);
      if (folio === 0) break;
      page = folioNextIndex(m.map, folio);
      if (!folioTest(m.map, folio, PG_readahead)) continue;
      folioClear(m.map, folio, PG_readahead);
      const plan = this.policy.early(page - 1, last);
      if (plan === null) continue;
      // What is being read stays, whatever the next window takes.
      folioRefAdd(m.map, folio, 1);
      m.ahead = true;
      this.carryOut(file, plan, plan.from, plan.from);
      m.ahead = false;
      folioRefAdd(m.map, folio, -1);
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
      // Whoever asked for it may not have come to read it yet.
      if (page >= first && start < end) continue;
      if (state === UNUSED) mappingTryInvalidate(m, mapping, start, page);
      else if (state === USED) used = true;
    }
    this.policy.left(used);
  }

  /** Asks for what is missing of pages [from, to); where the last `lead` of them begin there is a mark. */
  private fetch(file: FileId, from: number, to: number, lead: number): void {
    if (from >= to) return;
    const { files } = this.m;
    files.start[file] = from;
    files.size[file] = to - from;
    files.asyncSize[file] = lead;
    files.order[file] = 0;
    pageCacheRaOrder(this.m, file, from);
  }
}
