import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { CacheError } from '../../../src/cache/errors.ts';
import { type HttpOptions, httpSource } from '../../../src/cache/sources/http.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstWrong } from '../content.ts';
import { FAULTS, FaultServer } from '../http_server.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { joined, useAtRandom } from './random_use.ts';

let server: FaultServer;
let urls = 0;
beforeAll(async () => {
  server = await FaultServer.listen();
});
afterAll(() => server.close());

const SIZE = 1_000_000;
const SEED = 3;
/** An object of its own; the first `faults` is that of the request that opens. */
const url = (faults = '', more = '', size = SIZE): string =>
  `${server.origin}/${size}/${SEED}?n=${urls++}&faults=${faults}&${more}`;

async function opened(at: string, options: HttpOptions = {}) {
  const source = httpSource(at, options);
  const { size } = await source.open();
  return { source, size };
}

/** Reads far from the start and checks the bytes. */
async function reads(source: ReturnType<typeof httpSource>, at = 500_000, length = 10_000): Promise<void> {
  const into = new Uint8Array(length);
  expect(await source.read(into, at)).toBe(length);
  expect(firstWrong(into, SEED, at)).toBe(-1);
}

describe('httpSource', () => {
  test('random use', async () => {
    const source = httpSource(url());
    await useAtRandom(source, content(SEED, 0, SIZE), { seed: seedOf(2), steps: stepsOf(80), lengthMax: 100_000 });
  });

  test('the name has no query, which may hold a signature', async () => {
    const source = httpSource(`${server.origin}/100/1?signature=secret&faults=gone`);
    expect(source.name).toBe(`${server.origin}/100/1`);
    expect((await failsWith(source.open(), 'SOURCE')).message).toBe(
      `${server.origin}/100/1: the server answers 404 Not Found`,
    );
    expect(() => httpSource('not a url')).toThrow(CacheError);
  });

  test('the request that opens brings bytes that are read without another', async () => {
    const at = url();
    const { source, size } = await opened(at);
    expect(size).toBe(SIZE);
    await reads(source, 0, 4096);
    expect(server.asked(at).map((r) => r.range)).toEqual(['bytes=0-16383']);
    await reads(source, 8192, 20_000);
    expect(server.asked(at).map((r) => r.range)).toEqual(['bytes=0-16383', 'bytes=16384-28191']);
    // They were read once: from now on the server is asked.
    await reads(source, 0, 8192);
    await reads(source, 0, 4096);
    expect(server.asked(at).at(-1)?.range).toBe('bytes=0-4095');
  });

  test('or the end, where that is what the format begins with', async () => {
    const at = url();
    const { source, size } = await opened(at, { first: { from: 'end', bytes: 5000 } });
    expect(size).toBe(SIZE);
    await reads(source, SIZE - 8, 8);
    await reads(source, SIZE - 6000, 5992);
    expect(server.asked(at).map((r) => r.range)).toEqual(['bytes=-5000', 'bytes=994000-994999']);
    await failsWith(httpSource(at, { first: { from: 'end', bytes: 0 } }).open(), 'INVALID_OFFSET');
  });

  test('small and empty objects', async () => {
    for (const size of [1, 100, 16_384]) {
      const { source } = await opened(url('', '', size));
      await useAtRandom(httpSource(url('', '', size)), content(SEED, 0, size), { seed: size, steps: 20 });
      const into = new Uint8Array(20_000);
      expect(await source.read(into, 0)).toBe(size);
    }
    for (const first of [
      { from: 'start', bytes: 9 },
      { from: 'end', bytes: 9 },
    ] as const)
      expect((await opened(url('', '', 0), { first })).size).toBe(0);
    expect((await opened(url('whole', '', 0))).size).toBe(0);
  });

  test('each request has the condition and the headers', async () => {
    const at = url();
    const { source } = await opened(at, { headers: { authorization: 'Bearer x' } });
    await reads(source);
    const [first, second] = server.asked(at);
    expect(first?.headers).toMatchObject({ authorization: 'Bearer x' });
    expect(first?.headers['if-match']).toBeUndefined();
    expect(second?.headers).toMatchObject({
      authorization: 'Bearer x',
      'if-match': '"1000000-3"',
      'accept-encoding': 'identity',
    });
    const weak = url('', 'etag=weak');
    await reads((await opened(weak)).source);
    expect(server.asked(weak)[1]?.headers).toMatchObject({ 'if-unmodified-since': 'Mon, 01 Jan 2024 00:00:03 GMT' });
  });

  test('a request is spread over several buffers', async () => {
    const { source } = await opened(url('-,slow'));
    const pieces = [0, 7, 3000, 1, 4096].map((n) => new Uint8Array(n));
    expect(await source.readv?.(pieces, 40_000)).toBe(7104);
    expect(firstWrong(joined(pieces), SEED, 40_000)).toBe(-1);
  });

  test('the end of the object cuts a read; past it there is nothing to ask', async () => {
    const at = url();
    const { source } = await opened(at);
    const into = new Uint8Array(100);
    expect(await source.read(into, SIZE - 10)).toBe(10);
    expect(await source.read(into, SIZE)).toBe(0);
    expect(await source.read(into, SIZE + 5)).toBe(0);
    expect(await source.read(new Uint8Array(0), 5)).toBe(0);
    expect(server.asked(at).length).toBe(2);
  });
});

