/**
 * Joining and splitting areas. Neighbours become one when flags, file, offset and anon_vma allow it; a change of part of an area
 * first tries to join that part to a neighbour, and else cuts the area:
 *
 *   prev|middle|next, flags of middle become those of …   both: one area   prev: prev grows   next: next grows
 *   part of an area at neither end: it is cut twice
 *
 * A cut inside a huge page splits its PMD, not the folio.
 *
 * @kernel mm/vma.c vma_merge_existing_range (6.18)
 */
import { anonVmaClone, unlinkAnonVmas, vmaIsForkChild } from './anon_vma.ts';
import { splitHugePmd } from './huge_memory_anon.ts';
import type { MmId, VmaId } from './ids.ts';
import { khugepagedEnterVma } from './khugepaged.ts';
import type { Machine } from './machine.ts';
import { pmdLeaf, pmdOffset } from './pgtable.ts';
import {
  VM_DONTEXPAND,
  VM_IO,
  VM_MIXEDMAP,
  VM_PFNMAP,
  vmAreaAlloc,
  vmAreaFree,
  vmaLink,
  vmaPages,
  vmaPosition,
  vmaUnlink,
} from './vma.ts';

/** @kernel include/linux/mm.h VM_SPECIAL (6.18) */
export const VM_SPECIAL: number = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;
/** Areas an address space may have. @kernel include/linux/mm.h DEFAULT_MAX_MAP_COUNT (6.18) */
export const MAX_MAP_COUNT = 65530;

/** What an area to be is like: where it lies and what it must agree with. */
export interface Merge {
  start: number;
  end: number;
  pgoff: number;
  flags: number;
  file: number;
  anonVma: number;
  /** The area that is changed (src of its anon_vma), or copied; 0: the area is new. */
  middle: VmaId;
  copiedFrom: VmaId;
}

/** Splits the PMD leaf that an address lies inside of. @kernel mm/huge_memory.c split_huge_pmd_if_needed (6.18) */
function splitHugePmdIfNeeded(m: Machine, vma: VmaId, addr: number): void {
  const { vmas } = m;
  const size = 2 ** m.pt.pmdShift;
  const low = Math.floor(addr / size) * size;
  if (low === addr || low < vmas.start[vma] || low + size > vmas.end[vma]) return;
  const pmd = pmdOffset(m, vmas.mm[vma] as MmId, low);
  if (pmd >= 0 && pmdLeaf(m, pmd)) splitHugePmd(m, vma, pmd, low);
}

/** Huge pages that lie across a border to be are split. @kernel mm/huge_memory.c vma_adjust_trans_huge (6.18) */
function vmaAdjustTransHuge(m: Machine, vma: VmaId, start: number, end: number, next: VmaId | 0): void {
  splitHugePmdIfNeeded(m, vma, start);
  splitHugePmdIfNeeded(m, vma, end);
  if (next !== 0) splitHugePmdIfNeeded(m, next, end);
}

function setRange(m: Machine, vma: VmaId, start: number, end: number, pgoff: number): void {
  const { vmas } = m;
  vmas.start[vma] = start;
  vmas.end[vma] = end;
  vmas.pgoff[vma] = pgoff;
}

/** May one anon_vma serve the neighbour and the merged part? @kernel mm/vma.c is_mergeable_anon_vma (6.18) */
function isMergeableAnonVma(m: Machine, g: Merge, other: VmaId): boolean {
  const to = m.vmas.anonVma[other];
  if (to === 0 && g.anonVma !== 0) return !vmaIsForkChild(m, g.middle) && !vmaIsForkChild(m, g.copiedFrom);
  if (to !== 0 && g.anonVma === 0) return !vmaIsForkChild(m, other);
  return to === g.anonVma;
}

/** @kernel mm/vma.c is_mergeable_vma (6.18) */
const isMergeable = (m: Machine, g: Merge, other: VmaId): boolean =>
  m.vmas.flags[other] === g.flags && m.vmas.file[other] === g.file && isMergeableAnonVma(m, g, other);

