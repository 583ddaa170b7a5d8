/**
 * Which file system can have folios of more than one page, from which release on, and how large. A file system that is not
 * large-folio capable at a release has folios of one page there, whatever readahead or write(2) would like.
 *
 * Bounds of `since`: where a source names two releases, the entry was absent in the first and present in the second.
 */
import { QuireError } from '../base/errors.ts';
import { compareReleases, inForce, type ReleaseName, type Sure } from '../mm/release.ts';

export interface LargeFolios {
  /** First release. */
  readonly since: string;
  /** What makes them: reads (readahead), write(2), or both. */
  readonly kind: 'read' | 'write' | 'all';
  /** Largest folio in blocks; without it, the largest of the page cache. */
  readonly blocksMax?: number;
  readonly note: string;
  readonly source: string;
  readonly sure: Sure;
}

export interface FileSystemFacts {
  /** How its files are read and written: decides which laws of a release apply. */
  readonly through: 'iomap' | 'generic' | 'own' | 'netfs' | 'shmem' | 'read-only';
  /** Oldest first; empty: never so far. */
  readonly largeFolios: readonly LargeFolios[];
  /** First release with blocks larger than a page. */
  readonly blockSizeAbovePage?: { readonly since: string; readonly source: string; readonly sure: Sure };
  /** First release that was read without ->writepage, through which kswapd wrote single folios; absent: never had one, or no data. */
  readonly writepageUntil?: string;
  /** First release without the file system. */
  readonly gone?: string;
}

const xfs = 'fs/xfs/xfs_icache.c xfs_inode_alloc';
const none = (through: FileSystemFacts['through'], writepageUntil?: string): FileSystemFacts => ({
  through,
  largeFolios: [],
  ...(writepageUntil === undefined ? {} : { writepageUntil }),
});

