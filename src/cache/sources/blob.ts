/**
 * A Blob, or a File that the user chose. Read only: a Blob never changes. A File on disk can: browsers then refuse to read
 * it, which is CacheError CHANGED. In a worker of a browser misses are synchronous.
 */
import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';
import { aborted, checkSignal, shortRead, sourceError } from './checks.ts';

/** A request is held once more by the browser while it is copied: this bounds that copy. */
const REQUEST_MAX = 1 << 20;

/** Of the browsers' workers; no type library of ours has it beside Node. */
interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
const syncReader = (): (new () => SyncReader) | undefined =>
  (globalThis as { FileReaderSync?: new () => SyncReader }).FileReaderSync;

export function blobSource(blob: Blob, options: { readonly name?: string } = {}): Source {
  const fileName = (blob as { name?: unknown }).name;
  const name = options.name ?? (typeof fileName === 'string' ? fileName : 'blob');
  const copy = (bytes: ArrayBuffer, into: Uint8Array, at: number): number => {
    const wanted = wantedAt(blob, into, at);
    if (bytes.byteLength !== wanted) throw shortRead(name, at, bytes.byteLength, wanted);
    into.set(new Uint8Array(bytes));
    return wanted;
  };
  const source: Source = {
    name,
    hints: { latencyMs: 0.3, bytesPerSecond: 1e9, parallel: 4, maxRequest: REQUEST_MAX },
    async open(signal) {
      checkSignal(name, signal);
      return { size: blob.size };
    },
    async read(into, at, signal) {
      checkSignal(name, signal, at);
      try {
        const bytes = await blob.slice(at, at + wantedAt(blob, into, at)).arrayBuffer();
        if (signal?.aborted) throw aborted(name, signal, at);
        return copy(bytes, into, at);
      } catch (error) {
        throw blobError(name, error, at);
      }
    },
  };
  const Reader = syncReader();
  if (Reader === undefined) return source;
  return {
    ...source,
    openSync: () => ({ size: blob.size }),
    readSync(into, at) {
      try {
        return copy(new Reader().readAsArrayBuffer(blob.slice(at, at + wantedAt(blob, into, at))), into, at);
      } catch (error) {
        throw blobError(name, error, at);
      }
    },
  };
}

const wantedAt = (blob: Blob, into: Uint8Array, at: number): number =>
  Math.max(0, Math.min(into.length, blob.size - at));

/** What a failed read of a Blob means. */
export function blobError(name: string, error: unknown, at: number): CacheError {
  if (error instanceof CacheError) return error;
  if (error instanceof Error && error.name === 'NotReadableError')
    return new CacheError('CHANGED', `${name}: the file changed or can no longer be read`, {
      source: name,
      at,
      cause: error,
    });
  return sourceError(name, error, at);
}
