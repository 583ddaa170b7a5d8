/**
 * Data TLBs of named CPUs, as data. What a vendor says, or what CPUID dumps and measurements show, has its source beside it; what
 * nobody publishes is a default of ours, named in `assumed` so that results can say so. Ways 0 means fully associative. An array
 * that does not hold a size cuts larger translations to the largest size it does hold.
 */
import { QuireError } from '../base/errors.ts';
import type { PageTableLevel } from './pgtable.ts';

const K = 1024;
const M = 1024 * K;
const G = 1024 * M;

/** One array of a level: the sizes in bytes that its entries can have, and how many entries. */
export interface TlbArraySpec {
  readonly entries: number;
  /** Entries of a set; 0: one set. */
  readonly ways: number;
  readonly sizes: readonly number[];
  /** An entry may hold so many neighbouring base pages when their frames are neighbours too; left out: none. */
  readonly coalesces?: number;
}

/** A cache of upper page-table entries: a walk starts below the lowest one that is found. */
export interface WalkCacheSpec {
  /** Whose entries it keeps; one array for all of them. */
  readonly levels: readonly PageTableLevel['name'][];
  readonly entries: number;
  readonly ways: number;
  /** It has no entries of its own: it keeps them in the first array of the second level. */
  readonly inSecondLevel?: boolean;
}

export interface Cpu {
  /** As `--cpu` takes it. */
  readonly name: string;
  readonly title: string;
  readonly arch: 'x86_64' | 'arm64';
  readonly l1: readonly TlbArraySpec[];
  readonly l2: readonly TlbArraySpec[];
  readonly walkCaches: readonly WalkCacheSpec[];
  /** arm64: false without FEAT_TLBIRANGE (before version 8.4 of the architecture). */
  readonly rangeFlush?: boolean;
  readonly source: string;
  /** What is ours, not the vendor's. */
  readonly assumed: readonly string[];
}

const x86Sizes = [4 * K, 2 * M, G];
/** All that a granule of 4, 16 or 64 KiB can map, with the contiguous hint. */
const armSizes = [4 * K, 16 * K, 64 * K, 2 * M, 32 * M, 512 * M, G, 16 * G];
const armSizesL1 = [4 * K, 16 * K, 64 * K, 2 * M, 512 * M];

/** Directories of PML4 and PDP entries; PDEs stay in the second level. */
const amdWalks: readonly WalkCacheSpec[] = [
  { levels: ['PUD', 'P4D', 'PGD'], entries: 64, ways: 0 },
  { levels: ['PMD'], entries: 0, ways: 0, inSecondLevel: true },
];
const intelWalks: readonly WalkCacheSpec[] = [
  { levels: ['PMD'], entries: 32, ways: 4 },
  { levels: ['PUD'], entries: 16, ways: 0 },
  { levels: ['P4D', 'PGD'], entries: 8, ways: 0 },
];
const armWalks: readonly WalkCacheSpec[] = [
  { levels: ['PMD'], entries: 32, ways: 0 },
  { levels: ['PUD', 'PGD'], entries: 16, ways: 0 },
];

const LRU = 'true LRU in every set';
const AMD_WALKS = 'page directory cache: 64 entries for the upper levels, as the guide of the first Zen says';
const AMD_GROUPS = '4 neighbouring pages share an entry when their frames do, whatever their accessed and dirty bits';
const WALKS = 'page-walk caches: not published';

/** AMD: one array for all sizes, groups of 16 KiB; the second level takes 1 GiB pages in pieces of 2 MiB. */
const amd = (l1: number, l2: number, ways: number): Pick<Cpu, 'arch' | 'l1' | 'l2' | 'walkCaches'> => ({
  arch: 'x86_64',
  l1: [{ entries: l1, ways: 0, sizes: x86Sizes, coalesces: 4 }],
  l2: [{ entries: l2, ways, sizes: [4 * K, 2 * M], coalesces: 4 }],
  walkCaches: amdWalks,
});

/** Intel: arrays by size; the second level is two halves, 4 KiB with 2 MiB and 4 KiB with 1 GiB, taken as one for 4 KiB. */
const intel = (
  l1: number,
  ways: number,
  l2: number,
  l2Ways: number,
): Pick<Cpu, 'arch' | 'l1' | 'l2' | 'walkCaches'> => ({
  arch: 'x86_64',
  l1: [
    { entries: l1, ways, sizes: [4 * K] },
    { entries: 32, ways: 4, sizes: [2 * M] },
    { entries: 8, ways: 0, sizes: [G] },
  ],
  l2: [
    { entries: l2, ways: l2Ways, sizes: [4 * K, 2 * M] },
    { entries: 1024, ways: 8, sizes: [G] },
  ],
  walkCaches: intelWalks,
});
const INTEL_HALVES =
  'second level: one array of 2048 entries for 4 KiB and 2 MiB, 1024 for 1 GiB; in the chip two halves of 1024, one with each';

