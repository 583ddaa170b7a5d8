/**
 * Every regular file below some directories, once. Nothing is kept but the names of one directory, the directories still to
 * be read and the hard links whose other names may still come.
 *
 * Conventions, as find -xdev and du have them: symbolic links are not followed, unless a DIR itself is one; other file
 * systems mounted below a DIR are not entered; a file with several names counts at the first; a DIR inside another DIR
 * counts once. What could not be read is counted, and the first few are named.
 *
 * File names are bytes, not text. Paths here are strings of one character a byte (latin1), which keep every name exactly.
 */
import { type BigIntStats, constants, lstatSync, readdirSync, type Stats, statSync } from 'node:fs';
import { QuireError } from '../base/errors.ts';

/** A path as node:fs takes it. */
export type Path = string | Buffer;

/** A count and the names of the first few. */
export interface Named {
  count: number;
  readonly names: string[];
}

export interface Walked {
  files: number;
  /** Those that could be read. */
  directories: number;
  symbolicLinks: number;
  /** Devices, sockets and pipes. */
  specials: number;
  /** Further names of files that were counted already, and the bytes that counting them again would add. */
  hardLinks: { names: number; bytes: number };
  /** Files with fewer blocks than bytes (holes, compression, data kept in the inode), and the bytes that have no block. */
  sparse: { files: number; bytes: number };
  /** Directories that could not be read. */
  unreadable: Named;
  /** Entries of which not even the size could be read. */
  unknown: Named;
  /** Mount points that were not entered. */
  mounts: Named;
}

const NAMES_MAX = 5;
const BLOCK_BYTES = 512;

/** Calls `file` for every file. `dirs` are paths as the user wrote them; one that cannot be read is an error. */
export function walk(dirs: readonly string[], file: (path: Path, stats: Stats) => void): Walked {
  const named = (): Named => ({ count: 0, names: [] });
  const seen: Walked = {
    files: 0,
    directories: 0,
    symbolicLinks: 0,
    specials: 0,
    hardLinks: { names: 0, bytes: 0 },
    sparse: { files: 0, bytes: 0 },
    unreadable: named(),
    unknown: named(),
    mounts: named(),
  };
  const roots = new Map<string, { path: string; stats: BigIntStats }>();
  for (const dir of dirs) {
    const root = { path: Buffer.from(dir).toString('latin1'), stats: rootStats(dir) };
    const key = identity(root.stats);
    if (!roots.has(key)) roots.set(key, root);
  }
  const rootInodes = new Set([...roots.values()].map((root) => Number(root.stats.ino)));
  const isRoot = (path: string, stats: Stats) =>
    rootInodes.has(stats.ino) && roots.has(identity(lstatSync(hostPath(path), { bigint: true })));
  /** Names still to come, by file. */
  const linked = new Map<string, number>();

  const visit = (path: string, device: number, pending: string[]): void => {
    const host = hostPath(path);
    let stats: Stats | undefined;
    try {
      stats = lstatSync(host, { throwIfNoEntry: false });
      if (stats === undefined) return; // Removed since its directory was read.
      switch (stats.mode & constants.S_IFMT) {
        case constants.S_IFREG:
          if (stats.nlink > 1 && !firstName(host, linked)) {
            seen.hardLinks.names++;
            seen.hardLinks.bytes += stats.size;
            return;
          }
          break;
        case constants.S_IFDIR:
          if (isRoot(path, stats)) return; // Has its own turn.
          if (stats.dev === device) pending.push(path);
          else note(seen.mounts, path);
          return;
        case constants.S_IFLNK:
          seen.symbolicLinks++;
          return;
        default:
          seen.specials++;
          return;
      }
    } catch {
      note(seen.unknown, path);
      return;
    }
    const unbacked = stats.size - stats.blocks * BLOCK_BYTES;
    if (unbacked > 0) {
      seen.sparse.files++;
      seen.sparse.bytes += unbacked;
    }
    seen.files++;
    file(host, stats);
  };

  for (const root of roots.values()) {
    const device = Number(root.stats.dev);
    const pending = [root.path];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      let names: string[];
      try {
        // Names only, which are cheap: what an entry is must be asked with its size anyway.
        names = readdirSync(hostPath(path), 'latin1');
      } catch (error) {
        if (!isSystemError(error)) throw error;
        if (path === root.path) throw rootError(text(path), error);
        if (error.code !== 'ENOENT') note(seen.unreadable, path);
        continue;
      }
      seen.directories++;
      const below = path.endsWith('/') ? path : `${path}/`;
      for (const name of names) visit(below + name, device, pending);
    }
  }
  return seen;
}

/** Is this the first name of a file with several? */
function firstName(path: Path, linked: Map<string, number>): boolean {
  const stats = lstatSync(path, { bigint: true });
  const key = identity(stats);
  const left = linked.get(key);
  if (left === undefined) linked.set(key, Number(stats.nlink) - 1);
  else if (left > 1) linked.set(key, left - 1);
  else linked.delete(key);
  return left === undefined;
}

/** Inode numbers can exceed 2^53, where plain numbers run together. */
const identity = (stats: BigIntStats): string => `${stats.dev}:${stats.ino}`;

function rootStats(dir: string): BigIntStats {
  let stats: BigIntStats;
  try {
    stats = statSync(dir, { bigint: true });
  } catch (error) {
    throw isSystemError(error) ? rootError(dir, error) : error;
  }
  if (!stats.isDirectory()) throw new QuireError('EINVAL', `${dir}: not a directory`);
  return stats;
}

function rootError(dir: string, error: NodeJS.ErrnoException): QuireError {
  const why: Readonly<Record<string, string>> = {
    ENOENT: 'no such directory',
    ENOTDIR: 'no such directory',
    EACCES: 'permission denied',
    ELOOP: 'symbolic links go in a circle',
  };
  const code = error.code ?? '';
  return new QuireError('EINVAL', `${dir === '' ? "''" : dir}: ${why[code] ?? `cannot be read (${code})`}`, {
    cause: error,
  });
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'code' in error;

function note(named: Named, path: string): void {
  if (named.names.length < NAMES_MAX) named.names.push(text(path));
  named.count++;
}

const text = (path: string): string => Buffer.from(path, 'latin1').toString();

const plain = /^[\0-\x7f]*$/;
const hostPath = (path: string): Path => (plain.test(path) ? path : Buffer.from(path, 'latin1'));
