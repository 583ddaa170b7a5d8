/** Which pages of 4 KiB a program has touched, as bits: memory for what is touched, a megabyte of addresses at a time. */

/** 2^15 pages, 128 MiB, a piece of 1024 words. */
const PIECE_SHIFT = 27;
const PIECE_BYTES: number = 2 ** PIECE_SHIFT;
const PIECE_WORDS = 1024;
export const TOUCHED_PAGE = 4096;
const PER_PIECE: number = 1 / PIECE_BYTES;
const PER_PAGE: number = 1 / TOUCHED_PAGE;
const RECENT_MASK = 255;

export class TouchedPages {
  /** Pages touched. */
  count = 0;
  /** By piece of the address space: its place in `bits`, from 1; 0: none. */
  private readonly pieces: Int32Array;
  private bits = new Int32Array(16 * PIECE_WORDS);
  private used = 1;
  /** Pages that are known to be there, by their last bits. */
  private readonly recent = new Float64Array(RECENT_MASK + 1).fill(-TOUCHED_PAGE);
  private lastPiece = -1;
  private lastBase = 0;

  /** `end`: the first address that nobody has. */
  constructor(end: number) {
    this.pieces = new Int32Array(Math.ceil(end / PIECE_BYTES));
  }

  /** All pages of the accesses of a batch. */
  addAll(address: Float64Array, size: Uint16Array, count: number): void {
    const { recent } = this;
    for (let i = 0; i < count; i++) {
      const at = address[i] as number;
      const key = (at * PER_PAGE) | 0;
      const inside = at - (recent[key & RECENT_MASK] as number);
      if (inside >= 0 && inside + (size[i] as number) <= TOUCHED_PAGE) continue;
      const end = at + (size[i] as number);
      const page = Math.floor(at * PER_PAGE) * TOUCHED_PAGE;
      recent[key & RECENT_MASK] = page;
      for (let p = page; p < end; p += TOUCHED_PAGE) this.add(p);
    }
  }

  /** The same for some rows of a batch: `count` numbers as in `Pass.fresh`; `whole`: none of the rows crosses pages. */
  addRows(address: Float64Array, size: Uint16Array, rows: Int32Array, count: number, whole: boolean): void {
    for (let n = 0; n < count; n++) {
      const row = rows[n] as number;
      let i = row < 0 ? ~row : row;
      const to = row < 0 ? (rows[++n] as number) : row + 1;
      for (; ; i++) {
        i = whole ? this.knownWhole(address, i, to) : this.known(address, size, i, to);
        if (i >= to) break;
        const at = address[i] as number;
        const end = at + (size[i] as number);
        for (let p = Math.floor(at * PER_PAGE) * TOUCHED_PAGE; p < end; p += TOUCHED_PAGE) this.add(p);
      }
    }
  }

  /** The first of rows [from, to) whose first page is not known, or `to`. */
  private knownWhole(address: Float64Array, from: number, to: number): number {
    const { pieces, bits } = this;
    let i = from;
    for (; i < to; i = (i + 1) | 0) {
      const at = address[i] as number;
      const low = at | 0;
      const base = Math.imul(pieces[(at * PER_PIECE) | 0] as number, PIECE_WORDS);
      // No piece has place 0, and no bit is set there.
      const word = bits[(base + ((low >>> 17) & (PIECE_WORDS - 1))) | 0] as number;
      if (((word >>> (low >>> 12)) & 1) === 0) break;
    }
    return i;
  }

  /** The same, or that goes on into another. */
  private known(address: Float64Array, size: Uint16Array, from: number, to: number): number {
    let i = from;
    for (; i < to; i = (i + 1) | 0) {
      const at = address[i] as number;
      if (!this.has(at) || (at & (TOUCHED_PAGE - 1)) + (size[i] as number) > TOUCHED_PAGE) break;
    }
    return i;
  }

  add(address: number): void {
    const piece = Math.floor(address / PIECE_BYTES);
    if (piece !== this.lastPiece) this.turnTo(piece);
    const page = (address >>> 12) & 32767;
    const word = this.lastBase + (page >>> 5);
    const bit = 1 << (page & 31);
    const bits = this.bits[word] as number;
    if ((bits & bit) !== 0) return;
    this.bits[word] = bits | bit;
    this.count++;
  }

  private turnTo(piece: number): void {
    let place = this.pieces[piece] as number;
    if (place === 0) {
      place = this.used++;
      this.pieces[piece] = place;
      if (this.used * PIECE_WORDS > this.bits.length) {
        const more = new Int32Array(this.bits.length * 2);
        more.set(this.bits);
        this.bits = more;
      }
    }
    this.lastPiece = piece;
    this.lastBase = place * PIECE_WORDS;
  }

  /** The pages of [start, end), whole ones, are not touched any more. */
  remove(start: number, end: number): void {
    this.recent.fill(-TOUCHED_PAGE);
    for (let address = start; address < end; ) {
      const piece = Math.floor(address / PIECE_BYTES);
      const stop = Math.min(end, (piece + 1) * PIECE_BYTES);
      const place = this.pieces[piece] as number;
      if (place !== 0)
        for (; address < stop; address += TOUCHED_PAGE) {
          const page = (address >>> 12) & 32767;
          const word = place * PIECE_WORDS + (page >>> 5);
          const bit = 1 << (page & 31);
          if (((this.bits[word] as number) & bit) === 0) continue;
          this.bits[word] = (this.bits[word] as number) & ~bit;
          this.count--;
        }
      address = stop;
    }
  }

  /** Was it touched? */
  has(address: number): boolean {
    const place = this.pieces[Math.floor(address / PIECE_BYTES)] as number;
    const page = (address >>> 12) & 32767;
    return place !== 0 && ((this.bits[place * PIECE_WORDS + (page >>> 5)] as number) & (1 << (page & 31))) !== 0;
  }

  /** What was touched in [start, end) was touched at `to` instead. */
  move(start: number, end: number, to: number): void {
    const moved: number[] = [];
    for (let address = start; address < end; address += TOUCHED_PAGE) if (this.has(address)) moved.push(address);
    this.remove(start, end);
    for (const address of moved) this.add(to + (address - start));
  }

  /** A copy, for a child. */
  copy(end: number): TouchedPages {
    const out = new TouchedPages(end);
    out.pieces.set(this.pieces);
    out.bits = this.bits.slice();
    out.used = this.used;
    out.count = this.count;
    return out;
  }
}
