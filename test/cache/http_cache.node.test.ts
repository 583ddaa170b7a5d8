/** The cache over a server that misbehaves: what passes is tried again, what does not is a typed error, no byte is ever wrong. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { CacheError, PageCache } from '../../src/cache/index.ts';
import { type HttpOptions, httpSource } from '../../src/cache/sources/http.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';
import { firstWrong } from './content.ts';
import { FAULTS, FaultServer } from './http_server.ts';
import { failsWith } from './sources/contract.ts';

let server: FaultServer;
let urls = 0;
beforeAll(async () => {
  server = await FaultServer.listen();
});
afterAll(() => server.close());

const SIZE = 3_000_000;
const SEED = 12;
const url = (faults = '', more = ''): string => `${server.origin}/${SIZE}/${SEED}?n=${urls++}&faults=${faults}&${more}`;

async function opened(at: string, options: HttpOptions = {}) {
  const cache = new PageCache({ memory: '4MiB', retry: { times: 3, delayMs: 1 } });
  const source = httpSource(at, options);
  const file = await cache.open(source);
  const read = async (from: number, length: number): Promise<number> => {
    const into = new Uint8Array(length);
    const n = await file.read(into, from);
    const wrong = firstWrong(into.subarray(0, n), SEED, from);
    if (wrong >= 0) throw new Error(`wrong byte at ${from + wrong}`);
    return n;
  };
  return { cache, source, file, read };
}

describe('errors of the server reach the reader by their names', () => {
  test.each([
    ...[
      'whole:NOT_RANGE',
      'shifted:NOT_RANGE',
      'half:NOT_RANGE',
      'unnamed:NOT_RANGE',
      'gzip:NOT_RANGE',
      'long:NOT_RANGE',
    ],
    ...['length:NOT_RANGE', 'multipart:NOT_RANGE', 'unsatisfiable:NOT_RANGE', 'redirect:REDIRECTED', 'loop:REDIRECTED'],
    ...['change:CHANGED', 'changeDeaf:CHANGED', 'changeUntagged:CHANGED', 'grow:CHANGED', 'total:CHANGED'],
    ...['gone:SOURCE', 'forbidden:SOURCE'],
  ])('%s', async (pair) => {
    const [fault, due = ''] = pair.split(':');
    // The reader's request and what is tried again for him alone.
    const { cache, file, read, source } = await opened(url(`-,${fault},${fault},${fault}`));
    const error = await failsWith(Promise.resolve(file.read(new Uint8Array(5000), 1_000_000)), due);
    expect(error.source).toBe(source.name);
    // What came before is there, and stays right.
    expect(await read(0, 4096).catch((e: CacheError) => e.code)).toBeOneOf([4096, 'CHANGED']);
    if (due !== 'CHANGED') expect(await read(2_000_000, 10_000)).toBe(10_000);
    await cache.close();
  });

  test('after a change no new byte is given out, what was cached before is of the version that was opened', async () => {
    const { cache, file, read } = await opened(url('-,-,change'));
    await read(500_000, 4096);
    await failsWith(Promise.resolve(file.read(new Uint8Array(5000), 2_500_000)), 'CHANGED');
    expect(await read(500_000, 4096)).toBe(4096);
    await failsWith(Promise.resolve(file.read(new Uint8Array(5000), 2_500_000)), 'CHANGED');
    await failsWith(Promise.resolve(file.view(2_400_000, 10)), 'CHANGED');
    await failsWith(file.prefetch(2_400_000, 10), 'CHANGED');
    await cache.close();
  });

  test.each(['whole:NOT_RANGE', 'redirect:REDIRECTED', 'gone:SOURCE', 'star:WRONG_SIZE', 'gzip:NOT_RANGE'])(
    'when opening: %s',
    async (pair) => {
      const [fault, due = ''] = pair.split(':');
      const cache = new PageCache({ memory: '4MiB', retry: { times: 1, delayMs: 1 } });
      const at = url(fault);
      await failsWith(cache.open(httpSource(at)), due);
      // The same place, well again.
      const file = await cache.open(httpSource(at));
      expect(await file.read(new Uint8Array(100), 0)).toBe(100);
      await cache.close();
    },
  );
});

describe('what may pass is tried again', () => {
  test.each(['reset', 'short', 'shortChunked', 'busy', 'broken'])('%s', async (fault) => {
    const at = url(`-,${fault},${fault === 'broken' ? '-' : fault}`);
    const { cache, read } = await opened(at);
    expect(await read(1_000_000, 5000)).toBe(5000);
    expect(cache.stats().requests.retries).toBe(fault === 'broken' ? 1 : 2);
    await cache.close();
  });

  test('not when the server asks for a pause that nobody would wait for', async () => {
    const at = url('-,tomorrow,tomorrow');
    const { cache, file } = await opened(at);
    const error = await failsWith(Promise.resolve(file.read(new Uint8Array(10), 1_000_000)), 'SOURCE');
    expect(error).toMatchObject({ retryable: true, retryAfterMs: 86_400_000, status: 503 });
    expect(server.asked(at).length).toBeLessThanOrEqual(3);
    await cache.close();
    const opening = new PageCache({ memory: '4MiB' });
    await failsWith(opening.open(httpSource(url('tomorrow'))), 'SOURCE');
    await opening.close();
  });

  test('but not for ever', async () => {
    const { cache, file } = await opened(url(`-${',busy'.repeat(50)}`));
    await failsWith(Promise.resolve(file.read(new Uint8Array(10), 1_000_000)), 'SOURCE');
    await cache.close();
  });
});

describe('what comes with the opening', () => {
  test('is in the cache when the file is open', async () => {
    for (const first of [
      { from: 'start', bytes: 16_384 },
      { from: 'end', bytes: 50_000 },
    ] as const) {
      const at = url();
      const { cache, file, source } = await opened(at, { first });
      const into = new Uint8Array(8000);
      const from = first.from === 'start' ? 0 : SIZE - 8000;
      expect(file.readSync(into, from)).toBe(8000);
      expect(firstWrong(into, SEED, from)).toBe(-1);
      expect(server.asked(at).length).toBe(1);
      expect(source.opened?.length ?? 0).toBeLessThan(4096);
      await cache.close();
    }
  });

  test('a small object needs no other request', async () => {
    const at = `${server.origin}/5000/${SEED}?n=${urls++}&faults=-,whole`;
    const { cache, file, read } = await opened(at);
    expect(file.readSync(new Uint8Array(6000), 0)).toBe(5000);
    expect(await read(0, 6000)).toBe(5000);
    expect(server.asked(at).length).toBe(1);
    await cache.close();
  });
});

describe('requests', () => {
  test('however many wait for a range, one request brings it', async () => {
    const at = url('-,slow');
    const { cache, read } = await opened(at);
    const many = Array.from({ length: 40 }, (_, i) => read(1_000_000 + i * 100, 3000));
    expect(await Promise.all(many)).toEqual(Array(40).fill(3000));
    expect(server.asked(at).length).toBe(2);
    await cache.close();
  });

  test('a reader that leaves takes nothing from the others', async () => {
    const { cache, file, read } = await opened(url('-,slow'));
    const abort = new AbortController();
    const left = failsWith(
      Promise.resolve(file.read(new Uint8Array(3000), 1_000_000, { signal: abort.signal })),
      'ABORTED',
    );
    const stays = read(1_000_000, 3000);
    setTimeout(() => abort.abort(), 3);
    await left;
    expect(await stays).toBe(3000);
    await cache.close();
  });

  test('when everybody has left the connection is ended, what is queued is not sent, and who is left gets his bytes', async () => {
    const at = url('-,stall');
    const { cache, file, read } = await opened(at, { hints: { latencyMs: 1, bytesPerSecond: 1e7, parallel: 1 } });
    const abort = new AbortController();
    const { signal } = abort;
    const tiles = [10, 14, 18, 22, 26].map((tile) =>
      failsWith(Promise.resolve(file.read(new Uint8Array(3000), tile * 100_000, { signal })), 'ABORTED'),
    );
    await expect.poll(() => server.asked(at).length).toBe(2);
    const stays = read(1_600_000, 3000);
    abort.abort();
    await Promise.all(tiles);
    expect(await stays).toBe(3000);
    await expect.poll(() => server.asked(at)[1]?.left).toBe(true);
    expect(server.asked(at).length).toBe(3);
    expect(cache.stats().requests).toMatchObject({ cancelled: 5, failures: 0, retries: 0 });
    // What was given up is asked for anew.
    expect(await read(1_000_000, 3000)).toBe(3000);
    expect(server.asked(at).length).toBe(4);
    await cache.close();
  });

  test('closing ends what is under way', async () => {
    const { cache, file } = await opened(url('-,stall'));
    const read = failsWith(Promise.resolve(file.read(new Uint8Array(10), 1_000_000)), 'CLOSED');
    setTimeout(() => void cache.close(), 5);
    await read;
    await cache.close();
  });
});

describe('at random', () => {
  test('every byte is right, whatever the server does; nothing hangs', async () => {
    const seed = seedOf(77);
    const r = new Prng(seed);
    const usual = FAULTS.filter((fault) => !['stall', 'delay', 'slow', 'broken'].includes(fault));
    const changes = ['change', 'changeDeaf', 'changeUntagged', 'grow'];
    const counts = { right: 0, failed: 0 };
    for (let round = 0; round < stepsOf(8); round++) {
      const changing = r.below(2) === 0;
      const kinds = usual.filter((fault) => changing || !changes.includes(fault));
      const faults = Array.from({ length: 60 }, (_, i) => (i === 0 || r.below(3) > 0 ? '-' : r.pick(kinds))).join(',');
      const { cache, file, read } = await opened(url(faults), { redirect: r.pick(['error', 'follow']) });
      for (let step = 0; step < 25; step++) {
        const one = async (): Promise<void> => {
          const at = r.below(SIZE);
          const length = r.between(1, r.pick([100, 5000, 100_000]));
          try {
            expect(await read(at, length)).toBe(Math.min(length, SIZE - at));
            counts.right++;
          } catch (error) {
            expect(error, `seed ${seed}, round ${round}, step ${step}`).toBeInstanceOf(CacheError);
            counts.failed++;
          }
        };
        await Promise.all(Array.from({ length: r.between(1, 4) }, one));
      }
      await file.close();
      await cache.close();
    }
    expect(counts.right).toBeGreaterThan(50);
    expect(counts.failed).toBeGreaterThan(10);
  });
});
