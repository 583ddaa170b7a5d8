/**
 * Counts of the TLB against the plain model: 1 M accesses (FUZZ_STEPS=10000000 for more) over CPUs, odd geometries, page-table shapes and mixes of page sizes, with
 * pages that come, go and change their rights on the way.
 */
import { describe, expect, test } from 'vitest';
import { type Cpu, cpuNamed } from '../../src/arch/cpus.ts';
import { checkPass, pass, settle } from '../../src/arch/memo.ts';
import { arm64_4k, arm64_16k, arm64_64k, type PageTableGeometry, x86_64, x86_64_la57 } from '../../src/arch/pgtable.ts';
import { invalidate, translate } from '../../src/arch/translate.ts';
import { ACCESSED, CONT, DIRTY, PRESENT, RW, translator } from '../../src/arch/walk.ts';
import { Prng } from '../../src/base/prng.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';
import { type Mapping, PlainTlb } from './plain_tlb.ts';
import { Tables } from './tables.ts';

const K = 1024;
const M = K * K;

/** Little CPUs, so that everything is full at once, with sets that are no power of two. */
const odd = (name: string, l1: Cpu['l1'], l2: Cpu['l2'], walkCaches: Cpu['walkCaches'] = []): Cpu => ({
  ...{ name, title: name, arch: 'x86_64', l1, l2, walkCaches, source: '', assumed: [] },
});
const odds: Cpu[] = [
  odd('one entry', [{ entries: 1, ways: 1, sizes: [4 * K] }], []),
  odd(
    '3 × 5 and 7 × 6',
    [{ entries: 15, ways: 5, sizes: [4 * K] }],
    [{ entries: 42, ways: 6, sizes: [4 * K, 2 * M] }],
    [{ levels: ['PMD', 'PUD', 'PGD'], entries: 3, ways: 0 }],
  ),
  odd(
    'direct, coalescing',
    [{ entries: 8, ways: 1, sizes: [4 * K, 2 * M], coalesces: 4 }],
    [{ entries: 24, ways: 8, sizes: [4 * K], coalesces: 4 }],
    [
      { levels: ['PMD'], entries: 0, ways: 0, inSecondLevel: true },
      { levels: ['PUD'], entries: 2, ways: 1 },
    ],
  ),
  odd(
    'split, full',
    [
      { entries: 9, ways: 0, sizes: [4 * K] },
      { entries: 2, ways: 0, sizes: [2 * M] },
    ],
    [{ entries: 33, ways: 0, sizes: [4 * K, 2 * M] }],
    [{ levels: ['PUD'], entries: 4, ways: 2 }],
  ),
];

/** How the frames of pages lie: any, some as their pages do, all as their pages do. */
type Frames = 'any' | 'some' | 'neighbours';

/** Sets in words of order and all sizes of them, for runs of misses. */
const ordered: Cpu = odd(
  'ordered',
  [{ entries: 24, ways: 3, sizes: [4 * K] }],
  [{ entries: 64, ways: 8, sizes: [4 * K, 2 * M] }],
  [
    { levels: ['PMD'], entries: 8, ways: 2 },
    { levels: ['PUD', 'PGD'], entries: 3, ways: 0 },
  ],
);

/** Sets of nine to sixteen ways, one of them of walk caches; a first level of one set. */
const wide: Cpu = odd(
  'wide',
  [{ entries: 20, ways: 0, sizes: [4 * K, 64 * K] }],
  [{ entries: 64, ways: 16, sizes: [4 * K, 64 * K] }],
  [
    { levels: ['PMD'], entries: 18, ways: 9 },
    { levels: ['PUD', 'PGD'], entries: 3, ways: 0 },
  ],
);

/** As Zen is: groups share an entry on both levels, PMD entries lie among pages. */
const inSecondLevel: Cpu = odd(
  'in second level',
  [{ entries: 12, ways: 0, sizes: [4 * K, 2 * M], coalesces: 4 }],
  [{ entries: 96, ways: 12, sizes: [4 * K, 2 * M], coalesces: 4 }],
  [
    { levels: ['PMD'], entries: 0, ways: 0, inSecondLevel: true },
    { levels: ['PUD', 'PGD'], entries: 4, ways: 0 },
  ],
);

/** A second level that forgets what the first still has. */
const smallSecond: Cpu = odd(
  'small second level',
  [{ entries: 12, ways: 0, sizes: [4 * K] }],
  [{ entries: 16, ways: 4, sizes: [4 * K] }],
  [
    { levels: ['PMD'], entries: 8, ways: 0 },
    { levels: ['PUD', 'PGD'], entries: 3, ways: 0 },
  ],
);
const smallTogether: Cpu = odd(
  'small second level with PMD entries',
  [{ entries: 200, ways: 0, sizes: [4 * K] }],
  [{ entries: 24, ways: 6, sizes: [4 * K] }],
  [
    { levels: ['PMD'], entries: 0, ways: 0, inSecondLevel: true },
    { levels: ['PUD', 'PGD'], entries: 3, ways: 0 },
  ],
);

