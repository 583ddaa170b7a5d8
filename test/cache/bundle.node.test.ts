/** What a web page loads: built by the bundler that is here anyway, measured, and held against what the documentation says. */
import { gzipSync } from 'node:zlib';
import { build, type Rolldown } from 'vite';
import { describe, expect, test } from 'vitest';
import { root, text } from '../../tools/sources.ts';

const PAGE = 'docs/cache/sources.md';
/** Measured may be so far from what is written, either way. */
const TOLERANCE = 0.1;

const entries: Readonly<Record<string, string>> = {
  PageCache: `export { PageCache } from '${root}src/cache/index.ts'`,
  'PageCache, httpSource': `export { PageCache } from '${root}src/cache/index.ts';
    export { httpSource } from '${root}src/cache/sources/index.ts'`,
  'PageCache and all sources': `export { PageCache } from '${root}src/cache/index.ts';
    export * from '${root}src/cache/sources/index.ts'`,
};

async function bundle(code: string): Promise<string> {
  const entry = {
    name: 'entry',
    enforce: 'pre' as const,
    resolveId: (id: string) => (id === 'entry' ? '\0entry.ts' : null),
    load: (id: string) => (id === '\0entry.ts' ? code : null),
  };
  const built = (await build({
    configFile: false,
    logLevel: 'error',
    root,
    plugins: [entry],
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      modulePreload: false,
      rollupOptions: { input: 'entry', preserveEntrySignatures: 'strict' },
    },
  })) as Rolldown.RolldownOutput;
  const [chunk, ...others] = built.output;
  expect(others).toEqual([]);
  expect([...chunk.imports, ...chunk.dynamicImports]).toEqual([]);
  return chunk.code;
}

/** Rows `| what | minified kB | gzip kB |` of the page. */
const stated = new Map(
  [...text(PAGE).matchAll(/^\| `([^`]+)` \| (\d+) kB \| (\d+) kB \|$/gm)].map((row) => [
    row[1],
    { minified: Number(row[2]), gzip: Number(row[3]) },
  ]),
);

describe('the bundle', () => {
  test.each(Object.keys(entries))('%s', async (name) => {
    const code = await bundle(entries[name] ?? '');
    const sizes = { minified: Buffer.byteLength(code) / 1000, gzip: gzipSync(code).length / 1000 };
    const said = stated.get(name);
    const off = (a: number, b: number): number => Math.abs(a - b) / b;
    const line = `${PAGE}: | \`${name}\` | ${Math.ceil(sizes.minified)} kB | ${Math.ceil(sizes.gzip)} kB |`;
    expect(said, line).toBeDefined();
    if (said === undefined) return;
    expect(Math.max(off(sizes.minified, said.minified), off(sizes.gzip, said.gzip)), line).toBeLessThan(TOLERANCE);
  });

  test('works', async () => {
    const code = await bundle(entries['PageCache and all sources'] ?? '');
    const built = (await import(
      /* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(code).toString('base64')}`
    )) as {
      PageCache: typeof import('../../src/cache/page_cache.ts').PageCache;
      memorySource: typeof import('../../src/cache/sources/memory.ts').memorySource;
    };
    const cache = new built.PageCache({ memory: '4MiB' });
    const file = await cache.open(built.memorySource(new Uint8Array([1, 2, 3])));
    const into = new Uint8Array(3);
    expect(await file.read(into, 0)).toBe(3);
    expect([...into]).toEqual([1, 2, 3]);
    await cache.close();
  });
});
