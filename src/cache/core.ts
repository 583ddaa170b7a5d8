/**
 * The engine with bytes and somebody who waits. A call of the engine that would sleep names a folio; here a promise waits
 * for it, and is woken when a request that covers the folio has ended. Requests of the engine are collected by file
 * (requests.ts) and carried out when the call has returned: in the next microtask, or at once for a caller that cannot wait.
 */
import { assert } from '../base/errors.ts';
import { xaDropShadowNode, xaReserve } from '../base/xarray_node.ts';
import { filemapGetFolio } from '../mm/filemap.ts';
import { GFP_KERNEL } from '../mm/gfp.ts';
import type { FileId, FolioId, MappingId } from '../mm/ids.ts';
import type { Io, Machine } from '../mm/machine.ts';
import { EXACT_RULES, memcgCreate } from '../mm/memcontrol.ts';
import { inodeInit, machine, openFile } from '../mm/mm_init.ts';
import { folioIndex, folioNextIndex, folioRefAdd, folioTest } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { backgroundThresh, wakeupFlusherThreads, wbCheckOldDataFlush } from '../mm/page_writeback.ts';
import { release } from '../mm/release.ts';
import { folioPut, lruAddDrain } from '../mm/swap.ts';
import { mappingTryInvalidate } from '../mm/truncate.ts';
import { tryToFreePages } from '../mm/vmscan.ts';
import { V } from '../mm/vmstat.ts';
import { aborted } from './abort.ts';
import type { Budget } from './budget.ts';
import { type BufferMaker, CacheBytes } from './cache_bytes.ts';
import { CacheFs } from './cache_fs.ts';
import { CacheError } from './errors.ts';
import type { Inode } from './inode.ts';
import type { FetchedList } from './read_ahead.ts';
import type { RetryRules } from './retry.ts';

/** Why a request ended without success. */
export interface Failure {
  readonly error: CacheError;
  /** The request was for one folio that somebody waited for: there is no smaller one to try. */
  readonly alone: boolean;
}
type Wake = (failure: Failure | null) => void;

/** How often the flusher looks for old dirty data. @kernel mm/page-writeback.c dirty_writeback_interval (6.18) */
const DIRTY_WRITEBACK_MS = 5000;
const ORDER_MAX = 8;
const NS_PER_MS = 1e6;

export interface CoreConfig {
  readonly budget: Budget;
  readonly buffer: BufferMaker;
  readonly kernel: string;
  readonly dirtyRatio: number;
  readonly dirtyBackgroundRatio: number;
  readonly retry: RetryRules;
}

/** What the whole cache has counted beside the engine. */
export interface RequestCounts {
  reads: number;
  readBytes: number;
  writes: number;
  writtenBytes: number;
  /** Requests made once more after a failure, requests that failed for good, requests of the engine joined to another. */
  retries: number;
  failures: number;
  joined: number;
  /** Reads that were not sent, or given up, because nobody waited for them any more. */
  cancelled: number;
}

