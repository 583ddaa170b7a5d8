/**
 * A local file. Reads and writes are positioned system calls, so nothing is shared between requests; the synchronous ones
 * let a miss be answered without a promise, the others run in Node's thread pool.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { CacheError } from '../errors.ts';
import type { Source } from '../source.ts';
import { aborted, checkSignal, sourceError } from '../sources/checks.ts';
import { cut, cutAt, lengthOf } from '../sources/pieces.ts';

export interface FileOptions {
  /** The file may be written. Default false. */
  readonly write?: boolean;
  /** It is made when it is not there; implies `write`. Default false. */
  readonly create?: boolean;
}

/** Node refuses longer ones. */
const CALL_MAX = 0x7fff_f000;
/**
 * Linux keeps what is written by one call in folios as large as the call. ext4 looks at each block of a folio when a part of it
 * is written later, so that small writes into one of 1 MiB cost several times as much; and from 256 KiB on the first write is
 * slower too.
 */
const WRITE_BYTES = 65536;
const IOV_MAX = 1024;

const read = promisify(fs.read);
const write = promisify(fs.write);
const readv = promisify(fs.readv);
const writev = promisify(fs.writev);
const ftruncate = promisify(fs.ftruncate);
const fsync = promisify(fs.fsync);
const close = promisify(fs.close);

export function fileSource(path: string, options: FileOptions = {}): Source {
  const create = options.create === true;
  const writable = create || options.write === true;
  let fd = -1;
  /** A new file's name is durable only when its folder is. */
  let made = false;

  const fail = (error: unknown, at?: number): CacheError =>
    error instanceof CacheError ? error : sourceError(path, error, at);
  const opened = (): number => {
    if (fd < 0) throw new CacheError('CLOSED', `${path}: the file is not open`, { source: path });
    return fd;
  };
  const openSync = (): { size: number } => {
    try {
      fd = openFd();
      const stat = fs.fstatSync(fd);
      if (!stat.isFile()) throw new CacheError('SOURCE', `${path}: not a regular file`, { source: path });
      return { size: stat.size };
    } catch (error) {
      if (fd >= 0) fs.closeSync(fd);
      fd = -1;
      throw fail(error);
    }
  };
  const openFd = (): number => {
    if (!create) return fs.openSync(path, writable ? 'r+' : 'r');
    try {
      const made_ = fs.openSync(path, 'wx+');
      made = true;
      return made_;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return fs.openSync(path, 'r+');
    }
  };
  const readSync = (into: Uint8Array, at: number): number => {
    const from = opened();
    let got = 0;
    try {
      while (got < into.length) {
        const n = fs.readSync(from, into, got, Math.min(into.length - got, CALL_MAX), at + got);
        if (n === 0) break;
        got += n;
      }
    } catch (error) {
      throw fail(error, at + got);
    }
    return got;
  };
  const source: Source = {
    name: path,
    hints: { latencyMs: 0.1, bytesPerSecond: 1e9, parallel: 4 },
    openSync,
    async open(signal) {
      checkSignal(path, signal);
      return openSync();
    },
    readSync,
    async read(into, at, signal) {
      checkSignal(path, signal, at);
      const from = opened();
      let got = 0;
      try {
        while (got < into.length) {
          const { bytesRead } = await read(from, into, got, Math.min(into.length - got, CALL_MAX), at + got);
          if (signal?.aborted) throw aborted(path, signal, at);
          if (bytesRead === 0) break;
          got += bytesRead;
        }
      } catch (error) {
        throw fail(error, at + got);
      }
      return got;
    },
    readvSync(pieces, at) {
      const from = opened();
      const wanted = lengthOf(pieces);
      let got = 0;
      try {
        while (got < wanted) {
          const n = fs.readvSync(from, got === 0 ? pieces : cut(pieces, got, wanted), at + got);
          if (n === 0) break;
          got += n;
        }
      } catch (error) {
        throw fail(error, at + got);
      }
      return got;
    },
    async readv(pieces, at, signal) {
      checkSignal(path, signal, at);
      const from = opened();
      const wanted = lengthOf(pieces);
      let got = 0;
      try {
        while (got < wanted) {
          const { bytesRead } = await readv(from, got === 0 ? pieces : cut(pieces, got, wanted), at + got);
          if (signal?.aborted) throw aborted(path, signal, at);
          if (bytesRead === 0) break;
          got += bytesRead;
        }
      } catch (error) {
        throw fail(error, at + got);
      }
      return got;
    },
    async close() {
      const open = fd;
      fd = -1;
      if (open >= 0) await close(open);
    },
    closeSync() {
      const open = fd;
      fd = -1;
      if (open >= 0) fs.closeSync(open);
    },
  };
  if (!writable) return source;

  return {
    ...source,
    writeSync(from, at) {
      const to = opened();
      let put = 0;
      try {
        while (put < from.length)
          put += fs.writeSync(to, from, put, Math.min(from.length - put, WRITE_BYTES), at + put);
      } catch (error) {
        throw fail(error, at + put);
      }
    },
    async write(from, at, signal) {
      checkSignal(path, signal, at);
      const to = opened();
      let put = 0;
      try {
        while (put < from.length) {
          const { bytesWritten } = await write(to, from, put, Math.min(from.length - put, CALL_MAX), at + put);
          put += bytesWritten;
        }
      } catch (error) {
        throw fail(error, at + put);
      }
    },
    writevSync(pieces, at) {
      const to = opened();
      let begin = at;
      for (const part of cutAt(pieces, IOV_MAX, WRITE_BYTES)) {
        const wanted = lengthOf(part);
        let put = 0;
        try {
          while (put < wanted) put += fs.writevSync(to, put === 0 ? part : cut(part, put, wanted), begin + put);
        } catch (error) {
          throw fail(error, begin + put);
        }
        begin += wanted;
      }
    },
    async writev(pieces, at, signal) {
      checkSignal(path, signal, at);
      const to = opened();
      const wanted = lengthOf(pieces);
      let put = 0;
      try {
        while (put < wanted)
          put += (await writev(to, put === 0 ? pieces : cut(pieces, put, wanted), at + put)).bytesWritten;
      } catch (error) {
        throw fail(error, at + put);
      }
    },
    truncateSync(size) {
      try {
        fs.ftruncateSync(opened(), size);
      } catch (error) {
        throw fail(error, size);
      }
    },
    async truncate(size, signal) {
      checkSignal(path, signal);
      try {
        await ftruncate(opened(), size);
      } catch (error) {
        throw fail(error, size);
      }
    },
    syncSync() {
      try {
        fs.fsyncSync(opened());
        if (made) syncFolder(path);
        made = false;
      } catch (error) {
        throw fail(error);
      }
    },
    async sync(signal) {
      checkSignal(path, signal);
      try {
        await fsync(opened());
        if (made) syncFolder(path);
        made = false;
      } catch (error) {
        throw fail(error);
      }
    },
  };
}

/** Makes the entry of a new file durable. Systems that cannot open a folder keep such entries by themselves. */
export function syncFolder(path: string): void {
  let folder: number;
  try {
    folder = fs.openSync(dirname(path), 'r');
  } catch {
    return;
  }
  try {
    fs.fsyncSync(folder);
  } finally {
    fs.closeSync(folder);
  }
}
