/** What readers of binary traces share: whole records of a fixed size in a window of words. */
import { endianness } from 'node:os';
import { InputError, QuireError } from '../base/errors.ts';
import { type Accesses, type AccessSource, accesses, beyond, count, nothingIn } from './access.ts';
import { KERNEL_HIGH } from './hex.ts';
import { Feed, openStream, type Stream } from './stream.ts';

/** Words of the window: it holds whole records of any of the formats. */
const ROOM = 12 * 64 * 256;

export abstract class RecordReader implements AccessSource {
  readonly name: string;
  readonly total = -1;
  readonly told = false;
  readonly regions = null;
  readonly skipped: Record<string, number> = {};
  protected readonly batch: Accesses;
  /** The window as 32-bit words; records lie on their multiples. */
  protected readonly words: Uint32Array;
  protected readonly feed: Feed;
  private readonly stream: Stream;
  private readonly recordBytes: number;
  private readonly format: string;
  /** Rows that one record can take. */
  private readonly rowsEach: number;
  private found = false;

  constructor(stream: Stream, rows: number, format: string, recordBytes: number, rowsEach: number) {
    if (endianness() !== 'LE') throw new QuireError('EOPNOTSUPP', `${format}: read on little-endian machines only`);
    this.stream = stream;
    this.name = stream.name;
    this.format = format;
    this.recordBytes = recordBytes;
    this.rowsEach = rowsEach;
    this.batch = accesses(Math.max(rows, rowsEach));
    this.feed = new Feed(stream, ROOM);
    this.words = new Uint32Array(this.feed.bytes.buffer);
  }

  next(): Accesses | null {
    const { batch, feed, recordBytes } = this;
    let row = 0;
    while (row <= batch.rows - this.rowsEach) {
      if (feed.have(recordBytes)) {
        row = this.parse(row);
        continue;
      }
      const rest = feed.end - feed.at;
      if (rest > 0)
        throw this.error(`the last record has ${rest} bytes, expected ${recordBytes}: is the file cut off?`);
      break;
    }
    batch.count = row;
    if (row > 0) this.found = true;
    else if (!this.found) throw nothingIn(this.stream.path, this.format);
    return row > 0 ? batch : null;
  }

  close(): void {
    this.stream.close();
  }

  /** The whole records in hand, as many as there is room for, into the batch from `row` on. Moves feed.at. */
  protected abstract parse(row: number): number;

  protected error(what: string, at: number = this.feed.at): InputError {
    const record = Math.floor((this.feed.before + at) / this.recordBytes) + 1;
    return new InputError(this.stream.path, 0, `record ${record}: ${what}`);
  }

  /** An address that is not a program's: the kernel's are counted and passed over, others are an error. */
  protected outside(high: number, low: number, at: number): void {
    if (high < KERNEL_HIGH) throw this.error(beyond((BigInt(high) * 4294967296n + BigInt(low)).toString(16)), at);
    count(this.skipped, 'kernel address');
  }
}

/** Opens a trace with the reader that `make` makes; what it has opened is closed when that fails. */
export function opened(path: string, make: (stream: Stream) => AccessSource): AccessSource {
  const stream = openStream(path);
  try {
    return make(stream);
  } catch (error) {
    stream.close();
    throw error;
  }
}
