/** A process with a cache that reads and writes in one pattern after the other, for memory.node.test.ts to look at. */

import type { CachedFile } from '../../src/cache/file.ts';
import { PageCache } from '../../src/cache/index.ts';
import type { Source } from '../../src/cache/source.ts';

const SIZE = 2 ** 30;
const buffer = new Uint8Array(65536);

/** Bytes from nowhere: what it costs is the cache's alone. */
function nowhere(now: boolean): Source {
  const fill = (pieces: readonly Uint8Array[], at: number): number => {
    let n = 0;
    for (const piece of pieces) {
      piece.fill(((at + n) / 4096) & 0xff);
      n += piece.length;
    }
    return n;
  };
  return {
    name: 'nowhere',
    hints: { latencyMs: 1, bytesPerSecond: 1e9 },
    open: async () => ({ size: SIZE }),
    read: async (into, at) => fill([into], at),
    readv: async (pieces, at) => fill(pieces, at),
    write: async () => {},
    truncate: async () => {},
    ...(now ? { readSync: (into: Uint8Array, at: number) => fill([into], at) } : {}),
  };
}

let calls = 0;
/** Garbage goes soon: it is none of the cache's, and V8 may let it lie for long. */
function collect(): void {
  if (++calls % 512 === 0) (globalThis as { gc?: () => void }).gc?.();
}

async function patterns(file: CachedFile, span: number): Promise<void> {
  let s = 1;
  const place = (): number => {
    s = (Math.imul(s, 1664525) + 1013904223) | 0;
    return (s >>> 2) % (SIZE - buffer.length);
  };
  const read = async (length: number, at: number): Promise<void> => {
    await file.read(buffer.subarray(0, length), at);
    collect();
  };
  const write = async (length: number, at: number): Promise<void> => {
    await file.write(buffer.subarray(0, length), at);
    collect();
  };
  for (let at = 0; at < span * 3; at += buffer.length) await read(buffer.length, at);
  file.advise('random');
  for (let i = 0; i < 15_000; i++) await read(100, place());
  for (let at = 0; at < SIZE; at += 262_144) await read(1, at);
  file.advise('normal');
  for (let i = 0; i < 3000; i++) await read(i % buffer.length, place());
  for (let i = 0; i < 300; i++) await Promise.all(Array.from({ length: 16 }, () => read(20_000, place())));
  for (let at = 0; at < span * 2; at += buffer.length) await write(buffer.length, at);
  for (let i = 0; i < 4000; i++) await write(777, place());
  await file.punch(span, span >> 1);
  for (let at = 0; at < span * 3; at += buffer.length) await read(buffer.length, at);
  await file.sync();
}

async function run(memory: number): Promise<void> {
  for (const now of [false, true]) {
    const cache = new PageCache({ memory });
    const file = await cache.open(nowhere(now));
    if (memory >= 2 ** 25) await patterns(file, memory);
    else for (let i = 0; i < 2; i++) await patterns(file, 2 ** 24);
    await cache.close();
  }
}

const budget = Number(process.argv[2]);
// First with little memory, so that the code is compiled and the heap is as large as it gets.
await run(4 * 2 ** 20);
const idle = new PageCache({ memory: budget });
// What the little one left must not lie in the measure that the large one is held against, nor be reused by it unseen.
for (let i = 0; i < 4; i++) {
  (globalThis as { gc?: () => void }).gc?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log('idle');
await new Promise((resolve) => process.stdin.once('data', resolve));
for (const now of [false, true]) {
  const file = await idle.open(nowhere(now));
  await patterns(file, budget);
  await file.close();
}
console.log('done');
process.exit();
