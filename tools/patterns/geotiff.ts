/** geotiff over a tiled pyramid in the layout of a cloud-optimised GeoTIFF: directories first, then the smallest picture's tiles, the largest last. */
import { deflateSync, inflateSync } from 'node:zlib';
import { addDecoder, BaseDecoder, GeoTIFF } from 'geotiff';
import { Prng } from '../../src/base/prng.ts';
import { Waves } from './waves.ts';

const TILE = 512;
const FULL = 16_384;
const LEVELS = 6;

/** Heights: a few hills and noise, so that deflate finds something and not everything. */
function tile(level: number, x: number, y: number): Uint8Array {
  const random = new Prng(level * 1e6 + y * 1e3 + x);
  const scale = 2 ** level;
  const out = new Uint8Array(TILE * TILE);
  const rough = 4 + 24 * Math.abs(Math.sin((x * scale) / 7) * Math.cos((y * scale) / 5));
  for (let j = 0, k = 0; j < TILE; j++) {
    const v = (y * TILE + j) * scale;
    const a = 60 * Math.sin(v / 900);
    for (let i = 0; i < TILE; i++, k++) {
      const u = (x * TILE + i) * scale;
      out[k] = 128 + a + 50 * Math.sin(u / 1300 + v / 3000) + random.below(rough | 0);
    }
  }
  return out;
}

const SHORT = 3;
const LONG = 4;
const DOUBLE = 12;

/** A little-endian TIFF; entries are [tag, type, values]. */
function pyramid(): Uint8Array {
  const levels = Array.from({ length: LEVELS }, (_, level) => {
    const across = FULL / 2 ** level / TILE;
    const tiles = Array.from({ length: across * across }, (_, i) =>
      deflateSync(tile(level, i % across, Math.floor(i / across)), { level: 1 }),
    );
    return { size: FULL / 2 ** level, tiles };
  });
  const entriesOf = (level: number, offsets: readonly number[]): [number, number, number[]][] => {
    const { size, tiles } = levels[level] as (typeof levels)[number];
    const entries: [number, number, number[]][] = [
      [254, LONG, [level === 0 ? 0 : 1]],
      [256, LONG, [size]],
      [257, LONG, [size]],
      [258, SHORT, [8]],
      [259, SHORT, [8]],
      [262, SHORT, [1]],
      [277, SHORT, [1]],
      [284, SHORT, [1]],
      [322, SHORT, [TILE]],
      [323, SHORT, [TILE]],
      [324, LONG, [...offsets]],
      [325, LONG, tiles.map((t) => t.length)],
      [339, SHORT, [1]],
    ];
    if (level === 0) {
      entries.push([33550, DOUBLE, [10, 10, 0]], [33922, DOUBLE, [0, 0, 0, 500_000, 5_800_000, 0]]);
      entries.push([34735, SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633]]);
    }
    return entries;
  };
  const bytesOf = (type: number): number => (type === SHORT ? 2 : type === LONG ? 4 : 8);
  const sizeOf = (entries: readonly [number, number, number[]][]): number =>
    entries.reduce((n, [, type, v]) => n + 12 + (v.length * bytesOf(type) > 4 ? v.length * bytesOf(type) : 0), 6);

  let at = 8;
  const ifdAt = levels.map((_, level) => {
    const here = at;
    at += sizeOf(entriesOf(level, new Array(levels[level]?.tiles.length ?? 0).fill(0)));
    at += at & 1;
    return here;
  });
  const offsets: number[][] = levels.map(() => []);
  for (let level = LEVELS - 1; level >= 0; level--)
    for (const t of levels[level]?.tiles ?? []) {
      offsets[level]?.push(at);
      at += t.length;
    }

  const out = new Uint8Array(at);
  const view = new DataView(out.buffer);
  const put = (type: number, where: number, v: number): void => {
    if (type === SHORT) view.setUint16(where, v, true);
    else if (type === LONG) view.setUint32(where, v, true);
    else view.setFloat64(where, v, true);
  };
  out.set([0x49, 0x49, 42, 0]);
  view.setUint32(4, ifdAt[0] as number, true);
  for (let level = 0; level < LEVELS; level++) {
    const entries = entriesOf(level, offsets[level] as number[]);
    let where = ifdAt[level] as number;
    let more = where + 6 + entries.length * 12;
    view.setUint16(where, entries.length, true);
    where += 2;
    for (const [tag, type, values] of entries) {
      const n = bytesOf(type);
      view.setUint16(where, tag, true);
      view.setUint16(where + 2, type, true);
      view.setUint32(where + 4, values.length, true);
      let to = where + 8;
      if (values.length * n > 4) {
        view.setUint32(to, more, true);
        to = more;
        more += values.length * n;
      }
      values.forEach((v, i) => {
        put(type, to + i * n, v);
      });
      where += 12;
    }
    view.setUint32(where, ifdAt[level + 1] ?? 0, true);
    levels[level]?.tiles.forEach((t, i) => {
      out.set(t, offsets[level]?.[i]);
    });
  }
  return out;
}

