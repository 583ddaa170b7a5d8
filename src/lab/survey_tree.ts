/** One kernel tree: which files are read, what belongs where, and what its headers say of flags, types and methods. */
import { type Dirent, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, QuireError } from '../base/errors.ts';
import { isClose, isOpen, tokens } from './survey_lex.ts';
import { type Deferred, FOLIO, PAGE, type Scanned, scan, type TreeTypes } from './survey_scan.ts';
import { type Figures, left, noFigures, pageApi } from './survey_words.ts';

/** What a method of address_space_operations is handed: a page, a folio, or neither of them. */
export type MethodType = 'page' | 'folio' | 'neither';

export interface FileUse {
  readonly path: string;
  readonly figures: Figures;
}

export interface OperationsUse {
  readonly path: string;
  readonly name: string;
  readonly filesystem: string;
  readonly methods: Readonly<Record<string, string>>;
}

export interface PageFlag {
  readonly name: string;
  /** The flag whose bit it shares. */
  readonly alias: string | null;
  /** There only under a condition of the configuration. */
  readonly conditional: boolean;
}

export interface TreeSurvey {
  readonly tree: string;
  readonly version: string;
  /** C files and headers of the kernel itself, and those of them that speak of pages or folios. */
  readonly files: { readonly seen: number; readonly scanned: number; readonly unreadable: number };
  readonly total: Figures & { left: number };
  /** Files with any figure that is not 0, by path. */
  readonly uses: readonly FileUse[];
  /** Calls by name of function. */
  readonly pageApi: Readonly<Record<string, number>>;
  readonly operations: readonly OperationsUse[];
  readonly methods: Readonly<Record<string, MethodType>>;
  /** Calls that allow large folios, by file system: name of function and count. */
  readonly largeFolios: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly pageFlags: readonly PageFlag[];
  readonly pageTypes: readonly string[];
}

/** Programs, texts and packaging beside the kernel: what they call a page is not the kernel's. */
const besides = new Set(['Documentation', 'debian', 'scripts', 'tools', 'usr']);
const FILE_BYTES_MAX = 2 ** 26;

export function surveyTree(tree: string, onProgress: (files: number) => void = () => {}): TreeSurvey {
  const version = kernelVersion(tree);
  const types: TreeTypes = new Map();
  const seen = { seen: 0, scanned: 0, unreadable: 0 };
  const uses: FileUse[] = [];
  const waiting: { figures: Figures; deferred: Deferred[] }[] = [];
  const calls = new Map<string, number>();
  const operations: OperationsUse[] = [];
  const large = new Map<string, Map<string, number>>();

  const take = (path: string, scanned: Scanned): void => {
    uses.push({ path, figures: scanned.figures });
    if (scanned.deferred.length > 0) waiting.push(scanned);
    const filesystem = filesystemOf(path) ?? subsystemOf(path);
    for (const { name, methods } of scanned.operations)
      operations.push({ path, name, filesystem, methods: Object.fromEntries(methods) });
    for (const [name, n] of scanned.calls) {
      if (pageApi.has(name)) calls.set(name, (calls.get(name) ?? 0) + n);
      else if (path !== 'include/linux/pagemap.h') {
        const of = large.get(filesystem) ?? new Map<string, number>();
        of.set(name, (of.get(name) ?? 0) + n);
        large.set(filesystem, of);
      }
    }
  };
  const visit = (path: string): void => {
    let entries: Dirent[];
    try {
      entries = readdirSync(join(tree, path), { withFileTypes: true });
    } catch {
      seen.unreadable++;
      return;
    }
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!entry.name.startsWith('.') && !(path === '' && besides.has(entry.name))) visit(below);
      } else if (entry.isFile() && /\.[ch]$/.test(entry.name)) {
        seen.seen++;
        const source = pageSource(join(tree, below));
        if (source === null) seen.unreadable++;
        else if (source !== '') {
          seen.scanned++;
          take(below, scan(source, types));
        }
        if (seen.seen % 256 === 0) onProgress(seen.seen);
      }
    }
  };
  visit('');
  for (const { figures, deferred } of waiting) settle(figures, deferred, types);

  const used = uses.filter(({ figures }) => Object.values(figures).some((n) => n > 0));
  const total = sumOf(used.map((u) => u.figures));
  const flagTokens = tokens(header(tree, 'include/linux/page-flags.h'));
  return {
    tree,
    version,
    files: seen,
    total: { left: left(total), ...total },
    uses: used,
    pageApi: Object.fromEntries([...calls].toSorted(byCount)),
    operations,
    methods: methodTypes(tokens(header(tree, 'include/linux/fs.h'))),
    largeFolios: Object.fromEntries(
      [...large].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([fs, of]) => [fs, Object.fromEntries(of)]),
    ),
    pageFlags: pageFlags(flagTokens),
    pageTypes: pageTypes(flagTokens),
  };
}

