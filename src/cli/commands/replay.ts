/** `quire replay`: a recording through the engine, and what it leaves in the page cache. */
import { basename } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { Replay } from '../../lab/replay.ts';
import { resultOf } from '../../lab/result.ts';
import { resultText } from '../../lab/result_text.ts';
import { detect, isAccessFormat, openTrace } from '../../trace/detect.ts';
import { addExample, addSettings, settingsOf } from '../options.ts';
import { compareTrace } from './compare_accesses.ts';

export function register(program: Command): void {
  const command = program
    .command('replay')
    .description(
      'Replays a recording and says what the page cache, or for a trace of accesses memory and TLB, came to.',
    )
    .argument('<recording>', 'an ops script, a strace log, an oracleGeneral file, or a trace of memory accesses')
    .option(
      '--maps <file>',
      'of a trace of accesses: the areas, as in /proc/PID/maps (default: guessed from what is touched)',
    )
    .option('--curve', 'of a trace of accesses: also misses against the size of TLB and memory, for all sizes')
    .option('--json', 'one JSON object in the truth format; of a trace of accesses quire.accesses/1')
    .action((path, options) => {
      const format = detect(path);
      if (isAccessFormat(format)) {
        compareTrace(path, format, settingsOf(options), [], options);
        return;
      }
      if (options.maps !== undefined || options.curve)
        throw new QuireError('EINVAL', '--maps and --curve are for traces of accesses');
      const source = openTrace(path, format);
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
