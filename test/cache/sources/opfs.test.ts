import { describe, expect, test } from 'vitest';
import { opfsSource } from '../../../src/cache/sources/opfs.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstDifference, firstWrong } from '../content.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { FakeFile } from './opfs_fake.ts';
import { useAtRandom } from './random_use.ts';

const bytes = content(4, 0, 50_000);

describe.each([
  ['in a worker', true],
  ['by snapshots', false],
] as const)('opfsSource %s', (_, worker) => {
  test('random use: the file holds what the source says', async () => {
    for (let i = 0; i < 3; i++) {
      const file = new FakeFile(bytes, worker);
      const source = opfsSource(file, { write: true });
      const held = await useAtRandom(source, bytes, { seed: seedOf(40) + i, steps: stepsOf(150) });
      expect(source.readSync !== undefined).toBe(worker);
      expect(firstDifference(file.bytes, held)).toBe(-1);
    }
  });

  test('read only', async () => {
    const source = opfsSource(new FakeFile(bytes, worker));
    await useAtRandom(source, bytes, { seed: 5, steps: 40 });
    expect([source.write, source.writeSync, source.sync]).toEqual([undefined, undefined, undefined]);
    await source.close?.();
    await failsWith(source.read(new Uint8Array(1), 0), 'CLOSED');
  });

  test('a failure of the file is an error that says so', async () => {
    const file = new FakeFile(bytes, worker);
    const source = opfsSource(file, { write: true });
    await source.open();
    file.failure = Object.assign(new Error('the disk is full'), { name: 'QuotaExceededError' });
    const error = await failsWith(source.write?.(bytes, 100) as Promise<void>, 'SOURCE');
    expect(error).toMatchObject({ message: 'fake: the disk is full', at: 100 });
    await source.write?.(bytes, 100);
    await source.sync?.();
    expect(firstWrong(file.bytes.subarray(100), 4, 0)).toBe(-1);
  });

  test('signals', async () => {
    const source = opfsSource(new FakeFile(bytes, worker), { write: true });
    await source.open();
    await heedsSignals(source);
  });
});

describe('one writer', () => {
  test('a file that is open elsewhere', async () => {
    const file = new FakeFile(bytes, true);
    const first = opfsSource(file);
    await first.open();
    const error = await failsWith(opfsSource(file).open(), 'SOURCE');
    expect(error).toMatchObject({ message: 'fake: the file is open elsewhere', retryable: true });
    first.closeSync?.();
    await opfsSource(file).open();
  });

  test('a file that another tab wrote has changed', async () => {
    const file = new FakeFile(bytes, false);
    const source = opfsSource(file);
    await source.open();
    file.replace(content(5, 0, 50_000));
    await failsWith(source.read(new Uint8Array(10), 0), 'CHANGED');
  });
});

describe('snapshots', () => {
  const open = async () => {
    const file = new FakeFile(bytes, false);
    const source = opfsSource(file, { write: true });
    await source.open();
    const write = (at: number, length: number) => source.write?.(content(6, at, at + length), at) as Promise<void>;
    const read = async (at: number, length: number, seed: number) => {
      const into = new Uint8Array(length);
      expect(await source.read(into, at)).toBe(length);
      expect(firstWrong(into, seed, at)).toBe(-1);
    };
    return { file, source, write, read };
  };

  test('writes are committed together, at the sync or when they are read', async () => {
    const { file, source, write, read } = await open();
    await Promise.all([write(0, 4096), write(8192, 4096), write(4096, 100)]);
    await read(20_000, 4096, 4);
    expect(file.commits).toBe(0);
    await read(8000, 192, 4);
    expect(file.commits).toBe(0);
    await read(9000, 100, 6);
    expect(file.commits).toBe(1);
    await write(20_000, 10);
    await source.sync?.();
    await source.sync?.();
    expect(file.commits).toBe(2);
    // What lies past the snapshot's end is in the draft alone.
    await write(60_000, 10);
    const hole = new Uint8Array(100).fill(1);
    expect(await source.read(hole, 55_000)).toBe(100);
    expect(firstDifference(hole, new Uint8Array(100))).toBe(-1);
    await write(1, 1);
    await source.close?.();
    expect(file.commits).toBe(4);
  });

  test('a commit waits for readers, and readers for it', async () => {
    const { source, write, read } = await open();
    for (let round = 0; round < 20; round++) {
      const at = round * 2000;
      await write(at, 500);
      await Promise.all([read(at + 1000, 800, 4), source.sync?.(), read(at + 1000, 800, 4), read(at, 500, 6)]);
    }
  });

  test('a commit that fails is an error at the sync and at each read of what was written, never the old bytes', async () => {
    const { file, source, write, read } = await open();
    await write(0, 4096);
    file.failure = new Error('no room');
    await failsWith(source.read(new Uint8Array(10), 0), 'SOURCE');
    await read(10_000, 100, 4);
    await source.sync?.();
    await read(0, 4096, 6);
  });

  test('a browser that writes only in workers', async () => {
    const handle = { name: 'old', getFile: async () => new Blob([bytes]) };
    const source = opfsSource(handle, { write: true });
    await source.open();
    await failsWith(source.write?.(bytes, 0) as Promise<void>, 'READ_ONLY');
  });
});
