/**
 * How near a replay comes to what the kernel did. `folioMatch`: of all pages that either side holds at the end, in files
 * and in mappings, the share that lies in a folio with the same start and the same order on both sides.
 */

/** Start (page), order or minus the number of pages, kpageflags. */
export type Entry = readonly [start: number, order: number, flags?: number];

/** The parts of a truth file, or of a replay's output, that are compared. */
export interface Outcome {
  readonly script: string;
  readonly summary: Readonly<Record<string, unknown>>;
  readonly folios: Readonly<Record<string, readonly Entry[]>>;
  readonly maps?: readonly { readonly map: number; readonly folios: readonly Entry[] }[];
  readonly memcg?: Readonly<Record<string, number>>;
  /** Counters by size of page. */
  readonly mthp?: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface Score {
  readonly folioMatch: number;
  /** Pages that either side holds. */
  readonly pages: number;
  /** Replay over truth; 1 when both are 0. */
  readonly ratios: Readonly<Record<string, number>>;
  /** See faultsAgree. */
  readonly faults: Faults;
  /** The first place where the two differ, as one line; '' where they agree. */
  readonly difference: string;
}

/** Faults of the script's process: of the replay less those of the kernel. */
export interface Faults {
  readonly minor: number;
  readonly major: number;
  /** The kernel's own. */
  readonly minorTruth: number;
  readonly majorTruth: number;
}

/** Most faults that the recorder's process takes itself: its stack, its libraries, each new area's description. */
const RECORDER_FAULTS = 13;

/** Are the faults the kernel's within 1 %, but for those of the recorder? Scripts without mappings have none to compare. */
export function faultsAgree(f: Faults): boolean {
  const slack = 0.01 * f.minorTruth;
  return f.minor <= slack && f.minor >= -RECORDER_FAULTS - slack && Math.abs(f.major) <= Math.ceil(0.01 * f.majorTruth);
}

const COUNTS = ['added_folios', 'added_pages', 'deleted_pages'] as const;
const MEMCG_COUNTS = ['workingset_refault_file', 'workingset_activate_file'] as const;

/** The entry that each page lies in. */
function byPage(entries: readonly Entry[]): Map<number, Entry> {
  const pages = new Map<number, Entry>();
  for (const entry of entries) {
    const [start, order] = entry;
    const count = order >= 0 ? 2 ** order : -order;
    for (let i = 0; i < count; i++) pages.set(start + i, entry);
  }
  return pages;
}

const show = (e: Entry | undefined): string => (e === undefined ? 'nothing' : `${e[0]}:${e[1]}`);

interface Tally {
  same: number;
  union: number;
  difference: string;
}
function compare(tally: Tally, where: string, truth: readonly Entry[], replay: readonly Entry[]): void {
  const t = byPage(truth);
  const r = byPage(replay);
  let first = Number.POSITIVE_INFINITY;
  for (const page of new Set([...t.keys(), ...r.keys()])) {
    tally.union++;
    const x = t.get(page);
    const y = r.get(page);
    if (x !== undefined && y !== undefined && x[0] === y[0] && x[1] === y[1]) tally.same++;
    else if (page < first) first = page;
  }
  if (tally.difference === '' && first < Number.POSITIVE_INFINITY) {
    tally.difference = `${where} page ${first}: kernel ${show(t.get(first))}, replay ${show(r.get(first))}`;
  }
}

/** `64kB anon_fault_alloc 3`, sorted; gauges, which hold what others have too, and zeros left out. */
export const countersBySize = (o: Outcome): string[] =>
  Object.entries(o.mthp ?? {})
    .flatMap(([size, counters]) => Object.entries(counters).map(([name, n]) => [size, name, n] as const))
    .filter(([, name, n]) => n !== 0 && !name.startsWith('nr_'))
    .map((entry) => entry.join(' '))
    .sort();

const count = (record: Readonly<Record<string, unknown>> | undefined, key: string): number =>
  Number(record?.[key] ?? 0);
const ratio = (replay: number, truth: number): number => (replay === truth ? 1 : replay / truth);

export function score(truth: Outcome, replay: Outcome): Score {
  const tally: Tally = { same: 0, union: 0, difference: '' };
  const files = new Set([...Object.keys(truth.folios), ...Object.keys(replay.folios)]);
  for (const f of files) compare(tally, `file ${f}`, truth.folios[f] ?? [], replay.folios[f] ?? []);
  const mapped = (o: Outcome, map: number): readonly Entry[] => o.maps?.find((m) => m.map === map)?.folios ?? [];
  for (const map of new Set([...(truth.maps ?? []), ...(replay.maps ?? [])].map((m) => m.map))) {
    compare(tally, `map ${map}`, mapped(truth, map), mapped(replay, map));
  }
  const ratios: Record<string, number> = {};
  for (const key of COUNTS) ratios[key] = ratio(count(replay.summary, key), count(truth.summary, key));
  for (const key of MEMCG_COUNTS) {
    if (count(truth.memcg, key) > 0) ratios[key] = ratio(count(replay.memcg, key), count(truth.memcg, key));
  }
  const folioMatch = tally.union === 0 ? 1 : tally.same / tally.union;
  const minorTruth = count(truth.summary, 'minor_faults');
  const majorTruth = count(truth.summary, 'major_faults');
  const faults = {
    minor: count(replay.summary, 'minor_faults') - minorTruth,
    major: count(replay.summary, 'major_faults') - majorTruth,
    minorTruth,
    majorTruth,
  };
  return { folioMatch, pages: tally.union, ratios, faults, difference: tally.difference };
}
