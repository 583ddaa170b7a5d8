import { describe, expect, test } from 'vitest';
import { type OpfsHandle, opfsSource } from '../../../src/cache/sources/opfs.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstDifference } from '../content.ts';
import { failsWith, heedsSignals } from './contract.ts';
import type { Answer, Task } from './opfs_worker.ts';
import { useAtRandom } from './random_use.ts';

interface Folder {
  getFileHandle(name: string, options?: { create: boolean }): Promise<Required<OpfsHandle>>;
}
interface PageWorker {
  onmessage: (event: { data: Answer }) => void;
  onerror: (event: { message?: string }) => void;
  postMessage(task: Task): void;
  terminate(): void;
}
const page = globalThis as unknown as {
  navigator: { storage: { getDirectory(): Promise<Folder> } };
  Worker: new (url: URL, options: { type: 'module' }) => PageWorker;
};

const SIZE = 60_000;
/** A file that holds `content(seed, …)`. */
async function file(name: string, seed: number): Promise<Required<OpfsHandle>> {
  const handle = await (await page.navigator.storage.getDirectory()).getFileHandle(name, { create: true });
  const draft = await handle.createWritable();
  await draft.write({ type: 'write', position: 0, data: content(seed, 0, SIZE) });
  await draft.close();
  return handle;
}

describe('a real file of OPFS', () => {
  test('on a page: by snapshots', async () => {
    const seed = seedOf(50);
    const handle = await file('page', seed);
    const source = opfsSource(handle, { write: true });
    const held = await useAtRandom(source, content(seed, 0, SIZE), { seed, steps: stepsOf(60) });
    expect(source.readSync).toBeUndefined();
    expect(firstDifference(new Uint8Array(await (await handle.getFile()).arrayBuffer()), held)).toBe(-1);
    await heedsSignals(source);
  });

  test('a file that somebody else wrote has changed', async () => {
    const handle = await file('changed', 1);
    const source = opfsSource(handle);
    await source.open();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await file('changed', 2);
    await failsWith(source.read(new Uint8Array(100), 5000), 'CHANGED');
  });

  test('in a worker: synchronously', async () => {
    const seed = seedOf(51);
    await file('worker', seed);
    // The path stands here as it is: that is how the bundler finds the worker.
    const worker = new page.Worker(new URL('./opfs_worker.ts', import.meta.url), { type: 'module' });
    const answer = await new Promise<Answer>((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(`worker: ${message ?? 'could not start'}`));
      worker.postMessage({ file: 'worker', size: SIZE, seed, steps: stepsOf(200) });
    });
    worker.terminate();
    expect(answer).toEqual({ sync: true });
  });
});
