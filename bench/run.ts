/**
 * Speed and memory of a replay, beside a bare loop of the same shape in the same run.
 *
 *     npm run bench              all of it
 *     npm run bench -- zipf      one: zipf, layouts, files, programs, operations, memory, huge, tlb, http, cache, sqlite
 *
 * Every figure is the median of several runs (their number is printed), each in a process of its own; one line of JSON for each
 * goes to bench/results.jsonl.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..');
const RUNS = 5;

/** What one run says. */
type Figures = Readonly<Record<string, number>>;

function child(name: string, ...args: readonly string[]): Figures {
  const tsx = join(root, 'node_modules/tsx/dist/loader.mjs');
  const out = execFileSync(process.execPath, ['--import', `file://${tsx}`, join(here, 'workloads.ts'), name, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(out) as Figures;
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
};

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();

/** Runs a workload `times` times and prints the median of each figure. */
const measure = (name: string, times: number, ...args: readonly string[]): Figures =>
  inTurns(name, times, [args])[0] as Figures;

/** The same with several lists of arguments, each in turn: a slow minute of the machine meets them all. */
function inTurns(name: string, times: number, lists: readonly (readonly string[])[]): Figures[] {
  const all: Figures[][] = lists.map(() => []);
  for (let n = 0; n < times; n++) for (const [i, args] of lists.entries()) all[i]?.push(child(name, ...args));
  return lists.map((args, i) => said(name, args, all[i] as Figures[]));
}

function said(name: string, args: readonly string[], all: readonly Figures[]): Figures {
  const out: Record<string, number> = {};
  for (const key of Object.keys(all[0] as Figures)) out[key] = median(all.map((f) => f[key] as number));
  const text = Object.entries(out).map(([key, v]) => `${key} ${Number.isInteger(v) ? v : v.toPrecision(4)}`);
  console.log(
    `${[name, ...args.map((a) => a.split('/').pop())].join(' ').padEnd(34)} ${text.join('  ')}  (${all.length} runs)`,
  );
  const record = {
    name,
    args: args.map((a) => a.split('/').pop()),
    runs: all.length,
    figures: out,
    commit,
    node: process.version,
  };
  appendFileSync(join(here, 'results.jsonl'), `${JSON.stringify({ ...record, cpu: cpus()[0]?.model })}\n`);
  return out;
}

const wanted = process.argv.slice(2);
const chosen = (name: string): boolean => wanted.length === 0 || wanted.includes(name);
const known = [
  'zipf',
  'layouts',
  'files',
  'programs',
  'operations',
  'memory',
  'huge',
  'tlb',
  'http',
  'cache',
  'sqlite',
];
const unknown = wanted.find((name) => !known.includes(name));
if (unknown !== undefined) {
  console.error(`bench: no benchmark '${unknown}': expected some of ${known.join(', ')}`);
  process.exit(2);
}
const work = mkdtempSync(join(tmpdir(), 'quire-bench-'));
try {
  const trace = join(work, 'zipf.oracleGeneral');
  if (chosen('zipf') || chosen('layouts'))
    execFileSync(process.execPath, ['--import', 'tsx', join(root, 'tools/zipf.ts'), trace], {
      cwd: root,
      stdio: 'ignore',
    });
  if (chosen('zipf')) {
    const bare = measure('bareLru', RUNS, trace);
    const replay = measure('zipf', RUNS, trace);
    console.log(
      `  replay / bare LRU: ${((replay.millionPerSecond as number) / (bare.millionPerSecond as number)).toFixed(3)}`,
    );
  }
  if (chosen('layouts')) {
    const layouts = ['overlay', 'memdesc8', 'page32', 'page64'];
    const speed = inTurns(
      'zipfLayout',
      RUNS,
      layouts.map((layout) => [trace, layout]),
    ).map((f) => f.millionPerSecond as number);
    layouts.forEach((layout, i) => {
      console.log(`  ${layout} / overlay: ${((speed[i] as number) / (speed[0] as number)).toFixed(3)}`);
    });
    inTurns('pageStyle', RUNS, [
      [trace, 'overlay', 'folios'],
      [trace, 'page64', 'folios'],
      [trace, 'page64', 'pages'],
    ]);
  }
  if (chosen('files')) for (const name of ['sequential', 'append', 'overwrite']) measure(name, RUNS);
  if (chosen('programs')) {
    const examples = join(root, 'examples');
    for (const file of readdirSync(examples).filter((f) => f.endsWith('.ops')))
      measure('program', RUNS, join(examples, file));
  }
  if (chosen('operations')) for (const n of ['1', '10', '100']) measure('operations', n === '100' ? 1 : 3, n);
  if (chosen('memory')) for (const gib of ['1', '16', '64', '256', '1024']) measure('memory', 3, gib);
  if (chosen('huge')) for (const gib of ['16', '1024']) measure('huge', gib === '16' ? 3 : 1, gib);
  if (chosen('sqlite')) {
    // The library as it is built: what tsx makes of it is slower.
    execFileSync(process.execPath, [join(root, 'tools/setup.js')], { stdio: 'inherit' });
    // SQLite's own cache as the host builds it (16 MiB), and as SQLite has it (2000 KiB).
    // Each run is nine rounds already.
    measure('sqlite', 1);
    measure('sqlite', 1, '2000');
    const [theirs, ours] = [measure('sqliteOpfs', 3, 'opfs-sahpool'), measure('sqliteOpfs', 3, 'cache')];
    console.log(`  time on opfs-sahpool / on the cache: ${((theirs.ms as number) / (ours.ms as number)).toFixed(3)}`);
  }
  if (chosen('cache')) for (const mib of ['1', '8', '256']) measure('cacheReads', 3, mib);
  if (chosen('http'))
    execFileSync(process.execPath, ['--import', 'tsx', join(here, 'http.ts')], { cwd: root, stdio: 'inherit' });
  if (chosen('tlb')) for (const name of ['tlbHot', 'tlbUniform', 'tlbLackey', 'tlbCurves']) measure(name, RUNS);
} finally {
  if (existsSync(work)) rmSync(work, { recursive: true });
}
