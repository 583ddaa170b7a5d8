/**
 * Speed of traces of memory accesses: readers, and accesses through TLB, page tables and folios. In CPU time, so that a busy
 * machine counts for less; medians of five passes.
 *
 *     npx tsx bench/accesses.ts
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Prng } from '../src/base/prng.ts';
import type { Area } from '../src/lab/access_areas.ts';
import { AccessReplay } from '../src/lab/access_replay.ts';
import { ACCESS_ROWS, type Accesses, type AccessSource, accesses, LOAD, STORE } from '../src/trace/access.ts';
import { openLackey } from '../src/trace/lackey.ts';
import { openQacc } from '../src/trace/qacc_read.ts';
import { writeQacc } from '../src/trace/qacc_write.ts';

const PASSES = 5;
const BASE = 0x600000000000;
const GIB = 2 ** 30;
const area = (bytes: number): Area => ({ start: BASE, end: BASE + bytes, prot: 3, file: '', offset: 0 });

function say(what: string, accesses: number, seconds: readonly number[], more = ''): void {
  const rate = accesses / (seconds.toSorted((a, b) => a - b)[seconds.length >> 1] as number) / 1e6;
  console.log(`${what.padEnd(64)} ${rate.toFixed(1).padStart(7)} M/s${more}`);
}

function timed(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
const passes = (work: () => void): number[] => Array.from({ length: PASSES }, () => timed(work));

function drain(source: AccessSource): number {
  let n = 0;
  for (let batch = source.next(); batch !== null; batch = source.next()) n += batch.count;
  source.close();
  return n;
}

/** Readers, on a program that valgrind runs here. */
function readers(folder: string): void {
  const log = join(folder, 'ls.lackey');
  const once = join(folder, 'once.lackey');
  const run = spawnSync('valgrind', ['--tool=lackey', '--trace-mem=yes', `--log-file=${once}`, 'ls', '/']);
  if (run.status !== 0) {
    console.log('readers: not measured, no valgrind here');
    return;
  }
  spawnSync('sh', ['-c', `for i in 1 2 3 4 5 6 7 8 9 10; do cat ${once}; done > ${log}`]);
  const n = drain(openLackey(log));
  say(
    'lackey text, read',
    n,
    passes(() => drain(openLackey(log))),
  );
  const file = join(folder, 'ls.qacc');
  const seconds = timed(() => writeQacc(openLackey(log), file));
  say('lackey text, imported', n, [seconds]);
  say(
    '.qacc, read',
    n,
    passes(() => drain(openQacc(file))),
  );
}

/** Batches at hand, over and over. */
function memorySource(batches: readonly Accesses[]): AccessSource {
  let at = 0;
  return {
    name: 'memory',
    total: batches.length * ACCESS_ROWS,
    told: false,
    regions: null,
    skipped: {},
    next: () => batches[at++] ?? null,
    close() {},
  };
}

/** Most accesses to few pages, as programs make them; or pages at random. */
function trace(n: number, bytes: number, jump: number): Accesses[] {
  const r = new Prng(7);
  const pages = bytes / 4096;
  const near = Array.from({ length: 24 }, () => r.below(pages));
  const out: Accesses[] = [];
  let page = 0;
  for (let done = 0; done < n; done += ACCESS_ROWS) {
    const batch = accesses(ACCESS_ROWS);
    batch.count = ACCESS_ROWS;
    for (let i = 0; i < ACCESS_ROWS; i++) {
      if (r.below(1000) < jump) page = r.below(pages);
      else if (r.below(4) === 0) page = near[r.below(near.length)] as number;
      batch.address[i] = BASE + page * 4096 + r.below(511) * 8;
      batch.size[i] = 8;
      batch.kind[i] = r.below(3) === 0 ? STORE : LOAD;
    }
    out.push(batch);
  }
  return out;
}

const EIGHT = ['zen3', 'zen4', 'zen5', 'ice-lake-sp', 'golden-cove', 'champsim', 'zen3', 'zen4'];
const sum = (counts: Float64Array): number => counts.reduce((a, b) => a + b, 0);

function through(
  what: string,
  batches: readonly Accesses[],
  bytes: number,
  thp: string,
  cpus: readonly string[],
): void {
  const r = new AccessReplay(memorySource(batches), { thp: { all: 'never', '2048kB': thp } }, [area(bytes)], cpus);
  const play = (): void => {
    for (const batch of batches) r.play(batch);
  };
  const first = timed(play);
  const seconds = passes(play);
  const x = r.translators[0];
  const all = x === undefined ? 0 : sum(x.counts.l1Hits) + sum(x.counts.l2Hits) + sum(x.counts.misses);
  const hits = x === undefined ? '' : `  L1 hits ${((100 * sum(x.counts.l1Hits)) / all).toFixed(1)} %`;
  const faults = `  first pass ${((batches.length * ACCESS_ROWS) / first / 1e6).toFixed(1)} M/s with ${r.faults().toLocaleString('en-US')} faults`;
  say(what, batches.length * ACCESS_ROWS, seconds, hits + faults);
}

function tebibyte(): void {
  const r = new Prng(9);
  const batch = accesses(ACCESS_ROWS);
  batch.count = ACCESS_ROWS;
  batch.size.fill(8);
  batch.kind.fill(STORE);
  const bytes = 1024 * GIB;
  const replay = new AccessReplay(
    memorySource([]),
    { thp: { '2048kB': 'always' }, memory: bytes },
    [area(bytes)],
    ['zen4'],
  );
  const seconds = timed(() => {
    for (let n = 0; n < 500; n++) {
      for (let i = 0; i < ACCESS_ROWS; i++) batch.address[i] = BASE + r.below(2 ** 28) * 4096;
      replay.play(batch);
    }
  });
  const host = (process.memoryUsage().rss / GIB).toFixed(2);
  say(
    '1 TiB touched at random, 2 MiB folios',
    500 * ACCESS_ROWS,
    [seconds],
    `  ${replay.faults()} faults, ${host} GiB of the host`,
  );
}

const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
try {
  // First: it says what the host gives, which must be its own alone.
  tebibyte();
  readers(folder);
  const near = trace(16e6, GIB / 4, 12);
  for (const thp of ['never', 'always']) {
    const pages = thp === 'never' ? '4 KiB' : '2 MiB';
    through(`near accesses, ${pages}, TLB of zen4`, near, GIB / 4, thp, ['zen4']);
    through(`near accesses, ${pages}, eight TLBs in one pass`, near, GIB / 4, thp, EIGHT);
    through(`near accesses, ${pages}, no TLB`, near, GIB / 4, thp, []);
  }
  const random = trace(8e6, 4 * GIB, 1000);
  for (const thp of ['never', 'always'])
    through(`uniform random over 4 GiB, ${thp === 'never' ? '4 KiB' : '2 MiB'}, TLB of zen4`, random, 4 * GIB, thp, [
      'zen4',
    ]);
} finally {
  rmSync(folder, { recursive: true });
}
