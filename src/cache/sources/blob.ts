/**
 * A Blob, or a File that the user chose. Read only: a Blob never changes. A File on disk can: browsers then refuse to read
 * it, which is CacheError CHANGED. In a worker of a browser misses are synchronous.
 */
import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';
import { aborted, checkSignal, shortRead, sourceError } from './checks.ts';
import { lengthOf, scatter } from './pieces.ts';

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
  const readv = async (pieces: readonly Uint8Array[], at: number, signal?: AbortSignal): Promise<number> => {
    checkSignal(name, signal, at);
    try {
      const got = await readBlob(name, blob, pieces, at);
      if (signal?.aborted) throw aborted(name, signal, at);
      return got;
    } catch (error) {
      throw blobError(name, error, at);
    }
  };
  const source: Source = {
    name,
    hints: { latencyMs: 0.3, bytesPerSecond: 1e9, parallel: 4, maxRequest: REQUEST_MAX },
    async open(signal) {
      checkSignal(name, signal);
      return { size: blob.size };
    },
    read: (into, at, signal) => readv([into], at, signal),
    readv,
  };
  const Reader = syncReader();
  if (Reader === undefined) return source;
  const readvSync = (pieces: readonly Uint8Array[], at: number): number => {
    const part = partOf(blob, pieces, at);
    try {
      return fillFrom(name, new Reader().readAsArrayBuffer(part), part.size, pieces, at);
    } catch (error) {
      throw blobError(name, error, at);
    }
  };
  return {
    ...source,
    openSync: () => ({ size: blob.size }),
    readSync: (into, at) => readvSync([into], at),
    readvSync,
    closeSync() {},
  };
}

/** Fills the pieces from byte `at` of a Blob; the browser's own error when it cannot be read. */
export async function readBlob(name: string, blob: Blob, pieces: readonly Uint8Array[], at: number): Promise<number> {
  const part = partOf(blob, pieces, at);
  return fillFrom(name, await part.arrayBuffer(), part.size, pieces, at);
}

const partOf = (blob: Blob, pieces: readonly Uint8Array[], at: number): Blob =>
  blob.slice(at, Math.max(at, Math.min(at + lengthOf(pieces), blob.size)));

function fillFrom(name: string, bytes: ArrayBuffer, wanted: number, pieces: readonly Uint8Array[], at: number): number {
  if (bytes.byteLength !== wanted) throw shortRead(name, at, bytes.byteLength, wanted);
  return scatter(new Uint8Array(bytes), pieces);
}

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
