import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSetting, parseSize, parseWhole, settingNames, settingsOf } from '../../src/cli/options.ts';

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['4096b', 4096],
    ['4k', 4096],
    ['64K', 65536],
    ['64kB', 65536],
    ['2M', 2097152],
    ['256MiB', 268435456],
    ['1G', 2 ** 30],
    ['1024T', 2 ** 50],
  ])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', '-1', '-4k', '4.5k', '4 k', 'k', '0x10', '1e3', '4kk', '4p', 'NaN', 'Infinity', '４k', '4k\n', '+4'])(
    'refused: %j',
    (text) => {
      expect(() => parseSize(text)).toThrow(/is not a size: expected one like/);
    },
  );

  test.each(['1025T', '99999999T', '9999999999999999'])('too large: %s', (text) => {
    expect(() => parseSize(text)).toThrow('too large');
  });

  test('a size is a whole number of bytes, or an error that is ours', () => {
    const likely = fc.stringMatching(/^[0-9]{0,18}[kKmMgGtTiIbB.]{0,4}$/);
    fc.assert(
      fc.property(fc.oneof(likely, fc.string()), (text) => {
        try {
          const bytes = parseSize(text);
          return Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= 2 ** 50;
        } catch (error) {
          return (error as Error).name === 'QuireError';
        }
      }),
    );
  });
});

test('whole numbers', () => {
  expect(parseWhole('60', 0, 200)).toBe(60);
  for (const text of ['201', '-1', '1.5', '', 'x', '1e1'])
    expect(() => parseWhole(text, 0, 200)).toThrow('from 0 to 200');
});

describe('settings', () => {
  test.each([
    ['kernel', '6.18', { kernel: '6.18' }],
    ['page-size', '64K', { pageSize: 65536 }],
    ['memory', '1G', { memory: 2 ** 30 }],
    ['memcg', '0', { memcg: 0 }],
    ['thp', '64k=always,2m=madvise,top=never', { thp: { '64kB': 'always', '2048kB': 'madvise', top: 'never' } }],
    ['fs', 'ext4', { fs: 'ext4' }],
    ['block-size', '1k', { blockSize: 1024 }],
    ['readahead', '128k', { readahead: 131072 }],
    ['lru', 'classic', { lru: 'classic' }],
    ['swappiness', '200', { swappiness: 200 }],
    ['memmap', 'overlay', { memmap: 'overlay' }],
  ])('%s=%s', (name, text, settings) => {
    expect(parseSetting(name, text)).toEqual(settings);
  });

  test.each([
    ['kernel', 'linux', 'kernel: '],
    ['page-size', '8k', 'page-size: '],
    ['memory', '1k', 'memory: '],
    ['thp', '64k', 'thp: '],
    ['thp', '64k=perhaps', 'thp: '],
    ['thp', '64k=always=never', 'thp: '],
    ['thp', '', 'thp: '],
    ['fs', 'ntfs', 'fs: '],
    ['block-size', '3k', 'block-size: '],
    ['swappiness', '201', 'swappiness: '],
    ['colour', 'red', "'colour' is not a setting"],
    ['__proto__', 'x', "'__proto__' is not a setting"],
  ])('refused: %s=%s', (name, text, start) => {
    expect(() => parseSetting(name, text)).toThrow(start);
  });

  test('only settings are taken from the options of a command', () => {
    expect(settingsOf({ json: true, blockSize: 512, kernel: undefined })).toEqual({ blockSize: 512 });
    expect(settingNames).toContain('memmap');
  });
});
