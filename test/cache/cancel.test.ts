/** Reads of the source that nobody waits for any more: not sent, or given up; whoever comes for their bytes gets the right ones. */
import { describe, expect, test } from 'vitest';
import { type CachedFile, CacheError, PageCache } from '../../src/cache/index.ts';
import type { SourceHints } from '../../src/cache/source.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { same } from './faulty_source.ts';
import { type AskedOf, GateSource, settled } from './gate_source.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const ONE: SourceHints = { parallel: 1 };

async function opened(hints?: SourceHints, size = 4 * MIB) {
  const source = new GateSource(size, hints);
  const cache = new PageCache({ memory: '16MiB', retry: { times: 3, delayMs: 1 } });
  const file = await cache.open(source);
  file.advise('random');
  source.hold();
  return { source, cache, file, core: cache.unsafeInternals };
}
type World = Awaited<ReturnType<typeof opened>>;

/** A read that can be given up. */
function reader({ file, source }: World, at: number, length = PAGE) {
  const given = new AbortController();
  const into = new Uint8Array(length);
  const done = Promise.resolve(file.read(into, at, { signal: given.signal })).then(
    () => (same(into, source.bytes.subarray(at, at + length)) ? 'right' : 'wrong'),
    (error: unknown) => (error instanceof CacheError ? error.code : String(error)),
  );
  return { done, leave: () => given.abort() };
}

const right = async (file: CachedFile, source: GateSource, at: number, length = PAGE): Promise<boolean> => {
  const into = new Uint8Array(length);
  return (await file.read(into, at)) === length && same(into, source.bytes.subarray(at, at + length));
};
const pages = (asked: readonly AskedOf[]): number[][] => asked.map((r) => [r.at / PAGE, r.length / PAGE]);

/** Nothing is held once all has ended. */
async function ends({ cache, core, source }: World): Promise<void> {
  source.release();
  await settled();
  expect(core.waiters).toBe(0);
  expect(core.busy).toBe(false);
  checkMachine(core.m, true);
  expect(cache.stats().requests).toMatchObject({ failures: 0, retries: 0 });
  await cache.close();
  expect(core.m.vmstat[V.nr_file_pages]).toBe(0);
}

describe('a request that is queued', () => {
  test('is not sent when everybody who waited has left', async () => {
    const world = await opened(ONE);
    const { source, cache, file } = world;
    const stays = right(file, source, 0);
    const tiles = [100, 200, 300].map((page) => reader(world, page * PAGE));
    await settled();
    expect(pages(source.asked)).toEqual([[0, 1]]);
    for (const tile of tiles) tile.leave();
    const wanted = right(file, source, 400 * PAGE);
    expect(await Promise.all(tiles.map((tile) => tile.done))).toEqual(['ABORTED', 'ABORTED', 'ABORTED']);
    expect(cache.stats().requests.cancelled).toBe(3);
    expect(cache.snapshot().files[0]?.folios.map((f) => f.index)).toEqual([0, 400]);
    source.release();
    expect(await Promise.all([stays, wanted])).toEqual([true, true]);
    expect(pages(source.asked)).toEqual([
      [0, 1],
      [400, 1],
    ]);
    // Who comes later asks anew.
    expect(await right(file, source, 200 * PAGE)).toBe(true);
    await ends(world);
  });

  test('is not sent when its reader leaves at once', async () => {
    const world = await opened();
    const tile = reader(world, 100 * PAGE, 10 * PAGE);
    tile.leave();
    expect(await tile.done).toBe('ABORTED');
    await settled();
    // It may have been sent before the reader could take leave; then it was given up.
    expect(world.source.asked.every((r) => r.signal?.aborted)).toBe(true);
    expect(world.cache.stats().requests.cancelled).toBe(1);
    await ends(world);
  });

  test('is sent when somebody else waits, whether he came before or after', async () => {
    const world = await opened(ONE);
    const { source, cache, file } = world;
    const first = right(file, source, 0);
    const before = right(file, source, 100 * PAGE);
    const a = reader(world, 100 * PAGE);
    const b = reader(world, 200 * PAGE);
    const after = right(file, source, 200 * PAGE + 50, 100);
    await settled();
    a.leave();
    b.leave();
    await settled();
    expect(cache.stats().requests.cancelled).toBe(0);
    source.release();
    expect(await Promise.all([first, before, after])).toEqual([true, true, true]);
    expect(source.asked.length).toBe(3);
    await ends(world);
  });

  test('takes what was to be read along with it away', async () => {
    // Dear enough that a block is read around what is asked for, in several requests of the engine.
    const world = await opened({ latencyMs: 20, bytesPerSecond: 50e6, parallel: 1 }, 16 * MIB);
    const { source, cache, file } = world;
    file.advise('normal');
    const first = right(file, source, 0);
    await settled();
    const tile = reader(world, 10 * MIB + 7 * PAGE);
    await settled();
    expect(cache.snapshot().files[0]?.folios.some((f) => f.index > 2048)).toBe(true);
    tile.leave();
    await settled();
    expect(cache.stats().requests.cancelled).toBe(1);
    expect(cache.snapshot().files[0]?.folios.some((f) => f.index > 2048)).toBe(false);
    expect(world.core.fetched.every((entry) => entry.from < 2048)).toBe(true);
    source.release();
    expect(await first).toBe(true);
    expect(source.asked.length).toBe(1);
    await ends(world);
  });

  test('takes all parts of a long read away, not only the one that is waited for', async () => {
    const world = await opened(ONE);
    const { source, cache, file } = world;
    source.release();
    await file.prefetch(150 * PAGE, PAGE);
    source.hold();
    source.asked.length = 0;
    // What lies before the page that is cached, and what lies after it.
    const long = reader(world, 100 * PAGE, 100 * PAGE);
    await settled();
    expect(pages(source.asked)).toEqual([[100, 50]]);
    expect(cache.stats().resident).toBe(100 * PAGE);
    long.leave();
    source.release();
    await settled();
    expect(source.asked.length).toBe(1);
    expect(cache.stats()).toMatchObject({ resident: PAGE, requests: { cancelled: 2 } });
    expect(await right(file, source, 100 * PAGE, 100 * PAGE)).toBe(true);
    await ends(world);
  });
});

