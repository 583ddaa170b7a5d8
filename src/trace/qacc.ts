/**
 * Quire's own form of access traces, `NAME.qacc`: columns in blocks, 1 to 3 bytes an access, read many times faster than text.
 *
 *     | header 64 | block | block | … | regions |
 *
 * header    magic, u32 version, u32 blocks, f64 accesses, f64 events, f64 bytes of the file, f64 place of the regions,
 *           u32 regions, u32 checksum of the regions' bytes, u32 flags (1: the address space is told), u32 checksum of the
 *           60 bytes before
 * block     u32 bytes here, u32 bytes unpacked, u32 accesses, u32 checksum of the bytes here; then the bytes, deflated (raw)
 *           where the two lengths differ:
 *             bytes of the addresses
 *             number of tags, and each as kind (1 byte) and size (2 bytes)
 *             a tag an access, 1 byte each
 *             an address each, as the zigzag LEB128 of its difference from where it was expected (`Expected`)
 *             number of events, and each as accesses since the last one, bytes, and JSON (SpaceEvent)
 * regions   each as 4 KiB pages since the end of the last one, pages, touches (LEB128)
 *
 * Little-endian; counts within a block are LEB128; checksums are CRC-32. Every block stands for itself. A file that is cut
 * off is not as long as its header says, and the header is written last.
 */
import { FETCH } from './access.ts';

export const MAGIC: Uint8Array = Uint8Array.of(0x89, 0x51, 0x41, 0x43, 0x43, 0x0d, 0x0a, 0x1a);
export const QACC_VERSION = 1;
export const HEADER_BYTES = 64;
export const BLOCK_HEADER_BYTES = 16;
/** Accesses and events of a block, at most; and what a block of them can need. */
export const BLOCK_ACCESSES = 65536;
export const BLOCK_EVENTS = 4096;
export const BLOCK_BYTES_MAX: number = 4 + 256 * 3 + BLOCK_ACCESSES * 9 + BLOCK_EVENTS * 5000;
export const TAGS_MAX = 256;
export const FLAG_TOLD = 1;
export const REGION_PAGE = 4096;

const CONTEXTS = 1024;

/** The context of the data that the instruction at `address` asks for. */
export const contextOf = (address: number): number => {
  const low = address | 0;
  return (low ^ (low >>> 10)) & (CONTEXTS - 4);
};

/**
 * Where the next access is expected: a fetch after the last one's end, data where the same instruction's data was last time
 * (by a few bits of its address; without fetches, where the last data was). Writer and reader keep one each.
 */
export class Expected {
  readonly places: Float64Array = new Float64Array(CONTEXTS);
  nextFetch = 0;
  context = 0;

  reset(): void {
    this.places.fill(0);
    this.nextFetch = 0;
    this.context = 0;
  }

  /** The address that is expected of an access of this kind. */
  of(kind: number): number {
    return kind === FETCH ? this.nextFetch : (this.places[this.context] as number);
  }

  /** What came. */
  saw(kind: number, address: number, size: number): void {
    if (kind === FETCH) {
      this.nextFetch = address + size;
      this.context = contextOf(address);
    } else {
      this.places[this.context] = address;
      // A second and third access of one instruction have places of their own.
      if ((this.context & 3) !== 3) this.context++;
    }
  }
}