/** Huge pages in an array of their own, and cut on the second level. */
const cut: Cpu = odd(
  'cut',
  [
    { entries: 24, ways: 3, sizes: [4 * K] },
    { entries: 2, ways: 0, sizes: [2 * M] },
  ],
  [{ entries: 64, ways: 8, sizes: [4 * K] }],
  ordered.walkCaches,
);

/** Larger entries on the first level than on the second. */
const pieces: Cpu = odd(
  'pieces',
  [{ entries: 12, ways: 0, sizes: [4 * K, 64 * K] }],
  [{ entries: 64, ways: 8, sizes: [16 * K] }],
  ordered.walkCaches,
);

/** An address space that fills on faults: base pages, some in order; groups; PMD leaves. Two of them with one seed do the same. */
class World {
  readonly tables: Tables;
  readonly mapped: Mapping = new Map();
  /** PMD entries under which something was mapped once. */
  private readonly touched = new Set<number>();
  /** Leaves as they came; some are gone. */
  private readonly order: number[] = [];
  private readonly r: Prng;
  private readonly g: PageTableGeometry;
  private readonly huge: boolean;
  private readonly frames: Frames;
  constructor(g: PageTableGeometry, seed: number, huge: boolean, frames: Frames) {
    this.g = g;
    this.huge = huge;
    this.frames = frames;
    this.tables = new Tables(g);
    this.r = new Prng(seed);
  }

  private map(at: number, level: number, frame: number, writable: boolean, group = 1): void {
    this.touched.add(Math.floor(at / 2 ** this.g.levels[1].shift) * 2 ** this.g.levels[1].shift);
    this.order.push(at);
    this.mapped.set(at, { level, frame, writable, dirty: false, group });
    this.tables.set(at, level, frame, PRESENT | ACCESSED | (writable ? RW : 0) | (group > 1 ? CONT : 0));
  }

  /** Handles a fault. Returns stretches whose translations must go. */
  fault(page: number, store: boolean): [number, number, boolean][] {
    const { r, g } = this;
    const gone: [number, number, boolean][] = [];
    const [pte, pmd] = g.levels;
    const bytes = 2 ** pte.shift;
    const area = Math.floor(page / 2 ** pmd.shift) * 2 ** pmd.shift;
    const under = this.mapped.get(area);
    const own = this.mapped.get(page) ?? (under?.level === 1 ? under : undefined);
    if (own !== undefined) {
      // There, so it is a store that is not allowed: allow it.
      const at = own.level === 0 ? page : area;
      this.map(at, own.level, own.frame, true, own.group);
      if (own.group > 1) {
        const first = Math.floor(at / (bytes * own.group)) * bytes * own.group;
        for (let i = 0; i < own.group; i++) {
          const leaf = this.mapped.get(first + i * bytes);
          if (leaf !== undefined) this.map(first + i * bytes, 0, leaf.frame, true, leaf.group);
        }
        gone.push([first, first + bytes * own.group, false]);
      } else gone.push([at, at + 2 ** g.levels[own.level].shift, false]);
    } else if (this.huge && !this.touched.has(area))
      this.map(area, 1, r.below(1000) << pmd.bits, store || r.below(2) === 0);
    else if (g.contPtes > 1 && (this.frames === 'neighbours' || (this.frames === 'some' && r.below(2) === 0))) {
      const first = Math.floor(page / (bytes * g.contPtes)) * bytes * g.contPtes;
      const free = Array.from({ length: g.contPtes }, (_, i) => first + i * bytes).every((a) => !this.mapped.has(a));
      const writable = store || r.below(2) === 0;
      if (free) for (let i = 0; i < g.contPtes; i++) this.map(first + i * bytes, 0, 4096 + i, writable, g.contPtes);
      else this.map(page, 0, r.below(1 << 20), writable);
    } else if (this.frames === 'neighbours') {
      const first = page - (page % (4 * bytes));
      for (let at = first; at < first + 4 * bytes; at += bytes)
        if (!this.mapped.has(at)) this.map(at, 0, (at / bytes) & 0xfffff, store || r.below(4) !== 0);
    } else if (this.frames === 'some' && r.below(2) === 0) {
      // Frames in the order of pages, so that neighbours can share an entry.
      this.map(page, 0, (page / bytes) & 0xfffff, store || r.below(4) !== 0);
    } else this.map(page, 0, r.below(1 << 20), store || r.below(2) === 0);
    // Now and then something else goes or becomes read-only: often, what was used a moment ago.
    const { order } = this;
    const at = order[r.below(2) === 0 ? order.length - 1 - r.below(Math.min(4, order.length)) : r.below(order.length)];
    const leaf = this.mapped.get(at);
    if (r.below(8) === 0 && leaf !== undefined) {
      const group = leaf.group > 1 ? leaf.group : 1;
      const leafBytes = 2 ** g.levels[leaf.level].shift;
      const first = Math.floor(at / (leafBytes * group)) * leafBytes * group;
      const protect = r.below(2) === 0;
      for (let i = 0; i < group; i++) {
        const a = first + i * leafBytes;
        const was = this.mapped.get(a);
        if (was === undefined) continue;
        if (protect) this.map(a, was.level, was.frame, false, was.group);
        else {
          this.mapped.delete(a);
          this.tables.set(a, was.level, 0, 0);
        }
      }
      gone.push([first, first + group * leafBytes, r.below(2) === 0]);
    }
    return gone;
  }
}

