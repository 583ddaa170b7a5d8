/** The cache in a browser, over what browsers have: Blobs, OPFS, HTTP from another origin. In a worker: sources/opfs_worker.ts. */
import { describe, expect, inject, test } from 'vitest';
import { PageCache } from '../../src/cache/index.ts';
import { blobSource } from '../../src/cache/sources/blob.ts';
import { httpSource } from '../../src/cache/sources/http.ts';
import { type OpfsHandle, opfsSource } from '../../src/cache/sources/opfs.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';
import { content, firstDifference } from './content.ts';
import { failsWith } from './sources/contract.ts';
import { useThroughCache } from './through_cache.ts';

interface Page {
  readonly navigator: {
    storage: { getDirectory(): Promise<{ getFileHandle(name: string, o: { create: boolean }): Promise<OpfsHandle> }> };
  };
}
const SIZE = 6_000_000;
const SEED = 21;
const url = (faults: string): string => `${inject('faultServer')}/${SIZE}/${SEED}?n=${Math.random()}&faults=${faults}`;

describe('the cache in a browser', () => {
  test('a Blob larger than the budget', async () => {
    const bytes = content(SEED, 0, SIZE);
    await useThroughCache(blobSource(new Blob([bytes])), bytes, { seed: seedOf(1), steps: stepsOf(120) });
  });

  test('a file of OPFS, written through the cache', async () => {
    const folder = await (globalThis as unknown as Page).navigator.storage.getDirectory();
    const handle = await folder.getFileHandle('through the cache', { create: true });
    const draft = await handle.createWritable?.();
    const bytes = content(SEED, 0, 1_000_000);
    await draft?.write({ type: 'write', position: 0, data: bytes });
    await draft?.close();
    const source = opfsSource(handle, { write: true });
    const held = await useThroughCache(source, bytes, { seed: seedOf(2), steps: stepsOf(80) });
    expect(firstDifference(new Uint8Array(await (await handle.getFile()).arrayBuffer()), held)).toBe(-1);
  });

  test('HTTP, with a server that fails now and then', async () => {
    const bytes = content(SEED, 0, SIZE);
    const faults = Array.from({ length: 99 }, (_, i) => (i % 5 === 4 ? (i % 2 === 0 ? 'busy' : 'short') : '-')).join(
      ',',
    );
    await useThroughCache(httpSource(url(faults)), bytes, { seed: seedOf(3), steps: stepsOf(60) });
  });

  test('an object that changed', async () => {
    const cache = new PageCache({ memory: '4MiB' });
    const file = await cache.open(httpSource(url('-,-,changeDeaf')));
    await file.read(new Uint8Array(100), 1_000_000);
    await failsWith(Promise.resolve(file.read(new Uint8Array(100), 5_000_000)), 'CHANGED');
    await cache.close();
  });
});
