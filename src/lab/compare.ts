/**
 * `quire compare`: one recording under several settings. Every row is a replay of its own, from a cold cache, on a machine of
 * its own; the recording is read anew for each, so its length does not matter. Two comparisons of one recording are equal to
 * the byte.
 *
 *   --vary kernel=5.15,6.18 --vary memcg=0,64M        5.15 none │ 5.15 64M │ 6.18 none │ 6.18 64M
 *          first varies slowest                                first row: the measure of the others
 */
import { InputError, QuireError } from '../base/errors.ts';
import { release } from '../mm/release.ts';
import type { TraceSource } from '../trace/event.ts';
import { type Figures, type FileRow, figuresOf, pickFiles } from './compare_figures.ts';
import { Replay } from './replay.ts';
import { type Resolved, resolve, type Settings } from './settings.ts';
import { type Timeline, TimelineSampler } from './timeline.ts';

export const ROWS_MAX = 200;

/** One `--vary`: a setting by the name of its field, and its values, each as a record of that one field. */
export interface Vary {
  readonly name: keyof Settings;
  readonly values: readonly Settings[];
}

export interface CompareRow {
  /** The settings that distinguish this row. */
  readonly set: Settings;
  readonly config: Resolved;
  /** Why these settings cannot be replayed; null when they were. All that follows is null then. */
  readonly refused: string | null;
  readonly figures: Figures | null;
  readonly timeline: Timeline | null;
  /** A few files, the same ones in every row. */
  readonly files: readonly FileRow[] | null;
}

export interface Comparison {
  readonly schema: 'quire.compare/1';
  readonly recording: string;
  readonly files: number;
  readonly fileBytes: number;
  readonly operations: number;
  readonly vary: readonly Vary[];
  /** One row or more has been replayed. */
  readonly rows: readonly CompareRow[];
}

/** Every combination of the values, the first setting varying slowest. Without any: the recording as it is. */
export function product(vary: readonly Vary[]): Settings[] {
  vary.forEach(({ name, values }, i) => {
    if (vary.findIndex((v) => v.name === name) < i) throw new QuireError('EINVAL', `${name} is varied twice`);
    const seen = values.map((v) => JSON.stringify(v[name]));
    const again = seen.findIndex((text, j) => seen.indexOf(text) < j);
    if (again >= 0) throw new QuireError('EINVAL', `${name}: the value ${seen[again]} is given twice`);
  });
  const rows = vary.reduce((n, v) => n * v.values.length, 1);
  if (rows > ROWS_MAX) throw new QuireError('EINVAL', `${rows} combinations: expected at most ${ROWS_MAX}`);
  return vary.reduce<Settings[]>(
    (so, { values }) => so.flatMap((set) => values.map((value) => ({ ...set, ...value }))),
    [{}],
  );
}

/**
 * Replays the recording that `open` opens under every combination of `vary`, other settings as `base` says. Throws for an
 * unreadable recording, for a setting that has no effect in the model, and when no combination can be replayed at all; a
 * combination that no such machine could have (a block above the page on a kernel that cannot) is a row that says so.
 */
export function compare(
  open: () => TraceSource,
  base: Settings,
  vary: readonly Vary[],
  onProgress: (part: number) => void = () => {},
): Comparison {
  const sets = product(vary);
  const rows: CompareRow[] = [];
  let about: Pick<Comparison, 'recording' | 'files' | 'fileBytes'> = { recording: '', files: 0, fileBytes: 0 };
  let operations = -1;
  let picked: readonly number[] | null = null;
  let firstRefusal: QuireError | null = null;
  for (const set of sets) {
    const source = open();
    try {
      about = {
        recording: source.name,
        files: source.files.length,
        fileBytes: source.files.reduce((sum, f) => sum + f.size, 0),
      };
      // All settings are looked at before the first replay, which may be long.
      if (rows.length === 0) for (const s of sets) release(resolve(source.settings, { ...base, ...s }).kernel);
      const all = { ...base, ...set };
      const config = resolve(source.settings, all);
      try {
        const replay = new Replay(source, all);
        const sampler = new TimelineSampler((ops) => {
          onProgress((rows.length + (operations > 0 ? Math.min(ops / operations, 1) : 0)) / sets.length);
        });
        replay.sampler = sampler;
        replay.run();
        sampler.end(replay);
        if (operations >= 0 && replay.ops !== operations)
          throw new InputError(source.name, 0, 'has changed while it was read');
        operations = replay.ops;
        picked ??= pickFiles(replay);
        rows.push({ set, config, refused: null, timeline: sampler.timeline, ...figuresOf(replay, picked) });
      } catch (error) {
        if (!(error instanceof QuireError) || error instanceof InputError) throw error;
        firstRefusal ??= error;
        rows.push({ set, config, refused: error.message, figures: null, timeline: null, files: null });
      }
    } finally {
      source.close();
    }
  }
  if (operations < 0 && firstRefusal !== null) throw firstRefusal;
  return { schema: 'quire.compare/1', ...about, operations, vary, rows };
}
