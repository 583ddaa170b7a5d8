/** The cache: a budget of memory, files opened from sources, groups with a part of the budget. */

import { PGOFF_MAX } from '../mm/ids.ts';
import { releases } from '../mm/release.ts';
import type { Snapshot } from '../view/snapshot.ts';
import { orAborted, throwIfAborted } from './abort.ts';
import { budgetOf } from './budget.ts';
import type { BufferMaker } from './cache_bytes.ts';
import { Core } from './core.ts';
import { CacheError } from './errors.ts';
import { CachedFile } from './file.ts';
import { CacheGroup } from './group.ts';
import type { Waiting } from './handle.ts';
import { Inode } from './inode.ts';
import { Opening, sizeOf } from './opening.ts';
import { type RetryRules, wrapped } from './retry.ts';
import { snapshotOf } from './snapshot.ts';
import type { Source } from './source.ts';
import { type CacheStats, statsOf } from './stats.ts';

export interface CacheOptions {
  /** The hard budget, bytes or '256MiB': cached bytes and all that is kept about them. */
  readonly memory: string | number;
  /** 4096 (default), 8192, 16384 or 65536. */
  readonly pageSize?: 4096 | 8192 | 16384 | 65536;
  /** The kernel whose rules hold: '6.18' (default), '6.12' … */
  readonly kernel?: string;
  /** Percent of the memory that may be dirty before writers wait, and before write-back starts: 20 and 10. */
  readonly dirtyRatio?: number;
  readonly dirtyBackgroundRatio?: number;
  /** Where the memory of the pages comes from: a new ArrayBuffer, or `await hugePages()` of quire-mm/cache/node. */
  readonly buffer?: BufferMaker;
  /** What happens after a request that failed for a reason that may pass: 4 times more, the first after 100 ms. */
  readonly retry?: Partial<RetryRules>;
}

export interface OpenOptions extends Waiting {
  /** The group whose limit holds for the file. */
  readonly group?: CacheGroup;
}

export class PageCache {
  private readonly core: Core;
  private readonly files = new Set<CachedFile>();
  private readonly groups: CacheGroup[] = [];
  private readonly opening = new Map<Source, Opening>();
  private readonly opened = new Map<Source, Inode>();

  constructor(o: CacheOptions) {
    const kernel = o.kernel ?? '6.18';
    if (!Object.hasOwn(releases, kernel))
      throw new CacheError('NO_BUDGET', `kernel '${kernel}': expected one of ${Object.keys(releases).join(', ')}`);
    const dirtyRatio = percent('dirtyRatio', o.dirtyRatio ?? 20);
    this.core = new Core({
      budget: budgetOf(o.memory, o.pageSize ?? 4096),
      buffer: o.buffer ?? ((bytes) => new Uint8Array(new ArrayBuffer(bytes))),
      kernel,
      dirtyRatio,
      dirtyBackgroundRatio: percent('dirtyBackgroundRatio', o.dirtyBackgroundRatio ?? dirtyRatio / 2),
      retry: { times: o.retry?.times ?? 4, delayMs: o.retry?.delayMs ?? 100 },
    });
  }

  /** Opens a source. One that is open already is shared: same bytes, and a readahead of its own. */
  async open(source: Source, o: OpenOptions = {}): Promise<CachedFile> {
    for (;;) {
      this.check(o);
      throwIfAborted(o.signal);
      const open = this.opened.get(source);
      if (open !== undefined) return this.fileOf(source, open);
      let opening = this.opening.get(source);
      if (opening?.left) {
        // Nobody waits for that one any more; it ends, then the source can be opened anew.
        await orAborted(opening.over, o.signal);
        continue;
      }
      if (opening === undefined) {
        opening = new Opening(this.core, source);
        this.opening.set(source, opening);
        void opening.over.then(() => this.opening.delete(source));
      }
      const file = await opening.wait(o.signal, (size) => {
        this.check(o);
        const inode = this.opened.get(source) ?? this.newInode(source, size, o, false);
        this.opening.delete(source);
        return this.fileOf(source, inode);
      });
      await this.takeOpened(source);
      return file;
    }
  }

