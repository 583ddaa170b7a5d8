/**
 * ChampSim's traces: an instruction a record of 64 bytes, little-endian.
 *
 *     0        8 9 10     12         16                32                              64
 *     | ip     |b|t| dst  | src regs | dst_mem[2]      | src_mem[4]                    |
 *
 * b: is a branch, t: taken. An address of 0 is none. An instruction becomes its fetch, its loads, its stores, in this order.
 * Sizes are not in the format: every access is one byte.
 */
import { ACCESS_ROWS, type AccessSource, FETCH, LOAD, STORE } from './access.ts';
import { opened, RecordReader } from './access_records.ts';
import { USER_HIGH } from './hex.ts';
import { memoryStream, type Stream } from './stream.ts';

export const CHAMPSIM_BYTES = 64;
const WORDS = CHAMPSIM_BYTES / 4;
const BRANCH = 2;
const STORES = 4;
const LOADS = 8;
const ROWS_EACH = 7;

class ChampsimReader extends RecordReader {
  constructor(stream: Stream, rows: number) {
    super(stream, rows, 'ChampSim records of 64 bytes', CHAMPSIM_BYTES, ROWS_EACH);
    this.batch.size.fill(1);
  }

  protected parse(first: number): number {
    const { words, feed, batch } = this;
    const { address, kind } = batch;
    let row = first;
    let w = feed.at / 4;
    const last = Math.floor(feed.end / 4) - WORDS;
    const lastRow = batch.rows - ROWS_EACH;
    for (; w <= last && row <= lastRow; w += WORDS) {
      // is_branch and taken are 0 or 1, whatever the registers are.
      if (((words[w + BRANCH] as number) & 0xfefe) !== 0)
        throw this.error('a branch flag above 1, expected ChampSim records: is it another format?', w * 4);
      row = this.put(w, FETCH, address, kind, row, w);
      for (let i = LOADS; i < WORDS; i += 2) row = this.put(w + i, LOAD, address, kind, row, w);
      for (let i = STORES; i < LOADS; i += 2) row = this.put(w + i, STORE, address, kind, row, w);
    }
    feed.at = w * 4;
    return row;
  }

  private put(at: number, k: number, address: Float64Array, kind: Uint8Array, row: number, record: number): number {
    const low = this.words[at] as number;
    const high = this.words[at + 1] as number;
    if (high >= USER_HIGH) {
      this.outside(high, low, record * 4);
      return row;
    }
    if (low === 0 && high === 0) return row;
    address[row] = high * 4294967296 + low;
    kind[row] = k;
    return row + 1;
  }
}

export const readChampsim = (stream: Stream, rows: number = ACCESS_ROWS): AccessSource =>
  new ChampsimReader(stream, rows);

/** Reads the ChampSim trace at `path`; `-` is standard input. */
export const openChampsim = (path: string): AccessSource => opened(path, readChampsim);

/** Reads a ChampSim trace that is in memory. */
export const champsimFrom = (name: string, data: Uint8Array, rows: number = ACCESS_ROWS): AccessSource =>
  readChampsim(memoryStream(name, data), rows);
