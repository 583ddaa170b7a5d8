/**
 * Curves of a trace of accesses, each for all sizes at once, in one pass of its own: misses of a fully associative TLB against its
 * entries, by the size of what an entry maps; of TLBs with sets, by sets and ways; and faults of a program against its memory, by the
 * size of the folios.
 * Memory and TLB are true LRU here, which Linux and real TLBs only come near to: the curve says where the knees are.
 * An access counts for the page of its first byte.
 */
import {
  missCurve,
  type SetCurve,
  type StackCurve,
  setCurve,
  setCurveAdd,
  setMissesOf,
  stackCurve,
  stackCurveAdd,
} from '../arch/curves.ts';
import { QuireError } from '../base/errors.ts';
import { ACCESS_ROWS, type AccessSource, FETCH } from '../trace/access.ts';

/** One curve: at each size, how many accesses miss. */
export interface Curve {
  /** Bytes of a page (TLB) or folio (memory). */
  readonly page_bytes: number;
  /** Pages that are touched at all: from there on only first touches miss. */
  readonly pages: number;
  /** Entries, or folios: 1, and so on to `pages`, eight to each doubling. */
  readonly sizes: readonly number[];
  readonly misses: readonly number[];
}

/** TLBs of pages of the base size with so many sets: misses with 1 way, 2, and so on. */
export interface SetsCurve {
  readonly sets: number;
  readonly misses: readonly number[];
}

export interface AccessCurves {
  /** Loads and stores; fetches have no part in a data TLB. */
  readonly data_accesses: number;
  readonly tlb: readonly Curve[];
  readonly tlb_sets: readonly SetsCurve[];
  /** Misses are faults; those beyond `pages` of them are refaults. */
  readonly memory: readonly Curve[];
}

const STEPS_AN_OCTAVE = 8;
/** From the sets of a first level to those of a second; ways as TLBs have them. */
const SETS = [16, 64, 128, 256, 512];
const WAYS_MAX = 16;

/** Reads a whole trace, and closes it. `pmdBytes`: what a huge page has. */
export function accessCurves(
  source: AccessSource,
  pageSize: number,
  pmdBytes: number,
  onBatch: (accesses: number) => void = () => {},
): AccessCurves {
  const sizes = [...new Set([pageSize, 65536, pmdBytes])].filter((n) => n >= pageSize).sort((a, b) => a - b);
  const tlb = sizes.map(() => stackCurve());
  const memory = sizes.map(() => stackCurve());
  const sets = SETS.map((n) => setCurve(n, WAYS_MAX));
  const data = new Float64Array(ACCESS_ROWS);
  try {
    if (source.told)
      throw new QuireError(
        'EOPNOTSUPP',
        '--curve: a recording of faults holds first touches only, no curve can be drawn',
      );
    for (let batch = source.next(); batch !== null; batch = source.next()) {
      const { address, kind, count } = batch;
      let n = 0;
      for (let i = 0; i < count; i++) if (kind[i] !== FETCH) data[n++] = address[i] as number;
      for (const [i, bytes] of sizes.entries()) {
        stackCurveAdd(tlb[i] as StackCurve, data, 0, n, 1 / bytes);
        stackCurveAdd(memory[i] as StackCurve, address, 0, count, 1 / bytes);
      }
      for (const c of sets) setCurveAdd(c, data, 0, n, 1 / pageSize);
      onBatch(count);
    }
  } finally {
    source.close();
  }
  const curve = (c: StackCurve, i: number): Curve => thinned(c, sizes[i] as number);
  const byWays = (c: SetCurve): SetsCurve => ({
    sets: c.sets,
    misses: Array.from({ length: c.ways }, (_, i) => setMissesOf(c, i + 1)),
  });
  return {
    data_accesses: (tlb[0] as StackCurve).accesses,
    tlb: tlb.map(curve),
    tlb_sets: sets.map(byWays),
    memory: memory.map(curve),
  };
}

function thinned(c: StackCurve, pageBytes: number): Curve {
  const all = missCurve(c);
  const sizes: number[] = [];
  for (let step = 0; ; step++) {
    const n = Math.floor(2 ** (step / STEPS_AN_OCTAVE));
    if (n >= c.pages) break;
    if (n !== sizes.at(-1)) sizes.push(n);
  }
  if (c.pages > 0) sizes.push(c.pages);
  return { page_bytes: pageBytes, pages: c.pages, sizes, misses: sizes.map((n) => all[n] as number) };
}

/** Misses with `n` entries; where there are more than the curve has, only first touches miss. */
export function missesWith(curve: Curve, n: number): number {
  const i = curve.sizes.findLastIndex((size) => size <= n);
  return i < 0 ? (curve.misses[0] ?? 0) : (curve.misses[i] as number);
}
