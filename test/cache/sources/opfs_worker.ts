/** In a dedicated worker of a browser: uses a file of OPFS and a Blob at random, by themselves and through a cache, and answers with what went wrong. */
import type { Source } from '../../../src/cache/source.ts';
import { blobSource } from '../../../src/cache/sources/blob.ts';
import { type OpfsHandle, opfsSource } from '../../../src/cache/sources/opfs.ts';
import { content, firstDifference } from '../content.ts';
import { useThroughCache } from '../through_cache.ts';
import { useAtRandom } from './random_use.ts';

export interface Task {
  readonly file: string;
  readonly size: number;
  readonly seed: number;
  readonly steps: number;
}
export type Answer = { readonly error: string } | { readonly sync: boolean };

interface Scope {
  readonly navigator: { storage: { getDirectory(): Promise<{ getFileHandle(name: string): Promise<OpfsHandle> }> } };
  onmessage: (event: { data: Task }) => void;
  postMessage(answer: Answer): void;
}
const scope = globalThis as unknown as Scope;

async function run({ file, size, seed, steps }: Task): Promise<Answer> {
  const handle = await (await scope.navigator.storage.getDirectory()).getFileHandle(file);
  const start = content(seed, 0, size);
  const blob = blobSource(new Blob([start]));
  await useAtRandom(blob, start, { seed, steps });
  const source: Source = opfsSource(handle, { write: true });
  const held = await useAtRandom(source, start, { seed, steps });
  await source.close?.();
  const stored = new Uint8Array(await (await handle.getFile()).arrayBuffer());
  const wrong = firstDifference(stored, held);
  if (wrong >= 0) throw new Error(`the file differs from what was written, from ${wrong}`);
  const through = opfsSource(handle, { write: true });
  const cached = await useThroughCache(through, held, { seed, steps });
  const left = new Uint8Array(await (await handle.getFile()).arrayBuffer());
  if (firstDifference(left, cached) >= 0) throw new Error('the file differs from what went through the cache');
  return { sync: source.readSync !== undefined && blob.readSync !== undefined };
}

scope.onmessage = ({ data }) => {
  run(data).then(
    (answer) => scope.postMessage(answer),
    (error: unknown) => scope.postMessage({ error: String(error) }),
  );
};
