/** The workloads of run.ts: `workloads.ts NAME ARGS…` runs one and prints its figures as JSON. */
import { openSync, readSync } from 'node:fs';
import { Prng } from '../src/base/prng.ts';
import { tableBytes } from '../src/base/table.ts';
import { pageEvents, pageStyleReplay } from '../src/lab/page_calls.ts';
import { Replay } from '../src/lab/replay.ts';
import type { Settings } from '../src/lab/settings.ts';
import type { LayoutName } from '../src/mm/memmap.ts';
import { V } from '../src/mm/vmstat.ts';
import { openTrace } from '../src/trace/detect.ts';
import {
  defaultSettings,
  type Events,
  events,
  OP,
  OPEN_READ,
  OPEN_WRITE,
  PROT_READ,
  PROT_WRITE,
  type TraceSource,
} from '../src/trace/event.ts';
import { usual, zipfRanks } from '../tools/zipf.ts';
import { cacheRuns } from './cache.ts';
import { tlbRuns } from './tlb.ts';

const PAGE = 4096;
const ROOM = 100_000;
const GIB = 2 ** 30;

type Figures = Record<string, number>;

const seconds = (work: () => void): number => {
  const began = performance.now();
  work();
  return (performance.now() - began) / 1000;
};

/** A recording made on the way: the first row opens file 1 as handle 1, then `fill` writes rows until it returns 0. */
function made(size: number, fill: (e: Events) => number): TraceSource {
  const batch = events(1 << 16);
  let opened = false;
  return {
    name: 'bench',
    settings: defaultSettings(),
    files: [{ id: 1, name: 'f1', size }],
    skipped: {},
    next() {
      if (!opened) {
        opened = true;
        batch.op[0] = OP.open;
        batch.id[0] = 1;
        batch.file[0] = 1;
        batch.arg[0] = OPEN_READ | OPEN_WRITE;
        batch.count = 1;
        return batch;
      }
      batch.count = fill(batch);
      return batch.count === 0 ? null : batch;
    },
    close() {},
  };
}

/** `n` rows of one operation on handle 1; `at(i)` is the offset, `length` the bytes. */
function rows(n: number, op: number, length: number, at: (i: number) => number): (e: Events) => number {
  let i = 0;
  return (e) => {
    const count = Math.min(n - i, e.rows);
    for (let k = 0; k < count; k++, i++) {
      e.op[k] = op;
      e.id[k] = 1;
      e.offset[k] = at(i);
      e.length[k] = length;
    }
    return count;
  };
}

/** Host bytes of a machine's tables, the memory map apart. */
function ownBytes(r: Replay): number {
  const { m } = r;
  const states = (r.fs as { states?: { rows: object } }).states;
  const tables: object[] = [
    m.lruvecs,
    m.memcgs,
    m.spaces,
    m.files,
    m.pages.nodes,
    m.zones.zone,
    m.zones.area,
    m.zones.pcp,
  ];
  if (states !== undefined) tables.push(states.rows);
  return tables.reduce((sum, t) => sum + tableBytes(t), m.zones.blocks.byteLength);
}

function timed(source: TraceSource, set: Settings, pagesEach: number): Figures {
  const r = new Replay(source, set);
  const took = seconds(() => r.run());
  return { millionPerSecond: (r.ops * pagesEach) / took / 1e6, operationsPerSecond: r.ops / took };
}

