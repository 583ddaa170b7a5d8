/**
 * Scripts recorded on Linux 6.18, replayed: folio for folio the same without a memory limit; under one, as near as a second
 * run of the kernel comes to the first, less a little. Where a truth holds counters by size of page, they were read by a parent
 * of the script's process before and after it, with huge pages off for the recorder itself: they are the script's alone.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Replay } from '../../src/lab/replay.ts';
import { resultOf } from '../../src/lab/result.ts';
import { openTrace } from '../../src/trace/detect.ts';
import { countersBySize, faultsAgree, type Outcome, score } from '../../tools/fidelity/score.ts';

const golden = fileURLToPath(new URL('../../golden/linux-6.18/', import.meta.url));
const examples = fileURLToPath(new URL('../../examples/', import.meta.url));
const SLACK = 0.03;

const truth = (path: string): Outcome => JSON.parse(readFileSync(path, 'utf8')) as Outcome;

function replay(script: string): Outcome {
  const source = openTrace(script);
  try {
    const r = new Replay(source, {});
    r.run();
    return resultOf(r, script) as unknown as Outcome;
  } finally {
    source.close();
  }
}

const scripts = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.ops'))
    .map((name) => name.slice(0, -4));

describe('generated scripts', () => {
  for (const name of scripts(`${golden}scripts`)) {
    const base = `${golden}scripts/${name}`;
    const again = existsSync(`${base}.2.json`) ? score(truth(`${base}.json`), truth(`${base}.2.json`)) : undefined;
    const floor = again === undefined ? 1 : again.folioMatch - SLACK;
    it(`${name}: ${floor === 1 ? 'every folio' : `at least ${floor.toFixed(3)}`}`, () => {
      const kernel = truth(`${base}.json`);
      const ours = replay(`${base}.ops`);
      const s = score(kernel, ours);
      expect(s.folioMatch, s.difference).toBeGreaterThanOrEqual(floor);
      if (kernel.mthp !== undefined) expect(countersBySize(ours)).toEqual(countersBySize(kernel));
      if (/^(map|anon)-/.test(name)) expect(faultsAgree(s.faults), JSON.stringify(s.faults)).toBe(true);
    });
  }
});

describe('recordings of real programs', () => {
  for (const name of scripts(examples))
    it(`${name}: every folio`, () => {
      const s = score(truth(`${golden}examples/${name}.json`), replay(`${examples}${name}.ops`));
      expect(s.folioMatch, s.difference).toBe(1);
    });
});
