/** Sources that are written, through the cache: a local file, also by a program that dies, and whole objects of S3. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AwsClient } from 'aws4fetch';
import { afterAll, describe, expect, test } from 'vitest';
import { fileSource } from '../../src/cache/node/file.ts';
import { s3Source } from '../../src/cache/sources/s3.ts';
import { root } from '../../tools/sources.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';
import { content, firstDifference } from './content.ts';
import { RECORD_BYTES, record } from './crash_child.ts';
import { KEYS, S3Server } from './s3_server.ts';
import { useThroughCache } from './through_cache.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-cache-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('through the cache', () => {
  test('a local file larger than the budget', async () => {
    const path = join(folder, 'large');
    for (let i = 0; i < 3; i++) {
      const bytes = content(5, 0, 8_000_000);
      writeFileSync(path, bytes);
      const source = fileSource(path, { write: true });
      const held = await useThroughCache(source, bytes, { seed: seedOf(70) + i, steps: stepsOf(150) });
      expect(firstDifference(readFileSync(path), held)).toBe(-1);
    }
  });

  test('an object of S3', async () => {
    const store = await S3Server.listen();
    const bytes = content(6, 0, 1_000_000);
    store.put('/bucket/object', bytes);
    store.writeFaults = ['slowDown', 'lost', 'reset'];
    const signer = new AwsClient({ ...KEYS, service: 's3', region: 'eu-central-1' });
    const source = s3Source(`${store.origin}/bucket/object`, { signer, writeMax: 4_000_000 });
    const held = await useThroughCache(source, bytes, { seed: seedOf(80), steps: stepsOf(80) });
    expect(firstDifference(store.objects.get('/bucket/object')?.bytes ?? new Uint8Array(0), held)).toBe(-1);
    expect(store.writeFaults).toEqual([]);
    await store.close();
  });
});

/** Runs the child on a file until it has said some lines and is killed; what it said was synced. */
function killed(path: string, seed: number, lines: number): Promise<Map<number, number>> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', `${root}test/cache/crash_child.ts`, path, String(seed)]);
    let out = '';
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.stdout.on('data', (data) => {
      out += data;
      if (out.split('\n').length > lines) child.kill('SIGKILL');
    });
    child.on('exit', (_code, signal) => {
      if (signal !== 'SIGKILL') return reject(new Error(`the child ended by itself: ${errors}`));
      const synced = new Map<number, number>();
      for (const line of out.split('\n').slice(0, -1))
        for (const [, place, version] of line.matchAll(/(\d+):(\d+)/g)) synced.set(Number(place), Number(version));
      resolve(synced);
    });
  });
}

describe('a program that is killed', () => {
  test('what it was told is synced is in the file', async () => {
    for (let i = 0; i < Math.min(20, stepsOf(2)); i++) {
      const seed = seedOf(90) + i;
      const path = join(folder, `killed-${i}`);
      const synced = await killed(path, seed, 3 + 4 * i);
      const bytes = readFileSync(path);
      expect(synced.size).toBeGreaterThan(20);
      const lost = [...synced].filter(([place, version]) => {
        const at = place * RECORD_BYTES;
        const now = bytes.subarray(at, at + RECORD_BYTES);
        const is = now.length === RECORD_BYTES ? now.readUInt32BE(0) : 0;
        // A later write may have come after it, whole or in part; the synced one itself must be whole.
        return is < version || (is === version && firstDifference(now, record(place, version)) >= 0);
      });
      expect(lost, `seed ${seed}`).toEqual([]);
    }
  });
});
