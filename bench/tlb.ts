/**
 * Workloads of `npm run bench -- tlb`: accesses through the TLBs of one and of eight configurations, beside bare loops of the same shape
 * that keep no page tables, no counts by size and no rights: in JavaScript, and in C where there is a compiler.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cpu, cpuNamed, cpus } from '../src/arch/cpus.ts';
import { setCurve, setCurveAdd, stackCurve, stackCurveAdd } from '../src/arch/curves.ts';
import { pass, settle } from '../src/arch/memo.ts';
import { x86_64 } from '../src/arch/pgtable.ts';
import { translate } from '../src/arch/translate.ts';
import { translator } from '../src/arch/walk.ts';
import { Prng } from '../src/base/prng.ts';
import { Tables } from '../test/arch/tables.ts';

type Figures = Record<string, number>;

const BASE = 0x7f0000000000;
const PAGE = 4096;
/** Present, writable, user, accessed, dirty. */
const MAPPED = 0x67;
/** The shape that the figures are told for. */
const plain: Cpu = {
  ...{ name: 'plain', title: '64 4-way, 2048 8-way', arch: 'x86_64', source: '', assumed: [] },
  l1: [{ entries: 64, ways: 4, sizes: [PAGE] }],
  l2: [{ entries: 2048, ways: 8, sizes: [PAGE] }],
  walkCaches: cpuNamed('golden-cove').walkCaches,
};

interface Trace {
  readonly address: Float64Array;
  readonly size: Uint16Array;
  readonly kind: Uint8Array;
  readonly pages: number;
}

/** 98.8 % hits of the first level: two dozen hot pages, one of which is replaced by any of 20,000 now and then; half of it stores. */
function hot(rows: number): Trace {
  const r = new Prng(1);
  const pages = 20_000;
  const t = { address: new Float64Array(rows), size: new Uint16Array(rows).fill(8), kind: new Uint8Array(rows), pages };
  const set = Float64Array.from({ length: 24 }, () => r.below(pages));
  let page = set[0];
  for (let i = 0; i < rows; i++) {
    const u = r.u32();
    if ((u & 7) < 3) {
      const which = (u >>> 8) % set.length;
      if (((u >>> 16) & 255) < 5) set[which] = r.below(pages);
      page = set[which];
    }
    t.address[i] = BASE + page * PAGE + ((u >>> 20) & 0xff8);
    t.kind[i] = (u >>> 28) & 1;
  }
  return t;
}

/** Any of the pages of so many GiB. */
function uniform(rows: number, gib: number): Trace {
  const r = new Prng(2);
  const pages = gib * 2 ** 18;
  const t = { address: new Float64Array(rows), size: new Uint16Array(rows).fill(8), kind: new Uint8Array(rows), pages };
  for (let i = 0; i < rows; i++) {
    t.address[i] = BASE + r.below(pages) * PAGE + (r.u32() & 0xff8);
    t.kind[i] = i & 1;
  }
  return t;
}

function mapped(pages: number): Tables {
  const tables = new Tables(x86_64);
  // Frames as a machine that ran for a while hands them out: not in order.
  for (let p = 0; p < pages; p++) tables.set(BASE + p * PAGE, 0, (p * 7919) % 0x100000, MAPPED);
  return tables;
}

const BATCH = 512;

/** Nanoseconds a row of `work`, batch by batch: all of it, and the tenth part of batches that was disturbed least. */
function timed(rows: number, work: (from: number, to: number) => void): { ns: number; quietNs: number } {
  work(0, Math.min(rows, 64 * BATCH));
  const each: number[] = [];
  const began = performance.now();
  for (let from = 0; from < rows; from += BATCH) {
    const at = performance.now();
    work(from, Math.min(rows, from + BATCH));
    each.push(((performance.now() - at) * 1e6) / BATCH);
  }
  const ns = ((performance.now() - began) * 1e6) / rows;
  each.sort((a, b) => a - b);
  return { ns, quietNs: each[Math.floor(each.length / 10)] };
}

