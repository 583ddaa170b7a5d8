/**
 * Resident bytes: reads of 4 KiB at random from a file that is wholly cached, beside what else would answer them in the same
 * run: fs.readSync (the kernel's page cache), an LRU of 64 KiB blocks (lru-cache) with a copy, and the bare loop: a lookup in
 * a typed array and a copy. Contenders take turns, and each figure is the median of its turns. The cache is the built one
 * (npm run build), as programs have it.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { PageCache } from 'quire-mm/cache';
import { fileSource, hugePages } from 'quire-mm/cache/node';

const PAGE = 4096;
const BLOCK = 65536;
const MIB = 2 ** 20;
/** Many short ones: what else the machine does falls into a few of them. */
const TURNS = 101;

type Figures = Record<string, number>;
type Contender = (n: number) => void;

/** ns of one call, by contender. */
function takeTurns(contenders: Readonly<Record<string, Contender>>, calls: number): Figures {
  const times: Record<string, number[]> = {};
  for (const name of Object.keys(contenders)) times[name] = [];
  for (let turn = -TURNS >> 2; turn < TURNS; turn++)
    for (const [name, work] of Object.entries(contenders)) {
      const began = performance.now();
      work(calls);
      const ns = ((performance.now() - began) * 1e6) / calls;
      if (turn >= 0) times[name]?.push(ns);
    }
  return Object.fromEntries(
    Object.entries(times).map(([name, all]) => [name, all.sort((a, b) => a - b)[all.length >> 1] as number]),
  );
}

/** Places of pages, the same for everybody: a generator costs less than a table that has to be fetched. */
function places(pages: number): () => number {
  let s = 1;
  const mask = pages - 1;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >>> 7) & mask;
  };
}

let seen = 0;

/** The figures for a file of so many MiB. */
async function reads(mib: number): Promise<Figures> {
  const dir = mkdtempSync(join(tmpdir(), 'quire-bench-'));
  try {
    const path = join(dir, 'file');
    const size = mib * MIB;
    const pages = size / PAGE;
    const all = new Uint8Array(size);
    for (let i = 0; i < size; i++) all[i] = (i * 31 + (i >>> 12)) & 0xff;
    const out = openSync(path, 'w');
    for (let at = 0; at < size; at += MIB) writeSync(out, all, at, MIB);
    closeSync(out);
    const fd = openSync(path, 'r');

    const cache = new PageCache({ memory: Math.ceil(size * 1.15) + 8 * MIB });
    const file = await cache.open(fileSource(path));
    const into = new Uint8Array(PAGE);
    await file.prefetch(0, size);
    const cursor = file.cursor();
    const hugeCache = new PageCache({ memory: Math.ceil(size * 1.15) + 8 * MIB, buffer: await hugePages() });
    const huge = await hugeCache.open(fileSource(path));
    await huge.prefetch(0, size);

    // The bare loop: frames by page, shuffled by a fixed stride.
    const frames = new Int32Array(pages).map((_, i) => Math.imul(i, 0x9e3779b1) & (pages - 1));
    const blocks = new LRUCache<number, Uint8Array>({ max: size / BLOCK });
    for (let b = 0; b < size / BLOCK; b++) blocks.set(b, all.slice(b * BLOCK, (b + 1) * BLOCK));

    const next = places(pages);
    const calls = 5000;
    const copies = takeTurns(
      {
        quire: (n) => {
          for (let i = 0; i < n; i++) void file.read(into, next() * PAGE);
        },
        quireHuge: (n) => {
          for (let i = 0; i < n; i++) void huge.read(into, next() * PAGE);
        },
        readSync: (n) => {
          for (let i = 0; i < n; i++) readSync(fd, into, 0, PAGE, next() * PAGE);
        },
        bare: (n) => {
          for (let i = 0; i < n; i++) {
            const at = (frames[next()] as number) * PAGE;
            into.set(all.subarray(at, at + PAGE));
          }
        },
        lruCache64k: (n) => {
          for (let i = 0; i < n; i++) {
            const at = next() * PAGE;
            const block = blocks.get(Math.floor(at / BLOCK)) as Uint8Array;
            into.set(block.subarray(at % BLOCK, (at % BLOCK) + PAGE));
          }
        },
      },
      calls,
    );
    const looks = takeTurns(
      {
        cursor: (n) => {
          for (let i = 0; i < n; i++) if (cursor.seek(next() * PAGE)) seen ^= cursor.offset;
        },
        cursorByte: (n) => {
          for (let i = 0; i < n; i++) if (cursor.seek(next() * PAGE)) seen ^= cursor.bytes[cursor.offset] as number;
        },
        bareByte: (n) => {
          for (let i = 0; i < n; i++) seen ^= all[(frames[next()] as number) * PAGE] as number;
        },
        view: (n) => {
          for (let i = 0; i < n; i++) {
            const view = file.view(next() * PAGE, PAGE);
            if (view instanceof Promise) throw new Error('not resident');
            seen ^= view.bytes.byteOffset;
            view[Symbol.dispose]();
          }
        },
      },
      calls * 5,
    );
    const large = await sequential(path, size, all);
    if (seen === 0.5) console.log(seen);
    await cache.close();
    await hugeCache.close();
    closeSync(fd);
    const { quire = 0, quireHuge = 0, readSync: peer = 0, bare = 0, lruCache64k = 0 } = copies;
    return {
      ...copies,
      'x readSync': peer / quire,
      'x bare': bare / quire,
      'x lruCache64k': lruCache64k / quire,
      'huge x readSync': peer / quireHuge,
      'huge x bare': bare / quireHuge,
      'huge x lruCache64k': lruCache64k / quireHuge,
      cursorMillions: 1000 / (looks.cursor as number),
      cursorByteMillions: 1000 / (looks.cursorByte as number),
      bareByteMillions: 1000 / (looks.bareByte as number),
      viewMillions: 1000 / (looks.view as number),
      ...large,
    };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** 1 MiB at a time from front to back, all resident, beside a copy from memory of the same size. */
async function sequential(path: string, size: number, all: Uint8Array): Promise<Figures> {
  const cache = new PageCache({ memory: Math.ceil(size * 1.15) + 8 * MIB });
  const file = await cache.open(fileSource(path));
  const into = new Uint8Array(MIB);
  for (let at = 0; at < size; at += MIB) await file.read(into, at);
  let at = 0;
  const times = takeTurns(
    {
      quire: (n) => {
        for (let i = 0; i < n; i++) {
          void file.read(into, at);
          at = at + MIB === size ? 0 : at + MIB;
        }
      },
      memcpy: (n) => {
        for (let i = 0; i < n; i++) {
          into.set(all.subarray(at, at + MIB));
          at = at + MIB === size ? 0 : at + MIB;
        }
      },
    },
    32,
  );
  await cache.close();
  const { quire = 0, memcpy = 0 } = times;
  return { sequentialGBs: MIB / quire, memcpyGBs: MIB / memcpy, 'x memcpy': memcpy / quire };
}

export const cacheRuns: Readonly<Record<string, (...args: string[]) => Promise<Figures>>> = {
  cacheReads: (mib) => reads(Number(mib)),
};
