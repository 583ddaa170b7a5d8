/** Modules of the engine need each other in circles; whichever is imported first, all of them must come up. */
import { readdirSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';

const src = new URL('../src/', import.meta.url);
const folders = ['base', 'arch', 'mm', 'fs', 'lab', 'trace', 'view'];

describe('each module can be the first', () => {
  for (const folder of folders)
    it(folder, async () => {
      for (const file of readdirSync(new URL(`${folder}/`, src)).filter((name) => name.endsWith('.ts'))) {
        vi.resetModules();
        await expect(import(new URL(`${folder}/${file}`, src).pathname), `${folder}/${file}`).resolves.toBeDefined();
      }
    });
});
