/**
 * The command's frame: which commands there are, and what all of them have in common. Output that is data goes to
 * standard output, everything else to standard error. Exit codes: 0 done; 1 it ran, and the answer is no; 2 bad input;
 * 70 a fault of our own.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from '@commander-js/extra-typings';
import { QuireError } from '../base/errors.ts';

interface Entry {
  readonly name: string;
  /** One line for `quire --help`. */
  readonly summary: string;
  readonly load: () => Promise<{ register(program: Command): void }>;
}

/** A new command is one line here and one file that exports `register(program)`; it is loaded only when it is called. */
const commands: readonly Entry[] = [
  {
    name: 'replay',
    summary: 'replay a recording and say what the page cache holds at the end',
    load: () => import('./commands/replay.ts'),
  },
  {
    name: 'compare',
    summary: 'compare a recording under several kernels and settings',
    load: () => import('./commands/compare.ts'),
  },
  {
    name: 'import',
    summary: 'turn a recording of another tool into an ops script',
    load: () => import('./commands/import.ts'),
  },
  {
    name: 'fit',
    summary: 'what page sizes and memory-map layouts cost or save for the files of a tree',
    load: () => import('./commands/fit.ts'),
  },
  {
    name: 'bill',
    summary: 'what the memory map and its descriptors cost under every layout, modelled or live',
    load: () => import('./commands/bill.ts'),
  },
  {
    name: 'layout',
    summary: 'print the structures of a memory-map layout, and compare them with the running kernel',
    load: () => import('./commands/layout.ts'),
  },
  {
    name: 'calls',
    summary: 'count the hidden compound_head calls of page functions, beside folio functions',
    load: () => import('./commands/calls.ts'),
  },
  {
    name: 'survey',
    summary: 'what kernel source trees still do with struct page, and the trend over several',
    load: () => import('./commands/survey.ts'),
  },
];

/** The names of all commands, for the tests and the README. */
export const commandNames: readonly string[] = commands.map((c) => c.name);

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

async function programFor(argv: readonly string[]): Promise<Command> {
  const program = new Command('quire')
    .description("Linux's folio memory management, replayed: one workload under several kernels and settings")
    .version(version())
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`quire: ${oneLine(text.replace(/^error: /, ''))}\n`) })
    .addHelpText('after', '\nExample:\n  $ quire help replay');
  const words = argv.filter((word) => !word.startsWith('-'));
  const called = words[0] === 'help' ? words[1] : words[0];
  const entry = commands.find((c) => c.name === called);
  if (entry) (await entry.load()).register(program);
  else for (const c of commands) program.command(c.name).description(c.summary);
  return program;
}

/** Runs the command that `argv` (without node and script) asks for, and sets the exit code. Never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on('error', fail);
  process.on('uncaughtException', fail);
  try {
    await (await programFor(argv)).parseAsync(argv, { from: 'user' });
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    // It has printed its line, or the help that was asked for.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else if (error instanceof QuireError) {
    say(error.message, 2);
  } else if (isSystemError(error)) {
    // The reader of a pipe has seen enough: nothing to say.
    if (error.code === 'EPIPE') process.exit();
    say(error.message, 2);
  } else {
    say(`internal error: ${error instanceof Error ? error.message : String(error)} (please report)`, 70);
    if (process.env.QUIRE_DEBUG !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  }
}

function say(text: string, exitCode: number): void {
  process.stderr.write(`quire: ${oneLine(text)}\n`);
  process.exitCode = exitCode;
}

/** A file that is not there, may not be read, is a folder; a full disk: the user's to mend, and named by the host's text. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'errno' in error && 'code' in error;
}

/** Text that quotes input must not move the terminal's cursor, nor fill it. */
function oneLine(text: string): string {
  const line = text.trim().replace(/\p{Cc}+/gu, ' ');
  return line.length > 500 ? `${line.slice(0, 500)}…` : line;
}
