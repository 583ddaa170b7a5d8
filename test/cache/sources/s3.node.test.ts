import { AwsClient } from 'aws4fetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type S3Options, s3Source } from '../../../src/cache/sources/s3.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstDifference, firstWrong } from '../content.ts';
import { KEYS, S3Server } from '../s3_server.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { useAtRandom } from './random_use.ts';

let store: S3Server;
let names = 0;
beforeAll(async () => {
  store = await S3Server.listen();
});
afterAll(() => store.close());

const SIZE = 200_000;
const bytes = content(1, 0, SIZE);
const signer = new AwsClient({ ...KEYS, service: 's3', region: 'eu-central-1' });

/** An object of its own. */
function object(held: Uint8Array | null = bytes, headers: Record<string, string> = {}) {
  const path = `/bucket/some%20folder/object-${names++}`;
  if (held !== null) store.put(path, held, headers);
  return { path, url: store.origin + path };
}
const source = (url: string, more: S3Options = {}) => s3Source(url, { signer, ...more });
const held = (path: string): Uint8Array => store.objects.get(path)?.bytes ?? new Uint8Array(0);

describe('s3Source', () => {
  test('signed ranges, and nothing to write with', async () => {
    const { url, path } = object();
    const reader = source(url);
    await useAtRandom(reader, bytes, { seed: seedOf(3), steps: stepsOf(30), lengthMax: 50_000 });
    expect(reader.write).toBeUndefined();
    expect(store.log.filter((line) => line.startsWith(`GET ${path} bytes=`)).length).toBeGreaterThan(10);
  });

  test('a wrong key, and none, are refused', async () => {
    const { url } = object();
    const wrong = new AwsClient({ ...KEYS, secretAccessKey: 'x', service: 's3', region: 'eu-central-1' });
    expect(await failsWith(source(url, { signer: wrong }).open(), 'SOURCE')).toMatchObject({ status: 403 });
    expect(await failsWith(s3Source(url).open(), 'SOURCE')).toMatchObject({ status: 403 });
    const failing = { sign: () => Promise.reject(new Error('no credentials')) };
    expect((await failsWith(source(url, { signer: failing }).open(), 'SOURCE')).message).toMatch(/no credentials$/);
  });

  test('an object that changed', async () => {
    const { url, path } = object();
    const reader = source(url);
    await reader.open();
    store.put(path, content(2, 0, SIZE));
    await failsWith(reader.read(new Uint8Array(100), 100_000), 'CHANGED');
  });

  test('signals', async () => {
    const reader = source(object().url, { writeMax: SIZE });
    await reader.open();
    await heedsSignals(reader);
  });
});

