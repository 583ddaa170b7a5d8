/** `quire calls`: the page functions of 5.15 beside the folio functions. */
import { basename } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { leavingUses, operationCalls, operationTimes, type WorkloadRow, workloadCalls } from '../../lab/page_calls.ts';
import { type CallsReport, callsText } from '../../lab/page_calls_text.ts';
import { detect, isAccessFormat, openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, type Settings, settingsOf } from '../options.ts';

export function register(program: Command): void {
  const command = program
    .command('calls')
    .description(
      'Counts the hidden calls of compound_head that page functions (5.15) make, operation by operation, beside the one ' +
        'page_folio of folio functions; with a recording, those of a workload. With --separate-folio it says which ' +
        'operations use fields that have left struct page, and what to use in their place.',
    )
    .argument('[recording]', 'an ops script, a strace log or an oracleGeneral file')
    .option('--separate-folio', 'folios are apart from pages: on page32 or memdesc8 (default)')
    .option('--time', 'measure operations on page64 and overlay')
    .option('--json', 'one JSON object: quire.calls/1')
    .action((path, options) => {
      const set = settingsOf(options);
      const separate = options.separateFolio === true;
      const memmap = set.memmap ?? (separate ? 'memdesc8' : 'page64');
      const report: CallsReport = {
        schema: 'quire.calls/1',
        memmap,
        separateFolio: separate ? leavingUses(memmap) : null,
        operations: operationCalls(memmap),
        times: options.time === true ? operationTimes() : null,
        workload: path === undefined ? null : { recording: basename(path), rows: workload(path, set) },
      };
      process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : callsText(report));
    });
  addSettings(command);
  addExample(
    command,
    'quire calls examples/sqlite.ops',
    'quire calls --time',
    'quire calls --separate-folio --memmap page32',
  );
}

function workload(path: string, set: Settings): WorkloadRow[] {
  const format = detect(path);
  if (isAccessFormat(format))
    throw new QuireError('EINVAL', `${path}: a trace of memory accesses: expected a recording of operations`);
  const trace = openTrace(path, format);
  try {
    return workloadCalls(trace, set);
  } finally {
    trace.close();
  }
}
