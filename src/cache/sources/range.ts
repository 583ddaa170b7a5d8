/**
 * What a server may answer to a request for a range of bytes, and what must be true of the answer before one byte of it is
 * believed. Three things can go wrong without any error of the network: the answer is of another range, of another version
 * of the object, or not a range at all. The first shows in Content-Range, the second in the validators, the third in the
 * status; all are looked at before the body is.
 */
import { CacheError, type CacheErrorCode } from '../errors.ts';

/** What tells one version of an object from another. */
export interface Identity {
  readonly size: number;
  /** With its quotes, and `W/` when it is weak. */
  readonly etag: string | null;
  readonly lastModified: string | null;
}

/** Parsed `Content-Range: bytes …`: first and last byte, both included; null where the server says `*`. */
export interface ContentRange {
  readonly first: number | null;
  readonly last: number | null;
  readonly total: number | null;
}

/** Null when there is none or it is malformed. */
export function parseContentRange(value: string | null): ContentRange | null {
  const match = /^\s*bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15}|\*)\s*$/i.exec(value ?? '');
  if (match === null) return null;
  const [first, last, total] = match.slice(1, 4).map((n) => (n === undefined || n === '*' ? null : Number(n)));
  if (first === undefined || last === undefined || total === undefined) return null;
  if (first !== null && last !== null && (last < first || (total !== null && last >= total))) return null;
  return { first, last, total };
}

export const isWeak = (etag: string): boolean => /^w\//i.test(etag);

/**
 * The condition under which the server shall answer at all: the version that was opened. Weak tags never match there, so
 * for those it is the date.
 */
export function condition(of: Identity): Record<string, string> {
  if (of.etag !== null && !isWeak(of.etag)) return { 'if-match': of.etag };
  return of.lastModified === null ? {} : { 'if-unmodified-since': of.lastModified };
}

/** `Retry-After` is seconds or a date, which is taken against the server's own clock where it tells that. */
export function retryAfterMs(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (value === undefined || value === '') return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const until = Date.parse(value);
  if (Number.isNaN(until)) return undefined;
  const server = Date.parse(headers.get('date') ?? '');
  return Math.max(0, until - (Number.isNaN(server) ? now : server));
}

/** Statuses after which the same request may succeed. */
const RETRYABLE = [408, 425, 429, 500, 502, 503, 504];

export interface Asked {
  readonly name: string;
  /** Null: the last `length` bytes. */
  readonly at: number | null;
  readonly length: number;
}

/** A refusal of an answer. */
export function refused(asked: Asked, code: CacheErrorCode, what: string, status?: number): CacheError {
  return new CacheError(code, `${asked.name}: ${what}`, { source: asked.name, at: asked.at ?? undefined, status });
}

/**
 * Whether the status is that of a range; an error when it is not.
 * @param known the version that was opened; null for the request that opens.
 */
export function statusError(asked: Asked, response: Response, known: Identity | null): CacheError | null {
  const { status, headers } = response;
  if (status === 206) return null;
  const say = (code: CacheErrorCode, what: string): CacheError => refused(asked, code, what, status);
  if (response.type === 'opaqueredirect' || (status >= 300 && status < 400 && status !== 304)) {
    const to = headers.get('location');
    return say('REDIRECTED', `the server sends ${to === null ? 'elsewhere' : `to ${to}`}`);
  }
  if (status === 200)
    return known !== null && changedIn(known, headers) !== null
      ? say('CHANGED', 'the object changed while it was open')
      : say('NOT_RANGE', 'the server sends the whole object: it ignores ranges');
  if (status === 412) return say('CHANGED', 'the object changed while it was open');
  if (status === 416) {
    const total = parseContentRange(headers.get('content-range'))?.total ?? null;
    return known !== null && total !== null && total !== known.size
      ? say('CHANGED', `the object changed while it was open: ${total} bytes, were ${known.size}`)
      : say('NOT_RANGE', `the server refuses the range ${rangeText(asked)}`);
  }
  return answerError(asked, response);
}

