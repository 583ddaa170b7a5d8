import type { Prng } from '../../src/base/prng.ts';
import type { Family } from './families.ts';
import { MiB, PAGE, Script, type Setup } from './script.ts';

/**
 * Scripts over memory of no file: touches in many orders, each size of huge page alone and mixed, advice, holes, unmapping,
 * protection, collapse, forks. What is stored there is zeros, always: so says the recorder.
 */

const SIZES = [16, 32, 64, 128, 256, 512, 1024, 2048] as const;
const HUGE = 2 * MiB;
/** Pages past a 2 MiB boundary. */
const PLACES = [0, 0, 1, 3, 5, 15, 16, 64, 100, 256, 511] as const;
/** Pages of a range. */
const SPANS = [1, 2, 3, 4, 7, 16, 17, 40, 64, 100, 128, 256, 300, 512, 700, 1024] as const;
const WIDE = [64, 300, 512, 1000, 2048] as const;
const STRIDES = [2, 3, 4, 5, 8, 16, 17, 31, 64, 100, 128, 512] as const;

type Access = 'r' | 'w';
/** Part of a mapping, in bytes. */
type Range = readonly [offset: number, length: number];

/** A mapping, and which parts of it are still there. */
class Area {
  readonly map: number;
  readonly size: number;
  private parts: Range[];
  private readonly s: Script;

  constructor(s: Script, size: number, at: number, sharing: 'shared' | 'private' = 'private', prot = 'rw') {
    this.s = s;
    this.size = size;
    this.map = s.mmap(0, 0, size, prot, sharing, at);
    this.parts = [[0, Math.ceil(size / PAGE) * PAGE]];
  }
  get there(): boolean {
    return this.parts.length > 0;
  }
  /** Only the first `length` bytes are touched from now on. */
  keep(length: number): void {
    this.parts = [[0, length]];
  }
  part(spans: readonly number[] = SPANS): Range {
    const { prng } = this.s;
    const [from, room] = prng.pick(this.parts);
    const length = Math.min(prng.pick(spans) * PAGE, room);
    return [from + prng.below((room - length) / PAGE + 1) * PAGE, length];
  }
  touch([offset, length]: Range, access: Access): void {
    this.s.touch(this.map, offset, Math.min(length, this.size - offset), access);
  }
  advise(advice: string, range: Range = [0, Math.ceil(this.size / PAGE) * PAGE]): void {
    this.s.madvise(this.map, ...range, advice);
  }
  unmap(range: Range): void {
    const [at, length] = range;
    this.s.munmap(this.map, at, length);
    this.parts = this.parts.flatMap(([from, n]): Range[] => {
      const before = Math.min(from + n, at) - from;
      const after = from + n - Math.max(from, at + length);
      return [
        [from, before],
        [from + n - after, after],
      ].filter(([, rest]) => (rest as number) > 0) as unknown as Range[];
    });
  }
  protect(range: Range, prot: string): void {
    this.s.mprotect(this.map, ...range, prot);
  }
  lock(range: Range): void {
    this.s.mlock(this.map, ...range);
  }

  private hops(access: Access): void {
    for (let n = 0; n < 20; n++) this.touch(this.part([1]), access);
  }
  private stride(access: Access, step: number): void {
    const { prng } = this.s;
    const [from, room] = prng.pick(this.parts);
    let at = from + prng.below(room / PAGE) * PAGE;
    for (let n = 0; n < 30 && at >= from && at < from + room; n++, at += step * PAGE) this.touch([at, 1], access);
  }
  /** A burst of loads or stores. */
  use(access: Access = this.s.prng.pick(['w', 'w', 'w', 'r'])): void {
    const { prng } = this.s;
    const kind = prng.below(6);
    if (kind < 3) this.touch(this.part(), access);
    else if (kind === 3) this.hops(access);
    else this.stride(access, kind === 4 ? prng.pick(STRIDES) : -prng.pick([1, 1, 2, 3, 16, 40]));
  }
}

const NO_FILES: Setup = { fs: 'xfs' };
const top = (prng: Prng): string => `top=${prng.pick(['always', 'madvise', 'madvise', 'never'])}`;
function some<T>(prng: Prng, from: readonly T[], n: number): T[] {
  const left = [...from];
  return Array.from({ length: n }, () => left.splice(prng.below(left.length), 1)[0] as T);
}
/** Some sizes, each with a control of its own. */
const mixed = (prng: Prng): string[] => [
  top(prng),
  ...some(prng, SIZES, prng.between(2, 5)).map(
    (z) => `${z}kB=${prng.pick(['always', 'always', 'madvise', 'inherit'])}`,
  ),
];
/** Some sizes for everybody. */
const everywhere = (prng: Prng): string[] => [
  'top=always',
  ...some(prng, SIZES, prng.between(1, 4)).map((z) => `${z}kB=always`),
];
const script = (prng: Prng, thp: readonly string[], more: Partial<Setup> = {}): Script =>
  new Script(prng, { ...NO_FILES, ...more, thp });