const byCount = ([a, n]: readonly [string, number], [b, o]: readonly [string, number]): number =>
  o - n || (a < b ? -1 : 1);

export function sumOf(all: readonly Figures[]): Figures {
  const sum = noFigures();
  for (const figures of all) for (const [name, n] of Object.entries(figures)) sum[name as keyof Figures] += n;
  return sum;
}

/** A leaving field behind a name counts when all declarations of the name agree, and is unsure when they do not. */
function settle(figures: Figures, deferred: readonly Deferred[], types: TreeTypes): void {
  for (const { behind, of, field } of deferred) {
    const kind = (of === null ? undefined : types.get(of)) ?? types.get(behind) ?? 0;
    if (kind === PAGE) figures[field]++;
    else if (kind === FOLIO) figures.folioFields++;
    else if ((kind & PAGE) !== 0) figures.unsure++;
  }
}

/** The text of a file that may speak of pages; '' of others; null where it cannot be read. */
function pageSource(path: string): string | null {
  let bytes: Buffer;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) return null;
    bytes = readFileSync(path);
  } catch {
    return null;
  }
  return bytes.includes('page') || bytes.includes('folio') || bytes.includes('Page') ? bytes.toString('latin1') : '';
}

function header(tree: string, path: string): string {
  try {
    return readFileSync(join(tree, path), 'latin1');
  } catch (error) {
    throw new InputError(tree, 0, `not a Linux source tree: ${path} is missing`, { cause: error });
  }
}

/** `6.12.117` of the tree's Makefile. */
function kernelVersion(tree: string): string {
  const stats = statSync(tree, { throwIfNoEntry: false });
  if (stats === undefined) throw new QuireError('ENOENT', `${tree === '' ? "''" : tree}: no such directory`);
  if (!stats.isDirectory()) {
    const unpack = /\.t(ar\.)?(xz|gz|bz2|zst)$/.test(tree) ? `: unpack it first (tar xf ${tree})` : '';
    throw new InputError(tree, 0, `not a directory${unpack}`);
  }
  const makefile = header(tree, 'Makefile');
  const word = (name: string) => new RegExp(`^${name} = *(\\d+)$`, 'm').exec(makefile)?.[1];
  const [major, minor, patch] = ['VERSION', 'PATCHLEVEL', 'SUBLEVEL'].map(word);
  if (major === undefined || minor === undefined)
    throw new InputError(tree, 0, 'not a Linux source tree: its Makefile names no version');
  for (const path of ['include/linux/mm_types.h', 'include/linux/page-flags.h', 'include/linux/fs.h'])
    header(tree, path);
  return patch === undefined || patch === '0' ? `${major}.${minor}` : `${major}.${minor}.${patch}`;
}

/** `mm`, `fs`, `drivers/net`, `arch/x86`, `include`. */
export function subsystemOf(path: string): string {
  const [first = '', second = '', third] = path.split('/');
  const two = (first === 'drivers' || first === 'arch' || first === 'sound') && third !== undefined;
  return two ? `${first}/${second}` : second === '' ? '(top)' : first;
}

