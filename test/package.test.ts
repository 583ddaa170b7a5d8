/** What the package promises to those who install it. */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { root, sources, text } from '../tools/sources.ts';
import { importsOf, resolved, typeImportsOf } from './help/imports.ts';

interface Manifest {
  readonly name: string;
  readonly license: string;
  readonly type: string;
  readonly engines: { readonly node: string };
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>;
}
const manifest = JSON.parse(text('package.json')) as Manifest;
const lock = JSON.parse(text('package-lock.json')) as {
  packages: Record<
    string,
    {
      dev?: boolean;
      optional?: boolean;
      resolved?: string;
      hasInstallScript?: boolean;
      optionalDependencies?: Record<string, string>;
    }
  >;
};

/** Exports that need Node. */
const onNode = ['./lab', './cache/node'];

/** What can be imported, and the source that it is built from. */
const entries = (): { name: string; source: string }[] =>
  Object.entries(manifest.exports).flatMap(([name, target]) =>
    typeof target === 'string'
      ? []
      : [{ name, source: target.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts') }],
  );

describe('package', () => {
  test('name, licence, command and floor', () => {
    expect(manifest).toMatchObject({
      name: 'quire-mm',
      license: 'MIT',
      type: 'module',
      engines: { node: '>=20.19' },
      bin: { quire: 'bin/quire.js' },
    });
    expect(existsSync(`${root}LICENSE`)).toBe(true);
  });

  test('the names that can be imported', () => {
    const adapters = sources('src/cache/adapters').map((path) =>
      path.slice('src/cache/adapters/'.length, -'.ts'.length),
    );
    const shared = ['bytes', 'folders', 'host_heap', 'sqlite_files'];
    expect(Object.keys(manifest.exports)).toEqual([
      ...['.', './lab', './cache', './cache/sources', './cache/node'],
      ...adapters.filter((name) => !shared.includes(name)).map((name) => `./cache/adapters/${name}`),
      './package.json',
    ]);
    for (const { source } of entries()) expect(existsSync(root + source), source).toBe(true);
    for (const target of Object.values(manifest.exports))
      if (typeof target !== 'string') expect(target.types).toBe(target.default.replace(/\.js$/, '.d.ts'));
  });

  test('run-time dependencies are the ones agreed on, and no others', () => {
    expect(Object.keys(manifest.dependencies)).toEqual(['@commander-js/extra-typings', 'commander']);
    expect(Object.keys(manifest.optionalDependencies)).toEqual(['koffi']);
  });

  test('hosts of adapters are optional, and tested in the version that the range begins with', () => {
    for (const [name, range] of Object.entries(manifest.peerDependencies)) {
      expect(manifest.peerDependenciesMeta[name], name).toEqual({ optional: true });
      expect(range.replace(/^(\^|>=)/, ''), name).toBe(manifest.devDependencies[name]);
    }
    expect(Object.keys(manifest.peerDependenciesMeta)).toEqual(Object.keys(manifest.peerDependencies));
  });

  test('versions are exact, and the lockfile names no registry', () => {
    const { dependencies, optionalDependencies, devDependencies } = manifest;
    for (const [name, version] of Object.entries({ ...dependencies, ...optionalDependencies, ...devDependencies }))
      expect(version, name).toMatch(/^(npm:@?[\w/-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/);
    expect(Object.entries(lock.packages).filter(([, p]) => p.resolved !== undefined)).toEqual([]);
  });

  test('the lockfile holds the packages of every platform: `npm ci` refuses one that does not', () => {
    const named = Object.values(lock.packages).flatMap((p) => Object.keys(p.optionalDependencies ?? {}));
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => lock.packages[`node_modules/${name}`] === undefined)).toEqual([]);
  });

  test('what always gets installed runs no script of its own', () => {
    const scripts = Object.entries(lock.packages).filter(([, p]) => p.hasInstallScript && !p.dev && !p.optional);
    expect(scripts).toEqual([]);
    expect(Object.keys(manifest.scripts)).not.toEqual(expect.arrayContaining(['postinstall']));
  });

  test('the library opens in a browser: what it exports reaches no Node module and no package', () => {
    for (const entry of entries().filter(({ name }) => !onNode.includes(name))) {
      const seen = new Set<string>();
      const outside: string[] = [];
      const visit = (path: string): void => {
        if (seen.has(path)) return;
        seen.add(path);
        const types = entry.name.startsWith('./cache/adapters/') ? typeImportsOf(text(path)) : [];
        for (const specifier of importsOf(text(path))) {
          const target = resolved(path, specifier);
          if (types.includes(specifier) && manifest.peerDependencies[specifier] !== undefined) continue;
          if (target === null) outside.push(`${path} -> ${specifier}`);
          else visit(target);
        }
      };
      visit(entry.source);
      expect(seen.size, entry.name).toBeGreaterThan(1);
      expect(outside, entry.name).toEqual([]);
    }
  });

  test('its entries list their names', () => {
    for (const { source } of entries()) expect(text(source), source).not.toMatch(/export \*/);
  });
});
