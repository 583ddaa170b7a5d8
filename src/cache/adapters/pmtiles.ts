/** PMTiles archives on the cache, for pmtiles: `new PMTiles(pmtilesSource(file, { key, EtagMismatch }))`. */
import type { EtagMismatch, Source } from 'pmtiles';
import { CacheError } from '../errors.ts';
import { bufferAt, type ReadableFile } from './bytes.ts';

export interface PmtilesOptions {
  /** The archive's name in pmtiles' own cache of directories: one for each archive. */
  readonly key: string;
  /** pmtiles' own class: an archive that changed is told with it, and pmtiles forgets its directories. */
  readonly EtagMismatch: typeof EtagMismatch;
  /** Opens the archive again after it changed, so that pmtiles' second attempt reads the new one. */
  readonly reopen?: () => Promise<ReadableFile>;
}

/**
 * The archive as pmtiles reads it. When the object under the file changes, the read that notices rejects with
 * EtagMismatch; with `reopen`, pmtiles then begins again on the new archive and its caller sees nothing of it.
 */
export function pmtilesSource(file: ReadableFile, options: PmtilesOptions): Source {
  // pmtiles keeps what it read under the etag that came with it, and asks again with it. Each opening has one of its own.
  let opening = 1;
  let now: Promise<ReadableFile> = Promise.resolve(file);

  function changed(cause: CacheError, seen: number): never {
    if (seen === opening && options.reopen !== undefined) {
      const old = now;
      const { reopen } = options;
      opening += 1;
      now = old.then((stale) => stale.close()).then(reopen, reopen);
      now.catch(() => undefined);
    }
    throw new options.EtagMismatch(cause.message, { cause });
  }

  return {
    getKey: () => options.key,
    getBytes: async (offset, length, signal, etag) => {
      const mine = opening;
      if (etag !== undefined && etag !== String(mine)) {
        throw new options.EtagMismatch(`${options.key} was opened again since this part of it was read`);
      }
      try {
        const data = await bufferAt(await now, offset, length, signal);
        return { data, etag: String(mine) };
      } catch (error) {
        if (error instanceof CacheError && error.code === 'CHANGED') changed(error, mine);
        throw error;
      }
    },
  };
}
