/** Doing again what failed for a reason that may pass. */
import { pause } from './abort.ts';
import { CacheError } from './errors.ts';

export interface RetryRules {
  /** How often a request is made again, and the first pause, which then doubles. */
  readonly times: number;
  readonly delayMs: number;
}

/** A source that asks to wait longer than this has failed: who reads shall decide whether to wait. */
const RETRY_AFTER_MAX_MS = 30_000;

/** What a source threw, as a CacheError; what it does not say itself may pass. */
export function wrapped(name: string, cause: unknown): CacheError {
  if (cause instanceof CacheError) return cause;
  const what = cause instanceof Error ? cause.message : String(cause);
  return new CacheError('SOURCE', `${name}: ${what}`, { source: name, cause, retryable: true });
}

/**
 * Does it, and again after pauses that double, or are as long as the source asks for.
 * @param signal ends the pauses; the work must heed it itself
 * @param counts what was made again, and what failed in the end; what was given up did not fail
 * @throws the last CacheError
 */
export async function retried<T>(
  name: string,
  rules: RetryRules,
  counts: { retries: number; failures: number },
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let tried = 0; ; tried++) {
    try {
      return await work();
    } catch (cause) {
      const error = wrapped(name, cause);
      const ms = error.retryAfterMs ?? rules.delayMs * 2 ** tried;
      if (!error.retryable || tried >= rules.times || signal.aborted || ms > RETRY_AFTER_MAX_MS) {
        if (!signal.aborted) counts.failures++;
        throw error;
      }
      counts.retries++;
      await pause(ms, signal);
    }
  }
}
