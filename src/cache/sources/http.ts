/**
 * An object behind HTTP, read by ranges. The first answer tells its size and its version (ETag, Last-Modified); every later
 * one must be of that version, or the read rejects with CHANGED: bytes of two versions never meet. A server that ignores
 * ranges is refused at once, its body is not downloaded. Read only.
 */
import { CacheError } from '../errors.ts';
import type { Source, SourceHints } from '../source.ts';
import { aborted, checkSignal } from './checks.ts';
import { cut, Filler, lengthOf, scatter } from './pieces.ts';
import {
  type Asked,
  checkRange,
  condition,
  type Identity,
  parseContentRange,
  rangeText,
  refused,
  statusError,
} from './range.ts';

/** The platform's `fetch`, or what stands in for it; it must honour the signal of what it is given. */
export type Fetch = (input: string | Request, init?: RequestInit) => Promise<Response>;

export interface HttpOptions {
  /** Sent with every request: authorization, for instance. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default 'error': CacheError REDIRECTED. 'follow' pays for the redirect at every request, and trusts where it leads. */
  readonly redirect?: 'error' | 'follow';
  /**
   * What the request that opens asks for. Default: the first 16 KiB. Formats that end with their directory (Parquet, zip) do
   * better with the end. A cache takes these bytes over at once; else they are kept until they have been read once.
   */
  readonly first?: { readonly from: 'start' | 'end'; readonly bytes: number };
  /** The object never changes, so that a server without ETag and Last-Modified will do. Default false: NO_VALIDATOR. */
  readonly immutable?: boolean;
  readonly hints?: SourceHints;
  readonly fetch?: Fetch;
}

/** Six is what browsers open to a server that speaks HTTP/1.1. */
const HINTS: SourceHints = { latencyMs: 20, bytesPerSecond: 100e6, parallel: 6 };
const FIRST = { from: 'start', bytes: 16384 } as const;

/** @throws CacheError SOURCE when `url` is none; a relative one is taken against the page */
export function httpSource(url: string | URL, options: HttpOptions = {}): Source {
  return new HttpSource(url, options);
}

export class HttpSource implements Source {
  /** The URL without its query, which may hold a signature. */
  readonly name: string;
  readonly hints: SourceHints;
  private readonly url: string;
  private readonly options: HttpOptions;
  /** The version that reads must be of. */
  private identity: Identity | null = null;
  private conditional = true;
  /** Bytes of the opening answer that have not been read yet, from `keptAt`. */
  private kept: Uint8Array | null = null;
  private keptAt = 0;

  constructor(url: string | URL, options: HttpOptions = {}) {
    const parsed = absolute(url);
    this.url = parsed.href;
    this.name = parsed.origin + parsed.pathname;
    this.options = options;
    this.hints = { ...HINTS, ...options.hints };
  }

  /** From now on reads must be of this version: whoever wrote the object knows it without asking. */
  adopt(identity: Identity): void {
    this.identity = identity;
    this.kept = null;
  }

  get opened(): { at: number; length: number } | null {
    return this.kept === null ? null : { at: this.keptAt, length: this.kept.length };
  }

  get version(): Identity | null {
    return this.identity;
  }

  async open(signal?: AbortSignal): Promise<{ size: number }> {
    const { from, bytes } = this.options.first ?? FIRST;
    if (!Number.isSafeInteger(bytes) || bytes < 1)
      throw new CacheError('INVALID_OFFSET', `${this.name}: a first request of ${bytes} bytes`, { source: this.name });
    const asked: Asked = { name: this.name, at: from === 'start' ? 0 : null, length: bytes };
    const response = await this.request(asked, {}, signal);
    if (isEmpty(response)) {
      discard(response);
      const { headers } = response;
      this.identity = { size: 0, etag: headers.get('etag'), lastModified: headers.get('last-modified') };
      return { size: 0 };
    }
    const got = accept(asked, response, null);
    if (got.etag === null && got.lastModified === null && this.options.immutable !== true) {
      discard(response);
      throw refused(
        asked,
        'NO_VALIDATOR',
        'the server sends neither ETag nor Last-Modified, so a change would go unseen',
      );
    }
    const first = new Uint8Array(got.length);
    await fill(asked, response, [first], signal);
    // A browser asks the server first whether another origin may send a condition; many servers say no.
    this.conditional = response.type !== 'cors';
    this.identity = { size: got.size, etag: got.etag, lastModified: got.lastModified };
    this.kept = first;
    this.keptAt = from === 'start' ? 0 : got.size - got.length;
    return { size: got.size };
  }

  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number> {
    return this.readv([into], at, signal);
  }

