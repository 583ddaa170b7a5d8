/** A zip made by zip.js, read by zip.js through the cache and from memory. */
import { Uint8ArrayReader, Uint8ArrayWriter, ZipReader, ZipWriter } from '@zip.js/zip.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { zipReader } from '../../../src/cache/adapters/zipjs.ts';
import { expectBytes, pattern, through } from './through.ts';

const files = new Map(
  Array.from({ length: 40 }, (_, i): [string, Uint8Array<ArrayBuffer>] => {
    // Some that compress well, some that do not.
    const bytes = i % 2 === 0 ? pattern(9000 * i + 1, i + 1) : new Uint8Array(5000 * i).fill(i);
    return [`folder ${i % 3}/file ${i}.bin`, bytes];
  }),
);
let zip = new Uint8Array();
beforeAll(async () => {
  const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  for (const [name, bytes] of files) await writer.add(name, new Uint8ArrayReader(bytes));
  zip = (await writer.close(new TextEncoder().encode('forty files'))) as Uint8Array<ArrayBuffer>;
});
afterAll(() => {
  zip = new Uint8Array();
});

describe('zipjs', () => {
  test('every entry is the same, in a budget smaller than the archive', async () => {
    await using at = await through(zip);
    expect(zip.length).toBeGreaterThan(2 * 1280 * 1024);
    const reader = new ZipReader(zipReader(at.file), { useWebWorkers: false });
    const plain = new ZipReader(new Uint8ArrayReader(zip), { useWebWorkers: false });
    const entries = await reader.getEntries();
    expect(entries.map((e) => [e.filename, e.uncompressedSize, e.offset])).toEqual(
      (await plain.getEntries()).map((e) => [e.filename, e.uncompressedSize, e.offset]),
    );
    expect(entries.map((e) => e.filename)).toEqual([...files.keys()]);
    for (const entry of entries) {
      if (entry.directory) throw new Error(`${entry.filename}: a directory`);
      const bytes = await entry.getData(new Uint8ArrayWriter(), { checkSignature: true });
      expectBytes(bytes, files.get(entry.filename) as Uint8Array, entry.filename);
    }
    expect(new TextDecoder().decode(reader.comment)).toBe('forty files');
  });

  test('the stream of the whole is the archive', async () => {
    await using at = await through(zip);
    const parts: Uint8Array[] = [];
    for await (const part of zipReader(at.file).readable as unknown as AsyncIterable<Uint8Array>) parts.push(part);
    expectBytes(Buffer.concat(parts), zip);
  });

  test('an abort ends a read with its own reason', async () => {
    await using at = await through(zip);
    const stop = new AbortController();
    const reading = new ZipReader(zipReader(at.file, { signal: stop.signal })).getEntries();
    stop.abort(new Error('closed the window'));
    await expect(reading).rejects.toThrow('closed the window');
  });
});
