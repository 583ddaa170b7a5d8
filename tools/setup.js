/**
 * Sets a checkout up: installs what the lockfile names, then builds dist. Does nothing where both are done.
 * `npm start`, `npm test` and `npm run build` all begin here, so that each of them works alone in a fresh clone.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { distIsFresh, modulesAreFresh, root, stamp } from './freshness.js';

function run(what, args) {
  const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  console.error(`quire: ${what} failed${error ? `: ${error.message}` : ''}`);
  process.exit(1);
}

function install() {
  const npm = process.env.npm_execpath;
  if (!npm) {
    console.error('quire: not set up yet: run `npm run build`');
    process.exit(1);
  }
  console.error('quire: installing (npm ci)');
  // No package here needs its install script, and none is run. Development packages are needed to build.
  run('npm ci', [npm, 'ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** Takes away what an earlier build made of sources that are gone. */
function sweep(folder) {
  for (const entry of readdirSync(`${root}dist/${folder}`, { withFileTypes: true })) {
    const path = `${folder}${entry.name}`;
    if (entry.isDirectory()) {
      if (existsSync(`${root}src/${path}`)) sweep(`${path}/`);
      else rmSync(`${root}dist/${path}`, { recursive: true });
    } else if (/\.(js|d\.ts)(\.map)?$/.test(path)) {
      if (!existsSync(`${root}src/${path.replace(/\.(js|d\.ts)(\.map)?$/, '.ts')}`)) rmSync(`${root}dist/${path}`);
    }
  }
}

function build() {
  const began = new Date();
  rmSync(stamp, { force: true });
  mkdirSync(`${root}dist`, { recursive: true });
  sweep('');
  run('the build (tsc)', [`${root}node_modules/@typescript/native/bin/tsc`, '-b', 'tsconfig.src.json']);
  writeFileSync(stamp, '');
  utimesSync(stamp, began, began);
}

if (!modulesAreFresh()) install();
if (!distIsFresh()) build();
