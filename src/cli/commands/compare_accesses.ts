/** What `quire replay` and `quire compare` do with a trace of memory accesses. */
import { tableSpan } from '../../arch/pgtable.ts';
import { areasFromMaps } from '../../lab/access_areas.ts';
import { type AccessComparison, compareAccesses } from '../../lab/access_compare.ts';
import { type AccessCurves, accessCurves } from '../../lab/access_curves.ts';
import { curvesText } from '../../lab/access_curves_show.ts';
import { geometryFor } from '../../lab/access_replay.ts';
import { accessReport } from '../../lab/access_report.ts';
import { accessCsv, accessJson, accessText } from '../../lab/access_text.ts';
import type { Vary } from '../../lab/compare.ts';
import { writeWhole } from '../../lab/report_file.ts';
import type { Settings } from '../../lab/settings.ts';
import { type AccessFormat, openAccesses } from '../../trace/detect.ts';
import { Progress } from '../progress.ts';

interface Output {
  readonly maps?: string | undefined;
  readonly html?: string | undefined;
  readonly json?: true | undefined;
  readonly csv?: true | undefined;
  readonly curve?: true | undefined;
}

export function compareTrace(
  path: string,
  format: AccessFormat,
  base: Settings,
  vary: readonly Vary[],
  out: Output,
): void {
  const maps = out.maps === undefined ? null : areasFromMaps(out.maps);
  const progress = new Progress(vary.length === 0 ? 'replaying' : 'comparing');
  let result: AccessComparison;
  let curves: AccessCurves | null = null;
  try {
    result = compareAccesses(
      () => openAccesses(path, format),
      maps,
      base,
      vary,
      (part) => progress.update(part),
    );
    if (out.curve) {
      const { pageSize = 4096 } = base;
      curves = accessCurves(openAccesses(path, format), pageSize, tableSpan(geometryFor(null, pageSize), 0));
    }
  } finally {
    progress.end();
  }
  if (out.html !== undefined) writeWhole(out.html, accessReport(result, curves));
  process.stdout.write(
    out.json
      ? accessJson(result, curves)
      : out.csv
        ? accessCsv(result)
        : accessText(result) + (curves === null ? '' : curvesText(curves)),
  );
  if (out.html !== undefined) process.stderr.write(`report: ${out.html}\n`);
}
