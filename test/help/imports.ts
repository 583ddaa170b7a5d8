/** What a source file imports and which host facilities it names, read with the compiler's own parser. */
import { posix } from 'node:path';
import ts from 'typescript';

/** Every specifier: static, type-only, side-effect, dynamic, `export … from` and `import('…')` in types. */
export function importsOf(text: string): string[] {
  return ts.preProcessFile(text, true, true).importedFiles.map((file) => file.fileName);
}

/** Specifiers that stand in `import type … from` alone, of which nothing is left in what is built. */
export function typeImportsOf(text: string): string[] {
  const file = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest, true);
  const imports = file.statements
    .filter((s) => ts.isImportDeclaration(s))
    .map((s) => ({
      specifier: (s.moduleSpecifier as ts.StringLiteral).text,
      type: s.importClause?.isTypeOnly === true,
    }));
  const values = imports.filter((i) => !i.type).map((i) => i.specifier);
  return imports.map((i) => i.specifier).filter((specifier) => !values.includes(specifier));
}

/** The file that a relative specifier of `path` means; null for a package or `node:` module. */
export function resolved(path: string, specifier: string): string | null {
  return specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : null;
}

const hostNames = new Set(
  (
    'Promise Date performance setTimeout setInterval setImmediate queueMicrotask requestAnimationFrame process ' +
    'globalThis console crypto fetch require'
  ).split(' '),
);

/** Uses of a clock, of randomness, of promises or of the host, and state that outlives a machine: `line: what`. */
export function hostUses(text: string): string[] {
  const file = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const note = (node: ts.Node, what: string) =>
    found.push(`${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${what}`);
  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.AsyncKeyword) note(node, 'async');
    if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier)) note(node, 'await');
    if (ts.isPropertyAccessExpression(node) && node.getText() === 'Math.random') note(node, 'Math.random');
    if (ts.isIdentifier(node) && hostNames.has(node.text) && !isMemberName(node)) note(node, node.text);
    if (ts.isVariableStatement(node) && node.parent === file && !(node.declarationList.flags & ts.NodeFlags.Const))
      note(node, 'a variable of the module');
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** `x.process`, `{ process: … }` and a declared member are names of ours, not the host's. */
function isMemberName(node: ts.Identifier): boolean {
  const { parent } = node;
  return (
    (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
    ((ts.isPropertyAssignment(parent) || ts.isPropertySignature(parent) || ts.isPropertyDeclaration(parent)) &&
      parent.name === node) ||
    ((ts.isMethodSignature(parent) || ts.isMethodDeclaration(parent)) && parent.name === node)
  );
}
