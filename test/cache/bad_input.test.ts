/** What must not be asked of a cache, and sources that do not tell the truth: each a typed error that says which, never wrong bytes. */
import { describe, expect, test } from 'vitest';
import { type CachedFile, CacheError, type CacheErrorCode, PageCache, type Source } from '../../src/cache/index.ts';
import { memorySource } from '../../src/cache/sources/memory.ts';
import { content, firstWrong } from './content.ts';

const SIZE = 300_000;
const SEED = 8;
const retry = { times: 2, delayMs: 1 };

const bytes = (): Uint8Array => content(SEED, 0, SIZE);

async function open(source: Source = memorySource(bytes(), { name: 'm' })) {
  const cache = new PageCache({ memory: '4MiB', retry });
  return { cache, file: await cache.open(source) };
}

/** Runs it, waits for it, and returns its CacheError. */
async function errorOf(act: () => unknown): Promise<CacheError> {
  let got: unknown = 'no error';
  try {
    await act();
  } catch (error) {
    got = error;
  }
  expect(got).toBeInstanceOf(CacheError);
  const error = got as CacheError;
  expect(error.message).not.toMatch(/\n/);
  expect(error.message).not.toBe('');
  return error;
}
const codeOf = async (act: () => unknown): Promise<CacheErrorCode> => (await errorOf(act)).code;

async function isWell(file: CachedFile, at = 0, length = 20_000): Promise<void> {
  const into = new Uint8Array(length);
  expect(await file.read(into, at)).toBe(length);
  expect(firstWrong(into, SEED, at)).toBe(-1);
}

const drain = async (stream: ReadableStream<Uint8Array>): Promise<number> => {
  let n = 0;
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) n += part.value.length;
  return n;
};

const buffer = new Uint8Array(10);
/** Everything that takes an offset. */
const calls: Readonly<Record<string, (file: CachedFile, at: number) => unknown>> = {
  read: (file, at) => file.read(buffer, at),
  readSync: (file, at) => file.readSync(buffer, at),
  readv: (file, at) => file.readv([buffer, buffer], at),
  view: (file, at) => file.view(at, 5),
  'view of so many bytes': (file, at) => file.view(5, at),
  write: (file, at) => file.write(buffer, at),
  writeSync: (file, at) => file.writeSync(buffer, at),
  truncate: (file, at) => file.truncate(at),
  truncateSync: (file, at) => file.truncateSync(at),
  punch: (file, at) => file.punch(at, 5),
  'punch so many bytes': (file, at) => file.punch(5, at),
  advise: (file, at) => file.advise('willneed', at, 5),
  prefetch: (file, at) => file.prefetch(at, 5),
  'prefetch of so many bytes': (file, at) => file.prefetch(5, at),
  'readable from': (file, at) => drain(file.readable({ start: at })),
  'readable to': (file, at) => drain(file.readable({ end: at })),
  writable: (file, at) => file.writable({ start: at }).getWriter().write(buffer),
};

describe('offsets', () => {
  const bad = [-1, -0.5, 1.5, Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 53];

  test.each(Object.keys(calls))('%s', async (name) => {
    const { cache, file } = await open();
    const call = calls[name] as (typeof calls)[string];
    for (const resident of [false, true]) {
      if (resident) await file.prefetch(0, SIZE);
      for (const at of bad) expect(await codeOf(() => call(file, at)), String(at)).toBe('INVALID_OFFSET');
      const text = '5' as unknown as number;
      expect(await codeOf(() => call(file, text)), 'a text').toBe('INVALID_OFFSET');
    }
    expect(await errorOf(() => file.read(buffer, -7))).toMatchObject({ source: 'm', at: -7 });
    expect(file.size).toBe(SIZE);
    await isWell(file);
    await cache.close();
  });

  test('a cursor', async () => {
    const { cache, file } = await open();
    await isWell(file);
    const cursor = file.cursor();
    for (const at of bad) expect(cursor.seek(at), String(at)).toBe(false);
    expect(cursor.seek(100)).toBe(true);
    await cache.close();
  });

  test('larger than any file', async () => {
    const { cache, file } = await open();
    const far = Number.MAX_SAFE_INTEGER - 5;
    expect(await codeOf(() => file.write(buffer, far))).toBe('INVALID_OFFSET');
    expect(await codeOf(() => file.truncate(far))).toBe('INVALID_OFFSET');
    expect(await file.read(buffer, far)).toBe(0);
    await cache.close();
  });
});

