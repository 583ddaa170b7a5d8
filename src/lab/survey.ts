/** What kernel trees still do with struct page, laid side by side: one column a tree, in the order given. */
import {
  filesystemOf,
  type MethodType,
  type OperationsUse,
  subsystemOf,
  sumOf,
  surveyTree,
  type TreeSurvey,
} from './survey_tree.ts';
import {
  type Figure,
  type Figures,
  figures,
  figureWords,
  left,
  leftFigures,
  noFigures,
  pageApi,
} from './survey_words.ts';

export const surveyBy = ['subsystem', 'filesystem', 'file'] as const;
export type SurveyBy = (typeof surveyBy)[number];

export interface SurveyRow {
  readonly name: string;
  /** By tree; all 0 where a tree has no such place. */
  readonly trees: readonly (Figures & { left: number })[];
}

/** The tables of methods of one file system in one tree. */
export interface FilesystemOperations {
  readonly tables: readonly { readonly name: string; readonly path: string }[];
  readonly methods: readonly {
    readonly name: string;
    readonly type: MethodType | 'unknown';
    readonly functions: readonly string[];
  }[];
  /** Calls that allow large folios. */
  readonly largeFolios: Readonly<Record<string, number>>;
}

export interface SurveyReport {
  readonly schema: 'quire.survey/1';
  readonly by: SurveyBy;
  /** What the figures are called, and which of them `left` adds up. */
  readonly figures: readonly { readonly name: Figure; readonly heading: string; readonly left: boolean }[];
  readonly trees: readonly Pick<TreeSurvey, 'tree' | 'version' | 'files' | 'total'>[];
  /** Most left in the last tree first. */
  readonly rows: readonly SurveyRow[];
  /** Page-style functions that some tree calls. */
  readonly pageApi: readonly {
    readonly name: string;
    readonly replacement: string;
    readonly calls: readonly number[];
  }[];
  readonly filesystems: readonly { readonly name: string; readonly trees: readonly FilesystemOperations[] }[];
  /** Methods of address_space_operations: what each is handed (null: the tree has no such method), and in how many tables it is set. */
  readonly methods: readonly {
    readonly name: string;
    readonly types: readonly (MethodType | null)[];
    readonly tables: readonly number[];
  }[];
  /** `own`, the flag whose bit it shares, or null. */
  readonly pageFlags: readonly { readonly name: string; readonly trees: readonly (string | null)[] }[];
  readonly pageTypes: readonly { readonly name: string; readonly trees: readonly boolean[] }[];
}

export interface SurveyOptions {
  readonly by?: SurveyBy;
  readonly onProgress?: (files: number) => void;
}

export function survey(trees: readonly string[], options: SurveyOptions = {}): SurveyReport {
  let before = 0;
  const surveys = trees.map((tree) => {
    const one = surveyTree(tree, (files) => options.onProgress?.(before + files));
    before += one.files.seen;
    return one;
  });
  return surveyReport(surveys, options.by ?? 'subsystem');
}

/** Names of all trees, each once, in the order of their first appearance. */
const union = (lists: readonly (readonly string[])[]): string[] => [...new Set(lists.flat())];
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function surveyReport(surveys: readonly TreeSurvey[], by: SurveyBy): SurveyReport {
  return {
    schema: 'quire.survey/1',
    by,
    figures: figures.map((name) => ({
      name,
      heading: figureWords[name],
      left: (leftFigures as readonly string[]).includes(name),
    })),
    trees: surveys.map(({ tree, version, files, total }) => ({ tree, version, files, total })),
    rows: rows(surveys, by),
    pageApi: union(surveys.map((s) => Object.keys(s.pageApi)))
      .map((name) => ({
        name,
        replacement: pageApi.get(name) ?? '',
        calls: surveys.map((s) => s.pageApi[name] ?? 0),
      }))
      .toSorted(
        (a, b) =>
          (b.calls.at(-1) ?? 0) - (a.calls.at(-1) ?? 0) || sum(b.calls) - sum(a.calls) || byName(a.name, b.name),
      ),
    filesystems: union(surveys.map((s) => [...s.operations.map((o) => o.filesystem), ...Object.keys(s.largeFolios)]))
      .toSorted(byName)
      .map((name) => ({ name, trees: surveys.map((s) => filesystemOperations(s, name)) })),
    methods: union(surveys.map((s) => Object.keys(s.methods))).map((name) => ({
      name,
      types: surveys.map((s) => s.methods[name] ?? null),
      tables: surveys.map((s) => s.operations.filter((o) => Object.hasOwn(o.methods, name)).length),
    })),
    pageFlags: union(surveys.toReversed().map((s) => s.pageFlags.map((f) => f.name))).map((name) => ({
      name,
      trees: surveys.map((s) => {
        const flag = s.pageFlags.find((f) => f.name === name);
        return flag === undefined ? null : (flag.alias ?? 'own');
      }),
    })),
    pageTypes: union(surveys.toReversed().map((s) => s.pageTypes)).map((name) => ({
      name,
      trees: surveys.map((s) => s.pageTypes.includes(name)),
    })),
  };
}

const sum = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0);

function rows(surveys: readonly TreeSurvey[], by: SurveyBy): SurveyRow[] {
  const place = { subsystem: subsystemOf, filesystem: filesystemOf, file: (path: string) => path }[by];
  const found = new Map<string, Figures[]>();
  surveys.forEach((s, tree) => {
    for (const { path, figures: of } of s.uses) {
      const name = place(path);
      if (name === null) continue;
      const row = found.get(name) ?? surveys.map(noFigures);
      row[tree] = sumOf([row[tree]!, of]);
      found.set(name, row);
    }
  });
  const last = (row: SurveyRow) => row.trees.at(-1) as Figures & { left: number };
  return [...found]
    .map(([name, trees]) => ({ name, trees: trees.map((f) => ({ left: left(f), ...f })) }))
    .toSorted(
      (a, b) => last(b).left - last(a).left || last(b).structPage - last(a).structPage || byName(a.name, b.name),
    );
}

function filesystemOperations(s: TreeSurvey, filesystem: string): FilesystemOperations {
  const own: readonly OperationsUse[] = s.operations.filter((o) => o.filesystem === filesystem);
  return {
    tables: own.map(({ name, path }) => ({ name, path })),
    methods: union(own.map((o) => Object.keys(o.methods))).map((name) => ({
      name,
      type: s.methods[name] ?? 'unknown',
      functions: union(own.map((o) => (Object.hasOwn(o.methods, name) ? [o.methods[name]!] : []))),
    })),
    largeFolios: s.largeFolios[filesystem] ?? {},
  };
}
