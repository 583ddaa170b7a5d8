/** `npm start`: sets the checkout up, then compares a recording across kernels and memory limits. */
import { spawnSync } from 'node:child_process';
import { root } from './freshness.js';
import './setup.js';

const compare = [
  'compare',
  'examples/sqlite.ops',
  '--vary',
  'kernel=5.15,6.1,6.12,6.18',
  '--vary',
  'memcg=0,64M,32M',
  '--html',
  'quire-report.html',
];
console.log(`$ quire ${compare.join(' ')}`);
const { status } = spawnSync(process.execPath, ['bin/quire.js', ...compare], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
