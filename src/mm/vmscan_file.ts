/**
 * The commonest victims, many at a time: clean file folios of one page that nobody uses. It is the way of shrink_folio_list
 * for just these, with the same outcome, laid out for the host: the slots of the tree that victims leave are found first for
 * all of them, since each lies in memory that nobody has touched for long.
 */

import { clearSlotMark, XA_MARK_TOWRITE, xaMarked } from '../base/xarray_mark.ts';
import { addCounts, toNode, valueEntry } from '../base/xarray_node.ts';
import type { MemcgId } from './ids.ts';
import { type Machine, PAGES_DELETED } from './machine.ts';
import { uncharge } from './memcontrol.ts';
import { memdescFoliosGone } from './memdesc.ts';
import { FOLIO_WORDS, W_INDEX, W_MAPPING } from './mm_types.ts';
import { freePagesCommit } from './page_alloc_pcp.ts';
import { PG } from './page_flags.ts';
import { V } from './vmstat.ts';

const { PG_active, PG_dirty, PG_head, PG_hwpoison, PG_locked, PG_mlocked, PG_private, PG_private_2 } = PG;
const { PG_swapbacked, PG_unevictable, PG_workingset, PG_writeback } = PG;
const WORDS: number = FOLIO_WORDS;
const NR_FILE_PAGES = V.nr_file_pages;
const PGFREE = V.pgfree;
const NOT_PLAIN =
  PG_active | PG_dirty | PG_head | PG_hwpoison | PG_locked | PG_mlocked | PG_private | PG_private_2 | PG_swapbacked |
  PG_unevictable | PG_writeback; // biome-ignore format: a list

/**
 * Frees isolated folios [from, n) for `target` as long as they are plain; returns the first that is not, or n.
 * @kernel mm/vmscan.c shrink_folio_list (6.18)
 */
export function shrinkPlainFolios(m: Machine, target: MemcgId, from: number, n: number): number {
  const { map, spaces, lruvecs, pages, tracer, vmstat } = m;
  const { isolated, slotOf: at, nonresidentAge } = lruvecs;
  const { slots, count, values, shift } = pages.nodes;
  // Which of them are plain, and where they lie in the tree.
  let end = from;
  let seen = 0;
  // The file of the last one, its tree's root and how high that is.
  let file = 0;
  let root = 0;
  let top = 0;
  for (; end < n; end++) {
    const w = isolated[end] * WORDS;
    if ((map[w] & NOT_PLAIN) !== 0 || map[w + map.refcount] !== 2 || map[w + map.mapcount] !== -1) break;
    const word = map[w + W_MAPPING];
    if (word === 0 || (word & 3) !== 0) break;
    if (word !== file) {
      file = word;
      root = toNode(spaces.head[word >> 2]);
      top = shift[root];
    }
    const index = map[w + W_INDEX];
    let node = root;
    for (let s = top; s > 0; s -= 6) node = slots[((node << 6) | ((index >>> s) & 63)) << 1] & 0x1fffffff;
    at[end] = (node << 6) | (index & 63);
  }
  if (end === from) return from;
  for (let i = from; i < end; i++) seen ^= slots[at[i] << 1];
  lruvecs.seen ^= seen;
  const freed = end - from;
  let age = nonresidentAge[target] | 0;
  nonresidentAge[target] += freed;
  if (target !== 0) nonresidentAge[0] += freed;
  const shadow = valueEntry(target << 1);
  const shadowWorkingset = valueEntry((target << 1) | 1);
  let own = 0;
  let marked = false;
  let gone = 0;
  file = 0;
  for (let i = from; i < end; i++) {
    const f = isolated[i];
    const w = f * WORDS;
    const word = map[w + W_MAPPING];
    const slot = at[i];
    const node = slot >> 6;
    if (word !== file) {
      if (gone > 0) spaces.nrpages[file >> 2] -= gone;
      gone = 0;
      file = word;
      // A clean folio is marked only in a file that has marks, and their sum is in the root.
      marked = xaMarked(pages, spaces.head[word >> 2], XA_MARK_TOWRITE);
    }
    if (tracer !== null) tracer.deleteFromPageCache?.((word >> 2) as never, map[w + W_INDEX], 0, f as never);
    if (marked) clearSlotMark(pages, slot, XA_MARK_TOWRITE);
    slots[slot << 1] = (map[w] & PG_workingset) === 0 ? shadow : shadowWorkingset;
    slots[(slot << 1) | 1] = age;
    age = (age + 1) | 0;
    if (values[node] + 1 === count[node]) addCounts(pages, node, 0, 1);
    else values[node] += 1;
    gone++;
    const g = map[w + map.memcg];
    if (g === target) own++;
    else if (g !== 0) uncharge(m, g, 1, 1);
    // As folioFini does it.
    map[w] = 0;
    map[w + W_MAPPING] = 0;
    map[w + W_INDEX] = 0;
    map[w + map.refcount] = 0;
    map[w + map.memcg] = 0;
    at[i] = f >>> 2;
  }
  if (!map.overlaid) memdescFoliosGone(map, isolated, from, end, at);
  spaces.nrpages[file >> 2] -= gone;
  freePagesCommit(m, at, from, end);
  if (target !== 0) uncharge(m, target, own, own);
  vmstat[NR_FILE_PAGES] -= freed;
  vmstat[PGFREE] += freed;
  m.cached[PAGES_DELETED] += freed;
  return end;
}
