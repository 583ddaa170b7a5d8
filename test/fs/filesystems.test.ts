import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import {
  type FileSystemFacts,
  fileSystem,
  filesystems,
  largeFolioKinds,
  largeFolioOrders,
  maxPagecacheOrder,
} from '../../src/fs/filesystems.ts';
import { compareReleases, RELEASE_NAMES, type ReleaseName } from '../../src/mm/release.ts';

const names = Object.keys(filesystems);
const KIB = 1024;
const orders = (name: string, release: ReleaseName, block = 4 * KIB, page = 4 * KIB, thp = true) => {
  const { min, max } = largeFolioOrders(name, release, { blockSize: block, pageSize: page, thp });
  return [min, max];
};

describe('the table', () => {
  test.each(names)('%s: oldest first, each entry with its source', (name) => {
    const facts: FileSystemFacts = fileSystem(name);
    for (const [i, entry] of facts.largeFolios.entries()) {
      const before = facts.largeFolios[i - 1];
      if (before) expect(compareReleases(before.since, entry.since)).toBeLessThan(0);
      expect(entry.source).toMatch(/^(mm|fs|block)\/\S+\.[ch] \w+ .*\d+\.\d+\.\d+/);
      expect(entry.sure).toBe('read');
    }
    const above = facts.blockSizeAbovePage;
    if (above) expect(compareReleases(facts.largeFolios[0]?.since ?? '99', above.since)).toBeLessThanOrEqual(0);
  });

  test.each(names)('%s: what it could once, it still can, until it is gone', (name) => {
    let could = { read: false, write: false };
    for (const release of RELEASE_NAMES) {
      const gone = fileSystem(name).gone;
      if (gone !== undefined && compareReleases(release, gone) >= 0) break;
      const can = largeFolioKinds(name, release);
      expect([can.read || !could.read, can.write || !could.write]).toEqual([true, true]);
      could = can;
    }
  });

  test('an unknown file system is an error that lists the known ones', () => {
    expect(() => fileSystem('reiserfs')).toThrow(QuireError);
    expect(() => fileSystem('reiserfs')).toThrow(/file system reiserfs: not known; there are xfs, ext4, /);
    expect(() => fileSystem('constructor')).toThrow(QuireError);
  });
});

describe('which can have large folios when', () => {
  test('xfs: none in 5.15, by reads from 5.18, by writes from 6.6', () => {
    expect(largeFolioKinds('xfs', '5.15')).toEqual({ read: false, write: false });
    expect(largeFolioKinds('xfs', '5.18')).toEqual({ read: true, write: false });
    expect(largeFolioKinds('xfs', '6.1')).toEqual({ read: true, write: false });
    expect(largeFolioKinds('xfs', '6.6')).toEqual({ read: true, write: true });
    expect(orders('xfs', '5.15')).toEqual([0, 0]);
    expect(orders('xfs', '5.18')).toEqual([0, 9]);
  });

  test('ext4: none before 6.16; ext2 never', () => {
    for (const release of ['5.15', '5.18', '6.1', '6.6', '6.12'] as const) {
      expect(orders('ext4', release)).toEqual([0, 0]);
    }
    expect(orders('ext4', '6.18')).toEqual([0, 9]);
    expect(orders('ext4', '6.18', KIB)).toEqual([0, 9]);
    for (const release of RELEASE_NAMES) expect(orders('ext2', release)).toEqual([0, 0]);
  });

  test('ext4: at most 2048 blocks a folio, which shows with pages of 16 KiB', () => {
    expect(orders('ext4', '6.18', KIB, 16 * KIB)).toEqual([0, 7]);
    expect(orders('ext4', '6.18', 4 * KIB, 16 * KIB)).toEqual([0, 9]);
  });

  test('btrfs: none up to 6.18, then 64 blocks', () => {
    for (const release of RELEASE_NAMES.slice(0, -1)) expect(orders('btrfs', release)).toEqual([0, 0]);
    expect(orders('btrfs', '7.3')).toEqual([0, 6]);
  });

  test('block devices from 6.15; erofs from 6.2, reading', () => {
    expect(orders('block', '6.12')).toEqual([0, 0]);
    expect(orders('block', '6.18')).toEqual([0, 9]);
    expect(largeFolioKinds('erofs', '6.1')).toEqual({ read: false, write: false });
    expect(largeFolioKinds('erofs', '6.6')).toEqual({ read: true, write: false });
  });

  test('bcachefs is in 6.12 and no longer in 6.18', () => {
    expect(orders('bcachefs', '6.12')).toEqual([0, 9]);
    expect(() => orders('bcachefs', '6.18')).toThrow('bcachefs: not in kernel 6.18');
    expect(largeFolioKinds('bcachefs', '6.18')).toEqual({ read: false, write: false });
  });

  test('without transparent huge pages there are none', () => {
    for (const name of names) {
      if (name === 'bcachefs') continue;
      expect(orders(name, '7.3', 4 * KIB, 4 * KIB, false)).toEqual([0, 0]);
    }
  });
});

describe('blocks larger than a page', () => {
  test('xfs from 6.12: the block is the smallest folio', () => {
    expect(orders('xfs', '6.12', 16 * KIB)).toEqual([2, 9]);
    expect(orders('xfs', '6.18', 64 * KIB)).toEqual([4, 9]);
    expect(() => orders('xfs', '6.6', 16 * KIB)).toThrow(
      'xfs: a block of 16384 bytes above a page of 4096 needs kernel 6.12',
    );
    expect(() => orders('xfs', '6.12', 16 * KIB, 4 * KIB, false)).toThrow('needs transparent huge pages');
    expect(orders('xfs', '5.15', 16 * KIB, 16 * KIB)).toEqual([0, 0]);
  });

  test('ext4 from 6.19; ext2 and btrfs not', () => {
    expect(() => orders('ext4', '6.18', 16 * KIB)).toThrow('needs kernel 6.19');
    expect(orders('ext4', '7.3', 16 * KIB)).toEqual([2, 9]);
    expect(() => orders('ext2', '7.3', 16 * KIB)).toThrow('is not possible');
    expect(() => orders('btrfs', '7.3', 16 * KIB)).toThrow('is not possible');
  });
});

test('the largest folio is what a page-table page maps, as far as the tree holds it', () => {
  expect([4, 16, 64].map((k) => maxPagecacheOrder(k * KIB))).toEqual([9, 11, 11]);
});
