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
  private readonly core: Core;

  constructor(core: Core, name: string, memory: string | number) {
    this.core = core;
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
    return (this.core.m.memcgs.usage[this.id] as number) * this.core.m.config.pageSize;
  }

  belongsTo(core: Core): boolean {
    return core === this.core;
  }
}
