/** pmtiles over an archive of a region, zooms 0 to 14: real directories, tiles of made-up sizes that hold nothing. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { PMTiles, SharedPromiseCache, zxyToTileId } from 'pmtiles';
import { Prng } from '../../src/base/prng.ts';
import { Waves } from './waves.ts';

const MAX_ZOOM = 14;
/** The region: the tile 17/10 of zoom 5, and what lies over it. */
const REGION = { zoom: 5, x: 17, y: 10 };
const HEADER = 127;
const ROOT_MAX = 16_384 - HEADER;
const LEAF = 4096;

interface Entry {
  readonly id: number;
  readonly offset: number;
  readonly length: number;
  readonly run: number;
}

const clamp = (n: number, low: number, high: number): number => Math.max(low, Math.min(high, n));

/** Tiles in the order of their ids. A sixth of the deep ones is open land or sea, all alike, kept once. */
function tiles(): Entry[] {
  const ids: { id: number; zoom: number; x: number; y: number }[] = [];
  for (let zoom = 0; zoom <= MAX_ZOOM; zoom++) {
    const n = 2 ** Math.max(0, zoom - REGION.zoom);
    const x0 = Math.floor(REGION.x * 2 ** (zoom - REGION.zoom));
    const y0 = Math.floor(REGION.y * 2 ** (zoom - REGION.zoom));
    for (let y = 0; y < n; y++)
      for (let x = 0; x < n; x++)
        ids.push({ id: zxyToTileId(zoom, x0 + x, y0 + y), zoom, x: (x0 + x) / 2 ** zoom, y: (y0 + y) / 2 ** zoom });
  }
  ids.sort((a, b) => a.id - b.id);
  const random = new Prng(11);
  const towns = Array.from({ length: 60 }, () => [(REGION.x + random.float()) / 32, (REGION.y + random.float()) / 32]);
  const out: Entry[] = [];
  let end = 0;
  let empty = -1;
  for (const { id, zoom, x, y } of ids) {
    const near = Math.min(...towns.map(([tx, ty]) => Math.hypot(x - (tx as number), y - (ty as number)))) * 2 ** 11;
    const wild = random.float();
    if (zoom >= 10 && near > 2 && wild < 0.2) {
      const last = out.at(-1);
      if (empty < 0) {
        empty = end;
        end += 96;
      }
      if (last !== undefined && last.offset === empty && last.id + last.run === id)
        out[out.length - 1] = { ...last, run: last.run + 1 };
      else out.push({ id, offset: empty, length: 96, run: 1 });
      continue;
    }
    const full = zoom < 8 ? 120_000 : zoom < 12 ? 45_000 : 22_000;
    const length = Math.round(clamp(full * Math.exp(-near / 3) * (0.5 + wild), 600, 300_000));
    out.push({ id, offset: end, length, run: 1 });
    end += length;
  }
  return out;
}

/** A directory in the archive's own form: four columns of variable-length numbers, gzipped. */
function directory(entries: readonly Entry[]): Uint8Array {
  const out: number[] = [];
  const varint = (n: number): void => {
    let rest = n;
    for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
    out.push(rest);
  };
  varint(entries.length);
  entries.forEach((e, i) => {
    varint(e.id - (entries[i - 1]?.id ?? 0));
  });
  for (const e of entries) varint(e.run);
  for (const e of entries) varint(e.length);
  entries.forEach((e, i) => {
    const before = entries[i - 1];
    varint(before !== undefined && e.offset === before.offset + before.length ? 0 : e.offset + 1);
  });
  return gzipSync(Uint8Array.from(out));
}

interface Archive {
  readonly size: number;
  /** Header, root, leaves: the tiles begin where it ends. */
  readonly front: Uint8Array;
}

