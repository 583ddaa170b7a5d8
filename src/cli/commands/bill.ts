/** `quire bill`: what the memory map costs under every layout, for the folios that a machine holds. */
import { basename } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { scaleCensus } from '../../lab/bill.ts';
import { readCensus } from '../../lab/bill_census.ts';
import { type BillSource, billReport, billText } from '../../lab/bill_text.ts';
import { Replay } from '../../lab/replay.ts';
import { liveCensus } from '../../lens/kpageflags.ts';
import { besideMeminfo } from '../../lens/meminfo.ts';
import { type Census, machineCensus } from '../../mm/census.ts';
import { detect, isAccessFormat, openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, type Settings, settingsOf } from '../options.ts';

export function register(program: Command): void {
  const command = program
    .command('bill')
    .description(
      'Says what the memory map and its descriptors cost under every layout, and from which folio size on a layout wins: ' +
        'for a modelled machine after a recording, for a census in a file, or for this machine.',
    )
    .argument('[recording]', 'an ops script, a strace log or an oracleGeneral file')
    .option('--census <file>', 'a census in place of a recording: JSON or CSV (--memory scales it)')
    .option('--live', 'this machine, from /proc/kpageflags: as root (--memory scales it)')
    .option('--rcu-free-pointer', 'descriptor caches keep a free pointer behind each object')
    .option('--json', 'one JSON object, quire.bill/1, with exact bytes')
    .action((path, options) => {
      const { census, source } = counted(path, options.census, options.live === true, settingsOf(options));
      const report = billReport(census, source, { rcuFreePointer: options.rcuFreePointer === true });
      process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : billText(report, census));
    });
  addSettings(command);
  addExample(
    command,
    'quire bill run.ops --memory 64G',
    'quire bill --live --rcu-free-pointer',
    'quire bill --census census.json --memory 64T --json',
  );
}

interface CountedMachine {
  readonly census: Census;
  readonly source: BillSource;
}

function counted(path: string | undefined, file: string | undefined, live: boolean, set: Settings): CountedMachine {
  if ([path !== undefined, file !== undefined, live].filter(Boolean).length !== 1)
    throw new QuireError('EINVAL', 'expected one of a recording, --census FILE and --live');
  if (path !== undefined) return replayed(path, set);
  const other = Object.keys(set).find((name) => name !== 'memory');
  if (other !== undefined) throw new QuireError('EINVAL', `${other} is a setting of a replay: expected a recording`);
  return scaled(file === undefined ? thisMachine() : ofFile(file), set.memory);
}

function replayed(path: string, set: Settings): CountedMachine {
  const format = detect(path);
  if (isAccessFormat(format))
    throw new QuireError('EINVAL', `${path}: a trace of memory accesses: expected a recording of operations`);
  const trace = openTrace(path, format);
  try {
    const replay = new Replay(trace, set);
    replay.run();
    const name = basename(path);
    const source: BillSource = { kind: 'replay', name, scaledFrom: null, compared: null, seconds: null };
    return { census: machineCensus(replay.m), source };
  } finally {
    trace.close();
  }
}

function ofFile(file: string): CountedMachine {
  const source: BillSource = { kind: 'census', name: file, scaledFrom: null, compared: null, seconds: null };
  return { census: readCensus(file), source };
}

function thisMachine(): CountedMachine {
  const began = performance.now();
  const live = liveCensus();
  const seconds = (performance.now() - began) / 1000;
  const source: BillSource = { kind: 'live', name: null, scaledFrom: null, compared: besideMeminfo(live), seconds };
  return { census: live.census, source };
}

function scaled(machine: CountedMachine, memory: number | undefined): CountedMachine {
  if (memory === undefined) return machine;
  const { census, source } = machine;
  const scaledFrom = census.frames * census.pageSize;
  return { census: scaleCensus(census, memory), source: { ...source, scaledFrom } };
}
