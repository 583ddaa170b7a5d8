/** Where a recording's bytes come from: a file, read in pieces of any size, or memory (tests). */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { InputError } from '../base/errors.ts';

export interface Bytes {
  /** As the user named it, for messages. */
  readonly path: string;
  /** Without folders. */
  readonly name: string;
  readonly size: number;
  /** Copies bytes from `at` on into `into`, as many as fit or as there are; 0 at the end. */
  read(into: Uint8Array, at: number): number;
  close(): void;
}

class FileBytes implements Bytes {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  private fd: number;

  constructor(path: string) {
    this.path = path;
    this.name = basename(path);
    try {
      this.fd = openSync(path, 'r');
    } catch (error) {
      throw cannotRead(path, error);
    }
    const stat = fstatSync(this.fd);
    this.size = stat.size;
    if (!stat.isFile()) {
      this.close();
      throw new InputError(path, 0, `${stat.isDirectory() ? 'a folder' : 'not a file'}, expected a recording`);
    }
  }

  read(into: Uint8Array, at: number): number {
    try {
      return readSync(this.fd, into, 0, into.length, at);
    } catch (error) {
      throw cannotRead(this.path, error);
    }
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }
}

class MemoryBytes implements Bytes {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  private readonly data: Uint8Array;

  constructor(name: string, data: Uint8Array) {
    this.path = name;
    this.name = basename(name);
    this.size = data.length;
    this.data = data;
  }

  read(into: Uint8Array, at: number): number {
    const part = this.data.subarray(at, at + into.length);
    into.set(part);
    return part.length;
  }

  close(): void {}
}

/** A recording's file. InputError when it is missing, not a file, or may not be read. */
export const fileBytes = (path: string): Bytes => new FileBytes(path);

/** Bytes at hand, under a name for messages. */
export const memoryBytes = (name: string, data: Uint8Array | string): Bytes =>
  new MemoryBytes(name, typeof data === 'string' ? new TextEncoder().encode(data) : data);

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file, expected a recording',
  ENOTDIR: 'no such file, expected a recording',
  EACCES: 'may not be read, expected a recording',
  EISDIR: 'a folder, expected a recording',
};

function cannotRead(path: string, error: unknown): InputError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return new InputError(path, 0, reasons[code] ?? `cannot be read: ${message}`, { cause: error });
}

/** Foreign bytes in a message: printable, quoted, and short. */
export function quoted(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return plain.length > 60 ? `"${plain.slice(0, 60)}…"` : `"${plain}"`;
}
