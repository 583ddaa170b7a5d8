/**
 * Traces of accesses, damaged: bytes turned over, pieces cut out, doubled or filled with noise. A reader may refuse with
 * InputError, or read what makes sense; nothing else may come out. QUIRE_FUZZ_SEED and QUIRE_FUZZ_RUNS change the seed and
 * the number of rounds.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { type AccessSource, ADDRESS_END, FETCH } from '../../src/trace/access.ts';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { champsimFrom } from '../../src/trace/champsim.ts';
import { formatOf } from '../../src/trace/detect.ts';
import { drmemtraceFrom } from '../../src/trace/drmemtrace.ts';
import { drviewFrom } from '../../src/trace/drview.ts';
import { lackeyFrom } from '../../src/trace/lackey.ts';
import { qaccFrom } from '../../src/trace/qacc_read.ts';
import { qaccBytes } from '../../src/trace/qacc_write.ts';
import { root } from '../../tools/sources.ts';
import { champsimRecords, drRecords } from './accesses.ts';

const seed = Number(process.env.QUIRE_FUZZ_SEED ?? 1);
const runs = Number(process.env.QUIRE_FUZZ_RUNS ?? 300);

const lackey = readFileSync(`${root}golden/traces/array.lackey`);
const r0 = new Prng(11);
const wide = (): bigint => BigInt(r0.below(2 ** 16)) * 2n ** 31n + BigInt(r0.below(2 ** 31));
const records = drRecords(
  Array.from({ length: 300 }, (_, i) => [i === 0 ? 25 : (r0.below(50) as number), 1 + r0.below(8), wide()] as const),
);
const instructions = champsimRecords(Array.from({ length: 100 }, () => [wide(), [wide()], [wide(), 0n, wide()]]));
const view = Buffer.from(
  Array.from({ length: 200 }, (_, i) => {
    const word = ['read ', 'write', 'ifetch', 'pref-r-L1'][r0.below(4)];
    return `${String(i).padStart(12)}${String(i).padStart(12)}: W0.T29 ${word}  ${1 + r0.below(64)} byte(s) @ 0x${wide().toString(16)} by PC 0x1\n`;
  }).join(''),
);

const readers: Readonly<Record<string, readonly [data: Buffer, open: (data: Uint8Array) => AccessSource]>> = {
  lackey: [lackey, (data) => lackeyFrom('t', data, 500)],
  dynamorio: [records, (data) => drmemtraceFrom('t', data, 100)],
  view: [view, (data) => drviewFrom('t', data, 100)],
  champsim: [instructions, (data) => champsimFrom('t', data, 100)],
  qacc: [Buffer.from(qaccBytes(lackeyFrom('t', lackey))), (data) => qaccFrom('t', data, 500)],
};

function damaged(data: Uint8Array, r: Prng): Uint8Array {
  let out = Uint8Array.from(data);
  for (let n = 1 + r.below(3); n > 0 && out.length > 0; n--) {
    const at = r.below(out.length);
    const length = 1 + r.below(Math.min(200, out.length - at));
    switch (r.below(5)) {
      case 0:
        out[at] = r.below(256);
        break;
      case 1:
        out = out.slice(0, at);
        break;
      case 2:
        out = Uint8Array.from([...out.slice(0, at), ...out.slice(at + length)]);
        break;
      case 3:
        out = Uint8Array.from([...out.slice(0, at + length), ...out.slice(at)]);
        break;
      default:
        for (let i = 0; i < length; i++) out[at + i] = r.below(256);
    }
  }
  return out;
}

describe('damaged traces', () => {
  for (const [name, [data, open]] of Object.entries(readers))
    test(name, () => {
      const r = new Prng(seed);
      let refused = 0;
      let read = 0;
      for (let run = 0; run < runs; run++) {
        const bytes = damaged(data, r);
        try {
          formatOf(memoryBytes('t', bytes));
        } catch (error) {
          if (!(error instanceof InputError)) throw new Error(`seed ${seed} run ${run}`, { cause: error });
        }
        try {
          const source = open(bytes);
          for (let b = source.next(); b !== null; b = source.next())
            for (let i = 0; i < b.count; i++)
              if (!(b.address[i] >= 0 && b.address[i] < ADDRESS_END && b.size[i] > 0 && b.kind[i] <= FETCH))
                throw new Error(`row ${i}: ${b.address[i]}, ${b.size[i]}, ${b.kind[i]}`);
          read++;
        } catch (error) {
          if (!(error instanceof InputError)) throw new Error(`seed ${seed} run ${run}`, { cause: error });
          expect(error.message).toMatch(/^t.*: .+/);
          expect(error.message).not.toMatch(/\n/);
          refused++;
        }
      }
      expect(refused).toBeGreaterThan(runs / 10);
      if (name !== 'qacc') expect(read).toBeGreaterThan(0);
    });
});
