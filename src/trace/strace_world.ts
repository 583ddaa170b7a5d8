/**
 * The processes of an strace log, and what the calls do to them: who has which file open, where its position stands, what
 * is mapped. The calls themselves are in strace_calls.ts, the lines in strace.ts.
 */
import { posix } from 'node:path';
import { OP, OPEN_APPEND, OPEN_READ, OPEN_TRUNC, OPEN_WRITE, PROT_WRITE, SHARED } from './event.ts';
import { BYTES_MAX, PAGE } from './ops_shape.ts';
import { notRegular, PathTable, TracedFile } from './strace_files.ts';
import { annotation, unescaped } from './strace_line.ts';
import { AddressSpace, Description, Process, type Segment } from './strace_process.ts';
import { Script } from './strace_script.ts';

const DELETED = ' (deleted)';

export interface StraceOptions {
  /** Keep mappings of anonymous memory, and forks. */
  readonly anonymous?: boolean;
}

export class World {
  readonly script = new Script();
  readonly paths = new PathTable();
  readonly anonymous: boolean;
  private readonly processes = new Map<number, Process>();
  /** Processes that are in a call that makes another, and what they said of it, last one last. */
  private readonly forking: { parent: number; flags: string; child: number }[] = [];

  constructor(options: StraceOptions) {
    this.anonymous = options.anonymous === true;
  }

  process(pid: number): Process {
    let process = this.processes.get(pid);
    if (process !== undefined) return process;
    // A child may be seen before the call that made it returns.
    const waiting = this.forking.findLast((f) => f.child === 0);
    if (waiting !== undefined) {
      waiting.child = pid;
      return this.child(this.process(waiting.parent), pid, waiting.flags);
    }
    process = new Process();
    this.processes.set(pid, process);
    return process;
  }

  forkBegins(parent: number, flags: string): void {
    this.process(parent);
    this.forking.push({ parent, flags, child: 0 });
  }

  /** The call that makes a process has returned `child`; -1 when it failed. */
  forked(parent: number, flags: string, child: number): void {
    const at = this.forking.findIndex((f) => f.parent === parent);
    if (at >= 0) this.forking.splice(at, 1);
    if (child > 0 && !this.processes.has(child)) this.child(this.process(parent), child, flags);
  }

  private child(parent: Process, pid: number, flags: string): Process {
    const process = new Process();
    process.folder = parent.folder;
    if (/\bCLONE_FILES\b/.test(flags)) {
      process.handles = parent.handles;
      process.handles.users++;
    } else process.handles = parent.handles.copy();
    if (/\bCLONE_VM\b/.test(flags)) {
      process.memory = parent.memory;
      process.memory.users++;
    } else {
      process.memory = parent.memory.copy();
      if (this.anonymous) this.script.emit(OP.fork, 0);
    }
    this.processes.set(pid, process);
    return process;
  }

  exited(pid: number): void {
    const process = this.processes.get(pid);
    if (process === undefined) return;
    this.processes.delete(pid);
    this.leaveMemory(process);
    if (--process.handles.users === 0)
      for (const fd of [...process.handles.slots.keys()]) this.closeHandle(process, fd);
  }

  /** A thread's execve takes over its process. */
  superseded(pid: number, by: number): void {
    const process = this.processes.get(by);
    if (process === undefined || pid === by) return;
    this.exited(pid);
    this.processes.delete(by);
    this.processes.set(pid, process);
  }

  executed(p: Process): void {
    this.leaveMemory(p);
    p.memory = new AddressSpace();
    if (p.handles.users > 1) {
      p.handles.users--;
      p.handles = p.handles.copy();
    }
    for (const [fd, slot] of [...p.handles.slots]) if (slot.closeOnExec) this.closeHandle(p, fd);
  }

  unshareHandles(p: Process): void {
    if (p.handles.users === 1) return;
    p.handles.users--;
    p.handles = p.handles.copy();
  }

  private leaveMemory(p: Process): void {
    if (--p.memory.users === 0) this.dropped(p.memory.segments);
  }

  // --- handles ---------------------------------------------------------------------------------------------------------

  /** The open description that an argument names; null when neither the log so far nor the argument tells. */
  description(p: Process, arg: string | undefined, name: string): Description | null {
    const fd = Number.parseInt(arg ?? '', 10);
    if (Number.isNaN(fd)) return null;
    const said = annotation(arg!);
    const slot = p.handles.slots.get(fd);
    if (slot !== undefined && (said === null || this.means(slot.description, said))) return slot.description;
    if (said === null) {
      this.script.skip(`${name} on unknown handle`);
      return null;
    }
    if (slot !== undefined) this.closeHandle(p, fd);
    const path = pathOf(said);
    const what = notRegular(path);
    const file = what === '' ? this.paths.at(path) : null;
    return this.install(p, fd, new Description(file, what, OPEN_READ | OPEN_WRITE), false);
  }

  private means(d: Description, said: string): boolean {
    if (d.annotation === said) return true;
    const path = pathOf(said);
    const same =
      d.file === null
        ? d.what === 'directory' || d.what === notRegular(path)
        : d.file.path === path || said.endsWith('(deleted)') || this.paths.get(path) === d.file || d.file.links === 0;
    if (same) d.annotation = said;
    return same;
  }

  install(p: Process, fd: number, d: Description, closeOnExec: boolean): Description {
    this.closeHandle(p, fd);
    if (d.users++ === 0 && d.file !== null) d.file.users++;
    p.handles.slots.set(fd, { description: d, closeOnExec });
    return d;
  }

