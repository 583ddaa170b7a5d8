/** What a replay can be told: the settings of every command, by the same names. What is absent is as the recording says. */
import { QuireError } from '../base/errors.ts';
import type { LayoutName } from '../mm/memmap.ts';
import type { SwapKind } from '../mm/swap_table.ts';
import type { TraceSettings } from '../trace/event.ts';

/** Sizes in bytes. */
export interface Settings {
  readonly kernel?: string;
  readonly pageSize?: number;
  readonly memory?: number;
  /** Memory limit of the group; 0: none. */
  readonly memcg?: number;
  readonly thp?: Readonly<Record<string, string>>;
  readonly fs?: string;
  readonly blockSize?: number;
  readonly readahead?: number;
  readonly lru?: string;
  readonly swappiness?: number;
  readonly swap?: SwapSetting;
  readonly memmap?: LayoutName;
  readonly cpu?: string;
}

/** Swap space of the machine. */
export interface SwapSetting {
  /** Bytes; 0: none. */
  readonly size: number;
  /** A rotational disk, solid state, a file on it, or memory that is compressed. */
  readonly kind: SwapKind;
  /** Pages are compressed in memory before they go to the device. */
  readonly zswap: boolean;
  /** Bytes of a page by bytes that are left when it is compressed. */
  readonly ratio: number;
  /** Stores leave data, which must be written; without it pages hold zeros, as the ops recorder's do. */
  readonly data: boolean;
}

/** The settings of one replay, with nothing left open. Sizes in bytes. */
export interface Resolved {
  readonly kernel: string;
  readonly pageSize: number;
  readonly memory: number;
  readonly memcg: number;
  readonly fs: string;
  readonly blockSize: number;
  readonly readahead: number;
  /** Largest I/O of the device. */
  readonly ioSize: number;
  readonly swappiness: number;
  /** Reclaim by active and inactive lists, or by generations. */
  readonly lru: 'classic' | 'mglru';
  /** Layout of the memory map. */
  readonly memmap: LayoutName;
  /** Null: no swap. */
  readonly swap: SwapSetting | null;
  /** huge= of tmpfs. */
  readonly huge: string;
  /** Controls under transparent_hugepage that are not as at boot: `{ '64kB': 'always', top: 'madvise' }`. */
  readonly thp: Readonly<Record<string, string>>;
  /** Does the daemon that collapses pages run? */
  readonly khugepaged: boolean;
}

/** Memory of the machine that the recorded truths come from. */
export const DEFAULT_MEMORY: number = 24 * 2 ** 30;
const DEFAULT_SWAPPINESS = 60;
/** max_sectors_kb of a loop device. */
const DEFAULT_IO = 1280 * 1024;

/** What a setting would change is not modelled yet: to take it and change nothing would be an answer to another question. */
function refuseWithoutEffect(set: Settings): void {
  const refuse = (what: string, why: string): never => {
    throw new QuireError('EOPNOTSUPP', `${what} has no effect yet: ${why}`);
  };
  if (set.swappiness !== undefined && set.swappiness !== DEFAULT_SWAPPINESS && (set.swap?.size ?? 0) === 0)
    refuse(`swappiness ${set.swappiness}`, 'there is no swap, so reclaim takes files only');
  if (set.cpu !== undefined)
    refuse('cpu', 'a recording of operations says no addresses; traces of accesses go through a TLB');
}

/** What of a replay was never compared with a live kernel, in words. */
export const uncheckedOf = (config: Pick<Resolved, 'lru'>): string[] =>
  config.lru === 'mglru' ? ['lru mglru: written after the text of Linux 6.18, not checked against a live kernel'] : [];

/** Throws for what the model cannot do. */
export function resolve(trace: TraceSettings, set: Settings): Resolved {
  refuseWithoutEffect(set);
  const huge = /(?:^|,)huge=(\w+)/.exec(trace.mountOption)?.[1] ?? 'never';
  return {
    kernel: set.kernel ?? '6.18',
    pageSize: set.pageSize ?? 4096,
    memory: set.memory ?? DEFAULT_MEMORY,
    memcg: set.memcg ?? trace.memcg,
    fs: set.fs ?? trace.fs,
    blockSize: set.blockSize ?? trace.blockSize,
    readahead: set.readahead ?? trace.readaheadKb * 1024,
    ioSize: DEFAULT_IO,
    swappiness: set.swappiness ?? DEFAULT_SWAPPINESS,
    lru: set.lru === 'mglru' ? 'mglru' : 'classic',
    memmap: set.memmap ?? 'overlay',
    swap: set.swap !== undefined && set.swap.size > 0 ? set.swap : null,
    huge,
    thp: { ...trace.thp, ...set.thp },
    khugepaged: trace.khugepaged,
  };
}
