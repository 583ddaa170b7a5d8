import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Entry, Outcome } from './score.ts';

/** Recorded scripts on disk: NAME.ops, what the kernel did as NAME.json, and a second run of it as NAME.2.json. */
export interface Recorded {
  readonly name: string;
  readonly script: string;
  readonly truth: string;
  readonly again: string;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const STORED = join(ROOT, 'golden/linux-6.18/scripts');
/** Runs without a memory limit, of which two must agree. */
const RUNS_MAX = 6;
/** A replay takes a second or two; one that runs this long will not end. */
const REPLAY_MS_MAX = 30_000;
const CLI = join(ROOT, 'bin/quire.js');

export function recordedAt(script: string): Recorded {
  const base = script.replace(/\.ops$/, '');
  return { name: base.replace(/^.*\//, ''), script, truth: `${base}.json`, again: `${base}.2.json` };
}
export function recordedIn(directory: string): Recorded[] {
  const scripts = readdirSync(directory).filter((name) => name.endsWith('.ops'));
  return scripts.sort().map((name) => recordedAt(join(directory, name)));
}

export function readOutcome(path: string): Outcome {
  return JSON.parse(readFileSync(path, 'utf8')) as Outcome;
}

/** What is kept of a truth: the system-wide counters hold a little of everything, and the events are long. */
export function compact(text: string): string {
  const { kernel, script, config, files, summary, folios, maps, memcg } = JSON.parse(text);
  return `${JSON.stringify({ kernel, script, config, files, summary, folios, maps, memcg })}\n`;
}

/**
 * One run on the live kernel. Needs root, tracefs, loop devices and gcc. On one processor: what a group is charged ahead stays with the processor,
 * up to 64 pages of the limit, so under a limit a run that is moved from one to another is not the next one's like.
 */
function runLive(script: string): string {
  const livekernel = process.env.LIVEKERNEL ?? join(ROOT, '../shared/livekernel');
  const tool = join(livekernel, 'truth.py');
  if (!existsSync(tool)) throw new Error(`${tool} is not there: LIVEKERNEL names the directory that holds truth.py`);
  if (process.getuid?.() !== 0) throw new Error('recording what the kernel does needs root');
  const work = mkdtempSync(join(tmpdir(), 'fidelity-'));
  try {
    const raw = join(work, 'truth.json');
    const last = String(cpus().length - 1);
    execFileSync('taskset', ['-c', last, 'python3', tool, script, '-o', raw], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return compact(readFileSync(raw, 'utf8'));
  } finally {
    rmSync(work, { recursive: true });
  }
}

const foliosOf = (text: string): string => {
  const { folios, maps } = JSON.parse(text) as Outcome;
  const placed = (entries: readonly Entry[]): number[][] => entries.map((e) => [e[0], e[1]]);
  return JSON.stringify([
    Object.entries(folios).map(([f, entries]) => [f, placed(entries)]),
    (maps ?? []).map((m) => [m.map, placed(m.folios)]),
  ]);
};

/**
 * Writes down what the kernel does with a script. Under a memory limit two runs differ: both are kept. Without one
 * they agree, save when another thread of the kernel struck in between: runs are made until two agree.
 */
export function record(r: Recorded, keepBoth: boolean): void {
  if (keepBoth) {
    writeFileSync(r.truth, runLive(r.script));
    writeFileSync(r.again, runLive(r.script));
    return;
  }
  const seen = new Set<string>();
  for (let run = 0; run < RUNS_MAX; run++) {
    const text = runLive(r.script);
    const folios = foliosOf(text);
    if (seen.has(folios)) {
      writeFileSync(r.truth, text);
      return;
    }
    seen.add(folios);
  }
  throw new Error(`${r.name}: no two of ${RUNS_MAX} runs agree`);
}

/** What the engine makes of a script, through the command that users have. */
export function replay(script: string): Outcome {
  if (!existsSync(CLI)) throw new Error(`${CLI} is not there: npm run build makes it`);
  const out = execFileSync(process.execPath, [CLI, 'replay', script, '--json'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    timeout: REPLAY_MS_MAX,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(out) as Outcome;
}