  async readv(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> {
    const known = this.identity;
    if (known === null) throw new CacheError('CLOSED', `${this.name}: not open`, { source: this.name });
    checkSignal(this.name, signal, at);
    const wanted = Math.max(0, Math.min(lengthOf(pieces), known.size - at));
    let from = 0;
    let to = wanted;
    const { kept, keptAt } = this;
    if (kept !== null) {
      const start = Math.max(at, keptAt);
      const end = Math.min(at + wanted, keptAt + kept.length);
      // What is kept is of use when it begins or ends what is asked for: then one request brings the rest, or none.
      if (start < end && (start === at || end === at + wanted)) {
        scatter(kept.subarray(start - keptAt, end - keptAt), cut(pieces, start - at, end - at));
        this.drop(start - keptAt, end - keptAt);
        if (start === at) from = end - at;
        else to = start - at;
      }
    }
    if (from < to) await this.readRange(cut(pieces, from, to), at + from, known, signal);
    return wanted;
  }

  /** Bytes [from, to) of what is kept have been read. */
  private drop(from: number, to: number): void {
    const { kept } = this;
    if (kept === null || (from > 0 && to < kept.length)) return;
    if (from === 0) this.keptAt += to;
    const rest = from === 0 ? kept.slice(to) : kept.slice(0, from);
    this.kept = rest.length === 0 ? null : rest;
  }

  private async readRange(
    pieces: readonly Uint8Array[],
    at: number,
    known: Identity,
    signal?: AbortSignal,
  ): Promise<void> {
    const asked: Asked = { name: this.name, at, length: lengthOf(pieces) };
    const response = await this.request(asked, this.conditional ? condition(known) : {}, signal);
    accept(asked, response, known);
    await fill(asked, response, pieces, signal);
  }

  private async request(asked: Asked, extra: Record<string, string>, signal?: AbortSignal): Promise<Response> {
    checkSignal(this.name, signal, asked.at ?? undefined);
    const { fetch = globalThis.fetch, headers, redirect = 'error' } = this.options;
    try {
      return await fetch(this.url, {
        headers: { ...headers, ...extra, range: rangeText(asked) },
        redirect: redirect === 'follow' ? 'follow' : 'manual',
        // This is the cache. A second one would hold the bytes twice, and Chromium's lets one request at a time into an entry.
        cache: 'no-store',
        ...(signal === undefined ? null : { signal }),
      });
    } catch (error) {
      throw networkError(asked, error, signal);
    }
  }
}

function absolute(url: string | URL): URL {
  try {
    const page = (globalThis as { location?: { href: string } }).location?.href;
    return new URL(url, page);
  } catch (cause) {
    throw new CacheError('SOURCE', `${String(url)}: not a URL`, { source: String(url), cause });
  }
}

/** No range of an empty object exists; servers say so in two ways. */
function isEmpty({ status, headers }: Response): boolean {
  if (status === 416) return parseContentRange(headers.get('content-range'))?.total === 0;
  return status === 200 && headers.get('content-length') === '0';
}

/** Checks all of an answer but its body. What is refused is not downloaded. */
function accept(asked: Asked, response: Response, known: Identity | null): Identity & { length: number } {
  try {
    const error = statusError(asked, response, known);
    if (error !== null) throw error;
    return checkRange(asked, response.headers, known);
  } catch (error) {
    discard(response);
    throw error;
  }
}

/** Tells the server to stop. */
export function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** Streams the body into the buffers, chunk by chunk as it comes: it must be exactly as long. */
async function fill(
  asked: Asked,
  response: Response,
  pieces: readonly Uint8Array[],
  signal?: AbortSignal,
): Promise<void> {
  const wanted = lengthOf(pieces);
  const filler = new Filler(pieces);
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const chunk = await reader?.read();
      if (chunk === undefined || chunk.done) break;
      if (signal?.aborted) throw aborted(asked.name, signal, asked.at ?? undefined);
      if (!filler.put(chunk.value))
        throw refused(asked, 'NOT_RANGE', `the server sends more than the ${wanted} bytes of the range`);
    }
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (error instanceof CacheError) throw error;
    if (signal?.aborted) throw aborted(asked.name, signal, asked.at ?? undefined);
    throw cutShort(asked, filler.filled, wanted, error);
  }
  if (filler.filled < wanted) throw cutShort(asked, filler.filled, wanted);
}

function cutShort(asked: Asked, got: number, wanted: number, cause?: unknown): CacheError {
  return new CacheError('SHORT_READ', `${asked.name}: the body of ${wanted} bytes ended after ${got}`, {
    source: asked.name,
    at: asked.at ?? undefined,
    retryable: true,
    ...(cause === undefined ? null : { cause }),
  });
}

/** Why no answer came. `fetch` reports what the network did as a TypeError, in Node with the reason as its cause. */
export function networkError(asked: Asked, error: unknown, signal?: AbortSignal): CacheError {
  if (error instanceof CacheError) return error;
  if (signal?.aborted) return aborted(asked.name, signal, asked.at ?? undefined);
  const why = error instanceof Error ? error.message : String(error);
  const below = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return new CacheError('SOURCE', `${asked.name}: ${why}${below}`, {
    source: asked.name,
    at: asked.at ?? undefined,
    cause: error,
    retryable: error instanceof TypeError,
  });
}
