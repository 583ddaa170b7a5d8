/** The contiguous hint of arm64, as `--cpu` and `--page-size` bring it about. */
import { expect, test } from 'vitest';
import { AccessReplay } from '../../src/lab/access_replay.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { PTE_CONT } from '../../src/mm/pgtable.ts';
import { type Accesses, type AccessSource, accesses } from '../../src/trace/access.ts';

const MIB = 2 ** 20;
const at = 0x7f0000000000;
const STORE = 1;
const LOAD = 0;

/** Touches each page of 8 MiB in order; the share of its entries that carry the hint. */
function share(cpu: string, file: string, set: Settings): number {
  const page = set.pageSize ?? 4096;
  const pages = (8 * MIB) / page;
  const batch: Accesses = accesses(pages);
  for (; batch.count < pages; batch.count++) {
    batch.kind[batch.count] = file === '' ? STORE : LOAD;
    batch.address[batch.count] = at + batch.count * page;
    batch.size[batch.count] = 8;
  }
  let told = false;
  const source: AccessSource = {
    name: 'pages',
    total: -1,
    told: false,
    regions: null,
    skipped: {},
    next() {
      if (told) return null;
      told = true;
      return batch;
    },
    close() {},
  };
  const area = { start: at, end: at + 8 * MIB, prot: file === '' ? 3 : 1, file, offset: 0 };
  const r = new AccessReplay(source, { memory: 512 * MIB, ...set }, [area], [cpu]);
  r.run();
  checkMachine(r.m, true);
  const { entries } = r.m.pt;
  let hinted = 0;
  for (let w = 1; w < entries.length; w += 2) if (((entries[w] as number) & PTE_CONT) !== 0) hinted++;
  return hinted / pages;
}

test('anonymous memory: sizes of the granule', () => {
  expect(share('neoverse-v2', '', { thp: { all: 'never', '64kB': 'always' } })).toBe(1);
  expect(share('neoverse-v2', '', { thp: { all: 'never', '32kB': 'always' } })).toBe(0);
  expect(share('neoverse-v2', '', { pageSize: 16384, thp: { all: 'never', '2048kB': 'always' } })).toBe(1);
  expect(share('neoverse-v2', '', { pageSize: 65536, thp: { all: 'never', '2048kB': 'always' } })).toBe(1);
  expect(share('zen4', '', { thp: { all: 'never', '64kB': 'always' } })).toBe(0);
});

test('a file on xfs: what readahead makes large, and no kernel before 6.9', () => {
  expect(share('neoverse-v2', 'file', { fs: 'xfs' })).toBeGreaterThan(0.9);
  expect(share('neoverse-v2', 'file', { fs: 'xfs', kernel: '6.6' })).toBe(0);
  // Blocks of 2 MiB are more than a window of 128 KiB.
  expect(share('neoverse-v2', 'file', { fs: 'xfs', pageSize: 16384 })).toBe(0);
});
