/**
 * A page fault under way, and what a file's memory brings with it to handle one. One record a machine: a fault is handled
 * before the next one begins, and a fault that must wait is begun anew.
 */
import { type FolioId, type MmId, NO_FOLIO, type VmaId } from './ids.ts';
import type { Machine } from './machine.ts';

/** Outcomes of a fault; 0 is a minor fault that is done. @kernel include/linux/mm_types.h enum vm_fault_reason (6.18) */
export const VM_FAULT_OOM = 0x1;
export const VM_FAULT_SIGBUS = 0x2;
/** I/O was needed. */
export const VM_FAULT_MAJOR = 0x4;
/** The memory is bad: the program is told with SIGBUS. */
export const VM_FAULT_HWPOISON = 0x10;
export const VM_FAULT_SIGSEGV = 0x40;
/** The handler has filled the page table itself, or there is nothing left to do. */
export const VM_FAULT_NOPAGE = 0x100;
/** The page is handed over locked. */
export const VM_FAULT_LOCKED = 0x200;
/**
 * The whole fault must be repeated when the folio Machine.wait (0: none) is neither locked nor under write-back; with `tried`
 * set if this came with VM_FAULT_MAJOR, or was not the first time. (The first attempt is made under the lock of the area alone,
 * the second one under that of the address space. @kernel arch/x86/mm/fault.c do_user_addr_fault (6.18))
 */
export const VM_FAULT_RETRY = 0x400;
/** A huge page did not work out; try smaller ones. */
export const VM_FAULT_FALLBACK = 0x800;
/** What ends a fault badly. */
export const VM_FAULT_ERROR: number =
  VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_HWPOISON | VM_FAULT_SIGSEGV | VM_FAULT_FALLBACK;

/** @kernel include/linux/mm.h struct vm_fault (6.18) */
export interface VmFault {
  mm: MmId;
  vma: VmaId;
  /** Byte address of the page. */
  address: number;
  /** Page of the file (or of the anonymous area) at that address. */
  pgoff: number;
  write: boolean;
  /** FAULT_FLAG_UNSHARE: a load, but the page must be nobody else's afterwards (gup.ts). */
  unshare: boolean;
  /** FAULT_FLAG_TRIED: it has waited once already. */
  tried: boolean;
  /** How far a madvise(POPULATE) that waits has come, in bytes of addresses; 0: none waits. */
  populated: number;
  /** The folio that this fault asked the file system for; not uptodate when its lock is gone: the read failed. */
  asked: FolioId;
  /** Out: the folio that holds the page, and which of its pages it is. */
  folio: FolioId;
  page: number;
}
export const vmFault = (): VmFault => ({
  mm: 0 as MmId,
  vma: 0 as VmaId,
  address: 0,
  pgoff: 0,
  write: false,
  unshare: false,
  tried: false,
  populated: 0,
  asked: NO_FOLIO,
  folio: NO_FOLIO,
  page: 0,
});

/** How the memory of a file answers faults; anonymous private memory has none. @kernel include/linux/mm.h struct vm_operations_struct (6.18) */
export interface VmOperations {
  /** The page for a fault, in vmf.folio and vmf.page with a reference, locked (VM_FAULT_LOCKED); or why not. */
  fault(m: Machine, vmf: VmFault): number;
  /** Shared anonymous memory. */
  readonly anonymous: boolean;
  /** Maps cached pages [start, end] of the file around the fault; VM_FAULT_NOPAGE when the page itself is now mapped. Null: none. */
  readonly mapPages: ((m: Machine, vmf: VmFault, start: number, end: number) => number) | null;
  /** vmf.folio, not locked, is about to become writable: VM_FAULT_LOCKED when it may. Null: nobody wants to know. */
  readonly pageMkwrite: ((m: Machine, vmf: VmFault) => number) | null;
}