/** @kernel mm/vma.c can_vma_merge_left (6.18) */
const canMergeLeft = (m: Machine, g: Merge, prev: VmaId): boolean =>
  prev !== 0 &&
  m.vmas.end[prev] === g.start &&
  isMergeable(m, g, prev) &&
  m.vmas.pgoff[prev] + vmaPages(m, prev) === g.pgoff;

/** @kernel mm/vma.c can_vma_merge_right (6.18) */
function canMergeRight(m: Machine, g: Merge, prev: VmaId, next: VmaId, left: boolean): boolean {
  const { start, pgoff, anonVma } = m.vmas;
  if (next === 0 || start[next] !== g.end || !isMergeable(m, g, next)) return false;
  if (pgoff[next] !== g.pgoff + (g.end - g.start) * m.pagesPerByte) return false;
  return !left || anonVma[prev] === 0 || anonVma[next] === 0 || anonVma[prev] === anonVma[next];
}

/** An area that grows over another's pages takes its anon_vma. @kernel mm/vma.c dup_anon_vma (6.18) */
function dupAnonVma(m: Machine, to: VmaId, from: VmaId): void {
  const { anonVma } = m.vmas;
  if (anonVma[from] === 0 || anonVma[to] !== 0) return;
  anonVma[to] = anonVma[from];
  anonVmaClone(m, to, from);
}

/** Takes an area away that another has swallowed. @kernel mm/vma.c vma_complete (6.18) */
function remove(m: Machine, vma: VmaId): void {
  vmaUnlink(m, vma);
  unlinkAnonVmas(m, vma);
  vmAreaFree(m, vma);
}

export const vmaPrev = (m: Machine, mm: MmId, addr: number): VmaId => {
  const i = vmaPosition(m, mm, addr - 1);
  const { start } = m.vmas;
  const sorted = m.mms.sorted[mm];
  if (i < m.mms.nrVmas[mm] && start[sorted[i]] < addr) return sorted[i] as VmaId;
  return (i > 0 ? sorted[i - 1] : 0) as VmaId;
};
export const vmaNext = (m: Machine, mm: MmId, addr: number): VmaId => {
  const i = vmaPosition(m, mm, addr);
  return (i < m.mms.nrVmas[mm] ? m.mms.sorted[mm][i] : 0) as VmaId;
};

/**
 * Joins a new range, in which nothing lies, to its neighbours. The area that it became part of, or 0.
 * @kernel mm/vma.c vma_merge_new_range (6.18)
 */
export function vmaMergeNewRange(m: Machine, mm: MmId, g: Merge): VmaId {
  const { vmas } = m;
  if ((g.flags & VM_SPECIAL) !== 0) return 0 as VmaId;
  const prev = vmaPrev(m, mm, g.start);
  const next = vmaNext(m, mm, g.end - 1);
  const left = canMergeLeft(m, g, prev);
  const right = canMergeRight(m, g, prev, next, left);
  if (!left && !right) return 0 as VmaId;
  const target = left ? prev : next;
  const start = left ? vmas.start[prev] : g.start;
  const end = right ? vmas.end[next] : g.end;
  if (left && right) dupAnonVma(m, prev, next);
  if (g.copiedFrom !== 0) dupAnonVma(m, target, g.copiedFrom);
  if (left && right) remove(m, next);
  setRange(m, target, start, end, left ? vmas.pgoff[prev] : g.pgoff);
  khugepagedEnterVma(m, target, g.flags);
  return target;
}

/**
 * Joins a part of an area, whose flags are about to be g.flags, to the neighbours. The area that holds the part then, or 0.
 * @kernel mm/vma.c vma_merge_existing_range (6.18)
 */
