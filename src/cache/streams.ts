/** Files as streams of the platform: reading pulls, writing waits for the dirty limit. */
import { CacheError } from './errors.ts';
import type { CachedFile } from './file.ts';
import type { Waiting } from './handle.ts';

export interface StreamRange extends Waiting {
  /** First byte; 0. */
  readonly start?: number;
  /** Byte past the last one; the end of the file. */
  readonly end?: number;
}

const CHUNK_BYTES = 65536;

export function readable(file: CachedFile, range: StreamRange = {}): ReadableStream<Uint8Array> {
  const { start = 0, end = Number.POSITIVE_INFINITY, signal } = range;
  check(file, start);
  if (end !== Number.POSITIVE_INFINITY) check(file, end);
  let at = start;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const chunk = new Uint8Array(Math.max(0, Math.min(CHUNK_BYTES, Math.min(end, file.size) - at)));
      const n = await file.read(chunk, at, { signal });
      at += n;
      if (n > 0) controller.enqueue(n === chunk.length ? chunk : chunk.subarray(0, n));
      if (n === 0 || at >= end) controller.close();
    },
  });
}

export function writable(file: CachedFile, range: StreamRange = {}): WritableStream<Uint8Array> {
  const { start = 0, signal } = range;
  check(file, start);
  let at = start;
  return new WritableStream<Uint8Array>({
    async write(chunk) {
      await file.write(chunk, at, { signal });
      at += chunk.length;
    },
    async close() {
      await file.sync({ signal });
    },
  });
}

function check({ name }: CachedFile, at: number): void {
  if (Number.isSafeInteger(at) && at >= 0) return;
  throw new CacheError('INVALID_OFFSET', `${name}: ${at}: expected a whole number of bytes`, { source: name, at });
}
