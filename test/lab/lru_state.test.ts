/**
 * What system calls and mappings leave of the LRU's marks: which folios are referenced, which active. Recorded on Linux 6.18, on one
 * processor, so that what waits in its batches is carried out when the kernel would. No memory is short here: under a limit the same
 * marks decide what goes first.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Replay } from '../../src/lab/replay.ts';
import { resultOf } from '../../src/lab/result.ts';
import { KPF } from '../../src/mm/page_flags.ts';
import { openTrace } from '../../src/trace/detect.ts';

const directory = fileURLToPath(new URL('../../golden/linux-6.18/lru/', import.meta.url));

/** By script, then by file: first page, order, R (referenced) and A (active). */
type Folios = Record<string, [index: number, order: number, marks: string][]>;
const truth = JSON.parse(readFileSync(`${directory}truth.json`, 'utf8')) as Record<string, Folios>;

const marks = (flags: number): string =>
  ((flags >> KPF.KPF_REFERENCED) & 1 ? 'R' : '') + ((flags >> KPF.KPF_ACTIVE) & 1 ? 'A' : '');

function replay(script: string): Folios {
  const path = `${directory}${script}.ops`;
  const source = openTrace(path);
  try {
    const r = new Replay(source, {});
    r.run();
    const left = Object.entries(resultOf(r, path).folios).filter(([, folios]) => folios.length > 0);
    return Object.fromEntries(left.map(([file, all]) => [file, all.map(([i, o, f]) => [i, o, marks(f ?? 0)])]));
  } finally {
    source.close();
  }
}

describe('marks of folios', () => {
  for (const [script, folios] of Object.entries(truth))
    it(script, () => {
      expect(replay(script)).toEqual(folios);
    });
});
