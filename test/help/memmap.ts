/**
 * The engine's tests once more, on another layout of the memory map: a machine or a replay that asks for none gets the one of the
 * environment's MEMMAP (vitest.config.ts), and every test must come out the same.
 *
 *     MEMMAP=page32 npx vitest run --project layout
 */
import { inject, vi } from 'vitest';
import type { Resolved, Settings } from '../../src/lab/settings.ts';
import type { MachineConfig } from '../../src/mm/machine.ts';
import type { TraceSettings } from '../../src/trace/event.ts';

vi.mock('../../src/mm/mm_init.ts', async (original) => {
  const real = await original<typeof import('../../src/mm/mm_init.ts')>();
  const memmap = inject('memmap');
  return { ...real, machine: (config: MachineConfig) => real.machine({ memmap, ...config }) };
});

vi.mock('../../src/lab/settings.ts', async (original) => {
  const real = await original<typeof import('../../src/lab/settings.ts')>();
  const memmap = inject('memmap');
  return {
    ...real,
    resolve: (trace: TraceSettings, set: Settings): Resolved => real.resolve(trace, { memmap, ...set }),
  };
});

declare module 'vitest' {
  interface ProvidedContext {
    memmap: import('../../src/mm/memmap.ts').LayoutName;
  }
}
