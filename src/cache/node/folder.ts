/** A folder of local files, for the SQLite adapters. */
import * as fs from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import type { Folder } from '../adapters/sqlite_files.ts';
import { CacheError } from '../errors.ts';
import { sourceError } from '../sources/checks.ts';
import { fileSource, syncFolder } from './file.ts';

/** Files under `root`, by their path from there. A name that leads out of it is an error. */
export function fileFolder(root: string): Folder {
  function pathOf(name: string): string {
    const path = resolve(root, name);
    const inside = relative(root, path);
    if (inside === '' || inside.startsWith('..') || isAbsolute(inside)) {
      throw new CacheError('SOURCE', `${name}: not a file in ${root}`, { source: name });
    }
    return path;
  }
  function writable(path: string): boolean {
    try {
      fs.accessSync(path, fs.constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }
  return {
    open(name, create) {
      const path = pathOf(name);
      if (!fs.existsSync(path)) return create ? fileSource(path, { create: true }) : undefined;
      return fileSource(path, { write: writable(path) });
    },
    has: (name) => fs.existsSync(pathOf(name)),
    remove(name, durable) {
      const path = pathOf(name);
      try {
        fs.unlinkSync(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
        throw sourceError(path, error);
      }
      if (durable) syncFolder(path);
      return true;
    },
  };
}
