/** Caches of the kernel that this runs on, as /sys/kernel/slab shows them, beside the sizes that the model gives them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, test } from 'vitest';
import { cacheShape, calculateAlignment, SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU } from '../../src/mm/slab.ts';

const ROOT = '/sys/kernel/slab';

interface LiveCache {
  readonly name: string;
  readonly of: (file: string) => number;
  readonly ctor: boolean;
}

/** Caches without debugging; the folders that are other names of one are links and left out. */
function liveCaches(): LiveCache[] {
  if (!existsSync(`${ROOT}/kmalloc-64/slab_size`)) return [];
  const caches: LiveCache[] = [];
  for (const entry of readdirSync(ROOT, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const text = (file: string): string => readFileSync(`${ROOT}/${entry.name}/${file}`, 'utf8').trim();
    const of = (file: string): number => Number.parseInt(text(file), 10);
    try {
      if (['red_zone', 'poison', 'store_user'].some((f) => existsSync(`${ROOT}/${entry.name}/${f}`) && of(f) === 1))
        continue;
      caches.push({ name: entry.name, of, ctor: text('ctor') !== '' });
    } catch {
      // A cache that has gone since the folder was listed.
    }
  }
  return caches;
}

const caches = liveCaches();

describe.skipIf(caches.length === 0)('caches of the live kernel', () => {
  test('size, order, objects, min_partial and cpu_partial of every cache', () => {
    const cpus = availableParallelism();
    const wrong: string[] = [];
    let pointers = 0;
    for (const { name, of, ctor } of caches) {
      const flags =
        (of('destroy_by_rcu') === 1 ? SLAB_TYPESAFE_BY_RCU : 0) | (of('hwcache_align') === 1 ? SLAB_HWCACHE_ALIGN : 0);
      const objectSize = of('object_size');
      const shape = (freeptrOffset?: number) =>
        cacheShape(objectSize, {
          flags,
          align: of('align'),
          ctor,
          pageSize: 4096,
          cpus,
          ...(freeptrOffset === undefined ? {} : { freeptrOffset }),
        });
      // No file says whether a type-stable cache names a word for the free pointer: its size does.
      const named = flags & SLAB_TYPESAFE_BY_RCU && !ctor && shape().size !== of('slab_size');
      if (named) pointers++;
      const s = named ? shape(0) : shape();
      const ours = [s.size, s.order, s.objects, s.minPartial, s.cpuPartial];
      const live = ['slab_size', 'order', 'objs_per_slab', 'min_partial', 'cpu_partial'].map(of);
      if (String(ours) !== String(live)) wrong.push(`${name}: ${ours}, the kernel says ${live}`);
      // What the flag asks for the alignment has; a cache may have asked for more.
      if (calculateAlignment(flags, 0, objectSize) > of('align')) wrong.push(`${name}: aligned to ${of('align')}`);
    }
    console.info(
      `${caches.length - wrong.length} of ${caches.length} caches agree; ${pointers} name a word for the free pointer`,
    );
    expect(wrong).toEqual([]);
  });
});
