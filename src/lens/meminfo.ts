/** /proc/meminfo: bytes by name, and a census laid beside it where both speak of the same thing. */
import { readFileSync } from 'node:fs';
import { type Census, ownerPages } from '../mm/census.ts';

/** By name as printed (`MemFree`, `Active(file)`), in bytes; counts without a unit as they are. */
export type Meminfo = ReadonlyMap<string, number>;

export function parseMeminfo(text: string): Meminfo {
  const out = new Map<string, number>();
  for (const [, name, value, unit] of text.matchAll(/^([^:\n]+):\s+(\d+)(?: (kB))?$/gm))
    out.set(name as string, Number(value) * (unit === undefined ? 1 : 1024));
  return out;
}

export const readMeminfo = (proc: string): Meminfo => parseMeminfo(readFileSync(`${proc}/meminfo`, 'utf8'));

/** One thing that both count. Bytes. */
export interface Beside {
  /** Names of /proc/meminfo, and of the census. */
  readonly meminfo: string;
  readonly census: string;
  readonly censusBytes: number;
  /** As read before and after the census. */
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** Distance of the census from what lies between the two readings, over it: 0 inside. */
  readonly difference: number;
}

/** What a census of this machine counted; see kpageflags.ts. */
interface Counted {
  readonly census: Census;
  readonly meminfo: readonly [Meminfo, Meminfo];
  readonly lruPages: number;
  readonly mappedAnonPages: number;
  readonly mappedFilePages: number;
}

export function besideMeminfo(live: Counted): Beside[] {
  const { census } = live;
  const [before, after] = live.meminfo;
  const pages = (...owners: readonly Parameters<typeof ownerPages>[1][]): number =>
    owners.reduce((sum, owner) => sum + ownerPages(census, owner), 0);
  const pairs: readonly (readonly [string, string, number])[] = [
    ['MemFree', 'free, uninitialised', pages('free', 'uninitialised')],
    ['Cached + Buffers', 'file, shmem', pages('file', 'shmem')],
    ['Shmem', 'shmem', pages('shmem')],
    ['AnonPages', 'anon, mapped pages', live.mappedAnonPages],
    ['Mapped', 'file and shmem, mapped pages', live.mappedFilePages],
    ['Active + Inactive + Unevictable', 'pages on LRU lists', live.lruPages],
    ['Slab', 'slab', pages('slab')],
    ['PageTables + SecPageTables', 'table', pages('table')],
  ];
  return pairs.map(([names, what, n]) => {
    const sum = (info: Meminfo): number => names.split(' + ').reduce((total, name) => total + (info.get(name) ?? 0), 0);
    const beforeBytes = sum(before);
    const afterBytes = sum(after);
    const censusBytes = n * census.pageSize;
    const low = Math.min(beforeBytes, afterBytes);
    const high = Math.max(beforeBytes, afterBytes);
    const off = censusBytes < low ? censusBytes - low : censusBytes > high ? censusBytes - high : 0;
    const difference = off === 0 ? 0 : off / (off < 0 ? low : Math.max(high, census.pageSize));
    return { meminfo: names, census: what, censusBytes, beforeBytes, afterBytes, difference };
  });
}
