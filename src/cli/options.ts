/** What commands share: sizes, and the settings of a replay. A setting is declared once; flag, help and `--vary` read it. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { QuireError } from '../base/errors.ts';
import type { SwapSetting } from '../lab/settings.ts';
import { RELEASE_NAMES, release } from '../mm/release.ts';

/** The largest size that is believed: 1 PiB. */
const SIZE_MAX = 2 ** 50;
const unitShift: Readonly<Record<string, number>> = { '': 0, k: 10, m: 20, g: 30, t: 40 };

/** Bytes of `4096`, `4k`, `64K`, `64kB`, `2M`, `1G`, `256MiB`. Units are powers of 1024, as the kernel's. */
export function parseSize(text: string): number {
  const match = /^(\d{1,16})(?:([kmgt])(?:i?b)?|b)?$/i.exec(text);
  const bytes = match ? Number(match[1]) * 2 ** (unitShift[match[2]?.toLowerCase() ?? ''] as number) : -1;
  if (bytes < 0) throw new QuireError('EINVAL', `'${text}' is not a size: expected one like 4096, 64k, 2M or 1G`);
  if (bytes > SIZE_MAX) throw new QuireError('EINVAL', `'${text}' is too large: expected at most 1024T`);
  return bytes;
}

/** A whole number in [from, to], in decimal digits. */
export function parseWhole(text: string, from: number, to: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  if (value < from || value > to)
    throw new QuireError('EINVAL', `'${text}': expected a whole number from ${from} to ${to}`);
  return value;
}

const size = (from: number, to: number, range: string) => (text: string) => {
  const bytes = parseSize(text);
  if (bytes < from || bytes > to) throw new QuireError('EINVAL', `'${text}': expected ${range}`);
  return bytes;
};

const sizeOf = (allowed: readonly string[]) => (text: string) => {
  const bytes = parseSize(text);
  if (!allowed.some((a) => parseSize(a) === bytes))
    throw new QuireError('EINVAL', `'${text}': expected ${allowed.join(', ')}`);
  return bytes;
};

const word =
  <const W extends string>(...allowed: readonly W[]) =>
  (text: string): W => {
    const found = allowed.find((a) => a === text);
    if (found === undefined) throw new QuireError('EINVAL', `'${text}': expected ${allowed.join(', ')}`);
    return found;
  };

/**
 * `64k=always,2m=madvise,top=never` as the kernel names its files: `{ '64kB': 'always', '2048kB': 'madvise', top: 'never' }`;
 * other controls (`defrag=defer`, `khugepaged/pages_to_scan=4096`) by their file's name, for the machine to check; `off` is
 * `all=never`.
 */
function thpControls(text: string): Readonly<Record<string, string>> {
  const mode = word('always', 'inherit', 'madvise', 'never');
  const controls: Record<string, string> = {};
  for (const part of text.split(',')) {
    if (part === 'off') {
      controls.all = 'never';
      continue;
    }
    const [key = '', value = '', ...rest] = part.split('=');
    if (rest.length > 0 || value === '')
      throw new QuireError('EINVAL', `'${part}': expected SIZE=MODE, as in 64k=always`);
    if (/^[a-z_]+(\/[a-z_]+)?$/.test(key)) controls[key] = key === 'top' ? mode(value) : value;
    else controls[`${parseSize(key) / 1024}kB`] = mode(value);
  }
  return controls;
}

const SWAP_KINDS = ['ssd', 'disk', 'file', 'zram'] as const;

/** `512M,kind=zram`, `4G,zswap,ratio=2.5`. */
function swapSetting(text: string): SwapSetting {
  const [bytes = '', ...rest] = text.split(',');
  let swap: SwapSetting = { size: parseSize(bytes), kind: 'ssd', zswap: false, ratio: 3, data: false };
  for (const part of rest) {
    const [key, value = ''] = part.split('=');
    const ratio = /^\d{1,3}(\.\d{1,3})?$/.test(value) ? Number(value) : 0;
    if (key === 'kind') swap = { ...swap, kind: word(...SWAP_KINDS)(value) };
    else if (key === 'ratio' && ratio >= 1) swap = { ...swap, ratio };
    else if (part === 'zswap') swap = { ...swap, zswap: true };
    else if (part === 'data') swap = { ...swap, data: true };
    else throw new QuireError('EINVAL', `'${part}': expected kind=${SWAP_KINDS.join('|')}, zswap, ratio=N or data`);
  }
  return swap;
}

