import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { selection } from '../../tools/fidelity/generate.ts';
import { type Entry, type Outcome, score } from '../../tools/fidelity/score.ts';
import { readOutcome, recordedIn, STORED } from '../../tools/fidelity/truths.ts';

function outcome(folios: Record<string, Entry[]>, more: Partial<Outcome> = {}): Outcome {
  return { script: 'a.ops', summary: { added_folios: 2, added_pages: 5, deleted_pages: 0 }, folios, ...more };
}

describe('score', () => {
  it('is 1 for the same folios, whatever their flags', () => {
    const truth = outcome({
      1: [
        [0, 2, 40],
        [4, 0, 44],
      ],
    });
    expect(
      score(
        truth,
        outcome({
          1: [
            [0, 2, 0],
            [4, 0],
          ],
        }),
      ),
    ).toMatchObject({ folioMatch: 1, pages: 5, difference: '' });
  });
  it('counts each page of a folio of another start or order as wrong', () => {
    const got = score(
      outcome({
        1: [
          [0, 2],
          [4, 0],
        ],
      }),
      outcome({
        1: [
          [0, 1],
          [2, 1],
          [4, 0],
        ],
      }),
    );
    expect(got.folioMatch).toBe(1 / 5);
    expect(got.difference).toBe('file 1 page 0: kernel 0:2, replay 0:1');
  });
  it('counts pages that only one side holds, in files and in mappings', () => {
    const truth = outcome({ 1: [[0, 0]], 2: [] }, { maps: [{ map: 7, folios: [[3, -3]] }] });
    const replay = outcome({ 1: [[0, 0]], 2: [[9, 0]] }, { maps: [{ map: 7, folios: [[3, -3]] }] });
    expect(score(truth, replay)).toMatchObject({
      folioMatch: 4 / 5,
      pages: 5,
      difference: 'file 2 page 9: kernel nothing, replay 9:0',
    });
  });
  it('gives counts as replay over truth, 1 where both are 0', () => {
    const truth = outcome({}, { memcg: { workingset_refault_file: 200 } });
    const replay = {
      ...truth,
      summary: { ...truth.summary, added_pages: 10 },
      memcg: { workingset_refault_file: 100 },
    };
    expect(score(truth, replay).ratios).toEqual({
      added_folios: 1,
      added_pages: 2,
      deleted_pages: 1,
      workingset_refault_file: 0.5,
    });
  });
});

describe('recorded scripts', () => {
  const stored = recordedIn(STORED);
  /** Cut down to what shows a rule. */
  const byHand = (name: string): boolean => name.startsWith('rule-') || name === 'map-fork-read-1';
  it('are what the generator makes from their family and seed, or were made by hand', () => {
    const made = new Map([...selection()].map((s) => [s.name, s.text]));
    const generated = stored.filter((r) => !byHand(r.name));
    expect(generated.map((r) => r.name)).toEqual([...made.keys()].sort());
    for (const r of generated) expect(readFileSync(r.script, 'utf8') === made.get(r.name), r.name).toBe(true);
  });
  it('have a truth each, and under a memory limit a second one', () => {
    for (const r of stored) {
      const truth = readOutcome(r.truth);
      expect(truth.script).toBe(`${r.name}.ops`);
      expect(existsSync(r.again), r.name).toBe(/^(rule-)?limit-/.test(r.name));
      expect(truth.summary.deleted_by_kdamond, r.name).toBe(0);
    }
    const files = readdirSync(STORED).filter((name) => !name.endsWith('.md'));
    expect(files.every((name) => stored.some((r) => join(STORED, name).startsWith(r.truth.slice(0, -5))))).toBe(true);
  });
});
