import { describe, expect, test } from 'vitest';
import { InputError, QuireError } from '../../src/base/errors.ts';
import { billOf } from '../../src/lab/bill.ts';
import { billReport, billText } from '../../src/lab/bill_text.ts';
import { parseSlabinfo, setUpKernelMemory } from '../../src/lab/kernel_memory.ts';
import { Replay } from '../../src/lab/replay.ts';
import { machineCensus, noPieces, OWNER_ROW, ownerPages, ownerPieces } from '../../src/mm/census.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { checkHugetlb } from '../../src/mm/hugetlb.ts';
import { checkSlabs } from '../../src/mm/slub_check.ts';
import { opsFrom } from '../../src/trace/ops.ts';

const GIB = 2 ** 30;
const HEAD = 'slabinfo - version: 2.1\n# name <active_objs> …\n';
const row = (name: string, active: number, all: number, size: number, per: number, pages: number): string =>
  `${name} ${active} ${all} ${size} ${per} ${pages} : tunables 0 0 0 : slabdata ${Math.ceil(all / per)} ${Math.ceil(all / per)} 0\n`;
/** As a machine with two CPUs has them. */
const FILE = `${HEAD}${row('radix_tree_node', 5000, 5600, 584, 14, 2)}${row('dentry', 2100, 2100, 192, 21, 1)}${row('kmalloc-8k', 3, 12, 8192, 4, 8)}${row('btrfs_inode', 32, 32, 1016, 16, 4)}`;

const replay = (memory = GIB): Replay => {
  const lines = ['#quire-ops 1', '#fs,xfs', '#file,1,a,4194304', 'open,1,1,r', 'pread,1,0,4194304'];
  return new Replay(opsFrom('t', `${lines.join('\n')}\n`), { memory });
};

describe('the kernel’s own memory', () => {
  test('slabs of a slabinfo: the file’s slabs, by the file’s number of CPUs; then the recording', () => {
    const r = replay();
    const slabs = parseSlabinfo(FILE, 'slabinfo');
    const result = setUpKernelMemory(r.m, { hugepages: [{ bytes: 2 ** 21, count: 20 }], hvo: true, slabs });
    expect(result).toEqual({ caches: 4, sameShape: 4, objects: 7135, slabPages: 800 + 100 + 24 + 8, hugePages: 20 });
    expect(r.m.slab.cpus).toBe(2);
    r.run();
    checkSlabs(r.m);
    checkHugetlb(r.m);
    checkMachine(r.m, false);
    const census = machineCensus(r.m);
    expect([ownerPieces(census, 'slab'), ownerPages(census, 'slab')]).toEqual([400 + 100 + 3 + 2, 932]);
    expect(census.pieces[OWNER_ROW.hugetlb + 9]).toBe(20);
    expect(ownerPages(census, 'file')).toBe(1024);
  });

  test.each([
    ['no slabinfo', 'hello\n', /slabinfo:1: "hello": expected slabinfo - version/],
    ['no cache', HEAD, /no cache/],
    ['cut short', `${HEAD}dentry 21 21 192`, /slabinfo:3: "dentry 21 21 192": expected NAME and five numbers/],
    ['more active than there are', `${HEAD}${row('a', 5, 4, 64, 64, 1)}`, /5 objects active of 4/],
    ['impossible slab', `${HEAD}${row('a', 1, 4, 64, 64, 3)}`, /expected a slab/],
    ['negative', `${HEAD}a -1 4 64 64 1 : tunables`, /five numbers/],
  ])('%s', (_, text, message) => {
    expect(() => parseSlabinfo(text, 'slabinfo')).toThrow(InputError);
    expect(() => parseSlabinfo(text, 'slabinfo')).toThrow(message);
  });

  test('more than the machine has', () => {
    const none = { hugepages: [], hvo: false, slabs: [] };
    const many = parseSlabinfo(`${HEAD}${row('a', 1e6, 1e6, 4096, 8, 8)}`, 'f');
    expect(() => setUpKernelMemory(replay(2 ** 26).m, { ...none, slabs: many })).toThrow(
      /slabs of a: .* no memory after/,
    );
    expect(() =>
      setUpKernelMemory(replay(2 ** 26).m, { ...none, hugepages: [{ bytes: 2 ** 21, count: 100 }] }),
    ).toThrow(/100 huge pages of 2 MiB: the machine has room for \d+/);
    expect(() => setUpKernelMemory(replay().m, { ...none, hugepages: [{ bytes: 5, count: 1 }] })).toThrow(QuireError);
  });
});

describe('pools in the bill', () => {
  const pieces = noPieces();
  pieces[OWNER_ROW.hugetlb + 9] = 100;
  pieces[OWNER_ROW.hugetlb + 18] = 1;
  pieces[OWNER_ROW.file] = 1000;
  const census = { pageSize: 4096, frames: 2 ** 20, pieces };
  const { hvo, rows } = billOf(census, { rcuFreePointer: false });

  test('by hand: 7 of 8 pages and 4095 of 4096; 3 of 4 and 2047 of 2048; none of 1 and 511 of 512', () => {
    expect(hvo?.rows.map((r) => r.savedBytes / 4096)).toEqual([4795, 4795, 300 + 2047, 511]);
    hvo?.rows.forEach((r, i) => {
      expect(r.totalBytes).toBe((rows[i]?.totalBytes ?? 0) - r.savedBytes);
    });
    expect(hvo?.rows[3]?.differenceBytes).toBe((hvo?.rows[3]?.totalBytes ?? 0) - (hvo?.rows[0]?.totalBytes ?? 0));
    const huge = hvo?.sizes[0];
    expect([huge?.plainBytes.page64, huge?.optimisedBytes.page64]).toEqual([32768, 4096]);
    expect(huge?.plainBytes.memdesc8).toBeCloseTo(4096 + 128 + 64 / 32, 0);
    expect(huge?.optimisedBytes.memdesc8).toBe(huge?.plainBytes.memdesc8);
  });

  test('said in the text; without pools there is nothing to say', () => {
    const source = { kind: 'census', name: 'c', scaledFrom: null, compared: null, seconds: null } as const;
    const options = { rcuFreePointer: false };
    const text = billText(billReport(census, source, options), census);
    expect(text).toMatch(/page64, overlay +18\.7 MiB/);
    expect(text).toMatch(/A pool page of 2\.0 MiB: with HVO today’s map costs 130 B less than memdesc8 without\./);
    const plain = { ...census, pieces: noPieces() };
    expect(billOf(plain, options).hvo).toBe(null);
    expect(billText(billReport(plain, source, options), plain)).not.toMatch(/HVO/);
  });
});
