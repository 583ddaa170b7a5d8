/** GeoTIFF on the cache, for geotiff: `GeoTIFF.fromSource(geotiffSource(file))`. */
import type { GeoTIFF } from 'geotiff';
import { bufferAt, type ReadableFile } from './bytes.ts';

/** What geotiff calls a BaseSource. The package does not export the name. */
export type GeotiffSource = Parameters<typeof GeoTIFF.fromSource>[0];

interface Slice {
  readonly offset: number;
  readonly length: number;
}

/** The file as geotiff reads it: in place of its BlockedSource, whose 64 KiB blocks the cache makes needless. */
export function geotiffSource(file: ReadableFile): GeotiffSource {
  const fetchSlice = async ({ offset, length }: Slice, signal?: AbortSignal) => ({
    offset,
    length,
    data: await bufferAt(file, offset, length, signal),
  });
  return {
    fetchSlice,
    // All are asked for before the first is awaited, so that neighbours become one request.
    fetch: async (slices: readonly Slice[], signal?: AbortSignal) =>
      (await Promise.all(slices.map((slice) => fetchSlice(slice, signal)))).map((slice) => slice.data),
    get fileSize() {
      return file.size;
    },
    close: () => file.close(),
  };
}