const place = (prng: Prng): number => prng.pick(PLACES) * PAGE;
const areas = (s: Script, n: number, sizes: readonly number[]): Area[] =>
  Array.from(
    { length: n },
    () => new Area(s, s.prng.pick(sizes) * MiB + s.prng.pick([0, 0, 1, 77]) * PAGE, place(s.prng)),
  );

type Step = (area: Area) => void;
/** `n` steps, each of a random kind on a random mapping that has something left. */
function steps(prng: Prng, n: number, of: readonly Area[], kinds: readonly Step[]): void {
  for (let i = 0; i < n; i++) {
    const there = of.filter((a) => a.there);
    if (there.length > 0) prng.pick(kinds)(prng.pick(there));
  }
}
const use: Step = (a) => a.use();
const advises =
  (prng: Prng, kinds: readonly string[], spans: readonly number[] = SPANS): Step =>
  (a) =>
    a.advise(prng.pick(kinds), a.part(spans));

function oneSize(prng: Prng, size: number): Script {
  const mode = prng.pick(['always', 'madvise', 'inherit']);
  const s = script(prng, [`top=${prng.pick(['always', 'madvise', 'never'])}`, '2048kB=never', `${size}kB=${mode}`]);
  const of = areas(s, 3, [2, 3, 6, 10]);
  (of[1] as Area).advise('hugepage');
  steps(prng, 10, of, [use]);
  steps(prng, 3, of, [advises(prng, ['dontneed'])]);
  steps(prng, 9, of, [use]);
  steps(prng, 2, of, [(a) => a.unmap(a.part([1, 5, 64, 300]))]);
  return s;
}
function mix(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 3, [2, 4, 8, 16]);
  steps(prng, 24, of, [
    use,
    use,
    use,
    use,
    use,
    use,
    advises(prng, ['hugepage', 'nohugepage'], WIDE),
    advises(prng, ['dontneed']),
  ]);
  return s;
}
/** Zero pages, small and huge, and stores over them. */
function loads(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 2, [4, 8]);
  if (prng.below(3) > 0) (of[0] as Area).advise('hugepage');
  steps(prng, 12, of, [(a) => a.use('r')]);
  steps(prng, 12, of, [(a) => a.use(prng.pick(['r', 'w']))]);
  return s;
}
function advice(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 2, [6, 12]);
  const kinds = ['hugepage', 'hugepage', 'nohugepage', 'normal', 'sequential', 'random'];
  for (let n = 0; n < 12; n++) {
    steps(prng, 1, of, [advises(prng, kinds, [16, ...WIDE])]);
    steps(prng, 2, of, [use]);
  }
  return s;
}
function holes(prng: Prng): Script {
  const s = script(prng, everywhere(prng));
  const of = areas(s, 2, [4, 8, 12]);
  for (const a of of) a.touch([0, a.size], 'w');
  steps(prng, 28, of, [
    advises(prng, ['dontneed'], [1, 2, 3, 5, 9, 17, 100, 512, 800]),
    advises(prng, ['dontneed']),
    use,
  ]);
  return s;
}
function unmaps(prng: Prng): Script {
  const s = script(prng, everywhere(prng));
  const of = areas(s, 3, [4, 8]);
  for (const a of of) a.touch([0, a.size], prng.pick(['w', 'w', 'r']));
  steps(prng, 22, of, [(a) => a.unmap(a.part([1, 2, 7, 33, 100, 300, 512])), use]);
  return s;
}
function protects(prng: Prng): Script {
  const s = script(prng, everywhere(prng));
  const of = areas(s, 2, [4, 8]);
  of.push(new Area(s, 4 * MiB, place(prng), 'private', 'r'));
  const [, , readOnly] = of as [Area, Area, Area];
  steps(prng, 4, [readOnly], [(a) => a.use('r')]);
  readOnly.protect([0, HUGE + 5 * PAGE], 'rw');
  readOnly.keep(HUGE + 5 * PAGE);
  steps(prng, 14, of, [
    (a) => {
      const range = a.part([1, 3, 16, 100, 300, 512, 1024]);
      a.protect(range, 'r');
      a.touch(range, 'r');
      if (prng.below(2) === 0) a.use('r');
      a.protect(range, 'rw');
      a.use();
    },
    (a) => a.advise('dontneed', a.part()),
  ]);
  return s;
}
function collapses(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 2, [6, 8]);
  if (prng.below(2) === 0) (of[0] as Area).advise('hugepage');
  for (let n = 0; n < 9; n++) {
    steps(prng, 2, of, [use]);
    steps(prng, prng.below(2), of, [advises(prng, ['dontneed']), (a) => a.unmap(a.part([1, 5, 100]))]);
    steps(prng, 1, of, [advises(prng, ['collapse'], [512, 1024, 1500, 4096])]);
  }
  return s;
}
function populates(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 3, [2, 4, 5]);
  if (prng.below(2) === 0) (of[0] as Area).advise('hugepage');
  steps(prng, 14, of, [advises(prng, ['populate_read', 'populate_write']), advises(prng, ['dontneed']), use]);
  return s;
}
/**
 * A child that exits at once leaves pages that are written again: no copy, but a fault for each. Not of 2 MiB pages: there
 * the recording machine takes more faults than the kernel asks for, from what its processor remembers of the page tables.
 */
