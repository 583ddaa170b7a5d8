/** Zarr v3 arrays, one with a file for each chunk and one in shards, read by zarrita through the cache and without it. */
import { describe, expect, test } from 'vitest';
import * as zarr from 'zarrita';
import { zarrStore } from '../../../src/cache/adapters/zarrita.ts';
import { PageCache } from '../../../src/cache/page_cache.ts';
import { expectBytes, pattern, type Remote, remote } from './through.ts';

type Files = Map<zarr.AbsolutePath, Uint8Array>;

/** A store of zarrita over a Map, without the cache. */
const plainStore = (files: Files): zarr.AsyncReadable => ({
  get: async (key) => files.get(key),
  getRange: async (key, range) => {
    const bytes = files.get(key);
    if (bytes === undefined) return undefined;
    return 'offset' in range
      ? bytes.slice(range.offset, range.offset + range.length)
      : bytes.slice(Math.max(0, bytes.length - range.suffixLength));
  },
});

function cachedStore(files: Files, memory: string) {
  const cache = new PageCache({ memory });
  const sources: Remote[] = [];
  const store = zarrStore(async (key) => {
    const bytes = files.get(key);
    if (bytes === undefined) return undefined;
    const source = remote(bytes, key);
    sources.push(source);
    return cache.open(source);
  });
  const requests = () => sources.reduce((sum, s) => sum + s.requests, 0);
  return { cache, store, sources, requests, [Symbol.asyncDispose]: () => cache.close() };
}

async function chunked(): Promise<Files> {
  const files: Files = new Map();
  const array = await zarr.create(files, {
    shape: [300, 200],
    chunkShape: [40, 40],
    dtype: 'int32',
    codecs: [{ name: 'bytes', configuration: { endian: 'little' } }],
  });
  const data = Int32Array.from({ length: 300 * 200 }, (_, i) => (i * 48271) % 65537);
  await zarr.set(array, null, { data, shape: [300, 200], stride: [200, 1] });
  return files;
}

const SHARD = 256;
const INNER = 32;

/** One array of 512 × 256 bytes in two shards, each of 8 × 8 chunks and an index behind them; one chunk is left out. */
function sharded(): Files {
  const metadata = {
    zarr_format: 3,
    node_type: 'array',
    shape: [2 * SHARD, SHARD],
    data_type: 'uint8',
    chunk_grid: { name: 'regular', configuration: { chunk_shape: [SHARD, SHARD] } },
    chunk_key_encoding: { name: 'default', configuration: { separator: '/' } },
    fill_value: 7,
    codecs: [
      {
        name: 'sharding_indexed',
        configuration: {
          chunk_shape: [INNER, INNER],
          codecs: [{ name: 'bytes', configuration: { endian: 'little' } }],
          index_codecs: [{ name: 'bytes', configuration: { endian: 'little' } }],
          index_location: 'end',
        },
      },
    ],
    attributes: {},
  };
  const files: Files = new Map([['/zarr.json', new TextEncoder().encode(JSON.stringify(metadata))]]);
  const chunks = (SHARD / INNER) ** 2;
  for (const row of [0, 1]) {
    const shard = new Uint8Array(chunks * (INNER * INNER + 16));
    shard.set(pattern(chunks * INNER * INNER, 11 + row));
    const index = new DataView(shard.buffer, chunks * INNER * INNER);
    for (let i = 0; i < chunks; i++) {
      const missing = i === 5;
      index.setBigUint64(16 * i, missing ? 2n ** 64n - 1n : BigInt(i * INNER * INNER), true);
      index.setBigUint64(16 * i + 8, missing ? 2n ** 64n - 1n : BigInt(INNER * INNER), true);
    }
    files.set(`/c/${row}/0`, shard);
  }
  return files;
}

const selections = [null, [zarr.slice(3, 60), zarr.slice(100, 190)], [17, null]] as const;

describe('zarrita', () => {
  test.each([
    ['a file for each chunk', chunked],
    ['shards', sharded],
  ] as const)('%s: every selection is the same, and free the second time', async (_name, make) => {
    const files = await make();
    await using at = cachedStore(files, '2MiB');
    const cached = await zarr.open(at.store, { kind: 'array' });
    const plain = await zarr.open(plainStore(files), { kind: 'array' });
    for (const selection of selections) {
      const got = await zarr.get(cached, selection as never);
      expect(got).toEqual(await zarr.get(plain, selection as never));
    }
    const before = at.requests();
    await zarr.get(await zarr.open(at.store, { kind: 'array' }), null);
    expect(at.requests()).toBe(before);
  });

  test('a store of more keys than are held open closes the older ones, and reads them again when asked', async () => {
    const files: Files = new Map();
    for (let i = 0; i < 400; i++) files.set(`/c/${i}`, pattern(100 + i, i));
    await using at = cachedStore(files, '4MiB');
    for (let round = 0; round < 2; round++) {
      await Promise.all(
        [...files].map(async ([key, bytes]) => expectBytes(await at.store.get(key), bytes, `${key} ${round}`)),
      );
    }
    expect(at.sources.filter((s) => !s.closed).length).toBeLessThanOrEqual(256);
    await at.store.close();
    expect(at.sources.every((s) => s.closed)).toBe(true);
  });

  test('ranges, what is not there, what fails and what is aborted', async () => {
    const bytes = pattern(100_000, 3);
    const files: Files = new Map([['/a', bytes]]);
    await using at = cachedStore(files, '2MiB');
    expect(await at.store.getRange('/a', { offset: 50_000, length: 10 })).toEqual(bytes.slice(50_000, 50_010));
    expect(await at.store.getRange('/a', { suffixLength: 4 })).toEqual(bytes.slice(-4));
    expectBytes(await at.store.getRange('/a', { suffixLength: 1e9 }), bytes);
    expect(await at.store.get('/b')).toBeUndefined();
    files.set('/b', bytes.slice(0, 3));
    expect(await at.store.get('/b')).toEqual(bytes.slice(0, 3));
    const stop = new AbortController();
    files.set('/c', bytes);
    const reading = at.store.get('/c', { signal: stop.signal });
    stop.abort(new Error('not now'));
    await expect(reading).rejects.toThrow('not now');
    expectBytes(await at.store.get('/c'), bytes);
    files.set('/d', bytes);
    const failing = at.store.get('/d');
    await new Promise((resolve) => setTimeout(resolve, 0));
    const source = at.sources.at(-1) as Remote;
    source.failure = new Error('the wire broke');
    await expect(failing).rejects.toThrow('the wire broke');
    // The next one opens it anew.
    expectBytes(await at.store.get('/d'), bytes);
  });
});
