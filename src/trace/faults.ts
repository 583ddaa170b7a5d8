/**
 * Recordings of first touches (tools/record_faults.py): the text of a tracefs instance, with lines of the recorder among it.
 *
 *     #quire-faults 1
 *        sort-812  ( 812) [001] d.... 97.3: page_fault_user: address=0x7f10a000 ip=0x55d1 error_code=0x6
 *        sort-812  ( 812) [001] ..... 97.4: sys_enter: NR 11 (7f10a000, 1000, 0, 0, 0, 0)
 *        sort-812  ( 812) [001] ..... 97.5: sys_exit: NR 11 = 0
 *     python3-800  ( 800) [001] ..... 97.1: tracing_mark_write: quire map 55d0000 55d8000 r--p 1234 /usr/bin/sort
 *
 * A fault is an access (LOAD, STORE or FETCH by its error code); a system call takes effect when it returns; which accesses
 * are whose is told by SpaceEvents. Threads belong to the process that the TGID column says. A child of vfork, or of clone with
 * CLONE_VM, works in its parent's memory until it runs a program of its own; clone3's flags lie in memory: it is taken for that.
 *
 * From the moment an exec is sure to go through until the recorder has listed the areas of the new program, its faults are
 * held back: the areas come first.
 */
import { InputError } from '../base/errors.ts';
import {
  ACCESS_ROWS,
  type Accesses,
  type AccessSource,
  accesses,
  count,
  FETCH,
  GROWSDOWN,
  LOAD,
  nothingIn,
  type SpaceEvent,
  STORE,
} from './access.ts';
import { isSound } from './access_event.ts';
import { opened } from './access_records.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from './event.ts';
import { callEvent, callsOf } from './faults_calls.ts';
import { Feed, memoryStream, type Stream } from './stream.ts';

export const FAULTS_HEAD = '#quire-faults 1';
const NEWLINE = 10;
const USER_END = 2 ** 47;
/** Bits of an error code: a store, a fetch. @kernel arch/x86/include/asm/trap_pf.h X86_PF_WRITE (6.18) */
const PF_WRITE = 2;
const PF_INSTR = 16;
const MAPS_EXPECTED = 'expected areas as /proc/PID/maps has them';
const CLONE_VM = 0x100;

/** `comm-PID (TGID) [cpu] flags time: event: text`; a command's name may hold anything. */
const LINE = /^ *(.*)-(\d{1,9}) +\( *(\d{1,9}|-+)\) \[\d+\] \S+ +[\d.]+: (\w+): (.*)$/;

/** A call that has begun: its number and arguments. */
interface Call {
  readonly nr: number;
  readonly args: readonly number[];
}

class FaultsReader implements AccessSource {
  readonly name: string;
  readonly total = -1;
  readonly told = true;
  readonly regions = null;
  readonly skipped: Record<string, number> = {};
  private readonly stream: Stream;
  private readonly feed: Feed;
  private readonly batch: Accesses;
  private lines = 0;
  /** What is to be given out, in order: accesses as [kind, address], and events. */
  private queue: (readonly [kind: number, address: number] | SpaceEvent)[] = [];
  private given = 0;
  private running = -1;
  /** By pid of a thread: the call it is in. */
  private readonly calls = new Map<number, Call>();
  /** By process: whose memory it works in, its break, and what an exec holds back. */
  private readonly memoryOf = new Map<number, number>();
  private readonly breaks = new Map<number, number>();
  private readonly held = new Map<number, (readonly [number, number])[]>();
  private found = false;
  private done = false;

  constructor(stream: Stream, rows: number) {
    this.stream = stream;
    this.name = stream.name;
    this.feed = new Feed(stream);
    this.batch = accesses(rows);
    this.batch.size.fill(1);
    if (this.line() !== FAULTS_HEAD) throw this.error(`expected "${FAULTS_HEAD}", a recording of record_faults.py`);
  }

  next(): Accesses | null {
    const { batch } = this;
    batch.count = 0;
    batch.event = null;
    for (;;) {
      while (this.given < this.queue.length) {
        const item = this.queue[this.given] as (typeof this.queue)[number];
        if ('op' in item) {
          this.given++;
          batch.event = item;
          return batch;
        }
        if (batch.count === batch.rows) return batch;
        this.given++;
        batch.kind[batch.count] = item[0];
        batch.address[batch.count++] = item[1];
      }
      this.queue = [];
      this.given = 0;
      const line = this.done ? null : this.line();
      if (line === null) {
        this.done = true;
        if (!this.found) throw nothingIn(this.stream.path, 'page_fault_user events: was the program traced?');
        return batch.count > 0 ? batch : null;
      }
      this.take(line);
    }
  }

