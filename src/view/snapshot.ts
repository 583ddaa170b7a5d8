/**
 * A picture of a page cache at a moment: plain data, as JSON has it. Every field is documented by its type; `version` grows
 * when one changes its meaning.
 */

export const SNAPSHOT_VERSION = 1;

/** One folio of a file. */
export interface FolioPicture {
  /** First page, in pages of the file. */
  readonly index: number;
  /** log2 of its pages. */
  readonly order: number;
  /** Names of its flags as the kernel spells them: 'PG_uptodate', 'PG_dirty' … */
  readonly flags: readonly string[];
  /** Memory group; 0: none. */
  readonly group: number;
  /** Blocks (of the file's block size) that are uptodate and dirty, as runs [first, count]; absent: as the flags say. */
  readonly uptodate?: readonly (readonly [number, number])[];
  readonly dirty?: readonly (readonly [number, number])[];
}

export interface FilePicture {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly blockSize: number;
  readonly folios: readonly FolioPicture[];
}

export interface Snapshot {
  readonly format: 'quire-snapshot';
  readonly version: typeof SNAPSHOT_VERSION;
  /** What it is a picture of: 'cache'. */
  readonly of: string;
  /** The preset of rules. */
  readonly kernel: string;
  readonly pageSize: number;
  /** Pages of the machine. */
  readonly pages: number;
  readonly files: readonly FilePicture[];
  /** Groups by number, with their limits in bytes. */
  readonly groups: readonly { readonly id: number; readonly name: string; readonly memory: number }[];
  readonly vmstat: Readonly<Record<string, number>>;
}