const ROWS = 4096;

/** Every other stretch of pages lies in another gigabyte; a few in gigabytes that are seldom used. */
function placeOf(page: number, bytes: number): number {
  const stretch = page >> 6;
  const seldom = stretch % 16 === 5 ? 1 + (Math.floor(stretch / 16) % 4) : 0;
  return 2 ** 46 + ((stretch & 1) !== 0 ? 2 ** 39 : 0) + seldom * 2 ** 36 + page * bytes;
}

/** Accesses with runs, alternations, near and far pages, and some across a page's end; on request half of them any page at all. */
function fill(
  r: Prng,
  g: PageTableGeometry,
  spread: number,
  scattered: boolean,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
) {
  const bytes = 2 ** g.pageShift;
  let page = 0;
  for (let i = 0; i < ROWS; i++) {
    const how = scattered && (i & 1024) !== 0 ? Math.max(6, r.below(400)) : r.below(16);
    if (how < 6) page = Math.floor(spread * r.float() ** 3);
    else if (how === 6 || how > 25) page = r.below(spread);
    else if (how === 7) page = (page + 1) % spread;
    size[i] = 1 << r.below(4);
    address[i] = placeOf(page, bytes) + (how === 15 ? bytes - r.between(1, 4) : r.below(bytes - 8));
    kind[i] = r.below(3);
  }
}

/** Adds up counts by class, as the plain model names them. */
function named(
  classes: readonly { bytes: number; coalesced: boolean }[],
  counts: Float64Array,
): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [c, { bytes, coalesced }] of classes.entries())
    if (counts[c] !== 0) out[`${bytes}${coalesced ? '*' : ''}`] = counts[c];
  return out;
}

function run(
  cpus: readonly Cpu[],
  g: PageTableGeometry,
  spread: number,
  huge: boolean,
  accesses: number,
  seed: number,
  scattered: boolean,
  frames: Frames,
) {
  const r = new Prng(seed);
  const p = pass(cpus.map((cpu) => translator(cpu, g)));
  const worlds = cpus.map((_, c) => new World(g, seed + c, huge, frames));
  const plainWorlds = cpus.map((_, c) => new World(g, seed + c, huge, frames));
  const plain = cpus.map((cpu) => new PlainTlb(cpu, g));
  const [address, size, kind] = [new Float64Array(ROWS), new Uint16Array(ROWS), new Uint8Array(ROWS)];
  const tables = worlds.map((w) => w.tables);
  const tops = worlds.map((w) => w.tables.top);
  const bytes = 2 ** g.pageShift;
  // Few faults later, so that many misses come in a row.
  if (scattered)
    for (const world of [...worlds, ...plainWorlds])
      for (let page = 0; page < spread; page++) {
        const at = placeOf(page, bytes);
        if (!world.mapped.has(at)) world.fault(at, (page & 15) !== 0);
      }
  for (let done = 0; done < accesses; done += ROWS) {
    fill(r, g, spread, scattered, address, size, kind);
    for (let row = 0; ; ) {
      row = translate(p, tables, tops, address, size, kind, row, ROWS);
      if (row === ROWS) break;
      const c = p.faultConfig;
      for (const [start, end, freed] of worlds[c].fault(p.faultAddress, p.faultStore))
        invalidate(p, c, start, end, freed);
    }
    if (done % (ROWS * 16) === 0) checkPass(p);
    for (const [c, model] of plain.entries())
      for (let i = 0; i < ROWS; i++)
        for (let page = Math.floor(address[i] / bytes) * bytes; page < address[i] + size[i]; page += bytes)
          while (!model.access(page, kind[i] !== 0, plainWorlds[c].mapped))
            for (const [start, end, freed] of plainWorlds[c].fault(page, kind[i] !== 0))
              model.invalidate(start, end, freed);
  }
  checkPass(p);
  settle(p);
  for (const [c, x] of p.translators.entries()) {
    const { classes } = x.tlb;
    expect({
      l1: named(classes, x.counts.l1Hits),
      l2: named(classes, x.counts.l2Hits),
      misses: named(classes, x.counts.misses),
      walks: named(classes, x.counts.walkReferences),
      dirtyWalks: named(classes, x.counts.dirtyWalks),
    }).toEqual(plain[c].counts);
    // The same dirty bits, too.
    const differ = [...plainWorlds[c].mapped].filter(
      ([at, leaf]) => ((worlds[c].tables.flags(at, leaf.level) & DIRTY) !== 0) !== leaf.dirty,
    );
    expect(differ).toEqual([]);
  }
}

