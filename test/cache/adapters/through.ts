/** Bytes behind a cache, as adapters' tests want them: from a source that answers later, counts, and can be told to fail. */
import { expect } from 'vitest';
import type { CachedFile } from '../../../src/cache/file.ts';
import { PageCache } from '../../../src/cache/page_cache.ts';
import type { Source, SourceHints } from '../../../src/cache/source.ts';
import { memorySource } from '../../../src/cache/sources/memory.ts';

export interface Remote extends Source {
  /** Requests that were sent to it. */
  requests: number;
  /** Requests that ended by their signal. */
  aborted: number;
  /** What every request from now on fails with. */
  failure: Error | undefined;
  closed: boolean;
}

/** Like an object far away: no synchronous methods, and each answer comes after the current turn. */
export function remote(bytes: Uint8Array, name = 'remote', hints: SourceHints = {}): Remote {
  const memory = memorySource(bytes, { name, readOnly: true });
  const later = (signal: AbortSignal | undefined): Promise<void> =>
    new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        source.aborted += 1;
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, 1);
      signal?.addEventListener('abort', stop, { once: true });
    });
  const source: Remote = {
    name,
    hints,
    requests: 0,
    aborted: 0,
    failure: undefined,
    closed: false,
    open: (signal) => memory.open(signal),
    async read(into, at, signal) {
      source.requests += 1;
      await later(signal);
      if (source.failure !== undefined) throw source.failure;
      return memory.read(into, at, signal);
    },
    async close() {
      source.closed = true;
    },
  };
  return source;
}

export interface Through extends AsyncDisposable {
  readonly cache: PageCache;
  readonly file: CachedFile;
  readonly source: Remote;
}

/** Hardly more than the least budget there is. */
export const SMALL = '1280KiB';

/** `bytes` opened through a cache of their own. */
export async function through(bytes: Uint8Array, memory: string | number = SMALL): Promise<Through> {
  const cache = new PageCache({ memory });
  const source = remote(bytes);
  const file = await cache.open(source);
  return { cache, file, source, [Symbol.asyncDispose]: () => cache.close() };
}

/** Bytes that say where they are, so that one read from the wrong place is seen. */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let word = seed >>> 0;
  for (let i = 0; i < length; i++) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    bytes[i] = word >>> 24;
  }
  return bytes;
}

/** The same bytes. vitest's own comparison takes a second for a megabyte. */
export function expectBytes(got: Uint8Array | ArrayBuffer | undefined, wanted: Uint8Array, what = 'bytes'): void {
  const bytes = got instanceof ArrayBuffer ? new Uint8Array(got) : got;
  expect(bytes?.length, what).toBe(wanted.length);
  const at = wanted.findIndex((byte, i) => byte !== bytes?.[i]);
  expect(at, `${what}: the first byte that differs`).toBe(-1);
}
