/** Zip archives on the cache, for @zip.js/zip.js: `new ZipReader(zipReader(file))`. */
import type { CreateReadableOptions, ReadableReader, Reader } from '@zip.js/zip.js';
import { bytesAt, type ReadableFile } from './bytes.ts';

/** What zip.js needs of a Reader, without its class. */
export type ZipFileReader = ReadableReader & Pick<Reader<unknown>, 'size' | 'readUint8Array' | 'createReadable'>;

const PIECE = 256 * 1024;

/** The file as zip.js reads it. zip.js gives its readers no signal: one given here ends every read of this reader. */
export function zipReader(file: ReadableFile, options: { readonly signal?: AbortSignal } = {}): ZipFileReader {
  const readUint8Array = async (index: number, length: number) => bytesAt(file, index, length, options.signal);

  function createReadable({ offset = 0, size = file.size - offset, chunkSize = PIECE }: CreateReadableOptions = {}) {
    const end = Math.min(file.size, offset + size);
    let at = offset;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        const bytes = await readUint8Array(at, Math.min(chunkSize, end - at));
        at += bytes.length;
        if (bytes.length > 0) controller.enqueue(bytes);
        if (at >= end || bytes.length === 0) controller.close();
      },
    });
  }
  return {
    size: file.size,
    readUint8Array,
    createReadable,
    get readable() {
      return createReadable();
    },
  };
}