/** All CPUs that `--cpu` knows. */
export const cpus: readonly Cpu[] = [
  {
    name: 'zen3',
    title: 'AMD Zen 3',
    ...amd(64, 2048, 8),
    source: 'CPUID 80000005h, 80000006h, 80000019h of Milan (InstLatx64)',
    assumed: [LRU, 'second level 8-way: CPUID says 8 to 15 for 4 KiB', AMD_GROUPS, AMD_WALKS],
  },
  {
    name: 'zen4',
    title: 'AMD Zen 4',
    ...amd(72, 3072, 12),
    source: 'CPUID 80000005h, 80000006h of Genoa, and a pointer chase on one: 72 and 3072',
    assumed: [LRU, 'second level 12-way: CPUID says 8 to 15 for 4 KiB', AMD_GROUPS, AMD_WALKS],
  },
  {
    name: 'zen5',
    title: 'AMD Zen 5',
    ...amd(96, 4096, 16),
    source: 'Hot Chips 2024, slides of Zen 5: 96 and 4096 entries',
    assumed: [LRU, 'second level 16-way', AMD_GROUPS, AMD_WALKS],
  },
  {
    name: 'ice-lake-sp',
    title: 'Intel Ice Lake-SP (Sunny Cove)',
    ...intel(64, 4, 2048, 8),
    source: 'CPUID 18h (InstLatx64): loads 64 4-way, 32 4-way, 8; second level 1024 8-way twice',
    assumed: [LRU, INTEL_HALVES, 'loads and stores share the arrays of loads', WALKS],
  },
  {
    name: 'golden-cove',
    title: 'Intel Golden Cove (Sapphire Rapids, Alder Lake P)',
    ...intel(96, 6, 2048, 8),
    source: 'CPUID 18h (InstLatx64); 96 entries 6-way for loads: optimisation manual and Redwood Cove, CPUID says 64',
    assumed: [LRU, INTEL_HALVES, 'loads and stores share the arrays of loads', WALKS],
  },
  {
    name: 'neoverse-n1',
    title: 'Arm Neoverse N1',
    arch: 'arm64',
    rangeFlush: false,
    l1: [{ entries: 48, ways: 0, sizes: armSizesL1 }],
    l2: [{ entries: 1280, ways: 5, sizes: armSizes, coalesces: 4 }],
    walkCaches: armWalks,
    source: 'technical reference manuals of Cortex-A76 and Neoverse N1: 48 entries, 1280 5-way, 4 pages share an entry',
    assumed: [LRU, '4 pages share an entry of the second level only when all 4 can', WALKS],
  },
  {
    name: 'neoverse-v2',
    title: 'Arm Neoverse V2',
    arch: 'arm64',
    l1: [{ entries: 48, ways: 0, sizes: armSizesL1 }],
    l2: [{ entries: 2048, ways: 8, sizes: armSizes }],
    walkCaches: armWalks,
    source: 'technical reference manual of Neoverse V2, as quoted by others: 48 entries, 2048 8-way',
    assumed: [LRU, 'sizes as on Neoverse N1; no sharing of entries beyond the contiguous hint', WALKS],
  },
  {
    name: 'apple-m1',
    title: 'Apple M1, performance core',
    arch: 'arm64',
    l1: [{ entries: 160, ways: 0, sizes: armSizes }],
    l2: [{ entries: 3072, ways: 12, sizes: armSizes }],
    walkCaches: armWalks,
    source: 'measurements published by others: 160 and 3072 entries; Apple publishes none',
    assumed: [LRU, 'first level in one set, second level 12-way, all sizes in both', WALKS],
  },
  {
    name: 'champsim',
    title: 'ChampSim, default model',
    arch: 'x86_64',
    l1: [{ entries: 64, ways: 4, sizes: [4 * K] }],
    l2: [{ entries: 1536, ways: 12, sizes: [4 * K] }],
    walkCaches: [
      { levels: ['PMD'], entries: 32, ways: 0 },
      { levels: ['PUD'], entries: 8, ways: 0 },
      { levels: ['P4D', 'PGD'], entries: 2, ways: 0 },
    ],
    source: 'default configuration of ChampSim: 16 sets of 4, 128 sets of 12, 4 KiB only',
    assumed: ['page-walk caches fully associative'],
  },
];

/** A CPU by name. @throws QuireError EINVAL, with the names there are */
export function cpuNamed(name: string): Cpu {
  const cpu = cpus.find((c) => c.name === name);
  if (cpu === undefined)
    throw new QuireError('EINVAL', `cpu '${name}' is not known: expected one of ${cpus.map((c) => c.name).join(', ')}`);
  return cpu;
}
