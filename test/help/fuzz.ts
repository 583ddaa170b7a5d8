/**
 * Random tests: a list of operations from a seed, a run that throws when something is wrong, and on failure the shortest
 * list that still fails, printed as a call to paste into a test.
 */
import { Prng } from '../../src/base/prng.ts';

/** Seed of this run: FUZZ_SEED, else fixed. Steps: FUZZ_STEPS, else what the test says. */
const said = (name: string): string | undefined => (typeof process === 'undefined' ? undefined : process.env[name]);
export const seedOf = (fixed: number): number => Number(said('FUZZ_SEED') ?? fixed);
export const stepsOf = (usual: number): number => Number(said('FUZZ_STEPS') ?? usual);

export type Op = readonly (string | number)[];

/** Fails with the seed and a shrunk list of operations when `run` throws on `steps` operations from `next`. */
export function fuzz(seed: number, steps: number, next: (r: Prng) => Op, run: (ops: readonly Op[]) => void): void {
  const r = new Prng(seed);
  const ops: Op[] = [];
  for (let i = 0; i < steps; i++) ops.push(next(r));
  const error = failure(run, ops);
  if (error === undefined) return;
  const small = shrink(run, ops);
  throw new Error(`seed ${seed}: ${(failure(run, small) ?? error).message}\nrun(${JSON.stringify(small)})`, {
    cause: error,
  });
}

function failure(run: (ops: readonly Op[]) => void, ops: readonly Op[]): Error | undefined {
  try {
    run(ops);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Removes chunks, halving their size, while the rest still fails. */
function shrink(run: (ops: readonly Op[]) => void, failing: readonly Op[]): readonly Op[] {
  let ops = failing;
  const deadline = 400;
  let tries = 0;
  for (let size = ops.length >> 1; size >= 1; size = size >> 1) {
    for (let at = 0; at < ops.length && tries < deadline; ) {
      const rest = [...ops.slice(0, at), ...ops.slice(at + size)];
      tries++;
      if (failure(run, rest) !== undefined) ops = rest;
      else at += size;
    }
  }
  return ops;
}
