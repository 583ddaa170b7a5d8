/**
 * DynamoRIO's memory traces (drmemtrace), as the records that lie in its zip files, unpacked and joined:
 *
 *     unzip -p drmemtrace.*.trace.zip | quire import dynamorio - -o run.qacc
 *
 * A record is 12 bytes, little-endian and packed: u16 type, u16 size, u64 address. Type, and what becomes of it:
 *
 *     0 read, 1 write                 load, store
 *     10–16, 31, 48, 49 instruction   fetch
 *     17 bundle                       fetches: `size` instructions, their lengths in the address's bytes, after the last one
 *     2–9, 27, 32–46 prefetches, 18–21 flushes, 29, 30 instructions without a fetch: counted, passed over
 *     22 thread … 28 marker, 47 encoding: about the trace; passed over
 */
import { ACCESS_ROWS, type AccessSource, count, FETCH, LOAD, STORE } from './access.ts';
import { opened, RecordReader } from './access_records.ts';
import { USER_HIGH } from './hex.ts';
import { memoryStream, type Stream } from './stream.ts';

export const DRMEMTRACE_BYTES = 12;
const WORDS = DRMEMTRACE_BYTES / 4;
const BUNDLE_MAX = 8;

export const TYPE_HEADER = 25;
const TYPE_BUNDLE = 17;

const DATA_LOAD = 1;
const DATA_STORE = 2;
const INSTRUCTION = 3;
const BUNDLE = 4;
const ABOUT = 5;
const PASSED = 6;

/** What a type is, by its number; what is not here is no type. */
const classes: Uint8Array = (() => {
  const out = new Uint8Array(50).fill(PASSED);
  out[0] = DATA_LOAD;
  out[1] = DATA_STORE;
  for (const type of [10, 11, 12, 13, 14, 15, 16, 31, 48, 49]) out[type] = INSTRUCTION;
  out[TYPE_BUNDLE] = BUNDLE;
  for (const type of [22, 23, 24, TYPE_HEADER, 26, 28, 47]) out[type] = ABOUT;
  return out;
})();

const passedNames = (type: number): string =>
  type >= 18 && type <= 21 ? 'cache flush' : type === 29 || type === 30 ? 'instruction without a fetch' : 'prefetch';

class DrmemtraceReader extends RecordReader {
  private nextPc = 0;

  constructor(stream: Stream, rows: number) {
    super(stream, rows, 'DynamoRIO records of 12 bytes', DRMEMTRACE_BYTES, BUNDLE_MAX);
  }

  protected parse(first: number): number {
    const { words, feed, batch } = this;
    const { address, size, kind } = batch;
    let row = first;
    let w = feed.at / 4;
    const last = Math.floor(feed.end / 4) - WORDS;
    const lastRow = batch.rows - BUNDLE_MAX;
    for (; w <= last && row <= lastRow; w += WORDS) {
      const head = words[w] as number;
      const type = head & 0xffff;
      const bytes = head >>> 16;
      const what = type < classes.length ? (classes[type] as number) : 0;
      if (what === ABOUT) continue;
      if (what === 0) throw this.error(`type ${type}, expected a DynamoRIO record: is it another format?`, w * 4);
      if (what === PASSED) {
        count(this.skipped, passedNames(type));
        continue;
      }
      if (what === BUNDLE) {
        row = this.bundle(w, bytes, row);
        continue;
      }
      const low = words[w + 1] as number;
      const high = words[w + 2] as number;
      if (high >= USER_HIGH) {
        this.outside(high, low, w * 4);
        continue;
      }
      if (bytes === 0) {
        count(this.skipped, 'access of 0 bytes');
        continue;
      }
      const at = high * 4294967296 + low;
      address[row] = at;
      size[row] = bytes;
      kind[row] = what === DATA_LOAD ? LOAD : what === DATA_STORE ? STORE : FETCH;
      if (what === INSTRUCTION) this.nextPc = at + bytes;
      row++;
    }
    feed.at = w * 4;
    return row;
  }

  private bundle(w: number, instructions: number, first: number): number {
    if (instructions > BUNDLE_MAX)
      throw this.error(`a bundle of ${instructions}, expected at most ${BUNDLE_MAX} instructions`, w * 4);
    const { bytes } = this.feed;
    const { address, size, kind } = this.batch;
    let row = first;
    for (let i = 0; i < instructions; i++) {
      const length = bytes[w * 4 + 4 + i] as number;
      if (length === 0) throw this.error('an instruction of 0 bytes in a bundle', w * 4);
      address[row] = this.nextPc;
      size[row] = length;
      kind[row] = FETCH;
      this.nextPc += length;
      row++;
    }
    return row;
  }
}

export const readDrmemtrace = (stream: Stream, rows: number = ACCESS_ROWS): AccessSource =>
  new DrmemtraceReader(stream, rows);

/** Reads the DynamoRIO records at `path`; `-` is standard input. */
export const openDrmemtrace = (path: string): AccessSource => opened(path, readDrmemtrace);

/** Reads DynamoRIO records that are in memory. */
export const drmemtraceFrom = (name: string, data: Uint8Array, rows: number = ACCESS_ROWS): AccessSource =>
  readDrmemtrace(memoryStream(name, data), rows);
