/**
 * An object of an S3-compatible store. Reads are signed range requests under the rules of `http.ts`. A store has no write
 * into the middle of an object, so writing is honest only about whole ones: the first write brings the object into memory,
 * and `sync` puts it back in one request, on condition that nobody else wrote it meanwhile. Until then the store holds the
 * old object, whole; afterwards the new one: a crash leaves one of the two.
 */
import { CacheError } from '../errors.ts';
import type { Source, SourceHints } from '../source.ts';
import { checkSignal } from './checks.ts';
import { discard, type Fetch, type HttpOptions, HttpSource, networkError } from './http.ts';
import { lengthOf, scatter } from './pieces.ts';
import { type Asked, answerError, isWeak } from './range.ts';

/** Signs a request; an `AwsClient` of aws4fetch is one. */
export interface Signer {
  sign(url: string, init?: RequestInit): Promise<Request>;
}

export interface S3Options {
  /** Absent: requests go unsigned, for what is public. */
  readonly signer?: Signer;
  /** Bytes of the largest object that may be written; it is held in memory, outside the cache's budget. Default 0: read only. */
  readonly writeMax?: number;
  readonly first?: NonNullable<HttpOptions['first']>;
  readonly hints?: SourceHints;
  readonly fetch?: Fetch;
}

const HINTS: SourceHints = { latencyMs: 30, bytesPerSecond: 100e6, parallel: 16 };

/** What a PUT would lose of the old object. */
const KEPT = /^(content-type|content-language|content-disposition|cache-control|x-amz-meta-.*)$/i;

/** @param url of the object: `https://BUCKET.s3.REGION.amazonaws.com/KEY`, or `https://HOST/BUCKET/KEY` of other stores */
export function s3Source(url: string | URL, options: S3Options = {}): Source {
  const { signer, fetch = globalThis.fetch, first, hints, writeMax = 0 } = options;
  const kept: Record<string, string> = {};
  const send: Fetch = async (input, init) => {
    if (typeof input !== 'string' || signer === undefined) return fetch(input, init);
    return fetch(await signer.sign(input, init));
  };
  const reader = new HttpSource(url, {
    hints: { ...HINTS, ...hints },
    ...(first === undefined ? null : { first }),
    fetch: async (input, init) => {
      const response = await send(input, init);
      if (response.ok) for (const [name, value] of response.headers) if (KEPT.test(name)) kept[name] = value;
      return response;
    },
  });
  return writeMax > 0 ? new WholeObject(String(url), reader, send, kept, writeMax) : reader;
}

class WholeObject implements Source {
  readonly name: string;
  readonly hints: SourceHints;
  private readonly url: string;
  private readonly reader: HttpSource;
  private readonly send: Fetch;
  private readonly kept: Readonly<Record<string, string>>;
  private readonly writeMax: number;
  private size = 0;
  /** The object as it shall be, from the first write to the sync after the last; it may have room behind. */
  private staged: Uint8Array | null = null;
  private staging: Promise<void> | null = null;
  /** Counts what changed `staged`, and what of that is in the store. */
  private changes = 0;
  private stored = 0;
  /** A PUT failed on its way: the store may have it all the same. */
  private uncertain = false;
  private putting: Promise<void> = Promise.resolve();

  constructor(url: string, reader: HttpSource, send: Fetch, kept: Readonly<Record<string, string>>, writeMax: number) {
    this.url = url;
    this.name = reader.name;
    this.hints = reader.hints;
    this.reader = reader;
    this.send = send;
    this.kept = kept;
    this.writeMax = writeMax;
  }

  get opened(): { at: number; length: number } | null {
    return this.reader.opened;
  }

  async open(signal?: AbortSignal): Promise<{ size: number }> {
    try {
      this.size = (await this.reader.open(signal)).size;
    } catch (error) {
      // What is not there can be written: it begins empty.
      if (!(error instanceof CacheError) || error.status !== 404) throw error;
      this.size = 0;
    }
    return { size: this.size };
  }

  read(into: Uint8Array, at: number, signal?: AbortSignal): Promise<number> {
    return this.readv([into], at, signal);
  }