describe('a request that is under way', () => {
  test('is given up when everybody who waited has left', async () => {
    const world = await opened();
    const { source, cache, file } = world;
    const a = reader(world, 100 * PAGE);
    const b = reader(world, 100 * PAGE + 10, 10);
    await settled();
    a.leave();
    await settled();
    expect(source.asked[0]?.signal?.aborted).toBe(false);
    b.leave();
    expect(await Promise.all([a.done, b.done])).toEqual(['ABORTED', 'ABORTED']);
    expect(source.asked[0]?.signal?.aborted).toBe(true);
    expect(cache.stats().requests.cancelled).toBe(1);
    // The source still writes into the folio: it stays until that has ended.
    expect(cache.stats().resident).toBe(PAGE);
    source.release();
    await settled();
    expect(cache.stats().resident).toBe(0);
    expect(await right(file, source, 100 * PAGE)).toBe(true);
    expect(source.asked.length).toBe(2);
    await ends(world);
  });

  test('is asked for again by a reader who comes before it has ended', async () => {
    for (const fails of [false, true]) {
      const world = await opened();
      const { source, cache, file } = world;
      const gone = reader(world, 100 * PAGE, 3 * PAGE);
      await settled();
      gone.leave();
      await settled();
      const late = right(file, source, 100 * PAGE, 3 * PAGE);
      await settled();
      expect(source.asked.length).toBe(1);
      // A source that heeds the signal fails, another one answers all the same.
      source.fault = () => {
        if (fails && source.asked.length === 1) throw new Error('given up');
      };
      source.release();
      expect(await late).toBe(true);
      expect(
        pages(source.asked)
          .slice(1)
          .flatMap(([at = 0, n = 0]) => Array.from({ length: n }, (_, i) => at + i)),
      ).toEqual([100, 101, 102]);
      expect(cache.stats().requests).toMatchObject({ cancelled: 1, failures: 0, retries: 0 });
      await ends(world);
    }
  });

  test('goes on for a reader who came before the other one left', async () => {
    const world = await opened();
    const { source, cache, file } = world;
    const gone = reader(world, 100 * PAGE, 4 * PAGE);
    const stays = right(file, source, 102 * PAGE, 2 * PAGE);
    await settled();
    gone.leave();
    await settled();
    expect(source.asked[0]?.signal?.aborted).toBe(false);
    source.release();
    expect(await stays).toBe(true);
    expect(source.asked.length).toBe(1);
    expect(cache.stats().requests.cancelled).toBe(0);
    await ends(world);
  });

  test('goes on for a reader who needs it later, and waits for another one now', async () => {
    const world = await opened({ maxRequest: 4 * PAGE });
    const { source, cache, file } = world;
    const stays = right(file, source, 100 * PAGE, 12 * PAGE);
    await settled();
    const gone = reader(world, 110 * PAGE);
    await settled();
    gone.leave();
    expect(await gone.done).toBe('ABORTED');
    expect(source.asked.some((r) => r.signal?.aborted)).toBe(false);
    source.release();
    expect(await stays).toBe(true);
    expect(cache.stats().requests.cancelled).toBe(0);
    await ends(world);
  });

  test('is not tried again: a pause ends at once', async () => {
    const source = new GateSource(MIB);
    const cache = new PageCache({ memory: '8MiB', retry: { times: 3, delayMs: 20_000 } });
    const file = await cache.open(source);
    const world = { source, cache, file, core: cache.unsafeInternals };
    source.fault = () => {
      throw new CacheError('SOURCE', 'busy', { retryable: true });
    };
    const gone = reader(world, 0);
    await settled();
    expect(cache.stats().requests).toMatchObject({ retries: 1, cancelled: 0 });
    gone.leave();
    expect(await gone.done).toBe('ABORTED');
    await settled();
    expect(cache.stats().requests).toMatchObject({ retries: 1, cancelled: 1, failures: 0, reads: 1 });
    expect(world.core.busy).toBe(false);
    source.fault = null;
    expect(await right(file, source, 0)).toBe(true);
    await cache.close();
  });

  test('lets a queued one that is wanted take its place', async () => {
    const world = await opened(ONE);
    const { source, file } = world;
    // This one heeds its signal.
    const plain = source.readv.bind(source);
    source.readv = (pieces, at, signal) =>
      Promise.race([
        plain(pieces, at, signal),
        new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
      ]);
    const gone = reader(world, 0);
    const wanted = right(file, source, 100 * PAGE);
    await settled();
    expect(pages(source.asked)).toEqual([[0, 1]]);
    gone.leave();
    await settled();
    expect(pages(source.asked)).toEqual([
      [0, 1],
      [100, 1],
    ]);
    source.release();
    expect(await wanted).toBe(true);
    await ends(world);
  });
});

