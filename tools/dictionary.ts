/**
 * docs/dictionary.md: which kernel name is which name here. The words above the mark are written by hand; the table below
 * it is made from the `@kernel FILE NAME (RELEASE)` lines of src/. `npm run dictionary` renews it, and a test compares.
 */
import { writeFileSync } from 'node:fs';
import ts from 'typescript';
import { root, sources, text } from './sources.ts';

export const DICTIONARY = 'docs/dictionary.md';
const MARK = '<!-- made by `npm run dictionary` from the @kernel lines of src/: do not edit below -->';

/** `@kernel mm/readahead.c page_cache_ra_order (6.18)`; several names with commas; `struct` or `enum` before a name. */
const TAG =
  /@kernel +([\w./-]+(?:\.[chS]|\/Kconfig)) +((?:(?:struct|enum) )?\w+(?:, *(?:(?:struct|enum) )?\w+)*) +\(([^()]+)\)/;
const RELEASE = /^(?:v?\d+\.\d+|next)(?:[-–](?:\d+\.\d+|next)?)?(?:, *\d+\.\d+(?:[-–](?:\d+\.\d+)?)?)*$/;

export interface Entry {
  readonly kernelFile: string;
  readonly kernelName: string;
  readonly release: string;
  /** The declaration that the comment stands on or in; '' when it speaks for the whole file. */
  readonly name: string;
  readonly path: string;
}

/** The tags of one file, and the lines whose tag has another form. */
export function tagsOf(path: string, source: string): { entries: Entry[]; malformed: string[] } {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true);
  const entries: Entry[] = [];
  const malformed: string[] = [];
  for (const { index } of source.matchAll(/@kernel/g)) {
    const line = source.slice(index).split('\n', 1)[0] ?? '';
    const tag = TAG.exec(line);
    if (!tag?.[2] || !tag[1] || !tag[3] || tag.index !== 0 || !RELEASE.test(tag[3])) {
      malformed.push(`${path}:${file.getLineAndCharacterOfPosition(index).line + 1}: ${line.trim()}`);
      continue;
    }
    for (const kernelName of tag[2].split(/, */))
      entries.push({ kernelFile: tag[1], kernelName, release: tag[3], name: declarationAt(file, index), path });
  }
  return { entries, malformed };
}

/** The declaration whose leading comment holds `position`; else the innermost one around it. */
function declarationAt(file: ts.SourceFile, position: number): string {
  let name = '';
  const visit = (node: ts.Node): boolean => {
    if (position < node.getFullStart() || position >= node.end) return false;
    const own = nameOf(node);
    if (own !== '') name = own;
    const inside = position >= node.getStart(file);
    // A comment before a statement belongs to what the statement declares, not to a part of it.
    return own !== '' && !inside ? true : (ts.forEachChild(node, (child) => visit(child) || undefined) ?? false);
  };
  visit(file);
  return name;
}

function nameOf(node: ts.Node): string {
  if (ts.isVariableStatement(node) && ts.isSourceFile(node.parent))
    return node.declarationList.declarations.map((d) => d.name.getText()).join(', ');
  if (
    ts.isFunctionDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isMethodSignature(node) ||
    ts.isPropertySignature(node) ||
    ts.isPropertyDeclaration(node) ||
    ts.isPropertyAssignment(node)
  )
    return node.name?.getText() ?? '';
  return '';
}

export const allTags = (): { entries: Entry[]; malformed: string[] } => {
  const each = sources('src').map((path) => tagsOf(path, text(path)));
  return { entries: each.flatMap((t) => t.entries), malformed: each.flatMap((t) => t.malformed) };
};

/** The page with its table made anew. */
export function renewed(page: string, entries: readonly Entry[]): string {
  const rows = entries.map((e) => {
    const here = e.name === '' ? '(the file)' : `\`${e.name}\``;
    return `| \`${e.kernelName}\` | ${e.kernelFile} | ${here} | ${e.path} | ${e.release} |`;
  });
  const order = (row: string) => row.split('|').slice(1, 3).reverse().join('|').toLowerCase();
  const sorted = [...new Set(rows)].sort((a, b) =>
    order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : a < b ? -1 : 1,
  );
  const table = ['| in Linux | its file | here | our file | release |', '| --- | --- | --- | --- | --- |', ...sorted];
  const prose = page.split(MARK, 1)[0] ?? '';
  return `${prose.trimEnd()}\n\n${MARK}\n\n${table.join('\n')}\n`;
}

if (process.argv[1] === import.meta.filename) {
  const { entries, malformed } = allTags();
  for (const line of malformed) console.error(`not of the form @kernel FILE NAME (RELEASE): ${line}`);
  writeFileSync(root + DICTIONARY, renewed(text(DICTIONARY), entries));
  console.log(`${DICTIONARY}: ${entries.length} kernel names`);
  if (malformed.length > 0) process.exitCode = 1;
}
