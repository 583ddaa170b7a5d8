/**
 * Random reads of single pages, many calls at a time. A file that is read at random (FADV_RANDOM) has no readahead to decide:
 * a page is there, or a folio of one page is allocated, charged, put in the tree and read. This is the way of
 * filemap_read for just that case, with the same outcome, laid out for the host:
 *
 *   look     the slots of 32 reads are found, and what they hold is touched: the host's memory answers questions that are
 *            asked together in the time of one
 *   read     each read in turn: a hit marks the folio accessed, a miss is plain (filemap_random_miss.ts) or goes through
 *            filemap_add_folio
 *
 * Whatever is not plain (a large block size, a locked folio, a read across pages, the end of the file) ends the run, and the
 * caller goes on with filemapRead.
 */
import { toNode } from '../base/xarray_node.ts';
import { AS_SWAPBACKED, FMODE_RANDOM } from './address_space.ts';
import { filemapCreateFolio, filemapGetFolio, filemapInsertFolio, opsOf, READAHEAD_GFP } from './filemap.ts';
import { missClose, missOpen, missPlain, type PlainMisses, plainMisses } from './filemap_random_miss.ts';
import type { FileId, FolioId, MappingId } from './ids.ts';
import type { Machine } from './machine.ts';
import { memCgroupCharge } from './memcontrol.ts';
import { FOLIO_WORDS, largeOrder } from './mm_types.ts';
import { folioAlloc } from './page_alloc.ts';
import { PG, PG_readahead as READAHEAD } from './page_flags.ts';
import { folioMarkAccessed, folioPut } from './swap.ts';

const { PG_active, PG_dropbehind, PG_head, PG_referenced, PG_unevictable, PG_uptodate } = PG;
const PG_readahead: number = READAHEAD;
const WORDS: number = FOLIO_WORDS;

/** Reads that are looked at together. */
const AHEAD = 32;

/** Calls of read(2) one after the other, by columns. Positions and lengths in bytes, times in virtual ns. */
export interface ReadRun {
  file: FileId;
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** Rows to read: [from, to). */
  from: number;
  to: number;
  /** What each call takes, beside what it copies and waits for. */
  readonly nsPerCall: number;
  readonly nsPerByte: number;
  /** Out: bytes read by the rows done, and rows that there was no memory for. */
  bytes: number;
  outOfMemory: number;
  /** Scratch: positions in the column of slots; their complement where the slot is not of a leaf; NOT_PLAIN. And the pages read. */
  readonly slots: Int32Array;
  readonly indexes: Int32Array;
  /** Scratch: leaves of the file's tree, plus 1, by index >>> 6; 0: not known. Good while no node has been freed since. */
  leaves: Int32Array;
  leavesOf: MappingId;
  leavesFreed: number;
  readonly misses: PlainMisses;
  /** What was seen by looking: kept, so that looking is not found to be useless and left out. */
  seen: number;
}
export const readRun = (offset: Float64Array, length: Float64Array, nsPerCall: number, nsPerByte: number): ReadRun => ({
  file: 0 as FileId,
  offset,
  length,
  from: 0,
  to: 0,
  nsPerCall,
  nsPerByte,
  bytes: 0,
  outOfMemory: 0,
  slots: new Int32Array(AHEAD),
  indexes: new Int32Array(AHEAD),
  leaves: new Int32Array(0),
  leavesOf: 0 as MappingId,
  leavesFreed: 0,
  misses: plainMisses(),
  seen: 0,
});

const NOT_PLAIN = -0x80000000;

/** What is known of the leaves of the run's file. */
function leavesKnown(m: Machine, run: ReadRun): Int32Array {
  const { freed } = m.pages;
  const mapping = m.files.mapping[run.file] as MappingId;
  const length = Math.ceil((m.spaces.size[mapping] * m.pagesPerByte) / 64) + 1;
  if (run.leavesOf !== mapping || run.leaves.length < length) run.leaves = new Int32Array(length);
  else if (run.leavesFreed !== freed) run.leaves.fill(0);
  run.leavesOf = mapping;
  run.leavesFreed = freed;
  return run.leaves;
}

/** Finds the slots of rows [from, to), of a file of `size` bytes, and touches what they hold. */
function look(m: Machine, run: ReadRun, size: number, head: number, from: number, to: number): void {
  const { offset, length, slots: at, indexes } = run;
  const { slots, shift } = m.pages.nodes;
  const { map } = m;
  const perByte = m.pagesPerByte;
  const root = toNode(head);
  const top = shift[root];
  const leaves = leavesKnown(m, run);
  for (let i = from, j = 0; i < to; i++, j++) {
    const pos = offset[i];
    const index = (pos * perByte) | 0;
    const end = pos + length[i];
    indexes[j] = index;
    if (end > size || end === pos || (((end - 1) * perByte) | 0) !== index || (top < 24 && index >>> (top + 6) !== 0)) {
      at[j] = NOT_PLAIN;
      continue;
    }
    const leaf = leaves[index >>> 6];
    if (leaf > 0) {
      at[j] = ((leaf - 1) << 6) | (index & 63);
      continue;
    }
    let n = root;
    let s = top;
    let p = 0;
    for (;;) {
      p = (n << 6) | ((index >>> s) & 63);
      if (s === 0) break;
      const e = slots[p << 1];
      if (e >= -0x60000000) {
        p = ~p;
        break;
      }
      n = e & 0x1fffffff;
      s -= 6;
    }
    at[j] = p;
    if (s === 0) leaves[index >>> 6] = n + 1;
  }
  let seen = 0;
  for (let j = to - from - 1; j >= 0; j--) {
    const p = at[j];
    // What is not plain looks at the first slot of all.
    const slot = p === NOT_PLAIN ? 0 : p ^ (p >> 31);
    const word = slots[slot << 1];
    const none = word >> 31;
    seen ^= map[(word & ~none) * WORDS];
  }
  run.seen ^= seen;
}