const seed = seedOf(1);
const cases: [string, readonly Cpu[], PageTableGeometry, number, boolean, boolean?, Frames?][] = [
  ['odd CPUs', odds, x86_64, 200, false],
  ['odd CPUs, huge pages', odds, x86_64, 40_000, true],
  ['odd CPUs, five levels', odds, x86_64_la57, 2000, false],
  ['x86 CPUs', ['zen4', 'golden-cove', 'ice-lake-sp', 'champsim'].map(cpuNamed), x86_64, 6000, false],
  ['x86 CPUs, huge pages', ['zen3', 'zen5', 'golden-cove'].map(cpuNamed), x86_64, 400_000, true],
  ['Arm CPUs', ['neoverse-n1', 'neoverse-v2', 'apple-m1'].map(cpuNamed), arm64_4k, 6000, false],
  ['Arm CPUs, 16 KiB', ['neoverse-n1', 'apple-m1'].map(cpuNamed), arm64_16k, 8000, false],
  ['Arm CPUs, 64 KiB, huge pages', ['neoverse-v2'].map(cpuNamed), arm64_64k, 400_000, true],
  ['misses, small CPU', [ordered], x86_64, 3000, false, true],
  ['misses, small CPU, many tables', [ordered], x86_64, 12_000, false, true],
  ['misses, huge pages too', [ordered], x86_64, 20_000, true, true],
  ['misses, Arm tables', [ordered], arm64_4k, 8000, false, true],
  ['misses, Ice Lake', ['ice-lake-sp'].map(cpuNamed), x86_64, 12_000, false, true],
  ['misses, little sets of sixteen', [wide], x86_64, 3000, false, true, 'any'],
  ['misses, PMD entries in the second level', [inSecondLevel], x86_64, 12_000, false, true, 'any'],
  ['misses, groups that hardware coalesces', [inSecondLevel], x86_64, 12_000, false, true, 'neighbours'],
  ['misses, groups and pages', [inSecondLevel], x86_64, 12_000, false, true],
  ['misses, groups with the hint', [wide], arm64_4k, 12_000, false, true, 'neighbours'],
  ['misses, small second level', [smallSecond], x86_64, 220, false, true, 'any'],
  ['misses, small second level, many tables', [smallSecond], x86_64, 900, false, true, 'any'],
  ['misses, small second level with PMD entries', [smallTogether], x86_64, 4000, false, true, 'any'],
  ['misses, small second level with PMD entries, many tables', [smallTogether], x86_64, 20_000, false, true, 'any'],
  ['misses, huge pages cut', [cut], x86_64, 6000, true, true, 'any'],
  ['misses, groups in pieces', [pieces], arm64_4k, 2000, false, true, 'neighbours'],
  ['misses, two at once', [wide, inSecondLevel], x86_64, 6000, false, true, 'any'],
  ['misses, Zen 3', ['zen3'].map(cpuNamed), x86_64, 20_000, false, true, 'any'],
  ['misses, Zen 5', ['zen5'].map(cpuNamed), x86_64, 40_000, false, true, 'any'],
  ['misses, Neoverse N1', ['neoverse-n1'].map(cpuNamed), arm64_4k, 20_000, false, true, 'any'],
  ['misses, Apple M1', ['apple-m1'].map(cpuNamed), arm64_16k, 20_000, false, true, 'any'],
  ['misses, Neoverse V2, 64 KiB', ['neoverse-v2'].map(cpuNamed), arm64_64k, 20_000, false, true, 'any'],
  ['misses, five levels', ['golden-cove'].map(cpuNamed), x86_64_la57, 20_000, false, true, 'any'],
  ['misses, ChampSim', ['champsim'].map(cpuNamed), x86_64, 20_000, false, true, 'any'],
];
const total = cases.reduce((sum, [, cpus]) => sum + cpus.length, 0);

describe(`counts equal the plain model's (seed ${seed})`, () => {
  test.each(cases)('%s', (_, cpus, g, spread, huge, scattered = false, frames = 'some') =>
    run(cpus, g, spread, huge, Math.ceil(stepsOf(1e6) / total), seed, scattered, frames),
  );
});
