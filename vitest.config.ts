import { spawnSync } from 'node:child_process';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';
import type { LayoutName } from './src/mm/memmap.ts';
import { CountReporter } from './test/help/reporter.ts';

/** A browser that answers. The tests of the engine and the cache run in it a second time; NAME.node.test.ts needs Node, NAME.browser.test.ts a browser. */
const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => spawnSync(path, ['--version'], { stdio: 'ignore', timeout: 20_000 }).status === 0,
);
const notes = chromium === undefined ? ['browser tests: not run, no chromium on this machine'] : [];

/** A test that hangs ends; none is meant to be fast. */
const testTimeout = 180_000;
const node = { test: { name: 'node', include: ['test/**/*.test.ts'], exclude: ['**/*.browser.test.ts'], testTimeout } };
/** The engine's tests on another layout of the memory map: all of them on MEMMAP, or the quicker ones on memdesc8. */
const { MEMMAP } = process.env;
const layout = {
  test: {
    name: 'layout',
    include: ['test/{mm,fs}/**/*.test.ts', 'test/lab/{vectors,memory_golden,access_replay,access_contpte}.test.ts'],
    exclude: ['**/*.browser.test.ts', ...(MEMMAP === undefined ? ['**/*.node.test.ts'] : [])],
    setupFiles: ['test/help/memmap.ts'],
    provide: { memmap: (MEMMAP ?? 'memdesc8') as LayoutName },
    testTimeout,
  },
};
const browser = (executablePath: string) => ({
  // Found before the first test: a package met later would reload the page under a running test.
  optimizeDeps: { include: ['fast-check'] },
  test: {
    name: 'browser',
    include: ['test/{base,arch,mm,fs,cache}/**/*.test.ts'],
    exclude: ['**/*.node.test.ts'],
    globalSetup: ['test/cache/browser_setup.ts'],
    testTimeout,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      provider: playwright({
        launchOptions: {
          executablePath,
          args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
          ],
        },
      }),
      instances: [{ browser: 'chromium' as const }],
    },
  },
});

export default defineConfig({
  test: {
    projects: chromium === undefined ? [node, layout] : [node, layout, browser(chromium)],
    // Two cores: one worker, as the default has it, leaves one of them idle.
    maxWorkers: '100%',
    reporters: ['default', new CountReporter(notes)],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
