/**
 * `quire compare` of a trace of memory accesses: every combination of the settings, as in compare.ts. What differs only in the
 * CPU is one pass: all CPUs read the same batches and see one machine.
 *
 *     --vary thp=off,64k=always --vary cpu=zen3,zen4,zen5        two passes, six rows
 */
import { type Cpu, cpuNamed } from '../arch/cpus.ts';
import { InputError, QuireError } from '../base/errors.ts';
import type { AccessSource, Region } from '../trace/access.ts';
import { regionsOf } from '../trace/regions.ts';
import { type Area, areasFromRegions } from './access_areas.ts';
import { type AccessFigures, accessFigures } from './access_figures.ts';
import { AccessReplay, defaultCpu } from './access_replay.ts';
import { AccessSampler, type AccessTimeline } from './access_timeline.ts';
import { product, type Vary } from './compare.ts';
import type { Resolved, Settings } from './settings.ts';

export interface AccessRow {
  /** The settings that distinguish this row. */
  readonly set: Settings;
  readonly config: Resolved | null;
  /** Whose TLB is counted; null: no one's. */
  readonly cpu: string | null;
  /** Why these settings cannot be replayed; null when they were. */
  readonly refused: string | null;
  readonly figures: AccessFigures | null;
  readonly timeline: AccessTimeline | null;
}

export interface AccessComparison {
  readonly schema: 'quire.accesses/1';
  readonly trace: string;
  readonly accesses: number;
  /** The areas: told by the trace, from a file, or guessed. */
  readonly areas: 'told' | 'maps' | 'guessed';
  /** What the live kernel said of the process with the most memory, when it was recorded. */
  readonly live: { readonly faults: number; readonly rss_peak_bytes: number; readonly rss_end_bytes: number } | null;
  readonly vary: readonly Vary[];
  readonly rows: readonly AccessRow[];
}

/** Replays that are one pass: the same machine, and CPUs of one architecture. */
interface Pass {
  readonly set: Settings;
  readonly arch: Cpu['arch'] | null;
  readonly rows: { readonly index: number; readonly cpu: string | null }[];
}

/** `maps`: the areas, when the trace does not tell them; null: guess. */
export function compareAccesses(
  open: () => AccessSource,
  maps: readonly Area[] | null,
  base: Settings,
  vary: readonly Vary[],
  onProgress: (part: number) => void = () => {},
): AccessComparison {
  const sets = product(vary);
  const first = open();
  const { name, told } = first;
  let { regions } = first as { regions: readonly Region[] | null };
  if (told || maps !== null || regions !== null) first.close();
  else regions = regionsOf(first);
  const passes = passesOf(
    sets.map((set) => ({ ...base, ...set })),
    told,
  );
  const rows: AccessRow[] = [];
  let accesses = -1;
  let live: AccessComparison['live'] = null;
  let firstRefusal: QuireError | null = null;
  for (const [done, pass] of passes.entries()) {
    const source = open();
    try {
      const areas = told ? [] : (maps ?? areasFromRegions(regions ?? [], pass.set.pageSize ?? 4096));
      const cpus = pass.rows.flatMap(({ cpu }) => (cpu === null ? [] : [cpu]));
      const r = new AccessReplay(source, pass.set, areas, cpus);
      const total = accesses >= 0 ? accesses : source.total;
      const sampler = new AccessSampler(r);
      r.onBatch = (n) => {
        sampler.look(n);
        onProgress((done + (total > 0 ? Math.min(n / total, 1) : 0)) / passes.length);
      };
      r.run();
      sampler.end();
      if (accesses >= 0 && accesses !== r.accesses) throw new InputError(name, 0, 'has changed while it was read');
      accesses = r.accesses;
      const said = r.main.live;
      if (said !== null && said.peak >= 0)
        live = { faults: said.faults + said.majorFaults, rss_peak_bytes: said.peak, rss_end_bytes: said.rss };
      let next = 0;
      for (const { index, cpu } of pass.rows)
        rows[index] = {
          set: sets[index] as Settings,
          config: r.settings,
          cpu,
          refused: null,
          figures: accessFigures(r, cpu === null ? null : (r.translators[next++] ?? null)),
          timeline: sampler.timeline,
        };
    } catch (error) {
      if (!(error instanceof QuireError) || error instanceof InputError || error.code === 'EOPNOTSUPP') throw error;
      firstRefusal ??= error;
      for (const { index, cpu } of pass.rows)
        rows[index] = {
          set: sets[index] as Settings,
          config: null,
          cpu,
          refused: error.message,
          figures: null,
          timeline: null,
        };
    } finally {
      source.close();
    }
  }
  if (accesses < 0 && firstRefusal !== null) throw firstRefusal;
  const areas = told ? 'told' : maps !== null ? 'maps' : 'guessed';
  return { schema: 'quire.accesses/1', trace: name, accesses, areas, live, vary, rows };
}

function passesOf(all: readonly Settings[], told: boolean): Pass[] {
  const passes = new Map<string, Pass>();
  for (const [index, { cpu: asked, ...set }] of all.entries()) {
    const cpu = told ? null : (asked ?? defaultCpu(set.pageSize ?? 4096));
    const arch = cpu === null ? null : cpuNamed(cpu).arch;
    // What flushes all in one and not in the other cannot share a machine.
    const key = JSON.stringify([set, arch, cpu === null || cpuNamed(cpu).rangeFlush !== false]);
    let pass = passes.get(key);
    if (pass === undefined) {
      pass = { set: told && asked !== undefined ? { ...set, cpu: asked } : set, arch, rows: [] };
      passes.set(key, pass);
    }
    pass.rows.push({ index, cpu });
  }
  return [...passes.values()];
}
