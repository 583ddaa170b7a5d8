import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FAMILIES } from './fidelity/families.ts';
import { selection } from './fidelity/generate.ts';
import { type Score, score } from './fidelity/score.ts';
import { type Recorded, readOutcome, record, recordedAt, recordedIn, replay, STORED } from './fidelity/truths.ts';

const USAGE = `Replays recorded scripts and compares the result with the live kernel, folio for folio.

  npm run fidelity                         all that is stored in golden/linux-6.18/scripts
  npm run fidelity -- read-xfs limit-      only those whose name begins so
  npm run fidelity -- a.ops b.ops          scripts with their truths beside them (a.json)
  npm run fidelity -- --record a.ops       makes a.json on this machine's kernel first (root; LIVEKERNEL=directory of truth.py)
  npm run fidelity -- --record --make DIR  makes DIR with the generator's selection and its truths first
  --seed N     with --make: scripts that were never recorded before, from seeds N, N+1, …
  --json       one object a script, as a JSON array
  exit code: 0, 1 when a script is below its floor, 2 bad usage`;

/** Without a memory limit the kernel repeats itself, so nothing less than every folio will do. */
const FLOOR_UNLIMITED = 1;
/** Under a limit: this much below what a second run of the kernel reaches against the first. */
const FLOOR_SLACK = 0.03;

interface Result extends Score {
  readonly name: string;
  readonly family: string;
  readonly floor: number;
  /** The second live run against the first; 1 where there is none. */
  readonly kernel: number;
  /** Why there is no replay, else ''. */
  readonly error: string;
}

function familyOf(name: string): string {
  const base = name.replace(/-\d+$/, '');
  return FAMILIES.some((f) => f.name === base) ? base : 'others';
}

function measure(r: Recorded): Result {
  const truth = readOutcome(r.truth);
  const again = existsSync(r.again) ? score(truth, readOutcome(r.again)) : undefined;
  const kernel = again?.folioMatch ?? 1;
  const floor = again === undefined ? FLOOR_UNLIMITED : kernel - FLOOR_SLACK;
  const common = { name: r.name, family: familyOf(r.name), floor, kernel };
  try {
    return { ...common, ...score(truth, replay(r.script)), error: '' };
  } catch (e) {
    const { stderr = '', code, message } = e as Error & { stderr?: string; code?: string };
    const error = code === 'ETIMEDOUT' ? 'no end' : ((stderr.trim() || message).split('\n').at(-1) as string);
    const faults = { minor: 0, major: 0, minorTruth: 0, majorTruth: 0 };
    return { ...common, folioMatch: 0, pages: 0, ratios: {}, faults, difference: '', error };
  }
}

const four = (x: number): string => x.toFixed(4);
function table(results: readonly Result[]): string {
  const families = [...new Set(results.map((r) => r.family))];
  const lines = [`${'family'.padEnd(24)} scripts   exact     min    mean  kernel`];
  const line = (label: string, of: readonly Result[]): string => {
    const matches = of.map((r) => r.folioMatch);
    const exact = matches.filter((m) => m === 1).length;
    const mean = matches.reduce((a, b) => a + b, 0) / matches.length;
    const kernel = Math.min(...of.map((r) => r.kernel));
    const figures = [Math.min(...matches), mean, kernel].map((x) => four(x).padStart(7)).join(' ');
    return `${label.padEnd(24)} ${String(of.length).padStart(7)} ${String(exact).padStart(7)} ${figures}`;
  };
  for (const family of families) {
    lines.push(
      line(
        family,
        results.filter((r) => r.family === family),
      ),
    );
  }
  lines.push(line('all', results));
  const worst = results.filter((r) => r.folioMatch < 1).sort((a, b) => a.folioMatch - b.folioMatch);
  if (worst.length > 0) lines.push('', 'worst first; * is below its floor:');
  for (const r of worst) {
    const mark = r.folioMatch < r.floor ? '*' : ' ';
    lines.push(`${mark} ${four(r.folioMatch)} ${r.name.padEnd(26)} ${r.error || r.difference}`);
  }
  return lines.join('\n');
}

function choose(names: readonly string[]): Recorded[] {
  const scripts = names.filter((n) => n.endsWith('.ops')).map(recordedAt);
  const prefixes = names.filter((n) => !n.endsWith('.ops'));
  if (scripts.length > 0 && prefixes.length === 0) return scripts;
  return [
    ...scripts,
    ...recordedIn(STORED).filter((r) => prefixes.length === 0 || prefixes.some((p) => r.name.startsWith(p))),
  ];
}

/** Writes the generator's selection into `directory`. */
function make(directory: string, firstSeed: number): Recorded[] {
  mkdirSync(directory, { recursive: true });
  return [...selection(firstSeed)].map((s) => {
    const script = join(directory, `${s.name}.ops`);
    writeFileSync(script, s.text);
    return recordedAt(script);
  });
}

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean' },
      record: { type: 'boolean' },
      make: { type: 'string' },
      seed: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) {
    console.log(USAGE);
    return 0;
  }
  const scripts = values.make === undefined ? choose(positionals) : make(values.make, Number(values.seed ?? 1));
  if (scripts.length === 0) throw new Error(`no script is called ${positionals.join(' or ')}…`);
  if (values.record === true) {
    for (const r of scripts) {
      console.error(`recording ${r.name}`);
      record(
        r,
        FAMILIES.some((f) => f.twice && f.name === familyOf(r.name)),
      );
    }
  }
  const results = scripts.map(measure);
  console.log(values.json === true ? JSON.stringify(results) : table(results));
  return results.every((r) => r.error === '' && r.folioMatch >= r.floor) ? 0 : 1;
}

try {
  process.exitCode = main();
} catch (e) {
  console.error(`fidelity: ${(e as Error).message}`);
  process.exitCode = 2;
}
