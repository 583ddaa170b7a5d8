/** What the cache offers on Node alone. */
export { type FileOptions, fileSource } from './file.ts';
export { fileFolder } from './folder.ts';
export { hugePages } from './huge_pages.ts';
