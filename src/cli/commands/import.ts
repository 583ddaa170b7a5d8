/** `quire import`: a foreign recording as an ops script, which quire replay and the live tool both run, or as a trace of accesses. */
import { closeSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { writeOps } from '../../trace/ops_write.ts';
import { openStrace } from '../../trace/strace.ts';
import { addExample } from '../options.ts';
import { registerAccesses } from './import_accesses.ts';

/** What a script holds, and what of the recording it does not. */
interface Imported {
  readonly script: string;
  readonly files: number;
  readonly fileBytes: number;
  readonly operations: number;
  readonly skipped: Readonly<Record<string, number>>;
}

/** The live tool keeps its files in a table of this size. */
const LIVE_FILES_MAX = 4095;

export function register(program: Command): void {
  const command = program
    .command('import')
    .description(
      'Turns a recording of another tool into an ops script, or into a trace of accesses. docs/formats.md says what is kept and what is lost.',
    );
  const strace = command
    .command('strace')
    .description('Turns the output of `strace -f -y -o FILE PROGRAM…` into an ops script.')
    .argument('<file>', 'the output of strace')
    .option('-o, --output <script>', 'write the script to this file, whole or not at all (default: standard output)')
    .option('--anonymous', 'keep mappings of anonymous memory and forks; strace does not see which pages are touched')
    .option('--json', 'with -o: what was kept and what was skipped, as one JSON object on standard output')
    .action((file, { output, anonymous, json }) => {
      if (json && output === undefined) throw new QuireError('EINVAL', '--json: expected -o SCRIPT beside it');
      const source = openStrace(file, { anonymous: anonymous === true });
      const { files, skipped } = source;
      const pieces = writeOps(source);
      let lines = 0;
      const counted = function* (): Generator<string> {
        for (const piece of pieces) {
          for (let at = piece.indexOf('\n'); at >= 0; at = piece.indexOf('\n', at + 1)) lines++;
          yield piece;
        }
      };
      const header = 2 + files.length;
      if (output === undefined) for (const piece of counted()) process.stdout.write(piece);
      else writeWhole(output, counted());
      const imported: Imported = {
        script: output ?? '-',
        files: files.length,
        fileBytes: files.reduce((sum, f) => sum + f.size, 0),
        operations: lines - header,
        skipped,
      };
      if (json) process.stdout.write(`${JSON.stringify(imported, null, 2)}\n`);
      else process.stderr.write(summary(imported));
    });
  addExample(strace, 'strace -f -y -o run.strace ./bench.sh', 'quire import strace run.strace -o run.ops');
  registerAccesses(command);
  addExample(command, 'quire import strace run.strace -o run.ops');
}

function summary(i: Imported): string {
  const count = (n: number, what: string): string => `${n.toLocaleString('en-US')} ${what}${n === 1 ? '' : 's'}`;
  const mib = (i.fileBytes / 2 ** 20).toLocaleString('en-US', { maximumFractionDigits: 1 });
  const lines = [`${count(i.operations, 'operation')} on ${count(i.files, 'file')} of ${mib} MiB`];
  if (i.files > LIVE_FILES_MAX) lines.push(`more than ${LIVE_FILES_MAX} files: too many for the live tool`);
  const skipped = Object.entries(i.skipped).sort((a, b) => b[1] - a[1]);
  if (skipped.length > 0) lines.push(`skipped: ${skipped.map(([what, n]) => `${what} ×${n}`).join(', ')}`);
  if ('io_uring_setup' in i.skipped) lines.push('io_uring was used: reads and writes through it are not in the log');
  return lines.map((line) => `${line}\n`).join('');
}

/** A file appears under its name when all of it is written. */
function writeWhole(path: string, pieces: Iterable<string>): void {
  const part = `${path}.part-${process.pid}`;
  const fd = openSync(part, 'wx');
  try {
    try {
      for (const piece of pieces) writeFileSync(fd, piece);
    } finally {
      closeSync(fd);
    }
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}
