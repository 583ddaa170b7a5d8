import { describe, expect, test } from 'vitest';
import { blobSource } from '../../../src/cache/sources/blob.ts';
import { memorySource } from '../../../src/cache/sources/memory.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstDifference } from '../content.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { useAtRandom } from './random_use.ts';

describe('memorySource', () => {
  test('random use', async () => {
    for (let i = 0; i < 5; i++) {
      const source = memorySource(content(3, 0, 40_000));
      const held = await useAtRandom(source, content(3, 0, 40_000), { seed: seedOf(7) + i, steps: stepsOf(400) });
      expect(firstDifference(source.bytes(), held)).toBe(-1);
    }
  });

  test('grows from nothing, with zeroes between', async () => {
    const source = memorySource();
    expect(await source.open()).toEqual({ size: 0 });
    await source.write?.(new Uint8Array([1, 2]), 5);
    expect([...source.bytes()]).toEqual([0, 0, 0, 0, 0, 1, 2]);
    await source.truncate?.(6);
    await source.truncate?.(8);
    expect([...source.bytes()]).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
  });

  test('read only has nothing that writes', async () => {
    const source = memorySource(content(1, 0, 10_000), { readOnly: true, name: 'ten' });
    expect([source.write, source.writeSync, source.truncate, source.truncateSync]).toEqual(Array(4).fill(undefined));
    await useAtRandom(source, content(1, 0, 10_000), { seed: 1, steps: 50 });
    expect(source.name).toBe('ten');
  });

  test('signals', async () => {
    await heedsSignals(memorySource(20));
    await failsWith(memorySource(1).open(AbortSignal.abort()), 'ABORTED');
  });
});

describe('blobSource', () => {
  const bytes = content(9, 0, 300_000);

  test('random use', async () => {
    await useAtRandom(blobSource(new Blob([bytes])), bytes, { seed: seedOf(4), steps: stepsOf(60), lengthMax: 70_000 });
    await useAtRandom(blobSource(new Blob([])), new Uint8Array(0), { seed: 1, steps: 10 });
  });

  test('has the name of the file', () => {
    expect(blobSource(new Blob([])).name).toBe('blob');
    expect(blobSource(new File([], 'a.pmtiles')).name).toBe('a.pmtiles');
    expect(blobSource(new File([], 'a.pmtiles'), { name: 'b' }).name).toBe('b');
  });

  test('a blob that cannot be read any more has changed; one that answers short is an error', async () => {
    const part = (act: () => Promise<ArrayBuffer>): Blob => {
      const fake = { size: 100, slice: (from: number, to: number) => ({ size: to - from, arrayBuffer: act }) };
      return fake as unknown as Blob;
    };
    const gone = part(async () => {
      throw Object.assign(new Error('it could not be read'), { name: 'NotReadableError' });
    });
    await failsWith(blobSource(gone).read(new Uint8Array(10), 0), 'CHANGED');
    await failsWith(blobSource(part(async () => new ArrayBuffer(3))).read(new Uint8Array(10), 0), 'SHORT_READ');
    const other = part(async () => {
      throw new Error('out of luck');
    });
    expect((await failsWith(blobSource(other, { name: 'x' }).read(new Uint8Array(10), 0), 'SOURCE')).message).toBe(
      'x: out of luck',
    );
  });

  test('signals', () => heedsSignals(blobSource(new Blob([bytes]))));
});
