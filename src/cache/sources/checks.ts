/** What every source says in the same words. */
import { CacheError } from '../errors.ts';

/** The error of a request whose signal was aborted; the signal's reason is its cause. */
export function aborted(source: string, signal: AbortSignal, at?: number): CacheError {
  return new CacheError('ABORTED', `${source}: aborted`, { source, at, cause: signal.reason });
}

/** Throws when the caller is no longer waiting. */
export function checkSignal(source: string, signal: AbortSignal | undefined, at?: number): void {
  if (signal?.aborted) throw aborted(source, signal, at);
}

/** A failure of what is below the source, as one line. */
export function sourceError(source: string, cause: unknown, at?: number): CacheError {
  const said = cause instanceof Error ? cause.message : String(cause);
  return new CacheError('SOURCE', `${source}: ${said}`, { source, at, cause });
}

/** An answer that ended too early: `got` of `wanted` bytes. */
export function shortRead(source: string, at: number, got: number, wanted: number, retryable = false): CacheError {
  return new CacheError('SHORT_READ', `${source}: ${got} bytes came at ${at} where ${wanted} were due`, {
    source,
    at,
    retryable,
  });
}
