/**
 * Workloads of `npm run bench -- tlb`: memory accesses through the lab's replay (TLBs, page tables, folios, touched pages) from batches in
 * memory and from lackey's text, whole runs; beside bare loops that keep both levels in order of use and nothing else (no page
 * tables, no counts by size, no rights, no faults): in JavaScript, and in C where there is a compiler.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuNamed, cpus } from '../src/arch/cpus.ts';
import { setCurve, setCurveAdd, stackCurve, stackCurveAdd } from '../src/arch/curves.ts';
import { pass, settle } from '../src/arch/memo.ts';
import { x86_64 } from '../src/arch/pgtable.ts';
import { translate } from '../src/arch/translate.ts';
import { translator } from '../src/arch/walk.ts';
import { Prng } from '../src/base/prng.ts';
import { areasFromRegions } from '../src/lab/access_areas.ts';
import { AccessReplay } from '../src/lab/access_replay.ts';
import { ACCESS_ROWS, type Accesses, type AccessSource, accesses } from '../src/trace/access.ts';
import { openLackey } from '../src/trace/lackey.ts';
import { regionsOf } from '../src/trace/regions.ts';
import { Tables } from '../test/arch/tables.ts';

type Figures = Record<string, number>;

const BASE = 0x7f0000000000;
const PAGE = 4096;
/** Present, writable, user, accessed, dirty. */
const MAPPED = 0x67;
/** 64 entries 4-way and 2048 8-way: the shape of the bare loops. */
const SHAPE = 'ice-lake-sp';

interface Trace {
  readonly batches: readonly Accesses[];
  readonly rows: number;
  readonly pages: number;
}

function made(rows: number, pages: number, fill: (batch: Accesses, i: number) => void): Trace {
  const batches: Accesses[] = [];
  for (let done = 0; done < rows; done += ACCESS_ROWS) {
    const batch = accesses(ACCESS_ROWS);
    batch.count = ACCESS_ROWS;
    batch.size.fill(8);
    for (let i = 0; i < ACCESS_ROWS; i++) fill(batch, i);
    batches.push(batch);
  }
  return { batches, rows, pages };
}

/** 98.8 % hits of the first level: two dozen hot pages, one of which is replaced by any of 20,000 now and then; half of it stores. */
function hot(rows: number): Trace {
  const r = new Prng(1);
  const pages = 20_000;
  const set = Float64Array.from({ length: 24 }, () => r.below(pages));
  let page = set[0];
  return made(rows, pages, (batch, i) => {
    const u = r.u32();
    if ((u & 7) < 3) {
      const which = (u >>> 8) % set.length;
      if (((u >>> 16) & 255) < 5) set[which] = r.below(pages);
      page = set[which];
    }
    batch.address[i] = BASE + page * PAGE + ((u >>> 20) & 0xff8);
    batch.kind[i] = (u >>> 28) & 1;
  });
}

/** Any of the pages of so many GiB. */
function uniform(rows: number, gib: number): Trace {
  const r = new Prng(2);
  const pages = gib * 2 ** 18;
  return made(rows, pages, (batch, i) => {
    batch.address[i] = BASE + r.below(pages) * PAGE + (r.u32() & 0xff8);
    batch.kind[i] = i & 1;
  });
}

/** Nanoseconds of a processor a row of all of `work`: others who want the machine count for less. */
function timed(rows: number, work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1000) / rows;
}

/** The median of five runs, after one that is not counted. */
function steady(rows: number, work: () => void): number {
  work();
  return Array.from({ length: 5 }, () => timed(rows, work)).sort((a, b) => a - b)[2];
}

const sum = (n: Float64Array): number => n.reduce((a, b) => a + b, 0);
const rename = (name: string, f: Figures): Figures =>
  Object.fromEntries(Object.entries(f).map(([key, v]) => [`${name}.${key}`, v]));

const NO_SOURCE: AccessSource = {
  name: 'memory',
  total: -1,
  told: false,
  regions: null,
  skipped: {},
  next: () => null,
  close() {},
};

