/** Random use of a file of a cache beside a plain array. Runs in a worker too: no test runner here. */
import { Prng } from '../../src/base/prng.ts';
import { type CachedFile, PageCache, type Source } from '../../src/cache/index.ts';
import { firstDifference } from './content.ts';

export interface CacheUse {
  readonly seed: number;
  readonly steps: number;
  readonly memory?: string;
  readonly lengthMax?: number;
}

function check(what: string, got: Uint8Array, due: Uint8Array): void {
  const wrong = firstDifference(got, due);
  if (wrong >= 0) throw new Error(`${what}: ${got.length} bytes, ${due.length} due, wrong from ${wrong}`);
}

/** Opens the source, which holds `start`, in a small cache; what it must hold in the end, after the cache is closed. */
export async function useThroughCache(source: Source, start: Uint8Array, use: CacheUse): Promise<Uint8Array> {
  const { seed, steps, memory = '4MiB', lengthMax = 100_000 } = use;
  const r = new Prng(seed);
  const cache = new PageCache({ memory });
  const file = await cache.open(source);
  if (file.size !== start.length) throw new Error(`seed ${seed}: ${file.size} bytes, ${start.length} due`);
  let truth = start.slice();
  const writable = source.write !== undefined;
  for (let step = 0; step < steps; step++) {
    const at = r.below(Math.min(truth.length, start.length) + 1);
    const length = r.between(1, r.pick([50, 5000, lengthMax]));
    const due = truth.subarray(at, at + length);
    const where = `seed ${seed}, step ${step}: ${length} at ${at}`;
    switch (r.below(writable ? 8 : 3)) {
      case 0:
      case 1:
        await readAndCheck(file, at, length, due, where);
        break;
      case 2: {
        const view = await file.view(at, due.length);
        check(`view, ${where}`, view.bytes, due);
        view[Symbol.dispose]();
        break;
      }
      case 3:
      case 4: {
        const from = new Uint8Array(length);
        for (let i = 0; i < length; i++) from[i] = r.u32();
        await file.write(from, at);
        if (at + length > truth.length) {
          const longer = new Uint8Array(at + length);
          longer.set(truth);
          truth = longer;
        }
        truth.set(from, at);
        break;
      }
      case 5: {
        await file.punch(at, length);
        truth.fill(0, at, at + length);
        break;
      }
      case 6: {
        if (r.below(4) !== 0) break;
        const size = r.below(2 * start.length);
        await file.truncate(size);
        const cut = new Uint8Array(size);
        cut.set(truth.subarray(0, size));
        truth = cut;
        break;
      }
      default:
        await file.sync();
    }
  }
  await cache.close();
  return truth;
}

async function readAndCheck(
  file: CachedFile,
  at: number,
  length: number,
  due: Uint8Array,
  where: string,
): Promise<void> {
  const into = new Uint8Array(length);
  const got = await file.read(into, at);
  check(`read, ${where}`, into.subarray(0, got), due);
  // Now it is there: no promise.
  const again = file.read(into, at);
  if (typeof again !== 'number' && due.length < 4096) throw new Error(`a promise for what is cached, ${where}`);
  await again;
}
