/**
 * What a process has open and mapped. As in the kernel there are two levels: a handle (a number of one process's table)
 * refers to an open description (position, flags, read-ahead state), which dup and fork share.
 */
import type { TracedFile } from './strace_files.ts';

/** An open file description. One handle of the script, if it comes to that. */
export class Description {
  /** null: not a regular file, see `what`. */
  readonly file: TracedFile | null;
  readonly what: string;
  /** OPEN_* bits. */
  flags: number;
  position = 0;
  /** Handles that refer to it. */
  users = 0;
  /** In the script; -1 as long as nothing was done with it. */
  handle = -1;
  /** Where the script's handle stands; -1: not known. */
  scriptPosition = 0;
  /** The last annotation that was found to mean this description. */
  annotation: string | null = null;

  constructor(file: TracedFile | null, what: string, flags: number) {
    this.file = file;
    this.what = what;
    this.flags = flags;
  }
}

export interface Slot {
  description: Description;
  closeOnExec: boolean;
}

export class HandleTable {
  readonly slots = new Map<number, Slot>();
  /** Processes (threads) that use it. */
  users = 1;

  copy(): HandleTable {
    const other = new HandleTable();
    for (const [fd, { description, closeOnExec }] of this.slots) {
      description.users++;
      other.slots.set(fd, { description, closeOnExec });
    }
    return other;
  }
}

/** A mapping of the script. */
export interface Mapping {
  readonly number: number;
  /** null: anonymous memory. */
  readonly file: TracedFile | null;
  /** Bytes still mapped. */
  left: number;
}

/** A piece of an address space: bytes [start, end) show `mapping` from its byte `offset` on. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  readonly mapping: Mapping;
  readonly offset: number;
  /** False in a child: the mapping is its parent's, and the script does not follow the copy. */
  readonly owned: boolean;
}

export class AddressSpace {
  segments: Segment[] = [];
  users = 1;

  copy(): AddressSpace {
    const other = new AddressSpace();
    other.segments = this.segments.map((s) => ({ ...s, owned: false }));
    return other;
  }

  /** The parts of segments within [start, end). */
  within(start: number, end: number): Segment[] {
    const parts: Segment[] = [];
    for (const s of this.segments) if (s.start < end && s.end > start) parts.push(part(s, start, end));
    return parts;
  }

  /** Takes [start, end) out, and gives the parts that were there. */
  remove(start: number, end: number): Segment[] {
    const out: Segment[] = [];
    const keep: Segment[] = [];
    for (const s of this.segments) {
      if (s.start >= end || s.end <= start) {
        keep.push(s);
        continue;
      }
      out.push(part(s, start, end));
      if (s.start < start) keep.push(part(s, s.start, start));
      if (s.end > end) keep.push(part(s, end, s.end));
    }
    if (out.length > 0) this.segments = keep;
    return out;
  }
}

function part(s: Segment, start: number, end: number): Segment {
  const from = Math.max(s.start, start);
  return { ...s, start: from, end: Math.min(s.end, end), offset: s.offset + from - s.start };
}

export class Process {
  handles = new HandleTable();
  memory = new AddressSpace();
  /** Working folder, '' when not known. */
  folder = '';
}
