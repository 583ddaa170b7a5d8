/**
 * Which bytes of a file the page cache holds now, asked without root. Two questions exist, and neither is enough:
 *
 *   cachestat(2), Linux 6.5: how many pages, in one call. Not which ones; nothing of a file below an overlay.
 *   mincore(2) on a mapping: which pages, at a byte a page. Answers "all" for a file that the asker may not write and does
 *   not own, and does not say that it did.
 *
 * So cachestat goes first and settles the files that are cached whole or not at all, mincore the others, and only for files
 * whose answer is true. A file that is opened here is not read, and keeps its time of access.
 *
 * @kernel mm/filemap.c can_do_cachestat (6.18)
 * @kernel mm/mincore.c can_do_mincore (6.18)
 */
import { accessSync, closeSync, constants, openSync, type Stats, statfsSync } from 'node:fs';
import { endianness } from 'node:os';
import type { Path } from './fit_walk.ts';

/** `denied`: not a file of this user's. `failed`: it could not be opened or mapped. */
export type Answer = 'answered' | 'denied' | 'failed';

export interface Residency {
  /** Base page of this machine. */
  readonly pageSize: number;
  /** Calls `each` for every range of cached bytes, in ascending order. */
  ask(path: Path, stats: Stats, each: (from: number, to: number) => void): Answer;
}

const SYS_CACHESTAT = 451;
const EPERM = 1;
const EBADF = 9;
const OVERLAYFS_SUPER_MAGIC = 0x794c7630;
const PROT_READ = 1;
const MAP_SHARED = 1;
const MAP_FAILED = -1;
/** Mapped at a time: 64 Ki answers at 4 KiB pages. */
const WINDOW_BYTES = 2 ** 28;

/** The C library's functions, with addresses as numbers: a process's own lie below 2^53. */
interface Libc {
  readonly errno: () => number;
  readonly getpagesize: () => number;
  readonly syscall: (nr: number, fd: number, range: BigUint64Array, stat: BigUint64Array, flags: number) => number;
  readonly mmap: (at: null, length: number, prot: number, flags: number, fd: number, offset: number) => number;
  readonly munmap: (at: number, length: number) => number;
  readonly mincore: (at: number, length: number, answers: Uint8Array) => number;
}

/** Opens the way to ask; a text says why there is none on this machine. */
export async function openResidency(): Promise<Residency | string> {
  if (process.platform !== 'linux') return 'needs Linux';
  // Two of the calls are declared with 64-bit offsets and little-endian results.
  if (!['x64', 'arm64', 'riscv64', 'loong64'].includes(process.arch) || endianness() !== 'LE')
    return `needs a 64-bit processor of a kind that is known here, not ${process.arch}`;
  let libc: Libc;
  try {
    libc = await openLibc();
  } catch {
    return 'needs the optional package koffi, which is not installed or does not run here';
  }
  return residency(libc, hasCachestat(libc));
}

/** As openResidency, but with mincore alone: what kernels before 6.5 have. */
export async function openMincore(): Promise<Residency> {
  return residency(await openLibc(), false);
}

async function openLibc(): Promise<Libc> {
  const koffi = (await import('koffi')).default;
  const lib = koffi.load(null);
  return {
    errno: () => koffi.errno(),
    getpagesize: lib.func('int getpagesize()'),
    syscall: lib.func('long syscall(long nr, int fd, void *range, void *stat, unsigned int flags)'),
    mmap: lib.func('int64_t mmap(void *at, size_t length, int prot, int flags, int fd, int64_t offset)'),
    munmap: lib.func('int munmap(int64_t at, size_t length)'),
    mincore: lib.func('int mincore(int64_t at, size_t length, void *answers)'),
  };
}

/** A kernel without the call says ENOSYS, a sandbox that forbids it EPERM; only the call itself can say that −1 is no file. */
function hasCachestat(libc: Libc): boolean {
  return libc.syscall(SYS_CACHESTAT, -1, new BigUint64Array(2), new BigUint64Array(5), 0) < 0 && libc.errno() === EBADF;
}

function residency(libc: Libc, cachestat: boolean): Residency {
  const pageSize = libc.getpagesize();
  const user = process.geteuid?.() ?? 0;
  // struct cachestat_range: offset, length (0: to the end). struct cachestat: cached, dirty, writeback, evicted, recently evicted.
  const range = new BigUint64Array(2);
  const counts = new BigUint64Array(5);
  const answers = new Uint8Array(WINDOW_BYTES / pageSize);
  const overlays = new Map<number, boolean>();

  /** Files on an overlay cache their pages under the file below, which mincore reaches and cachestat does not. */
  const onOverlay = (path: Path, device: number): boolean => {
    let overlay = overlays.get(device);
    if (overlay === undefined) {
      overlay = statfsSync(path).type === OVERLAYFS_SUPER_MAGIC;
      overlays.set(device, overlay);
    }
    return overlay;
  };

  const askMincore = (fd: number, size: number, each: (from: number, to: number) => void): Answer => {
    for (let from = 0; from < size; from += WINDOW_BYTES) {
      const length = Math.min(WINDOW_BYTES, size - from);
      const at = libc.mmap(null, length, PROT_READ, MAP_SHARED, fd, from);
      if (at === MAP_FAILED) return 'failed';
      const failed = libc.mincore(at, length, answers) !== 0;
      libc.munmap(at, length);
      if (failed) return 'failed';
      const pages = Math.ceil(length / pageSize);
      for (let page = 0; page < pages; page++) {
        if (((answers[page] as number) & 1) === 0) continue;
        const first = page;
        while (page < pages && ((answers[page] as number) & 1) === 1) page++;
        each(from + first * pageSize, Math.min(from + page * pageSize, size));
      }
    }
    return 'answered';
  };

  const askOpen = (path: Path, fd: number, stats: Stats, each: (from: number, to: number) => void): Answer => {
    if (cachestat && !onOverlay(path, stats.dev)) {
      if (libc.syscall(SYS_CACHESTAT, fd, range, counts, 0) === 0) {
        const cached = Number(counts[0]);
        if (cached === 0) return 'answered';
        if (cached >= Math.ceil(stats.size / pageSize)) {
          each(0, stats.size);
          return 'answered';
        }
      } else if (libc.errno() === EPERM) return 'denied';
    }
    return mayAsk(path, stats, user) ? askMincore(fd, stats.size, each) : 'denied';
  };

  return {
    pageSize,
    ask(path, stats, each) {
      if (stats.size === 0) return 'answered';
      let fd: number;
      try {
        const keepTime = user === 0 || stats.uid === user ? constants.O_NOATIME : 0;
        fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | keepTime);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        return code === 'EACCES' || code === 'EPERM' ? 'denied' : 'failed';
      }
      try {
        return askOpen(path, fd, stats, each);
      } catch {
        return 'failed';
      } finally {
        closeSync(fd);
      }
    },
  };
}

/** mincore's own rule: the owner, or who may write. */
function mayAsk(path: Path, stats: Stats, user: number): boolean {
  if (stats.uid === user) return true;
  // access(2) answers for the real user, mincore for the effective one.
  if (process.getuid?.() !== user) return false;
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
