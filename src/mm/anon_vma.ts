/**
 * Where anonymous memory may be mapped. An area that has had anonymous memory has an anon_vma; a folio names the anon_vma of the
 * area it was first mapped in, and links lead from there to every area that may map it: those that were cut from the first one,
 * and, after a fork, those of the children.
 *
 *   parent's area ──● A          a folio made before the fork names A: both areas are looked at
 *   child's area ───● A, ● B     one that the child makes names B: only the child's is
 *
 * The kernel keeps the areas of an anon_vma in a tree by file offset; here they are a list, and the walk compares offsets.
 *
 * Invariants (checkAnonVmas):
 *   N1  an area with an anon_vma is linked to it, and each link is on the list of its area and of its anon_vma once;
 *   N2  all the anon_vmas of an area have the same root;
 *   N3  numActiveVmas is the number of areas whose own anon_vma it is; numChildren the number of anon_vmas made below it (a root
 *       is its own child);
 *   N4  an anon_vma in use has an area, or is the root of one that has.
 *
 * @kernel include/linux/rmap.h struct anon_vma (6.18)
 */
import { allocate, extend, grow, i32, type Table } from '../base/table.ts';
import type { AnonVmaId, MmId, VmaId } from './ids.ts';
import type { Machine } from './machine.ts';
import { VM_ACCESS_FLAGS, vmaPages, vmaPosition } from './vma.ts';

export const anonVmaLayout = {
  root: i32('the oldest ancestor; 0: the row is free'),
  parent: i32('the anon_vma it was forked from; a root is its own'),
  numChildren: i32('anon_vmas whose parent it is'),
  numActiveVmas: i32('areas whose own anon_vma it is'),
  first: i32('first link to an area; 0: none'),
  members: i32('of a root: anon_vmas in use with this root, itself included'),
} as const;

/** @kernel include/linux/rmap.h struct anon_vma_chain (6.18) */
export const anonVmaChainLayout = {
  vma: i32('VmaId; 0: the row is free'),
  anonVma: i32('AnonVmaId'),
  nextOfVma: i32('next link of the same area'),
  next: i32('next link of the same anon_vma'),
  prev: i32('previous link of the same anon_vma'),
} as const;

export interface AnonVmas extends Table<typeof anonVmaLayout> {
  readonly chains: Table<typeof anonVmaChainLayout>;
  /** Rows in use, row 0 included, and those to be used again. */
  nr: number;
  readonly free: number[];
  nrChains: number;
  readonly freeChains: number[];
}

export const anonVmasInit = (): AnonVmas =>
  extend(allocate(anonVmaLayout, 16), {
    chains: allocate(anonVmaChainLayout, 16),
    nr: 1,
    free: [] as number[],
    nrChains: 1,
    freeChains: [] as number[],
  });

/** A new anon_vma below `parent`, or (0) one of its own root. @kernel mm/rmap.c anon_vma_alloc (6.18) */
function anonVmaAlloc(m: Machine, parent: AnonVmaId | 0): AnonVmaId {
  const t = m.anonVmas;
  const row = t.free.pop() ?? t.nr++;
  if (row >= t.rows) grow(anonVmaLayout, t, t.rows * 2);
  t.root[row] = parent === 0 ? row : t.root[parent];
  t.parent[row] = parent === 0 ? row : parent;
  t.numChildren[row] = t.numActiveVmas[row] = t.first[row] = t.members[row] = 0;
  t.members[t.root[row]]++;
  t.numChildren[t.parent[row]]++;
  return row as AnonVmaId;
}

/** Links an area to an anon_vma. @kernel mm/rmap.c anon_vma_chain_link (6.18) */
function anonVmaChainLink(m: Machine, vma: VmaId, anonVma: AnonVmaId): void {
  const t = m.anonVmas;
  const c = t.chains;
  const row = t.freeChains.pop() ?? t.nrChains++;
  if (row >= c.rows) grow(anonVmaChainLayout, c, c.rows * 2);
  c.vma[row] = vma;
  c.anonVma[row] = anonVma;
  c.nextOfVma[row] = m.vmas.anonVmaChain[vma];
  m.vmas.anonVmaChain[vma] = row;
  const first = t.first[anonVma];
  c.next[row] = first;
  c.prev[row] = 0;
  if (first !== 0) c.prev[first] = row;
  t.first[anonVma] = row;
}

/** Frees anon_vmas that no area is linked to. A root stays as long as another anon_vma has it. */
function anonVmaPut(m: Machine, anonVma: AnonVmaId): void {
  const t = m.anonVmas;
  if (t.root[anonVma] === 0 || t.first[anonVma] !== 0) return;
  const root = t.root[anonVma] as AnonVmaId;
  if (root === anonVma && t.members[root] > 1) return;
  t.members[root]--;
  t.root[anonVma] = 0;
  t.free.push(anonVma);
  if (root !== anonVma && t.members[root] === 1) anonVmaPut(m, root);
}

/** Do the flags, file and offset of two neighbours allow one anon_vma? @kernel mm/vma.c anon_vma_compatible (6.18) */
function anonVmaCompatible(m: Machine, a: VmaId, b: VmaId): boolean {
  const { end, start, file, flags, pgoff } = m.vmas;
  return (
    end[a] === start[b] &&
    file[a] === file[b] &&
    ((flags[a] ^ flags[b]) & ~VM_ACCESS_FLAGS) === 0 &&
    pgoff[b] === pgoff[a] + vmaPages(m, a)
  );
}