/** The whole lab: once for the faults, then all of the trace again and again. */
function lab(t: Trace, names: readonly string[]): Figures {
  const area = { start: BASE, end: BASE + t.pages * PAGE, prot: 3, file: '', offset: 0 };
  const r = new AccessReplay(NO_SOURCE, { thp: { all: 'never' } }, [area], names);
  const play = (): void => {
    for (const batch of t.batches) r.play(batch);
  };
  const first = timed(t.rows, play);
  const ns = steady(t.rows, play);
  const { l1Hits, l2Hits, misses } = r.translators[0].counts;
  const all = sum(l1Hits) + sum(l2Hits) + sum(misses);
  return { ns, firstNs: first, l1HitRatio: sum(l1Hits) / all, missRatio: sum(misses) / all, faults: r.faults() };
}

/** TLBs and page tables alone. */
function alone(t: Trace, name: string): number {
  const tables = new Tables(x86_64);
  // Frames as a machine that ran for a while hands them out: not in order.
  for (let p = 0; p < t.pages; p++) tables.set(BASE + p * PAGE, 0, (p * 7919) % 0x100000, MAPPED);
  const p = pass([translator(cpuNamed(name), x86_64)]);
  const play = (): void => {
    for (const { address, size, kind, count } of t.batches)
      if (translate(p, [tables], [tables.top], address, size, kind, 0, count) < count)
        throw new Error('a fault, and all is mapped');
  };
  const ns = steady(t.rows, play);
  settle(p);
  return ns;
}

/** Both levels in order of use, nothing else. */
function bare(t: Trace): number {
  const l1 = new Float64Array(64).fill(-1);
  const l2 = new Float64Array(2048).fill(-1);
  const play = (address: Float64Array, count: number): void => {
    for (let i = 0; i < count; i++) {
      const p = Math.floor(address[i] / PAGE);
      const s = (p & 15) << 2;
      if (l1[s] === p) continue;
      let w = 1;
      while (w < 3 && l1[s + w] !== p) w++;
      if (l1[s + w] !== p) {
        const q = (p & 255) << 3;
        let v = 0;
        while (v < 7 && l2[q + v] !== p) v++;
        for (; v > 0; v--) l2[q + v] = l2[q + v - 1];
        l2[q] = p;
      }
      for (; w > 0; w--) l1[s + w] = l1[s + w - 1];
      l1[s] = p;
    }
  };
  const all = (): void => {
    for (const { address, count } of t.batches) play(address, count);
  };
  return steady(t.rows, all);
}

const C = `
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double l1[64], l2[2048];
int main(int argc, char **argv) {
  long n = atol(argv[2]);
  double *a = malloc(n * 8);
  FILE *f = fopen(argv[1], "rb");
  if (!f || fread(a, 8, n, f) != (size_t)n) return 1;
  for (int i = 0; i < 64; i++) l1[i] = -1;
  for (int i = 0; i < 2048; i++) l2[i] = -1;
  double least = 1e9;
  for (int r = 0; r < 6; r++) {
    struct timespec x, y;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &x);
    for (long i = 0; i < n; i++) {
      double p = floor(a[i] / 4096);
      int s = ((long)p & 15) << 2, w = 1;
      if (l1[s] == p) continue;
      while (w < 3 && l1[s + w] != p) w++;
      if (l1[s + w] != p) {
        int q = ((long)p & 255) << 3, v = 0;
        while (v < 7 && l2[q + v] != p) v++;
        for (; v > 0; v--) l2[q + v] = l2[q + v - 1];
        l2[q] = p;
      }
      for (; w > 0; w--) l1[s + w] = l1[s + w - 1];
      l1[s] = p;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &y);
    double ns = ((y.tv_sec - x.tv_sec) * 1e9 + (y.tv_nsec - x.tv_nsec)) / n;
    if (ns < least) least = ns;
  }
  printf("%f %f", least, l1[0]);
}`;

