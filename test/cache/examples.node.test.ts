/** The examples of the cache run as they stand and print what their last lines say. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { root, text } from '../../tools/sources.ts';

const run = promisify(execFile);
const examples = readdirSync(`${root}examples/cache`).filter((name) => name.endsWith('.ts'));

describe('examples/cache', () => {
  test('there is one for each adapter, and each adapter has its page', () => {
    const { exports } = JSON.parse(text('package.json')) as { exports: Record<string, unknown> };
    const adapters = Object.keys(exports).flatMap((name) => /^\.\/cache\/adapters\/(\w+)$/.exec(name)?.[1] ?? []);
    expect(adapters.length).toBeGreaterThan(5);
    expect(examples).toEqual(expect.arrayContaining(adapters.map((name) => `${name}.ts`)));
    const pages = readdirSync(`${root}docs/cache`);
    expect(pages).toEqual(expect.arrayContaining(adapters.map((name) => `${name}.md`)));
    for (const name of adapters) expect(text(`docs/cache/${name}.md`), name).toContain(`examples/cache/${name}.ts`);
  });

  test.each(examples)('%s', async (name) => {
    const said = text(`examples/cache/${name}`).matchAll(/^\/\/ > (.*)$/gm);
    const wanted = [...said].map((line) => line[1]).join('\n');
    expect(wanted).not.toBe('');
    const { stdout } = await run(process.execPath, ['--import', 'tsx', `examples/cache/${name}`], { cwd: root });
    expect(stdout.trimEnd()).toBe(wanted);
  });
});
