/**
 * Scripts recorded on Linux 6.18.44 with 512 MiB of swap, replayed: on a solid-state loop device and a swap file with pages of
 * zeros, on zram and under zswap with pages of which half is random. Without a memory limit what is swapped out, page for page,
 * and the counters are the kernel's; under one, where the kernel's own kernel memory decides when reclaim begins, they are as
 * near as two of its runs are. The recorder's process has faults of its own, about ten.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseSetting } from '../../src/cli/options.ts';
import { Replay } from '../../src/lab/replay.ts';
import { type ReplayResult, resultOf } from '../../src/lab/result.ts';
import { openTrace } from '../../src/trace/detect.ts';

const directory = fileURLToPath(new URL('../../golden/linux-6.18/swap/', import.meta.url));

interface Case {
  script: string;
  swap: string;
  /** No memory limit. */
  exact: boolean;
  /** Mapping, first page, pages. */
  swapped: [number, number, number][];
  faults: [number, number];
  vmstat: Record<string, number>;
  mthp: Record<string, Record<string, number>>;
}
const cases = JSON.parse(readFileSync(`${directory}truth.json`, 'utf8')) as Case[];

/** Counters that other processes and the end of the recorded one add a little to. */
const NOISE = 16;

function replay(c: Case): ReplayResult {
  const script = `${directory}${c.script}.ops`;
  const source = openTrace(script);
  try {
    const r = new Replay(source, parseSetting('swap', c.swap));
    r.run();
    return resultOf(r, script);
  } finally {
    source.close();
  }
}

describe.each(cases)('$script, swap $swap', (c) => {
  it('as the kernel', () => {
    const r = replay(c);
    const mine = new Set(r.maps.flatMap((m) => m.swapped.map((page) => `${m.map}:${page}`)));
    const theirs = new Set(
      c.swapped.flatMap(([map, from, n]) => Array.from({ length: n }, (_, i) => `${map}:${from + i}`)),
    );
    const both = [...mine].filter((page) => theirs.has(page)).length;
    const share = both / Math.max(mine.size + theirs.size - both, 1);
    if (c.exact) expect([mine.size, both]).toEqual([theirs.size, theirs.size]);
    else expect(share).toBeGreaterThan(0.97);
    const near = (name: string, theirs_: number, mine_: number): void => {
      const room = c.exact ? NOISE : NOISE + theirs_ * 0.01;
      expect(Math.abs(mine_ - theirs_), `${name}: ${theirs_}, here ${mine_}`).toBeLessThanOrEqual(room);
    };
    near('minor faults', c.faults[0], r.summary.minor_faults);
    near('major faults', c.faults[1], r.summary.major_faults);
    for (const [name, n] of Object.entries(c.vmstat)) near(name, n, r.vmstat[name] ?? 0);
    const sizes = r.mthp as Record<string, Record<string, number>>;
    for (const [size, counts] of Object.entries(c.mthp))
      for (const [name, n] of Object.entries(counts)) near(`${size} ${name}`, n, sizes[size]?.[name] ?? 0);
  });
});
