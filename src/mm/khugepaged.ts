/**
 * khugepaged: the daemon that makes huge pages out of small ones. Address spaces that may gain are on a list.
 *
 * @kernel mm/khugepaged.c khugepaged_do_scan (6.18)
 */
import type { MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';

/** @kernel mm/khugepaged.c khugepaged_enter_vma (6.18) */
export function khugepagedEnterVma(_m: Machine, _vma: VmaId, _flags: number): void {}
/** @kernel include/linux/khugepaged.h khugepaged_exit (6.18) */
export function khugepagedExit(_m: Machine, _mm: MmId): void {}
/** @kernel include/linux/khugepaged.h khugepaged_fork (6.18) */
export function khugepagedFork(_m: Machine, _child: MmId, _mm: MmId): void {}