  closeHandle(p: Process, fd: number): void {
    const slot = p.handles.slots.get(fd);
    if (slot === undefined) return;
    p.handles.slots.delete(fd);
    const d = slot.description;
    if (--d.users > 0) return;
    this.script.closed(d);
    if (d.file !== null) this.left(d.file);
  }

  /** One user less. */
  private left(file: TracedFile): void {
    if (--file.users === 0) this.nameless(file.links === 0 ? file : null);
  }

  /** A file has lost its last name. */
  nameless(file: TracedFile | null): void {
    if (file === null || file.users > 0) return;
    this.script.discard(file);
    this.paths.discarded(file);
  }

  // --- paths -----------------------------------------------------------------------------------------------------------

  /** A path argument in full: `folder` is the argument before it (AT_FDCWD</srv>, 5</srv>), '' when there is none. */
  resolve(p: Process, folder: string, path: string): string {
    if (path.startsWith('/')) return posix.normalize(path);
    const said = annotation(folder);
    const slot = p.handles.slots.get(Number.parseInt(folder, 10));
    const from = said !== null ? pathOf(said) : (slot?.description.file?.path ?? p.folder);
    if (folder.startsWith('AT_FDCWD') && said !== null) p.folder = from;
    return posix.normalize(from === '' ? path : `${from}/${path}`);
  }

  /** What an open call opened. `path` is where the handle leads, links followed, when the log says so. */
  opened(path: string, flags: string, bits: number): Description {
    const plain = path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path;
    const what = /\bO_DIRECTORY\b/.test(flags) ? 'directory' : /\bO_PATH\b/.test(flags) ? 'path' : notRegular(plain);
    if (what !== '' && what !== 'directory') return new Description(null, what, bits);
    if (/\bO_TMPFILE\b/.test(flags)) {
      const file = new TracedFile(plain);
      file.made();
      file.links = 0;
      return new Description(file, '', bits);
    }
    if (what === 'directory') return new Description(this.paths.get(plain) ?? new TracedFile(plain), what, bits);
    const makes = /\bO_CREAT\b/.test(flags);
    if (makes && /\bO_EXCL\b/.test(flags)) {
      this.nameless(this.paths.remove(plain));
      this.paths.make(plain).made();
    }
    const seen = this.paths.get(plain);
    const file = seen ?? (makes ? this.paths.make(plain) : this.paths.at(plain));
    if (makes && seen === undefined) file.created = file.id === 0;
    let open = bits;
    if (/\bO_TRUNC\b/.test(flags)) {
      if (file.size > 0) open |= OPEN_TRUNC;
      else file.known = true;
    }
    const d = new Description(file, '', open);
    if ((open & OPEN_TRUNC) !== 0) this.script.handleOf(d);
    if (/\bO_TRUNC\b/.test(flags)) file.cutTo(0);
    return d;
  }

  /** Whether a description is open for this. Where a log says otherwise, it lacks the call that opened the handle anew. */
  may(d: Description, bits: number): boolean {
    if ((d.flags & bits) === bits) return true;
    this.script.skip('handle not open for what was done');
    return false;
  }

  // --- reading and writing ---------------------------------------------------------------------------------------------

  /** A call has moved `bytes`; `offset` null: at the position. */
  moved(d: Description, write: boolean, offset: number | null, bytes: number): void {
    const { script } = this;
    const { file } = d;
    if (file === null || d.what !== '') {
      script.skip(`not a regular file: ${d.what}`);
      return;
    }
    if (!(bytes > 0) || !this.may(d, write ? OPEN_WRITE : OPEN_READ)) return;
    const at = write && (d.flags & OPEN_APPEND) !== 0 ? file.size : (offset ?? d.position);
    const end = at + bytes;
    if (!(end <= BYTES_MAX)) {
      script.skip('beyond 8 TiB');
      return;
    }
    let asSeen = true;
    if (write) file.wrote(end);
    else if (!file.reaches(end)) {
      asSeen = false;
      script.skip('read of data that no logged call wrote');
    }
    script.transfer(d, write, offset, bytes);
    if (offset !== null) return;
    d.position = end;
    d.scriptPosition = asSeen ? end : -1;
  }

  // --- memory ----------------------------------------------------------------------------------------------------------

  /** A mapping has appeared at `address`; what was there is gone. `d` null: anonymous memory. */
  mapped(p: Process, d: Description | null, address: number, length: number, protection: number, offset: number): void {
    const end = address + Math.ceil(length / PAGE) * PAGE;
    this.dropped(p.memory.remove(address, end));
    if (d === null ? !this.anonymous : d.file === null || d.what !== '') return;
    if (!(offset >= 0 && offset + length <= BYTES_MAX && offset % PAGE === 0)) return;
    const writes = (protection & SHARED) !== 0 && (protection & PROT_WRITE) !== 0;
    if (d !== null && !this.may(d, writes ? OPEN_READ | OPEN_WRITE : OPEN_READ)) return;
    const file = d?.file;
    // The size of a file that nobody asked for: a program that maps it knows it.
    if (file && !file.known && !file.changed) file.reaches(offset + length);
    if (file && writes) file.changed = true;
    const mapping = this.script.map(d, offset, length, protection, address);
    if (mapping !== null) p.memory.segments.push({ start: address, end, mapping, offset: 0, owned: true });
  }

  /** Parts of address spaces that are gone. */
  dropped(parts: readonly Segment[]): void {
    for (const s of parts) {
      if (!s.owned || !this.script.unmap(s.mapping, s.offset, s.end - s.start)) continue;
      if (s.mapping.file !== null) this.left(s.mapping.file);
    }
  }
}

/** The path in an annotation. */
function pathOf(said: string): string {
  const path = unescaped(said);
  return path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path;
}
