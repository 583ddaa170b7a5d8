/** A PMTiles archive with leaf directories, read by pmtiles through the cache and from memory; and one that changes. */
import { EtagMismatch, PMTiles, SharedPromiseCache, type Source } from 'pmtiles';
import { describe, expect, test } from 'vitest';
import { pmtilesSource } from '../../../src/cache/adapters/pmtiles.ts';
import { CacheError } from '../../../src/cache/errors.ts';
import { archive, type Tile } from './pmtiles_archive.ts';
import { expectBytes, pattern, type Remote, remote, through } from './through.ts';

const tilesOf = (seed: number): Tile[] =>
  [0, 1, 2, 3, 4, 5, 6].flatMap((z) =>
    Array.from({ length: 4 ** z }, (_, i) => ({
      z,
      x: i % 2 ** z,
      y: Math.floor(i / 2 ** z),
      data: pattern(100 + ((i * 37) % 900), seed + i + 4 ** z),
    })),
  );
const tiles = tilesOf(1);
const bytes = archive(tiles, { name: 'squares' });
const inMemory = (of: Uint8Array<ArrayBuffer>): Source => ({
  getKey: () => 'memory',
  getBytes: async (offset, length) => ({ data: of.slice(offset, offset + length).buffer }),
});
const fresh = () => new SharedPromiseCache();

describe('pmtiles', () => {
  test('header, metadata and every tile are the same', async () => {
    await using at = await through(bytes);
    expect(bytes.length).toBeGreaterThan(2 * 1280 * 1024);
    const cached = new PMTiles(
      pmtilesSource(async () => at.file, { key: 'a', EtagMismatch }),
      fresh(),
    );
    const plain = new PMTiles(inMemory(bytes), fresh());
    expect({ ...(await cached.getHeader()), etag: undefined }).toEqual(await plain.getHeader());
    expect(await cached.getMetadata()).toEqual({ name: 'squares' });
    for (const { z, x, y, data } of tiles) {
      const tile = await cached.getZxy(z, x, y);
      expectBytes(tile?.data as ArrayBuffer, data, `${z}/${x}/${y}`);
    }
    expect(await cached.getZxy(7, 0, 0)).toBeUndefined();
  });

  test('a signal ends the read of a tile', async () => {
    await using at = await through(bytes);
    const cached = new PMTiles(
      pmtilesSource(async () => at.file, { key: 'a', EtagMismatch }),
      fresh(),
    );
    await cached.getHeader();
    const stop = new AbortController();
    const reading = cached.getZxy(6, 63, 0, stop.signal);
    stop.abort();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    expect(await cached.getZxy(6, 63, 0)).toBeDefined();
  });

  test('an archive that changed: the host goes on with the new one', async () => {
    await using at = await through(bytes);
    const next = archive(tilesOf(77), { name: 'other squares' });
    const sources = [remote(bytes, 'before'), remote(next, 'after')];
    let opens = 0;
    const open = () => at.cache.open(sources[opens++] as Remote);
    const cached = new PMTiles(pmtilesSource(open, { key: 'a', EtagMismatch }), fresh());
    expect(await cached.getMetadata()).toEqual({ name: 'squares' });
    (sources[0] as Remote).failure = new CacheError('CHANGED', 'remote: changed since it was opened');
    const wanted = tilesOf(77).slice(-20);
    const got = await Promise.all(wanted.map(({ z, x, y }) => cached.getZxy(z, x, y)));
    for (const [i, tile] of got.entries()) expectBytes(tile?.data as ArrayBuffer, (wanted[i] as Tile).data);
    expect(await cached.getMetadata()).toEqual({ name: 'other squares' });
    expect(opens).toBe(2);
    expect(sources.map((s) => s.closed)).toEqual([true, false]);
  });

  test('a change is told with the error of the host, and a failure with its own', async () => {
    await using at = await through(bytes);
    const source = pmtilesSource(async () => at.file, { key: 'a', EtagMismatch });
    const { etag } = await source.getBytes(0, 100);
    at.source.failure = new CacheError('CHANGED', 'remote: changed since it was opened');
    const changed = source.getBytes(300_000, 100, undefined, etag);
    await expect(changed).rejects.toBeInstanceOf(EtagMismatch);
    await expect(changed).rejects.toThrow('changed since it was opened');
    const failing = pmtilesSource(() => Promise.reject(new Error('no such archive')), { key: 'b', EtagMismatch });
    await expect(failing.getBytes(0, 10)).rejects.toThrow('no such archive');
  });
});
