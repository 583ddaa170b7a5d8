/** Folders for SQLite that need no disk; `fileFolder` for local files is in `quire-mm/cache/node`. */

import type { Source } from '../source.ts';
import { type MemorySource, memorySource } from '../sources/memory.ts';
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
