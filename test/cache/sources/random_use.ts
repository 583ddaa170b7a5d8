/** What every source owes, checked on any of them by random use beside a plain array. Runs in a worker too: no test runner here. */
import { Prng } from '../../../src/base/prng.ts';
import type { Source } from '../../../src/cache/source.ts';
import { firstDifference } from '../content.ts';

/** The bytes that a writable source holds, as a plain array would. */
class Model {
  bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes.slice();
  }
  resize(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, size));
    this.bytes = next;
  }
  write(from: Uint8Array, at: number): void {
    if (at + from.length > this.bytes.length) this.resize(at + from.length);
    this.bytes.set(from, at);
  }
}

/** Cuts a length into a few pieces, some of them empty. */
function pieces(r: Prng, length: number): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let left = length; left > 0; ) {
    const n = r.between(0, left);
    all.push(new Uint8Array(n).fill(0xee));
    left -= n;
  }
  return all;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Some bytes, of which no two writes have the same. */
function written(r: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = r.u32();
  return bytes;
}

export interface Use {
  readonly seed: number;
  readonly steps: number;
  /** Longest read or write. */
  readonly lengthMax?: number;
  /** Largest size to grow to. */
  readonly sizeMax?: number;
}

/**
 * Opens `source`, which holds `start`, and uses it at random: reads of every kind, and where it can, writes and cuts.
 * @returns what it holds in the end
 */
export async function useAtRandom(source: Source, start: Uint8Array, use: Use): Promise<Uint8Array> {
  const { seed, steps, lengthMax = 5000, sizeMax = 2 * start.length + 1000 } = use;
  const r = new Prng(seed);
  const model = new Model(start);
  const { size: said } = await source.open();
  if (said !== start.length) throw new Error(`seed ${seed}: the source says ${said} bytes and holds ${start.length}`);
  for (let step = 0; step < steps; step++) {
    const at = r.below(model.bytes.length + 1);
    const length = r.between(0, lengthMax);
    const due = model.bytes.slice(at, at + length);
    const check = (what: string, got: number, into: Uint8Array): void => {
      const wrong = firstDifference(into.subarray(0, due.length), due);
      if (got !== due.length || wrong >= 0)
        throw new Error(`seed ${seed}, step ${step}: ${what} ${length} at ${at}: ${got} bytes, wrong from ${wrong}`);
    };
    const into = new Uint8Array(length).fill(0xee);
    const parts = pieces(r, length);
    switch (r.below(source.write === undefined ? 4 : 8)) {
      case 0:
        check('read', await source.read(into, at), into);
        break;
      case 1:
        if (source.readSync !== undefined) check('readSync', source.readSync(into, at), into);
        break;
      case 2:
        if (source.readv !== undefined) check('readv', await source.readv(parts, at), joined(parts));
        if (source.readvSync !== undefined) check('readvSync', source.readvSync(parts, at), joined(parts));
        break;
      case 3: {
        const both = [new Uint8Array(length), new Uint8Array(length)];
        const counts = await Promise.all(both.map((buffer) => source.read(buffer, at)));
        counts.forEach((count, i) => {
          check('read twice at once', count, both[i] as Uint8Array);
        });
        break;
      }
      case 4: {
        const from = written(r, Math.min(length, sizeMax - at));
        if (from.length === 0) break;
        if (source.writeSync !== undefined && r.below(2) === 0) source.writeSync(from, at);
        else await source.write?.(from, at);
        model.write(from, at);
        break;
      }
      case 5: {
        const from = pieces(r, Math.min(length, sizeMax - at)).map((part) => written(r, part.length));
        if (joined(from).length === 0 || source.writev === undefined) break;
        if (source.writevSync !== undefined && r.below(2) === 0) source.writevSync(from, at);
        else await source.writev(from, at);
        model.write(joined(from), at);
        break;
      }
      case 6: {
        if (r.below(4) !== 0) break;
        const size = r.below(sizeMax);
        if (source.truncateSync !== undefined && r.below(2) === 0) source.truncateSync(size);
        else await source.truncate?.(size);
        model.resize(size);
        break;
      }
      default:
        if (source.syncSync !== undefined && r.below(2) === 0) source.syncSync();
        else await source.sync?.();
    }
  }
  const all = new Uint8Array(model.bytes.length + 10);
  const got = await source.read(all, 0);
  const wrong = firstDifference(all.subarray(0, got), model.bytes);
  if (wrong >= 0)
    throw new Error(`seed ${seed}: in the end ${got} of ${model.bytes.length} bytes, wrong from ${wrong}`);
  await source.sync?.();
  return model.bytes;
}
