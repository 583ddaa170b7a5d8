/**
 * Every recording, replayed on the four layouts of the memory map: the same folios, counts and I/O, to the last counter, and
 * the bytes that are reported are those of the tables that ran. By default each recording runs on one layout beside `overlay`,
 * which takes turns; LAYOUTS=all runs it on all.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { billOf } from '../../src/lab/bill.ts';
import { Replay } from '../../src/lab/replay.ts';
import { type ReplayResult, resultOf } from '../../src/lab/result.ts';
import { machineCensus } from '../../src/mm/census.ts';
import { checkDescriptors, descriptorBytes } from '../../src/mm/memdesc_slab.ts';
import type { LayoutName } from '../../src/mm/memmap.ts';
import { openTrace } from '../../src/trace/detect.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const directories = [`${root}golden/linux-6.18/scripts/`, `${root}examples/`];
const scripts = directories.flatMap((at) =>
  readdirSync(at).flatMap((name) => (name.endsWith('.ops') ? [at + name] : [])),
);
const others: readonly LayoutName[] = ['page64', 'page32', 'memdesc8'];

/** The third: bytes of descriptors when the workload has ended. The result is taken then, and its program exits. */
function replay(script: string, memmap: LayoutName): [ReplayResult, Replay, number] {
  const source = openTrace(script);
  try {
    const r = new Replay(source, { memmap });
    r.run();
    const bytes = descriptorBytes(r.m.map.descriptors);
    return [resultOf(r, script), r, bytes];
  } finally {
    source.close();
  }
}

/** What must not depend on the layout. */
const comparable = ({ config, memmap_bytes: _, ...rest }: ReplayResult): unknown => ({
  ...rest,
  config: { ...config, memmap: '' },
});

describe('replays on the four layouts', () => {
  scripts.forEach((script, i) => {
    const layouts = process.env.LAYOUTS === 'all' ? others : [others[i % others.length] as LayoutName];
    it(`${script.slice(root.length)}: ${layouts.join(', ')} as overlay`, () => {
      const [overlay, o] = replay(script, 'overlay');
      expect(overlay.memmap_bytes).toBe(o.m.zones.frames * 64);
      for (const layout of layouts) {
        const [result, r, descriptors] = replay(script, layout);
        expect(comparable(result)).toEqual(comparable(overlay));
        const { map, zones } = r.m;
        const apart = layout === 'page32' || layout === 'memdesc8';
        if (apart) checkDescriptors(map, map.descriptors);
        const bytes = { page64: 64, overlay: 64, page32: 32, memdesc8: 8 }[layout];
        expect(result.memmap_bytes).toBe(zones.frames * bytes + (apart ? descriptors : 0));
      }
    });
  });
});

describe('the bill of what a replay leaves', () => {
  it.each(
    ['sqlite', 'gcc', 'git', 'postgres', 'ripgrep'].flatMap((name) =>
      (['page32', 'memdesc8'] as const).map((layout) => [name, layout] as const),
    ),
  )('examples/%s.ops: the records on %s to the byte, the descriptors densely packed', (name, layout) => {
    const source = openTrace(`${root}examples/${name}.ops`);
    const r = new Replay(source, { memmap: layout });
    r.run();
    source.close();
    const { map, config } = r.m;
    const bill = billOf(machineCensus(r.m), { rcuFreePointer: false }).rows.find((row) => row.layout === layout);
    expect(bill?.mapBytes).toBe(map.frames * map.pageWords * 4);
    const billed = (bill?.totalBytes as number) - (bill?.mapBytes as number);
    const ran = descriptorBytes(map.descriptors);
    // Slabs that are not full, a free one that each cache keeps, and the CPU's sheaf.
    expect(ran).toBeGreaterThanOrEqual(billed);
    expect(ran).toBeLessThanOrEqual(billed * 1.03 + 4 * config.pageSize);
  });
});
