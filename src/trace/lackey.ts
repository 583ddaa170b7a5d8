/**
 * valgrind's lackey, `valgrind --tool=lackey --trace-mem=yes`: text, a reference a line.
 *
 *     I  04016f30,3      fetch of 3 bytes          L 1fff000748,8      load
 *      S 1fff000748,8    store                     M 1fff000750,4     modify: load, then store
 *
 * Lines that begin with `==` or `--` are valgrind's chatter. Where no log file was asked for, the program's own words stand
 * among them: any other line is counted and passed over. mmap and munmap are not in it.
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
  MODIFY,
  nothingIn,
  STORE,
} from './access.ts';
import { quoted } from './bytes.ts';
import { HEX, KERNEL_HIGH, USER_HIGH } from './hex.ts';
import { Feed, memoryStream, openStream, type Stream } from './stream.ts';

const NEWLINE = 10;
const SPACE = 32;
const COMMA = 44;
const DASH = 45;
const ZERO = 48;
const EQUALS = 61;
const I = 73;
const L = 76;
const M = 77;
const S = 83;
const SIZE_MAX = 65535;

class LackeyReader implements AccessSource {
  readonly name: string;
  readonly total = -1;
  readonly told = false;
  readonly regions = null;
  readonly skipped: Record<string, number> = {};
  private readonly stream: Stream;
  private readonly feed: Feed;
  private readonly batch: Accesses;
  /** Lines before bytes[at]. */
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
      const before = feed.at;
      row = this.parse(row);
      if (row === batch.rows || feed.at > before) continue;
      // No whole line is in hand.
      const full = feed.at === 0 && feed.end === feed.room;
      if (full) throw this.error(`a line of more than ${feed.end} bytes, expected a reference`);
      if (feed.more()) continue;
      if (feed.at < feed.end) throw this.error('the last line has no end: is the file cut off?');
      break;
    }
    batch.count = row;
    if (row > 0) this.found = true;
    else if (!this.found) throw nothingIn(this.stream.path, 'the output of valgrind --tool=lackey --trace-mem=yes');
    return row > 0 ? batch : null;
  }

  close(): void {
    this.stream.close();
  }

  /** Whole lines from `feed.at` on into the batch from `row` on; the first row that is left. */
  private parse(row: number): number {
    const { feed, batch } = this;
    const { bytes, end } = feed;
    const { address, size, kind, rows } = batch;
    const hex = HEX;
    let at = feed.at;
    let lines = this.lines;
    while (row < rows) {
      // `I  ` or ` L `: four bytes are there in every whole line of interest.
      if (at + 4 > end) break;
      const first = bytes[at] as number;
      const second = bytes[at + 1] as number;
      let k = -1;
      if (bytes[at + 2] === SPACE) {
        if (first === SPACE) k = second === L ? LOAD : second === S ? STORE : second === M ? MODIFY : -1;
        else if (first === I && second === SPACE) k = FETCH;
      }
      if (k < 0) {
        const next = this.other(at);
        if (next < 0) break;
        at = next;
        lines++;
        continue;
      }
      // Reads past `end` meet what was there before, or the margin; whether the line is whole is looked at below.
      const d0 = hex[bytes[at + 3] as number] as number;
      const d1 = hex[bytes[at + 4] as number] as number;
      const d2 = hex[bytes[at + 5] as number] as number;
      const d3 = hex[bytes[at + 6] as number] as number;
      const d4 = hex[bytes[at + 7] as number] as number;
      const d5 = hex[bytes[at + 8] as number] as number;
      const d6 = hex[bytes[at + 9] as number] as number;
      const d7 = hex[bytes[at + 10] as number] as number;
      let good = (d0 | d1 | d2 | d3 | d4 | d5 | d6 | d7) < 16;
      let low = (d0 << 28) | (d1 << 24) | (d2 << 20) | (d3 << 16) | (d4 << 12) | (d5 << 8) | (d6 << 4) | d7;
      let high = 0;
      let p = at + 11;
      let c = bytes[p++] as number;
      while (c !== COMMA && p < at + 20) {
        const digit = hex[c] as number;
        if (digit > 15) break;
        high = (high << 4) | (low >>> 28);
        low = (low << 4) | digit;
        c = bytes[p++] as number;
      }
      good = good && c === COMMA;
      let n = ((bytes[p++] as number) - ZERO) >>> 0;
      good = good && n < 10;
      c = bytes[p] as number;
      while (c !== NEWLINE && n <= SIZE_MAX) {
        const digit = (c - ZERO) >>> 0;
        if (digit > 9) break;
        n = n * 10 + digit;
        c = bytes[++p] as number;
      }
      if (p >= end && this.lineEnd(at) < 0) break;
      if (p >= end || !good || c !== NEWLINE || n === 0 || n > SIZE_MAX) {
        this.lines = lines;
        feed.at = at;
        throw this.error(`${quoted(this.line(at))}, expected a reference like " L 1fff000748,8"`);
      }
      lines++;
      if (high < 0 || high >= USER_HIGH) {
        if (high >>> 0 < KERNEL_HIGH) {
          this.lines = lines - 1;
          throw this.error(beyond((BigInt(high >>> 0) * 4294967296n + BigInt(low >>> 0)).toString(16)));
        }
        count(this.skipped, 'kernel address');
      } else {
        address[row] = high * 4294967296 + (low >>> 0);
        size[row] = n;
        kind[row] = k;
        row++;
      }
      at = p + 1;
    }
    this.lines = lines;
    feed.at = at;
    return row;
  }

  /** Where the line at `at` ends, or -1 when it is not all in hand. */
  private lineEnd(at: number): number {
    const newline = this.feed.bytes.indexOf(NEWLINE, at);
    return newline < this.feed.end ? newline : -1;
  }

  /** Passes over a line that is no reference; -1 when it is not all in hand. */
  private other(at: number): number {
    const { bytes } = this.feed;
    const newline = this.lineEnd(at);
    if (newline < 0) return -1;
    const chatter = bytes[at] === bytes[at + 1] && (bytes[at] === EQUALS || bytes[at] === DASH);
    if (!chatter) count(this.skipped, 'line that is no reference');
    return newline + 1;
  }

  private line(at: number): string {
    const newline = this.lineEnd(at);
    return Buffer.from(this.feed.bytes.subarray(at, newline < 0 ? this.feed.end : newline)).toString('latin1');
  }

  private error(what: string): InputError {
    return new InputError(this.stream.path, this.lines + 1, what);
  }
}

export const readLackey = (stream: Stream, rows: number = ACCESS_ROWS): AccessSource => new LackeyReader(stream, rows);

/** Reads the lackey trace at `path`; `-` is standard input. */
export const openLackey = (path: string): AccessSource => readLackey(openStream(path));

/** Reads a lackey trace that is in memory. */
export const lackeyFrom = (name: string, data: Uint8Array | string, rows: number = ACCESS_ROWS): AccessSource =>
  readLackey(memoryStream(name, data), rows);
