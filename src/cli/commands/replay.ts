/** `quire replay`: a recording through the engine, and what it leaves in the page cache. */
import { basename } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { Replay } from '../../lab/replay.ts';
import { resultOf } from '../../lab/result.ts';
import { resultText } from '../../lab/result_text.ts';
import { openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, settingsOf } from '../options.ts';

export function register(program: Command): void {
  const command = program
    .command('replay')
    .description('Replays a recording and says what the page cache holds at the end.')
    .argument('<recording>', 'an ops script, a strace log or an oracleGeneral file')
    .option('--json', 'one JSON object in the truth format')
    .action((path, options) => {
      const source = openTrace(path);
      try {
        const replay = new Replay(source, settingsOf(options));
        replay.run();
        const result = resultOf(replay, basename(path));
        process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : resultText(result));
      } finally {
        source.close();
      }
    });
  addSettings(command);
  addExample(command, 'quire replay run.ops --json', 'quire replay run.ops --kernel 6.1 --memcg 64M');
}