/** geotiff imports its decoders when it needs them, at each tile: how long that takes must not decide what is asked for together. */
class Inflate extends BaseDecoder {
  override decodeBlock(buffer: ArrayBufferLike): ArrayBuffer {
    return new Uint8Array(inflateSync(new Uint8Array(buffer))).buffer;
  }
}

/** What the viewer shows: the middle of the window in pixels of the full picture, and the level. */
type View = readonly [x: number, y: number, level: number];

function journey(): View[] {
  const views: View[] = [];
  const zoomTo = (x: number, y: number, from: number, to: number): void => {
    const step = Math.sign(to - from) || 1;
    for (let level = from; level !== to + step; level += step) views.push([x, y, level]);
  };
  zoomTo(6200, 9100, 5, 0);
  // East along a river, then south.
  for (let i = 1; i <= 12; i++) views.push([6200 + i * 300, 9100 + 60 * i, 0]);
  for (let i = 1; i <= 8; i++) views.push([9800, 9820 + i * 400, 0]);
  zoomTo(9800, 13_020, 1, 3);
  for (let i = 1; i <= 4; i++) views.push([9800 - i * 1500, 13_020 - i * 2200, 3]);
  zoomTo(3800, 4220, 2, 0);
  for (let i = 1; i <= 10; i++) views.push([3800 - i * 200, 4220 + i * 250, 0]);
  // Back to the first place.
  zoomTo(6200, 9100, 2, 0);
  return views;
}

/** A map of 1280 × 800 that keeps 64 tiles decoded; the tiles of a view are asked for together. */
export async function recordGeotiff(): Promise<Waves> {
  addDecoder(8, () => Promise.resolve(Inflate));
  const bytes = pyramid();
  const waves = new Waves(bytes.length, (at, length) => bytes.slice(at, at + length).buffer);
  interface Slice {
    readonly offset: number;
    readonly length: number;
  }
  const source = {
    fetchSlice: async ({ offset, length }: Slice) => ({ offset, length, data: await waves.read(offset, length) }),
    fetch: (slices: readonly Slice[]) => Promise.all(slices.map((s) => waves.read(s.offset, s.length))),
    fileSize: bytes.length,
    close: () => Promise.resolve(),
  };
  const tiff = await GeoTIFF.fromSource(source as unknown as Parameters<typeof GeoTIFF.fromSource>[0]);
  const count = await tiff.getImageCount();
  const images = [];
  for (let i = 0; i < count; i++) images.push(await tiff.getImage(i));
  const kept = new Set<string>();
  for (const [cx, cy, level] of journey()) {
    const scale = 2 ** level;
    const across = FULL / scale / TILE;
    const asked: Promise<unknown>[] = [];
    const clamp = (n: number): number => Math.max(0, Math.min(across - 1, n));
    for (let y = clamp(Math.floor((cy / scale - 400) / TILE)); y <= clamp(Math.floor((cy / scale + 400) / TILE)); y++)
      for (
        let x = clamp(Math.floor((cx / scale - 640) / TILE));
        x <= clamp(Math.floor((cx / scale + 640) / TILE));
        x++
      ) {
        const key = `${level}/${x}/${y}`;
        const shown = kept.delete(key);
        kept.add(key);
        if (kept.size > 64) kept.delete(kept.values().next().value as string);
        const window = [x * TILE, y * TILE, (x + 1) * TILE, (y + 1) * TILE];
        if (!shown) asked.push((images[level] as (typeof images)[number]).readRasters({ window }));
      }
    await Promise.all(asked);
  }
  return waves;
}