export class Core implements Io {
  readonly m: Machine;
  readonly fs: CacheFs;
  readonly bytes: CacheBytes;
  readonly budget: Budget;
  readonly retry: RetryRules;
  readonly counts: RequestCounts = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    retries: 0,
    failures: 0,
    joined: 0,
    cancelled: 0,
  };
  /** Files by mapping. */
  readonly inodes: (Inode | undefined)[] = [];
  /** What files of costly sources have fetched unasked. */
  readonly fetched: FetchedList = [];
  closed = false;
  /** Largest order that a file of this cache may have. */
  readonly maxOrder: number;

  private readonly freeMappings: MappingId[] = [];
  private readonly freeFiles: FileId[] = [];
  private readonly freeGroups: number[] = [];
  private readonly waiting = new Map<number, Wake[]>();
  private anyone: (() => void)[] = [];
  /** Files with requests that nobody has carried out yet. */
  private readonly asked: Inode[] = [];
  /** A caller that cannot wait: the folio that it waits for all the same, and what became of it. */
  private watched = 0;
  private seen: Failure | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(config: CoreConfig) {
    const { budget } = config;
    this.budget = budget;
    this.retry = config.retry;
    try {
      this.bytes = new CacheBytes(budget.frames, budget.pageSize, config.buffer);
    } catch (cause) {
      if (cause instanceof CacheError) throw cause;
      throw new CacheError('BUDGET', `memory ${budget.bytes}: this host has no buffer of that size`, { cause });
    }
    this.m = machine({
      release: release(config.kernel),
      pageSize: budget.pageSize,
      memory: budget.frames * budget.pageSize,
      // Without the daemon of huge pages twenty times less memory is kept free.
      thp: false,
      swappiness: 60,
      dirtyRatio: config.dirtyRatio,
      dirtyBackgroundRatio: config.dirtyBackgroundRatio,
      memcgRules: EXACT_RULES,
    });
    xaReserve(this.m.pages, budget.nodes);
    this.fs = new CacheFs(this.bytes);
    this.m.io = this;
    this.bytes.attach(this.m);
    this.maxOrder = Math.min(ORDER_MAX, Math.max(0, Math.floor(Math.log2(budget.frames / 64))));
  }

  // Files of the machine.

  newMapping(size: number, raPages: number): MappingId {
    const { m } = this;
    const inode = {
      ops: this.fs,
      size,
      minOrder: 0,
      maxOrder: this.maxOrder,
      blkbits: m.pageShift,
      raPages,
      ioPages: raPages,
    };
    const used = this.freeMappings.pop();
    if (used === undefined) return inodeInit(m, inode);
    // A row of a file that is gone: inodeInit takes the next row, so that is put in its place for the time being.
    const top = m.nrSpaces;
    m.nrSpaces = used;
    inodeInit(m, inode);
    m.nrSpaces = top;
    m.spaces.writebackIndex[used] = 0;
    m.spaces.dirtiedWhen[used] = 0;
    return used;
  }

  /** Nothing of the file is cached any more. */
  dropMapping(mapping: MappingId): void {
    this.inodes[mapping] = undefined;
    this.freeMappings.push(mapping);
  }

  newFile(mapping: MappingId): FileId {
    return openFile(this.m, mapping, this.freeFiles.pop() ?? 0);
  }
  dropFile(file: FileId): void {
    this.freeFiles.push(file);
  }

  /** A group of so many pages; its number. */
  newGroup(pages: number): number {
    const { memcgs } = this.m;
    // A row whose folios are all gone: a view may outlive the group of its file.
    const i = this.freeGroups.findIndex((group) => memcgs.usage[group] === 0);
    if (i < 0) return memcgCreate(this.m, pages);
    const used = this.freeGroups.splice(i, 1)[0] as number;
    memcgs.max[used] = pages;
    return used;
  }

  /** No file belongs to the group any more. What it has counted stays: what reclaim compares it with does so, too. */
  dropGroup(group: number): void {
    lruAddDrain(this.m);
    this.freeGroups.push(group);
  }

  // Requests of the engine.

  read(mapping: MappingId, offset: number, length: number, ahead: boolean): void {
    this.ask(mapping).read(offset, offset + length, ahead);
  }

  write(mapping: MappingId, offset: number, length: number): void {
    this.ask(mapping).write(offset, offset + length);
  }

  private ask(mapping: MappingId): Inode['requests'] {
    const inode = this.inodes[mapping] as Inode;
    if (!inode.asked) {
      inode.asked = true;
      this.asked.push(inode);
    }
    return inode.requests;
  }

  /** To be called after each call of the engine: what it asked for is carried out, at once where the source can. */
  kick(): void {
    while (this.asked.length > 0) {
      const inode = this.asked.pop() as Inode;
      inode.asked = false;
      inode.requests.start();
    }
    if (this.timer === null && !this.closed && (this.m.vmstat[V.nr_dirty] as number) > 0) this.startFlusher();
  }

  /** Somebody wants to know which folios a request was for when it ends. */
  get listened(): boolean {
    return this.waiting.size > 0 || this.watched !== 0;
  }

  /** A request has ended: everybody who waits for one of its folios looks again. */
  ended(folios: readonly number[], failure: Failure | null): void {
    for (const folio of folios) {
      if (folio === this.watched && failure !== null) this.seen = failure;
      const list = this.waiting.get(folio);
      if (list === undefined) continue;
      this.waiting.delete(folio);
      for (const wake of list) wake(failure);
    }
    if (this.anyone.length > 0) {
      const all = this.anyone;
      this.anyone = [];
      for (const wake of all) wake();
    }
  }

  /** The folios that lie in bytes [from, to) of a file. */
  foliosIn(mapping: MappingId, from: number, to: number): number[] {
    const page = this.m.config.pageSize;
    const found: number[] = [];
    for (let i = Math.floor(from / page); i * page < to; ) {
      const folio = filemapGetFolio(this.m, mapping, i);
      if (folio !== 0) found.push(folio);
      i = folio === 0 ? i + 1 : folioNextIndex(this.m.map, folio);
    }
    return found;
  }

  /**
   * Waits until a request that covers the folio has ended. The folio is held until the caller has gone on, so that of many
   * who wait in little memory each gets what was fetched for it before the others' needs take it away.
   */
  waitFor(folio: FolioId, signal: AbortSignal | undefined): Promise<Failure | null> {
    const { m } = this;
    if (signal?.aborted) return Promise.reject(aborted(signal));
    folioRefAdd(m.map, folio, 1);
    return new Promise((resolve, reject) => {
      let list = this.waiting.get(folio);
      if (list === undefined) {
        list = [];
        this.waiting.set(folio, list);
      }
      const wake = (failure: Failure | null): void => {
        signal?.removeEventListener('abort', leave);
        resolve(failure);
        // The caller's turn has been queued by now and comes first.
        queueMicrotask(() => folioPut(m, folio));
      };
      const leave = (): void => {
        folioPut(m, folio);
        const left = this.waiting.get(folio)?.filter((other) => other !== wake) ?? [];
        if (left.length > 0) this.waiting.set(folio, left);
        else this.waiting.delete(folio);
        reject(aborted(signal as AbortSignal));
      };
      list.push(wake);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  /** kick(), for a caller who waits for the folio: why the request for it failed, if it has ended by now and did. */
  kickFor(folio: FolioId): Failure | null {
    this.watched = folio;
    this.seen = null;
    this.kick();
    this.watched = 0;
    return this.seen;
  }

  /** The same for a caller that cannot wait: what the file's source can do at once is done. */
  kickNow(folio: FolioId, inode: Inode): Failure | null {
    this.watched = folio;
    this.seen = null;
    inode.requests.runNow();
    this.kick();
    this.watched = 0;
    return this.seen;
  }

  /** Calls that wait. */
  get waiters(): number {
    let n = this.anyone.length;
    for (const list of this.waiting.values()) n += list.length;
    return n;
  }

  /** Is the folio free to be looked at again? */
  isFree(folio: FolioId): boolean {
    return !folioTest(this.m.map, folio, PG.PG_locked | PG.PG_writeback);
  }

  /** Drops what is cached of bytes [from, to), as far as it is clean and nobody has hold of it. */
  forget(mapping: MappingId, from: number, to: number): void {
    const { m } = this;
    const page = m.config.pageSize;
    lruAddDrain(m);
    mappingTryInvalidate(m, mapping, Math.floor(from / page), Math.ceil(to / page) - 1);
  }

  /** Appends the bytes [from, to) of a file's cached folios; those that lie side by side become one piece. */
  buffers(mapping: MappingId, from: number, to: number, pieces: Uint8Array[]): void {
    const page = this.m.config.pageSize;
    // The run that is being put together.
    let start = 0;
    let end = 0;
    for (let at = from; at < to; ) {
      const folio = filemapGetFolio(this.m, mapping, Math.floor(at / page));
      assert(folio !== 0, 'what a request is for is cached until it ends');
      const first = folioIndex(this.m.map, folio) * page;
      const stop = Math.min(to, folioNextIndex(this.m.map, folio) * page);
      const place = this.bytes.offsetOf(folio) + at - first;
      if (place !== end) {
        if (end > start) pieces.push(this.bytes.span(start, end - start));
        start = place;
      }
      end = place + stop - at;
      at = stop;
    }
    if (end > start) pieces.push(this.bytes.span(start, end - start));
  }

  /** Zeroes bytes [from, to) of a file's cached folios. */
  zero(mapping: MappingId, from: number, to: number): void {
    if (from >= to) return;
    const pieces: Uint8Array[] = [];
    this.buffers(mapping, from, to, pieces);
    for (const piece of pieces) piece.fill(0);
  }

  /** Zeroes the folio that holds byte `from` − 1, from there to its end. */
  zeroRest(mapping: MappingId, from: number): void {
    const page = this.m.config.pageSize;
    const folio = filemapGetFolio(this.m, mapping, Math.floor((from - 1) / page));
    if (folio !== 0) this.zero(mapping, from, folioNextIndex(this.m.map, folio) * page);
  }

  /** Waits until some request has ended. */
  waitForAny(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return Promise.reject(aborted(signal));
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.anyone = this.anyone.filter((other) => other !== wake);
        reject(aborted(signal as AbortSignal));
      };
      this.anyone.push(wake);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  /** Is anything under way that can end? */
  get busy(): boolean {
    return this.inodes.some((inode) => inode?.requests.busy);
  }

  /** Are reads under way, which hold memory until somebody has had their bytes? */
  get reading(): boolean {
    return this.inodes.some((inode) => inode !== undefined && inode.requests.reading > 0);
  }

  // Memory.

  /** The engine found no memory. False: nothing that is under way or dirty can make room. */
  makeRoom(): boolean {
    if (this.busy) return true;
    wakeupFlusherThreads(this.m);
    this.kick();
    return this.busy;
  }

  /** The same for a caller that cannot wait. */
  makeRoomNow(): boolean {
    wakeupFlusherThreads(this.m);
    for (const inode of this.inodes) inode?.requests.runNow();
    this.kick();
    return true;
  }

  /** Starts write-back of everything that is dirty. */
  flushDirty(): void {
    wakeupFlusherThreads(this.m);
    this.kick();
  }

  noRoom(name: string): CacheError {
    return new CacheError('BUDGET', `${name}: everything in the budget is pinned or cannot be written`, {
      source: name,
    });
  }

  /** Before a call that can add to the index: it must not outgrow its share of the budget. */
  roomForNodes(): void {
    const { pages } = this.m;
    if (pages.used + this.budget.nodesMargin <= this.budget.nodes) return;
    this.freeNodes();
  }

  private freeNodes(): void {
    const { m } = this;
    const { pages } = m;
    const enough = (): boolean => pages.used + this.budget.nodesMargin <= this.budget.nodes;
    for (let tag = 0; tag < pages.tags.rows && !enough(); tag++)
      while (!enough() && xaDropShadowNode(pages, m.spaces.head, tag));
    while (!enough() && tryToFreePages(m, GFP_KERNEL, 0) > 0)
      for (let tag = 0; tag < pages.tags.rows; tag++) while (xaDropShadowNode(pages, m.spaces.head, tag));
  }

  /** Dirty pages and pages on their way to a source beyond which a writer waits. @kernel mm/page-writeback.c balance_dirty_pages (6.18) */
  get overDirtyLimit(): boolean {
    const { vmstat, config } = this.m;
    const dirty = (vmstat[V.nr_dirty] as number) + (vmstat[V.nr_writeback] as number);
    return dirty > (backgroundThresh(this.m) * config.dirtyRatio) / config.dirtyBackgroundRatio;
  }

  /** Before a call of the engine on behalf of a file. */
  enter(inode: Inode): void {
    const { m } = this;
    m.now = performance.now() * NS_PER_MS;
    m.currentMemcg = inode.group;
    this.roomForNodes();
  }

  private startFlusher(): void {
    this.timer = setTimeout(() => {
      this.timer = null;
      this.m.now = performance.now() * NS_PER_MS;
      wbCheckOldDataFlush(this.m);
      this.kick();
    }, DIRTY_WRITEBACK_MS);
    // Node: a timer alone keeps no process alive.
    (this.timer as { unref?: () => void }).unref?.();
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
