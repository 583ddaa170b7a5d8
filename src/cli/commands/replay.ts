/** `quire replay`: a recording through the engine, and what it leaves in the page cache. */
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { addExample, addSettings } from '../options.ts';

export function register(program: Command): void {
  const command = program
    .command('replay')
    .description('Replays a recording and says what the page cache holds at the end.')
    .argument('<script>', 'an ops script')
    .option('--json', 'one JSON object in the truth format')
    .action(() => {
      throw new QuireError('EOPNOTSUPP', 'replay is not wired up yet');
    });
  addSettings(command);
  addExample(command, 'quire replay run.ops --json', 'quire replay run.ops --kernel 6.1 --memcg 64M');
}
