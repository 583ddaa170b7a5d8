/** Cloud-optimised GeoTIFF on the cache, for @cogeotiff/core: `Tiff.create(cogSource(file, url))`. */
import type { Source } from '@cogeotiff/core';
import { bufferAt, type ReadableFile } from './bytes.ts';

/** The file as @cogeotiff/core reads it. The URL only names it, in messages and keys. */
export function cogSource(file: ReadableFile, url: string | URL): Source {
  return {
    url: new URL(url),
    metadata: { size: file.size },
    fetch: async (offset, length = file.size - offset, options) => bufferAt(file, offset, length, options?.signal),
    close: () => file.close(),
  };
}
