/**
 * Random operations on a cache, beside plain byte arrays: what the program wrote, and what it had written when it last
 * synced. A change that fails is made again with a source that behaves, so that the arrays stay exact.
 */
import { Prng } from '../../src/base/prng.ts';
import { type CachedFile, CacheError, type CacheGroup, PageCache, type View } from '../../src/cache/index.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { V } from '../../src/mm/vmstat.ts';
import { type Faults, FaultySource, NO_FAULTS, same } from './faulty_source.ts';

function fail(claim: string): never {
  throw new Error(claim);
}
function equal(got: number, want: number, what: string): void {
  if (got !== want) fail(`${what}: ${got}, expected ${want}`);
}
function ok(holds: boolean, claim: string): void {
  if (!holds) fail(claim);
}

export const ROOM = 3 << 19;
const FILES = 2;

interface Contents {
  readonly source: FaultySource;
  readonly group: CacheGroup | undefined;
  file: CachedFile;
  size: number;
  readonly truth: Uint8Array;
  /** As of the last sync, and which bytes have been changed since. */
  readonly synced: Uint8Array;
  syncedSize: number;
  readonly touched: Uint8Array;
}

export class CacheWorld {
  readonly r: Prng;
  readonly cache: PageCache;
  private readonly pageSize: number;
  private readonly files: Contents[] = [];
  private readonly views: { view: View; from: Contents; at: number; bytes: Uint8Array }[] = [];
  private readonly faults: Faults;
  private readonly buffer = new Uint8Array(1 << 19);
  /** Reads that nobody waits for. */
  private readonly passing = new Set<Promise<void>>();
  private version = 0;

  private constructor(seed: number) {
    const r = new Prng(seed);
    this.r = r;
    const fill = r.below(3) === 0;
    this.faults = fill
      ? { ...NO_FAULTS, delay: r.pick([r.below(6), 40]) }
      : {
          again: r.float() * 0.2,
          fatal: r.float() * 0.05,
          short: r.float() * 0.05,
          wrong: r.float() * 0.05,
          delay: r.pick([r.below(6), r.below(6), 40]),
        };
    const large = r.below(10) === 0;
    this.pageSize = large ? 16384 : 4096;
    // Of some, the memory is a part of a buffer.
    const before = r.pick([0, 0, 8, 12288]);
    this.cache = new PageCache({
      buffer: (bytes) => new Uint8Array(new ArrayBuffer(before + bytes + 100), before, bytes),
      memory: (large ? 4600 : r.between(1400, 3000)) * 1024,
      pageSize: large ? 16384 : 4096,
      kernel: r.pick(['6.18', '6.18', '6.12', '6.1', '5.15', '7.3']),
      dirtyRatio: r.pick([20, 50, 5]),
      retry: { times: r.below(3), delayMs: 0 },
    });
  }

  static async open(seed: number): Promise<CacheWorld> {
    const world = new CacheWorld(seed);
    const { r, cache } = world;
    for (let i = 0; i < FILES; i++) {
      const size = r.pick([0, 1, 4095, 4096, 100_000, r.below(ROOM), r.below(ROOM)]);
      const shape = { sync: r.below(4) === 0, vectors: r.below(2) === 0, truncates: true, deaf: r.below(3) === 0 };
      const hints =
        r.below(2) === 0
          ? { latencyMs: 1, bytesPerSecond: r.pick([1e6, 1e8, 1e9]), parallel: r.between(1, 4) }
          : undefined;
      const source = new FaultySource(`f${i}`, size, ROOM, r, shape, hints);
      const group = r.below(3) === 0 ? cache.group(`g${i}`, { memory: 70 * world.pageSize }) : undefined;
      const file = await cache.open(source, group === undefined ? {} : { group });
      const c: Contents = {
        source,
        group,
        file,
        size,
        truth: source.bytes.slice(),
        synced: source.bytes.slice(),
        syncedSize: size,
        touched: new Uint8Array(ROOM),
      };
      source.onChange = () => {
        if (r.below(16) === 0) world.crash(c);
      };
      source.faults = world.faults;
      world.files.push(c);
    }
    return world;
  }

