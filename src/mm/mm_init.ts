/** Making a machine, its files and their opens. @kernel mm/mm_init.c mm_core_init (6.18) */
import { assert, QuireError } from '../base/errors.ts';
import { allocate, grow } from '../base/table.ts';
import { formatBytes } from '../base/units.ts';
import { xarray } from '../base/xarray_node.ts';
import { type AddressSpaceOperations, addressSpaceLayout, fileLayout } from './address_space.ts';
import { anonVmasInit } from './anon_vma.ts';
import { balloonInit } from './balloon_compaction.ts';
import { readBatch } from './filemap.ts';
import { hugetlbInit } from './hugetlb.ts';
import { type FileId, FRAMES_MAX, type MappingId, NO_FOLIO } from './ids.ts';
import { khugepagedInit } from './khugepaged.ts';
import { collapseInit } from './khugepaged_collapse.ts';
import { lruGenInit } from './lru_gen.ts';
import { type Machine, type MachineConfig, PAGES_DELETED } from './machine.ts';
import { KERNEL_RULES, memcgsInit } from './memcontrol.ts';
import { poisonInit } from './memory_failure.ts';
import { MemoryMap } from './memory_map.ts';
import { mlockBatch } from './mlock.ts';
import { lruvecsInit } from './mm_inline.ts';
import { mmsInit } from './mm_struct.ts';
import { zonesInit } from './page_alloc.ts';
import { memblockFreeAll } from './page_alloc_buddy.ts';
import { pagePoolsInit } from './page_pool.ts';
import { geometryOf, pageTablesInit } from './pgtable.ts';
import { rmapWalkState } from './rmap_walk.ts';
import { slabsInit } from './slab.ts';
import { batchesInit } from './swap.ts';
import { swapInit } from './swap_table.ts';
import { mthpTable, thpInit } from './thp.ts';
import { vmFault } from './vm_fault.ts';
import { vmasInit } from './vma.ts';
import { vmallocInit } from './vmalloc.ts';
import { vmstatTable } from './vmstat.ts';
import { writtenInit } from './written.ts';

/** Pages per entry that a multi-index entry of the tree can cover at most. @kernel include/linux/pagemap.h MAX_XAS_ORDER (6.18) */
const MAX_XAS_ORDER = 11;

/** A machine with all its memory free. Memory that nobody touches costs the host nothing. */
export function machine(config: MachineConfig): Machine {
  const frames = Math.floor(config.memory / config.pageSize);
  if (frames < 256) throw new QuireError('EINVAL', `memory ${config.memory}: expected at least 256 pages`);
  if (frames > FRAMES_MAX)
    throw new QuireError(
      'EINVAL',
      `memory ${formatBytes(config.memory)}: expected at most ${formatBytes(FRAMES_MAX * config.pageSize)}`,
    );
  const geometry = config.pageTables ?? geometryOf(config.pageSize);
  const deviceFrames = Math.floor((config.deviceMemory ?? 0) / config.pageSize);
  const zones = zonesInit(frames, config.pageSize, config.thp);
  const m: Machine = {
    config,
    release: config.release,
    pageShift: 31 - Math.clz32(config.pageSize),
    pagesPerByte: 1 / config.pageSize,
    maxPagecacheOrder: config.thp ? Math.min(MAX_XAS_ORDER, zones.pmdOrder) : 8,
    io: {
      read: () => assert(false, 'a machine that does I/O has a device'),
      write: () => assert(false, 'a machine that does I/O has a device'),
    },
    tracer: null,
    bytes: null,
    tlb: null,
    map: new MemoryMap(config.memmap ?? 'overlay', frames + deviceFrames, zones.pageblockOrder, config.pageSize),
    zones,
    lruvecs: lruvecsInit(4),
    lruGen: config.lru === 'mglru' ? lruGenInit(config.release) : null,
    batches: batchesInit(config.release.folioBatch),
    memcgs: memcgsInit(config.memcgRules ?? { ...KERNEL_RULES, chargeBatch: config.release.memcgChargeBatch }),
    swap: swapInit(zones.pmdOrder),
    pages: xarray(),
    geometry,
    mms: mmsInit(),
    vmas: vmasInit(),
    anonVmas: anonVmasInit(),
    mlock: mlockBatch(),
    rmap: rmapWalkState(geometry.levels[1].shift),
    khugepaged: khugepagedInit(),
    collapse: collapseInit(geometry.levels[0].bits),
    written: writtenInit(frames),
    slab: slabsInit(),
    vmalloc: vmallocInit(),
    pagePools: pagePoolsInit(),
    balloon: balloonInit(),
    poison: poisonInit(),
    pgmaps: [],
    hugetlb: hugetlbInit(zones.pmdOrder, config.pageSize),
    pt: pageTablesInit(geometry, config.thp && config.release.contpte),
    spaces: allocate(addressSpaceLayout, 16),
    files: allocate(fileLayout, 16),
    nrSpaces: 1,
    nrFiles: 1,
    aops: [],
    vmstat: vmstatTable(),
    cached: new Float64Array(PAGES_DELETED + 1),
    thp: thpInit(geometry.levels[0].bits, config.thp, config.release),
    mthp: mthpTable(),
    readBatch: readBatch(),
    vmf: vmFault(),
    contents: false,
    contentsUnknown: false,
    now: 0,
    currentMemcg: 0,
    ahead: false,
    writeErrors: 0,
    wait: NO_FOLIO,
  };
  memblockFreeAll(m);
  return m;
}

