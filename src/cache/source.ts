/**
 * Where the bytes come from and where written ones go. A source knows one thing of fixed identity (a file, an object, a
 * buffer) and nothing of caching: no buffer of its own, no retry, no joining of requests. Those are the cache's. What it
 * owes instead is truth: a read either fills what it says it filled with bytes of the thing that was opened, or rejects
 * with a CacheError; an error with `retryable` set may be tried again.
 */

/** What a request to the source costs; the cache sizes readahead, gaps worth reading over and parallel requests by it. */
export interface SourceHints {
  /** From sending a request to its first byte. */
  readonly latencyMs?: number;
  /** All requests together. */
  readonly bytesPerSecond?: number;
  /** Requests worth having under way at once. */
  readonly parallel?: number;
  /** Bytes of the largest request that the source takes. */
  readonly maxRequest?: number;
}

/**
 * Which of the optional methods a source has is looked up once, when `open` has resolved: it may know only then.
 *
 * Offsets and lengths are bytes. The cache never has two requests under way that touch the same bytes when one of them
 * writes; any others may overlap in time. A buffer belongs to the source until the promise settles and not afterwards:
 * a source whose request was aborted settles only when it no longer writes into it. A read is aborted when nobody waits for its
 * bytes any more; what it settles with then is not looked at.
 */
export interface Source {
  /** A path or URL, for messages. */
  readonly name: string;
  readonly hints?: SourceHints;
  /** Called once, by `cache.open`, before anything else. */
  open(signal?: AbortSignal): Promise<{ size: number }>;
  /** Bytes that came with `open` and wait to be read: doing so costs nothing now, so the cache does it at once. */
  readonly opened?: { readonly at: number; readonly length: number } | null;
  /** As `open`, at once: for a source that never needs to wait. One of the two is called. */
  openSync?(): { size: number };
  /** Fills `into` from byte `at`; resolves to the bytes filled: fewer than asked only at the source's end. */
  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number>;
  /** As `read`, at once; where it exists, a miss needs no promise. */
  readSync?(into: Uint8Array, at: number): number;
  /** As `read`, into several buffers one after the other with one request. Absent: the cache asks for each, or for all at once through a copy. */
  readv?(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number>;
  readvSync?(pieces: readonly Uint8Array[], at: number): number;
  /** Writes all of `from` at byte `at`, growing the thing when that is past its end. Absent: read only. */
  write?(from: Uint8Array, at: number, signal?: AbortSignal): Promise<void>;
  writeSync?(from: Uint8Array, at: number): void;
  /** As `write`, from several buffers one after the other. */
  writev?(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<void>;
  writevSync?(pieces: readonly Uint8Array[], at: number): void;
  /** Cuts at `size` bytes, or grows to it with zeroes. */
  truncate?(size: number, signal?: AbortSignal): Promise<void>;
  truncateSync?(size: number): void;
  /** Everything written before is durable when it resolves. */
  sync?(signal?: AbortSignal): Promise<void>;
  syncSync?(): void;
  /** Nothing is called after it. */
  close?(): Promise<void>;
  closeSync?(): void;
}