function forks(prng: Prng): Script {
  const s = script(prng, [...mixed(prng), '2048kB=never']);
  const of = areas(s, 2, [4, 8]);
  steps(prng, 10, of, [use]);
  for (let n = 0; n < 5; n++) {
    s.fork();
    steps(prng, 4, of, [use, use, advises(prng, ['dontneed'])]);
  }
  return s;
}
/** Advice that splits what it covers in part. There is no swap. */
function splits(prng: Prng, kinds: readonly string[]): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 2, [4, 8]);
  (of[0] as Area).advise('hugepage');
  for (const a of of) a.touch([0, a.size / 2], 'w');
  steps(prng, 24, of, [advises(prng, kinds), use, use, advises(prng, [...kinds, 'dontneed'])]);
  return s;
}
function locks(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 2, [4, 8]);
  (of[0] as Area).advise('hugepage');
  steps(prng, 24, of, [
    use,
    (a) => a.lock(a.part([1, 16, 100, 512, 600])),
    (a) => (prng.below(3) === 0 ? a.unmap(a.part([1, 64])) : a.use()),
  ]);
  return s;
}
function sharedMemory(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = [new Area(s, 2 * MiB, place(prng), 'shared'), new Area(s, 4 * MiB, place(prng), 'shared')];
  const own = new Area(s, 3 * MiB, place(prng));
  steps(prng, 8, [...of, own], [(a) => a.use(prng.pick(['r', 'w']))]);
  steps(prng, 14, of, [
    (a) => a.use(prng.pick(['r', 'w'])),
    advises(prng, ['dontneed', 'remove', 'hugepage', 'populate_write']),
    () => s.fork(),
    use,
  ]);
  return s;
}
/** Below a memory limit, and up to it: what does not fit in one piece is tried smaller. */
function limited(prng: Prng): Script {
  const memcg = prng.pick([16, 32]) * MiB;
  const s = script(prng, ['top=always', ...some(prng, SIZES.slice(2), 3).map((z) => `${z}kB=always`)], { memcg });
  const a = new Area(s, memcg, place(prng));
  a.touch([0, memcg - (40 + prng.below(200)) * PAGE], 'w');
  return s;
}
/** Mappings that touch: each ends where the one before begins. */
function adjacent(prng: Prng): Script {
  const s = script(prng, everywhere(prng));
  const of: Area[] = [];
  for (const size of [HUGE, ...Array.from({ length: 4 }, () => prng.pick([HUGE, 2 * HUGE]))]) {
    of.push(new Area(s, size, of.length === 0 ? 0 : 2 * HUGE));
  }
  steps(prng, 20, of, [use, use, use, use, advises(prng, ['hugepage', 'nohugepage', 'dontneed'])]);
  return s;
}
function wild(prng: Prng): Script {
  const s = script(prng, mixed(prng));
  const of = areas(s, 3, [2, 3, 4, 8]);
  steps(prng, 60, of, [
    use,
    use,
    use,
    use,
    use,
    advises(prng, ['dontneed']),
    advises(prng, ['hugepage', 'nohugepage'], WIDE),
    advises(prng, ['free', 'cold', 'pageout']),
    advises(prng, ['collapse'], [512, 1024, 2048]),
    advises(prng, ['populate_read', 'populate_write']),
    (a) => a.unmap(a.part([1, 3, 40, 300])),
    (a) => {
      const range = a.part();
      a.protect(range, 'r');
      a.touch(range, 'r');
      a.protect(range, 'rw');
    },
  ]);
  return s;
}

const family = (name: string, seeds: number, make: (prng: Prng) => Script): Family => ({
  name: `anon-${name}`,
  seeds,
  twice: false,
  make,
});

export const ANONYMOUS: readonly Family[] = [
  ...SIZES.map((size) => family(`size-${size}k`, 1, (prng) => oneSize(prng, size))),
  family('mix', 3, mix),
  family('load', 2, loads),
  family('advice', 2, advice),
  family('hole', 3, holes),
  family('unmap', 2, unmaps),
  family('protect', 2, protects),
  family('collapse', 4, collapses),
  family('populate', 2, populates),
  family('fork', 2, forks),
  family('cold', 2, (prng) => splits(prng, ['cold', 'pageout'])),
  family('free', 2, (prng) => splits(prng, ['free'])),
  family('lock', 2, locks),
  family('shared', 2, sharedMemory),
  family('limit', 1, limited),
  family('adjacent', 2, adjacent),
  family('wild', 4, wild),
];
