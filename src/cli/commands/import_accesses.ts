/** `quire import lackey|dynamorio|champsim`: traces of memory accesses in Quire's own columnar form. */
import type { Command } from '@commander-js/extra-typings';
import { formatBytes } from '../../base/units.ts';
import type { AccessSource } from '../../trace/access.ts';
import { readChampsim } from '../../trace/champsim.ts';
import { accessFormatOf } from '../../trace/detect.ts';
import { readDrmemtrace } from '../../trace/drmemtrace.ts';
import { readDrview } from '../../trace/drview.ts';
import { readFaults } from '../../trace/faults.ts';
import { readLackey } from '../../trace/lackey.ts';
import { writeQacc } from '../../trace/qacc_write.ts';
import { openStream, peek, type Stream } from '../../trace/stream.ts';
import { addExample } from '../options.ts';

interface AccessImport {
  readonly name: string;
  readonly description: string;
  readonly argument: string;
  readonly read: (stream: Stream) => AccessSource;
  readonly examples: readonly string[];
}

const PEEKED = 65536;

/** Text or records, as the first bytes say. */
function readDynamorio(stream: Stream): AccessSource {
  const { head, stream: whole } = peek(stream, PEEKED);
  return accessFormatOf(head, '') === 'dynamorio-view' ? readDrview(whole) : readDrmemtrace(whole);
}

const imports: readonly AccessImport[] = [
  {
    name: 'lackey',
    description: 'Turns the output of `valgrind --tool=lackey --trace-mem=yes` into a .qacc trace.',
    argument: 'the output of lackey, also packed by gzip; - is standard input',
    read: readLackey,
    examples: [
      'valgrind --tool=lackey --trace-mem=yes --log-fd=9 ./bench 9>&1 >/dev/null | quire import lackey - -o run.qacc',
    ],
  },
  {
    name: 'dynamorio',
    description: "Turns DynamoRIO's records of 12 bytes, or the text of its view tool, into a .qacc trace.",
    argument: 'unpacked records or text, also packed by gzip; - is standard input',
    read: readDynamorio,
    examples: ['unzip -p drmemtrace.*.trace.zip | quire import dynamorio - -o run.qacc'],
  },
  {
    name: 'champsim',
    description: "Turns ChampSim's records of 64 bytes into a .qacc trace.",
    argument: 'unpacked records, also packed by gzip; - is standard input',
    read: readChampsim,
    examples: ['xz -dc 605.mcf_s.champsimtrace.xz | quire import champsim - -o mcf.qacc'],
  },
  {
    name: 'faults',
    description: 'Turns a recording of first touches (tools/record_faults.py, docs/recording.md) into a .qacc trace.',
    argument: 'the recording, also packed by gzip; - is standard input',
    read: readFaults,
    examples: [
      'python3 tools/record_faults.py -o sort.faults.gz sort words',
      'quire import faults sort.faults.gz -o sort.qacc',
    ],
  },
];

export function registerAccesses(command: Command): void {
  for (const { name, description, argument, read, examples } of imports) {
    const sub = command
      .command(name)
      .description(description)
      .argument('<file>', argument)
      .requiredOption('-o, --output <trace>', 'write the trace to this file, whole or not at all')
      .option('--json', 'what was written and what was skipped, as one JSON object on standard output')
      .action((file, { output, json }) => {
        const stream = openStream(file);
        const source = read(stream);
        try {
          const { accesses, bytes } = writeQacc(source, output);
          if (json)
            process.stdout.write(`${JSON.stringify({ trace: output, accesses, bytes, skipped: source.skipped })}\n`);
          else process.stderr.write(summary(accesses, bytes, source.skipped));
        } finally {
          source.close();
        }
      });
    addExample(sub, ...examples);
  }
}

function summary(accesses: number, bytes: number, skipped: Readonly<Record<string, number>>): string {
  const each = (bytes / Math.max(accesses, 1)).toFixed(2);
  const left = Object.entries(skipped).map(([what, n]) => `${what} ×${n}`);
  return `${accesses.toLocaleString('en-US')} accesses in ${formatBytes(bytes)}, ${each} bytes each\n${
    left.length === 0 ? '' : `skipped: ${left.join(', ')}\n`
  }`;
}