  async readv(pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> {
    const length = Math.max(0, Math.min(lengthOf(pieces), this.size - at));
    if (this.staged !== null || length === 0) {
      checkSignal(this.name, signal, at);
      if (this.staged !== null) scatter(this.staged.subarray(at, at + length), pieces);
      return length;
    }
    const { version } = this.reader;
    try {
      return await this.reader.readv(pieces, at, signal);
    } catch (error) {
      // Asked of the old object, answered by the one that we put there.
      if (this.reader.version !== version) return this.readv(pieces, at, signal);
      throw error;
    }
  }

  write(from: Uint8Array, at: number, signal?: AbortSignal): Promise<void> {
    return this.change(Math.max(this.size, at + from.length), signal, (staged) => staged.set(from, at));
  }

  truncate(size: number, signal?: AbortSignal): Promise<void> {
    return this.change(size, signal, (staged) => {
      staged.fill(0, size);
      this.size = size;
    });
  }

  sync(signal?: AbortSignal): Promise<void> {
    const mine = this.putting.catch(() => {}).then(() => this.put(signal));
    this.putting = mine;
    return mine;
  }

  async close(): Promise<void> {
    this.staged = null;
  }

  /** Changes the object in memory, where it has room for `size` bytes. */
  private async change(
    size: number,
    signal: AbortSignal | undefined,
    apply: (staged: Uint8Array) => void,
  ): Promise<void> {
    checkSignal(this.name, signal);
    const was = this.reader.version;
    const refuse = (what: string): never => {
      throw new CacheError('READ_ONLY', `${this.name}: ${what}`, { source: this.name });
    };
    if (Math.max(size, this.size) > this.writeMax)
      refuse(`objects of more than ${this.writeMax} bytes are not written: a store takes them only whole`);
    if (was !== null && (was.etag === null || isWeak(was.etag)))
      refuse('the object has no strong ETag, so that a write could undo one of somebody else');
    while (this.staged === null) {
      this.staging ??= this.load().finally(() => {
        this.staging = null;
      });
      await this.staging;
    }
    // From here to the end without a pause: a sync that ends now must see the change, or come before it.
    if (size > this.staged.length) {
      const larger = new Uint8Array(Math.min(this.writeMax, Math.max(size, 2 * this.staged.length)));
      larger.set(this.staged);
      this.staged = larger;
    }
    this.size = Math.max(this.size, size);
    apply(this.staged);
    this.changes++;
  }

  private async load(): Promise<void> {
    const bytes = new Uint8Array(this.size);
    if (this.size > 0) await this.reader.read(bytes, 0);
    this.staged = bytes;
  }

  private async put(signal?: AbortSignal): Promise<void> {
    if (this.staged === null || this.changes === this.stored) return;
    checkSignal(this.name, signal);
    const change = this.changes;
    const body = this.staged.slice(0, this.size);
    const known = this.reader.version;
    const asked: Asked = { name: this.name, at: 0, length: body.length };
    let response: Response;
    try {
      response = await this.send(this.url, {
        method: 'PUT',
        headers: { ...this.kept, ...(known?.etag == null ? { 'if-none-match': '*' } : { 'if-match': known.etag }) },
        body,
        redirect: 'manual',
        ...(signal === undefined ? null : { signal }),
      });
    } catch (error) {
      this.uncertain = true;
      throw networkError(asked, error, signal);
    }
    discard(response);
    let etag = response.ok ? response.headers.get('etag') : null;
    if (response.status === 412 && this.uncertain) etag = await this.etagIfStored(body, signal);
    if (response.status === 412 && etag === null)
      throw new CacheError('CHANGED', `${this.name}: somebody else wrote the object`, {
        source: this.name,
        status: response.status,
      });
    if (etag === null) {
      this.uncertain ||= response.ok || response.status >= 500;
      if (!response.ok) throw answerError(asked, response);
      throw new CacheError('NO_VALIDATOR', `${this.name}: the store does not say which version it has stored`, {
        source: this.name,
      });
    }
    this.uncertain = false;
    this.reader.adopt({ size: body.length, etag, lastModified: null });
    this.stored = change;
    if (this.changes === change) this.staged = null;
  }

  /** The tag of what the store has, if that is just what we wanted to put there: the answer was lost, not the request. */
  private async etagIfStored(body: Uint8Array, signal?: AbortSignal): Promise<string | null> {
    const now = new HttpSource(this.url, { fetch: this.send });
    const { size } = await now.open(signal);
    if (size !== body.length) return null;
    const there = new Uint8Array(size);
    await now.read(there, 0, signal);
    return there.every((byte, i) => byte === body[i]) ? (now.version?.etag ?? null) : null;
  }
}
