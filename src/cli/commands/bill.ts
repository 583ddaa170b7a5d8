/** `quire bill`: what the memory map costs under every layout, for the folios that a machine holds. */
import { basename } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { scaleCensus } from '../../lab/bill.ts';
import { readCensus } from '../../lab/bill_census.ts';
import { type BillSource, billReport, billText } from '../../lab/bill_text.ts';
import { type HugePages, type KernelMemory, readSlabinfo, setUpKernelMemory } from '../../lab/kernel_memory.ts';
import { Replay } from '../../lab/replay.ts';
import { liveCensus } from '../../lens/kpageflags.ts';
import { besideMeminfo } from '../../lens/meminfo.ts';
import { type Census, machineCensus } from '../../mm/census.ts';
import { detect, isAccessFormat, openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, parseSize, parseWhole, type Settings, settingsOf } from '../options.ts';

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
    .option('--hugepages <pools>', 'huge page pools of the modelled machine: 2M=512 or 2M=512,1G=4', parsePools)
    .option('--hvo', 'those pools give most of their memory map back (vm.hugetlb_optimize_vmemmap)')
    .option('--slabinfo <file>', 'slabs of the modelled machine’s kernel, from a /proc/slabinfo')
    .option('--rcu-free-pointer', 'descriptor caches keep a free pointer behind each object')
    .option('--json', 'one JSON object, quire.bill/1, with exact bytes')
    .action((path, options) => {
      const kernel: KernelMemory = {
        hugepages: options.hugepages ?? [],
        hvo: options.hvo === true,
        slabs: options.slabinfo === undefined ? [] : readSlabinfo(options.slabinfo),
      };
      const { census, source } = counted(path, options.census, options.live === true, settingsOf(options), kernel);
      const report = billReport(census, source, { rcuFreePointer: options.rcuFreePointer === true });
      process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : billText(report, census));
    });
  addSettings(command);
  addExample(
    command,
    'quire bill run.ops --memory 64G',
    'quire bill run.ops --hugepages 2M=512,1G=4 --hvo --slabinfo slabinfo.txt',
    'quire bill --live --rcu-free-pointer',
    'quire bill --census census.json --memory 64T --json',
  );
}

interface CountedMachine {
  readonly census: Census;
  readonly source: BillSource;
}

/** `2M=512,1G=4`. */
function parsePools(text: string): HugePages[] {
  return text.split(',').map((part) => {
    const [size = '', count = '', ...rest] = part.split('=');
    if (rest.length > 0 || count === '')
      throw new QuireError('EINVAL', `--hugepages: '${part}': expected SIZE=COUNT, as in 2M=512`);
    return { bytes: parseSize(size), count: parseWhole(count, 0, 2 ** 20) };
  });
}

function counted(
  path: string | undefined,
  file: string | undefined,
  live: boolean,
  set: Settings,
  kernel: KernelMemory,
): CountedMachine {
  if ([path !== undefined, file !== undefined, live].filter(Boolean).length !== 1)
    throw new QuireError('EINVAL', 'expected one of a recording, --census FILE and --live');
  if (path !== undefined) return replayed(path, set, kernel);
  if (kernel.hugepages.length > 0 || kernel.slabs.length > 0 || kernel.hvo)
    throw new QuireError('EINVAL', '--hugepages, --hvo and --slabinfo are of a modelled machine: expected a recording');
  const other = Object.keys(set).find((name) => name !== 'memory');
  if (other !== undefined) throw new QuireError('EINVAL', `${other} is a setting of a replay: expected a recording`);
  return scaled(file === undefined ? thisMachine() : ofFile(file), set.memory);
}

function replayed(path: string, set: Settings, kernel: KernelMemory): CountedMachine {
  const format = detect(path);
  if (isAccessFormat(format))
    throw new QuireError('EINVAL', `${path}: a trace of memory accesses: expected a recording of operations`);
  const trace = openTrace(path, format);
  try {
    const replay = new Replay(trace, set);
    setUpKernelMemory(replay.m, kernel);
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
