/**
 * Real recordings, damaged: bytes turned over, files cut, lines moved, numbers blown up, zeros put in. A reader may refuse
 * with InputError, or read what makes sense; nothing else may come out. What the strace reader makes of any log is a
 * script that the ops reader takes whole. QUIRE_FUZZ_SEED and QUIRE_FUZZ_RUNS change the seed and the number of rounds.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { memoryBytes } from '../../src/trace/bytes.ts';
import { formatOf } from '../../src/trace/detect.ts';
import type { TraceSource } from '../../src/trace/event.ts';
import { opsFrom } from '../../src/trace/ops.ts';
import { BYTES_MAX, HANDLES_MAX, IO_MAX } from '../../src/trace/ops_shape.ts';
import { oracleGeneralFrom } from '../../src/trace/oracle_general.ts';
import { straceFrom } from '../../src/trace/strace.ts';
import { root } from '../../tools/sources.ts';
import { usual, zipfRecords } from '../../tools/zipf.ts';
import { rowsOf, textOf } from './rows.ts';

const seed = Number(process.env.QUIRE_FUZZ_SEED ?? 1);
/** For long runs; a reader that hangs does not end at all. */
const TIMEOUT_MS = 600_000;
const runs = Number(process.env.QUIRE_FUZZ_RUNS ?? 150);

const text = (path: string): string => readFileSync(`${root}${path}`, 'latin1');
/** The head of a script and some of its lines. */
function excerpt(path: string, from: number, lines: number): string {
  const all = text(path).split('\n');
  const operations = all.filter((line) => !line.startsWith('#'));
  return `${[...all.filter((line) => line.startsWith('#')), ...operations.slice(from, from + lines)].join('\n')}\n`;
}

const scripts = [
  text('golden/traces/calls.ops'),
  text('golden/traces/git-commit.ops'),
  excerpt('examples/sqlite.ops', 3000, 500),
  excerpt('examples/gcc.ops', 0, 500),
];
const logs = ['calls', 'sqlite-ttt', 'git-commit'].map((name) => text(`golden/traces/${name}.strace`));
const zipf = (scatter: boolean): string =>
  Buffer.concat([...zipfRecords({ ...usual, objects: 50, requests: 200, scatter })]).toString('latin1');

const numbers = [
  '-1',
  '0',
  '4095',
  '4096',
  '16777217',
  '2147483648',
  '4294967296',
  '8796093022208',
  '8796093022209',
  '9007199254740993',
  '18446744073709551615',
  '1e308',
  '0x7fffffffffffffff',
  '-9223372036854775808',
  '9'.repeat(400),
  'NaN',
  '',
];

/** One kind of damage, to a text of one character a byte. */
const damages: readonly ((data: string, random: Prng) => string)[] = [
  (data, random) => {
    const bytes = Buffer.from(data, 'latin1');
    for (let n = random.between(1, 8); n > 0 && bytes.length > 0; n--)
      bytes[random.below(bytes.length)] ^= 1 << random.below(8);
    return bytes.toString('latin1');
  },
  (data, random) => data.slice(0, random.below(data.length + 1)),
  (data, random) => data.slice(random.below(data.length + 1)),
  (data, random) => {
    const at = random.below(data.length + 1);
    return (
      data.slice(0, at) +
      random.pick(['\0', '\0\0\0\0', '\n', ',', '"', '<', '(', '\\', '\xff\xfe', '\r\n']) +
      data.slice(at)
    );
  },
  (data, random) => {
    const lines = data.split('\n');
    for (let n = random.between(1, 20); n > 0; n--) {
      const [a, b] = [random.below(lines.length), random.below(lines.length)];
      [lines[a], lines[b]] = [lines[b], lines[a]];
    }
    return lines.join('\n');
  },
  (data, random) => {
    const lines = data.split('\n');
    lines.splice(random.below(lines.length), random.between(1, 30));
    return lines.join('\n');
  },
  (data, random) => {
    const lines = data.split('\n');
    const at = random.below(lines.length);
    for (let n = random.between(1, 40); n > 0; n--) lines.splice(random.below(lines.length), 0, lines[at]);
    return lines.join('\n');
  },
  (data, random) => {
    const places = [...data.matchAll(/\d+/g)];
    if (places.length === 0) return data;
    const place = random.pick(places);
    return data.slice(0, place.index) + random.pick(numbers) + data.slice(place.index + place[0].length);
  },
  (data, random) => {
    const from = random.below(data.length + 1);
    return data.slice(0, from) + '\0'.repeat(random.between(1, 5000)) + data.slice(from + random.below(5000));
  },
];

