/** The public names of the package, listed one by one: the engine and its file systems. The lab is `quire-mm/lab`. */
export { type Errno, InputError, QuireError } from './base/errors.ts';
export { largeFolioOrders } from './fs/filesystems.ts';
export { mount } from './fs/mount.ts';
export type { AddressSpaceOperations } from './mm/address_space.ts';
export { balloonDeflate, balloonInflate } from './mm/balloon_compaction.ts';
export { type Census, machineCensus, OWNERS, type Owner, ownerPages, ownerPieces } from './mm/census.ts';
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
export { FOLL_GET, FOLL_PIN, FOLL_WRITE, getUserPages, pinUserPages, unpinUserPages } from './mm/gup.ts';
export { allocHugetlbFolio, hugetlbReport, putHugeFolio, setMaxHugePages, sizeToHstate } from './mm/hugetlb.ts';
export { type HugetlbMap, hugetlbFault, hugetlbMap, hugetlbTruncate, hugetlbUnmap } from './mm/hugetlb_map.ts';
export type { FileId, FolioId, MappingId, MemcgId, MmId, Order, Pfn, Pgoff, VmaId } from './mm/ids.ts';
export type { Io, Machine, MachineConfig, Tracer } from './mm/machine.ts';
export { type Madvice, madvise } from './mm/madvise.ts';
export { memcgCreate } from './mm/memcontrol.ts';
export { memmapLayout, memmapLayouts } from './mm/memmap.ts';
export { handleMmFault } from './mm/memory.ts';
export { type MemoryFailure, memoryFailure } from './mm/memory_failure.ts';
export { offlinePages, onlinePages } from './mm/memory_hotplug.ts';
export { memremapPages, memunmapPages, zoneDevicePageInit } from './mm/memremap.ts';
export { doMlock } from './mm/mlock_vma.ts';
export { type InodeConfig, inodeInit, machine, openFile } from './mm/mm_init.ts';
export { getMmRss, mmAlloc } from './mm/mm_struct.ts';
export { folioIndex, folioMapping, folioNrPages, folioOrder, folioPfn, folioTest, pageFolio } from './mm/mm_types.ts';
export { doMmap, doMunmap, dupMm, type MmapRequest, mmput } from './mm/mmap.ts';
export { doMprotect } from './mm/mprotect.ts';
export { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from './mm/mremap.ts';
export { allocPages, folioAlloc, freePages } from './mm/page_alloc.ts';
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
export { accessPage } from './mm/pgtable.ts';
export { RELEASE_NAMES, type Release, release } from './mm/release.ts';
export { folioMapcount } from './mm/rmap.ts';
export { kfree, kmalloc, kmemCacheCreate, kmemCacheDestroy, slabinfo, slabinfoText } from './mm/slab_common.ts';
export { kmemCacheAlloc, kmemCacheFree } from './mm/slub.ts';
export { lruAddDrain } from './mm/swap.ts';
export { type SwapConfig, swapon } from './mm/swapfile.ts';
export { MTHP, mthpStat, thpStore } from './mm/thp.ts';
export { VM_FAULT_ERROR, VM_FAULT_MAJOR, VM_FAULT_OOM, VM_FAULT_RETRY } from './mm/vm_fault.ts';
export { VM_EXEC, VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_SHARED, VM_WRITE, vmaLookup } from './mm/vma.ts';
export { vfree, vmalloc, vmallocHuge } from './mm/vmalloc.ts';
export { vmstatReport } from './mm/vmstat.ts';
