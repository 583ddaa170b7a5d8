/**
 * Recordings of `strace -f -y -o FILE PROGRAM…`, as any program that was ever traced has left them. What the calls did to
 * files becomes the operations of an ops script; what is kept and what is lost is told in docs/formats.md.
 *
 * The whole log is read before the first event is given: how large a file was in the beginning may be known only at the
 * end. Odd lines are counted, never refused; a file without a single line of strace is.
 */
import { InputError } from '../base/errors.ts';
import { type Bytes, fileBytes, memoryBytes } from './bytes.ts';
import {
  defaultSettings,
  type Events,
  eventLayout,
  events,
  type TraceFile,
  type TraceSettings,
  type TraceSource,
} from './event.ts';
import { atOnce, forks, handlers } from './strace_calls.ts';
import { type Call, parseArguments, parseCall, parseLine } from './strace_line.ts';
import { type StraceOptions, World } from './strace_world.ts';

const CHUNK = 1 << 20;
/** A longer line is none of strace's: it prints 32 bytes of a string unless told more. */
const LINE_MAX = 1 << 20;
const BATCH = 4096;

interface Unfinished {
  readonly name: string;
  readonly text: string;
  /** Its effect was taken at its beginning. */
  readonly done: boolean;
}

class Log {
  readonly world: World;
  /** Lines that strace writes. */
  lines = 0;
  private readonly unfinished = new Map<number, Unfinished>();

  constructor(options: StraceOptions) {
    this.world = new World(options);
  }

  line(text: string, number: number): void {
    this.world.script.line = number;
    if (text === '') return;
    const line = parseLine(text);
    const { world, unfinished } = this;
    switch (line.kind) {
      case 'call': {
        const call = parseCall(line.name, line.text);
        if (call === null) {
          this.odd();
          return;
        }
        this.lines++;
        if (forks.has(call.name)) world.process(line.pid);
        this.returned(line.pid, call);
        return;
      }
      case 'unfinished': {
        this.lines++;
        const args = line.text;
        if (forks.has(line.name)) world.forkBegins(line.pid, line.name === 'vfork' ? 'CLONE_VM' : args);
        const done = atOnce.has(line.name);
        if (done) this.handle(line.pid, { name: line.name, args: parseArguments(args), result: 0, resultText: '0' });
        unfinished.set(line.pid, { name: line.name, text: args, done });
        return;
      }
      case 'resumed': {
        const begun = unfinished.get(line.pid);
        unfinished.delete(line.pid);
        // A log may begin in the middle of a call.
        const call = begun?.name === line.name ? parseCall(line.name, `${begun.text}${line.text}`) : null;
        if (begun === undefined || call === null) {
          this.odd();
          return;
        }
        this.lines++;
        if (!begun.done) this.returned(line.pid, call);
        return;
      }
      case 'exit':
        this.lines++;
        unfinished.delete(line.pid);
        world.exited(line.pid);
        return;
      case 'superseded': {
        this.lines++;
        const begun = unfinished.get(Number(line.name));
        unfinished.delete(Number(line.name));
        if (begun !== undefined) unfinished.set(line.pid, begun);
        world.superseded(line.pid, Number(line.name));
        return;
      }
      case 'signal':
        this.lines++;
        return;
      case 'odd':
        this.odd();
    }
  }

  odd(): void {
    this.world.script.skip('odd line');
  }

  private returned(pid: number, call: Call): void {
    if (call.result >= 0) this.handle(pid, call);
    else if (forks.has(call.name)) this.world.forked(pid, '', -1);
  }

  private handle(pid: number, call: Call): void {
    const handler = Object.hasOwn(handlers, call.name) ? handlers[call.name] : undefined;
    const process = this.world.process(pid);
    handler?.(this.world, process, call, pid);
  }
}

class StraceReader implements TraceSource {
  readonly name: string;
  readonly settings: TraceSettings = defaultSettings();
  readonly files: readonly TraceFile[];
  readonly skipped: Readonly<Record<string, number>>;
  private readonly all: Events;
  private readonly batch: Events;
  private at = 0;

  constructor(source: Bytes, options: StraceOptions, rows: number, chunk: number) {
    this.name = source.name;
    const log = new Log(options);
    eachLine(source, chunk, (text, number) => {
      if (text === null) log.odd();
      else log.line(text, number);
    });
    if (log.lines === 0) {
      const what = source.size === 0 ? 'empty file' : 'not one line of strace';
      throw new InputError(source.path, 0, `${what}, expected the output of strace -f -y -o FILE`);
    }
    const { script } = log.world;
    this.files = script.files();
    this.skipped = script.skipped;
    this.all = script.events;
    this.batch = events(rows);
  }

  next(): Events | null {
    const { all, batch, at } = this;
    const count = Math.min(batch.rows, all.count - at);
    if (count <= 0) return null;
    for (const name of Object.keys(eventLayout) as (keyof typeof eventLayout)[]) {
      batch[name].set(all[name].subarray(at, at + count));
    }
    batch.count = count;
    this.at = at + count;
    return batch;
  }

  close(): void {
    this.at = this.all.count;
  }
}

/** Gives the lines one by one, as one character a byte; null for one that is too long. Line numbers count from 1. */
function eachLine(source: Bytes, chunk: number, use: (text: string | null, number: number) => void): void {
  const bytes = new Uint8Array(chunk);
  let rest = '';
  let tooLong = false;
  let number = 0;
  for (let at = 0; ; ) {
    const got = source.read(bytes, at);
    if (got === 0) break;
    at += got;
    const text = rest + Buffer.from(bytes.buffer, 0, got).toString('latin1');
    let from = 0;
    for (let to = text.indexOf('\n'); to >= 0; to = text.indexOf('\n', from)) {
      number++;
      const end = to > from && text.charCodeAt(to - 1) === 13 ? to - 1 : to;
      use(tooLong ? null : text.slice(from, end), number);
      tooLong = false;
      from = to + 1;
    }
    rest = text.slice(from);
    if (rest.length > LINE_MAX) {
      tooLong = true;
      rest = '';
    }
  }
  if (rest !== '') use(tooLong ? null : rest, number + 1);
}

function reader(source: Bytes, options: StraceOptions, rows = BATCH, chunk = CHUNK): TraceSource {
  try {
    return new StraceReader(source, options, rows, chunk);
  } finally {
    source.close();
  }
}

/** Reads the strace log at `path`. */
export const openStrace = (path: string, options: StraceOptions = {}): TraceSource => reader(fileBytes(path), options);

/** Reads an strace log that is in memory. */
export const straceFrom = (
  name: string,
  data: Uint8Array | string,
  options: StraceOptions = {},
  rows = BATCH,
): TraceSource => reader(memoryBytes(name, data), options, rows);
