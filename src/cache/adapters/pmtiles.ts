/** PMTiles archives on the cache, for pmtiles: `new PMTiles(pmtilesSource(open, { key, EtagMismatch }))`. */
import type { EtagMismatch, Source } from 'pmtiles';
import { CacheError } from '../errors.ts';
import { bufferAt, type ReadableFile } from './bytes.ts';

export interface PmtilesOptions {
  /** The archive's name in pmtiles' own cache of directories: one for each archive. */
  readonly key: string;
  /** pmtiles' own class: with it pmtiles is told that the archive changed, forgets its directories and asks again. */
  readonly EtagMismatch: typeof EtagMismatch;
}

export interface PmtilesSource extends Source {
  /** Closes the file. A later read opens it again. */
  close(): Promise<void>;
}

/**
 * The archive as pmtiles reads it. `open` opens it in the cache: for the first read, and again after the object was seen
 * to change. Then the read that noticed rejects with EtagMismatch, pmtiles begins again on the new archive, and its
 * caller sees nothing of it.
 */
export function pmtilesSource(open: () => Promise<ReadableFile>, options: PmtilesOptions): PmtilesSource {
  // pmtiles keeps what it read under the etag that came with it and asks again with it. Each opening has one of its own.
  let opening = 0;
  let file: Promise<ReadableFile> | undefined;

  function opened(): Promise<ReadableFile> {
    if (file !== undefined) return file;
    opening += 1;
    const mine = open();
    file = mine;
    // One that failed is tried again by the next read.
    mine.catch(() => {
      if (file === mine) file = undefined;
    });
    return mine;
  }

  async function close(): Promise<void> {
    const old = file;
    file = undefined;
    await (await old)?.close();
  }

  return {
    getKey: () => options.key,
    async getBytes(offset, length, signal, etag) {
      const from = opened();
      const mine = String(opening);
      if (etag !== undefined && etag !== mine) {
        throw new options.EtagMismatch(`${options.key}: opened again since the directory was read`);
      }
      try {
        return { data: await bufferAt(await from, offset, length, signal), etag: mine };
      } catch (error) {
        if (!(error instanceof CacheError)) throw error;
        // Whoever still waits for the file that another reader left behind is told the same.
        if (file === from) {
          if (error.code !== 'CHANGED') throw error;
          await close().catch(() => undefined);
        }
        throw new options.EtagMismatch(error.message, { cause: error });
      }
    },
    close,
  };
}