describe('whole objects, written', () => {
  const writable = async (held_: Uint8Array | null = bytes, headers = {}) => {
    const made = object(held_, headers);
    const writer = source(made.url, { writeMax: 2 * SIZE });
    await writer.open();
    return { ...made, writer };
  };
  const write = (writer: ReturnType<typeof source>, at: number, length = 100) =>
    writer.write?.(content(9, at, at + length), at) as Promise<void>;
  const sync = (writer: ReturnType<typeof source>) => writer.sync?.() as Promise<void>;

  test('random use: the store holds what the source says', async () => {
    for (let i = 0; i < 3; i++) {
      const { url, path } = object();
      const writer = source(url, { writeMax: 2 * SIZE });
      const use = { seed: seedOf(30) + i, steps: stepsOf(40), lengthMax: 50_000, sizeMax: 2 * SIZE };
      const due = await useAtRandom(writer, bytes, use);
      expect(firstDifference(held(path), due)).toBe(-1);
    }
  });

  test('nothing of it shows before the sync, all of it after, by one request', async () => {
    const { path, writer } = await writable();
    await Promise.all([write(writer, 5000), write(writer, 150_000), write(writer, SIZE - 10)]);
    expect(firstDifference(held(path), bytes)).toBe(-1);
    const into = new Uint8Array(100);
    expect(await writer.read(into, 5000)).toBe(100);
    expect(firstWrong(into, 9, 5000)).toBe(-1);
    await Promise.all([sync(writer), sync(writer)]);
    expect(held(path).length).toBe(SIZE + 90);
    expect(firstWrong(held(path).subarray(150_000, 150_100), 9, 150_000)).toBe(-1);
    expect(store.log.filter((line) => line === `PUT ${path}`).length).toBe(1);
    // The next reads are of what was written, from the store.
    expect(await writer.read(into, 5000)).toBe(100);
    expect(firstWrong(into, 9, 5000)).toBe(-1);
    expect(store.log.at(-1)).toBe(`GET ${path} bytes=5000-5099`);
    await sync(writer);
    expect(store.log.filter((line) => line === `PUT ${path}`).length).toBe(1);
  });

  test('what is not there is made, unless somebody else makes it first', async () => {
    const { path, writer } = await writable(null);
    expect(await writer.read(new Uint8Array(5), 0)).toBe(0);
    await write(writer, 0);
    await sync(writer);
    expect(firstWrong(held(path), 9, 0)).toBe(-1);
    const late = await writable(null);
    await write(late.writer, 0);
    store.put(late.path, bytes);
    await failsWith(sync(late.writer), 'CHANGED');
    expect(firstDifference(held(late.path), bytes)).toBe(-1);
  });

  test('the type and the metadata of the object stay', async () => {
    const headers = {
      'content-type': 'application/vnd.sqlite3',
      'x-amz-meta-owner': 'me',
      'cache-control': 'no-cache',
    };
    const { path, writer } = await writable(bytes, headers);
    await write(writer, 0);
    await sync(writer);
    expect(store.objects.get(path)?.headers).toEqual(headers);
  });

  test('a write never undoes that of somebody else', async () => {
    const { path, writer } = await writable();
    await write(writer, 0);
    store.put(path, content(2, 0, SIZE));
    await failsWith(sync(writer), 'CHANGED');
    expect(firstWrong(held(path), 2, 0)).toBe(-1);
    // It stays an error.
    await failsWith(sync(writer), 'CHANGED');
  });

  test('a write that failed can be tried again, also when only its answer was lost', async () => {
    const { path, writer } = await writable();
    await write(writer, 40);
    store.writeFaults = ['slowDown', 'reset', 'lost'];
    expect(await failsWith(sync(writer), 'SOURCE')).toMatchObject({ retryable: true, status: 503 });
    expect(await failsWith(sync(writer), 'SOURCE')).toMatchObject({ retryable: true });
    expect(await failsWith(sync(writer), 'SOURCE')).toMatchObject({ retryable: true });
    await sync(writer);
    expect(firstWrong(held(path).subarray(40, 140), 9, 40)).toBe(-1);
    await write(writer, 400);
    await sync(writer);
    expect(firstWrong(held(path).subarray(400, 500), 9, 400)).toBe(-1);
  });

  test('lost, and then overwritten by somebody else: that is a change', async () => {
    const { path, writer } = await writable();
    await write(writer, 40);
    store.writeFaults = ['lost'];
    await failsWith(sync(writer), 'SOURCE');
    store.put(path, content(2, 0, SIZE));
    await failsWith(sync(writer), 'CHANGED');
  });

  test('a store that does not say which version it stored', async () => {
    const { path, writer } = await writable();
    await write(writer, 40);
    store.writeFaults = ['untagged'];
    await failsWith(sync(writer), 'NO_VALIDATOR');
    await sync(writer);
    expect(firstWrong(held(path).subarray(40, 140), 9, 40)).toBe(-1);
  });

  test('what is written during a sync goes with the next', async () => {
    const { path, writer } = await writable();
    await write(writer, 0);
    const first = sync(writer);
    await write(writer, 1000);
    await first;
    await sync(writer);
    expect(firstWrong(held(path).subarray(1000, 1100), 9, 1000)).toBe(-1);
  });

  test('objects over the limit are not written', async () => {
    const { url, path } = object();
    const small = source(url, { writeMax: 1000 });
    await small.open();
    expect((await failsWith(write(small, 0), 'READ_ONLY')).message).toMatch(/more than 1000 bytes/);
    const { writer } = await writable();
    await failsWith(write(writer, 2 * SIZE - 50), 'READ_ONLY');
    await failsWith(writer.truncate?.(3 * SIZE) as Promise<void>, 'READ_ONLY');
    expect(held(path).length).toBe(SIZE);
  });
});