/** Both levels in order of use, nothing else. */
function bare(t: Trace): (from: number, to: number) => void {
  const { address } = t;
  const l1 = new Float64Array(64).fill(-1);
  const l2 = new Float64Array(2048).fill(-1);
  return (from, to) => {
    for (let i = from; i < to; i++) {
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
  double best = 1e9;
  for (int r = 0; r < 5; r++) {
    struct timespec x, y;
    clock_gettime(CLOCK_MONOTONIC, &x);
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
    clock_gettime(CLOCK_MONOTONIC, &y);
    double ns = ((y.tv_sec - x.tv_sec) * 1e9 + (y.tv_nsec - x.tv_nsec)) / n;
    if (ns < best) best = ns;
  }
  printf("%f %f", best, l1[0]);
}`;

/** The same loop in C; NaN without a compiler. */
function bareC(t: Trace): number {
  const folder = mkdtempSync(join(tmpdir(), 'quire-bench-'));
  try {
    const [source, program, data] = ['x.c', 'x', 'x.f64'].map((name) => join(folder, name));
    writeFileSync(source, C);
    writeFileSync(data, new Uint8Array(t.address.buffer));
    try {
      execFileSync('gcc', ['-O2', '-march=native', '-o', program, source, '-lm'], { stdio: 'ignore' });
    } catch {
      return Number.NaN;
    }
    return Number.parseFloat(execFileSync(program, [data, String(t.address.length)], { encoding: 'utf8' }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function through(t: Trace, tables: Tables, configs: readonly Cpu[]): Figures {
  const p = pass(configs.map((cpu) => translator(cpu, x86_64)));
  const all = configs.map(() => tables);
  const tops = configs.map(() => tables.top);
  const { address, size, kind } = t;
  const { ns, quietNs } = timed(address.length, (from, to) => {
    if (translate(p, all, tops, address, size, kind, from, to) < to) throw new Error('a fault, and all is mapped');
  });
  settle(p);
  const sum = (n: Float64Array): number => n.reduce((a, b) => a + b, 0);
  const { l1Hits, l2Hits, misses, walkReferences } = p.translators[0].counts;
  const accesses = sum(l1Hits) + sum(l2Hits) + sum(misses);
  return {
    ns,
    quietNs,
    millionPerSecond: 1000 / quietNs,
    l1HitRatio: sum(l1Hits) / accesses,
    missRatio: sum(misses) / accesses,
    walkReferences: sum(walkReferences) / accesses,
  };
}

const x86 = cpus.filter((c) => c.arch === 'x86_64');
const rename = (name: string, f: Figures): Figures =>
  Object.fromEntries(Object.entries(f).map(([key, v]) => [`${name}.${key}`, v]));

export const tlbRuns: Readonly<Record<string, (...args: string[]) => Figures>> = {
  /** One configuration and eight on 32 M accesses from memory. */
  tlbHot() {
    const t = hot(2 ** 25);
    const tables = mapped(t.pages);
    const loop = timed(t.address.length, bare(t));
    const one = through(t, tables, [plain]);
    const eight = through(t, tables, new Array<Cpu>(8).fill(plain));
    const named = through(t, tables, [...x86, plain, plain].slice(0, 8));
    return {
      millionPerSecond: one.millionPerSecond,
      ...rename('one', one),
      'bareJs.ns': loop.quietNs,
      'bareC.ns': bareC(t),
      'eight.quietNs': eight.quietNs,
      'eight/one': eight.quietNs / one.quietNs,
      'eightCpus/one': named.quietNs / one.quietNs,
    };
  },
  /** Any page of 4 GiB: all misses, so all walks. */
  tlbUniform(gib = '4') {
    const t = uniform(2 ** 23, Number(gib));
    const tables = mapped(t.pages);
    const loop = timed(t.address.length, bare(t));
    const one = through(t, tables, [plain]);
    const zen4 = through(t, tables, [cpuNamed('zen4')]);
    return {
      millionPerSecond: one.millionPerSecond,
      ...rename('one', one),
      'bareJs.ns': loop.quietNs,
      'bareC.ns': bareC(t),
      'zen4.quietNs': zen4.quietNs,
    };
  },
  /** Miss curves of all sizes: hot pages, and any of a million. */
  tlbCurves() {
    const near = hot(2 ** 23);
    const far = uniform(2 ** 22, 4);
    const figures: Figures = {};
    for (const [name, t] of Object.entries({ near, far })) {
      const c = stackCurve();
      const { ns } = timed(t.address.length, (from, to) => stackCurveAdd(c, t.address, from, to, 1 / PAGE));
      const s = setCurve(256, 16);
      const sets = timed(t.address.length, (from, to) => setCurveAdd(s, t.address, from, to, 1 / PAGE));
      figures[`${name}.millionPerSecond`] = 1000 / ns;
      figures[`${name}.setsMillionPerSecond`] = 1000 / sets.ns;
      const bytes = [c.keys, c.places, c.hits, c.marks, c.rows, ...c.sums].reduce((n, a) => n + a.byteLength, 0);
      figures[`${name}.bytesPerPage`] = bytes / c.pages;
    }
    return figures;
  },
};
