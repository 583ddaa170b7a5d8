/** A comparison as one JSON object, `quire.compare/1` (docs/compare.md). */
import type { Comparison } from './compare.ts';
import { figureColumns } from './compare_columns.ts';
import { conclusions } from './compare_says.ts';
import { timelineColumns } from './timeline.ts';

export function compareJson(c: Comparison): string {
  const { vary, rows, files, fileBytes, ...about } = c;
  const out = {
    ...about,
    files: { count: files, bytes: fileBytes },
    /** What the figures and the columns of the timelines are. */
    names: {
      ...Object.fromEntries(figureColumns.map(({ name, doc }) => [name, doc])),
      ...Object.fromEntries(Object.entries(timelineColumns).map(([name, doc]) => [`timeline.${name}`, doc])),
    },
    basis: 'counted',
    vary: Object.fromEntries(vary.map(({ name, values }) => [name, values.map((v) => v[name])])),
    says: conclusions(c),
    rows,
  };
  return `${JSON.stringify(out)}\n`;
}
