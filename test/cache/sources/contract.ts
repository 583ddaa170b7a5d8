/** What every source owes when something is wrong. */
import { expect } from 'vitest';
import { CacheError } from '../../../src/cache/errors.ts';
import type { Source } from '../../../src/cache/source.ts';

/** Awaits a CacheError of this code, which says in one line which source it is. */
export async function failsWith(promise: Promise<unknown>, code: string): Promise<CacheError> {
  const error = await promise.then(
    () => {
      throw new Error(`nothing failed, ${code} was due`);
    },
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CacheError);
  expect({ code: (error as CacheError).code, said: (error as CacheError).message }).toMatchObject({ code });
  expect((error as CacheError).message).not.toMatch(/\n/);
  return error as CacheError;
}

/** A signal that is aborted already ends every request before it begins. */
export async function heedsSignals(source: Source): Promise<void> {
  const signal = AbortSignal.abort(new Error('gone'));
  const buffer = new Uint8Array(10).fill(7);
  const error = await failsWith(source.read(buffer, 0, signal), 'ABORTED');
  expect(error.cause).toEqual(new Error('gone'));
  expect([...buffer]).toEqual(Array.from(buffer, () => 7));
  if (source.write !== undefined) await failsWith(source.write(buffer, 0, signal), 'ABORTED');
  if (source.truncate !== undefined) await failsWith(source.truncate(0, signal), 'ABORTED');
}
