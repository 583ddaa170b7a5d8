/** The script that an strace log becomes: events, and the numbers of handles, mappings and files in it. */
import { grow } from '../base/table.ts';
import {
  type Events,
  eventLayout,
  events,
  OP,
  OPEN_APPEND,
  OPEN_CREATE,
  OPEN_DIRECT,
  OPEN_TRUNC,
  OPEN_WRITE,
  SHARED,
  type TraceFile,
} from './event.ts';
import { BYTES_MAX, HANDLES_MAX, IO_MAX, MAP_ALIGN, PAGE } from './ops_shape.ts';
import { PlainNames, type TracedFile } from './strace_files.ts';
import type { Description, Mapping } from './strace_process.ts';

/** Numbers from 0 on that are given out and given back; the smallest free one first is not promised. */
class Numbers {
  private readonly free: number[] = [];
  private next = 0;

  take(): number {
    const number = this.free.pop();
    if (number !== undefined) return number;
    return this.next < HANDLES_MAX ? this.next++ : -1;
  }

  giveBack(number: number): void {
    this.free.push(number);
  }
}

export class Script {
  readonly events: Events = events(1024);
  readonly skipped: Record<string, number> = {};
  /** Line of the log that is being read. */
  line = 0;
  private readonly traced: TracedFile[] = [];
  private readonly handles = new Numbers();
  private readonly mappings = new Numbers();

  skip(what: string): void {
    this.skipped[what] = (this.skipped[what] ?? 0) + 1;
  }

  /** The files that were used, with what is known of their sizes in the end. */
  files(): TraceFile[] {
    const names = new PlainNames();
    return this.traced.map((f) => ({ id: f.id, name: names.nameFor(f.path), size: f.initial }));
  }

  emit(op: number, id: number, offset = 0, length = 0, arg = 0, file = 0, at = 0): void {
    const e = this.events;
    const row = e.count++;
    if (row === e.rows) grow(eventLayout, e, row * 2);
    e.op[row] = op;
    e.id[row] = id;
    e.file[row] = file;
    e.arg[row] = arg;
    e.offset[row] = offset;
    e.length[row] = length;
    e.at[row] = at;
    e.line[row] = this.line;
  }

  /** The handle of a description; it is opened when it is first needed. -1 when all handles are taken. */
  handleOf(d: Description): number {
    if (d.handle >= 0 || d.file === null) return d.handle;
    const handle = this.handles.take();
    if (handle < 0) {
      this.skip(`more than ${HANDLES_MAX} files open at a time`);
      return -1;
    }
    let flags = d.flags;
    if (d.file.created) flags |= OPEN_CREATE;
    this.emit(OP.open, handle, 0, 0, flags, this.numberOf(d.file));
    d.file.created = false;
    d.flags &= ~OPEN_TRUNC;
    d.handle = handle;
    d.scriptPosition = 0;
    return handle;
  }

  closed(d: Description): void {
    if (d.handle < 0) return;
    this.emit(OP.close, d.handle);
    this.handles.giveBack(d.handle);
    d.handle = -1;
  }

  /** One call's reading or writing, cut into I/Os that a script may hold. `offset` null: at the position. */
  transfer(d: Description, write: boolean, offset: number | null, bytes: number): void {
    if (d.file === null || bytes <= 0 || (offset ?? d.position) + bytes > BYTES_MAX) return;
    const handle = this.handleOf(d);
    if (handle < 0) return;
    // An appending handle goes to the end by itself.
    if (offset === null && !(write && (d.flags & OPEN_APPEND) !== 0)) this.seek(d);
    for (let done = 0; done < bytes; done += IO_MAX) {
      // Reading without the cache takes whole blocks: what came back short was the end of the file.
      const whole = !write && (d.flags & OPEN_DIRECT) !== 0 ? Math.ceil(bytes / PAGE) * PAGE : bytes;
      const length = Math.min(whole - done, IO_MAX);
      if (offset === null) this.emit(write ? OP.write : OP.read, handle, 0, length);
      else this.emit(write ? OP.pwrite : OP.pread, handle, offset + done, length);
    }
  }

  private seek(d: Description): void {
    if (d.scriptPosition === d.position) return;
    this.emit(OP.lseek, d.handle, d.position);
    d.scriptPosition = d.position;
  }

  /** Sets a file's size by name: through a handle of its own. */
  setSize(file: TracedFile, bytes: number): void {
    this.through(file, OPEN_WRITE, (handle) => this.emit(OP.ftruncate, handle, 0, bytes));
  }

  /** A file whose last name and last user are gone: what is cached of it goes too, which a script says by emptying it. */
  discard(file: TracedFile): void {
    if (file.id > 0 && file.size > 0) this.through(file, OPEN_WRITE | OPEN_TRUNC, () => {});
    file.cutTo(0);
  }

  private through(file: TracedFile, flags: number, use: (handle: number) => void): void {
    const handle = this.handles.take();
    if (handle < 0) return;
    this.emit(OP.open, handle, 0, 0, file.created ? flags | OPEN_CREATE : flags, this.numberOf(file));
    file.created = false;
    use(handle);
    this.emit(OP.close, handle);
    this.handles.giveBack(handle);
  }

  /** A new mapping of `d`, or of anonymous memory. Null when there is no number left, or no handle. */
  map(d: Description | null, offset: number, length: number, protection: number, address: number): Mapping | null {
    const handle = d === null ? -1 : this.handleOf(d);
    if (d !== null && handle < 0) return null;
    const number = this.mappings.take();
    if (number < 0) {
      this.skip(`more than ${HANDLES_MAX} mappings at a time`);
      return null;
    }
    this.emit(OP.mmap, number, offset, length, protection, handle, address % MAP_ALIGN);
    if (d?.file) d.file.users++;
    return { number, file: d === null ? null : d.file, left: Math.ceil(length / PAGE) * PAGE };
  }

  /** `length` bytes from `offset` of a mapping are unmapped. True when nothing is left of it. */
  unmap(m: Mapping, offset: number, length: number): boolean {
    this.emit(OP.munmap, m.number, offset, length);
    m.left -= length;
    if (m.left > 0) return false;
    this.mappings.giveBack(m.number);
    return true;
  }

  private numberOf(file: TracedFile): number {
    if (file.id === 0) {
      this.traced.push(file);
      file.id = this.traced.length;
    }
    return file.id;
  }
}

/** MAP_SHARED and protection words as event bits. */
export const sharedBit = (flags: string): number => (/\bMAP_SHARED/.test(flags) ? SHARED : 0);