function damaged(data: string, random: Prng): string {
  let out = data;
  for (let n = random.between(1, 3); n > 0; n--) out = random.pick(damages)(out, random);
  return out;
}

/** Reads to the end. Null when the reader refuses; anything but InputError goes on to the test. */
function attempt(open: () => TraceSource): TraceSource | null {
  try {
    const source = open();
    const files = new Set(source.files.map((f) => f.id));
    for (const f of source.files) expect(f.size >= 0 && f.size <= BYTES_MAX).toBe(true);
    for (const row of rowsOf(source)) {
      const { op, id, file, arg, offset, length, at } = row;
      const whole = [op, id, file, arg, offset, length, at].every(Number.isSafeInteger);
      if (!whole || id < 0 || id >= HANDLES_MAX || offset < 0 || length < 0 || offset + length > BYTES_MAX) {
        throw new Error(`bad event ${JSON.stringify(row)}`);
      }
      if (op >= 2 && op <= 5 && length > IO_MAX) throw new Error(`bad I/O ${JSON.stringify(row)}`);
      if (op === 0 && !files.has(file)) throw new Error(`unknown file ${JSON.stringify(row)}`);
    }
    return source;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    if (/[\n\0]/.test(error.message) || error.message.length > 1000)
      throw new Error('not one plain line', { cause: error });
    return null;
  }
}

function rounds(name: string, inputs: readonly string[], one: (data: Buffer) => void): void {
  test(`${name}, seed ${seed}`, { timeout: TIMEOUT_MS }, () => {
    for (let round = 0; round < runs; round++) {
      const random = new Prng(Math.imul(seed, 1_000_003) + round);
      const data = Buffer.from(damaged(inputs[round % inputs.length], random), 'latin1');
      try {
        one(data);
      } catch (error) {
        throw new Error(`seed ${seed}, round ${round}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
}

describe('damaged recordings', () => {
  rounds('ops scripts', scripts, (data) => {
    const source = attempt(() => opsFrom('x.ops', data));
    expect(attempt(() => opsFrom('x.ops', data, 4096, 5)) === null).toBe(source === null);
  });

  rounds('strace logs', logs, (data) => {
    const source = attempt(() => straceFrom('x.strace', data));
    if (source === null) return;
    const script = opsFrom('x.ops', textOf(straceFrom('x.strace', data)));
    rowsOf(script);
    expect(script.skipped).toEqual({});
  });

  rounds('strace logs, anonymous memory kept', logs, (data) => {
    const source = attempt(() => straceFrom('x.strace', data, { anonymous: true }));
    if (source === null) return;
    const script = opsFrom('x.ops', textOf(straceFrom('x.strace', data, { anonymous: true })));
    rowsOf(script);
    expect(script.skipped).toEqual({});
  });

  rounds('oracleGeneral', [zipf(false), zipf(true)], (data) => {
    attempt(() => oracleGeneralFrom('x', data));
    attempt(() => oracleGeneralFrom('x', data.subarray(0, data.length - (data.length % 24)), 7));
  });

  rounds('any of them, shown to the wrong reader', [...scripts, ...logs, zipf(false)], (data) => {
    try {
      formatOf(memoryBytes('x', data));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
    attempt(() => opsFrom('x.ops', data));
    attempt(() => straceFrom('x', data));
    attempt(() => oracleGeneralFrom('x', data));
  });
});