/** The same loop in C, the best of six runs; NaN without a compiler. */
function bareC(t: Trace): number {
  const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
  try {
    const [source, program, data] = ['x.c', 'x', 'x.f64'].map((name) => join(folder, name));
    writeFileSync(source, C);
    writeFileSync(data, '');
    for (const { address } of t.batches)
      appendFileSync(data, new Uint8Array(address.buffer, address.byteOffset, address.byteLength));
    try {
      execFileSync('gcc', ['-O2', '-march=native', '-o', program, source, '-lm'], { stdio: 'ignore' });
    } catch {
      return Number.NaN;
    }
    return Number.parseFloat(execFileSync(program, [data, String(t.rows)], { encoding: 'utf8' }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A program's text as valgrind writes it, some millions of lines; null: there is no valgrind. */
function lackeyText(folder: string): string | null {
  const once = join(folder, 'once');
  const run = spawnSync('valgrind', ['--tool=lackey', '--trace-mem=yes', `--log-file=${once}`, 'ls', '/']);
  if (run.status !== 0) return null;
  const text = readFileSync(once);
  const path = join(folder, 'ls.lackey');
  for (let n = 0; n < 16; n++) appendFileSync(path, text);
  return path;
}

const x86 = cpus.filter((c) => c.arch === 'x86_64').map((c) => c.name);

export const tlbRuns: Readonly<Record<string, () => Figures>> = {
  /** One CPU and eight on 32 M accesses from memory. */
  tlbHot() {
    const t = hot(2 ** 25);
    const one = lab(t, [SHAPE]);
    const zen = lab(t, ['zen4']);
    const eight = lab(t, new Array<string>(8).fill(SHAPE));
    const named = lab(t, [...x86, SHAPE, SHAPE].slice(0, 8));
    return {
      millionPerSecond: 1000 / one.ns,
      ...rename('lab', one),
      'lab.zen4.ns': zen.ns,
      'alone.ns': alone(t, SHAPE),
      'bareJs.ns': bare(t),
      'bareC.ns': bareC(t),
      'eight.ns': eight.ns,
      'eight/one': eight.ns / one.ns,
      'eightCpus.ns': named.ns,
      'eightCpus/one': named.ns / Math.max(one.ns, zen.ns),
    };
  },
  /** Any page of 4 GiB: all misses, so all walks. */
  tlbUniform() {
    const t = uniform(2 ** 22, 4);
    const figures: Figures = {};
    for (const { name } of cpus) figures[`lab.${name}.ns`] = lab(t, [name]).ns;
    return {
      millionPerSecond: 1000 / figures[`lab.${SHAPE}.ns`],
      ...figures,
      'alone.ns': alone(t, SHAPE),
      'bareJs.ns': bare(t),
      'bareC.ns': bareC(t),
    };
  },
  /** Lackey's text from a file: read alone, and through the lab. */
  tlbLackey() {
    const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
    try {
      const path = lackeyText(folder);
      if (path === null) return { millionPerSecond: Number.NaN };
      const areas = areasFromRegions(regionsOf(openLackey(path)), PAGE);
      let rows = 0;
      const read = (): void => {
        rows = 0;
        const source = openLackey(path);
        for (let batch = source.next(); batch !== null; batch = source.next()) rows += batch.count;
        source.close();
      };
      const through = (): void => {
        const source = openLackey(path);
        const r = new AccessReplay(source, { thp: { all: 'never' } }, areas, ['zen4']);
        r.run();
        source.close();
      };
      read();
      const readNs = timed(rows, read);
      through();
      const ns = timed(rows, through);
      return { millionPerSecond: 1000 / ns, 'lab.ns': ns, 'read.ns': readNs, rows };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  /** Miss curves of all sizes: hot pages, and any of a million. */
  tlbCurves() {
    const figures: Figures = {};
    for (const [name, t] of Object.entries({ near: hot(2 ** 23), far: uniform(2 ** 22, 4) })) {
      const c = stackCurve();
      const ns = timed(t.rows, () => {
        for (const { address, count } of t.batches) stackCurveAdd(c, address, 0, count, 1 / PAGE);
      });
      const s = setCurve(256, 16);
      const sets = timed(t.rows, () => {
        for (const { address, count } of t.batches) setCurveAdd(s, address, 0, count, 1 / PAGE);
      });
      figures[`${name}.millionPerSecond`] = 1000 / ns;
      figures[`${name}.setsMillionPerSecond`] = 1000 / sets;
      const bytes = [c.keys, c.places, c.hits, c.marks, c.rows, ...c.sums].reduce((n, a) => n + a.byteLength, 0);
      figures[`${name}.bytesPerPage`] = bytes / c.pages;
    }
    return figures;
  },
};