describe('past the end', () => {
  test('a read is cut there, a view is refused', async () => {
    const { cache, file } = await open();
    for (const resident of [false, true]) {
      if (resident) await file.prefetch(0, SIZE);
      const into = new Uint8Array(100).fill(7);
      expect(await file.read(into, SIZE - 30)).toBe(30);
      expect(firstWrong(into.subarray(0, 30), SEED, SIZE - 30)).toBe(-1);
      expect([...into.subarray(30)]).toEqual(Array(70).fill(7));
      expect(await file.read(into, SIZE)).toBe(0);
      expect(await file.read(into, SIZE + 12_345)).toBe(0);
      expect(await file.readv([into, into], SIZE - 150)).toBe(150);
      expect(await errorOf(() => file.view(SIZE - 5, 6))).toMatchObject({ code: 'PAST_END', source: 'm' });
      expect(await codeOf(() => file.view(SIZE + 1, 0))).toBe('PAST_END');
      expect(file.cursor().seek(SIZE)).toBe(false);
    }
    expect(await drain(file.readable({ start: SIZE - 10, end: SIZE + 10 }))).toBe(10);
    await cache.close();
  });

  test('an empty file', async () => {
    const { cache, file } = await open(memorySource(0));
    expect(await file.read(buffer, 0)).toBe(0);
    expect(await codeOf(() => file.view(0, 1))).toBe('PAST_END');
    await cache.close();
  });
});

/** A source of `content(SEED, …)` with some of its methods replaced. */
function lying(lies: Partial<Source>): Source {
  const { name, open: opens, read } = memorySource(bytes(), { name: 'liar', readOnly: true });
  return { name, open: opens, read, ...lies };
}

describe('a source that lies', () => {
  test('about its size when it opens', async () => {
    for (const size of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, '5', undefined, null]) {
      const cache = new PageCache({ memory: '4MiB', retry });
      const source = lying({ open: async () => ({ size }) as { size: number } });
      expect(await errorOf(() => cache.open(source)), String(size)).toMatchObject({
        code: 'WRONG_SIZE',
        source: 'liar',
      });
      await cache.close();
    }
  });

  test('it has fewer bytes than it said: those that are there are read, the others are an error', async () => {
    const { cache, file } = await open(lying({ open: async () => ({ size: SIZE + 200_000 }) }));
    await isWell(file, 0, 200_000);
    const error = await errorOf(() => file.read(new Uint8Array(50_000), SIZE + 100_000));
    expect(error).toMatchObject({ code: 'SHORT_READ', source: 'liar' });
    expect(await codeOf(() => file.read(new Uint8Array(10), SIZE - 5))).toBe('SHORT_READ');
    expect(await codeOf(() => file.view(SIZE + 100_000, 10))).toBe('SHORT_READ');
    expect(await codeOf(() => file.prefetch(SIZE + 100_000, 10))).toBe('SHORT_READ');
    await isWell(file, 100_000, 150_000);
    await cache.close();
  });

  test('it has more than it said: nothing past that is read', async () => {
    const { cache, file } = await open(lying({ open: async () => ({ size: 100_000 }) }));
    expect(await file.read(new Uint8Array(50_000), 99_990)).toBe(10);
    await isWell(file, 80_000, 20_000);
    await cache.close();
  });

  test('about how much it read', async () => {
    for (const n of [-1, 1.5, Number.NaN, 1e9, '4096', undefined]) {
      const { cache, file } = await open(lying({ read: async () => n as number }));
      expect(await codeOf(() => file.read(buffer, 0)), String(n)).toBe('WRONG_SIZE');
      await cache.close();
    }
  });

  test('it throws what is no error, or at once', async () => {
    const odd: Partial<Source>[] = [
      { read: () => Promise.reject('a text') },
      { read: () => Promise.reject(undefined) },
      {
        read: () => {
          throw new TypeError('at once');
        },
      },
    ];
    for (const lie of odd) {
      const { cache, file } = await open(lying(lie));
      expect(await errorOf(() => file.read(buffer, 0))).toMatchObject({ code: 'SOURCE', source: 'liar' });
      await cache.close();
    }
    const cache = new PageCache({ memory: '4MiB', retry });
    const closed = lying({ open: () => Promise.reject(new Error('no such thing')) });
    const error = await errorOf(() => cache.open(closed));
    expect(error).toMatchObject({ code: 'SOURCE', message: 'liar: no such thing', cause: new Error('no such thing') });
    await cache.close();
  });

  test('it is well again: so is the file', async () => {
    let ill = true;
    const well = memorySource(bytes());
    const source = lying({
      read: async (into, at) => (ill ? 0 : well.read(into, at)),
    });
    const { cache, file } = await open(source);
    expect(await codeOf(() => file.read(buffer, 0))).toBe('SHORT_READ');
    ill = false;
    await isWell(file, 0, SIZE);
    await cache.close();
  });
});