/** A status that means failure, as an error; some of them pass with time. */
export function answerError(asked: Asked, response: Response): CacheError {
  const { status, statusText, headers } = response;
  return new CacheError('SOURCE', `${asked.name}: the server answers ${`${status} ${statusText}`.trim()}`, {
    source: asked.name,
    at: asked.at ?? undefined,
    status,
    retryable: RETRYABLE.includes(status),
    retryAfterMs: retryAfterMs(headers, Date.now()),
  });
}

/**
 * What tells that the answer is of another version than the one that was opened, or null. A strong tag decides alone (the
 * copies behind one address may have other dates); a weak one promises the meaning, not the bytes, so the date counts too.
 */
function changedIn(known: Identity, headers: Headers): string | null {
  const etag = headers.get('etag');
  if (known.etag !== null && etag !== null) {
    if (etag !== known.etag) return `ETag ${etag}, was ${known.etag}`;
    if (!isWeak(etag)) return null;
  }
  const date = headers.get('last-modified');
  if (known.lastModified !== null && date !== null && date !== known.lastModified)
    return `Last-Modified ${date}, was ${known.lastModified}`;
  return null;
}

/** A range must say which version it is of, when the first answer did. */
function unnamedIn(known: Identity, headers: Headers): string | null {
  if (known.etag !== null) return headers.get('etag') === null ? 'ETag' : null;
  return known.lastModified !== null && headers.get('last-modified') === null ? 'Last-Modified' : null;
}

/**
 * Checks the head of a 206 and returns the version that it is of.
 * @throws CacheError CHANGED, NOT_RANGE or WRONG_SIZE
 */
export function checkRange(asked: Asked, headers: Headers, known: Identity | null): Identity & { length: number } {
  const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding !== '' && encoding !== 'identity')
    throw refused(asked, 'NOT_RANGE', `the server compresses the range (content-encoding ${encoding})`);
  const range = parseContentRange(headers.get('content-range'));
  if (range === null || range.first === null || range.last === null) {
    const said = headers.get('content-range');
    throw refused(
      asked,
      'NOT_RANGE',
      said === null
        ? 'the answer has no Content-Range (across origins the server must expose it)'
        : `Content-Range '${said}' where ${rangeText(asked)} was asked for`,
    );
  }
  const changed = known === null ? null : changedIn(known, headers);
  if (changed !== null) throw refused(asked, 'CHANGED', `the object changed while it was open: ${changed}`);
  const unnamed = known === null ? null : unnamedIn(known, headers);
  if (unnamed !== null)
    throw refused(asked, 'CHANGED', `the object had ${unnamed} when it was opened, and has none now`);
  if (known !== null && range.total !== null && range.total !== known.size)
    throw refused(asked, 'CHANGED', `the object changed while it was open: ${range.total} bytes, were ${known.size}`);
  const size = range.total ?? known?.size;
  if (size === undefined) throw refused(asked, 'WRONG_SIZE', 'the server does not say how large the object is');
  const first = asked.at ?? Math.max(0, size - asked.length);
  const last = Math.min(first + asked.length, size) - 1;
  if (range.first !== first || range.last !== last)
    throw refused(
      asked,
      'NOT_RANGE',
      `the server answers bytes ${range.first}-${range.last} where ${first}-${last} were asked for`,
    );
  const length = last - first + 1;
  const said = headers.get('content-length');
  if (said !== null && said !== String(length))
    throw refused(asked, 'NOT_RANGE', `Content-Length ${said} for a range of ${length} bytes`);
  return { size, etag: headers.get('etag'), lastModified: headers.get('last-modified'), length };
}

export const rangeText = (asked: Asked): string =>
  asked.at === null ? `bytes=-${asked.length}` : `bytes=${asked.at}-${asked.at + asked.length - 1}`;
