/** Which format a recording is in: by what it begins with, and by its name where the bytes say nothing. */
import { InputError } from '../base/errors.ts';
import { type Bytes, fileBytes } from './bytes.ts';
import type { TraceSource } from './event.ts';
import { openOps } from './ops.ts';
import { openOracleGeneral, RECORD_BYTES } from './oracle_general.ts';
import { openStrace } from './strace.ts';
import { parseLine } from './strace_line.ts';

export const FORMATS = ['ops', 'strace', 'oracleGeneral'] as const;
export type Format = (typeof FORMATS)[number];

const HEAD_BYTES = 65536;

/** The format of the file at `path`. InputError when it is none. */
export function detect(path: string): Format {
  const source = fileBytes(path);
  try {
    return formatOf(source);
  } finally {
    source.close();
  }
}

export function formatOf(source: Bytes): Format {
  const bytes = new Uint8Array(Math.min(HEAD_BYTES, source.size));
  const head = bytes.subarray(0, source.read(bytes, 0));
  const packed = packer(head);
  if (packed !== '') throw new InputError(source.path, 0, `packed by ${packed}, expected a recording: unpack it first`);
  const text = Buffer.from(head.buffer, 0, head.length).toString('latin1');
  if (text.startsWith('#quire-ops')) return 'ops';
  const named = /oracle_?general/i.test(source.name);
  if (named) return 'oracleGeneral';
  if (text.split('\n').some(isStrace)) return 'strace';
  // What is meant to be a script gets the script reader's word on its first line.
  if (source.name.endsWith('.ops')) return 'ops';
  const hint = source.size > 0 && source.size % RECORD_BYTES === 0 ? ' (oracleGeneral is known by its name)' : '';
  const what = source.size === 0 ? 'empty file' : `no recording that Quire knows${hint}`;
  throw new InputError(
    source.path,
    0,
    `${what}, expected an ops script (first line "#quire-ops 1"), the output of strace -f -y, or NAME.oracleGeneral`,
  );
}

/** Opens a recording in any of the formats. */
export function openTrace(path: string, format: Format = detect(path)): TraceSource {
  switch (format) {
    case 'ops':
      return openOps(path);
    case 'strace':
      return openStrace(path);
    case 'oracleGeneral':
      return openOracleGeneral(path);
  }
}

function isStrace(line: string): boolean {
  const { kind, text } = parseLine(line);
  if (kind === 'call') return /\) *= (?:-?\d|0x|\?)/.test(text);
  return kind !== 'odd';
}

const magics: readonly (readonly [string, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['zip', [0x50, 0x4b, 0x03, 0x04]],
];

const packer = (head: Uint8Array): string =>
  magics.find(([, magic]) => magic.every((byte, i) => head[i] === byte))?.[0] ?? '';