/**
 * Reads rows from run.from on, as long as they are plain; returns the first row that is not, or run.to.
 * @kernel mm/filemap.c filemap_read (6.18)
 */
export function filemapReadRandom(m: Machine, run: ReadRun): number {
  const { files, spaces, pages, map, release } = m;
  const { file, offset, length, to, slots: at, indexes, nsPerCall, nsPerByte, misses } = run;
  const mapping = files.mapping[file] as MappingId;
  const size = spaces.size[mapping];
  const perByte = m.pagesPerByte;
  const byFolio = release.markAccessedFirst === 'folio';
  let { slots } = pages.nodes;
  let { now } = m;
  const before = files.prevPos[file];
  // The page that the last read counts for, when the next one asks whether it is the same.
  let lastPage = Math.floor((byFolio ? before - 1 : before) * perByte);
  let bytes = 0;
  let i = run.from;
  // The last row that was read.
  let done = i - 1;
  run.bytes = 0;
  run.outOfMemory = 0;
  if ((files.fmode[file] & FMODE_RANDOM) === 0 || spaces.minOrder[mapping] !== 0) return i;
  if ((spaces.flags[mapping] & AS_SWAPBACKED) !== 0) return i;
  let from = i;
  let stop = i;
  let shape = 0;
  for (; i < to; i++) {
    if (i === stop || pages.shape !== shape) {
      const head = spaces.head[mapping];
      if (head === 0) break;
      from = i;
      stop = Math.min(i + AHEAD, to);
      shape = pages.shape;
      slots = pages.nodes.slots;
      look(m, run, size, head, from, stop);
    }
    const p = at[i - from];
    if (p === NOT_PLAIN) break;
    const index = indexes[i - from];
    const slot = p ^ (p >> 31);
    let e = slots[slot << 1];
    if (e < -0x40000000) e = slots[((slot & ~63) | (e & 63)) << 1];
    let spent = now + nsPerCall;
    if (e <= 0) {
      if (p < 0) break;
      m.now = spent;
      if (misses.open || missOpen(m, misses, mapping)) e = missPlain(m, misses, index, p);
      if (e > 0) spent += misses.ns;
      else {
        missClose(m, misses);
        if (done >= run.from) files.prevPos[file] = offset[done] + length[done];
        e = readMiss(m, mapping, index);
        spent = m.now;
        if (e === 0) {
          run.outOfMemory++;
          now = spent;
          continue;
        }
      }
    }
    const w = e * WORDS;
    const flags = map[w];
    if ((flags & (PG_uptodate | PG_readahead | PG_dropbehind)) !== PG_uptodate) {
      // The caller counts the call again.
      now = spent - nsPerCall;
      break;
    }
    const order = (flags & PG_head) === 0 || !byFolio ? 0 : largeOrder(map, w);
    if (lastPage >> order !== index >> order) {
      if ((flags & PG_referenced) === 0) map[w] = flags | PG_referenced;
      else if ((flags & (PG_active | PG_unevictable)) === 0) folioMarkAccessed(m, e as FolioId);
    }
    done = i;
    const count = length[i];
    lastPage = byFolio ? index : ((offset[i] + count) * perByte) | 0;
    bytes += count;
    now = spent + count * nsPerByte;
  }
  missClose(m, misses);
  m.now = now;
  if (done >= run.from) files.prevPos[file] = offset[done] + length[done];
  run.bytes = bytes;
  return i;
}

/**
 * A page that is not there is allocated, added and read. Returns its folio; 0 when there is no memory.
 * @kernel mm/readahead.c page_cache_ra_unbounded (6.18)
 */
function readMiss(m: Machine, mapping: MappingId, index: number): number {
  const { tracer } = m;
  if (tracer !== null) {
    tracer.syncRa?.(mapping, index, 1);
    tracer.raUnbounded?.(mapping, index, 1, 0);
  }
  const folio = folioAlloc(m, READAHEAD_GFP, 0);
  if (folio === 0 || !memCgroupCharge(m, folio, READAHEAD_GFP)) {
    if (folio !== 0) folioPut(m, folio);
    return filemapCreateFolio(m, mapping, index, 0) === 0 ? filemapGetFolio(m, mapping, index) : 0;
  }
  filemapInsertFolio(m, mapping, folio, index, READAHEAD_GFP);
  folioPut(m, folio);
  opsOf(m, mapping).readahead(m, mapping, index, 1);
  return folio;
}
