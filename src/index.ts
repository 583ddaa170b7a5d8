/** The public names of the package, listed one by one: the engine and its file systems. The lab is `quire-mm/lab`. */
export { type Errno, InputError, QuireError } from './base/errors.ts';
export { largeFolioOrders } from './fs/filesystems.ts';
export { mount } from './fs/mount.ts';
export type { AddressSpaceOperations } from './mm/address_space.ts';
export { checkMachine } from './mm/check.ts';
export { type Fadvice, genericFadvise, ksysReadahead } from './mm/fadvise.ts';
export {
  filemapGetFolio,
  filemapRead,
  type Kiocb,
  kiocb,
  READ_DONE,
  READ_EIO,
  READ_NOMEM,
  READ_WAIT,
} from './mm/filemap.ts';
export { allocHugetlbFolio, hugetlbReport, putHugeFolio, setMaxHugePages, sizeToHstate } from './mm/hugetlb.ts';
export type { FileId, FolioId, MappingId, MemcgId, Order, Pfn, Pgoff } from './mm/ids.ts';
export type { Io, Machine, MachineConfig, Tracer } from './mm/machine.ts';
export { memcgCreate } from './mm/memcontrol.ts';
export { memmapLayout, memmapLayouts } from './mm/memmap.ts';
export { type MemoryFailure, memoryFailure } from './mm/memory_failure.ts';
export { offlinePages, onlinePages } from './mm/memory_hotplug.ts';
export { memremapPages, memunmapPages, zoneDevicePageInit } from './mm/memremap.ts';
export { type InodeConfig, inodeInit, machine, openFile } from './mm/mm_init.ts';
export { decodeFlags, PG } from './mm/page_flags.ts';
export {
  pagePoolAllocFrag,
  pagePoolAllocPages,
  pagePoolCreate,
  pagePoolDestroy,
  pagePoolPutPage,
} from './mm/page_pool.ts';
export { getPage, putPage, tryGetPage } from './mm/page_ref.ts';
export { ksysSync, vfsFsync } from './mm/page_writeback.ts';
export { RELEASE_NAMES, type Release, release } from './mm/release.ts';
export { kfree, kmalloc, kmemCacheCreate, kmemCacheDestroy, slabinfo, slabinfoText } from './mm/slab_common.ts';
export { kmemCacheAlloc, kmemCacheFree } from './mm/slub.ts';
export { vfree, vmalloc, vmallocHuge } from './mm/vmalloc.ts';
export { vmstatReport } from './mm/vmstat.ts';
