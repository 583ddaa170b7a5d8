/** The head of an ops script: its `#` lines, which come before the first operation. */
import { InputError } from '../base/errors.ts';
import { quoted } from './bytes.ts';
import { defaultSettings, type TraceFile, type TraceSettings } from './event.ts';
import { BYTES_MAX, FILES_MAX } from './ops_shape.ts';

export const FIRST_LINE = '#quire-ops 1';
export const FILE_SYSTEMS = ['xfs', 'ext4', 'ext2', 'btrfs', 'erofs', 'tmpfs'] as const;
export const THP_MODES = ['always', 'madvise', 'inherit', 'never'] as const;

export interface OpsHeader {
  readonly settings: TraceSettings;
  readonly files: readonly TraceFile[];
}

/** Reads the head. `take` gives its lines one by one, then null. */
export function parseHeader(path: string, take: () => string | null): OpsHeader {
  const settings = defaultSettings();
  const files: TraceFile[] = [];
  const ids = new Set<number>();
  const names = new Set<string>();
  let line = 0;
  const fail = (what: string, expected: string): never => {
    throw new InputError(path, line, `${what}, expected ${expected}`);
  };
  const number = (text: string | undefined, what: string, max: number): number => {
    if (text === undefined || !/^\d+$/.test(text)) fail(`${what} ${quoted(text ?? '')} is not a number`, `0 to ${max}`);
    const value = Number(text);
    return value <= max ? value : fail(`${what} ${quoted(text ?? '')} is too large`, `0 to ${max}`);
  };

  for (let text = take(); text !== null; text = take()) {
    line++;
    if (line === 1) {
      if (text !== FIRST_LINE) fail(`the first line is ${quoted(text)}`, quoted(FIRST_LINE));
      continue;
    }
    if (text === '' || text === '#' || text.startsWith('# ')) continue;
    const [key = '', ...values] = text.slice(1).split(',');
    const only = (): string =>
      values.length === 1 ? values[0]! : fail(`${quoted(text)} has ${values.length} values`, '1');
    switch (key) {
      case 'fs':
        settings.fs = only();
        if (!(FILE_SYSTEMS as readonly string[]).includes(settings.fs)) {
          fail(`file system ${quoted(settings.fs)}`, FILE_SYSTEMS.join(', '));
        }
        break;
      case 'blocksize': {
        const size = number(only(), 'block size', 65536);
        if (size < 512 || (size & (size - 1)) !== 0) fail(`block size ${size}`, 'a power of two from 512 to 65536');
        settings.blockSize = size;
        break;
      }
      case 'ra_kb':
        settings.readaheadKb = number(only(), 'read-ahead', 1 << 20);
        break;
      case 'memcg':
        settings.memcg = number(only(), 'memory limit', BYTES_MAX);
        break;
      case 'khugepaged':
        settings.khugepaged = number(only(), 'khugepaged', 1) === 1;
        break;
      case 'mountopt':
        settings.mountOption = values.join(',');
        break;
      case 'thp':
        if (values.length === 0) fail(quoted(text), 'SIZE=MODE');
        for (const pair of values) {
          const [, size, mode] =
            /^(top|\d{1,7}kB)=([a-z]+)$/.exec(pair) ?? fail(quoted(pair), 'SIZE=MODE as in 64kB=always');
          if (!(THP_MODES as readonly string[]).includes(mode!)) fail(`mode ${quoted(mode!)}`, THP_MODES.join(', '));
          settings.thp[size!] = mode!;
        }
        break;
      case 'file': {
        if (values.length !== 3) fail(quoted(text), '#file,ID,NAME,SIZE');
        const [, name = ''] = values;
        const id = number(values[0], 'file', FILES_MAX - 1);
        const size = number(values[2], 'size', BYTES_MAX);
        if (ids.has(id)) fail(`file ${id} is declared twice`, 'one line a file');
        if (!isPlainName(name)) fail(`file name ${quoted(name)}`, 'a name without slashes and control characters');
        if (names.has(name)) fail(`file name ${quoted(name)} is declared twice`, 'one line a file');
        ids.add(id);
        names.add(name);
        files.push({ id, name, size });
        break;
      }
      default:
        fail(
          `setting ${quoted(key)}`,
          '#fs, #blocksize, #ra_kb, #memcg, #thp, #mountopt, #khugepaged, #file, or "# " and a remark',
        );
    }
  }
  if (line === 0) throw new InputError(path, 0, `empty file, expected ${quoted(FIRST_LINE)}`);
  return { settings, files };
}

/** A name that any file system and the live tool take: one component, no comma, at most 255 bytes. */
export function isPlainName(name: string): boolean {
  if (name === '' || name === '.' || name === '..' || Buffer.byteLength(name) > 255) return false;
  return !/[/,\p{Cc}\ufffd]/u.test(name);
}

/** The `#` lines that say these settings and files. Lines that would say a default are left out, but for the file system. */
export function headerText(settings: TraceSettings, files: readonly TraceFile[]): string {
  const usual = defaultSettings();
  const lines = [FIRST_LINE, `#fs,${settings.fs}`];
  if (settings.blockSize !== usual.blockSize) lines.push(`#blocksize,${settings.blockSize}`);
  if (settings.readaheadKb !== usual.readaheadKb) lines.push(`#ra_kb,${settings.readaheadKb}`);
  if (settings.memcg !== usual.memcg) lines.push(`#memcg,${settings.memcg}`);
  const thp = Object.entries(settings.thp).map(([size, mode]) => `${size}=${mode}`);
  if (thp.length > 0) lines.push(`#thp,${thp.join(',')}`);
  if (settings.mountOption !== '') lines.push(`#mountopt,${settings.mountOption}`);
  if (settings.khugepaged) lines.push('#khugepaged,1');
  for (const f of files) lines.push(`#file,${f.id},${f.name},${f.size}`);
  return `${lines.join('\n')}\n`;
}
