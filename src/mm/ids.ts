/** Row and page numbers, told apart by the compiler. All are plain numbers at run time. */
import type { Brand } from '../base/brand.ts';

/** Page frame number: physical address >> PAGE_SHIFT. Frame 0 is never handed out, so 0 says "none". */
export type Pfn = Brand<number, 'Pfn'>;
/** Offset in a file in pages: the kernel's pgoff_t. Below 2^31: 8 TiB of 4 KiB pages. */
export type Pgoff = Brand<number, 'Pgoff'>;
/** A folio: the row of its descriptor. On the layouts that overlay struct page it is the head page's frame number. 0 says "none". */
export type FolioId = Brand<number, 'FolioId'>;
/** Row of the address_space table; 0 says "none". */
export type MappingId = Brand<number, 'MappingId'>;
/** Row of the struct file table; 0 says "none". */
export type FileId = Brand<number, 'FileId'>;
/** Row of the memory-group table and of its lruvec; 0 is the root group. */
export type MemcgId = Brand<number, 'MemcgId'>;
/** Row of the address-space table (mm_struct); 0 says "none". */
export type MmId = Brand<number, 'MmId'>;
/** Row of the VMA table; 0 says "none". */
export type VmaId = Brand<number, 'VmaId'>;
/** Row of the anon_vma table; 0 says "none". */
export type AnonVmaId = Brand<number, 'AnonVmaId'>;
/** A page-table page: row of the table of tables; 0 says "none". */
export type PtId = Brand<number, 'PtId'>;
/** A swap slot: a row of the table of slots; 0 says "none". */
export type SwapEntry = Brand<number, 'SwapEntry'>;
/** log2 of a number of pages. */
export type Order = Brand<number, 'Order'>;

export const NO_FOLIO = 0 as FolioId;
export const NO_PFN = 0 as Pfn;
/** Frames a machine may have: their memory map of 16 words each is one array, of 2^32 elements at most. 1 TiB of 4 KiB frames. */
export const FRAMES_MAX: number = 2 ** 28;
/** Pages a file may have. */
export const PGOFF_MAX = 2 ** 31 - 1;
