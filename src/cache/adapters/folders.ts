/** Folders for SQLite that need no disk; `fileFolder` for local files is in `quire-mm/cache/node`. */

import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';
import { type MemorySource, memorySource } from '../sources/memory.ts';
import { type OpfsHandle, opfsSource } from '../sources/opfs.ts';
import type { Folder } from './sqlite_files.ts';

export interface MemoryFolder extends Folder {
  /** What the file holds now. */
  bytes(name: string): Uint8Array | undefined;
}

/** Files in memory, with `files` at first: they live as long as the folder. */
export function memoryFolder(files: Readonly<Record<string, Uint8Array>> = {}): MemoryFolder {
  const sources = new Map<string, MemorySource>();
  for (const [name, bytes] of Object.entries(files)) sources.set(name, memorySource(bytes, { name }));
  return {
    open(name, create) {
      const there = sources.get(name);
      if (there !== undefined || !create) return there;
      const made = memorySource(0, { name });
      sources.set(name, made);
      return made;
    },
    has: (name) => sources.has(name),
    remove: (name) => sources.delete(name),
    bytes: (name) => sources.get(name)?.bytes(),
  };
}

/**
 * Databases that are somewhere already, each opened by its own function: one behind HTTP, a Blob. There are no others:
 * SQLite can make no file here, so temporary ones must be kept in memory (`PRAGMA temp_store = MEMORY`).
 */
export function fixedFolder(files: Readonly<Record<string, () => Source>>): Folder {
  const has = (name: string): boolean => Object.hasOwn(files, name);
  return { open: (name) => (has(name) ? files[name]?.() : undefined), has, remove: () => false };
}

/** What is used of `FileSystemDirectoryHandle`. */
export interface OpfsDirectory {
  getFileHandle(name: string, options: { create: boolean }): Promise<OpfsHandle>;
}

export interface OpfsFolder extends Folder {
  /** Lets go of the files, which nobody else can open before. Close the databases first. */
  close(): Promise<void>;
}

/**
 * Databases of these names in a directory of the browser's private file system, in a dedicated worker. Opening is
 * asynchronous there and SQLite's calls are not, so each file, its journal and its log is opened now and kept open; one of no
 * bytes counts as not there. Temporary files are in memory.
 */
export async function opfsFolder(directory: OpfsDirectory, databases: readonly string[]): Promise<OpfsFolder> {
  const files = new Map<string, { readonly source: Source; readonly size: () => number; readonly inner: Source }>();
  for (const name of databases.flatMap((db) => [db, `${db}-journal`, `${db}-wal`])) {
    const inner = opfsSource(await directory.getFileHandle(name, { create: true }), { write: true });
    files.set(name, await keptOpen(inner));
  }
  const temporary = memoryFolder();
  return {
    open(name, create) {
      const file = files.get(name);
      if (file === undefined) return temporary.open(name, create);
      return create || file.size() > 0 ? file.source : undefined;
    },
    has(name) {
      const file = files.get(name);
      return file === undefined ? temporary.has(name) : file.size() > 0;
    },
    remove(name, durable) {
      const file = files.get(name);
      if (file === undefined) return temporary.remove(name, durable);
      const was = file.size() > 0;
      file.source.truncateSync?.(0);
      if (durable) file.source.syncSync?.();
      return was;
    },
    async close() {
      for (const { inner } of files.values()) await inner.close?.();
    },
  };
}

/** A source that is open already, and stays so when the cache closes it. */
async function keptOpen(inner: Source) {
  let { size } = await inner.open();
  const { readSync, readvSync, writeSync, writevSync, truncateSync, syncSync } = inner;
  if (!readSync || !readvSync || !writeSync || !writevSync || !truncateSync || !syncSync) {
    await inner.close?.();
    throw new CacheError('SOURCE', `${inner.name}: needs a dedicated worker`, { source: inner.name });
  }
  const grow = (to: number): void => {
    size = Math.max(size, to);
  };
  const source: Source = {
    name: inner.name,
    ...(inner.hints && { hints: inner.hints }),
    openSync: () => ({ size }),
    open: async () => ({ size }),
    read: (into, at, signal) => inner.read(into, at, signal),
    readSync,
    readvSync,
    writeSync(from, at) {
      writeSync(from, at);
      grow(at + from.length);
    },
    writevSync(pieces, at) {
      writevSync(pieces, at);
      grow(at + pieces.reduce((sum, piece) => sum + piece.length, 0));
    },
    truncateSync(to) {
      truncateSync(to);
      size = to;
    },
    syncSync,
  };
  return { source, inner, size: () => size };
}
