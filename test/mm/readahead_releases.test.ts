/**
 * Sequential reads of a file of 10 MiB under each kernel: how many folios they leave. The figures come from a second model
 * that was made from the kernels' sources alone; its figures for 6.18 are those of the live kernel.
 */
import { describe, expect, it } from 'vitest';
import { xaFind } from '../../src/base/xarray.ts';
import { largeFolioOrders } from '../../src/fs/filesystems.ts';
import type { FolioId } from '../../src/mm/ids.ts';
import { folioNextIndex } from '../../src/mm/mm_types.ts';
import { getInitRaSize, getNextRaSize } from '../../src/mm/readahead.ts';
import { RELEASE_NAMES } from '../../src/mm/release.ts';
import { fileWorld } from '../lab/file_world.ts';

const SIZE = 10 * 2 ** 20;
// Readahead window in pages, bytes a read, first byte; folios by release.
const cases: readonly [number, number, number, readonly number[]][] = [
  [32, 4096, 0, [2560, 135, 324, 324, 323, 89, 89]],
  [640, 4096, 0, [2560, 894, 187, 187, 176, 26, 26]],
  [32, 65536, 0, [2560, 88, 88, 88, 88, 119, 119]],
  [32, 2 ** 20, 0, [2560, 91, 91, 91, 91, 346, 346]],
  [32, 4096, SIZE / 2, [1280, 104, 449, 406, 406, 51, 51]],
];

describe('sequential reads by release', () => {
  for (const [raPages, length, from, want] of cases)
    RELEASE_NAMES.forEach((kernel, i) => {
      it(`${kernel}: reads of ${length} from ${from}, window ${raPages}: ${want[i]} folios`, () => {
        const { max } = largeFolioOrders('xfs', kernel, { blockSize: 4096, pageSize: 4096, thp: true });
        const w = fileWorld({ kernel, size: SIZE, maxOrder: max, raPages, ioPages: 320 });
        for (let pos = from; pos < SIZE; pos += length) w.read(pos, length);
        let folios = 0;
        for (let index = 0; ; folios++) {
          const f = xaFind(w.m.pages, w.m.spaces.head[w.mapping] as number, index, SIZE / 4096) as FolioId;
          if (f === 0) break;
          index = folioNextIndex(w.m.map, f);
        }
        expect(folios).toBe(want[i]);
      });
    });
});

describe('window sizes', () => {
  it('begin at four, two or one times the request', () => {
    const first = [1, 5, 9]
      .map((req) => getInitRaSize(req, 32))
      .concat([getInitRaSize(1, 2048), getInitRaSize(33, 2048)]);
    expect(first).toEqual([4, 16, 32, 4, 256]);
  });
  it('grow by four, then by two, up to the largest', () => {
    const next = [4, 16, 24]
      .map((cur) => getNextRaSize(cur, 32))
      .concat([getNextRaSize(4, 2048), getNextRaSize(100, 2048)]);
    expect(next).toEqual([8, 32, 32, 16, 400]);
  });
});