function archive(): Archive {
  const entries = tiles();
  let leaves: Uint8Array[] = [];
  let root = new Uint8Array(0);
  for (let n = LEAF; leaves.length === 0 || root.length > ROOT_MAX; n = Math.ceil(n * 1.2)) {
    leaves = [];
    let offset = 0;
    const tops: Entry[] = [];
    for (let i = 0; i < entries.length; i += n) {
      const leaf = directory(entries.slice(i, i + n));
      tops.push({ id: (entries[i] as Entry).id, offset, length: leaf.length, run: 0 });
      offset += leaf.length;
      leaves.push(leaf);
    }
    root = directory(tops) as Uint8Array<ArrayBuffer>;
  }
  const metadata = gzipSync(
    JSON.stringify({ name: 'region', vector_layers: Array.from({ length: 12 }, (_, i) => ({ id: `layer${i}` })) }),
  );
  const leafBytes = leaves.reduce((n, l) => n + l.length, 0);
  const rootAt = HEADER;
  const metadataAt = rootAt + root.length;
  const leafAt = metadataAt + metadata.length;
  const dataAt = leafAt + leafBytes;
  const dataBytes = entries.reduce((n, e) => Math.max(n, e.offset + e.length), 0);
  const front = new Uint8Array(dataAt);
  const view = new DataView(front.buffer);
  front.set(new TextEncoder().encode('PMTiles'));
  front[7] = 3;
  const addressed = entries.reduce((n, e) => n + e.run, 0);
  [
    rootAt,
    root.length,
    metadataAt,
    metadata.length,
    leafAt,
    leafBytes,
    dataAt,
    dataBytes,
    addressed,
    entries.length,
    entries.length,
  ].forEach((v, i) => {
    view.setBigUint64(8 + i * 8, BigInt(v), true);
  });
  // Clustered; directories gzipped; tiles as they are, of type MVT; zooms.
  front.set([1, 2, 1, 1, 0, MAX_ZOOM], 96);
  front.set(root, rootAt);
  front.set(metadata, metadataAt);
  let at = leafAt;
  for (const leaf of leaves) {
    front.set(leaf, at);
    at += leaf.length;
  }
  return { size: dataAt + dataBytes, front };
}

/** What the viewer shows: the middle, as a part of the world's width and height, and the zoom. */
type View = readonly [x: number, y: number, zoom: number];

function journey(): View[] {
  const at = (x: number, y: number, zoom: number): View => [(REGION.x + x) / 32, (REGION.y + y) / 32, zoom];
  const views: View[] = [];
  const fly = (x: number, y: number, from: number, to: number): void => {
    const step = Math.sign(to - from) || 1;
    for (let z = from; z !== to + step; z += step) views.push(at(x, y, z));
  };
  const walk = (x: number, y: number, dx: number, dy: number, steps: number, zoom: number): void => {
    for (let i = 1; i <= steps; i++) views.push(at(x + i * dx, y + i * dy, zoom));
  };
  fly(0.31, 0.42, 5, 14);
  walk(0.31, 0.42, 0.0018, 0.0004, 14, 14);
  fly(0.335, 0.4256, 13, 10);
  walk(0.335, 0.4256, 0.025, 0.02, 8, 10);
  fly(0.535, 0.5856, 11, 14);
  walk(0.535, 0.5856, -0.0006, 0.0017, 10, 14);
  fly(0.529, 0.6026, 13, 7);
  fly(0.82, 0.2, 8, 13);
  walk(0.82, 0.2, 0.004, 0, 8, 13);
  // Home again: another visit to the first place.
  fly(0.31, 0.42, 12, 14);
  return views;
}

/** A map of 1280 × 800 with tiles of 512 that keeps 100 tiles; two visitors one after the other, each with its own directories. */
export async function recordPmtiles(): Promise<Waves> {
  const { size, front } = archive();
  const waves = new Waves(size, (at, length) => {
    const out = new Uint8Array(length);
    if (at < front.length) out.set(front.subarray(at, at + length));
    return out.buffer;
  });
  for (const path of [journey(), journey().slice(20)]) {
    const source = {
      getKey: () => 'region',
      getBytes: async (at: number, length: number) => ({ data: await waves.read(at, length) }),
    };
    const plain = (bytes: ArrayBuffer, compression: number): Promise<ArrayBuffer> => {
      if (compression !== 2) return Promise.resolve(bytes);
      const out = gunzipSync(new Uint8Array(bytes));
      return Promise.resolve(out.buffer.slice(out.byteOffset, out.byteOffset + out.length) as ArrayBuffer);
    };
    const map = new PMTiles(source, new SharedPromiseCache(100, true, plain), plain);
    await map.getHeader();
    const kept = new Set<string>();
    for (const [cx, cy, zoom] of path) {
      const side = 2 ** zoom;
      const inside = (n: number): number => clamp(Math.floor(n), 0, side - 1);
      const asked: Promise<unknown>[] = [];
      for (let y = inside(cy * side - 400 / 512); y <= inside(cy * side + 400 / 512); y++)
        for (let x = inside(cx * side - 640 / 512); x <= inside(cx * side + 640 / 512); x++) {
          const key = `${zoom}/${x}/${y}`;
          const shown = kept.delete(key);
          kept.add(key);
          if (kept.size > 100) kept.delete(kept.values().next().value as string);
          if (!shown) asked.push(map.getZxy(zoom, x, y));
        }
      await Promise.all(asked);
    }
  }
  return waves;
}
