/** The GenericFilehandle over the cache against the library's own over a Blob: same calls, same answers. */
import { BlobFile } from 'generic-filehandle2';
import { describe, expect, test } from 'vitest';
import { genericFilehandle } from '../../../src/cache/adapters/generic_filehandle2.ts';
import { expectBytes, pattern, through } from './through.ts';

const bytes = pattern(500_000, 5);

describe('generic-filehandle2', () => {
  test('reads, whole files and sizes are the same', async () => {
    await using at = await through(bytes);
    const cached = genericFilehandle(at.file);
    const plain = new BlobFile(new Blob([bytes]));
    for (const [length, position] of [
      [100, 0],
      [70_000, 123_456],
      [0, 10],
      [1000, 499_990],
      [10, 500_000],
      [10, 600_000],
    ] as const) {
      expect(await cached.read(length, position), `${length} at ${position}`).toEqual(
        await plain.read(length, position),
      );
    }
    expect(await cached.stat()).toEqual(await plain.stat());
    expectBytes(await cached.readFile(), await plain.readFile());
  });

  test('text, and an encoding that there is not', async () => {
    await using at = await through(new TextEncoder().encode('chr1\t100\t200 ü\n'));
    const cached = genericFilehandle(at.file);
    expect(await cached.readFile('utf8')).toBe('chr1\t100\t200 ü\n');
    expect(await cached.readFile({ encoding: 'utf8' })).toBe('chr1\t100\t200 ü\n');
    await expect(cached.readFile('hex')).rejects.toThrow("no encoding 'hex'");
  });

  test('a signal ends a read; close closes', async () => {
    await using at = await through(bytes);
    const cached = genericFilehandle(at.file);
    const stop = new AbortController();
    const reading = cached.read(10, 400_000, { signal: stop.signal });
    stop.abort(new Error('scrolled on'));
    await expect(reading).rejects.toThrow('scrolled on');
    expect(await cached.read(10, 400_000)).toEqual(bytes.slice(400_000, 400_010));
    await cached.close();
    expect(at.source.closed).toBe(true);
  });
});
