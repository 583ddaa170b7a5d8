/** `quire compare`: one recording under several settings, as a table and as a report with pictures. */
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { type Comparison, compare, ROWS_MAX, type Vary } from '../../lab/compare.ts';
import { compareJson } from '../../lab/compare_json.ts';
import { compareCsv, compareText } from '../../lab/compare_text.ts';
import { reportHtml } from '../../lab/report.ts';
import { mayWrite, writeWhole } from '../../lab/report_file.ts';
import type { Settings } from '../../lab/settings.ts';
import { detect, isAccessFormat, openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, parseSetting, settingsOf } from '../options.ts';
import { Progress } from '../progress.ts';
import { compareTrace } from './compare_accesses.ts';

export function register(program: Command): void {
  const command = program
    .command('compare')
    .description(
      'Replays a recording under every combination of the values given with --vary, each on a machine of its own with a ' +
        'cold cache, and prints what each did: one row a combination, the first one the measure of the others.',
    )
    .argument('<recording>', 'an ops script, a trace of memory accesses, or another recording that Quire knows')
    .option(
      '--vary <setting=values>',
      `a setting and its values, as in kernel=5.15,6.18; may be given several times, at most ${ROWS_MAX} combinations`,
      addVary,
    )
    .option('--html <file>', 'also write a report with pictures, one self-contained file')
    .option(
      '--maps <file>',
      'of a trace of accesses: the areas, as in /proc/PID/maps (default: guessed from what is touched)',
    )
    .option('--curve', 'of a trace of accesses: also misses against the size of TLB and memory, for all sizes')
    .option('--json', 'one JSON object, quire.compare/1; of a trace of accesses quire.accesses/1')
    .option('--csv', 'one line a combination, under a line of names')
    .action((path, options) => {
      if (options.json && options.csv) throw new QuireError('EINVAL', '--json and --csv: expected one of them');
      if (options.html !== undefined) mayWrite(options.html);
      const base = settingsOf(options);
      const vary = options.vary ?? [];
      for (const { name } of vary)
        if (Object.hasOwn(base, name)) throw new QuireError('EINVAL', `${name}: both set and varied`);
      const format = detect(path);
      if (isAccessFormat(format)) {
        compareTrace(path, format, base, vary, options);
        return;
      }
      if (options.maps !== undefined || options.curve)
        throw new QuireError('EINVAL', '--maps and --curve are for traces of accesses');
      const progress = new Progress('comparing');
      let result: Comparison;
      try {
        result = compare(
          () => openTrace(path, format),
          base,
          vary,
          (part) => progress.update(part),
        );
      } finally {
        progress.end();
      }
      if (options.html !== undefined) writeWhole(options.html, reportHtml(result));
      process.stdout.write(options.json ? compareJson(result) : options.csv ? compareCsv(result) : compareText(result));
      if (options.html !== undefined) process.stderr.write(`report: ${options.html}\n`);
    });
  addSettings(command);
  addExample(
    command,
    'quire compare run.ops --vary kernel=5.15,6.1,6.18 --vary memcg=0,64M',
    'quire compare run.ops --vary readahead=32k,128k,1M --html report.html',
    'quire compare run.qacc --vary thp=off,64k=always,all=always --vary cpu=zen4,golden-cove',
  );
}

function addVary(text: string, before: readonly Vary[] | undefined): readonly Vary[] {
  const at = text.indexOf('=');
  const expected = '--vary: expected SETTING=VALUE,VALUE…, as in kernel=5.15,6.18';
  if (at <= 0) throw new QuireError('EINVAL', `${expected}, not '${text}'`);
  const texts = text.slice(at + 1).split(',');
  if (texts.includes('')) throw new QuireError('EINVAL', `${expected}: '${text}' has an empty value`);
  try {
    // Values that are lists themselves: --vary thp=off,64k=always:2m=always.
    const values = texts.map((value) => parseSetting(text.slice(0, at), value.replaceAll(':', ',')) as Settings);
    return [...(before ?? []), { name: Object.keys(values[0] as Settings)[0] as keyof Settings, values }];
  } catch (error) {
    if (error instanceof QuireError) throw new QuireError(error.code, `--vary ${error.message}`, { cause: error });
    throw error;
  }
}
