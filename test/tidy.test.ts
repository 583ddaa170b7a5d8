/** Habits that a reader counts on, held by a test: what is documented exists, files stay small, sources are named. */
import { describe, expect, test } from 'vitest';
import { commandNames } from '../src/cli/main.ts';
import { allTags, DICTIONARY, renewed } from '../tools/dictionary.ts';
import { filesUnder, layers, sources, text } from '../tools/sources.ts';

const LINES_MAX = 600;
const code = ['src', 'test', 'tools', 'bench'].flatMap(sources);
const pages = filesUnder('').filter((path) => path.endsWith('.md') && !path.startsWith('golden/'));

describe('tidy', () => {
  test(`no source file is longer than ${LINES_MAX} lines`, () => {
    const long = code
      .map((path) => ({ path, lines: text(path).split('\n').length }))
      .filter((f) => f.lines > LINES_MAX);
    expect(long).toEqual([]);
  });

  test('every @kernel line names file, function and release', () => {
    expect(allTags().malformed).toEqual([]);
  });

  test(`${DICTIONARY} is up to date (npm run dictionary)`, () => {
    const page = text(DICTIONARY);
    expect(page === renewed(page, allTags().entries)).toBe(true);
  });

  test('the code map has a row for every folder of src, and for no other', () => {
    const rows = [...text('ARCHITECTURE.md').matchAll(/^\| `src\/(\w+)` \|/gm)].map((m) => m[1]);
    expect(rows.toSorted()).toEqual(layers().toSorted());
  });

  test("no path of somebody's machine", () => {
    const own = /(?<![\w.~-])\/(?:work|tmp|root|home)\/[\w.-]/;
    const files = [...code, ...pages, ...filesUnder('bin'), ...filesUnder('tools'), '.ci/run', 'package.json'];
    const found = files.flatMap((path) =>
      text(path)
        .split('\n')
        .flatMap((line, i) => (own.test(line) ? [`${path}:${i + 1}: ${line.trim().slice(0, 120)}`] : [])),
    );
    expect(found).toEqual([]);
  });

  test('every command that a page names exists', () => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> };
    const missing = pages.flatMap((path) => {
      // A command is a line of a code block, or a piece of code in a sentence.
      const said = [...text(path).matchAll(/(?:^(?: {4}|\$ )|`)(npm (?:run )?[\w:]+|quire [a-z]+)/gm)].map(
        (m) => m[1] ?? '',
      );
      return said.filter((command) => !exists(command, scripts)).map((command) => `${path}: ${command}`);
    });
    expect(missing).toEqual([]);
  });
});

const npmsOwn = ['install', 'ci', 'pack', 'exec', 'help'];

function exists(command: string, scripts: Readonly<Record<string, string>>): boolean {
  const [program, ...words] = command.split(' ');
  const name = words.at(-1) ?? '';
  if (program === 'quire') return commandNames.includes(name) || name === 'help';
  return name in scripts || (words[0] !== 'run' && npmsOwn.includes(name));
}
