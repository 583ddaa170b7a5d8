/**
 * How a budget is spent. Everything that the cache holds is inside it: the bytes of pages, and for each page what the engine
 * keeps about it.
 *
 *   a page     its bytes
 *              64    struct page, in the layout of the memory map
 *              32    state of the blocks of large folios, order of the lists
 *              140   nodes of the index: one for four pages, of 560 bytes each, and 256 at least
 *   once       3 MiB, or a twelfth of what a small budget has above the least: what the host's heap grows by, seen from
 *              outside the process (the objects of requests, and their garbage until it is collected)
 *
 * A node is needed for each 256 KiB (with 4 KiB pages) of a file that anything is cached of. So only a file of sixteen times
 * the budget and more, read a page here and a page there, or very many small files, can want more nodes than that: then pages
 * go before nodes do.
 */
import { formatBytes } from '../base/units.ts';
import { CacheError } from './errors.ts';

/** Those of processors that Linux runs on. */
const PAGE_SIZES: readonly number[] = [4096, 8192, 16384, 65536];
const MAP_BYTES = 64;
const STATE_BYTES = 32;
const NODE_BYTES = 560;
const PAGES_A_NODE = 4;
const HEAP_BYTES = 3 * 2 ** 20;
const HEAP_SHARE = 12;
/** The engine needs that many pages to work with. */
const PAGES_MIN = 256;
const NODES_MIN = 256;
/** Pages of the cache that one call of the engine may read; each node of the index holds 64. */
const PAGES_A_CALL = 12_000;

export interface Budget {
  readonly bytes: number;
  readonly pageSize: number;
  readonly frames: number;
  /** Nodes of the index that there is room for. */
  readonly nodes: number;
  /** Nodes that one call of the engine may add, at most: these are free before it. */
  readonly nodesMargin: number;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of a number or of '64MiB', '64M', '64mb', '65536': units are powers of 1024. */
export function bytesOf(what: string, size: string | number): number {
  if (typeof size === 'number') {
    if (Number.isSafeInteger(size) && size >= 0) return size;
    throw new CacheError('NO_BUDGET', `${what} ${size}: expected a whole number of bytes`);
  }
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(size);
  if (match === null) throw new CacheError('NO_BUDGET', `${what} '${size}': expected a size as 256MiB`);
  return Math.floor(Number(match[1]) * (UNITS[(match[2] as string).toLowerCase()] as number));
}

/** What fits into `memory`. */
export function budgetOf(memory: string | number, pageSize: number): Budget {
  const bytes = bytesOf('memory', memory);
  if (!PAGE_SIZES.includes(pageSize))
    throw new CacheError('NO_BUDGET', `pageSize ${pageSize}: expected ${PAGE_SIZES.join(', ')}`);
  const perPage = pageSize + MAP_BYTES + STATE_BYTES;
  const nodesMargin = 16 + Math.ceil(Math.min(PAGES_A_CALL, bytes / pageSize) / 64);
  const least = PAGES_MIN * perPage + (NODES_MIN + 22) * NODE_BYTES;
  const heap = Math.min(HEAP_BYTES, Math.max(0, Math.floor((bytes - least) / HEAP_SHARE)));
  const rest = bytes - heap - nodesMargin * NODE_BYTES;
  const frames = Math.floor(
    Math.min((rest - NODES_MIN * NODE_BYTES) / perPage, rest / (perPage + NODE_BYTES / PAGES_A_NODE)),
  );
  if (frames < PAGES_MIN) {
    const expected = formatBytes(Math.ceil(least / 2 ** 10) * 2 ** 10);
    throw new CacheError('NO_BUDGET', `memory ${formatBytes(bytes)}: expected at least ${expected}`);
  }
  return {
    bytes,
    pageSize,
    frames,
    nodes: Math.max(NODES_MIN, Math.floor(frames / PAGES_A_NODE)) + nodesMargin,
    nodesMargin,
  };
}