describe('is not cancelled', () => {
  test('what was asked for ahead, and by prefetch', async () => {
    const world = await opened(ONE);
    const { source, cache, file } = world;
    const first = right(file, source, 0);
    file.advise('willneed', 100 * PAGE, 4 * PAGE);
    const given = new AbortController();
    const prefetch = file.prefetch(200 * PAGE, 4 * PAGE, { signal: given.signal }).catch((e: CacheError) => e.code);
    const gone = reader(world, 300 * PAGE);
    await settled();
    given.abort();
    gone.leave();
    expect(await prefetch).toBe('ABORTED');
    expect(await gone.done).toBe('ABORTED');
    source.release();
    await settled();
    expect(await first).toBe(true);
    expect(cache.stats().requests.cancelled).toBe(1);
    expect(pages(source.asked).sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0))).toEqual([
      [0, 1],
      [100, 4],
      [200, 4],
    ]);
    source.asked.length = 0;
    expect(await right(file, source, 200 * PAGE, 4 * PAGE)).toBe(true);
    expect(source.asked).toEqual([]);
    await ends(world);
  });

  test('what a prefetch that goes on waits for', async () => {
    const world = await opened();
    const { source, cache, file } = world;
    const prefetch = file.prefetch(100 * PAGE, 4 * PAGE);
    const gone = reader(world, 101 * PAGE);
    await settled();
    gone.leave();
    await gone.done;
    expect(source.asked[0]?.signal?.aborted).toBe(false);
    source.release();
    await prefetch;
    expect(cache.stats().requests).toMatchObject({ cancelled: 0, reads: 1 });
    await ends(world);
  });

  test('what a writer waits for', async () => {
    const world = await opened();
    const { source, cache, file } = world;
    const gone = reader(world, 100 * PAGE);
    const write = file.write(new Uint8Array(10).fill(7), 100 * PAGE + 5);
    await settled();
    gone.leave();
    await gone.done;
    expect(source.asked[0]?.signal?.aborted).toBe(false);
    source.release();
    expect(await write).toBe(10);
    await file.sync();
    expect(cache.stats().requests).toMatchObject({ cancelled: 0, reads: 1 });
    expect(source.bytes.slice(100 * PAGE + 5, 100 * PAGE + 15)).toEqual(new Uint8Array(10).fill(7));
    await ends(world);
  });
});

test('a view and a stream that are given up cancel as a read does', async () => {
  const world = await opened();
  const { source, cache, file } = world;
  const given = new AbortController();
  const { signal } = given;
  const view = Promise.resolve(file.view(100 * PAGE, 3 * PAGE, { signal })).catch((e: CacheError) => e.code);
  const stream = file
    .readable({ start: 200 * PAGE, signal })
    .getReader()
    .read();
  const ended = stream.catch((e: CacheError) => e.code);
  await settled();
  given.abort();
  expect(await Promise.all([view, ended])).toEqual(['ABORTED', 'ABORTED']);
  expect(source.asked.every((r) => r.signal?.aborted)).toBe(true);
  expect(cache.stats().requests.cancelled).toBe(source.asked.length);
  await ends(world);
});