  close(): void {
    this.stream.close();
  }

  /** The next line, without its end; null at the end of the file. */
  private line(): string | null {
    const { feed } = this;
    for (;;) {
      const newline = feed.bytes.indexOf(NEWLINE, feed.at);
      if (newline >= 0 && newline < feed.end) {
        const text = Buffer.from(feed.bytes.buffer, feed.at, newline - feed.at).toString('latin1');
        feed.at = newline + 1;
        this.lines++;
        return text;
      }
      if (feed.more()) continue;
      if (feed.end - feed.at === feed.room) throw this.error(`a line of more than ${feed.room} bytes`);
      if (feed.at < feed.end) throw this.error('the last line has no end: is the file cut off?', this.lines + 1);
      return null;
    }
  }

  private take(text: string): void {
    if (text === '' || text.startsWith('#')) return;
    const m = LINE.exec(text);
    if (m === null) {
      if (text.startsWith('CPU:')) throw this.error('events were lost: record with a larger buffer');
      count(this.skipped, 'odd line');
      return;
    }
    const thread = Number(m[2]);
    const process = m[3]?.startsWith('-') ? thread : Number(m[3]);
    const rest = m[5] as string;
    switch (m[4]) {
      case 'page_fault_user':
      case 'page_fault_kernel':
        this.fault(process, rest);
        break;
      case 'sys_enter':
        this.enter(thread, rest);
        break;
      case 'sys_exit':
        this.exit(thread, process, rest);
        break;
      case 'rss_stat':
        this.counts(process, rest);
        break;
      case 'sched_process_fork':
        this.fork(thread, process, rest);
        break;
      case 'sched_prepare_exec':
        this.held.set(process, []);
        break;
      case 'tracing_mark_write':
        if (rest.startsWith('quire ')) this.mark(rest.slice(6));
        break;
      case 'sched_process_exit':
        break;
      default:
        count(this.skipped, `event ${m[4]}`);
    }
  }

  private fault(process: number, rest: string): void {
    const m = /^address=0x([0-9a-f]+) ip=\S+ error_code=0x([0-9a-f]+)$/.exec(rest);
    if (m === null) throw this.error('expected address=0x… ip=… error_code=0x…');
    const address = Number.parseInt(m[1] as string, 16);
    // The kernel's own memory.
    if (address >= USER_END) return;
    const code = Number.parseInt(m[2] as string, 16);
    const access = [(code & PF_WRITE) !== 0 ? STORE : (code & PF_INSTR) !== 0 ? FETCH : LOAD, address] as const;
    const held = this.held.get(process);
    this.found = true;
    if (held !== undefined) held.push(access);
    else {
      this.run(process);
      this.queue.push(access);
    }
  }

  /** What follows is this process's. */
  private run(process: number): void {
    const memory = this.memoryOf.get(process) ?? process;
    if (memory === this.running) return;
    this.running = memory;
    this.queue.push({ op: 'process', pid: memory });
  }

  private enter(thread: number, rest: string): void {
    const m = /^NR (-?\d+) \(([0-9a-f, ]*)\)$/.exec(rest);
    if (m === null) throw this.error('expected NR number (arguments)');
    const args = (m[2] as string).split(', ').map((word) => Number.parseInt(word, 16));
    this.calls.set(thread, { nr: Number(m[1]), args });
  }

  private exit(thread: number, process: number, rest: string): void {
    const m = /^NR (-?\d+) = (-?\d+)$/.exec(rest);
    const call = this.calls.get(thread);
    this.calls.delete(thread);
    if (m === null || call === undefined || call.nr !== Number(m[1])) return;
    const result = Number(m[2]);
    const name = callsOf[call.nr];
    if (name === undefined) count(this.skipped, `system call ${call.nr}`);
    else if (name === 'brk') this.brk(process, result);
    else if (result >= 0) this.events(process, callEvent(name, call.args, result, this.skipped));
  }

  private events(process: number, events: readonly SpaceEvent[]): void {
    for (const event of events) {
      if (!isSound(event)) {
        count(this.skipped, 'odd system call');
        continue;
      }
      this.run(process);
      this.queue.push(event);
    }
  }

  /** The heap's end: what lies between the old one and the new one is mapped or unmapped. */
  private brk(process: number, result: number): void {
    const memory = this.memoryOf.get(process) ?? process;
    const old = this.breaks.get(memory);
    this.breaks.set(memory, result);
    if (old === undefined) return;
    const from = Math.ceil(old / 4096) * 4096;
    const to = Math.ceil(result / 4096) * 4096;
    const prot = PROT_READ | PROT_WRITE;
    if (to > from) this.events(process, [{ op: 'map', address: from, length: to - from, prot, file: '' }]);
    else if (to < from) this.events(process, [{ op: 'unmap', address: to, length: from - to }]);
  }

