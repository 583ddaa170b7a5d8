/** Across origins a browser hides most headers of an answer and asks before it sends most of a request. */
import { describe, expect, inject, test } from 'vitest';
import { httpSource } from '../../../src/cache/sources/http.ts';
import { seedOf, stepsOf } from '../../help/fuzz.ts';
import { content, firstWrong } from '../content.ts';
import { failsWith, heedsSignals } from './contract.ts';
import { useAtRandom } from './random_use.ts';

const SIZE = 300_000;
const SEED = 3;
let urls = 0;
const url = (faults = '', more = ''): string =>
  `${inject('faultServer')}/${SIZE}/${SEED}?n=${Math.random()}-${urls++}&faults=${faults}&${more}`;

describe('httpSource in a browser', () => {
  test('random use, from a server that allows no header beyond the simple ones', async () => {
    const use = { seed: seedOf(60), steps: stepsOf(50), lengthMax: 60_000 };
    await useAtRandom(httpSource(url()), content(SEED, 0, SIZE), use);
  });

  test('Content-Range must be exposed, and a validator', async () => {
    const error = await failsWith(httpSource(url('', 'expose=ETag')).open(), 'NOT_RANGE');
    expect(error.message).toMatch(/must expose it/);
    await failsWith(httpSource(url('', 'expose=Content-Range&modified=none')).open(), 'NO_VALIDATOR');
    // Last-Modified is one of the headers that a browser always shows.
    await httpSource(url('', 'expose=Content-Range')).open();
  });

  test('headers of the program’s own, where the server allows them', async () => {
    const headers = { authorization: 'Bearer x' };
    const source = httpSource(url('', 'allow=authorization,range'), { headers });
    await source.open();
    expect(await source.read(new Uint8Array(100), 99_999)).toBe(100);
    await failsWith(httpSource(url(), { headers }).open(), 'SOURCE');
  });

  test.each([
    ...['short:SHORT_READ', 'shortChunked:SHORT_READ', 'long:NOT_RANGE', 'shifted:NOT_RANGE', 'half:NOT_RANGE'],
    // A compressed range does not even get past Chromium.
    ...['whole:NOT_RANGE', 'gzip:SOURCE', 'redirect:REDIRECTED', 'change:CHANGED', 'changeDeaf:CHANGED'],
    ...['grow:CHANGED', 'busy:SOURCE', 'gone:SOURCE', 'multipart:NOT_RANGE', 'unsatisfiable:NOT_RANGE'],
  ])('%s', async (pair) => {
    const [fault, due = ''] = pair.split(':');
    const source = httpSource(url(`-,${fault}`));
    await source.open();
    await failsWith(source.read(new Uint8Array(50_000), 100_000), due);
  });

  test('a redirect that is to be followed', async () => {
    const source = httpSource(url('redirect,redirect'), { redirect: 'follow' });
    await source.open();
    const into = new Uint8Array(1000);
    expect(await source.read(into, 123_456)).toBe(1000);
    expect(firstWrong(into, SEED, 123_456)).toBe(-1);
  });

  test('aborts', async () => {
    const source = httpSource(url('-,stall'));
    await source.open();
    const abort = new AbortController();
    const read = source.read(new Uint8Array(10), 99_999, abort.signal);
    setTimeout(() => abort.abort(), 10);
    await failsWith(read, 'ABORTED');
    await heedsSignals(source);
  });
});