export const runs: Readonly<Record<string, (...args: string[]) => Figures>> = {
  /** Strict LRU on typed arrays over the same file: what one core here can do with so many objects. */
  bareLru(path) {
    const n = usual.objects;
    const next = new Int32Array(n);
    const prev = new Int32Array(n);
    const held = new Uint8Array(n);
    const chunk = new Int32Array(6 << 16);
    const bytes = new Uint8Array(chunk.buffer);
    const fd = openSync(path as string, 'r');
    let head = -1;
    let tail = -1;
    let size = 0;
    let misses = 0;
    let requests = 0;
    const took = seconds(() => {
      for (let got = readSync(fd, bytes); got > 0; got = readSync(fd, bytes)) {
        for (let w = 1; w < got >> 2; w += 6) {
          const id = chunk[w];
          requests++;
          if (held[id] === 1) {
            if (head === id) continue;
            const p = prev[id];
            const q = next[id];
            next[p] = q;
            if (q >= 0) prev[q] = p;
            else tail = p;
          } else {
            misses++;
            if (size === ROOM) {
              held[tail] = 0;
              tail = prev[tail];
              next[tail] = -1;
            } else size++;
            held[id] = 1;
          }
          next[id] = head;
          if (head >= 0) prev[head] = id;
          else tail = id;
          head = id;
        }
      }
    });
    return { millionPerSecond: requests / took / 1e6, missRatio: misses / requests };
  },
  zipf(path) {
    const source = openTrace(path as string);
    const r = new Replay(source, { memcg: ROOM * PAGE });
    const took = seconds(() => r.run());
    source.close();
    const rss = process.memoryUsage().rss / 2 ** 20;
    return {
      millionPerSecond: r.ops / took / 1e6,
      missRatio: r.device.reads / r.ops,
      ownBytesPerPage: ownBytes(r) / usual.objects,
      rssMiB: rss,
    };
  },
  /** The same on a layout of the memory map. */
  zipfLayout(path, memmap) {
    const source = openTrace(path as string);
    const r = new Replay(source, { memcg: ROOM * PAGE, memmap: memmap as LayoutName });
    const took = seconds(() => r.run());
    source.close();
    return { millionPerSecond: r.ops / took / 1e6 };
  },
  /** Events seen page by page; `pages`: each page asks for its head as often as page functions do, else nobody does. */
  pageStyle(path, memmap, way) {
    const source = openTrace(path as string);
    const set = { memcg: ROOM * PAGE, memmap: memmap as LayoutName };
    const asked =
      way === 'pages' ? pageStyleReplay(source, set) : { ...pageEvents(source, set, () => {}), calls: () => 0 };
    const took = seconds(() => asked.replay.run());
    source.close();
    return { millionPerSecond: asked.replay.ops / took / 1e6, compoundHeads: asked.calls() };
  },
  sequential: () =>
    timed(
      made(
        4 * GIB,
        rows(1 << 20, OP.read, PAGE, () => 0),
      ),
      { memcg: GIB / 4 },
      1,
    ),
  append: () =>
    timed(
      made(
        0,
        rows(1 << 15, OP.write, 16 * PAGE, () => 0),
      ),
      {},
      16,
    ),
  overwrite() {
    const ranks = zipfRanks({ ...usual, objects: 1 << 18, requests: 1 << 21 });
    return timed(
      made(
        GIB,
        rows(1 << 21, OP.pwrite, PAGE, (i) => (ranks[i] as number) * PAGE),
      ),
      {},
      1,
    );
  },
  program(path) {
    const source = openTrace(path as string);
    const r = new Replay(source, {});
    const took = seconds(() => r.run());
    source.close();
    const reader = openTrace(path as string);
    let count = 0;
    const read = seconds(() => {
      for (let e = reader.next(); e !== null; e = reader.next()) count += e.count;
    });
    reader.close();
    return { operationsPerSecond: r.ops / took, readingAlonePerSecond: count / read };
  },
  /** `millions` of random reads: does anything grow with the number of operations? */
  operations(millions) {
    const n = Number(millions) * 1e6;
    const ranks = zipfRanks({ ...usual, requests: 1 << 22 });
    const r = new Replay(
      made(
        usual.objects * PAGE,
        rows(n, OP.pread, PAGE, (i) => (ranks[i & ((1 << 22) - 1)] as number) * PAGE),
      ),
      {
        memcg: ROOM * PAGE,
      },
    );
    const took = seconds(() => r.run());
    return {
      millionPerSecond: n / took / 1e6,
      ownBytesPerPage: ownBytes(r) / usual.objects,
      treeNodes: r.m.pages.used,
      rssMiB: process.memoryUsage().rss / 2 ** 20,
    };
  },
  /** Random stores all over so many GiB of anonymous memory, in huge pages: 1024 are a machine of 1 TiB, filled. */
  huge(gib) {
    const bytes = Number(gib) * GIB;
    const r = new Prng(1);
    const all = bytes / 2 ** 21;
    const touches = 4 * all;
    let i = -1;
    const batch = events(1 << 16);
    const source: TraceSource = {
      name: 'bench',
      settings: { ...defaultSettings(), thp: { '2048kB': 'always' } },
      files: [],
      skipped: {},
      next() {
        batch.count = 0;
        while (batch.count < batch.rows && i < touches) {
          const k = batch.count++;
          batch.id[k] = 1;
          batch.file[k] = -1;
          batch.at[k] = 0;
          batch.op[k] = i < 0 ? OP.mmap : OP.touch;
          batch.arg[k] = i < 0 ? PROT_READ | PROT_WRITE : 1;
          batch.offset[k] = i < 0 ? 0 : r.below(bytes / PAGE) * PAGE;
          batch.length[k] = i < 0 ? bytes : PAGE;
          i++;
        }
        return batch.count === 0 ? null : batch;
      },
      close() {},
    };
    const before = process.memoryUsage().rss;
    // Room for the page tables beside it is in the machine, so a few huge pages less are left than the range has.
    const replay = new Replay(source, { memory: bytes });
    const took = seconds(() => replay.run());
    const alloc = replay.m.vmstat[V.thp_fault_alloc] as number;
    return {
      millionPerSecond: touches / took / 1e6,
      hugePages: alloc,
      fallbacks: replay.m.vmstat[V.thp_fault_fallback] as number,
      mappedGiB: (alloc * 2 ** 21) / GIB,
      rssMiB: (process.memoryUsage().rss - before) / 2 ** 20,
      mostMiB: process.resourceUsage().maxRSS / 1024,
    };
  },
  /** A machine of so many GiB: what it costs to have one, and to read 256 MiB through it. */
  memory(gib) {
    const before = process.memoryUsage().rss;
    let r: Replay | undefined;
    const source = made(
      GIB / 4,
      rows(1 << 16, OP.read, PAGE, () => 0),
    );
    const makeSeconds = seconds(() => {
      r = new Replay(source, { memory: Number(gib) * GIB });
    });
    const made_ = process.memoryUsage().rss;
    const runSeconds = seconds(() => (r as Replay).run());
    const mib = (bytes: number): number => bytes / 2 ** 20;
    return {
      makeMs: makeSeconds * 1000,
      makeMiB: mib(made_ - before),
      runMs: runSeconds * 1000,
      runMiB: mib(process.memoryUsage().rss - made_),
    };
  },
};

/** These load what the others need not. */
async function sqliteRuns(workload: string) {
  if (workload === 'sqlite') return (await import('./sqlite.ts')).sqlite;
  if (workload === 'sqliteOpfs') return (await import('./sqlite_opfs.ts')).sqliteOpfs;
  return undefined;
}

const [name, ...args] = process.argv.slice(2);
if (process.argv[1]?.endsWith('workloads.ts') && name !== undefined) {
  const run = runs[name] ?? tlbRuns[name];
  const later = (await sqliteRuns(name)) ?? cacheRuns[name];
  if (run !== undefined) console.log(JSON.stringify(run(...args)));
  else if (later !== undefined) console.log(JSON.stringify(await later(...(args as [string]))));
  else throw new Error(`no workload '${name}'`);
}