interface Setting<T> {
  readonly argument: string;
  readonly doc: string;
  readonly parse: (text: string) => T;
}
const setting = <T>(argument: string, doc: string, parse: (text: string) => T): Setting<T> => ({
  argument,
  doc,
  parse,
});

/** The settings of every replay, by the name of their flag. */
export const settings = {
  kernel: setting('release', `kernel whose rules hold: ${RELEASE_NAMES.join(', ')}`, (text) => release(text).name),
  'page-size': setting('size', 'base page: 4k, 16k or 64k', sizeOf(['4k', '16k', '64k'])),
  memory: setting('size', 'memory of the machine', size(2 ** 20, SIZE_MAX, '1M to 1024T')),
  memcg: setting('size', 'memory limit of the group; 0: none', parseSize),
  thp: setting('controls', 'huge page control by size: 64k=always,2m=madvise, all=always, off', thpControls),
  fs: setting(
    'name',
    'file system: xfs, ext4, ext2, btrfs, erofs, tmpfs',
    word('xfs', 'ext4', 'ext2', 'btrfs', 'erofs', 'tmpfs'),
  ),
  'block-size': setting(
    'size',
    'block of the file system: 512 to 64k',
    sizeOf(['512', '1k', '2k', '4k', '8k', '16k', '32k', '64k']),
  ),
  readahead: setting('size', 'read-ahead window of the device: 0 to 1G', size(0, 2 ** 30, '0 to 1G')),
  lru: setting(
    'name',
    'reclaim: classic, or mglru (by generations; not checked against a live kernel)',
    word('classic', 'mglru'),
  ),
  swappiness: setting('n', 'vm.swappiness: 0 to 200', (text) => parseWhole(text, 0, 200)),
  swap: setting(
    'size[,…]',
    'swap space: 0 or 64M, then kind=ssd|disk|file|zram, zswap, ratio=N (compression), data (stores are no zeros)',
    swapSetting,
  ),
  memmap: setting(
    'layout',
    'memory map: page64, overlay, page32 or memdesc8',
    word('page64', 'overlay', 'page32', 'memdesc8'),
  ),
  cpu: setting('name', 'CPU model whose TLB is counted', (text) => text),
} as const;
export type SettingName = keyof typeof settings;

type Camel<S extends string> = S extends `${infer A}-${infer B}` ? `${A}${Capitalize<B>}` : S;
/** What a user has set; what is absent is as the recording says. Sizes in bytes. */
export type Settings = { [N in SettingName as Camel<N>]?: ReturnType<(typeof settings)[N]['parse']> };

export const settingNames = Object.keys(settings) as readonly SettingName[];
const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** The value that `text` gives a setting, in one record: `{ blockSize: 4096 }`. The error names the setting. */
export function parseSetting(name: string, text: string): Settings {
  if (!Object.hasOwn(settings, name))
    throw new QuireError('EINVAL', `'${name}' is not a setting: expected one of ${settingNames.join(', ')}`);
  return { [camel(name)]: named(name, () => settings[name as SettingName].parse(text)) };
}

/** Adds a flag for each setting to a command. Read them with `settingsOf`. */
export function addSettings(command: CommandUnknownOpts): void {
  for (const name of settingNames) {
    const { argument, doc, parse } = settings[name];
    command.option(`--${name} <${argument}>`, doc, (text) => named(`--${name}`, () => parse(text)));
  }
}

/** The settings among a command's options. */
export function settingsOf(options: object): Settings {
  const given = options as Readonly<Record<string, unknown>>;
  const keys = settingNames.map(camel).filter((key) => given[key] !== undefined);
  return Object.fromEntries(keys.map((key) => [key, given[key]]));
}

/** Ends a command's `--help`. Every command has one. */
export function addExample(command: CommandUnknownOpts, ...lines: readonly string[]): void {
  command.addHelpText('after', `\nExample:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}

function named<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof QuireError) throw new QuireError(error.code, `${name}: ${error.message}`, { cause: error });
    throw error;
  }
}
