/** The sources that need nothing but what browsers and Node both have. Local files are in `quire-mm/cache/node`. */
export { blobSource } from './blob.ts';
export { type Fetch, type HttpOptions, httpSource } from './http.ts';
export { type MemorySource, memorySource } from './memory.ts';
export { type OpfsHandle, type OpfsOptions, opfsSource } from './opfs.ts';
export { type S3Options, type Signer, s3Source } from './s3.ts';
