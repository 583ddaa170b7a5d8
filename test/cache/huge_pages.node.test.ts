/** A cache in huge pages: as any other, and the kernel says that it has them. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CacheError } from '../../src/cache/errors.ts';
import { PageCache } from '../../src/cache/index.ts';
import { hugePages } from '../../src/cache/node/index.ts';
import { memorySource } from '../../src/cache/sources/memory.ts';

const ENABLED = '/sys/kernel/mm/transparent_hugepage/enabled';
const MIB = 2 ** 20;

const given = existsSync(ENABLED) && !readFileSync(ENABLED, 'utf8').includes('[never]');
const hugeKiB = (): number =>
  Number(/^AnonHugePages:\s+(\d+)/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1]);

test('the bytes are right, and lie in huge pages where there are some; else that is said', async () => {
  if (!given) {
    await expect(hugePages()).rejects.toThrow(CacheError);
    return;
  }
  const bytes = Uint8Array.from({ length: 24 * MIB }, (_, i) => (i * 31 + (i >>> 12)) & 255);
  const before = hugeKiB();
  const cache = new PageCache({ memory: '40MiB', buffer: await hugePages() });
  const file = await cache.open(memorySource(bytes));
  const into = new Uint8Array(100_000);
  for (let at = 0; at + into.length <= bytes.length; at += into.length) {
    await file.read(into, at);
    expect(Buffer.compare(into, bytes.subarray(at, at + into.length))).toBe(0);
  }
  using view = await file.view(5 * MIB + 7, 3000);
  expect(Buffer.compare(view.bytes, bytes.subarray(5 * MIB + 7, 5 * MIB + 3007))).toBe(0);
  // The kernel gives what it has: some of it, at least.
  expect(hugeKiB() - before).toBeGreaterThan(4096);
  await cache.close();
});