/** A file system's view of a new file. Sizes in bytes, windows in pages. */
export interface InodeConfig {
  readonly ops: AddressSpaceOperations;
  readonly size: number;
  readonly minOrder: number;
  readonly maxOrder: number;
  readonly blkbits: number;
  readonly raPages: number;
  readonly ioPages: number;
}

/** A file with nothing of it cached. @kernel fs/inode.c inode_init_always (6.18) */
export function inodeInit(m: Machine, inode: InodeConfig): MappingId {
  const s = m.nrSpaces++;
  if (s >= m.spaces.rows) grow(addressSpaceLayout, m.spaces, m.spaces.rows * 2);
  const { spaces } = m;
  let ops = m.aops.indexOf(inode.ops);
  if (ops < 0) ops = m.aops.push(inode.ops) - 1;
  spaces.ops[s] = ops;
  spaces.size[s] = inode.size;
  // @kernel include/linux/pagemap.h mapping_set_folio_order_range (6.18)
  spaces.minOrder[s] = Math.min(inode.minOrder, m.maxPagecacheOrder);
  spaces.maxOrder[s] = Math.max(Math.min(inode.maxOrder, m.maxPagecacheOrder), spaces.minOrder[s] as number);
  spaces.blkbits[s] = inode.blkbits;
  spaces.raPages[s] = inode.raPages;
  spaces.ioPages[s] = inode.ioPages;
  inode.ops.inodeInit(m, s as MappingId);
  return s as MappingId;
}

/** A new open of a file. @kernel mm/readahead.c file_ra_state_init (6.18) */
export function openFile(m: Machine, mapping: MappingId, reuse: FileId | 0): FileId {
  const f = reuse !== 0 ? reuse : m.nrFiles++;
  if (f >= m.files.rows) grow(fileLayout, m.files, m.files.rows * 2);
  const { files } = m;
  files.mapping[f] = mapping;
  files.start[f] = 0;
  files.size[f] = 0;
  files.asyncSize[f] = 0;
  files.raPages[f] = m.spaces.raPages[mapping] as number;
  files.order[f] = 0;
  files.mmapMiss[f] = 0;
  files.prevPos[f] = -1;
  files.pos[f] = 0;
  files.fmode[f] = 0;
  files.count[f] = 1;
  return f as FileId;
}
