/** Signals: what a caller's abort becomes, and pauses that end early. */
import { CacheError } from './errors.ts';

export const aborted = (signal: AbortSignal): CacheError =>
  new CacheError('ABORTED', 'the caller gave up', { cause: signal.reason });

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw aborted(signal);
}

/** Resolves after so many milliseconds, or when the signal says that it is no use. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** The promise's outcome, or ABORTED as soon as the signal says so; the work itself goes on. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(aborted(signal));
    signal.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
