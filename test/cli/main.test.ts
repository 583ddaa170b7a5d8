/** The command as a user meets it: a process, its two streams and its exit code. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { commandNames } from '../../src/cli/main.ts';
import { root } from '../../tools/sources.ts';

const bin = `${root}bin/quire.js`;
/** A build that is out of date is said on a line of its own; it is no part of what the command says. */
const ownLines = (stderr: string) =>
  stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build'));

function quire(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  return { status, stdout, errors: ownLines(stderr) };
}

describe('help', () => {
  test('names every command', () => {
    const { status, stdout, errors } = quire('--help');
    expect({ status, errors }).toEqual({ status: 0, errors: [] });
    for (const name of commandNames) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  test.each(commandNames)('%s has an example', (name) => {
    const { status, stdout } = quire(name, '--help');
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`Example:\\n  \\$ .*quire ${name}`));
    expect(quire('help', name).stdout).toBe(stdout);
  });

  test('the version is the package’s', () => {
    expect(quire('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('bad usage is one line and exit 2', () => {
  test.each([
    ['an unknown command', ['replai'], /unknown command 'replai'/],
    ['an unknown flag', ['replay', 'x.ops', '--colour'], /unknown option '--colour'/],
    ['a missing argument', ['replay'], /missing required argument/],
    ['a bad size', ['replay', 'x.ops', '--memory', '-4k'], /--memory: '-4k' is not a size/],
    ['a size past all sense', ['replay', 'x.ops', '--memory', '9'.repeat(400)], /--memory: /],
    ['control characters', ['replay', 'x.ops', '--fs', 'a\n\u001b[2Jb'], /--fs: 'a \[2Jb'/],
  ])('%s', (_, args, line) => {
    const { status, stdout, errors } = quire(...args);
    expect(stdout).toBe('');
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(/^quire: /);
    expect(errors[0]).toMatch(line);
    expect(status).toBe(2);
  });

  test('no command at all prints the help', () => {
    const { status, stdout, errors } = quire();
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(errors.join('\n')).toContain('Usage: quire');
  });
});

test('a reader that goes away is no error', async () => {
  const child = spawn(process.execPath, [bin, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += String(data);
  });
  const [code] = await once(child, 'close');
  expect({ code, errors: ownLines(stderr) }).toEqual({ code: 0, errors: [] });
});
