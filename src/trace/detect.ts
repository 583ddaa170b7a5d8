/** Which format a recording is in: by what it begins with, and by its name where the bytes say nothing. */
import { constants, gunzipSync } from 'node:zlib';
import { InputError } from '../base/errors.ts';
import type { AccessSource } from './access.ts';
import { type Bytes, fileBytes } from './bytes.ts';
import { openChampsim } from './champsim.ts';
import { DRMEMTRACE_BYTES, openDrmemtrace, TYPE_HEADER } from './drmemtrace.ts';
import { openDrview } from './drview.ts';
import type { TraceSource } from './event.ts';
import { FAULTS_HEAD, openFaults } from './faults.ts';
import { openLackey } from './lackey.ts';
import { openOps } from './ops.ts';
import { openOracleGeneral, RECORD_BYTES } from './oracle_general.ts';
import { MAGIC } from './qacc.ts';
import { openQacc } from './qacc_read.ts';
import { openStrace } from './strace.ts';
import { parseLine } from './strace_line.ts';

/** Recordings of operations. */
export const FORMATS = ['ops', 'strace', 'oracleGeneral'] as const;
/** Traces of memory accesses. */
export const ACCESS_FORMATS = ['qacc', 'lackey', 'dynamorio', 'dynamorio-view', 'champsim', 'faults'] as const;
export type Format = (typeof FORMATS)[number];
export type AccessFormat = (typeof ACCESS_FORMATS)[number];

export const isAccessFormat = (format: Format | AccessFormat): format is AccessFormat =>
  (ACCESS_FORMATS as readonly string[]).includes(format);

const HEAD_BYTES = 65536;

/** The format of the file at `path`. InputError when it is none. */
export function detect(path: string): Format | AccessFormat {
  const source = fileBytes(path);
  try {
    return formatOf(source);
  } finally {
    source.close();
  }
}

export function formatOf(source: Bytes): Format | AccessFormat {
  const bytes = new Uint8Array(Math.min(HEAD_BYTES, source.size));
  let head: Uint8Array = bytes.subarray(0, source.read(bytes, 0));
  const packed = packer(head);
  if (packed === 'gzip') head = unpacked(source.path, head);
  else if (packed !== '') throw packedError(source, packed);
  const access = accessFormatOf(head, source.name);
  if (access === 'qacc' && packed !== '') throw packedError(source, packed);
  if (access !== null) return access;
  if (packed !== '') throw packedError(source, packed);
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1');
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
    `${what}, expected an ops script (first line "#quire-ops 1"), the output of strace -f -y, NAME.oracleGeneral, or a trace of accesses (.qacc, lackey, DynamoRIO, NAME.champsim)`,
  );
}

/** A line of lackey, and of DynamoRIO's view tool. */
const LACKEY = /^(?:I {2}| [LSM] )[0-9a-f]{8,16},\d{1,5}$/m;
const DRVIEW = /^ +\d+ +\d+: +(?:W\d+\.T)?\d+ (?:ifetch|read|write|<marker: )/m;

/** The format of a trace of accesses by its first bytes, and by its name where they say nothing; null: it is none. */
export function accessFormatOf(head: Uint8Array, name: string): AccessFormat | null {
  if (head.length >= MAGIC.length && MAGIC.every((b, i) => head[i] === b)) return 'qacc';
  if (/champsim/i.test(name)) return 'champsim';
  const type = (at: number): number => (head[at] as number) | ((head[at + 1] as number) << 8);
  if (head.length >= 2 * DRMEMTRACE_BYTES && type(0) === TYPE_HEADER && head.subarray(5, 12).every((b) => b === 0))
    return 'dynamorio';
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1');
  if (text.startsWith(`${FAULTS_HEAD}\n`)) return 'faults';
  if (LACKEY.test(text)) return 'lackey';
  return DRVIEW.test(text) ? 'dynamorio-view' : null;
}

/** Opens a trace of accesses; gzip is unpacked on the way. */
export function openAccesses(path: string, format: AccessFormat): AccessSource {
  switch (format) {
    case 'qacc':
      return openQacc(path);
    case 'lackey':
      return openLackey(path);
    case 'dynamorio':
      return openDrmemtrace(path);
    case 'dynamorio-view':
      return openDrview(path);
    case 'champsim':
      return openChampsim(path);
    case 'faults':
      return openFaults(path);
  }
}

/** The beginning of what the beginning of a gzip file holds. */
function unpacked(path: string, head: Uint8Array): Uint8Array {
  try {
    return gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, HEAD_BYTES);
  } catch {
    throw new InputError(path, 0, 'damaged, expected a gzip file');
  }
}

const packedError = ({ path, name }: Bytes, packed: string): InputError => {
  const how: Readonly<Record<string, string>> = {
    xz: `: xz -dc ${name} | quire import champsim - -o NAME.qacc`,
    zip: `: unzip -p ${name} | quire import dynamorio - -o NAME.qacc`,
  };
  return new InputError(path, 0, `packed by ${packed}, expected a recording: unpack it first${how[packed] ?? ''}`);
};

/** Opens a recording in any of the formats. */
export function openTrace(path: string, format: Format | AccessFormat = detect(path)): TraceSource {
  switch (format) {
    case 'ops':
      return openOps(path);
    case 'strace':
      return openStrace(path);
    case 'oracleGeneral':
      return openOracleGeneral(path);
    default:
      throw new InputError(path, 0, 'a trace of accesses, expected a recording of operations');
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
