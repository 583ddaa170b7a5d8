/** Files of costly sources: what is asked of the source, and that the bytes are right whatever that is. */
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { type CachedFile, PageCache, type Source } from '../../src/cache/index.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { content, firstWrong } from './content.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
/** A request is worth 1 MiB, a block is 64 KiB. */
const hints = { latencyMs: 10, bytesPerSecond: 100 * MIB };

interface Remote extends Source {
  readonly asked: [number, number][];
}

function remote(size: number): Remote {
  const asked: [number, number][] = [];
  const readv = async (pieces: readonly Uint8Array[], at: number): Promise<number> => {
    const length = pieces.reduce((n, p) => n + p.length, 0);
    asked.push([at, length]);
    await new Promise((resolve) => setTimeout(resolve, 0));
    let from = at;
    for (const piece of pieces) {
      piece.set(content(1, from, from + piece.length));
      from += piece.length;
    }
    return length;
  };
  return { name: 'remote', hints, asked, open: async () => ({ size }), read: (into, at) => readv([into], at), readv };
}

async function read(file: CachedFile, at: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  const n = await file.read(into, at);
  expect(n).toBe(Math.min(length, Math.max(0, file.size - at)));
  expect(firstWrong(into.subarray(0, n), 1, at)).toBe(-1);
}

const world = async (size: number, memory: string | number = '8MiB') => {
  const source = remote(size);
  const cache = new PageCache({ memory });
  return { source, cache, file: await cache.open(source) };
};

test('a file from start to end: few requests, every byte once', async () => {
  const { source, file } = await world(12 * MIB + 77);
  for (let at = 0; at < file.size; at += 32 * 1024) await read(file, at, 32 * 1024);
  expect(source.asked.length).toBeLessThanOrEqual(12);
  expect(source.asked.reduce((n, [, length]) => n + length, 0)).toBe(file.size);
});

test('a long run never asks for what is there, and never twice', async () => {
  const { source, cache, file } = await world(96 * MIB, '4MiB');
  for (let at = 0; at < file.size; at += 256 * 1024) await read(file, at, 4096);
  expect(source.asked.reduce((n, [, length]) => n + length, 0)).toBeLessThanOrEqual(file.size * 1.02);
  expect(cache.stats().resident).toBeLessThan(4 * MIB);
});

test('what was used stays when what was fetched beside it goes', async () => {
  const { source, file } = await world(96 * MIB);
  const r = new Prng(2);
  const places = Array.from({ length: 500 }, () => r.below(file.size / PAGE) * PAGE);
  for (const at of places) await read(file, at, 100);
  // With the blocks around them they are 32 MiB: far more than there is.
  const before = source.asked.length;
  for (const at of places) await read(file, at, 100);
  expect(source.asked.length - before).toBeLessThan(30);
});

describe('one request', () => {
  test('for reads of one turn with small gaps between them', async () => {
    const { source, file } = await world(64 * MIB);
    await Promise.all([5, 0, 2, 4].map((i) => read(file, 20 * MIB + i * 300_000, 200_000)));
    expect(source.asked.length).toBe(1);
  });
  test('for readers a few awaits apart', async () => {
    const { source, file } = await world(64 * MIB);
    const later = async (awaits: number, at: number): Promise<void> => {
      for (let i = 0; i < awaits; i++) await Promise.resolve();
      await read(file, at, 200_000);
    };
    await Promise.all([later(0, 0), later(3, 300_000), later(40, 600_000)]);
    expect(source.asked.length).toBe(1);
  });
  test('not when the gap is dearer', async () => {
    const { source, file } = await world(64 * MIB);
    await Promise.all([read(file, 0, 100_000), read(file, 4 * MIB, 100_000)]);
    expect(source.asked.length).toBe(2);
  });
  test('for everybody who waits for the same bytes', async () => {
    const { source, file } = await world(64 * MIB);
    await Promise.all([read(file, 100_000, 5000), read(file, 100_100, 50)]);
    await read(file, 103_000, 50);
    expect(source.asked.length).toBe(1);
  });
});