describe('what cannot be written', () => {
  test('a source that only reads', async () => {
    const { cache, file } = await open(memorySource(bytes(), { readOnly: true, name: 'm' }));
    for (const name of ['write', 'writeSync', 'truncate', 'truncateSync', 'punch', 'writable'])
      expect(await errorOf(() => calls[name]?.(file, 5)), name).toMatchObject({ code: 'READ_ONLY', source: 'm' });
    await file.sync();
    await isWell(file);
    await cache.close();
  });
});

describe('budgets', () => {
  test('none, too small, and what is no size', async () => {
    const bad = [
      0,
      '0',
      '0MiB',
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      4096,
      '100KiB',
      '',
      'much',
      '-5MiB',
      '5XB',
    ];
    for (const memory of bad) expect(await codeOf(() => new PageCache({ memory })), String(memory)).toBe('NO_BUDGET');
    for (const memory of [undefined, null, {}, true])
      expect(await codeOf(() => new PageCache({ memory: memory as unknown as number })), String(memory)).toBe(
        'NO_BUDGET',
      );
    expect((await errorOf(() => new PageCache({ memory: 0 }))).message).toMatch(/expected at least/);
  });

  test('more than any host has', async () => {
    expect(await codeOf(() => new PageCache({ memory: '4000TiB' }))).toMatch(/BUDGET/);
  });

  test('other options', async () => {
    const options = [
      { pageSize: 5000 },
      { kernel: '2.4' },
      { kernel: 'toString' },
      { dirtyRatio: 0 },
      { dirtyRatio: 101 },
      { buffer: (bytes: number) => new Uint8Array(bytes - 1) },
    ];
    for (const more of options)
      expect(await codeOf(() => new PageCache({ memory: '8MiB', ...(more as object) })), JSON.stringify(more)).toBe(
        'NO_BUDGET',
      );
  });

  test('groups', async () => {
    const { cache } = await open();
    for (const memory of [0, -1, '1KiB', '1GiB', 'x', Number.NaN])
      expect(await codeOf(() => cache.group('g', { memory })), String(memory)).toBe('NO_BUDGET');
    const other = new PageCache({ memory: '4MiB' });
    const group = other.group('theirs', { memory: '1MiB' });
    expect((await errorOf(() => cache.open(memorySource(5), { group }))).message).toMatch(/theirs/);
    await other.close();
    await cache.close();
  });
});

