/**
 * Which memory a trace touches: by blocks of 64 KiB, with the first and last page in each and what touched it. Memory that is
 * touched is all that most traces say of the address space; where the areas are is guessed from it (lab/access_areas.ts).
 */
import type { Accesses, AccessSource, Region } from './access.ts';
import { FETCH, LOAD, MODIFY, STORE } from './access.ts';

export const REGION_BLOCK: number = 2 ** 16;
const PAGE = 4096;
/** 16 pages a block. */
const PAGE_MASK = 15;

export const TOUCH_LOAD = 1;
export const TOUCH_STORE = 2;
export const TOUCH_FETCH = 4;

const touches: Uint8Array = (() => {
  const out = new Uint8Array(4);
  out[LOAD] = TOUCH_LOAD;
  out[STORE] = TOUCH_STORE;
  out[MODIFY] = TOUCH_LOAD | TOUCH_STORE;
  out[FETCH] = TOUCH_FETCH;
  return out;
})();

export class Regions {
  /** By block: first page, last page, touches, as bits 0–3, 4–7 and 8–10. */
  private readonly blocks = new Map<number, number>();
  /** The last block of each kind of access, and its word. */
  private readonly lastBlock = new Float64Array(4).fill(-1);
  private readonly lastWord = new Int32Array(4);

  /** Blocks that are touched. */
  get size(): number {
    this.settle();
    return this.blocks.size;
  }

  add(batch: Accesses): void {
    const { address, size, kind, count } = batch;
    const { lastBlock, lastWord } = this;
    for (let i = 0; i < count; i++) {
      const at = address[i] as number;
      const k = kind[i] as number;
      const block = Math.floor(at / REGION_BLOCK);
      const first = (at % REGION_BLOCK) >>> 12;
      const end = at + (size[i] as number) - 1;
      if (block !== lastBlock[k] || end >= (block + 1) * REGION_BLOCK) {
        this.slow(k, at, end);
        continue;
      }
      const word = lastWord[k] as number;
      const last = (end % REGION_BLOCK) >>> 12;
      if (first < (word & PAGE_MASK) || last > ((word >>> 4) & PAGE_MASK)) lastWord[k] = merged(word, first, last);
    }
  }

  private slow(k: number, at: number, end: number): void {
    for (let block = Math.floor(at / REGION_BLOCK); block * REGION_BLOCK <= end; block++) {
      this.keep(k);
      const start = block * REGION_BLOCK;
      const first = Math.floor((Math.max(at, start) - start) / PAGE);
      const last = Math.floor((Math.min(end, start + REGION_BLOCK - 1) - start) / PAGE);
      const word = this.blocks.get(block) ?? first | (last << 4);
      this.lastBlock[k] = block;
      this.lastWord[k] = merged(word, first, last) | ((touches[k] as number) << 8);
    }
  }

  /** Puts the word of the last block of kind `k` back. Another kind may have changed the block meanwhile. */
  private keep(k: number): void {
    const block = this.lastBlock[k] as number;
    if (block < 0) return;
    const mine = this.lastWord[k] as number;
    const word = this.blocks.get(block) ?? mine;
    this.blocks.set(block, merged(word, mine & PAGE_MASK, (mine >>> 4) & PAGE_MASK) | (mine & ~255));
    this.lastBlock[k] = -1;
  }

  private settle(): void {
    for (let k = 0; k < this.lastBlock.length; k++) this.keep(k);
  }

  /** The blocks, ascending, neighbours with the same touches joined where no page between them is left out. */
  list(): Region[] {
    this.settle();
    const out: Region[] = [];
    for (const block of [...this.blocks.keys()].sort((a, b) => a - b)) {
      const word = this.blocks.get(block) as number;
      const start = block * REGION_BLOCK + (word & PAGE_MASK) * PAGE;
      const end = block * REGION_BLOCK + (((word >>> 4) & PAGE_MASK) + 1) * PAGE;
      const touched = word >>> 8;
      const last = out.at(-1);
      if (last !== undefined && last.end === start && last.touched === touched)
        out[out.length - 1] = { start: last.start, end, touched };
      else out.push({ start, end, touched });
    }
    return out;
  }
}

function merged(word: number, first: number, last: number): number {
  const low = Math.min(word & PAGE_MASK, first);
  const high = Math.max((word >>> 4) & PAGE_MASK, last);
  return (word & ~255) | low | (high << 4);
}

/** Reads a whole trace for what it touches, and closes it. */
export function regionsOf(source: AccessSource, onBatch: (accesses: number) => void = () => {}): Region[] {
  const regions = new Regions();
  try {
    for (let batch = source.next(); batch !== null; batch = source.next()) {
      regions.add(batch);
      onBatch(batch.count);
    }
  } finally {
    source.close();
  }
  return regions.list();
}
