/** `quire fit`: what page sizes and memory-map layouts cost or save for the files of a tree. */
import type { Command } from '@commander-js/extra-typings';
import { fitDirs } from '../../lab/fit.ts';
import { fitText } from '../../lab/fit_text.ts';
import { addExample, parseSetting } from '../options.ts';

const WAIT_MS = 1000;
const REDRAW_MS = 200;

export function register(program: Command): void {
  const command = program
    .command('fit')
    .description(
      'Says what 4, 16 and 64 KiB base pages and each memory-map layout would cost or save for the files below DIR: all of ' +
        'them, and those cached now. Needs no root. Symbolic links are not followed, hard links count once, other file ' +
        'systems below DIR are not entered.',
    )
    .argument('<dir...>', 'directories')
    .option('--memory <size>', "memory of the machine: 1M to 1024T (default: this machine's)", parseMemory)
    .option('--json', 'one JSON object, quire.fit/1, with exact bytes')
    .action(async (dirs, options) => {
      const line = new FileLine();
      const report = await fitDirs(dirs, {
        ...(options.memory === undefined ? {} : { memory: options.memory }),
        onProgress: (files) => line.update(files),
      });
      line.end();
      process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : fitText(report));
    });
  addExample(command, 'quire fit /usr', 'quire fit --memory 512G --json /srv/data /srv/index');
}

const parseMemory = (text: string): number | undefined => parseSetting('memory', text).memory;

/** The files so far, on a terminal, for work that takes over a second: how many there are is not known before the end. */
class FileLine {
  private readonly began = performance.now();
  private drawn = 0;

  update(files: number): void {
    if (!process.stderr.isTTY) return;
    const now = performance.now();
    if (now - this.began < WAIT_MS || now - this.drawn < REDRAW_MS) return;
    this.drawn = now;
    process.stderr.write(`\r\x1b[K${files.toLocaleString('en-US')} files, ${Math.round((now - this.began) / 1000)} s`);
  }

  end(): void {
    if (this.drawn > 0) process.stderr.write('\r\x1b[K');
  }
}