describe('closed', () => {
  test('a file', async () => {
    const { cache, file } = await open();
    await isWell(file);
    const cursor = file.cursor();
    await file.close();
    const other = await cache.open(memorySource(content(99, 0, SIZE)));
    await other.prefetch(0, SIZE);
    for (const [name, call] of Object.entries(calls)) {
      buffer.fill(0);
      expect(await errorOf(() => call(file, 0)), name).toMatchObject({ code: 'CLOSED', source: 'm' });
      expect([...buffer], `${name}: nothing was read`).toEqual(Array(10).fill(0));
    }
    expect(await codeOf(() => file.sync())).toBe('CLOSED');
    expect(await codeOf(() => file.syncSync())).toBe('CLOSED');
    expect(await codeOf(() => file.cursor())).toBe('CLOSED');
    expect(cursor.seek(0)).toBe(false);
    await file.close();
    await cache.close();
  });

  test('while somebody reads', async () => {
    const { cache, file } = await open(lying({ read: hang }));
    const read = codeOf(() => file.read(buffer, 0));
    await Promise.resolve();
    await file.close();
    expect(await read).toBe('CLOSED');
    await cache.close();
  });

  test('a cache', async () => {
    const { cache, file } = await open();
    await cache.close();
    expect(await codeOf(() => file.read(buffer, 0))).toBe('CLOSED');
    expect(await codeOf(() => cache.open(memorySource(5)))).toBe('CLOSED');
    expect(await codeOf(() => cache.openSync(memorySource(5)))).toBe('CLOSED');
    expect(await codeOf(() => cache.group('g', { memory: '1MiB' }))).toBe('CLOSED');
    await cache.close();
  });

  test('a view that was disposed of', async () => {
    const { cache, file } = await open();
    const view = await file.view(0, 100);
    view[Symbol.dispose]();
    view[Symbol.dispose]();
    expect(await codeOf(() => view.bytes)).toBe('CLOSED');
    expect(await codeOf(() => view.pieces)).toBe('CLOSED');
    await cache.close();
  });
});

/** Answers nothing until it is aborted. */
function hang(_into: Uint8Array, _at: number, signal?: AbortSignal): Promise<number> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(new CacheError('ABORTED', 'the source was aborted')));
  });
}

describe('aborts', () => {
  test('before, and while it waits; others do not notice', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const well = memorySource(bytes());
    const source = lying({
      read: async (into, at) => {
        await held;
        return well.read(into, at);
      },
    });
    const { cache, file } = await open(source);
    const gone = AbortSignal.abort(new Error('gone'));
    expect(await errorOf(() => file.read(buffer, 0, { signal: gone }))).toMatchObject({
      code: 'ABORTED',
      cause: new Error('gone'),
    });
    const abort = new AbortController();
    const reads = [1, 2, 3].map((i) => codeOf(() => file.read(new Uint8Array(10), i, { signal: abort.signal })));
    const view = codeOf(() => file.view(50, 10, { signal: abort.signal }));
    const other = isWell(file, 0, 1000);
    abort.abort();
    expect(await Promise.all([...reads, view])).toEqual(Array(4).fill('ABORTED'));
    release();
    await other;
    await isWell(file, 0, SIZE);
    await cache.close();
  });

  test('one of two that open the same source', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const well = memorySource(bytes(), { name: 'm', readOnly: true });
    const source: Source = {
      name: 'm',
      async open(signal) {
        await held;
        return well.open(signal);
      },
      read: (into, at) => well.read(into, at),
    };
    const cache = new PageCache({ memory: '4MiB', retry });
    const abort = new AbortController();
    const first = codeOf(() => cache.open(source, { signal: abort.signal }));
    const second = cache.open(source);
    abort.abort();
    expect(await first).toBe('ABORTED');
    release();
    await isWell(await second);
    await cache.close();
  });

  test('opening is tried again like any request', async () => {
    let times = 0;
    const well = memorySource(bytes());
    const source = lying({
      open: async () => {
        if (times++ < 2) throw new CacheError('SOURCE', 'busy', { retryable: true });
        return well.open();
      },
    });
    const { cache, file } = await open(source);
    expect(times).toBe(3);
    await isWell(file);
    await cache.close();
  });
});
