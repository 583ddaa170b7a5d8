import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { COMING, MISSING, type Pages, ReadPolicy, UNUSED, USED } from '../../src/cache/policy.ts';

const MEMORY = 6144;
const WORTH = 256;
const BLOCK = 16;
const LAST = 1_000_000;

/** A file whose pages come at once, and what was asked for of them. */
class File implements Pages {
  readonly policy = new ReadPolicy(WORTH, MEMORY);
  readonly states = new Map<number, number>();
  readonly fetched: [number, number][] = [];
  last = LAST;
  full = false;
  sequential = false;

  state(page: number): number {
    return this.states.get(page) ?? MISSING;
  }
  set(from: number, to: number, state: number): void {
    for (let page = from; page < to; page++) this.states.set(page, state);
  }
  /** A read of pages [from, to): whether it missed. */
  read(from: number, to: number): boolean {
    let first = from;
    while (first < to && this.state(first) !== MISSING) first++;
    if (first < to) {
      const plan = this.policy.miss(from, first, to, this.last, this, this.full, this.sequential);
      expect(plan.from).toBeLessThanOrEqual(first);
      expect(plan.to).toBeGreaterThanOrEqual(to);
      expect(plan.to).toBeLessThanOrEqual(this.last);
      this.fetched.push([plan.from, plan.to]);
      for (let page = plan.from; page < plan.to; page++)
        if (this.state(page) === MISSING) this.states.set(page, UNUSED);
    }
    this.set(from, to, USED);
    return first < to;
  }
  get pages(): number {
    return this.fetched.reduce((n, [from, to]) => n + to - from, 0);
  }
}

describe('a read anywhere', () => {
  test('fetches the aligned block around it', () => {
    const f = new File();
    f.read(1003, 1004);
    f.read(90_000, 90_003);
    f.read(50_015, 50_018);
    expect(f.fetched).toEqual([
      [992, 1008],
      [90_000, 90_016],
      [50_000, 50_018],
    ]);
  });
  test('fetches no more than it asks for when that is a block and more', () => {
    const f = new File();
    f.read(1003, 1003 + BLOCK);
    expect(f.fetched).toEqual([[1003, 1019]]);
  });
  test('leaves out what is cached beside it', () => {
    const f = new File();
    f.set(996, 998, USED);
    f.set(1005, 1006, USED);
    f.read(1000, 1001);
    expect(f.fetched).toEqual([[998, 1005]]);
  });
  test('ends with the file', () => {
    const f = new File();
    f.last = 1000;
    f.read(995, 996);
    expect(f.fetched).toEqual([[992, 1000]]);
  });
});

