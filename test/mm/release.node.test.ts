/** docs/kernels.md says what the tables say: a row that is missing there is printed as it should read. */
import { expect, test } from 'vitest';
import { type FileSystemFacts, filesystems, largeFolioKinds } from '../../src/fs/filesystems.ts';
import { history, type Laws, RELEASE_NAMES, readIn, releases } from '../../src/mm/release.ts';
import { text } from '../../tools/sources.ts';

/** A table row without the padding that formatters add. */
const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const bare = (line: string): string => line.replace(/ *\| */g, ' | ').trim();

const say = (law: unknown): string => (typeof law === 'boolean' ? (law ? 'yes' : 'no') : String(law));
const kinds = (name: string): string[] =>
  RELEASE_NAMES.map((release) => {
    const gone = (filesystems as Record<string, FileSystemFacts>)[name]?.gone;
    if (gone === release) return 'gone';
    if (gone !== undefined && RELEASE_NAMES.indexOf(release) > RELEASE_NAMES.indexOf(gone as never)) return 'gone';
    const { read, write } = largeFolioKinds(name, release);
    return read && write ? 'all' : read ? 'read' : write ? 'write' : '–';
  });

const laws = Object.keys(history) as (keyof Laws)[];
const wanted = [
  row('preset', ...RELEASE_NAMES),
  row('read in', ...RELEASE_NAMES.map((name) => readIn[name])),
  ...laws.map((law) => row(`\`${law}\``, ...RELEASE_NAMES.map((name) => say(releases[name][law])))),
  ...laws.flatMap((law) =>
    history[law].map((c) =>
      row(`\`${law}\``, c.since, say(c.law), c.source + (c.sure === 'read' ? '' : ` (${c.sure})`)),
    ),
  ),
  ...Object.entries<FileSystemFacts>(filesystems).map(([name, facts]) =>
    row(name, ...kinds(name), facts.blockSizeAbovePage?.since ?? '–', facts.largeFolios.at(-1)?.source ?? '–'),
  ),
];

test('docs/kernels.md has every law, every change with its source, and every file system', () => {
  const lines = new Set(
    text('docs/kernels.md')
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .map(bare),
  );
  expect(wanted.map(bare).filter((line) => !lines.has(line))).toEqual([]);
});

test('docs/kernels.md has no row that the tables do not have', () => {
  const known = new Set(wanted.map(bare));
  const own = text('docs/kernels.md')
    .split('\n')
    .filter((line) => /^\| (`|\w+ +\|( –| all| read| write| gone))/.test(line))
    .map(bare);
  expect(own.filter((line) => !known.has(line))).toEqual([]);
});
