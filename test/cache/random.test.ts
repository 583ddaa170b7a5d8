/**
 * Caches under random operations, with sources that are late, fail, and answer short or wrong. CACHE_RUNS=10000 for the long
 * run; CACHE_SEED for one that failed.
 */
import { expect, test } from 'vitest';
import { CacheWorld } from './cache_world.ts';

const said = (name: string): string | undefined => (typeof process === 'undefined' ? undefined : process.env[name]);
/** Few in a browser, where a pause takes four milliseconds. */
const RUNS = Number(said('CACHE_RUNS') ?? (typeof process === 'undefined' ? 25 : 150));
const FIRST = Number(said('CACHE_SEED') ?? 1);
const STEPS = 40;
const HANGS_MS = 120_000;

/** How many reads were given up. */
async function run(seed: number): Promise<number> {
  const world = await CacheWorld.open(seed);
  for (let i = 0; i < STEPS; i++) {
    await world.step();
    if (i % 8 === 0) world.check(false);
  }
  await world.end();
  return world.cache.stats().requests.cancelled;
}

test(
  'no wrong byte, no lost synced byte, no hang, nothing left held',
  async () => {
    let cancelled = 0;
    for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const hang = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error('it hangs')), HANGS_MS);
      });
      try {
        cancelled += await Promise.race([run(seed), hang]);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      } finally {
        clearTimeout(timer);
      }
    }
    expect(cancelled).toBeGreaterThan(RUNS);
  },
  Math.max(180_000, RUNS * 1000),
);
