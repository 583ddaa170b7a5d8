import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { fileSource } from '../../../src/cache/node/file.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstDifference } from '../content.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { useAtRandom } from './random_use.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-file-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);
const bytes = content(5, 0, 60_000);

describe('fileSource', () => {
  test('random use, read only', async () => {
    writeFileSync(path('r'), bytes);
    const source = fileSource(path('r'));
    await useAtRandom(source, bytes, { seed: seedOf(1), steps: stepsOf(300) });
    expect(source.write).toBeUndefined();
    await source.close?.();
  });

  test('random use, written: the file holds what the source says', async () => {
    for (let i = 0; i < 3; i++) {
      writeFileSync(path('w'), bytes);
      const source = fileSource(path('w'), { write: true });
      const held = await useAtRandom(source, bytes, { seed: seedOf(20) + i, steps: stepsOf(300) });
      await source.close?.();
      expect(firstDifference(readFileSync(path('w')), held)).toBe(-1);
    }
  });

  test('more pieces in one request than the system takes', async () => {
    const source = fileSource(path('many'), { create: true });
    source.openSync?.();
    const pieces = Array.from({ length: 3000 }, (_, i) => content(8, i * 7, i * 7 + 7));
    source.writevSync?.(pieces, 0);
    await source.writev?.(pieces, 21_000);
    const back = pieces.map(() => new Uint8Array(7));
    expect(source.readvSync?.(back, 0)).toBe(21_000);
    expect(back).toEqual(pieces);
    expect(await source.readv?.(back, 20_993)).toBe(21_000);
    expect(back.slice(1)).toEqual(pieces.slice(0, -1));
    source.closeSync?.();
  });

  test('made when it is not there, and only then', async () => {
    await failsWith(fileSource(path('new'), { write: true }).open(), 'SOURCE');
    const source = fileSource(path('new'), { create: true });
    expect(await source.open()).toEqual({ size: 0 });
    await source.write?.(bytes, 0);
    await source.sync?.();
    source.closeSync?.();
    const again = fileSource(path('new'), { create: true });
    expect(again.openSync?.()).toEqual({ size: bytes.length });
    again.syncSync?.();
    await again.close?.();
    expect(statSync(path('new')).size).toBe(bytes.length);
  });

  test('what is no regular file is refused, in one line that names it', async () => {
    expect((await failsWith(fileSource(folder).open(), 'SOURCE')).message).toBe(`${folder}: not a regular file`);
    symlinkSync('nowhere', path('dangling'));
    const error = await failsWith(fileSource(path('dangling')).open(), 'SOURCE');
    expect(error.cause).toMatchObject({ code: 'ENOENT' });
    expect(() => fileSource('/dev/null').openSync?.()).toThrow('not a regular file');
  });

  test('a full disk, at the byte where it was full', async () => {
    const source = fileSource(path('w'), { write: true });
    await source.open();
    const far = Number.MAX_SAFE_INTEGER - 100;
    const error = await failsWith(source.write?.(bytes, far) as Promise<void>, 'SOURCE');
    expect(error).toMatchObject({ at: far, source: path('w'), retryable: false });
    await source.close?.();
  });

  test('closed', async () => {
    const source = fileSource(path('r'), { write: true });
    await failsWith(source.read(new Uint8Array(1), 0), 'CLOSED');
    await source.open();
    await source.close?.();
    await source.close?.();
    expect(() => source.readSync?.(new Uint8Array(1), 0)).toThrow('not open');
    await failsWith(source.write?.(new Uint8Array(1), 0) as Promise<void>, 'CLOSED');
  });

  test('signals', async () => {
    const source = fileSource(path('r'), { write: true });
    await source.open();
    await heedsSignals(source);
    await source.close?.();
  });
});