  private counts(process: number, rest: string): void {
    const m = /^mm_id=\d+ curr=(\d) type=MM_(FILE|SHMEM)PAGES size=(-?\d+)B$/.exec(rest);
    // Of a process that is being made or taken down, not of the one that runs.
    if (m === null || m[1] !== '1' || this.held.has(process)) return;
    const bytes = Math.max(0, Number(m[3]));
    this.events(process, [
      m[2] === 'FILE' ? { op: 'counts', file: bytes, shmem: -1 } : { op: 'counts', file: -1, shmem: bytes },
    ]);
  }

  private fork(thread: number, process: number, rest: string): void {
    const m = / child_pid=(\d{1,9})$/.exec(rest);
    const call = this.calls.get(thread);
    if (m === null) return;
    const child = Number(m[1]);
    const name = call === undefined ? undefined : callsOf[call.nr];
    const shares =
      name === 'clone3' || name === 'vfork' || (name === 'clone' && ((call?.args[0] ?? 0) & CLONE_VM) !== 0);
    const memory = this.memoryOf.get(process) ?? process;
    if (shares) this.memoryOf.set(child, memory);
    else {
      const heap = this.breaks.get(memory);
      if (heap !== undefined) this.breaks.set(child, heap);
      this.events(process, [{ op: 'fork', pid: child }]);
    }
  }

  /** A line of the recorder's. */
  private mark(text: string): void {
    const [word = '', ...fields] = text.split(' ');
    if (word === 'map' || word === 'present') this.started.push([word, fields]);
    else if (word === 'started' && /^\d{1,9}$/.test(fields[0] ?? '')) this.start(Number(fields[0]));
    else if (word === 'ended' && /^\d{1,9}$/.test(fields[0] ?? '')) {
      const [pid = 0, faults = -1, majorFaults = -1, rss = -1, peak = -1] = fields.map(Number);
      if (this.memoryOf.has(pid)) return;
      this.events(pid, [{ op: 'exit', faults, majorFaults, rss, peak }]);
      this.running = -1;
    }
  }

  /** Areas and pages of the program that is being listed. */
  private started: (readonly [word: string, fields: readonly string[]])[] = [];

  private start(pid: number): void {
    this.memoryOf.delete(pid);
    this.breaks.delete(pid);
    this.run(pid);
    this.queue.push({ op: 'exec' });
    const hex = (text: string | undefined): number => Number.parseInt(text ?? '', 16);
    for (const [word, fields] of this.started) {
      if (word === 'present') {
        const page = hex(fields[0]);
        if (!(page < USER_END)) throw this.error(MAPS_EXPECTED);
        this.queue.push([STORE, page]);
        continue;
      }
      const [start = 0, end = 0] = [hex(fields[0]), hex(fields[1])];
      const rights = fields[2] ?? '';
      const file = fields[3] === '0' && !/^\[v/.test(fields[4] ?? '') ? '' : fields.slice(4).join(' ');
      if (!(end > start && end < USER_END)) throw this.error(MAPS_EXPECTED);
      const prot =
        (rights[0] === 'r' ? PROT_READ : 0) |
        (rights[1] === 'w' ? PROT_WRITE : 0) |
        (rights[2] === 'x' ? PROT_EXEC : 0) |
        (rights[3] === 's' ? SHARED : 0) |
        (fields[4] === '[stack]' ? GROWSDOWN : 0);
      const map: SpaceEvent = { op: 'map', address: start, length: end - start, prot, file };
      if (!isSound(map)) throw this.error(MAPS_EXPECTED);
      this.queue.push(map);
    }
    this.started = [];
    this.queue.push(...(this.held.get(pid) ?? []));
    this.held.delete(pid);
    this.queue.push({ op: 'begin' });
  }

  private error(what: string, line: number = this.lines): InputError {
    return new InputError(this.stream.path, line, what);
  }
}

export const readFaults = (stream: Stream, rows: number = ACCESS_ROWS): AccessSource => new FaultsReader(stream, rows);

/** Reads the recording of faults at `path`; `-` is standard input. */
export const openFaults = (path: string): AccessSource => opened(path, readFaults);

/** Reads a recording of faults that is in memory. */
export const faultsFrom = (name: string, data: string, rows: number = ACCESS_ROWS): AccessSource =>
  readFaults(memoryStream(name, data), rows);
