/** Walks over the page tables that map a folio. */
import type { FolioId, MemcgId } from './ids.ts';
import type { Machine } from './machine.ts';
export const TTU_SPLIT_HUGE_PMD = 0x4;
export const folioReferenced = (_m: Machine, _f: FolioId, _target: MemcgId): number => 0;
export const referencedFlags = (_m: Machine): number => 0;
export function tryToUnmap(_m: Machine, _f: FolioId, _flags: number): void {}
