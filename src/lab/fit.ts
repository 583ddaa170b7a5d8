/** `quire fit`: the files of some directories under each base page size and memory-map layout; all of them, and what is cached now. */
import { totalmem } from 'node:os';
import { type MemmapLayout, memmapLayouts } from '../mm/memmap.ts';
import { type Bill, bill } from './fit_bill.ts';
import { CacheCount } from './fit_count.ts';
import { type Walked, walk } from './fit_walk.ts';
import { openResidency, type Residency } from './residency.ts';

export interface FitOptions {
  /** Memory of the machine in bytes; this machine's when absent. */
  readonly memory?: number;
  /** Called now and then with the number of files so far. */
  readonly onProgress?: (files: number) => void;
  /** How to ask what is cached, or why not to; asks this machine when absent. */
  readonly residency?: Residency | string;
}

/** Files that were not asked, or gave no answer. */
export interface Unasked {
  files: number;
  bytes: number;
}

/** Fields and units: docs/fit.md. */
export interface FitReport {
  readonly schema: 'quire.fit/1';
  readonly dirs: readonly string[];
  readonly memory: { readonly bytes: number; readonly from: 'this machine' | 'given' };
  readonly walked: Walked;
  readonly all: Bill;
  readonly resident: {
    /** Why nothing could be asked; null when it could. */
    readonly note: string | null;
    /** Base page of this machine, in which the answers come; null when nothing could be asked. */
    readonly pageSize: number | null;
    /** Neither owned nor writable by this user: the kernel does not say. */
    readonly denied: Unasked;
    /** Could not be opened or mapped. */
    readonly failed: Unasked;
    readonly bill: Bill | null;
  };
  readonly layouts: readonly MemmapLayout[];
  /** Where each kind of number comes from. */
  readonly basis: Readonly<Record<string, string>>;
}

const PROGRESS_FILES = 1024;

export async function fitDirs(dirs: readonly string[], options: FitOptions = {}): Promise<FitReport> {
  const residency = options.residency ?? (await openResidency());
  const memory = options.memory ?? totalmem();
  const all = new CacheCount();
  const resident = new CacheCount();
  const unasked = { denied: { files: 0, bytes: 0 }, failed: { files: 0, bytes: 0 } };

  const walked = walk(dirs, (path, stats) => {
    all.addFile(stats.size);
    if (typeof residency !== 'string') {
      let cached = false;
      const answer = residency.ask(path, stats, (from, to) => {
        cached = true;
        resident.addRange(from, to);
      });
      if (cached) resident.endFile();
      if (answer !== 'answered') {
        unasked[answer].files++;
        unasked[answer].bytes += stats.size;
      }
    }
    if (all.files % PROGRESS_FILES === 0) options.onProgress?.(all.files);
  });

  const asked = typeof residency !== 'string';
  return {
    schema: 'quire.fit/1',
    dirs,
    memory: { bytes: memory, from: options.memory === undefined ? 'this machine' : 'given' },
    walked,
    all: bill(all, memory),
    resident: {
      note: asked ? null : residency,
      pageSize: asked ? residency.pageSize : null,
      ...unasked,
      bill: asked ? bill(resident, memory) : null,
    },
    layouts: memmapLayouts,
    basis,
  };
}

const basis = {
  files: 'counted',
  bytes: 'counted',
  pages: 'counted',
  cacheBytes: 'counted',
  roundingBytes: 'counted',
  folioCount: 'counted, of the folios that are assumed',
  mapBytes: 'counted pages of memory, bytes a page from the literature (layouts[].source)',
  descriptorBytes: 'counted folios, bytes a folio from the literature (layouts[].source), slab rounding of Linux 6.18',
  calibrated: 'nothing',
} as const;