describe('advice', () => {
  test('prefetch: its bytes in one request, and no more', async () => {
    const { source, file } = await world(64 * MIB);
    await file.prefetch(10 * PAGE, 300 * PAGE);
    expect(source.asked).toEqual([[10 * PAGE, 300 * PAGE]]);
    await read(file, 10 * PAGE, 300 * PAGE);
    expect(source.asked.length).toBe(1);
  });
  test('prefetch of more than memory', async () => {
    const { source, cache, file } = await world(64 * MIB);
    await file.prefetch(0, 40 * MIB);
    expect(source.asked.reduce((n, [, length]) => n + length, 0)).toBeGreaterThanOrEqual(40 * MIB);
    expect(cache.stats().resident).toBeLessThan(8 * MIB);
  });
  test('random: what is asked for', async () => {
    const { source, file } = await world(64 * MIB);
    file.advise('random');
    await read(file, 5 * MIB + 100, 100);
    expect(source.asked).toEqual([[5 * MIB, PAGE]]);
    file.advise('normal');
    await read(file, 9 * MIB + 100, 100);
    expect(source.asked[1]).toEqual([9 * MIB, 64 * 1024]);
  });
  test('sequential: a window at once', async () => {
    const { source, file } = await world(64 * MIB);
    file.advise('sequential');
    await read(file, 5 * MIB, 100);
    expect(source.asked).toEqual([[5 * MIB, MIB]]);
  });
});

test('a read larger than memory', async () => {
  const { source, cache, file } = await world(40 * MIB, '4MiB');
  await read(file, 1000, 30 * MIB);
  expect(source.asked.reduce((n, [, length]) => n + length, 0)).toBeLessThan(34 * MIB);
  expect(source.asked.length).toBeLessThan(40);
  expect(cache.stats().resident).toBeLessThan(4 * MIB);
});

test('many readers at once in little memory: all of them get there', async () => {
  const { source, file } = await world(64 * MIB, '1536KiB');
  const r = new Prng(8);
  const places = Array.from({ length: 60 }, () => r.below(file.size - 300_000));
  await Promise.all(places.map((at) => read(file, at, 100_000)));
  expect(source.asked.reduce((n, [, length]) => n + length, 0)).toBeLessThan(40 * MIB);
});

test('a group keeps within its memory', async () => {
  const source = remote(64 * MIB);
  const cache = new PageCache({ memory: '8MiB' });
  const group = cache.group('small', { memory: '1MiB' });
  const file = await cache.open(source, { group });
  const r = new Prng(6);
  for (let i = 0; i < 60; i++) await read(file, r.below(file.size - 1000), 1000);
  for (let at = 0; at < 6 * MIB; at += 50_000) await read(file, at, 50_000);
  expect(group.residentBytes).toBeLessThanOrEqual(MIB);
});

test('any mixture of reads, files coming and going', { timeout: 60_000 }, async () => {
  const seeds = Number((typeof process === 'undefined' ? undefined : process.env.CACHE_SEEDS) ?? 1);
  for (let seed = 1; seed <= seeds; seed++) {
    const r = new Prng(seed);
    const cache = new PageCache({ memory: r.between(1500, 5000) * 1024 });
    let files: CachedFile[] = [];
    for (let i = 0; i < 60; i++) {
      if (files.length === 0 || (r.below(20) === 0 && files.length < 4))
        files.push(await cache.open(remote(r.below(24 * MIB))));
      const file = r.pick(files);
      const at = r.below(file.size + 1);
      const length = 1 + Math.floor(2 ** (r.float() * 20));
      switch (r.below(8)) {
        case 0:
          for (let k = 0; k < 12; k++) await read(file, at + k * length, length);
          break;
        case 1:
          await Promise.all(Array.from({ length: 8 }, (_, k) => read(file, at + k * r.below(200_000), 5000)));
          break;
        case 2:
          await file.prefetch(at, length);
          break;
        case 3:
          file.advise(r.pick(['normal', 'sequential', 'random', 'willneed', 'dontneed']), at, length);
          break;
        case 4:
          if (r.below(3) === 0) {
            files = files.filter((f) => f !== file);
            await file.close();
          }
          break;
        default:
          await read(file, at, length);
      }
      expect(cache.stats().resident, `seed ${seed}`).toBeLessThan(cache.stats().memory);
    }
    checkMachine(cache.unsafeInternals.m, false);
    await cache.close();
  }
});