function vmaMergeExistingRange(m: Machine, mm: MmId, g: Merge): VmaId {
  const { vmas } = m;
  const { middle, start, end } = g;
  const leftSide = start === vmas.start[middle];
  const rightSide = end === vmas.end[middle];
  if ((g.flags & VM_SPECIAL) !== 0 || (!leftSide && !rightSide)) return 0 as VmaId;
  const prev = leftSide ? vmaPrev(m, mm, start) : (0 as VmaId);
  const next = rightSide ? vmaNext(m, mm, end) : (0 as VmaId);
  const left = leftSide && canMergeLeft(m, g, prev);
  const right = rightSide && canMergeRight(m, g, prev, next, left);
  const whole = leftSide && rightSide;
  if (left && right) {
    dupAnonVma(m, prev, vmas.anonVma[next] !== 0 ? next : middle);
    const to = vmas.end[next];
    remove(m, middle);
    remove(m, next);
    vmas.end[prev] = to;
  } else if (left) {
    dupAnonVma(m, prev, middle);
    vmaAdjustTransHuge(m, prev, vmas.start[prev], end, whole ? 0 : middle);
    if (whole) remove(m, middle);
    else setRange(m, middle, end, vmas.end[middle], vmas.pgoff[middle] + (end - vmas.start[middle]) * m.pagesPerByte);
    vmas.end[prev] = end;
  } else if (right) {
    dupAnonVma(m, next, middle);
    if (whole) remove(m, middle);
    else {
      vmaAdjustTransHuge(m, middle, vmas.start[middle], start, 0);
      vmas.end[middle] = start;
    }
    setRange(m, next, start, vmas.end[next], vmas.pgoff[next] - (vmas.start[next] - start) * m.pagesPerByte);
  } else return 0 as VmaId;
  const target = left ? prev : next;
  khugepagedEnterVma(m, target, g.flags);
  return target;
}

/**
 * Cuts an area in two at `addr`. The row stays with the upper part (`newBelow`) or the lower one. False: too many areas.
 * @kernel mm/vma.c __split_vma (6.18)
 */
export function splitVma(m: Machine, vma: VmaId, addr: number, newBelow: boolean): boolean {
  const mm = m.vmas.mm[vma] as MmId;
  if (m.mms.nrVmas[mm] >= MAX_MAP_COUNT) return false;
  const other = vmAreaAlloc(m);
  const { vmas } = m;
  vmas.flags[other] = vmas.flags[vma];
  vmas.file[other] = vmas.file[vma];
  vmas.mapping[other] = vmas.mapping[vma];
  vmas.mm[other] = mm;
  vmas.anonVma[other] = vmas.anonVma[vma];
  const start = vmas.start[vma];
  const pgoff = vmas.pgoff[vma];
  const at = pgoff + (addr - start) * m.pagesPerByte;
  // The anon_vma knows the new area by its whole range until both are cut.
  setRange(m, other, newBelow ? start : addr, newBelow ? addr : vmas.end[vma], newBelow ? pgoff : at);
  anonVmaClone(m, other, vma);
  vmaAdjustTransHuge(m, vma, start, addr, 0);
  if (newBelow) setRange(m, vma, addr, vmas.end[vma], at);
  else vmas.end[vma] = addr;
  vmaLink(m, mm, other);
  return true;
}

/**
 * The area that is exactly, or (merged) holds, [start, end) of `vma`, ready to have flags that the caller sets; 0: too many.
 * @kernel mm/vma.c vma_modify_flags (6.18)
 */
export function vmaModifyFlags(m: Machine, vma: VmaId, start: number, end: number, flags: number): VmaId {
  const { vmas } = m;
  const merged = vmaMergeExistingRange(m, vmas.mm[vma] as MmId, {
    start,
    end,
    pgoff: vmas.pgoff[vma] + (start - vmas.start[vma]) * m.pagesPerByte,
    flags,
    file: vmas.file[vma],
    anonVma: vmas.anonVma[vma],
    middle: vma,
    copiedFrom: 0 as VmaId,
  });
  if (merged !== 0) return merged;
  if (vmas.start[vma] < start && !splitVma(m, vma, start, true)) return 0 as VmaId;
  if (m.vmas.end[vma] > end && !splitVma(m, vma, end, false)) return 0 as VmaId;
  return vma;
}
