/** What the adapters need of a cached file, and the one way in which they take bytes from it. */

/** The part of a CachedFile that adapters of readers use. */
export interface ReadableFile {
  readonly size: number;
  read(into: Uint8Array, at: number, options?: { readonly signal?: AbortSignal }): number | Promise<number>;
  close(): Promise<void>;
}

/**
 * Bytes `at` to `at + length` in an array that the caller owns, fewer where the file ends before. At once, without a
 * promise, where the bytes are resident. An abort rejects with the signal's reason, as hosts expect of a fetch.
 */
export function bytesAt(
  file: ReadableFile,
  at: number,
  length: number,
  signal?: AbortSignal,
): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
  signal?.throwIfAborted();
  // Not more than there is: the length may come from a broken file.
  const into = new Uint8Array(Math.max(0, Math.min(length, file.size - at)));
  if (into.length === 0) return into;
  const filled = file.read(into, at, signal === undefined ? {} : { signal });
  if (typeof filled === 'number') return cut(into, filled);
  return filled.then(
    (n) => cut(into, n),
    (error: unknown) => {
      throw signal?.aborted === true ? signal.reason : error;
    },
  );
}

/** The same as an ArrayBuffer of exactly those bytes. */
export function bufferAt(
  file: ReadableFile,
  at: number,
  length: number,
  signal?: AbortSignal,
): ArrayBuffer | Promise<ArrayBuffer> {
  const bytes = bytesAt(file, at, length, signal);
  return bytes instanceof Uint8Array ? bytes.buffer : bytes.then((b) => b.buffer);
}

const cut = (bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> =>
  length === bytes.length ? bytes : bytes.slice(0, length);
