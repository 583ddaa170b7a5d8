/**
 * Makes a recording of zipf-distributed requests in libCacheSim's oracleGeneral format, always the same for the same words:
 *
 *     npx tsx tools/zipf.ts OUT.oracleGeneral [--objects 1000000] [--requests 20000000] [--alpha 1.0] [--seed 42]
 *                           [--size 4096] [--scatter]
 *
 * Object numbers are ranks from 0 (0 is asked for most), as libCacheSim's own generator has them; with --scatter they are
 * spread over all of u64, so that a reader must renumber.
 */
import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Prng } from '../src/base/prng.ts';

export interface Zipf {
  readonly objects: number;
  readonly requests: number;
  readonly alpha: number;
  readonly seed: number;
  /** Bytes of each object. */
  readonly size: number;
  readonly scatter: boolean;
}

export const usual: Zipf = { objects: 1_000_000, requests: 20_000_000, alpha: 1, seed: 42, size: 4096, scatter: false };

/** Ranks, one a request. Drawn by the alias method (Walker, Vose): two random numbers and one look each. */
export function zipfRanks({ objects, requests, alpha, seed }: Zipf): Int32Array {
  const weight = new Float64Array(objects);
  let sum = 0;
  for (let i = 0; i < objects; i++) sum += weight[i] = (i + 1) ** -alpha;
  for (let i = 0; i < objects; i++) weight[i] = (weight[i] * objects) / sum;
  const alias = new Int32Array(objects);
  const small: number[] = [];
  const large: number[] = [];
  for (let i = 0; i < objects; i++) (weight[i] < 1 ? small : large).push(i);
  while (small.length > 0 && large.length > 0) {
    const s = small.pop() as number;
    const l = large[large.length - 1];
    alias[s] = l;
    weight[l] -= 1 - weight[s];
    if (weight[l] < 1) small.push(large.pop() as number);
  }
  for (const i of [...small, ...large]) weight[i] = 1;
  const random = new Prng(seed);
  const ranks = new Int32Array(requests);
  for (let i = 0; i < requests; i++) {
    const column = random.below(objects);
    ranks[i] = random.float() < weight[column] ? column : alias[column];
  }
  return ranks;
}

/** The records of requests [from, to). `next` holds when each request's object is asked for again, or -1. */
function records(z: Zipf, ranks: Int32Array, next: Int32Array, from: number, to: number): Uint8Array {
  const words = new Uint32Array((to - from) * 6);
  for (let i = from, w = 0; i < to; i++, w += 6) {
    const rank = ranks[i];
    words[w] = Math.floor(i / 1000);
    words[w + 1] = z.scatter ? Math.imul(rank, 0x9e3779b1) ^ 0x5bd1e995 : rank;
    words[w + 2] = z.scatter ? Math.imul(rank + 1, 0x85ebca6b) : 0;
    words[w + 3] = z.size;
    words[w + 4] = next[i];
    words[w + 5] = next[i] < 0 ? -1 : 0;
  }
  return new Uint8Array(words.buffer);
}

/** Gives the recording piece by piece. */
export function* zipfRecords(z: Zipf, piece = 1 << 20): Generator<Uint8Array> {
  const ranks = zipfRanks(z);
  const next = new Int32Array(z.requests);
  const last = new Int32Array(z.objects).fill(-1);
  for (let i = z.requests - 1; i >= 0; i--) {
    next[i] = last[ranks[i]];
    last[ranks[i]] = i;
  }
  for (let i = 0; i < z.requests; i += piece) yield records(z, ranks, next, i, Math.min(i + piece, z.requests));
}

/** Writes the recording to `path`: whole, or not at all. */
export function writeZipf(path: string, z: Zipf): void {
  const part = `${path}.part`;
  const fd = openSync(part, 'w');
  for (const piece of zipfRecords(z)) writeSync(fd, piece);
  closeSync(fd);
  renameSync(part, path);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      objects: { type: 'string', default: String(usual.objects) },
      requests: { type: 'string', default: String(usual.requests) },
      alpha: { type: 'string', default: String(usual.alpha) },
      seed: { type: 'string', default: String(usual.seed) },
      size: { type: 'string', default: String(usual.size) },
      scatter: { type: 'boolean', default: usual.scatter },
    },
  });
  const [path] = positionals;
  if (path === undefined) throw new Error('which file? zipf.ts OUT.oracleGeneral');
  writeZipf(path, {
    objects: Number(values.objects),
    requests: Number(values.requests),
    alpha: Number(values.alpha),
    seed: Number(values.seed),
    size: Number(values.size),
    scatter: values.scatter,
  });
}
