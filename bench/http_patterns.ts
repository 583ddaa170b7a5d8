/**
 * Access patterns over HTTP ranges: P1–P6 are made here, the other three were recorded from real readers (bench/patterns, made
 * again by tools/patterns.ts).
 *
 * A pattern is a list of waves: a wave's reads are asked for together, the next wave when all of them have been answered.
 */
import { readFileSync } from 'node:fs';
import { Prng } from '../src/base/prng.ts';
import { zipfRanks } from '../tools/zipf.ts';

export interface Read {
  readonly at: number;
  readonly length: number;
}

export interface Pattern {
  readonly name: string;
  readonly title: string;
  /** Bytes of the object. */
  readonly size: number;
  readonly waves: readonly (readonly Read[])[];
}

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE = 256 * MIB;

/** Every read waits for the one before. */
const oneByOne = (name: string, title: string, reads: readonly Read[], size = SIZE): Pattern => ({
  name,
  title,
  size,
  waves: reads.map((r) => [r]),
});

const inOrder = (total: number, step: number, length: number): Read[] =>
  Array.from({ length: total / step }, (_, i) => ({ at: i * step, length }));

/** 0 … n − 1 in an order that the seed decides. */
function shuffled(n: number, random: Prng): Int32Array {
  const out = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const x = out[i] as number;
    out[i] = out[j] as number;
    out[j] = x;
  }
  return out;
}

/** Popular pages lie anywhere in the file. */
function zipfReads(seed: number): Read[] {
  const pages = SIZE / (4 * KIB);
  const place = shuffled(pages, new Prng(seed + 1));
  const ranks = zipfRanks({ objects: pages, requests: 10_000, alpha: 1, seed, size: 0, scatter: false });
  return Array.from(ranks, (r) => ({ at: (place[r] as number) * 4 * KIB, length: 4 * KIB }));
}

/** The tail with the footer's length, the footer, and 24 chunks of 300 KiB, each followed by 12 KiB that nobody asks for; then the chunks again. */
function columnChunks(): Read[] {
  const footer = 20 * KIB;
  const chunks = Array.from({ length: 24 }, (_, i) => ({ at: i * 312 * KIB, length: 300 * KIB }));
  return [{ at: SIZE - 8, length: 8 }, { at: SIZE - 8 - footer, length: footer }, ...chunks, ...chunks];
}

/** 2,000 look-ups among 10,000 entries that lie anywhere: the entry's head of 16 bytes, then its body of about 94. */
function indexProbes(seed: number): Read[] {
  const random = new Prng(seed);
  const entries = Array.from({ length: 10_000 }, () => ({
    at: random.below(SIZE - 256),
    body: random.between(64, 124),
  }));
  return Array.from({ length: 2000 }, () => random.pick(entries)).flatMap(({ at, body }) => [
    { at, length: 16 },
    { at: at + 16, length: body },
  ]);
}

/** The six patterns of which peers' counts are published. */
export const synthetic = (seed = 1): readonly Pattern[] => [
  oneByOne('P1', '16 MiB in order by 4 KiB', inOrder(16 * MIB, 4 * KIB, 4 * KIB)),
  oneByOne('P2', '32 MiB in order by 64 KiB', inOrder(32 * MIB, 64 * KIB, 64 * KIB)),
  oneByOne('P3', '10,000 zipf reads of 4 KiB over 256 MiB', zipfReads(seed)),
  oneByOne('P4', 'footer and 24 column chunks, twice', columnChunks()),
  oneByOne('P5', '512 bytes every 16 KiB, 32 MiB', inOrder(32 * MIB, 16 * KIB, 512)),
  oneByOne('P6', '4,000 small index probes', indexProbes(seed)),
];

/** A recording: a line `# title`, a line `size,N`, then `wave,offset,length`. */
export function recorded(name: string): Pattern {
  const text = readFileSync(new URL(`./patterns/${name}.csv`, import.meta.url), 'utf8');
  const [title, size, ...lines] = text.trimEnd().split('\n') as [string, string, ...string[]];
  const waves: Read[][] = [];
  for (const line of lines) {
    const [wave, at, length] = line.split(',').map(Number) as [number, number, number];
    waves[wave] ??= [];
    waves[wave].push({ at, length });
  }
  return { name, title: title.slice(2), size: Number(size.slice(5)), waves };
}

export const recordings = ['hyparquet', 'geotiff', 'pmtiles'] as const;

export const patterns = (): readonly Pattern[] => [...synthetic(), ...recordings.map(recorded)];
