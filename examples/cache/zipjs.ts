// One entry of a zip through the cache: the directory at the end and the entry are read, the rest is not.
import { TextReader, TextWriter, Uint8ArrayWriter, ZipReader, ZipWriter } from '@zip.js/zip.js';
import { PageCache } from 'quire-mm/cache';
import { zipReader } from 'quire-mm/cache/adapters/zipjs';
import { memorySource } from 'quire-mm/cache/sources';

const writer = new ZipWriter(new Uint8ArrayWriter());
for (const name of ['a', 'b', 'c']) await writer.add(`${name}.txt`, new TextReader(`the text of ${name}`));
const zip = await writer.close();

await using cache = new PageCache({ memory: '4MiB' });
const reader = new ZipReader(zipReader(await cache.open(memorySource(zip))));
for (const entry of await reader.getEntries()) {
  if (!entry.directory && entry.filename === 'b.txt') console.log(await entry.getData(new TextWriter()));
}

// > the text of b
