/** Imports go one way, and the engine knows no host. The table is the one of DESIGN, kept here as data. */
import { describe, expect, test } from 'vitest';
import { layers, sources, text } from '../tools/sources.ts';
import { hostUses, importsOf, resolved } from './help/imports.ts';

const mayUse: Readonly<Record<string, readonly string[]>> = {
  base: [],
  arch: ['base'],
  mm: ['base', 'arch'],
  fs: ['base', 'mm'],
  trace: ['base'],
  view: ['base', 'mm'],
  lab: ['base', 'arch', 'mm', 'fs', 'trace', 'view'],
  cache: ['base', 'mm', 'fs', 'view'],
  lens: ['base', 'mm', 'view'],
  web: ['base', 'view'],
  cli: ['base', 'arch', 'mm', 'fs', 'trace', 'view', 'lab', 'cache', 'lens', 'web'],
};
/** The engine: no host, no package, no promise. */
const engine = ['base', 'arch', 'mm', 'fs'];
/** Layers that may use Node's modules. */
const onNode = ['trace', 'lab', 'lens', 'cli'];
/** Folders of other layers that may too. */
const nodeFolders = ['src/cache/node/'];
/** Imports against the table, as `file -> file`, each with its reason. Meant to shrink. */
const debt: readonly string[] = [];

const layerOf = (path: string): string => /^src\/([^/]+)\//.exec(path)?.[1] ?? '';

/** What is wrong with the imports of a file. */
function complaints(path: string, source: string): string[] {
  const layer = layerOf(path);
  const wrong: string[] = [];
  for (const specifier of importsOf(source)) {
    const target = resolved(path, specifier);
    const say = (why: string) => wrong.push(`${path} -> ${target ?? specifier}: ${why}`);
    if (target === null) {
      if (specifier.startsWith('node:')) {
        if (!onNode.includes(layer) && !nodeFolders.some((folder) => path.startsWith(folder))) say('not on Node');
      } else if (engine.includes(layer)) say('the engine has no dependency');
    } else if (!target.endsWith('.ts')) say('name the file with its .ts');
    else if (layerOf(target) !== layer && !mayUse[layer]?.includes(layerOf(target))) {
      if (!debt.includes(`${path} -> ${target}`)) say(`${layer} may not use ${layerOf(target) || 'the root'}`);
    }
  }
  return wrong;
}

describe('layers', () => {
  test('every folder of src has a row in the table', () => {
    expect(Object.keys(mayUse)).toEqual(expect.arrayContaining(layers()));
  });

  test('imports go one way', () => {
    const files = sources('src').filter((path) => layerOf(path) !== '');
    expect(files.length).toBeGreaterThan(5);
    expect(files.flatMap((path) => complaints(path, text(path)))).toEqual([]);
  });

  test('one file of view reads the engine', () => {
    const readers = sources('src/view').filter((path) =>
      importsOf(text(path)).some((specifier) => layerOf(resolved(path, specifier) ?? '') === 'mm'),
    );
    expect(readers.length, readers.join(', ')).toBeLessThanOrEqual(1);
  });

  test('the engine has no clock, no randomness, no promise and no state of its own', () => {
    const uses = engine.flatMap((layer) =>
      sources(`src/${layer}`).flatMap((path) => hostUses(text(path)).map((use) => `${path}:${use}`)),
    );
    expect(uses).toEqual([]);
  });
});

describe('the readers that these tests stand on', () => {
  test('every form of import is seen', () => {
    const source = `
      import a from '../lab/a.ts';
      import type { B } from '../lab/b.ts';
      import '../lab/c.ts';
      export * from '../lab/d.ts';
      export { type E } from '../lab/e.ts';
      const f = () => import('../lab/f.ts');
      type G = import('../lab/g.ts').G;
      // import '../lab/comment.ts';
      const text = "import '../lab/string.ts'";
      import 'node:fs';
      import 'koffi';
      import '../base/table';`;
    expect(complaints('src/mm/x.ts', source).map((line) => line.slice('src/mm/x.ts -> '.length))).toEqual([
      ...['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => `src/lab/${name}.ts: mm may not use lab`),
      'node:fs: not on Node',
      'koffi: the engine has no dependency',
      'src/base/table: name the file with its .ts',
    ]);
  });

  test('every use of the host is seen, and only those', () => {
    const source = `
      // Promise, Date.now
      const wait = async () => { await 1; };
      const roll = Math.random();
      const t = Date.now() + performance.now();
      let count = 0;
      const p: Promise<void> | null = null;
      const mine = { process: 1, Date: 'x' };
      mine.process += Math.max(1, 2);
      function f() { let local = 'Promise'; return local; }`;
    expect(hostUses(source)).toEqual([
      '3: async',
      '3: await',
      '4: Math.random',
      '5: Date',
      '5: performance',
      '6: a variable of the module',
      '7: Promise',
    ]);
  });
});
