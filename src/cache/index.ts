/** The public names of quire-mm/cache. */

export type { FilePicture, FolioPicture, Snapshot } from '../view/snapshot.ts';
export type { BufferMaker } from './cache_bytes.ts';
export { Cursor } from './cursor.ts';
export { CacheError, type CacheErrorCode, type CacheErrorOptions } from './errors.ts';
export { type Advice, CachedFile } from './file.ts';
export { CacheGroup } from './group.ts';
export type { Waiting } from './handle.ts';
export { type CacheOptions, type OpenOptions, PageCache } from './page_cache.ts';
export type { Source, SourceHints } from './source.ts';
export type { CacheStats } from './stats.ts';
export type { StreamRange } from './streams.ts';
export { View } from './view.ts';
