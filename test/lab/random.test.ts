/**
 * Random operations on small machines of every kind, against every byte and page, with all invariants checked after every
 * step. FUZZ_STEPS sets the number of steps in all, FUZZ_SEED the seed.
 */
import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { cachedFolios } from '../../src/lab/result.ts';
import type { Settings } from '../../src/lab/settings.ts';
import type { LayoutName } from '../../src/mm/memmap.ts';
import { RELEASE_NAMES } from '../../src/mm/release.ts';
import { fuzz, type Op, seedOf, stepsOf } from '../help/fuzz.ts';
import { ByteWorld, FILE_MAX, FILES } from './byte_world.ts';

const STEPS_A_WORLD = 250;
const MIB = 2 ** 20;

interface World {
  readonly fs: string;
  readonly settings: Settings;
  readonly sizes: readonly number[];
}

function anyWorld(r: Prng): World {
  const fs = r.pick(['xfs', 'xfs', 'ext4', 'ext4', 'btrfs', 'ext2', 'tmpfs']);
  const kernel = r.below(2) === 0 ? '6.18' : r.pick(RELEASE_NAMES);
  const large = fs === 'xfs' && ['6.12', '6.18', '7.3'].includes(kernel);
  const small = fs === 'xfs' || fs === 'ext4';
  const blockSize = large && r.below(3) === 0 ? r.pick([16384, 65536]) : small && r.below(3) === 0 ? 1024 : 4096;
  return {
    fs,
    settings: {
      kernel,
      blockSize,
      memory: r.pick([3, 6, 16]) * MIB,
      memcg: r.pick(blockSize > 4096 ? [0, 0, 4] : [0, 0, 1, 2]) * MIB,
      readahead: r.pick([0, 16, 128, 1024]) * 1024,
    },
    sizes: Array.from({ length: FILES }, () => r.pick([0, 5000, 100_000, 400_000, FILE_MAX])),
  };
}

function anyOp(r: Prng): Op {
  const file = 1 + r.below(FILES);
  const at = (): number => (r.below(2) === 0 ? r.below(FILE_MAX / 4096) * 4096 : r.below(FILE_MAX));
  const length = (): number => r.pick([1, 100, 4096, 5000, 16384, 65536, 70_000, 300_000]);
  const inside = (from: number): number => Math.min(length(), FILE_MAX - from);
  const aligned = r.below(FILE_MAX / 4096) * 4096;
  const from = at();
  const n = r.below(100);
  if (n < 35) return ['read', file, from, length()];
  if (n < 60) return ['write', file, from, inside(from)];
  if (n < 66) return ['append', file, 0, length()];
  if (n < 70) return ['truncate', file, at()];
  if (n < 75) return ['punch', file, from, inside(from)];
  if (n < 77) return ['fallocate', file, from, inside(from)];
  if (n < 81) return ['fsync', file];
  if (n < 82) return ['sync', file];
  if (n < 84) return ['reopen', file, r.below(3)];
  if (n < 87) return ['directread', file, aligned, 16384];
  if (n < 90) return ['directwrite', file, aligned, Math.min(16384, FILE_MAX - aligned)];
  if (n < 92) return ['readahead', file, from, length()];
  return [
    r.pick(['normal', 'sequential', 'random', 'noreuse', 'willneed', 'dontneed']),
    file,
    from,
    r.below(3) * 100_000,
  ];
}

const layouts: readonly LayoutName[] = ['page64', 'page32', 'memdesc8'];

/** The same counters, and the same folios of every file. */
function same(a: ByteWorld, b: ByteWorld, memmap: string): void {
  a.r.m.vmstat.forEach((n, i) => {
    if (n !== b.r.m.vmstat[i]) throw new Error(`${memmap}: counter ${i} is ${b.r.m.vmstat[i]}, on overlay ${n}`);
  });
  for (const mapping of a.r.mappings.values()) {
    const [here, there] = [a, b].map((w) => JSON.stringify(cachedFolios(w.r.m, mapping)));
    if (here !== there) throw new Error(`${memmap}: file ${mapping} has ${there}, on overlay ${here}`);
  }
}

describe('random operations', () => {
  const seed = seedOf(20261121);
  const worlds = Math.ceil(stepsOf(10_000) / STEPS_A_WORLD);
  const text = `${worlds * STEPS_A_WORLD} steps on ${worlds} machines from seed ${seed}`;
  it(`${text} lose no byte, break no invariant, and are the same on another layout of the memory map`, () => {
    for (let i = 0; i < worlds; i++) {
      const world = anyWorld(new Prng(seed + i));
      const memmap = layouts[i % layouts.length] as LayoutName;
      const run = (ops: readonly Op[]): void => {
        const w = new ByteWorld(world.settings, world.fs, world.sizes);
        const other = new ByteWorld({ ...world.settings, memmap }, world.fs, world.sizes);
        for (const op of ops) {
          w.apply(op);
          other.apply(op);
          w.check();
          other.check();
          same(w, other, memmap);
        }
        w.end();
        other.end();
      };
      try {
        fuzz(seed + i, STEPS_A_WORLD, anyOp, run);
      } catch (error) {
        throw new Error(`${JSON.stringify(world)} ${(error as Error).message}`, { cause: error });
      }
    }
    expect(worlds).toBeGreaterThan(0);
  }, 3_600_000);
});
