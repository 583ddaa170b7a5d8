/**
 * One line of an strace log taken apart: who, which call, its arguments as text, its result. What a line may hold:
 *
 *     7080  1732180000.123456 openat(AT_FDCWD</srv>, "a", O_RDONLY) = 3</srv/a> <0.000042>
 *     [pid 7080] read(3</srv/a>,  <unfinished ...>
 *     [pid 7080] <... read resumed>"abc"..., 4096) = 3
 *     7080  +++ exited with 0 +++            7080  --- SIGCHLD {si_signo=SIGCHLD, …} ---
 *
 * Nothing here throws: a line that is none of these has kind 'odd'.
 */

export type LineKind = 'call' | 'unfinished' | 'resumed' | 'exit' | 'superseded' | 'signal' | 'odd';

export interface StraceLine {
  kind: LineKind;
  /** 0 when the log names no process (one process, or a file for each). */
  pid: number;
  /** Of the call; for 'superseded', the number of the thread that called execve. */
  name: string;
  /** Text after the name's parenthesis: for 'unfinished' what was printed so far, for 'resumed' the rest. */
  text: string;
}

// Process, time of day or seconds, instruction pointer or call number in brackets, time since the last line.
const PREFIX =
  /^ *(?:\[pid +(\d{1,10})\] +|(\d{1,10}) +)?(?:\d+:\d\d:\d\d(?:\.\d+)? +|\d+\.\d+ +)?(?:\( *\+? *\d+\.\d+\) +)?(?:\[ *[\da-fx]+\] +)*/;
const CALL = /^([a-z_][a-z0-9_]*)\(/;
const RESUMED = /^<\.\.\. ([a-z_][a-z0-9_]*) resumed> ?/;
const UNFINISHED = / *<unfinished \.\.\.>$/;
const SUPERSEDED = /^\+\+\+ superseded by execve in pid (\d+) \+\+\+$/;

export function parseLine(line: string): StraceLine {
  const head = PREFIX.exec(line)!;
  const pid = Number(head[1] ?? head[2] ?? 0);
  const rest = line.slice(head[0].length);
  const call = CALL.exec(rest);
  if (call !== null) {
    const name = call[1]!;
    const text = rest.slice(call[0].length);
    if (text.endsWith('>') && UNFINISHED.test(text)) {
      return { kind: 'unfinished', pid, name, text: text.replace(UNFINISHED, '') };
    }
    return { kind: 'call', pid, name, text };
  }
  const resumed = RESUMED.exec(rest);
  if (resumed !== null) return { kind: 'resumed', pid, name: resumed[1]!, text: rest.slice(resumed[0].length) };
  if (rest.startsWith('+++ ')) {
    const by = SUPERSEDED.exec(rest);
    return by === null
      ? { kind: 'exit', pid, name: '', text: '' }
      : { kind: 'superseded', pid, name: by[1]!, text: '' };
  }
  return { kind: rest.startsWith('--- ') ? 'signal' : 'odd', pid, name: '', text: '' };
}

/** A call that has returned. */
export interface Call {
  readonly name: string;
  readonly args: readonly string[];
  /** Number returned; -1 with an error name behind it; NaN for `?`. */
  readonly result: number;
  /** What stands behind `=`, the number included. */
  readonly resultText: string;
}

/** The arguments and the result of a call, or null when the text does not end as a call does. */
export function parseCall(name: string, text: string): Call | null {
  const args: string[] = [];
  const close = splitArguments(text, args);
  if (close < 0) return null;
  const result = /^ *= (.*)$/.exec(text.slice(close + 1))?.[1];
  if (result === undefined) return null;
  return { name, args, result: number(result), resultText: result };
}

/** The arguments of a call that has not returned, as far as they are printed. */
export function parseArguments(text: string): string[] {
  const args: string[] = [];
  splitArguments(text, args);
  return args;
}

/** Cuts at the commas that are in no quotes, brackets or <>. Gives the place of the closing parenthesis, or -1. */
function splitArguments(text: string, args: string[]): number {
  let depth = 0;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 34: // "
        i = endOfString(text, i);
        break;
      case 60: // <
        i = endOfAnnotation(text, i);
        break;
      case 47: // a remark
        if (text.charCodeAt(i + 1) === 42) i = endOfRemark(text, i);
        break;
      case 40: // (
      case 91: // [
      case 123: // {
        depth++;
        break;
      case 93: // ]
      case 125: // }
        depth--;
        break;
      case 41: // )
        if (depth <= 0) {
          pushTrimmed(args, text, from, i);
          return i;
        }
        depth--;
        break;
      case 44: // ,
        if (depth <= 0) {
          pushTrimmed(args, text, from, i);
          from = i + 1;
        }
        break;
      default:
    }
  }
  pushTrimmed(args, text, from, text.length);
  return -1;
}

function pushTrimmed(args: string[], text: string, from: number, to: number): void {
  const arg = text.slice(from, to).trim();
  if (arg !== '' || args.length > 0) args.push(arg);
}

function endOfString(text: string, from: number): number {
  for (let i = from + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 92) i++;
    else if (c === 34) return i;
  }
  return text.length;
}

// A remark stands behind flags that strace has no name for.
function endOfRemark(text: string, from: number): number {
  const end = text.indexOf('*/', from + 2);
  return end < 0 ? text.length : end + 1;
}

/** `3</a/path>` (strace writes < and > in a path as \74 and \76), `3<pipe:[1]>`, `3<TCP:[a->b]>`; but not `1<<2`. */
function endOfAnnotation(text: string, from: number): number {
  const next = text.charAt(from + 1);
  if (next === '<') return from + 1;
  const end = next === '/' ? -1 : text.indexOf(']>', from);
  const close = text.indexOf('>', from);
  if (end >= 0 && !text.slice(from, end).includes(', ')) return end + 1;
  return close < 0 ? from : close;
}

/** The number that a text begins with, decimal or 0x hexadecimal; NaN when there is none. */
export function number(text: string | undefined): number {
  if (text === undefined) return Number.NaN;
  const digits = /^(?:0x[\da-f]+|-?\d+)/.exec(text);
  return digits === null ? Number.NaN : Number(digits[0]);
}

/** `[4096]` and `[4096] => [8192]` begin with what went in; `NULL` and everything else has no number. */
export const pointed = (text: string | undefined): number =>
  text?.startsWith('[') ? number(text.slice(1)) : Number.NaN;

/** What stands in `<>` behind a handle: `/a/path`, `pipe:[1]`; null without -y. */
export function annotation(text: string): string | null {
  const from = text.indexOf('<');
  if (from < 0) return null;
  const to = text.startsWith('<unfinished', from) ? -1 : endOfAnnotation(text, from);
  return to > from ? text.slice(from + 1, to) : null;
}

/** The text of a string argument, without quotes and escapes; null for NULL and addresses. One character a byte. */
export function unquote(text: string | undefined): string | null {
  if (text === undefined || !text.startsWith('"')) return null;
  return unescaped(text.slice(1, endOfString(text, 0)));
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', v: '\v', f: '\f', a: '\x07', b: '\b' };

/** Takes strace's escapes out of a text: \n, \303, \x7f, \". */
export function unescaped(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(?:x([\da-f]{2})|([0-7]{1,3})|(.))/gs, (_, hex, octal, other) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 255);
    return escapes[other] ?? other;
  });
}