export const filesystems = {
  xfs: {
    through: 'iomap',
    largeFolios: [
      {
        since: '5.18',
        kind: 'read',
        note: 'readahead alone makes them; write(2) uses those it finds',
        source: `${xfs} (5.19.0, 6.1.192)`,
        sure: 'read',
      },
      { since: '6.6', kind: 'write', note: 'by length', source: `${xfs} (6.6.63; 7.3.4)`, sure: 'read' },
    ],
    blockSizeAbovePage: { since: '6.12', source: `${xfs} (6.12.117)`, sure: 'read' },
  },
  ext4: {
    through: 'generic',
    largeFolios: [
      {
        since: '6.16',
        kind: 'all',
        blocksMax: 2048,
        note: 'regular files; not with data=journal, nor on a file system with encryption (before 7.x: or verity)',
        source: 'fs/ext4/inode.c ext4_set_inode_mapping_order (6.18.35, 7.3.4; absent in 6.12.117)',
        sure: 'read',
      },
    ],
    blockSizeAbovePage: {
      since: '6.19',
      source: 'fs/ext4/super.c ext4_load_super s_min_folio_order (7.3.4; absent in 6.18.35)',
      sure: 'read',
    },
    writepageUntil: '6.6',
  },
  ext2: none('generic', '6.6'),
  btrfs: {
    through: 'own',
    largeFolios: [
      {
        since: '7.0',
        kind: 'all',
        blocksMax: 64,
        note: 'from 6.17 in kernels built with BTRFS_EXPERIMENTAL, which distributions leave out',
        source: 'fs/btrfs/btrfs_inode.h btrfs_set_inode_mapping_order (7.3.4; experimental in 6.18.35)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.1',
  },
  erofs: {
    through: 'read-only',
    largeFolios: [
      {
        since: '6.2',
        kind: 'read',
        note: 'uncompressed files; compressed ones too from 6.12 on at the latest',
        source: 'fs/erofs/inode.c erofs_fill_inode (6.6.63, 6.12.117; absent in 6.1.192)',
        sure: 'read',
      },
    ],
  },
  tmpfs: {
    through: 'shmem',
    largeFolios: [
      {
        since: '5.15',
        kind: 'all',
        note: 'mount option huge=; the law of sizes is tmpfsHuge',
        source: 'mm/shmem.c shmem_is_huge (5.15.100), shmem_huge_global_enabled (6.12.117 to 7.3.4)',
        sure: 'read',
      },
    ],
  },
  zonefs: {
    through: 'iomap',
    largeFolios: [
      {
        since: '6.10',
        kind: 'all',
        note: '',
        source: 'fs/zonefs/super.c zonefs_get_file_inode (6.12.117; absent in 6.6.63)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.1',
  },
  bcachefs: {
    through: 'own',
    largeFolios: [
      {
        since: '6.7',
        kind: 'all',
        note: 'in the kernel from 6.7 to 6.17',
        source: 'fs/bcachefs/fs.c bch2_vfs_inode_init (6.12.117; absent in 6.18.35)',
        sure: 'read',
      },
    ],
    gone: '6.18',
  },
  block: {
    through: 'iomap',
    largeFolios: [
      {
        since: '6.15',
        kind: 'all',
        note: 'the device itself, without a file system',
        source: 'block/bdev.c set_init_blocksize (6.18.35; absent in 6.12.117)',
        sure: 'read',
      },
    ],
    blockSizeAbovePage: {
      since: '6.15',
      source: 'block/bdev.c set_blocksize (6.18.35; absent in 6.12.117)',
      sure: 'read',
    },
    writepageUntil: '6.12',
  },
  f2fs: {
    through: 'own',
    largeFolios: [
      {
        since: '7.0',
        kind: 'read',
        note: 'immutable files that are not compressed',
        source: 'fs/f2fs/inode.c f2fs_iget (7.3.4; absent in 6.18.35)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.16',
  },
  afs: {
    through: 'netfs',
    largeFolios: [
      {
        since: '6.0',
        kind: 'all',
        note: '',
        source: 'fs/afs/inode.c afs_inode_init_from_status (6.1.192; absent in 5.19.0)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.6',
  },
  nfs: {
    through: 'own',
    largeFolios: [
      {
        since: '6.11',
        kind: 'all',
        note: '',
        source: 'fs/nfs/inode.c nfs_fhget (6.12.117; absent in 6.6.63)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.12',
  },
  cifs: {
    through: 'netfs',
    largeFolios: [
      {
        since: '6.12',
        kind: 'all',
        note: 'the first release may be an earlier one, after 6.6',
        source: 'fs/smb/client/inode.c cifs_set_ops (6.12.117; absent in 6.6.63)',
        sure: 'read',
      },
    ],
    writepageUntil: '6.6',
  },
  '9p': none('netfs', '6.12'),
  ceph: none('netfs', '6.12'),
  fuse: none('own', '6.12'),
  gfs2: none('iomap', '6.1'),
  fat: none('generic', '6.6'),
  exfat: none('generic', '6.6'),
  ntfs3: none('generic', '6.6'),
  udf: none('generic', '6.6'),
} as const satisfies Record<string, FileSystemFacts>;

export type FileSystemName = keyof typeof filesystems;

/** What is known of the file system of that name. */
export function fileSystem(name: string): FileSystemFacts {
  if (!Object.hasOwn(filesystems, name)) {
    throw new QuireError('EINVAL', `file system ${name}: not known; there are ${Object.keys(filesystems).join(', ')}`);
  }
  return filesystems[name as FileSystemName];
}

/** Do reads, and does write(2), make large folios on this file system at that release? */
export function largeFolioKinds(name: string, release: ReleaseName): { read: boolean; write: boolean } {
  const facts = fileSystem(name);
  if (facts.gone !== undefined && compareReleases(release, facts.gone) >= 0) return { read: false, write: false };
  const now = facts.largeFolios.filter((entry) => compareReleases(entry.since, release) <= 0);
  return {
    read: now.some((entry) => entry.kind !== 'write'),
    write: now.some((entry) => entry.kind !== 'read'),
  };
}

/** A file as its file system sees it. Sizes in bytes. */
export interface FileGeometry {
  readonly blockSize: number;
  readonly pageSize: number;
  /** CONFIG_TRANSPARENT_HUGEPAGE: without it there are no large folios in files. */
  readonly thp: boolean;
}

/** Largest order that the page cache's tree can hold in one entry. @kernel include/linux/pagemap.h MAX_XAS_ORDER (6.12) */
const MAX_XAS_ORDER = 11;

/**
 * Largest order of the page cache: what one page-table page maps, as far as the tree can hold it.
 * @kernel include/linux/pagemap.h MAX_PAGECACHE_ORDER (6.12)
 */
export const maxPagecacheOrder = (pageSize: number): number => Math.min(Math.log2(pageSize / 8), MAX_XAS_ORDER);

/**
 * Smallest and largest folio order of a file's mapping. Throws where such blocks could not be mounted.
 * @kernel include/linux/pagemap.h mapping_set_folio_order_range (6.18)
 */
export function largeFolioOrders(
  name: string,
  release: ReleaseName,
  { blockSize, pageSize, thp }: FileGeometry,
): { min: number; max: number } {
  const facts = fileSystem(name);
  if (facts.gone !== undefined && compareReleases(release, facts.gone) >= 0) {
    throw new QuireError('EINVAL', `${name}: not in kernel ${release}`);
  }
  const min = Math.max(0, Math.log2(blockSize / pageSize));
  if (min > 0) {
    const first = facts.blockSizeAbovePage?.since;
    const wants = `${name}: a block of ${blockSize} bytes above a page of ${pageSize}`;
    if (first === undefined) throw new QuireError('EINVAL', `${wants} is not possible`);
    if (compareReleases(release, first) < 0) throw new QuireError('EINVAL', `${wants} needs kernel ${first}`);
    if (!thp) throw new QuireError('EINVAL', `${wants} needs transparent huge pages`);
  }
  const entry = inForce(facts.largeFolios, release);
  if (!thp || entry === undefined) return { min, max: min };
  const most = maxPagecacheOrder(pageSize);
  const blocks = entry.blocksMax ?? Number.POSITIVE_INFINITY;
  const limit = Math.floor(Math.log2((blocks * blockSize) / pageSize));
  return { min, max: Math.max(min, Math.min(most, limit)) };
}
