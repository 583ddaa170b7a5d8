/** Reading: what is asked of a source, who waits for it, and what stays. */
import { describe, expect, test } from 'vitest';
import { type CachedFile, CacheError, PageCache, type Snapshot, type View } from '../../src/cache/index.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { same } from './faulty_source.ts';
import { GateSource, settled } from './gate_source.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const retry = { times: 3, delayMs: 1 };

async function opened(source: GateSource, memory: string | number = '8MiB') {
  const cache = new PageCache({ memory, retry });
  const file = await cache.open(source);
  return { cache, file, core: cache.unsafeInternals };
}

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
  } catch (error) {
    return error instanceof CacheError ? error.code : String(error);
  }
  return 'none';
};

async function expectBytes(file: CachedFile, source: GateSource, at: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  expect(await file.read(into, at)).toBe(length);
  expect(same(into, source.bytes.subarray(at, at + length))).toBe(true);
}

describe('requests', () => {
  test('what lies together and is asked for together is one request', async () => {
    const source = new GateSource(MIB);
    const { file } = await opened(source);
    file.advise('random');
    await Promise.all([3, 1, 2].map((page) => expectBytes(file, source, page * PAGE, PAGE)));
    expect(source.asked.map((r) => [r.at, r.length])).toEqual([[PAGE, 3 * PAGE]]);
  });

  test('a gap is read over when that is cheaper than another request', async () => {
    // 10,000 bytes pass in a latency: half of that is worth reading over.
    const source = new GateSource(MIB, { latencyMs: 10, bytesPerSecond: 1e6 });
    const { file } = await opened(source);
    file.advise('random');
    await Promise.all([0, 2, 5, 100].map((page) => expectBytes(file, source, page * PAGE, PAGE)));
    expect(source.asked.map((r) => [r.at, r.length])).toEqual([
      [0, 3 * PAGE],
      [5 * PAGE, PAGE],
      [100 * PAGE, PAGE],
    ]);
    // What was read over is not cached: nobody asked for it.
    source.asked.length = 0;
    await expectBytes(file, source, PAGE, PAGE);
    expect(source.asked.length).toBe(1);
  });

  test('no more at once than the source wants, and none longer', async () => {
    const source = new GateSource(4 * MIB, { parallel: 2, maxRequest: 3 * PAGE });
    const { file } = await opened(source);
    file.advise('random');
    await Promise.all(Array.from({ length: 20 }, (_, i) => expectBytes(file, source, i * 50 * PAGE, PAGE)));
    expect(source.most).toBe(2);
    source.asked.length = 0;
    await Promise.all([910, 911, 912, 913].map((page) => expectBytes(file, source, page * PAGE, PAGE)));
    expect(source.asked.map((r) => r.length / PAGE)).toEqual([3, 1]);
  });

  test('one fetch however many wait', async () => {
    const source = new GateSource(MIB);
    const { file } = await opened(source);
    file.advise('random');
    await Promise.all(Array.from({ length: 50 }, (_, i) => expectBytes(file, source, 7 * PAGE + i, 100)));
    expect(source.asked.length).toBe(1);
  });

  test('an aborted reader hurts nobody else', async () => {
    const source = new GateSource(MIB);
    const { file, core } = await opened(source);
    source.hold();
    const given = new AbortController();
    const first = codeOf(() => file.read(new Uint8Array(100), 0, { signal: given.signal }));
    const second = expectBytes(file, source, 50, 100);
    await settled();
    given.abort();
    expect(await first).toBe('ABORTED');
    source.release();
    await second;
    expect(source.asked.length).toBe(1);
    expect(source.asked[0]?.signal?.aborted).toBe(false);
    expect(core.waiters).toBe(0);
    expect(await codeOf(() => file.read(new Uint8Array(1), 500_000, { signal: given.signal }))).toBe('ABORTED');
  });

  test('a request that fails is made again, a few times', async () => {
    const source = new GateSource(MIB);
    const { cache, file } = await opened(source);
    let left = 3;
    source.fault = () => {
      if (left-- > 0) throw new CacheError('SOURCE', 'busy', { retryable: true });
    };
    await expectBytes(file, source, 0, PAGE);
    expect(cache.stats().requests).toMatchObject({ retries: 3, failures: 0 });
    left = 1000;
    expect(await codeOf(() => file.read(new Uint8Array(1), 500_000))).toBe('SOURCE');
    left = 0;
    await expectBytes(file, source, 500_000, PAGE);
  });

  test('a failure of what was read ahead is no failure of a read', async () => {
    const source = new GateSource(MIB);
    const { file } = await opened(source);
    source.fault = (_what, at) => {
      if (source.asked.at(-1)!.length > PAGE && at >= 0) throw new CacheError('SOURCE', 'too much at once');
    };
    await expectBytes(file, source, 0, 100);
  });

  test('a folio of which one piece has failed is not taken for read when the other one comes', async () => {
    const source = new GateSource(8 * MIB);
    const { cache, file } = await opened(source, '16MiB');
    for (let at = 0; at < MIB; at += 65536) await file.read(new Uint8Array(65536), at);
    source.fault = () => {
      throw new CacheError('SOURCE', 'no');
    };
    for (let at = MIB; at < 4 * MIB; at += 65536) await codeOf(() => file.read(new Uint8Array(65536), at));
    const folio = cache.snapshot().files[0]!.folios.find((f) => f.order > 1 && !f.flags.includes('PG_uptodate'))!;
    const first = folio.index * PAGE;
    source.fault = (what, at) => {
      if (what === 'read' && at === first) throw new CacheError('SOURCE', 'no');
    };
    // A page in its middle is written, so what is before it and what is after it are two requests.
    await file.write(source.bytes.slice(first + PAGE, first + 2 * PAGE), first + PAGE);
    source.asked.length = 0;
    await codeOf(() => file.read(new Uint8Array(100), first + 3 * PAGE));
    expect(source.asked.map((r) => r.at)).toEqual([first, first + 2 * PAGE]);
    await settled();
    source.fault = null;
    await expectBytes(file, source, first, PAGE << folio.order);
  });
});

