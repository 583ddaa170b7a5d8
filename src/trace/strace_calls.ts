/** What each system call in an strace log does to the world. A call that failed did nothing. */
import {
  FADVICE,
  MADVICE,
  OP,
  OPEN_APPEND,
  OPEN_DIRECT,
  OPEN_READ,
  OPEN_WRITE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from './event.ts';
import { BYTES_MAX, PAGE } from './ops_shape.ts';
import { annotation, type Call, number, pointed, unescaped, unquote } from './strace_line.ts';
import type { Process } from './strace_process.ts';
import { sharedBit } from './strace_script.ts';
import type { World } from './strace_world.ts';

type Handler = (w: World, p: Process, c: Call, pid: number) => void;

/** Addresses of programs lie below this with four levels of page tables, and most with five; numbers are exact up to it. */
const ADDRESS_MAX = 2 ** 53;

/** The argument's offset, or null for `NULL` and -1: at the position. */
const offsetOr = (value: number): number | null => (value >= 0 ? value : null);

function open(w: World, p: Process, c: Call, folder: string, path: string | undefined, flags: string): void {
  const asked = unquote(path);
  const said = annotation(c.resultText.split(' ')[0]!.includes('<') ? c.resultText : '');
  if (asked === null && said === null) {
    w.script.skip(`${c.name} not understood`);
    return;
  }
  let bits = /\bO_RDWR\b/.test(flags) ? OPEN_READ | OPEN_WRITE : /\bO_WRONLY\b/.test(flags) ? OPEN_WRITE : OPEN_READ;
  if (/\bO_APPEND\b/.test(flags)) bits |= OPEN_APPEND;
  if (/\bO_DIRECT\b/.test(flags)) bits |= OPEN_DIRECT;
  const full = asked === null ? '' : w.resolve(p, folder, asked);
  const d = w.opened(said === null ? full : unescaped(said), flags, bits);
  w.install(p, c.result, d, /\bO_CLOEXEC\b/.test(flags));
}

/** read, write and their like: which argument is the offset (-1: none), and whether it writes. */
const move =
  (write: boolean, offsetArg: number): Handler =>
  (w, p, c) => {
    const d = w.description(p, c.args[0], c.name);
    if (d === null) return;
    const offset = offsetArg < 0 ? null : offsetOr(number(c.args[offsetArg]));
    w.moved(d, write, offset, c.result);
  };

/** copy_file_range, sendfile, splice: from one handle to another, with offsets behind pointers. */
const copy =
  (from: number, fromOffset: number, to: number, toOffset: number): Handler =>
  (w, p, c) => {
    const source = w.description(p, c.args[from], c.name);
    const target = w.description(p, c.args[to], c.name);
    const place = (arg: number): number | null => (arg < 0 ? null : offsetOr(pointed(c.args[arg])));
    if (source !== null) w.moved(source, false, place(fromOffset), c.result);
    if (target !== null) w.moved(target, true, place(toOffset), c.result);
  };

/** A call on a file's range that a script knows: its offset and length are arguments. */
function range(w: World, p: Process, c: Call, op: number, at: number, arg = 0): void {
  const d = w.description(p, c.args[0], c.name);
  if (d === null || d.file === null || d.what !== '') return;
  const offset = number(c.args[at]);
  const length = number(c.args[at + 1]);
  if (!(offset >= 0 && length >= 0 && offset <= BYTES_MAX)) {
    w.script.skip(`${c.name} not understood`);
    return;
  }
  if ((op === OP.fallocate || op === OP.punch) && !w.may(d, OPEN_WRITE)) return;
  const handle = w.script.handleOf(d);
  if (handle < 0) return;
  // To the end, said with a very large length.
  const some = Math.min(length, BYTES_MAX - offset);
  if (op === OP.fallocate) d.file.wrote(offset + some);
  w.script.emit(op, handle, offset, some, arg);
}

const fsync: Handler = (w, p, c) => {
  const d = w.description(p, c.args[0], c.name);
  // Nothing was done to a file without a number: nothing of it is dirty.
  if (d === null || d.file === null || d.file.id === 0 || d.what !== '') return;
  const handle = w.script.handleOf(d);
  if (handle >= 0) w.script.emit(OP.fsync, handle);
};

/** fstat, statx …: a size, of a handle's file or of a path's. */
function status(
  w: World,
  p: Process,
  c: Call,
  folder: string,
  path: string | undefined,
  text: string | undefined,
): void {
  const regular = /\bstx?_mode=S_IF([A-Z]+)/.exec(text ?? '')?.[1];
  const size = /\bstx?_size=(\d+)/.exec(text ?? '')?.[1];
  if (size === undefined) return;
  const name = path === undefined ? '' : unquote(path);
  if (name === null) return;
  if (name === '') {
    const d = /^\d/.test(folder) ? w.description(p, folder, c.name) : null;
    if (regular === 'REG') d?.file?.hasSize(Number(size));
  } else if (regular === 'REG') w.paths.at(w.resolve(p, folder, name)).hasSize(Number(size));
}

function rename(
  w: World,
  p: Process,
  from: readonly [string, string?],
  to: readonly [string, string?],
  flags = '',
): void {
  const [a, b] = [unquote(from[1]), unquote(to[1])];
  if (a === null || b === null) return;
  const [old, now] = [w.resolve(p, from[0], a), w.resolve(p, to[0], b)];
  if (/\bRENAME_EXCHANGE\b/.test(flags)) w.paths.exchange(old, now);
  else w.nameless(w.paths.rename(old, now));
}

function unlink(w: World, p: Process, folder: string, path: string | undefined): void {
  const name = unquote(path);
  if (name !== null) w.nameless(w.paths.remove(w.resolve(p, folder, name)));
}

function link(w: World, p: Process, from: readonly [string, string?], to: readonly [string, string?]): void {
  const [a, b] = [unquote(from[1]), unquote(to[1])];
  if (a !== null && b !== null && a !== '') w.paths.link(w.resolve(p, from[0], a), w.resolve(p, to[0], b));
}

const duplicate =
  (closeOnExec: (c: Call) => boolean): Handler =>
  (w, p, c) => {
    const d = w.description(p, c.args[0], c.name);
    // dup2 of a handle onto itself changes nothing.
    if (d !== null && c.result !== Number.parseInt(c.args[0]!, 10)) w.install(p, c.result, d, closeOnExec(c));
  };

const fcntl: Handler = (w, p, c) => {
  const [fd = '', command = '', arg = ''] = c.args;
  if (command === 'F_DUPFD') duplicate(() => false)(w, p, c, 0);
  else if (command === 'F_DUPFD_CLOEXEC') duplicate(() => true)(w, p, c, 0);
  else if (command === 'F_SETFD') {
    const slot = p.handles.slots.get(Number.parseInt(fd, 10));
    if (slot !== undefined) slot.closeOnExec = arg.includes('FD_CLOEXEC');
  } else if (command === 'F_SETFL' && /\bO_DIRECT\b/.test(arg)) w.script.skip('fcntl F_SETFL O_DIRECT');
};

const lseek: Handler = (w, p, c) => {
  const d = w.description(p, c.args[0], c.name);
  if (d === null || !(c.result <= BYTES_MAX)) return;
  d.position = c.result;
  if (c.args[2] === 'SEEK_END') d.file?.hasSize(c.result - (number(c.args[1]) || 0));
};

const ftruncate: Handler = (w, p, c) => {
  const d = w.description(p, c.args[0], c.name);
  const bytes = number(c.args[1]);
  if (d === null || d.file === null || d.what !== '' || !w.may(d, OPEN_WRITE)) return;
  if (!(bytes >= 0 && bytes <= BYTES_MAX)) {
    w.script.skip('beyond 8 TiB');
    return;
  }
  const handle = w.script.handleOf(d);
  if (handle >= 0) w.script.emit(OP.ftruncate, handle, 0, bytes);
  d.file.cutTo(bytes);
};

const truncate: Handler = (w, p, c) => {
  const path = unquote(c.args[0]);
  const bytes = number(c.args[1]);
  if (path === null || !(bytes >= 0 && bytes <= BYTES_MAX)) {
    w.script.skip('truncate not understood');
    return;
  }
  const file = w.paths.at(w.resolve(p, '', path));
  w.script.setSize(file, bytes);
  file.cutTo(bytes);
};

const fallocate: Handler = (w, p, c) => {
  const mode = c.args[1] ?? '';
  if (mode === '0') range(w, p, c, OP.fallocate, 2);
  else if (mode.includes('FALLOC_FL_PUNCH_HOLE')) range(w, p, c, OP.punch, 2);
  else w.script.skip(`fallocate ${mode}`);
};

const fadvise: Handler = (w, p, c) => {
  const advice = (FADVICE as readonly string[]).indexOf((c.args[3] ?? '').replace('POSIX_FADV_', '').toLowerCase());
  if (advice < 0) {
    w.script.skip(`fadvise64 ${c.args[3]}`);
    return;
  }
  range(w, p, c, OP.fadvise, 1, advice);
};

function protection(text: string): number {
  let bits = PROT_READ;
  if (/\bPROT_WRITE\b/.test(text)) bits |= PROT_WRITE;
  if (/\bPROT_EXEC\b/.test(text)) bits |= PROT_EXEC;
  return bits;
}

const mmap: Handler = (w, p, c) => {
  const [, bytes, prot = '', flags = '', fd, offset] = c.args;
  const length = number(bytes);
  const place = pages(c.result, length);
  if (place[1] === 0 || place[0] !== c.result || length > BYTES_MAX) {
    w.script.skip('mmap not understood');
    return;
  }
  const bits = protection(prot) | sharedBit(flags);
  const file = /\bMAP_ANON/.test(flags) ? null : w.description(p, fd, 'mmap');
  if (file === null && !/\bMAP_ANON/.test(flags)) return;
  w.mapped(p, file, c.result, length, bits, file === null ? 0 : number(offset));
  const [made] = p.memory.within(c.result, c.result + 1);
  if (made === undefined || !/\bMAP_POPULATE\b/.test(flags)) return;
  const advice = (bits & PROT_WRITE) !== 0 ? 'populate_write' : 'populate_read';
  w.script.emit(OP.madvise, made.mapping.number, 0, length, MADVICE.indexOf(advice));
};

/** The pages that an address and a length among the arguments mean: [start, end), or nothing at all. */
function pages(start: number, length: number): readonly [number, number] {
  const end = Math.ceil((start + length) / PAGE) * PAGE;
  return start >= 0 && length > 0 && end <= ADDRESS_MAX ? [Math.floor(start / PAGE) * PAGE, end] : [0, 0];
}

/** Calls `use` with each part of a mapping that an address range covers. */
function eachPart(p: Process, c: Call, use: (mapping: number, offset: number, length: number) => void): void {
  for (const s of p.memory.within(...pages(number(c.args[0]), number(c.args[1])))) {
    if (s.owned) use(s.mapping.number, s.offset, s.end - s.start);
  }
}

const munmap: Handler = (w, p, c) => {
  w.dropped(p.memory.remove(...pages(number(c.args[0]), number(c.args[1]))));
};

const madvise: Handler = (w, p, c) => {
  const advice = (MADVICE as readonly string[]).indexOf((c.args[2] ?? '').replace('MADV_', '').toLowerCase());
  eachPart(p, c, (mapping, offset, length) => {
    if (advice < 0) w.script.skip(`madvise ${c.args[2]}`);
    else w.script.emit(OP.madvise, mapping, offset, length, advice);
  });
};

const mprotect: Handler = (w, p, c) => {
  eachPart(p, c, (mapping, offset, length) => {
    w.script.emit(OP.mprotect, mapping, offset, length, protection(c.args[2] ?? ''));
  });
};

const mlock: Handler = (w, p, c) => {
  eachPart(p, c, (mapping, offset, length) => w.script.emit(OP.mlock, mapping, offset, length));
};

const mremap: Handler = (w, p, c) => {
  eachPart(p, c, () => w.script.skip('mremap'));
  w.dropped(p.memory.remove(...pages(number(c.args[0]), number(c.args[1]))));
  w.dropped(p.memory.remove(...pages(c.result, number(c.args[2]))));
};

const fork: Handler = (w, _p, c, pid) => w.forked(pid, c.name === 'vfork' ? 'CLONE_VM' : c.args.join(), c.result);

const closeRange: Handler = (w, p, c) => {
  const [first, last] = [number(c.args[0]), number(c.args[1])];
  for (const [fd, slot] of [...p.handles.slots]) {
    if (fd < first || fd > last) continue;
    if ((c.args[2] ?? '').includes('CLOEXEC')) slot.closeOnExec = true;
    else w.closeHandle(p, fd);
  }
};

const syncAll: Handler = (w) => w.script.emit(OP.sync, 0);
const count: Handler = (w, _p, c) => w.script.skip(c.name);
/** Counted where it was done to a regular file of the script: elsewhere it changes nothing here. */
const countOnFile: Handler = (w, p, c) => {
  const fd = Number.parseInt(c.args[0] ?? '', 10);
  const d = p.handles.slots.get(fd)?.description;
  if (d !== undefined && d.file !== null && d.file.id > 0) w.script.skip(c.name);
};

export const handlers: Readonly<Record<string, Handler>> = {
  open: (w, p, c) => open(w, p, c, '', c.args[0], c.args[1] ?? ''),
  creat: (w, p, c) => open(w, p, c, '', c.args[0], 'O_WRONLY|O_CREAT|O_TRUNC'),
  openat: (w, p, c) => open(w, p, c, c.args[0] ?? '', c.args[1], c.args[2] ?? ''),
  openat2: (w, p, c) => open(w, p, c, c.args[0] ?? '', c.args[1], c.args[2] ?? ''),
  close: (w, p, c) => w.closeHandle(p, Number.parseInt(c.args[0] ?? '', 10)),
  close_range: closeRange,
  read: move(false, -1),
  readv: move(false, -1),
  pread64: move(false, 3),
  preadv: move(false, 3),
  preadv2: move(false, 3),
  write: move(true, -1),
  writev: move(true, -1),
  pwrite64: move(true, 3),
  pwritev: move(true, 3),
  pwritev2: move(true, 3),
  copy_file_range: copy(0, 1, 2, 3),
  sendfile: copy(1, 2, 0, -1),
  splice: copy(0, 1, 2, 3),
  lseek,
  fsync,
  fdatasync: fsync,
  sync: syncAll,
  syncfs: syncAll,
  fadvise64: fadvise,
  readahead: (w, p, c) => range(w, p, c, OP.readahead, 1),
  ftruncate,
  truncate,
  fallocate,
  stat: (w, p, c) => status(w, p, c, '', c.args[0], c.args[1]),
  lstat: (w, p, c) => status(w, p, c, '', c.args[0], c.args[1]),
  fstat: (w, p, c) => status(w, p, c, c.args[0] ?? '', undefined, c.args[1]),
  newfstatat: (w, p, c) => status(w, p, c, c.args[0] ?? '', c.args[1], c.args[2]),
  statx: (w, p, c) => status(w, p, c, c.args[0] ?? '', c.args[1], c.args[4]),
  dup: duplicate(() => false),
  dup2: duplicate(() => false),
  dup3: duplicate((c) => (c.args[2] ?? '').includes('O_CLOEXEC')),
  fcntl,
  rename: (w, p, c) => rename(w, p, ['', c.args[0]!], ['', c.args[1]!]),
  renameat: (w, p, c) => rename(w, p, [c.args[0] ?? '', c.args[1]!], [c.args[2] ?? '', c.args[3]!]),
  renameat2: (w, p, c) => rename(w, p, [c.args[0] ?? '', c.args[1]!], [c.args[2] ?? '', c.args[3]!], c.args[4]),
  link: (w, p, c) => link(w, p, ['', c.args[0]!], ['', c.args[1]!]),
  linkat: (w, p, c) => link(w, p, [c.args[0] ?? '', c.args[1]!], [c.args[2] ?? '', c.args[3]!]),
  unlink: (w, p, c) => unlink(w, p, '', c.args[0]),
  unlinkat: (w, p, c) => unlink(w, p, c.args[0] ?? '', c.args[1]),
  chdir: (w, p, c) => {
    const path = unquote(c.args[0]);
    if (path !== null) p.folder = w.resolve(p, '', path);
  },
  mmap,
  munmap,
  madvise,
  mprotect,
  pkey_mprotect: mprotect,
  mlock,
  mlock2: mlock,
  mremap,
  fork,
  vfork: fork,
  clone: fork,
  clone3: fork,
  execve: (w, p) => w.executed(p),
  execveat: (w, p) => w.executed(p),
  unshare: (w, p, c) => {
    if ((c.args[0] ?? '').includes('CLONE_FILES')) w.unshareHandles(p);
  },
  // Reading and writing that the log does not show, or that a script has no word for.
  io_uring_setup: count,
  io_uring_enter: count,
  io_submit: count,
  process_madvise: count,
  remap_file_pages: count,
  msync: (w, p, c) => eachPart(p, c, () => w.script.skip('msync')),
  sync_file_range: countOnFile,
  ioctl: countOnFile,
  vmsplice: countOnFile,
};

/** Calls of which the beginning counts: the handle is free for others at once. */
export const atOnce: ReadonlySet<string> = new Set(['close']);
export const forks: ReadonlySet<string> = new Set(['fork', 'vfork', 'clone', 'clone3']);
