/** The cache: a budget of memory, files opened from sources, groups with a part of the budget. */

import { PGOFF_MAX } from '../mm/ids.ts';
import { releases } from '../mm/release.ts';
import type { Snapshot } from '../view/snapshot.ts';
import { throwIfAborted } from './abort.ts';
import { budgetOf } from './budget.ts';
import { Core } from './core.ts';
import { CacheError } from './errors.ts';
import { CachedFile, type Waiting } from './file.ts';
import { CacheGroup } from './group.ts';
import { Inode } from './inode.ts';
import { snapshotOf } from './snapshot.ts';
import type { Source } from './source.ts';
import { type CacheStats, statsOf } from './stats.ts';

export interface CacheOptions {
  /** The hard budget, bytes or '256MiB': cached bytes and all that is kept about them. */
  readonly memory: string | number;
  /** 4096 (default), 16384 or 65536. */
  readonly pageSize?: 4096 | 16384 | 65536;
  /** The kernel whose rules hold: '6.18' (default), '6.12' … */
  readonly kernel?: string;
  /** Percent of the memory that may be dirty before writers wait, and before write-back starts: 20 and 10. */
  readonly dirtyRatio?: number;
  readonly dirtyBackgroundRatio?: number;
  /** How often a request that failed for a reason that may pass is made again, and the first pause, which then doubles: 4 and 100. */
  readonly retry?: { readonly times?: number; readonly delayMs?: number };
}

export interface OpenOptions extends Waiting {
  /** The group whose limit holds for the file. */
  readonly group?: CacheGroup;
}

export class PageCache {
  private readonly core: Core;
  private readonly files = new Set<CachedFile>();
  private readonly groups: CacheGroup[] = [];
  private readonly inodes = new Map<Source, Promise<Inode>>();
  private readonly opened = new Map<Source, Inode>();

  constructor(o: CacheOptions) {
    const kernel = o.kernel ?? '6.18';
    if (!(kernel in releases))
      throw new CacheError('NO_BUDGET', `kernel '${kernel}': expected one of ${Object.keys(releases).join(', ')}`);
    const dirtyRatio = percent('dirtyRatio', o.dirtyRatio ?? 20);
    this.core = new Core({
      budget: budgetOf(o.memory, o.pageSize ?? 4096),
      kernel,
      dirtyRatio,
      dirtyBackgroundRatio: percent('dirtyBackgroundRatio', o.dirtyBackgroundRatio ?? dirtyRatio / 2),
      retry: { times: o.retry?.times ?? 4, delayMs: o.retry?.delayMs ?? 100 },
    });
  }

  /** Opens a source. One that is open already is shared: same bytes, and a readahead of its own. */
  async open(source: Source, o: OpenOptions = {}): Promise<CachedFile> {
    this.check(o);
    throwIfAborted(o.signal);
    let inode = this.opened.get(source);
    if (inode === undefined) {
      let opening = this.inodes.get(source);
      if (opening === undefined) {
        opening = this.openInode(source, o);
        this.inodes.set(source, opening);
        opening.finally(() => this.inodes.delete(source)).catch(() => {});
      }
      inode = await opening;
      if (this.core.closed) throw this.isClosed();
    }
    return this.fileOf(source, inode);
  }

  private async openInode(source: Source, o: OpenOptions): Promise<Inode> {
    let size: number;
    try {
      ({ size } = await source.open(o.signal));
    } catch (cause) {
      if (cause instanceof CacheError) throw cause;
      const what = cause instanceof Error ? cause.message : String(cause);
      throw new CacheError('SOURCE', `${source.name}: ${what}`, { source: source.name, cause });
    }
    if (this.core.closed) {
      await source.close?.();
      throw this.isClosed();
    }
    return this.newInode(source, size, o, false);
  }

  /** The same for a source that opens at once: all that the file does goes through the source's synchronous methods. */
  openSync(source: Source, o: Omit<OpenOptions, 'signal'> = {}): CachedFile {
    this.check(o);
    const open = this.opened.get(source);
    if (open !== undefined) return this.fileOf(source, open);
    if (source.openSync === undefined || this.inodes.has(source))
      throw new CacheError('SOURCE', `${source.name}: cannot be opened at once`, { source: source.name });
    const { size } = source.openSync();
    return this.fileOf(source, this.newInode(source, size, o, true));
  }

  private newInode(source: Source, size: number, o: OpenOptions, now: boolean): Inode {
    const { core } = this;
    if (!Number.isSafeInteger(size) || size < 0 || size > PGOFF_MAX * core.m.config.pageSize)
      throw new CacheError('WRONG_SIZE', `${source.name}: says that it has ${size} bytes`, { source: source.name });
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
    const group = new CacheGroup(this.core, name, o.memory);
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
  }

  private isClosed(): CacheError {
    return new CacheError('CLOSED', 'the cache is closed');
  }
}

function percent(name: string, n: number): number {
  if (n > 0 && n <= 100) return n;
  throw new CacheError('NO_BUDGET', `${name} ${n}: expected a number above 0, 100 at most`);
}