  /** After a crash now, what was synced and not changed since is in the source. */
  private crash(c: Contents): void {
    for (let i = 0; i < c.syncedSize; i++)
      if (c.touched[i] === 0 && c.source.bytes[i] !== c.synced[i])
        fail(`${c.source.name}: byte ${i} was synced as ${c.synced[i]}, and the source has ${c.source.bytes[i]}`);
  }

  private place(c: Contents, most: number): [number, number] {
    const { r } = this;
    const at = r.below(4) === 0 ? r.below(ROOM / 4096) * 4096 : r.below(Math.min(ROOM, c.size + 20_000));
    const length = r.pick([0, 1, 100, 4096, r.below(10_000), r.below(most), r.below(most)]);
    return [at, Math.min(length, ROOM - at, most)];
  }

  /** What a call may fail with when the source does; anything else is an error of the test. */
  private allowed(error: unknown, ...more: string[]): void {
    if (!(error instanceof CacheError)) throw error;
    const codes = ['SOURCE', 'SHORT_READ', 'WRONG_SIZE', 'WRITE_BACK', 'BUDGET', ...more];
    if (!codes.includes(error.code)) throw error;
    if (this.faults === NO_FAULTS) throw error;
  }

  private compare(c: Contents, got: Uint8Array, at: number, what: string): void {
    const want = c.truth.subarray(at, at + got.length);
    if (same(got, want)) return;
    let i = 0;
    while (got[i] === want[i]) i++;
    fail(`${what} of ${c.source.name}: byte ${at + i} is ${got[i]}, expected ${want[i]}`);
  }

  private async read(c: Contents, at: number, length: number, signal?: AbortSignal): Promise<void> {
    const into = new Uint8Array(length);
    try {
      const cut = this.r.below(length + 1);
      const n =
        this.r.below(4) === 0
          ? await c.file.readv([into.subarray(0, cut), into.subarray(cut)], at, { signal })
          : await c.file.read(into, at, { signal });
      equal(n, Math.max(0, Math.min(length, c.size - at)), 'bytes read');
      this.compare(c, into.subarray(0, n), at, 'read');
    } catch (error) {
      this.allowed(error, ...(signal === undefined ? [] : ['ABORTED']));
    }
  }

  /** A signal that is aborted in a while. */
  private fleeting(): AbortSignal {
    const given = new AbortController();
    const leave = async (turns: number): Promise<void> => {
      for (let n = turns; n > 0; n--) await Promise.resolve();
      given.abort(new Error('enough'));
    };
    void leave(this.r.pick([0, this.r.below(8), this.r.below(80)]));
    return given.signal;
  }

  /** A read that is given up while other things happen: what it brings is not looked at. */
  private passBy(c: Contents): void {
    const [at, length] = this.place(c, 1 << this.r.between(12, 19));
    const signal = this.fleeting();
    const { file } = c;
    const kind = this.r.below(4);
    const read = async (): Promise<void> => {
      try {
        if (kind === 0) await file.prefetch(at, length, { signal });
        else if (kind === 1 && at + length <= file.size) (await file.view(at, length, { signal }))[Symbol.dispose]();
        else await file.read(new Uint8Array(length), at, { signal });
      } catch (error) {
        this.allowed(error, 'ABORTED', 'CLOSED', 'PAST_END');
      }
    };
    const passing = read().finally(() => this.passing.delete(passing));
    this.passing.add(passing);
  }

