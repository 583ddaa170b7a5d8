/** A picture of what is cached, for the explorer and for tests. */
import { xaFind } from '../base/xarray.ts';
import { type FolioId, PGOFF_MAX } from '../mm/ids.ts';
import { folioFlags, folioIndex, folioMemcg, folioNextIndex, folioOrder } from '../mm/mm_types.ts';
import { decodeFlags } from '../mm/page_flags.ts';
import { vmstatReport } from '../mm/vmstat.ts';
import { type FilePicture, type FolioPicture, SNAPSHOT_VERSION, type Snapshot } from '../view/snapshot.ts';
import type { Core } from './core.ts';
import type { CacheGroup } from './group.ts';
import type { Inode } from './inode.ts';

export function snapshotOf(core: Core, groups: readonly CacheGroup[]): Snapshot {
  const { m, budget } = core;
  return {
    format: 'quire-snapshot',
    version: SNAPSHOT_VERSION,
    of: 'cache',
    kernel: m.release.name,
    pageSize: budget.pageSize,
    pages: budget.frames,
    files: core.inodes.filter((inode) => inode !== undefined).map((inode) => fileOf(core, inode)),
    groups: groups.map((g) => ({ id: g.id, name: g.name, memory: g.memory })),
    vmstat: vmstatReport(m.vmstat),
  };
}

function fileOf(core: Core, inode: Inode): FilePicture {
  const { m } = core;
  const head = m.spaces.head[inode.mapping] as number;
  const folios: FolioPicture[] = [];
  for (let i = 0; ; ) {
    const folio = xaFind(m.pages, head, i, PGOFF_MAX) as FolioId;
    if (folio === 0) break;
    i = folioNextIndex(m.map, folio);
    const flags = decodeFlags(folioFlags(m.map, folio));
    folios.push({
      index: folioIndex(m.map, folio),
      order: folioOrder(m.map, folio),
      flags: flags === '' ? [] : flags.split('|'),
      group: folioMemcg(m.map, folio),
      ...core.fs.blocks(m, folio),
    });
  }
  return { name: inode.name, size: inode.size, blockSize: core.fs.blockSize(m, inode.mapping), folios };
}
