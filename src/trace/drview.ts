/**
 * The text of DynamoRIO's view tool, `drrun -t drmemtrace -tool view -indir …`:
 *
 *          47445       37770:     2765543 ifetch       5 byte(s) @ 0x0000000000404a7e 48 8b 5c 24 08  mov …
 *          47446       37770:  W0.T765543 read         8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e
 *          47450       37773:     2765543 <marker: …>
 *
 * Record number, instruction number, thread, then what it is. Prefetches and flushes are counted and passed over; so are
 * lines of any other form, for the program's own output may stand among them.
 */
import { InputError } from '../base/errors.ts';
import {
  ACCESS_ROWS,
  type Accesses,
  type AccessSource,
  accesses,
  beyond,
  count,
  FETCH,
  LOAD,
  nothingIn,
  STORE,
} from './access.ts';
import { opened } from './access_records.ts';
import { quoted } from './bytes.ts';
import { HEX, KERNEL_HIGH, USER_HIGH } from './hex.ts';
import { Feed, memoryStream, type Stream } from './stream.ts';

const NEWLINE = 10;
const SPACE = 32;
const ZERO = 48;
const COLON = 58;
const ANGLE = 60;
/** ` byte(s) @ 0x` */
const BETWEEN = Uint8Array.from(Buffer.from(' byte(s) @ 0x'));

const wordOf = (text: string): number => Buffer.from(text).readUInt32LE(0);
const READ = wordOf('read');
const WRIT = wordOf('writ');
const IFET = wordOf('ifet');

class DrviewReader implements AccessSource {
  readonly name: string;
  readonly total = -1;
  readonly told = false;
  readonly regions = null;
  readonly skipped: Record<string, number> = {};
  private readonly stream: Stream;
  private readonly feed: Feed;
  private readonly batch: Accesses;
  private lines = 0;
  private found = false;

  constructor(stream: Stream, rows: number) {
    this.stream = stream;
    this.name = stream.name;
    this.feed = new Feed(stream);
    this.batch = accesses(rows);
  }

  next(): Accesses | null {
    const { batch, feed } = this;
    let row = 0;
    while (row < batch.rows) {
      const newline = feed.bytes.indexOf(NEWLINE, feed.at);
      if (newline >= 0 && newline < feed.end) {
        row = this.line(feed.at, newline, row);
        feed.at = newline + 1;
        this.lines++;
      } else if (!feed.more()) {
        if (feed.end - feed.at === feed.room) throw this.error(`a line of more than ${feed.room} bytes`);
        if (feed.at < feed.end) throw this.error('the last line has no end: is the file cut off?');
        break;
      }
    }
    batch.count = row;
    if (row > 0) this.found = true;
    else if (!this.found) throw nothingIn(this.stream.path, "the text of DynamoRIO's view tool");
    return row > 0 ? batch : null;
  }

  close(): void {
    this.stream.close();
  }

  private line(from: number, end: number, row: number): number {
    const { bytes } = this.feed;
    let p = from;
    while (bytes[p] === SPACE) p++;
    const number = p;
    while (((bytes[p] as number) - ZERO) >>> 0 < 10) p++;
    if (p === number || bytes[p] !== SPACE) return this.other(row);
    while (bytes[p] === SPACE) p++;
    while (((bytes[p] as number) - ZERO) >>> 0 < 10) p++;
    if (bytes[p] !== COLON) return this.other(row);
    p++;
    while (bytes[p] === SPACE) p++;
    // The thread, `2765543` or `W0.T2765543`.
    while (bytes[p] !== SPACE && p < end) p++;
    while (bytes[p] === SPACE) p++;
    if (bytes[p] === ANGLE) return row;
    const word =
      (bytes[p] as number) |
      ((bytes[p + 1] as number) << 8) |
      ((bytes[p + 2] as number) << 16) |
      ((bytes[p + 3] as number) << 24);
    const kind = word === READ ? LOAD : word === WRIT ? STORE : word === IFET ? FETCH : -1;
    if (kind < 0 || p >= end) return this.other(row);
    while (bytes[p] !== SPACE && p < end) p++;
    while (bytes[p] === SPACE) p++;
    let size = 0;
    for (; size < 65536; p++) {
      const digit = ((bytes[p] as number) - ZERO) >>> 0;
      if (digit > 9) break;
      size = size * 10 + digit;
    }
    for (let i = 0; i < BETWEEN.length; i++) if (bytes[p + i] !== BETWEEN[i]) throw this.bad(from, end);
    p += BETWEEN.length;
    let high = 0;
    let low = 0;
    const digits = p;
    for (; p - digits < 17; p++) {
      const digit = HEX[bytes[p] as number] as number;
      if (digit > 15) break;
      high = (high << 4) | (low >>> 28);
      low = (low << 4) | digit;
    }
    if (p > end || p === digits || p - digits > 16 || size === 0 || size > 65535) throw this.bad(from, end);
    if (bytes[p] !== SPACE && p !== end) throw this.bad(from, end);
    if (high >>> 0 >= USER_HIGH) {
      if (high >>> 0 < KERNEL_HIGH)
        throw this.error(beyond((BigInt(high >>> 0) * 4294967296n + BigInt(low >>> 0)).toString(16)));
      count(this.skipped, 'kernel address');
      return row;
    }
    const { batch } = this;
    batch.address[row] = high * 4294967296 + (low >>> 0);
    batch.size[row] = size;
    batch.kind[row] = kind;
    return row + 1;
  }

  private other(row: number): number {
    count(this.skipped, 'line that is no access');
    return row;
  }

  private bad(from: number, end: number): InputError {
    const text = Buffer.from(this.feed.bytes.subarray(from, end)).toString('latin1').trim();
    return this.error(`${quoted(text)}, expected "read 8 byte(s) @ 0x…"`);
  }

  private error(what: string): InputError {
    return new InputError(this.stream.path, this.lines + 1, what);
  }
}

export const readDrview = (stream: Stream, rows: number = ACCESS_ROWS): AccessSource => new DrviewReader(stream, rows);

/** Reads the view tool's text at `path`; `-` is standard input. */
export const openDrview = (path: string): AccessSource => opened(path, readDrview);

/** Reads the view tool's text that is in memory. */
export const drviewFrom = (name: string, data: Uint8Array | string, rows: number = ACCESS_ROWS): AccessSource =>
  readDrview(memoryStream(name, data), rows);
