/**
 * The files of an strace log, and what the log lets one know of them. A log names files by path, and tells a size only now
 * and then; the question is always how large a file was when the log began. It is what fstat said before the first
 * change; else the farthest byte that was read and that no logged write had put there.
 */
import { BYTES_MAX } from './ops_shape.ts';

export class TracedFile {
  path: string;
  /** Number in the script, from 1; 0 as long as nothing was done to it. */
  id = 0;
  /** Bytes when the log began, as far as is known. */
  initial = 0;
  /** Bytes now. */
  size = 0;
  /** The log has said how large it was. */
  known = false;
  /** It was written to, or its size was set. */
  changed = false;
  /** Nothing that was there when the log began is left: made by the log's programs, or cut. */
  fresh = false;
  /** The first open in the script says that it makes the file. */
  created = false;
  links = 1;
  /** Open descriptions and mappings. */
  users = 0;

  constructor(path: string) {
    this.path = path;
  }

  /** A call said that it has `bytes` now. */
  hasSize(bytes: number): void {
    if (!(bytes >= 0 && bytes <= BYTES_MAX)) return;
    if (this.changed) {
      this.reaches(bytes);
      return;
    }
    this.initial = this.id > 0 ? Math.max(this.initial, bytes) : bytes;
    this.size = this.initial;
    this.known = true;
  }

  /** Data was found up to `end`. False when it can be neither from before the log nor from a logged write. */
  reaches(end: number): boolean {
    if (end <= this.size) return true;
    if (this.fresh || end > BYTES_MAX) return false;
    this.initial = end;
    this.size = end;
    return true;
  }

  wrote(end: number): void {
    this.changed = true;
    if (end > this.size) this.size = end;
  }

  cutTo(bytes: number): void {
    this.changed = true;
    if (bytes < this.size || bytes === 0) this.fresh = true;
    this.size = bytes;
  }

  /** Made by a logged call, empty. */
  made(): void {
    this.known = true;
    this.fresh = true;
    // A script has the file already when it stood for another one of this name, which is gone.
    this.created = this.id === 0;
  }
}

/** Files by path. A path is a string of bytes, one character each. */
export class PathTable {
  private readonly files = new Map<string, TracedFile>();
  /** Every folder that ever had one of the files somewhere below it. */
  private readonly folders = new Set<string>();
  /** Files that are gone, by their last path. A new file there takes the place of the old one, which a script has emptied. */
  private readonly gone = new Map<string, TracedFile>();

  get(path: string): TracedFile | undefined {
    return this.files.get(path);
  }

  /** The file at `path`, or a new one. */
  at(path: string): TracedFile {
    return this.files.get(path) ?? this.put(path, new TracedFile(path));
  }

  put(path: string, file: TracedFile): TracedFile {
    this.files.set(path, file);
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const folder = path.slice(0, end);
      if (this.folders.has(folder)) break;
      this.folders.add(folder);
    }
    return file;
  }

  /** A new file at `path`. */
  make(path: string): TracedFile {
    const file = this.gone.get(path) ?? new TracedFile(path);
    this.gone.delete(path);
    file.links = 1;
    return this.put(path, file);
  }

  discarded(file: TracedFile): void {
    this.gone.set(file.path, file);
  }

  /** Takes a name away. Gives the file that had it when that was its last name. */
  remove(path: string): TracedFile | null {
    const file = this.files.get(path);
    if (file === undefined) return null;
    this.files.delete(path);
    file.links--;
    return file.links === 0 ? file : null;
  }

  link(from: string, to: string): void {
    const file = this.at(from);
    file.links++;
    this.put(to, file);
  }

  /** Moves a name, or every name below it when it is a folder's. Gives the file that was there and now has no name. */
  rename(from: string, to: string): TracedFile | null {
    const file = this.files.get(from);
    if (file === undefined) {
      if (this.folders.has(from)) this.moveFolder(from, to);
      return this.remove(to);
    }
    if (file === this.files.get(to)) return null;
    const gone = this.remove(to);
    this.files.delete(from);
    file.path = to;
    this.put(to, file);
    return gone;
  }

  private moveFolder(from: string, to: string): void {
    for (const [path, file] of [...this.files]) {
      if (!path.startsWith(`${from}/`)) continue;
      this.files.delete(path);
      file.path = to + path.slice(from.length);
      this.put(file.path, file);
    }
  }

  exchange(a: string, b: string): void {
    const [first, second] = [this.at(a), this.at(b)];
    first.path = b;
    second.path = a;
    this.files.set(b, first);
    this.files.set(a, second);
  }
}

/** Why what a path or an annotation names is no regular file ('/dev', 'pipe', …); '' when it is one, as far as a name tells. */
export function notRegular(path: string): string {
  if (!path.startsWith('/')) {
    const word = /^[A-Za-z_]+/.exec(path)?.[0] ?? 'handle without a name';
    return /^(?:TCP|UDP|UNIX|NETLINK|RAW)/.test(word) ? 'socket' : word;
  }
  const folder = /^\/(?:dev|proc|sys)(?=\/|$)/.exec(path)?.[0];
  if (folder !== undefined) return folder;
  if (path.startsWith('/memfd:')) return 'memfd';
  return /^\/(?:SYSV|anon_hugepage|\[)/.test(path) ? 'shared memory' : '';
}

/** Gives plain names, each once, to files that scripts keep in one folder: the last two parts of the path. */
export class PlainNames {
  /** How often each name was asked for. */
  private readonly used = new Map<string, number>();

  nameFor(path: string): string {
    const parts = path.split('/').filter((part) => part !== '');
    const plain = parts
      .slice(-2)
      .join('_')
      .replace(/[^A-Za-z0-9._+-]+/g, '_')
      .replace(/^\.+/, '')
      .slice(-100);
    const name = plain === '' ? 'file' : plain;
    for (;;) {
      const times = (this.used.get(name) ?? 0) + 1;
      this.used.set(name, times);
      const unique = times === 1 ? name : `${name}-${times}`;
      if (times === 1) return unique;
      if (!this.used.has(unique)) {
        this.used.set(unique, 1);
        return unique;
      }
    }
  }
}
