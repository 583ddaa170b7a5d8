/**
 * Out of memory is a result here: nothing is killed. The charge or the allocation fails, and the counters say so.
 */
import type { MemcgId } from './ids.ts';
import type { Machine } from './machine.ts';
import { V } from './vmstat.ts';

/** The machine has nothing left to give. False: no memory was won. @kernel mm/oom_kill.c out_of_memory (6.18) */
export function outOfMemory(m: Machine): boolean {
  m.vmstat[V.oom_kill] += 1;
  return false;
}

/** A group has nothing left below its limit. @kernel mm/memcontrol.c mem_cgroup_oom (6.18) */
export function memCgroupOom(m: Machine, memcg: MemcgId): boolean {
  m.memcgs.oom[memcg] += 1;
  return outOfMemory(m);
}
