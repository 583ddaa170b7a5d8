/** A part of the budget for some of the files: what they have cached stays within it, and only among themselves. */
import { bytesOf } from './budget.ts';
import type { Core } from './core.ts';
import { CacheError } from './errors.ts';

/** A group must hold a few folios to read at all. */
const PAGES_MIN = 64;

export class CacheGroup {
  readonly name: string;
  /** Bytes that its files may have cached. */
  readonly memory: number;
  /** Its row in the machine. */
  readonly id: number;
  closed = false;
  private readonly core: Core;
  private readonly onClose: (group: CacheGroup) => void;

  constructor(core: Core, name: string, memory: string | number, onClose: (group: CacheGroup) => void) {
    this.core = core;
    this.onClose = onClose;
    this.name = name;
    this.memory = bytesOf(`memory of group '${name}'`, memory);
    const pages = Math.floor(this.memory / core.m.config.pageSize);
    if (pages < PAGES_MIN)
      throw new CacheError(
        'NO_BUDGET',
        `memory of group '${name}': ${this.memory} bytes: expected ${PAGES_MIN * core.m.config.pageSize} or more`,
      );
    if (this.memory > core.budget.bytes)
      throw new CacheError(
        'NO_BUDGET',
        `memory of group '${name}': ${this.memory} bytes, and the cache has ${core.budget.bytes}`,
      );
    this.id = core.newGroup(pages);
  }

  /** Bytes cached for its files. */
  get residentBytes(): number {
    return this.closed ? 0 : (this.core.m.memcgs.usage[this.id] as number) * this.core.m.config.pageSize;
  }

  /**
   * Ends the group; nothing can be opened in it any more. Its files must have been closed, and what they had cached has gone with them.
   * @throws CacheError IN_USE when one has not: it is the files that are in the way, and nothing has been closed, so CLOSED would mislead
   */
  close(): void {
    if (this.closed) return;
    const open = this.core.inodes.find((inode) => inode?.group === this.id);
    if (open !== undefined)
      throw new CacheError('IN_USE', `group '${this.name}': ${open.name} is open`, { source: open.name });
    this.closed = true;
    this.core.dropGroup(this.id);
    this.onClose(this);
  }

  belongsTo(core: Core): boolean {
    return core === this.core;
  }
}
