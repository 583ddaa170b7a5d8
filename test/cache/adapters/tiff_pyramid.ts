/** A tiled TIFF with overviews: 16-bit samples, no compression, one directory for each level, directories first. */

const [SHORT, LONG] = [3, 4];

export interface Pyramid {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The samples of each level, rows from the top; each level has half the side of the one before. */
  readonly levels: readonly { readonly side: number; readonly samples: Uint16Array }[];
}

/** Levels of `side`, `side / 2`, … down to one tile. Both are powers of two. */
export function tiffPyramid(side: number, tile: number): Pyramid {
  const levels: { side: number; samples: Uint16Array }[] = [];
  for (let s = side; s >= tile; s /= 2) {
    const seed = levels.length + 1;
    const samples = Uint16Array.from({ length: s * s }, (_, i) => Math.imul(i + seed, 2654435761) >>> 16);
    levels.push({ side: s, samples });
  }
  const tags = 10;
  const directoryBytes = 2 + 12 * tags + 4;
  const tileBytes = 2 * tile * tile;
  const tilesOf = (s: number): number => (s / tile) ** 2;
  const total = levels.reduce((sum, l) => sum + directoryBytes + tilesOf(l.side) * (8 + tileBytes), 8);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, true);
  bytes.set([0x49, 0x49, 42, 0]);
  u32(4, 8);
  let directory = 8;
  let list = 8 + levels.length * directoryBytes;
  let data = list + levels.reduce((sum, l) => sum + 8 * tilesOf(l.side), 0);
  levels.forEach(({ side: s, samples }, level) => {
    const tiles = tilesOf(s);
    // One value stands in the directory itself; more stand in a list elsewhere.
    const where = (first: number, at: number): number => (tiles === 1 ? first : at);
    const entries: [tag: number, type: number, count: number, value: number][] = [
      [254, LONG, 1, level === 0 ? 0 : 1],
      [256, LONG, 1, s],
      [257, LONG, 1, s],
      [258, SHORT, 1, 16],
      [259, SHORT, 1, 1],
      [262, SHORT, 1, 1],
      [322, LONG, 1, tile],
      [323, LONG, 1, tile],
      [324, LONG, tiles, where(data, list)],
      [325, LONG, tiles, where(tileBytes, list + 4 * tiles)],
    ];
    u16(directory, entries.length);
    entries.forEach(([tag, type, count, value], i) => {
      const at = directory + 2 + 12 * i;
      u16(at, tag);
      u16(at + 2, type);
      u32(at + 4, count);
      if (type === SHORT) u16(at + 8, value);
      else u32(at + 8, value);
    });
    directory += directoryBytes;
    u32(directory - 4, level + 1 < levels.length ? directory : 0);
    for (let t = 0; t < tiles; t++) {
      u32(list + 4 * t, data);
      u32(list + 4 * (tiles + t), tileBytes);
      const [left, top] = [(t % (s / tile)) * tile, Math.floor(t / (s / tile)) * tile];
      for (let y = 0; y < tile; y++) {
        const row = samples.subarray((top + y) * s + left, (top + y) * s + left + tile);
        for (let x = 0; x < tile; x++) u16(data + 2 * (y * tile + x), row[x] as number);
      }
      data += tileBytes;
    }
    list += 8 * tiles;
  });
  return { bytes, levels };
}
