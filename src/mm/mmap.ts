/** mmap(2) and munmap(2), and the end of an address space. */
import type { MmId } from './ids.ts';
import type { Machine } from './machine.ts';

/** Frees all that an address space holds. @kernel mm/mmap.c exit_mmap (6.18) */
export function exitMmap(_m: Machine, _mm: MmId): void {
  throw new Error('not yet');
}