describe('a server that is not well', () => {
  /** What a fault of a later request must come to, with `+` when it may be tried again. */
  const later: Readonly<Record<string, string>> = {
    reset: 'SOURCE+',
    short: 'SHORT_READ+',
    shortChunked: 'SHORT_READ+',
    long: 'NOT_RANGE',
    shifted: 'NOT_RANGE',
    half: 'NOT_RANGE',
    unnamed: 'NOT_RANGE',
    multipart: 'NOT_RANGE',
    unit: 'NOT_RANGE',
    length: 'NOT_RANGE',
    total: 'CHANGED',
    whole: 'NOT_RANGE',
    gzip: 'NOT_RANGE',
    redirect: 'REDIRECTED',
    loop: 'REDIRECTED',
    unsatisfiable: 'NOT_RANGE',
    change: 'CHANGED',
    changeDeaf: 'CHANGED',
    changeUntagged: 'CHANGED',
    grow: 'CHANGED',
    gone: 'SOURCE',
    forbidden: 'SOURCE',
    busy: 'SOURCE+',
    broken: 'SOURCE+',
    tomorrow: 'SOURCE+',
  };
  const fine = ['delay', 'slow', 'star'];

  test('every fault is in the table', () => {
    expect([...Object.keys(later), ...fine, 'stall'].toSorted()).toEqual([...FAULTS].toSorted());
  });

  test.each(Object.entries(later))('%s while reading: %s, and the source goes on', async (fault, due) => {
    const at = url(`-,${fault}`);
    const { source } = await opened(at);
    const error = await failsWith(source.read(new Uint8Array(50_000), 300_000), due.replace('+', ''));
    expect(error).toMatchObject({ source: source.name, at: 300_000, retryable: due.endsWith('+') });
    if (due !== 'CHANGED' || fault === 'total') await reads(source);
    else await failsWith(source.read(new Uint8Array(50), 300_000), 'CHANGED');
  });

  test.each(fine)('%s is fine', async (fault) => {
    const { source } = await opened(url(`-,${fault}`));
    await reads(source);
  });

  test.each([
    ...[
      'reset:SOURCE+',
      'short:SHORT_READ+',
      'whole:NOT_RANGE',
      'gzip:NOT_RANGE',
      'redirect:REDIRECTED',
      'gone:SOURCE',
    ],
    ...['star:WRONG_SIZE', 'unnamed:NOT_RANGE', 'shifted:NOT_RANGE', 'busy:SOURCE+', 'unsatisfiable:NOT_RANGE'],
  ])('%s at the opening', async (pair) => {
    const [fault, due = ''] = pair.split(':');
    const error = await failsWith(httpSource(url(fault)).open(), due.replace('+', ''));
    expect(error.retryable).toBe(due.endsWith('+'));
  });

  test('when to come back', async () => {
    const { source } = await opened(url('-,busy,broken'));
    expect(await failsWith(source.read(new Uint8Array(1), 99_999), 'SOURCE')).toMatchObject({
      retryAfterMs: 0,
      status: 429,
    });
    expect(await failsWith(source.read(new Uint8Array(1), 99_999), 'SOURCE')).toMatchObject({ status: 503 });
  });

  test('the whole of a large object is not downloaded', async () => {
    const size = 2e9;
    const at = url('-,whole', '', size);
    const { source } = await opened(at);
    await failsWith(source.read(new Uint8Array(4096), 100_000), 'NOT_RANGE');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.asked(at).at(-1)?.sent).toBeLessThan(size / 4);
  });

  test('a redirect is followed when it is to be', async () => {
    const { source } = await opened(url('redirect,redirect'), { redirect: 'follow' });
    await reads(source);
    await failsWith(
      httpSource(url('loop,loop,loop').replace(/faults=.*?&/, `faults=${'loop,'.repeat(99)}&`), {
        redirect: 'follow',
      }).open(),
      'SOURCE',
    );
  });

  test('without a validator a change would go unseen: refused, but for what never changes', async () => {
    const none = 'etag=none&modified=none';
    expect((await failsWith(httpSource(url('', none)).open(), 'NO_VALIDATOR')).message).toMatch(/neither ETag nor/);
    const { source } = await opened(url('-,-,grow', none), { immutable: true });
    await reads(source);
    // The size is looked at even then.
    await failsWith(source.read(new Uint8Array(10), 99_999), 'CHANGED');
  });

  test.each(['etag=weak', 'etag=none', 'modified=none', 'etag=weak&modified=none'])(
    'a change is seen by %s',
    async (tags) => {
      for (const fault of ['change', 'changeDeaf']) {
        const { source } = await opened(url(`-,-,${fault}`, tags));
        await reads(source);
        await failsWith(source.read(new Uint8Array(10), 99_999), 'CHANGED');
      }
    },
  );

  test('no server at all', async () => {
    const error = await failsWith(httpSource('http://127.0.0.1:1/x').open(), 'SOURCE');
    expect(error.retryable).toBe(true);
    expect(error.message).toMatch(/^http:\/\/127\.0\.0\.1:1\/x: .+/);
  });

  test('a fetch of the program’s own', async () => {
    const asked: string[] = [];
    const { source } = await opened(url(), {
      fetch: (input, init) => {
        asked.push(new Headers(init?.headers).get('range') ?? '');
        return fetch(input, init);
      },
    });
    await reads(source);
    expect(asked).toEqual(['bytes=0-16383', 'bytes=500000-509999']);
    const broken = httpSource(url(), { fetch: () => Promise.reject(new Error('no token')) });
    expect(await failsWith(broken.open(), 'SOURCE')).toMatchObject({ retryable: false });
  });
});

