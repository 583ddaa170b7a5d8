/**
 * Zarr on the cache, for zarrita: `zarr.open(zarrStore(open), { kind: 'array' })`. Each key of a store is a file of the
 * cache, opened when it is first asked for and kept open with what is resident of it; a sharded array is few large files,
 * of which zarrita asks for ranges, and gains most.
 */
import type { AbsolutePath, AsyncReadable, RangeQuery } from 'zarrita';
import { bytesAt, type ReadableFile } from './bytes.ts';

/** Keys held open at once: each may be a descriptor of the host. The one that was not asked for longest is closed. */
const OPEN_MAX = 256;

export interface ZarrStore extends AsyncReadable {
  getRange: NonNullable<AsyncReadable['getRange']>;
  /** Closes the files of every key. */
  close(): Promise<void>;
}

interface Entry {
  readonly key: AbsolutePath;
  readonly file: Promise<ReadableFile | undefined>;
  /** Reads under way; the file is closed under none. */
  readers: number;
  /** No longer found by its key: closed after its last reader. */
  gone: boolean;
}

/**
 * A store whose keys are opened by `open`, which answers undefined where the store has no such key. That answer is not
 * remembered: a key may be written later. `open` must not stop for the signal of one reader: others may wait for it too.
 */
export function zarrStore(open: (key: AbsolutePath) => Promise<ReadableFile | undefined>): ZarrStore {
  // In the order of their last use: a Map keeps the order of insertion.
  const entries = new Map<AbsolutePath, Entry>();

  function entryOf(key: AbsolutePath): Entry {
    const entry = entries.get(key) ?? { key, file: open(key), readers: 0, gone: false };
    entries.delete(key);
    entries.set(key, entry);
    return entry;
  }

  async function drop(entry: Entry): Promise<void> {
    if (entries.get(entry.key) === entry) entries.delete(entry.key);
    entry.gone = true;
    if (entry.readers > 0) return;
    // One that could not be opened has told its readers.
    const file = await entry.file.catch(() => undefined);
    await file?.close();
  }

  async function bytes(entry: Entry, range: RangeQuery | undefined, signal: AbortSignal | undefined) {
    const file = await entry.file;
    if (file === undefined) return undefined;
    if (range === undefined) return bytesAt(file, 0, file.size, signal);
    if ('offset' in range) return bytesAt(file, range.offset, range.length, signal);
    const length = Math.min(range.suffixLength, file.size);
    return bytesAt(file, file.size - length, length, signal);
  }

  async function read(key: AbsolutePath, range: RangeQuery | undefined, signal: AbortSignal | undefined) {
    signal?.throwIfAborted();
    const entry = entryOf(key);
    entry.readers += 1;
    let good = false;
    try {
      const found = await bytes(entry, range, signal);
      good = found !== undefined;
      return found;
    } catch (error) {
      // An abort says nothing of the file.
      good = signal?.aborted === true;
      throw error;
    } finally {
      entry.readers -= 1;
      if (!good || entry.gone) await drop(entry);
      for (const oldest of entries.values()) {
        if (entries.size <= OPEN_MAX) break;
        if (oldest.readers === 0) await drop(oldest);
      }
    }
  }

  return {
    get: (key, options) => read(key, undefined, options?.signal),
    getRange: (key, range, options) => read(key, range, options?.signal),
    async close() {
      await Promise.all([...entries.values()].map(drop));
    },
  };
}
