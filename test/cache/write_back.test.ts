/** Writing: when bytes go to the source, what waits for them, and what becomes of those that cannot go. */
import { describe, expect, test } from 'vitest';
import { CacheError, PageCache, type Source } from '../../src/cache/index.ts';
import { memorySource } from '../../src/cache/sources/memory.ts';
import { same } from './faulty_source.ts';
import { GateSource, settled } from './gate_source.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const retry = { times: 1, delayMs: 1 };

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
  } catch (error) {
    return error instanceof CacheError ? error.code : String(error);
  }
  return 'none';
};

describe('write-back', () => {
  test('a small write to a large folio writes back a block', async () => {
    const source = new GateSource(0);
    const cache = new PageCache({ memory: '16MiB', retry });
    const file = await cache.open(source);
    await file.write(new Uint8Array(2 * MIB).fill(1), 0);
    await file.sync();
    expect(Math.max(...cache.snapshot().files[0]!.folios.map((f) => f.order))).toBeGreaterThanOrEqual(4);
    source.asked.length = 0;
    await file.write(new Uint8Array(10).fill(2), 500_000);
    await file.sync();
    expect(source.asked).toMatchObject([{ what: 'write', at: Math.floor(500_000 / PAGE) * PAGE, length: PAGE }]);
    expect(source.bytes.subarray(499_999, 500_011)).toEqual(new Uint8Array([1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]));
    expect(source.bytes.length).toBe(2 * MIB);
  });

  test('a write that fails under a writer who waits for its folio is told to him as to any writer', async () => {
    const source = new GateSource(0);
    const cache = new PageCache({ memory: '4MiB', retry: { times: 0, delayMs: 1 } });
    const file = await cache.open(source);
    await file.write(new Uint8Array(PAGE).fill(1), 0);
    source.hold();
    source.fault = (what) => {
      if (what === 'write') throw new Error('the disk is gone');
    };
    const synced = codeOf(() => file.sync());
    await settled();
    const second = codeOf(() => file.write(new Uint8Array(10).fill(2), 5));
    await settled();
    source.release();
    expect(await second).toBe('WRITE_BACK');
    expect(await synced).toBe('WRITE_BACK');
    source.fault = null;
    await file.write(new Uint8Array(10).fill(3), 5);
    await file.sync();
    expect([...source.bytes.subarray(4, 16)]).toEqual([1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1]);
  });

  test('a source in which nothing has changed is not synced again', async () => {
    const source = new GateSource(100);
    const cache = new PageCache({ memory: '4MiB', retry });
    const file = await cache.open(source);
    await file.sync();
    await file.sync();
    expect(source.syncs).toBe(1);
    await file.write(new Uint8Array(1), 5);
    await file.sync();
    await file.sync();
    expect(source.syncs).toBe(2);
    await file.truncate(50);
    await file.sync();
    expect(source.syncs).toBe(3);
    await file.close();
    expect(source.syncs).toBe(3);
  });

  test('a sync that failed is made again', async () => {
    const source = new GateSource(100);
    const cache = new PageCache({ memory: '4MiB', retry: { times: 0, delayMs: 1 } });
    const file = await cache.open(source);
    await file.write(new Uint8Array(1), 5);
    source.fault = (what) => {
      if (what === 'sync') throw new Error('not now');
    };
    expect(await codeOf(() => file.sync())).toBe('WRITE_BACK');
    source.fault = null;
    await file.sync();
    expect(source.syncs).toBe(1);
  });

  test.each([4096, 8192, 16384, 65536] as const)('pages of %i: small writes, one after the other', async (pageSize) => {
    const source = new GateSource(0);
    const cache = new PageCache({ memory: '32MiB', pageSize, retry });
    const file = await cache.open(source);
    const truth = new Uint8Array(300_000);
    let size = 0;
    for (let i = 0; i < 3000; i++) {
      const at = i % 3 === 0 ? Math.imul(i, 7919) % (size + 1) : size;
      const bytes = new Uint8Array(1 + (i % 150)).fill(i);
      truth.set(bytes, at);
      size = Math.max(size, at + bytes.length);
      if (file.write(bytes, at) !== bytes.length) throw new Error(`write ${i} has to wait`);
      if (i % 500 === 0) await file.sync();
    }
    expect(file.size).toBe(size);
    const got = new Uint8Array(size);
    expect(file.read(got, 0)).toBe(size);
    expect(same(got, truth.subarray(0, size))).toBe(true);
    await file.sync();
    expect(same(source.bytes, truth.subarray(0, size))).toBe(true);
  });

  test('the file ends where the source ends, not where a block does', async () => {
    const source = new GateSource(10);
    const cache = new PageCache({ memory: '4MiB', retry });
    const file = await cache.open(source);
    await file.write(new Uint8Array(3).fill(7), 5000);
    expect(file.size).toBe(5003);
    await file.sync();
    expect(source.bytes.length).toBe(5003);
    expect([...source.bytes.subarray(4998)]).toEqual([0, 0, 7, 7, 7]);
    expect(source.asked.filter((r) => r.what === 'read')).toEqual([]);
  });

  test('writers wait above the dirty limit, and go on below it', async () => {
    const source = new GateSource(0);
    const cache = new PageCache({ memory: '8MiB', dirtyRatio: 20, retry });
    const file = await cache.open(source);
    source.hold();
    let written = 0;
    const all = (async () => {
      for (let i = 0; i < 24; i++) {
        await file.write(new Uint8Array(MIB / 4).fill(i), i * (MIB / 4));
        written++;
      }
    })();
    await settled();
    expect(written).toBeGreaterThan(2);
    expect(written).toBeLessThan(14);
    const { dirty, writeback } = cache.stats();
    expect(dirty + writeback).toBeLessThan(3 * MIB);
    source.release();
    await all;
    await file.sync();
    for (let i = 0; i < 24; i++) expect(source.bytes[i * (MIB / 4) + 1]).toBe(i);
  });

  test('sync resolves when the bytes are in the source and the source has made them durable', async () => {
    const source = new GateSource(MIB);
    const cache = new PageCache({ memory: '8MiB', retry });
    const file = await cache.open(source);
    await file.write(new Uint8Array(100_000).fill(5), 77);
    source.hold();
    let done = false;
    const sync = file.sync().then(() => {
      done = true;
    });
    await settled();
    expect([done, source.syncs]).toEqual([false, 0]);
    // A read of what is being written waits for nothing.
    const into = new Uint8Array(10);
    expect(file.read(into, 80)).toBe(10);
    expect(into).toEqual(new Uint8Array(10).fill(5));
    source.release();
    await sync;
    expect(source.syncs).toBe(1);
    expect(source.bytes.subarray(77, 100_077).every((b) => b === 5)).toBe(true);
  });

  test('bytes that cannot go are kept, the writer is told once and sync again, until they are there', async () => {
    const source = new GateSource(4 * MIB);
    const cache = new PageCache({ memory: '4MiB', retry });
    const file = await cache.open(source);
    let broken = true;
    source.fault = (what) => {
      if (what === 'write' && broken) throw new CacheError('SOURCE', 'no space');
    };
    await file.write(new Uint8Array(1000).fill(9), 0);
    expect(await codeOf(() => file.sync())).toBe('WRITE_BACK');
    expect(await codeOf(() => file.sync())).toBe('WRITE_BACK');
    const told = codeOf(() => file.write(new Uint8Array(10).fill(8), 2000));
    expect(await told).toBe('WRITE_BACK');
    expect(await codeOf(() => file.write(new Uint8Array(10).fill(8), 2000))).toBe('none');
    // Reading much else does not drop them.
    for (let at = MIB; at < 4 * MIB; at += 65536) await file.read(new Uint8Array(65536), at);
    expect(await codeOf(() => file.close())).toBe('WRITE_BACK');
    const into = new Uint8Array(1000);
    await file.read(into, 0);
    expect(into).toEqual(new Uint8Array(1000).fill(9));
    broken = false;
    await file.sync();
    expect(source.bytes.slice(0, 1000)).toEqual(new Uint8Array(1000).fill(9));
    expect(source.bytes.slice(2000, 2010)).toEqual(new Uint8Array(10).fill(8));
    await cache.close();
  });

  test('when nothing can be written and all is dirty, a writer is told and does not hang', async () => {
    const source = new GateSource(0);
    const cache = new PageCache({ memory: '2MiB', dirtyRatio: 90, dirtyBackgroundRatio: 80, retry });
    const file = await cache.open(source);
    source.fault = (what) => {
      if (what === 'write') throw new CacheError('SOURCE', 'no space');
    };
    const codes = new Set<string>();
    for (let i = 0; i < 40; i++)
      codes.add(await codeOf(() => file.write(new Uint8Array(MIB / 8).fill(i), (i * MIB) / 8)));
    expect([...codes].filter((code) => code !== 'none' && code !== 'BUDGET')).toEqual(['WRITE_BACK']);
    source.fault = null;
    await file.sync();
    expect(source.bytes[5]).toBe(0);
  });

  test('a cut goes to the source, and what was behind it does not come back', async () => {
    const source = new GateSource(100_000);
    const cache = new PageCache({ memory: '4MiB', retry });
    const file = await cache.open(source);
    await file.prefetch(0, 100_000);
    await file.truncate(10_001);
    expect(source.bytes.length).toBe(10_001);
    await file.truncate(50_000);
    const into = new Uint8Array(40_000);
    expect(await file.read(into, 10_001)).toBe(39_999);
    expect(into.every((b) => b === 0)).toBe(true);
    await file.sync();
    expect(source.bytes.length).toBe(50_000);
    await file.punch(100, 5000);
    expect(await file.punch(60_000, 10)).toBe(0);
    await file.sync();
    expect(source.bytes.subarray(100, 5100).every((b) => b === 0)).toBe(true);
    expect(source.bytes[99]).not.toBe(0);
  });

  test('writers come one after the other; one that gives up leaves the others their turn', async () => {
    const source = new GateSource(100_000);
    const cache = new PageCache({ memory: '4MiB', retry });
    const file = await cache.open(source);
    source.hold();
    // Waits for the rest of its block.
    const first = file.write(new Uint8Array(10).fill(1), 5000);
    const given = new AbortController();
    const second = codeOf(() => file.write(new Uint8Array(10).fill(2), 5000, { signal: given.signal }));
    const third = file.write(new Uint8Array(5).fill(3), 5005);
    await settled();
    given.abort();
    expect(await second).toBe('ABORTED');
    source.release();
    expect(await Promise.all([first, third])).toEqual([10, 5]);
    await file.sync();
    expect([...source.bytes.subarray(5000, 5010)]).toEqual([1, 1, 1, 1, 1, 3, 3, 3, 3, 3]);
  });

  test('a file whose source is synchronous needs no promise', () => {
    const bytes = new Uint8Array(300_000).map((_, i) => i & 0xff);
    const source: Source = memorySource(bytes);
    const cache = new PageCache({ memory: '2MiB', retry });
    const file = cache.openSync(source);
    const into = new Uint8Array(1000);
    expect(file.readSync(into, 4000)).toBe(1000);
    expect(into[96]).toBe(4096 & 0xff);
    for (let i = 0; i < 40; i++) expect(file.writeSync(new Uint8Array(100_000).fill(i), i * 100_000)).toBe(100_000);
    file.syncSync();
    file.truncateSync(3_000_001);
    file.syncSync();
    expect(file.readSync(into, 2_999_999)).toBe(2);
    expect(into[0]).toBe(29);
    expect(into[1]).toBe(30);
    file.closeSync();
    expect(() => file.readSync(into, 0)).toThrow('closed');
  });
});