/** Places that were renamed go by one name, so that a trend can follow them. */
const renamed: Readonly<Record<string, string>> = {
  'fs/cifs': 'smb client',
  'fs/smb/client': 'smb client',
  'fs/ksmbd': 'smb server',
  'fs/smb/server': 'smb server',
  'fs/cifs_common': 'smb common',
  'fs/smbfs_common': 'smb common',
  'fs/smb/common': 'smb common',
  'mm/shmem.c': 'tmpfs',
};

/** `ext4`, `tmpfs`; `vfs` for what lies in fs/ itself; null for what is of no file system. */
export function filesystemOf(path: string): string | null {
  const [first, second, third, fourth] = path.split('/');
  if (path === 'mm/shmem.c') return 'tmpfs';
  if (first !== 'fs' || second === undefined) return null;
  if (third === undefined) return 'vfs';
  const deep = fourth === undefined ? undefined : renamed[`fs/${second}/${third}`];
  return deep ?? renamed[`fs/${second}`] ?? second;
}

/** Each method of struct address_space_operations, and whether its parameters name a page or a folio. */
function methodTypes(t: readonly string[]): Record<string, MethodType> {
  const methods: Record<string, MethodType> = {};
  let i = t.findIndex(
    (token, n) => token === 'struct' && t[n + 1] === 'address_space_operations' && isOpen(t[n + 2] ?? ''),
  );
  if (i < 0) return methods;
  for (i += 3; i < t.length && !isClose(t[i]!); i++) {
    if (t[i] !== '(' || t[i + 1] !== '*' || t[i + 3] !== ')') continue;
    let type: MethodType = 'neither';
    const name = t[i + 2];
    for (i += 4; i < t.length && t[i] !== ';'; i++) {
      if (t[i] !== 'struct') continue;
      if (t[i + 1] === 'folio') type = 'folio';
      else if (t[i + 1] === 'page') type = 'page';
    }
    methods[name!] = type;
  }
  return methods;
}

/** The entries of enum pageflags, in order. */
function pageFlags(t: readonly string[]): PageFlag[] {
  const flags: PageFlag[] = [];
  let conditions = 0;
  for (let i = enumAt(t, 'pageflags'); i >= 0 && i < t.length && !isClose(t[i]!); i++) {
    const name = t[i];
    if (name === '\n#') {
      const word = t[i + 1];
      if (word!.startsWith('if')) conditions++;
      else if (word === 'endif') conditions--;
      while (i < t.length && t[i] !== '\n') i++;
    } else if (name!.startsWith('PG_')) {
      const alias = t[i + 1] === '=' ? t[i + 2] : null;
      flags.push({ name: name!, alias: alias!, conditional: conditions > 0 });
      if (alias !== null) i += 2;
    }
  }
  return flags;
}

/** Names of page types without their prefix: an enum since 6.11, before that macros with a value. */
function pageTypes(t: readonly string[]): string[] {
  const types: string[] = [];
  for (let i = enumAt(t, 'pagetype'); i >= 0 && i < t.length && !isClose(t[i]!); i++) {
    const name = /^(?:PGTY|PG)_(\w+)$/.exec(t[i]!)?.[1];
    if (name !== undefined && name !== 'mapcount_underflow') types.push(name);
  }
  for (let i = 0; i + 4 < t.length; i++) {
    const name = t[i] === '\n#' && t[i + 1] === 'define' ? /^PG_(\w+)$/.exec(t[i + 2]!)?.[1] : undefined;
    if (name !== undefined && t[i + 3] === '0' && t[i + 4] === '\n' && !types.includes(name)) types.push(name);
  }
  return types;
}

/** Behind the brace of `enum NAME {`, or -1. */
function enumAt(t: readonly string[], name: string): number {
  const at = t.findIndex((token, i) => token === 'enum' && t[i + 1] === name && isOpen(t[i + 2] ?? ''));
  return at < 0 ? -1 : at + 3;
}
