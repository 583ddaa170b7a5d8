/**
 * The kernel's own memory on a modelled machine, put there before a recording is replayed: huge page pools, and the slabs of a
 * /proc/slabinfo. Every object is allocated by the engine's own slab allocator, so that the slabs, their orders and where they lie
 * are counted, not taken from the file.
 */
import { readFileSync, statSync } from 'node:fs';
import { InputError, QuireError } from '../base/errors.ts';
import { formatBytes } from '../base/units.ts';
import { GFP_KERNEL } from '../mm/gfp.ts';
import { setMaxHugePages, sizeToHstate } from '../mm/hugetlb.ts';
import type { Machine } from '../mm/machine.ts';
import { cacheShape, SLAB_NO_MERGE } from '../mm/slab.ts';
import { kmemCacheCreate } from '../mm/slab_common.ts';
import { flushCpuSlab, kmemCacheAlloc, kmemCacheFree } from '../mm/slub.ts';

/** One cache of a /proc/slabinfo. */
export interface SlabinfoLine {
  readonly name: string;
  readonly activeObjs: number;
  readonly numObjs: number;
  /** Bytes from one object to the next. */
  readonly objsize: number;
  readonly objperslab: number;
  readonly pagesperslab: number;
}

export interface HugePages {
  /** Bytes of one page. */
  readonly bytes: number;
  readonly count: number;
}

export interface KernelMemory {
  readonly hugepages: readonly HugePages[];
  /** Pools give most of their memory map back. */
  readonly hvo: boolean;
  readonly slabs: readonly SlabinfoLine[];
}

/** What a machine got. */
export interface KernelMemoryResult {
  readonly caches: number;
  /** Caches whose slabs have the order and the objects that the file says. */
  readonly sameShape: number;
  readonly objects: number;
  readonly slabPages: number;
  readonly hugePages: number;
}

const FILE_BYTES_MAX = 2 ** 20;
const HEAD = /^slabinfo - version: 2\.[01]/;

export function readSlabinfo(path: string): SlabinfoLine[] {
  // Files under /proc have no size.
  if (statSync(path).size > FILE_BYTES_MAX) throw new InputError(path, 0, 'over 1 MiB: expected a /proc/slabinfo');
  return parseSlabinfo(readFileSync(path, 'utf8'), path);
}

export function parseSlabinfo(text: string, file: string): SlabinfoLine[] {
  const lines = text.split(/\r?\n/);
  if (!HEAD.test(lines[0] ?? ''))
    throw new InputError(file, 1, `"${(lines[0] ?? '').slice(0, 60)}": expected slabinfo - version: 2.1`);
  const rows: SlabinfoLine[] = [];
  for (const [i, line] of lines.entries()) {
    if (i === 0 || line.startsWith('#') || line.trim() === '') continue;
    const fail = (what: string): never => {
      throw new InputError(file, i + 1, what);
    };
    const match = /^(\S+) +(\d{1,12}) +(\d{1,12}) +(\d{1,8}) +(\d{1,6}) +(\d{1,6}) +:/.exec(line);
    if (match === null) throw new InputError(file, i + 1, `"${line.slice(0, 60)}": expected NAME and five numbers`);
    const [activeObjs, numObjs, objsize, objperslab, pagesperslab] = match.slice(2).map(Number) as [
      number,
      number,
      number,
      number,
      number,
    ];
    if (activeObjs > numObjs) fail(`${match[1]}: ${activeObjs} objects active of ${numObjs}`);
    if (objsize < 8 || objperslab < 1 || pagesperslab < 1 || (pagesperslab & (pagesperslab - 1)) !== 0)
      fail(`${match[1]}: objects of ${objsize} bytes, ${objperslab} in ${pagesperslab} pages: expected a slab`);
    rows.push({ name: match[1] as string, activeObjs, numObjs, objsize, objperslab, pagesperslab });
  }
  if (rows.length === 0) throw new InputError(file, 0, 'no cache: expected a line for each');
  return rows;
}

/** Fills a machine that has just been made. */
export function setUpKernelMemory(m: Machine, kernel: KernelMemory): KernelMemoryResult {
  m.hugetlb.optimizeVmemmap = kernel.hvo;
  let hugePages = 0;
  for (const { bytes, count } of kernel.hugepages) {
    const got = setMaxHugePages(m, sizeToHstate(m, bytes), count);
    if (got < count)
      throw new QuireError('ENOMEM', `${count} huge pages of ${formatBytes(bytes)}: the machine has room for ${got}`);
    hugePages += got;
  }
  if (kernel.slabs.length > 0) m.slab.cpus = likelyCpus(kernel.slabs, m.config.pageSize);
  let sameShape = 0;
  let objects = 0;
  let slabPages = 0;
  for (const line of kernel.slabs) {
    const c = kmemCacheCreate(m, line.name, line.objsize, { flags: SLAB_NO_MERGE });
    const { cache } = m.slab;
    if (cache.objects[c] === line.objperslab && 2 ** (cache.order[c] as number) === line.pagesperslab) sameShape++;
    objects += fillCache(m, c, line);
    slabPages += (cache.nrSlabs[c] as number) * 2 ** (cache.order[c] as number);
  }
  return { caches: kernel.slabs.length, sameShape, objects, slabPages, hugePages };
}

/** As many slabs as the file says, with its free objects spread over them. */
function fillCache(m: Machine, c: ReturnType<typeof kmemCacheCreate>, line: SlabinfoLine): number {
  const { numObjs, activeObjs } = line;
  const free: number[] = [];
  for (let i = 0; i < numObjs; i++) {
    const x = kmemCacheAlloc(m, c, GFP_KERNEL);
    if (x === 0)
      throw new QuireError(
        'ENOMEM',
        `slabs of ${line.name}: ${numObjs} objects of ${line.objsize} B, no memory after ${i}`,
      );
    // The i-th object is free when the share of free ones passes a whole number there.
    const upTo = (n: number): number => Math.floor((n * (numObjs - activeObjs)) / numObjs);
    if (upTo(i + 1) > upTo(i)) free.push(x);
  }
  // Slabs that would be empty go, all but a few, as on a live machine.
  flushCpuSlab(m, c);
  for (const x of free) kmemCacheFree(m, c, x);
  return activeObjs;
}

/** The number of CPUs with which most caches have the shape that the file says; of equals the smallest. */
function likelyCpus(lines: readonly SlabinfoLine[], pageSize: number): number {
  let best = 1;
  let most = -1;
  for (let cpus = 1; cpus <= 1024; cpus *= 2) {
    const same = lines.filter((line) => {
      const s = cacheShape(line.objsize, { pageSize, cpus });
      return s.objects === line.objperslab && 2 ** s.order === line.pagesperslab;
    }).length;
    if (same > most) {
      most = same;
      best = cpus;
    }
  }
  return best;
}