describe('what is cached', () => {
  test('is read without a promise and without a request', async () => {
    const source = new GateSource(MIB);
    const { file } = await opened(source);
    await file.prefetch(0, MIB);
    source.asked.length = 0;
    const into = new Uint8Array(300_000);
    expect(file.read(into, 1234)).toBe(300_000);
    expect(same(into, source.bytes.subarray(1234, 301_234))).toBe(true);
    expect(file.readSync(into.subarray(0, 10), MIB - 5)).toBe(5);
    expect(file.readv([into.subarray(0, 7), into.subarray(7, 20)], 4090)).toBe(20);
    expect(into.subarray(0, 20)).toEqual(source.bytes.slice(4090, 4110));
    const cursor = file.cursor();
    expect(cursor.seek(5000)).toBe(true);
    expect(cursor.bytes[cursor.offset]).toBe(source.bytes[5000]);
    expect(source.asked).toEqual([]);
  });

  test('lies in large folios after reading in order, in single pages after reading at random', async () => {
    const source = new GateSource(8 * MIB);
    const { cache, file } = await opened(source, '16MiB');
    const orders = (): number[] => cache.snapshot().files[0]!.folios.map((f) => f.order);
    file.advise('random');
    for (let i = 0; i < 100; i++) await file.read(new Uint8Array(100), ((i * 7919) % 2048) * PAGE);
    expect(Math.max(...orders())).toBe(0);
    await file.truncate(0);
    await file.truncate(8 * MIB);
    file.advise('normal');
    for (let at = 0; at < 8 * MIB; at += 65536) await file.read(new Uint8Array(65536), at);
    expect(Math.max(...orders())).toBeGreaterThanOrEqual(4);
  });

  test('stays within the limit of its group, and leaves others alone', async () => {
    const cache = new PageCache({ memory: '16MiB', retry });
    const group = cache.group('small', { memory: '1MiB' });
    const wide = new GateSource(4 * MIB);
    const narrow = new GateSource(8 * MIB);
    const a = await cache.open(wide);
    const b = await cache.open(narrow, { group });
    await a.prefetch(0, 4 * MIB);
    wide.asked.length = 0;
    for (let at = 0; at < 8 * MIB; at += 50_000) await expectBytes(b, narrow, at, Math.min(50_000, 8 * MIB - at));
    expect(group.residentBytes).toBeLessThanOrEqual(MIB);
    expect(group.residentBytes).toBeGreaterThan(MIB / 2);
    await expectBytes(a, wide, 0, 4 * MIB);
    expect(wide.asked).toEqual([]);
    expect(cache.stats().groups.small?.memory).toBe(MIB);
  });

  test('a view that the group has no room for is refused, one that fits is given', async () => {
    const { cache } = await opened(new GateSource(MIB));
    const group = cache.group('narrow', { memory: 70 * PAGE });
    const source = new GateSource(MIB);
    const file = await cache.open(source, { group });
    expect(await codeOf(() => file.view(0, 128 * PAGE))).toBe('BUDGET');
    const view = await file.view(5 * PAGE, 40 * PAGE);
    expect(same(view.bytes, source.bytes.subarray(5 * PAGE, 45 * PAGE))).toBe(true);
    view[Symbol.dispose]();
    await cache.close();
  });

  test('goes with the files of a group, and then the group can go', async () => {
    const cache = new PageCache({ memory: '8MiB', retry });
    const { m } = cache.unsafeInternals;
    const rows = new Set<number>();
    let view: View | undefined;
    for (let i = 0; i < 20; i++) {
      const memory = (70 + i) * PAGE;
      const group = cache.group(`g${i}`, { memory });
      rows.add(group.id);
      const source = new GateSource(MIB);
      const file = await cache.open(source, { group });
      for (let at = 0; at < MIB; at += 65536) await expectBytes(file, source, at, 65536);
      expect(group.residentBytes).toBeGreaterThan(0);
      expect(group.residentBytes).toBeLessThanOrEqual(memory);
      // One view outlives its file and its group: their row waits for it.
      if (i === 5) view = await file.view(500_000, 100);
      if (i === 12) view?.[Symbol.dispose]();
      expect(await codeOf(() => group.close())).toBe('IN_USE');
      const closing = file.close();
      expect(await codeOf(() => group.close())).toBe('IN_USE');
      await closing;
      group.close();
      group.close();
      expect(group.residentBytes).toBe(0);
      expect(await codeOf(() => cache.open(source, { group }))).toBe('CLOSED');
      expect(cache.stats().groups).toEqual({});
      checkMachine(m, view === undefined || i >= 12);
    }
    expect(rows.size).toBe(2);
    await cache.close();
  });

  test('is held by a view, whatever comes', async () => {
    const source = new GateSource(8 * MIB);
    const { file, core } = await opened(source, '2MiB');
    const view = await file.view(100_000, 50_000);
    for (let at = 0; at < 8 * MIB; at += 65536) await file.read(new Uint8Array(65536), at);
    expect(same(view.bytes, source.bytes.subarray(100_000, 150_000))).toBe(true);
    expect(view.pieces.reduce((sum, piece) => sum + piece.length, 0)).toBe(50_000);
    view[Symbol.dispose]();
    view[Symbol.dispose]();
    checkMachine(core.m, true);
  });

  test('cannot be viewed when the file is cut meanwhile', async () => {
    const source = new GateSource(MIB);
    const { file } = await opened(source);
    source.hold();
    const view = codeOf(() => file.view(500_000, 10_000));
    const cut = file.truncate(400_000);
    await settled();
    source.release();
    expect(await view).toBe('PAST_END');
    await cut;
  });

  test('can be all pinned: then a read says so, and goes on when there is room', async () => {
    const source = new GateSource(8 * MIB);
    const { file } = await opened(source, '2MiB');
    file.advise('random');
    const views: View[] = [];
    let code = 'none';
    for (let at = 0; code === 'none'; at += PAGE)
      code = await codeOf(async () => {
        views.push(await file.view(at, PAGE));
      });
    expect(code).toBe('BUDGET');
    expect(views.length).toBeGreaterThan(300);
    for (const view of views) view[Symbol.dispose]();
    await expectBytes(file, source, 7 * MIB, 100_000);
  });

  test('has a picture, which is plain data', async () => {
    const source = new GateSource(MIB + 5);
    const { cache, file } = await opened(source);
    await file.prefetch(0, MIB + 5);
    await file.write(new Uint8Array(10), 600_000);
    const picture = JSON.parse(JSON.stringify(cache.snapshot())) as Snapshot;
    expect(picture).toMatchObject({
      format: 'quire-snapshot',
      version: 1,
      of: 'cache',
      kernel: '6.18',
      pageSize: PAGE,
    });
    const { folios, size, name } = picture.files[0]!;
    expect([name, size]).toEqual(['gate', MIB + 5]);
    let next = 0;
    for (const folio of folios) {
      expect(folio.index).toBe(next);
      expect(folio.flags).toContain('PG_uptodate');
      next += 2 ** folio.order;
    }
    expect(next).toBe(257);
    const dirty = folios.filter((f) => f.flags.includes('PG_dirty'));
    expect(dirty.length).toBe(1);
    const page = Math.floor(600_000 / PAGE) - dirty[0]!.index;
    if (dirty[0]!.order > 0) expect(dirty[0]!.dirty).toEqual([[page, 1]]);
    expect(cache.stats()).toMatchObject({ resident: 257 * PAGE, dirty: 2 ** dirty[0]!.order * PAGE });
  });

  test('comes as a stream', async () => {
    const source = new GateSource(300_000);
    const { cache, file } = await opened(source);
    const target = new GateSource(0);
    const copy = await cache.open(target);
    await file.readable({ start: 1000, end: 250_000 }).pipeTo(copy.writable());
    expect(same(target.bytes, source.bytes.subarray(1000, 250_000))).toBe(true);
    expect(target.syncs).toBe(1);
  });
});
