/**
 * The budget, seen from outside: a process with a cache of 64 MiB goes through reads and writes of many patterns while this
 * one follows its resident memory. What it grows by over the same process with an idle cache is the cache's: its pages, all
 * that is kept about them, and what requests hold. Garbage in V8's own heap is none of it, and V8 may let it lie for long:
 * the process collects it often.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const BUDGET_MIB = 64;
const OVER_MIB = 1;

const rssMiB = (child: ChildProcess): number => {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) / 1024;
};

const says = (child: ChildProcess, word: string): Promise<void> =>
  new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (data) => {
      text += data;
      if (text.includes(word)) resolve();
    });
    child.once('exit', (code) => reject(new Error(`the child ended with ${code} before it said ${word}`)));
  });

test.skipIf(!existsSync('/proc/self/status'))('a cache of 64 MiB stays within 64 MiB', async () => {
  const script = new URL('./memory_child.ts', import.meta.url).pathname;
  const child = spawn(
    process.execPath,
    ['--max-semi-space-size=1', '--expose-gc', '--import', 'tsx', script, String(BUDGET_MIB * 2 ** 20)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  try {
    await says(child, 'idle');
    const base = rssMiB(child);
    let most = base;
    const look = setInterval(() => {
      most = Math.max(most, rssMiB(child));
    }, 5);
    const done = says(child, 'done');
    child.stdin?.write('go\n');
    await done.finally(() => clearInterval(look));
    // It did use what it was given.
    if (process.env.CACHE_SAY !== undefined) console.log(`${(most - base).toFixed(1)} MiB`);
    expect(most - base).toBeGreaterThan(BUDGET_MIB * 0.85);
    expect(most - base).toBeLessThan(BUDGET_MIB + OVER_MIB);
  } finally {
    child.kill();
  }
});
