/** What can go wrong in the cache, by a code that a program can test; the message is one line that says which and where. */

export type CacheErrorCode =
  /** An offset or a length that is negative, not whole, or not a safe integer. */
  | 'INVALID_OFFSET'
  /** Bytes past the end of the file were asked for where a short answer is not allowed. */
  | 'PAST_END'
  /** The file, the group or the cache has been closed. */
  | 'CLOSED'
  /** A group is to be closed and files of it are open, or not closed to the end. */
  | 'IN_USE'
  /** A write to a source that cannot write. */
  | 'READ_ONLY'
  /** An option that cannot be: a budget of no bytes, a page size that is none of the three. */
  | 'NO_BUDGET'
  /** Huge pages were asked for, and this host has none to give. */
  | 'NO_HUGE_PAGES'
  /** Everything in the budget is pinned or being written: nothing can make room. */
  | 'BUDGET'
  /** The object is no longer the one that was opened. Nothing of the new one was given out. */
  | 'CHANGED'
  /** The server gives no sign by which a change could be seen. */
  | 'NO_VALIDATOR'
  /** The server answered with something else than the range that was asked for. */
  | 'NOT_RANGE'
  /** The server sends somewhere else, and the source was not told to follow. */
  | 'REDIRECTED'
  /** The source holds another number of bytes than it said, or does not say how many. */
  | 'WRONG_SIZE'
  /** The source's answer ended before its own announced end. */
  | 'SHORT_READ'
  /** The source failed; `cause` is its error. */
  | 'SOURCE'
  /** The caller's signal was aborted. */
  | 'ABORTED'
  /** Bytes written earlier could not be brought to the source; `cause` is its error. */
  | 'WRITE_BACK';

export interface CacheErrorOptions {
  /** Name of the source. */
  readonly source?: string | undefined;
  /** Byte offset in the source. */
  readonly at?: number | undefined;
  readonly cause?: unknown;
  /** The same request may succeed later. Default false. */
  readonly retryable?: boolean | undefined;
  /** What the source asked to wait before that. */
  readonly retryAfterMs?: number | undefined;
  /** The status of the answer, where the source speaks HTTP and there was one. */
  readonly status?: number | undefined;
}

/** Every error that the cache and its sources throw on purpose. */
export class CacheError extends Error {
  override readonly name = 'CacheError';
  readonly code: CacheErrorCode;
  readonly source: string | undefined;
  readonly at: number | undefined;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly status: number | undefined;
  constructor(code: CacheErrorCode, message: string, options: CacheErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.source = options.source;
    this.at = options.at;
    this.retryable = options.retryable ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.status = options.status;
  }
}
