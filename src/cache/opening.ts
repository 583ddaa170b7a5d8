/**
 * A source while it is being opened. Several may wait for it; who gives up leaves the others alone, and when nobody is left
 * the opening is given up, and the source is closed should it open all the same.
 */
import { orAborted } from './abort.ts';
import type { Core } from './core.ts';
import { CacheError } from './errors.ts';
import { retried } from './retry.ts';
import type { Source } from './source.ts';

export class Opening {
  /** Everybody has given up. */
  left = false;
  /** After that, resolves when nothing of it is under way any more. */
  readonly over: Promise<void>;
  private readonly source: Source;
  private readonly abort = new AbortController();
  private readonly opened: Promise<number>;
  private waiters = 0;
  private taken = false;
  private leave = (): void => {};

  constructor(core: Core, source: Source) {
    this.source = source;
    const { signal } = this.abort;
    this.opened = retried(source.name, core.retry, core.counts, signal, async () =>
      sizeOf(source, await source.open(signal)),
    );
    this.over = new Promise<void>((resolve) => {
      this.leave = resolve;
    }).then(() => this.undo());
  }

  /**
   * Waits until the source is open.
   * @param take what to do with its size then
   */
  async wait<T>(signal: AbortSignal | undefined, take: (size: number) => T): Promise<T> {
    this.waiters++;
    try {
      const size = await orAborted(this.opened, signal);
      const result = take(size);
      this.taken = true;
      return result;
    } finally {
      this.waiters--;
      if (this.waiters === 0 && !this.taken) {
        this.left = true;
        this.abort.abort();
        this.leave();
      }
    }
  }

  private async undo(): Promise<void> {
    try {
      await this.opened;
      await this.source.close?.();
    } catch {
      // It did not open, or nobody is left who could be told.
    }
  }
}

/** What `open` answered, when that is a size. */
export function sizeOf({ name }: Source, answer: { readonly size: unknown } | null | undefined): number {
  const size = answer?.size;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return size;
  throw new CacheError('WRONG_SIZE', `${name}: says that it has ${String(size)} bytes`, { source: name });
}
