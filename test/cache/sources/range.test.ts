import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkRange,
  condition,
  parseContentRange,
  retryAfterMs,
  statusError,
} from '../../../src/cache/sources/range.ts';

const known = { size: 1000, etag: '"a"', lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT' };
const asked = { name: 'x', at: 100, length: 50 };
const good = { 'content-range': 'bytes 100-149/1000', etag: '"a"', 'last-modified': known.lastModified };

const code = (act: () => unknown): string => {
  try {
    act();
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
};
const check = (more: Record<string, string>, opened: typeof known | null = known): string => {
  const headers = new Headers({ ...good, ...more });
  for (const [name, value] of Object.entries(more)) if (value === '') headers.delete(name);
  return code(() => checkRange(asked, headers, opened));
};

describe('Content-Range', () => {
  test('what is one, and what is not', () => {
    expect(parseContentRange('bytes 0-9/100')).toEqual({ first: 0, last: 9, total: 100 });
    expect(parseContentRange(' Bytes  5-5/*')).toEqual({ first: 5, last: 5, total: null });
    expect(parseContentRange('bytes */7')).toEqual({ first: null, last: null, total: 7 });
    for (const no of [null, '', 'bytes', 'bytes 5-4/9', 'bytes 0-9/9', 'pages 0-9/100', 'bytes 0-9', 'bytes -9/100'])
      expect(parseContentRange(no), String(no)).toBeNull();
    expect(parseContentRange('bytes 0-9/99999999999999999999')).toBeNull();
  });

  test('any text is taken apart or refused, and what is taken apart is sound', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[bytes\-/* 0-9]{0,30}$/), (value) => {
        const range = parseContentRange(value);
        if (range === null || range.first === null || range.last === null) return true;
        return range.first <= range.last && (range.total === null || range.last < range.total);
      }),
    );
  });
});

describe('the head of a range', () => {
  test('the one that was asked for', () => {
    expect(checkRange(asked, new Headers(good), known)).toEqual({ ...known, length: 50 });
    expect(check({ 'content-length': '50' })).toBe('accepted');
    expect(check({ 'content-range': 'bytes 100-149/*' })).toBe('accepted');
    expect(check({ 'content-encoding': 'identity' })).toBe('accepted');
  });

  test('only the range that was asked for', () => {
    fc.assert(
      fc.property(fc.nat(1100), fc.nat(1100), fc.constantFrom('1000', '999', '*'), (first, last, total) => {
        const said = check({ 'content-range': `bytes ${first}-${last}/${total}` });
        expect(said === 'accepted').toBe(first === 100 && last === 149 && total !== '999');
      }),
    );
    expect(check({ 'content-range': '' })).toBe('NOT_RANGE');
    expect(check({ 'content-length': '49' })).toBe('NOT_RANGE');
    expect(check({ 'content-encoding': 'gzip' })).toBe('NOT_RANGE');
  });

  test('the range is cut at the end of the object, and may count from there', () => {
    const at = (first: number | null, length: number, range: string) =>
      code(() => checkRange({ name: 'x', at: first, length }, new Headers({ ...good, 'content-range': range }), known));
    expect(at(990, 50, 'bytes 990-999/1000')).toBe('accepted');
    expect(at(null, 50, 'bytes 950-999/1000')).toBe('accepted');
    expect(at(null, 5000, 'bytes 0-999/1000')).toBe('accepted');
    expect(at(null, 50, 'bytes 0-49/1000')).toBe('NOT_RANGE');
  });

  test('another version', () => {
    expect(check({ etag: '"b"' })).toBe('CHANGED');
    expect(check({ etag: '' })).toBe('CHANGED');
    expect(check({ 'content-range': 'bytes 100-149/1001' })).toBe('CHANGED');
    // A strong tag decides: copies of one object may have other dates.
    expect(check({ 'last-modified': 'Mon, 01 Jan 2024 00:00:01 GMT' })).toBe('accepted');
    const weak = { ...known, etag: 'W/"a"' };
    expect(check({ etag: 'W/"a"' }, weak)).toBe('accepted');
    expect(check({ etag: 'W/"a"', 'last-modified': 'Mon, 01 Jan 2024 00:00:01 GMT' }, weak)).toBe('CHANGED');
    const dated = { ...known, etag: null as unknown as string };
    expect(check({ etag: '' }, dated)).toBe('accepted');
    expect(check({ etag: '', 'last-modified': '' }, dated)).toBe('CHANGED');
    expect(check({ etag: '', 'last-modified': 'Mon, 01 Jan 2024 00:00:01 GMT' }, dated)).toBe('CHANGED');
  });

  test('the answer that opens must say how large the object is', () => {
    expect(check({}, null)).toBe('accepted');
    expect(check({ 'content-range': 'bytes 100-149/*' }, null)).toBe('WRONG_SIZE');
  });
});

describe('statuses', () => {
  const said = (status: number, headers: Record<string, string> = {}, opened: typeof known | null = known) => {
    const error = statusError(asked, new Response(null, { status, headers }), opened);
    return error === null ? 'accepted' : error.retryable ? `${error.code} later` : error.code;
  };

  test('each says what is wrong', () => {
    expect([206, 200, 302, 308, 404, 403, 412, 429, 503, 500].map((status) => said(status))).toEqual([
      ...['accepted', 'NOT_RANGE', 'REDIRECTED', 'REDIRECTED', 'SOURCE', 'SOURCE', 'CHANGED'],
      ...['SOURCE later', 'SOURCE later', 'SOURCE later'],
    ]);
    expect(said(200, { etag: '"b"' })).toBe('CHANGED');
    expect(said(416)).toBe('NOT_RANGE');
    expect(said(416, { 'content-range': 'bytes */1000' })).toBe('NOT_RANGE');
    expect(said(416, { 'content-range': 'bytes */50' })).toBe('CHANGED');
    expect(said(416, { 'content-range': 'bytes */50' }, null)).toBe('NOT_RANGE');
  });

  test('when to come back', () => {
    const wait = (headers: Record<string, string>) =>
      retryAfterMs(new Headers(headers), Date.parse('2024-01-01T00:00:00Z'));
    expect(wait({})).toBeUndefined();
    expect(wait({ 'retry-after': '3' })).toBe(3000);
    expect(wait({ 'retry-after': 'soon' })).toBeUndefined();
    expect(wait({ 'retry-after': 'Mon, 01 Jan 2024 00:00:09 GMT' })).toBe(9000);
    expect(wait({ 'retry-after': 'Sun, 31 Dec 2023 00:00:09 GMT' })).toBe(0);
    // By the server's clock, when it tells it.
    const both = { 'retry-after': 'Mon, 01 Jan 2024 00:00:09 GMT', date: 'Mon, 01 Jan 2024 00:00:07 GMT' };
    expect(wait(both)).toBe(2000);
  });

  test('the condition of a request', () => {
    expect(condition(known)).toEqual({ 'if-match': '"a"' });
    expect(condition({ ...known, etag: 'W/"a"' })).toEqual({ 'if-unmodified-since': known.lastModified });
    expect(condition({ ...known, etag: null })).toEqual({ 'if-unmodified-since': known.lastModified });
    expect(condition({ size: 1, etag: null, lastModified: null })).toEqual({});
  });
});
