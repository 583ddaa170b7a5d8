#!/usr/bin/env node
/** The command `quire`. Runs what the build made; in a checkout whose build is missing or out of date, the sources. */
import { existsSync } from 'node:fs';

const freshness = new URL('../tools/freshness.js', import.meta.url);
let entry = '../dist/cli/main.js';

// The published package holds no tools folder: there, dist is always what src says.
if (existsSync(freshness) && !(await import(freshness.href)).distIsFresh()) {
  try {
    (await import('tsx/esm/api')).register();
  } catch {
    console.error('quire: this checkout is not set up: run `npm run build`');
    process.exit(2);
  }
  console.error('quire: the build is missing or older than src, so running the sources; `npm run build` renews it');
  entry = '../src/cli/main.ts';
}

await (await import(entry)).main(process.argv.slice(2));