  /** What came with the opening goes into the cache, where the budget holds for it; whole pages, else a request would follow. */
  private async takeOpened(source: Source): Promise<void> {
    const inode = this.opened.get(source);
    const { opened } = source;
    if (inode === undefined || inode.ahead === null || opened === undefined || opened === null) return;
    const { pageSize } = this.core.budget;
    const end = opened.at + opened.length;
    const from = Math.ceil(opened.at / pageSize) * pageSize;
    const to = end >= inode.size ? inode.size : Math.floor(end / pageSize) * pageSize;
    if (from >= to) return;
    // An open of its own: the reader's readahead knows nothing of it.
    const scout = this.fileOf(source, inode);
    try {
      await scout.prefetch(from, to - from);
    } catch {
      // Who reads will be told.
    } finally {
      await scout.close();
    }
  }

  /** The same for a source that opens at once: all that the file does goes through the source's synchronous methods. */
  openSync(source: Source, o: Omit<OpenOptions, 'signal'> = {}): CachedFile {
    this.check(o);
    const open = this.opened.get(source);
    if (open !== undefined) return this.fileOf(source, open);
    if (source.openSync === undefined || this.opening.has(source))
      throw new CacheError('SOURCE', `${source.name}: cannot be opened at once`, { source: source.name });
    try {
      const size = sizeOf(source, source.openSync());
      return this.fileOf(source, this.newInode(source, size, o, true));
    } catch (cause) {
      throw wrapped(source.name, cause);
    }
  }

  private newInode(source: Source, size: number, o: OpenOptions, now: boolean): Inode {
    const { core } = this;
    if (size > PGOFF_MAX * core.m.config.pageSize)
      throw new CacheError('WRONG_SIZE', `${source.name}: ${size} bytes are more than a file can have`, {
        source: source.name,
      });
    const inode = new Inode(core, source, size, o.group?.id ?? 0, now);
    this.opened.set(source, inode);
    return inode;
  }

  private fileOf(source: Source, inode: Inode): CachedFile {
    const file = new CachedFile(this.core, inode, (closed) => {
      this.files.delete(closed);
      if (inode.handles === 0) this.opened.delete(source);
    });
    this.files.add(file);
    return file;
  }

  /** A part of the budget that files can be opened in. */
  group(name: string, o: { readonly memory: string | number }): CacheGroup {
    if (this.core.closed) throw this.isClosed();
    const group = new CacheGroup(this.core, name, o.memory, (closed) => {
      this.groups.splice(this.groups.indexOf(closed), 1);
    });
    this.groups.push(group);
    return group;
  }

  stats(): CacheStats {
    return statsOf(this.core, this.groups);
  }

  /** What is cached, as plain data: see view/snapshot.ts. */
  snapshot(): Snapshot {
    return snapshotOf(this.core, this.groups);
  }

  /** Brings all that is dirty to the sources and closes every file. Rejects with the first failure; then those files are still open. */
  async close(): Promise<void> {
    if (this.core.closed) return;
    const ends = await Promise.allSettled([...this.files].map((file) => file.close()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    this.core.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The engine and what is around it, for tests. */
  get unsafeInternals(): Core {
    return this.core;
  }

  private check(o: { readonly group?: CacheGroup }): void {
    if (this.core.closed) throw this.isClosed();
    if (o.group !== undefined && !o.group.belongsTo(this.core))
      throw new CacheError('CLOSED', `group '${o.group.name}' belongs to another cache`);
    if (o.group?.closed) throw new CacheError('CLOSED', `group '${o.group.name}' is closed`);
  }

  private isClosed(): CacheError {
    return new CacheError('CLOSED', 'the cache is closed');
  }
}

function percent(name: string, n: number): number {
  if (n > 0 && n <= 100) return n;
  throw new CacheError('NO_BUDGET', `${name} ${n}: expected a number above 0, 100 at most`);
}
