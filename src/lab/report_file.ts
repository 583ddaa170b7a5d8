/** Writes a file whole or not at all: under a name beside it first, which then takes the file's place. */
import { accessSync, constants, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { QuireError } from '../base/errors.ts';

/** Throws where `writeWhole` would, as far as that can be known before the work is done. */
export function mayWrite(path: string): void {
  accessSync(dirname(path), constants.W_OK);
  const there = statSync(path, { throwIfNoEntry: false });
  if (there && !there.isFile()) throw new QuireError('EEXIST', `${path}: is there and is no file`);
}

export function writeWhole(path: string, text: string): void {
  const beside = `${path}.${process.pid}.part`;
  try {
    writeFileSync(beside, text, { flag: 'wx' });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
