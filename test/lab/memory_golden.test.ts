/**
 * Recordings of first touches with huge pages off, replayed with huge pages on, against the same programs run on the live
 * kernel with them on: faults and resident memory within 3 %. docs/fidelity.md has the figures.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseSetting } from '../../src/cli/options.ts';
import { AccessReplay } from '../../src/lab/access_replay.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { openQacc } from '../../src/trace/qacc_read.ts';
import { root } from '../../tools/sources.ts';

type Run = readonly [faults: number, peak: number, end: number];
interface Golden {
  readonly programs: Record<
    string,
    {
      readonly recording: string;
      readonly settings: { readonly thp: string; readonly fixed: Run[]; readonly random: Run[] }[];
    }
  >;
}
const golden = JSON.parse(readFileSync(`${root}golden/linux-6.18/memory.json`, 'utf8')) as Golden;

/** Collection of garbage in threads makes each run of it another one. */
const CHANGES = ['node'];
const PART = 0.03;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
const off = (predicted: number, real: number): number => Math.abs(predicted / real - 1);
/** Of a program that is never the same twice: how far from the range of its runs. */
const outside = (predicted: number, real: readonly number[]): number => {
  const [least, most] = [Math.min(...real), Math.max(...real)];
  return predicted < least ? off(predicted, least) : predicted > most ? off(predicted, most) : 0;
};

describe.each(Object.entries(golden.programs))('%s', (name, { recording, settings }) => {
  test.each(settings)('$thp', ({ thp, fixed }) => {
    const source = openQacc(`${root}examples/${recording}`);
    const controls = parseSetting('thp', thp === 'off' ? thp : `off,${thp}`);
    const replay = new AccessReplay(source, { ...controls, memory: 2 ** 31 }, [], []);
    replay.run();
    source.close();
    checkMachine(replay.m, true);
    expect(replay.skipped).toEqual({});
    const { minor, major, peak } = replay.main;
    const far = CHANGES.includes(name) ? outside : (p: number, real: readonly number[]) => off(p, median(real));
    expect(
      far(
        minor + major,
        fixed.map(([faults]) => faults),
      ),
      `${minor + major} faults`,
    ).toBeLessThan(PART);
    expect(
      far(
        peak,
        fixed.map((run) => run[1]),
      ),
      `peak ${peak}`,
    ).toBeLessThan(PART);
    // With huge pages off the recording is the run.
    if (thp === 'off') expect(off(minor + major, replay.main.live?.faults ?? 0)).toBeLessThan(0.002);
  });
});
