// The first strip of a TIFF, read by @cogeotiff/core through the cache.
import { Tiff } from '@cogeotiff/core';
import { writeArrayBuffer } from 'geotiff';
import { PageCache } from 'quire-mm/cache';
import { cogSource } from 'quire-mm/cache/adapters/cogeotiff';
import { memorySource } from 'quire-mm/cache/sources';

const written = writeArrayBuffer(
  Uint8Array.from({ length: 400 * 300 }, (_, i) => i % 200),
  { width: 400, height: 300 },
);

await using cache = new PageCache({ memory: '4MiB' });
const file = await cache.open(memorySource(new Uint8Array(written)));

const tiff = await Tiff.create(cogSource(file, 'memory://heights.tif'));
const [image] = tiff.images;
console.log(image?.size, 'strips:', image?.stripCount);
const strip = await image?.getStrip(0);
console.log(strip?.bytes.byteLength, 'bytes');

// > { width: 400, height: 300 } strips: 1
// > 120000 bytes
