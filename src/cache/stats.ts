/** What a cache has done and holds. */
import { V, vmstatReport } from '../mm/vmstat.ts';
import type { Core, RequestCounts } from './core.ts';
import type { CacheGroup } from './group.ts';

export interface CacheStats {
  /** Bytes: the budget, what of it are pages that can hold data, what is cached, dirty, on its way to a source. */
  readonly memory: number;
  readonly capacity: number;
  readonly resident: number;
  readonly dirty: number;
  readonly writeback: number;
  /** Requests to all sources. */
  readonly requests: Readonly<RequestCounts>;
  /** Counters with the names of /proc/vmstat, zeros left out. */
  readonly vmstat: Readonly<Record<string, number>>;
  /** Bytes cached by group, and its limit. */
  readonly groups: Readonly<Record<string, { readonly resident: number; readonly memory: number }>>;
}

export function statsOf(core: Core, groups: readonly CacheGroup[]): CacheStats {
  const { m, budget } = core;
  const bytes = (item: number): number => (m.vmstat[item] as number) * budget.pageSize;
  return {
    memory: budget.bytes,
    capacity: budget.frames * budget.pageSize,
    resident: bytes(V.nr_file_pages),
    dirty: bytes(V.nr_dirty),
    writeback: bytes(V.nr_writeback),
    requests: { ...core.counts },
    vmstat: vmstatReport(m.vmstat),
    groups: Object.fromEntries(groups.map((g) => [g.name, { resident: g.residentBytes, memory: g.memory }])),
  };
}