describe('aborts', () => {
  test('before', async () => {
    const { source } = await opened(url());
    await heedsSignals(source);
    await failsWith(httpSource(url()).open(AbortSignal.abort()), 'ABORTED');
  });

  test('while no answer comes, and in the middle of one; others do not notice', async () => {
    for (const fault of ['stall', 'slow']) {
      const { source } = await opened(url(`-,${fault},slow`));
      const abort = new AbortController();
      const into = new Uint8Array(70_000);
      const read = source.read(into, 200_000, abort.signal);
      const other = reads(source, 210_000);
      setTimeout(() => abort.abort(new Error('gone')), 8);
      const error = await failsWith(read, 'ABORTED');
      expect(error.cause).toEqual(new Error('gone'));
      // Nothing is written into the buffer any more.
      into.fill(0);
      await other;
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(into.every((byte) => byte === 0)).toBe(true);
    }
  });
});

describe('at random', () => {
  test('whatever the server does, a read is right or it is an error', async () => {
    const seed = seedOf(11);
    const r = new Prng(seed);
    const counts = { right: 0, wrong: 0, failed: 0 };
    const usual = FAULTS.filter((fault) => fault !== 'stall' && fault !== 'delay');
    for (let round = 0; round < stepsOf(40); round++) {
      const faults = Array.from({ length: 14 }, () => (r.below(3) > 0 ? '-' : r.pick(usual))).join(',');
      const tags = r.pick(['', 'etag=weak', 'etag=none', 'modified=none', 'deaf']);
      const source = httpSource(url(faults, tags, r.between(1, 200_000)), {
        redirect: r.pick(['error', 'follow']),
        first: { from: r.pick(['start', 'end']), bytes: r.between(1, 30_000) },
      });
      const size = await source.open().then(
        (o) => o.size,
        () => -1,
      );
      if (size < 0) continue;
      const seen = new Set<number>();
      for (let step = 0; step < 12; step++) {
        const at = r.below(size);
        const into = new Uint8Array(r.between(1, 40_000));
        try {
          const got = await source.read(into, at);
          // Opening may have met another version than the first: one it must be, and the same for all reads.
          const version = [0, 1, 2, 3].find((v) => firstWrong(into.subarray(0, got), SEED + v, at) < 0);
          if (version === undefined || got !== Math.min(into.length, size - at)) counts.wrong++;
          else counts.right++;
          if (version !== undefined && got > 8) seen.add(version);
        } catch (error) {
          expect(error, `seed ${seed}, round ${round}`).toBeInstanceOf(CacheError);
          counts.failed++;
        }
      }
      expect(seen.size, `seed ${seed}, round ${round}: versions`).toBeLessThanOrEqual(1);
    }
    expect(counts.wrong, `seed ${seed}`).toBe(0);
    expect(Math.min(counts.right, counts.failed)).toBeGreaterThan(20);
  });
});
