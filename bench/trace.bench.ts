/**
 * How fast recordings are read: `npx tsx bench/trace.bench.ts`. Medians of five runs, files from the host's page cache; the
 * bare loops beside them do the least that the format allows and show what the machine could do.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Prng } from '../src/base/prng.ts';
import type { TraceSource } from '../src/trace/event.ts';
import { openOps } from '../src/trace/ops.ts';
import { openOracleGeneral } from '../src/trace/oracle_general.ts';
import { openStrace } from '../src/trace/strace.ts';
import { usual, writeZipf } from '../tools/zipf.ts';

const RUNS = 5;
const OPS_LINES = 5_000_000;
const STRACE_LINES = 1_000_000;

export interface Line {
  readonly name: string;
  readonly unit: string;
  readonly count: number;
  /** Of the median run. */
  readonly perSecond: number;
  readonly slowest: number;
  readonly fastest: number;
}

function measure(name: string, unit: string, count: number, once: () => void): Line {
  const rates: number[] = [];
  for (let run = 0; run <= RUNS; run++) {
    const began = performance.now();
    once();
    // The first run only warms up.
    if (run > 0) rates.push((count * 1000) / (performance.now() - began));
  }
  rates.sort((a, b) => a - b);
  return { name, unit, count, perSecond: rates[RUNS >> 1], slowest: rates[0], fastest: rates[RUNS - 1] };
}

/** Reads every event, and looks at one a batch, so that nothing can be left out. */
function drain(source: TraceSource): number {
  let sum = 0;
  for (let batch = source.next(); batch !== null; batch = source.next()) sum += batch.count + batch.offset[0];
  source.close();
  return sum;
}

function writeScript(path: string): void {
  const random = new Prng(1);
  const pieces = ['#quire-ops 1\n#file,1,a.bin,8589934592\nopen,1,1,rw\n'];
  let text = '';
  for (let i = 0; i < OPS_LINES; i++) {
    const kind = random.below(10);
    if (kind < 6) text += `pread,1,${random.below(2 ** 21) * 4096},4096\n`;
    else if (kind < 8) text += `read,1,${random.below(65536)}\n`;
    else text += `pwrite,1,${random.below(2 ** 30)},8192\n`;
    if (text.length > 1 << 20) text = pieces.push(text) > 0 ? '' : text;
  }
  writeFileSync(path, pieces.join('') + text);
}

function writeLog(path: string): void {
  const real = readFileSync(new URL('../golden/traces/sqlite-ttt.strace', import.meta.url), 'utf8');
  const lines = real.split('\n').length - 1;
  writeFileSync(path, real.repeat(Math.ceil(STRACE_LINES / lines)));
}

/** Reads a file in pieces and gives each to `use`. */
function eachPiece(path: string, bytes: number, use: (piece: Uint8Array, length: number) => void): void {
  const piece = new Uint8Array(bytes);
  const fd = openSync(path, 'r');
  for (let got = readSync(fd, piece); got > 0; got = readSync(fd, piece)) use(piece, got);
  closeSync(fd);
}

let kept = 0;
/** Each byte looked at once. */
function bareText(path: string): void {
  eachPiece(path, 1 << 20, (piece, length) => {
    let lines = 0;
    for (let i = 0; i < length; i++) if (piece[i] === 10) lines++;
    kept += lines;
  });
}

/** Object and size of each record read once. */
function bareRecords(path: string): void {
  eachPiece(path, 24 << 15, (piece, length) => {
    const words = new Uint32Array(piece.buffer, 0, length / 4);
    let sum = 0;
    for (let w = 0; w < words.length; w += 6) sum ^= words[w + 1] + words[w + 3];
    kept += sum;
  });
}

export function traceBench(): Line[] {
  const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
  try {
    const [script, log, near, far] = ['x.ops', 'x.strace', 'near.oracleGeneral', 'far.oracleGeneral'].map((name) =>
      join(folder, name),
    );
    writeScript(script);
    writeLog(log);
    writeZipf(near, usual);
    writeZipf(far, { ...usual, scatter: true });
    return [
      measure('ops script', 'operations', OPS_LINES, () => drain(openOps(script))),
      measure('  bare loop over its bytes', 'operations', OPS_LINES, () => bareText(script)),
      measure('oracleGeneral, objects are pages', 'requests', usual.requests, () => drain(openOracleGeneral(near))),
      measure('oracleGeneral, first pass only', 'requests', usual.requests, () => openOracleGeneral(near).close()),
      measure('oracleGeneral, objects renumbered', 'requests', usual.requests, () => drain(openOracleGeneral(far))),
      measure('  bare loop over its records', 'requests', usual.requests, () => bareRecords(near)),
      measure('strace log', 'lines', STRACE_LINES, () => drain(openStrace(log))),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const m = (perSecond: number): string => (perSecond / 1e6).toFixed(1).padStart(7);
  console.log(
    `Node ${process.versions.node}, ${cpus()[0]?.model ?? 'unknown processor'}; M/s: median (slowest, fastest)`,
  );
  for (const l of traceBench()) {
    console.log(`${l.name.padEnd(36)} ${m(l.perSecond)} (${m(l.slowest)},${m(l.fastest)}) ${l.unit}`);
  }
  if (kept === 0.5) console.log(kept);
}
