/** The handle over the cache against Node's own over a file: the same random calls, the same answers, the same bytes. */
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { type FileHandle, fileHandle } from '../../../src/cache/adapters/file_handle.ts';
import { fileSource } from '../../../src/cache/node/file.ts';
import { PageCache } from '../../../src/cache/page_cache.ts';
import { expectBytes, pattern, SMALL } from './through.ts';

let folder = '';
beforeAll(async () => {
  folder = await fs.mkdtemp(join(tmpdir(), 'quire-handle-'));
});
afterAll(() => fs.rm(folder, { recursive: true }));

type Either = FileHandle | fs.FileHandle;
const SIZE = 3_000_000;

/** One random call, the same on any handle. What it answers, as plain data. */
function call(r: Prng): { name: string; on: (handle: Either) => Promise<unknown> } {
  const at = r.below(SIZE + 50_000);
  const length = 1 + r.below(r.below(4) === 0 ? 70_000 : 5000);
  const bytes = pattern(length, at + 1);
  const position = r.below(3) === 0 ? null : at;
  switch (r.below(9)) {
    case 0:
      return {
        name: `read ${length} at ${position}`,
        async on(handle) {
          const into = new Uint8Array(length + 20);
          const { bytesRead } = await (handle as FileHandle).read(into, 10, length, position);
          return [bytesRead, Buffer.from(into).toString('latin1')];
        },
      };
    case 1:
      return {
        name: `read { ${length} at ${position} }`,
        async on(handle) {
          const { bytesRead, buffer: into } = await (handle as FileHandle).read({
            buffer: new Uint16Array(length),
            offset: 1,
            position,
          });
          return [bytesRead, Buffer.from(into.buffer).toString('latin1')];
        },
      };
    case 2:
      return {
        name: `readv at ${position}`,
        async on(handle) {
          const parts = [new Uint8Array(length), new Uint8Array(3), new Uint8Array(7000)];
          const { bytesRead } = await (handle as FileHandle).readv(parts, position);
          return [bytesRead, Buffer.concat(parts).toString('latin1')];
        },
      };
    case 3:
    case 4:
      return {
        name: `write ${length} at ${position}`,
        on: async (handle) => (await (handle as FileHandle).write(bytes, 0, length, position)).bytesWritten,
      };
    case 5:
      return {
        name: `writev at ${position}`,
        on: async (handle) => (await (handle as FileHandle).writev([bytes, bytes], position)).bytesWritten,
      };
    case 6:
      return {
        name: `write text at ${position}`,
        on: async (handle) => (await (handle as FileHandle).write('grüße', position)).bytesWritten,
      };
    case 7:
      return r.below(4) === 0
        ? { name: `truncate ${at}`, on: (handle) => handle.truncate(at) }
        : { name: 'sync', on: (handle) => handle.sync() };
    default:
      return { name: 'stat', on: async (handle) => (await handle.stat()).size };
  }
}

describe('FileHandle', () => {
  test.each([1, 2, 3])('random calls, seed %i', async (seed) => {
    const r = new Prng(seed);
    const paths = [join(folder, `node-${seed}`), join(folder, `cache-${seed}`)] as const;
    for (const path of paths) await fs.writeFile(path, pattern(SIZE, seed));
    const cache = new PageCache({ memory: SMALL });
    const real = await fs.open(paths[0], 'r+');
    const ours = fileHandle(await cache.open(fileSource(paths[1], { write: true })));
    for (let i = 0; i < 400; i++) {
      const { name, on } = call(r);
      const wanted = await on(real);
      const got = await on(ours);
      if (JSON.stringify(got) !== JSON.stringify(wanted))
        expect(got, `seed ${seed}, call ${i}: ${name}`).toEqual(wanted);
    }
    await ours.sync();
    await real.close();
    const bytes = await fs.readFile(paths[0]);
    expectBytes(await fs.readFile(paths[1]), bytes, 'after sync');
    expectBytes(await buffer(Readable.fromWeb(ours.readableWebStream() as never)), bytes, 'as a stream');
    await ours.close();
    await cache.close();
  });

  test('readFile goes on from the position, as bytes and as text', async () => {
    const path = join(folder, 'text');
    await fs.writeFile(path, 'one two three');
    const cache = new PageCache({ memory: SMALL });
    const handle = fileHandle(await cache.open(fileSource(path)));
    await handle.read(new Uint8Array(4));
    expect(await handle.readFile('utf8')).toBe('two three');
    expect((await handle.readFile()).length).toBe(0);
    await cache.close();
  });

  test('what does not lie in the buffer is refused', async () => {
    const path = join(folder, 'refused');
    await fs.writeFile(path, 'abc');
    const cache = new PageCache({ memory: SMALL });
    const handle = fileHandle(await cache.open(fileSource(path)));
    await expect(handle.read(new Uint8Array(4), 5, 1, 0)).rejects.toThrow('offset 5 is not in a buffer of 4 bytes');
    await expect(handle.read(new Uint8Array(4), 2, 3, 0)).rejects.toThrow('length 3 at offset 2');
    await expect(handle.write(new Uint8Array(4), 0, 4, 0)).rejects.toMatchObject({ code: 'READ_ONLY' });
    await cache.close();
  });
});
