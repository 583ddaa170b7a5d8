/** What a replay can be told: the settings of every command, by the same names. What is absent is as the recording says. */
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
  readonly memmap?: string;
  readonly cpu?: string;
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
  /** huge= of tmpfs. */
  readonly huge: string;
}

/** Memory of the machine that the recorded truths come from. */
export const DEFAULT_MEMORY: number = 24 * 2 ** 30;
/** max_sectors_kb of a loop device. */
const DEFAULT_IO = 1280 * 1024;

export function resolve(trace: TraceSettings, set: Settings): Resolved {
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
    swappiness: set.swappiness ?? 60,
    huge,
  };
}
