/** A PMTiles v3 archive in memory: header, root directory, metadata, leaf directories, tiles. */
import { gzipSync } from 'node:zlib';
import { zxyToTileId } from 'pmtiles';

export interface Tile {
  readonly z: number;
  readonly x: number;
  readonly y: number;
  readonly data: Uint8Array;
}
interface Entry {
  readonly id: number;
  readonly offset: number;
  readonly length: number;
  /** 0: the entry of a leaf directory. */
  readonly run: number;
}

const LEAF_ENTRIES = 500;
const HEADER_BYTES = 127;

function varint(out: number[], value: number): void {
  let rest = value;
  while (rest >= 128) {
    out.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}

function directory(entries: readonly Entry[]): Uint8Array {
  const out: number[] = [];
  varint(out, entries.length);
  let last = 0;
  for (const e of entries) {
    varint(out, e.id - last);
    last = e.id;
  }
  for (const e of entries) varint(out, e.run);
  for (const e of entries) varint(out, e.length);
  for (const e of entries) varint(out, e.offset + 1);
  return gzipSync(Uint8Array.from(out));
}

/** The archive of these tiles; each is stored as it is given. */
export function archive(tiles: readonly Tile[], metadata: object): Uint8Array<ArrayBuffer> {
  const sorted = tiles
    .map((tile) => ({ ...tile, id: zxyToTileId(tile.z, tile.x, tile.y) }))
    .toSorted((a, b) => a.id - b.id);
  const entries: Entry[] = [];
  let tileBytes = 0;
  for (const { id, data } of sorted) {
    entries.push({ id, offset: tileBytes, length: data.length, run: 1 });
    tileBytes += data.length;
  }
  const leaves: Uint8Array[] = [];
  const roots: Entry[] = [];
  let leafBytes = 0;
  for (let i = 0; i < entries.length; i += LEAF_ENTRIES) {
    const leaf = directory(entries.slice(i, i + LEAF_ENTRIES));
    roots.push({ id: (entries[i] as Entry).id, offset: leafBytes, length: leaf.length, run: 0 });
    leaves.push(leaf);
    leafBytes += leaf.length;
  }
  const root = directory(roots);
  const json = gzipSync(JSON.stringify(metadata));
  const parts = [root, json, ...leaves, ...sorted.map((t) => t.data)];
  const out = new Uint8Array(HEADER_BYTES + parts.reduce((sum, p) => sum + p.length, 0));
  const view = new DataView(out.buffer);
  out.set(new TextEncoder().encode('PMTiles'));
  out[7] = 3;
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  let at = HEADER_BYTES;
  const place = (field: number, length: number): void => {
    u64(field, at);
    u64(field + 8, length);
    at += length;
  };
  place(8, root.length);
  place(24, json.length);
  place(40, leafBytes);
  place(56, tileBytes);
  u64(72, sorted.length);
  u64(80, sorted.length);
  u64(88, sorted.length);
  // Clustered; directories in gzip; tiles as they are; of a type that is not told.
  out.set([1, 2, 1, 0, Math.min(...sorted.map((t) => t.z)), Math.max(...sorted.map((t) => t.z))], 96);
  at = HEADER_BYTES;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
