/** `quire survey`: what kernel trees still do with struct page. */
import { type Command, Option } from '@commander-js/extra-typings';
import { mayWrite, writeWhole } from '../../lab/report_file.ts';
import { survey, surveyBy } from '../../lab/survey.ts';
import { surveyHtml } from '../../lab/survey_html.ts';
import { surveyText } from '../../lab/survey_text.ts';
import { addExample } from '../options.ts';

const WAIT_MS = 1000;
const REDRAW_MS = 200;

export function register(program: Command): void {
  const command = program
    .command('survey')
    .description(
      'Says what Linux source trees still use of struct page: the fields that are leaving it, casts, compound_head and ' +
        'page-style functions; the address_space_operations of each file system; page flags and page types. Several trees ' +
        'become columns.',
    )
    .argument('<tree...>', 'unpacked Linux source trees')
    .addOption(new Option('--by <place>', 'rows').choices(surveyBy).default('subsystem' as const))
    .option('--json', 'one JSON object, quire.survey/1')
    .option('--html <file>', 'also write a report with charts, one self-contained file')
    .action((trees, options) => {
      if (options.html !== undefined) mayWrite(options.html);
      const began = performance.now();
      let drawn = 0;
      const report = survey(trees, {
        by: options.by,
        onProgress: (files) => {
          const now = performance.now();
          if (!process.stderr.isTTY || now - began < WAIT_MS || now - drawn < REDRAW_MS) return;
          drawn = now;
          process.stderr.write(`\r\x1b[K${files.toLocaleString('en-US')} files, ${Math.round((now - began) / 1000)} s`);
        },
      });
      if (drawn > 0) process.stderr.write('\r\x1b[K');
      if (options.html !== undefined) writeWhole(options.html, surveyHtml(report));
      process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : surveyText(report));
      if (options.html !== undefined) process.stderr.write(`report: ${options.html}\n`);
    });
  addExample(
    command,
    'quire survey linux-6.12',
    'quire survey linux-6.1 linux-6.12 linux-6.18 --by filesystem --html survey.html',
  );
}
