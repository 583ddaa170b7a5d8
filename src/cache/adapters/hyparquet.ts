/** Parquet files on the cache, for hyparquet: `parquetRead({ file: asyncBuffer(file) })`. */
import type { AsyncBuffer } from 'hyparquet';
import { bufferAt, type ReadableFile } from './bytes.ts';

/**
 * The file as hyparquet reads it. Resident bytes are given without a promise. hyparquet has no signal of its own: one
 * given here ends every read of this buffer.
 */
export function asyncBuffer(file: ReadableFile, options: { readonly signal?: AbortSignal } = {}): AsyncBuffer {
  return {
    byteLength: file.size,
    // As Array.slice: from the end where negative, to the end where left out.
    slice: (start, end = file.size) => {
      const from = start < 0 ? Math.max(0, file.size + start) : start;
      const to = end < 0 ? file.size + end : end;
      return bufferAt(file, from, to - from, options.signal);
    },
  };
}