  /** A change: made again without faults when it failed. */
  private async change(c: Contents, work: () => unknown): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.allowed(error);
      await this.calmly(async () => {
        // A failed write is told to its writer first.
        for (let tries = 0; ; tries++) {
          try {
            await work();
            return;
          } catch (again) {
            if (!(again instanceof CacheError) || again.code !== 'WRITE_BACK' || tries > 3) throw again;
          }
        }
      });
    }
    void c;
  }

  /** While this runs, sources behave. */
  private async calmly<T>(work: () => Promise<T>): Promise<T> {
    for (const c of this.files) c.source.faults = NO_FAULTS;
    try {
      return await work();
    } finally {
      for (const c of this.files) c.source.faults = this.faults;
    }
  }

  private fresh(length: number): Uint8Array {
    this.version = (this.version % 250) + 1;
    return this.buffer.subarray(0, length).fill(this.version);
  }

  private touch(c: Contents, from: number, to: number): void {
    c.touched.fill(1, from, Math.max(from, to));
  }

  private async write(c: Contents, at: number, length: number): Promise<void> {
    const bytes = this.fresh(length);
    this.touch(c, Math.min(at, c.size), at + length);
    await this.change(c, () => c.file.write(bytes, at));
    if (length === 0) return;
    c.truth.set(bytes, at);
    c.size = Math.max(c.size, at + length);
  }

  private async sync(c: Contents): Promise<void> {
    try {
      await c.file.sync();
    } catch (error) {
      this.allowed(error);
      return;
    }
    this.holds(c);
    c.synced.set(c.truth);
    c.syncedSize = c.size;
    c.touched.fill(0);
  }

  private holds(c: Contents): void {
    equal(c.source.size, c.size, `size of ${c.source.name} after sync`);
    this.compare(c, c.source.bytes.subarray(0, c.size), 0, 'the source after sync');
  }

  /** One random operation. */
  async step(): Promise<void> {
    const { r } = this;
    const c = r.pick(this.files);
    const [at, length] = this.place(c, 1 << r.between(12, 19));
    for (let n = r.pick([0, 0, 1, 3]); n > 0; n--) this.passBy(r.pick(this.files));
    switch (r.below(18)) {
      case 0:
      case 1:
      case 2:
        return this.read(c, at, length);
      case 3: {
        // From front to back, so that windows grow.
        const n = r.between(1, 30_000);
        for (let pos = at, i = 0; i < 12 && pos < c.size; i++, pos += n) await this.read(c, pos, n);
        return;
      }
      case 4:
        await Promise.all(Array.from({ length: r.between(2, 6) }, () => this.read(c, ...this.place(c, 60_000))));
        return;
      case 5: {
        // Some leave, some come late, most want the same.
        const one = async (): Promise<void> => {
          for (let n = r.pick([0, 0, r.below(40)]); n > 0; n--) await Promise.resolve();
          const place = r.below(3) > 0 ? ([at, length] as const) : this.place(c, 60_000);
          await this.read(c, ...place, r.below(3) > 0 ? this.fleeting() : undefined);
        };
        await Promise.all(Array.from({ length: r.between(1, 6) }, one));
        return;
      }
      case 6:
      case 7:
      case 8:
      case 9:
        return this.write(c, at, length);
      case 10: {
        const size = r.pick([at, Math.min(c.size, at), c.size, 0, Math.ceil(at / 4096) * 4096]);
        this.touch(c, Math.min(size, c.size), ROOM);
        await this.change(c, () => c.file.truncate(size));
        if (size < c.size) c.truth.fill(0, size);
        c.size = size;
        return;
      }
      case 11: {
        const end = Math.max(at, Math.min(at + length, c.size));
        this.touch(c, at, end);
        await this.change(c, () => c.file.punch(at, length));
        c.truth.fill(0, at, end);
        return;
      }
      case 12:
        return this.sync(c);
      case 13:
        return this.look(c, at, length);
      case 14:
        c.file.advise(r.pick(['normal', 'sequential', 'random', 'willneed', 'dontneed', 'noreuse']), at, length);
        return;
      case 15:
        try {
          const signal = r.below(2) === 0 ? this.fleeting() : undefined;
          await c.file.prefetch(at, length, { signal });
        } catch (error) {
          this.allowed(error, 'ABORTED');
        }
        return;
      case 16:
        return this.readBesideWrite(c, at, length);
      default:
        return this.reopen(c);
    }
  }

  /** Views and the cursor; some views stay. */
  private async look(c: Contents, at: number, length: number): Promise<void> {
    const { r } = this;
    for (const held of this.views.splice(0)) held.view[Symbol.dispose]();
    if (at + length > c.size) {
      try {
        void c.file.view(at, length + c.size);
      } catch (error) {
        if (error instanceof CacheError && error.code === 'PAST_END') return;
      }
      fail('a view past the end');
    }
    const n = Math.min(length, 100_000);
    let view: View;
    try {
      view = await c.file.view(at, n);
    } catch (error) {
      this.allowed(error);
      return;
    }
    equal(view.length, n, 'length of a view');
    this.compare(c, view.bytes, at, 'view');
    let pos = at;
    for (const piece of view.pieces) {
      this.compare(c, piece, pos, 'piece of a view');
      pos += piece.length;
    }
    if (r.below(2) === 0) this.views.push({ view, from: c, at, bytes: view.bytes });
    else view[Symbol.dispose]();
    const cursor = c.file.cursor();
    for (let i = 0; i < 20; i++) {
      const to = r.below(ROOM);
      if (!cursor.seek(to)) continue;
      ok(to < c.size && to + cursor.length <= c.size, 'a cursor stays in the file');
      this.compare(c, cursor.bytes.subarray(cursor.offset, cursor.offset + cursor.length), to, 'cursor');
    }
  }

  /** A read may see a write that is under way in part: each byte is the old one or the new one. */
  private async readBesideWrite(c: Contents, at: number, length: number): Promise<void> {
    const before = c.truth.slice(at, at + length);
    const from = Math.max(0, at - 3000);
    const into = new Uint8Array(length);
    const sizes = c.size;
    const write = this.write(c, from, length);
    let n = 0;
    try {
      n = await c.file.read(into, at);
    } catch (error) {
      this.allowed(error);
    }
    await write;
    ok(n <= length && (n === 0 || at + n <= Math.max(c.size, sizes)), 'a read beside a write ends in the file');
    for (let i = 0; i < n; i++)
      if (into[i] !== before[i] && into[i] !== c.truth[at + i])
        fail(`read beside a write: byte ${at + i} is ${into[i]}: neither ${before[i]} nor ${c.truth[at + i]}`);
  }

  private async reopen(c: Contents): Promise<void> {
    const again = await this.cache.open(c.source, c.group === undefined ? {} : { group: c.group });
    if (this.r.below(2) === 0) {
      await c.file.close();
      c.file = again;
      return;
    }
    // The last close brings everything to the source, or fails and stays open.
    await again.close();
    try {
      await c.file.close();
    } catch (error) {
      this.allowed(error);
      return;
    }
    this.holds(c);
    c.synced.set(c.truth);
    c.syncedSize = c.size;
    c.touched.fill(0);
    c.file = await this.cache.open(c.source, c.group === undefined ? {} : { group: c.group });
  }

  check(idle: boolean): void {
    if (this.views.length + this.passing.size > 0) return;
    checkMachine(this.cache.unsafeInternals.m, idle);
  }

  /** Everything ends well once the sources do: nothing is lost, nothing is held. */
  async end(): Promise<void> {
    for (const held of this.views.splice(0)) held.view[Symbol.dispose]();
    await this.calmly(async () => {
      await Promise.all(this.passing);
      for (const c of this.files) {
        await this.sync(c);
        await this.read(c, 0, c.size);
      }
      const core = this.cache.unsafeInternals;
      while (core.busy) await core.waitForAny(undefined);
      checkMachine(core.m, true);
      await this.cache.close();
      equal(core.waiters, 0, 'nobody waits for ever');
      equal(core.m.vmstat[V.nr_file_pages], 0, 'nothing is cached after the close');
      checkMachine(core.m, true);
    });
  }
}