/** The anon_vma of a neighbour that the area may share, or 0. @kernel mm/vma.c find_mergeable_anon_vma (6.18) */
function findMergeableAnonVma(m: Machine, vma: VmaId): AnonVmaId {
  const { vmas, mms } = m;
  const mm = vmas.mm[vma] as MmId;
  const i = vmaPosition(m, mm, vmas.start[vma]);
  const sorted = mms.sorted[mm];
  if (i + 1 < mms.nrVmas[mm]) {
    const next = sorted[i + 1] as VmaId;
    if (reusable(m, next) && anonVmaCompatible(m, vma, next)) return vmas.anonVma[next] as AnonVmaId;
  }
  if (i > 0) {
    const prev = sorted[i - 1] as VmaId;
    if (reusable(m, prev) && anonVmaCompatible(m, prev, vma)) return vmas.anonVma[prev] as AnonVmaId;
  }
  return 0 as AnonVmaId;
}

/** @kernel mm/vma.c reusable_anon_vma (6.18) */
const reusable = (m: Machine, vma: VmaId): boolean => m.vmas.anonVma[vma] !== 0 && !vmaIsForkChild(m, vma);

/** Has the area links to more than one anon_vma? @kernel mm/vma.c vma_is_fork_child (6.18) */
export function vmaIsForkChild(m: Machine, vma: VmaId): boolean {
  const row = m.vmas.anonVmaChain[vma];
  return row !== 0 && m.anonVmas.chains.nextOfVma[row] !== 0;
}

/** Gives an area that is about to have anonymous memory an anon_vma. @kernel mm/rmap.c __anon_vma_prepare (6.18) */
export function anonVmaPrepare(m: Machine, vma: VmaId): void {
  if (m.vmas.anonVma[vma] !== 0) return;
  let anonVma = findMergeableAnonVma(m, vma);
  if (anonVma === 0) anonVma = anonVmaAlloc(m, 0);
  m.vmas.anonVma[vma] = anonVma;
  anonVmaChainLink(m, vma, anonVma);
  m.anonVmas.numActiveVmas[anonVma]++;
}

/**
 * Links `to` to every anon_vma that `from` is linked to. A child that has none of its own yet takes one that lost its areas and
 * has at most one child. @kernel mm/rmap.c anon_vma_clone (6.18)
 */
export function anonVmaClone(m: Machine, to: VmaId, from: VmaId): void {
  const t = m.anonVmas;
  // Links are put in front, so going through them from the last keeps the order of the kernel's lists.
  cloneFrom(m, to, from, m.vmas.anonVmaChain[from]);
  const own = m.vmas.anonVma[to];
  if (own !== 0) t.numActiveVmas[own]++;
}

function cloneFrom(m: Machine, to: VmaId, from: VmaId, first: number): void {
  const t = m.anonVmas;
  const links: number[] = [];
  for (let row = first; row !== 0; row = t.chains.nextOfVma[row]) links.push(t.chains.anonVma[row]);
  for (let i = links.length - 1; i >= 0; i--) {
    const anonVma = links[i] as AnonVmaId;
    anonVmaChainLink(m, to, anonVma);
    if (
      m.vmas.anonVma[to] === 0 &&
      m.vmas.anonVma[from] !== 0 &&
      t.numChildren[anonVma] < 2 &&
      t.numActiveVmas[anonVma] === 0
    )
      m.vmas.anonVma[to] = anonVma;
  }
}

/** The anon_vma of a child's area: linked to all of the parent's, and one of its own. @kernel mm/rmap.c anon_vma_fork (6.18) */
export function anonVmaFork(m: Machine, vma: VmaId, parent: VmaId): void {
  const from = m.vmas.anonVma[parent] as AnonVmaId;
  if (from === 0) return;
  m.vmas.anonVma[vma] = 0;
  anonVmaClone(m, vma, parent);
  if (m.vmas.anonVma[vma] !== 0) return;
  const anonVma = anonVmaAlloc(m, from);
  m.vmas.anonVma[vma] = anonVma;
  anonVmaChainLink(m, vma, anonVma);
  m.anonVmas.numActiveVmas[anonVma]++;
}

/** Takes an area off all its anon_vmas and frees those that are left without one. @kernel mm/rmap.c unlink_anon_vmas (6.18) */
export function unlinkAnonVmas(m: Machine, vma: VmaId): void {
  const t = m.anonVmas;
  const c = t.chains;
  const { vmas } = m;
  const first = vmas.anonVmaChain[vma];
  for (let row = first; row !== 0; row = c.nextOfVma[row]) {
    const anonVma = c.anonVma[row];
    const next = c.next[row];
    const prev = c.prev[row];
    if (prev !== 0) c.next[prev] = next;
    else t.first[anonVma] = next;
    if (next !== 0) c.prev[next] = prev;
    if (t.first[anonVma] === 0) t.numChildren[t.parent[anonVma]]--;
  }
  if (vmas.anonVma[vma] !== 0) t.numActiveVmas[vmas.anonVma[vma]]--;
  for (let row = first; row !== 0; ) {
    const next = c.nextOfVma[row];
    const anonVma = c.anonVma[row] as AnonVmaId;
    c.vma[row] = 0;
    t.freeChains.push(row);
    anonVmaPut(m, anonVma);
    row = next;
  }
  vmas.anonVmaChain[vma] = vmas.anonVma[vma] = 0;
}