describe('a run', () => {
  test('takes windows that double, on boundaries of their size, up to the largest', () => {
    const f = new File();
    for (let page = 0; page < 8192; page++) f.read(page, page + 1);
    expect(f.fetched).toEqual([
      [0, 16],
      [16, 256],
      [256, 512],
      [512, 1024],
      [1024, 2048],
      [2048, 4096],
      [4096, 6144],
      [6144, 8192],
    ]);
  });
  test('may skip up to a block at a time', () => {
    const f = new File();
    for (let page = 0; page < 4096; page += 4) f.read(page, page + 1);
    expect(f.fetched.length).toBe(6);
    const chunks = new File();
    for (let at = 5000; at < 9000; at += 90) chunks.read(at, at + 80);
    expect(chunks.fetched.length).toBeLessThanOrEqual(8);
  });
  test('is not two small reads side by side', () => {
    const f = new File();
    f.read(1007, 1008);
    f.read(1008, 1009);
    expect(f.fetched).toEqual([
      [992, 1008],
      [1008, 1024],
    ]);
  });
  test('does not go on where nobody read its end', () => {
    const f = new File();
    f.read(0, 100);
    f.set(0, 100, UNUSED);
    f.read(100, 101);
    expect(f.fetched[1]).toEqual([100, 112]);
  });
  test('what is on its way is too early to say: it goes on later', () => {
    const f = new File();
    f.read(0, 100);
    f.set(0, 100, COMING);
    f.read(100, 200);
    expect(f.fetched[1]).toEqual([100, 200]);
    f.set(0, 200, USED);
    f.read(200, 201);
    expect(f.fetched[2]).toEqual([200, 256]);
  });
  test('that the reader announces begins with a window', () => {
    const f = new File();
    f.sequential = true;
    f.read(5000, 5001);
    expect(f.fetched).toEqual([[5000, 5120]]);
  });
  test('asks early when it is long, and keeps what is being read', () => {
    const f = new File();
    let early = 0;
    let lead = -1;
    for (let page = 0; page < 60_000; page++) {
      if (page === lead) {
        const plan = f.policy.early(page, LAST);
        expect(plan).not.toBeNull();
        if (plan === null) continue;
        early++;
        f.set(plan.from, plan.to, UNUSED);
        expect(f.policy.keeps(page, page + 1, MEMORY)).toBe(true);
        expect(f.policy.keeps(plan.from, plan.to, MEMORY)).toBe(true);
        lead = plan.to - plan.lead;
      } else if (f.state(page) === MISSING) {
        const plan = f.policy.miss(page, page, page + 1, LAST, f, false, false);
        f.set(plan.from, plan.to, UNUSED);
        f.fetched.push([plan.from, plan.to]);
        lead = plan.lead > 0 ? plan.to - plan.lead : -1;
      }
      f.set(page, page + 1, USED);
    }
    // Eight windows of 2,048 pages, and then no read waits any more.
    expect(early).toBeGreaterThan(15);
    expect(f.fetched.length).toBeLessThan(18);
  });
  test('ends with the file, and asks for nothing behind it', () => {
    const f = new File();
    f.last = 700;
    for (let page = 0; page < 700; page++) f.read(page, page + 1);
    expect(f.fetched.at(-1)).toEqual([512, 700]);
    expect(f.policy.early(699, 700)).toBeNull();
  });
  test('many at a time', () => {
    const f = new File();
    for (let i = 0; i < 4096; i++) for (let run = 0; run < 6; run++) f.read(run * 100_000 + i, run * 100_000 + i + 1);
    expect(f.fetched.length).toBeLessThanOrEqual(6 * 8);
  });
});

describe('what is wasted', () => {
  test('runs of any length: pages by what was read, requests by its logarithm', () => {
    const r = new Prng(3);
    for (let round = 0; round < 200; round++) {
      const f = new File();
      const start = r.below(100_000);
      const length = 1 + Math.floor(2 ** (r.float() * 14));
      const step = r.between(1, 40);
      for (let at = start; at < start + length; at += step) f.read(at, Math.min(at + step, start + length));
      expect(f.pages, `${start} ${length} ${step}`).toBeLessThanOrEqual(2 * length + WORTH + 2 * BLOCK);
      const windows = Math.max(0, Math.log2(length / WORTH)) + length / 2048;
      expect(f.fetched.length, `${start} ${length} ${step}`).toBeLessThanOrEqual(6 + windows);
    }
  });
  test('reads anywhere: a block each', () => {
    const r = new Prng(4);
    const f = new File();
    for (let i = 0; i < 2000; i++) {
      const at = r.below(LAST);
      f.read(at, at + 1);
    }
    expect(f.pages).toBeLessThan(2000 * BLOCK + 3 * WORTH);
  });
});

describe('when memory is full', () => {
  test('blocks that leave unused stop, but for one now and then; when some are used they come back', () => {
    const r = new Prng(5);
    const f = new File();
    f.full = true;
    const share = (used: () => boolean): number => {
      const before = f.fetched.length;
      let blocks = 0;
      for (let i = 0; i < 1000; i++) {
        const at = r.below(LAST);
        f.states.clear();
        f.read(at, at + 1);
        const [from, to] = f.fetched.at(-1) as [number, number];
        if (to - from === 1) continue;
        blocks++;
        f.policy.left(used());
      }
      return blocks / (f.fetched.length - before);
    };
    expect(share(() => false)).toBeLessThan(0.1);
    expect(share(() => true)).toBeGreaterThan(0.7);
  });
});
